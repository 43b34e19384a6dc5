"""Who is signed in at which browser: server-side sessions, CSRF tokens, and a brake on guessing passwords. Pure."""

import hashlib
import hmac
from collections import deque
from collections.abc import Callable

import msgspec

from bridge.events import AgentId

MOST_SIGN_INS = 10_000
"""Sessions kept at once; the oldest goes first."""


class SignedIn(msgspec.Struct, frozen=True):
    """One browser of one agent."""

    agent: AgentId
    csrf: str
    """Asked of every request that changes something."""
    until: float


class SignIns:
    """The signed-in browsers. A cookie's value is never kept, only its hash: a core dump or a log signs nobody in.

    Args:
        lifetime: Seconds a session lasts.
        secret: Gives a fresh unguessable string.
    """

    def __init__(self, lifetime: float, secret: Callable[[], str]) -> None:
        self._lifetime = lifetime
        self._secret = secret
        self._by_hash: dict[bytes, SignedIn] = {}

    def open(self, agent: AgentId, *, now: float) -> tuple[str, SignedIn]:
        """A new session and the cookie that stands for it."""
        self._by_hash = {key: each for key, each in self._by_hash.items() if each.until > now}
        while len(self._by_hash) >= MOST_SIGN_INS:
            del self._by_hash[next(iter(self._by_hash))]
        cookie = self._secret()
        signed_in = SignedIn(agent=agent, csrf=self._secret(), until=now + self._lifetime)
        self._by_hash[_hash(cookie)] = signed_in
        return cookie, signed_in

    def find(self, cookie: str | None, *, now: float) -> SignedIn | None:
        """Whom *cookie* stands for; None when it is unknown, missing or too old."""
        if cookie is None:
            return None
        signed_in = self._by_hash.get(_hash(cookie))
        return signed_in if signed_in is not None and signed_in.until > now else None

    def close(self, cookie: str | None) -> None:
        """Forget the session, if there is one."""
        if cookie is not None:
            self._by_hash.pop(_hash(cookie), None)


class Brake:
    """Lets a key (a login, an address) fail so many times in so many seconds, then refuses it for the rest of them."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._failures: dict[str, deque[float]] = {}

    def holds(self, key: str, *, now: float) -> bool:
        """Whether *key* has failed too often."""
        failures = self._failures.get(key)
        if failures is None:
            return False
        while failures and failures[0] <= now - self._seconds:
            failures.popleft()
        if not failures:
            del self._failures[key]
        return len(failures) >= self._most

    def failed(self, key: str, *, now: float) -> None:
        """Remember a failure."""
        if len(self._failures) > MOST_SIGN_INS:
            for each in list(self._failures):
                self.holds(each, now=now)
        self._failures.setdefault(key, deque(maxlen=self._most)).append(now)

    def succeeded(self, key: str, *, now: float) -> None:
        """Take back the failure that was noted at *now*, when it was none after all."""
        failures = self._failures.get(key)
        if failures is not None and now in failures:
            failures.remove(now)


def same(a: str, b: str) -> bool:
    """Whether two secrets are equal, in constant time."""
    return hmac.compare_digest(a.encode("utf-8", "surrogatepass"), b.encode("utf-8", "surrogatepass"))


def _hash(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).digest()
