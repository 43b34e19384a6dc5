"""What every journal promises about contacts and the CRM's queue, whichever database keeps it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from bridge.events import SessionId
from bridge.journal import ContactRow, Journal, JournalError, SessionRow, Unit
from bridge.journal.crm import new_contact_id
from bridge.journal.crm_rows import (
    ContactChange,
    ContactFields,
    ContactWrite,
    CrmEntry,
    CrmMatch,
    StaleContactError,
    StoredContact,
)
from bridge.journal.database import MIGRATIONS

PHONE, OTHER, OURS = "+15550100123", "+15550100124", "+15550100200"
ANN = SessionId("ann")


@pytest.fixture
async def journal(journal_url: str) -> AsyncIterator[Journal]:
    async with Journal.open(journal_url) as opened:
        yield opened


def contact(at: float = 1.0, **fields: Any) -> StoredContact:
    return StoredContact(
        id=new_contact_id(), revision=0, fields=msgspec.convert(fields, ContactFields), created_at=at, updated_at=at
    )


async def put(journal: Journal, *contacts: StoredContact, kind: Any = "created") -> tuple[StoredContact, ...]:
    change = ContactChange(at=1.0, actor="agent:ann", kind=kind)
    return await journal.write_contacts(*(ContactWrite(contact=one, changes=(change,)) for one in contacts))


async def session(journal: Journal, name: SessionId = ANN, **changes: Any) -> None:
    row = SessionRow(state="closed", customer=PHONE, our_number=OURS, language="en", opened_at=100.0, closed_at=200.0)
    row = msgspec.structs.replace(row, **changes)
    await journal.commit(Unit(session=name, events=[(100.0, b"{}")], snapshot=b"{}", row=row))


async def test_a_contact_comes_back_as_it_was_put(journal: Journal) -> None:
    """By id, by each phone, and by its id elsewhere."""
    (ann,) = await put(
        journal,
        contact(
            name="Ann",
            company="Example",
            language="fr",
            phones=(OTHER, PHONE),
            mails=("a@example.com",),
            external={"shop": "7"},
            tags=("gold",),
            custom={"seats": 3, "vip": True, "é": "ü"},
        ),
    )
    assert ann.revision == 1
    assert await journal.contact_by_id(ann.id) == ann
    assert await journal.contacts_with(PHONE) == [ann]
    assert await journal.contacts_with(OTHER) == [ann]
    assert await journal.contact_of_external("shop", "7") == ann
    assert await journal.contact_of_external("shop", "8") is None
    assert await journal.contact_by_id("k0") is None


async def test_only_who_has_seen_the_newest_changes_it(journal: Journal) -> None:
    """All of a write or nothing of it, also when two write at once."""
    ann, bob = await put(journal, contact(name="Ann", phones=(PHONE,)), contact(name="Bob", phones=(OTHER,)))
    renamed = msgspec.structs.replace(ann, fields=ContactFields(name="Anna", phones=(PHONE, OTHER)))
    results = await asyncio.gather(put(journal, renamed, bob), put(journal, bob, renamed), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["StaleContactError", "tuple"]
    with pytest.raises(StaleContactError):
        await put(journal, renamed)
    now = await journal.contact_by_id(ann.id)
    assert now is not None
    assert (now.revision, now.fields.name) == (2, "Anna")
    assert {one.id for one in await journal.contacts_with(OTHER)} == {ann.id, bob.id}
    assert len(await journal.contact_changes([ann.id])) == 2


async def test_a_request_that_comes_twice_is_known_by_its_key(journal: Journal) -> None:
    """A second write with the same key is refused as a whole."""
    change = ContactChange(at=1.0, actor="crm", kind="created", key="create:1")
    (ann,) = await journal.write_contacts(ContactWrite(contact=contact(name="Ann"), changes=(change,)))
    assert await journal.contact_by_key("create:1") == ann
    assert await journal.contact_by_key("create:2") is None
    with pytest.raises(JournalError):
        await journal.write_contacts(ContactWrite(contact=contact(name="Ann again"), changes=(change,)))
    assert await journal.count_contacts() == 1


async def test_contacts_are_found_by_parts(journal: Journal) -> None:
    """Each word somewhere, without case and accents; a sign of the search language is a letter."""
    await put(
        journal,
        contact(1.0, name="Zoë Müller", company="A_B", phones=(PHONE,)),
        contact(2.0, name="Ann Weber", tags=("100%",), mails=("ann@example.com",)),
        contact(3.0, name="Ann Older"),
    )
    for words, names in (
        ("zoe MULLER", ["Zoë Müller"]),
        ("0100123", ["Zoë Müller"]),
        ("ann", ["Ann Older", "Ann Weber"]),
        ("web ann", ["Ann Weber"]),
        ("100%", ["Ann Weber"]),
        ("%", ["Ann Weber"]),
        ("a_b", ["Zoë Müller"]),
        ("nobody", []),
        ("", ["Ann Older", "Ann Weber", "Zoë Müller"]),
    ):
        assert [one.fields.name for one in await journal.find_contacts(words, 9)] == names
        assert await journal.count_contacts(words) == len(names)


async def test_pages_follow_one_another(journal: Journal) -> None:
    """Also where many were changed at the same time."""
    made = await put(journal, *(contact(1.0, name=f"Person {n}") for n in range(7)))
    seen: list[str] = []
    while page := await journal.find_contacts("", 3, after=seen[-1] if seen else None):
        seen += [one.id for one in page]
    assert sorted(seen) == sorted(one.id for one in made)


async def test_a_tombstone_is_found_by_its_id_only(journal: Journal) -> None:
    """And what became a part of it is known at however many removes."""
    one, two, three = await put(journal, *(contact(name=name, phones=(PHONE,)) for name in ("Ann", "Bob", "Cleo")))
    gone = msgspec.structs.replace(three, merged_into=two.id, deleted_at=5.0)
    await put(journal, gone)
    await put(journal, msgspec.structs.replace(two, merged_into=one.id, deleted_at=6.0))
    assert [each.id for each in await journal.contacts_with(PHONE)] == [one.id]
    assert await journal.count_contacts() == 1
    assert set(await journal.merged_with(one.id)) == {one.id, two.id, three.id}
    found = await journal.contact_by_id(three.id)
    assert found is not None
    assert (found.merged_into, found.fields.phones) == (two.id, (PHONE,))


async def test_what_is_known_of_a_number_is_what_its_people_share(journal: Journal) -> None:
    """One truth: what is put by number is in the contact that was made last, and a name that differs is nobody's."""
    assert await journal.contact(PHONE) is None
    await journal.commit(Unit(contacts=[ContactRow(number=PHONE, name="Ann", language="fr", data={"a": 1}, updated_at=1.0)]))
    (ann,) = await journal.contacts_with(PHONE)
    assert await journal.contact(PHONE) == ContactRow(number=PHONE, name="Ann", language="fr", data={"a": 1}, updated_at=1.0)
    await put(journal, contact(2.0, name="Bob", language="fr", phones=(PHONE,)))
    shared = await journal.contact(PHONE)
    assert shared is not None
    assert (shared.name, shared.language, shared.data) == (None, "fr", {})
    await journal.commit(Unit(contacts=[ContactRow(number=PHONE, name="Bobby", updated_at=3.0, actor="api:shop")]))
    names = {one.fields.name for one in await journal.contacts_with(PHONE)}
    assert names == {"Ann", "Bobby"}
    (history, *_) = await journal.contact_changes([one.id for one in await journal.contacts_with(PHONE) if one.id != ann.id])
    assert (history.change.actor, history.change.data["name"]) == ("api:shop", ["Bob", "Bobby"])


async def test_sessions_of_a_person_are_those_of_all_phones_and_those_assigned(journal: Journal) -> None:
    """Newest first."""
    (ann,) = await put(journal, contact(name="Ann", phones=(PHONE, OTHER)))
    for name, number, at in (("a", PHONE, 1.0), ("b", OTHER, 2.0), ("c", None, 3.0), ("d", None, 4.0)):
        await session(journal, SessionId(name), customer=number, opened_at=at)
    await journal.assign_session(SessionId("c"), ann.id, 9.0)
    await journal.assign_session(SessionId("c"), ann.id, 10.0)
    found = await journal.sessions_of_people([ann.id], [PHONE, OTHER], 9)
    assert [stored.id for stored in found] == ["c", "b", "a"]


# --- the queue


def entry(name: str, at: float = 1.0, **changes: Any) -> CrmEntry:
    spec: dict[str, Any] = {"id": name, "session": ANN, "number": PHONE, "action": "look_up", "at": at, "due_at": at}
    return msgspec.convert(spec | changes, CrmEntry)


async def due(journal: Journal, now: float = 100.0) -> list[str]:
    return [each.id for each in await journal.crm_due(now, 9)]


async def test_a_session_is_asked_for_in_order_and_others_go_on(journal: Journal) -> None:
    """What waits for its time holds back its own session only; a record comes last, whatever was asked for after it."""
    await session(journal)
    await session(journal, SessionId("bob"))
    await journal.crm_enqueue(entry("look_up:1"), entry("record:ann", action="record"), entry("look_up:2", session="bob"))
    await journal.crm_enqueue(entry("look_up:1"), entry("create:1", action="create"))
    assert await due(journal) == ["look_up:1", "look_up:2"]
    first = (await journal.crm_due(100.0, 1))[0]
    await journal.crm_failed(first.n, "busy", {}, 150.0)
    assert await due(journal) == ["look_up:2"]
    assert await journal.crm_next(100.0) == 150.0
    await journal.crm_done(first.n, {"found": 0}, 160.0)
    assert set(await due(journal)) == {"create:1", "look_up:2"}
    made = next(each for each in await journal.crm_entries(session=ANN) if each.action == "create")
    await journal.crm_failed(made.n, "no", {"name": "too long"}, None)
    assert set(await due(journal)) == {"record:ann", "look_up:2"}
    assert await journal.crm_next(200.0) is None


async def test_dead_letters_are_counted_and_taken_up_again(journal: Journal) -> None:
    """Once; with what the CRM said."""
    await session(journal)
    await journal.crm_enqueue(entry("create:1", action="create"))
    (made,) = await journal.crm_due(1.0, 9)
    await journal.crm_failed(made.n, "no", {"name": "too long"}, None)
    (dead,) = await journal.crm_entries(state="dead")
    assert (dead.attempts, dead.last_error, dead.faults) == (1, "no", {"name": "too long"})
    assert await journal.crm_counts() == {"dead": 1}
    assert await journal.crm_redeliver(made.n, 50.0)
    assert not await journal.crm_redeliver(made.n, 50.0)
    assert await due(journal, 50.0) == ["create:1"]
    await journal.crm_done(made.n, {"contact": "k1"}, 60.0)
    (done,) = await journal.crm_entries()
    assert (done.state, done.result, done.last_error) == ("done", {"contact": "k1"}, None)
    assert await journal.crm_entries(after=done.n) == []


async def test_what_is_long_done_is_forgotten_but_not_that_it_was_recorded(journal: Journal) -> None:
    """Or it would be recorded again."""
    await session(journal)
    await journal.crm_enqueue(entry("look_up:1"), entry("record:ann", action="record"))
    for each in await journal.crm_entries():
        await journal.crm_done(each.n, {}, 10.0)
    assert await journal.crm_forget(20.0, 9) == 1
    assert [each.id for each in await journal.crm_entries()] == ["record:ann"]


async def test_sessions_that_ended_unheard_are_found(journal: Journal) -> None:
    """Since a time, oldest first; not those that are open, recorded or erased."""
    for name, closed in (("old", 50.0), ("one", 200.0), ("two", 150.0), ("done", 160.0), ("open", None)):
        await session(journal, SessionId(name), closed_at=closed, customer=OTHER if name == "one" else PHONE)
    await session(journal, SessionId("gone"), customer="+15550100199")
    await journal.erase("+15550100199", at=300.0)
    await journal.crm_enqueue(entry("record:done", session="done", action="record"))
    assert await journal.crm_unrecorded(100.0, 9) == [(SessionId("two"), PHONE), (SessionId("one"), OTHER)]
    assert await journal.crm_unrecorded(100.0, 1) == [(SessionId("two"), PHONE)]


async def test_a_match_is_replaced_with_what_follows_from_it(journal: Journal) -> None:
    """In one transaction, and only in place of what its author has seen."""
    await session(journal)
    match = CrmMatch(session=ANN, number=PHONE, state="waiting", at=1.0)
    assert await journal.put_crm_match(match, entry("look_up:1"), over=None)
    assert not await journal.put_crm_match(match, entry("look_up:2"), over=None)
    chosen = msgspec.structs.replace(match, state="assigned", contact="7", candidates=({"id": "7", "name": "Ann"},), by="agent:b")
    assert await journal.put_crm_match(chosen, entry("look_up:1"), over=match)
    assert not await journal.put_crm_match(msgspec.structs.replace(match, state="nobody"), entry("create:1"), over=match)
    assert await journal.crm_match(ANN) == chosen
    assert await journal.crm_match(SessionId("nobody")) is None
    assert len(await journal.crm_entries()) == 1


# --- erasing


async def test_a_person_is_forgotten_with_everything_that_became_a_part_of_them(journal: Journal) -> None:
    """And the number is named nowhere: not in histories of others, not as somebody else's candidate."""
    await session(journal)
    await session(journal, SessionId("bob"), customer=OTHER)
    part, whole, other = await put(
        journal,
        contact(name="A.", phones=(PHONE,)),
        contact(name="Ann", phones=("+15550100188",)),
        contact(name="Bob", phones=(OTHER,)),
    )
    await put(journal, msgspec.structs.replace(part, merged_into=whole.id, deleted_at=3.0), kind="merged")
    seen = ContactChange(at=2.0, actor="agent:ann", kind="changed", data={"phones": [[PHONE], [OTHER]]})
    await journal.write_contacts(ContactWrite(contact=other, changes=(seen,)))
    await journal.assign_session(ANN, part.id, 1.0)
    candidates = ({"id": "1", "phones": [PHONE]},)
    for name, number in ((ANN, PHONE), (SessionId("bob"), OTHER)):
        match = CrmMatch(session=name, number=number, state="choose", candidates=candidates, at=1.0)
        assert await journal.put_crm_match(match, over=None)
    await journal.crm_enqueue(entry("create:1", action="create", body={"fields": {"phones": [PHONE]}}))
    exported = await journal.export(PHONE)
    assert exported["contact"] is None  # the part is no contact of its own any more
    assert [each["id"] for each in exported["crm_entries"]] == ["create:1"]

    erased = await journal.erase(PHONE, at=10.0)

    assert (erased.counts["contact"], erased.counts["crm_entry"], erased.counts["crm_match"]) == (1, 1, 2)
    assert await journal.contact_by_id(part.id) is None
    assert await journal.crm_match(SessionId("bob")) is None
    bob = await journal.contact_by_id(other.id)
    assert bob is not None
    assert bob.fields.phones == (OTHER,)
    assert [each.change.data for each in await journal.contact_changes([other.id])] == [{}, {}]


async def test_what_was_known_of_numbers_before_is_a_contact_now(journal_url: str) -> None:
    """With name, language and data; a number of which nothing was known is none."""
    engine = create_engine(journal_url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        for number, name, data in ((PHONE, "'Zoë'", '{"plan":"gold"}'), (OTHER, "null", "{}")):
            connection.exec_driver_sql(
                f"insert into contact (number, name, language, data, updated_at) values ('{number}', {name}, null, '{data}', 5.0)"
            )
    engine.dispose()
    async with Journal.open(journal_url) as journal:
        assert await journal.contact(PHONE) == ContactRow(number=PHONE, name="Zoë", data={"plan": "gold"}, updated_at=5.0)
        assert await journal.contact(OTHER) is None
        assert [one.fields.phones for one in await journal.find_contacts("zoe", 5)] == [(PHONE,)]
