"""What somebody who wishes us ill can send: nothing of it raises, and nothing of it piles up."""

import random
from collections.abc import Callable
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.media.g711 import CODECS
from bridge.sip import digest, registrar
from bridge.sip.endpoint import EndpointConfig, SipEndpoint
from bridge.sip.events import Address, InviteReceived
from bridge.sip.message import LONGEST, BadMessageError, Headers, Request, Response, parse_message
from bridge.sip.sdp import LocalAudio, NotAcceptableError, answer, choose, offer, parse_sdp
from bridge.telephony.sip import called_number, caller_number

PEER: Address = ("192.0.2.9", 5070)
SDP = offer(LocalAudio("192.0.2.9", 6000))
OURS = LocalAudio("192.0.2.1", 7000)
METHODS = ("INVITE", "REGISTER", "OPTIONS", "BYE", "ACK", "CANCEL", "INFO")
NASTY = (
    b"\xff", b"\x00", b"9" * 5000, b"%ff", b"%00", b"<", b">", b'"', b";", b",", b"\\", b"\r", b"\n", b"\r\n ", b"[::1]", b"[",
    b"tel:", b"-1", b"\xd9\xa3", b"*", b"255.255.255.255", b"=", b"@", b":", b"a.example", b"0",
)  # fmt: skip


def endpoint(max_exchanges: int = 20_000) -> SipEndpoint:
    config = EndpointConfig("192.0.2.1", 5060, (ip_network("192.0.2.0/24"),), max_exchanges=max_exchanges)
    return SipEndpoint(config, random.Random(1).getrandbits, {"ann": "secret", "ben": None})


def message(
    method: str, number: int = 1, *extra: str, contact: str = "<sip:a@192.0.2.9:5070>;expires=300", body: bytes = b""
) -> bytes:
    lines = [
        f"{method} sip:+15550100200@192.0.2.1 SIP/2.0",
        f"Via: SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bK{number};rport",
        'From: "A B" <sip:+15550100123@192.0.2.9>;tag=them',
        "To: <sip:ben@192.0.2.1>",
        f"Call-ID: call-{number}",
        f"CSeq: 1 {method}",
        f"Contact: {contact}",
        "Record-Route: <sip:192.0.2.7;lr>",
        "P-Asserted-Identity: <sip:+15550100123@192.0.2.9>",
        'Authorization: Digest username="ann", realm="sidetone", nonce="n", uri="sip:x", response="0", nc=00000001, qop=auth',
        *extra,
        "Content-Type: application/sdp",
        f"Content-Length: {len(body)}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real message with a few bytes put in, taken out or doubled."""
    method = draw(st.sampled_from(METHODS))
    data = message(method, body=SDP if method == "INVITE" else b"")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        gone = draw(st.integers(0, 12))
        put = draw(st.one_of(st.sampled_from(NASTY), st.binary(max_size=4), st.just(data[at : at + 20])))
        data = data[:at] + put + data[at + gone :]
    return data


@settings(max_examples=300)
@given(st.lists(mutated(), min_size=1, max_size=4))
def test_no_datagram_raises(datagrams: list[bytes]) -> None:
    """Whatever comes is answered or dropped; what a call would be made of can be kept and sent."""
    end = endpoint()
    for now, data in enumerate(datagrams):
        end.receive_datagram(data, PEER, float(now))
        while (event := end.next_event()) is not None:
            if isinstance(event, InviteReceived):
                take(end, event, float(now))
        end.wake(float(now))
        end.datagrams_to_send()
    end.wake(1000.0)


def take(end: SipEndpoint, event: InviteReceived, now: float) -> None:
    """What the call provider does with an INVITE."""
    try:
        assert called_number(event.request).isprintable()
        caller = caller_number(event.request)
        assert caller is None or caller.isascii()
        negotiated = None if event.offer is None else choose(event.offer, tuple(CODECS.values()))
    except (BadMessageError, NotAcceptableError):
        end.refuse(event.call, 488, now)
        return
    body = offer(OURS) if event.offer is None or negotiated is None else answer(event.offer, negotiated, OURS)
    end.answer(event.call, body, now)
    end.bye(event.call, now)


@pytest.mark.parametrize(
    "data",
    [
        message("REGISTER", 1, "Expires: " + "9" * 5000),
        message("INVITE", 1, body=SDP.replace(b"m=audio 6000", b"m=audio " + b"9" * 5000)),
        message("INVITE", 1, body=SDP.replace(b"101 telephone-event", b"9" * 5000 + b" telephone-event")),
        message("OPTIONS", 1, "Max-Forwards: " + "9" * 5000),
        message("BYE", 1, "CSeq: " + "9" * 5000 + " BYE"),
    ],
)
def test_a_number_too_long_to_read_is_answered(data: bytes) -> None:
    """Its transaction comes to an end: one without an answer would have no timer and stay for ever."""
    end = endpoint()
    end.receive_datagram(data, PEER, 0.0)
    for _ in range(2):
        while (event := end.next_event()) is not None:
            assert isinstance(event, InviteReceived)
            take(end, event, 0.0)
    answers = [parse_message(sent) for sent, _ in end.datagrams_to_send()]

    assert answers
    assert isinstance(answers[-1], Response)
    assert answers[-1].status >= 200


@pytest.mark.parametrize("name", ["Contact", "From", "Subject"])
@pytest.mark.parametrize("char", ["\r", "\x00", "\x1b", "\x7f"])
def test_control_characters_in_a_header_are_no_message(name: str, char: str) -> None:
    """A bare CR could become a header of its own at whoever gets our next request."""
    with pytest.raises(BadMessageError):
        parse_message(message("INVITE", 1, f"{name}: <sip:a{char}Evil: yes@192.0.2.9>"))


def test_a_giant_is_dropped_unread() -> None:
    """What is kept of each request for half a minute has to be small."""
    end = endpoint()
    end.receive_datagram(message("OPTIONS", 1, "X: " + "x" * LONGEST), PEER, 0.0)

    assert (end.datagrams_to_send(), end.silent_drops) == ([], 1)


def test_a_flood_of_requests_leaves_nothing_behind() -> None:
    """With the table full, one more is refused with 503 and forgotten; half a minute later there is room again."""
    end = endpoint(max_exchanges=50)

    def statuses(first: int, last: int, now: float) -> set[int]:
        for number in range(first, last):
            end.receive_datagram(message("OPTIONS", number), PEER, now)
        answers = [parse_message(sent) for sent, _ in end.datagrams_to_send()]
        return {answer.status for answer in answers if isinstance(answer, Response)}

    assert statuses(0, 50, 0.0) == {200}
    assert statuses(50, 1000, 1.0) == {503}
    end.wake(40.0)
    assert statuses(1000, 1001, 40.0) == {200}


def test_a_call_can_be_ended_during_a_flood() -> None:
    """The full table keeps out strangers' new requests, not those of calls in progress."""
    end = endpoint(max_exchanges=3)
    end.receive_datagram(message("INVITE", 1, body=SDP), PEER, 0.0)
    event = end.next_event()
    assert isinstance(event, InviteReceived)
    end.answer(event.call, SDP, 0.0)
    ok = parse_message(end.datagrams_to_send()[-1][0])
    for number in range(2, 20):
        end.receive_datagram(message("OPTIONS", number), PEER, 1.0)
    end.datagrams_to_send()

    bye = message("BYE", 1).replace(b"To: <sip:ben@192.0.2.1>", b"To: " + str(ok.recipient).encode())
    bye = bye.replace(b"CSeq: 1 BYE", b"CSeq: 2 BYE").replace(b"z9hG4bK1", b"z9hG4bKbye")
    end.receive_datagram(bye, PEER, 2.0)

    answered = parse_message(end.datagrams_to_send()[-1][0])
    assert isinstance(answered, Response)
    assert answered.status == 200


def test_a_request_sent_again_and_again_takes_no_room() -> None:
    """A thousand copies of one request stand once in the calendar of timers."""
    end = endpoint()
    for _ in range(1000):
        end.receive_datagram(message("OPTIONS", 1), PEER, 0.0)

    assert len(end._heap) < 5


def test_a_flood_of_challenges_stays_small() -> None:
    """Each unanswered REGISTER opens a challenge; the oldest ones are forgotten before there are too many."""
    made = iter(range(digest.MOST_NONCES * 2))
    door = digest.DigestGuard("sidetone", lambda: str(next(made)))
    for second in range(digest.MOST_NONCES + 500):
        door.challenges(second / 1000)

    assert len(door._nonces) == digest.MOST_NONCES


def guesser(door: digest.DigestGuard) -> Callable[[str, str, float], str]:
    def guess(password: str, source: str, now: float) -> str:
        challenge = door.challenges(now)[0]
        proof = digest.answer(challenge, digest.Credentials("ann", password), method="REGISTER", uri="sip:x", cnonce="c")
        assert proof is not None
        return door.check(proof, user="ann", password="secret", method="REGISTER", source=source, now=now)

    return guess


def test_who_guesses_passwords_is_not_listened_to_for_a_while() -> None:
    """After twenty wrong ones from one address even the right one is wrong there; elsewhere, and later, it is right."""
    made = iter(range(1000))
    guess = guesser(digest.DigestGuard("sidetone", lambda: str(next(made))))
    for number in range(digest.MOST_WRONG):
        assert guess(f"guess {number}", "192.0.2.66", float(number)) == "wrong"

    assert guess("secret", "192.0.2.66", 30.0) == "wrong"
    assert guess("secret", "192.0.2.9", 30.0) == "ok"
    assert guess("secret", "192.0.2.66", 30.0 + digest.NONCE_LIFETIME) == "ok"


def test_guessers_are_counted_but_not_for_ever() -> None:
    """From however many addresses they come."""
    door = digest.DigestGuard("sidetone", lambda: "nonce")
    guess = guesser(door)
    for number in range(digest.MOST_GUESSERS + 20):
        guess("wrong", f"2001:db8::{number:x}", 0.0)

    assert len(door._wrong) == digest.MOST_GUESSERS


def test_a_user_has_few_phones() -> None:
    """One who registers ever new contacts loses the oldest."""
    kept = registrar.Registrar({"ben": None})
    for number in range(50):
        headers = Headers([("call-id", str(number)), ("cseq", "1 REGISTER"), ("contact", f"<sip:ben@192.0.2.9:{5000 + number}>")])
        kept.register("ben", Request("REGISTER", "sip:192.0.2.1", headers), PEER, 0.0)

    assert [each.contact[-4:] for each in kept.bindings("ben", 1.0)] == [str(5040 + number) for number in range(10)]


@pytest.mark.parametrize("host", ["media.example", "", "192.0.2", "localhost", "a..b"])
def test_sound_goes_to_numeric_addresses_only(host: str) -> None:
    """A name would be looked up for every packet, and whoever owns it could make all calls wait for the answer."""
    description = parse_sdp(SDP.replace(b"c=IN IP4 192.0.2.9", f"c=IN IP4 {host}".encode()))

    with pytest.raises(NotAcceptableError):
        choose(description, tuple(CODECS.values()))


def test_a_payload_type_has_seven_bits() -> None:
    """One that does not fit into a packet is as good as none."""
    chosen = choose(parse_sdp(SDP.replace(b"101", b"999")), tuple(CODECS.values()))

    assert chosen.event_type is None


@pytest.mark.parametrize("user", ["%00", "%0d%0aEvil", "%ff", "x" * 65, "a%20b", "%1b[2J"])
def test_nobody_can_have_dialled_that(user: str) -> None:
    """The dialled number is kept, shown and logged: it is short and printable, or the call meets 404."""
    with pytest.raises(BadMessageError):
        called_number(Request("INVITE", f"sip:{user}@192.0.2.1", Headers()))
