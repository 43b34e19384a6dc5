"""People who go on whatever breaks, and what breaks: for soaks of several nodes.

Who does what, and when what fails, follows from a seed; what comes of it in between depends on the machine, so the same seed
gives the same faults and not the same moments.
"""

import asyncio
import contextlib
import json
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
from redis.exceptions import RedisError

from bridge.telephony.softphone import CallFailedError, Softphone
from tests.e2e.cluster import LEASE, Node, Service
from tests.e2e.server import API_TOKEN, NUMBER, Api, DeskClient

TROUBLE = (aiohttp.ClientError, ConnectionError, TimeoutError)
"""What people have to live with while things break."""


class Crowd:
    """Everybody around the service.

    Args:
        service: What they use.
        chance: Who does what.
    """

    def __init__(self, service: Service, chance: random.Random) -> None:
        self.service = service
        self.chance = chance
        self.busy = True
        """False: nobody begins anything new, agents only answer."""
        self.closing = False
        """True: agents end what they have answered."""
        self.did: Counter[str] = Counter()
        self.taken: set[str] = set()
        """Words of a program that were taken for certain."""

    def somewhere(self) -> Node:
        """A node to which the front would let somebody."""
        nodes = list(self.service.nodes.values())
        there = [node for node in nodes if node.alive and node.name not in self.service.down]
        return self.chance.choice(there or nodes)

    # --- customers

    async def write(self, handsets: Collection[str], *, pause: float) -> None:
        """Texts of these handsets in any order; each is brought again until it was acknowledged."""
        async with asyncio.TaskGroup() as texts:
            number = 0
            while self.busy:
                await asyncio.sleep(self.chance.uniform(0, 2 * pause))
                number += 1
                handset = self.chance.choice(list(handsets))
                texts.create_task(self.service.text(handset, f"{handset} {number}", within=180.0))
                self.did["texts in"] += 1

    async def call(self, phone: Softphone) -> None:
        """Call again and again: go through the menu, wait, talk, hang up at any moment; sometimes take the offer to text."""
        while self.busy:
            await asyncio.sleep(self.chance.uniform(0.5, 4.0))
            try:
                call = await phone.call(f"sip:{NUMBER}@{self.somewhere().sip}", patience=8.0)
            except CallFailedError:
                self.did["calls refused"] += 1
                continue
            self.did["calls"] += 1
            for key in self.chance.choice(["12", "1211", "129", "12"]):
                await asyncio.sleep(self.chance.uniform(1.0, 2.5))
                if not call.ended.is_set():
                    await call.press(key)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.chance.uniform(0.0, 12.0)):
                    await call.ended.wait()
            await call.hang_up()

    async def program(self, name: str, recipients: Collection[str], *, pause: float) -> None:
        """Texts by the API, each asked for under its key until it was taken."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0)) as http, asyncio.TaskGroup() as texts:
            number = 0
            while self.busy:
                await asyncio.sleep(self.chance.uniform(0, 2 * pause))
                number += 1
                kind = self.chance.choice(["", "/sessionless"])
                document = {
                    "to": self.chance.choice(list(recipients)), "from": NUMBER, "text": f"{name} {number}", "purpose": "session",
                }  # fmt: skip
                texts.create_task(self._ask(http, kind, document))

    async def _ask(self, http: aiohttp.ClientSession, kind: str, document: dict[str, str]) -> None:
        words = document["text"]
        headers = {"Authorization": f"Bearer {API_TOKEN}", "Idempotency-Key": words.replace(" ", "-")}
        deadline = time.monotonic() + 60.0
        while time.monotonic() < deadline:
            with contextlib.suppress(*TROUBLE):
                url = f"{self.somewhere().url}/api/v1/sms{kind}"
                async with http.post(url, json=document, headers=headers) as answer:
                    self.did[f"API {answer.status}"] += 1
                    if answer.status == 202:
                        self.taken.add(words)
                        return
                    assert answer.status in {409, 429, 500, 503}, await answer.text()
            await asyncio.sleep(0.5)

    # --- agents

    async def serve(self, name: str, others: Collection[str], phone: Softphone | None = None) -> None:
        """Be at a desk of any node until cancelled: take what rings, answer each text, pass on, end."""
        while True:
            home = self.somewhere()
            until = time.monotonic() + self.chance.uniform(10.0, 40.0)
            with contextlib.suppress(*TROUBLE, AssertionError):
                async with DeskClient(home.url, name) as desk:
                    async with asyncio.timeout(15.0):
                        await desk.sign_in()
                    async with desk.watching(), self.service.api(home.name) as api:
                        while self._stays(home, desk, until):
                            async with asyncio.timeout(8.0):
                                if "presence is-ready" not in desk.page:
                                    await desk.go("ready")
                                    await desk.read()
                                await self._look(desk, api, others)
                            await asyncio.sleep(0.2)
            self.did["desks left"] += 1
            if phone is not None:
                for call in phone.calls[:-1]:
                    await call.hang_up()  # nobody is there any more
            await asyncio.sleep(0.3)

    def _stays(self, home: Node, desk: DeskClient, until: float) -> bool:
        """Whether an agent goes on at the desk they are at."""
        there = home.alive and home.name not in self.service.down and not desk.blind
        return there and not (self.busy and time.monotonic() > until)

    async def _look(self, desk: DeskClient, api: Api, others: Collection[str]) -> None:
        for session, channel in desk.offers:
            status = await desk.accept(session, channel)
            self.did[f"{channel} accepted {status}"] += 1
        for session in list(desk.rows):
            view = await api.session(session)
            if view["text_state"] == "chatting" and view["agent"] == desk.name:
                await self._chat(desk, session, view["timeline"], others)
            elif view["closed_at"] is None and view["call_state"] in {"none", "ended"}:
                await desk.post(f"/desk/{session}/wrap-up", note="", disposition="")

    async def _chat(self, desk: DeskClient, session: str, lines: list[dict[str, Any]], others: Collection[str]) -> None:
        said = {line["data"]["body"] for line in lines if line["kind"] == "text.sent"}
        asked = [line["data"]["body"] for line in lines if line["kind"] == "text.received"]
        for body in asked:
            if f"re: {body}" not in said:
                status = await desk.say(session, f"re: {body}")
                self.did[f"said {status}"] += 1
                return
        if self.closing or (self.busy and self.chance.random() < 0.02):
            self.did[f"ended {await desk.post(f'/desk/{session}/end-chat')}"] += 1
            await desk.post(f"/desk/{session}/wrap-up", note="", disposition="")
        elif self.busy and self.chance.random() < 0.02:
            to = self.chance.choice([f"agent:{other}" for other in others] + ["queue:support_sms"])
            self.did[f"passed on {await desk.post(f'/desk/{session}/transfer', to=to, note='')}"] += 1


class Chaos:
    """What is done to the nodes and to what they share, one or two things at a time.

    Args:
        service: The victim.
        chance: What, when and to whom.
        say: Told of everything.
    """

    def __init__(self, service: Service, chance: random.Random, say: Callable[[str], None]) -> None:
        self._service = service
        self._chance = chance
        self._say = say
        self.did: Counter[str] = Counter()
        self._free = set(service.nodes)
        """Nodes that nothing is done to just now."""
        self._redis = self._journal = False
        """Something is done to it."""

    async def rage(self, seconds: float) -> None:
        """Break things for so many seconds; afterwards everything runs."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            await asyncio.sleep(self._chance.uniform(1.0, 6.0))
            async with asyncio.TaskGroup() as faults:
                for _ in range(2 if self._chance.random() < 0.3 else 1):
                    faults.create_task(self._one())
                    await asyncio.sleep(self._chance.choice([0.0, 0.3, 1.5]))

    async def _one(self) -> None:
        faults: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self._kill, 4),
            (self._nap, 2),
            (self._sleep, 3),
            (self._drain, 3),
            (self._empty_redis, 3),
            (self._pause_redis_shortly, 2),
            (self._pause_redis, 2),
            (self._stop_journal, 3),
        ]
        fault = self._chance.choices([one for one, _ in faults], [often for _, often in faults])[0]
        await fault()

    def _note(self, fault: str, more: str) -> None:
        self._say(f"{fault}: {more}")
        self.did[fault] += 1

    def _victim(self) -> Node | None:
        if not self._free:
            return None
        name = self._chance.choice(sorted(self._free))
        self._free.discard(name)
        return self._service[name]

    async def _kill(self) -> None:
        if (node := self._victim()) is not None:
            pause = self._chance.choice([0.3, 2.0, 3 * LEASE])
            self._note("kill", f"{node.name}, back after {pause:g} s")
            await node.kill()
            await asyncio.sleep(pause)
            await self._back(node)

    async def _nap(self) -> None:
        """Shorter than the lease; the front has no time to notice."""
        if (node := self._victim()) is not None:
            pause = self._chance.uniform(0.2, 0.8) * LEASE
            self._note("nap", f"{node.name}, {pause:.1f} s")
            await self._stopped(node, pause)

    async def _sleep(self) -> None:
        """Longer than the lease; the front leaves it out."""
        if (node := self._victim()) is not None:
            pause = self._chance.uniform(1.1, 5.0) * LEASE
            self._note("sleep", f"{node.name}, {pause:.1f} s")
            self._service.down.add(node.name)
            await self._stopped(node, pause)
            self._service.down.discard(node.name)

    async def _stopped(self, node: Node, seconds: float) -> None:
        node.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            node.send(signal.SIGCONT)
            self._free.add(node.name)

    async def _drain(self) -> None:
        if (node := self._victim()) is not None:
            self._note("drain", node.name)
            began = time.monotonic()
            node.send(signal.SIGTERM)
            status = await node.ended(within=90.0)
            self._say(f"{node.name} ended with {status} after {time.monotonic() - began:.1f} s")
            assert status == 0
            await self._back(node)

    async def _back(self, node: Node) -> None:
        began = time.monotonic()
        while True:
            await node.start(wait=False)
            try:
                await node.ready()
                break
            except AssertionError:  # PostgreSQL or Redis is away: whoever keeps servers running starts it again
                if node.alive:
                    raise
                assert time.monotonic() - began < 90.0, node.said()
                self._say(f"{node.name} does not start and is started again")
        self._say(f"{node.name} is back after {time.monotonic() - began:.1f} s")
        self._free.add(node.name)

    async def _empty_redis(self) -> None:
        if not self._redis:
            self._redis = True
            pause = self._chance.choice([0.1, 1.0, 2 * LEASE, 13.0])
            self._note("Redis killed", f"empty after {pause:g} s")
            self._service.lose_redis()
            await asyncio.sleep(pause)
            await asyncio.to_thread(self._service.redis.start)
            self._redis = False

    async def _pause_redis_shortly(self) -> None:
        await self._paused(self._chance.uniform(0.2, 0.8) * LEASE)

    async def _pause_redis(self) -> None:
        await self._paused(self._chance.uniform(1.1, 7.0) * LEASE)

    async def _paused(self, seconds: float) -> None:
        if not self._redis:
            self._redis = True
            self._note("Redis stands still", f"{seconds:.1f} s")
            self._service.redis.send(signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                self._service.redis.send(signal.SIGCONT)
                self._redis = False

    async def _stop_journal(self) -> None:
        if not self._journal:
            self._journal = True
            pause = self._chance.choice([0.2, 2.0, 6.0])
            self._note("PostgreSQL stopped", f"back after {pause:g} s")
            await asyncio.to_thread(self._service.lose_journal)
            try:
                await asyncio.sleep(pause)
            finally:
                await asyncio.to_thread(self._service.postgres.start)
                self._journal = False


class Orphans:
    """How long open sessions were nobody's."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._since: dict[str, float] = {}
        self.longest = 0.0
        """Seconds."""

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            with contextlib.suppress(RedisError, OSError, psycopg.OperationalError, TimeoutError):
                async with asyncio.timeout(2.0):
                    still_open = {row["id"] for row in await self._rows()}
                    owned = set(await self._service.owners())
                now = time.monotonic()
                self._since = {session: self._since.get(session, now) for session in still_open - owned}
                self.longest = max([self.longest, *(now - since for since in self._since.values())])
            await asyncio.sleep(0.5)

    async def _rows(self) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self._service.rows, "select id from session where closed_at is null")


def logged(log: Path) -> tuple[Counter[str], list[str]]:
    """What a node has said: how often each event from level warning upward, and every line with a traceback, shortened."""
    often: Counter[str] = Counter()
    tracebacks = []
    for line in log.read_text(errors="replace").splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            if line and not line.startswith("Sidetone is up."):  # that is for whoever started it
                tracebacks.append(f"{log.parent.name}: not JSON: {line[:300]}")
            continue
        if said.get("level") in {"warning", "error", "critical"}:
            often[f"{said['level']} {said['event'][:80]}"] += 1
        if "exception" in said:
            where = said["exception"].strip()
            tracebacks.append(f"{log.parent.name}: {said.get('timestamp')} {said['event'][:120]}: …{where[-700:]}")
    return often, tracebacks


def memory(node: Node) -> float:
    """Megabytes that a node's process has in memory."""
    status = Path(f"/proc/{node.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def metrics(node: Node) -> dict[str, float]:
    """The numbers at `/metrics`, by name and labels."""
    async with aiohttp.ClientSession() as http, http.get(f"{node.url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))}


def by_name(numbers: dict[str, float], name: str) -> dict[str, float]:
    """Those of one metric, by labels."""
    found: dict[str, float] = defaultdict(float)
    for key, value in numbers.items():
        if key.partition("{")[0] == name:
            found[key.partition("{")[2].rstrip("}")] = value
    return found
