"""Sockets for sound: the shared beat, the port pool and one leg's audio.

There is no timer and no task per call. One `Beat` wakes every 2 ms and lets a tenth of all legs send their 20 ms frame;
what comes in is handled where the loop finds it.
"""

import asyncio
import secrets
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from bridge.media.dtmf import DtmfReceiver, DtmfSender
from bridge.media.g711 import FRAME, TRANSCODE
from bridge.media.player import PlayEnded, Player
from bridge.media.recorder import Recorder
from bridge.media.rtp import IncomingStream, OutgoingStream, RtpPacket, parse
from bridge.sip.sdp import Negotiated

log = structlog.get_logger()
Address = tuple[str, int]
PHASES: Final = 10
STEP: Final = 0.002
"""Seconds between two phases; ten make the 20 ms of a frame."""
_LATE: Final = 0.005
"""Seconds. A phase later than this is counted."""
_GIVE_UP: Final = 1.0
"""Seconds behind at which the past is let go instead of being sent in one burst."""
_TOS_EF: Final = 0xB8
"""Expedited forwarding (RFC 3246), as routers expect it for voice."""


class Beat:
    """Gives every leg its turn once in 20 ms, all legs spread over ten phases. Deadlines are absolute: no drift."""

    def __init__(self) -> None:
        self._phases: list[dict[AudioLeg, None]] = [{} for _ in range(PHASES)]
        self._handle: asyncio.TimerHandle | None = None
        self._next = 0.0
        self._phase = 0
        self.late = 0
        """Phases that began more than 5 ms late."""
        self.beats = 0

    def add(self, leg: "AudioLeg") -> None:
        """Let *leg* send from now on, in the phase with the fewest legs."""
        min(self._phases, key=len)[leg] = None
        if self._handle is None:
            loop = asyncio.get_running_loop()
            self._next = loop.time() + STEP
            self._handle = loop.call_at(self._next, self._wake)

    def remove(self, leg: "AudioLeg") -> None:
        """No more turns for *leg*. Nothing happens when it has none."""
        for phase in self._phases:
            phase.pop(leg, None)

    def _wake(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not any(self._phases):
            self._handle = None
            return
        if now - self._next > _GIVE_UP:
            self.late += 1
            self._next = now
        while self._next <= now:
            self.beats += 1
            if now - self._next > _LATE:
                self.late += 1
            for leg in tuple(self._phases[self._phase]):
                try:
                    leg.send_frame()
                except Exception:  # one leg's fault must not silence all the others
                    log.exception("media.leg_dropped", port=leg.port)
                    self.remove(leg)
            self._phase = (self._phase + 1) % PHASES
            self._next += STEP
        self._handle = loop.call_at(self._next, self._wake)

    def stop(self) -> None:
        """Nobody sends any more."""
        for phase in self._phases:
            phase.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class PortPool:
    """Even UDP ports for sound, handed out in turn so that a port rests as long as possible before it is used again."""

    def __init__(self, host: str, low: int, high: int) -> None:
        self.host = host
        self._free = deque(range(low + (low & 1), high, 2))

    def open(self) -> socket.socket | None:
        """A bound socket that does not block, or None when every port is taken.

        Raises:
            OSError: the process may open no more sockets.
        """
        for _ in range(len(self._free)):
            port = self._free.popleft()
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            try:
                opened = socket.socket(family, socket.SOCK_DGRAM)
            except OSError:  # no file descriptor is left: the port is as free as it was
                self._free.appendleft(port)
                raise
            try:
                opened.setblocking(False)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                if family == socket.AF_INET:
                    opened.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _TOS_EF)
                opened.bind((self.host, port))
            except OSError:  # somebody else has it
                opened.close()
                self._free.append(port)
                continue
            return opened
        return None

    def close(self, opened: socket.socket) -> None:
        """Give a socket's port back."""
        self._free.append(opened.getsockname()[1])
        opened.close()


class Counters:
    """Packets of all legs of one provider or phone."""

    __slots__ = ("dropped", "received", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.dropped = 0
        """Not RTP, or from somebody who is not the other end."""


class AudioLeg:
    """The sound of one leg: its socket, what it hears, what comes from it.

    Args:
        pool: Where its port comes from.
        beat: Gives it its turns.
        counters: Shared by all legs.
        trusts: Whether sound may come from an address other than the described one, when the other end is behind a NAT. A
            stranger who sprays packets at our ports must not become the other end. None: from anywhere.

    Raises:
        OSError: no port is free.
    """

    def __init__(
        self,
        pool: PortPool,
        beat: Beat,
        counters: Counters,
        trusts: Callable[[str], bool] | None = None,
    ) -> None:
        opened = pool.open()
        if opened is None:
            raise OSError("no RTP port is free")
        self._socket = opened
        self._pool, self._beat, self._counters = pool, beat, counters
        self.trusts = trusts
        self.port: int = opened.getsockname()[1]
        self.player = Player()
        self.keys = DtmfSender()
        self.recorder: Recorder | None = None
        """When set, what comes in is written down."""
        self.incoming = IncomingStream()
        self.heard_at = 0.0
        """Loop time of the last packet of the other end."""
        self.negotiated: Negotiated | None = None
        self.on_key: Callable[[str], None] | None = None
        self.on_played: Callable[[PlayEnded], None] | None = None
        self.on_relayed: Callable[[], None] | None = None
        """Called once, at the first packet of this leg that went out on the other one."""
        self.rtp_keys = False
        """Whether a key ever came as RTP; INFO is then not listened to."""
        self._outgoing = OutgoingStream(secrets.randbits(32), secrets.randbits(16), secrets.randbits(32))
        self._dtmf = DtmfReceiver()
        self._remote: Address | None = None
        self._source: Address | None = None
        self._peer: AudioLeg | None = None
        self._pause = True
        self._silence = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(opened.fileno(), self._readable)

    # --- control -----------------------------------------------------------------------------------------------------

    def negotiate(self, negotiated: Negotiated) -> None:
        """Obey a description: codec, address, hold. The source of the sound is learnt anew (once per offer and answer)."""
        self.negotiated = negotiated
        self._silence = bytes([negotiated.codec.silence]) * FRAME
        self._remote = (negotiated.host, negotiated.port) if negotiated.may_send else None
        self._source = None
        self.heard_at = self._loop.time()

    def start(self) -> None:
        """Begin to send, or go on: what the player has, otherwise silence."""
        self._beat.remove(self)
        self._beat.add(self)

    def hush(self) -> None:
        """Send no frames of our own."""
        self._beat.remove(self)

    def join(self, peer: "AudioLeg") -> None:
        """Pass on to *peer* what comes in and send what *peer* passes on, no frames of our own. Call it on both legs."""
        self._beat.remove(self)
        self._outgoing.forget_source()
        self._peer = peer

    def part(self) -> None:
        """Stop passing on."""
        self._peer = None

    def close(self) -> None:
        """Give everything back. May be called twice."""
        if self._socket.fileno() < 0:
            return
        self._beat.remove(self)
        self._peer = None
        self._loop.remove_reader(self._socket.fileno())
        self._pool.close(self._socket)

    # --- out ---------------------------------------------------------------------------------------------------------

    def send_frame(self) -> None:
        """This leg's turn: a key, a frame of what is played, or silence."""
        negotiated, remote = self.negotiated, self._remote
        if negotiated is None:
            return
        if self.keys.busy and negotiated.event_type is not None and self._send_key(negotiated.event_type):
            self._pause = True
            return
        frame = self.player.next_frame(negotiated.codec)
        while isinstance(frame, PlayEnded):
            if self.on_played is not None:
                self.on_played(frame)
            frame = self.player.next_frame(negotiated.codec)
        if remote is None:  # on hold: time goes on, nothing is sent
            self._outgoing.skip(FRAME)
            self._pause = True
            return
        packet = self._outgoing.frame(negotiated.payload_type, frame or self._silence, FRAME, marker=self._pause)
        self._pause = False
        self._transmit(packet, remote)

    def _send_key(self, event_type: int) -> bool:
        packets = self.keys.step(self._outgoing.timestamp)
        if not packets:
            return False
        for payload, marker in packets:
            packet = self._outgoing.event(event_type, payload, self.keys.started, marker=marker)
            if self._remote is not None:
                self._transmit(packet, self._remote)
        self._outgoing.skip(FRAME)
        return True

    def _transmit(self, packet: bytes, remote: Address) -> None:
        try:
            self._socket.sendto(packet, remote)
        except OSError:  # full buffer, or a peer that refuses (ICMP): a lost packet like any other
            return
        self._counters.sent += 1

    # --- in ----------------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            data, source = self._socket.recvfrom(2048)
        except OSError:
            return
        negotiated = self.negotiated
        packet = parse(data)
        if packet is None or negotiated is None:
            self._counters.dropped += 1
            return
        if source[:2] != self._source and not self._learn(source[:2], negotiated):
            self._counters.dropped += 1
            return
        self._counters.received += 1
        self.heard_at = self._loop.time()
        self.incoming.receive(packet)
        if packet.payload_type == negotiated.payload_type:
            if self._peer is not None:
                self._pass_on(packet, negotiated, self._peer)
            if self.recorder is not None:
                self.recorder.receive(packet, negotiated.codec)
        elif packet.payload_type == negotiated.event_type:
            self._receive_key(packet)

    def _learn(self, address: Address, negotiated: Negotiated) -> bool:
        """Symmetric RTP: the first source after an offer and answer is the other end, wherever its description points.

        Returns:
            False when the other end is known already, or this cannot be it.
        """
        if self._source is not None:
            return False
        if address[0] != negotiated.host and self.trusts is not None and not self.trusts(address[0]):
            return False
        self._source = address
        if negotiated.may_send:
            self._remote = address
        return True

    def _receive_key(self, packet: RtpPacket) -> None:
        self.rtp_keys = True
        key = self._dtmf.receive(packet, now=self._loop.time())
        peer = self._peer
        if peer is not None and peer.negotiated is not None and peer.negotiated.event_type is not None:
            peer.transmit_relayed(packet, peer.negotiated.event_type, packet.payload, 0)
        if key is not None and self.on_key is not None:
            self.on_key(key)

    def _pass_on(self, packet: RtpPacket, negotiated: Negotiated, peer: "AudioLeg") -> None:
        other = peer.negotiated
        if other is None:
            return
        payload = packet.payload
        if other.codec is not negotiated.codec:
            payload = payload.translate(TRANSCODE[negotiated.codec.name, other.codec.name])
        if peer.transmit_relayed(packet, other.payload_type, payload, len(payload)) and self.on_relayed is not None:
            on_relayed, self.on_relayed = self.on_relayed, None
            on_relayed()

    def transmit_relayed(self, packet: RtpPacket, payload_type: int, payload: bytes, samples: int) -> bool:
        """Send a packet that came in on the joined leg. False when this leg's end wants nothing (hold)."""
        if self._remote is None:
            return False
        self._transmit(self._outgoing.relay(packet, payload_type, payload, samples), self._remote)
        return True
