"""The schema in the database and the one in the code are the same, and only a known one is touched."""

import asyncio
import json
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, CreateTable, create_engine, inspect

from bridge.journal import Journal, JournalError, SchemaTooNewError, tables, upgrade
from bridge.journal.database import MIGRATIONS


async def test_migrations_make_what_the_code_expects(journal_url: str) -> None:
    """Tables, columns, types, indexes and constraints of a migrated database equal the metadata."""
    await upgrade(journal_url)

    with connected(journal_url) as connection:
        assert _differences(connection) == []
        checks = {"ck_event_seq", "ck_message_direction", "ck_outbox_state", "ck_delivery_state", "ck_crm_entry_state"}
        assert _checks(connection) == checks == _expected_checks(connection)


def newest() -> str:
    """The revision that the code's own migrations lead to."""
    return max(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("0*.py"))


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), tables.metadata))


def _checks(connection: Connection) -> set[str]:
    """Check constraints, which alembic's comparison leaves out."""
    look = inspect(connection)
    return {str(found["name"]) for name in look.get_table_names() for found in look.get_check_constraints(name)}


def _expected_checks(connection: Connection) -> set[str]:
    statements = [str(CreateTable(table).compile(connection)) for table in tables.metadata.sorted_tables]
    return {word for sql in statements for word in sql.split() if word.startswith("ck_")}


async def test_upgrading_twice_changes_nothing(journal_url: str) -> None:
    """The second upgrade returns the same revision, also when two begin at once."""
    first, second = await asyncio.gather(upgrade(journal_url), upgrade(journal_url))

    assert first == second == await upgrade(journal_url) == newest()


async def test_what_was_there_before_goes_on(journal_url: str) -> None:
    """Rows of the first schema are read by today's code, and say how their sessions began."""
    with connected(journal_url) as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for name, call in (("phoned", "ended"), ("texted", "none")):
            connection.exec_driver_sql(
                "insert into session (id, seq, lines, snapshot, state, customer, our_number, language, opened_at, closed_at,"
                f" text_state, call_state) values ('{name}', 1, 0, '{{}}', 'closed', '+15550100200', '+15550100100', 'en', 1.0,"
                f" 2.0, 'none', '{call}')"
            )
        connection.exec_driver_sql(
            "insert into suppression (number, sender, suppressed, evidence, at) values ('+15550100200', '*', true, 'm', 1.0)"
        )

    async with Journal.open(journal_url) as journal:
        assert {stored.id: stored.row.service for stored in await journal.sessions(9)} == {"phoned": "call", "texted": "inbound"}
        suppression = await journal.suppression("+15550100200", "+15550100100")
        assert suppression is not None
        assert not suppression.provisional


async def test_the_command_makes_the_schema(journal_url: str, tmp_path: Path) -> None:
    """`sidetone migrate` brings an empty database up to date, in either kind."""
    settings = tmp_path / "sidetone.yaml"
    settings.write_text(json.dumps({"data": str(tmp_path), "journal": {"url": journal_url}}))
    words = [sys.executable, "-m", "bridge", "migrate", "-c", str(settings)]
    done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    with connected(journal_url) as connection:
        assert inspect(connection).has_table("session")
    assert await upgrade(journal_url) == newest()


async def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    """A database of a later version is refused with both revisions named, and not changed."""
    url = f"sqlite:///{tmp_path}/journal.db"
    await upgrade(url)
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    connection.close()

    with pytest.raises(SchemaTooNewError, match=rf"9999.*{newest()}"):
        async with Journal.open(url):
            pytest.fail("opened")

    with sqlite3.connect(tmp_path / "journal.db") as connection:
        assert connection.execute("select version_num from alembic_version").fetchall() == [("9999",)]
    connection.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://root@localhost/sidetone"])
async def test_a_journal_needs_a_place_that_keeps(url: str) -> None:
    """Memory and databases nobody tested are refused before anything is opened."""
    with pytest.raises(JournalError):
        await upgrade(url)


async def test_the_file_is_safe_and_private(tmp_path: Path) -> None:
    """Folders are made, the file is its owner's alone, and each connection is set to lose nothing with the power."""
    path = tmp_path / "var" / "deep" / "journal.db"

    async with Journal.open(f"sqlite:///{path}") as journal:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for threads in (journal._readers, journal._writer._database):
            settings = await threads.run(
                lambda connection: [
                    connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                    for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
                ]
            )

            assert settings == ["wal", 2, 1, 5000]
