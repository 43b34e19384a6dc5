"""Waiting times as programs and pages ask for them, staffing plans, and what became of the forecasts.

Of several nodes one keeps what became of the forecasts (the role `calibration`) and tells the others. All of them read it in the
journal, so they show the same, whatever they have heard.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypedDict
from zoneinfo import ZoneInfo

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Gauge

from bridge.acd import contact_id
from bridge.cluster.roles import Roles, Tenure
from bridge.events import Channel, QueueId, SessionId
from bridge.floor import Floor
from bridge.floor_ops import DistrustForecasts, Op, PlanStaff, ResyncEstimates, TakeOutcomes
from bridge.hindsight import ALARM_AFTER, THRESHOLDS, Alarm, Outcome, Scores, alarm_of, report_on, score
from bridge.journal import Journal, JournalError
from bridge.news import News
from bridge.offers import Circumstances
from bridge.once import once
from bridge.web.ports_ewt import (
    Announcement,
    Calibration,
    ContactWait,
    DecisionNow,
    Plan,
    PlanStep,
    QueueWait,
    Resynced,
    SmsSide,
    UnknownLineError,
    WaitStatus,
)
from ewt.forecast import Forecast

log = structlog.get_logger()

KEEP_EVERY = 5.0
"""Seconds for which outcomes are gathered before they are written."""
FRESH = 1.0
"""Seconds for which what was worked out for all queues is good enough."""
AT_ONCE = 20
"""Queues worked out before others get a turn: audio waits for nobody."""
MOST_OUTCOMES = 50_000
"""Read for one report."""
LAST_WORDS = 5.0
"""Seconds in which what is known is kept when the server stops."""
KEPT_FOR = 400 * 86_400.0
"""Seconds for which outcomes are kept: a year can be compared with the one before."""
FORGET_EVERY = 86_400.0
"""Seconds between two looks for older ones."""
MOST_PENDING = 10_000
"""Outcomes that wait for a database that does not work; older ones are lost."""
SPEAKS = "lang:"
"""Skills of this kind are languages."""
SOMEBODY = "+15550100100"
"""A caller who can be texted: whether they would be offered it is shown."""
PLANS = "ewt_plans"
"""Where the journal keeps the staffing plans."""
OUTCOMES = "ewt_outcomes"
"""What other nodes are told: what became of forecasts."""
LOOK_EVERY = 10.0
"""Seconds between two looks for outcomes of which another node could not tell."""
_CHANNELS: tuple[Channel, ...] = ("voice", "sms")


class WaitMetrics:
    """How good the forecasts have been lately, by queue, for Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        newest = f"over the newest {ALARM_AFTER} outcomes, by queue"
        self.coverage = Gauge(
            "sidetone_ewt_coverage80", f"Share of waits from p10 to p90 {newest}; should be 0.80.", ["queue"], registry=registry
        )
        self.bias = Gauge("sidetone_ewt_bias_seconds", f"Mean forecast less wait {newest}.", ["queue"], registry=registry)
        self.brier = Gauge(
            "sidetone_ewt_brier", f"Mean squared error of P(wait >= T) {newest} and T.", ["queue", "seconds"], registry=registry
        )
        self.pinball = Gauge(
            "sidetone_ewt_pinball", f"Mean pinball loss of a quantile {newest} and level.", ["queue", "level"], registry=registry
        )
        self.regret = Gauge(
            "sidetone_ewt_regret",
            f"Seconds per contact lost by deciding mean >= T wrongly {newest} and T.",
            ["queue", "seconds"],
            registry=registry,
        )

    def show(self, queue: str, figures: Scores) -> None:
        """The newest figures of a queue."""
        self.bias.labels(queue).set(figures.bias)
        if figures.coverage is not None:
            self.coverage.labels(queue).set(figures.coverage)
        for level, loss in figures.pinball.items():
            self.pinball.labels(queue, f"{level:g}").set(loss)
        for limit in THRESHOLDS:
            self.brier.labels(queue, f"{limit:g}").set(figures.brier[limit])
            self.regret.labels(queue, f"{limit:g}").set(figures.regret[limit])


class Waiting:
    """Implements `bridge.web.ports_ewt.Waits`.

    Args:
        floor: Whose waits.
        journal: Keeps plans and outcomes.
        registry: Where the figures are shown.
        do: Changes the floor and returns its answer.
        zone: IANA time zone of half-hours.
        clock: Seconds since the epoch.
        roles: Whether it is this node that keeps what becomes known; None: there is no other.
        news: How other nodes are told, and tell; None: there are none.
    """

    def __init__(
        self,
        floor: Floor,
        journal: Journal,
        registry: CollectorRegistry,
        *,
        do: Callable[[Op], Awaitable[Any]],
        zone: str,
        clock: Callable[[], float],
        roles: Roles | None = None,
        news: News | None = None,
    ) -> None:
        self._floor = floor
        self._journal = journal
        self._do = do
        self._metrics = WaitMetrics(registry)
        self._zone = zone
        self._clock = clock
        self._plans: dict[str, Plan] = {}
        self._seen = 0
        """The number of the newest outcome when this node last looked for those of all queues."""
        self._figures: dict[str, Scores] = {}
        self._alarms: dict[str, Alarm] = {}
        self._deciding: dict[str, tuple[tuple[bool, str], float]] = {}
        """What would be decided, and since when."""
        self._pending: list[Outcome] = []
        self._forget_at = 0.0
        self._all: tuple[QueueWait, ...] = ()
        self._all_at: float | None = None
        self._sweeping = asyncio.Lock()
        self._roles = roles
        self._news = news
        if news is not None:
            news.hear(PLANS, self._plans_changed)
            news.hear(OUTCOMES, self._outcomes_known)

    # --- life

    async def run(self, started: asyncio.Event) -> None:
        """Take back plans and outcomes, then keep what becomes known, until cancelled."""
        await self._restore()
        started.set()
        async with asyncio.TaskGroup() as tasks:
            if self._news is not None:
                tasks.create_task(self._look_now_and_then())
            await once(self._roles, "calibration", self._keep_going)
            await asyncio.Event().wait()

    async def _keep_going(self, _: Tenure) -> None:
        """Be the one that says what is known of waits, plans and forecasts."""
        for plan in self._plans.values():
            await self._follow(plan)
        await self._warn()
        try:
            while True:
                await asyncio.sleep(KEEP_EVERY)
                await self.keep()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS):
                    await self.keep()

    async def _restore(self) -> None:
        self._take_plans(await self._journal.value(PLANS))
        await self._look_everywhere()

    async def _look_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                if await self._journal.outcomes_kept() != self._seen:
                    await self._look_everywhere()
            except JournalError:
                log.debug("ewt.not_looked")

    async def _look(self, queues: Iterable[str]) -> None:
        """See how good the newest forecasts for these queues were."""
        for queue in list(queues):
            newest = await self._journal.outcomes(ALARM_AFTER, queue=queue)
            if newest:
                self._judge(queue, newest[::-1])

    async def _look_everywhere(self) -> None:
        kept = await self._journal.outcomes_kept()
        await self._look(self._floor.queues)
        self._seen = kept

    def _take_plans(self, saved: bytes | None) -> None:
        self._plans = {plan.queue: plan for plan in _plans(saved) if plan.queue in self._floor.queues}
        self._all_at = None

    async def _plans_changed(self, _about: str) -> None:
        """Another node has been told of a plan; the estimator knows it already."""
        self._take_plans(await self._journal.value(PLANS))

    async def _outcomes_known(self, about: str) -> None:
        """Another node has kept some of these queues; none: it is not known of which."""
        await (self._look(msgspec.json.decode(about, type=list[str])) if about else self._look_everywhere())

    async def keep(self) -> None:
        """Keep what has become known, and look at plans that are over. What cannot be written now is kept for the next time."""
        self._pending += await self._do(TakeOutcomes())
        self._pending = self._pending[-MOST_PENDING:]
        for queue, plan in list(self._plans.items()):
            if plan.steps[-1].at <= self._clock():
                del self._plans[queue]
                await self._do(PlanStaff(queue, ()))
        for queue in [queue for queue in self._alarms if queue not in self._floor.queues]:
            del self._alarms[queue]
        try:
            await self._forget()
        except JournalError:
            log.warning("ewt.not_kept", outcomes=len(self._pending))
            return
        if not self._pending:
            return
        outcomes, self._pending = self._pending, []
        try:
            await self._journal.keep_outcomes(outcomes)
        except JournalError:
            log.warning("ewt.not_kept", outcomes=len(outcomes))
            self._pending = outcomes + self._pending
            return
        queues = sorted({outcome.queue for outcome in outcomes})
        try:
            await self._look(queues)
        except JournalError:
            log.warning("ewt.not_looked")
        await self._warn()
        if self._news is not None:
            await self._news.tell(OUTCOMES, msgspec.json.encode(queues).decode())

    async def _forget(self) -> None:
        """Outcomes that are too old, once a day."""
        now = self._clock()
        if now >= self._forget_at:
            await self._journal.forget_outcomes(now - KEPT_FOR)
            self._forget_at = now + FORGET_EVERY

    def _judge(self, queue: str, newest: Sequence[Outcome]) -> None:
        pairs = [(outcome.told, outcome.wait) for outcome in newest]
        figures, alarm = score(pairs), alarm_of(pairs)
        assert figures is not None
        self._figures[queue] = figures
        self._metrics.show(queue, figures)
        if alarm is None:
            self._alarms.pop(queue, None)
        elif self._alarms.get(queue) != alarm:
            self._alarms[queue] = alarm
            log.warning("ewt.alarm", queue=queue, why=alarm, coverage=figures.coverage, bias=figures.bias)

    async def _warn(self) -> None:
        """Let offers be made by what is known of the forecasts."""
        if self._floor.policy.distrusted != self._alarms.keys():
            await self._do(DistrustForecasts(tuple(sorted(self._alarms))))

    # --- what is asked

    @property
    def alarms(self) -> int:
        """How many queues' estimates are off."""
        return len(self._alarms)

    def queue(self, queue: str, priority: int = 1) -> QueueWait:
        """The wait of a newcomer, as of now."""
        self._known(queue)
        return self._wait(queue, priority, self._clock())

    async def queues(self) -> tuple[QueueWait, ...]:
        """The same of every queue, at most a second old."""
        async with self._sweeping:
            if self._all_at is None or not 0 <= self._clock() - self._all_at < FRESH:
                self._all_at, waits = self._clock(), []
                for index, queue in enumerate(self._floor.queues):
                    if index % AT_ONCE == AT_ONCE - 1:
                        await asyncio.sleep(0)
                    waits.append(self._wait(queue, 1, self._all_at))
                self._all = tuple(waits)
            return self._all

    def contact(self, session: SessionId) -> ContactWait | None:
        """What is left of the wait of one in line."""
        acd, now = self._floor.acd, self._clock()
        for channel in _CHANNELS:
            position, place = acd.position(session, channel), acd.place(session, channel)
            if position is not None and place is not None:
                forecast = self._floor.estimator.forecast_waiting(now, contact_id(session, channel))
                return ContactWait(
                    session=session,
                    queue=place.queue,
                    channel=channel,
                    as_of=now,
                    position=position,
                    since=place.since,
                    waited=max(0.0, now - place.since),
                    status=forecast.status,
                    **_foretold(forecast),
                )
        return None

    def plan(self, queue: str) -> Plan | None:
        """The staffing plan; None without one."""
        self._known(queue)
        plan = self._plans.get(queue)
        return None if plan is None or plan.steps[-1].at <= self._clock() else plan

    async def set_plan(self, queue: str, steps: Sequence[PlanStep], by: str) -> Plan | None:
        """Replace the staffing plan; without steps there is none any more."""
        self._known(queue)
        ordered = tuple(sorted(steps, key=lambda step: step.at))
        plan = Plan(queue, ordered, self._clock(), by) if ordered else None

        def change(saved: bytes | None) -> bytes:
            others = tuple(each for each in _plans(saved) if each.queue != queue)
            return msgspec.json.encode(others if plan is None else (*others, plan))

        self._take_plans(await self._journal.change_value(PLANS, change))
        if plan is None:
            await self._do(PlanStaff(queue, ()))
        else:
            await self._follow(plan)
        if self._news is not None:
            await self._news.tell(PLANS)
        log.info("ewt.planned", queue=queue, steps=len(ordered), by=by)
        return plan

    async def resync(self) -> Resynced:
        """Tell the estimator anew who works and who waits, as the floor has it."""
        corrected: bool = await self._do(ResyncEstimates())
        now, told = self._clock(), self._floor.acd.told()
        if corrected:
            log.warning("ewt.resynced", agents=len(told.agents), contacts=len(told.contacts))
        waiting = sum(contact.agent is None for contact in told.contacts)
        return Resynced(now, len(told.agents), waiting, len(told.contacts) - waiting, corrected)

    async def calibration(self, since: float, until: float, queue: str | None = None) -> Calibration:
        """How good the forecasts of a time were."""
        if queue is not None:
            self._known(queue)
        outcomes = await self._journal.outcomes(MOST_OUTCOMES + 1, queue=queue, since=since, until=until)
        report = await asyncio.to_thread(report_on, outcomes[:MOST_OUTCOMES], ZoneInfo(self._zone))
        alarms = {name: alarm for name, alarm in self._alarms.items() if queue in {None, name}}
        return Calibration(since, until, self._zone, report, alarms, complete=len(outcomes) <= MOST_OUTCOMES)

    # --- how it is done

    def _known(self, queue: str) -> None:
        if queue not in self._floor.queues:
            raise UnknownLineError(f"There is no queue {queue!r}; there are: {', '.join(self._floor.queues)}.")

    async def _follow(self, plan: Plan) -> None:
        await self._do(PlanStaff(plan.queue, tuple((step.at, step.capacity) for step in plan.steps)))

    def _wait(self, queue: str, priority: int, now: float) -> QueueWait:
        floor, settings = self._floor, self._floor.queues[queue]
        view = floor.acd.queue_view(QueueId(queue), now)
        forecast = floor.estimator.forecast(now, queue, priority)
        pace, figures, plan = floor.witness.pace(queue, now), self._figures.get(queue), self._plans.get(queue)
        side, decision = self._offer(queue, forecast, now)
        is_open = floor.queue_now(queue, "en", now).open
        status: WaitStatus = forecast.status if is_open else "closed"
        return QueueWait(
            queue=queue,
            title=settings.title or queue,
            channel=settings.channel,
            languages=tuple(skill.removeprefix(SPEAKS) for skill in settings.skills if skill.startswith(SPEAKS)),
            priority=priority,
            as_of=now,
            status=status,
            **_foretold(forecast),
            waiting=view.waiting,
            longest_wait=view.longest_wait if view.waiting else None,
            drain_per_min=None if pace is None else pace.drain_per_min,
            abandon_per_min=None if pace is None else pace.hangups_per_min,
            agents_ready=view.agents_ready,
            agents_busy=view.agents_busy,
            open_slots=view.open_slots,
            outcomes_seen=forecast.outcomes,
            coverage_80_recent=None if figures is None else figures.coverage,
            alarm=self._alarms.get(queue),
            plan_until=None if plan is None else plan.steps[-1].at,
            sms=side,
            decision=decision,
        )

    def _offer(self, queue: str, forecast: Forecast, now: float) -> tuple[SmsSide | None, DecisionNow | None]:
        """The chats' side, and what a caller who can be texted would be offered."""
        floor, settings = self._floor, self._floor.queues[queue]
        if settings.channel != "voice":
            return None, None
        side = sms = None
        staffed = False
        if settings.desk is not None:
            reserved = floor.policy.reserved(now, settings.desk)
            sms = floor.estimator.forecast(now, settings.desk, extra=reserved)
            view = floor.acd.queue_view(QueueId(settings.desk), now)
            staffed = view.staffed
            side = SmsSide(settings.desk, sms.mean, sms.p50, sms.p90, view.open_slots, reserved)
        caller = Circumstances(
            number=SOMEBODY,
            can_text=True,
            sms_staffed=staffed,
            sms_open=settings.desk is None or floor.queue_now(settings.desk, "en", now).open,
            sms_open_slots=0 if side is None else side.open_slots,
        )
        decided = floor.policy.preview(now, queue, forecast, sms, caller)
        before = self._deciding.get(queue)
        so = decided.offer, decided.reason
        since = now if before is None or before[0] != so else before[1]
        self._deciding[queue] = (so, since)
        inputs = decided.inputs
        return side, DecisionNow(*so, inputs.get("p"), inputs.get("threshold"), inputs.get("pi"), since)


def _plans(saved: bytes | None) -> tuple[Plan, ...]:
    """As they are kept."""
    return () if saved is None else msgspec.json.decode(saved, type=tuple[Plan, ...])


class _Foretold(TypedDict):
    """What a queue's wait and a contact's say of their forecast; the status is not always the forecast's."""

    basis: str
    mean: float | None
    p10: float | None
    p25: float | None
    p50: float | None
    p75: float | None
    p90: float | None
    prob_ge: dict[str, float | None]
    ahead: float | None
    capacity: int | None
    announce: Announcement


def _foretold(forecast: Forecast) -> _Foretold:
    band = forecast.band()
    return {
        "basis": forecast.basis,
        "mean": forecast.mean,
        "p10": forecast.p10,
        "p25": forecast.p25,
        "p50": forecast.p50,
        "p75": forecast.p75,
        "p90": forecast.p90,
        "prob_ge": {f"{limit:g}": forecast.prob(limit) for limit in THRESHOLDS},
        "ahead": forecast.ahead,
        "capacity": forecast.capacity,
        "announce": Announcement(band.low_min, band.high_min, band.speak, band.silence),
    }
