"""The catalogues: every word of the console is in them, translated, with the same things to put in."""

import re
from pathlib import Path

import jinja2
import pytest
from babel.messages.pofile import read_po

from bridge.web.console.core_words import SAID
from bridge.web.console.words import LANGUAGES, gettext, ngettext, speaking
from scripts.words import CONSOLE, LOCALE, OTHERS, words

PLACEHOLDER = re.compile(r"%\(\w+\)s")
ABBREVIATED = ["ABC", "DEF", "GHI", "JKL", "MNO", "PQRS", "TUV", "WXYZ", "SMS", "START", "STOP", "CSV", "JSON", "UTC", "YAML"]
EXAMPLES = {"settings.", "user ana", "admin", "sidetone.yaml"}
"""What a field shows as an example of what is typed there: names of settings and logins."""
TAG = re.compile(r"</?\w+[^>]*>")
ALLOWED = re.compile(rf"\b(Sidetone|Enter|Shift|Alt|Ctrl|Esc|{'|'.join(ABBREVIATED)})\b|&\w+;|[\w-]+=\"[^\"]*\"")
SAID_ALOUD = re.compile(r'\b(title|aria-label|placeholder|alt|label)="([^"]*)"')


@pytest.mark.parametrize("language", sorted(set(LANGUAGES) - {"en"}))
def test_every_word_is_translated(language: str) -> None:
    """`make words` finds nothing new, nothing is left empty, and what is put in is the same."""
    with (LOCALE / f"{language}.po").open("rb") as file:
        known = {message.id: message.string for message in read_po(file, locale=language) if message.id}
    wanted = {_first(message) for message in words()}
    assert {_first(message) for message in known} == wanted, "run `make words`"
    for english, translated in known.items():
        for one, other in zip(_forms(english), _forms(translated), strict=True):
            assert other, f"{one!r} is not translated"
            assert sorted(PLACEHOLDER.findall(str(one))) == sorted(PLACEHOLDER.findall(str(other))), one
            assert sorted(TAG.findall(str(one))) == sorted(TAG.findall(str(other))), one


def _forms(words: str | tuple[str, ...] | list[str] | None) -> tuple[str, ...]:
    return (words or "",) if isinstance(words, str | None) else tuple(words)


def _first(words: str | tuple[str, ...] | list[str]) -> str:
    """What a word goes by: that it has a plural in one place does not make it another word in the next."""
    return _forms(words)[0]


@pytest.mark.parametrize("path", sorted(set((CONSOLE / "templates").glob("*.html"))), ids=lambda path: path.name)
def test_templates_say_nothing_past_the_catalogues(path: Path) -> None:
    """Whatever a person reads or hears in a template goes through `_()`: beside tags and expressions no words are left."""
    if path.name in OTHERS:
        return
    bare = _bare(path.read_text())
    assert not bare, bare


def _bare(template: str) -> list[str]:
    """Words of a template that are not translated."""
    template = re.sub(r"{% block (kind|attributes) %}.*?{% endblock %}", "", template)
    data = []
    trans = 0
    for _line, kind, value in jinja2.Environment(extensions=["jinja2.ext.i18n"]).lex(template):
        if kind == "name" and value in {"trans", "endtrans"}:
            trans += 1 if value == "trans" else -1
        data.append(value if kind == "data" and not trans else "\N{OBJECT REPLACEMENT CHARACTER}" if kind == "data" else "")
    html = re.sub(r"<script type=.application/json.*?</script>", "", "".join(data), flags=re.DOTALL)
    texts = [text for _name, text in SAID_ALOUD.findall(html)] + re.split(r"<[^>]*>", html)
    texts = [text.strip() for text in texts if text.strip() not in EXAMPLES]
    return [text for text in texts if re.search(r"[^\W\d_]{2,}", ALLOWED.sub("", text))]


def test_what_the_session_says_to_agents_is_known() -> None:
    """Its sentences are those that the console has words for."""
    folder = CONSOLE.parents[1]
    sources = "".join(path.read_text() for path in (*folder.glob("*.py"), *(folder.parent / "sms").glob("*.py")))
    assert {words for words in SAID if words not in sources} == set()
    rules = "".join((folder / name).read_text() for name in ("text_leg.py", "chat.py", "session.py"))
    said = set(re.findall(r'return "([A-Z][^"]*\.)"', rules))
    assert said <= SAID


def test_a_word_with_a_plural_elsewhere_has_its_singular() -> None:
    """`call` counts calls in one place and stands alone in another."""
    with speaking("fr"):
        assert gettext("call") == "appel"
        assert ngettext("call", "calls", 2) == "appels"
