"""Several registrars that are one service: each tells what it knows, and all come to know the same."""

import random
from ipaddress import ip_network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.digest import Credentials, answer
from bridge.sip.endpoint import EndpointConfig, SipEndpoint
from bridge.sip.events import PhoneRegistered, RegisterAnswered
from bridge.sip.message import BadMessageError, Headers, Request, parse_message
from bridge.sip.registrar import MAX_BINDINGS, MAX_EXPIRES, Binding, Registrar
from tests.unit.sip.test_endpoint import PHONE, SERVER, endpoint, the

HERE = ("192.0.2.9", 5070)
USERS = {"anna": None}


def request(*contacts: str, expires: int = 300, sequence: int = 1, call_id: str = "r") -> Request:
    headers = [("call-id", call_id), ("cseq", f"{sequence} REGISTER"), ("expires", str(expires))]
    return Request("REGISTER", "sip:192.0.2.1", Headers([*headers, *(("contact", contact) for contact in contacts)]))


def contacts(registrar: Registrar, now: float) -> set[str]:
    return {binding.contact for binding in registrar.bindings("anna", now)}


def tell(one: Registrar, *others: Registrar, now: float) -> None:
    """As it goes over the wire."""
    told = msgspec.json.encode(one.known("anna", now))
    for other in others:
        other.learn("anna", msgspec.json.decode(told, type=list[Binding]), now)


def test_what_one_hears_the_other_answers_with() -> None:
    """The bindings of a 200 are those of all registrars (section 10.3 step 8), and either can call the phone."""
    one, two = Registrar(USERS), Registrar(USERS)
    one.register("anna", request("<sip:desk@192.0.2.9>"), HERE, 1000.0)
    tell(one, two, now=1000.1)
    left = two.register("anna", request("<sip:mobile@192.0.2.8>", call_id="s"), ("192.0.2.8", 5060), 1000.2)
    tell(two, one, now=1000.3)

    assert {binding.contact for binding in left} == {"sip:desk@192.0.2.9", "sip:mobile@192.0.2.8"}
    assert one.known("anna", 1001.0) == two.known("anna", 1001.0)
    found = two.lookup("anna", 1001.0)
    assert found is not None
    assert found.source in {HERE, ("192.0.2.8", 5060)}


@pytest.mark.parametrize("back", [request("<sip:a@192.0.2.9>", expires=0, sequence=2), request("*", expires=0, sequence=2)])
@pytest.mark.parametrize("clock", [1010.0, 990.0])
def test_what_is_taken_back_at_one_is_gone_at_all(back: Request, clock: float) -> None:
    """Also when that one's clock is behind, and when who has not heard of it tells of the phone once more."""
    one, two, three = (Registrar(USERS) for _ in range(3))
    one.register("anna", request("<sip:a@192.0.2.9>"), HERE, 1000.0)
    tell(one, two, three, now=1000.0)
    assert two.register("anna", back, HERE, clock) == []
    tell(two, one, now=clock)
    tell(three, one, two, now=clock)
    tell(one, three, now=clock)

    assert [contacts(each, clock) for each in (one, two, three)] == [set(), set(), set()]


def test_a_phone_that_is_taken_back_where_it_was_not_known_stays_away() -> None:
    """The word that it is there comes after the word that it is not."""
    one, two = Registrar(USERS), Registrar(USERS)
    one.register("anna", request("<sip:a@192.0.2.9>"), HERE, 1000.0)
    two.register("anna", request("<sip:a@192.0.2.9>", expires=0, sequence=2), HERE, 1000.5)
    tell(one, two, now=1000.6)
    tell(two, one, now=1000.6)

    assert contacts(one, 1000.7) == contacts(two, 1000.7) == set()


def test_a_phone_that_comes_back_is_known_again() -> None:
    """At another registrar than that at which it was taken back."""
    one, two = Registrar(USERS), Registrar(USERS)
    one.register("anna", request("<sip:a@192.0.2.9>"), HERE, 1000.0)
    one.register("anna", request("<sip:a@192.0.2.9>", expires=0, sequence=2), HERE, 1001.0)
    tell(one, two, now=1001.0)
    two.register("anna", request("<sip:a@192.0.2.9>", sequence=3), HERE, 1002.0)
    tell(one, two, now=1002.0)
    tell(two, one, now=1002.0)

    assert contacts(one, 1003.0) == contacts(two, 1003.0) == {"sip:a@192.0.2.9"}


def test_nothing_outlives_its_expiry() -> None:
    """Not where it was learned, not by being told late, and what was taken back is not kept for ever."""
    one, two = Registrar(USERS), Registrar(USERS)
    one.register("anna", request("<sip:a@192.0.2.9>", "<sip:b@192.0.2.9>;expires=0"), HERE, 1000.0)
    told = one.known("anna", 1000.0)
    tell(one, two, now=1000.0)
    assert contacts(two, 1299.9) == {"sip:a@192.0.2.9"}
    assert contacts(two, 1300.0) == set()
    two.learn("anna", told, 1300.0)
    assert contacts(two, 1300.0) == set()
    assert two.known("anna", 1000.0 + MAX_EXPIRES) == []


def test_an_older_request_is_late_at_every_registrar() -> None:
    """Section 10.3 step 7, whoever took the newer one."""
    one, two = Registrar(USERS), Registrar(USERS)
    one.register("anna", request("<sip:a@192.0.2.9>", sequence=7), HERE, 1000.0)
    tell(one, two, now=1000.0)

    with pytest.raises(BadMessageError):
        two.register("anna", request("<sip:a@192.0.2.9>", sequence=6), HERE, 1001.0)


def test_users_that_this_one_does_not_know_have_no_phones_here() -> None:
    """Nobody could call them."""
    one, two = Registrar(USERS), Registrar({"ben": None})
    one.register("anna", request("<sip:a@192.0.2.9>"), HERE, 1000.0)
    tell(one, two, now=1000.0)

    assert two.known("anna", 1000.0) == []


def test_who_takes_back_ever_new_phones_is_not_remembered_for_ever() -> None:
    """As many as may be there."""
    kept = Registrar(USERS)
    for n in range(3 * MAX_BINDINGS):
        kept.register("anna", request(f"<sip:a@192.0.2.9:{5000 + n}>", expires=0, sequence=n), HERE, 1000.0)

    assert len(kept.known("anna", 1001.0)) == MAX_BINDINGS


@pytest.mark.parametrize("odd", [request("<sip:\udcff@192.0.2.9>"), request("<sip:a@192.0.2.9>", call_id="\udcff")])
def test_what_cannot_be_told_is_refused(odd: Request) -> None:
    """Bytes that are no text."""
    kept = Registrar(USERS)
    with pytest.raises(BadMessageError):
        kept.register("anna", odd, HERE, 1000.0)
    assert kept.known("anna", 1000.0) == []


Step = tuple[int, int, int, int]
steps = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.sampled_from([0, 60, 300]), st.integers(-3, 3)), max_size=30)


@given(steps, st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=30))
def test_in_whichever_order_they_tell_each_other_all_know_the_same(done: list[Step], told: list[tuple[int, int]]) -> None:
    """Phones come and go at three registrars with clocks that differ; words are lost and late; then everybody tells all."""
    all_ = [Registrar(USERS) for _ in range(3)]
    pairs = iter(told)
    for n, (at, phone, expires, ahead) in enumerate(done):
        own = request(f"<sip:p{phone}@192.0.2.9>", expires=expires, sequence=n, call_id=f"p{phone}")
        all_[at].register("anna", own, HERE, 1000.0 + n / 10 + ahead)
        if (pair := next(pairs, None)) is not None:
            tell(all_[pair[0]], all_[pair[1]], now=1000.0)
    for one in all_:
        tell(one, *all_, now=1010.0)

    assert all_[0].known("anna", 1010.0) == all_[1].known("anna", 1010.0) == all_[2].known("anna", 1010.0)


# --- the endpoint ----------------------------------------------------------------------------------------------------


def pass_on(phone: SipEndpoint, server: SipEndpoint, now: float) -> list[bytes]:
    """Let the two talk until nobody has anything to say; what the server said."""
    said = []
    while datagrams := phone.datagrams_to_send():
        for data, _ in datagrams:
            server.receive_datagram(data, PHONE, now)
        for data, _ in server.datagrams_to_send():
            said.append(data)
            phone.receive_datagram(data, SERVER, now)
    return said


def test_a_registration_is_reported_and_a_question_is_not() -> None:
    """By the registrar's own clock, which may be ahead of the endpoint's; expiries are told as seconds that are left."""
    server, phone = endpoint(SERVER, {"anna": None}), endpoint(PHONE)
    server.registrar_ahead = 1_000_000.0
    phone.register("anna", SERVER, 5.0, expires=120)
    pass_on(phone, server, 5.0)

    assert the(PhoneRegistered, server) == PhoneRegistered("anna")
    assert the(RegisterAnswered, phone) == RegisterAnswered(200, "OK", 120)
    [binding] = server.registrar.bindings("anna", 1_000_005.0)
    assert binding.expires_at == 1_000_125.0
    assert server.locate("anna", 124.0) == binding
    server.receive_datagram(ask("anna"), PHONE, 6.0)
    assert server.next_event() is None
    ((told, _),) = server.datagrams_to_send()
    assert parse_message(told).headers.all("contact") == [f"<{binding.contact}>;expires=119"]
    assert server.locate("anna", 125.0) is None


def ask(user: str) -> bytes:
    """A REGISTER without a contact."""
    lines = [
        "REGISTER sip:192.0.2.1 SIP/2.0", f"Via: SIP/2.0/UDP {PHONE[0]}:{PHONE[1]};branch=z9hG4bKask",
        f"From: <sip:{user}@192.0.2.1>;tag=a", f"To: <sip:{user}@192.0.2.1>", "Call-ID: ask",
        "CSeq: 1 REGISTER", "Max-Forwards: 70", "Content-Length: 0", "",
    ]  # fmt: skip
    return "\r\n".join([*lines, ""]).encode()


def test_a_phone_challenged_by_one_and_answering_at_the_other_gets_on() -> None:
    """The other does not know the nonce: it asks once more and says that the password was right (RFC 7616 section 3.3)."""
    one, two = endpoint(SERVER, {"anna": "secret"}, seed=1), endpoint(SERVER, {"anna": "secret"}, seed=2)
    phone = endpoint(PHONE)
    phone.register("anna", SERVER, 0.0, credentials=Credentials("anna", "secret"))
    ((data, _),) = phone.datagrams_to_send()
    one.receive_datagram(data, PHONE, 0.0)
    ((challenge, _),) = one.datagrams_to_send()
    phone.receive_datagram(challenge, SERVER, 0.0)
    ((proof, _),) = phone.datagrams_to_send()
    two.receive_datagram(proof, PHONE, 0.1)
    ((refusal, _),) = two.datagrams_to_send()
    again = parse_message(refusal).headers.first("www-authenticate") or ""
    assert "stale=true" in again

    request_ = parse_message(proof)
    assert isinstance(request_, Request)
    signed = answer(again, Credentials("anna", "secret"), method="REGISTER", uri=request_.uri, cnonce="c")
    assert signed is not None
    request_.headers.replace("authorization", signed)
    request_.headers.replace("cseq", "3 REGISTER")
    two.receive_datagram(bytes(request_).replace(b"branch=", b"branch=z9hG4bK"), PHONE, 0.2)
    ((accepted, _),) = two.datagrams_to_send()
    assert accepted.startswith(b"SIP/2.0 200")
    assert two.locate("anna", 1.0) is not None


@pytest.mark.parametrize(
    ("contact", "place"), [("<sip:a@198.51.100.7:5080>", ("198.51.100.7", 5080)), ("<sip:a@phone.example>", SERVER)]
)
def test_a_phone_that_registers_through_a_front_is_called_where_it_is(contact: str, place: tuple[str, int]) -> None:
    """The front passes on what comes back for a few minutes, from one registrar alone; a name has to do with that."""
    config = EndpointConfig(*SERVER, (ip_network("192.0.2.0/24"),), fronts=(ip_network("192.0.2.1/32"),))
    server = SipEndpoint(config, random.Random(1).getrandbits, USERS)
    data = ask("anna").replace(b"Content-Length", b"Contact: " + contact.encode() + b"\r\nContent-Length")
    server.receive_datagram(data, SERVER, 0.0)

    found = server.locate("anna", 1.0)
    assert found is not None
    assert found.source == place
