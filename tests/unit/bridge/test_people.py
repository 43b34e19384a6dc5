"""Accounts: who gets in, who is kept out and for how long, and how passwords change."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from bridge.administration.passwords import FREE_TRIES, LONGEST_LOCK, lock_for, too_weak
from bridge.administration.people import LINK_FOR, People
from bridge.events import AgentId
from bridge.journal import Journal
from bridge.settings import Settings
from bridge.web.console.agents import cookie_hash
from bridge.web.ports_admin import AdminRefusedError, By, TurnedAway, Welcome

ANN = By("ann", "192.0.2.1")
EVE = By("eve", "192.0.2.9")
OLD, NEW = "correct horse battery", "tea is better than coffee"
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(OLD)


class House:
    """People over a journal, and the clock."""

    def __init__(self, journal: Journal) -> None:
        self.now = 1000.0
        self.journal = journal
        self.left: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        agents = [{"id": "ann", "name": "Ann", "password_hash": HASH}, {"id": "ben", "name": "Ben"}]
        self.settings = Settings(agents=agents)  # type: ignore[arg-type]
        self.people = self.begin()

    def begin(self) -> People:
        """People as after a start."""
        return People(
            self.journal,
            lambda: self.settings,
            clock=lambda: self.now,
            spawn=self.spawn,
            session_lifetime=3600.0,
            left=self.left.append,
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(work))

    async def written(self) -> None:
        """Everything that was begun is done."""
        await asyncio.gather(*self.tasks)

    async def book(self) -> list[str]:
        """What was done, newest first."""
        return [entry.action for entry in await self.journal.audit(50)]


@asynccontextmanager
async def open_house(folder: Path) -> AsyncIterator[House]:
    async with Journal.open(f"sqlite:///{folder}/journal.db") as journal:
        yield House(journal)


async def test_the_files_password_counts_until_one_is_chosen_here(tmp_path: Path) -> None:
    """Then the chosen one alone, also after a restart."""
    async with open_house(tmp_path) as house:
        assert await house.people.authenticate("ann", OLD, ANN) == Welcome("ann")
        await house.people.change_password("ann", OLD, NEW, None, ANN)
        house.people = house.begin()
        await house.people.load()
        assert await house.people.authenticate("ann", OLD, ANN) == TurnedAway("wrong")
        assert await house.people.authenticate("ann", NEW, ANN) == Welcome("ann")
        person = await house.people.person("ann")
        assert person is not None
        assert (person.account.failures, person.account.last_at, person.account.last_from) == (0, 1000.0, "192.0.2.1")
        assert await house.book() == ["sign_in", "sign_in.refused", "password.changed", "sign_in"]


@pytest.mark.parametrize("login", ["ann", "ben", "nobody"])
async def test_whoever_guesses_waits_longer_and_longer(tmp_path: Path, login: str) -> None:
    """And learns neither whether there is such a user, nor whether they have a password."""
    async with open_house(tmp_path) as house:
        for _ in range(FREE_TRIES):
            assert await house.people.authenticate(login, "wrong", EVE) == TurnedAway("wrong")
        assert await house.people.authenticate(login, OLD, EVE) == TurnedAway("locked", house.now + 60.0)
        house.now += 60.0
        assert await house.people.authenticate(login, "wrong", EVE) == TurnedAway("wrong")
        assert await house.people.authenticate(login, "wrong", EVE) == TurnedAway("locked", house.now + 120.0)


async def test_a_lock_ends_by_time_or_by_an_administrator(tmp_path: Path) -> None:
    """It survives a restart, and a right password forgets the wrong ones."""
    async with open_house(tmp_path) as house:
        for _ in range(FREE_TRIES):
            await house.people.authenticate("ann", "wrong", EVE)
        house.people = house.begin()
        await house.people.load()
        assert isinstance(await house.people.authenticate("ann", OLD, ANN), TurnedAway)
        await house.people.unlock("ann", EVE)
        assert await house.people.authenticate("ann", OLD, ANN) == Welcome("ann")
        assert (await house.journal.account("ann")).failures == 0


async def test_one_who_is_barred_is_out_at_once_and_stays_out(tmp_path: Path) -> None:
    """Their sessions end, their links open nothing, and a sign-in says no more than that it is not right."""
    async with open_house(tmp_path) as house:
        cookie, _ = house.people.sign_ins.open(AgentId("ann"), now=house.now)
        secret = await house.people.make_link("ann", EVE)
        await house.people.set_disabled("ann", True, EVE)
        assert house.people.sign_ins.find(cookie, now=house.now) is None
        assert house.left == ["ann"]
        assert await house.people.link_of(secret) is None
        assert await house.people.authenticate("ann", OLD, ANN) == TurnedAway("wrong")
        await house.people.set_disabled("ann", False, EVE)
        assert await house.people.authenticate("ann", OLD, ANN) == Welcome("ann")
        with pytest.raises(AdminRefusedError, match="bar yourself"):
            await house.people.set_disabled("eve", True, EVE)
        await house.written()


async def test_a_browser_stays_signed_in_over_a_restart(tmp_path: Path) -> None:
    """Until it signs out, its time is over, or the password is changed in another one."""
    async with open_house(tmp_path) as house:
        sign_ins = house.people.sign_ins
        cookies = [sign_ins.open(AgentId("ann"), now=house.now)[0] for _ in range(3)]
        sign_ins.close(cookies[0])
        await house.written()
        house.people = house.begin()
        await house.people.load()
        found = [house.people.sign_ins.find(cookie, now=house.now) for cookie in cookies]
        assert [each is not None for each in found] == [False, True, True]
        await house.people.change_password("ann", OLD, NEW, cookie_hash(cookies[1]), ANN)
        await house.written()
        house.people = house.begin()
        await house.people.load()
        found = [house.people.sign_ins.find(cookie, now=house.now) for cookie in cookies]
        assert [each is not None for each in found] == [False, True, False]
        await house.people.sign_out_everywhere("ann", ANN)
        assert house.people.sign_ins.find(cookies[1], now=house.now) is None
        assert await house.journal.browsers(house.now) == []


async def test_a_one_time_link_sets_a_password_once(tmp_path: Path) -> None:
    """Within a day; a new link makes the one before it worthless; who has no password begins with one."""
    async with open_house(tmp_path) as house:
        worthless = await house.people.make_link("ben", EVE)
        secret = await house.people.make_link("ben", EVE)
        assert await house.people.link_of(worthless) is None
        person = await house.people.link_of(secret)
        assert person is not None
        assert (person.settings.name, person.has_password) == ("Ben", False)
        with pytest.raises(AdminRefusedError, match="12 characters"):
            await house.people.use_link(secret, "short", EVE)
        assert await house.people.use_link(secret, NEW, By("?")) == "ben"
        assert await house.people.authenticate("ben", NEW, By("ben")) == Welcome("ben")
        for late in (secret, await house.people.make_link("ben", EVE)):
            house.now += LINK_FOR
            with pytest.raises(AdminRefusedError, match="too old"):
                await house.people.use_link(late, OLD, By("?"))
        with pytest.raises(AdminRefusedError, match="nobody"):
            await house.people.make_link("zoe", EVE)
        assert [entry.who for entry in await house.journal.audit(9, action="password.set_by_link")] == ["ben"]


async def test_a_password_is_changed_by_who_knows_the_old_one(tmp_path: Path) -> None:
    """Not to the same, not to a weak one."""
    async with open_house(tmp_path) as house:
        for old, new, why in (
            ("wrong", NEW, "not right"),
            (OLD, OLD, "you have now"),
            (OLD, "x" * 300, "At most"),
            (OLD, "password1234", "first passwords"),
            (OLD, "ababababababab", "too few"),
        ):
            with pytest.raises(AdminRefusedError, match=why):
                await house.people.change_password("ann", old, new, None, ANN)
        with pytest.raises(AdminRefusedError, match="not right"):
            await house.people.change_password("ben", "", NEW, None, By("ben"))


async def test_who_got_a_password_from_somebody_else_has_to_choose_one(tmp_path: Path) -> None:
    """Until they have."""
    async with open_house(tmp_path) as house:
        await house.people.set_password("ben", OLD, By("command line"), must_change=True)
        assert house.people.must_change("ben")
        assert not house.people.must_change("ann")
        await house.people.change_password("ben", OLD, NEW, None, By("ben"))
        assert not house.people.must_change("ben")
        await house.people.set_preferences("ben", "fr", {"call": False})
        account = await house.journal.account("ben")
        assert (account.language, account.sounds, account.password_hash is not None) == ("fr", {"call": False}, True)
        await house.people.signed_out("ben", By("ben"))
        assert (await house.book())[0] == "sign_out"
        assert [person.settings.id for person in await house.people.people()] == ["ann", "ben"]


@given(st.integers(0, 10_000))
def test_a_lock_never_shrinks_and_never_lasts_for_ever(failures: int) -> None:
    """More wrong passwords never make it shorter."""
    assert 0.0 <= lock_for(failures) <= lock_for(failures + 1) <= LONGEST_LOCK


def test_a_login_with_figures_is_no_password() -> None:
    """Nor is it in capitals, nor what stands in every list."""
    assert too_weak("Annabella2026!", "annabella") == "common"
    assert too_weak("Password 1234", "ann") == "common"
    assert too_weak("tea is better than coffee", "ann") is None


async def test_the_book_keeps_no_login_of_nobody(tmp_path: Path) -> None:
    """It may be a password; and whoever tries many logins does not fill the book."""
    async with open_house(tmp_path) as house:
        for login in ("hunter2 hunter2", "admin", "root"):
            await house.people.authenticate(login, "wrong", By(login, "192.0.2.9"))
        await house.people.authenticate("ann", "wrong", ANN)
        book = [(entry.who, entry.action, entry.object) for entry in await house.journal.audit(9)]
        assert book == [("?", "sign_in.refused", "user ann"), ("?", "sign_in.refused", "user ?")]
