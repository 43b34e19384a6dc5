"""Alerts: raised once, over once, and nothing in between."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.alerts import KEPT, Alarms, Change, Rule

LONG = Rule(name="long line", on="queue", measure="waiting", above=10.0, lasting=60.0)
SLOW = Rule(name="slow", on="queue", measure="service_level", below=0.95, lasting=0.0)


def looks(alarms: Alarms, values: Sequence[float | None], *, step: float = 30.0, queue: str = "support") -> list[Change]:
    """Look at one queue again and again."""
    changes: list[Change] = []
    for n, value in enumerate(values):
        changes += alarms.look({"queue": (queue,)}, lambda _rule, _queue, value=value: value, n * step)  # type: ignore[misc]
    return changes


def test_it_is_raised_when_it_lasts() -> None:
    """A measure beyond the threshold for as long as the rule says raises one alert, with since when and how bad."""
    [change] = looks(Alarms([LONG]), [3, 11, 14, 12, 15])
    assert change.kind == "raised"
    assert (change.alert.since, change.alert.raised_at, change.alert.value) == (30.0, 90.0, 12)


def test_a_short_peak_raises_nothing() -> None:
    """A break in between begins the time anew."""
    assert looks(Alarms([LONG]), [11, 11, 3, 11, 11, 10, 11, 11]) == []


def test_wavering_about_the_threshold_is_one_event() -> None:
    """Neither a value just inside nor a short visit far inside ends it; being well inside for as long does."""
    alarms = Alarms([LONG])
    kinds = [change.kind for change in looks(alarms, [11, 11, 11, 10, 11, 9.5, 9.5, 9.5, 3, 11, 3, 3, 3, 3])]
    assert kinds == ["raised", "cleared"]
    assert alarms.active == ()
    [over] = alarms.over
    assert over.cleared_at == 360.0
    assert over.worst == 11


def test_the_worst_is_kept() -> None:
    """While it lasts the newest and the worst value are known, for thresholds of both sides."""
    alarms = Alarms([LONG, SLOW])
    alarms.look({"queue": ("a",)}, lambda rule, _: 20.0 if rule is LONG else 0.5, 0.0)
    alarms.look({"queue": ("a",)}, lambda rule, _: 30.0 if rule is LONG else 0.3, 60.0)
    alarms.look({"queue": ("a",)}, lambda rule, _: 12.0 if rule is LONG else 0.6, 90.0)
    found = {alert.rule: (alert.value, alert.worst) for alert in alarms.active}
    assert found == {"long line": (12.0, 30.0), "slow": (0.6, 0.3)}


def test_a_share_can_always_be_well_inside() -> None:
    """Of a threshold of 95 % no more than 100 % can be asked, so the alert ends."""
    assert [change.kind for change in looks(Alarms([SLOW]), [0.5, 0.99, 1.0])] == ["raised", "cleared"]


def test_what_is_not_known_ends_an_alert() -> None:
    """An empty line has no service level: there is nothing left to look after."""
    assert [change.kind for change in looks(Alarms([LONG]), [11, 11, 11, None, None, None])] == ["raised", "cleared"]


def test_below_with_a_plain_figure() -> None:
    """A floor for agents who are ready is watched the other way round."""
    rule = Rule(name="nobody", on="queue", measure="agents_ready", below=2.0, lasting=0.0)
    assert [change.kind for change in looks(Alarms([rule]), [2, 1, 2, 2.2])] == ["raised", "cleared"]


def test_one_person_acknowledges() -> None:
    """The first who looks after it is named; what is not raised cannot be acknowledged."""
    alarms = Alarms([LONG])
    assert not alarms.acknowledge("long line:support:60", "sue", 0.0)
    looks(alarms, [11, 11, 11])
    [alert] = alarms.active
    assert alarms.acknowledge(alert.id, "sue", 70.0)
    assert not alarms.acknowledge(alert.id, "tom", 80.0)
    assert alarms.active[0].acknowledged_by == "sue"


def test_only_the_subjects_of_a_rule() -> None:
    """A rule for one queue leaves the others alone; the service as a whole is its own subject."""
    one = Rule(name="one", on="queue", measure="waiting", above=1.0, lasting=0.0, of=("a",))
    whole = Rule(name="whole", on="service", measure="calls", above=1.0, lasting=0.0)
    alarms = Alarms([one, whole])
    changes = alarms.look({"queue": ("a", "b")}, lambda _rule, _subject: 5.0, 0.0)
    assert [(change.alert.rule, change.alert.subject) for change in changes] == [("one", "a"), ("whole", "")]


def test_what_is_gone_is_over() -> None:
    """A queue that is no more, and a rule that is no more, take their alerts with them."""
    alarms = Alarms([msgspec.structs.replace(LONG, lasting=0.0)])
    alarms.look({"queue": ("a", "b", "quiet")}, lambda _rule, subject: 0.0 if subject == "quiet" else 50.0, 0.0)
    assert [change.alert.subject for change in alarms.look({"queue": ("b",)}, lambda _rule, _subject: 50.0, 1.0)] == ["a"]
    assert [change.kind for change in alarms.watch([SLOW], 2.0)] == ["cleared"]
    assert alarms.active == ()
    assert [rule.name for rule in alarms.rules] == ["slow"]


def test_a_restart_raises_nothing_twice() -> None:
    """What was raised and what is over are known again; an alert of a rule that is gone is over."""
    alarms = Alarms([LONG, SLOW])
    for now in (0.0, 30.0, 60.0):
        alarms.look({"queue": ("support",)}, lambda rule, _: 11.0 if rule is LONG else 0.1, now)
    saved = msgspec.json.decode(msgspec.json.encode(alarms.save()))
    again = Alarms([LONG])
    again.restore(saved, 100.0)
    assert {alert.rule for alert in again.active} == {"long line"}
    assert again.look({"queue": ("support",)}, lambda _rule, _subject: 11.0, 130.0) == []
    gone = Alarms([])
    assert {change.kind for change in gone.restore(saved, 100.0)} == {"cleared"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"measure": "weather", "above": 1.0},
        {"measure": "waiting"},
        {"measure": "waiting", "above": 1.0, "below": 2.0},
    ],
)
def test_a_rule_that_means_nothing_is_refused(wrong: dict[str, float]) -> None:
    """An unknown measure, no threshold or two of them."""
    with pytest.raises(ValueError, match=r"measure|above or below"):
        Rule(name="wrong", on="queue", **wrong)  # type: ignore[arg-type]


@given(
    st.lists(st.one_of(st.none(), st.floats(0, 30)), max_size=60),
    st.floats(0, 200),
    st.floats(1, 60),
)
def test_raised_and_cleared_take_turns(values: list[float | None], lasting: float, step: float) -> None:
    """Whatever is measured, an alert is raised, then over, then raised; and it never ends in less than its time."""
    alarms = Alarms([msgspec.structs.replace(LONG, lasting=lasting)])
    changes = looks(alarms, values, step=step)
    kinds = [change.kind for change in changes]
    assert kinds == ["raised" if n % 2 == 0 else "cleared" for n in range(len(kinds))]
    for change in changes:
        assert change.alert.raised_at - change.alert.since >= lasting
        if change.alert.cleared_at is not None:
            assert change.alert.cleared_at - change.alert.raised_at >= lasting
    assert len(alarms.active) == (kinds.count("raised") - kinds.count("cleared"))
    assert len({change.alert.id for change in changes if change.kind == "raised"}) == kinds.count("raised")


def test_the_history_is_limited() -> None:
    """Old alerts make room for new ones."""
    alarms = Alarms([msgspec.structs.replace(LONG, lasting=0.0)])
    looks(alarms, [50.0, 0.0] * (KEPT + 5))
    assert len(alarms.over) == KEPT
    assert alarms.over[0].raised_at > alarms.over[-1].raised_at
