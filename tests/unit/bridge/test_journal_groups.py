"""Grouped commits: a crowd shares a transaction, a bad unit fails alone, a caller that leaves breaks nothing."""

import asyncio
import sqlite3
import threading
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from bridge.events import MessageId, SessionId
from bridge.journal import (
    Journal,
    JournalClosedError,
    JournalUnavailableError,
    MessageRow,
    SessionRow,
    StaleSessionError,
    TimelineLine,
    Unit,
    UnitRefusedError,
)
from bridge.journal.database import Threads
from bridge.journal.rows import JournalError
from bridge.journal.writer import GROUP_LIMIT, GroupWriter

ROW = SessionRow(state="open", customer="+15550100200", our_number="+15550100100", language="en", opened_at=1.0)


def url(folder: Path | str) -> str:
    return f"sqlite:///{folder}/journal.db"


def step(session: str, n: int = 1) -> Unit:
    return Unit(
        session=SessionId(session), events=[(float(n), b"{}")], snapshot=b"%d" % n, row=ROW, timeline=[TimelineLine(1.0, "x", {})]
    )


def text(name: str) -> Unit:
    row = MessageRow(
        id=MessageId(name),
        session=None,
        direction="out",
        provider="loopback",
        sender="+15550100100",
        recipient="+15550100200",
        body="Hello",
        state="pending",
        author="flow",
        created_at=1.0,
    )
    return Unit(messages=[row], kv={name: b"saved"})


async def test_what_waits_together_is_saved_together(tmp_path: Path) -> None:
    """A hundred units that arrive at once take a few transactions, not a hundred."""
    async with Journal.open(url(tmp_path)) as journal:
        await asyncio.gather(*(journal.commit(step(f"s{n}")) for n in range(100)))

        groups, written = journal.commits
        assert written == 100
        assert groups <= 3
        assert len(await journal.open_sessions()) == 100


async def test_units_of_one_session_in_one_group_follow_each_other(tmp_path: Path) -> None:
    """Several units of a session that share a transaction are numbered in the order they came; the last one's state stays."""
    async with Journal.open(url(tmp_path)) as journal:
        session = SessionId("ana")
        units = [
            step("ana", 1),
            Unit(session=session, events=[(2.0, b"{}")]),
            step("ana", 3),
            Unit(session=session, events=[(4.0, b"{}")]),
        ]
        ends = await asyncio.gather(*(journal.commit(unit) for unit in units))

        assert [(end.seq, end.lines) for end in ends] == [(1, 1), (2, 1), (3, 2), (4, 2)]
        stored = await journal.session(session)
        assert stored is not None
        assert (stored.seq, stored.lines, stored.snapshot) == (4, 2, b"3")
        assert [event.at for event in await journal.events(session)] == [1.0, 2.0, 3.0, 4.0]


async def test_of_two_units_computed_from_one_state_one_wins(tmp_path: Path) -> None:
    """Also inside one transaction the second unit with the same expected number is stale."""
    async with Journal.open(url(tmp_path)) as journal:
        await journal.commit(step("ana"))
        rivals = [Unit(session=SessionId("ana"), expected_seq=1, events=[(2.0, body)]) for body in (b"1", b"2")]
        first, second = await asyncio.gather(*(journal.commit(unit) for unit in rivals), return_exceptions=True)

        assert not isinstance(first, BaseException)
        assert isinstance(second, StaleSessionError)
        assert [event.body for event in await journal.events(SessionId("ana"))] == [b"{}", b"1"]


async def test_a_bad_unit_fails_alone(tmp_path: Path) -> None:
    """Neighbours in the same transaction are saved although the database refused one of them."""
    async with Journal.open(url(tmp_path)) as journal:
        await journal.commit(text("taken"))
        unsaveable = Unit(kv={"k": b""}, timeline=[], messages=[])
        units = [text("a"), text("taken"), text("b"), unsaveable, Unit(kv={"half \udc80": b""}), text("c")]
        results = await asyncio.gather(*(journal.commit(unit) for unit in units), return_exceptions=True)

        assert [isinstance(result, UnitRefusedError) for result in results] == [False, True, False, False, True, False]
        assert [await journal.value(name) for name in "abc"] == [b"saved"] * 3


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=25))
def test_any_crowd_ends_as_if_one_by_one(asked: list[tuple[str, int, int]]) -> None:
    """Whatever units arrive together, with stale numbers and clashing texts, each is saved whole or leaves nothing."""
    seqs: Counter[str] = Counter()
    texts: set[str] = set()
    expected = []
    units = []
    for session, expected_seq, name in asked:
        message = text(f"m{name}").messages
        units.append(
            Unit(
                session=SessionId(session),
                expected_seq=expected_seq,
                events=[(1.0, b"{}")],
                snapshot=b"{}",
                row=ROW,
                messages=message,
            )
        )
        fits = expected_seq == seqs[session] and f"m{name}" not in texts
        expected.append(fits)
        if fits:
            seqs[session] += 1
            texts.add(f"m{name}")

    async def play() -> None:
        with TemporaryDirectory() as folder:
            async with Journal.open(url(folder)) as journal:
                results = await asyncio.gather(*(journal.commit(unit) for unit in units), return_exceptions=True)
                assert [not isinstance(result, JournalError) for result in results] == expected
                assert {stored.id: stored.seq for stored in await journal.open_sessions()} == +seqs
                for session in seqs:
                    numbers = [event.seq for event in await journal.events(SessionId(session))]
                    assert numbers == list(range(1, seqs[session] + 1))
                for name in range(6):
                    assert (await journal.message(MessageId(f"m{name}")) is not None) == (f"m{name}" in texts)

    asyncio.run(play())


async def test_a_cancelled_caller_breaks_nothing(tmp_path: Path) -> None:
    """Callers cancelled at any point of their wait leave whole units, and everybody else is served."""
    async with Journal.open(url(tmp_path)) as journal:
        for turn in range(20):
            tasks = [asyncio.create_task(journal.commit(step(f"{turn}-{n}"))) for n in range(10)]
            for _ in range(turn):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert not any(isinstance(result, BaseException) for result in results[1::2])

        stored = await journal.open_sessions()
        assert {session.id for session in stored} >= {f"{turn}-{n}" for turn in range(20) for n in range(1, 10, 2)}
        for session in stored:
            assert (session.seq, session.lines) == (1, 1)
            assert len(await journal.events(session.id)) == len(await journal.timeline(session.id)) == 1


async def test_a_cancelled_reader_gives_its_connection_back(tmp_path: Path) -> None:
    """Reading goes on after more readers than there are connections were cancelled half-way."""
    async with Journal.open(url(tmp_path)) as journal:
        await journal.commit(step("ana"))
        for turn in range(20):
            task = asyncio.create_task(journal.open_sessions())
            for _ in range(turn):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        assert len(await journal.open_sessions()) == 1


async def test_closing_saves_what_still_waits(tmp_path: Path) -> None:
    """Units handed over before the journal closes are on disk after it."""
    async with Journal.open(url(tmp_path)) as journal:
        waiting = [asyncio.create_task(journal.commit(step(f"s{n}"))) for n in range(GROUP_LIMIT + 20)]
        await asyncio.sleep(0)

    await asyncio.gather(*waiting)
    async with Journal.open(url(tmp_path)) as again:
        assert len(await again.open_sessions()) == GROUP_LIMIT + 20


async def test_a_locked_database_is_a_passing_trouble(tmp_path: Path) -> None:
    """While another process holds the write lock a unit is unavailable, not refused; afterwards it is saved."""
    async with Journal.open(url(tmp_path)) as journal:
        await journal._writer._database.run(lambda connection: connection.exec_driver_sql("PRAGMA busy_timeout = 10").close())
        other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalUnavailableError):
            await journal.commit(step("ana"))
        other.execute("ROLLBACK")
        other.close()

        await journal.commit(step("ana"))
        assert len(await journal.open_sessions()) == 1


async def test_a_writer_cut_off_tells_everybody_who_waits(tmp_path: Path) -> None:
    """When the writer's task is cancelled, those in its hands and those in line get an error instead of silence."""
    started, go_on = threading.Event(), threading.Event()

    def apply(_connection: Connection, requests: list[int]) -> list[int | JournalError]:
        started.set()
        go_on.wait()
        return [*requests]

    with Threads(url(tmp_path), count=1, writer=True) as database:
        writer = GroupWriter(database, apply)
        run = asyncio.create_task(writer.run())
        first = asyncio.create_task(writer.submit(1))
        await asyncio.to_thread(started.wait)
        second = asyncio.create_task(writer.submit(2))
        await asyncio.sleep(0)
        run.cancel()

        results = await asyncio.gather(run, first, second, return_exceptions=True)
        go_on.set()

    assert [type(result) for result in results] == [asyncio.CancelledError, JournalClosedError, JournalClosedError]
    with pytest.raises(JournalClosedError):
        await writer.submit(3)


async def test_a_database_that_fails_during_the_second_try_fails_everybody(tmp_path: Path) -> None:
    """A crowd whose bad unit is being told apart when the disk goes away is unavailable as a whole."""

    def apply(_connection: Connection, requests: list[int]) -> list[int | JournalError]:
        if len(requests) > 1:
            raise ValueError("bad unit")
        raise OperationalError("INSERT", {}, Exception("disk full"))

    with Threads(url(tmp_path), count=1, writer=True) as database:
        writer = GroupWriter(database, apply)
        both = asyncio.gather(writer.submit(1), writer.submit(2), return_exceptions=True)
        await asyncio.sleep(0)
        writer.close()
        await writer.run()

        assert [type(result) for result in await both] == [JournalUnavailableError, JournalUnavailableError]
