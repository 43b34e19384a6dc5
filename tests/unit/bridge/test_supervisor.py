"""What supervisors see and do, on a whole server without sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge import events as e
from bridge.journal import TimelineLine
from bridge.supervisor import Supervisor
from bridge.supervisor.service import NOTICE_LIVES, PAGE
from bridge.web.ports import DeskRefusedError
from bridge.web.ports_supervisor import Posted
from tests.unit.bridge.house import ANN, BEN, CALLER, PHONE, House

SUE = e.AgentId("sue")
AGENTS: list[dict[str, Any]] = [
    {"id": "ann", "name": "Ann", "queues": ["support"], "phone": PHONE, "teams": ["day"], "skills": ["lang:en", "technical"]},
    {"id": "ben", "name": "Ben", "queues": ["support_sms"], "teams": ["night"]},
    {"id": "cyd", "name": "Cyd", "queues": ["support_sms", "billing_sms"]},
    {"id": "sue", "name": "Sue", "queues": ["support_sms", "support"], "roles": ["supervisor", "agent"], "phone": PHONE},
    {"id": "max", "name": "Max", "roles": ["supervisor"]},
]
QUEUES: list[dict[str, Any]] = [
    {"id": "support", "desk": "support_sms", "offers": {"mode": "never"}, "target": {"answer_within": 20, "share": 0.8}},
    {"id": "sales"},
    {"id": "support_sms", "channel": "sms", "title": "Support by text"},
    {"id": "billing_sms", "channel": "sms"},
]
CYD, MAX = e.AgentId("cyd"), e.AgentId("max")


class Watched:
    """A server, and somebody who supervises it."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.house = House(folder, queues=QUEUES, agents=AGENTS, **changes)
        self.audited: list[tuple[str, str]] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Watched"]:
        async with self.house.open() as house:
            self.it = Supervisor(house.runner, house.desk, house.records, audit=self._audit)
            await self.it.load()
            started = asyncio.Event()
            task = asyncio.create_task(self.it.run(started))
            try:
                await started.wait()
                yield self
            finally:
                task.cancel()
                await asyncio.wait([task])

    async def _audit(self, _by: e.AgentId, what: str, to: str, _data: Any) -> None:
        self.audited.append((what, to.partition(" ")[0]))

    async def chat(self, agent: e.AgentId = BEN) -> e.SessionId:
        """A customer texts, and the agent takes it."""
        house = self.house
        await house.ready(agent)
        before = set(house.runner.sessions)
        await house.caller.text("+15550100200", "Hello")
        await house.until(lambda: bool(set(house.runner.sessions) - before))
        await house.accept(agent)
        return house.session

    async def call(self) -> e.LegId:
        """A caller stands in line."""
        leg = await self.house.to_the_line()
        await self.house.until(lambda: self.house.floor.acd.position(self.house.session, "voice") is not None)
        return leg

    def queue(self, name: str) -> Any:
        self.it.boards.changed()
        return next(row for row in self.it.snapshot().queues if row.queue == name)

    def agent(self, name: e.AgentId) -> Any:
        return next(row for row in self.it.snapshot().agents if row.agent == name)


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    async with Watched(tmp_path).open() as it:
        yield it


async def test_the_boards_show_who_waits_and_who_works(watched: Watched) -> None:
    """A call in line is upcoming and counted as offered; taken, it is in progress, and its agent's row says with whom."""
    house = watched.house
    leg = await watched.call()
    row = watched.queue("support")
    assert (row.waiting, row.offered, row.answered, row.oldest) == (1, 1, 0, house.now)
    [session] = watched.it.snapshot().sessions
    assert (session.phase, session.customer, session.queue, session.start) == ("upcoming", CALLER, "support", "")
    assert watched.it.channels(session.session) == {"voice": "waits"}

    house.now += 12
    await house.ready(ANN)
    await house.accept(ANN)
    await house.line("agent.joined")
    await house.until(lambda: watched.queue("support").answered == 1)
    row = watched.queue("support")
    assert (row.waiting, row.answered, row.service_level, row.tone, row.average_wait) == (0, 1, 1.0, "good", 12.0)
    agent = watched.agent(ANN)
    assert (agent.works, agent.calls, agent.answered) == (True, 1, 1)
    assert [(work.channel, work.customer, work.state) for work in agent.work] == [("voice", CALLER, "talking")]
    [session] = watched.it.snapshot().sessions
    assert (session.phase, session.agents, session.start) == ("now", (ANN,), "manual")

    house.now += 60
    await house.calls.hang_up(leg)
    await house.until(lambda: not watched.agent(ANN).works)
    assert watched.agent(ANN).average_handling == 60.0


async def test_a_restart_counts_again_from_the_journal(tmp_path: Path) -> None:
    """What was counted before the process died is counted again, and messages stand where they stood."""
    it = Watched(tmp_path)
    async with it.open():
        await it.chat()
        await it.it.post(SUE, Posted("everybody", "", "Fire drill at ten", 3600.0))
        before = it.queue("support_sms")
    async with it.open():
        after = it.queue("support_sms")
        assert (after.offered, after.answered) == (before.offered, before.answered) == (1, 1)
        assert it.agent(BEN).answered == 1
        assert [each.words for each in it.it.at_desk(BEN)] == ["Fire drill at ten"]


async def test_a_line_that_cannot_be_counted_harms_nobody(tmp_path: Path) -> None:
    """Neither the session it belongs to nor the start after it fails; it is a figure too few."""
    it = Watched(tmp_path)
    async with it.open():
        session = await it.chat()
        await it.house.runner.add_line(session, TimelineLine(it.house.now, "queue.joined", {"strange": True}))
        await it.it.end(SUE, session, "sms", "done")
    async with it.open():
        assert it.queue("support_sms").answered == 1


async def test_a_board_that_missed_lines_reads_them(watched: Watched) -> None:
    """A node may join late, or hear a line without the one before it: since when a customer waits is in the journal."""
    session, house, boards = await watched.chat(), watched.house, watched.it.boards
    began = house.now
    house.now += 5.0
    boards._glances.clear()
    await house.caller.text("+15550100200", "Are you there?")
    await house.line("text.received", 2)
    [row] = watched.it.snapshot().sessions
    assert row.unanswered_since == began
    await house.desk.say(BEN, session, "Yes?")
    answer = await house.line("text.sent", 2)
    boards.line_added(session, TimelineLine(house.now, "text.received", {"body": "Hello?"}, answer.n + 2))
    await house.until(lambda: not boards._unread)
    [row] = watched.it.snapshot().sessions
    assert row.unanswered_since is None, "as the journal has it"


async def test_midnight_begins_a_new_day(watched: Watched) -> None:
    """At midnight the figures begin at nothing; who is served goes on being served."""
    await watched.chat()
    assert watched.queue("support_sms").answered == 1
    today = watched.it.snapshot().today
    watched.house.now = today + 86_405
    await watched.house.until(lambda: watched.it.snapshot().today > today)
    assert watched.queue("support_sms").answered == 0
    assert watched.agent(BEN).chats == 1


async def test_who_looks_is_told_of_changes(watched: Watched) -> None:
    """A watcher has the boards at once, and again when something has happened."""
    async with watched.it.watch() as pictures:
        first = await anext(pictures)
        assert {row.state for row in first.agents} == {"offline"}
        await watched.house.ready(BEN)
        async with asyncio.timeout(5.0):
            async for picture in pictures:
                if any(row.state == "ready" for row in picture.agents):
                    break


async def test_a_supervisor_takes_a_chat_over(watched: Watched) -> None:
    """The chat is the supervisor's, the agent is free, and the timeline says who did it."""
    session = await watched.chat()
    await watched.it.take_over(SUE, session, "sms")
    assert watched.house.state.chat_agent == SUE
    assert watched.agent(BEN).chats == 0
    line = await watched.house.line("supervisor.took_over")
    assert line.data["by"] == "Sue"
    assert ("session.taken_over", "session") in watched.audited
    with pytest.raises(DeskRefusedError, match="has it already"):
        await watched.it.take_over(SUE, session, "sms")
    with pytest.raises(DeskRefusedError, match="role agent"):
        await watched.it.take_over(MAX, session, "sms")


async def test_a_supervisor_takes_a_call_over(watched: Watched) -> None:
    """The supervisor's phone rings and the agent is out of the call; another call can be put into a line again."""
    house = watched.house
    await watched.call()
    await house.ready(ANN)
    await house.accept(ANN)
    await house.line("agent.joined")
    await watched.it.take_over(SUE, house.session, "voice")
    await house.line("agent.joined", 2)
    assert house.state.agent == SUE
    assert watched.agent(ANN).calls == 0
    with pytest.raises(DeskRefusedError, match="Sue has it already"):
        await watched.it.move(SUE, house.session, "voice", to=SUE, queue=None, note="")
    with pytest.raises(DeskRefusedError, match="no such queue"):
        await watched.it.move(SUE, house.session, "voice", to=None, queue="support_sms", note="")
    await watched.it.move(SUE, house.session, "voice", to=None, queue="sales", note="")
    await house.until(lambda: watched.queue("sales").waiting == 1)


async def test_a_supervisor_takes_who_waits_by_text(watched: Watched) -> None:
    """Nobody has taken the chat yet: the supervisor does, without ringing."""
    house = watched.house
    await house.caller.text("+15550100200", "Hello")
    await house.until(lambda: bool(house.runner.sessions))
    await house.until(lambda: watched.queue("support_sms").waiting == 1)
    await watched.it.take_over(SUE, house.session, "sms")
    assert house.state.chat_agent == SUE


async def test_a_waiting_call_is_moved(watched: Watched) -> None:
    """Into another line at the same place; or straight to an agent, whose phone rings."""
    house = watched.house
    await watched.call()
    since = watched.queue("support").oldest
    await watched.it.move(SUE, house.session, "voice", to=None, queue="sales", note="")
    assert (watched.queue("support").waiting, watched.queue("sales").waiting, watched.queue("sales").oldest) == (0, 1, since)
    assert (house.state.queue, watched.queue("sales").offered) == ("sales", 1)
    with pytest.raises(DeskRefusedError, match="already"):
        await watched.it.move(SUE, house.session, "voice", to=None, queue="sales", note="")
    with pytest.raises(DeskRefusedError, match="no such queue"):
        await watched.it.move(SUE, house.session, "voice", to=None, queue="support_sms", note="")
    with pytest.raises(DeskRefusedError, match="Ann is not at work"):
        await watched.it.move(SUE, house.session, "voice", to=ANN, queue=None, note="")
    await watched.house.desk.set_state(ANN, "not_ready", "Lunch")
    await watched.it.move(SUE, house.session, "voice", to=ANN, queue=None, note="")
    await house.line("agent.joined")
    assert house.state.agent == ANN
    assert [line.data["to"] or line.data["queue"] for line in await house.lines("supervisor.moved")] == ["sales", "Ann"]


async def test_a_chat_is_moved(watched: Watched) -> None:
    """To another queue, or to an agent who is asked; who takes no such work is refused in words."""
    session = await watched.chat()
    await watched.house.ready(CYD)
    await watched.house.ready(ANN)
    with pytest.raises(DeskRefusedError, match="Ann takes no work of this kind"):
        await watched.it.move(SUE, session, "sms", to=ANN, queue=None, note="")
    with pytest.raises(DeskRefusedError, match="no such queue"):
        await watched.it.move(SUE, session, "sms", to=None, queue="support", note="")
    with pytest.raises(DeskRefusedError, match="Ben has it already"):
        await watched.it.move(SUE, session, "sms", to=BEN, queue=None, note="")
    await watched.it.move(SUE, session, "sms", to=CYD, queue=None, note="She knows this")
    await watched.house.accept(CYD)
    assert watched.house.state.chat_agent == CYD
    await watched.it.move(SUE, session, "sms", to=None, queue="billing_sms", note="")
    assert watched.house.state.chat_queue == "billing_sms"
    with pytest.raises(DeskRefusedError, match="in no line"):
        await watched.it.move(SUE, session, "voice", to=None, queue="sales", note="")


async def test_a_supervisor_ends_a_chat_and_a_call(watched: Watched) -> None:
    """With a reason, which the timeline keeps; what is over or nobody's is refused."""
    house = watched.house
    session = await watched.chat()
    with pytest.raises(DeskRefusedError, match="Say why"):
        await watched.it.end(SUE, session, "sms", " ")
    with pytest.raises(DeskRefusedError, match="call is over"):
        await watched.it.end(SUE, session, "voice", "abuse")
    await watched.it.end(SUE, session, "sms", "abuse")
    [line] = await house.lines("supervisor.ended", session)
    assert (line.data["by"], line.data["reason"]) == ("Sue", "abuse")
    assert watched.it.channels(session) == {}

    await house.desk.set_state(BEN, "not_ready", "Lunch")
    await house.network.handset("+15550100144").text("+15550100200", "Hello")
    await house.until(lambda: watched.queue("support_sms").waiting == 1)
    waiting = house.session
    assert watched.it.channels(waiting) == {"sms": "waits"}
    await watched.it.end(SUE, waiting, "sms", "abuse")
    await house.until(lambda: waiting not in house.runner.sessions)

    await watched.call()
    call = house.session
    with pytest.raises(DeskRefusedError, match="text leg"):
        await watched.it.end(SUE, call, "sms", "abuse")
    await watched.it.end(SUE, call, "voice", "abuse")
    await house.until(lambda: call not in house.runner.sessions)
    [ended] = await house.lines("call.ended", call)
    assert ended.data["by"] == "platform"
    with pytest.raises(DeskRefusedError, match="over"):
        await watched.it.end(SUE, call, "voice", "abuse")


async def test_a_supervisor_calls_off_a_callback(watched: Watched) -> None:
    """Nobody is on the line yet: the customer waits for nothing any more."""
    house = watched.house
    live = await house.runner.open_text_session(CALLER, "+15550100200", "api")
    await house.runner.tell(live.state.id, e.CallbackAsked("api:crm", e.QueueId("support")))
    await house.until(lambda: watched.it.channels(live.state.id) == {"voice": "waits"})
    [row] = watched.it.snapshot().sessions
    assert (row.phase, row.call_state) == ("upcoming", "callback")
    await watched.it.end(SUE, live.state.id, "voice", "reached by mail")
    await house.until(lambda: live.state.id not in house.runner.sessions)
    assert [line.data["by"] for line in await house.lines("callback.cancelled", live.state.id)] == ["Sue"]


async def test_a_supervisor_changes_an_agents_state(watched: Watched) -> None:
    """The agent is told by whom and why, at the desk; signing off gives chats back to their places."""
    session = await watched.chat()
    await watched.it.set_state(SUE, BEN, "not_ready", "Training")
    assert (watched.agent(BEN).state, watched.agent(BEN).reason) == ("not_ready", "Training")
    [told] = watched.it.at_desk(BEN)
    assert (told.by_name, told.words, told.until) == (
        "Sue", "Sue has set you to Not ready: Training", watched.house.now + NOTICE_LIVES,
    )  # fmt: skip
    await watched.it.read(BEN, told.id)
    assert watched.it.at_desk(BEN) == ()
    await watched.it.sign_out(SUE, BEN, "Went home")
    await watched.house.runner.settled(session)
    assert (watched.agent(BEN).state, watched.house.state.text) == ("offline", "queued")
    with pytest.raises(DeskRefusedError, match="Ben has no desk open"):
        await watched.it.set_state(SUE, BEN, "ready", "")
    async with watched.house.desk.subscribe(BEN):
        await watched.it.set_state(SUE, BEN, "ready", "")
        assert watched.agent(BEN).state == "ready"
        assert watched.agent(BEN).connected
    with pytest.raises(DeskRefusedError, match="Max takes no work"):
        await watched.it.set_state(SUE, MAX, "ready", "")
    assert ("agent.signed_out", "agent") in watched.audited


async def test_messages_reach_their_desks(watched: Watched) -> None:
    """One team's message is at its desks only; taken down it is nowhere; too old, it goes by itself."""
    it = watched.it
    await it.post(SUE, Posted("team", "day", "Meeting at noon", 600.0))
    await it.post(SUE, Posted("agent", "ben", "Call me", 600.0))
    await it.post(SUE, Posted("everybody", "", "Phones are slow today", 6000.0, pinned=True))
    assert [each.words for each in it.at_desk(ANN)] == ["Phones are slow today", "Meeting at noon"]
    assert [each.words for each in it.at_desk(BEN)] == ["Phones are slow today", "Call me"]
    await it.take_down(SUE, it.at_desk(ANN)[0].id)
    with pytest.raises(DeskRefusedError, match="already"):
        await it.take_down(SUE, "gone")
    assert [each.words for each in it.at_desk(BEN)] == ["Call me"]
    watched.house.now += 601
    assert it.at_desk(BEN) == ()
    await it._expire()
    assert it.posted() == ()
    for wrong, why in (
        (Posted("team", "day", " ", 60.0), "nothing to say"),
        (Posted("team", "day", "x" * 1001, 60.0), "at most 1000"),
        (Posted("team", "noon", "x", 60.0), "no such team"),
        (Posted("agent", "zed", "x", 60.0), "no such agent"),
    ):
        with pytest.raises(DeskRefusedError, match=why):
            await it.post(SUE, wrong)
    assert it.teams() == ("day", "night")


async def test_an_alert_is_raised_acknowledged_and_over(tmp_path: Path) -> None:
    """Once, with a hook; a restart does not raise it again; somebody sees to it; when the line is empty it is over."""
    rules = [
        {"name": "Line", "on": "queue", "measure": "waiting", "above": 0.5, "lasting": 0, "to": ["board", "hook"]},
        *(
            {"name": name, "on": "queue", "measure": name, "above": 1e9}
            for name in ("longest_wait", "service_level", "ewt_p90", "abandoned", "open_slots")
        ),
        *({"name": name, "on": "agent", "measure": name, "above": 1e9} for name in ("state_for", "missed", "unanswered")),
        *(
            {"name": f"all {name}", "on": "service", "measure": name, "above": 1e9}
            for name in ("texts_failed", "calls", "sessions", "waiting", "dead_letters", "calibration")
        ),
    ]
    hooks = [{"name": "crm", "url": "http://127.0.0.1:9/", "secret": "x", "events": ["alert.*"]}]
    it = Watched(tmp_path, alerts=rules, hooks=hooks)
    async with it.open():
        await it.call()
        await it.it.alerting.look()
        await it.it.alerting.look()
        [alert] = it.it.alerts()[0]
        assert (alert.rule, alert.subject, alert.value) == ("Line", "support", 1.0)
        await it.it.acknowledge(SUE, alert.id)
        with pytest.raises(DeskRefusedError, match="looks after"):
            await it.it.acknowledge(SUE, alert.id)
    async with it.open():
        [again] = it.it.alerts()[0]
        assert (again.id, again.acknowledged_by) == (alert.id, "Sue")
        await it.it.alerting.look()  # the call was lost with the process, so nobody waits
        assert it.it.alerts()[0] == ()
        assert [over.id for over in it.it.alerts()[1]] == [alert.id]
        told = [each.type for each in await it.house.journal.deliveries_due("crm", it.house.now + 10, 10)]
        assert told == ["alert.raised", "alert.cleared"]


async def test_why_a_session_went_as_it_did(watched: Watched) -> None:
    """The trail has every line, the decisions with their inputs, and while it waits how everybody stands to it."""
    house = watched.house
    await house.ready(ANN)
    await house.desk.set_state(ANN, "not_ready", "Lunch")
    await watched.call()
    trail = await watched.it.trail(house.session)
    assert trail is not None
    assert {"call.arrived", "flow.trace", "queue.joined"} <= {line.kind for line in trail.lines}
    [wait] = trail.waits
    assert wait.now.position == 1
    assert dict(wait.now.agents)[ANN] == "not_ready"
    assert wait.names[ANN] == "Ann"
    assert trail.explained["waits"]
    assert await watched.it.trail(e.SessionId("nobody")) is None


async def test_sessions_that_are_over(watched: Watched) -> None:
    """Newest first and page by page; words are looked for in numbers only by who may see numbers."""
    house = watched.house
    for _ in range(3):
        leg = await watched.call()
        call = house.session
        await house.calls.hang_up(leg)
        await house.until(lambda call=call: call not in house.runner.sessions)  # type: ignore[misc]
        house.now += 5
    found = await watched.it.previous(words="", queue=None, after=None, numbers=True)
    assert found.rows[0].session == call
    assert len(found.rows) == 3 < PAGE
    assert found.more is None
    number = await watched.it.previous(words="0123", queue="support", after=None, numbers=True)
    assert len(number.rows) == 3
    assert (await watched.it.previous(words="0123", queue="support", after=None, numbers=False)).rows == ()
    assert (await watched.it.previous(words="", queue="sales", after=None, numbers=True)).rows == ()
    assert len((await watched.it.previous(words="", queue=None, after=call, numbers=True)).rows) == 2
