"""When something is to be looked at."""

import heapq
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from bridge.acd.lines import Agent, Waiter
from bridge.acd.outputs import WorkOffered

Subject: TypeAlias = WorkOffered | Agent | Waiter
"""An offer that rings out, an agent whose wrap-up ends, a waiter about whom to ask something changes."""


class Timer(NamedTuple):
    """Something to look at at a time; when it is no longer about anything, nobody looks."""

    at: float
    number: int
    of: Subject


class Timers:
    """Numbers, and the timers that have them, the soonest first.

    Args:
        counts: Whether what a timer is for is still so. One that does not count is dropped when its turn comes.
    """

    def __init__(self, counts: Callable[[Timer], bool]) -> None:
        self._counts = counts
        self._heap: list[Timer] = []
        self.number = 0
        """The last one given to a place or a timer."""

    def next_number(self) -> int:
        """One that nothing else has: for a timer or a place in line."""
        self.number += 1
        return self.number

    def start(self, at: float, of: Subject) -> int:
        """Have a look at a time; the number of the timer. An earlier one for the same thing counts no more."""
        number = self.next_number()
        heapq.heappush(self._heap, Timer(at, number, of))
        return number

    @property
    def wake_at(self) -> float | None:
        """When the next is due; None when nothing is."""
        while self._heap and not self._counts(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0].at if self._heap else None

    def pop(self) -> Subject:
        """What the one of `wake_at` is for; it is gone."""
        return heapq.heappop(self._heap).of

    def load(self, number: int, timers: Iterable[Timer]) -> None:
        """Go on after *number*, with these and no others."""
        self.number = number
        self._heap = sorted(timers)
