"""`sidetone contacts`: bring people in from a CSV file, with the server running or not."""

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from bridge.crm.csv_import import CsvImports, ImportRefusedError
from bridge.crm.csv_import import Progress as Import
from bridge.crm.csv_rows import FIELDS
from bridge.journal import Journal, JournalError
from bridge.logs import set_up_logs
from bridge.settings import Settings, SettingsError, load_settings

contacts_commands = typer.Typer(no_args_is_help=True, help="The people who call and text.")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
LOOK_AGAIN = 0.1
"""Seconds between two looks at how far it has come."""


@contacts_commands.callback()
def _several() -> None:
    """The people who call and text."""


@contacts_commands.command("import")
def bring_in(
    file: Annotated[Path, typer.Argument(help="CSV file whose first line names the columns.", exists=True, dir_okay=False)],
    config: Annotated[Path, typer.Option("--config", "-c", help="Settings file.")] = Path("config/sidetone.yaml"),
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", help=f"COLUMN=FIELD, again for each; FIELD is one of {', '.join(FIELDS)}, or - to leave it out."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be, and change nothing.")] = False,
    errors: Annotated[Path | None, typer.Option(help="Where the report of what was left out goes.")] = None,
) -> None:
    """Make and change contacts as a file says. The same file again changes nothing.

    Ends with status 1 when rows were left out, and 2 when nothing could be done.
    """
    try:
        settings = load_settings(config)
        set_up_logs(settings.log, "warning")
        chosen = _mapping(mapping or [])
        done = asyncio.run(_import(settings, file, chosen, dry_run=dry_run, report=errors))
    except (SettingsError, ImportRefusedError, JournalError, OSError) as error:
        err.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2) from error
    table = Table("new", "changed", "as they were", "left out", box=None)
    table.add_row(str(done.created), str(done.changed), str(done.same), str(done.wrong))
    out.print("Tried out; nothing has been changed." if dry_run else "Imported.")
    out.print(table)
    if done.state == "failed":
        err.print(f"It could not be finished: {done.problem}", style="red", markup=False)
        raise typer.Exit(2)
    raise typer.Exit(1 if done.wrong else 0)


def _mapping(given: list[str]) -> dict[str, str]:
    chosen = {}
    for each in given:
        column, sign, field = each.rpartition("=")
        if not sign or field not in {*FIELDS, "-"}:
            raise ImportRefusedError(f"--map {each}: write COLUMN=FIELD; FIELD is one of {', '.join(FIELDS)}, or -.")
        chosen[column] = field
    return chosen


async def _import(settings: Settings, file: Path, chosen: dict[str, str], *, dry_run: bool, report: Path | None) -> Import:
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix="sidetone-import-") as folder:
        async with Journal.open(settings.journal_url) as journal:
            imports = CsvImports(journal, Path(folder), clock=time.time, region=settings.country)
            copy = Path(folder) / "file.csv"
            await asyncio.to_thread(shutil.copyfile, file, copy)
            taken = await imports.take(file.name, copy)
            mapping = {**taken.mapping, **chosen}
            imports.start(taken.id, {column: field for column, field in mapping.items() if field != "-"}, "cli", dry_run=dry_run)
            done = await _watch(imports, taken)
            if report is not None:
                await asyncio.to_thread(report.write_bytes, b"".join([chunk async for chunk in imports.errors(taken.id)]))
            await imports.close()
    return done


async def _watch(imports: CsvImports, taken: Import) -> Import:
    with Progress("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=err) as bar:
        task = bar.add_task(taken.file, total=taken.rows)
        while True:
            now = imports.state(taken.id)
            assert now is not None, "it has just been taken"
            bar.update(task, completed=now.done)
            if now.state != "running":
                return now
            await asyncio.sleep(LOOK_AGAIN)
