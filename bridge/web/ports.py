"""What the web needs of the rest of the server. Implemented by `bridge.desk` and `bridge.runner`, and by fakes in tests."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from bridge.events import AgentId, Channel, MessageId, SessionId, TextState
from sms.message import DeliveryReport, InboundText

LONGEST_TEXT = 1600
"""Characters of one text: Twilio's limit of a message body, and more than anybody reads."""
AgentState: TypeAlias = Literal["ready", "not_ready", "wrap_up", "offline"]


class DeskRefusedError(Exception):
    """An agent asked for something that cannot be done now; the message is fit to show. Nothing has changed."""


class Agent(msgspec.Struct, frozen=True):
    """Who signed in."""

    id: AgentId
    name: str
    queues: tuple[str, ...]


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


class Preset(msgspec.Struct, frozen=True):
    """A ready-made text, in the session's language."""

    id: str
    title: str
    text: str


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


class Desk(Protocol):
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
        self, agent: AgentId, session: SessionId, body: str, preset: str | None = None, once: str | None = None
    ) -> None:
        """Text the customer. Returns once it is in the journal's outbox.

        *once* names the text: said again under the same name, it is not sent again.
        """

    async def hang_up(self, agent: AgentId, session: SessionId) -> None: ...

    async def end_chat(self, agent: AgentId, session: SessionId) -> None: ...

    async def wrap_up(self, agent: AgentId, session: SessionId, note: str, disposition: str | None) -> None:
        """Save the note and be ready for new work."""

    def dispositions(self) -> tuple[str, ...]: ...

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

    def ewt(self, queue: str) -> Mapping[str, Any] | None:
        """The forecast of a queue as JSON, None when there is no such queue."""

    def queues(self) -> tuple[str, ...]: ...

    def ready(self) -> tuple[bool, str]:
        """Whether traffic may come, and why not."""

    def media_path(self, digest: str, *, thumbnail: bool) -> str | None:
        """The file of a stored picture or video."""
