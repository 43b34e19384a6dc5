"""The way to Redis: a client that is patient for a moment, and its errors as ours."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bridge.cluster import ClusterUnavailableError

ANSWERS_WITHIN = 5.0
"""Seconds for one question to Redis."""
SENTINEL_PORT = 26379


def connect(url: str) -> "Redis":
    """A client that connects when it is first asked something.

    Args:
        url: `redis://HOST:PORT/DB`, `rediss://` for TLS, or `redis+sentinel://HOST:PORT,HOST:PORT/NAME/DB`.

    Raises:
        ValueError: It is none of these.
    """
    options: dict[str, Any] = {
        "socket_timeout": ANSWERS_WITHIN,
        "socket_connect_timeout": ANSWERS_WITHIN,
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


@asynccontextmanager
async def answering() -> AsyncIterator[None]:
    """Redis's errors as ours, and a cancellation that the client has swallowed after all.

    Before Python 3.12 `asyncio.wait_for`, with which the client sends, may take a cancellation for an answer.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        yield
    except (RedisError, OSError) as error:
        raise ClusterUnavailableError(str(error) or type(error).__name__) from error
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError


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
