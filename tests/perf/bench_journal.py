"""How many units a second the journal takes, and what grouping them is worth.

    python tests/perf/bench_journal.py [--seconds 3] [--folder DIR]

A unit is what one text costs: an event, a snapshot, a timeline line, a message and its outbox row. The last line compares
with one transaction per unit, measured in the same run on the same disk. Prints figures, never fails on them.
"""

import argparse
import asyncio
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from bridge.events import MessageId, SessionId
from bridge.journal import Journal, MessageRow, OutboxRow, SessionRow, TimelineLine, Unit
from bridge.journal import writer as writer_module

CROWDS = (1, 8, 32, 128, 512)
"""Sessions that commit at the same time, each waiting for its own units only."""


def unit(session: str, n: int) -> Unit:
    message = MessageId(f"{session}-{n}")
    return Unit(
        session=SessionId(session),
        expected_seq=n,
        events=[(1.0, b'{"event":"AgentSaid","agent":"kim","body":"Thank you, the part will be with you on Thursday."}')],
        snapshot=b'{"state":"open","flow":' + b'"x",' * 100 + b'"run":1}',
        row=SessionRow(state="open", customer="+15550100200", our_number="+15550100100", language="en", opened_at=1.0),
        timeline=[TimelineLine(1.0, "text.queued", {"message": message, "author": "agent:kim"})],
        messages=[
            MessageRow(
                id=message,
                session=SessionId(session),
                direction="out",
                provider="loopback",
                sender="+15550100100",
                recipient="+15550100200",
                body="Thank you, the part will be with you on Thursday.",
                state="pending",
                author="agent:kim",
                created_at=1.0,
            )
        ],
        outbox=[OutboxRow(message=message, priority=0, created_at=1.0, due_at=1.0)],
    )


async def measure(folder: str, crowd: int, seconds: float) -> tuple[float, float, float, float]:
    """(units a second, median and 99th percentile of one commit in milliseconds, units in one transaction)."""
    waits: list[float] = []
    async with Journal.open(f"sqlite:///{folder}/bench-{crowd}-{writer_module.GROUP_LIMIT}.db") as journal:
        began = time.perf_counter()

        async def work(name: str) -> None:
            n = 0
            while (at := time.perf_counter()) - began < seconds:
                await journal.commit(unit(name, n))
                n += 1
                waits.append(time.perf_counter() - at)

        await asyncio.gather(*(work(f"s{n}") for n in range(crowd)))
        elapsed = time.perf_counter() - began
        groups, written = journal.commits
    waits.sort()
    return written / elapsed, statistics.median(waits) * 1e3, waits[int(len(waits) * 0.99)] * 1e3, written / groups


async def main(seconds: float, folder: Path | None) -> None:
    with TemporaryDirectory(dir=folder) as place:
        print(f"{'sessions':>8} {'units/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'units per transaction':>22}")
        rates = {}
        for crowd in CROWDS:
            rates[crowd], p50, p99, group = await measure(place, crowd, seconds)
            print(f"{crowd:>8} {rates[crowd]:>9.0f} {p50:>8.2f} {p99:>8.2f} {group:>22.1f}")
        limit, writer_module.GROUP_LIMIT = writer_module.GROUP_LIMIT, 1
        alone, p50, p99, _ = await measure(place, 128, seconds)
        writer_module.GROUP_LIMIT = limit
        print(f"{128:>8} {alone:>9.0f} {p50:>8.2f} {p99:>8.2f} {'1 (not grouped)':>22}")
        print(f"grouping carries {rates[128] / alone:.1f} times the units of one transaction each, at 128 sessions")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row of the table")
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure (default: the temporary folder)")
    arguments = parser.parse_args()
    uvloop.run(main(arguments.seconds, arguments.folder))
