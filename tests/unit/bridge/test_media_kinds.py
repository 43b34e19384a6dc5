"""Files besides pictures: told by their bytes, and kept without what they say about their maker."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media_store import MediaRefusedError, sniff
from bridge.media_store.boxes import BoxError, clean_heif, clean_movie
from bridge.media_store.clean import clean

PLACE = b"+48.8690+002.3321/"


MP3 = b"\xff\xfb\x90\0" + bytes(413)  # one frame of 128 kbit/s at 44,100 Hz
NO_MP3 = (
    b"ID3",
    b"ID3\4\0\0\0\0\1\1" + MP3 * 3,  # the tag is longer than it is
    MP3 + bytes(10),
    b"\xff\xfb\xf0\0" + bytes(413),  # no such bit rate
    b"\xff\xfb\x9c\0" + bytes(413),  # no such sample rate
    b"\xff\xeb\x90\0" + bytes(413),  # no such version
    b"\xff\xfd\x90\0" + bytes(413),  # layer II
)


def box(kind: bytes, *content: bytes) -> bytes:
    data = b"".join(content)
    return struct.pack(">I4s", 8 + len(data), kind) + data


def full(kind: bytes, *content: bytes, version: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24), *content)


def ftyp(brand: bytes, *compatible: bytes) -> bytes:
    return box(b"ftyp", brand, bytes(4), *compatible)


def movie(brand: bytes = b"isom") -> bytes:
    """A video that says where it was made, in every place where telephones say it."""
    told = box(b"udta", box(b"\xa9xyz", PLACE))
    moov = box(b"moov", box(b"mvhd", bytes(100)), told, full(b"meta", PLACE), box(b"trak", box(b"tkhd", bytes(80)), told))
    return ftyp(brand) + box(b"uuid", PLACE) + moov + box(b"mdat", b"the pixels") + full(b"meta", PLACE)


def heic(*, version: int = 1, major: bytes = b"heic") -> bytes:
    """A picture of one item with pixels and two with notes (EXIF in `mdat`, XMP in `idat`)."""
    entries = [full(b"infe", struct.pack(">HH", item, 0), kind, b"\0", version=2) for item, kind in ITEMS]
    start = ftyp(major, b"mif1", b"heic")
    iinf = full(b"iinf", struct.pack(">H", len(ITEMS)), *entries)
    idat = box(b"idat", PLACE)

    def meta(mdat_at: int) -> bytes:
        places = ((1, 0, mdat_at, 6), (2, 0, mdat_at + 6, len(PLACE)), (3, 1, 0, len(PLACE)))
        rows = []
        for item, method, offset, length in places:
            head = struct.pack(">HHH", item, method, 0) if version else struct.pack(">HH", item, 0)
            rows.append(head + struct.pack(">HII", 1, offset, length))
        kept = rows if version else rows[:2]
        iloc = full(b"iloc", struct.pack(">HH", 0x4400, len(kept)), *kept, version=version)
        return full(b"meta", iinf, *([idat] if version else []), iloc)

    return start + meta(len(start) + len(meta(0)) + 8) + box(b"mdat", b"pixels", PLACE)


ITEMS = ((1, b"hvc1"), (2, b"Exif"), (3, b"mime"))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (movie(b"isom"), "video/mp4"),
        (movie(b"MSNV"), "video/mp4"),
        (movie(b"3gp5"), "video/3gpp"),
        (movie(b"3g2a"), "video/3gpp2"),
        (movie(b"qt  "), "video/quicktime"),
        (movie(b"M4A "), "audio/mp4"),
        (heic(), "image/heic"),
        (heic(major=b"mif1"), "image/heic"),
        (b"#!AMR\n\x0c", "audio/amr"),
        (b"#!AMR-WB\n\x0c", "audio/amr-wb"),
        (MP3 * 3, "audio/mpeg"),
        (MP3, "audio/mpeg"),
        (b"ID3\4\0\0\0\0\1\1" + bytes(129) + MP3 * 4, "audio/mpeg"),
        ((b"\xff\xf3\x82\0" + bytes(205)) * 3, "audio/mpeg"),  # MPEG 2, 64 kbit/s, 22,050 Hz, padded
        (b"%PDF-1.7\n", "application/pdf"),
        (b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ana\r\nEND:VCARD\r\n", "text/vcard"),
        (b"\xef\xbb\xbfbegin:vcard\nend:vcard", "text/vcard"),
    ],
)
def test_the_bytes_tell_the_kind(data: bytes, kind: str) -> None:
    """Whatever the name or the header of a request said, this is what counts; such a file is kept."""
    assert sniff(data) == kind
    assert clean(data).kind == kind
    assert clean(data).small is None


@pytest.mark.parametrize(
    "data", [ftyp(b"avif"), ftyp(b"mif1", b"avif"), ftyp(b"crx "), b"BEGIN:VCARD\n\0END:VCARD", b"BEGIN:VCARD\n", *NO_MP3]
)
def test_what_only_looks_alike_is_not_taken(data: bytes) -> None:
    """Relatives of the families we take, and torn or hidden text."""
    with pytest.raises(MediaRefusedError) as error:
        clean(data)

    assert error.value.reason == "type"


@pytest.mark.parametrize("brand", [b"isom", b"3gp5", b"qt  "])
def test_a_video_forgets_where_it_was_made(brand: bytes) -> None:
    """The place is gone from every corner, nothing has moved, and cleaning twice is cleaning once."""
    original = movie(brand)
    assert original.count(PLACE) == 5

    cleaned = clean(original).data

    assert PLACE not in cleaned
    assert len(cleaned) == len(original)
    assert cleaned.index(b"the pixels") == original.index(b"the pixels")
    assert clean(cleaned).data == cleaned


def test_a_list_of_boxes_may_end_with_zeros() -> None:
    """QuickTime closes user data so; it is no torn file."""
    closed = box(b"moov", box(b"udta", box(b"\xa9xyz", PLACE)), bytes(4))

    assert PLACE not in clean_movie(ftyp(b"qt  ") + closed)


@pytest.mark.parametrize("version", [0, 1])
def test_a_heif_picture_forgets_where_it_was_made(version: int) -> None:
    """EXIF and XMP become zeros, the pixels stay where they are."""
    original = heic(version=version)
    assert original.count(PLACE) == 1 + version

    cleaned = clean(original).data

    assert PLACE not in cleaned
    assert cleaned.index(b"pixels") == original.index(b"pixels")
    assert len(cleaned) == len(original)


def test_a_box_may_be_written_in_three_ways() -> None:
    """With its size, with a long size, and up to the end of the file."""
    long = struct.pack(">I4sQ", 1, b"udta", 16 + len(PLACE)) + PLACE
    last = struct.pack(">I4s", 0, b"uuid") + PLACE

    cleaned = clean_movie(ftyp(b"isom") + long + last)

    assert PLACE not in cleaned
    assert cleaned[:4] == ftyp(b"isom")[:4]


@pytest.mark.parametrize(
    "data",
    [
        ftyp(b"isom") + b"\0\0\0\4moov",  # shorter than its own header
        ftyp(b"isom") + b"\0\0\0\x20moov",  # longer than the file
        ftyp(b"isom") + b"\1\2\3",  # half a box
        ftyp(b"isom") + box(b"moov", struct.pack(">I4s", 99, b"udta")),  # longer than what holds it
        ftyp(b"heic"),
        ftyp(b"heic") + full(b"meta", full(b"iinf", b"\0\0")),
        ftyp(b"heic") + full(b"meta", full(b"iinf", b"\0\0"), full(b"iloc", b"\x44\0\0\1")),
        ftyp(b"heic") + full(b"meta", full(b"iinf", b"\0\1", full(b"infe", bytes(8))), full(b"iloc", b"\x44\0\0\0")),
        ftyp(b"heic")
        + full(
            b"meta", full(b"iinf", b"\0\0"), full(b"iloc", b"\x44\0\0\1\0\1\0\0\0\1\0\0\0\0\0\0\0\0")
        )  # up to the end, wherever that is
        + box(b"mdat", b"pixels"),
    ],
)
def test_boxes_that_cannot_be_are_refused(data: bytes) -> None:
    """What cannot be read to its end could hide something, so it is not kept."""
    with pytest.raises(MediaRefusedError) as error:
        clean(data)

    assert error.value.reason == "broken"


@given(
    original=st.sampled_from([movie(), movie(b"qt  "), heic(), heic(version=0)]),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), max_size=5),
    length=st.floats(0, 1),
)
def test_whatever_is_damaged_is_cleaned_or_refused(original: bytes, cuts: list[tuple[float, bytes]], length: float) -> None:
    """Any bytes flipped or missing: an equally long file or a refusal, never another error."""
    data = bytearray(original)
    for where, junk in cuts:
        at = int(where * (len(data) - len(junk)))
        data[at : at + len(junk)] = junk
    del data[int(len(data) * max(length, 0.3)) :]

    for work in (clean_movie, clean_heif):
        try:
            cleaned = work(bytes(data))
        except BoxError:
            continue
        assert len(cleaned) == len(data)
