"""Candidates against each other, and what they are worth."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from bridge.bench.bank import Call, channels_of, replay
from bridge.bench.centre import Contact, Scenario, simulate
from bridge.bench.rivals import Candidate, Position, Sidetone, rivals
from bridge.events import Channel
from bridge.hindsight import THRESHOLDS, Scores, Told, score

BASE = Position.name
"""What the others are compared with."""
AHT_GUESS, PATIENCE_GUESS = 180.0, 300.0
"""Of a log of calls, about which nobody said anything."""


@dataclass(frozen=True)
class Row:
    """The figures of one candidate, means over seeds; times in seconds."""

    name: str
    n: float
    mean_wait: float
    mae: float
    rmse: float
    bias: float
    coverage: float | None
    """Share of the waits from p10 to p90; None for one who gives a number only."""
    regret: Mapping[float, float]


@dataclass(frozen=True)
class Trial:
    """One scenario, or one log."""

    name: str
    rows: tuple[Row, ...]


def run_scenarios(
    scenarios: Iterable[Scenario], seeds: Sequence[int], progress: Callable[[str], None] = lambda _: None
) -> list[Trial]:
    """Let everybody live through every scenario once for each seed.

    Args:
        scenarios: Which.
        seeds: Which days.
        progress: Called with the scenario's name after every day.
    """
    trials = []
    for scenario in scenarios:
        days = []
        for seed in seeds:
            contacts = simulate(scenario, seed, _candidates(scenario))
            days.append(_scored(contacts))
            progress(scenario.name)
        trials.append(Trial(scenario.name, _means(days)))
    return trials


def run_bank(name: str, calls: Sequence[Call], progress: Callable[[], None] = lambda: None) -> Trial:
    """Let everybody live through a log of calls; *progress* is called after every day of it."""
    channels = channels_of(calls)
    everybody: list[Candidate] = [
        *rivals(channels, AHT_GUESS, PATIENCE_GUESS),
        Sidetone(channels, AHT_GUESS, PATIENCE_GUESS),
    ]
    replay(calls, everybody, progress)
    return Trial(name, _means([_scored(calls)]))


def summary(trials: Sequence[Trial]) -> Trial:
    """Over all trials: errors and regret as ratios to `BASE` (geometric means), bias by mean wait and coverage as means."""
    rows = []
    for name in [row.name for row in trials[0].rows]:
        pairs = [(_of(trial, name), _of(trial, BASE)) for trial in trials]
        covered = [row.coverage for row, _ in pairs if row.coverage is not None]
        rows.append(
            Row(
                name=name,
                n=sum(row.n for row, _ in pairs),
                mean_wait=fmean(row.mean_wait for row, _ in pairs),
                mae=_ratio((row.mae, base.mae) for row, base in pairs),
                rmse=_ratio((row.rmse, base.rmse) for row, base in pairs),
                bias=fmean(abs(row.bias) / row.mean_wait for row, _ in pairs),
                coverage=fmean(covered) if covered else None,
                regret={limit: _ratio((row.regret[limit], base.regret[limit]) for row, base in pairs) for limit in THRESHOLDS},
            )
        )
    return Trial("all", tuple(rows))


def _candidates(scenario: Scenario) -> list[Candidate]:
    channels: dict[str, Channel] = {line.id: line.channel for line in scenario.lines}
    guesses = (scenario.aht_guess, scenario.patience_guess)
    plans = {queue: scenario.plan(queue) for queue in channels}
    return [*rivals(channels, *guesses), Sidetone(channels, *guesses), Sidetone(channels, *guesses, plans)]


def _scored(contacts: Iterable[Contact] | Iterable[Call]) -> dict[str, Scores]:
    """By candidate, over everybody who found nobody free."""
    told: dict[str, list[tuple[Told, float]]] = {}
    for contact in contacts:
        if contact.wait is not None:
            for name, forecast in contact.told.items():
                told.setdefault(name, []).append((forecast, contact.wait))
    return {name: scores for name, pairs in told.items() if (scores := score(pairs)) is not None}


def _means(days: Sequence[Mapping[str, Scores]]) -> tuple[Row, ...]:
    rows = []
    for name in dict.fromkeys(name for day in days for name in day):
        scores = [day[name] for day in days if name in day]
        covered = [each.coverage for each in scores if each.coverage is not None]
        rows.append(
            Row(
                name=name,
                n=fmean(each.n for each in scores),
                mean_wait=fmean(each.mean_wait for each in scores),
                mae=fmean(each.mae for each in scores),
                rmse=fmean(each.rmse for each in scores),
                bias=fmean(each.bias for each in scores),
                coverage=fmean(covered) if covered else None,
                regret={limit: fmean(each.regret[limit] for each in scores) for limit in THRESHOLDS},
            )
        )
    return tuple(rows)


def _of(trial: Trial, name: str) -> Row:
    return next(row for row in trial.rows if row.name == name)


def _ratio(pairs: Iterable[tuple[float, float]]) -> float:
    """Geometric mean of the quotients; a hundredth of a second stands for nothing at all."""
    return math.exp(fmean(math.log(max(one, 0.01) / max(other, 0.01)) for one, other in pairs))
