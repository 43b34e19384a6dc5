"""The simulated centre behaves as queueing theory says, and knows how long everybody would have waited."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest

from bridge.bench import SCENARIOS, Line, Scenario, Team, simulate
from bridge.bench.centre import HOUR, Contact
from bridge.hindsight import Told

ONE_AGENT = Scenario("one", "", HOUR, (Line("q", ((0, 60),), 100, patience=40),), (Team(("q",), ((0, 1),)),))


class Listener:
    """A candidate that forecasts nothing and writes everything down."""

    name = "listener"

    def __init__(self) -> None:
        self.heard: list[tuple[float, str, str]] = []
        self.rooms: dict[str, tuple[int, int]] = {}
        self.there: dict[str, set[str]] = {}

    def login(self, now: float, agent: str, queues: Iterable[str], slots: int) -> None:
        del slots
        self.heard.append((now, "login", agent))
        self.there[agent] = set(queues)

    def logout(self, now: float, agent: str) -> None:
        self.heard.append((now, "logout", agent))
        del self.there[agent]

    def capacity(self, now: float, agent: str, voice_free: int, chat_free: int) -> None:
        del now
        self.rooms[agent] = (voice_free, chat_free)

    def joined(self, now: float, contact: str, queue: str, priority: int, since: float | None = None) -> None:
        del queue, priority, since
        self.heard.append((now, "joined", contact))

    def started(self, now: float, contact: str, agent: str, queue: str | None = None) -> None:
        del agent, queue
        self.heard.append((now, "started", contact))

    def abandoned(self, now: float, contact: str, *, ghost: bool = True) -> None:
        del ghost
        self.heard.append((now, "abandoned", contact))

    def ended(self, now: float, contact: str, agent: str, *, served: bool = True) -> None:
        del agent, served
        self.heard.append((now, "ended", contact))

    def told(self, now: float, queue: str, priority: int) -> Told:
        del now, priority
        rooms = [self.rooms.get(agent, (0, 0)) for agent, queues in self.there.items() if queue in queues]
        assert not any(chats if queue == "chats" else calls for calls, chats in rooms), "somebody is free"
        return Told(0.0, 0.0)


def erlang_a(per_second: float, service: float, agents: int, hang_ups: float) -> tuple[float, float, float]:
    """M/M/s+M: P(wait > 0), P(hang-up), and the mean virtual wait of those who wait (Palm; Whitt 1999 for the wait)."""
    weights = [1.0]
    while weights[-1] > 1e-12 * max(weights) or len(weights) <= agents:
        n = len(weights)
        weights.append(weights[-1] * per_second / (min(n, agents) * service + max(0, n - agents) * hang_ups))
    total = sum(weights)
    chances = [weight / total for weight in weights]
    waits = sum(chances[agents:])
    lost = sum((n - agents) * hang_ups * chance for n, chance in enumerate(chances) if n > agents) / per_second
    virtual = sum(
        chance * sum(1.0 / (agents * service + i * hang_ups) for i in range(n - agents + 1))
        for n, chance in enumerate(chances)
        if n >= agents
    )
    return waits, lost, virtual / waits


@pytest.mark.parametrize(("per_hour", "handle", "agents", "patience"), [(70.0, 240.0, 5, 300.0), (300.0, 300.0, 26, 240.0)])
def test_it_is_an_erlang_a_queue(per_hour: float, handle: float, agents: int, patience: float) -> None:
    """Share of those who wait, of those who hang up, and the mean wait with ghosts: within three per cent."""
    line = Line("q", ((0, per_hour),), handle, spread=None, patience=patience)
    contacts = simulate(Scenario("theory", "", 400 * HOUR, (line,), (Team(("q",), ((0, agents),)),)), 1, [])
    judged = [contact for contact in contacts if contact.wait is not None]
    waited = [contact.wait for contact in judged if contact.wait]
    measured = (
        len(waited) / len(judged),
        sum(contact.ghost for contact in judged) / len(judged),
        sum(waited) / len(waited),
    )

    assert measured == pytest.approx(erlang_a(per_hour / HOUR, 1.0 / handle, agents, 1.0 / patience), rel=0.03)


def test_the_same_seed_gives_the_same_day() -> None:
    """And another seed another one; who listens changes nothing."""

    def day(seed: int, listeners: Sequence[Listener] = ()) -> list[tuple[float, float | None, bool]]:
        return [(contact.at, contact.wait, contact.ghost) for contact in simulate(ONE_AGENT, seed, listeners)]

    assert day(1) == day(1, [Listener()]) != day(2)


def test_a_ghost_waits_until_its_turn_and_costs_no_time() -> None:
    """With one agent and one line everybody's turn comes when those before them are done, whether they hung up or not."""
    contacts = simulate(ONE_AGENT, 3, [])
    assert any(contact.ghost for contact in contacts)
    free_at = 0.0
    for contact in contacts:
        turn = max(free_at, contact.at)
        assert contact.wait == pytest.approx(turn - contact.at, abs=1e-6)
        if not contact.ghost:
            free_at = turn + contact.handle


@pytest.mark.parametrize("name", SCENARIOS)
def test_who_listens_hears_a_story_that_makes_sense(name: str) -> None:
    """In order of time; everybody comes once, then is taken or leaves; agents come before they go."""
    listener = Listener()
    simulate(SCENARIOS[name], 1, [listener])
    assert all(one[0] <= other[0] for one, other in pairwise(listener.heard))
    lives: dict[str, list[str]] = {}
    for _, what, who in listener.heard:
        lives.setdefault(who, []).append(what)
    for who, life in lives.items():
        if who.startswith("agent"):
            assert life == (["login", "logout"] * len(life))[: len(life)]
        else:
            assert life in (["joined"], ["joined", "started"], ["joined", "started", "ended"], ["joined", "abandoned"])


def test_urgent_ones_go_first_and_ghosts_keep_their_class() -> None:
    """Nobody is taken while somebody more urgent, who came before that moment, stands in the same line."""
    contacts = simulate(SCENARIOS["priorities"], 2, [])
    served = sorted((c for c in contacts if c.wait is not None and not c.ghost), key=_turn)
    for before, after in pairwise(served):
        if after.wait and after.at < _turn(before) - 1e-6:
            assert (before.priority, before.at) <= (after.priority, after.at)


def _turn(contact: Contact) -> float:
    assert contact.wait is not None
    return contact.at + contact.wait


def test_a_plan_is_the_staff_of_all_teams() -> None:
    """Agents for calls, places for chats, from every change on."""
    assert SCENARIOS["chat-desk"].plan("chats") == [(0, 15), (3 * HOUR, 9), (4 * HOUR, 15)]
    assert SCENARIOS["blended"].plan("support") == [(0, 14)]
    assert SCENARIOS["blended"].plan("chats") == [(0, 33)]
