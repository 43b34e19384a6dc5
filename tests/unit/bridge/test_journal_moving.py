"""A journal that moves house: from the file to a server, whole, and only once."""

from pathlib import Path

import msgspec
import pytest
from sqlalchemy import func, select

from bridge.events import MessageId, SessionId
from bridge.journal import ConsentRow, Journal, MessageRow, OutboxRow, SessionRow, TimelineLine, Unit, tables
from bridge.journal.database import connected
from bridge.journal.moving import BATCH, MoveRefusedError, checked, move
from tests.postgres import Postgres

CUSTOMER, US = "+15550100123", "+15550100200"
LINES = BATCH + 500


class CutOffError(Exception):
    """The machine went away."""


async def filled(path: Path) -> str:
    """A journal with something of each kind: more lines than go into a batch, bytes, JSON, nulls, numbered rows."""
    url = f"sqlite:///{path}/journal.db"
    async with Journal.open(url) as journal:
        row = msgspec.convert(
            {"state": "open", "customer": CUSTOMER, "our_number": US, "language": "fr", "opened_at": 100.25}, SessionRow
        )
        text = {
            "id": "m1", "session": "s1", "direction": "out", "provider": "loopback", "sender": US, "recipient": CUSTOMER,
            "body": "Ça va ? 👍", "state": "pending", "author": "flow", "created_at": 100.5,
        }  # fmt: skip
        consent = {
            "number": CUSTOMER, "purpose": "session", "granted": True, "words": "yes", "language": "fr",
            "evidence": "digit 1", "actor": "flow", "at": 101.0, "session": "s1", "sender": US,
        }  # fmt: skip
        await journal.commit(
            Unit(
                session=SessionId("s1"),
                expected_seq=0,
                fence=2**40,
                events=[(100.25, b'{"event":"CallArrived"}')],
                snapshot=b"{}",
                row=row,
                timeline=[TimelineLine(at=100.0 + n, kind="flow.trace", data={"line": n}) for n in range(LINES)],
                messages=[msgspec.convert(text, MessageRow)],
                outbox=[OutboxRow(message=MessageId("m1"), priority=0, created_at=100.5, due_at=100.5)],
                consents=[msgspec.convert(consent, ConsentRow)],
                kv={"ewt": bytes(range(256))},
            )
        )
    return url


def count(url: str, table: str) -> int:
    with connected(url) as connection:
        return connection.execute(select(func.count()).select_from(tables.metadata.tables[table])).scalar_one()


async def test_everything_arrives_as_it_was(tmp_path: Path, postgres_server: Postgres) -> None:
    """Each table has the same rows on both sides, and the server goes on counting where the file stopped."""
    source, target = await filled(tmp_path), postgres_server.database()
    told: list[tuple[str, int, int]] = []

    found = {each.table: each for each in move(source, target, progress=lambda *step: told.append(step))}

    assert (found["timeline"].rows, found["message"].rows, found["kv"].rows) == (LINES, 1, 1)
    assert ("timeline", BATCH, LINES) in told
    async with Journal.open(target) as journal:
        assert await journal.value("ewt") == bytes(range(256))
        assert [line.data["line"] for line in await journal.timeline(SessionId("s1"))] == list(range(LINES))
        [message] = await journal.messages(SessionId("s1"))
        assert message.body == "Ça va ? 👍"
        again = msgspec.structs.replace(message, id=MessageId("m2"), provider_ref=None)
        await journal.commit(Unit(messages=[again]))
        assert [each.id for each in await journal.messages(SessionId("s1"))] == ["m1", "m2"]


async def test_a_move_that_was_cut_off_goes_on(tmp_path: Path, postgres_server: Postgres) -> None:
    """What is there already is not copied again, and the end is the same as without the cut."""
    source, target = await filled(tmp_path), postgres_server.database()

    def cut(table: str, over: int, _count: int) -> None:
        if (table, over) == ("timeline", BATCH):
            raise CutOffError

    with pytest.raises(CutOffError):
        move(source, target, progress=cut)
    assert count(target, "timeline") == BATCH
    told: list[tuple[str, int, int]] = []
    move(source, target, progress=lambda *step: told.append(step))

    assert [step for step in told if step[0] == "timeline"] == [("timeline", BATCH, LINES), ("timeline", LINES, LINES)]
    with connected(source) as old, connected(target) as new:
        assert [checked(old, table) for table in tables.metadata.sorted_tables] == [
            checked(new, table) for table in tables.metadata.sorted_tables
        ]


async def test_a_source_that_went_on_is_noticed(tmp_path: Path, postgres_server: Postgres) -> None:
    """A server that was started again between the two halves of a move has written what the first half lacks."""
    source, target = await filled(tmp_path), postgres_server.database()

    def cut(table: str, _over: int, _count: int) -> None:
        if table == "outbox":
            raise CutOffError

    with pytest.raises(CutOffError):
        move(source, target, progress=cut)
    async with Journal.open(source) as journal:
        await journal.commit(Unit(session=SessionId("s1"), snapshot=b'{"went":"on"}'))

    with pytest.raises(MoveRefusedError, match="session differs: 1 rows here, 1 there"):
        move(source, target)


async def test_nothing_is_moved_into_a_journal_in_use(tmp_path: Path, postgres_server: Postgres) -> None:
    """Neither over another journal nor over the rest of another move, nor onto itself; nothing changes."""
    source, target = await filled(tmp_path), postgres_server.database()
    (tmp_path / "other").mkdir()
    other = await filled(tmp_path / "other")
    with pytest.raises(MoveRefusedError, match="both addresses are the same"):
        move(source, source)
    with pytest.raises(MoveRefusedError, match="there is no journal"):
        move(f"sqlite:///{tmp_path}/misspelt.db", target)
    with pytest.raises(MoveRefusedError, match="in use"):
        move(source, other)

    def cut(table: str, _over: int, _count: int) -> None:
        if table == "timeline":
            raise CutOffError

    with pytest.raises(CutOffError):
        move(source, target, progress=cut)
    with pytest.raises(MoveRefusedError, match="was cut off here"):
        move(other, target)
    assert count(target, "timeline") == 0
