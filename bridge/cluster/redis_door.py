"""The way to Redis, in whatever way it is run: a client that is patient for a moment, and its errors as ours."""

import asyncio
import math
import random
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import structlog
from redis.asyncio import Redis, SSLConnection
from redis.asyncio import RedisCluster as RedisShards
from redis.asyncio.client import PubSub
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, ReadOnlyError, RedisClusterException, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bridge.cluster import ClusterUnavailableError

log = structlog.get_logger()

ANSWERS_WITHIN = 5.0
"""Seconds for one question to Redis."""
REDIS_PORT = 6379
SENTINEL_PORT = 26379
FILES = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
"""What in an address is the path of one."""
LOST = (RedisConnectionError, RedisTimeoutError, ReadOnlyError)
"""After these another connection may do better. Who may only read is a replica now: the name may lead to another server."""
MOST_CONNECTIONS = 10_000
"""To each server of a Redis Cluster; more questions at once are refused."""


class Watched(Redis):
    """The master of which sentinels know the address."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Leave the master and the sentinels."""
        await super().aclose(close_connection_pool)
        pool: Any = self.connection_pool
        await pool.sentinel_manager.aclose()


class Shards(RedisShards):
    """A Redis Cluster.

    Args:
        hosts: Some of its servers, with their ports.
        options: Of the connections.
    """

    def __init__(self, hosts: list[tuple[str, int]], options: dict[str, Any]) -> None:
        nodes = [ClusterNode(host, port) for host, port in hosts]
        super().__init__(startup_nodes=nodes, retry=_retry(), max_connections=MOST_CONNECTIONS, **options)
        self.options = options

    async def leave(self) -> None:
        """Close every connection; what the client itself does only as long as it knows of no error."""
        await self.aclose()
        await self.nodes_manager.aclose()
        await self.nodes_manager.aclose("startup_nodes")

    async def __aenter__(self) -> Self:
        """It connects when it is first asked something."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave it."""
        await self.leave()


Client: TypeAlias = Redis | Shards


def connect(url: str) -> Client:
    """A client that connects when it is first asked something; `close` it.

    Args:
        url: `redis://USER:PASSWORD@HOST:PORT/DB`, `redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME/DB` or
            `redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT`; with `rediss` for TLS; `unix://PATH`. User and password are
            percent-encoded. After a question mark: what `docs/operations.md` lists.

    Raises:
        ValueError: It is none of these, or a file that it names is not there.
    """
    parts = urlsplit(url)
    for name, file in parse_qsl(parts.query):
        if name in FILES and not Path(file).is_file():
            raise ValueError(f"{name}: there is no file {file}")
    kind = parts.scheme.partition("+")[2]
    if not kind:
        return Redis.from_url(url, retry=_retry(), retry_on_error=list(LOST), **_patience())
    credentials, _, hosts = parts.netloc.rpartition("@")
    path, scheme = parts.path.strip("/"), parts.scheme.partition("+")[0]
    name, _, database = path.partition("/") if kind == "sentinel" else ("", "", path)
    options: dict[str, Any] = {**parse_url(f"{scheme}://{credentials}@/{database}?{parts.query}"), **_patience()}
    if options.pop("connection_class", None) is SSLConnection:
        options["ssl"] = True
    if kind == "cluster":
        if options.pop("db", 0):
            raise ValueError("redis+cluster://HOST:PORT,HOST:PORT: a Redis Cluster has one database, which has no number")
        return Shards(_addresses(hosts, REDIS_PORT), options)
    if kind != "sentinel" or not name:
        raise ValueError("redis+sentinel://HOST:PORT,HOST:PORT/NAME: the name of the master is missing")
    # Not tried again: the next one is asked.
    at_sentinels: dict[str, Any] = {"retry": Retry(NoBackoff(), 0)}
    at_sentinels |= {key: value for key, value in options.items() if key.startswith(("ssl", "socket_"))}
    for key in ("username", "password"):
        if (given := options.pop(f"sentinel_{key}", None)) is not None:
            at_sentinels[key] = given
    watchers = Sentinel(_addresses(hosts, SENTINEL_PORT), sentinel_kwargs=at_sentinels)  # type: ignore[no-untyped-call]
    master: Redis = watchers.master_for(name, redis_class=Watched, retry=_retry(), retry_on_error=list(LOST), **options)
    return master


def _patience() -> dict[str, Any]:
    return {"socket_timeout": ANSWERS_WITHIN, "socket_connect_timeout": ANSWERS_WITHIN, "health_check_interval": 15}


def _retry() -> Retry:
    return Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.05), 3)


def _addresses(hosts: str, port: int) -> list[tuple[str, int]]:
    found = [urlsplit(f"//{host}") for host in hosts.split(",")]
    return [(each.hostname or "", each.port or port) for each in found]


async def close(client: Client) -> None:
    """Give back what the client has open."""
    await (client.leave() if isinstance(client, Shards) else client.aclose())


async def servers(client: Client) -> dict[str, dict[str, Any]]:
    """What the servers that take writes say of themselves (`INFO`), by their run id: another one after a restart or a failover.

    Raises:
        ClusterUnavailableError: One of them cannot be asked.
    """
    asked: Any = client  # its types do not know that it answers in bytes
    async with answering():
        if isinstance(client, Shards):
            await client.initialize()
            said = [await asked.info(target_nodes=[node]) for node in client.get_primaries()]
        else:
            said = [await asked.info()]
    return {each["run_id"]: each for each in said}


async def read(client: Client, stream: str, after: bytes, count: int, seconds: float) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The next entries of a stream, each with its id; none when there is none within the time given.

    Raises:
        ClusterUnavailableError: It does not answer.
    """
    asked: Any = client
    async with answering():
        if isinstance(client, Shards):
            # It would ask a server for the keys in the question, every time.
            await client.initialize()
            node = client.get_node_from_key(stream)
            question = ["XREAD", "COUNT", count, "BLOCK", milliseconds(seconds), "STREAMS", stream, after]
            found = await asked.execute_command(*question, target_nodes=node)
        else:
            found = await asked.xread({stream: after}, count=count, block=milliseconds(seconds))
    return [entry for _, entries in found or () for entry in entries]


@asynccontextmanager
async def listening(client: Client) -> AsyncIterator[PubSub]:
    """A connection that hears what is published; of a Redis Cluster to any of its servers, as each hears everything.

    Raises:
        ClusterUnavailableError: None of them answers; also out of the block, when the connection is lost.
    """
    async with answering():
        if not isinstance(client, Shards):
            async with client.pubsub() as pubsub:
                yield pubsub
            return
        await client.initialize()
        node = random.choice(client.get_nodes())  # noqa: S311  # so that nodes spread
        plain = Redis(host=node.host, port=int(node.port), retry=Retry(NoBackoff(), 0), **client.options)
        async with plain, plain.pubsub() as pubsub:
            yield pubsub


@asynccontextmanager
async def answering() -> AsyncIterator[None]:
    """Redis's errors as ours, and a cancellation that the client has swallowed after all.

    Before Python 3.12 `asyncio.wait_for`, with which the client sends, may take a cancellation for an answer.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        yield
    except (RedisError, RedisClusterException, OSError) as error:
        raise ClusterUnavailableError(in_words(error)) from error
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError


def in_words(error: BaseException) -> str:
    """What is wrong, for whoever can put it right."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is refused: {cause.verify_message}. ?ssl_ca_certs=FILE in cluster.url names who signed it"
        if isinstance(cause, ssl.SSLError) and "CERTIFICATE_REQUIRED" in str(cause.reason):
            return "it wants a certificate of ours: ?ssl_certfile=FILE&ssl_keyfile=FILE in cluster.url"
        if isinstance(cause, ssl.SSLError):
            return f"there is no encrypted connection: {cause.reason or cause}"
        if isinstance(cause, MasterNotFoundError):
            why = "they refuse our password (sentinel_password)" if "auth:" in str(cause) else "it is down, or they are"
            return f"the sentinels name no master: {why}"
        if isinstance(cause, AuthenticationError) and "HELLO" in str(cause):
            return "it wants a user and a password"
        if isinstance(cause, AuthenticationError):
            return f"it refuses our user and password: {str(cause).rstrip('.')}"
        if isinstance(cause, NoPermissionError):
            return f"our user may not do what is needed: {cause}"
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


class Reach:
    """Whether Redis answers this node: said once when it does not any more, and once when it does again.

    Args:
        ttl: Seconds after which a silent node counts as gone.
    """

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._heard = -math.inf
        self._lost_at: float | None = None
        """None: it answers."""

    @property
    def there(self) -> bool:
        """Has Redis taken a sign of life of this node within the last lease time?"""
        return uptime() - self._heard < self._ttl

    @property
    def away(self) -> float:
        """Seconds for which Redis has not answered; 0.0: it answers."""
        return 0.0 if self._lost_at is None else uptime() - self._lost_at

    def lost(self, error: Exception) -> None:
        """Something was asked and not answered."""
        if self._lost_at is None:
            self._lost_at = uptime()
            log.warning("cluster.away", reason=str(error))

    def found(self, asked: float) -> None:
        """A sign of life that was sent at *asked* (`uptime`) was taken."""
        self._heard = asked
        if self._lost_at is not None:
            log.warning("cluster.back", seconds=round(uptime() - self._lost_at, 1))
            self._lost_at = None


async def stop(*tasks: "asyncio.Task[None]") -> None:
    """Cancel tasks that talk to Redis, until they have ended: see `answering`."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.1)


def milliseconds(seconds: float) -> int:
    """As Redis counts."""
    return max(1, round(seconds * 1000))


def uptime() -> float:
    """Seconds on a clock that only rises: also while this process is stopped and, where the system knows, the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
