"""`sidetone bench ewt`: how well waits are estimated, here and by the formulas of the field."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bridge.bench import SCENARIOS, CallLogError, Row, Trial, read_log, run_bank, run_scenarios, summary
from bridge.bench.bank import DAY
from bridge.hindsight import THRESHOLDS

bench_commands = typer.Typer(no_args_is_help=True, help="Measure.")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

WIDTH = 80
"""Columns that the tables need at most."""
ScenarioName = StrEnum("ScenarioName", {name.replace("-", "_").upper(): name for name in SCENARIOS})  # type: ignore[misc]  # typer wants an enumeration, and the names are data
LEGEND = "at T: regret, the seconds lost per contact by deciding wrongly whether T will be reached."
SHORT = {
    "Asterisk's average": "Ast.",
    "10-minute mean": "10min",
    "last to enter (LES)": "LES",
    "same length (AvgC-LES)": "AvgC",
    "position x AHT / agents": "pos.",
    "Genesys-like": "Gen.",
    "hang-ups too (QL_m)": "QL_m",
    "Sidetone": "here",
    "Sidetone with plan": "+plan",
}
"""Heads of narrow columns."""


@bench_commands.callback()
def bench() -> None:
    """Measure."""


@bench_commands.command()
def ewt(
    scenario: Annotated[list[ScenarioName] | None, typer.Option(help="Only this; may be given more than once.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Days of each scenario.")] = 3,
    bank: Annotated[
        Path | None, typer.Option(help="Score a log of calls (CSV, also gzipped; columns: docs/ewt.md) instead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Let the estimator and the formulas of the field live through the same days, and print how far off they were."""
    if bank is not None:
        trials = [_bank(bank)]
    else:
        names = [each.value for each in scenario] if scenario else list(SCENARIOS)
        trials = _scenarios(names, seeds)
    whole = summary(trials) if len(trials) > 1 else None
    if as_json:
        documents = [_document(trial) for trial in trials]
        sys.stdout.write(json.dumps({"trials": documents, "summary": whole and _document(whole)}, indent=2) + "\n")
        return
    if whole is None or scenario:
        for trial in trials:
            out.print(_figures(trial))
    if whole is not None:
        if not scenario:
            out.print(_overview(trials))
        out.print(_ratios(whole))


def _scenarios(names: Sequence[str], seeds: int) -> list[Trial]:
    with _progress() as progress:
        task = progress.add_task("", total=len(names) * seeds)
        return run_scenarios(
            [SCENARIOS[name] for name in names],
            range(1, seeds + 1),
            lambda name: progress.update(task, advance=1, description=name),
        )


def _bank(path: Path) -> Trial:
    try:
        calls = read_log(path)
    except (CallLogError, OSError) as error:
        err.print(str(error), style="red", markup=False)
        raise typer.Exit(2) from error
    if not calls:
        err.print(f"{path}: there are no calls in it.", style="red", markup=False)
        raise typer.Exit(2)
    with _progress() as progress:
        task = progress.add_task(path.name, total=len({call.at // DAY for call in calls}))
        return run_bank(path.name, calls, lambda: progress.update(task, advance=1))


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description:>16}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


def _document(trial: Trial) -> dict[str, Any]:
    return {"name": trial.name, "rows": [asdict(row) for row in trial.rows]}


# --- tables


def _figures(trial: Trial) -> Table:
    scenario = SCENARIOS.get(trial.name)
    about = "" if scenario is None else f": {scenario.about}"
    first = trial.rows[0] if trial.rows else None
    caption = "" if first is None else f"{first.n:,.0f} who had to wait, {first.mean_wait:.0f} s on average. {LEGEND}"
    table = _table(f"{trial.name}{about}", caption)
    for row in trial.rows:
        table.add_row(*_cells(row, f"{row.bias:+.0f}", _seconds), style=_style(row.name))
    return table


def _ratios(whole: Trial) -> Table:
    table = _table(
        "All of them",
        f"As multiples of position x AHT / agents (geometric means); bias by the mean wait. {LEGEND}",
    )
    for row in whole.rows:
        table.add_row(*_cells(row, f"{row.bias:.2f}", "{:.2f}".format), style=_style(row.name))
    return table


def _table(title: str, caption: str) -> Table:
    table = Table(
        title=title, caption=caption, box=None, width=WIDTH, title_justify="left", caption_justify="left", pad_edge=False
    )
    table.add_column("")
    for name in ("MAE", "RMSE", "bias", *(f"at {limit}" for limit in THRESHOLDS), "p10-90"):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _cells(row: Row, bias: str, number: Any) -> list[str]:
    regret = [number(row.regret[limit]) for limit in THRESHOLDS]
    coverage = "" if row.coverage is None else f"{row.coverage:.2f}"
    return [row.name, number(row.mae), number(row.rmse), bias, *regret, coverage]


def _overview(trials: Sequence[Trial]) -> Table:
    """Mean absolute errors of all in all scenarios."""
    table = Table(
        title="Mean absolute error, seconds",
        caption="wait: the mean wait of who had to wait. `--scenario NAME` shows everything about one.",
        box=None,
        width=WIDTH,
        title_justify="left",
        caption_justify="left",
        pad_edge=False,
    )
    table.add_column("")
    table.add_column("wait", justify="right", style="dim")
    for row in trials[0].rows:
        table.add_column(SHORT[row.name], justify="right", no_wrap=True, style=_style(row.name))
    for trial in trials:
        table.add_row(trial.name, f"{trial.rows[0].mean_wait:.0f}", *(_seconds(row.mae) for row in trial.rows))
    return table


def _seconds(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 10 else f"{value:.0f}"


def _style(name: str) -> str:
    return "bold" if name.startswith("Sidetone") else ""
