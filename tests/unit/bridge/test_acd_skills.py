"""Who may be asked: skills and their levels, what a queue asks for, and steps by which more agents are asked."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridge.acd import Acd, CascadeStep, QueueSpec, WorkOffered
from bridge.acd.skills import USUAL_LEVEL, Wanted, levels, wanted
from bridge.events import AgentId
from tests.unit.bridge.acd_floor import ANN, BEN, CALLS, CLO, S1, S2, S3, acd, agent, of

NAMES = st.text("abc:-_ é", min_size=1, max_size=6)


def calls(**more: Any) -> tuple[QueueSpec]:
    """The one queue of these tests."""
    return (QueueSpec(CALLS, "voice", **more),)


def rung(it: Acd, session: Any = S1) -> list[AgentId]:
    """At whose desks this session rings."""
    return [name for name in it.agents if (offer := it.agent_view(name).offer) is not None and offer.session == session]


@given(NAMES, st.integers(1, 9))
def test_a_level_is_read_where_it_was_written(name: str, level: int) -> None:
    assert levels([f"{name}={level}"]) == {name: level}
    assert levels([name]) == {name: USUAL_LEVEL}
    assert wanted([f"{name}>={level}"]) == {Wanted(name, level)}
    assert wanted([name]) == {Wanted(name, 1)}


@given(st.lists(st.text(max_size=12)))
def test_every_text_is_some_skill(texts: list[str]) -> None:
    assert len(levels(texts)) <= len(set(texts))
    assert len(wanted(texts)) <= len(set(texts))


def test_a_skill_that_stands_twice_counts_with_its_higher_level() -> None:
    assert levels(["a=2", "a=7", "a"]) == {"a": 7}
    assert wanted(["a>=2", "a>=7", "a"]) == {Wanted("a", 7)}


def test_only_who_is_good_enough_is_asked() -> None:
    it = acd(agent(ANN, CALLS, skills=("billing=3",)), agent(BEN, CALLS, skills=("billing=6",)), queues=calls())
    it.join(S1, CALLS, "voice", 1.0, 1, ("billing>=6",), 1.0)
    assert rung(it) == [BEN]
    it.join(S2, CALLS, "voice", 2.0, 1, ("billing>=6",), 2.0)
    assert rung(it, S2) == []
    it.join(S3, CALLS, "voice", 3.0, 1, ("billing",), 3.0)
    assert rung(it, S3) == [ANN]


def test_what_the_queue_asks_for_is_asked_of_everybody() -> None:
    it = acd(agent(ANN, CALLS), agent(BEN, CALLS, skills=("cards=5", "lang:fr")), queues=calls(skills=("cards>=5",)))
    it.join(S1, CALLS, "voice", 1.0, 1, ("lang:fr",), 1.0)
    assert rung(it) == [BEN]


def test_the_best_come_first_when_the_queue_wants_it_so() -> None:
    """Otherwise whoever has been idle longest does."""
    skilled = [agent(ANN, CALLS, skills=("cards=2",)), agent(BEN, CALLS, skills=("cards=9",)), agent(CLO, CALLS)]
    it = acd(*skilled, queues=calls())
    it.join(S1, CALLS, "voice", 1.0, 1, ("cards",), 1.0)
    assert rung(it) == [ANN]
    it = acd(*skilled, queues=calls(best_first=True))
    it.join(S1, CALLS, "voice", 1.0, 1, ("cards",), 1.0)
    assert rung(it) == [BEN]
    it.join(S2, CALLS, "voice", 2.0, 1, (), 2.0)
    assert rung(it, S2) == [ANN]


def test_a_team_that_a_step_names_is_asked_from_that_step_on() -> None:
    steps = (CascadeStep(30.0, ("second",)), CascadeStep(90.0, ("third",)))
    it = acd(
        agent(ANN, CALLS),
        agent(BEN, CALLS, teams=("second",)),
        agent(CLO, CALLS, teams=("third",)),
        queues=calls(cascade=steps, ring_timeout=200.0),
    )
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    it.join(S2, CALLS, "voice", 0.0, 1, (), 0.0)
    it.join(S3, CALLS, "voice", 10.0, 1, (), 10.0)
    assert (rung(it, S1), rung(it, S2)) == ([ANN], [])
    assert it.wake_at == 30.0
    assert of(WorkOffered, it.wake(30.0)) == [WorkOffered(BEN, S2, "voice", CALLS, 230.0)]
    it.wake(40.0)
    assert rung(it, S3) == []
    assert it.wake_at == 90.0
    it.wake(90.0)
    assert rung(it, S3) == []
    assert it.wake_at == 100.0
    it.wake(100.0)
    assert rung(it, S3) == [CLO]


def test_waiting_that_was_brought_along_counts_for_the_steps() -> None:
    it = acd(agent(ANN, CALLS, teams=("second",)), agent(BEN, CALLS), queues=calls(cascade=(CascadeStep(30.0, ("second",)),)))
    it.join(S1, CALLS, "voice", 0.0, 1, (), 1000.0)
    assert rung(it) == [ANN]


def test_a_step_may_ask_for_less() -> None:
    steps = (CascadeStep(20.0, level=4), CascadeStep(40.0, level=2))
    it = acd(agent(ANN, CALLS, skills=("cards=3",)), agent(BEN, CALLS, skills=("cards=8",)), queues=calls(cascade=steps))
    it.join(S1, CALLS, "voice", 0.0, 1, ("cards>=7",), 0.0)
    it.accept(BEN, S1, "voice", 1.0)
    it.join(S2, CALLS, "voice", 2.0, 1, ("cards>=7",), 2.0)
    it.wake(22.0)
    assert rung(it, S2) == []
    it.wake(42.0)
    assert rung(it, S2) == [ANN]


def test_nobody_waits_for_a_step_while_all_before_it_are_away() -> None:
    """And when the last of them goes, or all of them have said no, the next are asked at once."""
    it = acd(
        agent(ANN, CALLS),
        agent(BEN, CALLS, teams=("second",)),
        queues=calls(cascade=(CascadeStep(300.0, ("second",)),)),
    )
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    it.decline(ANN, S1, "voice", "declined", 1.0)
    assert rung(it, S1) == [BEN]
    it.accept(BEN, S1, "voice", 2.0)
    it.release(BEN, S1, "voice", wrap_up=False, now=3.0)
    it.join(S2, CALLS, "voice", 4.0, 1, (), 4.0)
    it.accept(ANN, S2, "voice", 5.0)
    it.join(S3, CALLS, "voice", 6.0, 1, (), 6.0)
    assert rung(it, S3) == []
    it.set_state(ANN, "not_ready", "lunch", 7.0)
    assert rung(it, S3) == [BEN]


def test_who_was_first_in_line_goes_on_being_so_when_more_agents_are_asked() -> None:
    it = acd(agent(ANN, CALLS, teams=("late",)), agent(BEN, CALLS), queues=calls(cascade=(CascadeStep(10.0, ("late",)),)))
    it.join(S1, CALLS, "voice", 0.0, 1, (), 0.0)
    it.accept(BEN, S1, "voice", 0.0)
    it.set_state(ANN, "not_ready", None, 1.0)
    it.join(S2, CALLS, "voice", 1.0, 1, (), 1.0)
    it.join(S3, CALLS, "voice", 2.0, 1, (), 2.0)
    it.wake(15.0)
    it.set_state(ANN, "ready", None, 16.0)
    assert (rung(it, S2), rung(it, S3)) == ([ANN], [])


def test_more_combinations_of_skills_than_are_remembered_change_nothing() -> None:
    it = acd(agent(ANN, CALLS, skills=("s7",)), queues=calls())
    for number in range(2500):
        it.join(S1, CALLS, "voice", 0.0, 1, (f"s{number}",), 0.0)
    it.join(S1, CALLS, "voice", 0.0, 1, ("s7",), 0.0)
    assert rung(it) == [ANN]
