"""What a caller hears while the other phone rings, for lines that do not send it themselves."""

import math
from array import array
from functools import cache
from typing import Final

from bridge.media.g711 import SAMPLE_RATE
from bridge.media.player import Clip

TONES: Final = (440.0, 480.0)
"""Hertz; with the cadence below the North American ringback tone (ITU-T E.180 supplement 2)."""
ON: Final = 2.0
"""Seconds."""
OFF: Final = 4.0
"""Seconds."""
_LEVEL: Final = 2600
"""Of each tone; 32767 is full scale."""


@cache
def ringback() -> Clip:
    """One ring and the pause after it, to be looped."""
    step = 2 * math.pi / SAMPLE_RATE
    ring = array("h", (round(_LEVEL * sum(math.sin(tone * step * at) for tone in TONES)) for at in range(int(ON * SAMPLE_RATE))))
    return Clip(ring.tobytes() + bytes(2 * int(OFF * SAMPLE_RATE)))
