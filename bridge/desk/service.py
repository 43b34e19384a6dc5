"""What agents see and do: the desk behind the console."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Literal

import msgspec

from bridge import events as e
from bridge.calls import Calls
from bridge.channel import Channel
from bridge.desk.attention import Attention
from bridge.desk.concerns import Concerns, is_of
from bridge.desk.handovers import Handovers
from bridge.desk.openings import Openings
from bridge.desk.staff import Staff
from bridge.desk.views import Views, ticks
from bridge.desk.watchers import Watchers
from bridge.floor_ops import AcceptWork, DeclineWork, FinishWrapUp, SetAgentState
from bridge.glance import has_media
from bridge.journal import ContactRow, TimelineLine, Unit
from bridge.live import LiveSession, SessionAwayError
from bridge.media_store import BlobsUnavailableError, MediaRefusedError, MediaStore
from bridge.news import News
from bridge.presets import Presets
from bridge.records import QUIET, line_of, state_of
from bridge.runner import Runner
from bridge.session import UnexpectedEvent
from bridge.uploads import Uploads
from bridge.web.console import core_words
from bridge.web.console.filling import gaps
from bridge.web.console.timeline import pretty_number
from bridge.web.console.words import gettext as _
from bridge.web.console.words import number_words
from bridge.web.ports import (
    LONGEST_TEXT,
    Agent,
    DeskChanged,
    DeskRefusedError,
    DeskUpdate,
    LineAdded,
    OfferedWork,
    Presence,
    Preset,
    Recipient,
    Sender,
    SessionChanged,
    SessionView,
    Targets,
    TicksChanged,
    Work,
)
from bridge.web.ports_desk import DeskRules, Folded, Found, OwnText, ReadyText, Waiter
from sms.message import TextState

MOST_FOUND = 30
"""Conversations that a search shows."""
MOST_ATTACHED = 100
"""Files of one agent that are kept in mind until they are sent."""
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
        self._uploads = uploads
        self._staff = Staff(runner)
        self._openings = Openings(runner, channel or Channel(runner), self._staff)
        self.calls = Calls(runner, self._staff.queue_title)
        """What agents do with calls."""
        self._watchers = Watchers(runner, news)
        self._concerns = Concerns(runner, self._staff)
        self._attention = Attention(runner, self._staff)
        self._handovers = Handovers(runner, self._staff)
        self._views = Views(
            runner, self._staff, self._concerns, self._attention, self._handovers, takes_files=uploads is not None
        )
        self._attached: dict[e.AgentId, OrderedDict[str, e.Media]] = {}
        """Files an agent is about to send."""
        self._news = news
        if news is not None:
            news.hear(TOPIC, self._told)
        self._staff.take_settings()
        runner.follow_settings(self._take_settings)
        runner.listen(self)

    def _take_settings(self) -> None:
        self._staff.take_settings()
        self._watchers.put_all(DeskChanged())

    # --- who

    async def sign_in(self, login: str, password: str) -> Agent | None:
        """None for a wrong login or password; both take the same time."""
        return await self._staff.sign_in(login, password)

    def agent(self, agent: e.AgentId) -> Agent | None:
        """None when there is no such agent."""
        return self._staff.agent(agent)

    def queue_title(self, queue: str) -> str:
        """What agents call a queue."""
        return self._staff.queue_title(queue)

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
        return self._views.offers(agent)

    async def work(self, agent: e.AgentId) -> tuple[Work, ...]:
        """What the agent has in hand, newest first."""
        return await self._views.work(agent)

    async def session(self, agent: e.AgentId, session: e.SessionId) -> SessionView:
        """A session as this agent may see it."""
        live = self._runner.sessions.get(session)
        if live is not None and self._concerns.has_it(agent, live):
            if self._attention.see(agent, live):
                await self._tell_nodes(_Word(agent, seen=session))
            return await self._views.session(agent, live.state, self._views.composer_why(live, agent))
        if live is not None:
            if live.state.customer not in self._concerns.customers(agent):
                raise DeskRefusedError(_("This conversation is not yours."))
            return await self._views.session(
                agent, live.state, _("This is another conversation of this customer; you can read it here.")
            )
        stored = await self._runner.journal.session(session)
        if stored is None or not self._concerns.may_read(agent, stored):
            raise DeskRefusedError(_("This conversation is not yours."))
        return await self._views.session(agent, state_of(stored), _("This conversation is over."))

    async def _tell_nodes(self, word: "_Word") -> None:
        if self._news is not None:
            await self._news.tell(TOPIC, msgspec.json.encode(word).decode())

    async def _told(self, about: str) -> None:
        """What an agent has done at another node."""
        word = msgspec.json.decode(about, type=_Word) if about else None
        live = None if word is None or word.seen is None else self._runner.sessions.get(word.seen)
        if word is not None and live is not None:
            self._attention.see(word.agent, live)
        if word is not None and word.attached is not None:
            self._attach(word.agent, word.attached)

    # --- what an agent looks for

    def rules(self) -> DeskRules:
        """When a customer who waits for an answer stands out."""
        return DeskRules(self._runner.settings.desk.slow, self._runner.settings.desk.late)

    def waiting(self, agent: e.AgentId) -> tuple[Waiter, ...]:
        """Who is in line for the agent's queues, the longest wait first."""
        return self._views.waiting(agent)

    async def search(self, agent: e.AgentId, words: str) -> tuple[Found, ...]:
        """The agent's own conversations with *words* in number, name or texts, the newest first."""
        found = await self._runner.journal.find_own(agent, words, MOST_FOUND)
        return tuple(
            Found(each.id, each.customer, each.name, each.queue, each.opened_at, each.closed_at is not None, each.body)
            for each in found
        )

    async def before(self, agent: e.AgentId, session: e.SessionId, after: e.SessionId | None) -> tuple[tuple[Folded, ...], bool]:
        """Earlier conversations with the customer of *session*, the newest first, and whether there are more."""
        live = self._runner.sessions.get(session)
        stored = await self._runner.journal.session(session)
        if stored is None or not (
            self._concerns.may_read(agent, stored) or (live is not None and self._concerns.has_it(agent, live))
        ):
            raise DeskRefusedError(_("This conversation is not yours."))
        if stored.row.customer is None:
            return (), False
        return await self._views.before(stored.row.customer, after or session)

    # --- ready-made texts

    async def ready_texts(self, agent: e.AgentId, session: e.SessionId | None, language: str) -> tuple[ReadyText, ...]:
        """Ready-made texts, their gaps filled with what is known, the most used first."""
        settings = self._runner.settings
        known = {"agent": self._staff.name(agent), "company": settings.brand}
        live = None if session is None else self._runner.sessions.get(session)
        if live is not None:
            state = live.state
            queue = state.chat_queue or state.queue
            known |= {"customer": live.customer.name or "", "number": pretty_number(state.our_number), "code": state.code}
            if queue is not None and queue in self._runner.floor.queues:
                known |= {"queue": self._staff.queue_title(queue), "ewt": self._minutes(queue)}
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

    async def hang_up(self, agent: e.AgentId, session: e.SessionId) -> None:
        """End the call."""
        await self._tell(session, e.AgentHungUp(agent))

    async def end_chat(self, agent: e.AgentId, session: e.SessionId) -> None:
        """End the text conversation."""
        await self._tell(session, e.AgentEndedChat(agent))

    async def wrap_up(self, agent: e.AgentId, session: e.SessionId, note: str, disposition: str | None) -> None:
        """Save the note and be ready."""
        live = self._runner.sessions.get(session)
        if live is None or not self._concerns.worked_on(agent, live):
            raise DeskRefusedError(_("This conversation is not yours."))
        required = self._views.requires(live.state) if agent in live.state.wrapping else ()
        if "note" in required and not note.strip():
            raise DeskRefusedError(_("A note is required here: write one first."))
        if "disposition" in required and not disposition:
            raise DeskRefusedError(_("Choose first how it ended."))
        await self._tell(session, e.WrapUpNoted(agent, note.strip(), disposition or None))
        if not any(agent in live.state.wrapping for live in self._runner.sessions.values()):
            await self._runner.do(FinishWrapUp(agent))

    async def _tell(self, session: e.SessionId, event: e.AnyEvent) -> None:
        try:
            await self._runner.tell(session, event)
        except UnexpectedEvent as refusal:
            raise DeskRefusedError(core_words.of_the_session(str(refusal))) from refusal
        except SessionAwayError as error:
            raise DeskRefusedError(core_words.of_away()) from error

    # --- files

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
            allowed = self._concerns.has_it(agent, live) or live.state.customer in self._concerns.customers(agent)
        else:
            stored = await self._runner.journal.session(session)
            allowed = stored is not None and self._concerns.may_read(agent, stored)
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
        return self._handovers.targets(agent, self._chat_of(agent, session).state)

    async def transfer(
        self, agent: e.AgentId, session: e.SessionId, *, to: e.AgentId | None, queue: str | None, note: str
    ) -> None:
        """Hand the chat to a colleague or to a queue."""
        state = self._chat_of(agent, session).state
        asked_in, name = self._handovers.choose(agent, state, to=to, queue=queue)
        await self._tell(session, e.AgentTransferred(agent, asked_in, to, name, note))

    async def set_aside(self, agent: e.AgentId, session: e.SessionId) -> None:
        """Dismiss the chat: it comes back when the customer writes."""
        self._chat_of(agent, session)
        await self._tell(session, e.AgentDismissed(agent))

    async def judge(self, agent: e.AgentId, session: e.SessionId, *, meant: bool) -> None:
        """Say whether the customer's words were a wish not to be texted."""
        live = self._runner.sessions.get(session)
        if live is None or not is_of(live.state, agent):
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
        if live is None or not self._concerns.worked_on(agent, live) or live.state.customer is None:
            raise DeskRefusedError(_("The name can be changed while you work on the conversation."))
        number, now = live.state.customer, self._runner.clock()
        known = await self._runner.journal.contact(number) or ContactRow(number=number, updated_at=now)
        await self._runner.commit(Unit(contacts=[msgspec.structs.replace(known, name=name or None, updated_at=now)]))
        await self._runner.call_customer(number, name or None)

    def senders(self, agent: e.AgentId) -> tuple[Sender, ...]:
        """Numbers the agent may begin a conversation from."""
        return self._openings.senders(agent)

    async def recipient(self, agent: e.AgentId, typed: str, sender: str) -> Recipient:
        """What was typed means, and whether it can be texted."""
        return await self._openings.recipient(agent, typed, sender)

    async def open(self, agent: e.AgentId, number: str, sender: str, body: str, preset: str | None = None) -> e.SessionId:
        """Begin a conversation; the text is in the outbox and the chat is the agent's."""
        return await self._openings.open(agent, number, sender, body, preset)

    # --- who is watching

    def subscribe(self, agent: e.AgentId) -> AbstractAsyncContextManager[AsyncIterator[DeskUpdate]]:
        """Updates from now on; while one subscription is open the desk counts as connected."""
        return self._watchers.subscribe(agent)

    def watched(self, agent: e.AgentId) -> bool:
        """Whether a desk of the agent's is open, here or at another node."""
        return self._watchers.watched(agent)

    async def run(self, started: asyncio.Event) -> None:
        """Know of desks at other nodes, until cancelled."""
        await self._watchers.run(started)

    def expect_desks(self) -> None:
        """After a start: agents who were at work have the grace time to connect again."""
        self._watchers.expect_desks()

    # --- Listener

    def line_added(self, session: e.SessionId, line: TimelineLine) -> None:
        """A new line for whoever works on the session."""
        self._attention.note(session, line)
        if line.kind == "session.closed":
            self._concerns.closed(session)
        if line.kind.startswith("callback."):
            for agent in self.calls.concerned(session):
                self.desk_changed(agent)
        if line.kind not in QUIET:
            self._send(session, LineAdded(session, line_of(line)))

    def text_moved(self, session: e.SessionId, message: e.MessageId, state: TextState, code: str | None) -> None:
        """New ticks for whoever works on the session."""
        self._send(session, TicksChanged(session, message, ticks(self._runner.sms_name, state, code)))

    def session_changed(self, session: e.SessionId) -> None:
        """Head, card or buttons are to be read again."""
        for agent in self._concerns.workers(session):
            self._watchers.put(agent, SessionChanged(session))
            self.desk_changed(agent)
        if self.calls.is_owed(session):
            for agent in self.calls.concerned(session):
                self.desk_changed(agent)

    def desk_changed(self, agent: e.AgentId) -> None:
        """State, offers or list are to be read again."""
        self._watchers.put(agent, DeskChanged())

    def _send(self, session: e.SessionId, update: DeskUpdate) -> None:
        for agent in self._concerns.workers(session):
            self._watchers.put(agent, update)
