"""Hands texts to their provider: each at most once, none forgotten.

A text is in the journal before this module hears of it. It is *claimed* (committed as `attempting`) before the provider
is asked, so a crash leaves it in one of three states: not claimed (send it), settled (done), or claimed without an
outcome. The last is never sent again on suspicion: the provider is asked what it has, and only a clear "I do not have it"
puts the text back in line. Until then nothing else goes to that recipient, or an answer would overtake its question.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import structlog

from bridge.events import MessageId, ProviderRef, SessionId, TextAccepted, TextRejected
from bridge.journal import Journal, OutboxNow, OutboxText
from sms.message import DeliveryReport, OutboundText
from sms.provider import Accepted, NotSent, Rejected, SmsProvider, Unknown

Outcome: TypeAlias = TextAccepted | TextRejected
Settle: TypeAlias = Callable[[SessionId | None, Outcome], Awaitable[None]]
"""Where an outcome goes. Returns once the journal has it, and the outbox row with it."""

log = structlog.get_logger()

MOST_AT_ONCE = 32
MOST_READ = 4 * MOST_AT_ONCE
"""Texts that are due and looked at together: several may be for one number, and only one of those can go."""
MOST_ATTEMPTS = 5
FIRST_PAUSE = 2.0
"""Seconds before the second attempt of a text that was refused for now; doubled each time."""
FIRST_LOOK = 0.5
"""Seconds after which a text of unknown outcome is looked up first; the pause doubles. Finding it ends the wait early."""
MISSED_WITHIN = 6 * 3600.0
"""Seconds back from a start in which texts are asked about whose delivery reports may have been missed."""
MOST_MISSED = 500
"""How many of them, the newest: each costs a request."""
OWED = "owed"
"""Author of the one answer to STOP, START or HELP: the only text that goes to a number that has opted out."""


class Outbox:
    """Sends what is due, in order of priority, one text at a time for each recipient so that none overtakes another.

    Args:
        journal: Where the texts are.
        providers: By the name kept with each text.
        settle: Told every outcome.
        clock: Seconds since the epoch.
        reconcile_after: The longest pause in seconds between two look-ups of a claimed text without an outcome.
    """

    def __init__(
        self,
        journal: Journal,
        providers: Mapping[str, SmsProvider],
        settle: Settle,
        *,
        clock: Callable[[], float],
        reconcile_after: float,
    ) -> None:
        self._journal = journal
        self._providers = providers
        self._settle = settle
        self._clock = clock
        self._reconcile_after = reconcile_after
        self._kicked = asyncio.Event()
        self._busy: dict[str, MessageId] = {}
        self._looks: dict[MessageId, tuple[float, float]] = {}
        """When an unknown outcome is looked up next, and the pause after that."""

    def kick(self) -> None:
        """There may be something to send."""
        self._kicked.set()

    @property
    def idle(self) -> bool:
        """Nothing is being handed over at this moment."""
        return not self._busy

    async def has_work(self) -> bool:
        """Something is being handed over, or waits and could be."""
        return not self.idle or bool(_next_for_each(await self._journal.outbox_now(self._clock(), MOST_READ)))

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._kicked.clear()
                try:
                    wait = await self._start_due(tasks)
                except Exception:
                    # The database does not work just now. What has to be sent is in it and waits.
                    log.exception("outbox.unreadable")
                    wait = 1.0
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):  # wait_for may swallow a cancellation before Python 3.12
                        await self._kicked.wait()

    async def catch_up(self, tell: Callable[[DeliveryReport], Awaitable[None]]) -> None:
        """Ask what became of the newest texts of whose end nobody has heard: reports are missed while the process is away."""
        try:
            for name, provider in self._providers.items():
                refs = await self._journal.undecided(name, self._clock() - MISSED_WITHIN, MOST_MISSED)
                for ref in refs:
                    report = await provider.look_up(ref)
                    if report is not None:
                        await tell(report)
                log.info("text.caught_up", provider=name, texts=len(refs))
        except Exception:
            log.exception("text.not_caught_up")

    async def _start_due(self, tasks: asyncio.TaskGroup) -> float:
        """Start whatever can be started; returns the seconds until there may be more, unless kicked."""
        now = self._clock()
        look = await self._journal.outbox_now(now, MOST_READ)
        soonest = self._reconcile_after if look.next_due is None else min(self._reconcile_after, look.next_due - now)
        for text in look.unknown:
            due, _ = self._looks.setdefault(text.outbox.message, (now + FIRST_LOOK, FIRST_LOOK))
            if due <= now:
                self._start(tasks, text, self._reconcile)
            else:
                soonest = min(soonest, due - now)
        self._looks = {text.outbox.message: self._looks[text.outbox.message] for text in look.unknown}
        for text in _next_for_each(look):
            self._start(tasks, text, self._send)
        return max(0.05, soonest)

    def _start(self, tasks: asyncio.TaskGroup, text: OutboxText, job: Callable[[OutboxText], Awaitable[None]]) -> None:
        recipient = text.message.recipient
        if len(self._busy) >= MOST_AT_ONCE or recipient in self._busy:
            return
        self._busy[recipient] = text.outbox.message
        tasks.create_task(self._run(text, job))

    async def _run(self, text: OutboxText, job: Callable[[OutboxText], Awaitable[None]]) -> None:
        try:
            await job(text)
        except Exception:
            # The row keeps its state: not claimed is sent again, claimed is reconciled.
            log.exception("text.stuck", message=text.outbox.message)
            await asyncio.sleep(1.0)
        finally:
            del self._busy[text.message.recipient]
            self.kick()

    async def _send(self, text: OutboxText) -> None:
        row, message, now = text.outbox, text.message, self._clock()
        if row.expires_at is not None and row.expires_at <= now:
            await self._settle(message.session, TextRejected(row.message, "too_late", "expired", "too late to be of use"))
            return
        if message.author != OWED and await self._journal.suppressed(message.recipient, message.sender):
            await self._settle(message.session, TextRejected(row.message, "opted_out", "suppressed", "the number opted out"))
            return
        if not await self._journal.claim_outbox(row.message, now):
            return
        result = await self._providers[message.provider].send(_outbound(text))
        match result:
            case Accepted():
                await self._accepted(text, result)
            case Rejected() if result.retriable and row.attempts + 1 < MOST_ATTEMPTS:
                pause = max(result.retry_after or 0.0, FIRST_PAUSE * 2.0**row.attempts)
                log.info("text.refused_for_now", message=row.message, code=result.code, pause=pause)
                await self._journal.outbox_retry(row.message, self._clock() + pause)
            case Rejected():
                await self._settle(
                    message.session, TextRejected(row.message, result.error_class, result.code, result.explanation)
                )
            case Unknown():
                log.warning("text.outcome_unknown", message=row.message, reason=result.reason)

    async def _reconcile(self, text: OutboxText) -> None:
        row, message = text.outbox, text.message
        _, pause = self._looks.get(row.message, (0.0, FIRST_LOOK))
        pause = min(2 * pause, self._reconcile_after)
        self._looks[row.message] = (self._clock() + pause, pause)
        attempted_at = row.attempted_at or row.created_at
        known = await self._journal.known_refs(message.provider, message.recipient, attempted_at - 3600)
        result = await self._providers[message.provider].reconcile(_outbound(text), attempted_at=attempted_at, known_refs=known)
        match result:
            case Accepted():
                await self._accepted(text, result)
            case NotSent():
                await self._journal.outbox_retry(row.message, self._clock())
            case Unknown():
                return
        log.info("text.reconciled", message=row.message, outcome=type(result).__name__)

    async def _accepted(self, text: OutboxText, result: Accepted) -> None:
        outcome = TextAccepted(text.outbox.message, ProviderRef(result.ref), result.segments)
        await self._settle(text.message.session, outcome)


def _next_for_each(look: OutboxNow) -> list[OutboxText]:
    """What may be sent now: the most urgent recipient first, to each the text that was written first.

    Nothing for those to whom something is on its way, or was refused for now.
    """
    held = look.paused | {text.message.recipient for text in look.unknown}
    oldest: dict[str, OutboxText] = {}
    for text in look.due:
        known = oldest.setdefault(text.message.recipient, text)
        if text.outbox.created_at < known.outbox.created_at:
            oldest[text.message.recipient] = text
    return [text for recipient, text in oldest.items() if recipient not in held]


def _outbound(text: OutboxText) -> OutboundText:
    message = text.message
    return OutboundText(
        message=message.id,
        recipient=message.recipient,
        sender=message.sender,
        body=message.body,
        created_at=message.created_at,
        purpose=message.purpose or "session",
        priority=text.outbox.priority,
        expires_at=text.outbox.expires_at,
    )
