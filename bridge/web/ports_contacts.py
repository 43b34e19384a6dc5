"""What the pages and the API of contacts need of the rest of the server."""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from bridge.crm import CrmContact, CrmRef
from bridge.crm.book import Whole
from bridge.crm.csv_import import Progress
from bridge.events import AgentId, SessionId
from bridge.journal.crm_rows import CrmEntry, StoredContact

CardState: TypeAlias = Literal["waiting", "choose", "creating", "assigned", "nobody"]


class ContactCard(msgspec.Struct, frozen=True, kw_only=True):
    """Who a session is with, as its agent sees it."""

    session: SessionId
    number: str | None
    """None: withheld."""
    state: CardState
    """`waiting`: being looked up; `choose`: the agent says who it is; `creating`: is being made; `nobody`: there is none."""
    contact: CrmContact | None = None
    """Who is assigned."""
    candidates: tuple[CrmContact, ...] = ()
    """Who has this phone, made last first."""
    by: str = ""
    """Name of the agent who assigned; empty when nobody had to."""
    problem: str = ""
    """What the CRM has against it, in its words; empty: nothing. It is tried again by itself."""
    pop: str | None = None
    """Where the contact can be looked at in the CRM."""
    pop_open: bool = False
    """The page is to be opened by itself."""
    recorded: CrmRef | None = None
    """Where the session, which is over, has been recorded."""
    over: bool = False
    """The session is."""
    fixed: bool = False
    """This agent cannot say who it is: another one has, or the session is over, or is somebody else's."""


class ContactBook(Protocol):
    """Contacts, for pages and programs: `bridge.crm.book.Book`.

    Methods that change something take the *actor* (`agent:ID`, `api:NAME`) for the history. They raise `NoContactError`,
    `StaleContactError` (somebody else was faster), and `FieldsError` for what cannot be kept.
    """

    async def find(self, words: str, limit: int, *, after: str | None = None) -> list[StoredContact]:
        """Contacts with all of *words*, changed last first; a telephone number may be written as people do."""

    async def count(self, words: str = "") -> int:
        """How many there are."""

    async def contact(self, contact: str) -> StoredContact:
        """Also a merged or deleted one."""

    async def page(self, contact: str) -> Whole:
        """Everything of one contact."""

    async def create(self, given: Mapping[str, Any], actor: str) -> StoredContact:
        """Make a contact."""

    async def change(self, contact: str, given: Mapping[str, Any], actor: str, *, revision: int | None = None) -> StoredContact:
        """Put *given* in place of all that was known; *revision* is the one that the writer has seen."""

    async def note(self, contact: str, words: str, actor: str) -> None:
        """Add a note to the history."""

    async def merge(self, keep: str, other: str, actor: str) -> StoredContact:
        """Make *other* a part of *keep*; what *keep* knows counts."""

    async def unmerge(self, keep: str, change: int, actor: str) -> tuple[StoredContact, StoredContact]:
        """Undo the merge with this number in the history: *keep* and what came out of it."""

    async def delete(self, contact: str, actor: str) -> None:
        """Put a contact away; it can be restored."""

    async def restore(self, contact: str, actor: str) -> StoredContact:
        """Take a deleted contact back."""


class Imports(Protocol):
    """CSV files on their way into the contacts: `bridge.crm.imports.NodesImports`."""

    async def take(self, file: str, path: Path) -> Progress:
        """Look at an uploaded file, which is ours from now on; raises `ImportRefusedError`."""

    async def start(self, job: str, mapping: Mapping[str, str], actor: str, *, dry_run: bool) -> Progress:
        """Begin; raises `ImportRefusedError`."""

    async def state(self, job: str) -> Progress | None:
        """None: there is no such import (any more), or its node does not answer."""

    def errors(self, job: str) -> AsyncIterator[bytes]:
        """The error report as CSV: line, column, value, why."""

    @property
    def folder(self) -> Path:
        """Where uploads are put."""


class ContactCards(Protocol):
    """Who a session is with, at the desk: `bridge.contacts.Contacts`. Methods that act raise `DeskRefusedError`."""

    async def card(self, agent: AgentId, session: SessionId) -> ContactCard | None:
        """None: nobody has begun to look."""

    async def search(self, agent: AgentId, session: SessionId, typed: str) -> Sequence[CrmContact]:
        """Contacts that an agent may assign: by number, or by words."""

    async def choose(self, agent: AgentId, session: SessionId, contact: str) -> None:
        """The session is with this contact."""

    async def create(self, agent: AgentId, session: SessionId, given: Mapping[str, Any]) -> None:
        """The session is with somebody new; raises `FieldsError`."""

    async def rename(self, agent: AgentId, session: SessionId, name: str) -> None:
        """Whom the session is with is called so; raises `FieldsError`."""

    async def entries(self, *, state: str | None = None, limit: int = 100, after: int | None = None) -> list[CrmEntry]:
        """What the CRM is or was to be told, newest first."""

    async def counts(self) -> Mapping[str, int]:
        """Entries by state."""

    async def redeliver(self, n: int) -> bool:
        """Try a dead letter again. False: it is none."""

    async def transcript(self, session: SessionId) -> str | None:
        """A conversation as plain text; None: there is no such session, or it has been erased."""

    @property
    def provider(self) -> str:
        """Name of the CRM; `local`: the built-in one."""


class ContactParts(msgspec.Struct, frozen=True):
    """Everything the pages of contacts need."""

    book: ContactBook
    cards: ContactCards
    imports: Imports
