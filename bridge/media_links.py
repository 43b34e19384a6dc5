"""Addresses of media that work for whoever has them, for a while: in a text, and for a provider that fetches what an MMS shows.

The address says which file and until when, and is signed, so nothing about it has to be kept.
"""

import hashlib
import hmac
from base64 import b64decode, urlsafe_b64encode
from typing import Literal, TypeAlias

import msgspec

from bridge.events import Media

Variant: TypeAlias = Literal["whole", "thumbnail", "fit"]
"""The file itself, a small WebP of a picture, or a JPEG of a picture that fits into an MMS."""

_VARIANTS: tuple[Variant, ...] = ("whole", "thumbnail", "fit")
_DIGEST = 16
"""Bytes of the digest: 128 bits name one file and no other, and a text with a link stays short."""
_SIGNATURE = 12
"""Bytes of the signature: 96 bits cannot be guessed by asking."""
_LENGTH = 1 + 4 + _DIGEST + _SIGNATURE
_ENDINGS = {"image/jpeg": ".jpg", "image/png": ".png", "image/gif": ".gif", "video/mp4": ".mp4", "application/pdf": ".pdf"}
"""For people who look at a link, and for programs that go by it; everything else goes without."""


class Shared(msgspec.Struct, frozen=True):
    """What an address leads to."""

    digest: str
    """The first 32 digits."""
    variant: Variant
    over: bool
    """The address was good, but its time is over."""


class MediaLinks:
    """Makes and reads addresses.

    Args:
        key: Of our signatures, 32 random bytes; addresses made with another one are worth nothing.
        public_url: How the outside reaches this server.
    """

    def __init__(self, key: bytes, public_url: str) -> None:
        self._key = key
        self._base = public_url.rstrip("/") + "/media/"

    def url(self, media: Media, *, expires_at: float, variant: Variant = "whole") -> str:
        """The address of *media* until *expires_at*."""
        said = bytes([_VARIANTS.index(variant)]) + int(expires_at).to_bytes(4) + bytes.fromhex(media.digest)[:_DIGEST]
        token = urlsafe_b64encode(said + self._sign(said)).decode()
        return self._base + token + (".jpg" if variant == "fit" else _ENDINGS.get(media.content_type, ""))

    def read(self, token: str, *, now: float) -> Shared | None:
        """What the last part of an address says (with or without an ending); None when we did not make it."""
        try:
            raw = b64decode(token.partition(".")[0], altchars=b"-_", validate=True)
        except ValueError:
            return None
        said, signature = raw[:-_SIGNATURE], raw[-_SIGNATURE:]
        if len(raw) != _LENGTH or not hmac.compare_digest(signature, self._sign(said)):
            return None
        return Shared(digest=said[5:].hex(), variant=_VARIANTS[said[0]], over=int.from_bytes(said[1:5]) <= now)

    def _sign(self, said: bytes) -> bytes:
        return hmac.digest(self._key, b"media link\0" + said, hashlib.sha256)[:_SIGNATURE]
