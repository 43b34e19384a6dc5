"""Waiting times in a real browser and in the terminal, on a whole server with callers in it; texts and calls are loopback."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest
from argon2 import PasswordHasher
from playwright.async_api import Browser, Page, expect

from bridge.app import Running, running
from bridge.bench import SCENARIOS, Sidetone, simulate
from bridge.events import AgentId, LegId, SessionId
from bridge.hindsight import Outcome
from bridge.journal import Journal
from bridge.settings import Settings
from tests.e2e.axe import complaints
from tests.e2e.browser import clean_page

pytestmark = pytest.mark.e2e
OURS, TOKEN = "+15550100200", "token-of-the-terminal"
PASSWORD = "a long one for everybody"
ANN = AgentId("ann")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    """A house with a past: two days of a simulated centre, as its journal would have them."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    spec: dict[str, Any] = {
        "brand": "Northwind",
        "data": tmp_path / "data",
        "log_level": "error",
        "web": {"port": 0, "api_tokens": [TOKEN]},
        "sip": {"enabled": False},
        "hours": {"support_hours": {"zone": "Europe/Madrid"}},
        "numbers": [{"number": OURS, "flow": "support", "desk": "support_sms"}],
        "queues": [
            {"id": "support", "title": "Support by phone", "desk": "support_sms", "offers": {"mode": "never"}},
            {"id": "support_sms", "channel": "sms", "title": "Support by text"},
        ],
        "agents": [
            {"id": ANN, "name": "Ann Archer", "queues": ["support"], "phone": "loopback:ann", "skills": ["lang:en", "technical"]},
            {"id": "egon", "name": "Egon Noll", "roles": ["engineer"], "password_hash": cheap},
        ],
    }
    settings = Settings(**spec)
    settings.data.mkdir(parents=True)
    async with Journal.open(settings.journal_url) as journal:
        await journal.keep_outcomes(past())
    async with running(settings) as it:
        yield it


def past() -> list[Outcome]:
    """What was forecast, and how long it was; the newest an hour ago."""
    scenario = SCENARIOS["small-team"]
    outcomes = []
    for days in (2, 1):
        begin = time.time() - days * 86_400.0 + 3600.0
        for contact in simulate(scenario, days, [Sidetone({"support": "voice"}, 240.0, 300.0)]):
            if not contact.told or contact.wait is None:
                continue
            told = contact.told["Sidetone"]
            assert told.quantiles is not None
            p10, p25, p50, p75, p90 = told.quantiles
            outcomes.append(
                Outcome(
                    at=begin + contact.at, session=contact.id, queue="support", priority=1, status="ok", basis="learned",
                    ahead=1.0, capacity=4, mean=told.mean, p10=p10, p25=p25, p50=p50, p75=p75, p90=p90,
                    wait=contact.wait, ghost=contact.ghost,
                )
            )  # fmt: skip
    return outcomes


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in the server."""
    async with asyncio.timeout(15.0):
        while not condition():  # noqa: ASYNC110  # what is waited for knows nothing of events
            await asyncio.sleep(0.02)


async def to_the_line(server: Running, caller: str) -> tuple[LegId, SessionId]:
    """Somebody calls, chooses English and the technical queue, and stands in line."""
    before = set(server.runner.sessions)
    leg = await server.loopback_calls.dial(caller, OURS)
    await until(lambda: bool(set(server.runner.sessions) - before))
    [session] = set(server.runner.sessions) - before
    for key in "12":
        await asyncio.sleep(0.5)
        await server.loopback_calls.press(leg, key)
    await until(lambda: server.runner.floor.acd.position(session, "voice") is not None)
    return leg, session


async def look(server: Running, page: Page) -> None:
    """The engineer signs in and opens the page."""
    await page.goto(f"{server.web_url}/sign-in?next=/ewt")
    await page.fill("#login", "egon")
    await page.fill("#password", PASSWORD)
    await page.click("button.primary")
    await page.wait_for_selector("#password", state="detached")
    await page.goto(f"{server.web_url}/ewt")


async def api(server: Running, method: str, path: str, body: Any = None) -> Any:
    """What the API says."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.request(method, f"{server.web_url}/api/v1{path}", json=body) as answer,
    ):
        assert answer.ok, await answer.text()
        return None if answer.status == 204 else await answer.json()


async def test_an_engineer_sees_a_line_grow_and_how_good_the_forecasts_were(browser: Browser, server: Running) -> None:
    """The cards renew themselves; charts and tables are of the days that were kept; a plan shows at once."""
    async with clean_page(browser) as page:
        await look(server, page)
        card = page.locator("article.wait", has_text="Support by phone")
        await expect(card).to_contain_text("Nobody works it")
        await expect(card).to_contain_text("0 ahead")
        for place in ("#reliability", "#half-hours"):
            assert await page.locator(f"{place} svg path").count() > 10
        await expect(page.locator(".tile", has_text="Waits")).to_contain_text("of them gave up before")
        await expect(page.locator("figcaption", has_text="Through the day")).to_contain_text("Europe/Madrid")

        leg, session = await to_the_line(server, "+15550100131")
        await expect(card).to_contain_text("1 ahead", timeout=10000)
        left = await api(server, "GET", f"/contacts/{session}/ewt")
        assert (left["position"], left["queue"]) == (1, "support")
        await api(server, "POST", "/queues/support/ewt/plan", {"steps": [{"at": left["as_of"] + 3600, "capacity": 9}]})
        await expect(card).to_contain_text("Staff is planned until", timeout=10000)

        await page.select_option("#days", "1")
        await page.wait_for_url("**/ewt?days=1*")
        await page.click("summary:has-text('By half-hour')")
        assert await page.locator("details tbody tr").count() > 3
        await page.locator("a", has_text="Support by phone").click()
        await expect(page.locator("#queue")).to_have_value("support")
        await server.loopback_calls.hang_up(leg)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")])
async def test_the_page_is_for_everybody(browser: Browser, server: Running, width: int, scheme: Literal["light", "dark"]) -> None:
    """Nothing sticks out, and axe-core has nothing to say, with everything unfolded."""
    async with clean_page(browser, width=width, scheme=scheme) as page:
        await look(server, page)
        await page.wait_for_selector("#half-hours svg")
        for summary in await page.locator("summary").all():
            await summary.click()
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        assert await complaints(page) == []


async def test_the_terminal_tells_what_the_api_tells(server: Running) -> None:
    """Once as a table of 80 columns, once as JSON."""
    _leg, _session = await to_the_line(server, "+15550100132")
    code = "from bridge.ewt_cli import ewt_commands; ewt_commands()"
    shown = []
    for more in ((), ("--json",)):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, "watch", "--url", server.web_url, "--token", TOKEN, "--once", *more,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        assert process.returncode == 0
        shown.append(out.decode())
    table, document = shown
    assert all(len(line) <= 80 for line in table.splitlines())
    assert "support" in table
    assert json.loads(document)["queues"]["support"]["waiting"] == 1


async def test_what_becomes_of_a_forecast_is_in_the_report_a_moment_later(server: Running) -> None:
    """The caller is served; the report has one outcome more."""
    before = await api(server, "GET", "/ewt/calibration")
    await to_the_line(server, "+15550100133")
    await server.desk.set_state(ANN, "ready")
    await until(lambda: bool(server.desk.offers(ANN)))
    [offer] = server.desk.offers(ANN)
    await server.desk.accept(ANN, offer.session, offer.channel)
    async with asyncio.timeout(20.0):
        while True:
            after = await api(server, "GET", "/ewt/calibration")
            if after["report"]["total"]["scores"]["n"] == before["report"]["total"]["scores"]["n"] + 1:
                break
            await asyncio.sleep(0.2)
    assert (await api(server, "POST", "/ewt/resync"))["corrected"] is False
