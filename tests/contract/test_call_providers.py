"""What every call provider promises, whatever carries its calls.

A `Line` is a provider with a caller's hands and ears around it; a new provider joins by adding its line to `LINES`.
"""

import asyncio
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

from bridge.events import (
    AgentLegAnswered,
    AgentLegEnded,
    AgentLegFailed,
    AnswerCall,
    AudioConnected,
    CallArrived,
    CallEnded,
    CallEvent,
    ConnectAgent,
    CustomerAnswered,
    DialCustomer,
    DigitsReceived,
    DropAgent,
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
from bridge.telephony.loopback import AgentPhone, CustomerPhone, LoopbackCallProvider
from bridge.telephony.provider import CallProvider
from bridge.telephony.sip import SipCallProvider, SipConfig
from bridge.telephony.softphone import PhoneConfig, Softphone

CALLER, CALLED = "+15550100123", "+15550100200"
AGENT, COLLEAGUE, OURS = LegId("agent-leg-1"), LegId("agent-leg-2"), LegId("our-leg-1")
READY, BUSY, AWAY = "+15550100131", "+15550100132", "+15550100133"
"""Customers: one who picks up, one who talks already, one who is not at home."""
SHORT, LONG = "support/en/short.wav", "support/en/long.wav"
PATIENCE = 5.0

E = TypeVar("E", bound=CallEvent)


class Line(Protocol):
    """A provider and somebody who calls it."""

    events: list[CallEvent]

    @property
    def provider(self) -> CallProvider: ...

    async def dial(self) -> None: ...

    async def press(self, digit: str) -> None: ...

    async def hang_up(self) -> None: ...

    def agent_address(self, kind: str) -> str:
        """The address of a phone that is `ready`, `busy` or `away`."""

    async def agent_hangs_up(self) -> None: ...

    async def agent_holds(self, on: bool) -> None: ...

    async def customer_hangs_up(self) -> None: ...


class LoopbackLine:
    """The loopback provider."""

    def __init__(self, prompts: Path) -> None:
        self.events: list[CallEvent] = []
        phones = {
            "loopback:ready": AgentPhone(answer_after=0.05),
            "loopback:second": AgentPhone(answer_after=0.05),
            "loopback:busy": AgentPhone(busy=True),
            "loopback:away": AgentPhone(answer_after=3600.0),
        }
        self.provider = LoopbackCallProvider(self._keep, prompts, agent_phones=phones)
        self._leg = LegId("")
        self.provider.set_customer_phone(READY, CustomerPhone(answer_after=0.05))
        self.provider.set_customer_phone(BUSY, CustomerPhone(refuse_with=486))
        self.provider.set_customer_phone(AWAY, CustomerPhone(answer_after=None))

    async def _keep(self, event: CallEvent) -> None:
        self.events.append(event)

    async def dial(self) -> None:
        self._leg = await self.provider.dial(CALLER, CALLED)

    async def press(self, digit: str) -> None:
        await self.provider.press(self._leg, digit)

    async def hang_up(self) -> None:
        await self.provider.hang_up(self._leg)

    def agent_address(self, kind: str) -> str:
        return f"loopback:{kind}"

    async def agent_hangs_up(self) -> None:
        await self.provider.agent_hang_up(self._leg)

    async def agent_holds(self, on: bool) -> None:
        await self.provider.agent_hold(self._leg, on)

    async def customer_hangs_up(self) -> None:
        await self.provider.hang_up(OURS)


@asynccontextmanager
async def loopback_line(prompts: Path) -> AsyncIterator[Line]:
    line = LoopbackLine(prompts)
    async with line.provider:
        yield line


class SipLine:
    """SIP and RTP on real sockets, with three agents' phones."""

    def __init__(self, provider: SipCallProvider, caller: Softphone, agents: dict[str, Softphone]) -> None:
        self.events: list[CallEvent] = []
        self.provider = provider
        self._caller = caller
        self._agents = agents
        self._trunk = agents["trunk"]

    async def dial(self) -> None:
        host, port = self.provider.address
        self._caller.dial(f"sip:{CALLED}@{host}:{port}", sender=f"<sip:{CALLER}@127.0.0.1>")

    async def press(self, digit: str) -> None:
        await self._caller.calls[-1].answered.wait()
        await self._caller.calls[-1].press(digit)

    async def hang_up(self) -> None:
        await self._caller.calls[-1].hang_up()

    def agent_address(self, kind: str) -> str:
        return self._agents[kind].uri

    async def agent_hangs_up(self) -> None:
        await self._agents["ready"].calls[-1].hang_up()

    async def agent_holds(self, on: bool) -> None:
        self._agents["ready"].calls[-1].hold(on)

    async def customer_hangs_up(self) -> None:
        await self._trunk.calls[-1].hang_up()


@asynccontextmanager
async def sip_line(prompts: Path) -> AsyncIterator[Line]:
    async with AsyncExitStack() as stack:
        kinds = {
            "ready": PhoneConfig(user="ready", answer_after=0.05),
            "second": PhoneConfig(user="second", answer_after=0.05),
            "trunk": PhoneConfig(
                user="trunk",
                answer_after=0.05,
                by_number={BUSY: PhoneConfig(refuse_with=486), AWAY: PhoneConfig(answer_after=None)},
            ),
            "busy": PhoneConfig(user="busy", refuse_with=486),
            "away": PhoneConfig(user="away", answer_after=None),
        }
        phones = {kind: await stack.enter_async_context(Softphone(config)) for kind, config in kinds.items()}
        caller = await stack.enter_async_context(Softphone(PhoneConfig(user="caller")))
        events: list[CallEvent] = []

        async def keep(event: CallEvent) -> None:
            events.append(event)

        provider = await stack.enter_async_context(
            SipCallProvider(SipConfig(port=0, outbound=phones["trunk"].uri.replace("trunk@", "{number}@")), keep, prompts)
        )
        line = SipLine(provider, caller, phones)
        line.events = events
        yield line


LINES: dict[str, Callable[[Path], AbstractAsyncContextManager[Line]]] = {"loopback": loopback_line, "sip": sip_line}


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prompts")
    for name, seconds in ((SHORT, 0.1), (LONG, 30.0), ("music/calm.wav", 0.5)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as recording:
            recording.setnchannels(1)
            recording.setsampwidth(2)
            recording.setframerate(8000)
            recording.writeframes(bytes(2 * int(8000 * seconds)))
    return folder


@pytest.fixture(params=sorted(LINES))
async def line(request: pytest.FixtureRequest, prompts: Path) -> AsyncIterator[Line]:
    async with LINES[request.param](prompts) as the_line:
        yield the_line


async def event(line: Line, kind: type[E], count: int = 1) -> E:
    """The *count*-th event of *kind*, as soon as it has been reported."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = [event for event in line.events if isinstance(event, kind)]
            if len(found) >= count:
                return found[count - 1]
            await asyncio.sleep(0.005)


async def answered(line: Line) -> LegId:
    """A call that has arrived and been answered."""
    await line.dial()
    leg = (await event(line, CallArrived)).leg
    await line.provider.perform(AnswerCall(leg=leg))
    return leg


async def test_a_call_arrives_with_both_numbers(line: Line) -> None:
    """The first event of a leg says who calls whom and by which provider."""
    await line.dial()

    arrived = await event(line, CallArrived)

    assert (CALLER, CALLED, line.provider.name) == (arrived.caller, arrived.called, arrived.provider)
    assert [arrived] == line.events


async def test_an_unanswered_caller_hangs_up_with_cancel(line: Line) -> None:
    """Giving up before the answer is `cancel`."""
    await line.dial()
    leg = (await event(line, CallArrived)).leg

    await line.hang_up()

    assert CallEnded(leg=leg, by="caller", cause="cancel") == await event(line, CallEnded)


async def test_an_answered_caller_hangs_up_with_bye(line: Line) -> None:
    """Hanging up after the answer is `bye`."""
    leg = await answered(line)

    await line.hang_up()

    assert CallEnded(leg=leg, by="caller", cause="bye") == await event(line, CallEnded)


async def test_a_refused_call_ends_with_its_status(line: Line) -> None:
    """A refusal ends the leg; the cause is the status."""
    await line.dial()
    leg = (await event(line, CallArrived)).leg

    await line.provider.perform(RefuseCall(leg=leg, status=486))

    assert CallEnded(leg=leg, by="platform", cause="486") == await event(line, CallEnded)


async def test_the_platform_hangs_up(line: Line) -> None:
    """`HangUp` ends the leg in the platform's name."""
    leg = await answered(line)

    await line.provider.perform(HangUp(leg=leg))

    assert CallEnded(leg=leg, by="platform", cause="bye") == await event(line, CallEnded)


async def test_a_prompt_plays_to_its_end(line: Line) -> None:
    """`PromptFinished` tells that all of it was heard."""
    leg = await answered(line)

    await line.provider.perform(PlayPrompts(leg=leg, play=7, audio=(SHORT, SHORT)))

    finished = await event(line, PromptFinished)
    assert (finished.play, finished.completed) == (7, True)
    assert finished.heard == pytest.approx(0.2, abs=0.045)


async def test_a_key_cuts_a_prompt_with_barge_in(line: Line) -> None:
    """With barge-in a key ends the prompt at once, and the key is reported after that."""
    leg = await answered(line)
    await line.provider.perform(PlayPrompts(leg=leg, play=1, audio=(LONG,)))

    await line.press("1")

    assert DigitsReceived(leg=leg, digits="1") == await event(line, DigitsReceived)
    finished = await event(line, PromptFinished)
    assert (finished.play, finished.completed) == (1, False)
    assert finished.heard < 5.0


async def test_without_barge_in_a_key_is_only_reported(line: Line) -> None:
    """Without barge-in the prompt goes on; the key is reported all the same."""
    leg = await answered(line)
    await line.provider.perform(PlayPrompts(leg=leg, play=1, audio=(LONG,), barge_in=False))

    await line.press("#")

    assert DigitsReceived(leg=leg, digits="#") == await event(line, DigitsReceived)
    assert not [each for each in line.events if isinstance(each, PromptFinished)]


async def test_a_newer_play_cuts_the_older(line: Line) -> None:
    """Each play is reported once: the older as cut, the newer as heard."""
    leg = await answered(line)
    await line.provider.perform(PlayPrompts(leg=leg, play=1, audio=(LONG,)))

    await line.provider.perform(PlayPrompts(leg=leg, play=2, audio=(SHORT,)))

    await event(line, PromptFinished, count=2)
    assert [(each.play, each.completed) for each in line.events if isinstance(each, PromptFinished)] == [(1, False), (2, True)]


@pytest.mark.parametrize("silencer", ["music", "stop"])
async def test_music_and_stop_cut_a_prompt(line: Line, silencer: str) -> None:
    """Music and silence take the place of a prompt, which is reported as cut."""
    leg = await answered(line)
    await line.provider.perform(PlayPrompts(leg=leg, play=1, audio=(LONG,)))

    await line.provider.perform(PlayMusic(leg=leg, name="calm") if silencer == "music" else StopAudio(leg=leg))

    assert not (await event(line, PromptFinished)).completed


async def test_a_missing_recording_is_skipped(line: Line) -> None:
    """A recording that is not there costs no call."""
    leg = await answered(line)

    await line.provider.perform(PlayPrompts(leg=leg, play=1, audio=("support/en/nowhere.wav", SHORT)))

    assert (await event(line, PromptFinished)).completed


async def test_an_agent_is_connected(line: Line) -> None:
    """The agent's phone is picked up, what the caller heard is cut, then audio flows both ways."""
    leg = await answered(line)
    await line.provider.perform(PlayPrompts(leg=leg, play=1, audio=(LONG,)))

    await line.provider.perform(ConnectAgent(leg=leg, agent_leg=AGENT, address=line.agent_address("ready")))

    assert AgentLegAnswered(leg=leg, agent_leg=AGENT) == await event(line, AgentLegAnswered)
    assert AudioConnected(leg=leg, agent_leg=AGENT) == await event(line, AudioConnected)
    assert not (await event(line, PromptFinished)).completed


async def test_music_that_crosses_with_the_agents_answer_is_not_heard(line: Line) -> None:
    """A prompt ended and its music was ordered in the moment the agent answered: the two talk undisturbed."""
    leg = await answered(line)
    await line.provider.perform(ConnectAgent(leg=leg, agent_leg=AGENT, address=line.agent_address("ready")))
    await event(line, AudioConnected)

    await line.provider.perform(PlayMusic(leg=leg, name="calm"))
    await line.provider.perform(PlayPrompts(leg=leg, play=7, audio=(LONG,)))

    finished = await event(line, PromptFinished)
    assert (finished.play, finished.completed, finished.heard) == (7, False, 0.0)


async def test_a_busy_agent_is_reported_and_the_caller_stays(line: Line) -> None:
    """Busy is 486; the caller's leg is untouched."""
    leg = await answered(line)

    await line.provider.perform(ConnectAgent(leg=leg, agent_leg=AGENT, address=line.agent_address("busy")))

    assert (await event(line, AgentLegFailed)).status == 486
    await line.press("1")
    assert DigitsReceived(leg=leg, digits="1") == await event(line, DigitsReceived)


async def test_an_agent_who_does_not_answer_is_408(line: Line) -> None:
    """After the ring timeout nobody rings any more."""
    leg = await answered(line)

    await line.provider.perform(ConnectAgent(leg=leg, agent_leg=AGENT, address=line.agent_address("away"), ring_timeout=0.2))

    assert (await event(line, AgentLegFailed)).status == 408


async def test_a_dropped_agent_leaves_the_caller(line: Line) -> None:
    """`DropAgent` ends the agent leg only."""
    leg = await answered(line)
    await line.provider.perform(ConnectAgent(leg=leg, agent_leg=AGENT, address=line.agent_address("ready")))
    await event(line, AudioConnected)

    await line.provider.perform(DropAgent(leg=leg, agent_leg=AGENT))

    assert AgentLegEnded(leg=leg, agent_leg=AGENT, by="platform") == await event(line, AgentLegEnded)
    await line.press("5")
    await event(line, DigitsReceived)


async def test_an_agent_who_hangs_up_leaves_the_caller(line: Line) -> None:
    """The agent's phone going down ends the agent leg only."""
    leg = await answered(line)
    await line.provider.perform(ConnectAgent(leg=leg, agent_leg=AGENT, address=line.agent_address("ready")))
    await event(line, AudioConnected)

    await line.agent_hangs_up()

    assert AgentLegEnded(leg=leg, agent_leg=AGENT, by="agent") == await event(line, AgentLegEnded)
    assert not [each for each in line.events if isinstance(each, CallEnded)]


async def with_an_agent(line: Line) -> LegId:
    """A caller who talks to an agent."""
    leg = await answered(line)
    await line.provider.perform(ConnectAgent(leg=leg, agent_leg=AGENT, address=line.agent_address("ready")))
    await event(line, AudioConnected)
    return leg


async def test_a_held_caller_hears_music_and_keys_still_count(line: Line) -> None:
    """Parted and joined again: sound goes both ways once more, and nobody was lost."""
    leg = await with_an_agent(line)

    await line.provider.perform(HoldCall(leg=leg, music="calm"))
    await line.press("4")
    await event(line, DigitsReceived)
    await line.provider.perform(JoinLegs(leg=leg, agent_leg=AGENT))

    await event(line, AudioConnected, count=2)
    assert not [each for each in line.events if isinstance(each, AgentLegEnded | CallEnded)]


async def test_a_phone_that_holds_is_told_from_one_that_hangs_up(line: Line) -> None:
    """Hold at the phone itself is reported, and its end."""
    leg = await with_an_agent(line)

    await line.agent_holds(True)
    assert PhoneHeld(leg=leg, agent_leg=AGENT) == await event(line, PhoneHeld)
    await line.agent_holds(False)

    assert PhoneResumed(leg=leg, agent_leg=AGENT) == await event(line, PhoneResumed)


async def test_a_colleague_is_asked_and_takes_the_call(line: Line) -> None:
    """While the caller waits the two agents talk; then the caller has the second, and the first can go."""
    leg = await with_an_agent(line)
    await line.provider.perform(HoldCall(leg=leg, music="calm"))
    second = line.agent_address("second")

    await line.provider.perform(ConnectAgent(leg=leg, agent_leg=COLLEAGUE, address=second, with_leg=AGENT))
    answered_too = await event(line, AgentLegAnswered, count=2)
    await line.provider.perform(JoinLegs(leg=leg, agent_leg=COLLEAGUE))
    await line.provider.perform(DropAgent(leg=leg, agent_leg=AGENT))

    assert answered_too.agent_leg == COLLEAGUE
    assert AudioConnected(leg=leg, agent_leg=COLLEAGUE) == await event(line, AudioConnected, count=2)
    assert AgentLegEnded(leg=leg, agent_leg=AGENT, by="platform") == await event(line, AgentLegEnded)


async def test_a_colleague_who_is_busy_leaves_the_two_alone(line: Line) -> None:
    """Whoever asked can talk to the caller again."""
    leg = await with_an_agent(line)
    await line.provider.perform(HoldCall(leg=leg, music="calm"))

    busy = line.agent_address("busy")
    await line.provider.perform(ConnectAgent(leg=leg, agent_leg=COLLEAGUE, address=busy, with_leg=AGENT))
    failed = await event(line, AgentLegFailed)
    await line.provider.perform(JoinLegs(leg=leg, agent_leg=AGENT))

    assert (failed.agent_leg, failed.status) == (COLLEAGUE, 486)
    await event(line, AudioConnected, count=2)


async def calling_out(line: Line, number: str, ring_timeout: float = 5.0) -> None:
    """A call of ours to *number*: the agent's phone first."""
    assert line.provider.reaches(number)
    await line.provider.perform(OpenCall(leg=OURS, number=number))
    await line.provider.perform(ConnectAgent(leg=OURS, agent_leg=AGENT, address=line.agent_address("ready")))
    await event(line, AgentLegAnswered)
    await line.provider.perform(DialCustomer(leg=OURS, number=number, sender=CALLED, ring_timeout=ring_timeout))


async def test_a_customer_is_called_and_talks_to_the_agent(line: Line) -> None:
    """The agent's phone rings first, then the customer's; when both are there they hear each other."""
    await calling_out(line, READY)

    assert CustomerAnswered(leg=OURS) == await event(line, CustomerAnswered)
    assert AudioConnected(leg=OURS, agent_leg=AGENT) == await event(line, AudioConnected)
    await line.customer_hangs_up()
    assert CallEnded(leg=OURS, by="caller", cause="bye") == await event(line, CallEnded)


@pytest.mark.parametrize(("number", "status"), [(BUSY, "486"), (AWAY, "408")])
async def test_a_customer_who_is_not_reached_ends_the_call_with_the_status(line: Line, number: str, status: str) -> None:
    """Busy is 486, nobody there 408; the agent's leg goes with the call."""
    await calling_out(line, number, ring_timeout=0.3)

    assert CallEnded(leg=OURS, by="network", cause=status) == await event(line, CallEnded)


async def test_a_call_of_ours_is_given_up(line: Line) -> None:
    """While the customer's phone rings the platform hangs up."""
    await calling_out(line, AWAY)
    await line.provider.perform(HangUp(leg=OURS))

    assert CallEnded(leg=OURS, by="platform", cause="bye") == await event(line, CallEnded)


async def test_nothing_follows_the_end(line: Line) -> None:
    """`CallEnded` is the last event of a leg, with an agent on the line and a prompt under way too; commands do nothing."""
    leg = await answered(line)
    await line.provider.perform(ConnectAgent(leg=leg, agent_leg=AGENT, address=line.agent_address("ready")))
    await event(line, AudioConnected)
    await line.hang_up()
    await event(line, CallEnded)

    await line.provider.perform(PlayPrompts(leg=leg, play=9, audio=(SHORT,)))
    await line.provider.perform(HangUp(leg=leg))
    await asyncio.sleep(0.2)

    assert CallEnded(leg=leg, by="caller", cause="bye") == line.events[-1]
    assert len([each for each in line.events if isinstance(each, CallEnded)]) == 1


async def test_a_draining_provider_takes_no_new_call(line: Line) -> None:
    """After `drain` nobody is told of a new call, and the one in progress goes on."""
    leg = await answered(line)

    await line.provider.drain()
    await line.provider.perform(PlayPrompts(leg=leg, play=1, audio=(SHORT,)))

    assert (await event(line, PromptFinished)).completed
