"""How good forecasts were, in the figures that the literature on forecasts goes by.

The median is judged by absolute error, the mean by squared error and bias, the quantiles by coverage and pinball loss, and
P(wait >= T) by what would have been decided with it.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from ewt.forecast import LEVELS, LONGEST, tail

THRESHOLDS = (60, 120, 300)
"""Seconds T for which decisions are judged."""
ALARM_AFTER = 200
"""The newest outcomes of a queue by which it is judged whether its estimates can be relied on."""
LEAST_FOR_ALARM = 100
"""With fewer, chance alone leaves the limits."""
COVERAGE_LIMITS = (0.65, 0.92)
"""p10 to p90 should hold 0.80 of the outcomes."""
BIAS_LIMIT = 0.25
"""Of the mean wait."""
Alarm: TypeAlias = Literal["too_narrow", "too_wide", "too_short", "too_long"]
"""`too_narrow` and `too_wide`: p10 to p90 holds too few or too many of the waits. `too_short` and `too_long`: the waits that
were forecast, on the whole."""


class Told(NamedTuple):
    """One forecast, as far as it can be judged. A formula that gives one number gives it as mean and median."""

    mean: float
    median: float
    quantiles: tuple[float, float, float, float, float] | None = None
    """At `LEVELS`; None for one who gives a number only."""

    def prob(self, seconds: float) -> float:
        """P(wait >= *seconds*); of a single number 0 or 1."""
        return float(self.mean >= seconds) if self.quantiles is None else tail(self.quantiles, seconds)


class Outcome(msgspec.Struct, frozen=True):
    """What one contact was told on joining a line, and how long it was. Who left the line early is followed as a ghost.

    Only contacts who found nobody free: the others are told 0, and are right to believe it.
    """

    at: float
    """When it was forecast."""
    session: str
    queue: str
    priority: int
    status: str
    basis: str
    ahead: float | None
    capacity: int | None
    mean: float
    p10: float
    p25: float
    p50: float
    p75: float
    p90: float
    wait: float
    """Seconds until an agent had them, or would have."""
    ghost: bool
    """They left the line before."""

    @property
    def told(self) -> Told:
        """The forecast."""
        return Told(self.mean, self.p50, (self.p10, self.p25, self.p50, self.p75, self.p90))

    @property
    def known_at(self) -> float:
        """When it was known how long it was."""
        return self.at + self.wait


class Scores(msgspec.Struct, frozen=True):
    """Figures over some forecasts; times in seconds."""

    n: int
    mean_wait: float
    mae: float
    """Mean absolute error of the median."""
    rmse: float
    """Root of the mean squared error of the mean."""
    bias: float
    """Mean of forecast less wait: positive when too long was forecast."""
    coverage: float | None
    """Share of the waits from p10 to p90, which should be 0.80; None without quantiles."""
    pinball: dict[float, float]
    """By level, the mean pinball loss; empty without quantiles."""
    brier: dict[float, float]
    """By T, the mean squared error of P(wait >= T)."""
    regret: dict[float, float]
    """By T, seconds per contact lost by deciding "mean >= T" wrongly: |wait - T| where it was wrong."""


class Step(msgspec.Struct, frozen=True):
    """Forecasts of about the same probability."""

    forecast: float
    """Mean of P(wait >= T)."""
    observed: float
    """Share of those who really waited as long."""
    n: int


def score(judged: Iterable[tuple[Told, float]]) -> Scores | None:
    """The figures over (forecast, wait); None over nothing. Forecasts are cut at two hours, as the estimator cuts its own."""
    n = with_quantiles = 0
    waits = absolute = squared = signed = covered = 0.0
    pinball = dict.fromkeys(LEVELS, 0.0)
    brier, regret = dict.fromkeys(THRESHOLDS, 0.0), dict.fromkeys(THRESHOLDS, 0.0)
    for told, wait in judged:
        n += 1
        mean = min(told.mean, LONGEST)
        waits += wait
        absolute += abs(min(told.median, LONGEST) - wait)
        squared += (mean - wait) ** 2
        signed += mean - wait
        if told.quantiles is not None:
            with_quantiles += 1
            covered += told.quantiles[0] <= wait <= told.quantiles[-1]
            for level, quantile in zip(LEVELS, told.quantiles, strict=True):
                pinball[level] += max(level * (wait - quantile), (level - 1.0) * (wait - quantile))
        for limit in THRESHOLDS:
            late = wait >= limit
            brier[limit] += (told.prob(limit) - late) ** 2
            if (mean >= limit) != late:
                regret[limit] += abs(wait - limit)
    if n == 0:
        return None
    return Scores(
        n=n,
        mean_wait=waits / n,
        mae=absolute / n,
        rmse=math.sqrt(squared / n),
        bias=signed / n,
        coverage=covered / with_quantiles if with_quantiles else None,
        pinball={level: loss / with_quantiles for level, loss in pinball.items()} if with_quantiles else {},
        brier={limit: loss / n for limit, loss in brier.items()},
        regret={limit: loss / n for limit, loss in regret.items()},
    )


def reliability(judged: Iterable[tuple[Told, float]], limit: float, steps: int = 10) -> tuple[Step, ...]:
    """Of forecasts of about the same P(wait >= *limit*), how many did wait as long; empty steps are left out."""
    sums = [[0.0, 0.0, 0] for _ in range(steps)]
    for told, wait in judged:
        p = told.prob(limit)
        this = sums[min(steps - 1, int(p * steps))]
        this[0] += p
        this[1] += wait >= limit
        this[2] += 1
    return tuple(Step(p / n, late / n, int(n)) for p, late, n in sums if n)


def alarm_of(newest: Sequence[tuple[Told, float]]) -> Alarm | None:
    """What is wrong with the forecasts of a queue, by its *newest* outcomes; None: nothing, or too few to say."""
    figures = score(newest)
    if figures is None or figures.n < LEAST_FOR_ALARM:
        return None
    low, high = COVERAGE_LIMITS
    if figures.bias < -BIAS_LIMIT * figures.mean_wait:
        return "too_short"
    if figures.bias > BIAS_LIMIT * figures.mean_wait:
        return "too_long"
    if figures.coverage is not None and figures.coverage < low:
        return "too_narrow"
    if figures.coverage is not None and figures.coverage > high:
        return "too_wide"
    return None
