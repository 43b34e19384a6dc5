"""What a YAML flow means: the actions with their fields, prompts, and the flow they make up.

The structs here are the one description of the language. The loader reads YAML by them, `lint` finds every reference in
them, `describe` makes the JSON Schema from them. A field's marker (`Target`, `PromptKey`, ...) says what its text is.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

from msgspec import Struct, field

from ivr_flows.expressions import Call, Expression, Value, text_of
from ivr_flows.expressions import Literal as Fixed
from ivr_flows.shapes import Part, Ref, walk

Target = Annotated[str, Ref("state")]
PromptKey = Annotated[str, Ref("prompt")]
"""A prompt that is spoken."""
TextKey = Annotated[str, Ref("text")]
"""A prompt that is written."""
QueueName = Annotated[str, Ref("queue")]
DeskName = Annotated[str, Ref("desk")]
HoursName = Annotated[str, Ref("hours")]
Language = Annotated[str, Ref("language")]
Purpose = Annotated[str, Ref("purpose")]
Key = Annotated[str, Ref("key")]
"""One key of a telephone."""
Variable = Annotated[str, Ref("variable")]
"""A variable that is set."""
Readable = Annotated[str, Ref("readable")]
"""A variable or fact that is read."""
Template = Annotated[str, Ref("template")]
"""Text with `{names}`."""
Recording = Annotated[str, Ref("recording")]
MusicName = Annotated[str, Ref("music")]
Number = Annotated[str, Ref("number")]
"""E.164."""
Duration = Annotated[float, Ref("duration")]

PURPOSES = frozenset({"session", "care", "marketing"})


class Action(Part, frozen=True, kw_only=True):
    """One step of a state."""

    LEG: ClassVar[Literal["voice", "any"]] = "any"
    """`voice`: only while a call is up."""
    line: Annotated[int, Ref("line")] = 0
    """Line of the file it stands on."""


class Retry(Part, frozen=True, kw_only=True):
    """What is said when nothing, or nothing sensible, was keyed: one prompt per try, and where it ends."""

    SHORT: ClassVar[str] = "goto"
    prompts: tuple[PromptKey, ...] = ()
    goto: Target


class Answer(Action, frozen=True, kw_only=True):
    """Answer the call."""

    LEG: ClassVar[Literal["voice", "any"]] = "voice"
    NAME: ClassVar[str] = "answer"


class Say(Action, frozen=True, kw_only=True):
    """Play a prompt of the catalogue."""

    LEG: ClassVar[Literal["voice", "any"]] = "voice"
    NAME: ClassVar[str] = "say"
    SHORT: ClassVar[str] = "prompt"
    prompt: PromptKey
    barge_in: bool = True


class Play(Action, frozen=True, kw_only=True):
    """Play a recording by its path below the prompts folder."""

    LEG: ClassVar[Literal["voice", "any"]] = "voice"
    NAME: ClassVar[str] = "play"
    SHORT: ClassVar[str] = "audio"
    audio: Recording
    barge_in: bool = True


class Menu(Action, frozen=True, kw_only=True):
    """One key leads to one state."""

    LEG: ClassVar[Literal["voice", "any"]] = "voice"
    NAME: ClassVar[str] = "menu"
    prompt: PromptKey
    keys: Mapping[Key, Target]
    no_input: Retry | None = None
    no_match: Retry | None = None
    first_key: Duration | None = None
    barge_in: bool = True


class Collect(Action, frozen=True, kw_only=True):
    """Take several keys into a variable. Without an end key or too short is a no-match; only the end key is empty."""

    LEG: ClassVar[Literal["voice", "any"]] = "voice"
    NAME: ClassVar[str] = "collect"
    prompt: PromptKey
    into: Variable
    digits: Annotated[str, Ref("digits")]
    """`8`, or `4-8`."""
    empty: Target | None = None
    """Where only the end key leads; without it that is a no-match."""
    no_input: Retry | None = None
    no_match: Retry | None = None
    failed: Target | None = None
    """Short for `no_input` and `no_match` with one more try each."""
    first_key: Duration | None = None
    next_key: Duration | None = None
    barge_in: bool = True

    def length(self) -> tuple[int, int]:
        """Fewest and most digits."""
        low, _, high = self.digits.partition("-")
        return int(low), int(high or low)


class Branch(Part, frozen=True, kw_only=True):
    """One line of `choose`: `{when, goto}`, and `{otherwise}` at the end."""

    when: Expression | None = None
    goto: Target | None = None
    otherwise: Target | None = None


class Choose(Action, frozen=True, kw_only=True):
    """Go where the first true condition leads."""

    NAME: ClassVar[str] = "choose"
    WHOLE: ClassVar[str] = "branches"
    branches: tuple[Branch, ...]


class Set(Action, frozen=True, kw_only=True):
    """Give variables values, in order."""

    NAME: ClassVar[str] = "set"
    WHOLE: ClassVar[str] = "values"
    values: Mapping[Variable, Expression]


class CheckHours(Action, frozen=True, kw_only=True):
    """Go by the opening hours."""

    NAME: ClassVar[str] = "hours"
    schedule: HoursName | None = None
    """None: the flow's own."""
    open: Target | None = None
    """None: the next action."""
    closed: Target
    holiday: Target | None = None
    """None: as closed."""


class Goto(Action, frozen=True, kw_only=True):
    """Go to another state."""

    NAME: ClassVar[str] = "goto"
    WHOLE: ClassVar[str] = "state"
    state: Target


class ChooseLanguage(Action, frozen=True, kw_only=True):
    """Let the caller pick a language; each line of the prompt is said in its own."""

    LEG: ClassVar[Literal["voice", "any"]] = "voice"
    NAME: ClassVar[str] = "language"
    prompt: PromptKey
    keys: Mapping[Key, Language]
    guess: tuple[Literal["contact.language", "caller.country"], ...] = ()
    first_key: Duration | None = None


class PlayMusic(Part, frozen=True, kw_only=True):
    """What is heard while waiting."""

    NAME: ClassVar[str] = "music"
    SHORT: ClassVar[str] = "name"
    name: MusicName


class Announce(Part, frozen=True, kw_only=True):
    """Tell the place in line and how long it takes, now and then."""

    NAME: ClassVar[str] = "announce"
    what: tuple[Literal["position", "ewt"], ...] = ("position", "ewt")
    after: Duration = 5.0
    every: Duration = 90.0


class Question(Part, frozen=True, kw_only=True):
    """Something asked by text while the caller waits."""

    into: Variable
    text: TextKey
    media: bool = False
    """A picture or video is wanted; the catalogue's `skip_words` go on without."""


class HoldOffer(Part, frozen=True, kw_only=True):
    """Offer a waiting caller to answer questions by text."""

    NAME: ClassVar[str] = "offer_sms"
    kind: Literal["hold"] = "hold"
    prompt: PromptKey
    after: Duration = 20.0
    accept: Key = "1"
    when: Expression | None = None
    purpose: Purpose = "session"
    hello: TextKey
    """Head of the first text: brand, purpose, rates, STOP and HELP."""
    accepted: PromptKey | None = None
    """Said when the caller has agreed."""
    failed: PromptKey | None = None
    """Said when the text could not be delivered."""
    ask: tuple[Question, ...]
    thanks: TextKey | None = None
    expires: Duration = 120.0
    """Texts that would be later than this are not sent at all."""


class OfferCallback(Part, frozen=True, kw_only=True):
    """Tell a waiting caller now and then that they can be called back; the key works from then on, whatever is being said."""

    NAME: ClassVar[str] = "offer_callback"
    prompt: PromptKey
    to: Target
    """Where the number is confirmed, and `callback` stands."""
    accept: Key = "2"
    after: Duration = 60.0
    every: Duration = 180.0
    when: Expression | None = None


Treatment: TypeAlias = PlayMusic | Announce | HoldOffer | OfferCallback
TREATMENTS: Mapping[str, type[Treatment]] = {kind.NAME: kind for kind in (PlayMusic, Announce, HoldOffer, OfferCallback)}


class Limits(Part, frozen=True, kw_only=True):
    """How long a caller is kept waiting; None is without end."""

    wait: Duration | None = None
    no_agents: Duration | None = None


class Then(Part, frozen=True, kw_only=True):
    """Where the outcomes of a queue lead. `answered` and `hung_up` may be left out: the next action, the end."""

    answered: Target | None = None
    waited_out: Target | None = None
    no_agents: Target | None = None
    hung_up: Target | None = None


class Queue(Action, frozen=True, kw_only=True):
    """Wait in line for an agent. The treatment is cut the moment one answers; keys work throughout."""

    LEG: ClassVar[Literal["voice", "any"]] = "voice"
    NAME: ClassVar[str] = "queue"
    name: QueueName
    skills: tuple[Template, ...] = ()
    priority: Expression | None = None
    """0 is most urgent; None is 1."""
    treatment: tuple[Treatment, ...] = ()
    keys: Mapping[Key, Target] = field(default_factory=dict)
    whisper: TextKey | None = None
    limits: Limits = Limits()
    then: Then = Then()


class CallBack(Action, frozen=True, kw_only=True):
    """Promise the caller a call, at the place in line they have, and say so. What follows is usually `hangup`."""

    LEG: ClassVar[Literal["voice", "any"]] = "voice"
    NAME: ClassVar[str] = "callback"
    queue: QueueName
    number: Readable | None = None
    """A variable with another number, as keyed; None: the caller's own."""
    hours: HoursName | None = None
    """While it is closed the callback waits until it opens; None: no hours."""
    skills: tuple[Template, ...] = ()
    priority: Expression | None = None
    whisper: TextKey | None = None
    say: PromptKey
    """Said when no time can be named."""
    window: PromptKey | None = None
    """Said instead, with `low` and `high` minutes, when the estimate is certain enough."""
    done: Target | None = None
    """None: the next action."""
    failed: Target
    """The number cannot be called from here."""


class OfferSms(Action, frozen=True, kw_only=True):
    """Offer to go on by text instead of waiting (deflection)."""

    LEG: ClassVar[Literal["voice", "any"]] = "voice"
    NAME: ClassVar[str] = "offer_sms"
    kind: Literal["deflect"] = "deflect"
    prompt: PromptKey
    queue: QueueName
    desk: DeskName
    accept: Key = "1"
    purpose: Purpose = "session"
    accepted: Target
    declined: Target
    unreachable: Target | None = None
    """None: as declined."""
    first_key: Duration | None = None


class SendSms(Action, frozen=True, kw_only=True):
    """Send a text and go on at once."""

    NAME: ClassVar[str] = "sms.send"
    SHORT: ClassVar[str] = "text"
    text: TextKey
    purpose: Purpose = "session"
    condition: Expression | None = field(default=None, name="if")
    expires: Duration | None = None


class OpenSms(Action, frozen=True, kw_only=True):
    """Text the caller, hand the conversation to a desk, and wait until the text has arrived."""

    LEG: ClassVar[Literal["voice", "any"]] = "voice"
    NAME: ClassVar[str] = "sms.open"
    desk: DeskName
    text: TextKey
    say: PromptKey
    carry: tuple[Readable, ...] = ()
    purpose: Purpose = "session"
    within: Duration = 25.0
    music: MusicName | None = None
    delivered: Target | None = None
    """None: the next action."""
    failed: Target
    apology: PromptKey
    """Said when it did not arrive; the caller keeps the place in line."""


class HangUp(Action, frozen=True, kw_only=True):
    """End the call; what follows in the state goes on by text alone."""

    LEG: ClassVar[Literal["voice", "any"]] = "voice"
    NAME: ClassVar[str] = "hangup"
    SHORT: ClassVar[str] = "reason"
    reason: str = "completed"


class End(Action, frozen=True, kw_only=True):
    """End the flow, and the call if there still is one."""

    NAME: ClassVar[str] = "end"
    SHORT: ClassVar[str] = "reason"
    reason: str = "completed"


AnyAction: TypeAlias = (
    Answer | Say | Play | Menu | Collect | Choose | Set | CheckHours | Goto | ChooseLanguage | Queue | CallBack | OfferSms
    | SendSms | OpenSms | HangUp | End
)  # fmt: skip
ACTIONS: Mapping[str, type[AnyAction]] = {
    kind.NAME: kind
    for kind in (
        Answer, Say, Play, Menu, Collect, Choose, Set, CheckHours, Goto, ChooseLanguage, Queue, CallBack, OfferSms, SendSms,
        OpenSms, HangUp, End,
    )
}  # fmt: skip


class Languages(Part, frozen=True, kw_only=True):
    """The languages a flow speaks."""

    default: Language
    available: tuple[Language, ...]


class Input(Part, frozen=True, kw_only=True):
    """How keys are taken when an action does not say otherwise."""

    first_key: Duration = 5.0
    next_key: Duration = 2.0
    end_key: Key = "#"


class Texts(Part, frozen=True, kw_only=True):
    """Texts that are sent without an action of the flow: what the number itself answers."""

    desk: DeskName
    """Who answers a text that belongs to no conversation."""
    hello: TextKey
    closed: TextKey
    help: TextKey
    stop: TextKey
    start: TextKey
    rescue: TextKey
    """After a call that was cut off."""
    in_call: TextKey
    """Goes before the first text an agent sends during a call."""


# --- prompts ------------------------------------------------------------------------------------------

PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*)(?::([a-z]+))?\}", re.ASCII)
"""`{name}` in a text, `{name:number}`, `{name:minutes}` or `{name:digits}` where it is spoken as well."""
FORMS = frozenset({"number", "minutes", "digits"})
"""Ways a variable can be spoken. There is a recording of each number and number of minutes for 0 to `LARGEST`; digits are read
one by one, what is none of them is left out."""
LARGEST = 60


class Prompt(Struct, frozen=True):
    """One prompt in one language."""

    say: str | None = None
    """The words that are spoken; None when it is only written."""
    text: str | None = None
    """The words that are written; None when they are those that are spoken."""
    audio: tuple[str, ...] = ()
    """Recordings and placeholders in the order they are heard."""

    def written(self) -> str:
        """Its form as a text."""
        return self.text if self.text is not None else self.say or ""


class Catalogue(Struct, frozen=True):
    """All prompts of a flow in one language."""

    language: str
    prompts: Mapping[str, Prompt]
    minute: str
    """"1 minute" in this language."""
    minutes: str
    """"{n} minutes" in this language."""
    number_audio: str
    """Where the number words are: a path with `{n}`."""
    minutes_audio: str

    def words(self, template: str, value_of: Callable[[str], Value]) -> str:
        """*template* with its placeholders filled in; what is not known leaves nothing."""

        def fill(match: re.Match[str]) -> str:
            value = value_of(match[1])
            if match[2] == "digits":
                return " ".join(digit for digit in text_of(value) if digit.isdigit())
            if match[2] == "minutes" and isinstance(value, float):
                return self.minute if value == 1 else self.minutes.replace("{n}", text_of(value))
            return text_of(value)

        return PLACEHOLDER.sub(fill, template)

    def recordings(self, prompt: Prompt, value_of: Callable[[str], Value]) -> tuple[str, ...]:
        """Paths of the recordings that make up the spoken form. A number above `LARGEST` is left out."""
        paths: list[str] = []
        for part in prompt.audio:
            match = PLACEHOLDER.fullmatch(part)
            if match is None:
                paths.append(part)
                continue
            value = value_of(match[1])
            if match[2] == "digits":
                paths += [self.number_audio.replace("{n}", digit) for digit in text_of(value) if digit.isdigit()]
            elif isinstance(value, float) and value.is_integer() and 0 <= value <= LARGEST:
                folder = self.minutes_audio if match[2] == "minutes" else self.number_audio
                paths.append(folder.replace("{n}", str(int(value))))
        return tuple(paths)


def fragments(words: str) -> tuple[str, ...]:
    """*words* cut into what is recorded as one piece and the placeholders between, without the spaces."""
    parts: list[str] = []
    at = 0
    for match in PLACEHOLDER.finditer(words):
        parts += [words[at : match.start()].strip(), match[0]]
        at = match.end()
    parts.append(words[at:].strip())
    return tuple(part for part in parts if part.strip(" .,;:!?"))


def placeholders(words: str) -> Iterator[tuple[str, str | None]]:
    """Names in *words* and the form each is spoken in."""
    for match in PLACEHOLDER.finditer(words):
        yield match[1], match[2]


class Preset(Struct, frozen=True):
    """A ready-made text for agents."""

    id: str
    title: Mapping[str, str]
    """By language."""
    text: Mapping[str, str]


# --- the flow ------------------------------------------------------------------------------------------


class Flow(Struct, frozen=True):
    """A flow that has been read and checked. A run is pinned to its `revision`."""

    name: str
    revision: str
    """Hash of everything it was read from."""
    version: int
    numbers: tuple[str, ...]
    languages: tuple[str, ...]
    default_language: str
    start: str
    states: Mapping[str, tuple[AnyAction, ...]]
    catalogues: Mapping[str, Catalogue]
    input: Input = Input()
    hours: str | None = None
    texts: Texts | None = None
    presets: tuple[Preset, ...] = ()

    def prompt(self, key: str, language: str) -> tuple[Prompt, Catalogue]:
        """A prompt in *language*, or in the default language where it is missing.

        Raises:
            KeyError: There is no such prompt; the loader has made sure that there is for every key of the flow.
        """
        for tried in (language, self.default_language):
            catalogue = self.catalogues.get(tried)
            if catalogue is not None and key in catalogue.prompts:
                return catalogue.prompts[key], catalogue
        raise KeyError(key)

    def text(self, key: str, language: str, values: Mapping[str, Value]) -> str:
        """The written form of a prompt with its `{names}` filled in from *values*."""
        prompt, catalogue = self.prompt(key, language)
        return catalogue.words(prompt.written(), values.get)

    def queues_named(self) -> frozenset[str]:
        """Queues and desks that the flow mentions anywhere: facts are needed for these."""
        return frozenset(name for kind, name in self._mentions() if kind in {"queue", "desk", "ewt"})

    def hours_named(self) -> frozenset[str]:
        """Opening-hours tables that the flow mentions."""
        named = {name for kind, name in self._mentions() if kind == "hours"}
        return frozenset(named | ({self.hours} if self.hours else set()))

    def _mentions(self) -> Iterator[tuple[str, str]]:
        found = [*walk(Mapping[str, tuple[AnyAction, ...]], self.states), *walk(Texts, self.texts)]
        for _, kind, value in found:
            if isinstance(value, Expression):
                for node in value.nodes():
                    if isinstance(node, Call) and isinstance(node.argument, Fixed):
                        yield node.function, text_of(node.argument.value)
            else:
                yield kind, str(value)


# --- the files -----------------------------------------------------------------------------------------------------------


class FlowFile(Part, frozen=True, kw_only=True):
    """A flow as it is written."""

    flow: str
    version: Literal["1"] = "1"
    numbers: tuple[Number, ...] = ()
    languages: Languages
    prompts: str
    """Folder below the prompts folder: one catalogue per language, `presets.yaml`."""
    hours: HoursName | None = None
    input: Input = Input()
    texts: Texts | None = None
    start: Target
    states: Mapping[Target, tuple[AnyAction, ...]]


class PromptEntry(Part, frozen=True, kw_only=True):
    """A prompt as it is written."""

    SHORT: ClassVar[str] = "say"
    say: str | None = None
    text: str | None = None
    audio: tuple[str, ...] | None = None
    """Own recordings below the prompts folder, with placeholders between; None: those made by `record`."""


class CatalogueFile(Part, frozen=True, kw_only=True):
    """The prompts of one language as they are written."""

    language: Language
    prompts: Mapping[str, PromptEntry]


class WordsFile(Part, frozen=True, kw_only=True):
    """Number words of one language: how a recording is spoken where the figure would be read wrongly."""

    language: Language
    minute: str
    minutes: str
    spoken: Mapping[str, str] = field(default_factory=dict)
    """Words for a recording, by its name (`minutes_1`)."""


class PresetEntry(Part, frozen=True, kw_only=True):
    """An agent's ready-made text as it is written."""

    id: str
    title: Mapping[Language, str]
    text: Mapping[Language, str]


class PresetsFile(Part, frozen=True, kw_only=True):
    """Ready-made texts as they are written."""

    presets: tuple[PresetEntry, ...]
