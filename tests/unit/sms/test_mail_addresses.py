"""Addresses of the mail side: what is one of ours, and for whom a reply address was made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms.mail.addresses import BounceOf, ReplyTo, TextTo, is_address, path_argument, recipient, reply_address, same, signed_for

KEY, OTHER_KEY = b"one key", b"another key"
DOMAIN = "sms.example"
sessions = st.from_regex(r"[a-z0-9]{1,32}", fullmatch=True)
agents = st.from_regex(r"[a-z][a-z0-9_]{0,40}", fullmatch=True)
times = st.floats(min_value=0, max_value=4e9)


@given(sessions, agents, times)
def test_a_reply_address_says_its_session_and_holds_for_its_agent(session: str, agent: str, until: float) -> None:
    """Also when a mail program has written it in capitals, and never longer than a minute over its time."""
    address = reply_address(session, agent, until=until, key=KEY, domain=DOMAIN)
    assert is_address(address)
    assert len(address.partition("@")[0]) <= 64  # RFC 5321 section 4.5.3.1.1
    for written in (address, address.upper()):
        to = recipient(written, domain=DOMAIN)
        assert isinstance(to, ReplyTo)
        assert to.session == session
        assert signed_for(to, agent, key=KEY, now=until)
        assert not signed_for(to, agent, key=KEY, now=until + 61)


@given(sessions, agents, agents, times, st.data())
def test_a_reply_address_holds_for_nothing_else(session: str, agent: str, other: str, until: float, data: st.DataObject) -> None:
    """Another agent, another session, another key or one changed character: refused."""
    to = recipient(reply_address(session, agent, until=until, key=KEY, domain=DOMAIN), domain=DOMAIN)
    assert isinstance(to, ReplyTo)
    assert signed_for(to, other, key=KEY, now=until) == (agent == other)
    assert not signed_for(to, agent, key=OTHER_KEY, now=until)
    assert not signed_for(ReplyTo(session + "0", to.token), agent, key=KEY, now=until)
    place = data.draw(st.integers(0, len(to.token) - 2))  # the last character has bits that mean nothing
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz234567").filter(lambda one: one != to.token[place]))
    changed = to.token[:place] + letter + to.token[place + 1 :]
    assert not signed_for(ReplyTo(session, changed), agent, key=KEY, now=until - 1)


@pytest.mark.parametrize("session", ["", "T0", "a.b", "a" * 33, "é"])
def test_a_session_that_cannot_stand_in_an_address_is_refused(session: str) -> None:
    """Rather than lead nowhere."""
    with pytest.raises(ValueError, match="cannot stand"):
        reply_address(session, "ann", until=0, key=KEY, domain=DOMAIN)


@pytest.mark.parametrize(
    ("address", "means"),
    [
        ("+15550100123@sms.example", TextTo("+15550100123")),
        ("+15550100123@SMS.Example", TextTo("+15550100123")),
        ("b+00ff@sms.example", BounceOf("00ff")),
        ("15550100123@sms.example", None),
        ("+1555@sms.example", None),
        ("+1555010012345678@sms.example", None),
        ("+15550100123@example", None),
        ("+15550100123@x.sms.example", None),
        ("+15550100123%example.com@sms.example", None),
        ("+15550100123!x@sms.example", None),
        ("c+t01@sms.example", None),
        ("c+t01.short@sms.example", None),
        ("ann@sms.example", None),
        ("", None),
        ("@sms.example", None),
    ],
)
def test_what_an_address_means(address: str, means: TextTo | BounceOf | None) -> None:
    """To the letter; everything else is nobody."""
    assert recipient(address, domain=DOMAIN) == means


@given(st.text())
def test_no_text_breaks_an_address_reader(text: str) -> None:
    """Whatever a stranger writes is read or refused."""
    recipient(text, domain=DOMAIN)
    recipient(f"{text}@{DOMAIN}", domain=DOMAIN)
    found = path_argument(f"TO:<{text}>")
    assert found is None or found == text


@pytest.mark.parametrize(
    ("argument", "address"),
    [
        ("TO:<a@b.example>", "a@b.example"),
        ("from:<a@b.example> SIZE=100 BODY=8BITMIME", "a@b.example"),
        ("TO: <a@b.example>", "a@b.example"),
        ("FROM:<>", ""),
        ("TO:a@b.example", None),
        ("TO:<@x.example,@y.example:a@b.example>", None),
        ('TO:<"a b"@b.example>', None),
        ("TO:<a@[127.0.0.1]>", None),
        ("TO:<a@b.example>x", None),
        ("TO:<a%c.example@b.example>", None),
        ("TO:(comment)<a@b.example>", None),
        ("", None),
        (None, None),
    ],
)
def test_only_a_plain_path_is_read(argument: str | None, address: str | None) -> None:
    """One address in angle brackets; what else RFC 5321 allows is of use to nobody but a relay."""
    assert path_argument(argument) == address


def test_addresses_are_compared_without_regard_to_case() -> None:
    """As every usual mail system does."""
    assert same("Ann@Example.com", "ann@example.com")
    assert not same("ann@example.com", "ann@example.org")
