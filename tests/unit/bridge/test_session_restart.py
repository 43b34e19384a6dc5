"""The server dies and comes back: calls are gone, texts and places are not, and nobody is told anything untrue."""

import msgspec
import pytest

from bridge import events as e
from bridge.legs import CallState, TextLeg
from bridge.session import UnexpectedEvent
from tests.unit.bridge.story import ANN, CALLER, LEG, LIMITS, OURS, START, Story, support


def in_line(*, hold: bool = False, desk: str | None = "support_sms") -> Story:
    """A caller in line."""
    story = Story(flow=support(), offers={"deflect": False, "hold": hold}, desk=desk)
    story.to_the_line()
    return story


def asked_by_text(*, desk: str | None = "support_sms") -> Story:
    """A caller in line who has been texted a question."""
    story = in_line(hold=True, desk=desk)
    story.wait(15.0)
    story.prompt_over()
    story.wait(1.0)
    story.press("1")
    assert len(story.texts) == 1
    return story


def restart(story: Story) -> Story:
    """The process comes back after a minute."""
    story.now += 60.0
    story.tell(e.ProcessRestarted())
    return story


def test_a_caller_without_texts_is_gone_and_the_session_ends() -> None:
    """There is no leg and no consent: nothing can be done, so nothing stays open."""
    for story in (Story(flow=support(), offers={"deflect": True, "hold": True}), in_line()):
        if story.call() is CallState.NONE:
            story.to_the_offer()
        restart(story)
        assert story.lines("call.ended") == [{"by": "platform", "cause": "restart"}]
        assert not story.texts
        assert story.closed()


def test_a_caller_who_was_texting_in_line_is_told_that_it_was_us_and_keeps_the_place() -> None:
    """One text, not also the one for callers who hung up; the reply takes the place of the call."""
    story = asked_by_text()
    restart(story)
    assert [text.body for text in story.new(e.SendText)] == ["[rescue en]"]
    assert not story.asked()
    story.text("yes")
    assert [(join.channel, join.since) for join in story.new(e.JoinQueue)] == [("sms", START)]


def test_a_caller_who_was_cut_off_and_calls_again_has_the_place_there_was() -> None:
    """In the same session, so that nothing that was said is lost; and the rescue need not be answered any more."""
    story = asked_by_text()
    restart(story)
    story.tell(e.CallArrived(LEG, "loopback", CALLER, OURS))
    story.press("1")
    story.press("2")
    assert [join.since for join in story.new(e.JoinQueue) if join.channel == "voice"] == [START]
    story.wait(LIMITS.reply_window + 1.0)
    assert not story.closed()


def test_a_caller_who_went_on_by_text_and_calls_has_another_conversation() -> None:
    """The place is the chat's by then."""
    story = asked_by_text()
    restart(story)
    story.text("yes")
    with pytest.raises(UnexpectedEvent):
        story.tell(e.CallArrived(LEG, "loopback", CALLER, OURS))


def test_a_rescue_nobody_answers_ends_in_its_window() -> None:
    """As an invitation does."""
    story = asked_by_text()
    restart(story).wait(LIMITS.reply_window - 1.0)
    assert not story.closed()
    story.wait(2.0)
    assert story.closed()


def test_a_text_nobody_had_answered_yet_goes_to_the_desk() -> None:
    """The customer wrote while waiting, then we died: no need to write again."""
    story = in_line()
    story.text("by the way")
    restart(story)
    assert [join.channel for join in story.new(e.JoinQueue)] == ["sms"]
    assert len(story.new(e.JoinQueue)) == 1


def test_a_call_with_an_agent_is_over_and_both_can_go_on_by_text() -> None:
    """The rescue goes out when the customer had texts in this call."""
    story = in_line()
    story.agent_answers()
    story.tell(e.AgentSaid(ANN, "The form"))
    restart(story)
    assert [text.body for text in story.new(e.SendText)] == ["[rescue en]"]
    assert story.state.agent is None


def test_a_caller_we_had_said_goodbye_to_was_not_cut_off() -> None:
    """No apology for a call that was ending anyway."""
    story = in_line()
    story.text("hm")
    story.agent_answers()
    story.tell(e.AgentLegEnded(LEG, story.agent_leg, "agent"))
    story.prompt_over()
    assert story.call() is CallState.ENDING
    restart(story)
    assert not story.texts
    assert story.call() is CallState.ENDED


def test_an_invitation_on_its_way_stays_one() -> None:
    """The text has the place; its reply is taken."""
    story = Story(flow=support(), offers={"deflect": True, "hold": True})
    story.to_the_offer()
    story.press("1")
    restart(story)
    assert story.texting() is TextLeg.INVITED
    assert not story.new(e.SendText)
    story.delivered()
    story.text("here")
    assert [join.since for join in story.new(e.JoinQueue)] == [START]


def test_a_number_without_a_desk_is_not_promised_a_reply() -> None:
    """Nobody could answer it by text."""
    story = asked_by_text(desk=None)
    restart(story)
    assert "[rescue en]" not in story.texts


def test_the_follow_up_of_the_flow_is_sent_when_nobody_was_texting() -> None:
    """A caller with an earlier consent gets what the flow sends after a call."""
    story = in_line()
    story.facts = msgspec.structs.replace(story.facts, consent=frozenset({"session"}))
    story.wait(1.0)
    restart(story)
    assert len(story.texts) == 1
    assert "kept you waiting" in story.texts[0]


def test_a_chat_in_line_is_in_line_again_at_its_place() -> None:
    """The floor has forgotten everything, so the session stands in line anew."""
    story = Story()
    story.text("hi")
    restart(story)
    assert story.new(e.JoinQueue) == [e.JoinQueue(e.QueueId("support_sms"), "sms", START)]


def test_an_open_chat_stays_with_its_agent() -> None:
    """Nothing is sent and nobody is released."""
    story = Story()
    story.text("hi")
    story.agent_chats()
    restart(story)
    assert story.news == story.new(e.Record)
    story.tell(e.AgentSaid(ANN, "Here I am"))
    assert story.texts[-1] == "Here I am"


@pytest.mark.parametrize("state", ["connecting", "connected"])
def test_what_comes_of_the_old_leg_after_a_restart_is_refused(state: str) -> None:
    """The floor is empty and the provider is new: nothing of the old call is done any more."""
    story = in_line()
    story.text("hm")
    story.agent_takes()
    if state == "connected":
        story.tell(e.AgentLegAnswered(LEG, story.agent_leg))
    restart(story)
    assert not [command for command in story.news if isinstance(command, e.CallCommand)]
