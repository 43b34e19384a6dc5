"""Anything that may happen to a floor, in any order; and what it says to it, for whoever compares two of them.

Run as a program it does what a file says and prints what came of it: `test_floor_ops.py` runs it in two processes whose hashes
differ.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from bridge.acd import PlaceInLine, QueueInUse, Seen, UnknownAgent, UnknownQueue
from bridge.events import AgentId, Channel, QueueId, SessionId
from bridge.floor import Floor, floor_plan
from bridge.floor_ops import (
    AcceptWork,
    AssignWork,
    DeclineWork,
    DistrustForecasts,
    FinishWrapUp,
    FloorPlan,
    ForgetWork,
    GiveBackWork,
    JoinLine,
    LeaveLine,
    MoveInLine,
    Op,
    PlanStaff,
    ReconcileFloor,
    ReconfigureFloor,
    RecordOfferAnswer,
    ReleaseWork,
    RestoreLearning,
    ResyncEstimates,
    SetAgentState,
    TakeOutcomes,
    WakeFloor,
    WeighOffer,
)
from bridge.hindsight import Pace
from bridge.offers import Circumstances
from bridge.settings import Settings

START = 1_700_000_000.0
REFUSALS = (UnknownAgent, UnknownQueue, QueueInUse, ValueError)
SESSIONS = [SessionId(name) for name in ("kiwi", "plum", "fig", "pear", "lime", "date", "sloe", "yuzu", "medlar", "quince")]
SKILLS: list[tuple[str, ...]] = [(), (), ("fr",), ("tax>=4",), ("fr", "tax"), ("nobody has it",)]
CHANNELS: tuple[Channel, Channel] = ("voice", "sms")


def settings(**more: Any) -> Settings:
    """Every way of routing, in queues that share their agents."""
    offers = {"mode": "above_threshold", "threshold": 20, "per_minute": 2, "hold_out": 0.2, "callback": 60}
    return Settings(
        **{
            "data": Path("unused"),
            "queues": [
                {"id": "rings", "strategy": "ring_all", "missed_after": 2, "desk": "chats", "offers": offers},
                {
                    "id": "steps",
                    "skills": ["tax>=3"],
                    "best_first": True,
                    "strategy": "fewest_active",
                    "cascade": [{"after": 10, "teams": ["night"]}, {"after": 25, "level": 1}],
                    "redirect": {"to": "helps", "rings": 2, "after": 45},
                    "desk": "many",
                    "offers": offers,
                },
                {"id": "helps", "strategy": "in_order", "missed_after": 0, "wrap_up": 5},
                {"id": "chats", "channel": "sms", "wrap_up": 0, "cascade": [{"after": 15, "teams": ["night"]}]},
                {"id": "many", "channel": "sms", "strategy": "ring_all"},
            ],
            "agents": [
                {"id": "ann", "name": "Ann", "queues": ["rings", "steps", "helps", "chats", "many"], "skills": ["tax=9"]},
                {"id": "ben", "name": "Ben", "queues": ["rings", "steps", "chats"], "skills": ["tax=4", "fr"], "max_chats": 1},
                {"id": "clo", "name": "Clo", "queues": ["steps", "chats", "many"], "skills": ["tax=1"], "teams": ["night"]},
                {"id": "dan", "name": "Dan", "queues": ["helps", "many"], "auto_answer": True},
                {"id": "eve", "name": "Eve", "queues": ["rings", "helps"], "skills": ["fr=8"], "chats_during_call": 2},
            ],
            **more,
        }
    )


def _plans() -> tuple[FloorPlan, ...]:
    """The plan of the settings; one with other rules and people; one that lacks a queue; one that cannot be."""
    plan = floor_plan(settings())
    other = floor_plan(
        settings(
            routing={"ageing": 60},
            queues=[
                {"id": "steps", "decline_hold": 3, "wrap_up": 5, "desk": "chats", "offers": {"mode": "always"}},
                {"id": "rings", "cascade": [{"after": 4, "level": 2}], "aht": 90},
                {"id": "helps", "redirect": {"to": "rings", "rings": 1, "after": 9}},
                {"id": "chats", "channel": "sms", "auto_answer": True},
                {"id": "many", "channel": "sms", "redirect": {"to": "chats", "after": 5}},
            ],
            agents=[
                {"id": "dan", "name": "Dan", "queues": ["rings", "chats"], "max_chats": 1},
                {"id": "ann", "name": "Ann", "queues": ["chats", "steps"], "max_chats": 4, "skills": ["fr"], "teams": ["night"]},
                {"id": "fay", "name": "Fay", "queues": ["rings", "steps", "helps"]},
            ],
        )
    )
    fewer = floor_plan(settings(queues=[{"id": "rings"}, {"id": "many", "channel": "sms"}], agents=[]))
    return plan, other, fewer, msgspec.structs.replace(plan, queues=plan.queues[1:])


PLANS = _plans()
QUEUES = [queue.id for queue in PLANS[0].queues]
CHANNEL = {queue.id: queue.channel for queue in PLANS[0].queues}
AGENTS = [*(agent.id for agent in PLANS[0].agents), AgentId("fay")]


def floor(now: float = START) -> Floor:
    """One at which nothing has happened."""
    return Floor(settings(), now=now)


def _learned() -> dict[str, Any]:
    """What an estimator has learned in a busy hour."""
    it, now, dice = floor(), START - 4000.0, Random(5)
    it.at = now
    it.apply(SetAgentState(AGENTS[0], "ready"), now)
    for number in range(60):
        session = SessionId(f"before{number}")
        it.apply(JoinLine(session, QUEUES[number % 2], "voice", now, 1), now)
        if number % 5 == 0:
            it.apply(LeaveLine(session, "voice", "abandoned"), now + 5.0)
        now += dice.uniform(10.0, 60.0)
        served = it.acd.agent_view(AGENTS[0]).call
        if served is not None:
            it.apply(ReleaseWork(AGENTS[0], served, "voice", wrap_up=False), now)
        it.apply(SetAgentState(AGENTS[0], "ready"), now)
        rings = it.acd.agent_view(AGENTS[0]).offer
        if rings is not None:
            it.apply(AcceptWork(AGENTS[0], rings.session, "voice"), now)
    return it.estimator.save()


LEARNED = _learned()


class Chance:
    """Makes ops.

    Args:
        dice: Where the chance comes from.
    """

    def __init__(self, dice: Random) -> None:
        self._dice = dice
        self._stories: tuple[Seen, ...] = ()
        """What sessions say of themselves, for some time."""

    def _agent(self) -> AgentId:
        return AgentId("nobody") if self._dice.random() < 0.02 else self._dice.choice(AGENTS)

    def _queue(self) -> QueueId:
        return QueueId("nowhere") if self._dice.random() < 0.02 else self._dice.choice(QUEUES)

    def _place(self, now: float) -> tuple[QueueId, Channel, float, int, tuple[str, ...]]:
        dice, queue = self._dice, self._queue()
        channel = dice.choice(CHANNELS) if dice.random() < 0.05 else CHANNEL.get(queue, "voice")
        return queue, channel, now - dice.choice([0.0, 0.0, 3.5, 60.25]), dice.choice([1, 1, 0, 2]), dice.choice(SKILLS)

    def _seen(self, now: float) -> Seen:
        dice, (queue, channel, since, priority, skills) = self._dice, self._place(now)
        session = dice.choice(SESSIONS)
        match dice.randrange(3):
            case 0:
                return Seen(session, channel, place=PlaceInLine(queue, since, priority, skills))
            case 1:
                return Seen(session, channel, agent=self._agent(), queue=queue)
            case _:
                return Seen(session, channel)

    def _rare(self, now: float) -> Op:
        dice = self._dice
        match dice.randrange(14):
            case 0 | 1:
                return ReconfigureFloor(dice.choice(PLANS))
            case 2:
                return PlanStaff(self._queue(), tuple((now + dice.uniform(0, 900), dice.randrange(4)) for _ in range(3)))
            case 3:
                return DistrustForecasts(tuple(dice.sample(QUEUES, 2)))
            case 4:
                return ResyncEstimates()
            case 5:
                return RestoreLearning(dice.choice([LEARNED, {"version": 99, "at": 0.0, "queues": {}}]))
            case 6:
                return ForgetWork(dice.choice(SESSIONS))
            case 7:
                return TakeOutcomes()
            case 8 | 9:
                return FinishWrapUp(self._agent())
            case 10:
                self._stories = tuple(self._seen(now) for _ in range(dice.randrange(8)))
        return ReconcileFloor(self._stories)

    def op(self, now: float, there: Floor) -> Op:  # noqa: C901, PLR0912  # flat: one for each
        """Something that may be done, sensible in most cases."""
        dice, session = self._dice, self._dice.choice(SESSIONS)
        queue, channel, since, priority, skills = self._place(now)
        agent = self._agent()
        desks = [there.acd.agent_view(one) for one in there.acd.agents]
        ringing = [desk.offer for desk in desks if desk.offer is not None]
        voice, sms = CHANNELS
        in_hand = [(desk.agent, desk.call, voice) for desk in desks if desk.call is not None]
        in_hand += [(desk.agent, work, sms) for desk in desks for work in desk.chats]
        match dice.randrange(24):
            case 0 | 1 | 2 | 3 | 4:
                prefer = dice.choice([None, None, agent])
                return JoinLine(session, queue, channel, since, priority, skills, prefer, 0.0 if prefer is None else 8.0)
            case 5 | 6 | 7 | 8 if ringing:
                rings = dice.choice(ringing)
                return AcceptWork(rings.agent, rings.session, rings.channel)
            case 9 | 10 if ringing:
                rings = dice.choice(ringing)
                return DeclineWork(rings.agent, rings.session, rings.channel)
            case 5 | 6 | 7:
                return SetAgentState(agent, dice.choice(["ready", "ready", "not_ready", "offline"]), dice.choice([None, "lunch"]))
            case 11 | 12 if in_hand:
                agent, session, channel = dice.choice(in_hand)
                return ReleaseWork(agent, session, channel, wrap_up=dice.random() < 0.8)
            case 13 if in_hand:
                agent, session, channel = dice.choice(in_hand)
                return GiveBackWork(agent, session, queue, channel, since, priority, skills)
            case 14:
                return LeaveLine(session, channel, dice.choice(["abandoned", "deflected", "timed_out", "closed"]))
            case 15:
                return AcceptWork(agent, session, channel)
            case 16:
                return MoveInLine(session, channel, queue)
            case 17:
                return AssignWork(agent, session, channel, queue, from_line=dice.random() < 0.5)
            case 19 | 20:
                return self._weigh(session, queue, dice.choice([None, since]))
            case 21:
                return RecordOfferAnswer(session, queue, dice.random() < 0.5)
            case 18 | 22:
                return self._rare(now)
            case 23:
                return SetAgentState(agent, "ready")
            case _:
                return WakeFloor()

    def _weigh(self, session: SessionId, queue: QueueId, since: float | None) -> WeighOffer:
        dice = self._dice
        return WeighOffer(
            request=1,
            kind=dice.choice(["deflect", "deflect", "hold", "callback"]),
            queue=queue,
            desk=dice.choice([None, QUEUES[3], QUEUES[4]]),
            session=session,
            number=dice.choice([None, "+15550100200", "+15550100200"]),
            why_not=dice.choice([None, None, None, "it cannot"]),
            opted_out=dice.random() < 0.05,
            asked_before=dice.random() < 0.05,
            sms_open=dice.random() < 0.95,
            since=since,
        )

    def later(self, now: float) -> float:
        """The time of the next op, now and then a little before the last one's."""
        return now + self._dice.choice([0.0, 0.0, 0.125, 1.0, 1.0, 3.7, 3.7, 9.3, 25.0, -0.01])


def history(dice: Random, length: int) -> Iterator[tuple[Op, float]]:
    """So many ops with their times. Which one comes depends on what the ones before have led to."""
    chance, there, now = Chance(dice), floor(), START
    for _ in range(length):
        op = chance.op(now, there)
        yield op, now
        apply(there, op, now)
        now = chance.later(now)


def apply(there: Floor, op: Op, now: float) -> tuple[str, list[Any], Any]:
    """What the floor says to it, an error as its name and words."""
    try:
        applied = there.apply(op, now)
    except REFUSALS as refusal:
        return f"{type(refusal).__name__}: {refusal}", [], None
    return "done", applied.outputs, applied.answer


def look(there: Floor, now: float) -> list[Any]:
    """Whatever can be asked."""
    told: list[Any] = [there.acd.wake_at, there.acd.told(), there.estimator.snapshot(), there.estimator.save()]
    for agent in there.acd.agents:
        told += [there.acd.agent_view(agent), there.acd.agent_spec(agent)]
    for session in SESSIONS:
        for channel in CHANNELS:
            told += [there.acd.position(session, channel), there.acd.place(session, channel)]
            told += [there.acd.explain(session, channel, now), there.acd.serving(session, channel)]
            told.append(there.estimator.forecast_waiting(now, f"{session}/{channel}"))
    caller = Circumstances("+15550100200", can_text=True, sms_staffed=True)
    for queue in there.queues:
        name = QueueId(queue)
        voice = there.estimator.forecast(now, queue)
        told += [there.acd.queue_view(name, now), there.acd.waiting(name), voice, there.estimator.forecast(now, queue, 0, 2.5)]
        told += [there.policy.reserved(now, queue), there.policy.preview(now, queue, voice, voice, caller)]
        told += [there.queue_now(queue, "en", now), _pace(there.witness.pace(queue, now))]
    return told


def _pace(pace: Pace | None) -> tuple[float, float] | None:
    return None if pace is None else (pace.drain_per_min, pace.hangups_per_min)


class Step(msgspec.Struct, frozen=True):
    """One op of a history that was written down."""

    op: Op
    at: float


if __name__ == "__main__":
    its = floor()
    for step in msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=list[Step]):
        print(msgspec.json.encode(apply(its, step.op, step.at)).decode())
        print(its.dump().hex())
    print(msgspec.json.encode(look(its, its.at + 30.0)).decode())
