"""The deflection story with an independent caller: sipp with RTP and RFC 4733 keys against the real process.

What is asserted was seen outside the server: by sipp (its own record of messages) and by the Twilio-shaped server.
"""

import asyncio
import os
import re
import shutil
import socket
import struct
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bridge.media.dtmf import DtmfSender
from bridge.media.g711 import PCMU
from bridge.media.rtp import pack
from bridge.telephony.softphone import tone
from sms.testing.twilio_server import TwilioServer
from tests.e2e.server import NUMBER, Api, DeskClient, ServerProcess, agent, free_port, settings

pytestmark = pytest.mark.e2e
SCENARIOS = Path(__file__).parent / "sipp"
CALLER, UNREACHABLE = "+15550100131", "+15550100199"
"""Texts to the second cannot be delivered."""
LATENCY = 0.5
"""Seconds between the states of a text: it is delivered after three times that."""


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder with what sipp says and presses."""
    (tmp_path / "tone.ulaw").write_bytes(PCMU.encode(tone(1000, 1.0)))
    for n, key in enumerate("12", 1):
        write_key(tmp_path / f"key_{key}.pcap", key, start=100_000 * n)
    return tmp_path


def write_key(path: Path, key: str, *, start: int) -> None:
    """The packets of one key press as a recording that sipp can replay."""
    sender, step = DtmfSender(), 0
    records: list[bytes] = []
    sender.press(key)
    while sender.busy:
        for payload, _marker in sender.step(start + step * 160):
            rtp = pack(96, 500 + len(records), sender.started, 0x5150, payload)
            udp = struct.pack("!HHHH", 4000, 4000, 8 + len(rtp), 0) + rtp
            ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\x7f\0\0\1", b"\x7f\0\0\1") + udp
            frame = bytes(12) + b"\x08\x00" + ip
            records.append(struct.pack("<IIII", 0, step * 20_000, len(frame), len(frame)) + frame)
        step += 1
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(records))


class Caller:
    """One run of a sipp scenario."""

    def __init__(self, folder: Path, server: ServerProcess, scenario: str, number: str) -> None:
        # A raw socket replays the recorded packets: that takes root.
        root = [] if os.geteuid() == 0 else [shutil.which("sudo") or "sudo", "-n"]
        self._record = folder / f"{scenario}.messages"
        self._folder = folder
        self._command = [
            *root, "sipp", server.sip, "-sf", str(SCENARIOS / f"{scenario}.xml"), "-s", NUMBER, "-key", "caller", number,
            "-m", "1", "-i", "127.0.0.1", "-p", str(free_port(socket.SOCK_DGRAM)), "-mi", "127.0.0.1", "-mp", "31500",
            "-timeout", "45s", "-timeout_error", "-nostdin", "-trace_msg", "-message_file", str(self._record),
        ]  # fmt: skip

    async def run(self) -> None:
        """Play it to its end; fails with sipp's own words when it did not go through."""
        process = await asyncio.create_subprocess_exec(
            *self._command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode("utf-8", "replace")[-4000:]

    def at(self, first_line: str) -> float:
        """When sipp sent or received the first message that begins so; seconds since the Unix epoch."""
        record = self._record.read_text(errors="replace")
        found = re.search(rf"-{{3,}} (\S+ \S+)\n[^\n]*\n\n{first_line}", record)
        assert found is not None, record
        return datetime.fromisoformat(found[1]).timestamp()


@asynccontextmanager
async def stage(tmp_path: Path) -> AsyncIterator[tuple[ServerProcess, TwilioServer, DeskClient, asyncio.Event]]:
    """A server whose phone agents are away and whose text desk is staffed, so that callers are offered a text."""
    async with TwilioServer(opt_out="off", latency=LATENCY) as twilio:
        agents = [agent("ana", "support"), agent("ben", "support_sms")]
        server = ServerProcess(tmp_path, settings(tmp_path, twilio.url, agents))
        twilio.inbound_url = f"{server.url}/twilio/sms"
        async with server, DeskClient(server.url, "ben") as ben:
            await ben.sign_in()
            await ben.go("ready")
            async with ben.watching() as news:
                yield server, twilio, ben, news


async def only_session(server: ServerProcess) -> dict[str, Any]:
    """The one session there is, with its timeline."""
    async with Api.open(server.url) as api:
        (row,) = await api.sessions()
        return await api.session(row["id"])


def kinds(session: dict[str, Any]) -> list[str]:
    """The timeline's lines by kind."""
    return [line["kind"] for line in session["timeline"]]


async def test_a_sipp_caller_is_deflected_and_hung_up_on_only_when_the_text_is_there(recordings: Path) -> None:
    """Language, menu, offer, 1: the text reaches the handset, then comes BYE; the reply rings at the desk with all of it."""
    async with stage(recordings) as (server, twilio, ben, news):
        caller = Caller(recordings, server, "deflected", CALLER)
        await caller.run()
        handset = twilio.handset(CALLER)
        (text,) = handset.received
        assert text.sender == NUMBER
        assert "we go on here by text" in text.body
        assert caller.at("BYE ") > text.at

        await handset.text(NUMBER, "My modem blinks")
        async with asyncio.timeout(10):
            while not ben.offers:
                news.clear()
                await news.wait()
        ((session_id, channel),) = ben.offers
        assert channel == "sms"
        assert await ben.accept(session_id, channel) == 200
        assert await ben.say(session_id, "Which colour?") == 204
        assert (await handset.wait(2))[1].body == "Which colour?"
        session = await only_session(server)

    assert session["id"] == session_id
    assert session["card"]["topic"] == "technical"
    assert session["path"]
    told = [kind for kind in kinds(session) if not kind.startswith(("flow.", "prompt."))]
    expected = [
        "call.arrived",
        "call.answered",
        "language.chosen",
        "menu.chosen",
        "offer.decided",
        "offer.made",
        "offer.answered",
    ]
    expected += ["consent.given", "text.sent", "call.hung_up", "call.ended", "text.received", "queue.joined", "agent.joined"]
    assert [kind for kind in dict.fromkeys(told) if kind in expected] == expected
    assert twilio.accepted_bodies.total() == 2
    assert twilio.problems == []


async def test_a_sipp_caller_whose_text_cannot_be_delivered_stays_in_line(recordings: Path) -> None:
    """The caller hears so, is not hung up on, and waits at the place of the first moment."""
    async with stage(recordings) as (server, twilio, _ben, _news):
        caller = Caller(recordings, server, "stays", UNREACHABLE)
        await caller.run()
        assert twilio.handset(UNREACHABLE).received == []
        session = await only_session(server)

    told = kinds(session)
    assert told.index("text.sent") < told.index("text.failed") < told.index("queue.joined") < told.index("call.ended")
    apology = [line["data"]["words"] for line in session["timeline"] if line["kind"] == "prompt.played"]
    assert any("You keep your place in line" in words for words in apology)
    (ended,) = [line["data"] for line in session["timeline"] if line["kind"] == "call.ended"]
    assert (ended["by"], ended["cause"]) == ("caller", "bye")
    (left,) = [line["data"] for line in session["timeline"] if line["kind"] == "queue.left"]
    assert left["outcome"] == "abandoned"
    assert left["waited"] > 3 * LATENCY
    assert [text["state"] for text in session["texts"]] == ["undelivered"]
