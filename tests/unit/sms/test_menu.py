"""What a customer who texts a number is answered, until they stand in a line or leave."""

from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms.menu import LONGEST, MISSES, Menu, MenuFacts, Option, Place, QueueNow, Step, listed
from sms.segments import segment

OPT_IN = "{brand}: recurring messages. Msg & data rates may apply. Reply STOP to opt out."


def said(**languages: str | tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """A message in each language, with one variant or several."""
    return {language: (text,) if isinstance(text, str) else text for language, text in languages.items()}


MESSAGES = {
    "opt_in": said(en=OPT_IN, fr="FR " + OPT_IN),
    "choose": said(en="Reply with a number:", fr="Un chiffre :"),
    "below": said(en="BACK goes up", fr="RETOUR"),
    "chosen": said(en="{title}.", fr="{title}."),
    "not_understood": said(en="Sorry?", fr="Pardon ?"),
    "greeting": said(en=("{name}, in line for {queue}: {ewt_minutes} min", "In line for {queue}"), fr="En file : {queue}"),
    "over_capacity": said(en=("{queue}: busy, {ewt_minutes} min", "{queue}: busy"), fr="Beaucoup de monde"),
    "after_hours": said(en=("{queue} opens {reopens}", "{queue} is closed"), fr="Fermé"),
    "unavailable": said(en="{queue}: nobody is here", fr="Personne"),
    "bye": said(en="Bye.", fr="Au revoir."),
    "warning": said(en="Still there? {minutes} min left for {queue}", fr="Encore là ? {minutes} min"),
}
PAY = Option(title={"en": "Pay", "fr": "Payer"}, queue="pay", keywords={"en": ("PAY NOW",), "fr": ("PAYER",)}, hours="short")
MENU = Menu(
    name="example",
    languages=("en", "fr"),
    default_language="en",
    default="general",
    back={"en": ("BACK",), "fr": ("RETOUR",)},
    exit={"en": ("EXIT",), "fr": ("SORTIR",)},
    top=Option(
        hours="always",
        messages=MESSAGES,
        options=(
            Option(
                title={"en": "Billing", "fr": "Factures"},
                options=(
                    PAY,
                    Option(title={"en": "Question", "fr": "Question"}, queue="general"),
                    Option(title={"en": "VIP", "fr": "VIP"}, queue="vip", keywords={"en": ("GOLD",)}, hidden=True),
                    Option(
                        title={"en": "Disputes", "fr": "Litiges"},
                        queue="disputes",
                        messages={"greeting": said(en="A lawyer will write to you", fr="Un juriste vous écrira")},
                    ),
                ),
            ),
            Option(title={"en": "Anything else", "fr": "Autre chose"}, queue="general"),
            Option(title={"en": "English", "fr": "English"}, language="en", keywords={"fr": ("ANGLAIS",)}),
            Option(title={"en": "FRANÇAIS", "fr": "FRANÇAIS"}, language="fr", keywords={"en": ("FRENCH",)}),
        ),
    ),
)
FACTS = MenuFacts("Northwind", {})
LINE = MenuFacts("Northwind", {"pay": QueueNow(ewt_minutes=4)}, name="Mr. Jones")
TOP = Place((), "en")


def first(body: str, *, language: str | None = None, introduced: bool = True, facts: MenuFacts = FACTS) -> Step:
    return MENU.enter(body, language=language, introduced=introduced, facts=facts)


def reply(body: str, place: Place = TOP, facts: MenuFacts = FACTS) -> Step:
    return MENU.reply(place, body, facts)


def texts(step: Step) -> list[str]:
    return [each.text for each in step.says]


def test_the_first_text_is_answered_with_the_opt_in_and_the_menu_as_one_text() -> None:
    """Several texts may arrive in any order, so the opt-in and the menu are one text where that costs no more."""
    step = first("hello, my bill is wrong", introduced=False)
    assert [each.key for each in step.says] == ["opt_in"]
    opt_in, *rest = texts(step)[0].split("\n")
    assert opt_in == "Northwind: recurring messages. Msg & data rates may apply. Reply STOP to opt out."
    assert rest == ["Reply with a number:", "1 Billing", "2 Anything else", "3 FRANÇAIS"]
    assert (step.place, step.queue, step.ended, step.why) == (TOP, None, False, "the first text")


def test_what_would_cost_more_as_one_text_goes_out_as_two() -> None:
    """A cheap opt-in is not put into the dear alphabet that one letter of the menu asks for."""
    messages = {**MESSAGES, "opt_in": said(en="x" * 150), "choose": said(en="ôô:")}
    menu = msgspec.structs.replace(MENU, top=msgspec.structs.replace(MENU.top, messages=messages))
    step = menu.enter("hi", language="en", introduced=False, facts=FACTS)
    assert [each.key for each in step.says] == ["opt_in", "choose"]


def test_who_was_told_before_gets_the_menu_alone() -> None:
    """The opt-in text is said once, not with every conversation."""
    assert texts(first("hello")) == ["Reply with a number:\n1 Billing\n2 Anything else\n3 FRANÇAIS"]


def test_a_number_in_the_first_text_is_no_choice() -> None:
    """Nobody has read the list yet, so what the number means cannot be known."""
    assert first("1").place == TOP


@pytest.mark.parametrize("body", ["1", " 1. ", "#1", "1)", "1\ufe0f\u20e3", "\uff11", "billing", "BILLING!", "Factures"])
def test_an_option_is_chosen_by_its_number_or_its_title(body: str) -> None:
    """Whatever the punctuation, the case and the keyboard's idea of a digit; a title in any language."""
    step = reply(body)
    assert step.place is not None
    assert step.place.path == (0,)
    assert step.titles == ("Billing",)


def test_a_menu_below_confirms_the_choice_and_lists_what_is_next() -> None:
    """A hidden option is not listed and takes no number."""
    assert texts(reply("1")) == ["Billing.\nReply with a number:\n1 Pay\n2 Question\n3 Disputes\nBACK goes up"]
    assert reply("3", Place((0,), "en")).queue == "disputes"


def test_a_queue_is_the_end_of_the_menu() -> None:
    """The customer hears where they are and how long it takes; the agent sees what was chosen in the menu's language."""
    step = reply("1", Place((0,), "fr"), LINE)
    assert (step.place, step.queue, step.titles, step.language) == (None, "pay", ("Billing", "Pay"), "fr")
    assert texts(step) == ["En file : Payer"]
    assert texts(reply("1", Place((0,), "en"), LINE)) == ["Mr. Jones, in line for Pay: 4 min"]


def test_a_keyword_jumps_from_anywhere_and_tells_the_language() -> None:
    """Also in the first text, and to what is hidden."""
    step = first("pay now", introduced=False)
    assert step.queue == "pay"
    assert texts(step) == ["Northwind: recurring messages. Msg & data rates may apply. Reply STOP to opt out.\nIn line for Pay"]
    assert (first("Payer!", introduced=False).language, reply("payer").language) == ("fr", "fr")
    assert texts(first("Payer!", introduced=False))[0].startswith("FR Northwind")
    assert first("gold").queue == "vip"
    assert reply("GOLD").titles == ("Billing", "VIP")
    assert reply("VIP", Place((0,), "en")).queue is None


def test_the_title_of_the_top_menu_is_understood_in_the_first_text() -> None:
    """Whoever writes "Billing" first means the option, list or no list."""
    step = first("Billing")
    assert step.place is not None
    assert step.place.path == (0,)


def test_a_language_is_changed_where_one_is() -> None:
    """And it is not offered where it is spoken."""
    step = reply("french", Place((0,), "en"))
    assert step.place == Place((0,), "fr")
    assert texts(step) == ["Un chiffre :\n1 Payer\n2 Question\n3 Litiges\nRETOUR"]
    assert texts(reply("3")) == ["Un chiffre :\n1 Factures\n2 Autre chose\n3 English"]
    assert texts(first("French", introduced=False))[0].startswith("FR Northwind")


def test_back_goes_one_menu_up_and_no_further_than_the_top() -> None:
    """In the words of any language."""
    assert reply("back", Place((0,), "en", misses=2)).place == TOP
    assert reply("Retour", TOP).place == TOP


def test_exit_ends_the_conversation_at_any_time() -> None:
    """Even in the first text, which then needs no opt-in: nothing more will come."""
    for step in (first("exit", introduced=False), reply("SORTIR.", Place((0,), "en"))):
        assert (step.place, step.queue, step.ended) == (None, None, True)
        assert texts(step) == ["Bye."]


def test_what_is_not_understood_is_asked_again_and_then_left_to_people() -> None:
    """Nobody is asked for ever; after some misses in a row the default queue takes over."""
    step, place = reply("erm"), TOP
    for miss in range(1, MISSES):
        step = reply("erm", place)
        assert step.place is not None
        place = step.place
        assert place.misses == miss
        assert step.says[0].text.startswith("Sorry?\nReply with a number:")
    step = reply("", place)
    assert (step.queue, step.titles, step.why) == ("general", (), "3 texts not understood")
    assert texts(step) == ["In line for Northwind"]
    chosen = reply("1", place).place
    assert chosen is not None
    assert chosen.misses == 0


@pytest.mark.parametrize("body", ["0", "9", "4", "1234", "\u00b2\u00b2", "", "😀", "1 or 2", "\u216b"])
def test_a_number_that_is_not_listed_is_not_understood(body: str) -> None:
    """It is no choice, whatever it may mean as a number elsewhere."""
    step = reply(body)
    assert step.place is not None
    assert step.place.misses == 1


def test_a_menu_with_nothing_to_choose_goes_straight_to_its_queue() -> None:
    """One visible queue is no question."""
    menu = msgspec.structs.replace(MENU, top=msgspec.structs.replace(MENU.top, options=(PAY,)))
    step = menu.enter("hello", language=None, introduced=False, facts=FACTS)
    assert (step.queue, step.why) == ("pay", "there is nothing to choose")
    assert [each.key for each in step.says] == ["opt_in"]


def test_a_number_of_a_queue_asks_nothing() -> None:
    """A hidden queue is reached that way; a keyword in the first text still tells the language."""
    step = MENU.enter("hello", language="en", introduced=True, facts=FACTS, queue="vip")
    assert (step.queue, step.titles, texts(step)) == ("vip", ("Billing", "VIP"), ["In line for VIP"])
    assert MENU.enter("french", language="en", introduced=True, facts=FACTS, queue="vip").language == "fr"
    assert MENU.enter("Billing", language="en", introduced=True, facts=FACTS, queue="vip").queue == "vip"


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (QueueNow(), "In line for Pay"),
        (QueueNow(ewt_minutes=7), "In line for Pay"),
        (QueueNow(over_capacity=True, ewt_minutes=0), "Pay: busy, 1 min"),
        (QueueNow(over_capacity=True), "Pay: busy"),
        (QueueNow(open=False, reopens="Monday 9:00", ewt_minutes=3, over_capacity=True), "Pay opens Monday 9:00"),
        (QueueNow(open=False), "Pay is closed"),
        (QueueNow(staffed=False, ewt_minutes=3, over_capacity=True), "Pay: nobody is here"),
    ],
)
def test_a_queue_says_the_truth_about_itself(now: QueueNow, text: str) -> None:
    """Closed before unstaffed before busy; what is not known is left out with the words around it."""
    says = MENU.arrive("pay", "en", MenuFacts("Northwind", {"pay": now}))
    assert [each.text for each in says] == [text]


def test_a_queue_says_its_own_words() -> None:
    """A message is inherited from the top down, until an option says it otherwise."""
    assert [each.text for each in MENU.arrive("disputes", "fr", FACTS)] == ["Un juriste vous écrira"]
    assert MENU.words("greeting", "disputes", "en") == "A lawyer will write to you"
    assert MENU.words("warning", "pay", "en", minutes=5) == "Still there? 5 min left for Pay"
    assert MENU.words("warning", None, "fr-CA", minutes=5) == "Encore là ? 5 min"
    assert MENU.words("expired", "pay", "en") is None


def test_a_queue_in_several_places_is_called_by_what_they_share() -> None:
    """Nobody is told about one of several titles that they never chose; without a common menu the brand answers."""
    assert MENU.words("warning", "general", "en", minutes=5, brand="Northwind") == "Still there? 5 min left for Northwind"
    assert MENU.words("warning", "elsewhere", "de", minutes=5, brand="Northwind") == "Still there? 5 min left for Northwind"
    assert texts(reply("2")) == ["In line for Anything else"]


def test_what_cannot_be_filled_in_is_left_out() -> None:
    """A lint error, but no reason to say nothing, and no reason to show braces to a customer."""
    assert MENU.words("warning", "pay", "en") == "Still there?  min left for Pay"
    empty = msgspec.structs.replace(MENU, top=Option(messages={"bye": {}}))
    assert empty.words("bye", None, "en") is None
    assert empty.reply(TOP, "exit", FACTS).says == ()


def test_a_customer_in_line_can_go_back_to_the_menu() -> None:
    """BACK and EXIT hold in a queue as well; the session asks what they are."""
    assert [MENU.command(body) for body in ("back", "Exit!", "hello", "")] == ["back", "exit", None, None]
    assert MENU.back_from("pay", "fr", FACTS).place == Place((0,), "fr")
    assert MENU.back_from("general", "en", FACTS).place == TOP


def test_the_queues_of_a_menu_are_known_with_their_hours() -> None:
    """So that the server can say how it stands with each."""
    assert MENU.queues() == {"general": "always", "pay": "short", "vip": "always", "disputes": "always"}


@pytest.mark.parametrize("path", [(7,), (0, 0), (0, 9, 1), (-1,), (1,), (0, -2)])
def test_a_place_of_another_version_of_the_menu_is_still_a_place(path: tuple[int, ...]) -> None:
    """Whoever is in a menu while it is changed goes on in the innermost part that is still there."""
    step = reply("back", Place(path, "xx"))
    assert step.place == TOP
    assert reply("erm", Place(path, "xx")).place is not None


# Any customer, any menu


LANGUAGES = ("en", "fr")


def leaf(queue: str, *, hidden: bool, keyword: str) -> Option:
    return Option(title={"en": queue, "fr": f"{queue} fr"}, queue=queue, hidden=hidden, keywords={"en": (keyword,)})


def submenu(options: list[Option], title: str) -> Option:
    return Option(title={"en": title, "fr": f"{title} fr"}, options=tuple(options))


LEAVES = st.builds(
    leaf, st.sampled_from(["pay", "general", "vip"]), hidden=st.booleans(), keyword=st.sampled_from(["gold", "silver", "pay"])
)
SWITCHES = st.sampled_from(LANGUAGES).map(lambda language: Option(title={"en": language, "fr": language}, language=language))
OPTIONS = st.recursive(
    LEAVES | SWITCHES,
    lambda below: st.builds(submenu, st.lists(below, min_size=1, max_size=4), st.sampled_from(["Bills", "More"])),
    max_leaves=12,
)
MENUS = st.lists(OPTIONS, min_size=1, max_size=5).map(
    lambda options: msgspec.structs.replace(MENU, top=Option(messages=MESSAGES, options=tuple(options)))
)
BODIES = st.one_of(
    st.integers(0, 6).map(str),
    st.sampled_from(["BACK", "EXIT", "gold", "bills", "More fr", "pay", "", "retour", "fr"]),
    st.text(max_size=12),
)
NOW = st.builds(
    QueueNow,
    open=st.booleans(),
    reopens=st.none() | st.just("Monday"),
    ewt_minutes=st.none() | st.integers(0, 90),
    staffed=st.booleans(),
    over_capacity=st.booleans(),
)
FACTS_ANY = st.builds(
    MenuFacts, st.just("Northwind"), st.dictionaries(st.sampled_from(["pay", "vip"]), NOW), st.none() | st.just("Mr. Jones")
)


@given(MENUS, st.lists(BODIES, min_size=1, max_size=12), FACTS_ANY, st.sampled_from(["en", "fr", "fr-CA", "de", None]))
def test_any_texts_are_answered(menu: Menu, bodies: list[str], facts: MenuFacts, language: str | None) -> None:
    """Whatever is written: an answer without braces, and a place that survives JSON, or a queue, or the end."""
    step = menu.enter(bodies[0], language=language, introduced=False, facts=facts)
    assert step.ended or step.says[0].key == "opt_in"
    for body in bodies[1:]:
        assert step.says
        assert all(each.text and "{" not in each.text for each in step.says)
        assert (step.place is None) == (step.queue is not None or step.ended)
        assert step.language in LANGUAGES
        if step.place is None:
            break
        place = msgspec.json.decode(msgspec.json.encode(step.place), type=Place)
        assert place == step.place
        assert place.misses < MISSES
        step = menu.reply(place, body, facts)


@given(MENUS, st.data())
def test_back_undoes_a_choice(menu: Menu, data: st.DataObject) -> None:
    """Whoever chose a menu by its number and writes BACK is where they were, and reads what they read."""
    here = Place((), data.draw(st.sampled_from(LANGUAGES)))
    for _ in range(3):
        number = data.draw(st.integers(1, 5))
        there = menu.reply(here, str(number), FACTS)
        if there.place is None or len(there.place.path) != len(here.path) + 1:
            return
        again = menu.reply(there.place, "back", FACTS)
        assert again.place == here
        assert [each.text for each in again.says] == [menu.listing(here.path, here.language, FACTS)]
        here = there.place


@given(MENUS, st.sampled_from(LANGUAGES))
def test_every_listed_number_leads_where_its_line_says(menu: Menu, language: str) -> None:
    """Numbers and lines never come apart, hidden options or not."""
    for path, option in menu.walk():
        for number, (index, chosen) in enumerate(listed(option, language), 1):
            assert f"\n{number} {chosen.title[language]}" in f"\n{menu.listing(path, language, FACTS)}"
            step = menu.reply(Place(path, language), str(number), FACTS)
            assert step.queue == chosen.queue
            if chosen.options:
                assert step.place == Place((*path, index), language)


@given(MENUS, st.lists(BODIES, min_size=1, max_size=6))
def test_texts_are_put_together_only_where_that_is_no_dearer(menu: Menu, bodies: list[str]) -> None:
    """No text that was put together is longer than the limit."""
    step = menu.enter(bodies[0], language="en", introduced=False, facts=FACTS)
    assert all(segment(each.text).segments <= LONGEST for each in step.says)
