"""PostgreSQL goes away and comes back: what was saved is saved once, whatever was heard of it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bridge.events import MessageId, ProviderRef, SessionId
from bridge.journal import InboundRow, Journal, JournalUnavailableError, SessionRow, StaleSessionError, TimelineLine, Unit
from bridge.journal.database import IDLE_WITHIN, Threads
from tests.lossy_line import LossyLine, lossy_line
from tests.postgres import Postgres

ANA = SessionId("ana")
ROW = SessionRow(state="open", customer="+15550100200", our_number="+15550100100", language="en", opened_at=100.0)


@pytest.fixture
async def line(postgres_server: Postgres) -> AsyncIterator[LossyLine]:
    async with lossy_line(postgres_server.database()) as line:
        yield line


def step(seq: int, name: str = "ana") -> Unit:
    return Unit(
        session=SessionId(name),
        expected_seq=seq,
        events=[(float(seq), b"{}")],
        snapshot=b"{}",
        row=ROW,
        timeline=[TimelineLine(float(seq), "note.written", {})],
    )


async def test_a_commit_whose_answer_was_lost_is_answered_all_the_same(line: LossyLine) -> None:
    """The server did it and the line broke: the journal asks what became of it and says so, and it is there once."""
    async with Journal.open(line.url) as journal:
        await journal.commit(step(0))
        line.cut = "after"

        end = await journal.commit(step(1))

        assert (end.seq, end.lines, line.breaks) == (2, 2, 1)
        assert [event.seq for event in await journal.events(ANA)] == [1, 2]


async def test_a_commit_that_never_arrived_is_made_again(line: LossyLine) -> None:
    """The line broke before the server had heard of it, so nothing was saved, and saving it again is right."""
    async with Journal.open(line.url) as journal:
        await journal.commit(step(0))
        line.cut = "before"

        assert (await journal.commit(step(1))).seq == 2
        assert line.breaks == 1
        assert [event.seq for event in await journal.events(ANA)] == [1, 2]


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_who_tries_again_after_an_outage_saves_once(line: LossyLine, cut: str) -> None:
    """Nobody could be asked for a while; the same unit, tried again, gets the answer it would have had, saved before or not."""
    async with Journal.open(line.url) as journal:
        await journal.commit(step(0))
        await journal.commit(step(0, "ben"))
        line.cut = "after" if cut == "after" else "before"
        line.down = True
        units = [step(1), step(1, "ben"), step(0)]
        first = await asyncio.gather(*(journal.commit(unit) for unit in units), return_exceptions=True)
        assert [type(result) for result in first] == [JournalUnavailableError] * 3
        with pytest.raises(JournalUnavailableError):
            await journal.commit(units[0])
        line.hang_up()
        with pytest.raises(JournalUnavailableError):
            await journal.events(ANA)

        line.down = False
        results = await asyncio.gather(*(journal.commit(unit) for unit in units), return_exceptions=True)

        assert [getattr(result, "seq", None) for result in results] == [2, 2, None]
        assert isinstance(results[2], StaleSessionError)
        assert [event.seq for event in await journal.events(ANA)] == [1, 2]
        with pytest.raises(StaleSessionError):  # the answer was for that one time
            await journal.commit(units[0])


async def test_a_text_kept_in_a_commit_of_unknown_fate_is_new_to_who_asks_again(line: LossyLine) -> None:
    """Or it would be taken for a repeat, and nobody would ever look at it."""
    row = InboundRow(provider="loopback", ref=ProviderRef("r1"), raw=b"{}", received_at=1.0, message=MessageId("i1"))
    async with Journal.open(line.url) as journal:
        line.cut, line.down = "after", True
        with pytest.raises(JournalUnavailableError):
            await journal.spool_inbound(row)
        line.down = False

        assert await journal.spool_inbound(row)
        assert not await journal.spool_inbound(row)


async def test_a_node_that_stands_still_in_a_transaction_does_not_hold_up_the_others(postgres_server: Postgres) -> None:
    """The server ends what it has begun; when it wakes it starts again from what is there by then."""
    url = postgres_server.database()
    async with Journal.open(url) as journal:
        await journal.commit(step(0))
        with Threads(url, count=1, writer=True) as stopped:
            held, woken, looks = asyncio.Event(), asyncio.Event(), list[int]()
            loop = asyncio.get_running_loop()

            def stand_still(connection: object) -> None:
                seq = connection.exec_driver_sql("SELECT seq FROM session FOR UPDATE").scalar()  # type: ignore[attr-defined]
                looks.append(seq)
                if len(looks) == 1:
                    loop.call_soon_threadsafe(held.set)
                    asyncio.run_coroutine_threadsafe(woken.wait(), loop).result()
                    connection.exec_driver_sql("UPDATE session SET seq = 77")  # type: ignore[attr-defined]

            still = asyncio.create_task(stopped.run(stand_still))
            await held.wait()
            async with asyncio.timeout(10 * IDLE_WITHIN):
                assert (await journal.commit(step(1))).seq == 2
            woken.set()
            await still

        assert looks == [1, 2]
        assert [stored.seq for stored in await journal.open_sessions()] == [2]
