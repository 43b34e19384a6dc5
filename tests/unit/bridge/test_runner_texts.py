"""Chats in the whole house across restarts: who is asked, in which order, and what came due while nobody was there."""

from pathlib import Path
from typing import Any

import pytest

from bridge import events as e
from bridge.legs import TextLeg
from tests.unit.bridge.house import BEN, CALLER, House
from tests.unit.bridge.story import OURS

CYD = e.AgentId("cyd")
RULES = {"reopen_window": 900, "prefer_for": 60, "transfer_ring": 30, "dismiss_after": 600, "expire": 3_600}
DIRECT = "+15550100201"


def two_agents(folder: Path, **changes: Any) -> House:
    """Ben and Cyd at one desk, in which every rule holds; a direct number of Ben's."""
    numbers = [{"number": OURS, "flow": "support", "desk": "support_sms"}, {"number": DIRECT, "agent": "ben"}]
    agents = [
        {"id": "ben", "name": "Ben", "queues": ["support_sms"]},
        {"id": "cyd", "name": "Cyd", "queues": ["support_sms"]},
    ]
    return House(folder, numbers=numbers, agents=agents, sms=RULES | changes)


async def chatting(house: House, agent: e.AgentId = BEN) -> e.SessionId:
    """The caller chats with this agent, who has written last."""
    await house.ready(agent)
    await house.caller.text(OURS, "my router blinks")
    await house.accept(agent)
    await house.desk.say(agent, house.session, "Which one?")
    await house.until(lambda: len(house.received) >= 2)
    return house.session


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Not open yet."""
    return two_agents(tmp_path)


async def test_a_transfer_is_offered_to_the_colleague_alone_also_after_a_restart(house: House) -> None:
    """Ben is ready and gets nothing; when Cyd does not take it in time, it is Ben's again."""
    async with house.open():
        session = await chatting(house)
        await house.ready(CYD)
        await house.desk.transfer(BEN, session, to=CYD, queue=None, note="wants a refund")
        await house.until(lambda: bool(house.desk.offers(CYD)))
        assert not house.desk.offers(BEN)
    async with house.open():
        await house.ready(BEN, CYD)
        await house.until(lambda: bool(house.desk.offers(CYD)))
        assert not house.desk.offers(BEN)
        await house.later(RULES["transfer_ring"])
        await house.line("transfer.failed")
        await house.until(lambda: bool(house.desk.offers(BEN)))
        await house.accept(BEN)
        assert house.state.chat_agent == BEN


async def test_a_chat_put_aside_comes_back_after_a_restart(house: House) -> None:
    """By the timer that came due while nobody was there; to the same agent first, then to anybody."""
    async with house.open():
        session = await chatting(house)
    house.now += RULES["dismiss_after"] + 1.0
    async with house.open():
        await house.line("chat.dismissed")
        await house.ready(BEN, CYD)
        await house.caller.text(OURS, "the blue one")
        await house.until(lambda: bool(house.desk.offers(BEN)))
        assert house.session == session
        assert not house.desk.offers(CYD)
        await house.desk.decline(BEN, session, "sms")
        await house.until(lambda: bool(house.desk.offers(CYD)))


async def test_a_chat_reopens_after_a_restart(house: House) -> None:
    """In the same session while the window is open, in another one afterwards."""
    async with house.open():
        session = await chatting(house)
        await house.desk.end_chat(BEN, session)
        await house.desk.wrap_up(BEN, session, "done", None)
    async with house.open():
        await house.caller.text(OURS, "one more thing")
        await house.line("chat.reopened")
        assert house.session == session
        await house.ready(BEN)
        await house.accept(BEN)
        await house.desk.end_chat(BEN, session)
        await house.desk.wrap_up(BEN, session, "done", None)
    house.now += RULES["reopen_window"] + 1.0
    async with house.open():
        await house.until(lambda: not house.runner.sessions)
        assert (await house.stored(session)).reason == "ended by agent"
        await house.caller.text(OURS, "my router blinks again")
        await house.until(lambda: bool(house.runner.sessions))
        assert house.session != session


async def test_nobody_takes_a_chat_and_the_server_was_away_as_well(house: House) -> None:
    """The apology goes out when it is back."""
    async with house.open():
        await house.caller.text(OURS, "hello")
        await house.until(lambda: len(house.received) == 1)
    house.now += RULES["expire"] + 1.0
    async with house.open():
        await house.until(lambda: len(house.received) == 2)
        assert "nobody could answer you in time" in house.received[1]
        await house.until(lambda: not house.runner.sessions)


async def test_a_text_to_a_direct_number_waits_for_its_agent(house: House) -> None:
    """Cyd is free and is not asked; Ben is when he comes."""
    async with house.open():
        await house.ready(CYD)
        await house.caller.text(DIRECT, "hello Ben")
        await house.until(lambda: len(house.received) == 1)
        await house.later(60.0)
        assert not house.desk.offers(CYD)
    async with house.open():
        await house.ready(CYD, BEN)
        await house.accept(BEN)
        assert not house.desk.offers(CYD)
        assert house.state.service == "direct"


async def test_another_phone_is_known_after_a_restart(house: House) -> None:
    """It need not give the code again, and is answered."""
    other = house.network.handset("+15550100124")
    async with house.open():
        session = await chatting(house)
        await other.text(OURS, f"{house.state.code.lower()} it is me")
        await house.line("sender.added")
    async with house.open():
        await other.text(OURS, "the blue one")
        await house.line("text.received", 3)
        assert list(house.runner.sessions) == [session]
        await house.desk.say(BEN, session, "Thank you")
        await house.until(lambda: len(other.received) == 2)
        assert "Reply STOP" in other.received[0].body
        assert other.received[1].body == "Thank you"
        assert "Thank you" not in house.received
        assert house.state.customer == CALLER


async def test_words_to_be_judged_are_still_to_be_judged_after_a_restart(house: House) -> None:
    """The composer stays closed, and the judge is the agent who has the chat."""
    async with house.open():
        session = await chatting(house)
        await house.caller.text(OURS, "please stop texting me")
        await house.line("stop.suspected")
    async with house.open():
        await house.ready(BEN)
        view = await house.desk.session(BEN, session)
        assert view.suspicion is not None
        assert not view.composer_open
        await house.desk.judge(BEN, session, meant=True)
        await house.line("opted_out")
        assert house.state.text is TextLeg.OPTED_OUT
        assert await house.journal.suppressed(CALLER, OURS)
