"""What the outbox does not send, or not yet: limits, quiet hours, consent, senders that are refused; and what it learns."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import pytest

from bridge.events import Media, MessageId, ProviderRef, Purpose, TextAccepted, TextRejected
from bridge.journal import BlockRow, ConsentRow, Journal, LineTypeRow, Suppression, Unit
from bridge.outbox import DAYS, LANDLINE, MOST_READ, OWED
from sms.message import DeliveryReport
from sms.pacing import FIRST_PAUSE, REFUSALS, Pace, SenderFacts
from sms.provider import Rejected
from tests.unit.bridge.post_office import ANNA, OURS, START, PostOffice, until

SLOW, OTHER = "+15550100201", "+15550100202"
LOUISE = "+33199001234"  # lives in Paris
NIGHT = 1_782_860_400.0  # 2026-06-30 23:00 UTC, one in the morning in Paris
MORNING = NIGHT + 7 * 3600.0
UNREGISTERED = Rejected("sender", "30034", "not registered")


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[PostOffice]:
    """A post office whose sender SLOW may send one segment a second, ten at once."""
    async with Journal.open(f"sqlite:///{tmp_path}/journal.db") as journal:
        yield PostOffice(journal, Pace([SenderFacts(number=SLOW), SenderFacts(number=OTHER)]))


def number(n: int) -> str:
    """A customer."""
    return f"+1555012{n:04}"


def rejections(office: PostOffice) -> dict[str, str]:
    """Messages that were rejected, with the code."""
    return {outcome.message: outcome.code for outcome in office.outcomes if isinstance(outcome, TextRejected)}


# --- limits -----------------------------------------------------------------------------------------------------------


async def test_a_sender_is_never_faster_than_it_may(office: PostOffice) -> None:
    """The bucket of a campaign is half of ten segments; then it is one a second; nobody waits for another's sender."""
    for n in range(12):
        await office.put(f"campaign {n}", sender=SLOW, recipient=number(n), priority=3)
        office.clock.now += 0.001
    await office.put("of another", sender=OURS, recipient=number(99), priority=3)
    async with office.open():
        await until(lambda: len(office.outcomes) == 6)
        await office.quiet()
        assert office.carrier.bodies == [*(f"campaign {n}" for n in range(5)), "of another"]
        for second in range(1, 8):
            office.later(1.0)
            await until(lambda second=second: len(office.outcomes) == 6 + second)  # type: ignore[misc]
            await office.quiet()
            assert len(office.carrier.sent) == 6 + second
    assert [body for body in office.carrier.bodies if body != "of another"] == [f"campaign {n}" for n in range(12)]


async def test_an_agent_does_not_wait_for_a_campaign(office: PostOffice) -> None:
    """While programs have used up their share, an agent's words go at once, to another and to one of the campaign's."""
    for n in range(9):
        await office.put(f"campaign {n}", sender=SLOW, recipient=number(n), priority=3)
        office.clock.now += 0.001
    async with office.open():
        await until(lambda: len(office.outcomes) == 5)
        await office.quiet()
        await office.put("agent", sender=SLOW, recipient=ANNA, priority=0)
        await until(lambda: len(office.outcomes) == 6)
        office.clock.now += 0.001
        await office.put("agent to 7", sender=SLOW, recipient=number(7), priority=0)
        await until(lambda: len(office.outcomes) == 8)
        await office.quiet()
    assert office.carrier.bodies[5:] == ["agent", "campaign 7", "agent to 7"]


async def test_a_long_text_gets_its_turn(office: PostOffice) -> None:
    """Short ones of the same urgency do not take its tokens away for ever."""
    await office.put("first", sender=SLOW, recipient=number(0), priority=3)
    office.clock.now += 0.001
    await office.put("fill", sender=SLOW, recipient=number(1), priority=3, body="x" * 153 * 4)
    office.clock.now += 0.001
    await office.put("long", sender=SLOW, recipient=number(2), priority=3, body="y" * 153 * 4)
    for n in range(3, 6):
        office.clock.now += 0.001
        await office.put(f"short {n}", sender=SLOW, recipient=number(n), priority=3)
    async with office.open():
        await until(lambda: len(office.outcomes) == 2)
        for _ in range(9):
            await office.quiet()
            office.later(1.0)
        await until(lambda: len(office.outcomes) == 6)
    assert [text.message for text in office.carrier.sent] == ["first", "fill", "long", "short 3", "short 4", "short 5"]


async def flood(office: PostOffice) -> None:
    """More texts of one sender than are looked at together."""
    for n in range(MOST_READ + 3):
        office.clock.now += 0.001
        await office.put(f"{n}", sender=SLOW, recipient=number(n), priority=3)
    office.clock.now += 0.001


async def test_a_flood_of_one_sender_does_not_hide_another(office: PostOffice) -> None:
    """Somebody else's goes at once though it stands behind the flood, which comes to its end by and by."""
    await flood(office)
    await office.put("other", sender=OTHER, recipient=ANNA, priority=3)
    async with office.open():
        await until(lambda: "other" in office.carrier.bodies)
        assert office.carrier.bodies[:5] == ["0", "1", "2", "3", "4"]
        for second in range(3):
            office.later(1.0)
            await until(lambda second=second: len(office.carrier.sent) > 6 + second)  # type: ignore[misc]
    assert len(set(office.carrier.bodies)) == len(office.carrier.sent)


async def test_nobody_in_a_flood_is_overtaken_by_later_texts_to_them(office: PostOffice) -> None:
    """A later notice to somebody waits for the one that was put off; an agent's words bring it back, and follow it."""
    await flood(office)
    async with office.open():
        await until(lambda: len(office.carrier.sent) == 5)
        await until(lambda: len(office.outbox._put_off) > MOST_READ - 10)
        office.clock.now += 0.001
        await office.put("second to 300", sender=OTHER, recipient=number(300), priority=3)
        await office.put("agent to 400", sender=SLOW, recipient=number(400), priority=0)
        await until(lambda: "agent to 400" in office.carrier.bodies)
        await office.quiet()
        assert "second to 300" not in office.carrier.bodies
        assert "400" in office.carrier.bodies[: office.carrier.bodies.index("agent to 400")]
        rows = [await office.journal.outbox(MessageId(name)) for name in ("300", "second to 300")]
        assert {row.due_at for row in rows if row is not None} == {max(row.due_at for row in rows if row is not None)}


async def test_who_waits_too_long_for_the_sender_is_told_in_time(office: PostOffice) -> None:
    """A text that would be late because of a limit is dropped when its time is over, not when its turn comes."""
    await office.put("fill", sender=SLOW, recipient=number(0), priority=0, body="x" * 153 * 10)
    office.clock.now += 0.001
    late = await office.put("late", sender=SLOW, recipient=ANNA, priority=2, expires_at=START + 3.0)
    async with office.open():
        await until(lambda: len(office.outcomes) == 1)
        await office.quiet()
        office.later(3.0)
        await until(lambda: len(office.outcomes) == 2)
    assert rejections(office) == {late: "expired"}


async def test_a_restart_does_not_begin_the_day_anew(office: PostOffice) -> None:
    """What a sender has sent today counts in the next process; what waits for tomorrow goes at midnight in California."""
    facts = [SenderFacts(number=SLOW, per_day=5)]
    office.pace = Pace(facts)
    await office.crash()
    for n in range(4):
        await office.put(f"{n}", sender=SLOW, recipient=number(n), priority=3)
    async with office.open():
        await until(lambda: len(office.outcomes) == 4)
        await office.quiet()
    office.pace = Pace(facts)
    await office.crash()
    await office.put("campaign", sender=SLOW, recipient=number(5), priority=3)
    await office.put("agent", sender=SLOW, recipient=number(6), priority=0)
    async with office.open():
        await until(lambda: len(office.outcomes) == 5)
        await office.quiet()
        assert office.carrier.bodies[4:] == ["agent"]
        office.later(86_400.0)
        await until(lambda: len(office.outcomes) == 6)


async def test_a_counter_that_cannot_be_read_is_no_reason_not_to_send(office: PostOffice) -> None:
    """It is written down, and counting begins anew."""
    await office.journal.commit(Unit(kv={DAYS: b"no JSON"}))
    await office.put("hello")
    async with office.open():
        await until(lambda: bool(office.outcomes))


# --- senders that are refused -------------------------------------------------------------------------------------------


async def test_a_sender_that_is_refused_is_stopped(office: PostOffice) -> None:
    """After a few refusals in a row its texts fail at once, with words for the agent; other senders go on; a probe heals."""
    office.carrier.answers = [UNREGISTERED] * REFUSALS
    for n in range(REFUSALS):
        await office.put(f"{n}", recipient=number(n))
    async with office.open():
        await until(lambda: len(office.outcomes) == REFUSALS)
        stopped = await office.put("stopped")
        await office.put("of another", sender=SLOW, recipient=number(50))
        await until(lambda: len(office.outcomes) == REFUSALS + 2)
        office.clock.now += FIRST_PAUSE
        await office.put("probe")
        await until(lambda: "probe" in office.carrier.bodies)
        await office.put("well again")
        await until(lambda: "well again" in office.carrier.bodies)
    (told,) = [o for o in office.outcomes if o.message == stopped]
    assert told == TextRejected(
        stopped, "sender", "sender_stopped", f"{OURS} cannot send at the moment: The sender is not registered (10DLC)."
    )
    assert "stopped" not in office.carrier.bodies


async def test_refusals_that_come_in_reports_stop_a_sender_too(office: PostOffice) -> None:
    """A provider that takes every text and reports each as refused does not look healthy; a delivery shows that it is."""
    async with office.open():
        rows = []
        for n in range(REFUSALS):
            row = await office.journal.message(await office.put(f"{n}", recipient=number(n)))
            assert row is not None
            rows.append(row)
        await until(lambda: len(office.outcomes) == REFUSALS)
        for row in rows:
            await office.outbox.reported(row, "sent", None)
            await office.outbox.reported(row, "undelivered", "30034")
        stopped = await office.put("stopped")
        await until(lambda: len(office.outcomes) == REFUSALS + 1)
        assert rejections(office) == {stopped: "sender_stopped"}
        await office.outbox.reported(rows[0], "delivered", None)
        await office.put("well again")
        await until(lambda: "well again" in office.carrier.bodies)


async def test_without_limits_nobody_is_stopped(office: PostOffice) -> None:
    """With the limiter off texts go as fast as they can, and reports change nothing."""
    office.pace = None
    await office.crash()
    office.carrier.answers = [UNREGISTERED] * 5
    async with office.open():
        for n in range(5):
            await office.put(f"{n}", sender=SLOW, recipient=number(n))
        await until(lambda: len(office.outcomes) == 5)
        message = await office.put("goes")
        await until(lambda: len(office.outcomes) == 6)
        row = await office.journal.message(message)
        assert row is not None
        await office.outbox.reported(row, "delivered", None)
    assert office.carrier.bodies[-1] == "goes"


async def test_a_landline_is_remembered(office: PostOffice) -> None:
    """A refusal, or a report, that says so is kept; the next text that nobody in a call waits for does not try."""
    office.carrier.answers = [Rejected("bad_address", "21614", "no mobile")]
    await office.put("hello")
    async with office.open():
        await until(lambda: bool(office.outcomes))
        care = await office.put("your order", purpose="care", author="api:shop")
        await until(lambda: len(office.outcomes) == 2)
        await office.put("in a call", purpose="session")
        await until(lambda: len(office.outcomes) == 3)
    assert await office.journal.line_type(ANNA) == LineTypeRow(number=ANNA, kind=LANDLINE, at=START)
    assert rejections(office)[care] == "landline"
    assert office.carrier.bodies == ["hello", "in a call"]


# --- law and courtesy ---------------------------------------------------------------------------------------------------


def agreed(purpose: Purpose, *, granted: bool = True, sender: str | None = None) -> ConsentRow:
    """An entry of the consent ledger."""
    return ConsentRow(
        number=LOUISE, purpose=purpose, granted=granted, words="yes", language="en", evidence="1", at=NIGHT, sender=sender
    )


@pytest.mark.parametrize(
    ("purpose", "ledger", "code"),
    [
        ("session", [], None),
        ("session", [agreed("care", granted=False)], None),
        ("care", [], None),  # whoever has it sent answers for it
        ("care", [agreed("care", granted=False)], "no_consent"),
        ("care", [agreed("care", granted=False), agreed("care")], None),
        ("care", [agreed("care", granted=False, sender=OTHER)], None),
        ("marketing", [], "no_consent"),
        ("marketing", [agreed("care")], "no_consent"),
        ("marketing", [agreed("marketing", sender=OTHER)], "no_consent"),
        ("marketing", [agreed("marketing", sender=OURS)], None),
        ("marketing", [agreed("marketing"), agreed("marketing", granted=False)], "no_consent"),
    ],
)
async def test_consent(office: PostOffice, purpose: Purpose, ledger: list[ConsentRow], code: str | None) -> None:
    """A text that nobody asked for in a call or chat needs the consent of its kind, to this sender, not withdrawn."""
    office.clock.now = MORNING + 3600.0
    await office.journal.commit(Unit(consents=ledger))
    message = await office.put("hello", purpose=purpose, author="system", recipient=LOUISE)
    async with office.open():
        await until(lambda: bool(office.outcomes))
    assert rejections(office).get(message) == code
    assert bool(office.carrier.sent) == (code is None)


async def test_a_provisional_stop_and_the_blocklist_count(office: PostOffice) -> None:
    """Free words that sound like STOP hold until an agent has judged; a blocked number gets nothing at all."""
    stop = Suppression(number=number(1), sender=OURS, evidence="leave me be", at=START, provisional=True)
    block = BlockRow(number=number(2), reason="threats", actor="agent:ann", at=START)
    await office.journal.commit(Unit(suppress=[stop], block=[block]))
    first = await office.put("one", recipient=number(1), author="agent:ann")
    second = await office.put("two", recipient=number(2), author="agent:ann")
    await office.put("you are out", recipient=number(1), author=OWED)
    async with office.open():
        await until(lambda: len(office.outcomes) == 3)
    assert rejections(office) == {first: "suppressed", second: "blocked"}
    assert office.carrier.bodies == ["you are out"]


async def test_texts_nobody_waits_for_rest_at_night(office: PostOffice) -> None:
    """At one in the morning where the customer lives a notice waits until eight; a text of a session does not wait for it."""
    office.clock.now = NIGHT
    await office.put("your order", purpose="care", author="api:shop", recipient=LOUISE)
    office.clock.now += 0.001
    await office.put("agent here", purpose="session", author="agent:ann", recipient=LOUISE)
    async with office.open():
        await until(lambda: bool(office.outcomes))
        await office.quiet()
        assert office.carrier.bodies == ["agent here"]
        row = await office.journal.outbox(MessageId("your order"))
        assert row is not None
        assert (row.due_at, row.attempts, row.state) == (MORNING, 0, "pending")
        office.later(MORNING - office.clock.now)
        await until(lambda: len(office.outcomes) == 2)
    assert office.carrier.bodies[-1] == "your order"


async def test_what_cannot_wait_for_the_morning_is_refused(office: PostOffice) -> None:
    """A notice that would be too late in the morning is refused now, with the reason."""
    office.clock.now = NIGHT
    message = await office.put("tonight", purpose="care", author="api:shop", recipient=LOUISE, expires_at=MORNING)
    async with office.open():
        await until(lambda: bool(office.outcomes))
    assert rejections(office) == {message: "quiet_hours"}


async def test_a_stop_before_its_time_stops_a_scheduled_text(office: PostOffice) -> None:
    """A text for later is looked at when it is due, not when it was written; one that was canceled never goes."""
    for name, recipient in (("news", number(1)), ("canceled", number(2)), ("goes", number(3))):
        await office.put(name, purpose="care", author="api:shop", recipient=recipient, due_at=START + 60.0)
    async with office.open():
        await office.quiet()
        assert not office.carrier.sent
        await office.journal.commit(Unit(suppress=[Suppression(number=number(1), sender="*", evidence="STOP", at=START)]))
        assert await office.journal.cancel_scheduled(MessageId("canceled"), START + 1.0)
        office.later(60.0)
        await until(lambda: len(office.outcomes) == 2)
        await office.quiet()
    assert rejections(office) == {"news": "suppressed"}
    assert office.carrier.bodies == ["goes"]


async def test_a_text_canceled_between_look_and_claim_does_not_go(office: PostOffice) -> None:
    """Memory may be behind the journal: what is no longer waiting is left alone, and the next to the same person goes."""
    await office.put("canceled")
    office.clock.now += 1.0
    await office.put("next")
    noted = office.journal.noted

    async def cancel_meanwhile(numbers: Collection[str]) -> set[str]:
        await office.journal.cancel_scheduled(MessageId("canceled"), START)
        return await noted(numbers)

    office.journal.noted = cancel_meanwhile  # type: ignore[method-assign]  # the moment cannot be had otherwise
    async with office.open():
        await until(lambda: bool(office.outcomes))
    assert office.carrier.bodies == ["next"]


# --- pictures -----------------------------------------------------------------------------------------------------------


async def test_pictures_go_by_their_address(office: PostOffice) -> None:
    """Each is given an address when the text goes; without anybody who makes addresses such texts are refused."""
    picture = Media("d1", "image/png", 10)
    await office.put("look", media=(picture,))
    async with office.open():
        await until(lambda: bool(office.outcomes))
    assert office.carrier.sent[0].media_urls == ("https://media.example/d1",)
    office.dress = None
    await office.crash()
    message = await office.put("look again", media=(picture,))
    async with office.open():
        await until(lambda: len(office.outcomes) == 2)
    assert rejections(office) == {message: "no_pictures"}


# --- reports that never came ----------------------------------------------------------------------------------------------


async def test_lost_reports_are_asked_for(office: PostOffice) -> None:
    """At the start of everything undecided; later of what has been undecided for a round, at growing intervals."""
    told: list[DeliveryReport] = []

    async def tell(report: DeliveryReport) -> None:
        told.append(report)
        row = await office.journal.message_by_ref("twilio", ProviderRef(report.ref))
        assert row is not None
        await office.outbox.reported(row, "delivered", None)

    def report(name: str) -> DeliveryReport:
        return DeliveryReport("twilio", f"ref-{name}", None, "delivered", "delivered", START)

    async with office.open():
        await office.put("a")
        await office.put("b", recipient=number(1))
        await until(lambda: len(office.outcomes) == 2)
    office.carrier.reports = {"ref-a": report("a")}
    asking = asyncio.create_task(office.outbox.catch_up(tell))
    await until(lambda: office.carrier.asked.count("ref-b") == 4)
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    assert told[0] == report("a")
    assert sorted(office.carrier.asked[:2]) == ["ref-a", "ref-b"]


async def test_a_journal_that_does_not_work_does_not_end_the_asking(office: PostOffice) -> None:
    """It is written down, and the next round asks again."""
    calls = 0

    async def undecided(*_: Any) -> list[ProviderRef]:
        nonlocal calls
        calls += 1
        raise RuntimeError("no database")

    office.journal.undecided = undecided  # type: ignore[method-assign,assignment]
    asking = asyncio.create_task(office.outbox.catch_up(lambda _: asyncio.sleep(0)))
    await until(lambda: calls >= 3)
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking


async def test_a_journal_that_does_not_work_does_not_lose_texts(office: PostOffice) -> None:
    """When a claim fails the text stays in line and goes when the journal works again."""
    claim, failures = office.journal.claim_outbox_many, [1]

    async def claim_or_fail(messages: list[MessageId], now: float) -> set[MessageId]:
        if failures:
            failures.pop()
            raise RuntimeError("no database")
        return await claim(messages, now)

    office.journal.claim_outbox_many = claim_or_fail  # type: ignore[method-assign,assignment]
    message = await office.put("hello")
    async with office.open():
        await until(lambda: bool(office.outcomes))
    assert office.outcomes == [TextAccepted(message, ProviderRef("ref-hello"), 1)]
    assert office.carrier.bodies == ["hello"]
