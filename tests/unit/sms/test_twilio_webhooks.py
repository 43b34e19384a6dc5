"""Twilio's webhooks as pure functions: signatures held against the `twilio` package, forms, texts, reports."""

import hashlib
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from sms.message import RemoteMedia
from sms.providers.twilio import (
    MAX_FIELDS,
    SignatureVerifier,
    parse_form,
    parse_inbound,
    parse_status,
    seconds,
    sign,
    text_state,
    webhook_url,
)

TOKEN, OLD = "70" * 16, "80" * 16
PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FORMS = st.lists(st.tuples(st.text("ABab01", min_size=1, max_size=4), PLAIN), max_size=8)
FORM = "application/x-www-form-urlencoded; charset=UTF-8"
PATH = "/twilio/sms?message=m%2F1&e="


def signed(url: str, form: list[tuple[str, str]], token: str = TOKEN) -> str:
    """The signature as Twilio's own package makes it."""
    return str(RequestValidator(token).compute_signature(url, MultiDict(form)))


@given(FORMS)
def test_signature_is_that_of_the_package(form: list[tuple[str, str]]) -> None:
    """Repeated, blank and odd fields are signed exactly as Twilio's package signs them."""
    url = "https://ivr.example.com" + PATH
    assert sign(TOKEN.encode(), url, form) == signed(url, form)
    assert sign(TOKEN.encode(), url + "#rc=2", form) == signed(url, form)


@given(FORMS)
def test_form_survives_the_wire(form: list[tuple[str, str]]) -> None:
    """A form is parsed to the very fields that were sent, blanks and repetitions included."""
    assert list(parse_form(urlencode(form).encode())) == form


@pytest.mark.parametrize("public_url", ["https://ivr.example.com", "https://ivr.example.com:443", "https://ivr.example.com/"])
@pytest.mark.parametrize("signed_origin", ["https://ivr.example.com", "https://ivr.example.com:443"])
@pytest.mark.parametrize("token", [TOKEN, OLD])
def test_genuine_webhooks_pass(public_url: str, signed_origin: str, token: str) -> None:
    """Each accepted token passes, and Twilio may have signed the address with or without its port."""
    form = [("Body", "é €"), ("FromCity", "")]
    verifier = SignatureVerifier([TOKEN, OLD], public_url)
    assert verifier.verify(PATH, form, b"", signed(signed_origin + PATH, form, token), FORM)


def test_odd_ports_and_prefixes() -> None:
    """A port that must be said is signed or dropped; a path prefix of a proxy is part of the address."""
    verifier = SignatureVerifier([TOKEN], "http://ivr.example.com:8080/pbx/")
    for origin in ("http://ivr.example.com:8080/pbx", "http://ivr.example.com/pbx"):
        assert verifier.verify(PATH, (), b"", signed(origin + PATH, []), FORM)
    assert not verifier.verify(PATH, (), b"", signed("http://ivr.example.com:8080" + PATH, []), FORM)


def test_forged_webhooks_fail() -> None:
    """A field changed, added or dropped, another path, another token or no signature at all: refused."""
    form = [("Body", "hello"), ("From", "+15550100123")]
    url = "https://ivr.example.com" + PATH
    good = signed(url, form)
    verifier = SignatureVerifier([TOKEN], "https://ivr.example.com")
    assert verifier.verify(PATH, form, b"", good, FORM)
    for path, fields, signature in [
        (PATH, form[:1], good),
        (PATH, [*form, ("AccountSid", "AC1")], good),
        (PATH, [("Body", "hellO"), form[1]], good),
        (PATH + "&x=1", form, good),
        ("/twilio/sms?message=m/1&e=", form, good),
        (PATH, form, signed(url, form, OLD)),
        (PATH, form, ""),
        (PATH, form, None),
    ]:
        assert not verifier.verify(path, fields, b"", signature, FORM)
    assert not SignatureVerifier([], "https://ivr.example.com").verify(PATH, form, b"", signed(url, form, ""), FORM)
    assert not SignatureVerifier([""], "https://ivr.example.com").verify(PATH, form, b"", signed(url, form, ""), FORM)


def test_json_bodies_are_signed_by_their_hash() -> None:
    """Of a JSON webhook the address is signed, and names the hash of the body."""
    body = b'{"a": "\xff"}'
    path = f"/twilio/events?bodySHA256={hashlib.sha256(body).hexdigest()}"
    verifier = SignatureVerifier([TOKEN], "https://ivr.example.com")
    good = signed("https://ivr.example.com" + path, [])
    assert verifier.verify(path, (), body, good, "application/json")
    assert not verifier.verify(path, (), body + b" ", good, "application/json")
    bare = signed("https://ivr.example.com/twilio/events", [])
    assert not verifier.verify("/twilio/events", (), body, bare, "application/json")


@given(st.text(), FORMS, st.binary(), st.none() | st.text(), st.text())
def test_nothing_makes_the_verifier_raise(
    path: str, form: list[tuple[str, str]], body: bytes, signature: str | None, content_type: str
) -> None:
    """Whatever a stranger sends, the answer is no."""
    verifier = SignatureVerifier([TOKEN], "https://ivr.example.com")
    assert not verifier.verify(path, form, body, signature, content_type)
    assert not verifier.verify(path, form, body, signature, "application/json")


def test_an_endless_form_is_refused() -> None:
    """A form with more fields than any webhook has is not parsed; broken bytes are replaced."""
    with pytest.raises(ValueError, match="fields"):
        parse_form(b"a=1&" * (MAX_FIELDS + 1))
    assert parse_form(b"Body=\xff%ff+x&To=") == (("Body", "\N{REPLACEMENT CHARACTER}" * 2 + " x"), ("To", ""))


def test_inbound_text() -> None:
    """An inbound text has its numbers, words, pictures and the keyword that Twilio answered itself."""
    form = [
        ("MessageSid", "MM1"), ("From", "+15550100123"), ("To", "+15550100200"), ("Body", "hi"), ("NumMedia", "2"),
        ("MediaUrl0", "https://api.twilio.com/a"), ("MediaContentType0", "image/png"), ("MediaUrl1", "https://api.twilio.com/b"),
        ("OptOutType", "STOP"), ("FromCity", ""),
    ]  # fmt: skip
    text = parse_inbound(form, now=7.0)
    assert (text.provider, text.ref, text.sender, text.recipient) == ("twilio", "MM1", "+15550100123", "+15550100200")
    assert (text.body, text.received_at, text.opt_out_handled) == ("hi", 7.0, "stop")
    assert text.media == (
        RemoteMedia(url="https://api.twilio.com/a", content_type="image/png"),
        RemoteMedia(url="https://api.twilio.com/b", content_type=""),
    )
    assert text.raw == tuple(form)


@pytest.mark.parametrize(("word", "keyword"), [("START", "start"), ("HELP", "help"), ("", None), ("NEW", None)])
def test_opt_out_type(word: str, keyword: str | None) -> None:
    """Each keyword that Twilio obeyed is known, and a new one is no keyword."""
    form = [("MessageSid", "SM1"), ("From", "+15550100123"), ("To", "12345"), ("OptOutType", word), ("NumMedia", "many")]
    text = parse_inbound(form, now=0.0)
    assert text.opt_out_handled == keyword
    assert (text.body, text.media) == ("", ())


@pytest.mark.parametrize("missing", ["MessageSid", "From", "To"])
def test_incomplete_inbound_text(missing: str) -> None:
    """A webhook without its numbers or its id is refused with the name of what is missing."""
    fields = {"MessageSid": "SM1", "From": "+15550100123", "To": "+15550100200", missing: ""}
    with pytest.raises(ValueError, match=missing):
        parse_inbound(list(fields.items()), now=0.0)


def test_status_report() -> None:
    """A report has Twilio's id, ours from the address, the state and the error code."""
    form = [("MessageSid", "SM1"), ("MessageStatus", "undelivered"), ("ErrorCode", "30005")]
    report = parse_status(form, [("message", "m1")], now=3.0)
    assert (report.ref, report.message, report.state, report.code, report.at) == ("SM1", "m1", "undelivered", "30005", 3.0)


def test_a_new_word_is_no_state() -> None:
    """A status that is newer than us is kept in Twilio's word and changes nothing."""
    report = parse_status([("MessageSid", "SM1"), ("MessageStatus", "teleported")], [], now=0.0)
    assert (report.state, report.reported, report.rank, report.message) == (None, "teleported", -1, None)
    with pytest.raises(ValueError, match="MessageStatus"):
        parse_status([("MessageSid", "SM1")], [], now=0.0)


@pytest.mark.parametrize(
    ("word", "state"),
    [("queued", "queued"), ("scheduled", "accepted"), ("partially_delivered", "sent"), ("received", None), ("read", "read")],
)
def test_states(word: str, state: str | None) -> None:
    """Twilio's words have our names."""
    assert text_state(word) == state


def test_webhook_url() -> None:
    """Our parameters go into the query, which is signed; how to try goes into the fragment, which is not."""
    url = webhook_url("https://ivr.example.com/twilio/sms/status?a=1", {"message": "m/1"})
    assert url == "https://ivr.example.com/twilio/sms/status?a=1&message=m%2F1#rc=2&rp=ct,rt,5xx&ct=2000&rt=4000&tt=14000"
    assert (
        webhook_url("https://ivr.example.com/twilio/voice", overrides={"rc": "1"}) == "https://ivr.example.com/twilio/voice#rc=1"
    )


@pytest.mark.parametrize(
    ("header", "wait"),
    [(None, None), ("2", 2.0), ("0", 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None), ("\u00b2", None)],
)
def test_retry_after(header: str | None, wait: float | None) -> None:
    """Only a number of seconds is a wait."""
    assert seconds(header) == wait


def test_webhooks_of_a_second_account_are_marked() -> None:
    """Refs and pictures of an account with a mark carry it, so that later requests go to that account; others do not."""
    marks = {"AC2": "2:"}
    for account, mark in (("AC1", ""), ("AC2", "2:")):
        form = [
            ("MessageSid", "MM1"), ("AccountSid", account), ("From", "+15550100123"), ("To", "+15550100200"),
            ("NumMedia", "1"), ("MediaUrl0", "https://x.example"), ("MessageStatus", "delivered"),
        ]  # fmt: skip
        arrived = parse_inbound(form, now=0.0, marks=marks)
        assert (arrived.ref, arrived.media[0].url) == (f"{mark}MM1", f"{mark}https://x.example")
        assert parse_status(form, [], now=0.0, marks=marks).ref == f"{mark}MM1"
