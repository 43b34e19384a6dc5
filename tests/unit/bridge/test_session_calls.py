"""An agent holds a call, asks a colleague, hands it on, calls a customer: who hears whom, and that nobody is lost."""

from typing import Any

import pytest
from msgspec.structs import replace

from bridge import events as e
from bridge.call_leg import outcome_of
from bridge.chat import ONLY
from bridge.legs import CallState, TextLeg
from bridge.session import UnexpectedEvent
from tests.unit.bridge.story import ANN, BEN, CALLER, LEG, LIMITS, OURS, Story, flow_of, support

BILLING = e.QueueId("billing")
OUTSIDE = "+15550100177"
RULES = LIMITS.calls
QUEUE = """
first:
  - answer
  - queue:
      name: support
      skills: ["lang:{language}", topic]
      treatment: [{music: calm}]
      keys: {"#": over}
      limits: {wait: 5m}
      then: {answered: over, waited_out: over}
over:
  - hangup: done
"""


@pytest.fixture
def story() -> Story:
    """A caller who talks to Ann."""
    story = Story(flow=flow_of(QUEUE))
    story.dial()
    story.agent_answers()
    return story


def did(story: Story) -> list[e.AnyCommand]:
    """What the last event led to, apart from the timeline."""
    return [command for command in story.news if not isinstance(command, e.Record)]


def ask(story: Story) -> e.LegId:
    """Ann asks Ben; the leg that rings."""
    story.tell(e.AgentConsulted(ANN, "Ben", "sip:ben@127.0.0.1", BEN, BILLING, "an old friend"))
    return story.new(e.ConnectAgent)[0].agent_leg


def outside(story: Story) -> e.LegId:
    story.tell(e.AgentConsulted(ANN, OUTSIDE, f"tel:{OUTSIDE}"))
    return story.new(e.ConnectAgent)[0].agent_leg


# --- hold


def test_hold_and_resume_are_two_lines_with_the_seconds(story: Story) -> None:
    """The caller hears music meanwhile; the time counts as hold time."""
    story.tell(e.AgentHeld(ANN))
    assert did(story) == [e.HoldCall(LEG, "calm")]
    story.now += 12.0
    story.tell(e.AgentResumed(ANN))
    assert did(story) == [e.JoinLegs(LEG, story.agent_leg)]
    assert (story.lines("call.held"), story.lines("call.resumed")) == ([{"name": "Ann"}], [{"name": "Ann", "seconds": 12.0}])
    assert story.state.on_hold == 12.0


def test_an_agent_texts_while_the_caller_waits(story: Story) -> None:
    """Hold is part of the call."""
    story.tell(e.AgentHeld(ANN), e.AgentSaid(ANN, "The form"))
    assert story.texts[-1] == "The form"


def test_what_a_phone_holds_the_desk_does_not_resume(story: Story) -> None:
    """Sound would go nowhere. The phone takes it off hold, also when the desk had put it there first."""
    story.tell(e.AgentHeld(ANN), e.PhoneHeld(LEG, story.agent_leg))
    assert not did(story)[1:]
    with pytest.raises(UnexpectedEvent, match="at your phone"):
        story.tell(e.AgentResumed(ANN))
    story.tell(e.PhoneResumed(LEG, story.agent_leg))
    assert story.call() is CallState.CONNECTED


def test_a_caller_who_hangs_up_on_hold_has_waited_so_long(story: Story) -> None:
    """The hold is over with the call, and the agent writes up."""
    story.tell(e.AgentHeld(ANN))
    story.now += 5.0
    story.caller_hangs_up()
    assert story.state.on_hold == 5.0
    assert not story.lines("call.resumed")
    assert story.state.wrapping == [ANN]


def test_an_agent_who_is_gone_leaves_nobody_on_hold(story: Story) -> None:
    """The phone died: the caller stands in line again, at the old place, with music."""
    since = story.state.since
    story.tell(e.AgentHeld(ANN), e.AgentLegEnded(LEG, story.agent_leg, "network"))
    assert story.call() is CallState.QUEUED
    assert story.new(e.JoinQueue) == [e.JoinQueue(e.QueueId("support"), "voice", since or 0.0, 1, ("lang:en", "topic"))]
    assert story.new(e.PlayMusic) == [e.PlayMusic(LEG, "calm")]
    story.agent_answers(BEN)
    assert story.call() is CallState.CONNECTED


def test_an_agent_may_end_a_call_on_hold_from_the_desk(story: Story) -> None:
    """That was meant: the flow says goodbye."""
    story.tell(e.AgentHeld(ANN), e.AgentHungUp(ANN), e.AgentLegEnded(LEG, story.agent_leg, "platform"))
    assert story.new(e.HangUp) == [e.HangUp(LEG)]


# --- asking somebody


def test_a_colleague_is_asked_while_the_caller_hears_music(story: Story) -> None:
    """The colleague is busy meanwhile, and the phone that rings is joined to the agent's."""
    first = story.agent_leg
    leg = ask(story)
    assert did(story) == [
        e.HoldCall(LEG, "calm"),
        e.AssignAgent(BEN, "voice", BILLING, beside=True),
        e.ConnectAgent(LEG, leg, "sip:ben@127.0.0.1", LIMITS.agent_ring, first, None),
    ]
    assert story.lines("transfer.started")[0] == {
        "by": "Ann", "to": "Ben", "queue": "billing", "note": "an old friend", "channel": "voice", "warm": True,
    }  # fmt: skip


def test_the_call_is_left_to_whoever_was_asked(story: Story) -> None:
    """Caller and colleague are joined before the agent goes; the place in line is kept for another transfer."""
    first, since, leg = story.agent_leg, story.state.since, ask(story)
    story.tell(e.AgentLegAnswered(LEG, leg))
    story.tell(e.AgentCompleted(ANN))
    assert did(story) == [
        e.JoinLegs(LEG, leg),
        e.DropAgent(LEG, first),
        e.ReleaseAgent(ANN, "voice", wrap_up=True),
        e.AssignAgent(BEN, "voice", BILLING),
        e.ReleaseAgent(BEN, "voice", wrap_up=False, beside=True),
    ]
    assert (story.state.agent, story.agent_leg, story.state.queue, story.state.since) == (BEN, leg, BILLING, since)
    assert story.lines("transfer.completed") == [{"by": "Ann", "to": "Ben", "channel": "voice"}]


def test_the_agent_goes_to_and_fro(story: Story) -> None:
    """Either the caller waits with music or the colleague in silence, and from both sides the call can be left."""
    first, leg = story.agent_leg, ask(story)
    story.tell(e.AgentLegAnswered(LEG, leg))
    story.tell(e.AgentSwapped(ANN))
    assert did(story) == [e.JoinLegs(LEG, first)]
    story.tell(e.AgentSwapped(ANN))
    assert did(story) == [e.HoldCall(LEG, "calm"), e.JoinLegs(LEG, first, leg)]
    story.tell(e.AgentSwapped(ANN), e.AgentCompleted(ANN))
    assert story.state.agent == BEN


@pytest.mark.parametrize(("status", "why"), [(486, "busy"), (408, "no answer"), (603, "refused"), (503, "not reachable")])
def test_a_colleague_who_does_not_answer_leaves_the_two_talking(story: Story, status: int, why: str) -> None:
    """The caller hears the agent again, not an excuse."""
    leg = ask(story)
    story.tell(e.AgentLegFailed(LEG, leg, status, "no"))
    assert did(story) == [e.ReleaseAgent(BEN, "voice", wrap_up=False, beside=True), e.JoinLegs(LEG, story.agent_leg)]
    assert story.lines("transfer.failed")[0]["reason"] == why
    assert story.call() is CallState.CONNECTED


def test_a_colleague_who_hangs_up_while_waiting_changes_nothing_for_the_caller(story: Story) -> None:
    """Agent and caller are talking already."""
    leg = ask(story)
    story.tell(e.AgentLegAnswered(LEG, leg), e.AgentSwapped(ANN))
    story.tell(e.AgentLegEnded(LEG, leg, "agent"))
    assert did(story) == [e.ReleaseAgent(BEN, "voice", wrap_up=False, beside=True)]
    assert (story.call(), story.state.agent) == (CallState.CONNECTED, ANN)


def test_the_agent_takes_the_caller_back(story: Story) -> None:
    """Whoever was asked is dropped, answered or not."""
    leg = ask(story)
    story.tell(e.AgentTookBack(ANN))
    assert e.DropAgent(LEG, leg) in did(story)
    assert e.JoinLegs(LEG, story.agent_leg) in did(story)


def test_hanging_up_after_asking_hands_the_caller_over(story: Story) -> None:
    """As on any desk phone."""
    first, leg = story.agent_leg, ask(story)
    story.tell(e.AgentLegAnswered(LEG, leg))
    story.tell(e.AgentLegEnded(LEG, first, "agent"))
    assert e.DropAgent(LEG, first) not in did(story)
    assert (story.call(), story.state.agent) == (CallState.CONNECTED, BEN)


def test_hanging_up_before_the_answer_puts_the_caller_in_line(story: Story) -> None:
    """Nobody is rung for a caller who would be alone with them, and nobody is lost."""
    first, leg = story.agent_leg, ask(story)
    story.tell(e.AgentLegEnded(LEG, first, "agent"))
    assert e.DropAgent(LEG, leg) in did(story)
    assert story.call() is CallState.QUEUED


def test_what_cannot_be_done_yet_is_refused(story: Story) -> None:
    """Nobody is given a call before they have answered, or is swapped with."""
    ask(story)
    for event in (e.AgentCompleted(ANN), e.AgentSwapped(ANN)):
        with pytest.raises(UnexpectedEvent, match="has not answered yet"):
            story.tell(event)
    with pytest.raises(UnexpectedEvent, match="not ours"):
        story.tell(e.AgentLegAnswered(LEG, e.LegId("stranger")))
    with pytest.raises(UnexpectedEvent, match="does not have the call"):
        story.tell(e.AgentTookBack(BEN))
    with pytest.raises(UnexpectedEvent, match="call that is over"):
        story.tell(e.CallEnded(e.LegId("another"), "caller", "bye"))


def test_a_phone_held_in_private_talk_changes_nothing(story: Story) -> None:
    """The colleague hears nothing for a while; the caller waits as before."""
    ask(story)
    story.tell(e.PhoneHeld(LEG, story.agent_leg), e.PhoneResumed(LEG, story.agent_leg))
    assert not did(story)


def test_a_call_is_handed_on_so_many_times(story: Story) -> None:
    """Then somebody has to keep it."""
    for _ in range(RULES.max_transfers):
        leg = ask(story)
        story.tell(e.AgentLegFailed(LEG, leg, 486, "Busy Here"))
    with pytest.raises(UnexpectedEvent, match="often enough"):
        ask(story)


def test_the_caller_goes_in_the_middle_of_it(story: Story) -> None:
    """Both agents are free, one writes up."""
    ask(story)
    story.caller_hangs_up()
    assert e.ReleaseAgent(BEN, "voice", wrap_up=False, beside=True) in did(story)
    assert story.lines("transfer.failed")[0]["reason"] == "caller hung up"
    assert story.state.wrapping == [ANN]


def test_nobody_answers_outside(story: Story) -> None:
    """The two talk on."""
    leg = outside(story)
    story.tell(e.AgentLegFailed(LEG, leg, 486, "Busy Here"))
    assert did(story) == [e.JoinLegs(LEG, story.agent_leg)]


def test_somebody_outside_gets_the_caller(story: Story) -> None:
    """They see our number; the agent is free; when they hang up the call goes on as after any agent."""
    leg = outside(story)
    assert story.new(e.ConnectAgent)[0].sender == OURS
    assert story.new(e.ConnectAgent)[0].ring_timeout == RULES.ring
    story.tell(e.AgentLegAnswered(LEG, leg), e.AgentCompleted(ANN))
    assert (story.call(), story.state.agent, story.state.outside) == (CallState.OUTSIDE, None, OUTSIDE)
    story.tell(e.AgentLegEnded(LEG, leg, "agent"))
    assert story.new(e.HangUp) == [e.HangUp(LEG)]


# --- handing on


def test_a_call_is_handed_to_a_colleague_alone_at_first(story: Story) -> None:
    """With the place it had; the music goes on, and the phone of the first agent is down."""
    since, first = story.state.since, story.agent_leg
    story.tell(e.CallTransferred(ANN, e.QueueId("support"), BEN, "Ben", note="for you"))
    assert did(story) == [
        e.DropAgent(LEG, first),
        e.ReleaseAgent(ANN, "voice", wrap_up=True),
        e.JoinQueue(e.QueueId("support"), "voice", since or 0.0, 1, (f"{ONLY}{BEN}",)),
        e.PlayMusic(LEG, "calm"),
    ]
    story.agent_answers(BEN)
    assert story.lines("transfer.completed") == [{"by": "Ann", "to": "Ben", "channel": "voice"}]
    assert story.wait(RULES.transfer_ring + 1.0) == []


@pytest.mark.parametrize("how", ["declined", "silence", "phone"])
def test_what_the_colleague_does_not_take_goes_back_and_then_to_anybody(story: Story, how: str) -> None:
    """First to who handed it on, then to whoever takes that queue's calls, in the old place."""
    since = story.state.since or 0.0
    story.tell(e.CallTransferred(ANN, BILLING, BEN, "Ben"))
    if how == "declined":
        story.tell(e.AgentOffered(BEN, "voice"), e.OfferLapsed(BEN, "voice", "declined"))
    elif how == "silence":
        story.wait(RULES.transfer_ring)
    else:
        story.agent_takes(BEN)
        story.tell(e.AgentLegFailed(LEG, story.agent_leg, 486, "Busy Here"))
    assert story.new(e.JoinQueue)[-1] == e.JoinQueue(e.QueueId("support"), "voice", since, 1, (f"{ONLY}{ANN}",))
    assert story.lines("transfer.failed")[0]["reason"] == ("declined" if how == "declined" else "no answer")
    story.wait(RULES.transfer_ring)
    assert story.new(e.JoinQueue)[-1] == e.JoinQueue(e.QueueId("support"), "voice", since, 1, ("lang:en", "topic"))
    story.agent_takes(ANN)
    story.tell(e.AgentLegFailed(LEG, story.agent_leg, 486, "Busy Here"))
    assert story.call() is CallState.QUEUED


def test_another_queue_is_about_something_else_in_the_same_language(story: Story) -> None:
    """Of what the first queue asked for, only the language goes along."""
    story.tell(e.CallTransferred(ANN, BILLING))
    assert story.new(e.JoinQueue)[0].skills == ("lang:en",)
    story.agent_answers(BEN)
    assert story.lines("transfer.completed")[0]["to"] == "Ben"


def test_who_is_handed_on_is_treated_as_in_line(story: Story) -> None:
    """Keys and limits of the flow hold again; leaving the line is no transfer any more."""
    story.tell(e.AgentHeld(ANN), e.CallTransferred(ANN, BILLING))
    story.press("#")
    assert story.lines("transfer.failed")[0]["reason"] == "left the line"
    assert story.new(e.LeaveQueue) == [e.LeaveQueue("voice", "timed_out")]
    assert story.new(e.HangUp) == [e.HangUp(LEG)]


def test_who_hangs_up_while_handed_on_is_an_abandoned_call(story: Story) -> None:
    """The transfer has failed, and the line knows."""
    story.tell(e.CallTransferred(ANN, BILLING, BEN, "Ben"))
    story.caller_hangs_up()
    assert story.new(e.LeaveQueue)[0] == e.LeaveQueue("voice", "abandoned")
    assert story.lines("transfer.failed")[0]["reason"] == "caller hung up"


def test_a_number_outside_rings_and_does_not_answer(story: Story) -> None:
    """The caller hears music, then stands in line for who handed the call on."""
    story.tell(e.CallTransferred(ANN, number=OUTSIDE))
    assert story.new(e.PlayMusic) == [e.PlayMusic(LEG, "calm")]
    leg = story.agent_leg
    story.tell(e.AgentLegFailed(LEG, leg, 408, "No answer"))
    assert story.call() is CallState.QUEUED
    assert story.new(e.JoinQueue)[0].skills == (f"{ONLY}{ANN}",)


def test_a_number_outside_answers(story: Story) -> None:
    """Then the transfer is complete."""
    story.tell(e.CallTransferred(ANN, number=OUTSIDE))
    story.tell(e.AgentLegAnswered(LEG, story.agent_leg), e.AudioConnected(LEG, story.agent_leg))
    assert story.lines("transfer.completed")[0]["to"] == OUTSIDE
    story.caller_hangs_up()
    assert story.closed() or story.state.wrapping == [ANN]


def test_a_transfer_that_waits_for_ever() -> None:
    """With a ring time of 0 nobody is asked in the colleague's place."""
    story = Story(flow=flow_of(QUEUE))
    story.limits = replace(LIMITS, calls=replace(RULES, transfer_ring=0.0))
    story.restore()
    story.dial()
    story.agent_answers()
    story.tell(e.CallTransferred(ANN, BILLING, BEN, "Ben"))
    assert story.call() is CallState.QUEUED


# --- calls of ours


def outbound(**state: Any) -> Story:
    """Ann calls a customer; her phone rings."""
    story = Story(service="outbound", **state)
    story.tell(e.AgentCalled(ANN, "Ann", e.QueueId("support"), "sip:ann@127.0.0.1"))
    return story


def our_leg(story: Story) -> e.LegId:
    assert story.state.leg is not None
    return story.state.leg


def test_the_agents_phone_rings_before_the_customers() -> None:
    """And the customer sees the number of ours that the session is on."""
    story = outbound()
    leg = our_leg(story)
    assert did(story) == [
        e.AssignAgent(ANN, "voice", e.QueueId("support")),
        e.OpenCall(leg, CALLER),
        e.ConnectAgent(leg, story.agent_leg, "sip:ann@127.0.0.1", LIMITS.agent_ring),
    ]
    story.tell(e.AgentLegAnswered(leg, story.agent_leg))
    assert did(story) == [e.DialCustomer(leg, CALLER, OURS, RULES.ring)]
    story.tell(e.CustomerAnswered(leg), e.AudioConnected(leg, story.agent_leg))
    assert story.call() is CallState.CONNECTED
    story.tell(e.AgentSaid(ANN, "The form"))
    assert story.texts[-1] == "The form"
    story.tell(e.AgentLegEnded(leg, story.agent_leg, "agent"))
    assert did(story) == [e.ReleaseAgent(ANN, "voice", wrap_up=True), e.HangUp(leg)]
    story.tell(e.CallEnded(leg, "platform", "bye"), e.WrapUpNoted(ANN, "done"))
    story.wait(LIMITS.open_window)
    assert story.closed()


@pytest.mark.parametrize(
    ("cause", "outcome"),
    [("486", "busy"), ("408", "no answer"), ("480", "no answer"), ("603", "refused"), ("404", "not reachable")],
)
def test_a_customer_who_is_not_reached_is_an_outcome(cause: str, outcome: str) -> None:
    """The session ends with it, and nobody has to write it up."""
    story = outbound()
    story.tell(e.AgentLegAnswered(our_leg(story), story.agent_leg), e.CallEnded(our_leg(story), "network", cause))
    assert story.lines("call.not_reached") == [{"outcome": outcome, "status": cause}]
    assert (story.closed(), story.state.reason) == (True, outcome)
    assert outcome_of(cause) == outcome


def test_an_agent_gives_up_while_it_rings() -> None:
    """At the desk or at the phone; the customer's phone stops ringing."""
    story = outbound()
    leg = our_leg(story)
    story.tell(e.AgentLegAnswered(leg, story.agent_leg), e.AgentHungUp(ANN))
    assert did(story)[-1] == e.DropAgent(leg, story.agent_leg)
    story.tell(e.AgentLegEnded(leg, story.agent_leg, "platform"))
    assert did(story) == [e.ReleaseAgent(ANN, "voice", wrap_up=False), e.HangUp(leg)]
    story.tell(e.CallEnded(leg, "platform", "bye"))
    assert (story.closed(), story.state.reason) == (True, "cancelled by agent")


def test_an_agent_who_does_not_pick_up_calls_nobody() -> None:
    """No customer is rung for nobody."""
    story = outbound()
    leg = our_leg(story)
    story.tell(e.AgentLegFailed(leg, story.agent_leg, 408, "No answer"))
    assert did(story) == [e.ReleaseAgent(ANN, "voice", wrap_up=False), e.HangUp(leg)]
    story.tell(e.CallEnded(leg, "platform", "bye"))
    assert (story.closed(), story.state.reason) == (True, "agent not reached")


def test_the_customer_is_called_out_of_a_chat_and_again() -> None:
    """One conversation: the chat goes on, and a second try is a second call in it."""
    story = Story(text=TextLeg.CHATTING, chat_agent=ANN, chat_queue=e.QueueId("support_sms"), introduced=True)
    story._holders = {(ANN, "sms", False)}
    for n in (1, 2):
        story.tell(e.AgentCalled(ANN, "Ann", e.QueueId("support"), "sip:ann@127.0.0.1"))
        assert our_leg(story) == f"s/call{n}"
        story.text("I cannot talk now")
        story.tell(e.AgentLegAnswered(our_leg(story), story.agent_leg), e.CallEnded(our_leg(story), "network", "486"))
    assert story.texting() is TextLeg.CHATTING
    assert not story.closed()


def test_a_called_customer_is_handed_on_too(story: Story) -> None:
    """There is no flow: the line has the house's music, and after the last agent the call is over."""
    story = outbound()
    leg = our_leg(story)
    story.tell(e.AgentLegAnswered(leg, story.agent_leg), e.CustomerAnswered(leg))
    story.tell(e.CallTransferred(ANN, BILLING))
    assert story.new(e.PlayMusic) == [e.PlayMusic(leg, "calm")]
    assert story.new(e.JoinQueue)[0].since == story.now


def test_nobody_is_called_who_withheld_the_number() -> None:
    """There is nothing to dial."""
    story = Story(customer=None)
    with pytest.raises(UnexpectedEvent, match="no number to call"):
        story.tell(e.AgentCalled(ANN, "Ann", e.QueueId("support"), ""))


def test_a_restart_ends_a_call_that_was_being_made() -> None:
    """Nobody is told that we were cut off who has not been on the line."""
    story = outbound(desk="support_sms")
    story.tell(e.ProcessRestarted())
    assert story.closed()
    assert not story.texts


def test_the_packaged_flow_takes_who_is_handed_on() -> None:
    """Music and announcements go on; an offer to text is not made again."""
    story = Story(flow=support(), offers={"deflect": False, "hold": False})
    story.to_the_line()
    story.agent_answers()
    story.tell(e.CallTransferred(ANN, BILLING))
    assert story.new(e.PlayMusic)
    assert story.wait(10.0)
    assert story.new(e.PlayPrompts)
