"""Notices to a receiver that fails in every way, from a process that is killed: all of them, in order, repeats under one name."""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge.notices import verify

pytestmark = pytest.mark.e2e
KILLS = int(os.environ.get("KILLS", "4"))
SEED = int(os.environ.get("SEED", "7"))
"""The same by default, so that what fails here fails elsewhere, too; others find more."""
SECRET = "a secret of at least sixteen characters"
WORKER = Path(__file__).with_name("hooks_worker.py")
ROOT = WORKER.parents[2]
SETTLED_WITHIN = 60.0


class Receiver:
    """Takes, refuses, hangs, is slow, or takes and says nothing; and remembers everything that came."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.came: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
        """By session: id and body, in order."""
        self.answers: Counter[str] = Counter()
        self.forged = 0
        self.well = False
        """Does nothing wrong any more."""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        name = request.headers["Sidetone-Delivery"]
        self.forged += not verify(body, request.headers, SECRET, time.time())
        self.came[name.partition(":")[0]].append((name, body))
        answers = ("taken", "refused", "busy", "hung", "slow", "unsaid")
        answer = "taken" if self.well else self._chance.choices(answers, (70, 10, 5, 2, 8, 5))[0]
        self.answers[answer] += 1
        match answer:
            case "refused":
                return web.Response(status=self._chance.choice([301, 400, 404, 500, 503]))
            case "busy":
                return web.Response(status=429, headers={"Retry-After": "0"})
            case "hung":
                await asyncio.sleep(1.0)
            case "slow":
                await asyncio.sleep(0.3)
            case "unsaid":
                assert request.transport is not None
                request.transport.abort()
            case _:
                pass
        return web.Response(status=204)


@asynccontextmanager
async def working(database: Path, url: str, run: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process; at the end it is killed."""
    arguments = (sys.executable, str(WORKER), f"sqlite:///{database}", url, SECRET, str(run))
    process = await asyncio.create_subprocess_exec(*arguments, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        yield process
        assert process.returncode is None, "it ended by itself"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()


def ask(database: Path, query: str) -> list[str]:
    """The first column of *query*. The file of a process that was killed may have to be mended first, so not read-only."""
    with contextlib.closing(sqlite3.connect(database)) as file:
        return [str(row[0]) for row in file.execute(query)]


async def test_every_notice_arrives_in_order_whatever_breaks(tmp_path: Path) -> None:
    """Errors, time-outs, lost answers and SIGKILL lead to repeats, never to a gap, a swap or a loss."""
    print(f"\nSEED={SEED} KILLS={KILLS}")
    chance = random.Random(SEED)
    receiver, database = Receiver(chance), tmp_path / "journal.db"
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    server = TestServer(app)
    await server.start_server()
    url = str(server.make_url("/hook"))
    try:
        for run in range(1, KILLS + 1):
            async with working(database, url, run):
                await asyncio.sleep(chance.uniform(1.5, 4.0))
        receiver.well = True
        async with working(database, url, 0):
            deadline = time.monotonic() + SETTLED_WITHIN
            while ask(database, "select count(*) from delivery where state = 'pending'") != ["0"]:
                assert time.monotonic() < deadline, f"not within {SETTLED_WITHIN} s"
                await asyncio.sleep(0.2)
    finally:
        await server.close()

    assert ask(database, "select id from notice join delivery on notice = id where state != 'done'") == []
    saved: dict[str, list[str]] = defaultdict(list)
    for name in ask(database, "select id from notice order by n"):
        saved[name.partition(":")[0]].append(name)
    came = {session: [name for name, _ in items] for session, items in receiver.came.items()}
    repeats = 0
    for session, names in saved.items():
        assert list(dict.fromkeys(came[session])) == names, f"{session}: all of them, in order"
        places = [names.index(name) for name in came[session]]
        assert places == sorted(places), f"{session}: nothing comes again once something later came"
        repeats += len(places) - len(names)
    assert {name: body for items in receiver.came.values() for name, body in items if body != f'"{name}"'.encode()} == {}
    assert receiver.forged == 0
    print(f"{sum(map(len, saved.values()))} notices of {len(saved)} sessions, {repeats} repeats, {dict(receiver.answers)}")
