"""Something has changed that other nodes keep in memory: they are told, and look again.

The journal is the truth, and whoever keeps something of it in memory also looks there now and then; this only makes it quick.
A word that is lost costs time and nothing else. What lies at one node alone can be asked for, without knowing at which.
"""

import asyncio
import secrets
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


Answerer = Callable[[str], Awaitable[str | None]]
"""Answers a question; None: it is for another node."""


class _Word(msgspec.Struct, frozen=True, omit_defaults=True):
    node: str
    topic: str
    about: str
    question: str = ""
    """Its name, when it is one."""
    answers: str = ""
    """The question that this is the answer to."""


class News:
    """Tells the other nodes, and hears them.

    Args:
        cluster: How they are reached.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._callbacks: dict[str, list[Callback]] = {}
        self._answerers: dict[str, Answerer] = {}
        self._asked: dict[str, asyncio.Future[str]] = {}

    def hear(self, topic: str, callback: Callback) -> None:
        """Call *callback* whenever another node tells of *topic*, and when something may not have been heard."""
        self._callbacks.setdefault(topic, []).append(callback)

    async def tell(self, topic: str, about: str = "") -> None:
        """Tell the other nodes; this one is not told. Never raises: who does not hear it finds out a little later."""
        await self._say(_Word(self._cluster.node, topic, about))

    async def _say(self, word: _Word) -> None:
        try:
            await self._cluster.publish(TOPIC, msgspec.json.encode(word))
        except ClusterUnavailableError:
            log.warning("news.not_told", topic=word.topic)

    def answer(self, topic: str, answerer: Answerer) -> None:
        """Let *answerer* answer what other nodes ask under *topic*."""
        self._answerers[topic] = answerer

    async def ask(self, topic: str, about: str, *, timeout: float) -> str | None:  # noqa: ASYNC109  # of the question
        """Ask all other nodes. The first answer; None: none has answered within *timeout* seconds."""
        if self._cluster.alone:
            return None
        name = secrets.token_hex(8)
        answer = self._asked[name] = asyncio.get_running_loop().create_future()
        try:
            await self._say(_Word(self._cluster.node, topic, about, question=name))
            await asyncio.wait([answer], timeout=timeout)
            return answer.result() if answer.done() else None
        finally:
            del self._asked[name]

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
        if word.node == self._cluster.node:
            return
        answer = self._asked.get(word.answers)
        if answer is not None and not answer.done():
            answer.set_result(word.about)
        elif word.question:
            tasks.create_task(_call(lambda about: self._reply(word, about), word.topic, word.about))
        elif not word.answers:
            self._spread(tasks, word.topic, word.about)

    async def _reply(self, word: _Word, about: str) -> None:
        answerer = self._answerers.get(word.topic)
        answer = None if answerer is None else await answerer(about)
        if answer is not None:
            await self._say(_Word(self._cluster.node, word.topic, answer, answers=word.question))

    def _spread(self, tasks: asyncio.TaskGroup, topic: str, about: str) -> None:
        for callback in self._callbacks.get(topic, ()):
            tasks.create_task(_call(callback, topic, about))


async def _call(callback: Callback, topic: str, about: str) -> None:
    try:
        await callback(about)
    except Exception:  # whatever it is, it is found out at the next look
        log.exception("news.failed", topic=topic)
