"""Learning, one outcome at a time, how far real waits lie from what the line's structure says."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ewt.forecast import LEVELS, LONGEST

NORMAL = (-1.2816, -0.6745, 0.0, 0.6745, 1.2816)
"""Standard normal quantiles at `LEVELS`: where the offsets begin."""

SHIFT = 8.0
"""Seconds added before a logarithm, so that short waits do not rule the spread."""

STEP = 0.01
"""The long-run learning step. Outcomes within one busy spell resemble each other: a larger step is worse than none."""

VIEW_MEMORY = 1000.0
"""Outcomes that the weight of the two views goes by."""

VIEW_RIDGE = 15.0
"""How sure the weight is of one half before anything was seen. A view must be right over several busy spells to move it: waits
scatter by about 0.3 (variance of the logarithm), the weight by about 0.3 between queues (0.09), and some five contacts of one
spell tell what one alone would: 5 x 0.3 / 0.09."""

VIEW_LIMIT = 2.0
"""Logarithmic: one wait seven times as long as foretold says no more than this about the views."""


class Promise(NamedTuple):
    """The structural forecast of a contact: the wait plus `SHIFT` is log-normal about it."""

    center: float
    spread: float
    own: float = 0.0
    """Logarithm of the wait (plus `SHIFT`) that this queue alone would make."""
    pool: float = 0.0
    """The same with the neighbours' share."""

    def quantiles(self, offsets: "Offsets | None") -> tuple[float, float, float, float, float]:
        """Seconds at `LEVELS`; None for a queue that has learned nothing yet."""
        a, b, c, d, e = NORMAL if offsets is None else sorted(offsets.values)
        return self.at(a), self.at(b), self.at(c), self.at(d), self.at(e)

    def at(self, offset: float) -> float:
        """Seconds, so many spreads from the center."""
        return min(LONGEST, max(0.0, math.exp(self.center + self.spread * offset) - SHIFT))


@dataclass(slots=True)
class Offsets:
    """Five quantile offsets in units of the structural spread, and how much the view of this queue alone is worth.

    Quantile tracking: each offset moves up by `step * level`, and down by `step` when the outcome lies at or below it
    (Angelopoulos, Candes and Tibshirani 2023). The weight of the views is a ridge regression of the outcome on both.
    """

    values: list[float] = field(default_factory=lambda: list(NORMAL))
    seen: int = 0
    own_weight: float = 0.5
    """0: neighbours who share the agents compete for all their common time; 1: not at all."""
    sums: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)
    """Of 1, x, y, x x and x y, where x is own less pool and y the outcome less pool, all logarithms."""

    def learn(self, promise: Promise, wait: float) -> None:
        """The contact that was promised *promise* waited *wait* seconds, or would have."""
        self.seen += 1
        step = STEP + 0.3 / (self.seen + 30)
        logarithm = math.log(min(LONGEST, max(0.0, wait)) + SHIFT)
        outcome = (logarithm - promise.center) / promise.spread
        self.values = [
            value + step * (level - (1.0 if outcome <= value else 0.0)) for value, level in zip(self.values, LEVELS, strict=True)
        ]
        if promise.own != promise.pool:
            self._weigh(promise.own - promise.pool, max(-VIEW_LIMIT, min(VIEW_LIMIT, logarithm - promise.pool)))

    def _weigh(self, x: float, y: float) -> None:
        keep = 1.0 - 1.0 / VIEW_MEMORY
        n, sx, sy, sxx, sxy = self.sums
        n, sx, sy = n * keep + 1.0, sx * keep + x, sy * keep + y
        sxx, sxy = sxx * keep + x * x, sxy * keep + x * y
        self.sums = (n, sx, sy, sxx, sxy)
        slope = (sxy - sx * sy / n + 0.5 * VIEW_RIDGE) / (max(0.0, sxx - sx * sx / n) + VIEW_RIDGE)
        self.own_weight = min(1.0, max(0.0, slope))

    def dump(self) -> list[float]:
        """For `load`."""
        return [self.seen, self.own_weight, *self.sums, *self.values]

    @classmethod
    def load(cls, dumped: Sequence[float]) -> "Offsets":
        """Take back what `dump` gave."""
        seen, weight, n, sx, sy, sxx, sxy, *values = dumped
        return cls(values, int(seen), weight, (n, sx, sy, sxx, sxy))
