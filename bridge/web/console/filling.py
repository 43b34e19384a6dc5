"""Ready-made texts with gaps: `{customer}` and its like, filled with what is known. Pure."""

import re
from collections.abc import Mapping

VARIABLES = ("customer", "agent", "queue", "company", "ewt", "number", "code")
"""What a gap may be called: names of customer and agent, the queue's title, who we are, the wait, our number, the reply code."""
_GAP = re.compile(r"\{([a-z_]{1,30})\}")


def fill(text: str, known: Mapping[str, str]) -> str:
    """*text* with what is *known*; gaps for the rest stay as they are."""
    return _GAP.sub(lambda gap: known.get(gap[1]) or gap[0], text)


def gaps(text: str) -> tuple[str, ...]:
    """The gaps that are still in *text*, each once, in order. A text with any is not to be sent."""
    return tuple(dict.fromkeys(gap[0] for gap in _GAP.finditer(text)))
