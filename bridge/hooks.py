"""Tells others what happened: signed POSTs, each notice at least once to each endpoint that wants it.

A notice is in the journal, with one delivery for each endpoint, before this module hears of it, and a delivery is done only
when the endpoint has said 2xx and the journal has that. So a crash, a lost answer or a slow receiver leads to a repeat with
the same id, never to a loss. What an endpoint hears of one session comes in the order in which it happened: a notice waits
for the one before it, while other sessions go on.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import TypeAlias

import aiohttp
import msgspec
import structlog

from bridge.journal import Delivery, Journal, JournalUnavailableError
from bridge.metrics import Metrics
from bridge.notices import DELIVERY, EVENT, sign
from bridge.settings import HookSettings

log = structlog.get_logger()

MOST_AT_ONCE = 8
"""Requests to one endpoint."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 3600.0
"""Seconds before a delivery is tried the second time, doubled each time, up to the longest."""
LONGEST_ORDERED_PAUSE = 86_400.0
"""Seconds that a receiver's Retry-After may ask for at most."""
TROUBLED_AFTER = 5
"""Sessions in a row, none of whose notices were taken, after which the endpoint itself counts as out of order: it is asked
for one thing at a time, more and more rarely, until it takes something again."""
LOOK_AGAIN = 60.0
"""Seconds after which the journal is looked at without anybody having called, and the longest pause of such an endpoint."""
KEPT, PORTION = 7 * 86_400.0, 200
"""Seconds for which a notice is kept after it was told, and how many are removed at once afterwards."""
HEADERS: Mapping[str, str] = MappingProxyType({"Content-Type": "application/json", "User-Agent": "Sidetone"})


class _Failed(msgspec.Struct, frozen=True):
    """The endpoint did not take a delivery."""

    error: str
    retry_after: float = 0.0
    """Seconds the receiver asked for."""
    gone: bool = False
    """410: it never wants to hear of us again."""


Outcome: TypeAlias = _Failed | None
"""None: delivered."""


class Hooks:
    """Delivers what is due, until cancelled. Endpoints do not wait for one another.

    Args:
        journal: Where the deliveries are.
        endpoints: Whom to tell. Deliveries to an endpoint that is no longer named wait until it is again.
        clock: Seconds since the epoch.
        chance: Evenly between 0 and 1; spreads what failed together.
        metrics: Counts the outcomes.
        mine: Whether it is still this node that tells, when there are several; asked right before each request. A node that stood
            still would tell old news after new ones, of which another has taken care.
        poll: Seconds after which the journal is looked at without anybody having called, as by another node.
    """

    def __init__(
        self,
        journal: Journal,
        endpoints: Sequence[HookSettings],
        *,
        clock: Callable[[], float],
        chance: Callable[[], float],
        metrics: Metrics,
        mine: Callable[[], bool] = lambda: True,
        poll: float = LOOK_AGAIN,
    ) -> None:
        self._metrics = metrics
        self._journal = journal
        self._clock = clock
        self._endpoints = [_Endpoint(journal, settings, clock, chance, metrics, mine, poll) for settings in endpoints]

    def kick(self) -> None:
        """There may be something to deliver."""
        for endpoint in self._endpoints:
            endpoint.kick()

    async def run(self, started: asyncio.Event) -> None:
        """Deliver until cancelled; what is under way then is delivered again at the next start. May be run again afterwards."""
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers=HEADERS) as http,
            asyncio.TaskGroup() as tasks,
        ):
            for endpoint in self._endpoints:
                tasks.create_task(endpoint.run(http))
            tasks.create_task(self._count_dead())
            tasks.create_task(self._forget())
            started.set()

    async def redeliver(self, n: int, now: float) -> bool:
        """Take the dead letter *n* up again. False: it is not one."""
        if not await self._journal.redeliver(n, now):
            return False
        self.kick()
        return True

    async def _count_dead(self) -> None:
        while True:
            with contextlib.suppress(Exception):  # a figure for the monitor; the database's own trouble is told elsewhere
                dead = await self._journal.dead_letters_by_endpoint()
                for endpoint in self._endpoints:
                    self._metrics.dead_letters.labels(endpoint.name).set(dead.get(endpoint.name, 0))
            await asyncio.sleep(15.0)

    async def _forget(self) -> None:
        """Remove what was told long ago: it repeats what stands in the journal anyway."""
        while True:
            try:
                while await self._journal.forget_told(self._clock() - KEPT, PORTION):  # noqa: ASYNC110  no waiting: portions
                    await asyncio.sleep(0.05)  # others write as well
            except Exception:
                log.exception("hook.unreadable", endpoint=None)
            await asyncio.sleep(3600.0)


class _Endpoint:
    """One receiver: what is under way to it, and how it has been of late."""

    def __init__(
        self,
        journal: Journal,
        settings: HookSettings,
        clock: Callable[[], float],
        chance: Callable[[], float],
        metrics: Metrics,
        mine: Callable[[], bool],
        poll: float,
    ) -> None:
        self.name = settings.name
        self._journal = journal
        self._settings = settings
        self._secret = settings.secret.get_secret_value()
        self._clock = clock
        self._chance = chance
        self._metrics = metrics
        self._mine = mine
        self._poll = poll
        self._kicked = asyncio.Event()
        self._busy: set[int] = set()
        """Deliveries under way."""
        self._failing: set[str] = set()
        """Whose notices were not taken since one was."""
        self._failures = 0
        """Of an endpoint that counts as out of order."""
        self._held_until = 0.0
        self._gone = False

    def kick(self) -> None:
        self._kicked.set()

    async def run(self, http: aiohttp.ClientSession) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._kicked.clear()
                try:
                    wait = await self._start_due(tasks, http)
                except JournalUnavailableError as error:
                    # What has to be delivered is in the database and waits.
                    log.warning("hook.unreadable", endpoint=self.name, reason=str(error))
                    wait = 1.0
                except Exception:
                    log.exception("hook.unreadable", endpoint=self.name)
                    wait = 1.0
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._kicked.wait()

    async def _start_due(self, tasks: asyncio.TaskGroup, http: aiohttp.ClientSession) -> float:
        """Start what can be started; returns the seconds until there may be more, unless kicked."""
        if not self._mine():
            return self._poll
        now = self._clock()
        room = (1 if self._failures else MOST_AT_ONCE) - len(self._busy)
        if room <= 0:
            return LOOK_AGAIN  # whatever ends kicks
        if now < self._held_until:
            return self._held_until - now
        under_way = set(self._busy)  # what is settled while we read would seem to be due still
        due = await self._journal.deliveries_due(self.name, now, MOST_AT_ONCE + len(under_way))
        for delivery in [delivery for delivery in due if delivery.n not in under_way][:room]:
            self._busy.add(delivery.n)
            tasks.create_task(self._run(delivery, http))
        soonest = await self._journal.next_delivery(self.name, now)
        return self._poll if soonest is None else min(self._poll, max(0.05, soonest - now))

    async def _run(self, delivery: Delivery, http: aiohttp.ClientSession) -> None:
        try:
            if not self._mine():
                return
            failed = _Failed("switched off: it said 410 Gone", gone=True) if self._gone else await self._post(delivery, http)
            await self._settle(delivery, failed)
        except Exception:
            # The row is as it was: it is delivered again.
            log.exception("hook.stuck", endpoint=self.name, delivery=delivery.id)
            await asyncio.sleep(1.0)
        finally:
            self._busy.discard(delivery.n)
            self.kick()

    async def _post(self, delivery: Delivery, http: aiohttp.ClientSession) -> Outcome:
        now = self._clock()
        headers = {EVENT: delivery.type, DELIVERY: delivery.id, **sign(delivery.body, self._secret, now)}
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout)
        try:
            async with http.post(
                self._settings.url, data=delivery.body, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                if 200 <= answer.status < 300:
                    return None
                pause = retry_after(answer.headers.get("Retry-After"), now)
                return _Failed(f"HTTP {answer.status}", pause, gone=answer.status == 410)
        except TimeoutError:
            return _Failed(f"no answer within {self._settings.timeout:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return _Failed(f"{type(error).__name__}: {error}"[:200])

    async def _settle(self, delivery: Delivery, failed: Outcome) -> None:
        now = self._clock()
        told = {"endpoint": self.name, "delivery": delivery.id, "attempts": delivery.attempts + 1}
        if failed is None:
            await self._journal.delivery_done(delivery.n, now)
            self._failing.clear()
            self._failures = 0
            self._count("delivered")
            return
        if failed.gone and not self._gone:
            self._gone = True
            log.error("hook.switched_off", endpoint=self.name, why="410 Gone", until="the next start")
        if failed.gone or now - delivery.at >= self._settings.give_up_after:
            await self._journal.delivery_failed(delivery.n, failed.error, None)
            self._count("dead")
            log.error("hook.dead_letter", why=failed.error, **told)
            return
        self._hold(delivery, failed.retry_after, now)
        pause = max(self._spread(FIRST_PAUSE, LONGEST_PAUSE, delivery.attempts), failed.retry_after)
        await self._journal.delivery_failed(delivery.n, failed.error, now + pause)
        self._count("failed")
        log.warning("hook.not_delivered", why=failed.error, pause=round(pause, 1), **told)

    def _hold(self, delivery: Delivery, retry_after: float, now: float) -> None:
        """Leave an endpoint alone that is out of order or says when to come back: it speaks for itself, not for one session."""
        self._failing.add(delivery.session or delivery.id)
        if len(self._failing) >= TROUBLED_AFTER:
            retry_after = max(retry_after, self._spread(FIRST_PAUSE, LOOK_AGAIN, self._failures))
            self._failures += 1
        self._held_until = max(self._held_until, now + retry_after)

    def _spread(self, first: float, longest: float, failures: int) -> float:
        """A pause that doubles with each failure, so that what failed together does not come back together."""
        return float(min(longest, first * 2.0 ** min(failures, 32)) * (0.75 + 0.5 * self._chance()))

    def _count(self, outcome: str) -> None:
        self._metrics.hooks.labels(self.name, outcome).inc()


def retry_after(header: str | None, now: float) -> float:
    """Seconds that a Retry-After asks for (RFC 9110 section 10.2.3: a number or a date); 0: none that can be read."""
    if header is None:
        return 0.0
    try:
        pause = float(header) if header.strip().isdecimal() else parsedate_to_datetime(header).timestamp() - now
    except (ValueError, OverflowError):
        return 0.0
    return min(LONGEST_ORDERED_PAUSE, max(0.0, pause))
