"""A telephone without a person: dials, presses keys, plays, records; or answers by itself.

The demo's callers and simulated agents and the tests use it. It stands on the same core as the server, so it proves
sockets and timing but not that our SIP is right: for that there are sipp, baresip and pyVoIP.
"""

import asyncio
import math
from array import array
from types import TracebackType
from typing import Self

import msgspec

from bridge.media.g711 import CODECS, SAMPLE_RATE, Codec
from bridge.media.player import Clip
from bridge.media.recorder import Recorder
from bridge.sip import digest, sdp
from bridge.sip import events as sip
from bridge.sip.message import NameAddr, SipUri
from bridge.telephony.rtp import Address, AudioLeg, Beat, Counters, PortPool
from bridge.telephony.sip import SipConfig, SipSocket


class PhoneConfig(msgspec.Struct, frozen=True):
    """Settings of one phone."""

    user: str = "phone"
    host: str = "127.0.0.1"
    port: int = 0
    """UDP; 0 takes any free one."""
    password: str | None = None
    answer_after: float | None = 1.0
    """Seconds an incoming call rings before it is answered; None lets it ring for ever."""
    refuse_with: int | None = None
    """Refuse every incoming call with this status (486: busy) instead."""
    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    rtp_ports: tuple[int, int] = (30000, 39998)
    by_number: "dict[str, PhoneConfig]" = msgspec.field(default_factory=dict)
    """Whoever stands behind a trunk: for calls to one of these numbers the answering rules given here count instead."""


class CallFailedError(Exception):
    """The other end did not take the call. `status` is that of SIP; 408 when nobody answered."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status


class PhoneCall:
    """One call of a phone, in or out. Everything it hears is recorded from the beginning."""

    def __init__(self, phone: "Softphone", audio: AudioLeg, ref: sip.CallRef, remote: str) -> None:
        self._phone = phone
        self._audio = audio
        self.ref = ref
        self.remote = remote
        """URI of the other end."""
        self.answered = asyncio.Event()
        self.ended = asyncio.Event()
        self.cause = ""
        """Why it ended: `bye`, `cancel`, `timeout`, a status, or `hung up` when we did."""
        self.status = 0
        self.keys_heard = ""
        """Keys the other end pressed."""
        self._recorder = audio.recorder = Recorder()
        self._plays = 0
        audio.on_key = self._hear_key

    @property
    def heard(self) -> bytes:
        """What came from the other end so far: 16-bit little-endian PCM, 8000 Hz, mono."""
        return self._recorder.pcm

    @property
    def packets_heard(self) -> int:
        """Packets of the other end so far."""
        return self._audio.incoming.received

    @property
    def packets_lost(self) -> int:
        """Packets of the other end that should have come and did not."""
        return self._audio.incoming.lost

    def mute(self) -> None:
        """Send nothing any more, not even silence, as if the cable were cut."""
        self._audio.hush()

    def _hear_key(self, key: str) -> None:
        self.keys_heard += key

    async def press(self, keys: str) -> None:
        """Press *keys* one after the other, 100 ms each, and return when the last was let go. Raises ValueError."""
        self._audio.keys.press(keys)
        while self._audio.keys.busy and not self.ended.is_set():  # noqa: ASYNC110  the beat lets keys go and knows no events
            await asyncio.sleep(0.02)

    def play(self, pcm: bytes) -> None:
        """Say *pcm* (16-bit little-endian, 8000 Hz, mono) to the other end, instead of silence."""
        self._plays += 1
        self._audio.player.play(self._plays, [Clip(pcm)], barge_in=False)

    def loop(self, pcm: bytes) -> None:
        """Say *pcm* over and over."""
        self._audio.player.play_music("loop", Clip(pcm))

    def hold(self, on: bool = True) -> None:
        """Put the other end on hold by a re-INVITE, or take it back."""
        self._phone.send_hold(self, self._audio, on)

    async def hang_up(self) -> None:
        """End the call. Nothing happens when it is over."""
        if not self.ended.is_set():
            self._phone.send_bye(self)
            self.finish("hung up", 200)

    def connect(self, answer: sdp.SessionDescription | None = None) -> None:
        """The two ends have agreed: start to send."""
        if answer is not None:
            self._audio.negotiate(sdp.choose(answer, tuple(CODECS.values())))
        self._audio.start()
        self.answered.set()

    def renegotiate(self, offer: sdp.SessionDescription, host: str, codecs: tuple[Codec, ...]) -> bytes:
        """Obey a re-INVITE's offer and return our answer. Raises NotAcceptableError; then nothing has changed."""
        chosen = sdp.choose(offer, codecs)
        self._audio.negotiate(chosen)
        return sdp.answer(offer, chosen, sdp.LocalAudio(host, self._audio.port, version=2))

    def finish(self, cause: str, status: int) -> None:
        """The call is over."""
        if not self.ended.is_set():
            self.cause, self.status = cause, status
            self._audio.close()
            self.ended.set()


class Softphone:
    """A phone on a port of its own.

    Args:
        config: Who it is and how it answers.
    """

    def __init__(self, config: PhoneConfig) -> None:
        self.config = config
        self.calls: list[PhoneCall] = []
        """Every call there was, in order."""
        self.arrived: asyncio.Queue[PhoneCall] = asyncio.Queue()
        """Incoming calls, as they begin to ring."""
        self._beat = Beat()
        self._pool = PortPool(config.host, *config.rtp_ports)
        self._counters = Counters()
        settings = SipConfig(host=config.host, port=config.port, networks=("0.0.0.0/0", "::/0"))
        self._sip = SipSocket(settings, self._handle, user=config.user)
        self._codecs = tuple(CODECS[name] for name in config.codecs)
        self._by_ref: dict[sip.CallRef, PhoneCall] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._registered: asyncio.Future[sip.RegisterAnswered] | None = None

    async def __aenter__(self) -> Self:
        await self._sip.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for timer in self._timers:
            timer.cancel()
        for call in self.calls:
            await call.hang_up()
        self._beat.stop()
        self._sip.close()

    @property
    def uri(self) -> str:
        """Where this phone can be called directly. Only after opening."""
        host, port = self._sip.address
        return f"sip:{self.config.user}@{host}:{port}"

    async def register(self, server: Address, *, expires: int = 300) -> int:
        """Tell *server* where we are; 0 seconds takes it back.

        Returns:
            Seconds granted.

        Raises:
            CallFailedError: it did not want to know.
        """
        self._registered = asyncio.get_running_loop().create_future()
        self._sip.core.register(self.config.user, server, self._sip.now, expires=expires, credentials=self._credentials())
        self._sip.settle()
        answer = await self._registered
        if answer.status >= 300:
            raise CallFailedError(answer.status, answer.reason)
        return answer.expires

    def dial(self, target: str, *, sender: str | None = None) -> PhoneCall:
        """Begin a call to a `sip:` URI with a numeric host and return at once; `PhoneCall.answered` and `ended` tell more.

        Raises:
            OSError: no RTP port is free.
            BadMessageError: *target* cannot be read.
        """
        audio = AudioLeg(self._pool, self._beat, self._counters)
        local = sdp.LocalAudio(self.config.host, audio.port, self._codecs)
        ref = self._sip.core.invite(
            target, sdp.offer(local), self._sip.now, sender=sender, credentials=self._credentials()
        )  # fmt: skip
        call = self._add(audio, ref, target)
        self._sip.settle()
        return call

    async def call(self, target: str, *, patience: float = 30.0, sender: str | None = None) -> PhoneCall:
        """Dial and wait until somebody answers.

        Raises:
            CallFailedError: nobody did within *patience* seconds (the call is given up), or it was refused.
        """
        call = self.dial(target, sender=sender)
        waits = [asyncio.ensure_future(call.answered.wait()), asyncio.ensure_future(call.ended.wait())]
        await asyncio.wait(waits, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if call.answered.is_set():
            return call
        if call.ended.is_set():
            raise CallFailedError(call.status, call.cause)
        await call.hang_up()
        raise CallFailedError(408, "No answer")

    def send_bye(self, call: PhoneCall) -> None:
        """Tell the other end that *call* is over, however far it has come."""
        core, now = self._sip.core, self._sip.now
        core.bye(call.ref, now)
        core.cancel(call.ref, now)
        core.refuse(call.ref, 603, now)
        self._sip.settle()

    def send_hold(self, call: PhoneCall, audio: AudioLeg, on: bool) -> None:
        """Send a re-INVITE with `sendonly` or `sendrecv`."""
        local = sdp.LocalAudio(self.config.host, audio.port, self._codecs, version=2)
        self._sip.core.reinvite(call.ref, sdp.offer(local, direction="sendonly" if on else "sendrecv"), self._sip.now)
        self._sip.settle()

    def _credentials(self) -> digest.Credentials | None:
        return None if self.config.password is None else digest.Credentials(self.config.user, self.config.password)

    def _add(self, audio: AudioLeg, ref: sip.CallRef, remote: str) -> PhoneCall:
        call = PhoneCall(self, audio, ref, remote)
        self.calls.append(call)
        self._by_ref[ref] = call
        return call

    def _handle(self, event: sip.SipEvent) -> None:
        if isinstance(event, sip.InviteReceived):
            self._ring(event)
            return
        if isinstance(event, sip.RegisterAnswered):
            if self._registered is not None and not self._registered.done():
                self._registered.set_result(event)
            return
        call = self._by_ref.get(getattr(event, "call", -1))
        match call, event:
            case PhoneCall(), sip.CallAnswered(answer=answer):
                call.connect(answer)
            case PhoneCall(), sip.CallConfirmed():
                call.connect()
            case PhoneCall(), sip.CallEnded(cause=cause, status=status):
                call.finish(cause, status)
            case PhoneCall(), sip.OfferReceived(offer=offer):
                self._renegotiate(call, offer)
            case _:
                pass

    def _ring(self, event: sip.InviteReceived) -> None:
        core, now = self._sip.core, self._sip.now
        config = self.config.by_number.get(SipUri.parse(event.request.uri).user or "", self.config)
        if config.refuse_with is not None:
            core.refuse(event.call, config.refuse_with, now)
            return
        if event.offer is None:
            core.refuse(event.call, 488, now)
            return
        try:
            chosen = sdp.choose(event.offer, self._codecs)
        except sdp.NotAcceptableError:
            core.refuse(event.call, 488, now)
            return
        audio = AudioLeg(self._pool, self._beat, self._counters)
        audio.negotiate(chosen)
        call = self._add(audio, event.call, NameAddr.parse(event.request.headers.first("from") or "").uri)
        self.arrived.put_nowait(call)
        core.ring(event.call, now)
        if config.answer_after is not None:
            body = sdp.answer(event.offer, chosen, sdp.LocalAudio(self.config.host, audio.port))
            self._timers.add(asyncio.get_running_loop().call_later(config.answer_after, self._answer, call, body))

    def _answer(self, call: PhoneCall, body: bytes) -> None:
        self._sip.core.answer(call.ref, body, self._sip.now)
        self._sip.settle()

    def _renegotiate(self, call: PhoneCall, offer: sdp.SessionDescription | None) -> None:
        core, now = self._sip.core, self._sip.now
        if offer is None:
            core.refuse_offer(call.ref, 488, now)
            return
        try:
            body = call.renegotiate(offer, self.config.host, self._codecs)
        except sdp.NotAcceptableError:
            core.refuse_offer(call.ref, 488, now)
            return
        core.accept_offer(call.ref, body, now)


def tone(frequency: float, seconds: float, *, level: float = 0.3) -> bytes:
    """A sine as 16-bit little-endian PCM at 8000 Hz.

    Args:
        frequency: Hertz.
        seconds: How long.
        level: 1.0 is full scale.
    """
    step = 2 * math.pi * frequency / SAMPLE_RATE
    return array("h", (round(32767 * level * math.sin(step * i)) for i in range(round(seconds * SAMPLE_RATE)))).tobytes()


def tone_share(pcm: bytes, frequency: float) -> float:
    """How much of the energy of *pcm* lies at *frequency* (Goertzel): about 1.0 for that tone alone, 0.0 without it."""
    samples = array("h", pcm[: len(pcm) & ~1])
    energy = sum(sample * sample for sample in samples)
    if not energy:
        return 0.0
    factor = 2 * math.cos(2 * math.pi * frequency / SAMPLE_RATE)
    before = last = 0.0
    for sample in samples:
        before, last = last, sample + factor * last - before
    power = last * last + before * before - factor * last * before
    return 2 * power / (energy * len(samples))
