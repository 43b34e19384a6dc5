"""Two servers over one journal are one service: what comes in at one reaches the sessions of the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from bridge import events as e
from bridge import peers, recovery, runner
from bridge.cluster import ClusterUnavailableError, Entry, Lease, NodeId, Standing
from bridge.cluster.memory import Hub, MemoryCluster
from bridge.journal import JournalUnavailableError, StoredSession, TimelineLine, Unit
from bridge.legs import CallState, TextLeg
from bridge.live import SessionAwayError
from bridge.session import UnexpectedEvent
from bridge.telephony.loopback import Ended
from bridge.web.ports import DeskRefusedError
from sms.message import DeliveryReport, TextState
from tests.unit.bridge.house import ANN, BEN, CALLER, House
from tests.unit.bridge.story import OURS, START

LEASE = 1.0


class Noisy(Hub):
    """A hub in which nobody may hear what becomes of sessions."""

    deaf = False

    def entry(self, node: NodeId, body: bytes) -> Entry:
        if self.deaf and b'"type":"session"' in body:
            raise ClusterUnavailableError("gone")
        return super().entry(node, body)


class CutOff(MemoryCluster):
    """A node that cannot reach what the nodes share."""

    away = 0.0
    broken = False

    def standing(self) -> Standing:
        """For how long."""
        return msgspec.structs.replace(super().standing(), away=self.away)

    async def acquire(self, name: str, ttl: float) -> Lease | None:
        """Nobody answers."""
        if self.broken:
            raise ClusterUnavailableError("gone")
        return await super().acquire(name, ttl)


class World:
    """What both servers live in: the clock, and what they share."""

    def __init__(self) -> None:
        self.now = START
        self.hub = Noisy(now=lambda: self.now, shared=True)


class Wing(House):
    """One of the servers; it can be killed."""

    def __init__(self, folder: Path, world: World, node: str, **changes: Any) -> None:
        self._world = world
        super().__init__(folder, **changes)
        self.hub: Noisy
        self.hub, self.node, self.lease, self.join_as = world.hub, node, LEASE, CutOff
        self._open = AsyncExitStack()

    @property
    def now(self) -> float:
        """One clock for both."""
        return self._world.now

    @now.setter
    def now(self, now: float) -> None:
        self._world.now = now

    @property
    def place(self) -> CutOff:
        """Its place among the nodes."""
        assert isinstance(self.runner.cluster, CutOff)
        return self.runner.cluster

    async def begin(self) -> None:
        """Start it."""
        await self._open.enter_async_context(self.open())

    async def kill(self) -> None:
        """It is gone, without a goodbye to anybody."""
        await self._open.aclose()

    def counted(self, name: str) -> float | None:
        """The value of a metric."""
        return self.runner.metrics.registry.get_sample_value(name)

    async def knows(self, session: e.SessionId) -> None:
        """Wait until it knows of a session."""
        await self.until(lambda: session in self.runner.sessions)

    async def owns(self, session: e.SessionId) -> None:
        """Wait until it is this one that works on a session."""
        await self.until(lambda: session in self.runner.sessions and self.runner.sessions[session].mine)


class Ear:
    """Hears lines, moves of texts and changes, and remembers them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.texts: list[TextState] = []
        self.changes = 0

    def line_added(self, session: e.SessionId, line: TimelineLine) -> None:  # noqa: ARG002  # there is one
        self.lines.append(line.kind)

    def text_moved(self, session: e.SessionId, message: e.MessageId, state: TextState, code: str | None) -> None:  # noqa: ARG002
        self.texts.append(state)

    def session_changed(self, session: e.SessionId) -> None:  # noqa: ARG002  # as above
        self.changes += 1

    def desk_changed(self, agent: e.AgentId) -> None:
        """Nothing to hear here."""


@asynccontextmanager
async def two(folder: Path, **changes: Any) -> AsyncIterator[tuple[Wing, Wing]]:
    """Both at work."""
    world = World()
    a, b = Wing(folder, world, "a", **changes), Wing(folder, world, "b", **changes)
    try:
        await a.begin()
        await b.begin()
        yield a, b
    finally:
        await b.kill()
        await a.kill()


async def chat_at(wing: Wing, other: Wing) -> e.SessionId:
    """The customer has texted to *wing* and Ben, who sits at the other, chats with them."""
    await other.ready(BEN)
    await wing.caller.text(OURS, "my router blinks")
    await wing.until(lambda: bool(wing.runner.sessions))
    session = wing.session
    await other.accept(BEN)
    await wing.until(lambda: wing.runner.sessions[session].state.text is TextLeg.CHATTING)
    assert wing.runner.sessions[session].mine
    return session


async def test_a_text_that_comes_in_at_another_node_reaches_its_session(tmp_path: Path) -> None:
    """The node that has the session is told, and both know what it led to."""
    async with two(tmp_path) as (a, b):
        session = await chat_at(a, b)
        await b.caller.text(OURS, "it is the blue one")
        await a.line("text.received", 2)
        assert list(a.runner.sessions) == list(b.runner.sessions) == [session]
        await b.until(lambda: b.runner.sessions[session].last == "it is the blue one")


async def test_what_cannot_happen_is_refused_in_the_words_of_whoever_has_the_session(tmp_path: Path) -> None:
    """As if it had been asked there; of a session that is over everybody says so."""
    async with two(tmp_path) as (a, b):
        session = await chat_at(a, b)
        with pytest.raises(UnexpectedEvent) as there:
            await a.runner.tell(session, e.AgentEndedChat(ANN))
        with pytest.raises(UnexpectedEvent) as here:
            await b.runner.tell(session, e.AgentEndedChat(ANN))
        assert str(here.value) == str(there.value)
        with pytest.raises(UnexpectedEvent, match="over"):
            await b.runner.tell(e.SessionId("t-none"), e.AgentEndedChat(ANN))


async def test_an_agent_reads_at_once_what_they_have_done_at_another_node(tmp_path: Path) -> None:
    """Accepting, writing, setting aside: the next look shows it, although another node works on the session."""
    async with two(tmp_path) as (a, b):
        await b.ready(BEN)
        await a.caller.text(OURS, "my router blinks")
        await b.accept(BEN)
        assert b.desk.presence(BEN).chats == 1
        session = b.session
        await b.until(lambda: b.runner.sessions[session].state.chat_agent == BEN)
        await b.desk.say(BEN, session, "Which one?")
        view = await b.desk.session(BEN, session)
        assert view.timeline[-1].data["body"] == "Which one?"
        assert b.runner.sessions[session].seq == a.runner.sessions[session].seq
        await b.desk.set_aside(BEN, session)
        [work] = await b.desk.work(BEN)
        assert work.text_state == "dismissed"
        assert a.runner.sessions[session].mine


async def test_a_session_whose_node_leaves_goes_on_at_the_other(tmp_path: Path) -> None:
    """With its agent, its place in the journal, what is not read yet, and every clock."""
    async with two(tmp_path) as (a, b):
        session = await chat_at(a, b)
        await a.caller.text(OURS, "it is the blue one")
        await a.line("text.received", 2)
        left = a.runner.sessions[session]
        await b.until(lambda: b.runner.sessions[session].unread == 2)
        unread = left.unread
        assert await a.runner.give_away()
        await b.owns(session)
        there = b.runner.sessions[session]
        assert (there.seq, there.unread, there.session.wake_at) == (left.seq, unread, left.session.wake_at)
        assert unread > 0
        await a.until(lambda: not a.runner.sessions[session].mine)
        assert b.desk.presence(BEN).chats == 1
        assert await b.lines("server.restarted", session) == []
        assert there.session.wake_at is not None
        await b.later(there.session.wake_at - b.clock())
        await b.later(there.session.wake_at - b.clock() if there.session.wake_at else 0.0)
        assert await b.lines("chat.ended", session) != []
        assert not await a.runner.give_away()


async def test_what_a_killed_node_had_is_taken_up(tmp_path: Path) -> None:
    """A chat stays with its agent."""
    async with two(tmp_path) as (a, b):
        session = await chat_at(a, b)
        await a.kill()
        await b.owns(session)
        await b.until(lambda: b.desk.presence(BEN).chats == 1)
        assert b.runner.sessions[session].state.chat_agent == BEN
        await b.until(lambda: b.counted("sidetone_sessions_taken_over_total") == 1)
        await b.desk.say(BEN, session, "I am still here")
        assert [line.data["body"] for line in await b.lines("text.sent", session)][-1] == "I am still here"


async def test_whoever_was_cut_off_by_a_dead_node_has_their_place_at_another(tmp_path: Path) -> None:
    """The call is marked as lost; a new call of the same person goes on in the same session, since when it waited."""
    async with two(tmp_path) as (a, b):
        leg = await a.to_the_line()
        session = a.session
        since = a.runner.sessions[session].state.since
        await a.later(16.0)
        await a.line("offer.made")
        await a.calls.press(leg, "1")
        await a.until(lambda: a.runner.sessions[session].state.text is TextLeg.OPEN)
        await a.until(lambda: len(a.received + b.received) == 1)
        await a.kill()
        await b.owns(session)
        assert (await b.line("call.ended")).data["cause"] == "restart"
        b.now += 30.0
        await b.calls.dial(CALLER, OURS)
        await b.until(lambda: b.runner.sessions[session].state.call is not CallState.ENDED)
        assert list(b.runner.sessions) == [session]
        assert b.runner.sessions[session].state.since == since


async def test_two_nodes_that_hear_of_a_customer_at_once_open_one_session(tmp_path: Path) -> None:
    """Texts to both in the same moment: one conversation, in the order in which they were kept."""
    async with two(tmp_path) as (a, b):
        await asyncio.gather(a.caller.text(OURS, "hello"), b.caller.text(OURS, "again"))
        await a.until(lambda: len(a.runner.sessions) == 1)
        session = a.session
        async with asyncio.timeout(5.0):
            while len(lines := await a.lines("text.received", session)) < 2:  # noqa: ASYNC110  # the journal has no event
                await asyncio.sleep(0.01)
        assert {line.data["body"] for line in lines} == {"hello", "again"}
        assert len(a.runner.sessions) == len(b.runner.sessions) == 1
        assert a.runner.sessions[session].mine != b.runner.sessions[session].mine


async def test_what_only_one_may_do_at_a_time_one_task_does(tmp_path: Path) -> None:
    """Not two nodes, and not two tasks of one of them either."""
    async with two(tmp_path) as (a, b):
        inside, most = 0, 0

        async def stay(wing: Wing) -> None:
            nonlocal inside, most
            async with wing.runner.only_here("key"):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                await asyncio.sleep(0.01)
                inside -= 1

        await asyncio.gather(*(stay(wing) for wing in (a, a, b, b, a)))
        assert most == 1


async def test_what_only_one_may_do_may_last_longer_than_a_lease(tmp_path: Path) -> None:
    """The lease is renewed meanwhile, and given back at the end."""
    async with two(tmp_path) as (a, b):
        async with a.runner.only_here("key"):
            lease = a.hub.holder("only:key")
            assert lease is not None
            before = a.hub.leases["only:key"][1]
            await a.until(lambda: a.hub.leases["only:key"][1] > before)
            assert a.hub.holder("only:key") == lease
        assert a.hub.holder("only:key") is None
        async with b.runner.only_here("key"):
            assert b.hub.holder("only:key") is not None


async def test_what_is_not_the_only_one_any_more_is_stopped(tmp_path: Path) -> None:
    """The lease is lost in the middle: the block ends, and whoever is in it hears that it may have been done twice."""
    async with two(tmp_path) as (a, b):

        async def overtaken(*, at_once: bool) -> None:
            async with a.runner.only_here("key"):
                del a.hub.leases["only:key"]
                if not at_once:
                    async with b.runner.only_here("key"), asyncio.timeout(20.0):
                        await asyncio.get_running_loop().create_future()

        for at_once in (False, True):
            with pytest.raises(SessionAwayError, match="another server"):
                await overtaken(at_once=at_once)
        with pytest.raises(TimeoutError):
            async with a.runner.only_here("key"), asyncio.timeout(0.0):
                await asyncio.get_running_loop().create_future()


async def test_who_does_not_hear_what_was_done_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other node has answered and its entries do not come: nobody waits for ever."""
    monkeypatch.setattr(peers, "HEAR_WITHIN", 0.05)
    async with two(tmp_path) as (a, b):
        session = await chat_at(a, b)

        async def never(_: str) -> None:
            await asyncio.get_running_loop().create_future()

        monkeypatch.setattr(b.runner.replica, "reached", never)
        with pytest.raises(SessionAwayError, match="it was done"):
            await b.runner.tell(session, e.AgentSaid(BEN, "Please restart it"))
        await a.until(lambda: a.runner.sessions[session].last == "Please restart it")


async def test_an_owner_that_the_journal_refuses_stops_and_hangs_up(tmp_path: Path) -> None:
    """Another node has the session by a newer lease: the step is not kept, nothing of it goes out, the call is over here."""
    async with two(tmp_path) as (a, _):
        leg = await a.to_the_line()
        session = a.session
        lease = a.runner.sessions[session].lease
        assert lease is not None
        await a.journal.commit(Unit(session=session, fence=lease.token + 1_000_000))
        async with a.calls.listen(leg) as heard:
            with pytest.raises(SessionAwayError):
                await a.runner.tell(session, e.DigitsReceived(leg, "9"))
            assert a.counted("sidetone_steps_fenced_total") == 1
            async with asyncio.timeout(5.0):
                async for _ in heard:
                    pass
        await a.until(lambda: session not in a.runner.sessions or not a.runner.sessions[session].mine)


async def test_a_step_that_was_saved_unheard_goes_on_as_if_it_had_been_heard(tmp_path: Path) -> None:
    """The connection was lost after the commit: the second attempt finds it saved, and what it led to happens, once."""
    async with two(tmp_path) as (a, b):
        session = await chat_at(a, b)
        ear = Ear()
        b.runner.listen(ear)
        a.journal.unheard = 1
        await b.desk.say(BEN, session, "Which one?")
        await a.until(lambda: [*a.received, *b.received].count("Which one?") == 1)
        sent = [line for line in await a.lines("text.sent", session) if line.data["body"] == "Which one?"]
        assert len(sent) == 1
        assert ear.lines.count("text.sent") == 1
        assert a.runner.sessions[session].mine


async def test_a_first_step_that_was_saved_unheard_joins_the_line(tmp_path: Path) -> None:
    """What a session wants of the floor is done as well."""
    async with House(tmp_path).open() as house:
        house.journal.unheard = 1
        await house.caller.text(OURS, "hello")
        await house.until(lambda: bool(house.runner.sessions) and house.state.text is TextLeg.QUEUED)
        await house.until(lambda: bool(house.floor.acd.waiting(e.QueueId("support_sms"))))


async def test_a_session_that_others_have_written_to_is_read_again(tmp_path: Path) -> None:
    """Under our own lease: whoever asked has to look, and the next step is one from where the journal is."""
    async with House(tmp_path).open() as house:
        await house.ready(BEN)
        await house.caller.text(OURS, "hello")
        await house.accept(BEN)
        session = house.session
        ticks = house.runner.sessions[session].ticks
        await house.until(lambda: house.state.text is TextLeg.CHATTING and set(ticks.values()) == {"delivered"})
        await house.runner.settled(session)
        stored = await house.journal.session(session)
        assert stored is not None
        await house.journal.commit(Unit(session=session, expected_seq=stored.seq, events=[(house.now, b"{}")]))
        with pytest.raises(DeskRefusedError):
            await house.desk.say(BEN, session, "Which one?")
        await house.desk.say(BEN, session, "Which one?")
        await house.until(lambda: house.received.count("Which one?") == 1)


async def test_a_customer_renamed_at_one_node_is_called_so_at_the_other(tmp_path: Path) -> None:
    """In every session of the number, and desks hear of it."""
    async with two(tmp_path) as (a, b):
        session = await chat_at(a, b)
        ear = Ear()
        a.runner.listen(ear)
        await b.desk.rename(BEN, session, "Ada")
        assert a.runner.sessions[session].customer.name == b.runner.sessions[session].customer.name == "Ada"
        [work] = await b.desk.work(BEN)
        assert work.name == "Ada"
        before = ear.changes
        await b.runner.call_customer(None, "Ada L.", session=session)
        assert ear.changes == before + 1
        assert a.runner.sessions[session].customer.name == "Ada L."


async def test_a_line_that_no_event_led_to_is_heard_once_by_everybody_it_concerns(tmp_path: Path) -> None:
    """Written at one node, heard at both; by those who only follow their own node's sessions at the owner alone."""
    async with two(tmp_path) as (a, b):
        session = await chat_at(a, b)
        ears = [Ear() for _ in range(4)]
        for ear, wing, own in zip(ears, (a, a, b, b), (False, True, False, True), strict=True):
            wing.runner.listen(ear, own=own)
        await b.runner.add_line(session, TimelineLine(b.now, "note.written", {"name": "Ben", "note": "x", "disposition": None}))
        assert [ear.lines for ear in ears] == [["note.written"], ["note.written"], ["note.written"], []]


async def test_what_becomes_of_a_text_is_known_whichever_node_hears_it(tmp_path: Path) -> None:
    """The report comes to a node that does not have the session."""
    async with two(tmp_path) as (a, b):
        session = await chat_at(a, b)
        await b.desk.say(BEN, session, "Which one?")
        text = (await a.journal.messages(session))[-1].id
        ear = Ear()
        b.runner.listen(ear)
        async with asyncio.timeout(5.0):
            while (row := await a.journal.message(text)) is None or row.provider_ref is None:  # noqa: ASYNC110  # it has no event
                await asyncio.sleep(0.01)
        await b.runner.intake.text_reported(DeliveryReport(row.provider, row.provider_ref, text, "delivered", "delivered", b.now))
        assert a.runner.sessions[session].ticks[text] == "delivered"
        await b.until(lambda: "delivered" in ear.texts)


async def test_a_session_that_ends_while_a_node_joins_is_not_shown_there(tmp_path: Path) -> None:
    """The journal still had it open when it was read, the log says that it is over."""
    world = World()
    a, b = Wing(tmp_path, world, "a"), Wing(tmp_path, world, "b")
    await a.begin()
    try:
        await a.caller.text(OURS, "hello")
        await a.until(lambda: bool(a.runner.sessions) and a.state.text is TextLeg.QUEUED)
        session = a.session
        joining = asyncio.create_task(b.begin())
        await a.until(lambda: "b" in world.hub.replicas)
        await a.runner.tell(session, e.ChatCalledOff("Ann"))
        await joining
        await a.until(lambda: session not in a.runner.sessions)
        assert session not in b.runner.sessions
    finally:
        await b.kill()
        await a.kill()


async def test_a_step_that_nobody_heard_of_is_looked_up(tmp_path: Path) -> None:
    """The journal has it: the other node shows it, and what has ended is over there, too."""
    async with two(tmp_path) as (a, b):
        session = await chat_at(a, b)
        await b.until(lambda: b.runner.sessions[session].seq == a.runner.sessions[session].seq)
        a.hub.deaf = True
        b.runner.listen(ear := Ear())
        await a.caller.text(OURS, "are you there?")
        await b.until(lambda: "text.received" in ear.lines)
        await b.until(lambda: b.runner.sessions[session].seq == a.runner.sessions[session].seq)
        assert not b.runner.sessions[session].mine
        assert b.runner.sessions[session].unread == a.runner.sessions[session].unread
        await b.desk.end_chat(BEN, session)
        await b.desk.wrap_up(BEN, session, "", None)
        await a.until(lambda: session not in a.runner.sessions)
        await b.until(lambda: session not in b.runner.sessions)
        assert [ear.lines.count(kind) for kind in ("text.received", "chat.ended", "session.closed")] == [1, 1, 1]


async def test_a_node_may_end_while_a_session_has_something_to_do(tmp_path: Path) -> None:
    """What nobody waits for is left undone, as if the node had been killed; it ends without an error."""
    async with two(tmp_path) as (a, b):
        session = await chat_at(a, b)
        for opted_out in (True, False, True, False):
            a.runner.post(session, e.OptOutChanged(opted_out=opted_out))
        await a.kill()
        await b.owns(session)


async def test_a_text_that_its_node_died_over_is_heard_when_it_is_taken_up(tmp_path: Path) -> None:
    """The journal has it, and nobody was told: whoever goes on tells everybody."""
    async with two(tmp_path) as (a, b):
        session = await chat_at(a, b)
        await b.until(lambda: b.runner.sessions[session].seq == a.runner.sessions[session].seq)
        lease = a.runner.sessions[session].lease
        assert lease is not None
        b.runner.listen(ear := Ear())
        line = TimelineLine(a.clock(), "text.received", {"body": "hello?"})
        await a.journal.commit(Unit(session=session, timeline=[line], fence=lease.token))
        await a.kill()
        await b.owns(session)
        await b.until(lambda: ear.lines.count("text.received") == 1)
        assert b.runner.sessions[session].last == "hello?"


async def test_what_cannot_be_looked_up_is_looked_up_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal need not answer at once."""
    monkeypatch.setattr(recovery, "LOOK_AGAIN_AFTER", 0.01)
    async with two(tmp_path) as (a, b):
        asked, read = 0, b.journal.open_sessions

        async def open_sessions() -> list[StoredSession]:
            nonlocal asked
            asked += 1
            if asked < 3:
                raise JournalUnavailableError("gone")
            return await read()

        monkeypatch.setattr(b.journal, "open_sessions", open_sessions)
        a.hub.deaf = True
        await a.caller.text(OURS, "hello")
        await a.until(lambda: bool(a.runner.sessions))
        await b.knows(a.session)
        assert asked >= 3
        assert not b.runner.sessions[a.session].mine


async def why_it_ended(wing: Wing, leg: e.LegId) -> str:
    """What a caller is told at the end of the call."""
    async with asyncio.timeout(20.0), wing.calls.listen(leg) as hears:
        async for heard in hears:
            if isinstance(heard, Ended):
                return heard.cause
    raise AssertionError("it goes on")


async def test_a_call_that_gets_no_lease_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the first moment it waits; then it is refused, no session has begun, and nothing counts it as a call."""
    monkeypatch.setattr(runner, "CALL_WAITS", 0.05)
    async with two(tmp_path) as (a, _):
        a.place.broken = True
        leg = await a.calls.dial(CALLER, OURS)
        assert await why_it_ended(a, leg) == "503"

        assert not a.runner.sessions
        assert await a.journal.open_sessions() == []
        assert a.counted("sidetone_calls_total") is None
        assert a.runner.metrics.registry.get_sample_value("sidetone_calls_refused_total", {"reason": "cluster_away"}) == 1.0

        a.place.broken = False
        await a.calls.dial(CALLER, OURS)
        await a.until(lambda: bool(a.runner.sessions))


async def test_while_the_nodes_are_cut_off_calls_are_refused_at_once_and_texts_wait(tmp_path: Path) -> None:
    """Also calls that belong to a session that is open; agents and programs are told so when they begin something."""
    async with two(tmp_path) as (a, _):
        a.place.broken, a.place.away = True, runner.CALL_WAITS
        leg = await a.calls.dial(CALLER, OURS)
        assert await why_it_ended(a, leg) == "503"
        with pytest.raises(SessionAwayError):
            await a.runner.open_text_session(CALLER, OURS, "outbound")
        assert not a.runner.sessions

        with capture_logs() as logs:
            await a.caller.text(OURS, "hello")
            await a.until(lambda: "text.waits" in [line["event"] for line in logs])
        assert len(await a.journal.unhandled_inbound()) == 1
        assert not a.runner.sessions
        a.place.broken, a.place.away = False, 0.0
        await a.until(lambda: bool(a.runner.sessions))
