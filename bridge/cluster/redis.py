"""What nodes share, on Redis 6.2 and newer. See `bridge.cluster` for what each method promises.

Every key begins with the namespace, and keys that one script touches share a hash tag, so that a Redis Cluster keeps them
together. What is asked of several leases at once goes there in full (`EVAL`), as each may lie on another server. Only Redis's own
clock counts between nodes, so they need not agree on the time; masters and replicas have to.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Self

import msgspec

from bridge.cluster import AgentPresence, ClusterUnavailableError, Lease, NodeId, Replica, Standing
from bridge.cluster.redis_door import Client, Reach, answering, close, connect, milliseconds, stop, uptime
from bridge.cluster.redis_log import KEPT, SNAPSHOT_EVERY, RedisLog
from bridge.cluster.redis_questions import Questions
from bridge.cluster.redis_topics import Topics
from bridge.events import AgentId

__all__ = ["RedisCluster", "connect"]

RENEW_AT_ONCE = 500
"""Leases renewed in one question, so that others get a word in between."""
ASK_AGAIN = 1.0
"""Seconds between two questions whether Redis is back: new calls wait for that."""

# A token is the time in microseconds, but above the last one: it rises even when a lease has run out and is forgotten, or when
# Redis has lost everything. Doubles count microseconds exactly until the year 2255.
_ACQUIRE = """
local held = redis.call('HMGET', KEYS[1], 'node', 'token')
if held[1] and held[1] ~= ARGV[1] then return false end
local now = redis.call('TIME')
local token = now[1] * 1000000 + now[2]
if held[2] and token <= tonumber(held[2]) then token = tonumber(held[2]) + 1 end
local written = string.format('%.0f', token)
redis.call('HSET', KEYS[1], 'node', ARGV[1], 'token', written)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return written
"""
_RENEW = """
local held = redis.call('HMGET', KEYS[1], 'node', 'token')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
"""
_RELEASE = """
local held = redis.call('HMGET', KEYS[1], 'node', 'token')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return 0 end
return redis.call('DEL', KEYS[1])
"""
_SHOW = """
local now = redis.call('TIME')
return redis.call('ZADD', KEYS[1], now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2], ARGV[1])
"""
_NODES = """
local now = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now[1] * 1000 + math.floor(now[2] / 1000))
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""
_PRESENT = """
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('SADD', KEYS[2], ARGV[3])
"""
_ABSENT = """
local said = redis.call('GET', KEYS[1])
if not said or cjson.decode(said).node ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class RedisCluster:
    """One node.

    Args:
        node: Its name; no other node may have it, nor may it have been used before.
        client: See `connect`; closed when the node leaves.
        namespace: Before every key, for several installations on one Redis.
        version: Of what goes through the log; nodes with different ones do not work together.
        secret: Fingerprint of the secret that all nodes have to have; empty: of those that have none.
        ttl: Seconds after which a silent node counts as gone.
        clock: Seconds on a clock that also goes on while the process is stopped, for `valid`.
        snapshot_every: Entries of the log between two snapshots.
        kept: Entries of the log that stay behind a snapshot, for nodes that are slow.
    """

    alone = False

    def __init__(
        self,
        node: NodeId,
        client: Client,
        *,
        namespace: str = "sidetone",
        version: str = "",
        secret: str = "",
        ttl: float = 10.0,
        clock: Callable[[], float] = uptime,
        snapshot_every: int = SNAPSHOT_EVERY,
        kept: int = KEPT,
    ) -> None:
        self.node = node
        self._client = client
        self._redis: Any = client  # its types do not know that it answers in bytes
        self._namespace = namespace
        self._ttl = ttl
        self._clock = clock
        self._acquire = client.register_script(_ACQUIRE)
        self._present = client.register_script(_PRESENT)
        self._absent = client.register_script(_ABSENT)
        self._show = client.register_script(_SHOW)
        self._nodes = client.register_script(_NODES)
        self._held: dict[str, tuple[Lease, float]] = {}
        """By name: what we were granted, and until when on our clock."""
        self._here: set[AgentId] = set()
        self._reach = Reach(ttl)
        self._topics = Topics(client, self._reach)
        self._questions = Questions(node, client, namespace, self._reach)
        self._log = RedisLog(
            self,
            client,
            namespace,
            self._reach,
            version=version,
            secret=secret,
            ttl=ttl,
            snapshot_every=snapshot_every,
            kept=kept,
        )
        self._joined = False
        self._beating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Join."""
        try:
            await self._beat()
        except BaseException as error:
            await close(self._client)
            if isinstance(error, ClusterUnavailableError):
                raise ClusterUnavailableError(f"Redis (cluster.url) does not answer as it should: {error}") from error
            raise
        await self._topics.__aenter__()
        await self._questions.__aenter__()
        self._beating = asyncio.create_task(self._keep_beating(), name="cluster signs of life")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave. When Redis does not answer, leases and presence run out by themselves."""
        if self._beating is not None:
            await stop(self._beating)
        await self._topics.__aexit__(kind, error, trace)
        await self._questions.__aexit__(kind, error, trace)
        with contextlib.suppress(ClusterUnavailableError):
            await self._release_all([lease for lease, _ in self._held.values()])
            for agent in list(self._here):
                await self.absent(agent)
        await close(self._client)

    # --- signs of life

    async def nodes(self) -> frozenset[NodeId]:
        """See `Cluster.nodes`."""
        async with answering():
            return frozenset(NodeId(name.decode()) for name in await self._nodes(keys=[self._alive]))

    async def show(self, *, joined: bool) -> None:
        """Give a sign of life, as one of the nodes or as none of them any more."""
        self._joined = joined
        with contextlib.suppress(ClusterUnavailableError):  # there is another one soon; without one it is forgotten
            if joined:
                await self._beat()
            else:
                async with answering():
                    await self._redis.zrem(self._alive, self.node)

    def standing(self) -> Standing:
        """See `Cluster.standing`."""
        return Standing(self._reach.there, self._log.applied, self._log.behind, self._reach.away)

    async def _beat(self) -> None:
        asked = uptime()
        async with answering():
            if self._joined:
                await self._show(keys=[self._alive], args=[self.node, milliseconds(self._ttl)])
            await self._questions.listen(3 * self._ttl)
        self._reach.found(asked)

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(min(self._ttl / 4, ASK_AGAIN) if self._reach.away else self._ttl / 4)
            try:
                async with asyncio.timeout(self._ttl):
                    await self._beat()
                    await self._log.measure()
            except ClusterUnavailableError as error:
                self._reach.lost(error)
            except TimeoutError:
                self._reach.lost(TimeoutError(f"no answer within {self._ttl:g} s"))

    # --- leases

    async def acquire(self, name: str, ttl: float) -> Lease | None:
        """See `Cluster.acquire`."""
        asked = self._clock()
        async with answering():
            token = await self._acquire(keys=[self._lease_of(name)], args=[self.node, milliseconds(ttl)])
        if token is None:
            self._held.pop(name, None)
            return None
        lease = Lease(name, self.node, int(token))
        self._held[name] = lease, asked + ttl
        return lease

    async def renew(self, lease: Lease, ttl: float) -> bool:
        """See `Cluster.renew`."""
        return not await self.renew_all([lease], ttl)

    async def renew_all(self, leases: Collection[Lease], ttl: float) -> frozenset[str]:
        """See `Cluster.renew_all`."""
        void, asking = set(), list(leases)
        while some := asking[:RENEW_AT_ONCE]:
            del asking[:RENEW_AT_ONCE]
            asked = self._clock()
            async with answering(), self._redis.pipeline(transaction=False) as together:
                for lease in some:
                    together.eval(_RENEW, 1, self._lease_of(lease.name), lease.node, lease.token, milliseconds(ttl))
                renewed = await together.execute()
            for lease, ours in zip(some, renewed, strict=True):
                if not ours:
                    void.add(lease.name)
                if self._held.get(lease.name, (None, 0.0))[0] == lease:
                    self._held[lease.name] = lease, asked + ttl if ours else asked
        return frozenset(void)

    def valid(self, lease: Lease) -> bool:
        """See `Cluster.valid`."""
        held, until = self._held.get(lease.name, (None, 0.0))
        return held == lease and self._clock() < until

    async def release(self, lease: Lease) -> None:
        """See `Cluster.release`."""
        await self._release_all([lease])

    async def _release_all(self, leases: Collection[Lease]) -> None:
        for lease in leases:
            if self._held.get(lease.name, (None, 0.0))[0] == lease:
                del self._held[lease.name]
        async with answering(), self._redis.pipeline(transaction=False) as together:
            for lease in leases:
                together.eval(_RELEASE, 1, self._lease_of(lease.name), lease.node, lease.token)
            await together.execute()

    async def owner(self, name: str) -> NodeId | None:
        """See `Cluster.owner`."""
        async with answering():
            node = await self._redis.hget(self._lease_of(name), "node")
        return None if node is None else NodeId(node.decode())

    async def steady(self) -> bool:
        """See `Cluster.steady`."""
        return await self._log.steady()

    # --- the log

    def joined(self, replica: Replica, *, founder: Callable[[], Awaitable[None]]) -> AbstractAsyncContextManager[None]:
        """See `Cluster.joined`."""
        return self._log.joined(replica, founder)

    async def append(self, body: bytes, *, patience: float | None = None) -> Any:
        """See `Cluster.append`."""
        return await self._log.append(body, patience)

    # --- questions

    async def ask(self, node: NodeId, question: bytes, *, timeout: float) -> bytes:  # noqa: ASYNC109  # see `Cluster.ask`
        """See `Cluster.ask`."""
        return await self._questions.ask(node, question, timeout)

    def answer(self, handler: Callable[[NodeId, bytes], Awaitable[bytes]]) -> None:
        """See `Cluster.answer`."""
        self._questions.handler = handler

    # --- presence

    async def present(self, agent: AgentId, data: Mapping[str, Any], ttl: float) -> None:
        """See `Cluster.present`."""
        self._here.add(agent)
        said = msgspec.json.encode({"node": self.node, "data": data})
        async with answering():
            await self._present(keys=[self._agent(agent), self._agents], args=[said, milliseconds(ttl), agent])

    async def absent(self, agent: AgentId) -> None:
        """See `Cluster.absent`."""
        self._here.discard(agent)
        async with answering():
            await self._absent(keys=[self._agent(agent)], args=[self.node])

    async def presence(self) -> dict[AgentId, AgentPresence]:
        """See `Cluster.presence`."""
        async with answering():
            known = [AgentId(name.decode()) for name in await self._redis.smembers(self._agents)]
            said = await self._redis.mget([self._agent(agent) for agent in known]) if known else []
            gone = [agent for agent, words in zip(known, said, strict=True) if words is None]
            if gone:
                await self._redis.srem(self._agents, *gone)  # who comes back meanwhile says so again
        found = {}
        for agent, words in zip(known, said, strict=True):
            if words is not None:
                fields = msgspec.json.decode(words)
                found[agent] = AgentPresence(agent, NodeId(fields["node"]), fields["data"])
        return found

    # --- updates

    async def publish(self, topic: str, update: bytes) -> None:
        """See `Cluster.publish`."""
        async with answering():
            await self._redis.publish(self._topic(topic), update)

    @asynccontextmanager
    async def subscribe(self, topic: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Cluster.subscribe`."""
        async with answering():
            queue = await self._topics.add(self._topic(topic))
        try:
            yield _updates(queue)
        finally:
            await self._topics.remove(self._topic(topic), queue)

    # --- names

    def _lease_of(self, name: str) -> str:
        return f"{self._namespace}:lease:{{{name}}}"

    @property
    def _alive(self) -> str:
        return _alive(self._namespace)

    @property
    def _agents(self) -> str:
        return f"{self._namespace}:{{agents}}"

    def _agent(self, agent: AgentId) -> str:
        return f"{self._namespace}:{{agents}}:{agent}"

    def _topic(self, topic: str) -> str:
        return f"{self._namespace}:topic:{topic}"


async def nodes_of(client: Client, namespace: str) -> frozenset[NodeId]:
    """The nodes of a service that show signs of life, for whoever is none of them.

    Raises:
        ClusterUnavailableError: Redis does not answer.
    """
    asked: Any = client
    async with answering():
        return frozenset(NodeId(name.decode()) for name in await asked.eval(_NODES, 1, _alive(namespace)))


def _alive(namespace: str) -> str:
    return f"{namespace}:{{nodes}}"


async def _updates(queue: asyncio.Queue[bytes]) -> AsyncIterator[bytes]:
    while True:
        yield await queue.get()
