"""Limits of senders: never above the rate, urgent texts first, and a stopped sender always comes back."""

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms.pacing import (
    FIRST_PAUSE,
    LEAST_BURST,
    LONGEST_PAUSE,
    PER_SECOND,
    PROBE,
    REFUSALS,
    Breaker,
    Bucket,
    Budget,
    Go,
    Later,
    Pace,
    SenderClass,
    SenderFacts,
    Stopped,
)

OURS, OTHER, ANNA, LOUISE = "+15550100200", "+15550100201", "+15550100123", "+33199001234"
NOON = 1_800_000_000.0  # 2027-01-15 00:00 in Los Angeles is at 08:00 UTC; this is on that day's morning, UTC
wishes = st.lists(
    st.tuples(st.floats(0.0, 20.0), st.integers(1, 24), st.integers(0, 3)), min_size=1, max_size=60
)  # seconds since the one before, segments, priority


@given(wishes, st.floats(0.1, 200.0), st.floats(1.0, 50.0))
def test_no_time_sees_more_than_the_rate(texts: list[tuple[float, int, int]], rate: float, burst: float) -> None:
    """Between any two moments at most the burst and the rate times that time go, plus what one oversized text has over."""
    bucket, now, gone = Bucket(rate, burst), 0.0, []
    for pause, cost, priority in texts:
        now += pause
        if bucket.next_at(cost, priority, now) <= now:
            bucket.take(cost, now)
            gone.append((now, cost))
    largest = max([burst, *(cost for _, cost in gone)])
    for first in range(len(gone)):
        for last in range(first, len(gone)):
            sent = sum(cost for _, cost in gone[first : last + 1])
            assert sent <= largest + rate * (gone[last][0] - gone[first][0]) + 1e-6


@given(st.integers(1, 100), st.integers(0, 5), st.floats(0.1, 200.0), st.floats(1.0, 50.0), st.integers(0, 60))
def test_waiting_is_always_rewarded(cost: int, priority: int, rate: float, burst: float, taken: int) -> None:
    """At the moment a bucket names the text may go, however large it is and however empty the bucket was."""
    bucket = Bucket(rate, burst)
    bucket.take(taken, NOON)
    at = bucket.next_at(cost, priority, NOON)
    assert bucket.next_at(cost, priority, at + 1e-6) <= at + 1e-6


@given(st.lists(st.floats(0.0, 2.0), min_size=20, max_size=200))
def test_a_flood_of_the_api_leaves_room_for_an_agent(pauses: list[float]) -> None:
    """However fast programs send, two segments of an agent could go at that very moment."""
    bucket, now = Bucket(1.0, LEAST_BURST), 0.0
    for pause in pauses:
        now += pause
        while bucket.next_at(1, 3, now) <= now:
            bucket.take(1, now)
        assert bucket.next_at(2, 0, now) == now


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    """Tokens neither appear nor vanish when the clock is set back."""
    bucket = Bucket(1.0, 10.0)
    bucket.take(10, 100.0)
    assert bucket.level(50.0) == 0.0
    bucket.take(1, 50.0)
    assert bucket.level(101.0) == 0.0


def test_a_day_ends_at_midnight_in_california() -> None:
    """The budget is there again at midnight Pacific; the last tenth is not for programs."""
    budget = Budget(100)
    budget.take(89, NOON)
    assert budget.next_at(1, 3, NOON) == NOON
    budget.take(1, NOON)
    midnight = budget.next_at(1, 3, NOON)
    assert midnight > NOON
    assert midnight % 86_400 == 8 * 3600  # UTC, in winter
    assert budget.next_at(10, 0, NOON) == NOON
    budget.take(10, NOON)
    assert budget.next_at(1, 0, NOON) == midnight
    assert (budget.used(NOON), budget.used(midnight)) == (100, 0)
    assert budget.next_at(1000, 0, midnight) == midnight


steps = st.lists(
    st.tuples(st.floats(0.0, 4000.0), st.sampled_from(["send", "refused", "late", "taken", "delivered"])), max_size=60
)


@given(steps)
def test_a_breaker_always_recovers(history: list[tuple[float, str]]) -> None:
    """Whatever has happened, after the longest pause a text may go, and when it arrives everything may."""
    breaker, now = Breaker(), 0.0
    for pause, what in history:
        now += pause
        match what:
            case "send":
                if breaker.next_at(now) <= now:
                    breaker.take(now)
            case "taken":
                breaker.taken()
            case "delivered":
                breaker.delivered()
            case _:
                breaker.refused("no", now, late=what == "late")
    now += LONGEST_PAUSE + PROBE
    assert breaker.next_at(now) == now
    breaker.take(now)
    breaker.delivered()
    assert breaker.state(now) == "closed"
    assert breaker.reason is None


def test_a_sender_that_is_refused_is_stopped_and_tried_now_and_then() -> None:
    """The third refusal in a row opens it; then one text at a time may try, with growing pauses, until one is taken."""
    breaker = Breaker()
    for _ in range(REFUSALS - 1):
        breaker.refused("not registered", 0.0, late=False)
    breaker.taken()
    for _ in range(REFUSALS):
        assert breaker.state(0.0) == "closed"
        breaker.refused("not registered", 0.0, late=False)
    assert breaker.state(1.0) == "open"
    assert breaker.next_at(1.0) == FIRST_PAUSE
    now = FIRST_PAUSE
    assert breaker.state(now) == "probing"
    breaker.take(now)
    assert breaker.next_at(now) == now + PROBE
    breaker.refused("not registered", now, late=False)
    assert breaker.next_at(now) == now + 2 * FIRST_PAUSE
    now += 2 * FIRST_PAUSE
    breaker.take(now)
    breaker.taken()
    assert breaker.state(now) == "closed"


def test_what_is_refused_in_reports_is_only_cured_by_a_delivery() -> None:
    """A provider that takes every text and later reports each as refused is not taken for one that works."""
    breaker = Breaker()
    for _ in range(REFUSALS):
        breaker.taken()
        breaker.refused("10DLC", 0.0, late=True)
    assert breaker.state(0.0) == "open"
    breaker.take(FIRST_PAUSE)
    breaker.taken()
    assert breaker.state(FIRST_PAUSE) == "probing"
    assert breaker.next_at(FIRST_PAUSE + PROBE) == FIRST_PAUSE + PROBE
    breaker.delivered()
    assert breaker.state(FIRST_PAUSE) == "closed"


def test_a_sender_is_held_to_its_own_limits() -> None:
    """One that is empty waits, another goes on; one nobody described has no limit."""
    pace = Pace([SenderFacts(number=OURS), SenderFacts(number=OTHER, sender_class="short_code")])
    for _ in range(10):
        assert pace.ask(OURS, ANNA, 1, 0, NOON) == Go()
        pace.take(OURS, 1, NOON)
    assert pace.ask(OURS, ANNA, 1, 0, NOON) == Later(NOON + 1.0, "rate")
    assert pace.ask(OTHER, ANNA, 1, 3, NOON) == Go()
    pace.take("+15550100999", 1000, NOON)
    assert pace.ask("+15550100999", ANNA, 1000, 3, NOON) == Go()
    assert [pace.per_second(sender) for sender in (OURS, OTHER, "+15550100999")] == [1.0, 100.0, float("inf")]


@pytest.mark.parametrize("sender_class", list(PER_SECOND))
def test_every_class_has_its_usual_rate(sender_class: str) -> None:
    """Of what nobody says more, the usual is assumed; what is known better wins."""
    kind = cast("SenderClass", sender_class)
    for facts, rate in (
        (SenderFacts(number=OURS, sender_class=kind, burst=1.0), PER_SECOND[kind]),
        (SenderFacts(number=OURS, sender_class=kind, burst=1.0, per_second=75.0), 75.0),
    ):
        pace = Pace([facts])
        pace.take(OURS, 1, 0.0)
        assert pace.ask(OURS, ANNA, 1, 0, 0.0) == Later(1 / rate, "rate")


def test_senders_of_a_brand_share_the_day() -> None:
    """What one of them has sent, the other cannot; the smallest cap that somebody wrote down holds."""
    pace = Pace(
        [
            SenderFacts(number=OURS, brand="B", per_day=20),
            SenderFacts(number=OTHER, brand="B", per_day=10),
            SenderFacts(number="+15550100202"),
        ]
    )
    pace.take(OURS, 10, NOON)
    verdict = pace.ask(OTHER, ANNA, 1, 0, NOON)
    assert isinstance(verdict, Later)
    assert verdict.why == "day"
    assert pace.ask("+15550100202", ANNA, 1, 0, NOON) == Go()
    assert [(state.used_today, state.facts.brand) for state in pace.states(NOON)] == [(10, "B"), (10, "B"), (0, None)]


def test_the_day_goes_on_after_a_restart() -> None:
    """What was used is known to the next process; a budget that is no longer there is no trouble."""
    facts = [SenderFacts(number=OURS, per_day=10), SenderFacts(number=OTHER)]
    pace = Pace(facts)
    assert pace.days() == {OURS: (0, 0.0)}
    pace.take(OURS, 10, NOON)
    pace.take(OTHER, 10, NOON)
    later = Pace(facts)
    later.resume({**pace.days(), "gone": (5, NOON)})
    assert later.days() == pace.days()
    verdict = later.ask(OURS, ANNA, 1, 0, NOON)
    assert isinstance(verdict, Later)
    assert verdict.why == "day"


def test_what_went_out_a_moment_ago_counts_whoever_sent_it() -> None:
    """A new holder is told, and goes on as the one before would have; what it remembered itself is not counted twice."""
    facts = [SenderFacts(number=OURS), SenderFacts(number=OTHER, sender_class="short_code")]
    before = Pace(facts)
    assert (before.window, Pace().window) == (10.0, 0.0)
    sent = [(OURS, 6, NOON - 3.0), (OURS, 4, NOON - 1.0), (OTHER, 1, NOON - 0.5), ("+15550100999", 50, NOON)]
    for sender, segments, at in sent:
        before.take(sender, segments, at)
    after = Pace(facts)
    for _ in range(2):
        after.recall(sent)
        for sender in (OURS, OTHER):
            for cost in (1, 5):
                assert after.ask(sender, ANNA, cost, 0, NOON) == before.ask(sender, ANNA, cost, 0, NOON)
    after.recall([])
    assert after.ask(OURS, ANNA, 10, 0, NOON) == Go()


def test_an_unregistered_sender_does_not_try_where_it_would_be_refused() -> None:
    """To North America nothing goes, elsewhere it does; the agent reads why."""
    pace = Pace([SenderFacts(number=OURS, registered=False)])
    verdict = pace.ask(OURS, ANNA, 1, 0, NOON)
    assert isinstance(verdict, Stopped)
    assert verdict.code == "unregistered"
    assert "not registered" in verdict.explanation
    assert pace.ask(OURS, LOUISE, 1, 0, NOON) == Go()


def test_a_stopped_sender_says_why_and_comes_back() -> None:
    """While it is stopped texts fail at once; then one goes as a probe and the next waits for it."""
    pace = Pace()
    pace.taken(OURS)
    pace.delivered(OURS)
    for _ in range(REFUSALS):
        pace.refused(OURS, "The sender is not registered (10DLC).", 0.0)
    verdict = pace.ask(OURS, ANNA, 1, 0, 1.0)
    assert verdict == Stopped("sender_stopped", f"{OURS} cannot send at the moment: The sender is not registered (10DLC).")
    assert pace.ask(OURS, ANNA, 1, 0, FIRST_PAUSE) == Go()
    pace.take(OURS, 1, FIRST_PAUSE)
    assert pace.ask(OURS, ANNA, 1, 0, FIRST_PAUSE) == Later(FIRST_PAUSE + PROBE, "probing")
    pace.taken(OURS)
    pace.delivered(OURS)
    assert pace.ask(OURS, ANNA, 1, 0, FIRST_PAUSE) == Go()
    assert Pace([SenderFacts(number=OURS)]).states(0.0)[0].breaker == "closed"


def test_senders_can_be_others_from_one_moment_to_the_next() -> None:
    """What was sent today counts for who stays, with the new limits; who is new begins afresh, who is gone has no limits."""
    pace = Pace([SenderFacts(number=OURS, per_day=10), SenderFacts(number=OTHER, burst=1.0)])
    pace.take(OURS, 9, NOON)
    pace.take(OTHER, 1, NOON)
    pace.describe([SenderFacts(number=OURS, per_day=9), SenderFacts(number=OTHER, burst=1.0)])
    verdict = pace.ask(OURS, ANNA, 1, 0, NOON)
    assert isinstance(verdict, Later)
    assert verdict.why == "day"
    assert isinstance(pace.ask(OTHER, ANNA, 1, 0, NOON), Later)
    pace.describe([SenderFacts(number=OTHER, per_second=2.0, brand="B", per_day=5)])
    assert pace.ask(OURS, ANNA, 1, 0, NOON) == Go()
    assert pace.ask(OTHER, ANNA, 1, 0, NOON) == Go()
