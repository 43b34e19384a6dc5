"""What goes into the journal and comes out of it. Times are seconds since the Unix epoch."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from bridge.events import AgentId, Media, MessageId, ProviderRef, Purpose, QueueId, SessionId, TextState

MessageState: TypeAlias = TextState | Literal["received"]
"""`received` is the one state of an inbound text."""
Service: TypeAlias = Literal["inbound", "outbound", "api", "call", "deflected", "direct"]
"""How a session began: a text to us, one of an agent or of the API, a call, a call that became a chat, a text to one agent."""


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """What can be asked of sessions without opening their snapshots."""

    state: str
    customer: str | None
    """E.164, or None when withheld."""
    our_number: str
    language: str
    queue: QueueId | None = None
    agent: AgentId | None = None
    opened_at: float
    closed_at: float | None = None
    """None while the session is open."""
    text_state: str = "none"
    call_state: str = "none"
    service: Service = "inbound"
    ended_reason: str | None = None
    """Why it ended; None while it is open."""
    handled: float = 0.0
    """Seconds in which agents worked on it."""
    first_agent_at: float | None = None
    """When an agent first took it; None: nobody has."""


class TimelineLine(msgspec.Struct, frozen=True):
    """One line of a session's timeline."""

    at: float
    kind: str
    data: Mapping[str, Any]
    n: int = 0
    """Counts from 1 within the session. Given by the journal; what the caller puts here is ignored."""


class MessageRow(msgspec.Struct, frozen=True, kw_only=True):
    """One text, inbound or outbound."""

    id: MessageId
    session: SessionId | None
    """None for a text that belongs to no session."""
    direction: Literal["in", "out"]
    provider: str
    provider_ref: ProviderRef | None = None
    """None until the provider took the text. One (provider, ref) belongs to one text only."""
    sender: str
    recipient: str
    body: str
    media: tuple[Media, ...] = ()
    state: MessageState
    segments: int | None = None
    error_code: str | None = None
    purpose: Purpose | None = None
    author: str
    """`customer`, `agent:<id>`, `flow`, `system` or `api:<key name>`."""
    preset: str | None = None
    """The ready-made text it was made from; None for free words."""
    created_at: float
    updated_at: float | None = None
    """None until the first update. Given by the journal."""


class MessageUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """A step in a text's life. None leaves a column as it is.

    Each step is also appended to the text's own ledger. That states only rise is the caller's rule, not checked here.
    """

    id: MessageId
    state: MessageState
    at: float
    provider_ref: ProviderRef | None = None
    segments: int | None = None
    error_code: str | None = None
    after: MessageState | None = None
    """The state that this step follows; in any other the unit is declined: OvertakenError. None: whatever it is."""


class MessageStep(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a text's ledger."""

    state: MessageState
    at: float
    provider_ref: ProviderRef | None
    segments: int | None
    error_code: str | None


OutboxState: TypeAlias = Literal["pending", "attempting", "done"]


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """A text that has to be handed to its provider, at most once."""

    message: MessageId
    priority: int
    """0 is most urgent."""
    created_at: float
    due_at: float
    """Not before this time."""
    expires_at: float | None = None
    """After this time it is worth nothing; None for never. The sender settles it as expired."""
    state: OutboxState = "pending"
    attempts: int = 0
    attempted_at: float | None = None
    outcome: str | None = None


class OutboxDone(msgspec.Struct, frozen=True):
    """The end of an outbox row: `accepted`, `rejected`, `expired`, `canceled`, or `given_up` for an outcome nobody knows."""

    message: MessageId
    outcome: str
    at: float


class OutboxText(msgspec.Struct, frozen=True):
    """An outbox row together with its text."""

    outbox: OutboxRow
    message: MessageRow


class OutboxNow(msgspec.Struct, frozen=True):
    """What there is to do about outbound texts, all read at the same instant."""

    due: list[OutboxText]
    """Pending texts whose time has come, most urgent first, then oldest first. Expired ones are among them."""
    unknown: list[OutboxText]
    """Texts that were claimed and never settled: on their way now, or nobody knows whether they went out. Oldest first."""
    paused: set[str]
    """Recipients of texts that were refused for now and will be tried again later."""
    next_due: float | None
    """When the next pending text comes due; None when none waits."""


class ConsentRow(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the consent ledger: who agreed to what, in which words, and how we know."""

    number: str
    purpose: Purpose
    granted: bool
    """False for a refusal or a withdrawal."""
    words: str
    """Exactly as heard or read."""
    language: str
    evidence: str
    """What proves it: the digit, the id of the text."""
    actor: str = "customer"
    at: float
    session: SessionId | None = None
    sender: str | None = None
    """The number of ours it was said to; None: all of them."""
    prompt: str | None = None
    """The key of the prompt or preset that `words` came from."""
    version: str | None = None
    """The revision of the flow or menu that asked."""


class Suppression(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the suppression ledger: a number opted out of, or in again to, one of our senders."""

    number: str
    sender: str
    """One of our numbers, or `*` for all of them."""
    evidence: str
    at: float
    provisional: bool = False
    """A wish to be left alone in free words, which no agent has judged yet. It counts all the same."""
    reason: str | None = None
    """In words, for the agent."""


class BlockRow(msgspec.Struct, frozen=True, kw_only=True):
    """A number whose calls and texts we do not take."""

    number: str
    reason: str
    actor: str
    """Who blocked it: `agent:<id>`, `api:<key name>` or `system`."""
    at: float


class LineTypeRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a carrier look-up or a failed delivery taught about a number."""

    number: str
    kind: str
    """`mobile`, `landline`, `voip`, ..."""
    carrier: str | None = None
    at: float
    """When it was learnt; how long it holds is the reader's rule."""


class DecisionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A decision with everything it was made of, for `explain`."""

    kind: str
    """`offer.hold`, `offer.deflect`, `correlation`, `routing`."""
    outcome: str
    reason: str
    inputs: Mapping[str, Any]
    at: float


class ContactRow(msgspec.Struct, frozen=True, kw_only=True):
    """What we know about a number."""

    number: str
    name: str | None = None
    language: str | None = None
    data: Mapping[str, Any] = {}
    updated_at: float
    actor: str = "server"
    """Who says so, for the history of the contact; not kept with the row."""


class AgentStateRow(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent is doing, as last heard."""

    agent: AgentId
    state: str
    reason: str | None = None
    since: float
    data: Mapping[str, Any] = {}


class InboundRow(msgspec.Struct, frozen=True, kw_only=True):
    """An inbound text as the provider gave it, kept before anybody has looked whose it is."""

    provider: str
    ref: ProviderRef
    raw: bytes
    """JSON."""
    received_at: float
    message: MessageId
    """Our own id, given on arrival."""


class Reply(msgspec.Struct, frozen=True):
    """An HTTP response that is given again when the same request comes again."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoticeRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something that others asked to be told of, and whom to tell."""

    id: str
    """Ours, unique; the receiver recognises a repeat by it."""
    type: str
    """`session.closed`, `sms.delivered`, ..."""
    session: SessionId | None = None
    number: str | None = None
    """Whom it is about, so that it can be erased; None: the session's customer, or nobody."""
    at: float
    body: bytes
    """JSON, as it is sent."""
    endpoints: tuple[str, ...]
    """Each gets a delivery of its own. Empty: kept and told to nobody."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One notice on its way to one endpoint."""

    n: int
    """Grows in the order in which notices were saved."""
    id: str
    """The notice's."""
    type: str
    session: SessionId | None
    at: float
    body: bytes
    endpoint: str
    due_at: float
    attempts: int
    state: Literal["pending", "done", "dead"]
    last_error: str | None
    done_at: float | None


class UploadRow(msgspec.Struct, frozen=True, kw_only=True):
    """A link by which a customer may send files, once."""

    token_hash: str
    """Of the token in the link; the token itself is nowhere kept."""
    session: SessionId
    message: MessageId | None = None
    """The text that carried the link."""
    created_at: float
    expires_at: float
    used_at: float | None = None
    files: tuple[Media, ...] = ()
    """What came."""


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed of a person."""

    counts: Mapping[str, int]
    """Rows removed or blanked, by table."""
    digests: tuple[str, ...]
    """Pictures and videos that nothing refers to any more; whoever keeps them has to delete them."""
    sessions: tuple[str, ...] = ()
    """The conversations; whoever keeps words of theirs elsewhere has to delete them."""


class TextCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many texts of one kind fell into one span of time."""

    at: float
    """When the span begins."""
    direction: Literal["in", "out"]
    state: str
    queue: QueueId | None
    """Of the session; None: it had none, or the text belongs to no session."""
    texts: int
    segments: int
    """Zero for texts whose provider has not counted them."""


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """What must be saved together or not at all."""

    session: SessionId | None = None
    """None for a unit outside any session; then `events`, `snapshot`, `row` and `timeline` must be empty."""
    expected_seq: int | None = None
    """The session's sequence number this unit was computed from (0: it does not exist yet). None: do not check."""
    fence: int | None = None
    """The token of the lease under which this unit was computed. It is kept when it is higher than the one that is stored, and
    may be all there is in a unit: "this session is mine now". None: do not check, as there is one node."""
    events: list[tuple[float, bytes]] = []
    """(time, JSON). They get the session's next sequence numbers."""
    snapshot: bytes | None = None
    """JSON of the session's state after `events`. None keeps the one there is."""
    row: SessionRow | None = None
    """None keeps the one there is. A session's first unit needs both `row` and `snapshot`."""
    timeline: list[TimelineLine] = []
    messages: list[MessageRow] = []
    message_updates: list[MessageUpdate] = []
    outbox: list[OutboxRow] = []
    outbox_done: list[OutboxDone] = []
    consents: list[ConsentRow] = []
    suppress: list[Suppression] = []
    unsuppress: list[Suppression] = []
    inbound_handled: list[MessageId] = []
    """Inbound texts that this unit deals with. One that was dealt with before takes the unit down: AlreadyHandledError."""
    decisions: list[DecisionRow] = []
    contacts: list[ContactRow] = []
    """Replace what was known of the number."""
    agent_states: list[AgentStateRow] = []
    """Replace what was known of the agent; each is also kept in the history of their states."""
    block: list[BlockRow] = []
    unblock: list[str] = []
    """Numbers. Applied after `block`."""
    notices: list[NoticeRow] = []
    uploads: list[UploadRow] = []
    """New links; for a link that is known, `message` and `files` take the place of what was kept."""
    replies: dict[str, Reply] = {}
    """Responses to requests that `Journal.reserve` gave to us, saved together with what the request did."""
    kv: dict[str, bytes] = {}
    """Replace the values of these keys."""


class Committed(msgspec.Struct, frozen=True):
    """Where the session's ledgers end after a unit; zeros for a unit without a session."""

    seq: int
    """The number of the session's newest event."""
    lines: int
    """The number of the session's newest timeline line; the unit's own are the last ones up to it."""


class StoredSession(msgspec.Struct, frozen=True):
    """A session as last saved."""

    id: SessionId
    seq: int
    lines: int
    snapshot: bytes
    row: SessionRow
    fence: int = 0
    """The highest token of a lease under which anything was saved; 0: no node ever named one."""


class StoredEvent(msgspec.Struct, frozen=True):
    """An event as appended."""

    seq: int
    at: float
    body: bytes
    """JSON."""


class StoredDecision(msgspec.Struct, frozen=True):
    """A decision as appended, with the number of the session's newest event then."""

    seq: int
    decision: DecisionRow


class JournalError(Exception):
    """Something could not be saved. Nothing of it has been."""


class StaleSessionError(JournalError):
    """The session went on (or does not exist) since the unit was computed; compute it again from `actual_seq`."""

    def __init__(self, session: SessionId, expected_seq: int, actual_seq: int) -> None:
        super().__init__(f"session {session} is at event {actual_seq}, not {expected_seq}")
        self.session = session
        self.expected_seq = expected_seq
        self.actual_seq = actual_seq


class FencedError(JournalError):
    """Another node has taken the session over since: whoever computed the unit owns it no more and has to let it go."""

    def __init__(self, session: SessionId, fence: int, stored: int) -> None:
        super().__init__(f"session {session} is owned under token {stored}, and {fence} is older")
        self.session = session
        self.fence = fence
        self.stored = stored


class AlreadyHandledError(JournalError):
    """The inbound text has been given to a session already, by whatever node. Somebody else has done it, and that is all."""

    def __init__(self, message: MessageId) -> None:
        super().__init__(f"inbound text {message} has been handled already")
        self.message = message


class OvertakenError(JournalError):
    """Another node has taken a text a step further since the unit was computed; look again and compute it anew."""

    def __init__(self, message: MessageId) -> None:
        super().__init__(f"text {message} is in another state by now")
        self.message = message


class UnitRefusedError(JournalError):
    """The unit contradicts itself or what is already saved; saving it again will fail again."""


class JournalUnavailableError(JournalError):
    """The database does not work just now (locked, full, gone); the same unit may be tried again later.

    Try the very object again: when a connection was lost while it was being committed, the journal then finds out whether it
    was, and answers what it would have answered. Until somebody has tried again nobody knows.
    """


class StillOpenError(JournalError):
    """Something of this person is not over yet: a session, a text on its way in or out. Nothing has changed."""


class JournalClosedError(JournalError):
    """The journal has been closed."""


class SchemaTooNewError(JournalError):
    """The database was written by a newer version of this server."""
