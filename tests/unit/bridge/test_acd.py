"""Who stands where, who is offered whom: the rules of the queues, one by one and in any order."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bridge.acd import (
    AGENT_TRANSITIONS,
    Acd,
    AgentSpec,
    AgentStateChanged,
    OfferLapsed,
    QueueChanged,
    QueueSpec,
    UnknownAgent,
    UnknownQueue,
    WorkAssigned,
    WorkOffered,
    contact_id,
)
from bridge.events import AgentId, QueueId, SessionId
from ewt.estimator import Estimator
from ewt.estimator import QueueSpec as Line
from tests.unit.bridge.acd_floor import ANN, BEN, CALLS, CLO, QUEUES, S1, S2, S3, SALES, TEXTS, Diary, acd, agent, of


def test_a_caller_who_joins_while_an_agent_is_ready_rings_at_once() -> None:
    it = acd(agent(ANN))
    assert it.join(S1, CALLS, "voice", 5.0, 1, (), 5.0) == [
        WorkOffered(ANN, S1, "voice", CALLS, 25.0),
        QueueChanged(CALLS),
        QueueChanged(TEXTS),
    ]
    assert it.wake_at == 25.0


def test_accepting_assigns_the_work_and_tells_the_wait_since_the_place_began() -> None:
    it = acd(agent(ANN))
    it.join(S1, CALLS, "voice", 1.0, 1, (), 5.0)
    outputs = it.accept(ANN, S1, "voice", 9.0)
    assert of(WorkAssigned, outputs) == [WorkAssigned(ANN, S1, "voice", CALLS, 8.0)]
    assert it.position(S1, "voice") is None
    assert it.serving(S1, "voice") == ANN
    assert it.wake_at is None


def test_accepting_what_rings_no_more_changes_nothing() -> None:
    it = acd(agent(ANN), agent(BEN))
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    assert it.accept(BEN, S1, "voice", 1.0) == []
    it.leave(S1, "voice", "abandoned", 2.0)
    assert it.accept(ANN, S1, "voice", 3.0) == []
    assert it.decline(ANN, S1, "voice", "declined", 3.0) == []


def test_an_offer_that_rings_out_goes_to_the_next_agent_and_marks_the_first_as_having_missed_it() -> None:
    it = acd(agent(ANN), agent(BEN))
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    outputs = it.wake(20.0)
    assert of(OfferLapsed, outputs) == [OfferLapsed(ANN, S1, "voice", "ring_timeout")]
    assert of(AgentStateChanged, outputs) == [AgentStateChanged(ANN, "not_ready", "missed", 20.0)]
    assert of(WorkOffered, outputs) == [WorkOffered(BEN, S1, "voice", CALLS, 40.0)]


def test_waking_early_does_nothing() -> None:
    it = acd(agent(ANN))
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    assert it.wake(19.9) == []


def test_declined_work_goes_on_to_another_and_comes_back_only_after_the_hold() -> None:
    it = acd(agent(ANN))
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    assert of(WorkOffered, it.decline(ANN, S1, "voice", "declined", 3.0)) == []
    assert it.agent_view(ANN).state == "ready"
    assert it.wake_at == 63.0
    assert of(WorkOffered, it.join(S2, CALLS, "voice", 4.0, 1, (), 4.0)) == [WorkOffered(ANN, S2, "voice", CALLS, 24.0)]
    it.leave(S2, "voice", "abandoned", 5.0)
    assert of(WorkOffered, it.wake(63.0)) == [WorkOffered(ANN, S1, "voice", CALLS, 83.0)]


def test_who_declined_is_not_asked_at_once_because_the_work_moves() -> None:
    """A session that waited for one agent alone and is open to all now goes to the others first."""
    it = acd(agent(ANN, skills=("agent:ann",)), agent(BEN))
    it.join(S1, CALLS, "voice", 0.0, 1, ("agent:ann",), 0.0)
    it.decline(ANN, S1, "voice", "declined", 3.0)
    assert of(WorkOffered, it.join(S1, CALLS, "voice", 0.0, 1, (), 3.0)) == [WorkOffered(BEN, S1, "voice", CALLS, 23.0)]
    it.decline(BEN, S1, "voice", "declined", 4.0)
    assert of(WorkOffered, it.wake(63.0)) == [WorkOffered(ANN, S1, "voice", CALLS, 83.0)]


def test_two_holds_end_one_after_the_other() -> None:
    it = acd(agent(ANN), agent(BEN))
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    it.decline(ANN, S1, "voice", "declined", 1.0)
    it.decline(BEN, S1, "voice", "declined", 2.0)
    assert of(WorkOffered, it.wake(61.0)) == [WorkOffered(ANN, S1, "voice", CALLS, 81.0)]
    assert it.wake_at == 62.0


def test_a_desk_that_reports_the_ring_timeout_itself_has_missed_the_work() -> None:
    it = acd(agent(ANN))
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    it.decline(ANN, S1, "voice", "ring_timeout", 20.0)
    assert (it.agent_view(ANN).state, it.agent_view(ANN).reason) == ("not_ready", "missed")


def test_the_line_is_ordered_by_priority_and_then_by_since() -> None:
    it = acd()
    it.join(S1, CALLS, "voice", 10.0, 1, (), 10.0)
    it.join(S2, CALLS, "voice", 5.0, 1, (), 11.0)
    it.join(S3, CALLS, "voice", 12.0, 0, (), 12.0)
    assert it.waiting(CALLS) == (S3, S2, S1)
    assert [it.position(s, "voice") for s in (S1, S2, S3)] == [3, 2, 1]


def test_joining_again_keeps_the_place() -> None:
    it = acd()
    it.join(S1, CALLS, "voice", 1.0, 1, (), 1.0)
    it.join(S2, CALLS, "voice", 1.0, 1, (), 1.0)
    assert it.join(S1, CALLS, "voice", 1.0, 1, (), 9.0) == []
    assert it.waiting(CALLS) == (S1, S2)


def test_joining_another_queue_moves_the_session_and_stops_its_ringing() -> None:
    it = acd(agent(ANN, CALLS))
    it.join(S1, CALLS, "voice", 1.0, 1, (), 1.0)
    outputs = it.join(S1, SALES, "voice", 1.0, 1, (), 2.0)
    assert of(OfferLapsed, outputs) == [OfferLapsed(ANN, S1, "voice", "withdrawn")]
    assert (it.waiting(CALLS), it.waiting(SALES)) == ((), (S1,))


def test_a_session_that_is_being_served_does_not_stand_in_line() -> None:
    it = acd(agent(ANN))
    it.join(S1, CALLS, "voice", 1.0, 1, (), 1.0)
    it.accept(ANN, S1, "voice", 2.0)
    assert it.join(S1, CALLS, "voice", 1.0, 1, (), 3.0) == []


def test_the_longest_idle_agent_is_offered_first() -> None:
    it = acd(agent(ANN), agent(BEN))
    it.set_state(ANN, "not_ready", "lunch", 1.0)
    it.set_state(ANN, "ready", None, 2.0)
    assert of(WorkOffered, it.join(S1, CALLS, "voice", 3.0, 1, (), 3.0))[0].agent == BEN


def test_a_chat_goes_to_the_agent_with_the_fewest_chats() -> None:
    it = acd(agent(ANN), agent(BEN))
    it.assign(ANN, S1, "sms", TEXTS, 1.0)
    assert of(WorkOffered, it.join(S2, TEXTS, "sms", 3.0, 1, (), 3.0))[0].agent == BEN


def test_a_queue_in_order_offers_to_the_agents_as_configured() -> None:
    it = Acd([QueueSpec(CALLS, "voice", strategy="in_order")], [agent(ANN, CALLS), agent(BEN, CALLS)])
    it.set_state(BEN, "ready", None, 0.0)
    it.set_state(ANN, "ready", None, 9.0)
    assert of(WorkOffered, it.join(S1, CALLS, "voice", 9.0, 1, (), 9.0))[0].agent == ANN


def test_only_an_agent_with_every_skill_is_offered() -> None:
    it = acd(agent(ANN), agent(BEN, skills=("fr", "billing")))
    assert of(WorkOffered, it.join(S1, CALLS, "voice", 1.0, 1, ("fr",), 1.0))[0].agent == BEN
    assert of(WorkOffered, it.join(S2, CALLS, "voice", 1.0, 1, ("es",), 2.0)) == []
    assert of(WorkOffered, it.join(S3, CALLS, "voice", 1.0, 1, (), 3.0))[0].agent == ANN


def test_during_a_call_no_chat_is_offered_unless_the_agent_may() -> None:
    it = acd(agent(ANN))
    it.assign(ANN, S1, "voice", CALLS, 1.0)
    assert of(WorkOffered, it.join(S2, TEXTS, "sms", 2.0, 1, (), 2.0)) == []
    it = acd(agent(ANN, chats_during_call=1))
    it.assign(ANN, S1, "voice", CALLS, 1.0)
    assert len(of(WorkOffered, it.join(S2, TEXTS, "sms", 2.0, 1, (), 2.0))) == 1
    it.accept(ANN, S2, "sms", 3.0)
    assert of(WorkOffered, it.join(S3, TEXTS, "sms", 4.0, 1, (), 4.0)) == []


def test_a_call_is_offered_beside_open_chats_unless_there_are_too_many() -> None:
    it = acd(agent(ANN))
    it.assign(ANN, S1, "sms", TEXTS, 1.0)
    assert len(of(WorkOffered, it.join(S2, CALLS, "voice", 2.0, 1, (), 2.0))) == 1
    it = acd(agent(ANN, max_chats_for_call=0))
    it.assign(ANN, S1, "sms", TEXTS, 1.0)
    assert of(WorkOffered, it.join(S2, CALLS, "voice", 2.0, 1, (), 2.0)) == []


def test_an_agent_takes_chats_up_to_the_limit_one_ringing_at_a_time() -> None:
    it = acd(agent(ANN, max_chats=2))
    for session in (S1, S2, S3):
        it.join(session, TEXTS, "sms", 1.0, 1, (), 1.0)
    assert of(WorkOffered, it.accept(ANN, S1, "sms", 2.0))[0].session == S2
    assert of(WorkOffered, it.accept(ANN, S2, "sms", 3.0)) == []
    assert it.agent_view(ANN).chats == (S1, S2)
    assert it.waiting(TEXTS) == (S3,)


def test_a_session_in_two_lines_rings_at_one_desk_at_a_time() -> None:
    it = acd(agent(ANN, CALLS), agent(BEN, TEXTS))
    it.join(S1, CALLS, "voice", 1.0, 1, (), 1.0)
    assert of(WorkOffered, it.join(S1, TEXTS, "sms", 1.0, 1, (), 2.0)) == []
    outputs = it.decline(ANN, S1, "voice", "declined", 3.0)
    assert of(WorkOffered, outputs) == [WorkOffered(BEN, S1, "sms", TEXTS, 23.0)]


def test_releasing_a_call_brings_wrap_up_and_then_the_next_caller() -> None:
    it = acd(agent(ANN))
    it.join(S1, CALLS, "voice", 1.0, 1, (), 1.0)
    it.accept(ANN, S1, "voice", 2.0)
    it.join(S2, CALLS, "voice", 3.0, 1, (), 3.0)
    outputs = it.release(ANN, S1, "voice", wrap_up=True, now=60.0)
    assert of(AgentStateChanged, outputs) == [AgentStateChanged(ANN, "wrap_up", None, 60.0)]
    assert (it.wake_at, it.agent_view(ANN).wrap_up_until) == (90.0, 90.0)
    assert of(WorkOffered, it.wake(90.0)) == [WorkOffered(ANN, S2, "voice", CALLS, 110.0)]


def test_an_agent_can_end_wrap_up_early_and_only_wrap_up() -> None:
    it = acd(agent(ANN))
    assert it.finish_wrap_up(ANN, 1.0) == []
    it.assign(ANN, S1, "voice", CALLS, 1.0)
    it.release(ANN, S1, "voice", wrap_up=True, now=2.0)
    assert of(AgentStateChanged, it.finish_wrap_up(ANN, 3.0)) == [AgentStateChanged(ANN, "ready", None, 3.0)]
    assert it.wake_at is None


def test_without_wrap_up_the_agent_is_ready_at_once() -> None:
    it = acd(agent(ANN))
    it.assign(ANN, S1, "voice", CALLS, 1.0)
    it.join(S2, CALLS, "voice", 2.0, 1, (), 2.0)
    assert of(WorkOffered, it.release(ANN, S1, "voice", wrap_up=False, now=3.0))[0].session == S2


def test_releasing_what_the_agent_does_not_have_changes_nothing() -> None:
    assert acd(agent(ANN)).release(ANN, S1, "voice", wrap_up=True, now=1.0) == []


def test_a_break_asked_for_during_a_call_begins_when_it_ends() -> None:
    it = acd(agent(ANN))
    it.assign(ANN, S1, "voice", CALLS, 1.0)
    it.set_state(ANN, "not_ready", "lunch", 2.0)
    assert it.agent_view(ANN).busy
    it.release(ANN, S1, "voice", wrap_up=True, now=3.0)
    assert (it.agent_view(ANN).state, it.agent_view(ANN).reason, it.agent_view(ANN).busy) == ("not_ready", "lunch", False)


def test_ending_a_chat_while_another_call_rings_brings_no_wrap_up() -> None:
    it = Acd([QueueSpec(CALLS, "voice"), QueueSpec(TEXTS, "sms", wrap_up=30.0)], [agent(ANN)])
    it.set_state(ANN, "ready", None, 0.0)
    it.assign(ANN, S1, "sms", TEXTS, 1.0)
    it.join(S2, CALLS, "voice", 2.0, 1, (), 2.0)
    it.release(ANN, S1, "sms", wrap_up=True, now=3.0)
    assert it.agent_view(ANN).offer == WorkOffered(ANN, S2, "voice", CALLS, 22.0)


def test_a_second_chat_ended_in_wrap_up_lengthens_it() -> None:
    it = Acd([QueueSpec(TEXTS, "sms", wrap_up=30.0)], [agent(ANN, TEXTS)])
    it.set_state(ANN, "ready", None, 0.0)
    for session in (S1, S2):
        it.assign(ANN, session, "sms", TEXTS, 1.0)
    it.release(ANN, S1, "sms", wrap_up=True, now=10.0)
    it.release(ANN, S2, "sms", wrap_up=True, now=20.0)
    assert it.wake_at == 50.0


def test_signing_out_while_it_rings_gives_the_work_to_another() -> None:
    it = acd(agent(ANN), agent(BEN))
    it.join(S1, CALLS, "voice", 1.0, 1, (), 1.0)
    outputs = it.set_state(ANN, "offline", None, 2.0)
    assert of(OfferLapsed, outputs) == [OfferLapsed(ANN, S1, "voice", "signed_out")]
    assert of(WorkOffered, outputs)[0].agent == BEN


def test_an_agent_who_signs_out_keeps_the_open_chats_until_they_are_released() -> None:
    it = acd(agent(ANN))
    it.assign(ANN, S1, "sms", TEXTS, 1.0)
    it.set_state(ANN, "offline", None, 2.0)
    assert it.agent_view(ANN).chats == (S1,)
    it.release(ANN, S1, "sms", wrap_up=True, now=3.0)
    assert (it.agent_view(ANN).chats, it.agent_view(ANN).state) == ((), "offline")


def test_setting_the_same_state_again_changes_nothing() -> None:
    it = acd(agent(ANN))
    assert it.set_state(ANN, "ready", None, 1.0) == []
    it.set_state(ANN, "not_ready", "lunch", 2.0)
    assert it.set_state(ANN, "not_ready", "lunch", 3.0) == []
    assert it.agent_view(ANN).since == 2.0


def test_an_agent_who_takes_everything_is_assigned_without_ringing() -> None:
    it = acd(agent(ANN, auto_accept=True, max_chats=2))
    outputs = it.join(S1, TEXTS, "sms", 1.0, 1, (), 1.0)
    assert of(WorkOffered, outputs) == []
    assert of(WorkAssigned, outputs) == [WorkAssigned(ANN, S1, "sms", TEXTS, 0.0)]


def test_after_a_restart_an_open_chat_is_given_back_once_and_to_an_agent_who_is_not_there_yet() -> None:
    it = Acd(QUEUES, [agent(ANN)])
    assert of(WorkAssigned, it.assign(ANN, S1, "sms", TEXTS, 5.0)) == [WorkAssigned(ANN, S1, "sms", TEXTS, 0.0)]
    assert it.assign(ANN, S1, "sms", TEXTS, 6.0) == []


def test_assigning_takes_the_session_out_of_the_line_and_away_from_every_other_desk() -> None:
    it = acd(agent(ANN), agent(BEN), agent(CLO))
    it.join(S1, CALLS, "voice", 1.0, 1, (), 1.0)
    outputs = it.assign(BEN, S1, "voice", CALLS, 3.0)
    assert of(OfferLapsed, outputs) == [OfferLapsed(ANN, S1, "voice", "withdrawn")]
    assert of(WorkAssigned, outputs) == [WorkAssigned(BEN, S1, "voice", CALLS, 2.0)]
    assert it.queue_view(CALLS, 4.0).agents_ready == 2
    it.assign(CLO, S1, "voice", CALLS, 5.0)
    assert [it.agent_view(who).call for who in (ANN, BEN, CLO)] == [None, None, S1]


def test_assigning_work_withdraws_what_rings_at_that_desk() -> None:
    it = acd(agent(ANN), agent(BEN))
    it.join(S1, CALLS, "voice", 1.0, 1, (), 1.0)
    outputs = it.assign(ANN, S2, "voice", CALLS, 2.0)
    assert of(OfferLapsed, outputs) == [OfferLapsed(ANN, S1, "voice", "withdrawn")]
    assert of(WorkOffered, outputs)[0].agent == BEN
    it = acd(agent(ANN))
    it.join(S1, TEXTS, "sms", 1.0, 1, (), 1.0)
    it.assign(ANN, S1, "sms", TEXTS, 2.0)
    assert it.agent_view(ANN).chats == (S1,)


def test_a_queue_view_tells_the_line_the_staff_and_the_open_slots() -> None:
    it = acd(agent(ANN), agent(BEN, TEXTS, max_chats=4))
    it.join(S1, CALLS, "voice", 1.0, 1, (), 2.0)
    it.accept(ANN, S1, "voice", 3.0)
    it.join(S2, CALLS, "voice", 4.0, 1, (), 4.0)
    it.join(S3, CALLS, "voice", 6.0, 0, (), 6.0)
    calls, texts = it.queue_view(CALLS, 10.0), it.queue_view(TEXTS, 10.0)
    assert (calls.waiting, calls.longest_wait) == (2, 6.0)
    assert (calls.agents_staffed, calls.agents_ready, calls.agents_busy, calls.open_slots) == (1, 0, 1, 0)
    assert (texts.agents_staffed, texts.agents_ready, texts.open_slots, texts.longest_wait) == (2, 1, 4, 0.0)


def test_a_queue_knows_since_when_nobody_works_it() -> None:
    it = Acd(QUEUES, [agent(ANN), agent(BEN)], now=100.0)
    assert (it.queue_view(CALLS, 110.0).staffed, it.queue_view(CALLS, 110.0).unstaffed_since) == (False, 100.0)
    it.set_state(ANN, "ready", None, 120.0)
    it.set_state(BEN, "ready", None, 120.0)
    it.set_state(ANN, "offline", None, 130.0)
    assert it.queue_view(CALLS, 130.0).unstaffed_since is None
    it.set_state(BEN, "not_ready", "lunch", 140.0)
    assert it.queue_view(CALLS, 150.0).unstaffed_since == 140.0


def test_unknown_agents_and_queues_are_refused_and_nothing_changes() -> None:
    it = acd(agent(ANN))
    with pytest.raises(UnknownAgent):
        it.set_state(BEN, "ready", None, 1.0)
    with pytest.raises(UnknownQueue):
        it.join(S1, QueueId("nowhere"), "voice", 1.0, 1, (), 1.0)
    with pytest.raises(UnknownQueue):
        it.join(S1, TEXTS, "voice", 1.0, 1, (), 1.0)
    with pytest.raises(UnknownQueue):
        Acd(QUEUES, [agent(ANN, QueueId("nowhere"))])
    assert it.leave(S1, "voice", "abandoned", 1.0) == []


def test_what_is_configured_can_be_asked_for() -> None:
    it = acd(agent(ANN, address="sip:ann@127.0.0.1"))
    assert (it.agents, it.queues) == ((ANN,), (CALLS, TEXTS, SALES))
    assert it.agent_spec(ANN).address == "sip:ann@127.0.0.1"


def test_the_estimator_is_told_in_the_order_it_needs() -> None:
    """Free before the next is taken, the line before the agent, and a place that was given up as a ghost."""
    diary = Diary()
    it = acd(agent(ANN, CALLS), observer=diary)
    it.join(S1, CALLS, "voice", 1.0, 1, (), 2.0)
    it.accept(ANN, S1, "voice", 3.0)
    it.join(S2, CALLS, "voice", 4.0, 1, (), 4.0)
    it.leave(S2, "voice", "deflected", 5.0)
    it.release(ANN, S1, "voice", wrap_up=False, now=6.0)
    it.set_state(ANN, "offline", None, 7.0)
    assert diary.lines == [
        ("login", 0.0, ANN, (CALLS,), 3),
        ("capacity", 0.0, ANN, 1, 3),
        ("joined", 2.0, contact_id(S1, "voice"), CALLS, 1, 1.0),
        ("capacity", 2.0, ANN, 0, 0),
        ("started", 3.0, contact_id(S1, "voice"), ANN, CALLS),
        ("joined", 4.0, contact_id(S2, "voice"), CALLS, 1, 4.0),
        ("abandoned", 5.0, contact_id(S2, "voice"), True),
        ("not served", 6.0, contact_id(S1, "voice"), ANN),
        ("capacity", 6.0, ANN, 1, 3),
        ("capacity", 7.0, ANN, 0, 0),
        ("logout", 7.0, ANN),
    ]


def test_a_session_rings_somewhere_or_nowhere() -> None:
    it = acd(agent(ANN))
    assert it.ringing(S1) is None
    it.join(S1, CALLS, "voice", 1.0, 1, (), 1.0)
    assert it.ringing(S1) == ANN


def test_the_wait_is_forecast_from_what_the_queues_see() -> None:
    """Free, ringing, queued, on a break: the estimator follows without being asked to."""
    estimator = Estimator([Line(CALLS), Line(TEXTS, "sms")])
    it = Acd(QUEUES, [agent(ANN)], estimator)
    assert estimator.forecast(0.0, CALLS).status == "no_agents"
    it.set_state(ANN, "ready", None, 0.0)
    assert estimator.forecast(0.0, CALLS).status == "free_agent"
    it.join(S1, CALLS, "voice", 1.0, 1, (), 1.0)
    assert estimator.forecast(1.0, CALLS).status == "ok"
    it.accept(ANN, S1, "voice", 5.0)
    it.join(S2, CALLS, "voice", 6.0, 1, (), 6.0)
    it.join(S3, CALLS, "voice", 0.0, 1, (), 7.0)
    ahead = [estimator.forecast_waiting(8.0, contact_id(session, "voice")).ahead for session in (S2, S3)]
    assert (ahead, estimator.forecast(8.0, CALLS).ahead) == ([1, 0], 2)
    it.release(ANN, S1, "voice", wrap_up=True, now=100.0)
    assert estimator.forecast(100.0, CALLS).status == "ok"
    it.wake(130.0)
    it.accept(ANN, S3, "voice", 132.0)
    assert estimator.forecast(132.0, CALLS).outcomes == 1
    it.set_state(ANN, "not_ready", "lunch", 133.0)
    assert estimator.forecast(133.0, CALLS).status == "no_agents"


def test_every_state_can_be_left_and_every_choice_is_possible_in_every_state() -> None:
    states = {state for state, _ in AGENT_TRANSITIONS}
    for state in states:
        assert {happened for at, happened in AGENT_TRANSITIONS if at == state} >= {"go_ready", "go_not_ready", "go_offline"}
        assert (state, "work_ended") in AGENT_TRANSITIONS
    assert set(AGENT_TRANSITIONS.values()) == states


SESSIONS = [SessionId(f"s{n}") for n in range(6)]
AGENTS = (
    agent(ANN, CALLS, TEXTS, max_chats=2),
    agent(BEN, CALLS, SALES, TEXTS, max_chats=1, max_chats_for_call=0, skills=("fr",)),
    agent(CLO, TEXTS, SALES, max_chats=2, chats_during_call=1),
    agent(AgentId("dee"), SALES, TEXTS, max_chats=1, auto_accept=True),
)
LINES = [(CALLS, "voice"), (SALES, "voice"), (TEXTS, "sms")]
CHANNELS = st.sampled_from(["voice", "sms"])


class AcdMachine(RuleBasedStateMachine):
    """Anything in any order, checked against a plain model of who waits, who is rung and who is served."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.diary, self.twin_diary = Diary(), Diary()
        self.acd = Acd(QUEUES, AGENTS, self.diary)
        self.twin = Acd(QUEUES, AGENTS, self.twin_diary)
        self.waiting: dict[tuple[str, str], tuple[str, int, float]] = {}
        self.served: dict[tuple[str, str], str] = {}
        self.ringing: dict[str, tuple[str, str]] = {}

    def do(self, method: str, *args: Any) -> None:
        """Do it twice, on twins that must not differ, and apply the outputs to the model."""
        outputs = getattr(self.acd, method)(*args, now=self.now)
        assert outputs == getattr(self.twin, method)(*args, now=self.now)
        assert self.diary.lines == self.twin_diary.lines
        changed = [output.queue for output in of(QueueChanged, outputs)]
        assert max(Counter(changed).values(), default=1) == 1
        for output in outputs:
            match output:
                case WorkOffered():
                    assert output.agent not in self.ringing
                    assert (output.session, output.channel) in self.waiting
                    self.ringing[output.agent] = (output.session, output.channel)
                case OfferLapsed():
                    assert self.ringing.pop(output.agent) == (output.session, output.channel)
                case WorkAssigned():
                    work = (output.session, output.channel)
                    self.waiting.pop(work, None)
                    self.ringing = {who: what for who, what in self.ringing.items() if what != work}
                    self.served[work] = output.agent
                case _:
                    pass

    @rule(seconds=st.sampled_from([0.0, 0.5, 5.0, 20.0, 31.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.do("wake")
        assert self.acd.wake_at is None or self.acd.wake_at > self.now

    @rule(who=st.sampled_from(AGENTS), state=st.sampled_from(["ready", "ready", "not_ready", "offline"]))
    def set_state(self, who: AgentSpec, state: str) -> None:
        self.do("set_state", who.id, state, "break")

    @rule(
        session=st.sampled_from(SESSIONS),
        line=st.sampled_from(LINES),
        priority=st.integers(0, 1),
        ago=st.sampled_from([0.0, 100.0]),
        skills=st.sampled_from([(), ("fr",)]),
    )
    def join(self, session: SessionId, line: tuple[QueueId, str], priority: int, ago: float, skills: tuple[str, ...]) -> None:
        queue, channel = line
        if (session, channel) not in self.served:
            # Set first: the outputs may take it out again.
            self.waiting[session, channel] = (queue, priority, self.now - ago)
        self.do("join", session, queue, channel, self.now - ago, priority, skills)

    @rule(session=st.sampled_from(SESSIONS), channel=CHANNELS, outcome=st.sampled_from(["abandoned", "deflected", "timed_out"]))
    def leave(self, session: SessionId, channel: str, outcome: str) -> None:
        self.do("leave", session, channel, outcome)
        self.waiting.pop((session, channel), None)

    @rule(who=st.sampled_from(AGENTS))
    def accept_what_rings(self, who: AgentSpec) -> None:
        if who.id in self.ringing:
            session, channel = self.ringing[who.id]
            self.do("accept", who.id, session, channel)
            assert self.served[session, channel] == who.id

    @rule(who=st.sampled_from(AGENTS), session=st.sampled_from(SESSIONS), channel=CHANNELS)
    def accept_anything(self, who: AgentSpec, session: SessionId, channel: str) -> None:
        self.do("accept", who.id, session, channel)

    @rule(who=st.sampled_from(AGENTS), reason=st.sampled_from(["declined", "ring_timeout"]))
    def decline(self, who: AgentSpec, reason: str) -> None:
        if who.id in self.ringing:
            self.do("decline", who.id, *self.ringing[who.id], reason)

    @rule(data=st.data(), wrap_up=st.booleans())
    def release(self, data: st.DataObject, wrap_up: bool) -> None:
        if self.served:
            work = data.draw(st.sampled_from(sorted(self.served)))
            who = self.served.pop(work)
            self.do("release", who, *work, wrap_up)

    @rule(who=st.sampled_from(AGENTS))
    def finish_wrap_up(self, who: AgentSpec) -> None:
        self.do("finish_wrap_up", who.id)

    @rule(who=st.sampled_from(AGENTS), session=st.sampled_from(SESSIONS))
    def transfer_a_chat(self, who: AgentSpec, session: SessionId) -> None:
        if len(self.acd.agent_view(who.id).chats) < who.max_chats and self.acd.agent_view(who.id).call is None:
            self.do("assign", who.id, session, "sms", TEXTS)

    @invariant()
    def nobody_in_line_is_lost_and_the_order_is_kept(self) -> None:
        for queue, channel in LINES:
            line = self.acd.waiting(queue)
            mine = {session for (session, on), place in self.waiting.items() if place[0] == queue and on == channel}
            assert len(line) == len(set(line))
            assert set(line) == mine
            places = [self.waiting[session, channel][1:] for session in line]
            assert places == sorted(places)
            assert [self.acd.position(session, channel) for session in line] == list(range(1, len(line) + 1))  # type: ignore[arg-type]
            view = self.acd.queue_view(queue, self.now)
            assert view.longest_wait == max((self.now - place[1] for place in places), default=0.0)
            assert view.staffed == (view.unstaffed_since is None) == (view.agents_staffed > 0)

    @invariant()
    def nobody_has_more_than_they_may(self) -> None:
        held = Counter[tuple[str, str]]()
        for spec in AGENTS:
            view = self.acd.agent_view(spec.id)
            assert len(view.chats) <= spec.max_chats
            held.update([(s, "sms") for s in view.chats] + ([(view.call, "voice")] if view.call else []))
            if view.offer is not None:
                assert view.state == "ready"
                assert self.ringing[spec.id] == (view.offer.session, view.offer.channel)
            else:
                assert spec.id not in self.ringing
        assert dict(held) == dict.fromkeys(self.served, 1)

    @invariant()
    def a_session_rings_at_one_desk(self) -> None:
        assert max(Counter(session for session, _ in self.ringing.values()).values(), default=1) == 1

    @invariant()
    def nobody_waits_while_an_agent_could_be_offered(self) -> None:
        """Checked from the views alone; a declined offer and a skill are the only excuses."""
        rung = {session for session, _ in self.ringing.values()}
        for queue, channel in LINES:
            for session in self.acd.waiting(queue):
                waiter = self.acd._dispatch.waiters[session, channel]  # type: ignore[index]
                for spec in AGENTS:
                    view = self.acd.agent_view(spec.id)
                    if queue not in spec.queues or view.state != "ready" or view.offer or session in rung:
                        continue
                    if spec.id in waiter.held_from or not set(waiter.request.skills).issubset(spec.skills):
                        continue
                    if channel == "voice":
                        most = spec.max_chats_for_call
                        assert view.call or (most is not None and len(view.chats) > most)
                    else:
                        most = min(spec.max_chats, spec.chats_during_call) if view.call else spec.max_chats
                        assert len(view.chats) >= most


AcdMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnythingInAnyOrder = AcdMachine.TestCase


def test_who_is_given_back_is_not_overtaken() -> None:
    """The phone was not picked up: the next offer is for the first in line, not for the second."""
    it = acd(agent(ANN, CALLS))
    it.join(S1, CALLS, "voice", 1.0, 1, (), 1.0)
    it.accept(ANN, S1, "voice", 2.0)
    it.join(S2, CALLS, "voice", 3.0, 1, (), 3.0)
    offers = [out for out in it.give_back(ANN, S1, CALLS, "voice", 1.0, 1, (), 4.0) if isinstance(out, WorkOffered)]
    assert [offer.session for offer in offers] == [S1]
    assert it.waiting(CALLS) == (S1, S2)
    assert it.agent_view(ANN).call is None


def test_giving_back_what_one_does_not_have_is_standing_in_line() -> None:
    """After a restart nobody has it."""
    it = acd(agent(ANN, CALLS))
    it.give_back(ANN, S1, CALLS, "voice", 1.0, 1, (), 4.0)
    assert it.waiting(CALLS) == (S1,)
    with pytest.raises(UnknownQueue):
        it.give_back(ANN, S1, TEXTS, "voice", 1.0, 1, (), 5.0)
