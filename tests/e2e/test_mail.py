"""Mail with programs that are not ours: swaks signs in and sends, Postfix stands in front and passes on."""

import asyncio
import re
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from pathlib import Path

import pytest
import structlog
import uvloop
from aiosmtpd.smtp import SMTP, Envelope, Session

from bridge.mail import MOST_IN_A_WHILE
from sms.mail.sending import Smarthost
from tests.e2e.postfix import FRONT, MISSING, free_port, postfix
from tests.unit.bridge.mailhouse import ANN, CUSTOMER, DOMAIN, OURS, SESSION, MailHouse, mail_house, settings, text_line

pytestmark = pytest.mark.e2e
SWAKS = shutil.which("swaks")
needs_swaks = pytest.mark.skipif(SWAKS is None, reason="swaks is not installed (scripts/set-up debian)")
needs_postfix = pytest.mark.skipif(bool(MISSING), reason=MISSING)


async def run(*command: str | Path) -> tuple[int, str]:
    """A program's exit status and everything it said."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode("utf-8", "replace")


async def swaks(port: int, *options: str | Path) -> tuple[int, str]:
    """Send one mail."""
    assert SWAKS is not None
    return await run(SWAKS, "--server", f"127.0.0.1:{port}", "--timeout", "20", "--helo", "laptop.example", *options)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    chain, key = folder / "chain.pem", folder / "key.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subject = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*request, *subject, "-keyout", key, "-out", chain], check=True, capture_output=True)
    return chain, key


class Mailbox:
    """Where everybody else's mail ends up."""

    def __init__(self) -> None:
        self.mails: asyncio.Queue[tuple[str, list[str], EmailMessage]] = asyncio.Queue()
        self.refuses = False

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Refuse everybody when told to."""
        if self.refuses:
            return "550 5.1.1 No such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  aiosmtpd's name
        """Keep it."""
        assert isinstance(envelope.content, bytes)
        mail = BytesParser(_class=EmailMessage, policy=default).parsebytes(envelope.content)
        self.mails.put_nowait((str(envelope.mail_from), list(envelope.rcpt_tos), mail))
        return "250 OK"

    async def next(self) -> tuple[str, list[str], EmailMessage]:
        """The next one."""
        async with asyncio.timeout(40):
            return await self.mails.get()


@asynccontextmanager
async def mailbox(tls: tuple[Path, Path] | None = None) -> AsyncIterator[tuple[int, Mailbox]]:
    """A mailbox on a port of its own."""
    box = Mailbox()
    loop = asyncio.get_running_loop()
    context = None
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*tls)
    server = await loop.create_server(
        lambda: SMTP(box, hostname="mailbox.example", loop=loop, tls_context=context, require_starttls=context is not None),
        "127.0.0.1",
        0,
    )
    try:
        yield int(server.sockets[0].getsockname()[1]), box
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def behind_postfix(folder: Path, protocol: str = "lmtp") -> AsyncIterator[tuple[int, MailHouse, Mailbox]]:
    """Our mail side with Postfix in front and as smarthost; Postfix's port, ours, and where all other mail goes."""
    front = free_port()
    smarthost = Smarthost(host="127.0.0.1", port=front, tls="none")
    async with (
        mailbox() as (inbox, box),
        mail_house(folder, settings(protocol=protocol), carrier=smarthost) as house,
        postfix(ours=house.mail.port, protocol=protocol, mailbox=inbox, port=front),
    ):
        yield front, house, box


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what comes by way of other processes."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen")


@needs_swaks
@needs_postfix
async def test_an_agent_is_told_by_mail_and_answers_by_mail(tmp_path: Path) -> None:
    """There and back through Postfix: the notice reaches the mailbox, the answer to its Reply-To becomes the agent's text."""
    async with behind_postfix(tmp_path) as (front, house, box):
        await house.have_session()
        house.mail.line_added(SESSION, text_line(1, "Où est ma commande ?"))
        mail_from, to, notice = await box.next()
        assert to == ["ann@example.com"]
        assert mail_from.endswith(f"@{DOMAIN}")
        assert "Où est ma commande ?" in notice.get_content()
        quoted = "".join(f"> {line}\\n" for line in notice.get_content().splitlines())
        answer = f"It ships on Monday.\\n\\nOn Mon, 23 Nov 2026, Example <desk@example.com> wrote:\\n{quoted}"
        await swaks(front, "--from", "ann@example.com", "--to", str(notice["Reply-To"]), "--body", answer)
        await until(lambda: bool(house.chats.said))
        assert list(house.chats.said.values()) == [(ANN, SESSION, "It ships on Monday.", ())]


@needs_swaks
@needs_postfix
async def test_who_writes_too_much_gets_a_readable_answer(tmp_path: Path) -> None:
    """Our words come back to the agent in Postfix's report."""
    async with behind_postfix(tmp_path) as (front, house, box):
        await swaks(front, "--from", "ann@example.com", "--to", house.address(), "--body", "far too long " * 100)
        mail_from, to, report = await box.next()
        assert (mail_from, to) == ("<>", ["ann@example.com"])
        assert re.search(r"Too long: 1,\d+ characters, and a text may have 1,000", " ".join(report.as_string().split()))
        assert house.chats.said == {}


@needs_swaks
@needs_postfix
@pytest.mark.parametrize("sender", ["ben@example.com", "ann@evil.example"])
async def test_nobody_vouches_for_themselves(tmp_path: Path, sender: str) -> None:
    """A forged Authentication-Results does not get past Postfix, nor does a From that the checked envelope does not back."""
    async with behind_postfix(tmp_path) as (front, house, box):
        forged = f"Authentication-Results: {FRONT}; dkim=pass header.d=example.com"
        header = ["--header", "From: ann@example.com"]
        await swaks(front, "--from", sender, "--to", house.address(), "--add-header", forged, *header, "--body", "I am Ann")
        _, to, report = await box.next()
        assert to == [sender]
        assert "It is not certain that this mail comes from its From address" in " ".join(report.as_string().split())
        assert house.chats.said == {}


@needs_postfix
@pytest.mark.parametrize("protocol", ["lmtp", "smtp"])
async def test_each_of_several_numbers_has_its_own_answer(tmp_path: Path, protocol: str) -> None:
    """Two numbers are texted once each; the one that the rule does not allow comes back, and nothing else does."""
    numbers = [CUSTOMER, "+447700900123", "+15550100124"]
    async with behind_postfix(tmp_path, protocol) as (front, house, box):
        # Not by swaks, which takes a leading plus for an option of its own.
        to = [f"{number}@{DOMAIN}" for number in numbers]
        mail = "From: crm@example.com\r\nMessage-ID: <1@example.com>\r\n\r\nThe pump has stopped.\r\n"
        with smtplib.SMTP() as client:
            await asyncio.to_thread(client.connect, "127.0.0.1", front)
            await asyncio.to_thread(client.sendmail, "crm@example.com", to, mail)
        _, _, report = await box.next()
        await until(lambda: len(house.texts.sent) == 2)
        assert {recipient for _, recipient, _, _ in house.texts.sent.values()} == {CUSTOMER, "+15550100124"}
        assert {(sender, body) for _, _, sender, body in house.texts.sent.values()} == {(OURS, "The pump has stopped.")}
        text = report.as_string()
        assert "+447700900123" in text
        assert f"<{CUSTOMER}@" not in text.partition("Return-Path")[0]
        assert box.mails.empty()


@needs_swaks
@needs_postfix
async def test_machines_that_answer_get_no_answer(tmp_path: Path) -> None:
    """An out-of-office note ends here: no text, and no report that could be answered again."""
    async with behind_postfix(tmp_path) as (front, house, box):
        note = ["--add-header", "Auto-Submitted: auto-replied", "--body", "I am away"]
        await swaks(front, "--from", "ann@example.com", "--to", house.address(), *note)
        await swaks(front, "--from", "<>", "--to", house.address(), "--header", "From: ann@example.com", "--body", "It came back")
        # What is sent after them is taken after them, so they have been seen when it has.
        await swaks(front, "--from", "ann@example.com", "--to", house.address(), "--body", "I am here")
        await until(lambda: bool(house.chats.said))
        assert house.chats.bodies == ["I am here"]
        assert box.mails.empty()


@needs_postfix
async def test_a_notice_that_cannot_be_delivered_is_seen(tmp_path: Path) -> None:
    """The report comes to the address in the notice's envelope, and is in the log with the notice's id."""
    async with behind_postfix(tmp_path) as (_, house, box):
        await house.have_session()
        box.refuses = True
        with structlog.testing.capture_logs() as logs:
            house.mail.line_added(SESSION, text_line(1, "hello"))
            await until(lambda: any(entry["event"] == "mail.bounced" for entry in logs))
        sent = [entry["mail"] for entry in logs if entry["event"] == "mail.sent"]
        assert [entry["mail"] for entry in logs if entry["event"] == "mail.bounced"] == sent


def loops() -> list[Callable[[Coroutine[None, None, None]], None]]:
    """The event loops that people run the server on."""
    return [asyncio.run, uvloop.run]


@needs_swaks
@pytest.mark.parametrize("loop", loops(), ids=["asyncio", "uvloop"])
def test_who_signs_in_needs_no_postfix(
    tmp_path: Path, certificate: tuple[Path, Path], loop: Callable[[Coroutine[None, None, None]], None]
) -> None:
    """A password is only taken behind TLS, and lets nobody write in another name; without one nothing is taken."""
    chain, key = certificate
    chosen = settings(trusted_authserv_id=None, users={"ann@example.com": "correct horse"}, certificate=chain, key=key)

    async def story() -> None:
        async with mail_house(tmp_path, chosen, in_front=()) as house:
            port, to = house.mail.port, ["--to", house.address(), "--body", "On Monday."]
            me = ["--from", "ann@example.com", *to]
            sign_in = ["--auth-user", "Ann@example.com", "--auth-password"]
            encrypted: list[str | Path] = ["--tls-verify", "--tls-ca-path", chain, "--tls"]

            _, said = await swaks(port, *me)
            assert "530 5.7.0 Authentication required" in said
            _, said = await swaks(port, *me, *sign_in, "correct horse", "--auth", "PLAIN")
            assert "AUTH" not in said.partition("EHLO")[2].partition("*** ")[0]
            _, said = await swaks(port, *me, *encrypted, *sign_in, "wrong", "--auth", "PLAIN")
            assert "535 5.7.8" in said
            other = ["--from", "ben@example.com", *to]
            _, said = await swaks(port, *other, *encrypted, *sign_in, "correct horse", "--auth", "PLAIN")
            assert "550 5.7.1 The From address is not the one you signed in with" in said
            assert house.chats.said == {}
            for n, mechanism in enumerate(("PLAIN", "LOGIN"), 1):
                status, said = await swaks(port, *me, *encrypted, *sign_in, "correct horse", "--auth", mechanism)
                assert (status, len(house.chats.said)) == (0, n), said

    loop(story())


@needs_swaks
async def test_a_flood_from_one_mailbox_is_slowed(tmp_path: Path) -> None:
    """The seventh mail in five minutes is put off; who sends mail for people tries again."""
    async with mail_house(tmp_path) as house:
        vouched = ["--add-header", f"Authentication-Results: {FRONT}; dmarc=pass header.from=example.com"]
        status = []
        for _ in range(MOST_IN_A_WHILE + 1):
            code, _ = await swaks(
                house.mail.port, "--from", "ann@example.com", "--to", house.address(), *vouched, "--body", "again"
            )
            status.append(code)
        assert status[:-1] == [0] * MOST_IN_A_WHILE
        assert status[-1] != 0


async def test_the_smarthost_is_known_by_its_certificate(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """With one it trusts a mail leaves, with a stranger's it waits."""
    async with mailbox(certificate) as (port, box):
        trusted = Smarthost(host="127.0.0.1", port=port, tls="starttls", cafile=str(certificate[0]))
        async with mail_house(tmp_path, carrier=trusted) as house:
            await house.have_session()
            await house.mail.send_transcript(SESSION, "archive@example.com")
            _, to, mail = await box.next()
            assert to == ["archive@example.com"]
            assert mail["Auto-Submitted"] == "auto-generated"
        outcome = await Smarthost(host="127.0.0.1", port=port, tls="starttls").hand_over(
            b"x", mail_from="a@b.example", to="c@d.example"
        )
        assert outcome is not None
        assert not outcome.forever
        assert box.mails.empty()
