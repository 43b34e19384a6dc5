"""The page behind an upload link, as a telephone without JavaScript, as its script, and as somebody who means no good sees it."""

import asyncio
import io
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from string import Formatter
from urllib.parse import urlsplit

import msgspec
import pytest
from aiohttp import ClientConnectionError, ClientSession, FormData

from bridge.web import uploads as module
from bridge.web.console.views import STATIC_FOLDER
from bridge.web.upload_words import WORDS, Words
from tests.unit.web.upload_fakes import DAMAGED, PDF, Place, photo

JSON = {"Accept": "application/json"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
async def base(place: Place) -> AsyncIterator[str]:
    async with place.serving() as address:
        yield f"{address}/u/"


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


def form(*files: tuple[str, bytes]) -> FormData:
    data = FormData(default_to_multipart=True, quote_fields=False)
    for name, content in files:
        data.add_field("files", io.BytesIO(content), filename=name)
    return data


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # the server has no event to wait for
            await asyncio.sleep(0.01)


async def test_the_page_is_nobody_elses_business(base: str, http: ClientSession, place: Place) -> None:
    """Not kept, not indexed, not told to the next site; no inline script; everything together is small."""
    async with http.get(base + place.link()) as response:
        text = await response.text()

    assert response.status == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert "noindex" in response.headers["X-Robots-Tag"]
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert 'name="robots" content="noindex' in text
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|style=", text)
    assert len(text) + sum((STATIC_FOLDER / f"upload.{ending}").stat().st_size for ending in ("js", "css")) < 30_000
    assert 'capture="environment"' in text
    assert "Northwind Telecom" in text
    assert "another 10 min" in text


@pytest.mark.parametrize(
    ("language", "title"), [("en", "Send your files"), ("fr", "Envoyez vos fichiers"), ("es", "Envíe sus archivos")]
)
async def test_the_page_speaks_the_language_of_the_conversation(
    base: str, http: ClientSession, place: Place, language: str, title: str
) -> None:
    """In words, and for the voice that reads it out."""
    async with http.get(base + place.link(language)) as response:
        text = await response.text()

    assert f'<html lang="{language}">' in text
    assert title in text


@pytest.mark.parametrize("language", ["fr", "es"])
def test_every_language_says_the_same(language: str) -> None:
    """No word is missing, and each sentence has the same gaps to fill."""

    def gaps(words: Words) -> dict[str, set[str | None]]:
        flat = {name: told for name, told in msgspec.structs.asdict(words).items() if isinstance(told, str)}
        return {name: {gap for _, gap, _, _ in Formatter().parse(told) if gap} for name, told in flat.items()}

    assert gaps(WORDS[language]) == gaps(WORDS["en"])
    assert WORDS[language].problems.keys() == WORDS["en"].problems.keys()
    assert WORDS[language].reasons.keys() == WORDS["en"].reasons.keys()


async def test_a_plain_form_is_enough(base: str, http: ClientSession, place: Place) -> None:
    """Two files, one of them through the camera's field, without any JavaScript; then the link is used."""
    url = base + place.link()

    async with http.post(url, data=form(("a.jpg", photo()), ("b.pdf", PDF))) as response:
        text = await response.text()
    assert response.status == 200
    assert "Your files have arrived" in text
    assert "<form" not in text
    assert [len(media) for _, _, media, _ in place.told] == [2]

    async with http.get(url) as response:
        text = await response.text()
    assert response.status == 410
    assert "have arrived" in text
    async with http.post(url, data=form(("a.jpg", photo()))) as response:
        assert response.status == 410
    assert len(place.told) == 1


async def test_the_script_is_told_in_json(base: str, http: ClientSession, place: Place) -> None:
    """What was taken and what was not, in words that can be shown as they are."""
    name = place.link("fr")
    async with http.post(base + name, data=form(("<b>.jpg", DAMAGED)), headers=JSON) as response:
        assert response.status == 422
        assert await response.json() == {
            "done": False,
            "problem": None,
            "message": "Non acceptés :",
            "refused": [{"name": "<b>.jpg", "reason": "le fichier est endommagé"}],
        }
    async with http.post(base + name, data=form(("a.jpg", photo()), ("b.exe", b"MZ")), headers=JSON) as response:
        answer = await response.json()
    assert (response.status, answer["done"], answer["message"]) == (200, True, WORDS["fr"].done_some)
    async with http.post(base + name, data=form(("a.jpg", photo())), headers=JSON) as response:
        answer = await response.json()
    assert (response.status, answer["problem"]) == (410, "used")


async def test_names_of_files_are_no_markup(base: str, http: ClientSession, place: Place) -> None:
    """What a stranger calls a file is shown, not obeyed; the form is there for another attempt."""
    async with http.post(base + place.link(), data=form(("<script>.jpg", DAMAGED))) as response:
        text = await response.text()

    assert response.status == 422
    assert "&lt;script&gt;.jpg" in text
    assert "<form" in text


async def test_an_empty_form_is_told(base: str, http: ClientSession, place: Place) -> None:
    """Nothing chosen is no fault, and uses nothing up."""
    async with http.post(base + place.link(), data=form(("", b""), ("", b""))) as response:
        assert response.status == 422
        assert "Choose a file first" in await response.text()


async def test_links_that_do_not_work_say_why(base: str, http: ClientSession, place: Place) -> None:
    """Unknown, and over; in the language of the link, where there is one."""
    expired = place.link("es")
    place.now += 600
    for name, status, words in (
        (expired, 410, "caducado"),
        ("x" * 22 + "fr", 404, "incomplet"),
        ("nonsense", 404, "not complete"),
    ):
        async with http.get(base + name) as response:
            text = await response.text()
        assert (response.status, words in text, "<form" in text) == (status, True, False)


async def test_too_much_is_refused_before_it_is_read(base: str, http: ClientSession, place: Place) -> None:
    """The whole submission has a limit too, whether it is announced or not."""
    name = place.link()
    async with http.post(base + name, data=form(("a.bin", bytes(5_100_000))), headers=JSON) as response:
        assert response.status == 413
        assert "too large" in (await response.json())["message"]

    async def unannounced() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        for _ in range(52):
            yield bytes(100_000)

    headers = JSON | {"Content-Type": "multipart/form-data; boundary=x"}
    async with http.post(base + name, data=unannounced(), headers=headers) as response:
        assert response.status == 400
    assert place.told == []


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/x-www-form-urlencoded", b"files=1", 415),
        ("multipart/form-data", b"--x--", 400),
        ("multipart/form-data; boundary=x", b"what is this", 400),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nabc', 400),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\n\r\n--y--\r\n--x--",
            400,
        ),
        ("multipart/form-data; boundary=x", b"--x\r\nno header\r\n\r\nabc\r\n--x--", 400),
    ],
)
async def test_what_no_browser_sends_is_refused(
    base: str, http: ClientSession, place: Place, content_type: str, body: bytes, status: int
) -> None:
    """Broken and strange forms: an answer, no files, no use of the link."""
    name = place.link()
    async with http.post(base + name, data=body, headers={"Content-Type": content_type}) as response:
        assert response.status == status
    async with http.get(base + name) as response:
        assert response.status == 200
    assert place.told == []


async def test_who_stops_sending_is_not_waited_for(
    base: str, http: ClientSession, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while without a byte the server answers and lets go of what it has."""
    monkeypatch.setattr(module, "IDLE", 0.05)
    rest = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nabc'
        await rest.wait()

    headers = JSON | {"Content-Type": "multipart/form-data; boundary=x"}
    async with http.post(base + place.link(), data=stalled(), headers=headers) as response:
        assert response.status == 408
    rest.set()
    assert place.uploads._under_way.total() == 0


async def test_a_connection_that_breaks_off_leaves_the_link_as_it_was(base: str, http: ClientSession, place: Place) -> None:
    """A telephone that loses the network in the middle of a photo sends again, and that works."""
    name = place.link()
    address = urlsplit(base)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"POST /u/{name} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 90000\r\n\r\n"
    writer.write(head.encode() + b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nabc')
    await writer.drain()
    await until(lambda: place.uploads._under_way.total() == 1)
    writer.transport.abort()

    async with http.post(base + name, data=form(("a.jpg", photo()))) as response:
        assert response.status == 200
    await until(lambda: place.uploads._under_way.total() == 0)
    assert len(place.told) == 1


async def test_storage_that_is_away_is_told_as_ours(tmp_path: Path, http: ClientSession) -> None:
    """Come again, says the answer, and when."""
    (tmp_path / "media").write_bytes(b"")
    place = Place(tmp_path)
    async with place.serving() as base, http.post(f"{base}/u/{place.link()}", data=form(("a.jpg", photo()))) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "5")
        assert "our side" in await response.text()


async def test_a_fault_of_ours_uses_nothing_up(base: str, http: ClientSession, place: Place) -> None:
    """A session that cannot be told: 500, and the same files go through later."""
    name = place.link()
    place.fault = RuntimeError("broken")
    async with http.post(base + name, data=form(("a.jpg", photo()))) as response:
        assert response.status == 500
    place.fault = None
    async with http.post(base + name, data=form(("a.jpg", photo()))) as response:
        assert response.status == 200


async def test_the_secret_of_a_link_is_not_logged(
    base: str, http: ClientSession, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever reads the log cannot send files in a customer's name."""
    name = place.link()
    async with http.get(base + name), http.post(base + name, data=form(("a.jpg", photo()))):
        pass

    out = capsys.readouterr()
    assert "upload.received" in out.out
    assert name[:22] not in out.out + out.err


async def test_a_form_has_so_many_parts(base: str, http: ClientSession, place: Place) -> None:
    """Parts without a byte in them cost time all the same: they do not come for a quarter of an hour."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100_000):
            yield b"--x\r\nContent-Disposition: form-data; name=files\r\n\r\n\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=x"} | JSON
    try:
        async with http.post(base + place.link(), data=endless(), headers=headers) as response:
            assert response.status == 400
    except ClientConnectionError:
        pass  # nobody reads the rest, so the answer may not be read either
    await until(lambda: place.uploads._under_way.total() == 0)
    assert place.told == []
