"""What is published on Redis for whoever listens just now."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bridge.cluster import ClusterUnavailableError
from bridge.cluster.redis_door import ANSWERS_WITHIN, Client, Reach, listening, stop

BACKLOG = 1000
"""Updates a listener may be behind before the oldest are dropped."""
TRY_AGAIN_AFTER = 0.2
"""Seconds."""


class Topics:
    """What this node listens to: one connection, and a queue for each listener.

    A connection that says nothing, not even when asked, is given up: the machine at its other end may be gone without a word.

    Args:
        client: Redis.
        reach: Told when it does not answer.
    """

    def __init__(self, client: Client, reach: Reach) -> None:
        self._client = client
        self._reach = reach
        self._listeners: dict[str, set[asyncio.Queue[bytes]]] = defaultdict(set)
        self._confirmed: dict[str, asyncio.Event] = {}
        self._some = asyncio.Event()
        self._pubsub: PubSub | None = None
        """None: not connected."""
        self._asking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._keep_listening(), name="cluster updates")

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._task is not None
        await stop(self._task)

    async def add(self, topic: str) -> asyncio.Queue[bytes]:
        """A queue that gets everything from now on.

        Raises:
            ClusterUnavailableError: Redis has not confirmed it in time.
        """
        queue: asyncio.Queue[bytes] = asyncio.Queue(BACKLOG)
        first = not self._listeners[topic]
        self._listeners[topic].add(queue)
        try:
            async with asyncio.timeout(ANSWERS_WITHIN) as limit:
                if first:
                    self._confirmed[topic] = asyncio.Event()
                    self._some.set()
                    await self._ask("subscribe", topic)
                await self._confirmed[topic].wait()
        except BaseException as error:
            await self.remove(topic, queue)
            if isinstance(error, TimeoutError) and limit.expired():
                raise ClusterUnavailableError(f"not listening within {ANSWERS_WITHIN:g} s") from error
            raise
        return queue

    async def remove(self, topic: str, queue: asyncio.Queue[bytes]) -> None:
        """The queue gets nothing any more."""
        self._listeners[topic].discard(queue)
        if not self._listeners[topic]:
            del self._listeners[topic]
            self._confirmed.pop(topic, None)
            await self._ask("unsubscribe", topic)

    async def _ask(self, what: str, topic: str) -> None:
        """Say it on the connection that there is; a new one is told all topics anyway."""
        async with self._asking:
            if self._pubsub is None:
                return
            with contextlib.suppress(RedisError, OSError):
                asked: Any = self._pubsub
                await getattr(asked, what)(topic)

    async def _keep_listening(self) -> None:
        while True:
            if not self._listeners:
                self._some.clear()
            await self._some.wait()
            try:
                async with listening(self._client) as pubsub, self._connected(pubsub):
                    await self._pass_on(pubsub)
            except ClusterUnavailableError as error:
                self._reach.lost(error)
            await asyncio.sleep(TRY_AGAIN_AFTER)

    @asynccontextmanager
    async def _connected(self, pubsub: PubSub) -> AsyncIterator[None]:
        async with self._asking:
            await pubsub.subscribe(*self._listeners)
            self._pubsub = pubsub
        try:
            yield
        finally:
            self._pubsub = None

    async def _pass_on(self, pubsub: PubSub) -> None:
        loop = asyncio.get_running_loop()
        asked: float | None = None
        while True:
            message = await pubsub.get_message(timeout=ANSWERS_WITHIN)
            if message is None:
                if asked is None:
                    asked = loop.time()
                    await pubsub.ping()
                elif loop.time() - asked >= ANSWERS_WITHIN:
                    raise RedisTimeoutError(f"nothing heard within {ANSWERS_WITHIN:g} s")
                continue
            asked = None
            if message["type"] == "subscribe":
                if (confirmed := self._confirmed.get(message["channel"].decode())) is not None:
                    confirmed.set()
            elif message["type"] == "message":
                for listener in self._listeners.get(message["channel"].decode(), ()):
                    if listener.full():
                        listener.get_nowait()
                    listener.put_nowait(message["data"])
