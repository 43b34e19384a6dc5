"""Waiting times as a test wants them."""

from collections.abc import Sequence
from datetime import UTC

import msgspec

from bridge.events import SessionId
from bridge.hindsight import Outcome, report_on
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
)
from tests.unit.hindsight.told import outcome

NOW = 1_800_000_000.0
IN_LINE = SessionId("s-7")


def wait(queue: str = "support", **changes: object) -> QueueWait:
    """Two minutes at the phones; nobody there at the desk for texts."""
    whole = QueueWait(
        queue=queue,
        title="Support",
        channel="voice",
        languages=(),
        priority=1,
        as_of=NOW,
        status="ok",
        basis="learned",
        mean=131.0,
        p10=50.0,
        p25=84.0,
        p50=120.0,
        p75=171.0,
        p90=230.0,
        prob_ge={"60": 0.86, "120": 0.5, "300": 0.04},
        waiting=7,
        longest_wait=96.0,
        ahead=7.0,
        capacity=12,
        drain_per_min=3.1,
        abandon_per_min=0.4,
        agents_ready=0,
        agents_busy=12,
        open_slots=0,
        outcomes_seen=412,
        coverage_80_recent=0.79,
        alarm=None,
        plan_until=None,
        sms=SmsSide("support_sms", 35.0, 20.0, 110.0, 5, 2.0),
        decision=DecisionNow(offer_sms=True, reason="offer", p=0.5, threshold=120.0, pi=0.4, since=NOW - 30),
        announce=Announcement(2, 3, speak=True, silence=None),
    )
    return msgspec.structs.replace(whole, **changes)


UNKNOWN = dict.fromkeys(("mean", "p10", "p25", "p50", "p75", "p90", "ahead", "longest_wait", "drain_per_min"))


class FakeWaits:
    """Two queues, a caller in line, and outcomes that a test may change."""

    def __init__(self) -> None:
        texts = wait(
            "support_sms",
            title="Support by text",
            channel="sms",
            languages=("fr",),
            status="no_agents",
            sms=None,
            decision=None,
            announce=Announcement(None, None, speak=False, silence="no_agents"),
            waiting=0,
            **UNKNOWN,
        )
        self.waits = {"support": wait(), "support_sms": texts}
        self.plans: dict[str, Plan] = {}
        self.outcomes: list[Outcome] = [outcome(120.0 + n, at=NOW - 60 * n) for n in range(20)]
        self.resyncs = 0

    def queue(self, queue: str, priority: int = 1) -> QueueWait:
        """As it is set."""
        self._known(queue)
        return msgspec.structs.replace(self.waits[queue], priority=priority)

    async def queues(self) -> tuple[QueueWait, ...]:
        """All of them."""
        return tuple(self.waits.values())

    def contact(self, session: SessionId) -> ContactWait | None:
        """One stands in line."""
        if session != IN_LINE:
            return None
        shared = {name: getattr(self.waits["support"], name) for name in ContactWait.__struct_fields__ if name in _SHARED}
        return ContactWait(session=session, position=3, since=NOW - 40, waited=40.0, **shared)

    def plan(self, queue: str) -> Plan | None:
        """As it was set."""
        self._known(queue)
        return self.plans.get(queue)

    async def set_plan(self, queue: str, steps: Sequence[PlanStep], by: str) -> Plan | None:
        """Remember it."""
        self._known(queue)
        self.plans.pop(queue, None)
        if steps:
            self.plans[queue] = Plan(queue, tuple(steps), NOW, by)
        return self.plans.get(queue)

    async def resync(self) -> Resynced:
        """The first time something is put right."""
        self.resyncs += 1
        return Resynced(NOW, 3, 7, 2, self.resyncs == 1)

    async def calibration(self, since: float, until: float, queue: str | None = None) -> Calibration:
        """Worked out of the outcomes."""
        if queue is not None:
            self._known(queue)
        kept = [each for each in self.outcomes if since <= each.at < until and queue in {None, each.queue}]
        report = report_on(kept, UTC)
        return Calibration(since, until, "UTC", report, {"support": "too_short"} if kept else {}, complete=True)

    def _known(self, queue: str) -> None:
        if queue not in self.waits:
            raise UnknownLineError(f"There is no queue {queue!r}; there are: {', '.join(self.waits)}.")


_SHARED = frozenset(QueueWait.__struct_fields__)
