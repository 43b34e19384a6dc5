"""Players, recorders and WAV files."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media.g711 import PCMA, PCMU
from bridge.media.player import Clip, PlayEnded, Player
from bridge.media.recorder import Recorder
from bridge.media.rtp import RtpPacket
from bridge.media.wav import BadWavError, format_wav, parse_wav


def clip(*codes: int) -> Clip:
    """A clip of one frame for each µ-law code."""
    return Clip(PCMU.decode(b"".join(bytes([code]) * 160 for code in codes)))


def heard(player: Player, count: int) -> list[int | PlayEnded | None]:
    taken = [player.next_frame(PCMU) for _ in range(count)]
    return [frame[0] if isinstance(frame, bytes) else frame for frame in taken]


# --- players ---------------------------------------------------------------------------------------------------------


def test_prompts_follow_each_other_and_the_end_is_told_once() -> None:
    """Without a gap between them."""
    player = Player()
    assert player.play(1, [clip(1, 2), clip(3)], barge_in=True) is None
    assert (player.playing, player.barge_in) == (True, True)

    assert heard(player, 5) == [1, 2, 3, PlayEnded(1, True, 3 * 0.02), None]
    assert (player.playing, player.barge_in) == (False, False)


def test_a_new_play_cuts_the_old_one() -> None:
    """Which is told how much of it was heard."""
    player = Player()
    player.play(1, [clip(1, 2, 3)], barge_in=False)
    heard(player, 2)

    assert player.play(2, [clip(9)], barge_in=False) == PlayEnded(1, False, 0.04)
    assert heard(player, 2) == [9, PlayEnded(2, True, 0.02)]
    assert player.stop() is None


def test_an_empty_play_is_over_at_once() -> None:
    """All its recordings were missing."""
    player = Player()
    player.play(1, [], barge_in=True)

    assert heard(player, 2) == [PlayEnded(1, True, 0.0), None]


def test_music_goes_round_and_goes_on_where_it_was_left() -> None:
    """A prompt in between does not start the tune again."""
    player, tune = Player(), clip(1, 2, 3)
    player.play_music("tune", tune)
    assert heard(player, 4) == [1, 2, 3, 1]
    assert player.play(1, [clip(9)], barge_in=False) is None
    heard(player, 2)
    player.play_music("tune", tune)
    assert heard(player, 2) == [2, 3]
    player.play_music("other", clip(7))
    assert heard(player, 1) == [7]
    assert player.stop() is None
    player.play_music("tune", tune)

    assert heard(player, 1) == [1]


def test_music_without_sound_is_silence() -> None:
    """An empty file does not stop the beat."""
    player = Player()
    player.play_music("none", Clip(b""))

    assert heard(player, 2) == [None, None]


def test_a_clip_is_encoded_once_for_each_codec_and_filled_up() -> None:
    """Every call that plays it shares the frames."""
    short = Clip(bytes(2 * 200))

    assert short.frames(PCMU) is short.frames(PCMU)
    assert [frame for frame in short.frames(PCMA)] == [b"\xd5" * 160] * 2  # noqa: C416  bytes against bytes
    assert short.seconds == pytest.approx(0.025)


def test_the_law_may_change_in_the_middle_of_a_clip() -> None:
    """A re-INVITE changes the codec; the sound goes on at the same place."""
    prompt, music = Player(), Player()
    prompt.play(1, [clip(1, 2, 3)], barge_in=False)
    music.play_music("m", clip(1, 2, 3))
    for player in (prompt, music):
        player.next_frame(PCMU)

        assert player.next_frame(PCMA) == clip(1, 2, 3).frames(PCMA)[1]
        assert player.next_frame(PCMU) == bytes([3]) * 160


# --- recorders -------------------------------------------------------------------------------------------------------


def packet(timestamp: int, code: int, ssrc: int = 1) -> RtpPacket:
    return RtpPacket(0, False, 0, timestamp & 0xFFFFFFFF, ssrc, bytes([code]) * 160)


def frames(recorder: Recorder) -> list[int]:
    sound = PCMU.encode(recorder.pcm)
    assert len(sound) % 160 == 0
    return [sound[at] for at in range(0, len(sound), 160)]


@given(st.integers(0, 0xFFFFFFFF), st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(start: int, dice: random.Random) -> None:
    """Each packet finds the place of its timestamp, also around the wrap."""
    rest = [packet(start + 160 * n, n) for n in range(1, 20)]
    shuffled = [*rest, *dice.sample(rest, 5)]
    dice.shuffle(shuffled)
    recorder = Recorder()
    for one in [packet(start, 0), *shuffled]:
        recorder.receive(one, PCMU)

    assert frames(recorder) == list(range(20))


def test_a_lost_packet_leaves_silence() -> None:
    """The rest stays at its time."""
    recorder = Recorder()
    recorder.receive(packet(0, 1), PCMU)
    recorder.receive(packet(320, 3), PCMU)

    assert frames(recorder) == [1, 0xFF, 3]


def test_a_new_source_or_a_jump_goes_on_at_the_end() -> None:
    """Its timestamps have nothing to do with the ones before."""
    recorder = Recorder()
    for one in (
        packet(0, 1),
        packet(99, 2, ssrc=2),
        packet(99 + 8000 * 20, 3, ssrc=2),
        packet(99 + 8000 * 20 - 160 * 9, 4, ssrc=2),
    ):
        recorder.receive(one, PCMU)

    assert frames(recorder) == [1, 2, 3]


# --- files -----------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=100).filter(lambda pcm: len(pcm) % 2 == 0), st.binary(max_size=5))
def test_reading_a_file_undoes_writing(pcm: bytes, more: bytes) -> None:
    """Also with something behind the samples."""
    assert parse_wav(format_wav(pcm) + more) == pcm


def wav(tag: int, channels: int, rate: int, bits: int, sound: bytes, tail: bytes = b"") -> bytes:
    head = struct.pack("<HHIIHH", tag, channels, rate, rate, 1, bits) + tail
    extra = b"LIST" + struct.pack("<I", 3) + b"abc\x00"
    return (
        b"RIFF....WAVE" + extra + b"fmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(sound)) + sound
    )


def test_companded_and_extensible_files_are_read() -> None:
    """µ-law, A-law, and PCM that hides its tag in the extension."""
    assert parse_wav(wav(7, 1, 8000, 8, b"\x80")) == PCMU.decode(b"\x80")
    assert parse_wav(wav(6, 1, 8000, 8, b"\xaa")) == PCMA.decode(b"\xaa")
    assert parse_wav(wav(0xFFFE, 1, 8000, 16, b"abc", bytes(8) + b"\x01\x00" + bytes(14))) == b"ab"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF....AVI ",
        b"RIFF....WAVE",
        b"RIFF....WAVEdata\x02\x00\x00\x00ab",
        wav(1, 2, 8000, 16, b""),
        wav(1, 1, 44100, 16, b""),
        wav(1, 1, 8000, 8, b""),
        wav(3, 1, 8000, 32, b""),
    ],
)
def test_what_cannot_be_played_is_refused(data: bytes) -> None:
    """With words that name what it is."""
    with pytest.raises(BadWavError):
        parse_wav(data)


@given(st.binary(max_size=80))
def test_no_file_breaks_the_reader(data: bytes) -> None:
    """Any bytes are read or refused."""
    try:
        parse_wav(b"RIFF....WAVE" + data)
    except BadWavError:
        return
