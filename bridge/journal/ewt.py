"""What became of forecasts, one row for each that has become known."""

from collections.abc import Sequence
from operator import eq, ge, lt

import msgspec
from sqlalchemy import Connection, delete, desc, func, insert, select

from bridge.hindsight import Outcome
from bridge.journal.door import Door, as_struct, wanted
from bridge.journal.ewt_tables import ewt_outcome as _outcome


class Forecasts(Door):
    """Forecasts of waits and what they were worth."""

    async def keep_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Keep what has become known."""
        rows = [msgspec.structs.asdict(outcome) for outcome in outcomes]

        def write(connection: Connection) -> None:
            connection.execute(insert(_outcome), rows)

        if rows:
            await self._write(write)

    async def forget_outcomes(self, before: float) -> int:
        """Remove those that were forecast before then; returns how many there were."""
        return await self._do(delete(_outcome).where(_outcome.c.at < before))

    async def outcomes_kept(self) -> int:
        """The number of the newest outcome; 0 without any."""
        newest = await self._first(select(func.max(_outcome.c.n).label("n")), lambda row: row["n"])
        return newest or 0

    async def outcomes(
        self, limit: int, *, queue: str | None = None, since: float | None = None, until: float | None = None
    ) -> list[Outcome]:
        """The newest outcomes first.

        Args:
            limit: How many at most.
            queue: Of this queue only; None: of all.
            since: Forecast then or later.
            until: Forecast before then.
        """
        conditions = wanted((_outcome.c.queue, eq, queue), (_outcome.c.at, ge, since), (_outcome.c.at, lt, until))
        newest = select(_outcome).where(*conditions).order_by(desc(_outcome.c.n)).limit(limit)
        return await self._read(newest, lambda row: as_struct(Outcome, row))
