"""When texting is offered, and why not."""

import json
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.events import OfferKind
from bridge.offers import ALMOST_THERE, Circumstances, Decision, OfferPolicy, QueueRules
from ewt.forecast import Basis, Forecast, Status

RULES = QueueRules(desk="desk")
CALLER = Circumstances("+15550100200", can_text=True, sms_staffed=True, sms_open_slots=3)
FREE = Forecast("free_agent", "learned", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
UNKNOWN = Forecast("degraded", "prior")


def about(seconds: float, *, status: Status = "ok", basis: Basis = "learned") -> Forecast:
    """A wait of about so many seconds; P(wait >= *seconds*) is 0.5."""
    return Forecast(status, basis, seconds, seconds * 0.4, seconds * 0.7, seconds, seconds * 1.4, seconds * 2.0)


def decide(
    policy: OfferPolicy | None = None,
    voice: Forecast | None = None,
    *,
    kind: OfferKind = "deflect",
    now: float = 0.0,
    queue: str = "calls",
    sms: Forecast | None = FREE,
    who: Circumstances = CALLER,
) -> Decision:
    return (policy or OfferPolicy({"calls": RULES})).decide(kind, now, queue, voice or about(200.0), sms, who)


def with_rules(**changes: object) -> OfferPolicy:
    return OfferPolicy({"calls": msgspec.structs.replace(RULES, **changes)})


def test_a_wait_that_is_probably_long_is_worth_an_offer() -> None:
    decision = decide()
    assert (decision.offer, decision.reason) == (True, "offer")
    assert decision.inputs["p"] > 0.4


def test_a_wait_that_is_probably_short_is_not() -> None:
    assert decide(voice=about(60.0)).reason == "below_threshold"
    assert decide(voice=FREE).reason == "agent_free"


@pytest.mark.parametrize("kind", ["deflect", "hold"])
@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ({"number": None}, "number_withheld"),
        ({"opted_out": True}, "opted_out"),
        ({"can_text": False, "why_not": "a landline"}, "cannot_text"),
        ({"refused_before": True}, "refused_before"),
        ({"asked_before": True}, "asked_before"),
        ({"agent_offered": True}, "agent_coming"),
    ],
)
def test_whoever_cannot_or_should_not_be_asked_is_not(kind: OfferKind, who: dict[str, object], reason: str) -> None:
    decision = decide(kind=kind, who=msgspec.structs.replace(CALLER, **who))
    assert (decision.offer, decision.reason) == (False, reason)
    assert decision.inputs["why_not"] == who.get("why_not")


def test_a_queue_that_offers_nothing_and_one_without_rules_do_not() -> None:
    assert decide(with_rules(mode="never")).reason == "disabled"
    assert decide(queue="other").reason == "disabled"


def test_from_guesses_it_must_be_surer() -> None:
    """P(wait >= 120) is about 0.43: enough when learned, too little from a prior."""
    assert decide(voice=about(108.0)).reason == "offer"
    assert decide(voice=about(108.0, basis="prior")).reason == "below_threshold"


@pytest.mark.parametrize(
    ("sms", "who", "reason"),
    [
        (None, CALLER, "no_desk"),
        (FREE, msgspec.structs.replace(CALLER, sms_staffed=False), "sms_unstaffed"),
        (about(10.0, status="no_agents"), CALLER, "sms_unstaffed"),
        (UNKNOWN, CALLER, "wait_unknown"),
        (about(301.0), CALLER, "sms_over_capacity"),
        (FREE, msgspec.structs.replace(CALLER, sms_open=False), "sms_closed"),
        (about(171.0), CALLER, "sms_not_faster"),
        (about(110.0), CALLER, "sms_not_faster"),
        (about(80.0), CALLER, "offer"),
    ],
)
def test_a_deflection_is_offered_only_to_a_better_place(sms: Forecast | None, who: Circumstances, reason: str) -> None:
    assert decide(sms=sms, who=who).reason == reason


def test_a_desk_that_is_faster_on_average_must_be_so_with_some_certainty() -> None:
    """The mean of the desk is 60 s better; one deflected in three would be worse off."""
    decision = decide(sms=about(110.0))
    assert decision.reason == "sms_not_faster"
    assert 0.5 < decision.inputs["faster"] < 0.7
    assert decide(with_rules(surely=0.5), sms=about(110.0)).reason == "offer"


def test_the_probability_of_being_faster_is_that_of_two_independent_waits() -> None:
    rng = random.Random(2)

    def draw(wait: Forecast) -> float:
        assert wait.quantiles is not None
        u = rng.random()
        return next(seconds for seconds in range(4000) if (wait.prob(float(seconds)) or 0.0) <= u)

    voice, sms = about(200.0), about(120.0)
    drawn = sum(draw(sms) + 30 <= draw(voice) for _ in range(2000)) / 2000
    assert decide(voice=voice, sms=sms).inputs["faster"] == pytest.approx(drawn, abs=0.06)


def test_no_more_are_offered_within_a_minute_than_the_queue_wants() -> None:
    policy = with_rules(per_minute=2)
    reasons = [decide(policy, now=now).reason for now in (0.0, 10.0, 20.0, 59.0, 60.0, 61.0, 70.0)]
    assert reasons == ["offer", "offer", *["enough_this_minute"] * 2, "offer", "enough_this_minute", "offer"]
    assert decide(policy, now=62.0, kind="hold").reason == "offer"


def test_who_is_held_out_depends_on_the_session_alone_and_on_no_more_than_the_share() -> None:
    reasons = {}
    for n in range(1000):
        who = msgspec.structs.replace(CALLER, session=f"s{n}")
        decision = decide(with_rules(hold_out=0.1), who=who)
        assert decision.reason == decide(with_rules(hold_out=0.1), now=999.0, who=who).reason
        assert decision.inputs.get("held_out_from") == ("offer" if decision.reason == "held_out" else None)
        assert decision.offer == (decision.reason == "offer")
        reasons[n] = decision.reason
    assert 70 < list(reasons.values()).count("held_out") < 130
    assert decide(with_rules(hold_out=0.5), voice=about(20.0)).reason == "below_threshold", "held out of nothing"


def test_who_is_held_out_is_not_counted_as_on_the_way() -> None:
    policy = with_rules(hold_out=1.0)
    assert decide(policy).reason == "held_out"
    assert policy.reserved(0.0) == 0.0


def test_while_forecasts_of_a_queue_are_known_to_be_off_it_must_be_surer() -> None:
    policy = OfferPolicy({"calls": RULES})
    policy.distrust(["calls"])
    decision = decide(policy, about(120.0))
    assert (decision.reason, decision.inputs["pi"], decision.inputs["distrusted"]) == ("below_threshold", 0.65, ["calls"])
    assert decide(policy, about(200.0), now=40.0).reason == "offer"
    policy.distrust(["desk"])
    assert decide(policy, now=90.0).inputs["distrusted"] == ["desk"]
    policy.distrust([])
    assert decide(policy, now=90.0).inputs["pi"] == 0.4


def test_on_old_events_it_must_be_surer_too() -> None:
    assert decide(voice=about(120.0, status="degraded")).reason == "below_threshold"
    assert decide(voice=about(300.0, status="degraded")).reason == "offer"


def test_being_called_back_is_offered_for_a_wait_of_its_own_and_needs_no_text() -> None:
    landline = msgspec.structs.replace(CALLER, can_text=False, opted_out=True)
    assert decide(kind="callback").reason == "disabled"
    policy = with_rules(callback="always", mode="never")
    assert decide(policy, about(60.0), kind="callback", sms=None, who=landline).reason == "always"
    assert decide(policy, about(10.0), kind="callback").reason == "almost_there"
    policy = with_rules(callback=300.0, mode="always")
    assert decide(policy, about(400.0), kind="callback", sms=None, who=landline).reason == "offer"
    assert decide(policy, about(200.0), kind="callback", sms=None, who=landline).reason == "below_threshold"
    assert decide(policy, about(10.0), kind="callback").reason == "almost_there"
    assert decide(policy, about(50.0, status="no_agents"), kind="callback").reason == "no_agents"
    assert (
        decide(policy, about(4000.0), kind="callback", who=msgspec.structs.replace(CALLER, number=None)).reason
        == "number_withheld"
    )
    assert policy.reserved(0.0) == 0.0


def test_hold_time_texting_needs_no_desk_and_no_faster_answer() -> None:
    assert decide(kind="hold", sms=None).reason == "offer"


def test_whoever_is_almost_there_is_not_disturbed() -> None:
    policy = with_rules(mode="always")
    assert decide(policy, about(ALMOST_THERE - 1.0), kind="hold").reason == "almost_there"
    assert decide(policy, about(ALMOST_THERE + 1.0), kind="hold").reason == "always"


def test_always_does_not_look_at_the_wait_of_the_call() -> None:
    policy = with_rules(mode="always")
    assert decide(policy, FREE).reason == "always"
    assert decide(policy, UNKNOWN, sms=about(100.0)).reason == "always"
    assert decide(policy, FREE, sms=about(301.0)).reason == "sms_over_capacity"


def test_without_agents_for_calls_a_staffed_desk_is_offered_at_once() -> None:
    nobody = about(10.0, status="no_agents")
    assert decide(voice=nobody, sms=about(200.0)).reason == "no_agents"
    assert decide(voice=nobody, sms=about(200.0)).offer
    assert decide(voice=nobody, sms=about(10.0, status="no_agents")).reason == "sms_unstaffed"


def test_an_unknown_wait_is_no_reason_to_offer() -> None:
    assert decide(voice=UNKNOWN).reason == "wait_unknown"


def test_a_queue_that_offers_goes_on_a_little_below_the_threshold() -> None:
    policy = OfferPolicy({"calls": RULES})
    assert decide(policy, about(100.0)).reason == "below_threshold"
    assert decide(policy, about(200.0), now=100.0).reason == "offer"
    decision = decide(policy, about(100.0), now=200.0)
    assert (decision.reason, decision.inputs["threshold"], decision.inputs["offering"]) == ("offer", 96.0, True)
    assert decide(policy, about(50.0), now=300.0).reason == "below_threshold"
    assert policy.switches == 2


def test_a_queue_stays_in_its_state_for_the_dwell() -> None:
    policy = OfferPolicy({"calls": RULES})
    decide(policy, about(200.0), now=0.0)
    assert decide(policy, about(50.0), now=29.0).reason == "offer"
    assert decide(policy, about(50.0), now=30.0).reason == "below_threshold"
    assert decide(policy, about(200.0), now=31.0).reason == "below_threshold"
    assert decide(policy, about(200.0), now=60.0).reason == "offer"


def test_a_very_long_wait_does_not_wait_for_the_dwell() -> None:
    policy = OfferPolicy({"calls": RULES})
    decide(policy, about(200.0), now=0.0)
    decide(policy, about(50.0), now=30.0)
    assert decide(policy, about(2000.0), now=31.0).reason == "overcapacity"


def test_what_is_left_for_one_in_line_does_not_change_what_the_queue_offers_to_newcomers() -> None:
    policy = OfferPolicy({"calls": RULES})
    waiting = msgspec.structs.replace(CALLER, waited=30.0)
    assert decide(policy, about(200.0), who=waiting).offer
    assert decide(policy, about(200.0), kind="hold").offer
    assert policy.switches == 0


def test_open_offers_count_as_texters_on_the_way_until_they_are_refused_or_old() -> None:
    policy = OfferPolicy({"calls": RULES, "sales": QueueRules(desk="other"), "any": QueueRules()})
    for queue in ("calls", "calls", "sales", "any"):
        decide(policy, queue=queue)
    assert policy.reserved(1.0) == pytest.approx(4 * 0.4)
    assert policy.reserved(1.0, "desk") == pytest.approx(3 * 0.4)
    policy.answered("calls", accepted=True, now=1.0)
    assert policy.reserved(1.0, "desk") == pytest.approx(1.0 + 2 * policy.acceptance)
    policy.answered("calls", accepted=False, now=1.0)
    assert policy.reserved(1.0, "desk") == pytest.approx(1.0 + policy.acceptance)
    policy.answered("calls", accepted=False, now=1.0)
    assert policy.reserved(29.9, "desk") > 1.0
    assert policy.reserved(30.0) == 0.0


def test_only_a_deflection_sends_somebody_to_the_desk() -> None:
    policy = OfferPolicy({"calls": RULES})
    decide(policy, kind="hold")
    decide(policy, about(10.0), now=40.0)
    assert policy.reserved(40.0) == 0.0


def test_the_acceptance_is_learned() -> None:
    policy = OfferPolicy({})
    for _ in range(400):
        policy.answered("calls", accepted=True, now=0.0)
    assert policy.acceptance == pytest.approx(1.0, abs=0.01)


FORECASTS = st.one_of(
    st.floats(0, 4000).map(about),
    st.floats(0, 4000).map(lambda seconds: about(seconds, basis="prior")),
    st.floats(0, 4000).map(lambda seconds: about(seconds, status="no_agents")),
    st.sampled_from([FREE, UNKNOWN]),
)
CIRCUMSTANCES = st.builds(
    Circumstances,
    st.one_of(st.none(), st.just("+15550100200")),
    can_text=st.booleans(),
    opted_out=st.booleans(),
    asked_before=st.booleans(),
    sms_staffed=st.booleans(),
    sms_open_slots=st.integers(0, 9),
    waited=st.floats(0, 900),
    agent_offered=st.booleans(),
)
ASKED = st.lists(
    st.tuples(st.sampled_from(["deflect", "hold"]), st.floats(0, 60), FORECASTS, st.one_of(st.none(), FORECASTS), CIRCUMSTANCES),
    max_size=20,
)


@given(st.sampled_from(["above_threshold", "always", "never"]), ASKED)
def test_nobody_is_ever_offered_who_cannot_be_texted_nor_sent_to_an_empty_desk(
    mode: str, asked: list[tuple[OfferKind, float, Forecast, Forecast | None, Circumstances]]
) -> None:
    """Whatever came before; and the same questions get the same answers, fit for JSON and without the number."""
    policy, twin, now = with_rules(mode=mode), with_rules(mode=mode), 0.0
    for kind, step, voice, sms, who in asked:
        now += step
        decision = policy.decide(kind, now, "calls", voice, sms, who)
        assert decision == twin.decide(kind, now, "calls", voice, sms, who)
        assert "+1555" not in json.dumps(decision.inputs, allow_nan=False)
        assert decision.offer == (decision.reason in {"offer", "always", "overcapacity", "no_agents"})
        if decision.offer:
            assert mode != "never"
            assert who.number is not None
            assert who.can_text
            assert not any((who.opted_out, who.asked_before, who.agent_offered))
        if decision.offer and kind == "deflect":
            assert who.sms_staffed
            assert sms is not None
            assert sms.p90 is not None
            assert sms.p90 <= RULES.sms_max
