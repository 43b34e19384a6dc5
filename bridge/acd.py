"""Queues and agents: who stands where in line, who is offered whom, who is busy with what.

An `Acd` is told what people do and answers with what follows from it; it has no clock, no sockets and no memory beyond
the process. After a restart it is filled again: sessions `join` with the `since` they had and get their place back, open
chats are given back with `assign`.

Rules of the house:

- A line is ordered by priority (0 is most urgent), then by `since`, then by arrival.
- A session rings at one agent at a time, an agent has at most one ringing offer, and a session that is offered keeps its
  place until somebody accepts.
- An agent has one call at most and `max_chats` chats at most. With chats open a call may still be offered (a text waits
  better than a voice, and a desk that always has a chat open would otherwise never take a call again); during a call no
  chat is offered. Both can be changed for each agent.
- An agent who lets it ring becomes not ready with the reason `missed`; one who declines stays ready, and is not offered
  the same work again for the queue's `decline_hold`.
"""

import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from bridge.events import AgentId, Channel, QueueId, SessionId

AgentState: TypeAlias = Literal["offline", "ready", "not_ready", "wrap_up"]
AgentChoice: TypeAlias = Literal["offline", "ready", "not_ready"]
"""What an agent may set; wrap-up comes by itself."""
AgentInput: TypeAlias = Literal["go_ready", "go_not_ready", "go_offline", "missed", "work_ended", "wrap_up_over"]
LapseReason: TypeAlias = Literal["declined", "ring_timeout", "signed_out", "withdrawn"]
DeclineReason: TypeAlias = Literal["declined", "ring_timeout"]
LeaveOutcome: TypeAlias = Literal["abandoned", "deflected", "timed_out", "opted_out", "closed"]
Strategy: TypeAlias = Literal["longest_idle", "in_order"]

AGENT_TRANSITIONS: Mapping[tuple[AgentState, AgentInput], AgentState] = MappingProxyType(
    {
        ("offline", "go_ready"): "ready",
        ("offline", "go_not_ready"): "not_ready",
        ("offline", "go_offline"): "offline",
        ("offline", "work_ended"): "offline",
        ("ready", "go_ready"): "ready",
        ("ready", "go_not_ready"): "not_ready",
        ("ready", "go_offline"): "offline",
        ("ready", "missed"): "not_ready",
        ("ready", "work_ended"): "wrap_up",
        ("not_ready", "go_ready"): "ready",
        ("not_ready", "go_not_ready"): "not_ready",
        ("not_ready", "go_offline"): "offline",
        # A break asked for during the work begins when the work ends.
        ("not_ready", "work_ended"): "not_ready",
        ("wrap_up", "go_ready"): "ready",
        ("wrap_up", "go_not_ready"): "not_ready",
        ("wrap_up", "go_offline"): "offline",
        ("wrap_up", "work_ended"): "wrap_up",
        ("wrap_up", "wrap_up_over"): "ready",
    }
)
"""What an agent's state becomes. A pair that is not here cannot happen."""

WORKING: frozenset[AgentState] = frozenset({"ready", "wrap_up"})
"""States that count as staff: here now, or here in a moment."""

_CHOSEN: Mapping[AgentChoice, AgentInput] = MappingProxyType(
    {"ready": "go_ready", "not_ready": "go_not_ready", "offline": "go_offline"}
)


class UnknownAgent(LookupError):  # noqa: N818 - it says what happened
    """No such agent. Nothing has changed."""


class UnknownQueue(LookupError):  # noqa: N818
    """No such queue, or a queue of the other channel. Nothing has changed."""


class QueueSpec(msgspec.Struct, frozen=True):
    """One line of waiting customers, of one channel."""

    id: QueueId
    channel: Channel
    ring_timeout: float = 20.0
    """Seconds an offer rings before it goes to the next agent."""
    wrap_up: float = 30.0
    """Seconds of wrap-up after a piece of work; 0 for none."""
    strategy: Strategy = "longest_idle"
    """`longest_idle`: who has been idle longest (for chats: the fewest open chats first). `in_order`: as configured."""
    decline_hold: float = 60.0
    """Seconds before declined work is offered to the same agent again."""


class AgentSpec(msgspec.Struct, frozen=True):
    """One agent, as configured."""

    id: AgentId
    name: str
    queues: tuple[QueueId, ...]
    max_chats: int = 3
    address: str | None = None
    """Where the agent's phone is (`sip:...`); None for a desk without a phone."""
    skills: tuple[str, ...] = ()
    """Everything a session may ask for in `join`: languages, products."""
    auto_accept: bool = False
    """Work is assigned without ringing."""
    chats_during_call: int = 0
    """During a call a chat is offered only while fewer chats than this are open."""
    max_chats_for_call: int | None = None
    """A call is offered only with at most that many chats open; None for any number."""


# --- what follows ----------------------------------------------------------------------------------------------------


class AcdOutput(msgspec.Struct, frozen=True, tag_field="acd", tag=True):
    """Something that followed from what the `Acd` was told."""


class WorkOffered(AcdOutput, frozen=True):
    """A session's work is ringing at an agent's desk, until it is accepted or `until` has passed."""

    agent: AgentId
    session: SessionId
    channel: Channel
    queue: QueueId
    until: float


class OfferLapsed(AcdOutput, frozen=True):
    """It rings no more there. The session is still in line unless it left it."""

    agent: AgentId
    session: SessionId
    channel: Channel
    reason: LapseReason


class WorkAssigned(AcdOutput, frozen=True):
    """The agent has the work; the session has left the line."""

    agent: AgentId
    session: SessionId
    channel: Channel
    queue: QueueId
    waited: float
    """Seconds since the place in line began (`since`), not since the last `join`."""


class AgentStateChanged(AcdOutput, frozen=True):
    """The agent's state or its reason is another."""

    agent: AgentId
    state: AgentState
    reason: str | None
    since: float


class QueueChanged(AcdOutput, frozen=True):
    """The queue's line, staff or open slots are not what they were."""

    queue: QueueId


AnyAcdOutput: TypeAlias = WorkOffered | OfferLapsed | WorkAssigned | AgentStateChanged | QueueChanged


# --- what can be asked -----------------------------------------------------------------------------------------------


class QueueView(msgspec.Struct, frozen=True):
    """A queue as it is now."""

    queue: QueueId
    channel: Channel
    waiting: int
    longest_wait: float
    """Seconds, of the oldest in line; 0 with an empty line."""
    agents_staffed: int
    """Ready, in wrap-up or at work, and not on a break."""
    agents_ready: int
    """Could be offered work of this queue now."""
    agents_busy: int
    """Staffed agents with a call or a chat."""
    open_slots: int
    """Pieces of work of this queue that could be taken now."""
    staffed: bool
    unstaffed_since: float | None
    """When the last agent went; None while there is one."""


class AgentView(msgspec.Struct, frozen=True):
    """An agent as they are now."""

    agent: AgentId
    name: str
    state: AgentState
    reason: str | None
    since: float
    busy: bool
    """Has a call or a chat, whatever the state is."""
    call: SessionId | None
    chats: tuple[SessionId, ...]
    offer: WorkOffered | None
    wrap_up_until: float | None


class WaitObserver(Protocol):
    """What an `Acd` tells the wait estimator, as it happens. `ewt.estimator.Estimator` is one."""

    def login(self, now: float, agent: str, queues: Iterable[str], slots: int) -> None:
        """An agent began to work these queues, with *slots* chats at once."""

    def logout(self, now: float, agent: str) -> None:
        """The agent takes no more work, for now or for today."""

    def capacity(self, now: float, agent: str, voice_free: int, chat_free: int) -> None:
        """How many calls and chats the agent could take right now."""

    def joined(self, now: float, contact: str, queue: str, priority: int, since: float | None = None) -> None:
        """A contact stands in line, with the place of one who came at *since*."""

    def started(self, now: float, contact: str, agent: str, queue: str | None = None) -> None:
        """The agent took the contact; one who never stood in line counts for *queue*."""

    def abandoned(self, now: float, contact: str, *, ghost: bool = True) -> None:
        """The contact left the line unserved; a *ghost* would still have been served in its turn."""

    def ended(self, now: float, contact: str, agent: str, *, served: bool = True) -> None:
        """The agent is done with the contact, or (not *served*) they never got to talk."""


def contact_id(session: SessionId, channel: Channel) -> str:
    """The name under which the estimator knows this session's place in line."""
    return f"{session}/{channel}"


# --- inside ----------------------------------------------------------------------------------------------------------


class _Work(NamedTuple):
    session: SessionId
    channel: Channel


class _Place(NamedTuple):
    """The order of a line."""

    priority: int
    since: float
    number: int
    """Arrival; unique, so that equal places have an order too."""
    work: _Work


class _Waiter:
    __slots__ = ("held_from", "place", "queue", "ringing_at", "skills", "work")

    def __init__(self, work: _Work, queue: QueueId, place: _Place, skills: frozenset[str]) -> None:
        self.work = work
        self.queue = queue
        self.place = place
        self.skills = skills
        self.ringing_at: AgentId | None = None
        self.held_from: dict[AgentId, float] = {}
        """Agents who declined, and until when it is not offered to them again."""


class _Agent:
    __slots__ = ("free", "idle_since", "number", "offer", "reason", "since", "spec", "state", "work", "wrap_up_until")

    def __init__(self, spec: AgentSpec, number: int, now: float) -> None:
        self.spec = spec
        self.number = number
        self.state: AgentState = "offline"
        self.reason: str | None = None
        self.since = now
        self.idle_since = now
        self.work: dict[_Work, QueueId] = {}
        self.offer: WorkOffered | None = None
        self.wrap_up_until: float | None = None
        self.free = (0, 0)
        """Calls and chats that could be offered, as last told to the estimator."""

    @property
    def call(self) -> SessionId | None:
        return next((work.session for work in self.work if work.channel == "voice"), None)

    @property
    def chats(self) -> tuple[SessionId, ...]:
        return tuple(work.session for work in self.work if work.channel == "sms")

    def room(self) -> tuple[int, int]:
        """How many calls and how many chats could be offered now."""
        if self.state != "ready" or self.offer is not None:
            return 0, 0
        chats, on_call = len(self.chats), self.call is not None
        allowed = self.spec.max_chats_for_call
        calls = 0 if on_call or (allowed is not None and chats > allowed) else 1
        most = min(self.spec.max_chats, self.spec.chats_during_call) if on_call else self.spec.max_chats
        return calls, max(0, most - chats)


class _Queue:
    __slots__ = ("available", "line", "spec", "staff", "unstaffed_since")

    def __init__(self, spec: QueueSpec, now: float) -> None:
        self.spec = spec
        self.line: list[_Place] = []
        self.available: set[AgentId] = set()
        self.staff: set[AgentId] = set()
        self.unstaffed_since: float | None = now

    def heads(self) -> Iterator[float]:
        """The `since` of the first in line of every priority."""
        index = 0
        while index < len(self.line):
            place = self.line[index]
            yield place.since
            index = bisect.bisect_left(self.line, (place.priority + 1,))


class _Outputs:
    """The outputs of one call, with every changed queue named once, at the end."""

    def __init__(self) -> None:
        self.items: list[AnyAcdOutput] = []
        self.queues: dict[QueueId, None] = {}

    def changed(self, *queues: QueueId) -> None:
        self.queues.update(dict.fromkeys(queues))

    def result(self) -> list[AnyAcdOutput]:
        return [*self.items, *(QueueChanged(queue) for queue in self.queues)]


class Acd:
    """Lines, agents and offers. No I/O: tell it what happened, perform the outputs in order, `wake` it at `wake_at`.

    Args:
        queues: Every queue there is.
        agents: Every agent there is; all begin offline.
        observer: Is told everything that matters for waiting times, before the method returns.
        now: When the server began; the queues count as unstaffed from then on.

    Raises:
        UnknownQueue: An agent is configured for a queue that does not exist.
    """

    def __init__(
        self,
        queues: Iterable[QueueSpec],
        agents: Iterable[AgentSpec],
        observer: WaitObserver | None = None,
        *,
        now: float = 0.0,
    ) -> None:
        self._observer = observer
        self._queues = {spec.id: _Queue(spec, now) for spec in queues}
        self._agents = {spec.id: _Agent(spec, number, now) for number, spec in enumerate(agents)}
        self._waiters: dict[_Work, _Waiter] = {}
        self._served_by: dict[_Work, AgentId] = {}
        self._ringing: dict[AgentId, WorkOffered] = {}
        self._wrapping: dict[AgentId, float] = {}
        self._held: dict[_Work, float] = {}
        """Waiters with a declined offer, and when the next of their holds is over."""
        self._arrivals = 0
        for agent in self._agents.values():
            for queue in agent.spec.queues:
                self._queue(queue)

    # --- the agents' side

    def set_state(self, agent: AgentId, state: AgentChoice, reason: str | None, now: float) -> list[AnyAcdOutput]:
        """The agent signs in, takes a break, comes back, ends wrap-up early or signs out.

        A ringing offer lapses when the agent goes. Work in hand stays with the agent until it is released, even offline.

        Raises:
            UnknownAgent: No such agent.
        """
        who, out = self._agent(agent), _Outputs()
        if state != "ready" and who.offer is not None:
            self._lapse(who, "signed_out" if state == "offline" else "declined", now, out)
        self._step(who, _CHOSEN[state], None if state == "ready" else reason, now, out)
        return self._settle(who, now, out)

    def accept(self, agent: AgentId, session: SessionId, channel: Channel, now: float) -> list[AnyAcdOutput]:
        """The agent takes what rings. Empty when it rings there no more: it was too late.

        Raises:
            UnknownAgent: No such agent.
        """
        who, out = self._agent(agent), _Outputs()
        if not self._rings(who, session, channel):
            return []
        waiter = self._waiters[_Work(session, channel)]
        self._silence(who, waiter, out)
        self._take(who, waiter, now, out)
        return self._settle(who, now, out)

    def decline(
        self, agent: AgentId, session: SessionId, channel: Channel, reason: DeclineReason, now: float
    ) -> list[AnyAcdOutput]:
        """The agent does not take what rings; it goes to the next. `ring_timeout` marks the agent not ready, as `wake` does.

        Raises:
            UnknownAgent: No such agent.
        """
        who, out = self._agent(agent), _Outputs()
        if not self._rings(who, session, channel):
            return []
        self._lapse(who, reason, now, out)
        return self._settle(who, now, out)

    def release(
        self,
        agent: AgentId,
        session: SessionId,
        channel: Channel,
        wrap_up: bool,
        now: float,
    ) -> list[AnyAcdOutput]:
        """The agent's part in this session is over on this channel. Empty when the agent did not have it.

        With *wrap_up* the agent writes up for the queue's wrap-up time, unless a call goes on or something rings: then the end
        of that brings it.

        Raises:
            UnknownAgent: No such agent.
        """
        who, out = self._agent(agent), _Outputs()
        work = _Work(session, channel)
        queue = who.work.get(work)
        if queue is None:
            return []
        # A call that leaves nothing to write up never came about: the phone was not picked up, or the caller had gone.
        self._finish(who, work, now, out, served=wrap_up or channel == "sms")
        seconds = self._queue(queue).spec.wrap_up
        if wrap_up and seconds > 0 and who.call is None and who.offer is None:
            self._step(who, "work_ended", None if who.state in WORKING else who.reason, now, out)
            if who.state == "wrap_up":
                who.wrap_up_until = max(who.wrap_up_until or now, now + seconds)
                self._wrapping[agent] = who.wrap_up_until
        return self._settle(who, now, out)

    def give_back(
        self,
        agent: AgentId,
        session: SessionId,
        queue: QueueId,
        channel: Channel,
        since: float,
        priority: int,
        skills: Iterable[str],
        now: float,
    ) -> list[AnyAcdOutput]:
        """The agent cannot serve it after all: back to its place, in one step, so that nobody behind it is offered first.

        When the agent did not have it, it is a `join`, whose arguments these are.

        Raises:
            UnknownAgent: No such agent.
            UnknownQueue: No such queue, or one of another channel.
        """
        who, out, work = self._agent(agent), _Outputs(), _Work(session, channel)
        if work not in who.work:
            return self.join(session, queue, channel, since, priority, skills, now)
        self._queue_of(queue, channel)
        self._finish(who, work, now, out, served=False)
        self._enter(work, queue, priority, since, frozenset(skills), now)
        out.changed(queue)
        return self._settle(who, now, out)

    def finish_wrap_up(self, agent: AgentId, now: float) -> list[AnyAcdOutput]:
        """The agent is done writing up. Empty when not in wrap-up.

        Raises:
            UnknownAgent: No such agent.
        """
        who, out = self._agent(agent), _Outputs()
        if who.state != "wrap_up":
            return []
        self._step(who, "wrap_up_over", None, now, out)
        return self._settle(who, now, out)

    def assign(self, agent: AgentId, session: SessionId, channel: Channel, queue: QueueId, now: float) -> list[AnyAcdOutput]:
        """Give work to an agent without an offer: an open chat after a restart, or a transfer. Doing it again changes nothing.

        It is a fact, not a question: the agent may be offline or have no room. Another agent who had it has it no more.

        Raises:
            UnknownAgent: No such agent.
            UnknownQueue: No such queue, or one of another channel.
        """
        who, out = self._agent(agent), _Outputs()
        work = _Work(session, channel)
        self._queue_of(queue, channel)
        holder = self._served_by.get(work)
        if holder == agent:
            return []
        if holder is not None:
            self._finish(self._agents[holder], work, now, out)
            self._refresh(self._agents[holder], now)
        if who.offer is not None:
            # There may be no room for it any more.
            self._lapse(who, "withdrawn", now, out)
        waiter = self._waiters.get(work)
        if waiter is not None:
            ringing = self._hush(waiter, now, out)
            if ringing is not None:
                self._refresh(ringing, now)
            self._take(who, waiter, now, out)
        else:
            self._give(who, work, queue, now, now, out)
        return self._settle(who, now, out)

    # --- the sessions' side

    def join(
        self,
        session: SessionId,
        queue: QueueId,
        channel: Channel,
        since: float,
        priority: int,
        skills: Iterable[str],
        now: float,
    ) -> list[AnyAcdOutput]:
        """Stand in line. The same again changes nothing; another queue, `since`, priority or skills moves the session.

        Args:
            session: Who.
            queue: Where.
            channel: Must be the queue's.
            since: The place in line; may lie in the past (waiting time brought along).
            priority: 0 is most urgent.
            skills: Only agents with all of them are offered.
            now: Seconds since the epoch.

        Raises:
            UnknownQueue: No such queue, or one of another channel.
        """
        self._queue_of(queue, channel)
        out, work, wanted = _Outputs(), _Work(session, channel), frozenset(skills)
        if work in self._served_by:
            return []
        waiter = self._waiters.get(work)
        if waiter is not None:
            if (waiter.queue, waiter.place.since, waiter.place.priority, waiter.skills) == (queue, since, priority, wanted):
                return []
            self._drop(waiter, now, out, ghost=False)
        self._enter(work, queue, priority, since, wanted, now)
        out.changed(queue)
        return self._settle(None, now, out)

    def leave(self, session: SessionId, channel: Channel, outcome: LeaveOutcome, now: float) -> list[AnyAcdOutput]:
        """Leave the line without an agent; what rings stops ringing. Empty when not in line."""
        waiter, out = self._waiters.get(_Work(session, channel)), _Outputs()
        if waiter is None:
            return []
        # One who hung up or was deflected would have been served in turn: the estimator goes on to learn from that turn.
        self._drop(waiter, now, out, ghost=outcome in {"abandoned", "deflected"})
        return self._settle(None, now, out)

    # --- the clock

    @property
    def wake_at(self) -> float | None:
        """When `wake` is due; None when nothing is."""
        times = [*(offer.until for offer in self._ringing.values()), *self._wrapping.values(), *self._held.values()]
        return min(times, default=None)

    def wake(self, now: float) -> list[AnyAcdOutput]:
        """Whatever is over by *now*: ringing, wrap-up, the hold after a declined offer. Early or late does no harm."""
        out = _Outputs()
        for offer in sorted((o for o in self._ringing.values() if o.until <= now), key=lambda o: (o.until, o.agent)):
            who = self._agents[offer.agent]
            self._lapse(who, "ring_timeout", now, out)
            self._refresh(who, now)
        for agent, _ in sorted(((a, t) for a, t in self._wrapping.items() if t <= now), key=lambda pair: (pair[1], pair[0])):
            self._step(self._agents[agent], "wrap_up_over", None, now, out)
            self._refresh(self._agents[agent], now)
        for work in [w for w, t in self._held.items() if t <= now]:
            waiter = self._waiters[work]
            self._hold_on(waiter, now)
            out.changed(waiter.queue)
        return self._settle(None, now, out)

    # --- questions

    def position(self, session: SessionId, channel: Channel) -> int | None:
        """1 for the first in line; None when not in line."""
        waiter = self._waiters.get(_Work(session, channel))
        if waiter is None:
            return None
        return bisect.bisect_left(self._queues[waiter.queue].line, waiter.place) + 1

    def waiting(self, queue: QueueId) -> tuple[SessionId, ...]:
        """Who stands in line, first to last.

        Raises:
            UnknownQueue: No such queue.
        """
        return tuple(place.work.session for place in self._queue(queue).line)

    def queue_view(self, queue: QueueId, now: float) -> QueueView:
        """The queue as it is now.

        Raises:
            UnknownQueue: No such queue.
        """
        this = self._queue(queue)
        index = 0 if this.spec.channel == "voice" else 1
        return QueueView(
            queue=queue,
            channel=this.spec.channel,
            waiting=len(this.line),
            longest_wait=max((now - since for since in this.heads()), default=0.0),
            agents_staffed=len(this.staff),
            agents_ready=len(this.available),
            agents_busy=sum(1 for agent in this.staff if self._agents[agent].work),
            open_slots=sum(self._agents[agent].free[index] for agent in this.available),
            staffed=bool(this.staff),
            unstaffed_since=this.unstaffed_since,
        )

    def agent_view(self, agent: AgentId) -> AgentView:
        """The agent as they are now.

        Raises:
            UnknownAgent: No such agent.
        """
        who = self._agent(agent)
        return AgentView(
            agent=agent,
            name=who.spec.name,
            state=who.state,
            reason=who.reason,
            since=who.since,
            busy=bool(who.work),
            call=who.call,
            chats=who.chats,
            offer=who.offer,
            wrap_up_until=who.wrap_up_until,
        )

    def serving(self, session: SessionId, channel: Channel) -> AgentId | None:
        """Who has this session on this channel; None for nobody."""
        return self._served_by.get(_Work(session, channel))

    def ringing(self, session: SessionId) -> AgentId | None:
        """At whose desk this session rings now; None at nobody's."""
        return next((line.ringing_at for line in self._lines(session) if line.ringing_at is not None), None)

    def agent_spec(self, agent: AgentId) -> AgentSpec:
        """The agent as configured.

        Raises:
            UnknownAgent: No such agent.
        """
        return self._agent(agent).spec

    @property
    def queues(self) -> tuple[QueueId, ...]:
        """Every queue, as configured."""
        return tuple(self._queues)

    @property
    def agents(self) -> tuple[AgentId, ...]:
        """Every agent, as configured."""
        return tuple(self._agents)

    # --- how it is done

    def _agent(self, agent: AgentId) -> _Agent:
        try:
            return self._agents[agent]
        except KeyError:
            raise UnknownAgent(agent) from None

    def _queue(self, queue: QueueId) -> _Queue:
        try:
            return self._queues[queue]
        except KeyError:
            raise UnknownQueue(queue) from None

    def _queue_of(self, queue: QueueId, channel: Channel) -> _Queue:
        this = self._queue(queue)
        if this.spec.channel != channel:
            raise UnknownQueue(f"{queue} is a queue for {this.spec.channel}, not for {channel}")
        return this

    @staticmethod
    def _rings(who: _Agent, session: SessionId, channel: Channel) -> bool:
        return who.offer is not None and (who.offer.session, who.offer.channel) == (session, channel)

    def _step(self, who: _Agent, happened: AgentInput, reason: str | None, now: float, out: _Outputs) -> None:
        """Move an agent along `AGENT_TRANSITIONS` and keep the queues' staff in step."""
        state = AGENT_TRANSITIONS[who.state, happened]
        if (state, reason) == (who.state, who.reason):
            return
        if state == "ready":
            who.idle_since = now
        if state != "wrap_up":
            who.wrap_up_until = None
            self._wrapping.pop(who.spec.id, None)
        was_working, who.state, who.reason, who.since = who.state in WORKING, state, reason, now
        out.items.append(AgentStateChanged(who.spec.id, state, reason, now))
        out.changed(*who.spec.queues)
        if was_working != (state in WORKING):
            self._staff(who, state in WORKING, now)

    def _staff(self, who: _Agent, working: bool, now: float) -> None:
        for name in who.spec.queues:
            queue = self._queues[name]
            if working:
                queue.staff.add(who.spec.id)
                queue.unstaffed_since = None
            else:
                queue.staff.discard(who.spec.id)
                if not queue.staff:
                    queue.unstaffed_since = now
        if self._observer is None:
            return
        if working:
            self._observer.login(now, who.spec.id, who.spec.queues, who.spec.max_chats)
        else:
            # The estimator must see the place go before the agent does.
            self._observer.capacity(now, who.spec.id, 0, 0)
            who.free = (0, 0)
            self._observer.logout(now, who.spec.id)

    def _refresh(self, who: _Agent, now: float) -> None:
        """Work out again what the agent could be offered; to be called after every change to an agent."""
        calls, chats = who.room()
        for name in who.spec.queues:
            queue = self._queues[name]
            if (calls if queue.spec.channel == "voice" else chats) > 0:
                queue.available.add(who.spec.id)
            else:
                queue.available.discard(who.spec.id)
        if (calls, chats) != who.free:
            who.free = (calls, chats)
            if self._observer is not None:
                self._observer.capacity(now, who.spec.id, calls, chats)

    def _enter(self, work: _Work, queue: QueueId, priority: int, since: float, skills: frozenset[str], now: float) -> None:
        self._arrivals += 1
        waiter = _Waiter(work, queue, _Place(priority, since, self._arrivals, work), skills)
        self._waiters[work] = waiter
        bisect.insort(self._queues[queue].line, waiter.place)
        if self._observer is not None:
            self._observer.joined(now, contact_id(*work), queue, priority, since)

    def _forget(self, waiter: _Waiter, out: _Outputs) -> None:
        """Take a waiter out of the line."""
        line = self._queues[waiter.queue].line
        del line[bisect.bisect_left(line, waiter.place)]
        del self._waiters[waiter.work]
        self._held.pop(waiter.work, None)
        out.changed(waiter.queue)

    def _drop(self, waiter: _Waiter, now: float, out: _Outputs, *, ghost: bool) -> None:
        """Take a waiter out of the line unserved."""
        ringing = self._hush(waiter, now, out)
        self._forget(waiter, out)
        if self._observer is not None:
            self._observer.abandoned(now, contact_id(*waiter.work), ghost=ghost)
        if ringing is not None:
            self._refresh(ringing, now)

    def _hush(self, waiter: _Waiter, now: float, out: _Outputs) -> _Agent | None:
        """Stop a waiter's ringing, wherever it is. The caller refreshes the agent that is returned."""
        if waiter.ringing_at is None:
            return None
        ringing = self._agents[waiter.ringing_at]
        self._lapse(ringing, "withdrawn", now, out)
        return ringing

    def _silence(self, who: _Agent, waiter: _Waiter, out: _Outputs) -> None:
        who.offer = None
        waiter.ringing_at = None
        del self._ringing[who.spec.id]
        out.changed(*who.spec.queues)
        # Only one line of a session rings at a time: the other may now.
        out.changed(*(other.queue for other in self._lines(waiter.work.session)))

    def _lapse(self, who: _Agent, reason: LapseReason, now: float, out: _Outputs) -> None:
        """Stop the ringing at an agent's desk; the waiter keeps the place. The caller refreshes the agent."""
        offer = who.offer
        assert offer is not None
        waiter = self._waiters[_Work(offer.session, offer.channel)]
        self._silence(who, waiter, out)
        out.items.append(OfferLapsed(who.spec.id, offer.session, offer.channel, reason))
        if reason == "ring_timeout":
            self._step(who, "missed", "missed", now, out)
        elif reason == "declined":
            waiter.held_from[who.spec.id] = now + self._queues[waiter.queue].spec.decline_hold
            self._hold_on(waiter, now)

    def _hold_on(self, waiter: _Waiter, now: float) -> None:
        """Drop the holds that are over and note when the next one is."""
        waiter.held_from = {agent: until for agent, until in waiter.held_from.items() if until > now}
        if waiter.held_from:
            self._held[waiter.work] = min(waiter.held_from.values())
        else:
            self._held.pop(waiter.work, None)

    def _take(self, who: _Agent, waiter: _Waiter, now: float, out: _Outputs) -> None:
        """The agent takes one from the line. The caller refreshes the agent."""
        self._forget(waiter, out)
        self._give(who, waiter.work, waiter.queue, waiter.place.since, now, out)

    def _give(self, who: _Agent, work: _Work, queue: QueueId, since: float, now: float, out: _Outputs) -> None:
        who.work[work] = queue
        self._served_by[work] = who.spec.id
        if self._observer is not None:
            self._observer.started(now, contact_id(*work), who.spec.id, queue)
        out.items.append(WorkAssigned(who.spec.id, work.session, work.channel, queue, max(0.0, now - since)))
        out.changed(queue, *who.spec.queues)

    def _finish(self, who: _Agent, work: _Work, now: float, out: _Outputs, *, served: bool = True) -> None:
        """The agent has the work no more. The caller refreshes the agent."""
        queue = who.work.pop(work)
        del self._served_by[work]
        who.idle_since = now
        if self._observer is not None:
            self._observer.ended(now, contact_id(*work), who.spec.id, served=served)
        out.changed(queue, *who.spec.queues)

    def _settle(self, who: _Agent | None, now: float, out: _Outputs) -> list[AnyAcdOutput]:
        """Refresh *who*, offer whatever can be offered now in the changed queues, and hand out the outputs."""
        if who is not None:
            self._refresh(who, now)
        queues = tuple(out.queues)
        while True:
            matches = (self._match(self._queues[name]) for name in queues)
            best = min((match for match in matches if match is not None), key=lambda match: match[0].place, default=None)
            if best is None:
                return out.result()
            self._ring(*best, now, out)

    def _match(self, queue: _Queue) -> tuple[_Waiter, _Agent] | None:
        """The first in line whom an available agent may take, and the agent who should."""
        if not queue.available:
            return None
        rank = _RANKS[queue.spec.strategy](queue.spec.channel)
        for place in queue.line:
            waiter = self._waiters[place.work]
            if not self._may_ring(waiter):
                continue
            fit = [
                agent
                for agent in (self._agents[name] for name in queue.available)
                if agent.spec.id not in waiter.held_from and waiter.skills.issubset(agent.spec.skills)
            ]
            if fit:
                return waiter, min(fit, key=rank)
        return None

    def _lines(self, session: SessionId) -> Iterator[_Waiter]:
        """The lines this session stands in: none, one, or one for each channel."""
        works = (_Work(session, "voice"), _Work(session, "sms"))
        return (self._waiters[work] for work in works if work in self._waiters)

    def _may_ring(self, waiter: _Waiter) -> bool:
        """A session rings at one desk at a time, whatever its channels."""
        return all(line.ringing_at is None for line in self._lines(waiter.work.session))

    def _ring(self, waiter: _Waiter, who: _Agent, now: float, out: _Outputs) -> None:
        """Offer a waiter to an agent, or give it at once to one who takes everything."""
        queue = self._queues[waiter.queue].spec
        out.changed(*who.spec.queues)
        if who.spec.auto_accept:
            self._take(who, waiter, now, out)
        else:
            offer = WorkOffered(who.spec.id, waiter.work.session, waiter.work.channel, queue.id, now + queue.ring_timeout)
            who.offer = offer
            waiter.ringing_at = who.spec.id
            self._ringing[who.spec.id] = offer
            out.items.append(offer)
        self._refresh(who, now)


_Rank: TypeAlias = Callable[[_Agent], tuple[float, ...]]


def _longest_idle(channel: Channel) -> _Rank:
    if channel == "voice":
        return lambda agent: (agent.idle_since, agent.number)
    return lambda agent: (len(agent.chats), agent.idle_since, agent.number)


def _in_order(_channel: Channel) -> _Rank:
    return lambda agent: (agent.number,)


_RANKS: Mapping[Strategy, Callable[[Channel], _Rank]] = MappingProxyType({"longest_idle": _longest_idle, "in_order": _in_order})
