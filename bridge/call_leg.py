"""The call leg once people are on it: agents who take it, hold it, ask colleagues and hand it on; calls of ours; callbacks.

Part of `bridge.session.Session`, which owns the flow. Whoever waits here, for a colleague or to be called back, waits in
`State.timers` and in the floor's line, so that it survives a restart.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from msgspec.structs import replace

from bridge import events as e
from bridge.chat import ONLY
from bridge.conversation import Callback, CallTransfer, Consult, Facts, State
from bridge.legs import NO_CALL, TALKING, CallState, TextLeg
from bridge.text_leg import TextSide
from ivr_flows import outputs as o

LANGUAGE_SKILL = "lang:"
"""Begins the skills that a caller takes along to another queue: what it is about changes, the language does not."""
LAPSED: Mapping[str, str] = MappingProxyType({"ring_timeout": "no answer", "signed_out": "signed out"})
"""Why an offer lapsed, in words."""
BUSY = frozenset({"486", "600"})
NO_ANSWER = frozenset({"408", "480", "487"})
REFUSED = frozenset({"403", "603", "607"})
CANCEL_WORDS = frozenset(
    {
        "cancel",
        "cancel callback",
        "cancel call",
        "annuler",
        "annule",
        "annuler le rappel",
        "cancelar",
        "cancela",
        "cancelar llamada",
    }
)
"""By any of these, as the whole text, a customer takes back the wish to be called."""


def voice_skills(state: State) -> tuple[str, ...]:
    """What the agent must have who is to take the call: while one alone is asked, to be that one."""
    return state.skills if state.call_prefer is None else (f"{ONLY}{state.call_prefer}",)


def outcome_of(status: str) -> Literal["busy", "no answer", "refused", "not reachable"]:
    """What a SIP status (RFC 3261 section 21) says of a phone that was not picked up."""
    if status in BUSY:
        return "busy"
    if status in NO_ANSWER:
        return "no answer"
    return "refused" if status in REFUSED else "not reachable"


class CallSide(TextSide):
    """What agents, and whoever they ask, do with a call."""

    # --- an agent's phone

    def _ring(self, address: str, *, timeout: float, with_leg: e.LegId | None = None, sender: str | None = None) -> e.LegId:
        state = self.state
        assert state.leg is not None
        state.agent_legs += 1
        agent_leg = e.LegId(f"{state.leg}/agent{state.agent_legs}")
        self._out.append(e.ConnectAgent(state.leg, agent_leg, address, timeout, with_leg, sender))
        return agent_leg

    def _call_accepted(self, event: e.AgentAccepted) -> None:
        state = self.state
        called_back = state.call is CallState.CALLBACK
        state.names[event.agent] = event.name
        self._move_call(e.AgentAccepted)
        state.agent = event.agent
        state.timers.pop("call_prefer", None)
        self._record("agent.accepted", name=event.name, channel="voice")
        if called_back:
            self._summon(event.address or "")
        else:
            state.agent_leg = self._ring(event.address or "", timeout=self._limits.agent_ring)

    def _agent_leg_answered(self, facts: Facts, now: float) -> None:
        state = self.state
        was = state.call
        self._move_call(e.AgentLegAnswered)
        match was:
            case CallState.SUMMONING:
                self._dial()
            case CallState.CONSULTING:
                assert state.consult is not None
                state.consult = replace(state.consult, answered=True)
                self._record("transfer.answered", by=self._name(state.agent), to=state.consult.name, channel="voice")
            case CallState.CALLING_OUT:
                self._transfer_taken(state.outside)
            case _:
                self._agent_joins(now)
                self._transfer_taken(self._name(state.agent))
                self._resume(o.AgentAnswered(), facts, now)

    def _agent_joins(self, now: float) -> None:
        state = self.state
        state.unanswered, state.call_prefer = False, None
        state.first_agent_at = state.first_agent_at or now
        self._record("agent.joined", name=self._name(state.agent), channel="voice")
        self._callback_done()

    def _transfer_taken(self, to: str | None) -> None:
        transfer, self.state.call_transfer = self.state.call_transfer, None
        if transfer is not None:
            self._record("transfer.completed", by=self._name(transfer.by), to=to, channel="voice")

    def _agent_leg_failed(self, event: e.AgentLegFailed, facts: Facts, now: float) -> None:
        state = self.state
        was = state.call
        self._move_call(e.AgentLegFailed)
        match was:
            case CallState.CONSULTING:
                self._back_with_agent(outcome_of(str(event.status)), now, gone=True)
            case CallState.CALLING_OUT:
                state.agent_leg = state.outside = None
                self._call_transfer_failed(outcome_of(str(event.status)), facts, now)
            case _:
                assert state.agent is not None
                assert state.leg is not None
                agent, state.agent, state.agent_leg = state.agent, None, None
                self._record("agent.unreachable", name=self._name(agent), status=event.status, reason=event.reason)
                self._out.append(e.ReleaseAgent(agent, "voice", wrap_up=False))
                if was is CallState.SUMMONING:
                    state.reason = "agent not reached"
                    self._out.append(e.HangUp(state.leg))
                elif state.call_prefer is None:
                    self._out.append(self._place())
                else:
                    self._call_preference_over("no answer", facts, now)

    def _agent_leg_ended(self, event: e.AgentLegEnded, facts: Facts, now: float) -> None:
        state, consult = self.state, self.state.consult
        was = state.call
        self._move_call(e.AgentLegEnded)
        # We end an agent's leg alone only when the agent wants it so, at the desk.
        by = "agent" if event.by == "platform" else event.by
        match was:
            case CallState.CONSULTING if consult is not None and event.agent_leg == consult.leg:
                self._back_with_agent("hung up", now, gone=True)
            case CallState.CONSULTING if consult is not None and consult.answered:
                self._complete(now, gone=True)
            case CallState.CONSULTING:
                self._leave_caller(by, now)
                self._line_up(e.JoinQueue, facts, now)
            case CallState.HELD if event.by != "platform":
                # Nobody meant to leave a caller who waits for an answer.
                self._leave_caller(by, now)
                self._line_up(e.JoinQueue, facts, now)
            case CallState.DIALING:
                self._release_voice(wrap_up=False, by=by, now=now)
                state.reason = "cancelled by agent"
                self._hang_up_now()
            case CallState.OUTSIDE:
                self._record("outside.left", number=state.outside, by=by)
                state.outside = state.agent_leg = None
                self._alone(facts, now)
            case _:
                self._hold_over(now)
                self._release_voice(wrap_up=True, by=by, now=now)
                self._alone(facts, now)

    def _alone(self, facts: Facts, now: float) -> None:
        """The customer has nobody to talk to: the flow goes on, or the call is over."""
        if not self._resume(o.AgentEnded(), facts, now):
            self._hang_up_now()

    def _hang_up_now(self) -> None:
        state = self.state
        assert state.leg is not None
        if state.call is CallState.IN_FLOW:
            self._move_call(e.HangUp)
        self._out.append(e.HangUp(state.leg))

    def _release_voice(self, *, wrap_up: bool, by: str, now: float) -> None:
        state = self.state
        if state.agent is None:
            return
        self._record("agent.left", name=self._name(state.agent), channel="voice", by=by)
        self._release(state.agent, "voice", wrap_up=wrap_up, now=now)
        state.agent = state.agent_leg = None
        if wrap_up:
            self._place_used()

    def _leave_caller(self, by: str, now: float) -> None:
        """The agent is gone while the caller waits with music; the caller keeps the place there was."""
        state = self.state
        since = state.since
        self._hold_over(now)
        if state.consult is not None:
            self._consult_failed("given up")
        self._release_voice(wrap_up=True, by=by, now=now)
        state.since = since

    def _call_leg_over(self, was: CallState, by: e.EndedBy, now: float) -> None:
        """Nobody who was on the call is on it any more."""
        state = self.state
        self._hold_over(now, told=False)
        if state.consult is not None:
            self._consult_failed("caller hung up", gone=True)
        transfer, state.call_transfer = state.call_transfer, None
        if transfer is not None:
            self._transfer_line("transfer.failed", transfer, reason="caller hung up")
        state.call_prefer = None
        state.timers.pop("call_prefer", None)
        state.outside = None
        self._release_voice(wrap_up=was in TALKING, by=by, now=now)
        state.agent_leg = None

    # --- hold

    def _held(self, because: type[e.AgentHeld | e.PhoneHeld], now: float) -> None:
        state = self.state
        self._move_call(because)
        if state.call is CallState.CONSULTING:
            return  # the agent lets the colleague wait, and the caller waits already
        if state.held_at is None:
            self._caller_waits(now)
        state.held_by = "phone" if because is e.PhoneHeld else "desk"

    def _resumed(self, because: type[e.AgentResumed | e.PhoneResumed], now: float) -> None:
        self._move_call(because)
        if self.state.call is CallState.CONNECTED:
            self._caller_back(now)

    def _caller_waits(self, now: float) -> None:
        state = self.state
        assert state.leg is not None
        state.held_at = now
        self._out.append(e.HoldCall(state.leg, self._limits.calls.hold_music))
        self._record("call.held", name=self._name(state.agent))

    def _caller_back(self, now: float) -> None:
        state = self.state
        assert state.leg is not None
        assert state.agent_leg is not None
        self._hold_over(now)
        self._out.append(e.JoinLegs(state.leg, state.agent_leg))

    def _hold_over(self, now: float, *, told: bool = True) -> None:
        """The caller does not wait on hold any more. *told*: somebody talks to them, or they stand in line."""
        state = self.state
        if state.held_at is None:
            return
        seconds = now - state.held_at
        state.on_hold += seconds
        state.held_at = state.held_by = None
        if told:
            self._record("call.resumed", name=self._name(state.agent), seconds=round(seconds, 1))

    # --- asking somebody while the caller waits

    def _consulted(self, event: e.AgentConsulted, now: float) -> None:
        state = self.state
        self._move_call(e.AgentConsulted)
        if state.held_at is None:
            self._caller_waits(now)
        state.held_by = None
        state.call_transfers += 1
        if event.to is not None and event.queue is not None:
            self._out.append(e.AssignAgent(event.to, "voice", event.queue, beside=True))
        leg = self._ring(
            event.address,
            timeout=self._limits.agent_ring if event.to is not None else self._limits.calls.ring,
            with_leg=state.agent_leg,
            sender=None if event.to is not None else state.our_number,
        )
        state.consult = Consult(leg, event.name, now, event.to, event.queue, event.note)
        self._record(
            "transfer.started",
            by=self._name(state.agent),
            to=event.name,
            queue=event.queue,
            note=event.note,
            channel="voice",
            warm=True,
        )

    def _swapped(self, now: float) -> None:
        state, consult = self.state, self.state.consult
        assert consult is not None
        self._move_call(e.AgentSwapped)
        if consult.waits:
            assert state.leg is not None
            assert state.agent_leg is not None
            self._caller_waits(now)
            self._out.append(e.JoinLegs(state.leg, state.agent_leg, consult.leg))
        else:
            self._caller_back(now)
        state.consult = replace(consult, waits=not consult.waits)

    def _back_with_agent(self, why: str, now: float, *, gone: bool = False) -> None:
        """Whoever was asked is out; agent and caller talk on. *gone*: they have left by themselves."""
        self._consult_failed(why, gone=gone)
        if self.state.held_at is not None:
            self._caller_back(now)

    def _consult_failed(self, why: str, *, gone: bool = False) -> None:
        state, consult = self.state, self.state.consult
        assert state.leg is not None
        assert consult is not None
        state.consult = None
        if not gone:
            self._out.append(e.DropAgent(state.leg, consult.leg))
        if consult.to is not None:
            self._out.append(e.ReleaseAgent(consult.to, "voice", wrap_up=False, beside=True))
        self._record("transfer.failed", by=self._name(state.agent), to=consult.name, reason=why, channel="voice")

    def _complete(self, now: float, *, gone: bool = False) -> None:
        """The caller is left to whoever was asked. *gone*: the agent's phone is down already."""
        state, consult = self.state, self.state.consult
        assert state.leg is not None
        assert state.agent_leg is not None
        assert consult is not None
        agent, since = state.agent, state.since
        self._hold_over(now)
        self._out.append(e.JoinLegs(state.leg, consult.leg))
        if not gone:
            self._out.append(e.DropAgent(state.leg, state.agent_leg))
        self._release_voice(wrap_up=True, by="agent", now=now)
        state.since = since  # whoever is handed on keeps the place
        state.consult, state.agent_leg = None, consult.leg
        self._record("transfer.completed", by=self._name(agent), to=consult.name, channel="voice")
        if consult.to is None:
            self._move_call(e.ReleaseAgent)
            state.outside = consult.name
            return
        assert consult.queue is not None
        state.agent, state.queue = consult.to, consult.queue
        state.names[consult.to] = consult.name
        self._out.append(e.AssignAgent(consult.to, "voice", consult.queue))
        self._out.append(e.ReleaseAgent(consult.to, "voice", wrap_up=False, beside=True))
        self._record("agent.joined", name=consult.name, channel="voice")

    # --- handing on without a word

    def _call_transferred(self, event: e.CallTransferred, facts: Facts, now: float) -> None:
        state = self.state
        assert state.leg is not None
        assert state.agent_leg is not None
        assert state.queue is not None
        since, agent_leg = state.since, state.agent_leg
        self._move_call(e.CallTransferred)
        state.call_transfers += 1
        transfer = CallTransfer(event.agent, state.queue, now, event.to, event.to_name, event.number, event.note, state.skills)
        self._transfer_line("transfer.started", transfer, queue=event.queue, note=event.note, warm=False)
        self._hold_over(now)
        self._out.append(e.DropAgent(state.leg, agent_leg))
        self._release_voice(wrap_up=True, by="agent", now=now)
        state.call_transfer, state.since = transfer, since
        if event.number is not None:
            self._move_call(e.ConnectAgent)
            self._out.append(e.PlayMusic(state.leg, self._limits.calls.hold_music))
            state.outside = event.number
            state.agent_leg = self._ring(f"tel:{event.number}", timeout=self._limits.calls.ring, sender=state.our_number)
            return
        assert event.queue is not None
        if event.queue != state.queue:
            state.skills = tuple(skill for skill in state.skills if skill.startswith(LANGUAGE_SKILL))
        state.queue = event.queue
        self._line_up(e.JoinQueue, facts, now, only=event.to)

    def _transfer_line(
        self, kind: Literal["transfer.started", "transfer.failed"], transfer: CallTransfer, **more: object
    ) -> None:
        to = transfer.number or transfer.to_name or transfer.to
        self._record(kind, by=self._name(transfer.by), to=to, channel="voice", **more)

    def _call_transfer_failed(self, why: str, facts: Facts, now: float) -> None:
        """Back to who handed it on; when they do not take it either, to whoever takes their queue's calls."""
        state = self.state
        transfer, state.call_transfer = state.call_transfer, None
        assert transfer is not None
        assert transfer.of is not None
        self._transfer_line("transfer.failed", transfer, reason=why)
        state.queue, state.skills = transfer.of, transfer.skills
        self._line_up(None, facts, now, only=transfer.by)

    def _call_preference_over(self, why: str, facts: Facts, now: float) -> None:
        """The one agent does not take it."""
        state = self.state
        state.timers.pop("call_prefer", None)
        if state.call_transfer is not None:
            self._call_transfer_failed(why, facts, now)
        else:
            state.call_prefer = None
            self._out.append(self._place())

    # --- the line

    def _line_up(self, because: type[e.JoinQueue] | None, facts: Facts, now: float, *, only: e.AgentId | None = None) -> None:
        """Stand in line (again), with music.

        Args:
            because: What moves the call leg there; None: it stands there.
            facts: What the flow may read.
            now: Seconds since the epoch.
            only: Who alone is asked, at first.
        """
        state = self.state
        assert state.leg is not None
        if because is not None:
            self._move_call(because)
        state.since = now if state.since is None else state.since
        state.call_prefer = only
        patience = self._limits.calls.transfer_ring
        if only is not None and patience > 0:
            state.timers["call_prefer"] = now + patience
        self._out.append(self._place())
        self._record("queue.joined", queue=state.queue, channel="voice", waited=self._waited(now))
        if not self._resume(o.Requeued(), facts, now):
            self._out.append(e.PlayMusic(state.leg, self._limits.calls.hold_music))

    def _place(self) -> e.JoinQueue:
        """The place in line for an agent who is to talk."""
        state = self.state
        assert state.queue is not None
        assert state.since is not None
        return e.JoinQueue(state.queue, "voice", state.since, state.priority, voice_skills(state))

    def _join_voice(self, output: o.JoinQueue, now: float) -> None:
        state = self.state
        self._move_call(e.JoinQueue)
        state.queue, state.since, state.whisper = e.QueueId(output.queue), output.since, output.whisper
        state.priority, state.skills = output.priority, output.skills
        state.card.update(output.card)
        self._out.append(self._place())
        self._record("queue.joined", queue=output.queue, channel="voice", waited=self._waited(now))

    def _leave_voice(self, output: o.LeaveQueue, now: float) -> None:
        state = self.state
        if state.call not in {CallState.QUEUED, CallState.CONNECTING}:
            return
        self._move_call(e.LeaveQueue)
        if state.leg is not None and state.agent_leg is not None:
            # The caller went while an agent's phone was ringing: it must not ring on.
            self._out.append(e.DropAgent(state.leg, state.agent_leg))
            self._release_voice(wrap_up=False, by="caller", now=now)
        transfer, state.call_transfer, state.call_prefer = state.call_transfer, None, None
        state.timers.pop("call_prefer", None)
        if transfer is not None:
            self._transfer_line("transfer.failed", transfer, reason="left the line")
        outcome: Literal["abandoned", "timed_out", "closed"] = "timed_out"
        if output.outcome in {"abandoned", "callback"}:
            outcome = "abandoned" if output.outcome == "abandoned" else "closed"
        self._out.append(e.LeaveQueue("voice", outcome))
        self._record("queue.left", outcome=output.outcome, waited=self._waited(now))

    # --- calls of ours

    def _agent_called(self, event: e.AgentCalled) -> None:
        state = self.state
        self._move_call(e.AgentCalled)
        state.names[event.agent] = event.name
        state.agent, state.queue = event.agent, event.queue
        self._out.append(e.AssignAgent(event.agent, "voice", event.queue))
        self._summon(event.address)

    def _summon(self, address: str) -> None:
        """The agent's phone first: no customer picks up and hears nobody."""
        state = self.state
        number = self._to_call
        assert number is not None
        state.call_legs += 1
        state.leg = e.LegId(f"{state.id}/call{state.call_legs}")
        self._out.append(e.OpenCall(state.leg, number))
        state.agent_leg = self._ring(address, timeout=self._limits.agent_ring)

    @property
    def _to_call(self) -> str | None:
        """Whom a call of ours goes to."""
        callback = self.state.callback
        return self.state.customer if callback is None else callback.number

    def _dial(self) -> None:
        state = self.state
        number = self._to_call
        assert state.leg is not None
        assert number is not None
        self._out.append(e.DialCustomer(state.leg, number, state.our_number, self._limits.calls.ring))
        self._record("call.placed", name=self._name(state.agent), number=number, sender=state.our_number)

    def _customer_answered(self, now: float) -> None:
        self._move_call(e.CustomerAnswered)
        self._record("customer.answered")
        self._agent_joins(now)

    def _not_reached(self, cause: str) -> None:
        """A call of ours that the customer has not picked up."""
        outcome = outcome_of(cause)
        self._record("call.not_reached", outcome=outcome, status=cause)
        self.state.reason = outcome

    # --- calling back

    def _callback_promised(self, output: o.CallbackPromised, now: float) -> None:
        """The caller will be called back, and hangs up in a moment."""
        state = self.state
        number = output.number or state.customer
        assert number is not None, "who has no number is promised nothing"
        settled = state.callback is not None and state.queue == output.queue
        if not settled or output.skills:
            state.skills = output.skills
        if not settled:
            state.priority = output.priority
        state.queue, state.whisper = e.QueueId(output.queue), output.whisper or state.whisper
        state.card.update(output.card)
        self._want_callback(Callback(number, now, "caller", output.since, output.due_at, output.promised_by), now)

    def _callback_asked(self, event: e.CallbackAsked, now: float) -> None:
        state = self.state
        assert state.customer is not None
        self._move_call(e.CallbackAsked)
        state.queue, state.whisper = event.queue, event.reason or None
        since = now if event.due_at is None else max(now, event.due_at)
        self._want_callback(Callback(state.customer, now, event.author, since, event.due_at), now)
        if event.due_at is not None and event.due_at > now:
            self._move_call(e.LeaveQueue)
            self._await_callback(now)
        else:
            self._stand_for_callback(now)

    def _want_callback(self, callback: Callback, now: float) -> None:
        state = self.state
        state.callback = callback
        state.timers["callback_over"] = (callback.due_at or now) + self._limits.calls.callback_expire
        self._record(
            "callback.asked",
            number=callback.number,
            by=callback.by,
            queue=state.queue,
            due_at=callback.due_at,
            promised_by=callback.promised_by,
        )

    def _await_callback(self, now: float) -> None:
        """Stand in line to be called back, or wait until it is time to."""
        state, callback = self.state, self.state.callback
        assert callback is not None
        if callback.due_at is not None and callback.due_at > now:
            state.timers["callback"] = callback.due_at
            return
        self._move_call(e.JoinQueue)
        self._stand_for_callback(now)

    def _stand_for_callback(self, now: float) -> None:
        state, callback = self.state, self.state.callback
        assert callback is not None
        state.since = callback.since
        self._out.append(self._place())
        self._record("queue.joined", queue=state.queue, channel="voice", waited=self._waited(now))

    def _callback_goes_on(self, was: CallState, cause: str, now: float) -> None:
        """A call is over in which the customer may still be owed one."""
        state, callback = self.state, self.state.callback
        if callback is None:
            return
        if state.text in {TextLeg.INVITED, TextLeg.QUEUED, TextLeg.CHATTING}:
            self._drop_callback("text")  # they rather write
            return
        if was is CallState.DIALING:
            callback = replace(callback, tries=callback.tries + 1, due_at=now + self._limits.calls.callback_retry)
            state.callback = callback
            self._record("callback.tried", tries=callback.tries, outcome=outcome_of(cause))
            if callback.tries >= self._limits.calls.callback_tries:
                self._callback_given_up("not reached")
                return
        self._await_callback(now)

    def _callback_given_up(self, why: str) -> None:
        """Nobody was reached: say so where it can be said."""
        state, callback = self.state, self.state.callback
        assert callback is not None
        self._leave_callback_line()
        state.callback = None
        self._forget_callback_timers()
        self._record("callback.failed", reason=why, tries=callback.tries)
        state.reason = f"callback {why}"
        if self._why_silent() is None:
            self._say("callback_missed" if why == "not reached" else "callback_expired")

    def _drop_callback(self, by: str) -> None:
        """The customer is not owed a call any more."""
        self._leave_callback_line()
        self.state.callback = None
        self._forget_callback_timers()
        if self.state.call in NO_CALL:
            self.state.reason = "callback cancelled"
        self._record("callback.cancelled", by=by)

    def _leave_callback_line(self) -> None:
        if self.state.call is CallState.CALLBACK:
            self._move_call(e.LeaveQueue)
            self._out.append(e.LeaveQueue("voice", "closed"))

    def _callback_done(self) -> None:
        """The customer talks to an agent."""
        if self.state.callback is not None:
            self.state.callback = None
            self._forget_callback_timers()
            self._record("callback.done")

    def _forget_callback_timers(self) -> None:
        for timer in ("callback", "callback_over"):
            self.state.timers.pop(timer, None)

    def _callback_started(self, event: e.CallbackStarted) -> None:
        """An agent takes it out of its turn."""
        state = self.state
        assert state.queue is not None
        self._move_call(e.CallbackStarted)
        state.timers.pop("callback", None)
        state.names[event.agent] = event.name
        state.agent = event.agent
        self._out.append(e.AssignAgent(event.agent, "voice", state.queue))
        self._record("agent.accepted", name=event.name, channel="voice")
        self._summon(event.address)

    def _callback_merged(self) -> None:
        """The customer has not waited and calls: nobody has to call them, and the place is theirs."""
        state, callback = self.state, self.state.callback
        assert callback is not None
        if state.call is CallState.CALLBACK:
            self._out.append(e.LeaveQueue("voice", "closed"))
        state.timers.pop("callback", None)
        self._record("callback.merged")

    def _takes_back(self, body: str) -> bool:
        """Whether a text takes back the wish to be called; then it is."""
        word = body.strip().strip(".!").casefold()
        if (
            word not in CANCEL_WORDS
            or self.state.callback is None
            or self.state.call not in {CallState.CALLBACK, CallState.ENDED}
        ):
            return False
        self._drop_callback("customer")
        return True
