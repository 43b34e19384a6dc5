"""What somebody who wishes us ill can try at the web side."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientWSTimeout, CookieJar, web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from bridge.telephony.loopback import LoopbackCallProvider
from bridge.web import http
from bridge.web.console.desk import LONGEST_NOTE, MOST_SOCKETS
from bridge.web.console.phone import PhoneLine
from bridge.web.console.signin import MOST_WAITING
from bridge.web.ports import Agent, DeskUpdate
from bridge.web.server import WebConfig, make_app, serving
from tests.unit.web.conftest import Client, SignIn
from tests.unit.web.fakes import ANA, SESSION, FakeDesk, FakeIntake, FakeRecords
from tests.unit.web.test_sign_in import form_token

POSTS = (
    "/desk/state",
    "/desk/accept",
    "/desk/decline",
    "/desk/s-1/say",
    "/desk/s-1/segments",
    "/desk/s-1/hang-up",
    "/desk/s-1/end-chat",
    "/desk/s-1/wrap-up",
)


class SlowDesk(FakeDesk):
    """Checks one password at a time, and not before it is told to."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.checks = 0
        self.at_once = 0
        self.most_at_once = 0
        self.go_on = asyncio.Event()

    async def sign_in(self, login: str, password: str) -> Agent | None:
        """Slowly."""
        self.checks += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.go_on.wait()
        self.at_once -= 1
        return await super().sign_in(login, password)


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[tuple[Client, SlowDesk]]:
    """A web side that takes its time with passwords."""
    desk = SlowDesk()
    app = make_app(desk, FakeIntake(), FakeRecords(), None, WebConfig(prompts=tmp_path), registry=CollectorRegistry())
    async with TestClient(TestServer(app), cookie_jar=CookieJar(unsafe=True)) as client:
        yield client, desk


async def test_tries_at_the_same_time_are_tries(slow: tuple[Client, SlowDesk]) -> None:
    """Thirty passwords for one login at once: eight are checked, one after the other."""
    client, desk = slow
    token = await form_token(client)
    tries = [
        asyncio.create_task(client.post("/sign-in", data={"login": "ana", "password": str(n), "token": token})) for n in range(30)
    ]
    await asyncio.sleep(0.2)
    desk.go_on.set()
    statuses = [answer.status for answer in await asyncio.gather(*tries)]

    assert (statuses.count(403), statuses.count(429)) == (8, 22)
    assert (desk.checks, desk.most_at_once) == (8, 1)


async def test_a_crowd_of_passwords_does_not_wait_for_ever(slow: tuple[Client, SlowDesk]) -> None:
    """A check takes a processor that calls need too; more than a few do not even wait for it."""
    client, desk = slow
    token = await form_token(client)
    tries = [
        asyncio.create_task(client.post("/sign-in", data={"login": f"a{n}", "password": "x", "token": token})) for n in range(35)
    ]
    async with asyncio.timeout(10.0):
        while sum(each.done() for each in tries) < 35 - MOST_WAITING:  # noqa: ASYNC110  # those not even let in to wait
            await asyncio.sleep(0.01)
    desk.go_on.set()
    statuses = [answer.status for answer in await asyncio.gather(*tries)]

    assert (statuses.count(403), statuses.count(503)) == (MOST_WAITING, 35 - MOST_WAITING)


async def test_right_passwords_are_not_counted(client: Client, sign_in: SignIn) -> None:
    """Whoever signs in nine times in a row has not guessed."""
    for _ in range(9):
        client.session.cookie_jar.clear()
        await sign_in()


@pytest.mark.parametrize("path", POSTS)
async def test_no_action_without_the_token_of_the_session(client: Client, sign_in: SignIn, desk: FakeDesk, path: str) -> None:
    """Another site can send a signed-in browser's cookie, never the header."""
    await sign_in()
    for headers in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "x" * 43}):
        assert (await client.post(path, data={"body": "x"}, headers=headers)).status == 403
    assert desk.asked == []


@pytest.mark.parametrize("path", POSTS)
async def test_no_action_without_a_session(client: Client, desk: FakeDesk, path: str) -> None:
    """Nobody is asked to do anything for strangers."""
    answer = await client.post(path, data={"body": "x"}, headers={"X-CSRF-Token": "x", "HX-Request": "true"})

    assert "HX-Redirect" in answer.headers
    assert desk.asked == []


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "text/plain", "application/json"])
async def test_only_forms_are_read(client: Client, sign_in: SignIn, desk: FakeDesk, kind: str) -> None:
    """No files, which would be written to disk; none of the types that other sites can send without asking."""
    token = await sign_in()

    answer = await client.post("/desk/s-1/say", data=b"--x\r\n\r\n", headers={"X-CSRF-Token": token, "Content-Type": kind})

    assert answer.status == 415
    assert desk.asked == []


@pytest.mark.parametrize(("body", "status"), [(b"body=" + b"x" * http.FORM_LIMIT, 413), (b"a&" * 2000, 400)])
async def test_a_form_has_a_size(client: Client, sign_in: SignIn, body: bytes, status: int) -> None:
    """In bytes and in fields."""
    headers = {"X-CSRF-Token": await sign_in(), "Content-Type": "application/x-www-form-urlencoded"}

    assert (await client.post("/desk/s-1/say", data=body, headers=headers)).status == status


async def test_a_note_has_a_length(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """The page keeps to it; others need not."""
    headers = {"X-CSRF-Token": await sign_in()}

    answer = await client.post("/desk/s-1/wrap-up", data={"note": "x" * (LONGEST_NOTE + 1)}, headers=headers)

    assert "at most" in await answer.text()
    assert desk.asked == []


@pytest.mark.parametrize(
    ("sent", "kept"),
    [(b"a%00b%1b%5B2Jc", "ab[2Jc"), (b"a%0D%0Ab%09c", "a\nb\tc"), (b"a%ff%ED%A0%80", "a" + "\ufffd" * 4), (b"a\xff", "a\ufffd")],
)
async def test_what_no_keyboard_types_is_left_out(
    client: Client, sign_in: SignIn, desk: FakeDesk, sent: bytes, kept: str
) -> None:
    """NUL is no text to PostgreSQL, an escape sequence is a command to a terminal, a lone surrogate cannot be sent."""
    headers = {"X-CSRF-Token": await sign_in(), "Content-Type": "application/x-www-form-urlencoded; charset=utf-7"}

    await client.post("/desk/s-1/say", data=b"body=" + sent, headers=headers)

    assert desk.asked == [("say", "ana", SESSION, kept, None)]


async def test_an_agent_has_so_many_windows(client: Client, sign_in: SignIn) -> None:
    """One more socket is closed at once, and the page does not try again."""
    await sign_in()
    origin = {"Origin": str(client.make_url("/"))[:-1]}
    opened = [await client.ws_connect("/desk/ws", headers=origin) for _ in range(MOST_SOCKETS)]
    for each in opened:
        await each.receive(timeout=3)

    one_more = await client.ws_connect("/desk/ws", headers=origin)
    await one_more.receive(timeout=3)
    assert one_more.close_code == 1008

    for each in opened:
        await each.close()
    again = await client.ws_connect("/desk/ws", headers=origin)
    assert "presence" in (await again.receive(timeout=3)).data
    await again.close()


async def test_signing_out_closes_every_conversation(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """A conversation left open in another window shows nothing more."""
    csrf = await sign_in()
    origin = {"Origin": str(client.make_url("/"))[:-1]}
    async with client.ws_connect(
        f"/desk/{SESSION}/ws?after={desk.views[SESSION].timeline[-1].n}", headers=origin, timeout=ClientWSTimeout(ws_close=1)
    ) as window:
        await window.receive(timeout=3)
        await client.post("/sign-out", data={"csrf": csrf})
        desk.add(SESSION, "text.received", message="m-99", body="my card number is", media=[])
        seen = ""
        while not window.closed:
            seen += str((await window.receive(timeout=3)).data)

    assert window.close_code == 4401
    assert "card number" not in seen


class BehindDesk(FakeDesk):
    """Ends every subscription at once."""

    def subscribe(self, agent: str) -> "_Nothing":  # type: ignore[override]
        """See `Desk.subscribe`."""
        assert agent == ANA.id
        return _Nothing()


class _Nothing:
    async def __aenter__(self) -> AsyncIterator[DeskUpdate]:
        return _nothing()

    async def __aexit__(self, *_: object) -> None:
        pass


async def _nothing() -> AsyncIterator[DeskUpdate]:
    nothing: tuple[DeskUpdate, ...] = ()
    for update in nothing:
        yield update


async def test_a_page_that_could_not_follow_comes_back(tmp_path: Path) -> None:
    """Its socket is closed with a code (RFC 6455: 1013) upon which the page connects again and reads everything."""
    app = make_app(BehindDesk(0.0), FakeIntake(), FakeRecords(), None, WebConfig(prompts=tmp_path), registry=CollectorRegistry())
    async with TestClient(TestServer(app), cookie_jar=CookieJar(unsafe=True)) as client:
        data = {"login": "ana", "password": "correct horse", "token": await form_token(client)}
        await client.post("/sign-in", data=data)
        for path in ("/desk/ws", f"/desk/{SESSION}/ws"):
            async with client.ws_connect(path, headers={"Origin": str(client.make_url("/"))[:-1]}) as window:
                while not window.closed:
                    await window.receive(timeout=3)
            assert window.close_code == 1013


@pytest.mark.parametrize(
    ("headers", "open_to_all", "status"),
    [
        ({}, False, 200),
        ({"Host": "localhost:8080"}, False, 200),
        ({"Host": "[::1]:8080"}, False, 200),
        ({"Host": "evil.example:8080"}, False, 404),
        ({"Host": "127.0.0.1.evil.example"}, False, 404),
        ({"Host": "["}, False, 404),
        ({"X-Forwarded-For": "203.0.113.5"}, False, 404),
        ({"Forwarded": "for=203.0.113.5"}, False, 404),
        ({"Host": "bridge.example", "X-Forwarded-For": "203.0.113.5"}, True, 200),
    ],
)
async def test_the_phone_is_for_this_machine(tmp_path: Path, headers: dict[str, str], open_to_all: bool, status: int) -> None:
    """A site that gives its own name our address (DNS rebinding) finds nothing, nor does who comes through a proxy."""

    async def nobody(_event: object) -> None:
        """Takes no call."""

    calls = LoopbackCallProvider(nobody, tmp_path)
    line = PhoneLine(calls=calls, texts=None, sms_provider="x", my_number="+15550100123", our_numbers=())
    config = WebConfig(prompts=tmp_path, phone_for_everybody=open_to_all)
    app = make_app(FakeDesk(0.0), FakeIntake(), FakeRecords(), line, config, registry=CollectorRegistry())
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/phone", headers=headers)).status == status
        if status == 404:
            assert (await client.get("/phone/ws", headers=headers)).status == 404
            assert (await client.get("/phone/media/x", headers=headers)).status == 404


async def test_invented_methods_are_one_label(client: Client) -> None:
    """Who sends ever new ones must not fill the memory with counters."""
    for number in range(5):
        await client.request(f"XYZ{number}", "/healthz")

    assert "XYZ" not in await (await client.get("/metrics")).text()


@pytest.mark.parametrize(
    "path",
    [
        "/static/..%2f..%2f..%2fsettings.py",
        "/static/../templates/desk.html",
        "/prompts/..%2f..%2fetc/passwd",
        "/prompts/%2e%2e/%2e%2e/secret",
        "/prompts/%00",
        "/media/..%2f..%2fsidetone.db",
        "/media/%2e%2e",
        "/phone/media/..%2f..%2fx",
        "/desk/%00",
        "/desk/..%2f..%2f",
    ],
)
async def test_no_path_leads_out_of_its_folder(client: Client, sign_in: SignIn, path: str) -> None:
    """Neither to other files nor to an error of ours."""
    await sign_in()
    host, port = client.make_url("/").host, client.make_url("/").port
    cookie = next(morsel.value for morsel in client.session.cookie_jar if morsel.key == "sidetone_desk")
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nCookie: sidetone_desk={cookie}\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 3)
    writer.close()
    await writer.wait_closed()

    status = int(answer.split()[1])
    assert status in {400, 403, 404} or (status == 200 and b"not yours" in answer)


async def test_a_body_that_dribbles_is_given_up() -> None:
    """A connection that sends a byte now and then does not keep a handler for ever."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=await http.read_capped(request, 100, patience=0.2))

    app = web.Application()
    app.router.add_post("/", handler)
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\na")
        answer = await asyncio.wait_for(reader.read(4096), 3)
        writer.close()

    assert answer.startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "rubbish", [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, b"FOO / HTTP/1.1\r\n\r\n"]
)
async def test_what_is_no_http_is_answered_and_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, rubbish: bytes
) -> None:
    """Scanners of ports leave no tracebacks behind."""
    config = WebConfig(prompts=tmp_path)
    app = make_app(FakeDesk(0.0), FakeIntake(), FakeRecords(), None, config, registry=CollectorRegistry())
    async with serving(app, "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(rubbish)
        answer = await asyncio.wait_for(reader.read(4096), 3)
        writer.close()

    assert b" 400 " in answer
    assert not [record for record in caplog.records if record.name == "aiohttp.server"]
