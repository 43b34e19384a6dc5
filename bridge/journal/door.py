"""What every part of the journal reads and writes through."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, CursorResult, Executable, RowMapping, Select, Table

from bridge.journal.database import Threads
from bridge.journal.rows import Committed, InboundRow, Unit
from bridge.journal.writer import GroupWriter

T = TypeVar("T")
AnyStruct = TypeVar("AnyStruct", bound=msgspec.Struct)
SmallWrite: TypeAlias = Callable[[Connection], Any]
"""A write that is not a unit; it shares transactions with units all the same. It may give a JournalError back and then has
to leave nothing behind."""
Request: TypeAlias = Unit | InboundRow | SmallWrite
"""A unit, an inbound text to be kept, or a small write."""
Writer: TypeAlias = GroupWriter[Request, Committed | Any]


class Door:
    """Reading sees everything that has been committed, and never waits for a writer; writing shares transactions."""

    def __init__(self, readers: Threads, writer: Writer) -> None:
        self._readers = readers
        self._writer = writer

    async def _write(self, write: Callable[[Connection], Any]) -> Any:
        return await self._writer.submit(write)

    async def _do(self, statement: Executable, values: Mapping[str, Any] | None = None) -> int:
        """One statement as a small write; returns the number of rows it changed."""

        def write(connection: Connection) -> int:
            changed = connection.execute(statement, values)
            assert isinstance(changed, CursorResult)
            return changed.rowcount

        return int(await self._write(write))

    async def _read(self, query: Select[Any], make: Callable[[RowMapping], T]) -> list[T]:
        return await self._readers.run(lambda connection: [make(row) for row in connection.execute(query).mappings()])

    async def _first(self, query: Select[Any], make: Callable[[RowMapping], T]) -> T | None:
        return next(iter(await self._read(query, make)), None)


def as_struct(kind: type[AnyStruct], row: RowMapping, table: Table | None = None) -> AnyStruct:
    """The struct *kind* from the columns with its fields' names; *table* says whose, after a join."""
    if table is None:
        return msgspec.convert({name: row[name] for name in kind.__struct_fields__}, kind)
    return msgspec.convert({name: row[table.c[name]] for name in kind.__struct_fields__}, kind)


def wanted(*filters: tuple[ColumnElement[Any], Callable[[Any, Any], Any], Any]) -> list[Any]:
    """Conditions from (column, operator, value); a value of None asks for nothing."""
    return [compare(column, value) for column, compare, value in filters if value is not None]
