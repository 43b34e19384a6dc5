"""How fast a line drains: rates measured by occurrence and exposure, and the time a line of a given length takes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ewt.forecast import LONGEST

EXACT = 8
"""So many terms of a sum are added one by one; the rest is an integral (error below 0.2 %)."""
FORGET = 0.99
"""What of a memory's record as a forecaster is kept with every event (the value of Raftery and others): about a hundred count."""
MOST_ODDS = 7.0
"""Logarithmic: a memory that was wrong for long must be able to come back."""


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
    """A rate learned long ago, or elsewhere; stands in for the prior."""

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

    def dump(self, live: float = 0.0) -> list[float | None]:
        """For `load`, with the exposure since the last update."""
        return [self.base, self.events, self.exposure + live]

    def load(self, dumped: Sequence[float | None]) -> None:
        """Take back what `dump` gave."""
        self.base, events, exposure = dumped
        self.events, self.exposure = events or 0.0, exposure or 0.0


@dataclass(slots=True)
class Pace:
    """A `Rate` with two memories, a short and a long one, weighed by how well each has foretold the gaps between events.

    In a calm centre a long memory is right: it averages noise out. When handle times double it is wrong for an hour, and a
    short one is right. Nobody knows beforehand, so both are asked, and after each event each is judged by the probability that
    it gave to the exposure that has just passed without one (dynamic model averaging: Raftery, Karny and Ettler 2010; the
    exposure between events of a Poisson process of gamma rate is Lomax).
    """

    memories: tuple[float, float]
    """Events, the shorter first."""
    weight: float
    gap: float = 0.0
    """Exposure since the last event."""
    short: float = 0.0
    """Events in the short memory."""
    long: float = 0.0
    short_exposure: float = 0.0
    long_exposure: float = 0.0
    trust: float = 0.5
    """In the short memory; the long one has the rest."""
    odds: float = 0.0
    """The same as a logarithm of odds."""
    base: float | None = None
    """A rate learned long ago, or elsewhere; stands in for the prior."""

    def hit(self, prior: float) -> None:
        """One event more, given the *prior* of before it."""
        gap, worth = self.gap, self.weight / (self.base or prior)
        a, b = self.short + self.weight, self.short_exposure + worth
        c, d = self.long + self.weight, self.long_exposure + worth
        odds = FORGET * self.odds + math.log(a * d / (b * c)) + (c + 1.0) * math.log1p(gap / d) - (a + 1.0) * math.log1p(gap / b)
        self.odds = odds = max(-MOST_ODDS, min(MOST_ODDS, odds))
        self.trust = 1.0 / (1.0 + math.exp(-odds))
        keep, hold = 1.0 - 1.0 / self.memories[0], 1.0 - 1.0 / self.memories[1]
        self.short = self.short * keep + 1.0
        self.long = self.long * hold + 1.0
        self.short_exposure = (self.short_exposure + gap) * keep
        self.long_exposure = (self.long_exposure + gap) * hold
        self.gap = 0.0

    def value(self, prior: float, live: float = 0.0) -> float:
        """The rate, given its *prior* and the exposure since the last update."""
        passed = self.gap + live + self.weight / (self.base or prior)
        short = (self.short + self.weight) / (self.short_exposure + passed)
        long = (self.long + self.weight) / (self.long_exposure + passed)
        return self.trust * short + (1.0 - self.trust) * long

    def fade(self, prior: float) -> None:
        """Keep the rate but trust it no more than a prior: what is left of it after a long silence."""
        self.base = self.value(prior)
        self.gap = self.short = self.long = self.short_exposure = self.long_exposure = 0.0

    def dump(self, live: float = 0.0) -> list[float | None]:
        """For `load`, with the exposure since the last update."""
        gap = self.gap + live
        return [self.base, gap, self.short, self.long, self.short_exposure, self.long_exposure, self.trust, self.odds]

    def load(self, dumped: Sequence[float | None]) -> None:
        """Take back what `dump` gave."""
        self.base, *numbers = dumped
        self.gap, self.short, self.long, self.short_exposure, self.long_exposure, self.trust, self.odds = (
            number or 0.0 for number in numbers
        )


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


@dataclass(slots=True)
class Usual:
    """The mean of a quantity over about the last hour in which it meant anything."""

    MEMORY = 3600.0

    total: float = 0.0
    span: float = 0.0
    at: float = -math.inf
    """Counted up to here."""

    def count(self, quantity: float, now: float, *, means: bool) -> None:
        """It has been *quantity* until now, and that *means* something or not. To be called before it changes."""
        if means and now > self.at:
            self.total, self.span = self._until(quantity, now)
        self.at = max(self.at, now)

    def value(self, quantity: float, now: float, *, means: bool, unknown: float) -> float:
        """The mean when it has been *quantity* since the last count; *unknown* when it never meant anything."""
        total, span = self.dump(quantity, now, means=means)
        return total / span if span > 0 else unknown

    def dump(self, quantity: float, now: float, *, means: bool) -> tuple[float, float]:
        """For `load`: as it is when it has been *quantity* since the last count."""
        return self._until(quantity, now) if means and now > self.at else (self.total, self.span)

    def load(self, dumped: Sequence[float], at: float) -> None:
        """Take back what `dump` gave as of *at*; what has been since does not count."""
        self.total, self.span = dumped
        self.at = at

    def _until(self, quantity: float, now: float) -> tuple[float, float]:
        keep = math.exp((self.at - now) / self.MEMORY)
        return self.total * keep + quantity * (1.0 - keep), self.span * keep + 1.0 - keep


def line_time(ahead: float, rate: float, hangups: float) -> float:
    """Mean seconds until it is one's turn: the sum of 1/(rate + i hangups) for i = 0..ahead (Whitt 1999).

    Args:
        ahead: Contacts before; need not be whole.
        rate: Starts per second of the whole line.
        hangups: Hang-ups per second of each waiting contact.
    """
    return line_moments(ahead, rate, hangups)[0]


def line_moments(ahead: float, rate: float, hangups: float) -> tuple[float, float]:
    """Mean and variance of what `line_time` is the mean of: the sums of 1/(rate + i hangups) and of its square."""
    whole = int(ahead) + 1
    total, squares, speed = 0.0, 0.0, rate
    for _ in range(min(whole, EXACT)):
        step = 1.0 / speed
        total += step
        squares += step * step
        speed += hangups
    if whole <= EXACT:
        part = (ahead + 1.0 - whole) / speed  # of a contact, at the end of a line whose length is not whole
        return total + part, squares + part / speed
    edge = speed - 0.5 * hangups
    rest = ahead + 1.0 - EXACT
    total += math.log1p(rest * hangups / edge) / hangups if hangups > 0 else rest / edge
    return total, squares + rest / (edge * (edge + rest * hangups))


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
