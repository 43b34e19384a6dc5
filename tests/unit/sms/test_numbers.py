"""What the numbering plan says, and how little of a number a log shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms.numbers import NumberKind, look_up, mask, normalise, time_zones


@pytest.mark.parametrize(
    ("number", "region", "kind", "can_text", "country"),
    [
        ("+15550100123", None, "ambiguous", True, "US"),
        ("+1 212 555 0123", None, "ambiguous", True, "US"),
        ("(212) 555-0123", "US", "ambiguous", True, "US"),
        ("+61 491 570 156", None, "mobile", True, "AU"),
        ("01 99 00 12 34", "FR", "fixed", False, "FR"),
        ("+18005550199", None, "toll_free", False, "US"),
        ("12345", "US", "short_code", False, "US"),
        ("+442079460958", None, "fixed", False, "GB"),
        ("anonymous", None, "withheld", False, None),
        ("sip:anonymous@anonymous.invalid", None, "withheld", False, None),
        ("+266696687", None, "withheld", False, None),
        (None, None, "withheld", False, None),
        ("banana", None, "invalid", False, None),
        ("+12", None, "invalid", False, None),
        ("+155501001234", None, "invalid", False, None),
    ],
)
def test_kind(number: str | None, region: str | None, kind: NumberKind, can_text: bool, country: str | None) -> None:
    """The kind of a number decides whether offering a text makes sense."""
    found = look_up(number, region=region)
    assert (found.kind, found.can_text, found.country) == (kind, can_text, country)


def test_one_way_to_write_a_number() -> None:
    """However it was written, a number becomes the same E.164; what is not one becomes None."""
    assert {normalise(form, region="AU") for form in ("0491 570 156", "+61491570156", "001161491570156")} == {"+61491570156"}
    assert normalise("anonymous") is None


@given(st.text(max_size=30))
def test_anything_can_be_looked_up(text: str) -> None:
    """No spelling of a caller id raises, and only an E.164 number or a short code is called textable."""
    found = look_up(text)
    assert not found.can_text or (found.e164 is not None and found.e164.startswith("+"))


def test_masking() -> None:
    """A log shows enough of a number to recognise it and too little to call it."""
    assert mask("+15550100123") == "+1555***0123"
    assert mask("12345") == "*****"
    assert mask(None) == "-"


def test_time_zones() -> None:
    """A national number has its zone, a toll-free one several, an unknown one none."""
    assert time_zones("+33199001234") == ("Europe/Paris",)
    assert len(time_zones("+18005550199")) > 1
    assert time_zones("12") == ()
