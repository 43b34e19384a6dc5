"""Many rows in few statements.

Every step of a statement costs a hand-over between threads (SQLite gives up the interpreter's lock for it) or a round trip
(PostgreSQL), whatever it writes. So rows go in by the dozen: as `INSERT ... VALUES (...), (...)` in SQLite, with numbers of
rows that are powers of two, so that few statements exist and each is prepared once; as one JSON document in PostgreSQL, whose
driver would otherwise read through long statements again and again.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import Connection, Dialect

from bridge.journal import tables

Rows: TypeAlias = list[dict[str, Any]]
"""Columns by name, in the same order in every row."""

MOST = 128
"""Rows in one statement of SQLite, which takes 32766 values."""

_TO_JSON = msgspec.json.Encoder()


def insert_rows(connection: Connection, name: str, rows: Rows, tail: str = "") -> None:
    """Insert *rows* into the table *name*; *tail* may say what to do about a conflict."""
    for statement, values in _statements(connection, name, rows, tail):
        connection.exec_driver_sql(statement, values)


def insert_returning(connection: Connection, name: str, rows: Rows, tail: str) -> list[Any]:
    """The same, with a RETURNING of one column in *tail*; its values for the rows that were inserted."""
    found: list[Any] = []
    for statement, values in _statements(connection, name, rows, tail):
        found += connection.exec_driver_sql(statement, values).scalars()
    return found


def select_in(connection: Connection, query: str, keys: Sequence[str]) -> list[Any]:
    """The rows of *query*, in which `{keys}` stands for "among these *keys*"."""
    if connection.dialect.name == "postgresql":
        return list(connection.exec_driver_sql(query.format(keys="= ANY(%s)"), (list(keys),)).all())
    found: list[Any] = []
    for start in range(0, len(keys), MOST):
        some = tuple(keys[start : start + MOST])
        size = 1 << (len(some) - 1).bit_length()
        values = some + some[:1] * (size - len(some))  # the same again is nothing more
        found += connection.exec_driver_sql(query.format(keys=f"IN ({', '.join('?' * size)})"), values).all()
    return found


def _statements(connection: Connection, name: str, rows: Rows, tail: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
    columns = tuple(rows[0])
    written = list(map(_written(name, columns), rows))
    if connection.dialect.name == "postgresql":
        document = _TO_JSON.encode([dict(zip(columns, row, strict=True)) for row in written]).decode()
        yield _insert_document(name, columns, tail, connection.dialect), (document,)
        return
    start = 0
    while left := len(rows) - start:
        size = min(MOST, 1 << (left.bit_length() - 1))
        yield _insert_values(name, columns, size, tail), tuple(chain.from_iterable(written[start : start + size]))
        start += size


@cache
def _insert_values(name: str, columns: tuple[str, ...], size: int, tail: str) -> str:
    row = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {name} ({', '.join(columns)}) VALUES {', '.join([row] * size)} {tail}"  # noqa: S608 - our own names


@cache
def _insert_document(name: str, columns: tuple[str, ...], tail: str, dialect: Dialect) -> str:
    names, table = ", ".join(columns), tables.metadata.tables[name]
    kinds = ", ".join(f"{column} {table.c[column].type.compile(dialect)}" for column in columns)
    return f"INSERT INTO {name} ({names}) SELECT {names} FROM json_to_recordset(%s::json) AS row ({kinds}) {tail}"  # noqa: S608


@cache
def _written(name: str, columns: tuple[str, ...]) -> Callable[[dict[str, Any]], list[Any]]:
    """How a row of these columns is written: JSON as text, everything else as it is."""
    kinds = [type(tables.metadata.tables[name].c[column].type) for column in columns]
    json = [place for place, kind in enumerate(kinds) if kind is tables.Json]
    text = [place for place, kind in enumerate(kinds) if kind is tables.JsonBytes]

    def write(row: dict[str, Any]) -> list[Any]:
        values = list(row.values())
        for place in json:
            if (value := values[place]) is not None:
                values[place] = _TO_JSON.encode(value).decode()
        for place in text:
            if (value := values[place]) is not None:
                values[place] = value.decode()
        return values

    return write
