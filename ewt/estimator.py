"""The wait estimator: a calibrated drain rate.

Count who must leave the line before me, measure how fast the line really drains (starts per agent-second of backlog,
hang-ups per waiting-second), add up 1/(rate + i hang-ups), and let five learned offsets turn that into a distribution.
Nobody's handle time is needed: wrap-up, ringing and blended work are in the measured rate, and the rate sinks by itself
while nothing is answered. `docs/ewt.md` says more.

Observations never fail: what is unknown or told twice is ignored. A forecast changes nothing.
"""

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, TypeAlias

from ewt.calibration import SHIFT, Offsets, Promise
from ewt.drain import Flow, Rate, line_time, line_variance, planned_time
from ewt.forecast import LONGEST, Basis, Forecast

Channel: TypeAlias = Literal["voice", "sms"]

AHT_GUESS: Mapping[Channel, float] = {"voice": 240.0, "sms": 720.0}
"""Seconds of handle time when the operator has no guess. Rather too low than too high: it is unlearned faster."""

PATIENCE_GUESS = 300.0
PRIOR_STARTS = 6
"""Until so many queued contacts were taken, a forecast rests on the guesses."""
GHOST_LIFE = 7200.0
"""Seconds after which a contact who left the line is no longer waited for."""
OUTAGE = 300.0
"""Seconds that a queue without agents is assumed to stay so, at least."""
OUTAGE_FACTORS = (0.15, 0.4, 1.0, 2.0, 4.0)
STALE = 86400.0
"""Seconds after which saved rates count no more than a prior."""
SAVE_VERSION = 1


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """One queue and the operator's guesses."""

    id: str
    channel: Channel = "voice"
    aht_guess: float | None = None
    """Seconds of handle time; None for `AHT_GUESS`."""
    patience_guess: float = PATIENCE_GUESS
    """Seconds a caller waits before hanging up."""


_Place: TypeAlias = tuple[float, int]
"""The order within one priority: since when, and a number that makes it unique."""


@dataclass(slots=True)
class _Contact:
    queue: "_Queue"
    priority: int
    place: _Place
    joined: float
    promise: Promise | None = None
    """None when an agent was free on joining: connected at once, nothing to learn from."""
    serving: bool = False


@dataclass(slots=True)
class _Agent:
    queues: tuple["_Queue", ...]
    slots: int
    voice_free: int = 0
    chat_free: int = 0


@dataclass(slots=True)
class _Queue:
    spec: QueueSpec
    at: float = -math.inf
    """Exposures are counted up to here."""
    lines: dict[int, list[_Place]] = field(default_factory=dict)
    waiting: int = 0
    backlog: int = 0
    """Of those waiting, the ones who came when nobody was free: only they tell how fast a line drains."""
    agents: int = 0
    capacity: int = 0
    free: int = 0
    busy: int = 0
    last_capacity: int = 1
    """Before the last agent went."""
    unstaffed_since: float | None = None
    shared: dict[str, int] = field(default_factory=dict)
    """Other queue to the number of agents who work both."""
    plan: tuple[tuple[float, int], ...] = ()
    # What is learned.
    own: Rate = field(default_factory=lambda: Rate(60, 6))
    pool: Rate = field(default_factory=lambda: Rate(60, 6))
    hangups: Rate = field(default_factory=lambda: Rate(120, 4))
    service: Rate = field(default_factory=lambda: Rate(100, 4))
    starts: dict[int, Flow] = field(default_factory=dict)
    offsets: dict[int, Offsets] = field(default_factory=dict)
    queued_starts: int = 0
    ghosts: dict[int, list[tuple[_Place, float, Promise]]] = field(default_factory=dict)
    """By priority, a heap of place, time of joining and promise."""

    @property
    def aht_guess(self) -> float:
        return self.spec.aht_guess or AHT_GUESS[self.spec.channel]

    @property
    def rates(self) -> dict[str, Rate]:
        return {"own": self.own, "pool": self.pool, "hangups": self.hangups, "service": self.service}

    def service_rate(self, live: float = 0.0) -> float:
        """Contacts one busy agent ends per second; also what a line drains by for each agent until it was seen draining."""
        return self.service.value(1.0 / self.aht_guess, live * self.busy)

    def fade(self) -> None:
        drain = self.service_rate()
        self.own.fade(drain)
        self.pool.fade(drain)
        self.hangups.fade(1.0 / self.spec.patience_guess)
        self.service.fade(1.0 / self.aht_guess)

    def tick(self, now: float) -> None:
        """Count exposures up to *now*; to be called before any counter changes. Earlier than before counts nothing."""
        passed = now - self.at
        if passed > 0:
            if self.at > -math.inf:
                if self.backlog:
                    self.own.exposure += passed * self.capacity
                    self.pool.exposure += passed * self.capacity
                self.hangups.exposure += passed * self.waiting
                self.service.exposure += passed * self.busy
            self.at = now

    def live(self, now: float) -> float:
        """Seconds since exposures were counted."""
        return max(0.0, now - self.at) if self.at > -math.inf else 0.0

    def ahead(self, priority: int, place: _Place | None = None) -> int:
        """Who goes before a newcomer of this priority, or before one who has this place."""
        return sum(
            len(line) if place is None or other < priority else bisect_left(line, place)
            for other, line in self.lines.items()
            if other <= priority
        )

    def remove(self, contact: _Contact) -> None:
        line = self.lines[contact.priority]
        del line[bisect_left(line, contact.place)]
        self.waiting -= 1
        self.backlog -= contact.promise is not None

    def learn(self, priority: int, promise: Promise, wait: float) -> None:
        self.offsets.setdefault(priority, Offsets()).learn(promise, wait)

    def settle_ghosts(self, now: float, before: tuple[int, _Place] | None = None) -> None:
        """Learn from the ghosts who would have been taken by now: all, or those *before* a priority and place."""
        for priority, heap in self.ghosts.items():
            if before is not None and priority > before[0]:
                continue
            while heap and (before is None or priority < before[0] or heap[0][0] < before[1]):
                _, joined, promise = heapq.heappop(heap)
                if now - joined <= GHOST_LIFE:
                    self.learn(priority, promise, now - joined)


class Estimator:
    """Tells how long a contact will wait, from what it is told as it happens.

    Every time is in seconds, of one clock. Contacts and agents are any strings; an agent's queues must have been added.
    """

    def __init__(self, queues: Iterable[QueueSpec] = ()) -> None:
        self._queues: dict[str, _Queue] = {}
        self._agents: dict[str, _Agent] = {}
        self._contacts: dict[str, _Contact] = {}
        self._numbers = 0
        self._now = 0.0
        for spec in queues:
            self.add_queue(spec)

    # --- what is known beforehand

    def add_queue(self, spec: QueueSpec) -> None:
        """Add a queue, or give one that is there new guesses; what it has learned stays."""
        if spec.id in self._queues:
            self._queues[spec.id].spec = spec
        else:
            self._queues[spec.id] = _Queue(spec)

    def plan(self, queue: str, steps: Iterable[tuple[float, int]]) -> None:
        """Say how many agents (or chat slots) there will be from which time on; replaces an earlier plan."""
        if queue in self._queues:
            self._queues[queue].plan = tuple(sorted(steps))

    # --- what happens

    def login(self, now: float, agent: str, queues: Iterable[str], slots: int) -> None:
        """An agent begins to work these queues, with *slots* chats at once. Logging in again replaces the former login."""
        self.logout(now, agent)
        known = tuple(self._queues[queue] for queue in dict.fromkeys(queues) if queue in self._queues)
        self._agents[agent] = _Agent(known, slots)
        self._staff(now, known, slots, 1)

    def logout(self, now: float, agent: str) -> None:
        """The agent takes no more work; what they have in hand is still ended by them."""
        self.capacity(now, agent, 0, 0)
        gone = self._agents.pop(agent, None)
        if gone is not None:
            self._staff(now, gone.queues, gone.slots, -1)

    def capacity(self, now: float, agent: str, voice_free: int, chat_free: int) -> None:
        """How many calls and chats the agent could take right now."""
        self._now = max(self._now, now)
        who = self._agents.get(agent)
        if who is None:
            return
        more_voice, more_chat = voice_free - who.voice_free, chat_free - who.chat_free
        who.voice_free, who.chat_free = voice_free, chat_free
        for queue in who.queues:
            queue.free += more_voice if queue.spec.channel == "voice" else more_chat
            if queue.free > 0 and queue.waiting == 0:
                # Whoever had stayed in line would be taken now.
                queue.settle_ghosts(now)

    def joined(self, now: float, contact: str, queue: str, priority: int, since: float | None = None) -> None:
        """A contact stands in line, with the place of one who came at *since* (None: now)."""
        where = self._queues.get(queue)
        if where is None or contact in self._contacts:
            return
        self._tick(where, now)
        self._numbers += 1
        place = (now if since is None else since, self._numbers)
        who = _Contact(where, priority, place, now)
        if where.free <= 0:
            who.promise = self._promise(now, where, priority, where.ahead(priority, place), None)
            where.backlog += 1
        self._contacts[contact] = who
        insort(where.lines.setdefault(priority, []), place)
        where.waiting += 1

    def started(self, now: float, contact: str, agent: str, queue: str | None = None) -> None:
        """The agent took the contact. One who never stood in line is only counted as served, by *queue*."""
        who = self._contacts.get(contact)
        if who is None:
            if queue in self._queues:
                where = self._queues[queue]
                self._tick(where, now)
                where.busy += 1
                self._contacts[contact] = _Contact(where, 0, (now, 0), now, serving=True)
            return
        if who.serving:
            return
        where = who.queue
        self._tick(where, now)
        where.busy += 1
        where.starts.setdefault(who.priority, Flow()).hit(now)
        queued = who.promise is not None and now > who.joined
        self._drained(now, where, agent, queued)
        where.remove(who)
        who.serving = True
        if queued:
            assert who.promise is not None
            where.settle_ghosts(now, (who.priority, who.place))
            where.learn(who.priority, who.promise, now - who.joined)

    def abandoned(self, now: float, contact: str, *, ghost: bool = True) -> None:
        """The contact left the line unserved. A *ghost* is followed until their turn would have come."""
        who = self._contacts.get(contact)
        if who is None or who.serving:
            return
        where = who.queue
        self._tick(where, now)
        where.hangups.hit()
        where.remove(who)
        del self._contacts[contact]
        if ghost and who.promise is not None:
            heap = where.ghosts.setdefault(who.priority, [])
            while heap and now - heap[0][1] > GHOST_LIFE:
                heapq.heappop(heap)
            heapq.heappush(heap, (who.place, who.joined, who.promise))

    def ended(self, now: float, contact: str, agent: str, *, served: bool = True) -> None:
        """The agent is done with the contact; one not *served* (the phone was not picked up) says nothing of the pace."""
        del agent  # every queue's service rate is measured over all who work it
        who = self._contacts.get(contact)
        if who is None or not who.serving:
            return
        self._tick(who.queue, now)
        who.queue.busy -= 1
        if served:
            who.queue.service.hit()
        del self._contacts[contact]

    # --- what is asked

    def forecast(self, now: float, queue: str, priority: int = 1, extra: float = 0.0) -> Forecast:
        """How long a newcomer would wait; `degraded` without numbers for an unknown queue.

        Args:
            now: Seconds.
            queue: Where.
            priority: 0 is most urgent.
            extra: Contacts promised to this queue that do not stand in line yet.
        """
        where = self._queues.get(queue)
        if where is None:
            return Forecast("degraded", "prior")
        ahead = where.ahead(priority)
        if where.free > extra:
            seen = where.offsets.get(priority)
            return Forecast(
                "free_agent", self._basis(where), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, ahead, where.capacity, seen.seen if seen else 0
            )
        return self._forecast(now, where, priority, ahead + max(0.0, extra - max(0, where.free)), None)

    def forecast_waiting(self, now: float, contact: str) -> Forecast:
        """How much longer one in line will wait; `degraded` without numbers for one who does not stand in line."""
        who = self._contacts.get(contact)
        if who is None or who.serving:
            return Forecast("degraded", "prior")
        return self._forecast(now, who.queue, who.priority, who.queue.ahead(who.priority, who.place), who.place)

    # --- across restarts

    def save(self) -> dict[str, Any]:
        """What has been learned, fit for JSON. Agents and lines are not in it: they come again as observations."""
        return {
            "version": SAVE_VERSION,
            "at": self._now,
            "queues": {
                name: {
                    "rates": {kind: [rate.events, rate.exposure, rate.base] for kind, rate in queue.rates.items()},
                    "queued_starts": queue.queued_starts,
                    "starts": {str(priority): [flow.rate, flow.at] for priority, flow in queue.starts.items()},
                    "offsets": {str(priority): [*offsets.values, offsets.seen] for priority, offsets in queue.offsets.items()},
                }
                for name, queue in self._queues.items()
            },
        }

    def restore(self, saved: Mapping[str, Any], now: float) -> None:
        """Take back what `save` gave; queues that are no longer there are left out.

        Rates older than a day keep their value but weigh no more than a prior.

        Raises:
            ValueError: Saved by a version this one does not know. Nothing has changed.
        """
        if saved.get("version") != SAVE_VERSION:
            raise ValueError(f"saved estimator state has version {saved.get('version')!r}, not {SAVE_VERSION}")
        for name, learned in saved["queues"].items():
            queue = self._queues.get(name)
            if queue is None:
                continue
            for kind, rate in queue.rates.items():
                rate.events, rate.exposure, rate.base = learned["rates"][kind]
            if now - saved["at"] > STALE:
                queue.fade()
            queue.queued_starts = learned["queued_starts"]
            queue.starts = {int(priority): Flow(*flow) for priority, flow in learned["starts"].items()}
            queue.offsets = {int(priority): Offsets(values, seen) for priority, (*values, seen) in learned["offsets"].items()}

    # --- how it is done

    def _tick(self, queue: _Queue, now: float) -> None:
        self._now = max(self._now, now)
        queue.tick(now)

    def _staff(self, now: float, queues: Sequence[_Queue], slots: int, sign: int) -> None:
        for queue in queues:
            self._tick(queue, now)
            if sign < 0 and queue.agents == 1:
                queue.last_capacity, queue.unstaffed_since = max(1, queue.capacity), now
            queue.agents += sign
            queue.capacity += sign * (1 if queue.spec.channel == "voice" else slots)
            for other in queues:
                if other is not queue:
                    queue.shared[other.spec.id] = queue.shared.get(other.spec.id, 0) + sign

    def _drained(self, now: float, queue: _Queue, agent: str, queued: bool) -> None:
        """A contact of *queue* was taken: count it for every line that this agent could have shortened."""
        if queued and queue.backlog:
            queue.own.hit()
            queue.queued_starts += 1
        taker = self._agents.get(agent)
        for other in taker.queues if taker is not None else (queue,):
            if other.spec.channel == queue.spec.channel and (other is not queue or queued):
                self._tick(other, now)
                if other.backlog:
                    other.pool.hit()

    def _neighbours(self, queue: _Queue) -> Iterator[tuple[_Queue, int]]:
        """Queues of the same channel with somebody waiting, and how many agents work both."""
        for name, common in queue.shared.items():
            other = self._queues[name]
            if common and other.waiting and other.spec.channel == queue.spec.channel:
                yield other, common

    def _promise(self, now: float, queue: _Queue, priority: int, ahead: float, place: _Place | None) -> Promise:
        """What the structure of the line says; *place* is that of one in line, None for a newcomer."""
        live = queue.live(now)
        drain = queue.service_rate(live)
        hangups = queue.hangups.value(1.0 / queue.spec.patience_guess, live * queue.waiting)
        capacity = queue.capacity or queue.last_capacity
        backlog_seconds = live * queue.capacity if queue.backlog else 0.0
        own = queue.own.value(drain, backlog_seconds)
        pool = queue.pool.value(drain, backlog_seconds)
        # Who is more urgent and comes later goes first all the same.
        overtaking = sum(flow.value(now) for other, flow in queue.starts.items() if other < priority)
        competing = sum(other.ahead(priority, place) * common / max(1, other.agents) for other, common in self._neighbours(queue))
        if queue.plan:
            spans = self._spans(now, queue)
            by_own = planned_time(ahead, ((span, _net(own * cap, overtaking)) for span, cap in spans), hangups)
            by_pool = planned_time(ahead + competing, ((span, _net(pool * cap, overtaking)) for span, cap in spans), hangups)
        else:
            by_own = line_time(ahead, _net(own * capacity, overtaking), hangups)
            by_pool = line_time(ahead + competing, _net(pool * capacity, overtaking), hangups)
        by_own, by_pool = min(LONGEST, by_own) + SHIFT, min(LONGEST, by_pool) + SHIFT
        variance = line_variance(ahead, _net(own * capacity, overtaking), hangups)
        spread = math.log1p(variance / by_own**2) + 0.05
        return Promise((math.log(by_own) + math.log(by_pool)) / 2.0 - spread / 2.0, math.sqrt(spread))

    @staticmethod
    def _spans(now: float, queue: _Queue) -> list[tuple[float, int]]:
        """The plan from *now* on, as (seconds, capacity); until its first step the capacity there is."""
        ahead = [step for step in queue.plan if step[0] > now]
        steps = [(now, queue.capacity), *ahead, (math.inf, 0)]
        return [(end - begin, capacity) for (begin, capacity), (end, _) in pairwise(steps)]

    @staticmethod
    def _basis(queue: _Queue) -> Basis:
        if queue.queued_starts < PRIOR_STARTS:
            return "prior"
        return "plan" if queue.plan else "learned"

    def _forecast(self, now: float, queue: _Queue, priority: int, ahead: float, place: _Place | None) -> Forecast:
        offsets = queue.offsets.get(priority)
        p10, p25, p50, p75, p90 = self._promise(now, queue, priority, ahead, place).quantiles(offsets)
        if queue.capacity == 0 and not queue.plan:
            # The longer an outage has lasted, the longer it will (Lindy).
            outage = max(OUTAGE, now - queue.unstaffed_since if queue.unstaffed_since is not None else 0.0)
            p10, p25, p50, p75, p90 = (
                quantile + factor * outage for quantile, factor in zip((p10, p25, p50, p75, p90), OUTAGE_FACTORS, strict=True)
            )
        return Forecast(
            status="no_agents" if queue.capacity == 0 else "ok",
            basis=self._basis(queue),
            mean=0.3 * p10 + 0.4 * p50 + 0.3 * p90,
            p10=p10,
            p25=p25,
            p50=p50,
            p75=p75,
            p90=p90,
            ahead=ahead,
            capacity=queue.capacity,
            outcomes=offsets.seen if offsets is not None else 0,
        )


def _net(rate: float, overtaking: float) -> float:
    """Starts per second that are left for one's own priority: a tenth at least, or one would wait for ever."""
    return max(rate - overtaking, 0.1 * rate)
