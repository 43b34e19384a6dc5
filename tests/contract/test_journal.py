"""What every journal promises, whichever database keeps it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.events import AgentId, Media, MessageId, ProviderRef, SessionId, TextState
from bridge.journal import (
    EVERY_SENDER,
    AgentStateRow,
    Committed,
    ConsentRow,
    ContactRow,
    DecisionRow,
    InboundRow,
    Journal,
    JournalClosedError,
    MessageRow,
    MessageUpdate,
    OutboxDone,
    OutboxRow,
    Reply,
    SessionRow,
    StaleSessionError,
    StoredDecision,
    StoredEvent,
    StoredSession,
    Suppression,
    TimelineLine,
    Unit,
    UnitRefusedError,
)

CUSTOMER, US = "+15550100200", "+15550100100"
ANA = SessionId("ana")


@pytest.fixture(params=["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}:///{tmp_path}/journal.db"


@pytest.fixture
async def journal(url: str) -> AsyncIterator[Journal]:
    async with Journal.open(url) as journal:
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

    assert await journal.claim_outbox(m1, 101.0)
    assert not await journal.claim_outbox(m1, 102.0)
    now = await journal.outbox_now(999.0, limit=9)
    assert now.due == []
    (claimed,) = now.unknown
    assert (claimed.outbox.attempts, claimed.outbox.attempted_at) == (1, 101.0)

    await journal.commit(Unit(outbox_done=[OutboxDone(m1, "accepted", 103.0)]))

    assert (await journal.outbox_now(999.0, limit=9)).unknown == []
    assert not await journal.claim_outbox(m1, 104.0)
    settled = await outbox_of(journal)
    assert (settled.state, settled.outcome) == ("done", "accepted")


async def test_a_text_that_was_not_sent_goes_back_in_line(journal: Journal) -> None:
    """A retry waits for its time and counts as a second attempt; only a claimed text can be put back."""
    m1 = MessageId("m1")
    await journal.commit(Unit(messages=[text(session=None)], outbox=[out()]))
    assert not await journal.outbox_retry(m1, 130.0)
    await journal.claim_outbox(m1, 101.0)

    assert await journal.outbox_retry(m1, 130.0)

    now = await journal.outbox_now(129.0, limit=9)
    assert (now.due, now.unknown, now.paused, now.next_due) == ([], [], {text().recipient}, 130.0)
    assert (await journal.outbox_now(130.0, limit=9)).paused == set()
    assert await journal.claim_outbox(m1, 130.0)
    assert (await outbox_of(journal)).attempts == 2


async def test_the_newest_word_on_suppression_counts(journal: Journal) -> None:
    """STOP to one of our numbers leaves the others alone; one to all of them holds until that one is lifted."""

    def entry(sender: str) -> Suppression:
        return Suppression(number=CUSTOMER, sender=sender, evidence="message m1", at=1.0)

    await journal.commit(Unit(suppress=[entry(US)]))
    assert await journal.suppressed(CUSTOMER, US)
    assert not await journal.suppressed(CUSTOMER, "+15550100101")
    assert not await journal.suppressed("+15550100201", US)

    await journal.commit(Unit(suppress=[entry(EVERY_SENDER)], unsuppress=[entry(US)]))
    assert await journal.suppressed(CUSTOMER, US)

    await journal.commit(Unit(unsuppress=[entry(EVERY_SENDER)]))
    assert not await journal.suppressed(CUSTOMER, US)


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
    """The first response stays until its time is over, then a new one takes its place."""
    first = Reply(status=200, headers={"Content-Type": "text/xml"}, body=b"<Response/>\xff")
    second = Reply(status=500, headers={}, body=b"")

    assert await journal.remember("k", first, now=1.0, until=10.0)
    assert not await journal.remember("k", second, now=9.0, until=20.0)
    assert first == await journal.recall("k", now=9.0)
    assert await journal.recall("k", now=10.0) is None
    assert await journal.remember("k", second, now=10.0, until=20.0)
    assert second == await journal.recall("k", now=11.0)

    await journal.forget_replies(now=20.0)
    assert await journal.recall("k", now=11.0) is None


async def test_everything_is_there_after_closing_and_opening(url: str) -> None:
    """Opening an existing journal changes nothing in it; a closed one takes nothing more."""
    async with Journal.open(url) as first:
        await first.commit(msgspec.structs.replace(opened(), messages=[text()], outbox=[out()], kv={"k": b"v"}))
    with pytest.raises(JournalClosedError):
        await first.commit(Unit(kv={"k": b"w"}))

    async with Journal.open(url) as second:
        assert [session.id for session in await second.open_sessions()] == [ANA]
        assert [text()] == [item.message for item in (await second.outbox_now(100.0, limit=9)).due]
        assert await second.value("k") == b"v"
