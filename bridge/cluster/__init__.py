"""What several nodes share, all of it short-lived: the journal is the truth, this is only who does what just now.

A session is worked on by one node at a time, the one that holds its lease. An event for a session goes to that node as a question
that it answers. What changes the lines, the agents and the estimates goes into one log, which every node
applies in the same order to its own copy (a *replica*). What desks show goes out as updates to whoever listens. One node alone
uses `bridge.cluster.memory`, several `bridge.cluster.redis`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, NewType, Protocol

import msgspec

from bridge.events import AgentId

NodeId = NewType("NodeId", str)

PATIENCE = 10.0
"""Seconds in which an entry has to be in the log and applied here."""


class ClusterUnavailableError(Exception):
    """What nodes share cannot be reached just now; whether anything has changed is not known. Try again."""


class ClusterVersionError(Exception):
    """The other nodes run another version of the server, so that this one may not join them. Nothing has changed."""

    def __init__(self, ours: str, theirs: str) -> None:
        super().__init__(
            f"this node runs version {ours}, the nodes of this service run version {theirs}: all of them have to run the same. "
            "Stop the others first, or start this one as they are"
        )
        self.ours = ours
        self.theirs = theirs


class ClusterSecretError(Exception):
    """The other nodes have another secret, so that this one may not join them. Nothing has changed."""

    def __init__(self) -> None:
        super().__init__(
            "secret: the nodes of this service have another one, so links signed by one would be refused by the others: "
            "give the setting secret, the same on all, or let them share the data folder"
        )


class AskRefused(Exception):  # noqa: N818  # an answer, not a fault
    """The other node has understood the question and says no.

    Args:
        payload: Why, in its own words.
    """

    def __init__(self, payload: bytes = b"") -> None:
        super().__init__(payload)
        self.payload = payload


class Lease(msgspec.Struct, frozen=True):
    """The right to work on something: a session, or a role that one node has at a time."""

    name: str
    """A `SessionId`, or `role:NAME`."""
    node: NodeId
    token: int
    """Rises with every grant of the lease of this name, whoever gets it: of two nodes that both believe, the higher is right."""


class AgentPresence(msgspec.Struct, frozen=True):
    """Where an agent's desk is connected, and what it wants the other nodes to know."""

    agent: AgentId
    node: NodeId
    data: Mapping[str, Any] = {}
    """JSON."""


class Entry(msgspec.Struct, frozen=True):
    """One change of what the nodes have copies of."""

    position: str
    """Its place in the log; rises, compared as text."""
    at: float
    """When it happened, by the one clock of the service; never falls."""
    node: NodeId
    """Who appended it."""
    body: bytes


class Standing(msgspec.Struct, frozen=True):
    """How a node stands with the others, for whoever looks after it."""

    reachable: bool
    """What the nodes share has taken a sign of life of this one within the last lease time."""
    applied: int
    """Number of the last entry of the log that is applied here; the same on all nodes when nothing happens."""
    behind: int
    """Entries that were in the log and not applied here when this node last looked."""
    away: float = 0.0
    """Seconds for which what the nodes share has not answered this one; 0.0: it answers."""


class Replica(Protocol):
    """This node's copy of what the log makes. Given the same entries, every copy must become the same."""

    def apply(self, entry: Entry) -> Any:
        """Make the change. What is returned or raised goes to who appended it; on other nodes nobody hears of it.

        Never waits, and reads neither a clock nor chance: `Entry.at` is the time.
        """

    def dump(self) -> bytes:
        """Everything that entries have made, exactly: a copy that loads this goes on like this one."""

    def load(self, snapshot: bytes) -> None:
        """Forget everything and become what the snapshot says."""

    def refounded(self) -> None:
        """The log was lost and has begun anew from the copy of one of the nodes.

        The last entries, also our own, may be missing from it. Every node but the one whose copy it is has loaded it before.
        """


class Cluster(Protocol):
    """One node's place among the others. Contract suite: `tests/contract/test_cluster*.py`.

    Opened with `async with`; leaving gives back every lease and forgets this node's agents, so that others need not wait for
    them to run out. A node that dies without leaving loses both when their time is over.
    """

    node: NodeId
    """Its name; never used before, so that a node that comes back is another one."""
    alone: bool
    """There can be no other node, ever."""

    # --- leases

    async def acquire(self, name: str, ttl: float) -> Lease | None:
        """Become the owner of *name* (a session's id, or `role:NAME`) for *ttl* seconds. None: another node owns it.

        An owner that asks again gets a new token; its older lease is void.
        """

    async def renew(self, lease: Lease, ttl: float) -> bool:
        """Own it for *ttl* seconds from now. False: the lease is void, stop working on it at once."""

    async def renew_all(self, leases: Collection[Lease], ttl: float) -> frozenset[str]:
        """Renew many at once; gives the names of those whose lease is void.

        Raises:
            ClusterUnavailableError: Some may have been renewed, or all, or none.
        """

    def valid(self, lease: Lease) -> bool:
        """Can the lease still be ours? Asks nobody: has the time passed for which it was granted or renewed last?

        True is no promise (a node that has lost Redis may not have heard everything), False is: stop. The clock also goes on
        while the process is stopped, or the machine asleep.
        """

    async def release(self, lease: Lease) -> None:
        """Own it no longer; nothing happens when the lease is void already."""

    async def owner(self, name: str) -> NodeId | None:
        """Who owns it; None when nobody does."""

    async def steady(self) -> bool:
        """Is what the nodes share what it was a lease time ago?

        Not when it was lost since: then a node may still count on a lease that nobody knows of any more. Ask after a lease was
        granted, before what only one node may do; nothing is to be feared for a session, whose writes have the lease's token.

        Raises:
            ClusterUnavailableError: It cannot be known.
        """

    # --- the log

    def standing(self) -> Standing:
        """How this node stands with the others. Asks nobody."""

    async def nodes(self) -> frozenset[NodeId]:
        """The nodes that have joined and show signs of life, this one included once it has joined."""

    def joined(
        self,
        replica: Replica,
        *,
        founder: Callable[[], Awaitable[None]],
    ) -> AbstractAsyncContextManager[None]:
        """Take part in the log until the block ends; once, while the cluster is open.

        When nobody else is there, *founder* is awaited first: it makes the replica what it has to be (what it appends is applied
        here, at once), and the log begins with that. Otherwise the replica becomes what the others have. Of two nodes that start
        at the same time one founds and the other joins it.

        Raises:
            ClusterVersionError: The others run another version; also out of the block, when they have begun a new log.
            ClusterSecretError: They have another secret; also out of the block.
            ClusterUnavailableError: Not joined.
        """

    async def append(self, body: bytes, *, patience: float | None = None) -> Any:
        """Put an entry into the log and wait until it is applied here; gives what `Replica.apply` gave, or raises what it raised.

        Entries of one node are applied in the order in which they were appended, and none twice. With one node alone it is
        applied before anything else can happen.

        Args:
            body: What `Replica.apply` gets.
            patience: Seconds, may be infinite; None: `PATIENCE`.

        Raises:
            ClusterUnavailableError: Not applied here within that time, or this node has not joined. The entry is not tried again,
                but may be in the log already: it may have been applied by others, or be applied yet.
        """

    # --- questions

    async def ask(self, node: NodeId, question: bytes, *, timeout: float) -> bytes:  # noqa: ASYNC109  # of the question, not of the task
        """Ask another node (or this one) something, and wait at most *timeout* seconds for what it says.

        Raises:
            AskRefused: It says no.
            ClusterUnavailableError: No answer, or it could not find one. It may have done what it was asked for.
        """

    def answer(self, handler: Callable[[NodeId, bytes], Awaitable[bytes]]) -> None:
        """Say who answers questions that come to this node; each is answered in a task of its own.

        The handler gets who asks and what; it raises `AskRefused` to say no. Set before others can know of this node.
        """

    # --- presence and updates

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
