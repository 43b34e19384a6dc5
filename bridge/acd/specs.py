"""What is configured: queues, agents, the steps by which more agents are asked; and what an agent's state may become."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec

from bridge.events import AgentId, Channel, QueueId

AgentState: TypeAlias = Literal["offline", "ready", "not_ready", "wrap_up"]
AgentChoice: TypeAlias = Literal["offline", "ready", "not_ready"]
"""What an agent may set; wrap-up comes by itself."""
AgentInput: TypeAlias = Literal["go_ready", "go_not_ready", "go_offline", "missed", "work_ended", "wrap_up_over"]
Strategy: TypeAlias = Literal["longest_idle", "fewest_active", "in_order", "ring_all"]

AGENT_TRANSITIONS: Mapping[tuple[AgentState, AgentInput], AgentState] = MappingProxyType(
    {
        ("offline", "go_ready"): "ready",
        ("offline", "go_not_ready"): "not_ready",
        ("offline", "go_offline"): "offline",
        ("offline", "work_ended"): "offline",
        ("ready", "go_ready"): "ready",
        ("ready", "go_not_ready"): "not_ready",
        ("ready", "go_offline"): "offline",
        ("ready", "missed"): "not_ready",
        ("ready", "work_ended"): "wrap_up",
        ("not_ready", "go_ready"): "ready",
        ("not_ready", "go_not_ready"): "not_ready",
        ("not_ready", "go_offline"): "offline",
        # A break asked for during the work begins when the work ends.
        ("not_ready", "work_ended"): "not_ready",
        ("wrap_up", "go_ready"): "ready",
        ("wrap_up", "go_not_ready"): "not_ready",
        ("wrap_up", "go_offline"): "offline",
        ("wrap_up", "work_ended"): "wrap_up",
        ("wrap_up", "wrap_up_over"): "ready",
    }
)
"""What an agent's state becomes. A pair that is not here cannot happen."""

WORKING: frozenset[AgentState] = frozenset({"ready", "wrap_up"})
"""States that count as staff: here now, or here in a moment."""

CHOSEN: Mapping[AgentChoice, AgentInput] = MappingProxyType(
    {"ready": "go_ready", "not_ready": "go_not_ready", "offline": "go_offline"}
)
"""The choice of an agent as what happened."""


class CascadeStep(msgspec.Struct, frozen=True):
    """From some time on more agents are asked, beside those who were asked before."""

    after: float
    """Seconds of waiting, counted from the place in line (`since`)."""
    teams: tuple[str, ...] = ()
    """An agent in a team that a step names is asked from that step on, and not before."""
    level: int | None = None
    """Skills asked for at a higher level are asked for at this one; None for no change."""


class Redirect(msgspec.Struct, frozen=True):
    """Who is not answered moves to another queue, and keeps the place.

    Nobody moves while it rings, to a queue nobody works on, or to a queue they have been in.
    """

    to: QueueId
    rings: int = 0
    """Offers that rang out or were declined after which to move; 0 for any number."""
    after: float | None = None
    """Seconds in this queue after which to move; None for never."""


class QueueSpec(msgspec.Struct, frozen=True):
    """One line of waiting customers, of one channel."""

    id: QueueId
    channel: Channel
    ring_timeout: float = 20.0
    """Seconds an offer rings before it goes to the next agent."""
    wrap_up: float = 30.0
    """Seconds of wrap-up after a piece of work; 0 for none."""
    strategy: Strategy = "longest_idle"
    """`longest_idle`: who has been idle longest (for chats: the fewest open chats first). `fewest_active`: who has the fewest
    calls and chats, then the longest idle. `in_order`: as configured. `ring_all`: everybody at once, the first to accept has it.
    """
    decline_hold: float = 60.0
    """Seconds before work that was declined, or rang out, is offered to the same agent again."""
    missed_after: int = 1
    """An agent who lets so many offers in a row ring out becomes not ready (`missed`); 0 for never."""
    skills: tuple[str, ...] = ()
    """Everybody in this line asks for them: `billing`, or `billing>=4`."""
    best_first: bool = False
    """Among the agents who may be asked, those best at what is asked for come first."""
    auto_answer: bool = False
    """Work is assigned without ringing."""
    cascade: tuple[CascadeStep, ...] = ()
    """By `after`. A step is skipped ahead to when nobody who is asked before it is there."""
    redirect: Redirect | None = None


class AgentSpec(msgspec.Struct, frozen=True):
    """One agent, as configured."""

    id: AgentId
    name: str
    queues: tuple[QueueId, ...]
    max_chats: int = 3
    address: str | None = None
    """Where the agent's phone is (`sip:...`); None for a desk without a phone."""
    skills: tuple[str, ...] = ()
    """Everything a session may ask for in `join`: languages, products; `billing=7` with a level from 1 to 9."""
    auto_accept: bool = False
    """Work is assigned without ringing."""
    chats_during_call: int = 0
    """During a call a chat is offered only while fewer chats than this are open."""
    max_chats_for_call: int | None = None
    """A call is offered only with at most that many chats open; None for any number."""
    teams: tuple[str, ...] = ()
    """What the steps of a cascade name."""
