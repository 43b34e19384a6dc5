"""Waiting times as the whole server tells them, plans, and what became of forecasts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from bridge import events as e
from bridge.hindsight import Outcome
from bridge.journal import JournalUnavailableError
from bridge.waiting import MOST_OUTCOMES, Waiting
from bridge.web.ports_ewt import PlanStep, QueueWait, UnknownLineError
from tests.unit.bridge.house import ANN, BEN, House
from tests.unit.bridge.story import START
from tests.unit.hindsight.told import outcome

DAY = 86_400.0


def waiting(house: House, registry: CollectorRegistry | None = None) -> Waiting:
    return Waiting(
        house.floor,
        house.journal,
        registry or CollectorRegistry(),
        do=house.runner.do,
        zone="Europe/Madrid",
        clock=house.clock,
    )


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, queues=[{"id": "support", "desk": "support_sms"}, {"id": "support_sms", "channel": "sms"}])


async def test_a_queue_without_agents_has_no_number_to_tell(house: House) -> None:
    """The wait holds a guess, nothing is spoken, and a pace that nobody saw is unknown and not 0."""
    async with house.open():
        told = waiting(house).queue("support")
        assert (told.status, told.basis, told.capacity, told.announce.silence) == ("no_agents", "prior", 0, "no_agents")
        assert (told.drain_per_min, told.abandon_per_min, told.longest_wait, told.coverage_80_recent) == (None,) * 4
        assert told.decision is not None
        assert (told.decision.offer_sms, told.decision.reason) == (False, "sms_unstaffed")
        assert told.sms is not None
        assert told.sms.queue == "support_sms"
        with pytest.raises(UnknownLineError, match="support, support_sms"):
            waiting(house).queue("nowhere")


async def test_an_agent_who_is_free_is_no_wait(house: House) -> None:
    """A queue of chats decides nothing and has no other side."""
    async with house.open():
        await house.ready(ANN)
        service = waiting(house)
        told = service.queue("support")
        assert (told.status, told.p50, told.announce.low_min, told.agents_ready) == ("free_agent", 0.0, 0, 1)
        assert told.decision is not None
        assert told.decision.reason == "agent_free"
        texts = service.queue("support_sms")
        assert (texts.channel, texts.sms, texts.decision) == ("sms", None, None)


async def test_looking_leaves_no_traces(house: House) -> None:
    """However often it is asked, no offer counts as made and no queue begins to offer; `since` stays while nothing changes."""
    async with house.open():
        service = waiting(house)
        first = service.queue("support").decision
        house.now += 60.0
        again = service.queue("support").decision
        assert first is not None
        assert again is not None
        assert (again.since, house.floor.policy.reserved(house.now)) == (first.since, 0.0)


async def test_what_is_shown_is_what_the_next_caller_is_offered(tmp_path: Path) -> None:
    """Also in a house that holds every second caller out to compare with, and limits offers; looking counts for nothing."""
    offers = {"mode": "always", "hold_out": 0.5, "per_minute": 1}
    house = House(
        tmp_path, queues=[{"id": "support", "desk": "support_sms", "offers": offers}, {"id": "support_sms", "channel": "sms"}]
    )
    async with house.open():
        await house.ready(BEN)
        service, policy = waiting(house), house.floor.policy
        for _ in range(3):
            decision = service.queue("support").decision
            assert decision is not None
            assert (decision.offer_sms, decision.reason) == (True, "always")
        assert (policy.reserved(house.now), policy.switches) == (0.0, 0)


async def test_all_queues_are_worked_out_once_a_second(house: House) -> None:
    """Whoever asks within a second gets the same."""
    async with house.open():
        service = waiting(house)
        first, again = await asyncio.gather(service.queues(), service.queues())
        assert first is again
        assert [each.queue for each in first] == ["support", "support_sms"]
        house.now += 1.0
        assert (await service.queues())[0].as_of == house.now


async def test_outside_its_hours_a_queue_is_closed(tmp_path: Path) -> None:
    """Whoever works then."""
    night = {"week": {"mon": ["01:00-02:00"]}}
    house = House(
        tmp_path,
        queues=[{"id": "support", "hours": "night"}, {"id": "support_sms", "channel": "sms"}],
        hours={"support_hours": {}, "night": night},
    )
    async with house.open():
        await house.ready(ANN)
        assert waiting(house).queue("support").status == "closed"


async def test_who_stands_in_line_has_a_wait_that_is_left(house: House) -> None:
    """With the place; somebody else has none."""
    async with house.open():
        await stand_in_line(house)
        house.now += 40.0
        service = waiting(house)
        told = service.contact(house.session)
        assert told is not None
        assert (told.queue, told.channel, told.position, told.waited, told.status) == ("support", "voice", 1, 40.0, "no_agents")
        assert told.p50 is not None
        assert told.p50 > 0
        assert service.contact(e.SessionId("nobody")) is None


async def stand_in_line(house: House) -> e.LegId:
    """Somebody calls and is in line: not only in the journal, where it is first."""
    leg = await house.to_the_line()
    await house.until(lambda: house.floor.acd.position(house.session, "voice") is not None)
    return leg


# --- plans


async def test_a_plan_survives_a_restart_and_can_be_forgotten(house: House) -> None:
    """It is in the numbers, in the order of time, until it is cleared or has passed."""
    steps = [PlanStep(START + 2 * DAY, 5), PlanStep(START + DAY, 3)]
    async with house.open():
        service = waiting(house)
        plan = await service.set_plan("support", steps, "api:planner")
        assert plan is not None
        assert [step.capacity for step in plan.steps] == [3, 5]
        assert service.queue("support").plan_until == START + 2 * DAY
        with pytest.raises(UnknownLineError):
            await service.set_plan("nowhere", steps, "api:planner")
    async with house.open():
        service = waiting(house)
        async with running(service):
            assert service.plan("support") == plan
            assert await service.set_plan("support", [], "api:planner") is None
            assert service.plan("support") is None
            await service.set_plan("support", steps[:1], "admin")
            house.now += 2 * DAY
            await service.keep()
            assert service.plan("support") is None
            assert service.queue("support").plan_until is None


async def test_a_plan_of_a_queue_that_is_gone_is_left_alone(house: House, tmp_path: Path) -> None:
    """Nobody else's wait is made of it."""
    async with house.open():
        await waiting(house).set_plan("support", [PlanStep(START + DAY, 3)], "admin")
    other = House(tmp_path, queues=[{"id": "other", "desk": "support_sms"}, {"id": "support_sms", "channel": "sms"}], agents=[])
    async with other.open():
        service = waiting(other)
        async with running(service):
            assert service.plan("other") is None


# --- what became of forecasts


async def test_what_a_caller_was_told_is_compared_with_what_came(house: House) -> None:
    """Kept over restarts, with half-hours by the clocks of the zone."""
    async with house.open():
        await stand_in_line(house)
        service = waiting(house)
        async with running(service):
            await house.later(90.0)
            await house.ready(ANN)
            await house.accept(ANN)
            await house.line("agent.joined")
        [kept] = await house.journal.outcomes(10)
        assert (kept.queue, kept.session, round(kept.wait), kept.ghost) == ("support", str(house.session), 90, False)
    async with house.open():
        service = waiting(house)
        async with running(service):
            found = await service.calibration(START - DAY, START + DAY)
            assert found.report.total is not None
            assert (found.report.total.scores.n, found.complete, found.zone) == (1, True, "Europe/Madrid")
            assert (await service.calibration(START - DAY, START + DAY, "support_sms")).report.total is None
            with pytest.raises(UnknownLineError):
                await service.calibration(START - DAY, START + DAY, "nowhere")
            assert service.queue("support").coverage_80_recent is not None


async def test_who_hangs_up_is_followed_until_their_turn(house: House) -> None:
    """As a ghost: never only those who were served."""
    async with house.open():
        first = await stand_in_line(house)
        await house.later(30.0)
        await house.calls.hang_up(first)
        await house.until(lambda: house.floor.acd.waiting(e.QueueId("support")) == ())
        await house.later(70.0)
        await house.ready(ANN)
        service = waiting(house)
        await service.keep()
        [kept] = await house.journal.outcomes(10)
        assert (kept.ghost, round(kept.wait)) == (True, 100)


async def test_who_texts_instead_of_waiting_is_followed_as_well(tmp_path: Path) -> None:
    """What a deflection is worth is told by the wait that they would have had."""
    house = House(tmp_path)
    async with house.open():
        await house.ready(BEN)
        leg = await house.dial()
        await house.line("offer.made")
        await house.calls.press(leg, "1")
        await house.line("offer.answered")
        deflected = house.session
        await house.until(lambda: bool(house.floor.witness._lines["support"].ghosts))
        await house.later(75.0)
        await house.ready(ANN)
        service = waiting(house)
        await service.keep()
        assert [(kept.session, kept.ghost) for kept in await house.journal.outcomes(10)] == [(deflected, True)]


async def test_outcomes_wait_for_a_database_that_does_not_work(house: House) -> None:
    """And are kept when it does."""
    async with house.open():
        broken = Broken(house)
        broken.floor.witness._outcomes.append(outcome())
        await broken.service.keep()
        broken.forgets = True
        await broken.service.keep()
        assert await house.journal.outcomes(10) == []
        broken.works = True
        await broken.service.keep()
        assert await house.journal.outcomes(10) == [outcome()]
        broken.reads = True
        broken.floor.witness._outcomes.append(outcome())
        await broken.service.keep()
        figures = broken.service._figures["support"]
        assert figures.n == 2, "what was kept while nothing could be read is counted"


@asynccontextmanager
async def running(service: Waiting) -> AsyncIterator[None]:
    """Its task, for the length of a block."""
    started = asyncio.Event()
    task = asyncio.create_task(service.run(started))
    await started.wait()
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Broken:
    """Waiting times on a journal that does not keep outcomes until it works."""

    def __init__(self, house: House) -> None:
        self.works = self.forgets = self.reads = False
        self.floor = house.floor
        self._journal = house.journal
        self.service = Waiting(
            house.floor,
            self,  # type: ignore[arg-type]
            CollectorRegistry(),
            do=house.runner.do,
            zone="UTC",
            clock=house.clock,
        )

    async def keep_outcomes(self, outcomes: list[object]) -> None:
        if not self.works:
            raise JournalUnavailableError("the disk is full")
        await self._journal.keep_outcomes(outcomes)  # type: ignore[arg-type]

    async def outcomes(self, limit: int, *, queue: str) -> list[Outcome]:
        if not self.reads:
            raise JournalUnavailableError("it is being started")
        return await self._journal.outcomes(limit, queue=queue)

    async def forget_outcomes(self, before: float) -> int:
        if not self.forgets:
            raise JournalUnavailableError("the disk is full")
        return await self._journal.forget_outcomes(before)


async def test_what_is_older_than_a_year_and_a_month_is_forgotten(house: House) -> None:
    """Once a day somebody looks."""
    async with house.open():
        service = waiting(house)
        await house.journal.keep_outcomes([outcome(1.0, at=START - 401 * DAY), outcome(2.0, at=START - 399.5 * DAY)])
        await service.keep()
        assert [kept.wait for kept in await house.journal.outcomes(9)] == [2.0]
        house.now += DAY - 1.0
        await service.keep()
        assert len(await house.journal.outcomes(9)) == 1
        house.now += 1.0
        await service.keep()
        assert await house.journal.outcomes(9) == []


async def test_forecasts_that_are_off_raise_an_alarm_until_they_are_not(house: House) -> None:
    """Only that queue is concerned; the figures are on /metrics."""
    registry = CollectorRegistry()
    async with house.open():
        await house.journal.keep_outcomes([outcome(500.0 + n, at=START + n) for n in range(150)])
        service = waiting(house, registry)
        async with running(service):
            assert service.queue("support").alarm == "too_short"
            assert service.queue("support_sms").alarm is None
            cautious = service.queue("support").decision
            assert cautious is not None
            assert cautious.pi == 0.65, "offers are made with more care meanwhile"
            assert (await service.calibration(START - DAY, START + DAY)).alarms == {"support": "too_short"}
            labels = {"queue": "support"}
            assert registry.get_sample_value("sidetone_ewt_coverage80", labels) == 0.0
            assert registry.get_sample_value("sidetone_ewt_bias_seconds", labels) == pytest.approx(130.0 - 574.5)
            assert registry.get_sample_value("sidetone_ewt_brier", {**labels, "seconds": "300"}) is not None
            assert registry.get_sample_value("sidetone_ewt_regret", {**labels, "seconds": "300"}) == pytest.approx(274.5)
            assert registry.get_sample_value("sidetone_ewt_pinball", {**labels, "level": "0.9"}) is not None
            house.floor.witness._outcomes += [outcome((50.0, 100.0, 130.0, 180.0, 230.0)[n % 5]) for n in range(200)]
            await service.keep()
            assert service.queue("support").alarm is None
            usual = service.queue("support").decision
            assert usual is not None
            assert usual.pi != 0.65


async def test_a_queue_that_is_gone_takes_its_alarm_with_it(house: House) -> None:
    """Nobody could end it."""
    async with house.open():
        await house.journal.keep_outcomes([outcome(500.0, at=START + n) for n in range(150)])
        service = waiting(house)
        async with running(service):
            assert service.alarms == 1
            house.floor.queues = {name: queue for name, queue in house.floor.queues.items() if name != "support"}
            await service.keep()
            assert service.alarms == 0


async def test_a_report_says_when_it_is_not_of_everything(house: House) -> None:
    """More is not read at once."""
    async with house.open():
        await house.journal.keep_outcomes([outcome(n % 300, at=START + n / 1000) for n in range(MOST_OUTCOMES + 1)])
        found = await waiting(house).calibration(START, START + DAY)
        assert found.report.total is not None
        assert (found.complete, found.report.total.scores.n) == (False, MOST_OUTCOMES)


# --- the estimator and the floor


async def test_the_estimator_is_told_anew_what_it_has_missed(house: House) -> None:
    """Agents, places in line and work in hand; what it knew already stays, and doing it again changes nothing."""
    async with house.open():
        await house.ready(ANN)
        await stand_in_line(house)
        await house.accept(ANN)
        await stand_in_line(house)
        service = waiting(house)
        assert await service.resync() == await service.resync()
        before = numbers(service.queue("support"))
        told = house.floor.acd.told()
        assert (len(told.agents), len(told.contacts)) == (1, 2)

        for contact in told.contacts:
            house.floor.estimator.abandoned(house.now, contact.contact)
        house.floor.estimator.logout(house.now, ANN)
        assert numbers(service.queue("support")) != before
        first = await service.resync()
        assert (first.agents, first.waiting, first.in_hand, first.corrected) == (1, 1, 1, True)
        assert not (await service.resync()).corrected
        assert numbers(service.queue("support")) == before


def numbers(told: QueueWait) -> tuple[float | None, ...]:
    return told.ahead, told.capacity, told.agents_busy
