"""The addresses of the mail side, and nothing else: whatever is not one of them is refused, so nothing is ever passed on.

`c+SESSION.TOKEN@domain` takes an agent's answer, `+NUMBER@domain` takes a text for that number, `b+ID@domain` takes what
comes back when a mail of ours could not be delivered. Local parts are read without regard to case, since some mail
programs lower it; so the token is base32.
"""

import base64
import hashlib
import hmac
import re
from typing import TypeAlias

import msgspec

MAC_BYTES = 12
"""Of HMAC-SHA256, truncated (RFC 2104 section 5): 96 bits, which nobody guesses by sending mails."""
_MINUTE = 60.0
_TOKEN = 26
"""Characters: base32 of four bytes of time and the MAC."""
_REPLY = re.compile(rf"c\+([a-z0-9]{{1,32}})\.([a-z2-7]{{{_TOKEN}}})")
_BOUNCE = re.compile(r"b\+([0-9a-f]{1,32})")
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
"""ITU-T E.164 section 6."""
_SESSION = re.compile(r"[a-z0-9]{1,32}")
_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$&'*+/=?^_`{|}~-]+)*"
    r"@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
"""A dot-atom at a domain (RFC 5321 section 4.1.2) without `%`, which once was a source route (RFC 5321 appendix F.2)."""
_PATH = re.compile(r"(?:FROM|TO):\s?<([^<>]*)>(?:\s.*)?", re.IGNORECASE | re.ASCII)
LONGEST_ADDRESS = 254
"""RFC 5321 section 4.5.3.1.3, without the angle brackets."""


class ReplyTo(msgspec.Struct, frozen=True):
    """An agent's answer in a session. Who the agent is, only the sender can tell: see `signed_for`."""

    session: str
    token: str


class TextTo(msgspec.Struct, frozen=True):
    """A text for a number (E.164)."""

    number: str


class BounceOf(msgspec.Struct, frozen=True):
    """A mail of ours that came back."""

    mail: str


Recipient: TypeAlias = ReplyTo | TextTo | BounceOf


def domain_of(address: str) -> str:
    """The domain of *address* in lower case."""
    return address.rpartition("@")[2].lower()


def is_address(text: str) -> bool:
    """Whether *text* is one plain address, and no more than that."""
    return len(text) <= LONGEST_ADDRESS and _ADDRESS.fullmatch(text) is not None


def same(one: str, other: str) -> bool:
    """Whether two addresses are one mailbox, as people and all usual mail systems see it: without regard to case."""
    return one.casefold() == other.casefold()


def path_argument(argument: str | None) -> str | None:
    """The address in the argument of MAIL or RCPT, empty for the null sender (RFC 5321 section 4.1.2).

    None for everything that is not `FROM:` or `TO:` with one plain address in angle brackets: quoted local parts, source
    routes, comments and `%` are of no use here and have been used to have mail passed on.
    """
    found = _PATH.fullmatch(argument or "")
    if found is None or (found[1] and not is_address(found[1])):
        return None
    return found[1]


def recipient(address: str, *, domain: str) -> Recipient | None:
    """What *address* stands for; None when it is none of ours."""
    if not is_address(address) or domain_of(address) != domain.lower():
        return None
    local = address.rpartition("@")[0].lower()
    if reply := _REPLY.fullmatch(local):
        return ReplyTo(session=reply[1], token=reply[2])
    if bounce := _BOUNCE.fullmatch(local):
        return BounceOf(mail=bounce[1])
    if _NUMBER.fullmatch(local):
        return TextTo(number=local)
    return None


def reply_address(session: str, agent: str, *, until: float, key: bytes, domain: str) -> str:
    """Where *agent*, and nobody else, can answer in *session* by mail.

    Args:
        session: Lower-case letters and digits, 32 at most.
        agent: Whose answer is taken. Not in the address, but in what is signed.
        until: When the address stops working; rounded up to a minute.
        key: Secret, the same for as long as addresses are to work.
        domain: Of the mail side.

    Raises:
        ValueError: *session* cannot stand in an address.
    """
    if not _SESSION.fullmatch(session):
        raise ValueError(f"session {session!r} cannot stand in a mail address")
    minutes = (int(until // _MINUTE) + 1).to_bytes(4, "big")
    token = base64.b32encode(minutes + _mac(key, session, agent, minutes)).decode("ascii").rstrip("=").lower()
    return f"c+{session}.{token}@{domain}"


def signed_for(to: ReplyTo, agent: str, *, key: bytes, now: float) -> bool:
    """Whether the address was made for *agent* and still holds."""
    raw = base64.b32decode(to.token.upper() + "=" * (-_TOKEN % 8))
    minutes, mac = raw[:4], raw[4:]
    holds = now <= int.from_bytes(minutes, "big") * _MINUTE
    return hmac.compare_digest(mac, _mac(key, to.session, agent, minutes)) and holds


def _mac(key: bytes, session: str, agent: str, minutes: bytes) -> bytes:
    said = b"\0".join((b"answer by mail", session.encode(), agent.encode(), minutes))
    return hmac.digest(key, said, hashlib.sha256)[:MAC_BYTES]
