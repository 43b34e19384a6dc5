"""Which numbers may be called."""

import pytest

from bridge.dialling import DialPlan, NotCallableError, callable_number
from sms.numbers import is_premium

HOUSE = DialPlan("US")


@pytest.mark.parametrize("typed", ["+15550100150", "(555) 010-0150", "1 555 010 0150"])
def test_a_number_is_read_as_it_is_dialled_here(typed: str) -> None:
    """With plus and without."""
    assert callable_number(typed, HOUSE) == "+15550100150"


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("hello", "not a telephone number"),
        ("911", "emergency"),
        ("112", "emergency"),
        ("+19002345678", "cost extra"),
        ("+442079460018", "may_call"),
    ],
)
def test_what_is_not_called_is_refused_in_words(typed: str, why: str) -> None:
    """No help is called for somebody else, nothing that costs extra, nothing abroad."""
    with pytest.raises(NotCallableError, match=why):
        callable_number(typed, HOUSE)


def test_the_house_says_which_numbers_may_be_called() -> None:
    """By their beginnings; then the country does not matter."""
    plan = DialPlan("US", ("+1555", "+4420"))
    assert callable_number("+442079460018", plan) == "+442079460018"
    with pytest.raises(NotCallableError, match="may_call"):
        callable_number("+12125550123", plan)
    with pytest.raises(NotCallableError, match="cost extra"):
        callable_number("+19002345678", DialPlan("US", ("+1",)))


def test_what_is_no_number_costs_nothing_extra() -> None:
    """Nobody could dial it."""
    assert not is_premium("hello")
