"""What it costs that the floor changes by ops, and how long a copy of it takes.

    python tests/perf/bench_floor.py [--waiting 10000] [--agents 1000] [--queues 10]

The same callers join and leave the same lines three times: by calling the lines, as an op, and as an op that comes as JSON, as
it does from another node. Then the whole floor is written down and read again. Prints figures, never fails on them.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bridge.events import QueueId, SessionId  # noqa: E402
from bridge.floor import Floor  # noqa: E402
from bridge.floor_ops import AssignWork, JoinLine, LeaveLine, Op, SetAgentState  # noqa: E402
from bridge.settings import Settings  # noqa: E402

TIMES = 2000
COPIES = 5
_JSON = msgspec.json.Decoder(Op)


def settings(agents: int, queues: int) -> Settings:
    """Everybody works on three queues of calls."""
    names = [f"queue{number}" for number in range(queues)]
    people = [
        {
            "id": f"agent{number}",
            "name": f"Agent {number}",
            "queues": list(dict.fromkeys(names[(number + step) % queues] for step in range(3))),
            "skills": [f"billing={1 + number % 9}"],
        }
        for number in range(agents)
    ]
    return Settings.model_validate({"data": Path("unused"), "queues": [{"id": name} for name in names], "agents": people})


def full(its: Settings, waiting: int) -> Floor:
    """Everybody is busy, and so many wait."""
    floor, now = Floor(its, now=0.0), 1000.0
    for number, agent in enumerate(floor.acd.agents):
        floor.apply(SetAgentState(agent, "ready"), now)
        queue = floor.acd.agent_spec(agent).queues[0]
        floor.apply(AssignWork(agent, SessionId(f"served{number}"), "voice", queue), now)
    for number in range(waiting):
        now += 0.1
        queue = floor.acd.queues[number % len(its.queues)]
        floor.apply(JoinLine(SessionId(f"waits{number}"), queue, "voice", now, 1), now)
    return floor


def timed(act: Callable[[], Any], times: int = TIMES) -> float:
    """Median, in microseconds."""
    took = []
    for _ in range(times):
        begin = time.perf_counter()
        act()
        took.append((time.perf_counter() - begin) * 1e6)
    return statistics.median(took)


def joining(floor: Floor) -> tuple[float, float, float]:
    """Joining and leaving a line: by call, by op, by JSON."""
    session, queue, now = SessionId("another"), QueueId("queue0"), floor.at + 1.0
    join, leave = JoinLine(session, queue, "voice", now, 1), LeaveLine(session, "voice", "closed")

    def by_call() -> None:
        floor.acd.join(session, queue, "voice", now, 1, (), now)
        floor.acd.leave(session, "voice", "closed", now)

    def by_op() -> None:
        floor.apply(join, now)
        floor.apply(leave, now)

    def by_json() -> None:
        floor.apply(_JSON.decode(msgspec.json.encode(join)), now)
        floor.apply(_JSON.decode(msgspec.json.encode(leave)), now)

    return timed(by_call), timed(by_op), timed(by_json)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--waiting", type=int, default=10_000)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--queues", type=int, default=10)
    options = parser.parse_args()
    its = settings(options.agents, options.queues)
    floor = full(its, options.waiting)
    call, op, json = joining(floor)
    print(f"{options.waiting} waiting, {options.agents} agents, {options.queues} queues")
    print(f"{'join a line and leave it':38}{'microseconds':>14}{'ratio':>8}")
    for name, took in (("called directly", call), ("as two ops", op), ("as two ops that come as JSON", json)):
        print(f"{name:38}{took:14.1f}{took / call:8.2f}")
    dumped, copy = floor.dump(), Floor(its, now=0.0)
    wrote, read = timed(floor.dump, COPIES) / 1e3, timed(lambda: copy.load(dumped), COPIES) / 1e3
    print(f"the whole floor: {len(dumped) / 1e6:.1f} MB, written down in {wrote:.0f} ms, read in {read:.0f} ms")
    assert copy.dump() == dumped


if __name__ == "__main__":
    main()
