"""What the web needs of the rest of the server. Implemented by `bridge.desk` and `bridge.runner`, and by fakes in tests."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from bridge.events import AgentId, Channel, Media, MessageId, SessionId, TextState
from bridge.media_store import MediaStore
from bridge.web.ports_desk import DeskWork, Required, Told
from sms.message import DeliveryReport, InboundText

LONGEST_TEXT = 1600
"""Characters of one text: Twilio's limit of a message body, and more than anybody reads."""
LONGEST_NAME = 80
"""Characters of a customer's name."""
MOST_FILES = 10
"""Of one text: Twilio's limit."""
AgentState: TypeAlias = Literal["ready", "not_ready", "wrap_up", "offline"]


class DeskRefusedError(Exception):
    """An agent asked for something that cannot be done now; the message is fit to show. Nothing has changed."""


class Agent(msgspec.Struct, frozen=True):
    """Who signed in."""

    id: AgentId
    name: str
    queues: tuple[str, ...]
    roles: tuple[str, ...] = ("agent",)


class Presence(msgspec.Struct, frozen=True):
    """What an agent is doing."""

    state: AgentState
    reason: str | None
    since: float
    on_call: SessionId | None
    chats: int


class OfferedWork(msgspec.Struct, frozen=True):
    """Work that rings at a desk until somebody accepts or it goes on to the next agent."""

    session: SessionId
    channel: Channel
    queue: str
    customer: str | None
    until: float
    waited: float
    """Seconds the customer has waited, on whatever leg."""
    summary: str
    """One line: what the customer chose and answered so far."""
    name: str | None = None
    """What the customer is called, as far as we know."""


class Work(msgspec.Struct, frozen=True):
    """A session an agent is working on, as a row in the list."""

    session: SessionId
    customer: str | None
    queue: str | None
    call_state: str
    text_state: str
    since: float
    unread: int
    last: str
    """The newest text or event in a few words."""
    wrapping_up: bool = False
    name: str | None = None
    """What the customer is called, as far as we know."""
    unanswered_since: float | None = None
    """When the customer wrote what this agent has not answered yet."""
    set_aside_at: float | None = None
    """When it was put aside; None while it is not."""
    returned: bool = False
    """The customer wrote again after it had been put aside, and the agent has not looked yet."""
    handing_over: str = ""
    """Who is being asked to take it; empty when nobody is."""
    alert: str = ""
    """What went wrong with it and has not been looked at, in words: a transfer that came back."""


class Line(msgspec.Struct, frozen=True):
    """One line of the timeline. `kind` and `data` as in `docs/architecture.md`, section Timeline."""

    n: int
    at: float
    kind: str
    data: Mapping[str, Any]


class Ticks(msgspec.Struct, frozen=True):
    """How far an outbound text has come."""

    state: TextState
    code: str | None = None
    explanation: str | None = None


class Handover(msgspec.Struct, frozen=True):
    """A transfer that nobody has taken yet."""

    to: str
    """Name of the colleague, or title of the queue."""
    by: AgentId
    note: str
    at: float
    until: float | None
    """Then it goes back; None: it waits for anybody."""


class Suspicion(msgspec.Struct, frozen=True):
    """A text that sounds like a wish to be left alone, until an agent says whether it is one."""

    body: str
    at: float


class OptedOut(msgspec.Struct, frozen=True):
    """Since when, and in which words; empty when they were said in another conversation."""

    at: float
    body: str


class Related(msgspec.Struct, frozen=True):
    """Another conversation that is perhaps with the same person."""

    session: SessionId
    customer: str | None
    our_number: str


class Agreement(msgspec.Struct, frozen=True):
    """One entry of the consent ledger."""

    at: float
    purpose: str
    granted: bool
    words: str
    """Exactly as heard or read."""
    language: str


class Earlier(msgspec.Struct, frozen=True):
    """Another conversation with the same customer."""

    session: SessionId
    opened_at: float
    closed: bool
    service: str
    """How it began: `call`, `inbound`, ..."""
    queue: str | None
    agent: str | None
    """Name of who had it last."""


class UploadLink(msgspec.Struct, frozen=True):
    """The newest link by which the customer may send pictures."""

    at: float
    expires_at: float
    used_at: float | None = None
    files: int = 0
    """How many came."""


class SessionView(msgspec.Struct, frozen=True):
    """Everything a desk shows of one session."""

    id: SessionId
    customer: str | None
    our_number: str
    language: str
    queue: str | None
    opened_at: float
    closed_at: float | None
    agent: AgentId | None
    call_state: str
    text_state: str
    composer_open: bool
    composer_why: str
    """Why the composer is closed, in words fit to show; empty when open."""
    card: Mapping[str, str]
    """What the flow gathered: label to value, in order."""
    answers: Mapping[str, str]
    """Hold-time questions and their answers."""
    timeline: tuple[Line, ...]
    ticks: Mapping[MessageId, Ticks]
    wrapping_up: bool = False
    chat_agent: AgentId | None = None
    """Who has the chat; `agent` may be on the phone with the same customer."""
    name: str | None = None
    """What the customer is called."""
    reply_code: str = ""
    """Whoever texts it from another phone comes into this session."""
    texts_to: str | None = None
    """Where texts go, when that is not `customer`."""
    unanswered_since: float | None = None
    """When the customer wrote what no agent has answered yet."""
    handover: Handover | None = None
    note: str = ""
    """What the colleague who handed the chat over wants this agent to know, until the agent has written."""
    note_by: str = ""
    suspicion: Suspicion | None = None
    opted_out: OptedOut | None = None
    related: Related | None = None
    agreements: tuple[Agreement, ...] = ()
    """Newest first."""
    earlier: tuple[Earlier, ...] = ()
    """Newest first."""
    link: UploadLink | None = None
    transfer_why: str = ""
    """Why the chat cannot be handed over now; empty when it can."""
    set_aside_why: str = ""
    """Why the chat cannot be put aside now; empty when it can."""
    takes_files: bool = False
    """Links for pictures can be sent."""
    told: Told = Told()
    wrap_up_requires: tuple[Required, ...] = ()
    """What has to be written before the work is finished."""


class Preset(msgspec.Struct, frozen=True):
    """A ready-made text, in the session's language."""

    id: str
    title: str
    text: str


class Colleague(msgspec.Struct, frozen=True):
    """Somebody a chat may be handed to."""

    id: AgentId
    name: str
    state: AgentState
    reason: str | None
    free: int
    """Chats more that they could take now."""
    why_not: str = ""
    """Why they cannot be asked now; empty when they can."""


class HandoverQueue(msgspec.Struct, frozen=True):
    """A queue a chat may be handed to."""

    id: str
    title: str
    waiting: int
    staffed: int
    """Agents who are there for it, busy or not."""


class Targets(msgspec.Struct, frozen=True):
    """Whom a chat may be handed to."""

    colleagues: tuple[Colleague, ...]
    queues: tuple[HandoverQueue, ...]
    why_not: str = ""
    """Why it cannot be handed over at all; empty when it can."""


class Sender(msgspec.Struct, frozen=True):
    """A number of ours that an agent may write from, with what the carriers think of it."""

    number: str
    language: str = "en"
    kind: str = "long_code"
    registered: bool = True
    """False: carriers in the US refuse its texts."""
    brand: str | None = None
    campaign: str | None = None
    left_today: int | None = None
    """Segments it may still send today; None: no limit."""


class Recipient(msgspec.Struct, frozen=True):
    """What a typed number means."""

    number: str | None
    """E.164; None while it is no number."""
    problem: str = ""
    """Why it cannot be texted, in words; empty when it can, or when too little has been typed to say."""
    name: str | None = None
    first: str = ""
    """What the customer reads before anything else; empty for one who knows us."""


class LineAdded(msgspec.Struct, frozen=True, tag=True):
    """A new line in the timeline of a session this agent works on."""

    session: SessionId
    line: Line


class TicksChanged(msgspec.Struct, frozen=True, tag=True):
    """A text of a session this agent works on moved on."""

    session: SessionId
    message: MessageId
    ticks: Ticks


class DeskChanged(msgspec.Struct, frozen=True, tag=True):
    """Presence, offers or the list of work changed; read them again."""


class SessionChanged(msgspec.Struct, frozen=True, tag=True):
    """Head, card, composer or buttons of a session changed; read it again."""

    session: SessionId


DeskUpdate: TypeAlias = LineAdded | TicksChanged | DeskChanged | SessionChanged


class Desk(DeskWork, Protocol):
    """What an agent can see and do. Methods that act raise `DeskRefusedError` with words for the agent."""

    async def sign_in(self, login: str, password: str) -> Agent | None:
        """None for a wrong login or password (checked in constant time)."""

    def agent(self, agent: AgentId) -> Agent | None:
        """None when there is no such agent (any more)."""

    def presence(self, agent: AgentId) -> Presence: ...

    def reasons(self) -> tuple[str, ...]:
        """The reasons an agent may give for not being ready."""

    async def set_state(
        self, agent: AgentId, state: Literal["ready", "not_ready", "offline"], reason: str | None = None
    ) -> None: ...

    def offers(self, agent: AgentId) -> tuple[OfferedWork, ...]: ...

    async def work(self, agent: AgentId) -> tuple[Work, ...]: ...

    async def session(self, agent: AgentId, session: SessionId) -> SessionView:
        """The session as this agent may see it (own work, offers to them, or ended work of theirs)."""

    async def accept(self, agent: AgentId, session: SessionId, channel: Channel) -> None: ...

    async def decline(self, agent: AgentId, session: SessionId, channel: Channel) -> None: ...

    async def say(
        self,
        agent: AgentId,
        session: SessionId,
        body: str,
        preset: str | None = None,
        once: str | None = None,
        media: tuple[str, ...] = (),
    ) -> None:
        """Text the customer. Returns once it is in the journal's outbox.

        *once* names the text: said again under the same name, it is not sent again. *media* are digests of files that
        the same agent has given to `keep_media`.
        """

    async def keep_media(self, agent: AgentId, data: bytes) -> Media:
        """Keep a file that the agent is about to send."""

    @property
    def media(self) -> MediaStore:
        """Everything that texts carried."""

    async def may_see_media(self, agent: AgentId, session: SessionId, digest: str) -> bool:
        """Whether the picture belongs to a session that the agent may see."""

    async def ask_for_photos(self, agent: AgentId, session: SessionId) -> None:
        """Text a link to a page where the customer can leave pictures."""

    async def targets(self, agent: AgentId, session: SessionId) -> Targets: ...

    async def transfer(self, agent: AgentId, session: SessionId, *, to: AgentId | None, queue: str | None, note: str) -> None:
        """Hand the chat to a colleague (*to*) or to whoever works on a *queue*."""

    async def set_aside(self, agent: AgentId, session: SessionId) -> None:
        """Dismiss the chat: it comes back when the customer writes."""

    async def judge(self, agent: AgentId, session: SessionId, *, meant: bool) -> None:
        """Say whether the customer's words were a wish not to be texted."""

    async def rename(self, agent: AgentId, session: SessionId, name: str) -> None:
        """Keep what the customer is called; empty: not known."""

    def senders(self, agent: AgentId) -> tuple[Sender, ...]:
        """Numbers the agent may begin a conversation from; none: the agent may not."""

    async def recipient(self, agent: AgentId, typed: str, sender: str) -> Recipient:
        """What *typed* means, and whether it can be texted from *sender*."""

    async def open(self, agent: AgentId, number: str, sender: str, body: str, preset: str | None = None) -> SessionId:
        """Begin a conversation with an E.164 number; the text is in the outbox and the chat is the agent's."""

    async def hang_up(self, agent: AgentId, session: SessionId) -> None: ...

    async def end_chat(self, agent: AgentId, session: SessionId) -> None: ...

    async def wrap_up(self, agent: AgentId, session: SessionId, note: str, disposition: str | None) -> None:
        """Save the note and be ready for new work."""

    def dispositions(self) -> tuple[str, ...]: ...

    def queue_title(self, queue: str) -> str:
        """What agents call a queue."""

    def presets(self, language: str) -> tuple[Preset, ...]: ...

    def subscribe(self, agent: AgentId) -> AbstractAsyncContextManager[AsyncIterator[DeskUpdate]]:
        """Updates from now on. While at least one subscription is open the agent's desk counts as connected."""


class Intake(Protocol):
    """Where texts from outside enter. Both return only after the journal has them on disk."""

    async def text_arrived(self, text: InboundText) -> bool:
        """Keep an inbound text; False when it was a repeat of one already kept."""

    async def text_reported(self, report: DeliveryReport) -> None:
        """Keep a delivery report. Unknown ids and states are kept in the log and otherwise ignored."""


class Records(Protocol):
    """What the API reads."""

    async def sessions(self, *, limit: int, customer: str | None = None) -> list[Mapping[str, Any]]: ...

    async def session(self, session: SessionId) -> Mapping[str, Any] | None: ...

    async def explain(self, session: SessionId) -> Mapping[str, Any] | None:
        """Every decision of the session with its inputs and reason, in order."""

    def ready(self, *, calls: bool = True) -> tuple[bool, str]:
        """Whether traffic may come, and why not; without *calls*: everything but new calls."""
