"""RTP packets and streams (RFC 3550): pack, read, keep count, and re-stamp what is passed from one leg to the other."""

import struct

import msgspec

_HEADER = struct.Struct("!BBHII")
_MARKER = 0x80


class RtpPacket(msgspec.Struct, frozen=True):
    """A packet that was received."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def pack(payload_type: int, sequence: int, timestamp: int, ssrc: int, payload: bytes, *, marker: bool = False) -> bytes:
    """One RTP packet without extensions. Counters are taken modulo their width."""
    second = payload_type | _MARKER if marker else payload_type
    return _HEADER.pack(0x80, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + payload


def parse(data: bytes) -> RtpPacket | None:
    """Read a packet: contributing sources, extension and padding are skipped (RFC 3550 section 5.1).

    Returns:
        None when it is not RTP version 2, is RTCP (RFC 5761 section 4) or is shorter than it says.
    """
    if len(data) < 12:
        return None
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    if first == 0x80:  # the usual packet: nothing optional in it
        payload_type = second & 0x7F
        if 64 <= payload_type <= 95:
            return None
        return RtpPacket(payload_type, second >= _MARKER, sequence, timestamp, ssrc, data[12:])
    if first >> 6 != 2 or 64 <= second & 0x7F <= 95:
        return None
    start = 12 + 4 * (first & 0x0F)
    if first & 0x10:
        if len(data) < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    end = len(data) - data[-1] if first & 0x20 else len(data)
    if start > end or (first & 0x20 and data[-1] == 0):
        return None
    return RtpPacket(second & 0x7F, second >= _MARKER, sequence, timestamp, ssrc, data[start:end])


def sequence_ahead(new: int, old: int) -> int:
    """How far *new* is after *old* in 16-bit arithmetic: -32768 to 32767."""
    return ((new - old + 0x8000) & 0xFFFF) - 0x8000


class OutgoingStream:
    """What we send on one leg: one SSRC for the whole leg, counters that only go forward, whoever the sound comes from.

    Args:
        ssrc: 32 random bits.
        sequence: 16 random bits (RFC 3550 section 5.1).
        timestamp: 32 random bits.
    """

    __slots__ = ("_source", "_stamp_shift", "_step", "sequence", "ssrc", "timestamp")

    def __init__(self, ssrc: int, sequence: int, timestamp: int) -> None:
        self.ssrc = ssrc
        self.sequence = sequence
        self.timestamp = timestamp
        """Of the next frame."""
        self._source: int | None = None
        self._step = 0
        self._stamp_shift = 0

    def frame(self, payload_type: int, payload: bytes, samples: int, *, marker: bool = False) -> bytes:
        """The next packet of sound of our own."""
        packet = pack(payload_type, self.sequence, self.timestamp, self.ssrc, payload, marker=marker)
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.timestamp = (self.timestamp + samples) & 0xFFFFFFFF
        return packet

    def event(self, payload_type: int, payload: bytes, started: int, *, marker: bool = False) -> bytes:
        """A telephone-event packet: its timestamp is that of the key's beginning, the sound's clock is left alone."""
        packet = pack(payload_type, self.sequence, started, self.ssrc, payload, marker=marker)
        self.sequence = (self.sequence + 1) & 0xFFFF
        return packet

    def skip(self, samples: int) -> None:
        """Time passes without a packet."""
        self.timestamp = (self.timestamp + samples) & 0xFFFFFFFF

    def forget_source(self) -> None:
        """The next relayed packet comes from somebody new, whatever its SSRC says."""
        self._source = None

    def relay(self, packet: RtpPacket, payload_type: int, payload: bytes, samples: int) -> bytes:
        """Re-stamp a packet of the other leg: gaps and order of its source are kept, the first one of a source is marked.

        Args:
            packet: As it came in.
            payload_type: What this leg calls that kind of payload.
            payload: Transcoded where the two sides differ.
            samples: How far it moves the sound's clock; 0 for a telephone event.
        """
        marker = packet.marker
        if packet.ssrc != self._source:
            self._source = packet.ssrc
            self._step = (self.sequence - packet.sequence) & 0xFFFF
            self._stamp_shift = (self.timestamp - packet.timestamp) & 0xFFFFFFFF
            marker = True
        sequence = (packet.sequence + self._step) & 0xFFFF
        timestamp = (packet.timestamp + self._stamp_shift) & 0xFFFFFFFF
        if sequence_ahead(sequence, self.sequence) >= 0:
            self.sequence = (sequence + 1) & 0xFFFF
            if samples:
                self.timestamp = (timestamp + samples) & 0xFFFFFFFF
        return pack(payload_type, sequence, timestamp, self.ssrc, payload, marker=marker)


class IncomingStream:
    """Counts what comes in on one leg, across changes of its source (RFC 3550 appendix A.1, much simplified)."""

    __slots__ = ("_highest", "lost", "received", "ssrc")

    def __init__(self) -> None:
        self.ssrc: int | None = None
        self.received = 0
        self.lost = 0
        """Sequence numbers never seen; a late packet takes one back."""
        self._highest = 0

    def receive(self, packet: RtpPacket) -> bool:
        """Count *packet*. True when its source is a new one."""
        self.received += 1
        if packet.ssrc != self.ssrc:
            self.ssrc = packet.ssrc
            self._highest = packet.sequence
            return True
        ahead = sequence_ahead(packet.sequence, self._highest)
        if ahead > 0:
            self._highest = packet.sequence
            self.lost += ahead - 1
        elif ahead < 0 and self.lost:
            self.lost -= 1
        return False
