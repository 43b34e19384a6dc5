"""A journal of upload links in memory, a session that remembers what it was told, and the pages on top of them."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image
from prometheus_client import CollectorRegistry

from bridge.events import Media, SessionId
from bridge.journal import UploadRow
from bridge.media_links import MediaLinks
from bridge.media_store import MediaStore
from bridge.uploads import Uploads
from bridge.web.server import WebConfig, make_app, serving
from tests.unit.web.fakes import FakeDesk, FakeIntake, FakeRecords

START = 1_795_000_000.0
PDF = b"%PDF-1.7\nhello"
VIDEO = b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\x03\xe8mdat" + bytes(range(248)) * 4
DAMAGED = b"\xff\xd8\xff\xe0" + bytes(100)


def photo(colour: str = "teal", *, size: tuple[int, int] = (60, 40)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "JPEG")
    return out.getvalue()


class FakeUploadJournal:
    """Links in a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[str, UploadRow] = {}

    async def upload(self, token_hash: str) -> UploadRow | None:
        return self.rows.get(token_hash)

    async def use_upload(self, token_hash: str, now: float) -> bool:
        row = self.rows[token_hash]
        if row.used_at is not None or row.expires_at <= now:
            return False
        self.rows[token_hash] = msgspec.structs.replace(row, used_at=now)
        return True


class Place:
    """Uploads with everything around them, at a time that a test sets."""

    def __init__(self, folder: Path, *, max_bytes: int = 1_000_000, store: MediaStore | None = None) -> None:
        self.now = START
        self.folder = folder
        self.journal = FakeUploadJournal()
        self.store = store or MediaStore(folder / "media", max_bytes=max_bytes)
        self.told: list[tuple[SessionId, str, tuple[Media, ...], int]] = []
        self.fault: Exception | None = None
        self.uploads = Uploads(
            self.journal, self.store, self._take, public_url="https://sms.example.com", spool=folder / "spool", lifetime=600.0
        )
        self.links = MediaLinks(bytes(32), "https://sms.example.com")

    async def _take(self, session: SessionId, token: str, media: tuple[Media, ...], refused: int) -> None:
        if self.fault is not None:
            raise self.fault
        self.told.append((session, token, media, refused))

    def link(self, language: str = "en") -> str:
        """The last part of the address of a new link."""
        made = self.uploads.link(language, now=self.now)
        self.journal.rows[made.token] = UploadRow(
            token_hash=made.token, session=SessionId("s-1"), created_at=self.now, expires_at=made.expires_at
        )
        return made.url.removeprefix("https://sms.example.com/u/")

    @asynccontextmanager
    async def serving(self, **config: Any) -> AsyncIterator[str]:
        """The pages on a socket; gives the address."""
        app = make_app(
            FakeDesk(self.now),
            FakeIntake(),
            FakeRecords(),
            None,
            WebConfig(prompts=self.folder, brand="Northwind Telecom", **config),
            registry=CollectorRegistry(),
            uploads=self.uploads,
            shared=(self.links, self.store),
            now=lambda: self.now,
        )
        async with serving(app, "127.0.0.1", 0, shutdown_timeout=1.0) as port:
            yield f"http://127.0.0.1:{port}"
