"""The outbox of several nodes: one sends at a time, whoever takes over, stands still or wakes up too late."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from bridge.events import MessageId, TextAccepted
from bridge.journal import Journal
from bridge.outbox import IN_FLIGHT_FOR, KEEP_DAYS_EVERY, Outbox
from sms.message import OutboundText
from sms.pacing import Pace, SenderFacts
from sms.provider import Accepted, NotSent, Rejected, Unknown
from tests.unit.bridge.post_office import ANNA, OURS, RECONCILE_AFTER, START, Answer, Carrier, Found, PostOffice, until

BUSY = Rejected(error_class="temporary", code="20429", explanation="too many requests", retriable=True)


class HonestCarrier(Carrier):
    """A provider that says what it really has when it is asked."""

    async def reconcile(self, text: OutboundText, *, attempted_at: float, known_refs: Collection[str]) -> Found:
        self.looked_up.append((text.message, attempted_at, frozenset(known_refs)))
        has = any(sent.message == text.message for sent in self.sent)
        return Accepted(ref=f"ref-{text.message}", segments=1, state="queued") if has else NotSent()


class Stopping:
    """A journal or a carrier of a node that stands still before or after one of its methods, until it is woken."""

    def __init__(self, whole: Any, method: str, *, after: bool) -> None:
        self._whole = whole
        self._method = method
        self._after = after
        self.reached, self.woken = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._whole, name)
        if name != self._method:
            return found

        async def stop(*args: Any, **names: Any) -> Any:
            result = await found(*args, **names) if self._after else None
            self.reached.set()
            await self.woken.wait()
            return result if self._after else await found(*args, **names)

        return stop


class Node:
    """One node's outbox, on the journal, the clock and the carrier of a post office."""

    def __init__(self, office: PostOffice, *, journal: Any = None, carrier: Any = None, poll: float | None = 0.05) -> None:
        self.office = office
        self.mine = False
        self.outbox = Outbox(
            cast("Journal", journal or office.journal),
            {office.carrier.name: carrier or office.carrier},
            office.settle,
            clock=office.clock,
            reconcile_after=RECONCILE_AFTER,
            pace=office.pace,
            mine=lambda: self.mine,
            poll=poll,
        )

    @asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        """It has the role, and loses it in the end as by a crash."""
        self.mine = True
        task = asyncio.create_task(self.outbox.run())
        try:
            yield
        finally:
            self.mine = False
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[PostOffice]:
    """A post office with an honest carrier."""
    async with Journal.open(f"sqlite:///{tmp_path}/journal.db") as journal:
        office = PostOffice(journal)
        office.carrier = HonestCarrier()
        yield office


async def pass_time(office: PostOffice, node: Node, done: Any) -> None:
    """Let seconds go by until something has come about."""
    async with asyncio.timeout(10.0):
        while not done():
            office.clock.now += 0.5
            node.outbox.kick()
            await asyncio.sleep(0.01)


async def test_a_node_that_stands_still_between_claim_and_request_does_not_send_when_it_wakes(office: PostOffice) -> None:
    """The next one asks the provider, which has nothing, and sends; the first one finds that it is not its turn any more."""
    still = Stopping(office.journal, "claim_outbox_many", after=True)
    old, new = Node(office, journal=still), Node(office)
    await office.put("hello")
    old.mine = True
    first = asyncio.create_task(old.outbox.run())
    await still.reached.wait()
    old.mine = False  # its lease has run out

    async with new.holding():
        await pass_time(office, new, lambda: len(office.outcomes) == 1)
        still.woken.set()
        await first  # it ends by itself

    assert office.carrier.bodies == ["hello"]
    assert [type(outcome) for outcome in office.outcomes] == [TextAccepted]


async def test_a_node_that_wakes_before_anybody_has_taken_over_leaves_its_claim(office: PostOffice) -> None:
    """It may not send any more; the text is looked up by the next holder, and sent then."""
    still = Stopping(office.journal, "claim_outbox_many", after=True)
    old, new = Node(office, journal=still), Node(office)
    message = await office.put("hello")
    old.mine = True
    first = asyncio.create_task(old.outbox.run())
    await still.reached.wait()
    old.mine = False
    still.woken.set()
    await first
    row = await office.journal.outbox(message)
    assert row is not None
    assert (row.state, office.carrier.sent) == ("attempting", [])

    async with new.holding():
        await pass_time(office, new, lambda: len(office.outcomes) == 1)
    assert office.carrier.bodies == ["hello"]


async def test_an_answer_that_comes_too_late_does_not_put_the_text_back_in_line(office: PostOffice) -> None:
    """The old node was refused for now and stood still; by now the text is on its way by the new one, and stays so."""
    office.carrier.answers = [BUSY]
    still = Stopping(office.carrier, "send", after=True)
    old, new = Node(office, carrier=still), Node(office)
    office.carrier.found = []
    message = await office.put("hello")
    old.mine = True
    first = asyncio.create_task(old.outbox.run())
    await still.reached.wait()
    office.carrier.sent.clear()  # it was refused: the carrier does not have it
    old.mine = False
    async with new.holding():
        office.carrier.gate.clear()
        await pass_time(office, new, lambda: len(office.carrier.sent) == 1)
        still.woken.set()
        await first
        row = await office.journal.outbox(message)
        assert row is not None
        assert (row.state, row.attempts) == ("attempting", 2)
        office.carrier.gate.set()
        await until(lambda: len(office.outcomes) == 1)
    assert office.carrier.bodies == ["hello"]


async def test_a_look_up_that_ends_too_late_changes_nothing(office: PostOffice) -> None:
    """The old node was told "not here" and stood still; the text has been sent since."""
    message = await office.put("hello")
    await office.journal.claim_outbox_many([message], START - 60.0)
    still = Stopping(office.carrier, "reconcile", after=True)
    old, new = Node(office, carrier=still), Node(office)
    old.mine = True
    first = asyncio.create_task(old.outbox.run())
    async with asyncio.timeout(10.0):
        while not still.reached.is_set():
            office.clock.now += 0.5
            old.outbox.kick()
            await asyncio.sleep(0.01)
    old.mine = False
    async with new.holding():
        await pass_time(office, new, lambda: len(office.outcomes) == 1)
        still.woken.set()
        await first
    row = await office.journal.outbox(message)
    assert row is not None
    assert (row.state, row.attempts, office.carrier.bodies) == ("done", 2, ["hello"])


async def test_what_another_node_has_just_claimed_may_be_on_its_way_yet(office: PostOffice) -> None:
    """A provider that does not know such a text is believed only when its request must have arrived."""
    message = await office.put("hello")
    await office.journal.claim_outbox_many([message], START)  # and the node dies with the request on its way
    node = Node(office)
    async with node.holding():
        await pass_time(office, node, lambda: len(office.outcomes) == 1)
    row = await office.journal.outbox(message)
    assert row is not None
    assert row.attempted_at is not None
    assert row.attempted_at >= START + IN_FLIGHT_FOR
    assert len(office.carrier.looked_up) > 1
    assert office.carrier.bodies == ["hello"]


async def test_what_reached_the_provider_after_all_is_not_sent_again(office: PostOffice) -> None:
    """The request of the dead node was slower than the first look."""
    message = await office.put("hello")
    await office.journal.claim_outbox_many([message], START)
    node = Node(office)
    async with node.holding():
        await pass_time(office, node, lambda: bool(office.carrier.looked_up))
        await office.carrier.send(OutboundText(message, ANNA, OURS, "hello", START))
        await pass_time(office, node, lambda: len(office.outcomes) == 1)
    assert office.carrier.bodies == ["hello"]


async def test_a_claim_out_of_the_future_is_decided_all_the_same(office: PostOffice) -> None:
    """The clock of the dead node was an hour ahead."""
    message = await office.put("hello")
    await office.journal.claim_outbox_many([message], START + 3600.0)
    node = Node(office)
    async with node.holding():
        await pass_time(office, node, lambda: len(office.outcomes) == 1)
    assert office.clock.now < START + 60.0
    assert office.carrier.bodies == ["hello"]


async def test_what_this_run_claimed_itself_is_decided_at_once(office: PostOffice) -> None:
    """Its request has come to an end: nothing of it is on its way any more."""
    office.carrier.answers = [Unknown("connection reset")]
    node = Node(office)
    await office.put("hello")
    async with node.holding():
        await until(lambda: len(office.carrier.sent) == 1)
        office.carrier.sent.clear()  # it did not get it
        await pass_time(office, node, lambda: len(office.outcomes) == 1)
    assert office.clock.now < START + IN_FLIGHT_FOR


async def test_a_role_may_come_back(office: PostOffice) -> None:
    """A node that lost it and gets it again goes by the journal, not by what it remembers."""
    one, two = Node(office), Node(office)
    await office.put("first")
    async with one.holding():
        await until(lambda: len(office.outcomes) == 1)
        office.carrier.gate.clear()
        await office.put("second")
        await until(lambda: len(office.carrier.sent) == 2)
    assert one.outbox.idle
    office.carrier.gate.set()
    async with two.holding():
        await pass_time(office, two, lambda: len(office.outcomes) == 2)  # it is looked up and found
    await office.put("third")
    async with one.holding():
        await until(lambda: len(office.outcomes) == 3)
    assert office.carrier.bodies == ["first", "second", "third"]


async def test_texts_of_other_nodes_are_found_without_a_word(office: PostOffice) -> None:
    """Also while texts of this node wait in memory for their sender."""
    office.pace = Pace([SenderFacts(number=OURS, per_second=0.001, burst=1.0)])
    node, quiet = Node(office, poll=0.02), PostOffice(office.journal)  # whose outbox nobody runs
    async with node.holding():
        await office.put("one")
        await until(lambda: len(office.outcomes) == 1)
        await office.put("two", recipient="+15550100125")  # has to wait for its sender
        await quiet.put("from elsewhere", recipient="+15550100124", sender="+15550100201")
        await until(lambda: "from elsewhere" in office.carrier.bodies)
    assert "two" not in office.carrier.bodies


async def test_a_node_that_does_not_send_has_no_work(office: PostOffice) -> None:
    """Or it would never be drained while others are behind."""
    node = Node(office)
    await office.put("hello")
    assert not await node.outbox.has_work()
    node.mine = True
    assert await node.outbox.has_work()


async def test_the_next_holder_goes_on_with_the_day(office: PostOffice) -> None:
    """What one node has sent today is gone from the other's budget, and back again."""

    def pace() -> Pace:
        return Pace([SenderFacts(number=OURS, per_day=3, burst=100.0)])

    office.pace = pace()
    one = Node(office)
    office.pace = pace()
    two = Node(office)
    for turn, (node, name) in enumerate(((one, "a"), (two, "b"), (one, "c")), 1):
        async with node.holding():
            await office.put(name, priority=0)
            await pass_time(office, node, lambda turn=turn: len(office.outcomes) == turn)
            office.clock.now += KEEP_DAYS_EVERY
            async with asyncio.timeout(10.0):
                while (kept := await office.journal.value("outbox.days")) is None or f"[{turn}," not in kept.decode():
                    office.clock.now += KEEP_DAYS_EVERY
                    node.outbox.kick()
                    await asyncio.sleep(0.01)
    async with two.holding():
        await office.put("d", priority=0)
        await asyncio.sleep(0.2)
    assert office.carrier.bodies == ["a", "b", "c"]


async def test_the_next_holder_adds_no_burst_to_what_was_just_sent(office: PostOffice) -> None:
    """The rate is the sender's, not the node's: what the dead node sent a moment ago counts."""

    def pace() -> Pace:
        return Pace([SenderFacts(number=OURS, per_second=1.0, burst=4.0)])

    office.pace = pace()
    one = Node(office)
    office.pace = pace()
    two = Node(office)
    for number in range(8):
        await office.put(f"{number}", priority=0, recipient=f"+1555010013{number}")
    async with one.holding():
        await until(lambda: len(office.outcomes) == 4)
    began = office.clock.now
    async with two.holding():
        await asyncio.sleep(0.1)
        assert len(office.carrier.sent) == 4
        await pass_time(office, two, lambda: len(office.carrier.sent) == 8)
    assert office.clock.now - began >= 4.0


async def test_nobody_writes_down_a_day_that_is_another_nodes(office: PostOffice) -> None:
    """A node that wakes up with old figures does not undo those of the next one."""
    office.pace = Pace([SenderFacts(number=OURS, per_day=100)])
    old = Node(office)
    old.mine = True
    office.pace.take(OURS, 1, START)
    await old.outbox._keep_days(START)
    assert await office.journal.value("outbox.days") is not None
    office.pace.take(OURS, 1, START)
    old.mine = False
    before = await office.journal.value("outbox.days")
    await old.outbox._keep_days(START + 2 * KEEP_DAYS_EVERY)
    assert await office.journal.value("outbox.days") == before


async def test_a_rejection_for_good_that_is_heard_too_late_is_left_to_who_sends_now(office: PostOffice) -> None:
    """The text may have been sent again since, so nobody is told that it was refused."""
    office.carrier.answers = [cast("Answer", Rejected(error_class="bad_address", code="21211", explanation="no such number"))]
    still = Stopping(office.carrier, "send", after=True)
    old = Node(office, carrier=still)
    message = await office.put("hello")
    old.mine = True
    first = asyncio.create_task(old.outbox.run())
    await still.reached.wait()
    old.mine = False
    still.woken.set()
    await first
    row = await office.journal.outbox(MessageId(message))
    assert row is not None
    assert (row.state, office.outcomes) == ("attempting", [])
