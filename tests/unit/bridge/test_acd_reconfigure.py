"""Queues and agents change while people wait and work."""

import pytest

from bridge.acd import AgentStateChanged, OfferLapsed, QueueInUse, QueueSpec, Redirect, UnknownQueue, WorkAssigned, WorkOffered
from tests.unit.bridge.acd_floor import ANN, BEN, CALLS, QUEUES, S1, S2, S3, SALES, TEXTS, Diary, acd, agent, of


def test_who_waits_is_offered_to_an_agent_who_comes_to_the_queue() -> None:
    """A line that nobody worked on rings at once at whoever is put on it."""
    it = acd(agent(ANN, TEXTS))
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    outputs = it.reconfigure(QUEUES, [agent(ANN, TEXTS, CALLS)], 5.0)
    assert [(offer.agent, offer.session) for offer in of(WorkOffered, outputs)] == [(ANN, S1)]


def test_a_queue_with_people_in_it_stays() -> None:
    """Neither who waits nor who is served loses the queue; the refusal counts them and changes nothing."""
    it = acd(agent(ANN))
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    it.accept(ANN, S1, "voice", 1.0)
    it.join(S2, CALLS, "voice", 1.0, 1, (), 1.0)
    with pytest.raises(QueueInUse) as refusal:
        it.reconfigure(QUEUES[1:], [], 2.0)
    assert refusal.value.uses == {CALLS: (1, 1)}
    assert str(refusal.value) == "calls: 1 waiting, 1 served"
    assert it.queues == (CALLS, TEXTS, SALES)
    assert it.agents == (ANN,)


def test_a_queue_that_became_one_of_the_other_channel_is_a_new_one() -> None:
    """Only an empty queue may change its channel; its agents take the other kind of work."""
    it = acd(agent(ANN, SALES))
    it.reconfigure([*QUEUES[:2], QueueSpec(SALES, "sms")], [agent(ANN, SALES)], 1.0)
    outputs = it.join(S1, SALES, "sms", 1.0, 1, (), 1.0)
    assert of(WorkOffered, outputs)
    it.accept(ANN, S1, "sms", 2.0)
    with pytest.raises(QueueInUse):
        it.reconfigure(QUEUES, [agent(ANN, SALES)], 3.0)


def test_names_that_mean_nothing_are_refused() -> None:
    """Agents and redirects only name queues that there are, and redirects those of their channel."""
    it = acd(agent(ANN))
    for queues in (QUEUES[1:], [*QUEUES, QueueSpec(TEXTS, "sms", redirect=Redirect(CALLS, rings=1))]):
        with pytest.raises(UnknownQueue):
            it.reconfigure(queues, [agent(ANN)], 1.0)
    assert it.agent_view(ANN).state == "ready"


def test_an_agent_who_is_taken_away_ends_what_they_have_and_is_gone() -> None:
    """Nothing more is offered to one who is leaving, ready or not; with the last work released there is no such agent."""
    it = acd(agent(ANN), agent(BEN))
    it.assign(ANN, S1, "sms", TEXTS, 1.0)
    it.join(S2, CALLS, "voice", 1.0, 1, (), 1.0)
    ringing = it.ringing(S2)
    outputs = it.reconfigure(QUEUES, [agent(BEN)], 2.0)
    assert ringing in {ANN, BEN}
    assert it.ringing(S2) == BEN
    assert AgentStateChanged(ANN, "offline", None, 2.0) in outputs
    assert (it.leaving, it.agents) == (frozenset({ANN}), (BEN, ANN))
    assert it.set_state(ANN, "ready", None, 3.0) == []
    assert it.agent_view(ANN).chats == (S1,)
    it.release(ANN, S1, "sms", True, 4.0)
    assert (it.leaving, it.agents) == (frozenset(), (BEN,))


def test_an_agent_who_comes_back_before_they_have_left_goes_on() -> None:
    """Taken away by mistake and put back: the work in hand is still theirs, and new work comes again."""
    it = acd(agent(ANN))
    it.assign(ANN, S1, "sms", TEXTS, 1.0)
    it.reconfigure(QUEUES, [], 2.0)
    it.reconfigure(QUEUES, [agent(ANN)], 3.0)
    it.set_state(ANN, "ready", None, 4.0)
    assert it.leaving == frozenset()
    assert it.agent_view(ANN).chats == (S1,)
    assert of(WorkOffered, it.join(S2, TEXTS, "sms", 4.0, 1, (), 4.0))


def test_what_rings_stops_where_the_agent_no_longer_works_and_rings_on_elsewhere() -> None:
    """An offer of a queue that was taken from an agent lapses without counting as missed; another offer stays."""
    it = acd(agent(ANN))
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    outputs = it.reconfigure(QUEUES, [agent(ANN, CALLS, max_chats=1)], 1.0)
    assert not of(OfferLapsed, outputs)
    outputs = it.reconfigure(QUEUES, [agent(ANN, TEXTS)], 2.0)
    assert of(OfferLapsed, outputs) == [OfferLapsed(ANN, S1, "voice", "withdrawn")]
    assert it.agent_view(ANN).state == "ready"
    assert it.position(S1, "voice") == 1


def test_every_desk_that_rings_for_the_same_is_looked_at_anew() -> None:
    """Where all are rung, one who leaves gives the place that counts as taken to the next desk."""
    queues = [QueueSpec(CALLS, "voice", strategy="ring_all")]
    diary = Diary()
    it = acd(agent(ANN, CALLS), agent(BEN, CALLS), queues=queues, observer=diary)
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    it.reconfigure(queues, [agent(BEN, CALLS)], 1.0)
    assert it.ringing(S1) == BEN
    assert it.queue_view(CALLS, 1.0).open_slots == 0
    assert [line for line in diary.lines if line[0] == "logout"] == [("logout", 1.0, ANN)]
    outputs = it.accept(BEN, S1, "voice", 2.0)
    assert of(WorkAssigned, outputs)


def test_a_redirect_counts_from_when_it_was_made() -> None:
    """Who already waits is redirected so many seconds after the rule came, and not at all when it goes."""
    it = acd(agent(ANN, SALES), queues=QUEUES)
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    helped = [QueueSpec(CALLS, "voice", redirect=Redirect(SALES, after=10.0)), *QUEUES[1:]]
    it.reconfigure(helped, [agent(ANN, SALES)], 100.0)
    assert it.wake_at == 110.0
    it.reconfigure(QUEUES, [agent(ANN, SALES)], 105.0)
    assert it.wake_at is None


def test_priorities_that_begin_to_age_order_the_line_anew() -> None:
    """The observer is told of everybody's new place, and who has waited long goes before who is urgent."""
    diary = Diary()
    it = acd(queues=QUEUES, observer=diary)
    for session, since, priority in ((S1, 0.0, 2), (S2, 90.0, 0), (S3, 95.0, 1)):
        it.join(session, CALLS, "voice", since, priority, (), 100.0)
    assert it.waiting(CALLS) == (S2, S3, S1)
    del diary.lines[:]
    it.reconfigure(QUEUES, [], 100.0, ageing=30.0)
    assert it.waiting(CALLS) == (S1, S2, S3)
    assert [line[0] for line in diary.lines] == ["abandoned", "joined"] * 3
    it.reconfigure(QUEUES, [], 100.0)
    assert it.waiting(CALLS) == (S2, S3, S1)


def test_an_order_by_age_needs_nobody_who_looks_on() -> None:
    """The same without an observer."""
    it = acd(queues=QUEUES)
    it.join(S1, CALLS, "voice", 0.0, 2, (), 100.0)
    it.join(S2, CALLS, "voice", 90.0, 0, (), 100.0)
    it.reconfigure(QUEUES, [], 100.0, ageing=30.0)
    assert it.waiting(CALLS) == (S1, S2)


def test_a_redirected_caller_holds_both_queues() -> None:
    """Who was moved to help goes back to the first queue when the agent fails, so neither of the two may go."""
    queues = [QueueSpec(CALLS, "voice", redirect=Redirect(SALES, after=5.0)), QUEUES[1], QUEUES[2]]
    it = acd(agent(ANN, SALES), queues=queues)
    it.set_state(ANN, "ready", None, 0.0)
    it.assign(ANN, S2, "voice", SALES, 0.0)
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    it.wake(6.0)
    assert it.waiting(SALES) == (S1,)
    assert it.in_use([QUEUES[1]]) == {CALLS: (1, 0), SALES: (1, 1)}
