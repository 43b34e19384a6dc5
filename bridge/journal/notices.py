"""Notices to others, at least once, to each endpoint and of each session in order."""

from sqlalchemy import Connection, RowMapping, Select, delete, func, select, update

from bridge.journal import tables
from bridge.journal.door import Door, as_struct
from bridge.journal.rows import Delivery

_notice, _delivery = tables.notice, tables.delivery


class Notices(Door):
    """Deliveries are made by `Unit.notices`, in the transaction of what they tell of."""

    async def deliveries_due(self, endpoint: str, now: float, limit: int) -> list[Delivery]:
        """What can be delivered to an endpoint now, in order: of each session what comes first, if its time has come.

        What comes after it is held up until it has been delivered or given up; other sessions, and notices of none, go on.
        """
        before = _delivery.alias()
        first = ~(
            select(before.c.n)
            .where(before.c.endpoint == endpoint, before.c.session == _delivery.c.session, before.c.state == "pending")
            .where(before.c.n < _delivery.c.n)
            .exists()
        )
        query = _with_notice().where(_delivery.c.endpoint == endpoint, _delivery.c.state == "pending", _delivery.c.due_at <= now)
        return await self._read(query.where(first).order_by(_delivery.c.n).limit(limit), _as_delivery)

    async def next_delivery(self, endpoint: str, now: float) -> float | None:
        """When a delivery to an endpoint that waits comes due; None when none waits."""
        query = select(func.min(_delivery.c.due_at).label("at")).where(
            _delivery.c.endpoint == endpoint, _delivery.c.state == "pending", _delivery.c.due_at > now
        )
        return await self._first(query, lambda row: row["at"])

    async def delivery_done(self, n: int, at: float) -> bool:
        """It has arrived. False: it did not wait to be delivered."""
        values = {"state": "done", "attempts": _delivery.c.attempts + 1, "done_at": at, "last_error": None}
        return await self._change(n, "pending", values)

    async def delivery_failed(self, n: int, error: str, due_at: float | None) -> bool:
        """It has not arrived, and is tried again at *due_at*; None: no more, it is a dead letter. False: it did not wait."""
        values: dict[str, object] = {"attempts": _delivery.c.attempts + 1, "last_error": error}
        return await self._change(n, "pending", values | ({"state": "dead"} if due_at is None else {"due_at": due_at}))

    async def dead_letters(self, limit: int, after: int = 0) -> list[Delivery]:
        """Deliveries that were given up, oldest first, with numbers above *after*."""
        query = _with_notice().where(_delivery.c.state == "dead", _delivery.c.n > after)
        return await self._read(query.order_by(_delivery.c.n).limit(limit), _as_delivery)

    async def dead_letters_by_endpoint(self) -> dict[str, int]:
        """How many deliveries to each endpoint were given up; those without any are not named."""
        query = select(_delivery.c.endpoint, func.count().label("dead")).where(_delivery.c.state == "dead")
        return dict(await self._read(query.group_by(_delivery.c.endpoint), lambda row: (row["endpoint"], row["dead"])))

    async def redeliver(self, n: int, now: float) -> bool:
        """Try a dead letter again, from its first attempt. False: it is not one."""
        return await self._change(n, "dead", {"state": "pending", "due_at": now, "attempts": 0})

    async def forget_told(self, before: float, limit: int) -> int:
        """Remove deliveries that were done before then, and notices that nobody waits for any more; returns how many deliveries.

        Dead letters stay.

        Args:
            before: Seconds since the epoch.
            limit: How many at most, so that nobody waits long for the one writer.
        """

        def write(connection: Connection) -> int:
            done = select(_delivery.c.n, _delivery.c.notice).where(_delivery.c.state == "done", _delivery.c.done_at < before)
            rows = connection.execute(done.order_by(_delivery.c.n).limit(limit)).all()
            connection.execute(delete(_delivery).where(_delivery.c.n.in_([row.n for row in rows])))
            wanted = select(_delivery.c.n).where(_delivery.c.notice == _notice.c.id).exists()
            connection.execute(delete(_notice).where(_notice.c.id.in_([row.notice for row in rows]), ~wanted))
            return len(rows)

        return int(await self._write(write))

    async def _change(self, n: int, state: str, values: dict[str, object]) -> bool:
        return await self._do(update(_delivery).where(_delivery.c.n == n, _delivery.c.state == state).values(values)) == 1


def _with_notice() -> Select[tuple[object, ...]]:
    columns = (_notice.c.id, _notice.c.type, _notice.c.at, _notice.c.body)
    return select(_delivery, *columns).join(_notice, _notice.c.id == _delivery.c.notice)


def _as_delivery(row: RowMapping) -> Delivery:
    return as_struct(Delivery, row)
