"""What the journal promises of small things that several nodes change, whichever database keeps it."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from bridge.events import SessionId
from bridge.journal import Journal, SessionRow, TimelineLine, Unit
from bridge.journal.house import Draft, DraftMovedError, Entry, Revision

BY = Entry(1.0, "ann", "settings.published", "settings")


@pytest.fixture
async def both(journal_url: str) -> AsyncIterator[tuple[Journal, Journal]]:
    """Two nodes with one journal."""
    async with Journal.open(journal_url) as first, Journal.open(journal_url) as second:
        yield first, second


def one_more(value: bytes | None) -> bytes:
    return b"%d" % (int(value or b"0") + 1)


async def test_nothing_is_lost_when_two_nodes_change_one_value(both: tuple[Journal, Journal]) -> None:
    """Each sees what the other has made of it."""
    await asyncio.gather(*(journal.change_value("n", one_more) for journal in both for _ in range(50)))
    assert [await journal.value("n") for journal in both] == [b"100", b"100"]


async def test_wrong_passwords_at_two_nodes_are_counted_together(both: tuple[Journal, Journal]) -> None:
    """And what one changes of an account does not undo what the other has changed."""
    await asyncio.gather(
        *(
            journal.change_account("ann", lambda there: msgspec.structs.replace(there, failures=there.failures + 1))
            for journal in both
            for _ in range(20)
        ),
        both[0].change_account("ann", lambda there: msgspec.structs.replace(there, disabled=True)),
    )
    accounts = [await journal.account("ann") for journal in both]
    assert [(account.failures, account.disabled) for account in accounts] == [(40, True), (40, True)]


async def test_of_two_who_publish_at_once_one_is_refused(both: tuple[Journal, Journal]) -> None:
    """Each began from the newest revision, and only one is what follows it; the same with drafts."""
    for n in range(10):
        done = await asyncio.gather(
            *(journal.publish(Revision(1.0, "ann", "", "brand: A"), BY, after=n) for journal in both), return_exceptions=True
        )
        assert {type(each) for each in done} == {DraftMovedError, int}
        over = n or None
        drafts = await asyncio.gather(
            *(journal.save_draft(Draft(n + 1, n, "ann", 1.0, "brand: B"), over=over) for journal in both), return_exceptions=True
        )
        assert {type(each) for each in drafts} == {DraftMovedError, type(None)}


async def test_two_nodes_make_the_same_facts_at_once(both: tuple[Journal, Journal]) -> None:
    """Neither holds the other up for good, and nothing is counted twice."""
    for n in range(30):
        row = SessionRow(
            state="closed", customer="+15550100123", our_number="+15550100200", language="en", opened_at=1.0, closed_at=9.0
        )
        lines = [TimelineLine(float(at), "call.arrived", {}) for at in range(1, 4)]
        await both[0].commit(Unit(session=SessionId(f"s{n}"), row=row, snapshot=b"{}", timeline=lines))
    for _ in range(5):
        read = await asyncio.gather(*(journal.catch_up() for journal in both))
        assert max(read) == 30
        assert await both[0].catch_up() == 0
        await both[1].forget_facts()
