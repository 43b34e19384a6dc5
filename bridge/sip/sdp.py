"""Session descriptions and offer/answer for one stream of G.711 (RFC 4566, RFC 3264, RFC 4733)."""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Literal

import msgspec

from bridge.media.g711 import BY_PAYLOAD_TYPE, CODECS, Codec
from bridge.sip.message import whole_number

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
_DIRECTIONS: tuple[Direction, ...] = ("sendrecv", "sendonly", "recvonly", "inactive")
_MIRROR: dict[Direction, Direction] = {
    "sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive",
}  # fmt: skip
EVENT_TYPE = 101
"""The payload type we propose for telephone events; any other is taken over from an offer."""


class BadSdpError(ValueError):
    """Not a session description."""


class NotAcceptableError(ValueError):
    """No stream of the offer fits. `warning` is the code for a Warning header (RFC 3261 section 20.43)."""

    def __init__(self, message: str, warning: int) -> None:
        super().__init__(message)
        self.warning = warning


class MediaLine(msgspec.Struct, frozen=True):
    """One `m=` section."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    host: str
    """Address of its own `c=` line, or of the session's; empty when there is none."""
    direction: Direction = "sendrecv"
    rtpmap: dict[str, str] = msgspec.field(default_factory=dict)
    """Format to `name/rate`, upper case."""


class SessionDescription(msgspec.Struct, frozen=True):
    """What is read of a body."""

    media: tuple[MediaLine, ...]


class Negotiated(msgspec.Struct, frozen=True):
    """What both ends agreed on for the sound, as one end sees it."""

    codec: Codec
    payload_type: int
    """The number of the codec in both directions."""
    event_type: int | None
    """The number of telephone events, or None when the other end does not know them."""
    host: str
    """Where the other end wants its packets. `0.0.0.0` means nowhere (RFC 2543 hold)."""
    port: int
    direction: Direction = "sendrecv"
    """What *we* may do."""
    index: int = 0
    """Which `m=` line it is."""

    @property
    def may_send(self) -> bool:
        """Whether the other end wants to hear us."""
        return self.direction in {"sendrecv", "sendonly"} and self.host != "0.0.0.0" and self.port != 0  # noqa: S104

    @property
    def may_receive(self) -> bool:
        """Whether the other end may send to us."""
        return self.direction in {"sendrecv", "recvonly"}


def parse_sdp(body: bytes) -> SessionDescription:
    """Read a body. Lines that mean nothing to us are passed over.

    Raises:
        BadSdpError: it does not begin with `v=0`, or an `m=` line cannot be read.
    """
    lines = [line.rstrip("\r") for line in body.decode("utf-8", "replace").split("\n")]
    if lines[0].strip() != "v=0":
        raise BadSdpError("not a session description")
    host, direction = "", "sendrecv"
    sections: list[list[str]] = []
    for line in lines:
        if line.startswith("m="):
            sections.append([line])
        elif sections:
            sections[-1].append(line)
        elif line.startswith("c="):
            host = _connection(line)
        elif line[2:].strip() in _DIRECTIONS and line.startswith("a="):
            direction = line[2:].strip()
    return SessionDescription(tuple(_media(section, host, direction) for section in sections))


def _connection(line: str) -> str:
    fields = line[2:].split()
    return fields[2].partition("/")[0] if len(fields) >= 3 else ""


def _media(lines: Sequence[str], host: str, inherited: str) -> MediaLine:
    fields = lines[0][2:].split()
    port = whole_number(fields[1].partition("/")[0]) if len(fields) >= 4 else None
    if port is None or port > 65535:
        raise BadSdpError(f"not a media line: {lines[0]!r}")
    direction = inherited
    rtpmap: dict[str, str] = {}
    for line in lines[1:]:
        if line.startswith("c="):
            host = _connection(line)
        elif line.startswith("a=rtpmap:"):
            number, _, name = line[9:].partition(" ")
            rtpmap[number.strip()] = name.strip().upper()
        elif line.startswith("a=") and line[2:].strip() in _DIRECTIONS:
            direction = line[2:].strip()
    known = next(name for name in _DIRECTIONS if name == direction)
    return MediaLine(fields[0], port, fields[2], tuple(fields[3:]), host, known, rtpmap)


class LocalAudio(msgspec.Struct, frozen=True):
    """What we put into a description of our own."""

    host: str
    port: int
    codecs: tuple[Codec, ...] = tuple(CODECS.values())
    """In order of liking."""
    session_id: int = 1
    version: int = 1
    """Rises with every change of the description (RFC 3264 section 8)."""


def offer(local: LocalAudio, *, event_type: int = EVENT_TYPE, direction: Direction = "sendrecv") -> bytes:
    """The description we propose."""
    formats = [(codec.payload_type, codec.name) for codec in local.codecs]
    return "\r\n".join([*_head(local), *_audio(local.port, formats, event_type, direction), ""]).encode()


def choose(description: SessionDescription, codecs: Sequence[Codec]) -> Negotiated:
    """The sound stream we take from an offer, or that an answer took from ours.

    Args:
        description: The other end's.
        codecs: Ours; the other end's order decides (RFC 3264 section 6.1).

    Raises:
        NotAcceptableError: no sound over RTP/AVP, no common codec, or an address that is no numeric one. A name would have
            to be looked up, by somebody who may take his time, while all other calls wait.
    """
    kinds = [line for line in description.media if line.kind == "audio" and line.port]
    usable = [line for line in kinds if line.protocol == "RTP/AVP"]
    if not usable:
        if kinds:
            raise NotAcceptableError("Incompatible transport protocol", 302)
        raise NotAcceptableError("Media type not available", 304)
    for index, line in enumerate(description.media):
        if line not in usable:
            continue
        for number in line.formats:
            codec = _codec(number, line, codecs)
            if codec is not None:
                if not _numeric(line.host):
                    raise NotAcceptableError("Incompatible network address formats", 301)
                event = next((n for n in line.formats if line.rtpmap.get(n, "").startswith("TELEPHONE-EVENT/8000")), None)
                event_type = None if event is None else _payload_type(event)
                return Negotiated(codec, int(number), event_type, line.host, line.port, _MIRROR[line.direction], index)
    raise NotAcceptableError("Incompatible media format", 305)


def answer(description: SessionDescription, chosen: Negotiated, local: LocalAudio) -> bytes:
    """The answer to an offer: the chosen stream, every other one refused with port 0 (RFC 3264 section 6)."""
    lines = _head(local)
    for index, line in enumerate(description.media):
        if index == chosen.index:
            formats = [(chosen.payload_type, chosen.codec.name)]
            lines += _audio(local.port, formats, chosen.event_type, chosen.direction)
        else:
            lines.append(f"m={line.kind} 0 {line.protocol} {' '.join(line.formats)}")
    return "\r\n".join([*lines, ""]).encode()


def _codec(number: str, line: MediaLine, codecs: Sequence[Codec]) -> Codec | None:
    name = line.rtpmap.get(number)
    payload_type = _payload_type(number)
    if payload_type is None:
        return None
    if name is None and payload_type in BY_PAYLOAD_TYPE:
        name = BY_PAYLOAD_TYPE[payload_type].name + "/8000"  # RFC 3551: static types need no rtpmap
    return next((codec for codec in codecs if name in {f"{codec.name}/8000", f"{codec.name}/8000/1"}), None)


def _payload_type(number: str) -> int | None:
    """Seven bits (RFC 3550 section 5.1), or None."""
    found = whole_number(number)
    return found if found is not None and found <= 127 else None


def _numeric(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _head(local: LocalAudio) -> list[str]:
    family = "IP6" if ":" in local.host else "IP4"
    return [
        "v=0",
        f"o=sidetone {local.session_id} {local.version} IN {family} {local.host}",
        "s=-",
        f"c=IN {family} {local.host}",
        "t=0 0",
    ]


def _audio(port: int, formats: Sequence[tuple[int, str]], event_type: int | None, direction: Direction) -> list[str]:
    numbers = [number for number, _ in formats] + ([] if event_type is None else [event_type])
    lines = [f"m=audio {port} RTP/AVP {' '.join(map(str, numbers))}"]
    lines += [f"a=rtpmap:{number} {name}/8000" for number, name in formats]
    if event_type is not None:
        lines += [f"a=rtpmap:{event_type} telephone-event/8000", f"a=fmtp:{event_type} 0-15"]
    return [*lines, "a=ptime:20", f"a={direction}"]
