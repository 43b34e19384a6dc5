"""What a flow run says (outputs) and what it may be told (resumes).

Both go through JSON unharmed. Numbers that the run gives out (`play`, `request`, `ref`) come back in the resume that
reports on them; they start at 1 and never repeat within a run. Times are seconds.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from msgspec import Struct

# --- outputs -----------------------------------------------------------------------------------------------------------


class Output(Struct, frozen=True, tag_field="output", tag=True):
    """Something the run wants done, or wants known. To be performed in order."""


class Spoken(Struct, frozen=True):
    """One prompt as the caller hears it."""

    key: str
    language: str
    text: str
    """The words, variables filled in."""
    audio: tuple[str, ...]
    """Recordings, one after the other, relative to the prompts folder."""


class Answer(Output, frozen=True):
    """Answer the call."""


class Play(Output, frozen=True):
    """Play prompts; ends music and any earlier play. `PromptFinished` with the same number tells when it is over."""

    play: int
    prompts: tuple[Spoken, ...]
    barge_in: bool = True
    """A key ends it at once."""


class Music(Output, frozen=True):
    """Loop `music/<name>.wav` of the prompts folder until something else is played."""

    name: str


class Silence(Output, frozen=True):
    """Nothing is to be heard any more."""


class LanguageChosen(Output, frozen=True):
    """Everything said and written from here is in this language."""

    language: str
    by: Literal["key", "guess", "default"]


class MenuChosen(Output, frozen=True):
    """The caller chose from a menu."""

    state: str
    prompt: str
    key: str
    target: str


class Stored(Output, frozen=True):
    """A variable has a new value."""

    name: str
    value: Any


class AskOffer(Output, frozen=True):
    """Ask the policy whether texting, or being called back, may be offered now; `OfferVerdict` answers."""

    request: int
    kind: Literal["hold", "deflect", "callback"]
    queue: str
    desk: str | None


class OfferMade(Output, frozen=True):
    """The caller is being asked."""

    kind: Literal["hold", "deflect", "callback"]
    prompt: str
    words: str


class OfferAnswered(Output, frozen=True):
    """What the caller made of it."""

    kind: Literal["hold", "deflect", "callback"]
    answer: Literal["accepted", "declined", "no_input"]
    digit: str | None


class ConsentGiven(Output, frozen=True):
    """The caller agreed to be texted, in answer to these words. A refused offer gives none: it withdraws nothing."""

    purpose: str
    granted: bool
    words: str
    language: str
    digit: str


class SendText(Output, frozen=True):
    """Send a text; `TextDelivered` or `TextFailed` tell its fate."""

    ref: int
    key: str
    body: str
    language: str
    purpose: str
    kind: Literal["deflect", "hold", "flow"]
    expires_in: float | None
    """Seconds after which it is better not sent at all; None: never too late."""
    media: bool = False
    """It asks for a picture, so whoever sends it says how one can be sent."""


class OpenText(Output, frozen=True):
    """Text the caller and hand the conversation that follows to a desk; `TextDelivered` or `TextFailed` tell its fate."""

    ref: int
    key: str
    desk: str
    body: str
    language: str
    purpose: str
    carry: Mapping[str, Any]
    """What the desk's card shows: the variables named in the flow."""
    since: float
    """The place in line the conversation takes with it."""
    expires_in: float | None


class WithdrawText(Output, frozen=True):
    """Nobody waits for this text any more: cancel it if that is still possible. A reply belongs to the call."""

    ref: int
    why: str


class AnswerStored(Output, frozen=True):
    """The caller answered a question by text."""

    question: str
    body: str
    media: int
    """How many pictures or videos came with it."""


class JoinQueue(Output, frozen=True):
    """Stand in line. `since` is the place: when this caller began to wait, before any detour."""

    queue: str
    since: float
    priority: int
    """0 is most urgent."""
    skills: tuple[str, ...]
    whisper: str | None
    """One line for the agent's card."""
    card: Mapping[str, Any]
    """The flow's variables as they are now."""


class LeaveQueue(Output, frozen=True):
    """The caller is no longer in line."""

    outcome: Literal["abandoned", "timed_out", "no_agents", "key", "callback"]


class CallbackPromised(Output, frozen=True):
    """The caller has been told that they will be called back; the flow goes on, as a rule to the end of the call."""

    queue: str
    number: str | None
    """E.164 or as keyed; None: the caller's own."""
    since: float
    """The place in line, which is kept."""
    priority: int
    skills: tuple[str, ...]
    whisper: str | None
    card: Mapping[str, Any]
    due_at: float | None
    """Not before; None: as soon as it is their turn."""
    promised_by: float | None
    """Until when, by what was said; None: no time was named."""


class EwtTold(Output, frozen=True):
    """The caller was told how long it takes; None, None: that it takes longer than usual."""

    low_minutes: int | None
    high_minutes: int | None
    """0 is "less than a minute"."""
    words: str


class PositionTold(Output, frozen=True):
    """The caller was told the place in line."""

    position: int
    words: str


class CallbackWithdrawn(Output, frozen=True):
    """The caller rather waits in line."""


class Promised(Output, frozen=True):
    """Something the caller was promised: `place_kept`, `text_on_its_way`."""

    what: str


class HangUp(Output, frozen=True):
    """End the call."""

    reason: str


class Ended(Output, frozen=True):
    """The flow is over."""

    reason: str


class Trace(Output, frozen=True):
    """Why the run did what it did, for `explain`."""

    state: str
    line: int
    action: str
    detail: str
    values: Mapping[str, Any]
    """What was read to decide."""


AnyOutput: TypeAlias = (
    Answer | Play | Music | Silence | LanguageChosen | MenuChosen | Stored | AskOffer | OfferMade | OfferAnswered
    | ConsentGiven | SendText | OpenText | WithdrawText | AnswerStored | JoinQueue | LeaveQueue | EwtTold | PositionTold
    | CallbackPromised | CallbackWithdrawn | Promised | HangUp | Ended | Trace
)  # fmt: skip


# --- resumes -----------------------------------------------------------------------------------------------------------


class Resume(Struct, frozen=True, tag_field="resume", tag=True):
    """Something that happened to a run."""


class PromptFinished(Resume, frozen=True):
    """A `Play` is over."""

    play: int
    completed: bool = True


class Keys(Resume, frozen=True):
    """The caller pressed one key or several: `0` to `9`, `*`, `#`."""

    digits: str


class OfferVerdict(Resume, frozen=True):
    """The policy's answer to `AskOffer`."""

    request: int
    offer: bool
    reason: str = ""


class TextDelivered(Resume, frozen=True):
    """A text of this run has reached the phone."""

    ref: int


class TextFailed(Resume, frozen=True):
    """A text of this run will not reach the phone."""

    ref: int
    reason: str = ""


class TextReceived(Resume, frozen=True):
    """The customer sent a text, and it is no command word."""

    body: str
    media: int = 0


class AgentAnswered(Resume, frozen=True):
    """An agent has the caller on the line. Whatever was playing has already been cut."""


class AgentEnded(Resume, frozen=True):
    """The agent has left; the caller is still there."""


class Requeued(Resume, frozen=True):
    """The agent has handed the caller on: they stand in line again, perhaps in another queue, and are treated as before."""


class CallEnded(Resume, frozen=True):
    """The caller's call is over."""


AnyResume: TypeAlias = (
    PromptFinished | Keys | OfferVerdict | TextDelivered | TextFailed | TextReceived | AgentAnswered | AgentEnded | Requeued
    | CallEnded
)  # fmt: skip
