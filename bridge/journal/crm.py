"""Contacts: people with their phones, found by any of them, changed only by who has seen the newest revision."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, RowMapping, Select, delete, desc, func, select, tuple_, union

from bridge.events import SessionId
from bridge.journal import crm_tables as t
from bridge.journal import tables
from bridge.journal.crm_rows import (
    ContactChange,
    ContactFields,
    ContactWrite,
    StaleContactError,
    StoredChange,
    StoredContact,
    differences,
    folded,
    searched,
)
from bridge.journal.database import insert, upsert
from bridge.journal.door import Door, as_struct
from bridge.journal.rows import ContactRow, SessionRow, StoredSession

_contact, _phone, _external, _change, _linked = (
    t.contact,
    t.contact_phone,
    t.contact_external,
    t.contact_change,
    t.contact_session,
)
MOST_MERGED = 20
"""Merges of merges that are followed."""


def new_contact_id() -> str:
    """An id that says nothing of whose it is."""
    return f"k{uuid.uuid4().hex[:15]}"


class Contacts(Door):
    """The people whose calls and texts come in."""

    async def contact(self, number: str) -> ContactRow | None:
        """What is known of whoever has *number*; None: nothing. Where several people share it, what all of them share."""
        query = select(
            _phone.c.number, _contact.c.name, _contact.c.language, _contact.c.custom.label("data"), _contact.c.updated_at
        )
        query = query.join(_contact, _contact.c.id == _phone.c.contact)
        query = query.where(_phone.c.number == number, _contact.c.deleted_at.is_(None))
        newest = (desc(_contact.c.created_at), desc(_contact.c.id))
        found = await self._read(query.order_by(*newest), lambda row: ContactRow(**row))  # asked for every call and text
        return None if not found else _shared(found)

    async def contacts_with(self, number: str) -> list[StoredContact]:
        """The contacts that are alive and have this phone; the one that was made last stands first."""
        return await self._readers.run(lambda connection: contacts_with(connection, [number]))

    async def contact_of_external(self, system: str, ref: str) -> StoredContact | None:
        """The contact that is called *ref* in another system; the newest when there are several."""
        ids = select(_external.c.contact).where(_external.c.system == system, _external.c.ref == ref)
        found = await self._readers.run(lambda connection: _contacts(connection, _contact.c.id.in_(ids)))
        return found[0] if found else None

    async def contact_by_id(self, contact: str) -> StoredContact | None:
        """Also one that was merged or deleted; None: there is none."""
        found = await self._readers.run(lambda connection: _contacts(connection, _contact.c.id == contact, alive=False))
        return found[0] if found else None

    async def contact_by_key(self, key: str) -> StoredContact | None:
        """The contact that the request *key* made or changed; None: it did not come before."""
        ids = select(_change.c.contact).where(_change.c.key == key)
        found = await self._readers.run(lambda connection: _contacts(connection, _contact.c.id.in_(ids), alive=False))
        return found[0] if found else None

    async def merged_with(self, contact: str) -> list[str]:
        """*contact* and everything that has become a part of it, at however many removes."""
        found, fresh = [contact], [contact]
        for _ in range(MOST_MERGED):
            query = select(_contact.c.id).where(_contact.c.merged_into.in_(fresh))
            fresh = [one for one in await self._read(query, lambda row: str(row["id"])) if one not in found]
            if not fresh:
                break
            found += fresh
        return found

    async def find_contacts(self, words: str, limit: int, *, after: str | None = None) -> list[StoredContact]:
        """Contacts in which every one of *words* occurs, changed last first.

        Args:
            words: Parts of names, companies, numbers, addresses, tags or ids, in any order; empty: all.
            limit: How many at most.
            after: The last contact of the page before this one.
        """
        wanted = _matching(words)
        if after is not None:
            last = select(_contact.c.updated_at, _contact.c.id).where(_contact.c.id == after).scalar_subquery()
            wanted.append(tuple_(_contact.c.updated_at, _contact.c.id) < last)
        newest = (desc(_contact.c.updated_at), desc(_contact.c.id))
        query = select(_contact).where(_contact.c.deleted_at.is_(None), *wanted).order_by(*newest).limit(limit)
        return await self._readers.run(lambda connection: _whole(connection, query))

    async def count_contacts(self, words: str = "") -> int:
        """How many `find_contacts` would find without a limit."""
        query = select(func.count().label("n")).select_from(_contact).where(_contact.c.deleted_at.is_(None), *_matching(words))
        return await self._first(query, lambda row: int(row["n"])) or 0

    async def contact_changes(self, contacts: Collection[str], limit: int = 200) -> list[StoredChange]:
        """The history of these contacts, newest first."""
        query = select(_change).where(_change.c.contact.in_(contacts)).order_by(desc(_change.c.n)).limit(limit)
        return await self._read(query, _as_change)

    async def sessions_of_people(self, contacts: Collection[str], phones: Collection[str], limit: int) -> list[StoredSession]:
        """The newest sessions of these phones, and those that were assigned to these contacts."""
        table = tables.session
        assigned = select(_linked.c.session).where(_linked.c.contact.in_(contacts))
        theirs = union(select(table.c.id).where(table.c.customer.in_(phones)), assigned)  # each by its own index
        query = select(table).where(table.c.id.in_(theirs))
        return await self._read(query.order_by(desc(table.c.opened_at), desc(table.c.id)).limit(limit), _as_session)

    async def assign_session(self, session: SessionId, contact: str, at: float) -> None:
        """The session is with this contact."""
        values = {"session": session, "contact": contact, "at": at}
        await self._write(lambda connection: connection.execute(upsert(_linked, connection.dialect.name), values))

    async def write_contacts(self, *writes: ContactWrite) -> tuple[StoredContact, ...]:
        """Save contacts with their history, all or none; as they are now.

        Raises:
            StaleContactError: One of them has been changed meanwhile, or is gone.
        """

        def write(connection: Connection) -> tuple[StoredContact, ...] | StaleContactError:
            keys = {one.contact.id: one.contact.revision for one in writes}
            query = select(_contact.c.id, _contact.c.revision).where(_contact.c.id.in_(keys))
            there = {row.id: row.revision for row in connection.execute(query)}
            if any(there.get(contact, 0) != revision for contact, revision in keys.items()):
                return StaleContactError("the contact has been changed meanwhile")
            return tuple(save_contact(connection, one) for one in writes)

        saved: tuple[StoredContact, ...] = await self._write(write)
        return saved


def _shared(known: Sequence[ContactRow]) -> ContactRow:
    """The first, with name, language and data where all agree: to greet somebody by another's name is worse than by none."""
    first = known[0]
    return msgspec.structs.replace(
        first,
        name=first.name if all(one.name == first.name for one in known) else None,
        language=first.language if all(one.language == first.language for one in known) else None,
        data=first.data if all(one.data == first.data for one in known) else {},
    )


def known_of(contact: StoredContact, number: str) -> ContactRow:
    """A contact as what is known of one number."""
    fields = contact.fields
    return ContactRow(
        number=number, name=fields.name, language=fields.language, data=fields.custom, updated_at=contact.updated_at
    )


def _matching(words: str) -> list[Any]:
    return [_contact.c.searched.contains(word, autoescape=True) for word in folded(words).split()]


def _as_session(row: RowMapping) -> StoredSession:
    return StoredSession(
        id=row["id"],
        seq=row["seq"],
        lines=row["lines"],
        snapshot=row["snapshot"],
        row=as_struct(SessionRow, row),
        fence=row["fence"],
    )


def _as_change(row: RowMapping) -> StoredChange:
    return StoredChange(row["n"], row["contact"], as_struct(ContactChange, row))


# --- on a connection -----------------------------------------------------------------------------------------------------


def contacts_with(connection: Connection, numbers: Collection[str]) -> list[StoredContact]:
    """The contacts that are alive and have one of these phones; the one that was made last stands first."""
    ids = select(_phone.c.contact).where(_phone.c.number.in_(numbers))
    return _contacts(connection, _contact.c.id.in_(ids))


def contacts_called(connection: Connection, system: str, refs: Collection[str]) -> list[StoredContact]:
    """The contacts that are alive and are called by one of these ids in another system."""
    ids = select(_external.c.contact).where(_external.c.system == system, _external.c.ref.in_(refs))
    return _contacts(connection, _contact.c.id.in_(ids))


def _contacts(connection: Connection, condition: Any, *, alive: bool = True) -> list[StoredContact]:
    query = select(_contact).where(condition).order_by(desc(_contact.c.created_at), desc(_contact.c.id))
    return _whole(connection, query.where(_contact.c.deleted_at.is_(None)) if alive else query)


def _whole(connection: Connection, query: Select[Any]) -> list[StoredContact]:
    """Contacts with what stands in other tables, in the order of *query*."""
    rows = connection.execute(query).mappings().all()
    ids = [row["id"] for row in rows]
    if not ids:
        return []
    phones: dict[str, list[str]] = {}
    for found in connection.execute(select(_phone).where(_phone.c.contact.in_(ids)).order_by(_phone.c.place)):
        phones.setdefault(found.contact, []).append(found.number)
    refs: dict[str, dict[str, str]] = {}
    for found in connection.execute(select(_external).where(_external.c.contact.in_(ids))):
        refs.setdefault(found.contact, {})[found.system] = found.ref
    return [
        StoredContact(
            id=row["id"],
            revision=row["revision"],
            fields=ContactFields(
                name=row["name"],
                company=row["company"],
                language=row["language"],
                phones=tuple(phones.get(row["id"], ())),
                mails=tuple(row["mails"]),
                external=refs.get(row["id"], {}),
                tags=tuple(row["tags"]),
                custom=row["custom"],
            ),
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            merged_into=row["merged_into"],
            deleted_at=row["deleted_at"],
        )
        for row in rows
    ]


def save_contact(connection: Connection, write: ContactWrite) -> StoredContact:
    """Put a contact in place of what was there, with the next revision, and its history behind what there is."""
    contact = msgspec.structs.replace(write.contact, revision=write.contact.revision + 1)
    _put(connection, [contact], [(contact.id, change) for change in write.changes])
    return contact


def save_contacts(
    connection: Connection, contacts: Sequence[StoredContact], history: Sequence[tuple[str, ContactChange]]
) -> None:
    """Many at once, each with the next revision."""
    _put(connection, [msgspec.structs.replace(one, revision=one.revision + 1) for one in contacts], history)


def _put(connection: Connection, contacts: Iterable[StoredContact], history: Sequence[tuple[str, ContactChange]]) -> None:
    contacts = list(contacts)
    if not contacts:
        return
    connection.execute(upsert(_contact, connection.dialect.name), [_row(one) for one in contacts])
    again = [one.id for one in contacts if one.revision > 1]
    for table, rows in ((_phone, _phones(contacts)), (_external, _refs(contacts))):
        if again:
            connection.execute(delete(table).where(table.c.contact.in_(again)))
        if rows:
            connection.execute(insert(table, connection.dialect.name), rows)
    if history:
        connection.execute(
            insert(_change, connection.dialect.name),
            [{"contact": contact} | msgspec.structs.asdict(change) for contact, change in history],
        )


def _row(contact: StoredContact) -> dict[str, Any]:
    fields = contact.fields
    return {
        "id": contact.id,
        "revision": contact.revision,
        "name": fields.name,
        "company": fields.company,
        "language": fields.language,
        "mails": fields.mails,
        "tags": fields.tags,
        "custom": fields.custom,
        "searched": searched(fields),
        "created_at": contact.created_at,
        "updated_at": contact.updated_at,
        "merged_into": contact.merged_into,
        "deleted_at": contact.deleted_at,
    }


def _phones(contacts: Iterable[StoredContact]) -> list[dict[str, Any]]:
    return [
        {"number": number, "contact": one.id, "place": place}
        for one in contacts
        for place, number in enumerate(dict.fromkeys(one.fields.phones))
    ]


def _refs(contacts: Iterable[StoredContact]) -> list[dict[str, Any]]:
    return [{"system": system, "ref": ref, "contact": one.id} for one in contacts for system, ref in one.fields.external.items()]


def put_known(connection: Connection, row: ContactRow) -> None:
    """Replace what is known of a number: of the contact that was made last of those who have it, or of a new one."""
    there = contacts_with(connection, [row.number])
    if not there:
        there = [
            StoredContact(
                id=new_contact_id(),
                revision=0,
                fields=ContactFields(phones=(row.number,)),
                created_at=row.updated_at,
                updated_at=row.updated_at,
            )
        ]
    contact = there[0]
    fields = msgspec.structs.replace(contact.fields, name=row.name, language=row.language, custom=row.data)
    changed: Mapping[str, Any] = differences(contact.fields, fields)
    kept = msgspec.structs.replace(contact, fields=fields, updated_at=row.updated_at)
    changes = () if not changed and contact.revision else (_change_of(row, contact, fields),)
    save_contact(connection, ContactWrite(contact=kept, changes=changes))


def _change_of(row: ContactRow, contact: StoredContact, fields: ContactFields) -> ContactChange:
    if contact.revision:
        return ContactChange(at=row.updated_at, actor=row.actor, kind="changed", data=differences(contact.fields, fields))
    return ContactChange(at=row.updated_at, actor=row.actor, kind="created", data=differences(ContactFields(), fields))
