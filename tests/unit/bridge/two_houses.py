"""Two whole servers that are one service: a hub, one journal, and what each of them runs beside its runner."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from bridge import events as e
from bridge.adapters import crm_of
from bridge.cluster.memory import Hub
from bridge.contacts import Contacts
from bridge.crm.book import Book
from bridge.supervisor import Supervisor
from tests.unit.bridge.house import House


class Branch(House):
    """One of them."""

    supervisor: Supervisor
    contacts: Contacts
    book: Book

    def __init__(self, folder: Path, hub: Hub, node: str, **changes: Any) -> None:
        super().__init__(folder, **changes)
        self.hub, self.node = hub, node
        self.actions: list[str] = []

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator["Branch"]:
        """The server, open, with supervisor and contacts."""
        async with self.open(), AsyncExitStack() as stack:
            crm = await stack.enter_async_context(crm_of(self.settings, self.journal, self.clock))
            self.book = Book(self.journal, clock=self.clock, region="US")
            self.contacts = Contacts(self.runner, crm, self.book, chance=lambda: 0.5, news=self.news)
            self.book.watch(self.contacts.contact_changed)
            self.contacts.watch(self.desk.session_changed)
            self.runner.listen(self.contacts, own=True)
            self.supervisor = Supervisor(self.runner, self.desk, self.records, news=self.news)
            await self.supervisor.load()
            for run in (self.news.run, self.desk.run, self.contacts.run, self.supervisor.run):
                await stack.enter_async_context(running(run))
            yield self

    def measures(self) -> bool:
        """Whether it is this one that looks after alerts."""
        return self.supervisor._measures


@asynccontextmanager
async def running(run: Callable[[asyncio.Event], Any]) -> AsyncIterator[None]:
    """A service, until the block ends."""
    started = asyncio.Event()
    task = asyncio.create_task(run(started))
    try:
        await started.wait()
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def two_houses(folder: Path, **changes: Any) -> AsyncIterator[tuple[Branch, Branch]]:
    """Both at work; texts of the customer come to the first."""
    hub = Hub(shared=True)
    one, two = (Branch(folder, hub, name, **changes) for name in ("one", "two"))
    async with one.at_work(), two.at_work():
        yield one, two


async def until(condition: Callable[[], object]) -> None:
    """Wait for it."""
    async with asyncio.timeout(20.0):
        while not condition():  # noqa: ASYNC110  # what is waited for knows nothing of events
            await asyncio.sleep(0.01)


async def chat(branch: Branch, agent: e.AgentId) -> e.SessionId:
    """The agent chats with the customer, who has texted to this branch."""
    await branch.ready(agent)
    await branch.caller.text("+15550100200", "my router blinks")
    await branch.until(lambda: bool(branch.runner.sessions))
    await branch.accept(agent)
    return branch.session
