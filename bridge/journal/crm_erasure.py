"""What contacts and the CRM's queue keep of a number: given out, and erased."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, String, cast, delete, desc, or_, select, update

from bridge.journal import crm_tables as t
from bridge.journal.crm import contacts_with, known_of

_contact, _phone, _change, _linked = t.contact, t.contact_phone, t.contact_change, t.contact_session
_match, _entry = t.crm_match, t.crm_entry
ERASED = b"null"
"""The snapshot of a session that was erased."""


def export_contacts(connection: Connection, number: str, sessions: Collection[str]) -> Mapping[str, Any]:
    """`contact` (None when there is none) and `contacts` with their histories, and what the CRM was asked of *sessions*."""
    found = contacts_with(connection, [number])
    known = None if not found else msgspec.to_builtins(known_of(found[0], number))
    if known is not None:
        del known["actor"]
    return {
        "contact": known,
        "contacts": [
            msgspec.to_builtins(one) | {"history": _rows(connection, _change, _change.c.contact == one.id)} for one in found
        ],
        "crm_matches": _rows(connection, _match, _match.c.session.in_(sessions)),
        "crm_entries": _rows(connection, _entry, _entry.c.session.in_(sessions)),
    }


def _rows(connection: Connection, table: Any, condition: Any) -> list[dict[str, Any]]:
    order = desc(table.c.n) if "n" in table.c else table.c.session
    query = select(table).where(condition).order_by(order)
    return [{name: value for name, value in row.items() if name != "n"} for row in connection.execute(query).mappings()]


def erase_contacts(connection: Connection, number: str, sessions: Collection[str]) -> dict[str, int]:
    """Remove the contacts that have *number*, whole, with what became a part of them; and what waits to be told of *sessions*.

    A contact goes as a whole, also when it has other phones: it is the person who is to be forgotten. Elsewhere the number is
    taken out of histories and of the candidates of other sessions.
    """
    ids = _of_person(connection, number)
    named = f"%{number}%"
    elsewhere = _change.c.contact.not_in(ids), cast(_change.c.data, String).like(named)
    connection.execute(update(_change).where(*elsewhere).values(data={}))
    for table in (_phone, t.contact_external, _change, _linked):
        connection.execute(delete(table).where(table.c.contact.in_(ids)))
    counts = {"contact": connection.execute(delete(_contact).where(_contact.c.id.in_(ids))).rowcount}
    about = or_(_entry.c.session.in_(sessions), _entry.c.number == number)
    counts["crm_entry"] = connection.execute(delete(_entry).where(about)).rowcount
    connection.execute(delete(_linked).where(_linked.c.session.in_(sessions)))
    theirs = or_(_match.c.session.in_(sessions), _match.c.number == number, cast(_match.c.candidates, String).like(named))
    counts["crm_match"] = connection.execute(delete(_match).where(theirs)).rowcount
    return counts


def _of_person(connection: Connection, number: str) -> list[str]:
    """The contacts that have *number*, alive or not, and those that are a part of them."""
    fresh = list(connection.execute(select(_phone.c.contact).where(_phone.c.number == number)).scalars())
    found = set(fresh)
    while fresh:
        parts = set(connection.execute(select(_contact.c.id).where(_contact.c.merged_into.in_(fresh))).scalars())
        fresh = sorted(parts - found)
        found |= parts
    return sorted(found)
