"""`sidetone bench ewt` as a person and as a program sees it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bridge.bench.bank import COLUMNS
from bridge.bench_cli import bench_commands


@pytest.fixture
def terminal() -> CliRunner:
    """80 columns, no colours."""
    return CliRunner(env={"COLUMNS": "80", "TERM": "dumb"})


def test_two_scenarios_fit_a_terminal(terminal: CliRunner) -> None:
    """A table for each, one for both, and nothing is cut off."""
    done = terminal.invoke(
        bench_commands, ["ewt", "--scenario", "first-morning", "--scenario", "chat-desk", "--seeds", "1"], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert all(len(line) <= 80 for line in done.output.splitlines())
    assert "…" not in done.output
    for words in ("first-morning: No past", "chat-desk: A desk", "All of them", "same length (AvgC-LES)", "Sidetone with plan"):
        assert words in done.output


def test_all_of_them_are_shown_at_one_glance(terminal: CliRunner) -> None:
    """Errors by scenario, and what it comes to."""
    done = terminal.invoke(bench_commands, ["ewt", "--seeds", "1"], catch_exceptions=False)
    assert "Mean absolute error" in done.output
    assert "All of them" in done.output
    assert all(len(line) <= 80 for line in done.output.splitlines())
    assert "…" not in done.output


def test_a_program_gets_json(terminal: CliRunner) -> None:
    """Trials and, of more than one, a summary."""
    done = terminal.invoke(bench_commands, ["ewt", "--scenario", "small-team", "--seeds", "1", "--json"], catch_exceptions=False)
    document = json.loads(done.stdout)
    assert document["summary"] is None
    [trial] = document["trials"]
    assert trial["name"] == "small-team"
    assert {"name", "mae", "rmse", "bias", "coverage", "regret", "n", "mean_wait"} == set(trial["rows"][0])


def test_a_log_is_scored_and_what_is_none_is_refused(terminal: CliRunner, tmp_path: Path) -> None:
    """Status 2, with words."""
    path = tmp_path / "log.csv"
    path.write_text(
        ",".join(COLUMNS) + "\n" + "".join(f"jan,1,{n * 60},PS,1,{n},S,90,a\n" for n in range(1, 30)), encoding="utf-8"
    )
    done = terminal.invoke(bench_commands, ["ewt", "--bank", str(path)], catch_exceptions=False)
    assert (done.exit_code, "log.csv" in done.output) == (0, True)
    path.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    assert terminal.invoke(bench_commands, ["ewt", "--bank", str(path)]).exit_code == 2
    assert terminal.invoke(bench_commands, ["ewt", "--bank", str(tmp_path / "none.csv")]).exit_code == 2
