"""The wait estimator: a calibrated drain rate.

Count who must leave the line before me, measure how fast the line really drains (starts per agent-second of backlog,
hang-ups per waiting-second), add up 1/(rate + i hang-ups), and let five learned offsets turn that into a distribution.
Nobody's handle time is needed: wrap-up, ringing and blended work are in the measured rate, and the rate sinks by itself
while nothing is answered. `docs/ewt.md` says more.

Observations never fail: what is unknown or told twice is ignored, and counted in `ignored`. A forecast changes nothing.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

from ewt.calibration import SHIFT, Promise
from ewt.drain import Flow, line_moments, planned_time
from ewt.forecast import LEVELS, LONGEST, Basis, Forecast, Status
from ewt.line import Agent, Channel, Contact, Place, Queue, QueueSpec

__all__ = ["AgentSeen", "Channel", "ContactSeen", "Estimator", "QueueSpec", "Snapshot"]

PRIOR_STARTS = 6
"""Until so many queued contacts were taken, a forecast rests on the guesses."""
ABSENCES = (0.15, 0.4, 1.0, 2.0, 4.0)
"""When absences end, at the levels of the quantiles, as multiples of the median."""
STALE = 86400.0
"""Seconds after which saved rates count no more than a prior."""
CLOCK_BACK = 300.0
"""Seconds by which a clock may be behind a saved state that goes on as if it had not stopped."""
SAVE_VERSION = 2


@dataclass(frozen=True, slots=True)
class AgentSeen:
    """One agent in a snapshot."""

    id: str
    queues: tuple[str, ...]
    slots: int
    voice_free: int
    chat_free: int


@dataclass(frozen=True, slots=True)
class ContactSeen:
    """One contact in a snapshot, in line or in an agent's hands."""

    id: str
    queue: str
    priority: int
    since: float
    """Whose place they have."""
    joined: float
    queued: bool
    """Nobody was free when they came."""
    agent: str | None = None
    """Who serves them; None while they wait."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everybody who is there: contacts who wait in the order in which they came, for equal places are told apart by it."""

    agents: tuple[AgentSeen, ...]
    contacts: tuple[ContactSeen, ...]


class _View(NamedTuple):
    """What the structure of a line depends on, but for the staff."""

    ahead: float
    pool_ahead: float
    own: float
    """Starts per second and agent."""
    pool: float
    hangups: float
    overtaking: float
    """Starts per second of the more urgent."""
    own_weight: float


class Estimator:
    """Tells how long a contact will wait, from what it is told as it happens.

    Every time is in seconds, of one clock. Contacts and agents are any strings; an agent's queues must have been added. The same
    observations in the same order give the same numbers, on whatever machine.
    """

    def __init__(self, queues: Iterable[QueueSpec] = ()) -> None:
        self._queues: dict[str, Queue] = {}
        self._agents: dict[str, Agent] = {}
        self._contacts: dict[str, Contact] = {}
        self._hands: dict[str, list[int]] = {}
        """By agent, logged in or not: calls and chats in hand; none without any."""
        self._numbers = 0
        self._now = 0.0
        self.ignored = 0
        """Observations that contradict what is known: of somebody unknown, or of what has happened already."""
        for spec in queues:
            self.add_queue(spec)

    # --- what is known beforehand

    def add_queue(self, spec: QueueSpec) -> None:
        """Add a queue, which begins with what others of its channel have learned, or give one that is there new guesses."""
        there = self._queues.get(spec.id)
        if there is not None:
            there.spec = spec
            return
        queue = Queue(spec)
        queue.inherit(
            [peer for peer in self._queues.values() if peer.spec.channel == spec.channel and peer.queued_starts >= PRIOR_STARTS]
        )
        self._queues[spec.id] = queue

    def rename_queue(self, old: str, new: str) -> None:
        """The queue *old* is called *new* from now on, whoever is in it. Nothing happens when *new* is there already."""
        if old not in self._queues or new in self._queues:
            return
        queue = self._queues[new] = self._queues.pop(old)
        queue.spec = replace(queue.spec, id=new)
        for other in self._queues.values():
            if old in other.shared:
                other.shared[new] = other.shared.pop(old)

    def remove_queue(self, now: float, name: str) -> None:
        """Forget a queue, what it has learned and whoever is in it; its agents work their other queues."""
        queue = self._queues.get(name)
        if queue is None:
            return
        for contact in [contact for contact, who in self._contacts.items() if who.queue is queue]:
            self.abandoned(now, contact, ghost=False)
            who = self._contacts.get(contact)
            if who is not None and who.agent is not None:
                self.ended(now, contact, who.agent, served=False)
        for agent in self._agents.values():
            agent.queues = tuple(other for other in agent.queues if other is not queue)
        del self._queues[name]
        for other in self._queues.values():
            other.shared.pop(name, None)

    def plan(self, queue: str, steps: Iterable[tuple[float, int]]) -> None:
        """Say how many agents (or chat slots) there will be from which time on; replaces an earlier plan."""
        if queue in self._queues:
            self._queues[queue].plan = tuple(sorted(steps))

    # --- what happens

    def login(self, now: float, agent: str, queues: Iterable[str], slots: int) -> None:
        """An agent begins to work these queues, with *slots* chats at once. Logging in again replaces the former login."""
        if agent in self._agents:
            self.logout(now, agent)
        known = tuple(self._queues[queue] for queue in dict.fromkeys(queues) if queue in self._queues)
        who = self._agents[agent] = Agent(known, slots)
        self._staff(now, known, slots, 1)
        self._review(now, agent, who)

    def logout(self, now: float, agent: str) -> None:
        """The agent takes no more work; what they have in hand is still ended by them."""
        if agent not in self._agents:
            self.ignored += 1
            return
        self.capacity(now, agent, 0, 0)
        gone = self._agents.pop(agent)
        self._staff(now, gone.queues, gone.slots, -1)
        if gone.blocked:
            self._block(now, gone, -1)

    def capacity(self, now: float, agent: str, voice_free: int, chat_free: int) -> None:
        """How many calls and chats the agent could take right now."""
        self._now = max(self._now, now)
        who = self._agents.get(agent)
        if who is None:
            self.ignored += voice_free > 0 or chat_free > 0
            return
        more_voice, more_chat = voice_free - who.voice_free, chat_free - who.chat_free
        who.voice_free, who.chat_free = voice_free, chat_free
        for queue in who.queues:
            queue.free += more_voice if queue.spec.channel == "voice" else more_chat
            if queue.free > 0 and queue.waiting == 0:
                # Whoever had stayed in line would be taken now.
                queue.settle_ghosts(now)
        self._review(now, agent, who)

    def joined(self, now: float, contact: str, queue: str, priority: int, since: float | None = None) -> None:
        """A contact stands in line, with the place of one who came at *since* (None: now)."""
        where = self._queues.get(queue)
        if where is None or contact in self._contacts:
            self.ignored += 1
            return
        self._tick(where, now)
        who = Contact(where, priority, self._place(now if since is None else since), now)
        if where.free <= 0:
            who.queued = True
            who.promise = self._promise(now, where, priority, where.ahead(priority, who.place), None)
        self._contacts[contact] = who
        where.enter(who)

    def deflected(self, now: float, contact: str, queue: str, priority: int = 1) -> None:
        """A contact went elsewhere before standing in line: when their turn would have come is learned from all the same."""
        where = self._queues.get(queue)
        self.joined(now, contact, queue, priority)
        who = self._contacts.get(contact)
        if where is None or who is None or who.agent is not None or who.joined != now:
            return
        where.remove(who)
        del self._contacts[contact]
        if who.promise is not None:
            where.follow(now, who, who.promise)

    def started(self, now: float, contact: str, agent: str, queue: str | None = None) -> None:
        """The agent took the contact. One who never stood in line is only counted as served, by *queue*."""
        who = self._contacts.get(contact)
        if who is None and queue in self._queues:
            where = self._queues[queue]
            self._tick(where, now)
            who = self._contacts[contact] = Contact(where, 0, (now, 0), now)
        elif who is None or who.agent is not None:
            self.ignored += 1
            return
        else:
            self._taken(now, who, agent)
        who.queue.busy += 1
        who.agent = agent
        self._hand(now, who.queue, agent, 1)

    def abandoned(self, now: float, contact: str, *, ghost: bool = True) -> None:
        """The contact left the line unserved. A *ghost* is followed until their turn would have come."""
        who = self._contacts.get(contact)
        if who is None or who.agent is not None:
            self.ignored += 1
            return
        where = who.queue
        self._tick(where, now)
        where.hangups.hit()
        where.remove(who)
        del self._contacts[contact]
        if ghost and who.promise is not None:
            where.follow(now, who, who.promise)

    def ended(self, now: float, contact: str, agent: str, *, served: bool = True) -> None:
        """The agent is done with the contact; one not *served* (the phone was not picked up) says nothing of the pace."""
        del agent  # whoever began
        who = self._contacts.get(contact)
        if who is None or who.agent is None:
            self.ignored += 1
            return
        where = who.queue
        self._tick(where, now)
        where.busy -= 1
        if served:
            where.service.hit(1.0 / where.aht_guess)
        del self._contacts[contact]
        self._hand(now, where, who.agent, -1)

    # --- what is asked

    def forecast(self, now: float, queue: str, priority: int = 1, extra: float = 0.0, *, trusted: bool = True) -> Forecast:
        """How long a newcomer would wait; `degraded` without numbers for an unknown queue.

        Args:
            now: Seconds.
            queue: Where.
            priority: 0 is most urgent.
            extra: Contacts promised to this queue that do not stand in line yet.
            trusted: Whether what was told is complete and fresh. If not, the answer is `degraded`, with plain numbers.
        """
        where = self._queues.get(queue)
        if where is None:
            return Forecast("degraded", "prior")
        ahead = float(where.ahead(priority))
        if not trusted:
            return _plain(where, ahead + extra)
        if where.free > extra:
            seen = where.offsets.get(priority)
            outcomes = seen.seen if seen is not None else 0
            return Forecast("free_agent", self._basis(where), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, ahead, where.capacity, outcomes)
        return self._forecast(now, where, priority, ahead + max(0.0, extra - max(0, where.free)), None)

    def forecast_waiting(self, now: float, contact: str, *, trusted: bool = True) -> Forecast:
        """How much longer one in line will wait; `degraded` without numbers for one who does not stand in line."""
        who = self._contacts.get(contact)
        if who is None or who.agent is not None:
            return Forecast("degraded", "prior")
        ahead = float(who.queue.ahead(who.priority, who.place))
        return self._forecast(now, who.queue, who.priority, ahead, who.place) if trusted else _plain(who.queue, ahead)

    # --- across restarts

    def save(self) -> dict[str, Any]:
        """What has been learned until the last observation, fit for JSON.

        Agents and lines are not in it: they come again as observations.
        """
        return {
            "version": SAVE_VERSION,
            "at": self._now,
            "queues": {name: queue.dump(self._now) for name, queue in self._queues.items()},
        }

    def restore(self, saved: Mapping[str, Any], now: float) -> None:
        """Take back what `save` gave; queues that are no longer there are left out.

        Rates older than a day keep their value but weigh no more than a prior.

        Raises:
            ValueError: Saved by a version this one does not know. Nothing has changed.
        """
        if saved.get("version") not in {1, SAVE_VERSION}:
            raise ValueError(f"saved estimator state has version {saved.get('version')!r}, not {SAVE_VERSION}")
        # Of a clock that was set back far, nothing would count until it is as late again.
        at = saved["at"] if saved["at"] - now <= CLOCK_BACK else now
        self._now = max(self._now, at)
        for name, learned in saved["queues"].items():
            queue = self._queues.get(name)
            if queue is None:
                continue
            queue.load(learned if saved["version"] == SAVE_VERSION else _from_version_1(learned), at)
            if now - at > STALE:
                queue.fade()

    # --- all of it, elsewhere

    def dump(self) -> dict[str, Any]:
        """Everything, exactly, for `load`: lists, numbers, words, and mappings whose order counts. -inf is one of the numbers."""
        return {
            "now": self._now,
            "numbers": self._numbers,
            "ignored": self.ignored,
            "queues": [queue.freeze() for queue in self._queues.values()],
            "agents": {
                name: ([queue.spec.id for queue in who.queues], who.slots, who.voice_free, who.chat_free, who.blocked)
                for name, who in self._agents.items()
            },
            "contacts": {
                name: (who.queue.spec.id, who.priority, *who.place, who.joined, who.queued, who.promise, who.agent)
                for name, who in self._contacts.items()
            },
            "hands": self._hands,
        }

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Be as the estimator that was dumped; what was known before is forgotten."""
        self._now, self._numbers, self.ignored = dumped["now"], dumped["numbers"], dumped["ignored"]
        self._queues = {queue.spec.id: queue for queue in map(Queue.thaw, dumped["queues"])}
        self._agents = {
            name: Agent(tuple(self._queues[queue] for queue in queues), *rest)
            for name, (queues, *rest) in dumped["agents"].items()
        }
        self._contacts = {}
        for name, (queue, priority, since, number, joined, queued, promise, agent) in dumped["contacts"].items():
            told = None if promise is None else Promise(*promise)
            who = self._contacts[name] = Contact(self._queues[queue], priority, (since, number), joined, queued, told, agent)
            if agent is None:
                who.queue.enter(who)
        self._hands = {name: list(hands) for name, hands in dumped["hands"].items()}

    # --- gaps

    def snapshot(self) -> Snapshot:
        """Everybody who is there, as `resync` takes it."""
        return Snapshot(
            tuple(
                AgentSeen(name, tuple(queue.spec.id for queue in who.queues), who.slots, who.voice_free, who.chat_free)
                for name, who in sorted(self._agents.items())
            ),
            tuple(
                ContactSeen(name, who.queue.spec.id, who.priority, who.place[0], who.joined, who.queued, who.agent)
                for name, who in sorted(self._contacts.items(), key=lambda item: (item[1].place, item[0]))
            ),
        )

    def resync(self, now: float, snapshot: Snapshot) -> None:
        """Take *snapshot* for what is true now, after a gap in the observations; what was learned stays.

        Contacts who were known keep what they were promised; of others nothing is learned. Doing it twice changes nothing.
        """
        promises = {name: who.promise for name, who in self._contacts.items() if who.agent is None}
        for queue in self._queues.values():
            self._tick(queue, now)
            queue.count_staff(now)
            queue.lines, queue.shared = {}, {}
            queue.waiting = queue.backlog = queue.agents = queue.capacity = queue.free = queue.busy = queue.blocked = 0
        self._agents, self._contacts, self._hands = {}, {}, {}
        for agent in snapshot.agents:
            known = tuple(self._queues[queue] for queue in agent.queues if queue in self._queues)
            self._agents[agent.id] = Agent(known, agent.slots, agent.voice_free, agent.chat_free)
            self._share(known, 1)
            for queue in known:
                queue.capacity += 1 if queue.spec.channel == "voice" else agent.slots
                queue.free += agent.voice_free if queue.spec.channel == "voice" else agent.chat_free
        for seen in snapshot.contacts:
            where = self._queues.get(seen.queue)
            if where is None:
                continue
            promise = promises.get(seen.id) if seen.queued else None
            who = Contact(where, seen.priority, self._place(seen.since), seen.joined, seen.queued, promise, seen.agent)
            self._contacts[seen.id] = who
            if seen.agent is None:
                where.enter(who)
            else:
                where.busy += 1
                self._hand(now, where, seen.agent, 1)
        for name, present in self._agents.items():
            self._review(now, name, present)

    # --- how it is done

    def _tick(self, queue: Queue, now: float) -> None:
        self._now = max(self._now, now)
        queue.tick(now)

    def _place(self, since: float) -> Place:
        self._numbers += 1
        return since, self._numbers

    def _staff(self, now: float, queues: Sequence[Queue], slots: int, sign: int) -> None:
        """Somebody who works these queues came, or (*sign*) went."""
        self._now = max(self._now, now)
        for queue in queues:
            queue.staffed(now, sign * (1 if queue.spec.channel == "voice" else slots))
        self._share(queues, sign)

    @staticmethod
    def _share(queues: Sequence[Queue], sign: int) -> None:
        for queue in queues:
            queue.agents += sign
            for other in queues:
                if other is not queue:
                    queue.shared[other.spec.id] = queue.shared.get(other.spec.id, 0) + sign

    def _hand(self, now: float, queue: Queue, agent: str, sign: int) -> None:
        """The agent has one contact of *queue* more in hand, or (*sign*) less."""
        hands = self._hands.setdefault(agent, [0, 0])
        hands[queue.spec.channel == "sms"] += sign
        if hands == [0, 0]:
            del self._hands[agent]
        who = self._agents.get(agent)
        if who is not None:
            self._review(now, agent, who)

    def _review(self, now: float, agent: str, who: Agent) -> None:
        """Whether it is their chats that keep the agent from taking a call."""
        hands = self._hands.get(agent)
        blocked = hands is not None and hands[1] > 0 and hands[0] == 0 and who.voice_free <= 0
        if blocked != who.blocked:
            who.blocked = blocked
            self._block(now, who, 1 if blocked else -1)

    def _block(self, now: float, who: Agent, sign: int) -> None:
        for queue in who.queues:
            if queue.spec.channel == "voice":
                queue.block(now, sign)

    def _taken(self, now: float, who: Contact, agent: str) -> None:
        """Somebody who stood in line was taken."""
        where = who.queue
        self._tick(where, now)
        where.starts.setdefault(who.priority, Flow()).hit(now)
        queued = who.queued and now > who.joined
        self._drained(now, where, agent, queued)
        where.remove(who)
        if queued and who.promise is not None:
            where.settle_ghosts(now, (who.priority, who.place))
            where.learn(who.priority, who.promise, now - who.joined)

    def _drained(self, now: float, queue: Queue, agent: str, queued: bool) -> None:
        """A contact of *queue* was taken: count it for every line that this agent could have shortened."""
        if queued:
            queue.own.hit(queue.service_rate())
            queue.queued_starts += 1
        taker = self._agents.get(agent)
        for other in taker.queues if taker is not None else (queue,):
            if other.spec.channel == queue.spec.channel and (other is not queue or queued):
                self._tick(other, now)
                if other.backlog:
                    other.pool.hit(other.service_rate())

    def _neighbours(self, queue: Queue) -> Iterator[tuple[Queue, int]]:
        """Queues of the same channel with somebody waiting, and how many agents work both."""
        for name, common in queue.shared.items():
            other = self._queues[name]
            if common and other.waiting and other.spec.channel == queue.spec.channel:
                yield other, common

    def _view(self, now: float, queue: Queue, priority: int, ahead: float, place: Place | None) -> _View:
        """Everything about a place in line but the staff; *place* is that of one in line, None for a newcomer."""
        live = queue.live(now)
        drain = queue.service_rate(live)
        exposure = queue.exposure(now)
        overtaking = competing = 0.0
        for other, flow in queue.starts.items():
            if other < priority:
                # Who is more urgent and comes later goes first all the same.
                overtaking += flow.value(now)
        for neighbour, common in self._neighbours(queue):
            competing += neighbour.ahead(priority, place) * common / neighbour.agents
        offsets = queue.offsets.get(priority)
        return _View(
            ahead,
            ahead + competing,
            queue.own.value(drain, exposure),
            queue.pool.value(drain, exposure),
            queue.hangups.value(1.0 / queue.spec.patience_guess, live * queue.waiting),
            overtaking,
            0.5 if offsets is None else offsets.own_weight,
        )

    def _promise(self, now: float, queue: Queue, priority: int, ahead: float, place: Place | None) -> Promise:
        """What the structure of the line says to somebody who joins it."""
        view = self._view(now, queue, priority, ahead, place)
        return _promise_of(view, self._spans(now, queue), planned=bool(queue.plan))

    @staticmethod
    def _spans(now: float, queue: Queue, late: float = 1.0) -> list[tuple[float, float]]:
        """The staff from *now* on, as (seconds, strength), of which the last lasts for ever.

        As planned; without a plan as it is, and those who went come back, each *late* times as late as half of such absences
        are over.
        """
        share, strength = queue.share(now), queue.strength(now)
        if queue.plan:
            steps = [(begin, capacity * share) for begin, capacity in queue.plan if begin > now]
        else:
            there, steps = strength, []
            for rest, more in queue.returning(now):
                there += more * share
                steps.append((now + late * rest, there))
        if not steps and not queue.plan:
            return [(math.inf, strength)]
        ends = [(now, strength), *steps, (math.inf, 0.0)]
        return [(end - begin, there) for (begin, there), (end, _) in pairwise(ends)]

    @staticmethod
    def _basis(queue: Queue) -> Basis:
        if queue.queued_starts < PRIOR_STARTS:
            return "prior"
        return "plan" if queue.plan else "learned"

    def _forecast(self, now: float, queue: Queue, priority: int, ahead: float, place: Place | None) -> Forecast:
        view = self._view(now, queue, priority, ahead, place)
        offsets = queue.offsets.get(priority)
        spans = self._spans(now, queue)
        if len(spans) == 1 or queue.plan:
            quantiles = _promise_of(view, spans, planned=bool(queue.plan)).quantiles(offsets)
        else:
            # Five ways in which absences may end; a long wait goes with a late return.
            a, b, c, d, e = (
                _promise_of(view, self._spans(now, queue, late), planned=False).quantiles(offsets) for late in ABSENCES
            )
            quantiles = a[0], b[1], c[2], d[3], e[4]
        p10, p25, p50, p75, p90 = quantiles
        status: Status = "no_agents" if queue.capacity == 0 else "ok"
        outcomes = offsets.seen if offsets is not None else 0
        mean = 0.3 * p10 + 0.4 * p50 + 0.3 * p90  # Swanson's rule
        return Forecast(status, self._basis(queue), mean, p10, p25, p50, p75, p90, ahead, queue.capacity, outcomes)


def _plain(queue: Queue, ahead: float) -> Forecast:
    """The wait as position x handling time / agents: what is left to say when what was told is old or incomplete.

    As wide as an exponential wait, which is about as wide as such a number is wrong.
    """
    if queue.capacity == 0:
        return Forecast("degraded", "prior", ahead=ahead, capacity=0)
    mean = min(LONGEST, (ahead + 1.0) / (queue.service_rate() * queue.capacity))
    p10, p25, p50, p75, p90 = (min(LONGEST, -mean * math.log(1.0 - level)) for level in LEVELS)
    return Forecast("degraded", "prior", mean, p10, p25, p50, p75, p90, ahead, queue.capacity)


def _promise_of(view: _View, spans: Sequence[tuple[float, float]], *, planned: bool) -> Promise:
    """The wait of a view through these (seconds, strength), of which the last lasts for ever.

    A line moves through changing staff as a fluid does; the rounding of a short line, and how much it scatters while it moves,
    are as if the strength were *still*.
    """
    ahead, pool_ahead, own, pool, hangups, overtaking, weight = view
    # The staff there is, but the usual one while people are missing.
    still = (spans[0][1] if planned else spans[-1][1]) or spans[-1][1] or 1.0
    by_own, variance = line_moments(ahead, _net(own * still, overtaking), hangups)
    by_pool, _ = line_moments(pool_ahead, _net(pool * still, overtaking), hangups)
    if len(spans) > 1:
        plain = by_own
        by_own *= _fluid(ahead, own, spans, view) / _fluid(ahead, own, [(math.inf, still)], view)
        if not planned:
            stands = min(by_own, spans[0][0]) * (1.0 - spans[0][1] / still)
            variance *= ((by_own - stands) / plain) ** 2
        by_pool *= _fluid(pool_ahead, pool, spans, view) / _fluid(pool_ahead, pool, [(math.inf, still)], view)
    by_own, by_pool = min(LONGEST, by_own) + SHIFT, min(LONGEST, by_pool) + SHIFT
    spread = math.log1p(variance / by_own**2) + 0.05
    log_own, log_pool = math.log(by_own), math.log(by_pool)
    return Promise(weight * log_own + (1.0 - weight) * log_pool - spread / 2.0, math.sqrt(spread), log_own, log_pool)


def _fluid(ahead: float, rate: float, spans: Sequence[tuple[float, float]], view: _View) -> float:
    return planned_time(ahead, [(span, _net(rate * strength, view.overtaking)) for span, strength in spans], view.hangups)


def _net(rate: float, overtaking: float) -> float:
    """Starts per second that are left for one's own priority: a tenth at least, or one would wait for ever."""
    return max(rate - overtaking, 0.1 * rate)


def _from_version_1(learned: Mapping[str, Any]) -> dict[str, Any]:
    """State that was saved when rates had one memory and the two views the same weight."""
    rates = learned["rates"]
    paces = {}
    for kind in ("own", "pool", "service"):
        events, exposure, base = rates[kind]
        paces[kind] = [base, 0.0, events, events, exposure, exposure, 0.5, 0.0]
    events, exposure, base = rates["hangups"]
    offsets = {
        priority: [seen, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, *values] for priority, (*values, seen) in learned["offsets"].items()
    }
    nothing = {"hangups": [base, events, exposure], "usual": [0.0, 0.0], "unblocked": None, "offsets": offsets}
    return {**paces, **nothing, "queued_starts": learned["queued_starts"], "starts": learned["starts"]}
