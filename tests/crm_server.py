"""A small CRM behind the webhook contract, as somebody would write it from `docs/crm.md`; it checks what it is sent."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import jsonschema
from aiohttp import web

from bridge.crm.webhook import schema
from bridge.notices import verify

SECRET = "between the two of us"


class TinyCrm:
    """Contacts and records in memory.

    Args:
        clock: Seconds since the epoch, for the age of signatures.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.contacts: dict[str, dict[str, Any]] = {}
        self.records: dict[str, dict[str, Any]] = {}
        """By session."""
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.answers: list[tuple[int, dict[str, Any], dict[str, str]]] = []
        """What is answered instead, one after the other: status, body, headers."""
        self.gate = asyncio.Event()
        self.gate.set()
        self._done: dict[str, dict[str, Any]] = {}
        self.url = ""

    def add(self, **fields: Any) -> str:
        """Somebody typed a contact in."""
        contact = f"crm-{len(self.contacts) + 1}"
        self.contacts[contact] = {"id": contact, "created_at": 1000.0 + len(self.contacts), **fields}
        return contact

    async def handle(self, request: web.Request) -> web.Response:
        """One request."""
        body = await request.read()
        if not verify(body, request.headers, SECRET, self._clock()):
            return web.json_response({"detail": "wrong signature"}, status=401)
        asked = json.loads(body)
        jsonschema.validate(asked, schema(asked["action"]))
        self.asked.append(asked)
        key = request.headers.get("Idempotency-Key")
        self.keys.append(key)
        await self.gate.wait()
        if self.answers:
            status, said, headers = self.answers.pop(0)
            return web.json_response(said, status=status, headers=headers)
        if key is not None and key in self._done:
            return web.json_response(self._done[key])
        status, answer = self._do(asked)
        if status == 200:
            jsonschema.validate(answer, schema(f"{asked['action']}-answer"))
            if key is not None:
                self._done[key] = answer
        return web.json_response(answer, status=status)

    def _do(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        match asked["action"]:
            case "lookup":
                found = [each for each in self.contacts.values() if asked["number"] in each.get("phones", ())]
                return 200, {"contacts": found}
            case "create":
                contact = self.add(**{name: value for name, value in asked["fields"].items() if value})
                return 200, {"contact": self.contacts[contact]}
            case "update" if asked["contact"] in self.contacts:
                known = self.contacts[asked["contact"]]
                for name, value in asked["fields"].items():
                    if isinstance(value, list):
                        known[name] = list(dict.fromkeys([*known.get(name, []), *value]))
                    elif isinstance(value, dict):
                        known[name] = {**known.get(name, {}), **value}
                    elif value is not None:
                        known[name] = value
                return 200, {"contact": known}
            case "record" if asked["record"]["contact"] in {None, *self.contacts}:
                session = asked["record"]["session"]
                self.records[session] = asked["record"]
                return 200, {"ref": {"id": f"note-{session}", "url": f"https://crm.example/notes/{session}"}}
            case _:
                fault = {"field": "contact", "detail": "not found"}
                return 422, {"detail": "There is no such contact.", "errors": [fault]}


@asynccontextmanager
async def tiny_crm(clock: Callable[[], float]) -> AsyncIterator[TinyCrm]:
    """A running one."""
    crm = TinyCrm(clock)
    app = web.Application()
    app.router.add_post("/crm", crm.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        crm.url = f"http://127.0.0.1:{runner.addresses[0][1]}/crm"
        yield crm
    finally:
        crm.gate.set()
        await runner.cleanup()
