"""What the journal promises several nodes: an old owner is held off, and a text that came in is dealt with once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.events import MessageId, ProviderRef, SessionId, TextState
from bridge.journal import (
    AlreadyHandledError,
    BlockRow,
    FencedError,
    InboundRow,
    Journal,
    JournalError,
    MessageRow,
    MessageUpdate,
    OvertakenError,
    SessionRow,
    StaleSessionError,
    TimelineLine,
    Unit,
    UnitRefusedError,
)
from sms.message import RANK, advance

CUSTOMER, US = "+15550100200", "+15550100100"
ANA = SessionId("ana")
ROW = SessionRow(state="open", customer=CUSTOMER, our_number=US, language="en", opened_at=100.0)


@pytest.fixture
async def journal(journal_url: str) -> AsyncIterator[Journal]:
    async with Journal.open(journal_url) as journal:
        yield journal


def step(seq: int, fence: int | None, **changes: Any) -> Unit:
    """A step of Ana's session, with everything that a step brings."""
    whole = Unit(
        session=ANA,
        expected_seq=seq,
        fence=fence,
        events=[(float(seq), b"{}")],
        snapshot=b'{"seq":%d}' % (seq + 1),
        row=ROW,
        timeline=[TimelineLine(float(seq), "note.written", {})],
    )
    return msgspec.structs.replace(whole, **changes)


def spooled(name: str) -> InboundRow:
    return InboundRow(provider="loopback", ref=ProviderRef(f"ref-{name}"), raw=b"{}", received_at=1.0, message=MessageId(name))


def said(name: str) -> MessageRow:
    fields = {
        "id": name, "session": None, "direction": "in", "provider": "loopback", "provider_ref": f"ref-{name}", "sender": CUSTOMER,
        "recipient": US, "body": "Hello", "state": "received", "author": "customer", "created_at": 1.0,
    }  # fmt: skip
    return msgspec.convert(fields, MessageRow)


async def fence_of(journal: Journal) -> tuple[int, int]:
    """(sequence number, token) of Ana's session."""
    [stored] = await journal.open_sessions()
    return stored.seq, stored.fence


async def test_an_old_owner_leaves_nothing_behind(journal: Journal) -> None:
    """A session that was taken over takes no more of the node that had it, whatever that node thinks the session is at."""
    await journal.commit(step(0, 4))
    await journal.commit(Unit(session=ANA, fence=7))  # "it is mine now"
    assert await fence_of(journal) == (1, 7)

    for late in (step(1, 4, kv={"k": b"v"}), Unit(session=ANA, fence=6, messages=[said("m1")])):
        with pytest.raises(FencedError) as error:
            await journal.commit(late)
        assert (error.value.session, error.value.fence, error.value.stored) == (ANA, late.fence, 7)

    assert await journal.value("k") is None
    assert await journal.message(MessageId("m1")) is None
    assert (await journal.commit(step(1, 7))).seq == 2
    assert [event.at for event in await journal.events(ANA)] == [0.0, 1.0]


async def test_an_old_owner_hears_that_it_is_one_before_it_hears_that_it_is_late(journal: Journal) -> None:
    """Being stale means "compute it again", being fenced means "let it go": the second comes first."""
    await journal.commit(step(0, 4))
    await journal.commit(step(1, 7))

    with pytest.raises(FencedError):
        await journal.commit(step(1, 4))
    with pytest.raises(StaleSessionError):
        await journal.commit(step(1, 7))


async def test_old_and_new_owner_in_one_transaction(journal: Journal) -> None:
    """Also units that are written together are looked at in the order they came."""
    await journal.commit(step(0, 1))
    late = [step(1, 1, kv={"old": b"v"}), step(1, 2, kv={"new": b"v"}), step(2, 1, kv={"late": b"v"}), step(3, 2)]
    late[1] = msgspec.structs.replace(late[1], expected_seq=2)
    results = await asyncio.gather(*(journal.commit(unit) for unit in late), return_exceptions=True)

    assert [type(result).__name__ for result in results] == ["Committed", "Committed", "FencedError", "Committed"]
    assert [await journal.value(key) for key in ("old", "new", "late")] == [b"v", b"v", None]
    assert await fence_of(journal) == (4, 2)


async def test_who_names_no_token_is_not_asked_for_one(journal: Journal) -> None:
    """A node alone works as ever, also on what a cluster has left; what was stored stays."""
    await journal.commit(step(0, None))
    assert await fence_of(journal) == (1, 0)
    await journal.commit(step(1, 3))
    await journal.commit(step(2, None))

    assert await fence_of(journal) == (3, 3)


async def test_a_token_needs_a_session_that_is_there(journal: Journal) -> None:
    """Nobody can own what does not exist."""
    for bad in (Unit(session=ANA, fence=1), Unit(fence=1, kv={"k": b"v"})):
        with pytest.raises(UnitRefusedError):
            await journal.commit(bad)
    assert await journal.value("k") is None


async def test_of_two_nodes_at_once_the_one_that_was_fenced_writes_nothing_more(journal_url: str) -> None:
    """However their transactions fall, nothing with an older token stands behind anything with a newer one."""
    async with Journal.open(journal_url) as old, Journal.open(journal_url) as new:
        await old.commit(step(0, 1))

        async def write(journal: Journal, fence: int, times: int) -> int:
            written = 0
            for _ in range(times):
                line = TimelineLine(0.0, "note.written", {"fence": fence})
                try:
                    await journal.commit(Unit(session=ANA, fence=fence, timeline=[line]))
                except FencedError:
                    break
                written += 1
            return written

        first, second = await asyncio.gather(write(old, 1, 200), write(new, 2, 20))
        lines = [line.data["fence"] for line in await new.timeline(ANA) if line.data]

    assert second == 20
    assert lines == [1] * first + [2] * 20


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([None, 1, 2, 3]), st.booleans()), max_size=20))
def test_tokens_never_fall(asked: list[tuple[str, int | None, bool]]) -> None:
    """Whatever units arrive, together or one by one: one is refused if and only if it names a token below the highest so far."""
    highest: Counter[str] = Counter()
    expected = []
    for session, fence, _ in asked:
        expected.append(fence is None or fence >= highest[session])
        highest[session] = max(highest[session], fence or 0)

    async def play() -> list[bool]:
        with TemporaryDirectory() as folder:
            async with Journal.open(f"sqlite:///{Path(folder)}/journal.db") as journal:
                units = [
                    Unit(session=SessionId(session), fence=fence, events=[(1.0, b"{}")], snapshot=b"{}", row=ROW)
                    for session, fence, _ in asked
                ]
                waiting = []
                for unit, (_, _, together) in zip(units, asked, strict=True):
                    waiting.append(asyncio.ensure_future(journal.commit(unit)))
                    if not together:
                        await asyncio.wait(waiting)
                results = await asyncio.gather(*waiting, return_exceptions=True)
                stored = {each.id: each.fence for each in await journal.open_sessions()}
                assert stored == {SessionId(session): highest[session] for session, _, _ in asked}
                return [not isinstance(result, FencedError) for result in results]

    assert asyncio.run(play()) == expected


async def test_an_inbound_text_is_dealt_with_once(journal: Journal) -> None:
    """The second node that comes with it hears that it is done, and nothing of its unit is kept."""
    await journal.spool_inbound(spooled("i1"))
    await journal.commit(step(0, 1, inbound_handled=[MessageId("i1")], messages=[said("i1")]))

    again = Unit(inbound_handled=[MessageId("i1")], messages=[said("i1")], kv={"k": b"v"})
    for unit in (again, Unit(inbound_handled=[MessageId("i1")], kv={"k": b"v"}), step(1, 1, inbound_handled=[MessageId("i1")])):
        with pytest.raises(AlreadyHandledError) as error:
            await journal.commit(unit)
        assert error.value.message == "i1"

    assert await journal.value("k") is None
    assert await fence_of(journal) == (1, 1)


async def test_an_inbound_text_that_was_never_spooled_is_dealt_with_once_too(journal: Journal) -> None:
    """As one that came by another way than a webhook: it is known by its id."""
    await journal.commit(Unit(messages=[said("i1")]))

    for unit in (Unit(messages=[said("i1")]), Unit(messages=[said("i1")], inbound_handled=[MessageId("i1")])):
        with pytest.raises(AlreadyHandledError):
            await journal.commit(unit)


async def test_of_many_who_deal_with_a_text_at_once_one_does(journal_url: str) -> None:
    """In one transaction and in several nodes' transactions alike."""
    async with Journal.open(journal_url) as one, Journal.open(journal_url) as two:
        for number in range(10):
            name = f"i{number}"
            await one.spool_inbound(spooled(name))
            unit = Unit(inbound_handled=[MessageId(name)], messages=[said(name)])
            tries = [journal.commit(unit) for journal in (one, two, one, two)]
            results = await asyncio.gather(*tries, return_exceptions=True)
            assert sorted(type(result).__name__ for result in results) == ["AlreadyHandledError"] * 3 + ["Committed"]
        assert await two.unhandled_inbound() == []


async def test_a_text_of_ours_that_comes_again_is_another_mistake(journal: Journal) -> None:
    """Only what came in may come twice; a second text of ours with the same id contradicts the journal."""
    ours = msgspec.structs.replace(said("o1"), direction="out", state="pending", author="flow")
    await journal.commit(Unit(messages=[ours]))

    with pytest.raises(UnitRefusedError) as error:
        await journal.commit(Unit(messages=[ours]))
    assert isinstance(error.value, JournalError)


async def test_what_is_remembered_can_be_forgotten(journal_url: str) -> None:
    """Whoever hears that another node has blocked somebody need not wait until the answer has grown old."""
    async with Journal.open(journal_url) as here, Journal.open(journal_url) as there:
        assert await here.blocked(CUSTOMER) is None
        await there.commit(Unit(block=[BlockRow(number=CUSTOMER, reason="rude", actor="agent:ben", at=1.0)]))
        assert await here.blocked(CUSTOMER) is None
        here.forget_cached()
        assert await here.blocked(CUSTOMER) is not None


async def test_a_step_of_a_text_that_was_overtaken_is_declined(journal: Journal) -> None:
    """Of two nodes that have read the same state the second looks again, also in one transaction; blind steps go on as ever."""
    ours = msgspec.structs.replace(said("o1"), direction="out", state="accepted", author="flow")
    await journal.commit(Unit(messages=[ours]))

    def to(state: TextState, after: TextState | None, key: str) -> Unit:
        step = MessageUpdate(id=MessageId("o1"), state=state, at=2.0, after=after)
        return Unit(message_updates=[step], kv={key: b"v"})

    units = [to("delivered", "accepted", "first"), to("sent", "accepted", "late"), to("read", "delivered", "next")]
    results = await asyncio.gather(*(journal.commit(unit) for unit in units), return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["Committed", "OvertakenError", "Committed"]
    with pytest.raises(OvertakenError, match="o1"):
        await journal.commit(to("sent", "accepted", "late"))
    with pytest.raises(OvertakenError):
        await journal.commit(Unit(message_updates=[MessageUpdate(id=MessageId("ghost"), state="sent", at=2.0, after="accepted")]))
    await journal.commit(to("failed", None, "blind"))

    assert [await journal.value(key) for key in ("first", "late", "next", "blind")] == [b"v", None, b"v", b"v"]
    steps = [step.state for step in await journal.message_steps(MessageId("o1"))]
    assert steps == ["accepted", "delivered", "read", "failed"]


async def test_reports_at_two_nodes_end_at_the_highest(journal_url: str) -> None:
    """Whoever looks again when it was overtaken never takes a text back."""
    async with Journal.open(journal_url) as one, Journal.open(journal_url) as two:
        ours = msgspec.structs.replace(said("o1"), direction="out", state="accepted", author="flow")
        await one.commit(Unit(messages=[ours]))

        async def report(journal: Journal, state: TextState) -> None:
            while True:
                current = await journal.message(MessageId("o1"))
                assert current is not None
                assert current.state != "received"
                step = MessageUpdate(id=MessageId("o1"), state=advance(current.state, state), at=2.0, after=current.state)
                try:
                    await journal.commit(Unit(message_updates=[step]))
                except OvertakenError:
                    continue
                return

        states: list[TextState] = ["queued", "sent", "read", "delivered", "sending"]
        await asyncio.gather(*(report(journal, state) for state in states for journal in (one, two)))
        final = await one.message(MessageId("o1"))
        ranks = [RANK[step.state] for step in await one.message_steps(MessageId("o1")) if step.state != "received"]

    assert final is not None
    assert final.state == "read"
    assert ranks == sorted(ranks)
