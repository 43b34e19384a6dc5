"""How units become rows: many units in a dozen statements, whatever their number."""

from collections import defaultdict
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import Connection, Update, bindparam, delete, func, update

from bridge.events import MessageId, SessionId
from bridge.journal import tables
from bridge.journal.bulk import Rows, insert_rows, select_in
from bridge.journal.crm import put_known
from bridge.journal.database import upsert
from bridge.journal.rows import (
    AlreadyHandledError,
    Committed,
    ContactRow,
    FencedError,
    JournalError,
    MessageRow,
    MessageUpdate,
    OvertakenError,
    StaleSessionError,
    Unit,
    UnitRefusedError,
)


def apply_units(connection: Connection, units: list[Unit]) -> list[Committed | JournalError]:
    """Write *units* in order, on a connection that is in a transaction.

    Returns:
        For each unit where its session ends now, or why it was declined; a declined unit has left nothing behind.

    Raises:
        Exception: the database objected to one of them; the transaction has to be rolled back.
    """
    positions = _positions(connection, {unit.session for unit in units if unit.session is not None})
    batch = Batch(positions, _dealt_with(connection, units), _states(connection, units))
    results = [batch.add(unit) for unit in units]
    batch.write(connection)
    return results


class Position(msgspec.Struct, frozen=True):
    """Where a session stands in the journal."""

    end: Committed
    fence: int
    searched: tuple[Any, ...]
    """The values of the columns that have an index."""


def _positions(connection: Connection, ids: set[SessionId]) -> dict[SessionId, Position]:
    """Where these sessions stand, locked against other nodes' writers (SQLite has only one writer)."""
    query = _POSITIONS if connection.dialect.name == "sqlite" else f"{_POSITIONS} FOR UPDATE"
    return {
        row[0]: Position(Committed(row[1], row[2]), row[3], tuple(row[4:])) for row in select_in(connection, query, sorted(ids))
    }


def _dealt_with(connection: Connection, units: list[Unit]) -> set[MessageId]:
    """The inbound texts of *units* that were dealt with before, locked like the sessions, and always after them.

    A text that nobody has spooled, such as one by mail, was dealt with when it is among the texts that were said.
    """
    named = {message for unit in units for message in unit.inbound_handled}
    said = {message.id for unit in units for message in unit.messages if message.direction == "in"}
    if not named and not said:
        return set()
    query = _HANDLED if connection.dialect.name == "sqlite" else f"{_HANDLED} FOR UPDATE"
    spooled = {row[0]: row[1] for row in select_in(connection, query, sorted(named | said))}
    before = {message for message, handled in spooled.items() if handled}
    if others := said - (named & spooled.keys()):
        before.update(row[0] for row in select_in(connection, _SAID, sorted(others)))
    return before


def _states(connection: Connection, units: list[Unit]) -> dict[MessageId, str]:
    """The states of texts that must not have gone on, locked like the others, and after them."""
    if not (named := {change.id for unit in units for change in unit.message_updates if change.after is not None}):
        return {}
    query = _STATES if connection.dialect.name == "sqlite" else f"{_STATES} FOR UPDATE"
    return {row[0]: row[1] for row in select_in(connection, query, sorted(named))}


class Batch:
    """The rows of several units, table by table.

    Args:
        positions: Where their sessions stand.
        dealt_with: Inbound texts of theirs that need nobody any more.
        states: Of texts that must not have gone on.
    """

    def __init__(self, positions: dict[SessionId, Position], dealt_with: set[MessageId], states: dict[MessageId, str]) -> None:
        self._before = positions
        self._positions = {session: position.end for session, position in positions.items()}
        self._fences = {session: position.fence for session, position in positions.items()}
        self._dealt_with = dealt_with
        self._states = states
        self._new_sessions: dict[SessionId, dict[str, Any]] = {}
        self._session_updates: dict[SessionId, dict[str, Any]] = defaultdict(dict)
        self._inserts: dict[str, Rows] = defaultdict(list)
        self._upserts: dict[str, Rows] = defaultdict(list)
        self._message_updates: Rows = []
        self._outbox_done: Rows = []
        self._inbound_handled: Rows = []
        self._unblocked: Rows = []
        self._replies: Rows = []
        self._contacts: list[ContactRow] = []

    def add(self, unit: Unit) -> Committed | JournalError:
        """Take the rows of *unit*, or say why not and take none."""
        if unit.session is None:
            if unit.events or unit.snapshot is not None or unit.row is not None or unit.timeline or unit.fence is not None:
                return UnitRefusedError("a unit without a session has no events, snapshot, row, timeline or fence")
            if (refused := self._deal_with(unit)) is not None:
                return refused
            end = Committed(seq=0, lines=0)
        else:
            start = self._positions.get(unit.session)
            if unit.fence is not None and unit.fence < (stored := self._fences.get(unit.session, 0)):
                return FencedError(unit.session, unit.fence, stored)
            if unit.expected_seq is not None and unit.expected_seq != (actual := start.seq if start else 0):
                return StaleSessionError(unit.session, unit.expected_seq, actual)
            if start is None and (unit.row is None or unit.snapshot is None):
                return UnitRefusedError(
                    f"session {unit.session} is not in the journal; its first unit needs a row and a snapshot"
                )
            if (refused := self._deal_with(unit)) is not None:
                return refused
            end = self._add_session(unit.session, unit, start)
        self._add_texts(unit)
        self._add_people(unit)
        self._add_others(unit)
        self._inserts["decision"] += (
            {"session": unit.session, "seq": end.seq, **msgspec.structs.asdict(decision)} for decision in unit.decisions
        )
        self._upserts["kv"] += ({"key": key, "value": value} for key, value in unit.kv.items())
        return end

    def _deal_with(self, unit: Unit) -> AlreadyHandledError | OvertakenError | None:
        """Take the inbound texts of *unit* for dealt with and texts of ours for as far as it says, or say what is already so."""
        for change in unit.message_updates:
            if change.after is not None and self._states.get(change.id) != change.after:
                return OvertakenError(change.id)
        if not unit.inbound_handled and not unit.messages and not unit.message_updates:
            return None
        names = {*unit.inbound_handled, *(message.id for message in unit.messages if message.direction == "in")}
        if before := names & self._dealt_with:
            return AlreadyHandledError(min(before))
        self._dealt_with |= names
        self._states.update((change.id, change.state) for change in unit.message_updates if change.id in self._states)
        return None

    def _add_session(self, session: SessionId, unit: Unit, start: Committed | None) -> Committed:
        seq, lines = (start.seq, start.lines) if start else (0, 0)
        end = Committed(seq=seq + len(unit.events), lines=lines + len(unit.timeline))
        fence = self._fences[session] = max(unit.fence or 0, self._fences.get(session, 0))
        values: dict[str, Any] = {"seq": end.seq, "lines": end.lines, "fence": fence}
        if unit.snapshot is not None:
            values["snapshot"] = unit.snapshot
        if unit.row is not None:
            values |= msgspec.structs.asdict(unit.row)
        if start is None:
            self._new_sessions[session] = {"id": session, **values}
        else:  # a session's several units add up to one row
            (self._new_sessions.get(session) or self._session_updates[session]).update(values)
        self._inserts["event"] += (
            {"session": session, "seq": n, "at": at, "body": body} for n, (at, body) in enumerate(unit.events, seq + 1)
        )
        self._inserts["timeline"] += (
            {"session": session, "n": n, "at": line.at, "kind": line.kind, "data": line.data}
            for n, line in enumerate(unit.timeline, lines + 1)
        )
        self._positions[session] = end
        return end

    def _write_sessions(self, connection: Connection) -> None:
        """Sessions that go on. Most bring everything; what is searched by is left alone where it is the same, and its indexes."""
        alike: dict[tuple[str, ...], Rows] = defaultdict(list)
        for session, values in self._session_updates.items():
            if len(values) < len(_SESSION_COLUMNS) - 1:
                alike[tuple(values)].append({"key": session} | {f"new_{name}": value for name, value in values.items()})
                continue
            row = {"id": session} | {name: values[name] for name in _SESSION_COLUMNS if name != "id"}
            moved = self._before[session].searched != tuple(row[name] for name in _SEARCHED)
            alike[_MOVED if moved else _STAYED].append(row)
        for names, rows in alike.items():
            if names in {_MOVED, _STAYED}:
                insert_rows(connection, "session", rows, " ".join(names))
            else:
                connection.execute(_update_session(names), rows)

    def _add_texts(self, unit: Unit) -> None:
        self._inserts["message"] += (msgspec.structs.asdict(message) for message in unit.messages)
        self._inserts["message_event"] += (_step(message, message.created_at) for message in unit.messages)
        self._inserts["message_event"] += (_step(change, change.at) for change in unit.message_updates)
        self._message_updates += (
            {"key": change.id} | {f"new_{name}": value for name, value in _step(change, change.at).items() if name != "message"}
            for change in unit.message_updates
        )
        self._inserts["outbox"] += (msgspec.structs.asdict(row) for row in unit.outbox)
        self._outbox_done += ({"key": done.message, "new_outcome": done.outcome, "new_at": done.at} for done in unit.outbox_done)
        self._inbound_handled += ({"key": message} for message in unit.inbound_handled)

    def _add_people(self, unit: Unit) -> None:
        self._inserts["consent"] += (
            msgspec.structs.asdict(row) | {"session": row.session if row.session is not None else unit.session}
            for row in unit.consents
        )
        for entries, suppressed in ((unit.suppress, True), (unit.unsuppress, False)):
            self._inserts["suppression"] += (msgspec.structs.asdict(entry) | {"suppressed": suppressed} for entry in entries)
        self._contacts += unit.contacts
        self._upserts["agent_state"] += (msgspec.structs.asdict(row) for row in unit.agent_states)
        self._inserts["agent_span"] += (
            {"agent": row.agent, "state": row.state, "reason": row.reason, "since": row.since} for row in unit.agent_states
        )
        self._upserts["blocked"] += (msgspec.structs.asdict(row) for row in unit.block)
        self._unblocked += ({"key": number} for number in unit.unblock)

    def _add_others(self, unit: Unit) -> None:
        for notice in unit.notices:
            values = msgspec.structs.asdict(notice)
            for endpoint in values.pop("endpoints"):
                self._inserts["delivery"].append(
                    {
                        "notice": notice.id,
                        "session": notice.session,
                        "endpoint": endpoint,
                        "due_at": notice.at,
                        "attempts": 0,
                        "state": "pending",
                    }
                )
            self._inserts["notice"].append(values)
        self._upserts["upload"] += (msgspec.structs.asdict(row) for row in unit.uploads)
        self._replies += (
            {"request": key} | {f"new_{name}": value for name, value in msgspec.structs.asdict(reply).items()}
            for key, reply in unit.replies.items()
        )

    def write(self, connection: Connection) -> None:
        """Send everything taken, what is referred to before what refers to it."""
        dialect = connection.dialect.name
        if self._new_sessions:
            insert_rows(connection, "session", list(self._new_sessions.values()))
        self._write_sessions(connection)
        for name in _IN_ORDER:
            if rows := self._inserts[name]:
                # A notice that was made before is not made again: nobody's step is to fail for it.
                insert_rows(connection, name, rows, "ON CONFLICT DO NOTHING" if name in {"notice", "delivery"} else "")
        for name, rows in self._upserts.items():
            if rows:
                connection.execute(upsert(tables.metadata.tables[name], dialect), rows)
        for known in self._contacts:
            put_known(connection, known)
        for statement, rows in (
            (_UPDATE_MESSAGE, self._message_updates),
            (_FINISH, self._outbox_done),
            (_HANDLE, self._inbound_handled),
            (_UNBLOCK, self._unblocked),
            (FILL, self._replies),
        ):
            if rows:  # in one order, so that two nodes do not wait for each other
                connection.execute(statement, sorted(rows, key=_first))


def _step(source: MessageRow | MessageUpdate, at: float) -> dict[str, Any]:
    """An entry of a text's own ledger."""
    return {
        "message": source.id,
        "state": source.state,
        "at": at,
        "provider_ref": source.provider_ref,
        "segments": source.segments,
        "error_code": source.error_code,
    }


def _first(row: dict[str, Any]) -> str:
    """What an update finds its row by; it is the first of its values."""
    return str(next(iter(row.values())))


@cache
def _update_session(names: tuple[str, ...]) -> Update:
    changes: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
    return update(tables.session).where(tables.session.c.id == bindparam("key")).values(changes)


_message, _outbox, _inbound, _replay = tables.message, tables.outbox, tables.inbound, tables.replay
_SESSION_COLUMNS = tuple(column.name for column in tables.session.columns)
_SEARCHED = ("customer", "our_number", "opened_at", "closed_at", "queue", "agent")
_POSITIONS = f"SELECT id, seq, lines, fence, {', '.join(_SEARCHED)} FROM session WHERE id {{keys}} ORDER BY id"  # noqa: S608 - ours
_HANDLED = "SELECT message, handled FROM inbound WHERE message {keys} ORDER BY message"
_STATES = "SELECT id, state FROM message WHERE id {keys} ORDER BY id"
_SAID = "SELECT id FROM message WHERE id {keys}"
_STAYED, _MOVED = (
    ("ON CONFLICT (id) DO UPDATE SET", ", ".join(f"{name} = excluded.{name}" for name in _SESSION_COLUMNS if name not in kept))
    for kept in ({"id", *_SEARCHED}, {"id"})
)
_IN_ORDER = (
    "event", "timeline", "message", "message_event", "outbox", "consent", "suppression", "decision", "notice", "delivery",
    "agent_span",
)  # fmt: skip
_UPDATE_MESSAGE = (
    update(_message)
    .where(_message.c.id == bindparam("key"))
    .values(
        state=bindparam("new_state"),
        updated_at=bindparam("new_at"),
        provider_ref=func.coalesce(bindparam("new_provider_ref"), _message.c.provider_ref),
        segments=func.coalesce(bindparam("new_segments"), _message.c.segments),
        error_code=func.coalesce(bindparam("new_error_code"), _message.c.error_code),
    )
)
_FINISH = (
    update(_outbox)
    .where(_outbox.c.message == bindparam("key"))
    .values(state="done", outcome=bindparam("new_outcome"), done_at=bindparam("new_at"))
)
# What it said is in the message by now; what stays is that it came.
_HANDLE = update(_inbound).where(_inbound.c.message == bindparam("key")).values(handled=True, raw=b"{}")
_UNBLOCK = delete(tables.blocked).where(tables.blocked.c.number == bindparam("key"))
FILL = (
    update(_replay)
    .where(_replay.c.key == bindparam("request"), _replay.c.status.is_(None))
    .values(status=bindparam("new_status"), headers=bindparam("new_headers"), body=bindparam("new_body"))
)
"""Answers a reserved request; one that is answered stays as it is."""
