"""SIP messages: text to objects and back (RFC 3261 sections 7, 19, 20 and 25).

Only what is needed to route a message is looked at when it arrives; every other header stays text until somebody asks.
A message that can be answered at all is parsed, however odd; whether it is *right* is `Request.problem`'s business, so
that the sender hears 400 instead of silence.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import unquote

import msgspec

MAGIC_COOKIE = "z9hG4bK"
"""How a branch of an RFC 3261 element begins (section 8.1.1.7)."""

Params = dict[str, str | None]
"""Parameters after a semicolon; None when there is a name and no value."""

REASONS = {
    100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 202: "Accepted",
    301: "Moved Permanently", 302: "Moved Temporarily", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
    404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required",
    408: "Request Timeout", 410: "Gone", 413: "Request Entity Too Large", 415: "Unsupported Media Type",
    416: "Unsupported URI Scheme", 420: "Bad Extension", 423: "Interval Too Brief", 480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops", 484: "Address Incomplete",
    486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here", 489: "Bad Event", 491: "Request Pending",
    500: "Server Internal Error", 501: "Not Implemented", 503: "Service Unavailable", 504: "Server Time-out",
    505: "Version Not Supported", 600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
}  # fmt: skip

COMPACT = {
    "a": "accept-contact", "b": "referred-by", "c": "content-type", "d": "request-disposition", "e": "content-encoding",
    "f": "from", "i": "call-id", "j": "reject-contact", "k": "supported", "l": "content-length", "m": "contact",
    "o": "event", "r": "refer-to", "s": "subject", "t": "to", "u": "allow-events", "v": "via", "x": "session-expires",
}  # fmt: skip
"""Compact forms (RFC 3261 section 7.3.3 and the extensions that registered one)."""

_SPELLING = {
    "call-id": "Call-ID", "cseq": "CSeq", "www-authenticate": "WWW-Authenticate", "rseq": "RSeq", "rack": "RAck",
    "mime-version": "MIME-Version", "p-asserted-identity": "P-Asserted-Identity",
}  # fmt: skip
_LISTS = frozenset(
    {
        "via",
        "route",
        "record-route",
        "contact",
        "require",
        "proxy-require",
        "supported",
        "unsupported",
        "allow",
        "p-asserted-identity",
    }
)
"""Headers whose several values may share one line, separated by commas."""
_SINGLE = ("to", "from", "call-id", "cseq")
_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+\Z")
_FOLD = re.compile(r"\r?\n[ \t]+")
_HEAD_END = re.compile(rb"\r\n\r\n|\n\n|\r\n\n|\n\r\n")
_CSEQ = re.compile(r"([0-9]{1,10})\s+(\S+)\Z")
_VERSION = re.compile(r"SIP/\d+\.\d+\Z", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]{1,10}\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
"""What no header may hold (RFC 3261 section 25.1); a bare CR would let its sender write headers into what we send on."""
LONGEST = 16_384
"""Bytes of a message; genuine ones over UDP stay far below, and what comes in is kept for half a minute."""


class BadMessageError(ValueError):
    """The bytes are no SIP message, or a part of one cannot be read. Nothing can be answered to it."""


class SipUri(msgspec.Struct, frozen=True):
    """A `sip:`, `sips:` or `tel:` URI (RFC 3261 section 19.1, RFC 3966)."""

    scheme: str
    user: str | None
    """Unescaped. The whole number for a `tel:` URI."""
    host: str
    """Lower case; an IPv6 address keeps its brackets. Empty for `tel:`."""
    port: int | None = None
    params: Params = msgspec.field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "SipUri":
        """Read a URI.

        Raises:
            BadMessageError: it is not one of the three schemes or has no host.
        """
        scheme, colon, rest = text.strip().partition(":")
        scheme = scheme.lower()
        if not colon or scheme not in {"sip", "sips", "tel"}:
            raise BadMessageError(f"not a SIP or tel URI: {text!r}")
        if scheme == "tel":
            number, _, tail = rest.partition(";")
            return cls("tel", number, "", None, parse_params(tail))
        userinfo, at, tail = rest.rpartition("@")
        tail = tail.partition("?")[0]
        hostport, _, params = tail.partition(";")
        host, port = split_hostport(hostport)
        user = unquote(userinfo.partition(":")[0]) if at else None
        return cls(scheme, user, host, port, parse_params(params))

    def __str__(self) -> str:
        if self.scheme == "tel":
            return f"tel:{self.user}{format_params(self.params)}"
        user = "" if self.user is None else f"{_escape_user(self.user)}@"
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}:{user}{self.host}{port}{format_params(self.params)}"


class NameAddr(msgspec.Struct, frozen=True):
    """An address with a display name and header parameters: From, To, Contact, Route (RFC 3261 section 20.10)."""

    uri: str
    """As written; `SipUri.parse` reads it."""
    display: str = ""
    params: Params = msgspec.field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "NameAddr":
        """Read `"Name" <uri>;params`, `<uri>;params` or `uri;params`.

        Raises:
            BadMessageError: an angle bracket or a quote is never closed.
        """
        text = text.strip()
        display = ""
        if text.startswith('"'):
            end = _closing_quote(text)
            display = re.sub(r"\\(.)", r"\1", text[1:end])
            text = text[end + 1 :].lstrip()
        before, opened, rest = text.partition("<")
        if opened:
            uri, closed, tail = rest.partition(">")
            if not closed:
                raise BadMessageError(f"no closing bracket: {text!r}")
            return cls(uri.strip(), display or before.strip(), parse_params(tail.strip().removeprefix(";")))
        # Without brackets every parameter is the header's, not the URI's (RFC 3261 section 20.10).
        uri, _, tail = text.partition(";")
        return cls(uri.strip(), display, parse_params(tail))

    @property
    def tag(self) -> str | None:
        """The `tag` parameter of a From or To header."""
        return self.params.get("tag")

    def with_tag(self, tag: str) -> "NameAddr":
        """The same address with this `tag`."""
        return NameAddr(self.uri, self.display, {**self.params, "tag": tag})

    def __str__(self) -> str:
        quoted = self.display.replace("\\", "\\\\").replace('"', '\\"')
        display = f'"{quoted}" ' if self.display else ""
        return f"{display}<{self.uri}>{format_params(self.params)}"


class Via(msgspec.Struct, frozen=True):
    """One hop of a Via header (RFC 3261 section 20.42, RFC 3581)."""

    transport: str
    host: str
    port: int | None
    params: Params

    @classmethod
    def parse(cls, text: str) -> "Via":
        """Read `SIP/2.0/UDP host:port;params`, white space anywhere the grammar allows it.

        Raises:
            BadMessageError: it is not a Via.
        """
        match = re.match(r"\s*SIP\s*/\s*2\.0\s*/\s*([^\s;]+)\s+([^;]+)(?:;(.*))?\Z", text, re.IGNORECASE | re.DOTALL)
        if match is None:
            raise BadMessageError(f"not a Via: {text!r}")
        host, port = split_hostport(match[2])
        return cls(match[1].upper(), host, port, parse_params(match[3] or ""))

    @property
    def branch(self) -> str:
        """The transaction's mark, or an empty string from an RFC 2543 element."""
        return self.params.get("branch") or ""

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        return f"SIP/2.0/{self.transport} {self.host}{port}{format_params(self.params)}"


class Headers:
    """The header lines of a message, in order; names are kept in lower case, compact forms spelled out."""

    __slots__ = ("_lines",)

    def __init__(self, lines: Iterable[tuple[str, str]] = ()) -> None:
        self._lines = [(name.lower(), value) for name, value in lines]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._lines)

    def __contains__(self, name: object) -> bool:
        return any(line[0] == name for line in self._lines)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._lines == other._lines

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({self._lines!r})"

    def first(self, name: str) -> str | None:
        """The first value of a header (the first of a comma list), or None."""
        for key, value in self._lines:
            if key == name:
                return split_commas(value)[0] if name in _LISTS and "," in value else value
        return None

    def all(self, name: str) -> list[str]:
        """Every value of a header, comma lists taken apart."""
        values: list[str] = []
        for key, value in self._lines:
            if key == name:
                values += split_commas(value) if name in _LISTS and "," in value else [value]
        return [value for value in values if value]

    def add(self, name: str, value: str) -> None:
        """Append a line."""
        self._lines.append((name.lower(), value))

    def replace(self, name: str, *values: str) -> None:
        """Put *values* where the first line of that name stood (at the end when there was none); none removes it."""
        at = next((i for i, line in enumerate(self._lines) if line[0] == name), len(self._lines))
        kept = [line for line in self._lines if line[0] != name]
        self._lines = [*kept[:at], *((name, value) for value in values), *kept[at:]]

    def copy(self) -> "Headers":
        """An independent copy."""
        twin = Headers()
        twin._lines = list(self._lines)
        return twin


class _Message(ABC):
    """What requests and responses share."""

    __slots__ = ("body", "headers")

    def __init__(self, headers: Headers, body: bytes) -> None:
        self.headers = headers
        self.body = body

    @abstractmethod
    def _start_line(self) -> str: ...

    def __bytes__(self) -> bytes:
        lines = [self._start_line()]
        lines += [f"{_SPELLING.get(name) or name.title()}: {value}" for name, value in self.headers if name != "content-length"]
        lines.append(f"Content-Length: {len(self.body)}\r\n\r\n")
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + self.body

    @property
    def call_id(self) -> str:
        """Call-ID, or an empty string."""
        return self.headers.first("call-id") or ""

    @property
    def sender(self) -> NameAddr:
        """The From header. Raises BadMessageError when it is missing or cannot be read."""
        return NameAddr.parse(self._required("from"))

    @property
    def recipient(self) -> NameAddr:
        """The To header. Raises BadMessageError when it is missing or cannot be read."""
        return NameAddr.parse(self._required("to"))

    @property
    def via(self) -> Via:
        """The topmost Via. Raises BadMessageError when it is missing or cannot be read."""
        return Via.parse(self._required("via"))

    @property
    def contact(self) -> NameAddr | None:
        """The first Contact, or None. Raises BadMessageError when it cannot be read."""
        value = self.headers.first("contact")
        return None if value is None else NameAddr.parse(value)

    @property
    def cseq(self) -> tuple[int, str]:
        """Number and method of the CSeq header. Raises BadMessageError when it is missing or cannot be read."""
        match = _CSEQ.match(self._required("cseq").strip())
        if match is None or int(match[1]) >= 2**31:  # RFC 3261 section 8.1.1.5: less than 2**31
            raise BadMessageError("CSeq cannot be read")
        return int(match[1]), match[2]

    def check_route(self) -> None:
        """Look at what a dialog will be routed by. Raises BadMessageError when Contact or Record-Route cannot be read."""
        contact = self.contact
        for address in [*([contact] if contact else []), *map(NameAddr.parse, self.headers.all("record-route"))]:
            SipUri.parse(address.uri)

    def _required(self, name: str) -> str:
        value = self.headers.first(name)
        if value is None:
            raise BadMessageError(f"no {name} header")
        return value


class Request(_Message):
    """A SIP request."""

    __slots__ = ("method", "uri", "version")

    def __init__(self, method: str, uri: str, headers: Headers, body: bytes = b"", version: str = "SIP/2.0") -> None:
        super().__init__(headers, body)
        self.method = method
        self.uri = uri
        self.version = version

    def _start_line(self) -> str:
        return f"{self.method} {self.uri} {self.version}"

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.uri}>"

    def problem(self) -> str | None:
        """Why this request deserves 400 (RFC 3261 section 8.1.1: the six mandatory headers), or None."""
        try:
            self._check_addresses()
            self._check_numbers()
        except BadMessageError as error:
            return str(error)
        return None

    def _check_addresses(self) -> None:
        for name in _SINGLE:
            if sum(1 for line in self.headers if line[0] == name) != 1:
                raise BadMessageError(f"{name} must be there once")
        _ = self.via
        if not self.sender.uri or not self.recipient.uri:
            raise BadMessageError("empty address")
        if re.search(r"[\s<>]", self.uri):
            raise BadMessageError("Request-URI cannot be read")
        if self.method == "INVITE":
            self.check_route()

    def _check_numbers(self) -> None:
        if self.cseq[1] != self.method:
            raise BadMessageError("CSeq method does not match")
        hops = self.headers.first("max-forwards")
        if hops is not None and not _DIGITS.match(hops.strip()):
            raise BadMessageError("Max-Forwards cannot be read")
        length = self.headers.first("content-length")
        if length is not None and (not _DIGITS.match(length.strip()) or int(length) > len(self.body)):
            raise BadMessageError("Content-Length does not match")

    def reply(self, status: int, reason: str | None = None, *, to_tag: str | None = None) -> "Response":
        """A response with the headers every response copies (RFC 3261 section 8.2.6.2).

        Args:
            status: 100 to 699.
            reason: None for the usual words.
            to_tag: Put on the To header when it has none.
        """
        lines = [line for line in self.headers if line[0] in {"via", "from", "to", "call-id", "cseq"}]
        response = Response(status, reason or REASONS.get(status, "Unknown"), Headers(lines))
        if to_tag and status > 100:
            to = self.recipient
            if to.tag is None:
                response.headers.replace("to", str(to.with_tag(to_tag)))
        return response


class Response(_Message):
    """A SIP response."""

    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: str, headers: Headers, body: bytes = b"") -> None:
        super().__init__(headers, body)
        self.status = status
        self.reason = reason

    def _start_line(self) -> str:
        return f"SIP/2.0 {self.status} {self.reason}"

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.reason}>"


def parse_message(data: bytes) -> Request | Response:
    """Read one datagram.

    Raises:
        BadMessageError: no start line of SIP, a header line without a name or with control characters, or longer than
            `LONGEST`. Such a thing is dropped.
    """
    if len(data) > LONGEST:
        raise BadMessageError(f"{len(data)} bytes are more than {LONGEST}")
    data = data.lstrip(b"\r\n")  # RFC 3261 section 7.5: leading line ends are ignored
    end = _HEAD_END.search(data)
    head, body = (data[: end.start()], data[end.end() :]) if end else (data.rstrip(b"\r\n"), b"")
    start, *lines = [line.rstrip("\r") for line in _FOLD.sub(" ", head.decode("utf-8", "surrogateescape")).split("\n")]
    headers = Headers(_read_header(line) for line in lines)
    length = headers.first("content-length")
    if length is not None and _DIGITS.match(length.strip()):
        body = body[: int(length)]  # RFC 3261 section 18.3: what follows is discarded
    return _read_start(start, headers, body)


def _read_start(line: str, headers: Headers, body: bytes) -> Request | Response:
    if _CONTROL.search(line):
        raise BadMessageError("control characters in the start line")
    first, _, rest = line.partition(" ")
    if first.upper() == "SIP/2.0":
        status, _, reason = rest.partition(" ")
        if not (len(status) == 3 and status.isascii() and status.isdigit() and 100 <= int(status) < 700):
            raise BadMessageError(f"not a status line: {line!r}")
        return Response(int(status), reason, headers, body)
    uri, _, version = rest.rpartition(" ")
    if not _TOKEN.match(first) or not _VERSION.match(version) or not uri.strip():
        raise BadMessageError(f"not a SIP start line: {line!r}")
    return Request(first, uri.strip(), headers, body, version.upper())


def _read_header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    name = name.strip().lower()
    if not colon or not _TOKEN.match(name) or _CONTROL.search(value):
        raise BadMessageError(f"not a header: {line!r}")
    return COMPACT.get(name, name), value.strip()


def whole_number(text: str) -> int | None:
    """A number of up to ten ASCII digits, blanks around it; None for anything else."""
    text = text.strip()
    return int(text) if _DIGITS.match(text) else None


def split_commas(value: str) -> list[str]:
    """Take a comma-separated header apart; commas inside quotes and angle brackets stay."""
    return [part.strip() for part in _split(value, ",")]


def parse_params(text: str) -> Params:
    """Read `a=1;b;c="x;y"`. Names in lower case; quotes are taken off; the first of two equal names wins."""
    params: Params = {}
    if not text.strip():
        return params
    for part in _split(text, ";"):
        name, equals, value = part.partition("=")
        name = name.strip().lower()
        if name and name not in params:
            params[name] = _unquote(value.strip()) if equals else None
    return params


def format_params(params: Params) -> str:
    """The inverse of `parse_params`, with a semicolon before each."""
    return "".join(f";{name}" if value is None else f";{name}={_quote(value)}" for name, value in params.items())


def split_hostport(text: str) -> tuple[str, int | None]:
    """Read `host`, `host:port` or `[v6]:port`.

    Raises:
        BadMessageError: no host, or a port that is no number below 65536.
    """
    text = text.strip()
    host, _, port = text.partition("]") if text.startswith("[") else text.partition(":")
    if text.startswith("["):
        host, port = host + "]", port.removeprefix(":")
    host, port = host.strip().lower(), port.strip()
    if not host or (port and not (_DIGITS.match(port) and int(port) < 65536)):
        raise BadMessageError(f"not a host: {text!r}")
    return host, int(port) if port else None


def _split(text: str, separator: str) -> Sequence[str]:
    if '"' not in text and "<" not in text:
        return text.split(separator)
    parts, start, quoted, depth, i = [], 0, False, 0, 0
    while i < len(text):
        char = text[i]
        if quoted:
            if char == "\\":
                i += 1
            elif char == '"':
                quoted = False
        elif char == '"':
            quoted = True
        elif char == "<":
            depth += 1
        elif char == ">":
            depth -= 1
        elif char == separator and depth <= 0:
            parts.append(text[start:i])
            start = i + 1
        i += 1
    return [*parts, text[start:]]


def _closing_quote(text: str) -> int:
    i = 1
    while i < len(text):
        if text[i] == "\\":
            i += 1
        elif text[i] == '"':
            return i
        i += 1
    raise BadMessageError(f"no closing quote: {text!r}")


def _unquote(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def _quote(value: str) -> str:
    if re.fullmatch(r"[^\s\";,<>=\\]*", value) and value:
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _escape_user(user: str) -> str:
    return re.sub(r"[^A-Za-z0-9\-_.!~*'()&=+$,;?/#]", lambda m: "".join(f"%{b:02X}" for b in m[0].encode()), user)
