"""Telephone numbers: one way to write them, what kind they are, and whether a text may reach them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

import msgspec
import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType, timezone

NumberKind: TypeAlias = Literal["mobile", "fixed", "ambiguous", "toll_free", "short_code", "other", "withheld", "invalid"]

# How carriers spell a withheld caller: words of SIP (RFC 3323 section 4.1.1.3) and words typed on a keypad.
_WITHHELD = frozenset(
    {
        "", "anonymous", "restricted", "unavailable", "unknown", "private", "blocked",
        "+266696687", "+7378742833", "+2562533", "+8656696", "+86282452253",
    }
)  # fmt: skip
_KINDS: dict[int, NumberKind] = {
    PhoneNumberType.MOBILE: "mobile",
    PhoneNumberType.FIXED_LINE: "fixed",
    PhoneNumberType.FIXED_LINE_OR_MOBILE: "ambiguous",
    PhoneNumberType.TOLL_FREE: "toll_free",
}
_FICTION = "+1555"


class Number(msgspec.Struct, frozen=True):
    """What the numbering plan says about a number."""

    e164: str | None
    """None for a withheld or invalid number. A short code stands as dialled."""
    kind: NumberKind
    can_text: bool
    """A guess: True for mobile and for a plan that does not tell (North America). The network has the last word."""
    country: str | None
    """ISO 3166 alpha-2; None when unknown or shared by many."""


def look_up(number: str | None, *, region: str | None = None) -> Number:
    """What is known of *number* without asking anybody.

    Numbers under +1 555 are in nobody's service; they pass as North American ones so that examples and demonstrations,
    which have to use them, behave like the rest.

    Args:
        number: As a caller id or a person wrote it; None when withheld.
        region: ISO 3166 alpha-2 country in which a number without `+` and every short code is to be read.
    """
    written = (number or "").strip()
    if written.casefold().removeprefix("sip:").partition("@")[0] in _WITHHELD:
        return Number(e164=None, kind="withheld", can_text=False, country=None)
    if written.isascii() and written.isdigit() and 3 <= len(written) <= 6:
        return Number(e164=written, kind="short_code", can_text=False, country=region)
    try:
        parsed = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        return Number(e164=None, kind="invalid", can_text=False, country=None)
    e164 = phonenumbers.format_number(parsed, PhoneNumberFormat.E164)
    if e164.startswith(_FICTION) and len(e164) == 12:
        return Number(e164=e164, kind="ambiguous", can_text=True, country="US")
    if not phonenumbers.is_valid_number(parsed):
        return Number(e164=None, kind="invalid", can_text=False, country=None)
    kind = _KINDS.get(phonenumbers.number_type(parsed), "other")
    country = phonenumbers.region_code_for_number(parsed)
    return Number(
        e164=e164, kind=kind, can_text=kind in {"mobile", "ambiguous"}, country=country if country and country.isalpha() else None
    )


def is_premium(number: str) -> bool:
    """Whether calling an E.164 *number* costs the caller extra, in part or as a rule; false when nobody knows."""
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.number_type(parsed) in {PhoneNumberType.PREMIUM_RATE, PhoneNumberType.SHARED_COST}


def normalise(number: str | None, *, region: str | None = None) -> str | None:
    """*number* in E.164 (a short code as dialled), or None when it is withheld or not a number."""
    return look_up(number, region=region).e164


def time_zones(number: str) -> tuple[str, ...]:
    """The IANA time zones in which the owner of an E.164 *number* may live; empty when nobody knows."""
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return ()
    return tuple(zone for zone in timezone.time_zones_for_number(parsed) if zone != timezone.UNKNOWN_TIMEZONE)


def local_hours(zones: Sequence[str], now: float) -> tuple[float, ...]:
    """The hour of the day in each of the IANA *zones* at *now*; half past eight is 8.5."""
    there = [datetime.fromtimestamp(now, ZoneInfo(zone)) for zone in zones]
    return tuple(at.hour + at.minute / 60 + at.second / 3600 for at in there)


def day_begins(zones: Sequence[str], now: float, *, first: float, last: float) -> float | None:
    """The next time, *now* included, at which it is between *first* and *last* o'clock in every one of the *zones*.

    None when there is none within two days: the zones have no such hours in common.
    """
    at = now
    while at <= now + 2 * 86_400:
        late = [zone for zone, hour in zip(zones, local_hours(zones, at), strict=True) if not first <= hour < last]
        if not late:
            return at
        at = max(_next(zone, at, first) for zone in late)
    return None


def _next(zone: str, now: float, hour: float) -> float:
    """When it is next *hour* o'clock in *zone*, after *now*."""
    there = datetime.fromtimestamp(now, ZoneInfo(zone))
    then = there.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(hours=hour)  # on the wall's clock
    return (then if then > there else then + timedelta(days=1)).timestamp()


def mask(number: str | None) -> str:
    """*number* for a log line: `+15550100123` becomes `+1555***0123`; a short one keeps only its length."""
    if not number:
        return "-"
    if len(number) < 10:
        return "*" * len(number)
    return f"{number[:5]}***{number[-4:]}"
