"""Dialogs (RFC 3261 section 12): what two ends remember of each other between INVITE and BYE."""

from bridge.sip.message import Headers, NameAddr, Request, Response, SipUri


class Dialog:
    """One end's view of a dialog. Made by `as_server` or `as_client`."""

    __slots__ = (
        "call_id", "early", "local", "local_sequence", "remote", "remote_sequence", "remote_target", "route_set",
    )  # fmt: skip

    def __init__(self, call_id: str, local: NameAddr, remote: NameAddr) -> None:
        self.call_id = call_id
        self.local = local
        """Our From (or To) header with our tag."""
        self.remote = remote
        """Theirs, with their tag."""
        self.local_sequence = 0
        self.remote_sequence: int | None = None
        self.remote_target = ""
        self.route_set: list[str] = []
        self.early = True

    @property
    def key(self) -> tuple[str, str, str]:
        """Call-ID, our tag, their tag: how an incoming request finds the dialog."""
        return self.call_id, self.local.tag or "", self.remote.tag or ""

    @classmethod
    def as_server(cls, invite: Request, tag: str) -> "Dialog":
        """The dialog of an INVITE that came in (section 12.1.1).

        Args:
            invite: With a readable Contact.
            tag: Ours.
        """
        dialog = cls(invite.call_id, invite.recipient.with_tag(tag), invite.sender)
        dialog.remote_sequence = invite.cseq[0]
        contact = invite.contact
        dialog.remote_target = contact.uri if contact else invite.sender.uri
        dialog.route_set = invite.headers.all("record-route")
        return dialog

    @classmethod
    def as_client(cls, invite: Request, response: Response) -> "Dialog":
        """The dialog that a response to our INVITE makes (section 12.1.2)."""
        dialog = cls(invite.call_id, invite.sender, response.recipient)
        dialog.local_sequence = invite.cseq[0]
        contact = response.contact
        dialog.remote_target = contact.uri if contact else invite.uri
        dialog.route_set = response.headers.all("record-route")[::-1]
        return dialog

    def request(self, method: str, *, sequence: int | None = None) -> Request:
        """A request inside the dialog (section 12.2.1.1), complete but for Via and Contact.

        Args:
            method: BYE, INVITE, ACK, ...
            sequence: CSeq of the INVITE that an ACK or CANCEL belongs to; None takes the next number.
        """
        if sequence is None:
            self.local_sequence += 1
            sequence = self.local_sequence
        uri, routes = self.remote_target, self.route_set
        if routes and not _loose(routes[0]):
            # A strict router: its own address goes into the start line, the target to the end of the route.
            uri, routes = NameAddr.parse(routes[0]).uri, [*routes[1:], f"<{self.remote_target}>"]
        headers = Headers(("route", route) for route in routes)
        headers.add("max-forwards", "70")
        headers.add("from", str(self.local))
        headers.add("to", str(self.remote))
        headers.add("call-id", self.call_id)
        headers.add("cseq", f"{sequence} {method}")
        return Request(method, uri, headers)

    def next_hop(self) -> str:
        """The URI whose host gets the next request: the first route, or the remote target."""
        return NameAddr.parse(self.route_set[0]).uri if self.route_set else self.remote_target

    def take(self, request: Request) -> bool:
        """Note the sequence number of a request in the dialog (section 12.2.2) and the new target it may bring.

        Returns:
            False when the number has gone back: answer 500 and change nothing.
        """
        sequence = request.cseq[0]
        if self.remote_sequence is not None and sequence <= self.remote_sequence:
            return False
        self.remote_sequence = sequence
        self.refresh_target(request)
        return True

    def refresh_target(self, message: Request | Response) -> None:
        """A re-INVITE or its answer may move the other end (section 12.2)."""
        contact = message.contact
        if contact is not None and (isinstance(message, Response) or message.method in {"INVITE", "UPDATE"}):
            self.remote_target = contact.uri


def _loose(route: str) -> bool:
    return "lr" in SipUri.parse(NameAddr.parse(route).uri).params
