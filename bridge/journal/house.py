"""The house in the journal: what was published and is being drafted, and the book of who changed what."""

from collections.abc import Sequence
from operator import eq, ge, lt
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, desc, insert, select

from bridge.journal.database import peek, take_turn, upsert
from bridge.journal.door import Door, as_struct, wanted
from bridge.journal.house_tables import audit, house_draft, house_revision
from bridge.journal.rows import JournalError

_NEWEST = select(house_revision).order_by(desc(house_revision.c.n)).limit(1)


class Entry(msgspec.Struct, frozen=True):
    """One line of the audit book. It is never changed, and goes when it is old."""

    at: float
    who: str
    """A login, `api:NAME`, or `command line`."""
    action: str
    """As `settings.published`."""
    object: str
    """What was changed or seen, as `user ana`."""
    origin: str | None = None
    """The address that the request came from; None from this machine's command line."""
    before: Any = None
    """Plain values; None where there was nothing."""
    after: Any = None
    n: int = 0
    """Its number, when it comes from the book."""


class Revision(msgspec.Struct, frozen=True):
    """Settings that were published."""

    at: float
    author: str
    note: str
    text: str
    back_to: int | None = None
    """The revision whose text this one has again; None for a text of its own."""
    n: int = 0
    """Its number from 1, when it comes from the journal."""


class Draft(msgspec.Struct, frozen=True):
    """Settings that are worked on; the house has one draft at most."""

    version: int
    """One more with every change."""
    based_on: int
    """The newest revision when it was begun; 0: none."""
    author: str
    """Who changed it last."""
    at: float
    text: str


class DraftMovedError(JournalError):
    """Somebody else has changed the draft, or published, meanwhile. Nothing has changed."""


def _values(row: msgspec.Struct) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(row).items() if name != "n"}


def note(connection: Connection, entries: Sequence[Entry]) -> None:
    """Write entries in the transaction of what they tell of."""
    if entries:
        connection.execute(insert(audit), [_values(entry) for entry in entries])


def newest_revision_of(url: str) -> Revision | None:
    """What holds by the journal at *url*, which is left as it is; None: nothing, or there is no such journal."""

    def read(connection: Connection) -> Revision | None:
        row = connection.execute(_NEWEST).mappings().first()
        return None if row is None else as_struct(Revision, row)

    return peek(url, read)


class House(Door):
    """Published settings, the draft, the audit book."""

    async def newest_revision(self) -> Revision | None:
        """What holds; None: nothing has been published."""
        return await self._first(_NEWEST, lambda row: as_struct(Revision, row))

    async def newest_number(self) -> int:
        """The number of what holds; 0: nothing has been published."""
        query = select(house_revision.c.n).order_by(desc(house_revision.c.n)).limit(1)
        return await self._first(query, lambda row: int(row["n"])) or 0

    async def revision(self, n: int) -> Revision | None:
        """None: there is no such one."""
        return await self._first(select(house_revision).where(house_revision.c.n == n), lambda row: as_struct(Revision, row))

    async def revisions(self, limit: int, before: int | None = None) -> list[Revision]:
        """The newest first; *before* is the last number of the page before this one."""
        query = select(house_revision).order_by(desc(house_revision.c.n)).limit(limit)
        if before is not None:
            query = query.where(house_revision.c.n < before)
        return await self._read(query, lambda row: as_struct(Revision, row))

    async def publish(self, revision: Revision, entry: Entry, *, after: int, version: int | None = None) -> int:
        """Keep a revision; it holds from now on. A draft of *version* is used up by it.

        Args:
            revision: Its `n` is given by the journal.
            entry: For the audit book.
            after: The newest revision that its author knows.
            version: Of the draft it comes from; None: it comes from somewhere else, and the draft stays.

        Returns:
            Its number.

        Raises:
            DraftMovedError: There is a newer revision than *after*, or the draft is another.
        """

        def write(connection: Connection) -> int | DraftMovedError:
            take_turn(connection)
            newest = connection.execute(select(house_revision.c.n).order_by(desc(house_revision.c.n)).limit(1)).scalar() or 0
            there = connection.execute(select(house_draft.c.version)).scalar()
            if newest != after or (version is not None and there != version):
                return DraftMovedError("somebody else has changed this meanwhile")
            n: int = connection.execute(insert(house_revision).returning(house_revision.c.n), _values(revision)).scalar_one()
            if version is not None:
                connection.execute(delete(house_draft))
            note(connection, [entry])
            return n

        return int(await self._write(write))

    async def draft(self) -> Draft | None:
        """None: nobody is working on one."""
        return await self._first(select(house_draft), lambda row: as_struct(Draft, row))

    async def save_draft(self, draft: Draft, *, over: int | None) -> None:
        """Keep *draft* in place of the one of version *over*; None: there is none yet.

        Raises:
            DraftMovedError: It is not that one that is there.
        """

        def write(connection: Connection) -> DraftMovedError | None:
            take_turn(connection)
            if connection.execute(select(house_draft.c.version)).scalar() != over:
                return DraftMovedError("somebody else has changed this meanwhile")
            connection.execute(upsert(house_draft, connection.dialect.name), {"id": 1, **_values(draft)})
            return None

        await self._write(write)

    async def drop_draft(self, entry: Entry) -> None:
        """Forget the draft, if there is one."""

        def write(connection: Connection) -> None:
            if connection.execute(delete(house_draft)).rowcount:
                note(connection, [entry])

        await self._write(write)

    # --- the audit book ----------------------------------------------------------------------------------------------

    async def note(self, *entries: Entry) -> None:
        """Write down what is not part of another write."""
        await self._write(lambda connection: note(connection, entries))

    async def audit(
        self,
        limit: int,
        *,
        who: str | None = None,
        action: str | None = None,
        of: str | None = None,
        since: float | None = None,
        until: float | None = None,
        before: int | None = None,
    ) -> list[Entry]:
        """The newest entries first; None does not filter.

        Args:
            limit: How many at most.
            who: Of this author only.
            action: This action, or with `.` at the end every action that begins so.
            of: About this object only.
            since: Then or later.
            until: Before then.
            before: The number of the last entry of the page before this one.
        """
        family = action is not None and action.endswith(".")
        conditions = wanted(
            (audit.c.who, eq, who),
            (audit.c.action, eq, None if family else action),
            (audit.c.object, eq, of),
            (audit.c.at, ge, since),
            (audit.c.at, lt, until),
            (audit.c.n, lt, before),
        )
        if family:
            conditions.append(audit.c.action.startswith(action, autoescape=True))
        query = select(audit).where(*conditions).order_by(desc(audit.c.n)).limit(limit)
        return await self._read(query, lambda row: as_struct(Entry, row))

    async def forget_audit(self, until: float) -> int:
        """Remove entries from before *until*; returns how many."""
        return await self._do(delete(audit).where(audit.c.at < until))
