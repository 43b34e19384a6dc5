"""A minimal registrar (RFC 3261 section 10.3): where the phones of the configured users are.

Several registrars can be one service. Each tells the others what it knows of a user after a REGISTER (`known`), they `learn` it,
and whatever is told twice, late or in another order, all come to know the same: of two words about one contact the newer counts.
"""

from collections.abc import Iterable, Mapping

import msgspec

from bridge.sip.exchange import numeric_address
from bridge.sip.message import BadMessageError, NameAddr, Request, SipUri, whole_number

MAX_EXPIRES = 3600
"""Seconds a phone may stay registered without saying so again."""
MAX_BINDINGS = 10
"""Phones of one user; one more takes the place of the one that registered first."""
TICK = 1e-6
"""Seconds by which a REGISTER is later than what was known before it, also when the clock of whoever took that is ahead."""
Address = tuple[str, int]


class Binding(msgspec.Struct, frozen=True):
    """One phone of a user."""

    contact: str
    """The URI the phone gave."""
    source: Address
    """Where calls go: where its REGISTER came from, the way back through a NAT; behind a front the address in the Contact."""
    expires_at: float
    """When it is forgotten."""
    call_id: str
    sequence: int
    registered_at: float
    gone: bool = False
    """It was taken back; kept so long as somebody might still tell that it is there."""


class Registrar:
    """Keeps bindings of known users.

    All times are of one clock, any; it is that of the Unix epoch when registrars tell each other what they know.

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
        return [binding for binding in self.known(user, now) if not binding.gone]

    def known(self, user: str, now: float) -> list[Binding]:
        """Every phone of *user* that has not expired, and those that were taken back."""
        kept = {contact: binding for contact, binding in self._bindings.get(user, {}).items() if binding.expires_at > now}
        self._bindings[user] = kept
        return list(kept.values())

    def learn(self, user: str, told: Iterable[Binding], now: float) -> None:
        """Take what another registrar knows of *user*; nothing happens when we have no such user."""
        if user in self.users:
            bindings = {binding.contact: binding for binding in self.known(user, now)}
            for binding in told:
                before = bindings.get(binding.contact)
                if binding.expires_at > now and (before is None or _order(binding) > _order(before)):
                    bindings[binding.contact] = binding
            self._keep(user, bindings)

    def register(self, user: str, request: Request, source: Address, now: float, *, fronted: bool = False) -> list[Binding]:
        """Obey a REGISTER of a known and authenticated user.

        Args:
            user: Who.
            request: The REGISTER.
            source: Where it came from.
            now: Seconds.
            fronted: *source* is somebody who only passed it on; the phone is where its Contact says.

        Returns:
            All the bindings there are now.

        Raises:
            BadMessageError: a contact or expiry cannot be read, or an older request came late. Nothing has changed.
        """
        contacts = request.headers.all("contact")
        default = _seconds(request.headers.first("expires"), MAX_EXPIRES)
        bindings = {binding.contact: binding for binding in self.known(user, now)}
        sequence = request.cseq[0]
        if any(b.call_id == request.call_id and b.sequence > sequence and not b.gone for b in bindings.values()):
            raise BadMessageError("REGISTER out of order")
        if contacts == ["*"]:
            if default != 0:
                raise BadMessageError("Contact * needs Expires 0")  # section 10.3 step 6
            contacts = [f"<{binding.contact}>" for binding in bindings.values() if not binding.gone]
        at = max([now, *(binding.registered_at + TICK for binding in bindings.values())])
        for n, text in enumerate(contacts):
            contact = NameAddr.parse(text)
            SipUri.parse(contact.uri)
            if not (contact.uri + request.call_id).isprintable():  # bytes that are no text, which nobody could be told of
                raise BadMessageError("contact cannot be read")
            expires = min(_seconds(contact.params.get("expires"), default), MAX_EXPIRES)
            until = now + (expires or MAX_EXPIRES)  # no binding that somebody may still tell of lasts longer
            place = (numeric_address(contact.uri) if fronted else None) or source
            bindings[contact.uri] = Binding(contact.uri, place, until, request.call_id, sequence, at + n * TICK, gone=not expires)
        self._keep(user, bindings)
        return self.bindings(user, now)

    def _keep(self, user: str, bindings: Mapping[str, Binding]) -> None:
        ordered = sorted(bindings.values(), key=_order)
        there = [binding for binding in ordered if not binding.gone]
        gone = [binding for binding in ordered if binding.gone]
        self._bindings[user] = {binding.contact: binding for binding in (*gone[-MAX_BINDINGS:], *there[-MAX_BINDINGS:])}


def _order(binding: Binding) -> tuple[float, bool, float, str, int, Address]:
    """Of two words about one contact the greater is the newer; equal ones are the same word."""
    return binding.registered_at, binding.gone, binding.expires_at, binding.call_id, binding.sequence, binding.source


def _seconds(text: str | None, default: int) -> int:
    if text is None:
        return default
    seconds = whole_number(text)
    if seconds is None:
        raise BadMessageError("expiry cannot be read")
    return seconds
