"""The rules of one conversation: one customer, one session, a call leg and a text leg.

The tables in `bridge.legs` say what may follow what. What we *do* about an event is the `match` in `Session.handle`.
An event that a table does not have in the leg's state is refused and changes nothing.

The session does no I/O. It does not know whether its call comes by SIP or from a browser, who carries its texts, or
which agents there are; it says what it wants as commands and is told what came of them as events.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from bridge import events as e
from bridge.legs import CALL, LIVE, TEXT, CallState, Kind, TextLeg
from ivr_flows import outputs as o
from ivr_flows.facts import Facts
from ivr_flows.model import Flow
from ivr_flows.run import FlowRun, ResumeRefused


class UnexpectedEvent(Exception):  # noqa: N818  # the name every state machine of ours uses
    """The event cannot happen in this state. Nothing has changed."""


Words: TypeAlias = Callable[[str, str], str]
"""The number's own texts (`hello`, `stop`, `start`, `help`, `rescue`, `in_call`) in a language."""


class State(msgspec.Struct, kw_only=True):
    """Everything a session remembers; goes through JSON unharmed, so that a restart finds it as it was."""

    id: e.SessionId
    opened_at: float
    customer: str | None
    our_number: str
    desk: e.QueueId | None
    """The SMS queue that takes this session's chats."""
    language: str
    introduced: bool
    """The customer has had a text that says who we are and how to stop us."""
    flow_revision: str | None = None
    run: dict[str, Any] | None = None
    provider: str | None = None
    call: CallState = CallState.NONE
    text: TextLeg = TextLeg.NONE
    leg: e.LegId | None = None
    agent_leg: e.LegId | None = None
    agent_legs: int = 0
    agent: e.AgentId | None = None
    """Who has, or is being rung for, the call."""
    chat_agent: e.AgentId | None = None
    names: dict[e.AgentId, str] = {}
    queue: e.QueueId | None = None
    chat_queue: e.QueueId | None = None
    since: float | None = None
    """The place in line, whatever leg waits; None again once an agent has served the customer."""
    priority: int = 1
    skills: tuple[str, ...] = ()
    """Of the place in the call's queue."""
    wrapping: list[e.AgentId] = []
    texts: int = 0
    said: list[str] = []
    """The desks' names of the latest texts."""
    refs: dict[e.MessageId, int] = {}
    """Texts of the flow: our id to the flow's ref."""
    playing: dict[int, list[o.Spoken]] = {}
    path: list[str] = []
    """What the caller chose, in words."""
    card: dict[str, Any] = {}
    whisper: str | None = None
    answers: dict[str, str] = {}
    unanswered: bool = False
    """The customer wrote and nobody who could answer has it yet."""
    asked: bool = False
    """A hold-time question waits for the next text."""
    timers: dict[str, float] = {}
    closed_at: float | None = None
    why_not_text: str | None = None
    """Why this customer cannot be texted at all, None when they can."""


class Limits(msgspec.Struct, frozen=True):
    """How long a session waits for what, in seconds."""

    reply_window: float = 86_400.0
    open_window: float = 1_800.0
    chat_idle: float = 86_400.0
    wrap_up: float = 3_600.0
    wrap_up_reply: float = 60.0
    """For the agent who is writing up to answer a text that comes afterwards; then it goes to the desk."""
    agent_ring: float = 20.0
    """An agent's phone, once the agent has accepted."""


_CALL_EVENTS = (
    e.CallArrived, e.DigitsReceived, e.PromptFinished, e.OfferDecided, e.AgentLegAnswered, e.AgentLegFailed, e.AudioConnected,
    e.AgentLegEnded, e.CallEnded, e.AgentHungUp,
)  # fmt: skip
_TEXT_EVENTS = (e.TextArrived, e.AgentEndedChat, e.AgentLost)
_AFTERWARDS = (e.TextAccepted, e.TextRejected, e.TextReported, e.WrapUpNoted)
"""What may still come in when a session is closed."""
_AGENT_LEG_EVENTS = (e.AgentLegAnswered, e.AgentLegFailed, e.AudioConnected, e.AgentLegEnded)
_BY_CHANNEL = (e.AgentOffered, e.OfferLapsed, e.AgentAccepted)
REMEMBERED = 20
"""Texts of agents that are known again when they are asked for twice."""
_HOLD_TEXT, _DEFLECT_TEXT, _FLOW_TEXT, _AGENT_TEXT = 2, 1, 2, 0
_DELIVERED = frozenset({"delivered", "read"})
_FAILED = frozenset({"undelivered", "failed", "canceled"})


class Session:
    """The rules of one conversation. No I/O.

    Give `handle` what happened and perform the commands it returns, in order; call `wake` when the clock reaches
    `wake_at`.

    Args:
        state: A new one, or one that `state_json` gave earlier.
        flow: What a call meets, in the revision this session began with; None for a session without a call.
        words: The system's own texts.
    """

    def __init__(self, state: State, *, flow: Flow | None, words: Words, limits: Limits = Limits()) -> None:  # noqa: B008  # frozen
        self.state = state
        self._flow = flow
        self._words = words
        self._limits = limits
        self._out: list[e.AnyCommand] = []
        self._unsent: list[int] = []
        """Texts the flow wanted sent just now and that could not be: it has to hear of it before the caller does."""
        self._run = FlowRun.restore(flow, state.run) if flow is not None and state.run is not None else None

    # --- the outside

    @property
    def wake_at(self) -> float | None:
        """When `wake` has something to do; None when only an event can."""
        times = [*self.state.timers.values(), *([] if self._flow_due is None else [self._flow_due])]
        return min(times, default=None)

    @property
    def _flow_due(self) -> float | None:
        """When the flow's clock is due. It stands still while an agent's phone rings: nobody is told "nobody is there" then."""
        if self._run is None or self.state.call is CallState.CONNECTING:
            return None
        return self._run.wake_at

    @property
    def closed(self) -> bool:
        """Nothing is expected any more."""
        return self.state.closed_at is not None

    def state_json(self) -> bytes:
        """The whole state, for the journal."""
        self.state.run = self._run.snapshot() if self._run is not None else None
        return msgspec.json.encode(self.state)

    def composer(self, agent: e.AgentId) -> str | None:
        """Why *agent* may not text the customer now, in words fit to show; None when they may."""
        state = self.state
        if state.text is TextLeg.OPTED_OUT:
            return "The customer sent STOP. Texting opens again when they send START."
        if state.customer is None:
            return "The caller withheld the number, so there is nowhere to text."
        if state.why_not_text is not None:
            return state.why_not_text
        on_call = agent == state.agent and state.call is CallState.CONNECTED
        if on_call or (agent in state.wrapping and state.closed_at is None) or agent == state.chat_agent:
            return None
        return "You are not connected to this customer."

    def handle(self, event: e.AnyEvent, *, now: float, facts: Facts) -> list[e.AnyCommand]:  # noqa: C901, PLR0912, PLR0915  # flat
        """Apply *event*.

        Args:
            event: What happened.
            now: Seconds since the Unix epoch.
            facts: What the flow may read at this instant.

        Raises:
            UnexpectedEvent: *event* cannot happen in this state. Nothing has changed.
        """
        self._check(event)
        self._out = []
        match event:
            case e.CallArrived():
                self._call_arrived(event, facts, now)
            case e.DigitsReceived():
                self._resume(o.Keys(event.digits), facts, now)
            case e.PromptFinished():
                self._prompt_finished(event, facts, now)
            case e.OfferDecided():
                self._record("offer.decided", kind=event.kind, offer=event.offer, reason=event.reason, inputs=dict(event.inputs))
                self._resume(o.OfferVerdict(event.request, event.offer, event.reason), facts, now)
            case e.AgentOffered():
                self._record("agent.offered", agent=event.agent, channel=event.channel)
            case e.OfferLapsed():
                self._record("offer.lapsed", agent=event.agent, channel=event.channel, reason=event.reason)
            case e.AgentAccepted():
                self._agent_accepted(event, now)
            case e.AgentLegAnswered():
                self._move_call(e.AgentLegAnswered)
                self.state.unanswered = False
                self._record("agent.joined", name=self._name(self.state.agent), channel="voice")
                self._resume(o.AgentAnswered(), facts, now)
            case e.AgentLegFailed():
                self._agent_leg_failed(event)
            case e.AudioConnected():
                self._record("audio.connected")
            case e.AgentLegEnded():
                self._agent_leg_ended(event, facts, now)
            case e.AgentHungUp():
                assert self.state.leg is not None
                assert self.state.agent_leg is not None
                self._out.append(e.DropAgent(self.state.leg, self.state.agent_leg))
            case e.CallEnded():
                self._call_ended(event.by, event.cause, facts, now)
            case e.TextArrived():
                self._text_arrived(event, facts, now)
            case e.TextAccepted():
                pass
            case e.TextRejected():
                self._text_rejected(event, facts, now)
            case e.TextReported():
                self._text_reported(event, facts, now)
            case e.OptOutChanged():
                self._opt_out_changed(event, facts, now)
            case e.AgentSaid():
                self._agent_said(event, now)
            case e.AgentEndedChat():
                self._chat_ended("agent", now)
            case e.WrapUpNoted():
                self._wrap_up_noted(event, now)
            case e.AgentLost():
                self._agent_lost(event)
            case e.ProcessRestarted():  # pragma: no branch  # there is no other event
                self._restarted(facts, now)
        self._settle(now)
        return self._out

    def wake(self, *, now: float, facts: Facts) -> list[e.AnyCommand]:
        """Do what is due at *now*; nothing when nothing is."""
        self._out = []
        timers = self.state.timers
        if self._run is not None and self._flow_due is not None and self._flow_due <= now:
            self._perform(self._run.wake(facts, now=now), facts, now)
        # In the order in which they came due, also after a night in which nobody looked.
        for name in sorted((name for name, at in timers.items() if at <= now), key=lambda name: timers[name]):
            if timers.get(name, now + 1.0) > now:
                continue  # what was due earlier has moved it
            del timers[name]
            if name == "wrap_up":
                self.state.wrapping = []
                self._nobody_left(now)
            else:
                self._text_timed_out(now)
        self._settle(now)
        return self._out

    # --- what is allowed

    def _check(self, event: e.AnyEvent) -> None:
        state, kind = self.state, type(event)
        if state.closed_at is not None and not isinstance(event, _AFTERWARDS):
            raise UnexpectedEvent(f"{kind.__name__}: the session is closed")
        on_call = isinstance(event, _CALL_EVENTS) or (isinstance(event, _BY_CHANNEL) and event.channel == "voice")
        on_text = isinstance(event, _TEXT_EVENTS) or (isinstance(event, _BY_CHANNEL) and event.channel == "sms")
        if on_call and kind not in CALL[state.call]:
            raise UnexpectedEvent(f"{kind.__name__} on a call leg that is {state.call}")
        if on_text and kind not in TEXT[state.text]:
            raise UnexpectedEvent(f"{kind.__name__} on a text leg that is {state.text}")
        if isinstance(event, e.AgentSaid):
            why = self.composer(event.agent)
            if why is not None:
                raise UnexpectedEvent(why)
        if isinstance(event, _AGENT_LEG_EVENTS) and event.agent_leg != state.agent_leg:
            raise UnexpectedEvent(f"{kind.__name__} of an agent leg that is not ours")
        if isinstance(event, e.AgentHungUp) and event.agent != state.agent:
            raise UnexpectedEvent("AgentHungUp by an agent who does not have the call")
        if isinstance(event, e.AgentEndedChat | e.AgentLost) and event.agent != state.chat_agent:
            raise UnexpectedEvent(f"{kind.__name__} of an agent who does not have the chat")

    def _move_call(self, kind: Kind) -> None:
        self.state.call = CALL[self.state.call][kind]

    def _move_text(self, kind: Kind) -> None:
        self.state.text = TEXT[self.state.text][kind]

    # --- the call leg

    def _call_arrived(self, event: e.CallArrived, facts: Facts, now: float) -> None:
        state = self.state
        self._move_call(e.CallArrived)
        state.leg, state.provider = event.leg, event.provider
        self._record("call.arrived", caller=event.caller, called=event.called)
        if self._flow is None:
            self._move_call(e.RefuseCall)
            self._out.append(e.RefuseCall(event.leg, 404))
            return
        state.flow_revision = self._flow.revision
        self._run, outputs = FlowRun.start(self._flow, facts, now=now)
        self._perform(outputs, facts, now)

    def _prompt_finished(self, event: e.PromptFinished, facts: Facts, now: float) -> None:
        spoken = self.state.playing.pop(event.play, None)
        if spoken is not None:
            words = " ".join(item.text for item in spoken)
            keys = [item.key for item in spoken]
            self._record("prompt.played", keys=keys, words=words, heard=round(event.heard, 2), completed=event.completed)
        self._resume(o.PromptFinished(event.play, event.completed), facts, now)

    def _agent_accepted(self, event: e.AgentAccepted, now: float) -> None:
        state = self.state
        state.names[event.agent] = event.name
        if event.channel == "sms":
            self._move_text(e.AgentAccepted)
            state.chat_agent = event.agent
            state.timers["text"] = now + self._limits.chat_idle
            self._record("agent.joined", name=event.name, channel="sms")
            return
        assert state.leg is not None
        self._move_call(e.AgentAccepted)
        state.agent = event.agent
        state.agent_legs += 1
        state.agent_leg = e.LegId(f"{state.leg}/agent{state.agent_legs}")
        self._record("agent.accepted", name=event.name, channel="voice")
        self._out.append(e.ConnectAgent(state.leg, state.agent_leg, event.address or "", self._limits.agent_ring))

    def _agent_leg_failed(self, event: e.AgentLegFailed) -> None:
        """The phone was not picked up: the caller stands in line as before, at the same place."""
        state = self.state
        self._move_call(e.AgentLegFailed)
        self._record("agent.unreachable", name=self._name(state.agent), status=event.status, reason=event.reason)
        assert state.agent is not None
        self._out.append(e.ReleaseAgent(state.agent, "voice", wrap_up=False))
        state.agent = state.agent_leg = None
        assert state.queue is not None
        assert state.since is not None
        self._out.append(e.JoinQueue(state.queue, "voice", state.since, state.priority, state.skills))

    def _agent_leg_ended(self, event: e.AgentLegEnded, facts: Facts, now: float) -> None:
        self._move_call(e.AgentLegEnded)
        # We end an agent's leg alone only when the agent wants it so, at the desk.
        self._release_voice(wrap_up=True, by="agent" if event.by == "platform" else event.by, now=now)
        self._resume(o.AgentEnded(), facts, now)

    def _release_voice(self, *, wrap_up: bool, by: str, now: float) -> None:
        state = self.state
        if state.agent is None:
            return
        self._record("agent.left", name=self._name(state.agent), channel="voice", by=by)
        self._release(state.agent, "voice", wrap_up=wrap_up, now=now)
        state.agent = state.agent_leg = None
        if wrap_up:
            self._place_used()

    def _place_used(self) -> None:
        """What comes after being served is a new place in line, unless the other leg still has this one."""
        state = self.state
        if state.call not in {CallState.QUEUED, CallState.CONNECTING} and state.text not in {TextLeg.QUEUED, TextLeg.CHATTING}:
            state.since = None

    def _release(self, agent: e.AgentId, channel: e.Channel, *, wrap_up: bool, now: float) -> None:
        self._out.append(e.ReleaseAgent(agent, channel, wrap_up=wrap_up))
        if wrap_up:
            if agent not in self.state.wrapping:
                self.state.wrapping.append(agent)
            self.state.timers["wrap_up"] = now + self._limits.wrap_up

    def _call_ended(self, by: e.EndedBy, cause: str, facts: Facts, now: float) -> None:
        state, was = self.state, self.state.call
        self._move_call(e.CallEnded)
        self._record("call.ended", by=by, cause=cause)
        if was is CallState.QUEUED:
            self._out.append(e.LeaveQueue("voice", "abandoned"))
        else:
            self._release_voice(wrap_up=was is CallState.CONNECTED, by=by, now=now)
        if was in {CallState.QUEUED, CallState.CONNECTING}:
            # Also while an agent's phone rings nobody has answered yet.
            self._record("queue.left", outcome="abandoned", waited=self._waited(now))
        if cause == "restart" and was in LIVE:
            self._cut_off(facts, now)
        else:
            self._resume(o.CallEnded(), facts, now)
        state.playing.clear()
        if not state.wrapping:
            self._nobody_left(now)

    # --- the text leg

    def _text_arrived(self, event: e.TextArrived, facts: Facts, now: float) -> None:
        state = self.state
        self._record(
            "text.received",
            message=event.message,
            body=event.body,
            media=[msgspec.to_builtins(item) for item in event.media],
            media_lost=event.media_lost,
            keyword=event.keyword,
            confidence=event.confidence,
            why=event.why,
        )
        was = state.text
        self._move_text(e.TextArrived)
        if event.keyword is not None:
            self._keyword(event, event.keyword, facts, now, invited=was is TextLeg.INVITED)
            return
        if state.text is TextLeg.OPTED_OUT:
            return
        if was is TextLeg.CHATTING:
            state.timers["text"] = now + self._limits.chat_idle
        elif was is TextLeg.INVITED and state.call in LIVE:
            state.unanswered = state.call is not CallState.CONNECTED
            self._reply_is_delivery(facts, now)
        elif state.call in LIVE:
            answers = self._resume(o.TextReceived(event.body, len(event.media)), facts, now)
            if not answers and state.call is not CallState.CONNECTED:
                state.unanswered = True
        elif was is TextLeg.QUEUED:
            pass
        elif state.wrapping:
            state.unanswered = True
            state.timers["wrap_up"] = min(state.timers["wrap_up"], now + self._limits.wrap_up_reply)
        else:
            self._join_desk(now, greet=was is TextLeg.NONE or not state.introduced)

    def _reply_is_delivery(self, facts: Facts, now: float) -> None:
        """A reply can overtake the delivery report; the text must have arrived, so the caller need not wait for it."""
        for ref in list(self.state.refs.values()):
            self._resume(o.TextDelivered(ref), facts, now)

    def _join_desk(self, now: float, *, greet: bool) -> None:
        """Stand in line for a chat, with the place that the call had."""
        state = self.state
        if state.desk is None:
            return
        if greet:
            self._say("hello", now, author="system", priority=_DEFLECT_TEXT)
        if state.since is None:
            state.since = now
        self._move_text(e.JoinQueue)
        state.chat_queue = state.desk
        state.unanswered = False
        state.timers.pop("text", None)
        self._out.append(e.JoinQueue(state.desk, "sms", state.since))
        self._record("queue.joined", queue=state.desk, channel="sms", waited=self._waited(now))

    def _keyword(self, event: e.TextArrived, keyword: e.Keyword, facts: Facts, now: float, *, invited: bool) -> None:
        state = self.state
        evidence = f"message {event.message}"
        match keyword:
            case "stop" if state.text is not TextLeg.OPTED_OUT:
                self._leave_text(now)
                self._move_text(e.OptOut)
                self._out.append(e.OptOut(event.sender, event.recipient, evidence))
                self._record("opted_out", word=event.body.strip())
                if not event.answered_by_provider:
                    self._say("stop", now, author="system", required=True)
                if invited:
                    self._back_to_the_call(facts, now)
            case "start":
                self._out.append(e.OptIn(event.sender, event.recipient, evidence))
                self._record("opted_in", word=event.body.strip())
                if state.text is TextLeg.OPTED_OUT:
                    self._move_text(e.OptIn)
                if not event.answered_by_provider:
                    self._say("start", now, author="system", required=True)
            case "help" if not event.answered_by_provider:
                self._say("help", now, author="system", required=True)
            case _:
                pass
        if state.call not in LIVE and state.text is TextLeg.OPEN:
            state.timers["text"] = now + self._limits.open_window

    def _leave_text(self, now: float) -> None:
        """Take the text leg out of the line or out of the agent's hands; the call, if any, is left alone."""
        state = self.state
        if state.text is TextLeg.QUEUED:
            self._out.append(e.LeaveQueue("sms", "opted_out"))
        if state.chat_agent is not None:
            self._release(state.chat_agent, "sms", wrap_up=True, now=now)
            self._record("agent.left", name=self._name(state.chat_agent), channel="sms", by="caller")
            state.chat_agent = None
        state.timers.pop("text", None)
        state.unanswered = False

    def _back_to_the_call(self, facts: Facts, now: float) -> None:
        """A caller who wants no texts must not be left without a call either."""
        for ref in list(self.state.refs.values()):
            self._resume(o.TextFailed(ref, "opted_out"), facts, now)

    def _opt_out_changed(self, event: e.OptOutChanged, facts: Facts, now: float) -> None:
        """What the customer wrote in another conversation holds here too; the ledger has it already."""
        was = self.state.text
        if event.opted_out and was is not TextLeg.OPTED_OUT:
            self._leave_text(now)
            self._move_text(e.OptOut)
            self._record("opted_out", word=None)
            if was is TextLeg.INVITED:
                self._back_to_the_call(facts, now)
        elif not event.opted_out and was is TextLeg.OPTED_OUT:
            self._move_text(e.OptIn)
            self._record("opted_in", word=None)

    def _agent_said(self, event: e.AgentSaid, now: float) -> None:
        if event.once is not None:
            if event.once in self.state.said:
                return  # the answer to the first time was lost on its way to the desk
            self.state.said = [*self.state.said[-(REMEMBERED - 1) :], event.once]
        if not self.state.introduced:
            self._say("in_call" if self.state.call in LIVE else "hello", now, author="system", priority=_AGENT_TEXT)
        self._send(event.body, now, author=f"agent:{event.agent}", priority=_AGENT_TEXT, preset=event.preset)
        self.state.unanswered = False
        if self.state.text is TextLeg.CHATTING:
            self.state.timers["text"] = now + self._limits.chat_idle
        elif self.state.call not in LIVE and self.state.text is TextLeg.OPEN:
            self.state.timers["text"] = now + self._limits.open_window
        if event.agent in self.state.wrapping:
            self.state.timers["wrap_up"] = now + self._limits.wrap_up

    def _text_rejected(self, event: e.TextRejected, facts: Facts, now: float) -> None:
        self._record("text.failed", message=event.message, code=event.code, explanation=event.explanation)
        if event.error_class == "opted_out" and self.state.text is not TextLeg.OPTED_OUT and self.state.customer is not None:
            self._leave_text(now)
            self._move_text(e.OptOut)
            self._out.append(e.OptOut(self.state.customer, self.state.our_number, f"provider code {event.code}"))
            self._record("opted_out", word="(known to the provider)")
        ref = self.state.refs.get(event.message)
        if ref is not None:
            self._resume(o.TextFailed(ref, event.error_class), facts, now)

    def _text_reported(self, event: e.TextReported, facts: Facts, now: float) -> None:
        ref = self.state.refs.get(event.message)
        if event.state in _FAILED:
            self._record("text.failed", message=event.message, code=event.code, explanation=event.state)
        if ref is None:
            return
        if event.state in _DELIVERED:
            self._resume(o.TextDelivered(ref), facts, now)
        elif event.state in _FAILED:
            self._resume(o.TextFailed(ref, event.code or event.state), facts, now)

    def _chat_ended(self, by: str, now: float) -> None:
        state = self.state
        agent = state.chat_agent
        assert agent is not None
        self._release(agent, "sms", wrap_up=True, now=now)
        self._move_text(e.AgentEndedChat)
        self._record("chat.ended", by=by, name=self._name(agent))
        state.chat_agent = None
        state.timers.pop("text", None)
        self._place_used()

    def _text_timed_out(self, now: float) -> None:
        state = self.state
        if self._nobody_left(now):
            return
        state.unanswered = False
        if state.chat_agent is not None:
            self._release(state.chat_agent, "sms", wrap_up=False, now=now)
            state.chat_agent = None
            self._record("chat.ended", by="timeout", name=None)
        else:
            self._record("text.lapsed", invited=state.text is TextLeg.INVITED)
        self._move_text(e.CloseSession)
        self._place_used()

    def _agent_lost(self, event: e.AgentLost) -> None:
        """The agent's desk is gone: the chat goes back to the place it had."""
        state = self.state
        self._move_text(e.AgentLost)
        self._out.append(e.ReleaseAgent(event.agent, "sms", wrap_up=False))
        self._record("agent.left", name=self._name(event.agent), channel="sms", by="network")
        state.chat_agent = None
        state.timers.pop("text", None)
        self._back_in_line()

    def _back_in_line(self) -> None:
        """Stand in line for a chat again, at the place there was."""
        state = self.state
        assert state.chat_queue is not None
        assert state.since is not None
        self._out.append(e.JoinQueue(state.chat_queue, "sms", state.since))

    # --- the whole session

    def _restarted(self, facts: Facts, now: float) -> None:
        """The server was gone. Texts and places are as they were; a call cannot be."""
        state = self.state
        self._record("server.restarted")
        was = state.call
        if was not in {CallState.NONE, CallState.ENDED}:
            self._move_call(e.ProcessRestarted)
            self._record("call.ended", by="platform", cause="restart")
            state.agent = state.agent_leg = None
            state.playing.clear()
            if was in LIVE:
                self._cut_off(facts, now)
            else:
                self._resume(o.CallEnded(), facts, now)
            if not state.wrapping:
                self._nobody_left(now)
        if state.text is TextLeg.QUEUED and not any(isinstance(command, e.JoinQueue) for command in self._out):
            self._back_in_line()

    def _cut_off(self, facts: Facts, now: float) -> None:
        """It was us who ended the call."""
        state = self.state
        if state.text is TextLeg.OPEN and state.desk is not None:
            # The caller agreed to be texted in this call: say that it was us, and keep the place. What the flow has to
            # say to callers who hung up would not be true.
            self._run = None
            self._say("rescue", now, author="system", priority=_DEFLECT_TEXT)
            state.timers["text"] = now + self._limits.reply_window
        else:
            self._resume(o.CallEnded(), facts, now)

    def _wrap_up_noted(self, event: e.WrapUpNoted, now: float) -> None:
        state = self.state
        if event.agent in state.wrapping:
            state.wrapping.remove(event.agent)
        if not state.wrapping:
            state.timers.pop("wrap_up", None)
            self._nobody_left(now)
        self._record("note.written", name=self._name(event.agent), note=event.note, disposition=event.disposition)

    def _nobody_left(self, now: float) -> bool:
        """Nobody who has the call can answer the customer's text any more: it goes to the desk instead of being forgotten."""
        state = self.state
        desk = state.desk is not None and e.JoinQueue in TEXT[state.text]
        if not state.unanswered or state.call in LIVE or not desk:
            return False
        self._join_desk(now, greet=not state.introduced)
        return True

    def _settle(self, now: float) -> None:
        """What follows from the state alone, whatever led to it."""
        state = self.state
        state.asked = self._run is not None and self._run.asking and state.text is not TextLeg.OPTED_OUT
        if state.call not in {CallState.NONE, CallState.ENDED}:
            return
        if state.text is TextLeg.OPEN:
            state.timers.setdefault("text", now + self._limits.open_window)
        text_over = state.text in {TextLeg.NONE, TextLeg.CLOSED, TextLeg.OPTED_OUT}
        if text_over and not state.wrapping and state.closed_at is None:
            state.closed_at = now
            state.timers.clear()
            self._record("session.closed")
            self._out.append(e.CloseSession("over"))

    # --- the flow

    def _resume(self, resume: o.AnyResume, facts: Facts, now: float) -> bool:
        """Tell the flow, if it is waiting for that (False: it is not); most flows do not wait for most things."""
        if self._run is None:
            return False
        try:
            outputs = self._run.resume(resume, facts, now=now)
        except ResumeRefused:
            return False
        self._perform(outputs, facts, now)
        return True

    def _perform(self, outputs: Iterable[o.Output], facts: Facts, now: float) -> None:
        for output in outputs:
            self._perform_one(output, now)
        while self._unsent:
            self._resume(o.TextFailed(self._unsent.pop(0), "cannot_text"), facts, now)

    def _perform_one(self, output: o.Output, now: float) -> None:  # noqa: C901, PLR0912, PLR0915  # flat
        state = self.state
        match output:
            case o.Answer() if state.call is CallState.RINGING:
                self._call_command(e.AnswerCall)
                self._record("call.answered")
            case o.Play() if state.leg is not None and state.call in LIVE:
                state.playing[output.play] = list(output.prompts)
                audio = tuple(file for prompt in output.prompts for file in prompt.audio)
                self._out.append(e.PlayPrompts(state.leg, output.play, audio, output.barge_in))
            case o.Music() if state.leg is not None and state.call in LIVE:
                self._out.append(e.PlayMusic(state.leg, output.name))
            case o.Silence() if state.leg is not None and state.call in LIVE and state.call is not CallState.CONNECTED:
                self._out.append(e.StopAudio(state.leg))
            case o.LanguageChosen():
                state.language = output.language
                self._record("language.chosen", language=output.language, by=output.by)
            case o.MenuChosen():
                state.path.append(output.target)
                self._record("menu.chosen", prompt=output.prompt, key=output.key, target=output.target)
            case o.Stored():
                state.card[output.name] = output.value
            case o.AskOffer():
                desk = e.QueueId(output.desk) if output.desk else state.desk
                self._out.append(e.DecideOffer(output.request, output.kind, e.QueueId(output.queue), desk))
                state.queue = e.QueueId(output.queue)
            case o.OfferMade():
                self._record("offer.made", kind=output.kind, prompt=output.prompt, words=output.words)
            case o.OfferAnswered():
                self._record("offer.answered", kind=output.kind, answer=output.answer, digit=output.digit)
                assert state.queue is not None
                self._out.append(e.ReportOffer(state.queue, output.answer == "accepted"))
            case o.ConsentGiven():
                self._consent(output)
            case o.SendText():
                self._flow_text(output, now)
            case o.OpenText():
                self._invite(output, now)
            case o.WithdrawText() if state.text is TextLeg.INVITED:
                self._move_text(o.WithdrawText)
                state.timers.pop("text", None)
                self._record("text.withdrawn", why=output.why)
            case o.AnswerStored():
                photos = {0: "", 1: "1 photo"}.get(output.media, f"{output.media} photos")
                state.answers[output.question] = ", ".join(part for part in (output.body, photos) if part)
                self._record("answer.stored", question=output.question, body=output.body, media=output.media)
            case o.JoinQueue():
                self._join_voice(output, now)
            case o.LeaveQueue():
                self._leave_voice(output, now)
            case o.EwtTold():
                self._record("ewt.told", low=output.low_minutes, high=output.high_minutes, words=output.words)
            case o.PositionTold():
                self._record("position.told", position=output.position, words=output.words)
            case o.Promised():
                self._record("promise.made", what=output.what)
            case o.HangUp() if state.call in LIVE:
                self._hang_up(output.reason)
            case o.Ended():
                self._run = None
                self._record("flow.ended", reason=output.reason)
            case o.Trace():
                self._record(
                    "flow.trace",
                    state=output.state,
                    line=output.line,
                    action=output.action,
                    detail=output.detail,
                    values=dict(output.values),
                )
            case _:
                # Sound for a leg that has ended in the same breath: nobody is there to hear it.
                pass

    def _call_command(self, command: type[e.AnswerCall | e.HangUp]) -> None:
        assert self.state.leg is not None
        self._move_call(command)
        self._out.append(command(self.state.leg))

    def _hang_up(self, reason: str) -> None:
        if self.state.call is CallState.RINGING:
            assert self.state.leg is not None
            self._move_call(e.RefuseCall)
            self._out.append(e.RefuseCall(self.state.leg, 603))
        else:
            self._call_command(e.HangUp)
        self._record("call.hung_up", reason=reason)

    def _join_voice(self, output: o.JoinQueue, now: float) -> None:
        state = self.state
        self._move_call(e.JoinQueue)
        state.queue, state.since, state.whisper = e.QueueId(output.queue), output.since, output.whisper
        state.priority, state.skills = output.priority, output.skills
        state.card.update(output.card)
        self._out.append(e.JoinQueue(state.queue, "voice", output.since, output.priority, output.skills))
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
        abandoned = output.outcome == "abandoned"
        self._out.append(e.LeaveQueue("voice", "abandoned" if abandoned else "timed_out"))
        self._record("queue.left", outcome=output.outcome, waited=self._waited(now))

    def _consent(self, output: o.ConsentGiven) -> None:
        state = self.state
        if state.customer is None:
            return
        purpose: e.Purpose = "care" if output.purpose not in {"session", "marketing"} else output.purpose  # type: ignore[assignment]
        evidence = f"digit {output.digit} on {state.leg}"
        self._out.append(e.RecordConsent(state.customer, purpose, output.granted, output.words, output.language, evidence))
        self._record("consent.given", purpose=purpose, granted=output.granted, words=output.words)

    def _flow_text(self, output: o.SendText, now: float) -> None:
        priority = {"deflect": _DEFLECT_TEXT, "hold": _HOLD_TEXT, "flow": _FLOW_TEXT}[output.kind]
        message = self._send(output.body, now, author="flow", priority=priority, preset=output.key, expires_in=output.expires_in)
        if message is None:
            self._unsent.append(output.ref)
            return
        self.state.refs[message] = output.ref
        self.state.introduced = True

    def _invite(self, output: o.OpenText, now: float) -> None:
        state = self.state
        if state.text not in {TextLeg.NONE, TextLeg.OPEN, TextLeg.INVITED} or state.customer is None:
            self._unsent.append(output.ref)
            return
        state.desk, state.since = e.QueueId(output.desk), output.since
        state.card.update(output.carry)
        message = self._send(
            output.body, now, author="flow", priority=_DEFLECT_TEXT, preset=output.key, expires_in=output.expires_in
        )
        assert message is not None
        self._move_text(o.OpenText)
        state.refs[message] = output.ref
        state.introduced = True
        state.timers["text"] = now + self._limits.reply_window

    # --- small things

    def _say(self, key: str, now: float, *, author: str, priority: int = _AGENT_TEXT, required: bool = False) -> None:
        """Send one of the system's own texts."""
        self._send(self._words(key, self.state.language), now, author=author, priority=priority, preset=key, required=required)
        self.state.introduced = True

    def _send(
        self,
        body: str,
        now: float,
        *,
        author: str,
        priority: int,
        preset: str | None = None,
        expires_in: float | None = None,
        required: bool = False,
    ) -> e.MessageId | None:
        """Put a text into the outbox; None when there is nowhere to send it."""
        state = self.state
        if state.customer is None or (state.text is TextLeg.OPTED_OUT and not required):
            return None
        state.texts += 1
        message = e.MessageId(f"{state.id}-{state.texts}")
        expires_at = None if expires_in is None else now + expires_in
        self._move_text(e.SendText)
        self._out.append(
            e.SendText(message, state.customer, state.our_number, body, "session", priority, author, expires_at, required)
        )
        self._record("text.sent", message=message, body=body, author=author, preset=preset, purpose="session")
        return message

    def _record(self, line: str, /, **data: Any) -> None:
        self._out.append(e.Record(line, data))

    def _name(self, agent: e.AgentId | None) -> str | None:
        return None if agent is None else self.state.names.get(agent, agent)

    def _waited(self, now: float) -> float:
        return 0.0 if self.state.since is None else round(now - self.state.since, 1)
