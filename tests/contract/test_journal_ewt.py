"""What became of forecasts is kept on either database."""

from collections.abc import AsyncIterator

import pytest

from bridge.journal import Journal
from tests.unit.hindsight.told import START, outcome


@pytest.fixture
async def journal(journal_url: str) -> AsyncIterator[Journal]:
    async with Journal.open(journal_url) as journal:
        yield journal


async def test_outcomes_come_back_as_they_were(journal: Journal) -> None:
    """The newest first; what was not known stays unknown."""
    kept = [outcome(0.0, ghost=True, ahead=None, capacity=None), outcome(99.5, basis="plan", status="no_agents", priority=0)]
    await journal.keep_outcomes(kept)
    await journal.keep_outcomes([])
    assert await journal.outcomes(10) == kept[::-1]


async def test_outcomes_are_chosen_by_queue_and_time(journal: Journal) -> None:
    """From then on, before then, and so many."""
    await journal.keep_outcomes([outcome(n, at=START + n, queue="ab"[n % 2]) for n in range(6)])

    async def waits(limit: int = 10, **wanted: object) -> list[float]:
        return [kept.wait for kept in await journal.outcomes(limit, **wanted)]  # type: ignore[arg-type]

    assert await waits(queue="a") == [4.0, 2.0, 0.0]
    assert await waits(since=START + 2, until=START + 5) == [4.0, 3.0, 2.0]
    assert await waits(2) == [5.0, 4.0]
    assert await journal.forget_outcomes(START + 4) == 4
    assert await waits() == [5.0, 4.0]
