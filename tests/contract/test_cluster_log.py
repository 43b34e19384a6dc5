"""What every cluster promises of its log, its questions and many leases at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.cluster import (
    AskRefused,
    ClusterUnavailableError,
    Entry,
    NodeId,
)
from bridge.cluster.memory import Hub, MemoryCluster
from bridge.cluster.redis import RedisCluster, connect

_NAMESPACES = count()


class Refused(Exception):  # noqa: N818  # as the floor's own
    """What a copy says no with."""


class Book:
    """A copy that writes down what it is told: in order, with the time and who said it."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, float, str]] = []
        self.refoundings = 0
        self.loads = 0

    def apply(self, entry: Entry) -> Any:
        """Write a line and say how many there are; `no ...` is refused and leaves a trace all the same."""
        text = entry.body.decode()
        self.lines.append((text, entry.at, entry.node))
        if text.startswith("no "):
            raise Refused(text)
        return len(self.lines)

    def dump(self) -> bytes:
        return msgspec.json.encode(self.lines)

    def load(self, snapshot: bytes) -> None:
        self.loads += 1
        self.lines = msgspec.json.decode(snapshot, type=list[tuple[str, float, str]])

    def refounded(self) -> None:
        self.refoundings += 1

    @property
    def texts(self) -> list[str]:
        return [text for text, _, _ in self.lines]


async def nothing() -> None:
    """A founder that has nothing to begin with."""


async def until(there: Callable[[], bool]) -> None:
    """Wait for something that has to come."""
    async with asyncio.timeout(60):
        while not there():  # noqa: ASYNC110  # a copy has no event to wait for
            await asyncio.sleep(0.01)


class Service:
    """Where nodes come from, and what they leave in the end."""

    def __init__(self, make: Callable[..., Any], stack: AsyncExitStack) -> None:
        self.make = make
        self._stack = stack

    async def node(self, name: str, **options: Any) -> Any:
        """A node that is there, and has not joined."""
        return await self._stack.enter_async_context(self.make(NodeId(name), **options))

    async def member(self, name: str, founder: Callable[[], Awaitable[None]] = nothing, **options: Any) -> tuple[Any, Book]:
        """A node that has joined, and its copy."""
        cluster, book = await self.node(name, **options), Book()
        await self._stack.enter_async_context(cluster.joined(book, founder=founder))
        return cluster, book


@asynccontextmanager
async def service(kind: str, url: str = "") -> AsyncIterator[Service]:
    """A service of its own, without nodes."""
    hub, namespace = Hub(shared=True), f"log{next(_NAMESPACES)}"

    def make(name: NodeId, **options: Any) -> Any:
        if kind == "memory":
            return MemoryCluster(name, hub)
        return RedisCluster(name, connect(url), namespace=namespace, **options)

    async with AsyncExitStack() as stack:
        yield Service(make, stack)


@pytest.fixture(params=["memory", "redis_url", "redis_shards_url"])
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    url = "" if request.param == "memory" else request.getfixturevalue(request.param)
    async with service(request.param, url) as made:
        yield made


# --- the log


async def test_every_node_applies_the_same_in_the_same_order(nodes: Service) -> None:
    """Whoever appends, all copies become the same, times included; and who appended hears what came of it here."""
    one, first = await nodes.member("one")
    two, second = await nodes.member("two")

    assert await one.append(b"a") == 1
    assert await two.append(b"b") == 2
    answers = await asyncio.gather(*(cluster.append(b"%d" % n) for n in range(20) for cluster in (one, two)))

    await until(lambda: len(first.lines) == len(second.lines) == 42)
    assert first.lines == second.lines
    assert first.lines[:2] == [("a", first.lines[0][1], "one"), ("b", first.lines[1][1], "two")]
    assert sorted(answers) == list(range(3, 43))
    times = [at for _, at, _ in first.lines]
    assert times == sorted(times)


async def test_a_refusal_goes_to_who_appended_it(nodes: Service) -> None:
    """What a copy raises is raised by `append` on that node and nowhere else, and the log goes on."""
    one, first = await nodes.member("one")
    two, second = await nodes.member("two")

    with pytest.raises(Refused, match="no way"):
        await one.append(b"no way")
    assert await two.append(b"yes") == 2

    await until(lambda: len(first.lines) == 2)
    assert first.lines == second.lines


async def test_a_node_appends_in_order(nodes: Service) -> None:
    """What one node appends at the same time is applied in the order in which it was asked for."""
    one, book = await nodes.member("one")
    texts = [f"{n}" for n in range(500)]

    await asyncio.gather(*(one.append(text.encode()) for text in texts))

    assert book.texts == texts


async def test_who_has_not_joined_cannot_append(nodes: Service) -> None:
    """Before joining and after leaving; and only who has joined is one of the nodes."""
    one, book = await nodes.node("one"), Book()
    with pytest.raises(ClusterUnavailableError):
        await one.append(b"too early")
    assert await one.nodes() == frozenset()

    async with one.joined(book, founder=nothing):
        assert await one.nodes() == {NodeId("one")}
    assert await one.nodes() == frozenset()

    with pytest.raises(ClusterUnavailableError):
        await one.append(b"too late")
    assert book.texts == []


async def test_the_founder_makes_the_beginning(nodes: Service) -> None:
    """What the first node appends while it founds is applied at once; whoever comes later begins with what came of it."""
    cluster, book = await nodes.node("one"), Book()

    async def founder() -> None:
        assert await cluster.append(b"begin") == 1
        with pytest.raises(Refused):
            await cluster.append(b"no begin")

    async with cluster.joined(book, founder=founder):
        assert await cluster.append(b"on") == 3
        _, other = await nodes.member("two", founder=_never)
        await until(lambda: len(other.lines) == 3)
        assert other.lines == book.lines
        times = [at for _, at, _ in book.lines]
        assert times == sorted(times)


async def _never() -> None:
    raise AssertionError("somebody is there already")


async def test_a_founder_that_fails_has_not_joined(nodes: Service) -> None:
    """Its error is raised, and the next node founds."""
    cluster = await nodes.node("one")

    async def founder() -> None:
        raise Refused("the journal is away")

    with pytest.raises(Refused):
        await cluster.joined(Book(), founder=founder).__aenter__()
    two, _ = await nodes.member("two")
    assert await two.nodes() == {NodeId("two")}


async def test_of_two_that_start_together_one_founds(nodes: Service) -> None:
    """The others wait for it and join; it takes its time."""
    founded: list[int] = []

    async def join(number: int) -> tuple[Any, Book]:
        async def founder() -> None:
            await asyncio.sleep(0.05)
            founded.append(number)

        return await nodes.member(f"node {number}", founder)

    members = [joining.result() for joining in [*await _all(join(number) for number in range(3))]]

    assert len(founded) == 1
    for number, (cluster, _) in enumerate(members):
        await cluster.append(b"%d" % number)
    await until(lambda: all(len(book.lines) == 3 for _, book in members))
    assert members[0][1].lines == members[1][1].lines == members[2][1].lines
    assert await members[0][0].nodes() == {NodeId("node 0"), NodeId("node 1"), NodeId("node 2")}


async def _all(coroutines: Any) -> list["asyncio.Task[Any]"]:
    async with asyncio.TaskGroup() as tasks:
        return [tasks.create_task(each) for each in coroutines]


async def test_a_node_joins_while_the_others_are_busy(nodes: Service) -> None:
    """It begins with a snapshot and what came after it, misses nothing and has nothing twice."""
    one, first = await nodes.member("one")
    two, second = await nodes.member("two")
    stop = asyncio.Event()

    async def load(cluster: Any, name: str) -> int:
        for n in count():
            await cluster.append(f"{name} {n}".encode())
            if stop.is_set():
                return n + 1
            if n % 5 == 0:
                await asyncio.sleep(0)
        raise AssertionError

    loads = [asyncio.create_task(load(one, "one")), asyncio.create_task(load(two, "two"))]
    await until(lambda: len(first.lines) > 50)
    _, third = await nodes.member("three", founder=_never)
    grown = len(third.lines)
    _, fourth = await nodes.member("four", founder=_never)
    await until(lambda: len(third.lines) > grown + 50)
    stop.set()
    total = sum(await asyncio.gather(*loads))

    await until(lambda: all(len(book.lines) == total for book in (first, second, third, fourth)))
    assert first.lines == second.lines == third.lines == fourth.lines
    assert len(set(first.texts)) == total


async def test_the_one_that_is_alone_applies_at_once() -> None:
    """Without another node there can be nothing between asking and having, and its log may begin anew."""
    async with MemoryCluster(NodeId("main"), Hub()) as cluster:
        assert cluster.alone
        book = Book()
        async with cluster.joined(book, founder=nothing):
            appending = cluster.append(b"a")
            with pytest.raises(StopIteration) as done:
                appending.send(None)
            assert done.value.value == 1


@given(
    steps=st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.sampled_from(["", "no "])), min_size=1, max_size=40),
    kind=st.sampled_from(["memory", "redis"]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_interleaving_gives_one_sequence(redis_url: str, steps: list[tuple[int, bool, str]], kind: str) -> None:
    """Three nodes append as they like, waiting or not: all copies are the same, each entry is there once, in its node's order."""

    async def run() -> None:
        async with service(kind, redis_url) as made:
            members = [await made.member(f"{n}") for n in range(3)]
            tasks = []
            for number, (who, wait, refusal) in enumerate(steps):
                tasks.append(asyncio.create_task(_say(members[who][0], f"{refusal}{number}")))
                if wait:
                    await tasks[-1]
                else:
                    await asyncio.sleep(0)  # its turn to ask, before the next of the same node
            said = await asyncio.gather(*tasks)
            books = [book for _, book in members]
            await until(lambda: all(len(book.lines) == len(steps) for book in books))
            assert books[0].lines == books[1].lines == books[2].lines
            for who in range(3):
                theirs = [f"{refusal}{n}" for n, (node, _, refusal) in enumerate(steps) if node == who]
                assert [text for text, _, node in books[0].lines if node == str(who)] == theirs
            assert said == [None if refusal else books[0].texts.index(f"{n}") + 1 for n, (_, _, refusal) in enumerate(steps)]

    asyncio.run(run())


async def _say(cluster: Any, text: str) -> int | None:
    try:
        return int(await cluster.append(text.encode()))
    except Refused:
        return None


# --- questions


async def test_a_question_is_answered(nodes: Service) -> None:
    """By the node that is asked, which knows who asks; many at a time, and one that takes long holds nobody up."""
    one, two = await nodes.node("one"), await nodes.node("two")
    later = asyncio.Event()

    async def handler(node: NodeId, question: bytes) -> bytes:
        if question == b"slow":
            await later.wait()
        return node.encode() + b" asks " + question

    two.answer(handler)
    slow = asyncio.create_task(one.ask(NodeId("two"), b"slow", timeout=60.0))

    assert await one.ask(NodeId("two"), b"quick", timeout=60.0) == b"one asks quick"
    assert await two.ask(NodeId("two"), b"myself", timeout=60.0) == b"two asks myself"
    many = [one.ask(NodeId("two"), b"%d" % n, timeout=60.0) for n in range(50)]
    assert await asyncio.gather(*many) == [b"one asks %d" % n for n in range(50)]
    later.set()
    assert await slow == b"one asks slow"


async def test_a_question_that_is_refused_or_fails(nodes: Service) -> None:
    """A refusal comes back with its words; a handler that breaks, or is none, is no answer."""
    one, two = await nodes.node("one"), await nodes.node("two")
    with pytest.raises(ClusterUnavailableError, match="answers nothing"):
        await one.ask(NodeId("two"), b"", timeout=60.0)

    async def handler(_: NodeId, question: bytes) -> bytes:
        if question == b"may I?":
            raise AskRefused(b"not now")
        raise ValueError("a bug")

    two.answer(handler)

    with pytest.raises(AskRefused) as refused:
        await one.ask(NodeId("two"), b"may I?", timeout=60.0)
    assert refused.value.payload == b"not now"
    with pytest.raises(ClusterUnavailableError, match="could not answer"):
        await one.ask(NodeId("two"), b"what?", timeout=60.0)


async def test_nobody_waits_for_ever_for_an_answer(nodes: Service) -> None:
    """A node that is not there is known at once, one that says nothing after the time given; the work goes on all the same."""
    one, two = await nodes.node("one"), await nodes.node("two")
    done = asyncio.Event()

    async def handler(_: NodeId, __: bytes) -> bytes:
        await asyncio.sleep(0.2)
        done.set()
        return b""

    two.answer(handler)

    with pytest.raises(ClusterUnavailableError, match="not there"):
        await one.ask(NodeId("three"), b"", timeout=3600.0)
    with pytest.raises(ClusterUnavailableError, match="not answered"):
        await one.ask(NodeId("two"), b"", timeout=0.05)
    await done.wait()


async def test_who_leaves_answers_no_more(nodes: Service) -> None:
    """What it was about to answer ends with it, and new questions are refused at once."""
    begun = asyncio.Event()

    async def handler(_: NodeId, __: bytes) -> bytes:
        begun.set()
        await asyncio.get_running_loop().create_future()
        return b""

    one = await nodes.node("one")
    async with nodes.make(NodeId("two")) as two:
        two.answer(handler)
        asking = asyncio.create_task(one.ask(NodeId("two"), b"", timeout=1.0))
        await begun.wait()
    with pytest.raises(ClusterUnavailableError):
        await asking
    with pytest.raises(ClusterUnavailableError, match="not there"):
        await one.ask(NodeId("two"), b"", timeout=3600.0)
