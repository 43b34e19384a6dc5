"""Options of the whole suite."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import MISSING, Postgres, postgres, programs
from tests.redis_kinds import minimal_acl, sharded
from tests.redis_server import redis_server


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what a developer may have at hand and the project does not carry."""
    parser.addoption(
        "--twilio-openapi",
        metavar="PATH",
        help="Twilio's description of its API (twilio/twilio-oai, twilio_api_v2010.json); requests are then held against it",
    )


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL server of our own."""
    if programs() is None:
        pytest.skip(MISSING)
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The address of a Redis server of our own."""
    with redis_server() as url:
        yield url


@pytest.fixture(scope="session")
def redis_shards_url() -> Iterator[str]:
    """The address of a Redis Cluster of our own, with three masters."""
    with sharded(rules=[*minimal_acl("*"), "+scan", "+pttl"]) as shards:  # tests look at every key, and let its time pass
        yield shards.url


@pytest.fixture(params=["sqlite", "postgresql"])
def journal_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a journal that is not there yet, in each database that can keep one."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/journal.db"
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.database()
