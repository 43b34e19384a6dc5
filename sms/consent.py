"""Who may be texted, about what, and what the first text has to say."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec

from sms.keywords import WORDS, fold
from sms.message import Purpose

Part: TypeAlias = Literal["brand", "recurring", "rates", "stop"]
Reason: TypeAlias = Literal["allowed", "opted_out", "blocked", "cannot_text", "no_consent", "quiet_hours"]

# What US carriers ask of the first text of a conversation (CTIA Messaging Principles, 5.1), as people write it, folded.
_SAYS: Mapping[Part, tuple[str, ...]] = MappingProxyType(
    {
        "recurring": (
            "recurring", "message frequency", "msg frequency", "msg freq", "messages per", "msgs per", "msgs mo",
            "recurrent", "frequence", "plusieurs messages", "messages par",
            "recurrente", "frecuencia", "varios mensajes", "mensajes por",
        ),
        "rates": (
            "data rates", "rates may apply", "rates apply", "carrier rates", "standard rates", "charges may apply",
            "tarif", "frais", "prix d un sms",
            "tarifa", "cargos", "costo", "coste",
        ),
    }
)  # fmt: skip
# Stop words that no text contains without meaning them; `end` or `fin` would be found in any.
_WAYS_OUT = frozenset(
    word for words in WORDS.values() for word in words["stop"] if word not in {"end", "fin", "cancel", "quit", "alto", "no mas"}
)

QUIET_FROM, QUIET_UNTIL = 21.0, 8.0
"""Hours of the day between which only what was asked for is sent (47 CFR 64.1200(c)(1))."""


class NumberState(msgspec.Struct, frozen=True):
    """What is known of a number and one sender of ours."""

    can_text: bool = True
    """The numbering plan's guess, or what a failed delivery taught."""
    opted_out: bool = False
    """STOP was the last word."""
    blocked: bool = False
    """On a list of ours."""
    informed: bool = False
    """The text with the compliance parts has been sent, or the customer wrote first and was told."""
    consents: frozenset[Purpose] = frozenset()
    """What the customer has agreed to, and not revoked."""
    vouched: bool = False
    """Whoever wants this text sent says that the customer agreed elsewhere: in an order, a form, a contract."""


class Verdict(msgspec.Struct, frozen=True):
    """Whether a text may go out."""

    allowed: bool
    reason: Reason
    must_inform: bool = False
    """Allowed, but the text (or the one before it) has to have the compliance parts."""


def may_text(
    state: NumberState, purpose: Purpose, *, local_hours: Collection[float] = (), confirms_opt_out: bool = False
) -> Verdict:
    """Whether a text may go to a number, and the first reason why not.

    A `session` text belongs to a call or chat that the customer is in, so it needs no consent of its own and knows no quiet
    hours. `care` needs some consent, here or vouched for; `marketing` needs its own, here.

    Args:
        state: What is known of the number.
        purpose: What the text is for.
        local_hours: The hour of the day (8.5 is half past eight) in each time zone the customer may be in; the strictest
            counts. Empty: unknown, and not looked at.
        confirms_opt_out: It is the one confirmation that a STOP is answered with (47 CFR 64.1200(a)(12)).
    """
    if not state.can_text:
        return Verdict(allowed=False, reason="cannot_text")
    if confirms_opt_out:
        return Verdict(allowed=True, reason="allowed")
    if state.opted_out:
        return Verdict(allowed=False, reason="opted_out")
    if state.blocked:
        return Verdict(allowed=False, reason="blocked")
    agreed = {
        "session": True,
        "care": bool(state.consents) or state.vouched,
        "marketing": "marketing" in state.consents,
    }
    if not agreed[purpose]:
        return Verdict(allowed=False, reason="no_consent")
    if purpose != "session" and any(hour < QUIET_UNTIL or hour >= QUIET_FROM for hour in local_hours):
        return Verdict(allowed=False, reason="quiet_hours")
    return Verdict(allowed=True, reason="allowed", must_inform=not state.informed)


def compliance_parts(text: str, *, brand: str) -> tuple[Part, ...]:
    """What the first text of a conversation must say and *text* does not; empty when it says everything.

    In English, French or Spanish. It finds the words, it does not judge the sentence: a reminder for authors, no lawyer.

    Args:
        text: The text.
        brand: The name under which the customer knows us.
    """
    words = f" {fold(text)} "
    missing: list[Part] = []
    if f" {fold(brand)} " not in words:
        missing.append("brand")
    # Beginnings of words, so that a plural or a feminine counts.
    missing += [part for part, ways in _SAYS.items() if not any(f" {way}" in words for way in ways)]
    if not any(f" {way} " in words for way in _WAYS_OUT):
        missing.append("stop")
    return tuple(missing)
