"""What happens to nodes when Redis, the way to it, or one of them fails."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from bridge.cluster import ClusterSecretError, ClusterUnavailableError, ClusterVersionError, Entry, NodeId, Standing
from bridge.cluster.redis import RedisCluster, connect
from bridge.cluster.roles import Roles, Tenure
from tests.redis_server import RedisServer

ROOT = Path(__file__).parents[2]
PATIENT = 60.0
_NAMESPACES = count()


class Book:
    """A copy that writes down what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.positions: list[str] = []
        self.refoundings = 0

    def apply(self, entry: Entry) -> Any:
        self.texts.append(entry.body.decode())
        self.positions.append(entry.position)
        return len(self.texts)

    def dump(self) -> bytes:
        return msgspec.json.encode((self.texts, self.positions))

    def load(self, snapshot: bytes) -> None:
        self.texts, self.positions = msgspec.json.decode(snapshot, type=tuple[list[str], list[str]])

    def refounded(self) -> None:
        self.refoundings += 1


async def nothing() -> None:
    """A founder that has nothing to begin with."""


async def until(there: Callable[[], bool]) -> None:
    """Wait for something that has to come."""
    async with asyncio.timeout(60):
        while not there():  # noqa: ASYNC110  # what is looked at has no event
            await asyncio.sleep(0.01)


async def until_true(there: Callable[[], Awaitable[bool]]) -> None:
    """As above, of what has to be asked for."""
    async with asyncio.timeout(60):
        while not await there():  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.05)


class Wire:
    """A way to Redis that can be cut, and one that gives no answers back."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[Any]] = set()
        self.cut = False
        self.mute = False
        """Questions still get there."""
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.break_off()
        await self._server.wait_closed()
        if self._serving:
            await asyncio.wait(self._serving)

    def break_off(self) -> None:
        """Every connection is lost."""
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_unix_connection(self._socket)
        except OSError:
            writer.transport.abort()
            return
        if self.cut:
            writer.transport.abort()
            back.transport.abort()
            return
        self._open |= {writer, back}
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            await asyncio.gather(self._pass_on(reader, back, answers=False), self._pass_on(there, writer, answers=True))
        finally:
            self._open -= {writer, back}

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if answers and self.mute:
                    continue
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server that may be stopped."""
    folder = Path(tempfile.mkdtemp(prefix="sidetone-redis-"))
    made = RedisServer(folder)
    made.start()
    yield made
    made.stop(signal.SIGKILL)
    shutil.rmtree(folder)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


@pytest.fixture
def namespace() -> str:
    return f"faults{next(_NAMESPACES)}"


async def member(stack: AsyncExitStack, name: str, url: str, namespace: str, **options: Any) -> tuple[RedisCluster, Book]:
    """A node that has joined, and its copy."""
    cluster, book = RedisCluster(NodeId(name), connect(url), namespace=namespace, **options), Book()
    await stack.enter_async_context(cluster)
    await stack.enter_async_context(cluster.joined(book, founder=nothing))
    return cluster, book


def appending(cluster: RedisCluster, *texts: str) -> list["asyncio.Task[Any]"]:
    """Appended one after the other, none waiting for the other."""
    return [asyncio.create_task(cluster.append(text.encode(), patience=PATIENT)) for text in texts]


# --- Redis is lost


async def test_redis_comes_back_with_nothing(server: RedisServer, stack: AsyncExitStack, namespace: str) -> None:
    """The log begins anew with the copy of a node; what was pending gets in, nothing twice, and all are told."""
    one, first = await member(stack, "one", server.url, namespace)
    two, second = await member(stack, "two", server.url, namespace)
    texts = [f"before {n}" for n in range(20)]
    await asyncio.gather(*appending(one, *texts[:10]), *appending(two, *texts[10:]))
    await until(lambda: len(first.texts) == len(second.texts) == 20)

    server.stop(signal.SIGKILL)
    pending = [*appending(one, "pending 1", "pending 2"), *appending(two, "pending 3")]
    await asyncio.sleep(0.3)
    server.start()
    await asyncio.gather(*pending)

    await until(lambda: bool(first.refoundings and second.refoundings))
    after = await two.append(b"after")
    await until(lambda: len(first.texts) == 24)
    assert first.texts == second.texts
    assert after == 24
    assert sorted(first.texts) == sorted([*texts, "pending 1", "pending 2", "pending 3", "after"])
    assert first.positions == sorted(set(first.positions))
    assert await one.nodes() == {NodeId("one"), NodeId("two")}
    three, third = await member(stack, "three", server.url, namespace)
    await three.append(b"new")
    assert third.texts == [*second.texts[:24], "new"]


async def test_redis_comes_back_with_less_than_it_had(server: RedisServer, stack: AsyncExitStack, namespace: str) -> None:
    """After a failover the last entries may be missing: a node that has applied them begins a new log with them."""
    one, first = await member(stack, "one", server.url, namespace)
    two, second = await member(stack, "two", server.url, namespace)
    client = await stack.enter_async_context(Redis.from_url(server.url))
    keys = [f"{namespace}:{{log}}", f"{namespace}:{{log}}:epoch", f"{namespace}:{{log}}:ops"]
    await one.append(b"kept")
    replica = [await client.dump(key) for key in keys]
    await two.append(b"lost 1")
    await one.append(b"lost 2")
    await until(lambda: len(second.texts) == 3)

    async with client.pipeline(transaction=True) as together:
        for key, value in zip(keys, replica, strict=True):
            assert value is not None
            together.restore(key, 0, value, replace=True)
        await together.execute()

    await until(lambda: bool(first.refoundings and second.refoundings))
    await asyncio.gather(*appending(one, "more 1"), *appending(two, "more 2"))
    await until(lambda: len(first.texts) == len(second.texts) == 5)
    assert first.texts == second.texts
    assert first.texts[:3] == ["kept", "lost 1", "lost 2"]


async def test_another_server_that_has_the_whole_log_may_lack_leases(
    server: RedisServer, stack: AsyncExitStack, namespace: str
) -> None:
    """After a failover nothing is missing from the log, and yet nobody may count on a new lease before the old ones are over."""
    wire = await stack.enter_async_context(Wire(Path(server.url.removeprefix("unix://"))))
    one, first = await member(stack, "one", wire.url, namespace, ttl=1.5)
    keys = [f"{namespace}:{{log}}", f"{namespace}:{{log}}:epoch", f"{namespace}:{{log}}:ops"]
    await one.append(b"kept")
    assert await one.steady()
    async with Redis.from_url(server.url) as client:
        replica = [await client.dump(key) for key in keys]
    wire.cut = True
    wire.break_off()
    server.stop(signal.SIGKILL)
    server.start()
    async with Redis.from_url(server.url) as client:
        for key, value in zip(keys, replica, strict=True):
            assert value is not None
            await client.restore(key, 0, value)
    wire.cut = False

    assert await one.append(b"on", patience=PATIENT) == 2
    assert not await one.steady()
    await until_true(one.steady)
    assert not first.refoundings


async def test_a_log_that_went_on_without_us_wins(server: RedisServer, stack: AsyncExitStack, namespace: str) -> None:
    """When others have appended to what was left after a failover, a node that had more goes by theirs."""
    wire = await stack.enter_async_context(Wire(Path(server.url.removeprefix("unix://"))))
    one, first = await member(stack, "one", wire.url, namespace)
    client = await stack.enter_async_context(Redis.from_url(server.url))
    keys = [f"{namespace}:{{log}}", f"{namespace}:{{log}}:epoch", f"{namespace}:{{log}}:ops"]
    await one.append(b"kept")
    replica = [await client.dump(key) for key in keys]
    await one.append(b"lost 1")
    await one.append(b"lost 2")
    wire.cut = True
    wire.break_off()
    for key, value in zip(keys, replica, strict=True):
        assert value is not None
        await client.restore(key, 0, value, replace=True)
    two, second = await member(stack, "two", server.url, namespace)
    await asyncio.gather(*appending(two, "a", "b", "c"))
    wire.cut = False

    await until(lambda: bool(first.refoundings))
    await one.append(b"after")
    await until(lambda: second.texts[-1] == "after")
    assert first.texts == second.texts
    # The client sends the last one again when the connection was cut before Redis's answer to it came.
    assert [text for text in first.texts if text != "lost 2"] == ["kept", "a", "b", "c", "after"]


async def test_a_lost_redis_gives_nobody_a_role_twice(server: RedisServer, stack: AsyncExitStack, namespace: str) -> None:
    """A lease that only its holder knows of still counts: the role is another node's only after it has run out there."""
    options = {"ttl": 1.5}
    members = [(await member(stack, name, server.url, namespace, **options))[0] for name in ("one", "two", "three")]
    at_it, most = list[Tenure](), 0

    async def work(tenure: Tenure) -> None:
        nonlocal most
        at_it.append(tenure)
        try:
            while True:
                most = max(most, sum(each.mine() for each in at_it))
                await asyncio.sleep(0.01)
        finally:
            at_it.remove(tenure)

    roles = [asyncio.create_task(Roles(cluster, ttl=1.5).hold("outbox", work)) for cluster in members]
    for _ in range(2):
        await until(lambda: bool(at_it))
        before = at_it[0]
        server.stop(signal.SIGKILL)
        server.start()
        await until(lambda before=before: before not in at_it)  # type: ignore[misc]
    await until(lambda: bool(at_it))
    for role in roles:
        role.cancel()
    await asyncio.wait(roles)
    assert most == 1


async def test_without_redis_an_append_gives_up(server: RedisServer, stack: AsyncExitStack, namespace: str) -> None:
    """After the time it was given; it is not tried again, and what comes later is applied as ever."""
    one, book = await member(stack, "one", server.url, namespace)
    server.stop(signal.SIGKILL)

    with pytest.raises(ClusterUnavailableError, match=r"0\.2 s"):
        await one.append(b"never", patience=0.2)
    with pytest.raises(ClusterUnavailableError):
        await one.acquire("role:outbox", 10.0)

    server.start()
    assert await one.append(b"later", patience=PATIENT) == 1
    assert book.texts == ["later"]


async def test_it_is_said_once_that_redis_is_away_and_once_that_it_is_back(
    server: RedisServer, stack: AsyncExitStack, namespace: str
) -> None:
    """However many ask it meanwhile; and how a node stands with the others can be seen at any time."""
    one, _ = await member(stack, "one", server.url, namespace, ttl=1.0)
    two, _ = await member(stack, "two", server.url, namespace, ttl=60.0)
    await two.append(b"something")
    await until(lambda: one.standing() == Standing(reachable=True, applied=1, behind=0))
    with capture_logs() as logs:
        server.stop(signal.SIGKILL)
        asked = appending(one, *map(str, range(20)))
        await until(lambda: not one.standing().reachable)
        assert one.standing().away > 0.0
        server.start()
        await until(lambda: one.standing().reachable)
        await until(lambda: one.standing().away == 0.0)
        await asyncio.gather(*asked)
    said = [line["event"] for line in logs if line["event"] in {"cluster.away", "cluster.back"}]
    assert said.count("cluster.back") in {1, 2}, "the other's next sign of life may be late"
    assert said.count("cluster.away") == 2, "by each node"
    await until(lambda: one.standing().applied == two.standing().applied == 21)


async def test_a_redis_that_stands_still_is_away(server: RedisServer, stack: AsyncExitStack, namespace: str) -> None:
    """It takes connections and says nothing: seen within the lease time, and not when the client gives up."""
    one, _ = await member(stack, "one", server.url, namespace, ttl=0.5)
    with capture_logs() as logs:
        server.send(signal.SIGSTOP)
        try:
            await until(lambda: any(line["event"] == "cluster.away" for line in logs))
            await until(lambda: not one.standing().reachable)
        finally:
            server.send(signal.SIGCONT)
        await until(lambda: any(line["event"] == "cluster.back" for line in logs))
    assert one.standing().reachable


# --- the way to it is lost


async def test_a_lost_connection_appends_nothing_twice(server: RedisServer, stack: AsyncExitStack, namespace: str) -> None:
    """Broken off at any moment, before or after Redis got it: each entry is applied once, and the answer comes."""
    wire = await stack.enter_async_context(Wire(Path(server.url.removeprefix("unix://"))))
    one, first = await member(stack, "one", wire.url, namespace)
    two, second = await member(stack, "two", server.url, namespace)
    tasks = []
    for n in range(15):
        tasks += [*appending(one, f"one {n}"), *appending(two, f"two {n}")]
        await asyncio.sleep(0.005 * (n % 4))
        wire.mute = n % 3 == 1
        await asyncio.sleep(0.01)
        wire.break_off()
        wire.mute = False

    answers = await asyncio.gather(*tasks)

    await until(lambda: len(first.texts) == len(second.texts) == 30)
    assert first.texts == second.texts
    assert sorted(answers) == list(range(1, 31))
    assert [text for text in first.texts if text.startswith("one")] == [f"one {n}" for n in range(15)]
    assert not first.refoundings


async def test_redis_throws_everybody_out(server: RedisServer, stack: AsyncExitStack, namespace: str) -> None:
    """Connections that are killed again and again cost no entry, no letter and no question."""
    one, first = await member(stack, "one", server.url, namespace)
    two, second = await member(stack, "two", server.url, namespace)
    client = await stack.enter_async_context(Redis.from_url(server.url))

    two.answer(_say_it_back)
    tasks, questions = [], []
    for n in range(20):
        tasks += [*appending(one, f"one {n}"), *appending(two, f"two {n}")]
        questions.append(asyncio.create_task(one.ask(NodeId("two"), b"%d" % n, timeout=PATIENT)))
        await client.client_kill_filter(_type="normal", skipme=True)
        await asyncio.sleep(0.02)

    assert sorted(await asyncio.gather(*tasks)) == list(range(1, 41))
    await until(lambda: len(first.texts) == len(second.texts) == 40)
    assert first.texts == second.texts
    answers = await asyncio.gather(*questions, return_exceptions=True)
    assert all(answer == b"%d" % n or isinstance(answer, ClusterUnavailableError) for n, answer in enumerate(answers))
    assert await one.ask(NodeId("two"), b"still there?", timeout=PATIENT) == b"still there?"


async def test_who_listens_goes_on_listening(server: RedisServer, stack: AsyncExitStack, namespace: str) -> None:
    """After a killed connection and after a restart of Redis updates come again, and letters and questions too."""
    one, _ = await member(stack, "one", server.url, namespace, ttl=2.0)
    two, _ = await member(stack, "two", server.url, namespace, ttl=2.0)
    client = await stack.enter_async_context(Redis.from_url(server.url))
    heard = list[bytes]()

    async def listen() -> None:
        async with two.subscribe("desk.kim") as updates:
            async for update in updates:
                heard.append(update)

    listening = asyncio.create_task(listen())

    async def hears(word: bytes) -> None:
        async with asyncio.timeout(60):
            while word not in heard:
                with suppress(ClusterUnavailableError):
                    await one.publish("desk.kim", word)
                await asyncio.sleep(0.05)

    await hears(b"before")
    await client.client_kill_filter(_type="pubsub")
    await hears(b"after a kill")
    server.stop(signal.SIGKILL)
    server.start()
    await hears(b"after a restart")

    two.answer(_say_it_back)

    async def answers() -> bool:
        try:
            return await one.ask(NodeId("two"), b"there?", timeout=5.0) == b"there?"
        except ClusterUnavailableError:
            return False

    await until_true(answers)
    await two.acquire("ana", 30.0)
    listening.cancel()
    await asyncio.wait([listening])


async def _say_it_back(_: NodeId, question: bytes) -> bytes:
    return question


# --- the log is long


async def test_what_a_snapshot_has_is_thrown_away(server: RedisServer, stack: AsyncExitStack, namespace: str) -> None:
    """The stream does not grow for ever; who joins begins with the snapshot and misses nothing."""
    options = {"snapshot_every": 100, "kept": 0}
    one, first = await member(stack, "one", server.url, namespace, **options)
    two, _ = await member(stack, "two", server.url, namespace, **options)
    client = await stack.enter_async_context(Redis.from_url(server.url))
    for _ in range(3):
        await asyncio.gather(*appending(one, *(f"{n}" for n in range(500))), *appending(two, *(f"{n}" for n in range(500))))

    async def short() -> bool:
        return int(await client.xlen(f"{namespace}:{{log}}")) < 500

    await until_true(short)
    three, third = await member(stack, "three", server.url, namespace, **options)
    await three.append(b"and on")
    await until(lambda: len(first.texts) == 3001)
    assert third.texts == first.texts


async def test_a_node_that_was_away_for_too_long_loads_a_snapshot(
    server: RedisServer, stack: AsyncExitStack, namespace: str
) -> None:
    """What it missed is not in the stream any more; of an entry that got in meanwhile it says that the answer is not known."""
    wire = await stack.enter_async_context(Wire(Path(server.url.removeprefix("unix://"))))
    options = {"snapshot_every": 10, "kept": 0}
    one, first = await member(stack, "one", wire.url, namespace, **options)
    two, second = await member(stack, "two", server.url, namespace, **options)
    client = await stack.enter_async_context(Redis.from_url(server.url))
    await one.append(b"before")

    wire.mute = True
    [unknown] = appending(one, "got in")
    await until(lambda: "got in" in second.texts)
    wire.cut = True
    wire.break_off()
    wire.mute = False
    await asyncio.gather(*appending(two, *(f"{n}" for n in range(1000))))
    length = 1002

    async def short() -> bool:
        nonlocal length
        length = int(await client.xlen(f"{namespace}:{{log}}"))
        return length < 500

    await until_true(short)
    wire.cut = False

    with pytest.raises(ClusterUnavailableError, match="not known"):
        await unknown
    assert first.refoundings == 1
    assert await one.append(b"after") == 1003
    await until(lambda: len(second.texts) == 1003)
    assert first.texts == second.texts


# --- nodes


async def test_a_node_of_another_version_is_refused(server: RedisServer, stack: AsyncExitStack, namespace: str) -> None:
    """While others are there; the error says what both run. With nobody there its version is the service's."""
    ours = await stack.enter_async_context(AsyncExitStack())
    await member(ours, "one", server.url, namespace, version="floor 1", ttl=0.4)

    with pytest.raises(ClusterVersionError, match=r"floor 2.*floor 1.*same"):
        await member(stack, "two", server.url, namespace, version="floor 2", ttl=0.4)

    await ours.aclose()
    cluster, _ = await member(stack, "three", server.url, namespace, version="floor 2", ttl=0.4)
    assert await cluster.nodes() == {NodeId("three")}


async def test_of_nodes_that_start_at_once_one_secret_is_that_of_the_service(
    server: RedisServer, stack: AsyncExitStack, namespace: str
) -> None:
    """Whoever comes second is refused, however close: both have found nobody. Who has the same joins."""
    alone = await stack.enter_async_context(AsyncExitStack())
    both = await asyncio.gather(
        *(member(alone, name, server.url, namespace, secret=name, ttl=0.4) for name in ("one", "two")), return_exceptions=True
    )

    refused = [each for each in both if isinstance(each, BaseException)]
    assert [type(each) for each in refused] == [ClusterSecretError]
    (founder,) = [each[0] for each in both if not isinstance(each, BaseException)]
    await member(stack, "three", server.url, namespace, secret=str(founder.node), ttl=0.4)
    await alone.aclose()
    await member(stack, "four", server.url, namespace, secret=str(founder.node), ttl=0.4)


async def test_a_service_of_another_version_ends_the_block(server: RedisServer, stack: AsyncExitStack, namespace: str) -> None:
    """When the log was lost and others have begun another one, a node of the old version cannot go on, and says so."""
    wire = await stack.enter_async_context(Wire(Path(server.url.removeprefix("unix://"))))
    cluster = await stack.enter_async_context(RedisCluster(NodeId("old"), connect(wire.url), namespace=namespace, version="1"))
    client = await stack.enter_async_context(Redis.from_url(server.url))

    async def serve() -> None:
        async with cluster.joined(Book(), founder=nothing):
            wire.cut = True
            wire.break_off()
            await client.flushdb()
            await member(stack, "new", server.url, namespace, version="2")
            wire.cut = False
            await asyncio.get_running_loop().create_future()

    with pytest.raises(ClusterVersionError, match=r"version 1.*version 2"):
        await serve()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


NODE = """
import asyncio, sys
from bridge.cluster import NodeId
from bridge.cluster.redis import RedisCluster, connect

class Copy:
    def apply(self, entry): return None
    def dump(self): return b""
    def load(self, snapshot): pass
    def refounded(self): pass

async def nothing(): pass

async def main(url, namespace):
    async with RedisCluster(NodeId("child"), connect(url), namespace=namespace, ttl=1.0) as cluster:
        async with cluster.joined(Copy(), founder=nothing):
            lease = await cluster.acquire("role:outbox", 1.0)
            print("token", lease.token, flush=True)
            loop = asyncio.get_running_loop()
            while await loop.run_in_executor(None, sys.stdin.readline):
                # Before anything else could be noticed: what it would do right before an act that cannot be undone.
                print("valid", cluster.valid(lease), "renewed", await cluster.renew(lease, 1.0), flush=True)
            await cluster.append(b"", patience=60)

asyncio.run(main(*sys.argv[1:]))
"""


@asynccontextmanager
async def child(url: str, namespace: str) -> AsyncIterator[Any]:
    """A node in a process of its own, which holds a lease and tells of it when it gets a line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", NODE, url, namespace,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_node_that_was_stopped_knows_when_it_wakes(server: RedisServer, stack: AsyncExitStack, namespace: str) -> None:
    """Its lease has run out and another node has it: it knows by its own clock before anybody tells it, and takes part again."""
    one, _ = await member(stack, "one", server.url, namespace)
    async with child(server.url, namespace) as process:
        token = int((await process.stdout.readline()).split()[1])
        assert NodeId("child") in await one.nodes()
        process.send_signal(signal.SIGSTOP)

        async def taken() -> bool:
            lease = await one.acquire("role:outbox", 30.0)
            return lease is not None and lease.token > token

        async def gone() -> bool:
            return await one.nodes() == {NodeId("one")}

        await until_true(taken)
        await until_true(gone)
        process.stdin.write(b"\n")
        process.send_signal(signal.SIGCONT)
        assert await process.stdout.readline() == b"valid False renewed False\n"

        async def back() -> bool:
            return NodeId("child") in await one.nodes()

        await until_true(back)
        process.stdin.close()
        assert await process.wait() == 0


async def test_a_dead_node_is_forgotten(server: RedisServer, stack: AsyncExitStack, namespace: str) -> None:
    """It leaves without a word: after its time it is no longer one of the nodes, holds nothing, and cannot be asked."""
    one, _ = await member(stack, "one", server.url, namespace)
    client = await stack.enter_async_context(Redis.from_url(server.url))
    async with child(server.url, namespace) as process:
        await process.stdout.readline()
        assert await one.nodes() == {NodeId("one"), NodeId("child")}
        process.kill()

        async def gone() -> bool:
            return await one.nodes() == {NodeId("one")} and await one.owner("role:outbox") is None

        await until_true(gone)

        async def silent() -> bool:
            return not await client.exists(f"{namespace}:ask:{{child}}")

        await until_true(silent)
        with pytest.raises(ClusterUnavailableError, match="not there"):
            await one.ask(NodeId("child"), b"", timeout=3600.0)
