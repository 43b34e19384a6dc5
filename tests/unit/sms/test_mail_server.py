"""The server against whoever speaks SMTP badly, or too well."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog

from sms.mail.addresses import TextTo
from sms.mail.reading import MOST_BYTES, MailRefusedError
from sms.mail.server import MOST_CONNECTIONS, MOST_RECIPIENTS, Delivery, Listen, MailServer

TO = "+15550100123@sms.example"
GREETED = "220"


class Box:
    """Takes everything, except what it is told to refuse."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.answer: Exception | str = "Taken"

    async def deliver(self, delivery: Delivery) -> str:
        """Remember it."""
        if isinstance(self.answer, Exception):
            raise self.answer
        self.deliveries.append(delivery)
        return self.answer


class Line:
    """A connection, spoken by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def reply(self) -> str:
        """The next reply, several lines as one text; empty at the end of the connection."""
        lines = []
        async with asyncio.timeout(20):
            while line := (await self._reader.readline()).decode():
                lines.append(line.rstrip())
                if line[3:4] != "-":
                    break
        return "\n".join(lines)

    async def say(self, text: str | bytes) -> str:
        """Send a line, and hear the reply."""
        await self.send(text if isinstance(text, bytes) else text.encode() + b"\r\n")
        return await self.reply()

    async def send(self, raw: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(raw)
        await self._writer.drain()

    async def begin(self, hello: str = "EHLO client.example", *, to: str = TO) -> None:
        """Get as far as DATA."""
        for line in (hello, "MAIL FROM:<ann@example.com>", f"RCPT TO:<{to}>"):
            assert (await self.say(line)).startswith("250")
        assert (await self.say("DATA")).startswith("354")


@asynccontextmanager
async def server(**listen: object) -> AsyncIterator[tuple[MailServer, Box]]:
    """One that listens."""
    box = Box()
    chosen: dict[str, object] = {"protocol": "smtp", "domain": "sms.example", **listen}
    async with MailServer(Listen(**chosen), box) as listening:  # type: ignore[arg-type]
        yield listening, box


@asynccontextmanager
async def line(to: MailServer) -> AsyncIterator[Line]:
    """A connection that has been greeted."""
    reader, writer = await asyncio.open_connection("127.0.0.1", to.port)
    talk = Line(reader, writer)
    assert (await talk.reply()).startswith(GREETED)
    try:
        yield talk
    finally:
        writer.close()


async def test_a_mail_is_handed_on_as_it_came() -> None:
    """Envelope and content, dots at the beginning of a line undone."""
    async with server() as (listening, box), line(listening) as talk:
        await talk.begin()
        assert await talk.say(b"A: b\r\n\r\n..dot\r\n.\r\n") == "250 2.0.0 Taken"
        assert box.deliveries == [
            Delivery(to=TextTo("+15550100123"), mail_from="ann@example.com", signed_in=None, content=b"A: b\r\n\r\n.dot\r\n")
        ]


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\r\n\x00.\r\n", b"\r\n.\x00\r\n", b"\n\n.\r\n"]
)
async def test_only_the_true_end_ends_a_mail(end: bytes) -> None:
    """None of the look-alikes does, so there is never a second mail inside the first."""
    async with server() as (listening, box), line(listening) as talk:
        await talk.begin()
        inside = b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<" + TO.encode() + b">\r\nDATA\r\nevil\r\n"
        assert (await talk.say(b"A: b\r\n\r\nhello" + end + inside + b"\r\n.\r\n")).startswith("250")
        assert (await talk.say("NOOP")).startswith("250")
        assert [delivery.mail_from for delivery in box.deliveries] == ["ann@example.com"]


async def test_who_is_not_welcome_gets_no_further_than_mail() -> None:
    """Neither the system in front nor signed in: nothing can be begun, whatever is tried."""
    async with server(in_front=("192.0.2.0/24",)) as (listening, box), line(listening) as talk:
        assert "AUTH" not in await talk.say("EHLO client.example")
        assert (await talk.say("MAIL FROM:<ann@example.com>")).startswith("530")
        assert (await talk.say(f"RCPT TO:<{TO}>")).startswith("503")
        assert (await talk.say("DATA")).startswith("503")
        assert (await talk.say("AUTH PLAIN AGEAYg==")).startswith("538")
        assert (await talk.say("STARTTLS")).startswith("454")
        assert box.deliveries == []


async def test_nobody_is_told_who_is_here() -> None:
    """VRFY and EXPN say the same of everybody."""
    async with server() as (listening, _), line(listening) as talk:
        await talk.say("EHLO client.example")
        assert await talk.say(f"VRFY {TO}") == await talk.say("VRFY nobody")
        assert (await talk.say("EXPN all")).startswith("502")


async def test_smtp_takes_one_recipient_and_lmtp_answers_for_each() -> None:
    """One answer for several would be wrong for one of them (RFC 2033)."""
    other = "+15550100124@sms.example"
    async with server() as (listening, _), line(listening) as talk:
        await talk.say("EHLO client.example")
        await talk.say("MAIL FROM:<ann@example.com>")
        assert (await talk.say(f"RCPT TO:<{TO}>")).startswith("250")
        assert (await talk.say(f"RCPT TO:<{other}>")).startswith("452")
    async with server(protocol="lmtp") as (listening, box), line(listening) as talk:
        assert (await talk.say("EHLO client.example")).startswith("500")
        await talk.say("LHLO client.example")
        await talk.say("MAIL FROM:<>")
        assert [(await talk.say(f"RCPT TO:<{to}>"))[:3] for to in (TO, other)] == ["250", "250"]
        await talk.say("DATA")
        box.answer = MailRefusedError(550, "5.7.1", "No.")
        assert await talk.say(b"A: b\r\n\r\nx\r\n.\r\n") == "550 5.7.1 No."
        assert await talk.reply() == "550 5.7.1 No."
        for n in range(MOST_RECIPIENTS + 1):
            if n == 0:
                await talk.say("MAIL FROM:<ann@example.com>")
            assert (await talk.say(f"RCPT TO:<{TO}>"))[:3] == ("250" if n < MOST_RECIPIENTS else "452")


@pytest.mark.parametrize("words", ["Nö.", "two\r\n250 lines", "x" * 2000])
async def test_a_reply_is_one_line_of_ascii(words: str) -> None:
    """Whatever words a refusal has."""
    async with server() as (listening, box), line(listening) as talk:
        await talk.begin()
        box.answer = MailRefusedError(554, "5.6.0", words)
        reply = await talk.say(b"A: b\r\n\r\nx\r\n.\r\n")
        assert reply.isascii()
        assert reply.startswith("554 5.6.0 ")
        assert len(reply) <= 510
        assert (await talk.say("NOOP")).startswith("250")


async def test_an_error_of_ours_is_theirs_to_keep() -> None:
    """451 without details; the mail comes again."""
    async with server() as (listening, box), line(listening) as talk:
        await talk.begin()
        box.answer = RuntimeError("secret")
        with structlog.testing.capture_logs() as logs:
            assert await talk.say(b"A: b\r\n\r\nx\r\n.\r\n") == "451 4.3.0 An error of ours; try again later"
        assert [entry["event"] for entry in logs] == ["mail.failed"]


async def test_size_is_bounded_before_and_while_a_mail_comes() -> None:
    """Announced or not."""
    async with server() as (listening, box), line(listening) as talk:
        assert f"SIZE {MOST_BYTES}" in await talk.say("EHLO client.example")
        assert (await talk.say(f"MAIL FROM:<ann@example.com> SIZE={MOST_BYTES + 1}")).startswith("552")
        await talk.begin()
        await talk.send(b"A: b\r\n\r\n" + (b"x" * 98 + b"\r\n") * (MOST_BYTES // 100 + 1))
        assert (await talk.say(b".\r\n")).startswith("552")
        await talk.begin()
        assert (await talk.say(b"A: b\r\n\r\n" + b"x" * 2000 + b"\r\n.\r\n")).startswith("500")
        assert box.deliveries == []


async def test_only_so_many_connections() -> None:
    """One more is told to come back."""
    async with server() as (listening, _):
        held = [await asyncio.open_connection("127.0.0.1", listening.port) for _ in range(MOST_CONNECTIONS)]
        for reader, _ in held:
            assert (await reader.readline()).startswith(b"220")
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        assert (await reader.readline()).startswith(b"421")
        for _, one in [*held, (reader, writer)]:
            one.close()


async def test_users_need_a_certificate() -> None:
    """A password in the clear is nobody's secret; and TLS without users serves nobody."""
    with pytest.raises(ValueError, match="certificate"):
        MailServer(Listen(domain="sms.example", users={"ann@example.com": "x"}), Box())
