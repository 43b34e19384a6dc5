"""The desk as a web server over people, calls and texts of our own making."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Page, expect
from prometheus_client import CollectorRegistry

from bridge.web.server import SESSION_LIFETIME, WebConfig, make_app, serving
from tests.e2e.browser import sign_in
from tests.unit.web.fakes import CHAT, FakeDesk, FakeIntake, FakeRecords

ANA = ("ana", "correct horse")
"""An agent's login and password."""


@asynccontextmanager
async def desk_served(desk: FakeDesk, folder: Path, port: int = 0, *, lifetime: float = SESSION_LIFETIME) -> AsyncIterator[str]:
    """*desk* at the address that is returned, with prompts in *folder*; who signs in is signed out after *lifetime* seconds."""
    config = WebConfig(prompts=folder, session_lifetime=lifetime)
    app = make_app(desk, FakeIntake(), FakeRecords(), None, config, registry=CollectorRegistry())
    async with serving(app, "127.0.0.1", port, shutdown_timeout=1.0) as bound:
        yield f"http://127.0.0.1:{bound}"


async def open_chat(page: Page, base: str) -> None:
    """Ana signs in and opens her chat; its websocket has told the newest, so that keys and buttons work."""
    await sign_in(page, base, *ANA)
    await page.click(f"[data-row='{CHAT}']")
    await page.wait_for_selector("#composer")
    await expect(page.locator("#ticks-c-3")).to_contain_text("delivered")
