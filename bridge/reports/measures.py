"""Figures from sums: the arithmetic of `definitions`."""

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from bridge.reports.definitions import MEASURES, Measure

LARGEST = frozenset({"longest_wait"})
"""Of these the largest counts, not the sum."""


class Tally(msgspec.Struct):
    """What was counted of one group."""

    sums: dict[str, float] = {}
    values: dict[str, list[float]] = {}
    """Single values of what medians are made of."""

    def add(self, name: str, amount: float) -> None:
        """Count *amount* more of *name*."""
        if name in LARGEST:
            self.sums[name] = max(self.sums.get(name, 0.0), amount)
        else:
            # Databases add in an order of their own: without this the last bits would differ.
            self.sums[name] = round(self.sums.get(name, 0.0) + amount, 6)

    def take(self, other: "Tally") -> None:
        """Count everything of *other* as well."""
        for name, amount in other.sums.items():
            self.add(name, amount)
        for name, values in other.values.items():
            self.values.setdefault(name, []).extend(values)


def figure(measure: Measure, tally: Tally) -> float | None:
    """The figure of a group; None where there is nothing to divide by, or no value at all."""
    match measure.how:
        case "median" | "p90":
            values = tally.values.get(measure.top[0], [])
            return percentile(values, 0.5 if measure.how == "median" else 0.9)
        case "ratio":
            bottom = _sum(measure.bottom, tally.sums)
            return None if bottom == 0 else _sum(measure.top, tally.sums) / bottom
        case _:
            return _sum(measure.top, tally.sums)


def figures(ids: Iterable[str], tally: Tally) -> dict[str, float | None]:
    """Several figures of a group, by their ids."""
    return {ident: figure(MEASURES[ident], tally) for ident in ids}


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile: the smallest value that *share* of all are not above. None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def needed(ids: Iterable[str]) -> frozenset[str]:
    """What has to be counted for these figures."""
    return frozenset(name for ident in ids for name in (*MEASURES[ident].top, *MEASURES[ident].bottom))


def _sum(names: Iterable[str], sums: Mapping[str, float]) -> float:
    return math.fsum(sums.get(name, 0.0) for name in names)
