"""The journal itself: `commit`, sessions and what follows them; the parts beside it have the rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import eq, ge, lt
from typing import Any, Self

from sqlalchemy import Connection, RowMapping, Select, desc, select, tuple_

from bridge.events import AgentId, QueueId, SessionId
from bridge.journal import tables
from bridge.journal.accounts import Accounts
from bridge.journal.boards import Boards
from bridge.journal.crm import Contacts
from bridge.journal.crm_import import ContactImports
from bridge.journal.crm_queue import CrmQueue
from bridge.journal.database import READERS, Threads, upgrade
from bridge.journal.desks import Desks
from bridge.journal.door import Request, Writer, as_struct, wanted
from bridge.journal.ewt import Forecasts
from bridge.journal.fact_queries import Facts
from bridge.journal.house import House
from bridge.journal.notices import Notices
from bridge.journal.people import People
from bridge.journal.reports import Reports
from bridge.journal.requests import Requests
from bridge.journal.rows import (
    Committed,
    DecisionRow,
    InboundRow,
    JournalError,
    Service,
    SessionRow,
    StoredDecision,
    StoredEvent,
    StoredSession,
    TimelineLine,
    Unit,
)
from bridge.journal.shared import Shared
from bridge.journal.texts import Texts, spool
from bridge.journal.units import apply_units
from bridge.journal.watch import Watch
from bridge.journal.writer import GroupWriter


class Journal(
    Facts,
    Texts,
    People,
    Contacts,
    ContactImports,
    CrmQueue,
    Notices,
    Requests,
    Reports,
    Forecasts,
    Boards,
    House,
    Accounts,
    Desks,
    Shared,
):
    """What is never lost. Opened with `async with Journal.open(url) as journal`.

    Reading sees everything whose `commit` has returned, and never waits for a writer.
    """

    _watch: Watch | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Self]:
        """Open the journal at *url*, make it if it is not there, and bring its schema up to date.

        Leaving the context saves what still waits, then closes.

        Args:
            url: `sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql://user@host/name`.

        Raises:
            SchemaTooNewError: a newer version of this server wrote it. Nothing has changed.
            JournalError: *url* is not an address of a journal.
        """
        await upgrade(url)
        with Threads(url, count=READERS, writer=False) as readers, Threads(url, count=1, writer=True) as writing:
            writer: Writer = GroupWriter(writing, _apply)
            task = asyncio.create_task(writer.run(), name="journal-writer")
            journal = cls(readers, writer)
            watching = None
            if readers.remote:
                journal._watch = Watch(readers)
                watching = asyncio.create_task(journal._watch.run(), name="journal-watch")
            try:
                yield journal
            finally:
                if watching is not None:
                    watching.cancel()
                    await asyncio.wait([watching])
                writer.close()
                await task

    @property
    def trouble(self) -> str | None:
        """Why nothing can be saved or read just now, in words, as of about a second ago; None: it can. A file has no trouble."""
        return None if self._watch is None else self._watch.trouble

    # --- writing ---------------------------------------------------------------------------------------------------

    async def commit(self, unit: Unit) -> Committed:
        """Save all of *unit* and return once it is on disk.

        A caller cancelled while it waits does not learn the outcome; the unit is then saved or refused as a whole.

        Raises:
            FencedError: another node has taken the session over.
            StaleSessionError: the session is not at `expected_seq`.
            AlreadyHandledError: an inbound text of the unit has been dealt with before.
            OvertakenError: a text is not in the state that a step of the unit follows.
            UnitRefusedError: the unit contradicts itself or what is saved. Other units are not affected.
            JournalUnavailableError: the database does not work just now.
            JournalClosedError: too late.
        """
        committed = await self._writer.submit(unit)
        assert isinstance(committed, Committed)
        if unit.block or unit.unblock:
            self.forget_cached()
        return committed

    @property
    def commits(self) -> tuple[int, int]:
        """(transactions committed, units and other writes in them) since opening; their ratio is the grouping."""
        return self._writer.groups, self._writer.written

    # --- sessions --------------------------------------------------------------------------------------------------

    async def open_sessions(self) -> list[StoredSession]:
        """Every session without an end, oldest first."""
        return await self._sessions(select(_session).where(_session.c.closed_at.is_(None)).order_by(_session.c.opened_at))

    async def find_open(self, customer: str, our_number: str | None = None) -> list[StoredSession]:
        """The customer's sessions without an end, newest first; on any of our numbers when that is None."""
        query = select(_session).where(_session.c.customer == customer, _session.c.closed_at.is_(None))
        if our_number is not None:
            query = query.where(_session.c.our_number == our_number)
        return await self._sessions(query.order_by(desc(_session.c.opened_at)))

    async def sessions(
        self,
        limit: int,
        *,
        customer: str | None = None,
        our_number: str | None = None,
        queue: QueueId | None = None,
        agent: AgentId | None = None,
        state: str | None = None,
        service: Service | None = None,
        since: float | None = None,
        until: float | None = None,
        after: SessionId | None = None,
    ) -> list[StoredSession]:
        """The newest sessions first; None does not filter.

        Args:
            limit: How many at most.
            customer: Of this number only.
            our_number: With this number of ours only.
            queue: That wait in it, or were last in it.
            agent: That this agent has, or had last.
            state: `open` or `closed`.
            service: That began this way.
            since: Opened then or later.
            until: Opened before then.
            after: The last session of the page before this one.
        """
        conditions = wanted(
            (_session.c.customer, eq, customer),
            (_session.c.our_number, eq, our_number),
            (_session.c.queue, eq, queue),
            (_session.c.agent, eq, agent),
            (_session.c.state, eq, state),
            (_session.c.service, eq, service),
            (_session.c.opened_at, ge, since),
            (_session.c.opened_at, lt, until),
        )
        if state == "open":
            conditions.append(_session.c.closed_at.is_(None))  # the same, and there is an index
        if after is not None:
            last = select(_session.c.opened_at, _session.c.id).where(_session.c.id == after).scalar_subquery()
            conditions.append(tuple_(_session.c.opened_at, _session.c.id) < last)
        newest = (desc(_session.c.opened_at), desc(_session.c.id))
        return await self._sessions(select(_session).where(*conditions).order_by(*newest).limit(limit))

    async def session(self, session: SessionId) -> StoredSession | None:
        """None: there is no such session."""
        return next(iter(await self._sessions(select(_session).where(_session.c.id == session))), None)

    async def events(self, session: SessionId, after: int = 0) -> list[StoredEvent]:
        """The session's events with numbers above *after*, in order."""
        query = select(_event).where(_event.c.session == session, _event.c.seq > after).order_by(_event.c.seq)
        return await self._read(query, lambda row: as_struct(StoredEvent, row))

    async def timeline(self, session: SessionId, after: int = 0) -> list[TimelineLine]:
        """The session's timeline lines with numbers above *after*, in order."""
        query = select(_timeline).where(_timeline.c.session == session, _timeline.c.n > after).order_by(_timeline.c.n)
        return await self._read(query, lambda row: as_struct(TimelineLine, row))

    async def decisions(self, session: SessionId) -> list[StoredDecision]:
        """The session's decisions with their inputs, in order."""
        query = select(_decision).where(_decision.c.session == session).order_by(_decision.c.n)
        return await self._read(query, lambda row: StoredDecision(seq=row["seq"], decision=as_struct(DecisionRow, row)))

    async def value(self, key: str) -> bytes | None:
        """What a unit's `kv` put there last."""
        return await self._first(select(tables.kv).where(tables.kv.c.key == key), lambda row: bytes(row["value"]))

    async def _sessions(self, query: Select[Any]) -> list[StoredSession]:
        return await self._read(query, _as_session)


_session, _event, _timeline, _decision = tables.session, tables.event, tables.timeline, tables.decision


def _apply(connection: Connection, requests: list[Request]) -> list[Any | JournalError]:
    """Units first and together, then what came in, together too, then the small writes."""
    units = [request for request in requests if isinstance(request, Unit)]
    texts = [request for request in requests if isinstance(request, InboundRow)]
    done = iter(apply_units(connection, units) if units else [])
    kept = iter(spool(connection, texts) if texts else [])
    return [
        next(done) if isinstance(request, Unit) else next(kept) if isinstance(request, InboundRow) else request(connection)
        for request in requests
    ]


def _as_session(row: RowMapping) -> StoredSession:
    return StoredSession(
        id=row["id"],
        seq=row["seq"],
        lines=row["lines"],
        snapshot=row["snapshot"],
        row=as_struct(SessionRow, row),
        fence=row["fence"],
    )
