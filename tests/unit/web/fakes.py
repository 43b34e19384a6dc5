"""In-memory stand-ins for what the web needs of the rest of the server, and a conversation to look at."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
from PIL import Image

from bridge.events import AgentId, AnswerCall, CallArrived, CallEvent, Channel, Media, MessageId, PlayPrompts, SessionId
from bridge.media_links import Variant
from bridge.media_store import Kept, MediaStore, Missing
from bridge.telephony.loopback import LoopbackCallProvider
from bridge.web.console.filling import fill, gaps
from bridge.web.ports import (
    Agent,
    Agreement,
    Colleague,
    DeskChanged,
    DeskRefusedError,
    DeskUpdate,
    Earlier,
    Handover,
    HandoverQueue,
    Line,
    LineAdded,
    OfferedWork,
    Presence,
    Preset,
    Recipient,
    Sender,
    SessionChanged,
    SessionView,
    Targets,
    Ticks,
    TicksChanged,
    Work,
)
from bridge.web.ports_desk import DeskRules, Folded, Found, OwnText, ReadyText, Told, Waiter
from sms.message import DeliveryReport, InboundText

ANA = Agent(id=AgentId("ana"), name="Ana Torres", queues=("support", "support_sms"))
BEN = Agent(id=AgentId("ben"), name="Ben Okafor", queues=("support",))
SESSION = SessionId("s-1")
OTHER = SessionId("s-2")
STRANGE = "<script>alert(1)</script> & \"quotes\" 'single'"
PRESETS = (
    Preset(id="photo", title="Ask for a photo", text="Could you send us a photo of the label?"),
    Preset(id="link", title="Help page", text="You find the steps here: https://help.example/router"),
    Preset(id="bye", title="Thank you", text="Thank you for your patience. Anything else we can do?"),
)


def lines(now: float) -> tuple[Line, ...]:
    """A whole story: menu, wait, offer, consent, questions, photo, agent, texts."""
    told: list[tuple[float, str, dict[str, Any]]] = [
        (-214, "call.arrived", {"caller": "+15550100123", "called": "+15550100200"}),
        (-213, "call.answered", {}),
        (-212, "language.chosen", {"language": "en", "by": "number"}),
        (-206, "prompt.played", {"keys": ["welcome"], "words": "Welcome to Sidetone.", "heard": 2.1, "completed": True}),
        (-204, "menu.chosen", {"prompt": "main_menu", "key": "1", "target": "internet"}),
        (-203, "offer.decided", {"kind": "deflect", "offer": False, "reason": "sms_not_faster", "inputs": {"p": 0.61}}),
        (-202, "queue.joined", {"queue": "support", "channel": "voice", "waited": 0}),
        (-198, "ewt.told", {"low": 4, "high": 6, "words": "Your expected wait is about four to six minutes."}),
        (-180, "offer.made", {"kind": "hold", "words": "While you wait, we can ask two questions by text. Press 1 to agree."}),
        (-172, "offer.answered", {"kind": "hold", "answer": "accepted", "digit": "1"}),
        (-172, "consent.given", {"purpose": "session", "granted": True, "words": "We may text this number during this call."}),
        (-171, "text.sent", {"message": "m-1", "body": "Sidetone: what is this about? Reply STOP to opt out.", "author": "flow"}),
        (-140, "text.received", {"message": "m-2", "body": "My router blinks red since this morning", "media": []}),
        (-140, "answer.stored", {"question": "reason", "body": "My router blinks red since this morning", "media": 0}),
        (-139, "text.sent", {"message": "m-3", "body": "Thanks. A photo of the label would help.", "author": "flow"}),
        (
            -96,
            "text.received",
            {"message": "m-4", "body": "", "media": [{"digest": "d1", "content_type": "image/jpeg", "size": 5}]},
        ),
        (-60, "agent.offered", {"agent": "ben", "channel": "voice"}),
        (-41, "offer.lapsed", {"agent": "ben", "channel": "voice", "reason": "ring_timeout"}),
        (-40, "agent.offered", {"agent": "ana", "channel": "voice"}),
        (-35, "agent.accepted", {"name": "Ana Torres", "channel": "voice"}),
        (-34, "agent.joined", {"name": "Ana Torres", "channel": "voice"}),
        (-34, "audio.connected", {}),
        (
            -20,
            "text.sent",
            {
                "message": "m-5",
                "body": "You find the steps here: https://help.example/router",
                "author": "agent:ana",
                "preset": "link",
            },
        ),
        (-8, "text.received", {"message": "m-6", "body": STRANGE, "media": [], "confidence": "certain"}),
        (-4, "text.sent", {"message": "m-7", "body": "Please hold the button for ten seconds.", "author": "agent:ana"}),
        (-3, "text.sent", {"message": "m-8", "body": "Is the light green now?", "author": "agent:ana"}),
        (-2, "weather.changed", {"sky": "blue"}),
    ]
    return tuple(Line(n=n, at=now + ago, kind=kind, data=data) for n, (ago, kind, data) in enumerate(told, start=1))


def view(now: float) -> SessionView:
    return SessionView(
        id=SESSION,
        customer="+15550100123",
        our_number="+15550100200",
        language="en",
        queue="support",
        opened_at=now - 214,
        closed_at=None,
        agent=ANA.id,
        call_state="connected",
        text_state="open",
        composer_open=True,
        composer_why="",
        card={"topic": "Internet", "contract": "A-1029", "waited": "2 min 54 s"},
        answers={"reason": "My router blinks red since this morning", "photo": "1 photo"},
        told=Told(low=2, high=2, waited=174.0, promises=("We keep your place in line.",)),
        timeline=lines(now),
        ticks={
            MessageId("m-1"): Ticks("delivered"),
            MessageId("m-3"): Ticks("delivered"),
            MessageId("m-5"): Ticks("read"),
            MessageId("m-7"): Ticks("undelivered", "30005", "Unknown or inactive number"),
            MessageId("m-8"): Ticks("sent"),
        },
    )


CHAT = SessionId("s-3")
PAST = SessionId("s-0")


def chat(now: float) -> SessionView:
    """A chat of Ana's with a customer we know."""
    told: list[tuple[float, str, dict[str, Any]]] = [
        (-400, "text.received", {"message": "c-1", "body": "Hi", "media": []}),
        (-399, "menu.answered", {"body": "Hi", "titles": [], "why": "the first text"}),
        (-380, "text.received", {"message": "c-2", "body": "1", "media": []}),
        (-380, "menu.answered", {"body": "1", "titles": ["Internet", "Router"], "why": "number 1"}),
        (-379, "queue.joined", {"queue": "support_sms", "channel": "sms", "waited": 0}),
        (-360, "agent.joined", {"name": "Ana Torres", "channel": "sms"}),
        (-350, "text.sent", {"message": "c-3", "body": "Hello, Ana here. What is it?", "author": "agent:ana"}),
        (-95, "text.received", {"message": "c-4", "body": "It blinks red again", "media": []}),
    ]
    return SessionView(
        id=CHAT,
        customer="+15550100144",
        our_number="+15550100200",
        language="en",
        queue="support_sms",
        opened_at=now - 400,
        closed_at=None,
        agent=ANA.id,
        call_state="none",
        text_state="chatting",
        composer_open=True,
        composer_why="",
        card={"language": "English"},
        answers={},
        timeline=tuple(Line(n=n, at=now + ago, kind=kind, data=data) for n, (ago, kind, data) in enumerate(told, start=1)),
        ticks={MessageId("c-3"): Ticks("delivered")},
        chat_agent=ANA.id,
        name="Maria Silva",
        reply_code="K7QM",
        unanswered_since=now - 95,
        agreements=(
            Agreement(now - 9e5, "care", True, "May we text you about your order? Reply YES.", "en"),
            Agreement(now - 2e6, "marketing", False, "May we text you offers?", "en"),
        ),
        earlier=(Earlier(PAST, now - 9e5, True, "call", "support", "Ben Okafor"),),
        takes_files=True,
    )


class FakeMedia(MediaStore):
    """The same small picture under any digest that is known."""

    def __init__(self) -> None:
        super().__init__(Path(), max_bytes=2_000_000)
        self.known: dict[str, bytes] = {"d1": picture(148, 112)}

    async def find(self, digest: str, _variant: Variant = "whole") -> Kept | Missing:
        data = self.known.get(digest)
        return "gone" if data is None else Kept(digest, digest, "image/png", len(data))

    async def read(self, kept: Kept, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        yield self.known[kept.key][start:end]


def picture(width: int, height: int) -> bytes:
    """A PNG."""
    data = io.BytesIO()
    Image.new("RGB", (width, height), "#7a8f6b").save(data, "PNG")
    return data.getvalue()


class FakeDesk:
    """One desk, two agents, a conversation on a call, a chat that was opted out of, and a chat."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.passwords = {"ana": "correct horse", "ben": "battery staple"}
        self.agents = {ANA.id: ANA, BEN.id: BEN}
        self.asked: list[tuple[Any, ...]] = []
        self.refusal: str | None = None
        self.presences = {
            ANA.id: Presence(state="ready", reason=None, since=now - 75, on_call=SESSION, chats=1),
            BEN.id: Presence(state="offline", reason=None, since=now, on_call=None, chats=0),
        }
        self.offered: tuple[OfferedWork, ...] = ()
        self.views = {
            SESSION: view(now),
            OTHER: msgspec.structs.replace(
                view(now),
                id=OTHER,
                customer="+15550100177",
                call_state="none",
                text_state="opted_out",
                composer_open=False,
                composer_why="The customer sent STOP. Texting opens again when they send START.",
                answers={},
                card={},
                timeline=(
                    Line(1, now - 4000, "text.received", {"message": "x", "body": "STOP", "media": []}),
                    Line(2, now - 4000, "opted_out", {"word": "STOP"}),
                ),
                ticks={},
                wrapping_up=True,
            ),
            CHAT: chat(now),
        }
        self.past = msgspec.structs.replace(
            chat(now), id=PAST, closed_at=now - 8e5, composer_open=False, chat_agent=None, agent=None, text_state="closed"
        )
        self.unread = {SESSION: 2, OTHER: 0, CHAT: 0}
        self.rows: dict[SessionId, dict[str, Any]] = {}
        """What the list shows besides what the views tell."""
        self.media = FakeMedia()
        self.ready_made: tuple[Preset, ...] = PRESETS
        self.own: dict[str, OwnText] = {}
        self.in_line: tuple[Waiter, ...] = ()
        self.targeted = Targets(
            colleagues=(
                Colleague(BEN.id, BEN.name, "ready", None, 2),
                Colleague(AgentId("cyd"), "Cyd Ray", "not_ready", "Lunch", 0, "Not ready: Lunch"),
            ),
            queues=(HandoverQueue("billing_sms", "Billing by text", 3, 1), HandoverQueue("night", "Night desk", 0, 0)),
        )
        self.ours: tuple[Sender, ...] = (
            Sender("+15550100200", brand="B1", campaign="C1", left_today=1840),
            Sender("+15550100201", registered=False),
        )
        self.known = {"+15550100144"}
        self.refused_numbers = {
            "+15550100166": "They opted out of texts from us on 3 March. Only they can change that, by texting START."
        }
        self.listeners: set[asyncio.Queue[DeskUpdate]] = set()
        self.left = asyncio.Event()

    async def sign_in(self, login: str, password: str) -> Agent | None:
        return self.agents[AgentId(login)] if self.passwords.get(login) == password else None

    def agent(self, agent: AgentId) -> Agent | None:
        return self.agents.get(agent)

    def presence(self, agent: AgentId) -> Presence:
        return self.presences[agent]

    def reasons(self) -> tuple[str, ...]:
        return ("Break", "Lunch", "Meeting")

    async def set_state(self, agent: AgentId, state: Literal["ready", "not_ready", "offline"], reason: str | None = None) -> None:
        self._ask("set_state", agent, state, reason)
        self.presences[agent] = msgspec.structs.replace(self.presences[agent], state=state, reason=reason, since=self.now)
        self.publish(DeskChanged())

    def offers(self, agent: AgentId) -> tuple[OfferedWork, ...]:
        return self.offered if agent == ANA.id else ()

    async def work(self, agent: AgentId) -> tuple[Work, ...]:
        if agent != ANA.id:
            return ()
        return tuple(
            Work(
                session=each.id,
                customer=each.customer,
                queue=each.queue,
                call_state=each.call_state,
                text_state=each.text_state,
                since=each.opened_at,
                unread=self.unread[each.id],
                last=str(each.timeline[-1].data.get("body", each.timeline[-1].kind)),
                wrapping_up=each.wrapping_up,
                name=each.name,
                unanswered_since=each.unanswered_since,
                **self.rows.get(each.id, {}),
            )
            for each in self.views.values()
        )

    async def session(self, agent: AgentId, session: SessionId) -> SessionView:
        if agent == ANA.id and session == PAST:
            return self.past
        if agent != ANA.id or session not in self.views:
            raise DeskRefusedError("This conversation is not yours.")
        self.unread[session] = 0
        return self.views[session]

    async def accept(self, agent: AgentId, session: SessionId, channel: Channel) -> None:
        self._ask("accept", agent, session, channel)
        self.offered = ()
        self.publish(DeskChanged())

    async def decline(self, agent: AgentId, session: SessionId, channel: Channel) -> None:
        self._ask("decline", agent, session, channel)
        self.offered = ()
        self.publish(DeskChanged())

    async def say(
        self,
        agent: AgentId,
        session: SessionId,
        body: str,
        preset: str | None = None,
        once: str | None = None,
        media: tuple[str, ...] = (),
    ) -> None:
        self._ask("say", agent, session, body, preset, *([once] if once else []), *([media] if media else []))
        message = MessageId(f"said-{len(self.asked)}")
        files = [{"digest": digest, "content_type": "image/png", "size": len(self.media.known[digest])} for digest in media]
        self.add(session, "text.sent", message=message, body=body, author=f"agent:{agent}", preset=preset, media=files)

    async def keep_media(self, agent: AgentId, data: bytes) -> Media:
        assert agent in self.agents
        if not data.startswith(b"\x89PNG"):
            raise DeskRefusedError("Files of this type cannot be sent.")
        digest = hashlib.sha256(data).hexdigest()
        self.media.known[digest] = data
        return Media(digest, "image/png", len(data))

    async def may_see_media(self, agent: AgentId, session: SessionId, digest: str) -> bool:
        return agent == ANA.id and session in {*self.views, PAST} and digest in self.media.known

    async def ask_for_photos(self, agent: AgentId, session: SessionId) -> None:
        self._ask("ask_for_photos", agent, session)

    async def targets(self, agent: AgentId, session: SessionId) -> Targets:
        if agent != ANA.id or session not in self.views:
            raise DeskRefusedError("This conversation is not yours.")
        return self.targeted

    async def transfer(self, agent: AgentId, session: SessionId, *, to: AgentId | None, queue: str | None, note: str) -> None:
        self._ask("transfer", agent, session, to, queue, note)
        known = {each.id: each.name for each in self.targeted.colleagues}
        name = known[to] if to is not None else next(each.title for each in self.targeted.queues if each.id == queue)
        handover = Handover(name, agent, note, self.now, self.now + 30)
        self.rows[session] = {"handing_over": name}
        self.change(session, handover=handover, text_state="queued", composer_open=False, composer_why="It is being handed over.")
        self.add(session, "transfer.started", by=agent, to=to, queue=queue, note=note)

    async def set_aside(self, agent: AgentId, session: SessionId) -> None:
        self._ask("set_aside", agent, session)
        self.rows[session] = {"set_aside_at": self.now}
        self.change(session, text_state="dismissed", composer_open=False, composer_why="Set aside until the customer writes.")
        self.add(session, "chat.dismissed", name="Ana Torres", by="agent")

    async def judge(self, agent: AgentId, session: SessionId, *, meant: bool) -> None:
        self._ask("judge", agent, session, meant)
        self.change(session, suspicion=None, composer_open=not meant)
        self.add(session, "stop.judged", name="Ana Torres", meant=meant)

    async def rename(self, agent: AgentId, session: SessionId, name: str) -> None:
        self._ask("rename", agent, session, name)
        self.change(session, name=name or None)

    def senders(self, agent: AgentId) -> tuple[Sender, ...]:
        return self.ours if agent == ANA.id else ()

    async def recipient(self, agent: AgentId, typed: str, sender: str) -> Recipient:
        assert agent in self.agents
        digits = typed.replace(" ", "").replace("-", "")
        if len(digits) < 7:
            return Recipient(None)
        number = digits if digits.startswith("+") else f"+1{digits}"
        if number in self.refused_numbers:
            return Recipient(number, self.refused_numbers[number])
        if number in self.known:
            return Recipient(number, name="Maria Silva")
        return Recipient(number, first=f"Sidetone: texts about your request, from {sender}. Reply STOP to opt out.")

    async def open(self, agent: AgentId, number: str, sender: str, body: str, preset: str | None = None) -> SessionId:
        self._ask("open", agent, number, sender, body, preset)
        session = SessionId("s-9")
        self.views[session] = msgspec.structs.replace(
            chat(self.now),
            id=session,
            customer=number,
            our_number=sender,
            name=None,
            unanswered_since=None,
            agreements=(),
            earlier=(),
        )
        self.unread[session] = 0
        self.publish(DeskChanged())
        return session

    async def hang_up(self, agent: AgentId, session: SessionId) -> None:
        self._ask("hang_up", agent, session)
        self.change(session, call_state="ended", wrapping_up=True)
        self.add(session, "call.ended", by="agent", cause="bye")

    async def end_chat(self, agent: AgentId, session: SessionId) -> None:
        self._ask("end_chat", agent, session)

    async def wrap_up(self, agent: AgentId, session: SessionId, note: str, disposition: str | None) -> None:
        self._ask("wrap_up", agent, session, note, disposition)
        self.change(session, wrapping_up=False)
        self.add(session, "note.written", name="Ana Torres", note=note, disposition=disposition)

    def dispositions(self) -> tuple[str, ...]:
        return ("Solved", "Follow-up needed")

    def queue_title(self, queue: str) -> str:
        return {"support_sms": "Support by text"}.get(queue, queue.capitalize())

    def presets(self, language: str) -> tuple[Preset, ...]:
        return self.ready_made if language == "en" else ()

    def rules(self) -> DeskRules:
        return DeskRules()

    async def ready_texts(self, agent: AgentId, session: SessionId | None, language: str) -> tuple[ReadyText, ...]:
        known = {"agent": self.agents[agent].name, "company": "Northwind"}
        if session is not None and session in self.views:
            known["customer"] = self.views[session].name or ""
        own = [Preset(text.id, text.title, text.text) for text in self.own.values() if text.language == language]
        texts = [(preset, fill(preset.text, known)) for preset in (*self.presets(language), *own)]
        return tuple(ReadyText(preset.id, preset.title, text, gaps(text), preset in own) for preset, text in texts)

    async def own_texts(self, agent: AgentId) -> tuple[OwnText, ...]:
        assert agent in self.agents
        return tuple(self.own.values())

    async def keep_own_text(self, agent: AgentId, text: OwnText) -> None:
        self._ask("keep_own_text", agent, text.title)
        kept = msgspec.structs.replace(text, id=text.id or f"own-{len(self.own)}")
        self.own[kept.id] = kept

    async def drop_own_text(self, agent: AgentId, text: str) -> None:
        self._ask("drop_own_text", agent, text)
        del self.own[text]

    def waiting(self, agent: AgentId) -> tuple[Waiter, ...]:
        return self.in_line if agent == ANA.id else ()

    async def search(self, agent: AgentId, words: str) -> tuple[Found, ...]:
        assert agent in self.agents
        return tuple(
            Found(view.id, view.customer, view.name, view.queue, view.opened_at, view.closed_at is not None, body)
            for view in (*self.views.values(), self.past)
            for body in [next((str(line.data["body"]) for line in view.timeline if words in str(line.data.get("body"))), None)]
            if body is not None or words in str(view.name)
        )

    async def before(self, agent: AgentId, session: SessionId, after: SessionId | None) -> tuple[tuple[Folded, ...], bool]:
        assert agent in self.agents
        if session != CHAT:
            return (), False
        if after is None:
            return (Folded(PAST, self.now - 9e5, True, "call", "support", "Ben Okafor", "call over"),), True
        return (Folded(SessionId("s-00"), self.now - 19e5, True, "inbound", None, None, None),), False

    @asynccontextmanager
    async def subscribe(self, agent: AgentId) -> AsyncIterator[AsyncIterator[DeskUpdate]]:
        assert agent in self.agents
        queue: asyncio.Queue[DeskUpdate] = asyncio.Queue()
        self.listeners.add(queue)
        try:
            yield _forever(queue)
        finally:
            self.listeners.discard(queue)
            self.left.set()

    # --- what tests make happen

    def publish(self, update: DeskUpdate) -> None:
        for listener in self.listeners:
            listener.put_nowait(update)

    def add(self, session: SessionId, kind: str, **data: Any) -> None:
        """A new line, as the desk of the server would tell it."""
        known = self.views[session]
        line = Line(n=known.timeline[-1].n + 1, at=self.now, kind=kind, data=data)
        self.views[session] = msgspec.structs.replace(known, timeline=(*known.timeline, line))
        self.publish(LineAdded(session=session, line=line))
        self.publish(SessionChanged(session=session))
        self.publish(DeskChanged())

    def mark(self, session: SessionId, message: str, ticks: Ticks) -> None:
        known = self.views[session]
        self.views[session] = msgspec.structs.replace(known, ticks={**known.ticks, MessageId(message): ticks})
        self.publish(TicksChanged(session=session, message=MessageId(message), ticks=ticks))

    def change(self, session: SessionId, **fields: Any) -> None:
        self.views[session] = msgspec.structs.replace(self.views[session], **fields)
        self.publish(SessionChanged(session=session))
        self.publish(DeskChanged())

    def offer(self, **fields: Any) -> None:
        """Work that rings at Ana's desk."""
        ringing = OfferedWork(
            session=SESSION,
            channel="voice",
            queue="support",
            customer="+15550100123",
            until=self.now + 20,
            waited=174.0,
            summary="Internet · “My router blinks red since this morning”",
        )
        self.offered = (msgspec.structs.replace(ringing, **fields),)
        self.publish(DeskChanged())

    def _ask(self, *asked: Any) -> None:
        if self.refusal is not None:
            raise DeskRefusedError(self.refusal)
        self.asked.append(asked)


async def _forever(queue: asyncio.Queue[DeskUpdate]) -> AsyncIterator[DeskUpdate]:
    while True:
        yield await queue.get()


class FakeIntake:
    """Keeps what arrives; `down` makes it fail like a full disk."""

    def __init__(self) -> None:
        self.texts: list[InboundText] = []
        self.reports: list[DeliveryReport] = []
        self.down = False

    async def text_arrived(self, text: InboundText) -> bool:
        if self.down:
            raise OSError("no space left on device")
        if any(each.ref == text.ref for each in self.texts):
            return False
        self.texts.append(text)
        return True

    async def text_reported(self, report: DeliveryReport) -> None:
        if self.down:
            raise OSError("no space left on device")
        self.reports.append(report)


class FakeRecords:
    """Two queues and one session."""

    def __init__(self) -> None:
        self.is_ready = (True, "")
        self.customers: list[str | None] = []

    async def sessions(self, *, limit: int, customer: str | None = None) -> list[Mapping[str, Any]]:
        self.customers.append(customer)
        known: list[Mapping[str, Any]] = [{"id": "s-1", "customer": "+15550100123"}]
        return known[:limit]

    async def session(self, session: SessionId) -> Mapping[str, Any] | None:
        return {"id": session, "timeline": []} if session == SESSION else None

    async def explain(self, session: SessionId) -> Mapping[str, Any] | None:
        return {"id": session, "decisions": []} if session == SESSION else None

    def ready(self, *, calls: bool = True) -> tuple[bool, str]:
        return self.is_ready if calls else (True, "")


class FakeCalls:
    """Answers every call with one recording and remembers what was reported."""

    provider: LoopbackCallProvider

    def __init__(self) -> None:
        self.events: list[CallEvent] = []

    async def take(self, event: CallEvent) -> None:
        self.events.append(event)
        if isinstance(event, CallArrived):
            await self.provider.perform(AnswerCall(leg=event.leg))
            await self.provider.perform(PlayPrompts(leg=event.leg, play=1, audio=("hello.wav",)))
