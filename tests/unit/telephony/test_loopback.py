"""What the handset of a loopback call hears."""

import asyncio
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.events import (
    AnswerCall,
    CallEnded,
    CallEvent,
    ConnectAgent,
    HangUp,
    LegId,
    PlayMusic,
    PlayPrompts,
    StopAudio,
)
from bridge.telephony.loopback import (
    AgentPhone,
    Connected,
    Ended,
    Hears,
    LoopbackCallProvider,
    Music,
    Playing,
    Ringing,
    Silence,
    UnknownCallError,
)


@pytest.fixture
async def events() -> list[CallEvent]:
    return []


@pytest.fixture
async def provider(tmp_path: Path, events: list[CallEvent]) -> AsyncIterator[LoopbackCallProvider]:
    for name in ("support/fr/hello.wav", "music/calm.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(tmp_path / name), "wb") as recording:
            recording.setnchannels(1)
            recording.setsampwidth(2)
            recording.setframerate(8000)
            recording.writeframes(bytes(1600))

    async def keep(event: CallEvent) -> None:
        events.append(event)

    async with LoopbackCallProvider(
        keep,
        tmp_path,
        captions={"support/fr/hello.wav": "Bonjour"}.__getitem__,
        greetings={"fr": "support/fr/agent.wav"},
        agent_phones={"loopback:ana": AgentPhone(answer_after=0.0)},
    ) as the_provider:
        yield the_provider


async def heard(provider: LoopbackCallProvider, leg: LegId) -> list[Hears]:
    async with provider.listen(leg) as hears:
        return [each async for each in hears]


async def test_the_handset_hears_the_whole_call(provider: LoopbackCallProvider) -> None:
    """Ringing, prompts with their words, music, silence, an agent who greets in the caller's language, the end."""
    leg = await provider.dial("+15550100123", "+15550100200")
    listening = asyncio.create_task(heard(provider, leg))
    await provider.perform(AnswerCall(leg=leg))
    await provider.perform(PlayPrompts(leg=leg, play=1, audio=("support/fr/hello.wav",)))
    await provider.perform(PlayMusic(leg=leg, name="calm"))
    await provider.perform(StopAudio(leg=leg))
    await provider.perform(ConnectAgent(leg=leg, agent_leg=LegId("a"), address="loopback:ana"))
    await asyncio.sleep(0.05)
    await provider.perform(HangUp(leg=leg))

    assert [
        Ringing(),
        Silence(),
        Playing(audio=("support/fr/hello.wav",), words="Bonjour", seconds=0.1),
        Music(audio="music/calm.wav", offset=0.0),
        Silence(),
        Connected(agent="loopback:ana", greeting="support/fr/agent.wav"),
        Ended(by="platform", cause="bye"),
    ] == await listening


async def test_music_resumes_where_it_was_left(provider: LoopbackCallProvider) -> None:
    """An announcement interrupts the music; afterwards it does not begin anew."""
    leg = await provider.dial(None, "+15550100200")
    await provider.perform(AnswerCall(leg=leg))
    await provider.perform(PlayMusic(leg=leg, name="calm"))
    await asyncio.sleep(0.03)
    await provider.perform(StopAudio(leg=leg))
    await provider.perform(PlayMusic(leg=leg, name="calm"))
    await provider.hang_up(leg)

    pieces = [each for each in await heard(provider, leg) if isinstance(each, Music)]
    assert pieces[0].offset == 0.0
    assert 0.02 < pieces[1].offset < 0.1


async def test_who_listens_late_hears_the_present(provider: LoopbackCallProvider) -> None:
    """A page that comes back is told what is audible now, not what was before."""
    leg = await provider.dial(None, "+15550100200")
    await provider.perform(AnswerCall(leg=leg))
    await provider.perform(PlayMusic(leg=leg, name="calm"))

    async with provider.listen(leg, from_start=False) as hears:
        assert Music(audio="music/calm.wav", offset=0.0) == await anext(hears)


async def test_a_key_that_does_not_exist_is_refused(provider: LoopbackCallProvider) -> None:
    """Only keys of RFC 4733 can be pressed, and only during the call."""
    leg = await provider.dial(None, "+15550100200")

    with pytest.raises(ValueError, match="no such key"):
        await provider.press(leg, "x")
    await provider.hang_up(leg)
    with pytest.raises(UnknownCallError):
        await provider.press(leg, "1")


async def test_nobody_can_listen_to_a_call_that_never_was(provider: LoopbackCallProvider) -> None:
    """An unknown leg is an error, not a silent wait."""
    with pytest.raises(UnknownCallError):
        async with provider.listen(LegId("nobody")):
            pass


async def test_a_draining_provider_answers_503(provider: LoopbackCallProvider, events: list[CallEvent]) -> None:
    """A caller who dials while the server drains hears that at once; the server is not told."""
    await provider.drain()

    leg = await provider.dial("+15550100123", "+15550100200")

    assert [Ringing(), Ended(by="network", cause="503")] == await heard(provider, leg)
    assert not events


async def test_closing_ends_every_call(tmp_path: Path) -> None:
    """Leaving the provider ends its calls with cause `restart`, reported before the door closes."""
    events: list[CallEvent] = []

    async def keep(event: CallEvent) -> None:
        events.append(event)

    async with LoopbackCallProvider(keep, tmp_path) as provider:
        leg = await provider.dial(None, "+15550100200")

    assert CallEnded(leg=leg, by="platform", cause="restart") == events[-1]


async def test_a_sink_that_fails_does_not_stop_the_call(tmp_path: Path) -> None:
    """An event the server cannot take is logged; those after it are still reported."""
    events: list[CallEvent] = []

    async def fail_first(event: CallEvent) -> None:
        events.append(event)
        if len(events) == 1:
            raise RuntimeError("full")

    async with LoopbackCallProvider(fail_first, tmp_path) as provider:
        leg = await provider.dial(None, "+15550100200")
        await provider.hang_up(leg)

    assert CallEnded(leg=leg, by="caller", cause="cancel") == events[-1]
