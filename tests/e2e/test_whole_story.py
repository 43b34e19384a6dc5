"""A morning in the house: two agents, a supervisor, a caller on SIP and a texter, all through what they see and hear."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from playwright.async_api import Page, expect

from tests.e2e.browser import chromium, clean_page, sign_in
from tests.e2e.odd import Caller, World, short_house, world
from tests.e2e.server import NUMBER

pytestmark = pytest.mark.e2e
PASSWORD = "four plain words together"
TEXTER = "+15550100177"
SECOND = 16_000
"""Bytes of what a phone hears in one."""
SKILLS = ["lang:en", "lang:fr", "lang:es", "billing", "technical"]


def _people(phones: dict[str, str]) -> list[dict[str, Any]]:
    secret = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    return [
        {"id": "ana", "name": "Ana", "queues": ["support"], "skills": SKILLS, "phone": phones["ana"], "password_hash": secret},
        {"id": "ben", "name": "Ben", "queues": ["support_sms"], "skills": SKILLS, "password_hash": secret},
        {"id": "cat", "name": "Cat", "queues": ["support_sms"], "password_hash": secret},
        {"id": "sue", "name": "Sue", "roles": ["supervisor"], "password_hash": secret},
    ]


QUEUES = [
    {"id": "support", "title": "Calls", "desk": "support_sms", "ring_timeout": 30, "wrap_up": 60, "aht": 120,
     "offers": {"mode": "never"}},
    {"id": "support_sms", "title": "Texts", "channel": "sms", "ring_timeout": 30, "wrap_up": 60, "aht": 120},
]  # fmt: skip


@asynccontextmanager
async def morning(folder: Path) -> AsyncIterator["Morning"]:
    """The house, and the screens of Ana, Ben and Sue."""
    async with AsyncExitStack() as stack:
        house = short_house(folder / "house")
        town = await stack.enter_async_context(world(folder, house=house, staff=_people, queues=QUEUES, desk_grace=5.0))
        browser = await stack.enter_async_context(chromium())
        pages = []
        for name in ("ana", "ben", "sue"):
            page = await stack.enter_async_context(clean_page(browser))
            page.set_default_timeout(15_000)
            if name == "sue":
                await page.goto(f"{town.server.web_url}/sign-in")
                await page.fill("#login", name)
                await page.fill("#password", PASSWORD)
                await page.click("text=Sign in")
                await page.wait_for_selector("#top .tiles")
            else:
                await sign_in(page, town.server.web_url, name, PASSWORD)
            pages.append(page)
        yield Morning(town, *pages)


def tile(page: Page, title: str) -> Any:
    """The figure of a tile."""
    return page.locator(".tile", has=page.locator("h2, h3", has_text=title)).locator(".figure")


class Morning:
    """Who is there, and their screens."""

    def __init__(self, town: World, ana: Page, ben: Page, sue: Page) -> None:
        self.town = town
        self.ana = ana
        self.ben = ben
        self.sue = sue
        self.url = town.server.web_url

    async def a_call_is_held(self, caller: Caller) -> None:
        """Ana takes the call that waits, puts it on hold and takes it back; the caller hears music meanwhile."""
        await self.ana.click("text=Go ready")
        await self.ana.locator(".offer .primary").click()
        await caller.line("audio.connected")
        await expect(tile(self.sue, "In progress")).to_contain_text("1 call")
        await self.ana.click("#session-head >> text=Hold")
        await caller.line("call.held")
        quiet = len(caller.on_the_line.heard)
        await self.town.until("a second of music", lambda: len(caller.on_the_line.heard) > quiet + SECOND)
        assert any(caller.on_the_line.heard[quiet:]), "silence instead of music"
        await self.ana.click("text=Resume")
        await caller.line("call.resumed")

    async def they_text_while_they_talk(self, caller: Caller) -> None:
        """Her text reaches the caller, and the answer is in the same timeline."""
        await self.ana.fill("#body", "Please send the number on the label.")
        await self.ana.keyboard.press("Enter")
        await self.town.until("the text", lambda: any("on the label" in text.body for text in caller.received))
        await caller.text("SN 4711")
        await expect(self.ana.locator(".line.in").last).to_contain_text("SN 4711")

    async def somebody_texts(self) -> None:
        """Ben answers; Sue reads along, and why it came to Ben."""
        await self.ben.click("text=Go ready")
        texter = self.town.twilio.handset(TEXTER)
        await texter.text(NUMBER, "My bill is wrong")
        await self.ben.locator(".offer .primary").click()
        await expect(self.ben.locator(".line.in").last).to_contain_text("My bill is wrong")
        await self.ben.fill("#body", "Let me look at it.")
        await self.ben.keyboard.press("Enter")
        await self.town.until("the answer", lambda: any("Let me look" in text.body for text in texter.received))
        await self.sue.click("nav.tabs >> text=In progress")
        row = self.sue.locator("#rows tr", has_text="0177")
        await expect(row).to_contain_text("Ben")
        await row.locator("a.who").click()
        await expect(self.sue.locator("#lines")).to_contain_text("My bill is wrong")
        await expect(self.sue.locator("#content")).to_contain_text("Rings at Ben")

    async def a_message_to_everybody(self) -> None:
        """It is at both desks, until each has read it."""
        await self.sue.goto(f"{self.url}/supervisor")
        await self.sue.click("text=Message")
        await self.sue.fill("#message-words", "Fire drill at noon.")
        await self.sue.click("#panel >> text=Send")
        for desk in (self.ana, self.ben):
            await expect(desk.locator("#messages")).to_contain_text("Fire drill at noon.")
        await self.ben.click("#messages button")
        await expect(self.ben.locator("#messages .bulletin")).to_have_count(0)
        await expect(self.ana.locator("#messages .bulletin")).to_have_count(1)

    async def a_chat_is_ended_from_above(self) -> None:
        """Sue ends it and says why; Ben sees who it was and writes it up."""
        await self.sue.goto(f"{self.url}/supervisor?board=sessions")
        await self.sue.locator("#rows tr", has_text="0177").locator("[data-panel]").click()
        await self.sue.click("#panel summary")
        await self.sue.fill("#end-reason", "A duplicate")
        await self.sue.check("#panel [name=sure]")
        await self.sue.click("#panel .danger")
        await expect(self.ben.locator("#session")).to_contain_text("Sue")
        await self.write_up(self.ben, "Was a duplicate.")

    async def write_up(self, desk: Page, note: str) -> None:
        """The note, how it ended, and ready for the next."""
        await desk.fill("#note", note)
        await desk.select_option("[name=disposition]", "Solved")
        await desk.click("text=Save and finish")
        await expect(desk.locator("#wrap-up form")).to_have_count(0)


async def test_a_morning(tmp_path: Path) -> None:
    """Everybody works on their own screen and sees what concerns them, and the report has what was done."""
    async with morning(tmp_path) as house:
        caller = await house.town.caller()
        await caller.in_line()
        await expect(tile(house.sue, "Calls waiting")).to_have_text("1")  # before anybody has looked
        await house.a_call_is_held(caller)
        await house.they_text_while_they_talk(caller)
        await house.somebody_texts()
        await house.a_message_to_everybody()
        await caller.hang_up()
        await house.write_up(house.ana, "Label read to me.")
        await house.a_chat_is_ended_from_above()

        await house.sue.goto(f"{house.url}/reports")
        for title, figure in (("Offered", "2"), ("Contacts", "2"), ("Abandonment", "0.0 %"), ("Service level", "100.0 %")):
            await expect(tile(house.sue, title)).to_have_text(figure)
