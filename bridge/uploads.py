"""Links by which a customer sends files where a text cannot carry them: bound to a session, used once, over after a while."""

import asyncio
import hashlib
import re
import secrets
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Literal, Protocol, TypeAlias

import msgspec
import structlog

from bridge.conversation import FreshLink
from bridge.events import Media, SessionId
from bridge.journal import UploadRow
from bridge.media_store import MediaRefusedError, MediaStore
from bridge.media_store import Reason as MediaReason
from sms.message import readable

log = structlog.get_logger(__name__)

MOST_FILES = 10
MOST_ATTEMPTS = 40
"""Submissions begun with one link; a bad connection begins many."""
MOST_AT_ONCE = 16
"""Submissions under way in this process."""
MOST_OF_ONE_LINK = 4
"""Submissions under way with one link: a telephone that lost its connection begins anew before the old one is known to be gone,
and one customer must not keep all the others waiting."""
_REMEMBERED = 10_000
"""Links whose attempts are counted; of more, those that were tried longest ago are forgotten."""
_LONGEST_NAME = 80
_NAME = re.compile(r"([A-Za-z0-9_-]{22})([a-z]{2})")
"""128 random bits, and the language of the page."""

Problem: TypeAlias = Literal["unknown", "used", "expired", "busy", "too_often"]
"""Why a link does not work. With `busy` the same works a little later."""
Reason: TypeAlias = MediaReason | Literal["too_many"]

Take: TypeAlias = Callable[[SessionId, str, tuple[Media, ...], int], Awaitable[None]]
"""Tells a session: its id, the hash of the link's token, what came, and how many files were not taken.

Returns when it is saved. After a crash in just that moment the customer may send again: the same hash a second time is a repeat.
"""

_Files: TypeAlias = list[tuple[str, BinaryIO]]
"""What the customer's telephone calls each file, and its bytes."""


class LinkRefusedError(Exception):
    """A link does not work (now)."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem: Problem = problem


class UploadJournal(Protocol):
    """What is needed of `bridge.journal.Journal`."""

    async def upload(self, token_hash: str) -> UploadRow | None:
        """None: there is no such link."""

    async def use_upload(self, token_hash: str, now: float) -> bool:
        """Use a link up; False when it was used before."""


class OpenLink(msgspec.Struct, frozen=True):
    """A link that can be used now."""

    token: str
    """Hash of the secret."""
    language: str
    session: SessionId
    expires_at: float
    looked_at: float


class NotTaken(msgspec.Struct, frozen=True):
    """A file that was not kept."""

    name: str
    """As the customer's telephone calls it."""
    reason: Reason


class Outcome(msgspec.Struct, frozen=True):
    """What became of a submission. When nothing was taken the link goes on working."""

    taken: tuple[Media, ...]
    refused: tuple[NotTaken, ...]


class Uploads:
    """Makes links and takes what comes through them.

    Args:
        journal: Knows the links.
        media: Cleans, checks and keeps the files.
        take: Tells the session.
        public_url: How customers reach this server.
        spool: Folder for files on their way in; it stays empty to the eye, the files have no names.
        lifetime: Seconds a link works.
    """

    def __init__(
        self, journal: UploadJournal, media: MediaStore, take: Take, *, public_url: str, spool: Path, lifetime: float = 1800.0
    ) -> None:
        self._journal = journal
        self._media = media
        self._take = take
        self._base = public_url.rstrip("/") + "/u/"
        self._spool = spool
        self._lifetime = lifetime
        self._attempts: OrderedDict[str, int] = OrderedDict()
        self._under_way: Counter[str] = Counter()
        self._finishing: set[str] = set()

    @property
    def max_bytes(self) -> int:
        """Of one file."""
        return self._media.max_bytes

    def link(self, language: str, *, now: float) -> FreshLink:
        """A new link with a page in *language* (ISO 639-1). Save it with the text that carries it, in one transaction."""
        secret = secrets.token_urlsafe(16)
        name = secret + (language[:2] if _NAME.fullmatch(secret + language[:2]) else "en")
        return FreshLink(self._base + name, _hash(secret), now + self._lifetime)

    async def look(self, name: str, *, now: float) -> OpenLink:
        """What the last part of a link's address opens. Looking uses nothing up: programs look at links in texts.

        Raises:
            LinkRefusedError: it is not a link of ours, was used, or its time is over.
        """
        match = _NAME.fullmatch(name)
        row = None if match is None else await self._journal.upload(_hash(match[1]))
        if match is None or row is None:
            raise LinkRefusedError("unknown")
        if row.used_at is not None:
            raise LinkRefusedError("used")
        if row.expires_at <= now:
            raise LinkRefusedError("expired")
        return OpenLink(row.token_hash, match[2], row.session, row.expires_at, now)

    @asynccontextmanager
    async def submission(self, link: OpenLink) -> AsyncIterator["Submission"]:
        """Take files through *link*. What was received and not finished is gone after the block.

        Raises:
            LinkRefusedError: too often, or too many at once.
        """
        attempts = self._attempts.pop(link.token, 0) + 1
        self._attempts[link.token] = attempts
        if len(self._attempts) > _REMEMBERED:
            self._attempts.popitem(last=False)
        if attempts > MOST_ATTEMPTS:
            raise LinkRefusedError("too_often")
        if self._under_way.total() >= MOST_AT_ONCE or self._under_way[link.token] >= MOST_OF_ONE_LINK:
            raise LinkRefusedError("busy")
        self._under_way[link.token] += 1
        submission = Submission(self._spool, self.max_bytes, lambda files, refused: self._finish(link, files, refused))
        try:
            yield submission
        finally:
            self._under_way -= Counter([link.token])  # what nobody uses is not kept
            submission.close()

    async def _finish(self, link: OpenLink, files: _Files, refused: list[NotTaken]) -> Outcome:
        """Clean, check and keep *files*, tell the session, and only then use the link up: what is told of is never lost."""
        if link.token in self._finishing:
            raise LinkRefusedError("busy")
        self._finishing.add(link.token)
        try:
            row = await self._journal.upload(link.token)
            if row is None or row.used_at is not None:
                raise LinkRefusedError("used")
            taken: dict[Media, None] = {}
            refused = list(refused)
            for name, file in files:
                try:
                    taken[await self._media.put(file)] = None
                except MediaRefusedError as error:
                    refused.append(NotTaken(name, error.reason))
            if taken:
                await self._take(link.session, link.token, tuple(taken), len(refused))
                if not await self._journal.use_upload(link.token, link.looked_at):
                    raise LinkRefusedError("used")  # at another node, in the same moment
            log.info("upload.received", session=link.session, files=len(taken), refused=[item.reason for item in refused])
            return Outcome(tuple(taken), tuple(refused))
        finally:
            self._finishing.discard(link.token)


_Finish: TypeAlias = Callable[[_Files, list[NotTaken]], Awaitable[Outcome]]


class Submission:
    """Files on their way in. Made by `Uploads.submission`."""

    def __init__(self, spool: Path, max_bytes: int, finish: _Finish) -> None:
        self._spool = spool
        self._max_bytes = max_bytes
        self._finish = finish
        self._files: _Files = []
        self._refused: list[NotTaken] = []

    async def add(self, name: str, chunks: AsyncIterator[bytes]) -> None:
        """Receive one file. One that is too large or one too many is read to its end and not kept; `finish` tells of it.

        An empty file without a name is what a form sends for a field that was left empty; it counts as no file.
        """
        shown = readable(name).strip()[-_LONGEST_NAME:]
        file = await asyncio.to_thread(self._open) if len(self._files) < MOST_FILES else None
        size = 0
        try:
            async for chunk in chunks:
                size += len(chunk)
                if file is not None and size <= self._max_bytes:
                    await asyncio.to_thread(file.write, chunk)
        except BaseException:
            _close(file)
            raise
        if not name and size == 0:
            _close(file)
        elif file is None:
            self._refused.append(NotTaken(shown, "too_many"))
        elif size > self._max_bytes:
            _close(file)
            self._refused.append(NotTaken(shown, "too_large"))
        else:
            self._files.append((shown, file))

    async def finish(self) -> Outcome:
        """Everything has been received: keep it, tell the session, use the link up.

        Raises:
            LinkRefusedError: another submission was faster, or is about to be.
            BlobsUnavailableError: the storage does not take the files now; nothing was used up.
        """
        if not self._files:
            return Outcome((), tuple(self._refused))
        return await self._finish(self._files, self._refused)

    def close(self) -> None:
        """Let everything go that was received."""
        for _, file in self._files:
            file.close()

    def _open(self) -> BinaryIO:
        self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        return TemporaryFile(dir=self._spool)


def _close(file: BinaryIO | None) -> None:
    if file is not None:
        file.close()


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
