"""What agents see and do: whose conversation it is, what is new in it, and what happens when a desk is gone."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from bridge import events as e
from bridge.legs import TextLeg
from bridge.web.ports import DeskChanged, DeskRefusedError, DeskUpdate, LineAdded, SessionChanged, TicksChanged
from tests.unit.bridge.house import ANN, BEN, CALLER, House, picture
from tests.unit.bridge.story import OURS, START


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A server with an agent for calls and one for texts; a desk that is gone is missed after 50 ms."""
    async with House(tmp_path, desk_grace=0.05).open() as house:
        yield house


async def chatting(house: House) -> e.SessionId:
    """Ben chats with the customer."""
    await house.ready(BEN)
    await house.caller.text(OURS, "my router blinks")
    await house.accept(BEN)
    await house.until(lambda: len(house.received) == 1)
    return house.session


class Reader:
    """Somebody at a desk who reads everything."""

    def __init__(self) -> None:
        self.news: list[DeskUpdate] = []

    async def read(self, updates: AsyncIterator[DeskUpdate]) -> None:
        async for update in updates:
            self.news.append(update)

    @property
    def delivered(self) -> int:
        return sum(isinstance(update, TicksChanged) and update.ticks.state == "delivered" for update in self.news)

    def of(self, kind: type[DeskUpdate]) -> list[DeskUpdate]:
        return [update for update in self.news if isinstance(update, kind)]


async def test_only_the_right_login_and_password_sign_in(tmp_path: Path) -> None:
    """A wrong name, a wrong password, an agent without a password: all the same answer."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    agents = [
        {"id": "ann", "name": "Ann", "queues": ["support"], "password_hash": hasher.hash("secret")},
        {"id": "ben", "name": "Ben", "queues": ["support_sms"]},
    ]
    async with House(tmp_path, agents=agents).open() as house:
        signed_in = await house.desk.sign_in("ann", "secret")
        assert signed_in is not None
        assert (signed_in.id, signed_in.name, signed_in.queues) == (ANN, "Ann", ("support",))
        assert await house.desk.sign_in("ann", "wrong") is None
        assert await house.desk.sign_in("nobody", "nobody") is None
        assert await house.desk.sign_in("ben", "nobody") is None
        assert house.desk.agent(ANN) == signed_in
        assert house.desk.agent(e.AgentId("nobody")) is None


async def test_a_conversation_is_seen_by_whom_it_concerns(house: House) -> None:
    """Before it rings nobody's; then of whom it is offered to, of whom has it, and of whom had it."""
    await house.caller.text(OURS, "my router blinks")
    await house.until(lambda: bool(house.runner.sessions))
    await house.line("queue.joined")
    session = house.session
    with pytest.raises(DeskRefusedError, match="not yours"):
        await house.desk.session(BEN, session)
    await house.ready(BEN)
    await house.until(lambda: bool(house.desk.offers(BEN)))
    view = await house.desk.session(BEN, session)
    assert (view.composer_open, view.composer_why) == (False, "Accept it to write.")
    await house.accept(BEN)
    assert (await house.desk.session(BEN, session)).composer_open
    with pytest.raises(DeskRefusedError, match="not yours"):
        await house.desk.session(ANN, session)
    await house.desk.end_chat(BEN, session)
    await house.desk.wrap_up(BEN, session, "done", None)
    await house.until(lambda: not house.runner.sessions)
    over = await house.desk.session(BEN, session)
    assert (over.composer_open, over.composer_why, over.wrapping_up) == (False, "This conversation is over.", False)
    assert over.timeline[-1].kind == "session.closed"
    with pytest.raises(DeskRefusedError, match="not yours"):
        await house.desk.session(ANN, session)
    with pytest.raises(DeskRefusedError, match="not yours"):
        await house.desk.session(BEN, e.SessionId("nobody"))


async def test_work_is_listed_with_what_is_new_in_it(house: House) -> None:
    """Unread until looked at, the newest words, and the newest conversation first."""
    session = await chatting(house)
    await house.caller.text(OURS, "hello?")
    await house.line("text.received", 2)
    await house.runner.settled(session)
    [work] = await house.desk.work(BEN)
    assert (work.session, work.customer, work.queue, work.unread, work.last) == (session, CALLER, "support_sms", 2, "hello?")
    await house.desk.session(BEN, session)
    assert (await house.desk.work(BEN))[0].unread == 0
    other = house.network.handset("+15550100124")
    house.now += 5.0
    await other.text(OURS, "", [("router.png", picture(), "image/png")])
    await house.accept(BEN)
    assert [work.customer for work in await house.desk.work(BEN)] == [other.number, CALLER]
    assert await house.desk.work(ANN) == ()


async def test_an_agent_at_a_desk_sees_everything_as_it_happens(house: House) -> None:
    """Lines, ticks up to delivered, head and list; each line once and in order, and nothing only engineers read."""
    reader = Reader()
    async with house.desk.subscribe(BEN) as updates:
        reading = asyncio.create_task(reader.read(updates))
        session = await chatting(house)
        await house.desk.say(BEN, session, "Which one?")
        await house.until(lambda: len(house.received) == 2)
        await house.until(lambda: reader.delivered >= 1)
        reading.cancel()
    lines = [update.line for update in reader.news if isinstance(update, LineAdded)]
    numbers = [line.n for line in lines]
    assert numbers == sorted(set(numbers))
    assert [line.data["body"] for line in lines if line.kind == "text.sent"] == ["Which one?"]
    stored = [line for line in await house.journal.timeline(session) if line.n in numbers]
    assert [(line.n, line.kind) for line in lines] == [(line.n, line.kind) for line in stored]
    assert reader.of(DeskChanged)
    assert SessionChanged(session) in reader.news


async def test_a_refused_text_is_not_sent_and_says_why(house: House) -> None:
    """Nothing, too much, and to somebody else's customer."""
    session = await chatting(house)
    for body, why in ((" \n", "nothing to send"), ("x" * 1601, "Too long")):
        with pytest.raises(DeskRefusedError, match=why):
            await house.desk.say(BEN, session, body)
    with pytest.raises(DeskRefusedError, match="not connected"):
        await house.desk.say(ANN, session, "Hello")
    with pytest.raises(DeskRefusedError):
        await house.desk.end_chat(ANN, session)
    assert len(await house.journal.messages(session)) == 2


async def test_declined_work_keeps_its_place_and_rings_elsewhere(tmp_path: Path) -> None:
    """The other agent is offered it, with the wait of before."""
    agents = [{"id": name, "name": name, "queues": ["support_sms"]} for name in ("ann", "ben")]
    async with House(tmp_path, agents=agents).open() as house:
        await house.ready(ANN, BEN)
        await house.caller.text(OURS, "hello")
        await house.until(lambda: bool(house.desk.offers(ANN)))
        house.now += 7.0
        await house.desk.decline(ANN, house.session, "sms")
        await house.until(lambda: bool(house.desk.offers(BEN)))
        assert not house.desk.offers(ANN)
        assert house.desk.offers(BEN)[0].waited == 7.0
        assert house.desk.presence(ANN).state == "ready"


async def test_an_agent_who_does_not_answer_is_not_ready_and_is_told_so(house: House) -> None:
    """The offer rings out; the presence says `missed`; the customer keeps the place."""
    await house.ready(BEN)
    await house.caller.text(OURS, "hello")
    await house.until(lambda: bool(house.desk.offers(BEN)))
    await house.later(21.0)
    presence = house.desk.presence(BEN)
    assert (presence.state, presence.reason) == ("not_ready", "missed")
    lapsed = await house.line("offer.lapsed")
    assert lapsed.data["reason"] == "ring_timeout"
    assert house.floor.acd.position(house.session, "sms") == 1


async def test_a_desk_that_comes_back_in_time_keeps_its_work(house: House) -> None:
    """A page that is loaded anew is no reason to lose a chat."""
    session = await chatting(house)
    async with house.desk.subscribe(BEN):
        pass
    async with house.desk.subscribe(BEN):
        await asyncio.sleep(0.1)
        assert house.desk.presence(BEN).state == "ready"
        assert house.runner.sessions[session].state.chat_agent == BEN


async def test_a_desk_that_stays_away_gives_its_chats_back(house: House) -> None:
    """Offline, nothing rings there, and the customer is in line at the old place."""
    await chatting(house)
    async with house.desk.subscribe(BEN), house.desk.subscribe(BEN):
        pass
    await house.until(lambda: house.desk.presence(BEN).chats == 0)
    presence = house.desk.presence(BEN)
    assert (presence.state, presence.reason) == ("offline", "desk lost")
    await house.runner.settled(house.session)
    assert house.state.text is TextLeg.QUEUED
    assert house.state.since == START
    assert house.floor.acd.position(house.session, "sms") == 1


async def test_wrap_up_of_one_piece_of_work_does_not_end_that_of_another(house: House) -> None:
    """The agent is ready when the last note is written."""
    first = await chatting(house)
    other = house.network.handset("+15550100124")
    await other.text(OURS, "me too")
    await house.accept(BEN)
    second = house.session
    await house.desk.end_chat(BEN, first)
    await house.desk.end_chat(BEN, second)
    assert house.desk.presence(BEN).state == "wrap_up"
    await house.desk.wrap_up(BEN, first, "one", "Solved")
    assert house.desk.presence(BEN).state == "wrap_up"
    await house.desk.wrap_up(BEN, second, "two", None)
    assert house.desk.presence(BEN).state == "ready"
    assert [line.data for line in await house.lines("note.written", first)] == [
        {"name": "Ben", "note": "one", "disposition": "Solved"}
    ]


async def test_the_api_reads_sessions_with_everything_that_was_decided(house: House) -> None:
    """The newest first; `explain` has the offer with its inputs; the numbers of a queue; None for what is not there."""
    await house.ready(BEN)
    leg = await house.dial()
    await house.line("offer.made")
    session = house.session
    [row] = await house.records.sessions(limit=5, customer=CALLER)
    assert (row["id"], row["customer"], row["state"]) == (session, CALLER, "open")
    explained = await house.records.explain(session)
    assert explained is not None
    [decision] = explained["decisions"]
    assert decision["decision"]["outcome"] == "offer"
    assert "voice" in decision["decision"]["inputs"]
    assert any(line["kind"] == "flow.trace" for line in explained["trail"])
    full = await house.records.session(session)
    assert full is not None
    assert not any(line["kind"] == "flow.trace" for line in full["timeline"])
    assert await house.records.session(e.SessionId("nobody")) is None
    assert await house.records.explain(e.SessionId("nobody")) is None
    assert house.records.ready() == (True, "")
    await house.calls.hang_up(leg)


async def test_what_an_agent_may_choose_from(house: House) -> None:
    """Reasons, dispositions and presets come from the settings and the flow."""
    assert "Lunch" in house.desk.reasons()
    assert "Solved" in house.desk.dispositions()
    assert [preset.id for preset in house.desk.presets("en")] == ["form"]
    await house.desk.set_state(ANN, "not_ready", "Lunch")
    assert (house.desk.presence(ANN).state, house.desk.presence(ANN).reason) == ("not_ready", "Lunch")


async def test_a_desk_that_falls_far_behind_begins_again(house: House) -> None:
    """It is not told half of what happened: its subscription ends, and the next one starts from what is there."""
    async with house.desk.subscribe(BEN) as updates:
        for _ in range(1002):
            house.desk.desk_changed(BEN)
        assert [update async for update in updates] == []


async def test_nobody_writes_notes_into_the_work_of_others(house: House) -> None:
    """An agent who has no part in a conversation cannot leave a note in it, however he comes by its id."""
    session = await chatting(house)

    with pytest.raises(DeskRefusedError, match="not yours"):
        await house.desk.wrap_up(ANN, session, "I was here", "Solved")

    await house.runner.settled(session)
    assert await house.lines("note.written", session) == []
