"""Who on this node hears what sessions and the floor do."""

from collections.abc import Iterable
from typing import Protocol, TypeAlias

from bridge import events as e
from bridge.journal import TimelineLine
from sms.message import TextState

TextMove: TypeAlias = tuple[e.MessageId, TextState, str | None]
"""How far a text of ours has got, and the provider's code when it says one."""


class Listener(Protocol):
    """Who wants to know what sessions and the floor do (the agents' desks)."""

    def line_added(self, session: e.SessionId, line: TimelineLine) -> None:
        """A new line in a session's timeline; it is on disk."""

    def text_moved(self, session: e.SessionId, message: e.MessageId, state: TextState, code: str | None) -> None:
        """A text of a session has got further."""

    def session_changed(self, session: e.SessionId) -> None:
        """Something about a session is not what it was."""

    def desk_changed(self, agent: e.AgentId) -> None:
        """An agent's state, offers or work are not what they were."""


class Listeners:
    """All of them. Some hear only of the sessions on which this node works."""

    def __init__(self) -> None:
        self._all: list[tuple[Listener, bool]] = []

    def add(self, listener: Listener, *, own: bool) -> None:
        """Tell *listener* everything from now on; *own*: only what becomes of the sessions of this node."""
        self._all.append((listener, own))

    def moved(self, session: e.SessionId, lines: Iterable[TimelineLine], text: TextMove | None = None, *, mine: bool) -> None:
        """A session is not what it was; *mine*: it is this node that works on it."""
        for listener, own in self._all:
            if own and not mine:
                continue
            for line in lines:
                listener.line_added(session, line)
            if text is not None:
                listener.text_moved(session, *text)
            listener.session_changed(session)

    def desk_changed(self, agent: e.AgentId) -> None:
        """An agent's state, offers or work are not what they were."""
        for listener, _ in self._all:
            listener.desk_changed(agent)
