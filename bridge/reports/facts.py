"""A session's timeline as the things that reports count.

A *visit* is a stay in one line, a *handling* an agent's part in a session on one channel, a *text* a text, a *mark* anything
that is only counted. What is not over yet has no end: the same facts are made again when the session has gone on.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

Channel: TypeAlias = Literal["voice", "sms"]
Kind: TypeAlias = Literal[
    "inbound_call",
    "outbound_call",
    "callback",
    "sms_in",
    "sms_out",
    "api",
    "direct",
    "deflected",
    "hold_time",
    "in_call",
]
"""How a visit, a handling or a text came to be. A deflected caller's chat is `deflected`; a chat that goes on from a call is
`hold_time` when texting began in the line and `in_call` when it began with the agent."""
Entry: TypeAlias = Literal["new", "again", "transfer", "return", "moved", "opened"]
"""How somebody came into a line or to an agent. `return`: back to the line because an agent was lost or a transfer failed.
`opened`: never in a line, the agent began it."""
Outcome: TypeAlias = Literal[
    "answered",
    "abandoned",
    "timed_out",
    "no_agents",
    "key",
    "callback",
    "not_reached",
    "opted_out",
    "left",
    "moved",
    "lost",
    "transfer_failed",
]
"""How a stay in line ended. `key`: the caller chose something else; `callback`: to be called back; `not_reached`: who was to be
called back did not pick up; `left`: the texter chose something else, or the session ended; `lost`: the server's process ended the
call."""
EndedBy: TypeAlias = Literal["agent", "caller", "customer", "platform", "network", "timeout", "transfer", "set_aside", "restart"]

INELIGIBLE = frozenset({"disabled", "number_withheld", "opted_out", "cannot_text", "refused_before", "asked_before"})
"""Reasons of an offer's decision with which nothing could have been offered, however long the wait."""
HELD_OUT = "held_out"
"""The reason of who would have been offered texting and was not, so that offers can be judged."""
_TYPES: Mapping[str, Kind] = {
    "inbound": "sms_in",
    "outbound": "sms_out",
    "api": "api",
    "direct": "direct",
    "deflected": "deflected",
}
_OUTCOMES: Mapping[str, Outcome] = {
    "abandoned": "abandoned",
    "timed_out": "timed_out",
    "no_agents": "no_agents",
    "key": "key",
    "callback": "callback",
}


class Line(msgspec.Struct, frozen=True):
    """One line of a timeline."""

    n: int
    at: float
    kind: str
    data: Mapping[str, Any]


class Told(msgspec.Struct, frozen=True):
    """A session and what its timeline says."""

    id: str
    opened_at: float
    closed_at: float | None
    """None while it is open."""
    service: str
    """How it began, as the journal has it."""
    lines: tuple[Line, ...]
    names: Mapping[str, str] = {}
    """Agents of the session: id to the name that stands in its lines."""


class SessionFact(msgspec.Struct, frozen=True):
    """A whole session."""

    id: str
    at: float
    until: float | None
    type: Kind
    channel: Channel
    """Of how it began."""
    queue: str | None
    """The first line it came to; None: it came to none."""
    by_customer: bool
    """The customer began it: a contact."""


class VisitFact(msgspec.Struct):
    """A stay in one line."""

    session: str
    n: int
    """The timeline line it began with."""
    at: float
    queue: str
    channel: Channel
    type: Kind
    entry: Entry
    place: float
    """When the customer began to wait, in whatever line."""
    until: float | None = None
    """None: still in line."""
    outcome: Outcome | None = None
    agent: str | None = None
    """Who answered."""
    rings: int = 0
    """Times it rang at a desk."""
    lapses: int = 0
    """Times an agent declined, let it ring or did not pick up the phone."""


class HandlingFact(msgspec.Struct):
    """An agent's part in a session, on one channel."""

    session: str
    n: int
    at: float
    queue: str | None
    channel: Channel
    type: Kind
    entry: Entry
    agent: str
    until: float | None = None
    """None: going on."""
    ended_by: EndedBy | None = None
    held: float = 0.0
    """Seconds on hold, in holds that are over."""
    held_since: float | None = None
    first_response: float | None = None
    """Seconds from the customer's first text of this chat to the agent's first; None: none yet, or no first answer is due."""
    responses: int = 0
    """Texts of the agent that answered a text of the customer."""
    response_time: float = 0.0
    """Seconds that the customer's texts waited for them, added up."""


class TextFact(msgspec.Struct, frozen=True):
    """A text. Its state, segments and country are the journal's to add."""

    message: str
    at: float
    direction: Literal["in", "out"]
    type: Kind
    author: Literal["customer", "preset", "custom", "flow", "system", "api"]
    """`preset` and `custom` are agents' texts: ready-made, or in their own words."""
    agent: str | None
    queue: str | None


class MarkFact(msgspec.Struct):
    """Something that is only counted, or carries one figure."""

    session: str
    n: int
    at: float
    kind: str
    queue: str | None
    channel: Channel
    type: Kind
    agent: str | None = None
    detail: str = ""
    """The kind of offer, or the purpose of a consent."""
    value: float | None = None
    """Seconds, where the mark has a figure."""
    other: float | None = None
    """A second one."""
    message: str | None = None
    """The text on whose delivery it depends."""


class Facts(msgspec.Struct, frozen=True):
    """Everything that is counted of one session."""

    session: SessionFact
    visits: tuple[VisitFact, ...]
    handlings: tuple[HandlingFact, ...]
    texts: tuple[TextFact, ...]
    marks: tuple[MarkFact, ...]


def facts_of(told: Told) -> Facts:
    """Read a session's timeline."""
    reader = _Reader(told)
    for line in told.lines:
        reader.read(line)
    return reader.facts()


class _Reader:
    """Goes through the lines once, in order."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._type: Kind = _TYPES.get(told.service, "inbound_call")
        self._channel: Channel = "voice" if self._type == "inbound_call" else "sms"
        self._texting: Kind | None = None
        """How texting began in a call."""
        self._on_call = False
        self._callback: MarkFact | None = None
        """The callback that the customer is owed; None: none."""
        self._called_back = False
        """The call is one, or will be."""
        self._visits: list[VisitFact] = []
        self._handlings: list[HandlingFact] = []
        self._texts: list[TextFact] = []
        self._marks: list[MarkFact] = []
        self._line: dict[Channel, VisitFact] = {}
        self._work: dict[Channel, HandlingFact] = {}
        self._next: dict[Channel, Entry] = {}
        """How the next stay in line will have come about, when that is known beforehand."""
        self._queue: str | None = None
        self._last_queue: dict[Channel, str] = {}
        self._came_back = False
        """A call that was handed on is to go back where it came from."""
        self._back_to: str | None = None
        """The queue that a transfer under way came from."""
        self._rung: list[str] = []
        self._connecting: str | None = None
        """Whose phone is being rung."""
        self._asked_at: float | None = None
        """When the customer wrote what no agent has answered yet."""
        self._first_due = True
        self._offers: dict[str, MarkFact] = {}
        self._awaits_text: str | None = None
        """The kind of offer that was just accepted, until the text that belongs to it goes out."""
        self._promises: list[MarkFact] = []
        self._read: Mapping[str, Any] = {
            "call.arrived": self._call_arrived,
            "call.placed": self._call_placed,
            "call.ended": self._call_ended,
            "call.held": self._held,
            "call.resumed": self._resumed,
            "callback.asked": self._callback_asked,
            "callback.tried": self._callback_tried,
            "callback.failed": self._callback_over,
            "callback.cancelled": self._callback_over,
            "callback.merged": self._callback_over,
            "callback.done": self._callback_over,
            "queue.joined": self._joined,
            "queue.left": self._left,
            "queue.moved": self._moved,
            "supervisor.moved": self._moved_by_hand,
            "agent.offered": self._rang,
            "offer.lapsed": self._lapsed,
            "agent.accepted": self._accepted,
            "agent.unreachable": self._unreachable,
            "agent.joined": self._agent_joined,
            "agent.left": self._agent_left,
            "conversation.opened": self._opened,
            "transfer.started": self._transfer_started,
            "transfer.completed": self._transfer_completed,
            "transfer.failed": self._transfer_failed,
            "chat.dismissed": self._dismissed,
            "chat.ended": self._chat_ended,
            "chat.expired": self._expired,
            "menu.answered": self._menu_answered,
            "opted_out": self._opted_out,
            "opted_in": self._opted_in,
            "consent.given": self._consent,
            "offer.decided": self._decided,
            "offer.made": self._offer_made,
            "offer.answered": self._offer_answered,
            "ewt.told": self._ewt_told,
            "text.sent": self._sent,
            "text.received": self._received,
            "text.withdrawn": self._withdrawn,
            "media.uploaded": self._uploaded,
            "session.closed": self._closed,
        }

    def read(self, line: Line) -> None:
        """Take the next line; kinds that nothing is counted of are passed over."""
        act = self._read.get(line.kind)
        if act is not None:
            act(line)

    def facts(self) -> Facts:
        """What has been read."""
        told = self._told
        kind: Kind = "deflected" if self._texting == "deflected" else self._type
        first = self._visits[0].queue if self._visits else None
        session = SessionFact(
            told.id,
            told.opened_at,
            told.closed_at,
            kind,
            self._channel,
            first or self._last_queue.get("sms"),
            self._type in {"inbound_call", "sms_in", "direct"},
        )
        return Facts(session, tuple(self._visits), tuple(self._handlings), tuple(self._texts), tuple(self._marks))

    # --- small things

    def _who(self, data: Mapping[str, Any], key: str = "name") -> str | None:
        """The agent a line is about: by id where it has one, else whoever of that name was asked last."""
        if (agent := data.get("agent")) is not None:
            return str(agent)
        name = data.get(key)
        named = [each for each, called in self._told.names.items() if called == name]
        asked = [each for each in reversed(self._rung) if each in named]
        return next(iter([*asked, *named]), None if name is None else str(name))

    def _kind_of(self, channel: Channel) -> Kind:
        if channel == "voice":
            return "callback" if self._called_back else self._type
        if self._type not in {"inbound_call", "outbound_call"}:
            return self._type
        return self._texting or "in_call"

    def _mark(self, line: Line, kind: str, **more: Any) -> MarkFact:
        channel: Channel = more.pop("channel", "voice" if self._on_call else "sms")
        mark = MarkFact(
            self._told.id, line.n, line.at, kind, more.pop("queue", self._queue), channel, self._kind_of(channel), **more
        )
        self._marks.append(mark)
        return mark

    # --- lines of waiting

    def _enter(self, line: Line, queue: str, channel: Channel, entry: Entry, place: float) -> None:
        visit = VisitFact(self._told.id, line.n, line.at, queue, channel, self._kind_of(channel), entry, place)
        self._visits.append(visit)
        self._line[channel] = visit
        self._queue = self._last_queue[channel] = queue

    def _leave(self, line: Line, channel: Channel, outcome: Outcome) -> VisitFact | None:
        visit = self._line.pop(channel, None)
        if visit is not None:
            visit.until, visit.outcome = line.at, outcome
        return visit

    def _joined(self, line: Line) -> None:
        channel: Channel = line.data.get("channel", "voice")
        queue = str(line.data.get("queue", ""))
        before = self._line.get(channel)
        entry: Entry = self._next.pop(channel, "again" if any(each.channel == channel for each in self._visits) else "new")
        if before is not None:
            if before.queue == queue and not self._came_back:
                return
            self._leave(line, channel, "transfer_failed" if self._came_back else "moved")
            entry = "moved"
        if channel == "voice" and self._came_back:
            entry, self._came_back = "return", False
        if channel == "sms":
            self._first_due = True
        self._enter(line, queue, channel, entry, line.at - max(0.0, float(line.data.get("waited", 0.0))))

    def _left(self, line: Line) -> None:
        channel: Channel = line.data.get("channel", "voice")
        self._leave(line, channel, _OUTCOMES.get(line.data.get("outcome", ""), "left"))

    def _moved(self, line: Line) -> None:
        """Somebody stands in another line now, at the same place."""
        channel: Channel = line.data.get("channel", "voice")
        before = self._leave(line, channel, "moved")
        self._enter(line, str(line.data.get("to", "")), channel, "moved", line.at if before is None else before.place)

    def _moved_by_hand(self, line: Line) -> None:
        """A supervisor has moved it. What an agent had is in the other line by a transfer, and what says so itself by that."""
        visit, queue = self._line.get(line.data.get("channel", "voice")), line.data.get("queue")
        if visit is not None and queue not in {None, visit.queue}:
            self._moved(msgspec.structs.replace(line, data={**line.data, "to": queue}))

    def _rang(self, line: Line) -> None:
        agent = str(line.data.get("agent", ""))
        self._rung.append(agent)
        if (visit := self._line.get(line.data.get("channel", "voice"))) is not None:
            visit.rings += 1

    def _lapsed(self, line: Line) -> None:
        channel: Channel = line.data.get("channel", "voice")
        reason = line.data.get("reason")
        if reason == "withdrawn":
            return  # somebody else was quicker, or the customer left
        if (visit := self._line.get(channel)) is not None:
            visit.lapses += 1
        self._mark(line, "declined" if reason == "declined" else "missed", agent=self._who(line.data), channel=channel)

    def _accepted(self, line: Line) -> None:
        self._connecting = self._who(line.data)

    def _unreachable(self, line: Line) -> None:
        if (visit := self._line.get("voice")) is not None:
            self._mark(line, "missed", agent=self._who(line.data), channel="voice")
            visit.lapses += 1

    # --- work

    def _begin(self, line: Line, channel: Channel, agent: str, entry: Entry, queue: str | None) -> HandlingFact:
        handling = HandlingFact(self._told.id, line.n, line.at, queue, channel, self._kind_of(channel), entry, agent)
        self._handlings.append(handling)
        self._work[channel] = handling
        return handling

    def _finish(self, line: Line, channel: Channel, by: EndedBy) -> HandlingFact | None:
        handling = self._work.pop(channel, None)
        if handling is not None:
            self._resume_from_hold(handling, line.at)
            handling.until, handling.ended_by = line.at, by
        return handling

    def _agent_joined(self, line: Line) -> None:
        channel: Channel = line.data.get("channel", "voice")
        agent = self._who(line.data)
        visit = self._leave(line, channel, "answered")
        agent = agent or self._connecting
        if agent is None:
            return
        if visit is not None:
            visit.agent = agent
            if channel == "voice":
                self._promise_kept(line, visit)
        self._finish(line, channel, "transfer")
        entry = self._next.pop(channel, "opened") if visit is None else visit.entry
        self._begin(line, channel, agent, entry, self._queue if visit is None else visit.queue)

    def _agent_left(self, line: Line) -> None:
        channel: Channel = line.data.get("channel", "voice")
        by = line.data.get("by", "agent")
        handling = self._finish(line, channel, by)
        if handling is not None and channel == "sms" and by == "network" and handling.queue is not None:
            self._enter(line, handling.queue, "sms", "return", line.at)

    def _opened(self, line: Line) -> None:
        queue = line.data.get("queue")
        self._queue = None if queue is None else str(queue)
        if self._queue is not None:
            self._last_queue["sms"] = self._queue
        agent = self._who(line.data)
        self._first_due = False  # the first word is the agent's
        if agent is not None:
            self._begin(line, "sms", agent, "opened", self._queue)

    def _held(self, line: Line) -> None:
        if (handling := self._work.get("voice")) is not None and handling.held_since is None:
            handling.held_since = line.at

    def _resumed(self, line: Line) -> None:
        if (handling := self._work.get("voice")) is not None:
            self._resume_from_hold(handling, line.at)

    @staticmethod
    def _resume_from_hold(handling: HandlingFact, at: float) -> None:
        if handling.held_since is not None:
            handling.held += at - handling.held_since
            handling.held_since = None

    def _transfer_started(self, line: Line) -> None:
        channel: Channel = line.data.get("channel", "sms")
        self._mark(line, "transfer_started", agent=self._who(line.data, "by"), channel=channel)
        if channel == "voice":
            if not line.data.get("warm") and line.data.get("queue") is not None:
                self._next["voice"] = "transfer"
            return
        handling = self._finish(line, "sms", "transfer")
        self._back_to = None if handling is None else handling.queue
        queue = line.data.get("queue")
        if queue is not None:
            self._enter(line, str(queue), "sms", "transfer", line.at)

    def _transfer_completed(self, line: Line) -> None:
        channel: Channel = line.data.get("channel", "sms")
        self._mark(line, "transfer_completed", agent=self._who(line.data, "by"), channel=channel)
        self._back_to = None
        if channel == "voice" and "voice" not in self._line:
            self._next["voice"] = "transfer"  # the colleague is on the phone already

    def _transfer_failed(self, line: Line) -> None:
        channel: Channel = line.data.get("channel", "sms")
        self._mark(line, "transfer_failed", agent=self._who(line.data, "by"), channel=channel)
        if channel == "voice":
            self._next.pop("voice", None)
            self._came_back = "voice" not in self._work
            return
        self._leave(line, "sms", "transfer_failed")
        if self._back_to is not None:
            self._enter(line, self._back_to, "sms", "return", line.at)
        self._back_to = None

    def _dismissed(self, line: Line) -> None:
        self._finish(line, "sms", "set_aside")

    def _chat_ended(self, line: Line) -> None:
        self._finish(line, "sms", line.data.get("by", "agent"))
        self._asked_at = None

    def _expired(self, line: Line) -> None:
        self._leave(line, "sms", "timed_out")

    # --- the call

    def _call_arrived(self, line: Line) -> None:
        self._on_call = True
        if line.n == 1:
            self._type, self._channel = "inbound_call", "voice"

    def _call_placed(self, line: Line) -> None:
        """A call of ours: of an agent, or one that was promised."""
        self._on_call = True
        promised = self._callback
        if promised is not None:
            self._callback = None
            in_time = promised.value is None or line.at <= promised.value
            tried = msgspec.structs.replace(promised, n=line.n, kind="callback_tried", other=1.0 if in_time else 0.0)
            self._marks.append(tried)
        elif not self._visits and self._type == "sms_out":
            self._type, self._channel = "outbound_call", "voice"
            queue = line.data.get("queue")
            self._queue = None if queue is None else str(queue)

    def _call_ended(self, line: Line) -> None:
        self._on_call = False
        by: EndedBy = "restart" if line.data.get("cause") == "restart" else line.data.get("by", "caller")
        self._finish(line, "voice", by)
        self._came_back = False
        if by == "restart":
            self._leave(line, "voice", "lost")

    def _callback_asked(self, line: Line) -> None:
        self._leave(line, "voice", "callback")
        self._called_back = True
        promised_by = line.data.get("promised_by")
        if line.data.get("queue") is not None:
            self._queue = str(line.data["queue"])
        self._callback = self._mark(
            line,
            "callback_promised",
            channel="voice",
            value=None if promised_by is None else float(promised_by),
        )

    def _callback_tried(self, line: Line) -> None:
        self._leave(line, "voice", "not_reached")

    def _callback_over(self, line: Line) -> None:
        """Given up, taken back, or the customer is on the phone."""
        self._callback = None
        if line.kind != "callback.done":
            self._called_back = False
            self._leave(line, "voice", "left")

    # --- texts

    def _sent(self, line: Line) -> None:
        data = line.data
        author, preset = str(data.get("author", "")), data.get("preset")
        if preset == "bye":
            self._leave(line, "sms", "left")  # EXIT
        agent = author.removeprefix("agent:") if author.startswith("agent:") else None
        if agent is not None:
            self._agent_wrote(line.at, agent)
        message = str(data.get("message", ""))
        if self._awaits_text is not None and author == "flow":
            self._offers[self._awaits_text].message = message
            self._awaits_text = None
        kind: Literal["preset", "custom", "flow", "system", "api"]
        if agent is not None:
            kind = "custom" if preset is None else "preset"
        else:
            kind = "api" if author.startswith("api:") else "flow" if author == "flow" else "system"
        self._texts.append(TextFact(message, line.at, "out", self._text_type(), kind, agent, self._queue))

    def _received(self, line: Line) -> None:
        message = str(line.data.get("message", ""))
        at_work = self._work.get("sms") or self._work.get("voice")
        agent = None if at_work is None else at_work.agent
        self._texts.append(TextFact(message, line.at, "in", self._text_type(), "customer", agent, self._queue))
        if line.data.get("keyword") is None:
            self._customer_wrote(line.at)

    def _uploaded(self, line: Line) -> None:
        if line.data.get("media"):
            self._customer_wrote(line.at)

    def _customer_wrote(self, at: float) -> None:
        if self._asked_at is None:
            self._asked_at = at

    def _agent_wrote(self, at: float, agent: str) -> None:
        if self._on_call and self._texting is None:
            self._texting = "in_call"
        handling = self._work.get("sms")
        if handling is None or handling.agent != agent or self._asked_at is None:
            self._asked_at = None
            return
        waited = at - self._asked_at
        handling.responses += 1
        handling.response_time += waited
        if self._first_due:
            handling.first_response = waited
            self._first_due = False
        self._asked_at = None

    def _text_type(self) -> Kind:
        return "in_call" if "voice" in self._work else self._kind_of("sms")

    def _withdrawn(self, line: Line) -> None:
        """Who was to be texted stays on the phone after all."""
        del line
        if self._texting == "deflected":
            self._texting = None

    def _menu_answered(self, line: Line) -> None:
        self._leave(line, "sms", "left")  # BACK, out of the line

    # --- offers, promises, agreements

    def _decided(self, line: Line) -> None:
        kind, reason = str(line.data.get("kind", "")), str(line.data.get("reason", ""))
        if kind == "callback":
            return  # offers are those to text; callbacks are counted as promised and kept
        queue = line.data.get("inputs", {}).get("queue", self._queue)
        self._mark(line, "offer_considered", detail=kind, queue=queue)
        if reason in INELIGIBLE:
            self._offers.pop(kind, None)
            return
        self._offers[kind] = self._mark(line, "offer_eligible", detail=kind, queue=queue)
        if reason == HELD_OUT:
            self._mark(line, "offer_held_out", detail=kind, queue=queue)

    def _stage(self, line: Line, kind: str, stage: str) -> MarkFact | None:
        """Another stage of an offer. It counts for the time and queue of its decision, so that a funnel is of the same people."""
        eligible = self._offers.get(kind)
        if eligible is None:
            return None
        mark = msgspec.structs.replace(eligible, n=line.n, kind=stage)
        self._marks.append(mark)
        return mark

    def _offer_made(self, line: Line) -> None:
        self._stage(line, str(line.data.get("kind", "")), "offer_made")

    def _offer_answered(self, line: Line) -> None:
        kind, answer = str(line.data.get("kind", "")), line.data.get("answer")
        stage = {"accepted": "offer_accepted", "declined": "offer_declined"}.get(str(answer), "offer_unanswered")
        mark = self._stage(line, kind, stage)
        if answer != "accepted":
            return
        if mark is not None:
            self._offers[kind] = mark
            self._awaits_text = kind
        if kind == "deflect":
            self._texting = "deflected"
        elif kind == "hold":
            self._texting = "hold_time"

    def _ewt_told(self, line: Line) -> None:
        low, high = line.data.get("low"), line.data.get("high")
        mark = self._mark(line, "ewt_told", channel="voice")
        if high is not None:
            mark.value, mark.other = 60.0 * float(low or 0), 60.0 * max(float(high), 1.0)
            self._promises.append(mark)

    def _promise_kept(self, line: Line, visit: VisitFact) -> None:
        """Compare what the caller was told with what it took: `ewt_error` has the error, and 1 in `other` when in range."""
        for told in self._promises:
            assert told.value is not None
            assert told.other is not None
            took = line.at - told.at
            within = told.value <= took <= told.other
            error = took - (told.value + told.other) / 2
            self._marks.append(
                msgspec.structs.replace(told, kind="ewt_error", queue=visit.queue, value=error, other=1.0 if within else 0.0)
            )
        self._promises.clear()

    def _consent(self, line: Line) -> None:
        granted = "consent_given" if line.data.get("granted") else "consent_refused"
        self._mark(line, granted, detail=str(line.data.get("purpose", "")))

    def _opted_out(self, line: Line) -> None:
        self._finish(line, "sms", "customer")
        self._leave(line, "sms", "opted_out")
        self._mark(line, "opted_out", channel="sms")

    def _opted_in(self, line: Line) -> None:
        self._mark(line, "opted_in", channel="sms")

    def _closed(self, line: Line) -> None:
        for channel in ("voice", "sms"):
            self._leave(line, channel, "left")
            self._finish(line, channel, "platform")
