"""Ghosts: what the floor and a session tell differently is healed when it lasts, and never before."""

import pytest

from bridge.acd import GRACE, Acd, AgentStateChanged, GhostHealed, OfferLapsed, PlaceInLine, Seen, WorkAssigned, WorkOffered
from bridge.events import AgentId, QueueId
from tests.unit.bridge.acd_floor import ANN, BEN, CALLS, S1, S2, TEXTS, Diary, acd, agent, of

LATER = 100.0 + GRACE


def healed(it: Acd, *seen: Seen) -> list[GhostHealed]:
    """What is healed when the same is seen twice."""
    assert it.reconcile(seen, 100.0) == []
    assert it.reconcile(seen, LATER - 0.1) == []
    return of(GhostHealed, it.reconcile(seen, LATER))


def test_what_agrees_is_left_alone() -> None:
    it = acd(agent(ANN), agent(BEN, TEXTS))
    it.assign(ANN, S1, "voice", CALLS, 1.0)
    it.join(S2, CALLS, "voice", 2.0, 1, (), 2.0)
    seen = (Seen(S1, "voice", agent=ANN, queue=CALLS), Seen(S2, "voice", place=PlaceInLine(CALLS, 2.0)), Seen(S2, "sms"))
    assert healed(it, *seen) == []


def test_a_waiter_whose_session_is_gone_leaves_the_line_and_frees_the_agent_it_rings_at() -> None:
    diary = Diary()
    it = acd(agent(ANN, CALLS), observer=diary)
    it.set_state(ANN, "not_ready", None, 1.0)
    it.join(S1, CALLS, "voice", 1.0, 1, (), 1.0)
    it.join(S2, CALLS, "voice", 2.0, 1, (), 2.0)
    alive = Seen(S2, "voice", place=PlaceInLine(CALLS, 2.0))
    it.reconcile([alive], 100.0)
    it.set_state(ANN, "ready", None, 144.0)
    outputs = it.reconcile([alive], LATER)
    assert of(GhostHealed, outputs) == [GhostHealed(S1, "voice", "waiter_gone", None)]
    assert of(OfferLapsed, outputs) == [OfferLapsed(ANN, S1, "voice", "withdrawn")]
    assert of(WorkOffered, outputs) == [WorkOffered(ANN, S2, "voice", CALLS, LATER + 20.0)]
    assert ("abandoned", LATER, f"{S1}/voice", False) in diary.lines


def test_an_agent_reserved_for_a_session_that_is_gone_is_free_again() -> None:
    it = acd(agent(ANN))
    it.assign(ANN, S1, "voice", CALLS, 1.0)
    assert healed(it) == [GhostHealed(S1, "voice", "work_gone", ANN)]
    assert it.agent_view(ANN).call is None
    assert it.queue_view(CALLS, LATER).open_slots == 1


def test_a_call_without_legs_is_taken_from_its_agent() -> None:
    """The session is alive, but has no call any more."""
    it = acd(agent(ANN))
    it.assign(ANN, S1, "voice", CALLS, 1.0)
    it.assign(ANN, S1, "sms", TEXTS, 1.0)
    assert healed(it, Seen(S1, "voice"), Seen(S1, "sms", agent=ANN, queue=TEXTS)) == [GhostHealed(S1, "voice", "work_gone", ANN)]
    assert it.agent_view(ANN).chats == (S1,)


def test_a_session_that_waits_outside_the_line_gets_its_place_back() -> None:
    it = acd(agent(ANN, CALLS, skills=("x",)))
    it.set_state(ANN, "not_ready", None, 1.0)
    it.join(S2, CALLS, "voice", 50.0, 1, (), 50.0)
    lost = Seen(S1, "voice", place=PlaceInLine(CALLS, 10.0, 1, ("x",)))
    assert healed(it, lost, Seen(S2, "voice", place=PlaceInLine(CALLS, 50.0))) == [GhostHealed(S1, "voice", "place_lost", None)]
    assert it.waiting(CALLS) == (S1, S2)


def test_an_agent_learns_of_work_that_the_session_says_they_have() -> None:
    it = acd(agent(ANN), agent(BEN))
    it.join(S1, CALLS, "voice", 1.0, 1, (), 1.0)
    it.set_state(ANN, "not_ready", None, 2.0)
    it.set_state(BEN, "not_ready", None, 2.0)
    seen = Seen(S1, "voice", agent=BEN, queue=CALLS)
    assert healed(it, seen) == [GhostHealed(S1, "voice", "work_lost", BEN)]
    assert it.agent_view(BEN).call == S1
    assert it.waiting(CALLS) == ()


def test_work_that_is_with_another_agent_moves_there() -> None:
    it = acd(agent(ANN), agent(BEN))
    it.assign(ANN, S1, "voice", CALLS, 1.0)
    it.join(S2, CALLS, "voice", 2.0, 1, (), 2.0)
    seen = (Seen(S1, "voice", agent=BEN, queue=CALLS), Seen(S2, "voice", place=PlaceInLine(CALLS, 2.0)))
    it.reconcile(seen, 100.0)
    it.set_state(BEN, "ready", None, 101.0)
    outputs = it.reconcile(seen, LATER)
    assert of(GhostHealed, outputs) == [GhostHealed(S1, "voice", "work_lost", BEN)]
    assert of(WorkAssigned, outputs)[0].agent == BEN
    assert of(OfferLapsed, outputs) == [OfferLapsed(BEN, S2, "voice", "withdrawn")]
    assert it.ringing(S2) == ANN


def test_a_session_that_waits_while_an_agent_has_it_goes_back_to_its_place() -> None:
    it = acd(agent(ANN))
    it.assign(ANN, S1, "voice", CALLS, 1.0)
    outputs = healed(it, Seen(S1, "voice", place=PlaceInLine(CALLS, 1.0)))
    assert outputs == [GhostHealed(S1, "voice", "work_gone", ANN), GhostHealed(S1, "voice", "place_lost", None)]
    assert it.ringing(S1) == ANN


@pytest.mark.parametrize(
    "seen",
    [
        Seen(S1, "voice", agent=AgentId("gone"), queue=CALLS),
        Seen(S1, "voice", agent=ANN, queue=QueueId("gone")),
        Seen(S1, "voice", place=PlaceInLine(QueueId("gone"), 1.0)),
    ],
)
def test_agents_and_queues_that_are_no_longer_there_are_not_filled(seen: Seen) -> None:
    it = acd(agent(ANN))
    assert healed(it, seen) == []
    assert (it.agent_view(ANN).call, it.waiting(CALLS)) == (None, ())


def test_a_difference_that_moves_is_only_late_news() -> None:
    """Each time it is another piece of work, so nothing has lasted."""
    it = acd(agent(ANN))
    for second in (100.0, 200.0, 300.0):
        it.assign(ANN, S1, "voice", CALLS, second)
        assert of(GhostHealed, it.reconcile([], second)) == []
        it.release(ANN, S1, "voice", wrap_up=False, now=second + 1)
    it.join(S1, CALLS, "voice", 1.0, 1, (), 310.0)
    it.reconcile([], 320.0)
    it.reconcile([Seen(S1, "voice", place=PlaceInLine(CALLS, 1.0))], 330.0)
    assert it.reconcile([], 400.0) == []


def test_healing_does_not_end_a_break() -> None:
    it = acd(agent(ANN))
    it.assign(ANN, S1, "voice", CALLS, 1.0)
    it.set_state(ANN, "not_ready", "lunch", 2.0)
    it.reconcile([], 100.0)
    outputs = it.reconcile([], LATER)
    assert of(AgentStateChanged, outputs) == []
    assert it.agent_view(ANN).state == "not_ready"


def test_where_something_was_lost_a_difference_need_not_last_so_long() -> None:
    """Two looks all the same: what is only on its way is no ghost."""
    it = acd(agent(ANN))
    it.assign(ANN, S1, "voice", CALLS, 0.0)
    assert it.reconcile([], 10.0, grace=5.0) == []
    assert it.reconcile([], 14.0, grace=5.0) == []
    assert of(GhostHealed, it.reconcile([], 15.0, grace=5.0)) == [GhostHealed(S1, "voice", "work_gone", ANN)]
