"""Settings are drafted, published and taken back while people call and text, and the server goes by them at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.administration.publishing import MOST_CHANGES, Publishing, in_words, settings_in_force, shown
from bridge.app import load_menus
from bridge.events import AgentId, QueueId, SessionId
from bridge.floor_ops import JoinLine, LeaveLine
from bridge.journal import Journal
from bridge.journal.house import Entry, Revision
from bridge.published import MOST, Change, put_entry, put_section, take_entry
from bridge.settings import SettingsError
from bridge.web.ports_admin import AdminRefusedError, By, InvalidError
from tests.unit.bridge.house import BEN, House
from tests.unit.bridge.story import OURS, support

BY = By("eve", "192.0.2.1")


def publishing(house: House) -> Publishing:
    """The publishing of an open house."""
    return Publishing(
        house.journal,
        house.settings,
        house.runner,
        load=lambda settings, _known: ({"support": support()}, load_menus(settings)),
        swap=lambda settings, flows, menus, n: house.runner.reconfigure(
            settings, flows=flows, menus=menus, senders=(), revision=n
        ),
        clock=house.clock,
    )


async def change(it: Publishing, *edits: Callable[[str], str]) -> int:
    """Draft and publish."""
    for edit in edits:
        await it.edit(edit, BY)
    draft = await it.draft()
    assert draft is not None
    return await it.publish(draft.version, "because", BY)


async def test_what_is_published_holds_at_once(tmp_path: Path) -> None:
    """A caller in line is offered to an agent who has just been made; words, presets of reasons and the book follow."""
    async with House(tmp_path).open() as house:
        it = publishing(house)
        await house.to_the_line()
        assert it.standing.revision == 0
        new = {"id": "zoe", "name": "Zoe", "queues": ["support"], "auto_answer": True, "skills": ["lang:en", "technical"]}
        n = await change(
            it,
            lambda text: put_entry(text, "agents", None, new),
            lambda text: put_section(text, "not_ready_reasons", ["Tea"]),
        )
        assert (n, it.standing.revision, await it.draft()) == (1, 1, None)
        assert house.desk.reasons() == ("Tea",)
        await house.ready(AgentId("zoe"))
        await house.line("agent.accepted")
        [entry] = await house.journal.audit(5)
        assert (entry.who, entry.origin, entry.action) == ("eve", "192.0.2.1", "settings.published")
        assert entry.after["changes"] == [
            'not_ready_reasons: ["Break","Lunch","Meeting","Training"] -> ["Tea"]',
            "agents zoe: added",
        ]


async def test_a_queue_goes_when_nobody_is_left_in_it(tmp_path: Path) -> None:
    """The check says who is in the way; and one that was published elsewhere comes into force when the queue is empty."""
    queues = [{"id": "support", "desk": "support_sms"}, {"id": "support_sms", "channel": "sms"}, {"id": "extra"}]
    async with House(tmp_path, queues=queues).open() as house:
        it, waiter = publishing(house), SessionId("s1")
        await house.runner.do(JoinLine(waiter, QueueId("extra"), "voice", house.now, 1))
        with pytest.raises(InvalidError, match="queue extra: 1 wait there and 0 are being served"):
            await it.edit(lambda text: take_entry(text, "queues", "extra"), BY)
        text = take_entry(it.standing.text, "queues", "extra")
        await house.journal.publish(Revision(1.0, "command line", "", text), Entry(1.0, "eve", "a", "b"), after=0)
        await it.look()
        assert (it.standing.revision, it.standing.newest) == (0, 1)
        assert "1 wait there" in it.standing.waits_for
        with pytest.raises(AdminRefusedError, match="it can go when nobody is left"):
            await it.roll_back(1, "", BY)
        await house.runner.do(LeaveLine(waiter, "voice", "abandoned"))
        await it.look()
        assert (it.standing.revision, it.standing.newest, it.standing.waits_for) == (1, 1, "")
        assert "extra" not in house.floor.queues


async def test_a_queue_or_hours_that_a_flow_names_stay(tmp_path: Path) -> None:
    """A call would fall into nothing otherwise."""
    async with House(tmp_path).open() as house:
        it = publishing(house)
        await it.edit(lambda text: put_entry(text, "agents", "ann", {"queues": []}), BY)
        with pytest.raises(InvalidError, match="named by the flow support"):
            await it.edit(lambda text: take_entry(text, "queues", "support"), BY)
        with pytest.raises(InvalidError, match="named by the flow support"):
            await it.edit(lambda text: put_section(text, "hours", None), BY)


async def test_an_agent_who_is_taken_away_ends_their_chat(tmp_path: Path) -> None:
    """The chat in hand is theirs until it ends; then there is nobody of that name any more."""
    async with House(tmp_path).open() as house:
        it = publishing(house)
        await house.ready(BEN)
        await house.caller.text(OURS, "Hello")
        await house.accept(BEN)
        await house.line("agent.joined")
        session = house.session
        await change(it, lambda text: take_entry(text, "agents", "ben"))
        known = house.desk.agent(BEN)
        assert known is not None
        assert house.floor.acd.leaving == {BEN}
        await house.desk.send(BEN, session, "Goodbye")
        await house.desk.end_chat(BEN, session)
        await house.until(lambda: house.desk.agent(BEN) is None)
        assert BEN not in house.floor.acd.agents


async def test_a_chat_put_aside_whose_queue_goes_is_for_the_desk_of_its_number(tmp_path: Path) -> None:
    """Nobody waits or serves there, so the queue may go; the customer who writes again finds somebody."""
    queues = [
        {"id": "support", "desk": "support_sms"},
        {"id": "support_sms", "channel": "sms"},
        {"id": "other", "channel": "sms"},
    ]
    async with House(tmp_path, queues=queues).open() as house:
        it = publishing(house)
        await house.caller.text(OURS, "Hello")
        await house.until(lambda: bool(house.runner.sessions))
        await house.line("queue.joined")
        state = house.state
        await house.runner.settled(state.id)
        await house.runner.do(LeaveLine(state.id, "sms", "abandoned"))
        state.chat_queue = state.desk = QueueId("other")
        await change(it, lambda text: take_entry(text, "queues", "other"))
        assert (state.chat_queue, state.desk) == ("support_sms", "support_sms")


async def test_any_revision_comes_back_as_a_new_one(tmp_path: Path) -> None:
    """Also what the file says; what each one changed can be read later."""
    async with House(tmp_path).open() as house:
        it = publishing(house)
        await change(it, lambda text: put_section(text, "brand", "Second"))
        await change(it, lambda text: put_section(text, "brand", "Third"))
        assert await it.roll_back(1, "too early", BY) == 3
        assert (house.runner.settings.brand, it.standing.revision) == ("Second", 3)
        assert await it.roll_back(0, "all of it", BY) == 4
        assert house.runner.settings.brand == "Example"
        newest = await it.revision(4)
        assert newest is not None
        assert (newest.back_to, newest.note, newest.author) == (0, "all of it", "eve")
        assert [one.n for one in await it.revisions(2, before=4)] == [3, 2]
        assert [(one.before, one.after) for one in await it.changes_of(2)] == [("Second", "Third")]
        assert [(one.before, one.after) for one in await it.changes_of(1)] == [("Example", "Second")]
        assert await it.changes_of(5) == ()
        with pytest.raises(AdminRefusedError, match="no revision 9"):
            await it.roll_back(9, "", BY)


async def test_of_two_who_draft_the_second_hears_of_the_first(tmp_path: Path) -> None:
    """Neither a draft nor a publication is written over unseen."""
    async with House(tmp_path).open() as house:
        it, other = publishing(house), publishing(house)
        draft = await it.save_draft("brand: A\r\n", None, BY)
        assert draft.text == "brand: A\n"
        for refused in (it.save_draft("brand: B", None, BY), it.publish(7, "", BY)):
            with pytest.raises(AdminRefusedError, match="changed the draft"):
                await refused
        with pytest.raises(AdminRefusedError, match="characters at most"):
            await it.save_draft("x" * (MOST + 1), draft.version, BY)
        await it.save_draft("brand: [", draft.version, BY)
        with pytest.raises(InvalidError):
            await it.edit(lambda text: put_section(text, "brand", "B"), BY)
        with pytest.raises(InvalidError):
            await it.publish(2, "", BY)
        await it.drop_draft(BY)
        with pytest.raises(AdminRefusedError, match="not in the draft"):
            await it.edit(lambda text: take_entry(text, "queues", "gone"), BY)
        await it.edit(lambda text: put_section(text, "brand", "Mine"), BY)
        await other.roll_back(0, "", BY)
        await it.look()
        with pytest.raises(AdminRefusedError, match="was published after this draft was begun"):
            await it.publish(1, "", BY)


async def test_a_server_begins_with_what_was_published(tmp_path: Path) -> None:
    """The file for the rest; when the two do not go together it says so with line and column, and how to go back."""
    house = House(tmp_path)
    async with house.open():
        assert await settings_in_force(house.journal, house.settings) == (house.settings, None)
        await change(publishing(house), lambda text: put_section(text, "brand", "Second"))
    async with Journal.open(house.settings.journal_url) as journal:
        settings, revision = await settings_in_force(journal, house.settings)
        assert revision is not None
        assert (settings.brand, settings.data, revision.n) == ("Second", house.settings.data, 1)
        await journal.publish(Revision(1.0, "eve", "", "queues:\n  - id: 7"), Entry(1.0, "eve", "a", "b"), after=1)
        with pytest.raises(SettingsError, match=r"published settings, revision 2:2:9: queues.0.id.*\n.*settings rollback"):
            await settings_in_force(journal, house.settings)


def test_a_change_is_one_line() -> None:
    """And of very many only the first are told."""
    many = [Change("changed", "sms.expire", None, None, 1.0, 2.0)] * (MOST_CHANGES + 5)
    lines = shown(many)
    assert (lines[0], lines[-1], len(lines)) == ("sms.expire: 1.0 -> 2.0", "and 5 more", MOST_CHANGES + 1)
    assert in_words(Change("removed", "queues", "support", None, {}, None)) == "queues support: removed"
