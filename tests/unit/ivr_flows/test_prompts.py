"""The prompts that ship: complete in every language, and recorded as they are written."""

import json
import wave
from itertools import pairwise
from pathlib import Path

import pytest

from ivr_flows.loader import FLOWS, PROMPTS, load_flow
from ivr_flows.model import LARGEST, fragments
from ivr_flows.record import MANIFEST, RATE, compose, hash_of_audio, hash_of_words, wanted

FLOW = load_flow(FLOWS / "support.yaml")


def test_words_and_recordings_have_not_drifted_apart() -> None:
    """If this fails, run `python -m ivr_flows.record`."""
    manifest = json.loads((PROMPTS / MANIFEST).read_text())
    todo = wanted(PROMPTS)
    hashes = {audio: [hash_of_words(*said), hash_of_audio(PROMPTS / audio)] for audio, said in todo.items()}
    assert manifest == hashes


def test_no_recording_is_left_over() -> None:
    """Everything on disk is in use."""
    kept = {str(path.relative_to(PROMPTS)) for folder in ("support", "words") for path in (PROMPTS / folder).rglob("*.wav")}
    assert kept == set(wanted(PROMPTS))


def test_every_recording_is_narrow_band_and_heard() -> None:
    """8 kHz, 16 bits, mono, longer than a syllable and shorter than patience."""
    for path in PROMPTS.rglob("*.wav"):
        with wave.open(str(path)) as file:
            assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (RATE, 2, 1), path
            assert 0.2 < file.getnframes() / RATE < 25, path


@pytest.mark.parametrize("language", FLOW.languages)
def test_every_language_has_every_prompt_and_every_number(language: str) -> None:
    """Nobody hears another language in the middle of a sentence."""
    catalogue = FLOW.catalogues[language]
    assert set(catalogue.prompts) == set(FLOW.catalogues[FLOW.default_language].prompts)
    assert {preset.id for preset in FLOW.presets if language in preset.text and language in preset.title} == {
        preset.id for preset in FLOW.presets
    }
    for number in range(LARGEST + 1):
        for path in (catalogue.number_audio, catalogue.minutes_audio):
            assert (PROMPTS / path.replace("{n}", str(number))).is_file()


def test_minutes_agree_with_their_number_in_every_language() -> None:
    """One minute is not "1 minutes"."""
    catalogues = FLOW.catalogues.items()
    said = {name: [each.words("{n:minutes}", {"n": float(n)}.get) for n in (1, 5)] for name, each in catalogues}
    assert said == {"en": ["1 minute", "5 minutes"], "fr": ["1 minute", "5 minutes"], "es": ["1 minuto", "5 minutos"]}


def test_a_text_is_filled_in() -> None:
    """What is not known leaves nothing; a missing language falls back to the default one."""
    assert FLOW.text("help_reply", "fr", {"brand": "Exemple", "called": "+15550100200"}).startswith("Exemple : assistance")
    assert FLOW.text("help_reply", "de", {"called": "+15550100200"}).startswith(": customer support")
    with pytest.raises(KeyError):
        FLOW.text("nothing", "en", {})


def test_a_number_without_a_recording_is_left_out() -> None:
    """Nothing wrong is said instead."""
    prompt, catalogue = FLOW.prompt("queue_position", "en")
    assert len(catalogue.recordings(prompt, {"position": 61.0}.get)) == 2
    assert len(catalogue.recordings(prompt, {"position": 60.0}.get)) == 3
    assert len(catalogue.recordings(prompt, {"position": "x"}.get)) == 2


def test_spoken_words_are_cut_at_their_placeholders() -> None:
    """Punctuation alone is not recorded."""
    assert fragments("About {low:number} to {high:minutes}.") == ("About", "{low:number}", "to", "{high:minutes}")
    assert fragments("Hello.") == ("Hello.",)


def test_the_music_is_quiet_and_joins_its_own_end() -> None:
    """No click where the loop begins again; well below a voice."""
    samples = compose()
    steps = [abs(later - earlier) for earlier, later in pairwise(samples)]
    assert abs(samples[0] - samples[-1]) <= max(steps)
    assert max(map(abs, samples)) <= 6500
    with wave.open(str(PROMPTS / "music" / "calm.wav")) as file:
        assert file.getnframes() == len(samples)


def test_the_flow_names_what_it_needs() -> None:
    """Facts are gathered for these."""
    assert FLOW.queues_named() == {"support", "support_sms"}
    assert FLOW.hours_named() == {"support_hours"}
    assert Path(FLOWS / "support.yaml").exists()
