"""What a CRM is asked and told: which contact a session is with, and what waits to be delivered."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, case, delete, desc, func, select, tuple_, update

from bridge.events import SessionId
from bridge.journal import crm_tables as t
from bridge.journal import tables
from bridge.journal.crm_erasure import ERASED
from bridge.journal.crm_rows import CrmEntry, CrmMatch
from bridge.journal.database import insert, take_turn, upsert
from bridge.journal.door import Door, as_struct

_match, _entry, _session = t.crm_match, t.crm_entry, tables.session
RECORD = "record:"
"""Before a session's id: the id of the entry that records it."""


class CrmQueue(Door):
    """Nothing here speaks with a CRM; `bridge.contacts` does."""

    async def crm_match(self, session: SessionId) -> CrmMatch | None:
        """None: nobody has begun to look."""
        return await self._first(select(_match).where(_match.c.session == session), lambda row: as_struct(CrmMatch, row))

    async def put_crm_match(self, match: CrmMatch, *entries: CrmEntry, over: CrmMatch | None) -> bool:
        """Put what is known of the session's contact in place of *over* (None: nothing was), and have *entries* done.

        An entry that is known already stays as it is. False: something else is known meanwhile, and nothing has changed.
        """

        def write(connection: Connection) -> bool:
            take_turn(connection)
            there = connection.execute(select(_match).where(_match.c.session == match.session)).mappings().first()
            if (None if there is None else as_struct(CrmMatch, there)) != over:
                return False
            connection.execute(upsert(_match, connection.dialect.name), msgspec.structs.asdict(match))
            _enqueue(connection, entries)
            return True

        return bool(await self._write(write))

    async def crm_enqueue(self, *entries: CrmEntry) -> None:
        """Have *entries* done; one that is known already stays as it is."""
        await self._write(lambda connection: _enqueue(connection, entries))

    async def crm_due(self, now: float, limit: int) -> list[CrmEntry]:
        """What can be done now: of each session what comes first, if its time has come; in order.

        A session is recorded when everything else has been done or given up, also what was asked for after its end.
        """
        before = _entry.alias()
        earlier = tuple_(_rank(before.c.action), before.c.n) < tuple_(_rank(_entry.c.action), _entry.c.n)
        first = ~(select(before.c.n).where(before.c.session == _entry.c.session, before.c.state == "pending", earlier).exists())
        query = select(_entry).where(_entry.c.state == "pending", _entry.c.due_at <= now, first)
        return await self._read(query.order_by(_entry.c.n).limit(limit), _as_entry)

    async def crm_next(self, now: float) -> float | None:
        """When something that waits comes due; None when nothing waits."""
        query = select(func.min(_entry.c.due_at).label("at")).where(_entry.c.state == "pending", _entry.c.due_at > now)
        return await self._first(query, lambda row: row["at"])

    async def crm_done(self, n: int, result: Mapping[str, Any], at: float) -> None:
        """The CRM has it."""
        values = {"state": "done", "attempts": _entry.c.attempts + 1, "result": result, "last_error": None, "done_at": at}
        await self._do(update(_entry).where(_entry.c.n == n, _entry.c.state == "pending").values(**values))

    async def crm_failed(self, n: int, error: str, faults: Mapping[str, str], due_at: float | None) -> None:
        """The CRM does not have it. It is tried again at *due_at*; None: no more, it is a dead letter."""
        values: dict[str, Any] = {"attempts": _entry.c.attempts + 1, "last_error": error, "faults": faults}
        values |= {"state": "dead"} if due_at is None else {"due_at": due_at}
        await self._do(update(_entry).where(_entry.c.n == n, _entry.c.state == "pending").values(**values))

    async def crm_redeliver(self, n: int, now: float) -> bool:
        """Try a dead letter again. False: it is none."""
        statement = update(_entry).where(_entry.c.n == n, _entry.c.state == "dead")
        return await self._do(statement.values(state="pending", due_at=now, at=now)) == 1

    async def crm_entries(
        self, *, session: SessionId | None = None, state: str | None = None, limit: int = 100, after: int | None = None
    ) -> list[CrmEntry]:
        """Entries, newest first.

        Args:
            session: Of this session only.
            state: Of this state only.
            limit: How many at most.
            after: Number of the last one of the page before this one.
        """
        query = select(_entry).order_by(desc(_entry.c.n)).limit(limit)
        if session is not None:
            query = query.where(_entry.c.session == session)
        if state is not None:
            query = query.where(_entry.c.state == state)
        if after is not None:
            query = query.where(_entry.c.n < after)
        return await self._read(query, _as_entry)

    async def crm_counts(self) -> Mapping[str, int]:
        """How many entries there are of each state that has any."""
        query = select(_entry.c.state, func.count().label("n")).group_by(_entry.c.state)
        return dict(await self._read(query, lambda row: (str(row["state"]), int(row["n"]))))

    async def crm_unrecorded(self, since: float, limit: int) -> list[tuple[SessionId, str | None]]:
        """Sessions with their customers that ended since then and that nobody has been asked to record, oldest first."""
        asked = select(_entry.c.n).where(_entry.c.id == RECORD + _session.c.id).exists()
        there = _session.c.snapshot != ERASED
        query = select(_session.c.id, _session.c.customer).where(_session.c.closed_at >= since, there, ~asked)
        return await self._read(
            query.order_by(_session.c.closed_at).limit(limit),
            lambda row: (SessionId(row["id"]), row["customer"]),
        )

    async def crm_forget(self, before: float, limit: int) -> int:
        """Remove what was done long ago, except records: they say what has been recorded. Returns how many."""
        old = (
            select(_entry.c.n)
            .where(_entry.c.state == "done", _entry.c.done_at < before, _entry.c.action != "record")
            .limit(limit)
        )
        return await self._do(delete(_entry).where(_entry.c.n.in_(old)))


def _rank(action: ColumnElement[str]) -> ColumnElement[int]:
    return case({"look_up": 0, "create": 1}, value=action, else_=2)


def _enqueue(connection: Connection, entries: Sequence[CrmEntry]) -> None:
    rows = [{name: value for name, value in msgspec.structs.asdict(entry).items() if name != "n"} for entry in entries]
    if rows:
        connection.execute(insert(_entry, connection.dialect.name).on_conflict_do_nothing(index_elements=["id"]), rows)


def _as_entry(row: RowMapping) -> CrmEntry:
    return as_struct(CrmEntry, row)
