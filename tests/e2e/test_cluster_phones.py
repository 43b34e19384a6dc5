"""An agent's phone that registers at one node is rung by calls at any, also when that node is dead, until it is taken back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from bridge.telephony.rtp import Address
from bridge.telephony.softphone import PhoneCall, PhoneConfig, Softphone, tone, tone_share
from tests.e2e.cluster import Service, beside, ring, service
from tests.e2e.server import NUMBER, DeskClient, agent
from tests.postgres import Postgres

pytestmark = pytest.mark.e2e
CALLER = "+15550100181"
PASSWORD = "of the phone"
FRONT = "127.0.0.9"
RINGS_WITHIN = 30.0


def address(it: Service, node: str) -> Address:
    """Where phones register there."""
    host, _, port = it[node].sip.rpartition(":")
    return host, int(port)


async def offered(it: Service, caller: Softphone, desk: DeskClient, node: str) -> tuple[PhoneCall, str]:
    """A caller at *node* whose call the agent has just accepted at the desk; the call and its session."""
    call = await caller.call(f"sip:{NUMBER}@{it[node].sip}")
    async with beside(choosing(call)):
        session, channel = await it.until(partial(ring, desk), "the call rings at the desk")
    assert await desk.accept(session, channel) == 200
    return call, session


async def choosing(call: PhoneCall) -> None:
    """Press 1 for whatever is asked, as long as it lasts."""
    while True:
        await asyncio.sleep(1.5)
        await call.press("1")


async def hear_each_other(it: Service, call: PhoneCall, answered: PhoneCall) -> None:
    """Each says a tone, and the other hears nearly nothing but it."""
    call.loop(tone(440, 1.0))
    answered.loop(tone(660, 1.0))

    async def heard() -> bool:
        return tone_share(answered.heard[-4800:], 440) > 0.9 and tone_share(call.heard[-4800:], 660) > 0.9

    await it.until(heard, "both hear each other")


async def rung(it: Service, caller: Softphone, desk: DeskClient, phone: Softphone, node: str) -> None:
    """A call at *node* rings the agent's phone, and both hear each other; then it is over, and the agent is free again."""
    call, session = await offered(it, caller, desk, node)
    answered = await asyncio.wait_for(phone.arrived.get(), RINGS_WITHIN)
    await hear_each_other(it, call, answered)
    await call.hang_up()
    await asyncio.wait_for(answered.ended.wait(), RINGS_WITHIN)
    assert await desk.post(f"/desk/{session}/wrap-up", note="", disposition="") in {204, 409}


async def test_a_phone_registered_at_one_node_rings_from_the_other_until_it_is_taken_back(
    tmp_path: Path, postgres_server: Postgres
) -> None:
    """Also when the node it registered at has been killed; the node that is left then hears that it goes."""
    own = PhoneConfig(user="ana", password=PASSWORD, answer_after=0.2)
    sip = {"users": {"ana": PASSWORD}}
    async with (
        Softphone(own) as phone,
        Softphone(PhoneConfig(user=CALLER)) as caller,
        service(tmp_path, postgres_server, agent("ana", "support", phone="ana"), sip=sip) as it,
    ):
        assert await phone.register(address(it, "b")) > 0
        async with it.desk("a", "ana") as desk:
            await desk.go("ready")
            await rung(it, caller, desk, phone, "a")
            await it.kill("b")
            await rung(it, caller, desk, phone, "a")

            await phone.register(address(it, "a"), expires=0)
            call, session = await offered(it, caller, desk, "a")
            failed = partial(it.lines, "a", session, "agent.unreachable")
            [line] = await it.until(failed, "the call is back in line, as no phone is registered")
            assert line["reason"] == "ana is not registered"
            assert phone.arrived.empty()
            await call.hang_up()
        await it.check()


class Front(asyncio.DatagramProtocol):
    """Passes datagrams on as nginx does: each phone by a socket of its own, which hears one node and nobody else."""

    def __init__(self, node: Address) -> None:
        self._node = node
        self._phones: dict[Address, asyncio.Task[asyncio.DatagramTransport]] = {}
        self._outside: asyncio.DatagramTransport | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Address]:
        """Where phones find it."""
        loop = asyncio.get_running_loop()
        self._outside, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(FRONT, 0))
        try:
            yield self._outside.get_extra_info("sockname")
        finally:
            self._outside.close()
            for inside in self._phones.values():
                (await inside).close()

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Part of asyncio's protocol: from a phone."""
        if addr not in self._phones:
            self._phones[addr] = asyncio.create_task(self._inside(addr))
        self._phones[addr].add_done_callback(lambda inside: inside.result().sendto(data))

    async def _inside(self, phone: Address) -> asyncio.DatagramTransport:
        assert self._outside is not None
        loop = asyncio.get_running_loop()
        back = Back(self._outside, phone)
        transport, _ = await loop.create_datagram_endpoint(lambda: back, local_addr=(FRONT, 0), remote_addr=self._node)
        return transport


class Back(asyncio.DatagramProtocol):
    """What comes from the node goes to the phone."""

    def __init__(self, outside: asyncio.DatagramTransport, phone: Address) -> None:
        self._outside = outside
        self._phone = phone

    def datagram_received(self, data: bytes, addr: Address) -> None:  # noqa: ARG002  # it can only be the node
        """Part of asyncio's protocol."""
        self._outside.sendto(data, self._phone)


async def test_a_phone_that_came_through_the_front_is_rung_until_it_is_taken_back(
    tmp_path: Path, postgres_server: Postgres
) -> None:
    """By a node to which the front has never brought it, and which started later; then by none."""
    own = PhoneConfig(user="ana", password=PASSWORD, answer_after=0.2)
    sip = {"users": {"ana": PASSWORD}, "fronts": [FRONT]}
    async with (
        Softphone(own) as phone,
        Softphone(PhoneConfig(user=CALLER)) as caller,
        service(tmp_path, postgres_server, agent("ana", "support", phone="ana"), sip=sip) as it,
        Front(address(it, "b")).open() as front,
    ):
        await it.kill("a")
        await phone.register(front)
        await it.restart("a")
        async with it.desk("a", "ana") as desk:
            await desk.go("ready")
            await rung(it, caller, desk, phone, "a")
            await phone.register(front, expires=0)
            call, session = await offered(it, caller, desk, "a")
            await it.until(partial(it.lines, "a", session, "agent.unreachable"), "no phone is registered")
            assert phone.arrived.empty()
            await call.hang_up()
        await it.check()
