"""How long a chat lives: waiting in vain, silence on either side, put aside and back, reopened, and why it ended."""

import msgspec
import pytest

from bridge import events as e
from bridge.legs import TextLeg
from bridge.session import ChatRules, UnexpectedEvent
from tests.unit.bridge.story import ANN, BEN, LIMITS, RULES, START, Story, support, text_menu

DESK = e.QueueId("support_sms")


@pytest.fixture
def story() -> Story:
    """A number whose queue has every rule."""
    return Story(rules=RULES)


@pytest.fixture
def chat(story: Story) -> Story:
    """A customer who is chatting with Ann since 60 s after the first text."""
    story.text("my router blinks")
    story.wait(60.0)
    story.agent_chats()
    return story


@pytest.fixture
def aside(chat: Story) -> Story:
    """Ann has answered and then put the chat aside; the customer is silent."""
    chat.wait(10.0)
    chat.tell(e.AgentSaid(ANN, "Which one?"))
    chat.wait(20.0)
    chat.tell(e.AgentDismissed(ANN))
    return chat


def only(agent: e.AgentId) -> tuple[str, ...]:
    return (f"agent:{agent}",)


def sent(story: Story) -> list[str]:
    """The texts since the last event."""
    return [text.body for text in story.new(e.SendText)]


# --- waiting in vain


def test_a_chat_nobody_takes_is_closed_with_an_apology(story: Story) -> None:
    """Out of the line first; the reason says whose fault it was."""
    story.text("hello")
    story.wait(RULES.expire - 1.0)
    assert not story.news
    story.wait(1.0)
    assert sent(story) == ["[expired en]"]
    assert story.new(e.LeaveQueue) == [e.LeaveQueue("sms", "timed_out")]
    assert story.state.reason == "nobody answered"
    assert story.closed()


def test_texts_in_line_do_not_make_it_wait_longer(story: Story) -> None:
    """The time counts from joining: whoever asks twice is not kept twice as long."""
    story.text("hello")
    story.wait(RULES.expire - 1.0)
    story.text("hello?")
    story.wait(1.0)
    assert story.closed()


def test_without_the_rule_a_chat_waits_for_ever() -> None:
    """0 means never."""
    story = Story(rules=ChatRules())
    story.text("hello")
    story.wait(30 * 86_400.0)
    assert story.texting() is TextLeg.QUEUED


# --- silence


def test_a_silent_customer_is_warned_and_then_told() -> None:
    """The warning says how many minutes are left, and it begins no new time."""
    chat = Story(rules=msgspec.structs.replace(RULES, dismiss_after=0.0))
    chat.text("my router blinks")
    chat.agent_chats()
    chat.tell(e.AgentSaid(ANN, "The blue one?"))
    chat.wait(RULES.idle - RULES.warn_before)
    assert sent(chat) == ["[warning en 5]"]
    assert chat.lines("chat.warned") == [{"minutes": 5}]
    chat.wait(RULES.warn_before)
    assert chat.new(e.ReleaseAgent) == [e.ReleaseAgent(ANN, "sms", wrap_up=False)]
    assert chat.lines("chat.ended") == [{"by": "timeout", "name": None}]
    assert chat.state.reason == "customer silent"


def test_a_customer_who_waits_for_the_agent_is_not_told_that_they_were_silent(chat: Story) -> None:
    """No warning, and an apology at the end: it was us who did not write."""
    chat.text("the blue one")
    chat.wait(RULES.idle)
    assert sent(chat) == ["[expired en]"]
    assert chat.state.reason == "agent silent"


def test_every_text_of_either_side_begins_the_silence_anew(chat: Story) -> None:
    """Also the warning."""
    for _ in range(3):
        chat.wait(RULES.idle - RULES.warn_before - 1.0)
        chat.text("still here")
        chat.wait(RULES.dismiss_after - 1.0)
        chat.tell(e.AgentSaid(ANN, "So am I"))
        chat.wait(RULES.dismiss_after - 1.0)
        chat.text("good")
    assert chat.texting() is TextLeg.CHATTING
    assert "[warning en 5]" not in chat.texts


def test_an_idle_time_of_nothing_means_for_ever() -> None:
    """0: the chat ends when somebody ends it, also put aside."""
    story = Story(rules=ChatRules(idle=0.0))
    story.text("hello")
    story.agent_chats()
    story.tell(e.AgentSaid(ANN, "Which one?"))
    assert story.session.wake_at is None
    story.tell(e.AgentDismissed(ANN))
    assert story.session.wake_at is None
    story.text("the blue one")
    assert story.texting() is TextLeg.QUEUED


# --- put aside


def test_a_chat_is_put_aside_only_when_both_have_written_and_the_agent_last(story: Story) -> None:
    """The agent reads why not; nothing changes."""
    story.text("my router blinks")
    story.agent_chats()
    with pytest.raises(UnexpectedEvent, match="once both of you have written, and you last"):
        story.tell(e.AgentDismissed(ANN))
    story.tell(e.AgentSaid(ANN, "Which one?"))
    story.text("the blue one")
    with pytest.raises(UnexpectedEvent, match="and you last"):
        story.tell(e.AgentDismissed(ANN))
    with pytest.raises(UnexpectedEvent, match="does not have the chat"):
        story.tell(e.AgentDismissed(BEN))


def test_a_conversation_the_agent_began_is_put_aside_once_the_customer_has_written() -> None:
    """Before that there is nothing to come back to."""
    story = Story(rules=RULES)
    story.tell(e.AgentOpened(ANN, "Ann", DESK, "Your part has come"))
    with pytest.raises(UnexpectedEvent, match="both of you"):
        story.tell(e.AgentDismissed(ANN))
    story.wait(RULES.dismiss_after + 1.0)
    assert story.texting() is TextLeg.CHATTING
    story.text("thanks")
    story.tell(e.AgentSaid(ANN, "When will you fetch it?"), e.AgentDismissed(ANN))
    assert story.texting() is TextLeg.DISMISSED


def test_putting_aside_frees_the_agent_and_stops_the_clock_of_their_work(aside: Story) -> None:
    """No wrap-up, no text to the customer, and the time in which nobody has the chat is not counted as handled."""
    assert aside.new(e.ReleaseAgent) == [e.ReleaseAgent(ANN, "sms", wrap_up=False)]
    assert not aside.new(e.SendText)
    assert aside.state.handled == 30.0
    aside.wait(500.0)
    aside.text("the blue one")
    aside.agent_chats()
    aside.wait(10.0)
    aside.tell(e.AgentEndedChat(ANN))
    assert aside.state.handled == 40.0


def test_a_silent_customer_is_put_aside_by_the_timer(chat: Story) -> None:
    """Counted from the agent's last text; the customer's next one would have stopped it."""
    chat.tell(e.AgentSaid(ANN, "Which one?"))
    chat.wait(RULES.dismiss_after - 1.0)
    chat.text("wait")
    chat.wait(RULES.dismiss_after + 1.0)
    assert chat.texting() is TextLeg.CHATTING
    chat.tell(e.AgentSaid(ANN, "And now?"))
    chat.wait(RULES.dismiss_after)
    assert chat.lines("chat.dismissed") == [{"name": "Ann", "by": "timer"}]
    assert chat.texting() is TextLeg.DISMISSED


def test_who_comes_back_is_greeted_and_asked_for_by_the_same_agent_first(aside: Story) -> None:
    """A new place in line, from the text that brought them back; after a while anybody may take it."""
    aside.wait(100.0)
    aside.text("the blue one")
    assert sent(aside) == ["[dismissed_reply en]"]
    since = START + 190.0
    assert aside.new(e.JoinQueue) == [e.JoinQueue(DESK, "sms", since, skills=only(ANN))]
    aside.wait(RULES.prefer_for)
    assert aside.new(e.JoinQueue) == [e.JoinQueue(DESK, "sms", since)]
    aside.agent_chats(BEN)
    assert aside.state.chat_agent == BEN
    assert len(aside.lines("chat.returned")) == 1


@pytest.mark.parametrize("reason", ["declined", "ring_timeout", "signed_out"])
def test_who_does_not_want_the_customer_back_is_not_waited_for(aside: Story, reason: str) -> None:
    """Anybody may take it at once."""
    aside.text("the blue one")
    aside.tell(e.AgentOffered(ANN, "sms"), e.OfferLapsed(ANN, "sms", reason))  # type: ignore[arg-type]
    assert [join.skills for join in aside.new(e.JoinQueue)] == [()]
    aside.wait(RULES.prefer_for)
    assert not aside.new(e.JoinQueue)


def test_a_chat_put_aside_ends_when_it_would_have_ended(aside: Story) -> None:
    """The silence goes on counting; nobody is texted for it."""
    aside.wait(RULES.idle - 21.0)
    assert aside.texting() is TextLeg.DISMISSED
    aside.wait(1.0)
    assert not aside.new(e.SendText)
    assert aside.state.reason == "customer silent"
    assert aside.closed()


def test_exit_to_a_chat_put_aside_ends_it() -> None:
    """Nobody is welcomed back who wants to leave."""
    story = Story(menu=text_menu(), rules=RULES)
    story.text("pay")
    story.agent_chats()
    story.tell(e.AgentSaid(ANN, "Which one?"), e.AgentDismissed(ANN))
    story.text("exit")
    assert sent(story) == ["[bye en]"]
    assert (story.state.reason, story.closed()) == ("left", True)


# --- after the end


def test_exit_in_a_chat_ends_it_for_the_customer() -> None:
    """The agent writes the note and sees who ended it."""
    story = Story(menu=text_menu(), rules=RULES)
    story.text("pay")
    story.agent_chats()
    story.text("EXIT")
    assert sent(story) == ["[bye en]"]
    assert story.new(e.ReleaseAgent) == [e.ReleaseAgent(ANN, "sms", wrap_up=True)]
    assert story.lines("chat.ended") == [{"by": "customer", "name": "Ann"}]
    assert story.state.reason == "ended by customer"


def test_a_text_soon_after_the_end_goes_on_in_the_same_session(chat: Story) -> None:
    """With the agent who knows the customer if they are free, at a new place, without a second greeting."""
    chat.tell(e.AgentEndedChat(ANN), e.WrapUpNoted(ANN, "solved", "Solved"))
    assert not chat.closed()
    chat.wait(RULES.reopen - 1.0)
    chat.text("one more thing")
    assert chat.lines("chat.reopened") == [{}]
    assert not chat.new(e.SendText)
    assert chat.new(e.JoinQueue) == [e.JoinQueue(DESK, "sms", chat.now, skills=only(ANN))]
    assert chat.state.reason is None


def test_after_that_the_session_is_closed(chat: Story) -> None:
    """The reason is that of the chat's end."""
    chat.tell(e.AgentEndedChat(ANN), e.WrapUpNoted(ANN, "solved", "Solved"))
    chat.wait(RULES.reopen)
    assert chat.closed()
    assert chat.state.reason == "ended by agent"


def test_exit_after_the_end_bothers_nobody() -> None:
    """It is over already."""
    story = Story(menu=text_menu(), rules=RULES)
    story.text("pay")
    story.agent_chats()
    story.tell(e.AgentEndedChat(ANN), e.WrapUpNoted(ANN, "", None))
    story.text("exit")
    assert not story.new(e.JoinQueue)
    assert (story.state.reason, story.closed()) == ("ended by agent", True)


def test_what_is_written_while_the_note_is_written_comes_back_to_the_same_agent(chat: Story) -> None:
    """In the queue in which the chat ended."""
    chat.tell(e.AgentTransferred(ANN, e.QueueId("other_sms")))
    chat.agent_chats(BEN)
    chat.tell(e.AgentEndedChat(BEN))
    chat.text("one more thing")
    chat.tell(e.WrapUpNoted(BEN, "", None))
    assert [(join.queue, join.skills) for join in chat.new(e.JoinQueue)] == [("other_sms", only(BEN))]


def test_an_answer_given_while_the_note_is_written_does_not_change_how_it_ended(chat: Story) -> None:
    """The chat was ended by the agent, whatever came after."""
    chat.tell(e.AgentEndedChat(ANN))
    chat.text("thank you")
    chat.tell(e.AgentSaid(ANN, "You are welcome"), e.WrapUpNoted(ANN, "", None))
    chat.wait(max(RULES.reopen, LIMITS.open_window))
    assert chat.closed()
    assert chat.state.reason == "ended by agent"


def test_what_is_written_late_into_the_note_of_a_call_is_not_forgotten() -> None:
    """The text leg's time is over while it waits for Ann: it goes to the desk; she may take it there, and writes one note."""
    story = Story(flow=support(), offers={"deflect": False})
    story.to_the_line()
    story.agent_answers()
    story.tell(e.AgentSaid(ANN, "The form: https://example.com/form"))
    story.caller_hangs_up()
    story.wait(LIMITS.open_window - 10.0)
    story.text("it does not open")
    story.wait(10.0)
    assert story.texting() is TextLeg.QUEUED
    story.agent_chats(ANN)
    story.tell(e.AgentEndedChat(ANN))
    assert story.state.wrapping == [ANN]
    story.tell(e.WrapUpNoted(ANN, "", None))
    story.wait(LIMITS.chat.reopen + 1.0)
    assert story.closed()


def test_an_agent_who_is_lost_gives_the_chat_back_with_a_word(chat: Story) -> None:
    """The same place, for anybody, and the wait for an agent ends some day."""
    chat.wait(10.0)
    chat.tell(e.AgentLost(ANN))
    assert chat.new(e.JoinQueue) == [e.JoinQueue(DESK, "sms", START)]
    assert chat.state.handled == 10.0
    chat.wait(RULES.expire)
    assert chat.state.reason == "nobody answered"


# --- restarts


def test_every_timer_outlives_the_process(chat: Story) -> None:
    """What was to happen at a time happens at that time, whoever died meanwhile."""
    chat.tell(e.AgentSaid(ANN, "Which one?"))
    at = chat.session.wake_at
    chat.tell(e.ProcessRestarted())
    assert chat.session.wake_at == at
    chat.wait(RULES.dismiss_after)
    chat.tell(e.ProcessRestarted())
    assert chat.texting() is TextLeg.DISMISSED
    chat.text("the blue one")
    chat.tell(e.ProcessRestarted())
    assert [join.skills for join in chat.new(e.JoinQueue)] == [only(ANN)]
    chat.wait(RULES.prefer_for)
    assert [join.skills for join in chat.new(e.JoinQueue)] == [()]


def test_what_came_due_in_a_night_happens_in_its_order() -> None:
    """Put aside first, closed then: not the other way round."""
    story = Story(rules=RULES)
    story.text("hello")
    story.agent_chats()
    story.tell(e.AgentSaid(ANN, "Which one?"))
    story.now += 86_400.0
    story.wait(0.0)
    kinds = [line.kind for line in story.all(e.Record)]
    assert kinds.index("chat.dismissed") < kinds.index("chat.ended") < kinds.index("session.closed")
