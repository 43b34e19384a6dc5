"""What an endpoint keeps of a transaction and of a call, and what it reads out of single messages."""

from enum import Enum
from ipaddress import ip_address

from bridge.sip import digest
from bridge.sip.dialog import Dialog
from bridge.sip.events import Address, CallRef
from bridge.sip.message import MAGIC_COOKIE, Headers, Request, Response, SipUri, Via
from bridge.sip.sdp import BadSdpError, SessionDescription, parse_sdp
from bridge.sip.transaction import Transaction


class CallState(Enum):
    """How far a call has come."""

    INCOMING = "incoming"
    OUTGOING = "outgoing"
    ANSWERED = "answered"
    """Our 200 went out and waits for its ACK."""
    UP = "up"
    ENDING = "ending"
    """Our BYE (or CANCEL) waits for its answer."""


class Exchange:
    """A transaction with what its machine does not want to know."""

    __slots__ = ("call", "datagram", "destination", "key", "machine", "request", "scheduled_at")

    def __init__(self, key: tuple[str, ...], machine: Transaction, request: Request, destination: Address) -> None:
        self.key = key
        self.machine = machine
        self.request = request
        self.destination = destination
        self.datagram = b""
        self.call: Call | None = None
        self.scheduled_at: float | None = None
        """The time for which it stands in the endpoint's calendar."""

    @property
    def wake_at(self) -> float | None:
        """When its machine has something to do."""
        return self.machine.wake_at


class Call:
    """One INVITE and what came of it."""

    __slots__ = (
        "ack", "answer", "answer_to", "bye_wanted", "cancelled", "credentials", "dialog", "give_up_at", "interval", "invite",
        "merge_key", "peer", "pinned", "progressed", "ref", "reinvite", "resend_at", "scheduled_at", "state", "tag",
    )  # fmt: skip

    def __init__(self, ref: CallRef, state: CallState, tag: str, peer: Address) -> None:
        self.ref = ref
        self.state = state
        self.tag = tag
        self.peer = peer
        self.dialog: Dialog | None = None
        self.invite: Exchange | None = None
        """The transaction of the INVITE that began the call."""
        self.reinvite: Exchange | None = None
        """A re-INVITE of theirs that waits for `accept_offer`."""
        self.answer: bytes | None = None
        """A 200 that goes out again until its ACK comes (section 13.3.1.4)."""
        self.answer_to: Address = peer
        self.interval = 0.0
        self.resend_at: float | None = None
        self.scheduled_at: float | None = None
        """The time for which it stands in the endpoint's calendar."""
        self.give_up_at: float | None = None
        self.ack: bytes | None = None
        """Our last ACK, for a 200 that comes again."""
        self.merge_key: tuple[str, str, int] | None = None
        """Call-ID, From tag and CSeq of an INVITE that came in."""
        self.pinned = False
        """Requests go to `peer` whatever its Contact says: we were told the address."""
        self.progressed = False
        self.cancelled = False
        self.bye_wanted = False
        self.credentials: digest.Credentials | None = None

    @property
    def wake_at(self) -> float | None:
        """When a 200 or a CANCEL of it has to be seen to."""
        return min((at for at in (self.resend_at, self.give_up_at) if at is not None), default=None)


def numeric_address(uri: str) -> Address | None:
    """Host and port of a URI when the host is a numeric address or `localhost`; None otherwise.

    Raises:
        BadMessageError: it is no URI.
    """
    parsed = SipUri.parse(uri)
    host = "127.0.0.1" if parsed.host == "localhost" else parsed.host.strip("[]")
    try:
        ip_address(host)
    except ValueError:
        return None
    return host, parsed.port or 5060


def read_answer(message: Request | Response) -> SessionDescription | None:
    """The description in a body; None when there is none or it cannot be read."""
    try:
        return parse_sdp(message.body) if message.body.strip() else None
    except BadSdpError:
        return None


def stamp(request: Request, via: Via, source: Address) -> Address:
    """Note on the top Via where a request really came from and return where its responses go."""
    params = dict(via.params)
    if via.host != source[0] or "rport" in params:
        params["received"] = source[0]  # section 18.2.1
    if "rport" in params:
        params["rport"] = str(source[1])  # RFC 3581 section 4
    request.headers.replace("via", str(Via(via.transport, via.host, via.port, params)), *request.headers.all("via")[1:])
    return source if "rport" in params else (source[0], via.port or 5060)


def server_key(request: Request, via: Via, method: str) -> tuple[str, ...]:
    """What makes a request the same as one before (section 17.2.3), also for senders of RFC 2543."""
    sent_by = f"{via.host}:{via.port or 5060}"
    if via.branch.startswith(MAGIC_COOKIE):
        return "server", via.branch, sent_by, method
    return "server", request.call_id, str(request.cseq[0]), request.sender.tag or "", sent_by, method


def ack_of(invite: Request, response: Response) -> Request:
    """ACK for a refusal: same branch, same route, the To of the response (section 17.1.1.3)."""
    headers = Headers([("via", invite.headers.first("via") or ""), ("max-forwards", "70")])
    for name, value in invite.headers:
        if name in {"from", "call-id", "route"}:
            headers.add(name, value)
    headers.add("to", response.headers.first("to") or "")
    headers.add("cseq", f"{invite.cseq[0]} ACK")
    return Request("ACK", invite.uri, headers)
