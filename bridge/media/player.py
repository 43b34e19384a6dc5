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

    __slots__ = ("_at", "_clip", "_music", "_places", "_play", "_taken", "_waiting", "barge_in")

    def __init__(self) -> None:
        self._clip: Clip | None = None
        self._at = 0
        """Next frame of the clip."""
        self._waiting: list[Clip] = []
        """Clips after this one, the next one last."""
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
        self._play, self._waiting, self._taken, self.barge_in = play, list(reversed(clips)), 0, barge_in
        return cut

    def play_music(self, name: str, clip: Clip) -> PlayEnded | None:
        """Loop *clip*, from where the music of this name was left; ends a play and returns its end."""
        cut = self.stop()
        self._music, self._clip, self._at = name, clip, self._places.get(name, 0)
        return cut

    def stop(self) -> PlayEnded | None:
        """Nothing from now on. Returns the end of the play that was cut, or None when none was."""
        if self._music is not None:
            self._places[self._music] = self._at
        cut = None if self._play is None else PlayEnded(self._play, False, self._taken * FRAME_SECONDS)
        self._play = self._music = self._clip = None
        self._waiting, self.barge_in = [], False
        return cut

    def next_frame(self, codec: Codec) -> bytes | PlayEnded | None:
        """The next 20 ms, in *codec*, which may change from one frame to the next.

        Returns:
            A frame; or the end of a play that has run out (ask again for what comes now); or None when there is nothing.
        """
        if self._music is not None:
            return self._next_of_music(codec)
        if self._play is None:
            return None
        frames = () if self._clip is None else self._clip.frames(codec)
        while self._clip is None or self._at >= len(frames):
            if not self._waiting:
                ended = PlayEnded(self._play, True, self._taken * FRAME_SECONDS)
                self._play, self._clip, self.barge_in = None, None, False
                return ended
            self._clip, self._at = self._waiting.pop(), 0
            frames = self._clip.frames(codec)
        frame = frames[self._at]
        self._at += 1
        self._taken += 1
        return frame

    def _next_of_music(self, codec: Codec) -> bytes | None:
        frames = () if self._clip is None else self._clip.frames(codec)
        if not frames:
            return None
        frame = frames[self._at % len(frames)]
        self._at = (self._at + 1) % len(frames)
        return frame
