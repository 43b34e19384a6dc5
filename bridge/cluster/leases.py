"""A lease that has to be held for as long as something lasts, however long that is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from bridge.cluster import ClusterUnavailableError, Lease


class Leases(Protocol):
    """What this needs of a node's cluster."""

    async def renew(self, lease: Lease, ttl: float) -> bool:
        """See `Cluster.renew`."""

    def valid(self, lease: Lease) -> bool:
        """See `Cluster.valid`."""


async def keep(leases: Leases, lease: Lease, ttl: float) -> None:
    """Renew a lease of *ttl* seconds; returns as soon as it is void, or can no longer be known to be ours."""
    while True:
        await asyncio.sleep(ttl / 3)
        if not await _renewed(leases, lease, ttl):
            return


@asynccontextmanager
async def kept(leases: Leases, lease: Lease, ttl: float) -> AsyncIterator["asyncio.Task[None]"]:
    """`keep` a lease while the block lasts. Gives the task that does it: when that ends before the block, the lease is lost."""
    keeping = asyncio.create_task(keep(leases, lease, ttl), name=f"lease of {lease.name}")
    try:
        yield keeping
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
    if not keeping.cancelled():
        keeping.result()


async def _renewed(leases: Leases, lease: Lease, ttl: float) -> bool:
    """Whether it was; it is tried until it cannot be ours any more."""
    while leases.valid(lease):
        renewal = asyncio.create_task(leases.renew(lease, ttl))
        try:
            while not renewal.done() and leases.valid(lease):
                await asyncio.wait({renewal}, timeout=ttl / 20)
            if renewal.done():
                return renewal.result()
        except ClusterUnavailableError:
            await asyncio.sleep(ttl / 20)
        finally:
            renewal.cancel()
    return False
