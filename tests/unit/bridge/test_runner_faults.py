"""A fault in one place, or a flood from one caller, does not take the server from everybody else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge import events as e
from bridge.acd import Acd, AnyAcdOutput
from bridge.runner import MOST_WAITING
from bridge.session import UnexpectedEvent
from tests.unit.bridge.house import ANN, BEN, House
from tests.unit.bridge.story import OURS


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A server; leaving it fails when its runner has broken."""
    async with House(tmp_path).open() as house:
        yield house


async def works(house: House) -> None:
    """Somebody else's text finds an agent."""
    other = house.network.handset("+15550100177")
    await house.ready(BEN)
    await other.text(OURS, "hello")
    await house.accept(BEN)
    await house.until(lambda: bool(other.received))


async def test_a_state_that_cannot_be_saved_costs_nothing_else(house: House) -> None:
    """The journal refuses half a character; it is logged."""
    await house.desk.set_state(ANN, "not_ready", "\ud800")
    await asyncio.sleep(0.05)

    await works(house)


async def test_a_step_that_cannot_be_saved_is_taken_back(house: House) -> None:
    """The agent is told, the conversation goes on from the last state that is safe."""
    await works(house)
    session = house.session
    with pytest.raises(ValueError, match="surrogates"):
        await house.desk.say(BEN, session, "\ud800")

    await house.desk.say(BEN, session, "again")
    await house.until(lambda: "again" in [text.body for text in house.network.handset("+15550100177").received])


class FaultyAcd(Acd):
    """A floor whose clock does not work."""

    def wake(self, now: float) -> list[AnyAcdOutput]:
        """See `Acd.wake`."""
        raise ZeroDivisionError(now)


async def test_a_fault_of_the_floor_ends_no_session(house: House) -> None:
    """Timers of the lines stand still for a moment; all else goes on."""
    await house.ready(ANN)
    await house.dial()
    await house.until(lambda: bool(house.desk.offers(ANN)))
    house.floor.acd.__class__ = FaultyAcd
    house.now += 1000
    house.runner.follow([])
    await asyncio.sleep(0.05)

    await works(house)


async def test_nobody_waits_for_a_session_that_is_taken_away(house: House) -> None:
    """Whoever told it something hears that it is not here any more, also when it was just being done: look whether it was."""
    await works(house)
    live = house.runner.sessions[house.session]
    house.journal.broken = True
    saying = asyncio.create_task(house.desk.say(BEN, house.session, "x"))
    await asyncio.sleep(0.05)
    assert live.task is not None
    live.task.cancel()
    house.journal.broken = False

    with pytest.raises(Exception, match="Look whether it was done"):
        await asyncio.wait_for(saying, 3)


async def test_keys_faster_than_a_finger_are_not_all_kept(house: House) -> None:
    """A line that sends keys without end fills neither the memory nor the journal."""
    leg = await house.dial()
    live = house.runner.sessions[house.session]
    house.journal.broken = True  # nothing goes forward
    await asyncio.sleep(0.01)
    for _ in range(10 * MOST_WAITING):
        await house.runner.call_event(e.DigitsReceived(leg, "1"))
    assert live.inbox.qsize() <= MOST_WAITING

    house.journal.broken = False
    with pytest.raises(UnexpectedEvent):
        await house.runner.tell(live.state.id, e.AgentHungUp(ANN))
