"""Observations over a wire: numbered, put back into order, heard once, and not believed any more when some are missing.

Where the lines are kept, a `Recorder` numbers what happens. Wherever else the waits are asked for, a `Feed` tells an estimator
the same things in the same order, so that it gives the same numbers.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ewt.estimator import Estimator, Snapshot
from ewt.forecast import Forecast

What: TypeAlias = Literal["login", "logout", "capacity", "joined", "started", "abandoned", "ended"]

LATE = 2.0
"""Seconds that an event is waited for when later ones are there already."""
STALE = 30.0
"""Seconds without a sign of life after which nothing is known for sure."""


@dataclass(frozen=True, slots=True)
class Event:
    """One observation; of the fields below only those mean something that the method of `Estimator` called *what* takes."""

    number: int
    """1, 2, 3, ... of one recorder."""
    at: float
    what: What
    agent: str = ""
    contact: str = ""
    queue: str | None = None
    queues: tuple[str, ...] = ()
    slots: int = 0
    voice_free: int = 0
    chat_free: int = 0
    priority: int = 1
    since: float | None = None
    counts: bool = True
    """`ghost` of one who left, `served` of one who ended."""


class Recorder:
    """An observer of the lines that numbers what it is told.

    Args:
        send: Is given every event, in order.
    """

    def __init__(self, send: Callable[[Event], object]) -> None:
        self._send = send
        self.number = 0
        """Of the last event."""

    def _next(self) -> int:
        self.number += 1
        return self.number

    def login(self, now: float, agent: str, queues: Iterable[str], slots: int) -> None:
        """As `Estimator.login`."""
        self._send(Event(self._next(), now, "login", agent=agent, queues=tuple(queues), slots=slots))

    def logout(self, now: float, agent: str) -> None:
        """As `Estimator.logout`."""
        self._send(Event(self._next(), now, "logout", agent=agent))

    def capacity(self, now: float, agent: str, voice_free: int, chat_free: int) -> None:
        """As `Estimator.capacity`."""
        self._send(Event(self._next(), now, "capacity", agent=agent, voice_free=voice_free, chat_free=chat_free))

    def joined(self, now: float, contact: str, queue: str, priority: int, since: float | None = None) -> None:
        """As `Estimator.joined`."""
        self._send(Event(self._next(), now, "joined", contact=contact, queue=queue, priority=priority, since=since))

    def started(self, now: float, contact: str, agent: str, queue: str | None = None) -> None:
        """As `Estimator.started`."""
        self._send(Event(self._next(), now, "started", contact=contact, agent=agent, queue=queue))

    def abandoned(self, now: float, contact: str, *, ghost: bool = True) -> None:
        """As `Estimator.abandoned`."""
        self._send(Event(self._next(), now, "abandoned", contact=contact, counts=ghost))

    def ended(self, now: float, contact: str, agent: str, *, served: bool = True) -> None:
        """As `Estimator.ended`."""
        self._send(Event(self._next(), now, "ended", contact=contact, agent=agent, counts=served))


class Feed:
    """Tells an estimator the events of one recorder, each once and in order.

    Forecasts are `degraded` from the moment when an event is missing for longer than `LATE`, when one contradicts what is
    known, or when nothing was heard for `STALE`; the first two until the next `resync`.
    """

    def __init__(self, estimator: Estimator, now: float) -> None:
        self.estimator = estimator
        self._next = 1
        self._held: dict[int, tuple[float, Event]] = {}
        """By number: when it came, and the event; its predecessors are missing."""
        self._heard = now
        self._doubt = False

    def take(self, now: float, event: Event) -> None:
        """An event has come, perhaps again, perhaps before an earlier one."""
        self.heard(now)
        if event.number < self._next or event.number in self._held:
            return
        self._held[event.number] = (now, event)
        self._release()

    def heard(self, now: float) -> None:
        """The recorder is alive. What is missing for too long is given up, and what came after it is told."""
        self._heard = max(self._heard, now)
        if self._missing(now):
            self._doubt = True
            self._next = min(self._held)
            self._release()

    def trusted(self, now: float) -> bool:
        """Whether the estimator has been told everything."""
        return not self._doubt and now - self._heard <= STALE and not self._missing(now)

    def resync(self, now: float, snapshot: Snapshot, number: int) -> None:
        """Take *snapshot*, made right after the event of this *number*, for what is true; later events go on from it."""
        self.estimator.resync(now, snapshot)
        self._next, self._doubt = number + 1, False
        self._held = {held: arrived for held, arrived in self._held.items() if held > number}
        self._heard = max(self._heard, now)
        self._release()

    def forecast(self, now: float, queue: str, priority: int = 1, extra: float = 0.0) -> Forecast:
        """As `Estimator.forecast`, `degraded` while not trusted."""
        return self.estimator.forecast(now, queue, priority, extra, trusted=self.trusted(now))

    def forecast_waiting(self, now: float, contact: str) -> Forecast:
        """As `Estimator.forecast_waiting`, `degraded` while not trusted."""
        return self.estimator.forecast_waiting(now, contact, trusted=self.trusted(now))

    # --- how it is done

    def _missing(self, now: float) -> bool:
        """Whether an event has been waited for too long."""
        return bool(self._held) and now - min(came for came, _ in self._held.values()) > LATE

    def _release(self) -> None:
        while self._next in self._held:
            _, event = self._held.pop(self._next)
            self._next += 1
            before = self.estimator.ignored
            self._tell(event)
            self._doubt = self._doubt or self.estimator.ignored != before

    def _tell(self, event: Event) -> None:
        estimator, at = self.estimator, event.at
        match event.what:
            case "login":
                estimator.login(at, event.agent, event.queues, event.slots)
            case "logout":
                estimator.logout(at, event.agent)
            case "capacity":
                estimator.capacity(at, event.agent, event.voice_free, event.chat_free)
            case "joined":
                estimator.joined(at, event.contact, event.queue or "", event.priority, event.since)
            case "started":
                estimator.started(at, event.contact, event.agent, event.queue)
            case "abandoned":
                estimator.abandoned(at, event.contact, ghost=event.counts)
            case _:
                estimator.ended(at, event.contact, event.agent, served=event.counts)
