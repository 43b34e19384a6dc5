"""A node that cannot be one of the others says why, in words, and ends; the others do not notice."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Node, Service, service
from tests.postgres import Postgres

pytestmark = pytest.mark.e2e


async def refused(it: Service, folder: Path, **other: Any) -> str:
    """What a further node says whose settings differ in this."""
    config: Mapping[str, Any] = {**it["a"].config, **other}
    stranger = Node(folder, "stranger", config)
    await stranger.start(wait=False)
    assert await stranger.ended(within=60.0) == 1
    words = stranger.said()
    assert "Traceback" not in words
    return words


async def test_a_node_with_another_secret_is_not_let_in(tmp_path: Path, postgres_server: Postgres) -> None:
    """It names the setting; the service takes texts as before."""
    async with service(tmp_path, postgres_server, names=("a",)) as it:
        words = await refused(it, tmp_path, secret="another secret than that of the others")
        assert "secret: the nodes of this service have another one" in words.replace("\n", " ")

        await it.text("+15550100121", "Hello?")
        await it.check()


async def test_a_node_without_redis_says_so(tmp_path: Path, postgres_server: Postgres) -> None:
    """Nobody answers there: it ends with the reason, within the time that Redis is waited for."""
    async with service(tmp_path, postgres_server, names=("a",)) as it:
        async with asyncio.timeout(60.0):
            words = await refused(it, tmp_path, cluster={**it["a"].config["cluster"], "url": f"unix://{tmp_path}/nobody.sock"})
        assert "nobody.sock" in words
