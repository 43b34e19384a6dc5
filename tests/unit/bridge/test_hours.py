"""Opening hours."""

from datetime import datetime
from zoneinfo import ZoneInfo

from bridge.hours import hours_at
from bridge.settings import HoursSettings
from ivr_flows.facts import Hours

OFFICE = HoursSettings(
    zone="America/Toronto",
    week=dict.fromkeys(("mon", "tue", "wed", "thu", "fri"), ("09:00-17:30",)),
    closed_days=("2026-12-24",),
    country="CA",
)


def at(text: str, zone: str = "America/Toronto") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def test_open_during_a_span() -> None:
    """Between opening and closing time we are open."""
    assert Hours("open") == hours_at(OFFICE, at("2026-11-24 10:00"))


def test_closed_at_the_closing_minute_until_the_next_morning() -> None:
    """A span does not contain its end, and the answer says when we open again."""
    assert Hours("closed", at("2026-11-25 09:00")) == hours_at(OFFICE, at("2026-11-24 17:30"))


def test_the_weekend_reopens_on_monday() -> None:
    """Days without a span are closed."""
    assert Hours("closed", at("2026-11-30 09:00")) == hours_at(OFFICE, at("2026-11-28 12:00"))


def test_public_holidays_and_own_closures_are_holidays() -> None:
    """Both kinds of closed day are told apart from ordinary closing, and are passed over when reopening."""
    assert Hours("holiday", at("2026-12-28 09:00")) == hours_at(OFFICE, at("2026-12-25 12:00"))
    assert Hours("holiday", at("2026-12-28 09:00")) == hours_at(
        HoursSettings(**{**OFFICE.model_dump(), "closed_days": ("2026-12-24", "2026-12-26")}), at("2026-12-24 12:00")
    )


def test_a_span_may_run_overnight() -> None:
    """A night shift belongs to the day on which it began."""
    night = HoursSettings(zone="UTC", week={"fri": ("22:00-06:00",)})
    assert Hours("open") == hours_at(night, at("2026-11-28 05:59", "UTC"))
    assert hours_at(night, at("2026-11-28 06:00", "UTC")).state == "closed"


def test_daylight_saving_moves_the_instant_and_not_the_clock() -> None:
    """We open at nine o'clock local time on both sides of the change."""
    week = HoursSettings(zone="America/Toronto", week={"mon": ("09:00-17:00",)})
    assert at("2026-10-26 09:00") == hours_at(week, at("2026-10-26 08:59")).reopens_at
    assert at("2026-11-02 09:00") == hours_at(week, at("2026-11-01 12:00")).reopens_at


def test_no_week_means_always_open() -> None:
    """A queue nobody gave hours to answers around the clock."""
    assert Hours("open") == hours_at(HoursSettings(), 0.0)
