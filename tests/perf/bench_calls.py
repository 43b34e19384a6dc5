"""How many calls one core carries, how evenly their packets leave, and what that costs beside a bare UDP echo.

    python tests/perf/bench_calls.py [--calls 100 200 400] [--seconds 8] [--agents]

The server (one process, pinned to the first core where the machine has two) answers every call and plays music on hold
while each caller sends G.711 and, once a second, a key. The load runs in a process of its own on another core; arrival
times are the kernel's. `error` is how far a packet is from the ideal 20 ms grid of its call. The baseline echoes the
same packets at the same rate from as many sockets with nothing but asyncio (uvloop); the ratio compares CPU seconds of
the same run. With --agents every caller is joined to an agent's phone, so that a call is two legs whose packets are passed
on; the error then holds the unevenness of the load as well. Prints figures, never fails on them.
"""

import argparse
import asyncio
import logging
import multiprocessing
import os
import random
import signal
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from ipaddress import ip_network
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import structlog
import uvloop

from bridge.events import AnswerCall, CallArrived, CallEvent, ConnectAgent, LegId, PlayMusic
from bridge.media.dtmf import DtmfSender
from bridge.media.g711 import PCMU
from bridge.media.rtp import pack
from bridge.media.wav import format_wav
from bridge.sip import events as sip
from bridge.sip import sdp
from bridge.sip.endpoint import EndpointConfig, SipEndpoint
from bridge.telephony.sip import SipCallProvider, SipConfig
from bridge.telephony.softphone import tone

TIMESTAMPNS = 35
"""SO_TIMESTAMPNS of Linux, which Python's socket module does not name."""
STEP, PHASES = 0.002, 10
Address = tuple[str, int]


# --- what is measured -------------------------------------------------------------------------------------------------


async def serve(pipe: Connection, agents: Address | None) -> None:
    """The provider with the smallest script: answer, then music or an agent. Tells its port, at the end its figures."""
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "calm.wav").write_bytes(format_wav(tone(440, 10.0)))

        async def react(event: CallEvent) -> None:
            if isinstance(event, CallArrived):
                await provider.perform(AnswerCall(event.leg))
                await provider.perform(PlayMusic(event.leg, "calm"))
                if agents is not None:
                    address = f"sip:agent@{agents[0]}:{agents[1]}"
                    await provider.perform(ConnectAgent(event.leg, LegId(f"agent-{event.leg}"), address))

        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
        config = SipConfig(port=0, rtp_ports=(40000, 48000), max_calls=4000)
        provider = SipCallProvider(config, react, folder)
        async with provider:
            pipe.send([provider.address])
            await done.wait()
            pipe.send(provider.stats)


class Echo(asyncio.DatagramProtocol):
    """Sends back what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._transport.sendto(data, addr)


async def echo(pipe: Connection, flows: int) -> None:
    """As many echoing sockets as there are calls."""
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    made = [await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0)) for _ in range(flows)]
    pipe.send([transport.get_extra_info("sockname") for transport, _ in made])
    await done.wait()
    pipe.send(None)
    for transport, _ in made:
        transport.close()


def child(work: Callable[..., object], *args: object) -> None:
    """Entry of a measured process."""
    pin(0)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(*args))  # type: ignore[arg-type]


def pin(core: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[core]})


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_megabytes(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


# --- the load ---------------------------------------------------------------------------------------------------------


class Load:
    """One socket that speaks for all callers and hears for all of them."""

    def __init__(self, *, keys: bool) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_000_000)
        self.socket.setsockopt(socket.SOL_SOCKET, TIMESTAMPNS, 1)
        self.socket.bind(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.targets: list[Address] = []
        self.arrivals: dict[Address, list[tuple[float, int]]] = {}
        self.sent = 0
        self.beat = 0
        self.latest = 0.0
        self.keys = keys
        self.measuring = False

    def receive(self) -> None:
        """Note when each packet came, by the kernel's clock, and its sequence number."""
        for _ in range(200):
            try:
                data, extra, _, source = self.socket.recvmsg(2048, 64)
            except BlockingIOError:
                return
            if self.measuring:
                seconds, nanoseconds = struct.unpack("qq", extra[0][2][:16])
                at = seconds + nanoseconds * 1e-9
                self.arrivals.setdefault(source, []).append((at, int.from_bytes(data[2:4], "big")))

    def send(self, phase: int, beat: int) -> None:
        """One tenth of the callers say 20 ms."""
        payload = b"\x55" * 160
        for index in range(phase, len(self.targets), PHASES):
            kind, words = 0, payload
            if self.keys and (beat + index) % 50 < 5:  # a key a second, held for 100 ms
                kind, words = 101, key_payload((beat + index) % 50)
            packet = pack(kind, beat, beat * 160 if kind == 0 else (beat - (beat + index) % 50) * 160, index, words)
            try:
                self.socket.sendto(packet, self.targets[index])
                self.sent += 1
            except BlockingIOError:
                continue

    async def run(self, seconds: float) -> None:
        """Keep to the grid for *seconds*."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self.socket.fileno(), self.receive)
        start, beats = loop.time(), round(seconds / STEP)
        for number in range(beats):
            await asyncio.sleep(start + number * STEP - loop.time())
            if self.measuring:
                self.latest = max(self.latest, loop.time() - start - number * STEP)
            self.send(number % PHASES, self.beat + number // PHASES)
        self.beat += beats // PHASES
        loop.remove_reader(self.socket.fileno())

    def errors(self) -> list[float]:
        """Milliseconds each packet was off the grid of its call (grid: the median of all its packets)."""
        found: list[float] = []
        for packets in self.arrivals.values():
            first = packets[0][1]
            offsets = [at - 0.02 * ((sequence - first + 0x8000) % 0x10000 - 0x8000) for at, sequence in packets]
            middle = statistics.median(offsets)
            found += [1000 * abs(offset - middle) for offset in offsets]
        return sorted(found)

    def busy(self) -> float:
        """How late the load itself was at worst, milliseconds: when that is much, the errors are its own."""
        return 1000 * self.latest

    def lost(self) -> int:
        return sum(
            packets[-1][1] - packets[0][1] + 1 - len(packets)
            for packets in self.arrivals.values()
            if packets[-1][1] > packets[0][1]
        )


def key_payload(step: int) -> bytes:
    sender = DtmfSender()
    sender.press("5")
    for _ in range(step):
        sender.step(0)
    return sender.step(0)[0][0]


class Callers(asyncio.DatagramProtocol):
    """Signalling of all callers on one socket."""

    def __init__(self, server: Address, load: Load) -> None:
        self.server, self.load = server, load
        self.answered = 0
        self.setups: list[float] = []
        self._began: dict[int, float] = {}
        self._calls: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        config = EndpointConfig("127.0.0.1", transport.get_extra_info("sockname")[1], (ip_network("127.0.0.0/8"),))
        self.core = SipEndpoint(config, random.SystemRandom().getrandbits)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        now = time.monotonic()
        self.core.receive_datagram(data, addr, now)
        while (event := self.core.next_event()) is not None:
            if isinstance(event, sip.CallAnswered) and event.answer is not None:
                self.answered += 1
                self.setups.append(now - self._began[event.call])
                self._calls.append(event.call)
                self.load.targets.append((event.answer.media[0].host, event.answer.media[0].port))
            elif isinstance(event, sip.InviteReceived) and event.offer is not None:
                local = sdp.LocalAudio("127.0.0.1", self.load.port)
                body = sdp.answer(event.offer, sdp.choose(event.offer, (PCMU,)), local)
                self.core.answer(event.call, body, now)
                self.load.targets.append((event.offer.media[0].host, event.offer.media[0].port))
        self.flush()

    def flush(self) -> None:
        for data, address in self.core.datagrams_to_send():
            self._transport.sendto(data, address)

    def dial(self, number: int) -> None:
        now = time.monotonic()
        body = sdp.offer(sdp.LocalAudio("127.0.0.1", self.load.port))
        ref = self.core.invite(f"sip:+1555010{number:04}@{self.server[0]}:{self.server[1]}", body, now)
        self._began[ref] = now
        self.flush()

    def hang_up(self) -> None:
        for ref in self._calls:
            self.core.bye(ref, time.monotonic())
        self.flush()


async def plateau(load: Load, pid: int, seconds: float) -> tuple[float, float]:
    """Talk for *seconds* after a second of settling; returns CPU seconds and resident megabytes of *pid*."""
    await load.run(1.0)
    load.measuring, load.sent = True, 0
    before, began = cpu_seconds(pid), time.monotonic()
    await load.run(seconds)
    return (cpu_seconds(pid) - before) * seconds / (time.monotonic() - began), resident_megabytes(pid)


async def measure_calls(count: int, seconds: float, server: Address, pid: int, ours: Address) -> dict[str, float]:
    load = Load(keys=True)
    loop = asyncio.get_running_loop()
    transport, callers = await loop.create_datagram_endpoint(lambda: Callers(server, load), local_addr=ours)
    for number in range(count):
        callers.dial(number)
        await asyncio.sleep(0.004)
    for _ in range(500):
        if callers.answered == count:
            break
        await asyncio.sleep(0.01)
    cpu, memory = await plateau(load, pid, seconds)
    callers.hang_up()
    await asyncio.sleep(0.3)
    transport.close()
    load.socket.close()
    errors = load.errors()
    setups = sorted(callers.setups)
    return {
        "calls": callers.answered,
        "cpu": 100 * cpu / seconds,
        "memory": memory,
        "p50": errors[len(errors) // 2],
        "p99": errors[len(errors) * 99 // 100],
        "p999": errors[len(errors) * 999 // 1000],
        "lost": load.lost(),
        "load": load.busy(),
        "setup": 1000 * setups[len(setups) * 99 // 100],
    }


async def measure_echo(targets: list[Address], seconds: float, pid: int) -> float:
    load = Load(keys=False)
    load.targets = targets
    cpu, _ = await plateau(load, pid, seconds)
    load.socket.close()
    return 100 * cpu / seconds


def spawn(work: Callable[..., object], *args: object) -> tuple[multiprocessing.Process, Connection]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=child, args=(work, theirs, *args), daemon=True)
    process.start()
    return process, ours


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stop(process: multiprocessing.Process) -> None:
    process.terminate()
    process.join(10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, nargs="+", default=[100, 200, 400])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--agents", action="store_true", help="join every caller to an agent's phone")
    options = parser.parse_args()
    pin(-1)
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.2f} before the run")
    print(
        "calls   CPU %  per call   echo %  ratio   error p50      p99  p99.9 ms     lost  late beats  setup p99 ms  RSS MB"
        "  load late ms"
    )
    for count in options.calls:
        ours = ("127.0.0.1", free_port())
        process, pipe = spawn(serve, ours if options.agents else None)
        (server,) = pipe.recv()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            row = runner.run(measure_calls(count, options.seconds, server, process.pid or 0, ours))
        process.terminate()
        stats = pipe.recv()
        stop(process)
        process, pipe = spawn(echo, 2 * count if options.agents else count)
        targets = pipe.recv()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            baseline = runner.run(measure_echo(targets, options.seconds, process.pid or 0))
        stop(process)
        print(
            f"{row['calls']:5} {row['cpu']:7.1f} {row['cpu'] / max(row['calls'], 1):9.3f} {baseline:8.1f}"
            f" {row['cpu'] / max(baseline, 0.01):6.2f} {row['p50']:11.3f} {row['p99']:8.3f} {row['p999']:9.3f}"
            f" {row['lost']:8} {stats.late_beats:11} {row['setup']:13.1f} {row['memory']:7.1f} {row['load']:13.1f}"
        )


if __name__ == "__main__":
    main()
