"""Two nodes in one process: a hub, and a journal that both have open."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from bridge.cluster import NodeId
from bridge.cluster.memory import Hub, MemoryCluster
from bridge.cluster.roles import Roles
from bridge.journal import Journal
from bridge.news import News


class Node:
    """What every service of a node is given."""

    def __init__(self, name: str, journal: Journal, cluster: MemoryCluster) -> None:
        self.name = name
        self.journal = journal
        self.cluster = cluster
        self.news = News(cluster)
        self.roles = Roles(cluster, ttl=0.4)
        self._tasks: list[asyncio.Task[Any]] = []

    async def begin(self, run: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Run a service until the node ends, or is killed."""
        started = asyncio.Event()
        task = asyncio.create_task(run(started))
        self._tasks.append(task)
        await started.wait()
        return task

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside the rest."""
        self._tasks.append(asyncio.create_task(work))

    async def end(self) -> None:
        """Stop everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def two_nodes(folder: Path) -> AsyncIterator[tuple[Node, Node]]:
    """Both of them, which hear each other."""
    hub = Hub(shared=True)
    async with AsyncExitStack() as stack:
        nodes = []
        for name in ("one", "two"):
            journal = await stack.enter_async_context(Journal.open(f"sqlite:///{folder}/journal.db"))
            cluster = await stack.enter_async_context(MemoryCluster(NodeId(name), hub))
            node = Node(name, journal, cluster)
            stack.push_async_callback(node.end)
            await node.begin(node.news.run)
            nodes.append(node)
        yield nodes[0], nodes[1]


async def until(is_so: Callable[[], object]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(20.0):
        while not is_so():  # noqa: ASYNC110  # whatever it is, it has no event
            await asyncio.sleep(0.01)
