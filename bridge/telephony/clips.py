"""Recordings from the disk: read and encoded once, shared by every call."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog

from bridge.media.g711 import CODECS, Codec
from bridge.media.player import Clip
from bridge.media.wav import BadWavError, parse_wav

log = structlog.get_logger()


class ClipLibrary:
    """WAV files below some folders, found by their relative path.

    Args:
        folders: Searched in this order.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = [Path(folder).resolve() for folder in folders]
        self._clips: dict[str, Clip] = {}

    def get(self, name: str) -> Clip | None:
        """The recording at *name* (`.wav` may be left out); None, and a line in the log, when it cannot be played."""
        clip = self._clips.get(name)
        if clip is None:
            clip = self._read(name)
            if clip is not None:
                self._clips[name] = clip
        return clip

    def get_all(self, names: Iterable[str]) -> list[Clip]:
        """Those of *names* that can be played, in order."""
        return [clip for clip in map(self.get, names) if clip is not None]

    def preload(self, codecs: Sequence[Codec] = tuple(CODECS.values())) -> int:
        """Read and encode every file now, so that no call waits for it. Returns how many there are. Takes its time."""
        for folder in reversed(self._folders):
            for path in sorted(folder.rglob("*.wav")):
                clip = self._read(path.relative_to(folder).as_posix())
                if clip is not None:
                    self._clips[path.relative_to(folder).as_posix()] = clip
                    for codec in codecs:
                        clip.frames(codec)
        return len(self._clips)

    def _read(self, name: str) -> Clip | None:
        for folder in self._folders:
            for spelling in (name, f"{name}.wav"):
                path = (folder / spelling).resolve()
                if not path.is_relative_to(folder) or not path.is_file():
                    continue
                try:
                    return Clip(parse_wav(path.read_bytes()))
                except (OSError, BadWavError) as error:
                    log.warning("prompt.unplayable", prompt=name, reason=str(error))
                    return None
        log.warning("prompt.missing", prompt=name)
        return None
