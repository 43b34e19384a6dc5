"""What people send with texts: looked at, stripped of everything but pixels, kept under the hash of its content."""

import hashlib
import io
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from bridge.media_links import Variant
from bridge.media_out import FIT_BYTES
from bridge.media_store import CONTENT_TYPES, DiskBlobs, Kept, MediaRefusedError, MediaStore
from bridge.media_store.clean import THUMBNAIL, _redraw, fit

GPS, ORIENTATION, MAKE = 0x8825, 0x0112, 0x010F
SECRET = b"Rue de la Paix"


@pytest.fixture
def store(tmp_path: Path) -> MediaStore:
    return MediaStore(tmp_path / "media")


async def path_of(store: MediaStore, digest: str, variant: Variant = "whole") -> Path | None:
    kept = await store.find(digest, variant)
    if not isinstance(kept, Kept):
        return None
    assert isinstance(store._blobs, DiskBlobs)
    return store._blobs._folder / kept.key


def picture(name: str, *, size: tuple[int, int] = (60, 40), mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    image = Image.radial_gradient("L").resize(size).convert(mode)
    image.save(out, name, **options)
    return out.getvalue()


def telling_exif(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[MAKE] = SECRET.decode()
    exif[ORIENTATION] = orientation
    exif[GPS] = {1: "N", 2: (48.0, 52.0, 7.0)}
    return exif


def telling(name: str) -> bytes:
    """A picture that says more than it shows, in every way its format knows."""
    if name == "GIF":
        return picture(name, mode="P", comment=SECRET)
    if name == "PNG":
        notes = PngImagePlugin.PngInfo()
        notes.add_text("Comment", SECRET.decode())
        notes.add_itxt("XML:com.adobe.xmp", SECRET.decode())
        return picture(name, pnginfo=notes, exif=telling_exif()) + SECRET
    if name == "JPEG":
        return picture(name, exif=telling_exif(), comment=SECRET, xmp=SECRET) + SECRET
    return picture(name, exif=telling_exif(), xmp=SECRET)


def video(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\2\0isommp42\0\0\0\x10mdat12345678"


@pytest.mark.parametrize(
    ("name", "content_type"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("GIF", "image/gif"), ("WEBP", "image/webp")]
)
async def test_a_picture_keeps_its_pixels_and_nothing_else(store: MediaStore, name: str, content_type: str) -> None:
    """Place, camera, comments and appended bytes are gone; size and type stay; the digest is that of the kept file."""
    original = telling(name)
    assert SECRET in original

    media = await store.put(original)

    path = await path_of(store, media.digest)
    assert path is not None
    kept = path.read_bytes()
    assert (media.content_type, CONTENT_TYPES[path.suffix[1:]]) == (content_type, content_type)
    assert (media.size, media.digest) == (len(kept), hashlib.sha256(kept).hexdigest())
    assert SECRET not in kept
    with Image.open(path) as image:
        assert (image.format, image.size) == (name, (60, 40))
        assert dict(image.getexif()) == {}


async def test_a_picture_is_put_upright(store: MediaStore) -> None:
    """The turn that the camera only noted is done for good, since the note goes."""
    media = await store.put(picture("JPEG", size=(60, 40), exif=telling_exif(orientation=6)))

    path = await path_of(store, media.digest)
    assert path is not None
    with Image.open(path) as image:
        assert image.size == (40, 60)


async def test_a_picture_gets_a_thumbnail(store: MediaStore) -> None:
    """A small WebP with the same shape; a smaller picture is not blown up."""
    large, small = await store.put(picture("PNG", size=(1000, 500), mode="RGBA")), await store.put(picture("PNG", size=(30, 10)))

    for media, size in ((large, (THUMBNAIL, THUMBNAIL // 2)), (small, (30, 10))):
        path = await path_of(store, media.digest, "thumbnail")
        assert path is not None
        with Image.open(path) as image:
            assert (image.format, image.size) == ("WEBP", size)


@pytest.mark.parametrize(("name", "mode"), [("GIF", "P"), ("WEBP", "RGB")])
async def test_an_animation_stays_one(store: MediaStore, name: str, mode: str) -> None:
    """Frames and their times survive; comments do not."""
    frames = [Image.new("RGB", (20, 20), colour).convert(mode) for colour in ("red", "green", "blue")]
    comment = {"comment": SECRET} if name == "GIF" else {"exif": telling_exif()}
    out = io.BytesIO()
    frames[0].save(out, name, save_all=True, append_images=frames[1:], duration=[100, 200, 300], loop=0, **comment)

    media = await store.put(out.getvalue())

    path = await path_of(store, media.digest)
    assert path is not None
    assert SECRET not in path.read_bytes()
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == 3


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
async def test_every_jpeg_colour_model_is_taken(store: MediaStore, mode: str) -> None:
    """Grey stays grey, print colours become screen colours."""
    media = await store.put(picture("JPEG", mode=mode))

    path = await path_of(store, media.digest)
    assert path is not None
    with Image.open(path) as image:
        assert image.mode == ("RGB" if mode == "CMYK" else mode)


@pytest.mark.parametrize(
    ("brand", "content_type"), [(b"isom", "video/mp4"), (b"avc1", "video/mp4"), (b"3gp4", "video/3gpp"), (b"3gp5", "video/3gpp")]
)
async def test_a_video_is_kept_as_it_came(store: MediaStore, brand: bytes, content_type: str) -> None:
    """No thumbnail, the same bytes."""
    media = await store.put(video(brand))

    path = await path_of(store, media.digest)
    assert path is not None
    assert (media.content_type, path.read_bytes()) == (content_type, video(brand))
    assert await store.find(media.digest, "thumbnail") == "gone"


async def test_the_same_thing_is_kept_once(store: MediaStore, tmp_path: Path) -> None:
    """Two customers who send one picture share a file, and nothing else lies about."""
    assert await store.put(picture("PNG")) == await store.put(picture("PNG"))

    files = [path for path in (tmp_path / "media").rglob("*") if path.is_file()]
    assert len(files) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "type"),
        (b"hello", "type"),
        (b"MZ\x90\0" + bytes(60), "type"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "type"),
        (b"<html><script>alert(1)</script>", "type"),
        (video(b"avif"), "type"),
        (video(b"mif1"), "type"),
        (video(b"isom") + b"\0\0\1\0mdat", "broken"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "broken"),
        (picture("PNG")[:-40], "broken"),
        (bytes(64_000_001), "too_large"),
    ],
)
async def test_what_is_not_taken_is_refused_with_a_reason(store: MediaStore, tmp_path: Path, data: bytes, reason: str) -> None:
    """Scripts, documents, damaged and oversized files leave nothing behind."""
    with pytest.raises(MediaRefusedError) as error:
        await store.put(data)

    assert error.value.reason == reason
    assert not (tmp_path / "media").exists()


@pytest.mark.parametrize("side", [7_100, 9_500, 14_000])
async def test_a_small_file_with_too_many_pixels_is_refused(store: MediaStore, side: int) -> None:
    """A picture that would fill the memory is not decoded, whether we, Pillow's warning or Pillow's error sees it first."""
    out = io.BytesIO()
    Image.new("1", (side, side)).save(out, "PNG")

    with pytest.raises(MediaRefusedError) as error:
        await store.put(out.getvalue())

    assert error.value.reason == "too_many_pixels"


async def test_an_animation_has_so_many_frames(store: MediaStore) -> None:
    """A hundred thousand frames of one pixel are few pixels and much work: not one more is looked at than is taken."""
    head = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff"
    frame = b"\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x4c\x01\x00"

    with pytest.raises(MediaRefusedError) as refused:
        await store.put(head + frame * 100_000 + b";")
    assert refused.value.reason == "too_many_pixels"


async def test_the_folders_are_closed_to_others(store: MediaStore, tmp_path: Path) -> None:
    """These are other people's pictures: no folder on the way can be entered by anybody else."""
    await store.put(picture("PNG"))

    for folder in (tmp_path / "media", *(path for path in (tmp_path / "media").rglob("*") if path.is_dir())):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("digest", ["../../etc/passwd", "", "0" * 63, "G" * 64, "0" * 64, "0" * 64 + "\n"])
async def test_only_digests_find_files(store: MediaStore, digest: str) -> None:
    """A digest that is none, or that nothing has, finds nothing and leaves the folder's walls alone."""
    assert await store.find(digest) == "gone"
    assert await store.find(digest, "thumbnail") == "gone"


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["JPEG", "PNG", "GIF", "WEBP"]),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), min_size=1, max_size=6),
)
async def test_a_damaged_picture_is_redrawn_or_refused(tmp_path_factory: pytest.TempPathFactory, name: str, cuts: Any) -> None:
    """Whatever bytes are flipped, the outcome is a whole picture or a refusal, never another error."""
    data = bytearray(telling(name))
    for where, junk in cuts:
        at = int(where * (len(data) - len(junk)))
        data[at : at + len(junk)] = junk
    store = MediaStore(tmp_path_factory.mktemp("media"))

    try:
        media = await store.put(bytes(data))
    except MediaRefusedError:
        return

    path = await path_of(store, media.digest)
    assert path is not None
    with Image.open(path) as image:
        image.load()


def test_redrawing_what_was_redrawn_keeps_it_a_picture() -> None:
    """A kept file is acceptable input: its own redrawing has the same size and format."""
    once, _ = _redraw(telling("PNG"), "PNG")
    twice, _ = _redraw(once, "PNG")

    assert once == twice


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
async def test_a_picture_is_made_to_fit(store: MediaStore, mode: str) -> None:
    """It becomes a JPEG of at most a megabyte, on white where it was transparent; made once, and only of pictures."""
    clear = Image.new("RGBA", (2600, 1300), (0, 0, 0, 0)).convert(mode)
    out = io.BytesIO()
    clear.save(out, "PNG", **({"transparency": clear.getpixel((0, 0))} if mode == "P" else {}))
    media = await store.put(out.getvalue())

    kept = await store.find(media.digest, "fit")
    path = await path_of(store, media.digest, "fit")

    assert path is not None
    with Image.open(path) as image:
        assert (image.format, image.size, image.getpixel((5, 5))) == ("JPEG", (2048, 1024), (255, 255, 255))
    assert await store.find(media.digest, "fit") == kept
    assert await store.find((await store.put(video(b"isom"))).digest, "fit") == "gone"


def test_a_picture_that_does_not_shrink_gets_smaller_sides() -> None:
    """Noise is the worst there is, and still ends up below the limit."""
    out = io.BytesIO()
    Image.effect_noise((4000, 3000), 120).convert("RGB").save(out, "JPEG", quality=95)

    small = fit(out.getvalue())

    assert len(small) <= FIT_BYTES
    with Image.open(io.BytesIO(small)) as image:
        assert max(image.size) < 2048


async def test_what_a_dead_process_left_half_written_goes(store: MediaStore) -> None:
    """After an hour it is nobody's any more; a file that is being written is left alone."""
    media = await store.put(picture("PNG"))
    path = await path_of(store, media.digest)
    assert path is not None
    for name, age in ((".old", 7200), (".new", 60)):
        (path.parent / name).write_bytes(b"half")
        os.utime(path.parent / name, (time.time() - age,) * 2)

    assert await store.expire(0) == 0

    assert not (path.parent / ".old").exists()
    assert (path.parent / ".new").exists()
