"""What nodes share, on Redis 6.2 and newer. See `bridge.cluster` for what each method promises.

Every key begins with the namespace, and keys that one script touches share a hash tag, so that a Redis Cluster keeps them
together.
Only Redis's own clock counts, so nodes need not agree on the time.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bridge.cluster import AgentPresence, ClusterUnavailableError, Delivery, Lease, NodeId
from bridge.events import AgentId, AnyEvent, SessionId

log = structlog.get_logger()

BACKLOG = 1000
"""Updates a listener may be behind before the oldest are dropped."""
LONGEST_MAILBOX = 100_000
"""Events that may wait for a node; more than that nobody could work off before its leases run out."""
READ_AT_ONCE = 200
"""Events fetched from the mailbox in one question."""
PATIENCE = 5.0
"""Seconds for one question, with what is tried again."""
SENTINEL_PORT = 26379

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
_ABSENT = """
local said = redis.call('GET', KEYS[1])
if not said or cjson.decode(said).node ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


def connect(url: str) -> "Redis":
    """A client that connects when it is first asked something.

    Args:
        url: `redis://HOST:PORT/DB`, `rediss://` for TLS, or `redis+sentinel://HOST:PORT,HOST:PORT/NAME/DB`.

    Raises:
        ValueError: It is none of these.
    """
    options: dict[str, Any] = {
        "socket_timeout": PATIENCE,
        "socket_connect_timeout": PATIENCE,
        "retry": Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.05), 3),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError],
        "health_check_interval": 15,
    }
    if not url.startswith("redis+sentinel://"):
        return Redis.from_url(url, **options)
    parts = urlsplit(url)
    name, _, database = parts.path.strip("/").partition("/")
    if not name:
        raise ValueError("redis+sentinel://HOST:PORT,HOST:PORT/NAME: the name of the master is missing")
    hosts = parts.netloc.rpartition("@")[2]
    sentinels = [(host.partition(":")[0], int(host.partition(":")[2] or SENTINEL_PORT)) for host in hosts.split(",")]
    credentials: dict[str, Any] = {"username": parts.username, "password": unquote(parts.password)} if parts.password else {}
    watchers = Sentinel(sentinels)  # type: ignore[no-untyped-call]
    master: Redis = watchers.master_for(name, db=int(database or 0), **credentials, **options)
    return master


class RedisCluster:
    """One node.

    Args:
        node: Its name; no other node may have it, nor may it have been used before.
        client: See `connect`; closed when the node leaves.
        namespace: Before every key, for several installations on one Redis.
    """

    def __init__(self, node: NodeId, client: "Redis", *, namespace: str = "sidetone") -> None:
        self.node = node
        self._redis: Any = client  # its types do not know that it answers in bytes
        self._namespace = namespace
        self._acquire = client.register_script(_ACQUIRE)
        self._renew = client.register_script(_RENEW)
        self._release = client.register_script(_RELEASE)
        self._absent = client.register_script(_ABSENT)
        self._held: dict[str, Lease] = {}
        self._present: set[AgentId] = set()
        self._topics = _Topics(client.pubsub())

    async def __aenter__(self) -> Self:
        """Join."""
        async with _answering():
            await self._redis.ping()
        await self._topics.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave. When Redis does not answer, leases and presence run out by themselves."""
        await self._topics.__aexit__(kind, error, trace)
        with contextlib.suppress(ClusterUnavailableError):
            for lease in list(self._held.values()):
                await self.release(lease)
            for agent in list(self._present):
                await self.absent(agent)
            async with _answering():
                await self._redis.xadd(self._mailbox_of(self.node), {"end": b""})
        await self._redis.aclose()

    # --- leases

    async def acquire(self, name: str, ttl: float) -> Lease | None:
        """See `Cluster.acquire`."""
        async with _answering():
            token = await self._acquire(keys=[self._lease_of(name)], args=[self.node, _milliseconds(ttl)])
        if token is None:
            return None
        self._held[name] = lease = Lease(name, self.node, int(token))
        return lease

    async def renew(self, lease: Lease, ttl: float) -> bool:
        """See `Cluster.renew`."""
        async with _answering():
            args: list[Any] = [lease.node, lease.token, _milliseconds(ttl)]
            return bool(await self._renew(keys=[self._lease_of(lease.name)], args=args))

    async def release(self, lease: Lease) -> None:
        """See `Cluster.release`."""
        if self._held.get(lease.name) == lease:
            del self._held[lease.name]
        async with _answering():
            await self._release(keys=[self._lease_of(lease.name)], args=[lease.node, lease.token])

    async def owner(self, name: str) -> NodeId | None:
        """See `Cluster.owner`."""
        async with _answering():
            node = await self._redis.hget(self._lease_of(name), "node")
        return None if node is None else NodeId(node.decode())

    # --- mailboxes

    async def deliver(self, session: SessionId, event: AnyEvent) -> bool:
        """See `Cluster.deliver`."""
        owner = await self.owner(session)
        if owner is None:
            return False
        async with _answering():
            letter = {"session": session.encode(), "event": msgspec.json.encode(event)}
            await self._redis.xadd(self._mailbox_of(owner), letter, maxlen=LONGEST_MAILBOX, approximate=True)
        return True

    async def mailbox(self) -> AsyncIterator[Delivery]:
        """See `Cluster.mailbox`. A letter is thrown away when the next one is asked for."""
        stream = self._mailbox_of(self.node)
        while True:
            try:
                async with _answering():
                    found = await self._redis.xread({stream: "0"}, count=READ_AT_ONCE, block=_milliseconds(PATIENCE / 2))
            except ClusterUnavailableError as error:
                log.warning("cluster.unavailable", reason=str(error), retriable=True)
                await asyncio.sleep(0.5)
                continue
            for _, letters in found or ():
                for number, fields in letters:
                    if b"end" in fields:
                        return
                    yield Delivery(SessionId(fields[b"session"].decode()), msgspec.json.decode(fields[b"event"], type=AnyEvent))
                    async with _answering():
                        await self._redis.xdel(stream, number)

    # --- presence

    async def present(self, agent: AgentId, data: Mapping[str, Any], ttl: float) -> None:
        """See `Cluster.present`."""
        self._present.add(agent)
        said = msgspec.json.encode({"node": self.node, "data": data})
        async with _answering(), self._redis.pipeline(transaction=True) as both:
            both.set(self._agent(agent), said, px=_milliseconds(ttl))
            both.sadd(self._agents, agent)
            await both.execute()

    async def absent(self, agent: AgentId) -> None:
        """See `Cluster.absent`."""
        self._present.discard(agent)
        async with _answering():
            await self._absent(keys=[self._agent(agent)], args=[self.node])

    async def presence(self) -> dict[AgentId, AgentPresence]:
        """See `Cluster.presence`."""
        async with _answering():
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
        async with _answering():
            await self._redis.publish(self._topic(topic), update)

    @asynccontextmanager
    async def subscribe(self, topic: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Cluster.subscribe`."""
        async with _answering():
            queue = await self._topics.add(self._topic(topic))
        try:
            yield _updates(queue)
        finally:
            await self._topics.remove(self._topic(topic), queue)

    # --- names

    def _lease_of(self, name: str) -> str:
        return f"{self._namespace}:lease:{{{name}}}"

    def _mailbox_of(self, node: NodeId) -> str:
        return f"{self._namespace}:mail:{{{node}}}"

    @property
    def _agents(self) -> str:
        return f"{self._namespace}:{{agents}}"

    def _agent(self, agent: AgentId) -> str:
        return f"{self._namespace}:{{agents}}:{agent}"

    def _topic(self, topic: str) -> str:
        return f"{self._namespace}:topic:{topic}"


class _Topics:
    """What this node listens to: one connection, and a queue for each listener."""

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub
        self._listeners: dict[str, set[asyncio.Queue[bytes]]] = defaultdict(set)
        self._confirmed: dict[str, asyncio.Event] = {}
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._pass_on(), name="cluster updates")

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]

    async def add(self, topic: str) -> asyncio.Queue[bytes]:
        """A queue that gets everything from now on."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(BACKLOG)
        first = not self._listeners[topic]
        self._listeners[topic].add(queue)
        if first:
            self._confirmed[topic] = asyncio.Event()
            await self._pubsub.subscribe(topic)
            self._some.set()
        await self._confirmed[topic].wait()
        return queue

    async def remove(self, topic: str, queue: asyncio.Queue[bytes]) -> None:
        """The queue gets nothing any more."""
        self._listeners[topic].discard(queue)
        if not self._listeners[topic]:
            del self._listeners[topic], self._confirmed[topic]
            with contextlib.suppress(RedisError, OSError):
                await self._pubsub.unsubscribe(topic)

    async def _pass_on(self) -> None:
        while True:
            await self._some.wait()
            try:
                message = await self._pubsub.get_message(timeout=None)  # None: for as long as it takes
            except (RedisError, OSError) as error:  # it subscribes again by itself when it connects again
                log.warning("cluster.unavailable", reason=str(error), retriable=True)
                await asyncio.sleep(0.5)
                continue
            if message is None:
                continue
            topic = message["channel"].decode()
            if message["type"] == "subscribe" and topic in self._confirmed:
                self._confirmed[topic].set()
            elif message["type"] == "message":
                for listener in self._listeners.get(topic, ()):
                    if listener.full():
                        listener.get_nowait()
                    listener.put_nowait(message["data"])


async def _updates(queue: asyncio.Queue[bytes]) -> AsyncIterator[bytes]:
    while True:
        yield await queue.get()


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    """Redis's errors as ours."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise ClusterUnavailableError(str(error)) from error


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
