"""What a text is on its way out, on its way in, and what its delivery reports may still change."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

import msgspec

TextState: TypeAlias = Literal[
    "pending", "accepted", "queued", "sending", "sent", "delivered", "read", "undelivered", "failed", "canceled"
]  # fmt: skip
Purpose: TypeAlias = Literal["session", "care", "marketing"]
Keyword: TypeAlias = Literal["stop", "start", "help"]

RANK: Mapping[TextState, int] = MappingProxyType(
    {
        "pending": 0,
        "accepted": 1,
        "queued": 2,
        "sending": 3,
        "sent": 4,
        "failed": 5,
        "undelivered": 5,
        "canceled": 5,
        "delivered": 6,
        "read": 7,
    }
)
"""Delivery reports come late, twice and in any order, so a state only ever gives way to one of a higher rank."""

FINAL: frozenset[TextState] = frozenset({"delivered", "read", "undelivered", "failed", "canceled"})
"""States at which nobody need wait any longer. Only `canceled` and `read` can not change any more."""


def advance(current: TextState, reported: TextState) -> TextState:
    """The state of a text after a delivery report.

    The rank never falls, and of two states of one rank the first stays. A late `delivered` wins over `undelivered`,
    because a carrier's receipt is better evidence than its silence; nothing follows `canceled`.
    """
    if current == "canceled" or RANK[reported] <= RANK[current]:
        return current
    return reported


def readable(text: str) -> str:
    """*text* without what no phone shows.

    That is control characters (NUL, which databases refuse; commands to terminals, the eight-bit ones too) and halves of
    characters, which cannot be written down. Line ends and tabs stay.
    """
    return "".join(
        char
        for char in text
        if (char >= " " and not "\x7f" <= char <= "\x9f" and not "\ud800" <= char <= "\udfff") or char in "\n\t"
    )


def as_state(word: str) -> TextState | None:
    """The state called *word*, or None when there is no such state."""
    return next((state for state in get_args(TextState) if state == word), None)


class OutboundText(msgspec.Struct, frozen=True):
    """A text of ours, complete before anybody tries to send it."""

    message: str
    """Our own id: the idempotency key, and how a delivery report finds its way home."""
    recipient: str
    """E.164."""
    sender: str
    """E.164, a short code, an alphanumeric name or the provider's id of a pool of numbers."""
    body: str
    created_at: float
    purpose: Purpose = "session"
    priority: int = 0
    """0 is most urgent."""
    media_urls: tuple[str, ...] = ()
    expires_at: float | None = None
    """A text that would arrive after this is not sent at all. None: it is never too late."""


class RemoteMedia(msgspec.Struct, frozen=True):
    """A picture or video at the provider, not fetched yet."""

    url: str
    content_type: str
    """As the provider claims; look at the bytes before believing it."""


class InboundText(msgspec.Struct, frozen=True):
    """A text of a customer, as the provider told it."""

    provider: str
    ref: str
    """The provider's id; a text told twice has the same one."""
    sender: str
    recipient: str
    body: str
    received_at: float
    media: tuple[RemoteMedia, ...] = ()
    opt_out_handled: Keyword | None = None
    """The keyword the provider has already obeyed *and answered* itself: we must not answer again."""
    raw: tuple[tuple[str, str], ...] = ()
    """Everything the provider said, in its own words and order."""


class DeliveryReport(msgspec.Struct, frozen=True):
    """What a provider says became of a text."""

    provider: str
    ref: str
    message: str | None
    """Our id, when the report carries it."""
    state: TextState | None
    """None when the provider used a word we do not know: keep the report, change nothing."""
    reported: str
    """The provider's own word."""
    at: float
    """When we were told."""
    code: str | None = None
    """The provider's error code, with `undelivered` and `failed`."""

    @property
    def rank(self) -> int:
        """The state's rank; -1 for a word we do not know."""
        return -1 if self.state is None else RANK[self.state]
