"""What supervisors and agents do at one node is known at the other, and what happens once happens once."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bridge.web.ports import DeskRefusedError
from bridge.web.ports_supervisor import Posted
from tests.unit.bridge.house import ANN, BEN, picture
from tests.unit.bridge.story import OURS
from tests.unit.bridge.two_houses import chat, two_houses, until

RULES: list[dict[str, Any]] = [
    {"name": "Open", "on": "service", "measure": "sessions", "above": 0.5, "lasting": 0, "to": ["board", "hook"]},
    {"name": "Given up", "on": "service", "measure": "dead_letters", "above": 0.5, "lasting": 0},
]
HOOKS = [{"name": "crm", "url": "http://127.0.0.1:9/", "secret": "x", "events": ["alert.*"]}]


async def test_a_message_stands_at_the_desks_of_all_nodes(tmp_path: Path) -> None:
    """Posted at one, read at the other, taken down at either; two at the same time are two."""
    async with two_houses(tmp_path) as (one, two):
        await one.supervisor.post(ANN, Posted("everybody", "", "Tea is ready", 60.0))
        await until(lambda: two.supervisor.at_desk(BEN))
        [tea] = two.supervisor.at_desk(BEN)
        await two.supervisor.read(BEN, tea.id)
        await until(lambda: not one.supervisor.at_desk(BEN))
        assert [each.words for each in one.supervisor.at_desk(ANN)] == ["Tea is ready"]
        await two.supervisor.post(ANN, Posted("agent", "ann", "And cake", 60.0, pinned=True))
        await until(lambda: len(one.supervisor.posted()) == 2)
        await one.supervisor.take_down(ANN, tea.id)
        await until(lambda: len(two.supervisor.posted()) == 1)
        with pytest.raises(DeskRefusedError, match="taken down already"):
            await two.supervisor.take_down(ANN, tea.id)


async def test_an_alert_is_told_once_and_shown_everywhere(tmp_path: Path) -> None:
    """One node measures, whoever acknowledges may be at the other; when the first is gone, that one does not tell it again."""
    async with two_houses(tmp_path, alerts=RULES, hooks=HOOKS) as (one, two):
        await until(lambda: one.measures() or two.measures())
        assert not (one.measures() and two.measures())
        holder, other = (one, two) if one.measures() else (two, one)
        await one.caller.text(OURS, "hello?")
        await until(lambda: holder.runner.sessions)
        await holder.supervisor.alerting.look()
        await until(lambda: other.supervisor.alerts()[0])
        [alert] = other.supervisor.alerts()[0]
        await other.supervisor.acknowledge(BEN, alert.id)
        await until(lambda: holder.supervisor.alerts()[0][0].acknowledged_by == "Ben")
        with pytest.raises(DeskRefusedError, match="looks after"):
            await holder.supervisor.acknowledge(ANN, alert.id)
        await other.supervisor.alerting.take_over()
        await other.supervisor.alerting.look()
        assert [(each.id, each.acknowledged_by) for each in other.supervisor.alerts()[0]] == [(alert.id, "Ben")]
        told = [each.type for each in await one.journal.deliveries_due("crm", one.now + 10, 10)]
        assert told == ["alert.raised"]


async def test_every_node_counts_what_happens_at_all_of_them_once(tmp_path: Path) -> None:
    """Also when it reads the journal in the middle of it."""
    async with two_houses(tmp_path) as (one, two):
        session = await chat(one, BEN)
        await until(lambda: two.supervisor.boards.day.queue("support_sms").answered)
        await two.supervisor.boards.load()
        for line in await one.journal.timeline(session):
            two.supervisor.boards.line_added(session, line)  # as the log may say again what the journal had
        for branch in (one, two):
            counts = branch.supervisor.boards.day.queue("support_sms")
            assert (counts.offered, counts.answered) == (1, 1)
        assert [row.session for row in two.supervisor.snapshot().sessions] == [session]


async def test_what_happens_while_the_boards_are_read_is_counted_afterwards(tmp_path: Path) -> None:
    """Neither lost nor counted twice."""
    async with two_houses(tmp_path) as (one, _):
        boards, lines_of_day = one.supervisor.boards, one.journal.lines_of_day
        session = await chat(one, BEN)

        async def slow(*asked: Any) -> Any:
            lines = await lines_of_day(*asked)
            await one.desk.end_chat(BEN, session)
            await one.line("chat.ended")
            return lines

        one.journal.lines_of_day = slow  # type: ignore[assignment,method-assign]
        await boards.load()
        counts = boards.day.queue("support_sms")
        assert (counts.offered, counts.answered, counts.handled) == (1, 1, 1)


async def test_the_customer_is_looked_up_and_recorded_once(tmp_path: Path) -> None:
    """By the node that works the queue off; the card is seen at both, and a name that is written at one is known at the other."""
    async with two_houses(tmp_path) as (one, two):
        session = await chat(one, BEN)
        await until(lambda: one.contacts._delivers or two.contacts._delivers)

        async def card() -> Any:
            return await two.contacts.card(BEN, session)

        while (known := await card()) is None or known.state != "assigned":  # noqa: ASYNC110  # has no event
            await asyncio.sleep(0.01)
        await two.contacts.rename(BEN, session, "Ann Weber")
        await until(lambda: one.runner.sessions[session].customer.name == "Ann Weber")
        assert two.runner.sessions[session].customer.name == "Ann Weber"
        await two.desk.end_chat(BEN, session)
        await two.desk.wrap_up(BEN, session, "done", "Solved")
        await until(lambda: session not in one.runner.sessions)
        while not [each for each in await one.journal.crm_entries(session=session, state="done") if each.action == "record"]:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.01)
        entries = await one.journal.crm_entries(session=session)
        assert sorted((each.action, each.state, each.attempts) for each in entries) == [
            ("create", "done", 1),
            ("look_up", "done", 1),
            ("record", "done", 1),
        ]


async def test_what_an_agent_has_seen_and_attached_at_one_node_is_known_at_the_other(tmp_path: Path) -> None:
    """Their next request may come there."""
    async with two_houses(tmp_path) as (one, two):
        session = await chat(one, BEN)
        await one.caller.text(OURS, "and now it is dark")
        await until(lambda: [each.runner.sessions[session].unread for each in (one, two)] == [2, 2])
        await two.desk.session(BEN, session)
        await until(lambda: not one.runner.sessions[session].unread)
        media = await two.desk.keep_media(BEN, picture())
        await until(lambda: media.digest in one.desk._attached.get(BEN, ()))
        await one.desk.say(BEN, session, "Like this", media=(media.digest,))
