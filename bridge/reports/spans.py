"""The calendar of a time zone: days of 23 and 25 hours, weeks, months, and the spans a report is divided into.

All instants are seconds since the Unix epoch; days begin at local midnight, weeks on Monday (ISO 8601).
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Literal, TypeAlias, get_args
from zoneinfo import ZoneInfo

import msgspec

Every: TypeAlias = Literal["quarter", "half_hour", "hour", "day", "week", "month", "all"]
"""How long a span is; `all`: the whole range is one."""
EVERY: tuple[Every, ...] = get_args(Every)
Period: TypeAlias = Literal["today", "yesterday", "7_days", "28_days", "this_week", "this_month", "last_month", "custom"]
"""A range as people say it. `7_days` and `28_days` end with today."""
PERIODS: tuple[Period, ...] = get_args(Period)
QUARTER = 900.0
"""Seconds. Every zone of our days is a whole number of quarters of an hour away from UTC, so spans are made of whole ones."""
_MINUTES: dict[str, int] = {"quarter": 15, "half_hour": 30, "hour": 60}


class Range(msgspec.Struct, frozen=True):
    """From an instant until before another, in the days of a zone."""

    since: float
    until: float
    zone: str


def midnight(day: date, zone: str) -> float:
    """When *day* begins there. Where midnight is left out, it begins when the clock goes on."""
    return datetime.combine(day, time(), ZoneInfo(zone)).timestamp()


def day_of(at: float, zone: str) -> date:
    """The date there at that instant."""
    return datetime.fromtimestamp(at, ZoneInfo(zone)).date()


def days(first: date, last: date, zone: str) -> Range:
    """Whole days, both included."""
    return Range(midnight(first, zone), midnight(last + timedelta(days=1), zone), zone)


def period(name: Period, now: float, zone: str) -> Range:
    """The range that *name* means at *now*. `custom` has to be made with `days`."""
    today = day_of(now, zone)
    first, last = today, today
    match name:
        case "yesterday":
            first = last = today - timedelta(days=1)
        case "7_days":
            first = today - timedelta(days=6)
        case "28_days":
            first = today - timedelta(days=27)
        case "this_week":
            first = today - timedelta(days=today.weekday())
        case "this_month":
            first = today.replace(day=1)
        case "last_month":
            last = today.replace(day=1) - timedelta(days=1)
            first = last.replace(day=1)
        case _:
            pass
    return days(first, last, zone)


def before(range_: Range, now: float) -> Range:
    """The same number of days just before, to compare with; of a range that is not over, only as far as it has come."""
    first, last = day_of(range_.since, range_.zone), day_of(range_.until - 1.0, range_.zone)
    length = (last - first).days + 1
    earlier = days(first - timedelta(days=length), first - timedelta(days=1), range_.zone)
    if not range_.since <= now < range_.until:
        return earlier
    so_far = datetime.fromtimestamp(now, ZoneInfo(range_.zone))
    then = (so_far - timedelta(days=length)).timestamp()
    return Range(earlier.since, min(max(then, earlier.since), earlier.until), range_.zone)


def starts(range_: Range, every: Every) -> tuple[float, ...]:
    """When each span of the range begins, in order; the first is the range's own beginning."""
    if range_.until <= range_.since:
        return ()
    inner = [at for at in _beginnings(range_, every) if range_.since < at < range_.until]
    return (range_.since, *inner)


def _beginnings(range_: Range, every: Every) -> Iterator[float]:
    if every == "all":
        return
    zone, day = ZoneInfo(range_.zone), day_of(range_.since, range_.zone)
    while (at := midnight(day, range_.zone)) < range_.until:
        following = day + timedelta(days=1)
        if every in _MINUTES:
            end = midnight(following, range_.zone)
            while at < end:
                if datetime.fromtimestamp(at, zone).minute % _MINUTES[every] == 0:
                    yield at
                at += QUARTER
        elif every == "day" or (every == "week" and day.weekday() == 0) or (every == "month" and day.day == 1):
            yield at
        day = following


def span_of(at: float, beginnings: tuple[float, ...]) -> int:
    """The number of the span that *at* is in, from 0; what is before them all belongs to the first."""
    return max(0, bisect_right(beginnings, at) - 1)


def last_over(every: Literal["day", "week", "month"], now: float, zone: str) -> Range:
    """The newest whole day, week or month that is over."""
    today = day_of(now, zone)
    match every:
        case "day":
            return days(today - timedelta(days=1), today - timedelta(days=1), zone)
        case "week":
            monday = today - timedelta(days=today.weekday())
            return days(monday - timedelta(days=7), monday - timedelta(days=1), zone)
        case "month":  # pragma: no branch  # there is no other
            return period("last_month", now, zone)
