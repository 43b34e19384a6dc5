"""Texts beside a call: an agent and a customer write while they talk, and for a while after."""

from typing import Any

import pytest

from bridge import events as e
from bridge.legs import CallState, TextLeg
from bridge.session import UnexpectedEvent
from tests.unit.bridge.story import ANN, BEN, LEG, LIMITS, OURS, Story, flow_of, support


def connected(**state: Any) -> Story:
    """A caller who is talking to Ann."""
    story = Story(flow=support(), offers={"deflect": False, "hold": False}, **state)
    story.to_the_line()
    story.agent_answers()
    return story


@pytest.fixture
def story() -> Story:
    """A caller who is talking to Ann and has never had a text from us."""
    return connected()


def hung_up(story: Story) -> Story:
    """The call is over; Ann writes it up."""
    story.caller_hangs_up()
    assert story.state.wrapping == [ANN]
    return story


def test_the_first_text_to_a_number_introduces_us_once(story: Story) -> None:
    """Who we are and how to stop us goes before the agent's words, and only the first time."""
    story.tell(e.AgentSaid(ANN, "The form: https://example.com/form", preset="form"))
    assert story.texts == ["[in_call en]", "The form: https://example.com/form"]
    story.tell(e.AgentSaid(ANN, "Got it?"))
    assert story.texts[2:] == ["Got it?"]
    assert [text.author for text in story.all(e.SendText)] == ["system", "agent:ann", "agent:ann"]
    assert story.lines("text.sent")[1]["preset"] == "form"


def test_a_text_asked_for_twice_is_sent_once() -> None:
    """The desk did not hear that the first time worked and asks again, under the same name; other texts are not affected."""
    story = connected(introduced=True)
    story.tell(e.AgentSaid(ANN, "The form", once="n1"))
    story.tell(e.AgentSaid(ANN, "The form", once="n1"))
    story.tell(e.AgentSaid(ANN, "The form", once="n2"))
    assert story.texts == ["The form", "The form"]


def test_a_number_that_knows_us_is_not_introduced_again() -> None:
    """It had a text from us in an earlier conversation."""
    story = connected(introduced=True)
    story.tell(e.AgentSaid(ANN, "The form"))
    assert story.texts == ["The form"]


def test_what_the_caller_texts_during_the_call_appears_beside_it(story: Story) -> None:
    """Words and photos are lines of the same session, and nothing is sent or asked by itself."""
    story.text("this one", photos=1)
    assert story.lines("text.received")[0]["body"] == "this one"
    assert len(story.lines("text.received")[0]["media"]) == 1
    assert story.news == story.new(e.Record)
    assert not story.unanswered()


def test_stop_ends_the_text_leg_and_leaves_the_call_alone(story: Story) -> None:
    """The talk goes on; the composer closes and says why; one confirmation, and no more."""
    story.tell(e.AgentSaid(ANN, "The form"))
    story.text("STOP", keyword="stop")
    assert (story.call(), story.texting()) == (CallState.CONNECTED, TextLeg.OPTED_OUT)
    assert [type(c) for c in story.news if not isinstance(c, e.Record)] == [e.OptOut, e.SendText]
    assert "STOP" in (story.session.composer(ANN) or "")
    before = story.saved()
    with pytest.raises(UnexpectedEvent, match="STOP"):
        story.tell(e.AgentSaid(ANN, "One more thing"))
    assert story.saved() == before
    story.text("STOP", keyword="stop")
    assert not story.new(e.SendText)
    assert not story.new(e.OptOut)


def test_start_opens_the_text_leg_again(story: Story) -> None:
    """The customer is told, and the agent may write."""
    story.text("STOP", keyword="stop")
    story.text("START", keyword="start")
    assert story.new(e.OptIn) == [e.OptIn(story.state.customer or "", OURS, "message in-2")]
    assert [(text.body, text.required) for text in story.new(e.SendText)] == [("[start en]", True)]
    assert story.session.composer(ANN) is None
    story.tell(e.AgentSaid(ANN, "The form"))
    assert story.texts[-1] == "The form"


def test_help_is_answered_also_for_one_who_opted_out(story: Story) -> None:
    """HELP is owed an answer whatever the state, and changes none."""
    story.text("HELP", keyword="help")
    assert [(text.body, text.required) for text in story.new(e.SendText)] == [("[help en]", True)]
    story.text("STOP", keyword="stop")
    story.text("help", keyword="help")
    assert not story.new(e.SendText)  # asked again within the minute
    story.now += 60.0
    story.text("help", keyword="help")
    assert [text.body for text in story.new(e.SendText)] == ["[help en]"]
    assert story.texting() is TextLeg.OPTED_OUT


@pytest.mark.parametrize("keyword", ["stop", "start", "help"])
def test_a_keyword_the_provider_has_answered_is_obeyed_and_not_answered_twice(story: Story, keyword: e.Keyword) -> None:
    """The opt-out is kept all the same."""
    story.text(keyword, keyword=keyword, provider_answers=True)
    assert not story.new(e.SendText)
    assert (story.texting() is TextLeg.OPTED_OUT) is (keyword == "stop")
    assert len(story.new(e.OptOut)) == (keyword == "stop")


def test_an_opt_out_that_only_the_provider_knew_is_learnt(story: Story) -> None:
    """The refusal closes the composer and goes into our own list, once."""
    story.tell(e.AgentSaid(ANN, "The form"))
    first, second = (text.message for text in story.all(e.SendText))
    story.tell(e.TextRejected(first, "opted_out", "21610", "The number has opted out."))
    assert story.new(e.OptOut) == [e.OptOut(story.state.customer or "", OURS, "provider code 21610")]
    assert story.session.composer(ANN) is not None
    story.tell(e.TextRejected(second, "opted_out", "21610", "The number has opted out."))
    assert not story.new(e.OptOut)
    assert story.call() is CallState.CONNECTED


def test_an_undelivered_text_is_on_record(story: Story) -> None:
    """The agent sees that the customer has not got it; the call goes on."""
    story.tell(e.AgentSaid(ANN, "The form"))
    story.undelivered()
    assert story.lines("text.failed")[0]["code"] == "30003"
    assert story.call() is CallState.CONNECTED


def test_only_the_agent_on_the_call_may_write(story: Story) -> None:
    """Somebody else's words are refused and nothing changes."""
    before = story.saved()
    with pytest.raises(UnexpectedEvent, match="not connected"):
        story.tell(e.AgentSaid(BEN, "Hello"))
    with pytest.raises(UnexpectedEvent):
        story.tell(e.AgentHungUp(BEN))
    assert story.saved() == before


def test_nobody_writes_to_a_landline() -> None:
    """The composer says why."""
    story = connected(why_not_text="This number cannot take texts.")
    assert story.session.composer(ANN) == "This number cannot take texts."


def test_nobody_writes_before_the_phone_was_picked_up() -> None:
    """An agent who is only being rung is not connected."""
    story = Story(flow=support(), offers={"deflect": False, "hold": False})
    story.to_the_line()
    story.agent_takes()
    assert story.session.composer(ANN) == "You are not connected to this customer."


def test_after_the_agent_has_left_the_flow_goes_on(story: Story) -> None:
    """The agent hangs up from the desk: the caller hears the goodbye of the flow, and the agent writes up."""
    story.tell(e.AgentHungUp(ANN))
    assert story.new(e.DropAgent) == [e.DropAgent(LEG, story.agent_leg)]
    story.tell(e.AgentLegEnded(LEG, story.agent_leg, "platform"))
    assert story.new(e.ReleaseAgent) == [e.ReleaseAgent(ANN, "voice", wrap_up=True)]
    assert story.said == ["goodbye"]
    story.prompt_over()
    assert story.new(e.HangUp) == [e.HangUp(LEG)]
    story.tell(e.CallEnded(LEG, "platform", "bye"))
    assert story.state.wrapping == [ANN]
    story.tell(e.WrapUpNoted(ANN, "All well", "Solved"))
    assert story.closed()


def test_an_agent_who_hangs_up_while_the_phone_still_rings_gives_the_caller_back() -> None:
    """The caller has not noticed anything and stands in line as before."""
    story = Story(flow=support(), offers={"deflect": False, "hold": False})
    story.to_the_line()
    [join] = story.new(e.JoinQueue)
    story.agent_takes()
    story.tell(e.AgentHungUp(ANN))
    assert story.new(e.DropAgent)
    story.tell(e.AgentLegFailed(LEG, story.agent_leg, 487, "Request Terminated"))
    assert story.new(e.JoinQueue) == [join]


def test_wrap_up_ends_with_the_note_and_the_note_is_kept(story: Story) -> None:
    """The session closes when the last agent is through."""
    hung_up(story)
    assert not story.closed()
    story.tell(e.WrapUpNoted(ANN, "Router replaced", "Solved"))
    assert story.lines("note.written") == [{"name": "Ann", "note": "Router replaced", "disposition": "Solved"}]
    assert story.closed()
    story.tell(e.WrapUpNoted(ANN, "And the cable too", None))
    assert story.lines("note.written")[-1]["note"] == "And the cable too"


def test_a_forgotten_wrap_up_ends_by_itself(story: Story) -> None:
    """The session does not stay open because nobody wrote a note."""
    hung_up(story).wait(LIMITS.wrap_up + 1.0)
    assert story.closed()


def test_the_agent_may_answer_a_text_during_wrap_up(story: Story) -> None:
    """It is the same agent and the same matter; once answered it does not go to the desk."""
    hung_up(story).text("one more question")
    assert not story.new(e.JoinQueue)
    story.tell(e.AgentSaid(ANN, "Yes"))
    assert story.texts == ["[hello en]", "Yes"]
    story.tell(e.WrapUpNoted(ANN, "", None))
    assert [join.channel for join in story.all(e.JoinQueue)] == ["voice"]
    story.wait(LIMITS.open_window + 1.0)
    assert story.closed()


@pytest.mark.parametrize("ends", ["note", "timeout", "timeout noticed late"])
def test_a_text_during_wrap_up_that_nobody_answered_goes_to_the_desk(story: Story, ends: str) -> None:
    """It is not forgotten, however the wrap-up ends; the customer was served, so it is a new place in line."""
    hung_up(story).wait(10.0)
    story.text("one more question")
    texted_at = story.now
    if ends == "note":
        story.tell(e.WrapUpNoted(ANN, "done", None))
    elif ends == "timeout":
        story.wait(LIMITS.wrap_up)
    else:
        story.now += 10 * LIMITS.chat.idle
        story.wait(0.0)
    [join] = [join for join in story.all(e.JoinQueue) if join.channel == "sms"]
    assert join.since >= texted_at
    assert story.texting() is TextLeg.QUEUED


def test_a_text_while_the_goodbye_is_played_is_not_forgotten(story: Story) -> None:
    """The agent has left, the call is not over yet: the agent sees it in wrap-up, then the desk."""
    story.tell(e.AgentLegEnded(LEG, story.agent_leg, "agent"))
    story.text("wait, one more question")
    story.prompt_over()
    story.tell(e.CallEnded(LEG, "platform", "bye"))
    assert story.texting() is TextLeg.OPEN
    story.tell(e.WrapUpNoted(ANN, "", None))
    assert story.texting() is TextLeg.QUEUED


def test_a_text_in_line_goes_to_the_desk_while_another_agent_still_writes_up(story: Story) -> None:
    """A text leg that waits already is not counted out when the wrap-up ends."""
    hung_up(story).text("one")
    story.tell(e.WrapUpNoted(ANN, "", None))
    story.agent_chats(BEN)
    story.tell(e.AgentLost(BEN))
    story.text("two")
    story.wait(LIMITS.open_window * 2)
    assert story.texting() is TextLeg.QUEUED
    assert not story.closed()


def test_texts_after_the_call_reach_the_desk_for_a_while(story: Story) -> None:
    """The text leg of a call stays open for its window after the call, and the agent's last words count."""
    story.tell(e.AgentSaid(ANN, "The form"))
    hung_up(story).tell(e.WrapUpNoted(ANN, "", None))
    story.wait(LIMITS.open_window - 10.0)
    story.text("filled in")
    assert story.texting() is TextLeg.QUEUED
    other = connected()
    other.tell(e.AgentSaid(ANN, "The form"))
    hung_up(other).tell(e.WrapUpNoted(ANN, "", None))
    other.wait(LIMITS.open_window + 1.0)
    assert other.closed()


def test_a_text_first_sent_in_wrap_up_opens_the_window_too(story: Story) -> None:
    """The customer may answer it, and the session ends when they do not."""
    hung_up(story).tell(e.AgentSaid(ANN, "As promised: the form"))
    story.tell(e.WrapUpNoted(ANN, "", None))
    assert not story.closed()
    story.wait(LIMITS.open_window + 1.0)
    assert story.closed()


def test_a_call_that_breaks_while_the_agents_phone_rings_frees_the_agent() -> None:
    """No wrap-up for a call that was never one."""
    story = Story(flow=support(), offers={"deflect": False, "hold": False})
    story.to_the_line()
    story.agent_takes()
    story.caller_hangs_up()
    assert story.new(e.ReleaseAgent) == [e.ReleaseAgent(ANN, "voice", wrap_up=False)]
    assert story.closed()


def test_a_call_to_a_number_without_a_flow_is_refused() -> None:
    """404 before anything is answered, and the session is over."""
    story = Story(flow=None)
    story.dial()
    assert story.new(e.RefuseCall) == [e.RefuseCall(LEG, 404)]
    assert story.closed()


def test_after_the_end_only_reports_and_notes_are_taken(story: Story) -> None:
    """A closed session refuses everything else and does not change."""
    story.tell(e.AgentSaid(ANN, "The form"))
    hung_up(story).wait(LIMITS.open_window + LIMITS.wrap_up)
    assert story.closed()
    before = story.saved()
    for event in (e.DigitsReceived(LEG, "1"), story.arrival(), e.AgentSaid(ANN, "?"), e.ProcessRestarted()):
        with pytest.raises(UnexpectedEvent, match="closed"):
            story.tell(event)
    assert story.saved() == before
    story.delivered()
    assert not story.news


def test_a_flow_may_refuse_a_call_without_answering_it() -> None:
    """RFC 3261 section 21.6.2: 603, and nothing was answered."""
    story = Story(flow=flow_of("first:\n  - hangup: no_thanks\n"))
    story.dial()
    assert story.new(e.RefuseCall) == [e.RefuseCall(LEG, 603)]
    assert story.closed()


def test_a_flow_that_comes_back_to_its_answer_goes_on() -> None:
    """A menu may lead back to the beginning: the call is answered once."""
    story = Story(flow=flow_of(ROUND))
    story.dial()
    story.press("9")
    story.press("9")
    assert story.all(e.AnswerCall) == [e.AnswerCall(LEG)]
    assert story.call() is CallState.IN_FLOW


def test_the_session_ends_when_the_last_of_several_agents_is_through() -> None:
    """One writes up the call, another the chat that followed; each note counts."""
    story = connected()
    hung_up(story).text("one more question")
    story.tell(e.WrapUpNoted(BEN, "only looking", None))
    assert story.texting() is TextLeg.OPEN
    story.tell(e.WrapUpNoted(ANN, "", None))
    story.agent_chats(BEN)
    story.tell(e.AgentEndedChat(BEN))
    assert not story.closed()
    story.tell(e.WrapUpNoted(BEN, "", None))
    assert story.closed()


ROUND = """
first:
  - answer
  - menu: {prompt: main_menu, keys: {"9": first}, no_input: {prompts: [], goto: last}, no_match: {prompts: [], goto: last}}
last:
  - hangup: done
"""


def test_who_hangs_up_while_the_agents_phone_rings_has_abandoned() -> None:
    """Nobody had answered: it counts like any other wait that came to nothing."""
    story = Story(flow=support(), offers={"deflect": False, "hold": False})
    story.to_the_line()
    story.tell(e.AgentAccepted(ANN, "Ann", "voice", "sip:ann@127.0.0.1"))
    story.caller_hangs_up()
    assert [line["outcome"] for line in story.lines("queue.left")] == ["abandoned"]
    assert story.state.closed_at is not None
