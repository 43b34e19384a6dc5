"""Who may use the API, for what, and how fast."""

import hashlib
import hmac
import math
from collections.abc import Callable, Sequence

import msgspec

from bridge.settings import Scope, Settings
from bridge.web.api.problems import ProblemError
from sms.pacing import Bucket

ADMIN = "admin"
"""The name of whoever uses one of `web.api_tokens`."""
ADMIN_PER_SECOND = 100.0
BURST = 10.0
"""Seconds' worth of requests that may come at once."""


class Key(msgspec.Struct, frozen=True):
    """A program that may use the API."""

    name: str
    token_hash: bytes
    """SHA-256."""
    scopes: frozenset[Scope] | None
    """None: everything."""
    per_second: float
    numbers: frozenset[str]
    """Numbers of ours it may send from; none: all."""

    @property
    def author(self) -> str:
        """What stands with its texts."""
        return f"api:{self.name}"

    def check(self, scope: Scope) -> None:
        """Whether it may do this.

        Raises:
            ProblemError: It may not.
        """
        if self.scopes is not None and scope not in self.scopes:
            raise ProblemError("scope", f"{self.name} does not have the scope {scope}.")

    def __repr__(self) -> str:
        return f"Key(name={self.name!r})"  # this ends up in logs


class Allowance(msgspec.Struct, frozen=True):
    """What a key may still ask, for the headers of its answer."""

    limit: int
    remaining: int
    reset: int
    """Seconds until all of it is there again."""


def keys_of(settings: Settings) -> tuple[Key, ...]:
    """Every key that the settings name."""
    admins = [
        Key(ADMIN, _hash(token.get_secret_value()), None, ADMIN_PER_SECOND, frozenset()) for token in settings.web.api_tokens
    ]
    named = [
        Key(key.name, _hash(key.token.get_secret_value()), frozenset(key.scopes), key.per_second, frozenset(key.numbers))
        for key in settings.api.keys
    ]
    return (*admins, *named)


class Door:
    """Lets requests in.

    Args:
        keys: Who may come; with none, nobody may.
        now: Seconds since the epoch.
    """

    def __init__(self, keys: Sequence[Key], now: Callable[[], float]) -> None:
        self._now = now
        self._buckets: dict[bytes, Bucket] = {}
        self._used: dict[str, float] = {}
        self._keys: Sequence[Key] = ()
        self.let_in(keys)

    def let_in(self, keys: Sequence[Key]) -> None:
        """These may come from now on, and no others. What a key has asked lately still counts."""
        before = {key.token_hash: key for key in self._keys}
        self._buckets = {
            key.token_hash: self._buckets[key.token_hash]
            if key == before.get(key.token_hash)
            else Bucket(key.per_second, _burst(key))
            for key in keys
        }
        self._keys = keys

    def used(self) -> dict[str, float]:
        """When keys were used since this was last asked, by name."""
        used, self._used = self._used, {}
        return used

    def identify(self, authorization: str) -> Key:
        """Whose token a request carries. Compares with every one, in time that tells nothing about any of them.

        Raises:
            ProblemError: It is nobody's.
        """
        scheme, _, token = authorization.partition(" ")
        offered = _hash(token.strip())
        matches = [key for key in self._keys if hmac.compare_digest(offered, key.token_hash)]
        if scheme.lower() != "bearer" or not matches:
            raise ProblemError("unauthorized")
        self._used[matches[0].name] = self._now()
        return matches[0]

    def allowance(self, key: Key) -> Allowance:
        """What the key may still ask."""
        level, burst = self._buckets[key.token_hash].level(self._now()), _burst(key)
        return Allowance(int(burst), max(0, int(level)), math.ceil((burst - level) / key.per_second))

    def count(self, key: Key) -> None:
        """Count a request.

        Raises:
            ProblemError: It is one too many.
        """
        bucket, now = self._buckets[key.token_hash], self._now()
        at = bucket.next_at(1.0, 0, now)
        if at > now:
            pace = f"{key.name} may ask {key.per_second:g} times a second."
            raise ProblemError("rate", pace, retry_after=at - now)
        bucket.take(1.0, now)


def _burst(key: Key) -> float:
    return max(1.0, key.per_second * BURST)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
