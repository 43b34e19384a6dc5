"""An agent's phone that registers at one node is rung by calls at any, also when that node is dead, until it is taken back."""

import asyncio
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


async def test_a_phone_taken_back_at_one_node_is_rung_from_none(tmp_path: Path, postgres_server: Postgres) -> None:
    """And a node that starts later knows the phones that are there."""
    own = PhoneConfig(user="ana", password=PASSWORD, answer_after=0.2)
    sip = {"users": {"ana": PASSWORD}}
    async with (
        Softphone(own) as phone,
        Softphone(PhoneConfig(user=CALLER)) as caller,
        service(tmp_path, postgres_server, agent("ana", "support", phone="ana"), sip=sip) as it,
    ):
        await it.kill("a")
        await phone.register(address(it, "b"))
        await it.restart("a")
        async with it.desk("a", "ana") as desk:
            await desk.go("ready")
            await rung(it, caller, desk, phone, "a")
            await phone.register(address(it, "b"), expires=0)
            call, session = await offered(it, caller, desk, "a")
            await it.until(partial(it.lines, "a", session, "agent.unreachable"), "no phone is registered")
            assert phone.arrived.empty()
            await call.hang_up()
        await it.check()
