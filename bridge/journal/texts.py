"""Texts in the journal: what was said, what has to go out, what came in and nobody has looked at yet."""

from collections.abc import Collection
from operator import eq, ge, lt
from typing import Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, Text, desc, func, or_, select, text, type_coerce, update
from sqlalchemy import insert as plain_insert

from bridge.events import MessageId, ProviderRef, SessionId
from bridge.journal import tables
from bridge.journal.bulk import insert_returning
from bridge.journal.door import Door, as_struct, wanted
from bridge.journal.rows import InboundRow, MessageRow, MessageState, MessageStep, OutboxNow, OutboxRow, OutboxText

_message, _outbox, _step, _inbound = tables.message, tables.outbox, tables.message_event, tables.inbound

NEWEST = 2_000
"""Steps in the lives of texts among which what was sent a moment ago is looked for; there is no index by time."""


class _Sides(msgspec.Struct, frozen=True):
    """Between whom an inbound text went."""

    sender: str
    recipient: str


class Texts(Door):
    """Everything about texts that is not part of a unit."""

    # --- on the way out --------------------------------------------------------------------------------------------

    async def claim_outbox_many(self, messages: Collection[MessageId], now: float) -> set[MessageId]:
        """Take pending texts for one attempt each, in one write; returns those that were pending and are now ours."""
        ids = list(messages)

        def write(connection: Connection) -> set[MessageId]:
            claimed = connection.execute(
                update(_outbox)
                .where(_outbox.c.message.in_(ids), _outbox.c.state == "pending")
                .values(state="attempting", attempts=_outbox.c.attempts + 1, attempted_at=now)
                .returning(_outbox.c.message)
            )
            return {MessageId(name) for name in claimed.scalars()}

        return set(await self._write(write)) if ids else set()

    async def outbox_retry(self, message: MessageId, due_at: float, *, attempt: int) -> bool:
        """Put a claimed text that was certainly not sent back in line. False: it is not claimed, or by a later claim.

        Args:
            message: Which one.
            due_at: Not before then.
            attempt: Which of its attempts was in vain, counted from 1. Of a later one, by whoever sends now, nobody else can
                say that it was.
        """
        claimed = (_outbox.c.message == message, _outbox.c.state == "attempting", _outbox.c.attempts == attempt)
        return await self._do(update(_outbox).where(*claimed).values(state="pending", due_at=due_at)) == 1

    async def outbox_later(self, message: MessageId, due_at: float) -> bool:
        """Let a text that nobody has claimed wait, as in quiet hours. False: it is not pending (any more)."""
        pending = (_outbox.c.message == message, _outbox.c.state == "pending")
        return await self._do(update(_outbox).where(*pending).values(due_at=due_at)) == 1

    async def cancel_scheduled(self, message: MessageId, now: float) -> bool:
        """Never send a text that waits for its time. False: it has been tried, is over, or never had to go out."""

        def write(connection: Connection) -> bool:
            waiting = (_outbox.c.message == message, _outbox.c.state == "pending", _outbox.c.attempts == 0)
            canceled = update(_outbox).where(*waiting).values(state="done", outcome="canceled", done_at=now)
            if connection.execute(canceled).rowcount != 1:
                return False
            connection.execute(update(_message).where(_message.c.id == message).values(state="canceled", updated_at=now))
            connection.execute(plain_insert(_step).values(message=message, state="canceled", at=now))
            return True

        return bool(await self._write(write))

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
        return await self._first(select(_outbox).where(_outbox.c.message == message), lambda row: as_struct(OutboxRow, row))

    async def sent_lately(self, since: float) -> list[tuple[str, str, float]]:
        """(sender, body, when) of texts that went out since then, or may have, oldest first; whichever node sent them."""
        newest = select(func.max(_step.c.n) - NEWEST).scalar_subquery()
        taken = (
            select(_message.c.sender, _message.c.body, _step.c.at)
            .join(_message, _message.c.id == _step.c.message)
            .where(_step.c.n > newest, _step.c.at >= since, _step.c.segments.is_not(None), _message.c.direction == "out")
        )
        claimed = (
            select(_message.c.sender, _message.c.body, _outbox.c.attempted_at)
            .join(_message, _message.c.id == _outbox.c.message)
            .where(_outbox.c.state == "attempting", _outbox.c.attempted_at >= since)
        )

        def read(connection: Connection) -> list[tuple[str, str, float]]:
            rows = [*connection.execute(taken), *connection.execute(claimed)]
            return sorted(((row[0], row[1], row[2]) for row in rows), key=lambda row: row[2])

        return await self._readers.run(read)

    async def known_refs(self, provider: str, recipient: str, since: float) -> set[ProviderRef]:
        """The provider's ids of texts to *recipient* made since then: these are accounted for, an unknown one is not."""
        query = select(_message.c.provider_ref).where(
            _message.c.provider == provider,
            _message.c.recipient == recipient,
            _message.c.created_at >= since,
            _message.c.provider_ref.is_not(None),
        )
        return set(await self._read(query, lambda row: ProviderRef(row["provider_ref"])))

    async def introduced(self, recipient: str, presets: Collection[str], since: float) -> bool:
        """Whether a provider has taken a text to *recipient* since then that is one of *presets*, or of a flow."""
        query = select(_message.c.id).where(
            _message.c.recipient == recipient,
            _message.c.created_at >= since,
            _message.c.provider_ref.is_not(None),
            _message.c.direction == "out",
            or_(_message.c.preset.in_(presets), _message.c.author == "flow"),
        )
        return await self._first(query.limit(1), lambda _: True) is not None

    async def undecided(self, provider: str, since: float, limit: int) -> list[ProviderRef]:
        """The provider's ids of texts it took since then and of whose end we have not heard, newest first."""
        query = select(_message.c.provider_ref).where(
            _message.c.provider == provider,
            text(f"message.{tables.UNDECIDED}"),
            _message.c.created_at >= since,
            _message.c.provider_ref.is_not(None),
        )
        query = query.order_by(desc(_message.c.n)).limit(limit)
        return await self._read(query, lambda row: ProviderRef(row["provider_ref"]))

    # --- on the way in ---------------------------------------------------------------------------------------------

    async def spool_inbound(self, row: InboundRow) -> bool:
        """Keep an inbound text until a unit names it in `inbound_handled`. False: that (provider, ref) was kept before."""
        return bool(await self._writer.submit(row))

    async def unhandled_inbound(self, before: float | None = None) -> list[InboundRow]:
        """Inbound texts that were kept and not yet given to a session, in the order they came.

        Args:
            before: Only those that came before then; None: all. Younger ones another node may have in its hands.
        """
        conditions = [_inbound.c.handled.is_(False), *wanted((_inbound.c.received_at, lt, before))]
        query = select(_inbound).where(*conditions).order_by(_inbound.c.n)
        return await self._read(query, lambda row: as_struct(InboundRow, row))

    async def has_earlier_inbound(self, message: MessageId, sender: str, recipient: str, since: float) -> bool:
        """Whether *sender* has a text to *recipient* that was kept before this one, since then, and no session has yet."""
        this = select(_inbound.c.n).where(_inbound.c.message == message).scalar_subquery()
        query = select(_inbound.c.raw).where(
            _inbound.c.handled.is_(False),
            _inbound.c.n < this,
            _inbound.c.received_at >= since,
            type_coerce(_inbound.c.raw, Text).contains(sender, autoescape=True),
        )
        found = await self._read(query, lambda row: msgspec.json.decode(row["raw"], type=_Sides))
        return _Sides(sender, recipient) in found

    # --- what was said ---------------------------------------------------------------------------------------------

    async def messages(self, session: SessionId) -> list[MessageRow]:
        """The session's texts in the order they were saved."""
        return await self._read(select(_message).where(_message.c.session == session).order_by(_message.c.n), as_message)

    async def messages_page(
        self,
        limit: int,
        *,
        number: str | None = None,
        session: SessionId | None = None,
        direction: Literal["in", "out"] | None = None,
        state: MessageState | None = None,
        since: float | None = None,
        until: float | None = None,
        after: MessageId | None = None,
    ) -> list[MessageRow]:
        """The newest texts first, by the order they were saved in; None does not filter.

        Args:
            limit: How many at most.
            number: The customer's, as sender or recipient.
            session: Texts of this one only.
            direction: One way only.
            state: In this state now.
            since: Made then or later.
            until: Made before then.
            after: The last text of the page before this one.
        """
        conditions = wanted(
            (_message.c.session, eq, session),
            (_message.c.direction, eq, direction),
            (_message.c.state, eq, state),
            (_message.c.created_at, ge, since),
            (_message.c.created_at, lt, until),
        )
        if number is not None:
            conditions.append(of_customer(number))
        if after is not None:
            conditions.append(_message.c.n < select(_message.c.n).where(_message.c.id == after).scalar_subquery())
        return await self._read(select(_message).where(*conditions).order_by(desc(_message.c.n)).limit(limit), as_message)

    async def message(self, message: MessageId) -> MessageRow | None:
        """None: there is no such text."""
        return await self._first(select(_message).where(_message.c.id == message), as_message)

    async def message_by_ref(self, provider: str, ref: ProviderRef) -> MessageRow | None:
        """The text the provider knows as *ref*, inbound or outbound."""
        return await self._first(
            select(_message).where(_message.c.provider == provider, _message.c.provider_ref == ref), as_message
        )

    async def message_steps(self, message: MessageId) -> list[MessageStep]:
        """The ledger of one text, in the order things were saved."""
        return await self._read(
            select(_step).where(_step.c.message == message).order_by(_step.c.n), lambda row: as_struct(MessageStep, row)
        )

    async def recent_outbound(self, number: str, sender: str) -> MessageRow | None:
        """The newest text from one of our numbers to *number*, whatever became of it."""
        wanted = (_message.c.recipient == number, _message.c.direction == "out", _message.c.sender == sender)
        newest = (desc(_message.c.created_at), desc(_message.c.n))
        return await self._first(select(_message).where(*wanted).order_by(*newest).limit(1), as_message)


def spool(connection: Connection, rows: list[InboundRow]) -> list[bool]:
    """Keep inbound texts, all at once; of each whether it is new."""
    values = [msgspec.structs.asdict(row) | {"handled": False} for row in rows]
    new = set(insert_returning(connection, "inbound", values, "ON CONFLICT (provider, ref) DO NOTHING RETURNING message"))
    return [row.message in new for row in rows]


def of_customer(number: str) -> ColumnElement[bool]:
    """Texts to and from a customer's number."""
    sent = (_message.c.direction == "out") & (_message.c.recipient == number)
    # Said as the index says it, word for word: with a parameter in its place PostgreSQL could not know that the index fits.
    return or_(sent, text("message.direction = 'in'") & (_message.c.sender == number))


def as_message(row: RowMapping) -> MessageRow:
    """A text from its row."""
    return as_struct(MessageRow, row)


def _as_outbox_text(row: RowMapping) -> OutboxText:
    return OutboxText(outbox=as_struct(OutboxRow, row, _outbox), message=as_struct(MessageRow, row, _message))
