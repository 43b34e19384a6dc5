"""What error codes mean."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms.errors import Retry, _table, diagnose
from sms.provider import ErrorClass


@pytest.mark.parametrize(
    ("code", "error_class", "retry"),
    [
        ("21610", "opted_out", "never"),
        (21211, "bad_address", "never"),
        ("30006", "bad_address", "never"),
        ("30003", "temporary", "once"),
        ("20429", "temporary", "later"),
        ("30007", "content", "never"),
        ("30034", "sender", "never"),
        ("30036", "too_late", "never"),
        ("20003", "account", "never"),
    ],
)
def test_listed_codes(code: str | int, error_class: ErrorClass, retry: Retry) -> None:
    """A listed code says whose fault it is and whether to try again."""
    found = diagnose("twilio", code)
    assert (found.error_class, found.retry, found.known) == (error_class, retry, True)


def test_unlisted_codes_follow_their_range() -> None:
    """A code that is newer than the table is taken for what its range mostly is: 21xxx for good, 30xxx once more."""
    assert (diagnose("twilio", 21999).error_class, diagnose("twilio", 21999).retry) == ("content", "never")
    assert (diagnose("twilio", 30999).error_class, diagnose("twilio", 30999).retry) == ("temporary", "once")
    assert not diagnose("twilio", 30999).known


@given(st.text(max_size=8) | st.integers() | st.none())
def test_every_code_has_a_meaning(code: str | int | None) -> None:
    """Whatever a provider says, there is a class for it."""
    assert diagnose("twilio", code).error_class in get_args(ErrorClass)
    assert diagnose("nobody", code).error_class == "unknown"


def test_table_is_sound() -> None:
    """Every class of the table exists, and no code stands in two of them."""
    table = _table()
    for rule, value in table["classes"].items():
        assert value.get("class", rule) in get_args(ErrorClass)
        assert value["retry"] in get_args(Retry)
    for rules in table["providers"].values():
        codes = [code for group in rules["codes"].values() for code in group]
        assert len(codes) == len(set(codes))
        assert set(rules["codes"]) | {span["group"] for span in rules["ranges"]} <= set(table["classes"])
