"""`sidetone ewt watch` as a person and as a program sees it."""

import asyncio
import io
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console
from typer.testing import CliRunner, Result

from bridge.ewt_cli import ewt_commands, table
from tests.unit.web.fake_waits import FakeWaits, wait

TOKEN = "watching-token-01234"
FAKE = FakeWaits()


class Told:
    """A server that tells waits to whoever has the token."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers: list[web.Response] = []
        """Given first."""

    async def waits(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.answers:
            return self.answers.pop(0)
        if request.headers["Authorization"] != f"Bearer {TOKEN}":
            return web.json_response({"title": "No such token", "detail": "Send a token."}, status=401)
        return web.json_response({"queues": {name: msgspec.to_builtins(each) for name, each in FAKE.waits.items()}})


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def url(told: Told) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/api/v1/wait_times", told.waits)
    async with TestServer(app) as server:
        yield str(server.make_url(""))


async def run(*arguments: str) -> Result:
    """The command, beside the server."""
    runner = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"})
    return await asyncio.to_thread(runner.invoke, ewt_commands, ["watch", *arguments], catch_exceptions=False)


async def test_once_it_shows_every_queue(url: str) -> None:
    """In 80 columns: who waits, how long a newcomer would, and what would be offered."""
    done = await run("--url", url, "--token", TOKEN, "--once")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "2:00-3:50" in lines[1]
    for words in ("support", "7", "1:36", "learned", "50%", "offer"):
        assert words in lines[1], words
    assert "nobody" not in lines[2], "without a number there is none to show"
    assert "?" in lines[2]


async def test_a_program_gets_what_the_api_gives(url: str) -> None:
    """As one line of JSON."""
    done = await run("--url", f"{url}/", "--token", TOKEN, "--once", "--json")
    document = json.loads(done.stdout)
    assert document["queues"]["support"]["p50"] == 120.0
    assert len(done.stdout.splitlines()) == 1


async def test_who_may_not_is_told_what_the_server_says(url: str) -> None:
    """Status 1, in the words of the problem, also without --once: asking again would not help."""
    for more in (["--once"], [], ["--json"]):
        done = await run("--url", url, "--token", "wrong", *more)
        assert (done.exit_code, done.stderr.strip()) == (1, "No such token: Send a token.")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (web.Response(status=502, text="<html>"), "answers with 502"),
        (web.Response(status=500, text="[]"), "answers with 500"),
        (web.json_response([]), "is no Sidetone"),
        (web.Response(text="hello", content_type="application/json"), "is no Sidetone"),
    ],
)
async def test_a_strange_answer_is_told_in_words(url: str, told: Told, answer: web.Response, words: str) -> None:
    """Without a traceback."""
    told.answers = [answer]
    done = await run("--url", url, "--once")
    assert (done.exit_code, words in done.stderr) == (1, True)


async def test_where_nobody_answers_it_says_so() -> None:
    """With the address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        done = await run("--url", url, "--once")
    assert (done.exit_code, f"{url} does not answer" in done.stderr) == (1, True)


@pytest.mark.parametrize(("more", "last"), [([], "support"), (["--json"], '{"queues"')])
async def test_it_goes_on_until_ctrl_c_and_ends_without_a_word(url: str, told: Told, more: list[str], last: str) -> None:
    """A server that is away for a moment is waited for, except by a program, which is told; the status is 0."""
    told.answers = [] if more else [await told.waits(_asking()), web.Response(status=503)]
    told.asked = 0
    # What a shell starts in the background does not hear Ctrl-C, nor do its children unless they say so.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listening}; from bridge.ewt_cli import ewt_commands; ewt_commands()"
    command = [sys.executable, "-c", code, "watch", "--url", url, "--token", TOKEN, *more]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(60.0):
            while told.asked < 4:  # noqa: ASYNC110  # the other process asks
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30.0):
            shown, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, complaints.decode()) == (0, "")
    assert last in shown.decode()


def _asking() -> Any:
    class Request:
        headers = {"Authorization": f"Bearer {TOKEN}"}  # noqa: RUF012  # a fake

    return Request()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"status": "free_agent", "p50": 0.0, "p90": 0.0}, "free"),
        ({"status": "closed"}, "closed"),
        ({"status": "no_agents"}, "nobody 2:00-3:50"),
        ({"alarm": "too_short"}, "support !"),
        ({"longest_wait": 4000.0, "p90": 5000.0}, "1h06"),
        ({"title": "x", "queue": "a queue with a name that is much too long for this"}, "a queue"),
    ],
)
def test_every_state_fits_a_line(changed: dict[str, Any], words: str) -> None:
    """Of 80 columns."""
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table([msgspec.to_builtins(wait(**changed))], "[red]late[/]"))
    shown = console.export_text()
    assert words in shown
    assert "late" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
