"""Whose a session is: what dead nodes leave is taken up, and what a living one has is left alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from bridge import events as e
from bridge import ownership as module
from bridge.cluster import ClusterUnavailableError, Entry, Lease, NodeId
from bridge.cluster.memory import Hub, MemoryCluster
from bridge.floor import Customer
from bridge.journal import Committed, FencedError, Journal, SessionRow, StoredSession, Unit
from bridge.live import LiveSession, OpenSessions
from bridge.ownership import Ownership
from bridge.session import Limits, Session, State
from sms.numbers import look_up
from tests.unit.bridge.story import OURS, START

TTL = 0.4
SESSION = e.SessionId("t1")


class Copy:
    """A copy of nothing, so that a node counts as one that has joined."""

    def apply(self, entry: Entry) -> None:
        """Nothing is said here."""

    def dump(self) -> bytes:
        return b""

    def load(self, snapshot: bytes) -> None:
        """There is nothing."""

    def refounded(self) -> None:
        """There is nothing to say again."""


class Flaky(MemoryCluster):
    """A node that cannot always reach what the nodes share."""

    away = False

    async def nodes(self) -> frozenset[NodeId]:
        if self.away:
            raise ClusterUnavailableError("gone")
        return await super().nodes()

    lost = False
    """What the nodes share is not what it was."""

    async def steady(self) -> bool:
        return not self.lost


class Node:
    """One node: its sessions, and what became of them. Implements `ownership.Keeper`."""

    def __init__(self, name: str, hub: Hub, journal: Journal) -> None:
        self.cluster = Flaky(NodeId(name), hub)
        self.sessions = OpenSessions()
        self.journal = journal
        self.ownership = Ownership(self.cluster, self.sessions, journal, self, ttl=TTL)
        self.taken: list[e.SessionId] = []
        self.lost: list[e.SessionId] = []
        self.overtaken_by: Node | None = None

    async def commit(self, unit: Unit) -> Committed:
        if self.overtaken_by is not None:  # we stood still until our lease had run out, and somebody else was faster
            other, self.overtaken_by = self.overtaken_by, None
            assert unit.session is not None
            other.cluster._hub.leases.clear()
            await other.ownership.take(unit.session)
        return await self.journal.commit(unit)

    async def take_over(self, stored: StoredSession, lease: Lease) -> None:
        self.taken.append(stored.id)
        live = session(stored.id)
        live.lease = lease
        self.sessions.add(live)

    def lose(self, live: LiveSession) -> None:
        self.lost.append(live.state.id)
        live.mine = False

    def drop(self, live: LiveSession) -> None:
        if not live.mine:
            self.sessions.remove(live)

    async def until(self, what: object) -> None:
        """Wait until it has taken these."""
        async with asyncio.timeout(10.0):
            while self.taken != what:  # noqa: ASYNC110  # it has no event
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator["Node"]:
        """It has joined, keeps its leases and inherits."""

        async def nothing() -> None:
            pass

        async with self.cluster, self.cluster.joined(Copy(), founder=nothing):
            task = asyncio.create_task(self.ownership.run())
            try:
                yield self
            finally:
                task.cancel()
                await asyncio.wait([task])


def session(name: e.SessionId, *, node: str | None = None) -> LiveSession:
    """An open session; of another node when one is named."""
    state = State(
        id=name,
        opened_at=START,
        touched_at=START,
        customer="+15550100123",
        our_number=OURS,
        desk=None,
        language="en",
        introduced=False,
        code="BCDF",
    )
    rules = Session(state, flow=None, words=lambda *_: "", menu=None, limits=Limits())
    return LiveSession(
        rules, Customer(look_up("+15550100123")), 0, None, mine=node is None, node=None if node is None else NodeId(node)
    )


async def kept(journal: Journal, name: e.SessionId, *, closed_at: float | None = None) -> None:
    """The journal has a session; an open one, when it was not closed."""
    row = SessionRow(state="open", customer="+15550100123", our_number=OURS, language="en", opened_at=START, closed_at=closed_at)
    await journal.commit(Unit(session=name, row=row, snapshot=b"{}"))


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes that have not begun."""
    hub = Hub(shared=True)
    async with Journal.open(f"sqlite:///{tmp_path}/journal.db") as journal:
        await kept(journal, SESSION)
        yield Node("a", hub, journal), Node("b", hub, journal)


async def test_what_a_node_leaves_that_is_gone_is_taken_up(pair: tuple[Node, Node]) -> None:
    """Also what it had no time to tell of: the journal has it."""
    a, b = pair
    await kept(a.journal, e.SessionId("t2"))
    b.sessions.add(session(SESSION, node="a"))
    async with b.at_work():
        async with a.at_work():
            await asyncio.sleep(TTL)
            assert b.taken == []
        async with asyncio.timeout(10.0):
            while sorted(b.taken) != [SESSION, "t2"]:  # noqa: ASYNC110  # it has no event
                await asyncio.sleep(0.01)


async def test_what_nobody_has_heard_of_is_taken_up_when_its_node_dies(pair: tuple[Node, Node]) -> None:
    """A node began its only conversation and died before it could tell: a survivor has seen the node, and asks the journal."""
    a, b = pair
    async with b.at_work():
        async with a.at_work():
            async with asyncio.timeout(10.0):
                while a.cluster.node not in b.ownership.alive:  # noqa: ASYNC110  # it has no event
                    await asyncio.sleep(0.01)
            assert b.taken == []
        await b.until([SESSION])


async def test_what_a_dead_node_had_just_ended_is_forgotten(pair: tuple[Node, Node]) -> None:
    """It is over in the journal, and the node died before it could tell."""
    _, b = pair
    await kept(b.journal, e.SessionId("t2"), closed_at=START + 1.0)
    for name in (SESSION, e.SessionId("t2")):
        b.sessions.add(session(name, node="a"))
    async with b.at_work():
        await b.until([SESSION])
        async with asyncio.timeout(10.0):
            while "t2" in b.sessions:  # noqa: ASYNC110  # it has no event
                await asyncio.sleep(0.01)


async def test_a_node_that_is_about_to_leave_takes_nothing(pair: tuple[Node, Node]) -> None:
    """Neither from the dead nor from those who offer it."""
    _, b = pair
    b.sessions.add(session(SESSION, node="a"))
    b.ownership.taking = False
    async with b.at_work():
        await b.ownership.take(SESSION)
        await asyncio.sleep(TTL)
        assert b.taken == []
        b.ownership.taking = True
        await b.until([SESSION])


async def test_after_a_break_nodes_that_are_not_heard_have_time_to_come_back(
    pair: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nodes share was away: who is missing then may only not have been heard yet."""
    monkeypatch.setattr(module, "COME_BACK", 3_600.0)
    _, b = pair
    b.sessions.add(session(SESSION, node="a"))
    b.cluster.away = True
    async with b.at_work():
        await asyncio.sleep(TTL / 2)
        b.cluster.away = False
        await asyncio.sleep(TTL)
        assert b.taken == []
        monkeypatch.setattr(module, "COME_BACK", 0.0)
        await b.until([SESSION])


async def test_who_is_heard_first_after_a_loss_takes_nothing_from_the_others(
    pair: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis was there again before anybody asked it anything, and knows only of the node that was faster."""
    monkeypatch.setattr(module, "COME_BACK", 3_600.0)
    a, b = pair
    b.sessions.add(session(SESSION, node="a"))
    async with a.at_work(), b.at_work():
        async with asyncio.timeout(10.0):
            while a.cluster.node not in b.ownership.alive:  # noqa: ASYNC110  # it has no event
                await asyncio.sleep(0.01)
        b.cluster.lost = True
        copy = b.cluster._hub.replicas.pop(a.cluster.node)
        await asyncio.sleep(TTL)
        b.cluster._hub.replicas[a.cluster.node] = copy
        b.cluster.lost = False
        await asyncio.sleep(TTL)
        assert b.taken == []


async def test_a_session_of_nobody_is_taken_by_one(pair: tuple[Node, Node]) -> None:
    """Both ask for it; who does not get it learns who has it."""
    a, b = pair
    for node in pair:
        node.sessions.add(session(SESSION, node="?"))
        node.sessions[SESSION].node = None
    async with AsyncExitStack() as stack:
        for node in pair:
            await stack.enter_async_context(node.at_work())
        async with asyncio.timeout(10.0):
            while not (a.taken or b.taken):  # noqa: ASYNC110  # it has no event
                await asyncio.sleep(0.01)
            owner, other = (a, b) if a.taken else (b, a)
            while other.sessions[SESSION].node != owner.cluster.node:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.01)
        assert (owner.taken, other.taken) == ([SESSION], [])


async def test_who_was_overtaken_goes_on_showing_the_session(pair: tuple[Node, Node]) -> None:
    """It stood still between lease and journal, another has it by now: it is open there, and is not forgotten here."""
    a, b = pair
    a.sessions.add(session(SESSION, node="c"))
    a.overtaken_by = b
    async with a.cluster, b.cluster:
        await a.ownership.take(SESSION)
        assert (a.taken, b.taken) == ([], [SESSION])
        assert a.sessions[SESSION].node == "b"
        assert await b.cluster.owner(SESSION) == "b"


async def test_a_session_that_is_over_is_forgotten(pair: tuple[Node, Node]) -> None:
    """The journal says so; its lease is given back."""
    a, _ = pair
    await kept(a.journal, SESSION, closed_at=START + 1.0)
    a.sessions.add(session(SESSION, node="c"))
    async with a.cluster:
        await a.ownership.take(SESSION)
        assert (a.taken, list(a.sessions)) == ([], [])
        assert await a.cluster.owner(SESSION) is None


async def test_a_lease_that_was_lost_comes_back_or_the_session_is_let_go(pair: tuple[Node, Node]) -> None:
    """Nobody has taken it meanwhile: it is ours again, by a newer token. Somebody has: we stop."""
    a, b = pair
    async with a.at_work(), b.cluster:
        mine = session(SESSION)
        mine.lease = first = await a.cluster.acquire(SESSION, TTL)
        a.sessions.add(mine)
        assert first is not None
        a.cluster._hub.leases.clear()
        async with asyncio.timeout(10.0):
            while mine.lease is None or mine.lease.token == first.token:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.01)
        a.cluster._hub.leases.clear()
        assert await b.cluster.acquire(SESSION, 60.0) is not None
        async with asyncio.timeout(10.0):
            while a.lost != [SESSION]:  # noqa: ASYNC110  # it has no event
                await asyncio.sleep(0.01)


async def test_the_journal_has_the_last_word_when_nothing_else_is_known(pair: tuple[Node, Node]) -> None:
    """A lease that can no longer be known to be ours: it is, as long as the journal has no newer one."""
    a, _ = pair
    async with a.cluster:
        mine = session(SESSION)
        mine.lease = lease = await a.cluster.acquire(SESSION, TTL)
        assert lease is not None
        await a.ownership.check(mine)
        a.cluster._hub.leases.clear()
        await a.ownership.check(mine)
        await a.journal.commit(Unit(session=SESSION, fence=lease.token + 1))
        with pytest.raises(FencedError):
            await a.ownership.check(mine)
