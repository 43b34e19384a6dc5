"""The API on a real journal, with a channel that writes down what it is asked."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from bridge.channel import Sent
from bridge.crm.book import Book
from bridge.crm.csv_import import CsvImports
from bridge.crm.imports import NodesImports
from bridge.events import MessageId, ProviderRef, Purpose, SessionId
from bridge.journal import Journal, MessageRow, OutboxRow, SessionRow, TimelineLine, Unit
from bridge.media_store import MediaStore
from bridge.settings import Settings
from bridge.web.api import Api, Behind
from bridge.web.api.callbacks import CannotCallError
from bridge.web.ports_contacts import ContactParts
from bridge.web.ports_reports import Reporting
from sms.consent import Verdict
from tests.unit.web.fake_cards import FakeCards
from tests.unit.web.fake_waits import FakeWaits
from tests.unit.web.fakes import FakeRecords

NOW = 1_800_000_000.0
OURS, THEIRS = "+15550100200", "+15550100123"
ADMIN = "administrator-token"
TOKENS = {
    "shop": "shop-token-0123456789",
    "reader": "reader-token-0123456789",
    "slow": "slow-token-0123456789",
    "planner": "planner-token-0123456789",
    "branch": "branch-token-0123456789",
    "caller": "caller-token-0123456789",
    "elsewhere": "elsewhere-token-0123456789",
}


def settings(folder: Path) -> Settings:
    """Keys of several kinds, two numbers, two queues, one agent."""
    spec: dict[str, Any] = {
        "brand": "Example",
        "data": folder,
        "web": {"api_tokens": [ADMIN]},
        "api": {
            "keys": [
                {"name": "shop", "token": TOKENS["shop"], "scopes": ["sms.send", "sms.read", "contacts", "consents", "erase"]},
                {"name": "reader", "token": TOKENS["reader"], "scopes": ["sessions.read", "ewt.read", "reports.read", "hooks"]},
                {"name": "planner", "token": TOKENS["planner"], "scopes": ["ewt.read", "ewt.write"]},
                {"name": "slow", "token": TOKENS["slow"], "scopes": ["ewt.read"], "per_second": 0.2},
                {"name": "branch", "token": TOKENS["branch"], "scopes": ["sms.send", "sms.read"], "numbers": [OURS]},
                {"name": "caller", "token": TOKENS["caller"], "scopes": ["calls"]},
                {"name": "elsewhere", "token": TOKENS["elsewhere"], "scopes": ["calls"], "numbers": ["+15550100201"]},
            ]
        },
        "sms": {"blocked": ["+15550100666"]},
        "numbers": [
            {"number": OURS, "flow": "support", "desk": "support_sms", "sender": {"brand": "BEXAMPLE", "per_day": 2000}},
            {"number": "+15550100201", "desk": "support_sms", "sender": {"registered": False}},
        ],
        "queues": [{"id": "support"}, {"id": "support_sms", "channel": "sms"}],
        "agents": [{"id": "ana", "name": "Ana", "queues": ["support_sms"]}],
    }
    return Settings(**spec)


class FakeChannel:
    """Takes every text unless told to refuse, and leaves it in the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.refusal: Exception | None = None
        self.verdict = Verdict(allowed=True, reason="allowed")
        self.left: int | None = 1500

    async def send(self, author: str, recipient: str, sender: str, body: str, **wishes: Any) -> Sent:
        """Write it down."""
        return await self._take("send", author, recipient, sender, body, SessionId("s-1"), **wishes)

    async def send_sessionless(self, author: str, recipient: str, sender: str, body: str, **wishes: Any) -> Sent:
        """Write it down."""
        sent = await self._take("sessionless", author, recipient, sender, body, None, **wishes)
        return msgspec.structs.replace(sent, missing=("brand", "stop"))

    async def _take(
        self, what: str, author: str, recipient: str, sender: str, body: str, session: SessionId | None, **wishes: Any
    ) -> Sent:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append((what, {"author": author, "to": recipient, "from": sender, "body": body, **wishes}))
        message = MessageId(f"api-{len(self.asked)}")
        due = wishes["due_at"] or NOW
        await self._journal.commit(
            Unit(
                messages=[text(message, recipient=recipient, sender=sender, body=body, author=author)],
                outbox=[
                    OutboxRow(message=message, priority=3, created_at=NOW, due_at=due, expires_at=wishes["expires_at"]),
                ],
            )
        )
        return Sent(message=message, session=session, state="pending", due_at=due)

    async def cancel(self, message: MessageId) -> bool:
        """As the real one does."""
        return await self._journal.cancel_scheduled(message, NOW)

    async def may_text(self, number: str, sender: str, purpose: Purpose) -> Verdict:
        """What the test wants."""
        self.asked.append(("may_text", {"to": number, "from": sender, "purpose": purpose}))
        return self.verdict

    async def opt_out(self, number: str, sender: str | None, evidence: str) -> None:
        """Write it down."""
        self.asked.append(("opt_out", {"number": number, "sender": sender, "evidence": evidence}))

    async def opt_in(self, number: str, sender: str | None, evidence: str) -> None:
        """Write it down."""
        self.asked.append(("opt_in", {"number": number, "sender": sender, "evidence": evidence}))

    def left_today(self, number: str) -> int | None:
        """Of the first number."""
        return self.left if number == OURS else None


class FakeCalling:
    """Keeps the callbacks that were asked for, and refuses the customers it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.refusal: CannotCallError | None = None

    async def ask_callback(
        self, author: str, number: str, sender: str, queue: str | None, due_at: float | None, reason: str
    ) -> str:
        """Note it."""
        if self.refusal is not None:
            raise self.refusal
        self.asked.append((author, number, sender, queue, due_at, reason))
        return "s-callback"


class Programs:
    """Programs that use the API."""

    def __init__(
        self,
        client: TestClient[web.Request, web.Application],
        journal: Journal,
        channel: FakeChannel,
        media: MediaStore,
        api: Api,
        waits: FakeWaits,
    ) -> None:
        self.calling = FakeCalling()
        self._client = client
        self.journal = journal
        self.channel = channel
        self.media = media
        self.api = api
        self.waits = waits
        self.clock = NOW
        self.redelivered: list[int] = []
        self.forgotten: list[str] = []

    async def ask(self, method: str, path: str, body: Any = None, *, key: str | None = "shop", **headers: str) -> ClientResponse:
        """One request; underscores of *headers* stand for hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["Authorization"] = f"Bearer {TOKENS.get(key, ADMIN)}"
        if isinstance(body, bytes | str):
            return await self._client.request(method, f"/api/v1{path}", data=body, headers=sent)
        return await self._client.request(method, f"/api/v1{path}", json=body, headers=sent)

    async def problem(self, answer: ClientResponse) -> dict[str, Any]:
        """The problem document of an answer, which has to be one; `kind` is the last part of its type."""
        assert answer.content_type == "application/problem+json", await answer.text()
        document: dict[str, Any] = await answer.json()
        assert document["status"] == answer.status
        return document | {"kind": document["type"].rpartition("/")[2]}


@asynccontextmanager
async def programs(folder: Path, *, reporting: Callable[[Journal], Reporting] | None = None) -> AsyncIterator[Programs]:
    """The API, served. *reporting*: makes who makes reports; None: there are none."""
    async with Journal.open(f"sqlite:///{folder}/journal.db") as journal:
        channel, media, waits = FakeChannel(journal), MediaStore(folder / "media"), FakeWaits()
        here: list[Programs] = []

        async def redeliver(n: int, _now: float) -> bool:
            here[0].redelivered.append(n)
            return n == 7

        async def forget_mails(sessions: tuple[str, ...]) -> int:
            here[0].forgotten += sessions
            return len(sessions)

        clock: Callable[[], float] = lambda: here[0].clock  # noqa: E731  # the clock is the test's
        book = Book(journal, clock=clock, region="US")
        imports = NodesImports(CsvImports(journal, folder / "imports", clock=clock, region="US"))
        calling = FakeCalling()
        api = Api(
            Behind(
                settings=settings(folder),
                records=FakeRecords(),
                journal=journal,
                channel=channel,
                media=media,
                waits=waits,
                redeliver=redeliver,
                forget_mails=forget_mails,
                now=clock,
                contacts=ContactParts(book, FakeCards(), imports),
                reporting=None if reporting is None else reporting(journal),
            ),
            calling,
        )
        app = web.Application()
        app.add_routes(api.routes())
        async with TestClient(TestServer(app)) as client:
            here.append(Programs(client, journal, channel, media, api, waits))
            here[0].calling = calling
            yield here[0]
        await imports.close()


def text(message: str, **changes: Any) -> MessageRow:
    """An outbound text of the shop's."""
    spec: dict[str, Any] = {
        "id": MessageId(message),
        "session": None,
        "direction": "out",
        "provider": "loopback",
        "sender": OURS,
        "recipient": THEIRS,
        "body": "Hello",
        "state": "pending",
        "purpose": "care",
        "author": "api:shop",
        "created_at": NOW,
    }
    return MessageRow(**(spec | changes))


def received(message: str, body: str, **changes: Any) -> MessageRow:
    """A text of the customer's."""
    spec: dict[str, Any] = {
        "direction": "in",
        "provider_ref": ProviderRef(f"ref-{message}"),
        "sender": THEIRS,
        "recipient": OURS,
        "body": body,
        "state": "received",
        "purpose": None,
        "author": "customer",
    }
    return text(message, **(spec | changes))


def session(name: str, *lines: TimelineLine, **changes: Any) -> Unit:
    """A session of the customer's with these lines."""
    spec: dict[str, Any] = {
        "state": "closed",
        "customer": THEIRS,
        "our_number": OURS,
        "language": "en",
        "opened_at": NOW,
        "closed_at": NOW + 60,
        "ended_reason": "agent",
    }
    row = SessionRow(**(spec | changes))
    return Unit(session=SessionId(name), snapshot=b"{}", row=row, events=[(NOW, b"{}")], timeline=list(lines))
