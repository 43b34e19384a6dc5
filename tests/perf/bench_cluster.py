"""What it costs to share: entries of the log, questions to another node, leases; on Redis, against one node alone.

    python tests/perf/bench_cluster.py [--entries 5000] [--leases 5000]

This node is held to the first core; Redis and a second node, in a process of its own that applies every entry too, to the
second. The copies do nothing but count, so this is the price of the way alone. *Alone* is the same asked of the cluster inside
one process, in the same run. Prints figures, never fails on them.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import uvloop

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bridge.cluster import Entry, NodeId  # noqa: E402
from bridge.cluster.memory import Hub, MemoryCluster  # noqa: E402
from bridge.cluster.redis import RedisCluster, connect  # noqa: E402
from tests.redis_server import RedisServer  # noqa: E402

OTHER = NodeId("other")
BODY = b'{"op":"JoinLine","session":"s_0123456789abcdef","queue":"support","channel":"voice","waiting_since":1700000000.125}' * 3
"""About as large as what a step of a session makes."""
LEASE = 10.0


class Count:
    """A copy that counts."""

    def __init__(self) -> None:
        self.entries = 0

    def apply(self, _: Entry) -> int:
        """One more."""
        self.entries += 1
        return self.entries

    def dump(self) -> bytes:
        """How many."""
        return b"%d" % self.entries

    def load(self, snapshot: bytes) -> None:
        """So many."""
        self.entries = int(snapshot)

    def refounded(self) -> None:
        """Go on."""


async def nothing() -> None:
    """A founder with nothing to begin with."""


async def echo(_: NodeId, question: bytes) -> bytes:
    """An answer that costs nothing."""
    return question


async def be_other(url: str) -> None:
    """The second node, until this process is stopped."""
    async with RedisCluster(OTHER, connect(url)) as cluster:
        cluster.answer(echo)
        async with cluster.joined(Count(), founder=nothing):
            print("here", flush=True)
            await asyncio.get_running_loop().create_future()


@contextmanager
def other(url: str) -> Iterator[None]:
    """The second node, on the second core."""
    with subprocess.Popen([sys.executable, __file__, "--other", url], stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == b"here"
            yield
        finally:
            process.kill()


@asynccontextmanager
async def on_redis(url: str) -> AsyncIterator[tuple[RedisCluster, NodeId]]:
    """This node and the other."""
    async with RedisCluster(NodeId("this"), connect(url)) as cluster, cluster.joined(Count(), founder=nothing):
        with other(url):
            yield cluster, OTHER


@asynccontextmanager
async def alone() -> AsyncIterator[tuple[MemoryCluster, NodeId]]:
    """This node, which asks itself."""
    async with MemoryCluster(NodeId("main"), Hub()) as cluster, cluster.joined(Count(), founder=nothing):
        cluster.answer(echo)
        yield cluster, cluster.node


async def timed(ask: Callable[[], Awaitable[Any]], times: int, at_once: int) -> tuple[float, float, float]:
    """How many a second, and the middle and the slowest hundredth of the milliseconds that one takes."""
    took, turns = list[float](), iter(range(times))

    async def work() -> None:
        for _ in turns:
            began = time.perf_counter()
            await ask()
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    rate = times / (time.perf_counter() - began)
    took.sort()
    return rate, 1000 * took[len(took) // 2], 1000 * took[int(len(took) * 0.99)]


async def measure(name: str, cluster: Any, asked: NodeId, entries: int, leases: int) -> dict[str, float]:
    """One cluster; prints a line for each thing, and gives what is compared."""

    async def append() -> None:
        await cluster.append(BODY)

    async def ask() -> None:
        await cluster.ask(asked, BODY, timeout=10.0)

    rates = {}
    for what, do, at_once in (("append", append, 1), ("append", append, 64), ("ask", ask, 1), ("ask", ask, 64)):
        await timed(do, 100, at_once)
        used = time.process_time()
        rate, p50, p99 = await timed(do, entries if at_once > 1 else entries // 4, at_once)
        cpu = 1e6 * (time.process_time() - used) / (entries if at_once > 1 else entries // 4)
        rates[f"{what} {at_once}"] = rate
        print(f"{name:<8}{what:<10}{at_once:>8}{rate:>12.0f}{p50:>10.3f}{p99:>10.3f}{cpu:>10.0f}", flush=True)
    held = [await cluster.acquire(f"session{number}", LEASE) for number in range(leases)]
    used, began = time.process_time(), time.perf_counter()
    void = await cluster.renew_all(held, LEASE)
    rate = leases / (time.perf_counter() - began)
    assert not void
    cpu = 1e6 * (time.process_time() - used) / leases
    print(f"{name:<8}{'renew':<10}{leases:>8}{rate:>12.0f}{'':>20}{cpu:>10.0f}", flush=True)
    rates["renew"] = rate
    return rates


async def compare(url: str, entries: int, leases: int) -> None:
    """Both."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {0})
    print(f"{'':<8}{'':<10}{'at once':>8}{'per second':>12}{'p50 ms':>10}{'p99 ms':>10}{'CPU us':>10}")
    async with on_redis(url) as (cluster, asked):
        shared = await measure("redis", cluster, asked, entries, leases)
    async with alone() as (memory, asked):
        own = await measure("alone", memory, asked, entries, leases)
    ratios = ", ".join(f"{what} {own[what] / rate:.0f}" for what, rate in shared.items())
    print(f"alone is so many times as fast: {ratios}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=5000)
    parser.add_argument("--leases", type=int, default=5000)
    parser.add_argument("--other", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})  # inherited by Redis and the other node
    if options.other:
        uvloop.run(be_other(options.other))
        return
    with tempfile.TemporaryDirectory(prefix="sidetone-bench-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            uvloop.run(compare(server.url, options.entries, options.leases))
        finally:
            server.stop(signal.SIGTERM)


if __name__ == "__main__":
    main()
