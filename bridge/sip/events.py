"""What a `SipEndpoint` tells its owner."""

import msgspec

from bridge.sip.message import Request
from bridge.sip.sdp import SessionDescription

Address = tuple[str, int]
"""Host and port."""
CallRef = int
"""The endpoint's own number of a call; never used twice by one endpoint."""


class SipEvent(msgspec.Struct, frozen=True):
    """Something the owner of the endpoint has to know."""


class InviteReceived(SipEvent, frozen=True):
    """A new call is at the door; 100 has been sent. Answer, ring or refuse it."""

    call: CallRef
    request: Request
    offer: SessionDescription | None
    """None when the caller leaves the offer to us (the answer then comes with `CallConfirmed`)."""
    source: Address


class CallConfirmed(SipEvent, frozen=True):
    """Our 200 was acknowledged."""

    call: CallRef
    answer: SessionDescription | None


class CallProgressed(SipEvent, frozen=True):
    """A provisional response to our INVITE."""

    call: CallRef
    status: int
    answer: SessionDescription | None = None
    """What comes before the answer can be heard (early media, RFC 3960); None: nothing does."""


class CallAnswered(SipEvent, frozen=True):
    """Our INVITE was accepted, and acknowledged by us."""

    call: CallRef
    answer: SessionDescription | None


class OfferReceived(SipEvent, frozen=True):
    """A re-INVITE. Obey with `accept_offer` or `refuse_offer`."""

    call: CallRef
    offer: SessionDescription | None


class OfferAnswered(SipEvent, frozen=True):
    """The final response to our re-INVITE."""

    call: CallRef
    status: int
    answer: SessionDescription | None


class InfoReceived(SipEvent, frozen=True):
    """An INFO inside a call (answered 200)."""

    call: CallRef
    content_type: str
    body: bytes


class CallEnded(SipEvent, frozen=True):
    """A call is over, other than by our own `bye`, `refuse` or `cancel`."""

    call: CallRef
    cause: str
    """`bye`, `cancel`, `timeout` (no ACK, or no answer at all), or the status of a refusal."""
    status: int
    reason: str


class PhoneRegistered(SipEvent, frozen=True):
    """A phone of *user* has registered at our registrar, or taken that back."""

    user: str


class RegisterAnswered(SipEvent, frozen=True):
    """The final response to our REGISTER; 408 when there was none."""

    status: int
    reason: str
    expires: int
    """Seconds granted."""
