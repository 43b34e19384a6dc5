"""Something has changed that other nodes keep in memory: they are told, and look again.

The journal is the truth, and whoever keeps something of it in memory also looks there now and then; this only makes it quick.
A word that is lost costs time and nothing else.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from bridge.cluster import Cluster, ClusterUnavailableError

log = structlog.get_logger()

TOPIC = "news"
AGAIN_AFTER = 1.0
"""Seconds after which a node that hears nothing any more tries to listen again."""
Callback = Callable[[str], Awaitable[None]]
"""Is given what has changed; empty: it is not known, so it may be anything."""


class _Word(msgspec.Struct, frozen=True):
    node: str
    topic: str
    about: str


class News:
    """Tells the other nodes, and hears them.

    Args:
        cluster: How they are reached.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._callbacks: dict[str, list[Callback]] = {}

    def hear(self, topic: str, callback: Callback) -> None:
        """Call *callback* whenever another node tells of *topic*, and when something may not have been heard."""
        self._callbacks.setdefault(topic, []).append(callback)

    async def tell(self, topic: str, about: str = "") -> None:
        """Tell the other nodes; this one is not told. Never raises: who does not hear it finds out a little later."""
        word = _Word(self._cluster.node, topic, about)
        try:
            await self._cluster.publish(TOPIC, msgspec.json.encode(word))
        except ClusterUnavailableError:
            log.warning("news.not_told", topic=topic)

    async def run(self, started: asyncio.Event) -> None:
        """Listen until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    async with self._cluster.subscribe(TOPIC) as words:
                        if started.is_set():  # it was silent for a while
                            for topic in self._callbacks:
                                self._spread(tasks, topic, "")
                        started.set()
                        async for word in words:
                            self._heard(tasks, word)
                except ClusterUnavailableError:
                    log.warning("news.not_heard", retriable=True)
                started.set()  # a node begins also when it cannot hear the others
                await asyncio.sleep(AGAIN_AFTER)

    def _heard(self, tasks: asyncio.TaskGroup, body: bytes) -> None:
        try:
            word = msgspec.json.decode(body, type=_Word)
        except msgspec.DecodeError:
            log.warning("news.not_understood")  # of another version
            return
        if word.node != self._cluster.node:
            self._spread(tasks, word.topic, word.about)

    def _spread(self, tasks: asyncio.TaskGroup, topic: str, about: str) -> None:
        for callback in self._callbacks.get(topic, ()):
            tasks.create_task(_call(callback, topic, about))


async def _call(callback: Callback, topic: str, about: str) -> None:
    try:
        await callback(about)
    except Exception:  # whatever it is, it is found out at the next look
        log.exception("news.failed", topic=topic)
