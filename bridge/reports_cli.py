"""`sidetone reports`: count everything anew."""

import asyncio
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bridge.journal import Journal, JournalError
from bridge.settings import SettingsError, load_settings

reports_commands = typer.Typer(no_args_is_help=True, help="What reports count.")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


@reports_commands.callback()
def _several() -> None:
    """What reports count."""


@reports_commands.command("rebuild")
def rebuild(
    config: Annotated[Path, typer.Option("--config", "-c", help="Settings file.")] = Path("config/sidetone.yaml"),
) -> None:
    """Throw away what was counted and count it again from the journal, with the server running or not."""
    try:
        settings = load_settings(config)
        began = time.monotonic()
        sessions = asyncio.run(_rebuild(settings.journal_url))
    except (SettingsError, JournalError) as error:
        err.print(str(error), style="red", markup=False)
        raise typer.Exit(2) from error
    out.print(f"{sessions} sessions counted in {time.monotonic() - began:.1f} s.", markup=False)


async def _rebuild(url: str) -> int:
    async with Journal.open(url) as journal:
        await journal.forget_facts()
        return await journal.catch_up()
