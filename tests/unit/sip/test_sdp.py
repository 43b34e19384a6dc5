"""Session descriptions and the choice of a sound stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media.g711 import PCMA, PCMU
from bridge.sip.sdp import BadSdpError, LocalAudio, NotAcceptableError, answer, choose, offer, parse_sdp

BOTH = (PCMU, PCMA)
LOCAL = LocalAudio("192.0.2.1", 4000)


def described(*lines: str) -> bytes:
    return "\r\n".join(["v=0", "o=- 1 1 IN IP4 192.0.2.9", "s=-", "c=IN IP4 192.0.2.9", "t=0 0", *lines, ""]).encode()


def test_the_offerer_s_first_codec_that_we_know_is_taken() -> None:
    """RFC 3264 section 6.1, with the event type of the offer, whatever its number."""
    chosen = choose(
        parse_sdp(described("m=audio 6000 RTP/AVP 18 8 0 96", "a=rtpmap:96 telephone-event/8000", "a=fmtp:96 0-15")), BOTH
    )

    assert (chosen.codec, chosen.payload_type, chosen.event_type) == (PCMA, 8, 96)
    assert (chosen.host, chosen.port) == ("192.0.2.9", 6000)
    assert chosen.may_send
    assert chosen.may_receive


def test_a_dynamic_number_for_a_known_codec_is_mirrored() -> None:
    """The number in the answer is the offer's."""
    description = parse_sdp(described("m=audio 6000 RTP/AVP 110", "a=rtpmap:110 pcmu/8000/1"))
    chosen = choose(description, BOTH)
    text = answer(description, chosen, LOCAL)

    assert (chosen.codec, chosen.payload_type, chosen.event_type) == (PCMU, 110, None)
    assert b"m=audio 4000 RTP/AVP 110\r\n" in text
    assert b"telephone-event" not in text


def test_other_streams_are_refused_with_port_0() -> None:
    """RFC 3264 section 6: as many lines in the answer as in the offer, in the same order."""
    description = parse_sdp(
        described("m=video 7000 RTP/AVP 31", "m=audio 6000 RTP/AVP 0", "m=image 8000 udptl t38", "m=audio 6002 RTP/AVP 0")
    )
    lines = answer(description, choose(description, BOTH), LOCAL).decode().split("\r\n")

    assert [line for line in lines if line.startswith("m=")] == [
        "m=video 0 RTP/AVP 31", "m=audio 4000 RTP/AVP 0", "m=image 0 udptl t38", "m=audio 0 RTP/AVP 0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "ours", "send", "receive"),
    [
        (["a=sendrecv"], "sendrecv", True, True),
        (["a=sendonly"], "recvonly", False, True),
        (["a=recvonly"], "sendonly", True, False),
        (["a=inactive"], "inactive", False, False),
        (["c=IN IP4 0.0.0.0"], "sendrecv", False, True),
    ],
)
def test_hold_is_mirrored(lines: list[str], ours: str, send: bool, receive: bool) -> None:
    """RFC 3264 section 8.4 and the null address of RFC 2543."""
    chosen = choose(parse_sdp(described("m=audio 6000 RTP/AVP 0", *lines)), BOTH)

    assert (chosen.direction, chosen.may_send, chosen.may_receive) == (ours, send, receive)


def test_a_direction_of_the_session_holds_for_its_streams() -> None:
    """RFC 4566 section 6: unless the stream says otherwise."""
    held = described("m=audio 6000 RTP/AVP 0").replace(b"t=0 0", b"t=0 0\r\na=sendonly")

    assert choose(parse_sdp(held), BOTH).direction == "recvonly"
    assert choose(parse_sdp(held + b"a=sendrecv\r\n"), BOTH).direction == "sendrecv"


@pytest.mark.parametrize(
    ("lines", "warning"),
    [
        ([], 304),
        (["m=video 6000 RTP/AVP 31"], 304),
        (["m=audio 0 RTP/AVP 0"], 304),
        (["m=audio 6000 RTP/SAVP 0"], 302),
        (["m=audio 6000 RTP/AVP 18 97", "a=rtpmap:97 opus/48000/2"], 305),
        (["m=audio 6000 RTP/AVP x 300"], 305),
    ],
)
def test_what_does_not_fit_is_refused_with_a_warning(lines: list[str], warning: int) -> None:
    """The codes of RFC 3261 section 20.43."""
    with pytest.raises(NotAcceptableError) as caught:
        choose(parse_sdp(described(*lines)), BOTH)

    assert caught.value.warning == warning


@pytest.mark.parametrize("body", [b"", b"hello", b"v=1\r\n", described("m=audio"), described("m=audio x RTP/AVP 0")])
def test_what_is_no_description_raises(body: bytes) -> None:
    """It must begin with v=0 and its media lines must be readable."""
    with pytest.raises(BadSdpError):
        parse_sdp(body)


def test_an_offer_of_ours_can_be_chosen_from() -> None:
    """What we write we can read."""
    chosen = choose(parse_sdp(offer(LOCAL, direction="sendonly")), (PCMA,))

    assert (chosen.codec, chosen.event_type, chosen.host, chosen.port, chosen.direction) == (
        PCMA, 101, "192.0.2.1", 4000, "recvonly",
    )  # fmt: skip


def test_an_ipv6_address_is_said_to_be_one() -> None:
    """RFC 4566 section 5.7."""
    assert b"c=IN IP6 ::1\r\n" in offer(LocalAudio("::1", 4000))


@given(st.lists(st.sampled_from([0, 3, 8, 9, 18, 96, 101, 110]), min_size=1, unique=True), st.integers(1, 65535))
def test_offer_and_answer_agree(formats: list[int], port: int) -> None:
    """Both ends read the same codec and numbers out of any answer we give."""
    lines = [f"m=audio {port} RTP/AVP {' '.join(map(str, formats))}", "a=rtpmap:110 PCMA/8000"]
    lines += ["a=rtpmap:101 telephone-event/8000"]
    description = parse_sdp(described(*lines))
    try:
        ours = choose(description, BOTH)
    except NotAcceptableError:
        assert not {0, 8, 110} & set(formats)
        return
    theirs = choose(parse_sdp(answer(description, ours, LOCAL)), BOTH)

    assert (theirs.codec, theirs.payload_type, theirs.event_type) == (ours.codec, ours.payload_type, ours.event_type)
    assert ours.event_type == (101 if 101 in formats else None)


@given(st.binary(max_size=300))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    """Any bytes are read or refused."""
    try:
        parse_sdp(b"v=0\n" + body)
    except BadSdpError:
        return
