"""What every storage of media has to do: a folder, and a bucket behind a real server that speaks S3."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.media_store import BlobGoneError, Blobs, BlobsUnavailableError, DiskBlobs, MediaStore
from bridge.media_store.s3 import S3Blobs, S3Config

KEYS = st.from_regex(r"[0-9a-f]{2}/[0-9a-f]{4}/[0-9a-f]{4}\.(jpg|thumb\.webp|infected)", fullmatch=True)


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3-shaped server as a child process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server = Path(sys.executable).with_name("moto_server")
    with (tmp_path_factory.mktemp("s3") / "log").open("w") as log:
        process = subprocess.Popen([server, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
        try:
            _wait_for(url)
            yield url
        finally:
            process.terminate()
            process.wait()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/moto-api/", timeout=5):
            return
        time.sleep(0.1)
    raise AssertionError("the S3 server did not start")


def _make_bucket(url: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(f"{url}/sidetone-media", method="PUT"), timeout=10):
        pass


def config(url: str, *, bucket: str = "sidetone-media") -> S3Config:
    return S3Config(bucket=bucket, access_key="key", secret_key="secret", url=url, prefix="tests", patience=10.0, retries=0)


@pytest.fixture(params=["disk", "s3"])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    if request.param == "disk":
        async with DiskBlobs(tmp_path / "media") as disk:
            yield disk
        return
    url = request.getfixturevalue("s3_url")
    await asyncio.to_thread(_make_bucket, url)
    async with S3Blobs(config(url)) as bucket:
        yield bucket
        for blob in await bucket.find():
            await bucket.delete(blob.key)


async def whole(blobs: Blobs, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in blobs.read(key, start, end)])


async def test_what_was_put_is_there(blobs: Blobs) -> None:
    """The same bytes, their size and the time come back; putting again replaces."""
    began = time.time() - 2  # S3 tells whole seconds

    await blobs.put("ab/abcd/x.jpg", b"first")
    await blobs.put("ab/abcd/x.jpg", b"second!")

    (blob,) = await blobs.find()
    assert (blob.key, blob.size) == ("ab/abcd/x.jpg", 7)
    assert began <= blob.modified <= time.time() + 2
    assert await whole(blobs, "ab/abcd/x.jpg") == b"second!"


async def test_find_looks_into_one_folder(blobs: Blobs) -> None:
    """Whole names of folders count, not their beginnings; everything below is found, in order."""
    for key in ("ab/abcd/y.jpg", "ab/abcd/x.jpg", "ab/abcde/z.jpg", "held/ab/abcd/x.jpg"):
        await blobs.put(key, b"-")

    assert [blob.key for blob in await blobs.find("ab/abcd")] == ["ab/abcd/x.jpg", "ab/abcd/y.jpg"]
    assert [blob.key for blob in await blobs.find("held")] == ["held/ab/abcd/x.jpg"]
    assert len(await blobs.find()) == 4
    assert await blobs.find("cd") == []


@pytest.mark.parametrize(("start", "end"), [(0, None), (0, 1), (3, 7), (7, None), (699_999, None), (5, 5), (250_000, 600_000)])
async def test_a_part_can_be_read(blobs: Blobs, start: int, end: int | None) -> None:
    """Any range, also over several pieces, is exactly those bytes."""
    data = bytes(range(250)) * 2800
    await blobs.put("ab/abcd/x.mp4", data)

    assert await whole(blobs, "ab/abcd/x.mp4", start, end) == data[start:end]


async def test_an_empty_file_is_a_file(blobs: Blobs) -> None:
    """Marks have no content and are found all the same."""
    await blobs.put("ab/abcd/x.infected", b"")

    assert await whole(blobs, "ab/abcd/x.infected") == b""
    assert [blob.size for blob in await blobs.find()] == [0]


async def test_what_is_deleted_is_gone(blobs: Blobs) -> None:
    """Deleting twice is once, reading says that it is gone, the neighbour stays."""
    await blobs.put("ab/abcd/x.jpg", b"x")
    await blobs.put("ab/abcd/y.jpg", b"y")

    await blobs.delete("ab/abcd/x.jpg")
    await blobs.delete("ab/abcd/x.jpg")

    with pytest.raises(BlobGoneError):
        await whole(blobs, "ab/abcd/x.jpg")
    with pytest.raises(BlobGoneError):
        await whole(blobs, "ab/abcd/x.jpg", 2, 3)
    assert [blob.key for blob in await blobs.find()] == ["ab/abcd/y.jpg"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(["put", "delete"]), KEYS, st.binary(max_size=20)), max_size=12))
async def test_it_is_a_dictionary(blobs: Blobs, steps: list[tuple[str, str, bytes]]) -> None:
    """After any puts and deletes it holds what a dictionary would."""
    for blob in await blobs.find():
        await blobs.delete(blob.key)
    expected: dict[str, bytes] = {}
    for step, key, data in steps:
        if step == "put":
            await blobs.put(key, data)
            expected[key] = data
        else:
            await blobs.delete(key)
            expected.pop(key, None)

    assert {blob.key: await whole(blobs, blob.key) for blob in await blobs.find()} == expected


async def test_the_store_works_on_it(blobs: Blobs) -> None:
    """A file that is put can be found by the beginning of its digest, read, deleted; it expires with its time."""
    pdf = b"%PDF-1.7\nhello"
    store = MediaStore(blobs)
    media = await store.put(pdf)

    kept = await store.find(media.digest[:32])
    assert not isinstance(kept, str)
    assert (kept.digest, kept.content_type, kept.size) == (media.digest, "application/pdf", len(pdf))
    assert b"".join([chunk async for chunk in store.read(kept, 1, 4)]) == b"PDF"

    await store.delete(media.digest)
    assert await store.find(media.digest) == "gone"
    await store.put(pdf)
    assert await store.expire(time.time() - 60) == 0
    assert await store.expire(time.time() + 60) == 1
    assert await store.find(media.digest) == "gone"


async def test_a_service_that_is_not_there_is_said_to_be(s3_url: str) -> None:
    """No bucket, nobody listening, or not opened: unavailable, in one line, without keys."""
    for url in (s3_url, "http://127.0.0.1:1"):
        async with S3Blobs(config(url, bucket="another-bucket")) as bucket:
            with pytest.raises(BlobsUnavailableError) as error:
                await bucket.put("ab/abcd/x.jpg", b"x")
            assert "\n" not in str(error.value)
            assert "secret" not in str(error.value) + repr(config(url))
    with pytest.raises(BlobsUnavailableError):
        await S3Blobs(config(s3_url)).find()


async def test_a_folder_that_cannot_be_written_is_said_to_be(tmp_path: Path) -> None:
    """A file where the folder should be: unavailable."""
    (tmp_path / "media").write_bytes(b"")

    with pytest.raises(BlobsUnavailableError):
        await DiskBlobs(tmp_path / "media").put("ab/abcd/x.jpg", b"x")
