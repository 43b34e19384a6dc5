"""The vocabulary: ids, what happened (past tense) and what to do (imperative).

Everything that reaches a `Session` is an `Event`, everything that leaves it is a `Command`. Both are frozen and go
through JSON unharmed, because the journal keeps every one of them. All times are seconds since the Unix epoch: a
session outlives the process, so its clock has to as well.
"""

from collections.abc import Mapping
from typing import Any, Literal, NewType, TypeAlias

import msgspec

SessionId = NewType("SessionId", str)
LegId = NewType("LegId", str)
"""One call leg or agent leg. Made by the call provider; nobody else may take it apart."""
AgentId = NewType("AgentId", str)
QueueId = NewType("QueueId", str)
MessageId = NewType("MessageId", str)
"""Our own id of a text, given before it is sent; the idempotency key of its outbox row."""
ProviderRef = NewType("ProviderRef", str)
"""The provider's id for a call or a text. Only the provider that made it may parse it."""

Channel: TypeAlias = Literal["voice", "sms"]
EndedBy: TypeAlias = Literal["caller", "agent", "platform", "network"]
OfferKind: TypeAlias = Literal["hold", "deflect"]
Purpose: TypeAlias = Literal["session", "care", "marketing"]
TextState: TypeAlias = Literal[
    "pending", "accepted", "queued", "sending", "sent", "delivered", "read", "undelivered", "failed", "canceled"
]  # fmt: skip
Keyword: TypeAlias = Literal["stop", "start", "help"]
Service: TypeAlias = Literal["call", "inbound", "outbound", "api", "direct"]
"""How a session began: with a call, a customer's text, an agent's, the API's, or a text to an agent's own number."""


class Media(msgspec.Struct, frozen=True):
    """A picture, video or document of a text, already stored under the hash of its content."""

    digest: str
    content_type: str
    size: int
    """Bytes."""


# --- what happened ---------------------------------------------------------------------------------------------------


class Event(msgspec.Struct, frozen=True, tag_field="event", tag=True):
    """Something that happened to one session."""


class CallArrived(Event, frozen=True):
    """A caller's INVITE (or its like) is at the door; nothing has been answered yet."""

    leg: LegId
    provider: str
    caller: str | None
    """E.164, or None when withheld."""
    called: str
    """The number dialled, E.164."""


class DigitsReceived(Event, frozen=True):
    """The caller pressed one key, or several where the provider collects them itself."""

    leg: LegId
    digits: str


class PromptFinished(Event, frozen=True):
    """A `PlayPrompts` is over."""

    leg: LegId
    play: int
    completed: bool
    """False when a key, a stop or a newer play cut it."""
    heard: float
    """Seconds of it that were played."""


class AgentLegAnswered(Event, frozen=True):
    """The agent's phone was picked up; hold music has stopped and both legs' media are joined."""

    leg: LegId
    agent_leg: LegId


class AgentLegFailed(Event, frozen=True):
    """The agent's phone did not answer, was busy or could not be reached. The caller's leg is untouched."""

    leg: LegId
    agent_leg: LegId
    status: int
    """SIP status (RFC 3261 section 21); 408 when nobody answered within the ring timeout."""
    reason: str


class AudioConnected(Event, frozen=True):
    """The first audio packet has gone through in each direction between caller and agent."""

    leg: LegId
    agent_leg: LegId


class AgentLegEnded(Event, frozen=True):
    """A connected agent leg is over while the caller's leg lives on."""

    leg: LegId
    agent_leg: LegId
    by: EndedBy


class CallEnded(Event, frozen=True):
    """The caller's leg is over; an agent leg that was connected to it has been ended too."""

    leg: LegId
    by: EndedBy
    cause: str
    """Short and stable: `bye`, `cancel`, `timeout`, `media_timeout`, `restart`, or a SIP status as text."""


class TextArrived(Event, frozen=True):
    """The customer sent a text."""

    message: MessageId
    provider: str
    ref: ProviderRef
    sender: str
    recipient: str
    body: str
    media: tuple[Media, ...] = ()
    keyword: Keyword | None = None
    """Set when the whole text is an opt-out, opt-in or help word."""
    answered_by_provider: bool = False
    """The provider has already replied to the keyword itself; we must not."""
    confidence: Literal["certain", "probable"] = "certain"
    why: str = ""
    """How `correlation` found this session."""
    media_lost: int = 0
    """Pictures that could not be fetched, or are not of a kind we take."""
    suspicious: bool = False
    """No keyword, but it sounds like a wish to be left alone: nothing is sent unasked until an agent has judged it."""


class TextAccepted(Event, frozen=True):
    """The provider took the text and gave it an id."""

    message: MessageId
    ref: ProviderRef
    segments: int


SUPPRESSED = "suppressed"
"""The code of a text that our own outbox did not send. The ledger has the opt-out, and whoever must know is told: of a definite
one by `OptOutChanged`; one that no agent has judged belongs to the conversation in which it was written."""


class TextRejected(Event, frozen=True):
    """The text was not and will not be sent."""

    message: MessageId
    error_class: str
    code: str
    explanation: str


class TextReported(Event, frozen=True):
    """A delivery report moved the text's state forward (ranks only rise)."""

    message: MessageId
    state: TextState
    code: str | None = None


class OptOutChanged(Event, frozen=True):
    """The customer sent STOP or START in another conversation with the same number of ours; it holds for all of them."""

    opted_out: bool


class OptOutJudged(Event, frozen=True):
    """An agent has read a text that sounded like a wish to be left alone, and says whether it was one."""

    agent: AgentId
    meant: bool


class OfferDecided(Event, frozen=True):
    """The answer to `DecideOffer`."""

    request: int
    kind: OfferKind
    offer: bool
    reason: str
    """`offer`, `below_threshold`, `sms_not_faster`, `sms_over_capacity`, `sms_unstaffed`, `cannot_text`, ..."""
    inputs: Mapping[str, Any]
    """Everything the decision was made of, for `explain`."""


class AgentOffered(Event, frozen=True):
    """This session's work is ringing at an agent's desk."""

    agent: AgentId
    channel: Channel


class OfferLapsed(Event, frozen=True):
    """The agent declined or let it ring; the session keeps its place."""

    agent: AgentId
    channel: Channel
    reason: Literal["declined", "ring_timeout", "signed_out", "withdrawn"]


class AgentAccepted(Event, frozen=True):
    """An agent took the work."""

    agent: AgentId
    name: str
    channel: Channel
    address: str | None = None
    """Where the agent's phone is (`sip:...`), for a call."""


class AgentSaid(Event, frozen=True):
    """An agent wrote a text, own words or a preset."""

    agent: AgentId
    body: str
    preset: str | None = None
    once: str | None = None
    """The desk's name for this text; the same name again is the same text, asked for twice."""
    media: tuple[Media, ...] = ()


class AgentOpened(Event, frozen=True):
    """An agent begins a conversation: the session is new, the chat is theirs at once."""

    agent: AgentId
    name: str
    queue: QueueId
    body: str
    preset: str | None = None
    media: tuple[Media, ...] = ()


class ApiSaid(Event, frozen=True):
    """A program sends a text to the customer; an answer goes to an agent."""

    message: MessageId
    """Chosen by the API, so that it can tell the program; the same id again is the same text, asked for twice."""
    author: str
    """`api:<key name>`."""
    body: str
    purpose: Purpose = "care"
    media: tuple[Media, ...] = ()
    agent: AgentId | None = None
    """Who should have the answer; None: whoever takes the queue's chats."""
    queue: QueueId | None = None
    """The desk for the answer; None: the number's."""
    due_at: float | None = None
    """Not before; None: now."""
    expires_at: float | None = None
    ticket: str | None = None
    """What it is about in the program's own books; agents see it."""


class UploadAsked(Event, frozen=True):
    """An agent asks for pictures where they cannot come by text: a link to a page that takes them goes out."""

    agent: AgentId
    url: str
    token: str
    """Hash of the link's secret: its key in the journal."""
    expires_at: float
    once: str | None = None


class MediaUploaded(Event, frozen=True):
    """The customer has used the link."""

    token: str
    media: tuple[Media, ...]
    refused: int = 0
    """Files that are not of a kind we take, or not clean."""


class AgentTransferred(Event, frozen=True):
    """An agent hands the chat on, to a colleague or to a queue."""

    agent: AgentId
    queue: QueueId
    to: AgentId | None = None
    """None: whoever takes the queue's chats."""
    to_name: str | None = None
    note: str = ""


class AgentDismissed(Event, frozen=True):
    """An agent puts a silent chat aside; it comes back when the customer writes."""

    agent: AgentId


class AgentHungUp(Event, frozen=True):
    """An agent ended the call from the desk."""

    agent: AgentId


class AgentEndedChat(Event, frozen=True):
    """An agent closed the text conversation."""

    agent: AgentId


class WrapUpNoted(Event, frozen=True):
    """An agent wrote the note of the finished work."""

    agent: AgentId
    note: str
    disposition: str | None = None


class AgentLost(Event, frozen=True):
    """The agent's desk has been gone for longer than the grace time."""

    agent: AgentId


class ProcessRestarted(Event, frozen=True):
    """The server died and came back: a call leg cannot have survived, texts and places have."""


AnyEvent: TypeAlias = (
    CallArrived | DigitsReceived | PromptFinished | AgentLegAnswered | AgentLegFailed | AudioConnected | AgentLegEnded
    | CallEnded | TextArrived | TextAccepted | TextRejected | TextReported | OptOutChanged | OptOutJudged | OfferDecided
    | AgentOffered | OfferLapsed | AgentAccepted | AgentSaid | AgentOpened | ApiSaid | UploadAsked | MediaUploaded
    | AgentTransferred | AgentDismissed | AgentHungUp | AgentEndedChat | WrapUpNoted | AgentLost | ProcessRestarted
)  # fmt: skip
CallEvent: TypeAlias = (
    CallArrived | DigitsReceived | PromptFinished | AgentLegAnswered | AgentLegFailed | AudioConnected | AgentLegEnded | CallEnded
)
"""What a call provider may report."""


# --- what to do ------------------------------------------------------------------------------------------------------


class Command(msgspec.Struct, frozen=True, tag_field="command", tag=True):
    """Something a session wants done. A command that fails comes back as an event."""


class AnswerCall(Command, frozen=True):
    """Answer the caller's leg (200 OK); media starts."""

    leg: LegId


class RefuseCall(Command, frozen=True):
    """Refuse an unanswered caller's leg."""

    leg: LegId
    status: int
    """SIP status, 4xx to 6xx."""


class PlayPrompts(Command, frozen=True):
    """Play recordings one after the other; ends music and any earlier play (which reports `completed=False`)."""

    leg: LegId
    play: int
    audio: tuple[str, ...]
    """Paths relative to the prompts folder."""
    barge_in: bool = True
    """A key ends it at once; without, keys are still reported and the prompt goes on."""


class PlayMusic(Command, frozen=True):
    """Loop a piece of music until something else is played or an agent answers. It resumes where it was left."""

    leg: LegId
    name: str


class StopAudio(Command, frozen=True):
    """Silence."""

    leg: LegId


class ConnectAgent(Command, frozen=True):
    """Ring an agent's phone and join it to the caller when it answers. What the caller hears is cut at that instant."""

    leg: LegId
    agent_leg: LegId
    address: str
    ring_timeout: float = 20.0


class DropAgent(Command, frozen=True):
    """End the agent leg (ringing or connected) and keep the caller."""

    leg: LegId
    agent_leg: LegId


class HangUp(Command, frozen=True):
    """End the caller's leg, and an agent leg with it."""

    leg: LegId


class SendText(Command, frozen=True):
    """Send a text by the outbox: at most once handed over, never silently lost."""

    message: MessageId
    recipient: str
    sender: str
    body: str
    purpose: Purpose
    priority: int
    """0 is most urgent: agent chat 0, deflection 1, hold-time 2, API 3."""
    author: str
    """`agent:<id>`, `flow` or `system`."""
    expires_at: float | None = None
    """A hold-time text that would be late is dropped, not delivered late."""
    required: bool = False
    """The one answer owed to STOP, START or HELP: sent even to a number that has opted out."""
    media: tuple[Media, ...] = ()
    due_at: float | None = None
    """Not before; None: now."""
    preset: str | None = None


class DecideOffer(Command, frozen=True):
    """Ask the offer policy; the answer is `OfferDecided`."""

    request: int
    kind: OfferKind
    queue: QueueId
    desk: QueueId | None


class ReportOffer(Command, frozen=True):
    """Tell the offer policy how an offer was answered; it learns the acceptance rate."""

    queue: QueueId
    accepted: bool


class JoinQueue(Command, frozen=True):
    """Stand in line. Joining again with the same `since` keeps the place."""

    queue: QueueId
    channel: Channel
    since: float
    """The place in line: when the customer began to wait, whatever leg that was on."""
    priority: int = 1
    """0 is most urgent."""
    skills: tuple[str, ...] = ()
    """What the agent must have. Everybody has the skill `agent:<own id>`: so one agent alone can be meant."""


class LeaveQueue(Command, frozen=True):
    """Leave the line without an agent."""

    channel: Channel
    outcome: Literal["abandoned", "deflected", "timed_out", "opted_out", "closed"]


class ReleaseAgent(Command, frozen=True):
    """The agent's part in this session is over on this channel."""

    agent: AgentId
    channel: Channel
    wrap_up: bool = True


class OfferMenu(Command, frozen=True):
    """The customer is asked by text what it is about, and the next text answers that."""


class AssignAgent(Command, frozen=True):
    """The agent has the work already: they began it."""

    agent: AgentId
    channel: Channel
    queue: QueueId


class KeepUpload(Command, frozen=True):
    """Remember a link for pictures, so that it works once and until it expires."""

    token: str
    message: MessageId | None
    expires_at: float


class Record(Command, frozen=True):
    """One line of the session's timeline, for the desk and for `explain`."""

    kind: str
    """`call.arrived`, `prompt.played`, `menu.chosen`, `ewt.told`, `consent.given`, `text.received`, ..."""
    data: Mapping[str, Any]


class RecordConsent(Command, frozen=True):
    """Append to the consent ledger."""

    number: str
    purpose: Purpose
    granted: bool
    words: str
    """The exact words heard or read."""
    language: str
    evidence: str
    """`digit 1 on <leg>` or `message <id>`."""
    sender: str
    """Our number that the agreement is with."""
    prompt: str | None = None
    """Key of the prompt or text in the flow or menu."""
    version: str | None = None
    """Revision of the flow or menu."""


class OptOut(Command, frozen=True):
    """No more texts to this number until it opts in again."""

    number: str
    sender: str
    evidence: str
    provisional: bool = False
    """It only sounded like it: until an agent has judged."""


class OptIn(Command, frozen=True):
    """The number wants texts again."""

    number: str
    sender: str
    evidence: str


class CloseSession(Command, frozen=True):
    """Every leg is over; nothing more is expected."""

    reason: str


AnyCommand: TypeAlias = (
    AnswerCall | RefuseCall | PlayPrompts | PlayMusic | StopAudio | ConnectAgent | DropAgent | HangUp | SendText
    | DecideOffer | ReportOffer | JoinQueue | LeaveQueue | ReleaseAgent | OfferMenu | AssignAgent | KeepUpload | Record
    | RecordConsent | OptOut | OptIn | CloseSession
)  # fmt: skip
CallCommand: TypeAlias = AnswerCall | RefuseCall | PlayPrompts | PlayMusic | StopAudio | ConnectAgent | DropAgent | HangUp
"""What a call provider must be able to do."""
