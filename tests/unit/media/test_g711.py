"""G.711: the laws of ITU-T G.711 and what must hold of any pair of tables."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media.g711 import CODECS, PCMA, PCMU, TRANSCODE, Codec

BOTH = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


def test_known_values_of_the_standard() -> None:
    """The ends of both scales and silence."""
    assert [PCMU.decoder[code] for code in (0x00, 0x7F, 0x80, 0xFF)] == [-32124, 0, 32124, 0]
    assert [PCMA.decoder[code] for code in (0x2A, 0x55, 0xAA, 0xD5)] == [-32256, -8, 32256, 8]
    assert PCMU.encode(bytes(4)) == b"\xff\xff"
    assert PCMA.encode(bytes(4)) == b"\xd5\xd5"


@BOTH
def test_a_code_survives_decoding_and_encoding(codec: Codec) -> None:
    """All 256, but for the second zero of the µ-law."""
    codes = bytes(code for code in range(256) if (codec, code) != (PCMU, 0x7F))

    assert codec.encode(codec.decode(codes)) == codes


@BOTH
@given(st.integers(-32768, 32767))
def test_a_sample_comes_back_near(codec: Codec, sample: int) -> None:
    """Half a step of its segment at most; beyond the scale it is clipped."""
    (back,) = array("h", codec.decode(codec.encode(sample.to_bytes(2, "little", signed=True))))

    assert abs(back - sample) <= max(16, abs(sample) / 16, 652 if abs(sample) > 32124 else 0)


@BOTH
def test_an_odd_byte_is_dropped(codec: Codec) -> None:
    """Half a sample is none."""
    assert len(codec.encode(bytes(5))) == 2


@given(st.binary(max_size=100))
def test_transcoding_is_decoding_and_encoding(sound: bytes) -> None:
    """One table look-up gives the same as the way over PCM."""
    assert sound.translate(TRANSCODE["PCMU", "PCMA"]) == PCMA.encode(PCMU.decode(sound))
    assert sound.translate(TRANSCODE["PCMA", "PCMU"]) == PCMU.encode(PCMA.decode(sound))
