"""`sidetone doctor` and what several nodes share: whether it is there, new enough, of the same time and the same secret."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bridge.app import examine
from bridge.cluster import Entry, NodeId
from bridge.cluster.clocks import clock_problem
from bridge.cluster.redis import RedisCluster, connect
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

    async def nothing() -> None:
        """Nothing to begin with."""

    async def say() -> None:
        node = RedisCluster(NodeId("before"), connect(redis), namespace=namespace, secret=fingerprint(secret))
        async with node, node.joined(Empty(), founder=nothing):
            pass

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
