"""The CRM that is built in: contacts in the journal. The sessions stand there too, so to record one is to say whose it is."""

from collections.abc import Callable

import msgspec

from bridge.crm import ContactFields, CrmContact, CrmRef, CrmRefusedError, CrmUnavailableError, SessionRecord
from bridge.crm.matching import as_contact
from bridge.events import SessionId
from bridge.journal import Journal, JournalError
from bridge.journal.crm import new_contact_id
from bridge.journal.crm_rows import ContactChange, ContactWrite, StaleContactError, StoredContact, changed, differences

TRIES = 5
"""Times that a change is computed anew because somebody else was faster."""


class LocalCrm:
    """Contacts in the journal.

    Args:
        journal: Where they are.
        clock: Seconds since the epoch.
        name: As in `external`; the contacts are its own, so nobody has an id under it.
    """

    def __init__(self, journal: Journal, *, clock: Callable[[], float], name: str = "local") -> None:
        self.name = name
        self._journal = journal
        self._clock = clock

    async def find(self, number: str) -> tuple[CrmContact, ...]:
        """The contacts that are alive and have this phone."""
        try:
            return tuple(crm_contact(one) for one in await self._journal.contacts_with(number))
        except JournalError as error:
            raise CrmUnavailableError(str(error)) from error

    async def create(self, fields: ContactFields, *, key: str) -> CrmContact:
        """Make a contact, or give back the one that this key has made."""
        known = await self._journal.contact_by_key(key)
        if known is not None:
            return crm_contact(known)
        now = self._clock()
        fresh = StoredContact(id=new_contact_id(), revision=0, fields=fields, created_at=now, updated_at=now)
        change = ContactChange(at=now, actor="server", kind="created", data=differences(ContactFields(), fields), key=key)
        return await self._write(fresh, change)

    async def update(self, contact: str, fields: ContactFields, *, key: str) -> CrmContact:
        """Add what is new; the second time nothing is."""
        for _ in range(TRIES):
            there = await self._alive(contact)
            after = changed(there.fields, fields)
            if after == there.fields:
                return crm_contact(there)
            now = self._clock()
            change = ContactChange(at=now, actor="server", kind="changed", data=differences(there.fields, after), key=key)
            try:
                return await self._write(msgspec.structs.replace(there, fields=after, updated_at=now), change)
            except StaleContactError:
                continue
        raise CrmUnavailableError("The contact is being changed by others all the time.")

    async def record(self, record: SessionRecord, *, key: str) -> CrmRef:  # noqa: ARG002  a session is recorded once by nature
        """Note whose session it was."""
        if record.contact is not None:
            contact = await self._alive(record.contact)
            try:
                await self._journal.assign_session(SessionId(record.session), contact.id, self._clock())
            except JournalError as error:
                raise CrmUnavailableError(str(error)) from error
        return CrmRef(id=record.session)

    async def _alive(self, contact: str) -> StoredContact:
        """The contact, or what it has become a part of."""
        seen: set[str] = set()
        found = await self._journal.contact_by_id(contact)
        while found is not None and found.merged_into is not None and found.id not in seen:
            seen.add(found.id)
            found = await self._journal.contact_by_id(found.merged_into)
        if found is None or found.deleted_at is not None:
            raise CrmRefusedError("There is no such contact (any more).", fields={"contact": "not found"})
        return found

    async def _write(self, contact: StoredContact, change: ContactChange) -> CrmContact:
        try:
            (saved,) = await self._journal.write_contacts(ContactWrite(contact=contact, changes=(change,)))
        except StaleContactError:
            raise
        except JournalError as error:
            raise CrmUnavailableError(str(error)) from error
        return crm_contact(saved)


def crm_contact(stored: StoredContact) -> CrmContact:
    """A contact of the journal as one of a CRM."""
    return as_contact(stored.id, stored.fields, created_at=stored.created_at, updated_at=stored.updated_at)
