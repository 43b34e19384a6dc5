"""Every page of the console that can be reached, by axe-core, on the real server with something in it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin, urlsplit

import pytest
from playwright.async_api import Browser, Page

from tests.e2e.axe import complaints
from tests.e2e.browser import clean_page, sign_in
from tests.e2e.server import PASSWORD, ServerProcess, agent, settings

pytestmark = pytest.mark.e2e
MOST = 60
"""Pages that are looked at; the console has fewer, contacts and sessions aside."""
LEFT_ALONE = ("/sign-out", "/static", "/api", "/metrics", "/phone", "/healthz", "/readyz")


@pytest.fixture
async def base(tmp_path: Path) -> AsyncIterator[str]:
    dana = agent("dana", "support", "support_sms") | {"roles": ["agent", "supervisor", "engineer", "admin"]}
    config = settings(tmp_path, "http://127.0.0.1:1", [dana], sms={"provider": "loopback"}, twilio=None)
    async with ServerProcess(tmp_path, config) as server:
        yield server.url


async def links(page: Page) -> list[str]:
    """Pages of this server that the page leads to."""
    found = await page.eval_on_selector_all(
        "a[href]:not([download], [target])", "all => all.map((one) => one.getAttribute('href'))"
    )
    pages = [urlsplit(urljoin(page.url, href)) for href in found]
    here = urlsplit(page.url).netloc
    return [each.path for each in pages if each.netloc == here and not each.path.startswith(LEFT_ALONE)]


async def is_page(page: Page, address: str) -> bool:
    """Whether it is HTML, and not a file or a way to somewhere else."""
    answer = await page.request.get(address)
    return answer.ok and answer.headers.get("content-type", "").startswith("text/html")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (400, "light")])
async def test_axe_has_nothing_to_say_of_any_page(
    browser: Browser, base: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    """Whatever the bar and the pages lead to: no violation."""
    wrong: list[str] = []
    async with clean_page(browser, width=width, scheme=scheme) as page:
        await sign_in(page, base, "dana", PASSWORD)
        waiting = ["/", "/account", *await links(page)]
        seen: set[str] = set()
        while waiting and len(seen) < MOST:
            path = waiting.pop(0)
            if path in seen:
                continue
            seen.add(path)
            if not await is_page(page, base + path):
                continue
            await page.goto(base + path)
            await page.wait_for_timeout(150)  # fragments that a page asks for by itself
            wrong += [f"{path}: {said}" for said in await complaints(page)]
            waiting += await links(page)
    assert {"/", "/account", "/supervisor", "/contacts", "/reports", "/ewt"} <= seen
    assert not wrong, "\n".join(wrong)
