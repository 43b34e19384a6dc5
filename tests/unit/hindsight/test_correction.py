"""What the estimator is told when it believes anything else than what is so."""

from bridge.acd import AgentTold, ContactTold, Told
from bridge.events import AgentId, QueueId
from bridge.hindsight import correction
from ewt.estimator import AgentSeen, ContactSeen, Snapshot

CALLS = QueueId("calls")
TOLD = Told(
    (AgentTold(AgentId("ann"), (CALLS,), 3, 0, 1),),
    (ContactTold("new/voice", CALLS, 1, 5.0), ContactTold("old/voice", CALLS, 0, 2.0, AgentId("ann"))),
)
TRUE = Snapshot(
    (AgentSeen("ann", ("calls",), 3, 0, 1),),
    (
        ContactSeen("new/voice", "calls", 1, 5.0, joined=6.0, queued=False),
        ContactSeen("old/voice", "calls", 7, 1.0, joined=1.0, queued=True, agent="ann"),
    ),
)


def test_nothing_is_to_be_said_to_who_knows() -> None:
    """In whatever order; the place of one whom an agent has does not matter any more."""
    assert correction(TOLD, TRUE, 9.0) is None
    assert correction(TOLD, Snapshot(TRUE.agents, TRUE.contacts[::-1]), 9.0) is None


def test_who_was_known_keeps_what_only_the_estimator_knows() -> None:
    """When they came and whether anybody was free; who is new came now, and found nobody free."""
    told = correction(TOLD, Snapshot((), TRUE.contacts[:1]), 9.0)
    assert told is not None
    assert told.agents == TRUE.agents
    assert told.contacts == (
        ContactSeen("new/voice", "calls", 1, 5.0, joined=6.0, queued=False),
        ContactSeen("old/voice", "calls", 0, 2.0, joined=9.0, queued=True, agent="ann"),
    )


def test_who_is_gone_is_forgotten() -> None:
    gone = ContactSeen("gone/voice", "calls", 1, 5.0, joined=6.0, queued=True)
    told = correction(TOLD, Snapshot(TRUE.agents, (*TRUE.contacts, gone)), 9.0)
    assert told is not None
    assert [who.id for who in told.contacts] == ["new/voice", "old/voice"]
