"""What a run remembers, and one sprint of it: the work between a resume and the next wait, at one instant."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

from ivr_flows import outputs as out
from ivr_flows.expressions import Expression, Scope, Value, as_value
from ivr_flows.facts import Facts
from ivr_flows.model import AnyAction, Flow, Queue

PLAY_LIMIT = 180.0
"""Seconds after which a prompt counts as over although nobody said so."""
VERDICT_LIMIT = 5.0
"""Seconds after which an offer is not made because nobody decided."""
TYPED_AHEAD = 32
"""Keys kept for the next input."""


# --- waits ------------------------------------------------------------------------------------------


class Wait(Struct, frozen=True, tag_field="wait", tag=True):
    """What a run is waiting for."""


class ForPrompt(Wait, frozen=True):
    """A prompt to end; then the next action, or the state *then*."""

    play: int
    until: float
    barge_in: bool
    then: str | None = None


class ForKeys(Wait, frozen=True):
    """Keys, while a prompt plays and after it."""

    play: int | None
    """None when the prompt is over."""
    until: float
    """When the silence, or the prompt, has lasted too long."""
    barge_in: bool = True
    digits: str = ""
    no_inputs: int = 0
    no_matches: int = 0


class ForVerdict(Wait, frozen=True):
    """The policy's answer to a deflection offer."""

    request: int
    until: float


class ForDelivery(Wait, frozen=True):
    """A text to reach the phone before the call is given up."""

    ref: int
    until: float
    play: int | None
    delivered: bool = False
    """It has; only the prompt is still to end."""


class InLine(Wait, frozen=True):
    """An agent, a key, or a limit of the queue."""


class WithAgent(Wait, frozen=True):
    """The agent to leave, or the call to end."""


AnyWait: TypeAlias = ForPrompt | ForKeys | ForVerdict | ForDelivery | InLine | WithAgent


# --- memory ------------------------------------------------------------------------------------------


class Line(Struct):
    """The state of a caller in line."""

    joined: float
    announce_at: float | None
    """When the next announcement is due; None: never."""
    callback_at: float | None
    """When the caller is told next that they can be called back; None: never."""
    offer_at: float | None
    """When texting is to be offered; None: never, or no more."""
    play: int | None = None
    """What is being said, if anything is."""
    play_until: float = 0.0
    request: int | None = None
    """What the policy was asked and has not answered."""
    request_until: float = 0.0
    about: Literal["hold", "callback"] = "hold"
    """What it was asked about last."""
    offering: bool = False
    """The offer has been made and not been answered."""
    listen_until: float | None = None
    """When silence answers the offer; None while its prompt plays."""
    words: str = ""
    """Of the offer."""
    unstaffed_since: float | None = None
    told_longer: bool = False


class Asking(Struct):
    """Questions going by text."""

    state: str
    index: int
    """The queue action the questions belong to."""
    refs: list[int]
    """Texts whose fate is not known yet."""
    pending: int | None = 0
    """The question that waits for an answer; None: none."""
    stopped: bool = False
    """An agent is there: what was asked may still be answered, nothing more is asked."""


class Memory(Struct):
    """Everything a run remembers. Plain data."""

    state: str
    language: str
    index: int = 0
    wait: AnyWait | None = None
    wake_at: float | None = None
    voice: bool = True
    """A call is up."""
    answered: bool = False
    over: bool = False
    reason: str = "completed"
    variables: dict[str, Value] = field(default_factory=dict)
    menu_path: list[str] = field(default_factory=list)
    typed: str = ""
    """Keys pressed before they were asked for."""
    callback: bool = False
    """The caller is to be called back unless they rather wait."""
    window: tuple[int, int] | None = None
    """Minutes that were left, as they would have been told, when the caller chose to be called back."""
    offered: list[Literal["hold", "deflect"]] = field(default_factory=list)
    place_since: float | None = None
    promise: float | None = None
    """Until when, by what was said, an agent would be there."""
    apologised: bool = False
    told_at: float | None = None
    """When a wait was last told."""
    line: Line | None = None
    asking: Asking | None = None
    texts: list[int] = field(default_factory=list)
    """Texts sent by the flow whose fate is not known yet."""
    plays: int = 0
    requests: int = 0
    refs: int = 0


# --- one sprint ------------------------------------------------------------------------------------------


class Sprint:
    """A run at one instant: the tools that actions and treatments share."""

    def __init__(self, flow: Flow, memory: Memory, facts: Facts, now: float) -> None:
        self.flow = flow
        self.memory = memory
        self.facts = facts
        self.now = now
        self.outputs: list[out.Output] = []

    @property
    def action(self) -> AnyAction:
        """The action the run stands at."""
        return self.flow.states[self.memory.state][self.memory.index]

    @property
    def queue(self) -> Queue:
        """The queue the run stands at; only while it waits in line or talks to an agent."""
        action = self.action
        assert isinstance(action, Queue)
        return action

    def emit(self, *outputs: out.Output) -> None:
        """Say something, after what has been said."""
        self.outputs.extend(outputs)

    def trace(self, detail: str, values: Mapping[str, Value] | None = None) -> None:
        """Leave the reason of a decision."""
        action = self.action
        self.emit(out.Trace(self.memory.state, action.line, action.NAME, detail, dict(values or {})))

    # where to go

    def goto(self, state: str) -> None:
        """Go to the beginning of *state*."""
        self.memory.state, self.memory.index, self.memory.wait = state, 0, None

    def onward(self, target: str | None = None) -> None:
        """Go to *target*, or to the next action."""
        if target is not None:
            self.goto(target)
        else:
            self.memory.index += 1
            self.memory.wait = None

    def end(self, reason: str) -> None:
        """End the flow, and the call if there still is one."""
        memory = self.memory
        if memory.voice:
            memory.voice = False
            self.emit(out.HangUp(reason))
        memory.over, memory.wait, memory.wake_at, memory.line, memory.typed = True, None, None, None, ""
        self.emit(out.Ended(reason))

    # what things are

    def scope(self, extra: Mapping[str, object] | None = None) -> Scope:
        """Names and what they stand for now."""
        memory = self.memory
        waited = self.facts.waited if memory.place_since is None else max(0.0, self.now - memory.place_since)
        values = {
            **memory.variables,
            "language": memory.language,
            "menu_path": " ".join(memory.menu_path),
            "place_in_line": memory.place_since,
            "waited": waited,
            **(extra or {}),
        }
        return Scope(self.facts, values)

    def spoken(self, key: str, extra: Mapping[str, object] | None = None, language: str | None = None) -> out.Spoken:
        """A prompt as it is heard now."""
        prompt, catalogue = self.flow.prompt(key, language or self.memory.language)
        value_of = self.scope(extra).name
        words = catalogue.words(prompt.say or prompt.written(), value_of)
        return out.Spoken(key, catalogue.language, words, catalogue.recordings(prompt, value_of))

    def asked_of_agent(self, skills: tuple[str, ...]) -> tuple[str, ...]:
        """Skills with their `{names}` filled in; one that is empty now is left out."""
        return tuple(skill for skill in map(self.filled, skills) if skill and not skill.endswith(":"))

    def priority(self, expression: Expression | None) -> int:
        """0 is most urgent; 1 when nothing is said."""
        value = expression.evaluate(self.scope()) if expression else 1.0
        return max(0, min(9, int(value))) if isinstance(value, float) else 1

    def card(self) -> dict[str, Any]:
        """What the agent reads: the language, the way through the menus, the variables."""
        memory = self.memory
        return {"language": memory.language, "menu_path": list(memory.menu_path), **memory.variables}

    def written(self, key: str, extra: Mapping[str, object] | None = None) -> str:
        """A prompt as it is sent now."""
        prompt, catalogue = self.flow.prompt(key, self.memory.language)
        return catalogue.words(prompt.written(), self.scope(extra).name).strip()

    def filled(self, template: str) -> str:
        """A text of the flow file with its `{names}` filled in."""
        return self.flow.catalogues[self.flow.default_language].words(template, self.scope().name)

    # what to do

    @property
    def can_text(self) -> bool:
        """Whether the caller can be texted, as far as anybody knows."""
        return self.facts.caller is not None and self.facts.can_text and not self.facts.opted_out

    def store(self, name: str, value: Value) -> None:
        """Give a variable a value."""
        self.memory.variables[name] = as_value(value)
        self.emit(out.Stored(name, value))

    def play(self, *prompts: out.Spoken, barge_in: bool = True) -> int:
        """Play prompts; their number."""
        self.memory.plays += 1
        self.emit(out.Play(self.memory.plays, prompts, barge_in))
        return self.memory.plays

    def say(self, key: str, *, barge_in: bool = True, then: str | None = None) -> None:
        """Play a prompt and wait for its end."""
        self.memory.wait = ForPrompt(self.play(self.spoken(key), barge_in=barge_in), self.now + PLAY_LIMIT, barge_in, then)

    def music(self, name: str | None) -> None:
        """Music, or silence where there is none."""
        self.emit(out.Music(name) if name else out.Silence())

    def request(self) -> int:
        """A new number for a question to the policy."""
        self.memory.requests += 1
        return self.memory.requests

    def ref(self) -> int:
        """A new number for a text."""
        self.memory.refs += 1
        return self.memory.refs

    def keep_place(self) -> float:
        """The place in line: from now on at the latest."""
        if self.memory.place_since is None:
            self.memory.place_since = self.now
        return self.memory.place_since

    def agreed(self, kind: Literal["hold", "deflect"], purpose: str, words: str, digit: str) -> None:
        """The caller said yes to an offer."""
        self.emit(
            out.OfferAnswered(kind, "accepted", digit),
            out.ConsentGiven(purpose, True, words, self.memory.language, digit),
        )
