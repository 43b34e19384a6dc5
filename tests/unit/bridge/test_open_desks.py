"""An agent's desk may be open at any node, and move to another, without anybody noticing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bridge import open_desks
from tests.unit.bridge.house import BEN
from tests.unit.bridge.two_houses import Branch, chat, two_houses, until


@asynccontextmanager
async def desk_of_ben(branch: Branch) -> AsyncIterator[None]:
    """Ben's desk, open here."""
    async with branch.desk.subscribe(BEN):
        yield


def state(branch: Branch) -> str:
    return branch.floor.acd.agent_view(BEN).state


async def test_a_desk_that_is_open_at_one_node_is_open_for_all(tmp_path: Path) -> None:
    """Supervisors and mail at the other node see it, and see that it is closed."""
    async with two_houses(tmp_path) as (one, two):
        async with desk_of_ben(one):
            await until(lambda: two.desk.watched(BEN))
            assert one.desk.watched(BEN)
        await until(lambda: not two.desk.watched(BEN))
        assert not one.desk.watched(BEN)


async def test_an_agent_who_comes_back_at_another_node_goes_on(tmp_path: Path) -> None:
    """With the chat in hand; and who comes back nowhere is signed off, and the chat goes back to its place."""
    async with two_houses(tmp_path, desk_grace=0.5) as (one, two):
        async with desk_of_ben(one):
            session = await chat(one, BEN)
        async with desk_of_ben(two):
            await until(lambda: one.desk.watched(BEN))
            assert not one.desk._watchers._leaving
            assert (state(one), state(two)) == ("ready", "ready")
        await until(lambda: state(one) == "offline" == state(two))
        await until(lambda: one.runner.sessions[session].state.chat_agent is None)


async def test_the_desks_of_a_node_that_dies_are_expected_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its agents have the grace time to open them again."""
    monkeypatch.setattr(open_desks, "LOOK_EVERY", 0.05)
    async with two_houses(tmp_path, desk_grace=0.5) as (one, two), desk_of_ben(two):
        await two.ready(BEN)
        await until(lambda: one.desk.watched(BEN))
        two.hub.agents.clear()  # it says nothing any more
        two.desk._watchers._open._here.clear()
        await until(lambda: BEN in one.desk._watchers._leaving)
        await until(lambda: state(one) == "offline")
