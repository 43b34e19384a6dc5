"""A floor as it is, so that another node can go on with it."""

from collections.abc import Iterable

import msgspec

from bridge.acd.dispatch import Dispatch
from bridge.acd.ghosts import Difference, Suspicions
from bridge.acd.lines import Agent, AgentDump, Queue, QueueDump, Waiter, WaiterDump, Work
from bridge.acd.specs import AgentSpec, QueueSpec
from bridge.events import AgentId, QueueId


class AcdDump(msgspec.Struct, frozen=True):
    """Everything that an `Acd` has beside what is configured."""

    number: int
    queues: dict[QueueId, QueueDump]
    agents: list[AgentDump]
    waiters: list[WaiterDump]
    served_by: list[tuple[Work, AgentId]]
    suspicions: list[tuple[Work, Difference, float]]


def dump(dispatch: Dispatch, suspicions: Suspicions) -> AcdDump:
    """Everything but what is configured, for `load`."""
    return AcdDump(
        number=dispatch.timers.number,
        queues={name: queue.dump() for name, queue in dispatch.queues.items()},
        agents=[who.dump(leaving=name in dispatch.leaving) for name, who in dispatch.agents.items()],
        waiters=[waiter.dump() for waiter in dispatch.waiters.values()],
        served_by=list(dispatch.served_by.items()),
        suspicions=suspicions.dump(),
    )


def load(
    dispatch: Dispatch,
    suspicions: Suspicions,
    dumped: AcdDump,
    queues: Iterable[QueueSpec],
    agents: Iterable[AgentSpec],
    *,
    ageing: float | None,
) -> None:
    """Be as the one that was dumped while these were its queues and agents. The observer is not told."""
    staff = {spec.id: spec for spec in agents}
    dispatch.ageing = ageing
    dispatch.queues = {spec.id: Queue(spec, 0.0) for spec in queues}
    dispatch.agents = {one.id: Agent.load(one, one.spec or staff[one.id]) for one in dumped.agents}
    dispatch.leaving = {one.id for one in dumped.agents if one.spec is not None}
    dispatch.waiters = {waiter.work: waiter for waiter in map(Waiter.load, dumped.waiters)}
    dispatch.served_by = dict(dumped.served_by)
    suspicions.load(dumped.suspicions)
    for who in dispatch.agents.values():
        dispatch.put_on(who)
    lines: dict[QueueId, list[Waiter]] = {}
    for waiter in dispatch.waiters.values():
        lines.setdefault(waiter.queue, []).append(waiter)
    for name, queue in dispatch.queues.items():
        queue.load(dumped.queues[name], lines.get(name, ()))
    dispatch.timers.load(dumped.number, dispatch.pending())
