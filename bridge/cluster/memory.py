"""A cluster inside one process: one node alone, or several in a test."""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from bridge.cluster import AgentPresence, Delivery, Lease, NodeId
from bridge.events import AgentId, AnyEvent, SessionId

BACKLOG = 1000
"""Updates a listener may be behind before the oldest are dropped. A desk that reads its state anew makes up for them."""


class Hub:
    """What the nodes of one process share.

    Args:
        clock: Seconds that only rise; for leases and presence.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.leases: dict[SessionId, tuple[Lease, float]] = {}
        self.tokens = itertools.count(1)
        self.mailboxes: dict[NodeId, asyncio.Queue[Delivery | None]] = {}
        self.agents: dict[AgentId, tuple[AgentPresence, float]] = {}
        self.listeners: dict[str, set[asyncio.Queue[bytes]]] = defaultdict(set)

    def holder(self, session: SessionId) -> Lease | None:
        """The lease that counts now."""
        lease, until = self.leases.get(session, (None, 0.0))
        return lease if self.clock() < until else None


class MemoryCluster:
    """One node of a `Hub`."""

    def __init__(self, node: NodeId, hub: Hub) -> None:
        self.node = node
        self._hub = hub
        self._mailbox: asyncio.Queue[Delivery | None] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        """Join."""
        self._hub.mailboxes[self.node] = self._mailbox
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave."""
        hub = self._hub
        hub.leases = {session: held for session, held in hub.leases.items() if held[0].node != self.node}
        hub.agents = {agent: held for agent, held in hub.agents.items() if held[0].node != self.node}
        del hub.mailboxes[self.node]
        self._mailbox.put_nowait(None)

    async def acquire(self, session: SessionId, ttl: float) -> Lease | None:
        """See `Cluster.acquire`."""
        held = self._hub.holder(session)
        if held is not None and held.node != self.node:
            return None
        lease = Lease(session, self.node, next(self._hub.tokens))
        self._hub.leases[session] = (lease, self._hub.clock() + ttl)
        return lease

    async def renew(self, lease: Lease, ttl: float) -> bool:
        """See `Cluster.renew`."""
        if self._hub.holder(lease.session) != lease:
            return False
        self._hub.leases[lease.session] = (lease, self._hub.clock() + ttl)
        return True

    async def release(self, lease: Lease) -> None:
        """See `Cluster.release`."""
        if self._hub.holder(lease.session) == lease:
            del self._hub.leases[lease.session]

    async def owner(self, session: SessionId) -> NodeId | None:
        """See `Cluster.owner`."""
        held = self._hub.holder(session)
        return held.node if held else None

    async def deliver(self, session: SessionId, event: AnyEvent) -> bool:
        """See `Cluster.deliver`."""
        held = self._hub.holder(session)
        if held is None:
            return False
        self._hub.mailboxes[held.node].put_nowait(Delivery(session, event))
        return True

    async def mailbox(self) -> AsyncIterator[Delivery]:
        """See `Cluster.mailbox`."""
        while (delivery := await self._mailbox.get()) is not None:
            yield delivery

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
