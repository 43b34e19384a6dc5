"""A report is of queues, half-hours and probabilities."""

from zoneinfo import ZoneInfo

from bridge.hindsight import report_on
from tests.unit.hindsight.told import START, outcome

MADRID = ZoneInfo("Europe/Madrid")


def test_of_nothing_there_is_nothing() -> None:
    """No zeros."""
    report = report_on([], MADRID)
    assert (report.total, report.queues, report.half_hours) == (None, (), ())


def test_half_hours_are_those_of_the_clocks() -> None:
    """2027-01-15 08:00 UTC is nine in Madrid; the same half-hour of two days is one."""
    report = report_on([outcome(at=START + n) for n in (0.0, 1799.0, 1800.0, 86_400.0)], MADRID)
    assert [(each.begins, each.n) for each in report.half_hours] == [("09:00", 3), ("09:30", 1)]
    assert (report.half_hours[0].mean_wait, report.half_hours[0].mean_forecast) == (120.0, 130.0)


def test_queues_are_told_apart() -> None:
    """With their ghosts; together they are the total."""
    report = report_on([outcome(queue="b", ghost=True), outcome(queue="a"), outcome(queue="b")], MADRID)
    assert [(each.queue, each.scores.n, each.ghosts) for each in report.queues] == [("a", 1, 0), ("b", 2, 1)]
    assert report.total is not None
    assert (report.total.scores.n, report.total.ghosts) == (3, 1)
    assert set(report.reliability) == {60, 120, 300}
    assert outcome(90.0).known_at == START + 90.0
