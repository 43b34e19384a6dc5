"""Texts that come in while there are several nodes, and while the journal is away: each is given to a session once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from bridge import events as e
from bridge import intake as module
from bridge.cluster import Cluster, NodeId
from bridge.cluster.memory import Hub, MemoryCluster
from bridge.correlation import OpenSession
from bridge.floor import Customer
from bridge.intake import ATTEMPTS, BEFORE_US_SINCE, GIVEN_UP_FOR, Intake
from bridge.journal import AlreadyHandledError, Committed, InboundRow, Journal, JournalUnavailableError, MessageRow, Unit
from bridge.legs import TextLeg
from bridge.live import SessionAwayError
from bridge.media_store import MediaStore
from bridge.metrics import Metrics
from bridge.notices import HookRule
from bridge.settings import Settings
from sms.message import InboundText, TextState
from sms.provider import SmsProvider

OURS, CUSTOMER = "+15550100200", "+15550100123"


class Conversation:
    """A session of which only the name matters."""

    def __init__(self, name: str) -> None:
        self.state: Any = SimpleNamespace(id=e.SessionId(name), text=TextLeg.NONE, our_number=OURS)

    def as_open(self) -> OpenSession:
        """Nobody correlates with it here."""
        raise NotImplementedError


class Node:
    """One node: an intake, and sessions that keep what they are told, each once a gate is open."""

    def __init__(self, name: str, hub: Hub, journal: Journal, folder: Path) -> None:
        self.journal = journal
        self.metrics = Metrics(CollectorRegistry())
        self.cluster: Cluster = MemoryCluster(NodeId(name), hub)
        self.now = 1_000.0
        self.clock: Callable[[], float] = lambda: self.now
        spec: dict[str, Any] = {"numbers": [{"number": OURS, "desk": "texts"}], "queues": [{"id": "texts", "channel": "sms"}]}
        self.settings = Settings(**spec)
        self.hook_rules: tuple[HookRule, ...] = ()
        self.sms_name = "loopback"
        self.sessions: Mapping[e.SessionId, Conversation] = {}
        self.told: list[str] = []
        self.done: list[str] = []
        self.faults = 0
        self.fault: Exception = RuntimeError("not today")
        self.gate = asyncio.Event()
        self.gate.set()
        self.work: list[asyncio.Task[None]] = []
        self.intake = Intake(self, cast("SmsProvider", None), MediaStore(folder / "media"))

    def sessions_of(self, customer: str) -> Sequence[Conversation]:  # noqa: ARG002  # nobody has one
        return ()

    def session_of_code(self, code: str) -> Conversation | None:  # noqa: ARG002  # as above
        return None

    def is_assigned(self, ours: str) -> bool:
        return ours == OURS

    def words_of(self, ours: str) -> Any:
        raise NotImplementedError(ours)

    def kick_outbox(self) -> None:
        """Nothing is sent here."""

    async def reported(self, message: MessageRow, state: TextState, code: str | None) -> None:
        """Nobody learns from it here."""

    async def customer(self, number: str | None, ours: str) -> Customer:  # noqa: ARG002  # all are alike
        return Customer(cast("Any", number))

    async def open_text_session(
        self, customer: str, ours: str, service: e.Service = "inbound", *, known: Customer | None = None
    ) -> Conversation:
        assert (customer, ours, service, known is not None) == (CUSTOMER, OURS, "inbound", True)
        return Conversation("new")

    async def tell(self, session: e.SessionId, event: e.AnyEvent) -> None:  # noqa: ARG002  # there is one
        assert isinstance(event, e.TextArrived)
        self.told.append(event.body)
        await self.gate.wait()
        if self.faults:
            self.faults -= 1
            raise self.fault
        await self.commit(Unit(inbound_handled=[event.message]))
        self.done.append(event.body)

    async def commit(self, unit: Unit) -> Committed:
        return await self.journal.commit(unit)

    @asynccontextmanager
    async def only_here(self, key: str) -> AsyncIterator[bool]:
        assert key == f"{CUSTOMER} {OURS}"
        yield False

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.work.append(asyncio.create_task(work))

    async def settled(self) -> None:
        """Wait until it has nothing in its hands."""
        await asyncio.gather(*self.work)

    async def keep(self, body: str, at: float) -> None:
        """Another node accepts a text, and says no more of it."""
        text = InboundText("loopback", f"ref-{body}", CUSTOMER, OURS, body, at)
        row = InboundRow(
            provider=text.provider,
            ref=e.ProviderRef(text.ref),
            raw=module._TO_JSON.encode(text),
            received_at=at,
            message=e.MessageId(f"in-{body}"),
        )
        assert await self.journal.spool_inbound(row)


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes and one journal."""
    url = f"sqlite:///{tmp_path}/journal.db"
    async with Journal.open(url) as one, Journal.open(url) as two:
        hub = Hub(shared=True)
        yield Node("one", hub, one, tmp_path), Node("two", hub, two, tmp_path)


async def test_what_a_dead_node_had_accepted_is_taken_up_after_a_while(nodes: tuple[Node, Node]) -> None:
    """Texts that are old enough, in the order they came; younger ones are left to whoever has them in hand."""
    node, _ = nodes
    for body, at in (("one", 980.0), ("two", 985.0), ("young", 999.0)):
        await node.keep(body, at)

    await node.intake.sweep(10.0)
    await node.settled()

    assert node.done == ["one", "two"]
    assert [row.message for row in await node.journal.unhandled_inbound()] == ["in-young"]
    await node.intake.take_up()  # as after a start: all of them
    await node.settled()
    assert node.done == ["one", "two", "young"]


async def test_what_this_node_has_in_hand_is_not_taken_up_again(nodes: tuple[Node, Node]) -> None:
    """However long its session takes."""
    node, _ = nodes
    node.gate.clear()
    await node.intake.text_arrived(InboundText("loopback", "r1", CUSTOMER, OURS, "slow", node.now))
    node.now += 60.0
    for _ in range(3):
        await node.intake.sweep(10.0)
    node.gate.set()
    await node.settled()

    assert node.told == node.done == ["slow"]


async def test_of_two_nodes_that_have_one_text_one_is_heard(nodes: tuple[Node, Node]) -> None:
    """The owner is slow, another node takes the text up as well: what the second makes of it is not kept, and no fault."""
    owner, other = nodes
    owner.gate.clear()
    await owner.intake.text_arrived(InboundText("loopback", "r1", CUSTOMER, OURS, "hello", owner.now))
    other.now += 60.0
    await other.intake.sweep(10.0)
    await other.settled()
    with capture_logs() as logs:
        owner.gate.set()
        await owner.settled()

    assert (owner.told, owner.done, other.done) == (["hello"], [], ["hello"])
    assert [line["event"] for line in logs if line["log_level"] in {"warning", "error"}] in ([], ["journal.refused"])
    assert "text.handled_elsewhere" in [line["event"] for line in logs]


async def test_a_text_nobody_can_deal_with_is_left_alone_for_a_while(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried a few times, not at every sweep; later on again."""
    monkeypatch.setattr(module, "RETRY_AFTER", 0.0)
    node, _ = nodes
    await node.keep("odd", 900.0)
    node.faults = ATTEMPTS
    for _ in range(3):
        await node.intake.sweep(10.0)
        await node.settled()
    assert len(node.told) == ATTEMPTS

    node.now += GIVEN_UP_FOR
    await node.intake.sweep(10.0)
    await node.settled()
    assert node.done == ["odd"]


@pytest.mark.parametrize("fault", [JournalUnavailableError("gone"), SessionAwayError("node b is gone")])
async def test_a_text_waits_as_long_as_it_has_nowhere_to_go(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """The journal or the owner of its session is away: that is not held against it, and what comes after it keeps its place."""
    monkeypatch.setattr(module, "AWAY_AGAIN", 0.001)
    monkeypatch.setattr(module, "RETRY_AFTER", 0.01)
    node, _ = nodes
    await node.keep("one", 900.0)
    await node.keep("two", 901.0)
    node.faults, node.fault = 3 * ATTEMPTS, fault
    with capture_logs() as logs:
        await node.intake.sweep(10.0)
        await node.settled()

    assert node.done == ["one", "two"]
    assert [line["event"] for line in logs if line["log_level"] == "error"] == []


async def test_texts_of_one_customer_that_come_to_two_nodes_are_told_in_their_order(nodes: tuple[Node, Node]) -> None:
    """The second waits until the first is with its session, as it would at one node; one to another number of ours does not."""
    first, second = nodes
    first.gate.clear()
    await first.intake.text_arrived(InboundText("loopback", "r1", CUSTOMER, OURS, "hello", first.now))
    await second.intake.text_arrived(InboundText("loopback", "r2", CUSTOMER, OURS, "again", second.now))
    assert not await second.journal.has_earlier_inbound(e.MessageId("in-none"), CUSTOMER, OURS, 0.0)
    [_, again] = await second.journal.unhandled_inbound()
    assert await second.journal.has_earlier_inbound(again.message, CUSTOMER, OURS, second.now)
    assert not await second.journal.has_earlier_inbound(again.message, CUSTOMER, "+15550100201", second.now)
    async with asyncio.timeout(5.0):
        while not first.told:  # noqa: ASYNC110  # it has no event
            await asyncio.sleep(0.005)
    assert second.told == []
    first.gate.set()
    await first.settled()
    await second.settled()

    assert (first.done, second.done) == (["hello"], ["again"])


async def test_a_text_does_not_wait_for_ever_for_one_before_it(nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch) -> None:
    """The node that has the first may be dead: after a moment the second goes on, and at once when the first is old."""
    monkeypatch.setattr(module, "BEFORE_US", 0.2)
    node, _ = nodes
    await node.keep("lost", node.now - BEFORE_US_SINCE - 1.0)
    await node.keep("slow", node.now - 1.0)
    await node.intake.text_arrived(InboundText("loopback", "r1", CUSTOMER, OURS, "hello", node.now))
    await node.settled()

    assert node.done == ["hello"]


class Away:
    """A journal that cannot be reached for some attempts."""

    def __init__(self, journal: Journal, attempts: int) -> None:
        self._journal = journal
        self._attempts = attempts
        self.rows: list[InboundRow] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def spool_inbound(self, row: InboundRow) -> bool:
        self.rows.append(row)
        if len(self.rows) <= self._attempts:
            raise JournalUnavailableError("gone")
        return await self._journal.spool_inbound(row)


async def test_a_text_waits_in_hand_for_a_journal_that_is_away_for_a_moment(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is saved with the same row, so that a commit whose answer was lost is recognised. Whoever brings it hears nothing."""
    monkeypatch.setattr(module, "KEEP_AGAIN", 0.01)
    node, _ = nodes
    away = Away(node.journal, 3)
    node.intake._journal = cast("Journal", away)

    assert await node.intake.text_arrived(InboundText("loopback", "r1", CUSTOMER, OURS, "hello", node.now))

    await node.settled()
    assert len({id(row) for row in away.rows}) == 1
    assert node.done == ["hello"]


async def test_whoever_brings_a_text_is_told_when_it_cannot_be_kept(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is acknowledged that is not on disk."""
    monkeypatch.setattr(module, "KEEP_WITHIN", 0.05)
    monkeypatch.setattr(module, "KEEP_AGAIN", 0.01)
    node, _ = nodes
    node.intake._journal = cast("Journal", Away(node.journal, 1000))

    with pytest.raises(JournalUnavailableError):
        await node.intake.text_arrived(InboundText("loopback", "r1", CUSTOMER, OURS, "hello", node.now))
    assert node.told == []


async def test_the_journal_names_the_text(nodes: tuple[Node, Node]) -> None:
    """What the intake recognises is what the journal raises, also from another node's connection."""
    one, two = nodes
    await one.keep("x", 1.0)
    await one.commit(Unit(inbound_handled=[e.MessageId("in-x")]))
    with pytest.raises(AlreadyHandledError, match="in-x"):
        await two.commit(Unit(inbound_handled=[e.MessageId("in-x")]))
