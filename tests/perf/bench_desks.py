"""How soon an agent reads what a customer has written, with every desk of a large house open.

    python tests/perf/bench_desks.py [--desks 200] [--per-second 20] [--seconds 15] [--boards 2]

`sidetone serve` in a process of its own, one node. Every agent has the desk open as a browser has it: the page's websocket and
that of the conversation, with a chat in hand; some supervisors have boards open. Customers text at a steady rate. Of each text it
is measured how long it takes from the moment the webhook was answered (the text is on disk then) to the moment it is in the
conversation of the agent's page, and to the moment the list beside it shows it. The same process measures websocket pings
before and under load, which tells how much of it is the machine. Prints figures, never fails on them.
"""

import argparse
import asyncio
import itertools
import random
import re
import sys
import tempfile
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
import structlog
import uvloop

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from sms.providers.twilio import sign  # noqa: E402
from sms.testing.twilio_server import ACCOUNT_SID, AUTH_TOKEN, TwilioServer  # noqa: E402
from tests.e2e.server import NUMBER, DeskClient, ServerProcess, agent, free_port, settings  # noqa: E402

PATIENCE = 120.0
_MARK = re.compile(r"mark-(\d+)-")


class Customers:
    """Everybody who texts: one for each agent."""

    def __init__(self, server: ServerProcess, http: aiohttp.ClientSession) -> None:
        self._server = server
        self._http = http
        self._ids = itertools.count(1)
        self.accepted: dict[int, float] = {}
        """When the webhook of a text was answered, by its number."""

    async def text(self, customer: int, body: str, mark: int | None = None) -> None:
        """One signed webhook."""
        number = next(self._ids)
        fields = (
            ("MessageSid", f"SM{number:032x}"), ("NumMedia", "0"), ("Body", body), ("To", NUMBER),
            ("From", f"+1555010{customer:04d}"), ("AccountSid", ACCOUNT_SID),
        )  # fmt: skip
        url = f"{self._server.url}/twilio/sms"
        headers = {
            "X-Twilio-Signature": sign(AUTH_TOKEN.encode(), url, fields),
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
        }
        async with self._http.post(url, data=urlencode(fields), headers=headers) as answer:
            await answer.read()
            assert answer.status == 200, answer.status
            if mark is not None:
                self.accepted[mark] = time.perf_counter()


class Background:
    """What goes on beside the benchmark, until its end."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def create_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let *work* run."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Desk:
    """An agent's browser: both websockets, and when they brought which text."""

    def __init__(self, client: DeskClient, server: ServerProcess) -> None:
        self.client = client
        self._server = server
        self.session = ""
        self.read: dict[int, float] = {}
        self.listed: dict[int, float] = {}

    async def open(self, tasks: Background) -> None:
        """Sign in, and open the desk."""
        await self.client.sign_in()
        tasks.create_task(self._listen("/desk/ws", self.listed))

    async def begin(self, tasks: Background) -> None:
        """Open the conversation that has been given to this agent."""
        async with asyncio.timeout(PATIENCE):
            while not self.client.rows:
                await asyncio.sleep(0.2)
                await self.client.read()
        self.session = self.client.rows[0]
        tasks.create_task(self._listen(f"/desk/{self.session}/ws", self.read))

    async def _listen(self, path: str, into: dict[int, float]) -> None:
        async with self.client.http.ws_connect(f"{self._server.url}{path}", headers={"Origin": self._server.url}) as socket:
            async for message in socket:
                if isinstance(message.data, str):
                    now = time.perf_counter()
                    for found in _MARK.finditer(message.data):
                        into.setdefault(int(found[1]), now)


async def pings(client: DeskClient, server: ServerProcess, count: int = 40) -> list[float]:
    """Round trips of websocket pings (RFC 6455 section 5.5.2) through the server's loop, in seconds."""
    times = []
    async with client.http.ws_connect(f"{server.url}/desk/ws", headers={"Origin": server.url}, autoping=False) as socket:
        for _ in range(count):
            began = time.perf_counter()
            await socket.ping(b"now")
            while (await socket.receive(timeout=PATIENCE)).type is not aiohttp.WSMsgType.PONG:
                pass
            times.append(time.perf_counter() - began)
            await asyncio.sleep(0.05)
    return times


async def board(client: DeskClient, server: ServerProcess, name: str) -> None:
    """A supervisor looks."""
    url = f"{server.url}/supervisor/ws?board={name}"
    async with client.http.ws_connect(url, headers={"Origin": server.url}) as socket:
        async for _ in socket:
            pass


def row(name: str, times: list[float], idle: float) -> str:
    """One line of the table."""
    times = sorted(times)
    p50, p99 = times[len(times) // 2], times[min(len(times) - 1, len(times) * 99 // 100)]
    return f"{name:34} {len(times):6} {p50 * 1000:9.1f} {p99 * 1000:9.1f} {times[-1] * 1000:9.1f} {p99 / idle:9.1f}"


async def run(desks: int, per_second: float, seconds: float, boards: int) -> None:
    """Open everything, text, and print the table."""
    names = [f"agent{n}" for n in range(desks)]
    people = [agent(name, "support_sms", max_chats=1) | {"auto_answer": True} for name in names]
    people += [agent(f"boss{n}") | {"roles": ["supervisor"]} for n in range(boards)]
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        twilio = await stack.enter_async_context(TwilioServer(port=free_port()))
        server = ServerProcess(folder, settings(folder, twilio.url, people, log_level="warning"))
        await stack.enter_async_context(server)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)))
        customers = Customers(server, http)
        at_desks = [Desk(await stack.enter_async_context(DeskClient(server.url, name)), server) for name in names]
        bosses = [await stack.enter_async_context(DeskClient(server.url, f"boss{n}")) for n in range(boards)]
        tasks = await stack.enter_async_context(Background())
        for part in (at_desks[n : n + 10] for n in range(0, desks, 10)):
            await asyncio.gather(*(desk.open(tasks) for desk in part))
            await asyncio.gather(*(desk.client.go("ready") for desk in part))
        for customer in range(desks):
            await customers.text(customer, "Hello")
        await asyncio.gather(*(desk.begin(tasks) for desk in at_desks))
        for n, boss in enumerate(bosses):
            await boss.sign_in()
            tasks.create_task(board(boss, server, ("agents", "queues", "sessions")[n % 3]))
        await asyncio.sleep(3.0)  # the first pages are out of the way
        idle = await pings(at_desks[0].client, server)

        rng, sending = random.Random(1), []
        under_load = asyncio.create_task(pings(at_desks[1].client, server, int(seconds / 0.06)))
        began, total = time.perf_counter(), int(per_second * seconds)
        for mark in range(total):
            await asyncio.sleep(max(0.0, began + mark / per_second - time.perf_counter()))
            sending.append(tasks.create_task(customers.text(rng.randrange(desks), f"mark-{mark}- My router blinks red", mark)))
        await asyncio.gather(*sending)
        took = time.perf_counter() - began
        busy = await under_load
        async with asyncio.timeout(PATIENCE):
            while sum(len(desk.read) for desk in at_desks) < total:  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.1)
        read, listed = ({m: at for desk in at_desks for m, at in getattr(desk, name).items()} for name in ("read", "listed"))
        ping = sorted(idle)[len(idle) // 2]
        print(f"{desks} desks, {boards} boards, {total / took:.0f} texts a second for {took:.0f} s")
        print(f"{'milliseconds':34} {'n':>6} {'p50':>9} {'p99':>9} {'most':>9} {'p99/ping':>9}")
        print(row("ping before", idle, ping))
        print(row("ping under load", busy, ping))
        print(row("accepted to read in the chat", [max(0.0, at - customers.accepted[m]) for m, at in read.items()], ping))
        print(row("accepted to seen in the list", [max(0.0, at - customers.accepted[m]) for m, at in listed.items()], ping))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--desks", type=int, default=200)
    parser.add_argument("--per-second", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--boards", type=int, default=2)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    uvloop.run(run(arguments.desks, arguments.per_second, arguments.seconds, arguments.boards))


if __name__ == "__main__":
    main()
