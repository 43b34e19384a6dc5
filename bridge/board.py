"""What stands in a row of a supervisor's boards, and how rows are found and sorted. Pure."""

from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

from bridge.acd import AgentState
from bridge.conversation import State
from bridge.events import AgentId, Channel, QueueId, SessionId
from bridge.legs import CallState, TextLeg

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
    state: Literal["talking", "ringing", "held", "consulting", "chatting"]


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


# --- a session as a row ----------------------------------------------------------------------------------------------

_NO_CALL = frozenset({CallState.NONE, CallState.ENDED})
_TEXT_OVER = frozenset({TextLeg.NONE, TextLeg.CLOSED, TextLeg.OPTED_OUT})


def phase_of(state: State) -> Phase:
    """Whether agents have the session in hand, somebody will, or nobody any more."""
    if state.closed_at is not None:
        return "previous"
    if agents_of(state) or state.wrapping:
        return "now"
    return "previous" if state.call in _NO_CALL and state.text in _TEXT_OVER else "upcoming"


def agents_of(state: State) -> tuple[AgentId, ...]:
    """Who has it, or is being rung for it: the call first."""
    on_call = state.agent if state.call not in _NO_CALL else None
    return tuple(dict.fromkeys(agent for agent in (on_call, state.chat_agent) if agent is not None))


def session_row(
    state: State, *, name: str | None, auto: bool, unanswered_since: float | None, troubles: Iterable[str] = ()
) -> SessionRow:
    """A session as the board shows it.

    Args:
        state: Of the session.
        name: What the customer is called; None: not known.
        auto: Whether agents of its queue get work without ringing.
        unanswered_since: When the customer wrote what nobody has answered; None: nothing is to be answered.
        troubles: What went wrong in it and was not mended.
    """
    phase = phase_of(state)
    since = {
        "now": state.chat_since or state.first_agent_at or state.opened_at,
        "upcoming": state.since or state.opened_at,
        "previous": state.closed_at or state.touched_at,
    }[phase]
    own = [*(["opted_out"] if state.text is TextLeg.OPTED_OUT else []), *(["suspected"] if state.suspected is not None else [])]
    return SessionRow(
        session=state.id,
        phase=phase,
        customer=state.customer,
        name=name,
        our_number=state.our_number,
        queue=state.chat_queue or state.queue,
        service=state.service,
        start=_start_of(state, auto=auto),
        call_state=state.call,
        text_state=state.text,
        agents=agents_of(state),
        since=since,
        opened_at=state.opened_at,
        unanswered_since=unanswered_since if state.closed_at is None else None,
        ended=state.reason if state.closed_at is not None else None,
        troubles=(*own, *troubles),
    )


def _start_of(state: State, *, auto: bool) -> Start:
    if state.service == "outbound":
        return "outbound"
    if state.service == "api":
        return "api"
    if state.first_agent_at is None:
        return ""
    return "auto" if auto else "manual"
