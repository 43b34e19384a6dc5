"""Mails of ours, as bytes. Pure: time and ids are arguments.

Every one of them says that a machine wrote it (RFC 3834 section 5), so that no other machine answers, and names us in `X-Loop`,
so that we know it when it comes back.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

import msgspec

from sms.mail.words import WRITE_ABOVE
from sms.message import readable

LONGEST_SUBJECT = 150


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """A mail of ours before it is written down."""

    id: str
    """Hex; ours. It is in the Message-ID and in the address that takes a bounce."""
    to: str
    subject: str
    words: str
    html: str | None = None
    """The same for mail programs that show it; None: words alone."""
    at: float
    reply_to: str | None = None
    """Where an answer becomes a text. None: nobody reads answers."""
    thread: str | None = None
    """What the mail belongs to; mails with the same one stand together in the reader's mail program."""
    attachments: Mapping[str, str] = {}
    """File name to text: plain, or CSV where the name says so."""


def bounce_address(mail: str, *, domain: str) -> str:
    """The envelope sender of the mail with this id: what cannot be delivered comes back there, and says which mail it was."""
    return f"b+{mail}@{domain}"


def written(sheet: Sheet, *, sender: str, name: str, domain: str) -> bytes:
    """*sheet* as it travels.

    Args:
        sheet: What to write.
        sender: The address in `From`.
        name: The name beside it.
        domain: Of the mail side; also what stands in `X-Loop`.
    """
    mail = EmailMessage(policy=SMTP)
    mail["From"] = f'"{_one_line(name).translate({34: 39, 92: 47})}" <{sender}>'
    mail["To"] = sheet.to
    mail["Subject"] = _one_line(sheet.subject)[:LONGEST_SUBJECT]
    mail["Date"] = format_datetime(datetime.fromtimestamp(sheet.at, UTC))
    mail["Message-ID"] = f"<{sheet.id}@{domain}>"
    if sheet.reply_to is not None:
        mail["Reply-To"] = sheet.reply_to
    if sheet.thread is not None:
        mail["References"] = f"<{sheet.thread}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail["X-Loop"] = domain
    words = sheet.words if sheet.reply_to is None else f"{WRITE_ABOVE}\n\n{sheet.words}"
    mail.set_content(readable(words), charset="utf-8", cte="quoted-printable")
    if sheet.html is not None:
        mail.add_alternative(sheet.html, subtype="html", charset="utf-8", cte="quoted-printable")
    for file, text in sheet.attachments.items():
        kind = "csv" if file.endswith(".csv") else "plain"
        mail.add_attachment(readable(text), subtype=kind, filename=file, charset="utf-8", cte="quoted-printable")
    return mail.as_bytes()


def _one_line(text: str) -> str:
    """*text* fit for a header: a line break in it would begin a header of the writer's choice."""
    return " ".join(readable(text).split())
