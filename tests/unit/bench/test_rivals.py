"""The formulas of the field, each checked by hand, and what comes of a trial."""

import pytest

from bridge.bench import SCENARIOS, Candidate, Row, Trial, rivals, run_scenarios, summary
from bridge.bench.rivals import Asterisk, Genesys, LastToEnter, Position, Rival, SameLength, TenMinutes, WithHangUps
from bridge.events import Channel

QUEUES: dict[str, Channel] = {"q": "voice", "other": "voice", "chats": "sms"}


def fresh(kind: type[Rival]) -> Rival:
    """Two agents, 100 s guessed, and nothing seen."""
    rival = kind(QUEUES, 100.0, 300.0)
    rival.login(0.0, "a", ["q", "other"], 0)
    rival.login(0.0, "b", ["q"], 0)
    return rival


def taken(rival: Rival, at: float, waits: float, *, handled: float | None = None, queue: str = "q", agent: str = "a") -> None:
    """Somebody comes at *at*, waits, and is perhaps finished."""
    name = f"{queue}{at}"
    rival.joined(at, name, queue, 1)
    rival.started(at + waits, name, agent)
    if handled is not None:
        rival.ended(at + waits + handled, name, agent)


def test_asterisk_takes_over_a_quarter() -> None:
    """The first wait counts whole; before it the answer is 0."""
    rival = fresh(Asterisk)
    assert rival.point(0.0, "q", 1) == 0.0
    taken(rival, 0.0, 40.0)
    taken(rival, 50.0, 80.0)
    assert rival.point(200.0, "q", 1) == 50.0


def test_the_mean_of_ten_minutes_forgets() -> None:
    """What is older does not count, and with nothing left the answer is 0."""
    rival = fresh(TenMinutes)
    taken(rival, 0.0, 30.0)
    taken(rival, 300.0, 60.0)
    assert rival.point(400.0, "q", 1) == 45.0
    assert rival.point(700.0, "q", 1) == 60.0
    assert rival.point(2000.0, "q", 1) == 0.0


def test_the_position_is_multiplied() -> None:
    """Two ahead and two agents: three times the handling time by two; who is less urgent does not count."""
    rival = fresh(Position)
    for n, priority in enumerate((1, 1, 2)):
        rival.joined(0.0, f"c{n}", "q", priority)
    assert rival.point(0.0, "q", 1) == 150.0
    assert rival.point(0.0, "q", 0) == 50.0
    rival.abandoned(5.0, "c0")
    assert rival.point(5.0, "q", 1) == 100.0
    taken(rival, 10.0, 0.0, handled=60.0, agent="b")
    assert rival.aht(70.0, "q") == 60.0
    taken(rival, 4000.0, 0.0, handled=80.0, agent="b")
    assert rival.aht(4080.0, "q") == 80.0


def test_without_agents_a_position_takes_as_long_as_anything_may() -> None:
    """Two hours."""
    rival = fresh(Position)
    rival.logout(1.0, "a")
    rival.logout(1.0, "b")
    assert rival.told(2.0, "q", 1) == (7200.0, 7200.0, None)


def test_places_for_chats_are_what_counts_in_their_queue() -> None:
    """Four at once are four."""
    rival = fresh(Position)
    rival.login(0.0, "c", ["chats"], 4)
    assert rival.point(0.0, "chats", 1) == 25.0


def test_genesys_knows_what_share_of_their_time_a_queue_gets() -> None:
    """Agent a works as long for the other queue: this one has half of that time."""
    rival = fresh(Genesys)
    taken(rival, 0.0, 0.0, handled=100.0)
    assert rival.point(100.0, "q", 1) == 50.0
    taken(rival, 100.0, 0.0, handled=100.0, queue="other")
    assert rival.point(200.0, "q", 1) == 100.0


def test_the_last_to_enter_is_believed() -> None:
    """By queue and priority."""
    rival = fresh(LastToEnter)
    taken(rival, 0.0, 33.0)
    taken(rival, 40.0, 11.0)
    assert (rival.point(60.0, "q", 1), rival.point(60.0, "q", 0)) == (11.0, 0.0)


def test_a_line_of_the_same_length_took_as_long() -> None:
    """The mean of those who found as many; of the nearest length in proportion when nobody did."""
    rival = fresh(SameLength)
    assert rival.point(0.0, "q", 1) == 0.0
    taken(rival, 0.0, 20.0)
    taken(rival, 30.0, 40.0)
    assert rival.point(80.0, "q", 1) == 30.0
    rival.joined(80.0, "x", "q", 1)
    assert rival.point(80.0, "q", 1) == 60.0


def test_hang_ups_shorten_the_line() -> None:
    """1/r + 1/(r + theta), with theta the guess while nothing was seen."""
    rival = fresh(WithHangUps)
    rival.joined(0.0, "c0", "q", 1)
    assert rival.point(0.0, "q", 1) == pytest.approx(50.0 + 1.0 / (2 / 100.0 + 1 / 300.0))
    rival.abandoned(0.0, "c0")
    assert rival.point(0.0, "q", 1) == pytest.approx(50.0)
    rival.joined(0.0, "c1", "q", 1)
    rival.started(60.0, "c1", "a")
    rival.joined(60.0, "c2", "q", 1)
    assert rival.point(60.0, "q", 1) == pytest.approx(50.0 + 1.0 / (2 / 100.0 + 3 / 660.0))


def test_everybody_has_a_name_of_their_own() -> None:
    """Tables are made by them."""
    everybody: list[Candidate] = [*rivals(QUEUES, 100.0, 300.0)]
    assert len({each.name for each in everybody}) == len(everybody) == 7


def test_a_trial_has_a_row_for_everybody_and_ratios_by_the_position() -> None:
    """The position formula is 1 by definition; the estimator of this house says how sure it is."""
    seen: list[str] = []
    trials = run_scenarios([SCENARIOS["small-team"], SCENARIOS["first-morning"]], [1, 2], seen.append)
    assert seen == ["small-team", "small-team", "first-morning", "first-morning"]
    whole = {row.name: row for row in summary(trials).rows}
    base = whole["position x AHT / agents"]
    assert (base.mae, base.rmse, set(base.regret.values())) == (1.0, 1.0, {1.0})
    ours = whole["Sidetone"]
    assert ours.coverage is not None
    assert 0.7 < ours.coverage < 0.9
    assert ours.mae < 1.0
    assert base.coverage is None


def test_a_ratio_to_nothing_is_not_infinite() -> None:
    """Where nobody lost anything, a hundredth of a second stands for it."""
    row = Row("position x AHT / agents", 1, 1.0, 1.0, 1.0, 0.0, None, {60: 0.0, 120: 0.0, 300: 0.0})
    [whole] = summary([Trial("t", (row,))]).rows
    assert set(whole.regret.values()) == {1.0}
