"""A whole server with odd people around it: SIP phones, handsets at the Twilio-shaped server, agents at their desks.

What takes people minutes takes seconds here: recordings are short, and the packaged flow has short time-outs. Nothing
else is different from a real server, and after every life `World.settle` looks at what must hold after any life.
"""

import asyncio
import base64
import inspect
import shutil
import wave
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from bridge.app import PACKAGED, Running, running
from bridge.events import AgentId, Channel, MessageId, SessionId
from bridge.journal import MessageRow, TimelineLine
from bridge.outbox import OWED
from bridge.settings import Settings, TwilioSettings
from bridge.telephony.softphone import PhoneCall, PhoneConfig, Softphone
from bridge.web.console.timeline import KNOWN_KINDS, show
from bridge.web.ports import Line, OfferedWork
from sms.message import TextState
from sms.testing.twilio_server import ACCOUNT_SID, AUTH_TOKEN, Handset, HandsetText, TwilioServer
from tests.e2e.server import NUMBER, free_port

ANA, BEN, CAT = AgentId("ana"), AgentId("ben"), AgentId("cat")
PATIENCE = 8.0
"""Seconds after which something that has to happen has not."""
PHOTO = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAFElEQVR4nGM8oaHBgBsw4ZEbwdIAXuEBLLDzAuQAAAAASUVORK5CYII="
)
SPOKEN_FOR = 0.25
"""Seconds of every recording."""
SHORT = {
    "first_key: 5s": "first_key: 3s",  # no shorter: a busy machine may hold the key back for a second or two
    "next_key: 2s": "next_key: 1s",
    "first_key: 4s": "first_key: 3s",
    "within: 25s": "within: 2s",
    "after: 6s, every: 60s": "after: 1s, every: 30s",
    "after: 15s": "after: 2s",
    "waited > 60s": "waited > 2s",
}


def short_house(folder: Path, **limits: str) -> tuple[Path, Path]:
    """Folders with the packaged flow and prompts, made short.

    Args:
        folder: Where to put them.
        limits: Of the queue: `wait` and `no_agents`, as the flow writes them.
    """
    prompts, flows = folder / "prompts", folder / "flows"
    if not prompts.is_dir():
        for path in (PACKAGED / "prompts").rglob("*"):
            target = prompts / path.relative_to(PACKAGED / "prompts")
            if path.suffix == ".wav" and "demo" not in path.parts and "music" not in path.parts:
                target.parent.mkdir(parents=True, exist_ok=True)
                with wave.open(str(path)) as long, wave.open(str(target), "wb") as short:
                    short.setparams(long.getparams())
                    short.writeframes(long.readframes(int(SPOKEN_FOR * long.getframerate())))
            elif path.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    flows.mkdir(exist_ok=True)
    words = (PACKAGED / "flows" / "support.yaml").read_text()
    for long_words, short_words in SHORT.items():
        assert long_words in words, long_words
        words = words.replace(long_words, short_words)
    words = words.replace("wait: 30m", f"wait: {limits.get('wait', '60s')}")
    words = words.replace("no_agents: 5m", f"no_agents: {limits.get('no_agents', '60s')}")
    (flows / "support.yaml").write_text(words)
    return flows, prompts


class Caller:
    """A person with a phone that can also text."""

    def __init__(self, world: "World", number: str, phone: Softphone) -> None:
        self.world = world
        self.number = number
        self.phone = phone
        self.handset: Handset = world.twilio.handset(number)
        self.call: PhoneCall | None = None
        self.session: SessionId | None = None

    @property
    def received(self) -> list[HandsetText]:
        """What the handset has got."""
        return self.handset.received

    @property
    def on_the_line(self) -> PhoneCall:
        """The call in progress, or the last."""
        assert self.call is not None
        return self.call

    async def dial(self, *, answered: bool = True) -> None:
        """Call; with *answered*, wait until it is and keep the session."""
        before = {live.leg for live in self.world.server.runner.sessions.values()}
        self.call = self.phone.dial(f"sip:{NUMBER}@{self.world.server.sip_address}")
        if answered:
            await asyncio.wait_for(self.call.answered.wait(), PATIENCE)
            self.session = await self.world.until("a session", lambda: self._new(before))
            await self.line("call.answered")

    def _new(self, before: Collection[str | None]) -> SessionId | None:
        """The session of this caller's newest call, which is none of those that had one *before*.

        A call given up while it rang may get its session after the next has been dialled, and both are open for a moment.
        """
        mine = {self.number, None}  # None: the number is withheld
        sessions = self.world.server.runner.sessions.items()
        new = {live.leg: s for s, live in sessions if live.leg not in before and live.state.customer in mine}
        return max(new.items(), key=lambda found: int((found[0] or "-0").rpartition("-")[2]), default=(None, None))[1]

    async def press(self, keys: str) -> None:
        """Press keys."""
        await self.on_the_line.press(keys)

    async def hang_up(self) -> None:
        """Put the phone down."""
        await self.on_the_line.hang_up()

    async def to_the_menu(self, language: str = "1") -> None:
        """Call and choose a language."""
        await self.dial()
        await self.press(language)
        await self.world.until("the language", self._has_chosen)

    async def _has_chosen(self) -> bool:
        return any(line.data["by"] == "key" for line in await self.lines("language.chosen"))

    async def to_the_offer(self, language: str = "1") -> None:
        """Call; a technical question; wait until a text is offered."""
        await self.to_the_menu(language)
        await self.press("2")
        await self.line("offer.made")

    async def in_line(self, language: str = "1") -> None:
        """Call; a technical question; rather wait than text, if that was offered."""
        await self.to_the_menu(language)
        await self.press("2")
        await self.line("offer.made", "queue.joined")
        if not await self.lines("queue.joined"):
            await self.press("2")
        await self.line("queue.joined")

    async def text(self, body: str, *photos: bytes) -> None:
        """Write to us."""
        await self.handset.text(NUMBER, body, [(f"{n}.png", photo, "image/png") for n, photo in enumerate(photos)])

    async def lines(self, kind: str) -> list[TimelineLine]:
        """The lines of this kind in the timeline of the caller's session, of those whose consequences have been drawn."""
        assert self.session is not None
        done = self.world.published.get(self.session, 0)
        timeline = await self.world.server.runner.journal.timeline(self.session)
        return [line for line in timeline if line.kind == kind and line.n <= done]

    async def line(self, *kinds: str | int) -> TimelineLine:
        """Wait for a line of one of these *kinds*; the last argument may be how many there have to be."""
        count = kinds[-1] if isinstance(kinds[-1], int) else 1
        wanted = [kind for kind in kinds if isinstance(kind, str)]

        async def look() -> TimelineLine | None:
            found = [line for kind in wanted for line in await self.lines(kind)]
            return found[count - 1] if len(found) >= count else None

        found: TimelineLine = await self.world.until(f"{count} of {wanted}", look)
        return found

    async def words(self) -> list[str]:
        """Everything the caller heard, prompt by prompt."""
        return [key for line in await self.lines("prompt.played") for key in line.data["keys"]]

    async def promises(self) -> list[str]:
        """What the caller was promised."""
        return [line.data["what"] for line in await self.lines("promise.made")]


class World:
    """The server and everybody around it."""

    def __init__(self, server: Running, twilio: TwilioServer, phones: dict[str, Softphone], stack: AsyncExitStack) -> None:
        self.server = server
        self.twilio = twilio
        self.phones = phones
        self._stack = stack
        self.callers: list[Caller] = []
        self.published: dict[SessionId, int] = {}
        """The last line of each session whose commands have been performed: the journal has a line before that."""
        server.runner.listen(self)

    def line_added(self, session: SessionId, line: TimelineLine) -> None:
        """A line is out."""
        self.published[session] = line.n

    def text_moved(self, session: SessionId, message: MessageId, state: TextState, code: str | None) -> None:
        """Not of interest."""

    def session_changed(self, session: SessionId) -> None:
        """Not of interest."""

    def desk_changed(self, agent: AgentId) -> None:
        """Not of interest."""

    async def caller(self, number: str = "+15550100123", *, withheld: bool = False) -> Caller:
        """Somebody with this number."""
        user = "anonymous" if withheld else number
        phone = await self._stack.enter_async_context(Softphone(PhoneConfig(user=user)))
        caller = Caller(self, number, phone)
        self.callers.append(caller)
        return caller

    async def until(self, what: str, look: Callable[[], Any], *, within: float = PATIENCE) -> Any:
        """Wait until *look*, which may be a coroutine function, gives something true."""
        deadline = asyncio.get_running_loop().time() + within
        while True:
            found = look()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            assert asyncio.get_running_loop().time() < deadline, f"waited {within} s for {what}"
            await asyncio.sleep(0.02)

    # --- agents

    async def ready(self, *agents: AgentId) -> None:
        """These agents want work."""
        for agent in agents:
            await self.server.desk.set_state(agent, "ready")

    async def rings(self, agent: AgentId, *, channel: Channel | None = None) -> OfferedWork:
        """Wait until something rings at the agent's desk."""

        def look() -> OfferedWork | None:
            return next((o for o in self.server.desk.offers(agent) if channel in {None, o.channel}), None)

        offer: OfferedWork = await self.until(f"something to ring at {agent}'s", look)
        return offer

    async def accept(self, agent: AgentId) -> SessionId:
        """The agent takes what rings."""
        offer = await self.rings(agent)
        await self.server.desk.accept(agent, offer.session, offer.channel)
        return offer.session

    def state_of(self, session: SessionId | None) -> Any:
        """The state of an open session."""
        assert session is not None
        return self.server.runner.sessions[session].state

    # --- what must hold after any life

    async def settle(self, *, within: float = PATIENCE) -> None:
        """Everybody goes home; then look at what is left.

        Raises:
            AssertionError: Something is.
        """
        runner = self.server.runner
        for caller in self.callers:
            if caller.call is not None:
                await caller.call.hang_up()
        await self.until("the calls to end", lambda: runner.calls == 0)
        await self.until("the sessions to end", self._all_over, within=within)
        await self._nothing_left()
        for session in await runner.journal.sessions(100):
            lines = await runner.journal.timeline(session.id)
            messages = await runner.journal.messages(session.id)
            try:
                _look_at_life(lines, messages)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{self.told(lines)}") from error
        assert not self.twilio.problems, self.twilio.problems

    async def _all_over(self) -> bool:
        desk = self.server.desk
        await self.ready(BEN)
        for offer in desk.offers(BEN):
            await desk.accept(BEN, offer.session, offer.channel)
        for agent in (ANA, BEN, CAT):
            for work in await desk.work(agent):
                if work.wrapping_up:
                    await desk.wrap_up(agent, work.session, "Done.", None)
                elif work.text_state == "chatting" and work.call_state in {"none", "ended"}:
                    await desk.end_chat(agent, work.session)
        return not self.server.runner.sessions

    async def _all_sent(self) -> bool:
        look = await self.server.runner.journal.outbox_now(self.server.runner.clock() + 86_400, 100)
        return not look.due and not look.unknown

    async def _nothing_left(self) -> None:
        runner, sip = self.server.runner, self.server.sip
        assert sip is not None
        await self.until("SIP to be idle", lambda: (sip.stats.calls, sip.stats.agent_legs) == (0, 0))
        rung = [call for phone in self.phones.values() for call in phone.calls]
        await self.until("the agents' phones to be idle", lambda: all(call.ended.is_set() for call in rung))
        await self.until("the outbox to be empty", self._all_sent)
        assert not await runner.journal.unhandled_inbound()
        for agent in (ANA, BEN, CAT):
            view = runner.floor.acd.agent_view(agent)
            assert (view.busy, view.offer) == (False, None), view
        for queue in runner.floor.acd.queues:
            assert runner.floor.acd.waiting(queue) == ()

    def told(self, lines: Iterable[TimelineLine]) -> str:
        """A timeline as an agent reads it."""
        shown = [show(Line(line.n, line.at, line.kind, line.data), lambda agent: agent) for line in lines]
        return "\n".join(f"  {s.at % 1000:7.2f} {s.shape:8}{s.title}: {s.words} ({s.small})" for s in shown if s is not None)


def _look_at_life(lines: list[TimelineLine], messages: list[MessageRow]) -> None:
    """What must hold in any session's timeline."""
    stopped = False
    owed = {message.id for message in messages if message.author == OWED}
    offered = [line.data["kind"] for line in lines if line.kind == "offer.made"]
    assert len(offered) == len(set(offered)), f"asked twice: {offered}"
    for line in lines:
        assert line.kind in KNOWN_KINDS | {"flow.ended", "flow.trace"}, line.kind
        if line.kind == "opted_out":
            stopped = True
        elif line.kind == "opted_in":
            stopped = False
        elif line.kind == "text.sent" and stopped:
            assert line.data["message"] in owed, f"text after STOP: {line.data}"
        elif line.kind == "offer.made":
            assert not stopped, "offered to text to somebody who does not want texts"
    unsettled = [m.id for m in messages if m.direction == "out" and m.state == "pending"]
    assert not unsettled, unsettled


@asynccontextmanager
async def world(
    folder: Path,
    *,
    house: tuple[Path, Path],
    phones: Mapping[str, Mapping[str, Any]] | None = None,
    sms: Mapping[str, Any] | None = None,
    staff: Callable[[dict[str, str]], list[dict[str, Any]]] | None = None,
    **changes: Any,
) -> AsyncIterator[World]:
    """A server with Ana (calls), Ben (chats) and Cat (both), nobody of them ready; texting is always offered.

    Args:
        folder: For the data.
        house: From `short_house`.
        phones: By agent, how the phone behaves when it is not picked up at once.
        sms: More settings of texts.
        staff: Other agents than these, given the addresses of the phones of Ana and Cat.
        changes: Other sections of the settings.
    """
    async with AsyncExitStack() as stack:
        twilio = await stack.enter_async_context(TwilioServer(opt_out="off", latency=0.05))
        own: dict[str, Softphone] = {}
        for name in ("ana", "cat"):
            config = PhoneConfig(user=name, **{"answer_after": 0.1, **(phones or {}).get(name, {})})
            own[name] = await stack.enter_async_context(Softphone(config))
        people = await stack.enter_async_context(AsyncExitStack())  # outlive the server
        port = free_port()
        twilio.inbound_url = f"http://127.0.0.1:{port}/twilio/sms"
        skills = ["lang:en", "lang:fr", "lang:es", "billing", "technical"]
        spec: dict[str, Any] = {
            "brand": "Northwind",
            "data": folder / "data",
            "flows": house[0],
            "prompts": house[1],
            "public_url": f"http://127.0.0.1:{port}",
            "web": {"port": port, "phone_page": False},
            "sip": {"port": 0, "ring_timeout": 1.0},
            "sms": {
                "provider": "twilio",
                "reconcile_after": 1.0,
                "open_window": 1.0,
                "reply_window": 3.0,
                "chat_idle_timeout": 30.0,
                "reopen_window": 0.0,
                "limiter": False,
                **(sms or {}),
            },
            "twilio": TwilioSettings(
                account_sid=ACCOUNT_SID, auth_tokens=(SecretStr(AUTH_TOKEN),), api_base_url=twilio.url, timeout=2.0
            ),
            "hours": {"support_hours": {}},
            "drain_timeout": 0.5,
            "desk_grace": 0.5,
            "numbers": [{"number": NUMBER, "flow": "support", "desk": "support_sms"}],
            "queues": [
                {
                    "id": "support",
                    "desk": "support_sms",
                    "ring_timeout": 1,
                    "wrap_up": 1,
                    "aht": 120,
                    "offers": {"mode": "always"},
                },
                {"id": "support_sms", "channel": "sms", "ring_timeout": 1, "wrap_up": 1, "aht": 120},
            ],
            "agents": [
                {"id": "ana", "name": "Ana", "queues": ["support"], "skills": skills, "phone": own["ana"].uri},
                {"id": "ben", "name": "Ben", "queues": ["support_sms"]},
                {"id": "cat", "name": "Cat", "queues": ["support", "support_sms"], "skills": skills, "phone": own["cat"].uri},
            ],
        }
        if staff is not None:
            spec["agents"] = staff({name: phone.uri for name, phone in own.items()})
        server = await stack.enter_async_context(running(Settings(**(spec | changes))))
        yield World(server, twilio, own, people)
