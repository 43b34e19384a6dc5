"""How what was open comes back: at the first node's start, at a node that joins the others, and after the death of one.

A session is in the journal after every step. Whoever works on it next loads it from there and tells it that its process has
restarted; whoever only reads it (a *copy*) loads it once and then hears of every step.
"""

import asyncio
import contextlib
from typing import Protocol

import msgspec
import structlog

from bridge import events as e
from bridge.cluster import Cluster, ClusterUnavailableError, Lease, NodeId
from bridge.customers import Customers
from bridge.floor import Customer, Floor
from bridge.floor_ops import AssignWork, ForgetWork, Op, SetAgentState
from bridge.journal import Committed, Journal, JournalError, JournalUnavailableError, StoredSession, Unit
from bridge.legs import NO_CALL, TextLeg
from bridge.listeners import Listeners
from bridge.live import Heard, LiveSession, OpenSessions
from bridge.ownership import Ownership
from bridge.replica import NodeReplica, SessionMoved
from bridge.rules import Rules
from bridge.session import State
from bridge.settings import Settings
from sms.numbers import look_up

log = structlog.get_logger()

LOOK_AGAIN_AFTER = 1.0
"""Seconds, when the journal or the other nodes cannot be asked."""
STATE_FROM_JSON = msgspec.json.Decoder(State)


class Workshop(Protocol):
    """What this needs of the runner."""

    journal: Journal
    floor: Floor
    cluster: Cluster
    settings: Settings
    rules: Rules
    customers: Customers
    listeners: Listeners
    replica: NodeReplica
    ownership: Ownership
    open_sessions: OpenSessions

    def put(self, live: LiveSession, event: e.AnyEvent) -> "asyncio.Future[None]":
        """Put *event* into the inbox of a session of this node; done when it is saved and performed."""

    def post(self, session: e.SessionId, event: e.AnyEvent) -> None:
        """Put *event* into a session's inbox and go on."""

    def start(self, live: LiveSession) -> None:
        """Work on a session from now on."""

    def drop(self, live: LiveSession) -> None:
        """A session of another node is over, and nobody has said so."""

    async def do(self, op: Op) -> object:
        """Change the floor."""


class Recovery:
    """Brings sessions back.

    Args:
        runner: Who works on them then.
    """

    def __init__(self, runner: Workshop) -> None:
        self._runner = runner
        self._looking = asyncio.Lock()
        self._asked_to_look = 0
        self._looked = 0
        """How often a look was asked for: until now, and when the last one began."""

    # --- at the start

    async def restore(self) -> None:
        """The first node of the service: all that is open is this node's."""
        runner, lives = self._runner, []
        for stored in await runner.journal.open_sessions():
            lease = await runner.ownership.acquire(stored.id)
            if lease is None:
                continue  # a second node has started meanwhile
            live = await self.load(stored)
            live.lease = lease
            lives.append(live)
        for live in lives:
            await self._seat(live.state)
        back = []
        for live in lives:
            back.append(runner.put(live, e.ProcessRestarted()))  # before anything of its own that came due meanwhile
            runner.start(live)
        # Nobody is offered anything before everybody stands in line again, or the first to come back would be served first.
        for failure in await asyncio.gather(*back, return_exceptions=True):
            if failure is not None:
                log.error("session.not_restored", why=repr(failure))
        for live in lives:
            self._miss_agent(live)
        for agent, row in (await runner.journal.agent_states()).items():
            if agent in runner.floor.acd.agents and row.state in {"ready", "wrap_up", "not_ready"}:
                await runner.do(SetAgentState(agent, "not_ready" if row.state == "not_ready" else "ready", row.reason))

    async def learn(self) -> None:
        """A further node: know what is open, to read it. Whoever works on it goes on doing so."""
        async with self._looking:
            await self._read_others()
        await self._runner.replica.catch_up()

    async def look_again(self) -> bool:
        """Something was not said, or is lost: what is known of the sessions of other nodes becomes what the journal has.

        Listeners are told what they have missed.

        Returns:
            False: there was no need to, somebody else has begun to look after this was asked for.
        """
        self._asked_to_look += 1
        mine = self._asked_to_look
        async with self._looking:
            if self._looked >= mine:
                return False
            while True:
                self._looked = self._asked_to_look
                try:
                    await self._look_again()
                except (JournalUnavailableError, ClusterUnavailableError):
                    await asyncio.sleep(LOOK_AGAIN_AFTER)
                else:
                    return True

    async def _look_again(self) -> None:
        runner = self._runner
        copies = [session for session, live in runner.open_sessions.items() if not live.mine]
        stored = await self._read_others(tell=True)
        for session in copies:
            if session in stored:
                owner = await runner.cluster.owner(session)
                live = runner.open_sessions.get(session)
                if live is not None and not live.mine:
                    live.node = owner
            else:
                lines = await runner.journal.timeline(session)
                live = runner.open_sessions.get(session)
                if live is not None and not live.mine:
                    runner.listeners.moved(session, live.hear(lines), mine=False)
                    runner.drop(live)

    async def _read_others(self, *, tell: bool = False) -> frozenset[e.SessionId]:
        """Have what the journal has of the open sessions that are not this node's; returns which are open at all.

        Args:
            tell: Tell listeners what they have not heard.
        """
        runner, replica = self._runner, self._runner.replica
        replica.over = set()
        try:
            found = await runner.journal.open_sessions()
            for stored in found:
                known = runner.open_sessions.get(stored.id)
                if known is not None and (known.mine or (known.seq >= stored.seq and known.heard.upto >= stored.lines)):
                    continue
                live = await self.load(stored)
                live.mine, live.node = False, await runner.cluster.owner(stored.id)
                lines = await runner.journal.timeline(stored.id) if tell else []
                known = runner.open_sessions.get(stored.id)
                if stored.id in replica.over or (known is not None and known.mine):
                    continue
                if known is not None and known.seq >= stored.seq:
                    live = known  # meanwhile the log has told us as much as the journal has, or more
                else:
                    if known is not None:
                        live.go_on_from(known)
                    elif tell:
                        live.heard = Heard()
                    runner.open_sessions.add(live)
                if tell:
                    runner.listeners.moved(stored.id, live.hear(lines), mine=False)
        finally:
            replica.over = None
        return frozenset(stored.id for stored in found)

    # --- one session

    async def load(self, stored: StoredSession) -> LiveSession:
        """A session as the journal has it."""
        rules, state = self._runner.rules, STATE_FROM_JSON.decode(stored.snapshot)
        flow = rules.flow_of(state)
        if flow is None:
            # The flow was edited while nobody was running it; the call it belonged to is gone, its texts are not.
            state.run = None
        rules.mend(state)
        customer = await self._runner.customers.look_up(state.customer, state.our_number)
        live = LiveSession(rules.session(state, flow), customer, stored.seq, stored.snapshot)
        live.heard = Heard(stored.lines)
        for message in await self._runner.journal.messages(state.id):
            if message.direction == "out" and message.state != "received":
                live.ticks[message.id] = message.state
        return live

    async def saved_after_all(self, unit: Unit) -> Committed | None:
        """What became of a step when somebody seems to have been faster: it was ourselves, and nobody could say so.

        None: it was somebody else, or there is more after it already.
        """
        assert unit.session is not None
        with contextlib.suppress(JournalError):
            stored = await self._runner.journal.session(unit.session)
            if stored is not None and stored.snapshot == unit.snapshot:
                return Committed(stored.seq, stored.lines)
        return None

    async def read_again(self, live: LiveSession) -> bool:
        """The journal knows more of a session of ours than we do: go on from there. False: it is another node's by now."""
        with contextlib.suppress(JournalError):
            stored = await self._runner.journal.session(live.state.id)
            if stored is not None and (live.lease is None or stored.fence <= live.lease.token):
                again = await self.load(stored)
                live.session, live.seq, live.saved, live.ticks = again.session, again.seq, again.saved, again.ticks
                return True
        return False

    async def take_over(self, stored: StoredSession, lease: Lease) -> None:
        """Work on what another node had. Texts go on where they are; a call is lost with its node."""
        runner, live = self._runner, await self.load(stored)
        live.lease = lease
        state, lines = live.state, await runner.journal.timeline(stored.id)
        lost = state.call not in NO_CALL or not runner.floor.agrees(state)
        if lost:
            await runner.do(ForgetWork(state.id))
            await self._seat(state)
            runner.put(live, e.ProcessRestarted()).add_done_callback(_heard)
        before = runner.open_sessions.get(stored.id)
        live.heard = Heard()
        if before is not None:
            live.go_on_from(before)
        unheard = tuple(line for line in lines if line.n > live.heard.upto)  # its node had no time to tell of them
        runner.start(live)
        log.info("session.taken_over", session=state.id, restarted=lost)
        raw = msgspec.Raw(stored.snapshot)
        await runner.replica.say(SessionMoved(state.id, live.seq, raw, live.customer.name, lines=unheard))
        self._miss_agent(live)

    def copy(self, moved: SessionMoved, node: NodeId, before: LiveSession | None) -> LiveSession:
        """A session of another node, to read; *before*: as it was known until now."""
        runner, state = self._runner, STATE_FROM_JSON.decode(moved.state)
        customer = Customer(look_up(state.customer, region=runner.settings.country)) if before is None else before.customer
        customer.name = moved.name
        live = LiveSession(runner.rules.session_again(state), customer, moved.seq, None, mine=False, node=node)
        if before is not None:
            live.go_on_from(before)
        else:
            # The floor may have offered it before anything else was known of it here.
            for agent in runner.floor.acd.agents:
                offer = runner.floor.acd.agent_view(agent).offer
                if offer is not None and offer.session == state.id:
                    runner.listeners.desk_changed(agent)
        return live

    async def _seat(self, state: State) -> None:
        """A chat goes on with its agent."""
        if state.text is TextLeg.CHATTING and state.chat_agent in self._runner.floor.acd.agents and state.chat_queue:
            await self._runner.do(AssignWork(state.chat_agent, state.id, "sms", state.chat_queue))

    def _miss_agent(self, live: LiveSession) -> None:
        agent = live.state.chat_agent
        if live.state.text is TextLeg.CHATTING and agent is not None and agent not in self._runner.floor.acd.agents:
            self._runner.post(live.state.id, e.AgentLost(agent))


def _heard(done: "asyncio.Future[None]") -> None:
    """What becomes of it is in the log already."""
    if not done.cancelled():
        done.exception()
