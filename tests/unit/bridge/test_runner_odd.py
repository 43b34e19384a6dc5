"""Odd lives with everything but sockets: one customer in several conversations at once, and STOP in a strange wrapping."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge import events as e
from bridge.legs import TextLeg
from bridge.telephony.loopback import AgentPhone
from tests.unit.bridge.house import ANN, BEN, CALLER, House, picture
from tests.unit.bridge.story import OURS


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A server that takes traffic."""
    async with House(tmp_path).open() as house:
        yield house


async def test_stop_to_the_chat_holds_for_the_call_of_the_same_person(house: House) -> None:
    """A chat is open and the customer calls as well: after STOP neither conversation texts, and START opens both."""
    await house.ready(BEN)
    await house.caller.text(OURS, "hello")
    await house.accept(BEN)
    chat = house.session
    await house.dial()
    call = house.session
    assert call != chat
    await house.caller.text(OURS, "STOP")
    await house.line("opted_out")
    assert {house.runner.sessions[session].state.text for session in (chat, call)} == {TextLeg.OPTED_OUT}
    assert len(await house.lines("opted_out", chat)) == len(await house.lines("opted_out", call)) == 1
    await house.caller.text(OURS, "START")
    await house.until(lambda: house.runner.sessions[call].state.text is TextLeg.OPEN)


async def test_stop_with_a_picture_is_stop(house: House) -> None:
    """A wish to be left alone is obeyed in any wrapping; other words beside a picture are no commands."""
    await house.caller.text(OURS, "help", [("router.png", picture(), "image/png")])
    await house.until(lambda: len(house.received) == 1)
    assert house.state.text is TextLeg.QUEUED
    await house.caller.text(OURS, "Stop", [("router.png", picture(), "image/png")])
    await house.until(lambda: not house.runner.sessions)
    assert await house.journal.suppressed(CALLER, OURS)


async def test_a_phone_that_is_busy_does_not_let_the_second_in_line_overtake(house: House) -> None:
    """The first in line rings again, wherever there is a desk."""
    house.calls.set_agent_phone("loopback:ann", AgentPhone(busy=True))
    await house.to_the_line()
    first = house.session
    await house.ready(ANN)
    await house.until(lambda: bool(house.desk.offers(ANN)))
    house.now += 1.0
    await house.to_the_line()
    second = house.session
    await house.until(lambda: house.floor.acd.waiting(e.QueueId("support")) == (first, second))
    await house.accept(ANN)
    await house.until(lambda: house.runner.sessions[first].state.agent_legs == 1)
    await house.until(lambda: bool(house.desk.offers(ANN)))
    assert house.desk.offers(ANN)[0].session == first
