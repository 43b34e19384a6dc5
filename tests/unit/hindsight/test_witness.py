"""The witness passes everything on, and knows what became of every forecast."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.bench import SCENARIOS, Sidetone, simulate
from bridge.events import Channel
from bridge.hindsight import Told, Witness
from ewt.estimator import Estimator, QueueSpec
from ewt.forecast import Forecast

QUEUES: dict[str, Channel] = {"q": "voice", "other": "voice", "chats": "sms"}


def fresh() -> Witness:
    """An estimator that knows three queues, and agent a who works them all and is busy."""
    witness = Witness(Estimator(QueueSpec(queue, channel) for queue, channel in QUEUES.items()), QUEUES)
    witness.login(0.0, "a", list(QUEUES), 2)
    witness.capacity(0.0, "a", 0, 0)
    return witness


def test_who_waited_and_was_served_is_an_outcome_once() -> None:
    """With what was forecast when they came, and who they were."""
    witness = fresh()
    witness.joined(10.0, "s-1/voice", "q", 1)
    assert witness.outcomes() == []
    witness.started(70.0, "s-1/voice", "a")
    [known] = witness.outcomes()
    assert (known.session, known.queue, known.priority, known.at, known.wait, known.ghost) == ("s-1", "q", 1, 10.0, 60.0, False)
    assert (known.status, known.basis, known.ahead, known.capacity) == ("ok", "prior", 0, 1)
    assert known.p10 < known.p50 < known.p90
    assert witness.outcomes() == []


def test_who_found_somebody_free_is_not_judged() -> None:
    """They were told 0."""
    witness = fresh()
    witness.capacity(1.0, "a", 1, 2)
    witness.joined(2.0, "x/voice", "q", 1)
    witness.started(2.5, "x/voice", "a")
    assert witness.outcomes() == []


def test_a_ghosts_turn_comes_when_somebody_behind_it_is_taken() -> None:
    """Not when somebody before it is, or somebody more urgent, or somebody of another queue."""
    witness = fresh()
    for at, contact, queue, priority in (
        (0.0, "first", "q", 1),
        (1.0, "ghost", "q", 1),
        (2.0, "urgent", "q", 0),
        (3.0, "else", "other", 1),
        (4.0, "behind", "q", 1),
    ):
        witness.joined(at, contact, queue, priority)
    witness.abandoned(20.0, "ghost")
    for at, contact in ((30.0, "first"), (40.0, "urgent"), (50.0, "else")):
        witness.started(at, contact, "a")
    assert not any(known.ghost for known in witness.outcomes())
    witness.started(61.0, "behind", "a")
    assert [(known.session, known.wait) for known in witness.outcomes() if known.ghost] == [("ghost", 60.0)]


@pytest.mark.parametrize(("queue", "calls", "chats", "settled"), [("q", 1, 0, True), ("q", 0, 2, False), ("chats", 0, 1, True)])
def test_a_ghosts_turn_comes_when_an_agent_is_free_and_nobody_waits(queue: str, calls: int, chats: int, settled: bool) -> None:
    """Free for that channel; and not while anybody still waits."""
    witness = fresh()
    witness.joined(0.0, "ghost", queue, 1)
    witness.joined(0.5, "there", queue, 1)
    witness.abandoned(10.0, "ghost")
    witness.capacity(15.0, "a", calls, chats)
    assert witness.outcomes() == []
    witness.capacity(15.0, "a", 0, 0)
    witness.abandoned(16.0, "there", ghost=False)
    witness.capacity(20.0, "a", calls, chats)
    assert [known.wait for known in witness.outcomes()] == ([20.0] if settled else [])


def test_who_is_moved_to_another_line_is_judged_for_that_one_only() -> None:
    """The first forecast was of a line that they left by our will."""
    witness = fresh()
    witness.joined(0.0, "s/voice", "q", 1)
    witness.abandoned(10.0, "s/voice", ghost=False)
    witness.joined(10.0, "s/voice", "other", 1, 0.0)
    witness.started(40.0, "s/voice", "a")
    [known] = witness.outcomes()
    assert (known.queue, known.wait) == ("other", 30.0)


def test_who_texts_instead_is_followed_from_the_moment_of_the_offer() -> None:
    """As a ghost of the line that they did not join. Who joins it after all is none, nor is anybody while somebody is free."""
    witness = fresh()
    witness.joined(0.0, "first", "q", 1)
    witness.deflected(10.0, "texter", "q")
    witness.deflected(11.0, "back", "q")
    witness.deflected(12.0, "first", "q")
    witness.deflected(12.0, "x", "nowhere")
    witness.joined(20.0, "back", "q", 1)
    witness.joined(30.0, "last", "q", 1)
    witness.started(50.0, "first", "a")
    witness.started(60.0, "back", "a")
    assert [(known.session, known.wait, known.ghost) for known in witness.outcomes()] == [
        ("first", 50.0, False),
        ("back", 40.0, False),
        ("texter", 50.0, True),
    ]
    witness.abandoned(61.0, "last", ghost=False)
    witness.capacity(62.0, "a", 1, 0)
    witness.deflected(63.0, "nobody waits", "q")
    witness.capacity(64.0, "a", 1, 0)
    assert witness.outcomes() == []


def test_ghosts_are_not_followed_for_ever() -> None:
    """Two hours; and what is said twice, or of nobody, changes nothing."""
    witness = fresh()
    witness.joined(0.0, "old", "q", 1)
    witness.joined(0.0, "old", "q", 1)
    witness.abandoned(10.0, "old")
    witness.abandoned(10.0, "old")
    witness.started(10.0, "nobody", "a", "q")
    witness.joined(8000.0, "new", "q", 1)
    witness.abandoned(8001.0, "new")
    witness.capacity(8010.0, "a", 1, 0)
    assert [known.session for known in witness.outcomes()] == ["new"]
    witness.joined(9000.0, "late", "q", 1)
    witness.capacity(9000.0, "a", 0, 0)
    witness.joined(9000.0, "late2", "q", 1)
    witness.abandoned(9001.0, "late2")
    witness.started(17_000.0, "late", "a")
    witness.capacity(17_001.0, "a", 1, 0)
    assert "late2" not in {known.session for known in witness.outcomes()}


def test_queues_and_agents_come_and_go() -> None:
    """Of a queue that it does not know nothing is kept."""
    witness = fresh()
    witness.joined(0.0, "x", "nowhere", 1)
    witness.started(5.0, "x", "a", "nowhere")
    witness.know({"new": "voice"})
    assert witness.pace("new", 0.0) is None
    assert witness.pace("nowhere", 0.0) is None
    witness.logout(6.0, "a")
    witness.capacity(7.0, "a", 1, 1)
    assert witness.outcomes() == []


def test_the_pace_of_a_line_is_counted_while_somebody_stands_in_it() -> None:
    """By the minute, over a quarter of an hour; unknown when nobody stood there for a minute."""
    witness = fresh()
    assert witness.pace("q", 0.0) is None
    for n in range(4):
        witness.joined(0.0, f"c{n}", "q", 1)
    assert witness.pace("q", 30.0) is None
    witness.started(60.0, "c0", "a")
    witness.ended(90.0, "c0", "a")
    witness.started(90.0, "c1", "a")
    witness.abandoned(100.0, "c2")
    witness.abandoned(120.0, "c3", ghost=False)
    pace = witness.pace("q", 300.0)
    assert pace is not None
    assert (pace.drain_per_min, pace.hangups_per_min) == (1.0, 0.5)
    witness.joined(960.0, "d", "q", 1)
    later = witness.pace("q", 1020.0)
    assert later is not None
    assert (later.drain_per_min, later.hangups_per_min) == (0.0, 0.0)
    witness.started(2000.0, "d", "a")
    assert witness.pace("q", 3000.0) is None


class Deaf:
    """An estimator that has no numbers."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_names: self.heard.append(name)

    def forecast(self, now: float, queue: str, priority: int = 1, extra: float = 0.0) -> Forecast:
        del now, queue, priority, extra
        return Forecast("degraded", "prior")

    def forecast_waiting(self, now: float, contact: str) -> Forecast:
        del now, contact
        return Forecast("degraded", "prior")


def test_without_numbers_nothing_is_judged_and_all_is_passed_on() -> None:
    """In the order in which it came."""
    deaf = Deaf()
    witness = Witness(deaf, QUEUES)
    witness.login(0.0, "a", ["q"], 0)
    witness.joined(1.0, "x", "q", 1)
    witness.capacity(2.0, "a", 1, 0)
    witness.started(3.0, "x", "a")
    witness.ended(4.0, "x", "a")
    witness.joined(5.0, "y", "q", 1)
    witness.abandoned(6.0, "y")
    witness.logout(7.0, "a")
    assert deaf.heard == ["login", "joined", "capacity", "started", "ended", "joined", "abandoned", "logout"]
    assert witness.outcomes() == []


class Watched(Sidetone):
    """The estimator behind a witness, as a candidate of the bench."""

    def __init__(self, channels: dict[str, Channel]) -> None:
        super().__init__(channels, 240.0, 300.0)
        self.witness = Witness(Estimator(QueueSpec(queue, channel) for queue, channel in channels.items()), channels)

    def login(self, now: float, agent: str, queues: Iterable[str], slots: int) -> None:
        self.witness.login(now, agent, queues, slots)

    def logout(self, now: float, agent: str) -> None:
        self.witness.logout(now, agent)

    def capacity(self, now: float, agent: str, voice_free: int, chat_free: int) -> None:
        self.witness.capacity(now, agent, voice_free, chat_free)

    def joined(self, now: float, contact: str, queue: str, priority: int, since: float | None = None) -> None:
        self.witness.joined(now, contact, queue, priority, since)

    def started(self, now: float, contact: str, agent: str, queue: str | None = None) -> None:
        self.witness.started(now, contact, agent, queue)

    def abandoned(self, now: float, contact: str, *, ghost: bool = True) -> None:
        self.witness.abandoned(now, contact, ghost=ghost)

    def ended(self, now: float, contact: str, agent: str, *, served: bool = True) -> None:
        self.witness.ended(now, contact, agent, served=served)

    def told(self, now: float, queue: str, priority: int) -> Told:
        del now, queue, priority
        return Told(0.0, 0.0)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(["small-team", "surge", "chat-desk", "priorities", "breaks"]), st.integers(1, 1000))
def test_it_finds_what_the_simulation_knows(name: str, seed: int) -> None:
    """Waits of those who were served to the second; those of ghosts up to the next start, which is all that can be seen."""
    scenario = SCENARIOS[name]
    watched = Watched({line.id: line.channel for line in scenario.lines})
    contacts = simulate(scenario, seed, [watched])
    known = {outcome.session: outcome for outcome in watched.witness.outcomes()}
    waited = [contact for contact in contacts if contact.told and contact.wait is not None and contact.wait < 7000]
    assert waited
    for contact in waited:
        seen = known.get(contact.id)
        if not contact.ghost:
            assert seen is not None
            assert seen.wait == pytest.approx(contact.wait, abs=1e-6)
        elif seen is not None:
            assert seen.ghost
            assert seen.wait >= (contact.wait or 0.0) - 1e-6
    followed = sum(contact.ghost and contact.id in known for contact in waited)
    assert followed >= 0.9 * sum(contact.ghost for contact in waited)
