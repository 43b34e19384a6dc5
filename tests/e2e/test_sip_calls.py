"""Calls on real sockets: sipp as the trunk's caller, baresip as the agent's phone, and what each of them hears."""

import asyncio
import itertools
import os
import shutil
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

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
    DigitsReceived,
    HangUp,
    LegId,
    PlayMusic,
    PlayPrompts,
    PromptFinished,
)
from bridge.media.dtmf import DtmfSender
from bridge.media.g711 import PCMU
from bridge.media.rtp import pack
from bridge.media.wav import format_wav, parse_wav
from bridge.telephony.sip import SipCallProvider, SipConfig
from bridge.telephony.softphone import CallFailedError, PhoneConfig, Softphone, tone, tone_share

pytestmark = pytest.mark.e2e
SCENARIOS = Path(__file__).parent / "sipp"
CALLED = "+15550100200"
PATIENCE = 20.0
E = TypeVar("E", bound=CallEvent)
React = Callable[[SipCallProvider, CallEvent], Awaitable[None]]


class Stage:
    """A provider whose events are kept and answered by a little script."""

    def __init__(self, react: React) -> None:
        self.events: list[CallEvent] = []
        self.provider: SipCallProvider
        self._react = react
        self._news = asyncio.Event()

    async def take(self, event: CallEvent) -> None:
        self.events.append(event)
        self._news.set()
        await self._react(self.provider, event)

    async def wait_for(self, kind: type[E], count: int = 1) -> E:
        """The *count*-th event of *kind*."""
        await self.wait_until(lambda: self.count(kind) >= count)
        return [event for event in self.events if isinstance(event, kind)][count - 1]

    def count(self, kind: type[E]) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    async def wait_until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not happened():
                self._news.clear()
                await self._news.wait()


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prompts")
    (folder / "welcome.wav").write_bytes(format_wav(tone(440, 10.0)))
    (folder / "music").mkdir()
    (folder / "music" / "calm.wav").write_bytes(format_wav(tone(660, 1.0)))
    return folder


@asynccontextmanager
async def stage(prompts: Path, react: React, config: SipConfig | None = None) -> AsyncIterator[Stage]:
    play = Stage(react)
    async with SipCallProvider(config or SipConfig(port=0), play.take, prompts) as play.provider:
        yield play


async def welcome(provider: SipCallProvider, event: CallEvent) -> None:
    """Answer, say the welcome; music after the first key."""
    match event:
        case CallArrived(leg=leg):
            await provider.perform(AnswerCall(leg))
            await provider.perform(PlayPrompts(leg, 1, ("welcome.wav",)))
        case DigitsReceived(leg=leg, digits="1"):
            await provider.perform(PlayMusic(leg, "calm"))
        case _:
            pass


async def silent(_provider: SipCallProvider, _event: CallEvent) -> None:
    """Let it ring."""


# --- sipp ------------------------------------------------------------------------------------------------------------


def as_root() -> list[str]:
    """How to run sipp so that it may replay recorded packets, which it does through a raw socket."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    assert sudo, "sipp needs root (or sudo) to replay RTP"
    return [sudo, "-n"]


async def sipp(scenario: str, provider: SipCallProvider, folder: Path) -> None:
    """Run one scenario against *provider*; fails with sipp's own words when it did not go through."""
    host, port = provider.address
    command = [
        *as_root(), "sipp", f"{host}:{port}", "-sf", str(SCENARIOS / scenario), "-s", CALLED, "-m", "1", "-i", "127.0.0.1",
        "-mi", "127.0.0.1", "-mp", "31000", "-timeout", "25s", "-timeout_error", "-nostdin",
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()

    assert process.returncode == 0, output.decode("utf-8", "replace")[-4000:]


def write_key_recording(path: Path, keys: str, *, start: int, lost: set[int]) -> None:
    """A recording of telephone events for sipp to replay: the packets of *keys* without those numbered in *lost*."""
    sender, step, number, records = DtmfSender(), 0, 0, []
    sender.press(keys)
    while sender.busy:
        for payload, _marker in sender.step(start + step * 160):
            rtp = pack(96, 500 + number, sender.started, 0x5150, payload)
            udp = struct.pack("!HHHH", 4000, 4000, 8 + len(rtp), 0) + rtp
            ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), number, 0, 64, 17, 0, b"\x7f\0\0\1", b"\x7f\0\0\1") + udp
            if number not in lost:
                frame = bytes(12) + b"\x08\x00" + ip
                records.append(struct.pack("<IIII", 0, step * 20000, len(frame), len(frame)) + frame)
            number += 1
        step += 1
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(records))


async def test_a_sipp_caller_goes_through_prompt_barge_in_and_music(prompts: Path, tmp_path: Path) -> None:
    """Without registration, with RTP and RFC 4733 keys that lose their first and last packets; the asserted number counts."""
    (tmp_path / "tone.ulaw").write_bytes(PCMU.encode(tone(1000, 1.0)))
    write_key_recording(tmp_path / "1.pcap", "1", start=100_000, lost={0, 1, 5, 6})
    write_key_recording(tmp_path / "2.pcap", "2#", start=200_000, lost={6, 7})
    async with stage(prompts, welcome) as play:
        await sipp("caller.xml", play.provider, tmp_path)
        ended = await play.wait_for(CallEnded)
        stats = play.provider.stats

    arrived, finished, *keys, last = play.events
    assert isinstance(arrived, CallArrived)
    assert (arrived.caller, arrived.called) == ("+15550100124", CALLED)
    assert isinstance(finished, PromptFinished)
    assert not finished.completed
    assert 0.8 < finished.heard < 2.0
    assert keys == [DigitsReceived(arrived.leg, key) for key in "12#"]
    assert last == ended == CallEnded(arrived.leg, "caller", "bye")
    assert stats.calls == 0
    assert stats.packets_sent > 100
    assert stats.packets_received > 100


async def test_a_sipp_caller_gives_up_before_the_answer(prompts: Path, tmp_path: Path) -> None:
    """CANCEL, 200, 487, ACK; a withheld number is None."""
    async with stage(prompts, silent) as play:
        await sipp("cancel.xml", play.provider, tmp_path)
        ended = await play.wait_for(CallEnded)

    arrived = play.events[0]
    assert isinstance(arrived, CallArrived)
    assert arrived.caller is None
    assert ended == CallEnded(arrived.leg, "caller", "cancel")


async def test_a_sipp_caller_offers_late_holds_and_comes_back(prompts: Path, tmp_path: Path) -> None:
    """Our offer in the 200, a lost ACK, hold answered with `recvonly`, an offer of ours again, a key by INFO, our BYE."""

    async def react(provider: SipCallProvider, event: CallEvent) -> None:
        await welcome(provider, event)
        if isinstance(event, DigitsReceived):
            await provider.perform(HangUp(event.leg))

    async with stage(prompts, react) as play:
        await sipp("hold.xml", play.provider, tmp_path)
        ended = await play.wait_for(CallEnded)

    assert (ended.by, ended.cause) == ("platform", "bye")
    assert [event.digits for event in play.events if isinstance(event, DigitsReceived)] == ["9"]


# --- baresip ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def baresip(folder: Path, account: str, port: int) -> AsyncIterator[None]:
    """A baresip that answers by itself, says `say.wav` and records into *folder* what it hears."""
    (folder / "config").write_text(
        f"poll_method epoll\nsip_listen 127.0.0.1:{port}\nnet_interface 127.0.0.1\ncall_max_calls 4\n"
        f"audio_player aubridge,x\naudio_source aufile,{folder}/say.wav\naudio_alert aubridge,y\n"
        "ausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\nauplay_channels 1\naudio_level no\n"
        "rtp_ports 32000-32100\nmodule_path /usr/lib/baresip/modules\n"
        "module g711.so\nmodule aubridge.so\nmodule aufile.so\nmodule sndfile.so\n"
        f"module_app account.so\nmodule_app menu.so\nsnd_path {folder}\n"
    )
    (folder / "accounts").write_text(account + "\n")
    with (folder / "output.txt").open("wb") as output:
        process = await asyncio.create_subprocess_exec("baresip", "-f", str(folder), stdin=subprocess.DEVNULL, stdout=output)
        try:
            yield
        finally:
            process.terminate()
            await process.wait()


def recorded(folder: Path) -> bytes:
    """What baresip heard."""
    (recording,) = folder.glob("dump-*-dec.wav")
    return parse_wav(recording.read_bytes())


@pytest.mark.parametrize("codec", ["pcmu", "pcma"])
async def test_caller_and_baresip_agent_hear_each_other(prompts: Path, tmp_path: Path, codec: str) -> None:
    """The agent's phone registers with a password, is called by its name, and each side records the other's tone.

    The caller speaks µ-law only: with `pcma` the server transcodes.
    """
    (tmp_path / "say.wav").write_bytes(format_wav(tone(1500, 60.0)))
    config = SipConfig(port=0, users={"anna": "secret"})
    async with stage(prompts, welcome, config) as play, Softphone(PhoneConfig(codecs=("PCMU",))) as phone:
        host, port = play.provider.address
        account = f"<sip:anna@{host}:{port}>;auth_pass=secret;regint=60;answermode=auto;audio_codecs={codec}"
        async with baresip(tmp_path, account, 0):
            call = await phone.call(f"sip:{CALLED}@{host}:{port}")
            await call.press("1")
            arrived = await play.wait_for(CallArrived)
            await asyncio.sleep(1.5)
            assert tone_share(call.heard[-8000:], 660) > 0.9
            call.loop(tone(1000, 1.0))
            await connect(play, arrived.leg, "anna")
            answered = await play.wait_for(AgentLegAnswered)
            await play.wait_for(AudioConnected)
            await asyncio.sleep(2.0)
            await call.hang_up()
            ended = await play.wait_for(CallEnded)
            await asyncio.sleep(0.5)

    agent_heard = recorded(tmp_path)
    assert tone_share(agent_heard[-16000:-1600], 1000) > 0.9
    assert tone_share(call.heard[-16000:-1600], 1500) > 0.9
    assert answered == AgentLegAnswered(arrived.leg, LegId("agent-1"))
    assert ended == CallEnded(arrived.leg, "caller", "bye")


def settled(play: Stage, failures: int) -> bool:
    return play.count(AgentLegAnswered) == 1 or play.count(AgentLegFailed) == failures


async def connect(play: Stage, leg: LegId, address: str) -> None:
    """Call the agent, again while the phone has not yet registered."""
    async with asyncio.timeout(PATIENCE):
        for failures in itertools.count(1):
            await play.provider.perform(ConnectAgent(leg, LegId("agent-1"), address))
            await play.wait_until(partial(settled, play, failures))
            if play.count(AgentLegAnswered):
                return
            await asyncio.sleep(0.2)


# --- the softphone ----------------------------------------------------------------------------------------------------


async def test_music_stops_the_instant_the_agent_answers(prompts: Path) -> None:
    """Not a frame of it after the agent's first sound, and the caller's sequence numbers and source go on unbroken."""
    async with (
        stage(prompts, welcome) as play,
        Softphone(PhoneConfig()) as phone,
        Softphone(PhoneConfig(user="anna", answer_after=0.3)) as agent,
    ):
        host, port = play.provider.address
        call = await phone.call(f"sip:{CALLED}@{host}:{port}")
        await call.press("1")
        await asyncio.sleep(0.5)
        arrived = await play.wait_for(CallArrived)
        await play.provider.perform(ConnectAgent(arrived.leg, LegId("agent-1"), agent.uri))
        agent_call = await agent.arrived.get()
        agent_call.loop(tone(1500, 1.0))
        await play.wait_for(AudioConnected)
        at = len(call.heard)
        await asyncio.sleep(0.6)
        after = call.heard[at + 640 :]
        await agent_call.hang_up()
        ended = await play.wait_for(AgentLegEnded)
        await asyncio.sleep(0.3)
        assert call.packets_heard > 0
        lost = call.packets_lost

    assert tone_share(after, 1500) > 0.95
    assert tone_share(after, 660) < 0.01
    assert ended.by == "agent"
    assert lost == 0


async def test_a_held_caller_hears_nothing_and_then_goes_on(prompts: Path) -> None:
    """While the caller's phone is on hold no packet is sent to it."""
    async with stage(prompts, welcome) as play, Softphone(PhoneConfig()) as phone:
        host, port = play.provider.address
        call = await phone.call(f"sip:{CALLED}@{host}:{port}")
        await asyncio.sleep(0.3)
        call.hold()
        await asyncio.sleep(0.3)
        held = call.packets_heard
        await asyncio.sleep(0.5)
        assert call.packets_heard == held
        call.hold(False)
        await asyncio.sleep(0.5)
        assert call.packets_heard > held + 15


async def test_a_silent_caller_is_hung_up_on_after_the_media_timeout(prompts: Path) -> None:
    """Somebody whose packets stop coming is gone."""
    config = SipConfig(port=0, media_timeout=1.0)
    async with stage(prompts, welcome, config) as play, Softphone(PhoneConfig()) as phone:
        host, port = play.provider.address
        call = await phone.call(f"sip:{CALLED}@{host}:{port}")
        call.mute()
        ended = await play.wait_for(CallEnded)
        await asyncio.wait_for(call.ended.wait(), PATIENCE)

    assert (ended.by, ended.cause) == ("network", "media_timeout")


@pytest.mark.parametrize("networks", [("192.0.2.0/24",), ("127.0.0.0/8",)])
async def test_strangers_hear_nothing_and_friends_an_answer(prompts: Path, networks: tuple[str, ...]) -> None:
    """The list of allowed networks decides on the first packet."""
    async with stage(prompts, silent, SipConfig(port=0, networks=networks)) as play, Softphone(PhoneConfig()) as phone:
        host, port = play.provider.address
        call = phone.dial(f"sip:{CALLED}@{host}:{port}")
        await asyncio.sleep(0.7)
        assert (play.provider.stats.datagrams_refused > 0, len(play.events)) == (
            (True, 0) if networks[0] != "127.0.0.0/8" else (False, 1)
        )
        await call.hang_up()


async def test_a_call_that_nobody_can_handle_is_refused_with_500(prompts: Path) -> None:
    """When whoever should take it fails, the caller is not left ringing."""

    async def fail(_provider: SipCallProvider, event: CallEvent) -> None:
        if isinstance(event, CallArrived):
            raise OSError("the disk is full")

    async with stage(prompts, fail) as play, Softphone(PhoneConfig()) as phone:
        host, port = play.provider.address
        with pytest.raises(CallFailedError) as caught:
            await phone.call(f"sip:{CALLED}@{host}:{port}")
        ended = await play.wait_for(CallEnded)

    assert caught.value.status == 500
    assert (ended.by, ended.cause) == ("platform", "500")


async def test_one_call_more_than_allowed_is_refused_with_503(prompts: Path) -> None:
    """The ones in progress go on."""
    async with stage(prompts, welcome, SipConfig(port=0, max_calls=1)) as play, Softphone(PhoneConfig()) as phone:
        host, port = play.provider.address
        call = await phone.call(f"sip:{CALLED}@{host}:{port}")
        with pytest.raises(CallFailedError) as caught:
            await phone.call(f"sip:{CALLED}@{host}:{port}")
        assert caught.value.status == 503
        assert not call.ended.is_set()
        assert play.count(CallArrived) == 1


async def test_every_address_needs_one_to_be_told(prompts: Path) -> None:
    """0.0.0.0 cannot be put into a Contact."""
    with pytest.raises(ValueError, match="advertised_host"):
        SipCallProvider(SipConfig(host="0.0.0.0"), lambda _event: asyncio.sleep(0), prompts)


async def test_fifty_callers_at_once_each_hear_their_prompt(prompts: Path) -> None:
    """One beat for all: nobody loses a packet, nobody waits."""
    async with stage(prompts, welcome) as play, Softphone(PhoneConfig()) as phone:
        host, port = play.provider.address
        calls = await asyncio.gather(*(phone.call(f"sip:{CALLED}@{host}:{port}") for _ in range(50)))
        await asyncio.sleep(2.0)
        heard = [call.heard for call in calls]
        lost = sum(call.packets_lost for call in calls)
        assert play.provider.stats.calls == 50
        await asyncio.gather(*(call.hang_up() for call in calls))
        await play.wait_for(CallEnded, 50)
        assert play.provider.stats.calls == 0

    assert all(tone_share(sound[3200:19200], 440) > 0.95 for sound in heard)
    assert lost == 0
