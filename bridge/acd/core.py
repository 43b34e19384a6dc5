"""Who is offered whom, told event by event."""

import heapq
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from bridge.acd.ghosts import GRACE, Difference, Seen, Suspicions
from bridge.acd.lines import (
    Agent,
    AgentDump,
    Need,
    Place,
    Queue,
    QueueDump,
    Request,
    Service,
    Waiter,
    WaiterDump,
    Work,
    both_channels,
    next_step_at,
    steps_reached,
)
from bridge.acd.outputs import (
    AgentStateChanged,
    AgentTold,
    AgentView,
    AnyAcdOutput,
    ContactTold,
    DeclineReason,
    GhostHealed,
    LapseReason,
    LeaveOutcome,
    OfferLapsed,
    QueueChanged,
    QueueView,
    RedirectReason,
    Standing,
    Told,
    Waiting,
    WaitObserver,
    WorkAssigned,
    WorkOffered,
    WorkRedirected,
    contact_id,
)
from bridge.acd.places import PlaceInLine
from bridge.acd.specs import AGENT_TRANSITIONS, CHOSEN, WORKING, AgentChoice, AgentInput, AgentSpec, QueueSpec
from bridge.events import AgentId, Channel, QueueId, SessionId


class UnknownAgent(LookupError):  # noqa: N818 - it says what happened
    """No such agent. Nothing has changed."""


class UnknownQueue(LookupError):  # noqa: N818
    """No such queue, or a queue of the other channel. Nothing has changed."""


class QueueInUse(Exception):  # noqa: N818
    """A queue that is to go has people in it. Nothing has changed.

    Args:
        uses: By queue, how many wait in it and how many are being served from it.
    """

    def __init__(self, uses: Mapping[QueueId, tuple[int, int]]) -> None:
        super().__init__(", ".join(f"{queue}: {waiting} waiting, {served} served" for queue, (waiting, served) in uses.items()))
        self.uses = uses


class AcdDump(msgspec.Struct, frozen=True):
    """Everything that an `Acd` has beside what is configured."""

    number: int
    queues: dict[QueueId, QueueDump]
    agents: list[AgentDump]
    waiters: list[WaiterDump]
    served_by: list[tuple[Work, AgentId]]
    suspicions: list[tuple[Work, Difference, float]]


class _Timer(NamedTuple):
    """Something to look at at a time; when it is no longer about anything, nobody looks."""

    at: float
    number: int
    of: WorkOffered | Agent | Waiter


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
        ageing: Seconds of waiting that outweigh one step of priority; None when a more urgent one always goes first.

    Raises:
        UnknownQueue: An agent or a redirect names a queue that does not exist, or a redirect one of the other channel.
    """

    def __init__(
        self,
        queues: Iterable[QueueSpec],
        agents: Iterable[AgentSpec],
        observer: WaitObserver | None = None,
        *,
        now: float = 0.0,
        ageing: float | None = None,
    ) -> None:
        self._observer = observer
        self._ageing = ageing
        self._queues = {spec.id: Queue(spec, now) for spec in queues}
        self._agents = {spec.id: Agent(spec, number, now) for number, spec in enumerate(agents)}
        self._waiters: dict[Work, Waiter] = {}
        self._served_by: dict[Work, AgentId] = {}
        self._timers: list[_Timer] = []
        self._number = 0
        """The last one given to a place or a timer."""
        self._suspicions = Suspicions()
        self._leaving: set[AgentId] = set()
        """Agents who are no longer configured and still have work in hand."""
        _check({queue.spec.id: queue.spec for queue in self._queues.values()}, (who.spec for who in self._agents.values()))
        for agent in self._agents.values():
            self._put_on(agent)

    # --- the agents' side

    def set_state(self, agent: AgentId, state: AgentChoice, reason: str | None, now: float) -> list[AnyAcdOutput]:
        """The agent signs in, takes a break, comes back, ends wrap-up early or signs out.

        A ringing offer lapses when the agent goes. Work in hand stays with the agent until it is released, even offline. One who
        is `leaving` stays offline.

        Raises:
            UnknownAgent: No such agent.
        """
        who, out = self._agent(agent), _Outputs()
        if agent in self._leaving:
            return []
        if state != "ready" and who.offer is not None:
            self._lapse(who, "signed_out" if state == "offline" else "declined", now, out)
        who.misses = 0
        self._step(who, CHOSEN[state], None if state == "ready" else reason, now, out)
        return self._settle(who, now, out)

    def accept(self, agent: AgentId, session: SessionId, channel: Channel, now: float) -> list[AnyAcdOutput]:
        """The agent takes what rings. Empty when it rings there no more: it was too late.

        Raises:
            UnknownAgent: No such agent.
        """
        who, out = self._agent(agent), _Outputs()
        if not self._rings(who, session, channel):
            return []
        waiter = self._waiters[Work(session, channel)]
        who.misses = 0
        self._silence(who, waiter, now, out)
        self._take(who, waiter, now, out)
        return self._settle(who, now, out)

    def decline(
        self, agent: AgentId, session: SessionId, channel: Channel, reason: DeclineReason, now: float
    ) -> list[AnyAcdOutput]:
        """The agent does not take what rings; it goes to the next. `ring_timeout` counts as missed, as it does in `wake`.

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
        work = Work(session, channel)
        service = who.work.get(work)
        if service is None:
            return []
        # A call that leaves nothing to write up never came about: the phone was not picked up, or the caller had gone.
        self._finish(who, work, now, out, served=wrap_up or channel == "sms")
        seconds = self._queues[service.queue].spec.wrap_up
        if wrap_up and seconds > 0 and who.call is None and who.offer is None:
            self._step(who, "work_ended", None if who.state in WORKING else who.reason, now, out)
            if who.state == "wrap_up":
                who.wrap_up_until = max(who.wrap_up_until or now, now + seconds)
                who.wrap_up_number = self._look_at(who.wrap_up_until, who)
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
        who, out, work = self._agent(agent), _Outputs(), Work(session, channel)
        if work not in who.work:
            return self.join(session, queue, channel, since, priority, skills, now)
        self._queue_of(queue, channel)
        self._finish(who, work, now, out, served=False)
        self._enter(work, _request(queue, since, priority, skills), now, out)
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
        work = Work(session, channel)
        self._queue_of(queue, channel)
        holder = self._served_by.get(work)
        if holder == agent:
            return []
        if holder is not None:
            self._finish(self._agents[holder], work, now, out)
            self._refresh(self._agents[holder], now)
        self._hand(who, work, queue, now, out)
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
        *,
        prefer: AgentId | None = None,
        prefer_for: float = 0.0,
    ) -> list[AnyAcdOutput]:
        """Stand in line. The same again changes nothing; another queue, `since`, priority or skills moves the session.

        Whoever has just declined it is not asked at once because it moves.

        Args:
            session: Who.
            queue: Where.
            channel: Must be the queue's.
            since: The place in line; may lie in the past (waiting time brought along).
            priority: 0 is most urgent.
            skills: Only agents with all of them are offered; `billing>=4` asks for a level.
            now: Seconds since the epoch.
            prefer: Who is asked alone at first, because they know the customer; None for nobody. Nobody waits for one who is not
                there, lacks a skill or does not take it.
            prefer_for: Seconds for which they are.

        Raises:
            UnknownQueue: No such queue, or one of another channel.
        """
        self._queue_of(queue, channel)
        out, work = _Outputs(), Work(session, channel)
        request = _request(queue, since, priority, skills, prefer, prefer_for)
        if work in self._served_by:
            return []
        waiter, held = self._waiters.get(work), dict[AgentId, float]()
        if waiter is not None:
            if waiter.request == request:
                return []
            held = waiter.held_from
            self._drop(waiter, now, out, ghost=False)
        self._enter(work, request, now, out, held)
        return self._settle(None, now, out)

    def leave(self, session: SessionId, channel: Channel, outcome: LeaveOutcome, now: float) -> list[AnyAcdOutput]:
        """Leave the line without an agent; what rings stops ringing. Empty when not in line."""
        waiter, out = self._waiters.get(Work(session, channel)), _Outputs()
        if waiter is None:
            return []
        # One who hung up or was deflected would have been served in turn: the estimator goes on to learn from that turn.
        self._drop(waiter, now, out, ghost=outcome in {"abandoned", "deflected"})
        return self._settle(None, now, out)

    def move(self, session: SessionId, channel: Channel, to: QueueId, now: float) -> list[AnyAcdOutput]:
        """Somebody puts one who waits into another line, at the same place; what rings stops ringing. Empty when not in line.

        Raises:
            UnknownQueue: No such queue, or one of another channel. Nothing has changed.
        """
        self._queue_of(to, channel)
        waiter, out = self._waiters.get(Work(session, channel)), _Outputs()
        if waiter is None or waiter.queue == to:
            return []
        for who in self._hush(waiter, now, out):
            self._refresh(who, now)
        self._move(waiter, to, "moved", now, out)
        return self._settle(None, now, out)

    # --- the clock

    @property
    def wake_at(self) -> float | None:
        """When `wake` is due; None when nothing is."""
        while self._timers and not self._counts(self._timers[0]):
            heapq.heappop(self._timers)
        return self._timers[0].at if self._timers else None

    def wake(self, now: float) -> list[AnyAcdOutput]:
        """Whatever is over by *now*: ringing, wrap-up, a hold, a preference, a step of a cascade. Early or late does no harm."""
        out = _Outputs()
        while (at := self.wake_at) is not None and at <= now:
            match heapq.heappop(self._timers).of:
                case WorkOffered(agent=agent):
                    self._lapse(self._agents[agent], "ring_timeout", now, out)
                    self._refresh(self._agents[agent], now)
                case Agent() as who:
                    self._step(who, "wrap_up_over", None, now, out)
                    self._refresh(who, now)
                case waiter:
                    self._redirect(waiter, now, out)
                    self._sort_in(waiter, now)
                    out.changed(waiter.queue)
        return self._settle(None, now, out)

    # --- other settings

    def in_use(self, queues: Iterable[QueueSpec]) -> Mapping[QueueId, tuple[int, int]]:
        """Queues that would have to go for *queues*, and cannot yet: how many wait there, and how many are served from there."""
        stay = {(spec.id, spec.channel) for spec in queues}
        going = {name for name, queue in self._queues.items() if (name, queue.spec.channel) not in stay}
        waiting = Counter(name for waiter in self._waiters.values() for name in {waiter.queue, waiter.request.queue})
        served = Counter(service.queue for who in self._agents.values() for service in who.work.values())
        return {name: (waiting[name], served[name]) for name in self._queues if name in going and waiting[name] + served[name]}

    def check(self, queues: Collection[QueueSpec], agents: Iterable[AgentSpec]) -> None:
        """Whether these can take the place of those there are (`reconfigure`). Nothing is changed.

        Raises:
            QueueInUse: A queue that is not in *queues*, or has changed its channel, has people in it.
            UnknownQueue: As for the class.
        """
        _check({spec.id: spec for spec in queues}, agents)
        if uses := self.in_use(queues):
            raise QueueInUse(uses)

    def reconfigure(
        self, queues: Iterable[QueueSpec], agents: Iterable[AgentSpec], now: float, *, ageing: float | None = None
    ) -> list[AnyAcdOutput]:
        """Go on with other queues and agents, in one step. Who waits keeps the place, who is served goes on being served.

        An agent who is no longer there is offered nothing more and forgotten when their work in hand is released. What rings at
        somebody who no longer works on its queue stops ringing there; other offers ring on. An observer must know the new queues.

        Args:
            queues: Every queue there is from now on.
            agents: Every agent there is from now on; those who are new begin offline.
            now: Seconds since the epoch.
            ageing: As for the class.

        Raises:
            QueueInUse: A queue that is not in *queues*, or has changed its channel, has people in it. Nothing has changed.
            UnknownQueue: As for the class. Nothing has changed.
        """
        lines, staff = {spec.id: spec for spec in queues}, {spec.id: spec for spec in agents}
        self.check(lines.values(), staff.values())
        out = _Outputs()
        stay = {(spec.id, spec.channel) for spec in lines.values()}
        kept = {name: queue for name, queue in self._queues.items() if (name, queue.spec.channel) in stay}
        moved = [who for who in self._agents.values() if self._differs(who, staff.get(who.spec.id), kept)]
        for who in moved:
            self._take_off(who, staff.get(who.spec.id), now, out)
        redirected = {name for name, queue in kept.items() if queue.spec.redirect != lines[name].redirect}
        self._queues = {name: kept.get(name) or Queue(spec, now) for name, spec in lines.items()}
        for name, queue in self._queues.items():
            queue.configure(lines[name])
        self._staff_anew(staff, moved, now)
        if ageing != self._ageing:
            self._ageing = ageing
            self._line_up_anew(now)
        for waiter in self._waiters.values():
            rule = self._queues[waiter.queue].spec.redirect
            if waiter.queue in redirected:
                waiter.redirect_at = None if rule is None or rule.after is None else now + rule.after
            self._sort_in(waiter, now)
        out.queues = dict.fromkeys(self._queues)
        return self._settle(None, now, out)

    @property
    def leaving(self) -> frozenset[AgentId]:
        """Agents who are no longer configured and still have work in hand."""
        return frozenset(self._leaving)

    @staticmethod
    def _differs(who: Agent, spec: AgentSpec | None, kept: Mapping[QueueId, Queue]) -> bool:
        return who.spec != spec or any(queue.spec.id not in kept for queue in who.queues)

    def _take_off(self, who: Agent, spec: AgentSpec | None, now: float, out: _Outputs) -> None:
        """The agent works on no queue for a moment, or, without *spec*, for good."""
        if who.offer is not None and (spec is None or who.offer.queue not in spec.queues):
            waiter = self._waiters[Work(who.offer.session, who.offer.channel)]
            self._lapse(who, "withdrawn", now, out)
            self._first_rings(waiter, now)
            self._refresh(who, now)
        if spec is None:
            self._step(who, CHOSEN["offline"], None, now, out)
        elif who.state in WORKING:
            self._staff(who, False, now)
        for queue in who.queues:
            queue.show(who, who.shown, (0, 0, False), offerable=False)
            del queue.members[who.spec.id]
        who.queues = ()

    def _put_on(self, who: Agent) -> None:
        who.queues = tuple(self._queues[queue] for queue in who.spec.queues)
        for queue in who.queues:
            queue.members[who.spec.id] = who

    def _staff_anew(self, staff: Mapping[AgentId, AgentSpec], moved: Iterable[Agent], now: float) -> None:
        before, self._leaving = self._agents, set()
        self._agents = {name: before.get(name) or Agent(spec, 0, now) for name, spec in staff.items()}
        for number, who in enumerate(self._agents.values()):
            who.number = number
        for name, who in before.items():
            if name not in staff:
                # Kept until the work in hand is released (`_settle` looks), with nothing to be offered.
                who.spec = msgspec.structs.replace(who.spec, queues=())
                self._agents[name] = who
                self._leaving.add(name)
        back = [self._agents[name] for name in staff if name not in before]
        for who in (*(each for each in moved if each.spec.id in staff), *back):
            who.configure(staff[who.spec.id])
            who.shown = (0, 0, False)
            self._put_on(who)
            if who.state in WORKING:
                self._staff(who, True, now)
        for queue in self._queues.values():
            queue.members = {name: queue.members[name] for name in self._agents if name in queue.members}
        for who in self._agents.values():
            self._refresh(who, now)

    def _line_up_anew(self, now: float) -> None:
        """Put everybody into their lines again, in the order that priorities give them now. The caller sorts them in."""
        for waiter in self._waiters.values():
            self._queues[waiter.queue].remove(waiter)
        for waiter in self._waiters.values():
            waiter.place = self._place_of(waiter.work, waiter.request, waiter.place.number)
            self._queues[waiter.queue].enter(waiter)
            if self._observer is not None:
                self._observer.abandoned(now, contact_id(*waiter.work), ghost=False)
                self._observe_join(waiter, now)

    # --- as it is, elsewhere

    def dump(self) -> AcdDump:
        """Everything but what is configured, for `load`."""
        return AcdDump(
            number=self._number,
            queues={name: queue.dump() for name, queue in self._queues.items()},
            agents=[who.dump(leaving=name in self._leaving) for name, who in self._agents.items()],
            waiters=[waiter.dump() for waiter in self._waiters.values()],
            served_by=list(self._served_by.items()),
            suspicions=self._suspicions.dump(),
        )

    def load(self, dumped: AcdDump, queues: Iterable[QueueSpec], agents: Iterable[AgentSpec], *, ageing: float | None) -> None:
        """Be as the one that was dumped while these were its queues and agents. The observer is not told."""
        staff = {spec.id: spec for spec in agents}
        self._ageing = ageing
        self._number = dumped.number
        self._queues = {spec.id: Queue(spec, 0.0) for spec in queues}
        self._agents = {one.id: Agent.load(one, one.spec or staff[one.id]) for one in dumped.agents}
        self._leaving = {one.id for one in dumped.agents if one.spec is not None}
        self._waiters = {waiter.work: waiter for waiter in map(Waiter.load, dumped.waiters)}
        self._served_by = dict(dumped.served_by)
        self._suspicions.load(dumped.suspicions)
        for who in self._agents.values():
            self._put_on(who)
        lines: dict[QueueId, list[Waiter]] = {}
        for waiter in self._waiters.values():
            lines.setdefault(waiter.queue, []).append(waiter)
        for name, queue in self._queues.items():
            queue.load(dumped.queues[name], lines.get(name, ()))
        self._timers = sorted(self._pending())

    def _pending(self) -> Iterator[_Timer]:
        """The timers that count."""
        for who in self._agents.values():
            if who.offer is not None:
                yield _Timer(who.offer.until, who.offer_number, who.offer)
            if who.wrap_up_until is not None:
                yield _Timer(who.wrap_up_until, who.wrap_up_number, who)
        for waiter in self._waiters.values():
            if waiter.due is not None:
                yield _Timer(waiter.due, waiter.due_number, waiter)

    # --- ghosts

    def reconcile(self, seen: Iterable[Seen], now: float, *, grace: float = GRACE) -> list[AnyAcdOutput]:
        """Compare what the sessions say with what stands here, and take their word where the difference has lasted.

        Call it now and then (each minute); a difference is healed when two calls *grace* seconds apart have seen it unchanged.

        Args:
            seen: What every live session says; one that is not in it is gone.
            now: Seconds since the epoch.
            grace: Less, where something is known to have been lost.
        """
        told = {Work(one.session, one.channel): one for one in seen}
        differences: dict[Work, Difference] = {}
        for work in dict.fromkeys((*self._served_by, *self._waiters, *told)):
            story = told.get(work)
            agent, waiter = self._served_by.get(work), self._waiters.get(work)
            if not self._fits(work, story):
                if waiter is not None:
                    here: int | Service | None = waiter.place.number
                else:
                    here = None if agent is None else self._agents[agent].work[work]
                differences[work] = (here, story)
        out = _Outputs()
        for work in self._suspicions.confirmed(differences, now, grace):
            self._heal(work, told.get(work), now, out)
        return self._settle(None, now, out)

    def agrees(self, seen: Seen) -> bool:
        """Whether what a session says is so here."""
        return self._fits(Work(seen.session, seen.channel), seen)

    def _fits(self, work: Work, story: Seen | None) -> bool:
        waits, agent = (False, None) if story is None else (story.place is not None, story.agent)
        return waits == (work in self._waiters) and agent == self._served_by.get(work)

    def forget(self, sessions: Iterable[SessionId], now: float) -> list[AnyAcdOutput]:
        """These stand in no line any more, and nobody has them; nothing is learnt from it. Empty when it was so."""
        out = _Outputs()
        for work in (work for session in sessions for work in both_channels(session)):
            waiter, agent = self._waiters.get(work), self._served_by.get(work)
            if waiter is not None:
                self._drop(waiter, now, out, ghost=False)
            elif agent is not None:
                self._finish(self._agents[agent], work, now, out, served=False)
                self._refresh(self._agents[agent], now)
        return self._settle(None, now, out)

    def _heal(self, work: Work, story: Seen | None, now: float, out: _Outputs) -> None:
        waiter, agent = self._waiters.get(work), self._served_by.get(work)
        place, heir, queue = (None, None, None) if story is None else (story.place, story.agent, story.queue)
        if heir is not None and heir in self._agents and queue in self._queues:
            out.items.append(GhostHealed(*work, "work_lost", heir))
            if agent is not None:
                self._finish(self._agents[agent], work, now, out, served=False)
                self._refresh(self._agents[agent], now)
            self._hand(self._agents[heir], work, queue, now, out)
            self._refresh(self._agents[heir], now)
            return
        if waiter is not None and place is None:
            out.items.append(GhostHealed(*work, "waiter_gone", None))
            self._drop(waiter, now, out, ghost=False)
        if agent is not None:
            out.items.append(GhostHealed(*work, "work_gone", agent))
            self._finish(self._agents[agent], work, now, out, served=False)
            self._refresh(self._agents[agent], now)
        if waiter is None and place is not None and place.queue in self._queues:
            out.items.append(GhostHealed(*work, "place_lost", None))
            self._enter(work, _request(place.queue, place.since, place.priority, place.skills), now, out)

    # --- questions

    def position(self, session: SessionId, channel: Channel) -> int | None:
        """1 for the first in line; None when not in line."""
        waiter = self._waiters.get(Work(session, channel))
        if waiter is None:
            return None
        return bisect_left(self._queues[waiter.queue].line, waiter.place) + 1

    def place(self, session: SessionId, channel: Channel) -> PlaceInLine | None:
        """The place in line as it can be carried away, to join with somewhere else or later; None when not in line."""
        waiter = self._waiters.get(Work(session, channel))
        return None if waiter is None else msgspec.structs.replace(waiter.request.place, queue=waiter.queue)

    def told(self) -> Told:
        """Who is there, as the observer must have been told of it."""
        waiting = [
            ContactTold(contact_id(*work), waiter.queue, *self._priority_told(waiter)) for work, waiter in self._waiters.items()
        ]
        in_hand = [
            ContactTold(contact_id(*work), service.queue, 0, service.at, agent)
            for agent, who in self._agents.items()
            for work, service in who.work.items()
        ]
        return Told(
            tuple(
                AgentTold(agent, tuple(who.spec.queues), who.spec.max_chats, *who.capacity)
                for agent, who in self._agents.items()
                if who.state in WORKING
            ),
            (*sorted(waiting, key=lambda contact: contact.since), *in_hand),
        )

    def explain(self, session: SessionId, channel: Channel, now: float) -> Waiting | None:
        """Why this one waits still: how everybody stands to it who works on the queue. None when not in line."""
        waiter = self._waiters.get(Work(session, channel))
        if waiter is None:
            return None
        queue, need = self._queues[waiter.queue], self._need(waiter, now)
        asked = queue.whom(need)
        alone = asked == {need.prefer}
        last = len(queue.spec.cascade)

        def standing(who: Agent) -> Standing:
            name = who.spec.id
            if name in waiter.ringing:
                return "ringing"
            if not queue.can(who, need.wanted, last):
                return "not_skilled"
            if who.state != "ready":
                return "not_ready"
            if name in need.refused:
                return "refused"
            if name not in asked:
                return "other_preferred" if alone else "asked_later"
            return "may_be_asked" if name in queue.available else "no_room"

        return Waiting(
            queue=waiter.queue,
            position=bisect_left(queue.line, waiter.place) + 1,
            since=waiter.request.since,
            step=need.step,
            prefer=need.prefer if alone else None,
            unanswered=waiter.unanswered,
            agents=tuple((name, standing(who)) for name, who in queue.members.items()),
        )

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
        return QueueView(
            queue=queue,
            channel=this.spec.channel,
            waiting=len(this.line),
            longest_wait=0.0 if this.oldest is None else max(0.0, now - this.oldest),
            agents_staffed=len(this.staff),
            agents_ready=len(this.available),
            agents_busy=this.busy,
            open_slots=this.open_slots,
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
        return self._served_by.get(Work(session, channel))

    def ringing(self, session: SessionId) -> AgentId | None:
        """At whose desk this session rings now, the first of several; None at nobody's."""
        return next((agent for line in self._lines(session) for agent in line.ringing), None)

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
        """Every agent, as configured; then those who are `leaving`."""
        return tuple(self._agents)

    # --- how it is done

    def _agent(self, agent: AgentId) -> Agent:
        try:
            return self._agents[agent]
        except KeyError:
            raise UnknownAgent(agent) from None

    def _queue(self, queue: QueueId) -> Queue:
        try:
            return self._queues[queue]
        except KeyError:
            raise UnknownQueue(queue) from None

    def _queue_of(self, queue: QueueId, channel: Channel) -> Queue:
        this = self._queue(queue)
        if this.spec.channel != channel:
            raise UnknownQueue(f"{queue} is a queue for {this.spec.channel}, not for {channel}")
        return this

    @staticmethod
    def _rings(who: Agent, session: SessionId, channel: Channel) -> bool:
        return who.offer is not None and (who.offer.session, who.offer.channel) == (session, channel)

    def _step(self, who: Agent, happened: AgentInput, reason: str | None, now: float, out: _Outputs) -> None:
        """Move an agent along `AGENT_TRANSITIONS` and keep the queues' staff in step."""
        state = AGENT_TRANSITIONS[who.state, happened]
        if (state, reason) == (who.state, who.reason):
            return
        if state == "ready":
            who.idle_since = now
        if state != "wrap_up":
            who.wrap_up_until = None
        was_working, who.state, who.reason, who.since = who.state in WORKING, state, reason, now
        out.items.append(AgentStateChanged(who.spec.id, state, reason, now))
        out.changed(*who.spec.queues)
        if was_working != (state in WORKING):
            self._staff(who, state in WORKING, now)

    def _staff(self, who: Agent, working: bool, now: float) -> None:
        for queue in who.queues:
            queue.counted(who, working=working, now=now)
        if self._observer is None:
            return
        if working:
            who.capacity = (0, 0)
            self._observer.login(now, who.spec.id, who.spec.queues, who.spec.max_chats)
        else:
            # The estimator must see the place go before the agent does.
            self._observer.capacity(now, who.spec.id, 0, 0)
            who.capacity = (0, 0)
            self._observer.logout(now, who.spec.id)

    def _refresh(self, who: Agent, now: float) -> None:
        """Work out again what the agent could be offered; to be called after every change to an agent."""
        calls, chats = who.room(ringing=who.offer is not None)
        # Work that rings at many desks takes one place only: the first one's, whoever accepts.
        capacity = who.room(ringing=who.offer is not None and self._rings_first(who))
        shown = (*capacity, who.state in WORKING and bool(who.work))
        for queue in who.queues:
            queue.show(who, who.shown, shown, offerable=(calls if queue.spec.channel == "voice" else chats) > 0)
        who.shown = shown
        if capacity != who.capacity:
            who.capacity = capacity
            if self._observer is not None:
                self._observer.capacity(now, who.spec.id, *capacity)

    def _first_rings(self, waiter: Waiter, now: float) -> None:
        """The desk at which it rings first may be another one now: that one's place is taken from now on."""
        if waiter.ringing:
            self._refresh(self._agents[next(iter(waiter.ringing))], now)

    def _rings_first(self, who: Agent) -> bool:
        assert who.offer is not None
        return next(iter(self._waiters[Work(who.offer.session, who.offer.channel)].ringing)) == who.spec.id

    def _enter(
        self, work: Work, request: Request, now: float, out: _Outputs, held: Mapping[AgentId, float] = MappingProxyType({})
    ) -> None:
        waiter = Waiter(work, request, self._place_of(work, request, self._next()), now)
        waiter.held_from.update(held)
        self._waiters[work] = waiter
        self._line_up(waiter, now, out)

    def _place_of(self, work: Work, request: Request, number: int) -> Place:
        if self._ageing is None:
            return Place(float(request.priority), request.since, number, work)
        # Who has waited so much longer goes first: an order that does not change while time goes by.
        return Place(0.0, request.since + request.priority * self._ageing, number, work)

    def _line_up(self, waiter: Waiter, now: float, out: _Outputs) -> None:
        """Put a waiter into the line of its queue."""
        queue = self._queues[waiter.queue]
        queue.enter(waiter)
        redirect = queue.spec.redirect
        waiter.redirect_at = None if redirect is None or redirect.after is None else now + redirect.after
        out.changed(waiter.queue)
        self._observe_join(waiter, now)
        self._sort_in(waiter, now)

    def _observe_join(self, waiter: Waiter, now: float) -> None:
        if self._observer is None:
            return
        self._observer.joined(now, contact_id(*waiter.work), waiter.queue, *self._priority_told(waiter))

    def _priority_told(self, waiter: Waiter) -> tuple[int, float]:
        """The priority and since when, for the observer."""
        if self._ageing is None:
            return waiter.request.priority, waiter.request.since
        # The estimator's priorities do not age: it is told of one line, in the order there is.
        return 1, waiter.place.since - self._ageing

    def _forget(self, waiter: Waiter, out: _Outputs) -> None:
        """Take a waiter out of the line."""
        self._queues[waiter.queue].remove(waiter)
        del self._waiters[waiter.work]
        waiter.due = None
        out.changed(waiter.queue)

    def _drop(self, waiter: Waiter, now: float, out: _Outputs, *, ghost: bool) -> None:
        """Take a waiter out of the line unserved."""
        quiet = self._hush(waiter, now, out)
        self._forget(waiter, out)
        if self._observer is not None:
            self._observer.abandoned(now, contact_id(*waiter.work), ghost=ghost)
        for who in quiet:
            self._refresh(who, now)

    def _redirect(self, waiter: Waiter, now: float, out: _Outputs) -> None:
        """Move a waiter to the queue that helps out, when it is time. The caller sorts it in."""
        rule = self._queues[waiter.queue].spec.redirect
        if rule is None or waiter.ringing:
            return
        late = waiter.redirect_at is not None and waiter.redirect_at <= now
        if not late and not 0 < rule.rings <= waiter.unanswered:
            return
        if rule.to in waiter.visited:
            waiter.redirect_at = None
        elif self._queues[rule.to].staff:
            self._move(waiter, rule.to, "waited" if late else "not_answered", now, out)
        elif late:
            assert rule.after is not None
            waiter.redirect_at = now + max(1.0, rule.after)

    def _move(self, waiter: Waiter, to: QueueId, reason: RedirectReason, now: float, out: _Outputs) -> None:
        was = waiter.queue
        self._queues[was].remove(waiter)
        if self._observer is not None:
            self._observer.abandoned(now, contact_id(*waiter.work), ghost=False)
        out.changed(was)
        out.items.append(WorkRedirected(*waiter.work, was, to, reason))
        waiter.queue, waiter.unanswered = to, 0
        waiter.visited.add(to)
        self._line_up(waiter, now, out)

    # --- ringing

    def _hush(self, waiter: Waiter, now: float, out: _Outputs) -> list[Agent]:
        """Stop a waiter's ringing, wherever it is. The caller refreshes the agents that are returned."""
        ringing = [self._agents[name] for name in reversed(waiter.ringing)]
        for who in ringing:
            self._lapse(who, "withdrawn", now, out)
        return ringing

    def _silence(self, who: Agent, waiter: Waiter, now: float, out: _Outputs) -> None:
        who.offer = None
        del waiter.ringing[who.spec.id]
        out.changed(*who.spec.queues)
        # Only one line of a session rings at a time: the other may now.
        for line in self._lines(waiter.work.session):
            self._sort_in(line, now)
            out.changed(line.queue)

    def _lapse(self, who: Agent, reason: LapseReason, now: float, out: _Outputs) -> None:
        """Stop the ringing at an agent's desk; the waiter keeps the place. The caller refreshes the agent."""
        offer = who.offer
        assert offer is not None
        waiter = self._waiters[Work(offer.session, offer.channel)]
        spec = self._queues[waiter.queue].spec
        self._silence(who, waiter, now, out)
        out.items.append(OfferLapsed(who.spec.id, offer.session, offer.channel, reason))
        if reason == "withdrawn":
            return
        self._first_rings(waiter, now)
        if reason == "signed_out":
            return
        who.misses = who.misses + 1 if reason == "ring_timeout" else 0
        if reason == "ring_timeout" and 0 < spec.missed_after <= who.misses:
            who.misses = 0
            self._step(who, "missed", "missed", now, out)
        else:
            waiter.held_from[who.spec.id] = now + spec.decline_hold
        waiter.unanswered += 1
        if waiter.prefer == who.spec.id:
            waiter.prefer = None
        self._redirect(waiter, now, out)
        self._sort_in(waiter, now)

    def _sort_in(self, waiter: Waiter, now: float) -> None:
        """Put a waiter among those who ask for the same; to be called after every change to one."""
        queue, since = self._queues[waiter.queue], waiter.request.since
        waiter.held_from = {agent: until for agent, until in waiter.held_from.items() if until > now}
        need = self._need(waiter, now)
        times = [
            next_step_at(queue.spec, since, now),
            None if need.prefer is None else waiter.prefer_until,
            None if waiter.ringing else waiter.redirect_at,
            *waiter.held_from.values(),
        ]
        due = min((at for at in times if at is not None), default=None)
        if due != waiter.due:
            waiter.due = due
            if due is not None:
                waiter.due_number = self._look_at(due, waiter)
        queue.ungroup(waiter)
        # A session rings at one desk at a time, whatever its channels; only where all are rung, more may be.
        ringing = [line for line in self._lines(waiter.work.session) if line.ringing]
        if not ringing or (ringing == [waiter] and queue.spec.strategy == "ring_all"):
            queue.group(waiter, need)

    def _need(self, waiter: Waiter, now: float) -> Need:
        return Need(
            waiter.wanted,
            steps_reached(self._queues[waiter.queue].spec, waiter.request.since, now),
            waiter.prefer if waiter.prefer_until > now else None,
            frozenset(waiter.held_from),
        )

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _look_at(self, at: float, of: WorkOffered | Agent | Waiter) -> int:
        """Have a look at a time; the number of the timer. An earlier one for the same thing counts no more."""
        heapq.heappush(self._timers, _Timer(at, self._next(), of))
        return self._number

    def _counts(self, timer: _Timer) -> bool:
        """Whether what this timer is for is still so."""
        match timer.of:
            case WorkOffered() as offer:
                who = self._agents.get(offer.agent)
                return who is not None and who.offer is offer
            case Agent() as who:
                return who.wrap_up_until is not None and who.wrap_up_number == timer.number
            case waiter:
                return waiter.due is not None and waiter.due_number == timer.number

    # --- taking

    def _take(self, who: Agent, waiter: Waiter, now: float, out: _Outputs) -> None:
        """The agent takes one from the line, and it rings nowhere any more. The caller refreshes the agent."""
        quiet = self._hush(waiter, now, out)
        self._forget(waiter, out)
        self._give(who, waiter.work, waiter.queue, waiter.request.since, now, out)
        for other in quiet:
            self._refresh(other, now)

    def _hand(self, who: Agent, work: Work, queue: QueueId, now: float, out: _Outputs) -> None:
        """The agent has the work, offered or not. The caller refreshes the agent."""
        if who.offer is not None:
            # There may be no room for it any more.
            other = self._waiters[Work(who.offer.session, who.offer.channel)]
            self._lapse(who, "withdrawn", now, out)
            self._first_rings(other, now)
        waiter = self._waiters.get(work)
        if waiter is None:
            self._give(who, work, queue, now, now, out)
        else:
            self._take(who, waiter, now, out)

    def _give(self, who: Agent, work: Work, queue: QueueId, since: float, now: float, out: _Outputs) -> None:
        who.work[work] = Service(queue, now)
        self._served_by[work] = who.spec.id
        if self._observer is not None:
            self._observer.started(now, contact_id(*work), who.spec.id, queue)
        out.items.append(WorkAssigned(who.spec.id, work.session, work.channel, queue, max(0.0, now - since)))
        out.changed(queue, *who.spec.queues)

    def _finish(self, who: Agent, work: Work, now: float, out: _Outputs, *, served: bool = True) -> None:
        """The agent has the work no more. The caller refreshes the agent."""
        queue = who.work.pop(work).queue
        del self._served_by[work]
        who.idle_since = now
        if self._observer is not None:
            self._observer.ended(now, contact_id(*work), who.spec.id, served=served)
        out.changed(queue, *who.spec.queues)

    def _settle(self, who: Agent | None, now: float, out: _Outputs) -> list[AnyAcdOutput]:
        """Refresh *who*, offer whatever can be offered now in the changed queues, and hand out the outputs."""
        if who is not None:
            self._refresh(who, now)
        while True:
            matches = (self._match(self._queues[name]) for name in out.queues)
            best = min((match for match in matches if match is not None), key=lambda match: match.place, default=None)
            if best is None:
                break
            self._ring(best, now, out)
        for name in [name for name in self._leaving if not self._agents[name].work]:
            self._leaving.remove(name)
            del self._agents[name]
        return out.result()

    @staticmethod
    def _match(queue: Queue) -> "_Match | None":
        """The first in line whom an available agent may take, and who that is."""
        best: _Match | None = None
        if queue.available:
            for need, line in queue.groups.items():
                if best is None or line[0] < best.place:
                    fit = queue.available & queue.whom(need)
                    if fit:
                        best = _Match(line[0], need, fit)
        return best

    def _lines(self, session: SessionId) -> Iterator[Waiter]:
        """The lines this session stands in: none, one, or one for each channel."""
        return (self._waiters[work] for work in both_channels(session) if work in self._waiters)

    def _ring(self, match: "_Match", now: float, out: _Outputs) -> None:
        """Offer a waiter to the agents it is for, or give it at once to one who takes everything."""
        waiter = self._waiters[match.place.work]
        queue = self._queues[waiter.queue]
        agents = sorted((self._agents[name] for name in match.agents), key=lambda who: queue.rank(match.need, who))
        if queue.spec.strategy != "ring_all":
            del agents[1:]
        taker = agents[0] if queue.spec.auto_answer else next((who for who in agents if who.spec.auto_accept), None)
        if taker is not None:
            self._take(taker, waiter, now, out)
            self._refresh(taker, now)
            return
        for who in agents:
            offer = WorkOffered(who.spec.id, *waiter.work, queue.spec.id, now + queue.spec.ring_timeout)
            who.offer = offer
            waiter.ringing[who.spec.id] = None
            who.offer_number = self._look_at(offer.until, offer)
            out.items.append(offer)
            out.changed(*who.spec.queues)
        for line in self._lines(waiter.work.session):
            self._sort_in(line, now)
        for who in agents:
            self._refresh(who, now)


class _Match(NamedTuple):
    """The first in line who can be offered, and to whom."""

    place: Place
    need: Need
    agents: set[AgentId]


def _check(queues: Mapping[QueueId, QueueSpec], agents: Iterable[AgentSpec]) -> None:
    """Every name means something.

    Raises:
        UnknownQueue: One does not.
    """
    for agent in agents:
        for queue in agent.queues:
            if queue not in queues:
                raise UnknownQueue(queue)
    for spec in queues.values():
        if spec.redirect is None:
            continue
        to = queues.get(spec.redirect.to)
        if to is None or to.channel != spec.channel:
            raise UnknownQueue(f"{spec.redirect.to} is no queue for {spec.channel}")


def _request(
    queue: QueueId, since: float, priority: int, skills: Iterable[str], prefer: AgentId | None = None, prefer_for: float = 0.0
) -> Request:
    return Request(queue, since, priority, tuple(sorted(set(skills))), prefer, prefer_for)
