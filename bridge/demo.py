"""The demonstration: a whole contact centre on one machine, to be lived through by a person or by a machine.

`interactive` brings it up and keeps it running; `headless` plays the four stories on real SIP, RTP and HTTP against a
server shaped like Twilio's, and says what it saw. Simulated people use what real ones use: a SIP phone and a desk.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog
from argon2 import PasswordHasher
from pydantic import SecretStr
from rich.console import Console
from rich.panel import Panel

import bridge
from bridge.app import PACKAGED, Running, running
from bridge.crm.book import Book
from bridge.desk import Desk
from bridge.events import AgentId, LegId, SessionId
from bridge.legs import CallState
from bridge.media.wav import parse_wav
from bridge.settings import AgentSettings, Settings
from bridge.telephony.loopback import LoopbackCallProvider, UnknownCallError
from bridge.telephony.softphone import PhoneCall, PhoneConfig, Softphone
from bridge.web.ports import DeskRefusedError, LineAdded, SessionView

log = structlog.get_logger()

OUR_NUMBER = "+15550100200"
SIMULATED = ("ana", "ben")
THINKING = 2.0
"""Seconds a simulated agent takes to accept, and to answer a text."""
PATIENCE = 75.0
"""Seconds for which a person waits in line in the interactive demonstration until the lines become free by themselves."""

PEOPLE: tuple[Mapping[str, Any], ...] = (
    {
        "name": "Maria Silva",
        "phones": ["+15550100123"],  # who the engineer's phone calls as, unless told otherwise
        "mails": ["maria.silva@home.example"],
        "tags": ["fibre 500"],
        "custom": {"Customer since": 2019, "Router": "NW-7"},
        "external": {"shop": "10042"},
    },
    {"name": "Ken Tanaka", "phones": ["+15550100124"], "company": "Tanaka Garage", "tags": ["business"]},
    {"name": "Emi Tanaka", "phones": ["+15550100124", "+15550100125"], "tags": ["private"]},  # one line, two people
    {"name": "Inés Ruiz", "phones": ["+15550105000"]},
    {"name": "Pablo Vega", "phones": ["+15550105001"]},
)
"""Who calls in the demonstration: somebody known, two who share a line, and two of the crowd."""

SPOKEN: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "en": {
            "hello": "Hello, what can I do for you?",
            "taken over": "Hello, I have read what you wrote to my colleague. I will go on from there.",
            "noted": "Thank you, I have that. Anything else?",
            "again": "I have added that. Is there anything else?",
        },
        "fr": {
            "hello": "Bonjour, que puis-je faire pour vous ?",
            "taken over": "Bonjour, j'ai lu votre conversation avec ma collègue, je prends la suite.",
            "noted": "Merci, c'est noté. Autre chose ?",
            "again": "Je l'ai ajouté. Autre chose encore ?",
        },
        "es": {
            "hello": "Buenas, ¿qué puedo hacer por usted?",
            "taken over": "Buenas, ya he visto sus mensajes. Sigo yo con usted.",
            "noted": "Gracias, anotado. ¿Alguna otra cosa?",
            "again": "Lo he añadido. ¿Alguna otra cosa?",
        },
    }
)
"""What a simulated agent texts, by language."""


def answer_to(view: SessionView, agent: AgentId) -> str:
    """What a simulated agent has to say now in a chat."""
    own = [line for line in view.timeline if line.kind == "text.sent" and line.data.get("author") == f"agent:{agent}"]
    chosen = sum(line.kind == "menu.answered" for line in view.timeline)
    written = sum(line.kind == "text.received" and line.data.get("keyword") is None for line in view.timeline)
    if own:
        answer = "again"
    elif view.note_by or any(line.kind == "transfer.completed" for line in view.timeline):
        answer = "taken over"
    else:  # the first words were for the menu, and so was every choice
        answer = "noted" if written > chosen + bool(chosen) else "hello"
    return SPOKEN.get(view.language, SPOKEN["en"])[answer]


def packaged_settings() -> Path:
    """The demonstration's settings file."""
    root = Path(bridge.__file__).parent
    beside = root.parent / "config" / "demo.yaml"
    return beside if beside.is_file() else root / "demo.yaml"


class SimulatedAgent:
    """Works at a desk as a person would: accepts what rings, answers texts, writes the note.

    Args:
        desk: The same desk the browser uses.
        agent: Who.
        presets: Texts a preset during a call, as soon as it is connected.
    """

    def __init__(self, desk: Desk, agent: AgentId, *, presets: bool = False, thinking: float = THINKING) -> None:
        self._desk = desk
        self.agent = agent
        self._presets = presets
        self._thinking = thinking
        self._doing: set[str] = set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks, self._desk.subscribe(self.agent) as updates:
            await self._desk.set_state(self.agent, "ready")
            await self._look(tasks)
            async for update in updates:
                if isinstance(update, LineAdded):
                    if update.line.kind == "text.received":
                        self._do(tasks, f"answer {update.session} {update.line.n}", partial(self._answer, update.session))
                    elif update.line.kind == "agent.joined" and update.line.data.get("channel") == "sms":
                        self._do(tasks, f"hello {update.session}", partial(self._answer, update.session))
                    elif update.line.kind == "audio.connected" and self._presets:
                        self._do(tasks, f"preset {update.session}", partial(self._send_preset, update.session))
                await self._look(tasks)

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        for offer in self._desk.offers(self.agent):
            self._do(tasks, f"accept {offer.session} {offer.until}", partial(self._accept, offer.session, offer.channel))
        for work in await self._desk.work(self.agent):
            if work.wrapping_up:
                self._do(tasks, f"wrap {work.session} {work.call_state}", partial(self._wrap_up, work.session))

    def _do(self, tasks: asyncio.TaskGroup, name: str, what: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something once, after thinking about it."""
        if name not in self._doing:
            self._doing.add(name)
            tasks.create_task(self._politely(what))

    async def _politely(self, what: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await asyncio.sleep(self._thinking)
        with contextlib.suppress(DeskRefusedError):
            await what()

    async def _accept(self, session: SessionId, channel: str) -> None:
        await self._desk.accept(self.agent, session, "sms" if channel == "sms" else "voice")

    async def _answer(self, session: SessionId) -> None:
        view = await self._desk.session(self.agent, session)
        if view.composer_open:
            await self._desk.say(self.agent, session, answer_to(view, self.agent))

    async def _send_preset(self, session: SessionId) -> None:
        view = await self._desk.session(self.agent, session)
        wanted = "moment" if view.answers else "photo"
        preset = next(preset for preset in self._desk.presets(view.language) if preset.id == wanted)
        if view.composer_open:
            await self._desk.say(self.agent, session, preset.text, preset.id)

    async def _wrap_up(self, session: SessionId) -> None:
        await self._desk.wrap_up(self.agent, session, "Simulated conversation.", None)


class Crowd:
    """Callers who keep the lines busy: they speak Spanish, refuse every offer, wait, and talk for long.

    Only Ana speaks Spanish, so their calls never ring at the desk of the person who tries the demonstration.

    Args:
        calls: The loopback line they call on.
    """

    def __init__(self, calls: LoopbackCallProvider) -> None:
        self._calls = calls
        self.legs: list[LegId] = []

    @property
    def busy(self) -> bool:
        """Somebody is still on the line."""
        return bool(self.legs)

    async def come(self, people: int) -> None:
        """Let *people* call, one after the other."""
        for person in range(people):
            leg = await self._calls.dial(f"+1555010{50 + person:04d}", OUR_NUMBER)
            self.legs.append(leg)
            for pause, key in ((1.0, "3"), (0.7, "2"), (1.0, "2")):
                await asyncio.sleep(pause)
                with contextlib.suppress(UnknownCallError):
                    await self._calls.press(leg, key)

    async def go(self) -> None:
        """Everybody hangs up."""
        for leg in self.legs:
            await self._calls.hang_up(leg)
        self.legs.clear()


def with_phones(settings: Settings, phones: Mapping[str, str]) -> Settings:
    """The settings with the agents' phones put in."""

    def equip(agent: AgentSettings) -> AgentSettings:
        return agent.model_copy(update={"phone": phones.get(agent.id, agent.phone)})

    return settings.model_copy(update={"agents": tuple(equip(agent) for agent in settings.agents)})


def agent_voice(prompts: Path) -> bytes:
    """What a simulated agent says on the phone: 16-bit PCM, 8 kHz."""
    return parse_wav((prompts / "demo" / "agent_en.wav").read_bytes())


@asynccontextmanager
async def agents_phones(names: tuple[str, ...], speech: bytes) -> AsyncIterator[dict[str, Softphone]]:
    """A SIP phone for each agent, which picks up by itself and speaks."""
    async with contextlib.AsyncExitStack() as stack:
        phones = {}
        for name in names:
            phone = await stack.enter_async_context(Softphone(PhoneConfig(user=name, answer_after=0.5)))
            await stack.enter_async_context(background(_speak(phone, speech)))
            phones[name] = phone
        yield phones


async def _speak(phone: Softphone, speech: bytes) -> None:
    async with asyncio.TaskGroup() as tasks:
        while True:
            tasks.create_task(_say_hello(await phone.arrived.get(), speech))


async def _say_hello(call: PhoneCall, speech: bytes) -> None:
    await call.answered.wait()
    call.loop(speech + bytes(16_000 * 6))


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let *work* run beside the block; it is cancelled at the end. When it breaks, so does the block."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)
        try:
            yield
        finally:
            task.cancel()


@asynccontextmanager
async def staffed(settings: Settings, *, thinking: float = THINKING) -> AsyncIterator[tuple[Running, dict[str, Softphone]]]:
    """The server with its simulated agents at work.

    Agents who have no phone of their own get a simulated one.
    """
    names = tuple(agent.id for agent in settings.agents if agent.phone is None)
    prompts = settings.prompts or PACKAGED / "prompts"
    async with agents_phones(names, agent_voice(prompts)) as phones:
        equipped = with_phones(settings, {name: phone.uri for name, phone in phones.items()})
        async with running(equipped) as server, contextlib.AsyncExitStack() as stack:
            for name in SIMULATED:
                agent = SimulatedAgent(server.desk, AgentId(name), presets=name == "ana", thinking=thinking)
                await stack.enter_async_context(background(agent.run()))
            yield server, phones


async def interactive(settings: Settings, out: Console) -> int:
    """Bring everything up, say where to look, run until Ctrl-C or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    password = PasswordHasher().hash("demo")
    async with staffed(with_password(settings, password)) as (server, _phones):
        crowd = Crowd(server.loopback_calls)
        await introduce(server)
        out.print(_welcome(server))
        async with background(_busy_lines(server, crowd)), background(_listen_to_keys(crowd, out)):
            await stop.wait()
        await crowd.go()
    out.print("Stopped.")
    return 0


async def introduce(server: Running) -> None:
    """The people of the demonstration become contacts, unless they are known from before."""
    book = Book(server.runner.journal, clock=server.runner.clock, region=server.settings.country)
    for person in PEOPLE:
        if not await book.find(str(person["name"]), 1):
            await book.create(person, "server")


def _welcome(server: Running) -> Panel:
    address = f"{server.web_url}/phone"
    desk = f"{server.web_url}/".ljust(len(address))
    lines = [
        "[bold]Sidetone is up.[/] Everything runs here; nothing leaves this machine.",
        "",
        f"Phone    {address}   dial, press keys, text",
        f"Desk     {desk}   [bold]agent[/], password [bold]demo[/]",
    ]
    if server.sip_address is not None:
        lines.append(f"SIP      sip:{OUR_NUMBER}@{server.sip_address}")
    menu = next((number.number for number in server.settings.numbers if number.menu is not None), None)
    lines += [
        "",
        "Call: the lines are busy at first, so you are offered a text. Press 1 to",
        "go on by text, 2 to wait. Who waits is asked again, and reached in a minute.",
    ]
    if menu is not None:
        lines.append(f"Text {menu}: a menu, then Ben (simulated). STOP, START, HELP work.")
    lines += [
        "Be the agent: sign in at the desk, go ready; all work rings there first.",
        "",
        "Keys: [bold]b[/] lines busy, [bold]f[/] lines free (then Enter). Ctrl-C ends.",
    ]
    return Panel("\n".join(lines), width=80)


async def _busy_lines(server: Running, crowd: Crowd) -> None:
    """Busy until a person has waited long enough; they come back when that person has gone."""
    await crowd.come(3)
    while True:
        await asyncio.sleep(1.0)
        now = server.runner.clock()
        waiting = [
            live.state.since
            for live in server.runner.sessions.values()
            if live.state.call is CallState.QUEUED and live.state.leg not in crowd.legs and live.state.since is not None
        ]
        if crowd.busy and any(now - since > PATIENCE for since in waiting):
            await crowd.go()


async def _listen_to_keys(crowd: Crowd, out: Console) -> None:
    """`b` and `f` on the terminal; without one, nothing."""
    if not sys.stdin.isatty():
        return
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, lambda: lines.put_nowait(sys.stdin.readline()))
    try:
        while True:
            match (await lines.get()).strip().lower():
                case "b":
                    await crowd.go()
                    await crowd.come(3)
                    out.print("The lines are busy.")
                case "f":
                    await crowd.go()
                    out.print("The lines are free.")
                case _:
                    out.print("b: lines busy, f: lines free, Ctrl-C: end")
    finally:
        loop.remove_reader(sys.stdin)


def with_password(settings: Settings, password_hash: str) -> Settings:
    """The settings with the same password for every agent who has none."""
    secret = SecretStr(password_hash)
    agents = tuple(
        agent if agent.password_hash is not None else agent.model_copy(update={"password_hash": secret})
        for agent in settings.agents
    )
    return settings.model_copy(update={"agents": agents})
