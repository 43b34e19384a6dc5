"""What callers and texters are told of a wait obeys one set of rules, wherever it is told."""

import math
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.events import QueueId
from ewt.forecast import Basis, Forecast, Status
from ivr_flows.facts import Ewt
from ivr_flows.holding import band
from ivr_flows.model import LARGEST
from sms.menu import MenuFacts
from sms.menu_loader import MENUS, load_menu
from tests.unit.bridge.house import ANN, BEN, House
from tests.unit.bridge.test_waiting import stand_in_line

STATUSES: tuple[Status, ...] = ("ok", "free_agent", "no_agents", "degraded")
BASES: tuple[Basis, ...] = ("prior", "learned", "plan")
Seconds = st.floats(0.0, 7200.0)


@given(st.sampled_from(STATUSES), st.sampled_from(BASES), st.lists(Seconds, min_size=5, max_size=5))
def test_a_flow_never_says_more_than_the_estimator_lets_it(status: Status, basis: Basis, numbers: list[float]) -> None:
    """The same minutes as the API shows, or nothing: in doubt a voice is the more silent of the two."""
    p10, p25, p50, p75, p90 = (0.0,) * 5 if status == "free_agent" else sorted(numbers)
    forecast = Forecast(status, basis, p50, p10, p25, p50, p75, p90)
    spoken = band(Ewt(status, basis, p50, p10, p50, p75, p90))
    shown = forecast.band()
    if spoken is None or p75 == 60.0:
        return
    assert shown.speak
    assert (shown.low_min, shown.high_min) == ((0, 1) if spoken == (0, 0) else spoken)
    assert shown.high_min is not None
    assert shown.high_min <= LARGEST


@given(st.sampled_from(STATUSES), st.sampled_from(BASES), st.lists(Seconds, min_size=5, max_size=5))
def test_unsure_is_silent_and_nothing_is_told_shorter_than_it_is(status: Status, basis: Basis, numbers: list[float]) -> None:
    """No number of guesses, with nobody there, or of a spread that says nothing; else its upper end holds for three of four."""
    p10, _, p50, p75, p90 = sorted(numbers)
    spoken = band(Ewt(status, basis, p50, p10, p50, p75, p90))
    if status in {"no_agents", "degraded"} or basis == "prior" or p90 > max(3 * p50, 60.0):
        assert spoken is None
    elif spoken is not None:
        assert spoken[0] <= spoken[1]
        assert p75 <= 60.0 * max(1, spoken[1])
        assert p50 <= 60.0 * max(1, spoken[0])


def test_without_a_forecast_nothing_is_known() -> None:
    """None is not 0, on either side."""
    assert band(None) is None
    assert band(Ewt("degraded", "learned")) is None
    assert not Forecast("degraded", "learned").band().speak


@pytest.mark.parametrize("who", ["nobody", "guess", "free"])
async def test_texts_name_a_wait_only_when_it_is_known(tmp_path: Path, who: Literal["nobody", "guess", "free"]) -> None:
    """A guess is not told, nor the wait for nobody; whoever is free is told as less than a minute, rounded up."""
    house = House(tmp_path)
    async with house.open():
        if who != "nobody":
            await house.ready(BEN)
        if who == "guess":
            house.floor.estimator.capacity(house.now, BEN, 0, 0)
        now = house.floor.queue_now("support_sms", "en", house.now)
        assert now.ewt_minutes == (1 if who == "free" else None)
        facts = MenuFacts("Example", {"desk": now})
        step = load_menu(MENUS / "default.yaml").enter("Hello", language="en", introduced=True, facts=facts)
        words = " ".join(said.text for said in step.says)
        assert (" min" in words) <= (who == "free")


async def test_what_a_caller_hears_in_line_is_what_is_left_of_their_own_wait(tmp_path: Path) -> None:
    """Not that of a newcomer: who stands further ahead waits less."""
    house = House(tmp_path)
    async with house.open():
        first = await stand_in_line(house)
        one = house.state
        await stand_in_line(house)
        customer = house.runner.sessions[one.id].customer
        ahead = house.floor.facts(one, customer, house.now).remaining
        behind = house.floor.facts(house.state, customer, house.now).remaining
        newcomer = house.floor.facts(house.state, customer, house.now).ewt[QueueId("support")]
        assert ahead is not None
        assert behind is not None
        assert ahead.p50 is not None
        assert behind.p50 is not None
        assert newcomer.p50 is not None
        assert ahead.p50 < behind.p50 < newcomer.p50
        assert (ahead.status, ahead.basis) == ("no_agents", "prior")
        await house.calls.hang_up(first)


async def test_nothing_is_told_of_a_wait_that_was_only_guessed(tmp_path: Path) -> None:
    """However long the caller stands in line: "longer than usual" once, and never a number."""
    house = House(tmp_path)
    async with house.open():
        await house.ready(ANN)
        await stand_in_line(house)
        await house.accept(ANN)
        await house.line("agent.joined")
        leg = await stand_in_line(house)
        waiting = house.session
        for _ in range(8):
            await house.later(31.0)
        told = [line.data for line in await house.lines("ewt.told", waiting)]
        assert [line["high"] for line in told] == [None]
        assert math.isclose(house.floor.estimator.forecast(house.now, "support").prob(0.0) or 0.0, 1.0)
        await house.calls.hang_up(leg)
