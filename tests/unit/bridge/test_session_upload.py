"""A link by which the customer sends pictures where they cannot come by text."""

from typing import Literal

import msgspec
import pytest

from bridge import events as e
from bridge.conversation import FreshLink
from bridge.legs import TextLeg
from bridge.session import UnexpectedEvent
from tests.unit.bridge.story import ANN, BEN, FACTS, RULES, Story, support, text_menu

PHOTO = e.Media("0" * 64, "image/jpeg", 1_000)
URL = "https://example.com/u/1"


@pytest.fixture
def chat() -> Story:
    """A chat with Ann."""
    story = Story(rules=RULES)
    story.text("my router blinks")
    story.agent_chats()
    return story


def asked(story: Story, once: str | None = None) -> e.UploadAsked:
    """Ann asks, and gives ten minutes."""
    return e.UploadAsked(ANN, URL, "token", story.now + 600.0, once)


def used(*media: e.Media, refused: int = 0) -> e.MediaUploaded:
    """The customer has used the link."""
    return e.MediaUploaded("token", media, refused)


def test_the_link_goes_out_with_its_minutes_and_is_kept(chat: Story) -> None:
    """By the agent's name, of no use once it has expired; the token is kept with the text that carries it."""
    chat.tell(asked(chat))
    [text] = chat.new(e.SendText)
    assert (text.body, text.author, text.preset) == (f"[upload en {URL} 10]", "agent:ann", "upload")
    assert text.expires_at == chat.now + 600.0
    assert chat.new(e.KeepUpload) == [e.KeepUpload("token", text.message, chat.now + 600.0)]
    assert chat.lines("upload.asked") == [{"name": "Ann", "token": "token", "expires_at": chat.now + 600.0}]


def test_asked_for_twice_by_the_same_press_it_goes_out_once(chat: Story) -> None:
    """The desk's name for it tells."""
    chat.tell(asked(chat, "press 1"))
    chat.tell(asked(chat, "press 1"))
    assert not chat.news


def test_only_who_may_write_may_ask(chat: Story) -> None:
    """The composer's rule, with its words."""
    with pytest.raises(UnexpectedEvent, match="You are not connected to this customer"):
        chat.tell(e.UploadAsked(BEN, URL, "token", chat.now + 600.0))


def test_a_customer_who_does_not_know_us_reads_first_who_asks() -> None:
    """A bare link from an unknown number is what people are warned of."""
    story = Story(flow=support(), offers={"deflect": False})
    story.to_the_line()
    story.agent_answers()
    story.tell(asked(story))
    assert [text.body for text in story.new(e.SendText)] == ["[in_call en]", f"[upload en {URL} 10]"]


def test_pictures_in_a_chat_count_as_the_customers_word(chat: Story) -> None:
    """It is not silent any more, and would not be put aside."""
    chat.tell(asked(chat))
    chat.wait(RULES.dismiss_after - 1.0)
    chat.tell(used(PHOTO, refused=1))
    [line] = chat.lines("media.uploaded")
    assert (len(line["media"]), line["refused"]) == (1, 1)
    chat.wait(RULES.dismiss_after)
    assert chat.texting() is TextLeg.CHATTING


def test_pictures_of_which_none_could_be_taken_are_noted_and_nothing_else(chat: Story) -> None:
    """The agent sees that the customer tried."""
    chat.tell(asked(chat), e.AgentDismissed(ANN))
    chat.tell(used(refused=2))
    assert chat.lines("media.uploaded")[0]["refused"] == 2
    assert chat.texting() is TextLeg.DISMISSED


def test_pictures_bring_a_chat_back_that_was_put_aside(chat: Story) -> None:
    """As a text would."""
    chat.tell(asked(chat), e.AgentDismissed(ANN))
    chat.tell(used(PHOTO))
    assert chat.texting() is TextLeg.QUEUED


def test_pictures_while_the_note_is_written_reach_the_desk_afterwards(chat: Story) -> None:
    """They are an unanswered word of the customer's."""
    chat.tell(asked(chat), e.AgentEndedChat(ANN))
    chat.tell(used(PHOTO))
    chat.tell(e.WrapUpNoted(ANN, "", None))
    assert chat.texting() is TextLeg.QUEUED


@pytest.mark.parametrize("keyword", ["stop", "suspicious"])
def test_pictures_of_who_wants_no_texts_are_kept_and_not_answered(chat: Story, keyword: Literal["stop", "suspicious"]) -> None:
    """The link works still; nothing goes out for it."""
    chat.tell(asked(chat))
    if keyword == "stop":
        chat.text("STOP", keyword="stop")
    else:
        chat.text("leave me alone", suspicious=True)
    chat.tell(used(PHOTO))
    assert len(chat.lines("media.uploaded")) == 1
    assert not chat.new(e.SendText)


def test_pictures_are_no_answer_to_a_menu() -> None:
    """A link from before is used while the menu waits: it is kept, and the menu waits on."""
    story = Story(menu=text_menu())
    story.text("hello")
    story.tell(used(PHOTO))
    assert story.texting() is TextLeg.CHOOSING
    assert not story.new(e.SendText)


def test_a_link_into_a_session_that_is_over_is_refused(chat: Story) -> None:
    """Whoever keeps the files must know that no agent sees them."""
    chat.text("STOP", keyword="stop")
    chat.tell(e.WrapUpNoted(ANN, "", None))
    with pytest.raises(UnexpectedEvent, match="the session is closed"):
        chat.tell(used(PHOTO))


def test_a_question_for_a_photo_brings_a_link_where_photos_do_not_come_by_text() -> None:
    """What comes by the link answers it, and no agent is needed for it."""
    link = FreshLink(URL, "token", 1_000_600.0)
    story = Story(flow=support(), offers={"deflect": False, "hold": True}, facts=msgspec.structs.replace(FACTS, link=link))
    story.to_the_line()
    story.wait(20.0)
    story.prompt_over()
    story.wait(20.0)
    story.press("1")
    assert URL not in story.texts[-1]
    story.text("the router blinks")
    assert story.texts[-1].endswith(f"[upload en {URL} {round((link.expires_at - story.now) / 60)}]")
    assert [kept.token for kept in story.all(e.KeepUpload)] == ["token"]
    story.tell(used(PHOTO))
    assert story.state.answers == {"reason": "the router blinks", "photo": "1 photo"}
