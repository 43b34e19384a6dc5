"""Ghosts: what the floor believes of a session that the session does not, or the other way round.

An event on its way explains every difference for a moment. So one counts only when it is seen again, unchanged, a while later.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import msgspec

from bridge.acd.dispatch import Dispatch
from bridge.acd.lines import Request, Service, Work, both_channels
from bridge.acd.outputs import AnyAcdOutput, GhostHealed, Outputs
from bridge.acd.places import PlaceInLine
from bridge.events import AgentId, Channel, QueueId, SessionId

GRACE = 45.0
"""Seconds a difference must last; longer than the journal may be away without an event being lost."""


class Seen(msgspec.Struct, frozen=True):
    """What a session says of itself on one channel: it waits at a place, or an agent has it, or neither."""

    session: SessionId
    channel: Channel
    place: PlaceInLine | None = None
    """Where it waits."""
    agent: AgentId | None = None
    """Who has it."""
    queue: QueueId | None = None
    """What the agent has it for."""


Difference: TypeAlias = tuple[int | Service | None, Seen | None]
"""What the floor has, the number of a place or work in hand, and what the session says; None for nothing."""


class Suspicions:
    """Remembers differences until they are gone or have lasted."""

    def __init__(self) -> None:
        self._since: dict[Work, tuple[Difference, float]] = {}

    def confirmed(self, differences: Mapping[Work, Difference], now: float, grace: float) -> Iterator[Work]:
        """Those of *differences* that were there *grace* seconds ago already, word for word."""
        before, self._since = self._since, {}
        for work, story in differences.items():
            known, since = before.get(work, (None, now))
            self._since[work] = (story, since if known == story else now)
            if known == story and now - since >= grace:
                del self._since[work]
                yield work

    def dump(self) -> list[tuple[Work, Difference, float]]:
        """Everything, for `load`."""
        return [(work, story, since) for work, (story, since) in self._since.items()]

    def load(self, dumped: list[tuple[Work, Difference, float]]) -> None:
        """Remember what was dumped, and nothing else."""
        self._since = {work: (story, since) for work, story, since in dumped}


def reconcile(
    dispatch: Dispatch, suspicions: Suspicions, seen: Iterable[Seen], now: float, *, grace: float
) -> list[AnyAcdOutput]:
    """Compare what the sessions say with what stands here. See `Acd.reconcile`."""
    told = {Work(one.session, one.channel): one for one in seen}
    differences: dict[Work, Difference] = {}
    for work in dict.fromkeys((*dispatch.served_by, *dispatch.waiters, *told)):
        story = told.get(work)
        agent, waiter = dispatch.served_by.get(work), dispatch.waiters.get(work)
        if not _fits(dispatch, work, story):
            if waiter is not None:
                here: int | Service | None = waiter.place.number
            else:
                here = None if agent is None else dispatch.agents[agent].work[work]
            differences[work] = (here, story)
    out = Outputs()
    for work in suspicions.confirmed(differences, now, grace):
        _heal(dispatch, work, told.get(work), now, out)
    return dispatch.settle(None, now, out)


def agrees(dispatch: Dispatch, seen: Seen) -> bool:
    """Whether what a session says is so here."""
    return _fits(dispatch, Work(seen.session, seen.channel), seen)


def _fits(dispatch: Dispatch, work: Work, story: Seen | None) -> bool:
    waits, agent = (False, None) if story is None else (story.place is not None, story.agent)
    return waits == (work in dispatch.waiters) and agent == dispatch.served_by.get(work)


def forget(dispatch: Dispatch, sessions: Iterable[SessionId], now: float) -> list[AnyAcdOutput]:
    """These stand in no line any more, and nobody has them; nothing is learnt from it. Empty when it was so."""
    out = Outputs()
    for work in (work for session in sessions for work in both_channels(session)):
        waiter, agent = dispatch.waiters.get(work), dispatch.served_by.get(work)
        if waiter is not None:
            dispatch.drop(waiter, now, out, ghost=False)
        elif agent is not None:
            dispatch.finish(dispatch.agents[agent], work, now, out, served=False)
            dispatch.refresh(dispatch.agents[agent], now)
    return dispatch.settle(None, now, out)


def _heal(dispatch: Dispatch, work: Work, story: Seen | None, now: float, out: Outputs) -> None:
    waiter, agent = dispatch.waiters.get(work), dispatch.served_by.get(work)
    place, heir, queue = (None, None, None) if story is None else (story.place, story.agent, story.queue)
    if heir is not None and heir in dispatch.agents and queue in dispatch.queues:
        out.items.append(GhostHealed(*work, "work_lost", heir))
        if agent is not None:
            dispatch.finish(dispatch.agents[agent], work, now, out, served=False)
            dispatch.refresh(dispatch.agents[agent], now)
        dispatch.hand(dispatch.agents[heir], work, queue, now, out)
        dispatch.refresh(dispatch.agents[heir], now)
        return
    if waiter is not None and place is None:
        out.items.append(GhostHealed(*work, "waiter_gone", None))
        dispatch.drop(waiter, now, out, ghost=False)
    if agent is not None:
        out.items.append(GhostHealed(*work, "work_gone", agent))
        dispatch.finish(dispatch.agents[agent], work, now, out, served=False)
        dispatch.refresh(dispatch.agents[agent], now)
    if waiter is None and place is not None and place.queue in dispatch.queues:
        out.items.append(GhostHealed(*work, "place_lost", None))
        dispatch.enter(work, Request.of(place.queue, place.since, place.priority, place.skills), now, out)
