"""The desk in a real browser, on a desk of our own making."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from bridge.web.ports import Ticks
from tests.e2e.browser import clean_page, overflows, sign_in
from tests.e2e.desk import ANA, desk_served
from tests.unit.web.fakes import SESSION, FakeDesk

pytestmark = pytest.mark.e2e


async def open_session(page: Page, base: str) -> None:
    await sign_in(page, base, *ANA)
    await page.click(f"[data-row='{SESSION}']")
    await page.wait_for_selector("#composer")
    await expect(page.locator("#ticks-m-8")).to_contain_text("sent")


async def test_an_agent_takes_a_call(browser: Browser, base: str, desk: FakeDesk) -> None:
    """Work rings with a countdown; Alt+A accepts it and opens the conversation with its answers and photo."""
    async with clean_page(browser) as page:
        await sign_in(page, base, *ANA)
        desk.offer(until=time.time() + 20)

        await expect(page.locator(".offer .countdown")).to_contain_text(" s")
        await expect(page).to_have_title("(2) Desk · Sidetone")  # what rings, and a conversation with something unread
        await page.keyboard.press("Alt+a")

        await expect(page.locator("#session-card")).to_contain_text("My router blinks red since this morning")
        await expect(page.locator(".offer")).to_have_count(0)
        await expect(page).to_have_url(f"{base}/desk/{SESSION}")
        await expect(page.locator(f"[data-row='{SESSION}']")).to_have_attribute("aria-current", "page")
        assert ("accept", "ana", SESSION, "voice") in desk.asked
        await page.click("[data-picture]")
        await expect(page.locator("#viewer img")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.locator("#viewer")).not_to_be_visible()


async def test_an_agent_texts(browser: Browser, base: str, desk: FakeDesk) -> None:
    """A preset and own words are sent with Enter; they appear with ticks that move on, and the field is empty again."""
    async with clean_page(browser) as page:
        await open_session(page, base)
        await page.click("text=Help page")
        await page.keyboard.press("Enter")
        await expect(page.locator("#body")).to_have_value("")
        await page.fill("#body", "Is it être now?")
        await expect(page.locator("#segments")).to_contain_text("Unicode because of ê")
        await page.keyboard.press("Enter")

        sent = page.locator(".line.out", has_text="Is it être now?")
        await expect(sent.locator(".ticks")).to_contain_text("pending")
        desk.mark(SESSION, f"said-{len(desk.asked)}", Ticks("delivered"))
        await expect(sent.locator(".ticks")).to_contain_text("delivered")
        said = [asked for asked in desk.asked if asked[0] == "say"]
        assert len({asked[5] for asked in said}) == len(said), "each text has a name of its own"
        assert [asked[3:5] for asked in said] == [
            ("You find the steps here: https://help.example/router", "link"),
            ("Is it être now?", None),
        ]


async def test_the_customers_texts_arrive_by_themselves(browser: Browser, base: str, desk: FakeDesk) -> None:
    """A new text is at the end of the timeline, in sight and announced; markup in it stays text."""
    async with clean_page(browser) as page:
        await open_session(page, base)

        desk.add(SESSION, "text.received", message="m-20", body="<b>It is green!</b>", media=[])

        await expect(page.locator(".line.in").last).to_contain_text("<b>It is green!</b>")
        await expect(page.locator(".line.in").last).to_be_in_viewport()
        await expect(page.locator("#announce")).to_contain_text("It is green!")


async def test_the_timeline_follows_unless_the_agent_looks_back(browser: Browser, base: str, desk: FakeDesk) -> None:
    """Many lines at once stay in sight to the last; who has scrolled up is left there and offered the way down."""
    async with clean_page(browser) as page:
        await open_session(page, base)
        for number in range(12):
            desk.add(SESSION, "text.received", message=f"n-{number}", body=f"Line {number}", media=[])
            desk.add(SESSION, "prompt.played", words="Hello again.", completed=True)
        desk.change(SESSION, wrapping_up=True)
        await expect(page.locator("#note")).to_be_visible()
        await expect(page.locator("#lines li").last).to_be_in_viewport()

        await page.locator("#timeline").hover()
        await page.mouse.wheel(0, -600)
        await expect(page.locator("#lines li").last).not_to_be_in_viewport()
        desk.add(SESSION, "text.received", message="n-99", body="Down here", media=[])
        await expect(page.locator("#newest")).to_be_visible()
        await expect(page.locator(".line.in").last).not_to_be_in_viewport()
        await page.click("#newest")
        await expect(page.locator(".line.in").last).to_be_in_viewport()
        await expect(page.locator("#newest")).not_to_be_visible()


async def test_stop_closes_the_composer_and_leaves_the_call(browser: Browser, base: str, desk: FakeDesk) -> None:
    """The composer goes, says why, and what was typed is there again after START."""
    async with clean_page(browser) as page:
        await open_session(page, base)
        await page.fill("#body", "Half a sent")

        desk.change(SESSION, composer_open=False, composer_why="The customer sent STOP.", text_state="opted_out")
        await expect(page.locator("#composer")).not_to_be_visible()
        await expect(page.locator("#composer-state")).to_have_text("The customer sent STOP.")
        await expect(page.locator("text=Hang up")).to_be_visible()

        desk.change(SESSION, composer_open=True, composer_why="", text_state="open")
        await expect(page.locator("#body")).to_have_value("Half a sent")


async def test_an_agent_hangs_up_and_writes_the_note(browser: Browser, base: str, desk: FakeDesk) -> None:
    """After the call the note's form comes by itself; saved, it is part of the timeline."""
    async with clean_page(browser) as page:
        await open_session(page, base)
        await page.click("text=Hang up")
        await page.fill("#note", "Replaced the cable")
        await page.select_option("select[name=disposition]", "Solved")
        await page.click("text=Save and finish")

        await expect(page.locator(".line.note")).to_contain_text("Replaced the cable")
        await expect(page.locator("#note")).to_have_count(0)
        assert desk.asked[-1] == ("wrap_up", "ana", SESSION, "Replaced the cable", "Solved")


async def test_a_refusal_is_read_out(browser: Browser, base: str, desk: FakeDesk) -> None:
    """What cannot be done now is said in an alert, and the words stay in the field."""
    async with clean_page(browser) as page:
        await open_session(page, base)
        desk.refusal = "The customer has just opted out."
        await page.fill("#body", "Hello?")
        await page.keyboard.press("Enter")

        await expect(page.locator("[role=alert] >> text=The customer has just opted out.")).to_be_visible()
        await expect(page.locator("#body")).to_have_value("Hello?")


async def test_an_agent_goes_for_lunch(browser: Browser, base: str, desk: FakeDesk) -> None:
    """Not ready takes a reason; ready is one click."""
    async with clean_page(browser) as page:
        await sign_in(page, base, *ANA)
        await page.select_option("#presence select", "Lunch")
        await expect(page.locator("#presence .reason")).to_have_text("Lunch")
        await page.click("text=Go ready")
        await expect(page.locator("#presence.is-ready")).to_be_visible()
        assert [asked[2:] for asked in desk.asked] == [("not_ready", "Lunch"), ("ready", None)]


class Wire:
    """What lies between browser and server, and can be cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ends: set[asyncio.StreamWriter] = set()
        self._whole = True

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[str]:
        listener = await asyncio.start_server(self._join, "127.0.0.1", 0)
        async with listener:
            yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
            self.cut()

    def cut(self) -> None:
        """End every connection and refuse new ones."""
        self._whole = False
        for end in self._ends:
            end.transport.abort()

    def mend(self) -> None:
        self._whole = True

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._ends |= {writer, far_writer}
        await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()
        self._ends.discard(writer)


async def test_the_page_comes_back_by_itself(browser: Browser, desk: FakeDesk, base: str) -> None:
    """A lost connection is said and mends itself: the typed words stay, and what happened meanwhile stands there once."""
    wire = Wire(int(base.rpartition(":")[2]))
    context = await browser.new_context()
    page = await context.new_page()
    async with wire.laid() as address:
        await open_session(page, address)
        await page.fill("#body", "Half a sent")
        wire.cut()
        await expect(page.locator("#connection")).to_be_visible()

        desk.add(SESSION, "text.received", message="m-30", body="Meanwhile", media=[])
        desk.mark(SESSION, "m-8", Ticks("delivered"))
        wire.mend()

        await expect(page.locator(".line.in", has_text="Meanwhile")).to_have_count(1, timeout=15_000)
        await expect(page.locator("#ticks-m-8")).to_contain_text("delivered")
        await expect(page.locator("#connection")).not_to_be_visible(timeout=15_000)
        await expect(page.locator("#body")).to_have_value("Half a sent")
        await context.close()


async def test_a_new_process_asks_to_sign_in_again(browser: Browser, desk: FakeDesk, tmp_path: Path) -> None:
    """The sessions of agents do not outlive the process; the page goes to the form and from there back to the words."""
    context = await browser.new_context()
    page = await context.new_page()
    async with desk_served(desk, tmp_path) as first:
        await open_session(page, first)
        await page.fill("#body", "Half a sent")
    async with desk_served(desk, tmp_path, int(first.rpartition(":")[2])):
        await page.wait_for_url(re.compile(r"/sign-in\?next="), timeout=15_000)
        await page.fill("#login", ANA[0])
        await page.fill("#password", ANA[1])
        await page.click("text=Sign in")

        await expect(page).to_have_url(f"{first}/desk/{SESSION}")
        await expect(page.locator("#body")).to_have_value("Half a sent")
        await context.close()


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_sticks_out(browser: Browser, base: str, desk: FakeDesk, width: int, scheme: str) -> None:
    """List, conversation, offer and note fit a screen of 1280 and one of 400 pixels."""
    async with clean_page(browser, width=width, scheme="dark" if scheme == "dark" else "light") as page:
        await sign_in(page, base, *ANA)
        assert not await overflows(page)
        await page.click(f"[data-row='{SESSION}']")
        await page.wait_for_selector("#composer")
        assert not await overflows(page)
        desk.offer()
        await expect(page.locator("[data-accept]")).to_be_in_viewport()
        desk.change(SESSION, wrapping_up=True)
        await expect(page.locator("#note")).to_be_in_viewport()
        await expect(page.locator("#body")).to_be_in_viewport()
        assert not await overflows(page)


async def test_the_desk_works_by_keyboard(browser: Browser, base: str) -> None:
    """The list is reached and walked without a mouse, and the text field has a key."""
    async with clean_page(browser) as page:
        await sign_in(page, base, *ANA)
        await page.keyboard.press("Alt+ArrowDown")
        await expect(page.locator(f"[data-row='{SESSION}']")).to_have_attribute("aria-current", "page")
        await page.keyboard.press("Alt+c")
        await expect(page.locator("#body")).to_be_focused()
        await page.keyboard.type("Hi")
        await page.keyboard.press("Alt+ArrowDown")
        await expect(page.locator("#session-head")).to_contain_text("0177")
        await page.keyboard.press("Alt+ArrowUp")
        await expect(page.locator("#body")).to_have_value("Hi")


async def test_a_signed_out_page_goes_to_the_form(browser: Browser, base: str, desk: FakeDesk) -> None:
    """An agent who is no more is shown the form instead of a dead desk."""
    async with clean_page(browser) as page:
        await open_session(page, base)
        desk.agents.clear()
        desk.change(SESSION, call_state="ended")

        await page.wait_for_url(re.compile(r"/sign-in\?next="))
