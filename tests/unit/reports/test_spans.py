"""The calendar of a zone, with its days of 23 and 25 hours."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.reports.spans import EVERY, PERIODS, Range, before, day_of, days, last_over, midnight, period, span_of, starts

BERLIN = "Europe/Berlin"
NOON = datetime(2026, 11, 4, 12, tzinfo=ZoneInfo(BERLIN)).timestamp()


@pytest.mark.parametrize(
    ("day", "hours", "quarters"), [(date(2026, 3, 29), 23, 92), (date(2026, 10, 25), 25, 100), (date(2026, 7, 1), 24, 96)]
)
def test_a_day_has_as_many_hours_as_it_has(day: date, hours: int, quarters: int) -> None:
    """On the day of summer time an hour is missing, on the day of winter time one comes twice, and each is a span of its own."""
    whole = days(day, day, BERLIN)
    assert whole.until - whole.since == hours * 3600
    assert len(starts(whole, "hour")) == hours
    assert len(starts(whole, "quarter")) == quarters
    assert len(starts(whole, "day")) == len(starts(whole, "all")) == 1


def test_the_hour_that_comes_twice_is_told_by_its_offset() -> None:
    """02:00 in summer time and 02:00 in winter time are two spans."""
    day = days(date(2026, 10, 25), date(2026, 10, 25), BERLIN)
    labels = [datetime.fromtimestamp(at, ZoneInfo(BERLIN)).isoformat() for at in starts(day, "hour")]
    assert [label for label in labels if "T02:00" in label] == ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"]


def test_zones_off_by_half_hours_have_hours_of_their_own() -> None:
    """An hour in India begins at half past UTC."""
    day = days(date(2026, 7, 1), date(2026, 7, 1), "Asia/Kolkata")
    assert {datetime.fromtimestamp(at, UTC).minute for at in starts(day, "hour")} == {30}


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    """Of October 2026, which begins on a Thursday."""
    october = days(date(2026, 10, 1), date(2026, 10, 31), BERLIN)
    assert [day_of(at, BERLIN).day for at in starts(october, "week")] == [1, 5, 12, 19, 26]
    assert len(starts(october, "month")) == 1
    two = days(date(2026, 9, 15), date(2026, 10, 31), BERLIN)
    assert [day_of(at, BERLIN) for at in starts(two, "month")] == [date(2026, 9, 15), date(2026, 10, 1)]


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("today", (11, 4), (11, 4)),
        ("yesterday", (11, 3), (11, 3)),
        ("7_days", (10, 29), (11, 4)),
        ("28_days", (10, 8), (11, 4)),
        ("this_week", (11, 2), (11, 4)),
        ("this_month", (11, 1), (11, 4)),
        ("last_month", (10, 1), (10, 31)),
        ("custom", (11, 4), (11, 4)),
    ],
)
def test_ranges_are_what_people_call_them(name: str, first: tuple[int, int], last: tuple[int, int]) -> None:
    """Seen from a Wednesday in November."""
    assert name in PERIODS
    assert period(name, NOON, BERLIN) == days(date(2026, *first), date(2026, *last), BERLIN)


def test_a_range_is_compared_with_as_many_days_before_and_as_far_as_it_has_come() -> None:
    """Today until noon with yesterday until noon; last month with as many days before it, whole."""
    today = period("today", NOON, BERLIN)
    assert before(today, NOON) == Range(midnight(date(2026, 11, 3), BERLIN), NOON - 86_400.0, BERLIN)
    october = period("last_month", NOON, BERLIN)
    assert before(october, NOON) == days(date(2026, 8, 31), date(2026, 9, 30), BERLIN)


def test_the_newest_period_that_is_over() -> None:
    """What a mail in the morning is about."""
    assert last_over("day", NOON, BERLIN) == days(date(2026, 11, 3), date(2026, 11, 3), BERLIN)
    assert last_over("week", NOON, BERLIN) == days(date(2026, 10, 26), date(2026, 11, 1), BERLIN)
    assert last_over("month", NOON, BERLIN) == days(date(2026, 10, 1), date(2026, 10, 31), BERLIN)


def test_an_empty_range_has_no_spans() -> None:
    """Nothing to count."""
    assert starts(Range(5.0, 5.0, BERLIN), "day") == ()


@given(
    st.sampled_from([BERLIN, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Cairo", "UTC"]),
    st.dates(date(2024, 1, 1), date(2027, 12, 1)),
    st.integers(0, 40),
    st.sampled_from(EVERY),
)
def test_spans_cover_their_range_once(zone: str, first: date, more: int, every: str) -> None:
    """In order, from its beginning, none empty; every instant is in the span that it is in."""
    range_ = days(first, date.fromordinal(first.toordinal() + more), zone)
    beginnings = starts(range_, every)  # type: ignore[arg-type]  # one of them
    assert beginnings[0] == range_.since
    assert list(beginnings) == sorted(set(beginnings))
    assert beginnings[-1] < range_.until
    for n, at in enumerate(beginnings):
        assert span_of(at, beginnings) == n
    assert span_of(range_.since - 1.0, beginnings) == 0
