"""The transaction machines: figures 5 to 8 of RFC 3261 with RFC 6026."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.transaction import FIRST, TABLE, WAITS, Action, Kind, State, Timers, Transaction, trigger_of

TIMERS = Timers()
TRIGGERS = sorted({name for states in TABLE.values() for steps in states.values() for name in steps if len(name) > 1})


def start(kind: Kind) -> Transaction:
    return Transaction(kind, now=0.0, timers=TIMERS)


def run_out(machine: Transaction, until: float = 200.0) -> list[tuple[float, Action]]:
    """Let only the clock act; returns what was asked for and when."""
    done = []
    while machine.wake_at is not None and machine.wake_at <= until:
        now = machine.wake_at
        done += [(now, action) for action in machine.wake(now)]
    return done


def test_an_unanswered_invite_is_repeated_seven_times_in_32_seconds() -> None:
    """Timer A doubles from 500 ms, timer B ends it at 64 T1 (section 17.1.1.2)."""
    asked = run_out(start(Kind.INVITE_CLIENT))

    assert [now for now, action in asked if action is Action.RESEND] == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert asked[-1] == (32.0, Action.TIMEOUT)


def test_an_unanswered_bye_is_repeated_every_four_seconds_at_most() -> None:
    """Timer E doubles up to T2, timer F ends it (section 17.1.2.2)."""
    asked = run_out(start(Kind.NON_INVITE_CLIENT))

    assert [now for now, action in asked if action is Action.RESEND] == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert asked[-1] == (32.0, Action.TIMEOUT)


def test_a_provisional_answer_slows_a_bye_down() -> None:
    """In Proceeding timer E is T2 after its next firing (section 17.1.2.2)."""
    machine = start(Kind.NON_INVITE_CLIENT)

    assert machine.feed("1xx", now=0.1) == (Action.PASS,)
    assert [now for now, _ in run_out(machine, 10.0)] == [0.5, 4.5, 8.5]


def test_a_provisional_answer_stops_the_repeating_of_an_invite() -> None:
    """In Proceeding an INVITE client waits for as long as it takes."""
    machine = start(Kind.INVITE_CLIENT)
    machine.feed("1xx", now=0.1)

    assert machine.wake_at is None


def test_a_refusal_is_acknowledged_every_time_it_comes() -> None:
    """Completed absorbs repeated refusals and ACKs each (section 17.1.1.2)."""
    machine = start(Kind.INVITE_CLIENT)

    assert machine.feed("final", now=1.0) == (Action.ACK, Action.PASS)
    assert machine.feed("final", now=2.0) == (Action.ACK,)
    assert run_out(machine) == []
    assert machine.terminated


def test_every_2xx_reaches_the_user_for_32_seconds() -> None:
    """RFC 6026: Accepted passes each 2xx up, so that forks and lost ACKs are seen."""
    machine = start(Kind.INVITE_CLIENT)

    assert machine.feed("2xx", now=1.0) == (Action.PASS,)
    assert machine.feed("2xx", now=1.5) == (Action.PASS,)
    assert machine.feed("final", now=1.6) == ()
    assert machine.wake_at == 33.0
    run_out(machine)
    assert machine.terminated


def test_a_refused_invite_is_told_again_until_the_ack() -> None:
    """Timers G and H, then I after the ACK (section 17.2.1)."""
    machine = start(Kind.INVITE_SERVER)
    machine.feed("send final", now=0.0)
    assert machine.feed("INVITE", now=0.1) == (Action.RESEND,)
    assert [now for now, _ in run_out(machine, 8.0)] == [0.5, 1.5, 3.5, 7.5]

    assert machine.feed("ACK", now=8.0) == ()
    assert machine.state is State.CONFIRMED
    assert machine.feed("ACK", now=8.1) == ()
    assert machine.wake_at == 13.0
    run_out(machine)
    assert machine.terminated


def test_a_refusal_that_is_never_acknowledged_ends() -> None:
    """Timer H at 64 T1."""
    machine = start(Kind.INVITE_SERVER)
    machine.feed("send final", now=0.0)

    assert run_out(machine)[-1] == (32.0, Action.TIMEOUT)


def test_an_accepted_invite_absorbs_its_repetitions() -> None:
    """RFC 6026 section 7.1: the INVITE again is swallowed; the 200 is the dialog's business."""
    machine = start(Kind.INVITE_SERVER)
    machine.feed("send 2xx", now=0.0)

    assert machine.feed("INVITE", now=0.5) == ()
    assert machine.feed("send 2xx", now=0.6) == (Action.SEND,)
    assert machine.wake_at == 32.0


def test_a_repeated_request_gets_the_same_answer() -> None:
    """A non-INVITE server answers once and repeats that for timer J (section 17.2.2)."""
    machine = start(Kind.NON_INVITE_SERVER)
    assert machine.feed("request", now=0.0) == ()
    assert machine.feed("send 1xx", now=0.1) == (Action.SEND,)
    assert machine.feed("request", now=0.2) == (Action.RESEND,)
    assert machine.feed("send final", now=0.3) == (Action.SEND,)
    assert machine.feed("send 2xx", now=0.4) == ()
    assert machine.feed("request", now=0.5) == (Action.RESEND,)
    assert machine.wake_at == pytest.approx(32.3)


def test_a_late_wake_catches_up_once_for_each_timer() -> None:
    """After a long sleep of the process a retransmission goes out and the machine goes on."""
    machine = start(Kind.NON_INVITE_CLIENT)

    assert Action.TIMEOUT in machine.wake(100.0)
    assert machine.terminated
    assert machine.wake_at is None


def test_statuses_fall_into_three_classes() -> None:
    """The machines know no others."""
    assert [trigger_of(status) for status in (100, 199, 200, 299, 300, 699)] == ["1xx", "1xx", "2xx", "2xx", "final", "final"]


def test_every_state_of_the_table_can_be_reached_and_left() -> None:
    """The tables have no islands, and each timer that is waited for has a row."""
    for kind, states in TABLE.items():
        reached = {FIRST[kind]} | {step[0] for steps in states.values() for step in steps.values()}
        assert set(states) == reached - {State.TERMINATED}
        for state, steps in states.items():
            assert set(WAITS.get((kind, state), ())) == {name for name in steps if len(name) == 1}


@given(st.sampled_from(list(Kind)), st.lists(st.tuples(st.sampled_from(TRIGGERS), st.floats(0, 5)), max_size=40))
def test_any_order_of_events_ends_or_waits(kind: Kind, events: list[tuple[str, float]]) -> None:
    """Whatever comes: an ignored trigger changes nothing, time ends every state but Proceeding and the server's Trying."""
    machine, now = start(kind), 0.0
    for trigger, pause in events:
        now += pause
        machine.wake(now)
        before = machine.state, machine.wake_at
        if trigger not in TABLE[kind].get(machine.state, {}):
            assert machine.feed(trigger, now=now) == ()
            assert (machine.state, machine.wake_at) == before
        else:
            machine.feed(trigger, now=now)
        assert machine.wake_at is None or machine.wake_at > now or machine.terminated
    run_out(machine, now + 1000.0)

    waiting = {(Kind.INVITE_CLIENT, State.PROCEEDING), (Kind.INVITE_SERVER, State.PROCEEDING)} | {
        (Kind.NON_INVITE_SERVER, State.TRYING),
        (Kind.NON_INVITE_SERVER, State.PROCEEDING),
    }
    assert machine.terminated or (kind, machine.state) in waiting
