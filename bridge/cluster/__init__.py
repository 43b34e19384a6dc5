"""What several nodes share, all of it short-lived: the journal is the truth, this is only who does what just now.

A session is worked on by one node at a time, the one that holds its lease. An event for a session goes to the mailbox of that
node. What desks show goes out as updates to whoever listens. One node alone uses `bridge.cluster.memory`, several
`bridge.cluster.redis`.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, NewType, Protocol

import msgspec

from bridge.events import AgentId, AnyEvent, SessionId

NodeId = NewType("NodeId", str)


class ClusterUnavailableError(Exception):
    """What nodes share cannot be reached just now; whether anything has changed is not known. Try again."""


class Lease(msgspec.Struct, frozen=True):
    """The right to work on a session."""

    session: SessionId
    node: NodeId
    token: int
    """Rises with every grant of this session's lease, whoever gets it: of two nodes that both believe, the higher is right."""


class Delivery(msgspec.Struct, frozen=True):
    """An event in a mailbox."""

    session: SessionId
    event: AnyEvent


class AgentPresence(msgspec.Struct, frozen=True):
    """Where an agent's desk is connected, and what it wants the other nodes to know."""

    agent: AgentId
    node: NodeId
    data: Mapping[str, Any] = {}
    """JSON."""


class Cluster(Protocol):
    """One node's place among the others. Contract suite: `tests/contract/test_cluster.py`.

    Opened with `async with`; leaving gives back every lease and forgets this node's agents, so that others need not wait for
    them to run out. A node that dies without leaving loses both when their time is over.
    """

    node: NodeId

    async def acquire(self, session: SessionId, ttl: float) -> Lease | None:
        """Become the owner of *session* for *ttl* seconds. None: another node owns it.

        An owner that asks again gets a new token; its older lease is void.
        """

    async def renew(self, lease: Lease, ttl: float) -> bool:
        """Own the session for *ttl* seconds from now. False: the lease is void, stop working on the session at once."""

    async def release(self, lease: Lease) -> None:
        """Own the session no longer; nothing happens when the lease is void already."""

    async def owner(self, session: SessionId) -> NodeId | None:
        """Who owns the session; None when nobody does."""

    async def deliver(self, session: SessionId, event: AnyEvent) -> bool:
        """Put *event* into the mailbox of the session's owner. False: nobody owns it, so become its owner or try again.

        Events of one sender for one session arrive in order. An owner that dies loses its mailbox: deliver only what the
        journal can give again.
        """

    def mailbox(self) -> AsyncIterator[Delivery]:
        """What the other nodes and this one deliver to this node. One reader; it ends when the node leaves."""

    async def present(self, agent: AgentId, data: Mapping[str, Any], ttl: float) -> None:
        """Say for *ttl* seconds that the agent's desk is connected here; a later word, from any node, replaces this one."""

    async def absent(self, agent: AgentId) -> None:
        """The agent's desk is not connected here any more; what another node said stands."""

    async def presence(self) -> dict[AgentId, AgentPresence]:
        """Every agent whose desk is connected somewhere."""

    async def publish(self, topic: str, update: bytes) -> None:
        """Tell everybody who listens to *topic* now. Nobody has to hear it; never wait for a slow listener."""

    def subscribe(self, topic: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Listen from now on. A listener that falls far behind loses the oldest updates."""
