"""A forecast is a distribution, and only some of it may be spoken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewt.forecast import Band, Forecast, tail

QUANTILES = st.lists(st.floats(0, 7200), min_size=5, max_size=5).map(sorted).map(tuple)


def forecast(p50: float, p75: float, p90: float, **more: str) -> Forecast:
    return Forecast("ok", "learned", p50, 0.0, p50 / 2, p50, p75, p90, **more)  # type: ignore[arg-type]


@given(QUANTILES, st.floats(-10, 1e5), st.floats(-10, 1e5))
def test_the_probability_falls_with_time_and_stays_within_0_and_1(quantiles: tuple[float, ...], a: float, b: float) -> None:
    sooner, later = sorted((a, b))
    assert 1.0 >= tail(quantiles, sooner) >= tail(quantiles, later) - 1e-12 >= -1e-12


def test_the_probability_at_a_quantile_is_its_level() -> None:
    quantiles = (10.0, 20.0, 30.0, 50.0, 90.0)
    assert [round(tail(quantiles, q), 6) for q in quantiles] == [0.9, 0.75, 0.5, 0.25, 0.1]
    assert tail(quantiles, 40.0) == pytest.approx(0.375)
    assert Forecast("ok", "learned", 40.0, *quantiles).prob(40.0) == pytest.approx(0.375)


def test_with_a_free_agent_nobody_waits() -> None:
    free = Forecast("free_agent", "prior", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert (free.prob(0.0), free.prob(0.1)) == (1.0, 0.0)
    assert free.band() == Band(0, 1)


def test_an_unknown_wait_has_no_probability_and_no_number() -> None:
    unknown = Forecast("degraded", "prior")
    assert unknown.prob(60.0) is None
    assert unknown.quantiles is None
    assert unknown.band() == Band(None, None, "degraded")


@pytest.mark.parametrize(
    ("p50", "p75", "p90", "band"),
    [
        (20.0, 55.0, 58.0, Band(0, 1)),
        (20.0, 55.0, 200.0, Band(None, None, "wide")),  # one in ten would wait far longer than "less than a minute"
        (0.0, 90.0, 0.0, Band(1, 2)),
        (130.0, 190.0, 300.0, Band(3, 4)),
        (200.0, 330.0, 601.0, Band(None, None, "wide")),
    ],
)
def test_the_spoken_band_is_rounded_up_and_left_out_when_it_says_too_little(
    p50: float, p75: float, p90: float, band: Band
) -> None:
    assert forecast(p50, p75, p90).band() == band
    assert band.speak == (band.low_min is not None)


def test_no_number_is_spoken_from_guesses_or_without_agents() -> None:
    assert Forecast("ok", "prior", 100, 10, 60, 100, 150, 200).band().silence == "prior"
    assert Forecast("no_agents", "learned", 100, 10, 60, 100, 150, 200).band().silence == "no_agents"
