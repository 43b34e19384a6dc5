"""All that is kept about one number: given out on request, and erased on request."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, case, delete, literal, or_, select, text, update

from bridge.events import Media
from bridge.journal import tables
from bridge.journal.crm_erasure import ERASED, erase_contacts, export_contacts
from bridge.journal.facts import project
from bridge.journal.rows import Erased, JournalError, StillOpenError

_session, _message, _outbox, _inbound = tables.session, tables.message, tables.outbox, tables.inbound
_PER_SESSION = (
    ("timeline", tables.timeline, tables.timeline.c.n),
    ("decisions", tables.decision, tables.decision.c.n),
    ("uploads", tables.upload, tables.upload.c.created_at),
)
_PER_NUMBER = (("blocked", tables.blocked), ("line_type", tables.line_type))


def export(connection: Connection, number: str) -> Mapping[str, Any]:
    """Everything kept about *number*, as plain values. Snapshots and events are left out: the timelines say the same."""

    def rows(query: Select[Any], *without: str) -> list[dict[str, Any]]:
        return [_plain(row, without) for row in connection.execute(query).mappings()]

    theirs = _sessions_of(connection, number)
    sessions = rows(select(_session).where(_session.c.id.in_(theirs)).order_by(_session.c.opened_at), "snapshot")
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
        **export_contacts(connection, number, ids),
        **{name: next(iter(rows(select(table).where(table.c.number == number))), None) for name, table in _PER_NUMBER},
    }


def _plain(row: RowMapping, without: tuple[str, ...]) -> dict[str, Any]:
    """Columns by name; JSON that is bytes is opened."""
    return {
        name: msgspec.json.decode(value) if isinstance(value, bytes) else value
        for name, value in row.items()
        if name not in without
    }


def _sessions_of(connection: Connection, number: str) -> list[str]:
    """Sessions of *number*, and those of a withheld caller who wrote from it."""
    withheld = select(_message.c.session).join(_session, _session.c.id == _message.c.session)
    withheld = withheld.where(_wrote(number), _session.c.customer.is_(None))
    mine = or_(_session.c.customer == number, _session.c.id.in_(withheld))
    return list(connection.execute(select(_session.c.id).where(mine)).scalars())


def _visited(connection: Connection, number: str, own: list[str]) -> list[str]:
    """Sessions of somebody else in which *number* is another phone of theirs."""
    there = select(_message.c.session).where(or_(_message.c.recipient == number, _wrote(number)), _message.c.session.is_not(None))
    return sorted(set(connection.execute(there.distinct()).scalars()) - set(own))


def _wrote(number: str) -> ColumnElement[bool]:
    return (_message.c.direction == "in") & (_message.c.sender == number)


def _theirs(connection: Connection, number: str) -> ColumnElement[bool]:
    """Texts from and to *number*, and what was said in its sessions from another phone."""
    return or_(_message.c.recipient == number, _wrote(number), _message.c.session.in_(_sessions_of(connection, number)))


def _about(number: str, sessions: list[str]) -> ColumnElement[bool]:
    return or_(tables.notice.c.number == number, tables.notice.c.session.in_(sessions))


def erase(connection: Connection, number: str, at: float, *, keep_opt_out: bool) -> Erased | JournalError:
    """Remove what is kept of *number*; an error, and nothing changed, while something of it is going on.

    Of a conversation that belongs to another number, in which this one was a second phone, only what names this one goes.
    Pictures that a text of somebody else shows as well are not among the digests.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")  # else what is deleted stays readable in the file
    messages = connection.execute(select(_message.c.id, _message.c.media).where(_theirs(connection, number))).all()
    sessions, texts = _sessions_of(connection, number), [row.id for row in messages]
    visited = _visited(connection, number, sessions)
    open_now = select(_session.c.id).where(_session.c.id.in_([*sessions, *visited]), _session.c.closed_at.is_(None)).limit(1)
    if (why := _going_on(connection, number, texts)) or connection.execute(open_now).first() is not None:
        return StillOpenError(why or "a session is open")
    project(connection, sessions)  # what is counted of them stays, and could not be made again
    pictures = {item.digest for row in messages for item in msgspec.convert(row.media, list[Media])}
    uploads = connection.execute(select(tables.upload.c.files).where(tables.upload.c.session.in_(sessions))).scalars()
    pictures |= {item.digest for files in uploads for item in msgspec.convert(files, list[Media])}
    counts = {
        "session": _blank_sessions(connection, sessions),
        "event": connection.execute(delete(tables.event).where(tables.event.c.session.in_([*sessions, *visited]))).rowcount,
        **_blank_lines(connection, sessions, _lines_about(connection, number, visited, texts)),
        "upload": connection.execute(delete(tables.upload).where(tables.upload.c.session.in_(sessions))).rowcount,
        **_delete_notices(connection, number, sessions, visited),
        **_blank_texts(connection, texts, at),
        **erase_contacts(connection, number, [*sessions, *visited]),
        **_forget_person(connection, number, keep_opt_out=keep_opt_out),
        "replay": _blank_replies(connection, number),
    }
    connection.execute(update(_session).where(_session.c.id.in_(visited)).values(snapshot=ERASED))
    digests = tuple(sorted(pictures - _still_wanted(connection, pictures)))
    return Erased(counts=counts, digests=digests, sessions=(*sessions, *visited))


def _going_on(connection: Connection, number: str, texts: list[str]) -> str | None:
    sending = select(_outbox.c.n).where(_outbox.c.message.in_(texts), _outbox.c.state == "attempting").limit(1)
    if connection.execute(sending).first() is not None:
        return "a text is being sent"
    coming = select(_inbound.c.raw).where(_inbound.c.handled.is_(False))
    if any(number.encode() in raw for raw in connection.execute(coming).scalars()):
        return "a text has come in and is not routed yet"
    return None


def _blank_sessions(connection: Connection, sessions: list[str]) -> int:
    return connection.execute(update(_session).where(_session.c.id.in_(sessions)).values(customer=None, snapshot=ERASED)).rowcount


def _lines_about(connection: Connection, number: str, visited: list[str], texts: list[str]) -> list[tuple[str, int]]:
    """Lines of somebody else's sessions that name *number* or one of its texts."""
    timeline, known = tables.timeline, set(texts)
    lines = connection.execute(select(timeline).where(timeline.c.session.in_(visited))).all()
    return [
        (line.session, line.n)
        for line in lines
        if line.data.get("message") in known or number.encode() in msgspec.json.encode(line.data)
    ]


def _blank_lines(connection: Connection, sessions: list[str], others: list[tuple[str, int]]) -> dict[str, int]:
    timeline, decision = tables.timeline, tables.decision
    for session, n in others:
        connection.execute(update(timeline).where(timeline.c.session == session, timeline.c.n == n).values(data={}))
    lines = connection.execute(update(timeline).where(timeline.c.session.in_(sessions)).values(data={}))
    decisions = connection.execute(update(decision).where(decision.c.session.in_(sessions)).values(inputs={}))
    return {"timeline": lines.rowcount + len(others), "decision": decisions.rowcount}


def _delete_notices(connection: Connection, number: str, sessions: list[str], visited: list[str]) -> dict[str, int]:
    """Also those that wait: what they say is gone."""
    notice, delivery = tables.notice, tables.delivery
    ids = set(connection.execute(select(notice.c.id).where(_about(number, sessions))).scalars())
    others = connection.execute(select(notice.c.id, notice.c.body).where(notice.c.session.in_(visited))).all()
    ids |= {row.id for row in others if number.encode() in row.body}
    return {
        "delivery": connection.execute(delete(delivery).where(delivery.c.notice.in_(ids))).rowcount,
        "notice": connection.execute(delete(notice).where(notice.c.id.in_(ids))).rowcount,
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
    line_type = tables.line_type
    counts = {"line_type": connection.execute(delete(line_type).where(line_type.c.number == number)).rowcount}
    consent, suppression, blocked = tables.consent, tables.suppression, tables.blocked
    agreed = delete(consent).where(consent.c.number == number)
    if keep_opt_out:
        counts["consent"] = connection.execute(agreed.where(consent.c.granted)).rowcount
        connection.execute(update(consent).where(consent.c.number == number).values(words="", evidence=""))
        connection.execute(update(suppression).where(suppression.c.number == number).values(reason=None, evidence=""))
        connection.execute(update(blocked).where(blocked.c.number == number).values(reason=""))
        return counts
    counts["consent"] = connection.execute(agreed).rowcount
    for table in (suppression, blocked):
        counts[table.name] = connection.execute(delete(table).where(table.c.number == number)).rowcount
    return counts


def _blank_replies(connection: Connection, number: str) -> int:
    """What a program was answered may name the person. The request stays known, or its repetition would bring them back."""
    replay = tables.replay
    answered = connection.execute(select(replay.c.key, replay.c.body).where(replay.c.body.is_not(None))).all()
    about = [row.key for row in answered if number.encode() in row.body]
    return connection.execute(update(replay).where(replay.c.key.in_(about)).values(body=b"{}")).rowcount


def _still_wanted(connection: Connection, digests: set[str]) -> set[str]:
    """Which of these pictures another text or upload shows."""
    if not digests:
        return set()
    shown = connection.execute(select(_message.c.media).where(text("media <> '[]'"))).scalars().all()
    sent = connection.execute(select(tables.upload.c.files)).scalars().all()
    return digests & {item["digest"] for files in (*shown, *sent) for item in files}
