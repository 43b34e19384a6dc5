"""The place in line: carried from leg to leg, aged, kept for one agent, moved to a queue that helps out, and explained."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.acd import (
    Acd,
    OfferLapsed,
    PlaceInLine,
    QueueChanged,
    QueueSpec,
    Redirect,
    UnknownQueue,
    Waiting,
    WorkOffered,
    WorkRedirected,
    contact_id,
)
from bridge.acd.specs import CascadeStep
from bridge.events import AgentId, QueueId
from tests.unit.bridge.acd_floor import ANN, BEN, CALLS, CLO, S1, S2, S3, SALES, TEXTS, Diary, acd, agent, of

PLACES = st.builds(
    PlaceInLine,
    st.text(max_size=20).map(QueueId),
    st.floats(0, 4e9),
    st.integers(0, 9),
    st.lists(st.text(max_size=9), max_size=3).map(tuple),
)


@given(PLACES)
def test_a_place_survives_the_way_through_a_token(place: PlaceInLine) -> None:
    token = place.token()
    assert PlaceInLine.from_token(token) == place
    assert all(letter.isascii() and (letter.isalnum() or letter in "-_.") for letter in token)


@given(st.text(max_size=40) | st.text("AQab=-_", max_size=20).map("p1.".__add__))
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no place in line"):
        PlaceInLine.from_token(text)


def test_whoever_takes_the_place_along_stands_where_they_would_stand() -> None:
    """Off the phone and into the line of another leg, and back."""
    it = acd()
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    it.join(S2, CALLS, "voice", 10.0, 1, ("lang:fr", "a"), 10.0)
    it.join(S3, CALLS, "voice", 20.0, 1, (), 20.0)
    place = it.place(S2, "voice")
    assert place == PlaceInLine(CALLS, 10.0, 1, ("a", "lang:fr"))
    it.leave(S2, "voice", "deflected", 30.0)
    assert it.place(S2, "voice") is None
    back = PlaceInLine.from_token(place.token())
    it.join(S2, back.queue, "voice", back.since, back.priority, back.skills, 500.0)
    assert it.waiting(CALLS) == (S1, S2, S3)


def test_where_priorities_age_waiting_outweighs_them_in_the_end() -> None:
    it = acd(ageing=60.0)
    it.join(S1, CALLS, "voice", 0.0, 2, (), 0.0)
    it.join(S2, CALLS, "voice", 59.0, 1, (), 59.0)
    it.join(S3, CALLS, "voice", 61.0, 1, (), 61.0)
    assert it.waiting(CALLS) == (S2, S1, S3)
    assert it.queue_view(CALLS, 100.0).longest_wait == 100.0
    it = acd()
    it.join(S1, CALLS, "voice", 0.0, 2, (), 0.0)
    it.join(S3, CALLS, "voice", 61.0, 1, (), 61.0)
    assert it.waiting(CALLS) == (S3, S1)


def test_the_estimator_is_told_the_order_that_ageing_makes() -> None:
    diary = Diary()
    it = Acd([QueueSpec(CALLS, "voice")], [], diary, ageing=60.0)
    it.join(S1, CALLS, "voice", 5.0, 1, (), 10.0)
    it.join(S2, CALLS, "voice", 5.0, 3, (), 10.0)
    assert diary.lines == [
        ("joined", 10.0, contact_id(S1, "voice"), CALLS, 1, 5.0),
        ("joined", 10.0, contact_id(S2, "voice"), CALLS, 1, 125.0),
    ]


# --- the agent who knows the customer


def returning(it: Acd, now: float = 10.0) -> list[WorkOffered]:
    """A customer of Ben's joins, who is asked alone for a minute."""
    return of(WorkOffered, it.join(S1, CALLS, "voice", now, 1, (), now, prefer=BEN, prefer_for=60.0))


def test_the_agent_who_knows_the_customer_is_asked_first() -> None:
    assert returning(acd(agent(ANN), agent(BEN))) == [WorkOffered(BEN, S1, "voice", CALLS, 30.0)]


def test_who_knows_the_customer_is_waited_for_and_then_anybody_is_asked() -> None:
    """The place stays, nobody has to join again, and others are served meanwhile."""
    it = acd(agent(ANN), agent(BEN))
    it.assign(BEN, S2, "voice", CALLS, 1.0)
    assert returning(it) == []
    assert it.wake_at == 70.0
    it.join(S3, CALLS, "voice", 20.0, 1, (), 20.0)
    assert it.ringing(S3) == ANN
    it.decline(ANN, S3, "voice", "declined", 21.0)
    assert it.ringing(S1) is None
    assert of(WorkOffered, it.wake(70.0)) == [WorkOffered(ANN, S1, "voice", CALLS, 90.0)]
    assert it.waiting(CALLS) == (S1, S3)


def test_who_knows_the_customer_and_comes_free_in_time_is_asked() -> None:
    it = acd(agent(ANN), agent(BEN))
    it.assign(BEN, S2, "voice", CALLS, 1.0)
    returning(it)
    it.release(BEN, S2, "voice", wrap_up=False, now=50.0)
    assert it.ringing(S1) == BEN


@pytest.mark.parametrize("how", ["declines", "misses", "goes", "is away", "works elsewhere", "unknown"])
def test_nobody_waits_for_one_who_will_not_come(how: str) -> None:
    it = acd(agent(ANN), agent(BEN) if how != "works elsewhere" else agent(BEN, TEXTS))
    if how == "is away":
        it.set_state(BEN, "not_ready", None, 1.0)
    if how == "unknown":
        it.join(S1, CALLS, "voice", 10.0, 1, (), 10.0, prefer=AgentId("long-gone"), prefer_for=60.0)
    else:
        returning(it)
    if how == "declines":
        it.decline(BEN, S1, "voice", "declined", 11.0)
    if how == "misses":
        it.wake(30.0)
    if how == "goes":
        it.set_state(BEN, "offline", None, 11.0)
    assert it.ringing(S1) == ANN


def test_joining_again_with_the_same_wish_changes_nothing() -> None:
    it = acd(agent(BEN))
    returning(it)
    assert it.join(S1, CALLS, "voice", 10.0, 1, (), 20.0, prefer=BEN, prefer_for=60.0) == []
    outputs = it.join(S1, CALLS, "voice", 10.0, 1, (), 20.0)
    assert of(OfferLapsed, outputs) == [OfferLapsed(BEN, S1, "voice", "withdrawn")]
    assert it.ringing(S1) == BEN


def test_who_has_just_declined_is_not_asked_alone_again() -> None:
    """The session joins again with the same wish in other words."""
    it = acd(agent(ANN), agent(BEN))
    returning(it)
    it.decline(BEN, S1, "voice", "declined", 11.0)
    it.join(S1, CALLS, "voice", 5.0, 1, (), 12.0, prefer=BEN, prefer_for=60.0)
    assert it.ringing(S1) == ANN


# --- a queue that helps out

HELP = QueueId("help")


def helped(*agents: Any, observer: Diary | None = None, **rule: Any) -> Acd:
    """Calls that go to another queue by this rule."""
    lines = (
        QueueSpec(CALLS, "voice", redirect=Redirect(HELP, **rule)),
        QueueSpec(HELP, "voice", redirect=Redirect(CALLS, **rule)),
        QueueSpec(TEXTS, "sms"),
    )
    return acd(*agents, queues=lines, observer=observer)


def test_who_is_not_answered_is_offered_elsewhere_at_the_same_place() -> None:
    diary = Diary()
    it = helped(agent(ANN, CALLS), agent(BEN, HELP), agent(CLO, CALLS), rings=2, observer=diary)
    it.join(S1, CALLS, "voice", 0.0, 0, (), 5.0)
    it.join(S2, HELP, "voice", 3.0, 0, (), 5.0)
    it.accept(BEN, S2, "voice", 5.0)
    it.join(S3, HELP, "voice", 6.0, 0, (), 6.0)
    it.decline(ANN, S1, "voice", "declined", 7.0)
    assert it.ringing(S1) == CLO
    outputs = it.wake(27.0)
    assert of(WorkRedirected, outputs) == [WorkRedirected(S1, "voice", CALLS, HELP, "not_answered")]
    assert {changed.queue for changed in of(QueueChanged, outputs)} >= {CALLS, HELP}
    assert it.waiting(HELP) == (S1, S3)
    assert it.place(S1, "voice") == PlaceInLine(HELP, 0.0, 0)
    contact = contact_id(S1, "voice")
    assert [line for line in diary.lines if contact in line] == [
        ("joined", 5.0, contact, CALLS, 0, 0.0),
        ("abandoned", 27.0, contact, False),
        ("joined", 27.0, contact, HELP, 0, 0.0),
    ]


def test_after_a_time_the_other_queue_takes_over_and_joining_again_does_not_undo_it() -> None:
    it = helped(agent(BEN, HELP), after=120.0)
    it.join(S1, CALLS, "voice", 0.0, 1, (), 100.0)
    assert it.wake_at == 220.0
    outputs = it.wake(220.0)
    assert of(WorkRedirected, outputs) == [WorkRedirected(S1, "voice", CALLS, HELP, "waited")]
    assert of(WorkOffered, outputs) == [WorkOffered(BEN, S1, "voice", HELP, 240.0)]
    assert it.join(S1, CALLS, "voice", 0.0, 1, (), 225.0) == []
    it.decline(BEN, S1, "voice", "declined", 230.0)
    it.set_state(BEN, "offline", None, 231.0)
    it.wake(1000.0)
    assert it.waiting(HELP) == (S1,)
    assert it.wake_at is None


def test_nobody_is_moved_to_where_nobody_works() -> None:
    it = helped(agent(BEN, HELP), after=60.0, rings=1)
    it.set_state(BEN, "offline", None, 0.0)
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    it.wake(60.0)
    assert (it.waiting(CALLS), it.wake_at) == ((S1,), 120.0)
    it.set_state(BEN, "ready", None, 70.0)
    it.wake(120.0)
    assert it.ringing(S1) == BEN


def test_who_was_not_answered_where_nobody_could_help_stays() -> None:
    it = helped(agent(ANN, CALLS), rings=1)
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    it.decline(ANN, S1, "voice", "declined", 1.0)
    assert it.waiting(CALLS) == (S1,)


def test_nobody_is_moved_while_it_rings() -> None:
    it = helped(agent(ANN, CALLS), agent(BEN, HELP), after=10.0)
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    it.wake(15.0)
    assert it.ringing(S1) == ANN
    it.wake(20.0)
    assert it.ringing(S1) == BEN


def test_a_redirect_must_lead_to_a_queue_of_the_same_channel() -> None:
    for to in (TEXTS, QueueId("nowhere")):
        with pytest.raises(UnknownQueue):
            Acd([QueueSpec(CALLS, "voice", redirect=Redirect(to)), QueueSpec(TEXTS, "sms")], [])


# --- why somebody waits


def test_it_can_be_explained_why_somebody_waits() -> None:
    names = [AgentId(name) for name in ("rung", "full", "away", "unskilled", "later", "refused", "free")]
    specs = {name: agent(name, CALLS, skills=("x=5",)) for name in names}
    specs[names[3]] = agent(names[3], CALLS)
    specs[names[4]] = agent(names[4], CALLS, skills=("x=5",), teams=("late",))
    cascade = (CascadeStep(50.0, ("late",)),)
    it = acd(*specs.values(), queues=[QueueSpec(CALLS, "voice", cascade=cascade, strategy="in_order")])
    it.assign(names[1], S2, "voice", CALLS, 1.0)
    it.set_state(names[2], "not_ready", None, 1.0)
    it.set_state(names[0], "not_ready", None, 1.0)
    it.set_state(names[6], "not_ready", None, 1.0)
    it.join(S1, CALLS, "voice", 2.0, 1, ("x>=5",), 2.0)
    it.decline(names[5], S1, "voice", "declined", 3.0)
    it.set_state(names[0], "ready", None, 4.0)
    it.set_state(names[6], "ready", None, 4.0)
    said = it.explain(S1, "voice", 5.0)
    assert said == Waiting(
        CALLS,
        position=1,
        since=2.0,
        step=0,
        prefer=None,
        unanswered=1,
        agents=(
            (names[0], "ringing"),
            (names[1], "no_room"),
            (names[2], "not_ready"),
            (names[3], "not_skilled"),
            (names[4], "asked_later"),
            (names[5], "refused"),
            (names[6], "may_be_asked"),
        ),
    )
    assert it.explain(S3, "voice", 5.0) is None


def test_it_can_be_explained_that_somebody_waits_for_one_agent() -> None:
    it = acd(agent(ANN), agent(BEN))
    it.assign(BEN, S2, "voice", CALLS, 1.0)
    returning(it)
    said = it.explain(S1, "voice", 12.0)
    assert said is not None
    assert (said.prefer, said.agents) == (BEN, ((ANN, "other_preferred"), (BEN, "no_room")))
    assert math.isclose(said.since, 10.0)


def test_other_queues_are_no_concern_of_an_explanation() -> None:
    it = acd(agent(ANN, SALES), agent(BEN))
    it.set_state(BEN, "offline", None, 1.0)
    it.join(S1, CALLS, "voice", 2.0, 1, (), 2.0)
    said = it.explain(S1, "voice", 3.0)
    assert said is not None
    assert said.agents == ((BEN, "not_ready"),)


def test_a_supervisor_moves_who_waits_and_the_place_goes_along() -> None:
    """What rings stops ringing; in the other line they stand where their waiting began, before who came later."""
    it = acd(agent(ANN, CALLS), agent(BEN, SALES))
    it.set_state(BEN, "not_ready", "lunch", 0.0)
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    it.join(S2, SALES, "voice", 5.0, 1, (), 5.0)
    outputs = it.move(S1, "voice", SALES, 9.0)
    assert [(lapsed.agent, lapsed.reason) for lapsed in of(OfferLapsed, outputs)] == [(ANN, "withdrawn")]
    assert of(WorkRedirected, outputs) == [WorkRedirected(S1, "voice", CALLS, SALES, "moved")]
    assert it.waiting(SALES) == (S1, S2)
    assert it.agent_view(ANN).offer is None
    assert it.move(S1, "voice", SALES, 10.0) == []
    assert it.move(S3, "voice", SALES, 10.0) == []
    with pytest.raises(UnknownQueue):
        it.move(S1, "voice", TEXTS, 10.0)
    assert [offer.session for offer in of(WorkOffered, it.set_state(BEN, "ready", None, 11.0))] == [S1]
