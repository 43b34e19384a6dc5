"""Observations that come twice, late, in another order or not at all."""

import random
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.bench.centre import Line, Scenario, Team, simulate
from bridge.hindsight import Told
from ewt.estimator import AgentSeen, ContactSeen, Estimator, QueueSpec, Snapshot
from ewt.feed import LATE, STALE, Event, Feed, Recorder
from ewt.forecast import Forecast

DAY = Scenario(
    "feed",
    "Phones and chats, two priorities, a break of everybody",
    3600.0,
    (
        Line("calls", ((0, 150),), 200, patience=200, urgent=((0, 0.2), (1, 0.8))),
        Line("sales", ((0, 60),), 150, patience=200),
        Line("chats", ((0, 50),), 500, channel="sms", patience=900),
    ),
    (Team(("calls", "sales"), ((0, 6), (2000, 0), (2300, 5))), Team(("calls", "chats"), ((0, 4),), chats=3)),
)


class Tape(Recorder):
    """Keeps what a simulated centre tells, and asks nothing."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        super().__init__(self.events.append)
        self.name = "tape"

    def told(self, now: float, queue: str, priority: int) -> Told:
        del now, queue, priority
        return Told(0.0, 0.0)


@cache
def recorded(seed: int) -> tuple[Event, ...]:
    tape = Tape()
    simulate(DAY, seed, [tape])
    return tuple(tape.events)


def estimator() -> Estimator:
    return Estimator(QueueSpec(line.id, line.channel) for line in DAY.lines)


def fed(events: list[tuple[float, Event]]) -> Feed:
    """A feed that was given these events at these times."""
    feed = Feed(estimator(), 0.0)
    for came, event in events:
        feed.take(came, event)
    return feed


def in_order(seed: int) -> Feed:
    return fed([(event.at, event) for event in recorded(seed)])


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2), st.integers(0, 1000))
def test_events_told_twice_and_in_another_order_give_the_same_numbers(day: int, chance: int) -> None:
    """Each comes up to two seconds late, some come again much later."""
    rng = random.Random(chance)
    arrivals = [(event.at + rng.uniform(0, LATE), event) for event in recorded(day)]
    arrivals += [(came + rng.uniform(0, 300), event) for came, event in rng.sample(arrivals, 100)]
    arrivals.sort(key=lambda arrival: arrival[0])
    straight, shuffled = in_order(day), fed(arrivals)
    assert shuffled.estimator.save() == straight.estimator.save()
    assert shuffled.estimator.snapshot() == straight.estimator.snapshot()
    end = arrivals[-1][0]
    assert shuffled.trusted(end)
    for queue in ("calls", "sales", "chats"):
        assert shuffled.forecast(end, queue) == straight.estimator.forecast(end, queue)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2), st.integers(0, 1000))
def test_after_lost_events_a_snapshot_makes_everything_as_if_they_had_been_heard(day: int, chance: int) -> None:
    """Lines, agents and hands are those of a fresh build, then and after everything that follows; taken twice it is the same."""
    rng = random.Random(chance)
    events = recorded(day)
    cut = rng.randrange(200, len(events) - 200)
    truth = fed([(event.at, event) for event in events[:cut]])
    lost = set(rng.sample(range(cut), 30))
    feed = fed([(event.at, event) for n, event in enumerate(events[:cut]) if n not in lost])
    now = events[cut - 1].at
    feed.heard(now + LATE + 1.0)
    assert not feed.trusted(now + LATE + 1.0)
    snapshot = truth.estimator.snapshot()
    for _ in range(2):
        feed.resync(now, snapshot, cut)
        assert feed.estimator.snapshot() == snapshot
    assert feed.trusted(now)
    for each in (feed, truth):
        for event in events[cut:]:
            each.take(event.at, event)
    assert feed.estimator.snapshot() == truth.estimator.snapshot()
    assert feed.trusted(events[-1].at)


def test_of_a_snapshot_lines_forecast_about_what_they_did_before() -> None:
    events = [event for event in recorded(1) if event.at < 1990]
    before = fed([(event.at, event) for event in events])
    now = events[-1].at
    waits = {queue: before.forecast(now, queue) for queue in ("calls", "sales", "chats")}
    before.resync(now, before.estimator.snapshot(), len(events))
    assert {queue: before.forecast(now, queue) for queue in waits} == waits


def test_an_event_that_does_not_come_makes_the_waits_uncertain() -> None:
    events = recorded(0)[:400]
    feed = fed([(event.at, event) for event in events if event.number != 200])
    assert not feed.trusted(events[-1].at)
    forecast = feed.forecast(events[-1].at, "calls")
    assert (forecast.status, forecast.basis) == ("degraded", "prior")
    assert forecast.mean is not None
    assert forecast.mean > 0.0
    assert forecast.band().silence == "degraded"


def test_an_event_that_contradicts_what_is_known_does_too() -> None:
    feed = Feed(estimator(), 0.0)
    feed.take(0.0, Event(1, 0.0, "joined", contact="c", queue="calls"))
    assert feed.trusted(0.0)
    feed.take(1.0, Event(2, 1.0, "ended", contact="somebody else", agent="a"))
    assert not feed.trusted(1.0)
    feed.resync(2.0, Snapshot((), ()), 2)
    assert feed.trusted(2.0)


def test_silence_makes_uncertain_and_a_sign_of_life_certain_again() -> None:
    feed = Feed(estimator(), 0.0)
    feed.take(0.0, Event(1, 0.0, "login", agent="a", queues=("calls",)))
    feed.take(0.0, Event(2, 0.0, "joined", contact="c", queue="calls"))
    assert feed.forecast(STALE, "calls").status == feed.forecast_waiting(STALE, "c").status == "ok"
    late = feed.forecast(STALE + 1.0, "calls")
    assert late.status == feed.forecast_waiting(STALE + 1.0, "c").status == "degraded"
    assert late.mean == pytest.approx(2 * 240.0)
    assert late.quantiles is not None
    assert list(late.quantiles) == sorted(late.quantiles)
    feed.heard(STALE + 1.0)
    assert feed.forecast(STALE + 1.0, "calls").status == "ok"


def test_uncertain_and_without_agents_there_are_no_numbers_and_never_0() -> None:
    feed = Feed(estimator(), 0.0)
    assert feed.forecast(100.0, "calls") == Forecast("degraded", "prior", ahead=0, capacity=0)
    feed.take(100.0, Event(1, 100.0, "login", agent="a", queues=("calls",)))
    feed.take(100.0, Event(2, 100.0, "capacity", agent="a", voice_free=1))
    assert feed.forecast(200.0, "calls").mean == pytest.approx(240.0), "somebody was free when last heard of"


def test_what_a_snapshot_knows_and_this_side_does_not_is_left_out() -> None:
    one = estimator()
    agent = AgentSeen("a", ("calls", "new queue"), 1, 0, 0)
    known, unknown = ContactSeen("c", "calls", 1, 5.0, 5.0, queued=True), ContactSeen("d", "new queue", 1, 5.0, 5.0, queued=True)
    one.resync(10.0, Snapshot((agent,), (known, unknown)))
    assert one.snapshot() == Snapshot((AgentSeen("a", ("calls",), 1, 0, 0),), (known,))
    one.started(60.0, "c", "a")
    assert one.forecast(60.0, "calls").outcomes == 0, "nobody knows what they were promised"
