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
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf2", "audio/mpeg"),
)
_VCARD = re.compile(rb"(?:\xef\xbb\xbf)?BEGIN:VCARD\r?\n", re.IGNORECASE)  # RFC 6350 section 3.3


def sniff(data: bytes) -> str | None:
    """The content type that the bytes themselves tell, one of ours if it can be; None when they tell nothing."""
    if data[4:8] == b"ftyp":
        return _of_boxes(data)
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    if _VCARD.match(data) and data[-100:].rstrip().upper().endswith(b"END:VCARD") and b"\0" not in data:
        return "text/vcard"
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
