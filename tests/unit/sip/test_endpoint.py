"""The user agent without sockets: two of them joined by a fake wire, and strangers with hand-written messages."""

import random
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.sip import digest
from bridge.sip.endpoint import EndpointConfig, SipEndpoint
from bridge.sip.events import (
    Address,
    CallAnswered,
    CallConfirmed,
    CallEnded,
    CallProgressed,
    InfoReceived,
    InviteReceived,
    OfferAnswered,
    OfferReceived,
    RegisterAnswered,
    SipEvent,
)
from bridge.sip.exchange import numeric_address
from bridge.sip.message import BadMessageError, Request, Response, parse_message
from bridge.sip.sdp import LocalAudio, offer

SERVER: Address = ("192.0.2.1", 5060)
PHONE: Address = ("192.0.2.9", 5070)
STRANGER: Address = ("203.0.113.5", 5060)
SDP = offer(LocalAudio("192.0.2.9", 6000))
ALLOWED = (ip_network("192.0.2.0/24"),)


def endpoint(address: Address, users: dict[str, str | None] | None = None, seed: int = 1) -> SipEndpoint:
    return SipEndpoint(EndpointConfig(address[0], address[1], ALLOWED), random.Random(seed).getrandbits, users)


class Wire:
    """Joins a phone and a server; `lose` may drop datagrams, time moves only by `advance`."""

    def __init__(self, users: dict[str, str | None] | None = None) -> None:
        self.now = 0.0
        self.ends = {SERVER: endpoint(SERVER, users, 1), PHONE: endpoint(PHONE, None, 2)}
        self.server, self.phone = self.ends[SERVER], self.ends[PHONE]
        self.lose: Callable[[Request | Response, Address], bool] = lambda _message, _to: False
        self.seen: list[str] = []

    def settle(self) -> None:
        moved = True
        while moved:
            moved = False
            for source, end in self.ends.items():
                for data, to in end.datagrams_to_send():
                    moved = True
                    message = parse_message(data)
                    name = message.method if isinstance(message, Request) else str(message.status)
                    lost = self.lose(message, to)
                    self.seen.append(f"({name})" if lost else name)
                    if not lost and to in self.ends:
                        self.ends[to].receive_datagram(data, source, self.now)

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while (due := min((end.wake_at for end in self.ends.values() if end.wake_at is not None), default=until)) < until:
            self.now = max(due, self.now)
            for end in self.ends.values():
                end.wake(self.now)
            self.settle()
        self.now = until

    def call(self) -> tuple[int, int]:
        """An answered call; returns the server's and the phone's reference."""
        theirs = self.phone.invite("sip:+15550100200@192.0.2.1", SDP, self.now)
        self.settle()
        arrived = the(InviteReceived, self.server)
        self.server.answer(arrived.call, SDP, self.now)
        self.settle()
        the(CallConfirmed, self.server)
        the(CallAnswered, self.phone)
        self.seen.clear()
        return arrived.call, theirs


def events(end: SipEndpoint) -> Iterator[SipEvent]:
    while (event := end.next_event()) is not None:
        yield event


Kind = TypeVar("Kind", bound=SipEvent)


def the(kind: type[Kind], end: SipEndpoint) -> Kind:
    """The one event there is beside progress, and it is of this kind."""
    (event,) = (event for event in events(end) if not isinstance(event, CallProgressed))
    assert isinstance(event, kind)
    return event


def text(method: str = "OPTIONS", uri: str = "sip:192.0.2.1", *extra: str, branch: str = "z9hG4bK1", to: str = "") -> bytes:
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP 192.0.2.9:5070;branch={branch};rport",
        "From: <sip:a@192.0.2.9>;tag=them",
        f"To: <sip:b@192.0.2.1>{to}",
        "Call-ID: by-hand",
        f"CSeq: 1 {method}",
        *extra,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def reply(end: SipEndpoint, data: bytes, source: Address = PHONE, now: float = 0.0) -> Response | None:
    """The last response to *data*, or None."""
    end.receive_datagram(data, source, now)
    responses = [parse_message(sent) for sent, _ in end.datagrams_to_send()]
    assert all(isinstance(response, Response) for response in responses)
    last = responses[-1] if responses else None
    return last if isinstance(last, Response) else None


def status(end: SipEndpoint, data: bytes, source: Address = PHONE) -> int | None:
    response = reply(end, data, source)
    return None if response is None else response.status


# --- calls -----------------------------------------------------------------------------------------------------------


def test_a_call_is_offered_rung_answered_and_ended_by_the_caller() -> None:
    """The whole ladder of RFC 3261 figure 1."""
    wire = Wire()
    theirs = wire.phone.invite("sip:+15550100200@192.0.2.1", SDP, 0.0)
    wire.settle()
    arrived = the(InviteReceived, wire.server)
    assert arrived.request.uri == "sip:+15550100200@192.0.2.1"
    assert arrived.offer is not None
    assert arrived.source == PHONE
    wire.server.ring(arrived.call, 0.1)
    wire.settle()
    assert [event.status for event in events(wire.phone) if isinstance(event, CallProgressed)] == [100, 180]
    wire.server.answer(arrived.call, SDP, 0.2)
    wire.settle()
    assert the(CallConfirmed, wire.server) == CallConfirmed(arrived.call, None)
    assert the(CallAnswered, wire.phone).answer is not None
    wire.phone.bye(theirs, 1.0)
    wire.settle()

    assert the(CallEnded, wire.server).cause == "bye"
    assert list(events(wire.phone)) == []
    assert wire.seen == ["INVITE", "100", "180", "200", "ACK", "BYE", "200"]


def test_the_server_can_end_a_call() -> None:
    """And hears no event of its own doing."""
    wire = Wire()
    ours, _ = wire.call()
    wire.server.bye(ours, 1.0)
    wire.settle()

    assert the(CallEnded, wire.phone).cause == "bye"
    assert list(events(wire.server)) == []
    assert wire.seen == ["BYE", "200"]
    wire.advance(100.0)
    assert wire.seen == ["BYE", "200"]
    assert wire.server.wake_at is None


def test_a_lost_ack_brings_the_200_again_and_one_more_ack() -> None:
    """Section 13.3.1.4: until the ACK comes; the second 200 gets the first's ACK again."""
    wire = Wire()
    wire.lose = lambda message, _to: isinstance(message, Request) and message.method == "ACK" and wire.now < 1.0
    wire.phone.invite("sip:x@192.0.2.1", SDP, 0.0)
    wire.settle()
    wire.server.answer(the(InviteReceived, wire.server).call, SDP, 0.0)
    wire.settle()
    wire.advance(10.0)

    assert wire.seen == ["INVITE", "100", "200", "(ACK)", "200", "(ACK)", "200", "ACK"]
    the(CallConfirmed, wire.server)


def test_a_200_that_comes_after_its_transaction_is_acknowledged_still() -> None:
    """Section 13.2.2.4: the dialog remembers its ACK."""
    wire = Wire()
    kept: list[bytes] = []
    wire.phone.invite("sip:x@192.0.2.1", SDP, 0.0)
    wire.settle()
    wire.server.answer(the(InviteReceived, wire.server).call, SDP, 0.0)
    kept += [data for data, _ in wire.server.datagrams_to_send()]
    wire.phone.receive_datagram(kept[0], SERVER, 0.0)
    wire.settle()
    wire.advance(50.0)
    wire.seen.clear()
    wire.phone.receive_datagram(kept[0], SERVER, wire.now)
    wire.settle()

    assert wire.seen == ["ACK"]


def test_a_200_that_is_never_acknowledged_ends_the_call() -> None:
    """After 64 T1 with a BYE."""
    wire = Wire()
    wire.lose = lambda message, _to: isinstance(message, Request) and message.method == "ACK"
    wire.phone.invite("sip:x@192.0.2.1", SDP, 0.0)
    wire.settle()
    arrived = the(InviteReceived, wire.server)
    wire.server.answer(arrived.call, SDP, 0.0)
    wire.settle()
    wire.advance(40.0)

    assert the(CallEnded, wire.server) == CallEnded(arrived.call, "timeout", 408, "No ACK")
    assert wire.seen[-2:] == ["BYE", "200"]


def test_a_hang_up_before_the_ack_waits_for_it() -> None:
    """Section 15: no BYE by the called end before the ACK."""
    wire = Wire()
    wire.lose = lambda message, _to: isinstance(message, Request) and message.method == "ACK" and wire.now < 0.4
    wire.phone.invite("sip:x@192.0.2.1", SDP, 0.0)
    wire.settle()
    arrived = the(InviteReceived, wire.server)
    wire.server.answer(arrived.call, SDP, 0.0)
    wire.settle()
    wire.server.bye(arrived.call, 0.0)
    wire.settle()
    assert wire.seen[-1] == "(ACK)"
    wire.advance(1.0)

    assert wire.seen[-4:] == ["200", "ACK", "BYE", "200"]


def test_a_bye_before_the_ack_is_obeyed() -> None:
    """The caller may hang up at once; the 200 is not repeated."""
    wire = Wire()
    wire.lose = lambda message, _to: isinstance(message, Request) and message.method == "ACK"
    theirs = wire.phone.invite("sip:x@192.0.2.1", SDP, 0.0)
    wire.settle()
    arrived = the(InviteReceived, wire.server)
    wire.server.answer(arrived.call, SDP, 0.0)
    wire.settle()
    wire.phone.bye(theirs, 0.1)
    wire.settle()
    wire.advance(40.0)

    assert the(CallEnded, wire.server).cause == "bye"
    assert wire.seen == ["INVITE", "100", "200", "(ACK)", "BYE", "200"]


def test_a_lost_invite_and_a_lost_answer_are_repeated() -> None:
    """The transactions make up for the network; the second INVITE is no second call."""
    wire = Wire()
    wire.lose = lambda message, _to: wire.now < 1.0 and (not isinstance(message, Request) or wire.now == 0.0)
    wire.phone.invite("sip:x@192.0.2.1", SDP, 0.0)
    wire.settle()
    wire.advance(5.0)

    the(InviteReceived, wire.server)
    assert wire.seen == ["(INVITE)", "INVITE", "(100)", "INVITE", "100"]


def test_a_call_that_nobody_answers_fails_with_408() -> None:
    """Section 8.1.3.1."""
    wire = Wire()
    wire.lose = lambda _message, _to: True
    theirs = wire.phone.invite("sip:x@192.0.2.1", SDP, 0.0)
    wire.settle()
    wire.advance(33.0)

    assert the(CallEnded, wire.phone) == CallEnded(theirs, "408", 408, "Request Timeout")


def test_a_refusal_is_acknowledged_and_told() -> None:
    """With the headers the owner wanted; the refused call is forgotten."""
    wire = Wire()
    theirs = wire.phone.invite("sip:x@192.0.2.1", SDP, 0.0)
    wire.settle()
    arrived = the(InviteReceived, wire.server)
    wire.server.refuse(arrived.call, 486, 0.1, headers=[("warning", '399 x "y"')])
    wire.settle()
    wire.server.refuse(arrived.call, 486, 0.2)
    wire.server.answer(arrived.call, SDP, 0.2)
    wire.server.ring(arrived.call, 0.2)
    wire.settle()

    assert [event for event in events(wire.phone) if isinstance(event, CallEnded)] == [CallEnded(theirs, "486", 486, "Busy Here")]
    assert wire.seen == ["INVITE", "100", "486", "ACK"]


def test_a_cancel_ends_a_ringing_call_with_487() -> None:
    """Section 9: 200 for the CANCEL, 487 for the INVITE."""
    wire = Wire()
    theirs = wire.phone.invite("sip:x@192.0.2.1", SDP, 0.0)
    wire.settle()
    arrived = the(InviteReceived, wire.server)
    wire.phone.cancel(theirs, 1.0)
    wire.settle()

    assert the(CallEnded, wire.server) == CallEnded(arrived.call, "cancel", 487, "Request Terminated")
    assert wire.seen == ["INVITE", "100", "CANCEL", "200", "487", "ACK"]
    assert all(isinstance(event, CallProgressed) for event in events(wire.phone))


def test_a_cancel_waits_for_the_first_provisional_response() -> None:
    """Section 9.1."""
    wire = Wire()
    wire.lose = lambda _message, _to: wire.now < 0.4
    theirs = wire.phone.invite("sip:x@192.0.2.1", SDP, 0.0)
    wire.settle()
    wire.phone.cancel(theirs, 0.0)
    wire.phone.cancel(theirs, 0.0)
    wire.settle()
    assert wire.seen == ["(INVITE)"]
    wire.advance(1.0)

    assert wire.seen == ["(INVITE)", "INVITE", "100", "CANCEL", "200", "487", "ACK"]


def test_a_200_that_crosses_a_cancel_is_ended_with_bye() -> None:
    """Section 9.1: the CANCEL came too late."""
    wire = Wire()
    theirs = wire.phone.invite("sip:x@192.0.2.1", SDP, 0.0)
    wire.settle()
    arrived = the(InviteReceived, wire.server)
    wire.phone.cancel(theirs, 1.0)
    wire.server.answer(arrived.call, SDP, 1.0)
    wire.settle()

    assert wire.seen[-1] == "200"
    assert "BYE" in wire.seen
    assert [event for event in events(wire.phone) if not isinstance(event, CallProgressed)] == []
    wire.advance(200.0)
    assert wire.server.wake_at is None


def test_a_cancel_that_is_never_answered_is_given_up() -> None:
    """Section 9.1: after 64 T1 the call is forgotten."""
    wire = Wire()
    theirs = wire.phone.invite("sip:x@192.0.2.1", SDP, 0.0)
    wire.settle()
    wire.lose = lambda _message, _to: True
    wire.phone.cancel(theirs, 0.0)
    wire.advance(100.0)

    assert wire.phone.wake_at is None


def test_a_second_phone_that_picks_up_is_thanked_and_hung_up() -> None:
    """Section 13.2.2.4: a forked INVITE may be answered twice."""
    wire = Wire()
    wire.phone.invite("sip:x@192.0.2.1", SDP, 0.0)
    wire.settle()
    wire.server.answer(the(InviteReceived, wire.server).call, SDP, 0.0)
    (data, _), *_ = wire.server.datagrams_to_send()
    wire.phone.receive_datagram(data, SERVER, 0.0)
    other = parse_message(data)
    assert other.recipient.tag is not None
    wire.phone.receive_datagram(data.replace(other.recipient.tag.encode(), b"another"), SERVER, 0.0)
    sent = [parse_message(data) for data, _ in wire.phone.datagrams_to_send()]

    assert [m.method for m in sent if isinstance(m, Request)] == ["ACK", "ACK", "BYE"]
    assert [m.recipient.tag for m in sent if isinstance(m, Request)] == [other.recipient.tag, "another", "another"]


def test_an_answer_that_cannot_be_routed_or_read_fails_the_call() -> None:
    """A Contact that is no URI, or no description in the 200."""
    for old, new, cause in ((b"Contact: <sip:", b"Contact: <nonsense:", "500"), (b"v=0", b"w=0", "488")):
        wire = Wire()
        wire.phone.invite("sip:x@192.0.2.1", SDP, 0.0)
        wire.settle()
        wire.server.answer(the(InviteReceived, wire.server).call, SDP, 0.0)
        (data, _), *_ = wire.server.datagrams_to_send()
        wire.phone.receive_datagram(data.replace(old, new), SERVER, 0.0)

        assert [event.cause for event in events(wire.phone) if isinstance(event, CallEnded)] == [cause]


def test_an_invite_without_an_offer_gets_ours_and_the_ack_brings_the_answer() -> None:
    """Section 13.2.1: the delayed offer."""
    wire = Wire()
    wire.phone.invite("sip:x@192.0.2.1", b"", 0.0)
    wire.settle()
    arrived = the(InviteReceived, wire.server)
    assert arrived.offer is None
    wire.server.answer(arrived.call, SDP, 0.0)
    (data, _), *_ = wire.server.datagrams_to_send()
    wire.phone.receive_datagram(data, SERVER, 0.0)
    (ack, _), *_ = wire.phone.datagrams_to_send()
    body = ack.replace(b"Content-Length: 0", b"Content-Length: %d" % len(SDP)) + SDP
    wire.server.receive_datagram(body, PHONE, 0.0)

    confirmed = the(CallConfirmed, wire.server)
    assert confirmed.answer is not None
    assert confirmed.answer.media[0].port == 6000


# --- inside a call ---------------------------------------------------------------------------------------------------


def test_a_reinvite_is_offered_and_answered() -> None:
    """Section 14, with a 200 that is repeated until its ACK."""
    wire = Wire()
    ours, theirs = wire.call()
    wire.phone.reinvite(theirs, SDP, 1.0)
    wire.settle()
    assert the(OfferReceived, wire.server).offer is not None
    wire.server.accept_offer(ours, SDP, 1.0)
    wire.server.accept_offer(ours, SDP, 1.0)
    wire.settle()

    answered = the(OfferAnswered, wire.phone)
    assert (answered.status, answered.answer is not None) == (200, True)
    assert wire.seen == ["INVITE", "100", "200", "ACK"]
    wire.advance(40.0)
    assert wire.seen == ["INVITE", "100", "200", "ACK"]


def test_a_refused_reinvite_leaves_the_call_alone() -> None:
    """Section 14.2."""
    wire = Wire()
    ours, theirs = wire.call()
    wire.phone.reinvite(theirs, SDP, 1.0)
    wire.settle()
    wire.server.refuse_offer(ours, 488, 1.0)
    wire.server.refuse_offer(ours, 488, 1.0)
    wire.settle()
    assert the(OfferAnswered, wire.phone).status == 488
    wire.phone.bye(theirs, 2.0)
    wire.settle()

    assert wire.seen[-2:] == ["BYE", "200"]


def test_the_answer_to_our_late_offer_is_told() -> None:
    """A re-INVITE without a description: we offer, the ACK answers."""
    wire = Wire()
    ours, theirs = wire.call()
    wire.phone.reinvite(theirs, b"", 1.0)
    wire.settle()
    assert the(OfferReceived, wire.server).offer is None
    wire.server.accept_offer(ours, SDP, 1.0)
    (data, _), *_ = wire.server.datagrams_to_send()
    wire.phone.receive_datagram(data, SERVER, 1.0)
    (ack, _), *_ = wire.phone.datagrams_to_send()
    wire.server.receive_datagram(ack.replace(b"Length: 0", b"Length: %d" % len(SDP)) + SDP, PHONE, 1.0)

    assert the(OfferAnswered, wire.server).answer is not None


def test_two_reinvites_at_one_time_are_one_too_many() -> None:
    """Section 14.2: 500 with Retry-After while the first is open, and nothing goes missing."""
    wire = Wire()
    _, theirs = wire.call()
    wire.phone.reinvite(theirs, SDP, 1.0)
    wire.phone.reinvite(theirs, SDP, 1.0)
    wire.settle()

    assert [event.status for event in events(wire.phone) if isinstance(event, OfferAnswered)] == [500]
    the(OfferReceived, wire.server)


def test_keys_by_info_are_handed_on() -> None:
    """With content type and body, answered 200."""
    wire = Wire()
    _, theirs = wire.call()
    wire.phone.info(theirs, "application/dtmf-relay", b"Signal=5\r\n", 1.0)
    wire.settle()

    event = the(InfoReceived, wire.server)
    assert (event.content_type, event.body) == ("application/dtmf-relay", b"Signal=5\r\n")
    assert wire.seen == ["INFO", "200"]


def inside(wire: Wire, method: str, number: int) -> bytes:
    """A request of the phone inside the call, which it would not send by itself."""
    (call,) = wire.phone._calls.values()
    assert call.dialog is not None
    request = call.dialog.request(method, sequence=number)
    request.headers.add("via", f"SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bK{method}{number}")
    return bytes(request)


def test_other_requests_inside_a_call_are_answered() -> None:
    """OPTIONS as anywhere; REGISTER has no business there."""
    wire = Wire({"anna": None})
    wire.call()

    assert status(wire.server, inside(wire, "OPTIONS", 8)) == 200
    assert status(wire.server, inside(wire, "REGISTER", 9)) == 403


def test_a_reinvite_that_cannot_be_read_changes_nothing() -> None:
    """It is refused like a first INVITE, and the call goes on."""
    wire = Wire()
    _, theirs = wire.call()
    odd = inside(wire, "INVITE", 8).replace(b"Content-Length: 0", b"Content-Type: text/plain\r\nContent-Length: 1") + b"x"
    assert status(wire.server, odd) == 415
    wire.phone.bye(theirs, 1.0)
    (data, _), *_ = wire.phone.datagrams_to_send()

    assert status(wire.server, data.replace(b"CSeq: 2", b"CSeq: 9")) == 200


def test_a_reinvite_before_the_answer_is_too_early() -> None:
    """Section 14.2: 491 while the first INVITE is open."""
    end = endpoint(SERVER)
    reply(end, text("INVITE", "sip:x@192.0.2.1"))
    arrived = the(InviteReceived, end)
    end.ring(arrived.call, 0.0)
    ((data, _),) = end.datagrams_to_send()
    tag = parse_message(data).recipient.tag
    again = text("INVITE", "sip:x@192.0.2.1", to=f";tag={tag}", branch="z9hG4bK9").replace(b"CSeq: 1", b"CSeq: 2")

    assert status(end, again) == 491


def test_a_challenged_reinvite_is_proved_and_keeps_the_count() -> None:
    """The next request of the dialog has the next number."""
    wire = Wire()
    theirs = wire.phone.invite("sip:x@192.0.2.1", SDP, 0.0, credentials=digest.Credentials("anna", "secret"))
    wire.settle()
    wire.server.answer(the(InviteReceived, wire.server).call, SDP, 0.0)
    wire.settle()
    wire.phone.reinvite(theirs, SDP, 1.0)
    (data, _), *_ = wire.phone.datagrams_to_send()
    asked = parse_message(data)
    assert isinstance(asked, Request)
    refused = asked.reply(401)
    refused.headers.add("www-authenticate", digest.challenge("r", "n", "SHA-256"))
    wire.phone.receive_datagram(bytes(refused), SERVER, 1.0)
    wire.settle()
    wire.phone.bye(theirs, 2.0)
    (data, _), *_ = wire.phone.datagrams_to_send()

    assert parse_message(data).cseq == (4, "BYE")


def test_a_refused_reinvite_with_481_ends_the_call() -> None:
    """Section 12.2.1.2: the other end does not know the dialog any more."""
    wire = Wire()
    _, theirs = wire.call()
    wire.phone.reinvite(theirs, SDP, 1.0)
    (data, _), *_ = wire.phone.datagrams_to_send()
    asked = parse_message(data)
    assert isinstance(asked, Request)
    wire.phone.receive_datagram(bytes(asked.reply(100)), SERVER, 1.0)
    wire.phone.receive_datagram(bytes(asked.reply(481)), SERVER, 1.0)

    assert [type(event) for event in events(wire.phone)][-2:] == [OfferAnswered, CallEnded]


def test_byes_that_cross_are_both_answered_200() -> None:
    """Each end thinks it was first."""
    wire = Wire()
    ours, theirs = wire.call()
    wire.server.bye(ours, 1.0)
    wire.phone.bye(theirs, 1.0)
    wire.settle()

    assert sorted(wire.seen) == ["200", "200", "BYE", "BYE"]
    assert list(events(wire.server)) == []


def test_commands_for_a_call_that_is_gone_do_nothing() -> None:
    """It may have ended a moment ago."""
    end = endpoint(SERVER)
    end.bye(7, 0.0)
    end.cancel(7, 0.0)
    end.reinvite(7, SDP, 0.0)
    end.info(7, "x/y", b"", 0.0)
    end.accept_offer(7, SDP, 0.0)
    end.refuse_offer(7, 488, 0.0)

    assert end.datagrams_to_send() == []


def test_a_sequence_number_that_goes_back_gets_500() -> None:
    """Section 12.2.2."""
    wire = Wire()
    ours, theirs = wire.call()
    wire.phone.info(theirs, "x/y", b"", 1.0)
    (data, _), *_ = wire.phone.datagrams_to_send()
    old = data.replace(b"CSeq: 2", b"CSeq: 1")
    assert status(wire.server, old) == 500
    assert ours


# --- strangers and odd requests ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (text(), 200),
        (text("SUBSCRIBE"), 405),
        (text("REGISTER"), 405),
        (text("INVITE", "http://192.0.2.1"), 416),
        (text("INVITE", "sip:x@192.0.2.1", "Max-Forwards: 0"), 483),
        (text("OPTIONS", "sip:192.0.2.1", "Max-Forwards: 0"), 200),
        (text("INVITE", "sip:x@192.0.2.1", "Require: 100rel, foo"), 420),
        (text("BYE", to=";tag=gone"), 481),
        (text("BYE"), 481),
        (text("INVITE", to=";tag=gone"), 481),
        (text("CANCEL"), 481),
        (text("INFO"), 481),
        (text("ACK"), None),
        (text("ACK", to=";tag=gone"), None),
        (text("OPTIONS").replace(b"SIP/2.0\r\nVia", b"SIP/3.0\r\nVia"), 505),
        (text("OPTIONS").replace(b"CSeq: 1 OPTIONS", b"CSeq: 1 BYE"), 400),
        (text("ACK").replace(b"CSeq: 1 ACK", b"CSeq: 1 BYE"), None),
        (text("INVITE", "sip:x@192.0.2.1", "Content-Type: text/plain") + b"hello", 415),
        (text("INVITE", "sip:x@192.0.2.1", "Content-Type: application/sdp") + b"hello", 400),
        (text("INVITE", "sip:x@192.0.2.1"), 100),
        (b"\r\n\r\n", None),
        (b"SIP/2.0 200 OK\r\n\r\n", None),
        (b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch=z\r\nCSeq: 1 BYE\r\nFrom: <sip:a@b>\r\nTo: <sip:a@b>\r\n\r\n", None),
    ],
)
def test_each_odd_request_gets_its_answer(data: bytes, expected: int | None) -> None:
    """Sections 8.2, 11 and 12.2.2."""
    assert status(endpoint(SERVER), data) == expected


def test_refusals_say_what_would_be_right() -> None:
    """Allow with 405, Unsupported with 420, Accept with 415, and what we can do with OPTIONS."""
    end = endpoint(SERVER)
    not_allowed = reply(end, text("SUBSCRIBE"))
    bad = reply(end, text("INVITE", "sip:x@192.0.2.1", "Require: 100rel, foo"))
    able = reply(end, text())
    assert not_allowed is not None
    assert bad is not None
    assert able is not None

    assert not_allowed.headers.first("allow") == "INVITE"
    assert "OPTIONS" in not_allowed.headers.all("allow")
    assert bad.headers.all("unsupported") == ["100rel", "foo"]
    assert able.headers.first("accept") == "application/sdp"


def test_strangers_hear_nothing() -> None:
    """No answer at all tells a scanner least."""
    end = endpoint(SERVER)

    assert reply(end, text(), STRANGER) is None
    assert end.silent_drops == 1


def test_a_peer_of_a_call_may_speak_from_anywhere() -> None:
    """A call's own BYE is obeyed even when the peer's address is on no list."""
    wire = Wire()
    _, theirs = wire.call()
    wire.phone.bye(theirs, 1.0)
    (data, _), *_ = wire.phone.datagrams_to_send()

    assert status(wire.server, data, STRANGER) == 200


def test_responses_go_where_the_request_came_from() -> None:
    """RFC 3581: with rport to the source port; RFC 3261 section 18.2.2: without it to the port of the Via."""
    end = endpoint(SERVER)
    end.receive_datagram(text(), ("192.0.2.7", 40000), 0.0)
    ((data, to),) = end.datagrams_to_send()
    assert to == ("192.0.2.7", 40000)
    assert parse_message(data).via.params["received"] == "192.0.2.7"
    assert parse_message(data).via.params["rport"] == "40000"

    end.receive_datagram(text(branch="z9hG4bK2").replace(b";rport", b""), ("192.0.2.9", 40000), 0.0)
    ((data, to),) = end.datagrams_to_send()
    assert to == ("192.0.2.9", 5070)
    assert "received" not in parse_message(data).via.params


def test_the_same_invite_by_two_ways_is_one_call() -> None:
    """Section 8.2.2.2: the second branch gets 482."""
    end = endpoint(SERVER)
    invite = text("INVITE", "sip:x@192.0.2.1")

    assert status(end, invite) == 100
    assert status(end, invite) == 100
    assert status(end, invite.replace(b"z9hG4bK1", b"z9hG4bK2")) == 482
    assert len([event for event in events(end) if isinstance(event, InviteReceived)]) == 1


def test_an_rfc_2543_caller_is_understood() -> None:
    """No magic cookie: the request is known by its other parts (section 17.2.3)."""
    end = endpoint(SERVER)
    invite = text("INVITE", "sip:x@192.0.2.1", branch="1")
    assert status(end, invite) == 100
    assert status(end, invite) == 100
    arrived = the(InviteReceived, end)
    end.refuse(arrived.call, 486, 0.0)
    end.datagrams_to_send()
    assert status(end, text("ACK", "sip:x@192.0.2.1", branch="1")) is None


@pytest.mark.parametrize("invented", [False, True])
def test_an_ack_with_the_branch_of_the_invite_confirms_a_200(invented: bool) -> None:
    """Many simple callers do it so, some with a To tag of their own invention."""
    end = endpoint(SERVER)
    reply(end, text("INVITE", "sip:x@192.0.2.1", "Contact: <sip:a@192.0.2.9:5070>"))
    arrived = the(InviteReceived, end)
    end.answer(arrived.call, SDP, 0.0)
    ((data, _),) = end.datagrams_to_send()
    tag = "invented" if invented else parse_message(data).recipient.tag
    end.receive_datagram(text("ACK", "sip:x@192.0.2.1", to=f";tag={tag}"), PHONE, 0.1)

    the(CallConfirmed, end)


def test_an_early_bye_ends_a_ringing_call() -> None:
    """Section 15.1.2: 200 for the BYE, 487 for the INVITE."""
    end = endpoint(SERVER)
    reply(end, text("INVITE", "sip:x@192.0.2.1"))
    arrived = the(InviteReceived, end)
    end.ring(arrived.call, 0.0)
    ((data, _),) = end.datagrams_to_send()
    tag = parse_message(data).recipient.tag
    bye = text("BYE", "sip:x@192.0.2.1", to=f";tag={tag}", branch="z9hG4bK9").replace(b"CSeq: 1", b"CSeq: 2")
    end.receive_datagram(bye, PHONE, 0.0)

    assert [parse_message(data).cseq[1] for data, _ in end.datagrams_to_send()] == ["BYE", "INVITE"]
    assert the(CallEnded, end).cause == "bye"


def test_requests_of_a_dialog_follow_the_record_route() -> None:
    """Section 12.1.1 and 12.2.1.1: in order, loose, to the first hop; a strict router gets the old treatment."""
    for route, uri, hop in (
        ("<sip:192.0.2.5;lr>", "sip:a@192.0.2.9:5070", ("192.0.2.5", 5060)),
        ("<sip:192.0.2.5>", "sip:192.0.2.5", ("192.0.2.5", 5060)),
    ):
        end = endpoint(SERVER)
        lines = ["Contact: <sip:a@192.0.2.9:5070>", f"Record-Route: {route}, <sip:192.0.2.6;lr>"]
        reply(end, text("INVITE", "sip:x@192.0.2.1", *lines))
        arrived = the(InviteReceived, end)
        end.answer(arrived.call, SDP, 0.0)
        ((data, _),) = end.datagrams_to_send()
        response = parse_message(data)
        assert response.headers.all("record-route") == [route, "<sip:192.0.2.6;lr>"]
        end.receive_datagram(text("ACK", to=f";tag={response.recipient.tag}", branch="z9hG4bK5"), PHONE, 0.1)
        end.bye(arrived.call, 1.0)
        ((data, to),) = end.datagrams_to_send()
        bye = parse_message(data)

        assert isinstance(bye, Request)
        assert (bye.uri, to) == (uri, hop)
        assert len(bye.headers.all("route")) == 2


@pytest.mark.parametrize(
    ("via", "contact", "expected"),
    [
        ("10.0.0.5:5070", "<sip:a@10.0.0.5:5070>", ("192.0.2.9", 61000)),
        ("192.0.2.9:5070", "<sip:a@192.0.2.44:5062>", ("192.0.2.44", 5062)),
        ("192.0.2.9:5070", "<sip:a@phone.example.com>", ("192.0.2.9", 61000)),
    ],
)
def test_requests_find_back_through_a_nat(via: str, contact: str, expected: Address) -> None:
    """A private Contact behind a translated Via is not believed; an honest one is; a name we cannot resolve is not needed."""
    end = endpoint(SERVER)
    data = text("INVITE", "sip:x@192.0.2.1", f"Contact: {contact}").replace(b"192.0.2.9:5070;branch", f"{via};branch".encode())
    reply(end, data, ("192.0.2.9", 61000))
    arrived = the(InviteReceived, end)
    end.answer(arrived.call, SDP, 0.0)
    ((data, _),) = end.datagrams_to_send()
    end.receive_datagram(text("ACK", to=f";tag={parse_message(data).recipient.tag}", branch="z9hG4bK5"), PHONE, 0.1)
    end.bye(arrived.call, 1.0)
    ((_, to),) = end.datagrams_to_send()

    assert to == expected


@pytest.mark.parametrize(("busy_for", "status", "later"), [(10, 503, "10"), (None, 200, None)])
def test_a_trunk_that_looks_for_us_hears_whether_calls_would_be_refused(
    busy_for: int | None, status: int, later: str | None
) -> None:
    """A call itself is left to whoever decides, and is told the same there."""
    wire = Wire()
    wire.server.busy_for = lambda: busy_for
    response = reply(wire.server, text())
    assert response is not None
    assert (response.status, response.headers.first("retry-after")) == (status, later)
    wire.call()


def test_a_draining_server_refuses_with_503_and_keeps_its_calls() -> None:
    """Retry-After on calls and on the OPTIONS that trunks look with."""
    wire = Wire()
    _, theirs = wire.call()
    wire.server.retry_after = 10
    for data in (text("INVITE", "sip:x@192.0.2.1"), text()):
        response = reply(wire.server, data)
        assert response is not None
        assert (response.status, response.headers.first("retry-after")) == (503, "10")
    wire.phone.bye(theirs, 1.0)
    wire.settle()

    assert the(CallEnded, wire.server).cause == "bye"


# --- registering -----------------------------------------------------------------------------------------------------


def test_a_phone_registers_with_its_password_and_is_found() -> None:
    """401, then 200 with the contact and its seconds."""
    wire = Wire({"anna": "secret"})
    wire.phone.register("anna", SERVER, 0.0, expires=120, credentials=digest.Credentials("anna", "secret"))
    wire.settle()

    assert the(RegisterAnswered, wire.phone) == RegisterAnswered(200, "OK", 120)
    assert wire.seen == ["REGISTER", "401", "REGISTER", "200"]
    found = wire.server.locate("anna", 1.0)
    assert found is not None
    assert found.source == PHONE


@pytest.mark.parametrize(
    ("user", "credentials", "expected"),
    [
        ("anna", digest.Credentials("anna", "guess"), 401),
        ("anna", None, 401),
        ("carl", None, 403),
        ("open", None, 200),
    ],
)
def test_only_known_users_with_the_right_password_register(
    user: str, credentials: digest.Credentials | None, expected: int
) -> None:
    """A user without a password needs none; an unknown one is refused."""
    wire = Wire({"anna": "secret", "open": None})
    wire.phone.register(user, SERVER, 0.0, credentials=credentials)
    wire.settle()

    assert the(RegisterAnswered, wire.phone).status == expected


def test_a_register_that_cannot_be_read_gets_400() -> None:
    """Also when only the registrar notices."""
    end = endpoint(SERVER, {"b": None})
    assert status(end, text("REGISTER", "sip:192.0.2.1", "Contact: *")) == 400
    odd = text("REGISTER", "sip:192.0.2.1", branch="z9hG4bK7").replace(b"To: <sip:b@192.0.2.1>", b"To: <urn:b>")
    assert status(end, odd) == 400


def test_a_challenged_call_is_made_again_with_an_answer() -> None:
    """407 from the server we call; the second INVITE carries the proof and the same call goes on."""
    end = endpoint(PHONE)
    ref = end.invite("sip:x@192.0.2.1", SDP, 0.0, credentials=digest.Credentials("anna", "secret"))
    ((data, _),) = end.datagrams_to_send()
    first = parse_message(data)
    assert isinstance(first, Request)
    refused = first.reply(407, to_tag="t")
    refused.headers.add("proxy-authenticate", "Basic x")
    refused.headers.add("proxy-authenticate", digest.challenge("r", "n", "MD5"))
    end.receive_datagram(bytes(refused), SERVER, 0.1)
    ack, second = (parse_message(data) for data, _ in end.datagrams_to_send())
    assert isinstance(ack, Request)
    assert isinstance(second, Request)

    assert (ack.method, second.method, second.cseq[0]) == ("ACK", "INVITE", 2)
    assert second.headers.first("proxy-authorization")
    end.receive_datagram(bytes(second.reply(486, to_tag="t")), SERVER, 0.2)
    assert the(CallEnded, end) == CallEnded(ref, "486", 486, "Busy Here")


def test_a_challenge_beyond_us_is_a_refusal() -> None:
    """No endless asking."""
    end = endpoint(PHONE)
    end.invite("sip:x@192.0.2.1", SDP, 0.0, credentials=digest.Credentials("anna", "secret"))
    ((data, _),) = end.datagrams_to_send()
    first = parse_message(data)
    assert isinstance(first, Request)
    refused = first.reply(401, to_tag="t")
    refused.headers.add("www-authenticate", "Basic x")
    end.receive_datagram(bytes(refused), SERVER, 0.1)

    assert the(CallEnded, end).status == 401


def test_an_address_is_found_in_a_uri() -> None:
    """Numeric hosts and localhost; a name is somebody else's work."""
    assert numeric_address("sip:a@localhost") == ("127.0.0.1", 5060)
    assert numeric_address("sip:a@[::1]:5070") == ("::1", 5070)
    assert numeric_address("sip:a@example.com") is None
    with pytest.raises(BadMessageError):
        endpoint(SERVER).invite("sip:a@example.com", SDP, 0.0)


# --- any order --------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["answer", "ring", "refuse", "cancel", "bye us", "bye them", "reinvite", "accept", "pause"]), max_size=9
    ),
    st.randoms(use_true_random=False),
    st.sampled_from([0.0, 0.2, 0.5]),
)
def test_whatever_two_ends_do_on_a_bad_line_both_forget_the_call(steps: list[str], dice: random.Random, loss: float) -> None:
    """Every ladder of commands with lost datagrams ends with no call, no transaction and no timer left."""
    wire = Wire()
    wire.lose = lambda _message, _to: dice.random() < loss
    theirs = wire.phone.invite("sip:x@192.0.2.1", SDP, 0.0)
    wire.settle()
    ours = 1
    for step in steps:
        {
            "answer": lambda: wire.server.answer(ours, SDP, wire.now),
            "ring": lambda: wire.server.ring(ours, wire.now),
            "refuse": lambda: wire.server.refuse(ours, 486, wire.now),
            "cancel": lambda: wire.phone.cancel(theirs, wire.now),
            "bye us": lambda: wire.server.bye(ours, wire.now),
            "bye them": lambda: wire.phone.bye(theirs, wire.now),
            "reinvite": lambda: wire.phone.reinvite(theirs, SDP, wire.now),
            "accept": lambda: wire.server.accept_offer(ours, SDP, wire.now),
            "pause": lambda: wire.advance(3.0),
        }[step]()
        wire.settle()
    wire.lose = lambda _message, _to: False
    wire.advance(5.0)
    wire.server.refuse(ours, 480, wire.now)
    wire.phone.cancel(theirs, wire.now)
    wire.advance(70.0)
    for end in (wire.server, wire.phone):
        end.bye(ours if end is wire.server else theirs, wire.now)
        wire.settle()
    wire.advance(200.0)

    for end in wire.ends.values():
        assert (end._calls, end._dialogs, end._exchanges, end._invites) == ({}, {}, {}, set())
        assert end.wake_at is None
