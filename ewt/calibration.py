"""Learning, one outcome at a time, how far real waits lie from what the line's structure says."""

import math
from dataclasses import dataclass, field

from ewt.forecast import LEVELS, LONGEST

NORMAL = (-1.2816, -0.6745, 0.0, 0.6745, 1.2816)
"""Standard normal quantiles at `LEVELS`: where the offsets begin."""

SHIFT = 8.0
"""Seconds added before a logarithm, so that short waits do not rule the spread."""

STEP = 0.01
"""The long-run learning step. Outcomes within one busy spell resemble each other: a larger step is worse than none."""


@dataclass(frozen=True, slots=True)
class Promise:
    """The structural forecast of a contact: the wait plus `SHIFT` is log-normal about it."""

    center: float
    spread: float

    def quantiles(self, offsets: "Offsets | None") -> tuple[float, float, float, float, float]:
        """Seconds at `LEVELS`; None for a queue that has learned nothing yet."""
        a, b, c, d, e = sorted(offsets.values) if offsets is not None else NORMAL
        return self._at(a), self._at(b), self._at(c), self._at(d), self._at(e)

    def _at(self, offset: float) -> float:
        return min(LONGEST, max(0.0, math.exp(self.center + self.spread * offset) - SHIFT))


@dataclass(slots=True)
class Offsets:
    """Five quantile offsets in units of the structural spread.

    Quantile tracking: each moves up by `step * level`, and down by `step` when the outcome lies at or below it
    (Angelopoulos, Candes and Tibshirani 2023).
    """

    values: list[float] = field(default_factory=lambda: list(NORMAL))
    seen: int = 0

    def learn(self, promise: Promise, wait: float) -> None:
        """The contact that was promised *promise* waited *wait* seconds, or would have."""
        self.seen += 1
        step = STEP + 0.3 / (self.seen + 30)
        outcome = (math.log(min(LONGEST, max(0.0, wait)) + SHIFT) - promise.center) / promise.spread
        self.values = [
            value + step * (level - (1.0 if outcome <= value else 0.0)) for value, level in zip(self.values, LEVELS, strict=True)
        ]
