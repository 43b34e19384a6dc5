"""What one node does for all of them: one at a time, and another when it is gone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from typing import Any

import pytest

from bridge.cluster import ClusterUnavailableError, Lease, NodeId
from bridge.cluster.memory import Hub, MemoryCluster
from bridge.cluster.redis import RedisCluster, connect
from bridge.cluster.roles import Roles, Tenure

TTL = 0.5
_NAMESPACES = count()


class Work:
    """What a role does: it notes who is at it, and waits."""

    def __init__(self) -> None:
        self.at_it: list[str] = []
        self.begun = asyncio.Event()
        self.most = 0

    def of(self, node: str) -> Callable[[Tenure], Any]:
        async def work(tenure: Tenure) -> None:
            assert tenure.mine()
            self.at_it.append(node)
            self.most = max(self.most, len(self.at_it))
            self.begun.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.at_it.remove(node)

        return work


@pytest.fixture(params=["memory", "redis_url", "redis_shards_url"])
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Any, Any]]:
    hub, namespace = Hub(shared=True), f"roles{next(_NAMESPACES)}"
    url = "" if request.param == "memory" else request.getfixturevalue(request.param)
    names = [NodeId("one"), NodeId("two")]
    async with AsyncExitStack() as stack:
        if url:
            made: list[Any] = [RedisCluster(name, connect(url), namespace=namespace) for name in names]
        else:
            made = [MemoryCluster(name, hub) for name in names]
        yield tuple([await stack.enter_async_context(node) for node in made])


@asynccontextmanager
async def holding(cluster: Any, work: Callable[[Tenure], Any], role: str = "outbox") -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(Roles(cluster, ttl=TTL).hold(role, work))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(there: Callable[[], bool]) -> None:
    """Wait for something that has to come."""
    async with asyncio.timeout(60):
        while not there():  # noqa: ASYNC110  # what is looked at has no event
            await asyncio.sleep(0.01)


async def test_one_node_at_a_time_has_a_role(nodes: tuple[Any, Any]) -> None:
    """For longer than a lease lasts; when the one that has it leaves, the other gets it."""
    one, two = nodes
    work = Work()
    async with holding(two, work.of("two")):
        async with holding(one, work.of("one")):
            await work.begun.wait()
            await asyncio.sleep(3 * TTL)
        await until(lambda: work.at_it == ["two"])
    assert work.at_it == []
    assert work.most == 1
    assert await one.owner("role:outbox") is None


async def test_roles_are_had_one_by_one(nodes: tuple[Any, Any]) -> None:
    """Who has one need not have the other."""
    one, two = nodes
    work = Work()
    async with holding(one, work.of("one"), "outbox"):
        await work.begun.wait()
        async with holding(two, work.of("two"), "hooks"):
            await until(lambda: sorted(work.at_it) == ["one", "two"])
            assert await two.owner("role:hooks") == NodeId("two")


async def test_work_ends_with_the_lease(nodes: tuple[Any, Any]) -> None:
    """The lease is void: the tenure is over at once where that is known, the work is cancelled, and the role asked for again."""
    one, _ = nodes
    work, tenures = Work(), list[Tenure]()
    waiting = work.of("one")

    async def remembered(tenure: Tenure) -> None:
        tenures.append(tenure)
        await waiting(tenure)

    async with holding(one, remembered):
        await work.begun.wait()
        taken = await one.acquire("role:outbox", ttl=TTL)
        assert taken is not None
        assert not tenures[0].mine()
        await until(lambda: len(tenures) == 2)
        assert work.most == 1
        assert tenures[1].mine()
        assert not tenures[0].mine()


async def test_work_that_sees_for_itself_that_the_role_is_gone_begins_again(nodes: tuple[Any, Any]) -> None:
    """It is not done only because it stops before it is cancelled: it goes on when the role is ours again."""
    one, _ = nodes
    tenures = list[Tenure]()

    async def careful(tenure: Tenure) -> None:
        tenures.append(tenure)
        while tenure.mine():  # noqa: ASYNC110  # as work does that asks before every step
            await asyncio.sleep(0.001)

    async with holding(one, careful) as task:
        for times in range(1, 4):
            await until(lambda times=times: len(tenures) == times)  # type: ignore[misc]
            assert await one.acquire("role:outbox", ttl=TTL) is not None
        await until(lambda: len(tenures) == 4)
        assert not task.done()


async def test_work_that_sees_the_end_of_its_tenure_is_begun_again(nodes: tuple[Any, Any]) -> None:
    """It may return by itself then; it is over only when it returns while the role is ours."""
    one, _ = nodes
    tenures, begun = list[Tenure](), asyncio.Event()

    async def work(tenure: Tenure) -> None:
        tenures.append(tenure)
        begun.set()
        while len(tenures) == 1 and tenure.mine():  # noqa: ASYNC110  # that is how work sees it
            await asyncio.sleep(0.001)

    async with holding(one, work) as task:
        await begun.wait()
        assert await one.acquire("role:outbox", ttl=TTL) is not None
        await task
    assert len(tenures) == 2


async def test_what_breaks_the_work_is_told(nodes: tuple[Any, Any]) -> None:
    """Its error reaches whoever holds the role here, the role is free; work that is done ends it too."""
    one, two = nodes

    async def broken(_: Tenure) -> None:
        raise ValueError("a bug")

    async def done(_: Tenure) -> None:
        pass

    with pytest.raises(ValueError, match="a bug"):
        await Roles(one, ttl=TTL).hold("outbox", broken)
    assert await two.owner("role:outbox") is None
    await Roles(two, ttl=TTL).hold("outbox", done)
    assert await two.owner("role:outbox") is None


async def test_work_that_cancels_itself_does_not_begin_again(nodes: tuple[Any, Any]) -> None:
    """That is its way to end."""

    async def gone(_: Tenure) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await Roles(nodes[0], ttl=TTL).hold("outbox", gone)
    assert await nodes[1].owner("role:outbox") is None


async def test_one_node_alone_has_every_role() -> None:
    """It works without asking anybody."""
    async with MemoryCluster(NodeId("main"), Hub()) as cluster:
        work = Work()
        async with holding(cluster, work.of("main")):
            await work.begun.wait()
            assert await cluster.owner("role:outbox") is None


class Deaf(MemoryCluster):
    """A node whose words do not get through, from some moment on."""

    def __init__(self, node: NodeId, hub: Hub) -> None:
        super().__init__(node, hub)
        self.deaf: ClusterUnavailableError | None = None
        self.tries = 0

    async def acquire(self, name: str, ttl: float) -> Lease | None:
        self._try()
        return await super().acquire(name, ttl)

    async def renew(self, lease: Lease, ttl: float) -> bool:
        self._try()
        return await super().renew(lease, ttl)

    async def release(self, lease: Lease) -> None:
        self._try()
        await super().release(lease)

    def _try(self) -> None:
        self.tries += 1
        if self.deaf is not None:
            raise self.deaf


async def test_who_cannot_renew_stops_before_another_begins() -> None:
    """Without an answer the work is cancelled when the lease runs out; the other node has it then, and only then."""
    hub = Hub(shared=True)
    async with Deaf(NodeId("one"), hub) as one, MemoryCluster(NodeId("two"), hub) as two:
        work = Work()
        async with holding(one, work.of("one")):
            await work.begun.wait()
            one.deaf = ClusterUnavailableError("no way there")
            tried = one.tries
            async with holding(two, work.of("two")):
                await until(lambda: work.at_it == ["two"])
                await until(lambda: one.tries > tried + 2)
        one.deaf = None
        async with holding(one, work.of("one")):
            await until(lambda: work.at_it == ["one"])


async def test_a_node_knows_which_roles_it_has(nodes: tuple[Any, Any]) -> None:
    """Whoever wants to hear of it does: when it gets one, and when that is over."""
    one, two = nodes
    heard: list[tuple[str, bool]] = []
    task = asyncio.create_task(
        Roles(two, ttl=TTL, told=lambda role, held: heard.append((role, held))).hold("outbox", Work().of("two"))
    )
    async with holding(one, Work().of("one")):
        await until(lambda: heard != [])
        assert heard[0] == ("outbox", False)
    await until(lambda: heard[-1] == ("outbox", True))
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert heard[-1] == ("outbox", False)
