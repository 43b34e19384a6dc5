"""Skills and their levels, as settings and flows write them.

An agent *has* `billing` or `billing=7`, a queue or a flow *asks for* `billing` or `billing>=4`. Every string means something:
what has no level at its end is a name, so that a typing error makes a skill nobody has, and not an error during a call.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

USUAL_LEVEL = 5
"""Of an agent's skill that is written without a level; levels go from 1 to 9."""

_HAS = re.compile(r"(.+)=([1-9])")
_ASKS = re.compile(r"(.+)>=([1-9])")


class Wanted(NamedTuple):
    """One skill that is asked for."""

    skill: str
    level: int
    """The least that is enough; 1 for any."""


def levels(skills: Iterable[str]) -> dict[str, int]:
    """What an agent has. A skill that stands twice counts with its higher level."""
    had: dict[str, int] = {}
    for text in skills:
        match = _HAS.fullmatch(text)
        skill, level = (text, USUAL_LEVEL) if match is None else (match[1], int(match[2]))
        had[skill] = max(level, had.get(skill, 0))
    return had


def wanted(skills: Iterable[str]) -> frozenset[Wanted]:
    """What is asked for. A skill that stands twice counts with its higher level."""
    asked: dict[str, int] = {}
    for text in skills:
        match = _ASKS.fullmatch(text)
        skill, level = (text, 1) if match is None else (match[1], int(match[2]))
        asked[skill] = max(level, asked.get(skill, 0))
    return frozenset(Wanted(skill, level) for skill, level in asked.items())
