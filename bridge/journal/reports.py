"""Counts over time.

A report over years must not read every text again. So hours that are long over are counted once, when somebody first asks for a
report, and added up by the day; what a report adds is what is newer, and the ends that are no whole hours.
"""

from collections.abc import Callable, Iterable, Iterator
from math import ceil, floor
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, cast, delete, func, literal, select, update
from sqlalchemy import insert as insert_from
from sqlalchemy.types import Double, Integer

from bridge.journal import tables
from bridge.journal.database import insert
from bridge.journal.door import Door
from bridge.journal.rows import TextCount

HOUR, DAY = 3600.0, 86400.0
SETTLED = 12 * HOUR
"""Seconds after which a text's state is taken for its last one: no provider goes on trying for longer than ten hours."""

_message, _session, _count, _kv = tables.message, tables.session, tables.text_count, tables.kv
_UNTIL = "texts_counted_until"


class Reports(Door):
    """What the API's reports are made of."""

    async def report_texts(self, since: float, until: float, bucket: float = HOUR) -> list[TextCount]:
        """How many texts were made from *since* until before *until*, by span, direction, queue and state.

        The newest texts count in the state and queue they have now; older ones in those they had when they settled.

        Args:
            since: Seconds since the epoch.
            until: The same.
            bucket: Seconds of a span; spans begin at multiples of it. Whole days and whole hours are quick.
        """
        grains = tuple(grain for grain in (DAY, HOUR) if bucket % grain == 0)
        counted = await self._count_settled() if grains else 0.0
        return await self._readers.run(
            lambda connection: _added(
                connection.execute(query).mappings() for query in _cover(since, until, bucket, grains, counted)
            )
        )

    async def _count_settled(self) -> float:
        """Count the hours that have settled, at most a day in one write; returns until when everything is counted."""
        at, end = await self._readers.run(_uncounted)
        while at < end and await self._write(_counts(at, stop := min(floor(at / DAY + 1) * DAY, end))):
            at = stop
        return at


def _uncounted(connection: Connection) -> tuple[float, float]:
    """(where counting goes on, where it ends): the newest text tells what time it is."""
    until = connection.execute(select(_kv.c.value).where(_kv.c.key == _UNTIL)).scalar()
    newest, oldest = (
        connection.execute(select(_message.c.created_at).order_by(order).limit(1)).scalar()
        for order in (_message.c.created_at.desc(), _message.c.created_at.asc())
    )
    if newest is None or oldest is None:
        return 0.0, 0.0
    return float(until) if until is not None else floor(oldest / DAY) * DAY, floor((newest - SETTLED) / HOUR) * HOUR


def _counts(since: float, until: float) -> Callable[[Connection], bool]:
    """A write that counts whole hours of one day; False when another node was quicker."""

    def write(connection: Connection) -> bool:
        begin = insert(_kv, connection.dialect.name).values(key=_UNTIL, value=repr(since).encode())
        connection.execute(begin.on_conflict_do_nothing())
        known = connection.execute(select(_kv.c.value).where(_kv.c.key == _UNTIL).with_for_update()).scalar_one()
        if float(known) != since:
            return False
        connection.execute(update(_kv).where(_kv.c.key == _UNTIL).values(value=repr(until).encode()))
        columns = [column.name for column in _count.c]
        connection.execute(insert_from(_count).from_select(columns, _live(since, until, HOUR, literal(HOUR, Double))))
        day = floor(since / DAY) * DAY
        connection.execute(delete(_count).where(_count.c.grain == DAY, _count.c.at == day))
        hours = _stored(day, day + DAY, DAY, HOUR, literal(DAY, Double))
        connection.execute(insert_from(_count).from_select(columns, hours))
        return True

    return write


def _live(since: float, until: float, bucket: float, *before: Any) -> Select[Any]:
    """Counts made from the texts themselves. By session first, so that each session is looked at once and not for each text."""
    span = (func.floor(_message.c.created_at / bucket) * bucket).label("at")
    kind = (span, _message.c.direction, _message.c.state, _message.c.session)
    segments = func.coalesce(func.sum(_message.c.segments), 0)
    whole = (
        select(*kind, func.count().label("texts"), segments.label("segments"))
        .where(_message.c.created_at >= since, _message.c.created_at < until)
        .group_by(*kind)
        .subquery()
    )
    queue = select(_session.c.queue).where(_session.c.id == whole.c.session).scalar_subquery()
    part = select(whole, func.coalesce(queue, "").label("queue")).subquery()
    columns = (part.c.at, part.c.direction, part.c.state, part.c.queue)
    texts, all_segments = (cast(func.sum(column), Integer) for column in (part.c.texts, part.c.segments))
    return select(*before, *columns, texts.label("texts"), all_segments.label("segments")).group_by(*columns)


def _stored(since: float, until: float, bucket: float, grain: float, *before: Any) -> Select[Any]:
    """Counts made from those of whole hours or days."""
    span = (func.floor(_count.c.at / bucket) * bucket).label("at")
    kind = (_count.c.direction, _count.c.state, _count.c.queue)
    texts, segments = (cast(func.sum(column), Integer) for column in (_count.c.texts, _count.c.segments))
    return (
        select(*before, span, *kind, texts.label("texts"), segments.label("segments"))
        .where(_count.c.grain == grain, _count.c.at >= since, _count.c.at < until)
        .group_by(span, *kind)
    )


def _cover(since: float, until: float, bucket: float, grains: tuple[float, ...], counted: float) -> Iterator[Select[Any]]:
    """Queries that together count from *since* to *until*, each span with the coarsest grain that is there."""
    if since >= until:
        return
    if not grains:
        yield _live(since, until, bucket)
        return
    grain, *finer = grains
    first, last = ceil(since / grain) * grain, floor(min(until, counted) / grain) * grain
    if first >= last:
        yield from _cover(since, until, bucket, tuple(finer), counted)
        return
    yield from _cover(since, first, bucket, tuple(finer), counted)
    yield _stored(first, last, bucket, grain)
    yield from _cover(last, until, bucket, tuple(finer), counted)


def _added(parts: Iterable[Iterable[RowMapping]]) -> list[TextCount]:
    """One count for each span and kind, in order."""
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row in (row for part in parts for row in part):
        total = sums.setdefault((row["at"], row["direction"], row["state"], row["queue"]), [0, 0])
        total[0] += row["texts"]
        total[1] += row["segments"]
    return [
        TextCount(at=at, direction=direction, state=state, queue=queue or None, texts=texts, segments=segments)
        for (at, direction, state, queue), (texts, segments) in sorted(sums.items())
    ]
