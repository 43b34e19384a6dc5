"""The rules of one conversation: one customer, one session, a call leg and a text leg.

The tables in `bridge.legs` say what may follow what. What we *do* about an event is the `match` in `Session.handle`.
An event that a table does not have in the leg's state is refused and changes nothing.

What each leg's events lead to stands here for the call and its flow, in `bridge.call_leg` for the people on the call, in
`bridge.text_leg` and `bridge.chat` for the text leg; what they share, and what a session remembers, in `bridge.conversation`.
The session does no I/O. It does not know whether its call comes by SIP or from a browser, who carries its texts, or which
agents there are; it says what it wants as commands and is told what came of them as events.
"""

from collections.abc import Iterable

import msgspec

from bridge import events as e
from bridge.call_leg import LAPSED, CallSide
from bridge.conversation import (
    DEFLECT_TEXT,
    HOLD_TEXT,
    CallRules,
    ChatRules,
    Facts,
    Limits,
    State,
    Suspicion,
    Transfer,
    UnexpectedEvent,
    Words,
)
from bridge.legs import CALL, LIVE, NO_CALL, ON_LINE, TEXT, CallState, TextLeg
from ivr_flows import outputs as o
from ivr_flows.model import Flow
from ivr_flows.run import FlowRun, ResumeRefused
from sms.menu import Menu

__all__ = ["CallRules", "ChatRules", "Facts", "Limits", "Session", "State", "Suspicion", "Transfer", "UnexpectedEvent", "Words"]


_CALL_EVENTS = (
    e.CallArrived, e.DigitsReceived, e.PromptFinished, e.OfferDecided, e.AgentLegAnswered, e.AgentLegFailed, e.AudioConnected,
    e.AgentLegEnded, e.PhoneHeld, e.PhoneResumed, e.CustomerAnswered, e.CallEnded, e.AgentHungUp, e.AgentHeld, e.AgentResumed,
    e.CallTransferred, e.AgentConsulted, e.AgentSwapped, e.AgentTookBack, e.AgentCompleted, e.AgentCalled, e.CallbackAsked,
    e.CallbackStarted, e.CallbackCancelled,
)  # fmt: skip
_TEXT_EVENTS = (
    e.TextArrived, e.AgentOpened, e.AgentTransferred, e.AgentDismissed, e.AgentEndedChat, e.ChatCalledOff, e.AgentLost,
)  # fmt: skip
_AFTERWARDS = (e.TextAccepted, e.TextRejected, e.TextReported, e.WrapUpNoted)
"""What may still come in when a session is closed."""
_NOBODYS = (e.TextAccepted, e.TextRejected, e.TextReported, e.QueueRedirected, e.ProcessRestarted)
"""What happens without anybody doing it: it does not bring a conversation to the front."""
_LEG_EVENTS = (
    e.DigitsReceived, e.PromptFinished, e.AgentLegAnswered, e.AgentLegFailed, e.AudioConnected, e.AgentLegEnded, e.PhoneHeld,
    e.PhoneResumed, e.CustomerAnswered, e.CallEnded,
)  # fmt: skip
"""What happens to one leg of one call."""
_BY_CHANNEL = (e.AgentOffered, e.OfferLapsed, e.QueueRedirected, e.AgentAccepted)
_CALL_AGENT_EVENTS = (
    e.AgentHungUp, e.AgentHeld, e.AgentResumed, e.CallTransferred, e.AgentConsulted, e.AgentSwapped, e.AgentTookBack,
    e.AgentCompleted,
)  # fmt: skip
"""What only the agent who has the call can do."""
_CHAT_EVENTS = (e.AgentEndedChat, e.AgentLost, e.AgentTransferred, e.AgentDismissed)
"""What only the agent who has the chat can do, or lose."""


class Session(CallSide):
    """The rules of one conversation. No I/O.

    Give `handle` what happened and perform the commands it returns, in order; call `wake` when the clock reaches
    `wake_at`.

    Args:
        state: A new one, or one that `state_json` gave earlier.
        flow: What a call meets, in the revision this session began with; None for a session without a call.
        words: The system's own texts.
        menu: What a text meets that begins a session; None: the desk at once.
        limits: How long it waits for what.
    """

    def __init__(
        self,
        state: State,
        *,
        flow: Flow | None,
        words: Words,
        menu: Menu | None = None,
        limits: Limits = Limits(),  # noqa: B008  # frozen
    ) -> None:
        self.state = state
        self._flow = flow
        self._words = words
        self._menu = menu
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
                self._offer_lapsed(event, now)
                if event.channel == "voice" and event.agent == self.state.call_prefer and event.reason != "withdrawn":
                    self._call_preference_over(LAPSED.get(event.reason, event.reason), facts, now)
            case e.QueueRedirected():
                self._redirected(event)
            case e.AgentAccepted():
                self._agent_accepted(event, now)
            case e.AgentLegAnswered():
                self._agent_leg_answered(facts, now)
            case e.AgentLegFailed():
                self._agent_leg_failed(event, facts, now)
            case e.AudioConnected():
                self._record("audio.connected")
            case e.AgentLegEnded():
                self._agent_leg_ended(event, facts, now)
            case e.AgentHungUp():
                assert self.state.leg is not None
                assert self.state.agent_leg is not None
                self._out.append(e.DropAgent(self.state.leg, self.state.agent_leg))
            case e.AgentHeld() | e.PhoneHeld():
                self._held(type(event), now)
            case e.AgentResumed() | e.PhoneResumed():
                self._resumed(type(event), now)
            case e.AgentConsulted():
                self._consulted(event, now)
            case e.AgentSwapped():
                self._swapped(now)
            case e.AgentTookBack():
                self._move_call(e.AgentTookBack)
                self._back_with_agent("taken back", now)
            case e.AgentCompleted():
                self._move_call(e.AgentCompleted)
                self._complete(now)
            case e.CallTransferred():
                self._call_transferred(event, facts, now)
            case e.AgentCalled():
                self._agent_called(event)
            case e.CustomerAnswered():
                self._customer_answered(now)
            case e.CallbackAsked():
                self._callback_asked(event, now)
            case e.CallbackStarted():
                self._callback_started(event)
            case e.CallbackCancelled():
                self._move_call(e.CallbackCancelled)
                self._drop_callback(event.by)
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
            case e.OptOutJudged():
                self._opt_out_judged(event, facts, now)
            case e.MediaUploaded():
                self._media_uploaded(event, facts, now)
            case e.AgentSaid():
                self._agent_said(event, now)
            case e.AgentOpened():
                self._agent_opened(event, now)
            case e.ApiSaid():
                self._api_said(event, now)
            case e.UploadAsked():
                self._upload_asked(event, now)
            case e.AgentTransferred():
                self._transferred(event, now)
            case e.AgentDismissed():
                self._dismissed("agent", now)
            case e.AgentEndedChat():
                self._chat_ended("agent", now)
            case e.ChatCalledOff():
                self._called_off(event, now)
            case e.WrapUpNoted():
                self._wrap_up_noted(event, facts, now)
            case e.AgentLost():
                self._agent_lost(event, now)
            case e.ProcessRestarted():  # pragma: no branch  # there is no other event
                self._restarted(facts, now)
        self._settle(now)
        if not isinstance(event, _NOBODYS):
            self.state.touched_at = now
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
            self._timer_due(name, facts, now)
        self._settle(now)
        if self._out:
            self.state.touched_at = now
        return self._out

    def _timer_due(self, name: str, facts: Facts, now: float) -> None:
        match name:
            case "wrap_up":
                self.state.wrapping = []
                self._nobody_left(facts, now)
            case "warn":
                self._warn()
            case "dismiss":
                self._dismissed("timer", now)
            case "prefer":
                self._preference_over(now)
            case "call_prefer":
                self._call_preference_over("no answer", facts, now)
            case "callback":
                self._await_callback(now)
            case "callback_over":
                self._callback_given_up("expired")
            case "reopen":
                pass  # nobody came back: what is over may be closed
            case _:
                self._text_timed_out(facts, now)

    # --- what is allowed

    def _check(self, event: e.AnyEvent) -> None:
        state, kind = self.state, type(event)
        if state.closed_at is not None and not isinstance(event, _AFTERWARDS):
            raise UnexpectedEvent(f"{kind.__name__}: the session is closed")
        why = self._why_not(event)
        if why is not None:
            raise UnexpectedEvent(why)
        on_call = isinstance(event, _CALL_EVENTS) or (isinstance(event, _BY_CHANNEL) and event.channel == "voice")
        on_text = isinstance(event, _TEXT_EVENTS) or (isinstance(event, _BY_CHANNEL) and event.channel == "sms")
        if on_call and kind not in CALL[state.call]:
            raise UnexpectedEvent(f"{kind.__name__} on a call leg that is {state.call}")
        if on_text and kind not in TEXT[state.text]:
            raise UnexpectedEvent(f"{kind.__name__} on a text leg that is {state.text}")
        if isinstance(event, _LEG_EVENTS) and event.leg != state.leg:
            raise UnexpectedEvent(f"{kind.__name__} of a call that is over")
        if isinstance(event, _CALL_AGENT_EVENTS) and event.agent != state.agent:
            raise UnexpectedEvent(f"{kind.__name__} by an agent who does not have the call")
        self._check_agent_leg(event)
        if isinstance(event, _CHAT_EVENTS) and event.agent != state.chat_agent:
            raise UnexpectedEvent(f"{kind.__name__} of an agent who does not have the chat")

    def _check_agent_leg(self, event: e.AnyEvent) -> None:
        state = self.state
        asked = None if state.consult is None else state.consult.leg
        match event:
            case e.AgentLegAnswered() | e.AgentLegFailed():
                ours = {asked or state.agent_leg}
            case e.AudioConnected() | e.AgentLegEnded():
                ours = {state.agent_leg, asked}
            case e.PhoneHeld() | e.PhoneResumed():
                ours = {state.agent_leg}
            case _:
                return
        if event.agent_leg not in ours:
            raise UnexpectedEvent(f"{type(event).__name__} of an agent leg that is not ours")

    def _why_no_call(self, event: e.AnyEvent) -> str | None:
        """As `_why_not`, of what is asked of the call."""
        state = self.state
        match event:
            case e.AgentConsulted() | e.CallTransferred() if state.call_transfers >= self._limits.calls.max_transfers:
                return "This call has been handed on often enough. Please keep it."
            case e.AgentSwapped() | e.AgentCompleted() if state.consult is not None and not state.consult.answered:
                return "Whoever you asked has not answered yet."
            case e.AgentResumed() if state.held_by == "phone":
                return "The call is on hold at your phone: take it off hold there."
            case e.AgentCalled() | e.CallbackAsked() if state.customer is None:
                return "There is no number to call."
            case e.CallbackStarted() | e.CallbackCancelled() if state.callback is None:
                return "There is no callback to make any more."
            case e.CallArrived() if state.call is not CallState.NONE and not state.awaits_call:
                return "The call is over."
            case _:
                return None

    def _why_not(self, event: e.AnyEvent) -> str | None:
        """Why what somebody asks for cannot be done, in words fit to show them."""
        state = self.state
        match event:
            case e.AgentSaid() | e.UploadAsked():
                return self.composer(event.agent)
            case e.AgentOpened() | e.ApiSaid():
                return self._why_silent()
            case e.ChatCalledOff() if state.text is TextLeg.INVITED and state.call in LIVE:
                return "The caller is on the line: end the call."
            case e.QueueRedirected() if event.queue != (state.queue if event.channel == "voice" else state.chat_queue):
                return "QueueRedirected from a line that it has left"
            case e.OptOutJudged() if state.suspected is None:
                return "There is nothing to judge any more."
            case e.AgentDismissed() if event.agent == state.chat_agent and not (state.heard and state.answered):
                return "A chat can be put aside once both of you have written, and you last."
            case _:
                return self._why_no_call(event)

    # --- the call leg

    def _call_arrived(self, event: e.CallArrived, facts: Facts, now: float) -> None:
        state = self.state
        again = state.awaits_call
        cut_off, state.cut_off = state.cut_off and state.callback is None, False
        if state.callback is not None:
            self._callback_merged()
        elif cut_off:
            state.timers.pop("text", None)
        self._move_call(e.CallArrived)
        state.leg, state.provider = event.leg, event.provider
        self._record("call.arrived", caller=event.caller, called=event.called)
        if not again:
            self._suspected_before()
        if self._flow is None:
            self._move_call(e.RefuseCall)
            self._out.append(e.RefuseCall(event.leg, 404))
            return
        state.flow_revision = self._flow.revision
        promised = state.callback.since if state.callback is not None else state.since if cut_off else None
        # A callback that is not due yet has no place: who calls before that begins to wait now, like anybody else.
        place = promised if promised is not None and promised <= now else None
        self._run, outputs = FlowRun.start(self._flow, facts, now=now, place_since=place)
        self._perform(outputs, facts, now)

    def _prompt_finished(self, event: e.PromptFinished, facts: Facts, now: float) -> None:
        spoken = self.state.playing.pop(event.play, None)
        if spoken is not None:
            words = " ".join(item.text for item in spoken)
            keys = [item.key for item in spoken]
            self._record("prompt.played", keys=keys, words=words, heard=round(event.heard, 2), completed=event.completed)
        self._resume(o.PromptFinished(event.play, event.completed), facts, now)

    def _agent_accepted(self, event: e.AgentAccepted, now: float) -> None:
        if event.channel == "sms":
            self._chat_accepted(event, now)
        else:
            self._call_accepted(event)

    def _redirected(self, event: e.QueueRedirected) -> None:
        if event.channel == "voice":
            self._move_call(e.QueueRedirected)
            self.state.queue = event.to
        else:
            self._move_text(e.QueueRedirected)
            self.state.chat_queue = event.to
        self._record("queue.moved", queue=event.queue, to=event.to, channel=event.channel)

    def _call_ended(self, by: e.EndedBy, cause: str, facts: Facts, now: float) -> None:
        state, was = self.state, self.state.call
        self._move_call(e.CallEnded)
        self._record("call.ended", by=by, cause=cause)
        if was is CallState.QUEUED:
            self._out.append(e.LeaveQueue("voice", "abandoned"))
        if was is CallState.DIALING:
            self._not_reached(cause)
        self._call_leg_over(was, by, now)
        if was in {CallState.QUEUED, CallState.CONNECTING}:
            # Also while an agent's phone rings nobody has answered yet.
            self._record("queue.left", outcome="abandoned", waited=self._waited(now))
        if cause == "restart" and was in ON_LINE:
            self._cut_off(facts, now)
        else:
            self._resume(o.CallEnded(), facts, now)
        state.playing.clear()
        if not state.wrapping:
            self._nobody_left(facts, now)
        self._callback_goes_on(was, cause, now)

    # --- the whole session

    def _restarted(self, facts: Facts, now: float) -> None:
        """The server was gone. Texts and places are as they were; a call cannot be."""
        state = self.state
        self._record("server.restarted")
        was = state.call
        if was is CallState.CALLBACK:
            self._move_call(e.ProcessRestarted)
            self._out.append(self._place())
        elif was not in NO_CALL:
            self._move_call(e.ProcessRestarted)
            self._record("call.ended", by="platform", cause="restart")
            state.agent = state.consult = None  # the floor begins anew, so nobody has to be released
            self._call_leg_over(was, "platform", now)
            state.playing.clear()
            if was in ON_LINE:
                self._cut_off(facts, now)
            else:
                self._resume(o.CallEnded(), facts, now)
            if not state.wrapping:
                self._nobody_left(facts, now)
            self._callback_goes_on(CallState.ENDING, "restart", now)
        if state.text is TextLeg.QUEUED and not any(
            isinstance(command, e.JoinQueue) and command.channel == "sms" for command in self._out
        ):
            self._back_in_line()

    def _cut_off(self, facts: Facts, now: float) -> None:
        """It was us who ended the call."""
        state = self.state
        if state.text is TextLeg.OPEN and state.desk is not None:
            # The caller agreed to be texted in this call: say that it was us, and keep the place. What the flow has to
            # say to callers who hung up would not be true.
            self._run = None
            state.cut_off = True
            self._say("rescue")
            state.timers["text"] = now + self._limits.reply_window
        else:
            self._resume(o.CallEnded(), facts, now)

    def _wrap_up_noted(self, event: e.WrapUpNoted, facts: Facts, now: float) -> None:
        state = self.state
        if event.agent in state.wrapping:
            state.wrapping.remove(event.agent)
        if not state.wrapping:
            state.timers.pop("wrap_up", None)
            self._nobody_left(facts, now)
        self._record("note.written", name=self._name(event.agent), note=event.note, disposition=event.disposition)

    def _settle(self, now: float) -> None:
        """What follows from the state alone, whatever led to it."""
        state = self.state
        state.asked = self._run is not None and self._run.asking and not state.silent
        if state.call not in NO_CALL:
            return
        if state.text is TextLeg.OPEN:
            state.timers.setdefault("text", now + self._limits.open_window)
        if state.callback is not None:
            return
        text_over = state.text in {TextLeg.NONE, TextLeg.CLOSED, TextLeg.OPTED_OUT}
        if text_over and not state.wrapping and "reopen" not in state.timers and state.closed_at is None:
            state.closed_at = now
            state.timers.clear()
            state.reason = state.reason or "call over"
            self._record("session.closed", reason=state.reason)
            self._out.append(e.CloseSession(state.reason))

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
            self._perform_one(output, facts, now)
        while self._unsent:
            self._resume(o.TextFailed(self._unsent.pop(0), "cannot_text"), facts, now)

    def _perform_one(self, output: o.Output, facts: Facts, now: float) -> None:  # noqa: C901, PLR0912, PLR0915  # flat
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
                if state.queue is None or state.call is not CallState.QUEUED:
                    state.queue = e.QueueId(output.queue)  # who stands in line may have been moved to another since
                self._out.append(e.DecideOffer(output.request, output.kind, state.queue, desk))
            case o.OfferMade():
                state.offered = output.prompt
                self._record("offer.made", kind=output.kind, prompt=output.prompt, words=output.words)
            case o.OfferAnswered():
                self._record("offer.answered", kind=output.kind, answer=output.answer, digit=output.digit)
                assert state.queue is not None
                if output.kind != "callback":
                    self._out.append(e.ReportOffer(state.queue, output.answer == "accepted"))
            case o.ConsentGiven():
                self._consent(output)
            case o.SendText():
                self._flow_text(output, facts, now)
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
            case o.CallbackPromised():
                self._callback_promised(output, now)
            case o.CallbackWithdrawn():
                self._drop_callback("caller")
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
        self.state.reason = reason.replace("_", " ")

    def _consent(self, output: o.ConsentGiven) -> None:
        state = self.state
        if state.customer is None:
            return
        purpose: e.Purpose = "care" if output.purpose not in {"session", "marketing"} else output.purpose  # type: ignore[assignment]
        evidence = f"digit {output.digit} on {state.leg}"
        self._out.append(
            e.RecordConsent(
                state.customer,
                purpose,
                output.granted,
                output.words,
                output.language,
                evidence,
                state.our_number,
                state.offered,
                state.flow_revision,
            )
        )
        self._record("consent.given", purpose=purpose, granted=output.granted, words=output.words)

    def _flow_text(self, output: o.SendText, facts: Facts, now: float) -> None:
        priority = {"deflect": DEFLECT_TEXT, "hold": HOLD_TEXT, "flow": HOLD_TEXT}[output.kind]
        link = facts.link if output.media else None
        body = output.body if link is None else f"{output.body}\n{self._link_words(link.url, link.expires_at, now)}"
        message = self._send(body, author="flow", priority=priority, preset=output.key, expires_at=_at(now, output.expires_in))
        if message is None:
            self._unsent.append(output.ref)
            return
        self.state.refs[message] = output.ref
        self._introduced()
        if link is not None:
            self._link_sent(link.token, message, link.expires_at, None)

    def _invite(self, output: o.OpenText, now: float) -> None:
        state = self.state
        if state.text not in {TextLeg.NONE, TextLeg.OPEN, TextLeg.INVITED} or state.customer is None:
            self._unsent.append(output.ref)
            return
        state.desk, state.since = e.QueueId(output.desk), output.since
        state.card.update(output.carry)
        message = self._send(
            output.body, author="flow", priority=DEFLECT_TEXT, preset=output.key, expires_at=_at(now, output.expires_in)
        )
        if message is None:
            self._unsent.append(output.ref)
            return
        self._move_text(o.OpenText)
        state.refs[message] = output.ref
        self._introduced()
        state.timers["text"] = now + self._limits.reply_window


def _at(now: float, seconds: float | None) -> float | None:
    """The time in *seconds*; None for never."""
    return None if seconds is None else now + seconds
