"""Reading a mail: whose it is, who vouches for that, what wrote it, and what cannot be read."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms.mail.reading import MOST_HEADER_BYTES, MOST_PARTS, MOST_PICTURES, Kind, MailRefusedError, Opened, open_mail

FRONT = "mx.example"
HEADER = {"From": "Ann <ann@example.com>", "Message-ID": "<1@example.com>"}


def opened(extra: str = "", body: bytes = b"hello", *, mail_from: str = "ann@example.com", **headers: str) -> Opened:
    """A mail read: HEADER with *headers* in place of its own, *extra* lines above."""
    lines = {**HEADER, **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = extra + "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return open_mail(
        head.encode("utf-8") + b"\r\n" + body + b"\r\n", mail_from=mail_from, instance="sms.example", authserv_id=FRONT
    )


def refused(code: int, **how: Any) -> None:
    """Read it, and expect a refusal."""
    with pytest.raises(MailRefusedError) as refusal:
        opened(**how)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    "author",
    [
        "ann@example.com",
        "<ann@example.com>",
        "Ann Example <ann@example.com>",
        '"Example, Ann (Sales) <boss@example.com>" <ann@example.com>',
        "=?utf-8?q?Ann_=C3=89?= <ann@example.com>",
        "Ann\r\n <ann@example.com>",
        "Ann É <ann@example.com>",
    ],
)
def test_one_author_is_read(author: str) -> None:
    """However a mail program writes the name."""
    assert opened(From=author).sender == "ann@example.com"


@pytest.mark.parametrize(
    "author",
    [
        "",
        "Ann",
        "ann@example.com, ben@example.com",
        "ann@example.com <ben@example.com>",
        "<ann@example.com> <ben@example.com>",
        "group: ann@example.com;",
        '"ann"@example.com',
        "ann@example.com (comment)",
        "ann@",
        "ann@example.com\r\nFrom: ben@example.com",
        "ann@example..com",
        '"Ann <ann@example.com>',
        '\\"' * 30_000 + " <ann@example.com>",
    ],
    ids=lambda author: author[:40],
)
def test_any_other_from_line_is_refused(author: str) -> None:
    """Where programs could disagree about who wrote, nobody did."""
    refused(550, From=author)


@pytest.mark.parametrize("message_id", ["", "1@example.com", "<1>  <2>", "<a b>", "<1@x>\r\nMessage-ID: <2@x>"])
def test_a_mail_needs_one_message_id(message_id: str) -> None:
    """Without it a repeat could not be known."""
    refused(550, Message_ID=message_id)


@pytest.mark.parametrize("bare", [b"a\nb", b"a\rb", b"a\r\r\nb", b"\n.\nMAIL FROM:<x@y.example>", b"a\n\rb"])
def test_bare_line_ends_are_refused(bare: bytes) -> None:
    """RFC 5321 section 2.3.8: passed on, they could end a mail in the middle."""
    with pytest.raises(MailRefusedError) as refusal:
        opened(body=bare)
    assert (refusal.value.code, refusal.value.status) == (550, "5.6.11")


def test_a_header_beyond_measure_is_refused() -> None:
    """It costs time to read, and nobody needs it."""
    refused(554, Subject="x" * MOST_HEADER_BYTES)


@pytest.mark.parametrize(
    ("headers", "mail_from", "kind"),
    [
        ({}, "ann@example.com", "person"),
        ({"Auto-Submitted": "no"}, "ann@example.com", "person"),
        ({"Precedence": "first-class"}, "ann@example.com", "person"),
        ({"Auto-Submitted": "auto-generated (alarm)"}, "ann@example.com", "generated"),
        ({"Auto-Submitted": "Auto-Replied; owner=ann"}, "ann@example.com", "reply"),
        ({"Auto-Submitted": "auto-notified"}, "ann@example.com", "reply"),
        ({"X-Auto-Response-Suppress": "All"}, "ann@example.com", "reply"),
        ({"X-Autoreply": "yes"}, "ann@example.com", "reply"),
        ({}, "noreply@example.com", "reply"),
        ({"Precedence": "bulk"}, "ann@example.com", "bulk"),
        ({"Precedence": " LIST "}, "ann@example.com", "bulk"),
        ({"List-Id": "<x.example.com>"}, "ann@example.com", "bulk"),
        ({"X-Loop": "other.example"}, "ann@example.com", "bulk"),
        ({}, "", "bounce"),
        ({"Return-Path": "<>"}, "ann@example.com", "bounce"),
        ({"Content-Type": "multipart/report; boundary=x"}, "ann@example.com", "bounce"),
        ({}, "Mailer-Daemon@example.com", "bounce"),
        ({"X-Loop": "SMS.example"}, "ann@example.com", "loop"),
    ],
)
def test_who_wrote_is_seen_in_the_header(headers: dict[str, Any], mail_from: str, kind: Kind) -> None:
    """RFC 3834 and what was there before it."""
    assert opened(mail_from=mail_from, **headers).kind == kind


def test_a_bounce_need_not_be_a_proper_mail() -> None:
    """It is only counted."""
    assert opened(mail_from="", From="", Message_ID="").kind == "bounce"


@pytest.mark.parametrize(
    "said",
    [
        "mx.example; dkim=pass header.d=example.com",
        "mx.example 1; dkim=pass header.d=Example.COM header.s=s1",
        "MX.Example; dkim=pass (2048-bit key; secure) header.d=example.com",
        "mx.example; dkim=pass header.i=@example.com",
        "mx.example; dkim=pass header.d=mail.example; dkim=pass header.d=example.com",
        "mx.example; spf=fail smtp.mailfrom=x@y.example;\r\n dkim=pass header.d=example.com",
        "mx.example; spf=pass smtp.mailfrom=bounce@example.com",
        'mx.example; spf=pass reason="good" smtp.mailfrom="ann@example.com"',
        "mx.example; dmarc=pass (p=none dis=none) header.from=example.com",
        "mx.example; auth=pass smtp.auth=Ann@example.com",
    ],
)
def test_the_system_in_front_vouches(said: str) -> None:
    """By DMARC, aligned DKIM or SPF, or because the sender signed in there."""
    assert opened(f"Authentication-Results: {said}\r\n").vouched


@pytest.mark.parametrize(
    "said",
    [
        "mx.example; none",
        "other.example; dkim=pass header.d=example.com",
        "mx.example.evil.example; dkim=pass header.d=example.com",
        "mx.example 2; dkim=pass header.d=example.com",
        "mx.example; dkim=fail header.d=example.com",
        "mx.example; dkim=pass",
        "mx.example; dkim=pass header.d=evil.example",
        "mx.example; dkim=pass header.d=com",
        "mx.example; dkim=pass header.d=ample.com",
        "mx.example; dkim=pass header.d=sub.example.com",
        "mx.example; spf=pass smtp.helo=example.com",
        "mx.example; spf=pass smtp.mailfrom=example.com",
        "mx.example; spf=pass smtp.mailfrom=ann@evil.example",
        "mx.example; dmarc=fail header.from=example.com; dkim=pass header.d=example.com",
        "mx.example; auth=pass smtp.auth=ben@example.com",
        "mx.example; iprev=pass policy.iprev=192.0.2.1",
        "mx.example; dkim=fail (dkim=pass header.d=example.com)",
        'mx.example; dkim=fail reason="; dkim=pass header.d=example.com"',
        "mx.example; dkim=pass header.d=example.com (",
        "mx.example; dkim=pass header.d=example.com )",
        "mx.example; dkim=pass header.d=exa\\mple.com",
        "(mx.example); dkim=pass header.d=example.com",
        "; dkim=pass header.d=example.com",
    ],
)
def test_nobody_else_does(said: str) -> None:
    """Other servers, other domains, other people, failed checks, comments and what is not well formed count for nothing."""
    assert not opened(f"Authentication-Results: {said}\r\n").vouched


def test_what_was_there_before_the_system_in_front_does_not_count() -> None:
    """Results below the second Received line came with the mail from elsewhere."""
    good = "Authentication-Results: mx.example; dkim=pass header.d=example.com\r\n"
    received = "Received: from a by b; today\r\n"
    assert opened(received + good + received).vouched
    assert not opened(received + received + good).vouched


def test_nobody_is_believed_when_nobody_is_named() -> None:
    """Without an authserv-id in the settings."""
    content = (
        b"Authentication-Results: mx.example; dkim=pass header.d=example.com\r\nFrom: a@example.com\r\nMessage-ID: <1>\r\n\r\n"
    )
    assert not open_mail(content, mail_from="a@example.com", instance="x", authserv_id=None).vouched


# --- the body


def mime(kind: str, *parts: bytes) -> tuple[bytes, str]:
    """A multipart body and its content type."""
    body = b"".join(b"--=x\r\n" + part + b"\r\n" for part in parts) + b"--=x--"
    return body, f'multipart/{kind}; boundary="=x"'


PLAIN = b"Content-Type: text/plain; charset=utf-8\r\n\r\nplain"
PAGE = b"Content-Type: text/html\r\n\r\n<p>page</p>"
PICTURE = b"Content-Type: image/png\r\nContent-Disposition: inline\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw=="
SIGNATURE = b"Content-Type: application/pgp-signature\r\n\r\nxyz"


@pytest.mark.parametrize(
    ("kind", "parts", "words"),
    [
        ("alternative", [PLAIN, PAGE], "plain"),
        ("alternative", [PAGE], "page"),
        ("alternative", [b"Content-Type: text/plain\r\n\r\n \r\n", PAGE], "page"),
        ("mixed", [PLAIN, b"Content-Type: text/plain\r\n\r\na list's foot"], "plain"),
        ("signed", [PLAIN, SIGNATURE], "plain"),
        (
            "mixed",
            [b"Content-Type: text/plain; charset=latin1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=E9t=E9"],
            "été",
        ),
        ("mixed", [b"Content-Type: text/plain; charset=no-such\r\n\r\nplain"], "plain"),
        ("mixed", [b'Content-Type: text/plain; format=flowed; delsp="no"\r\n\r\none \r\ntwo'], "one two"),
        ("mixed", [b"Content-Type: text/plain\r\n\r\na\x00b\x1b[31m"], "ab[31m"),
    ],
)
def test_the_words_of_a_mail(kind: str, parts: list[bytes], words: str) -> None:
    """The first plain part; the page when there is none; in any charset, without what no telephone shows."""
    body, content_type = mime(kind, *parts)
    letter = opened(body=body, Content_Type=content_type).letter()
    assert (letter.words, letter.pictures) == (words, ())


def test_pictures_that_decorate_are_left_out() -> None:
    """An attached picture is meant, one that belongs to a page is not."""
    body, content_type = mime("mixed", PLAIN, PICTURE)
    assert opened(body=body, Content_Type=content_type).letter().pictures == (b"\x89PNG",)
    body, content_type = mime("related", PAGE, PICTURE)
    letter = opened(body=body, Content_Type=content_type).letter()
    assert (letter.words, letter.pictures) == ("page", ())


@pytest.mark.parametrize(
    "part",
    [
        b"Content-Type: application/pdf\r\n\r\n%PDF",
        b"Content-Type: text/plain\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nhello",
        b"Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR",
        b"Content-Type: message/rfc822\r\n\r\nFrom: ben@example.com\r\n\r\nhello",
        b"Content-Type: video/mp4\r\n\r\nx",
    ],
)
def test_other_attachments_are_refused(part: bytes) -> None:
    """The writer is told, because a customer would not get them."""
    body, content_type = mime("mixed", PLAIN, part)
    with pytest.raises(MailRefusedError, match="Only pictures"):
        opened(body=body, Content_Type=content_type).letter()


def test_a_mail_of_too_many_parts_is_refused() -> None:
    """Side by side or inside each other."""
    body, content_type = mime("mixed", *[PLAIN] * (MOST_PARTS + 1))
    with pytest.raises(MailRefusedError, match="parts"):
        opened(body=body, Content_Type=content_type).letter()
    body, content_type = mime("mixed", PLAIN, *[PICTURE] * (MOST_PICTURES + 1))
    with pytest.raises(MailRefusedError, match="pictures"):
        opened(body=body, Content_Type=content_type).letter()
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(5000))
    with pytest.raises(MailRefusedError, match="parts"):
        opened(body=deep, Content_Type="multipart/mixed; boundary=0").letter()


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    """They are read or refused, header and body."""
    clean = content.replace(b"\r", b"").replace(b"\n", b"\r\n")
    for whole in (content, clean, b"From: a@b.example\r\nMessage-ID: <1>\r\nContent-Type: " + clean):
        with suppress(MailRefusedError):
            open_mail(whole, mail_from="a@b.example", instance="x", authserv_id=FRONT).letter()
