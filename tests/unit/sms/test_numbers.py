"""What the numbering plan says, and how little of a number a log shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms.numbers import NumberKind, day_begins, local_hours, look_up, mask, normalise, time_zones


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


SUMMER = 1_782_864_000.0
"""2026-07-01 00:00 UTC."""
NIGHT = 1_774_738_800.0
"""2026-03-28 23:00 UTC: in Paris midnight of the night in which clocks go forward."""


def test_hours_where_somebody_lives() -> None:
    """One instant has another hour in each zone, half hours included."""
    assert local_hours(("Europe/Paris", "Asia/Kolkata"), SUMMER) == (2.0, 5.5)
    assert local_hours((), SUMMER) == ()


@pytest.mark.parametrize(
    ("zones", "now", "hours"),
    [
        (("Europe/Paris",), SUMMER, 6.0),  # eight in the morning
        (("Europe/Paris",), SUMMER + 12 * 3600, 0.0),  # the afternoon: at once
        (("Europe/Paris",), SUMMER + 19 * 3600, 11.0),  # nine in the evening: tomorrow at eight
        (("America/New_York", "America/Los_Angeles"), SUMMER + 12 * 3600, 3.0),  # eight in the west
        (("America/New_York", "America/Los_Angeles"), SUMMER + 25 * 3600, 14.0),  # nine in the east has passed
        (("Europe/Paris",), NIGHT, 7.0),  # an hour of this night is missing
        ((), SUMMER, 0.0),
    ],
)
def test_when_the_day_begins(zones: tuple[str, ...], now: float, hours: float) -> None:
    """It is between eight and nine in the evening for whoever the number may belong to, summer time or not."""
    assert day_begins(zones, now, first=8.0, last=21.0) == now + hours * 3600


def test_some_zones_have_no_hours_in_common() -> None:
    """At opposite ends of the world there is no hour that suits both."""
    assert day_begins(("Pacific/Auckland", "Europe/London"), SUMMER, first=9.0, last=11.0) is None


@given(st.sampled_from(["+12125550123", "+33199001234", "+61491570156", "+18005550199"]), st.floats(0.0, 4e9))
def test_the_day_has_begun_then(number: str, now: float) -> None:
    """At the time that is named every zone of the number is awake."""
    zones = time_zones(number)
    begins = day_begins(zones, now, first=8.0, last=21.0)
    assert begins is None or (begins >= now and all(8.0 <= hour < 21.0 for hour in local_hours(zones, begins)))
