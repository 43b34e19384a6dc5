"""A cluster inside one process: one node alone, or several in a test."""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self

import structlog

from bridge.cluster import (
    AgentPresence,
    AskRefused,
    ClusterUnavailableError,
    Entry,
    Lease,
    NodeId,
    Replica,
    Standing,
)
from bridge.events import AgentId

log = structlog.get_logger()

BACKLOG = 1000
"""Updates a listener may be behind before the oldest are dropped. A desk that reads its state anew makes up for them."""


class Hub:
    """What the nodes of one process share.

    Args:
        clock: Seconds that only rise; for leases and presence.
        now: Seconds since the epoch; for the log.
        shared: There may be more than one node.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        now: Callable[[], float] = time.time,
        shared: bool = False,
    ) -> None:
        self.clock = clock
        self.shared = shared
        self.leases: dict[str, tuple[Lease, float]] = {}
        self.tokens = itertools.count(1)
        self.agents: dict[AgentId, tuple[AgentPresence, float]] = {}
        self.listeners: dict[str, set[asyncio.Queue[bytes]]] = defaultdict(set)
        self.members: dict[NodeId, MemoryCluster] = {}
        """Who is there to be asked."""
        self.replicas: dict[NodeId, Replica] = {}
        """Of the nodes that have joined."""
        self.founding = asyncio.Lock()
        self._now = now
        self._at = 0.0
        self._entries = itertools.count(1)
        self.last = 0
        """Number of the newest entry."""

    def holder(self, name: str) -> Lease | None:
        """The lease that counts now."""
        lease, until = self.leases.get(name, (None, 0.0))
        return lease if self.clock() < until else None

    def entry(self, node: NodeId, body: bytes) -> Entry:
        """The next one in the log."""
        self._at = max(self._at, self._now())
        self.last = next(self._entries)
        return Entry(f"{self.last:016d}", self._at, node, body)


class MemoryCluster:
    """One node of a `Hub`."""

    def __init__(self, node: NodeId, hub: Hub) -> None:
        self.node = node
        self.alone = not hub.shared
        self._hub = hub
        self._founding: Replica | None = None
        self._handler: Callable[[NodeId, bytes], Awaitable[bytes]] | None = None
        self._answers: set[asyncio.Task[bytes]] = set()

    async def __aenter__(self) -> Self:
        """Join."""
        assert self._hub.shared or not self._hub.members
        self._hub.members[self.node] = self
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave."""
        hub = self._hub
        hub.leases = {session: held for session, held in hub.leases.items() if held[0].node != self.node}
        hub.agents = {agent: held for agent, held in hub.agents.items() if held[0].node != self.node}
        del hub.members[self.node]
        for answer in self._answers:
            answer.cancel()

    # --- leases

    async def acquire(self, name: str, ttl: float) -> Lease | None:
        """See `Cluster.acquire`."""
        held = self._hub.holder(name)
        if held is not None and held.node != self.node:
            return None
        lease = Lease(name, self.node, next(self._hub.tokens))
        self._hub.leases[name] = (lease, self._hub.clock() + ttl)
        return lease

    async def renew(self, lease: Lease, ttl: float) -> bool:
        """See `Cluster.renew`."""
        return not await self.renew_all([lease], ttl)

    async def renew_all(self, leases: Collection[Lease], ttl: float) -> frozenset[str]:
        """See `Cluster.renew_all`."""
        void = set()
        for lease in leases:
            if self.valid(lease):
                self._hub.leases[lease.name] = (lease, self._hub.clock() + ttl)
            else:
                void.add(lease.name)
        return frozenset(void)

    def valid(self, lease: Lease) -> bool:
        """See `Cluster.valid`."""
        return lease.node == self.node and self._hub.holder(lease.name) == lease

    async def release(self, lease: Lease) -> None:
        """See `Cluster.release`."""
        if self.valid(lease):
            del self._hub.leases[lease.name]

    async def owner(self, name: str) -> NodeId | None:
        """See `Cluster.owner`."""
        held = self._hub.holder(name)
        return held.node if held else None

    async def steady(self) -> bool:
        """See `Cluster.steady`. It is lost with this process."""
        return True

    # --- the log

    def standing(self) -> Standing:
        """See `Cluster.standing`."""
        return Standing(reachable=True, applied=self._hub.last, behind=0)

    async def nodes(self) -> frozenset[NodeId]:
        """See `Cluster.nodes`."""
        return frozenset(self._hub.replicas)

    @asynccontextmanager
    async def joined(self, replica: Replica, *, founder: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """See `Cluster.joined`."""
        others = self._hub.replicas
        async with self._hub.founding:
            if others:
                replica.load(next(iter(others.values())).dump())
            else:
                self._founding = replica
                try:
                    await founder()
                finally:
                    self._founding = None
            others[self.node] = replica
        try:
            yield
        finally:
            del others[self.node]

    async def append(self, body: bytes, *, patience: float | None = None) -> Any:  # noqa: ARG002  # nothing to wait for
        """See `Cluster.append`. It is applied on every node before this gives control away."""
        ours = self._founding or self._hub.replicas.get(self.node)
        if ours is None:
            raise ClusterUnavailableError("this node has not joined")
        entry = self._hub.entry(self.node, body)
        for node, replica in self._hub.replicas.items():
            if node != self.node:
                try:
                    replica.apply(entry)
                except Exception as error:  # noqa: BLE001  # whatever it is, it is for who appended it
                    log.debug("cluster.entry_refused", node=entry.node, reason=repr(error))
        return ours.apply(entry)

    # --- questions

    async def ask(self, node: NodeId, question: bytes, *, timeout: float) -> bytes:  # noqa: ASYNC109  # see `Cluster.ask`
        """See `Cluster.ask`."""
        asked = self._hub.members.get(node)
        if asked is None:
            raise ClusterUnavailableError(f"{node} is not there")
        answer = asked.answering(self.node, question)
        await asyncio.wait([answer], timeout=timeout)
        if not answer.done():
            raise ClusterUnavailableError(f"{node} has not answered within {timeout:g} s")
        with suppress(asyncio.CancelledError):
            return answer.result()
        raise ClusterUnavailableError(f"{node} has left")

    def answer(self, handler: Callable[[NodeId, bytes], Awaitable[bytes]]) -> None:
        """See `Cluster.answer`."""
        self._handler = handler

    def answering(self, node: NodeId, question: bytes) -> "asyncio.Task[bytes]":
        """A task of this node that answers; it goes on when nobody waits for it any more."""
        answer = asyncio.create_task(self._answered(node, question))
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)
        answer.add_done_callback(lambda done: None if done.cancelled() else done.exception())  # heard, also when nobody waits
        return answer

    async def _answered(self, node: NodeId, question: bytes) -> bytes:
        if self._handler is None:
            raise ClusterUnavailableError(f"{self.node} answers nothing")
        try:
            return await self._handler(node, question)
        except AskRefused:
            raise
        except Exception as error:
            log.exception("cluster.not_answered", node=node)
            raise ClusterUnavailableError(f"{self.node} could not answer") from error

    # --- presence and updates

    async def present(self, agent: AgentId, data: Mapping[str, Any], ttl: float) -> None:
        """See `Cluster.present`."""
        self._hub.agents[agent] = (AgentPresence(agent, self.node, data), self._hub.clock() + ttl)

    async def absent(self, agent: AgentId) -> None:
        """See `Cluster.absent`."""
        if agent in self._hub.agents and self._hub.agents[agent][0].node == self.node:
            del self._hub.agents[agent]

    async def presence(self) -> dict[AgentId, AgentPresence]:
        """See `Cluster.presence`."""
        now = self._hub.clock()
        return {agent: presence for agent, (presence, until) in self._hub.agents.items() if now < until}

    async def publish(self, topic: str, update: bytes) -> None:
        """See `Cluster.publish`."""
        for listener in self._hub.listeners.get(topic, ()):
            if listener.full():
                listener.get_nowait()
            listener.put_nowait(update)

    @asynccontextmanager
    async def subscribe(self, topic: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Cluster.subscribe`."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(BACKLOG)
        self._hub.listeners[topic].add(queue)
        try:
            yield _updates(queue)
        finally:
            self._hub.listeners[topic].discard(queue)
            if not self._hub.listeners[topic]:
                del self._hub.listeners[topic]


async def _updates(queue: asyncio.Queue[bytes]) -> AsyncIterator[bytes]:
    while True:
        yield await queue.get()
