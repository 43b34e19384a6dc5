"""A stand-in for what supervisors see and do: a small house with people in line, at work and away."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec

from bridge.acd import Waiting
from bridge.alerts import Alert
from bridge.board import AgentRow, OnWork, QueueRow, SessionRow
from bridge.bulletins import Bulletin
from bridge.events import AgentId, Channel, QueueId, SessionId
from bridge.web.ports import Agreement, DeskRefusedError, Line
from bridge.web.ports_supervisor import Decided, Found, Posted, Snapshot, Standing, Trail

ANA, BEN = AgentId("ana"), AgentId("ben")
CALL, CHAT, OVER = SessionId("c-1"), SessionId("t-1"), SessionId("c-0")
NUMBER = "+15550100123"
MARKUP = "<b>Maria</b>"


def snapshot(now: float) -> Snapshot:
    """Ana is in a chat, Ben at lunch; a call waits."""
    work = OnWork(CHAT, "sms", NUMBER, MARKUP, now - 60, "chatting")
    agents = (
        AgentRow(
            ANA, "Ana Torres", ("day",), ("support",), "ready", None, now - 2000, True, False, (work,), 1, 3, 0, 5, 1, 245.0, True
        ),
        AgentRow(
            BEN, "Ben Okafor", (), ("support",), "not_ready", "Lunch", now - 60, False, False, (), 0, 2, 0, 0, 0, None, False
        ),
    )  # fmt: skip
    queue = QueueRow(
        queue=QueueId("support"), title="Support", channel="voice", waiting=1, oldest=now - 90, p50=65.0, p90=180.0, status="ok",
        basis="learned", ahead=1.0, capacity=2, agents_ready=0, agents_busy=1, agents_staffed=1, open_slots=0, service_level=0.75,
        target_share=0.8, answer_within=20.0, offered=9, answered=6, abandoned=2, short=1, average_wait=14.0, offers_made=4,
        offers_accepted=2, offers_delivered=1, trend=(0, 2, 1),
    )  # fmt: skip
    texts = msgspec.structs.replace(
        queue, queue=QueueId("texts"), title="Texts", channel="sms", waiting=0, oldest=None, status="free_agent", trend=(),
        service_level=None,
    )  # fmt: skip
    sessions = (
        SessionRow(
            CALL, "upcoming", NUMBER, None, "+15550100200", "support", "call", "", "queued", "none", (), now - 90, now - 99
        ),
        SessionRow(
            CHAT, "now", NUMBER, MARKUP, "+15550100200", "texts", "inbound", "manual", "none", "chatting", (ANA,), now - 60,
            now - 99, now - 30, None, ("text_failed",),
        ),
    )  # fmt: skip
    return Snapshot(now, agents, (queue, texts), sessions, now - 30_000)


class FakeSupervising:
    """Remembers what it was asked."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.picture = snapshot(now)
        self.asked: list[tuple[Any, ...]] = []
        self.refusal: str | None = None
        self.bells: set[asyncio.Queue[None]] = set()
        self.raised = [Alert("Line:support:1", "Line", "queue", "support", "waiting", 0.5, now - 90, now - 30, 1.0, 1.0)]
        self.bulletins = [
            Bulletin(
                id="b1", at=now, by=AgentId("sue"), by_name="Sue", scope="everybody", to="", words="Drill at ten", until=now + 60
            )
        ]  # fmt: skip
        self.doable: Mapping[Channel, Literal["waits", "served", "idle"]] = {"voice": "waits", "sms": "served"}

    def change(self, **agents: Any) -> None:
        """Something of Ana's row is another."""
        first, *rest = self.picture.agents
        self.picture = msgspec.structs.replace(self.picture, agents=(msgspec.structs.replace(first, **agents), *rest))
        for bell in self.bells:
            bell.put_nowait(None)

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Snapshot]]:
        bell: asyncio.Queue[None] = asyncio.Queue()
        bell.put_nowait(None)
        self.bells.add(bell)
        try:
            yield self._pictures(bell)
        finally:
            self.bells.discard(bell)

    async def _pictures(self, bell: asyncio.Queue[None]) -> AsyncIterator[Snapshot]:
        while True:
            await bell.get()
            yield self.picture

    def snapshot(self) -> Snapshot:
        return self.picture

    def alerts(self) -> tuple[tuple[Alert, ...], tuple[Alert, ...]]:
        over = msgspec.structs.replace(self.raised[0], id="x", cleared_at=self.now, acknowledged_by="Sue")
        return tuple(self.raised), (over,)

    def name_of(self, agent: str) -> str | None:
        return {"ana": "Ana Torres", "ben": "Ben Okafor"}.get(agent)

    def queue_title(self, queue: str) -> str:
        return queue.capitalize()

    def teams(self) -> tuple[str, ...]:
        return ("day",)

    def reasons(self) -> tuple[str, ...]:
        return ("Lunch",)

    async def previous(self, *, words: str, queue: str | None, after: SessionId | None, numbers: bool) -> Found:
        self.asked.append(("previous", words, queue, after, numbers))
        row = SessionRow(
            OVER, "previous", NUMBER, None, "+15550100200", "support", "call", "manual", "ended", "none", (), self.now - 9e4,
            self.now - 9.1e4, None, "call over",
        )  # fmt: skip
        return Found((row,) if after is None else (), OVER if after is None else None)

    async def trail(self, session: SessionId) -> Trail | None:
        if session != CALL:
            return None
        told: list[tuple[str, dict[str, Any]]] = [
            ("call.arrived", {"caller": NUMBER, "called": "+15550100200"}),
            ("flow.trace", {"state": "main", "line": 12, "action": "play", "detail": "welcome", "values": {}}),
            ("queue.joined", {"queue": "support", "channel": "voice", "waited": 0}),
            ("ewt.told", {"low": 1, "high": 3, "words": "One to three minutes."}),
            ("agent.offered", {"agent": "ana", "channel": "voice"}),
            ("text.received", {"message": "m", "body": "My secret", "media": [], "why": "a call is in progress"}),
            ("text.sent", {"message": "n", "body": "Our answer", "author": "agent:ana", "media": []}),
            ("consent.given", {"purpose": "session", "granted": True, "words": "May we text you?"}),
            ("supervisor.moved", {"by": "Sue", "to": None, "queue": "sales", "channel": "voice", "note": ""}),
        ]  # fmt: skip
        lines = tuple(Line(n, self.now, kind, data) for n, (kind, data) in enumerate(told, 1))
        agents: tuple[Any, ...] = ((ANA, "no_room"), (BEN, "not_ready"))
        return Trail(
            row=self.picture.sessions[0],
            reply_code="K7QM",
            language="en",
            lines=lines,
            ticks={},
            decisions=(
                Decided(self.now, "offer.deflect", "no_offer", "sms_not_faster", {"voice": {"p50": 60.5}, "caller": NUMBER}),
            ),
            waits=(Standing("voice", Waiting(QueueId("support"), 1, self.now - 90, 0, ANA, 2, agents), {ANA: "Ana Torres"}),),
            agreements=(Agreement(self.now, "session", True, "May we text you?", "en"),),
            explained={"id": session, "trail": [msgspec.to_builtins(line) for line in lines]},
        )

    def channels(self, session: SessionId) -> Mapping[Channel, Literal["waits", "served", "idle"]]:
        return self.doable if session in {CALL, CHAT} else {}

    async def move(
        self, by: AgentId, session: SessionId, channel: Channel, *, to: AgentId | None, queue: str | None, note: str
    ) -> None:
        self._do("move", by, session, channel, to, queue, note)

    async def take_over(self, by: AgentId, session: SessionId, channel: Channel) -> None:
        self._do("take_over", by, session, channel)

    async def end(self, by: AgentId, session: SessionId, channel: Channel, reason: str) -> None:
        self._do("end", by, session, channel, reason)

    async def set_state(self, by: AgentId, agent: AgentId, state: Literal["ready", "not_ready", "offline"], reason: str) -> None:
        self._do("set_state", by, agent, state, reason)

    async def sign_out(self, by: AgentId, agent: AgentId, reason: str) -> None:
        self._do("sign_out", by, agent, reason)

    async def post(self, by: AgentId, message: Posted) -> None:
        self._do("post", by, message)

    async def take_down(self, by: AgentId, bulletin: str) -> None:
        self._do("take_down", by, bulletin)

    def posted(self) -> tuple[Bulletin, ...]:
        return tuple(self.bulletins)

    def at_desk(self, agent: AgentId) -> tuple[Bulletin, ...]:
        assert agent
        return tuple(self.bulletins)

    async def read(self, agent: AgentId, bulletin: str) -> None:
        self._do("read", agent, bulletin)

    async def acknowledge(self, by: AgentId, alert: str) -> None:
        self._do("acknowledge", by, alert)

    def _do(self, *asked: Any) -> None:
        if self.refusal is not None:
            raise DeskRefusedError(self.refusal)
        self.asked.append(asked)
