"""Who is signed in at which browser: server-side sessions, CSRF tokens, and a brake on guessing passwords. Pure."""

import hashlib
import hmac
from collections import deque
from collections.abc import Callable, Collection

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
        keep: Is told of every session that begins (with None: that ends), under the hash of its cookie; what it keeps can be
            resumed after a restart.
    """

    def __init__(
        self, lifetime: float, secret: Callable[[], str], keep: Callable[[str, SignedIn | None], None] = lambda *_: None
    ) -> None:
        self.lifetime = lifetime
        self._secret = secret
        self._keep = keep
        self._by_hash: dict[str, SignedIn] = {}

    def resume(self, hashed: str, signed_in: SignedIn) -> None:
        """A session of before the restart goes on."""
        self._by_hash[hashed] = signed_in

    def open(self, agent: AgentId, *, now: float) -> tuple[str, SignedIn]:
        """A new session and the cookie that stands for it."""
        self._by_hash = {key: each for key, each in self._by_hash.items() if each.until > now}
        while len(self._by_hash) >= MOST_SIGN_INS:
            del self._by_hash[next(iter(self._by_hash))]
        cookie = self._secret()
        signed_in = SignedIn(agent=agent, csrf=self._secret(), until=now + self.lifetime)
        self._by_hash[cookie_hash(cookie)] = signed_in
        self._keep(cookie_hash(cookie), signed_in)
        return cookie, signed_in

    def find(self, cookie: str | None, *, now: float) -> SignedIn | None:
        """Whom *cookie* stands for; None when it is unknown, missing or too old."""
        if cookie is None:
            return None
        signed_in = self._by_hash.get(cookie_hash(cookie))
        return signed_in if signed_in is not None and signed_in.until > now else None

    def hashes(self) -> set[str]:
        """Hashes of the cookies of all sessions."""
        return set(self._by_hash)

    def drop(self, hashes: Collection[str]) -> set[AgentId]:
        """Forget sessions that were ended elsewhere; returns whose they were."""
        return {gone.agent for hashed in hashes if (gone := self._by_hash.pop(hashed, None)) is not None}

    def close(self, cookie: str | None) -> None:
        """Forget the session, if there is one."""
        if cookie is not None and self._by_hash.pop(cookie_hash(cookie), None) is not None:
            self._keep(cookie_hash(cookie), None)

    def has(self, agent: AgentId) -> bool:
        """Whether *agent* is signed in anywhere."""
        return any(each.agent == agent for each in self._by_hash.values())

    def close_all(self, agent: AgentId, *, but: str | None = None) -> None:
        """Forget every session of *agent*, except that of the cookie with the hash *but*."""
        for hashed in [hashed for hashed, each in self._by_hash.items() if each.agent == agent and hashed != but]:
            del self._by_hash[hashed]
            self._keep(hashed, None)


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


def cookie_hash(cookie: str) -> str:
    """What is kept of a cookie."""
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).hexdigest()
