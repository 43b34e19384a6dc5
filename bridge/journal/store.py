"""The journal itself: `commit` and the few writes beside it, and everything that can be read."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

import msgspec
from sqlalchemy import Connection, RowMapping, Select, Table, delete, desc, func, select, update

from bridge.events import AgentId, MessageId, ProviderRef, SessionId
from bridge.journal import tables
from bridge.journal.database import READERS, Threads, insert, upgrade
from bridge.journal.rows import (
    AgentStateRow,
    Committed,
    ConsentRow,
    ContactRow,
    DecisionRow,
    InboundRow,
    JournalError,
    MessageRow,
    MessageStep,
    OutboxNow,
    OutboxRow,
    OutboxText,
    Reply,
    SessionRow,
    StoredDecision,
    StoredEvent,
    StoredSession,
    TimelineLine,
    Unit,
)
from bridge.journal.units import apply_units
from bridge.journal.writer import GroupWriter

T = TypeVar("T")
AnyStruct = TypeVar("AnyStruct", bound=msgspec.Struct)
SmallWrite = Callable[[Connection], bool]
"""A write that is not a unit; it shares transactions with units all the same."""

EVERY_SENDER = "*"
"""The sender of a suppression that counts for all our numbers."""


class Journal:
    """What is never lost. Opened with `async with Journal.open(url) as journal`.

    Reading sees everything whose `commit` has returned, and never waits for a writer.
    """

    def __init__(self, readers: Threads, writer: GroupWriter[Unit | SmallWrite, Committed | bool]) -> None:
        self._readers = readers
        self._writer = writer

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
            writer: GroupWriter[Unit | SmallWrite, Committed | bool] = GroupWriter(writing, _apply)
            task = asyncio.create_task(writer.run(), name="journal-writer")
            try:
                yield cls(readers, writer)
            finally:
                writer.close()
                await task

    # --- writing ---------------------------------------------------------------------------------------------------

    async def commit(self, unit: Unit) -> Committed:
        """Save all of *unit* and return once it is on disk.

        A caller cancelled while it waits does not learn the outcome; the unit is then saved or refused as a whole.

        Raises:
            StaleSessionError: the session is not at `expected_seq`.
            UnitRefusedError: the unit contradicts itself or what is saved. Other units are not affected.
            JournalUnavailableError: the database does not work just now.
            JournalClosedError: too late.
        """
        committed = await self._writer.submit(unit)
        assert isinstance(committed, Committed)
        return committed

    async def _write(self, write: SmallWrite) -> bool:
        return bool(await self._writer.submit(write))

    async def spool_inbound(self, row: InboundRow) -> bool:
        """Keep an inbound text until a unit names it in `inbound_handled`. False: that (provider, ref) was kept before."""

        def write(connection: Connection) -> bool:
            statement = insert(tables.inbound, connection.dialect.name).values(**msgspec.structs.asdict(row), handled=False)
            statement = statement.on_conflict_do_nothing(index_elements=["provider", "ref"]).returning(tables.inbound.c.n)
            return connection.execute(statement).first() is not None

        return await self._write(write)

    async def claim_outbox(self, message: MessageId, now: float) -> bool:
        """Take a pending text for one attempt. False: it is not pending (any more), so hands off."""

        def write(connection: Connection) -> bool:
            changes = {"state": "attempting", "attempts": _outbox.c.attempts + 1, "attempted_at": now}
            result = connection.execute(
                update(_outbox).where(_outbox.c.message == message, _outbox.c.state == "pending").values(changes)
            )
            return result.rowcount == 1

        return await self._write(write)

    async def outbox_retry(self, message: MessageId, due_at: float) -> bool:
        """Put a claimed text that was certainly not sent back in line. False: it was not claimed."""

        def write(connection: Connection) -> bool:
            result = connection.execute(
                update(_outbox)
                .where(_outbox.c.message == message, _outbox.c.state == "attempting")
                .values(state="pending", due_at=due_at)
            )
            return result.rowcount == 1

        return await self._write(write)

    async def remember(self, key: str, reply: Reply, *, now: float, until: float) -> bool:
        """Keep the response to the request *key* until then. False: there is one already, and it stays."""

        def write(connection: Connection) -> bool:
            connection.execute(delete(_replay).where(_replay.c.key == key, _replay.c.until <= now))
            values = {"key": key, "until": until, **msgspec.structs.asdict(reply)}
            statement = insert(_replay, connection.dialect.name).values(values)
            statement = statement.on_conflict_do_nothing(index_elements=["key"]).returning(_replay.c.key)
            return connection.execute(statement).first() is not None

        return await self._write(write)

    async def forget_replies(self, now: float) -> None:
        """Drop remembered responses whose time is over."""

        def write(connection: Connection) -> bool:
            connection.execute(delete(_replay).where(_replay.c.until <= now))
            return True

        await self._write(write)

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

    async def sessions(self, limit: int, *, customer: str | None = None, state: str | None = None) -> list[StoredSession]:
        """The newest sessions first; None does not filter."""
        query = select(_session).order_by(desc(_session.c.opened_at), desc(_session.c.id)).limit(limit)
        if customer is not None:
            query = query.where(_session.c.customer == customer)
        if state is not None:
            query = query.where(_session.c.state == state)
        return await self._sessions(query)

    async def session(self, session: SessionId) -> StoredSession | None:
        """None: there is no such session."""
        return next(iter(await self._sessions(select(_session).where(_session.c.id == session))), None)

    async def events(self, session: SessionId, after: int = 0) -> list[StoredEvent]:
        """The session's events with numbers above *after*, in order."""
        query = select(_event).where(_event.c.session == session, _event.c.seq > after).order_by(_event.c.seq)
        return await self._read(query, lambda row: _as(StoredEvent, row))

    async def timeline(self, session: SessionId, after: int = 0) -> list[TimelineLine]:
        """The session's timeline lines with numbers above *after*, in order."""
        query = select(_timeline).where(_timeline.c.session == session, _timeline.c.n > after).order_by(_timeline.c.n)
        return await self._read(query, lambda row: _as(TimelineLine, row))

    async def decisions(self, session: SessionId) -> list[StoredDecision]:
        """The session's decisions with their inputs, in order."""
        query = select(_decision).where(_decision.c.session == session).order_by(_decision.c.n)
        return await self._read(query, lambda row: StoredDecision(seq=row["seq"], decision=_as(DecisionRow, row)))

    # --- texts -----------------------------------------------------------------------------------------------------

    async def messages(self, session: SessionId) -> list[MessageRow]:
        """The session's texts in the order they were saved."""
        return await self._read(select(_message).where(_message.c.session == session).order_by(_message.c.n), _as_message)

    async def message(self, message: MessageId) -> MessageRow | None:
        """None: there is no such text."""
        return await self._first(select(_message).where(_message.c.id == message), _as_message)

    async def message_by_ref(self, provider: str, ref: ProviderRef) -> MessageRow | None:
        """The text the provider knows as *ref*, inbound or outbound."""
        return await self._first(
            select(_message).where(_message.c.provider == provider, _message.c.provider_ref == ref), _as_message
        )

    async def message_steps(self, message: MessageId) -> list[MessageStep]:
        """The ledger of one text, in the order things were saved."""
        table = tables.message_event
        return await self._read(
            select(table).where(table.c.message == message).order_by(table.c.n), lambda row: _as(MessageStep, row)
        )

    async def known_refs(self, provider: str, recipient: str, since: float) -> set[ProviderRef]:
        """The provider's ids of texts to *recipient* made since then: these are accounted for, an unknown one is not."""
        query = select(_message.c.provider_ref).where(
            _message.c.provider == provider,
            _message.c.recipient == recipient,
            _message.c.created_at >= since,
            _message.c.provider_ref.is_not(None),
        )
        return set(await self._read(query, lambda row: ProviderRef(row["provider_ref"])))

    async def undecided(self, provider: str, since: float, limit: int) -> list[ProviderRef]:
        """The provider's ids of texts it took since then and of whose end we have not heard, newest first."""
        query = select(_message.c.provider_ref).where(
            _message.c.direction == "out",
            _message.c.provider == provider,
            _message.c.state.in_(["accepted", "queued", "sending", "sent"]),
            _message.c.created_at >= since,
            _message.c.provider_ref.is_not(None),
        )
        query = query.order_by(desc(_message.c.n)).limit(limit)
        return await self._read(query, lambda row: ProviderRef(row["provider_ref"]))

    async def unhandled_inbound(self) -> list[InboundRow]:
        """Inbound texts that were kept and not yet given to a session, in the order they came."""
        table = tables.inbound
        query = select(table).where(table.c.handled.is_(False)).order_by(table.c.n)
        return await self._read(query, lambda row: _as(InboundRow, row))

    async def outbox_now(self, now: float, limit: int) -> OutboxNow:
        """What there is to do about outbound texts; at most *limit* of those that are due."""
        texts = select(_outbox, _message).join(_message, _message.c.id == _outbox.c.message)
        pending = _outbox.c.state == "pending"
        due = texts.where(pending, _outbox.c.due_at <= now).order_by(_outbox.c.priority, _outbox.c.created_at, _outbox.c.n)
        unknown = texts.where(_outbox.c.state == "attempting").order_by(_outbox.c.attempted_at, _outbox.c.n)
        paused = (
            select(_message.c.recipient)
            .join(_outbox, _message.c.id == _outbox.c.message)
            .where(pending, _outbox.c.due_at > now, _outbox.c.attempts > 0)
        )
        later = select(func.min(_outbox.c.due_at)).where(pending, _outbox.c.due_at > now)

        def read(connection: Connection) -> OutboxNow:
            return OutboxNow(
                due=[_as_outbox_text(row) for row in connection.execute(due.limit(limit)).mappings()],
                unknown=[_as_outbox_text(row) for row in connection.execute(unknown).mappings()],
                paused=set(connection.execute(paused).scalars()),
                next_due=connection.execute(later).scalar(),
            )

        return await self._readers.run(read)

    async def outbox(self, message: MessageId) -> OutboxRow | None:
        """Where a text stands on its way out; None when it never had to go out."""
        return await self._first(select(_outbox).where(_outbox.c.message == message), lambda row: _as(OutboxRow, row))

    async def recall(self, key: str, now: float) -> Reply | None:
        """The remembered response to the request *key*."""
        return await self._first(select(_replay).where(_replay.c.key == key, _replay.c.until > now), lambda row: _as(Reply, row))

    # --- people ----------------------------------------------------------------------------------------------------

    async def suppressed(self, number: str, sender: str) -> bool:
        """Whether *number* opted out of texts from *sender*, or of all our texts; the newest entry of each counts."""
        table = tables.suppression
        query = select(table).where(table.c.number == number, table.c.sender.in_([sender, EVERY_SENDER])).order_by(table.c.n)
        newest = dict(await self._read(query, lambda row: (row["sender"], bool(row["suppressed"]))))
        return any(newest.values())

    async def consents(self, number: str) -> list[ConsentRow]:
        """The consent ledger of a number, oldest first."""
        table = tables.consent
        return await self._read(
            select(table).where(table.c.number == number).order_by(table.c.n), lambda row: _as(ConsentRow, row)
        )

    async def contact(self, number: str) -> ContactRow | None:
        """None: nothing is known."""
        table = tables.contact
        return await self._first(select(table).where(table.c.number == number), lambda row: _as(ContactRow, row))

    async def agent_states(self) -> dict[AgentId, AgentStateRow]:
        """What every agent did when last heard."""
        rows = await self._read(select(tables.agent_state), lambda row: _as(AgentStateRow, row))
        return {row.agent: row for row in rows}

    async def value(self, key: str) -> bytes | None:
        """What a unit's `kv` put there last."""
        return await self._first(select(tables.kv).where(tables.kv.c.key == key), lambda row: bytes(row["value"]))

    # --- reading, in general ---------------------------------------------------------------------------------------

    async def _read(self, query: Select[Any], make: Callable[[RowMapping], T]) -> list[T]:
        return await self._readers.run(lambda connection: [make(row) for row in connection.execute(query).mappings()])

    async def _first(self, query: Select[Any], make: Callable[[RowMapping], T]) -> T | None:
        return next(iter(await self._read(query, make)), None)

    async def _sessions(self, query: Select[Any]) -> list[StoredSession]:
        return await self._read(
            query,
            lambda row: msgspec.convert(
                {**{name: row[name] for name in ("id", "seq", "lines", "snapshot")}, "row": _as(SessionRow, row)}, StoredSession
            ),
        )


_session, _event, _timeline, _decision = tables.session, tables.event, tables.timeline, tables.decision
_message, _outbox, _replay = tables.message, tables.outbox, tables.replay


def _apply(connection: Connection, requests: list[Unit | SmallWrite]) -> list[Committed | bool | JournalError]:
    """Units first and together, then the small writes."""
    units = [request for request in requests if isinstance(request, Unit)]
    done = iter(apply_units(connection, units) if units else [])
    return [next(done) if isinstance(request, Unit) else request(connection) for request in requests]


def _as(kind: type[AnyStruct], row: RowMapping, table: Table | None = None) -> AnyStruct:
    """The struct *kind* from the columns with its fields' names; *table* says whose, after a join."""
    names = (field.name for field in msgspec.structs.fields(kind))
    return msgspec.convert({name: row[name if table is None else table.c[name]] for name in names}, kind)


def _as_message(row: RowMapping) -> MessageRow:
    return _as(MessageRow, row)


def _as_outbox_text(row: RowMapping) -> OutboxText:
    return OutboxText(outbox=_as(OutboxRow, row, _outbox), message=_as(MessageRow, row, _message))
