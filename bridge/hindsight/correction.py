"""What the lines say is there, and what the estimator believes."""

from typing import Any

from bridge.acd import Told
from ewt.estimator import AgentSeen, ContactSeen, Snapshot


def correction(told: Told, believed: Snapshot, now: float) -> Snapshot | None:
    """What the estimator has to be told (`Estimator.resync`); None when it believes nothing else.

    Args:
        told: What is true.
        believed: What the estimator has.
        now: Taken for the time at which those came of whom it does not know.
    """
    return None if _facts_told(told) == _facts_believed(believed) else _snapshot(told, believed, now)


def _facts_told(told: Told) -> tuple[frozenset[Any], frozenset[Any]]:
    """Who is there, in a form that can be compared."""
    return (
        frozenset((who.agent, frozenset(who.queues), who.slots, who.voice_free, who.chat_free) for who in told.agents),
        frozenset(_fact(who.contact, who.queue, who.agent, who.priority, who.since) for who in told.contacts),
    )


def _facts_believed(believed: Snapshot) -> tuple[frozenset[Any], frozenset[Any]]:
    return (
        frozenset((who.id, frozenset(who.queues), who.slots, who.voice_free, who.chat_free) for who in believed.agents),
        frozenset(_fact(who.id, who.queue, who.agent, who.priority, who.since) for who in believed.contacts),
    )


def _fact(contact: str, queue: str, agent: str | None, priority: int, since: float) -> tuple[object, ...]:
    """The place of one in line; of one whom an agent has, only who that is."""
    return (contact, queue, priority, since) if agent is None else (contact, queue, agent)


def _snapshot(told: Told, believed: Snapshot, now: float) -> Snapshot:
    """What is true, with what only the estimator can know."""
    known = {who.id: who for who in believed.contacts}
    contacts = []
    for who in told.contacts:
        before = known.get(who.contact)
        contacts.append(
            ContactSeen(
                who.contact,
                who.queue,
                who.priority,
                who.since,
                joined=now if before is None else before.joined,
                queued=before is None or before.queued,
                agent=who.agent,
            )
        )
    return Snapshot(
        tuple(AgentSeen(who.agent, who.queues, who.slots, who.voice_free, who.chat_free) for who in told.agents), tuple(contacts)
    )
