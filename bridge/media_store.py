"""Pictures and videos that came with texts, in a folder, each under the hash of its content.

What a stranger sends is looked at before it is kept: its type is read from its bytes and never believed, a picture is decoded
and written anew, so that nothing but pixels survives (no place, no camera, no hidden attachment). Videos are kept as they came.
"""

import asyncio
import hashlib
import io
import os
import re
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Literal, TypeAlias

import puremagic
from PIL import Image, ImageOps, ImageSequence

from bridge.events import Media

Reason: TypeAlias = Literal["too_large", "type", "too_many_pixels", "broken"]

MAX_BYTES = 5_000_000
"""The most one text can carry (Twilio takes 5 MB); more has come by another way."""
MAX_PIXELS = 50_000_000
"""Over all frames: what the largest telephone camera takes, about 150 MB while it is decoded."""
MAX_FRAMES = 500
"""Of an animation. A file of 5 MB may hold 300,000 frames of one pixel, each of which takes time to look at."""
THUMBNAIL = 320
"""Pixels of the longer side."""

PICTURES = {
    "image/jpeg": ("JPEG", "jpg"),
    "image/png": ("PNG", "png"),
    "image/gif": ("GIF", "gif"),
    "image/webp": ("WEBP", "webp"),
}
"""Content type to Pillow's name of the format and the ending of our files."""
VIDEOS = {"video/mp4": "mp4", "video/3gpp": "3gp"}
CONTENT_TYPES = {ending: kind for kind, (_, ending) in PICTURES.items()} | {ending: kind for kind, ending in VIDEOS.items()}
MP4_BRANDS = re.compile(rb"isom|iso[2-9]|mp4[12]|avc1|dash|M4V ")
"""ISO/IEC 14496-12 section 4.3: what a file of this family says it is. Brands that begin with 3gp are 3GPP TS 26.244's."""
DIGEST = re.compile(r"[0-9a-f]{64}")
PIXELS_ONLY = {"transparency", "duration", "loop", "background", "icc_profile"}
"""What a decoded picture may take along besides its pixels: how to show them."""


class MediaRefusedError(Exception):
    """Somebody sent what we do not keep. `reason` is short and stable, the text is fit to show."""

    def __init__(self, reason: Reason, explanation: str) -> None:
        super().__init__(explanation)
        self.reason = reason


class MediaStore:
    """A folder of media. Readable by its owner only: these are other people's pictures.

    Args:
        folder: Made when the first thing is put.
        max_bytes: Of what comes in.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._one_at_a_time = asyncio.Semaphore()  # bounds the memory that decoding takes

    async def put(self, data: bytes) -> Media:
        """Keep *data* and return once it is on disk. The digest and size are those of what is kept.

        Raises:
            MediaRefusedError: it is too large, of a type we do not take, or not what it pretends to be. Nothing is kept.
        """
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._put, data)

    def path(self, digest: str) -> Path | None:
        """The file with this digest; its ending tells its type (`CONTENT_TYPES`). None when there is none."""
        if not DIGEST.fullmatch(digest):
            return None
        candidates = (self._place(digest, ending) for ending in CONTENT_TYPES)
        return next((path for path in candidates if path.exists()), None)

    def thumbnail(self, digest: str) -> Path | None:
        """A small WebP of the picture with this digest. None for videos and for what is not there."""
        if not DIGEST.fullmatch(digest):
            return None
        path = self._place(digest, "thumb.webp")
        return path if path.exists() else None

    def _place(self, digest: str, ending: str) -> Path:
        return self._folder / digest[:2] / f"{digest}.{ending}"

    def _put(self, data: bytes) -> Media:
        if len(data) > self._max_bytes:
            raise MediaRefusedError("too_large", f"{len(data)} bytes are more than {self._max_bytes}")
        kind = sniff(data)
        if kind in VIDEOS:
            return self._keep(data, kind, VIDEOS[kind], None)
        if kind not in PICTURES:
            raise MediaRefusedError("type", f"{kind or 'this type of file'} is not taken")
        name, ending = PICTURES[kind]
        try:
            clean, small = _redraw(data, name)
        except MediaRefusedError:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise _too_many_pixels() from error
        except Exception as error:  # whatever a hostile file does to the decoder, it is the file's fault
            raise MediaRefusedError("broken", "the picture is damaged") from error
        return self._keep(clean, kind, ending, small)

    def _keep(self, data: bytes, kind: str, ending: str, small: bytes | None) -> Media:
        digest = hashlib.sha256(data).hexdigest()
        if small is not None:
            self._write(self._place(digest, "thumb.webp"), small)
        self._write(self._place(digest, ending), data)
        return Media(digest=digest, content_type=kind, size=len(data))

    def _write(self, path: Path, data: bytes) -> None:
        """All or nothing, and on disk before it returns."""
        if path.exists():
            return
        for folder in (self._folder, path.parent):  # one by one: parents made on the way would be open to everybody
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
        for folder in (path.parent, self._folder):
            _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """A new name is on disk only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sniff(data: bytes) -> str | None:
    """The content type that the bytes themselves tell, one of ours if it can be; None when they tell nothing."""
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand.startswith(b"3gp"):
            return "video/3gpp"
        if MP4_BRANDS.fullmatch(brand):
            return "video/mp4"
    try:
        found = [match.mime_type for match in puremagic.magic_string(data) if match.mime_type]
    except (puremagic.PureError, ValueError):  # nothing known; nothing at all
        return None
    return next(iter(found), None)


def _redraw(data: bytes, name: str) -> tuple[bytes, bytes]:
    """The picture drawn anew, and its thumbnail (WebP). An animation stays one."""
    with Image.open(io.BytesIO(data), formats=[name]) as source:
        frames = _frames(source) if name in {"GIF", "WEBP"} else 1
        if source.width * source.height * frames > MAX_PIXELS or frames > MAX_FRAMES:
            raise _too_many_pixels()
        if frames > 1:
            pictures = [_bare(frame.copy()) for frame in ImageSequence.Iterator(source)]
        else:
            source.load()
            upright: Image.Image = source
            with suppress(Exception):  # a damaged note about which side is up does not damage the picture
                upright = ImageOps.exif_transpose(source)
            pictures = [_bare(upright)]
    options: dict[str, Any] = {"save_all": True, "append_images": pictures[1:]} if len(pictures) > 1 else {}
    if len(pictures) > 1:
        options |= {
            "duration": [picture.info.get("duration", 100) for picture in pictures],
            "loop": pictures[0].info.get("loop", 0),
        }
    first = pictures[0]
    if name == "JPEG":
        first = first if first.mode in {"L", "RGB"} else first.convert("RGB")
        options |= {"quality": 88, "icc_profile": first.info.get("icc_profile")}
    return _encode(first, name, options), _small(first)


def _frames(source: Image.Image) -> int:
    """How many frames there are; not one more is looked at than we take."""
    area, frames = source.width * source.height, 1
    with suppress(EOFError):
        while frames <= MAX_FRAMES and area * frames <= MAX_PIXELS:
            source.seek(frames)
            frames += 1
    source.seek(0)
    return frames


def _too_many_pixels() -> MediaRefusedError:
    return MediaRefusedError(
        "too_many_pixels", f"the picture has more than {MAX_PIXELS // 1_000_000} million pixels or {MAX_FRAMES} frames"
    )


def _bare(picture: Image.Image) -> Image.Image:
    picture.info = {key: value for key, value in picture.info.items() if key in PIXELS_ONLY}
    return picture


def _small(picture: Image.Image) -> bytes:
    small = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return _encode(small, "WEBP", {"quality": 75})


def _encode(picture: Image.Image, name: str, options: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    picture.save(out, name, **options)
    return out.getvalue()
