"""A floor in words: who is there, and why somebody waits still."""

from bisect import bisect_left

from bridge.acd.dispatch import Dispatch
from bridge.acd.lines import Agent, Work
from bridge.acd.outputs import AgentTold, ContactTold, Standing, Told, Waiting, contact_id
from bridge.acd.specs import WORKING
from bridge.events import Channel, SessionId


def told(dispatch: Dispatch) -> Told:
    """Who is there, as the observer must have been told of it."""
    waiting = [
        ContactTold(contact_id(*work), waiter.queue, *dispatch.priority_told(waiter)) for work, waiter in dispatch.waiters.items()
    ]
    in_hand = [
        ContactTold(contact_id(*work), service.queue, 0, service.at, agent)
        for agent, who in dispatch.agents.items()
        for work, service in who.work.items()
    ]
    return Told(
        tuple(
            AgentTold(agent, tuple(who.spec.queues), who.spec.max_chats, *who.capacity)
            for agent, who in dispatch.agents.items()
            if who.state in WORKING
        ),
        (*sorted(waiting, key=lambda contact: contact.since), *in_hand),
    )


def explained(dispatch: Dispatch, session: SessionId, channel: Channel, now: float) -> Waiting | None:
    """Why this one waits still: how everybody stands to it who works on the queue. None when not in line."""
    waiter = dispatch.waiters.get(Work(session, channel))
    if waiter is None:
        return None
    queue, need = dispatch.queues[waiter.queue], dispatch.need(waiter, now)
    asked = queue.whom(need)
    alone = asked == {need.prefer}
    last = len(queue.spec.cascade)

    def standing(who: Agent) -> Standing:
        name = who.spec.id
        if name in waiter.ringing:
            return "ringing"
        if not queue.can(who, need.wanted, last):
            return "not_skilled"
        if who.state != "ready":
            return "not_ready"
        if name in need.refused:
            return "refused"
        if name not in asked:
            return "other_preferred" if alone else "asked_later"
        return "may_be_asked" if name in queue.available else "no_room"

    return Waiting(
        queue=waiter.queue,
        position=bisect_left(queue.line, waiter.place) + 1,
        since=waiter.request.since,
        step=need.step,
        prefer=need.prefer if alone else None,
        unanswered=waiter.unanswered,
        agents=tuple((name, standing(who)) for name, who in queue.members.items()),
    )
