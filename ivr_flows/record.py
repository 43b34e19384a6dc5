"""Make the recordings: `python -m ivr_flows.record`. Needs espeak-ng and sox; the server needs neither.

Every recorded piece is written down in `recordings.json` with a hash of its words and of its audio, so that a test sees
when words and audio drift apart. Only what has changed is recorded again. A voice artist's files can take the place of any
of these: name them under `audio:` of the prompt.
"""

import array
import hashlib
import json
import math
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ivr_flows.loader import PROMPTS, number_words, recordings
from ivr_flows.model import CatalogueFile, WordsFile
from ivr_flows.reader import Document
from ivr_flows.shapes import Part

RATE = 8000
"""Samples a second: narrow-band telephony (ITU-T G.711)."""
VOICES: Mapping[str, tuple[str, ...]] = {
    "en": ("-v", "en-us", "-s", "150", "-p", "45"),
    "fr": ("-v", "fr-fr", "-s", "150", "-p", "45"),
    "es": ("-v", "es-419", "-s", "150", "-p", "45"),
}
MANIFEST = "recordings.json"


def wanted(prompts: Path) -> dict[str, tuple[str, str]]:
    """Language and words of everything that is to be recorded, by its path below the prompts folder."""
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(prompts.glob("words/*.yaml")):
        words = _read(WordsFile, path)
        assert isinstance(words, WordsFile)
        found |= {audio: (words.language, said) for audio, said in number_words(words)}
    for path in sorted(prompts.glob("*/??.yaml")):
        if path.parent.name == "words":
            continue
        file = _read(CatalogueFile, path)
        assert isinstance(file, CatalogueFile)
        for key, entry in file.prompts.items():
            if entry.say and entry.audio is None:
                pieces = recordings(path.parent.name, file.language, key, entry.say)
                found |= {audio: (file.language, said) for audio, said in pieces if not audio.startswith("{")}
    return found


def _read(kind: type[Part], path: Path) -> Part:
    document = Document(str(path))
    part = document.read(kind, path.read_text())
    if not isinstance(part, Part):
        raise SystemExit("\n".join(map(str, document.problems)))
    return part


def hash_of_words(language: str, words: str) -> str:
    """What the manifest keeps of the words and the voice they are said in."""
    return hashlib.sha256(" ".join((*VOICES[language], words)).encode()).hexdigest()[:16]


def hash_of_audio(path: Path) -> str:
    """What the manifest keeps of a recording."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def record(prompts: Path, speak: Callable[[str, str, Path], None]) -> list[str]:
    """Record what is new or has changed, remove what is no longer said; paths of what was recorded.

    Args:
        prompts: The prompts folder.
        speak: Says words (second) in a language (first) into a file (third).
    """
    manifest_file = prompts / MANIFEST
    manifest: dict[str, list[str]] = json.loads(manifest_file.read_text()) if manifest_file.exists() else {}
    kept: dict[str, list[str]] = {}
    made: list[str] = []
    todo = wanted(prompts)
    for audio, (language, words) in todo.items():
        path, words_hash = prompts / audio, hash_of_words(language, words)
        old = manifest.get(audio)
        if old is None or old[0] != words_hash or not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            speak(language, words, path)
            made.append(audio)
        kept[audio] = [words_hash, hash_of_audio(path)]
    for audio in manifest.keys() - todo.keys():
        (prompts / audio).unlink(missing_ok=True)
    manifest_file.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")
    return made


def speak(language: str, words: str, path: Path) -> None:
    """Say *words* into *path*: 8 kHz, 16 bits, mono, without the silence around them."""
    trim = ("silence", "1", "0.02", "0.4%")
    with tempfile.NamedTemporaryFile(suffix=".wav") as spoken:
        _run("espeak-ng", *VOICES[language], "-w", spoken.name, words)
        _run(
            "sox", "-D", spoken.name, "-r", str(RATE), "-b", "16", "-c", "1", str(path),
            "highpass", "120", *trim, "reverse", *trim, "reverse", "gain", "-n", "-5", "pad", "0.04", "0.12",
        )  # fmt: skip


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - fixed programs, our own words


# --- music -----------------------------------------------------------------------------------------------------------------

_BEAT = 0.75
"""Seconds."""
_CHORDS = (
    (196.0, 246.94, 293.66, 392.0),
    (164.81, 196.0, 246.94, 329.63),
    (130.81, 164.81, 196.0, 261.63),
    (146.83, 185.0, 220.0, 293.66),
)
"""G, E minor, C, D: Hz, lowest first."""
_ORDER = (0, 2, 1, 3, 2, 1, 3, 2)


def compose() -> list[int]:
    """A quiet broken-chord loop of 24 seconds that joins its own end; ours, so nobody's licence is needed."""
    length = int(len(_CHORDS) * len(_ORDER) * _BEAT * RATE)
    mixed = [0.0] * length
    for bar, chord in enumerate(_CHORDS):
        for beat, tone in enumerate(_ORDER):
            start = int((bar * len(_ORDER) + beat) * _BEAT * RATE)
            _pluck(mixed, start, chord[tone] * 2, 0.34 if beat % 4 == 0 else 0.22)
        _pluck(mixed, int(bar * len(_ORDER) * _BEAT * RATE), chord[0], 0.4)
    loudest = max(abs(sample) for sample in mixed)
    return [int(6500 * sample / loudest) for sample in mixed]


def _pluck(mixed: list[float], start: int, frequency: float, loudness: float) -> None:
    """Add one soft note; what rings on past the end is heard at the beginning."""
    for at in range(int(2.4 * RATE)):
        time = at / RATE
        envelope = min(1.0, time / 0.02) * math.exp(-2.1 * time) * min(1.0, (2.4 - time) / 0.2)
        angle = 2 * math.pi * frequency * time
        tone = math.sin(angle) + 0.25 * math.sin(2 * angle) * math.exp(-3 * time) + 0.06 * math.sin(3 * angle)
        mixed[(start + at) % len(mixed)] += loudness * envelope * tone


def write_music(path: Path) -> None:
    """Write the loop to *path*."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        samples = array.array("h", compose())
        if sys.byteorder == "big":
            samples.byteswap()
        file.writeframes(samples.tobytes())


def main(arguments: Iterable[str] = ()) -> None:
    """Record everything below the prompts folder named, or the package's."""
    prompts = next((Path(argument) for argument in arguments), PROMPTS)
    made = record(prompts, speak)
    if not (prompts / "music" / "calm.wav").exists():
        write_music(prompts / "music" / "calm.wav")
    sys.stdout.write(f"{len(made)} recorded below {prompts}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
