"""The seam between an outbox and whatever carries its texts."""

from collections.abc import Awaitable, Callable, Collection
from types import TracebackType
from typing import Literal, Protocol, Self, TypeAlias

import msgspec

from sms.message import DeliveryReport, InboundText, OutboundText, RemoteMedia, TextState

ErrorClass: TypeAlias = Literal[
    "bad_address", "opted_out", "not_allowed", "sender", "content", "temporary", "too_late", "compliance", "account", "unknown"
]  # fmt: skip
"""Whose fault a refusal is. What to do about each class: `sms.errors`."""


class Capabilities(msgspec.Struct, frozen=True):
    """What a provider can do, so that nobody asks it for more."""

    media: bool
    """Pictures can be sent (`OutboundText.media_urls`) and received."""
    two_way: bool
    delivery_reports: bool
    """Without them `sent` is the best news there will ever be."""
    alphanumeric_sender: bool
    obeys_opt_out: bool
    """The provider or carrier keeps an opt-out list of its own, beside ours."""
    max_characters: int
    max_media: int


class Accepted(msgspec.Struct, frozen=True, tag=True):
    """The provider has the text and gave it an id."""

    ref: str
    segments: int
    state: TextState


class Rejected(msgspec.Struct, frozen=True, tag=True):
    """The text was not sent. It is certain that nothing left."""

    error_class: ErrorClass
    code: str
    """The provider's code, or a word of ours (`expired`, `unreachable`)."""
    explanation: str
    """For an engineer, in English."""
    retriable: bool = False
    """The same text may go through later."""
    retry_after: float | None = None
    """Seconds the provider asked us to wait; None when it did not say."""


class Unknown(msgspec.Struct, frozen=True, tag=True):
    """Nobody can say whether the text left. Reconcile; sending again could send it twice."""

    reason: str
    retry_after: float | None = None
    """Seconds after which asking again makes sense; None when the provider has no opinion."""


class NotSent(msgspec.Struct, frozen=True, tag=True):
    """The provider does not have the text; it may be sent (again)."""


class MediaUnavailable(Exception):  # noqa: N818  # named by what happened, like the events
    """A picture could not be fetched; nothing was stored.

    Args:
        reason: For an engineer.
        retriable: It may be there later.
    """

    def __init__(self, reason: str, *, retriable: bool) -> None:
        super().__init__(reason)
        self.retriable = retriable


TextSink: TypeAlias = Callable[[InboundText], Awaitable[None]]
"""Where a provider without webhooks brings a customer's text. Returning means: it is safe. Raising: bring it again."""
ReportSink: TypeAlias = Callable[[DeliveryReport], Awaitable[None]]
"""Where a provider without webhooks brings a delivery report."""


def unsendable(text: OutboundText, capabilities: Capabilities, *, now: float) -> Rejected | None:
    """Why no provider with *capabilities* can send *text*; None when one may try."""
    if text.expires_at is not None and text.expires_at <= now:
        return Rejected(error_class="too_late", code="expired", explanation="The text would have arrived too late.")
    digits = text.recipient[1:]
    # ITU-T E.164 section 6: at most 15 digits, none of the country codes begins with 0.
    if text.recipient[:1] != "+" or not (digits.isascii() and digits.isdecimal() and 7 <= len(digits) <= 15) or digits[0] == "0":
        return Rejected(error_class="bad_address", code="invalid_number", explanation="The recipient is not an E.164 number.")
    if not text.body and not text.media_urls:
        return Rejected(error_class="content", code="empty", explanation="Neither words nor a picture.")
    if len(text.body) > capabilities.max_characters:
        explanation = f"More than {capabilities.max_characters} characters."
        return Rejected(error_class="content", code="too_long", explanation=explanation)
    if len(text.media_urls) > (capabilities.max_media if capabilities.media else 0):
        return Rejected(error_class="content", code="too_many_pictures", explanation="More pictures than the provider takes.")
    return None


class SmsProvider(Protocol):
    """Carries texts. Contract suite: `tests/contract/test_sms_providers.py`.

    Opens what it needs in `__aenter__`, nothing earlier. Webhooks are not its business: what comes in is parsed by pure
    functions of the provider's module, or brought to a `TextSink` and a `ReportSink` where there are no webhooks.
    """

    @property
    def name(self) -> str:
        """Short and stable; it is kept with every text."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    async def send(self, text: OutboundText) -> Accepted | Rejected | Unknown:
        """Hand *text* over, at most once. Does not raise for anything the network or the provider does."""

    async def reconcile(
        self, text: OutboundText, *, attempted_at: float, known_refs: Collection[str]
    ) -> Accepted | NotSent | Unknown:
        """Find out what became of a `send` whose outcome is unknown.

        Args:
            text: The text, exactly as it was handed to `send`.
            attempted_at: When `send` was called.
            known_refs: Refs that belong to other texts, and so are not the answer.
        """

    async def look_up(self, ref: str) -> DeliveryReport | None:
        """What became of a text the provider took, for when its reports were missed; None when it cannot say just now."""

    async def fetch_media(self, media: RemoteMedia, *, max_bytes: int) -> bytes:
        """The bytes of a picture or video.

        Raises:
            MediaUnavailable: gone, refused, too late or larger than *max_bytes*.
        """

    async def __aenter__(self) -> Self:
        """Open."""

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close; requests under way are given up."""
