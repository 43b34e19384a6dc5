"""Odd lives: what the customer wrote elsewhere, at the wrong moment, or to nobody; and calls that we end ourselves."""

import msgspec
import pytest

from bridge import events as e
from bridge.legs import CallState, TextLeg
from tests.unit.bridge.story import ANN, LEG, LIMITS, START, Story, flow_of, support


def caller(*, deflect: bool = False, hold: bool = False) -> Story:
    """A caller of the packaged flow who has not been asked anything yet."""
    return Story(flow=support(), offers={"deflect": deflect, "hold": hold})


def served() -> Story:
    """A caller who talked to Ann and has hung up; Ann writes it up."""
    story = caller()
    story.to_the_line()
    story.agent_answers()
    story.caller_hangs_up()
    return story


# --- STOP and START elsewhere


def test_stop_in_another_conversation_holds_for_this_call_too() -> None:
    """No offer, no text, and the agent is told; the ledger is not written twice and STOP is not answered twice."""
    story = caller()
    story.to_the_line()
    story.tell(e.OptOutChanged(True))
    assert story.texting() is TextLeg.OPTED_OUT
    assert [command.kind for command in story.new(e.Record)] == ["opted_out"]
    assert not story.all(e.OptOut)
    assert not story.texts
    story.agent_answers()
    assert "STOP" in (story.session.composer(ANN) or "")
    story.tell(e.OptOutChanged(True))
    assert not story.news
    story.tell(e.OptOutChanged(False))
    assert story.session.composer(ANN) is None
    story.tell(e.OptOutChanged(False))
    assert not story.news


def test_stop_in_another_conversation_ends_a_chat() -> None:
    """The agent cannot go on writing to somebody who said STOP to a colleague."""
    story = Story()
    story.text()
    story.agent_chats()
    story.tell(e.OptOutChanged(True))
    assert story.new(e.ReleaseAgent) == [e.ReleaseAgent(ANN, "sms", wrap_up=True)]
    assert story.session.composer(ANN) is not None
    story.tell(e.WrapUpNoted(ANN, "", None))
    assert story.closed()


def test_stop_in_another_conversation_brings_an_invited_caller_back_to_the_line() -> None:
    """Who waits for our text on the line is not left without a call either."""
    story = caller(deflect=True)
    story.to_the_offer()
    story.press("1")
    story.tell(e.OptOutChanged(True))
    assert story.said == ["text_failed"]
    story.prompt_over()
    assert story.call() is CallState.QUEUED


# --- at the wrong moment


def test_who_opts_out_during_the_offer_and_then_accepts_is_promised_no_text() -> None:
    """STOP holds until START: no "look at your phone", and the place is kept."""
    story = caller(deflect=True)
    story.to_the_offer()
    story.text("STOP", keyword="stop")
    story.press("1")
    assert story.said == ["text_failed"]
    assert [line["what"] for line in story.lines("promise.made")] == ["place_kept"]
    story.prompt_over()
    [join] = story.new(e.JoinQueue)
    assert join.since == START
    assert story.texts == ["[stop en]"]


def test_who_opts_out_during_the_offer_in_line_and_then_accepts_is_promised_no_text() -> None:
    """The same while waiting: the caller hears that no text comes, and is asked nothing by text."""
    story = caller(hold=True)
    story.to_the_line()
    while story.said != ["offer_hold_text"]:
        story.wait(1.0)
        if story.said[:1] == ["queue_position-1"]:
            story.prompt_over()
    story.text("STOP", keyword="stop")
    story.press("1")
    assert story.said == ["text_failed"]
    assert [line["what"] for line in story.lines("promise.made")] == ["place_kept"]
    assert not story.state.asked
    assert story.texts == ["[stop en]"]


QUIET_OFFER = """
first:
  - answer
  - queue:
      name: support
      treatment:
        - music: calm
        - offer_sms: {kind: hold, after: 1s, prompt: offer_hold_text, accept: "1", purpose: session, hello: text_hold_hello,
                      ask: [{into: reason, text: ask_reason}], expires: 2m}
      limits: {wait: 30m}
      then: {answered: over, waited_out: over}
over:
  - hangup: over
"""


def test_a_flow_without_an_apology_goes_on_with_the_music() -> None:
    """Nothing is promised, so nothing has to be taken back."""
    story = Story(flow=flow_of(QUIET_OFFER), offers={"hold": True})
    story.dial()
    story.wait(2.0)
    assert story.said == ["offer_hold_text"]
    story.text("STOP", keyword="stop")
    story.press("1")
    assert [type(command) for command in story.new(e.PlayMusic)] == [e.PlayMusic]
    assert not story.lines("promise.made")
    again = Story(flow=flow_of(QUIET_OFFER), offers={"hold": True})
    again.dial()
    again.wait(2.0)
    again.prompt_over()
    again.text("STOP", keyword="stop")
    again.press("1")
    assert not again.new(e.PlayMusic)


def test_nobody_who_opted_out_is_texted_whatever_the_flow_believes() -> None:
    """The session has the last word, and the flow hears that it did not work."""
    story = Story(flow=flow_of(QUIET_OFFER), offers={"hold": True})
    story.dial()
    story.wait(2.0)
    story.text("STOP", keyword="stop")
    believes = msgspec.structs.replace(story.facts, opted_out=False)
    commands = story.session.handle(e.DigitsReceived(LEG, "1"), now=story.now, facts=believes)
    assert not [command for command in commands if isinstance(command, e.SendText)]
    assert not story.session.state.asked


def test_who_opts_out_with_the_text_in_hand_but_still_on_the_line_stays_a_caller() -> None:
    """The text came while "look at your phone" was being said: nobody is told to answer it after STOP."""
    story = caller(deflect=True)
    story.to_the_offer()
    story.press("1")
    story.delivered()
    story.text("STOP", keyword="stop")
    assert story.said == ["text_failed"]
    story.prompt_over()
    assert story.call() is CallState.QUEUED


def test_who_could_not_be_texted_is_not_offered_it_again_in_line() -> None:
    """The number has just proved that it takes no text."""
    story = caller(deflect=True, hold=True)
    story.to_the_offer()
    story.press("1")
    story.undelivered()
    story.prompt_over()
    assert story.call() is CallState.QUEUED
    for _ in range(20):
        story.wait(10.0)
        if story.said != ["text_failed"]:
            story.prompt_over()
    assert [line["kind"] for line in story.lines("offer.made")] == ["deflect"]


# --- to nobody


def test_a_text_on_the_line_is_answered_after_the_caller_hung_up() -> None:
    """It goes to the desk with the place of the call, and the customer hears who will answer and how to stop us."""
    story = caller()
    story.to_the_line()
    story.text("I cannot wait")
    story.caller_hangs_up()
    assert story.texting() is TextLeg.QUEUED
    assert story.texts == ["[hello en]"]
    assert story.all(e.JoinQueue)[-1].since == START


def test_the_first_text_outside_a_call_does_not_speak_of_a_call() -> None:
    """An agent who writes up introduces us as in a chat."""
    story = served()
    story.tell(e.AgentSaid(ANN, "I forgot the link"))
    assert story.texts == ["[hello en]", "I forgot the link"]


def test_a_text_in_wrap_up_does_not_wait_for_an_agent_who_has_gone_home() -> None:
    """Unanswered for a minute it goes to the desk, although the note is not written."""
    story = served()
    story.text("one more thing")
    story.wait(LIMITS.wrap_up_reply - 1.0)
    assert story.texting() is TextLeg.OPEN
    story.wait(2.0)
    assert story.texting() is TextLeg.QUEUED


def test_an_answer_in_wrap_up_gives_the_agent_the_time_for_the_note_again() -> None:
    """Who writes is there."""
    story = served()
    story.text("one more thing")
    story.tell(e.AgentSaid(ANN, "Yes?"))
    story.wait(LIMITS.wrap_up - 1.0)
    assert story.state.wrapping == [ANN]


@pytest.mark.parametrize("invited", [True, False])
def test_a_text_leg_that_nobody_used_does_not_end_as_a_chat(invited: bool) -> None:
    """There was no chat, so none is said to have ended."""
    story = caller(deflect=invited)
    if invited:
        story.to_the_offer()
        story.press("1")
        story.delivered()
        story.prompt_over()
        story.prompt_over()
        story.tell(e.CallEnded(LEG, "platform", "bye"))
    else:
        story.to_the_line()
        story.agent_answers()
        story.tell(e.AgentSaid(ANN, "The form"))
        story.caller_hangs_up()
        story.tell(e.WrapUpNoted(ANN, "", None))
    story.wait(LIMITS.reply_window + LIMITS.open_window)
    assert story.lines("text.lapsed") == [{"invited": invited}]
    assert not story.lines("chat.ended")
    assert story.closed()


# --- calls that we end


def test_an_agent_who_hangs_up_at_the_desk_has_left_by_their_own_will() -> None:
    """The provider says that we ended the leg; the timeline says on whose wish."""
    story = caller()
    story.to_the_line()
    story.agent_answers()
    story.tell(e.AgentHungUp(ANN), e.AgentLegEnded(LEG, story.agent_leg, "platform"))
    assert [line["by"] for line in story.lines("agent.left")] == ["agent"]


def test_a_server_that_stops_says_so_to_those_who_agreed_to_be_texted() -> None:
    """As after a crash: "we were cut off" and not "sorry that we kept you waiting"."""
    story = caller()
    story.to_the_line()
    story.text("hello?")
    story.tell(e.CallEnded(LEG, "platform", "restart"))
    assert story.texts[0] == "[rescue en]"
    quiet = caller()
    quiet.to_the_line()
    quiet.tell(e.CallEnded(LEG, "platform", "restart"))
    assert not quiet.texts
    assert quiet.closed()
