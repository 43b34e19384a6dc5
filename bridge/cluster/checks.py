"""Whether a node would find what nodes share, and whether it is one of them: for `sidetone doctor`, and for the start."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from bridge.cluster import ClusterUnavailableError, NodeId
from bridge.cluster.clocks import clock_problem
from bridge.cluster.redis import nodes_of
from bridge.cluster.redis_door import Client, answering, close, connect, servers
from bridge.cluster.redis_log import epoch_of

OLDEST = (6, 2)
"""Of Redis: what the scripts and streams need."""
KEEPS = "noeviction"
"""The `maxmemory-policy` of Redis under which nothing is lost."""
Check = tuple[str, str | None]
"""What was looked at, and what is wrong with it; None when nothing is."""


async def announced_secret(client: Client, namespace: str) -> str | None:
    """The fingerprint of the secret that the nodes have, or had when they last ran; None: no node has ever said it.

    Raises:
        ClusterUnavailableError: Redis does not answer.
    """
    asked: Any = client  # its types do not know that it answers in bytes
    async with answering():
        found = await asked.hget(epoch_of(namespace), "secret")
    return found.decode() if found else None


async def nodes_at(url: str, namespace: str) -> frozenset[NodeId]:
    """The nodes that run now; none when Redis cannot be asked, which `examine` says."""
    try:
        client = connect(url)
    except ValueError:
        return frozenset()
    try:
        return await nodes_of(client, namespace)
    except ClusterUnavailableError:
        return frozenset()
    finally:
        await close(client)


async def examine(url: str, namespace: str, fingerprint: str | None) -> list[Check]:
    """Look at Redis as a node would that is about to start.

    Args:
        url: As for `connect`.
        namespace: Of the keys.
        fingerprint: Of the secret on this machine; None: there is none yet.
    """
    try:
        client = connect(url)
    except ValueError as error:
        return [("Redis", f"cluster.url: {error}")]
    try:
        before = time.time()
        found = (await servers(client)).values()
        after = time.time()
        known = await announced_secret(client, namespace)
    except ClusterUnavailableError as error:
        return [("Redis", f"it does not answer as it should: {error}. Check cluster.url, and that Redis runs")]
    finally:
        await close(client)
    versions = sorted({str(each["redis_version"]) for each in found})
    too_old = [version for version in versions if tuple(map(int, version.split(".")[:2])) < OLDEST]
    clocks = [int(each["server_time_usec"]) / 1e6 for each in found if "server_time_usec" in each]
    ahead = max((clock - min(max(clock, before), after) for clock in clocks), key=abs, default=0.0)
    return [
        (f"Redis {', '.join(versions)}", f"it is too old: {'.'.join(map(str, OLDEST))} or newer is needed" if too_old else None),
        ("clock of Redis", clock_problem(ahead)),
        ("memory of Redis", _memory_problem(found)),
        ("secret of the nodes", _secret_problem(known, fingerprint)),
    ]


def _memory_problem(found: Iterable[Mapping[str, Any]]) -> str | None:
    """Redis may make room for others only by refusing what is new, not by dropping what it has."""
    for each in found:
        policy = each.get("maxmemory_policy")
        if int(each.get("maxmemory", 0)) and policy != KEEPS:
            return f"when it is full it drops what nodes share (maxmemory-policy is {policy}): set maxmemory-policy {KEEPS}"
    return None


def _secret_problem(known: str | None, own: str | None) -> str | None:
    if known is None or known == own:
        return None
    if own is None:
        return "the nodes have one and this machine has none: give the setting secret on all, or share the data folder"
    return "the nodes have, or had when they last ran, another one: give the setting secret on all, or share the data folder"
