"""`make cluster` brings up two nodes behind a front, goes on when one is killed, and leaves nothing behind."""

import asyncio
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from bridge.telephony.softphone import PhoneConfig, Softphone
from tests.e2e.server import DeskClient

ROOT = Path(__file__).parents[2]


class Terminal:
    """What stands in the terminal, and the keyboard before it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.text = ""

    async def until(self, words: str, within: float = 60.0) -> re.Match[str]:
        """Read until *words* (a pattern) stands there behind what was waited for before, and give what it has found."""
        assert self.process.stdout is not None, "it is a pipe"
        async with asyncio.timeout(within):
            while (found := re.search(words, self.text)) is None:
                more = await self.process.stdout.read(4096)
                assert more, self.text
                self.text += more.decode(errors="replace")
        self.text = self.text[found.end() :]
        return found

    async def type(self, line: str) -> None:
        """Write a line and press Enter."""
        assert self.process.stdin is not None, "it is a pipe"
        self.process.stdin.write(f"{line}\n".encode())
        await self.process.stdin.drain()


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Terminal]:
    """It runs, and whatever happens it is ended as by Ctrl-C."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scripts.cluster", cwd=ROOT, env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "80"},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    terminal = Terminal(process)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await terminal.until("Stopped")
            assert await process.wait() == 0


def processes_of(folder: Path) -> list[str]:
    """Programs that still have something to do with *folder*."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended meanwhile
            continue
        if str(folder) in words:
            found.append(words)
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that others may pass through: PostgreSQL runs as somebody else when we are root."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o711)
        yield path
        assert list(path.iterdir()) == [], "files are left behind"
        assert processes_of(path) == []


async def answered_at_the_desk(front: str, terminal: Terminal) -> None:
    """An agent at the front's desk gets what is typed in the terminal, and the answer is printed there."""
    async with DeskClient(front, "ben", "demo") as ben:
        await ben.sign_in()
        await ben.go("ready")
        async with ben.watching() as news:
            await terminal.type("Hello there")
            await terminal.until(r"phone \+15550100123 \| Northwind")
            async with asyncio.timeout(20.0):
                while not ben.offers:
                    news.clear()
                    await news.wait()
            session, channel = ben.offers[0]
            assert await ben.accept(session, channel) == 200
            assert await ben.say(session, "Good morning") == 204
            await terminal.until(r"phone \+15550100123 \| Good morning")


async def hears_the_flow(sip: str) -> None:
    """A call through the front is answered by a node, and its audio comes from there."""
    async with Softphone(PhoneConfig(user="+15550100124")) as phone:
        call = await phone.call(sip)
        async with asyncio.timeout(20.0):
            while call.packets_heard < 50:  # noqa: ASYNC110  packets are not events
                await asyncio.sleep(0.1)
        await call.press("1")
        await call.hang_up()
        assert call.cause == "hung up"


@pytest.mark.e2e
async def test_a_newcomer_sees_a_node_die_and_the_service_go_on(folder: Path) -> None:
    """Pages and texts are answered, again when a node is killed, and it comes back; Ctrl-C leaves nothing behind."""
    async with cluster(folder) as terminal:
        front = (await terminal.until(r"Desk +(http://\S+)/ "))[1]
        sip = (await terminal.until(r"SIP +(sip:\S+)"))[1]
        node = (await terminal.until(r"Node a +(http://\S+)/ +pid (\d+)"))[1]
        await terminal.until(r"Ctrl-C ends everything.*\n.*╯")
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{front}/sign-in") as answer:
                assert answer.status == 200
            async with http.get(f"{front}/metrics") as answer:
                assert answer.status == 404

            await answered_at_the_desk(front, terminal)
            await hears_the_flow(sip)

            await terminal.type("kill a")
            await terminal.until(r"a \| has ended, by SIGKILL")
            with pytest.raises(aiohttp.ClientError):
                await http.get(f"{node}/healthz")
            async with http.get(f"{front}/sign-in") as answer:
                assert answer.status == 200
            await terminal.type("HELP")  # owed an answer, whatever is open
            await terminal.until(r"phone \+15550100123 \| .*\n?.*Northwind")

            await terminal.type("start a")
            await terminal.until(r"a \| is back")
            async with http.get(f"{node}/readyz") as answer:
                assert answer.status == 200
