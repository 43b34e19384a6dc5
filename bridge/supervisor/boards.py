"""The live boards: what is watched is counted as it happens, and shown a few times a second at most, however busy it is."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from types import MappingProxyType
from typing import Literal
from zoneinfo import ZoneInfo

import structlog

from bridge import events as e
from bridge.acd import Target
from bridge.board import AgentRow, OnWork, QueueRow, SessionRow, session_row
from bridge.glance import Glance, at_a_glance
from bridge.journal import JournalUnavailableError, TimelineLine
from bridge.legs import CallState, TextLeg
from bridge.live import LiveSession
from bridge.runner import Runner
from bridge.session import State
from bridge.tally import COUNTED, Day, Trend
from bridge.web.ports_supervisor import Snapshot
from sms.message import TextState

log = structlog.get_logger()

PAUSE = 0.25
"""Seconds between two pictures of the same boards."""
TICK = 1.0
"""Seconds between two looks at the clock."""
FORECASTS_FOR = 2.0
"""Seconds after which the boards are drawn again although nothing has happened: forecasts change by themselves."""
STEP = 5.0
"""Seconds to which forecasts are rounded, so that the boards do not flicker."""


class Boards:
    """Counts what happens and draws the boards. A `bridge.runner.Listener`.

    Args:
        runner: Where the sessions are.
        watched: Whether an agent's desk is open.
        title: What people call a queue.
    """

    def __init__(self, runner: Runner, *, watched: Callable[[e.AgentId], bool], title: Callable[[str], str]) -> None:
        self._runner = runner
        self._watched = watched
        self._title = title
        self._settings = runner.settings
        self.day = Day(self._midnight(runner.clock()), self._target, self._names())
        self._counted: dict[e.SessionId, int] = {}
        """Number of the newest line of each session that has been counted: what the log says may be in the journal already."""
        self._ended: frozenset[e.MessageId] = frozenset()
        """Texts whose end was in the journal."""
        self._held: list[Callable[[], None]] | None = None
        """What happens while the journal is read; None: it is not."""
        self._trends: dict[str, Trend] = {}
        self._glances: dict[e.SessionId, Glance] = {}
        self._unread: dict[e.SessionId, list[TimelineLine]] = {}
        """Sessions whose lines are being read, and what has come meanwhile."""
        self._rows: dict[e.SessionId, SessionRow] = {}
        self._dirty: set[e.SessionId] = set()
        self._news = asyncio.Event()
        self._bells: set[asyncio.Event] = set()
        self._snapshot: Snapshot | None = None
        self._loading = asyncio.Lock()
        runner.listen(self)
        runner.count_again(self.recount)

    # --- life

    async def load(self) -> None:
        """Count today's lines again. What happens meanwhile is counted afterwards, once."""
        async with self._loading:
            await self._load()

    async def recount(self) -> None:
        """As `load`, as soon as the journal can be read."""
        while True:
            try:
                await self.load()
            except JournalUnavailableError:
                await asyncio.sleep(TICK)
            else:
                self._news.set()
                return

    async def _load(self) -> None:
        self._held = []
        try:
            journal, day = self._runner.journal, Day(self._midnight(self._runner.clock()), self._target, self._names())
            lines, ends = await journal.lines_of_day(day.start, COUNTED), await journal.ends_of_texts(day.start)
            self.day, self._counted = day, {}
            for session, line in lines:
                self._take(session, line)
            for message, state, at in ends:
                day.text_moved(message, state, at)
            self._ended = frozenset(message for message, _, _ in ends)
        finally:
            held, self._held = self._held, None
            for count in held:
                count()

    async def run(self) -> None:
        """Draw the boards for whoever looks, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_at_the_clock())
            while True:
                await self._news.wait()
                self._news.clear()
                self._snapshot = None
                for bell in self._bells:
                    bell.set()
                await asyncio.sleep(PAUSE)

    async def _look_at_the_clock(self) -> None:
        drawn = 0.0
        while True:
            await asyncio.sleep(TICK)
            now = self._runner.clock()
            try:
                self._tick(now)
            except Exception:  # the boards are no reason to stop
                log.exception("board.failed")
            if self._bells and now - drawn >= FORECASTS_FOR:
                drawn = now
                self._news.set()

    def _tick(self, now: float) -> None:
        """What changes without anything happening to a session: settings, the day, the curves."""
        if self._settings is not self._runner.settings:
            self._settings = self._runner.settings
            self.day.know(self._names())
            self._dirty |= set(self._rows)
            self._news.set()
        if (start := self._midnight(now)) != self.day.start:
            self.day.begin(start)
            self._counted = {session: n for session, n in self._counted.items() if session in self._runner.sessions}
            self._glances = {session: glance for session, glance in self._glances.items() if session in self._runner.sessions}
            self._news.set()
        for queue in self._runner.floor.queues:
            waiting = self._runner.floor.acd.queue_view(e.QueueId(queue), now).waiting
            self._trends.setdefault(queue, Trend()).note(waiting, now)

    # --- who looks

    def watch(self) -> AbstractAsyncContextManager[AsyncIterator[Snapshot]]:
        """The boards as they are, and again whenever they are not what they were; a slow reader misses some in between."""
        return self._watching()

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[AsyncIterator[Snapshot]]:
        bell = asyncio.Event()
        bell.set()
        self._bells.add(bell)
        try:
            yield self._pictures(bell)
        finally:
            self._bells.discard(bell)

    async def _pictures(self, bell: asyncio.Event) -> AsyncIterator[Snapshot]:
        while True:
            await bell.wait()
            bell.clear()
            yield self.snapshot()

    def snapshot(self) -> Snapshot:
        """All boards, drawn once for everybody who looks at the same moment."""
        if self._snapshot is None or not self._bells:
            now = self._runner.clock()
            self._snapshot = Snapshot(
                now, tuple(self._agents()), tuple(self._queues(now)), tuple(self._sessions()), self.day.start
            )
        return self._snapshot

    def changed(self) -> None:
        """Something that the boards show is not what it was."""
        self._news.set()

    # --- Listener

    def line_added(self, session: e.SessionId, line: TimelineLine) -> None:
        """Count it."""
        self._count(session, line)
        self._look_at(session, line)
        if line.kind == "session.closed":
            self._glances.pop(session, None)
            self._rows.pop(session, None)
        self.session_changed(session)

    def _look_at(self, session: e.SessionId, line: TimelineLine) -> None:
        if session not in self._runner.sessions:
            return  # it is over, and somebody has written into it
        if session in self._unread:
            self._unread[session].append(line)
        elif not self._glances.setdefault(session, Glance()).take(line):
            self._unread[session] = [line]
            self._runner.spawn(self._read(session))

    async def _read(self, session: e.SessionId) -> None:
        """Not every line was heard here in its turn."""
        try:
            glance = at_a_glance(await self._runner.journal.timeline(session))
        except JournalUnavailableError:
            glance = Glance()  # it is read with the next line
        finally:
            meanwhile = self._unread.pop(session)
        for line in meanwhile:
            glance.take(line)
        if session in self._runner.sessions:
            self._glances[session] = glance
            self.session_changed(session)

    def _count(self, session: e.SessionId, line: TimelineLine) -> None:
        if self._held is not None:
            self._held.append(lambda: self._take(session, line))
        else:
            self._take(session, line)

    def _take(self, session: e.SessionId, line: TimelineLine) -> None:
        if line.kind not in COUNTED or 0 < line.n <= self._counted.get(session, 0):
            return
        self._counted[session] = line.n
        try:
            self.day.take(session, line.at, line.kind, line.data)
        except (LookupError, TypeError, ValueError):  # a figure too few is no reason for a session or a start to fail
            log.exception("board.not_counted", kind=line.kind)

    def text_moved(self, session: e.SessionId, message: e.MessageId, state: TextState, code: str | None) -> None:  # noqa: ARG002
        """Count it."""
        at = self._runner.clock()
        if self._held is not None:
            self._held.append(lambda: self._text_moved(message, state, at))
        else:
            self._text_moved(message, state, at)
        self.session_changed(session)

    def _text_moved(self, message: e.MessageId, state: TextState, at: float) -> None:
        if message not in self._ended:
            self.day.text_moved(message, state, at)

    def session_changed(self, session: e.SessionId) -> None:
        """Its row is to be made anew."""
        self._dirty.add(session)
        self._news.set()

    def desk_changed(self, agent: e.AgentId) -> None:  # noqa: ARG002
        """Rows of agents are made anew each time."""
        self._news.set()

    # --- what was measured

    def unanswered_since(self, agent: e.AgentId) -> float | None:
        """Since when the customer has waited who has waited longest for this agent's answer by text; None: nobody."""
        acd = self._runner.floor.acd
        glances = [self._glances[chat] for chat in acd.agent_view(agent).chats if chat in self._glances]
        return min((glance.unanswered_since for glance in glances if glance.unanswered_since is not None), default=None)

    # --- drawing

    def _agents(self) -> Iterable[AgentRow]:
        acd = self._runner.floor.acd
        for agent in acd.agents:
            view, spec, counts = acd.agent_view(agent), acd.agent_spec(agent), self.day.agent(agent)
            yield AgentRow(
                agent=agent,
                name=spec.name,
                teams=spec.teams,
                queues=spec.queues,
                state=view.state,
                reason=view.reason,
                since=view.since,
                works=view.busy,
                ringing=view.offer is not None,
                work=tuple(self._work_of(view.call, view.chats)),
                chats=len(view.chats),
                max_chats=spec.max_chats,
                calls=0 if view.call is None else 1,
                answered=counts.answered,
                missed=counts.missed,
                average_handling=counts.average_handling,
                connected=self._watched(agent),
            )

    def _work_of(self, call: e.SessionId | None, chats: Iterable[e.SessionId]) -> Iterable[OnWork]:
        live = None if call is None else self._runner.sessions.get(call)
        if live is not None:
            state = live.state
            yield OnWork(
                state.id, "voice", state.customer, live.customer.name, self._row(live).since, _ON_CALL.get(state.call, "ringing")
            )
        for chat in chats:
            live = self._runner.sessions.get(chat)
            if live is not None:
                since = live.state.chat_since or live.state.opened_at
                yield OnWork(chat, "sms", live.state.customer, live.customer.name, since, "chatting")

    def _queues(self, now: float) -> Iterable[QueueRow]:
        floor = self._runner.floor
        for queue, settings in floor.queues.items():
            view, forecast = floor.acd.queue_view(e.QueueId(queue), now), floor.estimator.forecast(now, queue)
            counts, target, trend = self.day.queue(queue), floor.targets[queue], self._trends.get(queue)
            yield QueueRow(
                queue=e.QueueId(queue),
                title=self._title(queue),
                channel=settings.channel,
                waiting=view.waiting,
                oldest=round(now - view.longest_wait, 1) if view.waiting else None,
                p50=_stepped(forecast.p50),
                p90=_stepped(forecast.p90),
                status=forecast.status,
                basis=forecast.basis,
                ahead=forecast.ahead,
                capacity=forecast.capacity,
                agents_ready=view.agents_ready,
                agents_busy=view.agents_busy,
                agents_staffed=view.agents_staffed,
                open_slots=view.open_slots,
                service_level=counts.service_level,
                target_share=target.share,
                answer_within=target.answer_within,
                offered=counts.offered,
                answered=counts.answered,
                abandoned=counts.abandoned,
                short=counts.short,
                average_wait=counts.average_wait,
                offers_made=counts.offers_made,
                offers_accepted=counts.offers_accepted,
                offers_delivered=counts.offers_delivered,
                trend=() if trend is None else trend.peaks,
            )

    def _sessions(self) -> Iterable[SessionRow]:
        live = self._runner.sessions
        for gone in self._rows.keys() - live.keys():
            del self._rows[gone]
        for session in (self._dirty & live.keys()) | (live.keys() - self._rows.keys()):
            self._rows[session] = self._make_row(live[session])
        self._dirty.clear()
        return self._rows.values()

    def _row(self, live: LiveSession) -> SessionRow:
        """The session's row as it was drawn last, or drawn now."""
        return self._rows.get(live.state.id) or self._make_row(live)

    def _make_row(self, live: LiveSession) -> SessionRow:
        state, glance = live.state, self._glances.get(live.state.id)
        return session_row(
            state,
            name=live.customer.name,
            auto=self._is_automatic(state),
            unanswered_since=_unanswered(state) if glance is None else glance.unanswered_since,
            troubles=() if glance is None else sorted(glance.troubles),
        )

    def _is_automatic(self, state: State) -> bool:
        queue = self._runner.floor.queues.get(state.chat_queue or state.queue or "")
        if queue is not None and queue.auto_answer:
            return True
        acd = self._runner.floor.acd
        return any(acd.agent_spec(agent).auto_accept for agent in state.names if agent in acd.agents)

    # --- settings

    def _midnight(self, now: float) -> float:
        """When today began, where the house is: in the zone of the first opening hours."""
        zone = ZoneInfo(next((hours.zone for hours in self._runner.settings.hours.values()), "UTC"))
        return datetime.fromtimestamp(now, zone).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()

    def _target(self, queue: str) -> Target:
        return self._runner.floor.targets.get(queue) or Target()

    def _names(self) -> Mapping[str, e.AgentId]:
        return {agent.name: e.AgentId(agent.id) for agent in self._runner.settings.agents}


_ON_CALL: Mapping[CallState, Literal["talking", "held", "consulting"]] = MappingProxyType(
    {CallState.CONNECTED: "talking", CallState.HELD: "held", CallState.CONSULTING: "consulting"}
)
"""What the agent of a call is doing; in any other state some telephone rings."""


def _stepped(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds / STEP) * STEP


def _unanswered(state: State) -> float | None:
    """As far as the state alone tells, after a restart."""
    waits = state.text is TextLeg.CHATTING and state.heard and not state.answered
    return state.touched_at if waits else None
