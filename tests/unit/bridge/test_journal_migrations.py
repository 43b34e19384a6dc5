"""The schema in the database and the one in the code are the same, and only a known one is touched."""

import sqlite3
import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, CreateTable, create_engine

from bridge.journal import Journal, JournalError, SchemaTooNewError, tables, upgrade


async def test_migrations_make_what_the_code_expects(tmp_path: Path) -> None:
    """Tables, columns, types, indexes and constraints of a migrated database equal the metadata."""
    await upgrade(f"sqlite:///{tmp_path}/journal.db")

    engine = create_engine(f"sqlite:///{tmp_path}/journal.db")
    try:
        with engine.connect() as connection:
            assert _differences(connection) == []
            checks = {"ck_event_seq", "ck_message_direction", "ck_outbox_state", "ck_delivery_state"}
            assert _checks(connection) == checks == _expected_checks(connection)
    finally:
        engine.dispose()


def _differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), tables.metadata))


def _checks(connection: Connection) -> set[str]:
    """Check constraints, which alembic's comparison leaves out."""
    found = connection.exec_driver_sql("select sql from sqlite_master where type = 'table'").scalars()
    return {word for sql in found for word in sql.split() if word.startswith("ck_")}


def _expected_checks(connection: Connection) -> set[str]:
    statements = [str(CreateTable(table).compile(connection)) for table in tables.metadata.sorted_tables]
    return {word for sql in statements for word in sql.split() if word.startswith("ck_")}


async def test_upgrading_twice_changes_nothing(tmp_path: Path) -> None:
    """The second upgrade returns the same revision."""
    url = f"sqlite:///{tmp_path}/journal.db"

    assert await upgrade(url) == await upgrade(url) == "0002"


async def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    """A database of a later version is refused with both revisions named, and not changed."""
    url = f"sqlite:///{tmp_path}/journal.db"
    await upgrade(url)
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    connection.close()

    with pytest.raises(SchemaTooNewError, match=r"9999.*0002"):
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
