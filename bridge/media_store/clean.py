"""What a stranger sends, made fit to keep: its type read from its bytes, a picture drawn anew, notes about its maker gone."""

import io
from contextlib import suppress
from typing import Any, Literal, TypeAlias

import msgspec
from PIL import Image, ImageOps, ImageSequence

from bridge.media_out import FIT_BYTES
from bridge.media_store.boxes import BoxError, clean_heif, clean_movie
from bridge.media_store.kinds import ENDINGS, HEIF, MOVIES, PICTURES, sniff

Reason: TypeAlias = Literal["too_large", "type", "too_many_pixels", "broken", "infected"]

MAX_PIXELS = 50_000_000
"""Over all frames: what the largest telephone camera takes, about 150 MB while it is decoded."""
MAX_FRAMES = 500
"""Of an animation. A file of 5 MB may hold 300,000 frames of one pixel, each of which takes time to look at."""
THUMBNAIL = 320
"""Pixels of the longer side."""
FIT_SIDES = (2048, 1600, 1280, 1024)
"""Pixels of the longer side that are tried, one after the other, until a picture is small enough; the last one always is."""
_PIXELS_ONLY = {"transparency", "duration", "loop", "background", "icc_profile"}
"""What a decoded picture may take along besides its pixels: how to show them."""


class MediaRefusedError(Exception):
    """Somebody sent what we do not keep. `reason` is short and stable, the text is fit to show."""

    def __init__(self, reason: Reason, explanation: str) -> None:
        super().__init__(explanation)
        self.reason = reason


class Clean(msgspec.Struct, frozen=True):
    """A file that may be kept."""

    kind: str
    """Content type."""
    data: bytes
    small: bytes | None
    """A thumbnail (WebP); None where none can be made."""


def clean(data: bytes) -> Clean:
    """*data* as it may be kept.

    Raises:
        MediaRefusedError: it is of a type we do not take, has too many pixels, or is not what it pretends to be.
    """
    kind = sniff(data)
    if kind not in ENDINGS:
        raise MediaRefusedError("type", f"{kind or 'this type of file'} is not taken")
    if kind in PICTURES:
        drawn, small = _draw(data, PICTURES[kind][0])
        return Clean(kind, drawn, small)
    try:
        if kind in MOVIES:
            data = clean_movie(data)
        elif kind in HEIF:
            data = clean_heif(data)
    except BoxError as error:
        raise MediaRefusedError("broken", "the file is damaged") from error
    return Clean(kind, data, None)


def fit(data: bytes) -> bytes:
    """A kept picture as a JPEG that fits into an MMS; of an animation the first frame, on white where it was transparent."""
    with Image.open(io.BytesIO(data)) as source:
        source.load()
        picture = source.convert("RGBA") if source.has_transparency_data else source.convert("RGB")
    if picture.mode == "RGBA":
        ground = Image.new("RGB", picture.size, "white")
        ground.paste(picture, mask=picture.getchannel("A"))
        picture = ground
    for side in FIT_SIDES:
        picture.thumbnail((side, side))
        out = _encode(picture, "JPEG", {"quality": 80})
        if len(out) <= FIT_BYTES:
            break
    return out


def _draw(data: bytes, name: str) -> tuple[bytes, bytes]:
    try:
        return _redraw(data, name)
    except MediaRefusedError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels() from error
    except Exception as error:  # whatever a hostile file does to the decoder, it is the file's fault
        raise MediaRefusedError("broken", "the picture is damaged") from error


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
    picture.info = {key: value for key, value in picture.info.items() if key in _PIXELS_ONLY}
    return picture


def _small(picture: Image.Image) -> bytes:
    small = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return _encode(small, "WEBP", {"quality": 75})


def _encode(picture: Image.Image, name: str, options: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    picture.save(out, name, **options)
    return out.getvalue()
