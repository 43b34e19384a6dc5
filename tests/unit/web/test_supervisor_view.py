"""Which rows are chosen, how they are masked, and what the words of the boards are."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.alerts import Alert
from bridge.web.console.supervisor_view import (
    SORTS,
    Row,
    View,
    chosen,
    curve,
    discreet,
    key_of,
    view_of,
    without_customer,
)
from bridge.web.console.supervisor_words import (
    alert_words,
    definitions,
    reason_words,
    standing_words,
    start_words,
    state_words,
    trouble_words,
    wait_words,
)
from tests.unit.web.conftest import NOW
from tests.unit.web.supervisor_fakes import MARKUP, NUMBER, FakeSupervising, snapshot

PICTURE = snapshot(NOW)
ALL: dict[str, tuple[Row, ...]] = {"agents": PICTURE.agents, "queues": PICTURE.queues, "sessions": PICTURE.sessions}
NAMES = FakeSupervising(NOW).name_of


@given(
    st.dictionaries(
        st.sampled_from(["board", "phase", "words", "sort", "down", "team", "x"]), st.text() | st.integers() | st.none()
    )
)
def test_whatever_is_asked_for_is_a_view(wish: dict[str, Any]) -> None:
    """Nonsense becomes the usual view, and every view can be shown."""
    view = view_of(wish)
    rows = ALL.get(view.board)
    if rows is not None:
        assert {key_of(row) for row in chosen(view, rows, NAMES, numbers=True)} <= {key_of(row) for row in rows}


@pytest.mark.parametrize("board", list(SORTS))
def test_every_column_sorts_both_ways(board: Any) -> None:
    """All rows are there whichever way a board is sorted."""
    for sort in SORTS[board]:
        for down in (False, True):
            view = View(board=board, phase="now", sort=sort, down=down)
            assert len(chosen(view, ALL[board], NAMES, numbers=True)) == (1 if board == "sessions" else 2)


def test_filters_of_agents() -> None:
    """By state, by whether they work, by team, queue and words."""
    for fields, found in (
        ({"state": "not_ready"}, ["ben"]),
        ({"state": "busy"}, ["ana"]),
        ({"team": "day"}, ["ana"]),
        ({"queue": "elsewhere"}, []),
        ({"words": "lunch ben"}, ["ben"]),
        ({"words": "maria"}, ["ana"]),
    ):
        view = view_of({"board": "agents", **fields})
        assert [key_of(row) for row in chosen(view, PICTURE.agents, NAMES, numbers=True)] == found, fields
    view = view_of({"board": "agents", "words": "maria"})
    assert chosen(view, PICTURE.agents, NAMES, numbers=False) == []
    assert [key_of(row) for row in chosen(View(board="queues", words="sms"), PICTURE.queues, NAMES, numbers=False)] == ["texts"]


def test_a_discreet_row_names_nobody() -> None:
    """Numbers keep a few digits, names are left out, queues are as they were."""
    for row in (*ALL["agents"], *ALL["sessions"]):
        text = msgspec.json.encode(discreet(row)).decode()
        assert NUMBER not in text
        assert MARKUP not in text
    assert discreet(PICTURE.queues[0]) is PICTURE.queues[0]


def test_json_without_the_customer() -> None:
    """What people wrote is left out wherever it stands, numbers are masked, all else stays."""
    told = {
        "body": "My secret",
        "words": f"Call {NUMBER}",
        "n": 3,
        "media": [{"digest": "d"}],
        "card": {"a": 1},
        "list": ["x"],
        "note": "",
    }
    assert without_customer(told) == {
        "body": "…", "words": "Call +1555***0123", "n": 3, "media": [], "card": "…", "list": ["x"], "note": "",
    }  # fmt: skip


def test_the_curve_fits_its_place() -> None:
    """Nothing to draw without two points or anybody waiting."""
    assert (curve(()), curve((1,)), curve((0, 0))) == ("", "", "")
    points = [tuple(map(float, point.split(","))) for point in curve((0, 8, 4)).split()]
    assert [x for x, _ in points] == [0.0, 45.0, 90.0]
    assert all(0 <= y <= 22 for _, y in points)


def test_what_a_newcomer_is_told_to_wait() -> None:
    """Each state of the forecast has its words, and says on what it rests."""
    row = PICTURE.queues[0]
    words = {
        status: wait_words(msgspec.structs.replace(row, status=status))
        for status in ("ok", "free_agent", "no_agents", "degraded")
    }
    assert words["ok"] == ("1 min to 3 min", "1 ahead, 2 places of work; learned from what was served")
    assert words["free_agent"][0] == "none"
    assert "guess how long" in words["no_agents"][1]
    assert words["degraded"][0] == "?"
    assert wait_words(msgspec.structs.replace(row, p50=20.0, p90=45.0))[0] == "20 s to 45 s"


def test_words_of_states_and_reasons() -> None:
    """Everything that is known has words of its own, and what is not is at least readable."""
    ana = PICTURE.agents[0]
    assert state_words(ana) == "In chats"
    assert state_words(msgspec.structs.replace(ana, calls=1)) == "On a call"
    assert state_words(msgspec.structs.replace(ana, ringing=True)) == "Ringing"
    assert state_words(PICTURE.agents[1]) == "Not ready"
    assert reason_words("agent_free") == "An agent is free."
    assert (reason_words("full_moon"), standing_words("on_the_moon"), trouble_words("full_moon")) == (
        "Full moon", "on the moon", "full moon",
    )  # fmt: skip
    assert start_words("auto") == "Given without ringing"
    assert start_words("") == ""
    assert len(definitions()) > 15


@pytest.mark.parametrize(
    ("measure", "value", "words"),
    [
        ("longest_wait", 95.0, "Support: longest wait 1 min 35 s"),
        ("service_level", 0.5, "Support: service level 50%"),
        ("waiting", 12.0, "Support: waiting 12"),
        ("moonlight", 1.5, "Support: moonlight 1.5"),
    ],
)
def test_words_of_alerts(measure: str, value: float, words: str) -> None:
    """What is measured, of what, and how much it is."""
    alert = Alert("id", "Rule", "queue", "support", measure, 0.0, 0.0, 0.0, value, value)
    assert alert_words(alert, lambda _kind, subject: subject.capitalize()) == words
    assert not alert_words(alert, lambda _kind, _subject: "").startswith(":")
