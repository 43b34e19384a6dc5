"""What error codes mean."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms.errors import Action, Retry, _table, diagnose
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


@pytest.mark.parametrize(
    ("code", "action", "blames_sender"),
    [
        (21610, "suppress", False),
        (30006, "landline", False),
        (21614, "landline", False),
        (30005, "drop", False),
        (30032, "fix_registration", True),
        (30034, "fix_registration", True),
        (21606, "fix_registration", True),
        (20003, "failover", True),
        (21408, "failover", False),
        (30007, "edit", False),
        (30036, "drop", False),
        (30008, "retry", False),
        (63016, "edit", False),
        (99999, "drop", False),
    ],
)
def test_what_is_done_about_it(code: int, action: Action, blames_sender: bool) -> None:
    """Each code says what the server does by itself, and whether the sender's next text would fare alike."""
    found = diagnose("twilio", code)
    assert (found.action, found.blames_sender) == (action, blames_sender)
    assert found.advice


def test_unlisted_codes_follow_their_range() -> None:
    """A code that is newer than the table is taken for what its range mostly is: 21xxx for good, 30xxx once more."""
    assert (diagnose("twilio", 21999).error_class, diagnose("twilio", 21999).retry) == ("content", "never")
    assert (diagnose("twilio", 30999).error_class, diagnose("twilio", 30999).retry) == ("temporary", "once")
    assert not diagnose("twilio", 30999).known


@pytest.mark.parametrize("provider", ["twilio", "loopback"])
@pytest.mark.parametrize("code", ["suppressed", "expired", "canceled", "quiet_hours", "landline", "unregistered", "no_pictures"])
def test_words_of_our_own_are_explained(provider: str, code: str) -> None:
    """What never reached a provider is explained as well, whoever the provider would have been; nothing more is done about it."""
    found = diagnose(provider, code)
    assert (found.known, found.action, found.blames_sender) == (True, "drop", False)
    assert "not in the table" not in found.explanation
    assert found.advice


@given(st.text(max_size=8) | st.integers() | st.none())
def test_every_code_has_a_meaning(code: str | int | None) -> None:
    """Whatever a provider says, there is a class for it."""
    assert diagnose("twilio", code).error_class in get_args(ErrorClass)
    assert diagnose("nobody", code).error_class == "unknown"


def test_table_is_sound() -> None:
    """Every group of the table has a class, an action and advice, and no code stands in two of them."""
    table = _table()
    for rule, value in table["groups"].items():
        assert value.get("class", rule) in get_args(ErrorClass)
        assert value["retry"] in get_args(Retry)
        assert value["action"] in get_args(Action)
        assert (value["action"] == "retry") == (value["retry"] != "never")
        assert value["advice"]
    for word in table["own"].values():
        assert set(word) == {"explanation", "advice"}
    for rules in table["providers"].values():
        codes = [code for group in rules["codes"].values() for code in group]
        assert len(codes) == len(set(codes))
        assert set(rules["codes"]) | {span["group"] for span in rules["ranges"]} <= set(table["groups"])
