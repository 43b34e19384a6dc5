"""What every node of the service knows: the floor, and the open sessions of all of them.

Whatever changes goes through one log (`Cluster.append`) and is applied on every node in the same order. So all nodes have the
same lines, the same claims and the same estimates, and whoever reads does so in memory. A node that is alone needs no log: it
applies at once. Who acts on what the floor says is not decided here: see `Hands`.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec
import structlog

from bridge import events as e
from bridge.acd import AnyAcdOutput
from bridge.cluster import Cluster, ClusterUnavailableError, Entry, NodeId
from bridge.floor import Floor
from bridge.floor_ops import Op
from bridge.journal import TimelineLine
from bridge.live import LiveSession, OpenSessions
from sms.message import TextState

log = structlog.get_logger()

FOR_EVER = math.inf


class OnFloor(msgspec.Struct, frozen=True, tag="floor"):
    """Something that changes lines, agents or estimates."""

    op: Op


class SessionMoved(msgspec.Struct, frozen=True, tag="session"):
    """A session has taken a step; it is in the journal."""

    session: e.SessionId
    seq: int
    state: msgspec.Raw
    """Of the session after it, as JSON."""
    name: str | None
    """What the customer is called."""
    lines: tuple[TimelineLine, ...] = ()
    text: tuple[e.MessageId, TextState, str | None] | None = None
    """A text of ours has got further."""
    sending: bool = False
    """There is something new in the outbox."""
    telling: bool = False
    """There is something new for the hooks."""


class SessionGiven(msgspec.Struct, frozen=True, tag="given"):
    """Its node works on this session no longer, and it is not over."""

    session: e.SessionId
    to: NodeId | None = None
    """Who is to take it; None: who can."""


class LineWritten(msgspec.Struct, frozen=True, tag="line"):
    """A line that no event of the session led to."""

    session: e.SessionId
    line: TimelineLine


class CustomerNamed(msgspec.Struct, frozen=True, tag="name"):
    """What a customer is called from now on."""

    number: str | None
    """In every session of this number; None: it is not known."""
    name: str | None
    session: e.SessionId | None = None
    """In this session, too."""


class Mark(msgspec.Struct, frozen=True, tag="mark"):
    """Changes nothing. Who has applied it knows everything that was said before it."""


class Unsaid(msgspec.Struct, frozen=True, tag="unsaid"):
    """This node could not say something about its sessions: of them the journal knows more than the others."""


Said: TypeAlias = OnFloor | SessionMoved | SessionGiven | LineWritten | CustomerNamed | Mark | Unsaid
_SAID = msgspec.json.Decoder(Said)


class Hands(Protocol):
    """What the replica needs of the runner."""

    def follow(self, outputs: list[AnyAcdOutput], *, asked_here: bool = True) -> None:
        """Let everything follow that follows from what the floor said; *asked_here*: this node has asked for it."""

    def tell_listeners(self, live: LiveSession | None, moved: SessionMoved, new: Sequence[TimelineLine]) -> None:
        """Let everybody on this node hear of a session's step, with its lines that are *new*; None: it is not open."""

    def tell_line(self, session: e.SessionId, line: TimelineLine) -> None:
        """Let everybody on this node hear of a line."""

    def tell_changed(self, live: LiveSession) -> None:
        """Let everybody on this node hear that something about a session is not what it was."""

    def session_given(self, live: LiveSession) -> None:
        """A session of another node is free."""

    def as_replica(self, moved: SessionMoved, node: NodeId, before: LiveSession | None) -> LiveSession:
        """A session of another node, to read; *before*: as it was known until now."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let *work* run beside the sessions."""

    def look_again(self) -> None:
        """Compare the sessions of other nodes with the journal: not everything was said."""

    def say_everything_again(self) -> None:
        """The log has begun anew: what was said last may be lost."""


class NodeReplica:
    """See above. Implements `bridge.cluster.Replica`.

    Args:
        floor: The floor, as the replica keeps it.
        sessions: The open sessions.
        cluster: The other nodes.
        hands: Who acts.
        clock: Seconds since the epoch, for a node that is alone.
    """

    def __init__(self, floor: Floor, sessions: OpenSessions, cluster: Cluster, hands: Hands, clock: Callable[[], float]) -> None:
        self._floor = floor
        self._sessions = sessions
        self._cluster = cluster
        self._hands = hands
        self._clock = clock
        self.position = ""
        """Of the last entry applied."""
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        """Who waits for which position."""
        self._owing = 0
        """How often something was not said since the others last heard of that."""
        self.over: set[e.SessionId] | None = None
        """Sessions that ended while this node reads the journal for the first time; None: it is not reading."""

    # --- what goes in

    async def do(self, op: Op, *, patience: float = FOR_EVER) -> Any:
        """Change the floor; returns its answer once everything has followed from it here.

        Args:
            op: What is to be done.
            patience: Seconds for which it is tried while the nodes cannot reach what they share.

        Raises:
            ClusterUnavailableError: They cannot. It may still happen.
            Exception: The floor's own refusals; nothing has changed.
        """
        if self._cluster.alone:
            return self._on_floor(op, self._clock(), here=True)
        return await self._append(OnFloor(op), patience)

    async def say(self, said: SessionMoved | SessionGiven | LineWritten | CustomerNamed | Mark) -> None:
        """Let every node know. While that cannot be, this node goes on, and the others look it up later."""
        if self._cluster.alone:
            self._take(said, self._cluster.node)
            return
        try:
            await self._append(said, None)
        except ClusterUnavailableError as error:
            log.warning("cluster.unsaid", what=type(said).__name__, reason=str(error))
            self._take(said, self._cluster.node)
            self._owing += 1
            if self._owing == 1:
                self._hands.spawn(self._say_unsaid())

    async def _say_unsaid(self) -> None:
        """Who hears it looks into the journal, perhaps before the next thing that cannot be said is there."""
        while owing := self._owing:
            with contextlib.suppress(ClusterUnavailableError):  # the others have heard it, or we have left
                await self._append(Unsaid(), FOR_EVER)
            self._owing -= owing

    async def _append(self, said: Said, patience: float | None) -> Any:
        body = msgspec.json.encode(said)
        return await (self._cluster.append(body) if patience is None else self._cluster.append(body, patience=patience))

    async def catch_up(self) -> None:
        """Wait until this node knows everything that any node has said before now.

        Raises:
            ClusterUnavailableError: It cannot be known.
        """
        if not self._cluster.alone:
            await self._append(Mark(), None)

    async def reached(self, position: str) -> None:
        """Wait until this node has applied the entry at *position*."""
        if self.position < position:
            there: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((position, there))
            await there

    def _say_reached(self) -> None:
        for there, future in self._waiting:
            if there <= self.position and not future.done():
                future.set_result(None)
        self._waiting = [(there, future) for there, future in self._waiting if not future.done()]

    # --- what comes out, on every node

    def apply(self, entry: Entry) -> Any:
        """Take what some node has said."""
        self.position = entry.position
        if self._waiting:
            self._say_reached()
        said = _SAID.decode(entry.body)
        here = entry.node == self._cluster.node
        if isinstance(said, OnFloor):
            return self._on_floor(said.op, entry.at, here=here)
        if isinstance(said, Unsaid):
            if not here:
                self._hands.look_again()
            return None
        self._take(said, entry.node)
        return None

    def dump(self) -> bytes:
        """The floor; the sessions are in the journal."""
        return self._floor.dump()

    def load(self, snapshot: bytes) -> None:
        """Take the floor of another node."""
        self._floor.load(snapshot)
        self.position = ""

    def refounded(self) -> None:
        """The log has begun anew."""
        self._hands.say_everything_again()

    def _on_floor(self, op: Op, now: float, *, here: bool) -> Any:
        applied = self._floor.apply(op, now)
        self._hands.follow(applied.outputs, asked_here=here)
        return applied.answer

    def _take(self, said: SessionMoved | SessionGiven | LineWritten | CustomerNamed | Mark, node: NodeId) -> None:
        match said:
            case SessionMoved():
                self._moved(said, node)
            case SessionGiven():
                live = self._sessions.get(said.session)
                if live is not None and not live.mine:
                    live.node = None
                    if said.to in {None, self._cluster.node}:
                        self._hands.session_given(live)
            case LineWritten():
                self._hands.tell_line(said.session, said.line)
            case CustomerNamed():
                self._named(said)
            case Mark():
                pass

    def _named(self, said: CustomerNamed) -> None:
        named = [] if said.number is None else self._sessions.of_customer(said.number)
        one = None if said.session is None else self._sessions.get(said.session)
        if one is not None and one not in named:
            named.append(one)
        for live in named:
            live.customer.name = said.name
            self._hands.tell_changed(live)

    def _moved(self, moved: SessionMoved, node: NodeId) -> None:
        live = self._sessions.get(moved.session)
        if node != self._cluster.node and (live is None or not live.mine):
            if live is not None and live.seq > moved.seq:  # the journal has told us more than this already
                if new := live.hear(moved.lines):
                    self._hands.tell_listeners(live, msgspec.structs.replace(moved, text=None), new)
                return
            live = self._hands.as_replica(moved, node, live)
            live.heard = self._sessions.ended(moved.session) or live.heard
            self._sessions.add(live)
        if live is not None:
            new = live.hear(moved.lines)
        else:
            ended = self._sessions.ended(moved.session)
            new = [line for line in moved.lines if ended is None or ended.add(line.n)]
        self._hands.tell_listeners(live, moved, new)
        if live is not None and live.session.closed:
            if self.over is not None:
                self.over.add(moved.session)
            if not live.mine:
                self._sessions.remove(live)
