"""Calls at the desk on real SIP and RTP: hold, private talk and transfer; a call to a customer; a callback."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.app import Running, running
from bridge.legs import CallState
from bridge.session import State
from bridge.settings import Settings
from bridge.telephony.softphone import PhoneCall, PhoneConfig, Softphone, tone, tone_share
from tests.e2e import server
from tests.e2e.server import NUMBER, DeskClient, agent, free_port
from tests.e2e.test_sip_calls import SCENARIOS, as_root

pytestmark = pytest.mark.e2e
PATIENCE = 30.0
CALLER = "+15550100123"
CUSTOMER = "+15550100150"
ANN, BEN, MUSIC = 1500, 800, 1000
"""Hertz: what each agent's phone and the caller's say."""
FLOW = """\
flow: house
numbers: ["+15550100200"]
languages: {default: en, available: [en]}
prompts: support
texts: {desk: support_sms, hello: text_first, closed: text_closed, help: help_reply, stop: stop_reply, start: start_reply,
        rescue: text_rescue, in_call: text_in_call}
start: first
states:
  first:
    - answer
    - queue:
        name: support
        treatment: [{music: calm}, {offer_callback: {prompt: not_heard, accept: "2", to: sure, after: 30s}}]
        then: {answered: over}
  sure:
    - callback: {queue: support, say: goodbye, failed: first}
    - hangup: callback
  over:
    - hangup: done
"""


class House:
    """The server, two agents with phones and desks, and a caller's phone."""

    def __init__(self, server: Running, desks: dict[str, DeskClient], phones: dict[str, Softphone]) -> None:
        self.server = server
        self.desks = desks
        self.phones = phones

    @property
    def state(self) -> State:
        """Of the session that was opened last."""
        return list(self.server.runner.sessions.values())[-1].state

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait for it."""
        async with asyncio.timeout(PATIENCE):
            while not happened():  # noqa: ASYNC110  # what is waited for knows nothing of events
                await asyncio.sleep(0.02)

    async def accept(self, name: str) -> None:
        """The agent takes what rings at the desk."""
        desk = self.desks[name]

        async def rings() -> bool:
            await desk.read()
            return bool(desk.offers)

        await _until(rings)
        assert await desk.accept(*desk.offers[0]) == 200

    async def press(self, name: str, button: str, **data: str) -> None:
        """A button of the conversation on an agent's desk."""
        assert await self.desks[name].post(f"/desk/{self.state.id}/{button}", **data) == 204

    async def hears(self, call: PhoneCall, frequency: int) -> None:
        """Wait until nearly all that a phone hears is this tone."""
        await self.until(lambda: tone_share(call.heard[-4800:], frequency) > 0.9)

    async def hears_nothing_of(self, call: PhoneCall, frequency: int) -> None:
        """Wait until what a phone hears has none of this tone."""
        await self.until(lambda: bool(call.heard) and tone_share(call.heard[-4800:], frequency) < 0.02)


async def _until(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await happened():  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.05)


@asynccontextmanager
async def house(folder: Path, **sip: Any) -> AsyncIterator[House]:
    """Everything, started; *sip*: more of that section."""
    (folder / "flows").mkdir()
    (folder / "flows" / "house.yaml").write_text(FLOW, encoding="utf-8")
    async with AsyncExitStack() as stack:
        kinds = {"ann": 0.05, "ben": 0.3}
        phones = {
            name: await stack.enter_async_context(Softphone(PhoneConfig(user=name, answer_after=after)))
            for name, after in kinds.items()
        }
        phones["caller"] = await stack.enter_async_context(Softphone(PhoneConfig(user="caller")))
        agents = [agent(name, "support", phone=phones[name].uri) for name in kinds]
        spec = server.settings(folder, "http://127.0.0.1:9", agents)
        spec |= {
            "flows": str(folder / "flows"),
            "sms": {"delivery_delay": 0.02},
            "numbers": [{"number": NUMBER, "flow": "house", "desk": "support_sms"}],
            "sip": spec["sip"] | sip,
        }
        house = House(await stack.enter_async_context(running(Settings(**spec))), {}, phones)
        for name in kinds:
            house.desks[name] = await stack.enter_async_context(DeskClient(house.server.web_url, name))
            await house.desks[name].sign_in()
            await stack.enter_async_context(house.desks[name].watching())
        yield house


async def called(house: House) -> PhoneCall:
    """A caller who waits in line."""
    call = await house.phones["caller"].call(f"sip:{NUMBER}@{house.server.sip_address}", sender=f"<sip:{CALLER}@127.0.0.1>")
    call.loop(tone(MUSIC, 1.0))
    await house.until(lambda: bool(house.server.runner.sessions) and house.state.call is CallState.QUEUED)
    return call


async def test_a_caller_is_held_talked_about_and_handed_over(tmp_path: Path) -> None:
    """Each hears what they should and nothing else: on hold, at the phone's own hold, in private talk, and at the end."""
    async with house(tmp_path) as here:
        await here.desks["ann"].go("ready")
        caller = await called(here)
        await here.accept("ann")
        await here.until(lambda: here.state.call is CallState.CONNECTED)
        ann = here.phones["ann"].calls[-1]
        ann.loop(tone(ANN, 1.0))
        await here.hears(caller, ANN)

        await here.press("ann", "hold")
        await here.hears_nothing_of(caller, ANN)
        await here.hears_nothing_of(ann, MUSIC)
        await here.press("ann", "resume")
        await here.hears(caller, ANN)
        ann.hold()
        await here.until(lambda: here.state.call is CallState.HELD)
        await here.hears_nothing_of(caller, ANN)
        ann.hold(False)
        await here.until(lambda: here.state.call is CallState.CONNECTED)
        await here.hears(ann, MUSIC)

        await here.desks["ben"].go("ready")
        await here.press("ann", "call-transfer", to="agent:ben", how="ask", note="An old friend")
        ben = await here.phones["ben"].arrived.get()
        ben.loop(tone(BEN, 1.0))
        await here.hears(ann, BEN)
        await here.hears(ben, ANN)
        await here.hears_nothing_of(caller, ANN)
        await here.desks["ben"].read()
        assert str(here.state.id) in here.desks["ben"].rows
        await here.press("ann", "complete")
        await here.hears(caller, BEN)
        await here.hears(ben, MUSIC)
        await asyncio.wait_for(ann.ended.wait(), PATIENCE)

        assert here.state.agent == "ben"
        lines = await here.server.runner.journal.timeline(here.state.id)
        kinds = [line.kind for line in lines if line.kind.startswith(("call.held", "call.resumed", "transfer."))]
        assert kinds == [
            "call.held", "call.resumed", "call.held", "call.resumed",
            "call.held", "transfer.started", "transfer.answered", "call.resumed", "transfer.completed",
        ]  # fmt: skip
        await caller.hang_up()
        await here.until(lambda: here.state.call is CallState.ENDED)


@asynccontextmanager
async def trunk(folder: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """The trunk is sipp: it asks for a password, sends early media, picks up."""
    command = [
        *as_root(), "sipp", "-sf", str(SCENARIOS / "trunk.xml"), "-m", "1", "-i", "127.0.0.1", "-p", str(port),
        "-mi", "127.0.0.1", "-mp", "31200", "-rtp_echo", "-timeout", "40s", "-timeout_error", "-nostdin",
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def test_a_customer_is_called_through_a_trunk_that_asks_for_a_password(tmp_path: Path) -> None:
    """Digest, our number as the caller, early media to the agent's phone, then both talk; the desk hangs up."""
    port = free_port()
    more = {"outbound": f"sip:{{number}}@127.0.0.1:{port}", "outbound_user": "house", "outbound_password": "secret"}
    async with house(tmp_path, **more) as here, trunk(tmp_path, port) as peer:
        await here.desks["ann"].go("ready")
        assert await here.desks["ann"].post("/desk/call", number=CUSTOMER, sender=NUMBER) == 200
        await here.until(lambda: here.state.call is CallState.CONNECTED)
        ann = here.phones["ann"].calls[-1]
        ann.loop(tone(ANN, 1.0))
        await here.hears(ann, ANN)  # the trunk sends back what it hears
        await here.press("ann", "hang-up")
        output, _ = await asyncio.wait_for(peer.communicate(), PATIENCE)

        assert peer.returncode == 0, output.decode("utf-8", "replace")[-3000:]
        assert here.state.service == "outbound"


async def test_who_asked_for_it_is_called_back(tmp_path: Path) -> None:
    """The caller presses a key and hangs up; an agent is offered the callback, picks up, and the customer's phone rings."""
    async with Softphone(PhoneConfig(user="trunk", answer_after=0.2)) as home:
        outbound = home.uri.replace("trunk@", "{number}@")
        async with house(tmp_path, outbound=outbound) as here:
            caller = await called(here)
            await caller.press("2")
            await asyncio.wait_for(caller.ended.wait(), PATIENCE)
            await here.until(lambda: here.state.call is CallState.CALLBACK)
            await here.desks["ann"].read()
            assert "Callbacks due" in here.desks["ann"].page
            await here.desks["ann"].go("ready")
            await here.accept("ann")
            rings = await asyncio.wait_for(home.arrived.get(), PATIENCE)
            rings.loop(tone(MUSIC, 1.0))
            await here.until(lambda: here.state.call is CallState.CONNECTED)
            await here.hears(here.phones["ann"].calls[-1], MUSIC)

            assert here.state.callback is None
            assert rings.remote.startswith(f"sip:{NUMBER}@")
            await rings.hang_up()
            await here.until(lambda: here.state.wrapping == ["ann"])
