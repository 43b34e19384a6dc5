"""Reports as people get them: grouped, compared, by mail once, and the agent's own day."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from bridge.acd import Target
from bridge.events import AgentId
from bridge.journal import Journal, JournalUnavailableError
from bridge.reporting import Letter, Reports
from bridge.reports.spans import days
from bridge.web.ports_reports import Question
from bridge.web.report_files import as_csv, as_values, harmless, shown
from tests.unit.bridge.house import settings
from tests.unit.reports.test_figures import NOW, RANGE, fill

QUESTION = Question(report="queues", range=RANGE, by=("queue",))


class Office:
    """Reports over a busy day, and the mails that leave."""

    def __init__(self, journal: Journal, folder: Path, **changes: Any) -> None:
        self.now = NOW
        self.letters: list[Letter] = []
        self.broken = False
        self.journal = journal
        self.settings = settings(folder, **changes)
        self.reports = self.another()

    def another(self) -> Reports:
        """The same after a restart."""
        targets = {"support": Target(20.0, 0.8, 5.0)}
        return Reports(self.journal, lambda: self.settings, lambda: targets, clock=lambda: self.now, post=self.post)

    async def post(self, letter: Letter) -> None:
        if self.broken:
            raise JournalUnavailableError("the disk is full")
        self.letters.append(letter)


@asynccontextmanager
async def office(folder: Path, **changes: Any) -> AsyncIterator[Office]:
    async with Journal.open(f"sqlite:///{folder}/journal.db") as journal:
        await fill(journal, 3)
        yield Office(journal, folder, **changes)


async def test_a_report_has_its_groups_its_total_and_every_span(tmp_path: Path) -> None:
    """Titles as the settings have them; the spans cover the range, also where nothing happened."""
    async with office(tmp_path) as here:
        sheet = await here.reports.sheet(QUESTION)
        assert {row.key[0] for row in sheet.rows} >= {"support", "support_sms"}
        assert sum(row.figures["offered"] or 0 for row in sheet.rows) == sheet.total["offered"]
        assert sheet.before["offered"] == 0
        hours = await here.reports.sheet(
            Question(
                report="overview",
                range=days(date(2026, 3, 29), date(2026, 3, 29), "Europe/Berlin"),
                by=("interval",),
                every="hour",
            )
        )
        assert len(hours.spans) == 23
        assert [row.key[0] for row in hours.spans][1:3] == ["2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"]
        assert [row.key for row in hours.rows] == sorted(row.key for row in hours.rows)
        with pytest.raises(KeyError):
            await here.reports.sheet(Question(report="gossip", range=RANGE))


async def test_files_say_what_the_page_says(tmp_path: Path) -> None:
    """CSV and plain values; a name that looks like a formula is none any more."""
    async with office(tmp_path) as here:
        sheet = await here.reports.sheet(QUESTION)
        lines = as_csv(sheet).splitlines()
        assert lines[0].startswith("queue,offered,answered,abandoned")
        assert lines[-1].startswith("total,")
        assert len(lines) == len(sheet.rows) + 2
        values = as_values(sheet)
        assert values["total"]["offered"] == sheet.total["offered"]
        assert {column["id"] for column in values["columns"]} == set(values["total"])
    assert harmless("=1+1") == "'=1+1"
    assert [shown(value, "seconds") for value in (None, 5.0, 3_725.0, -65.0)] == ["\N{EN DASH}", "0:05", "1:02:05", "-1:05"]
    assert [shown(0.5, "share"), shown(1_234.5, "money", "EUR"), shown(2.345, "number"), shown(1_000, "count")] == [
        "50.0 %", "1,234.50 EUR", "2.35", "1,000",
    ]  # fmt: skip


async def test_a_team_is_its_agents(tmp_path: Path) -> None:
    """Grouped by team; narrowed to one; one that nobody is in counts nothing."""
    agents = [
        {"id": "ann", "name": "Ann", "queues": ["support"], "teams": ["north"]},
        {"id": "ben", "name": "Ben", "queues": ["support_sms"], "teams": ["north", "south"]},
    ]
    async with office(tmp_path, agents=agents) as here:
        by_agent = await here.reports.sheet(Question(report="agents", range=RANGE, by=("agent",)))
        handled = {row.key[0]: row.figures["handled"] or 0 for row in by_agent.rows}
        by_team = await here.reports.sheet(Question(report="agents", range=RANGE, by=("team",)))
        teams = {row.key[0]: row.figures["handled"] or 0 for row in by_team.rows}
        assert teams["north"] == handled["ann"] + handled["ben"]
        assert teams["south"] == handled["ben"]
        south = await here.reports.sheet(Question(report="agents", range=RANGE, teams=("south",)))
        assert south.total["handled"] == handled["ben"]
        nobody = await here.reports.sheet(Question(report="agents", range=RANGE, teams=("west",)))
        assert nobody.total["handled"] == 0


async def test_behind_a_figure_are_as_many_sessions(tmp_path: Path) -> None:
    """What is counted one by one can be looked at one by one; agents' time has no sessions."""
    async with office(tmp_path) as here:
        sheet = await here.reports.sheet(QUESTION)
        for measure in ("offered", "abandoned", "handled", "transfers", "contacts", "offers_made"):
            total = (await here.reports.sheet(Question(report="queues", range=RANGE))).total
            found = await here.reports.behind(Question(report="queues", range=RANGE), measure, 10_000)
            assert all(RANGE.since <= each.at < RANGE.until for each in found)
            if measure in total:
                assert len(found) == total[measure]
        assert len(await here.reports.behind(QUESTION, "offered", 3)) == 3
        assert sheet.total["offered"]
        assert await here.reports.behind(QUESTION, "busy", 10) == []


async def test_an_agent_sees_the_own_day_beside_the_teams(tmp_path: Path) -> None:
    """Own counts, and the average of everybody who handled anything."""
    async with office(tmp_path) as here:
        mine = await here.reports.mine(AgentId("ann"))
        today = await here.reports.sheet(
            Question(report="agents", range=days(date(2026, 3, 29), date(2026, 3, 29), "UTC"), by=("agent",))
        )
        rows = {row.key[0]: row.figures for row in today.rows}
        assert (mine.calls, mine.chats) == (rows["ann"]["handled_calls"], rows["ann"]["handled_chats"])
        assert mine.chat_aht == rows["ann"]["chat_aht"]
        assert mine.team_chats == pytest.approx((today.total["handled_chats"] or 0) / 2)
        nobody = await here.reports.mine(AgentId("zoe"))
        assert (nobody.calls, nobody.aht) == (0, None)


MAIL = {
    "mail": [
        {"name": "morning", "report": "queues", "every": "day", "at": "07:00", "to": ["boss@corp.example", "b@corp.example"]}
    ],
    "zone": "Europe/Berlin",
}


async def test_a_report_is_mailed_once_for_each_day(tmp_path: Path) -> None:
    """Not before its hour; not again after a restart; the next day again; with the table."""
    async with office(tmp_path, reports=MAIL) as here:
        seven = days(date(2026, 3, 30), date(2026, 3, 30), "Europe/Berlin").since + 7 * 3600.0
        here.now = seven - 1.0
        await here.reports.mail_due()
        sunday = [letter for letter in here.letters if "2026-03-29" in letter.subject]
        assert sunday == []
        here.letters.clear()
        here.now = seven + 1.0
        await here.reports.mail_due()
        await here.another().mail_due()
        assert [letter.to for letter in here.letters] == ["boss@corp.example", "b@corp.example"]
        assert len({letter.id for letter in here.letters}) == 2
        [(file, table)] = here.letters[0].attachments.items()
        assert file == "queues-2026-03-29.csv"
        assert "support" in table
        assert "Service level" in here.letters[0].words
        assert "<table" in here.letters[0].html
        here.now = seven + 86_400.0 + 1.0
        await here.reports.mail_due()
        assert len(here.letters) == 4


async def test_a_report_that_could_not_be_kept_is_mailed_later(tmp_path: Path) -> None:
    """Nothing is written down before it is kept, and the mail has the same id again."""
    async with office(tmp_path, reports=MAIL) as here:
        here.now = days(date(2026, 3, 30), date(2026, 3, 30), "Europe/Berlin").since + 8 * 3600.0
        here.broken = True
        with pytest.raises(JournalUnavailableError):
            await here.reports.mail_due()
        here.broken = False
        await here.reports.mail_due()
        assert len(here.letters) == 2


async def test_facts_thrown_away_are_made_again_as_they_were(tmp_path: Path) -> None:
    """Of everything but erased people, whose facts stay because they could not be made again."""
    async with office(tmp_path) as here:
        await here.reports.catch_up()
        before = (await here.reports.sheet(QUESTION)).total
        await here.journal.forget_facts()
        assert await here.journal.catch_up() > 0
        assert (await here.another().sheet(QUESTION)).total == before
        assert await here.journal.catch_up() == 0


async def test_trouble_with_the_journal_does_not_end_the_work(tmp_path: Path) -> None:
    """What could not be mailed is tried again, and cancelling ends it."""
    async with office(tmp_path, reports=MAIL) as here:
        here.broken = True
        started = asyncio.Event()
        task = asyncio.create_task(here.reports.run(started))
        async with asyncio.timeout(10.0):
            await started.wait()
            while not await here.journal.value("facts_spans_until"):  # noqa: ASYNC110  # what ends by itself
                await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
