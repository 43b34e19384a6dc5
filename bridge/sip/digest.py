"""Digest authentication (RFC 7616, RFC 8760): challenges, answers and their check, with MD5 and SHA-256."""

import hashlib
import hmac
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

from bridge.sip.message import BadMessageError, parse_params, split_commas

Algorithm = Literal["MD5", "SHA-256"]
_HASHES: dict[str, Callable[[bytes], "hashlib._Hash"]] = {
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False),  # old phones know nothing else
    "SHA-256": hashlib.sha256,
}
NONCE_LIFETIME = 300.0
"""Seconds; afterwards a right answer is told that its nonce is stale and the phone tries again without asking anybody."""
MOST_NONCES = 10_000
"""Open challenges. One more and the oldest is stale before its time."""
MOST_WRONG = 20
"""Wrong passwords for a user from one address in `NONCE_LIFETIME` seconds, after which even the right one is refused there."""
MOST_GUESSERS = 10_000
"""Users and addresses whose wrong passwords are counted; the oldest is forgotten first."""


class Credentials(msgspec.Struct, frozen=True):
    """Who we are, when somebody challenges us."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r})"  # not the password: this ends up in logs


def challenge(realm: str, nonce: str, algorithm: Algorithm, *, stale: bool = False) -> str:
    """The value of a WWW-Authenticate header."""
    return f'Digest realm="{realm}", nonce="{nonce}", algorithm={algorithm}, qop="auth"' + (", stale=true" if stale else "")


def parse_digest(value: str) -> dict[str, str] | None:
    """The parameters of a Digest challenge or answer; None for another scheme."""
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        return None
    params: dict[str, str] = {}
    for part in split_commas(rest):
        for name, text in parse_params(part).items():
            params[name] = text or ""
    return params


def answer(value: str, credentials: Credentials, *, method: str, uri: str, cnonce: str) -> str | None:
    """The Authorization value for a challenge, or None when its scheme, algorithm or qop is beyond us.

    Args:
        value: Of the WWW-Authenticate or Proxy-Authenticate header.
        credentials: Name and password.
        method: Of the request that will carry it.
        uri: Request-URI of that request.
        cnonce: Random, ours.
    """
    params = parse_digest(value)
    if params is None:
        return None
    algorithm = params.get("algorithm", "MD5").upper()
    offered = {word.strip() for word in params.get("qop", "").split(",") if word.strip()}
    if algorithm not in _HASHES or (offered and "auth" not in offered):
        return None
    fields = {
        "username": credentials.user,
        "realm": params.get("realm", ""),
        "nonce": params.get("nonce", ""),
        "uri": uri,
    }
    extra = {"qop": "auth", "nc": "00000001", "cnonce": cnonce} if offered else {}
    response = _response(algorithm, {**fields, **extra}, credentials.password, method)
    opaque = f', opaque="{params["opaque"]}"' if "opaque" in params else ""
    quoted = ", ".join(f'{name}="{text}"' for name, text in fields.items())
    qop = f', qop=auth, nc=00000001, cnonce="{cnonce}"' if offered else ""
    return f'Digest {quoted}, response="{response}", algorithm={algorithm}{qop}{opaque}'


def _response(algorithm: str, fields: dict[str, str], password: str, method: str) -> str:
    def digest(text: str) -> str:
        return _HASHES[algorithm](text.encode("utf-8", "surrogateescape")).hexdigest()

    secret = digest(f"{fields.get('username', '')}:{fields.get('realm', '')}:{password}")
    what = digest(f"{method}:{fields.get('uri', '')}")
    if "qop" not in fields:  # RFC 2617 section 3.2.2.1, for phones of 1999
        return digest(f"{secret}:{fields.get('nonce', '')}:{what}")
    middle = f"{fields.get('nonce', '')}:{fields.get('nc', '')}:{fields.get('cnonce', '')}:{fields['qop']}"
    return digest(f"{secret}:{middle}:{what}")


class DigestGuard:
    """Challenges strangers and checks their answers.

    Args:
        realm: Shown to the user of a phone.
        make_nonce: Returns unguessable text, new every time.
        algorithms: Offered in this order (RFC 8760 section 2.3).
    """

    def __init__(
        self,
        realm: str,
        make_nonce: Callable[[], str],
        algorithms: tuple[Algorithm, ...] = ("MD5",),
    ) -> None:
        self._realm = realm
        self._make_nonce = make_nonce
        self._algorithms = algorithms
        self._nonces: dict[str, tuple[float, int]] = {}
        """Each with its end and the highest count used; the oldest first."""
        self._wrong: dict[tuple[str, str], deque[float]] = {}
        """When a wrong password was given, by user and address."""

    def challenges(self, now: float, *, stale: bool = False) -> list[str]:
        """One WWW-Authenticate value for each algorithm, all with the same new nonce."""
        while self._nonces:
            oldest = next(iter(self._nonces))
            if self._nonces[oldest][0] > now and len(self._nonces) < MOST_NONCES:
                break
            del self._nonces[oldest]
        nonce = self._make_nonce()
        self._nonces[nonce] = (now + NONCE_LIFETIME, 0)
        return [challenge(self._realm, nonce, algorithm, stale=stale) for algorithm in self._algorithms]

    def check(
        self, value: str, *, user: str, password: str, method: str, source: str, now: float
    ) -> Literal["ok", "stale", "wrong"]:
        """Whether an Authorization value proves *password*; a nonce count may not come twice (RFC 7616 section 3.4).

        Args:
            value: Of the header.
            user: Who it must be.
            password: Of that user.
            method: Of the request.
            source: Address it came from; one that guesses is not listened to for a while.
            now: Seconds.
        """
        try:
            fields = parse_digest(value)
        except BadMessageError:
            return "wrong"
        if fields is None or fields.get("username") != user or fields.get("realm") != self._realm:
            return "wrong"
        algorithm = fields.get("algorithm", "MD5").upper()
        if algorithm not in self._algorithms or fields.get("qop", "auth") != "auth":
            return "wrong"
        wrong = self._wrong.get((user, source))
        if wrong is not None and len(wrong) == MOST_WRONG and wrong[0] > now - NONCE_LIFETIME:
            return "wrong"
        expected = _response(algorithm, fields, password, method)
        if not hmac.compare_digest(expected.encode(), fields.get("response", "").lower().encode("utf-8", "replace")):
            self._note_wrong((user, source), now)
            return "wrong"
        until, used = self._nonces.get(fields.get("nonce", ""), (now, 0))
        if until <= now:
            return "stale"
        try:
            count = int(fields.get("nc", ""), 16) if "qop" in fields else used + 1
        except ValueError:
            return "wrong"
        if count <= used:
            return "stale"
        self._nonces[fields["nonce"]] = (until, count)
        return "ok"

    def _note_wrong(self, who: tuple[str, str], now: float) -> None:
        wrong = self._wrong.pop(who, None) or deque(maxlen=MOST_WRONG)
        wrong.append(now)
        self._wrong[who] = wrong
        while len(self._wrong) > MOST_GUESSERS:
            del self._wrong[next(iter(self._wrong))]
