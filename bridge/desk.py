"""What agents see and do: the desk behind the console, and the records behind the API."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal

import msgspec
import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from bridge import events as e
from bridge.journal import StoredSession, TimelineLine
from bridge.legs import CallState, TextLeg
from bridge.runner import LiveSession, Runner
from bridge.session import State, UnexpectedEvent
from bridge.settings import AgentSettings
from bridge.web.ports import (
    LONGEST_TEXT,
    Agent,
    DeskChanged,
    DeskRefusedError,
    DeskUpdate,
    Line,
    LineAdded,
    OfferedWork,
    Presence,
    Preset,
    SessionChanged,
    SessionView,
    Ticks,
    TicksChanged,
    Work,
)
from sms import errors
from sms.message import TextState

log = structlog.get_logger()

_HASHER = PasswordHasher()
_NOBODY = _HASHER.hash("nobody")
"""Checked for logins that do not exist, so that a wrong name takes as long as a wrong password."""
_STATE = msgspec.json.Decoder(State)
MISSED_UPDATES = 1000
"""Updates a slow desk may be behind before its subscription ends, so that it begins again and reads everything."""
KEPT = 50
"""Pieces of ended work an agent may still look at."""
QUIET = frozenset({"flow.trace", "flow.ended"})
"""Lines that only `explain` shows."""


class Desk:
    """Implements `bridge.web.ports.Desk` on a runner, and listens to it.

    Args:
        runner: Where the sessions are.
        presets: The ready-made texts in a language.
    """

    def __init__(self, runner: Runner, *, presets: Callable[[str], tuple[Preset, ...]]) -> None:
        self._runner = runner
        self._presets = presets
        self._agents = {e.AgentId(agent.id): agent for agent in runner.settings.agents}
        self._subscribers: dict[e.AgentId, set[asyncio.Queue[DeskUpdate | None]]] = {}
        self._leaving: dict[e.AgentId, asyncio.TimerHandle] = {}
        self._done: dict[e.AgentId, list[e.SessionId]] = {}
        """Ended work an agent may still look at, newest last."""
        runner.listen(self)

    # --- who

    async def sign_in(self, login: str, password: str) -> Agent | None:
        """None for a wrong login or password; both take the same time."""
        settings = self._agents.get(e.AgentId(login))
        secret = settings.password_hash if settings is not None else None
        stored = secret.get_secret_value() if secret is not None else _NOBODY
        try:
            await asyncio.to_thread(_HASHER.verify, stored, password)
        except (VerificationError, InvalidHashError):
            return None
        return _agent(settings) if settings is not None and secret is not None else None

    def agent(self, agent: e.AgentId) -> Agent | None:
        """None when there is no such agent."""
        settings = self._agents.get(agent)
        return None if settings is None else _agent(settings)

    def presence(self, agent: e.AgentId) -> Presence:
        """What the agent is doing."""
        view = self._runner.floor.acd.agent_view(agent)
        return Presence(view.state, view.reason, view.since, view.call, len(view.chats))

    def reasons(self) -> tuple[str, ...]:
        """Reasons for not being ready."""
        return self._runner.settings.not_ready_reasons

    def dispositions(self) -> tuple[str, ...]:
        """How a piece of work may end."""
        return self._runner.settings.dispositions

    def presets(self, language: str) -> tuple[Preset, ...]:
        """Ready-made texts."""
        return self._presets(language)

    async def set_state(
        self, agent: e.AgentId, state: Literal["ready", "not_ready", "offline"], reason: str | None = None
    ) -> None:
        """The agent says whether work may come."""
        self._runner.acd(lambda now: self._runner.floor.acd.set_state(agent, state, reason, now))

    # --- what there is to do

    def offers(self, agent: e.AgentId) -> tuple[OfferedWork, ...]:
        """What rings at this desk."""
        offer = self._runner.floor.acd.agent_view(agent).offer
        live = None if offer is None else self._runner.sessions.get(offer.session)
        if offer is None or live is None:
            return ()
        state = live.state
        waited = 0.0 if state.since is None else self._runner.clock() - state.since
        return (OfferedWork(offer.session, offer.channel, offer.queue, state.customer, offer.until, waited, _summary(state)),)

    async def work(self, agent: e.AgentId) -> tuple[Work, ...]:
        """What the agent has in hand, newest first."""
        mine = [live for live in self._runner.sessions.values() if _is_of(live.state, agent)]
        return tuple(
            Work(
                live.state.id,
                live.state.customer,
                live.state.chat_queue or live.state.queue,
                live.state.call,
                live.state.text,
                live.state.opened_at,
                live.unread,
                live.last or _summary(live.state),
                agent in live.state.wrapping,
            )
            for live in sorted(mine, key=lambda live: -live.touched_at)
        )

    async def session(self, agent: e.AgentId, session: e.SessionId) -> SessionView:
        """A session as this agent may see it."""
        live = self._runner.sessions.get(session)
        if live is not None:
            offer = self._runner.floor.acd.agent_view(agent).offer
            offered = offer is not None and offer.session == session
            if not (offered or self._worked_on(agent, live)):
                raise DeskRefusedError("This conversation is not yours.")
            live.unread = 0
            closed = live.session.composer(agent)
            return await self._view(agent, live.state, closed)
        stored = await self._runner.journal.session(session) if session in self._done.get(agent, ()) else None
        if stored is None:
            raise DeskRefusedError("This conversation is not yours.")
        return await self._view(agent, _state_of(stored), "This conversation is over.")

    async def _view(self, agent: e.AgentId, state: State, composer_why: str | None) -> SessionView:
        journal = self._runner.journal
        lines = [line for line in await journal.timeline(state.id) if line.kind not in QUIET]
        messages = await journal.messages(state.id)
        return SessionView(
            id=state.id,
            customer=state.customer,
            our_number=state.our_number,
            language=state.language,
            queue=state.chat_queue or state.queue,
            opened_at=state.opened_at,
            closed_at=state.closed_at,
            agent=state.agent or state.chat_agent,
            call_state=state.call,
            text_state=state.text,
            composer_open=composer_why is None,
            composer_why=composer_why or "",
            card=_card(state, self._runner.clock()),
            answers=dict(state.answers),
            timeline=tuple(_line(line) for line in lines),
            ticks={
                message.id: _ticks(message.provider, message.state, message.error_code)
                for message in messages
                if message.direction == "out" and message.state != "received"
            },
            wrapping_up=agent in state.wrapping,
        )

    # --- doing it

    async def accept(self, agent: e.AgentId, session: e.SessionId, channel: e.Channel) -> None:
        """Take what rings."""
        outputs = self._runner.floor.acd.accept(agent, session, channel, self._runner.clock())
        if not outputs:
            raise DeskRefusedError("Too late: this no longer rings at your desk.")
        self._runner.follow(outputs)
        await self._runner.settled(session)

    async def decline(self, agent: e.AgentId, session: e.SessionId, channel: e.Channel) -> None:
        """Let the next agent have it."""
        self._runner.acd(lambda now: self._runner.floor.acd.decline(agent, session, channel, "declined", now))

    async def say(
        self, agent: e.AgentId, session: e.SessionId, body: str, preset: str | None = None, once: str | None = None
    ) -> None:
        """Text the customer; in the outbox when this returns. Said again under the same name, it is not sent again."""
        words = body.strip()
        if not words:
            raise DeskRefusedError("There is nothing to send.")
        if len(words) > LONGEST_TEXT:
            raise DeskRefusedError(f"Too long: a text may have {LONGEST_TEXT:,} characters.")
        await self._tell(session, e.AgentSaid(agent, words, preset, once))

    async def hang_up(self, agent: e.AgentId, session: e.SessionId) -> None:
        """End the call."""
        await self._tell(session, e.AgentHungUp(agent))

    async def end_chat(self, agent: e.AgentId, session: e.SessionId) -> None:
        """End the text conversation."""
        await self._tell(session, e.AgentEndedChat(agent))

    async def wrap_up(self, agent: e.AgentId, session: e.SessionId, note: str, disposition: str | None) -> None:
        """Save the note and be ready."""
        live = self._runner.sessions.get(session)
        if live is None or not self._worked_on(agent, live):
            raise DeskRefusedError("This conversation is not yours.")
        await self._tell(session, e.WrapUpNoted(agent, note.strip(), disposition or None))
        if not any(agent in live.state.wrapping for live in self._runner.sessions.values()):
            self._runner.acd(lambda now: self._runner.floor.acd.finish_wrap_up(agent, now))

    def _worked_on(self, agent: e.AgentId, live: LiveSession) -> bool:
        """Whether the agent has the session, or had it."""
        return _is_of(live.state, agent) or live.state.id in self._done.get(agent, ())

    async def _tell(self, session: e.SessionId, event: e.AnyEvent) -> None:
        try:
            await self._runner.tell(session, event)
        except UnexpectedEvent as refusal:
            raise DeskRefusedError(str(refusal)) from refusal

    # --- who is watching

    def subscribe(self, agent: e.AgentId) -> AbstractAsyncContextManager[AsyncIterator[DeskUpdate]]:
        """Updates from now on; while one subscription is open the desk counts as connected."""
        return self._subscription(agent)

    @asynccontextmanager
    async def _subscription(self, agent: e.AgentId) -> AsyncIterator[AsyncIterator[DeskUpdate]]:
        updates: asyncio.Queue[DeskUpdate | None] = asyncio.Queue()
        self._subscribers.setdefault(agent, set()).add(updates)
        leaving = self._leaving.pop(agent, None)
        if leaving is not None:
            leaving.cancel()
        try:
            yield _drain(updates)
        finally:
            self._subscribers[agent].discard(updates)
            if not self._subscribers[agent]:
                self._leave_later(agent)

    def expect_desks(self) -> None:
        """After a start: agents who were at work have the grace time to connect again."""
        for agent in self._agents:
            if self._runner.floor.acd.agent_view(agent).state != "offline" and not self._subscribers.get(agent):
                self._leave_later(agent)

    def _leave_later(self, agent: e.AgentId) -> None:
        loop = asyncio.get_running_loop()
        self._leaving[agent] = loop.call_later(self._runner.settings.desk_grace, self._gone, agent)

    def _gone(self, agent: e.AgentId) -> None:
        """The desk did not come back: nothing may ring there, and its chats go back to their places."""
        self._leaving.pop(agent, None)
        log.info("desk.gone", agent=agent)
        view = self._runner.floor.acd.agent_view(agent)
        self._runner.acd(lambda now: self._runner.floor.acd.set_state(agent, "offline", "desk lost", now))
        for session in view.chats:
            self._runner.post(session, e.AgentLost(agent))

    # --- Listener

    def line_added(self, session: e.SessionId, line: TimelineLine) -> None:
        """A new line for whoever works on the session."""
        if line.kind not in QUIET:
            self._send(session, LineAdded(session, _line(line)))

    def text_moved(self, session: e.SessionId, message: e.MessageId, state: TextState, code: str | None) -> None:
        """New ticks for whoever works on the session."""
        self._send(session, TicksChanged(session, message, _ticks(self._runner.sms_name, state, code)))

    def session_changed(self, session: e.SessionId) -> None:
        """Head, card or buttons are to be read again."""
        for agent in self._workers(session):
            self._put(agent, SessionChanged(session))
            self.desk_changed(agent)

    def desk_changed(self, agent: e.AgentId) -> None:
        """State, offers or list are to be read again."""
        self._put(agent, DeskChanged())

    def _send(self, session: e.SessionId, update: DeskUpdate) -> None:
        for agent in self._workers(session):
            self._put(agent, update)

    def _workers(self, session: e.SessionId) -> list[e.AgentId]:
        """Agents who work on the session or did; who begins to is remembered."""
        live = self._runner.sessions.get(session)
        for agent in self._agents if live is not None else ():
            done = self._done.setdefault(agent, [])
            if session not in done and live is not None and _is_of(live.state, agent):
                done.append(session)
                del done[:-KEPT]
        return [agent for agent, done in self._done.items() if session in done]

    def _put(self, agent: e.AgentId, update: DeskUpdate) -> None:
        for updates in self._subscribers.get(agent, ()):
            if updates.qsize() < MISSED_UPDATES:
                updates.put_nowait(update)
            else:
                # Too far behind to be told line by line: the subscription ends, and whoever reads begins again.
                while not updates.empty():
                    updates.get_nowait()
                updates.put_nowait(None)


class Records:
    """Implements `bridge.web.ports.Records`: what the API reads."""

    def __init__(self, runner: Runner, *, draining: Callable[[], bool]) -> None:
        self._runner = runner
        self._draining = draining

    async def sessions(self, *, limit: int, customer: str | None = None) -> list[Mapping[str, Any]]:
        """The newest sessions."""
        return [_row(stored) for stored in await self._runner.journal.sessions(limit, customer=customer)]

    async def session(self, session: e.SessionId) -> Mapping[str, Any] | None:
        """A session with its timeline and texts."""
        stored = await self._runner.journal.session(session)
        if stored is None:
            return None
        state = _state_of(stored)
        return {
            **_row(stored),
            "place_since": state.since,
            "card": state.card,
            "path": state.path,
            "answers": state.answers,
            "timeline": [
                msgspec.to_builtins(_line(line))
                for line in await self._runner.journal.timeline(session)
                if line.kind not in QUIET
            ],
            "texts": [msgspec.to_builtins(message) for message in await self._runner.journal.messages(session)],
        }

    async def explain(self, session: e.SessionId) -> Mapping[str, Any] | None:
        """Everything that was decided in a session, with what it was decided from."""
        stored = await self._runner.journal.session(session)
        if stored is None:
            return None
        return {
            **_row(stored),
            "trail": [msgspec.to_builtins(_line(line)) for line in await self._runner.journal.timeline(session)],
            "decisions": [msgspec.to_builtins(decision) for decision in await self._runner.journal.decisions(session)],
        }

    def ewt(self, queue: str) -> Mapping[str, Any] | None:
        """The wait of a queue."""
        return self._runner.floor.forecast_json(queue, self._runner.clock())

    def queues(self) -> tuple[str, ...]:
        """Every queue."""
        return tuple(self._runner.floor.queues)

    def ready(self) -> tuple[bool, str]:
        """Whether traffic may come."""
        return (False, "draining") if self._draining() else (True, "")

    def media_path(self, digest: str, *, thumbnail: bool) -> str | None:
        """The file of a stored picture or video."""
        path = self._runner.media.thumbnail(digest) if thumbnail else self._runner.media.path(digest)
        return None if path is None else str(path)


async def _drain(updates: asyncio.Queue[DeskUpdate | None]) -> AsyncIterator[DeskUpdate]:
    while (update := await updates.get()) is not None:
        yield update


def _agent(settings: AgentSettings) -> Agent:
    return Agent(e.AgentId(settings.id), settings.name, settings.queues)


def _is_of(state: State, agent: e.AgentId) -> bool:
    return agent in {state.agent, state.chat_agent} or agent in state.wrapping


def _state_of(stored: StoredSession) -> State:
    return _STATE.decode(stored.snapshot)


def _summary(state: State) -> str:
    parts = [state.whisper or " > ".join(word.replace("_", " ") for word in state.path)]
    parts += [f"{question}: {answer}" for question, answer in state.answers.items()]
    return "; ".join(part for part in parts if part) or ("Text" if state.call is CallState.NONE else "Call")


LANGUAGES = {"en": "English", "fr": "French", "es": "Spanish"}


def _card(state: State, now: float) -> dict[str, str]:
    """What the agent should know at a glance; nothing twice."""
    card = {"Language": LANGUAGES.get(state.language, state.language)}
    if state.path:
        card["Menu"] = " > ".join(word.replace("_", " ") for word in state.path)
    waiting = state.call is CallState.QUEUED or state.text is TextLeg.QUEUED
    if state.since is not None and waiting:
        card["Waiting"] = f"{int(now - state.since)} s"
    told = {"language", "menu_path", "place_in_line", "topic" if state.path else ""}
    for name, value in state.card.items():
        if isinstance(value, str | int | float | bool) and name not in told and value != "":
            card[name.replace("_", " ").capitalize()] = f"{value:g}" if isinstance(value, float) else str(value)
    if state.whisper and state.whisper not in card.values():
        card["Note"] = state.whisper
    return card


def _line(line: TimelineLine) -> Line:
    return Line(line.n, line.at, line.kind, line.data)


def _ticks(provider: str, state: TextState, code: str | None) -> Ticks:
    return Ticks(state, code, None if code is None else errors.diagnose(provider, code).explanation)


def _row(stored: StoredSession) -> dict[str, Any]:
    return {"id": stored.id, **msgspec.to_builtins(stored.row)}
