"""Questions between nodes, and their answers, as letters in Redis streams.

Every node that is there has a stream, which it keeps alive; to one that has none nothing is sent. A letter says what it is
(`k`: ask, yes, no or broken), its number among the questions of who asked (`id`), and for a question who that is (`from`).
"""

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any

import structlog

from bridge.cluster import AskRefused, ClusterUnavailableError, NodeId
from bridge.cluster.redis_door import ANSWERS_WITHIN, Client, Reach, answering, milliseconds, read, stop

log = structlog.get_logger()

LONGEST = 10_000
"""Letters that stay in a stream; older ones nobody waits for any more."""
READ_AT_ONCE = 100
TRY_AGAIN_AFTER = 0.1
"""Seconds."""
BEGINNING = b"0-0"

_OPEN = """
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'k', 'here')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return id
"""


class Questions:
    """What this node asks and is asked.

    Args:
        node: Its name.
        client: Redis.
        namespace: Before every key.
        reach: Told when Redis does not answer.
    """

    def __init__(self, node: NodeId, client: Client, namespace: str, reach: Reach) -> None:
        self.node = node
        self.handler: Callable[[NodeId, bytes], Awaitable[bytes]] | None = None
        """Who answers; None: nobody does."""
        self._client = client
        self._reach = reach
        self._redis: Any = client  # its types do not know that it answers in bytes
        self._open = client.register_script(_OPEN)
        self._namespace = namespace
        self._last = BEGINNING
        self._numbers = itertools.count(1)
        self._asked: dict[bytes, asyncio.Future[bytes]] = {}
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        """The last questions, by asker and number: one may be sent twice, and after an error the stream is read again."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._reading = asyncio.create_task(self._read(), name="cluster questions")

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await stop(*self._tasks, *([self._reading] if self._reading is not None else []))
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(ClusterUnavailableError("this node has left"))
        try:
            async with answering():
                await self._redis.delete(self._stream(self.node))
        except ClusterUnavailableError as unavailable:
            self._reach.lost(unavailable)

    async def listen(self, ttl: float) -> None:
        """Let others send letters for so many seconds."""
        stream = self._stream(self.node)
        here = await self._open(keys=[stream], args=[LONGEST, milliseconds(ttl)])
        if _order(here) < _order(self._last):  # a new stream, by a clock that is behind
            self._last = BEGINNING

    async def ask(self, node: NodeId, question: bytes, seconds: float) -> bytes:
        """See `Cluster.ask`."""
        number = b"%d" % next(self._numbers)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            async with asyncio.timeout(seconds) as limit:
                if not await self._send(node, {b"k": b"ask", b"id": number, b"from": self.node.encode(), b"body": question}):
                    raise ClusterUnavailableError(f"{node} is not there")
                return await answer
        except TimeoutError as error:
            if limit.expired():
                raise ClusterUnavailableError(f"{node} has not answered within {seconds:g} s") from error
            raise
        finally:
            del self._asked[number]

    async def _send(self, node: NodeId, letter: Mapping[bytes, bytes]) -> bool:
        async with answering():
            sent = await self._redis.xadd(self._stream(node), letter, nomkstream=True, maxlen=LONGEST, approximate=True)
        return sent is not None

    async def _read(self) -> None:
        stream = self._stream(self.node)
        while True:
            try:
                letters = await read(self._client, stream, self._last, READ_AT_ONCE, ANSWERS_WITHIN / 2)
            except ClusterUnavailableError as error:
                self._reach.lost(error)
                self._last = BEGINNING  # it may be another stream by now
                await asyncio.sleep(TRY_AGAIN_AFTER)
                continue
            for id_, letter in letters:
                self._last = id_
                self._take(letter)

    def _take(self, letter: Mapping[bytes, bytes]) -> None:
        kind = letter[b"k"]
        if kind == b"here":
            return
        if kind == b"ask":
            asker = letter[b"from"]
            question = asker + b" " + letter[b"id"]
            if question not in self._seen:
                self._seen[question] = None
                if len(self._seen) > LONGEST:
                    self._seen.popitem(last=False)
                task = asyncio.create_task(self._answer(NodeId(asker.decode()), letter[b"id"], letter[b"body"]))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            return
        asked = self._asked.get(letter[b"id"])
        if asked is None or asked.done():
            return
        if kind == b"yes":
            asked.set_result(letter[b"body"])
        elif kind == b"no":
            asked.set_exception(AskRefused(letter[b"body"]))
        else:
            asked.set_exception(ClusterUnavailableError(letter[b"body"].decode()))

    async def _answer(self, asker: NodeId, number: bytes, question: bytes) -> None:
        try:
            if self.handler is None:
                kind, body = b"broken", f"{self.node} answers nothing".encode()
            else:
                kind, body = b"yes", await self.handler(asker, question)
        except AskRefused as refusal:
            kind, body = b"no", refusal.payload
        except Exception:
            log.exception("cluster.not_answered", node=asker)
            kind, body = b"broken", f"{self.node} could not answer".encode()
        try:
            await self._send(asker, {b"k": kind, b"id": number, b"body": body})
        except ClusterUnavailableError as error:
            self._reach.lost(error)

    def _stream(self, node: NodeId) -> str:
        return f"{self._namespace}:ask:{{{node}}}"


def _order(id_: bytes) -> tuple[int, int]:
    first, _, second = id_.partition(b"-")
    return int(first), int(second)
