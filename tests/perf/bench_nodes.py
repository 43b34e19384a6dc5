"""What it costs to be one of several nodes: the embedded server, one node on PostgreSQL and Redis, and two of them, in one run.

    python tests/perf/bench_nodes.py [--seconds 6] [--customers 32]

`sidetone serve` with real sockets, journals that wait for the disk, and everything on the machine's cores together: two nodes
share them with PostgreSQL, Redis and the load, so this shows the price of agreeing and not what a second machine gives.

- *texts/s*: each customer texts as soon as the last text was acknowledged, to the nodes by turns; counted until the last text has
  gone through its session.
- *latency*: twenty texts a second; from the moment before the webhook is posted to the moment in which the websocket of the
  agent's conversation has brought the text. With two nodes the desk is at one of them and the texts come to both by turns.

Prints figures, never fails on them.
"""

import argparse
import asyncio
import itertools
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
from sqlalchemy import create_engine, text

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bridge.journal.database import address  # noqa: E402
from sms.providers.twilio import sign  # noqa: E402
from sms.testing.twilio_server import ACCOUNT_SID, AUTH_TOKEN, TwilioServer  # noqa: E402
from tests.e2e.cluster import service  # noqa: E402
from tests.e2e.server import NUMBER, DeskClient, ServerProcess, agent, settings  # noqa: E402
from tests.postgres import Postgres, postgres  # noqa: E402

PER_SECOND = 20
PATIENCE = 120.0
_MARK = re.compile(r"mark-(\d+)-")


class Stage:
    """Nodes to text to, what signatures are made over, and their journal."""

    def __init__(self, nodes: Sequence[ServerProcess], public: str, journal: str) -> None:
        self.nodes = nodes
        self.public = public
        self.journal = journal
        self._turn = itertools.cycle(nodes)
        self._ids = itertools.count(1)

    async def text(self, http: aiohttp.ClientSession, customer: int, body: str) -> None:
        """One signed webhook, to the next node."""
        fields = (
            ("MessageSid", f"SM{next(self._ids):032x}"), ("NumMedia", "0"), ("Body", body), ("To", NUMBER),
            ("From", f"+1555010{customer:04d}"), ("AccountSid", ACCOUNT_SID),
        )  # fmt: skip
        headers = {
            "X-Twilio-Signature": sign(AUTH_TOKEN.encode(), f"{self.public}/twilio/sms", fields),
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
        }
        async with http.post(f"{next(self._turn).url}/twilio/sms", data=urlencode(fields), headers=headers) as answer:
            await answer.read()
            assert answer.status == 200, answer.status

    async def routed(self) -> None:
        """Wait until every text has gone through its session."""
        engine = create_engine(address(self.journal))
        try:
            async with asyncio.timeout(PATIENCE):
                while await asyncio.to_thread(_waiting, engine):  # noqa: ASYNC110  another process
                    await asyncio.sleep(0.02)
        finally:
            engine.dispose()


def _waiting(engine: Any) -> int:
    with engine.begin() as connection:
        return int(connection.execute(text("select count(*) from inbound where not handled")).scalar_one())


async def rate(stage: Stage, http: aiohttp.ClientSession, customers: int, seconds: float) -> float:
    """Texts a second, all through their sessions."""
    sent = 0
    began = time.perf_counter()

    async def write(customer: int) -> None:
        nonlocal sent
        while time.perf_counter() < began + seconds:
            await stage.text(http, customer, "My router blinks red since this morning, and the telephone is silent too.")
            sent += 1

    async with asyncio.TaskGroup() as tasks:
        for customer in range(customers):
            tasks.create_task(write(customer))
    await stage.routed()
    return sent / (time.perf_counter() - began)


async def latency(stage: Stage, http: aiohttp.ClientSession, seconds: float) -> list[float]:
    """Seconds from a text's webhook to the agent's conversation, sorted."""
    home = stage.nodes[-1].url
    posted: dict[int, float] = {}
    shown: dict[int, float] = {}

    async def listen(desk: DeskClient, session: str) -> None:
        async with desk.http.ws_connect(f"{home}/desk/{session}/ws", headers={"Origin": home}) as socket:
            async for message in socket:
                for found in _MARK.finditer(str(message.data)):
                    shown.setdefault(int(found[1]), time.perf_counter())

    async with DeskClient(home, "ana") as desk:
        await desk.sign_in()
        await desk.go("ready")
        await stage.text(http, 9999, "Hello?")
        async with asyncio.timeout(PATIENCE):
            while not desk.offers:
                await asyncio.sleep(0.1)
                await desk.read()
        session, channel = desk.offers[0]
        await desk.accept(session, channel)
        listening = asyncio.create_task(listen(desk, session))
        await asyncio.sleep(1.0)
        async with asyncio.TaskGroup() as tasks:
            for mark in range(int(seconds * PER_SECOND)):
                posted[mark] = time.perf_counter()
                tasks.create_task(stage.text(http, 9999, f"mark-{mark}-"))
                await asyncio.sleep(1 / PER_SECOND)
        async with asyncio.timeout(PATIENCE):
            while len(shown) < len(posted):  # noqa: ASYNC110  another process
                await asyncio.sleep(0.05)
        listening.cancel()
    return sorted(shown[mark] - at for mark, at in posted.items())


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Stage]:
    """One process, SQLite."""
    async with TwilioServer(opt_out="off") as twilio:
        config = settings(folder, twilio.url, [agent("ana", "support_sms")])
        async with ServerProcess(folder, config) as server:
            yield Stage([server], server.url, f"sqlite:///{server.database}")


@asynccontextmanager
async def clustered(folder: Path, database: Postgres, names: Sequence[str]) -> AsyncIterator[Stage]:
    """Nodes with PostgreSQL and Redis."""
    async with service(folder, database, agent("ana", "support_sms"), names=names) as it:
        yield Stage(list(it.nodes.values()), "http://front.example", it.journal)


async def row(name: str, stage: Stage, customers: int, seconds: float) -> tuple[float, float]:
    """Measure, and print a line of the table; returns texts a second and the median latency."""
    limits = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=limits) as http:
        times = await latency(stage, http, seconds)
        texts = await rate(stage, http, customers, seconds)
    p50, p99 = (1000 * times[min(int(len(times) * part), len(times) - 1)] for part in (0.50, 0.99))
    print(f"{name:<34}{texts:>10.0f}{p50:>12.1f}{p99:>12.1f}", flush=True)
    return texts, p50


async def measure(seconds: float, customers: int) -> None:
    """All three."""
    print(f"{'':<34}{'texts/s':>10}{'p50 ms':>12}{'p99 ms':>12}")
    with tempfile.TemporaryDirectory() as name, postgres(durable=True) as database:
        folders = [Path(name) / each for each in ("embedded", "one", "two")]
        for folder in folders:
            folder.mkdir()
        async with embedded(folders[0]) as stage:
            alone = await row("embedded (SQLite)", stage, customers, seconds)
        async with clustered(folders[1], database, ("a",)) as stage:
            one = await row("one node, PostgreSQL and Redis", stage, customers, seconds)
        async with clustered(folders[2], database, ("a", "b")) as stage:
            two = await row("two nodes, PostgreSQL and Redis", stage, customers, seconds)
    for what, (texts, p50), (of_texts, of_p50) in (("one node to embedded", one, alone), ("two nodes to one", two, one)):
        print(f"{what}: {texts / of_texts:.2f} times the texts, {p50 / of_p50:.1f} times the median latency")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--customers", type=int, default=32)
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.seconds, arguments.customers))


if __name__ == "__main__":
    main()
