"""A whole server without sockets: runner, desk, journal on disk, and loopback providers for calls and texts.

The journal and the telephone network outlive a `House.open` block, the server in it does not: its end is that of a process
that is killed. The clock stands still unless a test moves it.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image
from prometheus_client import CollectorRegistry

from bridge import events as e
from bridge.adapters import hook_rules_of
from bridge.app import load_menus
from bridge.cluster import NodeId
from bridge.cluster.memory import Hub, MemoryCluster
from bridge.desk import Desk
from bridge.floor import Floor
from bridge.floor_ops import WakeFloor
from bridge.journal import Committed, Journal, JournalUnavailableError, TimelineLine, Unit
from bridge.media_store import MediaStore
from bridge.metrics import Metrics
from bridge.news import News
from bridge.records import Records
from bridge.runner import LEASE, Runner
from bridge.session import State
from bridge.settings import Settings
from bridge.telephony.loopback import AgentPhone, LoopbackCallProvider
from bridge.web.ports import Preset
from sms.message import DeliveryReport, InboundText, OutboundText
from sms.provider import Accepted, Rejected, Unknown
from sms.providers.loopback import Handset, LoopbackNetwork, LoopbackSms
from tests.unit.bridge.story import OURS, START, support

CALLER = "+15550100123"
ANN, BEN = e.AgentId("ann"), e.AgentId("ben")
PHONE = "loopback:ann"


FOR_EVER = 30.0
"""Seconds; a busy machine is given time, and whoever waits for nothing is told."""


def settings(folder: Path, **changes: Any) -> Settings:
    """One number, a queue for calls and a desk for texts, an agent at each; texting is always offered."""
    spec: dict[str, Any] = {
        "brand": "Example",
        "data": folder,
        "numbers": [{"number": OURS, "flow": "support", "desk": "support_sms"}],
        "queues": [
            {"id": "support", "desk": "support_sms", "offers": {"mode": "always"}},
            {"id": "support_sms", "channel": "sms"},
        ],
        "agents": [
            {"id": "ann", "name": "Ann", "queues": ["support"], "phone": PHONE, "skills": ["lang:en", "billing", "technical"]},
            {"id": "ben", "name": "Ben", "queues": ["support_sms"]},
        ],
        "hours": {"support_hours": {}},
        "sms": {"reopen_window": 0},
    }
    return Settings(**(spec | changes))


def picture() -> bytes:
    """A small PNG."""
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, "PNG")
    return data.getvalue()


class FragileJournal(Journal):
    """A journal whose database does not work for a while."""

    broken = False
    unheard = 0
    """So many commits are saved, and nobody hears of it."""

    async def commit(self, unit: Unit) -> Committed:
        """Save, or not."""
        if self.broken:
            raise JournalUnavailableError("the disk is full")
        committed = await super().commit(unit)
        if self.unheard:
            self.unheard -= 1
            raise JournalUnavailableError("the connection was lost")
        return committed


class SlowSms(LoopbackSms):
    """A loopback provider whose answers can be held back."""

    def __init__(self, *args: Any, **names: Any) -> None:
        super().__init__(*args, **names)
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, text: OutboundText) -> Accepted | Rejected | Unknown:
        """Wait at the gate, then send."""
        await self.gate.wait()
        return await super().send(text)


class House:
    """The server in its world.

    Args:
        folder: Keeps the journal and the media between two openings.
    """

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.now = START
        self.settings = settings(folder, **changes)
        self.network = LoopbackNetwork(delay=0.02, clock=self.clock)
        self.caller: Handset = self.network.handset(CALLER)
        self.hub, self.node = Hub(), "main"
        self.join_as: type[MemoryCluster] = MemoryCluster
        self.lease = LEASE
        self._prompts = folder / "no prompts"  # so that every prompt is over at once
        self.alive = False

    def clock(self) -> float:
        """Seconds that pass when a test says so."""
        return self.now

    @asynccontextmanager
    async def open(self) -> AsyncIterator["House"]:
        """Start the server; at the end it is gone, without a goodbye to anybody."""
        async with AsyncExitStack() as stack:
            url = self.settings.journal_url
            self.journal = await stack.enter_async_context(FragileJournal.open(url))
            cluster = await stack.enter_async_context(self.join_as(NodeId(self.node), self.hub))
            self.news = News(cluster)
            self.calls = LoopbackCallProvider(
                self._sink(self._on_call),
                self._prompts,
                agent_phones={PHONE: AgentPhone(answer_after=0.02)},
            )
            self.sms = SlowSms(self.network, on_text=self._sink(self._on_text), on_report=self._sink(self._on_report))
            self.floor = Floor(self.settings, now=self.now)
            self.runner = Runner(
                self.settings,
                journal=self.journal,
                floor=self.floor,
                flows={"support": support()},
                menus=load_menus(self.settings),
                hook_rules=hook_rules_of(self.settings),
                call_providers={"loopback": self.calls},
                sms_provider=self.sms,
                cluster=cluster,
                media=MediaStore(self.settings.data / "media"),
                metrics=Metrics(CollectorRegistry()),
                clock=self.clock,
                lease=self.lease,
            )
            self.desk = Desk(
                self.runner, presets=lambda _: (Preset("form", "Form", "The form: https://example.com/form"),), news=self.news
            )
            self.records = Records(self.runner, draining=lambda: False)
            await stack.enter_async_context(self.sms)
            await stack.enter_async_context(self.calls)
            started = asyncio.Event()
            task = asyncio.create_task(self.runner.run(started))
            self.alive = True
            try:
                await started.wait()
                yield self
            finally:
                self.alive = False
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled() and task.exception() is not None:
                    raise AssertionError("the runner broke") from task.exception()

    def _sink(self, take: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        async def sink(thing: Any) -> None:
            if self.alive:
                await take(thing)

        return sink

    async def _on_call(self, event: e.CallEvent) -> None:
        await self.runner.call_event(event)

    async def _on_text(self, text: InboundText) -> None:
        await self.runner.intake.text_arrived(text)

    async def _on_report(self, report: DeliveryReport) -> None:
        await self.runner.intake.text_reported(report)

    # --- what is asked of it

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for it."""
        async with asyncio.timeout(FOR_EVER):
            while not condition():  # noqa: ASYNC110  # what is waited for knows nothing of events
                await asyncio.sleep(0.005)

    async def lines(self, kind: str, session: e.SessionId | None = None) -> list[TimelineLine]:
        """The lines of this kind in a session's timeline, as they are on disk."""
        return [line for line in await self.journal.timeline(session or self.session) if line.kind == kind]

    async def line(self, kind: str, count: int = 1) -> TimelineLine:
        """Wait until there are so many lines of this kind; the newest."""
        async with asyncio.timeout(FOR_EVER):
            while len(lines := await self.lines(kind)) < count:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.005)
        return lines[-1]

    @property
    def session(self) -> e.SessionId:
        """The session that was opened last and is still open."""
        return list(self.runner.sessions)[-1]

    @property
    def state(self) -> State:
        """The state of that session."""
        return self.runner.sessions[self.session].state

    async def stored(self, session: e.SessionId) -> State:
        """A session's state as it is on disk."""
        stored = await self.journal.session(session)
        assert stored is not None
        return msgspec.json.decode(stored.snapshot, type=State)

    @property
    def received(self) -> list[str]:
        """What the caller's phone has got."""
        return [text.body for text in self.caller.received]

    # --- what happens

    async def dial(self, caller: str | None = CALLER) -> e.LegId:
        """Call, choose English and the technical menu; wait for the offer or the line."""
        before = set(self.runner.sessions)
        leg = await self.calls.dial(caller, OURS)
        await self.until(lambda: bool(set(self.runner.sessions) - before))
        await self.calls.press(leg, "1")
        await self.calls.press(leg, "2")
        return leg

    async def to_the_line(self) -> e.LegId:
        """Call, and rather wait than text."""
        leg = await self.dial()
        async with asyncio.timeout(FOR_EVER):
            while not await self.lines("queue.joined"):
                if await self.lines("offer.made") and not await self.lines("offer.answered"):
                    await self.calls.press(leg, "2")
                await asyncio.sleep(0.005)
        return leg

    async def later(self, seconds: float) -> None:
        """Let time pass for everybody."""
        self.now += seconds
        await self.runner.do(WakeFloor())
        for session in list(self.runner.sessions):
            await self.runner.settled(session)
        self.runner.outbox.kick()

    async def ready(self, *agents: e.AgentId) -> None:
        """These agents sign in and want work."""
        for agent in agents:
            await self.desk.set_state(agent, "ready")

    async def accept(self, agent: e.AgentId) -> None:
        """The agent takes what rings at the desk."""
        await self.until(lambda: bool(self.desk.offers(agent)))
        [offer] = self.desk.offers(agent)
        await self.desk.accept(agent, offer.session, offer.channel)
