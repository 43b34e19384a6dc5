"""When to offer texting to a caller, and the reason in words.

Three offers: `deflect` (leave the line for a chat), `hold` (keep the place and answer questions by text meanwhile) and
`callback` (keep the place and be called). All ask whether P(wait >= T) >= pi. A deflection also asks whether texting is the
better place to be: staffed, open, answered within `sms_max` nine times out of ten, and very probably sooner than the call would
be. Without that second question most of those deflected to a small team wait longer than they would have on the phone.

Every decision carries what it was made of. Nothing here reads a clock.
"""

import hashlib
import math
import operator
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from bridge.events import OfferKind
from ewt.forecast import Forecast

Reason: TypeAlias = Literal[
    # offered
    "offer", "always", "overcapacity", "no_agents",
    # not offered
    "disabled", "refused_before", "asked_before", "number_withheld", "opted_out", "cannot_text", "agent_coming", "agent_free",
    "below_threshold", "almost_there", "wait_unknown", "no_desk", "sms_closed", "sms_unstaffed", "sms_over_capacity",
    "sms_not_faster", "enough_this_minute", "held_out",
]  # fmt: skip

PRIOR_PROBABILITY = 0.5
"""pi while a forecast rests on guesses: be surer."""
CAUTIOUS_PROBABILITY = 0.65
"""pi while the forecasts of a queue are known to be off, or rest on old events: be surer still."""
OVERCAPACITY_PROBABILITY = 0.8
ALMOST_THERE = 45.0
"""Seconds: whoever has less than that to wait is not disturbed."""
MINUTE = 60.0
SHARES = (0.175, 0.2, 0.25, 0.2, 0.175)
"""What each of the five quantiles stands for: all that lies nearer to it than to the others."""
ACCEPTANCE = 0.4
"""Of offers, before any was answered."""
ACCEPTANCE_WEIGHT = 8.0
ACCEPTANCE_MEMORY = 50.0
"""Answers."""


class QueueRules(msgspec.Struct, frozen=True):
    """What one voice queue wants offered."""

    mode: Literal["above_threshold", "always", "never"] = "above_threshold"
    """`always` does not look at the wait of the call, only at the number and at the SMS side."""
    threshold: float = 120.0
    """T, seconds: the wait that is worth an offer."""
    probability: float = 0.4
    """pi: offer when P(wait >= T) >= pi. 0.65 where an offer disturbs, 0.25 for T of 300 s and more."""
    margin: float = 30.0
    """Seconds by which texting must be faster."""
    surely: float = 0.7
    """How probable it must be that texting is faster by the margin."""
    sms_max: float = 600.0
    """Seconds: no deflection when one in ten texters would wait longer."""
    desk: str | None = None
    """The SMS queue; queues with the same desk count each other's open offers. None counts all."""
    overcapacity: float = 600.0
    """Seconds: when a wait is very probably that long, offer without waiting for the dwell."""
    stay: float = 0.8
    """Once offering, go on while P(wait >= stay * T) >= pi."""
    dwell: float = 30.0
    """Seconds to stay offering or not offering, at least."""
    reserve: float = 30.0
    """Seconds an offer counts as somebody on the way to the SMS queue, unless it is refused."""
    per_minute: int | None = None
    """Deflections offered within a minute, at most; None: as many as there is reason for."""
    hold_out: float = 0.0
    """The share of sessions that are offered no deflection although they would be: what became of them tells what deflecting is
    worth. Which ones depends on the session alone."""
    callback: float | Literal["always"] | None = None
    """Seconds: the wait that is left and is worth offering to be called back; `always`: any but a very short one; None: that is
    not offered."""


class Circumstances(msgspec.Struct, frozen=True):
    """Everything about this caller and the SMS side, except the two forecasts."""

    number: str | None
    """None when withheld."""
    can_text: bool
    why_not: str | None = None
    opted_out: bool = False
    asked_before: bool = False
    """This kind of offer was made in this session."""
    refused_before: bool = False
    """Any offer was refused in this session."""
    sms_staffed: bool = False
    sms_open: bool = True
    """Within the hours of the desk."""
    sms_open_slots: int = 0
    waited: float = 0.0
    """Seconds in line so far; 0 for a newcomer."""
    agent_offered: bool = False
    """An agent is being rung for this caller."""
    session: str = ""
    """Decides who is held out."""


class Decision(msgspec.Struct, frozen=True):
    """Whether to offer, why, and what that was made of."""

    offer: bool
    reason: Reason
    inputs: dict[str, Any]


class _Open(msgspec.Struct):
    """An offer that has not shown in the SMS queue yet."""

    at: float
    queue: str
    until: float
    accepted: bool = False


class PolicyDump(msgspec.Struct, frozen=True):
    """Everything that an `OfferPolicy` has beside its rules."""

    offering: dict[str, bool]
    since: dict[str, float]
    open: list[_Open]
    made: dict[str, list[float]]
    distrusted: list[str]
    accepted: float
    answers: float
    switches: int


class OfferPolicy:
    """Decides offers, queue by queue. No I/O.

    Args:
        rules: By voice queue; a queue that is not there offers nothing.
    """

    def __init__(self, rules: Mapping[str, QueueRules]) -> None:
        self.configure(rules)
        self._offering: dict[str, bool] = {}
        self._since: dict[str, float] = {}
        self._open: deque[_Open] = deque()
        self._made: dict[str, deque[float]] = {}
        self._distrusted: frozenset[str] = frozenset()
        self._accepted = ACCEPTANCE * ACCEPTANCE_WEIGHT
        self._answers = ACCEPTANCE_WEIGHT
        self.switches = 0
        """How often a queue went from offering to not offering or back."""

    def configure(self, rules: Mapping[str, QueueRules]) -> None:
        """Go by other rules from now on; what was offered and learnt stays."""
        self._rules = dict(rules)

    def distrust(self, queues: Iterable[str]) -> None:
        """The forecasts of these queues, and of no others, are known to be off: be cautious there until told otherwise."""
        self._distrusted = frozenset(queues)

    @property
    def distrusted(self) -> frozenset[str]:
        """The queues whose forecasts are known to be off."""
        return self._distrusted

    @property
    def acceptance(self) -> float:
        """The share of offers that is accepted."""
        return self._accepted / self._answers

    def reserved(self, now: float, desk: str | None = None) -> float:
        """How many who were offered lately will still come to *desk* (None: to any); give it to the SMS forecast as `extra`."""
        there = (offer for offer in self._open if offer.until > now)
        coming = [offer for offer in there if desk is None or self._rules.get(offer.queue, _NOTHING).desk in {None, desk}]
        return sum(1.0 if offer.accepted else self.acceptance for offer in coming)

    def answered(self, queue: str, accepted: bool, now: float) -> None:
        """An offer of *queue* was accepted or refused (or not answered at all, which is a refusal)."""
        self._forget(now)
        keep = 1.0 - 1.0 / ACCEPTANCE_MEMORY
        self._accepted = self._accepted * keep + accepted
        self._answers = self._answers * keep + 1.0
        offer = next((offer for offer in self._open if offer.queue == queue and not offer.accepted), None)
        if offer is None:
            return
        if accepted:
            offer.accepted = True
        else:
            self._open.remove(offer)

    def decide(
        self,
        kind: OfferKind,
        now: float,
        queue: str,
        voice: Forecast,
        sms: Forecast | None,
        circumstances: Circumstances,
    ) -> Decision:
        """Decide one offer to one caller; an offer of a deflection is counted as somebody on the way.

        Of what else there is only this changes anything, and `answered`: whoever looks leaves no trace.

        Args:
            kind: `deflect`, `hold` or `callback`.
            now: Seconds.
            queue: The voice queue.
            voice: The wait of a newcomer, or what is left of it for one in line.
            sms: The wait of one more texter, made with `reserved` as `extra`; None without a desk.
            circumstances: Everything else.
        """
        self._forget(now)
        decision, offering = self._judge(kind, now, queue, voice, sms, circumstances)
        if offering is not None and offering != self._offering.get(queue, False):
            self._offering[queue], self._since[queue] = offering, now
            self.switches += 1
        if decision.offer and kind == "deflect":
            self._open.append(_Open(now, queue, now + self._rules.get(queue, _NOTHING).reserve))
            made = self._made.setdefault(queue, deque())
            made.append(now)
            while made[0] <= now - MINUTE:
                made.popleft()
        return decision

    def preview(self, now: float, queue: str, voice: Forecast, sms: Forecast | None, circumstances: Circumstances) -> Decision:
        """What `decide` would say of a deflection now, to a newcomer who is not held out; nothing is counted."""
        decision, _ = self._judge("deflect", now, queue, voice, sms, circumstances)
        if decision.reason == "held_out":
            return Decision(True, decision.inputs["held_out_from"], decision.inputs)
        return decision

    # --- as it is, elsewhere

    def dump(self) -> PolicyDump:
        """Everything but the rules, for `load`."""
        return PolicyDump(
            offering=self._offering,
            since=self._since,
            open=list(self._open),
            made={queue: list(times) for queue, times in self._made.items()},
            distrusted=sorted(self._distrusted),
            accepted=self._accepted,
            answers=self._answers,
            switches=self.switches,
        )

    def load(self, dumped: PolicyDump) -> None:
        """Be as the one that was dumped; the rules are set by `configure`."""
        self._offering, self._since = dict(dumped.offering), dict(dumped.since)
        self._open = deque(dumped.open)
        self._made = {queue: deque(times) for queue, times in dumped.made.items()}
        self._distrusted = frozenset(dumped.distrusted)
        self._accepted, self._answers, self.switches = dumped.accepted, dumped.answers, dumped.switches

    # --- how it is done

    def _forget(self, now: float) -> None:
        """Whoever was offered so long ago has come, or will not."""
        self._open = deque(offer for offer in self._open if offer.until > now)

    def _judge(
        self,
        kind: OfferKind,
        now: float,
        queue: str,
        voice: Forecast,
        sms: Forecast | None,
        circumstances: Circumstances,
    ) -> tuple[Decision, bool | None]:
        """The decision, and whether the queue is offering from now on; None: this caller says nothing about it."""
        rules = self._rules.get(queue, _NOTHING)
        inputs: dict[str, Any] = {
            "kind": kind,
            "queue": queue,
            "mode": rules.mode,
            "voice": _numbers(voice),
            "sms": None if sms is None else _numbers(sms),
            "sms_staffed": circumstances.sms_staffed,
            "open_slots": circumstances.sms_open_slots,
            "reserved": self.reserved(now, rules.desk),
            "acceptance": self.acceptance,
            "waited": circumstances.waited,
            "distrusted": sorted({queue, rules.desk} & self._distrusted),
            "can_text": circumstances.can_text,
            "why_not": circumstances.why_not,
        }
        worth, offering = self._worth(kind, now, queue, rules, voice, circumstances, inputs)
        reason = _barred(kind, rules, circumstances) or worth
        if reason in _OFFERED and kind == "deflect":
            reason = _sms_side(rules, voice, sms, circumstances, reason, inputs) or self._rationed(queue, rules, now) or reason
            if reason in _OFFERED and _held_out(queue, circumstances.session, rules.hold_out):
                inputs["held_out_from"], reason = reason, "held_out"
        return Decision(reason in _OFFERED, reason, inputs), offering

    def _rationed(self, queue: str, rules: QueueRules, now: float) -> Reason | None:
        """Whether enough was offered within the minute."""
        if rules.per_minute is None:
            return None
        made = sum(at > now - MINUTE for at in self._made.get(queue, ()))
        return "enough_this_minute" if made >= rules.per_minute else None

    def _worth(
        self,
        kind: OfferKind,
        now: float,
        queue: str,
        rules: QueueRules,
        voice: Forecast,
        circumstances: Circumstances,
        inputs: dict[str, Any],
    ) -> tuple[Reason, bool | None]:
        """Whether the wait of the call is worth an offer, and whether the queue is offering from now on."""
        # Only newcomers say how the queue is doing; what is left for one in line is that one's own.
        newcomer = kind == "deflect" and circumstances.waited <= 0
        offering = newcomer and self._offering.get(queue, False)
        limit = rules.callback if kind == "callback" and isinstance(rules.callback, int | float) else rules.threshold
        limit *= rules.stay if offering else 1.0
        pi = max(rules.probability, PRIOR_PROBABILITY) if voice.basis == "prior" else rules.probability
        if inputs["distrusted"] or voice.status == "degraded":
            pi = max(pi, CAUTIOUS_PROBABILITY)
        p = voice.prob(limit)
        inputs |= {"p": p, "threshold": limit, "pi": pi, "offering": offering}
        if kind != "deflect" and voice.p50 is not None and voice.p50 < ALMOST_THERE:
            return "almost_there", None
        if (rules.callback if kind == "callback" else rules.mode) == "always":
            return "always", None
        if voice.status == "no_agents":
            return "no_agents", None
        if p is None:
            return "wait_unknown", None
        want = self._dwell(queue, p >= pi, now, rules) if newcomer else p >= pi
        offers = want if newcomer else None
        if voice.status == "free_agent":
            return "agent_free", offers
        if want:
            return "offer", offers
        if (voice.prob(rules.overcapacity) or 0.0) >= OVERCAPACITY_PROBABILITY:
            return "overcapacity", offers
        return "below_threshold", offers

    def _dwell(self, queue: str, want: bool, now: float, rules: QueueRules) -> bool:
        """Whether the queue is offering now; it changes its mind after the dwell only."""
        offering = self._offering.get(queue, False)
        return offering if now - self._since.get(queue, -math.inf) < rules.dwell else want


_NOTHING = QueueRules(mode="never")
_OFFERED: frozenset[Reason] = frozenset({"offer", "always", "overcapacity", "no_agents"})


def _barred(kind: OfferKind, rules: QueueRules, circumstances: Circumstances) -> Reason | None:
    """Why this caller gets no offer whatever the waits are; None when nothing bars it."""
    texts = kind != "callback"
    bars: tuple[tuple[Reason, bool], ...] = (
        ("disabled", rules.mode == "never" if texts else rules.callback is None),
        ("number_withheld", circumstances.number is None),
        ("opted_out", texts and circumstances.opted_out),
        ("cannot_text", texts and not circumstances.can_text),
        ("refused_before", circumstances.refused_before),
        ("asked_before", circumstances.asked_before),
        ("agent_coming", circumstances.agent_offered),
    )
    return next((reason for reason, barred in bars if barred), None)


def _sms_side(
    rules: QueueRules,
    voice: Forecast,
    sms: Forecast | None,
    circumstances: Circumstances,
    reason: Reason,
    inputs: dict[str, Any],
) -> Reason | None:
    """Why texting is not the better place to be; None when it is."""
    if sms is None:
        return "no_desk"
    if not circumstances.sms_open:
        return "sms_closed"
    if not circumstances.sms_staffed or sms.status == "no_agents":
        return "sms_unstaffed"
    if sms.mean is None or sms.p90 is None:
        return "wait_unknown"
    if sms.p90 > rules.sms_max:
        return "sms_over_capacity"
    inputs["faster"] = faster = _faster(sms, voice, rules.margin)
    # `always` is the operator's wish, and without agents the wait of the call is a guess not worth comparing with.
    if reason in {"offer", "overcapacity"} and voice.mean is not None:
        slower = sms.mean + rules.margin > voice.mean
        return "sms_not_faster" if slower or faster is None or faster < rules.surely else None
    return None


def _faster(sms: Forecast, voice: Forecast, margin: float) -> float | None:
    """The probability that texting is faster by *margin* seconds, the two waits being independent; None when unknown."""
    chances = [voice.prob(wait + margin) for wait in sms.quantiles or ()]
    known = [chance for chance in chances if chance is not None]
    return sum(map(operator.mul, SHARES, known)) if known else None


def _held_out(queue: str, session: str, share: float) -> bool:
    """Whether this session is among the *share* that is not offered; the same on every node."""
    drawn = hashlib.blake2b(f"{queue}/{session}".encode(), digest_size=4).digest()
    return int.from_bytes(drawn) < share * 2**32


def _numbers(forecast: Forecast) -> dict[str, Any]:
    return {
        "status": forecast.status,
        "basis": forecast.basis,
        "mean": forecast.mean,
        "p50": forecast.p50,
        "p90": forecast.p90,
        "ahead": forecast.ahead,
        "capacity": forecast.capacity,
    }
