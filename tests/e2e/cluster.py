"""Several nodes that are one service, as real processes: what they share, what stands around them, and what is done to them.

PostgreSQL, Redis, the Twilio-shaped server with its handsets, and `sidetone serve` as often as there are nodes. The front is
played by the Twilio-shaped server, which brings each webhook to the next node that answers, as a balancer would.
"""

import asyncio
import contextlib
import itertools
import os
import re
import signal
import socket
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from sms.testing.twilio_server import TwilioServer
from tests.e2e import journal_checker as checker
from tests.e2e.server import NUMBER, Api, DeskClient, ServerProcess, agent, free_port, settings
from tests.postgres import Postgres
from tests.redis_kinds import TlsServer
from tests.redis_server import RedisServer

LEASE = 2.0
"""Seconds: short, so that tests need not wait for long. A busy machine does not get by with less."""
SETTLED_WITHIN = 120.0
SUPERVISOR = "sue"
SECRET = "the secret that all nodes of these tests share"
_WORK = re.compile(r'href="/supervisor/sessions/([^"]+)"')
_LOAD = re.compile(r'class="muted small load"[^>]*>(\d+) \|')


class Node(ServerProcess):
    """One of them."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        own = folder / name
        own.mkdir()
        web = {**config["web"], "port": free_port()}
        sip = {**config["sip"], "port": free_port(socket.SOCK_DGRAM), "rtp_ports": rtp_ports()}
        cluster = {**config["cluster"], "node": name}
        super().__init__(own, {**config, "web": web, "sip": sip, "cluster": cluster})
        self.name = name


class Service:
    """The nodes and the world around them. Made by `service`."""

    def __init__(
        self, twilio: TwilioServer, postgres: Postgres, redis: RedisServer | TlsServer, journal: str, nodes: Collection[Node]
    ) -> None:
        self.twilio = twilio
        self.postgres = postgres
        self.redis = redis
        self.journal = journal
        self.nodes = {node.name: node for node in nodes}
        self.kept: dict[str, str] = {}
        """Texts that got a 2xx: the provider's id, and the words."""
        self.fences: dict[str, list[int]] = defaultdict(list)
        self._turn = itertools.count()
        self._pinned: dict[tuple[str, str], str] = {}
        """By handset and words, the node that is to get them."""
        self.down: set[str] = set()
        """Nodes that the front has been told to leave out."""
        twilio.route = self._route
        twilio.inbound_url = "http://front.example/twilio/sms"  # nobody is there: webhooks are routed

    def __getitem__(self, name: str) -> Node:
        """The node with this name."""
        return self.nodes[name]

    def _route(self, url: str, fields: Mapping[str, str]) -> str:
        """The next node for each webhook, or the one that a test wants for this handset."""
        path = "/" + url.split("/", 3)[3]
        pinned = self._pinned.get((fields.get("From", ""), fields.get("Body", "")))
        if pinned is not None:
            return self.nodes[pinned].url + path
        there = [node for node in self.nodes.values() if node.alive and node.name not in self.down] or list(self.nodes.values())
        return there[next(self._turn) % len(there)].url + path

    async def text(self, handset: str, body: str, *, at: str | None = None, to: str = NUMBER, within: float = 60.0) -> str:
        """Write to us, by the front or to the node *at*; returns when it was acknowledged, with the provider's id."""
        if at is None:
            sid = await self.twilio.text(handset, to, body, within=within)
        else:
            self._pinned[handset, body] = at
            try:
                sid = await self.twilio.text(handset, to, body, within=within)
            finally:
                del self._pinned[handset, body]
        self.kept[sid] = body
        return sid

    @asynccontextmanager
    async def api(self, node: str) -> AsyncIterator[Api]:
        """Programs that talk to this node."""
        async with Api.open(self[node].url) as api:
            yield api

    @asynccontextmanager
    async def desk(self, node: str, name: str) -> AsyncIterator[DeskClient]:
        """An agent at a desk of this node, signed in, with the page's websocket open."""
        async with DeskClient(self[node].url, name) as desk:
            await desk.sign_in()
            async with desk.watching():
                yield desk

    # --- what is done to nodes

    async def kill(self, name: str) -> float:
        """SIGKILL; returns when it was, in seconds since the epoch."""
        at = time.time()
        await self[name].kill()
        return at

    def stop(self, name: str) -> float:
        """SIGSTOP: it sleeps, with all it holds; the front leaves it out. Returns when, in seconds since the epoch."""
        self.down.add(name)
        self[name].send(signal.SIGSTOP)
        return time.time()

    def cont(self, name: str) -> None:
        """SIGCONT: it goes on and does not know that it slept."""
        self[name].send(signal.SIGCONT)
        self.down.discard(name)

    def lose_redis(self) -> float:
        """SIGKILL: everything in it is gone. Returns when, in seconds since the epoch."""
        self.redis.stop(signal.SIGKILL)
        return time.time()

    def lose_journal(self) -> float:
        """Stop PostgreSQL. Returns when, in seconds since the epoch."""
        self.postgres.stop()
        return time.time()

    async def terminate(self, name: str, *, within: float = 60.0) -> int:
        """SIGTERM, and wait until it has drained and ended; returns the exit status."""
        self[name].send(signal.SIGTERM)
        return await self[name].ended(within)

    async def restart(self, name: str) -> None:
        """Start a node that has ended, under the same name."""
        await self[name].start()

    # --- what is known in the end

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Ask the journal."""
        url = self.journal.replace("+psycopg", "")
        with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as connection:
            return list(connection.execute(query.encode()).fetchall())

    def one(self, query: str) -> Any:
        """The one value that *query* gives."""
        (row,) = self.rows(query)
        (value,) = row.values()
        return value

    async def owners(self) -> dict[str, list[str]]:
        """By session, who holds its lease."""
        owners: dict[str, list[str]] = defaultdict(list)
        redis: Any = Redis.from_url(self.redis.inside)  # its types do not know whether it waits
        try:
            async for key in redis.scan_iter("sidetone:lease:*"):
                node = await redis.hget(key, "node")
                if node is not None:
                    owners[key.decode().rpartition(":")[2].strip("{}")].append(node.decode())
        finally:
            await redis.aclose()
        return owners

    async def owners_of_open(self) -> dict[str, str]:
        """By open session, the name of the node that works on it."""
        open_now = {row["id"] for row in await asyncio.to_thread(self.rows, "select id from session where closed_at is null")}
        return {session: self._name_of(nodes[0]) for session, nodes in (await self.owners()).items() if session in open_now}

    async def closed_ones(self) -> set[str]:
        """Sessions that are over."""
        return {row["id"] for row in await asyncio.to_thread(self.rows, "select id from session where closed_at is not null")}

    async def owner(self, session: str) -> str | None:
        """The name of the node that works on *session*; None while nobody does."""
        owners = (await self.owners()).get(session, [])
        return self._name_of(owners[0]) if owners else None

    def _name_of(self, node: str) -> str:
        """A node's own name, whatever it adds to it to tell its lives apart."""
        return next(name for name in self.nodes if node == name or re.match(rf"{re.escape(name)}\W", node))

    async def shown(self, node: str, board: str) -> dict[str, str]:
        """The rows of a supervisor's board there, as they stand on the page."""
        async with DeskClient(self[node].url, SUPERVISOR) as desk:
            await desk.sign_in()
            headers, address = {"Origin": self[node].url}, f"{self[node].url}/supervisor/ws?board={board}"
            async with desk.http.ws_connect(address, headers=headers) as page, asyncio.timeout(10.0):
                rows: dict[str, str] = (await page.receive_json()).get("rows", {})
        return rows

    async def board(self, node: str) -> checker.Board:
        """What a supervisor and a program see of the floor there."""
        rows = await self.shown(node, "agents")
        async with self.api(node) as api:
            waits = (await api.get("/wait_times"))["queues"]
        return checker.Board(
            chats={name: int(load[1]) for name, row in rows.items() if (load := _LOAD.search(row))},
            work={name: frozenset(_WORK.findall(row)) for name, row in rows.items()},
            waiting={queue: wait["waiting"] for queue, wait in waits.items()},
        )

    async def evidence(self) -> checker.Evidence:
        """Everything that the checker looks at, as it is now."""
        evidence = checker.read_journal(self.journal)
        evidence.kept = dict(self.kept)
        evidence.given = checker.taken_by(self.twilio)
        evidence.owners = await self.owners()
        evidence.fences = self.fences
        evidence.boards = {node.name: await self.board(node.name) for node in self.nodes.values() if node.alive}
        return evidence

    async def check(self) -> checker.Evidence:
        """Wait until everything has settled; then nothing may be wrong.

        Raises:
            AssertionError: Something is, with everything that is.
        """
        began, before = time.monotonic(), list[str]()
        while True:
            evidence = await self.evidence()
            wrong = checker.problems(evidence)
            if not wrong or time.monotonic() - began > SETTLED_WITHIN:
                break
            if wrong != before:
                print(f"after {time.monotonic() - began:.1f} s not settled:", *wrong, sep="\n    ")
                before = wrong
            await asyncio.sleep(0.5)
        assert wrong == [], "\n".join([*wrong, *(f"--- {node.name}\n{node.said()}" for node in self.nodes.values())])
        assert self.twilio.problems == []
        return evidence

    async def closed(self, session: str) -> bool:
        """Whether nothing more is expected of *session*."""
        return self.one(f"select closed_at from session where id = '{session}'") is not None

    async def all_answered(self) -> bool:
        """Whether agents, as `Worker` is one, have answered every text."""
        waiting = self.one(
            """select count(*) from message as asked where asked.direction = 'in' and not exists (
               select * from message as said where said.direction = 'out' and said.body = 're: ' || asked.body)"""
        )
        return bool(waiting == 0)

    async def lines(self, node: str, session: str, kind: str) -> list[dict[str, Any]]:
        """The data of every line of this kind that *node* shows."""
        async with self.api(node) as api:
            return [line["data"] for line in (await api.session(session))["timeline"] if line["kind"] == kind]

    async def watch(self) -> None:
        """Look again and again under which fences sessions are saved, until cancelled."""
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                for row in await asyncio.to_thread(self.rows, "select id, fence from session"):
                    seen = self.fences[row["id"]]
                    if not seen or seen[-1] != row["fence"]:
                        seen.append(row["fence"])
            await asyncio.sleep(0.2)

    async def until(self, holds: Callable[[], Awaitable[Any]], what: str, within: float = SETTLED_WITHIN) -> Any:
        """Wait until *holds* gives something true, and return it.

        Raises:
            AssertionError: It did not in time.
        """
        deadline = time.monotonic() + within
        while True:
            with contextlib.suppress(aiohttp.ClientError, RedisError, psycopg.OperationalError):
                if found := await holds():
                    return found
            assert time.monotonic() < deadline, "\n".join(
                [f"not within {within} s: {what}", *(f"--- {node.name}\n{node.said()}" for node in self.nodes.values())]
            )
            await asyncio.sleep(0.1)


async def ring(desk: DeskClient) -> tuple[str, str] | None:
    """What rings at a desk: session and channel."""
    return desk.offers[0] if desk.offers else None


class Worker:
    """An agent who accepts what rings and answers each text once, at the desk of whatever node is there."""

    def __init__(self, service: Service, name: str, *homes: str) -> None:
        self._service = service
        self._name = name
        self._homes = homes or tuple(service.nodes)
        self.node = self._homes[0]
        """Where the desk is."""
        self.ready = False

    async def work(self) -> None:
        """Work until cancelled; when the node is gone or says nothing, at the next one."""
        for home in itertools.cycle(self._homes):
            self.node = home
            if self._service[home].alive:
                with contextlib.suppress(aiohttp.ClientError, ConnectionError, TimeoutError, AssertionError):
                    async with self._service.desk(home, self._name) as desk, self._service.api(home) as api:
                        if not self.ready:
                            await desk.go("ready")
                            self.ready = True
                        while self._service[home].alive and not desk.blind:
                            async with asyncio.timeout(5.0):
                                await self._look(desk, api)
                            await asyncio.sleep(0.1)
            await asyncio.sleep(0.1)

    async def _look(self, desk: DeskClient, api: Api) -> None:
        for session, channel in desk.offers:
            await desk.accept(session, channel)
        for session in desk.rows:
            view = await api.session(session)
            if view["text_state"] != "chatting":
                continue
            lines = view["timeline"]
            said = {line["data"]["body"] for line in lines if line["kind"] == "text.sent"}
            for line in lines:
                if line["kind"] == "text.received" and f"re: {line['data']['body']}" not in said:
                    await desk.say(session, f"re: {line['data']['body']}")


async def load(service: Service, handsets: Collection[str], *, pause: float = 0.05) -> None:
    """Texts every *pause* seconds, of one handset after the other, until cancelled. Each is retried until it is acknowledged."""
    async with asyncio.TaskGroup() as tasks:
        for n, handset in enumerate(itertools.cycle(handsets)):
            tasks.create_task(service.text(handset, f"{handset} {n}"))
            await asyncio.sleep(pause)


@asynccontextmanager
async def beside(*jobs: Awaitable[None]) -> AsyncIterator[None]:
    """Run *jobs* while the block does; when one breaks, so does the block."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(_run(job)) for job in jobs]
        try:
            yield
        finally:
            for task in running:
                task.cancel()


async def _run(job: Awaitable[None]) -> None:
    await job


_ranges = itertools.count()


def rtp_ports() -> list[int]:
    """A range that no other node of this process uses."""
    first = 20_000 + (os.getpid() % 20) * 1000 + (next(_ranges) % 10) * 100
    return [first, first + 99]


@contextmanager
def own_redis() -> Iterator[RedisServer]:
    """A Redis server that a test may stop and start."""
    with tempfile.TemporaryDirectory(prefix="sidetone-redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@asynccontextmanager
async def service(
    folder: Path,
    postgres: Postgres,
    *agents: Mapping[str, Any],
    names: Collection[str] = ("a", "b"),
    lease: float = LEASE,
    redis: TlsServer | None = None,
    **more: Any,
) -> AsyncIterator[Service]:
    """Nodes that take traffic, with everything around them. *redis* is one that runs; *more* replaces sections of settings."""
    with own_redis() if redis is None else contextlib.nullcontext(redis) as shared:
        async with TwilioServer(opt_out="off") as twilio:
            journal = postgres.database()
            supervisor = {**agent(SUPERVISOR), "roles": ["agent", "supervisor", "engineer"]}
            config = {
                **settings(folder, twilio.url, [*agents, supervisor]),
                "public_url": "http://front.example",
                "secret": SECRET,
                "journal": {"url": journal},
                "cluster": {"url": shared.url, "lease": lease},
                "desk_grace": 10,
                **more,
            }
            nodes = [Node(folder, name, config) for name in names]
            it = Service(twilio, postgres, shared, journal, nodes)
            async with contextlib.AsyncExitStack() as stack:
                for node in nodes:
                    stack.push_async_callback(_end, node)
                async with asyncio.TaskGroup() as starting:
                    for node in nodes:
                        starting.create_task(node.start())
                async with beside(it.watch()):
                    yield it


async def _end(node: Node) -> None:
    if node.alive:
        await node.kill()
