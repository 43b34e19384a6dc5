"""Other queues and agents while people wait and are served."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import msgspec

from bridge.acd.dispatch import Dispatch, UnknownQueue
from bridge.acd.lines import Agent, Queue, Work
from bridge.acd.outputs import AnyAcdOutput, Outputs, contact_id
from bridge.acd.specs import CHOSEN, WORKING, AgentSpec, QueueSpec
from bridge.events import AgentId, QueueId


class QueueInUse(Exception):  # noqa: N818
    """A queue that is to go has people in it. Nothing has changed.

    Args:
        uses: By queue, how many wait in it and how many are being served from it.
    """

    def __init__(self, uses: Mapping[QueueId, tuple[int, int]]) -> None:
        super().__init__(", ".join(f"{queue}: {waiting} waiting, {served} served" for queue, (waiting, served) in uses.items()))
        self.uses = uses


def check_names(queues: Mapping[QueueId, QueueSpec], agents: Iterable[AgentSpec]) -> None:
    """Every name means something.

    Raises:
        UnknownQueue: An agent or a redirect names a queue that does not exist, or a redirect one of the other channel.
    """
    for agent in agents:
        for queue in agent.queues:
            if queue not in queues:
                raise UnknownQueue(queue)
    for spec in queues.values():
        if spec.redirect is None:
            continue
        to = queues.get(spec.redirect.to)
        if to is None or to.channel != spec.channel:
            raise UnknownQueue(f"{spec.redirect.to} is no queue for {spec.channel}")


def in_use(dispatch: Dispatch, queues: Iterable[QueueSpec]) -> Mapping[QueueId, tuple[int, int]]:
    """Queues that would have to go for *queues*, and cannot yet: how many wait there, and how many are served from there."""
    stay = {(spec.id, spec.channel) for spec in queues}
    going = {name for name, queue in dispatch.queues.items() if (name, queue.spec.channel) not in stay}
    waiting = Counter(name for waiter in dispatch.waiters.values() for name in {waiter.queue, waiter.request.queue})
    served = Counter(service.queue for who in dispatch.agents.values() for service in who.work.values())
    return {name: (waiting[name], served[name]) for name in dispatch.queues if name in going and waiting[name] + served[name]}


def check(dispatch: Dispatch, queues: Collection[QueueSpec], agents: Iterable[AgentSpec]) -> None:
    """Whether these can take the place of those there are (`reconfigure`). Nothing is changed.

    Raises:
        QueueInUse: A queue that is not in *queues*, or has changed its channel, has people in it.
        UnknownQueue: See `check_names`.
    """
    check_names({spec.id: spec for spec in queues}, agents)
    if uses := in_use(dispatch, queues):
        raise QueueInUse(uses)


def reconfigure(
    dispatch: Dispatch, queues: Iterable[QueueSpec], agents: Iterable[AgentSpec], now: float, *, ageing: float | None
) -> list[AnyAcdOutput]:
    """Go on with other queues and agents, in one step. See `Acd.reconfigure`.

    Raises:
        QueueInUse: See `check`. Nothing has changed.
        UnknownQueue: See `check_names`. Nothing has changed.
    """
    lines, staff = {spec.id: spec for spec in queues}, {spec.id: spec for spec in agents}
    check(dispatch, lines.values(), staff.values())
    out = Outputs()
    stay = {(spec.id, spec.channel) for spec in lines.values()}
    kept = {name: queue for name, queue in dispatch.queues.items() if (name, queue.spec.channel) in stay}
    moved = [who for who in dispatch.agents.values() if _differs(who, staff.get(who.spec.id), kept)]
    for who in moved:
        _take_off(dispatch, who, staff.get(who.spec.id), now, out)
    redirected = {name for name, queue in kept.items() if queue.spec.redirect != lines[name].redirect}
    dispatch.queues = {name: kept.get(name) or Queue(spec, now) for name, spec in lines.items()}
    for name, queue in dispatch.queues.items():
        queue.configure(lines[name])
    _staff_anew(dispatch, staff, moved, now)
    if ageing != dispatch.ageing:
        dispatch.ageing = ageing
        _line_up_anew(dispatch, now)
    for waiter in dispatch.waiters.values():
        rule = dispatch.queues[waiter.queue].spec.redirect
        if waiter.queue in redirected:
            waiter.redirect_at = None if rule is None or rule.after is None else now + rule.after
        dispatch.sort_in(waiter, now)
    out.queues = dict.fromkeys(dispatch.queues)
    return dispatch.settle(None, now, out)


def _differs(who: Agent, spec: AgentSpec | None, kept: Mapping[QueueId, Queue]) -> bool:
    return who.spec != spec or any(queue.spec.id not in kept for queue in who.queues)


def _take_off(dispatch: Dispatch, who: Agent, spec: AgentSpec | None, now: float, out: Outputs) -> None:
    """The agent works on no queue for a moment, or, without *spec*, for good."""
    if who.offer is not None and (spec is None or who.offer.queue not in spec.queues):
        waiter = dispatch.waiters[Work(who.offer.session, who.offer.channel)]
        dispatch.lapse(who, "withdrawn", now, out)
        dispatch.first_rings(waiter, now)
        dispatch.refresh(who, now)
    if spec is None:
        dispatch.step(who, CHOSEN["offline"], None, now, out)
    elif who.state in WORKING:
        dispatch.staff(who, False, now)
    for queue in who.queues:
        queue.show(who, who.shown, (0, 0, False), offerable=False)
        del queue.members[who.spec.id]
    who.queues = ()


def _staff_anew(dispatch: Dispatch, staff: Mapping[AgentId, AgentSpec], moved: Iterable[Agent], now: float) -> None:
    before, dispatch.leaving = dispatch.agents, set()
    dispatch.agents = {name: before.get(name) or Agent(spec, 0, now) for name, spec in staff.items()}
    for number, who in enumerate(dispatch.agents.values()):
        who.number = number
    for name, who in before.items():
        if name not in staff:
            # Kept until the work in hand is released (`Dispatch.settle` looks), with nothing to be offered.
            who.spec = msgspec.structs.replace(who.spec, queues=())
            dispatch.agents[name] = who
            dispatch.leaving.add(name)
    back = [dispatch.agents[name] for name in staff if name not in before]
    for who in (*(each for each in moved if each.spec.id in staff), *back):
        who.configure(staff[who.spec.id])
        who.shown = (0, 0, False)
        dispatch.put_on(who)
        if who.state in WORKING:
            dispatch.staff(who, True, now)
    for queue in dispatch.queues.values():
        queue.members = {name: queue.members[name] for name in dispatch.agents if name in queue.members}
    for who in dispatch.agents.values():
        dispatch.refresh(who, now)


def _line_up_anew(dispatch: Dispatch, now: float) -> None:
    """Put everybody into their lines again, in the order that priorities give them now. The caller sorts them in."""
    for waiter in dispatch.waiters.values():
        dispatch.queues[waiter.queue].remove(waiter)
    for waiter in dispatch.waiters.values():
        waiter.place = dispatch.place_of(waiter.work, waiter.request, waiter.place.number)
        dispatch.queues[waiter.queue].enter(waiter)
        if dispatch.observer is not None:
            dispatch.observer.abandoned(now, contact_id(*waiter.work), ghost=False)
            dispatch.observe_join(waiter, now)
