"""A post office for tests: a real journal, a carrier that does as it is told, and an outbox between them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeAlias

from bridge.events import MessageId, SessionId, TextAccepted, TextState
from bridge.journal import Journal, MessageRow, MessageUpdate, OutboxDone, OutboxRow, Unit
from bridge.media_out import OutPlan
from bridge.outbox import FIRST_LOOK, Dress, Outbox, Outcome
from sms.message import DeliveryReport, OutboundText, RemoteMedia
from sms.pacing import Pace
from sms.provider import Accepted, Capabilities, NotSent, Rejected, Unknown

OURS, ANNA = "+15550100200", "+15550100123"
RECONCILE_AFTER = 15.0
START = 1_000_000.0
Answer: TypeAlias = Accepted | Rejected | Unknown
Found: TypeAlias = Accepted | NotSent | Unknown


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Carrier:
    """A provider that does what its script says, and takes everything beyond it."""

    name = "twilio"  # so that the table of error codes applies
    capabilities = Capabilities(
        media=False,
        two_way=True,
        delivery_reports=True,
        alphanumeric_sender=False,
        obeys_opt_out=False,
        max_characters=1600,
        max_media=0,
    )

    def __init__(self) -> None:
        self.sent: list[OutboundText] = []
        """Everything it was handed, in order."""
        self.looked_up: list[tuple[str, float, frozenset[str]]] = []
        self.asked: list[str] = []
        self.reports: dict[str, DeliveryReport] = {}
        self.answers: list[Answer | Exception] = []
        self.found: list[Found] = []
        self.gate = asyncio.Event()
        """Closed, no answer comes back."""
        self.gate.set()
        self.turns: asyncio.Semaphore | None = None
        """Each answer takes a turn, where there are turns."""

    @property
    def bodies(self) -> list[str]:
        return [text.body for text in self.sent]

    async def send(self, text: OutboundText) -> Answer:
        self.sent.append(text)
        answer = self.answers.pop(0) if self.answers else Accepted(ref=f"ref-{text.message}", segments=1, state="queued")
        await self.gate.wait()
        if self.turns is not None:
            await self.turns.acquire()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def reconcile(self, text: OutboundText, *, attempted_at: float, known_refs: Collection[str]) -> Found:
        self.looked_up.append((text.message, attempted_at, frozenset(known_refs)))
        return self.found.pop(0) if self.found else NotSent()

    async def look_up(self, ref: str) -> DeliveryReport | None:
        self.asked.append(ref)
        return self.reports.get(ref)

    async def fetch_media(self, media: RemoteMedia, *, max_bytes: int) -> bytes:
        raise NotImplementedError(media, max_bytes)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None


class PostOffice:
    """A journal, a carrier and an outbox between them."""

    def __init__(self, journal: Journal, pace: Pace | None = None) -> None:
        self.journal = journal
        self.pace = pace
        self.clock = Clock()
        self.carrier = Carrier()
        self.outcomes: list[Outcome] = []
        self.sessions: list[SessionId | None] = []
        self.fail_to_settle = 0
        self.dress: Dress | None = lambda message, _: OutPlan(
            message.body, tuple(f"https://media.example/{media.digest}" for media in message.media)
        )
        self.outbox = self.new_outbox()

    def new_outbox(self) -> Outbox:
        return Outbox(
            self.journal,
            {self.carrier.name: self.carrier},
            self.settle,
            clock=self.clock,
            reconcile_after=RECONCILE_AFTER,
            pace=self.pace,
            dress=self.dress,
            ask_every=0.02,
        )

    async def settle(self, session: SessionId | None, outcome: Outcome) -> None:
        if self.fail_to_settle:
            self.fail_to_settle -= 1
            raise RuntimeError("no")
        accepted = isinstance(outcome, TextAccepted)
        ref, segments = (outcome.ref, outcome.segments) if isinstance(outcome, TextAccepted) else (None, None)
        state: TextState = "accepted" if accepted else "failed"
        update = MessageUpdate(id=outcome.message, state=state, at=self.clock.now, provider_ref=ref, segments=segments)
        done = OutboxDone(outcome.message, "accepted" if accepted else "rejected", self.clock.now)
        await self.journal.commit(Unit(message_updates=[update], outbox_done=[done]))
        self.outcomes.append(outcome)
        self.sessions.append(session)

    async def put(self, name: str, **changes: Any) -> MessageId:
        """Keep a text to be sent."""
        message = MessageId(name)
        row: dict[str, Any] = {"recipient": ANNA, "author": "flow", "priority": 1, "created_at": self.clock.now}
        row |= {"expires_at": None, "due_at": self.clock.now, "purpose": None, "sender": OURS, "media": ()} | changes
        unit = Unit(
            messages=[
                MessageRow(
                    id=message,
                    session=None,
                    direction="out",
                    provider=self.carrier.name,
                    sender=row["sender"],
                    recipient=row["recipient"],
                    body=row.get("body", name),
                    media=row["media"],
                    purpose=row["purpose"],
                    state="pending",
                    author=row["author"],
                    created_at=row["created_at"],
                )
            ],
            outbox=[
                OutboxRow(
                    message=message,
                    priority=row["priority"],
                    created_at=row["created_at"],
                    due_at=row["due_at"],
                    expires_at=row["expires_at"],
                )
            ],
        )
        await self.journal.commit(unit)
        self.outbox.kick()
        return message

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The outbox works; at the end it is stopped as by a crash."""
        task = asyncio.create_task(self.outbox.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def crash(self) -> None:
        """The process is gone with all it remembered; the journal is not."""
        self.outbox = self.new_outbox()

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.now += seconds
        self.outbox.kick()

    async def later_until(self, condition: Callable[[], bool]) -> float:
        """Let time pass until it holds; returns how many seconds that took."""
        began = self.clock.now
        async with asyncio.timeout(5.0):
            while not condition():
                self.later(FIRST_LOOK)
                await asyncio.sleep(0.01)
        return self.clock.now - began

    async def quiet(self) -> None:
        """Wait until the outbox has nothing in its hands, twice over."""
        for _ in range(2):
            await until(lambda: self.outbox.idle)
            await asyncio.sleep(0.05)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it; five seconds are for ever."""
    async with asyncio.timeout(5.0):
        while not condition():  # noqa: ASYNC110  # what is waited for knows nothing of events
            await asyncio.sleep(0.005)
