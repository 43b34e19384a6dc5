"""A browser, and a desk for it to look at."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.e2e.browser import chromium
from tests.e2e.desk import desk_served
from tests.unit.web.fakes import FakeDesk


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Headless Chromium."""
    async with chromium() as opened:
        yield opened


@pytest.fixture
def desk() -> FakeDesk:
    """What stands behind the desk at `base`."""
    return FakeDesk(time.time())


@pytest.fixture
async def base(desk: FakeDesk, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a desk with an agent, a call and a chat."""
    async with desk_served(desk, tmp_path) as address:
        yield address
