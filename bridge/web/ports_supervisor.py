"""What the supervisor's pages need of the rest of the server. Implemented by `bridge.supervisor`, and by a fake in tests."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol

import msgspec

from bridge.acd import Waiting
from bridge.alerts import Alert
from bridge.board import AgentRow, QueueRow, SessionRow
from bridge.bulletins import Bulletin, Scope
from bridge.events import AgentId, Channel, SessionId
from bridge.web.ports import Agreement, Line, Ticks


class Snapshot(msgspec.Struct, frozen=True):
    """All boards at one moment."""

    at: float
    agents: tuple[AgentRow, ...]
    queues: tuple[QueueRow, ...]
    sessions: tuple[SessionRow, ...]
    """In progress and upcoming, in no order."""
    today: float
    """Since when today's figures are counted."""


class Decided(msgspec.Struct, frozen=True):
    """One decision with everything it was made of."""

    at: float
    kind: str
    outcome: str
    reason: str
    inputs: Mapping[str, Any]


class Standing(msgspec.Struct, frozen=True):
    """Why one who waits has not been taken yet, on one channel."""

    channel: Channel
    now: Waiting
    names: Mapping[AgentId, str]


class Trail(msgspec.Struct, frozen=True):
    """Everything that is known of how a session went, and why."""

    row: SessionRow
    reply_code: str
    language: str
    lines: tuple[Line, ...]
    """All of them, those that desks do not show too."""
    ticks: Mapping[str, Ticks]
    decisions: tuple[Decided, ...]
    waits: tuple[Standing, ...]
    """Of one who waits now."""
    agreements: tuple[Agreement, ...]
    explained: Mapping[str, Any]
    """The same as JSON, as programs get it."""


class Found(msgspec.Struct, frozen=True):
    """A page of sessions that are over."""

    rows: tuple[SessionRow, ...]
    more: SessionId | None
    """From where the next page goes on; None: this is the last."""


class Posted(msgspec.Struct, frozen=True):
    """A message that a supervisor wants at desks."""

    scope: Scope
    to: str
    words: str
    lives: float
    """Seconds until it is taken down by itself."""
    pinned: bool = False


class Supervising(Protocol):
    """What a supervisor can see and do. Methods that act raise `DeskRefusedError` with words for who asked."""

    def watch(self) -> AbstractAsyncContextManager[AsyncIterator[Snapshot]]:
        """The boards now, and again whenever they are not what they were, a few times a second at most."""

    def snapshot(self) -> Snapshot: ...

    def alerts(self) -> tuple[tuple[Alert, ...], tuple[Alert, ...]]:
        """Raised now, and over; the newest first."""

    def name_of(self, agent: str) -> str | None:
        """What an agent is called; None when there is no such agent."""

    def queue_title(self, queue: str) -> str: ...

    def teams(self) -> tuple[str, ...]: ...

    def reasons(self) -> tuple[str, ...]: ...

    async def previous(self, *, words: str, queue: str | None, after: SessionId | None, numbers: bool) -> Found:
        """Sessions that are over, newest first; *words* may be found in names and (with *numbers*) in telephone numbers."""

    async def trail(self, session: SessionId) -> Trail | None: ...

    def channels(self, session: SessionId) -> Mapping[Channel, Literal["waits", "served", "idle"]]:
        """On which channels something can be done to a session now."""

    async def move(
        self, by: AgentId, session: SessionId, channel: Channel, *, to: AgentId | None, queue: str | None, note: str
    ) -> None: ...

    async def take_over(self, by: AgentId, session: SessionId, channel: Channel) -> None: ...

    async def end(self, by: AgentId, session: SessionId, channel: Channel, reason: str) -> None: ...

    async def set_state(
        self, by: AgentId, agent: AgentId, state: Literal["ready", "not_ready", "offline"], reason: str
    ) -> None: ...

    async def sign_out(self, by: AgentId, agent: AgentId, reason: str) -> None: ...

    async def post(self, by: AgentId, message: Posted) -> None: ...

    async def take_down(self, by: AgentId, bulletin: str) -> None: ...

    def posted(self) -> tuple[Bulletin, ...]:
        """Everything that stands at some desk."""

    def at_desk(self, agent: AgentId) -> tuple[Bulletin, ...]:
        """What this agent has to read."""

    async def read(self, agent: AgentId, bulletin: str) -> None: ...

    async def acknowledge(self, by: AgentId, alert: str) -> None: ...
