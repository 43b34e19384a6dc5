"""Counts over time."""

from sqlalchemy import func, select

from bridge.journal import tables
from bridge.journal.door import Door, as_struct
from bridge.journal.rows import TextCount

_message, _session = tables.message, tables.session


class Reports(Door):
    """What the API's reports are made of."""

    async def report_texts(self, since: float, until: float, bucket: float = 3600.0) -> list[TextCount]:
        """How many texts were made from *since* until before *until*, by span, direction, queue and present state.

        Args:
            since: Seconds since the epoch.
            until: The same.
            bucket: Seconds of a span; spans begin at multiples of it.
        """
        span = func.floor(_message.c.created_at / bucket) * bucket
        query = (
            select(
                span.label("at"),
                _message.c.direction,
                _message.c.state,
                _session.c.queue,
                func.count().label("texts"),
                func.coalesce(func.sum(_message.c.segments), 0).label("segments"),
            )
            .outerjoin(_session, _session.c.id == _message.c.session)
            .where(_message.c.created_at >= since, _message.c.created_at < until)
            .group_by(span, _message.c.direction, _message.c.state, _session.c.queue)
            .order_by(span, _message.c.direction, _message.c.state, _session.c.queue)
        )
        return await self._read(query, lambda row: as_struct(TextCount, row))
