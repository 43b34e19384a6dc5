"""What others are told by signed POST: the notices that follow from one committed step, and how a POST is signed.

A notice is made of what the step writes anyway (timeline lines, texts and their states), saved in the same transaction,
and sent afterwards by `bridge.hooks`. Its id follows from what it is about, so the same thing is never noticed twice.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any

import msgspec

from bridge.alerts import Change
from bridge.events import MessageId, SessionId
from bridge.journal.rows import MessageRow, MessageUpdate, NoticeRow, SessionRow, Suppression, TimelineLine

VERSION = 1
"""Of the form of a notice. Fields are only ever added; anything else is a new version."""

TYPES: Mapping[str, str] = MappingProxyType(
    {
        "session.opened": "a conversation began",
        "session.queued": "the customer stands in line",
        "session.moved": "and in another one now, at the same place",
        "session.assigned": "an agent has the customer, by voice or by text",
        "session.transfer_started": "an agent hands the chat on",
        "session.transferred": "it was taken over",
        "session.transfer_failed": "it was not, and went back",
        "session.dismissed": "a silent chat was put aside",
        "session.returned": "and came back",
        "session.reopened": "the customer wrote soon after the end, and the conversation goes on",
        "session.closed": "the conversation is over",
        "call.answered": "we answered a call",
        "call.ended": "the call is over",
        "offer.made": "the caller was offered to text, or to be called back",
        "offer.accepted": "and wants to",
        "offer.declined": "and does not",
        "offer.expired": "and said neither",
        "sms.received": "a text came in",
        "sms.sent": "a text of ours is saved and on its way to the provider",
        "sms.accepted": "the provider took it",
        "sms.delivered": "it is on the handset",
        "sms.read": "it was read",
        "sms.undelivered": "the carrier could not deliver it",
        "sms.failed": "it did not leave",
        "sms.canceled": "it was withdrawn, or would have come too late",
        "media.received": "pictures, videos or documents came in",
        "opt_out.changed": "the customer wants no more texts, or wants them again",
        "consent.recorded": "the customer agreed to be texted, or did not",
        "alert.raised": "a figure is not as it should be",
        "alert.cleared": "and is again",
    }
)
"""Every type, and what it says."""

_LINES: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "queue.joined": ("session.queued", ("queue", "channel", "waited")),
        "queue.moved": ("session.moved", ("queue", "to", "channel")),
        "agent.joined": ("session.assigned", ("name", "channel")),
        "transfer.started": ("session.transfer_started", ("by", "to", "queue", "note")),
        "transfer.completed": ("session.transferred", ("by", "to")),
        "transfer.failed": ("session.transfer_failed", ("by", "to", "reason")),
        "chat.dismissed": ("session.dismissed", ("name", "by")),
        "chat.returned": ("session.returned", ()),
        "chat.reopened": ("session.reopened", ()),
        "call.answered": ("call.answered", ()),
        "call.ended": ("call.ended", ("by", "cause")),
        "offer.made": ("offer.made", ("kind", "words")),
        "consent.given": ("consent.recorded", ("purpose", "granted", "words")),
        "media.uploaded": ("media.received", ("media", "refused")),
    }
)
"""Lines of the timeline that make a notice, its type, and what it keeps of the line's data."""
_ANSWERS = MappingProxyType({"accepted": "offer.accepted", "declined": "offer.declined", "no_input": "offer.expired"})
_STATES = frozenset({"accepted", "delivered", "read", "undelivered", "failed", "canceled"})
"""States of a text that make a notice; those between `accepted` and `delivered` are of no use to a program."""

UPLOAD = "upload"
"""Provider of what came by a link instead of by text."""

EVENT, DELIVERY, TIMESTAMP, SIGNATURE = "Sidetone-Event", "Sidetone-Delivery", "Sidetone-Timestamp", "Sidetone-Signature"
TOLERANCE = 300.0
"""Seconds a signed POST may be old (or early, between clocks that differ): later, it is a recording."""


class HookRule(msgspec.Struct, frozen=True):
    """Which notices an endpoint wants.

    Raises:
        ValueError: A pattern that no type fits; the endpoint would wait in vain.
    """

    name: str
    events: tuple[str, ...]
    """Types, or families as `sms.*`, or `*` for all."""

    def __post_init__(self) -> None:
        for pattern in self.events:
            if not any(_fits(pattern, kind) for kind in TYPES):
                raise ValueError(f"hook {self.name}: there is no event {pattern!r}; there are {', '.join(TYPES)}")

    def wants(self, kind: str) -> bool:
        """Whether the endpoint is to be told of notices of this type."""
        return any(_fits(pattern, kind) for pattern in self.events)


def _fits(pattern: str, kind: str) -> bool:
    return kind.startswith(pattern[:-1]) if pattern == "*" or pattern.endswith(".*") else kind == pattern


class _Said(msgspec.Struct, frozen=True):
    """A notice without its envelope."""

    id: str
    type: str
    at: float
    data: Mapping[str, Any]
    customer: str | None = None
    """For texts: whom they are about, where no session says so."""
    our_number: str | None = None


def notices_of(
    session: SessionId | None,
    row: SessionRow | None,
    lines: Iterable[TimelineLine],
    updates: Iterable[MessageUpdate],
    messages: Iterable[MessageRow],
    *,
    endpoints: Sequence[HookRule],
    opened: bool = False,
    known: Iterable[MessageRow] = (),
    suppress: Iterable[Suppression] = (),
    unsuppress: Iterable[Suppression] = (),
) -> list[NoticeRow]:
    """The notices of one step, in the order in which things happened; none that nobody wants.

    Args:
        session: Whose step it is; None for texts that belong to no session.
        row: The session after the step; None without a session, or when only its texts go on.
        lines: Timeline lines the step writes.
        updates: What became of texts sent earlier.
        messages: Texts the step writes.
        endpoints: Who wants what.
        opened: It is the session's first step.
        known: Texts that *updates* are about, where they are at hand: they name the customer when there is no *row*.
        suppress: Opt-outs outside a session. In one its lines tell of them.
        unsuppress: The same for numbers that want texts again.
    """
    if not endpoints:
        return []
    seen: set[str] = set()
    notices = []
    everything = chain(
        _all(session, row, list(lines), updates, messages, opened, known),
        _opt_outs(suppress, opted_out=True),
        _opt_outs(unsuppress, opted_out=False),
    )
    for said in everything:
        names = tuple(endpoint.name for endpoint in endpoints if endpoint.wants(said.type))
        if names and said.id not in seen:
            seen.add(said.id)
            notices.append(_notice(said, session, row, names))
    return notices


def notices_of_alert(change: Change, *, endpoints: Sequence[HookRule]) -> list[NoticeRow]:
    """The notice of an alert that was raised or is over; none when nobody wants it."""
    kind, alert = f"alert.{change.kind}", change.alert
    names = tuple(endpoint.name for endpoint in endpoints if endpoint.wants(kind))
    at = alert.raised_at if alert.cleared_at is None else alert.cleared_at
    said = _Said(f"{kind}:{alert.id}", kind, at, msgspec.to_builtins(alert))
    return [_notice(said, None, None, names)] if names else []


def _notice(said: _Said, session: SessionId | None, row: SessionRow | None, endpoints: tuple[str, ...]) -> NoticeRow:
    customer = row.customer if row is not None else said.customer
    body = {
        "id": said.id,
        "type": said.type,
        "version": VERSION,
        "at": said.at,
        "session": session,
        "customer": customer,
        "our_number": row.our_number if row is not None else said.our_number,
        "queue": row.queue if row is not None else None,
        "agent": row.agent if row is not None else None,
        "data": said.data,
    }
    return NoticeRow(
        id=said.id,
        type=said.type,
        session=session,
        number=customer,
        at=said.at,
        body=msgspec.json.encode(body),
        endpoints=endpoints,
    )


def _all(
    session: SessionId | None,
    row: SessionRow | None,
    lines: list[TimelineLine],
    updates: Iterable[MessageUpdate],
    messages: Iterable[MessageRow],
    opened: bool,
    known: Iterable[MessageRow],
) -> Iterator[_Said]:
    """What the step says: first what became of texts (it led to the rest), then line by line."""
    texts = {message.id: message for message in messages}
    earlier = {message.id: message for message in known}
    why = {line.data.get("message"): line.data.get("explanation") for line in lines if line.kind == "text.failed"}
    if opened and row is not None:
        data = {"service": row.service, "language": row.language}
        yield _Said(f"session.opened:{session}", "session.opened", row.opened_at, data)
    for update in updates:
        yield from _moved(update, earlier.get(update.id), why.get(update.id))
    for place, line in enumerate(lines):
        if line.kind in {"text.received", "text.sent"}:
            text = texts.pop(MessageId(str(line.data.get("message"))), None)
            if text is not None:
                yield from _text(text, line.data.get("keyword"))
        else:
            yield from _line(session, row, place, line)
    for text in texts.values():
        yield from _text(text, None)


def _moved(update: MessageUpdate, text: MessageRow | None, explanation: Any) -> Iterator[_Said]:
    # The provider's own answer may come after the report that overtook it; it says nothing new then.
    if update.state not in _STATES or (update.provider_ref is not None and update.state != "accepted"):
        return
    kind = f"sms.{update.state}"
    data = {
        "message": update.id,
        "segments": update.segments,
        "code": update.error_code,
        "explanation": explanation,
    }
    about = (None, None) if text is None else (text.recipient, text.sender)
    yield _Said(f"{kind}:{update.id}", kind, update.at, data, *about)


def _text(text: MessageRow, keyword: Any) -> Iterator[_Said]:
    if text.provider == UPLOAD:
        return  # files that came by a link; the line about them says it
    inbound = text.direction == "in"
    kind = "sms.received" if inbound else "sms.sent"
    media = [msgspec.to_builtins(item) for item in text.media]
    data = {
        "message": text.id,
        "from": text.sender,
        "to": text.recipient,
        "body": text.body,
        "media": media,
        "author": text.author,
        "purpose": text.purpose,
        "keyword": keyword,
    }
    about = (text.sender, text.recipient) if inbound else (text.recipient, text.sender)
    yield _Said(f"{kind}:{text.id}", kind, text.created_at, data, *about)
    if inbound and media:
        data = {"message": text.id, "media": media, "refused": 0}
        yield _Said(f"media.received:{text.id}", "media.received", text.created_at, data, *about)


def _line(session: SessionId | None, row: SessionRow | None, place: int, line: TimelineLine) -> Iterator[_Said]:
    data: Mapping[str, Any]
    match line.kind:
        case "offer.answered":
            kind, data = _ANSWERS[line.data["answer"]], {"kind": line.data["kind"]}
        case "opted_out" | "opted_in":
            if line.data.get("word") is None:
                return  # it was said in another conversation or judged by an agent, which made a notice of its own
            data = {"opted_out": line.kind == "opted_out", "provisional": False, "words": line.data["word"]}
            kind = "opt_out.changed"
        case "stop.suspected":
            kind, data = "opt_out.changed", {"opted_out": True, "provisional": True, "words": line.data.get("body")}
        case "stop.judged":
            kind, data = "opt_out.changed", {"opted_out": line.data["meant"], "provisional": False, "words": None}
        case "session.closed" if row is not None:
            kind, data = "session.closed", _closed(row, line)
        case _ if line.kind in _LINES:
            kind, fields = _LINES[line.kind]
            data = {name: line.data.get(name) for name in fields}
        case _:
            return
    # A line's number is the journal's to give; its content, time and place in the step tell it from every other as well.
    yield _Said(f"{kind}:{session}:{_digest_of(line.at, place, line.kind, line.data)}", kind, line.at, data)


def _digest_of(*what: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(what)).hexdigest()[:16]


def _opt_outs(entries: Iterable[Suppression], *, opted_out: bool) -> Iterator[_Said]:
    entries = list(entries)
    of_all = {entry.number for entry in entries if entry.sender == "*"}
    for entry in entries:
        if entry.number in of_all and entry.sender != "*":
            continue  # it holds for all our numbers, which is said once
        ours = None if entry.sender == "*" else entry.sender
        data = {"opted_out": opted_out, "provisional": entry.provisional, "words": None}
        name = f"opt_out.changed:{_digest_of(entry.number, entry.sender, entry.at, opted_out)}"
        yield _Said(name, "opt_out.changed", entry.at, data, entry.number, ours)


def _closed(row: SessionRow, line: TimelineLine) -> Mapping[str, Any]:
    return {
        "service": row.service,
        "ended_reason": row.ended_reason or line.data.get("reason"),
        "handled": row.handled,
        "opened_at": row.opened_at,
        "first_agent_at": row.first_agent_at,
        "closed_at": line.at if row.closed_at is None else row.closed_at,
    }


# --- the signature -----------------------------------------------------------------------------------------------------


def sign(body: bytes, secret: str, now: float) -> Mapping[str, str]:
    """The two headers that prove a POST is ours and new.

    Args:
        body: As it is sent.
        secret: Shared with the receiver.
        now: Seconds since the epoch.
    """
    timestamp = str(int(now))
    return {TIMESTAMP: timestamp, SIGNATURE: f"v1={_digest(body, secret, timestamp)}"}


def verify(body: bytes, headers: Mapping[str, str], secret: str, now: float, tolerance: float = TOLERANCE) -> bool:
    """Whether a POST was signed with *secret*, not more than *tolerance* seconds from *now*.

    Args:
        body: The bytes as they came, before anything has parsed them.
        headers: In any case.
        secret: Shared with us.
        now: Seconds since the epoch.
        tolerance: Seconds.
    """
    folded = {name.lower(): value for name, value in headers.items()}
    timestamp, signature = folded.get(TIMESTAMP.lower(), ""), folded.get(SIGNATURE.lower(), "")
    if not re.fullmatch("[0-9]{1,12}", timestamp) or abs(now - int(timestamp)) > tolerance:
        return False
    return hmac.compare_digest(signature.encode(), f"v1={_digest(body, secret, timestamp)}".encode())


def _digest(body: bytes, secret: str, timestamp: str) -> str:
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
