"""Chats by mail: notices of texts that an agent can answer, texts for who can only mail, transcripts.

A mail becomes a text only when it is certain who wrote it: somebody who signed in, or whom the mail system in front vouches
for. An agent writes into one conversation, to an address that was made for the two; everybody else needs a rule that allows
them the number. A mail is answered once what it led to is committed, so whoever sent it need not keep it.
"""

import asyncio
import hashlib
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog

from bridge import events as e
from bridge.channel import ChannelRefusedError
from bridge.journal import Journal, JournalUnavailableError, Reply, TimelineLine
from bridge.media_store import MediaRefusedError
from bridge.settings import AgentSettings, MailAllowSettings, MailSettings, SmarthostSettings
from bridge.web.ports import DeskRefusedError
from sms.mail.addresses import BounceOf, ReplyTo, TextTo, domain_of, reply_address, same, signed_for
from sms.mail.reading import MOST_CHARACTERS, MailRefusedError, Opened, open_mail
from sms.mail.sending import Carrier, Smarthost, Spool, Spooled
from sms.mail.server import IN_FRONT, Delivery, Listen, MailServer
from sms.mail.writing import Sheet, bounce_address, written
from sms.numbers import mask

log = structlog.get_logger()

GATHER = 60.0
"""Seconds after a notice in which further texts of the conversation wait for the next one."""
REPLY_FOR = 3 * 86_400.0
"""Seconds for which a notice can be answered."""
KNOWN_FOR = 7 * 86_400.0
"""Seconds for which a mail is recognised when it comes again."""
MOST_IN_A_WHILE = 6
A_WHILE = 300.0
"""Seconds in which MOST_IN_A_WHILE mails are taken for one conversation: two machines that answer each other are faster."""
_DAY = 86_400.0
_HOW = (
    f"Answer this mail to text back: at most {MOST_CHARACTERS:,} characters, and pictures if you like. "
    f"The address works for you only, for {REPLY_FOR / _DAY:.0f} days."
)
_OK = Reply(status=250, headers={}, body=b"")


REPORT_WAITS = 60.0
"""Seconds before a report that is mailed regularly may leave."""


class Chats(Protocol):
    """What mail needs of the agents' conversations."""

    def chat_agent(self, session: e.SessionId) -> e.AgentId | None:
        """Who chats with the customer of *session*; None when nobody does."""

    def watched(self, agent: e.AgentId) -> bool:
        """Whether a desk of the agent's is open."""

    async def say(self, agent: e.AgentId, session: e.SessionId, body: str, *, once: str, media: tuple[e.Media, ...]) -> None:
        """Text the customer; in the outbox when it returns. Said again under the same name, it is not sent again.

        Raises:
            DeskRefusedError: it cannot be said now. Nothing has changed.
        """

    async def transcript(self, session: e.SessionId) -> str | None:
        """The session as plain text for people, with its head; None when there is no such session."""


class Texts(Protocol):
    """Who sends texts without a conversation: `bridge.channel.Channel`."""

    async def send_sessionless(self, author: str, recipient: str, sender: str, body: str, *, once: str | None = None) -> object:
        """Send, or raise `ChannelRefusedError`. The same `author` and `once` send once."""


class MediaSink(Protocol):
    """Where pictures are kept: `bridge.media_store.MediaStore`."""

    async def put(self, data: bytes) -> e.Media:
        """Keep a picture, or raise `MediaRefusedError`."""


class Mail:
    """The mail side of the server. A `bridge.runner.Listener`; works while `run` does.

    Args:
        settings: The section `mail`.
        agents: Whose addresses are known.
        brand: The name our mails come from.
        key: Secret that signs reply addresses; the same after a restart.
        folder: Where mails of ours wait.
        journal: Remembers what has been taken, and quotas.
        chats, texts, media: The rest of the server.
        clock: Seconds since the epoch.
        carrier: Who takes our mails instead of the smarthost.
        in_front: Networks of the mail system in front.
    """

    def __init__(
        self,
        settings: MailSettings,
        agents: Sequence[AgentSettings],
        *,
        brand: str,
        key: bytes,
        folder: Path,
        journal: Journal,
        chats: Chats,
        texts: Texts,
        media: MediaSink,
        clock: Callable[[], float],
        carrier: Carrier | None = None,
        in_front: tuple[str, ...] = IN_FRONT,
    ) -> None:
        self._settings = settings
        self.know(agents, brand=brand)
        self._tasks: asyncio.TaskGroup | None = None
        self._pending: dict[tuple[e.AgentId, e.SessionId], list[TimelineLine]] = {}
        self._telling: set[tuple[e.AgentId, e.SessionId]] = set()
        self._heard: dict[str, deque[float]] = {}
        self._key = key
        self._journal = journal
        self._chats = chats
        self._texts = texts
        self._media = media
        self._clock = clock
        if carrier is None and settings.smarthost is not None:
            carrier = _smarthost(settings.smarthost, settings.domain)
        self.spool = None if carrier is None else Spool(folder, carrier, clock=clock)
        self._server = MailServer(_listen(settings, in_front), self)

    def know(self, agents: Sequence[AgentSettings], *, brand: str) -> None:
        """These are the agents from now on, and this is the name that our mails come from."""
        self._agents = {e.AgentId(agent.id): agent for agent in agents}
        self._brand = brand

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.port

    async def run(self, started: asyncio.Event | None = None) -> None:
        """Listen and send until cancelled; sets *started* when it listens. Texts that wait for a notice get theirs at the end."""
        if self.spool is not None:
            await self.spool.open()
        async with self._server:
            log.info("mail.listening", port=self.port, protocol=self._settings.protocol)
            try:
                async with asyncio.TaskGroup() as self._tasks:
                    if self.spool is not None:
                        self._tasks.create_task(self.spool.run())
                    if started is not None:
                        started.set()
                    await asyncio.Event().wait()
            finally:
                self._tasks = None
                for agent, session in list(self._pending):
                    await self._notice(agent, session, self._pending.pop((agent, session)))

    # --- Listener

    def line_added(self, session: e.SessionId, line: TimelineLine) -> None:
        """Write to the agent of a text they may not see, and send the transcript of what is over."""
        if self._tasks is None or self.spool is None:
            return
        if line.kind == "text.received" and (agent := self._to_notify(session)) is not None:
            self._pending.setdefault((agent, session), []).append(line)
            if (agent, session) not in self._telling:
                self._telling.add((agent, session))
                self._start(self._notify(agent, session))
        elif line.kind == "session.closed" and self._settings.transcripts_to is not None:
            self._start(self.send_transcript(session, self._settings.transcripts_to))

    def _start(self, work: Coroutine[Any, Any, object]) -> None:
        """Do something beside the rest, which does not end with it."""

        async def guarded() -> None:
            try:
                await work
            except Exception:  # whatever it is, it is one mail
                log.exception("mail.failed")

        assert self._tasks is not None
        self._tasks.create_task(guarded())

    def text_moved(self, session: e.SessionId, message: e.MessageId, state: e.TextState, code: str | None) -> None:
        """Nobody is mailed about ticks."""

    def session_changed(self, session: e.SessionId) -> None:
        """Nobody is mailed about that."""

    def desk_changed(self, agent: e.AgentId) -> None:
        """Nobody is mailed about that."""

    def _to_notify(self, session: e.SessionId) -> e.AgentId | None:
        """Who is to be told of a text in *session* by mail."""
        agent = self._chats.chat_agent(session)
        settings = None if agent is None else self._agents.get(agent)
        if agent is None or settings is None or settings.mail is None or settings.mail_when == "never":
            return None
        return None if settings.mail_when == "away" and self._chats.watched(agent) else agent

    async def _notify(self, agent: e.AgentId, session: e.SessionId) -> None:
        """Tell of a text at once, and of those that follow together, so that a quick customer does not fill a mailbox."""
        try:
            while lines := self._pending.pop((agent, session), None):
                await self._notice(agent, session, lines)
                await asyncio.sleep(GATHER)
        finally:
            self._telling.discard((agent, session))

    async def _notice(self, agent: e.AgentId, session: e.SessionId, lines: Sequence[TimelineLine]) -> None:
        now, to = self._clock(), self._agents[agent].mail
        stored = await self._journal.session(session)
        if stored is None or to is None:
            return
        customer = mask(stored.row.customer)
        # Named by its last line: told twice, it is one mail.
        name = _digest("notice", session, agent, str(lines[-1].n), str(lines[-1].at))
        sheet = Sheet(
            id=name,
            to=to,
            subject=f"Text from {customer}",
            words="\n\n".join([*(_quote(line) for line in lines), _HOW]),
            at=now,
            reply_to=reply_address(session, agent, until=now + REPLY_FOR, key=self._key, domain=self._settings.domain),
            thread=session,
        )
        await self._send(sheet, "notice", now)

    async def send_transcript(self, session: e.SessionId, to: str) -> bool:
        """Mail the transcript of *session*; False when there is no such session, or nobody who takes our mails."""
        stored, text = await self._journal.session(session), await self._chats.transcript(session)
        if stored is None or text is None or self.spool is None:
            return False
        row = stored.row
        missed = row.call_state != "none" and row.first_agent_at is None and row.text_state == "none"
        sheet = Sheet(
            id=_digest("transcript", session, to, str(row.closed_at)),
            to=to,
            subject=f"{'Missed call' if missed else 'Conversation'}: {mask(row.customer)}, {session}",
            words=text,
            at=self._clock(),
            attachments={f"{session}.txt": text},
        )
        await self._send(sheet, "transcript", self._clock())
        return True

    async def send_alert(self, mail: str, to: str, subject: str, words: str) -> None:
        """Mail an alert under an id of its own; the same id again is the same mail. Nothing when nobody takes our mails."""
        now = self._clock()
        if self.spool is not None:
            await self._send(Sheet(id=mail, to=to, subject=subject, words=words, at=now), "alert", now)

    async def send_report(self, sheet: Sheet) -> None:
        """Keep a report until the smarthost takes it; one that waits already is not kept twice.

        It waits a moment, so that whoever asks has written down that it was sent before it can be: a process that ends in between
        finds it here again.

        Raises:
            OSError: It could not be kept.
        """
        assert self.spool is not None
        now, domain = self._clock(), self._settings.domain
        body = written(sheet, sender=self._settings.from_address, name=self._brand, domain=domain)
        mail_from = bounce_address(sheet.id, domain=domain)
        due_at = now + REPORT_WAITS
        await self.spool.put(
            Spooled(id=sheet.id, kind="report", mail_from=mail_from, to=sheet.to, created_at=now, due_at=due_at), body
        )

    async def _send(self, sheet: Sheet, kind: str, now: float) -> None:
        assert self.spool is not None
        domain = self._settings.domain
        body = written(sheet, sender=self._settings.from_address, name=self._brand, domain=domain)
        mail_from = bounce_address(sheet.id, domain=domain)
        try:
            await self.spool.put(
                Spooled(id=sheet.id, kind=kind, mail_from=mail_from, to=sheet.to, created_at=now, due_at=now), body
            )
        except OSError as error:
            log.error("mail.not_kept", mail=sheet.id, kind=kind, error=str(error))  # noqa: TRY400  it is all in the line

    # --- Postbox

    async def deliver(self, delivery: Delivery) -> str:
        """Do what a mail asks for. Implements `sms.mail.server.Postbox`."""
        mail = await asyncio.to_thread(
            open_mail,
            delivery.content,
            mail_from=delivery.mail_from,
            instance=self._settings.domain,
            authserv_id=self._settings.trusted_authserv_id,
        )
        match delivery.to:
            case BounceOf(name):
                if mail.kind != "bounce":
                    raise MailRefusedError(550, "5.1.1", "Nobody reads what is sent to this address.")
                log.warning("mail.bounced", mail=name)
                return "Noted"
            case ReplyTo() as to:
                if mail.kind != "person":
                    log.info("mail.ignored", session=to.session, why=mail.kind)
                    return "Automatic mail is not passed on"
                return await self._once(delivery, mail, partial(self._answer, delivery, to, mail))
            case TextTo() as to:
                if mail.kind in {"bounce", "loop"}:
                    log.info("mail.ignored", why=mail.kind)
                    return "Automatic mail is not passed on"
                if mail.kind in {"reply", "bulk"}:
                    raise MailRefusedError(550, "5.7.1", "Automatic answers and mails to many people are not passed on.")
                return await self._once(delivery, mail, partial(self._text, delivery, to, mail))

    async def _once(self, delivery: Delivery, mail: Opened, act: Callable[[str], Awaitable[None]]) -> str:
        """Do it unless this mail has been here before; when it fails, the mail may come again."""
        self._authenticate(delivery, mail)
        once = _digest("mail", repr(delivery.to), mail.sender.casefold(), mail.message_id)
        now = self._clock()
        taken = await self._journal.reserve(f"mail {once}", once, now + KNOWN_FOR, now)
        if isinstance(taken, Reply):
            return "Was here before, and was not sent again"
        if taken != "new":
            raise MailRefusedError(451, "4.3.0", "This mail is being worked on; try again later.")
        try:
            await act(once)
        except BaseException:
            # Not when the process dies here: then the mail is known under `once` where it went, and not sent again.
            await asyncio.shield(self._journal.release(f"mail {once}"))
            raise
        await self._journal.fill(f"mail {once}", _OK)
        return "On its way as a text"

    def _authenticate(self, delivery: Delivery, mail: Opened) -> None:
        if delivery.signed_in is not None:
            if not same(delivery.signed_in, mail.sender):
                raise MailRefusedError(550, "5.7.1", "The From address is not the one you signed in with. Nothing was sent.")
        elif not mail.vouched:
            log.warning("mail.not_vouched", domain=domain_of(mail.sender))
            raise MailRefusedError(
                550, "5.7.1", "It is not certain that this mail comes from its From address. Nothing was sent."
            )

    async def _answer(self, delivery: Delivery, to: ReplyTo, mail: Opened, once: str) -> None:
        now, session = self._clock(), e.SessionId(to.session)
        agents = [agent for agent, known in self._agents.items() if known.mail and same(known.mail, mail.sender)]
        agent = next((agent for agent in agents if signed_for(to, agent, key=self._key, now=now)), None)
        if agent is None:
            raise MailRefusedError(550, "5.7.1", "This address does not take your mail, or no longer does. Nothing was sent.")
        if self._chats.chat_agent(session) != agent:
            raise MailRefusedError(554, "5.7.1", "This conversation is over, or no longer yours. Nothing was sent.")
        self._count(session, now)
        letter = await asyncio.to_thread(mail.letter)
        words = _fitting(letter.words, needed=not letter.pictures)
        try:
            media = tuple([await self._media.put(picture) for picture in letter.pictures])
        except MediaRefusedError as refusal:
            raise MailRefusedError(554, "5.6.1", _sentence(f"The picture is not taken: {refusal}")) from refusal
        try:
            await self._chats.say(agent, session, words, once=once, media=media)
        except DeskRefusedError as refusal:
            raise MailRefusedError(554, "5.7.1", _sentence(str(refusal))) from refusal
        except JournalUnavailableError as error:
            raise MailRefusedError(451, "4.3.0", "It cannot be saved just now; try again later.") from error
        log.info("mail.said", session=session, agent=agent, pictures=len(media), signed_in=delivery.signed_in is not None)

    def _count(self, session: str, now: float) -> None:
        """Take one of the mails a conversation may have in a while.

        Raises:
            MailRefusedError: there have been too many. It may come again later, so a person's words are not lost.
        """
        for name in [name for name, times in self._heard.items() if times[-1] <= now - A_WHILE]:
            del self._heard[name]
        times = self._heard.setdefault(session, deque(maxlen=MOST_IN_A_WHILE))
        if len(times) == MOST_IN_A_WHILE and times[0] > now - A_WHILE:
            log.warning("mail.too_many", session=session)
            raise MailRefusedError(
                450,
                "4.7.1",
                f"More than {MOST_IN_A_WHILE} mails in {A_WHILE / 60:.0f} minutes for one conversation; try again later.",
            )
        times.append(now)

    async def _text(self, delivery: Delivery, to: TextTo, mail: Opened, once: str) -> None:
        sender = mail.sender.casefold()
        rules = [rule for rule in self._settings.allow if _allows(rule, sender)]
        if not rules:
            raise MailRefusedError(550, "5.7.1", "You may not send texts by mail.")
        rule = next((rule for rule in rules if to.number.startswith(rule.numbers)), None)
        if rule is None:
            raise MailRefusedError(550, "5.7.1", "You may not text this number by mail.")
        letter = await asyncio.to_thread(mail.letter)
        if letter.pictures:
            raise MailRefusedError(554, "5.6.1", "Pictures cannot be sent this way. Nothing was sent.")
        words = _fitting(letter.words, needed=True)
        used = await self._use_quota(sender, rule.per_day)
        if used is None:
            log.warning("mail.quota_used_up", sender=sender)
            raise MailRefusedError(550, "5.7.1", f"Your {rule.per_day} texts for today (UTC) have been sent. This one was not.")
        try:
            await self._texts.send_sessionless(f"mail:{sender}", to.number, rule.ours, words, once=once)
        except ChannelRefusedError as refusal:
            await self._use_quota(sender, rule.per_day, more=-1)
            raise MailRefusedError(554, "5.7.1", _sentence(str(refusal))) from refusal
        except JournalUnavailableError as error:
            raise MailRefusedError(451, "4.3.0", "It cannot be saved just now; try again later.") from error
        log.info("mail.texted", recipient=to.number, sent_today=used, signed_in=delivery.signed_in is not None)

    async def _use_quota(self, sender: str, most: int, *, more: int = 1) -> int | None:
        """Count a text of a sender's, whichever node sends it; how many it makes today (UTC), or None: that would be too many."""
        today = int(self._clock() // _DAY)
        counted: list[int | None] = []

        def count(kept: bytes | None) -> bytes:
            day, sent = msgspec.json.decode(kept or b"[0,0]", type=tuple[int, int])
            sent = max(0, (sent if day == today else 0) + more)
            counted.append(sent if sent <= most else None)
            return msgspec.json.encode((today, min(sent, most)))

        try:
            await self._journal.change_value(f"mail.quota {sender}", count)
        except JournalUnavailableError as error:
            raise MailRefusedError(451, "4.3.0", "It cannot be saved just now; try again later.") from error
        return counted[-1]


def _fitting(words: str, *, needed: bool) -> str:
    if needed and not words:
        raise MailRefusedError(554, "5.6.0", "There are no words above what was quoted. Nothing was sent.")
    if len(words) > MOST_CHARACTERS:
        raise MailRefusedError(
            554, "5.6.0", f"Too long: {len(words):,} characters, and a text may have {MOST_CHARACTERS:,}. Nothing was sent."
        )
    return words


def _sentence(refusal: str) -> str:
    """A refusal of others, as the writer of a mail reads it."""
    return f"{refusal[:1].upper()}{refusal[1:].rstrip('.')}. Nothing was sent."


def _allows(rule: MailAllowSettings, sender: str) -> bool:
    return domain_of(sender) == rule.sender[1:].lower() if rule.sender.startswith("@") else same(rule.sender, sender)


def _quote(line: TimelineLine) -> str:
    """What the customer wrote, as the agent reads it in a mail."""
    body = str(line.data.get("body") or "")
    count = len(line.data.get("media") or ())
    pictures = "" if not count else f"[{count} {'picture or video' if count == 1 else 'pictures or videos'}: see your desk]"
    return "\n".join(part for part in (body, pictures) if part)


def _digest(*parts: str) -> str:
    """A name that the same parts always give: 128 bits in hex."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _listen(settings: MailSettings, in_front: tuple[str, ...]) -> Listen:
    tls = None
    if settings.certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(settings.certificate, settings.key)
    return Listen(
        host=settings.host,
        port=settings.port,
        protocol=settings.protocol,
        domain=settings.domain,
        in_front=in_front,
        users={user: password.get_secret_value() for user, password in settings.users.items()},
        tls=tls,
    )


def _smarthost(settings: SmarthostSettings, domain: str) -> Smarthost:
    return Smarthost(
        host=settings.host,
        port=settings.port,
        tls=settings.tls,
        user=settings.user,
        password=None if settings.password is None else settings.password.get_secret_value(),
        helo=domain,
    )
