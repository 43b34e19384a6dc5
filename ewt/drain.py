"""How fast a line drains: rates measured by occurrence and exposure, and the time a line of a given length takes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ewt.forecast import LONGEST

EXACT = 8
"""So many terms of a sum are added one by one; the rest is an integral (error below 0.2 %)."""


@dataclass(slots=True)
class Rate:
    """Events per unit of exposure, with a prior worth `weight` events and a memory of `memory` events.

    The exposure since the last event counts at once, so the rate sinks by itself while nothing happens.
    """

    memory: float
    weight: float
    events: float = 0.0
    exposure: float = 0.0
    base: float | None = None
    """A rate learned long ago; stands in for the prior."""

    def hit(self) -> None:
        """One event more; old ones fade."""
        keep = 1.0 - 1.0 / self.memory
        self.events = self.events * keep + 1.0
        self.exposure *= keep

    def value(self, prior: float, live: float = 0.0) -> float:
        """The rate, given its *prior* and the exposure since the last update."""
        return (self.events + self.weight) / (self.exposure + live + self.weight / (self.base or prior))

    def fade(self, prior: float) -> None:
        """Keep the rate but trust it no more than a prior: what is left of it after a long silence."""
        self.base = self.value(prior)
        self.events = self.exposure = 0.0


@dataclass(slots=True)
class Flow:
    """Events per second as an exponential average over `MEMORY` seconds."""

    MEMORY = 1800.0

    rate: float = 0.0
    at: float = 0.0

    def value(self, now: float) -> float:
        """Events per second, as of *now*."""
        return self.rate * math.exp(min(0.0, self.at - now) / self.MEMORY)

    def hit(self, now: float) -> None:
        """One event at *now*."""
        self.rate = self.value(now) + 1.0 / self.MEMORY
        self.at = max(self.at, now)


def line_time(ahead: float, rate: float, hangups: float) -> float:
    """Mean seconds until it is one's turn: the sum of 1/(rate + i hangups) for i = 0..ahead (Whitt 1999).

    Args:
        ahead: Contacts before; need not be whole.
        rate: Starts per second of the whole line.
        hangups: Hang-ups per second of each waiting contact.
    """
    total, index = 0.0, 0
    while index < EXACT and index < ahead + 1.0:
        total += min(1.0, ahead + 1.0 - index) / (rate + index * hangups)
        index += 1
    rest = ahead + 1.0 - EXACT
    if rest > 0:
        edge = rate + (EXACT - 0.5) * hangups
        total += math.log1p(rest * hangups / edge) / hangups if hangups > 0 else rest / edge
    return total


def line_variance(ahead: float, rate: float, hangups: float) -> float:
    """Variance of the time `line_time` is the mean of: the sum of 1/(rate + i hangups)^2."""
    total, index = 0.0, 0
    while index < EXACT and index < ahead + 1.0:
        total += min(1.0, ahead + 1.0 - index) / (rate + index * hangups) ** 2
        index += 1
    rest = ahead + 1.0 - EXACT
    if rest > 0:
        edge = rate + (EXACT - 0.5) * hangups
        total += rest / (edge * (edge + rest * hangups))
    return total


def planned_time(ahead: float, steps: Iterable[tuple[float, float]], hangups: float) -> float:
    """`line_time` through a staffing plan, as a fluid inside each step (Ibrahim and Whitt 2011).

    Args:
        ahead: Contacts before.
        steps: (seconds the step lasts, starts per second in it); the last lasts for ever.
        hangups: Hang-ups per second of each waiting contact; above 0.

    Returns:
        Seconds, `LONGEST` at most.
    """
    left, passed = ahead + 1.0, 0.0
    for span, rate in steps:
        # The midpoint rule: going from `left` to 0, i contacts are left on average at i - 1/2.
        base = max(rate - 0.5 * hangups, 0.1 * rate)
        if base > 0:
            need = math.log1p(left * hangups / base) / hangups
            if need <= span:
                return min(LONGEST, passed + need)
        shrink = math.exp(-hangups * span)
        left = max(0.0, (left + base / hangups) * shrink - base / hangups)
        passed += span
        if passed >= LONGEST:
            break
    return LONGEST
