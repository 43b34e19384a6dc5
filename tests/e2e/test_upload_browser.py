"""The page of an upload link in a real browser with the window of a telephone, sending real files."""

import asyncio
import contextlib
import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
from PIL import Image
from playwright.async_api import Browser, Error, Page, Route, expect

from tests.e2e.browser import clean_page
from tests.unit.web.upload_fakes import DAMAGED, PDF, VIDEO, Place

pytestmark = pytest.mark.e2e


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, max_bytes=5_000_000)


@pytest.fixture
async def base(place: Place) -> AsyncIterator[str]:
    async with place.serving() as address:
        yield f"{address}/u/"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A photo that says where it was taken, a document, and what is not taken."""
    exif = Image.Exif()
    exif[0x010F] = "Rue de la Paix"
    noise = io.BytesIO()
    Image.effect_noise((1600, 1200), 60).convert("RGB").save(noise, "JPEG", quality=90, exif=exif)
    contents = {
        "IMG_2041.jpg": noise.getvalue(),
        "contract.pdf": PDF,
        "torn.jpg": DAMAGED,
        "tool.exe": b"MZ" * 40,
        "film.mp4": bytes(5_000_001),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: str(tmp_path / name) for name in contents}


@asynccontextmanager
async def phone(browser: Browser, scheme: Literal["light", "dark"] = "light") -> AsyncIterator[Page]:
    async with clean_page(browser, width=360, height=740, scheme=scheme) as page:
        yield page


async def too_wide(page: Page) -> bool:
    return bool(await page.evaluate("document.documentElement.scrollWidth > innerWidth"))


async def test_photos_go_from_a_telephone_to_the_session(
    browser: Browser, base: str, place: Place, files: dict[str, str]
) -> None:
    """Chosen, seen, one taken back, sent; what arrives has no place in it, and the link is used."""
    url = base + place.link()
    async with phone(browser) as page:
        await page.goto(url)
        await expect(page.locator("#send")).to_be_disabled()
        await page.set_input_files("#camera", files["IMG_2041.jpg"])
        await page.set_input_files("#choose", [files["contract.pdf"], files["torn.jpg"]])
        await expect(page.locator("#chosen li")).to_have_count(3)
        assert (
            await page.locator("#chosen img").first.evaluate("async image => { await image.decode(); return image.naturalWidth }")
            == 1600
        )
        assert not await too_wide(page)
        await page.get_by_label("Remove torn.jpg").click()
        await page.click("#send")
        await expect(page.locator("h1")).to_have_text("Thank you")
        await expect(page.locator("#told")).to_contain_text("Your files have arrived")
        await expect(page.locator("h1")).to_be_focused()
    ((session, _, media, refused),) = place.told
    assert (session, [item.content_type for item in media], refused) == ("s-1", ["image/jpeg", "application/pdf"], 0)
    (path,) = (place.folder / "media").rglob("*.jpg")
    assert b"Rue de la Paix" not in path.read_bytes()


@pytest.mark.parametrize(("language", "scheme"), [("fr", "dark"), ("es", "light")])
async def test_what_cannot_be_sent_is_said_before_it_is_sent(
    browser: Browser, base: str, place: Place, files: dict[str, str], language: str, scheme: Literal["light", "dark"]
) -> None:
    """Too large, and the wrong kind; taking it back makes the rest sendable."""
    words = {"fr": ("trop volumineux", "type de fichier non accepté"), "es": ("demasiado grande", "tipo de archivo no aceptado")}
    async with phone(browser, scheme) as page:
        await page.goto(base + place.link(language))
        await page.set_input_files("#choose", [files["film.mp4"], files["tool.exe"], files["contract.pdf"]])
        for at, reason in enumerate(words[language]):
            await expect(page.locator("#chosen li").nth(at)).to_contain_text(reason)
        await expect(page.locator("#send")).to_be_disabled()
        assert not await too_wide(page)
        for _ in range(2):
            await page.locator("#chosen button").first.click()
        await page.click("#send")
        await expect(page.locator("#form")).to_have_count(0)
    assert len(place.told) == 1


async def test_a_file_that_only_the_server_can_judge_is_named(
    browser: Browser, base: str, place: Place, files: dict[str, str]
) -> None:
    """A damaged photo alone uses nothing up; with a good one the good one goes."""
    async with phone(browser) as page:
        await page.goto(base + place.link())
        await page.set_input_files("#choose", [files["torn.jpg"], files["contract.pdf"]])
        await page.click("#send")
        await expect(page.locator("#told")).to_contain_text("The other files have arrived")
        await expect(page.locator("#told")).to_contain_text(re.compile("torn.jpg . the file is damaged"))
    assert [(len(media), refused) for _, _, media, refused in place.told] == [(1, 1)]


async def test_a_lost_connection_is_tried_again(browser: Browser, base: str, place: Place, files: dict[str, str]) -> None:
    """The network goes away in the middle: the files stay chosen, the page says so and goes on when the network is back."""
    context = await browser.new_context(viewport={"width": 360, "height": 740})
    page = await context.new_page()
    await page.goto(base + place.link())
    await page.set_input_files("#choose", files["IMG_2041.jpg"])
    await context.set_offline(True)
    await page.click("#send")
    await expect(page.locator("#state")).to_contain_text("The connection was lost")
    assert not await too_wide(page)
    await context.set_offline(False)
    if await page.locator("#again").is_visible():
        await page.click("#again")
    await expect(page.locator("h1")).to_have_text("Thank you")
    await context.close()
    assert len(place.told) == 1


async def test_an_answer_that_was_lost_is_no_second_submission(
    browser: Browser, base: str, place: Place, files: dict[str, str]
) -> None:
    """Everything arrived and the answer did not: the next attempt hears that the link was used, which means thank you."""
    context = await browser.new_context(viewport={"width": 360, "height": 740})
    page = await context.new_page()
    first = True

    async def lose(route: Route) -> None:
        nonlocal first
        if first:
            first = False
            await route.fetch()
            await route.abort()
        else:
            await route.continue_()

    url = base + place.link()
    await page.goto(url)
    await page.route(url, lose)
    await page.set_input_files("#choose", files["contract.pdf"])
    await page.click("#send")
    await expect(page.locator("h1")).to_have_text("Thank you", timeout=10_000)
    await expect(page.locator("#told .good")).to_be_visible()
    await context.close()
    assert len(place.told) == 1


async def test_stopping_keeps_what_was_chosen(browser: Browser, base: str, place: Place, files: dict[str, str]) -> None:
    """While it is being sent it can be stopped; the files are still there and can be sent afterwards."""
    held = asyncio.Event()
    context = await browser.new_context(viewport={"width": 360, "height": 740})
    page = await context.new_page()

    async def hold(route: Route) -> None:
        await held.wait()
        with contextlib.suppress(Error):  # the page has given it up
            await route.abort()

    url = base + place.link()
    await page.goto(url)
    await page.route(url, hold)
    await page.set_input_files("#choose", files["contract.pdf"])
    await page.click("#send")
    await page.click("#cancel")
    await expect(page.locator("#send")).to_be_enabled()
    held.set()
    await page.unroute(url)
    await page.click("#send")
    await expect(page.locator("h1")).to_have_text("Thank you")
    await context.close()


async def test_it_works_without_javascript(browser: Browser, base: str, place: Place, files: dict[str, str]) -> None:
    """The same form, sent by the browser itself; both fields count."""
    context = await browser.new_context(viewport={"width": 360, "height": 740}, java_script_enabled=False)
    page = await context.new_page()
    await page.goto(base + place.link())
    await page.set_input_files("#camera", files["IMG_2041.jpg"])
    await page.set_input_files("#choose", [files["contract.pdf"], files["torn.jpg"]])
    await page.screenshot(path=f"{place.folder}/plain.png")
    await page.click("#send")
    await expect(page.locator("h1")).to_have_text("Thank you")
    await expect(page.locator("#told")).to_contain_text("torn.jpg")
    await context.close()
    assert [(len(media), refused) for _, _, media, refused in place.told] == [(2, 1)]


async def test_a_shared_video_may_be_played(browser: Browser, place: Place) -> None:
    """Opened by its address, in the page that the browser makes around it: no policy of ours is in the way."""
    media = await place.store.put(VIDEO)
    link = place.links.url(media, expires_at=place.now + 60).removeprefix("https://sms.example.com")
    async with place.serving() as base, phone(browser) as page:
        await page.goto(base + link)
        # The bytes are no pictures, so it gets as far as finding that out.
        await page.wait_for_function("document.querySelector('video').networkState === HTMLMediaElement.NETWORK_NO_SOURCE")
