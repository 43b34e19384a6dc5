"""Chats: a customer texts a number of ours without calling."""

import pytest

from bridge import events as e
from bridge.legs import TextLeg
from bridge.session import UnexpectedEvent
from tests.unit.bridge.story import ANN, BEN, LIMITS, OURS, START, Story


@pytest.fixture
def story() -> Story:
    """A customer of whom nothing is known yet."""
    return Story()


@pytest.fixture
def chat(story: Story) -> Story:
    """A customer who is chatting with Ann."""
    story.text("my router blinks")
    story.wait(60.0)
    story.agent_chats()
    return story


def test_a_first_text_is_greeted_and_stands_in_line(story: Story) -> None:
    """The greeting says who we are and how to stop us; the place is the moment of the text."""
    story.text("my router blinks")
    assert story.texts == ["[hello en]"]
    assert story.new(e.JoinQueue) == [e.JoinQueue(e.QueueId("support_sms"), "sms", START)]
    story.text("hello?")
    assert len(story.texts) == 1
    assert not story.new(e.JoinQueue)


def test_the_agent_and_the_customer_write_to_and_fro(chat: Story) -> None:
    """No second introduction: the greeting was one."""
    chat.tell(e.AgentSaid(ANN, "Which one?"))
    chat.text("the blue one")
    assert chat.texts == ["[hello en]", "Which one?"]
    assert not chat.new(e.JoinQueue)
    assert chat.texting() is TextLeg.CHATTING


def test_a_number_without_a_desk_keeps_the_text_and_closes_in_time() -> None:
    """Nobody is promised an answer, and the session does not stay open for ever."""
    story = Story(desk=None)
    story.text("hello")
    assert story.lines("text.received")
    assert not story.texts
    story.wait(LIMITS.open_window + 1.0)
    assert story.closed()


def test_a_supervisor_ends_what_nobody_has_in_hand(story: Story) -> None:
    """Who stands in line leaves it, and the session is over."""
    story.text("my router blinks")
    story.tell(e.ChatCalledOff("Sue"))
    assert story.new(e.LeaveQueue) == [e.LeaveQueue("sms", "closed")]
    assert story.closed()
    assert story.state.reason == "ended by supervisor"
    assert story.lines("chat.ended")[-1]["name"] == "Sue"


def test_a_supervisor_cannot_call_off_what_an_agent_has(chat: Story) -> None:
    """The agent's chat is ended as the agent would."""
    with pytest.raises(UnexpectedEvent):
        chat.tell(e.ChatCalledOff("Sue"))


def test_an_invitation_is_called_off_unless_the_caller_is_on_the_line(story: Story) -> None:
    """Nobody is told: nobody waits. During a call the flow waits for the answer, so the call has to be ended."""
    story.tell(e.ApiSaid(e.MessageId("api-1"), "api:shop", "Your parcel is here"))
    texts = len(story.texts)
    story.tell(e.ChatCalledOff("Sue"))
    assert story.closed()
    assert len(story.texts) == texts


def test_ended_by_the_agent_the_chat_is_written_up_and_over(chat: Story) -> None:
    """Release, note, end."""
    chat.tell(e.AgentEndedChat(ANN))
    assert chat.new(e.ReleaseAgent) == [e.ReleaseAgent(ANN, "sms", wrap_up=True)]
    assert not chat.closed()
    chat.tell(e.WrapUpNoted(ANN, "solved", "Solved"))
    assert chat.closed()


def test_a_text_after_the_chat_has_ended_waits_for_the_note_and_then_begins_a_new_place(chat: Story) -> None:
    """The customer has been served: the next question does not jump the line, and it is not greeted again."""
    chat.tell(e.AgentEndedChat(ANN))
    chat.wait(10.0)
    chat.text("one more thing")
    assert not chat.new(e.JoinQueue)
    chat.tell(e.WrapUpNoted(ANN, "", None))
    assert [join.since for join in chat.new(e.JoinQueue)] == [START + 70.0]
    assert chat.texts == ["[hello en]"]


def test_a_chat_in_which_nobody_writes_ends_by_itself(chat: Story) -> None:
    """Every text, of either side, begins the time anew; at the end the agent is free without wrap-up."""
    chat.wait(LIMITS.chat.idle - 1.0)
    chat.text("still here")
    chat.wait(LIMITS.chat.idle - 1.0)
    chat.tell(e.AgentSaid(ANN, "So am I"))
    chat.wait(LIMITS.chat.idle - 1.0)
    assert chat.texting() is TextLeg.CHATTING
    chat.wait(2.0)
    assert chat.new(e.ReleaseAgent) == [e.ReleaseAgent(ANN, "sms", wrap_up=False)]
    assert chat.lines("chat.ended")[0]["by"] == "timeout"
    assert chat.closed()


def test_an_offer_that_lapses_leaves_the_place(story: Story) -> None:
    """Rung and not taken: nothing is asked of the line."""
    story.text()
    story.tell(e.AgentOffered(ANN, "sms"), e.OfferLapsed(ANN, "sms", "ring_timeout"))
    assert {command.kind for command in story.new(e.Record)} == {"agent.offered", "offer.lapsed"}
    assert story.news == story.new(e.Record)
    story.agent_chats(BEN)
    assert story.state.chat_agent == BEN


def test_an_agent_who_is_lost_gives_the_chat_back(chat: Story) -> None:
    """Same place; the composer of the lost desk is closed."""
    chat.tell(e.AgentLost(ANN))
    assert [join.since for join in chat.new(e.JoinQueue)] == [START]
    assert chat.session.composer(ANN) is not None
    with pytest.raises(UnexpectedEvent):
        chat.tell(e.AgentLost(ANN))


def test_nobody_else_ends_or_joins_a_chat(chat: Story) -> None:
    """Refused, and nothing changes."""
    before = chat.saved()
    for event in (e.AgentEndedChat(BEN), e.AgentLost(BEN), e.AgentSaid(BEN, "Hi"), e.AgentAccepted(BEN, "Ben", "sms")):
        with pytest.raises(UnexpectedEvent):
            chat.tell(event)
    assert chat.saved() == before


def test_stop_in_a_chat_takes_it_out_of_the_agents_hands(chat: Story) -> None:
    """Release with wrap-up, one confirmation, no more texts, and the session ends with the note."""
    chat.text("stop", keyword="stop")
    assert chat.new(e.ReleaseAgent) == [e.ReleaseAgent(ANN, "sms", wrap_up=True)]
    assert [text.body for text in chat.new(e.SendText)] == ["[stop en]"]
    chat.text("I said stop")
    assert not chat.new(e.SendText)
    chat.tell(e.WrapUpNoted(ANN, "", None))
    assert chat.closed()


def test_stop_in_line_leaves_the_line(story: Story) -> None:
    """Nobody is kept in line who cannot be answered."""
    story.text("hi")
    story.text("STOP", keyword="stop")
    assert story.new(e.LeaveQueue) == [e.LeaveQueue("sms", "opted_out")]
    assert story.closed()


def test_stop_out_of_the_blue_is_confirmed_once_and_over(story: Story) -> None:
    """No greeting and no line: only the owed answer."""
    story.text("STOP", keyword="stop")
    assert story.texts == ["[stop en]"]
    assert not story.all(e.JoinQueue)
    assert story.closed()


def test_start_and_stop_while_a_text_waits_for_the_wrap_up(chat: Story) -> None:
    """STOP takes the unanswered text back; what is written after START waits again."""
    chat.tell(e.AgentEndedChat(ANN))
    chat.text("one more thing")
    chat.text("STOP", keyword="stop")
    assert not chat.unanswered()
    chat.text("START", keyword="start")
    chat.text("here again")
    chat.tell(e.WrapUpNoted(ANN, "", None))
    assert chat.texting() is TextLeg.QUEUED


def test_help_out_of_the_blue_is_answered_and_the_next_text_gets_an_agent(story: Story) -> None:
    """HELP alone brings no agent; the session ends if nothing follows."""
    story.text("HELP", keyword="help")
    assert story.texts == ["[help en]"]
    assert not story.all(e.JoinQueue)
    story.text("my router blinks")
    assert story.texting() is TextLeg.QUEUED
    other = Story()
    other.text("HELP", keyword="help")
    other.wait(LIMITS.open_window + 1.0)
    assert other.closed()


def test_a_text_of_one_who_opted_out_is_kept_and_not_answered() -> None:
    """Only START opens the leg again; then the next text gets an agent."""
    story = Story(text=TextLeg.OPTED_OUT)
    story.text("hello")
    assert story.lines("text.received")
    assert not story.texts
    assert story.closed()
    other = Story(text=TextLeg.OPTED_OUT)
    other.text("START", keyword="start")
    assert other.texts == ["[start en]"]
    assert other.new(e.OptIn) == [e.OptIn(other.state.customer or "", OURS, "message in-1")]
    other.text("hello")
    assert other.texting() is TextLeg.QUEUED


def test_a_greeting_that_meets_an_unknown_opt_out_ends_the_wait(story: Story) -> None:
    """The provider says that the number has opted out: out of the line, into our list, over."""
    story.text("hi")
    story.tell(e.TextRejected(story.last_text, "opted_out", "21610", "opted out"))
    assert story.new(e.LeaveQueue) == [e.LeaveQueue("sms", "opted_out")]
    assert len(story.new(e.OptOut)) == 1
    assert story.closed()
