"""Whether a node would find what nodes share, and whether it is one of them: for `sidetone doctor`, and for the start."""

import time

from redis.asyncio import Redis

from bridge.cluster import ClusterUnavailableError
from bridge.cluster.clocks import clock_problem
from bridge.cluster.redis_door import answering, connect

OLDEST = (6, 2)
"""Of Redis: what the scripts and streams need."""
Check = tuple[str, str | None]
"""What was looked at, and what is wrong with it; None when nothing is."""


async def announce_secret(client: "Redis", namespace: str, fingerprint: str) -> None:
    """Say which secret the nodes of this service have; the founder does.

    Raises:
        ClusterUnavailableError: Redis does not answer.
    """
    async with answering():
        await client.set(_key(namespace), fingerprint)


async def announced_secret(client: "Redis", namespace: str) -> str | None:
    """The fingerprint of the secret that the nodes have, or had when they last ran; None: no node has ever said it.

    Raises:
        ClusterUnavailableError: Redis does not answer.
    """
    async with answering():
        found: bytes | None = await client.get(_key(namespace))  # type: ignore[assignment]  # its types do not know that it answers in bytes
    return None if found is None else found.decode()


async def examine(url: str, namespace: str, fingerprint: str | None) -> list[Check]:
    """Look at Redis as a node would that is about to start.

    Args:
        url: As for `connect`.
        namespace: Of the keys.
        fingerprint: Of the secret on this machine; None: there is none yet.
    """
    client = connect(url)
    try:
        async with answering():
            before = time.time()
            seconds, microseconds = await client.time()
            after = time.time()
            version = str((await client.info("server"))["redis_version"])
        known = await announced_secret(client, namespace)
    except ClusterUnavailableError as error:
        return [("Redis", f"it does not answer: {error}. Check cluster.url, and that Redis runs")]
    finally:
        await client.aclose()
    too_old = tuple(int(part) for part in version.split(".")[:2]) < OLDEST
    redis = seconds + microseconds / 1e6
    return [
        (f"Redis {version}", f"it is too old: {'.'.join(map(str, OLDEST))} or newer is needed" if too_old else None),
        ("clock of Redis", clock_problem(redis - min(max(redis, before), after))),
        ("secret of the nodes", _secret_problem(known, fingerprint)),
    ]


def _secret_problem(known: str | None, own: str | None) -> str | None:
    if known is None or known == own:
        return None
    if own is None:
        return "the nodes have one and this machine has none: give the setting secret on all, or share the data folder"
    return "the nodes have, or had when they last ran, another one: give the setting secret on all, or share the data folder"


def _key(namespace: str) -> str:
    return f"{namespace}:secret"
