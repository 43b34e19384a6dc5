"""Phones that have registered at one node are known to all, so that a call rings an agent's phone whichever node it is at.

Each node has all of them in memory and goes by that, also while it cannot hear the others. What a phone says is told to the
others at once. A word that is lost is made up for: every few seconds the nodes compare what they know, and tell each other all
of it when that differs. A node that joins asks before it takes calls.
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

import msgspec

from bridge.cluster import Cluster, ClusterUnavailableError
from bridge.news import News
from bridge.sip.registrar import Binding, Registrar

COMPARE_EVERY = 4.0
"""Seconds between two looks whether the others know the same."""
ANSWERED_WITHIN = 2.0
"""Seconds that a node waits for what the others know before it begins."""
TOGETHER = 200
"""Users told in one word."""
PHONES, ALL_PHONES, COMPARED = "phones", "all_phones", "phones_compared"
"""What other nodes are told of phones, what they are asked for, and what they compare."""
Told: TypeAlias = dict[str, list[Binding]]
"""By user; also what was taken back."""
Spawn = Callable[[Coroutine[Any, Any, None]], None]

_TOLD = msgspec.json.Decoder(Told)


class Phones(Protocol):
    """Where phones register at this node."""

    def share_phones(self, clock: Callable[[], float], registered: Callable[[str], None]) -> Registrar:
        """Give the registrar, which goes by *clock* from now on; *registered* is told of each user whose phones change here."""


class Registrations:
    """What this node's registrar and those of the others tell each other.

    Args:
        phones: Not open yet.
        cluster: The other nodes.
        news: How they are reached.
        spawn: Lets something run beside everything else.
        clock: Seconds since the Unix epoch.
    """

    def __init__(self, phones: Phones, cluster: Cluster, news: News, *, spawn: Spawn, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._news = news
        self._spawn = spawn
        self._clock = clock
        self._registrar = phones.share_phones(clock, self._registered)
        news.hear(PHONES, self._told)
        news.hear(COMPARED, self._compare)
        news.answer(ALL_PHONES, self._answer)

    def _registered(self, user: str) -> None:
        self._spawn(self._tell({user: self._registrar.known(user, self._clock())}))

    async def run(self, started: asyncio.Event) -> None:
        """Keep up, until cancelled. Sets *started* when the phones of the other nodes are known, or nobody can tell."""
        with suppress(ClusterUnavailableError):  # it is found out when the nodes compare
            if len(await self._cluster.nodes()) > 1:
                await self._told(await self._news.ask(ALL_PHONES, "", timeout=ANSWERED_WITHIN) or "")
        started.set()
        while True:
            await asyncio.sleep(COMPARE_EVERY)
            await self._news.tell(COMPARED, self._digest())

    async def _told(self, told: str) -> None:
        if told:  # else something may have been missed, and will be found different
            now = self._clock()
            for user, bindings in _TOLD.decode(told).items():
                self._registrar.learn(user, bindings, now)

    async def _answer(self, _: str) -> str:
        return _written(self._everything())

    async def _compare(self, digest: str) -> None:
        if digest != self._digest():
            everything = list(self._everything().items())
            for start in range(0, len(everything), TOGETHER):
                await self._tell(dict(everything[start : start + TOGETHER]))

    async def _tell(self, told: Told) -> None:
        await self._news.tell(PHONES, _written(told))

    def _everything(self) -> Told:
        now = self._clock()
        known = ((user, self._registrar.known(user, now)) for user in sorted(self._registrar.users))
        return {user: bindings for user, bindings in known if bindings}

    def _digest(self) -> str:
        return hashlib.sha256(_written(self._everything()).encode()).hexdigest()


def _written(told: Told) -> str:
    return msgspec.json.encode(told).decode()
