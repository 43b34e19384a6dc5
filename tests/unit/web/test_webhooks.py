"""Twilio's webhooks: only genuine ones, and nothing acknowledged that is not kept."""

from collections.abc import Sequence
from urllib.parse import urlencode

import pytest
from aiohttp import ClientResponse
from yarl import URL

from bridge.web.webhooks import BODY_LIMIT
from sms.providers.twilio import sign
from tests.unit.web.conftest import ACCOUNT, NOW, PUBLIC_URL, SECOND_ACCOUNT, TOKEN, Client
from tests.unit.web.fakes import FakeIntake

INBOUND = (
    ("MessageSid", "SM1"),
    ("AccountSid", ACCOUNT),
    ("From", "+15550100123"),
    ("To", "+15550100200"),
    ("Body", "Bonjour & au revoir"),
    ("NumMedia", "0"),
    ("FromCity", ""),
)
STATUS = (("MessageSid", "SM2"), ("AccountSid", ACCOUNT), ("MessageStatus", "delivered"), ("From", "+15550100200"))


async def post(
    client: Client, path: str, fields: Sequence[tuple[str, str]], *, token: str = TOKEN, signed: bool = True
) -> ClientResponse:
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
    if signed:
        headers["X-Twilio-Signature"] = sign(token.encode(), PUBLIC_URL + path, fields)
    return await client.post(path, data=urlencode(fields), headers=headers)


async def test_a_text_is_kept_and_answered_with_nothing(client: Client, intake: FakeIntake) -> None:
    """The answer is an empty document: our own texts go through the outbox. Blank fields count in the signature."""
    answer = await post(client, "/twilio/sms", INBOUND)

    assert (answer.status, answer.content_type) == (200, "text/xml")
    assert (await answer.text()).endswith("<Response/>")
    assert "Content-Length" in answer.headers
    assert [(text.ref, text.sender, text.body, text.received_at) for text in intake.texts] == [
        ("SM1", "+15550100123", "Bonjour & au revoir", NOW)
    ]


async def test_a_repeated_text_is_kept_once(client: Client, intake: FakeIntake) -> None:
    """A provider that asks twice gets the same answer twice."""
    await post(client, "/twilio/sms", INBOUND)
    answer = await post(client, "/twilio/sms", INBOUND)

    assert answer.status == 200
    assert len(intake.texts) == 1
    assert "sidetone_webhook_repeats_total 1.0" in await (await client.get("/metrics")).text()


async def test_the_old_token_still_signs(client: Client, intake: FakeIntake) -> None:
    """While a token is being changed both are accepted."""
    assert (await post(client, "/twilio/sms", INBOUND, token="old-token")).status == 200
    assert len(intake.texts) == 1


async def test_webhooks_of_a_second_account_are_told_apart(client: Client, intake: FakeIntake) -> None:
    """Its refs carry its mark, in texts and in reports."""
    theirs = {**dict(INBOUND), "AccountSid": SECOND_ACCOUNT}
    assert (await post(client, "/twilio/sms", tuple(theirs.items()))).status == 200
    assert (await post(client, "/twilio/sms/status", (*STATUS[:1], ("AccountSid", SECOND_ACCOUNT), *STATUS[2:]))).status == 204
    assert [text.ref for text in intake.texts] == ["2:SM1"]
    assert [report.ref for report in intake.reports] == ["2:SM2"]


@pytest.mark.parametrize("path", ["/twilio/sms", "/twilio/sms/status"])
@pytest.mark.parametrize(("token", "signed"), [("wrong", True), (TOKEN, False)])
async def test_a_stranger_is_refused_without_a_word(
    client: Client, intake: FakeIntake, path: str, token: str, signed: bool
) -> None:
    """A bad or missing signature is 403 with an empty body, and nothing is kept."""
    answer = await post(client, path, INBOUND, token=token, signed=signed)

    assert (answer.status, await answer.read()) == (403, b"")
    assert not intake.texts


async def test_another_account_is_refused(client: Client, intake: FakeIntake) -> None:
    """A genuine signature of an account that is not ours does not help."""
    fields = [(name, "AC" + "1" * 32 if name == "AccountSid" else value) for name, value in INBOUND]

    assert (await post(client, "/twilio/sms", fields)).status == 403
    assert not intake.texts


async def test_a_huge_body_is_not_parsed(client: Client) -> None:
    """More than the limit is 413, with or without a length in the header."""
    big = b"a=" + b"x" * BODY_LIMIT

    async def chunks() -> object:
        yield big

    headers = {"X-Twilio-Signature": "x"}
    assert (await client.post("/twilio/sms", data=big, headers=headers)).status == 413
    assert (await client.post("/twilio/sms", data=chunks(), headers=headers)).status == 413


async def test_too_many_fields_are_refused(client: Client) -> None:
    """A body of thousands of fields costs nothing."""
    answer = await client.post("/twilio/sms", data="a&" * 3000 + "b", headers={"X-Twilio-Signature": "x"})

    assert answer.status == 413


async def test_broken_bytes_are_no_server_error(client: Client) -> None:
    """A byte that is not UTF-8 is refused like any other forgery."""
    answer = await client.post("/twilio/sms", data=b"Body=\xff%ff", headers={"X-Twilio-Signature": "x"})

    assert answer.status == 403


async def test_a_text_without_an_id_is_refused(client: Client, intake: FakeIntake) -> None:
    """Without an id a repeat could not be told from a new text."""
    assert (await post(client, "/twilio/sms", INBOUND[1:])).status == 400
    assert not intake.texts


@pytest.mark.parametrize(("path", "fields"), [("/twilio/sms", INBOUND), ("/twilio/sms/status", STATUS)])
async def test_what_cannot_be_kept_is_asked_for_again(
    client: Client, intake: FakeIntake, path: str, fields: Sequence[tuple[str, str]]
) -> None:
    """With the journal down the answer is 503, so that the provider tries again."""
    intake.down = True

    assert (await post(client, path, fields)).status == 503


async def test_a_delivery_report_is_kept(client: Client, intake: FakeIntake) -> None:
    """Our own id comes back in the address of the webhook, which is signed with it."""
    answer = await post(client, "/twilio/sms/status?message=m-1", STATUS)

    assert (answer.status, await answer.read()) == (204, b"")
    assert [(report.ref, report.message, report.state) for report in intake.reports] == [("SM2", "m-1", "delivered")]


async def test_an_unreadable_report_is_accepted_and_dropped(client: Client, intake: FakeIntake) -> None:
    """Asking for it again would not make it readable."""
    assert (await post(client, "/twilio/sms/status", STATUS[:2])).status == 204
    assert not intake.reports


@pytest.mark.parametrize(
    "fields",
    [
        (*INBOUND, ("Body", "and this")),
        (("Body", "and this"), *INBOUND),
        INBOUND[:-1],
        tuple((name, value.upper()) for name, value in INBOUND),
        (*INBOUND, ("MediaUrl0", "http://127.0.0.1/metrics"), ("NumMedia", "1")),
        tuple((name, "AC" + "1" * 32 if name == "AccountSid" else value) for name, value in INBOUND),
        (*INBOUND, ("AccountSid", "AC" + "1" * 32)),
    ],
)
async def test_nothing_can_be_put_into_a_signed_webhook(
    client: Client, intake: FakeIntake, fields: Sequence[tuple[str, str]]
) -> None:
    """A captured signature is worth nothing for any other body: repeated, missing, changed and added fields are signed too."""
    headers = {
        "X-Twilio-Signature": sign(TOKEN.encode(), PUBLIC_URL + "/twilio/sms", INBOUND),
        "Content-Type": "application/x-www-form-urlencoded",
    }

    assert (await client.post("/twilio/sms", data=urlencode(fields), headers=headers)).status == 403
    assert not intake.texts


@pytest.mark.parametrize("path", ["/twilio/sms?x=1", "/twilio/%73ms", "/twilio/sms/status", "/twilio/sms/status?message=m-1"])
async def test_a_signature_is_for_one_address(client: Client, intake: FakeIntake, path: str) -> None:
    """Neither for another query, nor for another webhook, nor for the same one spelt otherwise."""
    headers = {
        "X-Twilio-Signature": sign(TOKEN.encode(), PUBLIC_URL + "/twilio/sms", INBOUND),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    answer = await client.post(URL(path, encoded=True), data=urlencode(INBOUND), headers=headers)

    assert answer.status == 403
    assert not intake.texts


@pytest.mark.parametrize(
    "kind", ["application/json", "text/plain", "", "multipart/form-data; boundary=x", "application/json; charset=utf-7"]
)
async def test_another_content_type_opens_no_other_way(client: Client, intake: FakeIntake, kind: str) -> None:
    """A JSON webhook is signed by its address alone, which then names the hash of its body; without it nothing is believed."""
    headers = {"X-Twilio-Signature": sign(TOKEN.encode(), PUBLIC_URL + "/twilio/sms", ()), "Content-Type": kind}

    answer = await client.post("/twilio/sms", data=urlencode(INBOUND), headers=headers)

    assert answer.status == 403
    assert not intake.texts


async def test_what_no_phone_shows_is_left_out_of_a_text(client: Client, intake: FakeIntake) -> None:
    """NUL would keep the text out of PostgreSQL for ever, an escape sequence would reach a terminal."""
    fields = [(name, "a\x00b\x1b[2Jc\n" if name == "Body" else value) for name, value in INBOUND]

    assert (await post(client, "/twilio/sms", fields)).status == 200
    assert intake.texts[0].body == "ab[2Jc\n"
