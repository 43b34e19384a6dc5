"""How good the forecasts of some time were: altogether, by queue, by half-hour of the day, and by probability."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo

import msgspec

from bridge.hindsight.scores import THRESHOLDS, Outcome, Scores, Step, Told, reliability, score


class QueueScores(msgspec.Struct, frozen=True):
    """The figures of one queue."""

    queue: str
    ghosts: int
    """Of the outcomes, those of who left the line before their turn."""
    scores: Scores


class HalfHour(msgspec.Struct, frozen=True):
    """Half an hour of the day, over all days."""

    begins: str
    """As 09:30."""
    n: int
    mean_wait: float
    mean_forecast: float
    coverage: float
    """Share of the waits from p10 to p90."""
    bias: float
    """Seconds; positive when too long was forecast."""


class Report(msgspec.Struct, frozen=True):
    """Everything about some outcomes."""

    total: QueueScores | None
    """None without any."""
    queues: tuple[QueueScores, ...]
    half_hours: tuple[HalfHour, ...]
    """In the order of the day, without those in which nobody waited."""
    reliability: dict[float, tuple[Step, ...]]
    """By T, in order of P(wait >= T)."""


def report_on(outcomes: Sequence[Outcome], zone: tzinfo) -> Report:
    """Work it out; half-hours are those of the clocks in *zone*."""
    by_queue: dict[str, list[Outcome]] = defaultdict(list)
    by_half_hour: dict[int, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_queue[outcome.queue].append(outcome)
        clock = datetime.fromtimestamp(outcome.at, zone)
        by_half_hour[2 * clock.hour + clock.minute // 30].append(outcome)
    everything = _pairs(outcomes)
    return Report(
        total=_of("", outcomes),
        queues=tuple(scores for queue in sorted(by_queue) if (scores := _of(queue, by_queue[queue])) is not None),
        half_hours=tuple(_half_hour(index, by_half_hour[index]) for index in sorted(by_half_hour)),
        reliability={limit: reliability(everything, limit) for limit in THRESHOLDS},
    )


def _of(queue: str, outcomes: Sequence[Outcome]) -> QueueScores | None:
    scores = score(_pairs(outcomes))
    return None if scores is None else QueueScores(queue, sum(outcome.ghost for outcome in outcomes), scores)


def _half_hour(index: int, outcomes: Sequence[Outcome]) -> HalfHour:
    scores = score(_pairs(outcomes))
    assert scores is not None
    assert scores.coverage is not None
    return HalfHour(
        begins=f"{index // 2:02}:{30 * (index % 2):02}",
        n=scores.n,
        mean_wait=scores.mean_wait,
        mean_forecast=scores.mean_wait + scores.bias,
        coverage=scores.coverage,
        bias=scores.bias,
    )


def _pairs(outcomes: Iterable[Outcome]) -> list[tuple[Told, float]]:
    return [(outcome.told, outcome.wait) for outcome in outcomes]
