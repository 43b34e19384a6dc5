"""Where the bytes lie: a seam with a contract suite (`tests/contract/test_blobs.py`), and the folder that is the default."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import Protocol, Self, TypeVar

import msgspec

from bridge.media_store.marks import PREFIX

CHUNK = 256 * 1024
"""Bytes that are read at a time."""
FORGOTTEN_AFTER = 3600.0
"""Seconds after which a file that was begun and not finished is somebody's who has died."""
_T = TypeVar("_T")


class BlobGoneError(Exception):
    """There is nothing under this key."""


class BlobsUnavailableError(Exception):
    """The storage does not answer, or refuses us; the same may work later."""


class Blob(msgspec.Struct, frozen=True):
    """Something that is kept."""

    key: str
    """Folders and a name, joined by slashes."""
    size: int
    """Bytes."""
    modified: float
    """When it was last put."""


class Blobs(Protocol):
    """Bytes under keys. Every method raises `BlobsUnavailableError` when the storage has a bad day."""

    async def put(self, key: str, data: bytes) -> None:
        """Keep *data* whole or not at all; it is safe when this returns. What was there is replaced, `modified` is now."""

    async def find(self, folder: str = "") -> list[Blob]:
        """Everything below *folder*, however deep, in the order of the keys; all there is when it is empty."""

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from *start* up to, not including, *end* (None: the last), in pieces.

        Raises:
            BlobGoneError: there is nothing, before the first piece.
        """

    async def delete(self, key: str) -> None:
        """Have nothing under *key*; nothing happens when there was nothing."""

    async def __aenter__(self) -> Self:
        """Open."""

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close."""


class DiskBlobs:
    """A folder. Readable by its owner only: these are other people's pictures.

    Args:
        folder: Made when the first thing is put.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, key: str, data: bytes) -> None:
        """As `Blobs.put`."""
        await self._in_thread(lambda: self._put(key, data))

    async def find(self, folder: str = "") -> list[Blob]:
        """As `Blobs.find`."""
        return await self._in_thread(lambda: self._find(folder))

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """As `Blobs.read`."""
        try:
            file = await asyncio.to_thread((self._folder / key).open, "rb")
        except FileNotFoundError as error:
            raise BlobGoneError(key) from error
        except OSError as error:
            raise BlobsUnavailableError(str(error)) from error
        with file:
            file.seek(start)
            left = None if end is None else end - start
            while left is None or left > 0:
                size = CHUNK if left is None else min(CHUNK, left)
                chunk = await asyncio.to_thread(file.read, size)
                if not chunk:
                    return
                left = None if left is None else left - len(chunk)
                yield chunk

    async def delete(self, key: str) -> None:
        """As `Blobs.delete`."""
        await self._in_thread(lambda: self._delete(key))

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise BlobsUnavailableError(str(error)) from error

    def _find(self, folder: str) -> list[Blob]:
        """What was begun long ago and never finished is removed on the way."""
        found = []
        for path in sorted((self._folder / folder).rglob("*")):
            with suppress(FileNotFoundError):  # another task was faster
                facts = path.stat()
                if path.is_dir():
                    continue
                if not path.name.startswith("."):
                    found.append(Blob(path.relative_to(self._folder).as_posix(), facts.st_size, facts.st_mtime))
                elif facts.st_mtime < time.time() - FORGOTTEN_AFTER and not path.name.startswith(PREFIX):
                    path.unlink()
        return found

    def _put(self, key: str, data: bytes) -> None:
        path = self._folder / key
        folders = [self._folder, *(self._folder / parent for parent in reversed(Path(key).parents) if parent.name)]
        for folder in folders:  # one by one: parents made on the way would be open to everybody
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        for folder in reversed(folders):
            _sync_folder(folder)

    def _delete(self, key: str) -> None:
        path = self._folder / key
        path.unlink(missing_ok=True)
        for parent in Path(key).parents:
            if not parent.name:
                break
            try:
                (self._folder / parent).rmdir()
            except OSError:  # something else lies there
                break

    async def __aenter__(self) -> Self:
        """As `Blobs.__aenter__`."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """As `Blobs.__aexit__`."""


def _sync_folder(folder: Path) -> None:
    """A new name is on disk only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
