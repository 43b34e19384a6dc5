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
OfferKind: TypeAlias = Literal["hold", "deflect", "callback"]
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
    """The agent's phone (or one asked beside it) was not picked up, busy or out of reach. The caller's leg is untouched."""

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


class PhoneHeld(Event, frozen=True):
    """The agent has put the call on hold at the phone itself (RFC 3264 section 8.4)."""

    leg: LegId
    agent_leg: LegId


class PhoneResumed(Event, frozen=True):
    """The agent has taken it off hold there."""

    leg: LegId
    agent_leg: LegId


class CustomerAnswered(Event, frozen=True):
    """The customer has picked up a call of ours; their media and the agent's are joined."""

    leg: LegId


class CallEnded(Event, frozen=True):
    """The customer's leg is over; every agent leg of the call has been ended too."""

    leg: LegId
    by: EndedBy
    cause: str
    """Short and stable: `bye`, `cancel`, `timeout`, `media_timeout`, `restart`, or a SIP status as text: of a call of ours that
    was not picked up, the answer of the other end, 408 when there was none within the ring timeout."""


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


class QueueRedirected(Event, frozen=True):
    """This session stands in another line now, at the same place: nobody answered in the one it was in, or it was moved."""

    channel: Channel
    queue: QueueId
    """Where it was."""
    to: QueueId


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


class AgentHeld(Event, frozen=True):
    """An agent lets the caller wait: the caller hears music, the agent nothing."""

    agent: AgentId


class AgentResumed(Event, frozen=True):
    """The agent talks to the caller again."""

    agent: AgentId


class CallTransferred(Event, frozen=True):
    """An agent hands the call on without talking to whoever gets it: to a colleague, a queue or a number outside."""

    agent: AgentId
    queue: QueueId | None = None
    """Where the colleague is asked, or anybody; None: it goes to a number."""
    to: AgentId | None = None
    to_name: str | None = None
    number: str | None = None
    """E.164."""
    note: str = ""


class AgentConsulted(Event, frozen=True):
    """An agent wants to talk to a colleague, or to a number outside, while the caller waits."""

    agent: AgentId
    name: str
    """Of whom is asked; a number's is itself."""
    address: str
    """Where it rings: `sip:...`, or `tel:...` for a number."""
    to: AgentId | None = None
    queue: QueueId | None = None
    """What the call counts for when the colleague has it; None for a number."""
    note: str = ""


class AgentSwapped(Event, frozen=True):
    """The agent talks to the other one now: to the caller while whoever was asked waits, or the other way round."""

    agent: AgentId


class AgentTookBack(Event, frozen=True):
    """The agent goes on alone with the caller; whoever was asked is out."""

    agent: AgentId


class AgentCompleted(Event, frozen=True):
    """The agent leaves the caller to whoever was asked."""

    agent: AgentId


class AgentCalled(Event, frozen=True):
    """An agent calls the customer: first the agent's phone rings, then the customer's."""

    agent: AgentId
    name: str
    queue: QueueId
    """What the call counts for."""
    address: str
    """Where the agent's phone is."""


class CallbackAsked(Event, frozen=True):
    """A program asks that the customer be called back."""

    author: str
    queue: QueueId
    due_at: float | None = None
    """Not before; None: as soon as it is their turn."""
    reason: str = ""
    """What it is about; agents read it."""


class CallbackStarted(Event, frozen=True):
    """An agent does not wait until it is a callback's turn."""

    agent: AgentId
    name: str
    address: str


class CallbackCancelled(Event, frozen=True):
    """An agent or a program says that a callback is not wanted any more."""

    by: str
    """Name, for people."""


class AgentEndedChat(Event, frozen=True):
    """An agent closed the text conversation."""

    agent: AgentId


class ChatCalledOff(Event, frozen=True):
    """A supervisor ends a text conversation that no agent has in hand."""

    by: str
    """Name, for people."""


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
    | PhoneHeld | PhoneResumed | CustomerAnswered | CallEnded | TextArrived | TextAccepted | TextRejected | TextReported
    | OptOutChanged | OptOutJudged | OfferDecided | AgentOffered | OfferLapsed | QueueRedirected | AgentAccepted | AgentSaid
    | AgentOpened
    | ApiSaid | UploadAsked | MediaUploaded | AgentTransferred | AgentDismissed | AgentHungUp | AgentHeld | AgentResumed
    | CallTransferred | AgentConsulted | AgentSwapped | AgentTookBack | AgentCompleted | AgentCalled | CallbackAsked
    | CallbackStarted | CallbackCancelled | AgentEndedChat | ChatCalledOff | WrapUpNoted | AgentLost
    | ProcessRestarted
)  # fmt: skip
CallEvent: TypeAlias = (
    CallArrived | DigitsReceived | PromptFinished | AgentLegAnswered | AgentLegFailed | AudioConnected | AgentLegEnded
    | PhoneHeld | PhoneResumed | CustomerAnswered | CallEnded
)  # fmt: skip
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
    """Ring an agent's phone, or a number outside, and join it when it answers.

    Joined to the caller, what the caller hears is cut at that instant. On a call of ours that nobody has dialled yet the agent
    waits for the customer.
    """

    leg: LegId
    agent_leg: LegId
    address: str
    """`sip:...`, a registered user, or `tel:...` (RFC 3966) for a number outside."""
    ring_timeout: float = 20.0
    with_leg: LegId | None = None
    """The agent leg it is joined to, while the caller goes on waiting; None: the caller."""
    sender: str | None = None
    """The number shown there; None: the caller's."""


class DropAgent(Command, frozen=True):
    """End the agent leg (ringing or connected) and keep the caller."""

    leg: LegId
    agent_leg: LegId


class HoldCall(Command, frozen=True):
    """Part everybody on the call: the caller hears music, the agents silence."""

    leg: LegId
    music: str


class JoinLegs(Command, frozen=True):
    """Let two hear each other. Whoever else is on the call hears what they heard before, an agent silence."""

    leg: LegId
    agent_leg: LegId
    with_leg: LegId | None = None
    """Another agent leg; None: the caller."""


class OpenCall(Command, frozen=True):
    """A call of ours begins, with nobody on it yet. Agents can be rung for it; `DialCustomer` calls the customer."""

    leg: LegId
    number: str
    """E.164."""


class DialCustomer(Command, frozen=True):
    """Call the customer and join them to the agent when they pick up. What comes of it: `CustomerAnswered` or `CallEnded`."""

    leg: LegId
    number: str
    """E.164."""
    sender: str
    """The number of ours that is shown."""
    ring_timeout: float = 45.0


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
    beside: bool = False
    """They were asked by the agent who has the call, and did not have it themselves."""


class OfferMenu(Command, frozen=True):
    """The customer is asked by text what it is about, and the next text answers that."""


class AssignAgent(Command, frozen=True):
    """The agent has the work already: they began it, or a colleague has given it to them."""

    agent: AgentId
    channel: Channel
    queue: QueueId
    beside: bool = False
    """A colleague who has the call asks them: they are busy, and the call stays where it is."""


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
    AnswerCall | RefuseCall | PlayPrompts | PlayMusic | StopAudio | ConnectAgent | DropAgent | HoldCall | JoinLegs
    | OpenCall | DialCustomer | HangUp | SendText | DecideOffer | ReportOffer | JoinQueue | LeaveQueue | ReleaseAgent
    | OfferMenu | AssignAgent | KeepUpload | Record | RecordConsent | OptOut | OptIn | CloseSession
)  # fmt: skip
CallCommand: TypeAlias = (
    AnswerCall | RefuseCall | PlayPrompts | PlayMusic | StopAudio | ConnectAgent | DropAgent | HoldCall | JoinLegs
    | OpenCall | DialCustomer | HangUp
)  # fmt: skip
"""What a call provider must be able to do."""


def beside(session: SessionId) -> SessionId:
    """The name under which the floor knows the work of a colleague who is asked by whoever has the session's call."""
    return SessionId(f"{session}/beside")
