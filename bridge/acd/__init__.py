"""Queues and agents: who stands where in line, who is offered whom, who is busy with what.

An `Acd` is told what people do and answers with what follows from it; it has no clock, no sockets and no memory beyond
the process. After a restart it is filled again: sessions `join` with the `since` they had and get their place back, open
chats are given back with `assign`.

Rules of the house (`docs/routing.md` has all of them):

- A line is ordered by priority (0 is most urgent), then by `since`, then by arrival. Where priorities age, so many seconds of
  waiting outweigh one step of priority.
- A session rings at one agent at a time (a queue that rings everybody: at all at once), an agent has at most one ringing
  offer, and a session that is offered keeps its place until somebody accepts.
- An agent has one call at most and `max_chats` chats at most. With chats open a call may still be offered (a text waits
  better than a voice, and a desk that always has a chat open would otherwise never take a call again); during a call no
  chat is offered. Both can be changed for each agent.
- An agent who lets it ring becomes not ready with the reason `missed`; one who declines stays ready, and is not offered
  the same work again for the queue's `decline_hold`.
"""

from bridge.acd.core import Acd
from bridge.acd.dispatch import UnknownAgent, UnknownQueue
from bridge.acd.dump import AcdDump
from bridge.acd.ghosts import GRACE, Seen
from bridge.acd.outputs import (
    AcdOutput,
    AgentStateChanged,
    AgentTold,
    AgentView,
    AnyAcdOutput,
    ContactTold,
    DeclineReason,
    Ghost,
    GhostHealed,
    LapseReason,
    LeaveOutcome,
    OfferLapsed,
    QueueChanged,
    QueueView,
    RedirectReason,
    Standing,
    Told,
    Waiting,
    WaitObserver,
    WorkAssigned,
    WorkOffered,
    WorkRedirected,
    contact_id,
)
from bridge.acd.places import PlaceInLine
from bridge.acd.reconfigure import QueueInUse
from bridge.acd.specs import (
    AGENT_TRANSITIONS,
    WORKING,
    AgentChoice,
    AgentInput,
    AgentSpec,
    AgentState,
    CascadeStep,
    QueueSpec,
    Redirect,
    Strategy,
)
from bridge.acd.targets import Target, inherited

__all__ = [
    "AGENT_TRANSITIONS",
    "GRACE",
    "WORKING",
    "Acd",
    "AcdDump",
    "AcdOutput",
    "AgentChoice",
    "AgentInput",
    "AgentSpec",
    "AgentState",
    "AgentStateChanged",
    "AgentTold",
    "AgentView",
    "AnyAcdOutput",
    "CascadeStep",
    "ContactTold",
    "DeclineReason",
    "Ghost",
    "GhostHealed",
    "LapseReason",
    "LeaveOutcome",
    "OfferLapsed",
    "PlaceInLine",
    "QueueChanged",
    "QueueInUse",
    "QueueSpec",
    "QueueView",
    "Redirect",
    "RedirectReason",
    "Seen",
    "Standing",
    "Strategy",
    "Target",
    "Told",
    "UnknownAgent",
    "UnknownQueue",
    "WaitObserver",
    "Waiting",
    "WorkAssigned",
    "WorkOffered",
    "WorkRedirected",
    "contact_id",
    "inherited",
]
