"""Looking at what would be offered changes nothing about what is."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.offers import Circumstances, OfferPolicy, QueueRules
from ewt.forecast import Forecast

RULES = {"q": QueueRules(threshold=120.0, desk="d", per_minute=2), "r": QueueRules(threshold=60.0, desk="d", hold_out=0.5)}
FREE = Forecast("ok", "learned", 5.0, 1.0, 2.0, 4.0, 6.0, 9.0, 0.0, 3)


def line(minutes: float) -> Forecast:
    """A wait of about so many minutes."""
    seconds = 60.0 * minutes
    return Forecast("ok", "learned", seconds, 0.7 * seconds, 0.85 * seconds, seconds, 1.2 * seconds, 1.5 * seconds, 5.0, 3)


@given(st.lists(st.tuples(st.floats(0.0, 40.0), st.sampled_from("qr"), st.floats(0.1, 12.0), st.integers(0, 99)), max_size=40))
def test_a_policy_that_is_looked_at_decides_as_one_that_is_not(steps: list[tuple[float, str, float, int]]) -> None:
    """And what is shown is what the caller of the next moment is told, unless that one is held out."""
    looked_at, alone = OfferPolicy(RULES), OfferPolicy(RULES)
    now = 0.0
    for passed, queue, minutes, caller in steps:
        now += passed
        who = Circumstances("+15550100123", can_text=True, sms_staffed=True, session=f"s-{caller}")
        shown = looked_at.preview(now, queue, line(minutes), FREE, who)
        assert looked_at.preview(now, queue, line(minutes), FREE, who).reason == shown.reason
        decided = alone.decide("deflect", now, queue, line(minutes), FREE, who)
        assert looked_at.decide("deflect", now, queue, line(minutes), FREE, who) == decided
        assert shown.offer == (decided.offer or decided.reason == "held_out")
        assert shown.reason == decided.inputs.get("held_out_from", decided.reason)
        assert looked_at.switches == alone.switches
        assert looked_at.reserved(now, "d") == alone.reserved(now, "d")
