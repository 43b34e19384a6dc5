"""Small things that several nodes change, each as a whole: looked at and written in one step."""

from collections.abc import Callable

from sqlalchemy import Connection, select

from bridge.journal import tables
from bridge.journal.database import take_turn, upsert
from bridge.journal.door import Door

_kv = tables.kv


class Shared(Door):
    """Values under a key."""

    async def change_value(self, key: str, change: Callable[[bytes | None], bytes]) -> bytes:
        """Put what *change* makes of a value in its place; returns it.

        Args:
            key: Whose.
            change: Is given the value as it is then (None: there is none), whatever other nodes have done meanwhile. It has
                to be quick and must not look at anything that moves: it is called in a thread, and perhaps twice.
        """

        def write(connection: Connection) -> bytes:
            take_turn(connection)
            there = connection.execute(select(_kv.c.value).where(_kv.c.key == key)).scalar()
            value = change(None if there is None else bytes(there))
            connection.execute(upsert(_kv, connection.dialect.name), {"key": key, "value": value})
            return value

        changed: bytes = await self._write(write)
        return changed
