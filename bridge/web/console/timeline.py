"""A line of the timeline as an agent reads it: which shape it has, its words and its small print. Pure."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import msgspec
import phonenumbers

from bridge.transcript import span
from bridge.web.ports import Line, Ticks

FileKind: TypeAlias = Literal["image", "video", "audio", "document"]
Shape: TypeAlias = Literal["in", "out", "said", "event", "warning", "note"]
"""A text in, a text out, something the caller heard, an event, something that went wrong, an agent's note."""


class File(msgspec.Struct, frozen=True):
    """A picture, video, recording or document in a text."""

    digest: str
    kind: FileKind
    words: str
    """What it is: `JPEG photo`, `Video`, ..."""
    size: int
    """Bytes; 0: not known."""
    thumbnail: bool
    """There is a small picture of it."""

    @property
    def icon(self) -> str:
        """Name of a symbol in `icons.svg`."""
        return _FILE_ICONS[self.kind]


_FILE_ICONS = MappingProxyType({"image": "photo", "video": "video", "audio": "speaker", "document": "note"})
_FILE_FAMILIES: Mapping[str, tuple[FileKind, str]] = MappingProxyType(
    {"image": ("image", "Photo"), "video": ("video", "Video"), "audio": ("audio", "Recording")}
)
_WITH_THUMBNAIL = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_FILE_WORDS = MappingProxyType(
    {"image/heic": "HEIC photo", "image/heif": "HEIC photo", "application/pdf": "PDF", "text/vcard": "Contact card"}
)


class Shown(msgspec.Struct, frozen=True):
    """One line, ready for the template. All of it is plain text; the template escapes."""

    n: int
    at: float
    shape: Shape
    icon: str
    """Name of a symbol in `icons.svg`."""
    title: str
    words: str = ""
    small: str = ""
    files: tuple[File, ...] = ()
    message: str | None = None
    """The text's id, when it has ticks."""
    rings: bool = False
    """The agent should hear it."""


class Tick(msgspec.Struct, frozen=True):
    """How far a text has come, in a word, a symbol and a tone."""

    icon: str
    word: str
    tone: Literal["waiting", "done", "failed"]
    why: str = ""


_HIDDEN = frozenset({"flow.trace"})
"""Kept for `explain`; on the desk they would bury the conversation."""


def show(line: Line, name_of: Callable[[str], str | None], title_of: Callable[[str], str] | None = None) -> Shown | None:
    """The line as an agent reads it, None for one that is not for agents. Kinds nobody knows are shown plainly.

    Args:
        line: The line as it was kept.
        name_of: An agent's name by its id, None when there is no such agent.
        title_of: What agents call a queue, by its id; not given: the id in words.
    """
    if line.kind in _HIDDEN:
        return None
    teller = _TELLERS.get(line.kind)
    if teller is None:
        small = ", ".join(f"{name} {value}" for name, value in line.data.items() if value not in (None, "", (), []))
        return Shown(line.n, line.at, "event", "dot", _sentence(line.kind), small=small)
    data = line.data
    agent = str(data.get("agent") or str(data.get("author", "")).partition("agent:")[2])
    if agent and not data.get("name"):
        data = {**data, "name": name_of(agent)}
    if line.kind.startswith("transfer."):
        data = {**data, **{who: name_of(str(data[who])) or data[who] for who in ("by", "to") if data.get(who)}}
    if title_of is not None and data.get("queue"):
        data = {**data, "queue": title_of(str(data["queue"]))}
    told = teller(data)
    return msgspec.structs.replace(told, n=line.n, at=line.at)


def tick(ticks: Ticks | None) -> Tick:
    """The mark beside a text; None is a text nobody has reported on yet."""
    if ticks is None:
        return Tick("clock", "pending", "waiting")
    match ticks.state:
        case "pending" | "accepted" | "queued" | "sending":
            return Tick("clock", ticks.state, "waiting")
        case "sent":
            return Tick("tick", "sent", "waiting")
        case "delivered" | "read":
            return Tick("ticks", ticks.state, "done")
        case "undelivered" | "failed" | "canceled":
            why = ticks.explanation or ""
            code = f"({ticks.code})" if ticks.code and ticks.code not in why else ""
            return Tick("warning", _FAILED_WORDS[ticks.state], "failed", " ".join(filter(None, (why, code))))


_FAILED_WORDS = MappingProxyType({"undelivered": "not delivered", "failed": "failed", "canceled": "withdrawn"})


def pretty_number(number: str | None) -> str:
    """`+1 555-010-0123`; the number as it is when the numbering plan does not know it; words for a withheld one."""
    if not number:
        return "Withheld number"
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return number
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def amount_of_bytes(size: int) -> str:
    """`12 kB`, `3.4 MB`: decimal, as telephones say it."""
    return f"{size / 1e6:.1f} MB" if size >= 1_000_000 else f"{max(1, round(size / 1000))} kB"


def duration(seconds: float | None) -> str:
    """`45 s`, `2 min 05 s`, `1 h 12 min`; empty for None."""
    return "" if seconds is None else span(seconds)


# --- one teller for each kind ----------------------------------------------------------------------------------------

_Data: TypeAlias = Mapping[str, Any]


def _shown(shape: Shape, icon: str, title: str, **more: Any) -> Shown:
    return Shown(0, 0.0, shape, icon, title, **more)


def _sentence(kind: str) -> str:
    words = kind.replace(".", " ").replace("_", " ")
    return words[:1].upper() + words[1:]


def _word(data: _Data, key: str, default: str = "") -> str:
    value = data.get(key)
    return default if value is None else str(value)


def _amount(data: _Data, key: str) -> float | None:
    value = data.get(key)
    return value if isinstance(value, int | float) else None


def _call_arrived(data: _Data) -> Shown:
    return _shown("event", "call-in", f"{pretty_number(_word(data, 'caller'))} called {pretty_number(_word(data, 'called'))}")


def _call_answered(_data: _Data) -> Shown:
    return _shown("event", "call", "Call answered")


_LANGUAGES = MappingProxyType({"en": "English", "fr": "French", "es": "Spanish", "de": "German"})
_CHOSEN_BY = MappingProxyType({"key": "by key", "guess": "a guess", "number": "from the number", "contact": "known from before"})


def _language_chosen(data: _Data) -> Shown:
    language = _word(data, "language")
    small = _CHOSEN_BY.get(_word(data, "by"), "")
    return _shown("event", "globe", f"Language: {_LANGUAGES.get(language, language)}", small=small)


def _menu_chosen(data: _Data) -> Shown:
    target = _word(data, "label") or _sentence(_word(data, "target"))
    key = _word(data, "key")
    return _shown(
        "event",
        "key",
        f"Chose “{target}”",
        small=" · ".join(filter(None, (f"key {key}" if key else "", _word(data, "prompt").replace("_", " ")))),
    )


def _prompt_played(data: _Data) -> Shown:
    small = "" if data.get("completed", True) else f"cut after {duration(_amount(data, 'heard') or 0)}"
    return _shown("said", "speaker", "Heard", words=_word(data, "words"), small=small)


def _ewt_told(data: _Data) -> Shown:
    low, high = data.get("low"), data.get("high")
    small = "" if low is None or high is None else f"{low} to {high} min" if low != high else f"{low} min"
    return _shown("said", "clock", "Told the expected wait", words=_word(data, "words"), small=small)


def _position_told(data: _Data) -> Shown:
    return _shown("said", "queue", "Told the place in line", words=_word(data, "words"), small=f"place {_word(data, 'position')}")


def _promise_made(data: _Data) -> Shown:
    return _shown("said", "promise", "Promised", words=_word(data, "words"), small=_word(data, "what").replace("_", " "))


_OFFERS = MappingProxyType({"hold": "texting while waiting", "deflect": "a text chat instead of waiting"})
_REASONS = MappingProxyType(
    {
        "offer": "worth it",
        "below_threshold": "the wait is short",
        "sms_not_faster": "texting would not be faster",
        "sms_over_capacity": "the text desk is full",
        "sms_unstaffed": "nobody staffs the text desk",
        "cannot_text": "the number cannot be texted",
    }
)


def _offer(data: _Data) -> str:
    kind = _word(data, "kind")
    return _OFFERS.get(kind, kind)


def _offer_decided(data: _Data) -> Shown:
    reason = _word(data, "reason")
    verdict = "Offer" if data.get("offer") else "Do not offer"
    return _shown("event", "scales", f"{verdict} {_offer(data)}", small=_REASONS.get(reason, reason.replace("_", " ")))


def _offer_made(data: _Data) -> Shown:
    return _shown("said", "offer", f"Offered {_offer(data)}", words=_word(data, "words"))


def _offer_answered(data: _Data) -> Shown:
    answer = {"accepted": "Accepted", "declined": "Declined", "no_input": "Did not answer to"}.get(
        _word(data, "answer"), "Answered"
    )
    digit = _word(data, "digit")
    return _shown("event", "offer", f"{answer} {_offer(data)}", small=f"key {digit}" if digit else "")


def _consent_given(data: _Data) -> Shown:
    granted = "Consent given" if data.get("granted") else "Consent refused"
    return _shown("event", "shield", f"{granted} ({_word(data, 'purpose', 'session')})", words=_word(data, "words"))


def _queue_joined(data: _Data) -> Shown:
    position, waited = data.get("position"), _amount(data, "waited")
    facts = (
        "text" if data.get("channel") == "sms" else "",
        f"place {position}" if position else "",
        f"has waited {duration(waited)}" if waited and waited >= 1 else "",
    )
    return _shown("event", "queue", f"Waits in “{_sentence(_word(data, 'queue'))}”", small=" · ".join(filter(None, facts)))


_LEFT = MappingProxyType({"key": "by key", "no_agents": "nobody was there"})


def _queue_left(data: _Data) -> Shown:
    outcome = _word(data, "outcome", "left")
    waited = _amount(data, "waited")
    return _shown(
        "event",
        "queue",
        f"Left the line: {_LEFT.get(outcome, outcome.replace('_', ' '))}",
        small=f"after {duration(waited)}" if waited else "",
    )


def _agent_offered(data: _Data) -> Shown:
    return _shown("event", "bell", f"Rings at {_word(data, 'name') or _word(data, 'agent')}", small=_channel(data))


_LAPSES = MappingProxyType(
    {"declined": "declined", "ring_timeout": "not answered in time", "signed_out": "signed out", "withdrawn": "withdrawn"}
)


def _offer_lapsed(data: _Data) -> Shown:
    reason = _word(data, "reason")
    return _shown(
        "event", "bell", f"{_word(data, 'name') or _word(data, 'agent')}: {_LAPSES.get(reason, reason)}", small=_channel(data)
    )


def _channel(data: _Data) -> str:
    return {"voice": "call", "sms": "text"}.get(_word(data, "channel"), "")


def _agent_accepted(data: _Data) -> Shown:
    return _shown("event", "agent", f"{_word(data, 'name')} accepted", small=_channel(data))


def _agent_joined(data: _Data) -> Shown:
    return _shown("event", "agent", f"{_word(data, 'name')} joined", small=_channel(data))


def _agent_left(data: _Data) -> Shown:
    by = _word(data, "by")
    return _shown(
        "event",
        "agent",
        f"{_word(data, 'name')} left",
        small=" · ".join(filter(None, (_channel(data), f"by {by}" if by else ""))),
    )


def _agent_unreachable(data: _Data) -> Shown:
    status = " ".join(filter(None, (_word(data, "status"), _word(data, "reason"))))
    return _shown("warning", "warning", f"No answer from the phone of {_word(data, 'name')}", small=status)


def _audio_connected(_data: _Data) -> Shown:
    return _shown("event", "call", "Audio in both directions")


def _files(data: _Data) -> tuple[File, ...]:
    media = data.get("media")
    return tuple(map(_file, media)) if isinstance(media, list | tuple) else ()


def _file(media: _Data) -> File:
    content_type, size = str(media.get("content_type", "")), media.get("size")
    kind, words = _FILE_FAMILIES.get(content_type.partition("/")[0], ("document", "File"))
    return File(
        digest=str(media["digest"]),
        kind=kind,
        words=_FILE_WORDS.get(content_type, words),
        size=size if isinstance(size, int) else 0,
        thumbnail=content_type in _WITH_THUMBNAIL,
    )


def _text_received(data: _Data) -> Shown:
    lost = _amount(data, "media_lost")
    notes = [
        "the same customer has a conversation on another number of ours" if data.get("confidence") == "probable" else "",
        f"{lost:g} file{'' if lost == 1 else 's'} could not be taken" if lost else "",
    ]
    small = " · ".join(filter(None, notes))
    return _shown("in", "text", "Customer", words=_word(data, "body"), small=small, files=_files(data))


def _text_sent(data: _Data) -> Shown:
    author = _word(data, "author", "system")
    kind, _, who = author.partition(":")
    title = {"flow": "Flow", "system": "System", "menu": "Menu", "agent": "Agent", "api": f"Program “{who}”"}.get(kind, author)
    preset = "preset" if data.get("preset") and author.startswith("agent:") else ""
    return _shown(
        "out",
        "text",
        _word(data, "name") or title,
        words=_word(data, "body"),
        small=preset,
        message=_word(data, "message") or None,
        files=_files(data),
    )


def _text_failed(data: _Data) -> Shown:
    small = " ".join(filter(None, (_word(data, "explanation"), f"code {_word(data, 'code')}" if data.get("code") else "")))
    return _shown("warning", "warning", "A text was not delivered", small=small)


def _text_withdrawn(data: _Data) -> Shown:
    why = {"too_slow": "no delivery report in time", "opted_out": "the customer opted out"}.get(
        _word(data, "why"), "not delivered"
    )
    return _shown("event", "text", "The call goes on: no longer waiting for the reply to our text", small=why)


def _text_lapsed(data: _Data) -> Shown:
    title = "Our invitation to text was not answered" if data.get("invited") else "No further texts came"
    return _shown("event", "chat-end", title)


def _answer_stored(data: _Data) -> Shown:
    question, answer = _word(data, "question"), _word(data, "body")
    media = _amount(data, "media")
    pictures = f"{media:.0f} photo{'s' if media != 1 else ''}" if media else ""
    return _shown("event", "answer", f"Answer to “{_sentence(question)}”", words=" · ".join(filter(None, (answer, pictures))))


def _opted_out(data: _Data) -> Shown:
    return _shown("warning", "stop", "The customer opted out of texts", small=_wrote(data))


def _opted_in(data: _Data) -> Shown:
    return _shown("event", "shield", "The customer opted in to texts", small=_wrote(data))


def _wrote(data: _Data) -> str:
    word = _word(data, "word")
    return f"wrote {word}" if word else ""


def _menu_answered(data: _Data) -> Shown:
    titles, why = data.get("titles"), _word(data, "why")
    if why == "the first text":
        return _shown("event", "queue", "Asked by text what it is about")
    chosen = " > ".join(map(str, titles)) if isinstance(titles, list | tuple) else ""
    title = {"back": "Went back in the menu", "exit": "Left the menu"}.get(
        why, f"Chose “{chosen}”" if chosen else "Answered the menu"
    )
    wrote = f"wrote “{_word(data, 'body')}”" if data.get("body") else ""
    told = "" if why in {"back", "exit"} or why.startswith("number ") else why
    return _shown("event", "key", title, small=" · ".join(filter(None, (wrote, told))))


def _transfer_to(data: _Data) -> str:
    return (
        _word(data, "to_name")
        or _word(data, "to")
        or (f"the queue “{_sentence(_word(data, 'queue'))}”" if data.get("queue") else "the queue")
    )


def _transfer_started(data: _Data) -> Shown:
    return _shown(
        "note" if data.get("note") else "event",
        "transfer",
        f"{_word(data, 'by', 'We')} handed over to {_transfer_to(data)}",
        words=_word(data, "note"),
    )


def _transfer_completed(data: _Data) -> Shown:
    return _shown("event", "transfer", f"{_word(data, 'to', 'A colleague')} took over from {_word(data, 'by', 'a colleague')}")


_TRANSFER_FAILURES = MappingProxyType(
    {
        "declined": "declined",
        "ring_timeout": "nobody took it in time",
        "no answer": "nobody took it in time",
        "signed_out": "signed out",
        "not_ready": "not ready",
    }
)


def transfer_failure(data: _Data) -> str:
    """Why a transfer came back, in a few words."""
    reason = _word(data, "reason")
    return _TRANSFER_FAILURES.get(reason, reason.replace("_", " "))


def _transfer_failed(data: _Data) -> Shown:
    return _shown("warning", "warning", f"Handing over to {_transfer_to(data)} failed", small=transfer_failure(data), rings=True)


def _chat_dismissed(data: _Data) -> Shown:
    by = _word(data, "name") if data.get("by") != "timer" else "the clock"
    return _shown("event", "aside", f"Set aside by {by or 'an agent'}", small="comes back when the customer writes")


def _chat_returned(_data: _Data) -> Shown:
    return _shown("event", "text", "The chat is back")


def _chat_reopened(_data: _Data) -> Shown:
    return _shown("event", "text", "Goes on in the same conversation")


def _chat_expired(_data: _Data) -> Shown:
    return _shown("warning", "clock", "Nobody took the chat in time")


def _chat_warned(data: _Data) -> Shown:
    minutes = _amount(data, "minutes")
    small = "" if minutes is None else f"{minutes:g} min left"
    return _shown("event", "clock", "Told the customer that the chat will be closed", small=small)


def _stop_suspected(data: _Data) -> Shown:
    return _shown(
        "warning", "stop", "This may be a wish not to be texted", words=_word(data, "body"), small="nothing is sent until judged"
    )


def _stop_judged(data: _Data) -> Shown:
    verdict = "a wish not to be texted" if data.get("meant") else "no wish to stop texts"
    return _shown("event", "shield", f"{_word(data, 'name') or 'An agent'} read it as {verdict}")


def _upload_asked(data: _Data) -> Shown:
    return _shown("event", "photo", f"{_word(data, 'name') or 'The flow'} sent a link for photos")


def _media_uploaded(data: _Data) -> Shown:
    refused = _amount(data, "refused")
    small = f"{refused:g} file{'' if refused == 1 else 's'} refused" if refused else ""
    return _shown("in", "photo", "Customer, by the link", small=small, files=_files(data))


def _conversation_opened(data: _Data) -> Shown:
    return _shown(
        "event", "agent", f"{_word(data, 'name') or 'An agent'} began the conversation", small=_sentence(_word(data, "queue"))
    )


def _api_said(data: _Data) -> Shown:
    about = _word(data, "ticket")
    return _shown(
        "event",
        "settings",
        f"A program texted: “{_word(data, 'author').removeprefix('api:')}”",
        small=f"Ticket {about}" if about else "",
    )


def _sender_added(data: _Data) -> Shown:
    return _shown("event", "text", f"Texts come from {pretty_number(_word(data, 'number'))} as well", small=_word(data, "why"))


_ENDED_BY = MappingProxyType(
    {
        "caller": "the caller",
        "customer": "the customer",
        "agent": "the agent",
        "platform": "us",
        "network": "the network",
        "timeout": "silence",
    }
)


def _call_ended(data: _Data) -> Shown:
    by, cause = _word(data, "by"), _word(data, "cause")
    return _shown(
        "event", "call-end", f"Call ended by {_ENDED_BY.get(by, by)}", small="" if cause == "bye" else cause.replace("_", " ")
    )


_HUNG_UP = MappingProxyType(
    {
        "deflected": "it goes on by text",
        "answered": "the agent was done",
        "no_agents": "nobody was there",
        "closed": "outside opening hours",
        "caller_done": "the caller wished it",
    }
)


def _call_hung_up(data: _Data) -> Shown:
    reason = _word(data, "reason")
    return _shown("event", "call-end", "We hang up", small=_HUNG_UP.get(reason, reason.replace("_", " ")))


def _chat_ended(data: _Data) -> Shown:
    by = _word(data, "by")
    return _shown("event", "chat-end", f"Chat ended by {_word(data, 'name') or _ENDED_BY.get(by, by)}")


def _note_written(data: _Data) -> Shown:
    title = f"Note by {_word(data, 'name')}" if data.get("name") else "Note"
    return _shown("note", "note", title, words=_word(data, "note"), small=_word(data, "disposition"))


def _server_restarted(_data: _Data) -> Shown:
    return _shown("warning", "warning", "The server restarted", small="a call cannot survive that; texts and places do")


def _session_closed(data: _Data) -> Shown:
    return _shown("event", "dot", "Session closed", small=_word(data, "reason").replace("_", " "))


_TELLERS: Mapping[str, Callable[[_Data], Shown]] = MappingProxyType(
    {
        "call.arrived": _call_arrived,
        "call.answered": _call_answered,
        "language.chosen": _language_chosen,
        "menu.chosen": _menu_chosen,
        "prompt.played": _prompt_played,
        "ewt.told": _ewt_told,
        "position.told": _position_told,
        "promise.made": _promise_made,
        "offer.decided": _offer_decided,
        "offer.made": _offer_made,
        "offer.answered": _offer_answered,
        "consent.given": _consent_given,
        "queue.joined": _queue_joined,
        "queue.left": _queue_left,
        "agent.offered": _agent_offered,
        "offer.lapsed": _offer_lapsed,
        "agent.accepted": _agent_accepted,
        "agent.joined": _agent_joined,
        "agent.left": _agent_left,
        "agent.unreachable": _agent_unreachable,
        "audio.connected": _audio_connected,
        "text.received": _text_received,
        "text.sent": _text_sent,
        "text.failed": _text_failed,
        "text.withdrawn": _text_withdrawn,
        "text.lapsed": _text_lapsed,
        "answer.stored": _answer_stored,
        "opted_out": _opted_out,
        "opted_in": _opted_in,
        "call.hung_up": _call_hung_up,
        "call.ended": _call_ended,
        "menu.answered": _menu_answered,
        "transfer.started": _transfer_started,
        "transfer.completed": _transfer_completed,
        "transfer.failed": _transfer_failed,
        "chat.dismissed": _chat_dismissed,
        "chat.returned": _chat_returned,
        "chat.reopened": _chat_reopened,
        "chat.expired": _chat_expired,
        "chat.warned": _chat_warned,
        "stop.suspected": _stop_suspected,
        "stop.judged": _stop_judged,
        "upload.asked": _upload_asked,
        "media.uploaded": _media_uploaded,
        "conversation.opened": _conversation_opened,
        "api.said": _api_said,
        "sender.added": _sender_added,
        "chat.ended": _chat_ended,
        "note.written": _note_written,
        "server.restarted": _server_restarted,
        "session.closed": _session_closed,
    }
)
KNOWN_KINDS = frozenset(_TELLERS)
