"""`sidetone ewt watch`: waiting times in the terminal, as the API of a running server tells them."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any

import aiohttp
import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

ewt_commands = typer.Typer(no_args_is_help=True, help="Waiting times.")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

WIDTH = 80
"""Columns that the table needs."""
EVERY = 1.0
"""Seconds between two looks."""
PATIENCE = 5.0
"""Seconds for an answer."""


class NotToldError(Exception):
    """The server did not say; the message says why.

    Args:
        words: Why.
        final: Asking again is of no use.
    """

    def __init__(self, words: str, *, final: bool) -> None:
        super().__init__(words)
        self.final = final


@ewt_commands.callback()
def ewt() -> None:
    """Waiting times."""


@ewt_commands.command()
def watch(
    url: Annotated[str, typer.Option(envvar="SIDETONE_URL", help="Where the server is.")] = "http://127.0.0.1:8080",
    token: Annotated[
        str, typer.Option(envvar="SIDETONE_TOKEN", help="Of a key with the scope ewt.read, or of web.api_tokens.")
    ] = "",
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON as the API gives it; one line each time.")] = False,
) -> None:
    """Every queue with its wait, on what basis, and what would be offered; anew every second until Ctrl-C."""
    with suppress(KeyboardInterrupt):
        raise typer.Exit(asyncio.run(_watch(url.rstrip("/"), token, once=once, as_json=as_json)))


async def _watch(url: str, token: str, *, once: bool, as_json: bool) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as http:
        try:
            if once:
                _show(await _ask(http, url), as_json=as_json)
            elif as_json:
                while True:
                    _show(await _ask(http, url), as_json=True)
                    await asyncio.sleep(EVERY)
            else:
                await _live(http, url)
        except NotToldError as error:
            err.print(str(error), style="red", markup=False)
            return 1
    return 0


async def _live(http: aiohttp.ClientSession, url: str) -> None:
    """Until it is cancelled. A server that is away for a while is waited for."""
    queues = await _ask(http, url)
    with Live(table(queues), console=out, auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            await asyncio.sleep(EVERY)
            try:
                queues = await _ask(http, url)
                live.update(table(queues), refresh=True)
            except NotToldError as error:
                if error.final:
                    raise
                live.update(table(queues, f"[red]{escape(str(error))}[/] This is of before."), refresh=True)


async def _ask(http: aiohttp.ClientSession, url: str) -> list[dict[str, Any]]:
    """Every queue, in the server's order.

    Raises:
        NotToldError: No answer, or not this one.
    """
    try:
        async with http.get(f"{url}/api/v1/wait_times") as answer:
            if answer.status != 200:
                # Only what is wrong on our side stays wrong; and a server that is busy says when to come again.
                raise NotToldError(_words(answer.status, await answer.text()), final=answer.status in {400, 401, 403, 404})
            return list((await answer.json())["queues"].values())
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NotToldError(f"{url} does not answer: {str(error) or 'too slow'}.", final=False) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotToldError(f"{url} is no Sidetone.", final=True) from error


def _words(status: int, body: str) -> str:
    """What a problem document says."""
    try:
        problem = json.loads(body)
        return f"{problem['title']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"The server answers with {status}."


def _show(queues: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps({"queues": {queue["queue"]: queue for queue in queues}}) + "\n")
        sys.stdout.flush()
    else:
        out.print(table(queues))


# --- the table


def table(queues: Sequence[Mapping[str, Any]], caption: str = "") -> Table:
    """All queues in 80 columns; *caption* is markup."""
    shown = Table(box=None, width=WIDTH, caption=caption or None, caption_justify="left", caption_style="", pad_edge=False)
    shown.add_column("queue", ratio=1, no_wrap=True, overflow="ellipsis")
    for name in ("waits", "first", "p50-p90"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("basis", no_wrap=True)
    shown.add_column("P(>=T)", justify="right", no_wrap=True)
    shown.add_column("offer", no_wrap=True, max_width=22, overflow="ellipsis")
    for queue in queues:
        alarm = " [red]![/]" if queue["alarm"] else ""
        shown.add_row(
            f"{escape(queue['queue'])}{alarm}",
            str(queue["waiting"]),
            _span(queue["longest_wait"]),
            _range(queue),
            queue["basis"] if queue["status"] == "ok" else "",
            _chance(queue),
            _offer(queue["decision"]),
        )
    return shown


def _range(queue: Mapping[str, Any]) -> str:
    words = {"free_agent": "[green]free[/]", "closed": "[dim]closed[/]"}.get(queue["status"])
    if words is not None:
        return words
    if queue["p50"] is None or queue["p90"] is None:
        return "[yellow]?[/]"
    found = f"{_span(queue['p50'])}-{_span(queue['p90'])}"
    return f"[red]nobody[/] {found}" if queue["status"] == "no_agents" else f"[bold]{found}[/]"


def _chance(queue: Mapping[str, Any]) -> str:
    """Of the queue's own T; of two minutes where it has none."""
    decision = queue["decision"]
    p = queue["prob_ge"].get("120") if decision is None else decision["p"]
    return "" if p is None else f"{p:.0%}"


def _offer(decision: Mapping[str, Any] | None) -> str:
    if decision is None:
        return ""
    reason = escape(decision["reason"].replace("_", " "))
    return f"[green]{reason}[/]" if decision["offer_sms"] else f"[dim]{reason}[/]"


def _span(seconds: float | None) -> str:
    """`45s`, `2:05`, `1h12`; empty for None."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}h{whole % 3600 // 60:02}"
