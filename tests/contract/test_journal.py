"""What every journal promises, whichever database keeps it."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, select

from bridge.events import AgentId, Media, MessageId, ProviderRef, QueueId, SessionId, TextState
from bridge.journal import (
    EVERY_SENDER,
    AgentStateRow,
    BlockRow,
    Committed,
    ConsentRow,
    ContactRow,
    DecisionRow,
    InboundRow,
    Journal,
    JournalClosedError,
    LineTypeRow,
    MessageRow,
    MessageUpdate,
    NoticeRow,
    OutboxDone,
    OutboxRow,
    Reply,
    SessionRow,
    StaleSessionError,
    StillOpenError,
    StoredDecision,
    StoredEvent,
    StoredSession,
    Suppression,
    TextCount,
    TimelineLine,
    Unit,
    UnitRefusedError,
    UploadRow,
    tables,
)
from bridge.journal.reports import DAY
from bridge.journal.requests import RESERVED_FOR
from tests.postgres import Postgres

CUSTOMER, US = "+15550100200", "+15550100100"
ANA = SessionId("ana")


@pytest.fixture
async def journal(journal_url: str) -> AsyncIterator[Journal]:
    async with Journal.open(journal_url) as journal:
        yield journal


def row(**changes: Any) -> SessionRow:
    fields = {"state": "open", "customer": CUSTOMER, "our_number": US, "language": "en", "opened_at": 100.0} | changes
    return msgspec.convert(fields, SessionRow)


def opened(session: SessionId = ANA, **changes: Any) -> Unit:
    return Unit(session=session, expected_seq=0, events=[(100.0, b'{"n":1}')], snapshot=b'{"n":1}', row=row(**changes))


def text(name: str = "m1", session: SessionId | None = ANA, **changes: Any) -> MessageRow:
    fields = {
        "id": name,
        "session": session,
        "direction": "out",
        "provider": "loopback",
        "sender": US,
        "recipient": CUSTOMER,
        "body": "Hello",
        "state": "pending",
        "author": "flow",
        "created_at": 100.0,
    }
    return msgspec.convert(fields | changes, MessageRow)


def out(name: str = "m1", priority: int = 0, created_at: float = 100.0, due_at: float = 100.0) -> OutboxRow:
    return OutboxRow(message=MessageId(name), priority=priority, created_at=created_at, due_at=due_at)


async def session_of(journal: Journal) -> StoredSession:
    session = await journal.session(ANA)
    assert session is not None
    return session


async def outbox_of(journal: Journal) -> OutboxRow:
    row = await journal.outbox(MessageId("m1"))
    assert row is not None
    return row


async def test_events_are_numbered_from_one_without_gaps(journal: Journal) -> None:
    """A session's events get contiguous numbers across units, and come back in order with their bytes unchanged."""
    assert Committed(seq=1, lines=0) == await journal.commit(opened())
    end = await journal.commit(Unit(session=ANA, expected_seq=1, events=[(101.5, b'{"a": "\xc3\xa9"}'), (102.0, b"{}")]))

    assert Committed(seq=3, lines=0) == end
    assert [
        StoredEvent(seq=1, at=100.0, body=b'{"n":1}'),
        StoredEvent(seq=2, at=101.5, body=b'{"a": "\xc3\xa9"}'),
        StoredEvent(seq=3, at=102.0, body=b"{}"),
    ] == await journal.events(ANA)
    assert [event.seq for event in await journal.events(ANA, after=2)] == [3]


async def test_a_unit_keeps_what_it_does_not_mention(journal: Journal) -> None:
    """Snapshot and row change only when a unit brings new ones."""
    await journal.commit(opened())
    await journal.commit(Unit(session=ANA, snapshot=b'{"n":2}'))
    assert StoredSession(id=ANA, seq=1, lines=0, snapshot=b'{"n":2}', row=row()) == await journal.session(ANA)

    await journal.commit(Unit(session=ANA, row=row(text_state="open", queue="support", agent="kim")))

    stored = await session_of(journal)
    assert stored.snapshot == b'{"n":2}'
    assert row(text_state="open", queue="support", agent="kim") == stored.row


async def test_a_stale_unit_is_refused_whole(journal: Journal) -> None:
    """A unit computed from an older state of the session leaves nothing behind and says where the session is."""
    await journal.commit(opened())
    stale = Unit(session=ANA, expected_seq=0, events=[(1.0, b"{}")], messages=[text()], kv={"k": b"v"})

    with pytest.raises(StaleSessionError) as error:
        await journal.commit(stale)

    assert (error.value.expected_seq, error.value.actual_seq) == (0, 1)
    assert await journal.messages(ANA) == []
    assert await journal.value("k") is None


async def test_a_session_nobody_opened_cannot_go_on(journal: Journal) -> None:
    """The first unit of a session needs expected number 0 or none, a row and a snapshot."""
    with pytest.raises(StaleSessionError):
        await journal.commit(Unit(session=ANA, expected_seq=4, snapshot=b"{}", row=row()))
    with pytest.raises(UnitRefusedError):
        await journal.commit(Unit(session=ANA, expected_seq=0, events=[(1.0, b"{}")]))
    assert await journal.session(ANA) is None


async def test_a_unit_without_a_session_has_no_events(journal: Journal) -> None:
    """Events and timeline lines belong to a session."""
    with pytest.raises(UnitRefusedError):
        await journal.commit(Unit(events=[(1.0, b"{}")]))
    assert Committed(seq=0, lines=0) == await journal.commit(Unit(messages=[text(session=None)]))
    assert text(session=None) == await journal.message(MessageId("m1"))


async def test_a_unit_that_contradicts_the_journal_is_refused_whole(journal: Journal) -> None:
    """A second text of the same id, and a step of a text that is not there, take their units down with them."""
    await journal.commit(opened())
    await journal.commit(Unit(session=ANA, messages=[text()]))
    ghost = MessageUpdate(id=MessageId("ghost"), state="sent", at=1.0)

    for bad in (Unit(session=ANA, messages=[text()]), Unit(session=ANA, message_updates=[ghost])):
        with pytest.raises(UnitRefusedError):
            await journal.commit(msgspec.structs.replace(bad, events=[(2.0, b"{}")], kv={"k": b"v"}))

    assert (await session_of(journal)).seq == 1
    assert await journal.value("k") is None


async def test_a_refusal_does_not_quote_what_people_wrote(journal: Journal) -> None:
    """The text of an error may be logged, so it holds neither bodies nor numbers."""
    await journal.commit(Unit(messages=[text(session=None, body="my card number")]))

    with pytest.raises(UnitRefusedError) as error:
        await journal.commit(Unit(messages=[text(session=None, body="my card number")]))

    assert "card" not in str(error.value)
    assert CUSTOMER not in str(error.value)


async def test_timeline_lines_are_numbered_by_the_session(journal: Journal) -> None:
    """Lines count from 1, `commit` says where the count stands, and one can ask for the newer ones."""
    await journal.commit(opened())
    first = [
        TimelineLine(100.0, "call.arrived", {"from": CUSTOMER}),
        TimelineLine(101.0, "menu.chosen", {"key": "1", "path": [1]}),
    ]
    assert (await journal.commit(Unit(session=ANA, timeline=first))).lines == 2
    assert (await journal.commit(Unit(session=ANA, timeline=[TimelineLine(102.0, "ewt.told", {"minutes": 4})]))).lines == 3

    lines = await journal.timeline(ANA)

    assert [(line.n, line.kind) for line in lines] == [(1, "call.arrived"), (2, "menu.chosen"), (3, "ewt.told")]
    assert lines[1].data == {"key": "1", "path": [1]}
    assert lines[2:] == await journal.timeline(ANA, after=2)


async def test_open_sessions_are_found_by_number_until_they_close(journal: Journal) -> None:
    """Correlation finds the customer's open sessions, newest first, on one of our numbers or on any."""
    await journal.commit(opened(SessionId("old"), opened_at=1.0))
    await journal.commit(opened(SessionId("new"), opened_at=2.0))
    await journal.commit(opened(SessionId("elsewhere"), opened_at=3.0, our_number="+15550100101"))
    await journal.commit(opened(SessionId("somebody"), opened_at=4.0, customer="+15550100201"))
    await journal.commit(opened(SessionId("withheld"), opened_at=5.0, customer=None))
    await journal.commit(opened(SessionId("over"), opened_at=6.0, closed_at=7.0, state="closed"))

    assert [found.id for found in await journal.find_open(CUSTOMER, US)] == ["new", "old"]
    assert [found.id for found in await journal.find_open(CUSTOMER)] == ["elsewhere", "new", "old"]
    assert [found.id for found in await journal.open_sessions()] == ["old", "new", "elsewhere", "somebody", "withheld"]
    assert [found.id for found in await journal.sessions(2)] == ["over", "withheld"]
    assert [found.id for found in await journal.sessions(9, customer=CUSTOMER, state="closed")] == ["over"]


async def test_a_text_keeps_every_step_of_its_life(journal: Journal) -> None:
    """An update changes only what it names; the ledger of the text keeps all of them."""
    photo = Media(digest="0" * 64, content_type="image/jpeg", size=9)
    await journal.commit(opened())
    await journal.commit(Unit(session=ANA, messages=[text(media=[photo], purpose="session")]))
    m1, ref = MessageId("m1"), ProviderRef("SM1")
    await journal.commit(
        Unit(
            session=ANA,
            message_updates=[
                MessageUpdate(id=m1, state="accepted", provider_ref=ref, segments=2, at=101.0),
                MessageUpdate(id=m1, state="delivered", at=102.0),
            ],
        )
    )

    expected = text(
        media=[photo], purpose="session", state="delivered", provider_ref="SM1", segments=2, updated_at=102.0
    )  # fmt: skip
    assert expected == await journal.message(m1) == await journal.message_by_ref("loopback", ref)
    assert [expected] == await journal.messages(ANA)
    assert await journal.message_by_ref("twilio", ref) is None
    steps = await journal.message_steps(m1)
    assert [(step.state, step.at) for step in steps] == [("pending", 100.0), ("accepted", 101.0), ("delivered", 102.0)]
    assert [step.provider_ref for step in steps] == [None, "SM1", None]


async def test_two_texts_cannot_have_one_provider_ref(journal: Journal) -> None:
    """A provider's id is taken once; texts that have none yet do not disturb each other."""
    await journal.commit(Unit(messages=[text("m1", None), text("m2", None), text("m3", None, provider="twilio")]))
    ref = ProviderRef("SM1")
    await journal.commit(Unit(message_updates=[MessageUpdate(id=MessageId("m1"), state="sent", provider_ref=ref, at=1.0)]))

    with pytest.raises(UnitRefusedError):
        await journal.commit(Unit(message_updates=[MessageUpdate(id=MessageId("m2"), state="sent", provider_ref=ref, at=1.0)]))

    await journal.commit(Unit(message_updates=[MessageUpdate(id=MessageId("m3"), state="sent", provider_ref=ref, at=1.0)]))
    assert {ref} == await journal.known_refs("loopback", CUSTOMER, since=100.0)
    assert set() == await journal.known_refs("loopback", CUSTOMER, since=100.5)


async def test_an_inbound_text_is_spooled_once_until_a_unit_handles_it(journal: Journal) -> None:
    """A repeat of (provider, ref) is told apart; the same id from another provider is another text."""
    inbound = InboundRow(
        provider="twilio", ref=ProviderRef("SM1"), raw=b'{"Body": "oui"}', received_at=1.0, message=MessageId("i1")
    )
    other = msgspec.structs.replace(inbound, provider="loopback", message=MessageId("i2"))

    assert await journal.spool_inbound(inbound)
    assert not await journal.spool_inbound(msgspec.structs.replace(inbound, message=MessageId("i3")))
    assert await journal.spool_inbound(other)
    assert [inbound, other] == await journal.unhandled_inbound()

    message = text("i1", None, direction="in", state="received", provider="twilio", provider_ref="SM1", author="customer")
    await journal.commit(Unit(inbound_handled=[MessageId("i1")], messages=[message]))

    assert [other] == await journal.unhandled_inbound()
    assert not await journal.spool_inbound(inbound)


async def test_an_inbound_text_knows_of_those_before_it(journal: Journal) -> None:
    """Of the same two numbers, not too old, kept before it and not yet handled."""
    rows = [
        InboundRow(
            provider="twilio",
            ref=ProviderRef(f"SM{n}"),
            raw=msgspec.json.encode({"sender": sender, "recipient": "5550_1%", "body": "oui"}),
            received_at=float(n),
            message=MessageId(f"i{n}"),
        )
        for n, sender in enumerate(["+1", "+12", "+1"])
    ]
    for row in rows:
        await journal.spool_inbound(row)
    last = rows[-1].message

    assert await journal.has_earlier_inbound(last, "+1", "5550_1%", since=0.0)
    assert not await journal.has_earlier_inbound(last, "+1", "5550_1%", since=0.5)
    assert not await journal.has_earlier_inbound(last, "+1", "5550_12", since=0.0)
    assert not await journal.has_earlier_inbound(rows[0].message, "+1", "5550_1%", since=0.0)
    await journal.commit(Unit(inbound_handled=[rows[0].message]))
    assert not await journal.has_earlier_inbound(last, "+1", "5550_1%", since=0.0)


async def test_the_outbox_gives_the_most_urgent_first(journal: Journal) -> None:
    """Due texts come by priority, then age, then the order they were saved in; later ones wait for their time."""
    rows = [out("late", 3, 10.0), out("b", 1, 12.0), out("a", 1, 11.0), out("c", 1, 12.0), out("future", 0, 1.0, due_at=500.0)]
    await journal.commit(Unit(messages=[text(row.message, None) for row in rows], outbox=rows))

    now = await journal.outbox_now(100.0, limit=10)
    due = now.due

    assert [item.message.id for item in due] == ["a", "b", "c", "late"]
    assert [rows[2], rows[1], rows[3], rows[0]] == [item.outbox for item in due]
    assert [item.message.id for item in (await journal.outbox_now(100.0, limit=1)).due] == ["a"]
    assert (now.unknown, now.paused, now.next_due) == ([], set(), 500.0)
    assert (await journal.outbox_now(500.0, limit=1)).next_due is None


async def test_it_knows_of_which_texts_the_end_is_not_known(journal: Journal) -> None:
    """Those the provider took lately and has not said the last word about, newest first."""
    states: list[tuple[str, TextState, str | None]] = [
        ("a", "accepted", "A"), ("s", "sent", "S"), ("d", "delivered", "D"), ("f", "failed", "F"), ("p", "pending", None),
    ]  # fmt: skip
    rows = [
        MessageRow(
            id=MessageId(name), session=None, direction="out", provider="twilio", sender="+15550100200",
            recipient="+15550100123", body="x", author="flow", created_at=100.0, state=state,
            provider_ref=None if ref is None else ProviderRef(ref),
        )
        for name, state, ref in states
    ]  # fmt: skip
    await journal.commit(Unit(messages=rows))

    assert await journal.undecided("twilio", 100.0, 9) == ["S", "A"]
    assert await journal.undecided("twilio", 100.0, 1) == ["S"]
    assert await journal.undecided("twilio", 100.5, 9) == []
    assert await journal.undecided("loopback", 0.0, 9) == []


async def test_a_text_is_claimed_by_one_sender_only(journal: Journal) -> None:
    """The second claim of a pending text fails, and so does one of a text that is done."""
    m1 = MessageId("m1")
    await journal.commit(Unit(messages=[text(session=None)], outbox=[out()]))

    assert await journal.claim_outbox_many([m1], 101.0)
    assert not await journal.claim_outbox_many([m1], 102.0)
    now = await journal.outbox_now(999.0, limit=9)
    assert now.due == []
    (claimed,) = now.unknown
    assert (claimed.outbox.attempts, claimed.outbox.attempted_at) == (1, 101.0)

    await journal.commit(Unit(outbox_done=[OutboxDone(m1, "accepted", 103.0)]))

    assert (await journal.outbox_now(999.0, limit=9)).unknown == []
    assert not await journal.claim_outbox_many([m1], 104.0)
    settled = await outbox_of(journal)
    assert (settled.state, settled.outcome) == ("done", "accepted")


async def test_a_text_that_was_not_sent_goes_back_in_line(journal: Journal) -> None:
    """A retry waits for its time and counts as a second attempt; only a claimed text can be put back, by who made the claim."""
    m1 = MessageId("m1")
    await journal.commit(Unit(messages=[text(session=None)], outbox=[out()]))
    assert not await journal.outbox_retry(m1, 130.0, attempt=0)
    await journal.claim_outbox_many([m1], 101.0)

    assert not await journal.outbox_retry(m1, 130.0, attempt=2)
    assert await journal.outbox_retry(m1, 130.0, attempt=1)
    assert not await journal.outbox_retry(m1, 140.0, attempt=1)

    now = await journal.outbox_now(129.0, limit=9)
    assert (now.due, now.unknown, now.paused, now.next_due) == ([], [], {text().recipient}, 130.0)
    assert (await journal.outbox_now(130.0, limit=9)).paused == set()
    assert await journal.claim_outbox_many([m1], 130.0)
    assert (await outbox_of(journal)).attempts == 2
    assert not await journal.outbox_retry(m1, 140.0, attempt=1)  # whoever says so is late: it is on its way again


async def test_it_knows_what_went_out_lately(journal: Journal) -> None:
    """Accepted texts and those of unknown outcome, with who sent them and when; not what waits, was refused or came in."""
    names = [MessageId(f"m{n}") for n in range(5)]
    texts = [text(name, None, body=f"body {name}") for name in names]
    inbound = text("i1", None, direction="in", state="received", author="customer", segments=3, created_at=110.0)
    await journal.commit(Unit(messages=[*texts, inbound], outbox=[out(name) for name in names]))
    for name, at in zip(names, (100.0, 105.0, 106.0, 107.0), strict=False):
        await journal.claim_outbox_many([name], at)
    accepted = [
        MessageUpdate(id=name, state="accepted", at=at, provider_ref=ProviderRef(f"ref-{name}"), segments=2)
        for name, at in zip(names, (100.5, 108.0), strict=False)
    ]
    refused = MessageUpdate(id=names[3], state="failed", at=107.5, error_code="30003")
    done = [
        OutboxDone(names[0], "accepted", 100.5),
        OutboxDone(names[1], "accepted", 108.0),
        OutboxDone(names[3], "rejected", 107.5),
    ]
    await journal.commit(Unit(message_updates=[*accepted, refused], outbox_done=done))

    assert await journal.sent_lately(101.0) == [(US, "body m2", 106.0), (US, "body m1", 108.0)]
    assert len(await journal.sent_lately(0.0)) == 3


async def test_the_newest_word_on_suppression_counts(journal: Journal) -> None:
    """STOP to one of our numbers leaves the others alone; of one to all of them START to one lifts that one's part."""

    def entry(sender: str) -> Suppression:
        return Suppression(number=CUSTOMER, sender=sender, evidence="message m1", at=1.0)

    await journal.commit(Unit(suppress=[entry(US)]))
    assert await journal.suppressed(CUSTOMER, US)
    assert not await journal.suppressed(CUSTOMER, "+15550100101")
    assert not await journal.suppressed("+15550100201", US)

    await journal.commit(Unit(unsuppress=[entry(US)]))
    await journal.commit(Unit(suppress=[entry(EVERY_SENDER)]))
    assert await journal.suppressed(CUSTOMER, US)

    await journal.commit(Unit(unsuppress=[entry(US)]))
    assert not await journal.suppressed(CUSTOMER, US)
    assert await journal.suppressed(CUSTOMER, "+15550100101")

    await journal.commit(Unit(unsuppress=[entry(EVERY_SENDER)]))
    assert not await journal.suppressed(CUSTOMER, "+15550100101")


async def test_consents_are_a_ledger(journal: Journal) -> None:
    """Every yes and every no stays, in order, with the session it was said in."""
    yes = ConsentRow(
        number=CUSTOMER, purpose="session", granted=True, words="Press 1", language="fr", evidence="digit 1 on leg", at=1.0
    )  # fmt: skip
    no = msgspec.structs.replace(yes, granted=False, actor="agent:kim", at=2.0)
    await journal.commit(msgspec.structs.replace(opened(), consents=[yes]))
    await journal.commit(Unit(consents=[no]))

    assert [msgspec.structs.replace(yes, session=ANA), no] == await journal.consents(CUSTOMER)


async def test_decisions_keep_what_they_were_made_of(journal: Journal) -> None:
    """A decision comes back with its inputs and with the event it followed."""
    decision = DecisionRow(
        kind="offer.hold", outcome="yes", reason="offer", inputs={"p": 0.93, "ewt": [60.0, 180.0], "kind": None}, at=3.0
    )
    await journal.commit(opened())
    await journal.commit(Unit(session=ANA, events=[(3.0, b"{}")], decisions=[decision]))

    assert [StoredDecision(seq=2, decision=decision)] == await journal.decisions(ANA)


async def test_contacts_and_agent_states_are_replaced(journal: Journal) -> None:
    """The newest row about a number or an agent is the only one, also when one unit brings two."""
    ana = ContactRow(number=CUSTOMER, name="Ana", language="es", data={"plan": "gold"}, updated_at=1.0)
    renamed = msgspec.structs.replace(ana, name="Ana Paz", data={}, updated_at=2.0)
    ready = AgentStateRow(agent=AgentId("kim"), state="ready", since=1.0)
    away = AgentStateRow(agent=AgentId("kim"), state="not_ready", reason="lunch", since=2.0, data={"chats": ["ana"]})
    await journal.commit(Unit(contacts=[ana], agent_states=[ready]))
    await journal.commit(Unit(contacts=[ana, renamed], agent_states=[away], kv={"k": b"1"}))
    await journal.commit(Unit(kv={"k": b"\x00\xff"}))

    assert renamed == await journal.contact(CUSTOMER)
    assert await journal.contact("+15550100201") is None
    assert {AgentId("kim"): away} == await journal.agent_states()
    assert await journal.value("k") == b"\x00\xff"


async def test_a_repeated_request_gets_the_first_response(journal: Journal) -> None:
    """A request is ours once; a repeat waits for us, then gets our answer, until its time is over."""
    first, second = Reply(status=201, headers={"Location": "/x"}, body=b"{}\xff"), Reply(status=500, headers={}, body=b"")

    assert await journal.reserve("k", "hash", until=500.0, now=1.0) == "new"
    assert await journal.reserve("k", "hash", until=500.0, now=2.0) == "in_progress"
    await journal.fill("k", first)
    await journal.fill("k", second)

    assert first == await journal.reserve("k", "hash", until=900.0, now=499.0)
    assert await journal.reserve("k", "another", until=900.0, now=499.0) == "conflict"
    assert await journal.reserve("k", "another", until=900.0, now=500.0) == "new"
    await journal.forget_replies(now=900.0)
    assert await journal.reserve("k", "hash", until=999.0, now=501.0) == "new"


async def test_a_request_that_did_nothing_can_be_made_again(journal: Journal) -> None:
    """After a release, and when whoever had it never answered; an answered one cannot be released."""
    assert await journal.reserve("k", "hash", until=9999.0, now=1.0) == "new"
    await journal.release("k")
    assert await journal.reserve("k", "hash", until=9999.0, now=2.0) == "new"
    assert await journal.reserve("k", "hash", until=9999.0, now=2.0 + RESERVED_FOR - 1.0) == "in_progress"
    assert await journal.reserve("k", "hash", until=9999.0, now=2.0 + RESERVED_FOR) == "new"

    await journal.commit(Unit(replies={"k": Reply(status=200, headers={}, body=b"")}))
    await journal.release("k")

    assert isinstance(await journal.reserve("k", "hash", until=9999.0, now=9000.0), Reply)


async def test_an_answer_is_saved_with_what_the_request_did(journal: Journal) -> None:
    """A unit that is refused leaves its request without an answer."""
    reply = Reply(status=200, headers={}, body=b"")
    await journal.commit(Unit(messages=[text(session=None)]))
    await journal.reserve("k", "hash", until=9999.0, now=1.0)

    with pytest.raises(UnitRefusedError):
        await journal.commit(Unit(messages=[text(session=None)], replies={"k": reply}))

    assert await journal.reserve("k", "hash", until=9999.0, now=2.0) == "in_progress"


async def test_of_many_repeats_at_once_one_is_new(journal: Journal) -> None:
    """Requests that come at the same instant are told apart."""
    heard = await asyncio.gather(*(journal.reserve("k", "hash", until=500.0, now=1.0) for _ in range(20)))

    assert sorted(map(str, heard)) == ["in_progress"] * 19 + ["new"]


async def test_an_upload_link_works_once(journal: Journal) -> None:
    """It is used up by the first use within its time; what came is kept with it."""
    link = UploadRow(token_hash="t", session=ANA, created_at=1.0, expires_at=100.0)
    photo = Media(digest="0" * 64, content_type="image/jpeg", size=9)
    await journal.commit(msgspec.structs.replace(opened(), uploads=[link, msgspec.structs.replace(link, token_hash="late")]))

    assert link == await journal.upload("t")
    assert not await journal.use_upload("late", 100.0)
    assert not await journal.use_upload("unknown", 2.0)
    assert await journal.use_upload("t", 99.0)
    assert not await journal.use_upload("t", 99.5)
    await journal.commit(Unit(session=ANA, uploads=[msgspec.structs.replace(link, files=(photo,))]))

    assert msgspec.structs.replace(link, used_at=99.0, files=(photo,)) == await journal.upload("t")


async def test_numbers_are_blocked_and_unblocked(journal: Journal) -> None:
    """The newest reason stays; the list is read page by page in order."""
    rows = [BlockRow(number=f"+1555010020{n}", reason="abuse", actor="agent:kim", at=1.0) for n in range(3)]
    assert await journal.blocked(rows[1].number) is None
    await journal.commit(Unit(block=rows))
    assert rows[1] == await journal.blocked(rows[1].number)
    worse = msgspec.structs.replace(rows[1], reason="threats", at=2.0)
    await journal.commit(Unit(block=[worse], unblock=[rows[0].number]))

    assert worse == await journal.blocked(rows[1].number)
    assert await journal.blocked(rows[0].number) is None
    assert [worse] == await journal.blocklist(1)
    assert [rows[2]] == await journal.blocklist(9, after=worse.number)


async def test_a_provisional_opt_out_counts_until_somebody_judges(journal: Journal) -> None:
    """Free words close a number at once; the definite word is the one that is told."""
    free = Suppression(number=CUSTOMER, sender=US, evidence="message m1", at=1.0, provisional=True, reason="leave me alone")
    stop = Suppression(number=CUSTOMER, sender=EVERY_SENDER, evidence="message m2", at=2.0)

    await journal.commit(Unit(suppress=[free]))
    assert await journal.suppressed(CUSTOMER, US)
    assert free == await journal.suppression(CUSTOMER, US)
    await journal.commit(Unit(suppress=[stop]))
    assert stop == await journal.suppression(CUSTOMER, US)
    await journal.commit(Unit(unsuppress=[stop, msgspec.structs.replace(free, provisional=False, at=3.0)]))
    assert await journal.suppression(CUSTOMER, US) is None


async def test_a_line_type_is_replaced(journal: Journal) -> None:
    """The newest finding about a number is the only one."""
    await journal.put_line_type(LineTypeRow(number=CUSTOMER, kind="mobile", carrier="Example Mobile", at=1.0))
    ported = LineTypeRow(number=CUSTOMER, kind="landline", at=2.0)
    await journal.put_line_type(ported)

    assert ported == await journal.line_type(CUSTOMER)
    assert await journal.line_type("+15550100201") is None


async def test_a_scheduled_text_is_canceled_until_it_is_tried(journal: Journal) -> None:
    """A canceled text is never due; one that was tried may be out and can not be called back."""
    names = [MessageId("m1"), MessageId("m2"), MessageId("m3")]
    await journal.commit(Unit(messages=[text(name, None) for name in names], outbox=[out(name, due_at=500.0) for name in names]))
    await journal.claim_outbox_many(names[1:], 500.0)
    await journal.outbox_retry(names[2], 900.0, attempt=1)

    assert [await journal.cancel_scheduled(name, 101.0) for name in (*names, names[0], MessageId("ghost"))] == [
        True, False, False, False, False
    ]  # fmt: skip

    assert not await journal.claim_outbox_many([names[0]], 501.0)
    canceled = await journal.message(names[0])
    assert canceled is not None
    assert (canceled.state, canceled.updated_at) == ("canceled", 101.0)
    assert [step.state for step in await journal.message_steps(names[0])] == ["pending", "canceled"]
    assert (await outbox_of(journal)).outcome == "canceled"


async def test_many_texts_are_claimed_at_once(journal: Journal) -> None:
    """Each text is claimed by one of those who want it."""
    names = [MessageId(f"m{n}") for n in range(9)]
    await journal.commit(Unit(messages=[text(name, None) for name in names], outbox=[out(name) for name in names]))

    first, second = await asyncio.gather(journal.claim_outbox_many(names[:6], 1.0), journal.claim_outbox_many(names[3:], 1.0))

    assert first | second == set(names)
    assert not first & second
    assert await journal.claim_outbox_many([], 1.0) == set()


async def test_a_text_can_be_made_to_wait(journal: Journal) -> None:
    """A pending text gets another time; one that is claimed keeps its own."""
    await journal.commit(Unit(messages=[text(session=None)], outbox=[out()]))

    assert await journal.outbox_later(MessageId("m1"), 800.0)
    now = await journal.outbox_now(799.0, limit=9)
    assert (now.due, now.paused, now.next_due) == ([], set(), 800.0)
    await journal.claim_outbox_many([MessageId("m1")], 800.0)
    assert not await journal.outbox_later(MessageId("m1"), 900.0)


def notice(name: str, *endpoints: str, **changes: Any) -> NoticeRow:
    fields: dict[str, Any] = {
        "id": name,
        "type": "sms.delivered",
        "at": 1.0,
        "body": b'{"a":1}',
        "endpoints": endpoints,
    } | changes
    return NoticeRow(**fields)


async def due(journal: Journal, endpoint: str, now: float) -> str:
    return " ".join(delivery.id for delivery in await journal.deliveries_due(endpoint, now, 9))


async def test_notices_go_to_each_endpoint_and_of_each_session_in_order(journal: Journal) -> None:
    """A failure holds up what is behind it of the same session to the same endpoint, and nothing else."""
    notices = [notice("n1", "a", "b", session=ANA), notice("n2", "a", session=ANA)]
    await journal.commit(msgspec.structs.replace(opened(), notices=notices))
    await journal.commit(Unit(notices=[notice("n3", "a"), notice("nobody")]))
    assert await due(journal, "a", 0.5) == ""
    first = (await journal.deliveries_due("a", 1.0, 1))[0]
    assert (first.id, first.endpoint, first.body, first.session, first.attempts) == ("n1", "a", b'{"a":1}', ANA, 0)
    assert (await due(journal, "a", 1.0), await due(journal, "b", 1.0), await due(journal, "c", 1.0)) == ("n1 n3", "n1", "")

    assert await journal.delivery_failed(first.n, "503", 60.0)

    assert await due(journal, "a", 59.0) == "n3"
    assert await due(journal, "b", 59.0) == "n1"
    assert (await journal.next_delivery("a", 59.0), await journal.next_delivery("b", 59.0)) == (60.0, None)
    assert await due(journal, "a", 60.0) == "n1 n3"
    assert (await journal.deliveries_due("a", 60.0, 1))[0].attempts == 1
    assert await journal.delivery_done(first.n, 61.0)
    assert not await journal.delivery_done(first.n, 62.0)
    assert await due(journal, "a", 62.0) == "n2 n3"


async def test_a_dead_letter_can_be_sent_again(journal: Journal) -> None:
    """What is given up holds up nobody, is listed with its reason, and goes out again when somebody says so."""
    await journal.commit(msgspec.structs.replace(opened(), notices=[notice(name, "a", session=ANA) for name in ("n1", "n2")]))
    n = (await journal.deliveries_due("a", 1.0, 1))[0].n

    assert await journal.delivery_failed(n, "410 gone", None)

    assert await due(journal, "a", 1.0) == "n2"
    (dead,) = await journal.dead_letters(9)
    assert (dead.id, dead.last_error, dead.attempts, dead.state) == ("n1", "410 gone", 1, "dead")
    assert await journal.dead_letters(9, after=n) == []
    assert await journal.dead_letters_by_endpoint() == {"a": 1}
    assert await journal.redeliver(n, 2.0)
    assert not await journal.redeliver(n, 2.0)
    assert await due(journal, "a", 2.0) == "n1"
    assert await journal.dead_letters(9) == []


async def test_a_notice_is_saved_with_what_it_tells_of(journal: Journal) -> None:
    """A unit that is refused tells nobody; a notice that was made before is not made again, and fails nothing."""
    await journal.commit(Unit(messages=[text(session=None)], notices=[notice("n1", "a")]))

    with pytest.raises(UnitRefusedError):
        await journal.commit(Unit(messages=[text(session=None)], notices=[notice("n2", "a")]))
    await journal.commit(Unit(notices=[notice("n1", "a", at=2.0)], kv={"k": b"v"}))

    assert [(delivery.id, delivery.at) for delivery in await journal.deliveries_due("a", 9.0, 9)] == [("n1", 1.0)]
    assert await journal.value("k") == b"v"


async def test_sessions_are_listed_page_by_page(journal: Journal) -> None:
    """Every filter holds, and the last of one page is where the next begins, also among those opened at one instant."""
    for n in range(7):
        await journal.commit(
            opened(
                SessionId(f"s{n}"), opened_at=100.0 + n // 3, queue="support" if n % 2 else "sales",
                agent="kim" if n == 3 else None,
                service="api" if n == 5 else "call", our_number=US if n else "+15550100101", handled=2.5,
                ended_reason="bye",
                closed_at=200.0 if n == 6 else None, state="closed" if n == 6 else "open", first_agent_at=150.0,
            )
        )  # fmt: skip

    async def names(limit: int = 9, **filters: Any) -> str:
        return " ".join(stored.id for stored in await journal.sessions(limit, **filters))

    assert await names(3) == "s6 s5 s4"
    assert await names(3, after=SessionId("s4")) == "s3 s2 s1"
    assert await names(3, after=SessionId("s1")) == "s0"
    assert await names(queue="support") == "s5 s3 s1"
    assert await names(queue="support", after=SessionId("s3")) == "s1"
    assert await names(agent="kim", state="open") == "s3"
    assert await names(state="closed") == "s6"
    assert await names(service="api", customer=CUSTOMER) == "s5"
    assert await names(our_number="+15550100101") == "s0"
    assert await names(since=101.0, until=102.0) == "s5 s4 s3"
    stored = await journal.session(SessionId("s6"))
    assert stored is not None
    assert (stored.row.handled, stored.row.ended_reason, stored.row.first_agent_at) == (2.5, "bye", 150.0)


async def test_texts_are_listed_page_by_page(journal: Journal) -> None:
    """Newest first, by number on either side, by session, direction, state and time."""
    await journal.commit(opened())
    other = "+15550100201"
    await journal.commit(
        Unit(
            messages=[
                text("m1", preset="hello"),
                text("m2", direction="in", sender=CUSTOMER, recipient=US, state="received", created_at=101.0),
                text("m3", None, recipient=other, created_at=102.0),
                text("m4", None, direction="in", sender=other, recipient=US, state="received", created_at=103.0),
                text("m5", None, sender="+15550100101", created_at=104.0),
            ]
        )
    )

    async def names(limit: int = 9, **filters: Any) -> str:
        return " ".join(message.id for message in await journal.messages_page(limit, **filters))

    assert await names(2) == "m5 m4"
    assert await names(2, after=MessageId("m4")) == "m3 m2"
    assert await names(number=CUSTOMER) == "m5 m2 m1"
    assert await names(number=US) == ""
    assert await names(session=ANA, direction="out") == "m1"
    assert await names(state="received", since=102.0) == "m4"
    assert await names(until=102.0) == "m2 m1"
    for newest, name in (
        (await journal.recent_outbound(CUSTOMER, US), "m1"),
        (await journal.recent_outbound(CUSTOMER, "+15550100101"), "m5"),
    ):
        assert newest is not None
        assert newest.id == name
    assert await journal.recent_outbound(US, US) is None


async def test_texts_are_counted_by_hour_direction_queue_and_state(journal: Journal) -> None:
    """A span holds what was made in it, in the state it has now."""
    await journal.commit(opened(queue="support"))
    await journal.commit(
        Unit(
            session=ANA,
            messages=[
                text("m1", created_at=3600.0, segments=2),
                text("m2", created_at=7199.0, segments=1),
                text("m3", None, created_at=7200.0),
            ],
        )
    )
    hour = TextCount(at=3600.0, direction="out", state="pending", queue=QueueId("support"), texts=2, segments=3)

    assert [hour, TextCount(at=7200.0, direction="out", state="pending", queue=None, texts=1, segments=0)] == (
        await journal.report_texts(0.0, 9999.0)
    )
    assert [hour] == await journal.report_texts(3600.0, 7200.0)
    assert [count.at for count in await journal.report_texts(0.0, 9999.0, 86400.0)] == [0.0, 0.0]


async def test_a_report_of_long_ago_says_what_the_texts_say(journal: Journal) -> None:
    """Hours that have settled are counted once, bit by bit; a report says what the texts say, wherever it begins."""
    chance = random.Random(5)
    await journal.commit(opened(queue="support"))
    times = sorted(DAY * 100 + chance.uniform(0, 9 * DAY) for _ in range(300))
    every = [
        text(
            f"m{n}", ANA if n % 3 else None, created_at=times[n], segments=n % 4 or None,
            state="delivered" if n % 2 else "failed",
        )
        for n in range(300)
    ]  # fmt: skip
    rows: list[MessageRow] = []

    def told(since: float, until: float, bucket: float) -> dict[tuple[Any, ...], tuple[int, int]]:
        sums: dict[tuple[Any, ...], tuple[int, int]] = {}
        for message in rows:
            if since <= message.created_at < until:
                key = (message.created_at // bucket * bucket, message.state, "support" if message.session else None)
                texts, segments = sums.get(key, (0, 0))
                sums[key] = (texts + 1, segments + (message.segments or 0))
        return sums

    for some in (every[:170], every[170:171], every[171:], []):
        rows += some
        await journal.commit(Unit(messages=some))
        for since, until, bucket in (
            (0.0, 200 * DAY, DAY), (0.0, 200 * DAY, 3600.0), (0.0, 200 * DAY, 7 * DAY), (0.0, 200 * DAY, 900.0),
            (102.4 * DAY, 107.9 * DAY, DAY), (103 * DAY, 104 * DAY, 3600.0), (103.01 * DAY, 103.02 * DAY, 3600.0),
            (108 * DAY, 109 * DAY, DAY), (105 * DAY, 105 * DAY, DAY),
        ):  # fmt: skip
            counts = await journal.report_texts(since, until, bucket)
            assert {(c.at, c.state, c.queue): (c.texts, c.segments) for c in counts} == told(since, until, bucket)
    late = text("late", None, created_at=101 * DAY + 1.0)
    await journal.commit(Unit(messages=[late]))
    before = sum(count.texts for count in await journal.report_texts(101 * DAY, 102 * DAY, DAY))
    assert before == sum(texts for texts, _ in told(101 * DAY, 102 * DAY, DAY).values()), "a settled hour is not counted again"


async def test_hours_are_counted_by_one_node(journal_url: str) -> None:
    """Two nodes that are asked at once count nothing twice."""
    async with Journal.open(journal_url) as one, Journal.open(journal_url) as two:
        await one.commit(Unit(messages=[text(f"m{n}", None, created_at=DAY * n + 5.0) for n in range(9)]))

        reports = await asyncio.gather(*(node.report_texts(0.0, 99 * DAY, DAY) for node in (one, two, one, two)))

        assert all([count.texts for count in report] == [1] * 9 for report in reports)


PHOTO, SHARED = (Media(digest=digit * 64, content_type="image/jpeg", size=9) for digit in "ab")


async def keep_a_person(journal: Journal) -> None:
    """One closed session of CUSTOMER with everything in it, and a text of somebody else."""
    stop = Suppression(number=CUSTOMER, sender=US, evidence="message m1", at=1.0, reason="secret words")
    consent = ConsentRow(
        number=CUSTOMER, purpose="session", granted=True, words="secret words", language="en", evidence="digit 1", at=1.0
    )
    await journal.commit(
        Unit(
            session=ANA,
            events=[(1.0, b'{"a":"secret"}')],
            snapshot=b'{"name":"secret"}',
            row=row(state="closed", closed_at=9.0),
            timeline=[TimelineLine(1.0, "text.received", {"body": "secret"})],
            messages=[
                text("m1", direction="in", sender=CUSTOMER, recipient=US, body="secret", media=[PHOTO, SHARED], state="received"),
                text("m2", sender=US, body="dear secret", preset="hello"),
                text("m3", None, sender="+15550100209", recipient=US, direction="in", media=[SHARED], state="received"),
                text("m4", None, body="secret plan"),
            ],
            outbox=[out("m4", due_at=9000.0)],
            consents=[consent, msgspec.structs.replace(consent, granted=False, at=2.0)],
            suppress=[stop],
            decisions=[DecisionRow(kind="offer.hold", outcome="offer", reason="offer", inputs={"n": "secret"}, at=1.0)],
            contacts=[ContactRow(number=CUSTOMER, name="secret", updated_at=1.0)],
            block=[BlockRow(number=CUSTOMER, reason="rude", actor="agent:kim", at=1.0)],
            notices=[notice("n1", "a", session=ANA, body=b'"secret"'), notice("n2", "a", number=CUSTOMER, body=b'"secret"')],
            uploads=[UploadRow(token_hash="t", session=ANA, created_at=1.0, expires_at=2.0, files=(PHOTO,))],
        )
    )
    await journal.put_line_type(LineTypeRow(number=CUSTOMER, kind="mobile", at=1.0))


async def test_everything_about_a_number_can_be_given_out(journal: Journal) -> None:
    """Sessions with their course, texts, ledgers, contact; ready for JSON."""
    await keep_a_person(journal)

    everything = msgspec.json.decode(msgspec.json.encode(await journal.export(CUSTOMER)))

    (session,) = everything["sessions"]
    assert [line["data"] for line in session["timeline"]] == [{"body": "secret"}]
    assert session["decisions"][0]["inputs"] == {"n": "secret"}
    assert session["uploads"][0]["files"][0]["digest"] == PHOTO.digest
    assert [message["id"] for message in everything["messages"]] == ["m1", "m2", "m4"]
    assert [consent["granted"] for consent in everything["consents"]] == [True, False]
    assert [entry["reason"] for entry in everything["suppressions"]] == ["secret words"]
    assert [found["id"] for found in everything["notices"]] == ["n1", "n2"]
    assert everything["contact"]["name"] == "secret"
    assert (everything["blocked"]["reason"], everything["line_type"]["kind"]) == ("rude", "mobile")
    nobody = await journal.export("+15550100999")
    assert (nobody["sessions"], nobody["contact"]) == ([], None)


async def test_a_person_is_erased_and_the_opt_out_stays(journal: Journal) -> None:
    """Words, pictures, names and the number go; counts, the opt-out, the refusal and the block stay; others keep theirs."""
    await keep_a_person(journal)

    erased = await journal.erase(CUSTOMER, at=10.0)

    assert erased.digests == (PHOTO.digest,)
    assert (erased.counts["session"], erased.counts["message"], erased.counts["outbox"]) == (1, 3, 1)
    assert await journal.suppressed(CUSTOMER, US)
    blocked = await journal.blocked(CUSTOMER)
    assert blocked is not None
    assert blocked.reason == ""
    assert "secret" not in await everything_kept(journal)
    assert [consent.granted for consent in await journal.consents(CUSTOMER)] == [False]
    left = await journal.export(CUSTOMER)
    assert (left["sessions"], left["messages"], left["notices"], left["contact"]) == ([], [], [], None)
    session = await session_of(journal)
    assert (session.row.customer, session.snapshot) == (None, b"null")
    assert await journal.events(ANA) == []
    assert [(line.kind, line.data) for line in await journal.timeline(ANA)] == [("text.received", {})]
    assert [message.body for message in await journal.messages(ANA)] == ["", ""]
    assert (await journal.deliveries_due("a", 99.0, 9), await journal.upload("t")) == ([], None)
    waiting = await journal.outbox(MessageId("m4"))
    assert waiting is not None
    assert waiting.outcome == "canceled"
    other = await journal.message(MessageId("m3"))
    assert other is not None
    assert (other.body, other.media) == ("Hello", (SHARED,))


async def test_forgetting_may_go_as_far_as_the_opt_out(journal: Journal) -> None:
    """Without the opt-out nothing names the number any more."""
    await keep_a_person(journal)

    await journal.erase(CUSTOMER, at=10.0, keep_opt_out=False)

    assert not await journal.suppressed(CUSTOMER, US)
    everything = await journal.export(CUSTOMER)
    assert [name for name, found in everything.items() if found] == ["number"]


SECOND = "+15550100177"
"""Another phone."""


async def keep_another_phone(journal: Journal, customer: str | None, **changes: Any) -> None:
    """A session of *customer* in which SECOND wrote as well, and what a program was answered about SECOND."""
    names_it = {"sender": SECOND, "message": "m2", "body": "secret"}
    await journal.commit(
        Unit(
            session=ANA,
            events=[(1.0, b'{"sender":"+15550100177"}')],
            snapshot=b'{"aliases":["+15550100177"]}',
            row=row(**({"customer": customer, "state": "closed", "closed_at": 9.0} | changes)),
            timeline=[
                TimelineLine(1.0, "text.received", {"sender": None, "message": "m1", "body": "first"}),
                TimelineLine(1.0, "text.received", names_it),
                TimelineLine(2.0, "text.sent", {"message": "m3", "body": "dear secret"}),
                TimelineLine(3.0, "sender.added", {"number": SECOND}),
            ],
            messages=[
                text("m1", direction="in", sender=CUSTOMER, recipient=US, body="first", state="received"),
                text("m2", direction="in", sender=SECOND, recipient=US, body="secret", state="received"),
                text("m3", recipient=SECOND, body="dear secret"),
            ],
            notices=[
                notice("n1", "a", session=ANA, body=b'{"from":"+15550100177"}'),
                notice("n2", "a", session=ANA, body=b'{"from":"+15550100100"}'),
            ],
        )
    )
    await journal.reserve("api:shop:one", "f", 99.0, 1.0)
    await journal.fill("api:shop:one", Reply(status=201, headers={}, body=b'{"number":"+15550100177","words":"secret"}'))


async def everything_kept(journal: Journal) -> str:
    """All rows of all tables, as text."""

    def read(connection: Connection) -> str:
        return "".join(str(row) for table in tables.metadata.sorted_tables for row in connection.execute(select(table)))

    return await journal._readers.run(read)


async def test_a_withheld_caller_is_erased_by_the_phone_that_wrote(journal: Journal) -> None:
    """The conversation has no number of its own, so it is theirs; the number stands nowhere any more."""
    await keep_another_phone(journal, None)
    assert [session["id"] for session in (await journal.export(SECOND))["sessions"]] == [ANA]

    await journal.erase(SECOND, at=10.0)

    kept = await everything_kept(journal)
    assert SECOND not in kept
    assert "secret" not in kept


async def test_a_second_phone_is_erased_out_of_a_conversation_of_others(journal: Journal) -> None:
    """What it wrote, what it was sent and where it is named go; the conversation stays its owner's."""
    await keep_another_phone(journal, CUSTOMER)
    assert (await journal.export(SECOND))["sessions"] == []

    await journal.erase(SECOND, at=10.0)

    kept = await everything_kept(journal)
    assert SECOND not in kept
    assert "secret" not in kept
    (session,) = (await journal.export(CUSTOMER))["sessions"]
    assert [line["data"].get("body") for line in session["timeline"]] == ["first", None, None, None]
    assert [message.body for message in await journal.messages(ANA)] == ["first", "", ""]
    assert await due(journal, "a", 99.0) == "n2"


async def test_a_second_phone_is_not_erased_while_the_conversation_goes_on(journal: Journal) -> None:
    """Or what is in the memory of the server would be written down again."""
    await keep_another_phone(journal, CUSTOMER, state="open", closed_at=None)

    with pytest.raises(StillOpenError):
        await journal.erase(SECOND, at=10.0)

    assert "secret" in await everything_kept(journal)


async def test_an_answered_request_stays_answered_when_its_customer_is_erased(journal: Journal) -> None:
    """Done again, it would write the person down again."""
    await keep_another_phone(journal, CUSTOMER)

    await journal.erase(SECOND, at=10.0)

    assert await journal.reserve("api:shop:one", "f", 99.0, 11.0) == Reply(status=201, headers={}, body=b"{}")


async def test_nobody_is_erased_in_the_middle_of_something(journal: Journal) -> None:
    """An open session, a text on its way out and one that was not routed yet keep everything as it is."""
    await journal.commit(opened())
    with pytest.raises(StillOpenError):
        await journal.erase(CUSTOMER, at=1.0)
    await journal.commit(Unit(session=ANA, row=row(state="closed", closed_at=2.0)))
    await journal.commit(Unit(messages=[text(session=None)], outbox=[out()]))
    await journal.claim_outbox_many([MessageId("m1")], 1.0)
    with pytest.raises(StillOpenError):
        await journal.erase(CUSTOMER, at=1.0)
    await journal.commit(Unit(outbox_done=[OutboxDone(MessageId("m1"), "accepted", 3.0)]))
    raw = b'{"sender":"+15550100200"}'
    await journal.spool_inbound(InboundRow(provider="x", ref=ProviderRef("i"), raw=raw, received_at=1.0, message=MessageId("i1")))
    with pytest.raises(StillOpenError):
        await journal.erase(CUSTOMER, at=1.0)
    assert len(await journal.sessions(9, customer=CUSTOMER)) == 1
    await journal.commit(Unit(inbound_handled=[MessageId("i1")]))

    await journal.erase(CUSTOMER, at=1.0)

    assert await journal.sessions(9, customer=CUSTOMER) == []


async def test_only_the_fact_of_an_inbound_text_stays_in_the_spool(journal: Journal) -> None:
    """Once a session has it, what it said is not kept twice."""
    spooled = InboundRow(provider="x", ref=ProviderRef("i"), raw=b'{"body":"secret"}', received_at=1.0, message=MessageId("i1"))
    await journal.spool_inbound(spooled)
    await journal.commit(Unit(inbound_handled=[MessageId("i1")]))

    assert await journal._readers.run(lambda connection: connection.execute(select(tables.inbound.c.raw)).scalar_one()) == b"{}"


async def test_everything_is_there_after_closing_and_opening(journal_url: str) -> None:
    """Opening an existing journal changes nothing in it; a closed one takes nothing more."""
    async with Journal.open(journal_url) as first:
        await first.commit(msgspec.structs.replace(opened(), messages=[text()], outbox=[out()], kv={"k": b"v"}))
    with pytest.raises(JournalClosedError):
        await first.commit(Unit(kv={"k": b"w"}))

    async with Journal.open(journal_url) as second:
        assert [session.id for session in await second.open_sessions()] == [ANA]
        assert [text()] == [item.message for item in (await second.outbox_now(100.0, limit=9)).due]
        assert await second.value("k") == b"v"


async def test_two_writers_take_turns(journal_url: str) -> None:
    """Of two units computed from one state one is saved and the other hears that it is stale, whoever writes them."""
    async with Journal.open(journal_url) as one, Journal.open(journal_url) as two:
        await one.commit(opened())
        lost = 0
        for seq in range(1, 21):
            step = Unit(session=ANA, expected_seq=seq, events=[(1.0, b"{}")], timeline=[TimelineLine(1.0, "x", {})])
            results = await asyncio.gather(one.commit(step), two.commit(step), return_exceptions=True)
            assert Committed(seq=seq + 1, lines=seq) in results
            lost += sum(isinstance(result, StaleSessionError) for result in results)

        assert lost == 20
        assert [event.seq for event in await one.events(ANA)] == list(range(1, 22))
        await one.commit(Unit(messages=[text(f"t{n}", None) for n in range(40)], outbox=[out(f"t{n}") for n in range(40)]))
        names = [MessageId(f"t{n}") for n in range(40)]
        claims = await asyncio.gather(*(journal.claim_outbox_many([name], 1.0) for name in names for journal in (one, two)))
        assert sorted(name for claimed in claims for name in claimed) == sorted(names)


async def test_it_goes_on_after_the_database_was_away(postgres_server: Postgres) -> None:
    """Connections that were lost while nobody used them are made again, and nobody hears of it."""
    url = postgres_server.database()
    async with Journal.open(url) as journal:
        await journal.commit(opened())
        assert await journal.session(ANA) is not None
        postgres_server.cut_off(url)

        assert (await journal.commit(Unit(session=ANA, expected_seq=1, events=[(1.0, b"{}")]))).seq == 2
        assert [event.seq for event in await journal.events(ANA)] == [1, 2]


async def test_one_look_is_one_instant(postgres_server: Postgres) -> None:
    """What is read together does not change in between, whatever others commit meanwhile."""
    async with Journal.open(postgres_server.database()) as journal:
        level = await journal._readers.run(lambda connection: connection.exec_driver_sql("show transaction_isolation").scalar())
        writing = await journal._readers.run(lambda connection: connection.exec_driver_sql("show transaction_read_only").scalar())

    assert (level, writing) == ("repeatable read", "on")


async def test_who_has_been_told_who_we_are_is_known(journal: Journal) -> None:
    """By a text of one of these keys, or of a flow, that a provider has taken since then; not by one that was not sent."""
    texts = [
        text("help", None, author="system", preset="help", recipient="+15550100301"),
        text("hello", None, author="system", preset="hello", recipient="+15550100302"),
        text("flow", None, author="flow", recipient="+15550100303"),
        text("in", None, author="customer", direction="in", state="received", sender="+15550100304", recipient=US),
        text("unsent", None, author="flow", recipient="+15550100305"),
    ]
    await journal.commit(Unit(messages=texts))
    taken = [
        MessageUpdate(id=MessageId(name), state="sent", provider_ref=ProviderRef(name), at=1.0)
        for name in ("help", "hello", "flow")
    ]
    await journal.commit(Unit(message_updates=taken))
    known = [await journal.introduced(f"+1555010030{n}", ["hello", "opt_in"], 100.0) for n in range(1, 6)]
    assert known == [False, True, True, False, False]
    assert not await journal.introduced("+15550100302", ["hello"], 100.5)
