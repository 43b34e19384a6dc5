"""The server is killed and starts again on the same journal; and the journal itself is not there for a while."""

import asyncio
from pathlib import Path

import pytest

from bridge import events as e
from bridge.floor_ops import AcceptWork
from bridge.journal import JournalUnavailableError
from bridge.legs import CallState, TextLeg
from bridge.outbox import IN_FLIGHT_FOR
from bridge.runner import JOURNAL_PATIENCE
from bridge.session import UnexpectedEvent
from bridge.web.ports import DeskRefusedError
from tests.unit.bridge.house import ANN, BEN, CALLER, House
from tests.unit.bridge.story import OURS, START


async def test_an_open_chat_is_with_its_agent_again(tmp_path: Path) -> None:
    """Both can go on writing; the agent is as ready as before and counts the chat."""
    house = House(tmp_path)
    async with house.open():
        await house.ready(BEN)
        await house.caller.text(OURS, "my router blinks")
        await house.accept(BEN)
        session = house.session
        await house.line("agent.joined")
        await house.until(lambda: len(house.received) == 1)
    house.now += 60.0
    async with house.open():
        presence = house.desk.presence(BEN)
        assert (presence.state, presence.chats) == ("ready", 1)
        [work] = await house.desk.work(BEN)
        assert (work.session, work.text_state) == (session, "chatting")
        await house.desk.say(BEN, session, "Which one?")
        await house.until(lambda: house.received[-1] == "Which one?")
        await house.caller.text(OURS, "the blue one")
        await house.line("text.received", 2)
        assert [line.kind for line in await house.lines("server.restarted")] == ["server.restarted"]
        assert len(house.runner.sessions) == 1


async def test_the_line_of_texts_is_as_it_was_before_anybody_is_offered(tmp_path: Path) -> None:
    """Who wrote first is offered first, with the waiting time of before, although the agent was ready all along."""
    house = House(tmp_path)
    other = house.network.handset("+15550100124")
    async with house.open():
        await house.caller.text(OURS, "first")
        await house.until(lambda: len(house.runner.sessions) == 1)
        await house.line("queue.joined")
        first = house.session
        house.now += 30.0
        await other.text(OURS, "second")
        await house.until(lambda: len(house.runner.sessions) == 2)
        await house.line("queue.joined")
        await house.ready(ANN, BEN)
        await house.until(lambda: bool(house.desk.offers(BEN)))
    house.now += 60.0
    async with house.open():
        await house.until(lambda: bool(house.desk.offers(BEN)))
        [offer] = house.desk.offers(BEN)
        assert (offer.session, offer.waited) == (first, 90.0)
        assert house.desk.presence(ANN).state == "ready"


async def test_a_caller_who_was_texting_is_told_and_keeps_the_place(tmp_path: Path) -> None:
    """The call is over, the text conversation takes its place in line."""
    house = House(tmp_path)
    async with house.open():
        leg = await house.to_the_line()
        await house.later(16.0)
        await house.line("offer.made")
        await house.calls.press(leg, "1")
        await house.until(lambda: len(house.received) == 1)
        session = house.session
    async with house.open():
        await house.until(lambda: len(house.received) == 2)
        assert house.received[1] == "Example: sorry, we were cut off. Reply here and we go on by text, or call again."
        assert house.state.call is CallState.ENDED
        await house.caller.text(OURS, "my router blinks")
        await house.until(lambda: house.state.text is TextLeg.QUEUED)
        assert house.session == session
        assert house.state.since == START


async def test_an_invitation_on_its_way_is_answered_after_the_restart(tmp_path: Path) -> None:
    """Killed between the text and its delivery: the reply finds the session and its place."""
    house = House(tmp_path)
    async with house.open():
        await house.ready(BEN)
        house.sms.gate.clear()
        leg = await house.dial()
        await house.line("offer.made")
        await house.calls.press(leg, "1")
        await house.line("text.sent")
        session = house.session
    async with house.open():
        assert house.session == session
        for _ in range(3):
            await asyncio.sleep(0.05)
            await house.later(IN_FLIGHT_FOR)
        await house.until(lambda: len(house.received) == 1)
        await house.caller.text(OURS, "here I am")
        await house.until(lambda: bool(house.desk.offers(BEN)))
        assert house.desk.offers(BEN)[0].session == session
        await house.until(lambda: house.runner.outbox.idle)
        assert len(house.received) == 1


async def test_what_was_to_be_sent_is_sent_once(tmp_path: Path) -> None:
    """Claimed and not answered when the process died: the provider is asked, and the text neither lost nor doubled."""
    house = House(tmp_path)
    async with house.open():
        await house.ready(BEN)
        await house.caller.text(OURS, "hello")
        await house.accept(BEN)
        await house.until(lambda: len(house.received) == 1)
        await house.until(lambda: house.runner.outbox.idle)
        house.sms.gate.clear()
        session = house.session
        await house.desk.say(BEN, session, "one")
        await house.desk.say(BEN, session, "two")
        await house.until(lambda: not house.runner.outbox.idle)
    async with house.open():
        for _ in range(4):
            await asyncio.sleep(0.05)
            await house.later(IN_FLIGHT_FOR)
        await house.until(lambda: len(house.received) == 3)
        assert house.received[1:] == ["one", "two"]
        await house.line("text.sent", 3)


async def test_a_text_that_was_kept_and_not_yet_read_is_read(tmp_path: Path) -> None:
    """The provider was told that we have it, so we must not forget it; and once is enough."""
    house = House(tmp_path)
    async with house.open():
        house.journal.broken = True
        await house.caller.text(OURS, "hello")
        await house.until(lambda: bool(house.runner.sessions))
        assert not await house.journal.open_sessions()
    async with house.open():
        await house.until(lambda: len(house.received) == 1)
        await house.line("queue.joined")
        assert len(house.runner.sessions) == 1
        assert not await house.journal.unhandled_inbound()


async def test_an_opt_out_and_a_consent_outlive_the_server(tmp_path: Path) -> None:
    """A new call of a customer who sent STOP is not offered a text; nothing is sent to the number."""
    house = House(tmp_path)
    async with house.open():
        await house.caller.text(OURS, "STOP")
        await house.until(lambda: len(house.received) == 1)
        await house.until(lambda: not house.runner.sessions)
    async with house.open():
        await house.ready(BEN)
        await house.dial()
        await house.line("queue.joined")
        assert not await house.lines("offer.made")
        await house.later(600.0)
        assert len(house.received) == 1


async def test_a_chat_whose_agent_is_gone_from_the_settings_goes_back_in_line(tmp_path: Path) -> None:
    """Somebody left the company over night: the customer does not wait for them for ever."""
    house = House(tmp_path)
    async with house.open():
        await house.ready(BEN)
        await house.caller.text(OURS, "hello")
        await house.accept(BEN)
        await house.line("agent.joined")
    other = House(tmp_path, agents=[{"id": "clo", "name": "Clo", "queues": ["support_sms"]}])
    async with other.open():
        await other.ready(e.AgentId("clo"))
        await other.accept(e.AgentId("clo"))
        await other.line("agent.joined", 2)
        assert other.state.chat_agent == "clo"


async def test_a_desk_that_does_not_come_back_gives_its_chats_away(tmp_path: Path) -> None:
    """After a restart the agents have the grace time to connect; then their work goes to others."""
    house = House(tmp_path, desk_grace=0.05)
    async with house.open():
        await house.ready(BEN)
        await house.caller.text(OURS, "hello")
        await house.accept(BEN)
        await house.line("agent.joined")
    async with house.open():
        house.desk.expect_desks()
        await house.until(lambda: house.state.text is TextLeg.QUEUED)
        assert house.desk.presence(BEN).state == "offline"
        assert house.state.since == START


async def test_what_cannot_happen_is_refused_and_the_session_goes_on(tmp_path: Path) -> None:
    """The desk hears why; an agent who took a call that was already gone is free again."""
    async with House(tmp_path).open() as house:
        await house.ready(ANN)
        leg = await house.to_the_line()
        session = house.session
        with pytest.raises(DeskRefusedError, match="not connected"):
            await house.desk.say(ANN, session, "hello")
        with pytest.raises(UnexpectedEvent):
            await house.runner.tell(session, e.AgentLegAnswered(leg, e.LegId("nobody")))
        assert house.state.call is CallState.QUEUED
        await house.accept(ANN)
        await house.line("audio.connected")
        with pytest.raises(DeskRefusedError, match="Too late"):
            await house.desk.accept(ANN, session, "voice")
        with pytest.raises(DeskRefusedError, match="moved on"):
            await house.desk.say(ANN, e.SessionId("nobody"), "hello")


async def test_an_agent_who_takes_a_call_in_the_moment_it_ends_is_free_again(tmp_path: Path) -> None:
    """The two cross: no ringing phone, no wrap-up, no work in hand."""
    async with House(tmp_path).open() as house:
        await house.ready(ANN)
        leg = await house.to_the_line()
        await house.until(lambda: bool(house.desk.offers(ANN)))
        session = house.session
        house.runner.post(session, e.CallEnded(leg, "caller", "bye"))
        await house.runner.do(AcceptWork(ANN, session, "voice"))
        await house.until(lambda: not house.runner.sessions)
        view = house.floor.acd.agent_view(ANN)
        assert (view.call, view.state) == (None, "ready")


async def test_while_the_journal_does_not_work_nothing_leaves_and_nothing_is_lost(tmp_path: Path) -> None:
    """The agent's text waits for the disk; nothing is sent before it is saved."""
    async with House(tmp_path).open() as house:
        await house.ready(BEN)
        await house.caller.text(OURS, "hello")
        await house.accept(BEN)
        await house.until(lambda: len(house.received) == 1)
        house.journal.broken = True
        said = asyncio.create_task(house.desk.say(BEN, house.session, "one moment"))
        await asyncio.sleep(0.3)
        assert not said.done()
        assert len(house.received) == 1
        house.journal.broken = False
        await said
        await house.until(lambda: house.received[-1] == "one moment")


async def test_when_the_journal_stays_away_the_step_is_undone_and_the_session_goes_on(tmp_path: Path) -> None:
    """Whoever asked hears of it; the state is the last one that is safe, and the next event is taken."""
    async with House(tmp_path).open() as house:
        await house.ready(BEN)
        await house.caller.text(OURS, "hello")
        await house.accept(BEN)
        await house.until(lambda: len(house.received) == 1)
        session = house.session
        house.journal.broken = True
        said = asyncio.create_task(house.runner.tell(session, e.AgentSaid(BEN, "one moment")))
        while not said.done():  # a delivery report may be before it in the inbox, with a patience of its own
            await asyncio.sleep(0.05)
            house.now += JOURNAL_PATIENCE
        with pytest.raises(JournalUnavailableError):
            await said
        house.journal.broken = False
        assert await house.stored(session) == house.state
        await house.desk.say(BEN, session, "here I am")
        await house.until(lambda: house.received[-1] == "here I am")
        assert len(house.received) == 2


async def test_a_call_that_cannot_be_saved_is_refused(tmp_path: Path) -> None:
    """It must not ring for ever at a server that cannot remember it."""
    async with House(tmp_path).open() as house:
        house.journal.broken = True
        leg = await house.calls.dial(CALLER, OURS)
        await house.until(lambda: bool(house.runner.sessions))
        await asyncio.sleep(0.05)
        house.now += JOURNAL_PATIENCE
        async with house.calls.listen(leg) as heard:
            last = [hears async for hears in heard][-1]
        assert getattr(last, "cause", None) == "503"
        await house.until(lambda: not house.runner.sessions)


async def test_a_chat_whose_desk_is_gone_from_the_settings_waits_at_the_one_of_the_number(tmp_path: Path) -> None:
    """A renamed queue costs nobody the place."""
    house = House(tmp_path)
    async with house.open():
        await house.caller.text(OURS, "my router blinks")
        await house.until(lambda: bool(house.runner.sessions))
        await house.line("queue.joined")
        await house.until(lambda: len(house.received) == 1)
        session = house.session
    renamed = House(
        tmp_path,
        numbers=[{"number": OURS, "flow": "support", "desk": "texts"}],
        queues=[{"id": "support", "desk": "texts"}, {"id": "texts", "channel": "sms"}],
        agents=[{"id": "ben", "name": "Ben", "queues": ["texts"]}],
    )
    async with renamed.open():
        await renamed.ready(BEN)
        await renamed.until(lambda: bool(renamed.desk.offers(BEN)))
        assert [offer.session for offer in renamed.desk.offers(BEN)] == [session]


async def test_the_end_of_a_call_is_told_again_when_it_could_not_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller is gone and says it once; the session must not go on as if it were still there."""
    monkeypatch.setattr("bridge.runner.RETRY_END_AFTER", 0.05)
    async with House(tmp_path).open() as house:
        leg = await house.to_the_line()
        session = house.session
        house.journal.broken = True
        await house.calls.hang_up(leg)
        await asyncio.sleep(0.3)
        house.now += JOURNAL_PATIENCE
        await asyncio.sleep(0.3)
        house.journal.broken = False
        await house.until(lambda: session not in house.runner.sessions)
        assert [line.data["by"] for line in await house.lines("call.ended", session)] == ["caller"]


async def test_a_text_whose_session_could_not_be_saved_is_given_to_it_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the journal already; it is tried again without waiting for a restart."""
    monkeypatch.setattr("bridge.intake.RETRY_AFTER", 0.05)
    async with House(tmp_path).open() as house:
        house.journal.broken = True
        await house.caller.text(OURS, "my router blinks")
        await asyncio.sleep(0.3)
        house.now += JOURNAL_PATIENCE
        await asyncio.sleep(0.3)
        house.journal.broken = False
        await house.until(lambda: bool(house.runner.sessions))
        await house.line("text.received")
        await house.until(lambda: len(house.received) == 1)


async def test_a_picture_that_could_not_be_taken_is_told_to_the_agent(tmp_path: Path) -> None:
    """The customer sent something; the timeline does not pretend otherwise."""
    async with House(tmp_path).open() as house:
        await house.caller.text(OURS, "here", [("router.png", b"no picture at all", "image/png")])
        await house.until(lambda: bool(house.runner.sessions))
        line = await house.line("text.received")
        assert (line.data["media"], line.data["media_lost"]) == ([], 1)
