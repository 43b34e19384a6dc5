"""The floor, op by op: a copy goes on as the original does, looking leaves no trace, and no process differs from another."""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.acd import QueueInUse, UnknownAgent, UnknownQueue
from bridge.events import AgentId, OfferDecided, QueueId, SessionId
from bridge.floor import FloorVersionError
from bridge.floor_ops import (
    AcceptWork,
    AssignWork,
    ForgetWork,
    JoinLine,
    MoveInLine,
    Op,
    PlanStaff,
    ReconcileFloor,
    ReconfigureFloor,
    ReleaseWork,
    RestoreLearning,
    ResyncEstimates,
    SetAgentState,
    TakeOutcomes,
    WakeFloor,
    WeighOffer,
)
from tests.unit.bridge.floor_history import PLANS, SESSIONS, START, Chance, Step, apply, floor, history, look

ROOT = Path(__file__).parents[3]
ANN, BEN, CLO, DAN = (AgentId(name) for name in ("ann", "ben", "clo", "dan"))
RINGS, STEPS, CHATS = QueueId("rings"), QueueId("steps"), QueueId("chats")
ONE, TWO = SESSIONS[:2]
_JSON = msgspec.json.Decoder(Op)


@settings(deadline=None, max_examples=60)
@given(st.randoms(use_true_random=True), st.integers(0, 150), st.integers(1, 80))
def test_a_copy_of_the_floor_goes_on_exactly_as_the_original_does(dice: Random, before: int, after: int) -> None:
    """Same outputs, answers, refusals, forecasts and dumps, whatever came before, although the copy is looked at all the time."""
    original = floor()
    for op, now in history(dice, before):
        apply(original, op, now)
    copy = floor(now=5.0)
    copy.load(original.dump())
    assert copy.dump() == original.dump()
    chance, now = Chance(dice), original.at
    for number in range(after):
        if number % 4 == 0:
            look(copy, now + 45.0)
        op = chance.op(now, original)
        assert apply(copy, _JSON.decode(msgspec.json.encode(op)), now) == apply(original, op, now)
        now = chance.later(now)
    assert copy.dump() == original.dump()
    assert look(copy, now + 7.0) == look(original, now + 7.0)


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=True), st.integers(0, 120))
def test_what_is_refused_changes_nothing(dice: Random, length: int) -> None:
    it = floor()
    for op, now in history(dice, length):
        before = it.dump()
        said, _, _ = apply(it, op, now)
        if said != "done":
            assert it.dump() == before


def test_the_same_ops_make_the_same_floor_in_every_process(tmp_path: Path) -> None:
    """Nothing hangs on the order of a set of words, which is another in each process."""
    ops = [Step(op, now) for op, now in history(Random(6), 1200)]
    (tmp_path / "ops.json").write_bytes(msgspec.json.encode(ops))
    told = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        run = subprocess.run(
            [sys.executable, "-m", "tests.unit.bridge.floor_history", str(tmp_path / "ops.json")],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            check=True,
            timeout=120,
        )
        told.append(run.stdout.splitlines())
    assert len(told[0]) > 2 * len(ops)
    assert told[0] == told[1]


def test_a_reader_whose_clock_is_behind_gets_sensible_numbers() -> None:
    """The clocks of two nodes differ a little; nobody has waited for less than no time."""
    it = floor()
    it.apply(SetAgentState(ANN, "ready"), START)
    it.apply(JoinLine(ONE, RINGS, "voice", START, 1), START)
    it.apply(JoinLine(TWO, RINGS, "voice", START, 1), START)
    assert it.acd.queue_view(RINGS, START - 0.2).longest_wait == 0.0
    assert it.estimator.forecast_waiting(START - 0.2, f"{TWO}/voice") == it.estimator.forecast_waiting(START, f"{TWO}/voice")


def test_time_does_not_go_back() -> None:
    """What is told late counts as of the last op."""
    it = floor()
    it.apply(SetAgentState(ANN, "ready"), START + 10.0)
    it.apply(JoinLine(ONE, RINGS, "voice", START, 1), START + 9.0)
    assert it.at == START + 10.0
    offer = it.acd.agent_view(ANN).offer
    assert offer is not None
    assert offer.until == START + 30.0


def test_of_two_who_accept_the_same_the_second_is_told_so() -> None:
    """A claim is an op like any other, so there is one order of them."""
    it = floor()
    for agent in (ANN, BEN):
        it.apply(SetAgentState(agent, "ready"), START)
    it.apply(JoinLine(ONE, RINGS, "voice", START, 1), START)
    assert it.apply(AcceptWork(BEN, ONE, "voice"), START).answer is True
    late = it.apply(AcceptWork(ANN, ONE, "voice"), START)
    assert (late.answer, late.outputs) == (False, [])


def test_who_is_given_from_the_line_must_stand_in_it() -> None:
    """A supervisor's click crosses the caller's hanging up."""
    it = floor()
    assert it.apply(AssignWork(ANN, ONE, "voice", RINGS, from_line=True), START).answer is False
    it.apply(JoinLine(ONE, RINGS, "voice", START, 1), START)
    assert it.apply(AssignWork(ANN, ONE, "voice", RINGS, from_line=True), START).answer is True
    assert it.acd.serving(ONE, "voice") == ANN


def test_moving_answers_whether_anybody_moved() -> None:
    it = floor()
    assert it.apply(MoveInLine(ONE, "voice", STEPS), START).answer is False
    it.apply(JoinLine(ONE, RINGS, "voice", START, 1), START)
    assert it.apply(MoveInLine(ONE, "voice", STEPS), START).answer is True
    assert it.apply(MoveInLine(ONE, "voice", STEPS), START).answer is False


def test_a_forgotten_session_is_nowhere() -> None:
    """Neither in line nor in anybody's hands, on no channel; forgetting it again changes nothing."""
    it = floor()
    it.apply(AssignWork(ANN, ONE, "sms", CHATS), START)
    it.apply(JoinLine(ONE, RINGS, "voice", START, 1), START)
    assert it.apply(ForgetWork(ONE), START).answer is True
    assert (it.acd.serving(ONE, "sms"), it.acd.place(ONE, "voice")) == (None, None)
    assert it.apply(ForgetWork(ONE), START).answer is False


def test_an_offer_is_weighed_with_what_the_op_says_alone() -> None:
    """Whoever applies it needs no settings and no session."""
    it = floor()
    it.apply(SetAgentState(CLO, "ready"), START)
    op = WeighOffer(7, "deflect", RINGS, CHATS, TWO, "+15550100200", None, False, False, True, None)
    decided = it.apply(op, START).answer
    assert isinstance(decided, OfferDecided)
    assert (decided.request, decided.offer, decided.reason) == (7, True, "no_agents")
    closed = it.apply(msgspec.structs.replace(op, sms_open=False), START).answer
    assert (closed.offer, closed.reason) == (False, "sms_closed")


def test_outcomes_are_taken_once() -> None:
    it = floor()
    it.apply(SetAgentState(ANN, "ready"), START)
    it.apply(AssignWork(ANN, TWO, "voice", RINGS), START)
    it.apply(JoinLine(ONE, RINGS, "voice", START, 1), START)
    it.apply(ReleaseWork(ANN, TWO, "voice", wrap_up=False), START + 60.0)
    it.apply(AcceptWork(ANN, ONE, "voice"), START + 61.0)
    copy = floor()
    copy.load(it.dump())
    for each in (it, copy):
        assert [known.wait for known in each.apply(TakeOutcomes(), START + 62.0).answer] == [61.0]
        assert each.apply(TakeOutcomes(), START + 62.0).answer == []


def test_estimates_are_given_what_the_lines_have() -> None:
    """It answers whether anything else was believed."""
    it = floor()
    it.apply(SetAgentState(ANN, "ready"), START)
    it.apply(JoinLine(ONE, STEPS, "voice", START, 1), START)
    assert it.apply(ResyncEstimates(), START).answer is False
    it.estimator.abandoned(START, f"{ONE}/voice")
    assert it.apply(ResyncEstimates(), START).answer is True
    assert it.apply(ResyncEstimates(), START).answer is False


def test_a_plan_that_cannot_be_leaves_everything_as_it_was() -> None:
    it = floor()
    it.apply(JoinLine(ONE, STEPS, "voice", START, 1), START)
    with pytest.raises(UnknownQueue):
        it.apply(ReconfigureFloor(PLANS[3]), START)
    with pytest.raises(QueueInUse):
        it.apply(ReconfigureFloor(PLANS[2]), START)
    assert it.plan == PLANS[0]
    it.apply(ForgetWork(ONE), START)
    it.apply(ReconfigureFloor(PLANS[2]), START)
    assert list(it.queues) == ["rings", "many"]
    copy = floor()
    copy.load(it.dump())
    assert (copy.plan, list(copy.queues)) == (it.plan, ["rings", "many"])


def test_a_plan_that_is_late_changes_nothing() -> None:
    """Two nodes publish one after the other, and what the first one puts there comes last; on copies too, and on a way back."""
    it, copy = floor(), floor()
    it.apply(ReconfigureFloor(PLANS[1], 4), START)
    copy.load(it.dump())
    for each in (it, copy):
        assert not each.apply(ReconfigureFloor(PLANS[0], 3), START).outputs
        assert (each.plan, each.revision) == (PLANS[1], 4)
    it.apply(ReconfigureFloor(PLANS[0], 5), START)
    it.apply(ReconfigureFloor(PLANS[0], 7), START)  # the same again, and only newer
    it.apply(ReconfigureFloor(PLANS[1], 6), START)
    assert (it.plan, it.revision) == (PLANS[0], 7)


def test_a_plan_that_cannot_be_is_not_the_newest() -> None:
    """What was refused leaves the way open to what was published before it."""
    it = floor()
    it.apply(JoinLine(ONE, STEPS, "voice", START, 1), START)
    with pytest.raises(QueueInUse):
        it.apply(ReconfigureFloor(PLANS[2], 9), START)
    it.apply(ReconfigureFloor(PLANS[1], 8), START)
    assert (it.plan, it.revision) == (PLANS[1], 8)


def test_a_copy_knows_who_is_leaving() -> None:
    """An agent who is configured no longer keeps the work in hand, on every node, and is gone with it."""
    it, copy = floor(), floor()
    it.apply(SetAgentState(BEN, "ready"), START)
    it.apply(AssignWork(BEN, ONE, "sms", CHATS), START)
    it.apply(ReconfigureFloor(PLANS[1]), START)
    copy.load(it.dump())
    for each in (it, copy):
        assert each.acd.leaving == {BEN}
        assert each.acd.agent_view(BEN).chats == (ONE,)
        each.apply(ReleaseWork(BEN, ONE, "sms", wrap_up=True), START + 9.0)
        assert BEN not in each.acd.agents
    assert copy.dump() == it.dump()


def test_refusals_are_told_to_whoever_asked() -> None:
    it = floor()
    with pytest.raises(UnknownAgent):
        it.apply(SetAgentState(AgentId("nobody"), "ready"), START)
    with pytest.raises(UnknownQueue):
        it.apply(JoinLine(ONE, CHATS, "voice", START, 1), START)
    with pytest.raises(ValueError, match="99"):
        it.apply(RestoreLearning({"version": 99}), START)
    with pytest.raises(TypeError, match="str is not for the floor"):
        it.apply("hello", START)  # type: ignore[arg-type]


def test_a_floor_of_other_rules_is_not_loaded() -> None:
    it = floor()
    before = it.dump()
    other = msgspec.msgpack.encode(msgspec.msgpack.decode(before) | {"version": 0, "acd": "something else"})
    with pytest.raises(FloorVersionError, match="version 0"):
        it.load(other)
    with pytest.raises(msgspec.DecodeError):
        it.load(b"\xc1")
    assert it.dump() == before


def test_every_op_goes_through_json() -> None:
    """Also a plan with everything in it, and a session of which nothing is known."""
    for op in (
        ReconfigureFloor(PLANS[1], 7),
        PlanStaff("rings", ((1.5, 2),)),
        ReconcileFloor(()),
        WakeFloor(),
        JoinLine(SessionId("é"), RINGS, "voice", 0.1 + 0.2, 1, ("fr",), ANN, 3.0),
    ):
        assert _JSON.decode(msgspec.json.encode(op)) == op
