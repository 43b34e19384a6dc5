"""Many rows in few statements.

Every step of a statement costs a hand-over between threads (SQLite gives up the interpreter's lock for it) or a part of a
round trip (PostgreSQL), whatever it writes. So rows go in by the dozen, as one `INSERT ... VALUES (...), (...)`. The numbers
of rows are powers of two, so that few statements exist and each is prepared once.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import Connection

from bridge.journal import tables

Rows: TypeAlias = list[dict[str, Any]]
"""Columns by name, in the same order in every row."""

MOST = 128
"""Rows in one statement; SQLite takes 32766 values and PostgreSQL 65535."""


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
    """The rows of *query*, in which `{keys}` stands for some of *keys*; whoever asks for order gets it within MOST keys."""
    mark = _mark(connection.dialect.name)
    found: list[Any] = []
    for start in range(0, len(keys), MOST):
        some = tuple(keys[start : start + MOST])
        size = 1 << (len(some) - 1).bit_length()
        marks = ", ".join([mark] * size)
        values = some + some[:1] * (size - len(some))  # the same again is nothing more
        found += connection.exec_driver_sql(query.format(keys=marks), values).all()
    return found


def _statements(connection: Connection, name: str, rows: Rows, tail: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
    columns, dialect, start = tuple(rows[0]), connection.dialect.name, 0
    written = [_written(name, columns)(row) for row in rows]
    while left := len(rows) - start:
        size = min(MOST, 1 << (left.bit_length() - 1))
        yield _insert(name, columns, size, tail, dialect), tuple(chain.from_iterable(written[start : start + size]))
        start += size


@cache
def _insert(name: str, columns: tuple[str, ...], size: int, tail: str, dialect: str) -> str:
    row = f"({', '.join([_mark(dialect)] * len(columns))})"
    names = ", ".join(f'"{column}"' for column in columns)
    return f'INSERT INTO "{name}" ({names}) VALUES {", ".join([row] * size)} {tail}'  # noqa: S608 - our own names


def _mark(dialect: str) -> str:
    return "?" if dialect == "sqlite" else "%s"


@cache
def _written(name: str, columns: tuple[str, ...]) -> Any:
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


_TO_JSON = msgspec.json.Encoder()
