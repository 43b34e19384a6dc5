"""What stands out in the conversations that agents have in hand."""

from collections.abc import Mapping
from typing import Any

from bridge import events as e
from bridge.desk.staff import Staff
from bridge.glance import Glance, at_a_glance, failed_transfer_of
from bridge.journal import TimelineLine
from bridge.live import LiveSession
from bridge.runner import Runner


class Attention:
    """What is new to agents, kept up to date line by line.

    Args:
        runner: Where the sessions are.
        staff: Who there is.
    """

    def __init__(self, runner: Runner, staff: Staff) -> None:
        self._runner = runner
        self._staff = staff
        self._waiting: dict[e.SessionId, Glance] = {}
        """What stands out in the sessions agents have in hand."""
        self._returned: set[e.SessionId] = set()
        """Were put aside, and the customer has written."""
        self._alerts: dict[e.SessionId, tuple[e.AgentId, Mapping[str, Any]]] = {}
        """Transfers that came back: to whom, and what the timeline has of it."""

    async def glance(self, live: LiveSession) -> Glance:
        """What stands out in a session; after a restart it is read once, then kept up to date line by line."""
        session = live.state.id
        while session not in self._waiting:
            seq = live.seq
            glance = at_a_glance(await self._runner.journal.timeline(session))
            if live.session.closed:
                return glance
            if live.seq == seq:  # else it went on meanwhile, and nobody was there to note how
                self._waiting.setdefault(session, glance)
        return self._waiting[session]

    def said(self, session: e.SessionId) -> str:
        """The customer's last words, as far as is known without reading; empty: not known."""
        return self._waiting[session].said if session in self._waiting else ""

    def returned(self, session: e.SessionId) -> bool:
        """Whether it was put aside, the customer has written, and no agent has looked at it since."""
        return session in self._returned

    def alert(self, agent: e.AgentId, session: e.SessionId) -> Mapping[str, Any] | None:
        """What the timeline has of a transfer of the agent's that came back and was not looked at; None: there is none."""
        to, transfer = self._alerts.get(session, (None, None))
        return transfer if to == agent else None

    def see(self, agent: e.AgentId, live: LiveSession) -> bool:
        """The agent has looked at it. False: nothing was new to them."""
        session = live.state.id
        alerted = self.alert(agent, session) is not None
        new = live.unread > 0 or session in self._returned or alerted
        live.unread = 0
        self._returned.discard(session)
        if alerted:
            del self._alerts[session]
        return new

    def note(self, session: e.SessionId, line: TimelineLine) -> None:
        """A new line of a session."""
        if line.n == 1:
            self._waiting[session] = Glance()
        if session in self._waiting and not self._waiting[session].take(line):
            del self._waiting[session]  # it is read again when somebody looks
        live = self._runner.sessions.get(session)
        if line.kind == "chat.returned":
            self._returned.add(session)
        elif line.kind == "transfer.failed" and live is not None:
            by = failed_transfer_of(line, {e.AgentId(each.id): each.name for each in self._staff.known.values()})
            if by is not None:
                self._alerts[session] = (by, line.data)
        if line.kind == "session.closed":
            self._waiting.pop(session, None)
            self._alerts.pop(session, None)
            self._returned.discard(session)
