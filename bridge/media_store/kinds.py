"""Which kinds of files are taken, and how to tell a kind from the bytes themselves."""

import re

import puremagic

PICTURES = {
    "image/jpeg": ("JPEG", "jpg"),
    "image/png": ("PNG", "png"),
    "image/gif": ("GIF", "gif"),
    "image/webp": ("WEBP", "webp"),
}
"""What is drawn anew: content type to Pillow's name of the format and the ending of our files."""
MOVIES = {
    "video/mp4": "mp4",
    "video/3gpp": "3gp",
    "video/3gpp2": "3g2",
    "video/quicktime": "mov",
    "audio/mp4": "m4a",
}
"""What is made of the boxes of ISO/IEC 14496-12, and kept without those that tell about the maker."""
HEIF = {"image/heic": "heic"}
"""A picture in such boxes (ISO/IEC 23008-12). Telephones make it, Pillow does not read it."""
OTHERS = {
    "audio/amr": "amr",
    "audio/amr-wb": "awb",
    "audio/mpeg": "mp3",
    "application/pdf": "pdf",
    "text/vcard": "vcf",
}
"""What is kept as it came."""
ENDINGS = {kind: ending for kind, (_, ending) in PICTURES.items()} | MOVIES | HEIF | OTHERS
CONTENT_TYPES = {ending: kind for kind, ending in ENDINGS.items()}

SHOWN = frozenset(PICTURES) | frozenset(MOVIES) | {"audio/mpeg"}
"""What a browser may show in its window; everything else is only ever saved."""

_MP4_BRANDS = re.compile(rb"isom|iso[2-9]|mp4[12]|avc1|dash|M4V |MSNV|mmp4")
"""ISO/IEC 14496-12 section 4.3: what a file of this family says it is."""
_HEIC_BRANDS = re.compile(rb"hei[cxms]|hev[cx]")
_FAMILIES = (
    (re.compile(rb"3gp."), "video/3gpp"),  # 3GPP TS 26.244 section 5.3
    (re.compile(rb"3g2."), "video/3gpp2"),
    (re.compile(rb"qt  "), "video/quicktime"),
    (re.compile(rb"M4A "), "audio/mp4"),
    (_MP4_BRANDS, "video/mp4"),
    (_HEIC_BRANDS, "image/heic"),
)
_SIGNATURES = (
    (b"%PDF-", "application/pdf"),
    (b"#!AMR-WB\n", "audio/amr-wb"),  # RFC 4867 section 5
    (b"#!AMR\n", "audio/amr"),
)
_VCARD = re.compile(rb"(?:\xef\xbb\xbf)?BEGIN:VCARD\r?\n", re.IGNORECASE)  # RFC 6350 section 3.3
# ISO/IEC 11172-3 section 2.4.2.3, layer III: kilobits a second and samples a second, by MPEG version (1; 2 halves the frame).
_KILOBITS = {
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
_HERTZ = {3: (44_100, 48_000, 32_000, 0), 2: (22_050, 24_000, 16_000, 0)}
_FRAMES = 3
"""Of an MP3 that have to follow each other: a single one begins with bytes that occur anywhere."""


def sniff(data: bytes) -> str | None:
    """The content type that the bytes themselves tell, one of ours if it can be; None when they tell nothing."""
    if data[4:8] == b"ftyp":
        return _of_boxes(data)
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    if _VCARD.match(data) and data[-100:].rstrip().upper().endswith(b"END:VCARD") and b"\0" not in data:
        return "text/vcard"
    if _is_mp3(data):
        return "audio/mpeg"
    try:
        found = [match.mime_type for match in puremagic.magic_string(data) if match.mime_type]
    except (puremagic.PureError, ValueError):  # nothing known; nothing at all
        return None
    # Of our own kinds its word counts for pictures, which are decoded anyhow; the others have been looked at more closely.
    return next((kind for kind in found if kind in PICTURES or kind not in ENDINGS), None)


def _of_boxes(data: bytes) -> str | None:
    """By the brands in the first box: the major one, and for a general picture those it claims to be compatible with."""
    brand = data[8:12]
    if brand in {b"mif1", b"msf1"}:
        end = min(int.from_bytes(data[:4]), 256)
        compatible = (data[at : at + 4] for at in range(16, end, 4))
        return "image/heic" if any(_HEIC_BRANDS.fullmatch(other) for other in compatible) else None
    return next((kind for pattern, kind in _FAMILIES if pattern.fullmatch(brand)), None)


def _is_mp3(data: bytes) -> bool:
    """Whether frames of MPEG audio layer III follow each other, after a tag (ID3v2 section 3.1) or from the beginning on."""
    at = 0
    if data[:3] == b"ID3" and len(data) >= 10:
        size = data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9]
        at = 10 + size
    for n in range(_FRAMES):
        header = data[at : at + 4]
        if n and not header:
            return True  # a very short recording
        length = _frame_length(header)
        if length == 0:
            return False
        at += length
    return True


def _frame_length(header: bytes) -> int:
    """Bytes of the frame that begins with *header*; 0 when none does."""
    if len(header) < 4 or header[0] != 0xFF or header[1] >> 5 != 7 or header[1] >> 1 & 3 != 1:  # sync, layer III
        return 0
    version = header[1] >> 3 & 3
    if version not in _KILOBITS:
        return 0
    bits, rate = _KILOBITS[version][header[2] >> 4] * 1000, _HERTZ[version][header[2] >> 2 & 3]
    if not bits or not rate:
        return 0
    return (144 if version == 3 else 72) * bits // rate + (header[2] >> 1 & 1)
