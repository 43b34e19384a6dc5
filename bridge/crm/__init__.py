"""What the server wants of whoever keeps the customers: the contract, and the values that go over it.

`local` keeps contacts in the journal, `webhook` asks a program of yours. Whoever implements `CrmProvider` for another CRM
passes `tests/contract/test_crm_providers.py`. Nothing here waits for a call or is waited for by one: `bridge.contacts` asks
beside the conversation, again and again where need be.
"""

from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias

import msgspec

from bridge.journal.crm_rows import ContactFields

__all__ = [
    "ContactFields",
    "CrmContact",
    "CrmError",
    "CrmProvider",
    "CrmRef",
    "CrmRefusedError",
    "CrmUnavailableError",
    "RecordedMedia",
    "RecordedNote",
    "RecordedTransfer",
    "SessionRecord",
]

TransferState: TypeAlias = Literal["started", "failed", "completed"]


class CrmContact(ContactFields, frozen=True, kw_only=True):
    """A contact as its CRM knows it."""

    id: str
    """The CRM's own."""
    created_at: float | None = None
    """Seconds since 1970; None: not known. Of several contacts the one made last is taken when nobody chooses."""
    updated_at: float | None = None
    url: str | None = None
    """Where a person can look at it; None: nowhere, or by the template `crm.screen_pop`."""


class CrmRef(msgspec.Struct, frozen=True, kw_only=True):
    """Where a session has been recorded."""

    id: str
    url: str | None = None
    failed: tuple[str, ...] = ()
    """Parts that could not be kept (`transcript`, `media`, ...), while the rest was."""


class RecordedTransfer(msgspec.Struct, frozen=True, kw_only=True):
    """A session was handed on."""

    at: float
    state: TransferState
    """`started`: nobody had taken it when the session ended."""
    by: str
    """Name of who handed it on."""
    to: str | None = None
    """Name of the colleague; None: to a queue."""
    queue: str | None = None
    """Title of the queue; None: to a colleague."""
    note: str = ""
    ended_at: float | None = None
    """When it was completed or failed; None: neither."""
    reason: str = ""
    """Why it failed."""


class RecordedMedia(msgspec.Struct, frozen=True, kw_only=True):
    """A picture, video or document."""

    at: float
    author: str
    content_type: str
    size: int
    """Bytes."""
    digest: str
    """SHA-256 of the content, in hex."""
    url: str | None = None
    """A link that works for a while (`media.link_valid`); None: none can be made."""


class RecordedNote(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent noted at the end."""

    at: float
    agent: str
    note: str
    disposition: str | None = None


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A session that is over."""

    session: str
    contact: str | None = None
    """Id in the CRM; None: nobody knows who it was."""
    customer: str | None
    """E.164; None: withheld."""
    our_number: str
    language: str
    queue: str | None
    """Id of the last queue; None: it was in none."""
    queue_title: str | None
    service: str
    """How it began: `call`, `deflected`, `inbound`, `outbound`, `api`, `direct`."""
    opened_at: float
    closed_at: float
    ended_reason: str | None
    handled: float
    """Seconds that agents spent on it."""
    agents: tuple[str, ...] = ()
    """Names, in the order in which they came."""
    transfers: tuple[RecordedTransfer, ...] = ()
    media: tuple[RecordedMedia, ...] = ()
    opted_out: bool = False
    """The customer asked for no more texts in this session, and did not take it back."""
    disposition: str | None = None
    """As last given."""
    notes: tuple[RecordedNote, ...] = ()
    transcript: str = ""
    """Everything that was written and what else happened, as plain text, texts of the system included."""


class CrmError(Exception):
    """The CRM did not do what it was asked; the message is fit to show."""


class CrmUnavailableError(CrmError):
    """Not now: it is down, slow, or we have asked too often. The same request may be made again.

    Args:
        message: What is the matter.
        retry_after: Seconds in which it is no use to ask again, for any request; None: it did not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CrmRefusedError(CrmError):
    """It does not want this request.

    Args:
        message: What is the matter.
        permanent: The same request will be refused again; otherwise somebody has to mend something first (a password, a right).
        fields: What is wrong with single fields.
    """

    def __init__(self, message: str, *, permanent: bool = True, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.fields = dict(fields or {})


class CrmProvider(Protocol):
    """Whoever keeps the customers.

    Every method may raise `CrmUnavailableError` or `CrmRefusedError`. A *key* names a request: the same request with the same
    key may come again, after a crash or a lost answer, and has to lead to the same thing once.
    """

    name: str
    """As in `external`: what ids of this CRM are kept under."""

    async def find(self, number: str) -> tuple[CrmContact, ...]:
        """The contacts with this phone (E.164), in any order; none is no error."""

    async def create(self, fields: ContactFields, *, key: str) -> CrmContact:
        """Make a contact."""

    async def update(self, contact: str, fields: ContactFields, *, key: str) -> CrmContact:
        """Put what *fields* says in place of what was known; what is empty there stays, lists and tables are added to."""

    async def record(self, record: SessionRecord, *, key: str) -> CrmRef:
        """Keep a session that is over, with its contact if that is known."""
