"""A CRM behind an address of yours: signed POSTs of JSON, answered with JSON, as `docs/crm.md` and the schemas say.

A request is signed like a notice (`bridge.notices.sign`) and carries an `Idempotency-Key` that stays the same however often it
is made.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self, TypeAlias, TypeVar

import aiohttp
import msgspec

from bridge.crm import (
    ContactFields,
    CrmContact,
    CrmRef,
    CrmRefusedError,
    CrmUnavailableError,
    SessionRecord,
)
from bridge.hooks import retry_after
from bridge.notices import EVENT, sign
from sms.message import readable

VERSION = 1
"""Of the form of requests and answers. Fields are only ever added; anything else is a new version."""
IDEMPOTENCY_KEY = "Idempotency-Key"
LARGEST_ANSWER = 1024 * 1024
"""Bytes. A CRM that finds more contacts than fit has misunderstood the question."""
MOST_FOUND = 50
"""Contacts of one number; more are left out."""
Answer = TypeVar("Answer")
Action: TypeAlias = Literal["lookup", "create", "update", "record"]


class Lookup(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="lookup"):
    """Which contacts have this phone?"""

    version: int = VERSION
    number: str


class Create(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="create"):
    """Make a contact."""

    version: int = VERSION
    fields: ContactFields


class Update(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="update"):
    """Add to what is known of a contact: what is empty stays as it is, lists and tables are added to."""

    version: int = VERSION
    contact: str
    fields: ContactFields


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="record"):
    """Keep a session that is over."""

    version: int = VERSION
    record: SessionRecord


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to `lookup`."""

    contacts: tuple[CrmContact, ...]


class One(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to `create` and `update`: the contact as it is now."""

    contact: CrmContact


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to `record`."""

    ref: CrmRef


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a field."""

    field: str
    detail: str


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Answer with a status of 400 and above; every part may be missing."""

    detail: str = ""
    errors: tuple[Fault, ...] = ()


SCHEMAS: Mapping[str, type[msgspec.Struct]] = MappingProxyType(
    {
        "lookup": Lookup,
        "lookup-answer": Found,
        "create": Create,
        "create-answer": One,
        "update": Update,
        "update-answer": One,
        "record": Record,
        "record-answer": Recorded,
        "refusal": Refusal,
    }
)
"""What goes over the wire, by the name of its JSON Schema."""


def schema(name: str) -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of `SCHEMAS`.

    Raises:
        KeyError: There is none of this name.
    """
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": name, **msgspec.json.schema(SCHEMAS[name])}


class WebhookCrm:
    """Opened with `async with`.

    Args:
        url: Where every request goes.
        secret: Signs every request.
        name: Ids of this CRM are kept under it.
        timeout: Seconds for one request.
        clock: Seconds since the epoch.
    """

    def __init__(self, url: str, secret: str, *, name: str, timeout: float, clock: Callable[[], float]) -> None:
        self.name = name
        self._url = url
        self._secret = secret
        self._timeout = timeout
        self._clock = clock
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout), cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._http is not None:
            await self._http.close()

    async def find(self, number: str) -> tuple[CrmContact, ...]:
        """The contacts with this phone."""
        return (await self._ask("lookup", Lookup(number=number), Found, None)).contacts[:MOST_FOUND]

    async def create(self, fields: ContactFields, *, key: str) -> CrmContact:
        """Make a contact."""
        return (await self._ask("create", Create(fields=fields), One, key)).contact

    async def update(self, contact: str, fields: ContactFields, *, key: str) -> CrmContact:
        """Add to what is known of a contact."""
        return (await self._ask("update", Update(contact=contact, fields=fields), One, key)).contact

    async def record(self, record: SessionRecord, *, key: str) -> CrmRef:
        """Keep a session that is over."""
        return (await self._ask("record", Record(record=record), Recorded, key)).ref

    async def _ask(self, action: Action, question: msgspec.Struct, answer: type[Answer], key: str | None) -> Answer:
        assert self._http is not None, "it is opened with `async with`"
        body, now = msgspec.json.encode(question), self._clock()
        headers = {"Content-Type": "application/json", "User-Agent": "Sidetone", EVENT: f"crm.{action}"}
        headers |= sign(body, self._secret, now)
        if key is not None:
            headers[IDEMPOTENCY_KEY] = key
        try:
            async with self._http.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                said = await _read(response)
                status, pause = response.status, retry_after(response.headers.get("Retry-After"), now)
        except TimeoutError as error:
            raise CrmUnavailableError(f"no answer within {self._timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise CrmUnavailableError(f"{type(error).__name__}: {error}"[:200]) from error
        if not 200 <= status < 300:
            raise _refusal(status, said, pause)
        try:
            return msgspec.convert(_clean(msgspec.json.decode(said)), answer)
        except msgspec.DecodeError as error:
            raise CrmRefusedError(f"its answer to {action} is not as agreed: {error}"[:300]) from error


def _clean(said: Any) -> Any:
    """Without control characters: no desk shows them, and PostgreSQL refuses some."""
    match said:
        case str():
            return readable(said)
        case list():
            return [_clean(item) for item in said]
        case dict():
            return {_clean(name): _clean(item) for name, item in said.items()}
        case _:
            return said


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, as long as it is not absurd."""
    said = bytearray()
    async for chunk in response.content.iter_any():
        said += chunk
        if len(said) > LARGEST_ANSWER:
            raise CrmRefusedError(f"its answer is longer than {LARGEST_ANSWER:,} bytes")
    return bytes(said)


def _refusal(status: int, said: bytes, pause: float) -> CrmUnavailableError | CrmRefusedError:
    try:
        refusal = msgspec.json.decode(said, type=Refusal)
    except msgspec.DecodeError:
        refusal = Refusal()
    message = f"HTTP {status}" + (f": {refusal.detail[:300]}" if refusal.detail else "")
    if status in {408, 425, 429} or status >= 500:
        return CrmUnavailableError(message, pause or None)
    # 401, 403 and redirects are for somebody to mend here or there; the request itself is as good as before.
    fields = {fault.field[:100]: fault.detail[:300] for fault in refusal.errors}
    return CrmRefusedError(message, permanent=status not in {401, 403, 407} and status >= 400, fields=fields)
