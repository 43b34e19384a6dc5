"""How many signed inbound texts a second the web side takes on one core, each on disk before it is acknowledged.

    python -m tests.perf.bench_webhooks [--seconds 5] [--connections 32]

The server runs in a process of its own: signature check, parsing, the journal on SQLite with fsync, the empty answer. The
last line compares with `/healthz` on the same server in the same run, which costs the HTTP library alone. Prints figures,
never fails on them.
"""

import argparse
import asyncio
import logging
import multiprocessing
import resource
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

import msgspec
import structlog
import uvloop
from prometheus_client import CollectorRegistry

from bridge.events import MessageId, ProviderRef
from bridge.journal import Journal
from bridge.journal.rows import InboundRow
from bridge.web.server import TwilioConfig, WebConfig, make_app, serving
from sms.message import DeliveryReport, InboundText
from sms.providers.twilio import sign
from tests.unit.web.fakes import FakeDesk, FakeRecords

PUBLIC_URL, TOKEN, ACCOUNT = "https://calls.example", "token", "AC" + "0" * 32
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: calls.example\r\n\r\n"


class JournalIntake:
    """Keeps texts as the server does, and does nothing more with them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def text_arrived(self, text: InboundText) -> bool:
        row = InboundRow(
            provider=text.provider,
            ref=ProviderRef(text.ref),
            raw=msgspec.json.encode(text),
            received_at=text.received_at,
            message=MessageId(f"in-{text.ref}"),
        )
        return await self._journal.spool_inbound(row)

    async def text_reported(self, report: DeliveryReport) -> None:
        """Not measured here."""


async def serve(pipe: Connection, folder: str) -> None:
    """The server's process: say the port, serve until told to stop, say what it cost."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    twilio = TwilioConfig(auth_tokens=(TOKEN,), accounts=frozenset({ACCOUNT}))
    config = WebConfig(prompts=Path(folder), public_url=PUBLIC_URL, twilio=twilio)
    async with Journal.open(f"sqlite:///{folder}/bench.db") as journal:
        app = make_app(FakeDesk(0.0), JournalIntake(journal), FakeRecords(), None, config, registry=CollectorRegistry())
        async with serving(app, "127.0.0.1", 0) as port:
            pipe.send(port)
            loop = asyncio.get_running_loop()
            while await loop.run_in_executor(None, pipe.recv) != "stop":
                usage = resource.getrusage(resource.RUSAGE_SELF)
                pipe.send(usage.ru_utime + usage.ru_stime)


def run_server(pipe: Connection, folder: str) -> None:
    uvloop.run(serve(pipe, folder))


def webhook(number: int) -> bytes:
    """One signed inbound text, ready for the wire."""
    fields = (
        ("MessageSid", f"SM{number:032x}"),
        ("AccountSid", ACCOUNT),
        ("From", f"+1555010{number % 10_000:04d}"),
        ("To", "+15550100200"),
        ("Body", "My router blinks red since this morning, and the telephone is silent too."),
        ("NumMedia", "0"),
        ("NumSegments", "1"),
        ("FromCity", ""),
        ("FromCountry", "US"),
        ("ApiVersion", "2010-04-01"),
    )
    body = urlencode(fields).encode()
    head = (
        "POST /twilio/sms HTTP/1.1\r\nHost: calls.example\r\nContent-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n"
        f"X-Twilio-Signature: {sign(TOKEN.encode(), PUBLIC_URL + '/twilio/sms', fields)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def load(port: int, seconds: float, connections: int, request: Callable[[], bytes]) -> tuple[float, list[float]]:
    """(requests a second, the time of each in seconds), each connection waiting for its own answer."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < end:
            writer.write(request())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            times.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    return len(times) / (time.perf_counter() - began), sorted(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=32)
    arguments = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    with TemporaryDirectory() as folder:
        server = multiprocessing.get_context("spawn").Process(target=run_server, args=(theirs, folder))
        server.start()
        port = ours.recv()
        ready = iter([webhook(number) for number in range(int(arguments.seconds * 6000))])
        print(f"{'request':<14}{'per second':>12}{'p50 ms':>10}{'p99 ms':>10}{'server CPU':>12}")
        rates = []
        for name, request in (("/healthz", lambda: HEALTH), ("/twilio/sms", lambda: next(ready))):
            ours.send("usage")
            before = ours.recv()
            began = time.perf_counter()
            rate, times = uvloop.run(load(port, arguments.seconds, arguments.connections, request))
            took = time.perf_counter() - began
            ours.send("usage")
            share = (ours.recv() - before) / took
            rates.append(rate)
            p50, p99 = (1000 * times[int(len(times) * share_of)] for share_of in (0.50, 0.99))
            print(f"{name:<14}{rate:>12.0f}{p50:>10.1f}{p99:>10.1f}{share:>12.0%}")
        ours.send("stop")
        server.join()
    print(f"a text costs {rates[0] / rates[1]:.1f} times an empty request of the same server")


if __name__ == "__main__":
    main()
