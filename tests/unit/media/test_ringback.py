"""The tone of a phone that rings elsewhere."""

import pytest

from bridge.media.g711 import PCMU
from bridge.media.ringback import OFF, ON, TONES, ringback
from bridge.telephony.softphone import tone_share


def test_it_rings_for_two_seconds_and_is_silent_for_four() -> None:
    """Both tones as loud as each other, and nothing else."""
    clip = ringback()
    sound = PCMU.decode(b"".join(clip.frames(PCMU)))
    ring, pause = sound[: int(16_000 * ON)], sound[int(16_000 * ON) :]
    assert clip.seconds == pytest.approx(ON + OFF)
    assert [round(tone_share(ring, tone), 1) for tone in TONES] == [0.5, 0.5]
    assert not any(pause)
