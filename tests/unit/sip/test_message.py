"""SIP messages, after the ideas of RFC 4475: what is odd but right is read, what is wrong is told so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.message import (
    BadMessageError,
    Headers,
    NameAddr,
    Request,
    Response,
    SipUri,
    Via,
    format_params,
    parse_message,
    parse_params,
    split_commas,
    split_hostport,
)

PLAIN = (
    b"INVITE sip:+15550100200@192.0.2.1 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bKabc;rport\r\n"
    b"Max-Forwards: 70\r\n"
    b'From: "A. Caller" <sip:+15550100123@192.0.2.9>;tag=f1\r\n'
    b"To: <sip:+15550100200@192.0.2.1>\r\n"
    b"Call-ID: one@192.0.2.9\r\n"
    b"CSeq: 7 INVITE\r\n"
    b"Contact: <sip:caller@192.0.2.9:5070>\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Content-Length: 4\r\n"
    b"\r\n"
    b"v=0\n"
)


def request(data: bytes = PLAIN) -> Request:
    message = parse_message(data)
    assert isinstance(message, Request)
    return message


def changed(old: bytes, new: bytes) -> Request:
    assert old in PLAIN
    return request(PLAIN.replace(old, new))


def test_a_plain_invite_is_read() -> None:
    """Start line, addresses, numbers and body of an ordinary INVITE."""
    invite = request()

    assert invite.method == "INVITE"
    assert invite.problem() is None
    assert invite.sender == NameAddr("sip:+15550100123@192.0.2.9", "A. Caller", {"tag": "f1"})
    assert invite.recipient.tag is None
    assert invite.cseq == (7, "INVITE")
    assert (invite.via.host, invite.via.port, invite.via.branch) == ("192.0.2.9", 5070, "z9hG4bKabc")
    assert invite.call_id == "one@192.0.2.9"
    assert invite.body == b"v=0\n"


def test_writing_undoes_reading() -> None:
    """A message that is written and read again is the same."""
    again = request(bytes(request()))

    assert list(again.headers) == [line for line in request().headers if line[0] != "content-length"] + [("content-length", "4")]
    assert (again.method, again.uri, again.body) == (request().method, request().uri, request().body)


def test_compact_folded_and_spaced_headers_are_read() -> None:
    """RFC 4475 section 3.1.1.1: compact names, folded lines, white space before the colon, any case."""
    data = (
        b"\r\n\r\nINVITE sip:a@192.0.2.1 SIP/2.0\r\n"
        b"v  : SIP / 2.0 / UDP\r\n  192.0.2.9 ;branch = z9hG4bKx\r\n"
        b"TO :\r\n sip:a@192.0.2.1\r\n"
        b'f   :  "Quoted \\"name\\"" \t<sip:b@192.0.2.9> ;\r\n   tag = 98\r\n'
        b"i: id\r\ncseq: 0009\r\n  INVITE\r\nm:<sip:b@192.0.2.9>\r\nl: 0\r\n\r\n"
    )
    invite = request(data)

    assert invite.problem() is None
    assert invite.via.branch == "z9hG4bKx"
    assert invite.sender.display == 'Quoted "name"'
    assert invite.sender.tag == "98"
    assert invite.cseq == (9, "INVITE")


def test_line_ends_without_carriage_returns_are_read() -> None:
    """Some tools send bare line feeds."""
    assert request(PLAIN.replace(b"\r\n", b"\n")).cseq == (7, "INVITE")


def test_several_vias_come_apart_however_they_are_written() -> None:
    """Values on one line and on several lines mean the same (RFC 3261 section 7.3.1)."""
    one = changed(b";rport\r\n", b";rport, SIP/2.0/UDP 192.0.2.8;branch=z9hG4bK2\r\n")
    two = changed(b";rport\r\n", b";rport\r\nVia: SIP/2.0/UDP 192.0.2.8;branch=z9hG4bK2\r\n")

    assert one.headers.all("via") == two.headers.all("via")
    assert [Via.parse(text).host for text in one.headers.all("via")] == ["192.0.2.9", "192.0.2.8"]


def test_a_body_longer_than_content_length_is_cut() -> None:
    """RFC 3261 section 18.3: what follows the body is discarded."""
    assert changed(b"Length: 4", b"Length: 3").body == b"v=0"


def test_a_body_without_content_length_is_the_rest_of_the_datagram() -> None:
    """On UDP the length may be left out."""
    assert changed(b"Content-Length: 4\r\n", b"").body == b"v=0\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Length: 4", b"Length: 99"),
        (b"Length: 4", b"Length: -4"),
        (b"CSeq: 7 INVITE", b"CSeq: 7 OPTIONS"),
        (b"CSeq: 7 INVITE", b"CSeq: 36893488147419103232 INVITE"),
        (b"CSeq: 7 INVITE", b"CSeq: 2147483648 INVITE"),
        (b"CSeq: 7 INVITE\r\n", b""),
        (b"Call-ID: one@192.0.2.9\r\n", b""),
        (b"Call-ID: one@192.0.2.9\r\n", b"Call-ID: one\r\nCall-ID: two\r\n"),
        (b"To: <sip:+15550100200@192.0.2.1>", b"To: <sip:+15550100200@192.0.2.1"),
        (b"To: <sip:+15550100200@192.0.2.1>", b"To: <>"),
        (b'From: "A. Caller" <', b'From: "A. Caller <'),
        (b"Max-Forwards: 70", b"Max-Forwards: many"),
        (b"INVITE sip:+15550100200@192.0.2.1 SIP", b"INVITE sip:a b@192.0.2.1 SIP"),
        (b"INVITE sip:+15550100200@192.0.2.1 SIP", b"INVITE <sip:a@192.0.2.1> SIP"),
        (b"Contact: <sip:caller@192.0.2.9:5070>", b"Contact: <sip:caller@192.0.2.9:99999>"),
        (b"Contact: <sip:caller@192.0.2.9:5070>", b"Contact: <http://192.0.2.9>"),
        (b"Content-Type: application/sdp", b"Record-Route: <nonsense>"),
        (b"Via: SIP/2.0/UDP 192.0.2.9:5070", b"Via: SIP/2.0 192.0.2.9"),
        (b"Via: SIP/2.0/UDP 192.0.2.9:5070", b"Via: SIP/2.0/UDP :5070"),
    ],
)
def test_a_broken_request_deserves_400(old: bytes, new: bytes) -> None:
    """RFC 4475 section 3.1.2: it is read far enough to be told what is wrong."""
    assert changed(old, new).problem()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"hello",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"SIP/2.0 42 No\r\n\r\n",
        b"SIP/2.0 abc No\r\n\r\n",
        b"SIP/2.0 999 No\r\n\r\n",
        b"INVITE SIP/2.0\r\n\r\n",
        b"IN VITE sip:a@192.0.2.1 HTTP/1.0\r\n\r\n",
        b"OPTIONS sip:a@192.0.2.1 SIP/2.0\r\nno colon here\r\n\r\n",
        b"OPTIONS sip:a@192.0.2.1 SIP/2.0\r\n: no name\r\n\r\n",
        b"\x00\x01\x00\x00!\x12\xa4B" + bytes(12),
    ],
)
def test_what_is_no_sip_raises(data: bytes) -> None:
    """Nothing can be answered to it."""
    with pytest.raises(BadMessageError):
        parse_message(data)


def test_an_unknown_version_is_read_so_that_505_can_be_sent() -> None:
    """RFC 4475 section 3.1.2.16."""
    assert changed(b" SIP/2.0\r\nVia", b" SIP/7.0\r\nVia").version == "SIP/7.0"


def test_a_response_is_read_and_written() -> None:
    """Status, an empty reason, and back."""
    response = parse_message(b"SIP/2.0 200 \r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKabc\r\nCSeq: 1 BYE\r\n\r\n")

    assert isinstance(response, Response)
    assert (response.status, response.reason) == (200, "")
    assert repr(response) == "<Response 200 >"
    assert bytes(response).startswith(b"SIP/2.0 200 \r\n")


def test_a_reply_copies_what_belongs_in_it() -> None:
    """RFC 3261 section 8.2.6.2: Via, From, To with our tag, Call-ID, CSeq; 100 gets no tag."""
    ringing = request().reply(180, to_tag="us")

    assert ringing.recipient.tag == "us"
    assert ringing.headers.all("via") == request().headers.all("via")
    assert ringing.reason == "Ringing"
    assert request().reply(100, to_tag="us").recipient.tag is None
    assert request().reply(299).reason == "Unknown"
    assert changed(b"<sip:+15550100200@192.0.2.1>", b"<sip:x@y>;tag=old").reply(200, to_tag="us").recipient.tag == "old"


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("sip:192.0.2.1", SipUri("sip", None, "192.0.2.1")),
        ("SIP:Alice@EXAMPLE.com:5070;lr;x=1?subject=hi", SipUri("sip", "Alice", "example.com", 5070, {"lr": None, "x": "1"})),
        ("sip:user;par=u%40example.net@example.com", SipUri("sip", "user;par=u@example.net", "example.com")),
        ("sips:a:secret@[2001:db8::1]:5061", SipUri("sips", "a", "[2001:db8::1]", 5061)),
        ("tel:+1-555-010-0200;phone-context=x", SipUri("tel", "+1-555-010-0200", "", None, {"phone-context": "x"})),
    ],
)
def test_a_uri_is_read(text: str, uri: SipUri) -> None:
    """RFC 3261 section 19.1 and RFC 3966, with the user part unescaped and passwords left behind."""
    assert SipUri.parse(text) == uri
    assert SipUri.parse(str(uri)) == uri


@pytest.mark.parametrize("text", ["", "mailto:a@example.com", "sip:", "sip:a@", "sip:a@b:port", "sip:a@b:70000", "nocolon"])
def test_what_is_no_sip_uri_raises(text: str) -> None:
    """Other schemes and missing hosts."""
    with pytest.raises(BadMessageError):
        SipUri.parse(text)


def test_parameters_without_brackets_belong_to_the_header() -> None:
    """RFC 3261 section 20.10."""
    assert NameAddr.parse("sip:a@192.0.2.1;tag=1") == NameAddr("sip:a@192.0.2.1", "", {"tag": "1"})
    assert NameAddr.parse("<sip:a@192.0.2.1;lr>;tag=1") == NameAddr("sip:a@192.0.2.1;lr", "", {"tag": "1"})
    assert str(NameAddr("sip:a@b", 'x "y" \\', {"tag": "1"})) == '"x \\"y\\" \\\\" <sip:a@b>;tag=1'


def test_commas_in_quotes_and_brackets_do_not_split() -> None:
    """A display name or URI may hold a comma."""
    assert split_commas('"a, b" <sip:x,y@h>, <sip:z@h>, "q\\", r" <sip:q@h>') == [
        '"a, b" <sip:x,y@h>', "<sip:z@h>", '"q\\", r" <sip:q@h>',
    ]  # fmt: skip


def test_headers_keep_order_and_are_replaced_in_place() -> None:
    """A replaced header stays where its first line stood."""
    headers = Headers([("A", "1"), ("b", "2"), ("a", "3")])
    copy = headers.copy()
    headers.replace("a", "x", "y")

    assert list(headers) == [("a", "x"), ("a", "y"), ("b", "2")]
    assert list(copy) == [("a", "1"), ("b", "2"), ("a", "3")]
    assert "b" in headers
    assert "c" not in headers
    assert headers != copy
    assert repr(Headers()) == "Headers([])"
    headers.replace("c", "new")
    assert headers.first("c") == "new"
    assert headers.first("d") is None


def test_hosts_and_ports_are_split() -> None:
    """With and without port, with an IPv6 address."""
    assert split_hostport(" Example.COM : 5060 ") == ("example.com", 5060)
    assert split_hostport("[::1]") == ("[::1]", None)


words = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)


@given(st.dictionaries(words.map(str.lower), st.none() | st.text(st.characters(codec="ascii", exclude_categories=["C"]))))
def test_parameters_survive_writing_and_reading(params: dict[str, str | None]) -> None:
    """Whatever the value holds, quotes make it safe."""
    assert parse_params(format_params(params).removeprefix(";")) == params


@given(st.binary(max_size=400))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    """Any datagram is read or refused with the one error."""
    try:
        message = parse_message(data)
    except BadMessageError:
        return
    assert isinstance(message, Request | Response)


@given(st.integers(0, len(PLAIN) - 1), st.binary(min_size=1, max_size=6))
def test_no_damage_to_an_invite_breaks_the_checks(at: int, noise: bytes) -> None:
    """A damaged INVITE is refused by the parser, told a problem, or still good; nothing else is raised."""
    try:
        message = parse_message(PLAIN[:at] + noise + PLAIN[at + len(noise) :])
    except BadMessageError:
        return
    if isinstance(message, Request):
        message.problem()
        parse_message(bytes(message))
