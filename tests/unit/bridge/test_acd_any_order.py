"""Every way of routing at once, anything in any order: nobody is lost, nobody has too much, and the sums are right."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from bridge.acd import (
    Acd,
    AgentSpec,
    CascadeStep,
    OfferLapsed,
    PlaceInLine,
    QueueInUse,
    QueueSpec,
    Redirect,
    Seen,
    UnknownAgent,
    UnknownQueue,
    WorkAssigned,
    WorkOffered,
    WorkRedirected,
)
from bridge.events import AgentId, Channel, QueueId, SessionId
from tests.unit.bridge.acd_floor import Diary

RINGS, STEPS, HELPS, CHATS, MANY = (QueueId(name) for name in ("rings", "steps", "helps", "chats", "many"))
QUEUES = (
    QueueSpec(RINGS, "voice", strategy="ring_all", missed_after=2, decline_hold=7.0),
    QueueSpec(
        STEPS,
        "voice",
        skills=("s>=3",),
        best_first=True,
        strategy="fewest_active",
        cascade=(CascadeStep(10.0, ("t",)), CascadeStep(25.0, level=1)),
        redirect=Redirect(HELPS, rings=2, after=45.0),
    ),
    QueueSpec(HELPS, "voice", strategy="in_order", missed_after=0, redirect=Redirect(STEPS, rings=1)),
    QueueSpec(CHATS, "sms", wrap_up=0.0, cascade=(CascadeStep(15.0, ("t",)),)),
    QueueSpec(MANY, "sms", strategy="ring_all", auto_answer=False),
)
EVERYWHERE = tuple(queue.id for queue in QUEUES)
AGENTS = (
    AgentSpec(AgentId("a"), "A", EVERYWHERE, max_chats=2, skills=("s=9",)),
    AgentSpec(AgentId("b"), "B", EVERYWHERE, max_chats=1, skills=("s=4", "fr"), chats_during_call=1),
    AgentSpec(AgentId("c"), "C", (RINGS, STEPS, CHATS), skills=("s=1",), teams=("t",), max_chats_for_call=0),
    AgentSpec(AgentId("d"), "D", (HELPS, MANY), auto_accept=True, teams=("t",)),
)
CHANNEL: dict[QueueId, Channel] = {queue.id: queue.channel for queue in QUEUES}
SESSIONS = [SessionId(f"s{n}") for n in range(5)]
NAMES = st.sampled_from([agent.id for agent in AGENTS])
OTHER_QUEUES = (
    QueueSpec(RINGS, "voice", decline_hold=3.0, wrap_up=5.0),
    QueueSpec(STEPS, "voice", skills=("fr",), cascade=(CascadeStep(4.0, level=2),)),
    QueueSpec(HELPS, "voice", redirect=Redirect(RINGS, rings=1, after=9.0)),
    QueueSpec(CHATS, "sms", auto_answer=True),
    QueueSpec(MANY, "sms", redirect=Redirect(CHATS, after=5.0)),
)
OTHER_AGENTS = (
    AgentSpec(AgentId("d"), "D", (RINGS, CHATS), max_chats=1),
    AgentSpec(AgentId("a"), "A", (CHATS, STEPS), max_chats=4, skills=("s=1", "fr"), teams=("t",)),
    AgentSpec(AgentId("b"), "B", EVERYWHERE, max_chats=2),
    AgentSpec(AgentId("c"), "C", (HELPS,)),
)
STAFFS = (sorted(AGENTS, key=lambda one: one.id), sorted(OTHER_AGENTS, key=lambda one: one.id))


class Story(Diary):
    """An observer that refuses what cannot be."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: set[str] = set()
        self.served: dict[str, str] = {}
        self.free: dict[str, tuple[int, int]] = {}

    def joined(self, now: float, contact: str, queue: str, priority: int, since: float | None = None) -> None:
        super().joined(now, contact, queue, priority, since)
        assert contact not in self.waiting
        assert contact not in self.served
        self.waiting.add(contact)

    def started(self, now: float, contact: str, agent: str, queue: str | None = None) -> None:
        super().started(now, contact, agent, queue)
        assert contact not in self.served
        self.waiting.discard(contact)
        self.served[contact] = agent

    def abandoned(self, now: float, contact: str, *, ghost: bool = True) -> None:
        super().abandoned(now, contact, ghost=ghost)
        self.waiting.remove(contact)

    def ended(self, now: float, contact: str, agent: str, *, served: bool = True) -> None:
        super().ended(now, contact, agent, served=served)
        assert self.served.pop(contact) == agent

    def capacity(self, now: float, agent: str, voice_free: int, chat_free: int) -> None:
        super().capacity(now, agent, voice_free, chat_free)
        self.free[agent] = (voice_free, chat_free)


class Anything(RuleBasedStateMachine):
    """The rules are what people do; the invariants are what must hold whatever they do."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.story = Story()
        self.acd = Acd(QUEUES, AGENTS, self.story, now=self.now, ageing=self.ageing)
        self.waiting: dict[tuple[SessionId, Channel], QueueId] = {}
        self.served: dict[tuple[SessionId, Channel], AgentId] = {}
        self.rings: dict[AgentId, tuple[SessionId, Channel]] = {}
        self.queues = {queue.id: queue for queue in QUEUES}
        self.agents = {agent.id: agent for agent in AGENTS}

    ageing: float | None = None

    def is_there(self, queue: QueueId) -> bool:
        """Whether nobody has taken this queue away."""
        return queue in self.queues

    def follow(self, outputs: list[Any]) -> None:
        """Keep the books by the outputs alone, as the server does."""
        for output in outputs:
            match output:
                case WorkOffered(agent=agent, session=session, channel=channel):
                    assert agent not in self.rings
                    self.rings[agent] = (session, channel)
                case OfferLapsed(agent=agent, session=session, channel=channel):
                    assert self.rings.pop(agent) == (session, channel)
                case WorkAssigned(agent=agent, session=session, channel=channel):
                    self.waiting.pop((session, channel), None)
                    # Who accepts stops their own ringing; every other desk has been told before.
                    self.rings = {who: work for who, work in self.rings.items() if (who, work) != (agent, (session, channel))}
                    assert (session, channel) not in self.rings.values()
                    self.served[session, channel] = agent
                case WorkRedirected(session=session, channel=channel, queue=queue, to=to):
                    assert self.waiting[session, channel] == queue
                    self.waiting[session, channel] = to
                case _:
                    pass

    @rule(data=st.data())
    def reconfigure(self, data: st.DataObject) -> None:
        """Each queue and agent stays, goes, comes back or becomes another; with people in a queue that goes nothing changes."""
        others = data.draw(st.lists(st.sampled_from(EVERYWHERE), unique=True))
        queues = {queue.id: queue for queue in (*QUEUES, *(each for each in OTHER_QUEUES if each.id in others))}
        for queue in data.draw(st.lists(st.sampled_from(EVERYWHERE), unique=True, max_size=2)):
            del queues[queue]
        queues = {
            name: replace(queue, redirect=None) if queue.redirect and queue.redirect.to not in queues else queue
            for name, queue in queues.items()
        }
        agents = data.draw(st.permutations([data.draw(st.sampled_from(pair)) for pair in zip(*STAFFS, strict=True)]))
        agents = [
            replace(one, queues=tuple(q for q in one.queues if q in queues)) for one in agents[data.draw(st.integers(0, 2)) :]
        ]
        ageing = data.draw(st.sampled_from([None, 30.0]))
        if uses := self.acd.in_use(queues.values()):
            assert set(uses) <= set(self.queues) - set(queues)
            with pytest.raises(QueueInUse):
                self.acd.reconfigure(queues.values(), agents, self.now, ageing=ageing)
            return
        outputs = self.acd.reconfigure(queues.values(), agents, self.now, ageing=ageing)
        self.queues, self.agents = queues, {one.id: one for one in agents}
        self.follow(outputs)
        assert self.acd.queues == tuple(queues)
        assert self.acd.agents[: len(agents)] == tuple(self.agents)
        assert self.acd.leaving == set(self.served.values()) - set(self.agents)

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 10.0, 20.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.follow(self.acd.wake(self.now))
        assert self.acd.wake_at is None or self.acd.wake_at > self.now

    @rule(who=NAMES, state=st.sampled_from(["ready", "ready", "ready", "not_ready", "offline"]))
    def set_state(self, who: AgentId, state: Any) -> None:
        if who not in self.acd.agents:
            with pytest.raises(UnknownAgent):
                self.acd.set_state(who, state, "why", self.now)
            return
        self.follow(self.acd.set_state(who, state, "why", self.now))

    @rule(
        session=st.sampled_from(SESSIONS),
        queue=st.sampled_from(EVERYWHERE),
        priority=st.integers(0, 2),
        ago=st.sampled_from([0.0, 12.0, 100.0]),
        skills=st.sampled_from([(), (), ("fr",), ("s>=8",), ("nobody",)]),
        prefer=st.none() | NAMES,
        prefer_for=st.sampled_from([0.0, 8.0]),
    )
    def join(
        self,
        session: SessionId,
        queue: QueueId,
        priority: int,
        ago: float,
        skills: tuple[str, ...],
        prefer: AgentId | None,
        prefer_for: float,
    ) -> None:
        if not self.is_there(queue):
            return
        work = (session, CHANNEL[queue])
        outputs = self.acd.join(
            *(session, queue, work[1], self.now - ago, priority, skills, self.now), prefer=prefer, prefer_for=prefer_for
        )
        if outputs:
            self.waiting[work] = queue
        self.follow(outputs)

    @rule(session=st.sampled_from(SESSIONS), channel=st.sampled_from(["voice", "sms"]))
    def leave(self, session: SessionId, channel: Channel) -> None:
        self.follow(self.acd.leave(session, channel, "abandoned", self.now))
        self.waiting.pop((session, channel), None)

    @rule(session=st.sampled_from(SESSIONS), to=st.sampled_from(EVERYWHERE))
    def move(self, session: SessionId, to: QueueId) -> None:
        if not self.is_there(to):
            with pytest.raises(UnknownQueue):
                self.acd.move(session, CHANNEL[to], to, self.now)
            return
        was = self.waiting.get((session, CHANNEL[to]))
        outputs = self.acd.move(session, CHANNEL[to], to, self.now)
        assert bool(outputs) == (was not in {None, to})
        self.follow(outputs)

    @rule(who=NAMES)
    def accept(self, who: AgentId) -> None:
        if who in self.rings:
            session, channel = self.rings[who]
            self.follow(self.acd.accept(who, session, channel, self.now))
            assert self.served[session, channel] == who

    @rule(who=NAMES, reason=st.sampled_from(["declined", "ring_timeout"]))
    def decline(self, who: AgentId, reason: Any) -> None:
        if who in self.rings:
            self.follow(self.acd.decline(who, *self.rings[who], reason, self.now))

    @rule(data=st.data(), wrap_up=st.booleans())
    def release(self, data: st.DataObject, wrap_up: bool) -> None:
        if self.served:
            work = data.draw(st.sampled_from(sorted(self.served)))
            self.follow(self.acd.release(self.served.pop(work), *work, wrap_up, self.now))

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        if self.served:
            session, channel = data.draw(st.sampled_from(sorted(self.served)))
            who, queue = self.served[session, channel], STEPS if channel == "voice" else CHATS
            if not self.is_there(queue):
                return
            del self.served[session, channel]
            self.waiting[session, channel] = queue
            self.follow(self.acd.give_back(who, session, queue, channel, self.now - 5.0, 1, (), self.now))

    @rule(who=NAMES, session=st.sampled_from(SESSIONS), queue=st.sampled_from(EVERYWHERE))
    def assign(self, who: AgentId, session: SessionId, queue: QueueId) -> None:
        if not self.is_there(queue) or who not in self.acd.agents:
            return
        if CHANNEL[queue] == "sms" or self.acd.agent_view(who).call is None:
            self.follow(self.acd.assign(who, session, CHANNEL[queue], queue, self.now))

    @rule(data=st.data())
    def ghosts(self, data: st.DataObject) -> None:
        """Sessions vanish, or say that they wait; two looks a while apart heal it."""
        seen = [Seen(session, channel, agent=who, queue=RINGS) for (session, channel), who in self.served.items()]
        seen = [one for one in seen if self.is_there(RINGS)]
        seen += [Seen(*work, place=PlaceInLine(queue, 900.0)) for work, queue in self.waiting.items()]
        seen = [one for one in seen if not data.draw(st.booleans())]
        self.follow(self.acd.reconcile(seen, self.now))
        self.now += 50.0
        moved = self.acd.wake(self.now)
        self.follow(moved)
        self.follow(self.acd.reconcile(seen, self.now))
        # What the two looks agreed on is what the floor says now; the books are written anew.
        works = [(session, channel) for session in SESSIONS for channel in set(CHANNEL.values())]
        self.served = {work: who for work in works if (who := self.acd.serving(*work)) is not None}
        self.waiting = {work: place.queue for work in works if (place := self.acd.place(*work)) is not None}
        told = {(one.session, one.channel) for one in seen}
        assert moved or set(self.served) | set(self.waiting) <= told

    @invariant()
    def the_books_agree(self) -> None:
        for queue in self.queues:
            channel = CHANNEL[queue]
            line = self.acd.waiting(queue)
            assert {(session, channel) for session in line} == {work for work, where in self.waiting.items() if where == queue}
            assert [self.acd.position(session, channel) for session in line] == list(range(1, len(line) + 1))
        for name in self.acd.agents:
            view = self.acd.agent_view(name)
            offer = view.offer
            assert self.rings.get(name) == (None if offer is None else (offer.session, offer.channel))
            assert {(s, "sms") for s in view.chats} | ({(view.call, "voice")} if view.call else set()) == {
                work for work, who in self.served.items() if who == name
            }
        assert self.story.waiting == {f"{session}/{channel}" for session, channel in self.waiting}
        assert self.story.served == {f"{session}/{channel}": who for (session, channel), who in self.served.items()}

    @invariant()
    def a_session_rings_on_one_channel_and_at_many_desks_only_where_all_are_rung(self) -> None:
        for session in SESSIONS:
            rung = [work for work in self.rings.values() if work[0] == session]
            assert len(set(rung)) <= 1
            assert len(rung) <= 1 or self.waiting[rung[0]] in {RINGS, MANY}  # even when the queue rings one by one since

    @invariant()
    def the_sums_are_what_one_counts(self) -> None:
        """Ringing takes one place for each one who rings, wherever it rings."""
        agents = self.agents.values()
        for queue in self.queues:
            channel = CHANNEL[queue]
            view = self.acd.queue_view(queue, self.now)
            staff = [self.acd.agent_view(spec.id) for spec in agents if queue in spec.queues]
            staff = [one for one in staff if one.state in {"ready", "wrap_up"}]
            assert (view.agents_staffed, view.agents_busy) == (len(staff), sum(one.busy for one in staff))
            assert view.open_slots == sum(
                self.story.free.get(spec.id, (0, 0))[channel == "sms"] for spec in agents if queue in spec.queues
            )
        taken = sum(1 for spec in agents if spec.id in self.rings and self.story.free[spec.id] == (0, 0))
        assert taken >= len(set(self.rings.values()))

    @invariant()
    def whoever_may_be_asked_is_asked(self) -> None:
        """Somebody waits beside a free agent only when the explanation says why, or it rings on their other channel."""
        rung = {session for session, _ in self.rings.values()}
        for session, channel in self.waiting:
            said = self.acd.explain(session, channel, self.now)
            assert said is not None
            may = [agent for agent, standing in said.agents if standing == "may_be_asked"]
            assert not may or session in rung, (session, said)


class AnythingWithAgeing(Anything):
    """The same where priorities age."""

    ageing = 30.0


Anything.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
AnythingWithAgeing.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestAnything = Anything.TestCase
TestAnythingWithAgeing = AnythingWithAgeing.TestCase
