"""Who may use which route of the whole server, as it is put together: a new route has to say it, or this fails."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from argon2 import PasswordHasher

from bridge.app import Running, running
from bridge.settings import Settings
from bridge.web.access import Right, rights_of
from tests.e2e.server import free_port

PASSWORD = "a long one for everybody"
ROLES = ("agent", "supervisor", "engineer", "admin")
FOR_ALL = {
    "/healthz", "/readyz", "/metrics", "/sign-in", "/sign-out", "/language", "/static", "/prompts", "/phone", "/phone/ws",
    "/api/v1/openapi.json", "/api/v1/problems/{name}", "/api/v1/crm/schemas/{name}",
}  # fmt: skip
"""Routes that ask nobody who they are (the engineer's phone asks from which machine one comes)."""
BY_SECRET = {
    "/password/{secret}",
    "/u/{name}",
    "/media/{token}",
    "/twilio/voice",
    "/twilio/voice/status",
    "/twilio/sms",
    "/twilio/sms/status",
}
"""Routes that believe an address or a signature; `test_attacks_routes.py` tries them."""
FOR_EVERYBODY_SIGNED_IN = {"/account", "/account/password", "/account/preferences", "/account/sign-out-others"}
"""What is about nobody but who is signed in."""


def _settings(folder: Path) -> Settings:
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    people = [{"id": role, "name": role.capitalize(), "roles": [role], "password_hash": hasher.hash(PASSWORD)} for role in ROLES]
    for person in people[:1]:
        person["queues"] = ["support", "support_sms"]
    spec: dict[str, Any] = {
        "data": folder / "data",
        "log_level": "error",
        "web": {"port": free_port(), "api_tokens": ["token-of-the-tests"]},
        "sip": {"enabled": False},
        "hours": {"support_hours": {}},
        "numbers": [{"number": "+15550100200", "flow": "support", "desk": "support_sms"}],
        "queues": [{"id": "support", "desk": "support_sms"}, {"id": "support_sms", "channel": "sms"}],
        "agents": people,
    }
    return Settings(**spec)


class House:
    """The server, and what its routes say of themselves."""

    def __init__(self, server: Running) -> None:
        self.server = server

    def routes(self) -> list[tuple[str, str, Right | None]]:
        """Method, pattern of the path, and the right that is asked for; None: the route says none."""
        return sorted(
            (route.method, route.resource.canonical, getattr(route.handler, "right", None))
            for route in self.server.web_app.router.routes()
            if route.resource is not None and route.method != "HEAD"
        )

    def guarded(self) -> list[tuple[str, str, Right]]:
        """Those that say a right."""
        return [(method, path, right) for method, path, right in self.routes() if right is not None]

    @asynccontextmanager
    async def as_(self, role: str) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
        """Somebody who is signed in, with the token of their pages."""
        async with aiohttp.ClientSession(self.server.web_url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
            form = await (await client.get("/sign-in")).text()
            token = form.split('name="token" value="')[1].split('"')[0]
            answer = await client.post("/sign-in", data={"login": role, "password": PASSWORD, "token": token})
            page = await answer.text()
            assert answer.status == 200, (role, answer.url, page[:400])
            yield client, page.split('name="csrf" value="')[1].split('"')[0]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with running(_settings(tmp_path)) as server:
        yield House(server)


def _filled(path: str) -> str:
    """A path as a request has it, about something that does not exist."""
    return "/".join("none" if part.startswith("{") else part for part in path.split("/"))


def _is_socket(path: str) -> bool:
    """A websocket answers by closing with a code of its own; `test_desk.py` and its like try those."""
    return path.endswith("/ws")


async def test_every_route_says_who_may_use_it(house: House) -> None:
    """A page or an action of the console names a right; what does not is in one of the lists above, with its reason."""
    for method, path, right in house.routes():
        if path.startswith("/api/v1") or path in FOR_ALL | BY_SECRET | FOR_EVERYBODY_SIGNED_IN | {"/"}:
            continue
        assert right is not None or _is_socket(path) or "/media/" in path, f"nobody has said who may use {method} {path}"


async def test_strangers_are_led_to_the_form_and_told_nothing(house: House) -> None:
    """Without a sign-in no page shows anything and no action does anything."""
    async with aiohttp.ClientSession(house.server.web_url) as client:
        own = [(method, path) for method, path, _ in house.routes() if path in FOR_EVERYBODY_SIGNED_IN | {"/"}]
        for method, path in [*own, *((method, path) for method, path, _ in house.guarded())]:
            if _is_socket(path):
                continue
            async with client.request(method, _filled(path), allow_redirects=False) as answer:
                assert (answer.status, answer.headers.get("Location", "")[:8]) == (303, "/sign-in"), (method, path)


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_opens_what_its_rights_say_and_nothing_else(house: House, role: str) -> None:
    """Each role at each route: refused with 403 where the right is missing, and not refused where it is there."""
    rights = rights_of([role])
    async with house.as_(role) as (client, csrf):
        for method, path, right in house.guarded():
            if _is_socket(path):
                continue
            headers = {} if method == "GET" else {"X-CSRF-Token": csrf, "HX-Request": "true"}
            async with client.request(method, _filled(path), headers=headers, allow_redirects=False) as answer:
                where = f"{role}: {method} {path} asks for {right}, status {answer.status}"
                assert answer.status < 500, where
                assert (answer.status == 403) == (right not in rights), where


@pytest.mark.parametrize("role", ROLES)
async def test_no_action_without_the_token_of_the_page(house: House, role: str) -> None:
    """Another site's form brings the cookie at most: every POST, PUT and DELETE is refused, whatever the role."""
    async with house.as_(role) as (client, _):
        for method, path, right in house.routes():
            if method == "GET" or _is_socket(path) or (right is None and path not in FOR_EVERYBODY_SIGNED_IN):
                continue
            for headers in ({}, {"X-CSRF-Token": "x" * 43}):
                async with client.request(method, _filled(path), headers=headers, data={"csrf": "x"}) as answer:
                    assert answer.status == 403, f"{role}: {method} {path} answered {answer.status}"
