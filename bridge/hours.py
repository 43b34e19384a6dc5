"""Opening hours: whether we are open at an instant, and when we open again."""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import holidays

from bridge.settings import HoursSettings
from ivr_flows.facts import Hours

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LOOK_AHEAD = 60
"""Days after which "never opens again" is said."""


def hours_at(settings: HoursSettings, now: float) -> Hours:
    """Read an opening-hours table at *now* (seconds since the epoch).

    Spans are local to `settings.zone`; `24:00` is midnight, and a span that ends before it begins runs overnight.
    Daylight saving is the zone's business.
    """
    if not settings.week:
        return Hours("open")
    zone = ZoneInfo(settings.zone)
    today = datetime.fromtimestamp(now, zone).date()
    reopens = None
    # Day by day, yesterday first because of its night: this is read with every event of a call, and mostly ends today.
    for day in (today + timedelta(days=n) for n in range(-1, _LOOK_AHEAD)):
        spans = [] if _is_holiday(settings, day) else _spans(settings, day, zone)
        if any(opens <= now < closes for opens, closes in spans):
            return Hours("open")
        reopens = min((opens for opens, _ in spans if opens > now), default=None)
        if reopens is not None:
            break
    return Hours("holiday" if _is_holiday(settings, today) else "closed", reopens)


def _spans(settings: HoursSettings, day: date, zone: ZoneInfo) -> list[tuple[float, float]]:
    spans = []
    for text in settings.week.get(_DAYS[day.weekday()], ()):  # type: ignore[call-overload]  # a weekday's name by its number
        begin, _, end = text.partition("-")
        opens, closes = _instant(day, begin, zone), _instant(day, end, zone)
        spans.append((opens, closes if closes > opens else _instant(day + timedelta(days=1), end, zone)))
    return spans


def _instant(day: date, clock: str, zone: ZoneInfo) -> float:
    hour, minute = (int(part) for part in clock.strip().split(":"))
    whole_days, hour = divmod(hour, 24)
    return datetime.combine(day + timedelta(days=whole_days), time(hour, minute), zone).astimezone(UTC).timestamp()


def _is_holiday(settings: HoursSettings, day: date) -> bool:
    return day.isoformat() in settings.closed_days or (settings.country is not None and day in _calendar(settings.country))


@lru_cache(maxsize=64)
def _calendar(country: str) -> holidays.HolidayBase:
    return holidays.country_holidays(country)


_WEEKDAYS = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "fr": ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"),
    "es": ("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"),
}
_TODAY = {"en": "today", "fr": "aujourd'hui", "es": "hoy"}
_AT = {"en": "{day} {time}", "fr": "{day} à {time}", "es": "{day} a las {time}"}


def reopens_in_words(settings: HoursSettings, reopens_at: float | None, language: str, now: float) -> str | None:
    """When it opens again as a customer reads it, in the table's own time; None when it never does, or in over a week."""
    if reopens_at is None or reopens_at - now > 7 * 86_400:
        return None
    zone, spoken = ZoneInfo(settings.zone), language if language in _AT else "en"
    opens, today = datetime.fromtimestamp(reopens_at, zone), datetime.fromtimestamp(now, zone)
    day = _TODAY[spoken] if opens.date() == today.date() else _WEEKDAYS[spoken][opens.weekday()]
    return _AT[spoken].format(day=day, time=opens.strftime("%H:%M"))
