"""Contacts that come in crowds: found, made and changed a portion at a time."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec
from sqlalchemy import Connection

from bridge.journal.crm import contacts_called, contacts_with, new_contact_id, save_contacts
from bridge.journal.crm_rows import (
    ContactChange,
    ContactFields,
    StoredContact,
    changed,
    differences,
    folded,
)
from bridge.journal.door import Door

Outcome: TypeAlias = Literal["created", "changed", "same"]


class ContactImports(Door):
    """Rows of a file on their way to contacts."""

    async def import_contacts(
        self, rows: Sequence[ContactFields], *, system: str, actor: str, at: float, dry_run: bool
    ) -> list[Outcome]:
        """Make or change the contact that each of *rows* describes; what became of each.

        A row belongs to the contact that has its id in *system*; a row without one to the contact with one of its phones,
        unless both have a name and the names differ. The same rows again change nothing.

        Args:
            rows: As many as fit into one transaction that nobody has to wait for.
            system: Under which their ids stand in `external`.
            actor: For the history.
            at: Now.
            dry_run: Say what would become of them, and do nothing.
        """

        def work(connection: Connection) -> list[Outcome]:
            portion = _Portion(connection, rows, system, actor, at)
            outcomes = [portion.take(row) for row in rows]
            if not dry_run:
                portion.save(connection)
            return outcomes

        if dry_run:
            return await self._readers.run(work)
        done: list[Outcome] = await self._write(work)
        return done


class _Portion:
    """Some rows, the contacts they may belong to, and those that have to be saved."""

    def __init__(self, connection: Connection, rows: Sequence[ContactFields], system: str, actor: str, at: float) -> None:
        self._system, self._actor, self._at = system, actor, at
        self._by_ref: dict[str, StoredContact] = {}
        self._by_phone: dict[str, dict[str, StoredContact]] = {}
        self._fresh: dict[str, StoredContact] = {}
        self._before: dict[str, ContactFields] = {}
        """Of contacts that are to be saved: what they were."""
        refs = [row.external[system] for row in rows if system in row.external]
        for contact in [
            *reversed(contacts_called(connection, system, refs)),
            *reversed(contacts_with(connection, [phone for row in rows for phone in row.phones])),
        ]:
            self._know(contact)

    def _know(self, contact: StoredContact) -> None:
        """The contact that was made last takes the place of others with the same id, and stands first among those of a phone."""
        if self._system in contact.fields.external:
            self._by_ref[contact.fields.external[self._system]] = contact
        for phone in contact.fields.phones:
            others = self._by_phone.get(phone, {})
            self._by_phone[phone] = {contact.id: contact} | {other: each for other, each in others.items() if other != contact.id}

    def take(self, row: ContactFields) -> Outcome:
        there = self._whose(row)
        if there is None:
            there = StoredContact(
                id=new_contact_id(), revision=0, fields=ContactFields(), created_at=self._at, updated_at=self._at
            )
        after = changed(there.fields, row)
        if after == there.fields:
            return "same"
        new = there.revision == 0 and there.id not in self._before
        self._before.setdefault(there.id, there.fields)
        self._fresh[there.id] = contact = msgspec.structs.replace(there, fields=after, updated_at=self._at)
        self._know(contact)
        return "created" if new else "changed"

    def _whose(self, row: ContactFields) -> StoredContact | None:
        ref = row.external.get(self._system)
        if ref is not None and ref in self._by_ref:
            return self._by_ref[ref]
        shared = [each for phone in row.phones for each in self._by_phone.get(phone, {}).values()]
        if ref is not None:  # whoever has another id there is somebody else
            shared = [each for each in shared if self._system not in each.fields.external]
        same = [each for each in shared if folded(each.fields.name) == folded(row.name)]
        nameless = [each for each in shared if row.name is None or each.fields.name is None]
        return next(iter((*same, *nameless)), None)

    def save(self, connection: Connection) -> None:
        history = [
            (
                contact.id,
                ContactChange(
                    at=self._at,
                    actor=self._actor,
                    kind="changed" if contact.revision else "created",
                    data=differences(self._before[contact.id], contact.fields),
                ),
            )
            for contact in self._fresh.values()
        ]
        save_contacts(connection, list(self._fresh.values()), history)
