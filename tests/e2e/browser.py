"""Headless Chromium for tests: one browser, and pages whose console has to stay empty."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from playwright.async_api import Browser, Page, async_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium, without a window."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def clean_page(
    browser: Browser, *, width: int = 1280, height: int = 800, scheme: Literal["light", "dark"] = "light"
) -> AsyncIterator[Page]:
    """A page in a fresh profile. Leaving the block fails the test when the console held a warning or an error."""
    context = await browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = await context.new_page()
    page.set_default_timeout(8000)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield page
    finally:
        await context.close()
    assert not complaints, complaints


async def sign_in(page: Page, base: str, login: str, password: str) -> None:
    """Go to the desk and through its form."""
    await page.goto(f"{base}/sign-in")
    await page.fill("#login", login)
    await page.fill("#password", password)
    await page.click("text=Sign in")
    await page.wait_for_selector("#work")
    await page.wait_for_load_state()  # its scripts run


async def overflows(page: Page) -> bool:
    """Whether anything makes the page wider or higher than its window: both pages scroll inside, never as a whole."""
    size = "document.documentElement.scrollWidth > innerWidth || document.documentElement.scrollHeight > innerHeight"
    return bool(await page.evaluate(size))
