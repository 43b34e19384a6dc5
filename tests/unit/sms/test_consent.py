"""Who may be texted, and what the first text must say."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms.consent import NumberState, Reason, Verdict, compliance_parts, may_text
from sms.message import Purpose

PURPOSES: list[Purpose] = list(get_args(Purpose))
STATES = st.builds(
    NumberState,
    can_text=st.booleans(),
    opted_out=st.booleans(),
    blocked=st.booleans(),
    informed=st.booleans(),
    consents=st.frozensets(st.sampled_from(PURPOSES)),
    vouched=st.booleans(),
)


@pytest.mark.parametrize(
    ("state", "purpose", "reason"),
    [
        (NumberState(), "session", "allowed"),
        (NumberState(can_text=False), "session", "cannot_text"),
        (NumberState(opted_out=True), "session", "opted_out"),
        (NumberState(blocked=True), "session", "blocked"),
        (NumberState(), "care", "no_consent"),
        (NumberState(consents=frozenset({"session"})), "care", "allowed"),
        (NumberState(vouched=True), "care", "allowed"),
        (NumberState(vouched=True), "marketing", "no_consent"),
        (NumberState(consents=frozenset({"session", "care"})), "marketing", "no_consent"),
        (NumberState(consents=frozenset({"marketing"})), "marketing", "allowed"),
    ],
)
def test_reasons(state: NumberState, purpose: Purpose, reason: Reason) -> None:
    """Each refusal has its one reason."""
    verdict = may_text(state, purpose)
    assert verdict.reason == reason
    assert verdict.allowed == (reason == "allowed")


@given(STATES, st.sampled_from(PURPOSES), st.lists(st.floats(0, 24, exclude_max=True), max_size=4))
def test_after_stop_only_the_confirmation(state: NumberState, purpose: Purpose, hours: list[float]) -> None:
    """Nothing whatever goes to a number that said STOP, except the one confirmation."""
    if state.opted_out:
        assert not may_text(state, purpose, local_hours=hours).allowed
        assert may_text(state, purpose, local_hours=hours, confirms_opt_out=True).allowed == state.can_text


@pytest.mark.parametrize(
    ("hours", "allowed"),
    [((), True), ((8.0,), True), ((20.99,), True), ((21.0,), False), ((7.5,), False), ((12.0, 22.0), False)],
)
def test_quiet_hours(hours: tuple[float, ...], allowed: bool) -> None:
    """Unasked texts rest from 21 to 8 in the strictest of the time zones; a text of a session does not."""
    state = NumberState(consents=frozenset({"care", "marketing"}))
    for purpose in ("care", "marketing"):
        verdict = may_text(state, purpose, local_hours=hours)
        assert verdict.allowed == allowed
        assert verdict.reason == ("allowed" if allowed else "quiet_hours")
    assert may_text(state, "session", local_hours=hours).allowed


def test_the_first_text_must_inform() -> None:
    """Whoever has not been told how to stop is told with the first text."""
    assert may_text(NumberState(), "session") == Verdict(allowed=True, reason="allowed", must_inform=True)
    assert not may_text(NumberState(informed=True), "session").must_inform


@pytest.mark.parametrize(
    "text",
    [
        "Acme: you get recurring messages about your call. Msg & data rates may apply. Reply STOP to opt out.",
        "ACME Support. Message frequency varies, standard rates apply. Text STOP to end.",
        "Acme : messages récurrents sur votre appel. Tarifs de votre opérateur. Répondez STOP ou ARRÊT pour arrêter.",
        "Acme: mensajes recurrentes sobre su llamada. Pueden aplicarse tarifas. Responda PARAR o BAJA.",
    ],
)
def test_complete_texts(text: str) -> None:
    """A text that names us, the frequency, the cost and the way out lacks nothing, in each of the three languages."""
    assert compliance_parts(text, brand="Acme") == ()


def test_missing_parts() -> None:
    """What is missing is named, so that an author can add it."""
    assert compliance_parts("Hello!", brand="Acme") == ("brand", "recurring", "rates", "stop")
    assert compliance_parts("Acme: the weekend ends. Data rates may apply.", brand="Acme") == ("recurring", "stop")
    assert compliance_parts("Acmeist recurring tariffs STOP", brand="Acme") == ("brand",)
