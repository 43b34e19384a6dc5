"""What routing costs when the floor is full.

    python tests/perf/bench_acd.py [--waiting 10000] [--agents 1000] [--queues 10]

Everybody works on three queues, half of the callers ask for a skill, every queue has two steps by which more agents are
asked. Each row is one thing that happens a thousand times at most; the last column compares with the same on a floor of a
hundredth of the size, in the same run. Prints figures, never fails on them.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bridge.acd import Acd, AgentSpec, CascadeStep, PlaceInLine, QueueSpec, Seen, Strategy  # noqa: E402
from bridge.events import AgentId, QueueId, SessionId  # noqa: E402
from ewt.estimator import Estimator  # noqa: E402
from ewt.estimator import QueueSpec as Line  # noqa: E402

TIMES = 1000
SKILLS = ("lang:en", "lang:fr", "lang:es", "billing>=4", "technical")


class Floor:
    """A floor on which everybody is busy and many wait."""

    def __init__(self, waiting: int, agents: int, queues: int, *, strategy: Strategy = "longest_idle") -> None:
        self.chance = random.Random(5)
        steps = (CascadeStep(30.0, ("second",)), CascadeStep(90.0, level=1))
        names = [QueueId(f"queue{number}") for number in range(queues)]
        self.estimator = Estimator(Line(name) for name in names)
        self.acd = Acd(
            [QueueSpec(name, "voice", cascade=steps, wrap_up=0.0, strategy=strategy) for name in names],
            [
                AgentSpec(
                    AgentId(f"agent{number}"),
                    f"Agent {number}",
                    tuple(dict.fromkeys(names[(number + step) % queues] for step in range(3))),
                    skills=("lang:en", self.chance.choice(("lang:fr", "lang:es")), f"billing={1 + number % 9}"),
                    teams=("second",) if number % 4 == 0 else (),
                )
                for number in range(agents)
            ],
            self.estimator,
        )
        self.names, self.now, self.sessions = names, 1000.0, 0
        self.busy: list[tuple[AgentId, SessionId]] = []
        for agent in self.acd.agents:
            self.acd.set_state(agent, "ready", None, self.now)
            self.sessions += 1
            session = SessionId(f"s{self.sessions}")
            self.acd.assign(agent, session, "voice", self.acd.agent_spec(agent).queues[0], self.now)
            self.busy.append((agent, session))
        self.line = [self.join() for _ in range(waiting)]

    def join(self) -> SessionId:
        """One more in line."""
        self.sessions += 1
        self.now += 0.01
        session = SessionId(f"s{self.sessions}")
        skills = (self.chance.choice(SKILLS),) if self.chance.random() < 0.5 else ()
        priority = self.chance.choice((0, 1, 1, 1))
        self.acd.join(session, self.chance.choice(self.names), "voice", self.now, priority, skills, self.now)
        return session

    def leave(self) -> None:
        """Anybody hangs up."""
        self.acd.leave(self.line.pop(self.chance.randrange(len(self.line))), "voice", "abandoned", self.now)

    def serve(self) -> None:
        """A call ends, the next rings and is answered."""
        agent, session = self.busy.pop(self.chance.randrange(len(self.busy)))
        self.now += 0.1
        self.acd.release(agent, session, "voice", wrap_up=True, now=self.now)
        offer = self.acd.agent_view(agent).offer
        if offer is not None:
            self.acd.accept(agent, offer.session, "voice", self.now)
            self.busy.append((agent, offer.session))
        if len(self.busy) < len(self.acd.agents) // 2:
            raise AssertionError("nobody is left to serve")

    def wake(self) -> None:
        """The clock: what is due in the next tenth of a second."""
        self.now += 0.1
        self.acd.wake(self.now)

    def ask(self) -> None:
        """What a flow asks at every step: the place, and how every queue is."""
        self.acd.position(self.chance.choice(self.line), "voice")
        for name in self.names:
            self.acd.queue_view(name, self.now)

    def look_for_ghosts(self) -> None:
        """Compare all lines and desks with the sessions."""
        seen = [Seen(session, "voice", agent=agent) for agent, session in self.busy]
        seen += [
            Seen(session, "voice", place=PlaceInLine(name, 0.0)) for name in self.names for session in self.acd.waiting(name)
        ]
        self.acd.reconcile(seen, self.now)


@contextmanager
def rung_everywhere(agents: int) -> Iterator[Callable[[], Any]]:
    """One queue that rings everybody, with all agents idle: a caller joins and the last agent takes the call."""
    name = QueueId("all")
    names = [AgentId(f"agent{number}") for number in range(agents)]
    acd = Acd([QueueSpec(name, "voice", strategy="ring_all", wrap_up=0.0)], [AgentSpec(one, one, (name,)) for one in names])
    for one in names:
        acd.set_state(one, "ready", None, 0.0)
    clock = iter(range(1, 10**9))

    def once() -> None:
        now = float(next(clock))
        acd.join(SessionId("s"), name, "voice", now, 1, (), now)
        acd.accept(names[-1], SessionId("s"), "voice", now)
        acd.release(names[-1], SessionId("s"), "voice", wrap_up=False, now=now)

    yield once


def timed(act: Callable[[], Any], times: int) -> tuple[float, float]:
    """Median and 99th percentile, in microseconds."""
    took = []
    for _ in range(times):
        begin = time.perf_counter()
        act()
        took.append((time.perf_counter() - begin) * 1e6)
    return statistics.median(took), sorted(took)[int(len(took) * 0.99)]


def rows(waiting: int, agents: int, queues: int) -> dict[str, tuple[float, float]]:
    """Everything that is measured, by name."""
    floor = Floor(waiting, agents, queues)
    few = min(TIMES, waiting // 4)
    result = {
        "join the line": timed(floor.join, few),
        "leave the line": timed(floor.leave, few),
        "a call ends, the next is answered": timed(floor.serve, few),
        "the clock moves on 0.1 s": timed(floor.wake, few),
        "a flow asks for place and queues": timed(floor.ask, few),
        "ghosts are looked for": timed(floor.look_for_ghosts, 5),
    }
    with rung_everywhere(agents) as once:
        result["ring all idle agents, one answers"] = timed(once, 50)
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--waiting", type=int, default=10_000)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--queues", type=int, default=10)
    options = parser.parse_args()
    small = rows(max(40, options.waiting // 100), max(10, options.agents // 100), options.queues)
    print(f"{options.waiting} waiting, {options.agents} agents, {options.queues} queues; microseconds")
    print(f"{'':38}{'median':>10}{'p99':>10}{'to 1/100':>10}")
    for name, (median, p99) in rows(options.waiting, options.agents, options.queues).items():
        print(f"{name:38}{median:10.1f}{p99:10.1f}{median / small[name][0]:9.1f}x")


if __name__ == "__main__":
    main()
