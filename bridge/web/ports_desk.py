"""What the desk's lists, ready-made texts and search need of the rest of the server. Implemented by `bridge.desk`."""

from typing import Literal, Protocol, TypeAlias

import msgspec

from bridge.events import AgentId, Channel, SessionId

Required: TypeAlias = Literal["note", "disposition"]


class DeskRules(msgspec.Struct, frozen=True):
    """How long a customer may wait for an answer by text, in seconds, before the desk says so, and before it says so loudly."""

    slow: float = 60.0
    late: float = 180.0


class ReadyText(msgspec.Struct, frozen=True):
    """A ready-made text for one conversation, its gaps filled with what is known."""

    id: str
    title: str
    text: str
    missing: tuple[str, ...] = ()
    """Gaps that nothing is known for, as `{customer}`."""
    own: bool = False
    """The agent's own; else everybody's."""
    times: int = 0
    """How often this agent has sent it."""


class OwnText(msgspec.Struct, frozen=True):
    """A ready-made text of the agent's own, with its gaps."""

    id: str
    """Empty for a new one."""
    language: str
    title: str
    text: str


class Waiter(msgspec.Struct, frozen=True):
    """A customer in line for the agent's queues, whom nobody has taken yet."""

    session: SessionId
    customer: str | None
    name: str | None
    queue: str
    channel: Channel
    since: float
    summary: str
    """What they chose and said so far."""


class Found(msgspec.Struct, frozen=True):
    """A conversation of the agent's in which something was found."""

    session: SessionId
    customer: str | None
    name: str | None
    queue: str | None
    opened_at: float
    closed: bool
    words: str | None
    """The newest text that has what was looked for; None: the number or the name has it."""


class Folded(msgspec.Struct, frozen=True):
    """A conversation before the one that is open, as one line that can be unfolded."""

    session: SessionId
    opened_at: float
    closed: bool
    service: str
    queue: str | None
    agent: str | None
    """Name of who had it last."""
    ended: str | None
    """Why it ended, as the timeline says."""


class Told(msgspec.Struct, frozen=True):
    """What the customer was told about the wait and what came of it."""

    low: float | None = None
    """Minutes that were announced first; None: none were."""
    high: float | None = None
    waited: float | None = None
    """Seconds until an agent was there; None: none was yet."""
    promises: tuple[str, ...] = ()
    heard: str = ""
    """The last words that were played to them."""


class DeskWork(Protocol):
    """An agent's lists, texts and search. Methods that act raise `DeskRefusedError` with words for the agent."""

    def rules(self) -> DeskRules:
        """When a customer who waits for an answer stands out."""

    async def ready_texts(self, agent: AgentId, session: SessionId | None, language: str) -> tuple[ReadyText, ...]:
        """Ready-made texts in *language*, the most used first.

        Args:
            agent: Who would send them.
            session: To whom; None: to somebody who is not known yet.
            language: The customer's.
        """

    async def own_texts(self, agent: AgentId) -> tuple[OwnText, ...]:
        """The agent's own texts in all languages, by title."""

    async def keep_own_text(self, agent: AgentId, text: OwnText) -> None:
        """Keep a text of the agent's own, or change the one with the same id."""

    async def drop_own_text(self, agent: AgentId, text: str) -> None:
        """Forget a text of the agent's own."""

    def waiting(self, agent: AgentId) -> tuple[Waiter, ...]:
        """Who is in line for the agent's queues, the longest wait first."""

    async def search(self, agent: AgentId, words: str) -> tuple[Found, ...]:
        """The agent's own conversations with *words* in number, name or texts, the newest first."""

    async def before(self, agent: AgentId, session: SessionId, after: SessionId | None) -> tuple[tuple[Folded, ...], bool]:
        """Earlier conversations with the customer of *session*, the newest first, and whether there are more.

        Args:
            agent: Who may see *session*.
            session: The one that is open.
            after: The last one that is known already; None: from the newest.
        """
