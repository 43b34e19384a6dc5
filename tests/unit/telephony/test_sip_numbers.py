"""Numbers out of SIP headers, and keys out of INFO bodies."""

import pytest

from bridge.sip.message import Headers, Request
from bridge.telephony.sip import _key_of_info, called_number, caller_number, to_e164


@pytest.mark.parametrize(
    ("user", "country", "expected"),
    [
        ("+15550100200", None, "+15550100200"),
        ("+1 (555) 010-0200", None, "+15550100200"),
        ("0015550100200", None, "+15550100200"),
        ("15550100200", None, "+15550100200"),
        ("+15550100200;phone-context=x", None, "+15550100200"),
        ("5550100200", None, "5550100200"),
        ("5550100200", "1", "+15550100200"),
        ("05550100200", "44", "+445550100200"),
        ("15550100200", "1", "+15550100200"),
        ("1001", "1", "1001"),
        ("support", None, "support"),
    ],
)
def test_a_number_becomes_e164_when_it_can(user: str, country: str | None, expected: str) -> None:
    """International forms always, national ones with a country code, names never."""
    assert to_e164(user, country) == expected


def invite(*headers: tuple[str, str]) -> Request:
    return Request("INVITE", "sip:+15550100200@192.0.2.1;user=phone", Headers(headers))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("from", '"A" <sip:+15550100123@x>;tag=1')], "+15550100123"),
        ([("from", "<sip:anonymous@anonymous.invalid>"), ("p-asserted-identity", "<sip:+15550100124@x>")], "+15550100124"),
        ([("from", "<sip:+15550100123@x>"), ("p-asserted-identity", "<tel:+15550100124>, <sip:b@x>")], "+15550100124"),
        ([("from", "<sip:+15550100123@x>"), ("p-asserted-identity", "<nonsense>")], "+15550100123"),
        ([("from", "<sip:+15550100123@x>"), ("privacy", "header;id")], None),
        ([("from", "<sip:+15550100123@anonymous.invalid>")], None),
        ([("from", "<sip:you@x>")], None),
        ([("from", "<sip:1001@x>")], "1001"),
        ([], None),
    ],
)
def test_the_caller_is_whom_the_network_vouches_for(headers: list[tuple[str, str]], expected: str | None) -> None:
    """RFC 3325 before From; RFC 3323 privacy is respected; a name is no number."""
    assert caller_number(invite(*headers)) == expected


def test_the_called_number_is_the_user_of_the_request() -> None:
    """Whatever the To header says."""
    assert called_number(invite()) == "+15550100200"


@pytest.mark.parametrize(
    ("kind", "body", "key"),
    [
        ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n", "5"),
        ("application/dtmf-relay", b"Signal= *\r\n", "*"),
        ("application/dtmf", b"#", "#"),
        ("application/dtmf", b"d\r\n", "D"),
        ("application/dtmf", b"55", None),
        ("application/sdp", b"5", None),
        ("application/dtmf-relay", b"Duration=160", None),
    ],
)
def test_a_key_is_read_from_an_info(kind: str, body: bytes, key: str | None) -> None:
    """The two bodies that are in use."""
    assert _key_of_info(kind, body) == key
