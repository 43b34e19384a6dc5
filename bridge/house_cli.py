"""`sidetone settings …` and `sidetone user …`: what the administration pages do, from this machine's command line."""

import asyncio
import getpass
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from bridge.administration.people import People
from bridge.administration.publishing import in_words, settings_in_force, shown
from bridge.journal import Journal, JournalError
from bridge.journal.house import Draft, DraftMovedError, Entry, Revision
from bridge.published import check, differences, of_file, written
from bridge.settings import DocumentError, Settings, SettingsError, load_settings
from bridge.web.ports_admin import AdminRefusedError, By, Person

T = TypeVar("T")
settings_commands = typer.Typer(no_args_is_help=True, help="Settings that are published: export, compare, publish, go back.")
user_commands = typer.Typer(no_args_is_help=True, help="People who sign in: passwords, locks, bars.")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Config = Annotated[Path, typer.Option("--config", "-c", help="Settings file.", show_default=True)]
DEFAULT_CONFIG = Path("config/sidetone.yaml")
Note = Annotated[str, typer.Option("--note", "-m", help="Why, for the list of revisions.")]
SOON = "A server that is running goes by it within seconds."


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Do it, or say what is wrong and exit with status 1."""
    try:
        return asyncio.run(work)
    except DocumentError as error:
        for problem in error.problems:
            err.print(problem.at("settings"), style="red", markup=False)
    except (SettingsError, JournalError, AdminRefusedError, OSError) as error:
        err.print(str(error), style="red", markup=False)
    raise typer.Exit(1)


def _by() -> By:
    return By(f"command line ({getpass.getuser()})")


@asynccontextmanager
async def _house(config: Path) -> AsyncIterator[tuple[Settings, Journal]]:
    """The file's settings and the journal."""
    base = load_settings(config)
    base.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with Journal.open(base.journal_url) as journal:
        yield base, journal


@settings_commands.command("export")
def export(
    config: Config = DEFAULT_CONFIG,
    file: Annotated[bool, typer.Option("--file", help="What the settings file says, with its comments.")] = False,
    revision: Annotated[int | None, typer.Option(help="An older revision.")] = None,
) -> None:
    """Print what is published (or, before anything is, what the file says) as YAML."""

    async def work() -> str:
        async with _house(config) as (_base, journal):
            if revision is not None:
                found = await journal.revision(revision)
                if found is None:
                    raise AdminRefusedError(f"There is no revision {revision}.")
                return found.text
            newest = None if file else await journal.newest_revision()
            return of_file(config.read_text(encoding="utf-8")) if newest is None else newest.text

    out.print(_run(work()), end="", markup=False, soft_wrap=True)


@settings_commands.command("diff")
def diff(
    document: Annotated[Path, typer.Argument(help="A document, as `export` prints it.")], config: Config = DEFAULT_CONFIG
) -> None:
    """Say what would change if a document were published, or what is wrong with it."""

    async def work() -> list[str]:
        async with _house(config) as (base, journal):
            now, _ = await settings_in_force(journal, base)
            text = document.read_text(encoding="utf-8")
            return [in_words(change) for change in differences(now, check(text, base))]

    lines = _run(work())
    for line in lines or ["Nothing would change."]:
        out.print(line, markup=False, soft_wrap=True)


@settings_commands.command("publish")
def publish(
    document: Annotated[Path, typer.Argument(help="A document, as `export` prints it.")],
    config: Config = DEFAULT_CONFIG,
    note: Note = "",
) -> None:
    """Check a document and let it hold from now on."""
    text = document.read_text(encoding="utf-8")
    n = _run(_publish(config, text, note, None))
    out.print(f"Revision {n} is published. {SOON}")


@settings_commands.command("rollback")
def rollback(
    revision: Annotated[int, typer.Argument(help="The revision to go back to; 0: what the file says.")],
    config: Config = DEFAULT_CONFIG,
    note: Note = "",
) -> None:
    """Let an older revision hold again, as a new one."""
    n = _run(_publish(config, None, note, revision))
    out.print(f"Revision {n} is published: revision {revision} again. {SOON}")


async def _publish(config: Path, text: str | None, note: str, back_to: int | None) -> int:
    async with _house(config) as (base, journal):
        if back_to is not None:
            text = await _text_of(journal, base, back_to)
        assert text is not None
        after = check(text, base)
        newest = await journal.newest_revision()
        try:
            now, _ = await settings_in_force(journal, base)
            changes = shown(differences(now, after))
        except SettingsError:
            changes = ["what was published before does not go with this file"]
        revision = Revision(time.time(), _by().who, note, text, back_to)
        action = "settings.published" if back_to is None else "settings.rolled_back"
        told = {"note": note, "back_to": back_to, "changes": changes}
        entry = Entry(time.time(), _by().who, action, "settings", None, {"revision": newest.n if newest else 0}, told)
        try:
            return await journal.publish(revision, entry, after=newest.n if newest else 0)
        except DraftMovedError as error:
            raise AdminRefusedError("Somebody else has published meanwhile. Look again.") from error


async def _text_of(journal: Journal, base: Settings, n: int) -> str:
    if n == 0:
        return written(base)
    revision = await journal.revision(n)
    if revision is None:
        raise AdminRefusedError(f"There is no revision {n}.")
    return revision.text


@settings_commands.command("import")
def import_(
    document: Annotated[Path, typer.Argument(help="A document, as `export` prints it.")], config: Config = DEFAULT_CONFIG
) -> None:
    """Make a document the draft of the administration pages, where somebody can look at it and publish it."""
    text = document.read_text(encoding="utf-8")

    async def work() -> None:
        async with _house(config) as (base, journal):
            check(text, base)
            there = await journal.draft()
            version = 0 if there is None else there.version
            draft = Draft(version + 1, await journal.newest_number(), _by().who, time.time(), text)
            await journal.save_draft(draft, over=None if there is None else version)

    _run(work())
    out.print("It is the draft now: see /admin/settings.")


@settings_commands.command("list")
def list_(config: Config = DEFAULT_CONFIG, limit: Annotated[int, typer.Option(help="How many, the newest first.")] = 20) -> None:
    """List what was published, the newest first."""

    async def work() -> list[Revision]:
        async with _house(config) as (_base, journal):
            return await journal.revisions(limit)

    table = Table("revision", "published", "by", "why", box=None)
    rows = _run(work())
    for n, each in enumerate(rows):
        why = f"back to {each.back_to}. {each.note}" if each.back_to is not None else each.note
        at = datetime.fromtimestamp(each.at, UTC).isoformat(sep=" ", timespec="seconds")
        table.add_row(f"{each.n}{' (newest)' if n == 0 else ''}", at, each.author, why)
    out.print(table if rows else "Nothing has been published: the settings file holds.")


# --- people


@user_commands.command("password")
def user_password(
    login: Annotated[str, typer.Argument(help="Who.")],
    config: Config = DEFAULT_CONFIG,
    keep: Annotated[bool, typer.Option("--keep", help="They need not choose one of their own.")] = False,
) -> None:
    """Set somebody's password, for when nobody else can sign in. They have to choose one of their own next time."""
    words = typer.prompt("Password", hide_input=True, confirmation_prompt=True)

    async def work() -> None:
        async with _people(config) as people:
            if await people.person(login) is None:
                raise AdminRefusedError("There is nobody of that name in the settings.")
            await people.set_password(login, words, _by(), must_change=not keep)

    _run(work())
    out.print(f"The password is set, and every browser of theirs is signed out. {SOON}")


@user_commands.command("unlock")
def user_unlock(login: Annotated[str, typer.Argument(help="Who.")], config: Config = DEFAULT_CONFIG) -> None:
    """End a lock after wrong passwords."""

    async def work() -> None:
        async with _people(config) as people:
            await people.unlock(login, _by())

    _run(work())
    out.print(f"Done. {SOON}")


@user_commands.command("list")
def user_list(config: Config = DEFAULT_CONFIG) -> None:
    """List everybody who may sign in."""

    async def work() -> list[tuple[str, ...]]:
        async with _people(config) as people:
            return [tuple(_row(person)) for person in await people.people()]

    table = Table("login", "name", "roles", "password", "state", box=None)
    for row in _run(work()):
        table.add_row(*row)
    out.print(table)


def _row(person: Person) -> Iterator[str]:
    account = person.account
    yield person.settings.id
    yield person.settings.name
    yield ", ".join(person.settings.roles)
    yield "own" if account.password_hash else "of the file" if person.has_password else "none"
    yield "barred" if account.disabled else "locked" if (account.locked_until or 0.0) > time.time() else "in order"


@asynccontextmanager
async def _people(config: Path) -> AsyncIterator[People]:
    async with _house(config) as (base, journal):
        settings, _ = await settings_in_force(journal, base)
        tasks: list[asyncio.Task[None]] = []
        people = People(
            journal,
            lambda: settings,
            clock=time.time,
            spawn=lambda work: tasks.append(asyncio.create_task(work)),
            session_lifetime=0.0,
        )
        await people.load()
        yield people
        await asyncio.gather(*tasks)
