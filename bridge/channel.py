"""Texts that begin on our side: by a program, by an agent; lawfully, and into the conversation they belong to."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Literal, Protocol, TypeAlias
from weakref import WeakValueDictionary
from zoneinfo import ZoneInfo

import msgspec

from bridge import events as e
from bridge import intake
from bridge.correlation import correlate_text
from bridge.floor import Customer
from bridge.journal import EVERY_SENDER, MessageRow, MessageUpdate, OutboxRow, Suppression, Unit
from bridge.journal.rows import MessageState
from bridge.legs import LIVE, TextLeg
from bridge.notices import notices_of
from bridge.session import UnexpectedEvent
from bridge.settings import AgentSettings, NumberSettings, Settings
from sms import consent
from sms.consent import NumberState, Part, Verdict
from sms.message import readable
from sms.numbers import day_begins, local_hours, look_up, time_zones
from sms.pacing import Pace

LONGEST_TEXT = 1600
"""Characters of one text: what providers take, and more than anybody reads."""
MOST_AHEAD = 30 * 86_400.0
"""Seconds into the future for which a text may be planned: who knows what is true then."""
ONCE_FOR = 86_400.0
"""Seconds for which the name that an author gave a text means that text."""
API_PRIORITY = 3
"""Behind everything that somebody waits for."""

Rule: TypeAlias = Literal[
    "invalid_number", "cannot_text", "opted_out", "blocked", "no_consent", "quiet_hours", "unknown_sender", "unregistered_sender",
    "unknown_queue", "unknown_agent", "not_your_number", "in_conversation", "empty", "too_long", "too_late", "too_early", "held",
]  # fmt: skip
"""Why a text was not taken."""


class ChannelRefusedError(Exception):
    """A text was not taken. The message says why and what to do, fit to show to an agent. Nothing has changed.

    Args:
        rule: Short and stable.
        words: For people.
        until: When it would be taken; None: time does not help, or nobody knows.
    """

    def __init__(self, rule: Rule, words: str, *, until: float | None = None) -> None:
        super().__init__(words)
        self.rule: Rule = rule
        self.until = until


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """A text that is in the outbox."""

    message: e.MessageId
    session: e.SessionId | None
    """The conversation it went into; None: it is sessionless."""
    state: MessageState
    due_at: float
    """It is not sent before."""
    repeated: bool = False
    """It had been asked for before, and was not taken a second time."""
    missing: tuple[Part, ...] = ()
    """What the first text to a number has to say and this one does not; only for sessionless texts, which go as they are."""


class SenderChoice(msgspec.Struct, frozen=True, kw_only=True):
    """A number of ours that an agent may write from."""

    number: str
    queues: tuple[e.QueueId, ...]
    """The agent's queues that use it; answers go to the one that was chosen."""
    direct: bool
    """It is the agent's own."""
    kind: Literal["long_code", "toll_free", "short_code", "alphanumeric"]
    brand: str | None
    campaign: str | None
    registered: bool
    """False: carriers in the US refuse its texts."""
    per_day: int | None
    """Segments a day, for the whole brand; None: no limit of ours."""
    left_today: int | None
    """What is left of that; None: no limit."""


class Sessions(intake.Sessions, Protocol):
    """What the channel needs of the runner, beside what the intake needs."""

    settings: Settings

    @property
    def sms_name(self) -> str:
        """The name of the provider that carries texts."""

    def follow_settings(self, follower: Callable[[], None]) -> None:
        """Call *follower* after `settings` has become another."""

    async def customer(self, number: str | None, ours: str) -> Customer:
        """What is known of a number and one of ours."""

    def post(self, session: e.SessionId, event: e.AnyEvent) -> None:
        """Put an event into a session's inbox and go on."""


class Channel:
    """Sends a text by somebody's wish.

    Whoever asks hears at once when the law, the customer or the network is against it. What is taken is checked again when it
    is sent: a customer may say STOP in between.

    Args:
        runner: Where the sessions are.
        pace: What the numbers of ours may still send; None: nobody counts.
    """

    def __init__(self, runner: Sessions, *, pace: Pace | None = None) -> None:
        self._runner = runner
        self._pace = pace
        self._journal = runner.journal
        self._take_settings()
        runner.follow_settings(self._take_settings)
        self._pairs: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        """Held by whoever is at work between two numbers, or waits to be."""

    def _take_settings(self) -> None:
        self._settings = settings = self._runner.settings
        self._numbers = {number.number: number for number in settings.numbers}
        self._queues = {queue.id: queue for queue in settings.queues if queue.channel == "sms"}
        self._agents = {agent.id: agent for agent in settings.agents}

    async def send(
        self,
        author: str,
        recipient: str,
        sender: str,
        body: str,
        *,
        purpose: e.Purpose = "care",
        media: tuple[e.Media, ...] = (),
        queue: str | None = None,
        agent: str | None = None,
        due_at: float | None = None,
        expires_at: float | None = None,
        ticket: str | None = None,
        once: str | None = None,
    ) -> Sent:
        """Text a customer; an answer reaches an agent.

        The text goes into the conversation that is open between the two numbers, or opens one.

        Args:
            author: `api:<key name>`, or who else it is from.
            recipient: The customer's number, E.164 or as written in `settings.country`.
            sender: A number of ours.
            body: The words.
            purpose: What the text is for: `care` needs some consent, `marketing` its own, `session` is part of a contact that
                the customer is in.
            media: What goes with it.
            queue: The queue for texts that has the answer; None: the number's.
            agent: Who should have the answer; None: whoever takes the queue's chats.
            due_at: Not before; None: now.
            expires_at: After that it is dropped; None: it is never too late.
            ticket: What it is about in the author's own books; agents see it.
            once: The author's name for this text; the same name again is the same text, asked for twice.

        Raises:
            ChannelRefusedError: It was not taken.
        """
        number = self._number(recipient)
        words = self._checked(number, sender, body, media)
        if queue is not None and queue not in self._queues:
            raise ChannelRefusedError(
                "unknown_queue", f"There is no queue {queue!r} for texts; there are: {_list(self._queues)}."
            )
        if queue is None and agent is None and not self._runner.is_assigned(sender):
            raise ChannelRefusedError(
                "unknown_queue", f"Nobody takes answers to {sender}: name a queue or an agent, or send it sessionless."
            )
        if agent is not None and self._chat_queue(agent) is None:
            raise ChannelRefusedError("unknown_agent", f"There is no agent {agent!r} who takes texts.")
        if agent is not None and queue is None:
            queue = self._queue_of(agent, sender)
        async with self._alone(number, sender):
            message, known = await self._named(author, once)
            if known is not None:
                return known
            purpose = self._purpose(purpose, due_at)
            due = await self._when(number, sender, purpose, due_at, expires_at)
            event = e.ApiSaid(
                message,
                author,
                words,
                purpose,
                media,
                None if agent is None else e.AgentId(agent),
                None if queue is None else e.QueueId(queue),
                None if due <= self._runner.clock() else due,
                expires_at,
                ticket,
            )
            session = await self._into_session(number, sender, event)
        row = await self._journal.message(message)
        if row is None:
            raise ChannelRefusedError(
                "held", "An agent is to judge first whether the customer's last words meant STOP; try again when they have."
            )
        return Sent(message=message, session=session, state=row.state, due_at=due)

    async def send_sessionless(
        self,
        author: str,
        recipient: str,
        sender: str,
        body: str,
        *,
        purpose: e.Purpose = "care",
        media: tuple[e.Media, ...] = (),
        due_at: float | None = None,
        expires_at: float | None = None,
        once: str | None = None,
    ) -> Sent:
        """Text a customer without a conversation: an answer gets a canned reply at most, and reaches no agent.

        The text goes out as it is. `Sent.missing` says what it should have said if it is the first one to this number.
        Arguments as for `send`.

        Raises:
            ChannelRefusedError: It was not taken.
        """
        number = self._number(recipient)
        words = self._checked(number, sender, body, media)
        async with self._alone(number, sender):
            message, known = await self._named(author, once)
            if known is not None:
                return known
            purpose = self._purpose(purpose, due_at)
            due = await self._when(number, sender, purpose, due_at, expires_at)
            introduced = (await self._runner.customer(number, sender)).introduced
            missing = consent.compliance_parts(words, brand=self._settings.brand)
            row = MessageRow(
                id=message,
                session=None,
                direction="out",
                provider=self._runner.sms_name,
                sender=sender,
                recipient=number,
                body=words,
                media=media,
                state="pending",
                purpose=purpose,
                author=author,
                preset=None if missing else "outbound",  # it introduces us as well as that one would
                created_at=self._runner.clock(),
            )
            line = OutboxRow(message=message, priority=API_PRIORITY, created_at=row.created_at, due_at=due, expires_at=expires_at)
            notices = notices_of(None, None, (), (), [row], endpoints=self._runner.hook_rules)
            await self._runner.commit(Unit(messages=[row], outbox=[line], notices=notices))
        self._runner.kick_outbox()
        return Sent(message=message, session=None, state="pending", due_at=due, missing=() if introduced else missing)

    async def cancel(self, message: e.MessageId) -> bool:
        """Never send a text that waits for its time. False: it has been tried or is over, or there is no such text."""
        now = self._runner.clock()
        if not await self._journal.cancel_scheduled(message, now):
            return False
        row = await self._journal.message(message)
        assert row is not None, "what waits is in the journal"
        if row.session is not None and row.session in self._runner.sessions:
            self._runner.post(row.session, e.TextReported(message, "canceled", "canceled"))
        else:
            step = MessageUpdate(id=message, state="canceled", at=now)
            notices = notices_of(row.session, None, (), [step], (), endpoints=self._runner.hook_rules, known=[row])
            await self._runner.commit(Unit(notices=notices))
        return True

    async def open_by_agent(
        self,
        agent: e.AgentId,
        recipient: str,
        sender: str,
        queue: e.QueueId | None,
        body: str,
        preset: str | None = None,
        media: tuple[e.Media, ...] = (),
    ) -> e.SessionId:
        """Begin a conversation; the chat is the agent's at once. Who does not know us reads the opt-in text first.

        When the agent has a chat with that number already, the text goes there. Without a *queue* the first one that uses the
        number is meant.

        Raises:
            ChannelRefusedError: The message is for the agent.
        """
        choice = self._choice_of(agent, sender, queue)
        queue = queue or choice.queues[0]
        number = await self.may_open(agent, recipient, sender)
        words = self._checked(number, sender, body, media)
        async with self._alone(number, sender):
            mine = self._conversation_of(agent, number, sender)
            if mine is not None:
                event: e.AnyEvent = e.AgentSaid(agent, words, preset, media=media)
            else:
                mine = (await self._runner.open_text_session(number, sender, "outbound")).state.id
                event = e.AgentOpened(agent, self._agents[agent].name, queue, words, preset, media)
            try:
                await self._runner.tell(mine, event)
            except UnexpectedEvent as refusal:
                raise ChannelRefusedError("in_conversation", str(refusal)) from refusal
        return mine

    async def may_open(self, agent: e.AgentId, recipient: str, sender: str) -> str:
        """Whether an agent may begin a conversation at this moment.

        Returns:
            The customer's number, E.164.

        Raises:
            ChannelRefusedError: The message is for the agent.
        """
        self._choice_of(agent, sender, None)
        number = self._number(recipient)
        self._check_sender(number, sender)
        # An agent who writes to one person stands for it that this person may be written to.
        verdict = await self.may_text(number, sender, "care")
        if not verdict.allowed:
            raise await self._refusal(verdict, number, sender, "care")
        self._conversation_of(agent, number, sender)
        return number

    def _choice_of(self, agent: e.AgentId, sender: str, queue: e.QueueId | None) -> SenderChoice:
        choice = next((one for one in self.senders_for(agent) if one.number == sender), None)
        if choice is None or (queue is not None and queue not in choice.queues):
            raise ChannelRefusedError("not_your_number", f"{sender} is no number that {queue or 'you'} may write from.")
        return choice

    def senders_for(self, agent: e.AgentId) -> tuple[SenderChoice, ...]:
        """The numbers an agent may write from, in the order of the settings; those of several queues once."""
        known = self._agents.get(agent)
        if known is None:
            return ()
        choices = []
        for number in self._settings.numbers:
            direct = number.agent == known.id
            queues = tuple(e.QueueId(name) for name in known.queues if self._writes_from(name, number))
            if direct and not queues and (own := self._settings.chat_queue_of(known)) is not None:
                queues = (e.QueueId(own),)
            if queues and (direct or number.agent is None):
                choices.append(self._choice(number, queues, direct=direct))
        return tuple(choices)

    def left_today(self, number: str) -> int | None:
        """Segments that one of our numbers may still send today; None: nothing limits it."""
        states = () if self._pace is None else self._pace.states(self._runner.clock())
        for state in states:
            if state.facts.number == number and state.facts.per_day is not None:
                return max(0, state.facts.per_day - state.used_today)
        return None

    async def may_text(self, number: str, sender: str, purpose: e.Purpose) -> Verdict:
        """Whether *number* may be texted from *sender* at this moment, and the first reason why not.

        Who asks vouches that the customer wants to hear from us, unless our ledger says that they do not; only `marketing`
        needs a consent that we have on record.
        """
        return await self._verdict(number, sender, purpose, self._runner.clock())

    async def opt_out(self, number: str, sender: str | None, evidence: str) -> None:
        """No more texts to *number*, from *sender* or (None) from any number of ours, until it wants them again.

        Raises:
            ChannelRefusedError: *sender* is none of our numbers.
        """
        self._check_ours(sender)
        entry = Suppression(number=number, sender=sender or EVERY_SENDER, evidence=evidence, at=self._runner.clock())
        telling = self._open_with(number, sender)
        rules = () if telling else self._runner.hook_rules  # a session tells of it itself
        notices = notices_of(None, None, (), (), (), endpoints=rules, suppress=[entry])
        await self._runner.commit(Unit(suppress=[entry], notices=notices))
        for session in telling:
            self._runner.post(session, e.OptOutChanged(opted_out=True))

    async def opt_in(self, number: str, sender: str | None, evidence: str) -> None:
        """*number* wants texts again, from *sender* or (None) from all our numbers.

        Raises:
            ChannelRefusedError: *sender* is none of our numbers.
        """
        self._check_ours(sender)
        told = Suppression(number=number, sender=sender or EVERY_SENDER, evidence=evidence, at=self._runner.clock())
        lifted = [told, *(_of(told, one) for one in (EVERY_SENDER, *self._numbers) if sender is None and one != told.sender)]
        kept: list[Suppression] = []
        every = [holds for holds, entry in await self._journal.suppressions(number) if entry.sender == EVERY_SENDER]
        if sender is not None and every and every[-1]:
            # What held for all our numbers goes on for each of the others.
            lifted.append(_of(told, EVERY_SENDER))
            kept = [_of(told, one) for one in self._numbers if one != sender]
        telling = self._open_with(number, sender)
        rules = () if telling else self._runner.hook_rules
        notices = notices_of(None, None, (), (), (), endpoints=rules, unsuppress=[told])
        await self._runner.commit(Unit(suppress=kept, unsuppress=lifted, notices=notices))
        for session in telling:
            self._runner.post(session, e.OptOutChanged(opted_out=False))

    def _open_with(self, number: str, sender: str | None) -> list[e.SessionId]:
        """The open sessions between a number and one of ours, or (None) any."""
        return [live.state.id for live in self._runner.sessions_of(number) if sender in {None, live.state.our_number}]

    # --- how

    async def _into_session(self, number: str, sender: str, event: e.ApiSaid) -> e.SessionId:
        match = correlate_text(number, sender, [live.as_open() for live in self._runner.sessions_of(number)])
        if match.session is not None:
            try:
                await self._runner.tell(match.session, event)
            except UnexpectedEvent as refusal:
                if match.session in self._runner.sessions:
                    raise ChannelRefusedError("held", str(refusal)) from refusal
                # It ended in this moment: the text opens a conversation of its own.
            else:
                return match.session
        opened = (await self._runner.open_text_session(number, sender, "api")).state.id
        try:
            await self._runner.tell(opened, event)
        except UnexpectedEvent as refusal:
            raise ChannelRefusedError("held", str(refusal)) from refusal
        return opened

    def _conversation_of(self, agent: e.AgentId, number: str, sender: str) -> e.SessionId | None:
        """The chat this agent has with the number already; None: there is none.

        Raises:
            ChannelRefusedError: Somebody else is talking to the customer, or about to.
        """
        mine = None
        for live in self._runner.sessions_of(number):
            state = live.state
            if state.call in LIVE:
                who = "with " + state.names.get(state.agent, state.agent) if state.agent is not None else "with us"
                raise ChannelRefusedError(
                    "in_conversation", f"{number} is on the phone {who} now; text them in that conversation."
                )
            if state.text is TextLeg.QUEUED:
                where = state.chat_queue or "line"
                raise ChannelRefusedError("in_conversation", f"{number} waits in {where} for an agent already; take that chat.")
            if state.text is TextLeg.CHATTING and state.chat_agent != agent:
                other = state.names.get(state.chat_agent, state.chat_agent) if state.chat_agent is not None else "a colleague"
                raise ChannelRefusedError("in_conversation", f"{other} is in conversation with {number} now.")
            if state.text is TextLeg.CHATTING and state.our_number == sender:
                mine = state.id
        return mine

    async def _named(self, author: str, once: str | None) -> tuple[e.MessageId, Sent | None]:
        """The id of a text, and what became of it when its author asked for it before.

        The id is made of the name, so that no crash and no race can make two texts of one.
        """
        fresh = e.MessageId(f"api-{uuid.uuid4().hex}")
        if once is None:
            return fresh, None
        message = e.MessageId(f"api-{hashlib.sha256(f'{author} {once}'.encode()).hexdigest()[:32]}")
        row, line = await self._journal.message(message), await self._journal.outbox(message)
        if row is None or line is None:
            return message, None
        if row.created_at + ONCE_FOR <= self._runner.clock():
            return fresh, None
        return message, Sent(message=message, session=row.session, state=row.state, due_at=line.due_at, repeated=True)

    @asynccontextmanager
    async def _alone(self, number: str, sender: str) -> AsyncIterator[None]:
        """One text at a time between two numbers, or two of them would open two conversations."""
        lock = self._pairs.get((number, sender))
        if lock is None:
            lock = self._pairs[number, sender] = asyncio.Lock()
        async with lock, self._runner.only_here(f"{number} {sender}"):
            yield

    # --- whether

    def _number(self, written: str) -> str:
        known = look_up(written, region=self._settings.country)
        if known.e164 is None:
            raise ChannelRefusedError("invalid_number", f"{written!r} is not a telephone number; write it like +15550100123.")
        return known.e164

    def _checked(self, number: str, sender: str, body: str, media: Sequence[e.Media]) -> str:
        """What is wrong with a text whoever sends it; the words as they are sent."""
        self._check_sender(number, sender)
        words = readable(body).strip()
        if not words and not media:
            raise ChannelRefusedError("empty", "There is nothing to send.")
        if len(words) > LONGEST_TEXT:
            raise ChannelRefusedError("too_long", f"A text may have {LONGEST_TEXT:,} characters; this one has {len(words):,}.")
        return words

    def _check_ours(self, sender: str | None) -> None:
        if sender is not None and sender not in self._numbers:
            raise ChannelRefusedError("unknown_sender", f"{sender} is none of our numbers; there are: {_list(self._numbers)}.")

    def _check_sender(self, number: str, sender: str) -> None:
        self._check_ours(sender)
        if not self._numbers[sender].sender.registered and look_up(number).country == "US":
            raise ChannelRefusedError(
                "unregistered_sender", f"{sender} is not registered with the carriers in the US, which would refuse its texts."
            )

    def _purpose(self, purpose: e.Purpose, due_at: float | None) -> e.Purpose:
        """What a text is for. One that is planned for later is no part of a contact that the customer is in now."""
        planned = due_at is not None and due_at > self._runner.clock()
        return "care" if purpose == "session" and planned else purpose

    async def _when(self, number: str, sender: str, purpose: e.Purpose, due_at: float | None, expires_at: float | None) -> float:
        """When a text goes out: now, when it was asked for, or when the quiet hours end.

        Raises:
            ChannelRefusedError: It may not go, or not in time.
        """
        now = self._runner.clock()
        due = max(now, due_at or now)
        if due > now + MOST_AHEAD:
            raise ChannelRefusedError("too_early", f"A text may be planned {MOST_AHEAD / 86_400:.0f} days ahead.")
        zones = time_zones(number)
        verdict = await self._verdict(number, sender, purpose, due)
        if verdict.reason == "quiet_hours":
            opens = opens_at(zones, due)
            if opens is None or (expires_at is not None and expires_at <= opens):
                raise await self._refusal(verdict, number, sender, purpose)
            due = opens
        elif not verdict.allowed:
            raise await self._refusal(verdict, number, sender, purpose)
        if expires_at is not None and expires_at <= due:
            raise ChannelRefusedError("too_late", "It would be too late before it could be sent.")
        return due

    async def _verdict(self, number: str, sender: str, purpose: e.Purpose, at: float) -> Verdict:
        customer = await self._runner.customer(number, sender)
        line = await self._journal.line_type(number)
        state = NumberState(
            can_text=customer.number.can_text and (line is None or line.kind != "landline"),
            opted_out=customer.opted_out,
            blocked=customer.blocked is not None,
            informed=customer.introduced,
            consents=frozenset(one for one in _PURPOSES if one in customer.consent),
            vouched="care" not in customer.refused,
        )
        return consent.may_text(state, purpose, local_hours=local_hours(time_zones(number), at))

    async def _refusal(self, verdict: Verdict, number: str, sender: str, purpose: e.Purpose) -> ChannelRefusedError:
        now, zones = self._runner.clock(), time_zones(number)
        match verdict.reason:
            case "opted_out":
                entry = await self._journal.suppression(number, sender)
                since = "" if entry is None else f" on {_day(entry.at, zones)}"
                return ChannelRefusedError(
                    "opted_out", f"{number} asked us to stop texting{since}. Only a START of theirs opens it again."
                )
            case "blocked":
                return ChannelRefusedError("blocked", f"{number} is on the blocklist; take it off first.")
            case "cannot_text":
                return ChannelRefusedError("cannot_text", f"{number} cannot receive texts; call it instead.")
            case "no_consent":
                return ChannelRefusedError(
                    "no_consent", f"{number} has not agreed to {purpose} texts; record the consent first, with its words."
                )
            case _:
                opens = opens_at(zones, now)
                words = f"It is {_times(zones, now)} where {number} is; texts that nobody waits for may go from 8:00 to 21:00."
                if opens is not None and opens > now:
                    words += f" It opens at {_times(zones, opens)}."
                return ChannelRefusedError("quiet_hours", words, until=opens)

    def _writes_from(self, queue: str, number: NumberSettings) -> bool:
        known = self._queues.get(queue)
        return known is not None and (number.number in known.numbers if known.numbers else number.desk == queue)

    def _choice(self, number: NumberSettings, queues: tuple[e.QueueId, ...], *, direct: bool) -> SenderChoice:
        facts = number.sender
        return SenderChoice(
            number=number.number,
            queues=queues,
            direct=direct,
            kind=facts.kind,
            brand=facts.brand,
            campaign=facts.campaign,
            registered=facts.registered,
            per_day=facts.per_day,
            left_today=self.left_today(number.number),
        )

    def _queue_of(self, agent: str, sender: str) -> str | None:
        """Where an agent is to have the answer: the number's desk if they work there, else a queue of theirs."""
        desk = self._numbers[sender].desk
        return desk if desk in self._agents[agent].queues else self._chat_queue(agent)

    def _chat_queue(self, agent: str) -> str | None:
        known: AgentSettings | None = self._agents.get(agent)
        return None if known is None else self._settings.chat_queue_of(known)


_PURPOSES: tuple[e.Purpose, ...] = ("session", "care", "marketing")


def opens_at(zones: Sequence[str], now: float) -> float | None:
    """The next time, *now* included, at which it is no quiet hour in any of *zones*; None: there is no such time."""
    return day_begins(zones, now, first=consent.QUIET_UNTIL, last=consent.QUIET_FROM)


def _times(zones: Sequence[str], at: float) -> str:
    """What the clocks of *zones* show."""
    shown = sorted({f"{datetime.fromtimestamp(at, ZoneInfo(zone)):%H:%M}" for zone in zones})
    return shown[0] if len(shown) == 1 else f"{shown[0]} to {shown[-1]}"


def _day(at: float, zones: Sequence[str]) -> str:
    return f"{datetime.fromtimestamp(at, ZoneInfo(zones[0] if zones else 'UTC')):%Y-%m-%d}"


def _of(entry: Suppression, sender: str) -> Suppression:
    """The same for another number of ours."""
    return msgspec.structs.replace(entry, sender=sender)


def _list(names: Mapping[str, object]) -> str:
    return ", ".join(names)
