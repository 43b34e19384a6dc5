"""`sidetone phone` against the server: pyVoIP, a SIP stack that is not ours, as the caller."""

import asyncio
import sys
from pathlib import Path

import pytest

from bridge.events import AnswerCall, CallArrived, CallEnded, CallEvent, DigitsReceived, HangUp, PlayPrompts
from bridge.media.wav import format_wav, parse_wav
from bridge.telephony.sip import SipCallProvider, SipConfig
from bridge.telephony.softphone import tone, tone_share

pytestmark = pytest.mark.e2e


async def dial(folder: Path, *options: str) -> tuple[int | None, list[CallEvent], bytes]:
    """Run the command against a server that plays a tone and hangs up at a 9; (exit status, events, what was recorded)."""
    (folder / "tone.wav").write_bytes(format_wav(tone(440, 20.0)))
    events: list[CallEvent] = []
    ended = asyncio.Event()

    async def react(event: CallEvent) -> None:
        events.append(event)
        match event:
            case CallArrived(leg=leg):
                await provider.perform(AnswerCall(leg))
                await provider.perform(PlayPrompts(leg, 1, ("tone.wav",), barge_in=False))
            case DigitsReceived(leg=leg, digits="9"):
                await provider.perform(HangUp(leg))
            case CallEnded():
                ended.set()
            case _:
                pass

    recording = folder / "heard.wav"
    provider = SipCallProvider(SipConfig(port=0), react, folder)
    async with provider:
        command = [sys.executable, "-m", "bridge", "phone", "+15550100200", "--port", str(provider.address[1])]
        command += ["--user", "+15550100123", "--record", str(recording), *options]
        process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
        async with asyncio.timeout(30.0):
            await ended.wait()
            status = await process.wait()
    return status, events, parse_wav(await asyncio.to_thread(recording.read_bytes))


async def test_a_pyvoip_caller_presses_keys_hears_and_hangs_up(tmp_path: Path) -> None:
    """Both numbers arrive, each key once, the tone is in the recording, our side sees a plain BYE."""
    status, events, heard = await dial(tmp_path, "--keys", "1,2", "--duration", "4")

    arrived, *_, ended = events
    assert status == 0
    assert isinstance(arrived, CallArrived)
    assert (arrived.caller, arrived.called) == ("+15550100123", "+15550100200")
    assert [event.digits for event in events if isinstance(event, DigitsReceived)] == ["1", "2"]
    assert ended == CallEnded(arrived.leg, "caller", "bye")
    assert len(heard) > 2 * 8000 * 3
    assert tone_share(heard[8000:], 440) > 0.95


async def test_a_pyvoip_caller_is_hung_up_on(tmp_path: Path) -> None:
    """Our BYE reaches it and the command ends well."""
    status, events, _ = await dial(tmp_path, "--keys", "9")

    assert status == 0
    assert isinstance(events[-1], CallEnded)
    assert events[-1].by == "platform"
