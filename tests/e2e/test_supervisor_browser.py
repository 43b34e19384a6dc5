"""A supervisor in a real browser watches a house at work and acts on it; the server is whole, texts and calls are loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from playwright.async_api import Browser, Page, expect

from bridge.app import Running, running
from bridge.events import AgentId, SessionId
from bridge.settings import Settings
from tests.e2e.axe import complaints
from tests.e2e.browser import clean_page

pytestmark = pytest.mark.e2e
OURS, CALLER = "+15550100200", "+15550100190"
PASSWORD = "a long one for everybody"
BEN, CYD = AgentId("ben"), AgentId("cyd")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    texts = {"password_hash": cheap, "queues": ["support_sms", "billing_sms"]}
    spec: dict[str, Any] = {
        "brand": "Northwind",
        "data": tmp_path / "data",
        "log_level": "error",
        "web": {"port": 0},
        "sip": {"enabled": False},
        "sms": {"reopen_window": 0},
        "hours": {"support_hours": {}},
        "numbers": [{"number": OURS, "flow": "support", "desk": "support_sms"}],
        "queues": [
            {"id": "support", "title": "Support by phone", "desk": "support_sms", "offers": {"mode": "never"}},
            {"id": "support_sms", "channel": "sms", "title": "Support by text"},
            {"id": "billing_sms", "channel": "sms", "title": "Billing by text"},
        ],
        "agents": [
            {
                "id": "ann",
                "name": "Ann Archer",
                "queues": ["support"],
                "phone": "loopback:ann",
                "skills": ["lang:en", "technical"],
            },
            {"id": "ben", "name": "Ben Okafor", "teams": ["texts"], **texts},
            {"id": "cyd", "name": "Cyd Ray", "teams": ["texts"], **texts},
            {"id": "sue", "name": "Sue Park", "roles": ["supervisor", "agent"], **texts},
        ],
        "alerts": [{"name": "Somebody calls", "on": "service", "measure": "calls", "above": 0.5, "lasting": 0}],
    }
    async with running(Settings(**spec)) as it:
        yield it


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in the server."""
    async with asyncio.timeout(15.0):
        while not condition():  # noqa: ASYNC110  # what is waited for knows nothing of events
            await asyncio.sleep(0.02)


async def chat(server: Running, customer: str, agent: AgentId) -> SessionId:
    """A customer texts, and the agent has the chat."""
    await server.desk.set_state(agent, "ready")
    before = set(server.runner.sessions)
    await server.network.handset(customer).text(OURS, "Hello, my router blinks red")
    await until(lambda: bool(set(server.runner.sessions) - before) and bool(server.desk.offers(agent)))
    [offer] = server.desk.offers(agent)
    await server.desk.accept(agent, offer.session, offer.channel)
    await server.desk.set_state(agent, "not_ready", "Meeting")
    return offer.session


@asynccontextmanager
async def at(server: Running, browser: Browser, login: str, path: str, **window: Any) -> AsyncIterator[Page]:
    """Somebody is signed in and looks at a page."""
    async with clean_page(browser, **window) as page:
        await page.goto(f"{server.web_url}/sign-in?next={path}")
        await page.fill("#login", login)
        await page.fill("#password", PASSWORD)
        await page.click("button.primary")
        await page.wait_for_selector("#password", state="detached")
        await page.goto(f"{server.web_url}{path}")
        yield page


async def test_a_supervisor_watches_while_a_caller_waits(browser: Browser, server: Running) -> None:
    """The caller comes into the board by themselves, an alert with them; the trail says why nobody has taken them."""
    async with at(server, browser, "sue", "/supervisor?board=sessions&phase=upcoming") as page:
        await expect(page.locator("#nothing")).to_be_visible()
        await server.desk.set_state(AgentId("ann"), "not_ready", "Lunch")
        leg = await server.loopback_calls.dial(CALLER, OURS)
        await expect(page.locator("#rows tr")).to_have_count(1)
        await server.loopback_calls.press(leg, "1")
        row = page.locator("#rows tr")
        await expect(row).to_contain_text("In the menu")
        await asyncio.sleep(0.5)
        await server.loopback_calls.press(leg, "2")
        await expect(row).to_contain_text("Waiting on the line", timeout=15000)
        await expect(page.locator("#top .alerts")).to_contain_text("Somebody calls", timeout=15000)
        await page.click("text=I look after it")
        await expect(page.locator("#top .alerts")).to_contain_text("Sue Park looks after it")

        await row.locator("a").click()
        await expect(page.locator("main")).to_contain_text("Waits now in Support by phone, place 1")
        await expect(page.locator("main")).to_contain_text("Is not ready")
        await server.loopback_calls.hang_up(leg)


async def test_a_supervisor_moves_ends_and_takes_over(browser: Browser, server: Running) -> None:
    """One chat goes to another queue, one is ended, and one becomes the supervisor's own, each within a few clicks."""
    moved = await chat(server, "+15550100131", BEN)
    ended = await chat(server, "+15550100132", BEN)
    taken = await chat(server, "+15550100133", BEN)
    async with at(server, browser, "sue", "/supervisor?board=sessions") as page:
        await expect(page.locator("#rows tr")).to_have_count(3)
        await page.click(f"[data-key='{moved}'] button")
        await page.select_option("#move-to", "queue:billing_sms")
        await page.click("#panel button:has-text('Move')")
        await expect(page.locator("#panel")).not_to_be_visible()
        await expect(page.locator("#rows tr")).to_have_count(2)
        assert server.runner.sessions[moved].state.chat_queue == "billing_sms"

        await page.click(f"[data-key='{ended}'] button")
        await page.click("summary:has-text('End it')")
        await page.fill("#end-reason", "The customer is rude")
        await page.check("[name=sure]")
        await page.click("#panel button.danger")
        await expect(page.locator("#panel")).not_to_be_visible()
        await until(lambda: server.runner.sessions[ended].state.chat_agent is None)

        await page.click(f"[data-key='{taken}'] button")
        await page.click("#panel button:has-text('Take over')")
        await expect(page.locator(f"[data-key='{taken}']")).to_contain_text("Sue Park")
        assert server.runner.sessions[taken].state.chat_agent == "sue"

        await page.goto(f"{server.web_url}/supervisor/sessions/{ended}")
        await expect(page.locator("#lines")).to_contain_text("The customer is rude")


async def test_what_cannot_be_done_is_said_in_the_panel(browser: Browser, server: Running) -> None:
    """A chat cannot go to who takes none; the panel stays open and says why."""
    session = await chat(server, "+15550100131", BEN)
    await server.desk.set_state(AgentId("ann"), "ready")
    async with at(server, browser, "sue", "/supervisor?board=sessions") as page:
        await page.click(f"[data-key='{session}'] button")
        await page.select_option("#move-to", "agent:ann")
        await page.click("#panel button:has-text('Move')")
        await expect(page.locator("#panel-problem")).to_have_text("Ann Archer takes no work of this kind.")
        assert server.runner.sessions[session].state.chat_agent == BEN


async def test_a_message_reaches_the_team_and_a_state_is_changed(browser: Browser, server: Running) -> None:
    """An agent of the team reads the message at the desk and ticks it off; a changed state shows there with who did it."""
    async with (
        at(server, browser, "sue", "/supervisor") as page,
        at(server, browser, "ben", "/") as desk,
    ):
        await page.click("button:has-text('Message')")
        await page.select_option("#to", "team:texts")
        await page.fill("#message-words", "Phones are <b>slow</b> today")
        await page.click("#panel button.primary")
        await expect(page.locator("#panel")).not_to_be_visible()
        await expect(desk.locator("#messages")).to_contain_text("Phones are <b>slow</b> today")
        await desk.click("#messages button")
        await expect(desk.locator(".bulletin")).to_have_count(0)

        await page.click("[data-key=ben] button[data-panel]")
        await page.select_option("#reason", "Training")
        await page.click("button:has-text('Set to Not ready')")
        await expect(page.locator("[data-key=ben]")).to_contain_text("Training")
        await expect(desk.locator("#messages")).to_contain_text("Sue Park has set you to Not ready: Training")
        await expect(desk.locator("#presence")).to_contain_text("Training")


async def test_boards_are_found_sorted_and_kept_in_the_address(browser: Browser, server: Running) -> None:
    """The search and a click on a column's title are answered at once, and a reload shows the same."""
    async with at(server, browser, "sue", "/supervisor") as page:
        await expect(page.locator("#rows tr")).to_have_count(4)
        await page.click("th button:has-text('Agent')")
        await page.click("th button:has-text('Agent')")
        await expect(page.locator("#rows tr").first).to_contain_text("Sue Park")
        await page.fill("[name=words]", "ray")
        await expect(page.locator("#rows tr")).to_have_count(1)
        await page.wait_for_url("**/supervisor?*words=ray*")
        await page.reload()
        await expect(page.locator("#rows tr")).to_have_count(1)
        await expect(page.locator("[name=words]")).to_have_value("ray")


async def test_a_board_comes_back_by_itself(browser: Browser, server: Running) -> None:
    """When the server closes the connection the page says so, connects again and shows what is so by then."""
    async with at(server, browser, "sue", "/supervisor") as page:
        await expect(page.locator("#rows tr")).to_have_count(4)
        for close in server.web_app.on_shutdown:
            await close(server.web_app)
        await expect(page.locator("#connection")).to_be_visible()
        await server.desk.set_state(CYD, "ready")
        await expect(page.locator("[data-key=cyd]")).to_contain_text("Ready")
        await expect(page.locator("#connection")).not_to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_has_nothing_to_say(browser: Browser, server: Running, scheme: Any) -> None:
    """Boards with rows and alerts, every panel, the trail and the wall, by the rules of WCAG 2.2 AA."""
    session = await chat(server, "+15550100131", BEN)
    leg = await server.loopback_calls.dial(CALLER, OURS)
    found = []
    async with at(server, browser, "sue", "/supervisor", scheme=scheme) as page:
        for path in ("?board=queues", "?board=sessions", "?board=sessions&phase=upcoming", "/wall", f"/sessions/{session}"):
            await page.goto(f"{server.web_url}/supervisor{path}")
            await page.wait_for_selector("#lines li" if path.startswith("/s") else "#top *")
            found += await complaints(page)
        await page.goto(f"{server.web_url}/supervisor")
        await expect(page.locator("#rows tr")).to_have_count(4)
        await expect(page.locator("#top .alerts li")).to_have_count(1, timeout=15000)
        found += await complaints(page)
        for panel in ("/message", "/alerts", "/definitions", "/agents/ben", f"/sessions/{session}/actions"):
            await page.evaluate(f"htmx.ajax('GET', '/supervisor{panel}', '#panel-body')")
            await page.wait_for_selector("#panel[open] h1")
            found += await complaints(page)
            await page.keyboard.press("Escape")
    await server.loopback_calls.hang_up(leg)
    assert found == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
async def test_nothing_is_wider_than_the_window(browser: Browser, server: Running, scheme: Any, width: int) -> None:
    """Every board, the wall and a trail fit the window they are in."""
    session = await chat(server, "+15550100131", BEN)
    paths = ("", "?board=queues", "?board=sessions", "?board=sessions&phase=previous", "/wall", f"/sessions/{session}")
    async with at(server, browser, "sue", "/supervisor", width=width, scheme=scheme) as page:
        for path in paths:
            await page.goto(f"{server.web_url}/supervisor{path}")
            await page.wait_for_load_state("networkidle") if path.startswith("/s") else await page.wait_for_selector("#top *")
            wide = await page.evaluate("document.documentElement.scrollWidth > innerWidth")
            assert not wide, path
