"""All that is kept about one number: given out on request, and erased on request."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, case, delete, literal, or_, select, text, update

from bridge.events import Media
from bridge.journal import tables
from bridge.journal.rows import Erased, JournalError, StillOpenError

_session, _message, _outbox, _inbound = tables.session, tables.message, tables.outbox, tables.inbound
_PER_SESSION = (
    ("timeline", tables.timeline, tables.timeline.c.n),
    ("decisions", tables.decision, tables.decision.c.n),
    ("uploads", tables.upload, tables.upload.c.created_at),
)
_PER_NUMBER = (("contact", tables.contact), ("blocked", tables.blocked), ("line_type", tables.line_type))
NOTHING = b"null"
"""The snapshot of a session that was erased."""


def export(connection: Connection, number: str) -> Mapping[str, Any]:
    """Everything kept about *number*, as plain values. Snapshots and events are left out: the timelines say the same."""

    def rows(query: Select[Any], *without: str) -> list[dict[str, Any]]:
        return [_plain(row, without) for row in connection.execute(query).mappings()]

    sessions = rows(select(_session).where(_session.c.customer == number).order_by(_session.c.opened_at), "snapshot")
    for session in sessions:
        for name, table, order in _PER_SESSION:
            session[name] = rows(select(table).where(table.c.session == session["id"]).order_by(order), "session", "token_hash")
    ids, consent, suppression, notice = [row["id"] for row in sessions], tables.consent, tables.suppression, tables.notice
    return {
        "number": number,
        "sessions": sessions,
        "messages": rows(select(_message).where(_theirs(connection, number)).order_by(_message.c.n), "n"),
        "consents": rows(select(consent).where(consent.c.number == number).order_by(consent.c.n), "n"),
        "suppressions": rows(select(suppression).where(suppression.c.number == number).order_by(suppression.c.n), "n"),
        "notices": rows(select(notice).where(_about(number, ids)).order_by(notice.c.n), "n"),
        **{name: next(iter(rows(select(table).where(table.c.number == number))), None) for name, table in _PER_NUMBER},
    }


def _plain(row: RowMapping, without: tuple[str, ...]) -> dict[str, Any]:
    """Columns by name; JSON that is bytes is opened."""
    return {
        name: msgspec.json.decode(value) if isinstance(value, bytes) else value
        for name, value in row.items()
        if name not in without
    }


def _theirs(connection: Connection, number: str) -> ColumnElement[bool]:
    """Texts from and to *number*, and what was said in its sessions from another phone."""
    ids = connection.execute(select(_session.c.id).where(_session.c.customer == number)).scalars().all()
    return or_(
        _message.c.recipient == number,
        (_message.c.direction == "in") & (_message.c.sender == number),
        _message.c.session.in_(ids),
    )


def _about(number: str, sessions: list[str]) -> ColumnElement[bool]:
    return or_(tables.notice.c.number == number, tables.notice.c.session.in_(sessions))


def erase(connection: Connection, number: str, at: float, *, keep_opt_out: bool) -> Erased | JournalError:
    """Remove what is kept of *number*; an error, and nothing changed, while something of it is going on.

    Pictures that a text of somebody else shows as well are not among the digests.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")  # else what is deleted stays readable in the file
    found = connection.execute(select(_session.c.id, _session.c.closed_at).where(_session.c.customer == number)).all()
    messages = connection.execute(select(_message.c.id, _message.c.media).where(_theirs(connection, number))).all()
    sessions, texts = [row.id for row in found], [row.id for row in messages]
    if (why := _going_on(connection, number, texts)) or any(row.closed_at is None for row in found):
        return StillOpenError(why or "a session is open")
    pictures = {item.digest for row in messages for item in msgspec.convert(row.media, list[Media])}
    uploads = connection.execute(select(tables.upload.c.files).where(tables.upload.c.session.in_(sessions))).scalars()
    pictures |= {item.digest for files in uploads for item in msgspec.convert(files, list[Media])}
    counts = {
        "session": _blank_sessions(connection, sessions),
        "event": connection.execute(delete(tables.event).where(tables.event.c.session.in_(sessions))).rowcount,
        **_blank_lines(connection, sessions),
        "upload": connection.execute(delete(tables.upload).where(tables.upload.c.session.in_(sessions))).rowcount,
        **_delete_notices(connection, number, sessions),
        **_blank_texts(connection, texts, at),
        **_forget_person(connection, number, keep_opt_out=keep_opt_out),
    }
    return Erased(counts=counts, digests=tuple(sorted(pictures - _still_wanted(connection, pictures))))


def _going_on(connection: Connection, number: str, texts: list[str]) -> str | None:
    sending = select(_outbox.c.n).where(_outbox.c.message.in_(texts), _outbox.c.state == "attempting").limit(1)
    if connection.execute(sending).first() is not None:
        return "a text is being sent"
    coming = select(_inbound.c.raw).where(_inbound.c.handled.is_(False))
    if any(number.encode() in raw for raw in connection.execute(coming).scalars()):
        return "a text has come in and is not routed yet"
    return None


def _blank_sessions(connection: Connection, sessions: list[str]) -> int:
    return connection.execute(
        update(_session).where(_session.c.id.in_(sessions)).values(customer=None, snapshot=NOTHING)
    ).rowcount


def _blank_lines(connection: Connection, sessions: list[str]) -> dict[str, int]:
    timeline, decision = tables.timeline, tables.decision
    lines = connection.execute(update(timeline).where(timeline.c.session.in_(sessions)).values(data={}))
    decisions = connection.execute(update(decision).where(decision.c.session.in_(sessions)).values(inputs={}))
    return {"timeline": lines.rowcount, "decision": decisions.rowcount}


def _delete_notices(connection: Connection, number: str, sessions: list[str]) -> dict[str, int]:
    """Also those that wait: what they say is gone."""
    ids = select(tables.notice.c.id).where(_about(number, sessions))
    deliveries = connection.execute(delete(tables.delivery).where(tables.delivery.c.notice.in_(ids)))
    return {
        "delivery": deliveries.rowcount,
        "notice": connection.execute(delete(tables.notice).where(_about(number, sessions))).rowcount,
    }


def _blank_texts(connection: Connection, texts: list[str], at: float) -> dict[str, int]:
    waiting = (_outbox.c.message.in_(texts), _outbox.c.state == "pending")
    canceled = connection.execute(select(_outbox.c.message).where(*waiting)).scalars().all()
    connection.execute(update(_outbox).where(*waiting).values(state="done", outcome="canceled", done_at=at))
    connection.execute(update(_message).where(_message.c.id.in_(canceled)).values(state="canceled", updated_at=at))
    inbound = _message.c.direction == "in"
    blanked = connection.execute(
        update(_message)
        .where(_message.c.id.in_(texts))
        .values(
            body="",
            media=[],
            preset=None,
            sender=case((inbound, literal("")), else_=_message.c.sender),
            recipient=case((inbound, _message.c.recipient), else_=literal("")),
        )
    )
    return {"message": blanked.rowcount, "outbox": len(canceled)}


def _forget_person(connection: Connection, number: str, *, keep_opt_out: bool) -> dict[str, int]:
    counts = {
        table.name: connection.execute(delete(table).where(table.c.number == number)).rowcount
        for table in (tables.contact, tables.line_type)
    }
    consent, suppression, blocked = tables.consent, tables.suppression, tables.blocked
    agreed = delete(consent).where(consent.c.number == number)
    if keep_opt_out:
        counts["consent"] = connection.execute(agreed.where(consent.c.granted)).rowcount
        connection.execute(update(consent).where(consent.c.number == number).values(words="", evidence=""))
        connection.execute(update(suppression).where(suppression.c.number == number).values(reason=None, evidence=""))
        return counts
    counts["consent"] = connection.execute(agreed).rowcount
    for table in (suppression, blocked):
        counts[table.name] = connection.execute(delete(table).where(table.c.number == number)).rowcount
    return counts


def _still_wanted(connection: Connection, digests: set[str]) -> set[str]:
    """Which of these pictures another text or upload shows."""
    if not digests:
        return set()
    shown = connection.execute(select(_message.c.media).where(text("media <> '[]'"))).scalars().all()
    sent = connection.execute(select(tables.upload.c.files)).scalars().all()
    return digests & {item["digest"] for files in (*shown, *sent) for item in files}
