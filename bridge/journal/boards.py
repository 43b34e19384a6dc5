"""What the boards read when the server starts: today's lines, to be counted again."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import RowMapping, or_, select

from bridge.events import MessageId, SessionId, TextState
from bridge.journal import tables
from bridge.journal.door import Door, as_struct
from bridge.journal.rows import TimelineLine

_session, _timeline, _message = tables.session, tables.timeline, tables.message


class Boards(Door):
    """Reads for the supervisor's boards."""

    async def lines_of_day(self, since: float, kinds: Collection[str]) -> list[tuple[SessionId, TimelineLine]]:
        """The lines of these kinds of every session that was open at *since* or later, each session's in order."""
        lived = or_(_session.c.closed_at.is_(None), _session.c.closed_at >= since)
        query = (
            select(_timeline)
            .join(_session, _session.c.id == _timeline.c.session)
            .where(lived, _timeline.c.kind.in_(kinds))
            .order_by(_timeline.c.session, _timeline.c.n)
        )
        return await self._read(query, lambda row: (SessionId(row["session"]), as_struct(TimelineLine, row)))

    async def ends_of_texts(self, since: float) -> list[tuple[MessageId, TextState, float]]:
        """Texts of ours made at *since* or later whose end is known: id, state, when."""
        query = select(_message.c.id, _message.c.state, _message.c.created_at, _message.c.updated_at).where(
            _message.c.created_at >= since,
            _message.c.direction == "out",
            _message.c.state.in_(("delivered", "read", "failed", "undelivered")),
        )

        def made(row: RowMapping) -> tuple[MessageId, TextState, float]:
            at: Any = row["updated_at"]
            return MessageId(row["id"]), row["state"], row["created_at"] if at is None else at

        return await self._read(query, made)
