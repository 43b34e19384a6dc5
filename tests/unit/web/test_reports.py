"""Reports on pages and for programs: who sees them, what they say, as files, and what is behind a figure."""

import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from bridge.acd import Target
from bridge.journal import Journal
from bridge.reporting import Reports
from bridge.reports.definitions import MEASURES, REPORTS
from bridge.reports.spans import day_of
from bridge.web.server import WebConfig, make_app
from tests.unit.bridge.house import settings
from tests.unit.reports.test_figures import NOW, fill
from tests.unit.web.conftest import Client
from tests.unit.web.fakes import FakeIntake, FakeRecords
from tests.unit.web.programs import Programs, programs
from tests.unit.web.test_ewt_page import Desk, enter

DAY = day_of(NOW, "UTC").isoformat()


def reports_of(journal: Journal, folder: Path) -> Reports:
    """Over a busy day that has come as far as noon."""
    queues = [{"id": "support", "title": "Support & more"}, {"id": "support_sms", "channel": "sms"}]
    house = settings(
        folder, queues=queues, numbers=[], agents=[{"id": "ann", "name": "=Ann", "queues": ["support"], "teams": ["north"]}]
    )
    return Reports(journal, lambda: house, lambda: {"support": Target(20.0, 0.8, 5.0)}, clock=lambda: NOW)


@asynccontextmanager
async def browsing(folder: Path) -> AsyncIterator[Client]:
    """Nobody is signed in yet."""
    async with Journal.open(f"sqlite:///{folder}/journal.db") as journal:
        await fill(journal, 5, 15)
        app = make_app(
            Desk(NOW),
            FakeIntake(),
            FakeRecords(),
            None,
            WebConfig(prompts=folder),
            registry=CollectorRegistry(),
            now=lambda: NOW,
            reporting=reports_of(journal, folder),
        )
        async with TestClient(TestServer(app), cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
            yield client


@pytest.mark.parametrize("path", ["/reports", "/reports/file", "/reports/sessions", "/reports/definitions"])
async def test_only_who_may_sees_reports(tmp_path: Path, path: str) -> None:
    """Strangers sign in first; an agent without the right is told so."""
    async with browsing(tmp_path) as browser:
        assert (await browser.get(path, allow_redirects=False)).status == 303
        await enter(browser, "ana")
        assert (await browser.get(path)).status == 403


async def test_every_report_has_its_tiles_its_charts_and_its_table(tmp_path: Path) -> None:
    """With what each figure means beside it; what is shown is escaped."""
    async with browsing(tmp_path) as browser:
        await enter(browser)
        for name, report in REPORTS.items():
            page = await (await browser.get(f"/reports?report={name}&period=28_days")).text()
            for ident in (*report.tiles, *report.columns):
                assert f'data-definition="{ident}"' in page
                assert f'id="definition-{ident}"' in page
            data = json.loads(page.split('id="data">')[1].split("</script>")[0])
            assert len(data["charts"]) == len(report.charts)
            assert {len(each["data"]) for chart in data["charts"] for each in chart["series"]} == {28} == {len(data["labels"])}
        page = await (await browser.get("/reports?report=queues&period=today&by=queue")).text()
        assert "Support &amp; more" in page
        assert "Support & more" not in page.split('id="data">')[0]


async def test_odd_addresses_show_what_can_be_shown(tmp_path: Path) -> None:
    """Unknown names, days that are none, ranges the wrong way round, zones that are not there."""
    async with browsing(tmp_path) as browser:
        await enter(browser)
        for query in (
            "report=gossip&period=never&by=shoes&every=second&queue=nowhere",
            "period=custom&first=2026-02-30&last=x",
            "period=custom&first=2026-03-29&last=2026-03-01&every=quarter",
            "period=custom&first=1990-01-01&last=2030-01-01&every=quarter",
            "zone=Mars/Olympus&period=last_month",
            "zone=Asia/Kolkata&period=this_week&every=hour&channel=sms&type=sms_in&agent=ann&team=north",
        ):
            answer = await browser.get(f"/reports?{query}")
            assert answer.status == 200, query
        summer = await (
            await browser.get("/reports?zone=Europe/Berlin&period=custom&first=2026-03-29&every=hour&by=interval")
        ).text()
        assert len(json.loads(summer.split('id="data">')[1].split("</script>")[0])["labels"]) == 23


async def test_files_have_the_figures_of_the_page(tmp_path: Path) -> None:
    """CSV for a spreadsheet, in which a name is never a formula, and JSON with the definitions."""
    async with browsing(tmp_path) as browser:
        await enter(browser)
        query = "report=agents&period=today&by=agent"
        answer = await browser.get(f"/reports/file?{query}&format=csv")
        assert answer.content_type == "text/csv"
        assert answer.headers["Content-Disposition"] == f'attachment; filename="agents-{DAY}.csv"'
        rows = list(csv.DictReader(io.StringIO(await answer.text())))
        assert "'=Ann" in {row["agent"] for row in rows}
        values = await (await browser.get(f"/reports/file?{query}&format=json")).json()
        assert float(rows[-1]["handled"]) == values["total"]["handled"]
        first = values["columns"][0]
        assert (first["id"], first["unit"], first["formula"]) == ("handled", "count", "handled")
        assert first["words"] == MEASURES["handled"].words


async def test_a_count_leads_to_its_sessions(tmp_path: Path) -> None:
    """As many as were counted, with how each ended; who may not read conversations gets no link to them."""
    async with browsing(tmp_path) as browser:
        await enter(browser)
        page = await (await browser.get("/reports?report=queues&period=today&by=queue")).text()
        link = page.split('<td class="n"><a href="')[1].split('"')[0].replace("&amp;", "&")
        assert "measure=offered" in link
        figure = int(page.split('<td class="n"><a href="')[1].split(">")[1].split("<")[0])
        behind = await (await browser.get(link)).text()
        assert behind.count("/supervisor/sessions/") == figure
        assert (
            "There is no session behind"
            in await (await browser.get("/reports/sessions?measure=occupancy&report=agents&period=today")).text()
        )


async def test_all_definitions_stand_on_one_page(tmp_path: Path) -> None:
    """Each with its formula, where the question mark leads without scripts."""
    async with browsing(tmp_path) as browser:
        await enter(browser)
        page = await (await browser.get("/reports/definitions")).text()
        for measure in MEASURES.values():
            assert f'id="{measure.id}"' in page
            assert f"<code>{measure.formula}</code>" in page


@asynccontextmanager
async def asking(folder: Path) -> AsyncIterator[Programs]:
    """Programs that may ask for reports."""
    async with programs(folder, reporting=lambda journal: reports_of(journal, folder)) as here:
        await fill(here.journal, 5, 15)
        yield here


async def test_a_program_gets_json_or_csv(tmp_path: Path) -> None:
    """As it accepts, or as it asks."""
    async with asking(tmp_path) as here:
        path = f"/reports/queues?period=custom&first={DAY}&by=queue,interval&every=hour"
        answer = await here.ask("GET", path, key="reader")
        assert answer.status == 200
        sheet = await answer.json()
        assert (sheet["report"], sheet["by"], sheet["zone"]) == ("queues", ["queue", "interval"], "UTC")
        assert sum(row["figures"]["offered"] for row in sheet["rows"]) == sheet["total"]["offered"] > 0
        by_accept = await here.ask("GET", path, key="reader", Accept="text/csv")
        by_format = await here.ask("GET", f"{path}&format=csv", key="reader")
        assert by_accept.content_type == by_format.content_type == "text/csv"
        assert await by_accept.text() == await by_format.text()
        assert (await by_accept.text()).startswith("queue,interval,offered,")
        described = await (await here.ask("GET", "/openapi.json")).json()
        assert set(described["paths"]["/reports/{name}"]["get"]["responses"]["200"]["content"]) == {
            "application/json",
            "text/csv",
        }


@pytest.mark.parametrize(
    ("path", "kind", "parameter"),
    [
        ("gossip", "not_found", None),
        ("queues?zone=Mars/Olympus", "parameters", "zone"),
        ("queues?by=shoes", "parameters", "by"),
        ("queues?by=queue,queue", "parameters", "by"),
        ("queues?by=queue,agent,type,channel", "parameters", "by"),
        ("queues?type=gossip", "parameters", "type"),
        ("queues?channel=smoke", "parameters", "channel"),
        ("queues?period=custom", "parameters", "first"),
        ("queues?period=custom&first=2026-01-02&last=2026-01-01", "parameters", "last"),
        ("queues?period=custom&first=2026-01-01&last=2026-12-01&every=quarter", "parameters", "every"),
        ("queues?period=always", "parameters", "period"),
    ],
)
async def test_what_cannot_be_answered_is_said(tmp_path: Path, path: str, kind: str, parameter: str | None) -> None:
    """With the parameter that is wrong."""
    async with programs(tmp_path, reporting=lambda journal: reports_of(journal, tmp_path)) as here:
        problem = await here.problem(await here.ask("GET", f"/reports/{path}", key="reader"))
        assert problem["kind"] == kind
        if parameter is not None:
            assert [each["parameter"] for each in problem["errors"]] == [parameter]


async def test_a_key_without_the_scope_gets_no_report(tmp_path: Path) -> None:
    """It is told which one it needs."""
    async with programs(tmp_path, reporting=lambda journal: reports_of(journal, tmp_path)) as here:
        assert (await here.problem(await here.ask("GET", "/reports/queues", key="planner")))["kind"] == "scope"
