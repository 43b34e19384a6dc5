"""What has happened today, counted line by line. Pure.

Everything is counted from the timelines of the sessions, the same lines that reports are made of, so what the boards say
can be counted again from the journal; after a restart it is.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from bridge.acd import Target
from bridge.events import AgentId, Channel, MessageId, SessionId, TextState

COUNTED = frozenset(
    {
        "queue.joined",
        "queue.left",
        "queue.moved",
        "agent.offered",
        "offer.lapsed",
        "agent.joined",
        "agent.left",
        "call.ended",
        "chat.ended",
        "chat.expired",
        "chat.dismissed",
        "menu.answered",
        "opted_out",
        "transfer.started",
        "transfer.failed",
        "offer.decided",
        "offer.made",
        "offer.answered",
        "text.sent",
        "session.closed",
        "supervisor.moved",
    }
)
"""Kinds of lines that the counts are made of."""
MINUTE = 60.0
LONGEST_WINDOW = 4 * 3600.0
"""Seconds back from now for which counts over a window can be told."""
TREND = 60
"""Minutes that a queue's small curve shows."""
_ARRIVED = frozenset({"delivered", "read"})
_CHANNELS: tuple[Channel, ...] = ("voice", "sms")


class Counts(msgspec.Struct):
    """Figures of one queue over some time."""

    offered: int = 0
    """Customers who came into the line. One who is handed on comes into the next line too."""
    answered: int = 0
    in_time: int = 0
    """Of those within the target's time."""
    abandoned: int = 0
    """Callers who hung up before an agent had them."""
    abandoned_in_time: int = 0
    """Of them and of the short ones, those within the target's time."""
    short: int = 0
    """Hung up sooner than the queue's short-abandon time; not among the abandoned."""
    left: int = 0
    """Left it otherwise: moved on, by a key, when patience ended, by EXIT or STOP, cut off by us; chats nobody took in time."""
    waited: float = 0.0
    """Seconds that those who were answered had waited in this line."""
    handled: int = 0
    seconds: float = 0.0
    """Seconds for which agents had them."""
    offers_made: int = 0
    """Texting was offered to callers who wanted into this line."""
    offers_accepted: int = 0
    offers_delivered: int = 0
    """And the text they agreed to is on their telephone."""

    def add(self, other: "Counts") -> None:
        """Count what *other* has counted, too."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def service_level(self) -> float | None:
        """SL2, as in the reports: (answered in time + abandoned in time) / (answered + abandoned); None without either."""
        all_of_them = self.answered + self.abandoned + self.short
        return None if all_of_them == 0 else (self.in_time + self.abandoned_in_time) / all_of_them

    @property
    def average_wait(self) -> float | None:
        """Average speed of answer in seconds; None when nobody was answered."""
        return None if self.answered == 0 else self.waited / self.answered

    @property
    def average_handling(self) -> float | None:
        """Seconds an agent had a customer on average; None when none was finished."""
        return None if self.handled == 0 else self.seconds / self.handled


class AgentCounts(msgspec.Struct):
    """Figures of one agent, today."""

    answered: int = 0
    missed: int = 0
    """Rang out at the desk."""
    handled: int = 0
    seconds: float = 0.0
    """Seconds with customers, on the line or in a chat; wrap-up is not in it."""

    @property
    def average_handling(self) -> float | None:
        """As that of `Counts`."""
        return None if self.handled == 0 else self.seconds / self.handled


class _Visit(msgspec.Struct):
    """A customer in one line."""

    queue: str
    since: float


class _Part(msgspec.Struct):
    """An agent with a customer."""

    agent: AgentId | None
    queue: str | None
    since: float


class _Course(msgspec.Struct):
    """What has to be remembered of a session to count its next line."""

    visits: dict[Channel, _Visit] = {}
    parts: dict[Channel, _Part] = {}
    ringing: dict[Channel, AgentId] = {}
    """At whose desk it rang last."""
    queue: str | None = None
    """For which line the newest offer was decided."""
    text_due: bool = False
    """An offer was accepted and its text has not left yet."""


class Day:
    """Today, counted line by line.

    Args:
        start: When today began.
        target: What a queue is to achieve; decides what is in time and what is a short abandon.
        names: Agents by name; a line of a timeline has names.
    """

    def __init__(self, start: float, target: Callable[[str], Target], names: Mapping[str, AgentId]) -> None:
        self.start = start
        self._target = target
        self._names = dict(names)
        self._queues: dict[str, Counts] = {}
        self._agents: dict[AgentId, AgentCounts] = {}
        self._missed: dict[AgentId, deque[float]] = {}
        self._minutes: dict[str, deque[tuple[float, Counts]]] = {}
        self._courses: dict[SessionId, _Course] = {}
        self._texts: dict[MessageId, str] = {}
        """Texts that an accepted offer promised, and for which queue."""
        self._failed_texts: deque[float] = deque()

    def begin(self, start: float) -> None:
        """A new day: counts begin at nothing, who waits or talks goes on."""
        self.start = start
        self._queues, self._agents = {}, {}

    def know(self, names: Mapping[str, AgentId]) -> None:
        """Agents may come, go and be renamed."""
        self._names = dict(names)

    def queue(self, queue: str) -> Counts:
        """A queue's figures of today."""
        return self._queues.get(queue) or Counts()

    def agent(self, agent: AgentId) -> AgentCounts:
        """An agent's figures of today."""
        return self._agents.get(agent) or AgentCounts()

    def recently(self, queue: str, window: float, now: float) -> Counts:
        """A queue's figures of the last *window* seconds (at most `LONGEST_WINDOW`), to the minute."""
        total, since = Counts(), now - window
        for at, counts in reversed(self._minutes.get(queue, ())):
            if at + MINUTE <= since:
                break
            total.add(counts)
        return total

    def missed(self, agent: AgentId, window: float, now: float) -> int:
        """How often it rang out at the agent's desk in the last *window* seconds."""
        return sum(1 for at in self._missed.get(agent, ()) if at > now - window)

    def failed_texts(self, window: float, now: float) -> int:
        """Texts of ours that failed in the last *window* seconds."""
        return sum(1 for at in self._failed_texts if at > now - window)

    # --- line by line

    def take(  # noqa: C901, PLR0912, PLR0915  # flat
        self, session: SessionId, at: float, kind: str, data: Mapping[str, Any]
    ) -> None:
        """Count one line of a session's timeline. Lines of one session come in order."""
        if kind not in COUNTED:
            return
        course = self._courses.setdefault(session, _Course())
        match kind:
            case "queue.joined":
                self._enter(course, data["channel"], str(data["queue"]), at)
            case "queue.moved":
                self._enter(course, data["channel"], str(data["to"]), at)
            case "queue.left":
                self._lost(course, "voice", at, abandoned=data.get("outcome") == "abandoned")
            case "agent.offered":
                course.ringing[data["channel"]] = AgentId(data["agent"])
            case "offer.lapsed":
                if data.get("reason") == "ring_timeout":
                    self._rang_out(AgentId(data["agent"]), at)
            case "agent.joined":
                self._joined(course, data["channel"], str(data.get("name")), at)
            case "agent.left":
                self._parted(course, data["channel"], at)
            case "call.ended":
                if data.get("cause") == "restart":
                    self._lost(course, "voice", at, abandoned=False)
                    self._parted(course, "voice", at)
            case "chat.ended" | "chat.dismissed":
                self._parted(course, "sms", at)
            case "menu.answered" | "opted_out" | "chat.expired":
                self._lost(course, "sms", at, abandoned=False)
            # A call that is handed on says itself that the agent has left and that it stands in line again.
            case "transfer.started" if data.get("channel", "sms") == "sms":
                self._parted(course, "sms", at)
                if data.get("queue"):
                    self._enter(course, "sms", str(data["queue"]), at)
            case "transfer.failed" if data.get("channel", "sms") == "sms":
                self._lost(course, "sms", at, abandoned=False)
            case "supervisor.moved":
                visit = course.visits.get(data["channel"])
                # Work that an agent had is in the other line already, by its transfer.
                if visit is not None and data.get("queue") not in {None, visit.queue}:
                    self._enter(course, data["channel"], str(data["queue"]), at)
            case "offer.decided" | "offer.made" | "offer.answered" if data.get("kind") == "callback":
                pass  # offers are those to text
            case "offer.decided":
                course.queue = str((data.get("inputs") or {}).get("queue") or "") or None
            case "offer.made":
                self._offer(course, at, "offers_made")
            case "offer.answered":
                if data.get("answer") == "accepted":
                    self._offer(course, at, "offers_accepted")
                    course.text_due = True
            case "text.sent":
                if course.text_due and data.get("author") == "flow" and course.queue is not None:
                    course.text_due = False
                    self._texts[data["message"]] = course.queue
            case "session.closed":
                for channel in _CHANNELS:
                    self._lost(course, channel, at, abandoned=False)
                    self._parted(course, channel, at)
                del self._courses[session]
            case _:
                pass

    def text_moved(self, message: MessageId, state: TextState, at: float) -> None:
        """A text of ours has got further."""
        if state in _ARRIVED and message in self._texts:
            self._count(self._texts.pop(message), at, Counts(offers_delivered=1))
        elif state in {"failed", "undelivered"}:
            self._texts.pop(message, None)
            self._failed_texts.append(at)
            while self._failed_texts[0] <= at - LONGEST_WINDOW:
                self._failed_texts.popleft()

    # --- how it is done

    def _count(self, queue: str, at: float, counts: Counts) -> None:
        if at >= self.start:
            self._queues.setdefault(queue, Counts()).add(counts)
        minutes = self._minutes.setdefault(queue, deque())
        minute = at // MINUTE * MINUTE
        if minutes and minutes[-1][0] >= minute:
            minutes[-1][1].add(counts)
        else:
            minutes.append((minute, counts))
            while minutes[0][0] <= minute - LONGEST_WINDOW:
                minutes.popleft()

    def _agent(self, agent: AgentId, at: float, **more: float) -> None:
        if at >= self.start:
            counts = self._agents.setdefault(agent, AgentCounts())
            for name, much in more.items():
                setattr(counts, name, getattr(counts, name) + much)

    def _rang_out(self, agent: AgentId, at: float) -> None:
        self._agent(agent, at, missed=1)
        missed = self._missed.setdefault(agent, deque())
        missed.append(at)
        while missed[0] <= at - LONGEST_WINDOW:
            missed.popleft()

    def _enter(self, course: _Course, channel: Channel, queue: str, at: float) -> None:
        """Into a line, and out of the one before."""
        self._lost(course, channel, at, abandoned=False)
        course.visits[channel] = _Visit(queue, at)
        self._count(queue, at, Counts(offered=1))

    def _lost(self, course: _Course, channel: Channel, at: float, *, abandoned: bool) -> None:
        """Out of the line, if in one, without an agent."""
        visit = course.visits.pop(channel, None)
        if visit is None:
            return
        target, waited = self._target(visit.queue), at - visit.since
        if not abandoned:
            self._count(visit.queue, at, Counts(left=1))
            return
        short = target.short_abandon is not None and waited < target.short_abandon
        in_time = int(_in_time(waited, target))
        self._count(visit.queue, at, Counts(short=int(short), abandoned=int(not short), abandoned_in_time=in_time))

    def _joined(self, course: _Course, channel: Channel, name: str, at: float) -> None:
        """An agent has the customer."""
        visit = course.visits.pop(channel, None)
        if visit is not None:
            waited = at - visit.since
            in_time = int(_in_time(waited, self._target(visit.queue)))
            self._count(visit.queue, at, Counts(answered=1, in_time=in_time, waited=waited))
        # Of two agents of one name it is the one at whose desk it rang.
        rang = course.ringing.get(channel)
        same_name = {agent for known, agent in self._names.items() if known == name}
        agent = rang if rang is not None and (rang in same_name or not same_name) else next(iter(same_name), None)
        course.parts[channel] = _Part(agent, None if visit is None else visit.queue, at)
        if agent is not None:
            self._agent(agent, at, answered=1)

    def _parted(self, course: _Course, channel: Channel, at: float) -> None:
        """The agent has the customer no more, if one did."""
        part = course.parts.pop(channel, None)
        if part is None:
            return
        seconds = at - part.since
        if part.agent is not None:
            self._agent(part.agent, at, handled=1, seconds=seconds)
        if part.queue is not None:
            self._count(part.queue, at, Counts(handled=1, seconds=seconds))

    def _offer(self, course: _Course, at: float, figure: Literal["offers_made", "offers_accepted"]) -> None:
        if course.queue is not None:
            self._count(course.queue, at, Counts(**{figure: 1}))


def _in_time(waited: float, target: Target) -> bool:
    """Without a target everybody is in time."""
    return target.answer_within is None or waited <= target.answer_within


class Trend:
    """How many waited, the most in each of the last `TREND` minutes."""

    def __init__(self) -> None:
        self._peaks: deque[tuple[float, int]] = deque(maxlen=TREND)

    def note(self, waiting: int, now: float) -> None:
        """So many wait now."""
        minute = now // MINUTE
        if self._peaks and self._peaks[-1][0] >= minute:
            last, peak = self._peaks[-1]
            self._peaks[-1] = (last, max(peak, waiting))
            return
        # A line that nobody noted anything about was as it is left behind.
        gap_from = self._peaks[-1][0] + 1 if self._peaks else minute
        for missing in range(int(max(gap_from, minute - TREND)), int(minute)):
            self._peaks.append((float(missing), self._peaks[-1][1]))
        self._peaks.append((minute, waiting))

    @property
    def peaks(self) -> tuple[int, ...]:
        """Oldest first; fewer than `TREND` when the server has not run for so long."""
        return tuple(peak for _, peak in self._peaks)
