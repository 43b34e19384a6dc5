"""Signed addresses of media over HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bridge.events import Media
from bridge.media_links import Variant
from bridge.media_store import BlobGoneError, BlobsUnavailableError, DiskBlobs, MediaStore, Verdict
from tests.unit.web.upload_fakes import PDF, VIDEO, Place, photo

LANGUAGES = {"Accept-Language": "de-DE, fr;q=0.9"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
async def base(place: Place) -> AsyncIterator[str]:
    async with place.serving() as address:
        yield address


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


def address(base: str, place: Place, media: Media, variant: Variant = "whole") -> str:
    return base + place.links.url(media, expires_at=place.now + 60, variant=variant).removeprefix("https://sms.example.com")


@pytest.mark.parametrize(
    ("data", "kind", "disposition"),
    [
        (photo(), "image/jpeg", 'inline; filename="{}.jpg"'),
        (VIDEO, "video/mp4", 'inline; filename="{}.mp4"'),
        (PDF, "application/pdf", 'attachment; filename="{}.pdf"'),
        (b"BEGIN:VCARD\nEND:VCARD", "text/vcard", 'attachment; filename="{}.vcf"'),
    ],
)
async def test_a_file_is_shown_or_saved_and_never_acts(
    base: str, http: ClientSession, place: Place, data: bytes, kind: str, disposition: str
) -> None:
    """Pictures and videos in the window, everything else only as a download; typed, without scripts, kept by no cache."""
    media = await place.store.put(data)

    async with http.get(address(base, place, media)) as response:
        body = await response.read()

    assert (response.status, len(body), response.headers["Content-Type"]) == (200, media.size, kind)
    assert response.headers["Content-Disposition"] == disposition.format(media.digest[:8])
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert ("sandbox" in policy) == disposition.startswith("attachment")
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert "noindex" in response.headers["X-Robots-Tag"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.none() | st.integers(0, 1100), end=st.none() | st.integers(0, 1100))
async def test_a_range_is_that_part(base: str, http: ClientSession, place: Place, start: int | None, end: int | None) -> None:
    """RFC 9110 section 14: from a byte on, up to a byte, the last bytes; beyond the end is 416, nonsense is the whole."""
    media = await place.store.put(VIDEO)
    asked = f"bytes={'' if start is None else start}-{'' if end is None else end}"

    async with http.get(address(base, place, media), headers={"Range": asked}) as response:
        body = await response.read()

    size = len(VIDEO)
    if (start is None and end in {None, 0}) or (start is not None and end is not None and end < start):
        assert (response.status, body) == (200, VIDEO)
    elif start is not None and start >= size:
        assert (response.status, response.headers["Content-Range"]) == (416, f"bytes */{size}")
    else:
        first = start if start is not None else max(0, size - (end or 0))
        last = size - 1 if start is None or end is None else min(end, size - 1)
        assert body == VIDEO[first : last + 1]
        if len(body) < size:
            assert (response.status, response.headers["Content-Range"]) == (206, f"bytes {first}-{last}/{size}")


async def test_head_tells_the_size(base: str, http: ClientSession, place: Place) -> None:
    """Players ask before they read."""
    media = await place.store.put(VIDEO)

    async with http.head(address(base, place, media)) as response:
        assert (response.status, response.content_length, await response.read()) == (200, len(VIDEO), b"")
    assert response.headers["Accept-Ranges"] == "bytes"


async def test_a_picture_comes_in_three_sizes(base: str, http: ClientSession, place: Place, tmp_path: Path) -> None:
    """As it is, small, and as a JPEG that fits into an MMS; the last one is made once."""
    media = await place.store.put(photo(size=(3000, 1500)))

    sizes = {}
    for variant in ("whole", "thumbnail", "fit", "fit"):
        async with http.get(address(base, place, media, variant)) as response:
            (tmp_path / variant).write_bytes(await response.read())
        with Image.open(tmp_path / variant) as image:
            sizes[variant] = (image.format, image.size, response.headers["Content-Type"])

    assert sizes == {
        "whole": ("JPEG", (3000, 1500), "image/jpeg"),
        "thumbnail": ("WEBP", (320, 160), "image/webp"),
        "fit": ("JPEG", (2048, 1024), "image/jpeg"),
    }


async def test_a_video_has_no_small_form(base: str, http: ClientSession, place: Place) -> None:
    """An address that should not have been made leads nowhere."""
    media = await place.store.put(VIDEO)

    for variant in ("thumbnail", "fit"):
        async with http.get(address(base, place, media, variant)) as response:
            assert response.status == 410


async def test_an_address_ends(base: str, http: ClientSession, place: Place) -> None:
    """With its time, with the file, and when a character is wrong; said in the reader's language."""
    media = await place.store.put(PDF)
    url = address(base, place, media)
    async with http.get(url.replace("/media/", "/media/A"), headers=LANGUAGES) as response:
        assert response.status in {403, 404}
    async with http.get(url[:-8] + "AAAA.pdf", headers=LANGUAGES) as response:
        assert (response.status, await response.text()) == (404, "Ce lien n’est plus valable.")  # noqa: RUF001  # French
    place.now += 60
    async with http.get(url) as response:
        assert (response.status, await response.text()) == (410, "This link is over.")
    place.now -= 60
    await place.store.delete(media.digest)
    async with http.get(url) as response:
        assert response.status == 410


@pytest.mark.parametrize("digest", ["0" * 64, "0" * 44])
async def test_the_desk_keeps_its_own_addresses(base: str, http: ClientSession, digest: str) -> None:
    """A digest is no signed address: without signing in there is nothing under it."""
    async with http.get(f"{base}/media/{digest}") as response:
        assert response.status in {403, 404}


async def test_what_is_not_checked_is_not_shown(tmp_path: Path, http: ClientSession) -> None:
    """A provider that fetches is told to come again; once the file is known to be harmful there is nothing."""
    verdict: list[Verdict] = ["unknown"]

    async def scan(data: bytes) -> Verdict:
        assert data == PDF
        return verdict[0]

    place = Place(tmp_path, store=MediaStore(tmp_path / "media", scan=scan))
    media = await place.store.put(PDF)
    async with place.serving() as base:
        url = address(base, place, media)
        async with http.get(url) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "60")
            assert "being checked" in await response.text()
        verdict[0] = "infected"
        await place.store.recheck()
        async with http.get(url) as response:
            assert response.status == 410


class Fragile(DiskBlobs):
    """A folder that fails as a test says, after having found what was asked for."""

    fault: type[Exception] | None = None

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        if self.fault is not None:
            raise self.fault(key)
        async for piece in super().read(key, start, end):
            yield piece


@pytest.mark.parametrize(("fault", "status"), [(BlobsUnavailableError, 503), (BlobGoneError, 410)])
@pytest.mark.parametrize("variant", ["whole", "fit"])
async def test_storage_with_a_bad_day_is_told(
    tmp_path: Path, http: ClientSession, fault: type[Exception], status: int, variant: Variant
) -> None:
    """Away: come again. Deleted between looking and reading: gone."""
    blobs = Fragile(tmp_path / "media")
    place = Place(tmp_path, store=MediaStore(blobs))
    media = await place.store.put(photo())
    blobs.fault = fault
    async with place.serving() as base, http.get(address(base, place, media, variant)) as response:
        assert response.status == status


async def test_an_empty_file_is_no_error(tmp_path: Path, http: ClientSession) -> None:
    """A file that was cut off by a full disk or by hand: nothing is sent, nothing breaks."""
    place = Place(tmp_path)
    media = await place.store.put(PDF)
    (path,) = (tmp_path / "media").rglob("*.pdf")
    path.write_bytes(b"")
    async with place.serving() as base, http.get(address(base, place, media)) as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_a_player_that_has_seen_enough_is_no_error(
    tmp_path: Path, http: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    """It closes the connection in the middle, and nobody is told of a fault."""
    place = Place(tmp_path, max_bytes=40_000_000)
    size = 32_000_000
    media = await place.store.put(VIDEO[:16] + (size + 8).to_bytes(4) + b"mdat" + bytes(size))
    async with place.serving() as base, http.get(address(base, place, media)) as response:
        await response.content.readexactly(100)
        response.close()
    assert not caplog.records
