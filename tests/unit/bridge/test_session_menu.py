"""A text that begins a conversation meets the number's menu: what it says, what it understands, and where it leads."""

from functools import cache

import msgspec
import pytest

from bridge import events as e
from bridge.legs import TextLeg
from bridge.session import Facts
from sms.menu import Menu, QueueNow
from tests.unit.bridge.story import ANN, CALLER, FACTS, LIMITS, OURS, RULES, START, Story, text_menu

DESK, OTHER = e.QueueId("support_sms"), e.QueueId("other_sms")


@pytest.fixture
def story() -> Story:
    """A customer of whom nothing is known, and a number with the packaged menu."""
    return Story(menu=text_menu(), rules=RULES)


@cache
def two_queues() -> Menu:
    """The packaged menu, but technical help has a queue of its own."""
    menu = text_menu()
    billing, technical, *others = menu.top.options
    technical = msgspec.structs.replace(technical, queue=OTHER)
    return msgspec.structs.replace(menu, top=msgspec.structs.replace(menu.top, options=(billing, technical, *others)))


def facts(now: QueueNow) -> Facts:
    """It stands so with the desk."""
    return msgspec.structs.replace(FACTS, queues={DESK: now})


def said(story: Story) -> str:
    """What the customer has been told since the last event."""
    return "\n".join(text.body for text in story.new(e.SendText))


def test_the_first_text_is_answered_by_who_we_are_and_what_can_be_chosen(story: Story) -> None:
    """The opt-in text comes first, with its four parts; nobody stands in line before it is clear for what."""
    story.text("hello")
    words = story.texts[0]
    assert words.startswith("Example support: recurring messages")
    assert all(part in words for part in ("Msg & data rates may apply", "STOP", "HELP"))
    assert "1 Billing\n2 Technical help\n3 Something else" in said(story)
    assert story.texting() is TextLeg.CHOOSING
    assert not story.all(e.JoinQueue)


def test_who_writes_first_agrees_to_be_answered_and_the_ledger_says_to_which_words(story: Story) -> None:
    """Number, purpose, exact words with language, key and version, and the message that is the evidence; once."""
    story.text("hello")
    [consent] = story.all(e.RecordConsent)
    words = story.all(e.SendText)[0].body
    version = text_menu().revision
    assert consent == e.RecordConsent(CALLER, "session", True, words, "en", "message in-1", OURS, "opt_in", version)
    story.text("2")
    assert len(story.all(e.RecordConsent)) == 1


def test_who_knows_us_is_not_told_again_who_we_are() -> None:
    """Only the menu."""
    story = Story(menu=text_menu(), introduced=True)
    story.text("hello")
    assert said(story).startswith("What is it about?")
    assert not story.all(e.RecordConsent)


def test_numbers_lead_down_the_menu_and_into_the_line(story: Story) -> None:
    """The agent reads the way in words; the place in line is the moment of the last choice, and the greeting says the wait."""
    story.text("hello")
    story.text("1")
    assert said(story).startswith("Billing.\n")
    assert "2 A question about a bill\nBACK: the menu before" in said(story)
    story.wait(60.0)
    story.text("2")
    assert said(story).startswith("A question about a bill: an agent will answer you here, in about 4 min.")
    assert story.new(e.JoinQueue) == [e.JoinQueue(DESK, "sms", START + 60.0)]
    assert story.state.path == ["Billing", "A question about a bill"]


def test_a_keyword_jumps_to_its_queue_even_as_the_first_text() -> None:
    """The opt-in text still comes first."""
    story = Story(menu=two_queues())
    story.text("Fix!")
    assert story.texts[0].startswith("Example support: recurring messages")
    assert "Technical help: an agent will answer you here" in said(story)
    assert [join.queue for join in story.all(e.JoinQueue)] == [OTHER]
    assert story.state.desk == OTHER


def test_a_title_is_as_good_as_its_number(story: Story) -> None:
    """Whoever types what they read is understood."""
    story.text("hello")
    story.text("technical HELP")
    assert story.texting() is TextLeg.QUEUED
    assert story.state.path == ["Technical help"]


def test_what_is_not_understood_is_asked_again_and_the_third_time_a_person_helps(story: Story) -> None:
    """Nobody is lost in the menu, and two machines do not talk for ever."""
    story.text("hello")
    for _ in range(2):
        story.text("what do you mean")
        assert said(story).startswith("Sorry, I did not understand that.\nWhat is it about?")
    story.text("what do you mean")
    assert story.texting() is TextLeg.QUEUED
    assert [join.queue for join in story.all(e.JoinQueue)] == [DESK]


def test_a_choice_forgives_what_was_not_understood_before(story: Story) -> None:
    """The count begins anew below."""
    for body in ("hello", "what", "what", "1", "what", "what"):
        story.text(body)
    assert story.texting() is TextLeg.CHOOSING


def test_back_leads_up_and_exit_ends_it(story: Story) -> None:
    """A word of thanks, and nothing more is expected."""
    for body in ("hello", "1", "BACK"):
        story.text(body)
    assert said(story).startswith("What is it about? Reply with a number:\n1 Billing")
    story.text("exit")
    assert said(story) == "Thank you. Text us again whenever you like."
    assert story.closed()
    assert story.state.reason == "left"


def test_exit_as_the_first_text_is_taken_at_its_word(story: Story) -> None:
    """Nobody is put in line who wants to leave."""
    story.text("EXIT")
    assert said(story) == "Thank you. Text us again whenever you like."
    assert story.closed()


def test_back_in_line_leads_to_the_menu_and_the_time_waited_is_kept() -> None:
    """Whoever chose wrongly chooses again, and stands where they would have stood."""
    story = Story(menu=two_queues(), rules=RULES)
    for body in ("hello", "1", "1"):
        story.text(body)
    story.wait(300.0)
    story.text("back")
    assert story.new(e.LeaveQueue) == [e.LeaveQueue("sms", "closed")]
    assert said(story).startswith("What is it about? Reply with a number:\n1 Billing")
    story.text("fix")
    assert story.new(e.JoinQueue) == [e.JoinQueue(OTHER, "sms", START)]


def test_exit_in_line_leaves_the_line(story: Story) -> None:
    """And the session is over."""
    story.text("pay")
    story.text("EXIT")
    assert story.new(e.LeaveQueue) == [e.LeaveQueue("sms", "closed")]
    assert said(story) == "[bye en]"
    assert story.state.reason == "left"
    assert story.closed()


def test_other_words_in_line_are_for_the_agent(story: Story) -> None:
    """They are kept and not answered; the place stays."""
    story.text("pay")
    story.text("it is the bill of May")
    assert not story.new(e.SendText)
    assert not story.new(e.JoinQueue)
    assert story.lines("text.received")[-1]["body"] == "it is the bill of May"


def test_a_language_is_chosen_by_its_name_or_by_writing_in_it(story: Story) -> None:
    """The menu goes on in it, and so do the texts afterwards."""
    story.text("hello")
    story.text("FRANÇAIS")
    assert said(story).startswith("De quoi s'agit-il ? Répondez par un numéro :\n1 Facturation")
    assert story.lines("language.chosen") == [{"language": "fr", "by": "text"}]
    story.text("2")
    story.agent_chats()
    assert story.state.language == "fr"
    other = Story(menu=text_menu())
    other.text("averia")
    assert other.texts[0].startswith("Example: varios mensajes")
    assert other.state.language == "es"


def test_a_menu_nobody_answers_is_over_in_time(story: Story) -> None:
    """Without a text: the customer has gone on to other things."""
    story.text("hello")
    story.wait(LIMITS.menu + 1.0)
    assert not story.new(e.SendText)
    assert story.state.reason == "menu not answered"
    assert story.closed()


def test_every_answer_gives_the_menu_its_time_again(story: Story) -> None:
    """The time-out counts from the last text."""
    story.text("hello")
    for _ in range(3):
        story.wait(LIMITS.menu - 1.0)
        story.text("1")
        story.text("back")
    assert story.texting() is TextLeg.CHOOSING


def test_a_number_of_a_queue_or_of_an_agent_asks_nothing() -> None:
    """A direct number: opt-in, greeting, and the line in which only this agent is asked."""
    story = Story(menu=text_menu(), service="direct", direct=ANN)
    story.text("hello")
    assert "1 Billing" not in said(story)
    assert "an agent will answer you here" in said(story)
    assert story.all(e.JoinQueue) == [e.JoinQueue(DESK, "sms", START, skills=("agent:ann",))]
    story.text("back")
    assert not story.news[1:], "there is no menu to go back to: only the text itself is noted"


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (QueueNow(open=False, reopens="tomorrow at 8:00"), "is closed until tomorrow at 8:00"),
        (QueueNow(open=False), "is closed now"),
        (QueueNow(staffed=False, ewt_minutes=4), "nobody is at the desk at the moment"),
        (QueueNow(over_capacity=True, ewt_minutes=40), "It may take about 40 min"),
        (QueueNow(), "an agent will answer you here."),
    ],
)
def test_what_is_promised_on_arrival_is_what_the_queue_can_keep(now: QueueNow, words: str) -> None:
    """Closed, nobody there, too many, no honest estimate; the text stands in line all the same."""
    story = Story(menu=text_menu(), facts=facts(now))
    story.text("3")  # the first text is no choice yet
    story.text("3")
    assert words in said(story)
    assert story.texting() is TextLeg.QUEUED


def test_help_and_start_before_the_choice_do_not_skip_it(story: Story) -> None:
    """HELP is answered; what it is about is asked next, after who we are: the answer to HELP does not say all of that."""
    story.text("HELP", keyword="help")
    assert story.texts == ["[help en]"]
    story.text("my router blinks")
    assert story.texts[1].startswith("Example support: recurring messages")
    assert story.texting() is TextLeg.CHOOSING
    story.text("HELP", keyword="help")
    story.text("2")
    assert story.texting() is TextLeg.QUEUED


def test_stop_in_the_menu_ends_it_and_start_begins_it_anew(story: Story) -> None:
    """One confirmation, no listing; after START the first words meet the menu again."""
    story.text("hello")
    before = len(story.texts)
    story.text("STOP", keyword="stop")
    assert story.texts[before:] == ["[stop en]"]
    assert story.closed()
    other = Story(menu=text_menu(), text=TextLeg.OPTED_OUT, introduced=True)
    other.text("START", keyword="start")
    other.text("hello")
    assert other.texting() is TextLeg.CHOOSING


def test_a_menu_that_is_gone_after_a_restart_leaves_its_customer_to_the_desk(story: Story) -> None:
    """The settings were changed meanwhile: the next text stands in line."""
    story.text("hello")
    story.menu = None
    story.text("2")
    assert story.texting() is TextLeg.QUEUED


def test_a_photo_is_no_answer_to_the_menu_and_is_kept(story: Story) -> None:
    """It counts as not understood; the agent sees it."""
    story.text("", photos=1)
    assert story.texting() is TextLeg.CHOOSING
    story.text("", photos=1)
    assert said(story).startswith("Sorry, I did not understand that.")
    assert [len(line["media"]) for line in story.lines("text.received")] == [1, 1]
