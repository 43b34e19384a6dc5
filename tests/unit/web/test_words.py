"""Which language a reader is answered in."""

import pytest
from aiohttp.test_utils import make_mocked_request

from bridge.web.console.words import gettext, language, language_of, ngettext, speaking


@pytest.mark.parametrize(
    ("header", "spoken"),
    [
        ("fr-CA,fr;q=0.9,en;q=0.8", "fr"),
        ("de, es;q=0.4, fr;q=0.7", "fr"),
        ("de", "en"),
        ("fr;q=0, es;q=0.1", "es"),
        ("fr;q=much, es", "es"),
        ("", "en"),
    ],
)
def test_the_browsers_preference_decides(header: str, spoken: str) -> None:
    """The best of what we speak; English when there is none, or when the header is nonsense."""
    assert language_of(make_mocked_request("GET", "/", headers={"Accept-Language": header})) == spoken


def test_a_choice_counts_more_than_the_browser() -> None:
    """Who has chosen a language is answered in it; a cookie that names none is nobody's choice."""
    headers = {"Accept-Language": "fr", "Cookie": "sidetone_language=es"}
    assert language_of(make_mocked_request("GET", "/", headers=headers)) == "es"
    assert language_of(make_mocked_request("GET", "/", headers={**headers, "Cookie": "sidetone_language=xx"})) == "fr"


def test_words_without_a_translation_are_english() -> None:
    """Nothing is lost where a catalogue lacks something; values are put in either way."""
    with speaking("fr"):
        assert language() == "fr"
        assert gettext("No catalogue has %(this)s", this="100 %") == "No catalogue has 100 %"
        assert [ngettext("%(n)s of these", "%(n)s of those", n) for n in (1, 2)] == ["1 of these", "2 of those"]
    assert language() == "en"
