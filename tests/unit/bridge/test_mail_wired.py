"""Mail as the server wires it: a customer's text goes to a mailbox and the answer to the customer's phone."""

import asyncio
import smtplib
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from bridge import app
from bridge.channel import Channel
from tests.unit.bridge.house import BEN, House
from tests.unit.bridge.story import OURS

FRONT, DOMAIN = "mx.example", "sms.example"
OTHER = "+15550100177"


class Mailbox:
    """A smarthost that keeps what it gets."""

    def __init__(self) -> None:
        self.mails: asyncio.Queue[EmailMessage] = asyncio.Queue()

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  aiosmtpd's name
        """Keep it."""
        assert isinstance(envelope.content, bytes)
        self.mails.put_nowait(BytesParser(_class=EmailMessage, policy=default).parsebytes(envelope.content))
        return "250 OK"


def send(port: int, sender: str, to: str, words: str) -> None:
    """Hand a mail in, as the system in front."""
    head = f"Authentication-Results: {FRONT}; dkim=pass header.d=example.com\r\nFrom: {sender}\r\nMessage-ID: <{words[:2]}@x>\r\n"
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.sendmail(sender, [to], f"{head}\r\n{words}\r\n")


async def test_a_conversation_goes_on_by_mail(tmp_path: Path) -> None:
    """Ben has left the desk: the next text is in the mailbox, the answer on the customer's phone, and a program texts beside."""
    box, loop = Mailbox(), asyncio.get_running_loop()
    smarthost = await loop.create_server(lambda: SMTP(box, hostname="mailbox.example", loop=loop), "127.0.0.1", 0)
    house = House(
        tmp_path,
        agents=[{"id": "ben", "name": "Ben", "queues": ["support_sms"], "mail": "ben@example.com"}],
        mail={
            "port": 0,
            "protocol": "smtp",
            "domain": DOMAIN,
            "trusted_authserv_id": FRONT,
            "from_address": "desk@example.com",
            "smarthost": {"port": smarthost.sockets[0].getsockname()[1]},
            "allow": [{"sender": "crm@example.com", "numbers": ["+1555"], "ours": OURS}],
        },
    )
    async with smarthost, house.open():
        settings = house.runner.settings.mail
        assert settings is not None
        mail = app._mail(settings, house.runner, house.desk, Channel(house.runner), b"a key")
        house.runner.listen(mail)
        started = asyncio.Event()
        running = asyncio.create_task(mail.run(started))
        await started.wait()

        await house.ready(BEN)
        await house.caller.text(OURS, "Where is my order?")
        await house.accept(BEN)
        await house.line("agent.joined")
        await house.caller.text(OURS, "Are you there?")
        async with asyncio.timeout(20):
            notice = await box.mails.get()
        assert "Are you there?" in notice.get_content()

        await asyncio.to_thread(send, mail.port, "ben@example.com", str(notice["Reply-To"]), "On Monday.\r\n\r\n> Are you there?")
        await house.until(lambda: house.received[-1:] == ["On Monday."])

        other = house.network.handset(OTHER)
        await asyncio.to_thread(send, mail.port, "crm@example.com", f"{OTHER}@{DOMAIN}", "The pump has stopped.")
        await house.until(lambda: [text.body for text in other.received] == ["The pump has stopped."])

        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
