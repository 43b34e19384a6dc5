"""The whole channel for texts through the real server: menus, agents, programs, links and those who are told what happens."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from bridge.notices import verify
from bridge.web.ports import DeskRefusedError
from tests.e2e.odd import ANA, BEN, CAT, PHOTO, World, short_house, world
from tests.e2e.server import NUMBER, free_port

pytestmark = pytest.mark.e2e
House = tuple[Path, Path]
TOKEN, SECRET = "a-token-of-the-shop-0123456789", "a secret of the hook"
MENU_NUMBER = "+15550100201"
CUSTOMER = "+12025550123"
"""In the United States, so that pictures go by MMS."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """The packaged flow and prompts, made short."""
    return short_house(tmp_path_factory.mktemp("house"))


@asynccontextmanager
async def town_with_menu(folder: Path, house: House, *, hook: str | None = None, **sms: Any) -> AsyncIterator[World]:
    """The world with a second number that has a text menu, a program with a key, and somebody who is told everything."""
    hooks = [] if hook is None else [{"name": "crm", "url": hook, "secret": SECRET}]
    keys = [{"name": "shop", "token": TOKEN, "scopes": ["sms.send", "sms.read", "sessions.read", "consents"]}]
    numbers = [
        {"number": NUMBER, "flow": "support", "desk": "support_sms"},
        {"number": MENU_NUMBER, "menu": "support"},
    ]
    async with world(folder, house=house, numbers=numbers, api={"keys": keys}, hooks=hooks, sms=sms) as town:
        yield town


class Receiver:
    """Somebody who is told what happens, and looks at the signature."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def types(self) -> list[str]:
        """What was told, oldest first."""
        return [event["type"] for event in self.events]

    async def take(self, request: web.Request) -> web.Response:
        """Believe it, or not."""
        body = await request.read()
        assert verify(body, request.headers, SECRET, now=float(request.headers["Sidetone-Timestamp"]))
        self.events.append(msgspec.json.decode(body))
        return web.Response(status=204)


@asynccontextmanager
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    """A receiver that listens, and its address."""
    this, port = Receiver(), free_port()
    app = web.Application()
    app.router.add_post("/told", this.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield this, f"http://127.0.0.1:{port}/told"
    finally:
        await runner.cleanup()


async def test_a_texter_goes_through_the_menu_to_an_agent_and_on_to_a_colleague(tmp_path: Path, house: House) -> None:
    """Opt-in text, two choices, the queue, a chat, a transfer with its note, a chat put aside that comes back to its agent."""
    async with receiver() as (told, address), town_with_menu(tmp_path, house, hook=address, prefer_for=5.0) as town:
        await town.ready(BEN)
        desk, customer = town.server.desk, await town.caller(CUSTOMER)
        handset = customer.handset
        await handset.text(MENU_NUMBER, "hello")
        menu = (await handset.wait(1))[0].body
        assert menu.startswith("Northwind")
        assert "STOP" in menu
        assert "1 Billing" in menu
        await handset.text(MENU_NUMBER, "1")
        assert "BACK" in (await handset.wait(2))[1].body
        await handset.text(MENU_NUMBER, "1")
        greeting = (await handset.wait(3))[2].body
        assert "an agent will answer you here" in greeting
        session = await town.accept(BEN)
        customer.session = session
        view = await desk.session(BEN, session)
        assert view.customer == CUSTOMER
        await desk.say(BEN, session, "Which bill is it?")
        await town.ready(CAT)
        await desk.transfer(BEN, session, to=CAT, queue=None, note="wants to pay by card")
        assert await town.accept(CAT) == session
        await customer.line("transfer.completed")
        with pytest.raises(DeskRefusedError):
            await desk.say(BEN, session, "One more thing")
        await desk.say(CAT, session, "I have it here")
        await desk.set_aside(CAT, session)
        await customer.line("chat.dismissed")
        assert town.server.runner.floor.acd.agent_view(CAT).chats == ()
        await handset.text(MENU_NUMBER, "The one of May")
        assert await town.accept(CAT) == session
        await town.settle()
        received = [text.body for text in handset.received]
        assert len(received) == len(set(received))
        await town.until("the end to be told", lambda: "session.closed" in told.types())
        types = told.types()
        for kind in (
            "session.opened",
            "sms.received",
            "sms.delivered",
            "session.transferred",
            "session.dismissed",
            "session.closed",
        ):
            assert kind in types, kind
        assert types.index("session.opened") == 0


async def test_a_program_texts_and_the_answer_reaches_an_agent(tmp_path: Path, house: House) -> None:
    """The text introduces itself once; asked for twice it goes once; after STOP the program is told so."""
    async with town_with_menu(tmp_path, house) as town, aiohttp.ClientSession() as http:
        await town.ready(BEN)
        customer = await town.caller(CUSTOMER)
        headers = {"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": "parcel-1"}
        url = f"{town.server.web_url}/api/v1/sms"
        text = {"to": CUSTOMER, "from": NUMBER, "text": "Your parcel is at the door.", "purpose": "session"}
        async with http.post(url, json=text, headers=headers) as answer:
            assert answer.status == 202, await answer.text()
            sent = await answer.json()
        async with http.post(url, json=text, headers=headers) as again:
            assert (await again.json())["id"] == sent["id"]
        first, second = (each.body for each in await customer.handset.wait(2))
        assert "STOP" in first
        assert second == text["text"]
        await customer.text("Thank you! Which door?")
        session = await town.accept(BEN)
        assert session == sent["session"]
        customer.session = session
        await town.server.desk.say(BEN, session, "The blue one.")
        await customer.handset.wait(3)
        await customer.text("stop")
        await customer.line("opted_out")
        async with http.post(url, json=text, headers={**headers, "Idempotency-Key": "parcel-2"}) as refused:
            assert refused.status in {403, 409, 422}
            assert refused.content_type == "application/problem+json"
            assert "asked us to stop" in (await refused.text())
        await town.settle()
        assert len(customer.received) == 4


async def test_a_link_takes_the_photos_that_a_text_cannot_carry(tmp_path: Path, house: House) -> None:
    """The customer opens it once, the agent sees the pictures in the conversation, and it does not open again."""
    async with town_with_menu(tmp_path, house) as town, aiohttp.ClientSession() as http:
        await town.ready(BEN)
        customer = await town.caller("+447700900123")
        await customer.text("my router is broken")
        session = customer.session = await town.accept(BEN)
        await town.server.desk.ask_for_photos(BEN, session)
        await customer.handset.wait(2)
        found = re.search(r"http://\S+/u/\S+", customer.received[-1].body)
        assert found is not None
        async with http.get(found[0]) as page:
            assert page.status == 200
        form = aiohttp.FormData()
        form.add_field("file", PHOTO, filename="router.png", content_type="image/png")
        async with http.post(found[0], data=form) as answer:
            assert answer.status == 200, await answer.text()
        line = await customer.line("media.uploaded")
        assert [item["content_type"] for item in line.data["media"]] == ["image/png"]
        async with http.post(found[0], data=form()) as again:
            assert again.status == 410
        await town.settle()


async def test_an_agents_picture_goes_by_mms_where_there_is_mms_and_as_a_link_elsewhere(tmp_path: Path, house: House) -> None:
    """Whoever has the address can fetch it; nobody can guess another."""
    async with town_with_menu(tmp_path, house) as town, aiohttp.ClientSession() as http:
        await town.ready(BEN)
        for number, mms in ((CUSTOMER, True), ("+447700900123", False)):
            customer = await town.caller(number)
            await customer.text("hello")
            session = customer.session = await town.accept(BEN)
            media = await town.server.runner.media.put(PHOTO)
            await town.server.desk.send(BEN, session, "Look", media=(media,))
            text = (await customer.handset.wait(2))[1]
            assert bool(text.media_urls) is mms
            address = text.media_urls[0] if mms else text.body.removeprefix("Look\n")
            async with http.get(address) as page:
                assert page.status == 200
                assert hashlib.sha256(await page.read()).hexdigest() == media.digest
            async with http.get(address.replace("/media/", "/media/A")) as page:
                assert page.status == 404
        await town.settle()


async def test_a_wish_to_be_left_alone_in_own_words_waits_for_the_agents_judgement(tmp_path: Path, house: House) -> None:
    """Nothing goes out meanwhile, whoever wants it; judged as STOP it is confirmed once."""
    async with town_with_menu(tmp_path, house) as town, aiohttp.ClientSession() as http:
        await town.ready(BEN)
        customer = await town.caller(CUSTOMER)
        await customer.text("hello")
        session = customer.session = await town.accept(BEN)
        await customer.text("please stop texting me")
        await customer.line("stop.suspected")
        with pytest.raises(DeskRefusedError):
            await town.server.desk.say(BEN, session, "But why?")
        text = {"to": CUSTOMER, "from": NUMBER, "text": "Your parcel is at the door.", "purpose": "session"}
        async with http.post(
            f"{town.server.web_url}/api/v1/sms", json=text, headers={"Authorization": f"Bearer {TOKEN}"}
        ) as refused:
            assert refused.status >= 400
        await town.server.desk.judge(BEN, session, meant=True)
        await customer.line("opted_out")
        await customer.handset.wait(2)
        await asyncio.sleep(0.2)
        await town.settle()
        assert ["no more texts" in text.body for text in customer.received] == [False, True]


async def test_another_phone_joins_by_the_code(tmp_path: Path, house: House) -> None:
    """A caller on a landline goes on from a mobile: both are one conversation, and the answer goes to the mobile."""
    async with town_with_menu(tmp_path, house) as town:
        await town.ready(ANA)
        caller = await town.caller("+442079460123")
        await caller.to_the_menu()
        await caller.press("2")
        session = await town.accept(ANA)
        await caller.line("audio.connected")
        code = town.state_of(session).code
        mobile = await town.caller("+447700900124")
        await mobile.text(f"{code} here is my mobile")
        await caller.line("sender.added")
        await town.server.desk.say(ANA, session, "Got you")
        await mobile.handset.wait(1)
        assert not caller.received
        await town.settle()


async def test_a_waiting_caller_from_abroad_sends_the_photo_by_a_link(tmp_path: Path, house: House) -> None:
    """Where there is no MMS the question for a photo brings a page that takes it, and the agent has it before the call."""
    async with town_with_menu(tmp_path, house) as town, aiohttp.ClientSession() as http:
        caller = await town.caller("+46701740605")
        await caller.in_line()
        await caller.line("offer.made")
        await caller.press("1")
        await caller.handset.wait(1)
        await caller.text("My router blinks")
        question = (await caller.handset.wait(2))[1].body
        found = re.search(r"http://\S+/u/\S+", question)
        assert found is not None
        form = aiohttp.FormData()
        form.add_field("file", PHOTO, filename="router.png", content_type="image/png")
        async with http.post(found[0], data=form) as answer:
            assert answer.status == 200
        await caller.line("answer.stored", 2)
        await town.ready(ANA)
        session = await town.accept(ANA)
        view = await town.server.desk.session(ANA, session)
        assert view.answers == {"reason": "My router blinks", "photo": "1 photo"}
        await town.settle()
