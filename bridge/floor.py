"""The floor: lines and agents, how long waiting takes, and what a flow may know of both."""

import math
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from bridge.acd import (
    Acd,
    AgentSpec,
    AnyAcdOutput,
    CascadeStep,
    PlaceInLine,
    QueueInUse,
    QueueSpec,
    Redirect,
    Seen,
    Target,
    contact_id,
    inherited,
)
from bridge.call_leg import voice_skills
from bridge.events import AgentId, DecideOffer, OfferDecided, QueueId, ReportOffer, beside
from bridge.hindsight import Witness
from bridge.hours import hours_at, reopens_in_words
from bridge.legs import LIVE, CallState, TextLeg
from bridge.offers import Circumstances, OfferPolicy, QueueRules
from bridge.session import Facts, State, Suspicion
from bridge.settings import AgentSettings, QueueSettings, Settings, TargetSettings
from bridge.text_leg import ONLY
from ewt.estimator import Estimator
from ewt.estimator import QueueSpec as EwtQueue
from ewt.forecast import Forecast
from ivr_flows.facts import Desk, Ewt
from sms.menu import QueueNow
from sms.numbers import Number


class Customer(msgspec.Struct):
    """What is known of the other side when a session begins, and what it decides meanwhile."""

    number: Number
    opted_out: bool = False
    language: str | None = None
    name: str | None = None
    introduced: bool = False
    """Has had a text from us that says who we are and how to stop us."""
    consent: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    """Purposes to which the customer last said no."""
    suspected: Suspicion | None = None
    """The opt-out is words of an earlier conversation that no agent has judged; None: it is certain, or there is none."""
    blocked: str | None = None
    """Why calls and texts of this number are refused; None: they are not."""


class Floor:
    """Everything sessions share. Pure but for reading its settings: no I/O, time is an argument.

    Args:
        settings: The queues, agents and hours.
        now: When the server began.
        hours: By queue, the opening hours that a text menu names; the queue's own come first.
    """

    def __init__(self, settings: Settings, *, now: float, hours: Mapping[str, str | None] | None = None) -> None:
        self._take(settings, hours)
        self.estimator = Estimator(EwtQueue(queue.id, queue.channel, aht_guess=queue.aht) for queue in settings.queues)
        self.witness = Witness(self.estimator, {queue.id: queue.channel for queue in settings.queues})
        """Hears what the estimator hears, and what became of its forecasts."""
        self.acd = Acd(
            _queue_specs(settings),
            _agent_specs(settings),
            self.witness,
            now=now,
            ageing=settings.routing.ageing,
        )
        self.policy = OfferPolicy(_offer_rules(settings))

    def _take(self, settings: Settings, hours: Mapping[str, str | None] | None) -> None:
        self._settings = settings
        self._hours = {**(hours or {}), **{queue.id: queue.hours for queue in settings.queues if queue.hours is not None}}
        self.queues: Mapping[str, QueueSettings] = {queue.id: queue for queue in settings.queues}
        self.targets: Mapping[str, Target] = inherited(
            {queue.id: _target(queue.target) for queue in settings.queues},
            {queue.id: queue.parent for queue in settings.queues if queue.parent is not None},
            _target(settings.target),
        )

    def in_use(self, settings: Settings) -> Mapping[QueueId, tuple[int, int]]:
        """Queues that *settings* do not have and that have people in them: how many wait there, and how many are served."""
        return self.acd.in_use(_queue_specs(settings))

    def reconfigure(self, settings: Settings, *, now: float, hours: Mapping[str, str | None] | None = None) -> list[AnyAcdOutput]:
        """Go by other settings from now on, in one step (`Acd.reconfigure`); what was learnt stays.

        Raises:
            QueueInUse: A queue that is to go has people in it. Nothing has changed.
        """
        if uses := self.in_use(settings):
            raise QueueInUse(uses)
        stay = {(queue.id, queue.channel) for queue in settings.queues}
        for queue in self.queues.values():
            if (queue.id, queue.channel) not in stay:
                self.estimator.remove_queue(now, queue.id)
        for queue in settings.queues:
            self.estimator.add_queue(EwtQueue(queue.id, queue.channel, aht_guess=queue.aht))
        self.witness.know({queue.id: queue.channel for queue in settings.queues})
        outputs = self.acd.reconfigure(_queue_specs(settings), _agent_specs(settings), now, ageing=settings.routing.ageing)
        self._take(settings, hours)
        self.policy.configure(_offer_rules(settings))
        return outputs

    def facts(self, state: State, customer: Customer, now: float) -> Facts:
        """What the flow of this session may read now."""
        live = state.call in LIVE
        position = self.acd.position(state.id, "voice") if live else None
        return Facts(
            called=state.our_number,
            caller=state.customer,
            can_text=self.why_not_text(state, customer) is None,
            country=customer.number.country,
            contact_language=customer.language,
            contact_name=customer.name,
            brand=self._settings.brand,
            ewt={name: _ewt(self.estimator.forecast(now, name)) for name in self.queues} if live else {},
            desks={name: self._desk(name, now) for name in self.queues} if live else {},
            hours={name: hours_at(table, now) for name, table in self._settings.hours.items()} if live else {},
            consent=customer.consent,
            opted_out=state.silent,
            position=position,
            waited=0.0 if state.since is None else now - state.since,
            queues=_Queues(self, state.language, now),
            remaining=None if position is None else _ewt(self.estimator.forecast_waiting(now, contact_id(state.id, "voice"))),
        )

    def why_not_text(self, state: State, customer: Customer) -> str | None:
        """Why this customer's number cannot be texted, in words; None when it can."""
        if state.customer is None:
            return "the number is withheld"
        if state.text is TextLeg.OPTED_OUT:
            return "the number has opted out"
        if state.suspected is not None:
            return "the number may have opted out, an agent is to judge"
        if not customer.number.can_text:
            return f"the number cannot take texts ({customer.number.kind.replace('_', ' ')})"
        return state.why_not_text

    def decide_offer(self, command: DecideOffer, state: State, customer: Customer, asked: bool, now: float) -> OfferDecided:
        """Put an offer before the policy."""
        desk = command.desk or self.queues[command.queue].desk
        sms = None if desk is None else self.acd.queue_view(QueueId(desk), now)
        waiting = self.acd.position(state.id, "voice") is not None
        voice = (
            self.estimator.forecast_waiting(now, contact_id(state.id, "voice"))
            if waiting
            else self.estimator.forecast(now, command.queue)
        )
        why_not = self.why_not_text(state, customer)
        decision = self.policy.decide(
            command.kind,
            now,
            command.queue,
            voice,
            None if desk is None else self.estimator.forecast(now, desk, extra=self.policy.reserved(now, desk)),
            Circumstances(
                number=state.customer,
                can_text=why_not is None,
                why_not=why_not,
                opted_out=state.silent,
                asked_before=asked and command.kind != "callback",  # that is told now and then, until an agent comes
                refused_before=False,
                sms_staffed=sms is not None and sms.staffed,
                sms_open=desk is None or self._is_open(desk, now),
                sms_open_slots=0 if sms is None else sms.open_slots,
                waited=0.0 if state.since is None else now - state.since,
                agent_offered=self.acd.ringing(state.id) is not None,
                session=state.id,
            ),
        )
        return OfferDecided(command.request, command.kind, decision.offer, decision.reason, decision.inputs)

    def _is_open(self, queue: str, now: float) -> bool:
        table = self._settings.hours.get(self._hours.get(queue) or "")
        return table is None or hours_at(table, now).state == "open"

    def offer_answered(self, answer: ReportOffer, state: State, now: float) -> None:
        """An offer to text was accepted, or not. Who texts instead of waiting is followed until their turn would have come."""
        self.policy.answered(answer.queue, answer.accepted)
        if answer.accepted and self.acd.position(state.id, "voice") is None:
            self.witness.deflected(now, contact_id(state.id, "voice"), answer.queue)

    def queue_now(self, name: str, language: str, now: float) -> QueueNow:
        """What a text may say of a queue, in *language*."""
        queue = QueueId(name)
        view = self.acd.queue_view(queue, now)
        table = self._settings.hours.get(self._hours.get(name) or "")
        hours = None if table is None else hours_at(table, now)
        is_open, reopens_at = hours is None or hours.state == "open", None if hours is None else hours.reopens_at
        band = self.estimator.forecast(now, name).band()
        capacity = self.queues[name].capacity
        return QueueNow(
            open=is_open,
            reopens=None if table is None or is_open else reopens_in_words(table, reopens_at, language, now),
            ewt_minutes=math.ceil(band.high_min) if band.speak and band.high_min is not None else None,
            staffed=view.staffed,
            over_capacity=0 < capacity <= view.waiting,
        )

    def reconcile(self, states: Iterable[State], now: float) -> list[AnyAcdOutput]:
        """Compare the lines and desks with what the live sessions say, and heal what has differed for long (`Acd.reconcile`)."""
        seen = [each for state in states for each in (_call_seen(state), _text_seen(state), _asked_seen(state))]
        return self.acd.reconcile(seen, now)

    def _desk(self, name: str, now: float) -> Desk:
        view = self.acd.queue_view(QueueId(name), now)
        return Desk(view.staffed, view.unstaffed_since, view.waiting, view.open_slots)


def _queue_specs(settings: Settings) -> list[QueueSpec]:
    return [_queue_spec(queue) for queue in settings.queues]


def _agent_specs(settings: Settings) -> list[AgentSpec]:
    return [_agent_spec(agent) for agent in settings.agents if "agent" in agent.roles]


def _offer_rules(settings: Settings) -> dict[str, QueueRules]:
    return {
        queue.id: QueueRules(
            mode=queue.offers.mode,
            threshold=queue.offers.threshold,
            probability=queue.offers.probability,
            margin=queue.offers.margin,
            surely=queue.offers.surely,
            sms_max=queue.offers.sms_max,
            per_minute=queue.offers.per_minute,
            hold_out=queue.offers.hold_out,
            callback=None if queue.offers.callback == "never" else queue.offers.callback,
            desk=queue.desk,
        )
        for queue in settings.queues
        if queue.channel == "voice"
    }


def _queue_spec(queue: QueueSettings) -> QueueSpec:
    redirect = queue.redirect
    return QueueSpec(
        QueueId(queue.id),
        queue.channel,
        ring_timeout=queue.ring_timeout,
        wrap_up=queue.wrap_up,
        strategy=queue.strategy,
        decline_hold=queue.decline_hold,
        missed_after=queue.missed_after,
        skills=queue.skills,
        best_first=queue.best_first,
        auto_answer=queue.auto_answer,
        cascade=tuple(
            CascadeStep(step.after, step.teams, step.level) for step in sorted(queue.cascade, key=lambda step: step.after)
        ),
        redirect=None if redirect is None else Redirect(QueueId(redirect.to), redirect.rings, redirect.after),
    )


def _agent_spec(agent: AgentSettings) -> AgentSpec:
    return AgentSpec(
        AgentId(agent.id),
        agent.name,
        tuple(QueueId(queue) for queue in agent.queues),
        max_chats=agent.max_chats,
        address=agent.phone,
        skills=(*agent.skills, f"{ONLY}{agent.id}"),
        auto_accept=agent.auto_answer,
        chats_during_call=agent.chats_during_call,
        max_chats_for_call=agent.max_chats_for_call,
        teams=agent.teams,
    )


def _target(target: TargetSettings) -> Target:
    return Target(target.answer_within, target.share, target.short_abandon, target.concurrency)


def _call_seen(state: State) -> Seen:
    """What a session says of its call."""
    in_line = state.call in {CallState.QUEUED, CallState.CALLBACK}
    if in_line and state.queue is not None and state.since is not None:
        return Seen(state.id, "voice", place=PlaceInLine(state.queue, state.since, state.priority, voice_skills(state)))
    if state.agent is not None and state.call not in {CallState.NONE, CallState.ENDED}:
        return Seen(state.id, "voice", agent=state.agent, queue=state.queue)
    return Seen(state.id, "voice")


def _asked_seen(state: State) -> Seen:
    """What a session says of a colleague whom the agent on the call asks."""
    consult = state.consult
    asked = None if consult is None else consult.to
    return Seen(beside(state.id), "voice", agent=asked, queue=None if consult is None else consult.queue)


def _text_seen(state: State) -> Seen:
    """What a session says of its chat."""
    if state.text is TextLeg.QUEUED and state.chat_queue is not None and state.since is not None:
        only = state.prefer if state.transfer is not None else state.prefer or state.direct
        skills = () if only is None else (f"{ONLY}{only}",)
        return Seen(state.id, "sms", place=PlaceInLine(state.chat_queue, state.since, skills=skills))
    if state.text is TextLeg.CHATTING:
        return Seen(state.id, "sms", agent=state.chat_agent, queue=state.chat_queue)
    return Seen(state.id, "sms")


def _ewt(forecast: Forecast) -> Ewt:
    return Ewt(forecast.status, forecast.basis, forecast.mean, forecast.p10, forecast.p50, forecast.p75, forecast.p90)


class _Queues(Mapping[str, QueueNow]):
    """How it stands with the queues, worked out for those that are asked for: most texts ask for none."""

    def __init__(self, floor: Floor, language: str, now: float) -> None:
        self._floor = floor
        self._language = language
        self._now = now

    def __getitem__(self, name: str) -> QueueNow:
        if name not in self._floor.queues:
            raise KeyError(name)
        return self._floor.queue_now(name, self._language, self._now)

    def __iter__(self) -> Iterator[str]:
        return iter(self._floor.queues)

    def __len__(self) -> int:
        return len(self._floor.queues)
