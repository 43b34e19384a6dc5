"""Calls without a telephone network: the engineer's phone page and the tests dial, everything else is as on a real line.

The provider keeps time itself: a prompt lasts as long as its recording says, an agent's phone rings before it is picked
up. What the handset would make audible is told as `Hears`, so a page can play the same recordings and a test can read them.
"""

import asyncio
import contextlib
import wave
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self, TypeAlias
from uuid import uuid4

import msgspec
import structlog

from bridge.events import (
    AgentLegAnswered,
    AgentLegEnded,
    AgentLegFailed,
    AnswerCall,
    AudioConnected,
    CallArrived,
    CallCommand,
    CallEnded,
    CallEvent,
    ConnectAgent,
    CustomerAnswered,
    DialCustomer,
    DigitsReceived,
    DropAgent,
    EndedBy,
    HangUp,
    HoldCall,
    JoinLegs,
    LegId,
    OpenCall,
    PhoneHeld,
    PhoneResumed,
    PlayMusic,
    PlayPrompts,
    PromptFinished,
    RefuseCall,
    StopAudio,
)
from bridge.telephony.provider import CallSink

log = structlog.get_logger(__name__)

DIGITS = frozenset("0123456789*#ABCD")
"""RFC 4733 section 3.2."""


class Ringing(msgspec.Struct, frozen=True, tag=True):
    """The call has been placed and not been answered yet."""


class Playing(msgspec.Struct, frozen=True, tag=True):
    """Recordings, one after the other."""

    audio: tuple[str, ...]
    """Paths relative to the prompts folder."""
    words: str
    """What they say, as far as it is known."""
    seconds: float
    """How long they last together."""


class Music(msgspec.Struct, frozen=True, tag=True):
    """A piece of music that loops."""

    audio: str
    """Path relative to the prompts folder."""
    offset: float
    """Seconds into the piece: it resumes where it was left."""


class Silence(msgspec.Struct, frozen=True, tag=True):
    """The line is open and nothing is played."""


class Connected(msgspec.Struct, frozen=True, tag=True):
    """An agent is on the line."""

    agent: str
    """The agent's address."""
    greeting: str | None
    """A recording of what the agent says first, relative to the prompts folder."""


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The call is over; nothing follows."""

    by: EndedBy
    cause: str


Hears: TypeAlias = Ringing | Playing | Music | Silence | Connected | Ended


class AgentPhone(msgspec.Struct, frozen=True):
    """How a simulated agent's phone behaves."""

    answer_after: float = 1.0
    """Seconds of ringing before it is picked up."""
    busy: bool = False
    """Answers 486 at once."""


class CustomerPhone(msgspec.Struct, frozen=True):
    """How a customer's phone on this network behaves when it is called."""

    answer_after: float | None = 1.0
    """Seconds of ringing before it is picked up; None: only by `answer`."""
    refuse_with: int | None = None
    """Answers with this SIP status at once."""


class Ring(msgspec.Struct, frozen=True):
    """A call of ours rings at a handset."""

    leg: LegId
    sender: str
    """The number of ours that it comes from."""


class UnknownCallError(Exception):
    """There is no such call (any more). Nothing has changed."""


class _Agent(msgspec.Struct, eq=False):
    leg: LegId
    address: str
    timers: list[asyncio.TimerHandle]
    with_leg: LegId | None = None
    answered: bool = False
    on_hold: bool = False
    """At the phone itself."""


class _Play(msgspec.Struct):
    play: int
    barge_in: bool
    started: float
    """Of the loop's clock."""
    seconds: float
    timer: asyncio.TimerHandle


class _Call:
    """One caller's leg."""

    def __init__(self, leg: LegId) -> None:
        self.leg = leg
        self.answered = False
        self.play: _Play | None = None
        self.music: tuple[str, float] | None = None  # the piece and when it was (re)started, of the loop's clock
        self.music_offsets: dict[str, float] = {}
        self.agents: dict[LegId, _Agent] = {}
        self.talks_to: _Agent | None = None
        """Who hears the customer; None: nobody."""
        self.number: str | None = None
        """Whom a call of ours goes to; None: the customer has called us."""
        self.ringing: asyncio.TimerHandle | None = None
        self.language: str | None = None
        self.heard: list[Hears] = []
        self.listeners: set[asyncio.Queue[Hears]] = set()
        self.reports: asyncio.Queue[CallEvent] = asyncio.Queue()

    def hear(self, hears: Hears) -> None:
        self.heard.append(hears)
        for listener in self.listeners:
            listener.put_nowait(hears)


class LoopbackCallProvider:
    """Implements `bridge.telephony.provider.CallProvider` with neither socket nor sound card.

    Args:
        sink: Where events are reported, one at a time for each call.
        prompts: Folder that the paths of `PlayPrompts` are relative to; music is `music/NAME.wav` in it.
        captions: What a recording says, by its path; an empty string when nobody knows.
        greetings: Language to a recording of an agent's first words. The language is read off the folder of the last
            prompt that was heard.
        agent_phones: How the phone at an address behaves. Any other address is a phone that answers after a second: in
            this network every number exists.
    """

    name = "loopback"

    def __init__(
        self,
        sink: CallSink,
        prompts: Path,
        *,
        captions: Callable[[str], str] = lambda _path: "",
        greetings: Mapping[str, str] = MappingProxyType({}),
        agent_phones: Mapping[str, AgentPhone] = MappingProxyType({}),
    ) -> None:
        self._sink = sink
        self._prompts = prompts
        self._captions = captions
        self._greetings = greetings
        self._agent_phones = dict(agent_phones)
        self._customers: dict[str, CustomerPhone] = {}
        self._handsets: dict[str, list[asyncio.Queue[Ring]]] = {}
        self._calls: dict[LegId, _Call] = {}
        self._ended: deque[_Call] = deque(maxlen=64)  # so that whoever listens late still learns how it ended
        self._reporters: set[asyncio.Task[None]] = set()
        self._draining = False
        self._durations: dict[str, float] = {}

    async def __aenter__(self) -> Self:
        """Nothing to open."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End every call as a restart does, and wait until that has been reported."""
        self._draining = True
        for call in list(self._calls.values()):
            self._end(call, "platform", "restart")
        if self._reporters:
            await asyncio.wait(self._reporters)

    async def drain(self) -> None:
        """Refuse new calls from now on (`dial` ends with 503); calls in progress go on."""
        self._draining = True

    @property
    def calls(self) -> int:
        """How many calls are up."""
        return len(self._calls)

    # --- the caller's hands and ears ---------------------------------------------------------------------------------

    async def dial(self, caller: str | None, called: str) -> LegId:
        """Place a call.

        Args:
            caller: E.164; None withholds the number.
            called: E.164.

        Returns:
            The new leg. While the provider drains it has already ended with cause `503`, and nobody was told.
        """
        call = _Call(LegId(f"loop-{uuid4().hex}"))
        call.hear(Ringing())
        if self._draining:
            call.hear(Ended(by="network", cause="503"))
            self._ended.append(call)
            return call.leg
        self._take_reports(call)
        call.reports.put_nowait(CallArrived(leg=call.leg, provider=self.name, caller=caller, called=called))
        return call.leg

    async def press(self, leg: LegId, digit: str) -> None:
        """Press one key.

        Raises:
            UnknownCallError: The call is over.
            ValueError: There is no such key.
        """
        if digit not in DIGITS:
            raise ValueError(f"no such key: {digit!r}")
        call = self._living(leg)
        if call.play is not None and call.play.barge_in:
            self._cut_play(call)
            call.hear(Silence())
        call.reports.put_nowait(DigitsReceived(leg=leg, digits=digit))

    async def hang_up(self, leg: LegId) -> None:
        """The caller hangs up; a call that is already over stays over."""
        call = self._calls.get(leg)
        if call is not None:
            self._end(call, "caller", "bye" if call.answered else "cancel")

    @contextlib.asynccontextmanager
    async def listen(self, leg: LegId, *, from_start: bool = True) -> AsyncIterator[AsyncIterator[Hears]]:
        """What the handset hears, ending with `Ended`.

        Args:
            leg: The call.
            from_start: Begin with everything heard so far; otherwise with what is heard at this moment.

        Raises:
            UnknownCallError: There never was such a call, or it ended long ago.
        """
        call = self._calls.get(leg) or next((ended for ended in self._ended if ended.leg == leg), None)
        if call is None:
            raise UnknownCallError(f"no such call: {leg}")
        queue: asyncio.Queue[Hears] = asyncio.Queue()
        for hears in call.heard if from_start else call.heard[-1:]:
            queue.put_nowait(hears)
        call.listeners.add(queue)
        try:
            yield _until_ended(queue)
        finally:
            call.listeners.discard(queue)

    def set_customer_phone(self, number: str, phone: CustomerPhone | None) -> None:
        """Put a customer's phone on the network (None: take it away): it can be called from now on."""
        if phone is None:
            self._customers.pop(number, None)
        else:
            self._customers[number] = phone

    @contextlib.contextmanager
    def handset(self, number: str) -> Iterator[asyncio.Queue[Ring]]:
        """Have a handset with *number* on the network: calls of ours to it, as they begin to ring, until the block ends."""
        rings: asyncio.Queue[Ring] = asyncio.Queue()
        self._handsets.setdefault(number, []).append(rings)
        try:
            yield rings
        finally:
            self._handsets[number].remove(rings)

    async def answer(self, leg: LegId) -> None:
        """The customer picks up a call of ours that rings."""
        call = self._calls.get(leg)
        if call is not None and call.ringing is not None:
            self._customer_answers(call)

    async def refuse(self, leg: LegId, status: int = 486) -> None:
        """The customer does not take a call of ours that rings."""
        call = self._calls.get(leg)
        if call is not None and call.ringing is not None:
            self._end(call, "network", str(status))

    # --- the agents' phones ------------------------------------------------------------------------------------------

    def set_agent_phone(self, address: str, phone: AgentPhone) -> None:
        """Change how the phone at *address* behaves from the next call on."""
        self._agent_phones[address] = phone

    async def agent_hang_up(self, leg: LegId, agent_leg: LegId | None = None) -> None:
        """An agent's phone is put down (None: that of whoever talks to the customer); without one nothing happens."""
        agent = self._agent_of(leg, agent_leg)
        if agent is not None and agent.answered:
            self._end_agent(self._calls[leg], agent, "agent")

    async def agent_hold(self, leg: LegId, on: bool = True, agent_leg: LegId | None = None) -> None:
        """The agent puts the call on hold at the phone itself, or takes it off."""
        agent = self._agent_of(leg, agent_leg)
        if agent is None or not agent.answered or agent.on_hold is on:
            return
        agent.on_hold = on
        self._calls[leg].reports.put_nowait((PhoneHeld if on else PhoneResumed)(leg, agent.leg))

    def _agent_of(self, leg: LegId, agent_leg: LegId | None) -> _Agent | None:
        call = self._calls.get(leg)
        if call is None:
            return None
        if agent_leg is not None:
            return call.agents.get(agent_leg)
        return call.talks_to or next(iter(call.agents.values()), None)

    # --- CallProvider ------------------------------------------------------------------------------------------------

    def reaches(self, number: str) -> bool:
        """Whether a customer's phone with this number is on the network."""
        return number in self._customers or bool(self._handsets.get(number))

    async def perform(self, command: CallCommand) -> None:  # noqa: C901  # flat
        """See `CallProvider.perform`."""
        if isinstance(command, OpenCall):
            self._open(command)
            return
        call = self._calls.get(command.leg)
        if call is None:
            return
        match command:
            case AnswerCall():
                call.answered = True
                call.hear(Silence())
            case PlayPrompts() | PlayMusic() | StopAudio():
                self._sound(call, command)
            case ConnectAgent():
                self._ring_agent(call, command)
            case DropAgent():
                agent = call.agents.get(command.agent_leg)
                if agent is not None:
                    self._end_agent(call, agent, "platform")
            case HoldCall():
                call.talks_to = None
                self._play_music(call, command.music)
            case JoinLegs():
                self._join(call, command)
            case DialCustomer():
                self._dial_customer(call, command)
            case RefuseCall() | HangUp():
                self._end(call, "platform", str(command.status) if isinstance(command, RefuseCall) else "bye")

    # --- how it works ------------------------------------------------------------------------------------------------

    def _take_reports(self, call: _Call) -> None:
        """The call is up: what happens to it is reported from now on."""
        self._calls[call.leg] = call
        reporter = asyncio.create_task(self._report(call), name=f"reports of {call.leg}")
        self._reporters.add(reporter)
        reporter.add_done_callback(self._reporters.discard)

    def _living(self, leg: LegId) -> _Call:
        call = self._calls.get(leg)
        if call is None:
            raise UnknownCallError(f"the call is over: {leg}")
        return call

    async def _report(self, call: _Call) -> None:
        """Bring a call's events to the sink in order; one that the sink cannot take is logged and not repeated."""
        while True:
            event = await call.reports.get()
            try:
                await self._sink(event)
            except Exception:
                log.exception("call.report_failed", leg=call.leg, event_kind=type(event).__name__)
            if isinstance(event, CallEnded):
                return

    def _sound(self, call: _Call, command: PlayPrompts | PlayMusic | StopAudio) -> None:
        if call.talks_to is not None:
            # It crossed with the agent's answer: nobody listens, the two are talking.
            if isinstance(command, PlayPrompts):
                call.reports.put_nowait(PromptFinished(leg=call.leg, play=command.play, completed=False, heard=0.0))
            return
        match command:
            case PlayPrompts():
                self._play(call, command)
            case PlayMusic():
                self._play_music(call, command.name)
            case StopAudio():
                self._cut_play(call)
                self._pause_music(call)
                call.hear(Silence())

    def _play(self, call: _Call, command: PlayPrompts) -> None:
        self._cut_play(call)
        self._pause_music(call)
        loop = asyncio.get_running_loop()
        seconds = sum(self._duration(path) for path in command.audio)
        call.play = _Play(
            play=command.play,
            barge_in=command.barge_in,
            started=loop.time(),
            seconds=seconds,
            timer=loop.call_later(seconds, self._play_ran_out, call),
        )
        call.language = next(
            (part for path in command.audio for part in path.split("/") if part in self._greetings), call.language
        )
        words = " ".join(filter(None, (self._captions(path) for path in command.audio)))
        call.hear(Playing(audio=command.audio, words=words, seconds=seconds))

    def _play_ran_out(self, call: _Call) -> None:
        play, call.play = call.play, None
        assert play is not None  # its timer is cancelled wherever it is taken away
        call.hear(Silence())
        call.reports.put_nowait(PromptFinished(leg=call.leg, play=play.play, completed=True, heard=play.seconds))

    def _cut_play(self, call: _Call) -> None:
        play, call.play = call.play, None
        if play is not None:
            play.timer.cancel()
            heard = min(asyncio.get_running_loop().time() - play.started, play.seconds)
            call.reports.put_nowait(PromptFinished(leg=call.leg, play=play.play, completed=False, heard=heard))

    def _play_music(self, call: _Call, name: str) -> None:
        self._cut_play(call)
        self._pause_music(call)
        offset = call.music_offsets.get(name, 0.0)
        call.music = (name, asyncio.get_running_loop().time() - offset)
        call.hear(Music(audio=f"music/{name}.wav", offset=offset))

    def _pause_music(self, call: _Call) -> None:
        if call.music is not None:
            name, started = call.music
            length = self._duration(f"music/{name}.wav")
            played = asyncio.get_running_loop().time() - started
            call.music_offsets[name] = played % length if length > 0 else 0.0
            call.music = None

    def _ring_agent(self, call: _Call, command: ConnectAgent) -> None:
        loop = asyncio.get_running_loop()
        phone = self._agent_phones.get(command.address, AgentPhone())
        agent = _Agent(command.agent_leg, command.address, [], command.with_leg)
        call.agents[agent.leg] = agent
        if phone.busy:
            self._agent_failed(call, agent, 486, "Busy Here")  # RFC 3261 section 21.4.24
        elif phone.answer_after > command.ring_timeout:
            timer = loop.call_later(command.ring_timeout, self._agent_failed, call, agent, 408, "Request Timeout")
            agent.timers.append(timer)
        else:
            agent.timers.append(loop.call_later(phone.answer_after, self._agent_answers, call, agent))

    def _agent_failed(self, call: _Call, agent: _Agent, status: int, reason: str) -> None:
        del call.agents[agent.leg]
        call.reports.put_nowait(AgentLegFailed(leg=call.leg, agent_leg=agent.leg, status=status, reason=reason))

    def _agent_answers(self, call: _Call, agent: _Agent) -> None:
        agent.answered = True
        call.reports.put_nowait(AgentLegAnswered(leg=call.leg, agent_leg=agent.leg))
        if agent.with_leg is None and (call.number is None or call.answered):
            self._talk(call, agent)

    def _talk(self, call: _Call, agent: _Agent) -> None:
        """Agent and customer hear each other from now on."""
        self._cut_play(call)
        self._pause_music(call)
        call.talks_to = agent
        call.hear(Connected(agent=agent.address, greeting=self._greetings.get(call.language or "")))
        # One packet has gone each way after one packet time (RFC 3551 section 4.2: 20 ms).
        agent.timers.append(asyncio.get_running_loop().call_later(0.02, self._audio_connected, call, agent))

    def _audio_connected(self, call: _Call, agent: _Agent) -> None:
        call.reports.put_nowait(AudioConnected(leg=call.leg, agent_leg=agent.leg))

    def _join(self, call: _Call, command: JoinLegs) -> None:
        agent = call.agents.get(command.agent_leg)
        if agent is not None and agent.answered and command.with_leg is None:
            self._talk(call, agent)

    def _end_agent(self, call: _Call, agent: _Agent, by: EndedBy) -> None:
        del call.agents[agent.leg]
        for timer in agent.timers:
            timer.cancel()
        if call.talks_to is agent:
            call.talks_to = None
            call.hear(Silence())
        if agent.answered:
            call.reports.put_nowait(AgentLegEnded(leg=call.leg, agent_leg=agent.leg, by=by))
        else:
            # RFC 3261 section 9.2: a cancelled INVITE ends with 487.
            failed = AgentLegFailed(leg=call.leg, agent_leg=agent.leg, status=487, reason="Request Terminated")
            call.reports.put_nowait(failed)

    # --- calls of ours

    def _open(self, command: OpenCall) -> None:
        call = _Call(command.leg)
        call.number = command.number
        self._take_reports(call)

    def _dial_customer(self, call: _Call, command: DialCustomer) -> None:
        handsets = self._handsets.get(command.number, [])
        phone = self._customers.get(command.number, CustomerPhone(answer_after=None) if handsets else None)
        loop = asyncio.get_running_loop()
        if phone is None or phone.refuse_with is not None:
            self._end(call, "network", str(404 if phone is None or phone.refuse_with is None else phone.refuse_with))
            return
        call.hear(Ringing())
        for rings in handsets:
            rings.put_nowait(Ring(call.leg, command.sender))
        if phone.answer_after is not None and phone.answer_after <= command.ring_timeout:
            call.ringing = loop.call_later(phone.answer_after, self._customer_answers, call)
        else:
            call.ringing = loop.call_later(command.ring_timeout, self._end, call, "network", "408")

    def _customer_answers(self, call: _Call) -> None:
        assert call.ringing is not None
        call.ringing.cancel()
        call.ringing, call.answered = None, True
        call.reports.put_nowait(CustomerAnswered(call.leg))
        agent = next((agent for agent in call.agents.values() if agent.answered), None)
        if agent is not None:
            self._talk(call, agent)

    def _end(self, call: _Call, by: EndedBy, cause: str) -> None:
        self._cut_play(call)
        if call.ringing is not None:
            call.ringing.cancel()
            call.ringing = None
        for agent in call.agents.values():
            for timer in agent.timers:
                timer.cancel()
        call.agents.clear()
        call.talks_to = None
        del self._calls[call.leg]
        self._ended.append(call)
        call.hear(Ended(by=by, cause=cause))
        call.reports.put_nowait(CallEnded(leg=call.leg, by=by, cause=cause))

    def _duration(self, path: str) -> float:
        """Seconds of a recording; 0 when it cannot be read, which is logged once."""
        if path not in self._durations:
            try:
                with wave.open(str(self._prompts / path), "rb") as recording:
                    self._durations[path] = recording.getnframes() / recording.getframerate()
            except (OSError, EOFError, wave.Error, ZeroDivisionError) as error:
                log.warning("prompt.unreadable", path=path, reason=str(error))
                self._durations[path] = 0.0
        return self._durations[path]


async def _until_ended(queue: asyncio.Queue[Hears]) -> AsyncIterator[Hears]:
    while True:
        hears = await queue.get()
        yield hears
        if isinstance(hears, Ended):
            return
