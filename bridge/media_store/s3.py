"""Media in storage that speaks S3: Amazon's, or any of the many that are shaped like it. Needs the extra `s3`."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec
import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from bridge.media_store.blobs import CHUNK, Blob, BlobGoneError, BlobsUnavailableError

if TYPE_CHECKING:
    from obstore import GetOptions  # exists for type checkers only


class S3Config(msgspec.Struct, frozen=True, kw_only=True):
    """Where a bucket is, and who we are to it."""

    bucket: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"
    url: str | None = None
    """Of the service, such as `https://s3.example.com`; None: Amazon's in `region`."""
    prefix: str = ""
    """Folder in the bucket under which everything of ours lies."""
    patience: float = 30.0
    """Seconds a request may take."""
    retries: int = 3
    """Times a request is made again when the service does not answer or says that it cannot just now."""

    def __repr__(self) -> str:
        return f"S3Config(url={self.url!r}, bucket={self.bucket!r}, prefix={self.prefix!r})"  # not the keys: this ends up in logs


class S3Blobs:
    """A bucket. It has to exist; nothing in it needs to be public."""

    def __init__(self, config: S3Config) -> None:
        self._config = config
        self._opened: S3Store | None = None

    @property
    def _bucket(self) -> S3Store:
        if self._opened is None:
            raise BlobsUnavailableError("the bucket is not open")
        return self._opened

    async def put(self, key: str, data: bytes) -> None:
        """As `Blobs.put`."""
        with _bad_days(key):
            await obstore.put_async(self._bucket, key, data)

    async def find(self, folder: str = "") -> list[Blob]:
        """As `Blobs.find`."""
        with _bad_days(folder):
            found = await obstore.list(self._bucket, prefix=folder or None).collect_async()
        blobs = [Blob(one["path"], one["size"], one["last_modified"].timestamp()) for one in found]
        return sorted(blobs, key=lambda blob: blob.key)

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """As `Blobs.read`."""
        if end is not None and end <= start:
            return
        with _bad_days(key):
            if start == 0 and end is None:  # an empty file has no range that could be asked for
                found = await obstore.get_async(self._bucket, key)
            else:
                wanted: GetOptions = {"range": {"offset": start} if end is None else (start, end)}
                found = await obstore.get_async(self._bucket, key, options=wanted)
            async for chunk in found.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)

    async def delete(self, key: str) -> None:
        """As `Blobs.delete`."""
        with _bad_days(key):
            await obstore.delete_async(self._bucket, key)

    async def __aenter__(self) -> Self:
        """Get ready; the first request connects."""
        config = self._config
        self._opened = await asyncio.to_thread(
            S3Store,
            config.bucket,
            prefix=config.prefix or None,
            endpoint=config.url,
            region=config.region,
            access_key_id=config.access_key,
            secret_access_key=config.secret_key,
            virtual_hosted_style_request=config.url is None,  # others seldom have a name per bucket
            client_options={
                "timeout": timedelta(seconds=config.patience),
                "allow_http": (config.url or "").startswith("http://"),
            },
            retry_config={"max_retries": config.retries, "retry_timeout": timedelta(seconds=config.patience)},
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let the connections go."""
        self._opened = None


@contextmanager
def _bad_days(key: str) -> Iterator[None]:
    """Errors of the library as ours. Its words go no further than the first line: what follows are answers of the service."""
    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise BlobsUnavailableError("there is no such bucket") from error
        raise BlobGoneError(key) from error
    except (BaseError, OSError) as error:
        raise BlobsUnavailableError(str(error).partition("\n")[0]) from error
