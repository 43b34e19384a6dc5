"""How many texts a second leave: claimed, handed to a Twilio-shaped server, their outcome on disk.

    python tests/perf/bench_outbox.py [--texts 4000] [--recipients 2000] [--postgres]

The outbox, its journal and the client are held to the first core, the Twilio-shaped server to the second; nothing limits the
senders. Every text is claimed before it goes and settled after it (two transactions, shared by those that wait together), and
texts to one recipient go one after the other. The baseline is the same client sending as many texts with no journal behind it,
in the same run. Prints figures, never fails on them.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import structlog
import uvloop

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bridge.events import MessageId, SessionId  # noqa: E402
from bridge.journal import Journal, MessageRow, OutboxRow, Unit  # noqa: E402
from bridge.ledger import write_text  # noqa: E402
from bridge.outbox import Outbox, Outcome  # noqa: E402
from sms.message import OutboundText  # noqa: E402
from sms.provider import Accepted  # noqa: E402
from sms.providers.twilio import TwilioSms  # noqa: E402
from sms.testing.twilio_server import ACCOUNT_SID, AUTH_TOKEN  # noqa: E402
from tests.postgres import postgres  # noqa: E402

US = "+15550100200"
AT_ONCE = 64
"""Requests at one time, without the journal."""


@contextmanager
def twilio() -> Iterator[str]:
    """The server in a process of its own, on the second core; its address."""
    command = [sys.executable, "-m", "sms.testing.twilio_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        if (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(process.pid, {1})
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def recipient(number: int) -> str:
    """One of so many."""
    return f"+1555{number:07d}"


async def bare(provider: TwilioSms, texts: int) -> float:
    """Texts a second with no journal."""
    numbers = iter(range(texts))

    async def work() -> None:
        for number in numbers:
            text = OutboundText(
                message=f"bare{number}", recipient=recipient(number), sender=US, body=f"Bare {number}", created_at=time.time()
            )
            result = await provider.send(text)
            assert isinstance(result, Accepted), result

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return texts / (time.perf_counter() - began)


async def write(journal: Journal, texts: int, recipients: int) -> None:
    """Put them all into the outbox."""
    for start in range(0, texts, 500):
        unit, now = Unit(), time.time()
        for number in range(start, min(start + 500, texts)):
            message = MessageId(f"m{number}")
            unit.messages.append(
                MessageRow(
                    id=message, session=None, direction="out", provider="twilio", sender=US,
                    recipient=recipient(number % recipients), body=f"Text {number}", state="pending", author="api:bench",
                    created_at=now,
                )
            )  # fmt: skip
            unit.outbox.append(OutboxRow(message=message, priority=3, created_at=now, due_at=now))
        await journal.commit(unit)


async def send(journal: Journal, provider: TwilioSms, texts: int) -> float:
    """Texts a second through the outbox, until the last outcome is on disk."""
    left, done = texts, asyncio.Event()

    async def settle(_session: SessionId | None, outcome: Outcome) -> None:
        nonlocal left
        unit = Unit()
        write_text(unit, outcome, "pending", time.time())
        await journal.commit(unit)
        left -= 1
        if left == 0:
            done.set()

    outbox = Outbox(journal, {"twilio": provider}, settle, clock=time.time, reconcile_after=15.0)
    began = time.perf_counter()
    task = asyncio.create_task(outbox.run())
    async with asyncio.timeout(60):
        await done.wait()
    rate = texts / (time.perf_counter() - began)
    task.cancel()
    await asyncio.wait([task])
    return rate


async def measure(url: str, api: str, texts: int, recipients: int) -> None:
    """Both, and what they compare to."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {0})
    print(f"{'':<24}{'texts/s':>10}{'CPU us each':>14}")
    async with TwilioSms(account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, status_url=None, api_base_url=api) as provider:
        await bare(provider, 200)  # opens the connections
        used = time.process_time()
        without = await bare(provider, texts)
        print(f"{'without a journal':<24}{without:>10.0f}{1e6 * (time.process_time() - used) / texts:>14.0f}", flush=True)
        async with Journal.open(url) as journal:
            await write(journal, texts, recipients)
            used = time.process_time()
            rate = await send(journal, provider, texts)
            print(f"{'through the outbox':<24}{rate:>10.0f}{1e6 * (time.process_time() - used) / texts:>14.0f}")
    print(f"sending without a journal is {without / rate:.1f} times as fast, and keeps no promise")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=4000)
    parser.add_argument("--recipients", type=int, default=2000)
    parser.add_argument("--postgres", action="store_true", help="keep the journal in a PostgreSQL server, which is started")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    server = postgres(durable=True) if arguments.postgres else nullcontext()
    with tempfile.TemporaryDirectory(prefix="sidetone-") as folder, server as database, twilio() as api:
        url = f"sqlite:///{folder}/outbox.db" if database is None else database.database()
        uvloop.run(measure(url, api, arguments.texts, arguments.recipients))


if __name__ == "__main__":
    main()
