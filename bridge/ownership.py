"""Who works on which session.

A node works on a session for as long as it holds its lease, and says so again well before that runs out. Sessions whose node
is gone are taken by whoever gets their lease first; the journal refuses the writes of an owner that does not know yet that it is
none any more, by the number on the lease (the *fence*). So the journal has the last word: while what the nodes share is away,
everybody goes on with what they have, and nothing leaves a node that the journal has not taken from it.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Collection
from typing import Protocol

import structlog

from bridge import events as e
from bridge.cluster import Cluster, ClusterUnavailableError, Lease, NodeId
from bridge.journal import Committed, FencedError, Journal, JournalError, StoredSession, Unit
from bridge.live import LiveSession, OpenSessions

log = structlog.get_logger()

AT_ONCE = 20
"""Sessions of a dead node that are taken up at the same time."""
ACQUIRE_AGAIN = 0.5
"""Seconds between two tries to get a lease."""
COME_BACK = 10.0
"""Seconds that a living node may need to be heard again once what the nodes share is there again."""


class Keeper(Protocol):
    """What this needs of the runner."""

    async def commit(self, unit: Unit) -> Committed:
        """Save, with patience."""

    async def take_over(self, stored: StoredSession, lease: Lease) -> None:
        """Work on a session from now on."""

    def lose(self, live: LiveSession) -> None:
        """Do not work on a session any more."""

    def drop(self, live: LiveSession) -> None:
        """A session of another node is over, and nobody has said so."""


class Ownership:
    """The leases of this node's sessions.

    Args:
        cluster: Where leases come from.
        sessions: The open sessions, own and others'.
        journal: Where sessions of dead nodes are read.
        keeper: Who works on them.
        ttl: Seconds for which a lease holds.
    """

    def __init__(self, cluster: Cluster, sessions: OpenSessions, journal: Journal, keeper: Keeper, *, ttl: float) -> None:
        self._cluster = cluster
        self._sessions = sessions
        self._journal = journal
        self._keeper = keeper
        self.ttl = ttl
        self.taking = True
        """False while this node is about to leave: it takes no sessions of others."""
        self._steady_since = -math.inf
        """Since when the nodes have known of each other without a break. For a while after one, a node that seems to be dead may
        only not have come back yet; and to take its calls away would end them."""
        self._gone: dict[NodeId | None, float] = {}
        """Nodes that have sessions and give no sign of life, and since when; None: of sessions of which nobody knows whose."""
        self._left: set[NodeId] = set()
        """Nodes that were heard, are not any more, and may have left sessions of which only the journal knows."""
        self._named: set[NodeId] = set()
        """Nodes of which it was said that they are dead."""
        self._taking: set[e.SessionId] = set()
        self.alive: frozenset[NodeId] = frozenset({cluster.node})
        """The nodes that gave signs of life when this one last looked."""

    def unsteady(self) -> None:
        """What the nodes share was away, or has begun anew."""
        self._steady_since = time.monotonic()
        self._gone.clear()

    async def acquire(self, session: e.SessionId, *, within: float = math.inf) -> Lease | None:
        """Become the owner of a new session. None: another node is.

        Args:
            session: Its id.
            within: Seconds for which it is tried while the nodes cannot reach what they share.

        Raises:
            ClusterUnavailableError: They could not in that time.
        """
        try:
            async with asyncio.timeout(None if within == math.inf else within):
                while True:
                    try:
                        return await self._cluster.acquire(session, self.ttl)
                    except ClusterUnavailableError:
                        await asyncio.sleep(ACQUIRE_AGAIN)
        except TimeoutError as error:
            raise ClusterUnavailableError(f"no lease within {within:g} s") from error

    async def check(self, live: LiveSession) -> None:
        """Make certain, between saving a step and doing what it led to, that the session is still ours.

        The journal has just taken the step, so it was. But this process may have been stopped since; and while the nodes cannot
        reach what they share, only the journal knows.

        Raises:
            FencedError: It is another node's.
        """
        lease = live.lease
        if lease is None or self._cluster.valid(lease):
            return
        stored = await self._journal.session(live.state.id)
        if stored is not None and stored.fence > lease.token:
            raise FencedError(live.state.id, lease.token, stored.fence)

    async def release(self, lease: Lease) -> None:
        """Give a lease back; when that does not work it runs out."""
        with contextlib.suppress(ClusterUnavailableError):
            await self._cluster.release(lease)

    async def run(self) -> None:
        """Keep the leases, and take up what dead nodes leave, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep())
            if not self._cluster.alone:
                tasks.create_task(self._inherit())

    async def _keep(self) -> None:
        """Renew what we own well before it runs out; what we no longer own we stop working on at once."""
        while True:
            await asyncio.sleep(self.ttl / 4)
            held = {live.lease.name: live for live in self._sessions.mine if live.lease is not None}
            try:
                void = await self._cluster.renew_all([live.lease for live in held.values() if live.lease is not None], self.ttl)
                for session in void:
                    await self._again(held[e.SessionId(session)])
            except ClusterUnavailableError:
                self.unsteady()
                continue

    async def _again(self, live: LiveSession) -> None:
        """We slept past it, or it was forgotten. If nobody took the session meanwhile it is ours again."""
        if live.lease is None or not live.mine:
            return
        live.lease = await self._cluster.acquire(live.state.id, self.ttl)
        if live.lease is None:
            log.warning("lease.lost", session=live.state.id)
            self._keeper.lose(live)

    # --- what others leave

    async def _inherit(self) -> None:
        while True:
            await asyncio.sleep(self.ttl / 20)  # so that what is left goes on within the lease time
            began = time.monotonic()
            try:
                alive = await self._cluster.nodes()
                if self.alive - alive and not await self._cluster.steady():
                    self.unsteady()  # it has lost everything and is there again, and we were the first to be heard
            except ClusterUnavailableError:
                self.unsteady()
                continue
            self._left = (self._left | self.alive) - alive - {self._cluster.node}
            self.alive = alive
            if time.monotonic() - began > self.ttl / 2:
                self.unsteady()  # it stood still, and signs of life have run out that nobody could renew
            for node in self._missing(alive) if self.taking else ():
                try:
                    await self._inherit_from(node)
                except (ClusterUnavailableError, JournalError) as error:
                    log.warning("cluster.not_inherited", reason=str(error))

    def _missing(self, alive: Collection[NodeId]) -> list[NodeId | None]:
        """Nodes that have been gone for so long that they are dead."""
        now = time.monotonic()
        seen = {live.node for live in self._sessions.values() if not live.mine and live.node not in alive} | self._left
        self._gone = {node: self._gone.get(node, now) for node in seen}
        if now - self._steady_since < self.ttl + COME_BACK:
            return []
        # A node that is gone from the list has given no sign of life for a lease time already; one that nobody knows has not.
        return [node for node, since in self._gone.items() if node is not None or now - since >= self.ttl / 2]

    async def _inherit_from(self, node: NodeId | None) -> None:
        ours = {live.state.id for live in self._sessions.mine}
        known = [live.state.id for live in self._sessions.values() if not live.mine and live.node == node]
        if node is not None:
            # The journal may have sessions that their node had no time to tell us of.
            others = {live.state.id for live in self._sessions.values() if not live.mine and live.node != node}
            stored = [each.id for each in await self._journal.open_sessions()]
            known = list({*known, *(session for session in stored if session not in ours | others)})
            if known and node not in self._named:
                self._named.add(node)
                log.warning("node.dead", node=node, sessions=len(known))
            elif not known:
                self._left.discard(node)
        await self.take_all(known)

    async def take_all(self, sessions: Collection[e.SessionId]) -> None:
        """Become the owner of as many of these as nobody else is faster for."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(session: e.SessionId) -> None:
            async with gate:
                await self.take(session)

        async with asyncio.TaskGroup() as tasks:
            for session in sessions:
                tasks.create_task(one(session))

    async def take(self, session: e.SessionId) -> None:
        """Become the owner of a session that another node worked on, if nobody else is."""
        if session in self._taking or not self.taking:
            return
        self._taking.add(session)
        try:
            lease = await self._cluster.acquire(session, self.ttl)
            if lease is None:
                await self._learn_owner(session)
                return
            try:
                # From here on the journal takes nothing of the old owner's any more, so what is read next is the whole of it.
                await self._keeper.commit(Unit(session=session, fence=lease.token))
                stored = await self._journal.session(session)
            except FencedError:  # we stood still meanwhile, and somebody has a newer lease
                await self.release(lease)
                await self._learn_owner(session)
                return
            if stored is None or stored.row.closed_at is not None:
                await self.release(lease)
                self._forget(session)
                return
            await self._keeper.take_over(stored, lease)
        except Exception:  # that one session is in the journal and is looked for again; the others need not wait
            log.exception("session.not_taken_over", session=session)
        finally:
            self._taking.discard(session)

    async def _learn_owner(self, session: e.SessionId) -> None:
        live = self._sessions.get(session)
        if live is not None and not live.mine:
            live.node = await self._cluster.owner(session)

    def _forget(self, session: e.SessionId) -> None:
        live = self._sessions.get(session)
        if live is not None:
            self._keeper.drop(live)
