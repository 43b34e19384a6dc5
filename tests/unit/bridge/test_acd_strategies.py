"""Who of several is asked, and how many: longest idle, fewest active, in order, all at once; blending; answering by itself."""

from typing import Any

from bridge.acd import Acd, AgentStateChanged, OfferLapsed, QueueSpec, WorkAssigned, WorkOffered, contact_id
from bridge.events import AgentId
from ewt.estimator import Estimator
from ewt.estimator import QueueSpec as Line
from tests.unit.bridge.acd_floor import ANN, BEN, CALLS, CLO, S1, S2, S3, S4, TEXTS, Diary, acd, agent, of


def queues(**more: Any) -> tuple[QueueSpec, QueueSpec]:
    """A queue of calls and one of texts, both like this."""
    return QueueSpec(CALLS, "voice", **more), QueueSpec(TEXTS, "sms", **{"wrap_up": 0.0, **more})


def offered(outputs: Any) -> list[AgentId]:
    """To whom something was offered."""
    return [offer.agent for offer in of(WorkOffered, outputs)]


def test_fewest_active_counts_calls_and_chats() -> None:
    """Longest idle would ask Ann, who has two chats open."""
    for strategy, first in (("fewest_active", BEN), ("longest_idle", ANN)):
        it = acd(agent(ANN), agent(BEN), queues=queues(strategy=strategy))
        it.assign(ANN, S1, "sms", TEXTS, 1.0)
        it.assign(BEN, S2, "voice", CALLS, 2.0)
        it.assign(ANN, S3, "sms", TEXTS, 3.0)
        it.release(BEN, S2, "voice", wrap_up=False, now=4.0)
        assert offered(it.join(S4, CALLS, "voice", 5.0, 1, (), 5.0)) == [first]


def test_in_order_always_begins_with_the_first() -> None:
    it = acd(agent(CLO), agent(ANN), agent(BEN), queues=queues(strategy="in_order"))
    for second in range(5):
        assert offered(it.join(S1, CALLS, "voice", 0.0, 1, (), float(second))) == [CLO]
        it.accept(CLO, S1, "voice", second + 0.5)
        it.release(CLO, S1, "voice", wrap_up=False, now=second + 0.6)


def test_where_all_are_rung_the_first_who_accepts_has_it_and_it_rings_nowhere_else() -> None:
    it = acd(agent(ANN), agent(BEN), agent(CLO), queues=queues(strategy="ring_all"))
    assert offered(it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)) == [ANN, BEN, CLO]
    assert it.ringing(S1) == ANN
    outputs = it.accept(BEN, S1, "voice", 3.0)
    assert [type(output) for output in outputs[:3]] == [OfferLapsed, OfferLapsed, WorkAssigned]
    assert {(lapsed.agent, lapsed.reason) for lapsed in of(OfferLapsed, outputs)} == {(ANN, "withdrawn"), (CLO, "withdrawn")}
    assert of(WorkAssigned, outputs) == [WorkAssigned(BEN, S1, "voice", CALLS, 3.0)]
    assert it.accept(ANN, S1, "voice", 3.0) == []
    assert it.queue_view(CALLS, 3.0).agents_ready == 2


def test_where_all_are_rung_the_first_in_line_rings_and_the_second_rings_next() -> None:
    it = acd(agent(ANN), agent(BEN), queues=queues(strategy="ring_all"))
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    assert offered(it.join(S2, CALLS, "voice", 1.0, 1, (), 1.0)) == []
    assert offered(it.accept(ANN, S1, "voice", 2.0)) == [BEN]


def test_where_all_are_rung_who_comes_free_rings_too() -> None:
    it = acd(agent(ANN), agent(BEN), queues=queues(strategy="ring_all"))
    it.set_state(BEN, "not_ready", None, 0.0)
    it.join(S1, CALLS, "voice", 1.0, 1, (), 1.0)
    assert of(WorkOffered, it.set_state(BEN, "ready", None, 5.0)) == [WorkOffered(BEN, S1, "voice", CALLS, 25.0)]
    assert of(AgentStateChanged, it.wake(21.0)) == [AgentStateChanged(ANN, "not_ready", "missed", 21.0)]
    assert it.ringing(S1) == BEN


def test_where_all_are_rung_one_who_declines_leaves_the_others_ringing() -> None:
    it = acd(agent(ANN), agent(BEN), queues=queues(strategy="ring_all"))
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    it.decline(ANN, S1, "voice", "declined", 1.0)
    assert it.ringing(S1) == BEN
    assert offered(it.join(S2, CALLS, "voice", 2.0, 1, (), 2.0)) == [ANN]


def test_the_caller_who_leaves_is_rung_nowhere() -> None:
    it = acd(agent(ANN), agent(BEN), queues=queues(strategy="ring_all"))
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    assert len(of(OfferLapsed, it.leave(S1, "voice", "abandoned", 1.0))) == 2
    assert it.queue_view(CALLS, 1.0).agents_ready == 2


def test_ringing_at_all_desks_takes_one_place_of_all_for_whoever_counts_them() -> None:
    """Or the wait of the next caller would be forecast as if everybody were busy."""
    diary = Diary()
    it = acd(agent(ANN, CALLS), agent(BEN, CALLS), agent(CLO, CALLS), queues=queues(strategy="ring_all"), observer=diary)
    del diary.lines[:]
    it.join(S1, CALLS, "voice", 1.0, 1, (), 1.0)
    view = it.queue_view(CALLS, 1.0)
    assert (view.open_slots, view.agents_ready) == (2, 0)
    it.decline(ANN, S1, "voice", "declined", 2.0)
    assert it.queue_view(CALLS, 2.0).open_slots == 2
    it.accept(CLO, S1, "voice", 3.0)
    contact = contact_id(S1, "voice")
    assert diary.lines == [
        ("joined", 1.0, contact, CALLS, 1, 1.0),
        ("capacity", 1.0, ANN, 0, 0),
        ("capacity", 2.0, BEN, 0, 0),
        ("capacity", 2.0, ANN, 1, 3),
        ("started", 3.0, contact, CLO, CALLS),
        ("capacity", 3.0, BEN, 1, 3),
        ("capacity", 3.0, CLO, 0, 0),
    ]


def test_when_the_first_desk_gets_other_work_another_one_stands_for_the_ringing() -> None:
    it = acd(agent(ANN), agent(BEN), queues=queues(strategy="ring_all"))
    it.join(S1, CALLS, "voice", 1.0, 1, (), 1.0)
    assert it.queue_view(CALLS, 1.0).open_slots == 1
    it.assign(ANN, S2, "voice", CALLS, 2.0)
    assert (it.ringing(S1), it.queue_view(CALLS, 2.0).open_slots) == (BEN, 0)


def test_the_next_caller_is_not_told_to_wait_because_all_desks_ring() -> None:
    estimator = Estimator([Line(CALLS), Line(TEXTS, "sms")])
    it = Acd(queues(strategy="ring_all"), [agent(ANN), agent(BEN)], estimator)
    for who in (ANN, BEN):
        it.set_state(who, "ready", None, 0.0)
    it.join(S1, CALLS, "voice", 1.0, 1, (), 1.0)
    assert estimator.forecast(2.0, CALLS).status == "free_agent"
    it.join(S2, CALLS, "voice", 3.0, 1, (), 3.0)
    it.accept(BEN, S1, "voice", 4.0)
    it.accept(ANN, S2, "voice", 5.0)
    assert estimator.forecast(5.0, CALLS).status == "ok"
    assert estimator.forecast(5.0, CALLS).ahead == 0


def test_a_queue_can_answer_for_its_agents() -> None:
    it = acd(agent(ANN), agent(BEN), queues=queues(auto_answer=True))
    outputs = it.join(S1, CALLS, "voice", 0.0, 1, (), 1.0)
    assert of(WorkOffered, outputs) == []
    assert of(WorkAssigned, outputs) == [WorkAssigned(ANN, S1, "voice", CALLS, 1.0)]


def test_where_all_are_rung_one_who_answers_by_itself_has_it() -> None:
    it = acd(agent(ANN), agent(BEN, auto_accept=True), queues=queues(strategy="ring_all"))
    assert of(WorkAssigned, it.join(S1, CALLS, "voice", 0.0, 1, (), 1.0)) == [WorkAssigned(BEN, S1, "voice", CALLS, 1.0)]
    it = acd(agent(ANN), agent(BEN, auto_accept=True), queues=queues(strategy="ring_all"))
    it.set_state(BEN, "not_ready", None, 1.0)
    it.join(S1, CALLS, "voice", 2.0, 1, (), 2.0)
    outputs = it.set_state(BEN, "ready", None, 3.0)
    assert of(OfferLapsed, outputs) == [OfferLapsed(ANN, S1, "voice", "withdrawn")]
    assert of(WorkAssigned, outputs) == [WorkAssigned(BEN, S1, "voice", CALLS, 1.0)]


def test_how_many_offers_in_a_row_may_ring_out_is_the_queues_choice() -> None:
    it = acd(agent(ANN), queues=queues(missed_after=2, decline_hold=5.0))
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    it.wake(20.0)
    assert it.agent_view(ANN).state == "ready"
    assert offered(it.wake(25.0)) == [ANN]
    assert of(AgentStateChanged, it.wake(45.0)) == [AgentStateChanged(ANN, "not_ready", "missed", 45.0)]


def test_an_offer_that_is_taken_or_declined_ends_the_row() -> None:
    it = acd(agent(ANN), queues=queues(missed_after=2, decline_hold=0.0))
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    it.wake(20.0)
    it.decline(ANN, S1, "voice", "declined", 21.0)
    it.wake(41.0)
    assert it.agent_view(ANN).state == "ready"
    it.accept(ANN, S1, "voice", 42.0)
    it.release(ANN, S1, "voice", wrap_up=False, now=43.0)
    it.join(S2, CALLS, "voice", 44.0, 1, (), 44.0)
    it.wake(64.0)
    assert it.agent_view(ANN).state == "ready"


def test_a_queue_may_go_on_ringing_who_never_answers() -> None:
    it = acd(agent(ANN), queues=queues(missed_after=0, decline_hold=10.0))
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    for begins in (0.0, 30.0, 60.0, 90.0):
        assert it.agent_view(ANN).offer == WorkOffered(ANN, S1, "voice", CALLS, begins + 20.0)
        it.wake(begins + 20.0)
        assert (it.agent_view(ANN).offer, it.wake_at) == (None, begins + 30.0)
        it.wake(begins + 30.0)


def test_how_chats_and_calls_mix_is_each_agents_own() -> None:
    """Ann takes one chat beside a call; Ben takes a call only without chats."""
    it = acd(agent(ANN, chats_during_call=1), agent(BEN, max_chats_for_call=0), queues=queues())
    it.assign(ANN, S1, "voice", CALLS, 1.0)
    it.assign(BEN, S2, "sms", TEXTS, 1.0)
    assert offered(it.join(S3, CALLS, "voice", 2.0, 1, (), 2.0)) == []
    view = it.queue_view(TEXTS, 2.0)
    assert view.open_slots == 3
    it.assign(ANN, S4, "sms", TEXTS, 3.0)
    assert it.queue_view(TEXTS, 3.0).open_slots == 2
    assert offered(it.release(BEN, S2, "sms", wrap_up=False, now=4.0)) == [BEN]
