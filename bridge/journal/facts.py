"""The facts that reports are made of, kept beside the ledgers they are made from.

A session is read again when its timeline has grown since. Every step is a transaction that replaces what was there, so the work
may be cut off anywhere, done twice, and done by several nodes at once. The timeline stays the truth: `forget_facts` throws
everything away, and `catch_up` makes it again; only the facts of sessions that were erased stay, because they cannot be made
again.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, RowMapping, and_, bindparam, delete, func, or_, select, true, update

from bridge.journal import facts_tables as t
from bridge.journal import tables
from bridge.journal.crm_erasure import ERASED
from bridge.journal.database import insert, take_turn, upsert
from bridge.journal.door import Door
from bridge.reports.facts import Facts, Line, Told, facts_of
from sms.numbers import look_up

PORTION = 100
"""Sessions in one transaction: calls that are saved meanwhile wait for it."""
MARGIN = 86_400.0
"""Seconds of sessions that are over and are looked at again: what is reported late makes a line more."""
LATE = 3_600.0
"""Seconds of texts outside sessions that are looked at again."""
SETTLED_AFTER = 3 * 86_400.0
"""Seconds after which a text's state and segments are taken for the last."""
SOON = 60.0
"""Seconds within which a wrap-up begins after the work it belongs to."""
OVERLAP = 200
"""Agents' spans that are looked at again: with several nodes their numbers are not given in the order of the commits."""
SPANS = 5_000
"""Of agents, read at once."""
_FINAL = frozenset({"delivered", "read", "undelivered", "failed", "canceled", "received"})
_CLOSED, _SPANS, _TEXTS = "facts_closed_until", "facts_spans_until", "facts_texts_until"
_session, _timeline, _message, _kv = tables.session, tables.timeline, tables.message, tables.kv
_CONTACTS = ("call", "inbound", "direct")
"""How sessions begin that customers begin."""


class _Names(msgspec.Struct):
    """What is wanted of a session's snapshot."""

    names: dict[str, str] = {}


_NAMES = msgspec.json.Decoder(_Names)


class FactsDoor(Door):
    """Brings the facts up to date."""

    async def catch_up(self) -> int:
        """Make the facts of everything that has happened since; returns how many sessions were read."""
        newest_span = await self._readers.run(lambda connection: connection.execute(select(func.max(t.agent_span.c.n))).scalar())
        read = 0
        kept = await self._kept(_CLOSED)
        after = (kept - MARGIN if kept else 0.0, "")
        while True:
            known, after_next = await self._readers.run(partial(_changed, after=after))
            if known:
                await self._write(partial(write_facts, sessions=known))
                read += len(known)
            if after_next is None:
                break
            after = after_next
            if after[0] > kept:
                kept = after[0]
                await self._keep(_CLOSED, kept)
        await self._texts_outside()
        await self._texts_moved()
        await self._wrap_ups(newest_span or 0)
        return read

    async def forget_facts(self) -> None:
        """Throw away all facts but those that could not be made again."""

        def write(connection: Connection) -> None:
            erased = select(_session.c.id).where(_session.c.snapshot == ERASED)
            connection.execute(delete(t.fact_session).where(t.fact_session.c.id.not_in(erased)))
            for table in (t.fact_visit, t.fact_handling, t.fact_wrap_up, t.fact_mark):
                connection.execute(delete(table).where(table.c.session.not_in(erased)))
            outside = t.fact_text.c.session.is_(None)
            connection.execute(delete(t.fact_text).where(or_(outside, t.fact_text.c.session.not_in(erased))))
            connection.execute(delete(_kv).where(_kv.c.key.in_([_CLOSED, _SPANS, _TEXTS])))

        await self._write(write)

    async def _kept(self, key: str) -> float:
        query = select(_kv.c.value).where(_kv.c.key == key)
        value = await self._readers.run(lambda connection: connection.execute(query).scalar())
        return 0.0 if value is None else float(value)

    async def _keep(self, key: str, value: float) -> None:
        await self._write(
            lambda connection: connection.execute(
                upsert(_kv, connection.dialect.name), {"key": key, "value": repr(value).encode()}
            )
        )

    async def _texts_outside(self) -> None:
        """Texts that belong to no session: a program's, or ones that nobody takes."""
        since = await self._kept(_TEXTS)
        query = (
            select(_message)
            .where(_message.c.session.is_(None), _message.c.created_at >= since - LATE)
            .where(~select(t.fact_text.c.message).where(t.fact_text.c.message == _message.c.id).exists())
            .order_by(_message.c.created_at)
            .limit(10 * PORTION)
        )
        while rows := await self._read(query, _text_outside):
            await self._write(partial(_insert_texts, rows=rows))
            await self._keep(_TEXTS, rows[-1]["at"])

    async def _texts_moved(self) -> None:
        """What became of texts that were on their way."""
        moved = or_(
            t.fact_text.c.state != _message.c.state,
            func.coalesce(t.fact_text.c.segments, -1) != func.coalesce(_message.c.segments, -1),
        )
        query = (
            select(_message.c.id, _message.c.state, _message.c.segments)
            .join(t.fact_text, t.fact_text.c.message == _message.c.id)
            .where(~t.fact_text.c.settled, moved)
        )
        rows = await self._read(
            query, lambda row: {"key": row["id"], "s": row["state"], "g": row["segments"], "f": _is_settled(row)}
        )
        change = (
            update(t.fact_text)
            .where(t.fact_text.c.message == bindparam("key"))
            .values(state=bindparam("s"), segments=bindparam("g"), settled=bindparam("f"))
        )
        if rows:
            await self._write(lambda connection: connection.execute(change, rows))
        newest = await self._readers.run(lambda connection: connection.execute(select(func.max(t.fact_text.c.at))).scalar())
        old = and_(~t.fact_text.c.settled, t.fact_text.c.at < (newest or 0.0) - SETTLED_AFTER)
        if await self._readers.run(lambda connection: connection.execute(select(t.fact_text.c.at).where(old).limit(1)).first()):
            await self._do(update(t.fact_text).where(old).values(settled=true()))

    async def _wrap_ups(self, newest: int) -> None:
        """Give each wrap-up that is over to the call after which it began. Sessions have to be read up to there before."""
        at = await self._kept(_SPANS)
        if newest <= at:
            return
        first = max(0, int(at) - OVERLAP)
        while first < newest:
            last = min(first + SPANS, newest)
            found = await self._readers.run(partial(_wrap_ups_between, first=first, last=last))
            if found:
                await self._write(partial(_put_wrap_ups, rows=found))
            first = last
        await self._keep(_SPANS, newest)


def _changed(connection: Connection, after: tuple[float, str]) -> tuple[list[dict[str, Any]], tuple[float, str] | None]:
    """Sessions whose timeline has grown since they were read, and where to go on; None when that was all.

    Those that are open come first, all of them, then those that are over, in the order in which they ended.
    """
    columns = (_session.c.id, _session.c.closed_at)
    grown = or_(t.fact_session.c.lines.is_(None), t.fact_session.c.lines != _session.c.lines)
    joined = _session.outerjoin(t.fact_session, t.fact_session.c.id == _session.c.id)
    open_now = connection.execute(
        select(*columns).select_from(joined).where(_session.c.closed_at.is_(None), grown).limit(PORTION)
    ).all()
    if open_now:
        return _read_sessions(connection, [row.id for row in open_now]), after
    closed_at, last = after
    later = or_(_session.c.closed_at > closed_at, and_(_session.c.closed_at == closed_at, _session.c.id > last))
    closed = connection.execute(
        select(*columns)
        .select_from(joined)
        .where(_session.c.closed_at >= closed_at, later, grown)
        .order_by(_session.c.closed_at, _session.c.id)
        .limit(PORTION)
    ).all()
    if not closed:
        return [], None
    return _read_sessions(connection, [row.id for row in closed]), (closed[-1].closed_at, closed[-1].id)


def _read_sessions(connection: Connection, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of these sessions' facts, ready to be written: {table: rows} each."""
    sessions = connection.execute(select(_session).where(_session.c.id.in_(ids))).mappings().all()
    lines: dict[str, list[Line]] = {}
    query = select(_timeline).where(_timeline.c.session.in_(ids)).order_by(_timeline.c.session, _timeline.c.n)
    for row in connection.execute(query):
        lines.setdefault(row.session, []).append(Line(row.n, row.at, row.kind, row.data))
    texts = {
        row["id"]: row
        for row in connection.execute(
            select(
                _message.c.id,
                _message.c.direction,
                _message.c.sender,
                _message.c.recipient,
                _message.c.media,
                _message.c.state,
                _message.c.segments,
            ).where(_message.c.session.in_(ids))
        ).mappings()
    }
    return [_rows_of(connection, session, lines.get(session["id"], []), texts) for session in sessions]


def _rows_of(
    connection: Connection, session: RowMapping, lines: Sequence[Line], texts: Mapping[str, RowMapping]
) -> dict[str, Any]:
    erased = session["snapshot"] == ERASED
    names = {} if erased else _NAMES.decode(session["snapshot"]).names
    told = Told(session["id"], session["opened_at"], session["closed_at"], session["service"], tuple(lines), names)
    facts = facts_of(told)
    head = {
        **msgspec.structs.asdict(facts.session),
        "lines": session["lines"],
        "previous_at": _previous(connection, session) if facts.session.by_customer else None,
    }
    return {"erased": erased, "head": head, **_tables_of(facts, texts)}


def _tables_of(facts: Facts, texts: Mapping[str, RowMapping]) -> dict[str, list[dict[str, Any]]]:
    """Rows by table."""
    rows = []
    for fact in facts.texts:
        kept = texts.get(fact.message)
        if kept is None:
            continue  # files that came by a link stand in the timeline alone
        rows.append({**msgspec.structs.asdict(fact), "session": facts.session.id, "channel": "sms", **_state_of(kept)})
    return {
        "fact_visit": [msgspec.structs.asdict(fact) for fact in facts.visits],
        "fact_handling": [msgspec.structs.asdict(fact) for fact in facts.handlings],
        "fact_text": rows,
        "fact_mark": [msgspec.structs.asdict(fact) for fact in facts.marks],
    }


def _state_of(message: RowMapping) -> dict[str, Any]:
    theirs = message["sender"] if message["direction"] == "in" else message["recipient"]
    return {
        "country": _country(theirs),
        "media": bool(message["media"]),
        "state": message["state"],
        "segments": message["segments"],
        "settled": _is_settled(message),
    }


def _is_settled(message: RowMapping) -> bool:
    """Whether nothing more is to be learnt of a text."""
    known = message["segments"] is not None or message["state"] in {"received", "canceled", "failed"}
    return message["state"] in _FINAL and known


@lru_cache(maxsize=20_000)
def _country(number: str) -> str | None:
    return look_up(number).country


def _text_outside(row: RowMapping) -> dict[str, Any]:
    author = "customer" if row["direction"] == "in" else "api" if row["author"].startswith("api:") else "system"
    return {
        "message": row["id"],
        "session": None,
        "at": row["created_at"],
        "direction": row["direction"],
        "channel": "sms",
        "type": "sms_in" if row["direction"] == "in" else "api",
        "author": author,
        "agent": None,
        "queue": None,
        **_state_of(row),
    }


def _insert_texts(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    connection.execute(insert(t.fact_text, connection.dialect.name).on_conflict_do_nothing(), rows)


def _previous(connection: Connection, session: RowMapping) -> float | None:
    """When the customer had begun a session last before this one."""
    if session["customer"] is None:
        return None
    query = select(func.max(_session.c.opened_at)).where(
        _session.c.customer == session["customer"],
        _session.c.opened_at < session["opened_at"],
        _session.c.service.in_(_CONTACTS),
    )
    found = connection.execute(query).scalar()
    return None if found is None else float(found)


def write_facts(connection: Connection, sessions: Iterable[Mapping[str, Any]]) -> None:
    """Put these facts in the place of what was kept of the sessions. What was erased is not made again from what is left."""
    take_turn(connection)  # two nodes that replace the same rows would wait for each other
    sessions = [session for session in sessions if not session["erased"] or _is_new(connection, session["head"]["id"])]
    ids = [session["head"]["id"] for session in sessions]
    if not ids:
        return
    for table in t.PER_SESSION:
        connection.execute(delete(table).where(table.c.session.in_(ids)))
        rows = [row for session in sessions for row in session[table.name]]
        if rows:
            connection.execute(insert(table, connection.dialect.name).on_conflict_do_nothing(), rows)
    connection.execute(upsert(t.fact_session, connection.dialect.name), [session["head"] for session in sessions])


def _is_new(connection: Connection, session: str) -> bool:
    return connection.execute(select(t.fact_session.c.id).where(t.fact_session.c.id == session)).first() is None


def project(connection: Connection, sessions: Sequence[str]) -> None:
    """Make the facts of these sessions now, before something of them is taken away."""
    for start in range(0, len(sessions), PORTION):
        write_facts(connection, _read_sessions(connection, sessions[start : start + PORTION]))


def _put_wrap_ups(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    connection.execute(upsert(t.fact_wrap_up, connection.dialect.name), rows)


def _wrap_ups_between(connection: Connection, first: int, last: int) -> list[dict[str, Any]]:
    """Wrap-ups that spans with numbers above *first* up to *last* have ended, each with the call it belongs to."""
    span, found = t.agent_span, []
    before: dict[str, tuple[str, float] | None] = {}
    query = select(span).where(span.c.n > first, span.c.n <= last).order_by(span.c.since, span.c.n)
    for ending in connection.execute(query).all():
        earlier = before[ending.agent] if ending.agent in before else _state_before(connection, ending)
        before[ending.agent] = (ending.state, ending.since)
        if earlier is None or earlier[0] != "wrap_up":
            continue
        call = _call_before(connection, ending.agent, earlier[1])
        if call is not None:
            found.append({**call, "seconds": ending.since - earlier[1]})
    return found


def _state_before(connection: Connection, span: Row[Any]) -> tuple[str, float] | None:
    """The agent's state before *span*, and since when."""
    c = t.agent_span.c
    earlier = or_(c.since < span.since, and_(c.since == span.since, c.n < span.n))
    query = select(c.state, c.since).where(c.agent == span.agent, earlier).order_by(c.since.desc(), c.n.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else (row.state, row.since)


def _call_before(connection: Connection, agent: str, since: float) -> dict[str, Any] | None:
    """The call after which a wrap-up began; None when it began after a chat, or after nothing."""
    c = t.fact_handling.c
    query = (
        select(t.fact_handling)
        .where(c.agent == agent, c.until <= since, c.until >= since - SOON)
        .order_by(c.until.desc(), c.at.desc())
        .limit(1)
    )
    work = connection.execute(query).first()
    if work is None or work.channel != "voice":
        return None
    return {name: getattr(work, name) for name in ("session", "n", "at", "queue", "channel", "type", "agent")}
