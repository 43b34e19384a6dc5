"""What stands in a row of a supervisor's boards, and how rows are found and sorted. Pure."""

from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

from bridge.acd import AgentState
from bridge.events import AgentId, Channel, QueueId, SessionId

Row = TypeVar("Row")

Tone: TypeAlias = Literal["", "good", "slow", "late"]
"""How a figure is coloured: not at all, as it should be, to be looked at, to be seen to now."""
STATE_SLOW, STATE_LATE = 1800.0, 3600.0
"""Seconds in the same state after which a row turns yellow, and red."""
Phase: TypeAlias = Literal["now", "upcoming", "previous"]
"""A session that an agent has in hand; one that waits, was invited or is to be called back; one that is over."""
Start: TypeAlias = Literal["manual", "auto", "outbound", "api", ""]
"""How an agent came by it: accepted, given without ringing, begun by an agent, by a program; empty: nobody has had it."""


class OnWork(msgspec.Struct, frozen=True):
    """A customer whom an agent has in hand."""

    session: SessionId
    channel: Channel
    customer: str | None
    name: str | None
    since: float
    state: Literal["talking", "ringing", "held", "chatting", "wrapping"]


class AgentRow(msgspec.Struct, frozen=True):
    """An agent on the board."""

    agent: AgentId
    name: str
    teams: tuple[str, ...]
    queues: tuple[str, ...]
    state: AgentState
    reason: str | None
    since: float
    works: bool
    """Has a call or a chat."""
    ringing: bool
    work: tuple[OnWork, ...]
    chats: int
    max_chats: int
    calls: int
    answered: int
    missed: int
    average_handling: float | None
    """Seconds, today; None: nothing finished."""
    connected: bool
    """A desk of theirs is open."""


class QueueRow(msgspec.Struct, frozen=True):
    """A queue on the board."""

    queue: QueueId
    title: str
    channel: Channel
    waiting: int
    oldest: float | None
    """Since when the first in line has waited; None: nobody waits."""
    p50: float | None
    """Seconds a newcomer will wait; None: not known."""
    p90: float | None
    status: str
    """Of the forecast: `ok`, `free_agent`, `no_agents`, `degraded`."""
    basis: str
    ahead: float | None
    capacity: int | None
    agents_ready: int
    agents_busy: int
    agents_staffed: int
    open_slots: int
    service_level: float | None
    """Today, from 0 to 1; None: nobody has been answered or lost."""
    target_share: float | None
    answer_within: float | None
    offered: int
    answered: int
    abandoned: int
    short: int
    average_wait: float | None
    offers_made: int
    offers_accepted: int
    offers_delivered: int
    trend: tuple[int, ...]

    @property
    def tone(self) -> Tone:
        """Of the service level: as it should be, a little short of the target, far from it."""
        if self.service_level is None or self.target_share is None:
            return ""
        if self.service_level >= self.target_share:
            return "good"
        return "slow" if self.service_level >= self.target_share - 0.1 else "late"


class SessionRow(msgspec.Struct, frozen=True):
    """A session on the board."""

    session: SessionId
    phase: Phase
    customer: str | None
    name: str | None
    our_number: str
    queue: str | None
    service: str
    """How it began: `call`, `inbound`, `outbound`, `api`, `direct`."""
    start: Start
    call_state: str
    text_state: str
    agents: tuple[AgentId, ...]
    """Who has it, the call first."""
    since: float
    """When it came into this state: in line, with the agent, or closed."""
    opened_at: float
    unanswered_since: float | None = None
    """When the customer wrote what no agent has answered yet."""
    ended: str | None = None
    """How it ended; None: it has not."""
    troubles: tuple[str, ...] = ()
    """What a supervisor should see: `transfer_failed`, `opted_out`, `suspected`, `text_failed`."""


def matches(words: str, *fields: str | None) -> bool:
    """Whether every word that is looked for stands somewhere in the fields, whatever its case."""
    text = " ".join(field for field in fields if field).casefold()
    return all(word in text for word in words.casefold().split())


def in_order(rows: Iterable[Row], key: Callable[[Row], Any], *, down: bool) -> list[Row]:
    """Rows sorted by *key*; those without one (None) come last either way, and equals stay as they were."""
    known: list[Row] = []
    unknown: list[Row] = []
    for row in rows:
        (unknown if key(row) is None else known).append(row)
    return sorted(known, key=key, reverse=down) + unknown
