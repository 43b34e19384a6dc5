"""How long a caller waits for us: from a key to the text at the provider, and from an agent's click to two-way audio.

    python tests/perf/bench_latency.py [--calls 30] [--at-once 5]

The real process on real sockets: softphones call over SIP, keys travel as RFC 4733 events over RTP, agents accept at their
desks over HTTP and have SIP phones that pick up at once, texts go to a Twilio-shaped server. Clocks are those of this
process: a key counts from the moment it is pressed (the first packet leaves with the next 20 ms beat), a text when the
provider has its whole request, audio when the first 20 ms of the other end's tone have been received on both ends. Prints
figures, never fails on them.
"""

import argparse
import asyncio
import socket
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import structlog
import uvloop

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bridge.telephony.softphone import PhoneCall, PhoneConfig, Softphone, tone, tone_share  # noqa: E402
from sms.testing.twilio_server import TwilioServer  # noqa: E402
from tests.e2e.server import NUMBER, Api, DeskClient, ServerProcess, agent, free_port, settings  # noqa: E402

CALLER_HZ, AGENT_HZ = 1500.0, 2100.0
FRAME = 320
"""Bytes of 20 ms."""
PATIENCE = 30.0


def number(call: int) -> str:
    """The caller's number of the so-manieth call; each has another one, so each is a stranger."""
    return f"+1555010{call:04d}"


async def through_the_menu(phone: Softphone, server: ServerProcess) -> PhoneCall:
    """English, a technical question, an account number that is not given; returns when what follows is about to be said."""
    call = await phone.call(f"sip:{NUMBER}@{server.sip}")
    for key in "12":
        await asyncio.sleep(1.0)
        await call.press(key)
    await asyncio.sleep(1.5)
    return call


async def key_to_text(server: ServerProcess, twilio: TwilioServer, caller: str) -> float:
    """Press 1 at the offer; seconds until the provider has the text."""
    async with Softphone(PhoneConfig(user=caller)) as phone:
        call = await through_the_menu(phone, server)
        pressed = time.time()
        await call.press("1")
        async with asyncio.timeout(PATIENCE):
            await twilio.handset(caller).wait(1, within=PATIENCE)
            await call.ended.wait()
        return next(message.created for message in twilio.messages.values() if message.to == caller) - pressed


async def heard_tone(call: PhoneCall, hertz: float) -> float:
    """When the first 20 ms of a tone of the other end are there."""
    async with asyncio.timeout(PATIENCE):
        while tone_share(call.heard[-FRAME:] or bytes(FRAME), hertz) < 0.5:  # noqa: ASYNC110  the beat knows no events
            await asyncio.sleep(0.002)
    return time.perf_counter()


async def accept_to_audio(server: ServerProcess, desk: DeskClient, phone_of_agent: Softphone, caller: str) -> float:
    """Accept what rings; seconds until both ends hear the other."""
    async with Softphone(PhoneConfig(user=caller)) as phone, desk.watching() as news:
        call = await through_the_menu(phone, server)
        call.loop(tone(CALLER_HZ, 1.0))
        async with asyncio.timeout(PATIENCE):
            while not desk.offers:
                news.clear()
                await news.wait()
        ((session, channel),) = desk.offers
        accepted = time.perf_counter()
        status, far = await asyncio.gather(desk.accept(session, channel), phone_of_agent.arrived.get())
        assert status == 200
        far.loop(tone(AGENT_HZ, 1.0))
        both = max(await asyncio.gather(heard_tone(call, AGENT_HZ), heard_tone(far, CALLER_HZ)))
        await call.hang_up()
        await asyncio.wait_for(far.ended.wait(), PATIENCE)
        await desk.post(f"/desk/{session}/wrap-up", note="", disposition="")
        return both - accepted


def show(what: str, seconds: list[float]) -> None:
    """One line of the table, in milliseconds."""
    ordered = sorted(1000 * each for each in seconds)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    print(f"{what:<46}{len(ordered):>6}{ordered[0]:>9.0f}{statistics.median(ordered):>9.0f}{p95:>9.0f}{ordered[-1]:>9.0f}")


async def measure(folder: Path, calls: int, at_once: int) -> None:
    """Both tables."""
    print(f"{'milliseconds':<46}{'calls':>6}{'min':>9}{'p50':>9}{'p95':>9}{'max':>9}")
    async with TwilioServer(opt_out="off", latency=0.05) as twilio:
        config = settings(folder / "text", twilio.url, [agent("ben", "support_sms")])
        (folder / "text").mkdir()
        async with ServerProcess(folder / "text", config) as server, DeskClient(server.url, "ben") as ben:
            await ben.sign_in()
            await ben.go("ready")
            async with ben.watching():
                took = []
                for first in range(0, calls, at_once):
                    took += await asyncio.gather(
                        *(key_to_text(server, twilio, number(n)) for n in range(first, min(calls, first + at_once)))
                    )
            show("key pressed to text at the provider", took)
    async with TwilioServer(opt_out="off") as twilio, AsyncExitStack() as stack:
        names = [f"agent{n}" for n in range(at_once)]
        phones = [
            await stack.enter_async_context(
                Softphone(PhoneConfig(user=name, port=free_port(socket.SOCK_DGRAM), answer_after=0.0))
            )
            for name in names
        ]
        agents = [agent(name, "support", phone=phone.uri) for name, phone in zip(names, phones, strict=True)]
        config = settings(folder / "talk", twilio.url, agents)
        config["queues"][0]["offers"] = {"mode": "never"}
        config["queues"][0]["wrap_up"] = 0
        (folder / "talk").mkdir()
        async with ServerProcess(folder / "talk", config) as server:
            desks = {}
            for name, phone in zip(names, phones, strict=True):
                desks[phone.uri] = desk = await stack.enter_async_context(DeskClient(server.url, name))
                await desk.sign_in()
                await desk.go("ready")
            took = []
            for first in range(0, calls, at_once):
                took += await asyncio.gather(
                    *(
                        accept_to_audio(server, desks[phone.uri], phone, number(first + n))
                        for n, phone in enumerate(phones[: calls - first])
                    )
                )
            show("agent accepts to two-way audio (both ends)", took)
            async with Api.open(server.url) as api:
                show("  the same, as the server's timeline has it", await from_timelines(api))


async def from_timelines(api: Api) -> list[float]:
    """Seconds from `agent.accepted` to `audio.connected` in every session."""
    found = []
    for row in await api.sessions():
        lines = {line["kind"]: line["at"] for line in (await api.session(row["id"]))["timeline"]}
        if "audio.connected" in lines:
            found.append(lines["audio.connected"] - lines["agent.accepted"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=30)
    parser.add_argument("--at-once", type=int, default=5)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    with tempfile.TemporaryDirectory(prefix="sidetone-") as folder:
        uvloop.run(measure(Path(folder), arguments.calls, arguments.at_once))


if __name__ == "__main__":
    main()
