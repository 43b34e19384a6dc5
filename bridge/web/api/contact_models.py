"""What programs send and get about contacts, imports and the CRM's queue."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from bridge.web.api.models import MOST, MOST_DATA, Answer, Name, Number, Request, Words

ContactId: TypeAlias = Annotated[str, Field(pattern=r"^k[0-9a-f]{15}$", description="as a search gives it")]
Value: TypeAlias = Annotated[str, Field(max_length=1000)] | float | bool


class PersonNow(Request):
    """A contact as it is to be; what is not given is not known (any more)."""

    name: Annotated[str, Field(max_length=80)] | None = None
    company: Annotated[str, Field(max_length=120)] | None = None
    language: Annotated[str, Field(pattern=r"^[a-z]{2}(-[A-Z]{2})?$")] | None = Field(default=None, description="as en or fr")
    phones: Annotated[tuple[Number, ...], Field(max_length=10)] = Field(default=(), description="the first is the main one")
    mails: Annotated[tuple[Annotated[str, Field(max_length=254)], ...], Field(max_length=10)] = ()
    external: Annotated[dict[Name, Annotated[str, Field(max_length=200)]], Field(max_length=20)] = Field(
        default={}, description="ids in other systems, by the name of the system"
    )
    tags: Annotated[tuple[Annotated[str, Field(max_length=40)], ...], Field(max_length=30)] = ()
    custom: Annotated[dict[Name, Value], Field(max_length=MOST_DATA)] = Field(default={}, description="what else is known")
    revision: int | None = Field(default=None, description="that you have seen; refused when it is not the newest; null: any")


class Person(Answer):
    """A contact."""

    id: str
    revision: int
    name: str | None
    company: str | None
    language: str | None
    phones: tuple[str, ...]
    mails: tuple[str, ...]
    external: Mapping[str, str]
    tags: tuple[str, ...]
    custom: Mapping[str, Any]
    created_at: float
    updated_at: float
    merged_into: str | None = Field(description="the contact that it has become a part of; null: none")
    deleted_at: float | None


class PeopleQuery(Request):
    """What to look for."""

    q: Annotated[str, Field(max_length=80)] = Field(
        default="", description="parts of names, companies, numbers, addresses, tags or ids; empty: all"
    )
    limit: Annotated[int, Field(ge=1, le=MOST)] = 50
    after: ContactId | None = Field(default=None, description="the last one of the page before")


class PeopleFound(Answer):
    """Contacts, changed last first."""

    contacts: tuple[Person, ...]
    next: str | None = Field(description="give it as after for the next page; null: this was the last")


class Merge(Request):
    """Two contacts are one."""

    other: ContactId = Field(description="becomes a part of this one; what this one knows counts")


class Unmerge(Request):
    """A merge was wrong."""

    change: int = Field(description="its n in the history")


class Note(Request):
    """Words for colleagues."""

    text: Words


class Change(Answer):
    """An entry of a history."""

    n: int
    contact: str
    at: float
    actor: str
    kind: str
    data: Mapping[str, Any]


class History(Answer):
    """What became of a contact, newest first."""

    changes: tuple[Change, ...]


class ImportQuery(Request):
    """A CSV file."""

    name: Annotated[str, Field(max_length=80)] = Field(default="contacts.csv", description="what the file is called")


class ImportStart(Request):
    """How the columns are to be understood."""

    mapping: dict[str, str] | None = Field(
        default=None,
        description="title of a column to name, first_name, last_name, company, language, phones, mails, tags, id or custom; "
        "null: as guessed",
    )
    dry_run: bool = Field(default=False, description="say what would be, and change nothing")


class Import(Answer):
    """How far an import has come."""

    id: str
    file: str
    columns: tuple[str, ...]
    mapping: Mapping[str, str]
    state: Literal["ready", "running", "done", "failed"]
    dry_run: bool
    rows: int
    done: int
    created: int
    changed: int
    same: int
    wrong: int
    problem: str


class ImportErrors(Answer):
    """What was left out, as CSV."""

    text: str = Field(description="line, column, value, why")


class EntriesQuery(Request):
    """Which entries."""

    state: Literal["pending", "done", "dead"] | None = None
    limit: Annotated[int, Field(ge=1, le=MOST)] = 50
    after: int | None = Field(default=None, description="n of the last one of the page before")


class Entry(Answer):
    """Something the CRM is asked or told."""

    n: int
    id: str
    session: str
    number: str | None
    action: str
    at: float
    due_at: float
    attempts: int
    state: str
    last_error: str | None
    faults: Mapping[str, str]
    result: Mapping[str, Any]
    done_at: float | None


class Entries(Answer):
    """The CRM's queue, newest first."""

    counts: Mapping[str, int]
    entries: tuple[Entry, ...]
    next: int | None
