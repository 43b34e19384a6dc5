"""A minimal registrar (RFC 3261 section 10.3): where the phones of the configured users are."""

from collections.abc import Mapping

import msgspec

from bridge.sip.message import BadMessageError, NameAddr, Request, SipUri, whole_number

MAX_EXPIRES = 3600
"""Seconds a phone may stay registered without saying so again."""
MAX_BINDINGS = 10
"""Phones of one user; one more takes the place of the one that registered first."""
Address = tuple[str, int]


class Binding(msgspec.Struct, frozen=True):
    """One phone of a user."""

    contact: str
    """The URI the phone gave."""
    source: Address
    """Where its REGISTER came from; the way back through a NAT, so calls go there."""
    expires_at: float
    call_id: str
    sequence: int


class Registrar:
    """Keeps bindings of known users.

    Args:
        users: Name to password; None for a user who needs none.
    """

    def __init__(self, users: Mapping[str, str | None]) -> None:
        self.users = users
        self._bindings: dict[str, dict[str, Binding]] = {}

    def lookup(self, user: str, now: float) -> Binding | None:
        """The phone that registered last, or None."""
        return max(self.bindings(user, now), key=lambda binding: binding.expires_at, default=None)

    def bindings(self, user: str, now: float) -> list[Binding]:
        """Every phone of *user* that has not expired."""
        kept = {contact: binding for contact, binding in self._bindings.get(user, {}).items() if binding.expires_at > now}
        self._bindings[user] = kept
        return list(kept.values())

    def register(self, user: str, request: Request, source: Address, now: float) -> list[Binding]:
        """Obey a REGISTER of a known and authenticated user.

        Returns:
            All the bindings there are now.

        Raises:
            BadMessageError: a contact or expiry cannot be read, or an older request came late. Nothing has changed.
        """
        contacts = request.headers.all("contact")
        default = _seconds(request.headers.first("expires"), MAX_EXPIRES)
        bindings = {binding.contact: binding for binding in self.bindings(user, now)}
        sequence = request.cseq[0]
        if any(b.call_id == request.call_id and b.sequence > sequence for b in bindings.values()):
            raise BadMessageError("REGISTER out of order")
        if contacts == ["*"]:
            if default != 0:
                raise BadMessageError("Contact * needs Expires 0")  # section 10.3 step 6
            bindings = {}
            contacts = []
        for text in contacts:
            contact = NameAddr.parse(text)
            SipUri.parse(contact.uri)
            expires = min(_seconds(contact.params.get("expires"), default), MAX_EXPIRES)
            bindings.pop(contact.uri, None)
            if expires:
                bindings[contact.uri] = Binding(contact.uri, source, now + expires, request.call_id, sequence)
        while len(bindings) > MAX_BINDINGS:
            del bindings[next(iter(bindings))]
        self._bindings[user] = bindings
        return list(bindings.values())


def _seconds(text: str | None, default: int) -> int:
    if text is None:
        return default
    seconds = whole_number(text)
    if seconds is None:
        raise BadMessageError("expiry cannot be read")
    return seconds
