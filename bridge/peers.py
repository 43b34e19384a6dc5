"""The other nodes: what they are asked for, what they ask for, and what goes from one to the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, Protocol, TypeAlias
from weakref import WeakValueDictionary

import msgspec
import structlog

from bridge import events as e
from bridge.cluster import AskRefused, Cluster, ClusterUnavailableError, Lease, NodeId
from bridge.cluster.leases import kept
from bridge.journal import JournalError
from bridge.legs import NO_CALL
from bridge.live import LiveSession, OpenSessions, SessionAwayError
from bridge.ownership import Ownership
from bridge.replica import NodeReplica, SessionMoved
from bridge.session import UnexpectedEvent

log = structlog.get_logger()

ASK_FOR = 10.0
"""Seconds for which another node may take to do what it is asked."""
HEAR_WITHIN = 10.0
"""Seconds for which this node may lag behind the one that has done what it was asked."""
AFTER_LOSS = 3.0
"""Seconds for which floor and sessions may tell different stories when the log has begun anew: its end may be missing."""
FETCH_FOR = 3.0
"""Seconds for which a call waits for the session that it belongs to, when another node has that."""

LOST = "it may be that another server did the same at the same time"
"""Why a block that was to be the only one is not known to have been."""

_TWICE_IS_ONCE = (
    e.TextArrived, e.TextAccepted, e.TextRejected, e.TextReported, e.MediaUploaded, e.OptOutChanged, e.AgentLost,
)  # fmt: skip
"""Events that may be told again when it is not known whether they were heard."""

What: TypeAlias = Literal["tell", "settle", "hang_up", "give"]


class Question(msgspec.Struct, frozen=True):
    """What one node wants the node of a session to do."""

    session: e.SessionId
    what: What
    after: str
    """Once it knows everything up to here, because whoever asks does."""
    event: msgspec.Raw = msgspec.Raw(b"null")
    """With `tell`."""


_QUESTION = msgspec.json.Decoder(Question)


class Owner(Protocol):
    """What this needs of the runner."""

    def put(self, live: LiveSession, event: e.AnyEvent) -> "asyncio.Future[None]":
        """Put *event* into the inbox of a session of this node; done when it is saved and performed."""

    async def settled(self, session: e.SessionId) -> None:
        """Wait until everything posted to a session so far has been dealt with."""

    async def hang_up(self, session: e.SessionId) -> None:
        """End a session's call."""

    async def look_over(self) -> None:
        """Let what is known of the sessions of other nodes become what the journal has."""

    async def heal_floor(self, grace: float) -> None:
        """Compare lines and desks with the sessions; put right what differs for *grace* seconds."""


class Peers:
    """What this node and the others do for each other's sessions.

    Args:
        cluster: How they are reached.
        sessions: The open sessions, own and others'.
        replica: What all nodes know.
        ownership: Who works on which session.
        owner: Who works on those of this node.
    """

    def __init__(
        self, cluster: Cluster, sessions: OpenSessions, replica: NodeReplica, ownership: Ownership, owner: Owner
    ) -> None:
        self._cluster = cluster
        self._sessions = sessions
        self._replica = replica
        self._ownership = ownership
        self._owner = owner
        self._blocks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Held by whoever on this node is in a block that is to be the only one, by key; a lease only parts nodes."""

    # --- questions

    async def answer(self, node: NodeId, question: bytes) -> bytes:
        """Do what another node asks; returns how far this one was then (see `Cluster.answer`)."""
        asked = _QUESTION.decode(question)
        async with asyncio.timeout(ASK_FOR):
            await self._replica.reached(asked.after)
        live = self._sessions.get(asked.session)
        if live is None or not live.mine:
            raise AskRefused(b"elsewhere")
        try:
            match asked.what:
                case "tell":
                    await self._owner.put(live, msgspec.json.decode(asked.event, type=e.AnyEvent))
                case "settle":
                    await self._owner.settled(asked.session)
                case "hang_up":
                    await self._owner.hang_up(asked.session)
                case "give":
                    if live.state.call in NO_CALL:  # or it stays where its call is
                        live.leave(node)
        except UnexpectedEvent as refusal:
            raise AskRefused(b"refused " + str(refusal).encode()) from refusal
        except JournalError as error:
            log.warning("cluster.not_done", node=node, session=asked.session)
            raise AskRefused(b"broken " + str(error).encode()) from error
        return self._replica.position.encode()

    async def ask(self, session: e.SessionId, what: What, event: e.AnyEvent | None = None) -> None:
        """Let the node that works on the session do it, whichever that is by now.

        Raises:
            UnexpectedEvent: It cannot happen now, or the session is over. Nothing has changed.
            SessionAwayError: Nobody has answered, or this node does not hear what came of it. It may have happened.
        """
        raw = msgspec.Raw(msgspec.json.encode(event))
        deadline = asyncio.get_running_loop().time() + self._ownership.ttl + ASK_FOR
        while asyncio.get_running_loop().time() < deadline:
            live = self._sessions.get(session)
            if live is None:
                raise UnexpectedEvent("the session is over")
            if live.mine:
                await (self._owner.settled(session) if event is None else self._owner.put(live, event))
                return
            try:
                node = live.node or await self._cluster.owner(session)
                if node is not None and node != self._cluster.node:
                    question = msgspec.json.encode(Question(session, what, self._replica.position, raw))
                    await self._hear_of_it((await self._cluster.ask(node, question, timeout=ASK_FOR)).decode())
                    return
            except AskRefused as refusal:
                kind, _, why = refusal.payload.decode().partition(" ")
                if kind == "refused":
                    raise UnexpectedEvent(why) from refusal
                if kind == "broken":
                    raise SessionAwayError(why) from refusal
                live.node = None  # it is somebody else's by now
            except ClusterUnavailableError as error:
                if event is not None and not isinstance(event, _TWICE_IS_ONCE):
                    raise SessionAwayError(str(error)) from error
            await asyncio.sleep(0.1)
        raise SessionAwayError("the server that has this conversation does not answer")

    async def _hear_of_it(self, position: str) -> None:
        """Wait until this node knows what another one has done, so that whoever asked reads it."""
        try:
            async with asyncio.timeout(HEAR_WITHIN):
                await self._replica.reached(position)
        except TimeoutError as error:
            raise SessionAwayError("it was done, but this server has not heard what became of it") from error

    async def forward(self, session: e.SessionId, event: e.AnyEvent) -> None:
        """Tell a session of another node something for which nobody waits."""
        try:
            await self.ask(session, "tell", event)
        except UnexpectedEvent as refusal:
            log.info("event.refused", what=type(event).__name__, why=str(refusal))
        except SessionAwayError as error:
            log.warning("event.not_forwarded", what=type(event).__name__, session=session, reason=str(error))

    # --- sessions that change hands

    async def fetch(self, session: e.SessionId) -> LiveSession | None:
        """Work on a session of another node from now on, because its call is here. None: that cannot be."""
        try:
            async with asyncio.timeout(FETCH_FOR):
                await self.ask(session, "give")
                while not (live := self._sessions[session]).mine:  # noqa: ASYNC110  # it is taken beside this
                    await asyncio.sleep(0.02)
        except (TimeoutError, KeyError, UnexpectedEvent, SessionAwayError) as error:
            log.info("session.not_fetched", session=session, reason=repr(error))
            return None
        return live

    async def give_away(self) -> bool:
        """Let other nodes have the sessions that have no call, and take none any more.

        Returns:
            Whether some are still on their way; never when there is no other node.
        """
        self._ownership.taking = False
        try:
            others = await self._cluster.nodes() - {self._cluster.node}
        except ClusterUnavailableError:
            return False
        going = [live for live in self._sessions.mine if live.state.call in NO_CALL and not live.session.closed] if others else []
        for live in going:
            live.leave()
        return bool(going)

    # --- agreement

    @asynccontextmanager
    async def only_here(self, key: str) -> AsyncIterator[bool]:
        """While the block lasts nobody else is in a block of the same *key*, and this node knows all that came before.

        With one node alone there is nothing to wait for: what the block looks at and does is one step. Gives whether others may
        have done something since the block was asked for.

        Raises:
            SessionAwayError: That cannot be made certain. When it is found in the middle, the block is cancelled, and what it did
                may have been done twice.
        """
        if self._cluster.alone:
            yield False
            return
        async with self._blocks.setdefault(key, asyncio.Lock()):
            try:
                while (lease := await self._cluster.acquire(f"only:{key}", self._ownership.ttl)) is None:  # noqa: ASYNC110  # nobody tells
                    await asyncio.sleep(0.02)
            except ClusterUnavailableError as error:
                raise SessionAwayError(str(error)) from error
            try:
                async with self._while_ours(lease):
                    await self._catch_up()
                    yield True
            finally:
                await self._ownership.release(lease)

    async def _catch_up(self) -> None:
        try:
            await self._replica.catch_up()
        except ClusterUnavailableError as error:
            raise SessionAwayError(str(error)) from error

    @asynccontextmanager
    async def _while_ours(self, lease: Lease) -> AsyncIterator[None]:
        """Keep *lease* while the block lasts; end the block when it is lost."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as block, kept(self._cluster, lease, self._ownership.ttl) as keeping:

                def lost(_: object) -> None:
                    block.reschedule(loop.time())

                keeping.add_done_callback(lost)
                try:
                    yield
                finally:
                    keeping.remove_done_callback(lost)
                if not self._cluster.valid(lease):
                    raise SessionAwayError(LOST)
        except TimeoutError as error:
            if block.expired():
                raise SessionAwayError(LOST) from error
            raise

    async def say_everything_again(self) -> None:
        """The log has begun anew: what was said last may be lost, so the others hear where this node's sessions are."""
        log.warning("cluster.refounded")
        for live in self._sessions.mine:
            if live.saved is not None:
                raw = msgspec.Raw(live.session.state_json())
                await self._replica.say(SessionMoved(live.state.id, live.seq, raw, live.customer.name))
        await asyncio.sleep(AFTER_LOSS)  # the others say it too
        await self._owner.look_over()
        await self._owner.heal_floor(AFTER_LOSS)
        await asyncio.sleep(AFTER_LOSS)
        await self._owner.heal_floor(AFTER_LOSS)  # it heals what has differed at two looks
