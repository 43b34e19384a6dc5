"""What every node knows: the same, in the same order, whoever said it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge import events as e
from bridge.acd import AnyAcdOutput, UnknownAgent
from bridge.cluster import ClusterUnavailableError, NodeId
from bridge.cluster.memory import Hub, MemoryCluster
from bridge.floor import Customer, Floor
from bridge.floor_ops import JoinLine, SetAgentState
from bridge.journal import TimelineLine
from bridge.live import LiveSession, OpenSessions
from bridge.replica import FOR_EVER, CustomerNamed, LineWritten, NodeReplica, SessionGiven, SessionMoved
from bridge.session import Limits, Session, State
from sms.numbers import look_up
from tests.unit.bridge.house import ANN, BEN, CALLER, settings
from tests.unit.bridge.story import OURS, START

SESSION = e.SessionId("t1")
TEXTS = e.QueueId("support_sms")


def session(name: str = SESSION, *, closed_at: float | None = None) -> Session:
    """An open session, or one that is over."""
    state = State(
        id=e.SessionId(name),
        opened_at=START,
        touched_at=START,
        customer=CALLER,
        our_number=OURS,
        desk=None,
        language="en",
        introduced=False,
        code="BCDF",
        closed_at=closed_at,
    )
    return Session(state, flow=None, words=lambda *_: "", menu=None, limits=Limits())


def moved(seq: int, *bodies: str, first: int = 1, closed_at: float | None = None) -> SessionMoved:
    """It has taken a step, in which the customer has written; *first*: the number of the first of these lines."""
    raw = msgspec.Raw(session(closed_at=closed_at).state_json())
    lines = tuple(TimelineLine(START, "text.received", {"body": body}, n) for n, body in enumerate(bodies, first))
    return SessionMoved(SESSION, seq, raw, "Ada", lines=lines)


class Unreachable(MemoryCluster):
    """A node whose entries may not get into the log."""

    away = False

    back: asyncio.Event | None = None
    """Set when it can be reached again; None: it never can."""

    async def append(self, body: bytes, *, patience: float | None = None) -> object:
        if patience == FOR_EVER and self.back is not None:
            await self.back.wait()
        if self.away:
            raise ClusterUnavailableError("gone")
        return await super().append(body, patience=patience)


class Node:
    """A node with a replica, that remembers what it was to do. Implements `replica.Hands`."""

    def __init__(self, name: str, hub: Hub, folder: Path) -> None:
        self.cluster = Unreachable(NodeId(name), hub)
        self.sessions = OpenSessions()
        self.floor = Floor(settings(folder), now=START)
        self.replica = NodeReplica(self.floor, self.sessions, self.cluster, self, lambda: START)
        self.followed: list[tuple[str, bool]] = []
        self.told: list[tuple[bool, int]] = []
        self.lines: list[str] = []
        self.words: list[str] = []
        self.changed: list[str | None] = []
        self.given: list[e.SessionId] = []
        self.again = 0
        self.looks = 0
        self.tasks: list[asyncio.Task[None]] = []

    def follow(self, outputs: list[AnyAcdOutput], *, asked_here: bool = True) -> None:
        self.followed += [(type(output).__name__, asked_here) for output in outputs]

    def tell_listeners(self, live: LiveSession | None, moved: SessionMoved, new: Sequence[TimelineLine]) -> None:
        self.told.append((live is not None and live.mine, moved.seq))
        self.words += [line.data["body"] for line in new]

    def tell_line(self, session: e.SessionId, line: TimelineLine) -> None:  # noqa: ARG002  # there is one
        self.lines.append(line.kind)

    def tell_changed(self, live: LiveSession) -> None:
        self.changed.append(live.customer.name)

    def session_given(self, live: LiveSession) -> None:
        self.given.append(live.state.id)

    def as_replica(self, moved: SessionMoved, node: NodeId, before: LiveSession | None) -> LiveSession:
        state = msgspec.json.decode(moved.state, type=State)
        live = LiveSession(session(closed_at=state.closed_at), Customer(look_up(CALLER)), moved.seq, None, mine=False, node=node)
        if before is not None:
            live.go_on_from(before)
        return live

    def say_everything_again(self) -> None:
        self.again += 1

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(work))

    def look_again(self) -> None:
        self.looks += 1

    def own(self) -> LiveSession:
        """It works on the session."""
        live = LiveSession(session(), Customer(look_up(CALLER)), 1, None)
        self.sessions.add(live)
        return live


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[tuple[Node, Node]]:
    """Two that have joined."""
    hub = Hub(shared=True, now=lambda: START + 1.0)

    async def nothing() -> None:
        pass

    async with AsyncExitStack() as stack:
        both = Node("a", hub, tmp_path), Node("b", hub, tmp_path)
        for node in both:
            await stack.enter_async_context(node.cluster)
            await stack.enter_async_context(node.cluster.joined(node.replica, founder=nothing))
        yield both


async def test_the_floor_is_the_same_everywhere_and_answers_who_asked(nodes: tuple[Node, Node]) -> None:
    """Both follow what it says, one of them as the one that asked; a refusal is heard by that one alone."""
    a, b = nodes
    await a.replica.do(SetAgentState(BEN, "ready", None))
    await b.replica.do(JoinLine(SESSION, TEXTS, "sms", START, 1))
    assert a.floor.dump() == b.floor.dump()
    assert [name for name, _ in a.followed] == [name for name, _ in b.followed]
    assert {here for name, here in a.followed if name == "WorkOffered"} == {False}
    assert {here for name, here in b.followed if name == "WorkOffered"} == {True}
    with pytest.raises(UnknownAgent):
        await a.replica.do(SetAgentState(e.AgentId("nobody"), "ready", None))
    assert a.floor.dump() == b.floor.dump()


async def test_a_node_that_joins_has_the_floor_of_the_others(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    """And goes on from there."""
    a, b = nodes
    await a.replica.do(SetAgentState(BEN, "ready", None))
    late = Node("c", a.cluster._hub, tmp_path)
    late.replica.load(a.replica.dump())
    assert late.floor.dump() == b.floor.dump()


async def test_a_step_of_a_session_is_known_where_it_was_not_taken(nodes: tuple[Node, Node]) -> None:
    """Its state, what is not read yet and the last words; who works on it keeps its own."""
    a, b = nodes
    own = a.own()
    await a.replica.say(moved(2, "hello"))
    await a.replica.say(moved(3, "are you there?", first=2))
    copy = b.sessions[SESSION]
    assert (copy.mine, copy.node, copy.seq, copy.unread, copy.last) == (False, "a", 3, 2, "are you there?")
    assert a.sessions[SESSION] is own
    assert own.unread == 2
    assert a.told == [(True, 2), (True, 3)]
    assert b.told == [(False, 2), (False, 3)]


async def test_what_the_journal_has_told_already_is_not_undone(nodes: tuple[Node, Node]) -> None:
    """A node that read the journal while it joined hears older steps afterwards."""
    a, b = nodes
    a.own()
    await a.replica.say(moved(5, "hello", first=2))
    await a.replica.say(moved(4, "before that"))
    assert (b.sessions[SESSION].seq, b.sessions[SESSION].last, b.sessions[SESSION].unread) == (5, "hello", 2)
    assert b.words == ["hello", "before that"]


async def test_what_is_said_again_is_heard_once(nodes: tuple[Node, Node]) -> None:
    """After a break nobody knows what has got through, so it may come twice: also once the session is over."""
    a, b = nodes
    own = a.own()
    for closed_at in (None, None, START, START):
        await a.replica.say(moved(2, "hello", "are you there?", closed_at=closed_at))
        await a.replica.say(moved(3, "are you there?", "hello?", first=2, closed_at=closed_at))
    assert own.unread == 3
    assert a.words == b.words == ["hello", "are you there?", "hello?"]
    assert SESSION not in b.sessions


async def test_a_session_that_is_over_is_not_open_anywhere(nodes: tuple[Node, Node]) -> None:
    """A node that is just reading the journal knows not to take it for open, whether it had heard of it or not."""
    a, b = nodes
    a.own()
    b.replica.over = set()
    await a.replica.say(moved(2, closed_at=START))
    assert SESSION not in b.sessions
    assert b.replica.over == {SESSION}
    assert b.told == [(False, 2)]
    b.replica.over = None
    await a.replica.say(moved(3, closed_at=START))
    assert SESSION not in b.sessions


async def test_a_session_that_is_free_is_taken_by_whom_it_was_meant_for(nodes: tuple[Node, Node]) -> None:
    """By anybody, when nobody is named; never by who has it."""
    a, b = nodes
    a.own()
    await a.replica.say(moved(2))
    await a.replica.say(SessionGiven(SESSION, NodeId("c")))
    assert (b.given, b.sessions[SESSION].node) == ([], None)
    await a.replica.say(SessionGiven(SESSION, NodeId("b")))
    await a.replica.say(SessionGiven(SESSION))
    await a.replica.say(SessionGiven(e.SessionId("t-none")))
    assert (a.given, b.given) == ([], [SESSION, SESSION])


async def test_names_and_lines_are_heard_everywhere(nodes: tuple[Node, Node]) -> None:
    """Of every session of the number, and of the one that is meant; of a withheld number that one only."""
    a, b = nodes
    a.own()
    await a.replica.say(moved(2))
    await b.replica.say(CustomerNamed(CALLER, "Ada", SESSION))
    await b.replica.say(CustomerNamed(None, "Ada L.", SESSION))
    await b.replica.say(CustomerNamed(None, "Nobody"))
    await b.replica.say(LineWritten(SESSION, TimelineLine(START, "note.written", {})))
    assert a.changed == b.changed == ["Ada", "Ada L."]
    assert a.lines == b.lines == ["note.written"]


async def test_who_cannot_say_it_goes_on_and_knows_it_itself(nodes: tuple[Node, Node]) -> None:
    """A step is in the journal already, so nobody waits; the floor is another matter."""
    a, b = nodes
    a.own()
    a.cluster.away = True
    await a.replica.say(moved(2, "hello"))
    assert (a.told, b.told) == ([(True, 2)], [])
    with pytest.raises(ClusterUnavailableError):
        await a.replica.do(SetAgentState(ANN, "ready", None))
    with pytest.raises(ClusterUnavailableError):
        await a.replica.catch_up()


async def test_what_could_not_be_said_others_look_up(nodes: tuple[Node, Node]) -> None:
    """They are told once that there is something, when they can be told again."""
    a, b = nodes
    a.own()
    a.cluster.away, a.cluster.back = True, asyncio.Event()
    await a.replica.say(moved(2, "hello"))
    await a.replica.say(moved(3, "are you there?"))
    a.cluster.away = False
    a.cluster.back.set()
    await asyncio.gather(*a.tasks)
    assert (a.looks, b.looks) == (0, 1)
    a.cluster.away, a.cluster.back = True, None
    await a.replica.say(moved(4, "hello?"))
    await asyncio.gather(*a.tasks)
    a.cluster.away = False
    assert (a.looks, b.looks) == (0, 1), "it has left"


async def test_what_could_not_be_said_while_others_looked_is_looked_up_too(nodes: tuple[Node, Node]) -> None:
    """Whoever looks may have been a moment too early."""
    a, b = nodes
    a.own()
    a.cluster.away, a.cluster.back = True, asyncio.Event()
    await a.replica.say(moved(2, "hello"))
    await asyncio.sleep(0)  # it is about to say so
    await a.replica.say(moved(3, "are you there?", first=2))
    a.cluster.away = False
    a.cluster.back.set()
    await asyncio.gather(*a.tasks)
    assert b.looks == 2


async def test_who_waits_for_a_position_goes_on_when_it_is_applied(nodes: tuple[Node, Node]) -> None:
    """And at once when it has been; nobody waits for an earlier one."""
    a, b = nodes
    await a.replica.catch_up()
    there = a.replica.position
    assert b.replica.position == there
    await b.replica.reached(there)
    after = f"{int(there) + 2:016d}"
    waiting = asyncio.create_task(b.replica.reached(after))
    await a.replica.catch_up()
    await asyncio.sleep(0)
    assert not waiting.done()
    await a.replica.catch_up()
    await waiting


async def test_after_the_log_has_begun_anew_everything_is_said_again(nodes: tuple[Node, Node]) -> None:
    """The last entries may be missing from it."""
    a, b = nodes
    a.replica.refounded()
    assert (a.again, b.again) == (1, 0)


async def test_a_node_that_is_alone_needs_no_log(tmp_path: Path) -> None:
    """It applies at once, by its own clock, and has never anything to wait for."""
    node = Node("a", Hub(), tmp_path)
    node.own()
    await node.replica.do(SetAgentState(BEN, "ready", None))
    await node.replica.say(moved(2, "hello"))
    await node.replica.catch_up()
    assert (node.told, node.replica.position) == ([(True, 2)], "")
    assert node.floor.at == START
