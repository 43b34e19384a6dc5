"""WAV: 16-bit PCM, mono, 8000 samples a second, from bytes and to bytes."""

import struct

from bridge.media.g711 import BY_PAYLOAD_TYPE, SAMPLE_RATE

_FORMAT = struct.Struct("<HHIIHH")
_G711_TAGS = {6: 8, 7: 0}
"""Format tags of A-law and µ-law files to RTP payload types."""


class BadWavError(ValueError):
    """Not a WAV file of a kind that can be played."""


def parse_wav(data: bytes) -> bytes:
    """The samples of a file as 16-bit little-endian PCM.

    Raises:
        BadWavError: not RIFF/WAVE, or not mono at 8000 Hz in 16-bit PCM, µ-law or A-law. The message names what it is.
    """
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise BadWavError("not a WAV file")
    at, tag = 12, None
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        chunk = data[at + 8 : at + 8 + size]
        if name == b"fmt " and len(chunk) >= 16:
            tag = _format_tag(chunk)
        elif name == b"data":
            if tag is None:
                raise BadWavError("samples before the format")
            return chunk[: len(chunk) & ~1] if tag == 1 else BY_PAYLOAD_TYPE[_G711_TAGS[tag]].decode(chunk)
        at += 8 + size + (size & 1)
    raise BadWavError("no samples")


def _format_tag(chunk: bytes) -> int:
    tag, channels, rate, _, _, bits = _FORMAT.unpack_from(chunk)
    if tag == 0xFFFE and len(chunk) >= 26:  # WAVE_FORMAT_EXTENSIBLE keeps the tag in its sub-format
        tag = int.from_bytes(chunk[24:26], "little")
    playable = (tag == 1 and bits == 16) or (tag in _G711_TAGS and bits == 8)
    if channels != 1 or rate != SAMPLE_RATE or not playable:
        raise BadWavError(f"format {tag}, {channels} channels, {rate} Hz, {bits} bits; needs 16-bit PCM, 1 channel, 8000 Hz")
    return int(tag)


def format_wav(pcm: bytes) -> bytes:
    """A WAV file around 16-bit little-endian PCM."""
    header = _FORMAT.pack(1, 1, SAMPLE_RATE, SAMPLE_RATE * 2, 2, 16)
    return b"".join(
        (
            b"RIFF", (36 + len(pcm)).to_bytes(4, "little"), b"WAVEfmt ", (16).to_bytes(4, "little"), header,
            b"data", len(pcm).to_bytes(4, "little"), pcm,
        )
    )  # fmt: skip
