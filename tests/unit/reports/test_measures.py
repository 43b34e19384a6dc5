"""Figures are made of counted things as their formulas say."""

from pathlib import Path

import pytest

from bridge.reports.definitions import COUNTED, MEASURES, REPORTS
from bridge.reports.measures import Tally, figure, figures, needed, percentile
from bridge.reports.presence import Stay, Work, slice_time
from scripts import figures_table

ROOT = Path(__file__).parents[3]


def test_every_figure_is_made_of_things_that_are_counted() -> None:
    """And says so in its formula; a ratio has both of its sides."""
    for measure in MEASURES.values():
        assert {*measure.top, *measure.bottom} <= set(COUNTED)
        assert bool(measure.bottom) == (measure.how == "ratio")
        assert all(name in measure.formula for name in (*measure.top, *measure.bottom))
        assert measure.words.endswith(".")
    assert needed(MEASURES) <= set(COUNTED)


def test_every_report_shows_figures_that_there_are() -> None:
    """In tiles, columns and charts."""
    for report in REPORTS.values():
        assert set(report.tiles) <= set(MEASURES)
        assert set(report.columns) <= set(MEASURES)
        assert {ident for chart in report.charts for ident in chart} <= set(MEASURES)


def test_the_three_service_levels_differ_in_who_hung_up() -> None:
    """20 answered, 15 in time; 4 hung up late, 1 soon, both short ones within the target."""
    tally = Tally(
        {"answered": 20, "answered_in_time": 15, "abandoned": 4, "short_abandoned": 1, "abandoned_in_time": 2, "offered": 25}
    )
    shown = figures(
        ("service_level", "service_level_answered", "service_level_eligible", "abandon_rate", "abandon_rate_offered"), tally
    )
    assert shown == {
        "service_level": pytest.approx(17 / 25),
        "service_level_answered": pytest.approx(15 / 20),
        "service_level_eligible": pytest.approx(15 / 24),
        "abandon_rate": pytest.approx(4 / 24),
        "abandon_rate_offered": pytest.approx(5 / 25),
    }


def test_nothing_through_nothing_is_no_figure() -> None:
    """A rate of nobody is unknown, a count of nobody is zero."""
    assert figures(("asa", "offered", "first_response_p50", "longest_wait"), Tally()) == {
        "asa": None,
        "offered": 0.0,
        "first_response_p50": None,
        "longest_wait": 0.0,
    }


@pytest.mark.parametrize(
    ("values", "share", "expected"), [([3, 1, 2], 0.5, 2), (list(range(1, 11)), 0.9, 9), ([7], 0.9, 7), ([], 0.5, None)]
)
def test_percentiles_are_values_that_there_were(values: list[float], share: float, expected: float | None) -> None:
    """Nearest rank."""
    assert percentile(values, share) == expected


def test_tallies_add_up_but_the_longest_stays_the_longest() -> None:
    """And single values are kept for percentiles."""
    one = Tally({"offered": 2, "longest_wait": 9.0}, {"first_response": [5.0]})
    one.take(Tally({"offered": 1, "longest_wait": 4.0}, {"first_response": [1.0]}))
    assert one.sums == {"offered": 3, "longest_wait": 9.0}
    assert figure(MEASURES["first_response_p50"], one) == 1.0


def test_an_agent_with_three_things_at_once_is_busy_once() -> None:
    """Ready from 0; a call and two chats overlap; away from 80."""
    sums = slice_time(
        [Stay("ann", 0.0, "ready"), Stay("ann", 80.0, "offline")],
        [Work("ann", 10.0, 40.0, True), Work("ann", 20.0, 50.0, False), Work("ann", 30.0, 60.0, False)],
        (0.0, 50.0),
        100.0,
    )
    assert sums[0, "ann"] == {
        "logged_in": 50.0, "ready": 50.0, "idle": 10.0, "busy": 40.0, "chat_seconds": 50.0, "chatting": 30.0,
    }  # fmt: skip
    assert sums[1, "ann"] == {
        "logged_in": 30.0, "ready": 30.0, "idle": 20.0, "busy": 10.0, "chat_seconds": 10.0, "chatting": 10.0,
    }  # fmt: skip


def test_of_the_time_to_come_nothing_is_counted() -> None:
    """Now is before the range, or within it."""
    assert slice_time([Stay("ann", 0.0, "ready")], [], (50.0, 60.0), 40.0) == {}
    assert set(slice_time([Stay("ann", 0.0, "wrap_up")], [], (50.0, 60.0), 60.0)) == {(0, "ann")}


def test_the_page_about_reports_says_what_the_code_does() -> None:
    """`docs/reports.md` lists every report, figure and counted thing; `make docs` writes it anew."""
    page = (ROOT / "docs" / "reports.md").read_text(encoding="utf-8")
    assert page == figures_table.page_with_tables(page)


def test_what_is_outside_the_range_is_left_out() -> None:
    """States that come later, work that was over before, a span in which nobody was known."""
    sums = slice_time(
        [Stay("ann", 15.0, "not_ready"), Stay("ann", 50.0, "ready")],
        [Work("ann", 0.0, 5.0, True), Work("ann", 12.0, 14.0, True)],
        (10.0, 20.0),
        30.0,
    )
    assert sums == {(0, "ann"): {"logged_in": 5.0, "not_ready": 5.0}, (1, "ann"): {"logged_in": 10.0, "not_ready": 10.0}}
    assert slice_time([Stay("ann", 25.0, "offline")], [], (10.0, 20.0), 30.0) == {}
