"""What every cluster promises, seen from two of its nodes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any, TypeAlias

import pytest

from bridge.cluster import AgentPresence, Cluster, NodeId
from bridge.cluster.memory import BACKLOG, Hub, MemoryCluster
from bridge.cluster.redis import RedisCluster, connect
from bridge.events import AgentId, SessionId

ANA, KIM = SessionId("ana"), AgentId("kim")


class Nodes:
    """Two nodes and a way to let time pass."""

    def __init__(
        self,
        first: Cluster,
        second: Cluster,
        advance: Callable[[float], Awaitable[None]],
        leave: Callable[[], Awaitable[None]],
    ) -> None:
        self.first = first
        self.second = second
        self.advance = advance
        self.leave = leave


@pytest.fixture(params=["memory", "redis_url", "redis_shards_url"])
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    make = _in_memory if request.param == "memory" else _on_redis
    async with make(request) as (first, second, advance), AsyncExitStack() as ours, AsyncExitStack() as theirs:
        await ours.enter_async_context(first)
        await theirs.enter_async_context(second)
        yield Nodes(first, second, advance, theirs.aclose)


Made: TypeAlias = tuple[Any, Any, Callable[[float], Awaitable[None]]]


@asynccontextmanager
async def _in_memory(_request: pytest.FixtureRequest) -> AsyncIterator[Made]:
    now = 0.0

    async def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    hub = Hub(clock=lambda: now, shared=True)
    yield MemoryCluster(NodeId("one"), hub), MemoryCluster(NodeId("two"), hub), advance


@asynccontextmanager
async def _on_redis(request: pytest.FixtureRequest) -> AsyncIterator[Made]:
    """A namespace of its own for each test; time passes by taking it off whatever has an end."""
    url: str = request.getfixturevalue(request.param)
    namespace = f"test{next(_NAMESPACES)}"

    now = 0.0

    async def advance(seconds: float) -> None:
        nonlocal now
        now += seconds
        async for key in client.scan_iter(f"{namespace}:*"):
            left = await client.pttl(key)
            if left > 0:
                await client.pexpire(key, left - round(seconds * 1000) - 1)  # one that is over is removed

    async with connect(url) as client:
        yield (
            RedisCluster(NodeId("one"), connect(url), namespace=namespace, clock=lambda: now),
            RedisCluster(NodeId("two"), connect(url), namespace=namespace, clock=lambda: now),
            advance,
        )


_NAMESPACES = count()


async def test_a_session_has_one_owner(nodes: Nodes) -> None:
    """While one node owns a session no other gets it, and everybody sees who has it."""
    assert await nodes.first.owner(ANA) is None
    lease = await nodes.first.acquire(ANA, ttl=10.0)

    assert lease is not None
    assert await nodes.second.acquire(ANA, ttl=10.0) is None
    assert await nodes.second.owner(ANA) == NodeId("one")

    await nodes.first.release(lease)
    assert await nodes.first.owner(ANA) is None


async def test_a_lease_ends_with_its_time_unless_renewed(nodes: Nodes) -> None:
    """A renewed lease lives on; one that ran out goes to whoever asks, with a higher token, and is void for its old holder."""
    old = await nodes.first.acquire(ANA, ttl=10.0)
    assert old is not None
    await nodes.advance(9.0)
    assert await nodes.first.renew(old, ttl=10.0)
    await nodes.advance(9.0)
    assert await nodes.second.acquire(ANA, ttl=10.0) is None
    await nodes.advance(1.0)

    new = await nodes.second.acquire(ANA, ttl=10.0)

    assert new is not None
    assert new.token > old.token
    assert not await nodes.first.renew(old, ttl=10.0)
    await nodes.first.release(old)
    assert await nodes.first.owner(ANA) == NodeId("two")


async def test_a_lease_that_ran_out_cannot_be_renewed(nodes: Nodes) -> None:
    """Also when nobody else has taken it: somebody may have, in between."""
    lease = await nodes.first.acquire(ANA, ttl=10.0)
    assert lease is not None
    await nodes.advance(10.0)

    assert not await nodes.first.renew(lease, ttl=10.0)


async def test_an_owner_that_asks_again_gets_a_new_token(nodes: Nodes) -> None:
    """A node that forgot it owned a session fences off its own past."""
    old = await nodes.first.acquire(ANA, ttl=10.0)
    new = await nodes.first.acquire(ANA, ttl=10.0)

    assert old is not None
    assert new is not None
    assert new.token > old.token
    assert not await nodes.first.renew(old, ttl=10.0)
    assert await nodes.first.renew(new, ttl=10.0)


async def test_many_leases_are_renewed_at_once(nodes: Nodes) -> None:
    """Those that are still ours live on; the void ones are named, whatever made them so."""
    held = [await nodes.first.acquire(f"role:{n}", ttl=100.0) for n in range(1200)]
    leases = [lease for lease in held if lease is not None]
    assert len(leases) == 1200
    await nodes.first.release(leases[3])
    taken = await nodes.second.acquire("role:3", ttl=100.0)
    assert taken is not None
    await nodes.first.acquire("role:7", ttl=100.0)
    await nodes.advance(60.0)

    assert await nodes.first.renew_all(leases, ttl=100.0) == {"role:3", "role:7"}
    assert await nodes.first.renew_all([], ttl=100.0) == frozenset()

    await nodes.advance(60.0)
    assert await nodes.second.owner("role:0") == NodeId("one")
    assert not nodes.first.valid(leases[3])
    assert nodes.first.valid(leases[0])


async def test_a_node_knows_by_itself_when_its_lease_may_be_over(nodes: Nodes) -> None:
    """Without asking anybody: after the time it was last granted for it is not valid, nor is one that was given back."""
    old = await nodes.first.acquire(ANA, ttl=10.0)
    assert old is not None
    assert nodes.first.valid(old)
    assert not nodes.second.valid(old)
    await nodes.advance(9.0)
    assert await nodes.first.renew(old, ttl=10.0)
    await nodes.advance(9.0)
    assert nodes.first.valid(old)
    await nodes.advance(1.0)
    assert not nodes.first.valid(old)

    assert not await nodes.first.renew(old, ttl=10.0)
    assert not nodes.first.valid(old)
    new = await nodes.first.acquire(ANA, ttl=10.0)
    assert new is not None
    assert nodes.first.valid(new)
    assert not nodes.first.valid(old)
    await nodes.first.release(new)
    assert not nodes.first.valid(new)


async def test_a_node_that_leaves_gives_everything_back(nodes: Nodes) -> None:
    """Its leases are free and its agents gone."""
    await nodes.second.acquire(ANA, ttl=10.0)
    await nodes.second.present(KIM, {}, ttl=10.0)

    await nodes.leave()

    assert await nodes.first.presence() == {}
    assert await nodes.first.acquire(ANA, ttl=10.0) is not None


async def test_agents_are_present_while_somebody_says_so(nodes: Nodes) -> None:
    """The last word on an agent counts, for its time; only the node that said it can take it back."""
    await nodes.first.present(KIM, {"chats": 1}, ttl=10.0)
    await nodes.second.present(KIM, {"chats": 2}, ttl=10.0)
    expected = {KIM: AgentPresence(KIM, NodeId("two"), {"chats": 2})}
    assert await nodes.first.presence() == expected

    await nodes.first.absent(KIM)
    assert await nodes.first.presence() == expected
    await nodes.second.absent(KIM)
    assert await nodes.first.presence() == {}

    await nodes.first.present(KIM, {}, ttl=10.0)
    await nodes.advance(10.0)
    assert await nodes.second.presence() == {}


async def test_updates_reach_everybody_who_listens(nodes: Nodes) -> None:
    """All listeners of a topic hear it, on every node, from when they began; other topics stay silent."""
    await nodes.first.publish("desk.kim", b"too early")
    async with nodes.first.subscribe("desk.kim") as here, nodes.second.subscribe("desk.kim") as there:
        await nodes.first.publish("desk.lee", b"not for us")
        await nodes.second.publish("desk.kim", b"1")
        await nodes.first.publish("desk.kim", b"2")

        assert [await anext(here), await anext(here)] == [b"1", b"2"]
        assert [await anext(there), await anext(there)] == [b"1", b"2"]


async def test_several_topics_can_be_asked_for_at_once(nodes: Nodes) -> None:
    """Nobody waits for ever, and each hears its own."""
    topics = [f"topic.{n}" for n in range(5)]

    async def listen(topic: str) -> bytes:
        async with nodes.first.subscribe(topic) as updates:
            await nodes.second.publish(topic, topic.encode())
            return await anext(updates)

    async with asyncio.timeout(10.0):
        assert await asyncio.gather(*map(listen, topics)) == [topic.encode() for topic in topics]


async def test_a_slow_listener_loses_the_oldest(nodes: Nodes) -> None:
    """Nobody waits for a desk that does not read; it misses what is oldest and goes on."""
    async with nodes.first.subscribe("desk.kim") as slow, nodes.first.subscribe("desk.kim") as quick:
        for n in range(BACKLOG + 3):
            await nodes.second.publish("desk.kim", b"%d" % n)
            assert await anext(quick) == b"%d" % n

        assert [await anext(slow) for _ in range(BACKLOG)] == [b"%d" % n for n in range(3, BACKLOG + 3)]
