"""Whose desks are open, and what they are told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog

from bridge import events as e
from bridge.floor_ops import SetAgentState
from bridge.news import News
from bridge.open_desks import OpenDesks
from bridge.runner import Runner
from bridge.web.ports import DeskChanged, DeskUpdate, SessionChanged

log = structlog.get_logger()

MISSED_UPDATES = 1000
"""Updates a slow desk may be behind before its subscription ends, so that it begins again and reads everything."""


class Watchers:
    """Desks that are open here or at another node. An agent whose last one closes is signed off after the grace time.

    Args:
        runner: Where the floor is.
        news: How other nodes are told, and tell; None: there are none.
    """

    def __init__(self, runner: Runner, news: News | None) -> None:
        self._runner = runner
        self._subscribers: dict[e.AgentId, set[asyncio.Queue[DeskUpdate | None]]] = {}
        self._leaving: dict[e.AgentId, asyncio.TimerHandle] = {}
        self._open = OpenDesks(runner.cluster, spawn=runner.spawn, came=self._back, left=self._leave_later, news=news)

    def subscribe(self, agent: e.AgentId) -> AbstractAsyncContextManager[AsyncIterator[DeskUpdate]]:
        """Updates from now on; while one subscription is open the desk counts as connected."""
        return self._subscription(agent)

    @asynccontextmanager
    async def _subscription(self, agent: e.AgentId) -> AsyncIterator[AsyncIterator[DeskUpdate]]:
        updates: asyncio.Queue[DeskUpdate | None] = asyncio.Queue()
        self._subscribers.setdefault(agent, set()).add(updates)
        self._back(agent)
        self._open.opened(agent)
        try:
            yield _drain(updates)
        finally:
            self._subscribers[agent].discard(updates)
            if not self._subscribers[agent]:
                self._open.closed(agent)
                self._leave_later(agent)

    def watched(self, agent: e.AgentId) -> bool:
        """Whether a desk of the agent's is open, here or at another node."""
        return bool(self._subscribers.get(agent)) or self._open.elsewhere(agent)

    async def run(self, started: asyncio.Event) -> None:
        """Know of desks at other nodes, until cancelled."""
        await self._open.run(started)

    def expect_desks(self) -> None:
        """After a start: agents who were at work have the grace time to connect again."""
        for agent in self._runner.floor.acd.agents:
            if self._runner.floor.acd.agent_view(agent).state != "offline" and not self.watched(agent):
                self._leave_later(agent)

    def _back(self, agent: e.AgentId) -> None:
        """A desk of the agent's is open."""
        leaving = self._leaving.pop(agent, None)
        if leaving is not None:
            leaving.cancel()

    def _leave_later(self, agent: e.AgentId) -> None:
        if agent in self._leaving or self.watched(agent):
            return
        loop = asyncio.get_running_loop()
        self._leaving[agent] = loop.call_later(self._runner.settings.desk_grace, self._gone, agent)

    def _gone(self, agent: e.AgentId) -> None:
        self._leaving.pop(agent, None)
        self._runner.spawn(self._sign_off(agent))

    async def _sign_off(self, agent: e.AgentId) -> None:
        """The desk did not come back: nothing may ring there, and its chats go back to their places."""
        if agent not in self._runner.floor.acd.agents or self.watched(agent):
            return  # has left us meanwhile, or is back this moment
        log.info("desk.gone", agent=agent)
        view = self._runner.floor.acd.agent_view(agent)
        await self._runner.do(SetAgentState(agent, "offline", "desk lost"))
        for session in view.chats:
            live = self._runner.sessions.get(session)
            if live is not None and live.state.chat_agent == agent:  # else another node has been faster
                self._runner.post(session, e.AgentLost(agent))

    def put(self, agent: e.AgentId, update: DeskUpdate) -> None:
        """Tell the agent, wherever they have a desk open here."""
        for updates in self._subscribers.get(agent, ()):
            if updates.qsize() < MISSED_UPDATES:
                updates.put_nowait(update)
            else:
                # Too far behind to be told line by line: the subscription ends, and whoever reads begins again.
                while not updates.empty():
                    updates.get_nowait()
                updates.put_nowait(None)

    def put_all(self, update: DeskUpdate) -> None:
        """Tell everybody."""
        for agent in self._subscribers:
            self.put(agent, update)


async def _drain(updates: asyncio.Queue[DeskUpdate | None]) -> AsyncIterator[DeskUpdate]:
    """What comes, in order; that something is to be read again comes once for all that came meanwhile, and last."""
    while True:
        batch = [await updates.get()]
        while not updates.empty():
            batch.append(updates.get_nowait())
        again: dict[DeskUpdate, None] = {}
        for update in batch:
            if update is None:
                return
            if isinstance(update, DeskChanged | SessionChanged):
                again[update] = None
            else:
                yield update
        for update in again:
            yield update
