"""A customer with several phones: whoever texts the session's code is in it, and is answered where they wrote last."""

import pytest

from bridge import events as e
from bridge.legs import TextLeg
from bridge.session import UnexpectedEvent
from tests.unit.bridge.story import ANN, CALLER, OURS, RULES, Story, support

OTHER = "+15550100199"


@pytest.fixture
def chat() -> Story:
    """A chat with Ann."""
    story = Story(rules=RULES, code="BCDF")
    story.text("my router blinks")
    story.agent_chats()
    return story


def recipients(story: Story) -> list[str]:
    """Where texts went since the last event."""
    return [text.recipient for text in story.new(e.SendText)]


def test_texts_go_where_the_last_one_came_from(chat: Story) -> None:
    """To the other phone, which reads first who writes, and back; every text says which phone it came from."""
    chat.text("BCDF it is me", sender=OTHER)
    chat.tell(e.AgentSaid(ANN, "Which one?"))
    assert [(text.recipient, text.body) for text in chat.new(e.SendText)] == [(OTHER, "[hello en]"), (OTHER, "Which one?")]
    chat.tell(e.AgentSaid(ANN, "The blue one?"))
    assert recipients(chat) == [OTHER]
    chat.text("the blue one", sender=OTHER)
    chat.text("or the red one")
    chat.tell(e.AgentSaid(ANN, "Which?"))
    assert recipients(chat) == [CALLER]
    assert [line["number"] for line in chat.lines("sender.added")] == [OTHER]
    assert [line["sender"] for line in chat.lines("text.received")] == [None, OTHER, OTHER, None]
    assert chat.state.aliases == [OTHER]


def test_the_code_brings_nobody_to_a_second_place(chat: Story) -> None:
    """It is the same chat with the same agent."""
    chat.text("BCDF it is me", sender=OTHER)
    assert chat.state.chat_agent == ANN
    assert not chat.new(e.JoinQueue)
    assert not chat.new(e.SendText)


def test_stop_from_the_other_phone_is_about_that_phone(chat: Story) -> None:
    """The ledger has the phone that said it, the confirmation goes there, and this conversation is silent."""
    chat.text("BCDF it is me", sender=OTHER)
    chat.text("STOP", keyword="stop", sender=OTHER)
    assert chat.new(e.OptOut) == [e.OptOut(OTHER, OURS, "message in-3")]
    assert [(text.recipient, text.body) for text in chat.new(e.SendText)] == [(OTHER, "[stop en]")]
    with pytest.raises(UnexpectedEvent, match="The customer sent STOP"):
        chat.tell(e.AgentSaid(ANN, "Are you sure?"))


def test_stop_from_the_first_phone_after_the_other_one_has_written(chat: Story) -> None:
    """Again the one that said it."""
    chat.text("BCDF it is me", sender=OTHER)
    chat.text("STOP", keyword="stop")
    assert chat.new(e.OptOut) == [e.OptOut(CALLER, OURS, "message in-3")]
    assert recipients(chat) == [CALLER]


def test_a_provider_that_knows_of_a_stop_of_the_other_phone_ends_nothing(chat: Story) -> None:
    """That phone is not texted again; the conversation goes on with the one that wrote last."""
    chat.text("BCDF it is me", sender=OTHER)
    chat.tell(e.AgentSaid(ANN, "Which one?"))
    message = chat.last_text
    chat.text("here again")
    chat.tell(e.TextRejected(message, "opted_out", "21610", "opted out"))
    assert chat.new(e.OptOut) == [e.OptOut(OTHER, OURS, "provider code 21610")]
    assert chat.texting() is TextLeg.CHATTING
    chat.tell(e.AgentSaid(ANN, "Which one?"))
    assert recipients(chat) == [CALLER]


def test_a_caller_who_withholds_the_number_can_be_texted_once_they_have_texted_the_code() -> None:
    """Until then the agent reads that there is nowhere to text; the first text introduces us."""
    story = Story(customer=None, flow=support(), offers={"deflect": False}, code="BCDF")
    story.to_the_line()
    story.agent_answers()
    assert story.session.composer(ANN) == "The caller withheld the number, so there is nowhere to text."
    story.text("BCDF", sender=OTHER)
    assert story.session.composer(ANN) is None
    story.tell(e.AgentSaid(ANN, "The form: https://example.com/form"))
    assert [(text.recipient, text.body) for text in story.new(e.SendText)] == [
        (OTHER, "[in_call en]"),
        (OTHER, "The form: https://example.com/form"),
    ]
    assert story.state.customer is None


def test_after_the_call_the_other_phone_goes_on_by_text() -> None:
    """To the desk, in the same session."""
    story = Story(customer=None, flow=support(), offers={"deflect": False}, code="BCDF")
    story.to_the_line()
    story.text("BCDF", sender=OTHER)
    story.caller_hangs_up()
    assert story.texting() is TextLeg.QUEUED
    story.agent_chats()
    story.tell(e.AgentSaid(ANN, "What can I do for you?"))
    assert set(recipients(story)) == {OTHER}


def test_a_line_that_has_texted_can_be_texted() -> None:
    """The numbering plan calls it a landline; the customer has shown that it is more."""
    story = Story(why_not_text="This number cannot take texts.")
    story.text("hello")
    story.agent_chats()
    story.tell(e.AgentSaid(ANN, "Good morning"))
    assert recipients(story) == [CALLER]


def test_a_text_from_another_phone_does_not_prove_that_the_first_can_be_texted() -> None:
    """It is answered where it came from, and only there."""
    story = Story(flow=support(), offers={"deflect": False}, why_not_text="This number cannot take texts.")
    story.to_the_line()
    story.agent_answers()
    assert story.session.composer(ANN) == "This number cannot take texts."
    story.text("BCDF", sender=OTHER)
    assert story.session.composer(ANN) is None
    story.tell(e.AgentSaid(ANN, "Good morning"))
    assert set(recipients(story)) == {OTHER}
