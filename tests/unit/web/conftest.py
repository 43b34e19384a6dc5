"""A running web side on the fakes, and a browser-like client for it."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from bridge.telephony.loopback import LoopbackCallProvider
from bridge.web.console.phone import PhoneLine
from bridge.web.server import TwilioConfig, WebConfig, make_app
from sms.providers.loopback import LoopbackNetwork
from tests.unit.web.fakes import FakeCalls, FakeDesk, FakeIntake, FakeRecords
from tests.unit.web.programs import Programs, programs

NOW = 1_800_000_000.0
TOKEN = "twilio-token"
ACCOUNT = "AC" + "0" * 32
SECOND_ACCOUNT = "AC" + "6" * 32
PUBLIC_URL = "https://calls.example"
Client = TestClient[aiohttp.web.Request, aiohttp.web.Application]


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk() -> FakeDesk:
    return FakeDesk(NOW)


@pytest.fixture
def intake() -> FakeIntake:
    return FakeIntake()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds a recording."""
    (tmp_path / "hello.wav").write_bytes(b"RIFF")
    return tmp_path


@pytest.fixture
def records() -> FakeRecords:
    return FakeRecords()


@pytest.fixture
def network() -> LoopbackNetwork:
    return LoopbackNetwork(delay=0.0)


@pytest.fixture
async def calls(folder: Path) -> AsyncIterator[FakeCalls]:
    """Whoever answers the phone page's calls."""
    answering = FakeCalls()
    provider = LoopbackCallProvider(answering.take, folder, captions=lambda _path: "Hello", greetings={})
    answering.provider = provider
    async with provider:
        yield answering


@pytest.fixture
async def client(
    desk: FakeDesk,
    intake: FakeIntake,
    records: FakeRecords,
    folder: Path,
    calls: FakeCalls,
    network: LoopbackNetwork,
    clock: Clock,
) -> AsyncIterator[Client]:
    line = PhoneLine(
        calls=calls.provider,
        texts=network,
        sms_provider="loopback",
        my_number="+15550100123",
        our_numbers=("+15550100200",),
    )
    config = WebConfig(
        prompts=folder,
        public_url=PUBLIC_URL,
        twilio=TwilioConfig(
            auth_tokens=("old-token", TOKEN), accounts=frozenset({ACCOUNT, SECOND_ACCOUNT}), marks={SECOND_ACCOUNT: "2:"}
        ),
    )
    app = make_app(desk, intake, records, line, config, registry=CollectorRegistry(), now=clock)
    async with TestClient(TestServer(app), cookie_jar=aiohttp.CookieJar(unsafe=True)) as the_client:
        yield the_client


SignIn = Callable[..., Awaitable[str]]


@pytest.fixture
def sign_in(client: Client) -> SignIn:
    """Signs somebody in and gives the CSRF token of the desk."""

    async def enter(login: str = "ana", password: str = "correct horse") -> str:
        form = await (await client.get("/sign-in")).text()
        token = _found(r'name="token" value="([^"]+)"', form)
        answer = await client.post("/sign-in", data={"login": login, "password": password, "token": token})
        return _found(r'X-CSRF-Token":"([^"]+)"', await answer.text())

    return enter


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, text[:400]
    return match[1]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Programs]:
    """Programs that use the API on a journal of their own."""
    async with programs(tmp_path) as the_programs:
        yield the_programs
