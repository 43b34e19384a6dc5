"""A day at the desks: nobody is overtaken without a reason that can be named, and agents share the work."""

import heapq
import random
from collections import Counter
from itertools import count
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.acd import Acd, AgentSpec, AgentStateChanged, OfferLapsed, QueueSpec, Strategy, WorkAssigned, WorkOffered
from bridge.events import AgentId, QueueId, SessionId

CALLS = QueueId("calls")
LANGUAGES = ((), (), ("fr",))
HOUR = 3600.0


class Stand(NamedTuple):
    """A caller in line, in the order of the line."""

    priority: int
    since: float
    number: int
    skills: tuple[str, ...]


class Day:
    """Callers who come, wait and hang up; agents who answer, decline, miss, talk and take breaks. Reproducible by its seed.

    It keeps books of its own from the outputs alone, and collects what must not be.
    """

    def __init__(
        self, seed: int, *, agents: int, load: float, refusing: float, hours: float, strategy: Strategy, breaks: bool
    ) -> None:
        self.chance = random.Random(seed)
        names = [AgentId(f"agent{number}") for number in range(agents)]
        self.specs = {
            name: AgentSpec(name, name, (CALLS,), skills=("fr",) if number % 2 else ()) for number, name in enumerate(names)
        }
        queue = QueueSpec(CALLS, "voice", strategy=strategy, wrap_up=20.0)
        self.acd = Acd([queue], self.specs.values())
        self.hours, self.load, self.refusing, self.breaks = hours, load, refusing, breaks
        self.numbers = count(1)
        self.plans: list[tuple[float, int, Any, tuple[Any, ...]]] = []
        self.line: dict[SessionId, Stand] = {}
        self.ringing: dict[SessionId, set[AgentId]] = {}
        self.refused: dict[SessionId, set[AgentId]] = {}
        self.rung: dict[SessionId, int] = {}
        """Who has been rung, and when last: later than whoever joined with a lower number."""
        self.idle: dict[AgentId, float] = dict.fromkeys(names, 0.0)
        self.busy: set[AgentId] = set()
        self.ready: set[AgentId] = set()
        self.shares: Counter[AgentId] = Counter()
        self.wrongs: list[str] = []
        self.served = self.excused = 0

    def run(self) -> None:
        """From the first minute to the last caller."""
        for name in self.specs:
            self.follow(self.acd.set_state(name, "ready", None, 0.0), 0.0)
        self.plan(1.0, self.arrives)
        while self.plans:
            at, _, act, args = heapq.heappop(self.plans)
            while (due := self.acd.wake_at) is not None and due <= at:
                self.follow(self.acd.wake(due), due)
            act(at, *args)

    def plan(self, at: float, act: Any, *args: Any) -> None:
        heapq.heappush(self.plans, (at, next(self.numbers), act, args))

    # --- what people do

    def arrives(self, now: float) -> None:
        session, skills = SessionId(f"s{next(self.numbers)}"), self.chance.choice(LANGUAGES)
        priority = self.chance.choice((0, 1, 1, 1))
        since = now - self.chance.choice((0.0, 0.0, 0.0, 200.0))
        self.line[session] = Stand(priority, since, next(self.numbers), skills)
        self.refused[session], self.ringing[session] = set(), set()
        self.plan(now + self.chance.expovariate(1 / 400.0), self.hangs_up, session)
        self.follow(self.acd.join(session, CALLS, "voice", since, priority, skills, now), now)
        gap = 180.0 / (len(self.specs) * self.load)
        if now < self.hours * HOUR:
            self.plan(now + self.chance.expovariate(1 / gap), self.arrives)

    def hangs_up(self, now: float, session: SessionId) -> None:
        if self.line.pop(session, None) is not None:
            self.follow(self.acd.leave(session, "voice", "abandoned", now), now)

    def answers(self, now: float, agent: AgentId, offer: WorkOffered) -> None:
        if self.acd.agent_view(agent).offer is not offer:
            return
        if self.chance.random() < self.refusing:
            self.follow(self.acd.decline(agent, offer.session, "voice", "declined", now), now)
        else:
            self.follow(self.acd.accept(agent, offer.session, "voice", now), now)

    def ends(self, now: float, agent: AgentId, session: SessionId) -> None:
        self.busy.discard(agent)
        self.idle[agent] = now
        self.follow(self.acd.release(agent, session, "voice", wrap_up=True, now=now), now)
        if self.breaks and self.chance.random() < 0.05:
            self.follow(self.acd.set_state(agent, "not_ready", "break", now), now)
            self.plan(now + 300.0, self.comes_back, agent)

    def comes_back(self, now: float, agent: AgentId) -> None:
        self.follow(self.acd.set_state(agent, "ready", None, now), now)

    # --- the books

    def follow(self, outputs: list[Any], now: float) -> None:
        for output in outputs:
            match output:
                case AgentStateChanged(agent=agent, state=state, reason=reason):
                    self.ready.discard(agent)
                    if state == "ready":
                        self.ready.add(agent)
                        self.idle[agent] = now
                    if reason == "missed":
                        self.plan(now + 60.0, self.comes_back, agent)
                case WorkOffered(agent=agent, session=session):
                    self.judge(output, now)
                    self.ringing[session].add(agent)
                    self.rung[session] = next(self.numbers)
                    if self.chance.random() >= self.refusing / 2:
                        self.plan(now + self.chance.uniform(1.0, 15.0), self.answers, agent, output)
                case OfferLapsed(agent=agent, session=session, reason=reason):
                    self.ringing[session].discard(agent)
                    if reason == "declined":
                        self.refused[session].add(agent)
                case WorkAssigned(agent=agent, session=session):
                    self.overtaken(session, now)
                    self.ringing[session].discard(agent)
                    del self.line[session]
                    self.busy.add(agent)
                    self.shares[agent] += 1
                    self.served += 1
                    self.plan(now + self.chance.uniform(60.0, 260.0), self.ends, agent, session)
                case _:
                    pass

    def judge(self, offer: WorkOffered, now: float) -> None:
        """At the moment of an offer: was this the one in line, and this the agent?"""
        mine = self.line[offer.session]
        for other, stand in self.line.items():
            if stand < mine and (stand.priority, stand.skills) == (mine.priority, mine.skills) and not self.ringing[other]:
                held = offer.agent in self.refused[other]
                self.excused += held
                if not held:
                    self.wrongs.append(f"{now}: {offer.session} is offered before {other}")
        if self.acd.agent_view(offer.agent).state != "ready" or offer.agent in self.busy:
            self.wrongs.append(f"{now}: {offer.agent} cannot take it")
        for name in self.ready - self.busy - {who for rung in self.ringing.values() for who in rung} - {offer.agent}:
            fit = name not in self.refused[offer.session] and set(mine.skills) <= set(self.specs[name].skills)
            free = self.acd.agent_view(name).offer in {None, offer}
            if fit and free and self.idle[name] < self.idle[offer.agent]:
                self.wrongs.append(f"{now}: {name} has been idle longer than {offer.agent}")

    def overtaken(self, session: SessionId, now: float) -> None:
        """At the moment of an answer: who stood before them when it rang, and still waits, must have been rung already."""
        mine = self.line[session]
        for other, stand in self.line.items():
            before = stand < mine and stand.number < self.rung[session]
            if before and (stand.priority, stand.skills) == (mine.priority, mine.skills) and other not in self.rung:
                self.wrongs.append(f"{now}: {session} is served before {other}, who was never rung")


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    agents=st.integers(1, 7),
    load=st.sampled_from([0.5, 0.9, 1.4]),
    refusing=st.sampled_from([0.0, 0.1, 0.5]),
    strategy=st.sampled_from(["longest_idle", "ring_all"]),
    breaks=st.booleans(),
)
def test_nobody_is_overtaken_but_by_refusals(
    seed: int, agents: int, load: float, refusing: float, strategy: Strategy, breaks: bool
) -> None:
    """In any hour: of equal priority and equal skills, the first to come is the first to be offered."""
    day = Day(seed, agents=agents, load=load, refusing=refusing, hours=1.0, strategy=strategy, breaks=breaks)
    day.run()
    assert day.wrongs == []
    assert day.line == {}


@pytest.mark.parametrize("strategy", ["longest_idle", "ring_all"])
def test_a_whole_day_is_fair(strategy: Strategy) -> None:
    """Ten hours, ten agents, more work than they can do at times, declined and missed offers, breaks."""
    day = Day(7, agents=10, load=0.95, refusing=0.1, hours=10.0, strategy=strategy, breaks=True)
    day.run()
    assert day.wrongs == []
    assert day.served > 1000
    assert day.excused > 0
    assert not any(view.call or view.offer for view in map(day.acd.agent_view, day.acd.agents))


def test_agents_who_can_do_the_same_share_the_work() -> None:
    """Nobody has a tenth more or less than the mean, whoever talks long and whoever talks short."""
    day = Day(11, agents=8, load=0.8, refusing=0.0, hours=10.0, strategy="longest_idle", breaks=False)
    day.run()
    assert day.wrongs == []
    for group in (0, 1):
        shares = [day.shares[name] for number, name in enumerate(day.specs) if number % 2 == group]
        mean = sum(shares) / len(shares)
        assert mean > 100
        assert all(abs(share - mean) < 0.1 * mean for share in shares)


def test_with_equal_calls_the_work_goes_round() -> None:
    """Calls that come one at a time: after any number of them no agent has had two more than another."""
    names = [AgentId(f"agent{number}") for number in range(7)]
    acd = Acd([QueueSpec(CALLS, "voice")], [AgentSpec(name, name, (CALLS,)) for name in names])
    for name in names:
        acd.set_state(name, "ready", None, 0.0)
    shares: Counter[AgentId] = Counter(dict.fromkeys(names, 0))
    for number in range(100):
        session, now = SessionId(f"s{number}"), 10.0 * number
        acd.join(session, CALLS, "voice", now, 1, (), now)
        who = acd.ringing(session)
        assert who is not None
        acd.accept(who, session, "voice", now + 1.0)
        acd.release(who, session, "voice", wrap_up=False, now=now + 2.0)
        shares[who] += 1
        assert max(shares.values()) - min(shares.values()) <= 1
