"""Who is offered whom, told event by event."""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping

import msgspec

from bridge.acd import dump, ghosts, reconfigure, views
from bridge.acd.dispatch import Dispatch
from bridge.acd.dump import AcdDump
from bridge.acd.ghosts import GRACE, Seen, Suspicions
from bridge.acd.lines import Agent, Request, Work
from bridge.acd.outputs import (
    AgentView,
    AnyAcdOutput,
    DeclineReason,
    LeaveOutcome,
    Outputs,
    QueueView,
    Told,
    Waiting,
    WaitObserver,
    WorkOffered,
)
from bridge.acd.places import PlaceInLine
from bridge.acd.specs import CHOSEN, WORKING, AgentChoice, AgentSpec, QueueSpec
from bridge.events import AgentId, Channel, QueueId, SessionId


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
        lines, staff = tuple(queues), tuple(agents)
        reconfigure.check_names({spec.id: spec for spec in lines}, staff)
        self._dispatch = Dispatch(lines, staff, observer, now=now, ageing=ageing)
        self._suspicions = Suspicions()

    # --- the agents' side

    def set_state(self, agent: AgentId, state: AgentChoice, reason: str | None, now: float) -> list[AnyAcdOutput]:
        """The agent signs in, takes a break, comes back, ends wrap-up early or signs out.

        A ringing offer lapses when the agent goes. Work in hand stays with the agent until it is released, even offline. One who
        is `leaving` stays offline.

        Raises:
            UnknownAgent: No such agent.
        """
        who, out = self._dispatch.agent(agent), Outputs()
        if agent in self._dispatch.leaving:
            return []
        if state != "ready" and who.offer is not None:
            self._dispatch.lapse(who, "signed_out" if state == "offline" else "declined", now, out)
        who.misses = 0
        self._dispatch.step(who, CHOSEN[state], None if state == "ready" else reason, now, out)
        return self._dispatch.settle(who, now, out)

    def accept(self, agent: AgentId, session: SessionId, channel: Channel, now: float) -> list[AnyAcdOutput]:
        """The agent takes what rings. Empty when it rings there no more: it was too late.

        Raises:
            UnknownAgent: No such agent.
        """
        who, out = self._dispatch.agent(agent), Outputs()
        if not self._dispatch.rings(who, session, channel):
            return []
        waiter = self._dispatch.waiters[Work(session, channel)]
        who.misses = 0
        self._dispatch.silence(who, waiter, now, out)
        self._dispatch.take(who, waiter, now, out)
        return self._dispatch.settle(who, now, out)

    def decline(
        self, agent: AgentId, session: SessionId, channel: Channel, reason: DeclineReason, now: float
    ) -> list[AnyAcdOutput]:
        """The agent does not take what rings; it goes to the next. `ring_timeout` counts as missed, as it does in `wake`.

        Raises:
            UnknownAgent: No such agent.
        """
        who, out = self._dispatch.agent(agent), Outputs()
        if not self._dispatch.rings(who, session, channel):
            return []
        self._dispatch.lapse(who, reason, now, out)
        return self._dispatch.settle(who, now, out)

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
        who, out = self._dispatch.agent(agent), Outputs()
        work = Work(session, channel)
        service = who.work.get(work)
        if service is None:
            return []
        # A call that leaves nothing to write up never came about: the phone was not picked up, or the caller had gone.
        self._dispatch.finish(who, work, now, out, served=wrap_up or channel == "sms")
        seconds = self._dispatch.queues[service.queue].spec.wrap_up
        if wrap_up and seconds > 0 and who.call is None and who.offer is None:
            self._dispatch.step(who, "work_ended", None if who.state in WORKING else who.reason, now, out)
            if who.state == "wrap_up":
                who.wrap_up_until = max(who.wrap_up_until or now, now + seconds)
                who.wrap_up_number = self._dispatch.timers.start(who.wrap_up_until, who)
        return self._dispatch.settle(who, now, out)

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
        who, out, work = self._dispatch.agent(agent), Outputs(), Work(session, channel)
        if work not in who.work:
            return self.join(session, queue, channel, since, priority, skills, now)
        self._dispatch.queue_of(queue, channel)
        self._dispatch.finish(who, work, now, out, served=False)
        self._dispatch.enter(work, Request.of(queue, since, priority, skills), now, out)
        return self._dispatch.settle(who, now, out)

    def finish_wrap_up(self, agent: AgentId, now: float) -> list[AnyAcdOutput]:
        """The agent is done writing up. Empty when not in wrap-up.

        Raises:
            UnknownAgent: No such agent.
        """
        who, out = self._dispatch.agent(agent), Outputs()
        if who.state != "wrap_up":
            return []
        self._dispatch.step(who, "wrap_up_over", None, now, out)
        return self._dispatch.settle(who, now, out)

    def assign(self, agent: AgentId, session: SessionId, channel: Channel, queue: QueueId, now: float) -> list[AnyAcdOutput]:
        """Give work to an agent without an offer: an open chat after a restart, or a transfer. Doing it again changes nothing.

        It is a fact, not a question: the agent may be offline or have no room. Another agent who had it has it no more.

        Raises:
            UnknownAgent: No such agent.
            UnknownQueue: No such queue, or one of another channel.
        """
        who, out = self._dispatch.agent(agent), Outputs()
        work = Work(session, channel)
        self._dispatch.queue_of(queue, channel)
        holder = self._dispatch.served_by.get(work)
        if holder == agent:
            return []
        if holder is not None:
            self._dispatch.finish(self._dispatch.agents[holder], work, now, out)
            self._dispatch.refresh(self._dispatch.agents[holder], now)
        self._dispatch.hand(who, work, queue, now, out)
        return self._dispatch.settle(who, now, out)

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
        self._dispatch.queue_of(queue, channel)
        out, work = Outputs(), Work(session, channel)
        request = Request.of(queue, since, priority, skills, prefer, prefer_for)
        if work in self._dispatch.served_by:
            return []
        waiter, held = self._dispatch.waiters.get(work), dict[AgentId, float]()
        if waiter is not None:
            if waiter.request == request:
                return []
            held = waiter.held_from
            self._dispatch.drop(waiter, now, out, ghost=False)
        self._dispatch.enter(work, request, now, out, held)
        return self._dispatch.settle(None, now, out)

    def leave(self, session: SessionId, channel: Channel, outcome: LeaveOutcome, now: float) -> list[AnyAcdOutput]:
        """Leave the line without an agent; what rings stops ringing. Empty when not in line."""
        waiter, out = self._dispatch.waiters.get(Work(session, channel)), Outputs()
        if waiter is None:
            return []
        # One who hung up or was deflected would have been served in turn: the estimator goes on to learn from that turn.
        self._dispatch.drop(waiter, now, out, ghost=outcome in {"abandoned", "deflected"})
        return self._dispatch.settle(None, now, out)

    def move(self, session: SessionId, channel: Channel, to: QueueId, now: float) -> list[AnyAcdOutput]:
        """Somebody puts one who waits into another line, at the same place; what rings stops ringing. Empty when not in line.

        Raises:
            UnknownQueue: No such queue, or one of another channel. Nothing has changed.
        """
        self._dispatch.queue_of(to, channel)
        waiter, out = self._dispatch.waiters.get(Work(session, channel)), Outputs()
        if waiter is None or waiter.queue == to:
            return []
        for who in self._dispatch.hush(waiter, now, out):
            self._dispatch.refresh(who, now)
        self._dispatch.move(waiter, to, "moved", now, out)
        return self._dispatch.settle(None, now, out)

    # --- the clock

    @property
    def wake_at(self) -> float | None:
        """When `wake` is due; None when nothing is."""
        return self._dispatch.timers.wake_at

    def wake(self, now: float) -> list[AnyAcdOutput]:
        """Whatever is over by *now*: ringing, wrap-up, a hold, a preference, a step of a cascade. Early or late does no harm."""
        out = Outputs()
        while (at := self.wake_at) is not None and at <= now:
            match self._dispatch.timers.pop():
                case WorkOffered(agent=agent):
                    self._dispatch.lapse(self._dispatch.agents[agent], "ring_timeout", now, out)
                    self._dispatch.refresh(self._dispatch.agents[agent], now)
                case Agent() as who:
                    self._dispatch.step(who, "wrap_up_over", None, now, out)
                    self._dispatch.refresh(who, now)
                case waiter:
                    self._dispatch.redirect(waiter, now, out)
                    self._dispatch.sort_in(waiter, now)
                    out.changed(waiter.queue)
        return self._dispatch.settle(None, now, out)

    # --- other settings

    def in_use(self, queues: Iterable[QueueSpec]) -> Mapping[QueueId, tuple[int, int]]:
        """Queues that would have to go for *queues*, and cannot yet: how many wait there, and how many are served from there."""
        return reconfigure.in_use(self._dispatch, queues)

    def check(self, queues: Collection[QueueSpec], agents: Iterable[AgentSpec]) -> None:
        """Whether these can take the place of those there are (`reconfigure`). Nothing is changed.

        Raises:
            QueueInUse: A queue that is not in *queues*, or has changed its channel, has people in it.
            UnknownQueue: As for the class.
        """
        reconfigure.check(self._dispatch, queues, agents)

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
        return reconfigure.reconfigure(self._dispatch, queues, agents, now, ageing=ageing)

    @property
    def leaving(self) -> frozenset[AgentId]:
        """Agents who are no longer configured and still have work in hand."""
        return frozenset(self._dispatch.leaving)

    # --- as it is, elsewhere

    def dump(self) -> AcdDump:
        """Everything but what is configured, for `load`."""
        return dump.dump(self._dispatch, self._suspicions)

    def load(self, dumped: AcdDump, queues: Iterable[QueueSpec], agents: Iterable[AgentSpec], *, ageing: float | None) -> None:
        """Be as the one that was dumped while these were its queues and agents. The observer is not told."""
        dump.load(self._dispatch, self._suspicions, dumped, queues, agents, ageing=ageing)

    # --- ghosts

    def reconcile(self, seen: Iterable[Seen], now: float, *, grace: float = GRACE) -> list[AnyAcdOutput]:
        """Compare what the sessions say with what stands here, and take their word where the difference has lasted.

        Call it now and then (each minute); a difference is healed when two calls *grace* seconds apart have seen it unchanged.

        Args:
            seen: What every live session says; one that is not in it is gone.
            now: Seconds since the epoch.
            grace: Less, where something is known to have been lost.
        """
        return ghosts.reconcile(self._dispatch, self._suspicions, seen, now, grace=grace)

    def agrees(self, seen: Seen) -> bool:
        """Whether what a session says is so here."""
        return ghosts.agrees(self._dispatch, seen)

    def forget(self, sessions: Iterable[SessionId], now: float) -> list[AnyAcdOutput]:
        """These stand in no line any more, and nobody has them; nothing is learnt from it. Empty when it was so."""
        return ghosts.forget(self._dispatch, sessions, now)

    # --- questions

    def position(self, session: SessionId, channel: Channel) -> int | None:
        """1 for the first in line; None when not in line."""
        waiter = self._dispatch.waiters.get(Work(session, channel))
        if waiter is None:
            return None
        return bisect_left(self._dispatch.queues[waiter.queue].line, waiter.place) + 1

    def place(self, session: SessionId, channel: Channel) -> PlaceInLine | None:
        """The place in line as it can be carried away, to join with somewhere else or later; None when not in line."""
        waiter = self._dispatch.waiters.get(Work(session, channel))
        return None if waiter is None else msgspec.structs.replace(waiter.request.place, queue=waiter.queue)

    def told(self) -> Told:
        """Who is there, as the observer must have been told of it."""
        return views.told(self._dispatch)

    def explain(self, session: SessionId, channel: Channel, now: float) -> Waiting | None:
        """Why this one waits still: how everybody stands to it who works on the queue. None when not in line."""
        return views.explained(self._dispatch, session, channel, now)

    def waiting(self, queue: QueueId) -> tuple[SessionId, ...]:
        """Who stands in line, first to last.

        Raises:
            UnknownQueue: No such queue.
        """
        return tuple(place.work.session for place in self._dispatch.queue(queue).line)

    def queue_view(self, queue: QueueId, now: float) -> QueueView:
        """The queue as it is now.

        Raises:
            UnknownQueue: No such queue.
        """
        this = self._dispatch.queue(queue)
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
        who = self._dispatch.agent(agent)
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
        return self._dispatch.served_by.get(Work(session, channel))

    def ringing(self, session: SessionId) -> AgentId | None:
        """At whose desk this session rings now, the first of several; None at nobody's."""
        return next((agent for line in self._dispatch.lines_of(session) for agent in line.ringing), None)

    def agent_spec(self, agent: AgentId) -> AgentSpec:
        """The agent as configured.

        Raises:
            UnknownAgent: No such agent.
        """
        return self._dispatch.agent(agent).spec

    @property
    def queues(self) -> tuple[QueueId, ...]:
        """Every queue, as configured."""
        return tuple(self._dispatch.queues)

    @property
    def agents(self) -> tuple[AgentId, ...]:
        """Every agent, as configured; then those who are `leaving`."""
        return tuple(self._dispatch.agents)
