"""What comes once only: requests that may be repeated, links for one upload."""

from typing import Literal

from sqlalchemy import Connection, delete, or_, select, update

from bridge.journal import tables
from bridge.journal.database import insert
from bridge.journal.door import Door, as_struct
from bridge.journal.rows import Reply, UploadRow
from bridge.journal.units import FILL

RESERVED_FOR = 20.0
"""Seconds after which a request that was reserved and never answered may be tried again: its process died."""

_replay, _upload = tables.replay, tables.upload


class Requests(Door):
    """Each of these answers the same question: is it the first time?"""

    async def reserve(
        self, key: str, fingerprint: str, until: float, now: float
    ) -> Reply | Literal["new", "in_progress", "conflict"]:
        """Take the request *key* for ourselves, or hear what became of it.

        Whoever hears `new` has to end it: with `Unit.replies` in the unit that saves what the request did, with `fill`, or
        with `release`. When its process dies instead, the request is `new` again after RESERVED_FOR.

        Args:
            key: Whose request and which, such as the token's name and the Idempotency-Key.
            fingerprint: A hash of what was asked.
            until: How long the answer is kept.
            now: The present.

        Returns:
            The answer that was given; or `new`: go on; `in_progress`: somebody is at it; `conflict`: the key was used for
            another request.
        """

        def write(connection: Connection) -> Reply | Literal["new", "in_progress", "conflict"]:
            lost = _replay.c.status.is_(None) & (_replay.c.reserved_at <= now - RESERVED_FOR)
            connection.execute(delete(_replay).where(_replay.c.key == key, or_(_replay.c.until <= now, lost)))
            statement = insert(_replay, connection.dialect.name).on_conflict_do_nothing(index_elements=["key"])
            values = {"key": key, "fingerprint": fingerprint, "reserved_at": now, "until": until}
            if connection.execute(statement.returning(_replay.c.key), values).first() is not None:
                return "new"
            there = connection.execute(select(_replay).where(_replay.c.key == key)).mappings().first()
            if there is None:
                return "in_progress"  # another node has given it back this moment
            if there["fingerprint"] != fingerprint:
                return "conflict"
            return "in_progress" if there["status"] is None else as_struct(Reply, there)

        reserved: Reply | Literal["new", "in_progress", "conflict"] = await self._write(write)
        return reserved

    async def fill(self, key: str, reply: Reply) -> None:
        """Answer a reserved request; one that is answered keeps its answer."""
        values = {"request": key, "new_status": reply.status, "new_headers": reply.headers, "new_body": reply.body}
        await self._do(FILL, values)

    async def release(self, key: str) -> None:
        """Give a reserved request back: nothing was done, and the next attempt is `new`."""
        await self._do(delete(_replay).where(_replay.c.key == key, _replay.c.status.is_(None)))

    async def forget_replies(self, now: float) -> None:
        """Drop answers whose time is over."""
        await self._do(delete(_replay).where(_replay.c.until <= now))

    async def upload(self, token_hash: str) -> UploadRow | None:
        """None: there is no such link."""
        return await self._first(select(_upload).where(_upload.c.token_hash == token_hash), lambda row: as_struct(UploadRow, row))

    async def use_upload(self, token_hash: str, now: float) -> bool:
        """Use a link up. False: it was used before, is over or unknown."""
        unused = (_upload.c.token_hash == token_hash, _upload.c.used_at.is_(None), _upload.c.expires_at > now)
        return await self._do(update(_upload).where(*unused).values(used_at=now)) == 1
