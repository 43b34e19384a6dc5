"""What strangers send to our audio ports, and what peers make us send, on real sockets of loopback addresses."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import uvloop

from bridge.events import AnswerCall, CallArrived, CallEvent, HangUp
from bridge.media.g711 import CODECS
from bridge.media.rtp import pack
from bridge.sip.message import Response, parse_message
from bridge.sip.sdp import LocalAudio, Negotiated, offer, parse_sdp
from bridge.telephony.rtp import AudioLeg, Beat, Counters, PortPool
from bridge.telephony.sip import SipCallProvider, SipConfig

PCMU = CODECS["PCMU"]
LOW, HIGH = 31_000, 31_400


def udp(host: str) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind((host, 0))
    opened.setblocking(False)
    return opened


async def heard(by: socket.socket, seconds: float = 0.3) -> int:
    """How many packets come to *by* in so many seconds."""
    count = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                await asyncio.get_running_loop().sock_recv(by, 2048)
                count += 1
    except TimeoutError:
        return count


@pytest.mark.parametrize(("trusted", "hears"), [(False, False), (True, True)])
async def test_a_stranger_cannot_become_the_other_end(trusted: bool, hears: bool) -> None:
    """Sound follows the first packet (a NAT may change its source), but only to an address that is trusted."""
    beat, counters = Beat(), Counters()
    leg = AudioLeg(PortPool("127.0.0.1", LOW, HIGH), beat, counters, lambda source: trusted and source == "127.0.0.2")
    with udp("127.0.0.1") as peer, udp("127.0.0.2") as other:
        leg.negotiate(Negotiated(PCMU, 0, None, "127.0.0.1", peer.getsockname()[1]))
        leg.start()
        other.sendto(pack(0, 1, 0, 7, b"\xff" * 160), ("127.0.0.1", leg.port))
        await asyncio.sleep(0.05)

        by_peer, by_other = await asyncio.gather(heard(peer), heard(other))

    leg.close()
    beat.stop()
    assert (by_other > 5) is hears
    assert (by_peer > 5) is not hears
    assert counters.dropped == (0 if trusted else 1)


async def test_the_described_end_may_send_from_another_port() -> None:
    """Its address is known from the description; the port is what a NAT changes first."""
    beat = Beat()
    leg = AudioLeg(PortPool("127.0.0.1", LOW, HIGH), beat, Counters(), lambda _source: False)
    with udp("127.0.0.1") as peer:
        leg.negotiate(Negotiated(PCMU, 0, None, "127.0.0.1", 9))
        leg.start()
        peer.sendto(pack(0, 1, 0, 7, b"\xff" * 160), ("127.0.0.1", leg.port))

        assert await heard(peer) > 5

    leg.close()
    beat.stop()


async def test_rubbish_on_an_audio_port_is_counted_and_forgotten() -> None:
    """Short packets, other versions, RTCP, impossible lengths: none of them makes its sender the other end."""
    counters = Counters()
    leg = AudioLeg(PortPool("127.0.0.1", LOW, HIGH), Beat(), counters, lambda _source: True)
    rubbish = (b"x", b"\x00" * 12, b"\x80\xc8" + b"\x00" * 30, b"\xbf\x00" + b"\xff" * 20, b"\xa0\x00" + b"\x00" * 10)
    with udp("127.0.0.2") as stranger:
        leg.negotiate(Negotiated(PCMU, 0, None, "127.0.0.1", 9))
        for packet in rubbish:
            stranger.sendto(packet, ("127.0.0.1", leg.port))
        await asyncio.sleep(0.1)

    leg.close()
    assert (counters.received, counters.dropped) == (0, len(rubbish))


@contextmanager
def no_more_files() -> Iterator[None]:
    """Nothing can be opened meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as probe:
        resource.setrlimit(resource.RLIMIT_NOFILE, (probe.fileno(), hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_port_is_not_lost_when_no_file_can_be_opened() -> None:
    """After a shortage of file descriptors there are as many ports as before."""
    pool = PortPool("127.0.0.1", LOW, LOW + 1)
    with no_more_files(), pytest.raises(OSError, match="Too many open files"):
        pool.open()

    opened = pool.open()
    assert opened is not None
    pool.close(opened)


def invite(number: int, server: tuple[str, int], caller: socket.socket, contact: str) -> bytes:
    host, port = caller.getsockname()
    body = offer(LocalAudio(host, 9))
    lines = [
        f"INVITE sip:+15550100200@{server[0]}:{server[1]} SIP/2.0",
        f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{number};rport",
        "Max-Forwards: 70",
        "From: <sip:+15550100123@127.0.0.1>;tag=them",
        "To: <sip:+15550100200@127.0.0.1>",
        f"Call-ID: hostile-{number}",
        "CSeq: 1 INVITE",
        f"Contact: {contact}",
        "Content-Type: application/sdp",
        f"Content-Length: {len(body)}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


@asynccontextmanager
async def answering(prompts: Path) -> AsyncIterator[SipCallProvider]:
    """A provider that answers every call and hangs up at once."""

    async def sink(event: CallEvent) -> None:
        if isinstance(event, CallArrived):
            await provider.perform(AnswerCall(event.leg))
            await provider.perform(HangUp(event.leg))

    provider = SipCallProvider(SipConfig(port=0, rtp_ports=(LOW, HIGH)), sink, prompts)
    async with provider:
        yield provider


async def reply(caller: socket.socket) -> Response:
    """The next final response."""
    async with asyncio.timeout(3):
        while True:
            message = parse_message(await asyncio.get_running_loop().sock_recv(caller, 65536))
            if isinstance(message, Response) and message.status >= 200:
                return message


@pytest.mark.parametrize("contact", ["<sip:x@[::1]:5070>", "<sip:x@255.255.255.255>", "<sip:x@0.0.0.0:1>"])
def test_an_address_we_cannot_send_to_harms_nobody_else(tmp_path: Path, contact: str) -> None:
    """A caller whose Contact is of another family gets no BYE; other datagrams and all timers go on."""
    uvloop.run(call_twice(tmp_path, contact))  # the server's loop, which raises where asyncio's does not


async def call_twice(tmp_path: Path, contact: str) -> None:
    broken: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: broken.append(context))
    async with answering(tmp_path) as provider:
        with udp("127.0.0.1") as caller:
            server = provider.address
            for number, where in ((1, contact), (2, "<sip:x@127.0.0.1:9>")):
                caller.sendto(invite(number, server, caller, where), server)
                answered = await reply(caller)
                assert answered.status == 200
                assert parse_sdp(answered.body).media
                ack = invite(number, server, caller, where).replace(b"INVITE", b"ACK").partition(b"Content-Type")[0]
                caller.sendto(
                    ack.replace(b"To: <sip:+15550100200@127.0.0.1>", f"To: {answered.recipient}".encode()) + b"\r\n", server
                )
                await asyncio.sleep(0.05)

        assert provider.stats.calls == 0
    assert not broken
