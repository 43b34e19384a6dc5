"""The engineer's phone over its websocket."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSServerHandshakeError
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from bridge.events import CallArrived, CallEnded, CustomerAnswered, DialCustomer, DigitsReceived, LegId, OpenCall
from bridge.telephony.loopback import LoopbackCallProvider
from bridge.web.console.phone import PhoneLine
from bridge.web.server import WebConfig, make_app
from sms.message import OutboundText
from sms.providers.loopback import LoopbackNetwork, LoopbackSms
from tests.unit.web.conftest import NOW, Client
from tests.unit.web.fakes import FakeCalls, FakeDesk, FakeIntake, FakeRecords

ME, THEM = "+15550100123", "+15550100200"
PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 20


@asynccontextmanager
async def phone(client: Client) -> AsyncIterator[ClientWebSocketResponse]:
    async with client.ws_connect("/phone/ws", headers={"Origin": str(client.make_url("/"))[:-1]}) as opened:
        yield opened


async def told(opened: ClientWebSocketResponse, **wanted: Any) -> dict[str, Any]:
    """The next message with these fields."""
    async with asyncio.timeout(3):
        while True:
            message: dict[str, Any] = await opened.receive_json()
            if wanted.items() <= message.items():
                return message


async def until(events: list[Any], kind: type[Any]) -> Any:
    async with asyncio.timeout(3):
        while True:
            found = [event for event in events if isinstance(event, kind)]
            if found:
                return found[0]
            await asyncio.sleep(0.005)


@pytest.fixture
async def sms(network: LoopbackNetwork) -> AsyncIterator[LoopbackSms]:
    async def keep(_thing: Any) -> None:
        """The server's side of the network takes everything."""

    async with LoopbackSms(network, on_text=keep, on_report=keep) as provider:
        yield provider


async def test_the_page_knows_its_numbers(client: Client) -> None:
    """Mine and the one to call stand on it from the start."""
    text = await (await client.get("/phone")).text()

    assert f'value="{ME}"' in text
    assert f'value="{THEM}"' in text


async def test_a_call_is_made_and_heard(client: Client, calls: FakeCalls) -> None:
    """Ringing, then the recording with its words and an address to play it from."""
    async with phone(client) as opened:
        await opened.send_json({"do": "dial", "caller": ME, "called": THEM})

        assert (await told(opened))["what"] == "ringing"
        playing = await told(opened, what="playing")
        assert (playing["audio"], playing["words"]) == (["/prompts/hello.wav"], "Hello")
        arrived = await until(calls.events, CallArrived)
        assert (arrived.caller, arrived.called) == (ME, THEM)


async def test_keys_and_the_hook_work(client: Client, calls: FakeCalls) -> None:
    """A key reaches the call; hanging up ends it and the page is told."""
    async with phone(client) as opened:
        await opened.send_json({"do": "dial", "caller": None, "called": THEM})
        await told(opened, what="playing")
        await opened.send_json({"do": "press", "digit": "1"})
        assert (await until(calls.events, DigitsReceived)).digits == "1"

        await opened.send_json({"do": "hang_up"})

        assert (await told(opened, what="ended"))["by"] == "caller"
        await opened.send_json({"do": "press", "digit": "1"})
        await opened.send_json({"do": "hang_up"})
        await opened.send_json({"do": "dial", "caller": ME, "called": THEM})
        assert (await told(opened))["what"] == "ringing"
        await opened.send_json({"do": "press", "digit": "?"})
        assert "no such key" in (await told(opened, kind="problem"))["words"]


async def test_dialling_again_ends_the_call_before(client: Client, calls: FakeCalls) -> None:
    """A handset has one line."""
    async with phone(client) as opened:
        await opened.send_json({"do": "dial", "caller": ME, "called": THEM})
        await told(opened, what="playing")
        await opened.send_json({"do": "dial", "caller": ME, "called": THEM})

        assert (await until(calls.events, CallEnded)).by == "caller"
        assert calls.provider.calls == 1


async def test_closing_the_page_is_hanging_up(client: Client, calls: FakeCalls) -> None:
    """A phone that has left the network holds no call."""
    async with phone(client) as opened:
        await opened.send_json({"do": "dial", "caller": ME, "called": THEM})
        await told(opened, what="playing")

    assert (await until(calls.events, CallEnded)).by == "caller"


async def test_texts_of_the_handset_are_shown(client: Client, sms: LoopbackSms) -> None:
    """What came before and what comes now; only the last number asked for is followed."""
    await sms.send(OutboundText(message="m-1", recipient=ME, sender=THEM, body="Before", created_at=NOW))
    async with phone(client) as opened:
        await opened.send_json({"do": "thread", "number": "+15550100177"})
        await opened.send_json({"do": "thread", "number": ME})
        assert (await told(opened, kind="text"))["body"] == "Before"

        await sms.send(OutboundText(message="m-2", recipient=ME, sender=THEM, body="Now", created_at=NOW))

        text = await told(opened, kind="text")
        assert (text["direction"], text["other"], text["body"]) == ("received", THEM, "Now")


@pytest.mark.usefixtures("sms")
async def test_texts_and_photos_are_sent(client: Client) -> None:
    """They leave from my number, and the photo can be looked at in the thread."""
    async with phone(client) as opened:
        await opened.send_json({"do": "thread", "number": ME})
        picture = {"name": "a/b.png", "type": "image/png", "data": base64.b64encode(PNG).decode()}
        await opened.send_json({"do": "text", "sender": ME, "to": THEM, "body": "Look", "picture": picture})

        text = await told(opened, kind="text")
        shown = await client.get(text["pictures"][0])

    assert (text["direction"], text["other"], text["body"]) == ("written", THEM, "Look")
    assert (shown.content_type, await shown.read()) == ("image/png", PNG)
    assert (await client.get("/phone/media/nothing")).status == 404


@pytest.mark.parametrize(
    ("url", "pictures", "files"),
    [
        ("https://maps.example/1.png", [], ["https://maps.example/1.png"]),
        ("https://desk.example/media/abc.jpg", ["/media/abc.jpg"], []),
        ("https://desk.example/media/abc.pdf", [], ["/media/abc.pdf"]),
    ],
)
async def test_files_in_texts_can_be_looked_at(
    client: Client, sms: LoopbackSms, url: str, pictures: list[str], files: list[str]
) -> None:
    """The server's own pictures are shown, by a path that is true whatever its name; the page loads nothing from another host."""
    text = OutboundText(message="m", recipient=ME, sender=THEM, body="Map", created_at=NOW, media_urls=(url,))
    await sms.send(text)
    async with phone(client) as opened:
        await opened.send_json({"do": "thread", "number": ME})

        bubble = await told(opened, kind="text")

    assert (bubble["pictures"], bubble["files"]) == (pictures, files)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("{", "unreadable"),
        ('{"do": "explode"}', "unreadable"),
        ('{"do": "text", "sender": "+15550100123", "to": "+15550100200", "body": " "}', "nothing to send"),
        ('{"do": "text", "sender": "+15550100123", "to": "", "body": "Hi"}', "no number"),
        (
            '{"do":"text","sender":"+1","to":"+2","body":"","picture":{"name":"a","type":"image/png","data":"*"}}',
            "did not arrive whole",
        ),
        ('{"do": "text", "sender": "+15550100123", "to": "+15550100200", "body": "Hi"}', "nobody listens"),
    ],
)
async def test_what_cannot_be_done_is_said(client: Client, message: str, words: str) -> None:
    """The page shows it; the phone goes on working."""
    async with phone(client) as opened:
        await opened.send_str(message)

        assert words in (await told(opened, kind="problem"))["words"]


async def test_other_sites_cannot_dial(client: Client) -> None:
    """Only our own page may use the phone."""
    with pytest.raises(WSServerHandshakeError) as refused:
        await client.ws_connect("/phone/ws", headers={"Origin": "https://evil.example"})

    assert refused.value.status == 403


async def test_with_another_text_provider_the_page_says_so(folder: Path) -> None:
    """Calls still work; texts are on a real phone."""

    async def ignore(_event: Any) -> None:
        """Nobody answers."""

    provider = LoopbackCallProvider(ignore, folder)
    line = PhoneLine(calls=provider, texts=None, sms_provider="twilio", my_number=ME, our_numbers=(THEM,))
    app = make_app(FakeDesk(NOW), FakeIntake(), FakeRecords(), line, WebConfig(prompts=folder), registry=CollectorRegistry())
    async with provider, TestClient(TestServer(app)) as client:
        assert "Texts go through twilio" in await (await client.get("/phone")).text()
        assert (await client.get("/phone/media/x")).status == 404
        async with phone(client) as opened:
            await opened.send_json({"do": "thread", "number": ME})
            await opened.send_json({"do": "text", "sender": ME, "to": THEM, "body": "Hi"})
            assert "Texts go through twilio" in (await told(opened, kind="problem"))["words"]


async def test_without_a_phone_there_is_no_page(folder: Path) -> None:
    """A server in earnest has none."""
    app = make_app(FakeDesk(NOW), FakeIntake(), FakeRecords(), None, WebConfig(prompts=folder), registry=CollectorRegistry())
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/phone")).status == 404


async def plugged_in(opened: ClientWebSocketResponse, calls: FakeCalls) -> None:
    """The page's number is on the network."""
    await opened.send_json({"do": "plug_in", "number": ME})
    await happens(lambda: calls.provider.reaches(ME))


async def happens(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110  # what is waited for knows nothing of events
            await asyncio.sleep(0.01)


async def call_it(calls: FakeCalls, leg: str) -> None:
    """A call of ours to the page's number."""
    await calls.provider.perform(OpenCall(LegId(leg), ME))
    await calls.provider.perform(DialCustomer(LegId(leg), ME, THEM))


async def test_the_handset_can_be_called(client: Client, calls: FakeCalls) -> None:
    """A call of ours rings while the page is open and is picked up; another one is refused while it talks."""
    async with phone(client) as opened:
        await plugged_in(opened, calls)
        await call_it(calls, "ours-1")
        assert await told(opened, kind="rings") == {"kind": "rings", "sender": THEM}
        await opened.send_json({"do": "answer"})
        await happens(lambda: CustomerAnswered(LegId("ours-1")) in calls.events)
        await call_it(calls, "ours-2")
        await happens(lambda: CallEnded(LegId("ours-2"), "network", "486") in calls.events)
        await opened.send_json({"do": "hang_up"})
        await told(opened, kind="hears", what="ended")
    await happens(lambda: not calls.provider.reaches(ME))


async def test_a_call_that_rings_is_refused_by_hand_and_by_leaving(client: Client, calls: FakeCalls) -> None:
    """Busy is what the caller hears of it."""
    async with phone(client) as opened:
        await plugged_in(opened, calls)
        await call_it(calls, "ours-1")
        await told(opened, kind="rings")
        await opened.send_json({"do": "hang_up"})
        await happens(lambda: CallEnded(LegId("ours-1"), "network", "486") in calls.events)
        await told(opened, kind="hears", what="ended")
        await call_it(calls, "ours-2")
        await told(opened, kind="rings")
    await happens(lambda: CallEnded(LegId("ours-2"), "network", "486") in calls.events)
