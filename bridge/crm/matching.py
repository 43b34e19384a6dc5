"""Which contact a session is with, what two contacts become together, and what they were before. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

import msgspec

from bridge.crm import CrmContact
from bridge.journal.crm_rows import LISTS, SINGLE, TABLES, ContactFields, union, values_of

Verdict: TypeAlias = Literal["none", "one", "several"]


def verdict(found: Sequence[CrmContact]) -> Verdict:
    """What a look-up by phone has shown."""
    return "none" if not found else "one" if len(found) == 1 else "several"


def newest(found: Sequence[CrmContact]) -> CrmContact:
    """Of several contacts the one that was made last, which is taken when nobody has chosen; of equals the greatest id."""
    return max(found, key=lambda contact: (contact.created_at or 0.0, contact.id))


def in_order(found: Iterable[CrmContact]) -> tuple[CrmContact, ...]:
    """Contacts as they are offered to an agent: made last first."""
    return tuple(sorted(found, key=lambda contact: (contact.created_at or 0.0, contact.id), reverse=True))


def as_contact(contact: str, fields: ContactFields, **more: Any) -> CrmContact:
    """*fields* under an id."""
    return msgspec.convert({"id": contact, **msgspec.to_builtins(fields), **more}, CrmContact)


def fields_of(contact: CrmContact) -> ContactFields:
    """What is known of a contact, without its id."""
    return msgspec.convert(contact, ContactFields, from_attributes=True)


def learned(known: ContactFields, found_out: ContactFields) -> ContactFields | None:
    """What a session has found out that is not known yet; None: nothing.

    A name or a language that is known stays: what was written down once counts more than what was guessed in a conversation.
    """
    fresh: dict[str, Any] = {name: getattr(found_out, name) for name in SINGLE if getattr(known, name) is None}
    for name, value in values_of(found_out, LISTS):
        fresh[name] = tuple(item for item in value if item not in getattr(known, name))
    for name, value in values_of(found_out, TABLES):
        fresh[name] = {key: item for key, item in value.items() if key not in getattr(known, name)}
    new = ContactFields(**fresh)
    return None if new == ContactFields() else new


def merged(keep: ContactFields, other: ContactFields) -> ContactFields:
    """One contact of two: where both know something *keep* counts, and of lists and tables both are kept."""
    one: dict[str, Any] = {name: getattr(other, name) if value is None else value for name, value in values_of(keep, SINGLE)}
    one |= {name: union(value, getattr(other, name)) for name, value in values_of(keep, LISTS)}
    one |= {name: {**getattr(other, name), **value} for name, value in values_of(keep, TABLES)}
    return ContactFields(**one)


def unmerged(now: ContactFields, before: ContactFields, other: ContactFields) -> ContactFields:
    """What is left of a merged contact when *other* is taken out again.

    What came from *other* goes, what was there *before* stays, and so does whatever has been changed or added since.
    """
    came = merged(before, other)
    left: dict[str, Any] = {
        name: getattr(before, name) if value == getattr(came, name) else value for name, value in values_of(now, SINGLE)
    }
    for name, value in values_of(now, LISTS):
        left[name] = tuple(item for item in value if item in getattr(before, name) or item not in getattr(other, name))
    for name, value in values_of(now, TABLES):
        old, theirs = getattr(before, name), getattr(other, name)
        left[name] = {key: item for key, item in value.items() if key in old or key not in theirs or item != theirs[key]}
    return ContactFields(**left)


def screen_pop(template: str, values: Mapping[str, str | None]) -> str:
    """The address behind a contact's button: *template* with each `{name}` replaced by its value, encoded for a URL.

    The settings have checked the template; a value that is not known is empty.
    """
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", quote(value or "", safe=""))
    return template
