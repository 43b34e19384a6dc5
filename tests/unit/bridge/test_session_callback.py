"""Customers who are called back: the place is kept, nobody is called twice or forgotten, and every end is said."""

import pytest
from msgspec.structs import replace

from bridge import events as e
from bridge.legs import CallState, TextLeg
from bridge.session import UnexpectedEvent
from tests.unit.bridge.story import ANN, CALLER, FACTS, LEG, LIMITS, OURS, START, Story, flow_of

RULES = LIMITS.calls
SUPPORT = e.QueueId("support")
FLOW = """
first:
  - answer
  - queue:
      name: support
      skills: ["lang:{language}"]
      treatment: [{music: calm}, {offer_callback: {prompt: not_heard, to: agreed, after: 10s}}]
      then: {answered: over}
agreed:
  - menu:
      prompt: not_heard
      keys: {"1": sure, "3": first}
      no_input: {prompts: [], goto: sure}
      no_match: {prompts: [], goto: sure}
sure:
  - callback: {queue: support, say: goodbye, window: ewt_band, failed: first}
  - hangup: callback
over:
  - hangup: done
"""
LATER = """
first:
  - answer
  - callback: {queue: support, hours: support_hours, say: goodbye, failed: over}
  - hangup: callback
over:
  - hangup: done
"""
ANOTHER = """
first:
  - answer
  - collect: {prompt: ask_account, into: number, digits: 7-15, failed: over}
  - callback: {queue: support, number: number, say: goodbye, failed: over}
  - hangup: callback
over:
  - hangup: done
"""
CALLABLE = replace(FACTS, to_call=str)


def line(story: Story) -> list[e.JoinQueue | e.LeaveQueue]:
    """What the voice line was told since the last event."""
    return [c for c in story.news if isinstance(c, e.JoinQueue | e.LeaveQueue) and c.channel == "voice"]


@pytest.fixture
def story() -> Story:
    """A caller who waits in line and can be called back."""
    story = Story(flow=flow_of(FLOW), facts=CALLABLE)
    story.dial()
    story.wait(12.0)
    return story


def agreed(story: Story) -> Story:
    """The caller has asked to be called back, and hung up."""
    story.press("2")
    story.press("1")
    story.prompt_over()
    story.tell(e.CallEnded(LEG, "platform", "bye"))
    assert story.call() is CallState.CALLBACK
    return story


def summoned(story: Story) -> e.LegId:
    """Ann takes it and picks up; the leg on which the customer is called."""
    story.tell(e.AgentOffered(ANN, "voice"), e.AgentAccepted(ANN, "Ann", "voice", "sip:ann@127.0.0.1"))
    leg = story.state.leg
    assert leg is not None
    story.tell(e.AgentLegAnswered(leg, story.agent_leg))
    return leg


def not_there(story: Story, cause: str = "486") -> None:
    """The customer does not pick up."""
    leg = summoned(story)
    story.tell(e.CallEnded(leg, "network", cause))


def test_the_place_in_line_is_kept(story: Story) -> None:
    """The call is over, and the customer stands where they stood."""
    since = story.state.since
    agreed(story)
    assert line(story) == [e.JoinQueue(SUPPORT, "voice", START, 1, ("lang:en",))]
    assert since == START
    told = story.lines("callback.asked")[-1]
    assert (told["number"], told["by"], told["queue"], told["promised_by"]) == (CALLER, "caller", "support", START + 12.0 + 360.0)
    assert not story.closed()


def test_who_hangs_up_before_the_last_word_is_called_back_too(story: Story) -> None:
    """The key was the wish."""
    story.press("2")
    story.caller_hangs_up()
    assert story.call() is CallState.CALLBACK


def test_a_callback_is_told_of_when_the_policy_finds_it_worth_it(story: Story) -> None:
    """Its reason stands in the timeline; the key works all the same."""
    asked = story.all(e.DecideOffer)[-1]
    assert (asked.kind, asked.queue) == ("callback", SUPPORT)
    story.tell(e.OfferDecided(asked.request, "callback", False, "below_threshold", {}))
    assert story.lines("offer.made") == []
    story.wait(180.0)
    asked = story.all(e.DecideOffer)[-1]
    story.tell(e.OfferDecided(asked.request, "callback", True, "offer", {}))
    assert [told["kind"] for told in story.lines("offer.made")] == ["callback"]
    decided = [(told["kind"], told["offer"], told["reason"]) for told in story.lines("offer.decided")]
    assert decided == [("callback", False, "below_threshold"), ("callback", True, "offer")]


def test_who_rather_waits_is_not_called_back(story: Story) -> None:
    """They went back into the line themselves."""
    story.press("2")
    story.press("3")
    assert story.lines("callback.cancelled") == [{"by": "caller"}]
    story.caller_hangs_up()
    assert story.closed()
    assert story.state.reason == "call over"


def test_the_agents_phone_rings_then_the_customers(story: Story) -> None:
    """From there it is a call like any other, in the same session."""
    leg = summoned(agreed(story))
    assert story.new(e.DialCustomer) == [e.DialCustomer(leg, CALLER, OURS, RULES.ring)]
    story.tell(e.CustomerAnswered(leg))
    assert (story.call(), story.state.callback) == (CallState.CONNECTED, None)
    assert story.lines("callback.done") == [{}]
    story.tell(e.CallEnded(leg, "caller", "bye"), e.WrapUpNoted(ANN, "done"))
    assert story.closed()


def test_an_agent_who_does_not_pick_up_costs_no_try(story: Story) -> None:
    """The customer has not been called; the place is as before."""
    agreed(story)
    story.tell(e.AgentAccepted(ANN, "Ann", "voice", "sip:ann@127.0.0.1"))
    leg = story.state.leg
    assert leg is not None
    story.tell(e.AgentLegFailed(leg, story.agent_leg, 480, "gone"), e.CallEnded(leg, "platform", "bye"))
    assert story.call() is CallState.CALLBACK
    assert not story.lines("callback.tried")


def test_it_is_tried_again_and_then_said_by_text(story: Story) -> None:
    """After a while, at the old place; after the last time the customer reads that we tried."""
    agreed(story)
    for n in range(1, RULES.callback_tries):
        not_there(story)
        assert story.lines("callback.tried")[-1] == {"tries": n, "outcome": "busy"}
        assert story.call() is CallState.ENDED
        story.wait(RULES.callback_retry)
        assert line(story) == [e.JoinQueue(SUPPORT, "voice", START, 1, ("lang:en",))]
    not_there(story)
    assert story.texts == ["[callback_missed en]"]
    assert story.lines("callback.failed") == [{"reason": "not reached", "tries": 3}]
    story.text("sorry, I was out")
    assert story.texting() is TextLeg.QUEUED


def test_who_cannot_be_texted_is_not(story: Story) -> None:
    """STOP took nothing away from the callback, but nothing is sent."""
    agreed(story)
    story.text("STOP", keyword="stop")
    assert story.state.callback is not None
    for _ in range(RULES.callback_tries):
        not_there(story)
        story.wait(RULES.callback_retry)
    assert not [text for text in story.all(e.SendText) if text.preset == "callback_missed"]
    assert (story.closed(), story.state.reason) == (True, "callback not reached")


def test_a_callback_nobody_makes_is_given_up(story: Story) -> None:
    """The customer is told, in other words."""
    agreed(story)
    story.wait(RULES.callback_expire)
    assert story.texts == ["[callback_expired en]"]
    assert story.new(e.LeaveQueue) == [e.LeaveQueue("voice", "closed")]


@pytest.mark.parametrize("word", ["Cancel", "annuler.", "CANCELAR"])
def test_a_text_takes_it_back(story: Story, word: str) -> None:
    """In any of our languages; the answer says that it was understood, and no agent has to read it."""
    agreed(story)
    story.text(word)
    assert story.state.callback is None
    assert story.texts == ["[callback_cancelled en]"]
    assert story.new(e.LeaveQueue) == [e.LeaveQueue("voice", "closed")]
    assert story.texting() is TextLeg.OPEN


def test_cancel_is_stop_where_it_is_a_keyword_and_takes_the_callback_back_as_well(story: Story) -> None:
    """Carriers take it for an opt-out (47 CFR 64.1200(a)(10)), so it is both."""
    agreed(story)
    story.text("CANCEL", keyword="stop")
    assert (story.state.callback, story.texting()) == (None, TextLeg.OPTED_OUT)
    assert story.texts == ["[stop en]"]
    assert story.closed()


def test_an_agent_drops_it(story: Story) -> None:
    """The session is over, and says why."""
    agreed(story)
    story.tell(e.CallbackCancelled("Ann"))
    assert (story.closed(), story.state.reason) == (True, "callback cancelled")
    assert story.lines("callback.cancelled") == [{"by": "Ann"}]


def test_an_agent_does_not_wait_for_its_turn(story: Story) -> None:
    """In line, or while a retry waits; then nothing else calls."""
    agreed(story)
    not_there(story)
    story.tell(e.CallbackStarted(ANN, "Ann", "sip:ann@127.0.0.1"))
    assert story.new(e.AssignAgent) == [e.AssignAgent(ANN, "voice", SUPPORT)]
    assert story.call() is CallState.SUMMONING
    story.wait(RULES.callback_retry)
    assert not line(story)


def test_who_calls_meanwhile_keeps_the_place_and_is_not_called(story: Story) -> None:
    """The callback goes into the call; hanging up again without an agent, they are owed it as before."""
    agreed(story)
    story.dial()
    assert story.lines("callback.merged") == [{}]
    assert line(story) == [e.LeaveQueue("voice", "closed"), e.JoinQueue(SUPPORT, "voice", START, 1, ("lang:en",))]
    story.caller_hangs_up()
    assert story.call() is CallState.CALLBACK
    story.dial()
    story.agent_answers()
    assert story.state.callback is None
    story.caller_hangs_up()
    assert story.call() is CallState.ENDED


def test_who_calls_before_a_callback_is_due_waits_from_then_on() -> None:
    """The place of a callback begins when it is due; nobody has waited less than not at all."""
    story = Story(flow=flow_of(FLOW), facts=CALLABLE)
    story.tell(e.CallbackAsked("api:shop", SUPPORT, START + 600.0))
    story.wait(100.0)
    story.dial()
    assert story.state.since == START + 100.0
    assert story.lines("queue.joined")[-1]["waited"] == 0.0
    story.caller_hangs_up()
    story.wait(600.0)
    assert (story.call(), story.state.since) == (CallState.CALLBACK, START + 600.0)
    assert [told["waited"] for told in story.lines("queue.joined")] == [0.0, 0.0]


def test_who_rather_writes_is_not_called(story: Story) -> None:
    """A chat is what they want now."""
    agreed(story)
    story.text("can we do this by text?")
    story.agent_chats()
    story.dial()
    story.caller_hangs_up()
    assert story.lines("callback.cancelled") == [{"by": "text"}]


def test_outside_the_hours_it_waits_for_them() -> None:
    """Nobody stands in line at night, and in the morning they do from the minute we open."""
    opens = START + 36_000.0
    hours = {"support_hours": replace(FACTS.hours["support_hours"], state="closed", reopens_at=opens)}
    story = Story(flow=flow_of(LATER), facts=replace(CALLABLE, hours=hours))
    story.dial()
    story.prompt_over()
    story.tell(e.CallEnded(LEG, "platform", "bye"))
    assert story.call() is CallState.ENDED
    assert not line(story)
    story.tell(e.ProcessRestarted())
    story.wait(36_000.0)
    assert line(story) == [e.JoinQueue(SUPPORT, "voice", opens, 1, ())]


def test_it_survives_a_restart(story: Story) -> None:
    """In line: at the same place. While somebody was being called: the call is lost, the callback is not."""
    agreed(story)
    story.tell(e.ProcessRestarted())
    assert line(story) == [e.JoinQueue(SUPPORT, "voice", START, 1, ("lang:en",))]
    summoned(story)
    story.tell(e.ProcessRestarted())
    assert story.call() is CallState.CALLBACK


def test_a_program_asks_for_it_now_or_later() -> None:
    """The place begins when it was asked for, or when it is due."""
    story = Story()
    story.tell(e.CallbackAsked("api:shop", SUPPORT, reason="the bill"))
    assert line(story) == [e.JoinQueue(SUPPORT, "voice", START, 1, ())]
    assert story.state.whisper == "the bill"
    later = Story()
    later.tell(e.CallbackAsked("api:shop", SUPPORT, START + 600.0))
    assert not line(later)
    later.wait(600.0)
    assert line(later) == [e.JoinQueue(SUPPORT, "voice", START + 600.0, 1, ())]
    later.wait(RULES.callback_expire)
    assert later.state.callback is None


def test_nothing_is_cancelled_or_begun_that_is_not_there(story: Story) -> None:
    """Words say so; CANCEL in a call is a text like any other."""
    story.text("cancel")
    assert story.lines("text.received")
    story.caller_hangs_up()
    for event in (e.CallbackCancelled("Ann"), e.CallbackStarted(ANN, "Ann", "")):
        with pytest.raises(UnexpectedEvent):
            story.tell(event)


def test_a_caller_without_a_number_is_promised_nothing() -> None:
    """Nothing is offered, and a number of theirs is needed to promise anything."""
    story = Story(flow=flow_of(FLOW), facts=CALLABLE, customer=None)
    story.dial()
    story.press("2")
    assert story.call() is CallState.QUEUED
    story = Story(flow=flow_of(ANOTHER), facts=CALLABLE, customer=None)
    story.dial()
    story.press("5550100188#")
    story.prompt_over()
    story.tell(e.CallEnded(LEG, "platform", "bye"))
    assert story.state.callback is not None
    assert story.state.callback.number == "5550100188"
