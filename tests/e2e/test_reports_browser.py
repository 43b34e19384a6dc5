"""A supervisor reads a report: charts, meanings, another grouping, the sessions behind a count, the table as a file."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest
from argon2 import PasswordHasher

from bridge.app import Running, running
from bridge.demo import packaged_settings, with_password
from bridge.journal import Journal, Unit
from bridge.settings import load_settings
from tests.e2e.browser import chromium, clean_page, sign_in
from tests.unit.reports.busy import busy_day

pytestmark = pytest.mark.e2e
HOURS = 3_600.0


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    """With two days behind it."""
    now = float(round(time.time()))
    settings = load_settings(packaged_settings())
    web, sip = settings.web.model_copy(update={"port": 0}), settings.sip.model_copy(update={"enabled": False})
    settings = settings.model_copy(update={"data": tmp_path, "web": web, "sip": sip})
    async with Journal.open(settings.journal_url) as journal:
        for day in (1, 2):
            since = now - day * 86_400.0
            stories, states = busy_day(day, since, 4 * HOURS, 25)
            steps = [step for story in stories for step in story.units]
            steps += [(row.since, Unit(agent_states=[row])) for row in states]
            for _, unit in sorted((step for step in steps if step[0] <= now), key=lambda step: step[0]):
                await journal.commit(unit)
    async with running(with_password(settings, PasswordHasher().hash("demo"))) as started:
        yield started


async def test_a_report_is_read(server: Running, tmp_path: Path) -> None:
    """By mouse and by keyboard."""
    async with chromium() as browser, clean_page(browser) as page:
        await sign_in(page, server.web_url, "agent", "demo")
        await page.click("nav.places >> text=Reports")
        await page.wait_for_selector(".chart svg")
        assert await page.locator(".chart svg").count() >= 2
        await page.focus(".tile .help")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("dialog[open] .formula")
        await page.keyboard.press("Escape")
        await page.wait_for_selector("dialog[open]", state="detached")
        await page.click(".tabs >> text=Queues")
        await page.wait_for_url("**report=queues**")
        await page.select_option("#by", "type")
        await page.wait_for_url("**by=type**")
        assert "Inbound call" in await page.inner_text("tbody")
        async with page.expect_download() as download:
            await page.click("text=CSV")
        file = tmp_path / "report.csv"
        await (await download.value).save_as(file)
        assert file.read_text(encoding="utf-8").startswith("type,offered,")
        figure = int(await page.inner_text("tbody td a >> nth=0"))
        await page.click("tbody td a >> nth=0")
        await page.wait_for_url("**/reports/sessions**")
        assert await page.locator("tbody tr").count() == figure


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_sticks_out_on_a_telephone(server: Running, scheme: Literal["light", "dark"]) -> None:
    """Tables scroll inside; the page does not."""
    async with chromium() as browser, clean_page(browser, width=400, scheme=scheme) as page:
        await sign_in(page, server.web_url, "agent", "demo")
        for path in ("/reports", "/reports?report=agents", "/reports/definitions", "/reports/sessions?measure=offered"):
            await page.goto(f"{server.web_url}{path}")
            await page.wait_for_selector("h1")
            wide = await page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 400, path
