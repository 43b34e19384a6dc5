"""The desk's list, texts with gaps, pictures, keys, notifications and languages in a real browser."""

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from playwright.async_api import Browser, Page, expect

from bridge.events import SessionId
from bridge.web.ports import Preset
from bridge.web.ports_desk import Waiter
from tests.e2e.browser import clean_page, sign_in
from tests.e2e.desk import ANA, desk_served, open_chat
from tests.unit.web.fakes import CHAT, PRESETS, SESSION, FakeDesk, picture

pytestmark = pytest.mark.e2e


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(300):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to that")


async def until_told(page: Page, notifications: int) -> None:
    async def told() -> bool:
        return int(await page.evaluate("window.told.length")) >= notifications

    await until(told)


async def test_a_customer_with_a_call_and_a_chat_is_one_row(browser: Browser, base: str, desk: FakeDesk) -> None:
    """The row stays marked in either conversation, and the head leads from one to the other."""
    number = desk.views[SESSION].customer
    other = desk.views[CHAT].earlier[0]
    also = msgspec.structs.replace(other, session=SESSION, closed=False, opened_at=time.time() - 10)
    desk.views[CHAT] = msgspec.structs.replace(desk.views[CHAT], customer=number, earlier=(also, other))
    async with clean_page(browser) as page:
        await sign_in(page, base, *ANA)
        await expect(page.locator("#work a[data-row]")).to_have_count(2)
        await page.goto(f"{base}/desk/{CHAT}")
        await expect(page.locator(f"a[data-row='{SESSION}']")).to_have_attribute("aria-current", "page")
        await page.click("a.chip.also")
        await expect(page).to_have_url(f"{base}/desk/{SESSION}")


async def test_earlier_conversations_come_in_above_and_nothing_moves(browser: Browser, base: str, desk: FakeDesk) -> None:
    """They are folded, read when the agent scrolls there, and unfolded in place; what was in sight stays where it was."""
    for number in range(30):
        desk.add(CHAT, "text.received", message=f"n-{number}", body=f"Line {number}", media=[])
    async with clean_page(browser) as page:
        await open_chat(page, base)
        await expect(page.locator("#lines li").last).to_be_in_viewport()
        await expect(page.locator(".folded")).to_have_count(0)
        await page.locator("#timeline").hover()
        await page.mouse.wheel(0, -5000)
        await expect(page.locator(".folded")).to_have_count(2)
        await page.locator(".folded summary").last.click()
        await expect(page.locator(".folded").last).to_contain_text("Hello, Ana here.")
        await expect(page.locator("#before")).to_have_count(0)


async def test_what_a_text_leaves_open_is_filled_before_it_goes(browser: Browser, base: str, desk: FakeDesk) -> None:
    """The gap is selected, typing takes its place, and until then Enter says so instead of sending."""
    desk.ready_made = (*PRESETS, Preset("wait", "Wait", "Dear {customer}, it takes {ewt}, says {agent}."))
    async with clean_page(browser) as page:
        await open_chat(page, base)
        await page.click("[data-preset=wait]")
        await expect(page.locator("#body")).to_have_value("Dear Maria Silva, it takes {ewt}, says Ana Torres.")
        await page.keyboard.press("Enter")
        await expect(page.locator("#message")).to_contain_text("Fill in what stands in braces first.")
        await expect(page.locator("#segments")).to_contain_text("Fill this in first: {ewt}")
        assert desk.asked == []
        await page.keyboard.type("2 minutes")
        await page.keyboard.press("Enter")
        await expect(page.locator("#body")).to_have_value("")
        assert desk.asked[-1][3] == "Dear Maria Silva, it takes 2 minutes, says Ana Torres."


async def test_words_of_the_composer_become_a_text_of_ones_own(browser: Browser, base: str, desk: FakeDesk) -> None:
    """The panel has them already; saved, the text stands with the others, can be changed, and is forgotten after a question."""
    async with clean_page(browser) as page:
        await open_chat(page, base)
        await page.fill("#body", "We are on it, {customer}.")
        await page.click("text=My texts")
        await expect(page.locator("#own-words")).to_have_value("We are on it, {customer}.")
        await page.fill("#own-title", "On it")
        await page.click("#own-text .primary")
        await expect(page.locator(".own-texts")).to_contain_text("On it")
        await page.click("[data-edit-text]")
        await expect(page.locator("#own-title")).to_have_value("On it")
        await page.fill("#own-title", "On it now")
        await page.click("#own-text .primary")
        await expect(page.locator(".own-texts")).to_contain_text("On it now")
        await page.click(".own-texts [hx-post]")
        await expect(page.locator("#sure")).to_contain_text("Forget “On it now”?")
        await page.click("#sure [value=no]")
        assert desk.own
        await page.keyboard.press("Escape")
        await expect(page.locator("#presets")).to_contain_text("On it now")


async def test_nothing_is_ended_without_a_question(browser: Browser, base: str, desk: FakeDesk) -> None:
    """The question is the page's own; Cancel and Escape change nothing, Yes does it."""
    async with clean_page(browser) as page:
        await open_chat(page, base)
        await page.keyboard.press("Alt+e")
        await expect(page.locator("#sure")).to_be_visible()
        await page.keyboard.press("Escape")
        assert desk.asked == []
        await page.keyboard.press("Alt+e")
        await expect(page.locator("#sure")).to_be_visible()
        again = "button => { document.querySelector('#sure').close(); button.click(); }"  # before its end is told
        await page.get_by_role("button", name="End chat").evaluate(again)
        async with page.expect_response(lambda answer: answer.request.method == "POST"):
            await page.click("#sure [value=yes]")
        await expect(page.locator("#sure")).not_to_be_visible()
        assert desk.asked == [("end_chat", "ana", CHAT)]


async def test_who_waits_and_what_was_said_is_found(browser: Browser, base: str, desk: FakeDesk) -> None:
    """The list changes to who waits in the agent's queues; the search finds own conversations and opens them."""
    desk.in_line = (Waiter(SessionId("s-8"), "+15550100155", None, "support", "voice", time.time() - 95, "internet"),)
    async with clean_page(browser) as page:
        await sign_in(page, base, *ANA)
        await expect(page.locator("[data-shows=waiting] .count")).to_have_text("1")
        await page.click(".filters [data-shows=waiting]")
        await expect(page.locator(".waiter")).to_contain_text("+1 555-010-0155")
        await expect(page.locator("#work")).not_to_be_visible()
        await page.reload()
        await expect(page.locator(".waiter")).to_be_visible()
        await page.keyboard.press("Alt+f")
        await page.keyboard.type("blinks")
        await page.click(f"#found a[href='/desk/{CHAT}']")
        await expect(page).to_have_url(f"{base}/desk/{CHAT}")
        await page.focus("#find")
        await page.keyboard.press("Escape")
        await expect(page.locator("#found")).to_be_empty()


async def test_pictures_are_looked_through(browser: Browser, base: str, desk: FakeDesk) -> None:
    """Next and previous by arrows, full size and back, and a link that downloads."""
    desk.media.known |= {"d2": picture(640, 480), "d3": picture(30, 30)}
    media = [{"digest": digest, "content_type": "image/png", "size": 9} for digest in ("d2", "d3")]
    desk.add(SESSION, "text.received", message="m-40", body="Two more", media=media)
    async with clean_page(browser) as page:
        await sign_in(page, base, *ANA)
        await page.click(f"a[data-row='{SESSION}']")
        await page.click("[data-picture] >> nth=1")
        await expect(page.locator("#viewer-count")).to_have_text("2 of 3")
        await page.keyboard.press("ArrowRight")
        await expect(page.locator("#viewer-count")).to_have_text("3 of 3")
        await page.keyboard.press("ArrowRight")
        await expect(page.locator("#viewer-count")).to_have_text("1 of 3")
        await page.keyboard.press("+")
        await expect(page.locator("#viewer.whole")).to_be_visible()
        await page.click("#viewer img")
        await expect(page.locator("#viewer.whole")).to_have_count(0)
        assert (await page.get_attribute("#viewer a[download]", "href") or "").endswith("/media/d1")
        await page.keyboard.press("Escape")
        await expect(page.locator("#viewer")).not_to_be_visible()


async def test_the_keys_are_a_question_mark_away_and_do_what_they_say(browser: Browser, base: str, desk: FakeDesk) -> None:
    """Not while the agent writes: there it is a question mark."""
    async with clean_page(browser) as page:
        await open_chat(page, base)
        await page.locator("#timeline").focus()
        await page.keyboard.press("?")
        await expect(page.locator("#key-sheet")).to_be_visible()
        await page.keyboard.press("Escape")
        await page.keyboard.press("Alt+c")
        await page.keyboard.type("Really?")
        await expect(page.locator("#body")).to_have_value("Really?")
        await expect(page.locator("#key-sheet")).not_to_be_visible()
        await page.keyboard.press("Alt+u")
        await expect(page).to_have_url(f"{base}/desk/{SESSION}")
        desk.change(SESSION, wrapping_up=True)
        await expect(page.locator("#note")).to_be_visible()
        await page.keyboard.press("Alt+n")
        await expect(page.locator("#note")).to_be_focused()
        await page.keyboard.press("Alt+p")
        await expect(page.locator("#side")).to_be_focused()
        desk.offer(session=CHAT, channel="sms")
        await expect(page.locator(".offer")).to_be_visible()
        await page.keyboard.press("Alt+d")
        await expect(page.locator(".offer")).to_have_count(0)
        assert ("decline", "ana", CHAT, "sms") in desk.asked


async def test_notifications_are_asked_for_and_shown_only_behind_other_windows(
    browser: Browser, base: str, desk: FakeDesk
) -> None:
    """Off until the agent presses the button; then what rings and who writes is told, but not while the page is in front."""
    context = await browser.new_context(permissions=["notifications"])
    page = await context.new_page()
    await page.add_init_script(
        """window.told = []; window.Notification = class extends EventTarget {
            constructor(title) { super(); window.told.push(title); } close() {}
            static permission = "granted"; static async requestPermission() { return "granted"; } };
        window.hiding = false;
        Object.defineProperty(document, "visibilityState", { get: () => (window.hiding ? "hidden" : "visible") });"""
    )
    await open_chat(page, base)
    await expect(page.locator("#notify")).to_have_attribute("aria-pressed", "false")
    desk.offer()
    await expect(page.locator(".offer")).to_be_visible()
    await page.click("#notify")
    await expect(page.locator("#notify")).to_have_attribute("aria-pressed", "true")
    assert await page.evaluate("window.told") == []
    await page.evaluate("window.hiding = true")
    desk.add(CHAT, "text.received", message="m-50", body="Hello?", media=[])
    await until_told(page, 1)
    desk.offer(until=time.time() + 15, channel="sms")
    await until_told(page, 2)
    assert await page.evaluate("window.told") == ["A text from Maria Silva", "A chat rings: +1 555-010-0123"]
    await page.reload()
    await expect(page.locator("#notify")).to_have_attribute("aria-pressed", "true")
    await context.close()


async def test_the_language_is_chosen_in_the_bar(browser: Browser, base: str) -> None:
    """And stays chosen: list, dates, and what the script says."""
    async with clean_page(browser) as page:
        await open_chat(page, base)
        await page.click(".me")
        await page.click("#me button[lang=fr]")
        await expect(page.locator("html")).to_have_attribute("lang", "fr")
        await expect(page.locator("#session-head")).to_contain_text("Transférer")
        await expect(page.locator("#session-agreements time").first).to_contain_text("20")
        await page.fill("#body", "{ewt}")
        await page.keyboard.press("Enter")
        await expect(page.locator("#message")).to_contain_text("Remplissez d’abord")  # noqa: RUF001  # French writes it so
        await page.goto(base)
        await expect(page).to_have_title("(1) Poste · Sidetone")


async def test_focus_stays_in_the_text_whatever_comes(browser: Browser, base: str, desk: FakeDesk) -> None:
    """Offers, texts, notes and banners come and go while the agent types; every letter arrives."""
    async with clean_page(browser) as page:
        await open_chat(page, base)
        await page.focus("#body")
        for number, letter in enumerate("Nothing takes this away"):
            await page.keyboard.type(letter)
            if number % 5 == 0:
                desk.offer(until=time.time() + 20 + number)
            elif number % 5 == 2:
                desk.add(CHAT, "text.received", message=f"x-{number}", body="and?", media=[])
            elif number % 5 == 4:
                desk.change(CHAT, note=f"note {number}", note_by="Ben", wrapping_up=number % 2 == 0)
        await expect(page.locator("#body")).to_be_focused()
        await expect(page.locator("#body")).to_have_value("Nothing takes this away")


async def test_no_word_is_lost_when_the_server_goes_and_comes_back(browser: Browser, desk: FakeDesk, tmp_path: Path) -> None:
    """It is killed while the agent types and comes back as a new process: after signing in the agent goes on."""
    context = await browser.new_context()
    page = await context.new_page()
    async with desk_served(desk, tmp_path) as first:
        await open_chat(page, first)
        await page.focus("#body")
        await page.keyboard.type("Half a sen")
    with contextlib.suppress(Exception):
        await page.keyboard.type("te")  # nobody is there to hear it
    async with desk_served(desk, tmp_path, int(first.rpartition(":")[2])):
        await page.wait_for_url(re.compile(r"/sign-in\?next="), timeout=20_000)
        await page.fill("#login", ANA[0])
        await page.fill("#password", ANA[1])
        await page.click("text=Sign in")
        await expect(page.locator("#body")).to_be_focused()
        await page.keyboard.type("nce")
        await expect(page.locator("#body")).to_have_value("Half a sentence")
        await context.close()


async def test_no_word_is_lost_when_the_sign_in_runs_out(browser: Browser, desk: FakeDesk, tmp_path: Path) -> None:
    """The agent is asked to sign in while typing; afterwards the words stand there, also those of the note."""
    async with desk_served(desk, tmp_path, lifetime=4.0) as base:
        context = await browser.new_context()
        page = await context.new_page()
        await open_chat(page, base)
        desk.change(CHAT, wrapping_up=True)
        await page.fill("#note", "a note")
        await page.fill("#body", "My words")
        deadline = time.monotonic() + 30
        while "/sign-in" not in page.url and time.monotonic() < deadline:
            desk.change(CHAT, reply_code="ABCD")
            await page.wait_for_timeout(300)
        await page.fill("#login", ANA[0])
        await page.fill("#password", ANA[1])
        await page.click("text=Sign in")
        await expect(page.locator("#body")).to_have_value("My words")
        await expect(page.locator("#note")).to_have_value("a note")
        await context.close()
