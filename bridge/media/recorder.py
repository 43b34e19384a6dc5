"""Writes down what comes in on a leg, each packet at the place its timestamp gives it.

That makes a jitter buffer unnecessary: a late packet still finds its place, a repeated one writes the same sound again
and a lost one leaves silence.
"""

from bridge.media.g711 import Codec
from bridge.media.rtp import RtpPacket

_JUMP = 8000 * 10
"""Samples. A timestamp further off than this is a new start, not a gap."""


class Recorder:
    """Sound of one leg as 16-bit PCM."""

    __slots__ = ("_origin", "_pcm", "_ssrc")

    def __init__(self) -> None:
        self._pcm = bytearray()
        self._ssrc: int | None = None
        self._origin = 0

    @property
    def pcm(self) -> bytes:
        """All of it so far: little-endian, 8000 Hz, mono."""
        return bytes(self._pcm)

    def receive(self, packet: RtpPacket, codec: Codec) -> None:
        """Take a packet of sound."""
        end = len(self._pcm) // 2
        place = ((packet.timestamp - self._origin + 2**31) & 0xFFFFFFFF) - 2**31
        if packet.ssrc != self._ssrc or abs(place - end) > _JUMP:
            self._ssrc, self._origin, place = packet.ssrc, packet.timestamp - end, end
        sound = codec.decode(packet.payload)
        if place < 0:
            sound, place = sound[-2 * place :], 0
        if place > end:
            self._pcm.extend(bytes(2 * (place - end)))
        self._pcm[2 * place : 2 * place + len(sound)] = sound
