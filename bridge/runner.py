"""One task per session: its inbox, its clock, and the hands that do what it asks.

An event goes through a session in four steps, and the order is the promise of the product: the session decides, the
journal has the event with everything that follows from it on disk, then commands are performed, then whoever sent the
event is told. Nothing leaves the process for a state that was not saved.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import Any, Literal

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
from bridge.carriers import Carriers
from bridge.cluster import Cluster, ClusterUnavailableError, Lease, NodeId
from bridge.cluster.roles import Roles
from bridge.conversation import FreshLink
from bridge.customers import Customers
from bridge.dialling import DialPlan, NotCallableError, callable_number
from bridge.duties import POLL, Duties
from bridge.floor import Customer, Floor, floor_plan, seen_in
from bridge.floor_ops import (
    AssignWork,
    GiveBackWork,
    JoinLine,
    LeaveLine,
    Op,
    ReconcileFloor,
    ReconfigureFloor,
    RecordOfferAnswer,
    ReleaseWork,
    RestoreLearning,
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
    TimelineLine,
    Unit,
)
from bridge.ledger import TextEvent, step_unit
from bridge.legs import LIVE, NO_CALL, CallState
from bridge.listeners import Listener, Listeners
from bridge.live import LiveSession, OpenSessions, SessionAwayError
from bridge.media_out import MMS_COUNTRIES
from bridge.media_store import MediaStore
from bridge.metrics import Metrics
from bridge.notices import HookRule
from bridge.outbox import Dress, Outbox
from bridge.ownership import Ownership
from bridge.peers import ASK_FOR, Peers
from bridge.recovery import STATE_FROM_JSON, Recovery
from bridge.replica import FOR_EVER, CustomerNamed, LineWritten, NodeReplica, SessionGiven, SessionMoved
from bridge.rules import Rules
from bridge.session import Facts, UnexpectedEvent, Words
from bridge.settings import Settings
from bridge.telephony.provider import CallProvider
from ivr_flows.model import Flow
from sms.menu import Menu
from sms.message import TextState, advance
from sms.pacing import Pace, SenderFacts
from sms.provider import SmsProvider

log = structlog.get_logger()

RETRY_END_AFTER = 5.0
"""Seconds until a session that could not be told that its call is over is told again."""
MOST_WAITING = 100
"""Events in an inbox above which further keys are not listened to: no finger is that fast."""
LEASE = 10.0
"""Seconds for which a node owns a session without saying so again."""
CALL_WAITS = 3.0
"""Seconds for which a new call waits for what the nodes share; when that has been away for longer, calls are refused at once.

A Redis that is started again, or a connection that is made anew, needs less; one that has to be replaced by its replica needs
more. The caller hears nothing meanwhile, and the trunk that is refused has a next route to try while they still wait."""
JOURNAL_PATIENCE = 30.0
"""Seconds for which a commit is tried again while the database does not work."""


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
        self.hook_rules = hook_rules
        self._pace = pace
        self._new_link = new_link
        self._sms = sms_provider
        self._followers: list[Callable[[], None]] = []
        self._recounts: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._tasks: asyncio.TaskGroup | None = None
        self._founded = False
        """This node found nobody else."""
        self.open_sessions = OpenSessions()
        self.listeners = Listeners()
        self.rules = Rules(settings, flows, menus, floor, clock)
        self.customers = Customers(journal, lambda: self.settings, clock)
        self.carriers = Carriers(call_providers, self.post)
        self.replica = NodeReplica(floor, self.open_sessions, cluster, self, clock)
        self.ownership = Ownership(cluster, self.open_sessions, journal, self, ttl=lease)
        self.recovery = Recovery(self)
        self.peers = Peers(cluster, self.open_sessions, self.replica, self.ownership, self)
        self.roles = Roles(cluster, ttl=lease, told=lambda role, held: metrics.roles.labels(role).set(held))
        self.duties = Duties(self)
        self.intake = Intake(self, sms_provider, media)
        self.hooks = Hooks(
            journal,
            settings.hooks,
            clock=clock,
            chance=random.random,
            metrics=metrics,
            mine=self.duties.may_tell_hooks,
            poll=LOOK_AGAIN if cluster.alone else POLL,
        )
        self.outbox = Outbox(
            journal,
            {sms_provider.name: sms_provider},
            self.intake.settle,
            clock=clock,
            reconcile_after=settings.sms.reconcile_after,
            pace=pace,
            dress=dress,
            blocked=frozenset(settings.sms.blocked),
            mine=self.duties.may_send,
            poll=None if cluster.alone else POLL,
        )

    # --- life

    async def run(self, started: asyncio.Event) -> None:
        """Bring back what was open, then work until cancelled. Sets *started* when traffic may come."""
        self.cluster.answer(self.peers.answer)
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            async with self.cluster.joined(self.replica, founder=self._found):
                await (self.recovery.restore() if self._founded else self.recovery.learn())
                tasks.create_task(self.duties.run())
                tasks.create_task(self.ownership.run())
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

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let *work* run beside the sessions, owned by the runner. Once the runner is ending nothing begins any more."""
        assert self._tasks is not None, "nothing begins before the runner does"
        beside = self._beside(work)
        try:
            self._tasks.create_task(beside)
        except RuntimeError:  # what a killed node leaves undone is found in the journal, and so is this
            beside.close()
            work.close()

    async def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do one small thing. When it breaks, that is written down and the server goes on."""
        try:
            await work
        except Exception:
            log.exception("task.failed", task=getattr(work, "__qualname__", "?"))

    def listen(self, listener: Listener, *, own: bool = False) -> None:
        """Tell *listener* everything from now on; *own*: only what becomes of the sessions of this node."""
        self.listeners.add(listener, own=own)

    # --- settings

    def follow_settings(self, follower: Callable[[], None]) -> None:
        """Call *follower* after `settings` has become another."""
        self._followers.append(follower)

    @property
    def flows(self) -> Mapping[str, Flow]:
        """The flows that calls begin with, by name."""
        return self.rules.flows

    def in_use(self, settings: Settings) -> Mapping[e.QueueId, tuple[int, int]]:
        """Queues that *settings* do not have and that have people in them: how many wait there, and how many are served.

        A call that once stood in a queue may come back there while it lasts, so it counts.
        """
        uses, stay = dict(self.floor.in_use(settings)), {queue.id for queue in settings.queues}
        for live in self.open_sessions.values():
            queue = live.state.queue
            if queue is not None and queue not in stay and queue not in uses and live.state.call in LIVE:
                uses[queue] = (0, 1)
        return uses

    async def reconfigure(
        self,
        settings: Settings,
        *,
        flows: Mapping[str, Flow],
        menus: Mapping[str, Menu],
        senders: Iterable[SenderFacts],
        revision: int,
    ) -> None:
        """Go by other settings from now on, in one step: nobody sees the half of them.

        A call stays with the flow it began with, and a session with the words, menu and waiting times of its number. Chats in
        which nobody waits or serves (they were put aside, or have just ended) and whose queue is gone are for the number's desk.

        Args:
            settings: What of them is read at the start only (ports, providers, folders) has to be as before.
            flows: By name; every flow that a number uses.
            menus: By name.
            senders: What is known of our numbers, where anybody counts what they send.
            revision: Of the settings. Lines and agents never go back to an older one, even when this node is late.

        Raises:
            QueueInUse: A queue that is to go has people in it. Nothing has changed.
            ClusterUnavailableError: The nodes cannot reach what they share; try again.
        """
        if uses := self.in_use(settings):
            raise QueueInUse(uses)
        plan = floor_plan(settings)
        if plan != self.floor.plan or revision > self.floor.revision:  # or another node has been faster
            await self.do(ReconfigureFloor(plan, revision), patience=ASK_FOR)
        self.floor.go_by(settings, {queue: table for menu in menus.values() for queue, table in menu.queues().items()})
        self.settings = settings
        self.rules.change(settings, flows, menus, began={live.state.flow_revision for live in self.open_sessions.values()})
        self.outbox.block(settings.sms.blocked)
        if self._pace is not None:
            self._pace.describe(senders)
        for live in self.open_sessions.values():
            self.rules.mend(live.state)
        for follower in self._followers:
            follower()

    # --- what is open

    @property
    def sms_name(self) -> str:
        """The name of the provider that carries texts."""
        return self._sms.name

    @property
    def sends(self) -> bool:
        """Whether it is this node that hands texts over."""
        return self.duties.sends

    @property
    def calls(self) -> int:
        """Calls in progress on this node."""
        return sum(1 for live in self.open_sessions.mine if live.state.call in LIVE or live.state.call is CallState.ENDING)

    @property
    def takes_calls(self) -> bool:
        """Whether a new call would be taken: not while this node cannot reach what the nodes share for longer than a moment."""
        return self.cluster.standing().away < CALL_WAITS

    @property
    def sessions(self) -> Mapping[e.SessionId, LiveSession]:
        """Every open session; those of other nodes can only be read."""
        return self.open_sessions

    @property
    def own_sessions(self) -> list[LiveSession]:
        """Those on which this node works."""
        return self.open_sessions.mine

    async def customer(self, number: str | None, ours: str) -> Customer:
        """What is known of a number and one of ours."""
        return await self.customers.look_up(number, ours)

    def is_assigned(self, ours: str) -> bool:
        """Whether somebody takes texts to this number."""
        return self.rules.is_assigned(ours)

    def words_of(self, ours: str) -> Words:
        """The own texts of one of our numbers."""
        return self.rules.words(ours)

    def can_call(self, number: str) -> bool:
        """Whether some provider of ours has a way to *number* (E.164)."""
        return self.carriers.reaches(number)

    # --- what comes in

    async def call_event(self, event: e.CallEvent) -> None:
        """Take an event of a call provider (its sink)."""
        if isinstance(event, e.CallArrived):
            await self._open_call(event)
            return
        session = self.carriers.session_of(event.leg)
        if isinstance(event, e.CallEnded):
            self.carriers.forget(event.leg)
        if session is None:
            log.debug("call.event_of_nobody", call_event=type(event).__name__, leg=event.leg)
            return
        live = self.open_sessions.get(session)
        if isinstance(event, e.DigitsReceived) and live is not None and live.inbox.qsize() >= MOST_WAITING:
            log.warning("call.too_many_keys", leg=event.leg)
            return
        self.post(session, event)

    async def _open_call(self, event: e.CallArrived) -> None:
        if not self.takes_calls:
            await self._refuse_call(event, "cluster_away")
            return
        flow = self.rules.flow(event.called)
        try:
            customer = await self.customers.look_up(event.caller, event.called)
        except JournalError:
            log.exception("call.not_taken")
            await self._refuse_call(event, "journal_away")
            return
        if customer.blocked is not None:
            log.info("call.blocked", leg=event.leg, why=customer.blocked)
            await self.carriers.refuse(event, 603)
            return
        live = None if flow is None else self._awaiting_call(customer, event.called)
        if live is not None and not live.mine:
            live = await self.peers.fetch(live.state.id)
        if live is None:
            live = self._begin(event.called, customer, flow=flow, leg=event.leg, service="call")
            try:
                # Before anything is known of it: when there is none, nothing has begun.
                live.lease = await self.ownership.acquire(live.state.id, within=CALL_WAITS)
            except ClusterUnavailableError:
                await self._refuse_call(event, "cluster_away")
                return
            self.start(live)
        else:
            live.session = self.rules.session(live.state, flow)  # today's, whatever it began with
            live.leg = event.leg
        self.carriers.belongs(event.leg, live.state.id)
        self.metrics.calls.labels(event.provider).inc()
        self.post(live.state.id, event)

    async def _refuse_call(self, event: e.CallArrived, reason: Literal["cluster_away", "journal_away"]) -> None:
        """Let the trunk take its next route (RFC 3261 section 21.5.4); nothing is kept of the call."""
        log.warning("call.refused", leg=event.leg, reason=reason, away=round(self.cluster.standing().away, 1))
        self.metrics.calls_refused.labels(reason).inc()
        await self.carriers.refuse(event, 503)

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
        live = self.open_sessions.get(session)
        if live is None:
            log.debug("event.for_nobody", what=type(event).__name__, session=session)
        elif live.mine:
            live.inbox.put_nowait((event, None))
        else:
            self.spawn(self.peers.forward(session, event))

    async def tell(self, session: e.SessionId, event: e.AnyEvent) -> None:
        """Put *event* into a session's inbox and wait until it is saved and performed, on whichever node that is.

        Raises:
            UnexpectedEvent: It cannot happen now (or the session is over). Nothing has changed.
            SessionAwayError: The node that has it does not answer. It may have happened.
        """
        live = self.open_sessions.get(session)
        if live is None:
            raise UnexpectedEvent("the session is over")
        if live.mine:
            await self.put(live, event)
        else:
            await self.peers.ask(session, "tell", event)

    def put(self, live: LiveSession, event: e.AnyEvent) -> asyncio.Future[None]:
        """Put *event* into a session's inbox; done when it is saved and performed."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        live.inbox.put_nowait((event, done))
        return done

    async def settled(self, session: e.SessionId) -> None:
        """Wait until everything posted to a session so far has been dealt with."""
        live = self.open_sessions.get(session)
        with contextlib.suppress(UnexpectedEvent, SessionAwayError):
            if live is not None and live.mine:
                done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                live.inbox.put_nowait((None, done))
                await done
            elif live is not None:
                await self.peers.ask(session, "settle")

    async def hang_up(self, session: e.SessionId) -> None:
        """End a session's call from outside; what follows is what follows whenever a call ends. Nothing when there is none."""
        live = self.open_sessions.get(session)
        if live is None or live.state.leg is None or live.state.call not in LIVE:
            return
        if live.mine:
            await self.carriers.perform(live.state, e.HangUp(live.state.leg))
        else:
            await self.peers.ask(session, "hang_up")

    async def add_line(self, session: e.SessionId, line: TimelineLine) -> None:
        """Write a line into a session's timeline that no event of the session led to."""
        committed = await self.commit(Unit(session=session, timeline=[line]))
        await self.replica.say(LineWritten(session, msgspec.structs.replace(line, n=committed.lines)))

    async def call_customer(self, number: str | None, name: str | None, *, session: e.SessionId | None = None) -> None:
        """A customer is called so from now on, in every open session of the number (None: withheld), and in *session*."""
        await self.replica.say(CustomerNamed(number, name, session))

    # --- sessions

    def sessions_of(self, customer: str) -> list[LiveSession]:
        """The open sessions of a number."""
        return self.open_sessions.of_customer(customer)

    def session_of_code(self, code: str) -> LiveSession | None:
        """The open session with this reply code."""
        return self.open_sessions.of_code(code)

    async def open_text_session(
        self, customer: str, ours: str, service: e.Service = "inbound", *, known: Customer | None = None
    ) -> LiveSession:
        """Begin a session with a text, without a call. *known*: what `customer` has just said of the number.

        Raises:
            SessionAwayError: The nodes cannot reach what they share. What a customer writes waits for that; what is ours to
                begin is asked for anew, or it would come when nobody expects it any more. Nothing has changed.
        """
        if service != "inbound" and not self.takes_calls:
            raise SessionAwayError("the nodes cannot reach what they share")
        live = self._begin(ours, known or await self.customer(customer, ours), flow=None, leg=None, service=service)
        self.start(live)
        return live

    def _begin(self, ours: str, customer: Customer, *, flow: Flow | None, leg: e.LegId | None, service: e.Service) -> LiveSession:
        """A session that is not worked on yet, and of which nobody knows."""
        code = self.open_sessions.new_code()
        state = self.rules.first_state(ours, customer, flow=flow, leg=leg, service=service, code=code)
        live = LiveSession(self.rules.session(state, flow), customer, 0, None)
        live.leg = leg
        return live

    def start(self, live: LiveSession) -> None:
        """Work on a session from now on, in a task of its own."""
        self.open_sessions.add(live)
        assert self._tasks is not None, "sessions begin only while running"
        live.task = self._tasks.create_task(self._run_session(live), name=f"session {live.state.id}")

    async def take_over(self, stored: StoredSession, lease: Lease) -> None:
        """See `ownership.Keeper`."""
        await self.recovery.take_over(stored, lease)
        self.metrics.taken_over.inc()

    def lose(self, live: LiveSession) -> None:
        """See `ownership.Keeper`."""
        if live.task is not None:
            live.task.cancel()
        if live.leg is not None and live.state.call in LIVE:
            self.spawn(self.carriers.perform(live.state, e.HangUp(live.leg)))

    def drop(self, live: LiveSession) -> None:
        """See `ownership.Keeper`."""
        if live.mine:
            return
        self.open_sessions.remove(live)
        self.listeners.moved(live.state.id, (), mine=False)
        for agent in {live.state.agent, live.state.chat_agent} - {None}:
            assert agent is not None
            self.listeners.desk_changed(agent)

    def _forget(self, live: LiveSession) -> None:
        """This node does not work on it any more."""
        if live.state.leg is not None:
            self.carriers.disown(live.state.leg)
        live.mine, live.node = False, None
        if live.session.closed or self.cluster.alone:
            self.open_sessions.remove(live)
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
                    await self.carriers.perform(live.state, e.HangUp(live.state.leg))
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
            self.metrics.fenced.inc(isinstance(error, FencedError))
            if done is not None and not done.done():
                done.set_exception(SessionAwayError("the journal knows more of the session than this node"))
            if isinstance(error, FencedError) or not await self.recovery.read_again(live):
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
        try:
            committed = await self.commit(unit)
        except StaleSessionError:
            saved = await self.recovery.saved_after_all(unit)
            if saved is None:
                raise
            committed = saved
        live.seq, live.saved = committed.seq, unit.snapshot
        self.open_sessions.note_phones(live)
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
                await asyncio.sleep(0.2)
            else:
                if unit.notices:
                    self.hooks.kick()
                return committed

    async def _roll_back(self, live: LiveSession) -> None:
        """Something of ours broke: go on from the last state that is safe."""
        if live.saved is None:
            live.state.closed_at = self.clock()
            if live.state.leg is not None:
                await self.carriers.perform(live.state, e.RefuseCall(live.state.leg, 503))
            return
        state = STATE_FROM_JSON.decode(live.saved)
        self.rules.mend(state)
        live.session = self.rules.session_again(state)

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
                    await self.carriers.perform(state, command)
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

    def _to_call(self, number: str) -> str | None:
        """The E.164 number that a caller's number or keys mean, if it may be called and can be."""
        try:
            e164 = callable_number(number, DialPlan(self.settings.country, self.settings.sip.may_call))
        except NotCallableError:
            return None
        return e164 if self.carriers.reaches(e164) else None

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

    # --- what nodes say to each other

    def tell_listeners(self, live: LiveSession | None, moved: SessionMoved, new: Sequence[TimelineLine]) -> None:
        """See `replica.Hands`."""
        mine = live is not None and live.mine
        self.listeners.moved(moved.session, new, moved.text, mine=mine)
        if moved.sending and not mine:
            self.outbox.kick()
        if moved.telling and not mine:
            self.hooks.kick()

    def tell_line(self, session: e.SessionId, line: TimelineLine) -> None:
        """See `replica.Hands`."""
        live = self.open_sessions.get(session)
        new = [line] if live is None else live.hear([line])
        self.listeners.moved(session, new, mine=live is not None and live.mine)

    def tell_changed(self, live: LiveSession) -> None:
        """See `replica.Hands`."""
        self.listeners.moved(live.state.id, (), mine=live.mine)

    def session_given(self, live: LiveSession) -> None:
        """See `replica.Hands`."""
        if self._tasks is not None:
            self.spawn(self.ownership.take(live.state.id))

    def as_replica(self, moved: SessionMoved, node: NodeId, before: LiveSession | None) -> LiveSession:
        """See `replica.Hands`."""
        return self.recovery.copy(moved, node, before)

    def look_again(self) -> None:
        """See `replica.Hands`."""
        self.spawn(self.look_over())

    async def look_over(self) -> None:
        """See `peers.Owner`."""
        if await self.recovery.look_again():
            for recount in self._recounts:
                await recount()

    def count_again(self, recount: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Await *recount* when it may be that not everything was heard of what other nodes have done."""
        self._recounts.append(recount)

    def say_everything_again(self) -> None:
        """See `replica.Hands`."""
        self.ownership.unsteady()
        self.spawn(self.peers.say_everything_again())

    def only_here(self, key: str) -> AbstractAsyncContextManager[bool]:
        """See `Peers.only_here`."""
        return self.peers.only_here(key)

    async def give_away(self) -> bool:
        """See `Peers.give_away`."""
        return await self.peers.give_away()

    async def reported(self, message: MessageRow, state: TextState, code: str | None) -> None:
        """See `Duties.reported`."""
        await self.duties.reported(message, state, code)

    def kick_outbox(self) -> None:
        """There may be a text to send, whichever node does that."""
        self.duties.kick_outbox()

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
                    self.listeners.desk_changed(output.agent)
                case OfferLapsed():
                    self._tell_own(output.session, e.OfferLapsed(output.agent, output.channel, output.reason))
                    self.listeners.desk_changed(output.agent)
                case WorkAssigned():
                    self._assigned(output)
                case AgentStateChanged():
                    if asked_here:
                        self._save_agent(output)
                    self.listeners.desk_changed(output.agent)
                case GhostHealed():
                    log.warning(
                        "floor.ghost", ghost=output.ghost, session=output.session, channel=output.channel, agent=output.agent
                    )
                case WorkRedirected():
                    log.info("work.redirected", session=output.session, queue=output.queue, to=output.to, why=output.reason)
                    self._tell_own(output.session, e.QueueRedirected(output.channel, output.queue, output.to))
                case QueueChanged():
                    pass
        self.duties.floor_has_moved()

    def _tell_own(self, session: e.SessionId, event: e.AnyEvent) -> None:
        live = self.open_sessions.get(session)
        if live is not None and live.mine:
            live.inbox.put_nowait((event, None))

    def _assigned(self, output: WorkAssigned) -> None:
        live = self.open_sessions.get(output.session)
        has_it = live is not None and output.agent == (live.state.agent if output.channel == "voice" else live.state.chat_agent)
        if live is None or has_it or not live.mine:
            self.listeners.desk_changed(output.agent)
            return
        spec = self.floor.acd.agent_spec(output.agent)
        self.metrics.waits.labels(output.queue).observe(output.waited)
        self.post(output.session, e.AgentAccepted(output.agent, spec.name, output.channel, spec.address))
        self.listeners.desk_changed(output.agent)

    def _save_agent(self, output: AgentStateChanged) -> None:
        row = AgentStateRow(agent=output.agent, state=output.state, reason=output.reason, since=output.since)
        self.spawn(self._save(Unit(agent_states=[row])))

    async def _save(self, unit: Unit) -> None:
        await self.commit(unit)

    async def save_estimates(self) -> None:
        """Keep what the wait estimator has learned."""
        await self.duties.save_estimates()

    async def heal_floor(self, grace: float = GRACE) -> None:
        """Compare lines and desks with the sessions; what differs for *grace* seconds is put right, as the sessions have it."""
        seen = tuple(seen for live in self.open_sessions.values() for seen in seen_in(live.state))
        await self.do(ReconcileFloor(seen, grace))
