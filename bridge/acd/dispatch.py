"""What every change of a floor is made of: who stands in which line, who works, what rings where.

`bridge.acd.core` says what people do; here is what follows, one step at a time. Each step changes lines and agents together,
tells the observer of waiting times, and adds to the outputs of the call; `settle` hands them out.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from bridge.acd.lines import (
    Agent,
    Need,
    Place,
    Queue,
    Request,
    Service,
    Waiter,
    Work,
    both_channels,
    next_step_at,
    steps_reached,
)
from bridge.acd.outputs import (
    AgentStateChanged,
    AnyAcdOutput,
    LapseReason,
    OfferLapsed,
    Outputs,
    RedirectReason,
    WaitObserver,
    WorkAssigned,
    WorkOffered,
    WorkRedirected,
    contact_id,
)
from bridge.acd.specs import AGENT_TRANSITIONS, WORKING, AgentInput, AgentSpec, QueueSpec
from bridge.acd.timers import Timer, Timers
from bridge.events import AgentId, Channel, QueueId, SessionId


class UnknownAgent(LookupError):  # noqa: N818 - it says what happened
    """No such agent. Nothing has changed."""


class UnknownQueue(LookupError):  # noqa: N818
    """No such queue, or a queue of the other channel. Nothing has changed."""


class _Match(NamedTuple):
    """The first in line who can be offered, and to whom."""

    place: Place
    need: Need
    agents: set[AgentId]


class Dispatch:
    """Lines, agents and offers as they are, and the steps by which they change.

    Args:
        queues: Every queue there is.
        agents: Every agent there is; all begin offline.
        observer: Is told everything that matters for waiting times.
        now: When the server began; the queues count as unstaffed from then on.
        ageing: Seconds of waiting that outweigh one step of priority; None when a more urgent one always goes first.
    """

    def __init__(
        self,
        queues: Iterable[QueueSpec],
        agents: Iterable[AgentSpec],
        observer: WaitObserver | None,
        *,
        now: float,
        ageing: float | None,
    ) -> None:
        self.observer = observer
        self.ageing = ageing
        self.queues = {spec.id: Queue(spec, now) for spec in queues}
        self.agents = {spec.id: Agent(spec, number, now) for number, spec in enumerate(agents)}
        self.waiters: dict[Work, Waiter] = {}
        self.served_by: dict[Work, AgentId] = {}
        self.timers = Timers(self._counts)
        self.leaving: set[AgentId] = set()
        """Agents who are no longer configured and still have work in hand."""
        for agent in self.agents.values():
            self.put_on(agent)

    # --- by name

    def agent(self, agent: AgentId) -> Agent:
        """The agent of this name.

        Raises:
            UnknownAgent: No such agent.
        """
        try:
            return self.agents[agent]
        except KeyError:
            raise UnknownAgent(agent) from None

    def queue(self, queue: QueueId) -> Queue:
        """The queue of this name.

        Raises:
            UnknownQueue: No such queue.
        """
        try:
            return self.queues[queue]
        except KeyError:
            raise UnknownQueue(queue) from None

    def queue_of(self, queue: QueueId, channel: Channel) -> Queue:
        """The queue of this name, for this channel.

        Raises:
            UnknownQueue: No such queue, or one of another channel.
        """
        this = self.queue(queue)
        if this.spec.channel != channel:
            raise UnknownQueue(f"{queue} is a queue for {this.spec.channel}, not for {channel}")
        return this

    # --- the staff

    def step(self, who: Agent, happened: AgentInput, reason: str | None, now: float, out: Outputs) -> None:
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
            self.staff(who, state in WORKING, now)

    def staff(self, who: Agent, working: bool, now: float) -> None:
        """The agent is at work now, or no longer."""
        for queue in who.queues:
            queue.counted(who, working=working, now=now)
        if self.observer is None:
            return
        if working:
            who.capacity = (0, 0)
            self.observer.login(now, who.spec.id, who.spec.queues, who.spec.max_chats)
        else:
            # The estimator must see the place go before the agent does.
            self.observer.capacity(now, who.spec.id, 0, 0)
            who.capacity = (0, 0)
            self.observer.logout(now, who.spec.id)

    def put_on(self, who: Agent) -> None:
        """The agent works on the queues of their configuration."""
        who.queues = tuple(self.queues[queue] for queue in who.spec.queues)
        for queue in who.queues:
            queue.members[who.spec.id] = who

    def refresh(self, who: Agent, now: float) -> None:
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
            if self.observer is not None:
                self.observer.capacity(now, who.spec.id, *capacity)

    def first_rings(self, waiter: Waiter, now: float) -> None:
        """The desk at which it rings first may be another one now: that one's place is taken from now on."""
        if waiter.ringing:
            self.refresh(self.agents[next(iter(waiter.ringing))], now)

    def _rings_first(self, who: Agent) -> bool:
        assert who.offer is not None
        return next(iter(self.waiters[Work(who.offer.session, who.offer.channel)].ringing)) == who.spec.id

    # --- in line

    def enter(
        self, work: Work, request: Request, now: float, out: Outputs, held: Mapping[AgentId, float] = MappingProxyType({})
    ) -> None:
        """Put somebody into a line; agents in *held* are not asked before that time."""
        waiter = Waiter(work, request, self.place_of(work, request, self.timers.next_number()), now)
        waiter.held_from.update(held)
        self.waiters[work] = waiter
        self._line_up(waiter, now, out)

    def place_of(self, work: Work, request: Request, number: int) -> Place:
        """Where in all lines somebody stands who asks for this."""
        if self.ageing is None:
            return Place(float(request.priority), request.since, number, work)
        # Who has waited so much longer goes first: an order that does not change while time goes by.
        return Place(0.0, request.since + request.priority * self.ageing, number, work)

    def _line_up(self, waiter: Waiter, now: float, out: Outputs) -> None:
        """Put a waiter into the line of its queue."""
        queue = self.queues[waiter.queue]
        queue.enter(waiter)
        redirect = queue.spec.redirect
        waiter.redirect_at = None if redirect is None or redirect.after is None else now + redirect.after
        out.changed(waiter.queue)
        self.observe_join(waiter, now)
        self.sort_in(waiter, now)

    def observe_join(self, waiter: Waiter, now: float) -> None:
        """Tell the observer that somebody waits."""
        if self.observer is None:
            return
        self.observer.joined(now, contact_id(*waiter.work), waiter.queue, *self.priority_told(waiter))

    def priority_told(self, waiter: Waiter) -> tuple[int, float]:
        """The priority and since when, for the observer."""
        if self.ageing is None:
            return waiter.request.priority, waiter.request.since
        # The estimator's priorities do not age: it is told of one line, in the order there is.
        return 1, waiter.place.since - self.ageing

    def _forget(self, waiter: Waiter, out: Outputs) -> None:
        """Take a waiter out of the line."""
        self.queues[waiter.queue].remove(waiter)
        del self.waiters[waiter.work]
        waiter.due = None
        out.changed(waiter.queue)

    def drop(self, waiter: Waiter, now: float, out: Outputs, *, ghost: bool) -> None:
        """Take a waiter out of the line unserved."""
        quiet = self.hush(waiter, now, out)
        self._forget(waiter, out)
        if self.observer is not None:
            self.observer.abandoned(now, contact_id(*waiter.work), ghost=ghost)
        for who in quiet:
            self.refresh(who, now)

    def redirect(self, waiter: Waiter, now: float, out: Outputs) -> None:
        """Move a waiter to the queue that helps out, when it is time. The caller sorts it in."""
        rule = self.queues[waiter.queue].spec.redirect
        if rule is None or waiter.ringing:
            return
        late = waiter.redirect_at is not None and waiter.redirect_at <= now
        if not late and not 0 < rule.rings <= waiter.unanswered:
            return
        if rule.to in waiter.visited:
            waiter.redirect_at = None
        elif self.queues[rule.to].staff:
            self.move(waiter, rule.to, "waited" if late else "not_answered", now, out)
        elif late:
            assert rule.after is not None
            waiter.redirect_at = now + max(1.0, rule.after)

    def move(self, waiter: Waiter, to: QueueId, reason: RedirectReason, now: float, out: Outputs) -> None:
        """Put a waiter into the line of another queue, at the same place. Nothing of theirs may ring."""
        was = waiter.queue
        self.queues[was].remove(waiter)
        if self.observer is not None:
            self.observer.abandoned(now, contact_id(*waiter.work), ghost=False)
        out.changed(was)
        out.items.append(WorkRedirected(*waiter.work, was, to, reason))
        waiter.queue, waiter.unanswered = to, 0
        waiter.visited.add(to)
        self._line_up(waiter, now, out)

    def sort_in(self, waiter: Waiter, now: float) -> None:
        """Put a waiter among those who ask for the same; to be called after every change to one."""
        queue, since = self.queues[waiter.queue], waiter.request.since
        waiter.held_from = {agent: until for agent, until in waiter.held_from.items() if until > now}
        need = self.need(waiter, now)
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
                waiter.due_number = self.timers.start(due, waiter)
        queue.ungroup(waiter)
        # A session rings at one desk at a time, whatever its channels; only where all are rung, more may be.
        ringing = [line for line in self.lines_of(waiter.work.session) if line.ringing]
        if not ringing or (ringing == [waiter] and queue.spec.strategy == "ring_all"):
            queue.group(waiter, need)

    def need(self, waiter: Waiter, now: float) -> Need:
        """What decides now who may be asked."""
        return Need(
            waiter.wanted,
            steps_reached(self.queues[waiter.queue].spec, waiter.request.since, now),
            waiter.prefer if waiter.prefer_until > now else None,
            frozenset(waiter.held_from),
        )

    def lines_of(self, session: SessionId) -> Iterator[Waiter]:
        """The lines this session stands in: none, one, or one for each channel."""
        return (self.waiters[work] for work in both_channels(session) if work in self.waiters)

    # --- ringing

    @staticmethod
    def rings(who: Agent, session: SessionId, channel: Channel) -> bool:
        """Whether this rings at the agent's desk."""
        return who.offer is not None and (who.offer.session, who.offer.channel) == (session, channel)

    def hush(self, waiter: Waiter, now: float, out: Outputs) -> list[Agent]:
        """Stop a waiter's ringing, wherever it is. The caller refreshes the agents that are returned."""
        ringing = [self.agents[name] for name in reversed(waiter.ringing)]
        for who in ringing:
            self.lapse(who, "withdrawn", now, out)
        return ringing

    def silence(self, who: Agent, waiter: Waiter, now: float, out: Outputs) -> None:
        """Stop the ringing of a waiter at one desk."""
        who.offer = None
        del waiter.ringing[who.spec.id]
        out.changed(*who.spec.queues)
        # Only one line of a session rings at a time: the other may now.
        for line in self.lines_of(waiter.work.session):
            self.sort_in(line, now)
            out.changed(line.queue)

    def lapse(self, who: Agent, reason: LapseReason, now: float, out: Outputs) -> None:
        """Stop the ringing at an agent's desk; the waiter keeps the place. The caller refreshes the agent."""
        offer = who.offer
        assert offer is not None
        waiter = self.waiters[Work(offer.session, offer.channel)]
        spec = self.queues[waiter.queue].spec
        self.silence(who, waiter, now, out)
        out.items.append(OfferLapsed(who.spec.id, offer.session, offer.channel, reason))
        if reason == "withdrawn":
            return
        self.first_rings(waiter, now)
        if reason == "signed_out":
            return
        who.misses = who.misses + 1 if reason == "ring_timeout" else 0
        if reason == "ring_timeout" and 0 < spec.missed_after <= who.misses:
            who.misses = 0
            self.step(who, "missed", "missed", now, out)
        else:
            waiter.held_from[who.spec.id] = now + spec.decline_hold
        waiter.unanswered += 1
        if waiter.prefer == who.spec.id:
            waiter.prefer = None
        self.redirect(waiter, now, out)
        self.sort_in(waiter, now)

    # --- the clock

    def _counts(self, timer: Timer) -> bool:
        """Whether what this timer is for is still so."""
        match timer.of:
            case WorkOffered() as offer:
                who = self.agents.get(offer.agent)
                return who is not None and who.offer is offer
            case Agent() as who:
                return who.wrap_up_until is not None and who.wrap_up_number == timer.number
            case waiter:
                return waiter.due is not None and waiter.due_number == timer.number

    def pending(self) -> Iterator[Timer]:
        """The timers that count."""
        for who in self.agents.values():
            if who.offer is not None:
                yield Timer(who.offer.until, who.offer_number, who.offer)
            if who.wrap_up_until is not None:
                yield Timer(who.wrap_up_until, who.wrap_up_number, who)
        for waiter in self.waiters.values():
            if waiter.due is not None:
                yield Timer(waiter.due, waiter.due_number, waiter)

    # --- taking

    def take(self, who: Agent, waiter: Waiter, now: float, out: Outputs) -> None:
        """The agent takes one from the line, and it rings nowhere any more. The caller refreshes the agent."""
        quiet = self.hush(waiter, now, out)
        self._forget(waiter, out)
        self._give(who, waiter.work, waiter.queue, waiter.request.since, now, out)
        for other in quiet:
            self.refresh(other, now)

    def hand(self, who: Agent, work: Work, queue: QueueId, now: float, out: Outputs) -> None:
        """The agent has the work, offered or not. The caller refreshes the agent."""
        if who.offer is not None:
            # There may be no room for it any more.
            other = self.waiters[Work(who.offer.session, who.offer.channel)]
            self.lapse(who, "withdrawn", now, out)
            self.first_rings(other, now)
        waiter = self.waiters.get(work)
        if waiter is None:
            self._give(who, work, queue, now, now, out)
        else:
            self.take(who, waiter, now, out)

    def _give(self, who: Agent, work: Work, queue: QueueId, since: float, now: float, out: Outputs) -> None:
        who.work[work] = Service(queue, now)
        self.served_by[work] = who.spec.id
        if self.observer is not None:
            self.observer.started(now, contact_id(*work), who.spec.id, queue)
        out.items.append(WorkAssigned(who.spec.id, work.session, work.channel, queue, max(0.0, now - since)))
        out.changed(queue, *who.spec.queues)

    def finish(self, who: Agent, work: Work, now: float, out: Outputs, *, served: bool = True) -> None:
        """The agent has the work no more. The caller refreshes the agent."""
        queue = who.work.pop(work).queue
        del self.served_by[work]
        who.idle_since = now
        if self.observer is not None:
            self.observer.ended(now, contact_id(*work), who.spec.id, served=served)
        out.changed(queue, *who.spec.queues)

    def settle(self, who: Agent | None, now: float, out: Outputs) -> list[AnyAcdOutput]:
        """Refresh *who*, offer whatever can be offered now in the changed queues, and hand out the outputs."""
        if who is not None:
            self.refresh(who, now)
        while True:
            matches = (self._match(self.queues[name]) for name in out.queues)
            best = min((match for match in matches if match is not None), key=lambda match: match.place, default=None)
            if best is None:
                break
            self._ring(best, now, out)
        for name in [name for name in self.leaving if not self.agents[name].work]:
            self.leaving.remove(name)
            del self.agents[name]
        return out.result()

    @staticmethod
    def _match(queue: Queue) -> _Match | None:
        """The first in line whom an available agent may take, and who that is."""
        best: _Match | None = None
        if queue.available:
            for need, line in queue.groups.items():
                if best is None or line[0] < best.place:
                    fit = queue.available & queue.whom(need)
                    if fit:
                        best = _Match(line[0], need, fit)
        return best

    def _ring(self, match: _Match, now: float, out: Outputs) -> None:
        """Offer a waiter to the agents it is for, or give it at once to one who takes everything."""
        waiter = self.waiters[match.place.work]
        queue = self.queues[waiter.queue]
        agents = sorted((self.agents[name] for name in match.agents), key=lambda who: queue.rank(match.need, who))
        if queue.spec.strategy != "ring_all":
            del agents[1:]
        taker = agents[0] if queue.spec.auto_answer else next((who for who in agents if who.spec.auto_accept), None)
        if taker is not None:
            self.take(taker, waiter, now, out)
            self.refresh(taker, now)
            return
        for who in agents:
            offer = WorkOffered(who.spec.id, *waiter.work, queue.spec.id, now + queue.spec.ring_timeout)
            who.offer = offer
            waiter.ringing[who.spec.id] = None
            who.offer_number = self.timers.start(offer.until, offer)
            out.items.append(offer)
            out.changed(*who.spec.queues)
        for line in self.lines_of(waiter.work.session):
            self.sort_in(line, now)
        for who in agents:
            self.refresh(who, now)
