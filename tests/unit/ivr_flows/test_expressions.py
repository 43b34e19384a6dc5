"""The expression language: its meaning, its refusals, and what it does with the unknown."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivr_flows.expressions import MAX_DEPTH, Expression, ExpressionError, Scope, Value, parse_duration, text_of
from ivr_flows.facts import Desk, Ewt, Facts, Hours

FACTS = Facts(
    called="+15550100200",
    caller="+15550109999",
    can_text=True,
    country="CA",
    brand="Example",
    ewt={"support": Ewt("ok", "learned", 400, 100, 380, 500, 900), "idle": Ewt("no_agents")},
    desks={"texts": Desk(True, waiting=2, open_slots=3)},
    hours={"opening": Hours("holiday")},
    consent=frozenset({"care"}),
    position=3,
    waited=61.0,
)


def value(source: str, **variables: object) -> Value:
    return Expression.parse(source).evaluate(Scope(FACTS, variables))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("-2 - -3", 1.0),
        ("7 / 2", 3.5),
        ("1 / 0", None),
        ("90s == 1.5m and 1h == 60m and 1d == 24h", True),
        ("'a' == \"a\"", True),
        ("'a' < 'b'", None),
        ("'a' + 'b'", None),
        ("1 == true", False),
        ("1 != true", True),
        ("not false and not not true", True),
        ("1 < 2 ? 'yes' : 'no'", "yes"),
        ("missing > 1 ? 'yes' : 'no'", "no"),
        ("caller.can_text and caller.country == 'CA'", True),
        ("caller.can_call", False),
        ("caller == caller.number", True),
        ("contact.language", None),
        ("contact.name", None),
        ("ewt('support').low", 380.0),
        ("ewt('support').high > 6m", True),
        ("ewt('idle').status", "no_agents"),
        ("ewt('idle').p50 > 1m", None),
        ("ewt('nowhere').p50", None),
        ("desk('texts').open_slots >= 3 and desk('texts').staffed", True),
        ("desk('nowhere').staffed", None),
        ("hours('opening')", "holiday"),
        ("hours('nowhere')", None),
        ("consent('care') and not consent('marketing')", True),
        ("known(missing) or known(caller)", True),
        ("len(digits)", 4.0),
        ("len(missing)", None),
        ("number(digits) + 1", 1235.0),
        ("number(brand)", None),
        ("waited > 1m and position <= 3", True),
        ("not missing", None),
        ("-brand", None),
        ("false and missing", False),
        ("missing and false", False),
        ("true or missing", True),
        ("missing or true", True),
        ("missing or false", None),
        ("opted_out", False),
        ("called", "+15550100200"),
    ],
)
def test_an_expression_has_this_value(source: str, expected: Value) -> None:
    """Every operator and function, with what is known and what is not."""
    assert value(source, digits="1234") == expected


@pytest.mark.parametrize(
    ("source", "at"),
    [
        ("", 0),
        ("1 +", 3),
        ("1 2", 2),
        ("1 < 2 < 3", 6),
        ("(1", 2),
        ("ewt('x')", 8),
        ("ewt('x').nothing", 16),
        ("ewt(x).low", 4),
        ("consent('care').x", 17),
        ("eval('1')", 0),
        ("a ? b", 5),
        ("and", 0),
        ("5 % 2", 2),
        ("1;2", 1),
        ("  ~", 2),
        ("(" * (MAX_DEPTH + 1), MAX_DEPTH),
        ("1 + " * 200 + "1", 500),
        ("'open", 0),
        ("a..b", 1),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(source: str, at: int) -> None:
    """The place is the character an editor should show."""
    with pytest.raises(ExpressionError) as caught:
        Expression.parse(source)
    assert caught.value.at == at


@given(st.text(max_size=60) | st.text(alphabet="ab.()'<>=!?:+-*/ 019smhdnot", max_size=60))
def test_any_text_is_read_or_refused(source: str) -> None:
    """No text makes the parser fail in another way."""
    with contextlib.suppress(ExpressionError):
        Expression.parse(source).evaluate(Scope(FACTS, {}))


_TRUTH = st.sampled_from(["true", "false", "missing"])


@given(_TRUTH, _TRUTH)
def test_the_unknown_obeys_de_morgan(left: str, right: str) -> None:
    """`not (a and b)` is `not a or not b`, whatever is unknown."""
    assert value(f"not ({left} and {right})") is value(f"not {left} or not {right}")


@given(st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_numbers_compare_as_numbers(left: int, right: int) -> None:
    """Digits collected as text become numbers only when asked."""
    assert value("a < b", a=left, b=right) is (left < right)
    assert value("number(a) >= number(b)", a=str(left), b=str(right)) is (left >= right)


def test_a_condition_holds_only_when_it_is_true_and_leaves_what_it_read() -> None:
    """Unknown does not hold; the values read explain why."""
    scope = Scope(FACTS, {})
    assert not Expression.parse("ewt('nowhere').low > 1m").holds(scope)
    assert scope.reads == {"ewt('nowhere').low": None}


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5.0), ("1.5m", 90.0), ("2h", 7200.0), ("1d", 86400.0)])
def test_a_duration_carries_its_unit(text: str, seconds: float) -> None:
    """Seconds come out."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["5", "s", "-5s", "5 s", "5ms", "17:30", "\u0665s", ""])
def test_what_has_no_unit_is_no_duration(text: str) -> None:
    """A bare number could be anything."""
    with pytest.raises(ValueError, match="unit"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("given_value", "text"), [(None, ""), (3.0, "3"), (2.5, "2.5"), (True, "true"), (False, "false"), ("x", "x")]
)
def test_a_value_is_written_as_people_write_it(given_value: Value, text: str) -> None:
    """Whole numbers have no point."""
    assert text_of(given_value) == text
