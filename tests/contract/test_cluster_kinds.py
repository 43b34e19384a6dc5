"""Redis as people run it: with TLS and users, watched by sentinels, as a Redis Cluster; and what happens when a master dies."""

import asyncio
import gc
import logging
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from bridge.cluster import AgentPresence, ClusterUnavailableError, Entry, NodeId
from bridge.cluster.checks import announced_secret, examine
from bridge.cluster.redis import RedisCluster, connect
from bridge.cluster.redis_door import close
from bridge.cluster.roles import Roles, Tenure
from bridge.events import AgentId
from tests.redis_kinds import (
    ADMINISTRATOR,
    PASSWORD,
    USER,
    Sharded,
    TlsServer,
    guarded,
    minimal_acl,
    sharded,
    tls_server,
)

PATIENT = 60.0
TTL = 5.0
FEW = 5
"""Entries by which a node may be behind the other."""
_NAMESPACES = count()


class Book:
    """A copy that writes down what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.refoundings = 0

    def apply(self, entry: Entry) -> Any:
        self.texts.append(entry.body.decode())
        return len(self.texts)

    def dump(self) -> bytes:
        return msgspec.json.encode(self.texts)

    def load(self, snapshot: bytes) -> None:
        self.texts = msgspec.json.decode(snapshot, type=list[str])

    def refounded(self) -> None:
        self.refoundings += 1


async def nothing() -> None:
    """A founder that has nothing to begin with."""


async def echo(_: NodeId, question: bytes) -> bytes:
    """Whoever asks hears it back."""
    return question


@pytest.fixture(scope="module")
def tls() -> Iterator[TlsServer]:
    with tls_server() as server:
        yield server


@pytest.fixture
def namespace() -> str:
    """What our user may touch."""
    return f"sidetone:kinds{next(_NAMESPACES)}"


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


async def member(stack: AsyncExitStack, name: str, url: str, namespace: str, *, secret: str = "") -> tuple[RedisCluster, Book]:
    """A node that has joined and answers questions, and its copy."""
    cluster, book = RedisCluster(NodeId(name), connect(url), namespace=namespace, ttl=TTL, secret=secret), Book()
    cluster.answer(echo)
    await stack.enter_async_context(cluster)
    await stack.enter_async_context(cluster.joined(book, founder=nothing))
    return cluster, book


async def until(holds: Callable[[], Awaitable[Any]]) -> Any:
    """Wait until it gives something true; what nodes share may be away meanwhile."""
    async with asyncio.timeout(60):
        while True:
            with suppress(ClusterUnavailableError):
                if found := await holds():
                    return found
            await asyncio.sleep(0.05)


async def everything(one: RedisCluster, first: Book, two: RedisCluster, second: Book) -> None:
    """All that nodes share, once."""
    lease = await one.acquire("ana", 10.0)
    assert lease is not None
    assert await two.acquire("ana", 10.0) is None
    assert await one.renew_all([lease], 10.0) == frozenset()
    assert await two.owner("ana") == one.node
    await one.release(lease)
    said = len(first.texts)
    assert await one.append(b"one") == said + 1
    assert await two.append(b"two") == said + 2
    assert await one.ask(two.node, b"there?", timeout=10.0) == b"there?"
    await one.present(AgentId("kim"), {"chats": 1}, 10.0)
    assert await two.presence() == {AgentId("kim"): AgentPresence(AgentId("kim"), one.node, {"chats": 1})}
    await one.absent(AgentId("kim"))
    async with two.subscribe("desk.kim") as updates, asyncio.timeout(10.0):
        await one.publish("desk.kim", b"an update")
        assert await anext(updates) == b"an update"

    async def same() -> bool:
        return first.texts == second.texts and len(first.texts) == said + 2

    await until(same)
    assert await one.nodes() == {one.node, two.node}
    assert await one.steady()


# --- TLS, users


async def test_everything_works_with_tls_and_the_least_that_a_user_may(
    tls: TlsServer, stack: AsyncExitStack, namespace: str
) -> None:
    """With an authority of its own, a user, and a password full of signs that mean something in a URL."""
    one, first = await member(stack, "one", tls.url, namespace, secret="print")
    two, second = await member(stack, "two", tls.url, namespace, secret="print")

    await everything(one, first, two, second)

    client = connect(tls.url)
    stack.push_async_callback(close, client)
    assert await announced_secret(client, namespace) == "print"
    looked_at = [f"Redis {_version(tls)}", "clock of Redis", "memory of Redis", "secret of the nodes"]
    assert dict(await examine(tls.url, namespace, "print")) == dict.fromkeys(looked_at)


def _version(server: TlsServer) -> str:
    with server.client() as client:
        return str(client.info("server")["redis_version"])


WRONG = "not the p@ssword"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (lambda tls: tls.address(ca=tls.certificates.other_ca), r"certificate is refused.*\?ssl_ca_certs=FILE in cluster\.url"),
        (lambda tls: tls.url.replace("127.0.0.1", "localhost"), "certificate is refused: Hostname mismatch"),
        (lambda tls: f"redis://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{tls.tls_port}", "Connection closed|Connection reset"),
        (lambda tls: tls.address(password=WRONG), "refuses our user and password"),
        (lambda tls: f"redis://127.0.0.1:{tls.port}", "wants a user and a password"),
    ],
    ids=["authority", "host", "TLS there", "password", "no password"],
)
async def test_what_is_refused_is_said_in_words_and_without_passwords(
    tls: TlsServer,
    namespace: str,
    url: Callable[[TlsServer], str],
    said: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At the start and by `sidetone doctor` alike."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ClusterUnavailableError, match=said) as refused:
        async with RedisCluster(NodeId("one"), connect(url(tls)), namespace=namespace):
            pass
    [(name, problem)] = await examine(url(tls), namespace, None)

    assert name == "Redis"
    assert problem is not None
    assert re.search(said, problem)
    assert str(refused.value).startswith("Redis (cluster.url)")
    heard = [str(refused.value), repr(refused.value), problem, caplog.text, *capsys.readouterr()]
    for word in (PASSWORD, quote(PASSWORD, safe=""), WRONG, quote(WRONG, safe="")):
        assert not [text for text in heard if word in text]


async def test_redis_may_want_to_see_a_certificate_of_ours(namespace: str) -> None:
    """Which is what it does when nobody tells it otherwise."""
    with tls_server(clients="yes") as server:
        ours = f"&ssl_certfile={server.certificates.certificate}&ssl_keyfile={server.certificates.key}"
        [(_, problem)] = await examine(server.url, namespace, None)
        checks = await examine(server.address(more=ours), namespace, None)

    assert problem is not None
    # It says so and hangs up, which may overtake what it says.
    assert "wants a certificate of ours: ?ssl_certfile=FILE&ssl_keyfile=FILE" in problem or "Connection reset" in problem
    assert {problem for _, problem in checks} == {None}


async def test_a_file_that_is_not_there_is_named(tls: TlsServer, namespace: str) -> None:
    """Nobody is asked before that."""
    [(_, problem)] = await examine(tls.address(ca=Path("/nowhere/ca.crt")), namespace, None)

    assert problem == "cluster.url: ssl_ca_certs: there is no file /nowhere/ca.crt"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["maxmemory 100mb", "maxmemory-policy allkeys-lru"], "maxmemory-policy noeviction"),
        (["maxmemory 100mb", "maxmemory-policy noeviction"], None),
        (["maxmemory-policy allkeys-lru"], None),
    ],
)
async def test_a_redis_that_drops_keys_when_it_is_full_is_told(lines: list[str], said: str | None, namespace: str) -> None:
    """Without a limit it is never full, and what it would do then does not matter."""
    with tls_server(lines) as server:
        problem = dict(await examine(server.url, namespace, None))["memory of Redis"]

    assert problem is None if said is None else problem is not None and said in problem


async def test_a_user_who_may_not_is_named_what_is_missing(namespace: str) -> None:
    """By its command or its keys, at the start and by the doctor."""
    with tls_server() as server:
        server.admit([rule for rule in minimal_acl() if rule != "+info"])
        [(_, no_info)] = await examine(server.url, namespace, None)
        server.admit(minimal_acl("another"))
        with pytest.raises(ClusterUnavailableError, match="our user may not do what is needed"):
            async with RedisCluster(NodeId("one"), connect(server.url), namespace=namespace):
                pass

    assert no_info is not None
    assert "our user may not do what is needed" in no_info
    assert "info" in no_info


# --- a master dies


def leads(server: Any) -> bool:
    """Whether it takes writes by now."""
    return bool(server.info("replication")["role"] == "master")


class Turns:
    """Who does what one node does for all, by its own knowledge."""

    def __init__(self) -> None:
        self.most = 0
        self._at_it = list[Tenure]()
        self._began = 0
        self._roles = list["asyncio.Task[None]"]()

    def take(self, cluster: RedisCluster) -> None:
        """Let this node ask for the role from now on."""
        self._roles.append(asyncio.create_task(Roles(cluster, ttl=TTL).hold("outbox", self._work)))

    def forget(self) -> None:
        """Whoever began before this does not count for `taken`."""
        self._began = 0

    async def taken(self) -> bool:
        """Has somebody begun?"""
        return self._began > 0

    async def end(self) -> None:
        """Nobody asks any more."""
        for role in self._roles:
            role.cancel()
        await asyncio.wait(self._roles)

    async def _work(self, tenure: Tenure) -> None:
        self._at_it.append(tenure)
        self._began += 1
        try:
            while True:
                self.most = max(self.most, sum(each.mine() for each in self._at_it))
                await asyncio.sleep(0.01)
        finally:
            self._at_it.remove(tenure)


class Life:
    """Two nodes that append, own and listen all the time, and what they have seen."""

    def __init__(self, one: RedisCluster, first: Book, two: RedisCluster, second: Book) -> None:
        self.one, self.first, self.two, self.second = one, first, two, second
        self.answered = 0
        self.given_up = 0
        self.heard = list[bytes]()

    async def append(self, cluster: RedisCluster) -> None:
        for n in count():
            try:
                await cluster.append(f"{cluster.node} {n}".encode(), patience=PATIENT)
                self.answered += 1
            except ClusterUnavailableError:
                self.given_up += 1
            await asyncio.sleep(0.01)

    async def listen(self) -> None:
        while True:
            with suppress(ClusterUnavailableError):
                async with self.two.subscribe("desk.kim") as updates:
                    async for update in updates:
                        self.heard.append(update)
            await asyncio.sleep(0.05)

    async def says(self, word: bytes) -> None:
        """A word gets through."""

        async def through() -> bool:
            await self.one.publish("desk.kim", word)
            await asyncio.sleep(0.02)
            return word in self.heard

        await until(through)

    async def goes_on(self, more: int = 20) -> None:
        """Entries are applied again, at both."""
        before = len(self.first.texts), len(self.second.texts)

        async def grown() -> bool:
            return len(self.first.texts) > before[0] + more and len(self.second.texts) > before[1] + more

        await until(grown)


async def survive(stack: AsyncExitStack, url: str, namespace: str, die: Callable[[Life], Awaitable[None]]) -> Life:
    """Two nodes work, a master dies, and they go on by themselves: one log with every entry once, one owner each."""
    one, first = await member(stack, "one", url, namespace)
    two, second = await member(stack, "two", url, namespace)
    life = Life(one, first, two, second)
    jobs = [asyncio.create_task(job) for job in (life.append(one), life.append(two), life.listen())]
    owned = {lease.name: lease for n in range(30) if (lease := await one.acquire(f"session {n}", 120.0)) is not None}
    await life.says(b"before")
    await life.goes_on()

    await die(life)

    await life.says(b"after")
    await life.goes_on()
    for job in jobs:
        job.cancel()
    await asyncio.wait(jobs)
    assert [job.exception() for job in jobs if not job.cancelled()] == []

    async def same() -> bool:
        return first.texts == second.texts

    await until(same)
    assert len(set(first.texts)) == len(first.texts)
    # The log may begin anew with the copy of the one that had heard less: what the other had just applied is lost,
    # and of what was under way the answer may be. Each has one entry under way at a time.
    assert len(first.texts) >= life.answered - FEW
    assert life.given_up <= 2
    # What the new master knows of leases is the last or the one before it: never another's, and each can be taken once.
    for name, lease in owned.items():
        again = await until(lambda name=name: one.acquire(name, 30.0))  # type: ignore[misc]
        assert again.token > lease.token
        assert await two.acquire(name, 30.0) is None
    await until(one.steady)
    await everything(one, first, two, second)
    return life


async def test_a_master_dies_and_sentinels_choose_another(stack: AsyncExitStack, namespace: str) -> None:
    """It does not know the last entries and leases: the log goes on with all of them, and no role is two nodes' at once."""
    with guarded() as redis:
        dying, heir = redis.servers
        turns = Turns()

        async def die(life: Life) -> None:
            await asyncio.to_thread(redis.part)
            for cluster in (life.one, life.two):
                turns.take(cluster)
            await until(turns.taken)
            await life.goes_on()
            dying.stop(signal.SIGKILL)
            await asyncio.to_thread(heir.wait, leads, "there is no new master")
            turns.forget()
            await until(turns.taken)

        life = await survive(stack, redis.url, namespace, die)
        await turns.end()
        assert turns.most == 1
        assert life.first.refoundings + life.second.refoundings > 0
        [(_, problem)] = await examine(redis.url.replace(ADMINISTRATOR, "guess"), namespace, None)
        assert problem is not None
        assert "they refuse our password (sentinel_password)" in problem
        assert "guess" not in problem
        await stack.aclose()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see its end
async def test_a_master_of_a_redis_cluster_dies_and_its_replica_takes_over(stack: AsyncExitStack, namespace: str) -> None:
    """The one that has the log: both nodes find the new one by themselves."""
    with sharded(replicas=1, timeout=2000) as redis:

        async def die(_: Life) -> None:
            slot = _slot(redis, f"{namespace}:{{log}}")
            number = min(2, slot // (16384 // 3))
            redis.masters[number].stop(signal.SIGKILL)
            await asyncio.to_thread(redis.replicas[number].wait, leads, "there is no new master")

        await survive(stack, redis.url, namespace, die)
        await stack.aclose()
        gc.collect()  # the client forgets servers that have become replicas, with a connection open; no other test shall see it


def _slot(redis: Sharded, key: str) -> int:
    with redis.masters[0].client() as client:
        return int(str(client.execute_command("CLUSTER", "KEYSLOT", key)))
