"""How many SMS a text becomes, and which of its characters make it expensive (3GPP TS 23.038 and 23.040)."""

from typing import Literal

import msgspec

# 3GPP TS 23.038 section 6.2.1: the default alphabet, in code order; the escape (0x1B) is not a character of a text.
BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# Section 6.2.1.1: these take an escape first, so two septets.
EXTENDED = frozenset("\f^{}\\[~]|€")

# One message holds 140 octets; of a concatenated one the header takes 6 (3GPP TS 23.040 section 9.2.3.24).
SINGLE = {"gsm7": 160, "ucs2": 70}
PART = {"gsm7": 153, "ucs2": 67}


class Segments(msgspec.Struct, frozen=True):
    """What a text costs."""

    encoding: Literal["gsm7", "ucs2"]
    units: int
    """Septets in GSM-7, UTF-16 code units in UCS-2."""
    segments: int
    """SMS to pay for; 0 for an empty text."""
    remaining: int
    """Units that still fit without another segment."""
    forced_by: tuple[str, ...] = ()
    """The characters GSM-7 does not have, each once, in order of appearance; any one of them forces UCS-2."""


def segment(body: str) -> Segments:
    """Count what *body* costs. A pair (an escaped or an astral character) is never split between two segments."""
    forced_by = tuple(dict.fromkeys(char for char in body if char not in BASIC and char not in EXTENDED))
    if forced_by:
        encoding: Literal["gsm7", "ucs2"] = "ucs2"
        widths = [2 if char > "\uffff" else 1 for char in body]
    else:
        encoding = "gsm7"
        widths = [2 if char in EXTENDED else 1 for char in body]
    units = sum(widths)
    if units <= SINGLE[encoding]:
        return Segments(encoding, units, 1 if body else 0, SINGLE[encoding] - units, forced_by)
    parts, used = 1, 0
    for width in widths:
        if used + width > PART[encoding]:
            parts, used = parts + 1, 0
        used += width
    return Segments(encoding, units, parts, PART[encoding] - used, forced_by)
