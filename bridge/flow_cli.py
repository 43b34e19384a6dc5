"""`sidetone flow ...`: the engineer's tools for call flows and menus by text."""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bridge.events import SessionId
from bridge.journal import Journal, TimelineLine
from bridge.menu_cli import draw_menu, text_with, typed
from bridge.settings import Settings, SettingsError, load_settings
from ivr_flows import outputs as o
from ivr_flows.describe import graph as draw
from ivr_flows.describe import schema as make_schema
from ivr_flows.format import NotYamlError, formatted
from ivr_flows.loader import FlowErrors, check, load_flow
from ivr_flows.model import Flow
from ivr_flows.reader import Problem
from ivr_flows.simulate import Given, Heard, Simulator, facts_of, run_tests
from sms.menu import Menu
from sms.menu_loader import MenuErrors, examine_menu, is_menu, load_menu
from sms.menu_loader import Problem as MenuProblem

flow_commands = typer.Typer(no_args_is_help=True, help="Check, draw, try, test and explain call flows and menus by text.")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Prompts = Annotated[Path | None, typer.Option(help="Prompts folder; default: the one beside the flow, or the packaged one.")]
Flows = Annotated[list[Path], typer.Argument(help="Flow files.", exists=True, dir_okay=False)]
OneFlow = Annotated[Path, typer.Argument(help="Flow file.", exists=True, dir_okay=False)]
Config = Annotated[Path | None, typer.Option("--config", "-c", help="Settings whose queues, hours and brand a menu must fit.")]


@flow_commands.command("check")
def check_flows(
    flows: Flows,
    prompts: Prompts = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Problems as JSON.")] = False,
) -> None:
    """Find every mistake, with line, column and remedy. Exit status 1 when there is an error."""
    problems = _problems(flows, prompts, config)
    if as_json:
        fields = ("code", "level", "file", "line", "column", "message", "remedy")
        sys.stdout.write(json.dumps([{name: getattr(p, name) for name in fields} for p in problems], indent=2) + "\n")
    else:
        for problem in problems:
            colour = "red" if problem.level == "error" else "yellow"
            out.print(
                f"[bold]{escape(problem.file)}:{problem.line}:{problem.column}[/] [{colour}]{problem.level} {problem.code}[/] "
                f"{escape(problem.message)}\n    {escape(_line_of(problem.file, problem.line))}\n"
                f"    {' ' * (problem.column - 1)}^\n    [dim]{escape(problem.remedy)}[/]",
                soft_wrap=True,
            )
        errors = sum(problem.level == "error" for problem in problems)
        out.print(f"{len(flows)} file(s), {errors} error(s), {len(problems) - errors} warning(s)")
    raise typer.Exit(1 if any(problem.level == "error" for problem in problems) else 0)


def _problems(files: list[Path], prompts: Path | None, config: Path | None) -> list[Problem | MenuProblem]:
    """Everything that is wrong with these flows and menus, file by file."""
    about = _about(config)
    found: list[Problem | MenuProblem] = []
    for path in files:
        found += examine_menu(path, **about)[1] if _is_menu(path) else check([path], prompts=prompts)
    return found


def _is_menu(path: Path) -> bool:
    return is_menu(path.read_text(encoding="utf-8", errors="replace"))


def _about(config: Path | None) -> dict[str, Any]:
    """What a menu has to fit: the queues, hours and brand of the settings; nothing when there are none."""
    if config is None:
        return {}
    try:
        settings = load_settings(config)
    except SettingsError as error:
        err.print(str(error), style="red", markup=False)
        raise typer.Exit(2) from error
    return {"queues": {queue.id for queue in settings.queues}, "hours": set(settings.hours), "brand": settings.brand}


def _line_of(file: str, line: int) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").splitlines()[line - 1]
    except (OSError, IndexError):
        return ""


@flow_commands.command("fmt")
def format_flows(
    flows: Flows, only_check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 if something would.")] = False
) -> None:
    """Lay flow files out in the one way; comments stay."""
    changed = 0
    for path in flows:
        source = path.read_text(encoding="utf-8")
        try:
            tidy = formatted(source)
        except NotYamlError as error:
            err.print(f"{path}: {error}", style="red", markup=False)
            raise typer.Exit(2) from error
        if tidy != source:
            changed += 1
            out.print(f"{'would change' if only_check else 'changed'} {path}", markup=False)
            if not only_check:
                path.write_text(tidy, encoding="utf-8")
    raise typer.Exit(1 if only_check and changed else 0)


@flow_commands.command()
def graph(flow: OneFlow, prompts: Prompts = None) -> None:
    """Print the states of a flow, or the options of a menu, as a Mermaid flowchart."""
    sys.stdout.write(draw_menu(_load_menu(flow, {})) if _is_menu(flow) else draw(_load(flow, prompts)))


@flow_commands.command()
def schema() -> None:
    """Print the JSON Schema of flow files, for editors (yaml-language-server)."""
    sys.stdout.write(json.dumps(make_schema(), indent=2) + "\n")


@flow_commands.command("test")
def play_scripts(scripts: Annotated[list[Path], typer.Argument(help="*.test.yaml files.")], prompts: Prompts = None) -> None:
    """Play scripted callers on a virtual clock and say which scripts did not hold, and which states nobody visited."""
    failed = 0
    for path in scripts:
        try:
            results = run_tests(path, prompts=prompts)
            flow = load_flow(path.parent / f"{path.name.removesuffix('.test.yaml')}.yaml", prompts=prompts)
        except FlowErrors as errors:
            err.print(str(errors), style="red", markup=False)
            raise typer.Exit(2) from errors
        for result in results:
            failed += bool(result.failure)
            mark = "[red]FAILED[/]" if result.failure else "[green]held[/]  "
            out.print(f"{mark} {escape(result.test)}")
            if result.failure:
                out.print(f"       {escape(str(path))}:{result.line}: {escape(result.failure)}", soft_wrap=True)
        visited: set[str] = set().union(*(result.states for result in results))
        missing = sorted(set(flow.states) - visited)
        out.print(f"{len(results)} scripts; states visited {len(set(flow.states) & visited)} of {len(flow.states)}")
        if missing:
            out.print(f"[yellow]never visited:[/] {', '.join(missing)}")
    raise typer.Exit(1 if failed else 0)


@flow_commands.command()
def sim(
    flow: OneFlow,
    prompts: Prompts = None,
    caller: Annotated[str | None, typer.Option(help="Caller's number; none withholds it.")] = "+15550100123",
    offers: Annotated[bool, typer.Option(help="Whether the policy offers texting.")] = True,
    config: Config = None,
    language: Annotated[str | None, typer.Option(help="Menu: the customer's language, as far as known.")] = None,
    say: Annotated[list[str] | None, typer.Option(help="Menu: a text to send; may be given often. None: type them.")] = None,
) -> None:
    """Call a flow, or text with a menu, from the terminal: same engine, virtual clock.

    Type keys or one of the words it prints; with a menu, type texts.
    """
    if _is_menu(flow):
        about = _about(config)
        menu = _load_menu(flow, about)
        texts = say if say is not None else typed(out)
        text_with(menu, texts, out, brand=about.get("brand", "Example"), language=language, echo=say is not None)
        return
    loaded = _load(flow, prompts)
    hours = dict.fromkeys(loaded.hours_named(), "open")
    given = Given(caller=caller, brand="Example", hours=hours)  # type: ignore[arg-type]  # the values are literals
    verdict = (offers, "offer" if offers else "below_threshold")
    simulator = Simulator(loaded, facts_of(loaded, given), policy=lambda _: verdict)
    simulator.call()
    shown = 0
    out.print("keys: 0-9 * #   wait N   text WORDS   photo   agent   leave   hang up   quit", style="dim")
    while True:
        for heard in simulator.log[shown:]:
            out.print(_heard(heard), soft_wrap=True)
        shown = len(simulator.log)
        if simulator.ended:
            return
        try:
            words = out.input("[bold]> [/]").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if words in {"quit", "exit"}:
            return
        if not _do(simulator, words):
            out.print("[yellow]nothing takes that now[/]")


def _do(simulator: Simulator, words: str) -> bool:
    """Do what was typed; False when nothing takes it."""
    verb, _, rest = words.partition(" ")
    plain: dict[str, Callable[[], bool]] = {
        "agent": simulator.agent_answers,
        "leave": simulator.agent_leaves,
        "hang": simulator.hang_up,
        "photo": lambda: simulator.text("", 1),
        "text": lambda: simulator.text(rest),
    }
    if verb in plain:
        return plain[verb]()
    if verb in {"wait", ""}:
        simulator.wait(float(rest) if rest.replace(".", "", 1).isdigit() else 5.0)
        return True
    return set(words) <= set("0123456789*#") and simulator.press(words)


def _heard(heard: Heard) -> str:
    at = f"[dim]{heard.at:7.1f}[/] "
    match heard.output:
        case o.Play(prompts=prompts):
            return at + f"[cyan]voice[/] {escape(' '.join(prompt.text for prompt in prompts))}"
        case o.SendText(body=body) | o.OpenText(body=body):
            return at + f"[green]text [/] {escape(body)}"
        case o.Trace(line=line, action=action, detail=detail):
            return at + f"[dim]line {line}: {action}: {escape(detail)}[/]"
        case other:
            fields = " ".join(f"{name}={getattr(other, name)!r}" for name in other.__struct_fields__)
            return at + f"[magenta]{type(other).__name__}[/] {escape(fields)}"


@flow_commands.command()
def explain(
    session: Annotated[str, typer.Argument(help="Session id, as the desk and the API show it.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="Settings file.")] = Path("config/sidetone.yaml"),
) -> None:
    """Say why a session went as it did: every decision with the values it was made of."""
    try:
        settings = load_settings(config)
    except SettingsError as error:
        err.print(str(error), style="red", markup=False)
        raise typer.Exit(2) from error
    if not asyncio.run(_explain(settings, SessionId(session))):
        err.print(f"There is no session {session}.", style="red", markup=False)
        raise typer.Exit(1)


async def _explain(settings: Settings, session: SessionId) -> bool:
    async with Journal.open(settings.journal_url) as journal:
        stored = await journal.session(session)
        if stored is None:
            return False
        lines = await journal.timeline(session)
    table = Table("time (UTC)", "what", "why", box=None, pad_edge=False)
    for line in lines:
        when = datetime.fromtimestamp(line.at, UTC).strftime("%H:%M:%S.%f")[:-4]
        table.add_row(when, f"[bold]{escape(line.kind)}[/]" if _decides(line) else escape(line.kind), escape(_why(line)))
    out.print(table)
    return True


def _decides(line: TimelineLine) -> bool:
    return line.kind in {"offer.decided", "flow.trace", "text.received", "consent.given"}


def _why(line: TimelineLine) -> str:
    data: dict[str, Any] = dict(line.data)
    if line.kind == "flow.trace":
        values = ", ".join(f"{name} = {value}" for name, value in data.get("values", {}).items())
        return f"{data['state']}, line {data['line']}: {data['detail']}" + (f" ({values})" if values else "")
    if line.kind == "offer.decided":
        inputs = ", ".join(f"{name} {_short(value)}" for name, value in data.get("inputs", {}).items() if value is not None)
        return f"{data['kind']}: {'offered' if data['offer'] else 'not offered'}, {data['reason']} ({inputs})"
    if line.kind == "prompt.played":
        return f'"{data["words"]}"' + ("" if data["completed"] else f" (cut after {data['heard']:g} s)")
    return ", ".join(f"{name} {_short(value)}" for name, value in data.items() if value not in (None, [], "", {}))


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _load(path: Path, prompts: Path | None) -> Flow:
    try:
        return load_flow(path, prompts=prompts)
    except FlowErrors as errors:
        err.print(str(errors), style="red", markup=False)
        raise typer.Exit(1) from errors


def _load_menu(path: Path, about: Mapping[str, Any]) -> Menu:
    try:
        return load_menu(path, **about)
    except MenuErrors as errors:
        err.print(str(errors), style="red", markup=False)
        raise typer.Exit(1) from errors
