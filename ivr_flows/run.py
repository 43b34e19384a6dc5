"""One run of a flow: tell it what happened, perform what it returns.

No I/O, no clock, no randomness. A run goes through JSON between any two resumes, so it lives on in another process.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from ivr_flows import holding, keying
from ivr_flows import outputs as out
from ivr_flows.expressions import Value, text_of
from ivr_flows.facts import Facts
from ivr_flows.model import (
    Answer,
    CallBack,
    CheckHours,
    Choose,
    ChooseLanguage,
    Collect,
    End,
    Flow,
    Goto,
    HangUp,
    Menu,
    OfferSms,
    OpenSms,
    Play,
    Queue,
    Say,
    SendSms,
    Set,
)
from ivr_flows.sprint import (
    PLAY_LIMIT,
    TYPED_AHEAD,
    VERDICT_LIMIT,
    AnyWait,
    ForDelivery,
    ForKeys,
    ForPrompt,
    ForVerdict,
    InLine,
    Memory,
    Sprint,
    WithAgent,
)

STEPS = 200
"""Actions of one sprint; more than that is a flow that goes round in circles."""
ENTERED = "entered"
"""Detail of the `Trace` that tells that the run has come to a state."""


class ResumeRefused(Exception):  # noqa: N818 - it is an answer, not a fault
    """The run does not wait for this. Nothing has changed."""


class OtherRevision(ValueError):  # noqa: N818 - as above
    """A snapshot belongs to another revision of the flow."""


class FlowRun:
    """A flow with one caller in it."""

    def __init__(self, flow: Flow, memory: Memory) -> None:
        self.flow = flow
        self._memory = memory

    @classmethod
    def start(
        cls, flow: Flow, facts: Facts, *, now: float, place_since: float | None = None
    ) -> tuple["FlowRun", list[out.Output]]:
        """Begin with a call that has arrived and is not answered yet.

        Args:
            flow: What the caller meets.
            facts: The world as it is now.
            now: Seconds; the same clock every time.
            place_since: The place in line of a caller who has one already; None: it begins when they join one.
        """
        run = cls(flow, Memory(state=flow.start, language=flow.default_language, place_since=place_since))
        sprint = Sprint(flow, run._memory, facts, now)
        _advance(sprint)
        return run, sprint.outputs

    def resume(self, resume: out.AnyResume, facts: Facts, *, now: float) -> list[out.Output]:
        """Tell what happened.

        Args:
            resume: What happened.
            facts: The world as it is now.
            now: Seconds; the same clock every time.

        Raises:
            ResumeRefused: The run does not wait for this. Nothing has changed.
        """
        if not _accepts(self.flow, self._memory, resume, facts, now):
            waiting = type(self._memory.wait).__name__ if self._memory.wait else "nothing"
            raise ResumeRefused(f"{type(resume).__name__} while waiting for {waiting}")
        sprint = Sprint(self.flow, self._memory, facts, now)
        _take(sprint, resume)
        _advance(sprint)
        return sprint.outputs

    def wake(self, facts: Facts, *, now: float) -> list[out.Output]:
        """Let time pass. Too early does nothing."""
        memory = self._memory
        if memory.wake_at is None or now < memory.wake_at:
            return []
        sprint = Sprint(self.flow, memory, facts, now)
        _due(sprint)
        _advance(sprint)
        return sprint.outputs

    @property
    def wait(self) -> AnyWait | None:
        """What the run waits for; None when the flow has ended."""
        return self._memory.wait

    @property
    def wake_at(self) -> float | None:
        """When `wake` has something to do; None: never."""
        return self._memory.wake_at

    @property
    def language(self) -> str:
        """What the caller is spoken and written to in."""
        return self._memory.language

    @property
    def asking(self) -> bool:
        """A question of ours by text waits for its answer."""
        asking = self._memory.asking
        return asking is not None and asking.pending is not None

    @property
    def variables(self) -> Mapping[str, Value]:
        """What has been collected and set."""
        return MappingProxyType(self._memory.variables)

    @property
    def place_since(self) -> float | None:
        """The place in line; None when there is none yet."""
        return self._memory.place_since

    @property
    def menu_path(self) -> tuple[str, ...]:
        """Targets of the menus the caller went through."""
        return tuple(self._memory.menu_path)

    def snapshot(self) -> dict[str, Any]:
        """The run as plain JSON data."""
        memory: dict[str, Any] = msgspec.to_builtins(self._memory)
        return {"flow": self.flow.name, "revision": self.flow.revision, "memory": memory}

    @classmethod
    def restore(cls, flow: Flow, snapshot: Mapping[str, Any]) -> "FlowRun":
        """The run that `snapshot` was made of.

        Raises:
            OtherRevision: It belongs to another revision than *flow*.
        """
        if snapshot["revision"] != flow.revision:
            raise OtherRevision(f"run of {snapshot['flow']} {snapshot['revision']}, flow is {flow.name} {flow.revision}")
        return cls(flow, msgspec.convert(snapshot["memory"], Memory))


# --- which resume is accepted when --------------------------------------------------------------------------------------


def _accepts(flow: Flow, memory: Memory, resume: out.AnyResume, facts: Facts, now: float) -> bool:
    """The table of the language: what may follow which wait."""
    wait, line = memory.wait, memory.line
    if wait is None:
        return False
    match resume:
        case out.CallEnded():
            return memory.voice
        case out.Keys(digits=digits):
            return bool(digits) and not digits.strip("0123456789*#") and not isinstance(wait, WithAgent)
        case out.PromptFinished(play=play):
            playing = line.play if line else getattr(wait, "play", None)
            return play == playing
        case out.OfferVerdict(request=request):
            asked = line.request if line else getattr(wait, "request", None)
            return request == asked
        case out.TextDelivered(ref=ref) | out.TextFailed(ref=ref):
            # Who has the text and wants no more of them is not told to answer it, but stays a caller.
            revoked = isinstance(resume, out.TextFailed) and resume.reason == "opted_out"
            opened = isinstance(wait, ForDelivery) and wait.ref == ref and (revoked or not wait.delivered)
            return opened or ref in memory.texts or (memory.asking is not None and ref in memory.asking.refs)
        case out.TextReceived(body=body, media=media):
            answers = holding.accepts_text(Sprint(flow, memory, facts, now), body, media)
            return answers or (isinstance(wait, ForDelivery) and not wait.delivered)
        case out.AgentAnswered():
            return isinstance(wait, InLine)
        case _:
            return isinstance(wait, WithAgent)  # AgentEnded, Requeued


def _take(sprint: Sprint, resume: out.AnyResume) -> None:  # noqa: C901  # flat
    """Apply a resume that was accepted."""
    memory = sprint.memory
    match resume:
        case out.CallEnded():
            _call_ended(sprint)
        case out.Keys(digits=digits):
            _keys(sprint, digits)
        case out.PromptFinished():  # cut or not, nobody hears it any more
            _prompt_over(sprint)
        case out.OfferVerdict(offer=offer, reason=reason):
            _verdict(sprint, offer, reason)
        case out.TextDelivered(ref=ref):
            _text_reported(sprint, ref, None)
        case out.TextFailed(ref=ref, reason=reason):
            _text_reported(sprint, ref, reason)
        case out.TextReceived(body=body, media=media):
            if isinstance(memory.wait, ForDelivery):
                _delivered(sprint, memory.wait, "the customer has replied to the text")
            else:
                holding.text_received(sprint, body, media)
        case out.AgentAnswered():
            holding.agent_answered(sprint)
        case out.Requeued():
            holding.requeued(sprint)
        case _:
            sprint.onward(sprint.queue.then.answered)


def _call_ended(sprint: Sprint) -> None:
    memory = sprint.memory
    memory.voice, memory.typed = False, ""
    match memory.wait:
        case InLine():
            holding.call_ended(sprint)
        case ForDelivery() as wait:
            # The text is on its way and its conversation stays, whoever ended the call.
            memory.reason = "deflected"
            if not wait.delivered:
                memory.texts.append(wait.ref)
            _proceed(sprint)
        case WithAgent():
            sprint.end("call_ended")
        case _:
            sprint.end("caller_hung_up")


def _keys(sprint: Sprint, digits: str) -> None:
    memory = sprint.memory
    match memory.wait:
        case ForPrompt(barge_in=barge_in, then=then):
            memory.typed = (memory.typed + digits)[:TYPED_AHEAD]
            if barge_in:
                sprint.onward(then)
        case ForKeys() as wait:
            keying.keys(sprint, wait, digits)
        case InLine():
            holding.keys(sprint, digits)
        case _:  # while the policy decides, or a text is on its way, keys mean nothing
            pass


def _prompt_over(sprint: Sprint) -> None:
    memory = sprint.memory
    match memory.wait:
        case ForPrompt(then=then):
            sprint.onward(then)
        case ForKeys() as wait:
            keying.prompt_over(sprint, wait)
        case ForDelivery(delivered=True):
            _proceed(sprint)
        case ForDelivery() as wait:
            action = sprint.action
            assert isinstance(action, OpenSms)
            memory.wait = msgspec.structs.replace(wait, play=None)
            sprint.music(action.music)
        case _:
            holding.prompt_over(sprint)


def _verdict(sprint: Sprint, offer: bool, reason: str) -> None:
    if sprint.memory.line is not None:
        holding.verdict(sprint, offer, reason)
        return
    action = sprint.action
    assert isinstance(action, OfferSms)
    if offer:
        keying.offer(sprint, action)
        return
    sprint.trace(f"no offer to text: {reason}")
    sprint.goto((reason in holding.UNREACHABLE and action.unreachable) or action.declined)


def _due(sprint: Sprint) -> None:
    """The clock has reached `wake_at`."""
    match sprint.memory.wait:
        case ForPrompt(then=then):
            sprint.onward(then)
        case ForKeys() as wait:
            keying.due(sprint, wait)
        case ForVerdict():
            _verdict(sprint, False, "no_verdict")
        case ForDelivery(delivered=True):
            _proceed(sprint)
        case ForDelivery() as wait:
            _undelivered(sprint, wait, "too_slow")
        case _:  # in line everything that is due is done by `_advance`
            pass


# --- texts on their way ----------------------------------------------------------------------------------------------------


def _text_reported(sprint: Sprint, ref: int, failure: str | None) -> None:
    """A text has arrived, or (*failure*: why) it will not."""
    memory = sprint.memory
    if isinstance(memory.wait, ForDelivery) and memory.wait.ref == ref:
        if failure is None:
            _delivered(sprint, memory.wait, "the text has been delivered")
        else:
            _undelivered(sprint, memory.wait, failure)
    elif ref in memory.texts:
        memory.texts.remove(ref)
    else:
        holding.text_reported(sprint, ref, failed=failure is not None)


def _delivered(sprint: Sprint, wait: ForDelivery, how: str) -> None:
    sprint.trace(how)
    if wait.play is None:
        _proceed(sprint)
    else:  # let the sentence end before the call does
        sprint.memory.wait = msgspec.structs.replace(wait, delivered=True)


def _proceed(sprint: Sprint) -> None:
    action = sprint.action
    assert isinstance(action, OpenSms)
    sprint.onward(action.delivered)


def _undelivered(sprint: Sprint, wait: ForDelivery, why: str) -> None:
    action = sprint.action
    assert isinstance(action, OpenSms)
    sprint.trace(f"the text did not arrive: {why}")
    sprint.emit(out.WithdrawText(wait.ref, why))
    _apologise(sprint, action)


def _apologise(sprint: Sprint, action: OpenSms) -> None:
    sprint.keep_place()
    sprint.memory.offered.append("hold")  # who could not be texted is not offered it again a minute later
    sprint.emit(out.Promised("place_kept"))
    sprint.say(action.apology, barge_in=False, then=action.failed)


# --- actions ---------------------------------------------------------------------------------------------------------------


def _advance(sprint: Sprint) -> None:
    """Perform actions until one of them waits, or the flow ends."""
    memory = sprint.memory
    for _ in range(STEPS):
        if memory.over or _waits(sprint):
            return
        if memory.index < len(sprint.flow.states[memory.state]):
            _perform(sprint)
        else:
            sprint.end(memory.reason)
    sprint.end("too_many_steps")


def _waits(sprint: Sprint) -> bool:
    """Whether the run waits; the alarm is set then."""
    memory = sprint.memory
    match memory.wait:
        case ForPrompt(until=until) | ForKeys(until=until) | ForVerdict(until=until) | ForDelivery(until=until):
            memory.wake_at = until
        case InLine():
            holding.tick(sprint)  # a limit of the queue may end the wait here
        case _:
            memory.wake_at = None
    return memory.wait is not None


def _perform(sprint: Sprint) -> None:
    action, memory = sprint.action, sprint.memory
    if memory.index == 0:
        sprint.trace(ENTERED)
    if action.LEG == "voice" and not memory.voice:
        if isinstance(action, HangUp):
            memory.reason = action.reason
        sprint.trace("there is no call any more")
        sprint.onward()
    else:
        _PERFORM[type(action)](sprint, action)


def _answer(sprint: Sprint, _: Answer) -> None:
    if not sprint.memory.answered:
        sprint.memory.answered = True
        sprint.emit(out.Answer())
    sprint.onward()


def _hang_up(sprint: Sprint, action: HangUp) -> None:
    sprint.memory.voice, sprint.memory.reason = False, action.reason
    sprint.emit(out.HangUp(action.reason))
    sprint.onward()


def _set(sprint: Sprint, action: Set) -> None:
    for name, expression in action.values.items():
        sprint.store(name, expression.evaluate(sprint.scope()))
    sprint.onward()


def _join(sprint: Sprint, action: Queue) -> None:
    sprint.trace(f"joins queue {action.name}")
    holding.join(sprint, action)


def _say(sprint: Sprint, action: Say | Play) -> None:
    if sprint.memory.typed and action.barge_in:
        sprint.onward()  # a caller who types ahead knows what is said here
    elif isinstance(action, Say):
        sprint.say(action.prompt, barge_in=action.barge_in)
    else:
        spoken = out.Spoken("", sprint.memory.language, "", (action.audio,))
        play = sprint.play(spoken, barge_in=action.barge_in)
        sprint.memory.wait = ForPrompt(play, sprint.now + PLAY_LIMIT, action.barge_in)


def _choose(sprint: Sprint, action: Choose) -> None:
    scope = sprint.scope()
    branch = next(branch for branch in action.branches if branch.when is None or branch.when.holds(scope))
    target = branch.goto or branch.otherwise
    assert target is not None, "the loader sees to it that the last branch is `otherwise`"
    sprint.trace(f"{branch.when.source if branch.when else 'otherwise'} -> {target}", scope.reads)
    sprint.goto(target)


def _check_hours(sprint: Sprint, action: CheckHours) -> None:
    name = action.schedule or sprint.flow.hours or ""
    hours = sprint.facts.hours.get(name)
    state = hours.state if hours else "open"
    sprint.trace(f"{name}: {state}" if hours else f"{name}: not known, taken for open", {"state": state})
    match state:
        case "open":
            sprint.onward(action.open)
        case "holiday":
            sprint.goto(action.holiday or action.closed)
        case _:
            sprint.goto(action.closed)


def _ask_policy(sprint: Sprint, action: OfferSms) -> None:
    memory = sprint.memory
    sprint.keep_place()
    memory.typed = ""  # nobody agrees to something before it was said
    if "deflect" in memory.offered:
        sprint.trace("was offered before")
        sprint.goto(action.declined)
        return
    request = sprint.request()
    sprint.emit(out.AskOffer(request, "deflect", action.queue, action.desk))
    memory.wait = ForVerdict(request, sprint.now + VERDICT_LIMIT)


def _call_back(sprint: Sprint, action: CallBack) -> None:
    memory, facts, now = sprint.memory, sprint.facts, sprint.now
    typed = sprint.scope().name(action.number) if action.number is not None else None
    wanted = facts.caller if action.number is None else text_of(typed)
    number = None if not wanted else facts.to_call(wanted)
    hours = None if action.hours is None else facts.hours.get(action.hours)
    closed = hours is not None and hours.state != "open"
    due_at = hours.reopens_at if hours is not None and closed else None
    if number is None or (closed and due_at is None):
        sprint.trace("the caller cannot be called back", {"number": wanted, "closed": closed})
        sprint.goto(action.failed)
        return
    window = None if closed else memory.window or holding.band(facts.ewt.get(action.queue))
    told = window is not None and window[1] > 0 and action.window is not None
    memory.callback, memory.typed = True, ""
    sprint.emit(
        out.CallbackPromised(
            queue=action.queue,
            number=number,
            since=due_at or sprint.keep_place(),
            priority=sprint.priority(action.priority),
            skills=sprint.asked_of_agent(action.skills),
            whisper=sprint.written(action.whisper) if action.whisper else None,
            card=sprint.card(),
            due_at=due_at,
            promised_by=now + 60.0 * window[1] if window is not None and told else None,
        ),
        out.Promised("callback"),
    )
    if window is not None and told and action.window is not None:
        low, high = window
        spoken = sprint.spoken(action.window, {"low": float(low), "high": float(high)})
        sprint.emit(out.EwtTold(low, high, spoken.text))
    else:
        spoken = sprint.spoken(action.say)
    play = sprint.play(spoken, barge_in=False)
    memory.wait = ForPrompt(play, now + PLAY_LIMIT, False, action.done)


def _send_text(sprint: Sprint, action: SendSms) -> None:
    memory, facts = sprint.memory, sprint.facts
    scope = sprint.scope()
    if action.condition is not None and not action.condition.holds(scope):
        sprint.trace(f"not sent: {action.condition.source}", scope.reads)
    elif not sprint.can_text:
        sprint.trace("not sent: the caller cannot be texted", {"can_text": facts.can_text, "opted_out": facts.opted_out})
    else:
        ref = sprint.ref()
        memory.texts.append(ref)
        body = sprint.written(action.text)
        sprint.emit(out.SendText(ref, action.text, body, memory.language, action.purpose, "flow", action.expires))
    sprint.onward()


def _open_text(sprint: Sprint, action: OpenSms) -> None:
    if not sprint.can_text:  # nobody who has opted out meanwhile is told to look at their phone
        sprint.trace("not sent: the caller cannot be texted")
        _apologise(sprint, action)
        return
    memory, ref = sprint.memory, sprint.ref()
    scope = sprint.scope()
    sprint.emit(
        out.OpenText(
            ref=ref,
            key=action.text,
            desk=action.desk,
            body=sprint.written(action.text),
            language=memory.language,
            purpose=action.purpose,
            carry={name: scope.name(name) for name in action.carry},
            since=sprint.keep_place(),
            expires_in=action.within,
        ),
        out.Promised("text_on_its_way"),
    )
    play = sprint.play(sprint.spoken(action.say), barge_in=False)
    memory.wait = ForDelivery(ref, sprint.now + action.within, play)


_PERFORM: Mapping[type, Callable[[Sprint, Any], None]] = {
    Answer: _answer,
    Say: _say,
    Play: _say,
    Menu: keying.begin,
    Collect: keying.begin,
    ChooseLanguage: keying.begin,
    Choose: _choose,
    Set: _set,
    CheckHours: _check_hours,
    Goto: lambda sprint, action: sprint.goto(action.state),
    Queue: _join,
    CallBack: _call_back,
    OfferSms: _ask_policy,
    SendSms: _send_text,
    OpenSms: _open_text,
    HangUp: _hang_up,
    End: lambda sprint, action: sprint.end(action.reason),
}
"""What each action does: it goes on, goes elsewhere, or sets a wait."""
