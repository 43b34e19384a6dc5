"""Odd lives on real sockets: people who hang up, change their minds, say STOP and call twice, and agents who do not pick up.

Whatever they do: nobody is told what is not so, nobody is asked twice, no place is lost, STOP means stop, and in the end
nothing is left (`World.settle` looks after every life).
"""

import asyncio
from pathlib import Path

import pytest

from bridge.web.ports import DeskRefusedError
from tests.e2e.odd import ANA, BEN, CAT, PHOTO, short_house, world

pytestmark = pytest.mark.e2e
House = tuple[Path, Path]
FLOW_TEXT, STOPPED = "Northwind: we go on here by text", "Northwind: you will get no more texts from us"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """The packaged flow and prompts, made short."""
    return short_house(tmp_path_factory.mktemp("house"))


async def test_hanging_up_at_every_moment_leaves_nothing_behind(tmp_path: Path, house: House) -> None:
    """Ringing, in the menu, during the offer, in line, and while an agent's desk and then the phone ring."""
    async with world(tmp_path, house=house, phones={"ana": {"answer_after": 0.8}}) as town:
        caller = await town.caller()
        await caller.dial(answered=False)
        await caller.hang_up()
        await caller.to_the_menu()
        await caller.hang_up()
        await town.ready(BEN)
        await caller.to_the_offer()
        await caller.hang_up()
        await caller.in_line()
        await caller.hang_up()
        await town.ready(ANA)
        await caller.in_line()
        offer = await town.rings(ANA)
        await caller.hang_up()
        await caller.line("call.ended")
        with pytest.raises(DeskRefusedError, match="Too late"):
            await town.server.desk.accept(ANA, offer.session, offer.channel)
        await caller.in_line()
        await town.accept(ANA)
        ringing = await town.phones["ana"].arrived.get()
        await caller.hang_up()
        await asyncio.wait_for(ringing.ended.wait(), 2.0)
        assert ringing.cause == "cancel"
        assert town.server.desk.presence(ANA).state == "ready"
        await town.settle()
        assert not caller.received


async def test_a_phone_that_nobody_picks_up_costs_no_place(tmp_path: Path, house: House) -> None:
    """The caller is back in line, first as before, and the next agent has the call; the key to leave works meanwhile."""
    async with world(tmp_path, house=house, phones={"ana": {"answer_after": None}}) as town:
        first, second = await town.caller(), await town.caller("+15550100124")
        await town.ready(ANA)
        await first.in_line()
        await town.accept(ANA)
        await second.in_line()
        await first.line("agent.unreachable")
        await town.server.desk.set_state(ANA, "not_ready", "Break")
        await town.ready(CAT)
        assert await town.accept(CAT) == first.session
        await first.line("audio.connected")
        await town.ready(ANA)
        assert await town.accept(ANA) == second.session
        await second.press("#")
        await asyncio.wait_for(second.on_the_line.ended.wait(), 5.0)
        assert (await second.words())[-1] == "goodbye"
        await town.settle()


async def test_stop_to_a_chat_holds_for_the_call_beside_it(tmp_path: Path, house: House) -> None:
    """Who chats, calls as well and sends STOP is not offered to text, and neither agent can write."""
    async with world(tmp_path, house=house) as town:
        await town.ready(BEN, ANA)
        caller = await town.caller()
        await caller.text("hello")
        chat = await town.accept(BEN)
        await caller.handset.wait(1)
        await caller.to_the_menu()
        await caller.text("Stop!")
        await caller.line("opted_out")
        await caller.press("2")
        await town.accept(ANA)
        await caller.line("audio.connected")
        for agent, session in ((ANA, caller.session), (BEN, chat)):
            assert session is not None
            with pytest.raises(DeskRefusedError, match="STOP"):
                await town.server.desk.say(agent, session, "One more thing")
        assert not await caller.lines("offer.made")
        await town.settle()
        assert [text.body[: len(STOPPED)] for text in caller.received[1:]] == [STOPPED]


async def test_stop_with_the_text_in_hand_keeps_the_caller_on_the_line(tmp_path: Path, house: House) -> None:
    """STOP before the offer is accepted, and STOP while the text is on its way: never "just answer it", always the line."""
    async with world(tmp_path, house=house) as town:
        await town.ready(BEN)
        early, late = await town.caller(), await town.caller("+15550100124")
        await early.to_the_offer()
        await early.text("STOP")
        await early.line("opted_out")
        await early.press("1")
        await early.line("queue.joined")
        assert (await early.words())[-1] == "text_failed"
        assert await early.promises() == ["place_kept"]
        town.twilio.latency = 0.5
        await late.to_the_offer()
        await late.press("1")
        await late.line("text.sent")
        await late.text("STOP")
        await late.line("queue.joined")
        assert "text_arrived" not in await late.words()
        assert await late.promises() == ["text_on_its_way", "place_kept"]
        await town.settle()
        assert [text.body[: len(STOPPED)] for text in early.received] == [STOPPED]


async def test_a_text_that_comes_late_finds_the_caller_in_line(tmp_path: Path, house: House) -> None:
    """The caller heard that it failed and waits, with the old place; a reply belongs to the call; nothing is asked again."""
    async with world(tmp_path, house=house) as town:
        await town.ready(BEN)
        town.twilio.latency = 0.8
        caller = await town.caller()
        await caller.to_the_offer()
        await caller.press("1")
        await caller.line("queue.joined")
        assert (await caller.words())[-1] == "text_failed"
        await caller.handset.wait(1)
        await caller.text("Got it now, what next?")
        await caller.line("text.received")
        assert town.state_of(caller.session).call == "queued"
        await town.ready(ANA)
        assert await town.accept(ANA) == caller.session
        await caller.line("audio.connected")
        assert [line.data["kind"] for line in await caller.lines("offer.made")] == ["deflect"]
        await town.settle()
        assert [text.body[: len(FLOW_TEXT)] for text in caller.received] == [FLOW_TEXT]


async def test_a_text_from_the_line_is_answered_after_the_caller_gave_up(tmp_path: Path, house: House) -> None:
    """The chat has the place of the call, and begins with who we are and how to stop us."""
    async with world(tmp_path, house=house) as town:
        caller = await town.caller()
        await caller.in_line()
        await caller.text("I cannot wait any longer")
        await caller.line("text.received")
        await caller.hang_up()
        await caller.line("queue.joined", 2)
        joined = await caller.lines("queue.joined")
        assert (joined[1].data["channel"], joined[1].data["waited"] > 0) == ("sms", True)
        await town.ready(BEN)
        assert await town.accept(BEN) == caller.session
        await caller.line("agent.joined")
        assert "an agent will answer you here" in (await caller.handset.wait(1))[0].body
        await town.settle()


async def test_calling_again_while_invited_makes_one_chat_of_it(tmp_path: Path, house: House) -> None:
    """The reply goes to the newer call's invitation; the older one lapses by itself."""
    async with world(tmp_path, house=house) as town:
        await town.ready(BEN)
        caller = await town.caller()
        sessions = []
        for _ in range(2):
            await caller.to_the_offer()
            await caller.press("1")
            await asyncio.wait_for(caller.on_the_line.ended.wait(), 5.0)
            sessions.append(caller.session)
        await caller.text("Here I am")
        assert await town.accept(BEN) == sessions[1]
        await town.settle()
        caller.session = sessions[0]
        assert [line.data for line in await caller.lines("text.lapsed")] == [{"invited": True}]
        assert len(caller.received) == 2


async def test_odd_texts_arrive_whole_and_in_order(tmp_path: Path, house: House) -> None:
    """Nothing at all, a photo alone, emoji, 1600 characters, five at once; and too long an answer is refused."""
    async with world(tmp_path, house=house) as town:
        await town.ready(BEN)
        caller = await town.caller()
        await caller.text("")
        chat = await town.accept(BEN)
        caller.session = chat
        await caller.text("", PHOTO)
        await caller.text("\N{GRINNING FACE}" * 70)
        await caller.text("x" * 1600)
        await asyncio.gather(*(caller.text(f"part {n}") for n in range(5)))
        await caller.line("text.received", 9)
        received = [(line.data["body"], len(line.data["media"])) for line in await caller.lines("text.received")]
        assert received[:4] == [("", 0), ("", 1), ("\N{GRINNING FACE}" * 70, 0), ("x" * 1600, 0)]
        assert sorted(body for body, _ in received[4:]) == [f"part {n}" for n in range(5)]
        with pytest.raises(DeskRefusedError, match="Too long"):
            await town.server.desk.say(BEN, chat, "y" * 1601)
        await town.server.desk.say(BEN, chat, "z" * 1600)
        await caller.handset.wait(2)
        await town.settle()


async def test_a_landline_is_not_asked_and_the_agent_reads_why(tmp_path: Path, house: House) -> None:
    """One decision, no offer, and a composer that says what is wrong."""
    async with world(tmp_path, house=house) as town:
        await town.ready(BEN)
        caller = await town.caller("+442079460123")
        await caller.to_the_menu()
        await caller.press("2")
        await caller.line("offer.decided")
        await town.ready(ANA)
        session = await town.accept(ANA)
        await caller.line("audio.connected")
        view = await town.server.desk.session(ANA, session)
        assert (view.composer_open, view.composer_why) == (False, "This number cannot take texts.")
        assert [line.data["reason"] for line in await caller.lines("offer.decided")] == ["cannot_text"]
        await town.settle()


async def test_a_server_that_stops_takes_leave_of_those_who_agreed_to_texts(tmp_path: Path, house: House) -> None:
    """The call ends with a BYE, a text says that it was us, and after the start the reply finds the old place."""
    async with world(tmp_path, house=house) as town:
        caller = await town.caller()
        await caller.in_line()
        await caller.line("offer.made")
        await caller.press("1")
        await caller.handset.wait(1)
        session, since = caller.session, town.state_of(caller.session).since
        await town.server.drain()
    assert caller.on_the_line.cause == "bye"
    taken = [message.body for message in town.twilio.messages.values()]
    assert ["we were cut off" in body for body in taken] == [False, True]
    async with world(tmp_path, house=house) as town:
        again = await town.caller()
        await again.text("My modem is red")
        await town.ready(BEN)
        assert await town.accept(BEN) == session
        assert town.state_of(session).since == since
        await town.settle()
