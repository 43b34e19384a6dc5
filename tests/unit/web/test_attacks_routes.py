"""What strangers, weak keys and curious agents get from each route there is; a new route has to be thought of here."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

import pytest
from aiohttp import CookieJar
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from bridge.crm.book import Book
from bridge.crm.csv_import import CsvImports
from bridge.crm.imports import NodesImports
from bridge.journal import Journal
from bridge.media_links import MediaLinks
from bridge.media_store import MediaStore
from bridge.uploads import Uploads
from bridge.web.api import Api, Behind
from bridge.web.ports_contacts import ContactParts
from bridge.web.server import TwilioConfig, WebConfig, make_app
from tests.unit.web.conftest import Client
from tests.unit.web.fake_cards import FakeCards
from tests.unit.web.fake_waits import FakeWaits
from tests.unit.web.fakes import SESSION, FakeDesk, FakeIntake, FakeRecords
from tests.unit.web.programs import ADMIN, NOW, TOKENS, FakeChannel, settings
from tests.unit.web.test_sign_in import form_token

FOR_ALL = {
    "/healthz", "/readyz", "/metrics", "/sign-in", "/sign-out", "/language", "/static/{filename}", "/prompts/{filename}",
    "/api/v1/openapi.json", "/api/v1/problems/{name}", "/api/v1/crm/schemas/{name}",
}  # fmt: skip
"""Routes that ask nobody who they are. What a signature guards is not among them."""
BY_SECRET = {
    "/u/{name}": HTTPStatus.NOT_FOUND,
    "/media/{token}": HTTPStatus.NOT_FOUND,
    "/twilio/voice": HTTPStatus.FORBIDDEN,
    "/twilio/sms": HTTPStatus.FORBIDDEN,
    "/twilio/sms/status": HTTPStatus.FORBIDDEN,
}
"""Routes that believe an address or a signature, and what they say to one that somebody made up."""


class Everything:
    """The whole web side, with all there may be switched on."""

    def __init__(self, client: Client, desk: FakeDesk, channel: FakeChannel, intake: FakeIntake) -> None:
        self.client = client
        self.desk = desk
        self.channel = channel
        self.intake = intake

    def routes(self) -> list[tuple[str, str]]:
        """Each method with the pattern of its path."""
        app = self.client.app
        assert app is not None
        found = {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource is not None}
        return sorted((method, path + ("/{filename}" if path in {"/static", "/prompts"} else "")) for method, path in found)

    async def ask(self, method: str, path: str, **headers: str) -> tuple[int, str, str]:
        """Status, what is led to, and the body."""
        for part, value in (("{session}", SESSION), ("{token}", "A" * 44), ("{name}", "A" * 24)):
            path = path.replace(part, value)
        path = "/".join("x" if part.startswith("{") else part for part in path.split("/"))
        verb = "GET" if method == "*" else method
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.request(verb, path, headers=sent, allow_redirects=False) as answer:
            where = answer.headers.get("Location") or answer.headers.get("HX-Redirect") or ""
            return answer.status, where, await answer.text()


@pytest.fixture
async def everything(tmp_path: Path) -> AsyncIterator[Everything]:
    async with Journal.open(f"sqlite:///{tmp_path}/journal.db") as journal:
        desk, channel, intake = FakeDesk(NOW), FakeChannel(journal), FakeIntake()
        media = MediaStore(tmp_path / "media")

        async def no(*_: object) -> bool:
            return False

        async def none(*_: object) -> int:
            return 0

        async def nobody(*_: object) -> None:
            """Takes no files."""

        book = Book(journal, clock=lambda: NOW, region="US")
        behind = Behind(
            settings=settings(tmp_path),
            records=FakeRecords(),
            journal=journal,
            channel=channel,
            media=media,
            waits=FakeWaits(),
            redeliver=no,
            forget_mails=none,
            now=lambda: NOW,
            contacts=ContactParts(
                book, FakeCards(), NodesImports(CsvImports(journal, tmp_path / "imports", clock=lambda: NOW, region="US"))
            ),
        )
        app = make_app(
            desk,
            intake,
            FakeRecords(),
            None,
            WebConfig(
                prompts=tmp_path,
                public_url="https://calls.example",
                twilio=TwilioConfig(auth_tokens=("a-token",), accounts=frozenset({"AC0"})),
            ),
            registry=CollectorRegistry(),
            now=lambda: NOW,
            api=Api(behind),
            uploads=Uploads(journal, media, nobody, public_url="https://calls.example", spool=tmp_path / "spool"),
            shared=(MediaLinks(bytes(32), "https://calls.example"), media),
        )
        async with TestClient(TestServer(app), cookie_jar=CookieJar(unsafe=True)) as client:
            yield Everything(client, desk, channel, intake)


def of_agents(routes: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The desk's."""
    return [(method, path) for method, path in routes if path == "/" or path.startswith("/desk")]


async def test_every_route_asks_who_comes(everything: Everything) -> None:
    """Strangers are sent to the sign-in, or told nothing; nobody is asked to do anything for them."""
    for method, path in everything.routes():
        status, where, body = await everything.ask(method, path, HX_Request="true")
        if path in FOR_ALL:
            continue
        if path in BY_SECRET:
            assert status == BY_SECRET[path], (method, path, body)
        elif path.startswith("/api/v1"):
            assert status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND}, (method, path)
            assert method == "HEAD" or "unauthorized" in body or "not_found" in body
        elif (method, path) in of_agents(everything.routes()):
            refused = status in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND} or where.startswith("/sign-in")
            assert refused, (method, path, status, body[:200])
            assert "5550100" not in body
        else:
            pytest.fail(f"nobody has said who may use {method} {path}")
    assert (everything.desk.asked, everything.channel.asked, everything.intake.texts) == ([], [], [])


async def test_no_action_of_an_agent_without_the_token_of_their_page(everything: Everything) -> None:
    """Every POST of the desk, those that come to be in a year as well; GET changes nothing, so it needs none."""
    client = everything.client
    await client.post("/sign-in", data={"login": "ana", "password": "correct horse", "token": await form_token(client)})
    everything.desk.asked.clear()
    posts = [path for method, path in of_agents(everything.routes()) if method == "POST"]
    assert len(posts) > 15
    for path in posts:
        status, _, _ = await everything.ask("POST", path, X_CSRF_Token="x" * 43)
        assert status == HTTPStatus.FORBIDDEN, path
    assert everything.desk.asked == []


@pytest.mark.parametrize("key", ["reader", "branch", "shop"])
async def test_a_key_does_what_its_scopes_say(everything: Everything, key: str, tmp_path: Path) -> None:
    """Every operation names a scope, and who does not have it is refused before anything is read or done."""
    known = next(each for each in settings(tmp_path).api.keys if each.name == key)
    description = await (await everything.client.get("/api/v1/openapi.json")).json()
    scopes = {
        (method.upper(), f"/api/v1{path.removeprefix('/api/v1')}"): operation["description"]
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
        if isinstance(operation, dict) and "description" in operation
    }
    assert scopes
    for (method, path), words in scopes.items():
        status, _, body = await everything.ask(method, path, Authorization=f"Bearer {TOKENS[key]}")
        if not any(scope in words for scope in known.scopes):
            assert (status, '/scope"' in body) == (HTTPStatus.FORBIDDEN, True), (method, path, body)
    assert everything.channel.asked == []


@pytest.mark.parametrize(
    "header",
    [
        f"bearer{ADMIN}", f"Basic {ADMIN}", f"Bearer {ADMIN}x", f"Bearer {ADMIN[:-1]}", "Bearer", "Bearer ",
        f"Bearer {ADMIN} {ADMIN}",         "Bearer " + "x" * 8000, f"Bearer {ADMIN.upper()}",
    ],
)  # fmt: skip
async def test_only_the_very_token_opens(everything: Everything, header: str) -> None:
    """Nothing like it, nothing beside it."""
    status, _, _ = await everything.ask("GET", "/api/v1/sms", Authorization=header)

    assert status == HTTPStatus.UNAUTHORIZED


async def test_no_route_believes_another_method(everything: Everything) -> None:
    """A form cannot reach what the page's script does, and what reads is not made to write."""
    for method, path in everything.routes():
        if path.startswith("/desk") and method == "POST" and ("GET", path) not in everything.routes():
            status, _, _ = await everything.ask("GET", path)
            assert status in {HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.SEE_OTHER, HTTPStatus.NOT_FOUND}, path
    assert everything.desk.asked == []
