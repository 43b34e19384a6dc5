"""`sidetone phone`: dial the server from a terminal, press keys, hear it.

Signalling, sockets and threads are pyVoIP's, a SIP stack we did not write, so that a newcomer (and a test) calls the
server the way a stranger would. What pyVoIP 1.6.8 cannot do is added here: it sends no keys, insists on registering, and
decodes sound to 8 bits while keeping all of it in memory.
"""

import contextlib
import os
import select
import shutil
import socket
import subprocess
import sys
import termios
import threading
import time
import tty
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pyVoIP.VoIP import CallState, VoIPPhone
from rich.console import Console

from bridge.media.dtmf import KEYS, DtmfSender
from bridge.media.g711 import PCMU
from bridge.media.recorder import Recorder
from bridge.media.rtp import pack, parse
from bridge.media.wav import format_wav

ANSWER_PATIENCE = 30.0
"""Seconds to wait for somebody to answer."""
COMMA_PAUSE = 2.0
"""Seconds a comma among the keys waits."""
_STEP = 0.02
out = Console(highlight=False)


def run_phone(
    target: str, *, user: str, server: str, port: int, keys: str = "", record: Path | None = None, duration: float | None = None
) -> int:
    """Make one call and stay on the line until somebody hangs up.

    Args:
        target: Number to dial.
        user: Who we say we are; the caller's number when it looks like one.
        server: Host of the SIP server, which must accept calls from here.
        port: Its UDP port.
        keys: Pressed by themselves after the answer; a comma waits two seconds. On a terminal more can be pressed by hand.
        record: WAV file for what is heard; None writes none and plays through `aplay` where there is one.
        duration: Seconds after the answer when we hang up; None waits for the other end, or for `q` on a terminal.

    Returns:
        Exit status: 0 after a call that was answered, 1 when nobody did.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyVoIP warns of its own sockets when it closes them
        here = _local_address(server, port)
        phone: Any = VoIPPhone(server, port, user, "", myIP=here[0], sipPort=here[1], rtpPortLow=36000, rtpPortHigh=37000)
        phone.sip.register = lambda: True  # a trunk does not register, and waiting for a registrar takes 30 s
        phone.start()
        try:
            return _talk(phone, target, keys, record, duration)
        finally:
            phone.stop()


def _local_address(server: str, port: int) -> tuple[str, int]:
    """Our address on the way to the server, and a port that is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((server, port))
        host: str = probe.getsockname()[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return host, probe.getsockname()[1]


def _talk(phone: Any, target: str, keys: str, record: Path | None, duration: float | None) -> int:
    call = _dial(phone, target)
    if call is None:
        out.print("nobody answered")
        return 1
    out.print(f"connected to {target}" + (", press keys, q hangs up" if sys.stdin.isatty() else ""))
    with _loudspeaker(quiet=record is not None) as loudspeaker, _keyboard() as keyboard:
        line = _Line(call.RTPClients[0], loudspeaker)
        _stay(call, line, keys, keyboard, duration)
    if call.state == CallState.ANSWERED:
        call.hangup()
        out.print("hung up")
    else:
        out.print("the other end hung up")
    if record is not None:
        record.write_bytes(format_wav(line.heard))
        out.print(f"{len(line.heard) / 16000:.1f} s heard, written to {record}")
    return 0


def _dial(phone: Any, target: str) -> Any:
    """The answered call, or None. pyVoIP waits for the server's first word without end, so that happens in a thread."""
    found: list[Any] = []

    def dial() -> None:
        with contextlib.suppress(Exception):  # a refusal is a KeyError in there
            found.append(phone.call(target))

    threading.Thread(target=dial, daemon=True).start()
    give_up_at = time.monotonic() + ANSWER_PATIENCE
    while time.monotonic() < give_up_at:
        if found and found[0].state == CallState.ANSWERED:
            return found[0]
        if found and found[0].state == CallState.ENDED:
            return None
        time.sleep(0.01)
    return None


class _Line:
    """The sound and keys of an answered call, on the socket of pyVoIP's RTP client."""

    def __init__(self, client: Any, loudspeaker: IO[bytes] | None) -> None:
        self._client = client
        self._loudspeaker = loudspeaker
        self._recorder = Recorder()
        self._sender = DtmfSender()
        self._event_type = next((number for number, kind in client.assoc.items() if str(kind) == "telephone-event"), 101)
        client.parse_packet = self._take

    @property
    def heard(self) -> bytes:
        """16-bit PCM so far."""
        return self._recorder.pcm

    def _take(self, data: bytes) -> None:
        """In place of pyVoIP's decoder; called by its receiving thread."""
        packet = parse(data)
        if packet is None or packet.payload_type != PCMU.payload_type:
            return
        self._recorder.receive(packet, PCMU)
        if self._loudspeaker is not None:
            with contextlib.suppress(OSError, ValueError):
                self._loudspeaker.write(PCMU.decode(packet.payload))
                self._loudspeaker.flush()

    def press(self, key: str) -> None:
        """Send one key (RFC 4733); returns when it has been let go, or at once when the call is over."""
        self._sender.press(key)
        with contextlib.suppress(OSError):  # pyVoIP closes the socket when the other end hangs up
            while self._sender.busy:
                self._send_step()
                time.sleep(_STEP)

    def _send_step(self) -> None:
        client = self._client
        for payload, marker in self._sender.step(client.outTimestamp):
            client.outSequence += 1
            started = self._sender.started
            packet = pack(self._event_type, client.outSequence, started, client.outSSRC, payload, marker=marker)
            client.sout.sendto(packet, (client.outIP, client.outPort))


def _stay(call: Any, line: _Line, keys: str, keyboard: int | None, duration: float | None) -> None:
    """Press what is to be pressed until somebody hangs up."""
    began = time.monotonic()
    waiting, next_key_at = deque(keys), began + 0.5
    while call.state == CallState.ANSWERED and (duration is None or time.monotonic() - began < duration):
        if waiting and time.monotonic() >= next_key_at:
            key = waiting.popleft()
            if key == ",":
                next_key_at = time.monotonic() + COMMA_PAUSE
            else:
                _press(line, key)
        typed = _typed(keyboard)
        if typed == "q":
            return
        if typed:
            _press(line, typed)


def _press(line: _Line, key: str) -> None:
    if key.upper() in KEYS:
        out.print(f"key {key}")
        line.press(key)


def _typed(keyboard: int | None) -> str:
    """A key of the terminal, waiting no longer than a frame; empty when there is none."""
    if keyboard is None:
        time.sleep(_STEP)
        return ""
    ready, _, _ = select.select([keyboard], [], [], _STEP)
    return os.read(keyboard, 1).decode("ascii", "replace") if ready else ""


@contextlib.contextmanager
def _keyboard() -> Iterator[int | None]:
    """The terminal with every key given at once; None when there is no terminal."""
    if not sys.stdin.isatty():
        yield None
        return
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    tty.setcbreak(number)
    try:
        yield number
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _loudspeaker(*, quiet: bool) -> Iterator[IO[bytes] | None]:
    """A pipe to ALSA's `aplay`, or None when there is none or nobody wants to hear."""
    program = shutil.which("aplay")
    if quiet or program is None or not sys.stdout.isatty():
        yield None
        return
    command = [program, "-q", "-t", "raw", "-f", "S16_LE", "-r", "8000", "-c", "1"]
    player = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603  no word of it is foreign
    try:
        yield player.stdin
    finally:
        if player.stdin is not None:
            with contextlib.suppress(OSError):
                player.stdin.close()
        player.terminate()
        player.wait()
