"""What the estimator answers: a distribution of the wait, and what of it may be said aloud."""

import math
from bisect import bisect_right
from typing import Literal, NamedTuple, TypeAlias

Status: TypeAlias = Literal["ok", "free_agent", "no_agents", "degraded"]
Basis: TypeAlias = Literal["prior", "learned", "plan"]
Silence: TypeAlias = Literal["prior", "degraded", "no_agents", "wide"]

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
"""The probabilities of the five quantiles."""

LONGEST = 7200.0
"""Seconds; no quantile of a line is reported longer (an outage may add to it)."""

MINUTE = 60.0


class Band(NamedTuple):
    """What a caller may be told, in whole minutes."""

    low_min: int | None
    """None when no number may be spoken; 0 with `high_min` 1 is "less than a minute"."""
    high_min: int | None
    silence: Silence | None = None
    """Why no number may be spoken; None when one may."""

    @property
    def speak(self) -> bool:
        """Whether there is a number to speak."""
        return self.silence is None


class Forecast(NamedTuple):
    """How long a contact will wait from now on, in seconds. None means unknown, never 0.

    `no_agents` keeps its numbers, which then contain a guess how long the outage lasts: fit for comparing, not for speaking. So
    does `degraded` when only the events are missing or old: contacts ahead x handling time / agents, as last seen.
    """

    status: Status
    basis: Basis
    mean: float | None = None
    p10: float | None = None
    p25: float | None = None
    p50: float | None = None
    p75: float | None = None
    p90: float | None = None
    ahead: float | None = None
    """Contacts of the same queue who must go before."""
    capacity: int | None = None
    """Agents (voice) or chat slots (SMS) that work the queue, busy ones included."""
    outcomes: int = 0
    """Waits this queue and priority have learned from."""

    @property
    def quantiles(self) -> tuple[float, float, float, float, float] | None:
        """The five quantiles, or None when unknown."""
        if self.p10 is None or self.p25 is None or self.p50 is None or self.p75 is None or self.p90 is None:
            return None
        return self.p10, self.p25, self.p50, self.p75, self.p90

    def prob(self, seconds: float) -> float | None:
        """The probability that the wait is at least *seconds*; None when unknown.

        Linear between the quantiles, an exponential tail beyond p90.
        """
        quantiles = self.quantiles
        if quantiles is None:
            return None
        if self.status == "free_agent":
            return 1.0 if seconds <= 0 else 0.0
        return tail(quantiles, seconds)

    def band(self) -> Band:
        """The spoken band: p50 to p75, each rounded up to minutes.

        Half of the callers wait longer than p50, so the upper end is what keeps the promise.
        """
        if self.status == "free_agent":
            return Band(0, 1)
        if self.status == "no_agents":
            return Band(None, None, "no_agents")
        if self.status == "degraded" or self.p50 is None or self.p75 is None or self.p90 is None:
            return Band(None, None, "degraded")
        if self.basis == "prior":
            return Band(None, None, "prior")
        if self.p90 > max(3.0 * self.p50, MINUTE):  # within a minute nothing that is said can be far off
            return Band(None, None, "wide")
        low, high = math.ceil(self.p50 / MINUTE), math.ceil(self.p75 / MINUTE)
        if high <= 1:
            return Band(0, 1)
        return Band(max(1, low), high)


def tail(quantiles: tuple[float, ...], seconds: float) -> float:
    """P(wait >= *seconds*) from the quantiles at `LEVELS`; falls with *seconds*, within 0 and 1."""
    first, last = quantiles[0], quantiles[-1]
    if seconds <= 0:
        return 1.0
    if seconds <= first:
        return 1.0 - LEVELS[0] * seconds / first
    if seconds >= last:
        # The decay that takes the last two quantiles' probabilities into each other; one second at least.
        decay = max(last - quantiles[-2], 1.0) / math.log((1.0 - LEVELS[-2]) / (1.0 - LEVELS[-1]))
        return (1.0 - LEVELS[-1]) * math.exp((last - seconds) / decay)
    index = bisect_right(quantiles, seconds) - 1
    low, high = quantiles[index], quantiles[index + 1]
    return 1.0 - LEVELS[index] - (LEVELS[index + 1] - LEVELS[index]) * (seconds - low) / (high - low)
