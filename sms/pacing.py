"""How fast each of our senders may text, and when one of them had better stop: buckets, daily budgets, circuit breakers.

Carriers count segments, so that is the unit everywhere. Providers queue what comes too fast; what they cannot do is to let
an agent's words pass a campaign that was there before. So urgent texts have a share of every bucket to themselves.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

SenderClass: TypeAlias = Literal["long_code", "toll_free", "short_code", "alphanumeric"]

PER_SECOND: Mapping[SenderClass, float] = MappingProxyType(
    {"long_code": 1.0, "toll_free": 3.0, "short_code": 100.0, "alphanumeric": 10.0}
)
"""Segments a second that carriers take from a sender of which nothing better is known."""
LEAST_BURST = 10.0
"""Segments that may go at once even from a slow sender: a long text, and still something left for an agent."""
KEPT = (0.0, 0.2, 0.35, 0.5)
"""The share of the bucket that a priority leaves to more urgent ones: agent, deflection, hold, API."""
KEPT_OF_DAY = (0.0, 0.02, 0.05, 0.1)
"""The same of what may be sent in a day."""
DAY_ENDS_IN = "America/Los_Angeles"
"""US carriers count days in Pacific time."""

REFUSALS = 3
"""So many refusals in a row for reasons of the sender open its breaker."""
FIRST_PAUSE, LONGEST_PAUSE = 60.0, 3600.0
"""Seconds a breaker stays open at first, and at most; doubled with every probe that fails."""
PROBE = 30.0
"""Seconds in which a probe has to prove something; then another text may try."""
ROUNDING = 1e-9


class SenderFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a number, short code or name of ours."""

    number: str
    sender_class: SenderClass = "long_code"
    brand: str | None = None
    """As registered (10DLC). Senders of one brand share the daily budget."""
    campaign: str | None = None
    """As registered (10DLC)."""
    registered: bool = True
    """False: carriers in the US refuse its texts, so none are sent there."""
    per_second: float | None = None
    """Segments a second. None: what its class usually may."""
    per_day: int | None = None
    """Segments a day, for the whole brand. None: no limit."""
    burst: float | None = None
    """Segments at once. None: one second's worth, and at least `LEAST_BURST`."""


class Go(msgspec.Struct, frozen=True):
    """The text may go now."""


class Later(msgspec.Struct, frozen=True):
    """The text may go at *at* at the earliest."""

    at: float
    why: Literal["rate", "day", "probing"]


class Stopped(msgspec.Struct, frozen=True):
    """The text has no chance at the moment; waiting for one is worse than saying so."""

    code: Literal["unregistered", "sender_stopped"]
    explanation: str
    """For the agent."""


class SenderState(msgspec.Struct, frozen=True, kw_only=True):
    """Where one sender stands, for people to look at."""

    facts: SenderFacts
    available: float
    """Segments that could go at once."""
    used_today: int
    """Segments, by the whole brand."""
    breaker: "BreakerState"
    reason: str | None
    """Why the breaker is not closed."""


class Bucket:
    """Tokens for segments. In any time the tokens taken are at most *burst* (or one larger text) and *per_second* times it.

    Args:
        per_second: Tokens added each second, more than 0.
        burst: The most it holds, and what it holds at first.
    """

    def __init__(self, per_second: float, burst: float) -> None:
        self.per_second = per_second
        self._burst = burst
        self._tokens = burst
        self._at = float("-inf")

    @property
    def fills_in(self) -> float:
        """Seconds in which an empty one is full."""
        return self._burst / self.per_second

    def anew(self) -> "Bucket":
        """One like it that is full."""
        return Bucket(self.per_second, self._burst)

    def level(self, now: float) -> float:
        """Tokens there are; less than 0 after a text larger than the bucket."""
        if self._at == float("-inf"):
            return self._burst
        return min(self._burst, self._tokens + self.per_second * max(0.0, now - self._at))

    def next_at(self, cost: float, priority: int, now: float) -> float:
        """When a text of *cost* segments may go; *now* when at once.

        A text larger than what its priority may ever use goes when that much is there, and the rest is owed.
        """
        kept = self._burst * KEPT[min(priority, len(KEPT) - 1)]
        missing = min(cost, self._burst - kept) + kept - self.level(now)
        return now if missing <= ROUNDING else now + missing / self.per_second

    def take(self, cost: float, now: float) -> None:
        """A text of *cost* segments goes."""
        self._tokens, self._at = self.level(now) - cost, max(now, self._at)


class Budget:
    """What may be sent in a day; at midnight it is there again.

    Args:
        per_day: Segments; None: only counted.
        zone: IANA name of the time zone whose midnight counts.
    """

    def __init__(self, per_day: int | None, zone: str = DAY_ENDS_IN) -> None:
        self.per_day = per_day
        self._zone = ZoneInfo(zone)
        self._used = 0
        self._ends = 0.0

    def used(self, now: float) -> int:
        """Segments sent today."""
        return self._used if now < self._ends else 0

    def next_at(self, cost: int, priority: int, now: float) -> float:
        """When a text of *cost* segments may go; *now* when at once."""
        if self.per_day is None:
            return now
        usable = self.per_day * (1.0 - KEPT_OF_DAY[min(priority, len(KEPT_OF_DAY) - 1)])
        used = self.used(now)
        # A text larger than the whole budget goes as the first of a day, or it would wait for ever.
        return now if used == 0 or used + cost <= usable + ROUNDING else self._midnight(now)

    def take(self, cost: int, now: float) -> None:
        """A text of *cost* segments goes."""
        self._used = self.used(now) + cost
        self._ends = self._midnight(now)

    def day(self) -> tuple[int, float]:
        """Segments sent on the newest day with any, and when that day ends."""
        return self._used, self._ends

    def resume(self, used: int, ends: float) -> None:
        """Go on with what `day` said before a restart."""
        self._used, self._ends = used, ends

    def _midnight(self, now: float) -> float:
        today = datetime.fromtimestamp(now, self._zone)
        tomorrow = (today + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return tomorrow.timestamp()


BreakerState: TypeAlias = Literal["closed", "open", "probing"]


class Breaker:
    """Stops a sender that is refused for reasons of its own, and tries again now and then.

    A provider refuses some texts at once and others in a report long after taking them. After a refusal of the second kind
    being taken proves nothing: only a delivery closes the breaker.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        """The newest refusal; None when there is none in a row."""
        self._refusals = 0
        self._late = False
        self._pause = FIRST_PAUSE
        self._until: float | None = None
        """Open until then; None: closed."""
        self._probe_until: float | None = None
        """A text is on its way to prove something until then."""

    def state(self, now: float) -> BreakerState:
        """`closed`: texts go. `open`: none does. `probing`: one may, or is on its way."""
        if self._until is None:
            return "closed"
        return "open" if now < self._until else "probing"

    def next_at(self, now: float) -> float:
        """When a text may go; *now* when at once."""
        if self._until is None:
            return now
        return max(now, self._until, self._probe_until or now)

    def take(self, now: float) -> None:
        """A text goes; in an open breaker whose time is over it is the probe."""
        if self._until is not None:
            self._probe_until = now + PROBE

    def refused(self, reason: str, now: float, *, late: bool) -> None:
        """A text was refused because of its sender.

        Args:
            reason: For the agent.
            now: Seconds.
            late: In a report, after the text had been taken.
        """
        self.reason, self._late = reason, self._late or late
        self._refusals += 1
        if self._until is not None:
            if now >= self._until:  # the probe; older texts that are refused meanwhile prove nothing new
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
                self._until, self._probe_until = now + self._pause, None
        elif self._refusals >= REFUSALS:
            self._until, self._probe_until = now + self._pause, None

    def taken(self) -> None:
        """The provider took a text."""
        if not self._late:
            self.delivered()

    def delivered(self) -> None:
        """A text has arrived, so the sender is sound."""
        self.reason, self._refusals, self._late = None, 0, False
        self._pause, self._until, self._probe_until = FIRST_PAUSE, None, None


class Pace:
    """All our senders. One that nobody described has no limits, and a breaker all the same.

    Ask, and take when the text goes; tell what became of it.

    Args:
        senders: What is known of them.
        zone: IANA name of the time zone in which daily budgets begin anew.
    """

    def __init__(self, senders: Iterable[SenderFacts] = (), *, zone: str = DAY_ENDS_IN) -> None:
        self._zone = zone
        self._facts: dict[str, SenderFacts] = {}
        self._buckets: dict[str, Bucket] = {}
        self._budgets: dict[str, Budget] = {}
        self._breakers: dict[str, Breaker] = {}
        self.describe(senders)

    def describe(self, senders: Iterable[SenderFacts]) -> None:
        """Know these senders from now on, and no others. What was sent today and who was refused is kept of those who stay."""
        before, self._facts = self._facts, {facts.number: facts for facts in senders}
        buckets, budgets = self._buckets, self._budgets
        self._buckets, self._budgets = {}, {}
        for number, facts in self._facts.items():
            rate = PER_SECOND[facts.sender_class] if facts.per_second is None else facts.per_second
            same = before.get(number) == facts
            self._buckets[number] = buckets[number] if same else Bucket(rate, facts.burst or max(rate, LEAST_BURST))
            purse = _purse(facts)
            if purse not in self._budgets:
                self._budgets[purse] = budget = Budget(facts.per_day, self._zone)
                if purse in budgets:
                    budget.resume(*budgets[purse].day())
            if facts.per_day is not None:
                budget = self._budgets[purse]
                budget.per_day = min(facts.per_day, budget.per_day or facts.per_day)
            self._breakers.setdefault(number, Breaker())

    def ask(self, sender: str, recipient: str, segments: int, priority: int, now: float) -> Go | Later | Stopped:
        """Whether a text may go now.

        Args:
            sender: Ours.
            recipient: E.164.
            segments: Of the text.
            priority: 0 is most urgent.
            now: Seconds since the Unix epoch.
        """
        facts, breaker = self._facts.get(sender), self._breakers.get(sender)
        if facts is not None and not facts.registered and recipient.startswith("+1"):
            return Stopped("unregistered", f"{sender} is not registered with the carriers there, which refuse its texts.")
        if breaker is not None and breaker.state(now) == "open":
            return Stopped("sender_stopped", f"{sender} cannot send at the moment: {breaker.reason}")
        if breaker is not None and breaker.next_at(now) > now:
            return Later(breaker.next_at(now), "probing")
        if facts is None:
            return Go()
        day = self._budgets[_purse(facts)].next_at(segments, priority, now)
        if day > now:
            return Later(day, "day")
        rate = self._buckets[sender].next_at(segments, priority, now)
        return Later(rate, "rate") if rate > now else Go()

    def per_second(self, sender: str) -> float:
        """Segments a second that *sender* may send in the long run; infinite for one that nobody described."""
        return self._buckets[sender].per_second if sender in self._buckets else float("inf")

    def take(self, sender: str, segments: int, now: float) -> None:
        """The text goes."""
        facts, breaker = self._facts.get(sender), self._breakers.get(sender)
        if breaker is not None:
            breaker.take(now)
        if facts is not None:
            self._buckets[sender].take(segments, now)
            self._budgets[_purse(facts)].take(segments, now)

    def refused(self, sender: str, reason: str, now: float, *, late: bool = False) -> None:
        """A text was refused because of its sender; see `Breaker.refused`."""
        self._breakers.setdefault(sender, Breaker()).refused(reason, now, late=late)

    def taken(self, sender: str) -> None:
        """The provider took a text of *sender*."""
        if sender in self._breakers:
            self._breakers[sender].taken()

    def delivered(self, sender: str) -> None:
        """A text of *sender* has arrived."""
        if sender in self._breakers:
            self._breakers[sender].delivered()

    def days(self) -> dict[str, tuple[int, float]]:
        """What has been used of every budget that has a limit, to be kept for `resume`."""
        return {purse: budget.day() for purse, budget in self._budgets.items() if budget.per_day is not None}

    def resume(self, days: Mapping[str, tuple[int, float]]) -> None:
        """Go on with the budgets where a process before this one left them."""
        for purse, (used, ends) in days.items():
            if purse in self._budgets:
                self._budgets[purse].resume(used, ends)

    @property
    def window(self) -> float:
        """Seconds after which nobody can tell any more that a sender has sent something: all its buckets are full again."""
        return max((bucket.fills_in for bucket in self._buckets.values()), default=0.0)

    def recall(self, sent: Iterable[tuple[str, int, float]]) -> None:
        """Begin with buckets that know what went out within the `window`, whichever process sent it.

        Args:
            sent: (sender, segments, when), oldest first; a sender that nobody described counts for nothing.
        """
        self._buckets = {number: bucket.anew() for number, bucket in self._buckets.items()}
        for sender, segments, at in sent:
            if sender in self._buckets:
                self._buckets[sender].take(segments, at)

    def states(self, now: float) -> list[SenderState]:
        """Where every described sender stands."""
        return [
            SenderState(
                facts=facts,
                available=max(0.0, self._buckets[number].level(now)),
                used_today=self._budgets[_purse(facts)].used(now),
                breaker=self._breakers[number].state(now),
                reason=self._breakers[number].reason,
            )
            for number, facts in self._facts.items()
        ]


def _purse(facts: SenderFacts) -> str:
    """Whose daily budget *facts* count in."""
    return f"brand {facts.brand}" if facts.brand is not None else facts.number
