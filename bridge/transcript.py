"""A session as plain text for people: who wrote what when, and what else happened. Pure.

The texts are those of the messages, the rest comes from the timeline. Whatever a person wrote is indented on every line, so
that nobody can write a line that looks like one of ours.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec

from bridge.events import Media, MessageId
from bridge.journal.rows import MessageRow, StoredSession, TimelineLine

TOGETHER = 300.0
"""Seconds between two texts of one person that still stand under one heading."""
INDENT = " " * 10
_Data: TypeAlias = Mapping[str, Any]
_FAILED = MappingProxyType({"failed": "not sent", "undelivered": "not delivered", "canceled": "withdrawn"})
_SERVICES = MappingProxyType(
    {
        "call": "a call",
        "deflected": "a call that went on by text",
        "inbound": "a text to us",
        "outbound": "a text of an agent",
        "api": "a text of a program",
        "direct": "a text to an agent's own number",
    }
)


class Names(msgspec.Struct, frozen=True):
    """What people and places are called."""

    brand: str
    agents: Mapping[str, str] = {}
    queues: Mapping[str, str] = {}
    customer: str | None = None
    """None: not known by name."""

    def agent(self, who: object) -> str:
        """An agent's name by id; whatever is no id stands for itself."""
        return self.agents.get(str(who), str(who))

    def queue(self, which: object) -> str:
        """A queue's title by id."""
        return self.queues.get(str(which)) or str(which)

    def author(self, author: str) -> str:
        """Who wrote a text."""
        kind, _, name = author.partition(":")
        match kind:
            case "customer":
                return self.customer or "Customer"
            case "agent":
                return self.agent(name)
            case "api":
                return f"{self.brand} (program {name})"
            case _:
                return f"{self.brand} (automatic)"


Link: TypeAlias = Callable[[Media], str | None]


def as_text(
    session: StoredSession,
    lines: Sequence[TimelineLine],
    messages: Sequence[MessageRow],
    *,
    zone: tzinfo,
    names: Names,
    link: Link = lambda _: None,
) -> str:
    """The session with its head.

    Args:
        session: As last saved.
        lines: Its timeline, in order.
        messages: Its texts, in order.
        zone: Of the times people read.
        names: What everything is called.
        link: Where a picture can be looked at; None for one that is only named.
    """
    head = [f"{title + ':':<12}{' '.join(words.split())}" for title, words in _head(session, lines, messages, zone, names)]
    return "\n".join([*head, *_body(lines, messages, zone, names, link), ""])


def _head(
    session: StoredSession, lines: Sequence[TimelineLine], messages: Sequence[MessageRow], zone: tzinfo, names: Names
) -> Iterator[tuple[str, str]]:
    row = session.row
    yield "Session", session.id
    yield "Customer", " ".join(filter(None, (row.customer or "number withheld", f"({names.customer})" if names.customer else "")))
    yield "Our number", f"{row.our_number} ({names.brand})"
    yield "Began", f"{_date(row.opened_at, zone)} {_time(row.opened_at, zone)}, with {_SERVICES[row.service]}"
    if row.closed_at is None:
        yield "Ended", "not yet"
    else:
        after = span(row.closed_at - row.opened_at)
        why = f": {row.ended_reason}" if row.ended_reason else ""
        yield "Ended", f"{_date(row.closed_at, zone)} {_time(row.closed_at, zone)}, after {after}{why}"
    if row.queue is not None:
        yield "Queue", names.queue(row.queue)
    agents = dict.fromkeys(
        [str(line.data.get("name")) for line in lines if line.kind in {"agent.joined", "conversation.opened"}]
        + [names.author(message.author) for message in messages if message.author.startswith("agent:")]
    )
    yield "Agents", ", ".join(agents) or "none"
    if row.handled:
        yield "Handled", span(row.handled)
    yield "Language", row.language
    yield "Times", f"{zone} ({datetime.fromtimestamp(row.opened_at, zone):UTC%z})"


class _Entry(msgspec.Struct, frozen=True):
    """One thing to read: a text (with an author) or an event."""

    at: float
    words: tuple[str, ...]
    author: str | None = None


def _body(lines: Iterable[TimelineLine], messages: Iterable[MessageRow], zone: tzinfo, names: Names, link: Link) -> Iterator[str]:
    day, before = "", None
    for entry in _entries(list(lines), messages, names, link):
        date, time = _date(entry.at, zone), _time(entry.at, zone)
        if date != day:
            yield from ("", date, "")
            day, before = date, None
        if entry.author is None:
            yield f"{time}  - {entry.words[0]}"
            yield from (f"{INDENT}  {words}" for words in entry.words[1:])
        else:
            if before is None or before.author != entry.author or entry.at - before.at > TOGETHER:
                yield f"{time}  {entry.author}"
            yield from (f"{INDENT}{words}".rstrip() for words in entry.words)
        before = entry


def _entries(lines: list[TimelineLine], messages: Iterable[MessageRow], names: Names, link: Link) -> list[_Entry]:
    """Texts and events in the order of the timeline; texts that no line names come in by their time."""
    texts = {message.id: message for message in messages}
    why = {line.data.get("message"): line.data.get("explanation") for line in lines if line.kind == "text.failed"}
    entries = []
    for line in lines:
        if line.kind in {"text.received", "text.sent"}:
            text = texts.pop(MessageId(str(line.data.get("message"))), None)
            if text is not None:
                entries.append(_said(text, why.get(text.id), line.data.get("media_lost"), names, link))
            continue
        teller = _TELLERS.get(line.kind)
        words = "" if teller is None else teller(line.data, names)
        if words:
            entries.append(_Entry(line.at, tuple(words.splitlines())))
    for text in texts.values():
        place = next((n for n, entry in enumerate(entries) if entry.at > text.created_at), len(entries))
        entries.insert(place, _said(text, why.get(text.id), None, names, link))
    return entries


def _said(text: MessageRow, why: Any, lost: Any, names: Names, link: Link) -> _Entry:
    words = text.body.splitlines()
    words += [f"[{_file(item)}{_at(link(item))}]" for item in text.media]
    if lost:
        words.append(f"[{lost} more could not be fetched]")
    failed = _FAILED.get(text.state)
    if failed is not None:
        because = ", ".join(dict.fromkeys(str(part) for part in (why, text.error_code) if part))
        words.append(f"({failed}{': ' if because else ''}{because})")
    return _Entry(text.created_at, tuple(words or ["(empty)"]), names.author(text.author))


def _file(item: Media) -> str:
    size = f"{item.size / 1e6:.1f} MB" if item.size >= 1_000_000 else f"{max(1, round(item.size / 1000))} kB"
    return f"{item.content_type}, {size}, {item.digest[:12]}"


def _at(link: str | None) -> str:
    return "" if link is None else f": {link}"


# --- what happened, in words -------------------------------------------------------------------------------------------

_KINDS = MappingProxyType({"hold": "to text while waiting", "deflect": "to text instead of waiting", "callback": "to call back"})
_ANSWERS = MappingProxyType({"accepted": "accepted", "declined": "declined", "no_input": "not answered"})
_ENDERS = MappingProxyType({"caller": "the caller", "agent": "the agent", "platform": "us", "network": "the network"})
_LEAVING = MappingProxyType(
    {
        "caller": "the customer ended it",
        "customer": "the customer wants no more texts",
        "agent": "the agent ended it",
        "network": "the desk was gone",
    }
)
_CHAT_ENDERS = MappingProxyType({"agent": "the agent", "customer": "the customer", "timeout": "time: nobody wrote"})
_PLACES = MappingProxyType({"voice": "call", "sms": "chat"})


def _arrived(data: _Data, _names: Names) -> str:
    return f"{data.get('caller') or 'A withheld number'} called {data.get('called')}"


def _call_ended(data: _Data, _names: Names) -> str:
    return f"The call was ended by {_ENDERS.get(str(data.get('by')), data.get('by'))}"


def _consent(data: _Data, _names: Names) -> str:
    return f"{'Agreed' if data.get('granted') else 'Did not agree'} to be texted ({data.get('purpose')}): {data.get('words')}"


def _queued(data: _Data, names: Names) -> str:
    return f"Waiting for {names.queue(data.get('queue'))}"


def _moved(data: _Data, names: Names) -> str:
    return f"Waiting for {names.queue(data.get('to'))} now"


def _unqueued(data: _Data, _names: Names) -> str:
    return f"Left the line after {span(data.get('waited') or 0.0)}: {str(data.get('outcome')).replace('_', ' ')}"


def _joined(data: _Data, names: Names) -> str:
    return f"{names.agent(data.get('name'))} joined the {_PLACES.get(str(data.get('channel')), 'conversation')}"


def _left(data: _Data, names: Names) -> str:
    why = _LEAVING.get(str(data.get("by")))
    return f"{names.agent(data.get('name'))} left the {_PLACES.get(str(data.get('channel')), 'conversation')}" + _because(why)


def _unreachable(data: _Data, names: Names) -> str:
    return f"{names.agent(data.get('name'))}'s phone was not picked up"


def _handed(data: _Data, names: Names) -> str:
    to = names.agent(data["to"]) if data.get("to") else names.queue(data.get("queue"))
    note = str(data.get("note") or "")
    return f"{names.agent(data.get('by'))} hands the chat to {to}" + _because(note)


def _taken(data: _Data, names: Names) -> str:
    return f"{names.agent(data.get('to'))} took the chat over from {names.agent(data.get('by'))}"


def _not_taken(data: _Data, names: Names) -> str:
    to = f" by {names.agent(data['to'])}" if data.get("to") else ""
    return f"The chat was not taken over{to}" + _because(data.get("reason"))


def _dismissed(data: _Data, names: Names) -> str:
    return (
        f"{names.agent(data.get('name'))} put the silent chat aside"
        if data.get("by") == "agent"
        else "The silent chat was put aside"
    )


def _chat_ended(data: _Data, _names: Names) -> str:
    return f"The chat was ended by {_CHAT_ENDERS.get(str(data.get('by')), data.get('by'))}"


def _menu_answered(data: _Data, _names: Names) -> str:
    return "Chose " + " > ".join(map(str, data["titles"])) if data.get("titles") else ""


def _opted_out(data: _Data, _names: Names) -> str:
    return "Wants no more texts" + _because(data.get("word"))


def _opted_in(data: _Data, _names: Names) -> str:
    return "Wants texts again" + _because(data.get("word"))


def _judged(data: _Data, names: Names) -> str:
    what = "did" if data.get("meant") else "did not"
    return f"{names.agent(data.get('name'))}: the customer {what} ask for no more texts"


def _note(data: _Data, names: Names) -> str:
    filed = f" ({data['disposition']})" if data.get("disposition") else ""
    return f"Note by {names.agent(data.get('name'))}{filed}" + _because(data.get("note"))


def _uploaded(data: _Data, _names: Names) -> str:
    refused = f", {data['refused']} refused" if data.get("refused") else ""
    return f"Files came by the link: {len(data.get('media') or ())}{refused}"


def _always(words: str) -> "_Teller":
    return lambda _data, _names: words


def _because(why: object) -> str:
    return f": {why}" if why else ""


_Teller: TypeAlias = Callable[[_Data, Names], str]
_TELLERS: Mapping[str, _Teller] = MappingProxyType(
    {
        "call.arrived": _arrived,
        "call.ended": _call_ended,
        "menu.chosen": lambda data, _: f"Chose {str(data.get('target')).replace('_', ' ')}",
        "menu.answered": _menu_answered,
        "offer.made": lambda data, _: f"Offered {_KINDS.get(str(data.get('kind')), 'to text')}" + _because(data.get("words")),
        "offer.answered": lambda data, _: f"The offer was {_ANSWERS.get(str(data.get('answer')), data.get('answer'))}",
        "consent.given": _consent,
        "queue.joined": _queued,
        "queue.moved": _moved,
        "queue.left": _unqueued,
        "agent.joined": _joined,
        "agent.left": _left,
        "agent.unreachable": _unreachable,
        "conversation.opened": lambda data, names: f"{names.agent(data.get('name'))} began the conversation",
        "transfer.started": _handed,
        "transfer.completed": _taken,
        "transfer.failed": _not_taken,
        "chat.dismissed": _dismissed,
        "chat.returned": _always("The chat came back"),
        "chat.reopened": _always("The conversation goes on"),
        "chat.expired": _always("Nobody took the chat in time"),
        "chat.ended": _chat_ended,
        "text.lapsed": _always("No text came any more"),
        "text.withdrawn": _always("The invitation to text no longer holds"),
        "upload.asked": lambda data, _: f"{data.get('name') or 'The flow'} asked for pictures, by a link",
        "media.uploaded": _uploaded,
        "opted_out": _opted_out,
        "opted_in": _opted_in,
        "stop.suspected": _always("This may be a wish for no more texts"),
        "stop.judged": _judged,
        "sender.added": lambda data, _: f"Writes from another phone: {data.get('number')}",
        "note.written": _note,
        "server.restarted": _always("The server was gone for a moment"),
    }
)
"""Lines that are worth reading, and how they read. Empty: this one is not."""


# --- times -------------------------------------------------------------------------------------------------------------


def _date(at: float, zone: tzinfo) -> str:
    return datetime.fromtimestamp(at, zone).date().isoformat()


def _time(at: float, zone: tzinfo) -> str:
    return datetime.fromtimestamp(at, zone).strftime("%H:%M:%S")


def span(seconds: float) -> str:
    """`45 s`, `2 min 05 s`, `1 h 12 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
