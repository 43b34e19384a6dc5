"""Texts in, out and by the API while everything breaks that can: every text counts once, everywhere.

The provider refuses, fails, hangs and breaks connections, before and after it took a text; its reports come twice, in any
order, or never; the receiver of notices does the same; the server is killed again and again. What was lost or doubled is
counted outside the server: at handsets, at the provider, at the program and at the receiver.

    SOAK=600 SEED=7 pytest tests/e2e/test_text_soak.py -s      # ten minutes, or the same again
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge.notices import verify
from sms.testing.twilio_server import Disorder, Fault
from tests.e2e.server import API_TOKEN, NUMBER, OTHER_NUMBER, ServerProcess, agent, settings
from tests.e2e.test_kill import QUITTER, TROUBLED, Count, Crowd, Desk, Provider, ask, at_work, unanswered, undecided, unsettled

pytestmark = pytest.mark.e2e
SOAK = float(os.environ.get("SOAK", "14"))
"""Seconds of load, starts of the server included."""
SEED = int(os.environ.get("SEED", "7"))
"""The same by default, so that what fails here fails elsewhere, too; others find more."""
SETTLED_WITHIN = max(60.0, SOAK / 2)
SECRET = "a secret of at least sixteen characters"
MISHAPS = {
    Fault(): 80,
    Fault(status=500): 4,
    Fault(status=500, accept=True): 3,
    Fault(status=429, code=20429): 4,
    Fault(drop=True): 3,
    Fault(drop=True, accept=True): 3,
    Fault(hang=True): 1,
    Fault(hang=True, accept=True): 2,
}
"""What may happen to any text, and how often in a hundred."""
PATIENCE = 12.0
"""Seconds for which a program asks; what was cut off in the middle is not answered sooner than after two minutes."""
NOWHERE = "+15550191211"
"""A program texts it, and the provider knows that it does not exist."""
PROGRAM = tuple(f"+1555010017{n}" for n in range(4))
"""Handsets that only the program texts."""


class RoughProvider(Provider):
    """A provider at which anything may happen to any text."""

    well = False

    async def _create(self, request: web.Request) -> web.StreamResponse:
        self.otherwise = Fault() if self.well else self._random.choices(list(MISHAPS), list(MISHAPS.values()))[0]
        return await super()._create(request)


class Program:
    """Texts by the API, and asks again under the same key until it has an answer, or for `PATIENCE` seconds."""

    def __init__(self, url: str, chance: random.Random) -> None:
        self._url = url
        self._chance = chance
        self.taken: set[str] = set()
        """Words of each text that was taken for certain."""
        self.answers: Counter[int] = Counter()
        self.stopping = False

    async def work(self, name: str, pause: float) -> None:
        """Text somebody again and again until told to stop, or cancelled."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0)) as http:
            number = 0
            while not self.stopping:
                await asyncio.sleep(self._chance.uniform(0.2, 1.8) * pause)
                number += 1
                recipient = self._chance.choice([*PROGRAM, "+15550100101", NOWHERE])
                await self._text(http, f"{name} {number}", recipient, self._chance.choice(["", "/sessionless"]))

    async def _text(self, http: aiohttp.ClientSession, words: str, recipient: str, kind: str) -> None:
        document = {"to": recipient, "from": NUMBER, "text": words, "purpose": "session"}
        headers = {"Authorization": f"Bearer {API_TOKEN}", "Idempotency-Key": words.replace(" ", "-")}
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
                async with http.post(f"{self._url}/api/v1/sms{kind}", json=document, headers=headers) as answer:
                    self.answers[answer.status] += 1
                    if answer.status == 202:
                        self.taken.add(words)
                        return
                    assert answer.status in {409, 429, 500, 503}, await answer.text()
            await asyncio.sleep(0.2)


class Receiver:
    """Hears of everything, sometimes says so, and remembers it in order."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.well = False
        self.url = ""
        self.came: dict[str, list[str]] = defaultdict(list)
        """Ids by session; those of none each stand alone."""
        self.problems: list[str] = []

    async def take(self, request: web.Request) -> web.Response:
        """Take, refuse, or take and not say so."""
        body = await request.read()
        notice = json.loads(body)
        name = request.headers["Sidetone-Delivery"]
        if not verify(body, request.headers, SECRET, time.time()) or notice["id"] != name:
            self.problems.append(name)
        self.came[notice["session"] or name].append(name)
        luck = self._chance.random()
        if not self.well and luck < 0.05:
            return web.Response(status=503)
        if not self.well and luck < 0.08:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=204)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """On this machine."""
        app = web.Application()
        app.router.add_post("/hook", self.take)
        server = TestServer(app)
        await server.start_server()
        self.url = str(server.make_url("/hook"))
        try:
            yield
        finally:
            await server.close()

    def check(self, database: Path) -> None:
        """Everything that happened was told, in order within a session; repeats have the same id."""
        assert self.problems == []
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as file:
            saved: dict[str, list[str]] = defaultdict(list)
            for name, session in file.execute("select id, session from notice order by n"):
                saved[session or name].append(name)
            sessions = {row[0] for row in file.execute("select id from session")}
            texts = file.execute("select id, direction, state from message where provider = 'twilio'").fetchall()
        for key, names in saved.items():
            assert list(dict.fromkeys(self.came[key])) == names, f"what was told of {key}"
            places = [names.index(name) for name in self.came[key]]
            assert places == sorted(places), f"order of what was told of {key}"
        told = {name for names in self.came.values() for name in names}
        expected = {f"session.opened:{session}" for session in sessions}
        expected |= {f"sms.{'received' if direction == 'in' else 'sent'}:{text}" for text, direction, _ in texts}
        expected |= {f"sms.{state}:{text}" for text, _, state in texts if state in {"delivered", "undelivered", "failed"}}
        assert expected - told == set(), "what was not told"


async def test_a_soak_with_every_fault_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Whatever breaks: each text in is in one session, each text out is with the provider once or failed with a reason."""
    print(f"\nSEED={SEED} SOAK={SOAK:g}")
    chance = random.Random(SEED)
    receiver, disorder = Receiver(chance), Disorder(duplicates=0.1, loss=0.1, shuffle=True)
    async with RoughProvider(opt_out="off", disorder=disorder, seed=SEED, hang_seconds=4.0) as twilio, receiver.listening():
        twilio.faults |= TROUBLED
        config = settings(
            tmp_path,
            twilio.url,
            [agent("ana", "support_sms"), agent("ben", "support_sms")],
            hooks=[{"name": "crm", "url": receiver.url, "secret": SECRET, "events": ["*"], "timeout": 1.0}],
        )
        config["sms"]["limiter"] = False
        server = ServerProcess(tmp_path, config)
        twilio.inbound_url = f"{server.url}/twilio/sms"
        crowd, program = Crowd(twilio, chance), Program(server.url, chance)
        desks = [Desk(server.url, name, chance) for name in ("ana", "ben")]
        handsets = [f"+1555010010{n}" for n in range(6)] + [*TROUBLED, QUITTER]
        jobs = [crowd.write(handset, NUMBER, pause=0.3) for handset in handsets]
        jobs += [crowd.write(f"+1555010010{n}", OTHER_NUMBER, pause=1.5) for n in range(0, 6, 2)]
        jobs += [program.work(name, pause=0.25) for name in ("bills", "visits")]
        async with server, at_work(*(desk.work() for desk in desks)):
            async with asyncio.TaskGroup() as writing:
                for job in jobs:
                    writing.create_task(job)
                kills = await break_things(server, twilio, chance)
                crowd.stopping = program.stopping = True
                for desk in desks:
                    desk.closing = True
            twilio.well = receiver.well = True
            await settle(server.database, unanswered, "texts without an answer")
        async with server:
            await settle(server.database, unsettled, "texts on their way")
        async with server:  # a start asks what became of texts whose reports were lost; later it is asked every ten minutes
            await settle(server.database, undecided, "texts of unknown end")
            await settle(server.database, untold, "notices on their way")
            count = Count(server.database, twilio, crowd)
            print(f"{kills} kills: {count}; program {dict(program.answers)}; {sum(map(len, receiver.came.values()))} notices")
            count.check_in()
            failed = count.check_out()
            assert [dict(row) for row in failed.values() if not row["error_code"] or row["state"] != "failed"] == []
            words = Counter(row["body"] for row in count.messages if row["author"].startswith("api:"))
            assert {body: times for body, times in words.items() if times > 1} == {}, "texts of the program that are there twice"
            assert program.taken - set(words) == set(), "texts of the program that were lost"
            receiver.check(server.database)
            assert twilio.problems == []


def untold(database: Path) -> int:
    """Notices that wait to be delivered."""
    return ask(database, "select count(*) from delivery where state != 'done'")


def unfinished(database: Path) -> str:
    """The ends of the stories of all sessions that have a text without an answer, for whoever looks for the reason."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as file:
        stories = file.execute(
            """select session.id, text_state, closed_at, agent,
                   group_concat(timeline.n || ' ' || kind || ' ' || substr(data, 1, 120), x'0a')
               from session join timeline on timeline.session = session.id where session.id in (
                   select asked.session from message as asked where asked.direction = 'in' and not exists (
                       select * from message as said where said.direction = 'out' and said.body = 're: ' || asked.body))
               group by session.id"""
        ).fetchall()
    return "\n".join(f"{story[:4]}\n{story[4]}" for story in stories)


async def settle(database: Path, left: Callable[[Path], int], what: str) -> None:
    """Wait until nothing is left.

    Raises:
        AssertionError: Something was, for too long.
    """
    began = time.monotonic()
    while count := left(database):
        if time.monotonic() - began > SETTLED_WITHIN:
            raise AssertionError(f"{count} {what} after {SETTLED_WITHIN:g} s\n{unfinished(database)}")
        await asyncio.sleep(0.2)
    print(f"no {what} after {time.monotonic() - began:.1f} s")


async def break_things(server: ServerProcess, provider: Provider, chance: random.Random) -> int:
    """SIGKILL at chosen moments for `SOAK` seconds; returns how often."""
    provider.kill = partial(server.send, signal.SIGKILL)
    deadline, kills = time.monotonic() + SOAK, 0
    while time.monotonic() < deadline:
        await asyncio.sleep(chance.uniform(0.5, 3.0))
        moment = chance.choice(provider.MOMENTS)
        if moment != "any":
            await provider.reached(moment)
        await server.kill()
        kills += 1
        await server.start()
    print(f"load for {time.monotonic() - deadline + SOAK:.1f} s")
    return kills
