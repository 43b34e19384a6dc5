"""The console's words in the reader's language. English is what stands in the code; the catalogues are in `locale/`."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from types import MappingProxyType

from aiohttp import web
from babel.core import Locale, negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.support import NullTranslations, Translations

LANGUAGES: Mapping[str, str] = MappingProxyType({"en": "English", "es": "Español", "fr": "Français"})
"""Each in its own words."""
LANGUAGE_COOKIE = "sidetone_language"
_FOLDER = Path(__file__).parent / "locale"
_language: ContextVar[str] = ContextVar("language", default="en")


def language() -> str:
    """The language of whoever is answered just now: `en`, `es` or `fr`."""
    return _language.get()


def locale() -> Locale:
    """The same for dates and numbers."""
    return Locale.parse(language())


def speak(chosen: str) -> None:
    """Answer in *chosen* from now on, in this task."""
    _language.set(chosen if chosen in LANGUAGES else "en")


@contextmanager
def speaking(chosen: str) -> Iterator[None]:
    """Answer in *chosen* for the length of the block."""
    before = _language.set(chosen if chosen in LANGUAGES else "en")
    try:
        yield
    finally:
        _language.reset(before)


def language_of(request: web.Request) -> str:
    """What the reader has chosen, else what the browser prefers (RFC 9110 section 12.5.4), else English."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    if chosen in LANGUAGES:
        return chosen
    preferred = sorted(_accepted(request.headers.get("Accept-Language", "")), key=lambda each: -each[1])
    return negotiate_locale([name for name, quality in preferred if quality > 0], list(LANGUAGES), sep="-") or "en"


def _accepted(header: str) -> Iterator[tuple[str, float]]:
    """Language and quality of each part; what is not understood is left out."""
    for part in header[:400].split(","):
        name, _, rest = part.strip().partition(";")
        try:
            yield name.strip(), float(rest.partition("q=")[2] or 1)
        except ValueError:
            continue


def marked(words: str) -> str:
    """*words* as they are, for tables that are read before anybody's language is known: the catalogues shall have them."""
    return words


def gettext(words: str, /, **values: object) -> str:
    """*words* in the reader's language, with *values* put in (`%(name)s`). No words stay none."""
    return _filled(_catalogue(language()).ugettext(words), values) if words else ""


def ngettext(one: str, many: str, n: int, /, **values: object) -> str:
    """As `gettext`, in the form that goes with the number *n*, which the words may name as `%(n)s`."""
    return _filled(plural(one, many, n), {"n": n, **values})


def plural(one: str, many: str, n: int, /) -> str:
    """The form that goes with the number *n*, with nothing put in yet: templates do that themselves, and escape."""
    return _catalogue(language()).ungettext(one, many, n)


def number_words(number: float) -> str:
    """As the reader writes numbers: `1,234.5`, `1 234,5`."""
    return format_decimal(number, locale=locale())


def _filled(words: str, values: Mapping[str, object]) -> str:
    return words % values if values else words


@cache
def _catalogue(chosen: str) -> NullTranslations:
    path = _FOLDER / f"{chosen}.po"
    if not path.is_file():
        return NullTranslations()
    with path.open("rb") as file:
        compiled = io.BytesIO()
        write_mo(compiled, read_po(file, locale=chosen))
    compiled.seek(0)
    return Translations(compiled)
