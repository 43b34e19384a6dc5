"""The outbox: each text is handed over at most once, none is forgotten, and none overtakes another to the same person."""

import asyncio
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any, cast

import pytest

from bridge.events import MessageId, ProviderRef, TextAccepted, TextRejected
from bridge.journal import Journal, Suppression, Unit
from bridge.outbox import FIRST_LOOK, FIRST_PAUSE, IN_FLIGHT_FOR, MOST_AT_ONCE, MOST_ATTEMPTS, OWED
from sms.provider import Accepted, NotSent, Rejected, Unknown
from tests.unit.bridge.post_office import ANNA, OURS, RECONCILE_AFTER, START, PostOffice, until

BEN = "+15550100124"

BUSY = Rejected(error_class="temporary", code="20429", explanation="too many requests", retriable=True)
BAD = Rejected(error_class="bad_address", code="21211", explanation="no such number")


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[PostOffice]:
    """A post office on a real journal."""
    async with Journal.open(f"sqlite:///{tmp_path}/journal.db") as journal:
        yield PostOffice(journal)


async def test_every_text_is_handed_over_once_with_all_it_needs(office: PostOffice) -> None:
    """As it stands in the journal; the outcome goes to whoever asked for it, and the row is done."""
    message = await office.put("hello", expires_at=START + 60.0)
    async with office.open():
        await until(lambda: len(office.outcomes) == 1)
        office.outbox.kick()
        await office.quiet()
    [text] = office.carrier.sent
    assert (text.message, text.recipient, text.sender, text.expires_at, text.purpose) == (
        "hello",
        ANNA,
        OURS,
        START + 60,
        "session",
    )
    assert office.outcomes == [TextAccepted(message, ProviderRef("ref-hello"), 1)]
    row = await office.journal.outbox(message)
    assert row is not None
    assert (row.state, row.outcome, row.attempts) == ("done", "accepted", 1)


async def test_to_one_person_texts_go_one_after_the_other(office: PostOffice) -> None:
    """In the order they were written, each only when the one before has its answer; others do not wait for it."""
    office.carrier.gate.clear()
    for name in ("one", "two", "three"):
        await office.put(name)
        office.clock.now += 1.0
    await office.put("other", recipient=BEN)
    async with office.open():
        await until(lambda: len(office.carrier.sent) == 2)
        await asyncio.sleep(0.05)
        assert sorted(office.carrier.bodies) == ["one", "other"]
        office.carrier.gate.set()
        await until(lambda: len(office.outcomes) == 4)
    assert [body for body in office.carrier.bodies if body != "other"] == ["one", "two", "three"]


async def test_a_text_that_somebody_else_has_claimed_holds_back_what_follows_it(office: PostOffice) -> None:
    """Memory was behind: the next text to the same person waits until it is known what became of the first."""

    class Claimed:
        """A journal in which another process is faster, once."""

        faster = True

        def __getattr__(self, name: str) -> Any:
            return getattr(office.journal, name)

        async def claim_outbox_many(self, messages: Collection[MessageId], now: float) -> set[MessageId]:
            claimed = await office.journal.claim_outbox_many(messages, now)
            if self.faster:
                self.faster = False
                return set()
            return claimed

    office.outbox._journal = cast("Journal", Claimed())
    await office.put("one")
    office.clock.now += 0.001
    await office.put("two")
    async with office.open():
        await asyncio.sleep(0.1)
        assert office.carrier.bodies == []
        office.clock.now += IN_FLIGHT_FOR
        office.outbox.kick()
        await until(lambda: office.carrier.bodies == ["one", "two"])


async def test_the_urgent_goes_first(office: PostOffice) -> None:
    """When there is more to send than may be under way at once, an agent's words are next, before a campaign's."""
    office.carrier.turns = asyncio.Semaphore(0)
    for number in range(MOST_AT_ONCE + 3):
        await office.put(f"campaign {number}", priority=3, recipient=f"+1555011{number:04}")
    async with office.open():
        await until(lambda: len(office.carrier.sent) == MOST_AT_ONCE)
        await office.put("agent", priority=0)
        office.carrier.turns.release()
        await until(lambda: len(office.carrier.sent) == MOST_AT_ONCE + 1)
    assert office.carrier.bodies[-1] == "agent"


async def test_urgency_never_turns_a_conversation_around(office: PostOffice) -> None:
    """To one person the older text goes first, whatever its priority."""
    await office.put("we go on here", priority=2)
    office.clock.now += 1.0
    await office.put("good morning", priority=0)
    async with office.open():
        await until(lambda: len(office.outcomes) == 2)
    assert office.carrier.bodies == ["we go on here", "good morning"]


async def test_what_would_come_too_late_is_not_sent(office: PostOffice) -> None:
    """It is settled as too late, and nothing leaves."""
    message = await office.put("by the way", expires_at=START + 10.0)
    office.clock.now += 10.0
    async with office.open():
        await until(lambda: bool(office.outcomes))
    assert not office.carrier.sent
    assert office.outcomes == [TextRejected(message, "too_late", "expired", "too late to be of use")]


async def test_nothing_goes_to_one_who_has_opted_out_but_the_answer_that_is_owed(office: PostOffice) -> None:
    """The list is looked at in the last moment, so an opt-out also stops what was already waiting."""
    waiting = await office.put("news")
    await office.put("you are out", author=OWED)
    await office.journal.commit(Unit(suppress=[Suppression(number=ANNA, sender=OURS, evidence="STOP", at=START)]))
    async with office.open():
        await until(lambda: len(office.outcomes) == 2)
    assert office.carrier.bodies == ["you are out"]
    assert [(o.message, o.error_class) for o in office.outcomes if isinstance(o, TextRejected)] == [(waiting, "opted_out")]


async def test_a_refusal_for_good_is_told_and_not_repeated(office: PostOffice) -> None:
    """The class, code and words of the provider go to the session."""
    office.carrier.answers = [BAD]
    message = await office.put("hello")
    async with office.open():
        await until(lambda: bool(office.outcomes))
        office.later(3600.0)
        await office.quiet()
    assert office.outcomes == [TextRejected(message, "bad_address", "21211", "no such number")]
    assert len(office.carrier.sent) == 1


async def test_a_refusal_for_now_is_tried_again_when_the_provider_said(office: PostOffice) -> None:
    """Not before `Retry-After`, and with our own pause when the provider names none or a shorter one."""
    office.carrier.answers = [Rejected("temporary", "20429", "slow down", retriable=True, retry_after=30.0), BUSY]
    await office.put("hello")
    async with office.open():
        await until(lambda: len(office.carrier.sent) == 1)
        await office.quiet()
        office.later(29.0)
        await office.quiet()
        assert len(office.carrier.sent) == 1
        office.later(1.0)
        await until(lambda: len(office.carrier.sent) == 2)
        await office.quiet()
        office.later(FIRST_PAUSE * 2)
        await until(lambda: bool(office.outcomes))
    assert len(office.carrier.sent) == 3
    assert isinstance(office.outcomes[0], TextAccepted)


async def test_nobody_is_bothered_for_ever(office: PostOffice) -> None:
    """After the last attempt a refusal for now is one for good."""
    office.carrier.answers = [BUSY] * MOST_ATTEMPTS
    await office.put("hello")
    async with office.open():
        for attempt in range(MOST_ATTEMPTS):
            await until(lambda attempt=attempt: len(office.carrier.sent) == attempt + 1)  # type: ignore[misc]
            await office.quiet()
            office.later(3600.0)
        await until(lambda: bool(office.outcomes))
    assert len(office.carrier.sent) == MOST_ATTEMPTS
    assert isinstance(office.outcomes[0], TextRejected)


async def test_a_text_that_waits_for_its_next_attempt_is_not_overtaken(office: PostOffice) -> None:
    """The second sentence of a chat does not arrive before the first."""
    office.carrier.answers = [BUSY]
    await office.put("first", priority=0)
    async with office.open():
        await until(lambda: len(office.carrier.sent) == 1)
        await office.quiet()
        await office.put("second", priority=0)
        await office.put("to another", recipient=BEN)
        await until(lambda: len(office.carrier.sent) == 2)
        await office.quiet()
        assert office.carrier.bodies == ["first", "to another"]
        office.later(FIRST_PAUSE)
        await until(lambda: len(office.outcomes) == 3)
    assert office.carrier.bodies == ["first", "to another", "first", "second"]


async def test_an_unknown_outcome_is_looked_up_and_not_repeated(office: PostOffice) -> None:
    """The provider has it: accepted, and sent once. Until that is known nothing overtakes it."""
    office.carrier.answers = [Unknown("timeout")]
    office.carrier.found = [Accepted(ref="it was there", segments=2, state="sent")]
    message = await office.put("hello")
    async with office.open():
        await until(lambda: len(office.carrier.sent) == 1)
        await office.quiet()
        await office.put("second")
        assert not office.carrier.looked_up
        assert office.carrier.bodies == ["hello"]
        await office.later_until(lambda: len(office.outcomes) == 2)
    assert office.carrier.looked_up == [("hello", START, frozenset())]
    assert office.carrier.bodies == ["hello", "second"]
    assert office.outcomes[0] == TextAccepted(message, ProviderRef("it was there"), 2)


async def test_a_text_the_provider_certainly_does_not_have_is_sent_again(office: PostOffice) -> None:
    """Looked up once, then sent a second time."""
    office.carrier.answers = [Unknown("timeout")]
    office.carrier.found = [NotSent()]
    await office.put("hello")
    async with office.open():
        await until(lambda: len(office.carrier.sent) == 1)
        await office.quiet()
        await office.later_until(lambda: bool(office.outcomes))
    assert office.carrier.bodies == ["hello", "hello"]


async def test_a_provider_that_always_breaks_off_is_not_asked_for_ever(office: PostOffice) -> None:
    """Each time it certainly does not have the text; after the last attempt the session hears of it."""
    office.carrier.answers = [Unknown("HTTP 500")] * (MOST_ATTEMPTS + 1)
    message = await office.put("hello")
    async with office.open():
        await until(lambda: len(office.carrier.sent) == 1)
        took = await office.later_until(lambda: bool(office.outcomes))
    assert office.outcomes == [TextRejected(message, "temporary", "broken_off", f"the provider broke off {MOST_ATTEMPTS} times")]
    assert len(office.carrier.sent) == MOST_ATTEMPTS
    assert took > 14.0  # 2 + 4 + 8 seconds and the looks in between


async def test_as_long_as_nobody_knows_it_is_asked_again_and_never_sent(office: PostOffice) -> None:
    """The pauses double, up to the longest."""
    office.carrier.answers = [Unknown("timeout")]
    looks = 9
    office.carrier.found = [*[Unknown("still no answer")] * (looks - 1), Accepted("x", 1, "sent")]
    await office.put("hello")
    pauses = []
    async with office.open():
        await until(lambda: len(office.carrier.sent) == 1)
        for count in range(1, looks + 1):
            await office.quiet()
            pauses.append(await office.later_until(lambda count=count: len(office.carrier.looked_up) == count))  # type: ignore[misc]
        await until(lambda: bool(office.outcomes))
    assert office.carrier.bodies == ["hello"]
    assert pauses == sorted(pauses)
    assert pauses[0] < 5 * FIRST_LOOK
    assert RECONCILE_AFTER <= pauses[-1] < RECONCILE_AFTER + 5 * FIRST_LOOK


async def test_a_crash_between_claim_and_answer_sends_nothing_twice(office: PostOffice) -> None:
    """The new process finds the claim, waits its time, asks the provider, and knows."""
    office.carrier.gate.clear()
    message = await office.put("hello")
    async with office.open():
        await until(lambda: len(office.carrier.sent) == 1)
    office.carrier.gate.set()
    await office.crash()
    office.carrier.found = [Accepted(ref="ref-hello", segments=1, state="sent")]
    async with office.open():
        await office.quiet()
        assert office.carrier.bodies == ["hello"]
        await office.later_until(lambda: bool(office.outcomes))
    assert office.carrier.bodies == ["hello"]
    assert office.outcomes == [TextAccepted(message, ProviderRef("ref-hello"), 1)]


async def test_a_crash_before_the_claim_loses_nothing(office: PostOffice) -> None:
    """What was never claimed is simply sent by the next process."""
    await office.put("hello")
    await office.crash()
    async with office.open():
        await until(lambda: bool(office.outcomes))
    assert office.carrier.bodies == ["hello"]


async def test_refs_of_other_texts_are_not_taken_for_the_one_that_is_looked_for(office: PostOffice) -> None:
    """The look-up knows what is accounted for, so two equal texts are told apart."""
    await office.put("same")
    async with office.open():
        await until(lambda: len(office.outcomes) == 1)
        office.carrier.answers = [Unknown("timeout")]
        await office.put("same again")
        await until(lambda: len(office.carrier.sent) == 2)
        await office.quiet()
        await office.later_until(lambda: bool(office.carrier.looked_up))
    assert office.carrier.looked_up[0][2] == {"ref-same"}


async def test_a_report_that_overtakes_the_answer_settles_the_text(office: PostOffice) -> None:
    """Whoever settles it first does; a claim that is settled is neither looked up nor sent."""
    office.carrier.gate.clear()
    message = await office.put("hello")
    async with office.open():
        await until(lambda: len(office.carrier.sent) == 1)
        await office.settle(None, TextAccepted(message, ProviderRef("ref-hello"), 1))
        office.later(RECONCILE_AFTER * 2)
        await asyncio.sleep(0.05)
        office.carrier.gate.set()
        await until(lambda: len(office.outcomes) == 2)
        await office.quiet()
    assert office.outcomes[0] == office.outcomes[1]
    assert office.carrier.bodies == ["hello"]
    assert not office.carrier.looked_up


async def test_a_provider_that_breaks_does_not_stop_the_others(office: PostOffice) -> None:
    """Its text keeps the claim and is looked up in its time; the rest goes on."""
    office.carrier.answers = [RuntimeError("bug")]
    await office.put("hello")
    async with office.open():
        await until(lambda: len(office.carrier.sent) == 1)
        await office.put("to another", recipient=BEN)
        await until(lambda: len(office.outcomes) == 1)
        await until(lambda: office.outbox.idle)
        office.carrier.found = [Accepted("x", 1, "sent")]
        await office.later_until(lambda: len(office.outcomes) == 2)
    assert office.carrier.bodies == ["hello", "to another"]


async def test_an_outcome_that_could_not_be_kept_is_looked_up_later(office: PostOffice) -> None:
    """The provider took it, the journal did not take the answer: never a second copy."""
    office.fail_to_settle = 1
    await office.put("hello")
    async with office.open():
        await until(lambda: len(office.carrier.sent) == 1)
        await until(lambda: office.outbox.idle)
        office.carrier.found = [Accepted("ref-hello", 1, "sent")]
        await office.later_until(lambda: bool(office.outcomes))
    assert office.carrier.bodies == ["hello"]
