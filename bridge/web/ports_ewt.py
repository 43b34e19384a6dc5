"""What the web needs to know of waiting times. Implemented by `bridge.waiting`, and by fakes in tests.

Times are seconds since the Unix epoch, durations seconds. None means unknown, never 0.
"""

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec

from bridge.events import Channel, SessionId
from bridge.hindsight import Alarm, Report

WaitStatus: TypeAlias = Literal["ok", "free_agent", "no_agents", "closed", "degraded"]
Quantiles: TypeAlias = tuple[float, float, float, float, float]


class UnknownLineError(Exception):
    """There is no such queue; the message names those there are."""


class SmsSide(msgspec.Struct, frozen=True):
    """The queue for chats that would take a queue's callers."""

    queue: str
    mean: float | None
    p50: float | None
    p90: float | None
    open_slots: int
    reserved: float
    """Texters who were offered lately and have not arrived, by the share that accepts."""


class DecisionNow(msgspec.Struct, frozen=True):
    """What a caller whose number can be texted would be offered now."""

    offer_sms: bool
    reason: str
    """As in docs/ewt.md."""
    p: float | None
    """P(wait >= threshold)."""
    threshold: float | None
    pi: float | None
    since: float
    """Since when it has been so, as far as anybody has looked."""


class Announcement(msgspec.Struct, frozen=True):
    """What a caller may be told."""

    low_min: int | None
    high_min: int | None
    speak: bool
    silence: str | None
    """Why nothing may be said: `prior`, `degraded`, `no_agents`, `wide`."""


class QueueWait(msgspec.Struct, frozen=True):
    """How long somebody would wait who came now, and why."""

    queue: str
    title: str
    channel: Channel
    languages: tuple[str, ...]
    """Of whom it serves, when its agents have to speak one."""
    priority: int
    as_of: float
    status: WaitStatus
    basis: str
    mean: float | None
    p10: float | None
    p25: float | None
    p50: float | None
    p75: float | None
    p90: float | None
    prob_ge: dict[str, float | None]
    """By seconds T, P(wait >= T)."""
    waiting: int
    longest_wait: float | None
    """Of who stands first; None when nobody does."""
    ahead: float | None
    capacity: int | None
    drain_per_min: float | None
    """Contacts whom agents took from the line in the last quarter of an hour, by the minute with a line."""
    abandon_per_min: float | None
    """Contacts who left it, the same way."""
    agents_ready: int
    agents_busy: int
    open_slots: int
    outcomes_seen: int
    """Waits that the estimator has learned from."""
    coverage_80_recent: float | None
    """Share of the newest waits that p10 to p90 held; should be 0.80."""
    alarm: Alarm | None
    """What is wrong with the queue's forecasts lately; None: nothing."""
    plan_until: float | None
    """The last step of the staffing plan; None without one."""
    sms: SmsSide | None
    """None without a queue for chats."""
    decision: DecisionNow | None
    """None for a queue of chats."""
    announce: Announcement


class ContactWait(msgspec.Struct, frozen=True):
    """What is left of the wait of one in line."""

    session: SessionId
    queue: str
    channel: Channel
    as_of: float
    position: int
    since: float
    """When their place in line began."""
    waited: float
    status: WaitStatus
    basis: str
    mean: float | None
    p10: float | None
    p25: float | None
    p50: float | None
    p75: float | None
    p90: float | None
    prob_ge: dict[str, float | None]
    ahead: float | None
    capacity: int | None
    announce: Announcement


class PlanStep(msgspec.Struct, frozen=True):
    """From a time on, so many agents (or chat slots)."""

    at: float
    capacity: int


class Plan(msgspec.Struct, frozen=True):
    """The coming staff of a queue."""

    queue: str
    steps: tuple[PlanStep, ...]
    set_at: float
    by: str
    """The program or person who said so."""


class Resynced(msgspec.Struct, frozen=True):
    """Whom the estimator knows of."""

    at: float
    agents: int
    waiting: int
    in_hand: int
    corrected: bool
    """It had believed something else."""


class Calibration(msgspec.Struct, frozen=True):
    """How good the forecasts of a time were."""

    since: float
    until: float
    zone: str
    """IANA time zone of the half-hours."""
    report: Report
    alarms: dict[str, Alarm]
    """By queue, what is wrong lately."""
    complete: bool
    """False: there were more outcomes than are read at once; these are the newest."""


class Waits(Protocol):
    """Waiting times, as people and programs ask for them."""

    def queue(self, queue: str, priority: int = 1) -> QueueWait:
        """The wait of a newcomer, as of now.

        Raises:
            UnknownLineError: No such queue.
        """

    async def queues(self) -> tuple[QueueWait, ...]:
        """The same of every queue, at most a second old."""

    def contact(self, session: SessionId) -> ContactWait | None:
        """What is left of the wait of one in line; None for who is not in line."""

    def plan(self, queue: str) -> Plan | None:
        """The staffing plan; None without one.

        Raises:
            UnknownLineError: No such queue.
        """

    async def set_plan(self, queue: str, steps: Sequence[PlanStep], by: str) -> Plan | None:
        """Replace the staffing plan; without steps there is none any more. It is in the journal on return.

        Raises:
            UnknownLineError: No such queue.
        """

    async def resync(self) -> Resynced:
        """Tell the estimator anew who works and who waits, as the floor has it; what it has learned stays.

        Doing it again changes nothing.
        """

    async def calibration(self, since: float, until: float, queue: str | None = None) -> Calibration:
        """How good the forecasts were that were made from *since* until before *until*.

        Raises:
            UnknownLineError: No such queue.
        """
