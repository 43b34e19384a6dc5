"""G.711 speech: µ-law and A-law to and from 16-bit PCM, by table (ITU-T G.711).

PCM is little-endian, 8000 samples a second, mono. Every table is made once at import: 64 kB for each direction in, 256
entries for each direction out.
"""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Sequence

import msgspec

SAMPLE_RATE = 8000
FRAME = 160
"""Samples, and with G.711 also bytes, of a 20 ms frame."""
FRAME_SECONDS = 0.02


def _ulaw_value(code: int) -> int:
    """Expand one µ-law byte (G.711 table 2): complement, sign, three bits of exponent, four of mantissa, bias 33 << 2."""
    code = ~code & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def _alaw_value(code: int) -> int:
    """Expand one A-law byte (G.711 table 1): even bits inverted, sign, exponent, mantissa."""
    code ^= 0x55
    exponent = (code & 0x70) >> 4
    magnitude = ((code & 0x0F) << 4) + 8
    if exponent:
        magnitude = (magnitude + 0x100) << (exponent - 1)
    return magnitude if code & 0x80 else -magnitude


def _encoder(values: Sequence[int]) -> bytes:
    """The nearest code for each 16-bit sample, in the order of the sample read as unsigned."""
    # µ-law has two zeros; the positive one, 0xFF, is the idle pattern and comes first.
    codes = sorted(range(256), key=lambda code: (values[code], -code))
    levels = [values[code] for code in codes]
    table = bytearray(65536)
    for sample in range(-32768, 32768):
        at = bisect_left(levels, sample)
        if at == 256 or (at and sample - levels[at - 1] < levels[at] - sample):
            at -= 1
        table[sample & 0xFFFF] = codes[at]
    return bytes(table)


_ULAW = [_ulaw_value(code) for code in range(256)]
_ALAW = [_alaw_value(code) for code in range(256)]


class Codec(msgspec.Struct, frozen=True):
    """One of the two laws."""

    name: str
    """Encoding name in SDP (RFC 3551 section 6)."""
    payload_type: int
    """Static RTP payload type."""
    silence: int
    """The byte that stands for no sound."""
    encoder: bytes
    decoder: tuple[int, ...]

    def encode(self, pcm: bytes) -> bytes:
        """16-bit little-endian PCM to one byte a sample. An odd last byte is dropped."""
        samples = array("H", pcm[: len(pcm) & ~1])
        if sys.byteorder == "big":
            samples.byteswap()
        return bytes(map(self.encoder.__getitem__, samples))

    def decode(self, payload: bytes) -> bytes:
        """One byte a sample to 16-bit little-endian PCM."""
        samples = array("h", map(self.decoder.__getitem__, payload))
        if sys.byteorder == "big":
            samples.byteswap()
        return samples.tobytes()


PCMU = Codec("PCMU", 0, 0xFF, _encoder(_ULAW), tuple(_ULAW))
PCMA = Codec("PCMA", 8, 0xD5, _encoder(_ALAW), tuple(_ALAW))
CODECS = {codec.name: codec for codec in (PCMU, PCMA)}
BY_PAYLOAD_TYPE = {codec.payload_type: codec for codec in (PCMU, PCMA)}

TRANSCODE: dict[tuple[str, str], bytes] = {
    (source.name, target.name): bytes(target.encoder[value & 0xFFFF] for value in source.decoder)
    for source in (PCMU, PCMA)
    for target in (PCMU, PCMA)
    if source is not target
}
"""`payload.translate(TRANSCODE[source, target])` turns one law into the other without PCM in between."""
