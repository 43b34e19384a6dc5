"""What a leg hears: recordings one after the other, looped music, or nothing.

A `Clip` is cut into frames once per codec and shared by every call that plays it; a `Player` only keeps where it is.
"""

from collections.abc import Sequence

import msgspec

from bridge.media.g711 import FRAME, FRAME_SECONDS, Codec


class Clip:
    """A recording, ready to be sent.

    Args:
        pcm: 16-bit little-endian, 8000 Hz, mono.
    """

    __slots__ = ("_frames", "_pcm")

    def __init__(self, pcm: bytes) -> None:
        self._pcm = pcm
        self._frames: dict[str, tuple[bytes, ...]] = {}

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self._pcm) / 2 / FRAME * FRAME_SECONDS

    def frames(self, codec: Codec) -> tuple[bytes, ...]:
        """Its 20 ms frames; the last is filled up with silence. Encoded at the first call."""
        frames = self._frames.get(codec.name)
        if frames is None:
            sound = codec.encode(self._pcm)
            sound += bytes([codec.silence]) * (-len(sound) % FRAME)
            frames = tuple(sound[at : at + FRAME] for at in range(0, len(sound), FRAME))
            self._frames[codec.name] = frames
        return frames


class PlayEnded(msgspec.Struct, frozen=True):
    """A play is over."""

    play: int
    completed: bool
    heard: float
    """Seconds of it that were taken."""


class Player:
    """What one leg hears next. Every change of what is played reports the play it cut."""

    __slots__ = ("_at", "_clips", "_frames", "_music", "_places", "_play", "_taken", "barge_in")

    def __init__(self) -> None:
        self._clips: list[Clip] = []
        self._frames: Sequence[bytes] = ()
        self._at = 0
        self._play: int | None = None
        self._taken = 0
        self._music: str | None = None
        self._places: dict[str, int] = {}
        self.barge_in = False
        """Whether a key should cut what is being played."""

    @property
    def playing(self) -> bool:
        """Whether there is something to hear."""
        return self._play is not None or self._music is not None

    def play(self, play: int, clips: Sequence[Clip], *, barge_in: bool) -> PlayEnded | None:
        """Play *clips* in order under the number *play*; ends what was played before and returns its end."""
        cut = self.stop()
        self._play, self._clips, self._taken = play, list(reversed(clips)), 0
        self._frames, self._at, self.barge_in = (), 0, barge_in
        return cut

    def play_music(self, name: str, clip: Clip) -> PlayEnded | None:
        """Loop *clip*, from where the music of this name was left; ends a play and returns its end."""
        cut = self.stop()
        self._music, self._clips, self._at = name, [clip], self._places.get(name, 0)
        self._frames = ()
        return cut

    def stop(self) -> PlayEnded | None:
        """Nothing from now on. Returns the end of the play that was cut, or None when none was."""
        if self._music is not None:
            self._places[self._music] = self._at
        cut = None if self._play is None else PlayEnded(self._play, False, self._taken * FRAME_SECONDS)
        self._play = self._music = None
        self._frames, self._clips, self.barge_in = (), [], False
        return cut

    def next_frame(self, codec: Codec) -> bytes | PlayEnded | None:
        """The next 20 ms.

        Returns:
            A frame; or the end of a play that has run out (ask again for what comes now); or None when there is nothing.
        """
        if self._music is not None:
            frames = self._frames = self._frames or self._clips[0].frames(codec)
            if not frames:
                return None
            frame = frames[self._at % len(frames)]
            self._at = (self._at + 1) % len(frames)
            return frame
        if self._play is None:
            return None
        while self._at >= len(self._frames):
            if not self._clips:
                ended = PlayEnded(self._play, True, self._taken * FRAME_SECONDS)
                self._play, self._frames, self.barge_in = None, (), False
                return ended
            self._frames, self._at = self._clips.pop().frames(codec), 0
        frame = self._frames[self._at]
        self._at += 1
        self._taken += 1
        return frame
