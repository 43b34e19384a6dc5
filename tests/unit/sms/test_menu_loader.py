"""Reading menus by text: strict, every fault at once, with line, column and what to do about it."""

import re
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms import menu_loader
from sms.keywords import WORDS
from sms.menu import UNSURE, VARIABLES, MenuFacts
from sms.menu_loader import MENUS, WARNINGS, MenuErrors, Problem, examine_menu, is_menu, load_menu, parse_menu

GOOD = """\
menu: good
version: 1
languages: {default: en, available: [en, fr]}
default: general
hours: always
words:
  back: {en: [BACK], fr: [RETOUR]}
messages:
  opt_in:
    en: "{brand}: recurring messages. Msg & data rates may apply. Reply STOP to opt out."
    fr: "{brand} : plusieurs messages. Frais SMS possibles. STOP pour ne plus rien recevoir."
  choose: {en: "Reply with a number:", fr: "Un chiffre :"}
  not_understood: {en: "Sorry?", fr: "Pardon ?"}
  greeting:
    en: ["In line, {ewt_minutes} min.", "In line."]
    fr: "En file."
  over_capacity: {en: "Busy.", fr: "Beaucoup de monde."}
  after_hours: {en: "Closed.", fr: "Fermé."}
  unavailable: {en: "Nobody is here.", fr: "Personne."}
options:
  - title: {en: Billing, fr: Factures}
    options:
      - title: {en: Pay, fr: Payer}
        keywords: {en: [PAY NOW], fr: [PAYER]}
        queue: pay
      - title: {en: Question, fr: Question}
        queue: general
  - title: {en: Support, fr: Assistance}
    queue: general
"""
ONE_LANGUAGE = """\
menu: one
version: 1
languages: {default: en, available: [en]}
default: general
messages:
  opt_in: "{brand}: recurring messages. Msg & data rates may apply. Reply STOP to opt out."
  choose: "Reply with a number:"
  not_understood: "Sorry?"
  greeting: ["{name}: in line.", "In line."]
  over_capacity: "Busy."
  after_hours: "Closed."
  unavailable: "Nobody is here."
options:
  - title: Pay
    keywords: [PAY NOW]
    queue: pay
  - title: Secret
    queue: vip
    hidden: true
"""
OF_BOTH = frozenset({"pay", "general"})


def problems(source: str, *, queues: frozenset[str] | None = OF_BOTH) -> list[Problem]:
    return parse_menu(source, queues=queues, hours={"always"})[1]


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def only(source: str) -> Problem:
    """The one problem of a menu; its line is looked at by the test."""
    found = problems(source)
    assert len(found) == 1, [str(problem) for problem in found]
    return found[0]


def test_a_good_menu_has_no_problems() -> None:
    """And says what it says in the file."""
    menu, found = parse_menu(GOOD, queues=OF_BOTH, hours={"always"})
    assert found == []
    assert menu is not None
    assert menu.queues() == {"general": "always", "pay": "always"}
    assert (menu.command("retour"), menu.command("EXIT")) == ("back", "exit")
    assert len(menu.revision) == 16
    step = menu.enter("payer", language=None, introduced=True, facts=MenuFacts("Northwind", {}))
    assert (step.queue, step.language) == ("pay", "fr")


def test_in_a_menu_of_one_language_a_text_stands_alone() -> None:
    """There is nothing to tell apart."""
    menu, found = parse_menu(ONE_LANGUAGE)
    assert found == []
    assert menu is not None
    assert menu.words("greeting", "pay", "en") == "In line."
    assert menu.top.options[1].hidden
    assert menu.enter("pay now", language=None, introduced=True, facts=MenuFacts("Northwind", {})).queue == "pay"


def test_the_menu_that_comes_with_the_package_is_without_fault() -> None:
    """In every language, with the demonstration's queue, hours and brand."""
    menu, found = examine_menu(MENUS / "support.yaml", queues={"support_sms"}, hours={"support_hours"}, brand="Northwind")
    assert found == []
    assert menu is not None
    assert menu.languages == ("en", "fr", "es")


SUPPORT = "{en: Support, fr: Assistance}"
LAWFUL = '"{brand} : plusieurs messages. Frais SMS possibles. STOP pour ne plus rien recevoir."'
PAY = "        queue: pay\n"
LAST = "fr: Assistance}\n    queue: general\n"


@pytest.mark.parametrize(
    ("old", "new", "code", "at"),
    [
        # how it is written
        ("version: 1", "version: 2", "M005", "version: 2"),
        ("hours: always\n", "hours: always\nhours: always\n", "M002", "hours: always\nwords"),
        ("hours: always\n", "hurs: always\n", "M003", "hurs: always"),
        ("default: general\n", "", "M004", "menu: good"),
        ("menu: good", "menu: Good Menu", "M005", "menu: Good Menu"),
        ("default: en,", "default: de,", "M011", "default: de"),
        (PAY, "        queue: [pay]\n", "M005", "queue: [pay]"),
        (PAY, PAY + "        hidden: maybe\n", "M005", "hidden: maybe"),
        ("  - title: " + SUPPORT + "\n    queue: general", "  - Support", "M005", "Support"),
        ('["In line, {ewt_minutes} min.", "In line."]', '["In line, {ewt_minutes} min.", [], "In line."]', "M005", "[], "),
        ("keywords: {en: [PAY NOW], fr: [PAYER]}", "keywords: {en: PAY NOW, fr: [PAYER]}", "M005", "en: PAY NOW"),
        # languages
        ("available: [en, fr]", "available: [en, fr, FR]", "M005", "FR]"),
        (SUPPORT, "{en: Support}", "M010", "title: {en: Support}"),
        (SUPPORT, "{en: Support, fr: Assistance, de: Hilfe}", "M011", "de: Hilfe"),
        ('{en: "Closed.", fr: "Fermé."}', '{fr: "Fermé."}', "M010", "after_hours:"),
        ("back: {en: [BACK], fr: [RETOUR]}", "back: {en: [BACK]}", "M010", "back: {"),
        (LAST, "fr: Assistance}\n    language: de\n", "M011", "language: de"),
        # where options lead
        (PAY, "", "M013", "title: {en: Pay, "),
        (PAY, PAY + "        language: fr\n", "M013", "title: {en: Pay, "),
        (LAST, "fr: Assistance}\n    queue: generl\n", "M014", "queue: generl"),
        ("default: general", "default: generl", "M014", "default: generl"),
        ("hours: always", "hours: allways", "M015", "hours: allways"),
        # messages
        ('  choose: {en: "Reply with a number:", fr: "Un chiffre :"}\n', "", "M004", "messages:"),
        ("  greeting:\n", "  greting: {}\n  greeting:\n", "M020", "greting:"),
        ('"Reply with a number:"', '"{queue}: reply with a number"', "M021", "en: "),
        ('"Reply with a number:"', '"Reply with a {Number}"', "M021", "en: "),
        ('"Reply with a number:"', '"Reply with a number }:"', "M021", "en: "),
        ('["In line, {ewt_minutes} min.", "In line."]', '"In line, {ewt_minutes} min."', "M022", "en: "),
        ('["In line, {ewt_minutes} min.", "In line."]', '["In line.", "In line, {ewt_minutes} min."]', "M022", "en: "),
        (" Msg & data rates may apply.", "", "M023", "en: "),
        ("recurring messages. ", "", "M023", "en: "),
        (" STOP pour ne plus rien recevoir.", "", "M023", "fr: "),
        ('en: "{brand}: recurring', 'en: "recurring', "M023", "en: "),
        (PAY, PAY + '        messages: {bye: {en: "Bye", fr: "Salut"}}\n', "M025", "bye: "),
        (PAY, PAY + '        messages: {choose: {en: "A", fr: "B"}}\n', "M025", "choose: "),
        # words that customers write
        ("[PAY NOW]", "[Unsubscribe]", "M030", "en: [Unsub"),
        ("[PAY NOW]", "[Sí]", "M030", "en: [S"),
        (SUPPORT, "{en: Help, fr: Assistance}", "M030", "en: Help"),
        ("[PAY NOW]", "[back]", "M030", "en: [back]"),
        (SUPPORT, "{en: Support, fr: Retour}", "M030", "fr: Retour"),
        ("fr: [RETOUR]}", "fr: [FIN]}", "M030", "fr: [FIN]"),
        ("[PAY NOW]", "['1']", "M031", "en: ['1']"),
        ("[PAY NOW]", "['!']", "M031", "en: ['!']"),
        (SUPPORT, "{en: '24', fr: Assistance}", "M031", "en: '24'"),
        ("fr: [RETOUR]}", "fr: [EXIT]}\n  exit: {en: [EXIT], fr: [SORTIR]}", "M032", "en: [EXIT]"),
        (LAST, LAST + "    keywords: {fr: [Pay. Now!]}\n", "M032", "fr: [Pay. Now!]"),
        (SUPPORT, "{en: Support, fr: Factures}", "M033", "fr: Factures}\n    queue"),
        (SUPPORT, "{en: Pay now, fr: Assistance}", "M034", "en: Pay now"),
        (SUPPORT, "{en: Stop a payment, fr: Assistance}", "M035", "en: Stop a"),
        # what is read
        (SUPPORT, "{en: Support, fr: " + "Assistance" * 50 + "}", "M041", "options:\n  - title: {en: Billing"),
        ('"Sorry?"', f'"{"😀" * 120}"', "M041", "en: "),
        (
            "      - title: {en: Question, fr: Question}\n        queue: general\n",
            "",
            "M043",
            "options:\n      - title: {en: Pay,",
        ),
        (PAY, PAY + "        hours: day\n", "M015", "hours: day"),
        ("  greeting:\n", f"  outbound: {{en: Hello, fr: {LAWFUL}}}\n  greeting:\n", "M023", "en: Hello"),
    ],
)
def test_a_mistake_is_told_with_its_place(old: str, new: str, code: str, at: str) -> None:
    """One change to a good menu, one problem: what it is, where it stands, and what to do."""
    source = changed(old, new)
    problem = only(source)
    assert problem.code == code, str(problem)
    assert "\n".join(source.splitlines()[problem.line - 1 :])[problem.column - 1 :].startswith(at), str(problem)
    assert problem.level == ("warning" if code in WARNINGS else "error")
    assert problem.remedy
    assert str(problem).startswith(f"menu:{problem.line}:{problem.column}: {code} ")


def test_a_queue_that_may_have_nothing_to_say_is_warned_about() -> None:
    """Once for each queue that lacks the words."""
    source = changed('  unavailable: {en: "Nobody is here.", fr: "Personne."}\n', "")
    assert {(problem.code, problem.message.split("'")[1]) for problem in problems(source)} == {
        ("M024", "pay"),
        ("M024", "general"),
    }


def test_a_hidden_option_is_no_problem_where_another_is_listed() -> None:
    """Keywords and numbers of their own lead there."""
    assert problems(changed(LAST, LAST + "    hidden: true\n")) == []


def test_all_mistakes_are_told_at_once() -> None:
    """Nobody mends a file one run at a time."""
    source = changed("queue: pay", "queue: payy")
    for old, new in (("[PAY NOW]", "[STOP]"), ('over_capacity: {en: "Busy.", ', "over_capacity: {"), ("\nhours:", "\nhous:")):
        source = source.replace(old, new)
    assert [problem.code for problem in problems(source)] == ["M003", "M010", "M030", "M014"]


@pytest.mark.parametrize(
    "source",
    [
        "",
        "menu",
        "- menu",
        "menu: [",
        "menu: &a x\nversion: *a",
        "menu: \x00",
        "? [a]\n: b",
        "menu: &name x\nversion: 1",
        "languages: {default: EN, available: en}",
        "languages: 7",
        "languages: {default: en}",
        "menu: x\n" + "#" * 1_000_001,
        "menu: x\noptions: " + "[" * 600 + "]" * 600,
    ],
)
def test_what_is_no_menu_is_refused_with_a_reason(source: str) -> None:
    """An unreadable file has problems and no menu."""
    menu, found = parse_menu(source)
    assert menu is None
    assert found


def test_a_menu_too_deep_to_follow_is_refused() -> None:
    """Not with a crash, however deep."""
    lines = [GOOD.split("options:", maxsplit=1)[0] + "options:"]
    for depth in range(400):
        lines += [" " * (depth * 2) + "- title: {en: More, fr: Plus}", " " * (depth * 2) + "  options:"]
    lines.append(" " * 800 + "- {title: {en: End of it, fr: Enfin}, queue: pay}")
    menu, found = parse_menu("\n".join(lines) + "\n")
    assert menu is not None or [problem.code for problem in found] == ["M001"]


def test_more_options_than_digits_are_warned_about() -> None:
    """Ten lines need two digits; it works, but few will read so far."""
    more = "".join(f"  - title: {{en: Topic {n}, fr: Sujet {n}}}\n    queue: general\n" for n in "abcdefgh")
    assert [problem.code for problem in problems(GOOD + more)] == ["M040"]


def test_a_menu_that_lists_nothing_is_an_error() -> None:
    """Whoever reads it could not go anywhere."""
    source = changed(LAST, LAST + "    hidden: true\n").replace("fr: Factures}\n", "fr: Factures}\n    hidden: true\n")
    assert [problem.code for problem in problems(source)] == ["M042"]


def test_other_hours_of_one_queue_are_warned_about() -> None:
    """The place where it is chosen first decides, which nobody would see."""
    source = changed(LAST, LAST + "    hours: always\n")
    assert problems(source) == []
    found = parse_menu(source.replace("hours: always\nwords", "hours: day\nwords"))[1]
    assert [problem.code for problem in found] == ["M044"]


def test_a_dear_text_says_what_makes_it_dear() -> None:
    """One letter can more than double the price."""
    problem = only(changed('"Sorry?"', f'"{"so sorry, " * 21}ô"'))
    assert problem.message == "this takes 4 segments of UCS2, because of ô"


def test_only_errors_keep_a_menu_from_being_used(tmp_path: Path) -> None:
    """A warning is for the author, not for the server."""
    file = tmp_path / "menu.yaml"
    file.write_text(changed("{en: Support, fr: Assistance}", "{en: Stop a payment, fr: Assistance}"), encoding="utf-8")
    assert load_menu(file).name == "good"
    file.write_text(changed("{en: Support, fr: Assistance}", "{en: Stop, fr: Assistance}"), encoding="utf-8")
    with pytest.raises(MenuErrors, match="M030") as caught:
        load_menu(file)
    assert [problem.remedy for problem in caught.value.problems]
    file.write_bytes(b"menu: \xff")
    with pytest.raises(MenuErrors, match="UTF-8"):
        load_menu(file)


def test_a_menu_is_told_from_a_flow_by_its_top_key() -> None:
    """So that one command checks both."""
    assert is_menu(GOOD)
    assert is_menu("# a comment\nmenu : x\n")
    assert not is_menu(textwrap.dedent("flow: support\nstates:\n  menu:\n    - menu: {prompt: main}\n"))


def test_the_revision_is_that_of_the_content() -> None:
    """A conversation can say which menu it has met."""
    one, two = parse_menu(GOOD)[0], parse_menu(GOOD + "# a comment\n")[0]
    assert one is not None
    assert two is not None
    assert one.revision != two.revision
    assert one.revision == getattr(parse_menu(GOOD)[0], "revision", None)


def test_the_page_is_as_the_code() -> None:
    """`docs/text-menus.md`: its example has no fault, and it lists every message, variable and code there is."""
    page = (Path(__file__).parents[3] / "docs" / "text-menus.md").read_text("utf-8")
    example = page.partition("```yaml\n")[2].partition("```")[0]
    assert parse_menu(example, queues={"billing", "general"}, hours={"office"})[1] == []
    said = page.partition("## Messages")[2].partition("## What the check finds")[0]
    rows = dict(re.findall(r"^\| (`[^|]+) \| [^|]* \|(.*)\|$", said, re.MULTILINE))
    listed = {key: row for keys, row in rows.items() for key in re.findall(r"`(\w+)`", keys)}
    assert listed.keys() == VARIABLES.keys()
    for key, row in listed.items():
        assert set(re.findall(r"\{(\w+)\}", row)) | {"brand", "name"} == VARIABLES[key], key
        assert set(re.findall(r"\*\{(\w+)\}\*", row)) == (VARIABLES[key] & UNSURE) - {"name"}, key
    codes = dict(re.findall(r"^\| (M\d+) \| (W?) ?\|", page, re.MULTILINE))
    assert {code for code, mark in codes.items() if mark} == WARNINGS
    source = Path(menu_loader.__file__).read_text("utf-8")
    assert codes.keys() == set(re.findall(r'"(M\d+)"', source))


@given(st.sampled_from(sorted({word for words in WORDS.values() for kind in words.values() for word in kind})))
def test_no_word_of_the_law_can_be_a_keyword(word: str) -> None:
    """Whoever writes STOP, START or HELP in any language is never led into a menu instead."""
    assert "M030" in {problem.code for problem in problems(changed("[PAY NOW]", f'["{word.upper()}!"]'))}


@given(st.integers(0, len(GOOD)), st.integers(0, 40), st.text(alphabet=" \n-:{}[]\"'#&*abn1é", max_size=8))
def test_any_damage_is_told_and_never_crashes(start: int, length: int, instead: str) -> None:
    """Whatever an editor does to the file, there is a menu or a problem, and each problem has its place in the file."""
    source = GOOD[:start] + instead + GOOD[start + length :]
    menu, found = parse_menu(source)
    assert menu is not None or found
    assert all(1 <= problem.line <= source.count("\n") + 2 and problem.column >= 1 for problem in found)
