"""Files made of boxes (ISO/IEC 14496-12): what they say about their maker is overwritten in place.

Nothing moves, so that every offset in the file stays right: a box that tells too much becomes a `free` box of zeros.
"""

from collections.abc import Iterator

_TELLING = frozenset({b"udta", b"meta", b"uuid"})
"""User data and metadata (place, maker, model; 3GPP `loci`, QuickTime `com.apple.quicktime.location`) and XMP."""
_INSIDE = frozenset({b"moov", b"trak"})
_TELLING_ITEMS = frozenset({b"Exif", b"mime", b"uri "})
"""Items of a HEIF file that are notes and not pixels: EXIF, XMP, anything else with a type of its own."""


class BoxError(ValueError):
    """These are no boxes, or boxes that cannot be."""


def clean_movie(data: bytes) -> bytes:
    """*data* without user data and metadata.

    Raises:
        BoxError: it is not made of whole boxes, or holds no movie at all.
    """
    out = bytearray(data)
    _blank_boxes(out, 0, len(out), _TELLING)
    return bytes(out)


def clean_heif(data: bytes) -> bytes:
    """The HEIF picture *data* with its notes overwritten by zeros. Which side is up stays: it is a property of the pixels.

    Raises:
        BoxError: see `clean_movie`; or its notes lie where they cannot be found.
    """
    out = bytearray(data)
    _blank_boxes(out, 0, len(out), _TELLING - {b"meta"})
    inside = [(start, end) for kind, _, start, end in _boxes(out, 0, len(out)) if kind == b"meta"]
    if len(inside) != 1:
        raise BoxError("a picture has one meta box")
    start, end = inside[0]
    parts = {kind: (first, last) for kind, _, first, last in _boxes(out, start + 4, end)}  # a full box: version and flags
    if b"iinf" not in parts or b"iloc" not in parts:
        raise BoxError("a picture without items")
    telling = {item for item, kind in _item_kinds(out, *parts[b"iinf"]) if kind in _TELLING_ITEMS}
    idat = parts.get(b"idat", (0, 0))
    for item, (first, last) in _item_places(out, *parts[b"iloc"], idat):
        if item in telling:
            out[first:last] = bytes(last - first)
    return bytes(out)


def _blank_boxes(data: bytearray, start: int, end: int, telling: frozenset[bytes]) -> None:
    for kind, at, first, last in _boxes(data, start, end):
        if kind in telling:
            data[at + 4 : at + 8] = b"free"
            data[first:last] = bytes(last - first)
        elif kind in _INSIDE:
            _blank_boxes(data, first, last, telling | {b"meta"})


def _boxes(data: bytearray, start: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Kind, beginning, beginning of the content and end of every box between *start* and *end* (section 4.2)."""
    at = start
    while at < end:
        if end - at < 8:
            if any(data[at:end]):
                raise BoxError("the file ends within a box")
            return  # QuickTime ends a list of user data with zeros
        size, header = int.from_bytes(data[at : at + 4]), 8
        if size == 1:
            size, header = int.from_bytes(data[at + 8 : at + 16]), 16
        elif size == 0:
            size = end - at
        if size < header or at + size > end:
            raise BoxError("a box is longer than what holds it")
        yield bytes(data[at + 4 : at + 8]), at, at + header, at + size
        at += size


class _Reader:
    """Reads big-endian numbers one after the other, never beyond *end*."""

    def __init__(self, data: bytearray, start: int, end: int) -> None:
        self._data, self._at, self._end = data, start, end

    def number(self, size: int) -> int:
        if self._at + size > self._end:
            raise BoxError("a table is cut off")
        self._at += size
        return int.from_bytes(self._data[self._at - size : self._at])


def _item_kinds(data: bytearray, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Item numbers and their types (ISO/IEC 14496-12 section 8.11.6)."""
    table = _Reader(data, start, end)
    version = table.number(4) >> 24
    width = 2 if version == 0 else 4
    table.number(width)
    for kind, _, first, last in _boxes(data, start + 4 + width, end):
        entry = _Reader(data, first, last)
        version = entry.number(4) >> 24
        if kind != b"infe" or version < 2:
            raise BoxError("items are described in a way no picture uses")
        item = entry.number(2 if version == 2 else 4)
        entry.number(2)
        yield item, entry.number(4).to_bytes(4)


def _item_places(data: bytearray, start: int, end: int, idat: tuple[int, int]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Where the bytes of each item lie in the file (section 8.11.3)."""
    table = _Reader(data, start, end)
    version = table.number(4) >> 24
    sizes = table.number(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    count = table.number(4 if version == 2 else 2)
    for _ in range(count):
        item = table.number(4 if version == 2 else 2)
        method = table.number(2) & 15 if version else 0
        if table.number(2) != 0 or method not in {0, 1}:
            raise BoxError("an item lies outside the file")
        base = table.number(base_size)
        for _ in range(table.number(2)):
            if version:
                table.number(index_size)
            first = base + table.number(offset_size)
            length = table.number(length_size)
            low, high = (0, len(data)) if method == 0 else idat
            if length == 0 or low + first + length > high:
                raise BoxError("an item is longer than the file")
            yield item, (low + first, low + first + length)
