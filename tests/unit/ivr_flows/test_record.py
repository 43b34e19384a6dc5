"""Recording prompts: only what has changed, and nothing left behind."""

import json
from pathlib import Path

import pytest

from ivr_flows.record import MANIFEST, record, write_music

WORDS = """\
language: fr
minute: 1 minute
minutes: "{n} minutes"
spoken: {minutes_1: une minute}
"""
CATALOGUE = """\
language: fr
prompts:
  a: Bonjour.
  b: "Environ {n:minutes} encore."
  c: {text: Salut}
  d: {say: Moi., audio: [own.wav]}
"""


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "fr.yaml").write_text(WORDS)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "fr.yaml").write_text(CATALOGUE)
    return tmp_path


class Voice:
    """Writes down what it is to say instead of saying it."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def speak(self, language: str, words: str, path: Path) -> None:
        self.said.append((language, words))
        path.write_text(words)


def test_everything_that_is_spoken_is_recorded_once(prompts: Path) -> None:
    """Pieces between placeholders, numbers, minutes; not what is only written, not one's own recordings."""
    voice = Voice()
    made = record(prompts, voice.speak)
    assert {"p/fr/a.wav", "p/fr/b-1.wav", "p/fr/b-2.wav"} == {path for path in made if path.startswith("p/")}
    assert len(made) == 3 + 2 * 61
    assert {("fr", "Bonjour."), ("fr", "Environ"), ("fr", "une minute"), ("fr", "2 minutes"), ("fr", "60")} <= set(voice.said)
    assert record(prompts, voice.speak) == []


def test_only_what_has_changed_is_recorded_again_and_what_is_gone_is_removed(prompts: Path) -> None:
    """A person's afternoon of listening is not to be done twice."""
    record(prompts, Voice().speak)
    catalogue = prompts / "p" / "fr.yaml"
    catalogue.write_text(
        catalogue.read_text().replace("a: Bonjour.", "a: Bonsoir.").replace("Environ {n:minutes} encore.", "Bientôt.")
    )
    voice = Voice()
    assert record(prompts, voice.speak) == ["p/fr/a.wav", "p/fr/b.wav"]
    assert voice.said == [("fr", "Bonsoir."), ("fr", "Bientôt.")]
    assert sorted(path.name for path in (prompts / "p" / "fr").iterdir()) == ["a.wav", "b.wav"]
    assert "p/fr/b-1.wav" not in json.loads((prompts / MANIFEST).read_text())


def test_a_catalogue_that_cannot_be_read_stops_the_recording(prompts: Path) -> None:
    """With the place of the fault."""
    (prompts / "p" / "fr.yaml").write_text("langauge: fr\n")
    with pytest.raises(SystemExit, match=r"fr\.yaml:1:1: F003"):
        record(prompts, Voice().speak)


def test_the_music_is_written_as_a_recording(tmp_path: Path) -> None:
    """24 seconds of 8 kHz, 16 bits, mono."""
    write_music(tmp_path / "music" / "calm.wav")
    assert (tmp_path / "music" / "calm.wav").stat().st_size == 44 + 24 * 8000 * 2
