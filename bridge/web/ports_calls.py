"""What the pages need of calls: hold, handing on, calls of ours, callbacks. Implemented by `bridge.calls`, and by a fake."""

from typing import Protocol

import msgspec

from bridge.events import AgentId, SessionId
from bridge.web.ports import AgentState


class CallView(msgspec.Struct, frozen=True):
    """The call of a session as one agent may act on it now."""

    state: str
    """`connected`, `held`, `consulting`, ..."""
    mine: bool = False
    """The agent has the call."""
    held_since: float | None = None
    """Since when the caller has waited with music."""
    held_at_phone: bool = False
    """The agent's phone holds the call, so it has to be taken off hold there."""
    asked: str = ""
    """Name or number of whoever the agent has asked; empty: nobody."""
    answered: bool = False
    """They have picked up."""
    waits: bool = False
    """They wait while the agent talks to the caller."""
    asks_me: str = ""
    """Name of the colleague who has the call and asks this agent."""
    handed_to: str = ""
    """Who is being asked to take the call that this agent has handed on."""
    until: float | None = None
    """Then it comes back."""
    transfer_why: str = ""
    """Why the call cannot be handed on now; empty when it can."""


class CallColleague(msgspec.Struct, frozen=True):
    """A colleague who may be asked, or given the call."""

    id: AgentId
    name: str
    state: AgentState
    why_not: str = ""
    """Why not now; empty when they can."""


class CallQueue(msgspec.Struct, frozen=True):
    """A queue that the call may be handed to."""

    id: str
    title: str
    waiting: int
    staffed: int


class CallTargets(msgspec.Struct, frozen=True):
    """Whom a call may be handed to."""

    colleagues: tuple[CallColleague, ...]
    queues: tuple[CallQueue, ...]
    outside_why: str = ""
    """Why no number outside can be called; empty when it can."""
    why_not: str = ""


class Callee(msgspec.Struct, frozen=True):
    """What a typed number means to who wants to call it."""

    number: str | None
    """E.164; None while it is no number."""
    problem: str = ""
    name: str | None = None


class CallbackDue(msgspec.Struct, frozen=True):
    """A customer who is to be called back."""

    session: SessionId
    number: str
    name: str | None
    queue: str | None
    asked_at: float
    due_at: float | None
    """Not before; None: as soon as it is their turn."""
    promised_by: float | None
    tries: int
    position: int | None
    """In line; None: not yet."""
    summary: str = ""


class Calls(Protocol):
    """What agents do with calls. Methods that act raise `DeskRefusedError` with words for the agent."""

    def view(self, agent: AgentId, session: SessionId) -> CallView | None:
        """None: there is no call the agent could do anything about."""

    async def hold(self, agent: AgentId, session: SessionId) -> None: ...

    async def resume(self, agent: AgentId, session: SessionId) -> None: ...

    def targets(self, agent: AgentId, session: SessionId) -> CallTargets: ...

    async def hand_on(
        self, agent: AgentId, session: SessionId, *, to: AgentId | None, queue: str | None, number: str | None, note: str
    ) -> None:
        """Give the call away without talking to whoever gets it."""

    async def ask(self, agent: AgentId, session: SessionId, *, to: AgentId | None, number: str | None, note: str) -> None:
        """Talk to a colleague or a number while the caller waits."""

    async def swap(self, agent: AgentId, session: SessionId) -> None: ...

    async def take_back(self, agent: AgentId, session: SessionId) -> None: ...

    async def complete(self, agent: AgentId, session: SessionId) -> None: ...

    def senders(self, agent: AgentId) -> tuple[str, ...]:
        """Numbers of ours that a customer may be called from; none: the agent can call nobody."""

    async def callee(self, agent: AgentId, typed: str, sender: str) -> Callee: ...

    async def call(self, agent: AgentId, number: str, sender: str) -> SessionId:
        """Ring the agent's phone, then the customer's."""

    def callbacks(self, agent: AgentId) -> tuple[CallbackDue, ...]:
        """Customers of the agent's queues who are to be called back; who is next comes first."""

    async def start_callback(self, agent: AgentId, session: SessionId) -> None: ...

    async def cancel_callback(self, agent: AgentId, session: SessionId) -> None: ...
