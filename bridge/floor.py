"""The floor: lines and agents, how long waiting takes, and what a flow may know of both."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from bridge.acd import (
    Acd,
    AcdDump,
    AgentSpec,
    AnyAcdOutput,
    CascadeStep,
    PlaceInLine,
    QueueSpec,
    Redirect,
    Seen,
    Target,
    contact_id,
    inherited,
)
from bridge.call_leg import voice_skills
from bridge.chat import ONLY
from bridge.events import AgentId, Channel, DecideOffer, OfferDecided, QueueId, beside
from bridge.floor_ops import (
    FLOOR_VERSION,
    AcceptWork,
    Applied,
    AssignWork,
    DeclineWork,
    DistrustForecasts,
    FinishWrapUp,
    FloorPlan,
    ForgetWork,
    GiveBackWork,
    JoinLine,
    LeaveLine,
    MoveInLine,
    Op,
    PlanStaff,
    ReconcileFloor,
    ReconfigureFloor,
    RecordOfferAnswer,
    ReleaseWork,
    RestoreLearning,
    ResyncEstimates,
    SetAgentState,
    TakeOutcomes,
    WakeFloor,
    WeighOffer,
)
from bridge.hindsight import Witness, WitnessDump, correction
from bridge.hours import hours_at, reopens_in_words
from bridge.legs import LIVE, CallState, TextLeg
from bridge.offers import Circumstances, OfferPolicy, PolicyDump, QueueRules
from bridge.session import Facts, State, Suspicion
from bridge.settings import AgentSettings, QueueSettings, Settings, TargetSettings
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


class FloorVersionError(ValueError):
    """A floor was dumped by other rules than ours (`FLOOR_VERSION`). Nothing has changed."""


class _Version(msgspec.Struct, frozen=True):
    version: int


class _FloorDump(_Version, frozen=True):
    plan: FloorPlan
    at: float
    acd: AcdDump
    estimator: dict[str, Any]
    witness: WitnessDump
    policy: PolicyDump
    revision: int


class Floor:
    """Everything sessions share. Pure but for reading its settings: no I/O, time is an argument.

    It changes by `apply` alone, and whoever applies the same ops at the same times has the same floor. What is only read may be
    asked with a time a little before or after that of the last op: the clocks of two nodes are never quite the same.

    Args:
        settings: The queues, agents and hours.
        now: When the server began.
        hours: By queue, the opening hours that a text menu names; the queue's own come first.
        revision: Of the settings; 0: those in the file.
    """

    def __init__(
        self, settings: Settings, *, now: float, hours: Mapping[str, str | None] | None = None, revision: int = 0
    ) -> None:
        plan = self.plan = floor_plan(settings)
        self.revision = revision
        """Of the settings that the plan is made of."""
        self.at = now
        """The time of the last op; the next is never earlier."""
        self.estimator = Estimator(plan.estimates)
        self.witness = Witness(self.estimator, _channels(plan))
        """Hears what the estimator hears, and what became of its forecasts."""
        self.acd = Acd(plan.queues, plan.agents, self.witness, now=now, ageing=plan.ageing)
        self.policy = OfferPolicy(plan.offers)
        self.go_by(settings, hours)

    # --- what changes it

    def apply(self, op: Op, now: float) -> Applied:
        """Do *op*. What is done, said and answered depends on nothing but the ops before, this one and the times of them.

        Args:
            op: What to do.
            now: When, by the clock that all nodes share; what is earlier than the last op counts as the same time.

        Raises:
            UnknownAgent: No such agent. Nothing has changed.
            UnknownQueue: No such queue, or one of the other channel. Nothing has changed.
            QueueInUse: A queue that is to go has people in it. Nothing has changed.
            ValueError: What was learned was saved by a version that this one does not know. Nothing has changed.
        """
        now = max(now, self.at)
        outputs = self._to_lines(op, now)
        applied = self._to_the_rest(op, now) if outputs is None else Applied(outputs, bool(outputs))
        self.at = now
        return applied

    def _to_lines(self, op: Op, now: float) -> list[AnyAcdOutput] | None:  # noqa: C901, PLR0912  # flat: a line for each
        """An op for lines and agents; None when it is another one."""
        acd = self.acd
        match op:
            case JoinLine(session, queue, channel, since, priority, skills, prefer, prefer_for):
                return acd.join(session, queue, channel, since, priority, skills, now, prefer=prefer, prefer_for=prefer_for)
            case LeaveLine(session, channel, outcome):
                return acd.leave(session, channel, outcome, now)
            case AcceptWork(agent, session, channel):
                return acd.accept(agent, session, channel, now)
            case ReleaseWork(agent, session, channel, wrap_up):
                return acd.release(agent, session, channel, wrap_up, now)
            case WakeFloor():
                return acd.wake(now)
            case DeclineWork(agent, session, channel, reason):
                return acd.decline(agent, session, channel, reason, now)
            case SetAgentState(agent, state, reason):
                return acd.set_state(agent, state, reason, now)
            case FinishWrapUp(agent):
                return acd.finish_wrap_up(agent, now)
            case GiveBackWork(agent, session, queue, channel, since, priority, skills):
                return acd.give_back(agent, session, queue, channel, since, priority, skills, now)
            case AssignWork(agent, session, channel, queue, from_line):
                if from_line and acd.place(session, channel) is None:
                    return []
                return acd.assign(agent, session, channel, queue, now)
            case MoveInLine(session, channel, to):
                return acd.move(session, channel, to, now)
            case ReconcileFloor(seen, grace):
                return acd.reconcile(seen, now, grace=grace)
            case ForgetWork(session):
                return acd.forget((session, beside(session)), now)
            case ReconfigureFloor(plan, revision):
                return self._reconfigure(plan, revision, now)
            case _:
                return None

    def _to_the_rest(self, op: Op, now: float) -> Applied:
        """An op for offers or waiting times: the lines have nothing to say to it."""
        match op:
            case WeighOffer():
                return Applied([], self._weigh(op, now))
            case RecordOfferAnswer(session, queue, accepted):
                self.policy.answered(queue, accepted, now)
                if accepted and self.acd.position(session, "voice") is None:
                    self.witness.deflected(now, contact_id(session, "voice"), queue)
            case PlanStaff(queue, steps):
                self.estimator.plan(queue, steps)
            case DistrustForecasts(queues):
                self.policy.distrust(queues)
            case ResyncEstimates():
                return Applied([], self._resync(now))
            case RestoreLearning(saved):
                self.estimator.restore(saved, now)
            case TakeOutcomes():
                return Applied([], self.witness.outcomes())
            case _:
                raise TypeError(f"{type(op).__name__} is not for the floor")
        return Applied([])

    def _reconfigure(self, plan: FloorPlan, revision: int, now: float) -> list[AnyAcdOutput]:
        if revision < self.revision:
            return []
        self.acd.check(plan.queues, plan.agents)
        self.revision = revision
        if plan == self.plan:
            return []
        stay = {(queue.id, queue.channel) for queue in plan.queues}
        for queue in self.plan.queues:
            if (queue.id, queue.channel) not in stay:
                self.estimator.remove_queue(now, queue.id)
        for known in plan.estimates:
            self.estimator.add_queue(known)
        self.witness.know(_channels(plan))
        outputs = self.acd.reconfigure(plan.queues, plan.agents, now, ageing=plan.ageing)
        self.policy.configure(plan.offers)
        self.plan = plan
        self.go_by(self._settings, self._menu_hours)
        return outputs

    def _weigh(self, op: WeighOffer, now: float) -> OfferDecided:
        desk = op.desk
        sms = None if desk is None else self.acd.queue_view(desk, now)
        waiting = self.acd.position(op.session, "voice") is not None
        contact = contact_id(op.session, "voice")
        voice = self.estimator.forecast_waiting(now, contact) if waiting else self.estimator.forecast(now, op.queue)
        decision = self.policy.decide(
            op.kind,
            now,
            op.queue,
            voice,
            None if desk is None else self.estimator.forecast(now, desk, extra=self.policy.reserved(now, desk)),
            Circumstances(
                number=op.number,
                can_text=op.why_not is None,
                why_not=op.why_not,
                opted_out=op.opted_out,
                asked_before=op.asked_before,
                refused_before=False,
                sms_staffed=sms is not None and sms.staffed,
                sms_open=op.sms_open,
                sms_open_slots=0 if sms is None else sms.open_slots,
                waited=0.0 if op.since is None else max(0.0, now - op.since),
                agent_offered=self.acd.ringing(op.session) is not None,
                session=op.session,
            ),
        )
        return OfferDecided(op.request, op.kind, decision.offer, decision.reason, decision.inputs)

    def _resync(self, now: float) -> bool:
        """Give the estimator what the lines have, if it believes anything else; whether it did."""
        true = correction(self.acd.told(), self.estimator.snapshot(), now)
        if true is None:
            return False
        self.estimator.resync(now, true)
        return True

    # --- as it is, elsewhere

    def dump(self) -> bytes:
        """Everything that ops have made, exactly, with the plan it goes by."""
        return _DUMP.encode(
            _FloorDump(
                FLOOR_VERSION,
                self.plan,
                self.at,
                self.acd.dump(),
                self.estimator.dump(),
                self.witness.dump(),
                self.policy.dump(),
                self.revision,
            )
        )

    def load(self, dumped: bytes) -> None:
        """Be as the floor that was dumped, and go on as it would; what there was before is forgotten.

        Raises:
            FloorVersionError: It was dumped by other rules. Nothing has changed.
            msgspec.DecodeError: It is no floor. Nothing has changed.
        """
        version = _VERSION.decode(dumped).version
        if version != FLOOR_VERSION:
            raise FloorVersionError(f"the floor is of version {version}, this node works with {FLOOR_VERSION}")
        floor = _LOAD.decode(dumped)
        self.plan, self.revision, self.at = floor.plan, floor.revision, floor.at
        self.acd.load(floor.acd, floor.plan.queues, floor.plan.agents, ageing=floor.plan.ageing)
        self.estimator.load(floor.estimator)
        self.witness.load(floor.witness)
        self.policy.configure(floor.plan.offers)
        self.policy.load(floor.policy)
        self.go_by(self._settings, self._menu_hours)

    # --- settings

    def go_by(self, settings: Settings, hours: Mapping[str, str | None] | None = None) -> None:
        """Answer what flows and pages ask by these settings from now on. Lines, agents and offers go by the plan (`apply`)."""
        there = {queue.id for queue in self.plan.queues}
        self._settings = settings
        self._menu_hours = hours
        self._hours = {**(hours or {}), **{queue.id: queue.hours for queue in settings.queues if queue.hours is not None}}
        self.queues: Mapping[str, QueueSettings] = {queue.id: queue for queue in settings.queues if queue.id in there}
        """Those of the plan. While settings go from node to node, the one or the other may have more."""
        self.targets: Mapping[str, Target] = inherited(
            {queue.id: _target(queue.target) for queue in settings.queues},
            {queue.id: queue.parent for queue in settings.queues if queue.parent is not None},
            _target(settings.target),
        )

    def in_use(self, settings: Settings) -> Mapping[QueueId, tuple[int, int]]:
        """Queues that *settings* do not have and that have people in them: how many wait there, and how many are served."""
        return self.acd.in_use(_queue_specs(settings))

    # --- what sessions ask and say

    def offer_op(self, command: DecideOffer, state: State, customer: Customer, asked: bool, now: float) -> WeighOffer:
        """An offer that a session asks about, with everything that is known here.

        Args:
            command: The question.
            state: Of the session.
            customer: Of the session.
            asked: This kind of offer was made in this session.
            now: For the hours of the desk.
        """
        queue = self.queues.get(command.queue)
        desk = command.desk or (None if queue is None or queue.desk is None else QueueId(queue.desk))
        return WeighOffer(
            request=command.request,
            kind=command.kind,
            queue=command.queue,
            desk=desk,
            session=state.id,
            number=state.customer,
            why_not=self.why_not_text(state, customer),
            opted_out=state.silent,
            asked_before=asked and command.kind != "callback",  # that is told now and then, until an agent comes
            sms_open=desk is None or self._is_open(desk, now),
            since=state.since,
        )

    def agrees(self, state: State) -> bool:
        """Whether lines and desks have of this session what it says of itself."""
        return all(self.acd.agrees(seen) for seen in _told_by(state))

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
            waited=0.0 if state.since is None else max(0.0, now - state.since),
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

    def _is_open(self, queue: str, now: float) -> bool:
        table = self._settings.hours.get(self._hours.get(queue) or "")
        return table is None or hours_at(table, now).state == "open"

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

    def _desk(self, name: str, now: float) -> Desk:
        view = self.acd.queue_view(QueueId(name), now)
        return Desk(view.staffed, view.unstaffed_since, view.waiting, view.open_slots)


# MessagePack, because it knows every float there is.
_DUMP = msgspec.msgpack.Encoder()
_LOAD = msgspec.msgpack.Decoder(_FloorDump)
_VERSION = msgspec.msgpack.Decoder(_Version)


def floor_plan(settings: Settings) -> FloorPlan:
    """What of *settings* the state of a floor depends on."""
    return FloorPlan(
        queues=tuple(_queue_specs(settings)),
        agents=tuple(_agent_specs(settings)),
        estimates=tuple(EwtQueue(queue.id, queue.channel, aht_guess=queue.aht) for queue in settings.queues),
        offers=_offer_rules(settings),
        ageing=settings.routing.ageing,
    )


def seen_in(state: State) -> tuple[Seen, ...]:
    """What a session says of itself where it waits or somebody has it; of all else it is as if it said nothing."""
    return tuple(seen for seen in _told_by(state) if seen.place is not None or seen.agent is not None)


def _told_by(state: State) -> tuple[Seen, ...]:
    """Of its call, its chat and a colleague who is asked."""
    return _call_seen(state), _text_seen(state), _asked_seen(state)


def _channels(plan: FloorPlan) -> dict[str, Channel]:
    return {queue.id: queue.channel for queue in plan.queues}


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
