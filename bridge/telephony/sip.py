"""Calls over SIP and RTP: sockets and the clock around `bridge.sip` and `bridge.media`.

Trunks call without registration from allowed networks; agents' phones are called by URI or by the name they registered.
"""

import asyncio
import re
import secrets
import socket
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import structlog

from bridge.events import (
    AgentLegAnswered,
    AgentLegEnded,
    AgentLegFailed,
    AnswerCall,
    AudioConnected,
    CallArrived,
    CallCommand,
    CallEnded,
    CallEvent,
    ConnectAgent,
    CustomerAnswered,
    DialCustomer,
    DigitsReceived,
    DropAgent,
    EndedBy,
    HangUp,
    HoldCall,
    JoinLegs,
    LegId,
    OpenCall,
    PhoneHeld,
    PhoneResumed,
    PlayMusic,
    PlayPrompts,
    PromptFinished,
    RefuseCall,
    StopAudio,
)
from bridge.media.g711 import CODECS, Codec
from bridge.media.player import PlayEnded
from bridge.media.ringback import ringback
from bridge.sip import events as sip
from bridge.sip import sdp
from bridge.sip.digest import Algorithm, Credentials
from bridge.sip.endpoint import EndpointConfig, SipEndpoint
from bridge.sip.exchange import numeric_address
from bridge.sip.message import BadMessageError, NameAddr, Request, SipUri
from bridge.sip.registrar import Binding, Registrar
from bridge.telephony.clips import ClipLibrary
from bridge.telephony.provider import CallSink
from bridge.telephony.rtp import AudioLeg, Beat, Counters, PortPool

log = structlog.get_logger()
Address = tuple[str, int]
_DIALLED = re.compile(r"[!-~]{0,64}")
"""What stands in a Request-URI that we go on with: it is kept, shown and logged. Empty: our address without a user."""
_INFO_KEY = re.compile(r"(?:Signal\s*=\s*)?([0-9*#A-D])\s*(?:$|[\r\n])", re.IGNORECASE)


class SipConfig(msgspec.Struct, frozen=True):
    """Settings of the SIP side."""

    host: str = "127.0.0.1"
    """Numeric address to listen on, signalling and sound."""
    port: int = 5060
    """UDP; 0 takes any free one."""
    advertised_host: str | None = None
    """Our address as trunks and phones see it; None when it is `host`."""
    rtp_ports: tuple[int, int] = (10000, 20000)
    """First and last; each leg takes an even one."""
    networks: tuple[str, ...] = ("127.0.0.0/8",)
    """Who may call and register; anybody else hears nothing."""
    fronts: tuple[str, ...] = ()
    """Addresses of a front: who registers through it is called at its Contact, and not through the front."""
    users: dict[str, str | None] = msgspec.field(default_factory=dict)
    """Phones that may register: name to password, None for one that needs none."""
    music: str | None = None
    """Folder of the music; None when it lies among the prompts, in `music/` or beside them."""
    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    """In order of liking, for calls we make."""
    realm: str = "sidetone"
    digest_algorithms: tuple[Algorithm, ...] = ("MD5",)
    """`MD5`, `SHA-256` or both; many phones cannot register when SHA-256 is among them."""
    media_timeout: float = 300.0
    """Seconds without a packet from a caller that is not on hold, after which the call is ended; 0 never does."""
    max_calls: int = 1000
    """Calls at one time; one more is refused with 503."""
    retry_after: int = 10
    """Seconds told to whoever is refused with 503."""
    outbound: str | None = None
    """Where calls of ours to numbers go: a URI with `{number}` in it; None: nowhere."""
    outbound_user: str | None = None
    """For a trunk that asks who we are (RFC 3261 section 22)."""
    outbound_password: str | None = None
    country_code: str | None = None
    """Put before numbers that trunks send in national form, for example `1` or `44`; None leaves those as they are."""

    def __repr__(self) -> str:
        return f"SipConfig(host={self.host!r}, port={self.port})"  # not the phones' passwords: this ends up in logs


class SipStats(msgspec.Struct, frozen=True):
    """Figures since the start, except `calls` and `agent_legs`, which are now."""

    calls: int
    agent_legs: int
    calls_total: int
    packets_sent: int
    packets_received: int
    packets_dropped: int
    late_beats: int
    datagrams_refused: int
    """Signalling that was no SIP or came from strangers."""


_UNDIALLED: sip.CallRef = 0
"""In the place of a call's number while there is none; the endpoint's begin with 1."""
TEL = "tel:"
"""Begins the address of a number outside (RFC 3966)."""


class _Leg:
    """A customer, or an agent called for one."""

    def __init__(self, leg_id: LegId, ref: sip.CallRef, audio: AudioLeg, number: int) -> None:
        self.id = leg_id
        self.ref = ref
        self.audio = audio
        self.number = number
        """Of our session descriptions (`o=`)."""
        self.version = 1
        """Of our session description."""
        self.peer: _Leg | None = None
        """Who is heard here; None: our player."""
        self.ring_timer: asyncio.TimerHandle | None = None


class _AgentLeg(_Leg):
    def __init__(
        self, leg_id: LegId, ref: sip.CallRef, audio: AudioLeg, number: int, caller: "_CallerLeg", with_leg: LegId | None
    ) -> None:
        super().__init__(leg_id, ref, audio, number)
        self.caller = caller
        self.with_leg = with_leg
        self.connected = False
        self.on_hold = False
        """By the agent's phone itself."""


class _CallerLeg(_Leg):
    def __init__(
        self, leg_id: LegId, ref: sip.CallRef, audio: AudioLeg, number: int, invite: sip.InviteReceived | None, caller: str | None
    ) -> None:
        super().__init__(leg_id, ref, audio, number)
        self.invite = invite
        """None: the call is ours."""
        self.caller = caller
        """The customer's number; None when withheld."""
        self.answered = False
        self.confirmed = False
        self.agents: dict[LegId, _AgentLeg] = {}
        self.keys_by: str | None = None
        """`rtp` or `info`: whichever brought the first key is the only one listened to."""
        self.reports: deque[CallEvent] = deque()
        self.reporter: asyncio.Task[None] | None = None


class SipCallProvider:
    """Carries calls over SIP (see `CallProvider`).

    Args:
        config: Addresses, ports, who may call.
        sink: Where events go; one at a time for one call, calls independently of each other.
        prompts: Folder of the recordings, or several searched in order.

    Raises:
        ValueError: `host` is every address (`0.0.0.0`) and no `advertised_host` says where we can be reached.
    """

    name = "sip"

    def __init__(self, config: SipConfig, sink: CallSink, prompts: Path | str | Sequence[Path | str]) -> None:
        if ip_address(config.host).is_unspecified and config.advertised_host is None:
            raise ValueError(f"advertised_host is needed when host is {config.host}")
        folders = [prompts] if isinstance(prompts, Path | str) else list(prompts)
        music = [config.music] if config.music else [*(Path(folder) / "music" for folder in folders), *folders]
        self.config = config
        self._sink = sink
        self._clips = ClipLibrary(map(Path, folders))
        self._music = ClipLibrary(map(Path, music))
        self._codecs: tuple[Codec, ...] = tuple(CODECS[name] for name in config.codecs)
        self._beat = Beat()
        self._counters = Counters()
        self._pool = PortPool(config.host, *config.rtp_ports)
        self._sip = SipSocket(config, self._handle)
        self._networks = tuple(ip_network(network) for network in config.networks)
        self._boot = secrets.token_hex(4)
        self._count = 0
        self._callers: dict[LegId, _CallerLeg] = {}
        self._legs: dict[sip.CallRef, _Leg] = {}
        self._reporters: set[asyncio.Task[None]] = set()
        self._watch: asyncio.TimerHandle | None = None
        self._registered: Callable[[str], None] | None = None
        self._busy: Callable[[], bool] = lambda: False

    def refuse_while(self, busy: Callable[[], bool]) -> None:
        """Say 503 to trunks that look whether we are there (OPTIONS) while *busy*: calls would be refused. Before opening."""
        self._busy = busy

    def share_phones(self, clock: Callable[[], float], registered: Callable[[str], None]) -> Registrar:
        """Where it is kept which phones have registered, for others to learn and to teach. Before opening.

        Args:
            clock: Seconds since the Unix epoch; the registrar goes by it.
            registered: Is told of a user one of whose phones has registered here, or taken that back.
        """
        self._registered = registered
        self._sip.registrar_clock = clock
        return self._sip.registrar

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._preload)
        await self._sip.open()
        self._sip.core.busy_for = lambda: self.config.retry_after if self._busy() else None
        self._watch = asyncio.get_running_loop().call_later(1.0, self._look_for_silence)
        return self

    def _preload(self) -> None:
        count = self._clips.preload(self._codecs) + self._music.preload(self._codecs)
        log.info("prompts.loaded", count=count)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._watch is not None:
            self._watch.cancel()
        for leg in list(self._callers.values()):
            self._hang_up(leg, "restart")
        if self._reporters:
            await asyncio.wait(self._reporters, timeout=1.0)
        for task in list(self._reporters):
            task.cancel()
        await asyncio.gather(*self._reporters, return_exceptions=True)
        self._beat.stop()
        self._sip.close()

    @property
    def address(self) -> Address:
        """Where to dial: advertised host and real port. Only after opening."""
        return self._sip.address

    @property
    def stats(self) -> SipStats:
        """How much there is to do."""
        endpoint = self._sip.endpoint
        return SipStats(
            calls=len(self._callers),
            agent_legs=sum(len(leg.agents) for leg in self._callers.values()),
            calls_total=self._count,
            packets_sent=self._counters.sent,
            packets_received=self._counters.received,
            packets_dropped=self._counters.dropped,
            late_beats=self._beat.late,
            datagrams_refused=endpoint.silent_drops if endpoint else 0,
        )

    async def drain(self) -> None:
        """Refuse new calls with 503 from now on."""
        self._sip.core.retry_after = self.config.retry_after

    # --- commands ----------------------------------------------------------------------------------------------------

    def reaches(self, number: str) -> bool:  # noqa: ARG002  # a trunk takes every number, or says no itself
        """Whether there is a trunk for calls of ours."""
        return self.config.outbound is not None

    async def perform(self, command: CallCommand) -> None:
        """Do *command*; nothing happens when its leg is gone."""
        if isinstance(command, OpenCall):
            self._open(command)
            return
        leg = self._callers.get(command.leg)
        if leg is None:
            return
        if isinstance(command, ConnectAgent):
            await self._connect(leg, command)
        elif isinstance(command, DialCustomer):
            await self._dial(leg, command)
        else:
            self._perform(leg, command)
        self._sip.settle()

    def _perform(self, leg: _CallerLeg, command: CallCommand) -> None:
        match command:
            case AnswerCall():
                self._answer(leg)
            case RefuseCall(status=status):
                if not leg.answered:
                    later = self._later if status == 503 else ()  # RFC 3261 section 21.5.4
                    self._sip.core.refuse(leg.ref, status, self._sip.now, headers=later)
                    self._finish(leg, "platform", str(status))
            case PlayPrompts() | PlayMusic() | StopAudio():
                self._played(leg, self._play(leg, command))
            case DropAgent(agent_leg=agent_leg) if agent_leg in leg.agents:
                self._drop_agent(leg.agents[agent_leg])
            case HoldCall(music=music):
                self._hold(leg, music)
            case JoinLegs(agent_leg=agent_leg, with_leg=with_leg):
                self._join(leg, agent_leg, with_leg)
            case HangUp():
                self._hang_up(leg, "bye")
            case _:  # done by the caller of this, or about somebody who is gone
                pass

    def _play(self, leg: _CallerLeg, command: PlayPrompts | PlayMusic | StopAudio) -> PlayEnded | None:
        """Change what the caller hears; returns the end of the play that was cut."""
        player = leg.audio.player
        if leg.peer is not None:  # nobody listens: the two are talking
            return PlayEnded(command.play, completed=False, heard=0.0) if isinstance(command, PlayPrompts) else None
        if isinstance(command, PlayPrompts):
            return player.play(command.play, self._clips.get_all(command.audio), barge_in=command.barge_in)
        if isinstance(command, PlayMusic) and (clip := self._music.get(command.name)) is not None:
            return player.play_music(command.name, clip)
        return player.stop()

    # --- who hears whom

    def _hold(self, leg: _CallerLeg, music: str) -> None:
        for each in (leg, *leg.agents.values()):
            self._part(each)
        self._played(leg, self._play(leg, PlayMusic(leg.id, music)))

    def _join(self, leg: _CallerLeg, agent_leg: LegId, with_leg: LegId | None) -> None:
        agent = leg.agents.get(agent_leg)
        other = leg if with_leg is None else leg.agents.get(with_leg)
        if agent is not None and agent.connected and other is not None:
            self._pair(agent, other)

    def _pair(self, agent: _AgentLeg, other: _Leg) -> None:
        """Let *agent* and *other* hear each other, and nobody else."""
        for leg in (agent, other):
            self._part(leg)
        caller = agent.caller
        if other is caller:
            self._played(caller, caller.audio.player.stop())
            relayed: set[str] = set()
            caller.audio.on_relayed = partial(self._relayed, agent, relayed, "caller")
            agent.audio.on_relayed = partial(self._relayed, agent, relayed, "agent")
        else:
            other.audio.player.stop()
        agent.audio.player.stop()
        agent.peer, other.peer = other, agent
        agent.audio.join(other.audio)
        other.audio.join(agent.audio)

    def _part(self, leg: _Leg) -> None:
        """Nobody is heard here any more, and this one nowhere: each hears its player again, or silence."""
        peer, leg.peer = leg.peer, None
        if peer is None:
            return
        peer.peer = None
        for each in (leg, peer):
            each.audio.part()
            each.audio.on_relayed = None
            each.audio.start()

    def _answer(self, leg: _CallerLeg) -> None:
        if leg.answered:
            return
        leg.answered = True
        assert leg.invite is not None
        local = self._local(leg)
        offer = leg.invite.offer
        negotiated = leg.audio.negotiated
        body = sdp.offer(local) if offer is None or negotiated is None else sdp.answer(offer, negotiated, local)
        self._sip.core.answer(leg.ref, body, self._sip.now)

    async def _connect(self, leg: _CallerLeg, command: ConnectAgent) -> None:
        try:
            target, destination = await self._find(command.address)
            audio = AudioLeg(self._pool, self._beat, self._counters, partial(self._trusts, destination[0]))
        except LookupError as error:
            self._report(leg, AgentLegFailed(leg.id, command.agent_leg, 480, str(error)))
            return
        except OSError as error:
            self._report(leg, AgentLegFailed(leg.id, command.agent_leg, 503, str(error)))
            return
        if leg.id not in self._callers:  # gone while a name was looked up
            audio.close()
            return
        self._count += 1
        liking = leg.audio.negotiated.codec if leg.audio.negotiated else self._codecs[0]
        codecs = tuple(sorted(self._codecs, key=lambda codec: codec is not liking))
        local = sdp.LocalAudio(self._sip.address[0], audio.port, codecs, session_id=self._count)
        ref = self._invite(command.address, target, destination, sdp.offer(local), command.sender or leg.caller)
        agent = _AgentLeg(command.agent_leg, ref, audio, self._count, leg, command.with_leg)
        agent.ring_timer = asyncio.get_running_loop().call_later(command.ring_timeout, self._ring_timeout, agent)
        leg.agents[agent.id] = agent
        self._legs[ref] = agent
        asking = None if command.with_leg is None else leg.agents.get(command.with_leg)
        if asking is not None:
            asking.audio.player.play_music("ringback", ringback())

    def _invite(self, address: str, target: str, destination: Address, offer: bytes, shown: str | None) -> sip.CallRef:
        """Call *target*. *shown*: the number the other end sees; None: none."""
        number = shown or "anonymous"
        config = self.config
        credentials = None
        if address.startswith(TEL) and config.outbound_user is not None:
            credentials = Credentials(config.outbound_user, config.outbound_password or "")
        return self._sip.core.invite(
            target,
            offer,
            self._sip.now,
            sender=f'"{number}" <sip:{number}@{self._sip.address[0]}>',
            destination=destination,
            credentials=credentials,
        )

    # --- calls of ours

    def _open(self, command: OpenCall) -> None:
        try:
            audio = AudioLeg(self._pool, self._beat, self._counters)
        except OSError as error:
            log.warning("call.no_port", reason=str(error))
            self._lost(command.leg, "503")
            return
        self._count += 1
        leg = _CallerLeg(command.leg, _UNDIALLED, audio, self._count, None, command.number)
        self._listen(leg)

    def _lost(self, leg: LegId, cause: str) -> None:
        """A call of ours that never came about."""
        task = asyncio.get_running_loop().create_task(self._tell_end(CallEnded(leg, "platform", cause)))
        self._reporters.add(task)
        task.add_done_callback(self._reporters.discard)

    async def _tell_end(self, event: CallEnded) -> None:
        await self._sink(event)

    def _listen(self, leg: _CallerLeg) -> None:
        """Keep a customer's leg, and hear keys from it."""
        leg.audio.on_key = partial(self._key, leg, "rtp")
        leg.audio.on_played = partial(self._played, leg)
        self._callers[leg.id] = leg
        if leg.ref != _UNDIALLED:
            self._legs[leg.ref] = leg

    async def _dial(self, leg: _CallerLeg, command: DialCustomer) -> None:
        address = f"{TEL}{command.number}"
        try:
            target, destination = await self._find(address)
        except LookupError as error:
            log.warning("call.no_way", reason=str(error))
            self._finish(leg, "platform", "404")
            return
        if leg.id not in self._callers:  # given up while a name was looked up
            return
        leg.audio.trusts = partial(self._trusts, destination[0])
        leg.ref = self._invite(address, target, destination, sdp.offer(self._local(leg)), command.sender)
        self._legs[leg.ref] = leg
        leg.ring_timer = asyncio.get_running_loop().call_later(command.ring_timeout, self._not_answered, leg)
        for agent in leg.agents.values():
            agent.audio.player.play_music("ringback", ringback())

    def _progressed(self, leg: _CallerLeg, answer: sdp.SessionDescription | None) -> None:
        """What is to be heard before the customer picks up: their network's tones and announcements."""
        if answer is not None and leg.peer is None and self._adopt(leg, answer):
            self._to_agent(leg)

    def _picked_up(self, leg: _CallerLeg, answer: sdp.SessionDescription | None) -> None:
        if answer is None or not self._adopt(leg, answer):
            self._sip.core.bye(leg.ref, self._sip.now)
            self._finish(leg, "platform", "488")
            return
        if leg.ring_timer is not None:
            leg.ring_timer.cancel()
        leg.answered = leg.confirmed = True
        leg.audio.start()
        self._report(leg, CustomerAnswered(leg.id))
        self._to_agent(leg)

    def _to_agent(self, leg: _CallerLeg) -> None:
        agent = next((agent for agent in leg.agents.values() if agent.connected), None)
        if agent is not None:
            self._pair(agent, leg)

    def _not_answered(self, leg: _CallerLeg) -> None:
        self._sip.core.cancel(leg.ref, self._sip.now)
        self._finish(leg, "network", "408")
        self._sip.settle()

    async def _find(self, address: str) -> tuple[str, Address]:
        """Request-URI and place of an agent's phone.

        Raises:
            LookupError: not registered, not a SIP address, or the host has no address.
        """
        host, port = self._sip.address
        if address.startswith(TEL):
            if self.config.outbound is None:
                raise LookupError("sip.outbound does not say where numbers are called")
            address = self.config.outbound.replace("{number}", address.removeprefix(TEL))
        try:
            uri = SipUri.parse(address if ":" in address else f"sip:{address}@{host}:{port}")
        except BadMessageError as error:
            raise LookupError(str(error)) from error
        ours = uri.host in {host, self.config.host, self.config.realm} and (uri.port or 5060) == port
        if ours:
            binding = self._sip.locate(uri.user or "")
            if binding is None:
                raise LookupError(f"{uri.user} is not registered")
            return binding.contact, binding.source
        numeric = numeric_address(str(uri))
        if numeric is not None:
            return str(uri), numeric
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(uri.host, uri.port or 5060, family=socket.AF_INET, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise LookupError(f"{uri.host} has no address") from error
        return str(uri), (str(found[0][4][0]), int(found[0][4][1]))

    def _trusts(self, signalling: str, source: str) -> bool:
        """Whether sound from *source* may be that of the end whose signalling comes from *signalling*."""
        return source == signalling or any(ip_address(source) in network for network in self._networks)

    def _local(self, leg: _Leg) -> sdp.LocalAudio:
        return sdp.LocalAudio(self._sip.address[0], leg.audio.port, self._codecs, session_id=leg.number, version=leg.version)

    # --- what SIP reports --------------------------------------------------------------------------------------------

    def _handle(self, event: sip.SipEvent) -> None:  # noqa: C901, PLR0912  # flat
        if isinstance(event, sip.InviteReceived):
            self._arrive(event)
            return
        leg = self._legs.get(getattr(event, "call", -1))
        match leg, event:
            case _CallerLeg(), sip.CallConfirmed(answer=answer):
                self._confirmed(leg, answer)
            case _CallerLeg(), sip.CallProgressed(answer=answer):
                self._progressed(leg, answer)
            case _CallerLeg(), sip.CallAnswered(answer=answer):
                self._picked_up(leg, answer)
            case _CallerLeg(), sip.CallEnded(cause=cause):
                by: EndedBy = "caller" if cause in {"bye", "cancel"} else "network"
                self._finish(leg, by, cause)
            case _CallerLeg(), sip.InfoReceived(content_type=kind, body=body):
                key = _key_of_info(kind, body)
                if key is not None:
                    self._key(leg, "info", key)
            case _AgentLeg(), sip.CallAnswered(answer=answer):
                self._agent_answered(leg, answer)
            case _AgentLeg(), sip.CallEnded(status=status, reason=reason):
                self._agent_gone(leg, status, reason, "agent")
            case _Leg(), sip.OfferReceived(offer=offer):
                self._renegotiate(leg, offer)
            case _Leg(), sip.OfferAnswered(answer=answer) if answer is not None:
                self._adopt(leg, answer)
            case None, sip.PhoneRegistered(user=user) if self._registered is not None:
                self._registered(user)
            case _:
                pass

    @property
    def _later(self) -> list[tuple[str, str]]:
        """Headers of a 503."""
        return [("retry-after", str(self.config.retry_after))]

    def _arrive(self, event: sip.InviteReceived) -> None:
        core, now = self._sip.core, self._sip.now
        try:
            negotiated = None if event.offer is None else sdp.choose(event.offer, self._codecs)
            called = called_number(event.request, self.config.country_code)
            if len(self._callers) >= self.config.max_calls:
                core.refuse(event.call, 503, now, headers=self._later)
                return
            audio = AudioLeg(self._pool, self._beat, self._counters, partial(self._trusts, event.source[0]))
        except sdp.NotAcceptableError as error:
            warning = f'{error.warning} {self._sip.address[0]} "{error}"'
            core.refuse(event.call, 488, now, headers=[("warning", warning)])
            return
        except BadMessageError:
            core.refuse(event.call, 404, now)
            return
        except OSError as error:
            log.warning("call.no_port", reason=str(error))
            core.refuse(event.call, 503, now, headers=self._later)
            return
        self._count += 1
        caller = caller_number(event.request, self.config.country_code)
        leg = _CallerLeg(LegId(f"sip-{self._boot}-{self._count}"), event.call, audio, self._count, event, caller)
        if negotiated is not None:
            audio.negotiate(negotiated)
        self._listen(leg)
        self._report(leg, CallArrived(leg.id, self.name, caller, called))

    def _confirmed(self, leg: _CallerLeg, answer: sdp.SessionDescription | None) -> None:
        leg.confirmed = True
        assert leg.invite is not None
        if leg.invite.offer is None and (answer is None or not self._adopt(leg, answer)):
            self._sip.core.bye(leg.ref, self._sip.now)
            self._finish(leg, "platform", "488")
            return
        if leg.peer is None:
            leg.audio.start()

    def _adopt(self, leg: _Leg, answer: sdp.SessionDescription) -> bool:
        """Obey the answer to an offer of ours. False when there is nothing in it for us."""
        try:
            leg.audio.negotiate(sdp.choose(answer, self._codecs))
        except sdp.NotAcceptableError:
            return False
        return True

    def _renegotiate(self, leg: _Leg, offer: sdp.SessionDescription | None) -> None:
        core, now = self._sip.core, self._sip.now
        leg.version += 1
        local = self._local(leg)
        if offer is None:
            core.accept_offer(leg.ref, sdp.offer(local), now)
            return
        try:
            negotiated = sdp.choose(offer, self._codecs)
        except sdp.NotAcceptableError:
            core.refuse_offer(leg.ref, 488, now)
            return
        leg.audio.negotiate(negotiated)
        core.accept_offer(leg.ref, sdp.answer(offer, negotiated, local), now)
        if isinstance(leg, _AgentLeg):
            self._note_hold(leg, on=not negotiated.may_send)

    def _note_hold(self, agent: _AgentLeg, *, on: bool) -> None:
        """An agent's phone that wants to hear nothing has put us on hold (RFC 3264 section 8.4)."""
        if agent.connected and agent.on_hold is not on:
            agent.on_hold = on
            self._report(agent.caller, (PhoneHeld if on else PhoneResumed)(agent.caller.id, agent.id))

    # --- agents ------------------------------------------------------------------------------------------------------

    def _agent_answered(self, agent: _AgentLeg, answer: sdp.SessionDescription | None) -> None:
        """The agent picked up: cut what the one they are for hears, this instant, and join the two."""
        leg = agent.caller
        if answer is None or not self._adopt(agent, answer):
            self._sip.core.bye(agent.ref, self._sip.now)
            self._agent_gone(agent, 488, "Not Acceptable Here", "platform")
            return
        if agent.ring_timer is not None:
            agent.ring_timer.cancel()
        agent.connected = True
        self._report(leg, AgentLegAnswered(leg.id, agent.id))
        other = leg if agent.with_leg is None else leg.agents.get(agent.with_leg)
        if other is None or (other is leg and not leg.answered):
            agent.audio.start()
        else:
            self._pair(agent, other)

    def _relayed(self, agent: _AgentLeg, relayed: set[str], side: str) -> None:
        relayed.add(side)
        if len(relayed) == 2:
            self._report(agent.caller, AudioConnected(agent.caller.id, agent.id))

    def _ring_timeout(self, agent: _AgentLeg) -> None:
        self._sip.core.cancel(agent.ref, self._sip.now)
        self._agent_gone(agent, 408, "No answer", "agent")
        self._sip.settle()

    def _drop_agent(self, agent: _AgentLeg) -> None:
        self._release(agent)
        self._agent_gone(agent, 487, "Dropped", "platform")

    def _release(self, agent: _AgentLeg) -> None:
        """Tell an agent's phone that it is over, ringing or not."""
        if agent.connected:
            self._sip.core.bye(agent.ref, self._sip.now)
        else:
            self._sip.core.cancel(agent.ref, self._sip.now)

    def _agent_gone(self, agent: _AgentLeg, status: int, reason: str, by: EndedBy) -> None:
        leg = agent.caller
        self._forget_agent(agent)
        if agent.connected:
            self._report(leg, AgentLegEnded(leg.id, agent.id, by if status in {200, 487} else "network"))
        else:
            self._report(leg, AgentLegFailed(leg.id, agent.id, status, reason))

    def _forget_agent(self, agent: _AgentLeg) -> None:
        if agent.ring_timer is not None:
            agent.ring_timer.cancel()
        self._part(agent)
        agent.caller.agents.pop(agent.id, None)
        agent.audio.close()
        self._legs.pop(agent.ref, None)
        asking = None if agent.with_leg is None else agent.caller.agents.get(agent.with_leg)
        if asking is not None:
            asking.audio.player.stop()

    # --- the end of a call -------------------------------------------------------------------------------------------

    def _hang_up(self, leg: _CallerLeg, cause: str, by: EndedBy = "platform") -> None:
        core, now = self._sip.core, self._sip.now
        if leg.answered:
            core.bye(leg.ref, now)
        elif leg.invite is None:
            core.cancel(leg.ref, now)
        else:
            core.refuse(leg.ref, 480, now)
        self._finish(leg, by, cause)
        self._sip.settle()

    def _finish(self, leg: _CallerLeg, by: EndedBy, cause: str) -> None:
        """The customer's leg is over; the agents' go with it."""
        if leg.ring_timer is not None:
            leg.ring_timer.cancel()
        for agent in list(leg.agents.values()):
            self._release(agent)
            self._forget_agent(agent)
        cut = leg.audio.player.stop()
        self._played(leg, cut)
        leg.audio.close()
        self._callers.pop(leg.id, None)
        self._legs.pop(leg.ref, None)
        self._report(leg, CallEnded(leg.id, by, cause))

    def _look_for_silence(self) -> None:
        """Once a second: end calls whose other end has stopped sending without saying so."""
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(1.0, self._look_for_silence)
        limit = self.config.media_timeout
        if limit <= 0:
            return
        for leg in list(self._callers.values()):
            negotiated = leg.audio.negotiated
            listening = leg.confirmed and negotiated is not None and negotiated.may_receive
            if listening and loop.time() - leg.audio.heard_at > limit:
                self._hang_up(leg, "media_timeout", "network")

    # --- what the caller does and hears ------------------------------------------------------------------------------

    def _key(self, leg: _CallerLeg, path: str, key: str) -> None:
        leg.keys_by = leg.keys_by or path
        if leg.keys_by != path:
            return
        if leg.audio.player.barge_in:
            self._played(leg, leg.audio.player.stop())
        self._report(leg, DigitsReceived(leg.id, key))

    def _played(self, leg: _CallerLeg, ended: PlayEnded | None) -> None:
        if ended is not None:
            self._report(leg, PromptFinished(leg.id, ended.play, completed=ended.completed, heard=round(ended.heard, 2)))

    def _report(self, leg: _CallerLeg, event: CallEvent) -> None:
        """Queue an event of one call; they reach the sink in this order."""
        leg.reports.append(event)
        if leg.reporter is None:
            leg.reporter = asyncio.get_running_loop().create_task(self._deliver(leg))
            self._reporters.add(leg.reporter)
            leg.reporter.add_done_callback(self._reporters.discard)

    async def _deliver(self, leg: _CallerLeg) -> None:
        try:
            while leg.reports:
                event = leg.reports.popleft()
                try:
                    await self._sink(event)
                except Exception:
                    log.exception("call.event_refused", leg=leg.id, event_kind=type(event).__name__)
                    if isinstance(event, CallArrived):  # nobody will ever answer it
                        self._perform(leg, RefuseCall(leg.id, 500))
                        self._sip.settle()
        finally:
            leg.reporter = None


class SipSocket(asyncio.DatagramProtocol):
    """The signalling socket and its one timer around a `SipEndpoint`.

    Args:
        config: `host`, `port`, `advertised_host`, `networks`, `users` and `realm` are used.
        handle: Gets every SIP event; may call the endpoint.
        user: User part of our Contact.
    """

    def __init__(self, config: SipConfig, handle: Callable[[sip.SipEvent], None], user: str | None = None) -> None:
        self._config = config
        self._handle = handle
        self._user = user
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._settling = False
        self.endpoint: SipEndpoint | None = None
        self.registrar = Registrar(config.users)
        self.registrar_clock: Callable[[], float] | None = None
        """Seconds; None: the endpoint's."""

    @property
    def core(self) -> SipEndpoint:
        """The endpoint. Only after opening."""
        assert self.endpoint is not None
        return self.endpoint

    @property
    def now(self) -> float:
        """Seconds on the loop's clock, which is the endpoint's."""
        return asyncio.get_running_loop().time()

    @property
    def address(self) -> Address:
        """Advertised host and real port."""
        return self.core.config.host, self.core.config.port

    async def open(self) -> None:
        """Bind the socket. Raises OSError when the port is taken."""
        config = self._config
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(config.host, config.port))
        self._transport = transport
        networks = tuple(ip_network(network) for network in config.networks)
        port = transport.get_extra_info("sockname")[1]
        told = EndpointConfig(
            config.advertised_host or config.host,
            port,
            networks,
            fronts=tuple(ip_network(network) for network in config.fronts),
            user=self._user,
            realm=config.realm,
            digest_algorithms=config.digest_algorithms,
        )
        self.endpoint = SipEndpoint(told, secrets.randbits, registrar=self.registrar)

    def close(self) -> None:
        """Close the socket at once; what was handed to it before goes out."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.close()

    def locate(self, user: str) -> Binding | None:
        """Where a registered user's phone is, or None."""
        self._set_registrar_clock()
        return self.core.locate(user, self.now)

    def _set_registrar_clock(self) -> None:
        if self.registrar_clock is not None:
            self.core.registrar_ahead = self.registrar_clock() - self.now

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Part of asyncio's protocol."""
        if self.endpoint is None:
            return
        try:
            self._set_registrar_clock()
            self.endpoint.receive_datagram(data, addr[:2], self.now)
        except Exception:  # one odd datagram must not cost the timers of all calls
            log.exception("sip.datagram_failed", source=addr[0])
        self.settle()

    def error_received(self, exc: Exception) -> None:
        """Part of asyncio's protocol: a refused datagram (ICMP). The transaction's own timers decide."""
        log.debug("sip.socket_error", reason=str(exc))

    def settle(self) -> None:
        """After every stimulus: hand out events, send what is to be sent, set the one timer."""
        if self._settling:  # an event's handler came back here; the loop below goes on for it
            return
        self._settling = True
        core = self.core
        try:
            while (event := core.next_event()) is not None:
                self._hand_out(event)
        finally:
            self._settling = False
        if self._transport is not None and not self._transport.is_closing():
            for data, address in core.datagrams_to_send():
                try:
                    self._transport.sendto(data, address)
                except (OSError, ValueError) as error:  # a Contact of the wrong family; the others and the timers go on
                    log.warning("sip.unsendable", reason=str(error))
        self._rearm(core.wake_at)

    def _hand_out(self, event: sip.SipEvent) -> None:
        try:
            self._handle(event)
        except Exception:  # nor may one call's fault
            log.exception("sip.event_failed", event_kind=type(event).__name__)

    def _rearm(self, at: float | None) -> None:
        if at == self._timer_at and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = None if at is None else asyncio.get_running_loop().call_at(at, self._wake)

    def _wake(self) -> None:
        self._timer = None
        try:
            self.core.wake(self.now)
        except Exception:
            log.exception("sip.timer_failed")
        self.settle()


# --- numbers ---------------------------------------------------------------------------------------------------------


def caller_number(request: Request, country_code: str | None = None) -> str | None:
    """Who calls: the asserted identity if there is one (RFC 3325), else From.

    Returns:
        E.164, or the digits as they came when that cannot be made of them; None when the number is withheld (RFC 3323)
        or the caller gives a name instead.
    """
    privacy = {word.strip().lower() for value in request.headers.all("privacy") for word in re.split("[;,]", value)}
    if privacy & {"id", "user", "full"}:
        return None
    asserted = request.headers.all("p-asserted-identity")
    for text in [*asserted, request.headers.first("from") or ""]:
        try:
            uri = SipUri.parse(NameAddr.parse(text).uri)
        except BadMessageError:
            continue
        number = to_e164(uri.user or "", country_code)
        if uri.host != "anonymous.invalid" and re.fullmatch(r"\+?[0-9]{2,15}", number):
            return number
    return None


def called_number(request: Request, country_code: str | None = None) -> str:
    """Whom they dialled: the user of the Request-URI.

    Raises:
        BadMessageError: it cannot be read, or is nothing anybody could have dialled.
    """
    number = to_e164(SipUri.parse(request.uri).user or "", country_code)
    if not _DIALLED.fullmatch(number):
        raise BadMessageError("not a number or name")
    return number


def to_e164(user: str, country_code: str | None = None) -> str:
    """A number in E.164 when that can be made of it; otherwise as it is.

    International ones begin with `+` or `00` or have 11 to 15 digits. With *country_code*, 7 to 12 digits that may begin
    with a trunk prefix 0 are national.
    """
    user = user.partition(";")[0]
    digits = re.sub(r"[\s().-]", "", user)
    if re.fullmatch(r"\+[1-9][0-9]{6,14}", digits):
        return digits
    if re.fullmatch(r"00[1-9][0-9]{6,14}", digits):
        return "+" + digits[2:]
    if country_code is not None and re.fullmatch(r"0[1-9][0-9]{5,11}|[1-9][0-9]{6,9}", digits):
        return f"+{country_code}{digits.removeprefix('0')}"
    if re.fullmatch(r"[1-9][0-9]{10,14}", digits):
        return "+" + digits
    return user


def _key_of_info(kind: str, body: bytes) -> str | None:
    if kind not in {"application/dtmf-relay", "application/dtmf"}:
        return None
    match = _INFO_KEY.match(body.decode("ascii", "replace").strip())
    return match[1].upper() if match else None
