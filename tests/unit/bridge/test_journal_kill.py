"""SIGKILL at any moment: what was acknowledged is there, and nothing is half there."""

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

from bridge.events import MessageId, SessionId
from bridge.journal import Journal, MessageRow, OutboxRow, SessionRow, TimelineLine, Unit

ROUNDS = 4
WORKERS = 8


async def _write_for_ever(url: str, round_number: str) -> None:
    """The child: several workers commit units without end and print what was acknowledged."""
    async with Journal.open(url) as journal:
        print("open", flush=True)

        async def work(worker: int) -> None:
            session = SessionId(f"{round_number}-{worker}")
            seq = 0
            while True:
                await journal.commit(_unit(session, seq))
                seq += 1
                print(session, seq, flush=True)

        await asyncio.gather(*(work(worker) for worker in range(WORKERS)))


def _unit(session: SessionId, seq: int) -> Unit:
    """Two events, one line, one text with its outbox row: halves would show."""
    message = MessageId(f"{session}-{seq + 1}")
    return Unit(
        session=session,
        expected_seq=2 * seq,
        events=[(1.0, b'{"half": 1}'), (1.0, b'{"half": 2}')],
        snapshot=b"%d" % (seq + 1),
        row=SessionRow(state="open", customer="+15550100200", our_number="+15550100100", language="en", opened_at=1.0),
        timeline=[TimelineLine(1.0, "text.queued", {"message": message})],
        messages=[
            MessageRow(
                id=message,
                session=session,
                direction="out",
                provider="loopback",
                sender="+15550100100",
                recipient="+15550100200",
                body="Hello",
                state="pending",
                author="flow",
                created_at=1.0,
            )
        ],
        outbox=[OutboxRow(message=message, priority=0, created_at=1.0, due_at=1.0)],
    )


async def test_acknowledged_units_survive_sigkill_whole(tmp_path: Path) -> None:
    """A process killed again and again while it writes loses no acknowledged unit and leaves no half of one."""
    url = f"sqlite:///{tmp_path}/journal.db"
    rng = random.Random(20150)  # where in its work each child dies; the disk adds chance of its own
    acknowledged: dict[str, int] = {}
    for round_number in range(ROUNDS):
        for session, seq in await asyncio.to_thread(_run_and_kill, url, round_number, rng.uniform(0.0, 0.4)):
            assert seq == acknowledged.get(session, 0) + 1
            acknowledged[session] = seq

    assert len(acknowledged) > ROUNDS
    async with Journal.open(url) as journal:
        sessions = {stored.id: stored for stored in await journal.open_sessions()}
        assert set(acknowledged) <= set(sessions)
        outbox = {item.message.id for item in (await journal.outbox_now(2.0, limit=1_000_000)).due}
        for session, stored in sessions.items():
            units = int(stored.snapshot)
            assert units in {acknowledged.get(session, 0), acknowledged.get(session, 0) + 1}
            assert (stored.seq, stored.lines) == (2 * units, units)
            assert [event.seq for event in await journal.events(session)] == list(range(1, 2 * units + 1))
            names = [f"{session}-{n}" for n in range(1, units + 1)]
            assert [line.data["message"] for line in await journal.timeline(session)] == names
            assert [message.id for message in await journal.messages(session)] == names
            assert outbox >= set(names)
        assert len(outbox) == sum(int(stored.snapshot) for stored in sessions.values())


def _run_and_kill(url: str, round_number: int, after: float) -> list[tuple[str, int]]:
    """Start a child, kill it *after* seconds of writing, and return what it said was acknowledged."""
    root = Path(__file__).parents[3]
    child = subprocess.Popen([sys.executable, __file__, url, str(round_number)], stdout=subprocess.PIPE, text=True, cwd=root)
    assert child.stdout is not None
    with child, child.stdout:
        assert child.stdout.readline() == "open\n"
        time.sleep(after)
        child.kill()
        lines = child.stdout.read().split("\n")[:-1]  # the last piece is a line cut short, or nothing
    return [(session, int(seq)) for session, seq in (line.split() for line in lines)]


if __name__ == "__main__":
    asyncio.run(_write_for_ever(sys.argv[1], sys.argv[2]))
