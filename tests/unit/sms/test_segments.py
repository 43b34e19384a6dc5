"""What a text costs, held against `gsm0338` and plain arithmetic."""

import math

import pytest
from gsm0338 import Codec
from hypothesis import example, given
from hypothesis import strategies as st

from sms.segments import BASIC, EXTENDED, PART, SINGLE, segment

GSM7 = st.text(st.sampled_from(sorted(BASIC | EXTENDED)), max_size=400)


def septets(body: str) -> int | None:
    """The length of *body* in GSM-7 as an independent codec has it; None when it cannot be written."""
    try:
        return len(Codec().encode(body)[0])
    except UnicodeEncodeError:
        return None


def test_alphabet_is_that_of_the_standard() -> None:
    """Each character is in our alphabet, at the same cost, exactly when an independent codec has it."""
    for char in map(chr, range(0x3000)):
        expected = septets(char) if char != "\x1b" else None
        counted = segment(char)
        assert (counted.encoding == "gsm7") == (expected is not None), char
        assert expected in {None, counted.units}, char


@given(GSM7 | st.text(st.characters(exclude_characters="\x1b", exclude_categories=["Cs"]), max_size=300))
def test_units_are_those_of_the_encoding(body: str) -> None:
    """Units are septets as `gsm0338` counts them, or UTF-16 code units."""
    counted = segment(body)
    expected = septets(body)
    assert counted.units == (len(body.encode("utf-16-be")) // 2 if expected is None else expected)
    assert bool(counted.forced_by) == (expected is None)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=500))
@example("€" * 80)
@example("€" * 81)
@example("😀" * 35)
@example("😀" * 36)
def test_segments_never_split_a_pair(body: str) -> None:
    """There are as many segments as units need, and more only because a pair is not split (one unit lost per part)."""
    counted = segment(body)
    if counted.units <= SINGLE[counted.encoding]:
        assert counted.segments == (1 if body else 0)
        assert counted.remaining == SINGLE[counted.encoding] - counted.units
    else:
        part = PART[counted.encoding]
        assert math.ceil(counted.units / part) <= counted.segments <= math.ceil(counted.units / (part - 1))
        assert 0 <= counted.remaining < part


@given(GSM7.filter(bool))
def test_remaining_is_what_still_fits(body: str) -> None:
    """As many plain characters as `remaining` fit without another segment, and one more does not."""
    counted = segment(body)
    assert segment(body + "a" * counted.remaining).segments == counted.segments
    assert segment(body + "a" * (counted.remaining + 1)).segments == counted.segments + 1


@pytest.mark.parametrize(
    ("body", "encoding", "units", "segments"),
    [
        ("", "gsm7", 0, 0),
        ("a" * 160, "gsm7", 160, 1),
        ("a" * 161, "gsm7", 161, 2),
        ("€" * 80, "gsm7", 160, 1),
        ("€" * 81, "gsm7", 162, 2),
        ("a" * 152 + "€" + "a" * 10, "gsm7", 164, 2),
        ("ê" + "a" * 69, "ucs2", 70, 1),
        ("ê" + "a" * 159, "ucs2", 160, 3),
        ("😀" * 35, "ucs2", 70, 1),
        ("😀" * 67, "ucs2", 134, 3),
    ],
)
def test_known_cases(body: str, encoding: str, units: int, segments: int) -> None:
    """The edges of one and two segments are where the standard puts them."""
    counted = segment(body)
    assert (counted.encoding, counted.units, counted.segments) == (encoding, units, segments)


def test_culprits_are_named_once_in_order() -> None:
    """The characters that force UCS-2 are named, so that an author can replace them."""
    assert segment("Ma sœur a reçu l'œuvre à Besançon").forced_by == ("œ", "ç")
