"""The figures by which forecasts are judged, each checked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.hindsight import LEAST_FOR_ALARM, Told, alarm_of, reliability, score
from ewt.forecast import LEVELS

EVEN = Told(100.0, 100.0, (50.0, 75.0, 100.0, 125.0, 150.0))


def test_over_nothing_there_are_no_figures() -> None:
    """And no alarm."""
    assert score([]) is None
    assert alarm_of([]) is None
    assert reliability([], 60.0) == ()


def test_a_number_is_judged_by_its_distance() -> None:
    """Two contacts, told 100 s: one waited 40 s, the other 190 s."""
    figures = score([(Told(100.0, 100.0), 40.0), (Told(100.0, 100.0), 190.0)])
    assert figures is not None
    assert (figures.n, figures.mean_wait, figures.mae, figures.bias) == (2, 115.0, 75.0, -15.0)
    assert figures.rmse == pytest.approx(((60.0**2 + 90.0**2) / 2) ** 0.5)
    assert (figures.coverage, figures.pinball) == (None, {})
    # "100 s" says yes to a minute and no to two: wrong by 20 s for the first, by 70 s for the second.
    assert figures.regret == {60: 10.0, 120: 35.0, 300: 0.0}
    assert figures.brier == {60: 0.5, 120: 0.5, 300: 0.0}


def test_a_distribution_is_judged_by_what_it_holds() -> None:
    """Ends count as within; the pinball loss weighs what lies above by the level, what lies below by the rest."""
    figures = score([(EVEN, 50.0), (EVEN, 150.0), (EVEN, 151.0)])
    assert figures is not None
    assert figures.coverage == pytest.approx(2 / 3)
    assert figures.pinball[0.5] == pytest.approx((25.0 + 25.0 + 25.5) / 3)
    assert figures.pinball[0.9] == pytest.approx((0.1 * 100.0 + 0.0 + 0.9) / 3)


def test_what_is_longer_than_two_hours_counts_as_two_hours() -> None:
    """As the estimator cuts its own."""
    figures = score([(Told(1e9, 1e9), 7000.0)])
    assert figures is not None
    assert (figures.mae, figures.bias) == (200.0, 200.0)


def test_reliability_puts_like_forecasts_together() -> None:
    """Each step has the mean of what was forecast and the share of what came true."""
    sure, unsure = Told(200.0, 200.0), Told(10.0, 10.0)
    steps = reliability([(sure, 100.0), (sure, 50.0), (unsure, 90.0), (unsure, 10.0), (unsure, 20.0)], 60.0)
    assert [(step.forecast, step.observed, step.n) for step in steps] == [(0.0, pytest.approx(1 / 3), 3), (1.0, 0.5, 2)]


@pytest.mark.parametrize(
    ("waits", "alarm"),
    [
        ((40.0, 75.0, 100.0, 130.0, 155.0), "too_narrow"),
        ((80.0, 90.0, 100.0, 110.0, 120.0), "too_wide"),
        ((60.0, 75.0, 100.0, 125.0, 155.0), None),
        ((140.0, 140.0, 140.0, 140.0, 140.0), "too_short"),
        ((60.0, 60.0, 60.0, 60.0, 60.0), "too_long"),
    ],
)
def test_forecasts_that_are_off_raise_an_alarm(waits: tuple[float, ...], alarm: str | None) -> None:
    """Coverage outside 0.65 to 0.92, or a bias above a quarter of the mean wait; not before enough is known."""
    pairs = [(EVEN, wait) for wait in waits] * 20
    assert alarm_of(pairs) == alarm
    assert alarm_of(pairs[: LEAST_FOR_ALARM - 1]) is None


@given(st.lists(st.tuples(st.lists(st.floats(0.1, 7000.0), min_size=5, max_size=5), st.floats(0.0, 7200.0)), min_size=1))
def test_figures_stay_within_their_bounds(drawn: list[tuple[list[float], float]]) -> None:
    """Whatever was forecast and whatever came."""
    pairs = []
    for numbers, wait in drawn:
        a, b, c, d, e = sorted(numbers)
        pairs.append((Told(c, c, (a, b, c, d, e)), wait))
    figures = score(pairs)
    assert figures is not None
    assert figures.coverage is not None
    assert 0.0 <= figures.coverage <= 1.0
    assert all(0.0 <= loss <= 1.0 for loss in figures.brier.values())
    assert all(loss >= 0.0 for loss in (*figures.pinball.values(), *figures.regret.values()))
    assert set(figures.pinball) == set(LEVELS)
    assert abs(figures.bias) <= figures.rmse + 1e-6
    for limit in (60.0, 300.0):
        steps = reliability(pairs, limit)
        assert sum(step.n for step in steps) == len(pairs)
        assert [step.forecast for step in steps] == sorted(step.forecast for step in steps)
