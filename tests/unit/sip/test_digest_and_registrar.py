"""Who a phone is and where it is: RFC 7616 digests and RFC 3261 section 10 bindings."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.digest import Credentials, DigestGuard, answer, challenge, parse_digest
from bridge.sip.message import BadMessageError, Headers, Request
from bridge.sip.registrar import Registrar

HERE = ("192.0.2.9", 5070)


def guard(*algorithms: str) -> DigestGuard:
    numbers = count()
    return DigestGuard("test", lambda: f"n{next(numbers)}", algorithms or ("SHA-256", "MD5"))  # type: ignore[arg-type]


def proof(value: str, password: str = "secret", user: str = "anna") -> str:
    text = answer(value, Credentials(user, password), method="REGISTER", uri="sip:x", cnonce="c")
    assert text is not None
    return text


def test_the_example_of_the_rfc_is_computed() -> None:
    """RFC 7616 section 3.9.1, both algorithms."""
    nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
    for algorithm, expected in (
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ):
        text = answer(
            f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, nonce="{nonce}", opaque="o"',
            Credentials("Mufasa", "Circle of Life"),
            method="GET",
            uri="/dir/index.html",
            cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        )
        assert text is not None
        assert f'response="{expected}"' in text
        assert 'opaque="o"' in text


def test_a_right_answer_is_let_in_and_not_twice() -> None:
    """A nonce count may be used once (RFC 7616 section 3.4)."""
    door = guard()
    text = proof(door.challenges(0.0)[0])

    assert door.check(text, user="anna", password="secret", method="REGISTER", source="192.0.2.9", now=1.0) == "ok"
    assert door.check(text, user="anna", password="secret", method="REGISTER", source="192.0.2.9", now=1.0) == "stale"


def test_both_algorithms_are_offered_and_understood() -> None:
    """A phone of any age finds one it knows (RFC 8760)."""
    door = guard()
    for value in door.challenges(0.0):
        assert door.check(proof(value), user="anna", password="secret", method="REGISTER", source="192.0.2.9", now=1.0) in {
            "ok",
            "stale",
        }
    assert ["MD5" in value for value in door.challenges(0.0)] == [False, True]


def test_an_old_nonce_is_stale_and_not_wrong() -> None:
    """The phone tries again by itself."""
    door = guard()
    text = proof(door.challenges(0.0)[0])

    assert door.check(text, user="anna", password="secret", method="REGISTER", source="192.0.2.9", now=301.0) == "stale"
    assert "stale=true" in door.challenges(301.0, stale=True)[0]


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("Basic abc", "REGISTER"),
        ('Digest username="bob"', "REGISTER"),
        (proof(challenge("test", "n0", "MD5"), password="guess"), "REGISTER"),
        (proof(challenge("other", "n0", "MD5")), "REGISTER"),
        (proof(challenge("test", "n0", "MD5")), "INVITE"),
        (proof(challenge("test", "n0", "MD5")).replace("MD5", "MD4"), "REGISTER"),
        (proof(challenge("test", "n0", "MD5")).replace("qop=auth", "qop=auth-int"), "REGISTER"),
    ],
)
def test_a_wrong_answer_is_wrong(text: str, method: str) -> None:
    """Another scheme, user, password, realm, method, algorithm or quality."""
    door = guard()
    door.challenges(0.0)

    assert door.check(text, user="anna", password="secret", method=method, source="192.0.2.9", now=1.0) == "wrong"


def test_a_nonce_count_that_is_no_number_is_wrong() -> None:
    """It is part of the hash, so only a phone with the password gets that far."""
    door = guard("MD5")
    value = door.challenges(0.0)[0]
    text = proof(value)
    fields = parse_digest(text)
    assert fields is not None
    fields["nc"] = "zz"
    again = answer(value, Credentials("anna", "secret"), method="REGISTER", uri="sip:x", cnonce="c")
    assert again is not None
    from bridge.sip.digest import _response  # noqa: PLC0415  only this test has to forge one

    forged = again.replace("nc=00000001", "nc=zz").replace(fields["response"], _response("MD5", fields, "secret", "REGISTER"))
    assert door.check(forged, user="anna", password="secret", method="REGISTER", source="192.0.2.9", now=1.0) == "wrong"


def test_a_phone_without_qop_is_let_in() -> None:
    """RFC 2617 section 3.2.2.1 for the oldest."""
    door = guard("MD5")
    value = door.challenges(0.0)[0].replace(', qop="auth"', "")

    assert door.check(proof(value), user="anna", password="secret", method="REGISTER", source="192.0.2.9", now=1.0) == "ok"


def test_a_challenge_beyond_us_gives_no_answer() -> None:
    """Unknown scheme, algorithm or quality of protection."""
    for value in ("Basic realm=x", 'Digest realm="x", algorithm=SHA-1', 'Digest realm="x", qop="auth-int"'):
        assert answer(value, Credentials("a", "b"), method="REGISTER", uri="sip:x", cnonce="c") is None


@given(st.text(max_size=60))
def test_no_authorization_text_breaks_the_check(text: str) -> None:
    """Whatever a stranger writes is wrong."""
    assert (
        guard().check("Digest " + text, user="anna", password="secret", method="REGISTER", source="192.0.2.9", now=0.0) == "wrong"
    )


def register(*contacts: str, expires: str | None = None, sequence: int = 1, call_id: str = "r") -> Request:
    headers = Headers([("call-id", call_id), ("cseq", f"{sequence} REGISTER")])
    for contact in contacts:
        headers.add("contact", contact)
    if expires is not None:
        headers.add("expires", expires)
    return Request("REGISTER", "sip:192.0.2.1", headers)


def test_a_binding_lives_until_it_expires() -> None:
    """And the last phone to register is the one that is called."""
    registrar = Registrar({"anna": None})
    registrar.register("anna", register("<sip:anna@192.0.2.9>;expires=60"), HERE, 0.0)
    registrar.register("anna", register("<sip:anna@192.0.2.8>", expires="90", call_id="s"), ("192.0.2.8", 5060), 0.0)

    found = registrar.lookup("anna", 59.0)
    assert found is not None
    assert found.contact == "sip:anna@192.0.2.8"
    assert found.source == ("192.0.2.8", 5060)
    assert len(registrar.bindings("anna", 59.0)) == 2
    assert len(registrar.bindings("anna", 61.0)) == 1
    assert registrar.lookup("anna", 91.0) is None
    assert registrar.lookup("bob", 0.0) is None


def test_a_phone_can_take_itself_back() -> None:
    """Expires 0 for one contact, a star for all (section 10.2.2)."""
    registrar = Registrar({"anna": None})
    registrar.register("anna", register("<sip:a@192.0.2.9>", "<sip:b@192.0.2.9>"), HERE, 0.0)
    left = registrar.register("anna", register("<sip:a@192.0.2.9>;expires=0", sequence=2), HERE, 1.0)
    assert [binding.contact for binding in left] == ["sip:b@192.0.2.9"]
    assert left[0].expires_at == 3600.0

    assert registrar.register("anna", register("*", expires="0", sequence=3), HERE, 2.0) == []


@pytest.mark.parametrize(
    "request_",
    [
        register("*"),
        register("<sip:a@192.0.2.9>;expires=soon"),
        register("<http://x>"),
        register("<sip:a@192.0.2.9>", expires="x"),
        register("<sip:a@192.0.2.9>", sequence=4),
    ],
)
def test_a_register_that_cannot_be_obeyed_changes_nothing(request_: Request) -> None:
    """A star with an expiry, unreadable numbers and addresses, an older request that came late."""
    registrar = Registrar({"anna": None})
    before = registrar.register("anna", register("<sip:a@192.0.2.9>", sequence=5), HERE, 0.0)

    with pytest.raises(BadMessageError):
        registrar.register("anna", request_, HERE, 1.0)
    assert registrar.bindings("anna", 1.0) == before
