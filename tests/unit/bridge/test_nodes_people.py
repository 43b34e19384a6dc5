"""Who signs in at one node is known at all of them, and who is put out at one is out everywhere."""

from pathlib import Path

import pytest
from argon2 import PasswordHasher

from bridge.administration.passwords import FREE_TRIES
from bridge.administration.people import People
from bridge.events import AgentId
from bridge.settings import Settings
from bridge.web.console.agents import cookie_hash
from bridge.web.ports_admin import By, TurnedAway, Welcome
from tests.unit.bridge.two_nodes import Node, two_nodes, until

ANN, EVE = By("ann", "192.0.2.1"), By("eve", "192.0.2.9")
OLD, NEW = "correct horse battery", "tea is better than coffee"
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(OLD)
AGENTS = [{"id": "ann", "name": "Ann", "password_hash": HASH}, {"id": "eve", "name": "Eve"}]


async def people_of(node: Node) -> People:
    people = People(
        node.journal,
        lambda: Settings(agents=AGENTS),  # type: ignore[arg-type]
        clock=lambda: 1000.0,
        spawn=node.spawn,
        session_lifetime=3600.0,
        news=node.news,
    )
    await people.load()
    return people


async def test_a_cookie_of_one_node_works_at_the_other_at_once(tmp_path: Path) -> None:
    """And a sign-out there ends it here."""
    async with two_nodes(tmp_path) as (one, two):
        here, there = await people_of(one), await people_of(two)
        cookie, signed_in = here.sign_ins.open(AgentId("ann"), now=1000.0)
        await here.settled()
        assert there.sign_ins.find(cookie, now=1000.0) is None
        await there.recall(cookie)
        assert there.sign_ins.find(cookie, now=1000.0) == signed_in
        there.sign_ins.close(cookie)
        await there.settled()
        await until(lambda: here.sign_ins.find(cookie, now=1000.0) is None)
        await here.recall(cookie)
        assert here.sign_ins.find(cookie, now=1000.0) is None


async def test_a_cookie_of_nobody_is_asked_for_once(tmp_path: Path) -> None:
    """Strangers cannot make the journal busy with one they have made up."""
    async with two_nodes(tmp_path) as (one, _):
        here = await people_of(one)
        asked = []
        look_up = one.journal.browser

        async def browser(hashed: str, now: float) -> object:
            asked.append(hashed)
            return await look_up(hashed, now)

        one.journal.browser = browser  # type: ignore[assignment,method-assign]
        for _ in range(3):
            await here.recall("made up")
        assert asked == [cookie_hash("made up")]


async def test_who_is_barred_at_one_node_is_out_at_the_other(tmp_path: Path) -> None:
    """And stays barred: what the other node writes of them is added to what stands in the journal."""
    async with two_nodes(tmp_path) as (one, two):
        here, there = await people_of(one), await people_of(two)
        cookie, _ = there.sign_ins.open(AgentId("ann"), now=1000.0)
        await there.settled()
        await here.set_disabled("ann", True, EVE)
        await until(lambda: there.sign_ins.find(cookie, now=1000.0) is None)
        await there.set_preferences("ann", "fr", {})
        assert await there.authenticate("ann", OLD, ANN) == TurnedAway("wrong")
        account = await one.journal.account("ann")
        assert (account.disabled, account.language, account.failures) == (True, "fr", 1)


async def test_a_new_password_ends_the_sessions_at_both_nodes_but_its_own(tmp_path: Path) -> None:
    """Whichever node those are at."""
    async with two_nodes(tmp_path) as (one, two):
        here, there = await people_of(one), await people_of(two)
        mine, other = (each.sign_ins.open(AgentId("ann"), now=1000.0)[0] for each in (here, there))
        await here.settled()
        await there.settled()
        await there.recall(mine)
        await here.change_password("ann", OLD, NEW, cookie_hash(mine), ANN)
        await until(lambda: there.sign_ins.find(other, now=1000.0) is None)
        assert there.sign_ins.find(mine, now=1000.0) is not None
        assert here.sign_ins.find(mine, now=1000.0) is not None
        assert await there.authenticate("ann", NEW, ANN) == Welcome("ann")
        assert await there.authenticate("ann", OLD, ANN) == TurnedAway("wrong")


async def test_tries_at_both_nodes_count_together(tmp_path: Path) -> None:
    """Two nodes do not give a guesser twice as many."""
    async with two_nodes(tmp_path) as (one, two):
        both = await people_of(one), await people_of(two)
        for n in range(FREE_TRIES):
            assert await both[n % 2].authenticate("ann", "wrong", EVE) == TurnedAway("wrong")
        for people in both:
            assert await people.authenticate("ann", OLD, ANN) == TurnedAway("locked", 1060.0)


@pytest.mark.parametrize("told", [True, False])
async def test_a_word_that_is_lost_costs_time_only(tmp_path: Path, told: bool) -> None:
    """What was changed elsewhere is found at the next look."""
    async with two_nodes(tmp_path) as (one, two):
        here, there = await people_of(one), await people_of(two)
        if not told:
            there._news = None
        await there.set_preferences("ann", "fr", {})
        if told:
            await until(lambda: "ann" in here._accounts)
        await here.look()
        assert here._accounts["ann"].language == "fr"
