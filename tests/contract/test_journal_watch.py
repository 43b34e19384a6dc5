"""A journal says of itself when its database is away."""

import asyncio
from collections.abc import Callable

from bridge.journal import Journal
from tests.lossy_line import lossy_line
from tests.postgres import Postgres


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20.0):
        while not holds():  # noqa: ASYNC110  # it looks about every second
            await asyncio.sleep(0.02)


async def test_it_is_known_that_the_database_is_away_although_nobody_asks_it_for_anything(postgres_server: Postgres) -> None:
    """Away, and back again; also when it takes connections and does not answer."""
    async with lossy_line(postgres_server.database()) as line, Journal.open(line.url) as journal:
        assert journal.trouble is None
        line.down = True
        line.hang_up()
        await until(lambda: journal.trouble == "the database cannot be reached")
        line.down = False
        await until(lambda: journal.trouble is None)
        line.silent = True
        await until(lambda: journal.trouble == "the database does not answer")
        line.silent = False
        line.hang_up()
        await until(lambda: journal.trouble is None)


async def test_a_file_is_never_away(tmp_path: object) -> None:
    """What goes wrong with it is told to who saves."""
    async with Journal.open(f"sqlite:///{tmp_path}/journal.db") as journal:
        assert journal.trouble is None
