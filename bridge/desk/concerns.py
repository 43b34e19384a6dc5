"""Which conversations concern which agents."""

from bridge import events as e
from bridge.calls import call_concerns, call_note_for
from bridge.desk.staff import Staff
from bridge.journal import StoredSession
from bridge.legs import TextLeg
from bridge.live import LiveSession
from bridge.runner import Runner
from bridge.session import State

KEPT = 50
"""Pieces of ended work an agent may still look at."""


class Concerns:
    """Who works on what, and did: what an agent may see, and whom a change is told.

    Args:
        runner: Where the sessions are.
        staff: Who there is.
    """

    def __init__(self, runner: Runner, staff: Staff) -> None:
        self._runner = runner
        self._staff = staff
        self._done: dict[e.AgentId, list[e.SessionId]] = {}
        """Ended work an agent may still look at, newest last."""
        self._known_to: dict[e.SessionId, dict[e.AgentId, None]] = {}
        """The same by session."""
        self._looked_at: dict[e.SessionId, int] = {}
        """After how many of its events it was last asked whom an open session concerns: it is asked for every line."""

    def has_it(self, agent: e.AgentId, live: LiveSession) -> bool:
        """Whether the agent works on a session, did, or is asked to."""
        return self.rings(agent, live.state.id) or self.worked_on(agent, live)

    def rings(self, agent: e.AgentId, session: e.SessionId) -> bool:
        """Whether the session is offered to the agent now."""
        offer = self._runner.floor.acd.agent_view(agent).offer
        return offer is not None and offer.session == session

    def worked_on(self, agent: e.AgentId, live: LiveSession) -> bool:
        """Whether the agent has the session, or had it."""
        return concerns(live.state, agent) or live.state.id in self._done.get(agent, ())

    def customers(self, agent: e.AgentId) -> set[str]:
        """Whom the agent has to do with now; their other conversations may be read too."""
        return {
            live.state.customer for live in self._runner.sessions.values() if live.state.customer and self.has_it(agent, live)
        }

    def may_read(self, agent: e.AgentId, stored: StoredSession) -> bool:
        """Whether the agent may look at a session that is over: theirs, or of a customer they have to do with now."""
        return stored.id in self._done.get(agent, ()) or stored.row.customer in self.customers(agent)

    def workers(self, session: e.SessionId) -> list[e.AgentId]:
        """Agents who work on the session or did; who begins to is remembered."""
        live = self._runner.sessions.get(session)
        if live is not None and self._looked_at.get(session) != live.seq:
            if not live.session.closed:
                self._looked_at[session] = live.seq
            for agent in self._staff.known:
                if concerns(live.state, agent):
                    self._know(agent, session)
        return list(self._known_to.get(session, ()))

    def _know(self, agent: e.AgentId, session: e.SessionId) -> None:
        """The agent works on the session, or did; what is too long ago is forgotten."""
        known = self._known_to.setdefault(session, {})
        if agent in known:
            return
        known[agent] = None
        done = self._done.setdefault(agent, [])
        done.append(session)
        for old in done[:-KEPT]:
            self._known_to[old].pop(agent, None)
            if not self._known_to[old]:
                del self._known_to[old]
        del done[:-KEPT]

    def closed(self, session: e.SessionId) -> None:
        """The session is over: nobody begins to work on it any more."""
        self._looked_at.pop(session, None)


def is_of(state: State, agent: e.AgentId) -> bool:
    """Whether the agent has it in hand or writes up."""
    return agent in {state.agent, state.chat_agent} or agent in state.wrapping


def concerns(state: State, agent: e.AgentId) -> bool:
    """As `is_of`, or it is about to come back: handed over and not taken yet, put aside, kept for this agent."""
    kept = state.text in {TextLeg.DISMISSED, TextLeg.QUEUED} and state.prefer == agent
    handed = state.transfer is not None and state.transfer.by == agent
    return is_of(state, agent) or handed or (kept and state.transfer is None) or call_concerns(state, agent)


def note_for(state: State, agent: e.AgentId) -> bool:
    """Whether what a colleague wrote when they handed it on is for this agent."""
    handed = state.transfer is not None and agent != state.transfer.by
    return agent == state.chat_agent or handed or call_note_for(state, agent)
