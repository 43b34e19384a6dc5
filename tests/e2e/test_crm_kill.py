"""Conversations told to a CRM that fails in every way, by a server that is killed: every one is recorded, with its contact."""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.crm_server import SECRET, TinyCrm

pytestmark = pytest.mark.e2e
KILLS = int(os.environ.get("KILLS", "3"))
SEED = int(os.environ.get("SEED", "7"))
"""The same by default, so that what fails here fails elsewhere, too; others find more."""
WORKER = Path(__file__).with_name("crm_worker.py")
ROOT = WORKER.parents[2]
SETTLED_WITHIN = 180.0


class Moody:
    """A CRM that does what it is asked, says so or not, or does nothing."""

    def __init__(self, crm: TinyCrm, chance: random.Random) -> None:
        self._crm = crm
        self._chance = chance
        self.answers: Counter[str] = Counter()
        self.well = False
        """Does nothing wrong any more."""

    async def take(self, request: web.Request) -> web.Response:
        """One request."""
        moods = ("well", "broken", "busy", "slow", "unsaid")
        mood = "well" if self.well else self._chance.choices(moods, (74, 10, 5, 1, 10))[0]
        self.answers[mood] += 1
        if mood in {"broken", "busy"}:
            return web.Response(status=500 if mood == "broken" else 429, headers={"Retry-After": "0"})
        answer = await self._crm.handle(request)
        if mood == "slow":
            await asyncio.sleep(4.0)
        if mood == "unsaid":
            assert request.transport is not None
            request.transport.abort()
        return answer


@asynccontextmanager
async def working(folder: Path, url: str, run: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """The server; at the end it is killed."""
    arguments = (sys.executable, str(WORKER), str(folder), url, SECRET, str(run))
    process = await asyncio.create_subprocess_exec(*arguments, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        yield process
        assert process.returncode is None, "it ended by itself"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()


def ask(folder: Path, query: str) -> list[tuple[str, ...]]:
    """What *query* finds. The file of a process that was killed may have to be mended first, so not read-only."""
    with contextlib.closing(sqlite3.connect(folder / "sidetone.db", timeout=10.0)) as file:
        return [tuple(map(str, row)) for row in file.execute(query)]


UNTOLD = (
    "select count(*) from session where closed_at is null"
    " or id not in (select session from crm_entry where state = 'done' and action = 'record')"
)


async def test_every_conversation_is_recorded_whatever_breaks(tmp_path: Path) -> None:
    """Errors, time-outs, lost answers and SIGKILL lead to repeats under the same key, never to a gap."""
    print(f"\nSEED={SEED} KILLS={KILLS}")
    crm, chance = TinyCrm(time.time), random.Random(SEED)
    moody = Moody(crm, chance)
    app = web.Application()
    app.router.add_post("/crm", moody.take)
    server = TestServer(app)
    await server.start_server()
    url, folder = str(server.make_url("/crm")), tmp_path / "data"
    try:
        for run in range(1, KILLS + 1):
            async with working(folder, url, run):
                had = len(crm.records)
                deadline = time.monotonic() + SETTLED_WITHIN
                while len(crm.records) < had + 5:
                    assert time.monotonic() < deadline, f"nothing was recorded within {SETTLED_WITHIN} s"
                    await asyncio.sleep(0.05)
                await asyncio.sleep(chance.uniform(0.0, 1.0))
        moody.well = True
        async with working(folder, url, 0):
            deadline = time.monotonic() + SETTLED_WITHIN
            while ask(folder, UNTOLD) != [("0",)]:
                assert time.monotonic() < deadline, f"not within {SETTLED_WITHIN} s: {ask(folder, UNTOLD)}"
                await asyncio.sleep(0.2)
    finally:
        await server.close()

    sessions = {row[0]: row[1] for row in ask(folder, "select id, customer from session")}
    assert set(crm.records) == set(sessions)
    for session, record in crm.records.items():
        assert crm.contacts[record["contact"]]["phones"] == [sessions[session]]
        assert "STOP" in record["transcript"]
    repeated = Counter(key for key in crm.keys if key is not None)
    print(f"{len(sessions)} sessions, {sum(repeated.values()) - len(repeated)} repeats, {dict(moody.answers)}")
