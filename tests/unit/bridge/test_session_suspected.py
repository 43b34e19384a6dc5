"""Words that sound like a wish to be left alone: nothing goes out unasked until an agent has read them."""

import pytest

from bridge import events as e
from bridge.conversation import Suspicion
from bridge.legs import CallState, TextLeg
from bridge.session import UnexpectedEvent
from bridge.text_leg import CONFIRM_WITHIN
from tests.unit.bridge.story import ANN, BEN, CALLER, LIMITS, OURS, RULES, START, Story, support, text_menu

ELSEWHERE = "+15550100199"
DESK = e.QueueId("support_sms")
WORDS = "please stop texting me"
MEANT, NOT_MEANT = e.OptOutJudged(ANN, meant=True), e.OptOutJudged(ANN, meant=False)


@pytest.fixture
def chat() -> Story:
    """A chat with Ann, who has been told off: her composer is closed."""
    story = Story(rules=RULES)
    story.text("my router blinks")
    story.agent_chats()
    story.text(WORDS, suspicious=True)
    return story


def sent(story: Story) -> list[str]:
    """The texts since the last event."""
    return [text.body for text in story.new(e.SendText)]


def test_the_ledger_holds_it_until_an_agent_has_judged(chat: Story) -> None:
    """Provisionally, with the words in the timeline; the chat stays with the agent, who reads why they cannot write."""
    assert chat.new(e.OptOut) == [e.OptOut(CALLER, OURS, "message in-2", provisional=True)]
    assert chat.lines("stop.suspected") == [{"message": "in-2", "body": WORDS}]
    assert chat.state.chat_agent == ANN
    assert chat.session.composer(ANN) == "The customer may have asked for no more texts. Say first whether they did."


def test_nothing_goes_out_meanwhile(chat: Story) -> None:
    """No agent's text, no program's, no link, no warning, no goodbye."""
    for event in (
        e.AgentSaid(ANN, "Why?"),
        e.ApiSaid(e.MessageId("api-1"), "api:shop", "Your parcel is here"),
        e.UploadAsked(ANN, "https://example.com/u/1", "token", chat.now + 600.0),
    ):
        with pytest.raises(UnexpectedEvent, match="Say first whether they did"):
            chat.tell(event)
    chat.tell(e.AgentTransferred(ANN, e.QueueId("other_sms")))
    chat.agent_chats(BEN)
    chat.wait(RULES.idle)
    assert len(chat.texts) == 1


def test_the_answers_that_are_owed_go_out_all_the_same(chat: Story) -> None:
    """HELP is a question of the customer's."""
    chat.text("HELP", keyword="help")
    assert sent(chat) == ["[help en]"]
    assert chat.state.suspected is not None


def test_judged_as_meant_it_is_an_opt_out(chat: Story) -> None:
    """With both the words and the judge as evidence, one confirmation, and the agent is free to write the note."""
    chat.tell(MEANT)
    assert chat.lines("stop.judged") == [{"name": "Ann", "meant": True}]
    assert chat.new(e.OptOut) == [e.OptOut(CALLER, OURS, "message in-2, judged by ann")]
    assert sent(chat) == ["[stop en]"]
    assert chat.new(e.ReleaseAgent) == [e.ReleaseAgent(ANN, "sms", wrap_up=True)]
    assert chat.texting() is TextLeg.OPTED_OUT


def test_judged_late_it_is_not_confirmed_by_a_text(chat: Story) -> None:
    """A confirmation is allowed within five minutes; later it would be one more text to somebody who wants none."""
    chat.wait(CONFIRM_WITHIN + 1.0)
    chat.tell(MEANT)
    assert not chat.new(e.SendText)
    assert chat.texting() is TextLeg.OPTED_OUT


def test_judged_as_not_meant_the_conversation_goes_on(chat: Story) -> None:
    """The ledger is opened again, and the composer; the customer hears nothing of it."""
    chat.tell(NOT_MEANT)
    assert chat.new(e.OptIn) == [e.OptIn(CALLER, OURS, "message in-2, judged by ann")]
    assert not chat.new(e.SendText)
    chat.tell(e.AgentSaid(ANN, "I will not"))
    assert sent(chat) == ["I will not"]


def test_there_is_nothing_to_judge_twice(chat: Story) -> None:
    """Nor before anything was said."""
    chat.tell(NOT_MEANT)
    for story in (chat, Story()):
        with pytest.raises(UnexpectedEvent, match="There is nothing to judge any more"):
            story.tell(MEANT)


def test_a_second_such_text_is_the_same_wish(chat: Story) -> None:
    """One judgement is enough; the first words are the evidence."""
    chat.text("leave me alone", suspicious=True)
    assert not chat.new(e.OptOut)
    chat.tell(MEANT)
    assert chat.new(e.OptOut)[0].evidence == "message in-2, judged by ann"


def test_after_no_the_next_such_text_is_asked_about_again(chat: Story) -> None:
    """It may be meant this time."""
    chat.tell(NOT_MEANT)
    chat.text("leave me alone", suspicious=True)
    assert len(chat.lines("stop.suspected")) == 2
    assert chat.session.composer(ANN) is not None


def test_a_real_stop_needs_no_judge(chat: Story) -> None:
    """Definite, confirmed, and nothing is left to judge."""
    chat.text("STOP", keyword="stop")
    assert chat.new(e.OptOut) == [e.OptOut(CALLER, OURS, "message in-3")]
    assert sent(chat) == ["[stop en]"]
    with pytest.raises(UnexpectedEvent, match="nothing to judge"):
        chat.tell(MEANT)


def test_start_takes_it_back(chat: Story) -> None:
    """The customer has said it themselves."""
    chat.text("START", keyword="start")
    assert sent(chat) == ["[start en]"]
    assert chat.session.composer(ANN) is None


def test_start_from_another_phone_does_not_take_it_back(chat: Story) -> None:
    """That phone may be texted; what the first one meant is still to be judged, for the first one."""
    chat.text("START", keyword="start", sender=ELSEWHERE)
    assert chat.new(e.OptIn) == [e.OptIn(ELSEWHERE, OURS, "message in-3")]
    assert chat.session.composer(ANN) is not None
    chat.tell(MEANT)
    assert [(opt_out.number, opt_out.provisional) for opt_out in chat.new(e.OptOut)] == [(CALLER, False)]
    assert [(text.recipient, text.body) for text in chat.new(e.SendText)] == [(CALLER, "[stop en]")]


def test_the_judgement_is_about_the_phone_that_said_it(chat: Story) -> None:
    """Also when the customer has written from another one since."""
    chat.text("here I am", sender=ELSEWHERE)
    chat.tell(NOT_MEANT)
    assert chat.new(e.OptIn)[0].number == CALLER
    chat.tell(e.AgentSaid(ANN, "Good"))
    assert {text.recipient for text in chat.new(e.SendText)} == {ELSEWHERE}


@pytest.mark.parametrize("menu", [False, True])
def test_as_the_first_text_it_reaches_an_agent_without_a_word(menu: bool) -> None:
    """No greeting and no menu: it stands in line to be read; what the agent says after a no begins with who we are."""
    story = Story(menu=text_menu() if menu else None, rules=RULES)
    story.text(WORDS, suspicious=True)
    assert not story.texts
    assert story.texting() is TextLeg.QUEUED
    story.agent_chats()
    story.tell(NOT_MEANT)
    story.tell(e.AgentSaid(ANN, "What can I do for you?"))
    assert sent(story) == ["[opt_in en]" if menu else "[hello en]", "What can I do for you?"]


def test_in_a_menu_it_goes_to_an_agent_and_not_round_in_circles() -> None:
    """The menu would not understand it, and nobody would ever judge it."""
    story = Story(menu=text_menu(), rules=RULES)
    story.text("hello")
    story.text(WORDS, suspicious=True)
    assert not story.new(e.SendText)
    assert story.new(e.JoinQueue) == [e.JoinQueue(DESK, "sms", START)]
    story.text("back")
    assert story.texting() is TextLeg.QUEUED


def test_during_an_invitation_the_caller_is_not_left_without_a_call() -> None:
    """The text that was to take over the call will not be answered: the caller hears so and stays in line."""
    story = Story(flow=support(), offers={"deflect": True})
    story.to_the_offer()
    story.press("1")
    assert story.texting() is TextLeg.INVITED
    story.text(WORDS, suspicious=True)
    assert story.new(e.OptOut)[0].provisional
    story.prompt_over()
    assert story.call() is CallState.QUEUED
    assert story.texting() is TextLeg.OPEN
    story.agent_answers()
    assert story.session.composer(ANN) is not None
    story.tell(NOT_MEANT)
    assert story.session.composer(ANN) is None


def test_nobody_is_offered_texts_on_the_phone_meanwhile() -> None:
    """A hold-time question would be one more text."""
    story = Story(flow=support(), suspected=Suspicion(CALLER, "message old", WORDS, START - 100.0))
    story.dial()
    assert story.lines("stop.suspected") == [{"message": "old", "body": WORDS}]
    assert story.state.silent


def test_what_was_not_judged_is_judged_in_the_next_conversation() -> None:
    """The session ended before anybody looked: the next text is not lost in silence, an agent reads both."""
    story = Story(menu=text_menu(), suspected=Suspicion(CALLER, "message old", WORDS, START - 3_600.0))
    story.text("where is my parcel?")
    assert story.lines("stop.suspected") == [{"message": "old", "body": WORDS}]
    assert not story.texts
    story.agent_chats()
    story.tell(MEANT)
    assert story.new(e.OptOut) == [e.OptOut(CALLER, OURS, "message old, judged by ann")]
    assert not story.new(e.SendText)


def test_our_own_refusal_to_send_is_no_opt_out(chat: Story) -> None:
    """A text was waiting in the outbox and the ledger held it back: that is for the agent to judge still."""
    chat.tell(e.TextRejected(e.MessageId("s-1"), "opted_out", "suppressed", "the number opted out"))
    assert not chat.new(e.OptOut)
    assert chat.texting() is TextLeg.CHATTING
    chat.tell(e.TextRejected(e.MessageId("s-1"), "opted_out", "21610", "opted out"))
    assert chat.new(e.OptOut) == [e.OptOut(CALLER, OURS, "provider code 21610")]


def test_an_opt_in_elsewhere_settles_it(chat: Story) -> None:
    """START in another conversation with the same number of ours: the same person has said so."""
    chat.tell(e.OptOutChanged(False))
    assert chat.session.composer(ANN) is None
    chat.text(WORDS, suspicious=True)
    chat.tell(e.OptOutChanged(True))
    assert chat.texting() is TextLeg.OPTED_OUT
    assert chat.state.suspected is None


def test_an_unjudged_chat_ends_in_silence_and_stays_suppressed(chat: Story) -> None:
    """Nobody lifts it by doing nothing."""
    chat.wait(RULES.idle + RULES.reopen + LIMITS.wrap_up)
    assert chat.closed()
    assert not chat.all(e.OptIn)
    assert len(chat.texts) == 1
