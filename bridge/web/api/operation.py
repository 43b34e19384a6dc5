"""What an operation of the API is, what it is given, and what stands behind all of them."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Literal, Protocol, TypeAlias

import msgspec
from pydantic import BaseModel

from bridge.channel import Sent
from bridge.events import Media, MessageId, Purpose
from bridge.journal import Journal
from bridge.media_store import Kept, Missing
from bridge.settings import Scope, Settings
from bridge.web.api.keys import Key
from bridge.web.api.models import Request
from bridge.web.api.problems import ProblemError
from bridge.web.ports import Records
from bridge.web.ports_contacts import ContactParts
from bridge.web.ports_ewt import Waits
from bridge.web.ports_reports import Reporting
from sms.consent import Verdict
from sms.numbers import look_up


class Texting(Protocol):
    """Who sends texts: `bridge.channel.Channel`, and a fake in tests. What it refuses it says by `ChannelRefusedError`."""

    async def send(
        self,
        author: str,
        recipient: str,
        sender: str,
        body: str,
        *,
        purpose: Purpose = "care",
        media: tuple[Media, ...] = (),
        queue: str | None = None,
        agent: str | None = None,
        due_at: float | None = None,
        expires_at: float | None = None,
        ticket: str | None = None,
        once: str | None = None,
    ) -> Sent:
        """Text a customer; an answer reaches an agent."""

    async def send_sessionless(
        self,
        author: str,
        recipient: str,
        sender: str,
        body: str,
        *,
        purpose: Purpose = "care",
        media: tuple[Media, ...] = (),
        due_at: float | None = None,
        expires_at: float | None = None,
        once: str | None = None,
    ) -> Sent:
        """Text a customer without a conversation."""

    async def cancel(self, message: MessageId) -> bool:
        """Never send a text that waits for its time."""

    async def may_text(self, number: str, sender: str, purpose: Purpose) -> Verdict:
        """Whether a number may be texted now."""

    async def opt_out(self, number: str, sender: str | None, evidence: str) -> None:
        """No more texts to a number."""

    async def opt_in(self, number: str, sender: str | None, evidence: str) -> None:
        """A number wants texts again."""

    def left_today(self, number: str) -> int | None:
        """Segments that a number of ours may still send today."""


class Files(Protocol):
    """Who keeps pictures: `bridge.media_store.MediaStore`."""

    max_bytes: int

    async def put(self, data: bytes) -> Media:
        """Keep a file; raises MediaRefusedError."""

    async def find(self, digest: str) -> Kept | Missing:
        """What may be shown of a file."""

    async def delete(self, digest: str) -> None:
        """Have nothing of it any more."""


class Behind(msgspec.Struct, kw_only=True):
    """Everything the operations use."""

    settings: Settings
    """Those that hold; they may become others."""
    records: Records
    journal: Journal
    channel: Texting
    media: Files
    waits: Waits
    redeliver: Callable[[int, float], Awaitable[bool]]
    """Try a dead letter again."""
    forget_mails: Callable[[tuple[str, ...]], Awaitable[int]]
    """Delete mails about sessions that have not gone out; says how many there were."""
    now: Callable[[], float]
    contacts: ContactParts | None = None
    """None: programs know of numbers only."""
    reporting: Reporting | None = None
    """None: no reports but those of texts."""

    def number(self, written: str) -> str:
        """A customer's number in E.164.

        Raises:
            ProblemError: It is none.
        """
        # An unescaped plus in a query arrives as a space.
        known = look_up("+" + written[1:] if written.startswith(" ") else written, region=self.settings.country)
        if known.e164 is None:
            raise ProblemError("invalid_number", f"{written!r} is not a telephone number; write it like +15550100123.")
        return known.e164


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request that has been let in, its body and its parameters checked."""

    key: Key
    path: Mapping[str, str]
    body: Any
    """An instance of the operation's `body`; bytes when it takes a file."""
    query: Any
    """An instance of the operation's `query`."""
    once: str | None
    """Names this request for a day; None: it came without an Idempotency-Key."""


Handler: TypeAlias = Callable[[Call], Awaitable[BaseModel | None]]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method on one path: the route and its description are made of it."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    """Below the prefix, in aiohttp's (and OpenAPI's) braces."""
    name: str
    summary: str
    scope: Scope
    handler: Handler
    answer: type[BaseModel] | None = None
    """None: 204, without a body."""
    status: HTTPStatus = HTTPStatus.OK
    body: type[Request] | None = None
    query: type[Request] | None = None
    fresh_for: int | None = None
    """Seconds for which an answer may be kept; it has an ETag, and who has that already is told so (304). None: it may not."""
    file: bool = False
    """The body is a file."""
    as_text: bool = False
    """Who accepts text/plain gets the answer's `text` alone."""
    as_csv: bool = False
    """Who accepts text/csv, or asks for it by `format`, gets the answer's `csv` alone."""
    problems: tuple[str, ...] = ()
    """Beside those that every operation may have."""

    @property
    def repeatable(self) -> bool:
        """Whether it obeys an Idempotency-Key; other methods do by nature."""
        return self.method == "POST" and self.status is not HTTPStatus.OK
