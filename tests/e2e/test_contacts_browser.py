"""Contacts in a browser: a caller with a name, a line of two people, a list, a merge and a file."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
from argon2 import PasswordHasher
from playwright.async_api import Browser, Page

from bridge.app import Running, running
from bridge.crm.book import Book
from bridge.events import AgentId
from bridge.settings import Settings
from tests.e2e.axe import complaints
from tests.e2e.browser import clean_page
from tests.e2e.server import free_port

OURS, MARIA, SHARED = "+15550100200", "+15550100123", "+15550100124"
SIGHTS: tuple[tuple[int, Literal["light", "dark"]], ...] = ((1280, "light"), (400, "dark"))
PASSWORD = "a long one for everybody"


def settings(folder: Path) -> Settings:
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    spec: dict[str, Any] = {
        "data": folder / "data",
        "log_level": "error",
        "web": {"port": free_port()},
        "sip": {"enabled": False},
        "hours": {"support_hours": {}},
        "numbers": [{"number": OURS, "flow": "support", "desk": "support_sms"}],
        "queues": [{"id": "support", "desk": "support_sms"}, {"id": "support_sms", "title": "Texts", "channel": "sms"}],
        "agents": [
            {
                "id": "ann",
                "name": "Ann",
                "roles": ["agent", "supervisor"],
                "queues": ["support_sms"],
                "password_hash": hasher.hash(PASSWORD),
            }
        ],
        "crm": {"screen_pop": "https://crm.example/c/{id}", "screen_pop_hosts": ["crm.example"]},
    }
    return Settings(**spec)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(settings(tmp_path)) as up:
        yield up


def book(server: Running) -> Book:
    return Book(server.runner.journal, clock=server.runner.clock, region="US")


async def sign_in(page: Page, server: Running) -> None:
    await page.goto(f"{server.web_url}/sign-in")
    await page.fill("#login", "ann")
    await page.fill("#password", PASSWORD)
    await page.click("main button")
    await page.wait_for_selector("#work")


async def text(server: Running, number: str, words: str) -> None:
    await server.network.handset(number).text(OURS, words)


async def test_the_card_names_the_customer_and_lets_the_agent_choose(server: Running, browser: Browser, tmp_path: Path) -> None:
    """Somebody known is named; of two who share a line the agent says who it is, or adds a third."""
    await book(server).create({"name": "Maria Silva", "phones": [MARIA], "tags": ["gold"]}, "agent:ann")
    for name in ("Ken Tanaka", "Emi Tanaka"):
        await book(server).create({"name": name, "phones": [SHARED]}, "agent:ann")
    async with clean_page(browser) as page:
        await sign_in(page, server)
        await server.desk.set_state(AgentId("ann"), "ready")
        await text(server, MARIA, "my router blinks")
        await page.click("#offers button:has-text('Accept')")
        card = page.locator("#contact-card")
        await card.locator("text=Maria Silva").wait_for()
        link = await card.locator("a:has-text('Open in CRM')").get_attribute("href")
        assert link is not None
        assert link.startswith("https://crm.example/c/k")
        await text(server, SHARED, "hello")
        await page.click("#offers button:has-text('Accept')")
        await card.locator("text=Several people have this number").wait_for()
        await page.screenshot(path=tmp_path / "desk-choose.png", caret="initial")
        await card.locator("button:has-text('Emi Tanaka')").click()
        await card.locator(".who >> text=Emi Tanaka").wait_for()
        await card.locator("summary:has-text('somebody else')").click()
        await card.locator("#contact-search").fill("mari")
        await card.locator("#contact-found button:has-text('Maria')").wait_for()
        await card.locator("#contact-new-name").fill("Cleo Tanaka")
        await card.locator("button:has-text('Add')").click()
        await card.locator(".who >> text=Cleo Tanaka").wait_for()
        for width, scheme in SIGHTS:
            await page.set_viewport_size({"width": width, "height": 900})
            await page.emulate_media(color_scheme=scheme)
            await page.screenshot(path=tmp_path / f"desk-{width}-{scheme}.png", caret="initial")
            assert await complaints(page, "document.querySelector('#contact-card')") == []


async def test_a_supervisor_finds_changes_merges_and_imports(server: Running, browser: Browser, tmp_path: Path) -> None:
    """Everything by hand, from the list."""
    await book(server).create({"name": "Maria Silva", "phones": [MARIA]}, "agent:ann")
    await book(server).create({"name": "M. Silva", "phones": [MARIA, SHARED], "company": "Example"}, "agent:ann")
    file = tmp_path / "people.csv"
    file.write_text("Name;Telefon\nZoë Müller;+15550100130\nNobody;nonsense\n")
    async with clean_page(browser) as page:
        await sign_in(page, server)
        await page.goto(f"{server.web_url}/contacts")
        await page.fill("input[name=q]", "maria")
        await page.wait_for_selector("text=1 contact")
        await page.click("a:has-text('Maria Silva')")
        await page.fill("#note", "Prefers texts")
        await page.click("text=Add note")
        await page.wait_for_selector(".noted")
        await page.click("text=Merge with another")
        await page.click("a:has-text('M. Silva')")
        await page.wait_for_selector("text=Together: Maria Silva")
        await page.click("form button:has-text('Merge')")
        await page.wait_for_selector("text=Undo")
        await page.click("summary:has-text('Change')")
        await page.fill("#f-language", "es")
        await page.click("details[open] button:has-text('Save')")
        await page.wait_for_selector(".facts >> text=es")
        await page.goto(f"{server.web_url}/contacts/import")
        await page.set_input_files("#file", file)
        await page.click("button:has-text('Upload')")
        await page.wait_for_selector("text=Zoë Müller")
        await page.click("form button:has-text('Import')")
        await page.wait_for_selector("text=Imported.")
        await page.wait_for_selector("text=Why, as CSV")
    assert await book(server).count("zoe") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
async def test_no_page_is_wider_than_its_window(
    server: Running, browser: Browser, width: int, scheme: Any, tmp_path: Path
) -> None:
    """At a desk and on a phone, in light and dark."""
    people = book(server)
    maria = await people.create(
        {
            "name": "Maria Silva",
            "phones": [MARIA, SHARED],
            "mails": ["maria.silva@a-rather-long-name-of-a-house.example"],
            "tags": ["gold", "fibre 500"],
            "custom": {"Customer since": 2019, "Router": "NW-7", "VIP": True},
            "external": {"shop": "10042"},
        },
        "agent:ann",
    )
    other = await people.create({"name": "M. Silva", "phones": [SHARED], "company": "Example"}, "agent:ann")
    await people.note(maria.id, "Prefers texts.\nNever before ten.", "agent:ann")
    await people.change(maria.id, {"name": "Maria Silva Costa", "phones": [MARIA, SHARED], "tags": ["gold"]}, "agent:ann")
    await text(server, MARIA, "my router blinks")
    file = tmp_path / "people.csv"
    file.write_text("Name;Telefon;Some rather long title of a column\nZoë Müller;+15550100130;x\nNobody;nonsense;y\n")
    async with clean_page(browser, width=width, scheme=scheme) as page:
        await sign_in(page, server)
        for name, path in (
            ("list", "/contacts"),
            ("contact", f"/contacts/{maria.id}"),
            ("new", "/contacts/new"),
            ("merge", f"/contacts/{maria.id}/merge?other={other.id}"),
            ("choose", f"/contacts/{maria.id}/merge"),
            ("crm", "/contacts/crm?state=done"),
            ("import", "/contacts/import"),
        ):
            await page.goto(f"{server.web_url}{path}")
            await page.wait_for_selector("h1")
            assert not await page.evaluate("document.documentElement.scrollWidth > innerWidth"), path
            assert await complaints(page) == [], path
            await page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png", full_page=True)
        await page.set_input_files("#file", file)
        await page.click("button:has-text('Upload')")
        await page.wait_for_selector("text=Zoë Müller")
        await page.click("form button:has-text('Try it out')")
        await page.wait_for_selector("text=Tried out")
        assert not await page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert await complaints(page) == []
        await page.screenshot(path=tmp_path / f"job-{width}-{scheme}.png", full_page=True)
