"""A phone that has registered at one node is known to all nodes, so long as it is registered and no longer."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge import registrations
from bridge.cluster import ClusterUnavailableError, NodeId
from bridge.registrations import Registrations
from bridge.sip.message import Headers, Request
from bridge.sip.registrar import Registrar
from tests.unit.bridge.two_nodes import Node, two_nodes, until

HERE = ("192.0.2.9", 5070)
DESK = "sip:ann@192.0.2.9:5070"
USERS = {"ann": None, "ben": None}


class Switchboard:
    """Phones of a node, without sockets."""

    def __init__(self, node: Node, now: Callable[[], float]) -> None:
        self.now = now
        self.registrar = Registrar(USERS)
        self.sequence = 0
        self.shared = Registrations(self, node.cluster, node.news, spawn=node.spawn, clock=now)

    def share_phones(self, _clock: Callable[[], float], registered: Callable[[str], None]) -> Registrar:
        self.registered = registered
        return self.registrar

    def register(self, user: str, contact: str, expires: int = 300, *, told: bool = True) -> None:
        """A phone says so; the word is lost if not *told*."""
        self.sequence += 1
        headers = [("call-id", f"{id(self)}"), ("cseq", f"{self.sequence} REGISTER"), ("contact", f"<{contact}>")]
        request = Request("REGISTER", "sip:192.0.2.1", Headers([*headers, ("expires", str(expires))]))
        self.registrar.register(user, request, HERE, self.now())
        if told:
            self.registered(user)

    def rings(self, user: str) -> str | None:
        """Which phone is called for *user*."""
        found = self.registrar.lookup(user, self.now())
        return None if found is None else found.contact


class Clock:
    """Both nodes go by it."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self.now


async def test_a_phone_is_known_everywhere_until_it_goes_or_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same word, and without another look."""
    monkeypatch.setattr(registrations, "COMPARE_EVERY", 3600.0)
    async with two_nodes(tmp_path) as (one, two):
        clock = Clock()
        here, there = Switchboard(one, clock), Switchboard(two, clock)
        await one.begin(here.shared.run)
        await two.begin(there.shared.run)
        here.register("ann", DESK)
        here.register("ben", "sip:ben@192.0.2.8", expires=60)
        await until(lambda: there.rings("ann") == DESK and there.rings("ben"))
        clock.now += 60.0
        assert (here.rings("ben"), there.rings("ben")) == (None, None)
        there.register("ann", DESK, expires=0)
        await until(lambda: here.rings("ann") is None)
        assert there.rings("ann") is None


async def test_who_joins_later_knows_them_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks; when nobody answers it begins all the same, and hears of them when the nodes compare."""
    monkeypatch.setattr(registrations, "COMPARE_EVERY", 3600.0)
    async with two_nodes(tmp_path) as (one, two):
        one.cluster._hub.replicas.update(dict.fromkeys((NodeId("one"), NodeId("two"))))  # type: ignore[arg-type]
        here = Switchboard(one, Clock())
        monkeypatch.setattr(registrations, "ANSWERED_WITHIN", 0.01)
        await asyncio.wait_for(one.begin(here.shared.run), 10.0)
        here.register("ann", DESK, told=False)
        monkeypatch.setattr(registrations, "ANSWERED_WITHIN", 10.0)
        there = Switchboard(two, Clock())
        await two.begin(there.shared.run)
        assert there.rings("ann") == DESK


async def test_words_that_were_lost_are_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes compare what they know now and then; many phones are told in several words."""
    monkeypatch.setattr(registrations, "COMPARE_EVERY", 0.02)
    monkeypatch.setattr(registrations, "TOGETHER", 1)
    async with two_nodes(tmp_path) as (one, two):
        clock = Clock()
        here, there = Switchboard(one, clock), Switchboard(two, clock)
        await one.begin(here.shared.run)
        await two.begin(there.shared.run)
        here.register("ann", DESK, told=False)
        there.register("ben", "sip:ben@192.0.2.8", told=False)
        await until(lambda: there.rings("ann") == DESK and here.rings("ben"))
        there.register("ann", DESK, expires=0, told=False)
        await until(lambda: here.rings("ann") is None)


async def test_while_the_others_cannot_be_heard_phones_are_called_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known stays, what registers here is called here, and a node begins; afterwards all know all."""
    monkeypatch.setattr(registrations, "COMPARE_EVERY", 0.02)
    async with two_nodes(tmp_path) as (one, two):
        clock = Clock()
        here, there = Switchboard(one, clock), Switchboard(two, clock)
        await one.begin(here.shared.run)
        here.register("ann", DESK)
        await until(lambda: there.rings("ann") == DESK)

        async def away(*_: object) -> None:
            raise ClusterUnavailableError("away")

        with monkeypatch.context() as outage:
            for node in (one, two):
                outage.setattr(node.cluster, "publish", away)
                outage.setattr(node.cluster, "nodes", away)
            await two.begin(there.shared.run)
            there.register("ben", "sip:ben@192.0.2.8")
            await asyncio.sleep(0)
            assert (there.rings("ann"), there.rings("ben")) == (DESK, "sip:ben@192.0.2.8")
        await until(lambda: here.rings("ben") == "sip:ben@192.0.2.8")
