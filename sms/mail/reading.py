"""What a mail says, to whoever has to decide whether it becomes a text. Pure; hostile input is refused, never repaired.

Reading goes in two steps. `open_mail` looks at the header alone: who claims to write, who vouches for that, and whether a
person or a machine wrote. Only for senders that are known then does `Opened.letter` take the body apart.
"""

import re
from collections.abc import Iterator, Mapping
from email.errors import MessageError
from email.message import Message
from email.parser import BytesParser, HeaderParser
from email.policy import compat32
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from sms.mail.addresses import domain_of, is_address, same
from sms.mail.words import only_reply, unflow, words_of_html
from sms.message import readable

MOST_CHARACTERS = 1000
"""Of one text by mail: seven segments of plain letters. Whoever wants to say more is told so."""
MOST_TEXT_BYTES = 256 * 1024
"""A mail without pictures."""
MOST_BYTES = 5 * 1024 * 1024
"""A mail with pictures, as it travels."""
MOST_HEADER_BYTES = 64 * 1024
LONGEST_FROM = 1000
"""Characters of the From line; puzzles take time to solve."""
MOST_PARTS = 50
MOST_PICTURES = 10
"""What one MMS can carry."""

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_MULTIPART = re.compile(rb"^content-type:\s*multipart/", re.IGNORECASE | re.MULTILINE)
_QUOTED = re.compile(r'"(?:[^"\\\r\n]|\\.)*"')
_FROM = re.compile(r"(?:[^<>@,;:()\\\"]*<([^<>\s]+)>|([^<>\s]+))")
_MESSAGE_ID = re.compile(r"<[^<>\s]{1,990}>")
_MACHINES = frozenset({"mailer-daemon", "postmaster", "noreply", "no-reply"})
_SIGNATURES = frozenset({"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"})

Kind: TypeAlias = Literal["person", "generated", "reply", "bulk", "bounce", "loop"]
"""Who wrote: a person; a program of its own accord; a program because it got a mail; a program to many; the mail system
because a mail could not be delivered; we."""


class MailRefusedError(Exception):
    """A mail that does not become a text.

    `code` and `status` as in RFC 5321 section 4.2 and RFC 3463; the text is for whoever wrote the mail. Nothing was sent.
    """

    def __init__(self, code: int, status: str, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.status = status


class Method(NamedTuple):
    """One result of `Authentication-Results`, its words in lower case, `properties` as in `header.d`."""

    method: str
    result: str
    properties: Mapping[str, str]


class Letter(msgspec.Struct, frozen=True):
    """What the writer of a mail meant to say."""

    words: str
    """Without what was quoted and without a signature; empty when there is nothing else."""
    pictures: tuple[bytes, ...]
    """Attached on purpose: those of a signature or a decorated page are not among them."""


class Opened(msgspec.Struct, frozen=True):
    """The header of a mail."""

    sender: str
    """The one address of the `From` line. It proves nothing; see `vouched`."""
    message_id: str
    kind: Kind
    vouched: bool
    """Whether the mail system in front has found that the mail does come from the domain of `sender`, or from `sender`."""
    content: bytes

    def letter(self) -> Letter:
        """Take the body apart.

        Raises:
            MailRefusedError: it cannot be read, is too large, or something else than pictures is attached.
        """
        if len(_MULTIPART.findall(self.content)) > MOST_PARTS:
            raise MailRefusedError(554, "5.6.0", "This mail has too many parts. Nothing was sent.")
        try:
            mail = BytesParser(policy=compat32).parsebytes(self.content)
            letter = _letter(list(_leaves(mail)))
        except (MessageError, RecursionError, LookupError, ValueError) as error:
            raise MailRefusedError(554, "5.6.0", "This mail cannot be read. Nothing was sent.") from error
        if not letter.pictures and len(self.content) > MOST_TEXT_BYTES:
            raise MailRefusedError(
                552, "5.3.4", f"A mail without pictures may have {MOST_TEXT_BYTES // 1024} KiB. Nothing was sent."
            )
        return letter


def open_mail(content: bytes, *, mail_from: str, instance: str, authserv_id: str | None) -> Opened:
    """Read the header of a mail.

    Args:
        content: As it came over SMTP, dots removed.
        mail_from: The envelope's sender; empty for the null sender.
        instance: What our own mails carry in `X-Loop`.
        authserv_id: Whose `Authentication-Results` are believed (RFC 8601 section 2.5). None: nobody's.

    Raises:
        MailRefusedError: bare CR or LF; no or more than one author; no Message-ID; a header beyond measure.
    """
    if _BARE.search(content):
        # RFC 5321 section 2.3.8. Servers that disagree about where a mail ends can be made to see two in one.
        raise MailRefusedError(550, "5.6.11", "This mail has a bare CR or LF. Nothing was sent.")
    head = content.partition(b"\r\n\r\n")[0]
    if len(head) > MOST_HEADER_BYTES:
        raise MailRefusedError(554, "5.6.0", "The header of this mail is too long. Nothing was sent.")
    header = HeaderParser(policy=compat32).parsestr(head.decode("ascii", "replace").replace("\r\n", "\n"))
    kind = _kind(header, mail_from, instance)
    authors = header.get_all("From") or []
    sender = _author(authors[0]) if len(authors) == 1 else None
    if sender is None:
        if kind == "bounce":
            sender = ""
        else:
            raise MailRefusedError(550, "5.1.7", "This mail does not have exactly one plain From address. Nothing was sent.")
    ids = [found[0] for value in header.get_all("Message-ID") or [] if (found := _MESSAGE_ID.fullmatch(value.strip()))]
    if len(ids) != 1 and kind != "bounce":
        raise MailRefusedError(550, "5.6.0", "This mail does not have exactly one Message-ID. Nothing was sent.")
    return Opened(
        sender=sender,
        message_id=ids[0] if ids else "",
        kind=kind,
        vouched=authserv_id is not None and vouched(results(header, authserv_id), sender),
        content=content,
    )


def _author(value: str) -> str | None:
    """The address of a From line with one author (RFC 5322 section 3.6.2); None for groups, lists and puzzles."""
    if len(value) > LONGEST_FROM:
        return None
    found = _FROM.fullmatch(_QUOTED.sub("", " ".join(value.split())).strip())
    if found is None:
        return None
    address = found[1] or found[2]
    return address if is_address(address) else None


def _kind(header: Message, mail_from: str, instance: str) -> Kind:
    """What RFC 3834, older customs and the mail itself say about who wrote it."""
    if any(instance.casefold() in value.casefold() for value in header.get_all("X-Loop") or []):
        return "loop"
    return_path = (header.get("Return-Path") or "-").strip()
    local = mail_from.rpartition("@")[0].casefold()
    if not mail_from or return_path == "<>" or header.get_content_type() == "multipart/report" or local == "mailer-daemon":
        return "bounce"
    submitted = (header.get("Auto-Submitted") or "no").partition(";")[0].partition("(")[0].strip().casefold()
    answers = ("X-Autoreply", "X-Autorespond", "X-Auto-Response-Suppress")
    if submitted not in {"no", "auto-generated"} or local in _MACHINES or any(name in header for name in answers):
        return "reply"
    precedence = (header.get("Precedence") or "").strip().casefold()
    if precedence in {"bulk", "list", "junk", "auto_reply"} or "List-Id" in header or "X-Loop" in header:
        return "bulk"
    return "generated" if submitted == "auto-generated" else "person"


# --- who vouches for the sender --------------------------------------------------------------------------------------


def results(header: Message, authserv_id: str) -> list[Method]:
    """What *authserv_id* has found out (RFC 8601 section 2.2).

    Only headers above the second `Received` line count: the others were there before the mail came to the system in front.
    """
    found: list[Method] = []
    received = 0
    for name, value in header.items():
        received += name.casefold() == "received"
        if received > 1:
            break
        if name.casefold() == "authentication-results":
            found += _results(value, authserv_id)
    return found


def _results(value: str, authserv_id: str) -> Iterator[Method]:
    plain = _without_comments(value)
    if plain is None:
        return
    server, *rest = (part.split() for part in plain.split(";"))
    # RFC 8601 section 2.2: the id may be followed by a version, of which there is only 1.
    if not server or server[0].casefold() != authserv_id.casefold() or server[1:] not in ([], ["1"]):
        return
    for words in rest:
        pairs = [word.partition("=") for word in words]
        if pairs and all(equals and said for _, equals, said in pairs):
            method, _, result = pairs[0]
            properties = {name.casefold(): said.casefold() for name, _, said in pairs[1:]}
            yield Method(method.partition("/")[0].casefold(), result.casefold(), properties)


def _without_comments(value: str) -> str | None:
    """*value* with comments taken out and quotes off plain words; None when it is not well formed, or tries to be clever."""
    plain: list[str] = []
    deep = 0
    quoted = False
    for char in " ".join(value.split()):
        if char == "\\":
            return None
        if char == '"' and not deep:
            quoted = not quoted
        elif quoted:
            if char in " ;=()":
                return None
            plain.append(char)
        elif char == "(":
            deep += 1
        elif char == ")":
            deep -= 1
            if deep < 0:
                return None
        elif not deep:
            plain.append(char)
    return None if deep or quoted else "".join(plain)


def vouched(found: list[Method], sender: str) -> bool:
    """Whether one of the results says that a mail comes from the domain of *sender*, or from *sender*.

    DMARC, DKIM and SPF speak for a domain, `auth` for a person. DKIM and SPF count when they are aligned with the From line
    (RFC 7489 section 3.1): the same domain, or for DKIM one that it is a part of. A failed DMARC outweighs everything.
    """
    domain = domain_of(sender)
    if any(one.method == "dmarc" and one.result == "fail" for one in found):
        return False
    return bool(domain) and any(one.result == "pass" and _speaks_for(one, sender.casefold(), domain) for one in found)


def _speaks_for(one: Method, sender: str, domain: str) -> bool:
    said = one.properties
    match one.method:
        case "auth":
            return same(said.get("smtp.auth", ""), sender)
        case "dmarc":
            return said.get("header.from") == domain
        case "dkim":
            signer = said.get("header.d") or said.get("header.i", "").rpartition("@")[2]
            return signer == domain or ("." in signer and domain.endswith("." + signer))
        case "spf":
            return "@" in said.get("smtp.mailfrom", "") and domain_of(said["smtp.mailfrom"]) == domain
        case _:
            return False


# --- the body --------------------------------------------------------------------------------------------------------


class _Leaf(NamedTuple):
    part: Message
    related: bool
    """It decorates a page (RFC 2387) rather than stand for itself."""


def _leaves(part: Message, *, related: bool = False) -> Iterator[_Leaf]:
    """The parts that hold something, in order; what is inside an attached mail is not looked at."""
    if part.is_multipart() and part.get_content_maintype() == "multipart":
        related = related or part.get_content_subtype() == "related"
        for child in part.get_payload():
            if isinstance(child, Message):
                yield from _leaves(child, related=related)
    else:
        yield _Leaf(part, related)


def _letter(leaves: list[_Leaf]) -> Letter:
    if len(leaves) > MOST_PARTS:
        raise MailRefusedError(554, "5.6.0", "This mail has too many parts. Nothing was sent.")
    plain: str | None = None
    page: str | None = None
    pictures: list[bytes] = []
    for part, related in leaves:
        kind = part.get_content_type()
        attached = part.get_content_disposition() == "attachment"
        if kind == "text/plain" and not attached:
            plain = _text(part) if plain is None else plain
        elif kind == "text/html" and not attached:
            page = _text(part) if page is None else page
        elif part.get_content_maintype() == "image":
            if not related:
                pictures.append(_bytes(part))
        elif not related and kind not in _SIGNATURES:
            raise MailRefusedError(554, "5.6.1", f"Only pictures can be attached, not {kind}. Nothing was sent.")
    if len(pictures) > MOST_PICTURES:
        raise MailRefusedError(554, "5.6.1", f"At most {MOST_PICTURES} pictures can be attached. Nothing was sent.")
    # Mail programs that only write pages send an empty plain part along.
    words = only_reply(plain) if plain is not None and plain.strip() else only_reply(words_of_html(page or ""))
    return Letter(words=words, pictures=tuple(pictures))


def _bytes(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _text(part: Message) -> str:
    raw = _bytes(part)
    if len(raw) > MOST_TEXT_BYTES:
        raise MailRefusedError(552, "5.3.4", f"The words of a mail may have {MOST_TEXT_BYTES // 1024} KiB. Nothing was sent.")
    try:
        text = raw.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:
        text = raw.decode("utf-8", "replace")
    text = readable(text.replace("\r\n", "\n"))
    if str(part.get_param("format", "")).casefold() == "flowed":
        return unflow(text, delete_space=str(part.get_param("delsp", "")).casefold() == "yes")
    return text
