"""What estimates of the wait cost, and whether a day of a thousand queues leaves anything behind.

    python tests/perf/bench_ewt.py [--queues 1000] [--hours 24] [--seconds 120]

Microseconds are medians and 90th percentiles, so that what else the machine does counts little. The soak plays so many hours of
traffic, with agents of three queues each who come and go, and stops after so many seconds of real time; objects and memory are
counted when every queue has been busy for a simulated hour, and at the end. Prints figures, never fails on them.
"""

import argparse
import gc
import heapq
import random
import statistics
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from ewt.estimator import Estimator, QueueSpec  # noqa: E402
from ewt.forecast import Forecast  # noqa: E402

AGENTS = 8
"""Of each queue; they work the next two queues as well."""
HANDLE = 240.0
PATIENCE = 300.0


class Centre:
    """Many queues of which every one is a little too busy; tells an estimator, and measures how long it takes."""

    def __init__(self, queues: int) -> None:
        self.chance = random.Random(7)
        self.names = [f"queue{n}" for n in range(queues)]
        self.estimator = Estimator(QueueSpec(name) for name in self.names)
        self.took: dict[str, list[float]] = defaultdict(list)
        self.now, self.contacts = 0.0, 0
        self.lines: dict[str, deque[str]] = {name: deque() for name in self.names}
        self.waiting: set[str] = set()
        self.events: list[tuple[float, int, str, str, str]] = []
        self.works = {
            f"agent{n}": [self.names[(n // AGENTS + step) % queues] for step in range(min(3, queues))]
            for n in range(queues * AGENTS)
        }
        self.idle: set[str] = set()
        for agent in self.works:
            self.login(agent)
        for name in self.names:
            self.later(self.chance.expovariate(1.05 * AGENTS / HANDLE), "comes", name)

    def later(self, after: float, what: str, who: str, where: str = "") -> None:
        self.contacts += 1
        heapq.heappush(self.events, (self.now + after, self.contacts, what, who, where))

    def timed(self, what: str, call: Callable[[], object]) -> None:
        begin = time.perf_counter()
        call()
        if len(self.took[what]) < 100_000:
            self.took[what].append(time.perf_counter() - begin)

    def login(self, agent: str) -> None:
        self.timed("log-in", lambda: self.estimator.login(self.now, agent, self.works[agent], 3))
        self.free(agent)

    def free(self, agent: str) -> None:
        self.estimator.capacity(self.now, agent, 1, 0)
        for name in self.works[agent]:
            line = self.lines[name]
            while line and line[0] not in self.waiting:
                line.popleft()
            if line:
                self.take(line.popleft(), agent)
                return
        self.idle.add(agent)

    def take(self, contact: str, agent: str) -> None:
        self.waiting.discard(contact)
        self.idle.discard(agent)
        self.timed("start", lambda: self.estimator.started(self.now, contact, agent))
        self.timed("capacity", lambda: self.estimator.capacity(self.now, agent, 0, 0))
        self.later(self.chance.expovariate(1.0 / HANDLE), "ends", contact, agent)

    def step(self) -> None:
        """The next thing that happens."""
        self.now, number, what, who, where = heapq.heappop(self.events)
        if what == "comes":
            contact = f"contact{number}"
            self.timed("join", lambda: self.estimator.joined(self.now, contact, who, 1))
            self.waiting.add(contact)
            agent = next((agent for agent in self.agents_of(who) if agent in self.idle), None)
            if agent is not None:
                self.take(contact, agent)
            else:
                self.lines[who].append(contact)
                self.later(self.chance.expovariate(1.0 / PATIENCE), "hangs up", contact)
            self.later(self.chance.expovariate(1.05 * AGENTS / HANDLE), "comes", who)
        elif what == "hangs up" and who in self.waiting:
            self.waiting.discard(who)
            self.timed("hang-up", lambda: self.estimator.abandoned(self.now, who))
        elif what == "ends":
            self.timed("end", lambda: self.estimator.ended(self.now, who, where))
            if self.chance.random() < 0.02:
                self.timed("log-out", lambda: self.estimator.logout(self.now, where))
                self.later(600.0, "back", where)
            else:
                self.free(where)
        elif what == "back":
            self.login(who)

    def agents_of(self, name: str) -> list[str]:
        first = self.names.index(name) if len(self.names) < AGENTS else int(name.removeprefix("queue"))
        return [
            f"agent{((first - step) % len(self.names)) * AGENTS + n}"
            for step in range(min(3, len(self.names)))
            for n in range(AGENTS)
        ]


def estimates() -> None:
    """One estimate by the length of the line."""
    print(f"{'microseconds by length of the line':40}{'newcomer':>10}{'in line':>10}")
    for length in (0, 10, 100, 1000, 10_000):
        estimator = Estimator([QueueSpec("queue")])
        for agent in range(AGENTS):
            estimator.login(0.0, f"agent{agent}", ["queue"], 1)
        for contact in range(length):
            estimator.joined(contact * 0.01, f"contact{contact}", "queue", contact % 3)
        now, middle = length * 0.01 + 1.0, f"contact{length // 2}"
        newcomer = _median(lambda estimator=estimator, now=now: estimator.forecast(now, "queue"))  # type: ignore[misc]
        in_line = _median(lambda estimator=estimator, now=now, middle=middle: estimator.forecast_waiting(now, middle))  # type: ignore[misc]
        print(f"{length:40}{newcomer:10.1f}{in_line:10.1f}")


def _median(call: Callable[[], Forecast]) -> float:
    took = []
    for _ in range(2000):
        begin = time.perf_counter()
        call()
        took.append(time.perf_counter() - begin)
    return statistics.median(took) * 1e6


def sweep(centre: Centre) -> float:
    """Milliseconds for an estimate of every queue; the best of five."""
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        for name in centre.names:
            centre.estimator.forecast(centre.now, name)
        best = min(best, time.perf_counter() - begin)
    return best * 1e3


def soak(queues: int, hours: float, seconds: float) -> None:
    """Hours of traffic, and what is left of it."""
    centre, begin, events = Centre(queues), time.perf_counter(), 0
    counted: tuple[float, int, int] | None = None
    while centre.now < hours * 3600.0 and time.perf_counter() - begin < seconds:
        centre.step()
        events += 1
        if counted is None and centre.now >= 3600.0:
            counted = (centre.now, *size(centre.estimator))
    print(f"\n{queues} queues, {queues * AGENTS} agents, {events} things that happened in {centre.now / 3600:.1f} hours")
    print(f"{'microseconds':20}{'median':>10}{'90 %':>10}")
    for what, took in sorted(centre.took.items()):
        ordered = sorted(took)
        print(f"{what:20}{statistics.median(ordered) * 1e6:10.1f}{ordered[int(len(ordered) * 0.9)] * 1e6:10.1f}")
    print(f"all queues: {sweep(centre):.1f} ms; waiting now: {len(centre.waiting)}")
    if counted is not None:
        objects, characters = size(centre.estimator)
        print(f"objects held: {counted[1]} after {counted[0] / 3600:.1f} h, {objects} after {centre.now / 3600:.1f} h")
        print(f"saved state: {counted[2]} characters, then {characters}")


def size(estimator: Estimator) -> tuple[int, int]:
    """Objects that hang on the estimator, and the length of its saved state."""
    gc.collect()
    seen, left = set(), [estimator]
    while left:
        for other in gc.get_referents(left.pop()):
            if id(other) not in seen and not isinstance(other, type) and gc.is_tracked(other):
                seen.add(id(other))
                left.append(other)
    return len(seen), len(str(estimator.save()))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queues", type=int, default=1000)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--seconds", type=float, default=120.0, help="real time, at most")
    given = parser.parse_args()
    estimates()
    soak(given.queues, given.hours, given.seconds)


if __name__ == "__main__":
    main()
