"""Hooks: every notice reaches every endpoint that wants it, at least once, in order within a session."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from bridge.events import SessionId
from bridge.hooks import FIRST_PAUSE, KEPT, LONGEST_ORDERED_PAUSE, LONGEST_PAUSE, MOST_AT_ONCE, TROUBLED_AFTER, Hooks
from bridge.journal import Journal, NoticeRow, SessionRow, Unit
from bridge.metrics import Metrics
from bridge.notices import verify
from bridge.settings import HookSettings

START, SECRET = 1_000_000.0, "a secret of at least sixteen characters"
GIVE_UP = 7200.0


class Receiver:
    """An endpoint that does what its script says, and takes everything beyond it."""

    def __init__(self) -> None:
        self.came: list[tuple[str, bytes]] = []
        """Id and body of every request, in order."""
        self.genuine: list[bool] = []
        self.script: list[int | dict[str, Any]] = []
        """Answers: a status, or more; 0 breaks the connection."""
        self.gate = asyncio.Event()
        """Closed, no answer goes out."""
        self.gate.set()
        self.open = 0
        self.most_open = 0
        self.clock: Callable[[], float] = lambda: START
        self.url = ""

    @property
    def ids(self) -> list[str]:
        return [name for name, _ in self.came]

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.came.append((request.headers["Sidetone-Delivery"], body))
        self.genuine.append(verify(body, request.headers, SECRET, self.clock()))
        answer = self.script.pop(0) if self.script else 204
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await self.gate.wait()
        finally:
            self.open -= 1
        if answer == 0:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(**answer) if isinstance(answer, dict) else web.Response(status=answer or 204)


class Post:
    """A journal, a worker and its receivers; time passes when a test says so."""

    def __init__(self, journal: Journal, names: dict[str, Receiver]) -> None:
        self.now = START
        self.journal = journal
        self.receivers = names
        self.registry = CollectorRegistry()
        self.timeout = 5.0
        self.metrics = Metrics(self.registry)
        for receiver in names.values():
            receiver.clock = self.clock

    def clock(self) -> float:
        return self.now

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Hooks]:
        """The worker; at the end it is gone like a process that was killed."""
        settings = [
            HookSettings(name=name, url=receiver.url, secret=SecretStr(SECRET), timeout=self.timeout, give_up_after=GIVE_UP)
            for name, receiver in self.receivers.items()
        ]
        hooks = Hooks(self.journal, settings, clock=self.clock, chance=lambda: 0.5, metrics=self.metrics)
        started = asyncio.Event()
        task = asyncio.create_task(hooks.run(started))
        await started.wait()
        try:
            yield hooks
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def notice(self, *names: str, endpoints: tuple[str, ...] = ("crm",), at: float | None = None) -> None:
        """Save notices; the session of `a1` is `a`, that of `-1` none."""
        rows = [
            NoticeRow(
                id=name,
                type="sms.received",
                session=None if name.startswith("-") else SessionId(name[0]),
                at=self.now if at is None else at,
                body=b'{"id":"%s"}' % name.encode(),
                endpoints=endpoints,
            )
            for name in names
        ]
        await self.journal.commit(Unit(notices=rows))

    async def state(self) -> tuple[int, dict[str, int]]:
        """Deliveries that wait, and dead letters by endpoint."""
        waiting = 0
        for name in self.receivers:
            waiting += len(await self.journal.deliveries_due(name, self.now + 1e9, 999))
        return waiting, await self.journal.dead_letters_by_endpoint()

    def count(self, outcome: str, endpoint: str = "crm") -> float:
        labels = {"endpoint": endpoint, "outcome": outcome}
        return self.registry.get_sample_value("sidetone_hook_deliveries_total", labels) or 0.0


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    """One receiver named crm."""
    async with receiving("crm") as receivers, Journal.open(f"sqlite:///{tmp_path}/journal.db") as journal:
        for name in "abcdefgh":
            row = SessionRow(state="open", customer=None, our_number="+15550100200", language="en", opened_at=START)
            await journal.commit(Unit(session=SessionId(name), expected_seq=0, row=row, snapshot=b"{}"))
        yield Post(journal, receivers)


@asynccontextmanager
async def receiving(*names: str) -> AsyncIterator[dict[str, Receiver]]:
    """Receivers on this machine."""
    receivers, servers = {name: Receiver() for name in names}, []
    for receiver in receivers.values():
        app = web.Application()
        app.router.add_post("/", receiver.take)
        server = TestServer(app)
        await server.start_server()
        servers.append(server)
        receiver.url = str(server.make_url("/"))
    try:
        yield receivers
    finally:
        for receiver in receivers.values():
            receiver.gate.set()
        for server in servers:
            await server.close()


async def until(holds: Callable[[], bool] | Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until *holds* does."""
    async with asyncio.timeout(10.0):
        while True:
            result = holds()
            if (await result) if not isinstance(result, bool) else result:
                return
            await asyncio.sleep(0.005)
    raise AssertionError(what)


async def settled(post: Post, *, failed: float = 0.0, delivered: float = 0.0, dead: float = 0.0) -> None:
    """Wait until so many attempts have ended so."""
    wanted = {"failed": failed, "delivered": delivered, "dead": dead}
    await until(lambda: all(post.count(outcome) >= times for outcome, times in wanted.items()), f"{wanted}")
    assert {outcome: post.count(outcome) for outcome in wanted} == wanted


async def test_a_notice_is_posted_as_it_was_saved_and_signed(post: Post) -> None:
    """The body is that of the journal, byte by byte, and the signature is good for it."""
    crm = post.receivers["crm"]
    async with post.working() as hooks:
        await post.notice("a1", "b1")
        hooks.kick()
        await settled(post, delivered=2)
    assert sorted(crm.came) == [("a1", b'{"id":"a1"}'), ("b1", b'{"id":"b1"}')]
    assert crm.genuine == [True, True]
    assert await post.state() == (0, {})


async def test_what_waited_while_nobody_worked_is_delivered_at_the_start(post: Post) -> None:
    """Nobody has to call."""
    await post.notice("a1", "a2", "a3")
    async with post.working():
        await settled(post, delivered=3)
    assert post.receivers["crm"].ids == ["a1", "a2", "a3"]


@pytest.mark.parametrize("answer", [500, 404, 301, {"status": 302, "headers": {"Location": "/elsewhere"}}, 0])
async def test_whatever_is_no_2xx_comes_again(post: Post, answer: int | dict[str, Any]) -> None:
    """After a pause, with the same id; redirects are not followed."""
    crm = post.receivers["crm"]
    crm.script = [answer]
    await post.notice("a1")
    async with post.working() as hooks:
        await settled(post, failed=1)
        hooks.kick()
        post.now += FIRST_PAUSE - 0.01
        hooks.kick()
        await asyncio.sleep(0.05)
        assert crm.ids == ["a1"]
        post.now += 0.01
        hooks.kick()
        await settled(post, failed=1, delivered=1)
    assert crm.ids == ["a1", "a1"]


async def test_no_answer_in_time_is_a_failure(post: Post) -> None:
    """A receiver that takes its time may have it: the notice comes again, with the same id."""
    post.timeout = 0.1
    crm = post.receivers["crm"]
    crm.gate.clear()
    await post.notice("a1")
    async with post.working() as hooks:
        await settled(post, failed=1)
        crm.gate.set()
        post.now += FIRST_PAUSE
        hooks.kick()
        await settled(post, failed=1, delivered=1)
    assert crm.ids == ["a1", "a1"]
    assert await post.journal.dead_letters(9) == []


async def test_pauses_double_up_to_an_hour(post: Post) -> None:
    """1, 2, 4 ... 3600 seconds."""
    crm = post.receivers["crm"]
    await post.notice("a1", at=START + 1e6)  # so that it is not given up meanwhile
    post.now = START + 1e6
    async with post.working() as hooks:
        for attempt in range(14):
            crm.script = [503]
            hooks.kick()
            await settled(post, failed=attempt + 1)
            pause = await post.journal.next_delivery("crm", post.now)
            assert pause is not None
            assert pause - post.now == pytest.approx(min(LONGEST_PAUSE, 2.0**attempt), abs=1e-6)
            post.now = min(pause, START + 1e6 + GIVE_UP - 1.0)
            if post.now < pause:
                break
    assert attempt == 12


async def test_a_later_notice_of_a_session_waits_for_the_earlier_one(post: Post) -> None:
    """Other sessions, and notices of none, go on meanwhile."""
    crm = post.receivers["crm"]
    crm.script = [500]
    await post.notice("a1")
    async with post.working() as hooks:
        await settled(post, failed=1)
        await post.notice("a2", "b1", "-1", "-2")
        hooks.kick()
        await settled(post, failed=1, delivered=3)
        assert set(crm.ids[1:]) == {"b1", "-1", "-2"}
        post.now += FIRST_PAUSE
        hooks.kick()
        await settled(post, failed=1, delivered=5)
    assert crm.ids[4:] == ["a1", "a2"]


async def test_at_most_eight_requests_are_open_at_once(post: Post) -> None:
    """And one of each session."""
    crm = post.receivers["crm"]
    crm.gate.clear()
    await post.notice(*[f"{name}{n}" for n in range(2) for name in "abcdef"], *[f"-{n}" for n in range(9)])
    async with post.working():
        await until(lambda: len(crm.came) == MOST_AT_ONCE, "eight")
        await asyncio.sleep(0.05)
        assert len(crm.came) == MOST_AT_ONCE
        crm.gate.set()
        await settled(post, delivered=21)
    assert crm.most_open == MOST_AT_ONCE
    for name in "abcdef":
        assert [item for item in crm.ids if item[0] == name] == [f"{name}0", f"{name}1"]


async def test_endpoints_do_not_wait_for_one_another(tmp_path: Path) -> None:
    """What one does not take, the other has."""
    async with receiving("slow", "quick") as receivers, Journal.open(f"sqlite:///{tmp_path}/journal.db") as journal:
        post = Post(journal, receivers)
        receivers["slow"].gate.clear()
        await post.notice(*[f"-{n}" for n in range(30)], endpoints=("slow", "quick"))
        async with post.working():
            await until(lambda: post.count("delivered", "quick") == 30, "all to the quick one")
            assert post.count("delivered", "slow") == 0
            receivers["slow"].gate.set()
            await until(lambda: post.count("delivered", "slow") == 30, "all to the slow one")


async def test_who_says_when_to_come_back_is_obeyed(post: Post) -> None:
    """Retry-After in seconds or as a date holds for everything that goes to the endpoint."""
    crm = post.receivers["crm"]
    crm.script = [{"status": 429, "headers": {"Retry-After": "90"}}]
    await post.notice("a1")
    async with post.working() as hooks:
        await settled(post, failed=1)
        await post.notice("b1")
        post.now += 89.0
        hooks.kick()
        await asyncio.sleep(0.05)
        assert crm.ids == ["a1"]
        post.now += 1.0
        date = format_datetime(datetime.fromtimestamp(post.now + 300, UTC), usegmt=True)
        crm.script = [{"status": 503, "headers": {"Retry-After": date}}] * 2
        hooks.kick()
        await settled(post, failed=3)
        assert await post.journal.next_delivery("crm", post.now) == pytest.approx(post.now + 300, abs=1.0)


@pytest.mark.parametrize(
    ("header", "pause"),
    [("soon", FIRST_PAUSE), ("-5", FIRST_PAUSE), ("", FIRST_PAUSE), ("9" * 400, LONGEST_ORDERED_PAUSE)],
)
async def test_a_retry_after_that_makes_no_sense_is_bounded(post: Post, header: str, pause: float) -> None:
    """Neither never nor at once."""
    post.receivers["crm"].script = [{"status": 503, "headers": {"Retry-After": header}}]
    await post.notice("a1")
    async with post.working():
        await settled(post, failed=1)
    assert await post.journal.next_delivery("crm", post.now) == pytest.approx(post.now + pause)


async def test_what_fails_too_long_becomes_a_dead_letter(post: Post) -> None:
    """What waited behind it goes on, the figure shows it, and it can be sent again."""
    crm = post.receivers["crm"]
    crm.script = [500]
    await post.notice("a1", "a2")
    post.now += GIVE_UP
    async with post.working() as hooks:
        await settled(post, dead=1, delivered=1)
        (dead,) = await post.journal.dead_letters(9)
        assert (dead.id, dead.last_error) == ("a1", "HTTP 500")
        assert await post.state() == (0, {"crm": 1})
        assert await hooks.redeliver(dead.n, post.now)
        assert not await hooks.redeliver(dead.n, post.now)
        await settled(post, dead=1, delivered=2)
    assert crm.ids == ["a1", "a2", "a1"]
    assert await post.state() == (0, {})
    async with post.working():
        await until(lambda: sample(post, "sidetone_hook_dead_letters") == 0.0, "none is dead")


def sample(post: Post, name: str) -> float | None:
    return post.registry.get_sample_value(name, {"endpoint": "crm"})


async def test_who_says_gone_is_not_asked_again_before_the_next_start(post: Post) -> None:
    """410: everything becomes a dead letter at once, and nothing is lost."""
    crm = post.receivers["crm"]
    crm.script = [410]
    await post.notice("a1")
    async with post.working() as hooks:
        await settled(post, dead=1)
        await post.notice("a2", "b1")
        hooks.kick()
        await settled(post, dead=3)
    assert crm.ids == ["a1"]
    assert {letter.id: letter.last_error for letter in await post.journal.dead_letters(9)} == {
        "a1": "HTTP 410",
        "a2": "switched off: it said 410 Gone",
        "b1": "switched off: it said 410 Gone",
    }
    async with post.working() as hooks:
        await until(lambda: sample(post, "sidetone_hook_dead_letters") == 3.0, "three are dead")
        for letter in await post.journal.dead_letters(9):
            await hooks.redeliver(letter.n, post.now)
        await settled(post, dead=3, delivered=3)


async def test_an_endpoint_that_takes_nothing_is_asked_more_and_more_rarely(post: Post) -> None:
    """Five sessions in vain: one request at a time, and a pause that doubles; one success ends it."""
    crm = post.receivers["crm"]
    crm.script = [500] * (TROUBLED_AFTER + 2)
    await post.notice(*[f"{name}1" for name in "abcde"])
    async with post.working() as hooks:
        await settled(post, failed=TROUBLED_AFTER)
        await post.notice("f1", "g1", "h1")
        hooks.kick()
        await asyncio.sleep(0.05)
        assert len(crm.came) == TROUBLED_AFTER
        post.now += 1.0
        hooks.kick()
        await settled(post, failed=TROUBLED_AFTER + 1)
        post.now += 1.0
        hooks.kick()
        await asyncio.sleep(0.05)
        assert len(crm.came) == TROUBLED_AFTER + 1
        post.now += 1.0
        hooks.kick()
        await settled(post, failed=TROUBLED_AFTER + 2)
        post.now += 4.0
        hooks.kick()
        await settled(post, failed=TROUBLED_AFTER + 2, delivered=8)
    assert crm.most_open <= MOST_AT_ONCE


async def test_one_session_that_is_never_taken_troubles_no_other(post: Post) -> None:
    """However often it fails, the next notice of another session goes out at once."""
    crm = post.receivers["crm"]
    await post.notice("a1")
    async with post.working() as hooks:
        for attempt in range(7):
            crm.script = [500]
            hooks.kick()
            await settled(post, failed=attempt + 1)
            post.now += 2.0**attempt
        post.now -= 1.0
        await post.notice("b1")
        hooks.kick()
        await settled(post, failed=7, delivered=1)
    assert crm.ids[-1] == "b1"


async def test_a_kill_in_the_middle_repeats_and_loses_nothing(post: Post) -> None:
    """What was under way comes again with its id; the order stays."""
    crm = post.receivers["crm"]
    crm.gate.clear()
    await post.notice("a1", "a2", "b1")
    async with post.working():
        await until(lambda: len(crm.came) == 2, "two under way")
    crm.gate.set()
    async with post.working():
        await settled(post, delivered=3)
    assert [name for name in crm.ids if name[0] == "a"] == ["a1", "a1", "a2"]
    assert [name for name in crm.ids if name[0] == "b"] == ["b1", "b1"]


async def test_what_was_told_a_week_ago_is_removed(post: Post, tmp_path: Path) -> None:
    """At a start and then every hour; what nobody took yet stays."""

    def kept() -> list[str]:
        with contextlib.closing(sqlite3.connect(tmp_path / "journal.db")) as file:
            return [name for (name,) in file.execute("select id from notice order by n")]

    await post.notice("-1", "-2", "-3")
    async with post.working():
        await settled(post, delivered=3)
    await post.notice("a1", endpoints=("nobody",))
    post.now += KEPT - 1.0
    async with post.working():
        await asyncio.sleep(0.1)
    assert kept() == ["-1", "-2", "-3", "a1"]
    post.now += 2.0
    async with post.working():
        await until(lambda: kept() == ["a1"], "three are gone")


class Fragile:
    """A journal that does not work for a while."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.failures = 2

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def delivery_done(self, n: int, at: float) -> bool:
        """Break at first."""
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the disk is full")
        return await self._journal.delivery_done(n, at)

    async def deliveries_due(self, endpoint: str, now: float, limit: int) -> Any:
        """Break once."""
        if self.failures == 2:
            self.failures -= 1
            raise RuntimeError("the disk is full")
        return await self._journal.deliveries_due(endpoint, now, limit)


async def test_a_database_that_does_not_work_for_a_while_costs_a_repeat(post: Post) -> None:
    """The worker goes on, and what it could not write down is told again."""
    journal = post.journal
    post.journal = Fragile(journal)  # type: ignore[assignment]
    await journal.commit(Unit(notices=[NoticeRow(id="-1", type="sms.sent", at=START, body=b"{}", endpoints=("crm",))]))
    async with post.working():
        await settled(post, delivered=1)
    assert post.receivers["crm"].ids == ["-1", "-1"]


async def test_of_several_nodes_one_tells(post: Post) -> None:
    """What other nodes save is found without a call; who may tell no more is silent, and begins anew when it may again."""
    receiver, mine = post.receivers["crm"], False
    settings = [HookSettings(name="crm", url=receiver.url, secret=SecretStr(SECRET))]
    hooks = Hooks(
        post.journal, settings, clock=post.clock, chance=lambda: 0.5, metrics=post.metrics, mine=lambda: mine, poll=0.02
    )
    await post.notice("a1")
    for turn in range(1, 3):
        mine = False
        started = asyncio.Event()
        task = asyncio.create_task(hooks.run(started))
        await started.wait()
        hooks.kick()
        await asyncio.sleep(0.1)
        assert len(receiver.ids) == turn - 1
        mine = True
        async with asyncio.timeout(5.0):
            while len(receiver.ids) < turn or (await post.state())[0]:  # noqa: ASYNC110  # nothing says when
                await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait([task])
        await post.notice(f"a{turn + 1}")
    assert receiver.ids == ["a1", "a2"]


async def test_a_node_that_stood_still_before_its_request_is_silent(post: Post) -> None:
    """It has the notice in its hands and finds that another node tells by now."""
    receiver, answers = post.receivers["crm"], [True]
    settings = [HookSettings(name="crm", url=receiver.url, secret=SecretStr(SECRET))]
    hooks = Hooks(
        post.journal,
        settings,
        clock=post.clock,
        chance=lambda: 0.5,
        metrics=post.metrics,
        mine=lambda: bool(answers and answers.pop(0)),
    )
    await post.notice("a1")
    started = asyncio.Event()
    task = asyncio.create_task(hooks.run(started))
    await started.wait()
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.wait([task])
    assert receiver.ids == []
    assert (await post.state())[0] == 1
