"""One queue as the estimator sees it: who stands in line, who works it, and the rates that are measured there."""

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from ewt.calibration import Offsets, Promise
from ewt.drain import Flow, Pace, Rate, Usual

Channel: TypeAlias = Literal["voice", "sms"]

AHT_GUESS: Mapping[Channel, float] = {"voice": 240.0, "sms": 720.0}
"""Seconds of handle time when the operator has no guess. Rather too low than too high: it is unlearned faster."""

PATIENCE_GUESS = 300.0
GHOST_LIFE = 7200.0
"""Seconds after which a contact who left the line is no longer waited for."""
ENOUGH = 0.9
"""Of its usual staff: a queue with less is short, and so much will come back."""
ABSENCE = 300.0
"""Seconds that half of all absences last at least."""
ALIKE = 1.5
"""Absences that end within this factor are taken together."""
MOST_LEFT = 100
LEAST_OPEN = 0.1
"""However many agents are held up by chats, a line moves by this share of them."""


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """One queue and the operator's guesses."""

    id: str
    channel: Channel = "voice"
    aht_guess: float | None = None
    """Seconds of handle time; None: what other queues of the channel have learned, or `AHT_GUESS`."""
    patience_guess: float = PATIENCE_GUESS
    """Seconds a caller waits before hanging up."""


Place: TypeAlias = tuple[float, int]
"""The order within one priority: since when, and a number that makes it unique."""


@dataclass(slots=True)
class Contact:
    """Somebody in line, or being served."""

    queue: "Queue"
    priority: int
    place: Place
    joined: float
    queued: bool = False
    """Nobody was free on joining: only such contacts tell how fast a line drains."""
    promise: Promise | None = None
    """What they were promised; None when there is nothing to learn from them."""
    agent: str | None = None
    """Who serves them."""


@dataclass(slots=True)
class Agent:
    """Somebody who is logged in."""

    queues: tuple["Queue", ...]
    slots: int
    voice_free: int = 0
    chat_free: int = 0
    blocked: bool = False
    """Has too many chats to take a call."""


def _pace(weight: float) -> Pace:
    return Pace((15.0, 1000.0), weight)


@dataclass(slots=True)
class Queue:
    """Counters and what is learned. Exposures are counted up to `at`; call `tick` before any counter changes."""

    spec: QueueSpec
    at: float = -math.inf
    lines: dict[int, list[Place]] = field(default_factory=dict)
    waiting: int = 0
    backlog: int = 0
    """Of those waiting, the ones who were `queued`."""
    agents: int = 0
    capacity: int = 0
    """Agents (voice) or chat slots (SMS) of those logged in, busy or not."""
    free: int = 0
    busy: int = 0
    blocked: int = 0
    """Agents who can take no call because of their chats."""
    blended: bool = False
    """There have been such."""
    left: list[tuple[float, int]] = field(default_factory=list)
    """Capacity that went and has not come back: when, and how much; the latest last."""
    shared: dict[str, int] = field(default_factory=dict)
    """Other queue to the number of agents who work both."""
    plan: tuple[tuple[float, int], ...] = ()
    # What is learned.
    own: Pace = field(default_factory=lambda: _pace(10.0))
    pool: Pace = field(default_factory=lambda: _pace(10.0))
    service: Pace = field(default_factory=lambda: Pace((20.0, 500.0), 4.0))
    hangups: Rate = field(default_factory=lambda: Rate(120, 4))
    usual: Usual = field(default_factory=Usual)
    """The capacity."""
    unblocked: Usual = field(default_factory=Usual)
    """The share of agents without too many chats; nothing while there never were any."""
    starts: dict[int, Flow] = field(default_factory=dict)
    offsets: dict[int, Offsets] = field(default_factory=dict)
    queued_starts: int = 0
    ghosts: dict[int, list[tuple[Place, float, Promise]]] = field(default_factory=dict)
    """By priority, a heap of place, time of joining and promise."""

    @property
    def aht_guess(self) -> float:
        """Seconds."""
        return self.spec.aht_guess or AHT_GUESS[self.spec.channel]

    def service_rate(self, live: float = 0.0) -> float:
        """Contacts one busy agent ends per second; also what a line drains by for each agent until it was seen draining."""
        return self.service.value(1.0 / self.aht_guess, live * self.busy)

    def share(self, now: float) -> float:
        """Of the capacity, what is usually not blocked by chats."""
        if not self.blended:
            return 1.0
        return self.unblocked.value(self._open, now, means=self.capacity > 0, unknown=1.0)

    @property
    def _open(self) -> float:
        return 1.0 - self.blocked / max(1, self.capacity)

    def strength(self, now: float) -> float:
        """The capacity that works on the line: half what is open this moment, half what usually is.

        Chats end and begin while one waits, so neither alone is right.
        """
        if not self.blended:
            return self.capacity
        return max(LEAST_OPEN * self.capacity, 0.5 * (self.capacity - self.blocked) + 0.5 * self.share(now) * self.capacity)

    def enough(self, now: float) -> float:
        """The capacity that will come back when there is less."""
        return ENOUGH * self.usual.value(self.capacity, now, means=self.capacity > 0, unknown=0.0)

    def block(self, now: float, more: int) -> None:
        """So many agents more (or, below 0, less) can take no call because of their chats."""
        self.tick(now)
        self.blended = True
        self.unblocked.count(self._open, now, means=self.capacity > 0)
        self.blocked += more

    def staffed(self, now: float, more: int) -> None:
        """So much capacity came, or (below 0) went. Who comes is taken for who went last."""
        self.tick(now)
        self.count_staff(now)
        self.capacity += more
        if more < 0:
            if self.left and self.left[-1][0] == now:
                more -= self.left.pop()[1]
            self.left = [*self.left[-MOST_LEFT:], (now, -more)]
        while more > 0 and self.left:
            at, gone = self.left.pop()
            if gone > more:
                self.left.append((at, gone - more))
            more -= gone

    def count_staff(self, now: float) -> None:
        """Count what staff there has been until *now*. To be called before it changes."""
        self.usual.count(self.capacity, now, means=self.capacity > 0)
        if self.blended:
            self.unblocked.count(self._open, now, means=self.capacity > 0)

    def returning(self, now: float) -> list[tuple[float, float]]:
        """When how much capacity will have come back, half of the time: (seconds from now, capacity), the first first.

        An absence that has lasted long will last long (Lindy: the rest of one of Pareto length is about as long as what has
        passed), and nobody is waited for who would be more than enough.
        """
        if not self.left and self.capacity:
            return []
        enough = self.enough(now)
        missing = enough - self.capacity
        coming: list[tuple[float, float]] = []
        for at, gone in reversed(self.left):
            if missing <= 0:
                break
            more, missing = min(gone, missing), missing - gone
            rest = max(ABSENCE, now - at)
            if coming and rest <= ALIKE * coming[-1][0]:
                coming[-1] = (coming[-1][0], coming[-1][1] + more)
            else:
                coming.append((rest, more))
        if not coming and self.capacity == 0:
            coming.append((ABSENCE, max(1.0, enough)))
        return coming

    def tick(self, now: float) -> None:
        """Count exposures up to *now*. Earlier than before counts nothing."""
        passed = now - self.at
        if passed <= 0:
            return
        if self.at > -math.inf:
            exposure = self.exposure(now)
            self.own.gap += exposure
            self.pool.gap += exposure
            self.hangups.exposure += passed * self.waiting
            self.service.gap += passed * self.busy
        self.at = now

    def live(self, now: float) -> float:
        """Seconds since exposures were counted."""
        return max(0.0, now - self.at) if self.at > -math.inf else 0.0

    def exposure(self, now: float) -> float:
        """The same in seconds of work on a backlog."""
        return self.live(now) * self.strength(now) if self.backlog else 0.0

    def ahead(self, priority: int, place: Place | None = None) -> int:
        """Who goes before a newcomer of this priority, or before one who has this place."""
        count = 0
        for other, line in self.lines.items():
            if other < priority or (other == priority and place is None):
                count += len(line)
            elif other == priority and place is not None:
                count += bisect_left(line, place)
        return count

    def enter(self, contact: Contact) -> None:
        """Put a contact into the line."""
        insort(self.lines.setdefault(contact.priority, []), contact.place)
        self.waiting += 1
        self.backlog += contact.queued

    def remove(self, contact: Contact) -> None:
        """Take a contact out of the line."""
        line = self.lines[contact.priority]
        del line[bisect_left(line, contact.place)]
        self.waiting -= 1
        self.backlog -= contact.queued

    def learn(self, priority: int, promise: Promise, wait: float) -> None:
        """One of this priority who was promised this has waited so long, or would have."""
        self.offsets.setdefault(priority, Offsets()).learn(promise, wait)

    def follow(self, now: float, contact: Contact, promise: Promise) -> None:
        """The contact has left the line as a ghost."""
        heap = self.ghosts.setdefault(contact.priority, [])
        while heap and now - heap[0][1] > GHOST_LIFE:
            heapq.heappop(heap)
        heapq.heappush(heap, (contact.place, contact.joined, promise))

    def settle_ghosts(self, now: float, before: tuple[int, Place] | None = None) -> None:
        """Learn from the ghosts who would have been taken by now: all, or those *before* a priority and place."""
        for priority, heap in self.ghosts.items():
            if before is not None and priority > before[0]:
                continue
            while heap and (before is None or priority < before[0] or heap[0][0] < before[1]):
                _, joined, promise = heapq.heappop(heap)
                if now - joined <= GHOST_LIFE:
                    self.learn(priority, promise, now - joined)

    # --- all of it, elsewhere

    def freeze(self) -> dict[str, Any]:
        """Everything but who stands in line, exactly; the opposite is `thaw`."""
        return {
            "spec": _values(self.spec),
            "at": self.at,
            "agents": self.agents,
            "capacity": self.capacity,
            "free": self.free,
            "busy": self.busy,
            "blocked": self.blocked,
            "blended": self.blended,
            "left": self.left,
            "shared": self.shared,
            "plan": self.plan,
            "own": _values(self.own),
            "pool": _values(self.pool),
            "service": _values(self.service),
            "hangups": _values(self.hangups),
            "usual": _values(self.usual),
            "unblocked": _values(self.unblocked),
            "starts": [(priority, *_values(flow)) for priority, flow in self.starts.items()],
            "offsets": [(priority, *_values(offsets)) for priority, offsets in self.offsets.items()],
            "queued_starts": self.queued_starts,
            "ghosts": list(self.ghosts.items()),
        }

    @classmethod
    def thaw(cls, frozen: Mapping[str, Any]) -> "Queue":
        """As it was when it was frozen, with nobody in line."""
        return cls(
            QueueSpec(*frozen["spec"]),
            at=frozen["at"],
            agents=frozen["agents"],
            capacity=frozen["capacity"],
            free=frozen["free"],
            busy=frozen["busy"],
            blocked=frozen["blocked"],
            blended=frozen["blended"],
            left=[(at, gone) for at, gone in frozen["left"]],
            shared=dict(frozen["shared"]),
            plan=tuple((at, capacity) for at, capacity in frozen["plan"]),
            own=_pace_of(frozen["own"]),
            pool=_pace_of(frozen["pool"]),
            service=_pace_of(frozen["service"]),
            hangups=Rate(*frozen["hangups"]),
            usual=Usual(*frozen["usual"]),
            unblocked=Usual(*frozen["unblocked"]),
            starts={priority: Flow(*flow) for priority, *flow in frozen["starts"]},
            offsets={priority: _offsets_of(offsets) for priority, *offsets in frozen["offsets"]},
            queued_starts=frozen["queued_starts"],
            ghosts={
                priority: [((since, number), joined, Promise(*promise)) for (since, number), joined, promise in heap]
                for priority, heap in frozen["ghosts"]
            },
        )

    # --- what is learned, elsewhere and later

    def inherit(self, peers: list["Queue"]) -> None:
        """Begin with what the *peers*, queues of the same channel, have learned: it is a better guess than a number for all."""
        if not peers:
            return
        if self.spec.aht_guess is None:
            self.service.base = _geometric([peer.service_rate() for peer in peers])
        self.hangups.base = _geometric([peer.hangups.value(1.0 / peer.spec.patience_guess) for peer in peers])

    def fade(self) -> None:
        """Trust what was learned long ago no more than a prior."""
        drain = self.service_rate()
        self.own.fade(drain)
        self.pool.fade(drain)
        self.hangups.fade(1.0 / self.spec.patience_guess)
        self.service.fade(1.0 / self.aht_guess)

    def dump(self, now: float) -> dict[str, Any]:
        """What has been learned until *now*, fit for JSON."""
        live, exposure, staffed = self.live(now), self.exposure(now), self.capacity > 0
        return {
            "own": self.own.dump(exposure),
            "pool": self.pool.dump(exposure),
            "service": self.service.dump(live * self.busy),
            "hangups": self.hangups.dump(live * self.waiting),
            "usual": self.usual.dump(self.capacity, now, means=staffed),
            "unblocked": self.unblocked.dump(self._open, now, means=staffed) if self.blended else None,
            "queued_starts": self.queued_starts,
            "starts": {str(priority): [flow.rate, flow.at] for priority, flow in self.starts.items()},
            "offsets": {str(priority): offsets.dump() for priority, offsets in self.offsets.items()},
        }

    def load(self, dumped: Mapping[str, Any], at: float) -> None:
        """Take back what `dump` gave as of *at*; what has been since then does not count."""
        self.at = max(self.at, at)
        self.own.load(dumped["own"])
        self.pool.load(dumped["pool"])
        self.service.load(dumped["service"])
        self.hangups.load(dumped["hangups"])
        self.usual.load(dumped["usual"], at)
        if dumped["unblocked"] is not None:
            self.blended = True
            self.unblocked.load(dumped["unblocked"], at)
        self.queued_starts = dumped["queued_starts"]
        self.starts = {int(priority): Flow(*flow) for priority, flow in dumped["starts"].items()}
        self.offsets = {int(priority): Offsets.load(offsets) for priority, offsets in dumped["offsets"].items()}


def _values(record: Any) -> list[Any]:
    """The fields of a dataclass with slots, in their order."""
    return [getattr(record, name) for name in record.__slots__]


def _pace_of(values: Sequence[Any]) -> Pace:
    (short, long), *rest = values
    return Pace((short, long), *rest)


def _offsets_of(values: Sequence[Any]) -> Offsets:
    levels, seen, own_weight, (n, sx, sy, sxx, sxy) = values
    return Offsets(list(levels), seen, own_weight, (n, sx, sy, sxx, sxy))


def _geometric(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))
