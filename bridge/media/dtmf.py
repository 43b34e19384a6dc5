"""Keys as telephone events in RTP (RFC 4733): a receiver that reports each key once and a sender.

A key is told by its RTP timestamp, never by the marker bit or the end bit, because any one packet of it may be lost.
"""

import struct
from collections import OrderedDict, deque

import msgspec

from bridge.media.rtp import RtpPacket

KEYS = "0123456789*#ABCD"
"""Event codes 0 to 15 (RFC 4733 section 3.2)."""
_EVENT = struct.Struct("!BBH")
_END = 0x80
_FORGET = 0.5
"""Seconds after a key's end when its timestamp may be used again: senders that replay a recording do that."""
_JITTERY_STAMP = 400
"""Ticks. Some gateways let the timestamp creep during one key; a real next key is at least 80 ms (640 ticks) later."""


class _Heard(msgspec.Struct):
    event: int
    last: float
    ended: bool


class DtmfReceiver:
    """Turns telephone-event packets of one leg into keys."""

    __slots__ = ("_heard", "_ssrc")

    def __init__(self) -> None:
        self._heard: OrderedDict[int, _Heard] = OrderedDict()
        self._ssrc: int | None = None

    def receive(self, packet: RtpPacket, *, now: float) -> str | None:
        """Take one packet of the negotiated event type.

        Args:
            packet: Its payload is the event block; later blocks are ignored.
            now: Seconds, any steady clock.

        Returns:
            The key when this is the first packet of it that got here, else None. At the key's beginning, not its end.
        """
        if len(packet.payload) < 4:
            return None
        event, flags, _ = _EVENT.unpack_from(packet.payload)
        if event >= len(KEYS):
            return None
        if packet.ssrc != self._ssrc:
            self._ssrc = packet.ssrc
            self._heard.clear()
        ended = bool(flags & _END)
        known = self._heard.get(packet.timestamp)
        if known is not None and not (known.ended and now - known.last > _FORGET):
            if not known.ended:
                known.last = now
            known.ended |= ended
            return None
        goes_on = self._continues(packet.timestamp, event)
        self._heard[packet.timestamp] = _Heard(event, now, ended)
        self._heard.move_to_end(packet.timestamp)
        while len(self._heard) > 16:
            self._heard.popitem(last=False)
        return None if goes_on else KEYS[event]

    def _continues(self, timestamp: int, event: int) -> bool:
        """Whether this new timestamp is more of the key before: a later segment of a long one, or a creeping stamp."""
        if not self._heard:
            return False
        before = next(reversed(self._heard))
        heard = self._heard[before]
        ahead = (timestamp - before) & 0xFFFFFFFF
        # RFC 4733 section 2.5.1.3: a key longer than 0xFFFF ticks goes on in a segment that begins there.
        return heard.event == event and not heard.ended and (ahead < _JITTERY_STAMP or ahead == 0xFFFF)


class DtmfSender:
    """Keys waiting to be sent, one 20 ms step at a time.

    Args:
        step: Ticks between two packets.
        tone: Ticks a key is held; 100 ms when not given.
        gap: Ticks of silence after it.
    """

    __slots__ = ("_duration", "_event", "_gap", "_queue", "_rest", "_step", "_tone", "started")

    def __init__(self, *, step: int = 160, tone: int = 800, gap: int = 800) -> None:
        self._queue: deque[int] = deque()
        self._step, self._tone, self._gap = step, tone, gap
        self._event: int | None = None
        self._duration = 0
        self._rest = 0
        self.started = 0
        """RTP timestamp of the key being sent."""

    @property
    def busy(self) -> bool:
        """Whether a key is being sent or waits."""
        return self._event is not None or bool(self._queue) or self._rest > 0

    def press(self, keys: str) -> None:
        """Add keys.

        Raises:
            ValueError: a character is no key. Nothing was added.
        """
        self._queue.extend([KEYS.index(key) for key in keys.upper()])

    def step(self, timestamp: int) -> list[tuple[bytes, bool]]:
        """The event payloads of the next 20 ms, each with its marker bit; empty in a pause, when sound may be sent.

        Args:
            timestamp: RTP timestamp of this step's sound.
        """
        if self._event is None:
            if self._rest > 0:
                self._rest -= self._step
                return []
            if not self._queue:
                return []
            self._event, self._duration, self.started = self._queue.popleft(), 0, timestamp
        first = self._duration == 0
        self._duration += self._step
        if self._duration < self._tone:
            return [(_EVENT.pack(self._event, 10, self._duration), first)]
        # RFC 4733 section 2.5.1.4: the end is sent three times.
        last = _EVENT.pack(self._event, _END | 10, min(self._duration, 0xFFFF))
        self._event, self._rest = None, self._gap
        return [(last, first), (last, False), (last, False)]
