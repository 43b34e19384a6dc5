"""Handing a chat on: to a colleague, to a queue, and what becomes of it when nobody takes it."""

import pytest

from bridge import events as e
from bridge.legs import TextLeg
from bridge.session import ChatRules, UnexpectedEvent
from tests.unit.bridge.story import ANN, BEN, RULES, START, Story, text_menu

DESK, OTHER = e.QueueId("support_sms"), e.QueueId("other_sms")
TO_BEN = e.AgentTransferred(ANN, OTHER, BEN, "Ben", "wants a refund")
TO_QUEUE = e.AgentTransferred(ANN, OTHER)


def chatting(**how: object) -> Story:
    """A customer who has been chatting with Ann since 60 s after the first text."""
    story = Story(rules=RULES, **how)  # type: ignore[arg-type]
    story.text("my router blinks")
    if story.texting() is TextLeg.CHOOSING:
        story.text("pay")
    story.wait(60.0)
    story.agent_chats()
    return story


@pytest.fixture
def chat() -> Story:
    """A chat with Ann."""
    return chatting()


def only(agent: e.AgentId) -> tuple[str, ...]:
    return (f"agent:{agent}",)


def sent(story: Story) -> list[str]:
    """The texts since the last event."""
    return [text.body for text in story.new(e.SendText)]


def test_handed_to_a_colleague_the_chat_keeps_the_customers_place(chat: Story) -> None:
    """Ann is free without wrap-up, Ben alone is asked, the customer is told, and the note stands in the timeline."""
    chat.wait(10.0)
    chat.tell(TO_BEN)
    assert chat.new(e.ReleaseAgent) == [e.ReleaseAgent(ANN, "sms", wrap_up=False)]
    assert chat.new(e.JoinQueue) == [e.JoinQueue(OTHER, "sms", START, skills=only(BEN))]
    assert sent(chat) == ["[transferred en]"]
    assert chat.lines("transfer.started") == [{"by": "Ann", "to": "Ben", "queue": OTHER, "note": "wants a refund"}]
    assert chat.session.composer(ANN) == "You are not connected to this customer."


def test_accepted_it_is_the_colleagues(chat: Story) -> None:
    """Completed, by and to by name; the seconds of both count as handled, those between do not."""
    chat.wait(10.0)
    chat.tell(TO_BEN)
    chat.wait(20.0)
    chat.agent_chats(BEN)
    assert chat.lines("transfer.completed") == [{"by": "Ann", "to": "Ben"}]
    assert chat.state.transfer is None
    chat.wait(5.0)
    chat.tell(e.AgentEndedChat(BEN))
    assert chat.state.handled == 15.0


@pytest.mark.parametrize(
    ("reason", "told"), [("declined", "declined"), ("ring_timeout", "no answer"), ("signed_out", "signed out")]
)
def test_not_wanted_it_goes_back_to_who_sent_it(chat: Story, reason: str, told: str) -> None:
    """At once, with the reason, into the queue it came from, at the customer's place."""
    chat.tell(TO_BEN)
    chat.tell(e.AgentOffered(BEN, "sms"), e.OfferLapsed(BEN, "sms", reason))  # type: ignore[arg-type]
    assert chat.lines("transfer.failed") == [{"by": "Ann", "to": "Ben", "reason": told}]
    assert chat.new(e.JoinQueue) == [e.JoinQueue(DESK, "sms", START, skills=only(ANN))]
    assert not chat.new(e.SendText)


def test_not_taken_it_goes_back_and_then_to_anybody(chat: Story) -> None:
    """First to Ann, who knows the customer; when she does not take it either, to whoever takes her queue's chats."""
    chat.tell(TO_BEN)
    chat.wait(RULES.transfer_ring)
    assert chat.lines("transfer.failed") == [{"by": "Ann", "to": "Ben", "reason": "no answer"}]
    assert [(join.queue, join.skills) for join in chat.new(e.JoinQueue)] == [(DESK, only(ANN))]
    chat.wait(RULES.transfer_ring)
    assert [(join.queue, join.skills) for join in chat.new(e.JoinQueue)] == [(DESK, ())]
    chat.agent_chats(BEN)
    assert not chat.lines("transfer.completed")


def test_an_offer_that_is_withdrawn_or_lapses_at_another_desk_changes_nothing(chat: Story) -> None:
    """Only Ben's own no is a no."""
    chat.tell(TO_BEN)
    chat.tell(e.OfferLapsed(BEN, "sms", "withdrawn"), e.OfferLapsed(ANN, "sms", "declined"))
    assert chat.state.transfer is not None
    assert not chat.new(e.JoinQueue)


def test_a_transfer_without_a_ring_time_waits_for_the_colleague() -> None:
    """0 means for ever; a no is still a no, and then nobody waits for Ann for ever."""
    story = Story(rules=ChatRules(transfer_ring=0.0))
    story.text("hello")
    story.agent_chats()
    story.tell(TO_BEN)
    story.wait(86_400.0)
    assert [join.skills for join in story.all(e.JoinQueue)] == [(), only(BEN)]
    story.tell(e.OfferLapsed(BEN, "sms", "declined"))
    assert [join.skills for join in story.new(e.JoinQueue)] == [only(ANN)]
    story.wait(ChatRules().prefer_for)
    assert [join.skills for join in story.new(e.JoinQueue)] == [()]


def test_handed_to_a_queue_anybody_there_may_take_it(chat: Story) -> None:
    """It stands in that line and does not come back, but it does not wait there for ever either."""
    chat.tell(TO_QUEUE)
    assert chat.new(e.JoinQueue) == [e.JoinQueue(OTHER, "sms", START)]
    chat.wait(RULES.transfer_ring + 1.0)
    assert not chat.news
    other = chat.fork()
    other.agent_chats(BEN)
    assert other.lines("transfer.completed") == [{"by": "Ann", "to": "Ben"}]
    chat.wait(RULES.expire)
    assert sent(chat) == ["[expired en]"]
    assert chat.closed()


def test_a_chat_is_not_handed_on_without_end(chat: Story) -> None:
    """The agent is told to keep it, and has it still; putting it aside begins the count anew."""
    chat.tell(TO_BEN)
    chat.agent_chats(BEN)
    chat.tell(e.AgentTransferred(BEN, DESK, ANN, "Ann"))
    chat.agent_chats(ANN)
    before = chat.saved()
    with pytest.raises(UnexpectedEvent, match="handed on 2 times already"):
        chat.tell(TO_BEN)
    assert chat.saved() == before
    chat.tell(e.AgentSaid(ANN, "Which one?"), e.AgentDismissed(ANN))
    chat.text("the blue one")
    chat.agent_chats(ANN)
    chat.tell(TO_BEN)
    assert chat.texting() is TextLeg.QUEUED


def test_texts_during_a_transfer_wait_for_whoever_takes_it(chat: Story) -> None:
    """They are kept, and nothing about the line changes; "back" is a word like any other now."""
    story = chatting(menu=text_menu())
    for one in (chat, story):
        one.tell(TO_BEN)
        one.text("are you there?")
        assert not one.new(e.JoinQueue)
        one.text("back")
        assert not one.new(e.LeaveQueue)
        one.agent_chats(BEN)
        assert one.lines("text.received")[-1]["body"] == "back"


def test_stop_during_a_transfer_is_obeyed(chat: Story) -> None:
    """Out of the line, one confirmation, and the transfer is forgotten."""
    chat.tell(TO_BEN)
    chat.text("STOP", keyword="stop")
    assert chat.new(e.LeaveQueue) == [e.LeaveQueue("sms", "opted_out")]
    assert sent(chat) == ["[stop en]"]
    assert chat.state.transfer is None
    assert chat.closed()


def test_exit_during_a_transfer_ends_the_conversation() -> None:
    """The customer need not wait for somebody in order to leave."""
    story = chatting(menu=text_menu())
    story.tell(TO_BEN)
    story.text("exit")
    assert story.new(e.LeaveQueue) == [e.LeaveQueue("sms", "closed")]
    assert sent(story) == ["[bye en]"]
    assert (story.state.transfer, story.state.reason, story.closed()) == (None, "left", True)


def test_only_who_has_the_chat_hands_it_on_and_only_once(chat: Story) -> None:
    """Not a colleague, and not Ann a second time while Ben is being asked."""
    with pytest.raises(UnexpectedEvent, match="does not have the chat"):
        chat.tell(e.AgentTransferred(BEN, OTHER))
    chat.tell(TO_BEN)
    with pytest.raises(UnexpectedEvent, match="text leg that is queued"):
        chat.tell(TO_BEN)


def test_a_direct_chat_that_is_handed_on_reaches_the_colleague() -> None:
    """Only a number is tied to Ann, not the conversation: Ben is asked, and has it then like any other."""
    story = chatting(service="direct", direct=ANN)
    story.tell(TO_BEN)
    assert [join.skills for join in story.new(e.JoinQueue)] == [only(BEN)]
    story.agent_chats(BEN)
    story.tell(e.AgentLost(BEN))
    assert [join.skills for join in story.new(e.JoinQueue)] == [()]
    other = chatting(service="direct", direct=ANN)
    other.tell(TO_QUEUE)
    assert [join.skills for join in other.new(e.JoinQueue)] == [()]


def test_a_direct_chat_that_comes_back_is_anns_again() -> None:
    """Nobody else is asked, however long it takes."""
    story = chatting(service="direct", direct=ANN)
    story.tell(TO_BEN)
    story.tell(e.OfferLapsed(BEN, "sms", "declined"))
    story.wait(RULES.transfer_ring)
    assert {join.skills for join in story.new(e.JoinQueue)} == {only(ANN)}


def test_a_colleague_who_is_lost_leaves_it_to_anybody_in_that_queue(chat: Story) -> None:
    """The customer is told, and keeps the place."""
    chat.tell(TO_BEN)
    chat.agent_chats(BEN)
    chat.tell(e.AgentLost(BEN))
    assert chat.new(e.JoinQueue) == [e.JoinQueue(OTHER, "sms", START)]
    with pytest.raises(UnexpectedEvent):
        chat.tell(e.AgentLost(ANN))


def test_a_transfer_outlives_the_process(chat: Story) -> None:
    """Ben is asked again, and what was left of his time is left."""
    chat.tell(TO_BEN)
    chat.wait(RULES.transfer_ring - 1.0)
    chat.tell(e.ProcessRestarted())
    assert chat.new(e.JoinQueue) == [e.JoinQueue(OTHER, "sms", START, skills=only(BEN))]
    chat.wait(1.0)
    assert chat.lines("transfer.failed")


def test_a_second_transfer_that_fails_goes_back_to_who_sent_it_last(chat: Story) -> None:
    """To Ben, not to Ann."""
    chat.tell(TO_BEN)
    chat.agent_chats(BEN)
    chat.tell(e.AgentTransferred(BEN, DESK, ANN, "Ann"))
    chat.tell(e.OfferLapsed(ANN, "sms", "declined"))
    assert chat.new(e.JoinQueue) == [e.JoinQueue(OTHER, "sms", START, skills=only(BEN))]
