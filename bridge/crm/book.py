"""What people and programs do with contacts: look, write, merge and take apart again. Each change is in the history."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from bridge.crm.fields import tidy
from bridge.crm.matching import merged, unmerged
from bridge.journal import ConsentRow, Journal, StoredSession, Suppression
from bridge.journal.crm import new_contact_id
from bridge.journal.crm_rows import (
    ChangeKind,
    ContactChange,
    ContactFields,
    ContactWrite,
    StaleContactError,
    StoredChange,
    StoredContact,
    differences,
)
from sms.numbers import normalise

MOST_SESSIONS, MOST_CHANGES = 100, 200
"""That a contact's page shows."""
LONGEST_NOTE = 4000
"""Characters."""


class NoContactError(Exception):
    """There is no such contact, or not one this can be done with; the message is fit to show."""


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of one contact."""

    contact: StoredContact
    merged_into: StoredContact | None
    """What it has become a part of."""
    sessions: tuple[StoredSession, ...]
    """Of all phones, newest first."""
    consents: Mapping[str, tuple[ConsentRow, ...]]
    """By phone, newest first."""
    opt_outs: Mapping[str, tuple[tuple[bool, Suppression], ...]]
    """By phone, newest first: True for an opt-out, False for an opt-in."""
    history: tuple[StoredChange, ...]
    """Newest first, with that of what has become a part of it."""
    undoable: Mapping[int, str]
    """Merges that can be undone: number of the change to the name of the contact that comes out again."""


class Book:
    """Contacts in the journal, for pages, programs and the command line.

    Args:
        journal: Where they are.
        clock: Seconds since the epoch.
        region: ISO 3166 alpha-2 country in which numbers without `+` are read.
    """

    def __init__(self, journal: Journal, *, clock: Callable[[], float], region: str | None) -> None:
        self._journal = journal
        self._clock = clock
        self._region = region
        self._watchers: list[Callable[[StoredContact], None]] = []

    def watch(self, watcher: Callable[[StoredContact], None]) -> None:
        """Tell *watcher* of every contact that is changed from now on, as it is then."""
        self._watchers.append(watcher)

    def _changed(self, contact: StoredContact) -> None:
        for watcher in self._watchers:
            watcher(contact)

    # --- looking

    async def find(self, words: str, limit: int, *, after: str | None = None) -> list[StoredContact]:
        """Contacts with all of *words*, changed last first; a telephone number may be written as people do."""
        return await self._journal.find_contacts(self._as_number(words), limit, after=after)

    async def count(self, words: str = "") -> int:
        """How many there are."""
        return await self._journal.count_contacts(self._as_number(words))

    def _as_number(self, words: str) -> str:
        """Words that are a whole number are looked for as the number is kept."""
        digits = sum(letter.isdigit() for letter in words)
        number = normalise(words, region=self._region) if digits >= 7 else None
        if number is not None:
            return number
        plain = "".join(letter for letter in words if letter not in " ()-./+")
        return plain if digits and plain.isdigit() else words

    async def contact(self, contact: str) -> StoredContact:
        """Also a merged or deleted one."""
        found = await self._journal.contact_by_id(contact)
        if found is None:
            raise NoContactError("There is no such contact.")
        return found

    async def page(self, contact: str) -> Whole:
        """Everything of one contact."""
        found = await self.contact(contact)
        family = await self._journal.merged_with(contact)
        phones = found.fields.phones
        history = await self._journal.contact_changes(family, MOST_CHANGES)
        consents, opt_outs = {}, {}
        for phone in phones:
            consents[phone] = tuple(reversed(await self._journal.consents(phone)))
            opt_outs[phone] = tuple(reversed(await self._journal.suppressions(phone)))
        into = None if found.merged_into is None else await self._journal.contact_by_id(found.merged_into)
        return Whole(
            contact=found,
            merged_into=into,
            sessions=tuple(await self._journal.sessions_of_people(family, phones, MOST_SESSIONS)),
            consents=consents,
            opt_outs=opt_outs,
            history=tuple(history),
            undoable=await self._undoable(found, history),
        )

    async def _undoable(self, contact: StoredContact, history: Sequence[StoredChange]) -> Mapping[int, str]:
        """Merges whose other part has not come out again, and its name."""
        if contact.deleted_at is not None:
            return {}
        parts: dict[int, str] = {}
        seen: set[str] = set()
        for entry in history:
            other = str(entry.change.data.get("other") or "")
            if entry.contact != contact.id or entry.change.kind not in {"merged", "unmerged"} or other in seen:
                continue
            seen.add(other)  # the newest that was done with it says how it stands
            part = await self._journal.contact_by_id(other)
            if entry.change.kind == "merged" and part is not None and part.merged_into == contact.id:
                parts[entry.n] = part.fields.name or next(iter(part.fields.phones), "")
        return parts

    # --- writing

    async def create(self, given: Mapping[str, Any], actor: str) -> StoredContact:
        """Make a contact."""
        fields, now = tidy(given, region=self._region), self._clock()
        fresh = StoredContact(id=new_contact_id(), revision=0, fields=fields, created_at=now, updated_at=now)
        return await self._write_one(fresh, actor, "created", differences(ContactFields(), fields))

    async def change(self, contact: str, given: Mapping[str, Any], actor: str, *, revision: int | None = None) -> StoredContact:
        """Put *given* in place of all that was known; *revision* is the one that the writer has seen."""
        there = await self._alive(contact)
        if revision is not None and revision != there.revision:
            raise StaleContactError("Somebody else has changed this contact meanwhile. Please look again.")
        fields = tidy(given, region=self._region)
        if fields == there.fields:
            return there
        after = msgspec.structs.replace(there, fields=fields, updated_at=self._clock())
        return await self._write_one(after, actor, "changed", differences(there.fields, fields))

    async def rename(self, contact: StoredContact, name: str, actor: str) -> StoredContact:
        """*contact*, as it was read, is called *name*."""
        after = msgspec.structs.replace(
            contact, fields=msgspec.structs.replace(contact.fields, name=name), updated_at=self._clock()
        )
        return await self._write_one(after, actor, "changed", differences(contact.fields, after.fields))

    async def note(self, contact: str, words: str, actor: str) -> None:
        """Add a note to the history."""
        there, words = await self._alive(contact), words.strip()[:LONGEST_NOTE]
        if words:
            await self._write_one(msgspec.structs.replace(there, updated_at=self._clock()), actor, "noted", {"text": words})

    async def merge(self, keep: str, other: str, actor: str) -> StoredContact:
        """Make *other* a part of *keep*; what *keep* knows counts."""
        if keep == other:
            raise NoContactError("A contact cannot be merged with itself.")
        one, two = await self._alive(keep), await self._alive(other)
        now = self._clock()
        whole = msgspec.structs.replace(one, fields=merged(one.fields, two.fields), updated_at=now)
        part = msgspec.structs.replace(two, merged_into=one.id, deleted_at=now, updated_at=now)
        made_of = {"other": two.id, "before": msgspec.to_builtins(one.fields), "from": msgspec.to_builtins(two.fields)}
        saved, gone = await self._journal.write_contacts(
            ContactWrite(contact=whole, changes=(ContactChange(at=now, actor=actor, kind="merged", data=made_of),)),
            ContactWrite(contact=part),
        )
        self._changed(gone)
        self._changed(saved)
        return saved

    async def unmerge(self, keep: str, change: int, actor: str) -> tuple[StoredContact, StoredContact]:
        """Undo the merge with this number in the history: *keep* and what came out of it."""
        there = await self._alive(keep)
        history = await self._journal.contact_changes([keep], MOST_CHANGES)
        entry = next((entry for entry in history if entry.n == change and entry.change.kind == "merged"), None)
        part = None if entry is None else await self._journal.contact_by_id(str(entry.change.data.get("other")))
        if entry is None or part is None or part.merged_into != keep:
            raise NoContactError("This merge cannot be undone (any more).")
        before = msgspec.convert(entry.change.data["before"], ContactFields)
        left = unmerged(there.fields, before, part.fields)
        now = self._clock()
        what = ContactChange(at=now, actor=actor, kind="unmerged", data={"other": part.id, **differences(there.fields, left)})
        back = msgspec.structs.replace(part, merged_into=None, deleted_at=None, updated_at=now)
        saved, out = await self._journal.write_contacts(
            ContactWrite(contact=msgspec.structs.replace(there, fields=left, updated_at=now), changes=(what,)),
            ContactWrite(contact=back, changes=(ContactChange(at=now, actor=actor, kind="unmerged", data={"other": keep}),)),
        )
        self._changed(saved)
        self._changed(out)
        return saved, out

    async def delete(self, contact: str, actor: str) -> None:
        """Put a contact away; it can be restored."""
        there, now = await self._alive(contact), self._clock()
        await self._write_one(msgspec.structs.replace(there, deleted_at=now, updated_at=now), actor, "deleted", {})

    async def restore(self, contact: str, actor: str) -> StoredContact:
        """Take a deleted contact back."""
        there = await self.contact(contact)
        if there.deleted_at is None or there.merged_into is not None:
            raise NoContactError("Only a deleted contact can be restored.")
        back = msgspec.structs.replace(there, deleted_at=None, updated_at=self._clock())
        return await self._write_one(back, actor, "restored", {})

    async def _alive(self, contact: str) -> StoredContact:
        found = await self.contact(contact)
        if found.deleted_at is not None:
            raise NoContactError("This contact has been deleted or merged into another one.")
        return found

    async def _write_one(self, contact: StoredContact, actor: str, kind: ChangeKind, data: Mapping[str, Any]) -> StoredContact:
        what = ContactChange(at=self._clock(), actor=actor, kind=kind, data=data)
        (saved,) = await self._journal.write_contacts(ContactWrite(contact=contact, changes=(what,)))
        self._changed(saved)
        return saved
