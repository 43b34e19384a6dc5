"""How many signed webhooks a second the real process takes on one core, each on disk before it is acknowledged.

    python tests/perf/bench_webhooks.py [--seconds 4] [--connections 1 8 64] [--per-second 1000] [--postgres]

`sidetone serve` with its settings as shipped is held to the first core, the load to the second. Texts come into conversations
that are open: signature, parsing, the spool on disk with fsync, the empty answer; and behind the answer, on the same
core, each text goes through its session and into the journal a second time. Reports are delivery reports of texts that
were sent. The baseline is an aiohttp handler on uvloop that reads the body and does nothing, measured in the same run by
the same load; it outruns the load, so compare its processor time, not its rate. Prints figures, never fails on them.
"""

import argparse
import asyncio
import itertools
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import structlog
import uvloop
from sqlalchemy import NullPool, create_engine

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from sms.providers.twilio import sign  # noqa: E402
from sms.testing.twilio_server import ACCOUNT_SID, AUTH_TOKEN, TwilioServer  # noqa: E402
from tests.e2e.server import NUMBER, ServerProcess, agent, settings  # noqa: E402
from tests.postgres import postgres  # noqa: E402

BARE = """
import asyncio, sys, uvloop
from aiohttp import web
async def nothing(request):
    await request.read()
    return web.Response(text="")
async def main():
    app = web.Application()
    app.add_routes([web.post("/twilio/sms", nothing)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()
uvloop.run(main())
"""
BODY = "My router blinks red since this morning, and the telephone is silent too."


def pin(process: int, core: int) -> None:
    """Hold every thread of a process to one core, where there are two."""
    if (os.cpu_count() or 1) > 1:
        for thread in Path(f"/proc/{process}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})


def cpu(process: int) -> float:
    """Seconds of processor time a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def signed(base: str, path: str, fields: tuple[tuple[str, str], ...]) -> bytes:
    """A webhook, ready for the wire."""
    body = urlencode(fields).encode()
    signature = sign(AUTH_TOKEN.encode(), base + path, fields)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {base.removeprefix('http://')}\r\n"
        "Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n"
        f"X-Twilio-Signature: {signature}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def text(base: str, number: int, senders: int) -> bytes:
    """One inbound text of one of so many senders."""
    fields = (
        ("ToCountry", "US"), ("ToState", ""), ("ToCity", ""), ("ToZip", ""), ("FromCountry", "US"), ("FromState", ""),
        ("FromCity", ""), ("FromZip", ""), ("SmsMessageSid", f"SM{number:032x}"), ("SmsSid", f"SM{number:032x}"),
        ("MessageSid", f"SM{number:032x}"), ("NumMedia", "0"), ("NumSegments", "1"), ("SmsStatus", "received"),
        ("Body", BODY), ("To", NUMBER), ("From", f"+1555010{number % senders:04d}"), ("AccountSid", ACCOUNT_SID),
        ("ApiVersion", "2010-04-01"),
    )  # fmt: skip
    return signed(base, "/twilio/sms", fields)


def report(base: str, sid: str, message: str, state: str) -> bytes:
    """One delivery report."""
    fields = (
        ("SmsSid", sid), ("SmsStatus", state), ("MessageSid", sid), ("MessageStatus", state), ("To", "+15550100000"),
        ("From", NUMBER), ("AccountSid", ACCOUNT_SID), ("ApiVersion", "2010-04-01"),
    )  # fmt: skip
    return signed(base, f"/twilio/sms/status?message={message}", fields)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    """One request and its answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 20"):
        raise RuntimeError(head.decode())
    length = re.search(rb"content-length: (\d+)", head.lower())
    if length is not None:
        await reader.readexactly(int(length[1]))


async def load(port: int, seconds: float, connections: int, request: Callable[[], bytes]) -> tuple[float, list[float]]:
    """(requests a second, the time of each in seconds), each connection waiting for its own answer."""
    times: list[float] = []

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (sent := time.perf_counter()) < end:
            await ask(reader, writer, request())
            times.append(time.perf_counter() - sent)
        writer.close()

    began = time.perf_counter()
    end = began + seconds
    await asyncio.gather(*(one() for _ in range(connections)))
    return len(times) / (time.perf_counter() - began), sorted(times)


async def arrive(port: int, seconds: float, per_second: float, request: Callable[[], bytes]) -> tuple[float, list[float]]:
    """The same for requests that come when they come, whether the ones before are answered or not.

    The time of each is counted from the moment it should have been sent, so a stall is counted in all that it held up.
    """
    times: list[float] = []
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    chance = random.Random(1)

    async def one(due: float) -> None:
        connection = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        await ask(*connection, request())
        times.append(time.perf_counter() - due)
        idle.append(connection)

    due = began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        while due < began + seconds:
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.create_task(one(due))
            due += chance.expovariate(per_second)
    for _, writer in idle:
        writer.close()
    return len(times) / (time.perf_counter() - began), sorted(times)


async def row(name: str, process: int, crowd: float, loading: Awaitable[tuple[float, list[float]]]) -> float:
    """Measure one line of the table and print it; returns the seconds of processor time that one request took."""
    before = cpu(process)
    rate, times = await loading
    each = (cpu(process) - before) / len(times)
    p50, p99, worst = (1000 * times[min(int(len(times) * part), len(times) - 1)] for part in (0.50, 0.99, 1.0))
    load = f"{crowd} at once" if isinstance(crowd, int) else f"{crowd:.0f}/s"
    print(f"{name:<22}{load:>11}{rate:>12.0f}{p50:>10.1f}{p99:>10.1f}{worst:>10.1f}{1e6 * each:>14.0f}", flush=True)
    return each


@contextmanager
def bare() -> Iterator[tuple[int, int]]:
    """The handler that does nothing: its process and port."""
    with subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        pin(process.pid, 0)
        try:
            yield process.pid, port
        finally:
            process.kill()


async def measure(folder: Path, seconds: float, connections: list[int], per_second: float, journal: str | None) -> None:
    """All of it, on the journal at an address; None: the one in a file."""
    pin(os.getpid(), 1)
    senders = max(connections)
    with bare() as (process, port):
        # The same bytes; the answer is the same whatever they say.
        baseline = {
            crowd: await row(
                "nothing (aiohttp)", process, crowd, load(port, seconds, crowd, lambda: text("http://127.0.0.1", 0, 1))
            )
            for crowd in connections
        }
    async with TwilioServer(opt_out="off", latency=0.01) as twilio:
        more = {} if journal is None else {"journal": {"url": journal}}
        config = settings(folder, twilio.url, [agent("ana", "support_sms")], **more)
        async with ServerProcess(folder, config) as server:
            pin(server.pid, 0)
            port = config["web"]["port"]
            database = journal or f"sqlite:///file:{server.database}?mode=ro&uri=true"
            numbers = itertools.count()
            await load(port, 1.0, senders, lambda: text(server.url, next(numbers), senders))  # opens the conversations
            await routed(database)
            texts = {}

            def ready(count: float) -> Callable[[], bytes]:
                return partial(next, iter([text(server.url, next(numbers), senders) for _ in range(int(count))]))

            for crowd in connections:
                requests = ready(seconds * 8000)
                texts[crowd] = await row("inbound text", server.pid, crowd, load(port, seconds, crowd, requests))
                print(f"{'':<22}all of them through their sessions {await routed(database):.1f} s later")
            requests = ready(seconds * per_second * 2)
            await row("inbound text", server.pid, per_second, arrive(port, seconds, per_second, requests))
            print(f"{'':<22}all of them through their sessions {await routed(database):.1f} s later")
            sent = ask_database(
                database, "select provider_ref, id from message where direction = 'out' and provider_ref is not null"
            )
            reports = itertools.cycle([report(server.url, sid, message, "delivered") for sid, message in sent])
            for crowd in connections:
                await row("delivery report", server.pid, crowd, load(port, seconds, crowd, partial(next, reports)))
            await row("delivery report", server.pid, per_second, arrive(port, seconds, per_second, partial(next, reports)))
    crowd = max(connections)
    print(f"a text costs {texts[crowd] / baseline[crowd]:.1f} times the processor time of a request that does nothing")


def ask_database(url: str, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query, through a connection of our own."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return [tuple(found) for found in connection.exec_driver_sql(query)]


async def routed(database: str) -> float:
    """Wait until every text that was kept has been through its session; returns the seconds that took."""
    began = time.perf_counter()
    while ask_database(database, "select count(*) from inbound where not handled") != [(0,)]:  # noqa: ASYNC110 - in another process
        await asyncio.sleep(0.1)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--per-second", type=float, default=1000.0, help="of the rows whose requests come when they come")
    parser.add_argument("--postgres", action="store_true", help="keep the journal in a PostgreSQL server, which is started")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    print(f"{'request':<22}{'load':>11}{'per second':>12}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}{'CPU us each':>14}")
    server = postgres(durable=True) if arguments.postgres else nullcontext()
    with tempfile.TemporaryDirectory(prefix="sidetone-") as folder, server as database:
        journal = None if database is None else database.database()
        uvloop.run(measure(Path(folder), arguments.seconds, arguments.connections, arguments.per_second, journal))


if __name__ == "__main__":
    main()
