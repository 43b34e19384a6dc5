"""The rules of contacts: fields, matching, merging and what a record says."""

from datetime import UTC
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.crm import CrmContact, RecordedNote, RecordedTransfer
from bridge.crm.fields import MOST_CUSTOM, FieldsError, tidy
from bridge.crm.matching import as_contact, fields_of, in_order, learned, merged, newest, screen_pop, unmerged, verdict
from bridge.crm.record import found_out, record_of
from bridge.events import AgentId, Media, MessageId, QueueId, SessionId
from bridge.journal import MessageRow, SessionRow, StoredSession, TimelineLine
from bridge.journal.crm_rows import ContactFields, changed, differences, folded
from bridge.transcript import Names

WORDS = st.sampled_from(["a", "b", "c", "d"])
FIELDS = st.builds(
    ContactFields,
    name=st.none() | WORDS,
    company=st.none() | WORDS,
    language=st.none() | WORDS,
    phones=st.lists(WORDS, unique=True, max_size=3).map(tuple),
    mails=st.lists(WORDS, unique=True, max_size=3).map(tuple),
    tags=st.lists(WORDS, unique=True, max_size=3).map(tuple),
    external=st.dictionaries(WORDS, WORDS, max_size=3),
    custom=st.dictionaries(WORDS, WORDS | st.booleans(), max_size=3),
)
NAMES = Names("Example", MappingProxyType({"ben": "Ben", "cyd": "Cyd"}), MappingProxyType({"billing": "Billing"}), "Maria")
PHOTO = Media("0" * 64, "image/png", 1000)


# --- merging


@given(FIELDS, FIELDS)
def test_merging_loses_nothing_and_prefers_the_one_that_stays(keep: ContactFields, other: ContactFields) -> None:
    """Where both know something the one that is kept counts."""
    both = merged(keep, other)
    for name in ("name", "company", "language"):
        assert getattr(both, name) == (getattr(keep, name) if getattr(keep, name) is not None else getattr(other, name))
    for name in ("phones", "mails", "tags"):
        assert set(getattr(both, name)) == set(getattr(keep, name)) | set(getattr(other, name))
        assert getattr(both, name)[: len(getattr(keep, name))] == getattr(keep, name)
    assert both.custom == {**other.custom, **keep.custom}


@given(FIELDS, FIELDS)
def test_a_merge_is_undone(keep: ContactFields, other: ContactFields) -> None:
    """What was there before is there again."""
    assert unmerged(merged(keep, other), keep, other) == keep


@given(FIELDS, FIELDS, FIELDS)
def test_what_was_written_after_a_merge_stays_when_it_is_undone(
    keep: ContactFields, other: ContactFields, later: ContactFields
) -> None:
    """Nobody's later words are lost, unless they are what the other contact said as well."""
    after = unmerged(changed(merged(keep, other), later), keep, other)
    if later.name not in {None, merged(keep, other).name}:
        assert after.name == later.name
    assert set(after.phones) >= set(keep.phones) | (set(later.phones) - set(other.phones))
    assert set(after.phones) <= set(keep.phones) | set(later.phones)


@given(FIELDS, FIELDS)
def test_learning_adds_and_takes_nothing_away(known: ContactFields, fresh: ContactFields) -> None:
    """What is known stays; learnt once, there is nothing more to learn."""
    new = learned(known, fresh)
    after = known if new is None else changed(known, new)
    assert learned(after, fresh) is None
    assert known.name in {None, after.name}
    assert after.phones[: len(known.phones)] == known.phones


@given(FIELDS, FIELDS)
def test_differences_are_what_differs(one: ContactFields, two: ContactFields) -> None:
    """And nothing when nothing does."""
    assert (differences(one, two) == {}) == (one == two)


@given(FIELDS)
def test_a_contact_of_a_crm_has_the_same_fields(fields: ContactFields) -> None:
    """There and back."""
    assert fields_of(as_contact("k1", fields)) == fields


# --- matching


def test_a_look_up_shows_nobody_somebody_or_several() -> None:
    """Made last stands first, and is taken when nobody chooses; of equals one is taken every time."""
    older, newer = CrmContact(id="b", created_at=1.0), CrmContact(id="a", created_at=2.0)
    assert (verdict([]), verdict([older]), verdict([older, newer])) == ("none", "one", "several")
    assert in_order([older, newer]) == (newer, older)
    assert newest([older, newer]) == newer
    assert newest([CrmContact(id="a"), CrmContact(id="b")]).id == "b"


@pytest.mark.parametrize(
    ("value", "encoded"),
    [("a b", "a%20b"), ("../../x?y#z", "..%2F..%2Fx%3Fy%23z"), ("@evil.example", "%40evil.example"), (None, "")],
)
def test_a_value_cannot_lead_elsewhere(value: str | None, encoded: str) -> None:
    """Everything but letters and digits is encoded."""
    assert screen_pop("https://crm.example/{id}/x", {"id": value}) == f"https://crm.example/{encoded}/x"


# --- fields


def test_what_is_written_is_made_fit() -> None:
    """Spaces, control characters, numbers in any form, the same thing twice."""
    assert tidy(
        {
            "name": "  Maria \n Silva\x00 ",
            "language": "fr_CA",
            "phones": "555 010 0123; (555) 010-0123, +1 555 010 0124",
            "mails": ["m@example.com", ""],
            "tags": "gold,, fibre ",
            "custom": {"plan": "a\x07", "empty": "", "vip": False},
            "external": {"shop": 7},
        },
        region="US",
    ) == ContactFields(
        name="Maria Silva",
        language="fr-CA",
        phones=("+15550100123", "+15550100124"),
        mails=("m@example.com",),
        tags=("gold", "fibre"),
        custom={"plan": "a", "vip": False},
        external={"shop": "7"},
    )


@pytest.mark.parametrize(
    ("given_fields", "field", "why"),
    [
        ({"name": "x" * 81}, "name", "at most 80"),
        ({"company": "x" * 121}, "company", "at most 120"),
        ({"language": "frog"}, "language", "no language"),
        ({"phones": "12, 34"}, "phones", "not a telephone number"),
        ({"phones": [f"+155501001{n:02}" for n in range(11)]}, "phones", "At most 10"),
        ({"mails": "a b@c"}, "mails", "not a mail address"),
        ({"mails": f"{'x' * 250}@example.com"}, "mails", "not a mail address"),
        ({"tags": "x" * 41}, "tags", "too long"),
        ({"custom": {"": "x"}}, "custom", "label"),
        ({"custom": {"a": "x" * 1001}}, "custom", "at most 1000"),
        ({"custom": {str(n): n for n in range(MOST_CUSTOM + 1)}}, "custom", "At most 50"),
    ],
)
def test_what_cannot_be_kept_is_named(given_fields: dict[str, Any], field: str, why: str) -> None:
    """By its field, in a sentence."""
    with pytest.raises(FieldsError, match=why) as wrong:
        tidy(given_fields, region="US")
    assert set(wrong.value.faults) == {field}


def test_searching_knows_neither_case_nor_accents() -> None:
    """As people type."""
    assert folded("Zoë MÜLLER", None, "Straße") == "zoe muller strasse"


# --- the record


def line(at: float, kind: str, **data: Any) -> TimelineLine:
    return TimelineLine(at=at, kind=kind, data=data)


def stored(**changes: Any) -> StoredSession:
    row = SessionRow(
        state="closed",
        customer="+15550100123",
        our_number="+15550100200",
        language="fr",
        queue=QueueId("billing"),
        agent=AgentId("cyd"),
        opened_at=100.0,
        closed_at=500.0,
        ended_reason="ended by agent",
        handled=200.0,
    )
    return StoredSession(id=SessionId("t1"), seq=1, lines=1, snapshot=b"{}", row=msgspec.structs.replace(row, **changes))


def test_a_record_says_everything() -> None:
    """Transfers by how they ended, agents in order, pictures with links, the last disposition, the whole transcript."""
    lines = [
        line(110, "agent.joined", name="Ben", channel="sms"),
        line(120, "transfer.started", by="ben", to=None, queue="billing", note="An invoice"),
        line(130, "transfer.failed", by="ben", to=None, reason="nobody took it"),
        line(140, "transfer.started", by="ben", to="cyd", queue=None, note=""),
        line(150, "transfer.completed", by="ben", to="cyd"),
        line(160, "agent.joined", name="Cyd", channel="sms"),
        line(165, "note.written", name="Ben", note="Not mine", disposition="Wrong department"),
        line(170, "transfer.started", by="cyd", to=None, queue="billing", note=""),
        line(180, "transfer.started", by="cyd", to=None, queue="billing", note=""),
        line(190, "opted_out", word="STOP"),
        line(195, "note.written", name="Cyd", note="Paid", disposition="Solved"),
        line(196, "note.written", name="Cyd", note="", disposition=None),
    ]
    text = MessageRow(
        id=MessageId("m1"),
        session=SessionId("t1"),
        direction="in",
        provider="loopback",
        sender="+15550100123",
        recipient="+15550100200",
        body="Look",
        media=(PHOTO,),
        state="received",
        author="customer",
        created_at=115.0,
    )
    record = record_of(
        stored(), lines, [text], names=NAMES, zone=UTC, link=lambda media: f"https://x.example/{media.size}", contact="k1"
    )
    assert record.agents == ("Ben", "Cyd")
    assert [(each.state, each.by, each.to, each.queue, each.ended_at) for each in record.transfers] == [
        ("failed", "Ben", None, "Billing", 130.0),
        ("completed", "Ben", "Cyd", None, 150.0),
        ("started", "Cyd", None, "Billing", None),
        ("started", "Cyd", None, "Billing", None),
    ]
    assert record.transfers[0] == RecordedTransfer(
        at=120.0, state="failed", by="Ben", queue="Billing", note="An invoice", ended_at=130.0, reason="nobody took it"
    )
    assert [(media.url, media.author) for media in record.media] == [("https://x.example/1000", "Maria")]
    assert record.notes == (
        RecordedNote(at=165.0, agent="Ben", note="Not mine", disposition="Wrong department"),
        RecordedNote(at=195.0, agent="Cyd", note="Paid", disposition="Solved"),
    )
    assert (record.disposition, record.opted_out, record.queue_title, record.contact) == ("Solved", True, "Billing", "k1")
    assert "Look" in record.transcript


def test_a_record_of_little_is_a_record() -> None:
    """Nobody joined, nothing was noted, the number was withheld."""
    record = record_of(
        stored(customer=None, queue=None, closed_at=None), [], [], names=NAMES, zone=UTC, link=lambda _: None, contact=None
    )
    assert (record.customer, record.queue_title, record.agents, record.disposition, record.closed_at) == (
        None,
        None,
        (),
        None,
        100.0,
    )
    assert not record.opted_out


def test_what_a_session_found_out_is_what_was_said_in_it() -> None:
    """Other phones, and a language that was chosen; one that was guessed says nothing of the person."""
    other = line(1, "sender.added", number="+15550100124", why="code")
    guessed, chosen = line(2, "language.chosen", language="fr", by="guess"), line(2, "language.chosen", language="fr", by="key")
    both = ("+15550100123", "+15550100124")
    assert found_out(stored(), [other, guessed]) == ContactFields(phones=both)
    assert found_out(stored(), [other, chosen]) == ContactFields(phones=both, language="fr")
    assert found_out(stored(customer=None), []) == ContactFields()
