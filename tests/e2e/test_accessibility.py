"""The desk by axe-core, by keyboard, at twice the size, and without motion."""

import time
from typing import Literal

import pytest
from playwright.async_api import Browser, expect

from bridge.events import SessionId
from bridge.web.ports import Related, Suspicion, UploadLink
from bridge.web.ports_desk import Waiter
from tests.e2e.axe import complaints
from tests.e2e.browser import clean_page, overflows, sign_in
from tests.e2e.desk import ANA
from tests.unit.web.fakes import CHAT, OTHER, SESSION, FakeDesk

pytestmark = pytest.mark.e2e
LOOKS: tuple[tuple[int, Literal["light", "dark"]], ...] = ((1280, "light"), (1280, "dark"), (400, "light"), (400, "dark"))


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
async def test_axe_has_nothing_to_say_of_the_desk(
    browser: Browser, base: str, desk: FakeDesk, width: int, scheme: Literal["light", "dark"]
) -> None:
    """List, offer, call, chat with every banner, note, each panel and dialog: no violation in light and dark, wide and narrow."""
    now = time.time()
    async with clean_page(browser, width=width, scheme=scheme) as page:
        await page.goto(f"{base}/sign-in")
        assert await complaints(page) == []
        desk.in_line = (Waiter(SessionId("s-8"), "+15550100155", None, "support", "voice", now - 95, "internet > router"),)
        await sign_in(page, base, *ANA)
        desk.offer(until=now + 20)
        await expect(page.locator(".offer")).to_be_visible()
        assert await complaints(page) == []
        await page.click(".filters [data-shows=waiting]")
        assert await complaints(page) == []
        await page.click(".filters [data-shows=work]")
        await page.fill("#find", "router")
        await expect(page.locator("#found li").first).to_be_visible()
        assert await complaints(page) == []
        for session in (SESSION, OTHER, CHAT):
            await page.goto(f"{base}/desk/{session}")
            await page.wait_for_selector("#session-head")
            assert await complaints(page) == []
        await page.fill("#body", "Voilà été, {customer}")
        await expect(page.locator("#segments.over")).to_be_visible()
        desk.change(CHAT, note="knows it", note_by="Ben", link=UploadLink(now, now + 60), wrapping_up=True)
        desk.change(CHAT, related=Related(OTHER, "+15550100177", "+15550100201"), suspicion=Suspicion("leave me alone", now))
        await expect(page.locator(".banner.stop")).to_be_visible()
        assert await complaints(page) == []
        for opens in ("text=Hand over", "text=My texts", *(["#new"] if width > 720 else [])):
            await page.click(opens)
            await expect(page.locator("#panel")).to_be_visible()
            assert await complaints(page, "document.querySelector('#panel')") == []
            await page.keyboard.press("Escape")
        await page.locator("#timeline").focus()
        await page.keyboard.press("?")
        await expect(page.locator("#key-sheet")).to_be_visible()
        assert await complaints(page, "document.querySelector('#key-sheet')") == []
        await page.keyboard.press("Escape")
        await page.goto(f"{base}/desk/{SESSION}")
        await page.click("[data-picture]")
        await expect(page.locator("#viewer img")).to_be_visible()
        assert await complaints(page, "document.querySelector('#viewer')") == []


async def test_everything_large_still_fits(browser: Browser, base: str) -> None:
    """At twice the size (WCAG 1.4.4: a window of half the width) nothing is cut off, and the text field is in reach."""
    async with clean_page(browser, width=640, height=400) as page:
        await sign_in(page, base, *ANA)
        assert not await overflows(page)
        await page.goto(f"{base}/desk/{CHAT}")
        await page.locator("#body").scroll_into_view_if_needed()
        await expect(page.locator("#body")).to_be_in_viewport()
        assert not await overflows(page)


async def test_targets_are_large_enough(browser: Browser, base: str) -> None:
    """Everything that can be pressed is at least 24 pixels high and wide (WCAG 2.5.8), links within sentences excepted."""
    small = """[...document.querySelectorAll("button, select, summary, a:not(p a, .skip), input:not([type=hidden])")]
        .filter((one) => one.checkVisibility() && !one.closest(".hidden") && !one.classList.contains("hidden"))
        .map((one) => [one.outerHTML.slice(0, 120), one.getBoundingClientRect()])
        .filter(([, box]) => box.width > 0 && (box.width < 24 || box.height < 24)).map(([html]) => html)"""
    async with clean_page(browser) as page:
        await sign_in(page, base, *ANA)
        for session in (SESSION, CHAT):
            await page.goto(f"{base}/desk/{session}")
            await page.wait_for_selector("#composer")
            assert await page.evaluate(small) == []


async def test_the_keyboard_reaches_everything_in_the_order_that_is_seen(browser: Browser, base: str) -> None:
    """The first tab offers to skip to the conversation; from there list, conversation and text field follow one another."""
    async with clean_page(browser) as page:
        await sign_in(page, base, *ANA)
        await page.goto(f"{base}/desk/{CHAT}")
        await page.wait_for_selector("#composer")
        await page.keyboard.press("Tab")
        await expect(page.locator(".skip")).to_be_focused()
        seen = []
        for _ in range(60):
            await page.keyboard.press("Tab")
            seen.append(
                await page.evaluate(
                    "document.activeElement.closest('.bar, .lists, #session-head, #side, .conversation')?.className"
                )
            )
            if await page.evaluate("document.activeElement.id === 'body'"):
                break
        order = list(dict.fromkeys(seen))
        assert order.index("bar") < order.index("lists") < order.index("conversation")


async def test_who_wants_no_motion_gets_none(browser: Browser, base: str) -> None:
    """With `prefers-reduced-motion` nothing moves by itself."""
    context = await browser.new_context(reduced_motion="reduce")
    page = await context.new_page()
    await sign_in(page, base, *ANA)
    moving = "[...document.querySelectorAll('*')].filter((one) => getComputedStyle(one).transitionDuration !== '0s').length"
    assert await page.evaluate(moving) == 0
    await context.close()
