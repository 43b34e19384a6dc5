"""The offsets learn where real waits lie, slowly."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from ewt.calibration import NORMAL, SHIFT, Offsets, Promise


@given(st.floats(2.2, 9), st.floats(0.1, 3), st.lists(st.floats(0, 20_000), max_size=30))
def test_quantiles_are_in_order_and_never_below_0_whatever_was_learned(center: float, spread: float, waits: list[float]) -> None:
    offsets, promise = Offsets(), Promise(center, spread)
    for wait in waits:
        offsets.learn(promise, wait)
    quantiles = promise.quantiles(offsets)
    assert list(quantiles) == sorted(quantiles)
    assert all(0.0 <= quantile <= 7200.0 for quantile in quantiles)
    assert offsets.seen == len(waits)


def test_before_the_first_outcome_the_offsets_are_normal() -> None:
    promise = Promise(5.0, 0.5)
    assert promise.quantiles(None) == promise.quantiles(Offsets())
    assert tuple(Offsets().values) == NORMAL


def test_four_of_five_waits_come_to_lie_within_p10_and_p90() -> None:
    """The structure is wrong by half and too narrow; the offsets make up for both."""
    rng, offsets, promise = random.Random(3), Offsets(), Promise(4.0, 0.3)
    inside = 0
    for n in range(4000):
        wait = max(0.0, rng.lognormvariate(4.4, 0.6) - 8.0)
        p10, _, _, _, p90 = promise.quantiles(offsets)
        inside += n >= 2000 and p10 <= wait <= p90
        offsets.learn(promise, wait)
    assert 0.77 < inside / 2000 < 0.83


def learned(own: float, pool: float, truth: float, outcomes: int = 400, noise: float = 0.4) -> Offsets:
    """Contacts whose two views are the logarithms *own* and *pool* (give and take), and who wait *truth* of both."""
    rng, offsets = random.Random(5), Offsets()
    for _ in range(outcomes):
        a, b = own + rng.gauss(0, 0.4), pool + rng.gauss(0, 0.4)
        center = offsets.own_weight * a + (1 - offsets.own_weight) * b
        wait = math.exp(truth * a + (1 - truth) * b + rng.gauss(0, noise)) - SHIFT
        offsets.learn(Promise(center, 0.5, a, b), wait)
    return offsets


def test_the_view_that_is_right_comes_to_weigh_more() -> None:
    assert learned(4.0, 5.0, 0.0).own_weight < 0.25
    assert learned(4.0, 5.0, 1.0).own_weight > 0.75
    assert 0.35 < learned(4.0, 5.0, 0.5).own_weight < 0.65


def test_a_few_outcomes_move_the_weight_little() -> None:
    assert learned(4.0, 5.0, 0.0, outcomes=10).own_weight > 0.4


def test_where_both_views_agree_the_weight_stays() -> None:
    offsets = Offsets()
    for _ in range(500):
        offsets.learn(Promise(4.0, 0.5, 4.0, 4.0), 500.0)
    assert offsets.own_weight == 0.5


def test_offsets_come_back_from_what_they_gave() -> None:
    offsets = learned(4.0, 5.0, 0.2)
    assert Offsets.load(offsets.dump()) == offsets
