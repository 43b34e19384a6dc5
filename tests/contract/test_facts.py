"""What reports count is the same in each database that keeps a journal, and stays when a person is erased."""

from pathlib import Path

from bridge.journal import Journal
from bridge.journal.fact_queries import Counts, Key
from tests.unit.reports.test_figures import GROUPS, NOW, ask, fill


async def test_every_database_counts_the_same(journal_url: str, tmp_path: Path) -> None:
    """By queue, agent, type, time; the same day in SQLite for comparison."""
    async with Journal.open(journal_url) as journal, Journal.open(f"sqlite:///{tmp_path}/other.db") as other:
        for each in (journal, other):
            await fill(each, 4, 15)
            assert await each.catch_up() > 0
            assert await each.catch_up() == 0
        for by, every in GROUPS:
            one, two = await journal.count(ask(by, every)), await other.count(ask(by, every))
            assert {key: tally.sums for key, tally in one.groups.items()} == {
                key: tally.sums for key, tally in two.groups.items()
            }
            assert one.total.values == two.total.values


async def test_an_erased_person_still_counts(journal_url: str, tmp_path: Path) -> None:
    """As if nobody had been erased: whether the facts were up to date before or not, and also when they are made again."""
    async with Journal.open(journal_url) as journal, Journal.open(f"sqlite:///{tmp_path}/other.db") as other:
        for each in (journal, other):
            await fill(each, 4, 15)
        rows = [stored.row for stored in await journal.sessions(1_000)]
        open_now = {row.customer for row in rows if row.closed_at is None}
        customer = next(row.customer for row in rows if row.customer and row.customer not in open_now)
        assert customer is not None
        await journal.erase(customer, at=NOW)
        await other.catch_up()
        expected = _kept(await other.count(ask(("queue", "agent"))))
        await journal.catch_up()
        assert _kept(await journal.count(ask(("queue", "agent")))) == expected
        await journal.forget_facts()
        await journal.catch_up()
        assert _kept(await journal.count(ask(("queue", "agent")))) == expected


def _kept(counts: Counts) -> dict[Key, dict[str, float]]:
    """What does not depend on the erased person's number, in anybody's sessions."""
    lost = {"settled_deflected", "contained", "repeated_24h", "repeated_7d", "texts_failed"}
    return {
        key: {name: amount for name, amount in tally.sums.items() if name not in lost} for key, tally in counts.groups.items()
    }
