"""A line of the timeline as an agent reads it: which shape it has, its words and its small print. Pure."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import msgspec
import phonenumbers

from bridge.transcript import span
from bridge.web.console.words import gettext as _
from bridge.web.console.words import marked, ngettext, number_words
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
    {"image": ("image", marked("Photo")), "video": ("video", marked("Video")), "audio": ("audio", marked("Recording"))}
)
_WITH_THUMBNAIL = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_FILE_WORDS = MappingProxyType(
    {
        "image/heic": marked("HEIC photo"),
        "image/heif": marked("HEIC photo"),
        "application/pdf": marked("PDF"),
        "text/vcard": marked("Contact card"),
    }
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
        if line.kind == "queue.moved":
            data["to"] = title_of(str(data["to"]))
    told = teller(data)
    return msgspec.structs.replace(told, n=line.n, at=line.at)


def tick(ticks: Ticks | None) -> Tick:
    """The mark beside a text; None is a text nobody has reported on yet."""
    if ticks is None:
        return Tick("clock", _("pending"), "waiting")
    match ticks.state:
        case "pending" | "accepted" | "queued" | "sending":
            return Tick("clock", _(_STATE_WORDS[ticks.state]), "waiting")
        case "sent":
            return Tick("tick", _(_STATE_WORDS[ticks.state]), "waiting")
        case "delivered" | "read":
            return Tick("ticks", _(_STATE_WORDS[ticks.state]), "done")
        case "undelivered" | "failed" | "canceled":
            why = _(ticks.explanation) if ticks.explanation else ""
            code = f"({ticks.code})" if ticks.code and ticks.code not in why else ""
            return Tick("warning", _(_STATE_WORDS[ticks.state]), "failed", " ".join(filter(None, (why, code))))


_STATE_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "pending": marked("pending"),
        "accepted": marked("accepted"),
        "queued": marked("queued"),
        "sending": marked("sending"),
        "sent": marked("sent"),
        "delivered": marked("delivered"),
        "read": marked("read"),
        "undelivered": marked("not delivered"),
        "failed": marked("failed"),
        "canceled": marked("withdrawn"),
    }
)


def pretty_number(number: str | None) -> str:
    """`+1 555-010-0123`; the number as it is when the numbering plan does not know it; words for a withheld one."""
    if not number:
        return _("Withheld number")
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return number
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def amount_of_bytes(size: int) -> str:
    """`12 kB`, `3.4 MB`: decimal, as telephones say it."""
    if size >= 1_000_000:
        return _("%(n)s MB", n=number_words(round(size / 1e6, 1)))
    return _("%(n)s kB", n=max(1, round(size / 1000)))


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


def _together(*facts: str) -> str:
    """What is known of *facts*, with dots between."""
    return " · ".join(filter(None, facts))


def _call_arrived(data: _Data) -> Shown:
    caller, called = pretty_number(_word(data, "caller")), pretty_number(_word(data, "called"))
    return _shown("event", "call-in", _("%(caller)s called %(called)s", caller=caller, called=called))


def _call_answered(_data: _Data) -> Shown:
    return _shown("event", "call", _("Call answered"))


LANGUAGES: Mapping[str, str] = MappingProxyType(
    {"en": marked("English"), "fr": marked("French"), "es": marked("Spanish"), "de": marked("German")}
)
_CHOSEN_BY = MappingProxyType(
    {
        "key": marked("by key"),
        "guess": marked("a guess"),
        "number": marked("from the number"),
        "contact": marked("known from before"),
    }
)


def _language_chosen(data: _Data) -> Shown:
    language = _word(data, "language")
    small = _CHOSEN_BY.get(_word(data, "by"), "")
    words = _("Language: %(language)s", language=_(LANGUAGES.get(language, language)))
    return _shown("event", "globe", words, small=_(small))


def _menu_chosen(data: _Data) -> Shown:
    target = _word(data, "label") or _sentence(_word(data, "target"))
    key = _word(data, "key")
    small = _together(_("key %(key)s", key=key) if key else "", _word(data, "prompt").replace("_", " "))
    return _shown("event", "key", _("Chose “%(choice)s”", choice=target), small=small)


def _prompt_played(data: _Data) -> Shown:
    cut = "" if data.get("completed", True) else _("cut after %(time)s", time=duration(_amount(data, "heard") or 0))
    return _shown("said", "speaker", _("Heard"), words=_word(data, "words"), small=cut)


def _ewt_told(data: _Data) -> Shown:
    low, high = data.get("low"), data.get("high")
    if low is None or high is None:
        small = ""
    else:
        small = _("%(low)s to %(high)s min", low=low, high=high) if low != high else _("%(n)s min", n=low)
    return _shown("said", "clock", _("Told the expected wait"), words=_word(data, "words"), small=small)


def _position_told(data: _Data) -> Shown:
    small = _("place %(n)s", n=_word(data, "position"))
    return _shown("said", "queue", _("Told the place in line"), words=_word(data, "words"), small=small)


def _promise_made(data: _Data) -> Shown:
    return _shown("said", "promise", _("Promised"), words=_word(data, "words"), small=_word(data, "what").replace("_", " "))


_OFFERS = MappingProxyType(
    {
        "hold": marked("texting while waiting"),
        "deflect": marked("a text chat instead of waiting"),
        "callback": marked("to be called back"),
    }
)
_REASONS = MappingProxyType(
    {
        "offer": marked("worth it"),
        "below_threshold": marked("the wait is short"),
        "sms_not_faster": marked("texting would not be faster"),
        "sms_over_capacity": marked("the text desk is full"),
        "sms_unstaffed": marked("nobody staffs the text desk"),
        "cannot_text": marked("the number cannot be texted"),
        "sms_closed": marked("the text desk is closed"),
        "enough_this_minute": marked("enough were offered it this minute"),
        "held_out": marked("held out, to measure what offering is worth"),
        "always": marked("always offered here"),
        "disabled": marked("never offered here"),
        "almost_there": marked("it is almost their turn"),
        "agent_coming": marked("an agent is being rung"),
        "number_withheld": marked("the number is withheld"),
        "agent_free": marked("an agent is free"),
        "overcapacity": marked("the wait is very long"),
        "no_desk": marked("there is no text desk"),
        "opted_out": marked("the number has opted out"),
        "refused_before": marked("refused before"),
        "asked_before": marked("asked before"),
        "wait_unknown": marked("the wait is not known"),
        "no_agents": marked("nobody is there to answer"),
    }
)


def _offer(data: _Data) -> str:
    kind = _word(data, "kind")
    return _(_OFFERS.get(kind, kind))


def _offer_decided(data: _Data) -> Shown:
    reason = _word(data, "reason")
    verdict = _("Offer %(what)s", what=_offer(data)) if data.get("offer") else _("Do not offer %(what)s", what=_offer(data))
    return _shown("event", "scales", verdict, small=_(_REASONS.get(reason, reason.replace("_", " "))))


def _offer_made(data: _Data) -> Shown:
    return _shown("said", "offer", _("Offered %(what)s", what=_offer(data)), words=_word(data, "words"))


def _offer_answered(data: _Data) -> Shown:
    what = _offer(data)
    match data.get("answer"):
        case "accepted":
            title = _("Accepted %(what)s", what=what)
        case "declined":
            title = _("Declined %(what)s", what=what)
        case "no_input":
            title = _("Did not answer to %(what)s", what=what)
        case _:
            title = _("Answered %(what)s", what=what)
    digit = _word(data, "digit")
    return _shown("event", "offer", title, small=_("key %(key)s", key=digit) if digit else "")


def _consent_given(data: _Data) -> Shown:
    purpose = purpose_words(_word(data, "purpose", "session"))
    granted = _("Consent given (%(purpose)s)", purpose=purpose)
    refused = _("Consent refused (%(purpose)s)", purpose=purpose)
    return _shown("event", "shield", granted if data.get("granted") else refused, words=_word(data, "words"))


_PURPOSES = MappingProxyType(
    {"session": marked("session"), "care": marked("care"), "marketing": marked("marketing"), "service": marked("service")}
)


def purpose_words(purpose: str) -> str:
    """What somebody agreed to texts for."""
    return _(_PURPOSES.get(purpose, purpose))


def _queue_joined(data: _Data) -> Shown:
    position, waited = data.get("position"), _amount(data, "waited")
    small = _together(
        _("text") if data.get("channel") == "sms" else "",
        _("place %(n)s", n=position) if position else "",
        _("has waited %(time)s", time=duration(waited)) if waited and waited >= 1 else "",
    )
    return _shown("event", "queue", _("Waits in “%(queue)s”", queue=_sentence(_word(data, "queue"))), small=small)


def _queue_moved(data: _Data) -> Shown:
    title = _("Waits in “%(queue)s” now, at the same place", queue=_sentence(_word(data, "to")))
    return _shown("event", "queue", title, small=_channel(data))


_LEFT = MappingProxyType({"key": marked("by key"), "no_agents": marked("nobody was there")})


def _queue_left(data: _Data) -> Shown:
    outcome = _word(data, "outcome", "left")
    waited = _amount(data, "waited")
    title = _("Left the line: %(why)s", why=_(_LEFT.get(outcome, outcome.replace("_", " "))))
    return _shown("event", "queue", title, small=_("after %(time)s", time=duration(waited)) if waited else "")


def _who(data: _Data) -> str:
    return _word(data, "name") or _word(data, "agent") or _("An agent")


def _agent_offered(data: _Data) -> Shown:
    return _shown("event", "bell", _("Rings at %(agent)s", agent=_who(data)), small=_channel(data))


_LAPSES = MappingProxyType(
    {
        "declined": marked("declined"),
        "ring_timeout": marked("not answered in time"),
        "signed_out": marked("signed out"),
        "withdrawn": marked("withdrawn"),
    }
)


def _offer_lapsed(data: _Data) -> Shown:
    reason = _word(data, "reason")
    title = _("%(agent)s: %(why)s", agent=_who(data), why=_(_LAPSES.get(reason, reason)))
    return _shown("event", "bell", title, small=_channel(data))


def _channel(data: _Data) -> str:
    return {"voice": _("call"), "sms": _("text")}.get(_word(data, "channel"), "")


def _agent_accepted(data: _Data) -> Shown:
    return _shown("event", "agent", _("%(agent)s accepted", agent=_who(data)), small=_channel(data))


def _agent_joined(data: _Data) -> Shown:
    return _shown("event", "agent", _("%(agent)s joined", agent=_who(data)), small=_channel(data))


def _agent_left(data: _Data) -> Shown:
    by = _word(data, "by")
    small = _together(_channel(data), _("by %(who)s", who=_ended_by(by)) if by else "")
    return _shown("event", "agent", _("%(agent)s left", agent=_who(data)), small=small)


def _agent_unreachable(data: _Data) -> Shown:
    status = " ".join(filter(None, (_word(data, "status"), _word(data, "reason"))))
    return _shown("warning", "warning", _("No answer from the phone of %(agent)s", agent=_who(data)), small=status)


def _audio_connected(_data: _Data) -> Shown:
    return _shown("event", "call", _("Audio in both directions"))


def _files(data: _Data) -> tuple[File, ...]:
    media = data.get("media")
    return tuple(map(_file, media)) if isinstance(media, list | tuple) else ()


def _file(media: _Data) -> File:
    content_type, size = str(media.get("content_type", "")), media.get("size")
    kind, words = _FILE_FAMILIES.get(content_type.partition("/")[0], ("document", marked("File")))
    return File(
        digest=str(media["digest"]),
        kind=kind,
        words=_(_FILE_WORDS.get(content_type, words)),
        size=size if isinstance(size, int) else 0,
        thumbnail=content_type in _WITH_THUMBNAIL,
    )


def _text_received(data: _Data) -> Shown:
    lost = int(_amount(data, "media_lost") or 0)
    probable = data.get("confidence") == "probable"
    small = _together(
        _("the same customer has a conversation on another number of ours") if probable else "",
        ngettext("%(n)s file could not be taken", "%(n)s files could not be taken", lost) if lost else "",
    )
    return _shown("in", "text", _("Customer"), words=_word(data, "body"), small=small, files=_files(data))


_AUTHORS = MappingProxyType(
    {"flow": marked("Flow"), "system": marked("System"), "menu": marked("Menu"), "agent": marked("Agent")}
)


def _text_sent(data: _Data) -> Shown:
    author = _word(data, "author", "system")
    kind, _colon, who = author.partition(":")
    title = _("Program “%(name)s”", name=who) if kind == "api" else _(_AUTHORS.get(kind, author))
    return _shown(
        "out",
        "text",
        _word(data, "name") or title,
        words=_word(data, "body"),
        small=_("preset") if data.get("preset") and author.startswith("agent:") else "",
        message=_word(data, "message") or None,
        files=_files(data),
    )


def _text_failed(data: _Data) -> Shown:
    code = _("code %(code)s", code=_word(data, "code")) if data.get("code") else ""
    small = " ".join(filter(None, (_(_word(data, "explanation")), code)))
    return _shown("warning", "warning", _("A text was not delivered"), small=small)


def _text_withdrawn(data: _Data) -> Shown:
    why = {"too_slow": _("no delivery report in time"), "opted_out": _("the customer opted out")}.get(
        _word(data, "why"), _("not delivered")
    )
    return _shown("event", "text", _("The call goes on: no longer waiting for the reply to our text"), small=why)


def _text_lapsed(data: _Data) -> Shown:
    title = _("Our invitation to text was not answered") if data.get("invited") else _("No further texts came")
    return _shown("event", "chat-end", title)


def _answer_stored(data: _Data) -> Shown:
    media = int(_amount(data, "media") or 0)
    photos = ngettext("%(n)s photo", "%(n)s photos", media) if media else ""
    title = _("Answer to “%(question)s”", question=_sentence(_word(data, "question")))
    return _shown("event", "answer", title, words=_together(_word(data, "body"), photos))


def _opted_out(data: _Data) -> Shown:
    return _shown("warning", "stop", _("The customer opted out of texts"), small=_wrote(data))


def _opted_in(data: _Data) -> Shown:
    return _shown("event", "shield", _("The customer opted in to texts"), small=_wrote(data))


def _wrote(data: _Data) -> str:
    word = _word(data, "word")
    return _("wrote %(word)s", word=word) if word else ""


def _menu_answered(data: _Data) -> Shown:
    titles, why = data.get("titles"), _word(data, "why")
    if why == "the first text":
        return _shown("event", "queue", _("Asked by text what it is about"))
    chosen = " > ".join(map(str, titles)) if isinstance(titles, list | tuple) else ""
    match why:
        case "back":
            title = _("Went back in the menu")
        case "exit":
            title = _("Left the menu")
        case _:
            title = _("Chose “%(choice)s”", choice=chosen) if chosen else _("Answered the menu")
    wrote = _("wrote “%(word)s”", word=_word(data, "body")) if data.get("body") else ""
    told = "" if why in {"back", "exit"} or why.startswith("number ") else why
    return _shown("event", "key", title, small=_together(wrote, told))


def _transfer_to(data: _Data) -> str:
    who = _word(data, "to_name") or _word(data, "to")
    if who or not data.get("queue"):
        return who or _("the queue")
    return _("the queue “%(queue)s”", queue=_sentence(_word(data, "queue")))


def _transfer_started(data: _Data) -> Shown:
    by = _word(data, "by") or _("We")
    if data.get("warm"):
        title = _("%(by)s asks %(to)s", by=by, to=_transfer_to(data))
    else:
        title = _("%(by)s handed over to %(to)s", by=by, to=_transfer_to(data))
    return _shown("note" if data.get("note") else "event", "transfer", title, words=_word(data, "note"))


def _transfer_completed(data: _Data) -> Shown:
    by, to = _word(data, "by") or _("a colleague"), _word(data, "to") or _("A colleague")
    return _shown("event", "transfer", _("%(to)s took over from %(by)s", to=to, by=by))


_TRANSFER_FAILURES = MappingProxyType(
    {
        "declined": marked("declined"),
        "ring_timeout": marked("nobody took it in time"),
        "no answer": marked("nobody took it in time"),
        "signed_out": marked("signed out"),
        "not_ready": marked("not ready"),
        "busy": marked("busy"),
        "refused": marked("refused"),
        "not reachable": marked("not reachable"),
        "hung up": marked("hung up"),
        "taken back": marked("taken back"),
        "given up": marked("given up"),
        "caller hung up": marked("the caller hung up"),
        "left the line": marked("the caller left the line"),
    }
)


def transfer_failure(data: _Data) -> str:
    """Why a transfer came back, in a few words."""
    reason = _word(data, "reason")
    return _(_TRANSFER_FAILURES.get(reason, reason.replace("_", " ")))


def _transfer_failed(data: _Data) -> Shown:
    title = _("Handing over to %(to)s failed", to=_transfer_to(data))
    return _shown("warning", "warning", title, small=transfer_failure(data), rings=True)


def _transfer_answered(data: _Data) -> Shown:
    return _shown("event", "agent", _("%(by)s talks to %(to)s", by=_word(data, "by") or _("We"), to=_transfer_to(data)))


def _call_held(data: _Data) -> Shown:
    return _shown("event", "hold", _("%(agent)s put the caller on hold", agent=_word(data, "name") or _("We")))


def _call_resumed(data: _Data) -> Shown:
    return _shown("event", "call", _("The caller is off hold"), small=duration(_amount(data, "seconds")))


def _outside_left(data: _Data) -> Shown:
    return _shown("event", "call-end", _("%(number)s hung up", number=pretty_number(_word(data, "number"))))


def _call_placed(data: _Data) -> Shown:
    title = _("%(agent)s calls %(number)s", agent=_word(data, "name") or _("We"), number=pretty_number(_word(data, "number")))
    return _shown("event", "call", title, small=_("shown: %(number)s", number=pretty_number(_word(data, "sender"))))


def _customer_answered(_data: _Data) -> Shown:
    return _shown("event", "call", _("The customer picked up"))


def _call_not_reached(data: _Data) -> Shown:
    outcome = _word(data, "outcome")
    small = _("no answer") if outcome == "no answer" else _(_TRANSFER_FAILURES.get(outcome, outcome))
    return _shown("warning", "call-end", _("The customer was not reached"), small=small)


def _callback_asked(data: _Data) -> Shown:
    title = _("To be called back at %(number)s", number=pretty_number(_word(data, "number")))
    by = _word(data, "by")
    return _shown("event", "promise", title, small="" if by == "caller" else by.removeprefix("api:"))


def _callback_tried(data: _Data) -> Shown:
    tries = int(_amount(data, "tries") or 0)
    title = ngettext("Called back %(n)s time in vain", "Called back %(n)s times in vain", tries)
    return _shown("event", "call-end", title, small=_(_TRANSFER_FAILURES.get(_word(data, "outcome"), _word(data, "outcome"))))


def _callback_merged(_data: _Data) -> Shown:
    return _shown("event", "call-in", _("The customer calls instead of waiting to be called; the place is kept"))


def _callback_done(_data: _Data) -> Shown:
    return _shown("event", "tick", _("Called back"))


def _callback_cancelled(data: _Data) -> Shown:
    by = {"customer": _("the customer"), "caller": _("the caller, who rather waits"), "text": _("a text conversation")}
    return _shown("event", "close", _("Not to be called back any more"), small=by.get(_word(data, "by"), _word(data, "by")))


def _callback_failed(data: _Data) -> Shown:
    expired = data.get("reason") == "expired"
    small = _("nobody had the time") if expired else _("the customer was not reached")
    return _shown("warning", "warning", _("The callback was given up"), small=small)


def _chat_dismissed(data: _Data) -> Shown:
    by_clock = data.get("by") == "timer"
    title = _("Set aside by the clock") if by_clock else _("Set aside by %(agent)s", agent=_word(data, "name") or _("an agent"))
    return _shown("event", "aside", title, small=_("comes back when the customer writes"))


def _chat_returned(_data: _Data) -> Shown:
    return _shown("event", "text", _("The chat is back"))


def _chat_reopened(_data: _Data) -> Shown:
    return _shown("event", "text", _("Goes on in the same conversation"))


def _chat_expired(_data: _Data) -> Shown:
    return _shown("warning", "clock", _("Nobody took the chat in time"))


def _chat_warned(data: _Data) -> Shown:
    minutes = _amount(data, "minutes")
    small = "" if minutes is None else _("%(n)s min left", n=f"{minutes:g}")
    return _shown("event", "clock", _("Told the customer that the chat will be closed"), small=small)


def _stop_suspected(data: _Data) -> Shown:
    small = _("nothing is sent until judged")
    return _shown("warning", "stop", _("This may be a wish not to be texted"), words=_word(data, "body"), small=small)


def _stop_judged(data: _Data) -> Shown:
    agent = _who(data)
    meant = _("%(agent)s read it as a wish not to be texted", agent=agent)
    not_meant = _("%(agent)s read it as no wish to stop texts", agent=agent)
    return _shown("event", "shield", meant if data.get("meant") else not_meant)


def _upload_asked(data: _Data) -> Shown:
    return _shown("event", "photo", _("%(who)s sent a link for photos", who=_word(data, "name") or _("The flow")))


def _media_uploaded(data: _Data) -> Shown:
    refused = int(_amount(data, "refused") or 0)
    small = ngettext("%(n)s file refused", "%(n)s files refused", refused) if refused else ""
    return _shown("in", "photo", _("Customer, by the link"), small=small, files=_files(data))


def _conversation_opened(data: _Data) -> Shown:
    title = _("%(agent)s began the conversation", agent=_who(data))
    return _shown("event", "agent", title, small=_sentence(_word(data, "queue")))


def _api_said(data: _Data) -> Shown:
    about = _word(data, "ticket")
    title = _("A program texted: “%(name)s”", name=_word(data, "author").removeprefix("api:"))
    return _shown("event", "settings", title, small=_("Ticket %(ticket)s", ticket=about) if about else "")


def _sender_added(data: _Data) -> Shown:
    title = _("Texts come from %(number)s as well", number=pretty_number(_word(data, "number")))
    return _shown("event", "text", title, small=_word(data, "why"))


_ENDED_BY = MappingProxyType(
    {
        "caller": marked("the caller"),
        "customer": marked("the customer"),
        "agent": marked("the agent"),
        "platform": marked("us"),
        "network": marked("the network"),
        "timeout": marked("silence"),
    }
)


def _ended_by(by: str) -> str:
    return _(_ENDED_BY.get(by, by))


def _call_ended(data: _Data) -> Shown:
    cause = _word(data, "cause")
    title = _("Call ended by %(who)s", who=_ended_by(_word(data, "by")))
    return _shown("event", "call-end", title, small="" if cause == "bye" else cause.replace("_", " "))


_HUNG_UP = MappingProxyType(
    {
        "deflected": marked("it goes on by text"),
        "answered": marked("the agent was done"),
        "no_agents": marked("nobody was there"),
        "closed": marked("outside opening hours"),
        "caller_done": marked("the caller wished it"),
    }
)


def _call_hung_up(data: _Data) -> Shown:
    reason = _word(data, "reason")
    return _shown("event", "call-end", _("We hang up"), small=_(_HUNG_UP.get(reason, reason.replace("_", " "))))


def _chat_ended(data: _Data) -> Shown:
    who = _word(data, "name") or _ended_by(_word(data, "by"))
    return _shown("event", "chat-end", _("Chat ended by %(who)s", who=who))


def _note_written(data: _Data) -> Shown:
    title = _("Note by %(agent)s", agent=_word(data, "name")) if data.get("name") else _("Note")
    return _shown("note", "note", title, words=_word(data, "note"), small=_word(data, "disposition"))


def _supervisor_moved(data: _Data) -> Shown:
    where = _word(data, "to") or _word(data, "queue")
    title = _("%(who)s moved it to %(where)s", who=_word(data, "by"), where=where)
    return _shown("event", "transfer", title, words=_word(data, "note"))


def _supervisor_took_over(data: _Data) -> Shown:
    return _shown("event", "agent", _("%(who)s took it over", who=_word(data, "by")))


def _supervisor_ended(data: _Data) -> Shown:
    return _shown("event", "stop", _("%(who)s ended it", who=_word(data, "by")), words=_word(data, "reason"))


def _server_restarted(_data: _Data) -> Shown:
    small = _("a call cannot survive that; texts and places do")
    return _shown("warning", "warning", _("The server restarted"), small=small)


_CLOSED = MappingProxyType(
    {
        "call over": marked("the call is over"),
        "ended by agent": marked("ended by the agent"),
        "ended by customer": marked("ended by the customer"),
        "ended by supervisor": marked("ended by a supervisor"),
        "left": marked("the customer left"),
        "customer silent": marked("the customer was silent"),
        "agent silent": marked("the agent was silent"),
        "nobody answered": marked("nobody answered"),
        "menu not answered": marked("the menu was not answered"),
        "no answer": marked("no answer"),
        "not delivered": marked("not delivered"),
        "opted_out": marked("opted out"),
    }
)


def ended_words(reason: str) -> str:
    """Why a session ended."""
    return _(_CLOSED.get(reason, reason.replace("_", " ")))


def _session_closed(data: _Data) -> Shown:
    return _shown("event", "dot", _("Session closed"), small=ended_words(_word(data, "reason")))


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
        "queue.moved": _queue_moved,
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
        "transfer.answered": _transfer_answered,
        "call.held": _call_held,
        "call.resumed": _call_resumed,
        "outside.left": _outside_left,
        "call.placed": _call_placed,
        "customer.answered": _customer_answered,
        "call.not_reached": _call_not_reached,
        "callback.asked": _callback_asked,
        "callback.tried": _callback_tried,
        "callback.merged": _callback_merged,
        "callback.done": _callback_done,
        "callback.cancelled": _callback_cancelled,
        "callback.failed": _callback_failed,
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
        "supervisor.moved": _supervisor_moved,
        "supervisor.took_over": _supervisor_took_over,
        "supervisor.ended": _supervisor_ended,
        "server.restarted": _server_restarted,
        "session.closed": _session_closed,
    }
)
KNOWN_KINDS = frozenset(_TELLERS)
