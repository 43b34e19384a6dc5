"""Routing with everything but sockets: what rings at many desks, moves to another queue, or is reserved for nobody."""

from pathlib import Path
from typing import Any

import structlog.testing

from bridge import events as e
from bridge.acd import GRACE
from bridge.floor_ops import AssignWork, JoinLine, LeaveLine, SetAgentState
from bridge.legs import CallState, TextLeg
from tests.unit.bridge.house import ANN, BEN, PHONE, House
from tests.unit.bridge.story import OURS

CLO = e.AgentId("clo")
SUPPORT, TEXTS = e.QueueId("support"), e.QueueId("support_sms")
SKILLS = ["lang:en", "billing", "technical"]


def people(**clo: Any) -> list[dict[str, Any]]:
    """Ann and Clo for calls, Ben for texts."""
    return [
        {"id": "ann", "name": "Ann", "queues": ["support"], "phone": PHONE, "skills": SKILLS},
        {"id": "ben", "name": "Ben", "queues": ["support_sms"]},
        {"id": "clo", "name": "Clo", "queues": ["support"], "phone": PHONE, "skills": SKILLS} | clo,
    ]


def queues(*others: dict[str, Any], **support: Any) -> list[dict[str, Any]]:
    """The usual queues, that of calls like this, and others."""
    texting = {"desk": "support_sms", "offers": {"mode": "never"}}
    return [{"id": "support", **texting, **support}, {"id": "support_sms", "channel": "sms"}, *others]


async def test_a_call_that_rings_at_all_desks_is_answered_by_one(tmp_path: Path) -> None:
    """The caller talks to who was first; the other desk is free, and the timeline tells it all."""
    async with House(tmp_path, queues=queues(strategy="ring_all"), agents=people()).open() as house:
        await house.ready(ANN, CLO)
        await house.dial()
        await house.until(lambda: bool(house.desk.offers(ANN)) and bool(house.desk.offers(CLO)))
        await house.accept(CLO)
        await house.until(lambda: house.state.call is CallState.CONNECTED)
        assert (house.state.agent, house.desk.offers(ANN)) == (CLO, ())
        assert {line.data["agent"] for line in await house.lines("agent.offered")} == {ANN, CLO}
        [lapsed] = await house.lines("offer.lapsed")
        assert (lapsed.data["agent"], lapsed.data["reason"]) == (ANN, "withdrawn")


async def test_a_call_that_moved_to_another_queue_is_answered_there(tmp_path: Path) -> None:
    """Also when it was not picked up there, and stands in line again at its old place."""
    backup = {"id": "backup"}
    house = House(tmp_path, queues=queues(backup, redirect={"to": "backup", "rings": 1}), agents=people(queues=["backup"]))
    async with house.open():
        await house.ready(ANN, CLO)
        await house.dial()
        await house.until(lambda: bool(house.desk.offers(ANN)))
        await house.later(21.0)
        assert house.floor.acd.place(house.session, "voice") is not None
        assert [offer.queue for offer in house.desk.offers(CLO)] == ["backup"]
        await house.line("queue.moved")
        assert house.state.queue == "backup"
        await house.accept(CLO)
        await house.until(lambda: house.state.call is CallState.CONNECTED)
        assert house.state.agent == CLO


async def test_a_desk_reserved_for_nobody_is_freed_and_the_log_says_so(tmp_path: Path) -> None:
    async with House(tmp_path, queues=queues(), agents=people()).open() as house:
        await house.ready(ANN, BEN)
        await house.runner.do(AssignWork(ANN, e.SessionId("gone"), "voice", SUPPORT))
        await house.runner.do(JoinLine(e.SessionId("lost"), TEXTS, "sms", house.now, 1))
        with structlog.testing.capture_logs() as logs:
            await house.runner.heal_floor()
            assert house.floor.acd.agent_view(ANN).busy
            await house.later(GRACE)
            await house.runner.heal_floor()
        assert not house.floor.acd.agent_view(ANN).busy
        assert house.floor.acd.waiting(TEXTS) == ()
        assert [(line["ghost"], line["session"]) for line in logs if line["event"] == "floor.ghost"] == [
            ("work_gone", "gone"),
            ("waiter_gone", "lost"),
        ]


async def test_what_is_in_order_is_never_healed(tmp_path: Path) -> None:
    """In line, at the phone, with an open chat, and when it is all over."""
    async with House(tmp_path, queues=queues(), agents=people()).open() as house:

        async def looked_at_twice() -> None:
            await house.runner.heal_floor()
            await house.later(GRACE + 1.0)
            with structlog.testing.capture_logs() as logs:
                await house.runner.heal_floor()
            assert [line for line in logs if line["event"] == "floor.ghost"] == []

        leg = await house.to_the_line()
        await looked_at_twice()
        await house.ready(ANN, BEN)
        await house.accept(ANN)
        await house.until(lambda: house.state.call is CallState.CONNECTED)
        await looked_at_twice()
        await house.calls.hang_up(leg)
        await house.until(lambda: not house.floor.acd.agent_view(ANN).busy)
        await house.network.handset("+15550100177").text(OURS, "hello")
        await house.until(lambda: any(live.state.text is TextLeg.QUEUED for live in house.runner.sessions.values()))
        await house.accept(BEN)
        await house.until(lambda: any(live.state.text is TextLeg.CHATTING for live in house.runner.sessions.values()))
        await looked_at_twice()


async def test_a_session_the_floor_forgot_gets_its_place_back(tmp_path: Path) -> None:
    async with House(tmp_path, queues=queues(), agents=people()).open() as house:
        await house.ready(ANN, BEN)
        await house.runner.do(SetAgentState(ANN, "not_ready", "lunch"))
        await house.to_the_line()
        waits = house.session
        since = house.runner.sessions[waits].state.since
        await house.runner.do(LeaveLine(waits, "voice", "closed"))
        await house.runner.heal_floor()
        await house.later(GRACE)
        await house.runner.heal_floor()
        place = house.floor.acd.place(waits, "voice")
        assert place is not None
        assert (place.queue, place.since) == (SUPPORT, since)
