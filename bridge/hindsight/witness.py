"""Sees everything that the estimator is told, and keeps what it forecast until it is known what came of it.

It judges from outside: it knows nothing of how the estimator learns, and decides by the events alone when a turn had come.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import msgspec

from bridge.acd import WaitObserver
from bridge.events import Channel
from bridge.hindsight.scores import Outcome
from ewt.forecast import Forecast

GHOST_LIFE = 7200.0
"""Seconds after which one who left the line is followed no longer."""
PACE_WINDOW = 900.0
"""Seconds over which the pace of a line is told."""
PACE_LEAST = 60.0
"""Seconds with a line, within the window, without which its pace is not known."""
_Order: TypeAlias = tuple[int, float, int]
"""Priority, since when, and a number: who comes first."""


class Estimates(WaitObserver, Protocol):
    """The estimator: `ewt.estimator.Estimator`."""

    def forecast(self, now: float, queue: str, priority: int = 1, extra: float = 0.0) -> Forecast:
        """The wait of a newcomer."""

    def forecast_waiting(self, now: float, contact: str) -> Forecast:
        """What is left of the wait of one in line."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a line moved in the last quarter of an hour, counted while somebody stood in it."""

    drain_per_min: float
    """Contacts whom agents took from it, by the minute."""
    hangups_per_min: float
    """Contacts who left it, by the minute."""


class _Watched(msgspec.Struct, frozen=True, array_like=True):
    queue: str
    order: _Order
    at: float
    forecast: Forecast | None
    """None when somebody was free: nothing to judge."""


class _LineDump(msgspec.Struct, frozen=True, array_like=True):
    channel: Channel
    waiting: int
    ghosts: dict[str, _Watched]
    since: float
    spells: list[tuple[float, float]]
    taken: list[float]
    left: list[float]


class WitnessDump(msgspec.Struct, frozen=True):
    """Everything that a `Witness` has."""

    lines: dict[str, _LineDump]
    agents: dict[str, tuple[str, ...]]
    waiting: dict[str, _Watched]
    outcomes: list[Outcome]
    numbers: int


@dataclass(slots=True)
class _Line:
    """What is counted of one queue."""

    channel: Channel
    waiting: int = 0
    ghosts: dict[str, _Watched] = field(default_factory=dict)
    """In the order in which they left."""
    since: float = 0.0
    """When somebody began to stand in line; counts while `waiting`."""
    spells: deque[tuple[float, float]] = field(default_factory=deque)
    """From when to when somebody stood in line."""
    taken: deque[float] = field(default_factory=deque)
    left: deque[float] = field(default_factory=deque)

    def dump(self) -> _LineDump:
        return _LineDump(
            self.channel, self.waiting, self.ghosts, self.since, list(self.spells), list(self.taken), list(self.left)
        )

    @classmethod
    def load(cls, dumped: _LineDump) -> "_Line":
        return cls(
            dumped.channel,
            dumped.waiting,
            dict(dumped.ghosts),
            dumped.since,
            deque(dumped.spells),
            deque(dumped.taken),
            deque(dumped.left),
        )

    def enter(self, now: float) -> None:
        if self.waiting == 0:
            self.since = now
        self.waiting += 1

    def leave(self, now: float) -> None:
        self.waiting -= 1
        if self.waiting == 0:
            self.spells.append((self.since, now))
        self._forget(now - PACE_WINDOW)

    def follow(self, contact: str, ghost: _Watched, now: float) -> None:
        """Keep one who has left; those whose turn has not come for too long are forgotten."""
        while self.ghosts and now - next(iter(self.ghosts.values())).at > GHOST_LIFE:
            del self.ghosts[next(iter(self.ghosts))]
        self.ghosts[contact] = ghost

    def _forget(self, before: float) -> None:
        for times in (self.taken, self.left):
            while times and times[0] < before:
                times.popleft()
        while self.spells and self.spells[0][1] < before:
            self.spells.popleft()

    def pace(self, now: float) -> Pace | None:
        first = now - PACE_WINDOW
        spells = [*self.spells, *([(self.since, now)] if self.waiting else [])]
        seconds = sum(max(0.0, end - max(begin, first)) for begin, end in spells)
        if seconds < PACE_LEAST:
            return None
        taken, left = (sum(1 for at in times if at >= first) for times in (self.taken, self.left))
        return Pace(60.0 * taken / seconds, 60.0 * left / seconds)


class Witness:
    """Stands between the floor and the estimator (a `bridge.acd.WaitObserver`).

    The turn of one who left the line has come when an agent takes somebody of the same queue who stood behind them, or when an
    agent of the queue is free and nobody waits. Whoever is moved to another line is not judged for the first.

    Args:
        estimator: Is told everything, and asked when somebody joins a line.
        channels: Every queue and its channel.
    """

    def __init__(self, estimator: Estimates, channels: Mapping[str, Channel]) -> None:
        self._estimator = estimator
        self._lines: dict[str, _Line] = {}
        self._agents: dict[str, tuple[str, ...]] = {}
        self._waiting: dict[str, _Watched] = {}
        self._outcomes: list[Outcome] = []
        self._numbers = 0
        self.know(channels)

    def know(self, channels: Mapping[str, Channel]) -> None:
        """Queues may come, or become ones of another channel while nobody is in them; what is known of the others stays."""
        for queue, channel in channels.items():
            if queue not in self._lines or self._lines[queue].channel != channel:
                self._lines[queue] = _Line(channel)

    def outcomes(self) -> list[Outcome]:
        """What has become known since this was last asked."""
        known, self._outcomes = self._outcomes, []
        return known

    def pace(self, queue: str, now: float) -> Pace | None:
        """How the line of *queue* moves; None when nobody has stood in it for long enough to say."""
        line = self._lines.get(queue)
        return None if line is None else line.pace(now)

    # --- as it is, elsewhere

    def dump(self) -> WitnessDump:
        """Everything, for `load`; not the estimator."""
        return WitnessDump(
            lines={name: line.dump() for name, line in self._lines.items()},
            agents=self._agents,
            waiting=self._waiting,
            outcomes=list(self._outcomes),
            numbers=self._numbers,
        )

    def load(self, dumped: WitnessDump) -> None:
        """Be as the one that was dumped."""
        self._lines = {name: _Line.load(line) for name, line in dumped.lines.items()}
        self._agents = dict(dumped.agents)
        self._waiting = dict(dumped.waiting)
        self._outcomes = list(dumped.outcomes)
        self._numbers = dumped.numbers

    # --- what happens

    def login(self, now: float, agent: str, queues: Iterable[str], slots: int) -> None:
        """Pass it on."""
        self._agents[agent] = tuple(queues)
        self._estimator.login(now, agent, self._agents[agent], slots)

    def logout(self, now: float, agent: str) -> None:
        """Pass it on."""
        self._agents.pop(agent, None)
        self._estimator.logout(now, agent)

    def capacity(self, now: float, agent: str, voice_free: int, chat_free: int) -> None:
        """Pass it on. A free agent would have taken whoever had stayed in an empty line."""
        self._estimator.capacity(now, agent, voice_free, chat_free)
        for queue in self._agents.get(agent, ()):
            line = self._lines.get(queue)
            if (
                line is not None
                and line.ghosts
                and not line.waiting
                and (voice_free if line.channel == "voice" else chat_free) > 0
            ):
                self._settle(line, now)

    def joined(self, now: float, contact: str, queue: str, priority: int, since: float | None = None) -> None:
        """Pass it on, and keep what the estimator says of this contact."""
        before = self._estimator.forecast(now, queue, priority)
        self._estimator.joined(now, contact, queue, priority, since)
        line = self._lines.get(queue)
        if line is None or contact in self._waiting:
            return
        forecast = None if before.status == "free_agent" else self._estimator.forecast_waiting(now, contact)
        line.ghosts.pop(contact, None)  # one who has come back is no ghost
        self._numbers += 1
        order = (priority, now if since is None else since, self._numbers)
        self._waiting[contact] = _Watched(queue, order, now, forecast)
        line.enter(now)

    def started(self, now: float, contact: str, agent: str, queue: str | None = None) -> None:
        """Pass it on. Whoever was told something now knows, and so do those who would have been before them."""
        self._estimator.started(now, contact, agent, queue)
        watched = self._waiting.pop(contact, None)
        if watched is None:
            return
        line = self._lines[watched.queue]
        line.taken.append(now)
        line.leave(now)
        self._known(contact, watched, now, ghost=False)
        self._settle(line, now, before=watched.order)

    def abandoned(self, now: float, contact: str, *, ghost: bool = True) -> None:
        """Pass it on, and follow a *ghost*."""
        self._estimator.abandoned(now, contact, ghost=ghost)
        watched = self._waiting.pop(contact, None)
        if watched is None:
            return
        line = self._lines[watched.queue]
        if ghost:
            line.left.append(now)
        line.leave(now)
        if ghost and watched.forecast is not None:
            line.follow(contact, watched, now)

    def deflected(self, now: float, contact: str, queue: str, priority: int = 1) -> None:
        """A contact went elsewhere instead of joining the line: they are followed as if they had joined it and left at once."""
        line = self._lines.get(queue)
        forecast = self._estimator.forecast(now, queue, priority)
        if line is None or contact in self._waiting or forecast.status == "free_agent":
            return
        self._numbers += 1
        line.follow(contact, _Watched(queue, (priority, now, self._numbers), now, forecast), now)

    def ended(self, now: float, contact: str, agent: str, *, served: bool = True) -> None:
        """Pass it on."""
        self._estimator.ended(now, contact, agent, served=served)

    # --- how it is done

    def _settle(self, line: _Line, now: float, before: _Order | None = None) -> None:
        """The turn of these ghosts has come: of all, or of those *before* a place."""
        due = [contact for contact, ghost in line.ghosts.items() if before is None or ghost.order < before]
        for contact in due:
            ghost = line.ghosts.pop(contact)
            if now - ghost.at <= GHOST_LIFE:
                self._known(contact, ghost, now, ghost=True)

    def _known(self, contact: str, watched: _Watched, now: float, *, ghost: bool) -> None:
        forecast = watched.forecast
        if forecast is None or forecast.mean is None or forecast.quantiles is None:
            return
        p10, p25, p50, p75, p90 = forecast.quantiles
        self._outcomes.append(
            Outcome(
                at=watched.at,
                session=contact.rpartition("/")[0] or contact,
                queue=watched.queue,
                priority=watched.order[0],
                status=forecast.status,
                basis=forecast.basis,
                ahead=forecast.ahead,
                capacity=forecast.capacity,
                mean=forecast.mean,
                p10=p10,
                p25=p25,
                p50=p50,
                p75=p75,
                p90=p90,
                wait=now - watched.at,
                ghost=ghost,
            )
        )
