"""The `sidetone` command."""

import asyncio
import gc
import json
import resource
import signal
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from bridge import app as composition
from bridge import demo as demonstration
from bridge import headless
from bridge.bench_cli import bench_commands
from bridge.cluster import ClusterSecretError, ClusterUnavailableError, ClusterVersionError
from bridge.contacts_cli import contacts_commands
from bridge.ewt_cli import ewt_commands
from bridge.flow_cli import flow_commands
from bridge.house_cli import settings_commands, user_commands
from bridge.journal import JournalError, upgrade
from bridge.journal.moving import move
from bridge.logs import set_up_logs
from bridge.reports_cli import reports_commands
from bridge.secret import SecretError
from bridge.settings import Settings, SettingsError, is_loopback, load_settings
from ivr_flows.loader import FlowErrors
from sms.menu_loader import MenuErrors

main = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="IVR plus SMS, one session.")
main.add_typer(flow_commands, name="flow")
main.add_typer(contacts_commands, name="contacts")
main.add_typer(reports_commands, name="reports")
main.add_typer(bench_commands, name="bench")
main.add_typer(settings_commands, name="settings")
main.add_typer(user_commands, name="user")
main.add_typer(ewt_commands, name="ewt")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Config = Annotated[Path, typer.Option("--config", "-c", help="Settings file.", show_default=True)]
FILES = 65_536
"""Files and sockets the process may have open, where the system lets it."""
DEFAULT_CONFIG = Path("config/sidetone.yaml")
UNFIT = (
    SettingsError,
    FlowErrors,
    MenuErrors,
    JournalError,
    SecretError,
    ClusterVersionError,
    ClusterSecretError,
    ClusterUnavailableError,
    OSError,
)
"""What can be wrong with what we are given to start with: told in words, without a traceback."""


def settings_from(path: Path) -> Settings:
    """Load settings, or say what is wrong with them and exit with status 2."""
    try:
        return load_settings(path)
    except SettingsError as error:
        err.print(str(error), style="red", markup=False)
        raise typer.Exit(2) from error


@main.command()
def serve(config: Config = DEFAULT_CONFIG) -> None:
    """Run the server until SIGTERM or Ctrl-C; then finish calls in progress and stop. A second one does not wait for them."""
    settings = settings_from(config)
    set_up_logs(settings.log, settings.log_level)
    raise typer.Exit(_run(_serve(settings)))


async def _serve(settings: Settings) -> int:
    stop, hurry = asyncio.Event(), asyncio.Event()

    def asked() -> None:
        """The first signal asks to finish, the second not to wait for that."""
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked)
    async with composition.running(settings) as server:
        out.print(f"Sidetone is up. Desk: {server.web_url}/", markup=False)
        # What stands now stands for good: the collector need not look at it, and a pause would be heard in every call.
        gc.collect()
        gc.freeze()
        await stop.wait()
        waiting = {asyncio.create_task(server.drain()), asyncio.create_task(hurry.wait())}
        done, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        await asyncio.gather(*done)
    return 0


@main.command()
def demo(
    by_machine: Annotated[bool, typer.Option("--headless", help="Play the four stories by machine and check them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --headless: end with a JSON summary.")] = False,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Settings; default: the packaged demo.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep what happens in the data folder, and begin with it.")] = False,
) -> None:
    """Bring up everything on this machine, with a demo flow and simulated agents, and say where to look and dial."""
    settings = settings_from(config or demonstration.packaged_settings())
    if not (is_loopback(settings.web.host) and is_loopback(settings.sip.host)):
        err.print("The demonstration is for this machine only: its passwords are known to everybody.", style="red")
        raise typer.Exit(2)
    set_up_logs(settings.log, settings.log_level)
    if not by_machine:
        with tempfile.TemporaryDirectory(prefix="sidetone-") as fresh:
            stage = settings if keep else settings.model_copy(update={"data": Path(fresh)})
            status = _run(demonstration.interactive(stage, out))
        raise typer.Exit(status)
    progress = err if as_json else out
    raise typer.Exit(_run(_headless(settings, progress, as_json=as_json)))


async def _headless(settings: Settings, progress: Console, *, as_json: bool) -> int:
    summary = await headless.play(settings, lambda line: progress.print(line, markup=False))
    if as_json:
        sys.stdout.write(json.dumps(summary, indent=2) + "\n")
    return 0 if summary["held"] else 1


@main.command()
def migrate(
    config: Config = DEFAULT_CONFIG,
    source: Annotated[str | None, typer.Option("--from", help="Move a journal: where it is (sqlite:///PATH).")] = None,
    target: Annotated[str | None, typer.Option("--to", help="Move a journal: an empty database (postgresql://...).")] = None,
) -> None:
    """Bring the journal's schema up to date (`serve` does it by itself), or move a journal to another database."""
    if source is not None or target is not None:
        _move(source, target)
        return
    settings = settings_from(config)
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        asyncio.run(upgrade(settings.journal_url))
    except JournalError as error:
        err.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error
    out.print("The journal's schema is up to date.")


def _move(source: str | None, target: str | None) -> None:
    if source is None or target is None:
        err.print("A move needs both --from and --to.", style="red")
        raise typer.Exit(2)
    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(table: str, over: int, count: int) -> None:
            if not count:
                return
            if table not in tasks:
                tasks[table] = bar.add_task(table, total=count)
            bar.update(tasks[table], completed=over)

        try:
            checked = move(source, target, progress=progress)
        except JournalError as error:
            bar.stop()
            err.print(str(error), style="red", markup=False)
            raise typer.Exit(1) from error
    rows = sum(each.rows for each in checked)
    out.print(f"Moved {rows} rows of {len(checked)} tables, and compared them by count and checksum: they are the same.")
    out.print("Set journal.url to the new address and start the server. The old journal is as it was.")


@main.command()
def password() -> None:
    """Ask for a password and print its argon2id hash, for `agents: - password_hash:`."""
    from argon2 import PasswordHasher  # noqa: PLC0415  only this command needs it

    words = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    out.print(PasswordHasher().hash(words), markup=False, soft_wrap=True)


@main.command()
def phone(
    target: Annotated[str, typer.Argument(help="Number to dial.")] = "+15550100200",
    server: Annotated[str, typer.Option(help="Host of the SIP server.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="UDP port of the SIP server.")] = 5060,
    user: Annotated[str, typer.Option(help="Own number; the server takes it for the caller's.")] = "+15550100123",
    keys: Annotated[str, typer.Option(help="Keys to press by itself; a comma waits two seconds.")] = "",
    record: Annotated[Path | None, typer.Option(help="WAV file for what is heard.")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds after which to hang up.")] = None,
) -> None:
    """Dial over SIP from the terminal (needs the extra `phone`)."""
    try:
        from bridge.phone import run_phone  # noqa: PLC0415  an extra
    except ImportError as error:
        err.print("This needs pyVoIP: install the extra with `pip install sidetone[phone]`.", style="red")
        raise typer.Exit(2) from error
    raise typer.Exit(run_phone(target, user=user, server=server, port=port, keys=keys, record=record, duration=duration))


@main.command()
def doctor(config: Config = DEFAULT_CONFIG) -> None:
    """Check the settings, the flows and the ports without starting anything."""
    settings = settings_from(config)
    checks = Table("check", "result", box=None)
    failed = False
    for name, problem in composition.examine(settings):
        failed = failed or problem is not None
        checks.add_row(name, "[green]ok[/]" if problem is None else f"[red]{escape(problem)}[/]")
    out.print(checks)
    raise typer.Exit(1 if failed else 0)


def _run(work: Coroutine[Any, Any, int]) -> int:
    """Run until done; says what could not be started instead of showing a traceback."""
    # A thousand calls with their agents are two thousand sockets; where people log in by hand a process gets 1024 at first.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        return uvloop.run(work)
    except KeyboardInterrupt:
        return 0
    except BaseExceptionGroup as errors:
        ours = errors.subgroup(UNFIT)
        if ours is None:
            raise
        for error in _leaves(ours):
            err.print(str(error), style="red", markup=False)
    except UNFIT as error:
        err.print(str(error), style="red", markup=False)
    return 1


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
