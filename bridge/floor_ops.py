"""Every way in which the floor changes, as a value: what every node applies, in one order (`bridge.floor.Floor.apply`).

An op carries whatever the asker's settings and sessions say to it, because a node that applies it comes to the same floor from
the op alone. It goes through JSON unchanged (`msgspec.json`, with `Op` as the type). When it was is not in it: that is told
beside it, by the clock that all nodes share.
"""

from typing import Any, TypeAlias

import msgspec

from bridge.acd import GRACE, AgentChoice, AgentSpec, AnyAcdOutput, DeclineReason, LeaveOutcome, QueueSpec, Seen
from bridge.events import AgentId, Channel, OfferKind, QueueId, SessionId
from bridge.offers import QueueRules
from ewt.estimator import QueueSpec as EwtQueue

FLOOR_VERSION = 2
"""Of ops, of what is dumped, and of the rules by which a floor goes from one to the next. Nodes work together when theirs is the
same; raise it with every change after which the same ops would make another floor."""


class FloorPlan(msgspec.Struct, frozen=True):
    """Everything of the settings that the state of a floor depends on."""

    queues: tuple[QueueSpec, ...]
    agents: tuple[AgentSpec, ...]
    estimates: tuple[EwtQueue, ...]
    """What the estimator knows beforehand of each queue."""
    offers: dict[str, QueueRules]
    """By voice queue."""
    ageing: float | None = None
    """Seconds of waiting that outweigh one step of priority; None when a more urgent one always goes first."""


class FloorOp(msgspec.Struct, frozen=True, tag_field="op", tag=True):
    """Something to do to the floor. One that says nothing else answers whether anything followed from it."""


# --- agents


class SetAgentState(FloorOp, frozen=True):
    """`Acd.set_state`: the agent signs in, takes a break, comes back or signs out."""

    agent: AgentId
    state: AgentChoice
    reason: str | None = None


class AcceptWork(FloorOp, frozen=True):
    """`Acd.accept`: the agent takes what rings. Answers whether it still rang there: False is too late."""

    agent: AgentId
    session: SessionId
    channel: Channel


class DeclineWork(FloorOp, frozen=True):
    """`Acd.decline`: the agent does not take what rings."""

    agent: AgentId
    session: SessionId
    channel: Channel
    reason: DeclineReason = "declined"


class ReleaseWork(FloorOp, frozen=True):
    """`Acd.release`: the agent's part in this session is over on this channel."""

    agent: AgentId
    session: SessionId
    channel: Channel
    wrap_up: bool


class GiveBackWork(FloorOp, frozen=True):
    """`Acd.give_back`: the agent cannot serve it after all; back to its place, in one step."""

    agent: AgentId
    session: SessionId
    queue: QueueId
    channel: Channel
    since: float
    priority: int
    skills: tuple[str, ...] = ()


class FinishWrapUp(FloorOp, frozen=True):
    """`Acd.finish_wrap_up`: the agent is done writing up."""

    agent: AgentId


class AssignWork(FloorOp, frozen=True):
    """`Acd.assign`: the agent has it, offered or not."""

    agent: AgentId
    session: SessionId
    channel: Channel
    queue: QueueId
    from_line: bool = False
    """Only if it stands in line: who has left meanwhile, or was taken, is given to nobody."""


# --- sessions


class JoinLine(FloorOp, frozen=True):
    """`Acd.join`: stand in line."""

    session: SessionId
    queue: QueueId
    channel: Channel
    since: float
    priority: int
    skills: tuple[str, ...] = ()
    prefer: AgentId | None = None
    prefer_for: float = 0.0


class LeaveLine(FloorOp, frozen=True):
    """`Acd.leave`: leave the line without an agent."""

    session: SessionId
    channel: Channel
    outcome: LeaveOutcome


class MoveInLine(FloorOp, frozen=True):
    """`Acd.move`: into another line, at the same place. Answers whether it stood in one, and in another than this."""

    session: SessionId
    channel: Channel
    to: QueueId


# --- offers to text


class WeighOffer(FloorOp, frozen=True):
    """Put an offer before the policy, which counts it; answers `OfferDecided`. `Floor.offer_op` makes it."""

    request: int
    kind: OfferKind
    queue: QueueId
    desk: QueueId | None
    """Where the texts would go; None for nowhere."""
    session: SessionId
    number: str | None
    """None when withheld."""
    why_not: str | None
    """Why this number cannot be texted; None when it can."""
    opted_out: bool
    asked_before: bool
    sms_open: bool
    """Within the hours of the desk."""
    since: float | None
    """When they began to wait; None for a newcomer."""


class RecordOfferAnswer(FloorOp, frozen=True):
    """An offer to text was accepted, or not. Who texts instead of waiting is followed until their turn would have come."""

    session: SessionId
    queue: QueueId
    accepted: bool


# --- waiting times


class PlanStaff(FloorOp, frozen=True):
    """Say how many agents (or chat slots) a queue will have from which time on; without steps there is no plan."""

    queue: str
    steps: tuple[tuple[float, int], ...]


class DistrustForecasts(FloorOp, frozen=True):
    """The forecasts of these queues, and of no others, are known to be off."""

    queues: tuple[str, ...]


class ResyncEstimates(FloorOp, frozen=True):
    """Tell the estimator anew who works and who waits, as the lines have it. Answers whether it believed anything else."""


class RestoreLearning(FloorOp, frozen=True):
    """Take back what the estimator had learned (`Estimator.save`)."""

    saved: dict[str, Any]


class TakeOutcomes(FloorOp, frozen=True):
    """Answers what has become known of forecasts since this was last asked (a list of `Outcome`); nobody has it any more then."""


# --- the whole floor


class WakeFloor(FloorOp, frozen=True):
    """`Acd.wake`: whatever is over by now. Early, late or twice does no harm."""


class ReconcileFloor(FloorOp, frozen=True):
    """`Acd.reconcile`: what every open session says of itself; one that is not in it is gone."""

    seen: tuple[Seen, ...]
    grace: float = GRACE
    """Seconds a difference must last."""


class ForgetWork(FloorOp, frozen=True):
    """`Acd.forget`: nobody has the session and it stands in no line, on whatever channel. It will say anew what it wants."""

    session: SessionId


class ReconfigureFloor(FloorOp, frozen=True):
    """Go by another plan from now on, in one step; what was learnt stays. A queue with people in it cannot go (`QueueInUse`).

    Nodes put it there each for itself and not all at the same time, so one of settings that were published before those that the
    floor goes by changes nothing.
    """

    plan: FloorPlan
    revision: int = 0
    """Of the settings it is made of; 0: of those in the file."""


Op: TypeAlias = (
    SetAgentState
    | AcceptWork
    | DeclineWork
    | ReleaseWork
    | GiveBackWork
    | FinishWrapUp
    | AssignWork
    | JoinLine
    | LeaveLine
    | MoveInLine
    | WeighOffer
    | RecordOfferAnswer
    | PlanStaff
    | DistrustForecasts
    | ResyncEstimates
    | RestoreLearning
    | TakeOutcomes
    | WakeFloor
    | ReconcileFloor
    | ForgetWork
    | ReconfigureFloor
)


class Applied(msgspec.Struct, frozen=True):
    """What an op has led to."""

    outputs: list[AnyAcdOutput]
    """What the lines and desks say, in this order."""
    answer: Any = None
    """For whoever asked; the op says what it is."""
