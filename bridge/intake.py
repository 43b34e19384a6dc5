"""Where texts and their reports come in: kept first, then fetched, correlated and told to the session they belong to."""

import asyncio
import contextlib
import uuid
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec
import structlog

from bridge import events as e
from bridge.cluster import Cluster
from bridge.correlation import Match, OpenSession, code_in, correlate_text
from bridge.floor import Customer
from bridge.journal import (
    AlreadyHandledError,
    Committed,
    InboundRow,
    Journal,
    JournalUnavailableError,
    MessageRow,
    NoticeRow,
    OutboxRow,
    OvertakenError,
    Suppression,
    Unit,
)
from bridge.ledger import TextEvent, write_text
from bridge.legs import TextLeg
from bridge.live import SessionAwayError
from bridge.media_store import MediaRefusedError, MediaStore
from bridge.metrics import Metrics
from bridge.notices import HookRule, notices_of
from bridge.outbox import OWED
from bridge.session import State, UnexpectedEvent, Words
from bridge.settings import Settings
from bridge.text_leg import ANSWER_AGAIN
from sms import keywords
from sms.message import DeliveryReport, InboundText, RemoteMedia, TextState
from sms.provider import MediaUnavailable, SmsProvider

log = structlog.get_logger()

_TO_JSON = msgspec.json.Encoder()
_FROM_JSON = msgspec.json.Decoder(InboundText)
ATTEMPTS = 5
RETRY_AFTER = 20.0
"""Seconds between attempts to give a kept text to its session."""
AWAY_AGAIN = 0.5
"""Seconds before the second attempt when the journal, or the node that has the session, cannot be reached; doubled each time."""
GIVEN_UP_FOR = 600.0
"""Seconds for which this node leaves a text alone that it could not give to any session; another one may try meanwhile."""
KEEP_WITHIN, KEEP_AGAIN = 5.0, 0.25
"""Seconds for which a text is kept in hand while the journal does not work, and between two attempts to save it. Whoever brings
it waits so long for an answer, which is less than they do for a dead server, and then brings it again or to another node."""
BEFORE_US, BEFORE_US_AGAIN, BEFORE_US_SINCE = 2.0, 0.05, 10.0
"""Seconds for which a text waits for what the same sender wrote before it and another node has; between two looks whether that is
done; and how old that may be. What is older has nobody who deals with it just now."""
CROWD, FEW, MANY = 8, 3, 32
"""While so many texts are being kept, so few are given to their sessions at one time, else so many. Whoever brings texts waits
for an answer, and would bring them again; sessions can wait the moment that a crowd takes."""
MOST_GUESSES, GUESSES_FOR = 5, 86_400.0
"""So many reply codes that nobody has, within so many seconds, and no code of that sender is looked up any more."""
MOST_GUESSERS = 10_000
"""Senders whose wrong codes are counted; of more, those who wrote longest ago are forgotten."""
AGAIN_AFTER = 86_400.0
"""Seconds between two answers of a number that only has one answer."""
SESSIONLESS_FOR = 3 * 86_400.0
"""Seconds for which a text is taken for an answer to a sessionless one."""


class OpenConversation(Protocol):
    """A session that is open on this node."""

    @property
    def state(self) -> State:
        """Its state."""

    def as_open(self) -> OpenSession:
        """What correlation may know of it."""


class Sessions(Protocol):
    """What the intake needs of the runner."""

    journal: Journal
    metrics: Metrics
    cluster: Cluster
    clock: Callable[[], float]
    settings: Settings
    hook_rules: tuple[HookRule, ...]

    @property
    def sms_name(self) -> str:
        """The name of the provider that carries texts."""

    @property
    def sessions(self) -> Mapping[e.SessionId, OpenConversation]:
        """Every open session."""

    def sessions_of(self, customer: str) -> Sequence[OpenConversation]:
        """The open sessions of a number."""

    def session_of_code(self, code: str) -> OpenConversation | None:
        """The open session with this reply code."""

    def is_assigned(self, ours: str) -> bool:
        """Whether somebody takes texts to this number."""

    def words_of(self, ours: str) -> Words:
        """The own texts of one of our numbers."""

    async def customer(self, number: str | None, ours: str) -> Customer:
        """What is known of a number and one of ours."""

    async def open_text_session(
        self, customer: str, ours: str, service: e.Service = "inbound", *, known: Customer | None = None
    ) -> OpenConversation:
        """Begin a session with a text."""

    async def tell(self, session: e.SessionId, event: e.AnyEvent) -> None:
        """Tell a session and wait until it is saved and done; raises UnexpectedEvent."""

    async def commit(self, unit: Unit) -> Committed:
        """Save, with patience."""

    def kick_outbox(self) -> None:
        """There may be a text to send, whichever node does that."""

    async def reported(self, message: MessageRow, state: TextState, code: str | None) -> None:
        """Let whoever sends learn from what became of a text."""

    def only_here(self, key: str) -> AbstractAsyncContextManager[bool]:
        """No other node is in a block of this *key*; gives whether others may have done something meanwhile."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let *work* run beside the sessions."""


class Intake:
    """Implements `bridge.web.ports.Intake` on a runner.

    Args:
        runner: Where the sessions are.
        provider: Who has the pictures of inbound texts.
        media: Where pictures are kept.
    """

    def __init__(self, runner: Sessions, provider: SmsProvider, media: MediaStore) -> None:
        self._runner = runner
        self._journal = runner.journal
        self._metrics = runner.metrics
        self._provider = provider
        self._media = media
        self._waiting: dict[str, list[tuple[InboundText, e.MessageId]]] = {}
        """Texts that are kept and wait to be given to their session, by sender; the first is being dealt with."""
        self._missed: dict[str, deque[float]] = {}
        """When a sender named a reply code that no open session has."""
        self._given_up: dict[e.MessageId, float] = {}
        """Texts that could not be given to a session, and until when they are left alone."""
        self._arriving = 0
        """Texts that are being kept at this moment."""
        self._few, self._many = asyncio.Semaphore(FEW), asyncio.Semaphore(MANY)
        self._ledger = asyncio.Lock()
        """Held from reading a text's state to saving the next, for texts whose session is over."""

    async def take_up(self) -> None:
        """After a start: what was kept and not yet given to a session."""
        await self.sweep(0.0)

    async def sweep(self, older_than: float) -> None:
        """Take up what was kept and nobody has given to a session for *older_than* seconds: whoever was to do it has died.

        Two nodes may work on one text, because the other one is only slow: the journal takes what the first of them makes of it,
        and the second hears that it is done (AlreadyHandledError).
        """
        now = self._runner.clock()
        rows = await self._journal.unhandled_inbound(before=None if older_than <= 0.0 else now - older_than)
        self._given_up = {message: until for message, until in self._given_up.items() if until > now}
        in_hand = {message for waiting in self._waiting.values() for _, message in waiting}
        for row in rows:
            if row.message not in in_hand and row.message not in self._given_up:
                self._take_in(_FROM_JSON.decode(row.raw), row.message)

    async def text_arrived(self, text: InboundText) -> bool:
        """Keep an inbound text; it is on disk when this returns. False when it was a repeat.

        Raises:
            JournalUnavailableError: The journal has not worked for KEEP_WITHIN: whoever brings the text has to keep it.
        """
        message = e.MessageId(f"in-{uuid.uuid4().hex}")
        row = InboundRow(
            provider=text.provider,
            ref=e.ProviderRef(text.ref),
            raw=_TO_JSON.encode(text),
            received_at=text.received_at,
            message=message,
        )
        self._arriving += 1
        try:
            new = await self._keep(row)
        finally:
            self._arriving -= 1
        if not new:
            self._metrics.texts.labels("in", "repeated").inc()
            return False
        self._metrics.texts.labels("in", "received").inc()
        self._take_in(text, message)
        return True

    async def _keep(self, row: InboundRow) -> bool:
        until = asyncio.get_running_loop().time() + KEEP_WITHIN
        while True:
            try:
                return await self._journal.spool_inbound(row)
            except JournalUnavailableError:
                if asyncio.get_running_loop().time() >= until:
                    raise
            await asyncio.sleep(KEEP_AGAIN)  # then the same row, so that one that was saved unheard counts as new

    async def text_reported(self, report: DeliveryReport) -> None:
        """Keep a delivery report; it is on disk when this returns."""
        row = await self._journal.message(e.MessageId(report.message)) if report.message is not None else None
        if row is None:
            row = await self._journal.message_by_ref(report.provider, e.ProviderRef(report.ref))
        if row is None or report.state is None:
            log.warning("report.of_nobody", provider=report.provider, reported=report.reported)
            return
        self._metrics.texts.labels("out", report.state).inc()
        await self._runner.reported(row, report.state, report.code)
        if row.provider_ref is None:
            # The report overtook the provider's own answer, or that answer was lost: now we know that it has the text.
            await self.settle(row.session, e.TextAccepted(row.id, e.ProviderRef(report.ref), row.segments or 0))
        await self._tell_or_save(row.session, e.TextReported(row.id, report.state, report.code), row)

    def _take_in(self, text: InboundText, message: e.MessageId) -> None:
        """Give a text that is safely kept to the session it belongs to, after the texts of the same sender before it."""
        waiting = self._waiting.setdefault(text.sender, [])
        waiting.append((text, message))
        if len(waiting) == 1:
            self._runner.spawn(self._route_texts(text.sender))

    async def _route_texts(self, sender: str) -> None:
        waiting, attempts, pause = self._waiting[sender], Counter[e.MessageId](), AWAY_AGAIN
        while waiting:
            text, message = waiting[0]
            try:
                media = [item for item in [await self._fetch(remote) for remote in text.media] if item is not None]
                await self._let_earlier_pass(text, message)
                async with self._few if self._arriving >= CROWD else self._many:
                    await self._correlate(text, message, tuple(media))
            except AlreadyHandledError:
                log.info("text.handled_elsewhere", message=message)
            except (JournalUnavailableError, SessionAwayError) as error:
                # Nothing is wrong with the text. It waits, and what the same customer wrote after it waits with it.
                log.warning("text.waits", message=message, reason=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_AFTER)
                continue
            except Exception:
                # It stays unhandled in the journal: it is tried again, in its turn, and later on by whoever sweeps.
                log.exception("text.not_routed", message=message, attempt=attempts[message] + 1)
                attempts[message] += 1
                if attempts[message] < ATTEMPTS:
                    await asyncio.sleep(RETRY_AFTER)
                    continue
                self._given_up[message] = self._runner.clock() + GIVEN_UP_FOR
            del waiting[0]
            pause = AWAY_AGAIN
        del self._waiting[sender]

    async def _let_earlier_pass(self, text: InboundText, message: e.MessageId) -> None:
        """Wait for an earlier text of the same sender that another node has: a session is told them in the order they came."""
        loop, since = asyncio.get_running_loop(), self._runner.clock() - BEFORE_US_SINCE
        until = loop.time() + BEFORE_US
        while not self._runner.cluster.alone and loop.time() < until:
            if not await self._journal.has_earlier_inbound(message, text.sender, text.recipient, since):
                return
            await asyncio.sleep(BEFORE_US_AGAIN)

    async def _fetch(self, remote: RemoteMedia) -> e.Media | None:
        for pause in (0.0, 0.5, 2.0):
            await asyncio.sleep(pause)
            try:
                limit = self._runner.settings.media.max_bytes
                return await self._media.put(await self._provider.fetch_media(remote, max_bytes=limit))
            except MediaUnavailable as error:
                log.warning("media.unavailable", reason=str(error), retriable=error.retriable)
                if not error.retriable:
                    return None
            except MediaRefusedError as error:
                log.warning("media.refused", reason=str(error))
                return None
        return None

    async def _correlate(self, text: InboundText, message: e.MessageId, media: tuple[e.Media, ...]) -> None:
        match = correlate_text(text.sender, text.recipient, self._candidates(text), text.body)
        live = self._runner.sessions.get(match.session) if match.session is not None else None
        if (
            live is not None
            and not await self._is_blocked(text.sender)
            and await self._give_text(live, text, message, media, match)
        ):
            return
        # Nothing is open to it, or it closed between the look and the event: the text opens a conversation of its own.
        customer = await self._runner.customer(text.sender, text.recipient)
        async with self._runner.only_here(f"{text.sender} {text.recipient}") as others:
            now_open = self._runner.sessions_of(text.sender) if others else ()
            if any(one.state.id != match.session for one in now_open):  # a text on another node has opened one meanwhile
                found = correlate_text(text.sender, text.recipient, [one.as_open() for one in now_open], text.body)
                one = self._runner.sessions.get(found.session) if found.session is not None else None
                if one is not None and customer.blocked is None and await self._give_text(one, text, message, media, found):
                    return
            if not await self._kept_without_session(text, message, media, customer):
                if match.session is not None:
                    match = Match(None, "certain", "the conversation it belonged to ended in that moment")
                opened = await self._runner.open_text_session(text.sender, text.recipient, known=customer)
                await self._give_text(opened, text, message, media, match)

    async def _is_blocked(self, sender: str) -> bool:
        return sender in self._runner.settings.sms.blocked or await self._journal.blocked(sender) is not None

    def _candidates(self, text: InboundText) -> list[OpenSession]:
        """The open sessions that a text may belong to."""
        found = {live.state.id: live.as_open() for live in self._runner.sessions_of(text.sender)}
        code = code_in(text.body)
        named = None if code is None or self._guesses(text.sender) else self._runner.session_of_code(code)
        if code is not None and named is None:
            self._missed.setdefault(text.sender, deque(maxlen=MOST_GUESSES)).append(self._runner.clock())
        if named is not None:
            found[named.state.id] = named.as_open()
        return list(found.values())

    def _guesses(self, sender: str) -> bool:
        """Whether *sender* has named codes that nobody has too often to be told whose this one is."""
        missed = self._missed.pop(sender, None)
        if missed is None:
            return False
        self._missed[sender] = missed  # the newest last
        while len(self._missed) > MOST_GUESSERS:
            del self._missed[next(iter(self._missed))]
        guessing = len(missed) == MOST_GUESSES and missed[0] > self._runner.clock() - GUESSES_FOR
        if guessing:
            log.info("code.guessed")
        return guessing

    async def _kept_without_session(
        self, text: InboundText, message: e.MessageId, media: tuple[e.Media, ...], customer: Customer
    ) -> bool:
        """Keep a text that no agent is to see: of a blocked number, to a number nobody answers, or to a sessionless text."""
        stopped = customer.opted_out and customer.suspected is None
        # YES answers what was asked, and is a wish for texts only of those who get none.
        said = keywords.classify(text.body, answering=not stopped)
        keyword = text.opt_out_handled or said.keyword
        if customer.blocked is not None:
            log.info("text.blocked", message=message, why=customer.blocked)
            answer = ""
        elif not self._runner.is_assigned(text.recipient):
            log.info("text.to_unassigned_number", message=message)
            unassigned = self._runner.settings.sms.unassigned
            answer = unassigned.text if unassigned.action == "reply" else ""
        elif keyword is None and not said.suspicious and await self._answers_sessionless(text):
            answer = self._runner.settings.sms.sessionless_reply
        else:
            return False
        now = self._runner.clock()
        unit = Unit(inbound_handled=[message], messages=[_inbound(text, message, media, now)])
        self._write_ledger(unit, text, message, keyword, said.suspicious and not customer.opted_out, now)
        if keyword is not None:
            # STOP, START and HELP have their answer wherever they are sent, to a number nobody answers as well.
            if customer.blocked is None and text.opt_out_handled is None and not (keyword == "stop" and stopped):
                words = self._runner.words_of(text.recipient)(keyword, customer.language or "en")
                if not await self._just_said(text, words, now):
                    self._reply(unit, text, words, owed=True, now=now)
        elif answer and not customer.opted_out and not said.suspicious and not await self._answered_lately(text, now):
            self._reply(unit, text, answer, owed=False, now=now)
        unit.notices.extend(self._notices(unit))
        await self._runner.commit(unit)
        self._runner.kick_outbox()
        if keyword in {"stop", "start"}:
            await self._tell_open(text, opted_out=keyword == "stop")
        return True

    async def _tell_open(self, text: InboundText, *, opted_out: bool) -> None:
        """What a blocked number says about being texted holds in its open conversations."""
        for live in self._runner.sessions_of(text.sender):
            if live.state.our_number == text.recipient:
                with contextlib.suppress(UnexpectedEvent):
                    await self._runner.tell(live.state.id, e.OptOutChanged(opted_out))

    def _write_ledger(
        self, unit: Unit, text: InboundText, message: e.MessageId, keyword: e.Keyword | None, suspicious: bool, now: float
    ) -> None:
        """What a text that no session has says about being texted."""
        entry = Suppression(number=text.sender, sender=text.recipient, evidence=f"message {message}", at=now)
        if keyword == "stop":
            unit.suppress.append(entry)
        elif keyword == "start":
            unit.unsuppress.append(entry)
        elif keyword is None and suspicious:
            unit.suppress.append(msgspec.structs.replace(entry, provisional=True))

    async def _answers_sessionless(self, text: InboundText) -> bool:
        last = await self._journal.recent_outbound(text.sender, text.recipient)
        recent = last is not None and last.created_at > self._runner.clock() - SESSIONLESS_FOR
        return recent and last is not None and last.session is None

    async def _just_said(self, text: InboundText, words: str, now: float) -> bool:
        """Whether these words went out a moment ago: two machines would go on for ever."""
        last = await self._journal.recent_outbound(text.sender, text.recipient)
        return last is not None and last.body == words and last.created_at > now - ANSWER_AGAIN

    async def _answered_lately(self, text: InboundText, now: float) -> bool:
        last = await self._journal.recent_outbound(text.sender, text.recipient)
        return last is not None and last.author == "system" and last.session is None and last.created_at > now - AGAIN_AFTER

    def _reply(self, unit: Unit, text: InboundText, body: str, *, owed: bool, now: float) -> None:
        """Answer a text that belongs to no session."""
        reply = e.MessageId(f"re-{uuid.uuid4().hex}")
        unit.messages.append(
            MessageRow(
                id=reply,
                session=None,
                direction="out",
                provider=self._runner.sms_name,
                sender=text.recipient,
                recipient=text.sender,
                body=body,
                state="pending",
                purpose="session",
                author=OWED if owed else "system",
                created_at=now,
            )
        )
        unit.outbox.append(OutboxRow(message=reply, priority=0, created_at=now, due_at=now))

    async def _give_text(
        self, live: OpenConversation, text: InboundText, message: e.MessageId, media: tuple[e.Media, ...], match: Match
    ) -> bool:
        # To anybody but those who have opted out, YES is what they answer us and no wish to have texts again.
        said = keywords.classify(text.body, answering=live.state.text is not TextLeg.OPTED_OUT)
        keyword = said.keyword
        if media and keyword != "stop":
            keyword = None  # a picture says more; but a wish to be left alone is obeyed in any wrapping
        event = e.TextArrived(
            message,
            text.provider,
            e.ProviderRef(text.ref),
            text.sender,
            text.recipient,
            text.body,
            media,
            text.opt_out_handled or keyword,
            text.opt_out_handled is not None,
            match.confidence,
            match.why,
            len(text.media) - len(media),
            said.suspicious and text.opt_out_handled is None,
        )
        try:
            await self._runner.tell(live.state.id, event)
        except UnexpectedEvent:
            return False
        return True

    async def settle(self, session: e.SessionId | None, outcome: e.TextAccepted | e.TextRejected) -> None:
        """Take the outcome of handing a text over; the outbox row is settled with it."""
        state = "accepted" if isinstance(outcome, e.TextAccepted) else "failed"
        self._metrics.texts.labels("out", state).inc()
        row = await self._journal.message(outcome.message)
        assert row is not None, "only texts in the journal are sent"
        await self._tell_or_save(session, outcome, row)

    def _notices(self, unit: Unit, about: MessageRow | None = None) -> list[NoticeRow]:
        """What others are told of a unit outside any session's step."""
        return notices_of(
            None if about is None else about.session,
            None,
            (),
            unit.message_updates,
            unit.messages,
            endpoints=self._runner.hook_rules,
            known=() if about is None else (about,),
            suppress=unit.suppress,
            unsuppress=unit.unsuppress,
        )

    async def _tell_or_save(self, session: e.SessionId | None, event: TextEvent, row: MessageRow) -> None:
        if session is not None and session in self._runner.sessions:
            try:
                await self._runner.tell(session, event)
            except UnexpectedEvent:
                log.debug("text.session_over", message=row.id)
            except SessionAwayError as error:  # whoever takes the session up reads what became of its texts
                log.info("text.session_away", message=row.id, reason=str(error))
            else:
                return
        async with self._ledger:
            while not await self._saved(event, row):
                log.debug("text.overtaken", message=row.id)

    async def _saved(self, event: TextEvent, row: MessageRow) -> bool:
        """Keep what became of a text that no open session has. False: another node has kept more of it meanwhile; look again."""
        current = await self._journal.message(row.id)
        assert current is not None
        assert current.state != "received"
        unit, now = Unit(), self._runner.clock()
        write_text(unit, event, current.state, now)
        unit.message_updates[:] = [msgspec.structs.replace(step, after=current.state) for step in unit.message_updates]
        if isinstance(event, e.TextRejected) and event.error_class == "opted_out" and event.code != e.SUPPRESSED:
            # The session that could have learnt it is over; the number is not to be texted again all the same.
            evidence = f"provider code {event.code}"
            unit.suppress.append(Suppression(number=row.recipient, sender=row.sender, evidence=evidence, at=now))
        unit.notices.extend(self._notices(unit, row))
        try:
            await self._runner.commit(unit)
        except OvertakenError:
            return False
        return True


def _inbound(text: InboundText, message: e.MessageId, media: tuple[e.Media, ...], now: float) -> MessageRow:
    return MessageRow(
        id=message,
        session=None,
        direction="in",
        provider=text.provider,
        provider_ref=e.ProviderRef(text.ref),
        sender=text.sender,
        recipient=text.recipient,
        body=text.body,
        media=media,
        state="received",
        author="customer",
        created_at=now,
    )
