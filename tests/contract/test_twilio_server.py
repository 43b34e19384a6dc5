"""The Twilio-shaped server as other processes see it: started by its command, steered by its control address."""

import asyncio
import base64
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from sms.providers.twilio import SignatureVerifier, basic, parse_form
from sms.testing.twilio_server import ACCOUNT_SID, AUTH_TOKEN, TwilioServer, main

OURS, CUSTOMER = "+15550100200", "+15550100123"
MESSAGES = f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages"
AUTH = {"Authorization": basic(ACCOUNT_SID, AUTH_TOKEN)}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def test_as_a_process_of_its_own(session: aiohttp.ClientSession) -> None:
    """Started by its command it prints its address, takes a text, delivers it and brings one back, signed."""
    seen: asyncio.Queue[tuple[tuple[str, str], ...]] = asyncio.Queue()
    verifier: SignatureVerifier | None = None

    async def hook(request: web.Request) -> web.Response:
        form = parse_form(raw := await request.read())
        assert verifier is not None
        assert verifier.verify(request.raw_path, form, raw, request.headers["X-Twilio-Signature"], request.content_type)
        seen.put_nowait(form)
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", hook)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ours = f"http://127.0.0.1:{runner.addresses[0][1]}"
    verifier = SignatureVerifier([AUTH_TOKEN], ours)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sms.testing.twilio_server", "--latency", "0.01", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        url = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()
        async with session.post(f"{url}/control/settings", json={"inbound_url": f"{ours}/hook", "disorder": {"shuffle": True}}):
            pass
        fields = {"To": CUSTOMER, "From": OURS, "Body": "hello", "StatusCallback": f"{ours}/hook"}
        async with session.post(f"{url}{MESSAGES}.json", data=fields, headers=AUTH) as response:
            assert response.status == 201
            sid = (await response.json())["sid"]
        reports = [dict(await asyncio.wait_for(seen.get(), 5)) for _ in range(3)]
        assert {report["MessageStatus"] for report in reports} == {"queued", "sent", "delivered"}
        async with session.get(f"{url}{MESSAGES}/{sid}.json", headers=AUTH) as response:
            assert (await response.json())["status"] == "delivered"
        async with session.get(f"{url}/control/handsets/%2B15550100123") as response:
            assert [each["body"] for each in await response.json()] == ["hello"]
        picture = {"name": "a.png", "type": "image/png", "base64": base64.b64encode(b"\x89PNG").decode()}
        wish = {"to": OURS, "body": "look", "media": [picture]}
        async with session.post(f"{url}/control/handsets/%2B15550100123/texts", json=wish) as response:
            assert response.status == 200
        arrived = dict(await asyncio.wait_for(seen.get(), 5))
        assert (arrived["Body"], arrived["From"], arrived["NumMedia"]) == ("look", CUSTOMER, "1")
        async with session.get(arrived["MediaUrl0"]) as response:
            assert response.status == 401
        async with session.get(arrived["MediaUrl0"], headers=AUTH) as response:
            assert (response.content_type, await response.read()) == ("image/png", b"\x89PNG")
        async with session.get(f"{url}/control/state") as response:
            state = await response.json()
        assert (state["accepted"], state["accepted_bodies"], state["problems"]) == (1, {"hello": 1}, [])
    finally:
        process.terminate()
        await process.wait()
        await runner.cleanup()


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"To": ""}, 400, 21604),
        ({"To": "banana"}, 400, 21211),
        ({"From": None}, 400, 21603),
        ({"Body": None}, 400, 21602),
        ({"Body": "x" * 1601}, 400, 21617),
        ({"ValidityPeriod": "0"}, 400, 21604),
        ({"StatusCallback": "http://a_b.example/x"}, 400, 21609),
        ({"Boddy": "x"}, 400, 20001),
    ],
)
async def test_refusals(session: aiohttp.ClientSession, change: dict[str, str | None], status: int, code: int) -> None:
    """What Twilio refuses at once is refused with Twilio's code, and nothing is taken."""
    fields = {name: value for name, value in {"To": CUSTOMER, "From": OURS, "Body": "x", **change}.items() if value is not None}
    async with TwilioServer() as server, session.post(f"{server.url}{MESSAGES}.json", data=fields, headers=AUTH) as response:
        assert (response.status, (await response.json())["code"]) == (status, code)
        assert not server.accepted_bodies


@pytest.mark.parametrize("header", ["", "Basic", "Basic !!!", "Bearer x", basic(ACCOUNT_SID, "wrong"), basic("AC1", AUTH_TOKEN)])
async def test_strangers_are_refused(session: aiohttp.ClientSession, header: str) -> None:
    """Without the account's credentials there is nothing."""
    async with TwilioServer() as server:
        async with session.get(f"{server.url}{MESSAGES}.json", headers={"Authorization": header}) as response:
            assert (response.status, (await response.json())["code"]) == (401, 20003)
        elsewhere = f"{server.url}/2010-04-01/Accounts/AC2/Messages.json"
        async with session.get(elsewhere, headers=AUTH) as response:
            assert (response.status, (await response.json())["code"]) == (404, 20404)


async def test_lists_by_date_miss_what_is_queued(session: aiohttp.ClientSession) -> None:
    """A text has a date only when it was sent: until then no list by date shows it."""
    async with TwilioServer(latency=30.0) as server:
        async with session.post(
            f"{server.url}{MESSAGES}.json", data={"To": CUSTOMER, "From": OURS, "Body": "x"}, headers=AUTH
        ) as response:
            assert response.status == 201
        for params, count in (({"To": CUSTOMER}, 1), ({"To": CUSTOMER, "DateSent>": "2020-01-01"}, 0), ({"To": OURS}, 0)):
            async with session.get(f"{server.url}{MESSAGES}.json", params=params, headers=AUTH) as response:
                assert len((await response.json())["messages"]) == count


async def test_a_webhook_nobody_takes_is_given_up() -> None:
    """A handset learns that its text could not be brought."""
    async with TwilioServer() as server:
        with pytest.raises(ConnectionError):
            await server.text(CUSTOMER, OURS, "anybody?")
        server.inbound_url = "http://127.0.0.1:9/twilio/sms"
        with pytest.raises(ConnectionError):
            await server.text(CUSTOMER, OURS, "anybody?", within=0.2)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The command explains itself."""
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "--inbound-url" in capsys.readouterr().out
