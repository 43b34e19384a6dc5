"""What is kept of people and of what a CRM is told: rows, without a database."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from bridge.events import SessionId
from bridge.journal.rows import JournalError

ChangeKind: TypeAlias = Literal["created", "changed", "noted", "merged", "unmerged", "deleted", "restored"]
MatchState: TypeAlias = Literal["waiting", "choose", "creating", "assigned", "nobody"]
CrmAction: TypeAlias = Literal["look_up", "create", "record"]


class ContactFields(msgspec.Struct, frozen=True, kw_only=True):
    """What can be known of a person. Empty: not known; in an update: left as it is."""

    name: str | None = None
    company: str | None = None
    language: str | None = None
    """As `en` or `fr-CA`."""
    phones: tuple[str, ...] = ()
    """E.164; the first is the main one."""
    mails: tuple[str, ...] = ()
    external: Mapping[str, str] = {}
    """Ids elsewhere: name of the other system to its id of this person."""
    tags: tuple[str, ...] = ()
    custom: Mapping[str, Any] = {}
    """Strings, numbers, booleans."""


SINGLE, LISTS, TABLES = ("name", "company", "language"), ("phones", "mails", "tags"), ("external", "custom")
"""Fields by how several values of one go together."""


class StoredContact(msgspec.Struct, frozen=True, kw_only=True):
    """A contact as last saved."""

    id: str
    revision: int
    """Grows with every change; 0: not saved yet."""
    fields: ContactFields
    created_at: float
    updated_at: float
    merged_into: str | None = None
    """The contact that it has become a part of."""
    deleted_at: float | None = None
    """None: it is alive. A contact that was merged or deleted keeps its row as a tombstone, and is found by its id only."""


class ContactChange(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a contact's history."""

    at: float
    actor: str
    """`agent:ann`, `api:shop`, `import:ann`, `crm:erp`, or `server`."""
    kind: ChangeKind
    data: Mapping[str, Any] = {}
    """`changed`: field to [before, after]; `noted`: `text`; `merged`, `unmerged`: `other` and what it was made of."""
    key: str | None = None
    """Names a request that may come twice; the second time it is known by this."""


class StoredChange(msgspec.Struct, frozen=True):
    """An entry with its number and whose it is."""

    n: int
    contact: str
    change: ContactChange


class ContactWrite(msgspec.Struct, frozen=True, kw_only=True):
    """A contact as it is to be; its `revision` is the one that this was computed from."""

    contact: StoredContact
    changes: tuple[ContactChange, ...] = ()


class CrmMatch(msgspec.Struct, frozen=True, kw_only=True):
    """Which contact of the CRM a session is with."""

    session: SessionId
    number: str | None
    """The customer's; None: withheld."""
    state: MatchState
    """`waiting`: not looked up yet; `choose`: several, or withheld; `nobody`: there is none and none is to be made."""
    contact: str | None = None
    """Id in the CRM."""
    candidates: tuple[Mapping[str, Any], ...] = ()
    """Contacts as the CRM gave them; when one is assigned it stands first."""
    by: str = ""
    """Who assigned: `server` (the only one), `newest` (nobody chose), or `agent:ID`."""
    at: float


class CrmEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Something a CRM is to be asked or told, at least once, in order within a session."""

    n: int = 0
    """Given by the journal; grows."""
    id: str
    """Ours, unique; the CRM recognises a repeat by it."""
    session: SessionId
    number: str | None
    """Whom it is about, so that it can be erased."""
    action: CrmAction
    body: Mapping[str, Any] = {}
    at: float
    due_at: float
    attempts: int = 0
    state: Literal["pending", "done", "dead"] = "pending"
    last_error: str | None = None
    faults: Mapping[str, str] = {}
    """What the CRM said of single fields."""
    result: Mapping[str, Any] = {}
    done_at: float | None = None


class StaleContactError(JournalError):
    """The contact has changed since; look again. Nothing has changed now."""


def folded(*words: str | None) -> str:
    """*words* as they are searched: without case and accents."""
    plain = unicodedata.normalize("NFKD", " ".join(word for word in words if word))
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).casefold()


def searched(fields: ContactFields) -> str:
    """Everything of a contact that a search looks at."""
    return folded(fields.name, fields.company, *fields.phones, *fields.mails, *fields.tags, *fields.external.values())


def values_of(fields: ContactFields, names: Iterable[str]) -> list[tuple[str, Any]]:
    """Some of the fields with their values."""
    return [(name, getattr(fields, name)) for name in names]


def union(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    """Both, each once, in order."""
    return tuple(dict.fromkeys((*first, *second)))


def changed(known: ContactFields, by: ContactFields) -> ContactFields:
    """*known* with what *by* says: single values take the place of the old ones, lists and tables are added to."""
    after: dict[str, Any] = {
        name: old if getattr(by, name) is None else getattr(by, name) for name, old in values_of(known, SINGLE)
    }
    after |= {name: union(old, getattr(by, name)) for name, old in values_of(known, LISTS)}
    after |= {name: {**old, **getattr(by, name)} for name, old in values_of(known, TABLES)}
    return ContactFields(**after)


def differences(before: ContactFields, after: ContactFields) -> dict[str, list[Any]]:
    """Field to [before, after], of those that differ."""
    old, new = msgspec.to_builtins(before), msgspec.to_builtins(after)
    return {name: [old[name], new[name]] for name in new if old[name] != new[name]}
