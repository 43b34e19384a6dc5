"""Hands texts to their provider: each at most once, none forgotten, none against the law or faster than its sender may.

A text is in the journal before this module hears of it. It is *claimed* (committed as `attempting`) before the provider
is asked, so a crash leaves it in one of three states: not claimed (send it), settled (done), or claimed without an
outcome. The last is never sent again on suspicion: the provider is asked what it has, and only a clear "I do not have it"
puts the text back in line. Until then nothing else goes to that recipient, or an answer would overtake its question.

With several nodes one of them sends, the holder of the role. A node that stands still (SIGSTOP, a long pause of the machine)
may have lost the role without knowing, so it asks right before each request whether it still has it. What it had claimed stays
claimed then, and the next holder asks the provider, as after a crash. Three things make that safe:

- A claim of another process may be a moment old, and its request on the way still. So "I do not have it" counts only when
  `IN_FLIGHT_FOR` has passed since the claim. (Roles change hands only when their lease has run out, which takes longer; but a
  node that is shut down gives them away at once.)
- Whoever wakes up with an answer that is not "I have it" may be late: the text may have been claimed again. So putting it back
  in line names the attempt that was in vain, and says nothing of a later one.
- "I have it" is true whoever says it, and settles the text.

What is left is a node that stops between asking and the first byte of its request, which no provider without idempotency keys can
be protected from.

Texts that are due are read by the hundred and kept in memory as one line for each recipient. Memory may be behind the
journal; that does no harm, because only a claim counts, and it is refused for a text that is no longer waiting.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from itertools import count
from typing import TypeAlias

import msgspec
import structlog

from bridge.events import SUPPRESSED, MessageId, ProviderRef, SessionId, TextAccepted, TextRejected, TextState
from bridge.journal import Journal, JournalUnavailableError, LineTypeRow, MessageRow, OutboxNow, OutboxRow, OutboxText, Unit
from bridge.media_out import DoesNotFitError, OutPlan
from sms.consent import QUIET_FROM, QUIET_UNTIL, NumberState, Reason, may_text
from sms.errors import Diagnosis, diagnose
from sms.message import DeliveryReport, OutboundText, Purpose
from sms.numbers import day_begins, local_hours, time_zones
from sms.pacing import Later, Pace, Stopped
from sms.provider import Accepted, NotSent, Rejected, SmsProvider, Unknown
from sms.segments import segment

Outcome: TypeAlias = TextAccepted | TextRejected
Settle: TypeAlias = Callable[[SessionId | None, Outcome], Awaitable[None]]
"""Where an outcome goes. Returns once the journal has it, and the outbox row with it."""

Dress: TypeAlias = Callable[[MessageRow, float], OutPlan]
"""Decides how a text with pictures goes out at an attempt, given when that was; raises DoesNotFitError. For the same attempt it
says the same each time, links and all, or a text of unknown outcome would not be recognised and would be sent twice."""

log = structlog.get_logger()

MOST_AT_ONCE = 100
"""Texts being handed over at one time; more at once providers refuse."""
MOST_READ = 5 * MOST_AT_ONCE
"""Texts that are due and looked at together: several may be for one number, and only one of those can go."""
SCARCE = MOST_AT_ONCE // 4
"""With fewer free places than these only what is really the most urgent gets one."""
MOST_ATTEMPTS = 5
FIRST_PAUSE = 2.0
"""Seconds before the second attempt of a text that was refused for now; doubled each time."""
FIRST_LOOK = 0.5
"""Seconds after which a text of unknown outcome is looked up first; the pause doubles. Finding it ends the wait early."""
IN_FLIGHT_FOR = 5.0
"""Seconds after the claim of another process before a provider that does not know the text is believed."""
MISSED_WITHIN = 6 * 3600.0
"""Seconds for which texts are asked about whose delivery reports may have been missed."""
MOST_MISSED = 500
"""How many of them at a start, the newest: each costs a request."""
ASK_EVERY = 600.0
"""Seconds between two rounds of asking. Who has had no report in one of them is asked about in the next."""
MOST_ASKED = 100
"""Texts in each of these rounds."""
DAYS = "outbox.days"
"""Under this key the journal has what each sender has sent today."""
KEEP_DAYS_EVERY = 5.0
"""Seconds; what a crash loses of the counting."""
OWED = "owed"
"""Author of the one answer to STOP, START or HELP: the only text that goes to a number that has opted out."""
LANDLINE = "landline"
"""The kind of line that cannot take texts, as the journal remembers it."""

_WHY: Mapping[Reason, tuple[str, str, str]] = {
    "cannot_text": ("bad_address", "landline", "the number cannot take texts"),
    "opted_out": ("opted_out", SUPPRESSED, "the number opted out"),
    "blocked": ("compliance", "blocked", "the number is blocked"),
    "no_consent": ("compliance", "no_consent", "the customer has not agreed to texts of this kind"),
    "quiet_hours": ("compliance", "quiet_hours", "it would be too late when the night at the recipient's is over"),
}
"""Class, code and words for each reason not to text a number."""


class Outbox:
    """Sends what is due, in order of priority, one text at a time for each recipient so that none overtakes another.

    Args:
        journal: Where the texts are.
        providers: By the name kept with each text.
        settle: Told every outcome.
        clock: Seconds since the epoch.
        reconcile_after: The longest pause in seconds between two look-ups of a claimed text without an outcome.
        pace: How fast each sender may text. None: as fast as it goes, and nobody is stopped.
        dress: How a text with pictures goes out, as MMS or with links; asked when it goes. None: such texts are refused.
        ask_every: Seconds between two rounds of asking about texts of whose end nobody has heard.
        blocked: Numbers that get no texts, beside those on the journal's list.
        mine: Whether it is still this node that sends; asked right before each request.
        poll: Seconds in which texts of other nodes are found of which nobody has told. None: there are no other nodes.
    """

    def __init__(
        self,
        journal: Journal,
        providers: Mapping[str, SmsProvider],
        settle: Settle,
        *,
        clock: Callable[[], float],
        reconcile_after: float,
        pace: Pace | None = None,
        dress: Dress | None = None,
        ask_every: float = ASK_EVERY,
        blocked: Collection[str] = (),
        mine: Callable[[], bool] = lambda: True,
        poll: float | None = None,
    ) -> None:
        self._journal = journal
        self._providers = providers
        self._settle = settle
        self._clock = clock
        self._reconcile_after = reconcile_after
        self._pace = pace
        self._dress = dress
        self._ask_every = ask_every
        self._blocked: Collection[str] = ()
        self.block(blocked)
        self._mine = mine
        self._poll = poll
        self._wake = asyncio.Event()
        self._begin()

    def _begin(self) -> None:
        """Know nothing: the journal says what there is."""
        self._stale = True
        """The journal may know of texts that memory does not."""
        self._lines: dict[str, deque[OutboxText]] = {}
        """What is due, for each recipient in the order it was written; the most urgent recipient first."""
        self._full = False
        """There is more due than was read."""
        self._put_off: dict[str, dict[MessageId, tuple[float, int]]] = {}
        """By recipient, texts that wait for their sender out of sight, until when, and their priority."""
        self._next_due = 0.0
        self._read_again = 0.0
        """Not before this time of the loop, so that reading does not take more than half of it."""
        self._poll_at = 0.0
        """At this time of the loop the journal is looked at without anybody having called."""
        self._days: dict[str, tuple[int, float]] = {}
        self._keep_days_at = 0.0
        self._busy: dict[str, MessageId] = {}
        self._looks: dict[MessageId, tuple[float, float]] = {}
        """When an unknown outcome is looked up next, and the pause after that."""
        self._claimed: set[MessageId] = set()
        """Texts of unknown outcome that this run has claimed itself."""
        self._foreign: dict[MessageId, float] = {}
        """Others, and when this run saw them first."""

    def kick(self) -> None:
        """There may be something to send."""
        self._stale = True
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Nothing is being handed over at this moment."""
        return not self._busy

    async def has_work(self) -> bool:
        """Something is being handed over, or waits and could be; of a node that does not send, only the first."""
        if not self._mine():
            return not self.idle
        return not self.idle or bool(_lines(await self._journal.outbox_now(self._clock(), MOST_READ)))

    def block(self, numbers: Collection[str]) -> None:
        """These numbers get no texts from now on, beside those on the journal's list; nor do those that already wait."""
        self._blocked = frozenset(numbers)

    async def run(self) -> None:
        """Send until cancelled, or until it is another node that sends. May be run again afterwards, and begins anew then."""
        self._begin()
        await self._resume()
        async with asyncio.TaskGroup() as tasks:
            while self._mine():
                self._wake.clear()
                try:
                    wait = await self._round(tasks)
                except JournalUnavailableError as error:
                    # What has to be sent is in the database and waits.
                    log.warning("outbox.unreadable", reason=str(error))
                    self._stale, wait = True, 1.0
                except Exception:
                    log.exception("outbox.unreadable")
                    self._stale, wait = True, 1.0
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):  # wait_for may swallow a cancellation before Python 3.12
                        await self._wake.wait()

    async def catch_up(self, tell: Callable[[DeliveryReport], Awaitable[None]]) -> None:
        """Ask what became of texts of whose end nobody has heard, until cancelled: reports get lost on the way.

        At first of the newest, because nobody was there to hear their reports; then, every `ask_every` seconds, of what was
        undecided a round ago and still is, at growing intervals.

        Args:
            tell: Told what the provider says.
        """
        undecided: dict[str, dict[ProviderRef, int]] = {}
        """By provider, in how many rounds each has been seen."""
        for turn in count():
            try:
                for name, provider in self._providers.items():
                    newest = await self._journal.undecided(name, self._clock() - MISSED_WITHIN, MOST_MISSED)
                    seen = undecided[name] = {ref: undecided.get(name, {}).get(ref, 0) + 1 for ref in newest}
                    # Later on when one, two, four, eight... rounds have gone by.
                    due = [ref for ref, rounds in seen.items() if turn == 0 or _is_power_of_two(rounds - 1)]
                    for ref in due[: MOST_MISSED if turn == 0 else MOST_ASKED]:
                        report = await provider.look_up(ref)
                        if report is not None:
                            await tell(report)
                    log.info("text.caught_up", provider=name, texts=len(due))
            except Exception:
                log.exception("text.not_caught_up")
            await asyncio.sleep(self._ask_every)

    async def reported(self, message: MessageRow, state: TextState, code: str | None) -> None:
        """Learn from a delivery report about the sender and the number.

        Args:
            message: The text.
            state: What is reported of it.
            code: The provider's error code, with `undelivered` and `failed`.
        """
        if state in {"delivered", "read"} and self._pace is not None:
            self._pace.delivered(message.sender)
        elif state in {"undelivered", "failed"} and code is not None:
            await self._learn(message, diagnose(message.provider, code), late=True)

    async def _resume(self) -> None:
        """Go on counting what was sent where the process before this one left off: today, and in these seconds."""
        if self._pace is None:
            return
        try:
            lately = await self._journal.sent_lately(self._clock() - self._pace.window)
            self._pace.recall((sender, max(1, segment(body).segments), at) for sender, body, at in lately)
            kept = await self._journal.value(DAYS)
            if kept is not None:
                self._pace.resume(msgspec.json.decode(kept, type=dict[str, tuple[int, float]]))
        except Exception:
            log.exception("outbox.days_unreadable")

    async def _keep_days(self, now: float) -> None:
        days = {} if self._pace is None else self._pace.days()
        if days != self._days and now >= self._keep_days_at and self._mine():
            self._days, self._keep_days_at = days, now + KEEP_DAYS_EVERY
            await self._journal.commit(Unit(kv={DAYS: msgspec.json.encode(days)}))

    # --- what goes next -----------------------------------------------------------------------------------------------

    async def _round(self, tasks: asyncio.TaskGroup) -> float:
        """Start whatever can be started; returns the seconds until there may be more, unless woken."""
        loop = asyncio.get_running_loop()
        if self._poll is not None and loop.time() >= self._poll_at:
            self._stale, self._poll_at = True, loop.time() + self._poll
        wait = await self._start(tasks, loop)
        return wait if self._poll is None else min(wait, max(0.0, self._poll_at - loop.time()))

    async def _start(self, tasks: asyncio.TaskGroup, loop: asyncio.AbstractEventLoop) -> float:
        free = MOST_AT_ONCE - len(self._busy)
        if free <= 0:
            return self._reconcile_after
        pause = self._read_again - loop.time() if self._stale and self._lines else 0.0
        if pause > 0 and free < SCARCE:
            return pause  # the few places there are should not go to the first that memory knows
        if (self._stale and pause <= 0) or not self._lines:
            began = loop.time()
            await self._read(tasks)
            self._read_again = 2 * loop.time() - began
        now = self._clock()
        chosen, stopped, waits = self._choose(MOST_AT_ONCE - len(self._busy), now)
        for text in [*chosen, *(text for text, _ in stopped)]:
            self._busy[text.message.recipient] = text.outbox.message
        for text, verdict in stopped:
            outcome = TextRejected(text.outbox.message, "sender", verdict.code, verdict.explanation)
            tasks.create_task(self._run(text, self._telling(outcome)))
        await self._hand_over(tasks, chosen)
        await self._keep_days(now)
        if self._full and waits:
            await self._postpone(waits)
        if self._stale and self._lines:
            return max(0.0, self._read_again - loop.time())
        under_way = set(self._busy.values())
        looks = [due for message, (due, _) in self._looks.items() if message not in under_way]
        return max(
            0.05, min([self._reconcile_after, self._next_due - now, *(at - now for at in looks + [at for _, at in waits])])
        )

    async def _read(self, tasks: asyncio.TaskGroup) -> None:
        """Bring memory up to date, and look up what is unknown and due for it."""
        self._stale = False
        now = self._clock()
        look = await self._journal.outbox_now(now, MOST_READ)
        self._lines, self._full = _lines(look, self._busy), len(look.due) == MOST_READ
        await self._reunite({text.outbox.message for text in look.due}, now)
        self._next_due = now + self._reconcile_after if look.next_due is None else look.next_due
        known = {text.outbox.message for text in look.unknown}
        self._looks = {message: due for message, due in self._looks.items() if message in known}
        self._claimed &= known
        self._foreign = {message: self._foreign.get(message, now) for message in known - self._claimed}
        for text in look.unknown:
            due, _ = self._looks.setdefault(text.outbox.message, (now + FIRST_LOOK, FIRST_LOOK))
            if due <= now and text.message.recipient not in self._busy:
                self._busy[text.message.recipient] = text.outbox.message
                tasks.create_task(self._run(text, self._reconcile))

    def _choose(
        self, most: int, now: float
    ) -> tuple[list[OutboxText], list[tuple[OutboxText, Stopped]], list[tuple[OutboxText, float]]]:
        """What goes now, what cannot go and why, and what has to wait for its sender and until when.

        A text waits as long as an older one of the same sender that is as urgent does, so that a long one gets its turn.
        """
        chosen: list[OutboxText] = []
        stopped: list[tuple[OutboxText, Stopped]] = []
        waits: list[tuple[OutboxText, float]] = []
        closed: dict[str, int] = {}
        last: dict[str, float] = {}
        """For senders that have to wait, when the next text may go after those that wait already."""
        for recipient, line in self._lines.items():
            if len(chosen) + len(stopped) >= most:
                break
            if recipient in self._busy:
                continue
            text = line[0]
            message, size = text.message, max(1, segment(text.message.body).segments)
            if self._pace is None or _expired(text, now):
                chosen.append(text)
                continue
            # An urgent text makes those before it urgent: it cannot go until they have.
            priority = min(each.outbox.priority for each in line)
            verdict = self._pace.ask(message.sender, message.recipient, size, priority, now)
            if isinstance(verdict, Stopped):
                stopped.append((text, verdict))
            elif isinstance(verdict, Later) or priority >= closed.get(message.sender, priority + 1):
                closed[message.sender] = min(priority, closed.get(message.sender, priority))
                # The k-th text of a sender has those before it to wait for.
                at = max(verdict.at, last.get(message.sender, 0.0)) if isinstance(verdict, Later) else last[message.sender]
                last[message.sender] = at + size / self._pace.per_second(message.sender)
                waits.append((text, at if text.outbox.expires_at is None else min(at, text.outbox.expires_at)))
            else:
                self._pace.take(message.sender, size, now)
                chosen.append(text)
        return chosen, stopped, waits

    async def _postpone(self, waits: Sequence[tuple[OutboxText, float]]) -> None:
        """Put what waits for its sender out of sight until then, so that texts of others behind it are seen at all."""
        whole = [(each, at) for text, at in waits for each in self._lines.pop(text.message.recipient, ())]
        for text, at in whole:
            self._put_off.setdefault(text.message.recipient, {})[text.outbox.message] = (at, text.outbox.priority)
        await asyncio.gather(*(self._journal.outbox_later(text.outbox.message, at) for text, at in whole))
        self.kick()

    async def _reunite(self, due: Collection[MessageId], now: float) -> None:
        """Let nothing overtake what was put off: later texts to the same person wait with it, an urgent one brings it back."""
        for recipient in self._put_off.keys() & self._lines.keys():
            line, known = self._lines[recipient], self._put_off.pop(recipient)
            away = {message: (at, priority) for message, (at, priority) in known.items() if at > now and message not in due}
            if not away:
                continue
            del self._lines[recipient]
            if any(text.outbox.priority < priority for text in line for _, priority in away.values()):
                await asyncio.gather(*(self._journal.outbox_later(message, now) for message in away))
                self.kick()
            else:
                at = max(at for at, _ in away.values())
                self._put_off[recipient] = away | {text.outbox.message: (at, text.outbox.priority) for text in line}
                await asyncio.gather(*(self._journal.outbox_later(text.outbox.message, at) for text in line))

    async def _hand_over(self, tasks: asyncio.TaskGroup, texts: Sequence[OutboxText]) -> None:
        """Claim *texts* together and start sending; those that may not go are settled instead."""
        if not texts:
            return
        try:
            noted = await self._journal.noted({text.message.recipient for text in texts})
            now = self._clock()
            texts = [OutboxText(msgspec.structs.replace(text.outbox, attempted_at=now), text.message) for text in texts]
            verdicts = await asyncio.gather(*(self._refusal(text, noted, now) for text in texts))
            wanted = [text.outbox.message for text, refusal in zip(texts, verdicts, strict=True) if refusal is None]
            claimed = await self._journal.claim_outbox_many(wanted, now)
            self._claimed |= claimed
        except BaseException:
            for text in texts:
                self._free(text, settled=False)
            raise
        for text, refusal in zip(texts, verdicts, strict=True):
            if isinstance(refusal, TextRejected):
                tasks.create_task(self._run(text, self._telling(refusal)))
            elif text.outbox.message in claimed:
                tasks.create_task(self._run(text, self._send))
            else:
                # It waits for the morning now, or memory was behind: canceled, or claimed by whom nobody has heard of since.
                # Then only the journal can say what may go to this recipient next.
                self._free(text, settled=refusal is not None)

    async def _refusal(self, text: OutboxText, noted: Collection[str], now: float) -> TextRejected | float | None:
        """Why a text must not go, or when it may; None when it may go now.

        *noted* are the numbers of which the journal has to be asked more.
        """
        row, message = text.outbox, text.message
        if _expired(text, now):
            return TextRejected(row.message, "too_late", "expired", "too late to be of use")
        try:
            self._outbound(text)
        except DoesNotFitError as error:
            return TextRejected(row.message, "content", "no_pictures", str(error))
        purpose = message.purpose or "session"
        zones = () if purpose == "session" else time_zones(message.recipient)
        verdict = may_text(
            await self._known(message, purpose, noted),
            purpose,
            local_hours=local_hours(zones, now),
            confirms_opt_out=message.author == OWED,
        )
        if verdict.reason == "quiet_hours":
            opens = day_begins(zones, now, first=QUIET_UNTIL, last=QUIET_FROM)
            if opens is not None and (row.expires_at is None or opens < row.expires_at):
                log.info("text.waits_for_morning", message=row.message, until=opens)
                await self._journal.outbox_later(row.message, opens)
                return opens
        return None if verdict.allowed else TextRejected(row.message, *_WHY[verdict.reason])

    async def _known(self, message: MessageRow, purpose: Purpose, noted: Collection[str]) -> NumberState:
        """What the journal knows of the recipient, as far as it matters for this text."""
        number = message.recipient
        if message.author == OWED:
            return NumberState()
        opted_out = number in noted and await self._journal.suppressed(number, message.sender)
        blocked = number in self._blocked or (number in noted and await self._journal.blocked(number) is not None)
        if purpose == "session":  # whoever is in a call or chat with us can be reached
            return NumberState(opted_out=opted_out, blocked=blocked)
        line, ledger = await asyncio.gather(self._journal.line_type(number), self._journal.consents(number))
        newest = {entry.purpose: entry.granted for entry in ledger if entry.sender in {None, message.sender}}
        return NumberState(
            can_text=line is None or line.kind != LANDLINE,
            opted_out=opted_out,
            blocked=blocked,
            consents=frozenset(purpose for purpose, granted in newest.items() if granted),
            # Whoever has a text of this kind sent answers for it, unless the customer has said no to us.
            vouched=newest.get("care", True),
        )

    # --- one text -----------------------------------------------------------------------------------------------------

    async def _run(self, text: OutboxText, job: Callable[[OutboxText], Awaitable[bool]]) -> None:
        settled = False
        try:
            settled = await job(text)
        except Exception:
            # The row keeps its state: not claimed is sent again, claimed is reconciled.
            log.exception("text.stuck", message=text.outbox.message)
            await asyncio.sleep(1.0)
        finally:
            self._free(text, settled=settled)

    def _free(self, text: OutboxText, *, settled: bool) -> None:
        """Nothing is on its way to this recipient any more; the next text may go when the one before is *settled*."""
        recipient = text.message.recipient
        self._busy.pop(recipient, None)
        line = self._lines.get(recipient)
        if line is not None and line[0].outbox.message == text.outbox.message:
            line.popleft()
        if line is not None and (not settled or not line):
            del self._lines[recipient]
        if not settled:
            self._stale = True
        self._wake.set()

    def _telling(self, outcome: TextRejected) -> Callable[[OutboxText], Awaitable[bool]]:
        """A job that only settles."""

        async def tell(text: OutboxText) -> bool:
            row = await self._journal.outbox(text.outbox.message)
            if row is None or row.state != "pending":
                return row is None or row.state == "done"  # memory was behind: it is settled, perhaps as sent, or on its way
            if not self._mine():
                return False
            await self._settle(text.message.session, outcome)
            return True

        return tell

    async def _send(self, text: OutboxText) -> bool:
        """Send a claimed text. True: its outcome is known for good."""
        row, message = text.outbox, text.message
        if not self._mine():  # no more than this between the question and the request
            log.warning("text.left_to_others", message=row.message)
            return False
        result = await self._providers[message.provider].send(self._outbound(text))
        match result:
            case Accepted():
                await self._accepted(text, result)
            case _ if not self._mine():
                return False  # who sends now may have sent it again
            case Rejected() if result.retriable and row.attempts + 1 < MOST_ATTEMPTS:
                pause = max(result.retry_after or 0.0, FIRST_PAUSE * 2.0**row.attempts)
                log.info("text.refused_for_now", message=row.message, code=result.code, pause=pause)
                await self._journal.outbox_retry(row.message, self._clock() + pause, attempt=row.attempts + 1)
                return False
            case Rejected():
                await self._learn(message, diagnose(message.provider, result.code), late=False)
                await self._settle(
                    message.session, TextRejected(row.message, result.error_class, result.code, result.explanation)
                )
            case Unknown():
                log.warning("text.outcome_unknown", message=row.message, reason=result.reason)
                return False
        return True

    async def _learn(self, message: MessageRow, found: Diagnosis, *, late: bool) -> None:
        """Do what the table of error codes says. An opt-out is learnt by whoever is told the outcome."""
        if found.blames_sender and self._pace is not None:
            log.warning("sender.refused", sender=message.sender, reason=found.explanation)
            self._pace.refused(message.sender, found.explanation, self._clock(), late=late)
        elif found.action == "landline":
            await self._journal.put_line_type(LineTypeRow(number=message.recipient, kind=LANDLINE, at=self._clock()))

    async def _reconcile(self, text: OutboxText) -> bool:
        row, message = text.outbox, text.message
        _, pause = self._looks.get(row.message, (0.0, FIRST_LOOK))
        pause = min(2 * pause, self._reconcile_after)
        self._looks[row.message] = (self._clock() + pause, pause)
        attempted_at = row.attempted_at or row.created_at
        known = await self._journal.known_refs(message.provider, message.recipient, attempted_at - 3600)
        result = await self._providers[message.provider].reconcile(
            self._outbound(text), attempted_at=attempted_at, known_refs=known
        )
        match result:
            case Accepted():
                await self._accepted(text, result)
            case NotSent() if not self._mine():
                return False
            case NotSent() if (arrived := self._arrived_at(row)) > self._clock():
                self._looks[row.message] = (min(arrived, self._looks[row.message][0]), pause)
                return False
            case NotSent() if row.attempts >= MOST_ATTEMPTS:
                words = f"the provider broke off {row.attempts} times"
                await self._settle(message.session, TextRejected(row.message, "temporary", "broken_off", words))
            case NotSent():
                # At once, because somebody may wait for it; then with growing pauses, because the provider is not well.
                pause = 0.0 if row.attempts <= 1 else FIRST_PAUSE * 2.0 ** (row.attempts - 2)
                await self._journal.outbox_retry(row.message, self._clock() + pause, attempt=row.attempts)
            case Unknown():
                return False
        log.info("text.reconciled", message=row.message, outcome=type(result).__name__)
        return False  # what is due to this recipient has to be read anew

    def _arrived_at(self, row: OutboxRow) -> float:
        """When the provider must have got the text if another process has sent it; 0.0: this run claimed it itself."""
        seen = self._foreign.get(row.message)
        # Whichever comes first: clocks of nodes differ, and a claim out of the future is old after a while as well.
        return 0.0 if seen is None else min(seen, row.attempted_at or seen) + IN_FLIGHT_FOR

    async def _accepted(self, text: OutboxText, result: Accepted) -> None:
        if self._pace is not None:
            self._pace.taken(text.message.sender)
        outcome = TextAccepted(text.outbox.message, ProviderRef(result.ref), result.segments)
        await self._settle(text.message.session, outcome)

    def _outbound(self, text: OutboxText) -> OutboundText:
        """The text as its provider gets it.

        Raises:
            DoesNotFitError: Its pictures can go neither as MMS nor as links.
        """
        message = text.message
        if message.media and self._dress is None:
            raise DoesNotFitError("pictures cannot be sent from here")
        attempt = text.outbox.attempted_at or text.outbox.created_at
        dressed = OutPlan(message.body, ()) if not message.media or self._dress is None else self._dress(message, attempt)
        return OutboundText(
            message=message.id,
            recipient=message.recipient,
            sender=message.sender,
            body=dressed.body,
            created_at=message.created_at,
            purpose=message.purpose or "session",
            priority=text.outbox.priority,
            media_urls=dressed.media_urls,
            expires_at=text.outbox.expires_at,
        )


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


def _expired(text: OutboxText, now: float) -> bool:
    return text.outbox.expires_at is not None and text.outbox.expires_at <= now


def _lines(look: OutboxNow, busy: Collection[str] = ()) -> dict[str, deque[OutboxText]]:
    """What may be sent: the most urgent recipient first, to each the texts in the order they were written.

    Nothing for those to whom something went out of which nobody knows, or was refused for now.

    Args:
        look: What the journal has.
        busy: Recipients to whom something is on its way at this moment. What they get next is worth knowing.
    """
    held = look.paused | {text.message.recipient for text in look.unknown if text.message.recipient not in busy}
    lines: dict[str, list[OutboxText]] = {}
    for text in look.due:
        if text.message.recipient not in held:
            lines.setdefault(text.message.recipient, []).append(text)
    return {recipient: deque(sorted(texts, key=lambda text: text.outbox.created_at)) for recipient, texts in lines.items()}
