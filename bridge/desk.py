"""What agents see and do: the desk behind the console."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal

import msgspec
import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from bridge import desk_cards
from bridge import events as e
from bridge.calls import Calls, call_concerns, call_note_for
from bridge.channel import Channel, ChannelRefusedError
from bridge.floor_ops import AcceptWork, DeclineWork, FinishWrapUp, SetAgentState
from bridge.glance import Glance, at_a_glance, failed_transfer_of, has_media
from bridge.journal import ContactRow, StoredSession, TimelineLine, Unit
from bridge.legs import TextLeg
from bridge.live import LiveSession, SessionAwayError
from bridge.media_store import BlobsUnavailableError, MediaRefusedError, MediaStore
from bridge.news import News
from bridge.open_desks import OpenDesks
from bridge.presets import Presets
from bridge.records import QUIET, line_of, state_of
from bridge.runner import Runner
from bridge.session import State, UnexpectedEvent
from bridge.settings import AgentSettings
from bridge.uploads import Uploads
from bridge.web.console import core_words
from bridge.web.console.filling import gaps
from bridge.web.console.timeline import pretty_number
from bridge.web.console.words import gettext as _
from bridge.web.console.words import marked, number_words
from bridge.web.ports import (
    LONGEST_TEXT,
    Agent,
    Agreement,
    Colleague,
    DeskChanged,
    DeskRefusedError,
    DeskUpdate,
    Earlier,
    Handover,
    HandoverQueue,
    LineAdded,
    OfferedWork,
    Presence,
    Preset,
    Recipient,
    Related,
    Sender,
    SessionChanged,
    SessionView,
    Targets,
    Ticks,
    TicksChanged,
    Work,
)
from bridge.web.ports_desk import DeskRules, Folded, Found, OwnText, ReadyText, Required, Waiter
from sms import errors
from sms.message import TextState
from sms.numbers import look_up

log = structlog.get_logger()

_HASHER = PasswordHasher()
_NOBODY = _HASHER.hash("nobody")
"""Checked for logins that do not exist, so that a wrong name takes as long as a wrong password."""
MISSED_UPDATES = 1000
"""Updates a slow desk may be behind before its subscription ends, so that it begins again and reads everything."""
KEPT = 50
"""Pieces of ended work an agent may still look at."""
MOST_EARLIER = 5
"""Other conversations of a customer that an agent is shown."""
MOST_FOLDED = 5
"""Earlier conversations that are read at once."""
MOST_FOUND = 30
"""Conversations that a search shows."""
MOST_ATTACHED = 100
"""Files of one agent that are kept in mind until they are sent."""
SHORTEST_NUMBER = 7
"""Digits. With fewer an agent is still typing."""
NO_NUMBER = marked("Numbers are written with + and country code, or as they are dialled here.")


TOPIC = "desk"
"""What other nodes are told of: see `_Word`."""


class _Word(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an agent has done at one node, for the others: the next request of theirs may come there."""

    agent: e.AgentId
    seen: e.SessionId | None = None
    """Looked at a conversation, so nothing of it is new to them any more."""
    attached: e.Media | None = None
    """Is about to send a file."""


class Desk:
    """Implements `bridge.web.ports.Desk` on a runner, and listens to it.

    Args:
        runner: Where the sessions are.
        presets: The ready-made texts in a language.
        channel: Begins conversations; None: a channel of the desk's own, which is only right where nobody else has one.
        uploads: Makes links for pictures; None: nobody outside could open one.
        news: How other nodes are told, and tell; None: there are none.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        presets: Callable[[str], tuple[Preset, ...]],
        channel: Channel | None = None,
        uploads: Uploads | None = None,
        news: News | None = None,
    ) -> None:
        self._runner = runner
        self._presets = Presets(runner.journal, presets)
        self._channel = channel or Channel(runner)
        self._uploads = uploads
        self.calls = Calls(runner, self.queue_title)
        """What agents do with calls."""
        self._agents: dict[e.AgentId, AgentSettings] = {}
        self._subscribers: dict[e.AgentId, set[asyncio.Queue[DeskUpdate | None]]] = {}
        self._leaving: dict[e.AgentId, asyncio.TimerHandle] = {}
        self._open = OpenDesks(runner.cluster, spawn=runner.spawn, came=self._back, left=self._leave_later, news=news)
        self._done: dict[e.AgentId, list[e.SessionId]] = {}
        """Ended work an agent may still look at, newest last."""
        self._known_to: dict[e.SessionId, dict[e.AgentId, None]] = {}
        """The same by session."""
        self._looked_at: dict[e.SessionId, int] = {}
        """After how many of its events it was last asked whom an open session concerns: it is asked for every line."""
        self._attached: dict[e.AgentId, OrderedDict[str, e.Media]] = {}
        """Files an agent is about to send."""
        self._waiting: dict[e.SessionId, Glance] = {}
        """What stands out in the sessions agents have in hand."""
        self._returned: set[e.SessionId] = set()
        """Were put aside, and the customer has written."""
        self._alerts: dict[e.SessionId, tuple[e.AgentId, Mapping[str, Any]]] = {}
        """Transfers that came back: to whom, and what the timeline has of it."""
        self._news = news
        if news is not None:
            news.hear(TOPIC, self._told)
        self._take_settings()
        runner.follow_settings(self._take_settings)
        runner.listen(self)

    def _take_settings(self) -> None:
        """Know the people of the settings, and those who still have work in hand."""
        leaving = self._runner.floor.acd.leaving
        staying = {agent: known for agent, known in self._agents.items() if agent in leaving}
        self._agents = staying | {e.AgentId(agent.id): agent for agent in self._runner.settings.agents}
        for agent in self._subscribers:
            self._put(agent, DeskChanged())

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
        if settings is None or (settings not in self._runner.settings.agents and agent not in self._runner.floor.acd.agents):
            return None  # or has left us, with the last piece of work
        return _agent(settings)

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
        return self._presets.shared(language)

    async def set_state(
        self, agent: e.AgentId, state: Literal["ready", "not_ready", "offline"], reason: str | None = None
    ) -> None:
        """The agent says whether work may come."""
        if agent not in self._runner.floor.acd.agents:
            return  # takes no work, and signs out
        await self._runner.do(SetAgentState(agent, state, reason))

    # --- what there is to do

    def offers(self, agent: e.AgentId) -> tuple[OfferedWork, ...]:
        """What rings at this desk."""
        offer = self._runner.floor.acd.agent_view(agent).offer
        live = None if offer is None else self._runner.sessions.get(offer.session)
        if offer is None or live is None:
            return ()
        state = live.state
        waited = 0.0 if state.since is None else max(0.0, self._runner.clock() - state.since)
        summary = desk_cards.summary(state)
        if summary in map(_, desk_cards.NO_SUMMARY) and offer.session in self._waiting:
            summary = self._waiting[offer.session].said or summary
        if state.transfer is not None and state.transfer.by != agent:
            by = self._name(state.transfer.by)
            summary = _("%(name)s hands it over: %(note)s", name=by, note=state.transfer.note or summary)
        call = state.call_transfer
        if call is not None and offer.channel == "voice":
            summary = _("%(name)s hands it over: %(note)s", name=self._name(call.by), note=call.note or summary)
        elif state.callback is not None and offer.channel == "voice":
            summary = _("To be called back. %(note)s", note=summary)
        name = live.customer.name
        return (OfferedWork(offer.session, offer.channel, offer.queue, state.customer, offer.until, waited, summary, name),)

    async def work(self, agent: e.AgentId) -> tuple[Work, ...]:
        """What the agent has in hand, newest first."""
        mine = [live for live in self._runner.sessions.values() if _concerns(live.state, agent)]
        return tuple([await self._row(agent, live) for live in sorted(mine, key=lambda live: -live.state.touched_at)])

    async def _row(self, agent: e.AgentId, live: LiveSession) -> Work:
        state = live.state
        alert = self._alerts.get(state.id)
        glance = await self._glance(live)
        return Work(
            state.id,
            state.customer,
            state.chat_queue or state.queue,
            state.call,
            state.text,
            state.opened_at,
            live.unread,
            live.last or desk_cards.summary(state),
            agent in state.wrapping,
            name=live.customer.name,
            unanswered_since=glance.unanswered_since if _is_of(state, agent) else None,
            set_aside_at=glance.set_aside_at if state.text is TextLeg.DISMISSED else None,
            returned=state.id in self._returned,
            handing_over="" if state.transfer is None else self._taker(state),
            alert=desk_cards.came_back(alert[1]) if alert is not None and alert[0] == agent else "",
        )

    async def _glance(self, live: LiveSession) -> Glance:
        """What stands out in a session; after a restart it is read once, then kept up to date line by line."""
        session = live.state.id
        while session not in self._waiting:
            seq = live.seq
            glance = at_a_glance(await self._runner.journal.timeline(session))
            if live.session.closed:
                return glance
            if live.seq == seq:  # else it went on meanwhile, and nobody was there to note how
                self._waiting.setdefault(session, glance)
        return self._waiting[session]

    async def session(self, agent: e.AgentId, session: e.SessionId) -> SessionView:
        """A session as this agent may see it."""
        live = self._runner.sessions.get(session)
        if live is not None and self._has_it(agent, live):
            if self._see(agent, live):
                await self._tell_nodes(_Word(agent, seen=session))
            return await self._view(agent, live.state, self._composer_why(live, agent))
        if live is not None:
            if live.state.customer not in self._customers(agent):
                raise DeskRefusedError(_("This conversation is not yours."))
            return await self._view(agent, live.state, _("This is another conversation of this customer; you can read it here."))
        stored = await self._runner.journal.session(session)
        if stored is None or not self._may_read(agent, stored):
            raise DeskRefusedError(_("This conversation is not yours."))
        return await self._view(agent, state_of(stored), _("This conversation is over."))

    def _see(self, agent: e.AgentId, live: LiveSession) -> bool:
        """The agent has looked at it. False: nothing was new to them."""
        session = live.state.id
        alerted = self._alerts.get(session, (None, {}))[0] == agent
        new = live.unread > 0 or session in self._returned or alerted
        live.unread = 0
        self._returned.discard(session)
        if alerted:
            del self._alerts[session]
        return new

    async def _tell_nodes(self, word: "_Word") -> None:
        if self._news is not None:
            await self._news.tell(TOPIC, msgspec.json.encode(word).decode())

    async def _told(self, about: str) -> None:
        """What an agent has done at another node."""
        word = msgspec.json.decode(about, type=_Word) if about else None
        live = None if word is None or word.seen is None else self._runner.sessions.get(word.seen)
        if word is not None and live is not None:
            self._see(word.agent, live)
        if word is not None and word.attached is not None:
            self._attach(word.agent, word.attached)

    def _has_it(self, agent: e.AgentId, live: LiveSession) -> bool:
        """Whether the agent works on a session, did, or is asked to."""
        return self._rings(agent, live.state.id) or self._worked_on(agent, live)

    def _rings(self, agent: e.AgentId, session: e.SessionId) -> bool:
        offer = self._runner.floor.acd.agent_view(agent).offer
        return offer is not None and offer.session == session

    def _composer_why(self, live: LiveSession, agent: e.AgentId) -> str | None:
        """Why the agent may not write now; None when they may."""
        state, why = live.state, live.session.composer(agent)
        if why is None or state.text is TextLeg.OPTED_OUT or state.suspected is not None:
            return None if why is None else _(why)
        if self._rings(agent, state.id):
            return _("Accept it to write.")
        if state.transfer is not None and state.transfer.by == agent:
            return _("You have handed this chat over. If nobody takes it, it comes back to you.")
        if state.text is TextLeg.DISMISSED and state.prefer == agent:
            return _("Set aside until the customer writes.")
        return _(why)

    def _customers(self, agent: e.AgentId) -> set[str]:
        """Whom the agent has to do with now; their other conversations may be read too."""
        return {
            live.state.customer for live in self._runner.sessions.values() if live.state.customer and self._has_it(agent, live)
        }

    def _may_read(self, agent: e.AgentId, stored: StoredSession) -> bool:
        return stored.id in self._done.get(agent, ()) or stored.row.customer in self._customers(agent)

    async def _view(self, agent: e.AgentId, state: State, composer_why: str | None) -> SessionView:
        journal = self._runner.journal
        lines = await journal.timeline(state.id)
        glance = at_a_glance(lines)
        messages = await journal.messages(state.id)
        contact = None if state.customer is None else await journal.contact(state.customer)
        consents = [] if state.customer is None else await journal.consents(state.customer)
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
            card=desk_cards.card(state, self._runner.clock()),
            answers=dict(state.answers),
            timeline=tuple(line_of(line) for line in lines if line.kind not in QUIET),
            ticks={
                message.id: _ticks(message.provider, message.state, message.error_code)
                for message in messages
                if message.direction == "out" and message.state != "received"
            },
            wrapping_up=agent in state.wrapping,
            chat_agent=state.chat_agent,
            name=self._name_of_customer(state.id) or (None if contact is None else contact.name),
            reply_code=state.code,
            texts_to=state.texts_to,
            unanswered_since=glance.unanswered_since,
            handover=self._handover(state),
            note=glance.note if _note_for(state, agent) else "",
            note_by=glance.note_by,
            suspicion=glance.suspicion if state.suspected is not None else None,
            opted_out=glance.opted_out,
            related=self._related(state) if glance.probable else None,
            agreements=tuple(
                Agreement(each.at, each.purpose, each.granted, each.words, each.language) for each in reversed(consents)
            ),
            earlier=await self._earlier(state),
            link=glance.link,
            transfer_why=self._transfer_why(state),
            set_aside_why=desk_cards.set_aside_why(state),
            takes_files=self._uploads is not None,
            told=glance.told,
            wrap_up_requires=self._requires(state) if agent in state.wrapping else (),
        )

    def _requires(self, state: State) -> tuple[Required, ...]:
        """What has to be written about the work, of whichever queue it came from."""
        queues = [self._runner.floor.queues.get(queue) for queue in (state.queue, state.chat_queue) if queue is not None]
        return tuple(dict.fromkeys(each for queue in queues if queue is not None for each in queue.wrap_up_requires))

    def _name_of_customer(self, session: e.SessionId) -> str | None:
        """What an open session knows; of several people with one number it is whom the agent has chosen."""
        live = self._runner.sessions.get(session)
        return None if live is None else live.customer.name

    def _handover(self, state: State) -> Handover | None:
        transfer = state.transfer
        if transfer is None:
            return None
        return Handover(self._taker(state), transfer.by, transfer.note, transfer.at, state.timers.get("prefer"))

    def _taker(self, state: State) -> str:
        """Who is asked to take over a chat."""
        transfer = state.transfer
        assert transfer is not None
        return transfer.to_name or self.queue_title(transfer.queue)

    def _related(self, state: State) -> Related | None:
        """The newest other conversation of the customer's on another number of ours; None: it is over."""
        others = [
            live
            for live in (() if state.customer is None else self._runner.sessions_of(state.customer))
            if live.state.our_number != state.our_number
        ]
        newest = max(others, key=lambda live: live.state.touched_at, default=None)
        return None if newest is None else Related(newest.state.id, newest.state.customer, newest.state.our_number)

    async def _earlier(self, state: State) -> tuple[Earlier, ...]:
        if state.customer is None:
            return ()
        stored = await self._runner.journal.sessions(MOST_EARLIER + 1, customer=state.customer)
        return tuple(
            Earlier(
                each.id,
                each.row.opened_at,
                each.row.closed_at is not None,
                each.row.service,
                each.row.queue,
                next(reversed(state_of(each).names.values()), None),
            )
            for each in stored
            if each.id != state.id
        )[:MOST_EARLIER]

    def _name(self, agent: e.AgentId) -> str:
        settings = self._agents.get(agent)
        return agent if settings is None else settings.name

    def queue_title(self, queue: str) -> str:
        """What agents call a queue."""
        settings = self._runner.floor.queues.get(queue)
        return (settings.title if settings is not None else "") or queue.replace("_", " ").capitalize()

    # --- what an agent looks for

    def rules(self) -> DeskRules:
        """When a customer who waits for an answer stands out."""
        return DeskRules(self._runner.settings.desk.slow, self._runner.settings.desk.late)

    def waiting(self, agent: e.AgentId) -> tuple[Waiter, ...]:
        """Who is in line for the agent's queues, the longest wait first."""
        queues = set(self._agents[agent].queues) if agent in self._agents else set()
        waiters = [
            Waiter(
                state.id,
                state.customer,
                live.customer.name,
                queue,
                channel,
                state.since or state.opened_at,
                desk_cards.summary(state),
            )
            for live in self._runner.sessions.values()
            for state in [live.state]
            for queue, channel in desk_cards.in_line(state)
            if queue in queues
        ]
        return tuple(sorted(waiters, key=lambda waiter: waiter.since))

    async def search(self, agent: e.AgentId, words: str) -> tuple[Found, ...]:
        """The agent's own conversations with *words* in number, name or texts, the newest first."""
        found = await self._runner.journal.find_own(agent, words, MOST_FOUND)
        return tuple(
            Found(each.id, each.customer, each.name, each.queue, each.opened_at, each.closed_at is not None, each.body)
            for each in found
        )

    async def before(self, agent: e.AgentId, session: e.SessionId, after: e.SessionId | None) -> tuple[tuple[Folded, ...], bool]:
        """Earlier conversations with the customer of *session*, the newest first, and whether there are more."""
        live, journal = self._runner.sessions.get(session), self._runner.journal
        stored = await journal.session(session)
        if stored is None or not (self._may_read(agent, stored) or (live is not None and self._has_it(agent, live))):
            raise DeskRefusedError(_("This conversation is not yours."))
        if stored.row.customer is None:
            return (), False
        older = await journal.sessions(MOST_FOLDED + 1, customer=stored.row.customer, after=after or session)
        folded = [
            Folded(
                each.id,
                each.row.opened_at,
                each.row.closed_at is not None,
                each.row.service,
                each.row.queue,
                next(reversed(state_of(each).names.values()), None),
                each.row.ended_reason,
            )
            for each in older[:MOST_FOLDED]
        ]
        return tuple(folded), len(older) > MOST_FOLDED

    async def ready_texts(self, agent: e.AgentId, session: e.SessionId | None, language: str) -> tuple[ReadyText, ...]:
        """Ready-made texts, their gaps filled with what is known, the most used first."""
        settings = self._runner.settings
        known = {"agent": self._name(agent), "company": settings.brand}
        live = None if session is None else self._runner.sessions.get(session)
        if live is not None:
            state = live.state
            queue = state.chat_queue or state.queue
            known |= {"customer": live.customer.name or "", "number": pretty_number(state.our_number), "code": state.code}
            if queue is not None and queue in self._runner.floor.queues:
                known |= {"queue": self.queue_title(queue), "ewt": self._minutes(queue)}
        return await self._presets.ready(agent, language, known)

    def _minutes(self, queue: str) -> str:
        """The wait as it may be promised in a text; empty while there is nothing to be promised."""
        band = self._runner.floor.estimator.forecast(self._runner.clock(), queue).band()
        if not band.speak or band.high_min is None:
            return ""
        return f"{band.high_min:g} min" if band.low_min == band.high_min else f"{band.low_min:g}-{band.high_min:g} min"

    async def own_texts(self, agent: e.AgentId) -> tuple[OwnText, ...]:
        """The agent's own ready-made texts."""
        return await self._presets.own(agent)

    async def keep_own_text(self, agent: e.AgentId, text: OwnText) -> None:
        """Keep a ready-made text of the agent's own."""
        await self._presets.keep(agent, text, now=self._runner.clock())

    async def drop_own_text(self, agent: e.AgentId, text: str) -> None:
        """Forget a ready-made text of the agent's own."""
        await self._presets.drop(agent, text)

    # --- doing it

    async def accept(self, agent: e.AgentId, session: e.SessionId, channel: e.Channel) -> None:
        """Take what rings."""
        if not await self._runner.do(AcceptWork(agent, session, channel)):
            raise DeskRefusedError(_("Too late: this no longer rings at your desk."))
        await self._runner.settled(session)

    async def decline(self, agent: e.AgentId, session: e.SessionId, channel: e.Channel) -> None:
        """Let the next agent have it."""
        await self._runner.do(DeclineWork(agent, session, channel))

    async def say(
        self,
        agent: e.AgentId,
        session: e.SessionId,
        body: str,
        preset: str | None = None,
        once: str | None = None,
        media: tuple[str, ...] = (),
    ) -> None:
        """Text the customer; in the outbox when this returns. Said again under the same name, it is not sent again."""
        attached = self._attached.get(agent, OrderedDict())
        missing = [digest for digest in media if digest not in attached]
        if missing:
            raise DeskRefusedError(_("The server has been started anew meanwhile: please attach the files again."))
        await self.send(agent, session, body, preset=preset, once=once, media=tuple(attached[digest] for digest in media))

    async def send(
        self,
        agent: e.AgentId,
        session: e.SessionId,
        body: str,
        *,
        preset: str | None = None,
        once: str | None = None,
        media: tuple[e.Media, ...] = (),
    ) -> None:
        """As `say`, with files that the store has."""
        words = body.strip()
        if not words and not media:
            raise DeskRefusedError(_("There is nothing to send."))
        if len(words) > LONGEST_TEXT:
            raise DeskRefusedError(_("Too long: a text may have %(most)s characters.", most=number_words(LONGEST_TEXT)))
        missing = gaps(words)
        if missing:
            raise DeskRefusedError(_("Fill this in first: %(gaps)s", gaps=" ".join(missing)))
        await self._tell(session, e.AgentSaid(agent, words, preset, once, media))
        if preset is not None:
            await self._presets.used(agent, preset, now=self._runner.clock())

    @property
    def media(self) -> MediaStore:
        """Everything that texts carried."""
        return self._runner.media

    async def keep_media(self, agent: e.AgentId, data: bytes) -> e.Media:
        """Keep a file that the agent is about to send."""
        try:
            media = await self._runner.media.put(data)
        except MediaRefusedError as refusal:
            raise DeskRefusedError(core_words.of_files(refusal.reason)) from refusal
        except BlobsUnavailableError as error:
            raise DeskRefusedError(_("Files cannot be kept just now. Try again in a moment.")) from error
        self._attach(agent, media)
        await self._tell_nodes(_Word(agent, attached=media))
        return media

    def _attach(self, agent: e.AgentId, media: e.Media) -> None:
        """The agent may send it from now on."""
        attached = self._attached.setdefault(agent, OrderedDict())
        attached[media.digest] = media
        while len(attached) > MOST_ATTACHED:
            attached.popitem(last=False)

    async def may_see_media(self, agent: e.AgentId, session: e.SessionId, digest: str) -> bool:
        """Whether the file went by in a session that the agent may see."""
        live = self._runner.sessions.get(session)
        if live is not None:
            allowed = self._has_it(agent, live) or live.state.customer in self._customers(agent)
        else:
            stored = await self._runner.journal.session(session)
            allowed = stored is not None and self._may_read(agent, stored)
        return allowed and has_media(await self._runner.journal.timeline(session), digest)

    async def ask_for_photos(self, agent: e.AgentId, session: e.SessionId) -> None:
        """Text a link to a page where the customer can leave pictures."""
        live = self._runner.sessions.get(session)
        if self._uploads is None:
            raise DeskRefusedError(_("Links cannot be sent: this server does not know its own address (public_url)."))
        if live is None:
            raise DeskRefusedError(_("This conversation is over."))
        link = self._uploads.link(live.state.language, now=self._runner.clock())
        await self._tell(session, e.UploadAsked(agent, link.url, link.token, link.expires_at))

    # --- handing over, setting aside, judging

    async def targets(self, agent: e.AgentId, session: e.SessionId) -> Targets:
        """Whom the chat may be handed to."""
        state = self._chat_of(agent, session).state
        acd, now = self._runner.floor.acd, self._runner.clock()
        colleagues = []
        for other in self._agents.values():
            if other.id not in acd.agents or other.id in acd.leaving:
                continue  # takes no work, or no more
            view = acd.agent_view(e.AgentId(other.id))
            if view.agent != agent and view.state != "offline" and self._runner.settings.chat_queue_of(other) is not None:
                free = max(0, other.max_chats - len(view.chats))
                colleagues.append(
                    Colleague(view.agent, other.name, view.state, view.reason, free, desk_cards.cannot_take(view, free))
                )
        views = [
            acd.queue_view(e.QueueId(queue.id), now)
            for queue in self._runner.settings.queues
            if queue.channel == "sms" and queue.transfers
        ]
        queues = [HandoverQueue(view.queue, self.queue_title(view.queue), view.waiting, view.agents_staffed) for view in views]
        colleagues.sort(key=lambda one: (bool(one.why_not), one.name))
        return Targets(tuple(colleagues), tuple(queues), self._transfer_why(state))

    async def transfer(
        self, agent: e.AgentId, session: e.SessionId, *, to: e.AgentId | None, queue: str | None, note: str
    ) -> None:
        """Hand the chat to a colleague or to a queue."""
        state = self._chat_of(agent, session).state
        targets = await self.targets(agent, session)
        if to is not None:
            colleague = next((one for one in targets.colleagues if one.id == to), None)
            if colleague is None:
                raise DeskRefusedError(_("%(name)s is not signed in any more.", name=self._name(to)))
            if colleague.why_not:
                raise DeskRefusedError(_("%(name)s cannot take it now: %(why)s.", name=colleague.name, why=colleague.why_not))
            queue, name = self._queue_for(to, state.chat_queue), colleague.name
        else:
            name = None
            if queue not in {one.id for one in targets.queues}:
                raise DeskRefusedError(_("Chats cannot be handed to that queue."))
        assert queue is not None
        await self._tell(session, e.AgentTransferred(agent, e.QueueId(queue), to, name, note))

    def _queue_for(self, agent: e.AgentId, now_in: str | None) -> str | None:
        """The queue in which a colleague is asked: the chat's own if they work on it."""
        settings = self._agents[agent]
        return now_in if now_in in settings.queues else self._runner.settings.chat_queue_of(settings)

    def _transfer_why(self, state: State) -> str:
        queue = self._runner.floor.queues.get(state.chat_queue or "")
        own = None if queue is None else queue.chat.max_transfers
        most = self._runner.settings.sms.max_transfers if own is None else own
        if state.transfers < most:
            return ""
        return _("This chat has been handed on %(n)s times already. Please keep it.", n=state.transfers)

    async def set_aside(self, agent: e.AgentId, session: e.SessionId) -> None:
        """Dismiss the chat: it comes back when the customer writes."""
        self._chat_of(agent, session)
        await self._tell(session, e.AgentDismissed(agent))

    async def judge(self, agent: e.AgentId, session: e.SessionId, *, meant: bool) -> None:
        """Say whether the customer's words were a wish not to be texted."""
        live = self._runner.sessions.get(session)
        if live is None or not _is_of(live.state, agent):
            raise DeskRefusedError(_("This conversation is not yours."))
        await self._tell(session, e.OptOutJudged(agent, meant))

    def _chat_of(self, agent: e.AgentId, session: e.SessionId) -> LiveSession:
        live = self._runner.sessions.get(session)
        if live is None or live.state.chat_agent != agent:
            raise DeskRefusedError(_("This chat is not yours (any more)."))
        return live

    # --- the customer

    async def rename(self, agent: e.AgentId, session: e.SessionId, name: str) -> None:
        """Keep what the customer is called; empty: not known."""
        live = self._runner.sessions.get(session)
        if live is None or not self._worked_on(agent, live) or live.state.customer is None:
            raise DeskRefusedError(_("The name can be changed while you work on the conversation."))
        number, now = live.state.customer, self._runner.clock()
        known = await self._runner.journal.contact(number) or ContactRow(number=number, updated_at=now)
        await self._runner.commit(Unit(contacts=[msgspec.structs.replace(known, name=name or None, updated_at=now)]))
        await self._runner.call_customer(number, name or None)

    def senders(self, agent: e.AgentId) -> tuple[Sender, ...]:
        """Numbers the agent may begin a conversation from."""
        languages = {number.number: number.language for number in self._runner.settings.numbers}
        return tuple(
            Sender(
                each.number,
                languages.get(each.number) or "en",
                each.kind,
                each.registered,
                each.brand,
                each.campaign,
                each.per_day if each.left_today is None else each.left_today,
            )
            for each in self._channel.senders_for(agent)
        )

    async def recipient(self, agent: e.AgentId, typed: str, sender: str) -> Recipient:
        """What was typed means, and whether it can be texted."""
        if sum(char.isdigit() for char in typed) < SHORTEST_NUMBER:
            return Recipient(None)
        known = look_up(typed.strip(), region=self._runner.settings.country)
        if known.e164 is None:
            return Recipient(None, _(NO_NUMBER))
        try:
            await self._channel.may_open(agent, known.e164, sender)
        except ChannelRefusedError as refusal:
            return Recipient(known.e164, core_words.of_the_channel(refusal.rule, str(refusal), known.e164))
        customer = await self._runner.customer(known.e164, sender)
        return Recipient(
            known.e164, "", customer.name, "" if customer.introduced else self._first_words(agent, sender, customer.language)
        )

    def _first_words(self, agent: e.AgentId, sender: str, language: str | None) -> str:
        """What somebody reads who has never heard of us."""
        number = next((each for each in self._runner.settings.numbers if each.number == sender), None)
        own = None if number is None else number.language
        values = {"agent": self._name(agent)}
        return self._runner.words_of(sender)("outbound", language or own or "en", None, values)

    async def open(self, agent: e.AgentId, number: str, sender: str, body: str, preset: str | None = None) -> e.SessionId:
        """Begin a conversation; the text is in the outbox and the chat is the agent's."""
        try:
            return await self._channel.open_by_agent(agent, number, sender, None, body, preset)
        except ChannelRefusedError as refusal:
            raise DeskRefusedError(core_words.of_the_channel(refusal.rule, str(refusal), number)) from refusal

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
            raise DeskRefusedError(_("This conversation is not yours."))
        required = self._requires(live.state) if agent in live.state.wrapping else ()
        if "note" in required and not note.strip():
            raise DeskRefusedError(_("A note is required here: write one first."))
        if "disposition" in required and not disposition:
            raise DeskRefusedError(_("Choose first how it ended."))
        await self._tell(session, e.WrapUpNoted(agent, note.strip(), disposition or None))
        if not any(agent in live.state.wrapping for live in self._runner.sessions.values()):
            await self._runner.do(FinishWrapUp(agent))

    def _worked_on(self, agent: e.AgentId, live: LiveSession) -> bool:
        """Whether the agent has the session, or had it."""
        return _concerns(live.state, agent) or live.state.id in self._done.get(agent, ())

    async def _tell(self, session: e.SessionId, event: e.AnyEvent) -> None:
        try:
            await self._runner.tell(session, event)
        except UnexpectedEvent as refusal:
            raise DeskRefusedError(core_words.of_the_session(str(refusal))) from refusal
        except SessionAwayError as error:
            raise DeskRefusedError(core_words.of_away()) from error

    # --- who is watching

    def subscribe(self, agent: e.AgentId) -> AbstractAsyncContextManager[AsyncIterator[DeskUpdate]]:
        """Updates from now on; while one subscription is open the desk counts as connected."""
        return self._subscription(agent)

    @asynccontextmanager
    async def _subscription(self, agent: e.AgentId) -> AsyncIterator[AsyncIterator[DeskUpdate]]:
        updates: asyncio.Queue[DeskUpdate | None] = asyncio.Queue()
        self._subscribers.setdefault(agent, set()).add(updates)
        self._back(agent)
        self._open.opened(agent)
        try:
            yield _drain(updates)
        finally:
            self._subscribers[agent].discard(updates)
            if not self._subscribers[agent]:
                self._open.closed(agent)
                self._leave_later(agent)

    def watched(self, agent: e.AgentId) -> bool:
        """Whether a desk of the agent's is open, here or at another node."""
        return bool(self._subscribers.get(agent)) or self._open.elsewhere(agent)

    async def run(self, started: asyncio.Event) -> None:
        """Know of desks at other nodes, until cancelled."""
        await self._open.run(started)

    def expect_desks(self) -> None:
        """After a start: agents who were at work have the grace time to connect again."""
        for agent in self._runner.floor.acd.agents:
            if self._runner.floor.acd.agent_view(agent).state != "offline" and not self.watched(agent):
                self._leave_later(agent)

    def _back(self, agent: e.AgentId) -> None:
        """A desk of the agent's is open."""
        leaving = self._leaving.pop(agent, None)
        if leaving is not None:
            leaving.cancel()

    def _leave_later(self, agent: e.AgentId) -> None:
        if agent in self._leaving or self.watched(agent):
            return
        loop = asyncio.get_running_loop()
        self._leaving[agent] = loop.call_later(self._runner.settings.desk_grace, self._gone, agent)

    def _gone(self, agent: e.AgentId) -> None:
        self._leaving.pop(agent, None)
        self._runner.spawn(self._sign_off(agent))

    async def _sign_off(self, agent: e.AgentId) -> None:
        """The desk did not come back: nothing may ring there, and its chats go back to their places."""
        if agent not in self._runner.floor.acd.agents or self.watched(agent):
            return  # has left us meanwhile, or is back this moment
        log.info("desk.gone", agent=agent)
        view = self._runner.floor.acd.agent_view(agent)
        await self._runner.do(SetAgentState(agent, "offline", "desk lost"))
        for session in view.chats:
            live = self._runner.sessions.get(session)
            if live is not None and live.state.chat_agent == agent:  # else another node has been faster
                self._runner.post(session, e.AgentLost(agent))

    # --- Listener

    def line_added(self, session: e.SessionId, line: TimelineLine) -> None:
        """A new line for whoever works on the session."""
        self._note(session, line)
        if line.kind.startswith("callback."):
            for agent in self.calls.concerned(session):
                self.desk_changed(agent)
        if line.kind not in QUIET:
            self._send(session, LineAdded(session, line_of(line)))

    def _note(self, session: e.SessionId, line: TimelineLine) -> None:
        if line.n == 1:
            self._waiting[session] = Glance()
        if session in self._waiting and not self._waiting[session].take(line):
            del self._waiting[session]  # it is read again when somebody looks
        live = self._runner.sessions.get(session)
        if line.kind == "chat.returned":
            self._returned.add(session)
        elif line.kind == "transfer.failed" and live is not None:
            by = failed_transfer_of(line, {e.AgentId(each.id): each.name for each in self._agents.values()})
            if by is not None:
                self._alerts[session] = (by, line.data)
        if line.kind == "session.closed":
            self._looked_at.pop(session, None)
            self._waiting.pop(session, None)
            self._alerts.pop(session, None)
            self._returned.discard(session)

    def text_moved(self, session: e.SessionId, message: e.MessageId, state: TextState, code: str | None) -> None:
        """New ticks for whoever works on the session."""
        self._send(session, TicksChanged(session, message, _ticks(self._runner.sms_name, state, code)))

    def session_changed(self, session: e.SessionId) -> None:
        """Head, card or buttons are to be read again."""
        for agent in self._workers(session):
            self._put(agent, SessionChanged(session))
            self.desk_changed(agent)
        if self.calls.is_owed(session):
            for agent in self.calls.concerned(session):
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
        if live is not None and self._looked_at.get(session) != live.seq:
            if not live.session.closed:
                self._looked_at[session] = live.seq
            for agent in self._agents:
                if _concerns(live.state, agent):
                    self._know(agent, session)
        return list(self._known_to.get(session, ()))

    def _know(self, agent: e.AgentId, session: e.SessionId) -> None:
        """The agent works on the session, or did; what is too long ago is forgotten."""
        known = self._known_to.setdefault(session, {})
        if agent in known:
            return
        known[agent] = None
        done = self._done.setdefault(agent, [])
        done.append(session)
        for old in done[:-KEPT]:
            self._known_to[old].pop(agent, None)
            if not self._known_to[old]:
                del self._known_to[old]
        del done[:-KEPT]

    def _put(self, agent: e.AgentId, update: DeskUpdate) -> None:
        for updates in self._subscribers.get(agent, ()):
            if updates.qsize() < MISSED_UPDATES:
                updates.put_nowait(update)
            else:
                # Too far behind to be told line by line: the subscription ends, and whoever reads begins again.
                while not updates.empty():
                    updates.get_nowait()
                updates.put_nowait(None)


async def _drain(updates: asyncio.Queue[DeskUpdate | None]) -> AsyncIterator[DeskUpdate]:
    """What comes, in order; that something is to be read again comes once for all that came meanwhile, and last."""
    while True:
        batch = [await updates.get()]
        while not updates.empty():
            batch.append(updates.get_nowait())
        again: dict[DeskUpdate, None] = {}
        for update in batch:
            if update is None:
                return
            if isinstance(update, DeskChanged | SessionChanged):
                again[update] = None
            else:
                yield update
        for update in again:
            yield update


def _agent(settings: AgentSettings) -> Agent:
    return Agent(e.AgentId(settings.id), settings.name, settings.queues, settings.roles)


def _is_of(state: State, agent: e.AgentId) -> bool:
    return agent in {state.agent, state.chat_agent} or agent in state.wrapping


def _concerns(state: State, agent: e.AgentId) -> bool:
    """As `_is_of`, or it is about to come back: handed over and not taken yet, put aside, kept for this agent."""
    kept = state.text in {TextLeg.DISMISSED, TextLeg.QUEUED} and state.prefer == agent
    handed = state.transfer is not None and state.transfer.by == agent
    return _is_of(state, agent) or handed or (kept and state.transfer is None) or call_concerns(state, agent)


def _note_for(state: State, agent: e.AgentId) -> bool:
    """Whether what a colleague wrote when they handed it on is for this agent."""
    handed = state.transfer is not None and agent != state.transfer.by
    return agent == state.chat_agent or handed or call_note_for(state, agent)


def _ticks(provider: str, state: TextState, code: str | None) -> Ticks:
    return Ticks(state, code, None if code is None else errors.diagnose(provider, code).explanation)
