"""The supervisor's side of the server: implements `bridge.web.ports_supervisor.Supervising`."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, TypeVar

import msgspec
import structlog

from bridge import events as e
from bridge.acd import UnknownAgent, UnknownQueue
from bridge.alerts import Alert
from bridge.board import SessionRow, matches
from bridge.bulletins import Bulletin, Bulletins
from bridge.cluster.roles import Tenure
from bridge.desk import Desk
from bridge.floor_ops import AssignWork, MoveInLine
from bridge.journal import TimelineLine
from bridge.legs import LIVE, CallState, TextLeg
from bridge.live import LiveSession, SessionAwayError
from bridge.news import News
from bridge.records import Records
from bridge.runner import Runner
from bridge.session import UnexpectedEvent
from bridge.supervisor.alerting import TOPIC as ALERTS
from bridge.supervisor.alerting import Alerting
from bridge.supervisor.boards import Boards
from bridge.supervisor.trail import row_of, trail_of
from bridge.web.console.core_words import of_away
from bridge.web.console.words import gettext as _
from bridge.web.ports import DeskRefusedError
from bridge.web.ports_supervisor import Found, Posted, Snapshot, Trail

log = structlog.get_logger()
T = TypeVar("T")

KEY = "bulletins"
"""Under which the journal keeps messages to agents."""
TOPIC = "bulletins"
"""What other nodes are told of: such a message has come, gone or been read."""
LOOK_EVERY = 5.0
"""Seconds between two looks at what alerts watch."""
PAGE = 50
"""Sessions that are over on one page."""
MOST_LOOKED_AT = 2000
"""Of them, when words are looked for; older ones are found by going on."""
NOTICE_LIVES = 3600.0
"""Seconds for which an agent is told that a supervisor has changed their state."""
_MAY_END = frozenset({TextLeg.INVITED, TextLeg.CHOOSING, TextLeg.DISMISSED})
"""Nobody has it and it stands in no line, but it may be ended."""
LONGEST_WORDS = 1000
"""Characters of a message to agents."""
Audit = Callable[[e.AgentId, str, str, Mapping[str, Any]], Awaitable[None]]
"""Writes down who did what to what (`session ID`, `agent ID`, ...), with what data."""


class Supervisor:
    """Boards, actions, messages, alerts, and why things went as they did.

    Args:
        runner: Where the sessions are.
        desk: The agents' desks.
        records: What has been kept.
        audit: Writes down what supervisors do; None: the log alone does.
        news: How other nodes are told, and tell; None: there are none.
    """

    def __init__(
        self,
        runner: Runner,
        desk: Desk,
        records: Records,
        *,
        audit: Audit | None = None,
        news: News | None = None,
    ) -> None:
        self._runner = runner
        self._desk = desk
        self._records = records
        self._audit = audit
        self._bulletins = Bulletins()
        self.boards = Boards(runner, watched=desk.watched, title=desk.queue_title)
        self.alerting = Alerting(runner, self.boards, title=desk.queue_title, news=news)
        self._measures = False
        """Of all nodes it is this one that measures what alerts watch."""
        self._news = news
        if news is not None:
            news.hear(TOPIC, self._bulletins_changed)
            news.hear(ALERTS, self._alerts_changed)

    # --- life

    async def load(self) -> None:
        """Read what today was so far, and what stands at desks."""
        await self.boards.load()
        await self.alerting.load()
        self._put_up(await self._runner.journal.value(KEY))

    async def run(self, started: asyncio.Event) -> None:
        """Keep the boards, alerts and messages up to date until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.boards.run())
            tasks.create_task(self._runner.roles.hold("alerts", self._measure))
            started.set()
            while True:
                await asyncio.sleep(LOOK_EVERY)
                try:
                    await self._alerts_changed("")
                    await self._bulletins_changed("")
                except Exception:  # calls in progress need not end with it
                    log.exception("supervisor.failed")

    async def _measure(self, tenure: Tenure) -> None:
        """Raise alerts, and take old messages away."""
        taken = False
        try:
            while True:
                try:
                    if not taken:
                        await self.alerting.take_over()
                        self._measures = taken = True
                    elif tenure.mine():
                        await self.alerting.look()
                        await self._expire()
                except Exception:  # as above
                    log.exception("supervisor.failed")
                await asyncio.sleep(LOOK_EVERY)
        finally:
            self._measures = False

    async def _alerts_changed(self, _about: str) -> None:
        await self.alerting.refresh(measures=self._measures)

    # --- looking

    def watch(self) -> AbstractAsyncContextManager[AsyncIterator[Snapshot]]:
        """The boards now and whenever they change."""
        return self.boards.watch()

    def snapshot(self) -> Snapshot:
        """The boards now."""
        return self.boards.snapshot()

    def alerts(self) -> tuple[tuple[Alert, ...], tuple[Alert, ...]]:
        """Raised now, and over."""
        return self.alerting.alarms.active, self.alerting.alarms.over

    def name_of(self, agent: str) -> str | None:
        """What an agent is called."""
        known = self._desk.agent(e.AgentId(agent))
        return None if known is None else known.name

    def queue_title(self, queue: str) -> str:
        """What people call a queue."""
        return self._desk.queue_title(queue)

    def teams(self) -> tuple[str, ...]:
        """Every team that somebody is in."""
        return tuple(sorted({team for agent in self._runner.settings.agents for team in agent.teams}))

    def reasons(self) -> tuple[str, ...]:
        """Reasons for not being ready."""
        return self._desk.reasons()

    async def previous(self, *, words: str, queue: str | None, after: e.SessionId | None, numbers: bool) -> Found:
        """Sessions that are over, newest first."""
        rows: list[SessionRow] = []
        looked, last = 0, after
        while len(rows) < PAGE and looked < MOST_LOOKED_AT:
            wanted = None if queue is None else e.QueueId(queue)
            stored = await self._runner.journal.sessions(PAGE, state="closed", queue=wanted, after=last)
            for each in stored:
                row, last = row_of(each), each.id
                names = [self.name_of(agent) for agent in row.agents] + [each.row.agent and self.name_of(each.row.agent)]
                if matches(words, row.customer if numbers else None, row.session, *names):
                    rows.append(row)
                if len(rows) == PAGE:
                    break
            looked += len(stored)
            if len(stored) < PAGE:
                return Found(tuple(rows), last if len(rows) == PAGE and stored and last != stored[-1].id else None)
        return Found(tuple(rows), last)

    async def trail(self, session: e.SessionId) -> Trail | None:
        """How a session went, and why."""
        return await trail_of(self._runner, self._records, session)

    def channels(self, session: e.SessionId) -> Mapping[e.Channel, Literal["waits", "served", "idle"]]:
        """On which channels something can be done now."""
        live = self._runner.sessions.get(session)
        found: dict[e.Channel, Literal["waits", "served", "idle"]] = {}
        if live is None:
            return found
        acd, state = self._runner.floor.acd, live.state
        if acd.place(session, "voice") is not None:
            found["voice"] = "waits"
        elif state.call in LIVE and state.call is not CallState.RINGING:
            found["voice"] = "served"
        if acd.place(session, "sms") is not None:
            found["sms"] = "waits"
        elif state.text is TextLeg.CHATTING:
            found["sms"] = "served"
        elif state.text in _MAY_END and state.call not in LIVE:
            found["sms"] = "idle"
        return found

    # --- acting on sessions

    async def move(
        self, by: e.AgentId, session: e.SessionId, channel: e.Channel, *, to: e.AgentId | None, queue: str | None, note: str
    ) -> None:
        """Give a session to an agent, or put it into another line; who waits keeps the place."""
        live = self._live(session)
        acd = self._runner.floor.acd
        if acd.place(session, channel) is not None:
            if not await self._moved(live, channel, to, queue):
                stays = acd.place(session, channel) is not None
                raise DeskRefusedError(_("They stand in this line already.")) if stays else _nowhere()
            await self._runner.settled(session)
        elif channel == "sms" and live.state.chat_agent is not None:
            await self._hand_over(live, to, queue, note)
        elif channel == "voice" and live.state.agent is not None:
            await self._hand_over_call(live, to, queue, note)
        else:
            raise _nowhere()
        name = None if to is None else self.name_of(to)
        await self._record("supervisor.moved", session, by=self._who(by), to=name, queue=queue, channel=channel, note=note)
        await self._did(by, "session.moved", f"session {session}", channel=channel, to=to, queue=queue, note=note)

    async def _moved(self, live: LiveSession, channel: e.Channel, to: e.AgentId | None, queue: str | None) -> bool:
        """One who waits: into another line, or to an agent at once. False: they are there already, or wait no more."""
        session = live.state.id
        try:
            if to is None:
                return bool(await self._runner.do(MoveInLine(session, channel, e.QueueId(queue or ""))))
            place = self._runner.floor.acd.place(session, channel)
            assert place is not None
            self._can_take(to, channel)
            return bool(await self._runner.do(AssignWork(to, session, channel, place.queue, from_line=True)))
        except UnknownQueue:
            raise DeskRefusedError(_("There is no such queue for this kind of work.")) from None

    def _can_take(self, agent: e.AgentId, channel: e.Channel) -> None:
        try:
            view = self._runner.floor.acd.agent_view(agent)
        except UnknownAgent:
            raise DeskRefusedError(_("%(name)s takes no work here.", name=self._who(agent))) from None
        if view.state == "offline":
            raise DeskRefusedError(_("%(name)s is not at work.", name=view.name))
        if channel == "voice" and view.call is not None:
            raise DeskRefusedError(_("%(name)s is on a call.", name=view.name))

    async def _hand_over(self, live: LiveSession, to: e.AgentId | None, queue: str | None, note: str) -> None:
        """A chat that an agent has: as if that agent had handed it on."""
        state = live.state
        assert state.chat_agent is not None
        if to == state.chat_agent:
            raise DeskRefusedError(_("%(name)s has it already.", name=self._who(to)))
        if to is not None:
            self._can_take(to, "sms")
            queue = self._queue_for(to, state.chat_queue, "sms")
        known = self._runner.floor.queues.get(queue or "")
        if known is None or known.channel != "sms":
            raise DeskRefusedError(_("There is no such queue for this kind of work."))
        name = None if to is None else self._who(to)
        await self._tell(state.id, e.AgentTransferred(state.chat_agent, e.QueueId(known.id), to, name, note))

    async def _hand_over_call(self, live: LiveSession, to: e.AgentId | None, queue: str | None, note: str) -> None:
        """A call that an agent has: as if that agent had transferred it."""
        state = live.state
        assert state.agent is not None
        if to == state.agent:
            raise DeskRefusedError(_("%(name)s has it already.", name=self._who(to)))
        if to is not None:
            self._can_take(to, "voice")
            queue = self._queue_for(to, state.queue, "voice")
        known = self._runner.floor.queues.get(queue or "")
        if known is None or known.channel != "voice":
            raise DeskRefusedError(_("There is no such queue for this kind of work."))
        name = None if to is None else self._who(to)
        await self._tell(state.id, e.CallTransferred(state.agent, e.QueueId(known.id), to, name, note=note))

    def _queue_for(self, agent: e.AgentId, now_in: str | None, channel: e.Channel) -> str:
        """The queue in which an agent is asked: the session's own if they work on it."""
        own = self._runner.floor.acd.agent_spec(agent).queues
        if now_in in own:
            assert now_in is not None
            return now_in
        queues = self._runner.floor.queues
        found = next((queue for queue in own if queues[queue].channel == channel), None)
        if found is None:
            raise DeskRefusedError(_("%(name)s takes no work of this kind.", name=self._who(agent)))
        return found

    async def take_over(self, by: e.AgentId, session: e.SessionId, channel: e.Channel) -> None:
        """The supervisor has it from now on; a call rings at their phone."""
        live = self._live(session)
        acd = self._runner.floor.acd
        if by not in acd.agents:
            raise DeskRefusedError(_("To take conversations over you need the role agent too."))
        if acd.agent_view(by).state == "offline":
            await self._desk.set_state(by, "not_ready", None)
        self._can_take(by, channel)
        if acd.place(session, channel) is None:
            if channel == "sms" and live.state.chat_agent is not None:
                await self._hand_over(live, by, None, "")
            elif channel == "voice" and live.state.agent is not None:
                await self._hand_over_call(live, by, None, "")
            else:
                raise _nowhere()
        if acd.place(session, channel) is not None:
            moved = await self._moved(live, channel, by, None)
            if not moved and acd.serving(session, channel) != by:
                raise _nowhere()
        await self._runner.settled(session)
        await self._record("supervisor.took_over", session, by=self._who(by), channel=channel)
        await self._did(by, "session.taken_over", f"session {session}", channel=channel)

    async def end(self, by: e.AgentId, session: e.SessionId, channel: e.Channel, reason: str) -> None:
        """End a call or a chat. The reason is kept."""
        live = self._live(session)
        if not reason.strip():
            raise DeskRefusedError(_("Say why."))
        if channel == "voice" and live.state.call is CallState.CALLBACK:
            await self._tell(session, e.CallbackCancelled(self._who(by)))
            await self._record("supervisor.ended", session, by=self._who(by), channel=channel, reason=reason)
        elif channel == "voice":
            if live.state.call not in LIVE:
                raise DeskRefusedError(_("The call is over."))
            await self._record("supervisor.ended", session, by=self._who(by), channel=channel, reason=reason)
            await self._runner.hang_up(session)
        else:
            agent = live.state.chat_agent
            await self._tell(session, e.ChatCalledOff(self._who(by)) if agent is None else e.AgentEndedChat(agent))
            await self._record("supervisor.ended", session, by=self._who(by), channel=channel, reason=reason)
        await self._did(by, "session.ended", f"session {session}", channel=channel, reason=reason)

    # --- acting on agents

    async def set_state(
        self, by: e.AgentId, agent: e.AgentId, state: Literal["ready", "not_ready", "offline"], reason: str
    ) -> None:
        """Change an agent's state; they are told at their desk by whom and why."""
        before = self._view(agent)
        if state == "ready" and not self._desk.watched(agent):
            raise DeskRefusedError(_("%(name)s has no desk open, so nothing could ring there.", name=self._who(agent)))
        await self._desk.set_state(agent, state, reason or None if state != "ready" else None)
        words = {
            "ready": _("%(name)s has set you to Ready.", name=self._who(by)),
            "not_ready": _("%(name)s has set you to Not ready: %(reason)s", name=self._who(by), reason=reason or "-"),
            "offline": _("%(name)s has signed you off: %(reason)s", name=self._who(by), reason=reason or "-"),
        }[state]
        await self._post(by, Posted("agent", agent, words, NOTICE_LIVES))
        await self._did(by, "agent.state", f"agent {agent}", before=before, after=state, reason=reason)

    async def sign_out(self, by: e.AgentId, agent: e.AgentId, reason: str) -> None:
        """Off duty: nothing rings there any more, and chats in hand go back to their places."""
        before = self._view(agent)
        chats = self._runner.floor.acd.agent_view(agent).chats
        await self.set_state(by, agent, "offline", reason)
        for chat in chats:
            self._runner.post(chat, e.AgentLost(agent))
        await self._did(by, "agent.signed_out", f"agent {agent}", before=before, reason=reason, chats=len(chats))

    def _view(self, agent: e.AgentId) -> str:
        try:
            return self._runner.floor.acd.agent_view(agent).state
        except UnknownAgent:
            raise DeskRefusedError(_("%(name)s takes no work here.", name=self._who(agent))) from None

    # --- messages

    async def post(self, by: e.AgentId, message: Posted) -> None:
        """Put a message up at desks."""
        words = message.words.strip()
        if not words:
            raise DeskRefusedError(_("There is nothing to say yet."))
        if len(words) > LONGEST_WORDS:
            raise DeskRefusedError(_("A message has at most %(most)s characters.", most=LONGEST_WORDS))
        if message.scope == "agent" and self.name_of(message.to) is None:
            raise DeskRefusedError(_("There is no such agent."))
        if message.scope == "team" and message.to not in self.teams():
            raise DeskRefusedError(_("There is no such team."))
        await self._post(by, msgspec.structs.replace(message, words=words))
        to = message.to or "everybody"
        await self._did(by, "message.posted", f"{message.scope} {to}", words=words, pinned=message.pinned)

    async def _post(self, by: e.AgentId, message: Posted) -> None:
        now = self._runner.clock()
        bulletin = Bulletin(
            id=uuid.uuid4().hex[:12],
            at=now,
            by=by,
            by_name=self._who(by),
            scope=message.scope,
            to=message.to,
            words=message.words,
            until=now + message.lives,
            pinned=message.pinned,
        )
        await self._on_desks(lambda bulletins: bulletins.post(bulletin))

    async def take_down(self, by: e.AgentId, bulletin: str) -> None:
        """Remove a message from every desk."""
        gone = await self._on_desks(lambda bulletins: bulletins.take_down(bulletin))
        if gone is None:
            raise DeskRefusedError(_("It was taken down already."))
        await self._did(by, "message.taken_down", f"{gone.scope} {gone.to or 'everybody'}", words=gone.words)

    def posted(self) -> tuple[Bulletin, ...]:
        """Everything that stands at some desk."""
        return self._bulletins.all

    def at_desk(self, agent: e.AgentId) -> tuple[Bulletin, ...]:
        """What an agent has to read."""
        return self._bulletins.at_desk(agent, self._teams_of(agent), self._runner.clock())

    async def read(self, agent: e.AgentId, bulletin: str) -> None:
        """The agent has read it."""
        await self._on_desks(lambda bulletins: bulletins.read(bulletin, agent))

    async def _expire(self) -> None:
        now = self._runner.clock()
        if any(bulletin.until <= now for bulletin in self._bulletins.all):
            await self._on_desks(lambda bulletins: bulletins.expire(now))

    async def _on_desks(self, act: Callable[[Bulletins], T]) -> T:
        """Do something to the messages of all nodes; returns what came of it."""
        done: list[T] = []

        def change(saved: bytes | None) -> bytes:
            bulletins = _bulletins(saved)
            done.append(act(bulletins))
            return msgspec.json.encode(bulletins.save())

        self._put_up(await self._runner.journal.change_value(KEY, change))
        if self._news is not None:
            await self._news.tell(TOPIC)
        return done[-1]

    async def _bulletins_changed(self, _about: str) -> None:
        self._put_up(await self._runner.journal.value(KEY))

    def _put_up(self, saved: bytes | None) -> None:
        """These are the messages now; desks at which that makes a difference are to read them again."""
        before, self._bulletins = {each.id: each for each in self._bulletins.all}, _bulletins(saved)
        after = {each.id: each for each in self._bulletins.all}
        for bulletin in before.keys() | after.keys():
            if before.get(bulletin) != after.get(bulletin):
                self._show(after.get(bulletin) or before[bulletin])

    def _show(self, bulletin: Bulletin) -> None:
        """Desks it is for are to read again what stands there."""
        for agent in self._runner.settings.agents:
            if bulletin.is_for(e.AgentId(agent.id), agent.teams):
                self._desk.desk_changed(e.AgentId(agent.id))
        self.boards.changed()

    def _teams_of(self, agent: e.AgentId) -> tuple[str, ...]:
        return next((known.teams for known in self._runner.settings.agents if known.id == agent), ())

    # --- alerts

    async def acknowledge(self, by: e.AgentId, alert: str) -> None:
        """Somebody looks after it."""
        if not await self.alerting.acknowledge(alert, self._who(by)):
            raise DeskRefusedError(_("It is over, or somebody looks after it already."))
        self.boards.changed()
        await self._did(by, "alert.acknowledged", f"alert {alert}")

    # --- how it is done

    def _live(self, session: e.SessionId) -> LiveSession:
        live = self._runner.sessions.get(session)
        if live is None:
            raise DeskRefusedError(_("This conversation is over."))
        return live

    def _who(self, agent: e.AgentId) -> str:
        return self.name_of(agent) or agent

    async def _tell(self, session: e.SessionId, event: e.AnyEvent) -> None:
        try:
            await self._runner.tell(session, event)
        except UnexpectedEvent as refusal:
            raise DeskRefusedError(str(refusal)) from refusal
        except SessionAwayError as error:
            raise DeskRefusedError(of_away()) from error

    async def _record(self, kind: str, session: e.SessionId, /, **data: Any) -> None:
        """One line in the session's timeline, for the desk and for `explain`."""
        await self._runner.add_line(session, TimelineLine(self._runner.clock(), kind, data))

    async def _did(self, by: e.AgentId, what: str, to: str, /, **data: Any) -> None:
        """Write down what a supervisor did."""
        log.info("supervisor.acted", by=by, what=what, to=to)
        if self._audit is not None:
            await self._audit(by, what, to, data)


def _nowhere() -> DeskRefusedError:
    return DeskRefusedError(_("Nobody has it and it waits in no line, so it cannot be moved."))


def _bulletins(saved: bytes | None) -> Bulletins:
    """As they are kept."""
    bulletins = Bulletins()
    if saved is not None:
        bulletins.restore(msgspec.json.decode(saved))
    return bulletins
