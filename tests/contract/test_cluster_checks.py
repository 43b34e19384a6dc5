"""`sidetone doctor` and what several nodes share: whether it is there, new enough, of the same time and the same secret."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.app import examine
from bridge.cluster import Entry, NodeId
from bridge.cluster.clocks import clock_problem
from bridge.cluster.redis import RedisCluster, connect
from bridge.media_store.marks import mark_in
from bridge.secret import fingerprint, load_secret
from bridge.settings import Settings
from tests.postgres import Postgres

SECRET = "0123456789abcdef0123456789abcdef"


def settings(folder: Path, journal: str, redis: str, *, secret: str | None = SECRET, namespace: str = "checked") -> Settings:
    """Of one node of several."""
    sections: dict[str, Any] = {
        "data": folder,
        "secret": secret,
        "journal": {"url": journal},
        "cluster": {"url": redis, "namespace": namespace},
        "web": {"port": 0},
        "sip": {"port": 0},
        "hours": {"support_hours": {}},
        "numbers": [{"number": "+15550100200", "flow": "support"}],
        "queues": [{"id": "support"}],
    }
    return Settings(**sections)


class Empty:
    """A copy of nothing."""

    def apply(self, entry: Entry) -> None:
        """Nothing changes."""

    def dump(self) -> bytes:
        """Nothing."""
        return b""

    def load(self, snapshot: bytes) -> None:
        """Nothing."""

    def refounded(self) -> None:
        """Nothing is lost."""


def announce(redis: str, namespace: str, secret: bytes) -> None:
    """As nodes do that have run."""
    beside(redis, namespace, secret, lambda: None)


def beside(redis: str, namespace: str, secret: bytes, work: Callable[[], None]) -> None:
    """Do *work* while a node runs."""

    async def nothing() -> None:
        """Nothing to begin with."""

    async def say() -> None:
        node = RedisCluster(NodeId("before"), connect(redis), namespace=namespace, secret=fingerprint(secret))
        async with node, node.joined(Empty(), founder=nothing):
            await asyncio.to_thread(work)

    asyncio.run(say())


def test_all_is_well_when_everything_is_there(tmp_path: Path, postgres_server: Postgres, redis_url: str) -> None:
    """The journal, its clock, Redis with its version, its clock, and the secret that running nodes have."""
    announce(redis_url, "well", load_secret(tmp_path, SECRET))

    checks = dict(examine(settings(tmp_path, postgres_server.database(), redis_url, namespace="well")))

    looked_at = [name for name in checks if name.startswith(("journal", "clock", "Redis", "secret"))]
    assert [name.split()[0] for name in looked_at] == ["journal", "clock", "Redis", "clock", "secret"]
    assert {checks[name] for name in looked_at} == {None}


def test_another_secret_than_that_of_the_nodes_is_found(tmp_path: Path, postgres_server: Postgres, redis_url: str) -> None:
    """Links that one node signs would be refused by the other; a machine without any is told as well."""
    announce(redis_url, "other", bytes(32))
    journal = postgres_server.database()

    other = dict(examine(settings(tmp_path, journal, redis_url, namespace="other")))["secret of the nodes"]
    none = dict(examine(settings(tmp_path, journal, redis_url, namespace="other", secret=None)))["secret of the nodes"]

    assert other is not None
    assert "another one" in other
    assert none is not None
    assert "this machine has none" in none
    assert not (tmp_path / "secret").exists()


def test_a_media_folder_that_running_nodes_do_not_share_is_found(
    tmp_path: Path, postgres_server: Postgres, redis_url: str
) -> None:
    """It says whose it is not and what to do; where no node runs there is nothing to compare with."""
    of = settings(tmp_path, postgres_server.database(), redis_url, namespace="media")
    looked: list[dict[str, str | None]] = []

    def look() -> None:
        looked.append({name: wrong for name, wrong in examine(of) if name.startswith("media folder")})

    look()
    beside(redis_url, "media", load_secret(tmp_path, SECRET), look)
    with mark_in(tmp_path / "media", "before"):
        beside(redis_url, "media", load_secret(tmp_path, SECRET), look)

    (nobody,), (other,), (shared,) = (list(found.items()) for found in looked)
    assert "no node runs" in nobody[0]
    assert nobody[1] is None
    assert "not that of before" in (other[1] or "")
    assert "media.backend: s3" in (other[1] or "")
    assert shared[1] is None


def test_what_does_not_answer_is_named_with_the_setting_to_look_at(tmp_path: Path) -> None:
    """Neither the database nor Redis is there; both are said, without waiting for long."""
    journal = f"postgresql://sidetone@/none?host={tmp_path}"

    checks = dict(examine(settings(tmp_path, journal, f"unix://{tmp_path}/no.sock")))

    assert "Check journal.url" in (checks["journal"] or "")
    assert "Check cluster.url" in (checks["Redis"] or "")


@pytest.mark.parametrize(("ahead", "said"), [(0.0, None), (1.0, None), (2.5, "2.5 s ahead of"), (-61.0, "61.0 s behind")])
def test_clocks_that_differ_by_more_than_a_second_are_told(ahead: float, said: str | None) -> None:
    """And by how much, and what helps."""
    problem = clock_problem(ahead)

    assert problem is None if said is None else problem is not None and said in problem and "NTP" in problem
