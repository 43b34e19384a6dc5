"""The insides of an `Acd`: who waits, who works, in what order they are looked at. They hold; `bridge.acd.dispatch` decides."""

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from bridge.acd.outputs import WorkOffered
from bridge.acd.places import PlaceInLine
from bridge.acd.skills import Wanted, levels, wanted
from bridge.acd.specs import AgentSpec, AgentState, QueueSpec
from bridge.events import AgentId, Channel, QueueId, SessionId

MOST_REMEMBERED = 1000
"""Combinations of skills for which a queue remembers who has them."""


class Work(NamedTuple):
    """One session on one channel."""

    session: SessionId
    channel: Channel


class Place(NamedTuple):
    """The order of a line, and of all lines together."""

    priority: float
    """0 is most urgent; the same for everybody where priorities age."""
    since: float
    number: int
    """Arrival; unique, so that equal places have an order too."""
    work: Work


class Request(NamedTuple):
    """What a session asked for when it joined. Asking for the same again changes nothing."""

    queue: QueueId
    since: float
    priority: int
    skills: tuple[str, ...]
    prefer: AgentId | None
    prefer_for: float

    @classmethod
    def of(
        cls,
        queue: QueueId,
        since: float,
        priority: int,
        skills: Iterable[str],
        prefer: AgentId | None = None,
        prefer_for: float = 0.0,
    ) -> "Request":
        """Asking for this; the same skills in another order are the same request."""
        return cls(queue, since, priority, tuple(sorted(set(skills))), prefer, prefer_for)

    @property
    def place(self) -> PlaceInLine:
        """As it can be carried away."""
        return PlaceInLine(self.queue, self.since, self.priority, self.skills)


class Need(NamedTuple):
    """What decides who may be asked. Who needs the same stands in one group, and only the first of a group is looked at."""

    wanted: frozenset[Wanted]
    step: int
    """Steps of the cascade that are reached."""
    prefer: AgentId | None
    refused: frozenset[AgentId]


class WaiterDump(msgspec.Struct, frozen=True, array_like=True):
    """A `Waiter`, exactly."""

    request: Request
    place: Place
    queue: QueueId
    prefer: AgentId | None
    prefer_until: float
    ringing: tuple[AgentId, ...]
    held_from: dict[AgentId, float]
    unanswered: int
    visited: tuple[QueueId, ...]
    redirect_at: float | None
    due: float | None
    due_number: int
    need: tuple[int, AgentId | None, tuple[AgentId, ...]] | None
    """But for the skills, which follow from the request."""


class Waiter:
    """One session in line on one channel."""

    __slots__ = (
        "due",
        "due_number",
        "held_from",
        "need",
        "place",
        "prefer",
        "prefer_until",
        "queue",
        "redirect_at",
        "request",
        "ringing",
        "unanswered",
        "visited",
        "wanted",
        "work",
    )

    def __init__(self, work: Work, request: Request, place: Place, now: float) -> None:
        self.work = work
        self.request = request
        self.place = place
        self.queue = request.queue
        self.wanted = wanted(request.skills)
        self.prefer = request.prefer
        self.prefer_until = now + request.prefer_for
        self.ringing: dict[AgentId, None] = {}
        """Where it rings. The first one's place is as good as taken, whoever accepts."""
        self.held_from: dict[AgentId, float] = {}
        """Agents who declined, and until when it is not offered to them again."""
        self.unanswered = 0
        self.visited = {request.queue}
        self.redirect_at: float | None = None
        self.due: float | None = None
        """When something about whom to ask changes by itself."""
        self.due_number = 0
        """Of the timer for that."""
        self.need: Need | None = None
        """The group it stands in; None while it may not be offered."""

    def dump(self) -> WaiterDump:
        """Everything, for `load`."""
        need = self.need
        return WaiterDump(
            self.request,
            self.place,
            self.queue,
            self.prefer,
            self.prefer_until,
            tuple(self.ringing),
            self.held_from,
            self.unanswered,
            tuple(sorted(self.visited)),
            self.redirect_at,
            self.due,
            self.due_number,
            None if need is None else (need.step, need.prefer, tuple(sorted(need.refused))),
        )

    @classmethod
    def load(cls, dumped: WaiterDump) -> "Waiter":
        """As it was. It stands in no line yet: see `Queue.load`."""
        self = cls(dumped.place.work, dumped.request, dumped.place, 0.0)
        self.queue = dumped.queue
        self.prefer, self.prefer_until = dumped.prefer, dumped.prefer_until
        self.ringing = dict.fromkeys(dumped.ringing)
        self.held_from = dict(dumped.held_from)
        self.unanswered = dumped.unanswered
        self.visited = set(dumped.visited)
        self.redirect_at = dumped.redirect_at
        self.due, self.due_number = dumped.due, dumped.due_number
        if dumped.need is not None:
            step, prefer, refused = dumped.need
            self.need = Need(self.wanted, step, prefer, frozenset(refused))
        return self


class AgentDump(msgspec.Struct, frozen=True, array_like=True):
    """An `Agent`, exactly."""

    id: AgentId
    spec: AgentSpec | None
    """None: as configured."""
    number: int
    state: AgentState
    reason: str | None
    since: float
    idle_since: float
    work: list[tuple[Work, "Service"]]
    offer: WorkOffered | None
    offer_number: int
    wrap_up_until: float | None
    wrap_up_number: int
    misses: int
    capacity: tuple[int, int]
    shown: tuple[int, int, bool]


class Agent:
    """One agent."""

    __slots__ = (
        "capacity",
        "idle_since",
        "levels",
        "misses",
        "number",
        "offer",
        "offer_number",
        "queues",
        "reason",
        "shown",
        "since",
        "spec",
        "state",
        "work",
        "wrap_up_number",
        "wrap_up_until",
    )

    def __init__(self, spec: AgentSpec, number: int, now: float) -> None:
        self.configure(spec)
        self.number = number
        self.queues: tuple[Queue, ...] = ()
        self.state: AgentState = "offline"
        self.reason: str | None = None
        self.since = now
        self.idle_since = now
        self.work: dict[Work, Service] = {}
        self.offer: WorkOffered | None = None
        self.offer_number = 0
        """Of the timer by which it rings out."""
        self.wrap_up_until: float | None = None
        self.wrap_up_number = 0
        """Of the timer for that."""
        self.misses = 0
        """Offers in a row that rang out."""
        self.capacity = (0, 0)
        """Calls and chats that could be taken, as last told to the estimator."""
        self.shown = (0, 0, False)
        """What the queues' sums have of this agent: calls and chats that could be taken, and whether at work."""

    def configure(self, spec: AgentSpec) -> None:
        """Be as *spec* says from now on."""
        self.spec = spec
        self.levels = levels(spec.skills)

    def dump(self, *, leaving: bool) -> AgentDump:
        """Everything, for `load`; one who is *leaving* is configured no longer."""
        return AgentDump(
            self.spec.id,
            self.spec if leaving else None,
            self.number,
            self.state,
            self.reason,
            self.since,
            self.idle_since,
            list(self.work.items()),
            self.offer,
            self.offer_number,
            self.wrap_up_until,
            self.wrap_up_number,
            self.misses,
            self.capacity,
            self.shown,
        )

    @classmethod
    def load(cls, dumped: AgentDump, spec: AgentSpec) -> "Agent":
        """As it was, configured by *spec*. It works on no queue yet."""
        self = cls(spec, dumped.number, dumped.since)
        self.state, self.reason, self.idle_since = dumped.state, dumped.reason, dumped.idle_since
        self.work = dict(dumped.work)
        self.offer, self.offer_number = dumped.offer, dumped.offer_number
        self.wrap_up_until, self.wrap_up_number = dumped.wrap_up_until, dumped.wrap_up_number
        self.misses, self.capacity, self.shown = dumped.misses, dumped.capacity, dumped.shown
        return self

    @property
    def call(self) -> SessionId | None:
        """The session of the call in hand."""
        return next((work.session for work in self.work if work.channel == "voice"), None)

    @property
    def chats(self) -> tuple[SessionId, ...]:
        """The sessions of the chats in hand."""
        return tuple(work.session for work in self.work if work.channel == "sms")

    def room(self, *, ringing: bool) -> tuple[int, int]:
        """How many calls and how many chats there is room for; *ringing* at this desk takes all of it."""
        if self.state != "ready" or ringing:
            return 0, 0
        chats, on_call = len(self.chats), self.call is not None
        allowed = self.spec.max_chats_for_call
        calls = 0 if on_call or (allowed is not None and chats > allowed) else 1
        most = min(self.spec.max_chats, self.spec.chats_during_call) if on_call else self.spec.max_chats
        return calls, max(0, most - chats)


class Service(NamedTuple):
    """Work in hand: for which queue, and since when."""

    queue: QueueId
    at: float


class QueueDump(msgspec.Struct, frozen=True, array_like=True):
    """A `Queue`, but for what follows from who waits and who works there."""

    available: tuple[AgentId, ...]
    staff: tuple[AgentId, ...]
    unstaffed_since: float | None
    open_slots: int
    busy: int


class Queue:
    """One line and who works on it."""

    __slots__ = (
        "_fits",
        "_sinces",
        "available",
        "busy",
        "groups",
        "line",
        "members",
        "open_slots",
        "spec",
        "staff",
        "unstaffed_since",
        "wanted",
    )

    def __init__(self, spec: QueueSpec, now: float) -> None:
        self._fits: dict[tuple[frozenset[Wanted], int], frozenset[AgentId]] = {}
        self.configure(spec)
        self.line: list[Place] = []
        self.groups: dict[Need, list[Place]] = {}
        """Those in line who may be offered now, by what they need; no group is empty."""
        self.members: dict[AgentId, Agent] = {}
        self.available: set[AgentId] = set()
        """Who could be offered work of this queue now."""
        self.staff: set[AgentId] = set()
        self.unstaffed_since: float | None = now
        self.open_slots = 0
        self.busy = 0
        self._sinces: list[float] = []

    def configure(self, spec: QueueSpec) -> None:
        """Be as *spec* says from now on; also to be called when its agents are others. The waiters have to be sorted in anew."""
        self.spec = spec
        self.wanted = wanted(spec.skills)
        self._fits.clear()

    def dump(self) -> QueueDump:
        """What `load` needs beside who waits and who works here."""
        return QueueDump(
            tuple(sorted(self.available)), tuple(sorted(self.staff)), self.unstaffed_since, self.open_slots, self.busy
        )

    def load(self, dumped: QueueDump, waiters: Iterable[Waiter]) -> None:
        """Be as it was, with these in line. Its members are the caller's to put there."""
        self.available, self.staff = set(dumped.available), set(dumped.staff)
        self.unstaffed_since, self.open_slots, self.busy = dumped.unstaffed_since, dumped.open_slots, dumped.busy
        there = sorted(waiters, key=lambda waiter: waiter.place)
        self.line = [waiter.place for waiter in there]
        self._sinces = sorted(waiter.request.since for waiter in there)
        self.groups = {}
        for waiter in there:
            if waiter.need is not None:
                self.groups.setdefault(waiter.need, []).append(waiter.place)

    @property
    def oldest(self) -> float | None:
        """When the one who has waited longest began to; None with an empty line."""
        return self._sinces[0] if self._sinces else None

    def enter(self, waiter: Waiter) -> None:
        """Put a waiter into the line."""
        insort(self.line, waiter.place)
        insort(self._sinces, waiter.request.since)

    def remove(self, waiter: Waiter) -> None:
        """Take a waiter out of the line and the group."""
        self.ungroup(waiter)
        del self.line[bisect_left(self.line, waiter.place)]
        del self._sinces[bisect_left(self._sinces, waiter.request.since)]

    def group(self, waiter: Waiter, need: Need) -> None:
        """Let a waiter be looked at among those of the same need."""
        waiter.need = need
        insort(self.groups.setdefault(need, []), waiter.place)

    def ungroup(self, waiter: Waiter) -> None:
        """Look at a waiter no longer."""
        if waiter.need is None:
            return
        line = self.groups[waiter.need]
        if len(line) == 1:
            del self.groups[waiter.need]
        else:
            del line[bisect_left(line, waiter.place)]
        waiter.need = None

    # --- who may be asked

    def whom(self, need: Need) -> frozenset[AgentId]:
        """Whom to ask for this need, whether they have room or not. Nobody is waited for who is not there."""
        last = len(self.spec.cascade)
        first = need.prefer
        if first is not None and first in self.staff and first not in need.refused and first in self.fits(need.wanted, last):
            return frozenset((first,))
        for step in range(need.step, last + 1):
            fit = self.fits(need.wanted, step)
            if need.refused:
                fit -= need.refused
            if not fit.isdisjoint(self.staff):
                return fit
        return frozenset()

    def fits(self, asked: frozenset[Wanted], step: int) -> frozenset[AgentId]:
        """Who may be asked when so many steps of the cascade are reached."""
        fit = self._fits.get((asked, step))
        if fit is None:
            if len(self._fits) >= MOST_REMEMBERED:
                self._fits.clear()
            fit = frozenset(
                name for name, agent in self.members.items() if step >= self.step_of(agent) and self.can(agent, asked, step)
            )
            self._fits[asked, step] = fit
        return fit

    def can(self, agent: Agent, asked: frozenset[Wanted], step: int) -> bool:
        """Whether the agent has what the session and the queue ask for, at the levels of this step."""
        enough = min((s.level for s in self.spec.cascade[:step] if s.level is not None), default=9)
        return all(agent.levels.get(skill, 0) >= min(level, enough) for skill, level in (*asked, *self.wanted))

    def step_of(self, agent: Agent) -> int:
        """How many steps must be reached before this agent is asked."""
        steps = (number for number, step in enumerate(self.spec.cascade, 1) if not set(agent.spec.teams).isdisjoint(step.teams))
        return next(steps, 0)

    def rank(self, need: Need, agent: Agent) -> tuple[float, ...]:
        """Who of several comes first: the least."""
        best = -sum(agent.levels.get(skill, 0) for skill, _ in need.wanted | self.wanted) if self.spec.best_first else 0
        match self.spec.strategy:
            case "in_order":
                return (best, agent.number)
            case "fewest_active":
                return (best, len(agent.work), agent.idle_since, agent.number)
            case _:
                chats = len(agent.chats) if self.spec.channel == "sms" else 0
                return (best, chats, agent.idle_since, agent.number)

    # --- the staff

    def counted(self, agent: Agent, *, working: bool, now: float) -> None:
        """The agent is staff now, or no longer."""
        if working:
            self.staff.add(agent.spec.id)
            self.unstaffed_since = None
        else:
            self.staff.discard(agent.spec.id)
            if not self.staff:
                self.unstaffed_since = now

    def show(self, agent: Agent, old: tuple[int, int, bool], new: tuple[int, int, bool], *, offerable: bool) -> None:
        """Keep the sums: what an agent can take was *old* and is *new*."""
        channel = 0 if self.spec.channel == "voice" else 1
        self.open_slots += new[channel] - old[channel]
        self.busy += new[2] - old[2]
        if offerable:
            self.available.add(agent.spec.id)
        else:
            self.available.discard(agent.spec.id)


def steps_reached(spec: QueueSpec, since: float, now: float) -> int:
    """How many steps of the cascade are reached by one who has waited since *since*."""
    return sum(1 for step in spec.cascade if since + step.after <= now)


def next_step_at(spec: QueueSpec, since: float, now: float) -> float | None:
    """When the next step is reached; None when there is none."""
    return next((since + step.after for step in spec.cascade if since + step.after > now), None)


def both_channels(session: SessionId) -> tuple[Work, Work]:
    """The places a session may have in the lines: one for each channel."""
    return Work(session, "voice"), Work(session, "sms")
