"""What is told to a CRM of a session that is over. Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import tzinfo

from bridge.crm import RecordedMedia, RecordedNote, RecordedTransfer, SessionRecord
from bridge.events import Media
from bridge.journal.crm_rows import ContactFields
from bridge.journal.rows import MessageRow, StoredSession, TimelineLine
from bridge.transcript import Names, as_text


def record_of(
    session: StoredSession,
    lines: Sequence[TimelineLine],
    messages: Sequence[MessageRow],
    *,
    names: Names,
    zone: tzinfo,
    link: Callable[[Media], str | None],
    contact: str | None,
) -> SessionRecord:
    """The record.

    Args:
        session: As last saved; it is over.
        lines: Its timeline, in order.
        messages: Its texts, in order.
        names: What everything is called.
        zone: Of the times in the transcript.
        link: Where a picture can be looked at; None for one that is only named.
        contact: Id in the CRM; None: not known.
    """
    row = session.row
    notes = tuple(_notes(lines, names))
    return SessionRecord(
        session=session.id,
        contact=contact,
        customer=row.customer,
        our_number=row.our_number,
        language=row.language,
        queue=row.queue,
        queue_title=None if row.queue is None else names.queue(row.queue),
        service=row.service,
        opened_at=row.opened_at,
        closed_at=row.opened_at if row.closed_at is None else row.closed_at,
        ended_reason=row.ended_reason,
        handled=row.handled,
        agents=_agents(lines, names),
        transfers=tuple(_transfers(lines, names)),
        media=tuple(_media(messages, names, link)),
        opted_out=_opted_out(lines),
        disposition=next((note.disposition for note in reversed(notes) if note.disposition), None),
        notes=notes,
        transcript=as_text(session, lines, messages, zone=zone, names=names, link=link),
    )


def found_out(session: StoredSession, lines: Iterable[TimelineLine]) -> ContactFields:
    """What a session has told about whoever it was with: the phones, and the language when it was chosen and not guessed."""
    lines = list(lines)
    phones = [session.row.customer, *(line.data.get("number") for line in lines if line.kind == "sender.added")]
    chosen = any(line.kind == "language.chosen" and line.data.get("by") == "key" for line in lines)
    return ContactFields(
        phones=tuple(dict.fromkeys(str(phone) for phone in phones if phone)), language=session.row.language if chosen else None
    )


def _agents(lines: Iterable[TimelineLine], names: Names) -> tuple[str, ...]:
    there = (line for line in lines if line.kind in {"agent.joined", "conversation.opened"})
    return tuple(dict.fromkeys(names.agent(line.data.get("name")) for line in there))


def _transfers(lines: Iterable[TimelineLine], names: Names) -> Iterator[RecordedTransfer]:
    """One for each that was begun; a transfer is over before the next one begins."""
    begun: TimelineLine | None = None
    for line in lines:
        if line.kind == "transfer.started":
            if begun is not None:
                yield _transfer(begun, None, names)
            begun = line
        elif line.kind in {"transfer.completed", "transfer.failed"} and begun is not None:
            yield _transfer(begun, line, names)
            begun = None
    if begun is not None:
        yield _transfer(begun, None, names)


def _transfer(begun: TimelineLine, ended: TimelineLine | None, names: Names) -> RecordedTransfer:
    data, end = begun.data, {} if ended is None else ended.data
    to = data.get("to") or end.get("to")
    return RecordedTransfer(
        at=begun.at,
        state="started" if ended is None else "completed" if ended.kind == "transfer.completed" else "failed",
        by=names.agent(data.get("by")),
        to=names.agent(to) if to else None,
        queue=names.queue(data["queue"]) if data.get("queue") else None,
        note=str(data.get("note") or ""),
        ended_at=None if ended is None else ended.at,
        reason=str(end.get("reason") or ""),
    )


def _media(messages: Iterable[MessageRow], names: Names, link: Callable[[Media], str | None]) -> Iterator[RecordedMedia]:
    for message in messages:
        for item in message.media:
            yield RecordedMedia(
                at=message.created_at,
                author=names.author(message.author),
                content_type=item.content_type,
                size=item.size,
                digest=item.digest,
                url=link(item),
            )


def _opted_out(lines: Iterable[TimelineLine]) -> bool:
    said = [line.kind for line in lines if line.kind in {"opted_out", "opted_in"}]
    return bool(said) and said[-1] == "opted_out"


def _notes(lines: Iterable[TimelineLine], names: Names) -> Iterator[RecordedNote]:
    for line in lines:
        if line.kind == "note.written" and (line.data.get("note") or line.data.get("disposition")):
            yield RecordedNote(
                at=line.at,
                agent=names.agent(line.data.get("name")),
                note=str(line.data.get("note") or ""),
                disposition=line.data.get("disposition") or None,
            )
