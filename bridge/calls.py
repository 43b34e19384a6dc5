"""Calls at the desk: what agents may do with one, whom they may hand it to or call, and who is to be called back."""

from collections.abc import Callable

import structlog

from bridge import events as e
from bridge.acd import AgentView
from bridge.dialling import DialPlan, NotCallableError, callable_number
from bridge.legs import LIVE, NO_CALL, TALKING, CallState, TextLeg
from bridge.live import LiveSession, SessionAwayError
from bridge.runner import Runner
from bridge.session import State, UnexpectedEvent
from bridge.settings import AgentSettings
from bridge.web.api.callbacks import CannotCallError
from bridge.web.console.core_words import of_away, of_the_session
from bridge.web.console.words import gettext as _
from bridge.web.ports import DeskRefusedError
from bridge.web.ports_calls import CallbackDue, CallColleague, Callee, CallQueue, CallTargets, CallView
from sms.numbers import mask

log = structlog.get_logger()

SHORTEST_NUMBER = 7
"""Digits. With fewer an agent is still typing."""


class Calls:
    """Implements `bridge.web.ports_calls.Calls` on a runner.

    Args:
        runner: Where the sessions are.
        title_of: What agents call a queue.
    """

    def __init__(self, runner: Runner, title_of: Callable[[str], str]) -> None:
        self._runner = runner
        self._title_of = title_of

    # --- what there is

    def view(self, agent: e.AgentId, session: e.SessionId) -> CallView | None:
        """The call as this agent may act on it; None when there is nothing they could do."""
        live = self._runner.sessions.get(session)
        if live is None or live.state.call in NO_CALL:
            return None
        state, consult, transfer = live.state, live.state.consult, live.state.call_transfer
        asks_me = consult is not None and consult.to == agent
        handed = transfer is not None and transfer.by == agent
        if state.agent != agent and not asks_me and not handed:
            return None
        to = None if transfer is None else transfer.number or transfer.to_name or self._title_of(state.queue or "")
        return CallView(
            state=state.call,
            mine=state.agent == agent and state.call in TALKING,
            held_since=state.held_at,
            held_at_phone=state.held_by == "phone",
            asked="" if consult is None or asks_me else consult.name,
            answered=consult is not None and consult.answered,
            waits=consult is not None and consult.waits,
            asks_me=self._name(state.agent) if asks_me else "",
            handed_to=to or "" if handed else "",
            until=state.timers.get("call_prefer"),
            transfer_why=self._transfer_why(state),
        )

    def _transfer_why(self, state: State) -> str:
        if state.call_transfers < self._runner.settings.calls.max_transfers:
            return ""
        return _("This call has been handed on often enough. Please keep it.")

    def _name(self, agent: e.AgentId | None) -> str:
        return next((known.name for known in self._runner.settings.agents if known.id == agent), agent or "")

    def _settings_of(self, agent: e.AgentId) -> AgentSettings:
        known = next((known for known in self._runner.settings.agents if known.id == agent), None)
        if known is None:
            raise DeskRefusedError(_("There is no such colleague any more."))
        return known

    # --- hold

    async def hold(self, agent: e.AgentId, session: e.SessionId) -> None:
        """Let the caller wait with music."""
        await self._tell(session, e.AgentHeld(agent))

    async def resume(self, agent: e.AgentId, session: e.SessionId) -> None:
        """Talk to the caller again."""
        await self._tell(session, e.AgentResumed(agent))

    # --- handing on

    def targets(self, agent: e.AgentId, session: e.SessionId) -> CallTargets:
        """Whom the call may be handed to."""
        state = self._call_of(agent, session).state
        acd, now = self._runner.floor.acd, self._runner.clock()
        colleagues = []
        for other in self._runner.settings.agents:
            if other.id == agent or e.AgentId(other.id) not in acd.agents or self._queue_for(other, state.queue) is None:
                continue
            view = acd.agent_view(e.AgentId(other.id))
            if view.state != "offline":
                colleagues.append(CallColleague(view.agent, other.name, view.state, _cannot_take(view, other)))
        colleagues.sort(key=lambda one: (bool(one.why_not), one.name))
        views = [acd.queue_view(e.QueueId(queue.id), now) for queue in self._runner.settings.queues if queue.channel == "voice"]
        return CallTargets(
            tuple(colleagues),
            tuple(CallQueue(view.queue, self._title_of(view.queue), view.waiting, view.agents_staffed) for view in views),
            self._outside_why(),
            self._transfer_why(state),
        )

    def _outside_why(self) -> str:
        if self._runner.settings.sip.outbound is not None and self._runner.settings.sip.enabled:
            return ""
        return _("This server has no trunk for calls to numbers (setting sip.outbound).")

    def _queue_for(self, agent: AgentSettings, now_in: str | None) -> str | None:
        """The queue in which a colleague has the call: its own if they work on it; None: they take no calls."""
        if now_in in agent.queues:
            return now_in
        voice = {queue.id for queue in self._runner.settings.queues if queue.channel == "voice"}
        return next((queue for queue in agent.queues if queue in voice), None)

    def _colleague(self, agent: e.AgentId, session: e.SessionId, to: e.AgentId) -> tuple[CallColleague, str]:
        colleague = next((one for one in self.targets(agent, session).colleagues if one.id == to), None)
        if colleague is None:
            raise DeskRefusedError(_("%(name)s is not signed in any more.", name=self._name(to)))
        if colleague.why_not:
            raise DeskRefusedError(_("%(name)s cannot take it now: %(why)s.", name=colleague.name, why=colleague.why_not))
        queue = self._queue_for(self._settings_of(to), self._call_of(agent, session).state.queue)
        assert queue is not None, "who takes no calls is no target"
        return colleague, queue

    def _number(self, typed: str) -> str:
        """A number that may be called, E.164."""
        settings = self._runner.settings
        try:
            number = callable_number(typed, DialPlan(settings.country, settings.sip.may_call))
        except NotCallableError as refusal:
            raise DeskRefusedError(of_the_session(str(refusal))) from refusal
        if number in {ours.number for ours in settings.numbers}:
            raise DeskRefusedError(_("That is one of our own numbers."))
        return number

    def _outside(self, typed: str) -> str:
        """The number of somebody outside who is to join a call."""
        number, why = self._number(typed), self._outside_why()
        if why:
            raise DeskRefusedError(why)
        return number

    async def hand_on(
        self, agent: e.AgentId, session: e.SessionId, *, to: e.AgentId | None, queue: str | None, number: str | None, note: str
    ) -> None:
        """Give the call away without talking to whoever gets it."""
        self._call_of(agent, session)
        if to is not None:
            colleague, queue = self._colleague(agent, session, to)
            event = e.CallTransferred(agent, e.QueueId(queue), to, colleague.name, note=note)
        elif number is not None:
            event = e.CallTransferred(agent, number=self._outside(number), note=note)
        elif queue in {one.id for one in self.targets(agent, session).queues}:
            event = e.CallTransferred(agent, e.QueueId(queue or ""), note=note)
        else:
            raise DeskRefusedError(_("Calls cannot be handed to that queue."))
        await self._tell(session, event)

    async def ask(self, agent: e.AgentId, session: e.SessionId, *, to: e.AgentId | None, number: str | None, note: str) -> None:
        """Talk to a colleague or a number while the caller waits."""
        self._call_of(agent, session)
        if to is not None:
            colleague, queue = self._colleague(agent, session, to)
            address = self._settings_of(to).phone or ""
            event = e.AgentConsulted(agent, colleague.name, address, to, e.QueueId(queue), note)
        else:
            outside = self._outside(number or "")
            event = e.AgentConsulted(agent, outside, f"tel:{outside}", note=note)
        await self._tell(session, event)

    async def swap(self, agent: e.AgentId, session: e.SessionId) -> None:
        """Talk to the other one."""
        await self._tell(session, e.AgentSwapped(agent))

    async def take_back(self, agent: e.AgentId, session: e.SessionId) -> None:
        """Go on alone with the caller."""
        await self._tell(session, e.AgentTookBack(agent))

    async def complete(self, agent: e.AgentId, session: e.SessionId) -> None:
        """Leave the caller to whoever was asked."""
        await self._tell(session, e.AgentCompleted(agent))

    def _call_of(self, agent: e.AgentId, session: e.SessionId) -> LiveSession:
        live = self._runner.sessions.get(session)
        if live is None or live.state.agent != agent or live.state.call not in TALKING:
            raise DeskRefusedError(_("This call is not yours (any more)."))
        return live

    # --- calls of ours

    def senders(self, agent: e.AgentId) -> tuple[str, ...]:
        """Our numbers that take calls, for an agent who has a phone and works on calls."""
        known = self._settings_of(agent)
        if known.phone is None or self._queue_for(known, None) is None:
            return ()
        return tuple(number.number for number in self._runner.settings.numbers if number.flow is not None)

    async def callee(self, agent: e.AgentId, typed: str, sender: str) -> Callee:
        """What was typed means, and whether it can be called."""
        if sum(char.isdigit() for char in typed) < SHORTEST_NUMBER:
            return Callee(None)
        try:
            number = await self._may_call(agent, typed, sender)
        except DeskRefusedError as refusal:
            return Callee(None, str(refusal))
        return Callee(number, "", (await self._runner.customer(number, sender)).name)

    async def _may_call(self, agent: e.AgentId, typed: str, sender: str) -> str:
        """The number, E.164, once it is sure that it may and can be called. An opt-out of texts forbids no call."""
        if sender not in self.senders(agent):
            raise DeskRefusedError(_("Calls cannot be made from that number."))
        number = self._number(typed)
        customer = await self._runner.customer(number, sender)
        if customer.blocked is not None:
            raise DeskRefusedError(_("This number is not to be called: %(why)s.", why=customer.blocked))
        for live in self._runner.sessions_of(number):
            why = self._busy_with(agent, live.state)
            if why:
                raise DeskRefusedError(why)
        if not self._runner.can_call(number):
            raise DeskRefusedError(self._outside_why() or _("Nobody can be reached at that number from here."))
        return number

    def _busy_with(self, agent: e.AgentId, state: State) -> str:
        """Why the customer of an open session is not to be called; empty: they may be."""
        if state.call in LIVE or state.call is CallState.ENDING:
            return _("The customer is on the phone with %(name)s just now.", name=self._name(state.agent) or _("us"))
        if state.callback is not None:
            return _("The customer is to be called back already: start it from the list of callbacks.")
        if state.text is TextLeg.CHATTING and state.chat_agent != agent:
            return _("%(name)s is in conversation with the customer just now.", name=self._name(state.chat_agent))
        return ""

    async def call(self, agent: e.AgentId, number: str, sender: str) -> e.SessionId:
        """Ring the agent's phone, then the customer's; in the agent's own chat with them where there is one."""
        customer = await self._may_call(agent, number, sender)
        known = self._free_phone(agent)
        queue = self._queue_for(known, None)
        assert queue is not None, "who takes no calls has no sender"
        mine = next(
            (
                live.state.id
                for live in self._runner.sessions_of(customer)
                if live.state.chat_agent == agent and live.state.our_number == sender
            ),
            None,
        )
        try:
            session = mine or (await self._runner.open_text_session(customer, sender, "outbound")).state.id
        except SessionAwayError as error:
            raise DeskRefusedError(of_away()) from error
        log.info("call.by_agent", agent=agent, number=mask(customer))
        await self._tell(session, e.AgentCalled(agent, known.name, e.QueueId(queue), known.phone or ""))
        return session

    def _free_phone(self, agent: e.AgentId) -> AgentSettings:
        known = self._settings_of(agent)
        if known.phone is None:
            raise DeskRefusedError(_("You have no telephone here: ask for one in the settings."))
        if self._runner.floor.acd.agent_view(agent).call is not None:
            raise DeskRefusedError(_("You are on a call already."))
        return known

    # --- callbacks

    def callbacks(self, agent: e.AgentId) -> tuple[CallbackDue, ...]:
        """Customers of the agent's queues who are to be called back; who is next comes first."""
        mine = set(self._settings_of(agent).queues)
        due = [self._due(live) for live in self._runner.sessions.values() if _waits(live.state) and live.state.queue in mine]
        return tuple(sorted(due, key=lambda one: (one.position is None, one.position or 0, one.due_at or 0.0, one.asked_at)))

    def _due(self, live: LiveSession) -> CallbackDue:
        state, callback = live.state, live.state.callback
        assert callback is not None
        return CallbackDue(
            state.id,
            callback.number,
            live.customer.name,
            state.queue,
            callback.asked_at,
            callback.due_at,
            callback.promised_by,
            callback.tries,
            self._runner.floor.acd.position(state.id, "voice"),
            state.whisper or "",
        )

    def is_owed(self, session: e.SessionId) -> bool:
        """Whether the session's customer is to be called back."""
        live = self._runner.sessions.get(session)
        return live is not None and live.state.callback is not None

    def concerned(self, session: e.SessionId) -> tuple[e.AgentId, ...]:
        """Agents whose list of callbacks this session stands in, or did."""
        live = self._runner.sessions.get(session)
        queue = None if live is None else live.state.queue
        return tuple(e.AgentId(agent.id) for agent in self._runner.settings.agents if queue in agent.queues)

    async def ask_callback(
        self, author: str, number: str, sender: str, queue: str | None, due_at: float | None, reason: str
    ) -> e.SessionId:
        """Have a customer called when it is their turn, for a program.

        Raises:
            CannotCallError: They are not to be called.
        """
        settings = self._runner.settings
        voice = [each.id for each in settings.queues if each.channel == "voice"]
        if queue not in {None, *voice} or not voice:
            raise CannotCallError("unknown_queue", f"There is no queue {queue!r} for calls; there are: {', '.join(voice)}.")
        try:
            e164 = callable_number(number, DialPlan(settings.country, settings.sip.may_call))
        except NotCallableError as refusal:
            raise CannotCallError("cannot_call", str(refusal)) from refusal
        if not self._runner.can_call(e164):
            raise CannotCallError("cannot_call", "Nobody can be reached at that number from here: sip.outbound names no trunk.")
        blocked = (await self._runner.customer(e164, sender)).blocked
        if blocked is not None:
            raise CannotCallError("blocked", f"{e164}: {blocked}.")
        for live in self._runner.sessions_of(e164):
            if live.state.call in LIVE or live.state.callback is not None:
                raise CannotCallError("in_hand", f"{e164} is on the phone with us, or is to be called already.")
        session = (await self._runner.open_text_session(e164, sender, "api")).state.id
        await self._runner.tell(session, e.CallbackAsked(author, e.QueueId(queue or voice[0]), due_at, reason))
        return session

    async def start_callback(self, agent: e.AgentId, session: e.SessionId) -> None:
        """Do not wait until it is its turn."""
        self._callback(agent, session)
        known = self._free_phone(agent)
        await self._tell(session, e.CallbackStarted(agent, known.name, known.phone or ""))

    async def cancel_callback(self, agent: e.AgentId, session: e.SessionId) -> None:
        """The customer does not want to be called any more."""
        self._callback(agent, session)
        await self._tell(session, e.CallbackCancelled(self._name(agent)))

    def _callback(self, agent: e.AgentId, session: e.SessionId) -> None:
        live = self._runner.sessions.get(session)
        if live is None or not _waits(live.state) or live.state.queue not in self._settings_of(agent).queues:
            raise DeskRefusedError(_("There is no callback to make any more."))

    async def _tell(self, session: e.SessionId, event: e.AnyEvent) -> None:
        try:
            await self._runner.tell(session, event)
        except UnexpectedEvent as refusal:
            raise DeskRefusedError(of_the_session(str(refusal))) from refusal
        except SessionAwayError as error:
            raise DeskRefusedError(of_away()) from error


def call_concerns(state: State, agent: e.AgentId) -> bool:
    """Whether an agent who does not have a call has to do with it: asked by who has, or about to get it back."""
    asked = state.consult is not None and state.consult.to == agent
    return asked or (state.call_transfer is not None and state.call_transfer.by == agent)


def call_note_for(state: State, agent: e.AgentId) -> bool:
    """Whether what a colleague wrote about the call is for this agent."""
    if state.consult is not None:
        return state.consult.to == agent
    transfer = state.call_transfer
    return (transfer is not None and transfer.by != agent) or (state.agent == agent and state.call in TALKING)


def _waits(state: State) -> bool:
    return state.callback is not None and state.call in NO_CALL


def _cannot_take(view: AgentView, agent: AgentSettings) -> str:
    """Why a colleague cannot take a call now; empty when they can."""
    if view.state == "not_ready":
        return _("Not ready: %(reason)s", reason=view.reason) if view.reason else _("Not ready")
    if view.state == "wrap_up":
        return _("Writing a note")
    if view.call is not None:
        return _("On a call")
    return "" if agent.phone is not None else _("No telephone")
