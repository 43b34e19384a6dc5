"""What others answer when they are asked for a wait: formulas of products and of the literature.

Each is told everything that the estimator of this house is told, and works out what its formula needs.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bridge.acd import WaitObserver
from bridge.events import Channel
from bridge.hindsight import Told
from ewt.drain import line_time
from ewt.estimator import Estimator, QueueSpec

LONGEST = 7200.0
RECENT = 600.0
"""Seconds of the mean over recent waits."""
HANDLED_WITHIN = 3600.0
"""Seconds of the mean over handling times."""
REMEMBERED = 100
"""Waits that are remembered for each length of the line."""


class Candidate(WaitObserver, Protocol):
    """Somebody who forecasts waits."""

    name: str

    def told(self, now: float, queue: str, priority: int) -> Told:
        """How long a newcomer would wait."""


class Sidetone(Estimator):
    """The estimator that runs in the server."""

    def __init__(
        self,
        channels: Mapping[str, Channel],
        aht_guess: float,
        patience_guess: float,
        plans: Mapping[str, list[tuple[float, int]]] | None = None,
    ) -> None:
        super().__init__(QueueSpec(queue, channel, aht_guess, patience_guess) for queue, channel in channels.items())
        self.name = "Sidetone" if plans is None else "Sidetone with plan"
        for queue, steps in (plans or {}).items():
            self.plan(queue, steps)

    def told(self, now: float, queue: str, priority: int) -> Told:
        """Its distribution."""
        forecast = self.forecast(now, queue, priority)
        assert forecast.mean is not None
        assert forecast.p50 is not None
        return Told(forecast.mean, forecast.p50, forecast.quantiles)


@dataclass(slots=True)
class _Waits:
    """Somebody in line."""

    queue: str
    priority: int
    at: float
    ahead: int
    taken_at: float | None = None


@dataclass(slots=True)
class _Seen:
    """What is counted of a queue."""

    waiting: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    capacity: int = 0
    handled: deque[tuple[float, float]] = field(default_factory=deque)
    """When, and how long it took."""
    handled_sum: float = 0.0


class Rival:
    """Knows the line, the staff and the handling time of the last hour; a formula does the rest.

    Args:
        channels: Every queue and its channel.
        aht_guess: Handling time until one was seen, seconds.
        patience_guess: Seconds after which people hang up, until some were seen to.
    """

    name: str

    def __init__(self, channels: Mapping[str, Channel], aht_guess: float, patience_guess: float) -> None:
        self._channels = channels
        self._aht_guess = aht_guess
        self._patience_guess = patience_guess
        self._queues = {queue: _Seen() for queue in channels}
        self._agents: dict[str, tuple[tuple[str, ...], int]] = {}
        self._contacts: dict[str, _Waits] = {}

    def point(self, now: float, queue: str, priority: int) -> float:
        """The formula: seconds."""
        raise NotImplementedError

    def told(self, now: float, queue: str, priority: int) -> Told:
        """One number."""
        seconds = min(LONGEST, max(0.0, self.point(now, queue, priority)))
        return Told(seconds, seconds)

    # --- what formulas are made of

    def ahead(self, queue: str, priority: int) -> int:
        """Who goes before a newcomer."""
        return sum(n for other, n in self._queues[queue].waiting.items() if other <= priority)

    def capacity(self, now: float, agent: str, voice_free: int, chat_free: int) -> None:
        """Who is free is of no use to these formulas: they are asked when nobody is."""

    def staff(self, queue: str) -> float:
        """Agents, or places for chats; never nothing."""
        return max(self._queues[queue].capacity, 1e-4)

    def aht(self, now: float, queue: str) -> float:
        """Mean handling time of the last hour, seconds."""
        seen = self._queues[queue]
        while len(seen.handled) > 1 and seen.handled[0][0] < now - HANDLED_WITHIN:
            seen.handled_sum -= seen.handled.popleft()[1]
        return max(1.0, seen.handled_sum / len(seen.handled)) if seen.handled else self._aht_guess

    def waited(self, now: float, contact: _Waits, agent: str) -> None:
        """Somebody was taken from the line, for formulas that learn from that."""

    def hung_up(self, now: float, contact: _Waits) -> None:
        """Somebody left the line, for formulas that learn from that."""

    def handled(self, now: float, contact: _Waits, agent: str, seconds: float) -> None:
        """Somebody was finished, for formulas that learn from that."""

    # --- what happens

    def login(self, now: float, agent: str, queues: Iterable[str], slots: int) -> None:
        """Count the staff."""
        self.logout(now, agent)
        self._agents[agent] = (tuple(queues), slots)
        self._count(agent, 1)

    def logout(self, now: float, agent: str) -> None:  # noqa: ARG002  # the protocol's
        """Count the staff."""
        if agent in self._agents:
            self._count(agent, -1)
            del self._agents[agent]

    def _count(self, agent: str, sign: int) -> None:
        queues, slots = self._agents[agent]
        for queue in queues:
            self._queues[queue].capacity += sign * (1 if self._channels[queue] == "voice" else slots)

    def joined(self, now: float, contact: str, queue: str, priority: int, since: float | None = None) -> None:  # noqa: ARG002
        """Count the line."""
        self._contacts[contact] = _Waits(queue, priority, now, self.ahead(queue, priority))
        self._queues[queue].waiting[priority] += 1

    def started(self, now: float, contact: str, agent: str, queue: str | None = None) -> None:  # noqa: ARG002
        """Count the line."""
        who = self._contacts[contact]
        self.waited(now, who, agent)
        self._queues[who.queue].waiting[who.priority] -= 1
        who.taken_at = now

    def abandoned(self, now: float, contact: str, *, ghost: bool = True) -> None:  # noqa: ARG002
        """Count the line."""
        who = self._contacts.pop(contact)
        self.hung_up(now, who)
        self._queues[who.queue].waiting[who.priority] -= 1

    def ended(self, now: float, contact: str, agent: str, *, served: bool = True) -> None:  # noqa: ARG002
        """Remember how long it took."""
        who = self._contacts.pop(contact)
        assert who.taken_at is not None
        seconds, seen = now - who.taken_at, self._queues[who.queue]
        seen.handled.append((now, seconds))
        seen.handled_sum += seconds
        self.handled(now, who, agent, seconds)


class Asterisk(Rival):
    """`app_queue`: of every wait that was answered a quarter is taken over; 0 before the first."""

    name = "Asterisk's average"

    def __init__(self, channels: Mapping[str, Channel], aht_guess: float, patience_guess: float) -> None:
        super().__init__(channels, aht_guess, patience_guess)
        self._average: dict[str, float] = {}

    def waited(self, now: float, contact: _Waits, agent: str) -> None:  # noqa: ARG002
        """Take it over."""
        wait = now - contact.at
        before = self._average.get(contact.queue, wait)
        self._average[contact.queue] = before + (wait - before) / 4.0

    def point(self, now: float, queue: str, priority: int) -> float:  # noqa: ARG002
        """Where the average stands."""
        return self._average.get(queue, 0.0)


class TenMinutes(Rival):
    """The mean wait of those who were answered within ten minutes, as many products have it."""

    name = "10-minute mean"

    def __init__(self, channels: Mapping[str, Channel], aht_guess: float, patience_guess: float) -> None:
        super().__init__(channels, aht_guess, patience_guess)
        self._recent: dict[str, deque[tuple[float, float]]] = {queue: deque() for queue in channels}

    def waited(self, now: float, contact: _Waits, agent: str) -> None:  # noqa: ARG002
        """Remember it."""
        self._recent[contact.queue].append((now, now - contact.at))

    def point(self, now: float, queue: str, priority: int) -> float:  # noqa: ARG002
        """The mean; 0 when there were none."""
        recent = self._recent[queue]
        while recent and recent[0][0] < now - RECENT:
            recent.popleft()
        return sum(wait for _, wait in recent) / len(recent) if recent else 0.0


class Position(Rival):
    """Position x handling time / agents: the formula that most products know."""

    name = "position x AHT / agents"

    def point(self, now: float, queue: str, priority: int) -> float:
        """The formula."""
        return (self.ahead(queue, priority) + 1) * self.aht(now, queue) / self.staff(queue)


class Genesys(Position):
    """Position x AHT / (agents x the share of their time that this queue gets), as Genesys' Stat Server is described."""

    name = "Genesys-like"

    def __init__(self, channels: Mapping[str, Channel], aht_guess: float, patience_guess: float) -> None:
        super().__init__(channels, aht_guess, patience_guess)
        self._own: dict[str, float] = defaultdict(float)
        self._all: dict[str, float] = defaultdict(float)
        """What the queue's agents have worked, for whatever queue."""

    def handled(self, now: float, contact: _Waits, agent: str, seconds: float) -> None:  # noqa: ARG002
        """Add up the agents' time."""
        self._own[contact.queue] += seconds
        queues, _ = self._agents.get(agent, ((contact.queue,), 0))
        for queue in queues:
            self._all[queue] += seconds

    def point(self, now: float, queue: str, priority: int) -> float:
        """The formula."""
        share = self._own[queue] / self._all[queue] if self._all[queue] else 1.0
        return super().point(now, queue, priority) / max(share, 0.01)


class LastToEnter(Rival):
    """LES: the wait of the last of this queue and priority who was taken (Ibrahim and Whitt 2009)."""

    name = "last to enter (LES)"

    def __init__(self, channels: Mapping[str, Channel], aht_guess: float, patience_guess: float) -> None:
        super().__init__(channels, aht_guess, patience_guess)
        self._last: dict[tuple[str, int], float] = {}

    def waited(self, now: float, contact: _Waits, agent: str) -> None:  # noqa: ARG002
        """Remember it."""
        self._last[contact.queue, contact.priority] = now - contact.at

    def point(self, now: float, queue: str, priority: int) -> float:  # noqa: ARG002
        """The last one; 0 before the first."""
        return self._last.get((queue, priority), 0.0)


class SameLength(LastToEnter):
    """AvgC-LES: the mean wait of those who found a line of the same length (Thiongane, Chan and L'Ecuyer 2016)."""

    name = "same length (AvgC-LES)"

    def __init__(self, channels: Mapping[str, Channel], aht_guess: float, patience_guess: float) -> None:
        super().__init__(channels, aht_guess, patience_guess)
        self._by_length: dict[tuple[str, int], dict[int, deque[float]]] = defaultdict(dict)

    def waited(self, now: float, contact: _Waits, agent: str) -> None:
        """Remember it with what they found."""
        super().waited(now, contact, agent)
        if now > contact.at:
            lengths = self._by_length[contact.queue, contact.priority]
            lengths.setdefault(contact.ahead, deque(maxlen=REMEMBERED)).append(now - contact.at)

    def point(self, now: float, queue: str, priority: int) -> float:
        """Of the same length, else of the nearest one in proportion; before any, the last one to enter."""
        lengths, ahead = self._by_length[queue, priority], self.ahead(queue, priority)
        if not lengths:
            return super().point(now, queue, priority)
        nearest = min(lengths, key=lambda length: (abs(length - ahead), length))
        return sum(lengths[nearest]) / len(lengths[nearest]) * (ahead + 1) / (nearest + 1)


class WithHangUps(Rival):
    """QL_m: the sum of 1/(s mu + i theta) for everybody ahead (Whitt 1999)."""

    name = "hang-ups too (QL_m)"
    _WEIGHT = 2.0
    """Hang-ups that the guess is worth."""

    def __init__(self, channels: Mapping[str, Channel], aht_guess: float, patience_guess: float) -> None:
        super().__init__(channels, aht_guess, patience_guess)
        self._hang_ups: dict[str, float] = defaultdict(float)
        self._patience: dict[str, float] = defaultdict(float)
        """Seconds that people have waited, whatever came of it."""

    def waited(self, now: float, contact: _Waits, agent: str) -> None:  # noqa: ARG002
        """They waited, and did not hang up."""
        self._patience[contact.queue] += now - contact.at

    def hung_up(self, now: float, contact: _Waits) -> None:
        """They did."""
        self._patience[contact.queue] += now - contact.at
        self._hang_ups[contact.queue] += 1.0

    def point(self, now: float, queue: str, priority: int) -> float:
        """The formula."""
        waited = self._patience[queue] + self._WEIGHT * self._patience_guess
        theta = (self._hang_ups[queue] + self._WEIGHT) / waited
        rate = self.staff(queue) / self.aht(now, queue)
        return line_time(self.ahead(queue, priority), rate, theta)


RIVALS: tuple[type[Rival], ...] = (Asterisk, TenMinutes, LastToEnter, SameLength, Position, Genesys, WithHangUps)


def rivals(channels: Mapping[str, Channel], aht_guess: float, patience_guess: float) -> list[Rival]:
    """One of each, who knows nothing yet."""
    return [rival(channels, aht_guess, patience_guess) for rival in RIVALS]
