"""A journal moved from one database to another, as from the embedded SQLite file to a PostgreSQL server.

Rows go over table by table in the order of their primary keys, a batch in one transaction together with the note how far it
has come, so that a move that was cut off goes on where it stopped. In the end both sides are counted and summed up: a sum of
hashes does not depend on the order in which a database gives its rows.
"""

import base64
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, func, select, tuple_
from sqlalchemy.exc import DBAPIError

from bridge.journal import tables
from bridge.journal.database import address, connected, upgrade_on, upsert
from bridge.journal.rows import JournalError

BATCH = 2_000
"""Rows of one transaction."""
_NOTE = "moving"
"""Key of the note in the target."""
Progress = Callable[[str, int, int], None]
"""Is told of a table, how many of its rows are over, and how many there are."""


class MoveRefusedError(JournalError):
    """The move cannot be made, or did not turn out right; the message says what to do. The source is as it was."""


class Checked(msgspec.Struct, frozen=True):
    """One table, counted and summed up."""

    table: str
    rows: int
    checksum: str
    """Sum of the BLAKE2b hashes of all rows, modulo 2**128, hexadecimal."""


class _Note(msgspec.Struct):
    """How far a move has come; kept in the target until it is over."""

    source: str
    over: dict[str, list[Any]] = {}
    """Table to the primary key of the last row that is over."""


def move(source: str, target: str, *, progress: Progress = lambda _table, _over, _all: None) -> list[Checked]:
    """Copy everything from *source* to *target*, and prove that it is the same. What was cut off goes on where it stopped.

    SQLite is locked for writing meanwhile. Stop the server first: what it cannot write it would have to refuse.

    Args:
        source: Address of the journal as it is (`sqlite:///...`). Its schema is brought up to date.
        target: Address of an empty database (`postgresql://...`), or of the one that a move was cut off from.
        progress: See `Progress`.

    Raises:
        MoveRefusedError: The target is in use, the source has changed since the move was cut off, or the two differ in the end.
        JournalError: One of them is no journal, or cannot be reached.
    """
    if address(source) == address(target):
        raise MoveRefusedError("the journal is there already: both addresses are the same")
    if address(source).get_backend_name() == "sqlite" and not Path(address(source).database or "").is_file():
        raise MoveRefusedError(f"there is no journal at {source}")  # connecting would make one, and move nothing
    try:
        for url in (source, target):
            with connected(url) as connection:
                upgrade_on(connection)
        with connected(source) as old:
            with connected(target) as new:
                note = _begin(new, address(source).render_as_string())
            for table in tables.metadata.sorted_tables:
                with connected(target) as new:
                    over, count = _count(new, table), _count(old, table)
                progress(table.name, over, count)
                for rows in _batches(old, table, note.over.get(table.name)):
                    note.over[table.name] = _key(table, rows[-1])
                    with connected(target) as new:
                        new.execute(table.insert(), rows)
                        _write(new, note)
                    over += len(rows)
                    progress(table.name, over, count)
            with connected(target) as new:
                return _finish(old, new)
    except DBAPIError as error:
        raise JournalError(f"{source} or {target}: {str(error.orig).strip()}") from error


def _begin(new: Connection, source: str) -> _Note:
    """The note of the move that was cut off, or a new one in an empty database."""
    kept = new.execute(select(tables.kv.c.value).where(tables.kv.c.key == _NOTE)).scalar()
    if kept is not None:
        note = msgspec.json.decode(kept, type=_Note)
        if note.source != source:
            raise MoveRefusedError(f"a move from {note.source} was cut off here: finish it, or give an empty database")
        return note
    used = [table.name for table in tables.metadata.sorted_tables if _count(new, table)]
    if used:
        raise MoveRefusedError(f"the target is in use (rows in {', '.join(used)}): give an empty database")
    note = _Note(source)
    _write(new, note)
    return note


def _write(new: Connection, note: _Note) -> None:
    new.execute(upsert(tables.kv, new.dialect.name), {"key": _NOTE, "value": msgspec.json.encode(note)})


def _batches(old: Connection, table: Table, after: list[Any] | None) -> Iterator[list[dict[str, Any]]]:
    keys = tuple(table.primary_key)
    while True:
        query = select(table).order_by(*keys).limit(BATCH)
        if after is not None:
            query = query.where(keys[0] > after[0] if len(keys) == 1 else tuple_(*keys) > tuple(after))
        rows = [dict(row) for row in old.execute(query).mappings()]
        if not rows:
            return
        yield rows
        after = _key(table, rows[-1])


def _key(table: Table, row: dict[str, Any]) -> list[Any]:
    return [row[column.name] for column in table.primary_key]


def _count(connection: Connection, table: Table) -> int:
    query = select(func.count()).select_from(table)
    if table is tables.kv:
        query = query.where(tables.kv.c.key != _NOTE)
    return connection.execute(query).scalar_one()


def checked(connection: Connection, table: Table) -> Checked:
    """Count a table and sum it up."""
    rows, total = 0, 0
    query = select(table).execution_options(yield_per=BATCH)
    if table is tables.kv:
        query = query.where(tables.kv.c.key != _NOTE)
    for row in connection.execute(query):
        plain = [base64.b64encode(value).decode() if isinstance(value, bytes) else value for value in row]
        total += int.from_bytes(hashlib.blake2b(msgspec.json.encode(plain), digest_size=16).digest(), "big")
        rows += 1
    return Checked(table.name, rows, f"{total % 2**128:032x}")


def _finish(old: Connection, new: Connection) -> list[Checked]:
    """Compare; then the target is nobody's copy any more."""
    found = []
    for table in tables.metadata.sorted_tables:
        here, there = checked(old, table), checked(new, table)
        if here != there:
            raise MoveRefusedError(
                f"{table.name} differs: {here.rows} rows here, {there.rows} there. Something has written to one of the two since "
                "the move began: stop it, and move again into an empty database"
            )
        found.append(here)
        numbered = [column.name for column in table.primary_key if column is table.autoincrement_column]
        if new.dialect.name == "postgresql" and numbered and here.rows:
            # The rows came with their numbers, so the database has not counted them.
            sequence = func.pg_get_serial_sequence(table.name, numbered[0])
            new.execute(select(func.setval(sequence, select(func.max(table.c[numbered[0]])).scalar_subquery())))
    new.execute(tables.kv.delete().where(tables.kv.c.key == _NOTE))
    return found
