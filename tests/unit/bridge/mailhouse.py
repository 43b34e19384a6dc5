"""A mail side and what is around it: a journal on disk, agents, and fakes for chats, texts, media and the smarthost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bridge import events as e
from bridge.channel import ChannelRefusedError
from bridge.journal import Journal, SessionRow, TimelineLine, Unit
from bridge.mail import Mail
from bridge.media_store import MediaRefusedError
from bridge.settings import AgentSettings, MailSettings
from bridge.web.ports import DeskRefusedError
from sms.mail.addresses import reply_address
from sms.mail.sending import Carrier, Undelivered
from sms.mail.server import IN_FRONT

START = 1_700_000_000.0
ANN, BEN = e.AgentId("ann"), e.AgentId("ben")
SESSION = e.SessionId("t0123456789ab")
CUSTOMER = "+15550100123"
OURS = "+15550100200"
KEY = b"a key that is long enough"
DOMAIN = "sms.example"
FRONT = "mx.example"


def settings(**changes: Any) -> MailSettings:
    """Behind a mail system, with a smarthost and one rule for mail-to-SMS."""
    spec: dict[str, Any] = {
        "port": 0,
        "protocol": "smtp",
        "domain": DOMAIN,
        "trusted_authserv_id": FRONT,
        "from_address": "desk@example.com",
        "smarthost": {"host": "127.0.0.1", "port": 25},
        "allow": [{"sender": "crm@example.com", "numbers": ["+1555"], "per_day": 3, "ours": OURS}],
    }
    return MailSettings(**(spec | changes))


AGENTS = (
    AgentSettings(id="ann", name="Ann", queues=(), mail="ann@example.com"),
    AgentSettings(id="ben", name="Ben", queues=(), mail="Ben@example.com", mail_when="always"),
    AgentSettings(id="cyd", name="Cyd", queues=()),
    AgentSettings(id="dan", name="Dan", queues=(), mail="ann@example.com"),
)


class FakeChats:
    """Conversations that remember what was said."""

    def __init__(self) -> None:
        self.said: dict[str, tuple[e.AgentId, e.SessionId, str, tuple[e.Media, ...]]] = {}
        self.agents: dict[e.SessionId, e.AgentId] = {SESSION: ANN}
        self.open_desks: set[e.AgentId] = set()
        self.refusal: str | None = None

    def chat_agent(self, session: e.SessionId) -> e.AgentId | None:
        """Who chats there."""
        return self.agents.get(session)

    def watched(self, agent: e.AgentId) -> bool:
        """Whether a desk is open."""
        return agent in self.open_desks

    async def say(self, agent: e.AgentId, session: e.SessionId, body: str, *, once: str, media: tuple[e.Media, ...]) -> None:
        """Remember it, once."""
        if self.refusal is not None:
            raise DeskRefusedError(self.refusal)
        self.said.setdefault(once, (agent, session, body, media))

    async def transcript(self, session: e.SessionId) -> str | None:
        """A short one."""
        return f"Session: {session}\nCustomer: hello\n" if session == SESSION else None

    @property
    def bodies(self) -> list[str]:
        """What was said, in order."""
        return [body for _, _, body, _ in self.said.values()]


class FakeTexts:
    """A channel that remembers, and refuses one number."""

    def __init__(self) -> None:
        self.sent: dict[str, tuple[str, str, str, str]] = {}

    async def send_sessionless(self, author: str, recipient: str, sender: str, body: str, *, once: str | None = None) -> object:
        """Remember it, once."""
        if recipient.endswith("999"):
            raise ChannelRefusedError("opted_out", "This number has opted out.")
        return self.sent.setdefault(str(once), (author, recipient, sender, body))


class FakeMedia:
    """Takes everything that begins like a PNG."""

    async def put(self, data: bytes) -> e.Media:
        """Keep nothing."""
        if not data.startswith(b"\x89PNG"):
            raise MediaRefusedError("type", "this is no picture")
        return e.Media(digest="0" * 64, content_type="image/png", size=len(data))


class FakeCarrier:
    """A smarthost that can be told to refuse."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, bytes]] = []
        self.outcomes: list[Undelivered] = []
        self.came = asyncio.Event()

    async def hand_over(self, body: bytes, *, mail_from: str, to: str) -> Undelivered | None:
        """Take it, or refuse as told."""
        if self.outcomes:
            return self.outcomes.pop(0)
        self.taken.append((mail_from, to, body))
        self.came.set()
        return None


class MailHouse:
    """The mail side and what is around it."""

    def __init__(
        self,
        folder: Path,
        journal: Journal,
        chosen: MailSettings,
        *,
        carrier: Carrier | None = None,
        in_front: tuple[str, ...] = IN_FRONT,
    ) -> None:
        self.now = START
        self.chats, self.texts, self.carrier = FakeChats(), FakeTexts(), FakeCarrier()
        self.journal = journal
        self.mail = Mail(
            chosen,
            AGENTS,
            brand="Example",
            key=KEY,
            folder=folder / "mail",
            journal=journal,
            chats=self.chats,
            texts=self.texts,
            media=FakeMedia(),
            clock=lambda: self.now,
            carrier=carrier or self.carrier,
            in_front=in_front,
        )

    def address(self, agent: e.AgentId = ANN, session: e.SessionId = SESSION, *, until: float = START + 3600.0) -> str:
        """Where *agent* answers."""
        return reply_address(session, agent, until=until, key=KEY, domain=DOMAIN)

    async def have_session(self) -> None:
        """Put SESSION into the journal."""
        row = SessionRow(state="open", customer=CUSTOMER, our_number=OURS, language="en", opened_at=START, text_state="chatting")
        await self.journal.commit(Unit(session=SESSION, row=row, snapshot=b"{}"))


def text_line(n: int, body: str, **data: Any) -> TimelineLine:
    """A customer's text in the timeline."""
    return TimelineLine(at=START + n, kind="text.received", data={"message": f"m{n}", "body": body, "media": [], **data}, n=n)


@asynccontextmanager
async def mail_house(
    folder: Path, chosen: MailSettings | None = None, *, carrier: Carrier | None = None, in_front: tuple[str, ...] = IN_FRONT
) -> AsyncIterator[MailHouse]:
    """A mail side that listens."""
    async with Journal.open(f"sqlite:///{folder}/journal.db") as journal:
        house = MailHouse(folder, journal, chosen or settings(), carrier=carrier, in_front=in_front)
        started = asyncio.Event()
        task = asyncio.create_task(house.mail.run(started))
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            waiting.cancel()
            task.result()
        try:
            yield house
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
