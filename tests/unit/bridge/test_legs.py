"""The tables themselves: closed, connected, and with one end for every call."""

from collections.abc import Mapping
from typing import Any

import pytest

from bridge import events as e
from bridge.legs import CALL, LIVE, NO_CALL, TEXT, CallState, Kind, TextLeg


@pytest.mark.parametrize(("table", "states", "first"), [(CALL, CallState, CallState.NONE), (TEXT, TextLeg, TextLeg.NONE)])
def test_every_state_has_a_row_and_can_be_reached(
    table: Mapping[Any, Mapping[Kind, Any]], states: type[CallState] | type[TextLeg], first: CallState | TextLeg
) -> None:
    """Nothing leads out of the table, and nothing stands in it for nothing."""
    assert set(table) == set(states)
    reached, todo = set(), [first]
    while todo:
        state = todo.pop()
        if state not in reached:
            reached.add(state)
            todo += table[state].values()
    assert reached == set(states)


def test_after_the_end_of_a_call_only_another_one_can_follow() -> None:
    """The customer is called back, or calls while they wait for that; nothing else happens to a leg that is over."""
    after = {CallState.CALLBACK, CallState.RINGING, CallState.SUMMONING, CallState.ENDED}
    assert set(CALL[CallState.ENDED].values()) == after
    assert e.CallEnded not in CALL[CallState.ENDED]


@pytest.mark.parametrize("state", [state for state in CallState if state not in NO_CALL])
def test_a_caller_may_hang_up_and_a_server_may_die_in_every_state(state: CallState) -> None:
    """Both lead to the same end, from wherever the call is."""
    assert CALL[state][e.CallEnded] is CallState.ENDED
    assert CALL[state][e.ProcessRestarted] is CallState.ENDED


@pytest.mark.parametrize("leg", TextLeg)
def test_a_customer_may_text_and_opt_out_in_every_state(leg: TextLeg) -> None:
    """STOP is obeyed wherever the text leg is, and only START leads out of it."""
    assert e.TextArrived in TEXT[leg]
    if leg is TextLeg.OPTED_OUT:
        assert [then for then in TEXT[leg].values() if then is not leg] == [TEXT[leg][e.OptIn]]
    else:
        assert TEXT[leg][e.OptOut] is TextLeg.OPTED_OUT


def test_live_is_every_state_in_which_the_caller_hears_us() -> None:
    """Between the first ring and the goodbye."""
    assert set(CallState) - LIVE == {CallState.NONE, CallState.CALLBACK, CallState.ENDING, CallState.ENDED}
    assert not LIVE & NO_CALL
