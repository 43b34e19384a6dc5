"""What follows from what an `Acd` is told, and what can be asked of it."""

from collections.abc import Iterable
from typing import Literal, Protocol, TypeAlias

import msgspec

from bridge.acd.specs import AgentState
from bridge.events import AgentId, Channel, QueueId, SessionId

LapseReason: TypeAlias = Literal["declined", "ring_timeout", "signed_out", "withdrawn"]
DeclineReason: TypeAlias = Literal["declined", "ring_timeout"]
LeaveOutcome: TypeAlias = Literal["abandoned", "deflected", "timed_out", "opted_out", "closed"]
RedirectReason: TypeAlias = Literal["not_answered", "waited", "moved"]
"""Of `redirect` in the settings; `moved`: by a supervisor."""
Ghost: TypeAlias = Literal["waiter_gone", "work_gone", "place_lost", "work_lost"]
"""`waiter_gone`: in line, but the session does not wait. `work_gone`: an agent has what the session does not give them.
`place_lost`: the session waits, but did not stand in line. `work_lost`: the session has an agent who did not know."""
Standing: TypeAlias = Literal[
    "ringing", "may_be_asked", "no_room", "not_ready", "not_skilled", "asked_later", "refused", "other_preferred"
]
"""How an agent stands to one who waits. `asked_later`: in a team of a step that is not reached. `refused`: declined it or let
it ring a moment ago. `other_preferred`: somebody else is asked first, alone."""


class AcdOutput(msgspec.Struct, frozen=True, tag_field="acd", tag=True):
    """Something that followed from what the `Acd` was told."""


class WorkOffered(AcdOutput, frozen=True):
    """A session's work is ringing at an agent's desk, until it is accepted or `until` has passed."""

    agent: AgentId
    session: SessionId
    channel: Channel
    queue: QueueId
    until: float


class OfferLapsed(AcdOutput, frozen=True):
    """It rings no more there. The session is still in line unless it left it."""

    agent: AgentId
    session: SessionId
    channel: Channel
    reason: LapseReason


class WorkAssigned(AcdOutput, frozen=True):
    """The agent has the work; the session has left the line."""

    agent: AgentId
    session: SessionId
    channel: Channel
    queue: QueueId
    waited: float
    """Seconds since the place in line began (`since`), not since the last `join`."""


class AgentStateChanged(AcdOutput, frozen=True):
    """The agent's state or its reason is another."""

    agent: AgentId
    state: AgentState
    reason: str | None
    since: float


class QueueChanged(AcdOutput, frozen=True):
    """The queue's line, staff or open slots are not what they were."""

    queue: QueueId


class WorkRedirected(AcdOutput, frozen=True):
    """The session stands in another line now, at the same place; what it asked for by `join` is remembered."""

    session: SessionId
    channel: Channel
    queue: QueueId
    """Where it was."""
    to: QueueId
    reason: RedirectReason


class GhostHealed(AcdOutput, frozen=True):
    """Floor and session told different stories for a while, and the floor has taken the session's."""

    session: SessionId
    channel: Channel
    ghost: Ghost
    agent: AgentId | None
    """Who is free again, or has the work; None when it is about a place in line."""


AnyAcdOutput: TypeAlias = (
    WorkOffered | OfferLapsed | WorkAssigned | AgentStateChanged | QueueChanged | WorkRedirected | GhostHealed
)


# --- what can be asked -----------------------------------------------------------------------------------------------


class QueueView(msgspec.Struct, frozen=True):
    """A queue as it is now."""

    queue: QueueId
    channel: Channel
    waiting: int
    longest_wait: float
    """Seconds, of the oldest in line; 0 with an empty line."""
    agents_staffed: int
    """Ready, in wrap-up or at work, and not on a break."""
    agents_ready: int
    """Could be offered work of this queue now."""
    agents_busy: int
    """Staffed agents with a call or a chat."""
    open_slots: int
    """Pieces of work of this queue that could be taken now. One that rings at several desks takes one of them."""
    staffed: bool
    unstaffed_since: float | None
    """When the last agent went; None while there is one."""


class AgentView(msgspec.Struct, frozen=True):
    """An agent as they are now."""

    agent: AgentId
    name: str
    state: AgentState
    reason: str | None
    since: float
    busy: bool
    """Has a call or a chat, whatever the state is."""
    call: SessionId | None
    chats: tuple[SessionId, ...]
    offer: WorkOffered | None
    wrap_up_until: float | None


class Waiting(msgspec.Struct, frozen=True):
    """One in line, and why nobody has taken them yet."""

    queue: QueueId
    position: int
    """1 for the first."""
    since: float
    step: int
    """Steps of the cascade that are reached."""
    prefer: AgentId | None
    """Who is asked alone; None for nobody."""
    unanswered: int
    """Offers that rang out or were declined."""
    agents: tuple[tuple[AgentId, Standing], ...]
    """Everybody who works on the queue, as configured."""


class WaitObserver(Protocol):
    """What an `Acd` tells the wait estimator, as it happens. `ewt.estimator.Estimator` is one."""

    def login(self, now: float, agent: str, queues: Iterable[str], slots: int) -> None:
        """An agent began to work these queues, with *slots* chats at once."""

    def logout(self, now: float, agent: str) -> None:
        """The agent takes no more work, for now or for today."""

    def capacity(self, now: float, agent: str, voice_free: int, chat_free: int) -> None:
        """How many calls and chats the agent could take right now."""

    def joined(self, now: float, contact: str, queue: str, priority: int, since: float | None = None) -> None:
        """A contact stands in line, with the place of one who came at *since*."""

    def started(self, now: float, contact: str, agent: str, queue: str | None = None) -> None:
        """The agent took the contact; one who never stood in line counts for *queue*."""

    def abandoned(self, now: float, contact: str, *, ghost: bool = True) -> None:
        """The contact left the line unserved; a *ghost* would still have been served in its turn."""

    def ended(self, now: float, contact: str, agent: str, *, served: bool = True) -> None:
        """The agent is done with the contact, or (not *served*) they never got to talk."""


class AgentTold(msgspec.Struct, frozen=True):
    """An agent at work, as the estimator knows them."""

    agent: AgentId
    queues: tuple[QueueId, ...]
    slots: int
    voice_free: int
    chat_free: int


class ContactTold(msgspec.Struct, frozen=True):
    """A contact in line or in an agent's hands, as the estimator knows it."""

    contact: str
    queue: QueueId
    priority: int
    """Means nothing once an agent has it."""
    since: float
    agent: AgentId | None = None
    """Who has it; None while it waits."""


class Told(msgspec.Struct, frozen=True):
    """Everybody who is there: those who wait in their order, then those whom agents have."""

    agents: tuple[AgentTold, ...]
    contacts: tuple[ContactTold, ...]


class Outputs:
    """The outputs of one call, with every changed queue named once, at the end."""

    def __init__(self) -> None:
        self.items: list[AnyAcdOutput] = []
        self.queues: dict[QueueId, None] = {}

    def changed(self, *queues: QueueId) -> None:
        """Something about these is other than it was."""
        self.queues.update(dict.fromkeys(queues))

    def result(self) -> list[AnyAcdOutput]:
        """Everything in order, the changed queues last."""
        return [*self.items, *(QueueChanged(queue) for queue in self.queues)]


def contact_id(session: SessionId, channel: Channel) -> str:
    """The name under which the estimator knows this session's place in line."""
    return f"{session}/{channel}"
