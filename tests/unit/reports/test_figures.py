"""Every figure of every report is what a naive reading of the journal's rows says, for busy days told by the session machine."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from bridge.journal import Journal, Unit
from bridge.journal.fact_queries import Ask, Limits, Price
from bridge.reports.definitions import COUNTED, REPORTS, Dimension
from bridge.reports.measures import LARGEST, figures, needed
from bridge.reports.spans import Every, Range, starts
from tests.unit.reports.busy import busy_day
from tests.unit.reports.naive import Books, Naive, Thing

SINCE, LENGTH = 1_774_746_000.0 - 3600.0, 2 * 3600.0
"""Some hours around the beginning of summer time in Berlin: 2026-03-29 01:00 UTC."""
RANGE = Range(SINCE, SINCE + LENGTH, "Europe/Berlin")
NOW = SINCE + 1.75 * 3600.0
LIMITS = {
    "support": Limits(20.0, 5.0),
    "billing": Limits(40.0, 8.0),
    "support_sms": Limits(60.0, 5.0),
    "other_sms": Limits(10.0, 5.0),
}
PRICES = (Price("out", "sms", "US", 0.01), Price("in", "sms", None, 0.002), Price("out", "sms", None, 0.07))


async def fill(journal: Journal, seed: int, conversations: int = 30) -> None:
    """A busy day, in the order in which it happened, as far as it has come."""
    stories, states = busy_day(seed, SINCE, LENGTH - 1800.0, conversations)
    units: list[tuple[float, Unit]] = [step for story in stories for step in story.units]
    units += [(row.since, Unit(agent_states=[row])) for row in states]
    for _, unit in sorted((step for step in units if step[0] <= NOW), key=lambda step: step[0]):
        await journal.commit(unit)


def ask(by: tuple[Dimension, ...], every: Every = "all", **more: Any) -> Ask:
    return Ask(
        range=RANGE,
        by=by,
        every=every,
        names=frozenset(COUNTED),
        now=NOW,
        limits=LIMITS,
        usual=Limits(20.0, 5.0),
        prices=PRICES,
        **more,
    )


def naive_of(path: Path) -> Naive:
    in_time = {queue: limits.answer_within for queue, limits in LIMITS.items()}
    short = {queue: limits.short_abandon for queue, limits in LIMITS.items()}
    return Naive(Books(path), NOW, in_time, short, {("out", "US"): 0.01, ("in", "US"): 0.002})


GROUPS: tuple[tuple[tuple[Dimension, ...], Every], ...] = (
    ((), "all"),
    (("queue",), "all"),
    (("agent",), "all"),
    (("type",), "all"),
    (("channel",), "all"),
    (("interval",), "hour"),
    (("interval",), "quarter"),
    (("interval",), "day"),
    (("interval", "queue"), "half_hour"),
    (("agent", "interval"), "hour"),
)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_every_counted_thing_is_what_a_naive_reading_counts(tmp_path: Path, seed: int) -> None:
    """By queue, agent, type, channel and span of time, and all together."""
    path = tmp_path / "journal.db"
    async with Journal.open(f"sqlite:///{path}") as journal:
        await fill(journal, seed)
        await journal.catch_up()
        naive = naive_of(path)
        presence = list(naive.presence(RANGE.since, RANGE.until))
        for by, every in GROUPS:
            counts = await journal.count(ask(by, every))
            expected = _grouped([*naive.things, *presence], by, every)
            found = {key: dict(tally.sums) for key, tally in counts.groups.items()}
            assert _rounded(found) == _rounded(expected), (by, every)
            responses = _grouped_values(naive.first_responses, by, every)
            values = {key: sorted(tally.values.get("first_response", [])) for key, tally in counts.groups.items()}
            assert {key: each for key, each in values.items() if each} == responses
        total = (await journal.count(ask(()))).total
        assert {name for name, amount in total.sums.items() if amount} >= {"offered", "answered", "handled", "busy", "texts_sent"}
        for report in REPORTS.values():
            shown = figures(report.columns, total)
            assert set(shown) == set(report.columns)
            assert needed(report.columns) <= set(COUNTED)


def _key(thing: Thing, by: tuple[Dimension, ...], every: Every) -> tuple[Any, ...]:
    beginnings = starts(RANGE, every)
    place = {"interval": max(n for n, at in enumerate(beginnings) if at <= thing.at or n == 0)}
    return tuple(place[each] if each in place else getattr(thing, each) for each in by)


def _grouped(things: list[Thing], by: tuple[Dimension, ...], every: Every) -> dict[tuple[Any, ...], dict[str, float]]:
    """Sums by group, of what is in the range; things that belong to no agent are in no group of agents."""
    sums: dict[tuple[Any, ...], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    times = {"logged_in", "ready", "not_ready", "wrapping", "busy", "idle", "chat_seconds", "chatting"}
    sessions = {"sessions", "contacts", "left_before_line", "repeated_24h", "repeated_7d"}
    for thing in things:
        if not RANGE.since <= thing.at < RANGE.until:
            continue
        if thing.name in sessions and "agent" in by:
            continue
        if thing.name in times and {"queue", "type", "channel"} & set(by):
            continue
        group = sums[_key(thing, by, every)]
        group[thing.name] = max(group[thing.name], thing.amount) if thing.name in LARGEST else group[thing.name] + thing.amount
    return sums


def _grouped_values(things: list[Thing], by: tuple[Dimension, ...], every: Every) -> dict[tuple[Any, ...], list[float]]:
    values: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for thing in things:
        if RANGE.since <= thing.at < RANGE.until:
            values[_key(thing, by, every)].append(thing.amount)
    return {key: sorted(each) for key, each in values.items()}


def _rounded(groups: Any) -> dict[tuple[Any, ...], dict[str, float]]:
    """Without nothing, and without the dust of adding up."""
    return {
        key: kept
        for key, sums in groups.items()
        if (kept := {name: round(amount, 3) for name, amount in sums.items() if abs(amount) > 1e-6})
    }


async def test_parts_add_up_to_the_whole(tmp_path: Path) -> None:
    """Everybody who entered a line was answered, hung up, left otherwise or is there; groups add up to the total."""
    async with Journal.open(f"sqlite:///{tmp_path}/journal.db") as journal:
        await fill(journal, 7)
        await journal.catch_up()
        for by, every in GROUPS:
            counts = await journal.count(ask(by, every))
            for tally in [*counts.groups.values(), counts.total]:
                sums = tally.sums
                parts = ("answered", "abandoned", "short_abandoned", "left_otherwise", "waiting")
                assert sums.get("offered", 0.0) == sum(sums.get(name, 0.0) for name in parts)
                assert sums.get("handled", 0.0) == sums.get("handled_calls", 0.0) + sums.get("handled_chats", 0.0)
                written = ("preset", "custom", "flow", "system", "api")
                assert sums.get("texts_sent", 0.0) == sum(sums.get(f"texts_{author}", 0.0) for author in written)
                logged_in = sum(sums.get(name, 0.0) for name in ("ready", "not_ready", "wrapping"))
                assert sums.get("logged_in", 0.0) == pytest.approx(logged_in)
            offered = sum(tally.sums.get("offered", 0.0) for tally in counts.groups.values())
            assert offered == counts.total.sums["offered"]
