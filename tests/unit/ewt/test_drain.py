"""Rates and sums that the estimator is made of."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewt.drain import Flow, Pace, Rate, Usual, line_moments, line_time, planned_time
from ewt.forecast import LONGEST

RATES = st.floats(1e-3, 1.0)
HANGUPS = st.floats(1e-5, 0.05)


@given(st.integers(0, 400), RATES, HANGUPS)
def test_the_time_of_a_line_is_the_sum_term_by_term(ahead: int, rate: float, hangups: float) -> None:
    exact = sum(1.0 / (rate + i * hangups) for i in range(ahead + 1))
    spread = sum(1.0 / (rate + i * hangups) ** 2 for i in range(ahead + 1))
    assert line_time(ahead, rate, hangups) == pytest.approx(exact, rel=2e-3)
    assert line_moments(ahead, rate, hangups)[1] == pytest.approx(spread, rel=1e-2)


@given(st.floats(0, 300), st.floats(0, 10), RATES, HANGUPS)
def test_a_longer_line_takes_longer_also_between_whole_numbers(ahead: float, more: float, rate: float, hangups: float) -> None:
    assert line_time(ahead + more, rate, hangups) >= line_time(ahead, rate, hangups)


def test_without_hangups_a_line_takes_its_length_over_its_rate() -> None:
    assert line_time(19, 0.1, 0.0) == pytest.approx(200.0)
    assert line_moments(19, 0.1, 0.0)[1] == pytest.approx(2000.0)


@given(st.integers(0, 200), st.floats(0.02, 1.0), st.floats(1e-4, 0.01))
def test_a_plan_that_changes_nothing_changes_little(ahead: int, rate: float, hangups: float) -> None:
    """The fluid treats the hang-ups of one's own place as half a step: that is the difference."""
    plain, planned = line_time(ahead, rate, hangups), planned_time(ahead, [(math.inf, rate)], hangups)
    assert planned == pytest.approx(min(LONGEST, plain), rel=0.35)


def test_a_break_in_the_plan_is_waited_for() -> None:
    plain = planned_time(3, [(math.inf, 0.05)], 0.001)
    delayed = planned_time(3, [(0.0, 0.05), (600.0, 0.0), (math.inf, 0.05)], 0.001)
    assert plain + 300.0 < delayed < plain + 600.0


def test_nobody_coming_back_is_the_longest_wait() -> None:
    assert planned_time(0, [(math.inf, 0.0)], 0.001) == LONGEST
    assert planned_time(0, [(8000.0, 0.0), (math.inf, 1.0)], 0.001) == LONGEST
    assert planned_time(0, [], 0.001) == LONGEST


def test_a_rate_begins_at_its_prior_sinks_with_exposure_and_rises_with_events() -> None:
    rate = Rate(60, 6)
    assert rate.value(0.01) == pytest.approx(0.01)
    assert rate.value(0.01, live=600.0) == pytest.approx(0.005)
    rate.hit()
    assert rate.value(0.01) > 0.01


def test_a_rate_learns_what_is_true_and_forgets_its_prior() -> None:
    rate = Rate(60, 6)
    for _ in range(600):
        rate.exposure += 50.0
        rate.hit()
    assert rate.value(1.0) == pytest.approx(0.02, rel=0.15)


def test_a_faded_rate_keeps_its_value_and_weighs_like_a_prior() -> None:
    rate = Rate(60, 6, events=30.0, exposure=1500.0)
    before = rate.value(0.01)
    rate.fade(0.01)
    assert rate.value(0.5) == pytest.approx(before)
    assert (rate.events, rate.exposure) == (0.0, 0.0)


def test_a_flow_fades_and_does_not_run_backwards() -> None:
    flow = Flow()
    for second in range(0, 36_000, 10):
        flow.hit(float(second))
    assert flow.value(36_000.0) == pytest.approx(0.1, rel=0.02)
    assert flow.value(40_000.0) < 0.02
    assert flow.value(0.0) == flow.rate


def drained(pace: Pace, events: int, gap: float) -> Pace:
    for _ in range(events):
        pace.gap += gap
        pace.hit(0.01)
    return pace


def test_a_pace_begins_at_its_prior_and_sinks_while_nothing_happens() -> None:
    pace = Pace((15, 1000), 10)
    assert pace.value(0.01) == pytest.approx(0.01)
    assert pace.value(0.01, live=1000.0) == pytest.approx(0.005)
    pace.gap = 1000.0
    assert pace.value(0.01) == pytest.approx(0.005)


def test_a_pace_trusts_its_long_memory_in_calm_and_its_short_one_after_a_change() -> None:
    rng = random.Random(4)
    pace = Pace((15, 1000), 10)
    for _ in range(600):
        drained(pace, 1, rng.expovariate(0.02))
    assert pace.trust < 0.5
    assert pace.value(0.01) == pytest.approx(0.02, rel=0.1)
    for _ in range(40):
        drained(pace, 1, rng.expovariate(0.005))
    assert pace.trust > 0.9
    assert pace.value(0.01) == pytest.approx(0.005, rel=0.4)
    long_only = Rate(1000, 10, events=pace.long, exposure=pace.long_exposure)
    assert long_only.value(0.01) > 0.012, "what the long memory alone would say"


@given(st.lists(st.floats(0, 1e5), max_size=80))
def test_a_pace_stays_between_what_its_memories_say_whatever_happens(gaps: list[float]) -> None:
    pace = Pace((15, 1000), 10)
    for gap in gaps:
        pace.gap += gap
        pace.hit(0.01)
    views = [(pace.short + 10) / (pace.short_exposure + 1000), (pace.long + 10) / (pace.long_exposure + 1000)]
    assert min(views) * (1 - 1e-9) <= pace.value(0.01) <= max(views) * (1 + 1e-9)
    assert 0.0 < pace.trust < 1.0


def test_a_faded_pace_keeps_its_value_and_weighs_like_a_prior() -> None:
    pace = drained(Pace((15, 1000), 10), 50, 40.0)
    before = pace.value(0.01)
    pace.fade(0.01)
    assert pace.value(0.5) == pytest.approx(before)
    assert (pace.gap, pace.short, pace.long, pace.short_exposure, pace.long_exposure) == (0.0,) * 5


def test_rates_come_back_from_what_they_gave() -> None:
    pace, rate = drained(Pace((15, 1000), 10), 5, 30.0), Rate(60, 6, events=3.0, exposure=100.0, base=0.02)
    pace.gap = 7.0
    other_pace, other_rate = Pace((15, 1000), 10), Rate(60, 6)
    other_pace.load(pace.dump())
    other_rate.load(rate.dump())
    assert (other_pace, other_rate) == (pace, rate)


def test_what_is_usual_is_the_mean_of_about_an_hour_in_which_it_meant_anything() -> None:
    usual = Usual()
    assert usual.value(5.0, 0.0, means=False, unknown=7.0) == 7.0
    usual.count(0.0, 0.0, means=False)
    assert usual.value(10.0, 600.0, means=True, unknown=7.0) == pytest.approx(10.0)
    usual.count(10.0, 600.0, means=True)
    assert usual.value(0.0, 9000.0, means=False, unknown=7.0) == pytest.approx(10.0)
    usual.count(0.0, 9000.0, means=False)
    assert 1.0 < usual.value(0.0, 9600.0, means=True, unknown=7.0) < 9.0
    assert usual.value(0.0, 45_000.0, means=True, unknown=7.0) < 0.1
    usual.count(3.0, 8000.0, means=True)
    assert usual.at == 9000.0, "time does not run backwards"
