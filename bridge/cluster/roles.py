"""What one node does for all of them: send texts, tell hooks, make reports.

A role is a lease with a name. Every node asks for it, one has it, and when that one is gone another gets it within the lease
time.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from bridge.cluster import Cluster, ClusterUnavailableError, Lease
from bridge.cluster.leases import keep

log = structlog.get_logger()


class Tenure:
    """The time for which a role is this node's.

    Args:
        role: Which one.
        mine: Can it still be ours?
    """

    def __init__(self, role: str, mine: Callable[[], bool]) -> None:
        self.role = role
        self._mine = mine

    def mine(self) -> bool:
        """Ask right before what cannot be undone. False: the work is about to be cancelled, do nothing more.

        Nobody else is asked, so it costs nothing; see `Cluster.valid`.
        """
        return self._mine()


class Roles:
    """The roles of one node.

    Args:
        cluster: The other nodes.
        ttl: Seconds after which the role of a dead node is free.
        told: Hears of each role whether this node has it.
    """

    def __init__(
        self, cluster: Cluster, *, ttl: float = 10.0, told: Callable[[str, bool], None] = lambda _role, _held: None
    ) -> None:
        self._cluster = cluster
        self._ttl = ttl
        self._told = told

    async def hold(self, role: str, work: Callable[[Tenure], Coroutine[Any, Any, None]]) -> None:
        """Ask for the role, and do its work whenever this node has it, until the work is over or this is cancelled.

        The work is cancelled as soon as the role may be another node's, and begun again when it is ours again; so is work that
        returns because it has seen that the role is gone. What it raises is raised here, after the role was given back.
        """
        if self._cluster.alone:
            self._told(role, True)
            await work(Tenure(role, lambda: True))
            return
        self._told(role, False)
        while True:
            lease = await self._get(role)
            self._told(role, True)
            log.info("role.taken", role=role)
            try:
                if await self._serve(Tenure(role, lambda held=lease: self._cluster.valid(held)), lease, work):  # type: ignore[misc]
                    return
            finally:
                self._told(role, False)
                await self._give_back(lease)
            log.warning("role.lost", role=role)

    async def _get(self, role: str) -> Lease:
        while True:
            try:
                lease = await self._cluster.acquire(f"role:{role}", self._ttl)
                if lease is not None and await self._sure_of(lease):
                    return lease
            except ClusterUnavailableError as error:
                log.debug("role.not_asked_for", role=role, reason=str(error))
            await asyncio.sleep(self._ttl / 4 * random.uniform(0.75, 1.25))  # noqa: S311  # so that nodes do not ask in step

    async def _sure_of(self, lease: Lease) -> bool:
        """Nobody else can still count on an older lease of this role; False: it was given back."""
        try:
            if await self._cluster.steady():
                return True
        except BaseException:
            await self._give_back(lease)
            raise
        await self._give_back(lease)
        return False

    async def _serve(self, tenure: Tenure, lease: Lease, work: Callable[[Tenure], Coroutine[Any, Any, None]]) -> bool:
        """Work while the lease is ours. False: it is not any more."""
        working = asyncio.create_task(work(tenure), name=f"role {tenure.role}")
        keeping = asyncio.create_task(keep(self._cluster, lease, self._ttl), name=f"lease of role {tenure.role}")
        try:
            await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
            ended = working.done()
        finally:
            working.cancel()
            keeping.cancel()
            await asyncio.wait({working, keeping})
        if not keeping.cancelled():
            keeping.result()
        if not working.cancelled():
            working.result()
        elif ended:
            raise asyncio.CancelledError  # by its own doing
        return ended and tenure.mine()  # work that has seen for itself that the role is gone is not over

    async def _give_back(self, lease: Lease) -> None:
        with contextlib.suppress(ClusterUnavailableError, TimeoutError):  # it runs out
            async with asyncio.timeout(self._ttl / 3):
                await self._cluster.release(lease)
