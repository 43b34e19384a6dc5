"""One task per session: its inbox, its clock, and the hands that do what it asks.

An event goes through a session in four steps, and the order is the promise of the product: the session decides, the
journal has the event with everything that follows from it on disk, then commands are performed, then whoever sent the
event is told. Nothing leaves the process for a state that was not saved.
"""

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, Literal, Protocol, TypeAlias

import msgspec
import structlog

from bridge import events as e
from bridge.acd import (
    GRACE,
    AgentStateChanged,
    AnyAcdOutput,
    GhostHealed,
    OfferLapsed,
    QueueChanged,
    QueueInUse,
    WorkAssigned,
    WorkOffered,
    WorkRedirected,
)
from bridge.cluster import AskRefused, Cluster, ClusterUnavailableError, Lease, NodeId
from bridge.cluster.roles import Roles, Tenure
from bridge.conversation import INTRODUCING, FreshLink
from bridge.dialling import DialPlan, NotCallableError, callable_number
from bridge.floor import Customer, Floor, floor_plan, seen_in
from bridge.floor_ops import (
    AssignWork,
    ForgetWork,
    GiveBackWork,
    JoinLine,
    LeaveLine,
    Op,
    ReconcileFloor,
    ReconfigureFloor,
    RecordOfferAnswer,
    ReleaseWork,
    RestoreLearning,
    SetAgentState,
    WakeFloor,
)
from bridge.hooks import LOOK_AGAIN, Hooks
from bridge.intake import Intake
from bridge.journal import (
    AgentStateRow,
    AlreadyHandledError,
    Committed,
    FencedError,
    Journal,
    JournalError,
    JournalUnavailableError,
    MessageRow,
    StaleSessionError,
    StoredSession,
    Suppression,
    TimelineLine,
    Unit,
)
from bridge.ledger import TextEvent, step_unit
from bridge.legs import LIVE, NO_CALL, CallState, TextLeg
from bridge.live import LiveSession, OpenSessions, SessionAwayError
from bridge.media_out import MMS_COUNTRIES
from bridge.media_store import MediaStore
from bridge.metrics import Metrics
from bridge.notices import HookRule
from bridge.our_numbers import OurNumbers, limits_of
from bridge.outbox import Dress, Outbox
from bridge.ownership import Ownership
from bridge.replica import FOR_EVER, CustomerNamed, LineWritten, NodeReplica, SessionGiven, SessionMoved
from bridge.session import Facts, Session, State, Suspicion, UnexpectedEvent, Words
from bridge.settings import Settings
from bridge.telephony.provider import CallProvider
from ivr_flows.model import Flow
from sms.menu import Menu
from sms.message import TextState, advance
from sms.numbers import look_up, mask
from sms.pacing import Pace, SenderFacts
from sms.provider import SmsProvider

log = structlog.get_logger()

_STATE_FROM_JSON = msgspec.json.Decoder(State)
INTRODUCED_FOR = 180 * 86_400.0
"""Seconds after a text of ours said who we are and how to stop us, during which we need not say so again."""
RETRY_END_AFTER = 5.0
"""Seconds until a session that could not be told that its call is over is told again."""
MOST_WAITING = 100
"""Events in an inbox above which further keys are not listened to: no finger is that fast."""
RECONCILE_EVERY = 60.0
"""Seconds between two looks whether lines and desks are what the sessions say."""
LEASE = 10.0
"""Seconds for which a node owns a session without saying so again."""
ASK_FOR = 10.0
"""Seconds for which another node may take to do what it is asked."""
FETCH_FOR = 3.0
"""Seconds for which a call waits for the session that it belongs to, when another node has that."""
SWEEP_EVERY = 5.0
"""Seconds between two looks for texts that a node had accepted before it died; they are twice as old."""
POLL = 1.0
"""Seconds after which the journal is asked for what other nodes want to be sent, in case nobody has said so."""
TURN = 0.3
"""Seconds by which each further node lets the one before it wake the floor."""
JOURNAL_PATIENCE = 30.0
"""Seconds for which a commit is tried again while the database does not work."""


KICKS = "outbox"
"""Topic on which the node that sends hears that there is something to send."""

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


class _Reported(msgspec.Struct, frozen=True):
    """What became of a text, for the node that sends."""

    message: e.MessageId
    state: TextState
    code: str | None


class Listener(Protocol):
    """Who wants to know what sessions and the floor do (the agents' desks)."""

    def line_added(self, session: e.SessionId, line: TimelineLine) -> None:
        """A new line in a session's timeline; it is on disk."""

    def text_moved(self, session: e.SessionId, message: e.MessageId, state: TextState, code: str | None) -> None:
        """A text of a session has got further."""

    def session_changed(self, session: e.SessionId) -> None:
        """Something about a session is not what it was."""

    def desk_changed(self, agent: e.AgentId) -> None:
        """An agent's state, offers or work are not what they were."""


class Runner:
    """Owns every open session of this node.

    Args:
        flows: By name; at least one, whose texts serve numbers that have no flow.
        menus: Text menus by name; `default` has the words that a number's own menu and flow do not have.
        call_providers: By name; a session keeps the name of the one that carries its call.
        sms_provider: Who carries texts.
        clock: Seconds since the epoch.
        pace: How fast each of our numbers may text; None: no limits.
        dress: How texts with pictures go out; None: they do not.
        hook_rules: What the endpoints of `settings.hooks` want to be told.
        new_link: Makes a link for pictures, with a page in a language; None: pictures come by text from everywhere.
        lease: Seconds for which a node owns a session without saying so again.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        journal: Journal,
        floor: Floor,
        flows: Mapping[str, Flow],
        menus: Mapping[str, Menu],
        call_providers: Mapping[str, CallProvider],
        sms_provider: SmsProvider,
        cluster: Cluster,
        media: MediaStore,
        metrics: Metrics,
        clock: Callable[[], float],
        pace: Pace | None = None,
        dress: Dress | None = None,
        hook_rules: tuple[HookRule, ...] = (),
        new_link: Callable[[str, float], FreshLink] | None = None,
        lease: float = LEASE,
    ) -> None:
        self.settings = settings
        self.journal = journal
        self.floor = floor
        self.cluster = cluster
        self.media = media
        self.metrics = metrics
        self.clock = clock
        self._flows = dict(flows)
        self._pinned: tuple[Flow, ...] = ()
        """Flows that no number uses any more, and calls that began with them do."""
        self._pace = pace
        self._followers: list[Callable[[], None]] = []
        self.hook_rules = hook_rules
        self._new_link = new_link
        self._call_providers = call_providers
        self._sms = sms_provider
        self._limits = limits_of(settings)
        self._live = OpenSessions()
        self._by_leg: dict[e.LegId, e.SessionId] = {}
        self._carriers: dict[e.LegId, CallProvider] = {}
        """Of calls that we make."""
        self._numbers = OurNumbers(settings, flows, menus, clock=clock)
        self._listeners: list[tuple[Listener, bool]] = []
        """With whether they hear of this node's own sessions only."""
        self.replica = NodeReplica(floor, self._live, cluster, self, clock)
        self.ownership = Ownership(cluster, self._live, journal, self, ttl=lease)
        self.roles = Roles(cluster, ttl=lease)
        self._founded = False
        self._tenure: Tenure | None = None
        """Of whoever sends texts, while that is this node."""
        self._telling: Tenure | None = None
        """Of whoever tells the hooks, while that is this node."""
        self.hooks = Hooks(
            journal,
            settings.hooks,
            clock=clock,
            chance=random.random,
            metrics=metrics,
            mine=lambda: self._telling is not None and self._telling.mine(),
            poll=LOOK_AGAIN if cluster.alone else POLL,
        )
        self._acd_moved = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self.intake = Intake(self, sms_provider, media)
        self.outbox = Outbox(
            journal,
            {sms_provider.name: sms_provider},
            self.intake.settle,
            clock=clock,
            reconcile_after=settings.sms.reconcile_after,
            pace=pace,
            dress=dress,
            blocked=frozenset(settings.sms.blocked),
            mine=lambda: self._tenure is not None and self._tenure.mine(),
            poll=None if cluster.alone else POLL,
        )

    # --- life

    async def run(self, started: asyncio.Event) -> None:
        """Bring back what was open, then work until cancelled. Sets *started* when traffic may come."""
        self.cluster.answer(self._answer)
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            async with self.cluster.joined(self.replica, founder=self._found):
                await self._join()
                tasks.create_task(self.roles.hold("outbox", self._send))
                tasks.create_task(self.roles.hold("hooks", self._run_hooks))
                tasks.create_task(self.roles.hold("floor", self._heal_floor))
                tasks.create_task(self.roles.hold("estimates", self._save_estimates))
                tasks.create_task(self.roles.hold("intake", self._sweep_texts))
                tasks.create_task(self._run_acd())
                tasks.create_task(self.ownership.run())
                if not self.cluster.alone:
                    tasks.create_task(self._hear_kicks())
                if self._founded:
                    await self.intake.take_up()
                started.set()
                await asyncio.get_running_loop().create_future()

    async def _found(self) -> None:
        """Nobody else is there: begin with what the journal has."""
        self._founded = True
        saved = await self.journal.value("ewt")
        if saved is not None:
            self.floor.apply(RestoreLearning(msgspec.json.decode(saved)), self.clock())

    async def _join(self) -> None:
        if self._founded:
            await self._restore()
        else:
            await self._learn()

    async def _send(self, tenure: Tenure) -> None:
        self._tenure = tenure
        try:
            await self.outbox.run()
            await asyncio.get_running_loop().create_future()  # it is another node's, and we are about to be told
        finally:
            self._tenure = None

    async def _run_hooks(self, tenure: Tenure) -> None:
        self._telling = tenure
        try:
            await self.hooks.run(asyncio.Event())
        finally:
            self._telling = None

    async def _sweep_texts(self, _: Tenure) -> None:
        """Take up texts that a node had accepted before it died, or could not give to their session."""
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            try:
                await self.intake.sweep(2 * SWEEP_EVERY)
            except JournalError:
                log.warning("text.not_swept")

    async def _hear_kicks(self) -> None:
        """Another node has texts to be sent that belong to no session, or has heard what became of one."""
        while True:
            try:
                async with self.cluster.subscribe(KICKS) as kicks:
                    async for kick in kicks:
                        if kick:
                            await self._learn_of(msgspec.json.decode(kick, type=_Reported))
                        self.outbox.kick()
            except ClusterUnavailableError as error:
                log.warning("cluster.unavailable", reason=str(error))
                await asyncio.sleep(1.0)

    def kick_outbox(self) -> None:
        """There may be a text to send, whichever node does that."""
        self.outbox.kick()
        if not self.cluster.alone:
            self.spawn(self._kick_others())

    async def _kick_others(self, kick: bytes = b"") -> None:
        with contextlib.suppress(ClusterUnavailableError):  # whoever sends looks from time to time
            await self.cluster.publish(KICKS, kick)

    async def reported(self, message: MessageRow, state: TextState, code: str | None) -> None:
        """Let whoever sends learn from what became of a text: about its recipient, and about our number."""
        if self.sends or self.cluster.alone:
            await self.outbox.reported(message, state, code)
        else:
            await self._kick_others(msgspec.json.encode(_Reported(message.id, state, code)))

    async def _learn_of(self, report: "_Reported") -> None:
        try:
            row = await self.journal.message(report.message) if self.sends else None
            if row is not None:
                await self.outbox.reported(row, report.state, report.code)
        except JournalError:
            log.warning("report.not_learnt", message=report.message)

    def follow_settings(self, follower: Callable[[], None]) -> None:
        """Call *follower* after `settings` has become another."""
        self._followers.append(follower)

    @property
    def flows(self) -> Mapping[str, Flow]:
        """The flows that calls begin with, by name."""
        return self._flows

    def in_use(self, settings: Settings) -> Mapping[e.QueueId, tuple[int, int]]:
        """Queues that *settings* do not have and that have people in them: how many wait there, and how many are served.

        A call that once stood in a queue may come back there while it lasts, so it counts.
        """
        uses, stay = dict(self.floor.in_use(settings)), {queue.id for queue in settings.queues}
        for live in self._live.values():
            queue = live.state.queue
            if queue is not None and queue not in stay and queue not in uses and live.state.call in LIVE:
                uses[queue] = (0, 1)
        return uses

    async def reconfigure(
        self, settings: Settings, *, flows: Mapping[str, Flow], menus: Mapping[str, Menu], senders: Iterable[SenderFacts]
    ) -> None:
        """Go by other settings from now on, in one step: nobody sees the half of them.

        A call stays with the flow it began with, and a session with the words, menu and waiting times of its number. Chats in
        which nobody waits or serves (they were put aside, or have just ended) and whose queue is gone are for the number's desk.

        Args:
            settings: What of them is read at the start only (ports, providers, folders) has to be as before.
            flows: By name; every flow that a number uses.
            menus: By name.
            senders: What is known of our numbers, where anybody counts what they send.

        Raises:
            QueueInUse: A queue that is to go has people in it. Nothing has changed.
            ClusterUnavailableError: The nodes cannot reach what they share; try again.
        """
        if uses := self.in_use(settings):
            raise QueueInUse(uses)
        plan = floor_plan(settings)
        if plan != self.floor.plan:  # or another node has been faster
            await self.do(ReconfigureFloor(plan), patience=ASK_FOR)
        self.floor.go_by(settings, {queue: table for menu in menus.values() for queue, table in menu.queues().items()})
        self.settings = settings
        began = {live.state.flow_revision for live in self._live.values()}
        before = {flow.revision: flow for flow in (*self._pinned, *self._flows.values())}
        now_used = {flow.revision for flow in flows.values()}
        self._pinned = tuple(flow for revision, flow in before.items() if revision in began - now_used)
        self._flows = dict(flows)
        self._limits = limits_of(settings)
        self._numbers = OurNumbers(settings, self._flows, menus, clock=self.clock)
        self.outbox.block(settings.sms.blocked)
        if self._pace is not None:
            self._pace.describe(senders)
        for live in self._live.values():
            self._mend(live.state)
        for follower in self._followers:
            follower()

    def _mend(self, state: State) -> None:
        """Put the desk of the number in place of queues that are gone."""
        if state.chat_queue is not None and state.chat_queue not in self.floor.queues:
            state.chat_queue = self._numbers.desk_instead(state.our_number)
        if state.desk is not None and state.desk not in self.floor.queues:
            state.desk = self._numbers.desk_instead(state.our_number)
        if state.transfer is not None and state.transfer.of not in self.floor.queues:
            state.transfer = None

    def listen(self, listener: Listener, *, own: bool = False) -> None:
        """Tell *listener* everything from now on; *own*: only what becomes of the sessions of this node."""
        self._listeners.append((listener, own))

    @property
    def sms_name(self) -> str:
        """The name of the provider that carries texts."""
        return self._sms.name

    @property
    def sends(self) -> bool:
        """Whether it is this node that hands texts over."""
        return self._tenure is not None

    @property
    def calls(self) -> int:
        """Calls in progress on this node."""
        return sum(1 for live in self._live.mine if live.state.call in LIVE or live.state.call is CallState.ENDING)

    @property
    def sessions(self) -> Mapping[e.SessionId, LiveSession]:
        """Every open session; those of other nodes can only be read."""
        return self._live

    @property
    def own_sessions(self) -> list[LiveSession]:
        """Those on which this node works."""
        return self._live.mine

    async def save_estimates(self) -> None:
        """Keep what the wait estimator has learned."""
        await self.journal.commit(Unit(kv={"ewt": msgspec.json.encode(self.floor.estimator.save())}))

    async def _save_estimates(self, _: Tenure) -> None:
        while True:
            await asyncio.sleep(60.0)
            try:
                await self.save_estimates()
            except Exception:  # a minute of learning is not worth the calls in progress
                log.exception("journal.lost_estimates")

    async def _restore(self) -> None:
        """The first node of the service: all that is open is this node's."""
        lives = []
        for stored in await self.journal.open_sessions():
            lease = await self.ownership.acquire(stored.id)
            if lease is None:
                continue  # a second node has started meanwhile
            live = await self._load(stored)
            live.lease = lease
            lives.append(live)
        for live in lives:
            await self._seat(live.state)
        back = []
        for live in lives:
            back.append(self._put(live, e.ProcessRestarted()))  # before anything of its own that came due meanwhile
            self._start(live)
        # Nobody is offered anything before everybody stands in line again, or the first to come back would be served first.
        for failure in await asyncio.gather(*back, return_exceptions=True):
            if failure is not None:
                log.error("session.not_restored", why=repr(failure))
        for live in lives:
            self._miss_agent(live)
        for agent, row in (await self.journal.agent_states()).items():
            if agent in self.floor.acd.agents and row.state in {"ready", "wrap_up", "not_ready"}:
                await self.do(SetAgentState(agent, "not_ready" if row.state == "not_ready" else "ready", row.reason))

    async def _seat(self, state: State) -> None:
        """A chat goes on with its agent."""
        if state.text is TextLeg.CHATTING and state.chat_agent in self.floor.acd.agents and state.chat_queue:
            await self.do(AssignWork(state.chat_agent, state.id, "sms", state.chat_queue))

    def _miss_agent(self, live: LiveSession) -> None:
        agent = live.state.chat_agent
        if live.state.text is TextLeg.CHATTING and agent is not None and agent not in self.floor.acd.agents:
            self.post(live.state.id, e.AgentLost(agent))

    # --- other nodes

    async def _learn(self) -> None:
        """A further node: know what is open, to read it. Whoever works on it goes on doing so."""
        self.replica.over = set()
        for stored in await self.journal.open_sessions():
            known = self._live.get(stored.id)
            if stored.id in self.replica.over or (known is not None and known.seq >= stored.seq):
                continue
            live = await self._load(stored)
            live.mine = False
            live.node = await self.cluster.owner(stored.id)
            self._live.add(live)
        self.replica.over = None
        await self.replica.catch_up()

    def as_replica(self, moved: SessionMoved, node: NodeId, before: LiveSession | None) -> LiveSession:
        """See `replica.Hands`."""
        state = _STATE_FROM_JSON.decode(moved.state)
        customer = Customer(look_up(state.customer, region=self.settings.country)) if before is None else before.customer
        customer.name = moved.name
        live = LiveSession(self._session(state, self._flow_of(state)), customer, moved.seq, None, mine=False, node=node)
        if before is not None:
            live.unread, live.last = before.unread, before.last
        else:  # the floor may have offered it before anything else was known of it here
            for agent in self.floor.acd.agents:
                offer = self.floor.acd.agent_view(agent).offer
                if offer is not None and offer.session == state.id:
                    self._desk_changed(agent)
        return live

    def session_given(self, live: LiveSession) -> None:
        """See `replica.Hands`."""
        if self._tasks is not None:
            self.spawn(self.ownership.take(live.state.id))

    def say_everything_again(self) -> None:
        """See `replica.Hands`."""
        self.ownership.unsteady()
        self.spawn(self._say_everything())

    async def _say_everything(self) -> None:
        log.warning("cluster.refounded")
        for live in self._live.mine:
            if live.saved is not None:
                raw = msgspec.Raw(live.session.state_json())
                await self.replica.say(SessionMoved(live.state.id, live.seq, raw, live.customer.name))
        await self.heal_floor()
        await asyncio.sleep(GRACE)
        await self.heal_floor()  # it heals what has differed at two looks

    async def take_over(self, stored: StoredSession, lease: Lease) -> None:
        """See `ownership.Keeper`. Texts go on where they are; a call is lost with its node."""
        live = await self._load(stored)
        live.lease = lease
        before, state = self._live.get(stored.id), live.state
        if before is not None:
            live.unread, live.last = before.unread, before.last
        lost = state.call not in NO_CALL or not self.floor.agrees(state)
        if lost:
            await self.do(ForgetWork(state.id))
            await self._seat(state)
            back = self._put(live, e.ProcessRestarted())
            back.add_done_callback(_heard)
        self._live.add(live)
        self._start(live)
        log.info("session.taken_over", session=state.id, restarted=lost)
        await self.replica.say(SessionMoved(state.id, live.seq, msgspec.Raw(stored.snapshot), live.customer.name))
        self._miss_agent(live)

    def lose(self, live: LiveSession) -> None:
        """See `ownership.Keeper`."""
        if live.task is not None:
            live.task.cancel()
        if live.leg is not None and live.state.call in LIVE:
            self.spawn(self._call_command(live.state, e.HangUp(live.leg)))

    async def give_away(self) -> bool:
        """Let other nodes have the sessions that have no call, and take none any more.

        Returns:
            Whether some are still on their way; never when there is no other node.
        """
        self.ownership.taking = False
        try:
            others = await self.cluster.nodes() - {self.cluster.node}
        except ClusterUnavailableError:
            return False
        going = [live for live in self._live.mine if live.state.call in NO_CALL and not live.session.closed] if others else []
        for live in going:
            live.leave()
        return bool(going)

    async def _answer(self, node: NodeId, question: bytes) -> bytes:
        """Do what another node asks; returns how far this one was then."""
        asked = _QUESTION.decode(question)
        async with asyncio.timeout(ASK_FOR):
            await self.replica.reached(asked.after)
        live = self._live.get(asked.session)
        if live is None or not live.mine:
            raise AskRefused(b"elsewhere")
        try:
            match asked.what:
                case "tell":
                    await self._put(live, msgspec.json.decode(asked.event, type=e.AnyEvent))
                case "settle":
                    await self.settled(asked.session)
                case "hang_up":
                    await self.hang_up(asked.session)
                case "give":
                    if live.state.call in NO_CALL:  # or it stays where its call is
                        live.leave(node)
        except UnexpectedEvent as refusal:
            raise AskRefused(b"refused " + str(refusal).encode()) from refusal
        except JournalError as error:
            log.warning("cluster.not_done", node=node, session=asked.session)
            raise AskRefused(b"broken " + str(error).encode()) from error
        return self.replica.position.encode()

    async def _ask(self, session: e.SessionId, what: What, event: e.AnyEvent | None = None) -> None:
        """Let the node that works on the session do it, whichever that is by now.

        Raises:
            UnexpectedEvent: It cannot happen now, or the session is over. Nothing has changed.
            SessionAwayError: Nobody has answered. It may have happened.
        """
        raw = msgspec.Raw(msgspec.json.encode(event))
        deadline = asyncio.get_running_loop().time() + self.ownership.ttl + ASK_FOR
        while asyncio.get_running_loop().time() < deadline:
            live = self._live.get(session)
            if live is None:
                raise UnexpectedEvent("the session is over")
            if live.mine:
                await (self.settled(session) if event is None else self._put(live, event))
                return
            try:
                node = live.node or await self.cluster.owner(session)
                if node is not None and node != self.cluster.node:
                    question = msgspec.json.encode(Question(session, what, self.replica.position, raw))
                    await self.replica.reached((await self.cluster.ask(node, question, timeout=ASK_FOR)).decode())
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

    @asynccontextmanager
    async def only_here(self, key: str) -> AsyncIterator[bool]:
        """While the block lasts no other node is in a block of the same *key*, and this one knows all that came before.

        Gives whether other nodes may have done something since the block was asked for.

        Raises:
            SessionAwayError: That cannot be made certain.
        """
        if self.cluster.alone:
            yield False
            return
        try:
            while (lease := await self.cluster.acquire(f"only:{key}", self.ownership.ttl)) is None:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.02)
            await self.replica.catch_up()
        except ClusterUnavailableError as error:
            raise SessionAwayError(str(error)) from error
        try:
            yield True
        finally:
            await self.ownership.release(lease)

    async def _load(self, stored: StoredSession) -> LiveSession:
        state = _STATE_FROM_JSON.decode(stored.snapshot)
        flow = self._flow_of(state)
        if flow is None:
            # The flow was edited while nobody was running it; the call it belonged to is gone, its texts are not.
            state.run = None
        self._mend(state)
        live = LiveSession(
            self._session(state, flow),
            await self.customer(state.customer, state.our_number),
            stored.seq,
            stored.snapshot,
        )
        for message in await self.journal.messages(state.id):
            if message.direction == "out" and message.state != "received":
                live.ticks[message.id] = message.state
        return live

    def _flow_of(self, state: State) -> Flow | None:
        """The flow a session began with; None when it had none, or when it has been edited since."""
        flows = (*self._flows.values(), *self._pinned)
        return next((flow for flow in flows if flow.revision == state.flow_revision), None)

    # --- what comes in

    async def call_event(self, event: e.CallEvent) -> None:
        """Take an event of a call provider (its sink)."""
        if isinstance(event, e.CallArrived):
            await self._open_call(event)
            return
        session = self._by_leg.get(event.leg)
        if session is None:
            log.debug("call.event_of_nobody", call_event=type(event).__name__, leg=event.leg)
            return
        live = self._live.get(session)
        if isinstance(event, e.DigitsReceived) and live is not None and live.inbox.qsize() >= MOST_WAITING:
            log.warning("call.too_many_keys", leg=event.leg)
            return
        self.post(session, event)
        if isinstance(event, e.CallEnded):  # nothing follows it
            self._by_leg.pop(event.leg, None)
            self._carriers.pop(event.leg, None)

    async def _open_call(self, event: e.CallArrived) -> None:
        flow = self._numbers.flow(event.called)
        try:
            customer = await self.customer(event.caller, event.called)
        except JournalError:
            log.exception("call.not_taken")
            await self._call_providers[event.provider].perform(e.RefuseCall(event.leg, 503))
            return
        if customer.blocked is not None:
            log.info("call.blocked", leg=event.leg, why=customer.blocked)
            await self._call_providers[event.provider].perform(e.RefuseCall(event.leg, 603))
            return
        live = None if flow is None else self._awaiting_call(customer, event.called)
        if live is not None and not live.mine:
            live = await self._fetch(live.state.id)
        if live is None:
            live = self._open(event.called, customer, flow=flow, leg=event.leg, service="call")
        else:
            live.session = self._session(live.state, flow)  # today's, whatever it began with
            live.leg = event.leg
        self._by_leg[event.leg] = live.state.id
        self.metrics.calls.labels(event.provider).inc()
        self.post(live.state.id, event)

    async def _fetch(self, session: e.SessionId) -> LiveSession | None:
        """Work on a session of another node from now on, because its call is here. None: that cannot be."""
        try:
            async with asyncio.timeout(FETCH_FOR):
                await self._ask(session, "give")
                while not (live := self._live[session]).mine:  # noqa: ASYNC110  # it is taken beside this
                    await asyncio.sleep(0.02)
        except (TimeoutError, KeyError, UnexpectedEvent, SessionAwayError) as error:
            log.info("session.not_fetched", session=session, reason=repr(error))
            return None
        return live

    def _awaiting_call(self, customer: Customer, called: str) -> LiveSession | None:
        """The session in which the caller is to be called back and has not waited for that, or from which we cut them off."""
        number = customer.number.e164
        waiting = [
            live
            for live in ([] if number is None else self.sessions_of(number))
            if live.state.awaits_call and live.state.call in NO_CALL and live.state.our_number == called
        ]
        return max(waiting, key=lambda live: live.state.touched_at, default=None)

    def post(self, session: e.SessionId, event: e.AnyEvent) -> None:
        """Put *event* into a session's inbox, here or on the node that owns it, and go on."""
        live = self._live.get(session)
        if live is None:
            log.debug("event.for_nobody", what=type(event).__name__, session=session)
        elif live.mine:
            live.inbox.put_nowait((event, None))
        else:
            self.spawn(self._forward(session, event))

    async def _forward(self, session: e.SessionId, event: e.AnyEvent) -> None:
        try:
            await self._ask(session, "tell", event)
        except UnexpectedEvent as refusal:
            log.info("event.refused", what=type(event).__name__, why=str(refusal))
        except SessionAwayError as error:
            log.warning("event.not_forwarded", what=type(event).__name__, session=session, reason=str(error))

    async def tell(self, session: e.SessionId, event: e.AnyEvent) -> None:
        """Put *event* into a session's inbox and wait until it is saved and performed, on whichever node that is.

        Raises:
            UnexpectedEvent: It cannot happen now (or the session is over). Nothing has changed.
            SessionAwayError: The node that has it does not answer. It may have happened.
        """
        live = self._live.get(session)
        if live is None:
            raise UnexpectedEvent("the session is over")
        if live.mine:
            await self._put(live, event)
        else:
            await self._ask(session, "tell", event)

    def _put(self, live: LiveSession, event: e.AnyEvent) -> asyncio.Future[None]:
        """Put *event* into a session's inbox; done when it is saved and performed."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        live.inbox.put_nowait((event, done))
        return done

    async def settled(self, session: e.SessionId) -> None:
        """Wait until everything posted to a session so far has been dealt with."""
        live = self._live.get(session)
        with contextlib.suppress(UnexpectedEvent, SessionAwayError):
            if live is not None and live.mine:
                done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                live.inbox.put_nowait((None, done))
                await done
            elif live is not None:
                await self._ask(session, "settle")

    async def hang_up(self, session: e.SessionId) -> None:
        """End a session's call from outside; what follows is what follows whenever a call ends. Nothing when there is none."""
        live = self._live.get(session)
        if live is None or live.state.leg is None or live.state.call not in LIVE:
            return
        if live.mine:
            await self._call_command(live.state, e.HangUp(live.state.leg))
        else:
            await self._ask(session, "hang_up")

    async def add_line(self, session: e.SessionId, line: TimelineLine) -> None:
        """Write a line into a session's timeline that no event of the session led to."""
        committed = await self.commit(Unit(session=session, timeline=[line]))
        await self.replica.say(LineWritten(session, msgspec.structs.replace(line, n=committed.lines)))

    async def call_customer(self, number: str, name: str | None) -> None:
        """A customer is called so from now on, in every open session."""
        await self.replica.say(CustomerNamed(number, name))

    # --- sessions

    def sessions_of(self, customer: str) -> list[LiveSession]:
        """The open sessions of a number."""
        return self._live.of_customer(customer)

    def session_of_code(self, code: str) -> LiveSession | None:
        """The open session with this reply code."""
        return self._live.of_code(code)

    async def open_text_session(
        self, customer: str, ours: str, service: e.Service = "inbound", *, known: Customer | None = None
    ) -> LiveSession:
        """Begin a session with a text, without a call. *known*: what `customer` has just said of the number."""
        return self._open(ours, known or await self.customer(customer, ours), flow=None, leg=None, service=service)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let *work* run beside the sessions, owned by the runner."""
        assert self._tasks is not None, "nothing begins before the runner does"
        self._tasks.create_task(self._beside(work))

    async def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do one small thing. When it breaks, that is written down and the server goes on."""
        try:
            await work
        except Exception:
            log.exception("task.failed", task=getattr(work, "__qualname__", "?"))

    async def customer(self, number: str | None, ours: str) -> Customer:
        """What is known of a number and one of ours."""
        known = look_up(number, region=self.settings.country)
        customer = Customer(known)
        if known.e164 is None:
            return customer
        block = await self.journal.blocked(known.e164)
        if known.e164 in self.settings.sms.blocked:
            customer.blocked = "blocked in the settings"
        elif block is not None:
            customer.blocked = block.reason or "blocked"
        contact = await self.journal.contact(known.e164)
        if contact is not None:
            customer.name, customer.language = contact.name, contact.language
        opt_out = await self.journal.suppression(known.e164, ours)
        customer.opted_out = opt_out is not None
        customer.suspected = None if opt_out is None else await self._suspicion(opt_out)
        since = self.clock() - INTRODUCED_FOR
        customer.introduced = await self.journal.introduced(known.e164, INTRODUCING, since)
        granted = {row.purpose: row.granted for row in await self.journal.consents(known.e164) if row.sender in {None, ours}}
        customer.consent = frozenset(purpose for purpose, yes in granted.items() if yes)
        customer.refused = frozenset(purpose for purpose, yes in granted.items() if not yes)
        return customer

    async def _suspicion(self, opt_out: Suppression) -> Suspicion | None:
        """Words that no agent has judged before their conversation was over; None: the opt-out is certain."""
        if not opt_out.provisional:
            return None
        message = await self.journal.message(e.MessageId(opt_out.evidence.removeprefix("message ")))
        words = "" if message is None else message.body
        return Suspicion(number=opt_out.number, evidence=opt_out.evidence, words=words, at=opt_out.at)

    def _open(self, ours: str, customer: Customer, *, flow: Flow | None, leg: e.LegId | None, service: e.Service) -> LiveSession:
        direct = None if service == "call" else self._numbers.agent(ours)
        menu = self._numbers.menu(ours)
        spoken = flow.default_language if flow is not None else "en" if menu is None else menu.default_language
        state = State(
            id=e.SessionId(f"{'t' if leg is None else 'c'}{uuid.uuid4().hex[:12]}"),
            opened_at=self.clock(),
            touched_at=self.clock(),
            customer=customer.number.e164,
            our_number=ours,
            desk=self._numbers.desk(ours),
            language=customer.language or self._numbers.language(ours) or spoken,
            introduced=customer.introduced,
            service="direct" if direct is not None and service == "inbound" else service,
            code=self._live.new_code(),
            direct=direct,
            text=TextLeg.OPTED_OUT if customer.opted_out and customer.suspected is None else TextLeg.NONE,
            suspected=customer.suspected,
        )
        live = LiveSession(self._session(state, flow), customer, 0, None)
        live.state.why_not_text = (
            None if customer.number.can_text or state.customer is None else ("This number cannot take texts.")
        )
        live.leg = leg
        self._start(live)
        return live

    def is_assigned(self, ours: str) -> bool:
        """Whether somebody takes texts to this number."""
        return self._numbers.desk(ours) is not None

    def _session(self, state: State, flow: Flow | None) -> Session:
        ours = state.our_number
        return Session(state, flow=flow, words=self._numbers.words(ours), menu=self._numbers.menu(ours), limits=self._limits)

    def words_of(self, ours: str) -> Words:
        """The own texts of one of our numbers."""
        return self._numbers.words(ours)

    def _start(self, live: LiveSession) -> None:
        self._live.add(live)
        assert self._tasks is not None, "sessions begin only while running"
        live.task = self._tasks.create_task(self._run_session(live), name=f"session {live.state.id}")

    def _forget(self, live: LiveSession) -> None:
        """This node does not work on it any more."""
        if live.state.leg is not None:
            self._by_leg.pop(live.state.leg, None)
        live.mine, live.node = False, None
        if live.session.closed or self.cluster.alone:
            self._live.remove(live)
        while not live.inbox.empty():
            event, done = live.inbox.get_nowait()
            if live.session.closed:
                self._refused(live, event, UnexpectedEvent("the session is over"), done)
            elif done is not None and not done.done():
                done.set_exception(SessionAwayError("the session is not worked on here any more"))
            elif event is not None:
                self.post(live.state.id, event)

    async def _run_session(self, live: LiveSession) -> None:
        with structlog.contextvars.bound_contextvars(session=live.state.id, leg=live.leg):
            try:
                live.lease = live.lease or await self.ownership.acquire(live.state.id)
                while not live.session.closed and not (live.leaving and live.inbox.empty()):
                    event, done = await self._next(live)
                    await self._take(live, event, done)
            except Exception:  # one session's fault ends that session here; the journal has it, and a start brings it back
                log.exception("session.broken")
                if live.state.leg is not None:
                    await self._call_command(live.state, e.HangUp(live.state.leg))
            finally:
                self._forget(live)
            if live.lease is not None:
                await self.ownership.release(live.lease)
            if live.leaving and not live.session.closed:
                log.info("session.given", session=live.state.id)
                await self.replica.say(SessionGiven(live.state.id, live.leaves_for))

    async def _take(  # noqa: C901, PLR0912  # flat: a few lines for each way in which a step can fail
        self, live: LiveSession, event: e.AnyEvent | None, done: asyncio.Future[None] | None
    ) -> None:
        """One turn of a session, whatever becomes of it."""
        try:
            await self._step(live, event)
        except UnexpectedEvent as refusal:
            self._refused(live, event, refusal, done)
            if live.saved is None:
                live.state.closed_at = self.clock()  # nothing has begun, and nobody would ever end it
        except asyncio.CancelledError:
            if done is not None and not done.done():  # or whoever sent the event would wait for ever
                done.set_exception(SessionAwayError("the session is not worked on here any more"))
            raise
        except AlreadyHandledError:  # told twice, because whoever told it had no answer the first time
            await self._roll_back(live)
            if done is not None and not done.done():
                done.set_result(None)
        except (FencedError, StaleSessionError) as error:
            log.warning("session.fenced", why=str(error))
            if done is not None and not done.done():
                done.set_exception(SessionAwayError("the journal knows more of the session than this node"))
            if isinstance(error, FencedError) or not await self._read_again(live):
                live.lease = None
                self.lose(live)
        except Exception as error:
            log.exception("session.step_failed", what=type(event).__name__)
            await self._roll_back(live)
            if isinstance(event, e.CallEnded):
                # Nobody will say it again, and a call that is over must end here too.
                asyncio.get_running_loop().call_later(RETRY_END_AFTER, self.post, live.state.id, event)
            if done is not None and not done.done():
                done.set_exception(error)
        else:
            if done is not None and not done.done():
                done.set_result(None)

    async def _next(self, live: LiveSession) -> tuple[e.AnyEvent | None, asyncio.Future[None] | None]:
        """The next event, or None when the session's own clock has something to do."""
        wake_at = live.session.wake_at
        if not live.inbox.empty() or wake_at is None:
            return await live.inbox.get()
        try:
            async with asyncio.timeout(max(0.0, wake_at - self.clock())):  # wait_for may swallow a cancellation before 3.12
                return await live.inbox.get()
        except TimeoutError:
            return None, None

    async def _step(self, live: LiveSession, event: e.AnyEvent | None) -> None:
        if isinstance(event, e.TextReported):
            known = live.ticks.get(event.message, "pending")
            if advance(known, event.state) == known:
                return  # late or twice: it says nothing new
        now = self.clock()
        facts = self._facts(live, now)
        session = live.session
        commands = session.wake(now=now, facts=facts) if event is None else session.handle(event, now=now, facts=facts)
        if event is None and not commands:
            return
        unit = step_unit(
            event,
            commands,
            state=live.state,
            snapshot=session.state_json(),
            seq=live.seq,
            ticks=live.ticks,
            provider=self._sms.name,
            hooks=self.hook_rules,
            fence=None if self.cluster.alone or live.lease is None else live.lease.token,
            now=now,
        )
        committed = await self.commit(unit)
        live.seq, live.saved = committed.seq, unit.snapshot
        self._live.note_phones(live)
        await self.ownership.check(live)
        await self._perform(live, commands)
        await self._publish(live, unit, event, committed)

    def _facts(self, live: LiveSession, now: float) -> Facts:
        facts = self.floor.facts(live.state, live.customer, now)
        if live.state.call in LIVE:
            facts = msgspec.structs.replace(facts, to_call=self._to_call)
        by_text = self._sms.capabilities.media and live.customer.number.country in MMS_COUNTRIES
        if self._new_link is None or by_text or live.state.call not in LIVE:
            return facts
        return msgspec.structs.replace(facts, link=self._new_link(live.state.language, now))

    async def commit(self, unit: Unit) -> Committed:
        """Commit, trying again while the database does not work: an event that happened is not to be forgotten."""
        deadline = self.clock() + JOURNAL_PATIENCE
        while True:
            try:
                committed = await self.journal.commit(unit)
            except JournalUnavailableError:
                if self.clock() >= deadline:
                    raise
                log.warning("journal.unavailable")
                await asyncio.sleep(0.2)
            else:
                if unit.notices:
                    self.hooks.kick()
                return committed

    async def _read_again(self, live: LiveSession) -> bool:
        """A step of ours was saved although nobody could say so: go on from there. False: it was another node's."""
        with contextlib.suppress(JournalError):
            stored = await self.journal.session(live.state.id)
            if stored is not None and (live.lease is None or stored.fence <= live.lease.token):
                again = await self._load(stored)
                live.session, live.seq, live.saved, live.ticks = again.session, again.seq, again.saved, again.ticks
                return True
        return False

    async def _roll_back(self, live: LiveSession) -> None:
        """Something of ours broke: go on from the last state that is safe."""
        if live.saved is None:
            live.state.closed_at = self.clock()
            if live.state.leg is not None:
                await self._call_command(live.state, e.RefuseCall(live.state.leg, 503))
            return
        state = _STATE_FROM_JSON.decode(live.saved)
        self._mend(state)
        live.session = self._session(state, self._flow_of(state))

    def _refused(
        self, live: LiveSession, event: e.AnyEvent | None, refusal: UnexpectedEvent, done: asyncio.Future[None] | None
    ) -> None:
        log.info("event.refused", what=type(event).__name__, why=str(refusal))
        if isinstance(event, e.AgentAccepted):
            # The caller hung up in the same moment: the agent is free again.
            self.spawn(self._free(event.agent, live.state.id, event.channel))
        elif isinstance(event, e.CallArrived):
            self.spawn(self._open_call(event))  # the callback it was to go into was over in the same moment
        if done is not None and not done.done():
            done.set_exception(refusal)

    async def _free(self, agent: e.AgentId, session: e.SessionId, channel: e.Channel) -> None:
        await self.do(ReleaseWork(agent, session, channel, wrap_up=False))

    # --- what a step does

    async def _perform(self, live: LiveSession, commands: list[e.AnyCommand]) -> None:  # noqa: C901, PLR0912  # flat
        state = live.state
        for command, following in pairwise([*commands, None]):
            match command:
                case (
                    e.AnswerCall()
                    | e.RefuseCall()
                    | e.PlayPrompts()
                    | e.PlayMusic()
                    | e.StopAudio()
                    | e.ConnectAgent()
                    | e.DropAgent()
                    | e.HoldCall()
                    | e.JoinLegs()
                    | e.OpenCall()
                    | e.DialCustomer()
                    | e.HangUp()
                ):
                    await self._call_command(state, command)
                case e.SendText():
                    self.outbox.kick()  # other nodes hear of it with the step
                case e.DecideOffer():
                    asked = command.kind in live.asked
                    verdict = await self.do(self.floor.offer_op(command, state, live.customer, asked, self.clock()))
                    self.metrics.offers.labels(command.kind, verdict.reason).inc()
                    if verdict.offer:
                        live.asked.add(command.kind)
                    self.post(state.id, verdict)
                case e.RecordConsent() if command.granted:
                    live.customer.consent |= {command.purpose}
                case e.AssignAgent():
                    work = e.beside(state.id) if command.beside else state.id
                    await self.do(AssignWork(command.agent, work, command.channel, command.queue))
                case e.OptOut(provisional=True):
                    pass  # until an agent has judged, it holds for this conversation and for whatever asks the journal
                case e.OptOut() | e.OptIn():
                    for other in self.sessions_of(command.number):
                        if other is not live and other.state.our_number == command.sender:
                            self.post(other.state.id, e.OptOutChanged(isinstance(command, e.OptOut)))
                case e.ReportOffer():
                    await self.do(RecordOfferAnswer(state.id, command.queue, command.accepted))
                case e.JoinQueue(queue=queue, channel=channel, since=since, priority=priority, skills=skills):
                    await self.do(JoinLine(state.id, queue, channel, since, priority, tuple(skills)))
                case e.LeaveQueue():
                    await self.do(LeaveLine(state.id, command.channel, command.outcome))
                case e.ReleaseAgent() if command.agent not in self.floor.acd.agents:
                    pass  # has left us since
                case e.ReleaseAgent(beside=True):
                    await self.do(ReleaseWork(command.agent, e.beside(state.id), command.channel, wrap_up=False))
                case e.ReleaseAgent(wrap_up=False) if isinstance(following, e.JoinQueue) and following.channel == command.channel:
                    back = (following.queue, following.channel, following.since, following.priority, tuple(following.skills))
                    await self.do(GiveBackWork(command.agent, state.id, *back))
                case e.ReleaseAgent():
                    await self.do(ReleaseWork(command.agent, state.id, command.channel, wrap_up=command.wrap_up))
                case _:
                    pass

    async def _call_command(self, state: State, command: e.CallCommand) -> None:
        if isinstance(command, e.OpenCall):
            carrier = next((each for each in self._call_providers.values() if each.reaches(command.number)), None)
            if carrier is None:
                log.warning("call.no_way", number=mask(command.number))
                self.post(state.id, e.CallEnded(command.leg, "platform", "404"))
                return
            self._carriers[command.leg] = carrier
        provider = self._carriers.get(command.leg) or self._call_providers.get(state.provider or "")
        if provider is None:
            log.error("call.no_provider", provider=state.provider)
            return
        if isinstance(command, e.ConnectAgent | e.OpenCall):
            self._by_leg[command.leg] = state.id
        try:
            await provider.perform(command)
        except Exception:
            # What else the session asked for is done all the same; the call ends by its own rules.
            log.exception("call.command_failed", command=type(command).__name__)

    def _to_call(self, number: str) -> str | None:
        """The E.164 number that a caller's number or keys mean, if it may be called and can be."""
        try:
            e164 = callable_number(number, DialPlan(self.settings.country, self.settings.sip.may_call))
        except NotCallableError:
            return None
        return e164 if self.can_call(e164) else None

    def can_call(self, number: str) -> bool:
        """Whether some provider of ours has a way to *number* (E.164)."""
        return any(provider.reaches(number) for provider in self._call_providers.values())

    async def _publish(
        self,
        live: LiveSession,
        unit: Unit,
        event: e.AnyEvent | None,
        committed: Committed,
    ) -> None:
        """Let every node know what the step has led to."""
        session = live.state.id
        first = committed.lines - len(unit.timeline) + 1
        assert unit.snapshot is not None
        moved = SessionMoved(
            session,
            committed.seq,
            msgspec.Raw(unit.snapshot),
            live.customer.name,
            lines=tuple(msgspec.structs.replace(line, n=n) for n, line in enumerate(unit.timeline, first)),
            text=(event.message, live.ticks[event.message], getattr(event, "code", None))
            if isinstance(event, TextEvent)
            else None,
            sending=bool(unit.outbox),
            telling=bool(unit.notices),
        )
        await self.replica.say(moved)

    def tell_listeners(self, live: LiveSession | None, moved: SessionMoved) -> None:
        """See `replica.Hands`."""
        session, mine = moved.session, live is not None and live.mine
        for listener, own in self._listeners:
            if own and not mine:
                continue
            for line in moved.lines:
                listener.line_added(session, line)
            if moved.text is not None:
                listener.text_moved(session, *moved.text)
            listener.session_changed(session)
        if moved.sending and not mine:
            self.outbox.kick()
        if moved.telling and not mine:
            self.hooks.kick()

    def tell_line(self, session: e.SessionId, line: TimelineLine) -> None:
        """See `replica.Hands`."""
        live = self._live.get(session)
        for listener, own in self._listeners:
            if not own or (live is not None and live.mine):
                listener.line_added(session, line)
                listener.session_changed(session)

    # --- the floor

    async def do(self, op: Op, *, patience: float = FOR_EVER) -> Any:
        """Change the floor and let everything follow that follows from it; see `NodeReplica.do`."""
        return await self.replica.do(op, patience=patience)

    def follow(self, outputs: list[AnyAcdOutput], *, asked_here: bool = True) -> None:
        """See `replica.Hands`. What concerns a session is told to it by the node that works on it."""
        for output in outputs:
            match output:
                case WorkOffered():
                    self._tell_own(output.session, e.AgentOffered(output.agent, output.channel))
                    self._desk_changed(output.agent)
                case OfferLapsed():
                    self._tell_own(output.session, e.OfferLapsed(output.agent, output.channel, output.reason))
                    self._desk_changed(output.agent)
                case WorkAssigned():
                    self._assigned(output)
                case AgentStateChanged():
                    if asked_here:
                        self._save_agent(output)
                    self._desk_changed(output.agent)
                case GhostHealed():
                    log.warning(
                        "floor.ghost", ghost=output.ghost, session=output.session, channel=output.channel, agent=output.agent
                    )
                case WorkRedirected():
                    log.info("work.redirected", session=output.session, queue=output.queue, to=output.to, why=output.reason)
                    self._tell_own(output.session, e.QueueRedirected(output.channel, output.queue, output.to))
                case QueueChanged():
                    pass
        self._acd_moved.set()

    def _tell_own(self, session: e.SessionId, event: e.AnyEvent) -> None:
        live = self._live.get(session)
        if live is not None and live.mine:
            live.inbox.put_nowait((event, None))

    def _assigned(self, output: WorkAssigned) -> None:
        live = self._live.get(output.session)
        has_it = live is not None and output.agent == (live.state.agent if output.channel == "voice" else live.state.chat_agent)
        if live is None or has_it or not live.mine:
            self._desk_changed(output.agent)
            return
        spec = self.floor.acd.agent_spec(output.agent)
        self.metrics.waits.labels(output.queue).observe(output.waited)
        self.post(output.session, e.AgentAccepted(output.agent, spec.name, output.channel, spec.address))
        self._desk_changed(output.agent)

    def _save_agent(self, output: AgentStateChanged) -> None:
        row = AgentStateRow(agent=output.agent, state=output.state, reason=output.reason, since=output.since)
        self.spawn(self._save(Unit(agent_states=[row])))

    async def _save(self, unit: Unit) -> None:
        await self.commit(unit)

    def _desk_changed(self, agent: e.AgentId) -> None:
        for listener, _ in self._listeners:
            listener.desk_changed(agent)

    async def heal_floor(self) -> None:
        """Compare lines and desks with the sessions; what has differed at two looks is put right, as the sessions have it."""
        await self.do(ReconcileFloor(tuple(seen for live in self._live.values() for seen in seen_in(live.state))))

    async def _heal_floor(self, _: Tenure) -> None:
        while True:
            await asyncio.sleep(RECONCILE_EVERY)
            try:
                await self.heal_floor()
            except Exception:  # calls in progress need not end with it
                log.exception("floor.failed")

    async def _run_acd(self) -> None:
        """Wake the floor when its clock says so: ring timeouts, wrap-up. One node does, the next when that one does not."""
        while True:
            self._acd_moved.clear()
            at = self.floor.acd.wake_at
            try:
                async with asyncio.timeout(None if at is None else max(0.0, at - self.clock() + await self._turn())):
                    await self._acd_moved.wait()
            except TimeoutError:
                try:
                    if not await self.do(WakeFloor()):
                        await asyncio.sleep(0.05)  # our clock is ahead of the one that counts
                except Exception:  # whatever it is, it would come again at once, and the calls in progress need not end with it
                    log.exception("floor.failed")
                    await asyncio.sleep(1.0)

    async def _turn(self) -> float:
        """Seconds for which this node lets those before it."""
        if self.cluster.alone:
            return 0.0
        try:
            return TURN * sorted(await self.cluster.nodes()).index(self.cluster.node)
        except (ClusterUnavailableError, ValueError):
            return TURN


def _heard(done: asyncio.Future[None]) -> None:
    """What becomes of it is in the log already."""
    if not done.cancelled():
        done.exception()
