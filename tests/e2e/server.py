"""The real process for tests: written settings, `python -m bridge serve`, SIGKILL and SIGTERM, and an agent at its desk."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
from argon2 import PasswordHasher

from sms.testing.twilio_server import ACCOUNT_SID, AUTH_TOKEN

ROOT = Path(__file__).parents[2]
PASSWORD = "desk"
API_TOKEN = "token-of-the-tests"
NUMBER, OTHER_NUMBER = "+15550100200", "+15550100201"
"""Ours; the first is answered by agents, the second has a desk where nobody sits unless a test puts somebody there."""
STARTS_WITHIN = 120.0
_OFFER = re.compile(r'data-offer="([^/"]+)/(voice|sms)/')
_ROW = re.compile(r'data-row="([^"]+)"')


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port nobody uses at this moment."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def agent(name: str, *queues: str, max_chats: int = 50, phone: str | None = None) -> dict[str, Any]:
    """Settings of an agent who signs in with `PASSWORD`."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    return {
        "id": name,
        "name": name.capitalize(),
        "password_hash": cheap.hash(PASSWORD),
        "queues": list(queues),
        "skills": ["lang:en", "lang:fr", "lang:es", "billing", "technical"],
        "max_chats": max_chats,
        "phone": phone,
    }


def settings(folder: Path, api: str, agents: Iterable[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """Settings of a server on free ports whose texts go to the Twilio-shaped server at *api*; *more* replaces sections."""
    port = free_port()
    return {
        "brand": "Northwind",
        "data": str(folder / "data"),
        "public_url": f"http://127.0.0.1:{port}",
        "web": {"port": port, "api_tokens": [API_TOKEN], "phone_page": False},
        "sip": {"port": free_port(socket.SOCK_DGRAM)},
        "sms": {"provider": "twilio", "reconcile_after": 3.0, "reopen_window": 0, "limiter": False},
        "twilio": {"account_sid": ACCOUNT_SID, "auth_tokens": [AUTH_TOKEN], "api_base_url": api, "timeout": 2.0},
        "hours": {"support_hours": {}},
        "numbers": [
            {"number": NUMBER, "flow": "support", "desk": "support_sms"},
            {"number": OTHER_NUMBER, "desk": "later_sms"},
        ],
        "queues": [
            {"id": "support", "desk": "support_sms", "wrap_up": 1, "aht": 120, "offers": {"threshold": 60}},
            {"id": "support_sms", "channel": "sms", "wrap_up": 1, "aht": 120},
            {"id": "later_sms", "channel": "sms", "wrap_up": 1, "aht": 120},
        ],
        "agents": list(agents),
        **more,
    }


class ServerProcess:
    """`python -m bridge serve` as a child, on the same settings and data however often it dies."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.config = config
        self.database = Path(config["data"]) / "sidetone.db"
        self.url = f"http://127.0.0.1:{config['web']['port']}"
        self.sip = f"127.0.0.1:{config['sip']['port']}"
        self.log = folder / "server.log"
        self._settings = folder / "sidetone.yaml"
        self._settings.write_text(json.dumps(config))  # YAML 1.2 is a superset of JSON
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *, wait: bool = True) -> None:
        """Start it; with *wait*, return once it takes traffic."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bridge", "serve", "-c", str(self._settings), cwd=ROOT, stdout=log, stderr=log
            )
        if wait:
            await self.ready()

    async def ready(self) -> None:
        """Wait until `/readyz` answers 200.

        Raises:
            AssertionError: It ended, or took too long; with its log.
        """
        deadline = time.monotonic() + STARTS_WITHIN
        async with aiohttp.ClientSession() as http:
            while time.monotonic() < deadline:
                assert self._process is not None, "start it first"
                assert self._process.returncode is None, self.said()
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(f"{self.url}/readyz") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.03)
        raise AssertionError(f"not ready after {STARTS_WITHIN} s\n{self.said()}")

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "start it first"
        return self._process.pid

    @property
    def alive(self) -> bool:
        """It was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing when it has ended."""
        assert self._process is not None, "start it first"
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    async def kill(self) -> None:
        """SIGKILL: nothing of it runs any more when this returns."""
        self.send(signal.SIGKILL)
        await self.ended()

    async def ended(self, within: float = 30.0) -> int:
        """Wait for its end; returns the exit status."""
        assert self._process is not None, "start it first"
        return await asyncio.wait_for(self._process.wait(), within)

    def said(self, last: int = 6000) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-last:]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.alive:
            await self.kill()


class Api:
    """Reads `/api/v1`, and whatever else GET gives."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url
        self._http = http

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Self]:
        """A reader with the token of `settings`."""
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {API_TOKEN}"}) as http:
            yield cls(url, http)

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON at */api/v1* + *path*."""
        async with self._http.get(f"{self._url}/api/v1{path}") as answer:
            answer.raise_for_status()
            document: dict[str, Any] = await answer.json()
            return document

    async def sessions(self, customer: str | None = None) -> list[dict[str, Any]]:
        """The newest sessions."""
        query = "" if customer is None else f"&customer={customer.lstrip('+')}"
        return list((await self.get(f"/sessions?limit=200{query}"))["sessions"])

    async def session(self, session: str) -> dict[str, Any]:
        """One session with its timeline and texts."""
        return await self.get(f"/sessions/{session}")


class DeskClient:
    """An agent's browser without the browser: the form, the cookie, the page's websocket, the buttons."""

    def __init__(self, url: str, name: str, password: str = PASSWORD) -> None:
        self._url = url
        self.name = name
        self._password = password
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=aiohttp.ClientTimeout(total=10))
        self._csrf = ""
        self.offers: list[tuple[str, str]] = []
        """What rings: session and channel."""
        self.rows: list[str] = []
        """Sessions in the list of conversations, newest first."""
        self.blind = False
        """The websocket has ended: nothing is brought any more, even when the server is there again."""
        self.page = ""
        """The page as it was when it was last read as a whole."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    async def sign_in(self) -> None:
        """Go through the form and read the page."""
        async with self.http.get(f"{self._url}/sign-in") as answer:
            form = await answer.text()
        token = re.search(r'name="token" value="([^"]+)"', form)
        if token is not None:
            data = {"login": self.name, "password": self._password, "token": token[1], "next": "/"}
            async with self.http.post(f"{self._url}/sign-in", data=data) as answer:
                assert answer.status == 200, f"sign-in: {answer.status}"
        await self.read()

    async def read(self) -> None:
        """Read the page as a whole."""
        async with self.http.get(f"{self._url}/") as answer:
            self.page = await answer.text()
        csrf = re.search(r'"X-CSRF-Token":"([^"]+)"', self.page)
        assert csrf is not None, "not signed in"
        self._csrf = csrf[1]
        self._take(self.page)

    def _take(self, html: str) -> None:
        if 'id="offers"' in html:
            self.offers = [(session, channel) for session, channel in _OFFER.findall(html)]
        if 'id="work"' in html:
            self.rows = list(_ROW.findall(html))

    async def post(self, path: str, **data: str) -> int:
        """Press a button; returns the HTTP status."""
        headers = {"X-CSRF-Token": self._csrf, "HX-Request": "true"}
        async with self.http.post(f"{self._url}{path}", data=data, headers=headers) as answer:
            await answer.read()
            return answer.status

    async def go(self, state: str, reason: str = "") -> None:
        """Say whether work may come."""
        assert await self.post("/desk/state", state=state, reason=reason) == 200

    async def accept(self, session: str, channel: str) -> int:
        """Take what rings."""
        return await self.post("/desk/accept", offer=f"{session}/{channel}")

    async def say(self, session: str, body: str) -> int:
        """Text the customer."""
        return await self.post(f"/desk/{session}/say", body=body)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[asyncio.Event]:
        """The page's own websocket, open while the block runs; the event is set whenever it has brought something."""
        news = asyncio.Event()
        async with self.http.ws_connect(f"{self._url}/desk/ws", headers={"Origin": self._url}) as socket:

            async def listen() -> None:
                async for message in socket:
                    self._take(str(message.data))
                    news.set()
                self.blind = True
                news.set()

            listening = asyncio.create_task(listen())
            try:
                yield news
            finally:
                listening.cancel()
