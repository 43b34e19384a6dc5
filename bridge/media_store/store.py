"""The store of media: what may be put, what may be shown, and what has to go."""

import asyncio
import hashlib
import io
import re
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO, Literal, Self, TypeAlias

import msgspec
import structlog

from bridge.events import Media
from bridge.media_links import Variant
from bridge.media_store.blobs import Blob, BlobGoneError, Blobs, DiskBlobs
from bridge.media_store.clean import Clean, MediaRefusedError, clean, fit
from bridge.media_store.kinds import CONTENT_TYPES, ENDINGS, PICTURES
from bridge.media_store.scan import Scanner, Verdict

log = structlog.get_logger(__name__)

MAX_BYTES = 64_000_000
"""Half a minute of video from a telephone. What comes with a text is far smaller (Twilio takes 5 MB)."""
DIGEST = re.compile(r"[0-9a-f]{32,64}")
"""A digest, or as much of its beginning as names one file and no other (128 bits)."""
_FOLDER = 32
"""Digits of the digest that name the folder of a file and what was made of it."""

Missing: TypeAlias = Literal["checking", "infected", "gone"]
"""Why there is nothing to show: nobody knows yet whether it is harmless, it is not, or there is nothing (any more)."""
_MADE: dict[Variant, tuple[str, str]] = {"thumbnail": ("thumb.webp", "image/webp"), "fit": ("fit.jpg", "image/jpeg")}


class Kept(msgspec.Struct, frozen=True):
    """A file that may be shown."""

    key: str
    """Under which the storage has it."""
    digest: str
    """Of the whole file, also when this is its thumbnail."""
    content_type: str
    size: int
    """Bytes."""


class MediaStore:
    """Media by the hash of their content. Nothing is shown before it is known to be harmless.

    Args:
        where: A folder, or another storage.
        max_bytes: Of what comes in.
        scan: Who looks whether a file is harmless; None: nobody, every file counts as harmless.
    """

    def __init__(self, where: Path | Blobs, *, max_bytes: int = MAX_BYTES, scan: Scanner | None = None) -> None:
        self._blobs = DiskBlobs(where) if isinstance(where, Path) else where
        self.max_bytes = max_bytes
        self._scan = scan
        self._one_at_a_time = asyncio.Semaphore()  # bounds the memory that decoding takes

    async def put(self, data: bytes | BinaryIO) -> Media:
        """Keep *data*, or what the open file *data* holds, and return once it is safe. Digest and size are those of what is kept.

        What cannot be checked now is kept too, but not shown until `recheck` has found it harmless.

        Raises:
            MediaRefusedError: it is too large, of a type we do not take, damaged or infected. Nothing is kept.
            BlobsUnavailableError: the storage does not take it now.
        """
        async with self._one_at_a_time:
            cleaned, digest = await asyncio.to_thread(self._clean, data)
        media = Media(digest=digest, content_type=cleaned.kind, size=len(cleaned.data))
        known = await self._look(digest)
        if known == "infected":
            raise _infected()
        verdict: Verdict = "clean" if self._scan is None or isinstance(known, Blob) else await self._scan(cleaned.data)
        if verdict == "infected":
            await self._blobs.put(_key(digest, "infected"), b"")
            log.warning("media.infected", digest=digest)
            raise _infected()
        if cleaned.small is not None:
            await self._blobs.put(_key(digest, "thumb.webp"), cleaned.small)
        key = _key(digest, ENDINGS[cleaned.kind])
        await self._blobs.put(key if verdict == "clean" else f"held/{key}", cleaned.data)
        return media

    async def find(self, digest: str, variant: Variant = "whole") -> Kept | Missing:
        """What may be shown of the file with this digest (at least the first 32 digits of it).

        A picture that is asked for in the variant `fit` for the first time is made then.
        """
        found = await self._look(digest)
        if not isinstance(found, Blob):
            return found
        name = PurePosixPath(found.key).name
        whole, _, ending = name.partition(".")
        if variant == "whole":
            return Kept(found.key, whole, CONTENT_TYPES[ending], found.size)
        made, kind = _MADE[variant]
        key = _key(whole, made)
        blob = next((blob for blob in await self._blobs.find(_folder(whole)) if blob.key == key), None)
        if blob is not None:
            return Kept(key, whole, kind, blob.size)
        if variant == "fit" and CONTENT_TYPES[ending] in PICTURES:
            return await self._make_fit(found.key, whole)
        return "gone"

    def read(self, kept: Kept, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes of what was found, from *start* up to, not including, *end*; raises as `Blobs.read`."""
        return self._blobs.read(kept.key, start, end)

    async def delete(self, digest: str) -> None:
        """Have nothing of the file with this whole digest, nor of what was made of it. It may have come from several people."""
        for folder in (_folder(digest), f"held/{_folder(digest)}"):
            for blob in await self._blobs.find(folder):
                await self._blobs.delete(blob.key)

    async def expire(self, older_than: float) -> int:
        """Remove everything that was last put before the time *older_than*; returns how many files people had sent."""
        count = 0
        for blob in await self._blobs.find():
            if blob.modified < older_than:
                await self._blobs.delete(blob.key)
                count += _is_whole(blob)
        return count

    async def recheck(self) -> dict[str, Verdict]:
        """Check again what could not be checked; the verdict of each by digest. Those that are still unknown stay held."""
        verdicts: dict[str, Verdict] = {}
        for blob in await self._blobs.find("held"):
            key = blob.key.removeprefix("held/")
            digest = PurePosixPath(key).name.partition(".")[0]
            try:
                data = b"".join([chunk async for chunk in self._blobs.read(blob.key)])
            except BlobGoneError:  # deleted meanwhile
                continue
            verdict: Verdict = "clean" if self._scan is None else await self._scan(data)
            verdicts[digest] = verdict
            held = {other.key for other in await self._blobs.find(f"held/{_folder(digest)}")}
            if verdict == "unknown" or blob.key not in held:  # the latter: deleted while it was being checked
                continue
            if verdict == "clean":
                await self._blobs.put(key, data)
            else:
                log.warning("media.infected", digest=digest)
                await self._blobs.put(_key(digest, "infected"), b"")
                await self._blobs.delete(_key(digest, "thumb.webp"))
            await self._blobs.delete(blob.key)
        return verdicts

    async def __aenter__(self) -> Self:
        """Open the storage."""
        await self._blobs.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        await self._blobs.__aexit__(kind, error, trace)

    def _clean(self, data: bytes | BinaryIO) -> tuple[Clean, str]:
        size = len(data) if isinstance(data, bytes) else data.seek(0, io.SEEK_END)
        if size > self.max_bytes:
            raise MediaRefusedError("too_large", f"{size} bytes are more than {self.max_bytes}")
        if not isinstance(data, bytes):
            data.seek(0)
            data = data.read()
        cleaned = clean(data)
        return cleaned, hashlib.sha256(cleaned.data).hexdigest()

    async def _look(self, digest: str) -> Blob | Missing:
        """The whole file, or why it may not be shown."""
        if not DIGEST.fullmatch(digest):
            return "gone"
        blobs = [blob for blob in await self._blobs.find(_folder(digest)) if _digest_of(blob).startswith(digest)]
        whole = next((blob for blob in blobs if _is_whole(blob)), None)
        if whole is not None:
            return whole
        if any(blob.key.endswith(".infected") for blob in blobs):
            return "infected"
        held = await self._blobs.find(f"held/{_folder(digest)}")
        return "checking" if any(_digest_of(blob).startswith(digest) for blob in held) else "gone"

    async def _make_fit(self, key: str, digest: str) -> Kept | Missing:
        try:
            data = b"".join([chunk async for chunk in self._blobs.read(key)])
        except BlobGoneError:
            return "gone"
        async with self._one_at_a_time:
            small = await asyncio.to_thread(fit, data)
        made, kind = _MADE["fit"]
        await self._blobs.put(_key(digest, made), small)
        return Kept(_key(digest, made), digest, kind, len(small))


def _folder(digest: str) -> str:
    return f"{digest[:2]}/{digest[:_FOLDER]}"


def _key(digest: str, ending: str) -> str:
    return f"{_folder(digest)}/{digest}.{ending}"


def _digest_of(blob: Blob) -> str:
    return PurePosixPath(blob.key).name.partition(".")[0]


def _is_whole(blob: Blob) -> bool:
    return PurePosixPath(blob.key).name.partition(".")[2] in CONTENT_TYPES


def _infected() -> MediaRefusedError:
    return MediaRefusedError("infected", "the file was found to be harmful")
