"""At which nodes agents have their desks open: an agent whose node dies, or who moves to another, goes on as before."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from bridge.cluster import Cluster, ClusterUnavailableError
from bridge.events import AgentId
from bridge.news import News

log = structlog.get_logger()

OPEN_FOR = 15.0
"""Seconds after which a desk counts as closed whose node says nothing more of it."""
LOOK_EVERY = 4.0
"""Seconds between two words that the desks here are open, and between two looks at those of the others."""
OPENED, CLOSED = "desk_opened", "desk_closed"
"""What other nodes are told of, with the agent."""
Spawn = Callable[[Coroutine[Any, Any, None]], None]


class OpenDesks:
    """The desks of all nodes, as this one knows them.

    Args:
        cluster: The other nodes.
        spawn: Lets something run beside everything else.
        came: Is told of an agent whose desk has been opened at another node.
        left: Is told of an agent whose desk was open there, and is not any more.
        news: How other nodes are told at once, and tell; None: they find out.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        spawn: Spawn,
        came: Callable[[AgentId], None],
        left: Callable[[AgentId], None],
        news: News | None = None,
    ) -> None:
        self._cluster = cluster
        self._spawn = spawn
        self._came = came
        self._left = left
        self._news = news
        self._here: set[AgentId] = set()
        self._elsewhere: set[AgentId] = set()
        if news is not None:
            news.hear(OPENED, self._told)
            news.hear(CLOSED, self._told)

    def elsewhere(self, agent: AgentId) -> bool:
        """Whether a desk of the agent's is open at another node."""
        return agent in self._elsewhere

    def opened(self, agent: AgentId) -> None:
        """A desk of the agent's is open here."""
        if agent not in self._here:
            self._here.add(agent)
            self._say(agent, OPENED)

    def closed(self, agent: AgentId) -> None:
        """None of the agent's is, any more."""
        self._here.discard(agent)
        self._say(agent, CLOSED)

    def _say(self, agent: AgentId, what: str) -> None:
        if not self._cluster.alone:
            self._spawn(self._let_know(agent, what))

    async def _let_know(self, agent: AgentId, what: str) -> None:
        try:
            if agent in self._here:
                await self._cluster.present(agent, {}, OPEN_FOR)
            else:
                await self._cluster.absent(agent)
        except ClusterUnavailableError:
            log.warning("desk.not_known", agent=agent, retriable=True)  # the next look says it again
        if self._news is not None:
            await self._news.tell(what, agent)

    async def _told(self, _agent: str) -> None:
        await self.look()

    async def run(self, started: asyncio.Event) -> None:
        """Keep up, until cancelled. Sets *started* when it is known whose desks are open."""
        while not self._cluster.alone:
            try:
                for agent in tuple(self._here):
                    await self._cluster.present(agent, {}, OPEN_FOR)
                await self.look()
            except ClusterUnavailableError:
                log.warning("desk.not_known", retriable=True)
            started.set()
            await asyncio.sleep(LOOK_EVERY)
        started.set()

    async def look(self) -> None:
        """Know whose desks are open at other nodes.

        Raises:
            ClusterUnavailableError: Nobody can say. What was known is taken to be so still.
        """
        presence = await self._cluster.presence()
        there = {agent for agent, at in presence.items() if at.node != self._cluster.node}
        before, self._elsewhere = self._elsewhere, there
        for agent in there - before:
            self._came(agent)
        for agent in before - there:
            self._left(agent)
