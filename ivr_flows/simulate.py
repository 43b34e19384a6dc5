"""A caller, a phone that texts and an agent, played against a flow on a virtual clock. The same engine as on a real call.

`Simulator` is for programs and for the terminal; `run_tests` plays the scripts of a `*.test.yaml` file. The run goes through
JSON between any two resumes, so what passes here survives a restart.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from msgspec import Struct, field, structs

from ivr_flows import outputs as out
from ivr_flows.facts import Desk, Ewt, Facts, Hours
from ivr_flows.loader import FlowErrors, load_flow
from ivr_flows.model import (
    DeskName,
    Duration,
    Flow,
    HoursName,
    Language,
    Number,
    Purpose,
    QueueName,
    Readable,
    Target,
    Variable,
)
from ivr_flows.reader import Document
from ivr_flows.run import FlowRun, ResumeRefused
from ivr_flows.shapes import Part, Ref

PATIENCE = 60.0
"""Seconds of the virtual clock until something that should be heard or happen has not."""

Policy: TypeAlias = Callable[[out.AskOffer], tuple[bool, str]]


def always(_: out.AskOffer) -> tuple[bool, str]:
    """The policy that offers whenever it is asked."""
    return True, "offer"


def spoken_seconds(play: out.Play) -> float:
    """How long prompts take, about: 15 characters a second and a breath."""
    return sum(0.5 + len(prompt.text) / 15 for prompt in play.prompts)


class Heard(Struct, frozen=True):
    """One thing that happened, and when."""

    at: float
    output: out.Output


class Simulator:
    """One call. `log` is everything that came out, `state` where the flow stands.

    Args:
        flow: The flow that is called.
        facts: The world; replace `facts` whenever it changes.
        policy: Answers `AskOffer`.
        delivery: Seconds until a text arrives; None: it never does. Negative: it fails after as many.
        now: Where the clock begins.
    """

    def __init__(
        self, flow: Flow, facts: Facts, *, policy: Policy = always, delivery: float | None = 2.0, now: float = 0.0
    ) -> None:
        self.flow = flow
        self.facts = facts
        self.policy = policy
        self.delivery = delivery
        self.now = now
        self.log: list[Heard] = []
        self.states: set[str] = set()
        self._snapshot: Mapping[str, Any] | None = None
        self._due: list[tuple[float, out.AnyResume]] = []

    @property
    def run(self) -> FlowRun:
        """The run as it is now, made anew of its snapshot."""
        assert self._snapshot is not None, "nobody has called yet"
        return FlowRun.restore(self.flow, self._snapshot)

    @property
    def ended(self) -> bool:
        """Whether the flow is over."""
        return self._snapshot is not None and self.run.wait is None

    # what a caller, a phone and an agent do

    def call(self) -> None:
        """The call comes in."""
        run, outputs = FlowRun.start(self.flow, self.facts, now=self.now)
        self._keep(run, outputs)

    def press(self, digits: str) -> bool:
        """The caller presses keys; False when the flow does not take any."""
        return self._tell(out.Keys(digits))

    def text(self, body: str, media: int = 0) -> bool:
        """The customer texts; False when it answers no question of the flow."""
        return self._tell(out.TextReceived(body, media))

    def agent_answers(self) -> bool:
        """An agent takes the call; False when the caller is not in line."""
        return self._tell(out.AgentAnswered())

    def agent_leaves(self) -> bool:
        """The agent leaves the call; False when there is none."""
        return self._tell(out.AgentEnded())

    def hang_up(self) -> bool:
        """The caller hangs up; False when there is no call."""
        return self._tell(out.CallEnded())

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self.step(until):
            pass
        self.now = until

    def wait_for(self, happened: Callable[[], bool], within: float = PATIENCE) -> bool:
        """Let time pass until *happened*; False when it does not within as many seconds."""
        until = self.now + within
        while not happened():
            if not self.step(until):
                self.now = until
                return happened()
        return True

    def step(self, until: float) -> bool:
        """Go to the next thing that happens by itself, up to *until*; False when there is none."""
        wake_at = self.run.wake_at
        first = min((at for at, _ in self._due), default=None)
        if wake_at is not None and wake_at <= until and (first is None or wake_at < first):
            self.now = max(self.now, wake_at)
            run = self.run
            self._keep(run, run.wake(self.facts, now=self.now))
            return True
        if first is None or first > until:
            return False
        index = next(index for index, (at, _) in enumerate(self._due) if at == first)
        _, resume = self._due.pop(index)
        self.now = max(self.now, first)
        self._tell(resume)
        return True

    # what the world does by itself

    def _tell(self, resume: out.AnyResume) -> bool:
        run = self.run
        try:
            outputs = run.resume(resume, self.facts, now=self.now)
        except ResumeRefused:
            return False
        self._keep(run, outputs)
        return True

    def _keep(self, run: FlowRun, outputs: list[out.Output]) -> None:
        self._snapshot = json.loads(json.dumps(run.snapshot()))
        for output in outputs:
            self.log.append(Heard(self.now, output))
            if isinstance(output, out.Trace):
                self.states.add(output.state)
        for output in outputs:
            self._answer(output)

    def _answer(self, output: out.Output) -> None:
        match output:
            case out.Play(play=play):
                self._later(spoken_seconds(output), out.PromptFinished(play))
            case out.SendText(ref=ref) | out.OpenText(ref=ref) if self.delivery is not None:
                arrives = self.delivery >= 0
                self._later(abs(self.delivery), out.TextDelivered(ref) if arrives else out.TextFailed(ref, "undelivered"))
            case out.AskOffer(request=request):
                offer, reason = self.policy(output)
                self._tell(out.OfferVerdict(request, offer, reason))
            case _:
                pass

    def _later(self, seconds: float, resume: out.AnyResume) -> None:
        self._due.append((self.now + seconds, resume))


# --- scripts ---------------------------------------------------------------------------------------------------------------


class Step(Part, frozen=True, kw_only=True):
    """One line of a script."""

    line: Annotated[int, Ref("line")] = 0


class Call(Step, frozen=True, kw_only=True):
    """The call comes in."""

    NAME: ClassVar[str] = "call"


class Press(Step, frozen=True, kw_only=True):
    """The caller presses keys."""

    NAME: ClassVar[str] = "press"
    SHORT: ClassVar[str] = "keys"
    keys: str


class WaitFor(Step, frozen=True, kw_only=True):
    """Time passes."""

    NAME: ClassVar[str] = "wait"
    SHORT: ClassVar[str] = "time"
    time: Duration


class Hears(Step, frozen=True, kw_only=True):
    """The caller hears a prompt: `key`, or `key@language`."""

    NAME: ClassVar[str] = "hears"
    SHORT: ClassVar[str] = "prompt"
    prompt: str
    within: Duration = PATIENCE


class HearsNot(Step, frozen=True, kw_only=True):
    """The caller does not hear a prompt for as long."""

    NAME: ClassVar[str] = "hears_no"
    SHORT: ClassVar[str] = "prompt"
    prompt: str
    within: Duration = PATIENCE


class HangsUp(Step, frozen=True, kw_only=True):
    """The caller hangs up."""

    NAME: ClassVar[str] = "hangs_up"


class TextsIn(Step, frozen=True, kw_only=True):
    """The customer texts."""

    NAME: ClassVar[str] = "texts"
    SHORT: ClassVar[str] = "body"
    body: str = ""
    media: Literal["0", "1", "2", "3"] = "0"


class GetsText(Step, frozen=True, kw_only=True):
    """The customer gets a text of this prompt."""

    NAME: ClassVar[str] = "gets_text"
    SHORT: ClassVar[str] = "prompt"
    prompt: str
    within: Duration = PATIENCE


class AgentDoes(Step, frozen=True, kw_only=True):
    """The agent answers or leaves."""

    NAME: ClassVar[str] = "agent"
    SHORT: ClassVar[str] = "does"
    does: Literal["answers", "leaves"]


class Joins(Step, frozen=True, kw_only=True):
    """The caller is in line."""

    NAME: ClassVar[str] = "joins"
    SHORT: ClassVar[str] = "queue"
    queue: QueueName
    waited: Duration | None = None
    """How long the place is already kept, to the second."""


class DeskCard(Step, frozen=True, kw_only=True):
    """The desk that gets the conversation sees these."""

    NAME: ClassVar[str] = "desk_card"
    desk: DeskName
    has: tuple[Readable, ...] = ()


class CallEnds(Step, frozen=True, kw_only=True):
    """The flow ends the call for this reason."""

    NAME: ClassVar[str] = "call_ends"
    SHORT: ClassVar[str] = "reason"
    reason: str
    within: Duration = PATIENCE


class Variables(Step, frozen=True, kw_only=True):
    """Variables have these values."""

    NAME: ClassVar[str] = "variables"
    WHOLE: ClassVar[str] = "values"
    values: Mapping[Variable, str]


AnyStep: TypeAlias = (
    Call | Press | WaitFor | Hears | HearsNot | HangsUp | TextsIn | GetsText | AgentDoes | Joins | DeskCard | CallEnds | Variables
)


class GivenEwt(Part, frozen=True, kw_only=True):
    """An expected wait."""

    status: Literal["ok", "free_agent", "no_agents", "degraded"] = "ok"
    basis: Literal["learned", "prior", "plan"] = "learned"
    p10: Duration | None = None
    p50: Duration | None = None
    p75: Duration | None = None
    p90: Duration | None = None


class Given(Part, frozen=True, kw_only=True):
    """The world of a script; what is not said is unknown."""

    called: Number | None = None
    """None: the flow's first number."""
    caller: Number | None = None
    """None: withheld."""
    can_text: bool = True
    can_call: bool = True
    """Numbers can be called from here."""
    brand: str = "Example"
    contact_language: Language | None = None
    country: str | None = None
    position: Literal["1", "2", "3", "4", "5", "6", "7", "8", "9"] | None = None
    ewt: Mapping[QueueName, GivenEwt] = field(default_factory=dict)
    remaining: GivenEwt | None = None
    staffed: Mapping[QueueName, bool] = field(default_factory=dict)
    hours: Mapping[HoursName, Literal["open", "closed", "holiday"]] = field(default_factory=dict)
    consent: tuple[Purpose, ...] = ()
    offers: Mapping[str, str] = field(default_factory=dict)
    """Verdict by kind: `offer`, or the reason why not; `offer` when not said and the caller can be texted."""
    texts: Literal["arrive", "fail", "never_arrive"] = "arrive"


class Script(Part, frozen=True, kw_only=True):
    """One test."""

    test: str
    given: Given = Given()
    steps: tuple[AnyStep, ...]
    covers: tuple[Target, ...] = ()


class ScriptFile(Part, frozen=True, kw_only=True):
    """A file of tests of one flow."""

    flow: str
    """The flow's file name, without `.yaml`, beside this one."""
    tests: tuple[Script, ...]


class Result(Struct, frozen=True):
    """How a script went."""

    test: str
    line: int
    """Of the step that failed; 0 when none did."""
    failure: str
    """Empty when it held."""
    states: frozenset[str]
    log: tuple[Heard, ...]


class _FailedError(Exception):
    """A step that did not hold."""


def run_tests(path: Path, *, prompts: Path | None = None) -> list[Result]:
    """Play every script of a `*.test.yaml` file.

    Raises:
        FlowErrors: The file, or the flow it is for, cannot be used.
    """
    document = Document(str(path))
    file = document.read(ScriptFile, path.read_text())
    if not isinstance(file, ScriptFile):
        raise FlowErrors(document.problems)
    flow = load_flow(path.parent / f"{file.flow}.yaml", prompts=prompts)
    return [_Playing(flow, script).result() for script in file.tests]


def facts_of(flow: Flow, given: Given) -> Facts:
    """The world of a script."""
    return Facts(
        called=given.called or (flow.numbers[0] if flow.numbers else ""),
        caller=given.caller,
        can_text=given.can_text and given.caller is not None,
        country=given.country,
        contact_language=given.contact_language,
        brand=given.brand,
        ewt={name: _ewt(ewt) for name, ewt in given.ewt.items()},
        desks={name: Desk(staffed) for name, staffed in given.staffed.items()},
        hours={name: Hours(state) for name, state in given.hours.items()},
        consent=frozenset(given.consent),
        position=int(given.position) if given.position else None,
        remaining=_ewt(given.remaining) if given.remaining else None,
        to_call=str if given.can_call else lambda _number: None,
    )


def _ewt(given: GivenEwt) -> Ewt:
    return Ewt(given.status, given.basis, given.p50, given.p10, given.p50, given.p75, given.p90)


class _Playing:
    """A script being played."""

    def __init__(self, flow: Flow, script: Script) -> None:
        given = script.given
        self.script = script
        self.offers = given.offers
        delivery = {"arrive": 2.0, "fail": -2.0, "never_arrive": None}[given.texts]
        self.simulator = Simulator(flow, facts_of(flow, given), policy=self._policy, delivery=delivery)
        self.seen = 0
        """Entries of the log that steps have gone past."""

    def _policy(self, ask: out.AskOffer) -> tuple[bool, str]:
        possible = ask.kind == "callback" or self.simulator.facts.can_text
        reason = self.offers.get(ask.kind, "offer" if possible else "cannot_text")
        return reason == "offer", reason

    def result(self) -> Result:
        line, failure = 0, ""
        try:
            for step in self.script.steps:
                line = step.line
                self._play(step)
            line = 0
            missed = [state for state in self.script.covers if state not in self.simulator.states]
            if missed:
                failure = f"never came to {', '.join(missed)}"
        except _FailedError as error:
            failure = str(error)
        return Result(self.script.test, line, failure, frozenset(self.simulator.states), tuple(self.simulator.log))

    def _play(self, step: AnyStep) -> None:
        if not isinstance(step, Call) and not self.simulator.log:
            raise _FailedError("nobody has called yet: begin with `- call`")
        match step:
            case Call():
                self.simulator.call()
            case WaitFor(time=time):
                self.simulator.wait(time)
            case Press() | HangsUp() | TextsIn() | AgentDoes():
                self._act(step)
            case _:
                self._expect(step)

    def _act(self, step: Press | HangsUp | TextsIn | AgentDoes) -> None:
        simulator = self.simulator
        match step:
            case Press(keys=keys):
                taken = simulator.press(keys)
            case HangsUp():
                taken = simulator.hang_up()
            case TextsIn(body=body, media=media):
                taken = simulator.text(body, int(media))
            case AgentDoes(does=does):
                taken = simulator.agent_answers() if does == "answers" else simulator.agent_leaves()
        if not taken:
            waiting = type(simulator.run.wait).__name__
            raise _FailedError(f"the flow takes no {step.NAME!r} now: it waits for {waiting}")

    def _expect(self, step: AnyStep) -> None:
        match step:
            case Hears(prompt=prompt, within=within):
                self._await(f"{prompt} is heard", lambda item: _says(item, prompt), within)
            case HearsNot(prompt=prompt, within=within):
                self._silence(prompt, within)
            case GetsText(prompt=prompt, within=within):
                self._await(f"a text {prompt} is sent", lambda item: _writes(item, prompt), within)
            case CallEnds(reason=reason, within=within):
                self._await(
                    f"the call ends: {reason}", lambda item: isinstance(item, out.HangUp) and item.reason == reason, within
                )
            case Joins():
                self._joins(step)
            case DeskCard(desk=desk, has=has):
                self._card(desk, has)
            case Variables(values=values):
                held = {name: self.simulator.run.variables.get(name) for name in values}
                if held != dict(values):
                    raise _FailedError(f"the variables are {held}")
            case _:
                raise AssertionError(step)

    def _silence(self, prompt: str, within: float) -> None:
        self.seen = len(self.simulator.log)
        self.simulator.wait(within)
        if any(_says(heard.output, prompt) for heard in self.simulator.log[self.seen :]):
            raise _FailedError(f"{prompt} was heard")

    def _joins(self, step: Joins) -> None:
        found = self._await(
            f"the caller joins {step.queue}", lambda item: isinstance(item, out.JoinQueue) and item.queue == step.queue
        )
        kept = found.at - found.output.since if isinstance(found.output, out.JoinQueue) else 0.0
        if step.waited is not None and abs(kept - step.waited) > 1:
            raise _FailedError(f"the place was kept for {kept:.0f} s")

    def _card(self, desk: str, has: tuple[str, ...]) -> None:
        for heard in self.simulator.log:
            output = heard.output
            if isinstance(output, out.OpenText) and output.desk == desk:
                missing = [name for name in has if output.carry.get(name) in {None, ""}]
                if missing:
                    raise _FailedError(f"the card of {desk} lacks {', '.join(missing)}")
                return
        raise _FailedError(f"{desk} got no conversation")

    def _await(self, what: str, wanted: Callable[[out.Output], bool], within: float = PATIENCE) -> Heard:
        simulator = self.simulator

        def index() -> int | None:
            return next((at for at in range(self.seen, len(simulator.log)) if wanted(simulator.log[at].output)), None)

        if not simulator.wait_for(lambda: index() is not None, within):
            rest = ", ".join(describe(simulator.log[self.seen :])) or "nothing"
            raise _FailedError(f"not within {within:.0f} s: {what}; there was: {rest}")
        found = index()
        assert found is not None
        self.seen = found + (not isinstance(simulator.log[found].output, out.Play))
        return simulator.log[found]


def _says(output: out.Output, prompt: str) -> bool:
    key, _, language = prompt.partition("@")
    spoken = output.prompts if isinstance(output, out.Play) else ()
    return any(each.key == key and language in {"", each.language} for each in spoken)


def _writes(output: out.Output, prompt: str) -> bool:
    key, _, language = prompt.partition("@")
    return isinstance(output, out.SendText | out.OpenText) and output.key == key and language in {"", output.language}


def describe(log: list[Heard]) -> Iterator[str]:
    """A log in a few words each, for people."""
    for heard in log:
        match heard.output:
            case out.Play(prompts=prompts):
                yield f"says {' + '.join(f'{each.key}@{each.language}' for each in prompts)}"
            case out.SendText(key=key, language=language) | out.OpenText(key=key, language=language):
                yield f"texts {key}@{language}"
            case out.Trace():
                pass
            case other:
                values = ", ".join(f"{name}={value!r}" for name, value in structs.asdict(other).items())
                yield f"{type(other).__name__}({values})"
