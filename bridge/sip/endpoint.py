"""A SIP user agent and registrar without sockets (RFC 3261 sections 8 to 15).

Datagrams and times go in, datagrams and events come out. The owner sends what `datagrams_to_send` returns after every
stimulus, calls `wake` when the clock reaches `wake_at`, and reads `next_event` until there is none.
"""

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

import msgspec

from bridge.sip import digest
from bridge.sip.dialog import Dialog
from bridge.sip.events import (
    Address,
    CallAnswered,
    CallConfirmed,
    CallEnded,
    CallProgressed,
    CallRef,
    InfoReceived,
    InviteReceived,
    OfferAnswered,
    OfferReceived,
    PhoneRegistered,
    RegisterAnswered,
    SipEvent,
)
from bridge.sip.exchange import Call, CallState, Exchange, ack_of, numeric_address, read_answer, server_key, stamp
from bridge.sip.message import (
    MAGIC_COOKIE,
    BadMessageError,
    Headers,
    NameAddr,
    Request,
    Response,
    SipUri,
    Via,
    parse_message,
    whole_number,
)
from bridge.sip.registrar import Binding, Registrar
from bridge.sip.sdp import BadSdpError, SessionDescription, parse_sdp
from bridge.sip.transaction import Action, Kind, State, Timers, Transaction, trigger_of

Network = IPv4Network | IPv6Network


class EndpointConfig(msgspec.Struct, frozen=True):
    """What an endpoint is told at the beginning."""

    host: str
    """Our address as others see it."""
    port: int
    networks: tuple[Network, ...]
    """Who may send requests; anybody else hears nothing at all."""
    fronts: tuple[Network, ...] = ()
    """Who passes datagrams of phones on under an address of its own."""
    user: str | None = None
    """User part of our Contact."""
    realm: str = "sidetone"
    digest_algorithms: tuple[digest.Algorithm, ...] = ("MD5",)
    """How registering phones may prove their password, each offered in a challenge of its own. Many phones in the field
    give up altogether when one of several challenges is beyond them, so SHA-256 is for those who know their phones."""
    user_agent: str = "Sidetone"
    timers: Timers = Timers()
    max_exchanges: int = 20_000
    """Requests kept at one time for half a minute each, so that a repeated one gets the same answer. While there are so
    many, a request outside a call is refused with 503 and forgotten."""


class SipEndpoint:
    """Both ends of SIP over UDP: calls in and out, a registrar, a registered phone.

    Args:
        config: Addresses and rules.
        random_bits: Returns that many unguessable bits as a number.
        users: Who may register: name to password (None: needs none).
        registrar: Where it is kept who has; None: one of our own for *users*.

    Methods that name a call which is gone do nothing: it may have ended a moment ago.
    """

    ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO"

    def __init__(
        self,
        config: EndpointConfig,
        random_bits: Callable[[int], int],
        users: Mapping[str, str | None] | None = None,
        *,
        registrar: Registrar | None = None,
    ) -> None:
        self.config = config
        self.registrar = registrar or Registrar(users or {})
        self.registrar_ahead = 0.0
        """Seconds by which the registrar's clock is ahead of ours."""
        self.retry_after: int | None = None
        """Seconds; when set, new calls (and OPTIONS, by which trunks look for us) are refused with 503."""
        self.busy_for: Callable[[], int | None] = lambda: None
        """Seconds for which calls would be refused by whoever takes them, so that OPTIONS are; None: they would not."""
        self.silent_drops = 0
        """Datagrams thrown away: no SIP, or from a stranger."""
        self._random = random_bits
        self._guard = digest.DigestGuard(config.realm, lambda: self._token(128), config.digest_algorithms)
        self._allow = self.ALLOW + (", REGISTER" if self.registrar.users else "")
        self._methods = frozenset(self._allow.split(", "))
        self._exchanges: dict[tuple[str, ...], Exchange] = {}
        self._calls: dict[CallRef, Call] = {}
        self._dialogs: dict[tuple[str, str, str], Call] = {}
        self._invites: set[tuple[str, str, int]] = set()
        self._out: list[tuple[bytes, Address]] = []
        self._events: deque[SipEvent] = deque()
        self._heap: list[tuple[float, int, Exchange | Call]] = []
        self._counter = 0
        self._last_ref = 0
        self._registration: tuple[Request, Address, digest.Credentials | None] | None = None
        self._register_id = ""
        self._register_sequence = 0

    # --- the five verbs ----------------------------------------------------------------------------------------------

    def receive_datagram(self, data: bytes, source: Address, now: float) -> None:
        """Take one datagram from the network."""
        try:
            message = parse_message(data)
            if isinstance(message, Response):
                self._receive_response(message, now)
            elif self._known(message, source):
                self._receive_request(message, source, now)
            else:
                self.silent_drops += 1
        except BadMessageError:
            self.silent_drops += 1

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        """What to put on the network now; each is returned once."""
        out, self._out = self._out, []
        return out

    @property
    def wake_at(self) -> float | None:
        """When to call `wake`; None when nothing is waited for."""
        while self._heap and self._heap[0][2].wake_at != self._heap[0][0]:
            at, _, owner = heapq.heappop(self._heap)
            if owner.scheduled_at == at:
                owner.scheduled_at = None
        return self._heap[0][0] if self._heap else None

    def wake(self, now: float) -> None:
        """The clock has reached `wake_at`."""
        while (due := self.wake_at) is not None and due <= now:
            owner = heapq.heappop(self._heap)[2]
            owner.scheduled_at = None
            if isinstance(owner, Exchange):
                self._obey(owner, owner.machine.wake(now), None, now)
            else:
                self._wake_call(owner, now)

    def next_event(self) -> SipEvent | None:
        """The next thing that happened, or None."""
        return self._events.popleft() if self._events else None

    # --- calls that came in ------------------------------------------------------------------------------------------

    def ring(self, call: CallRef, now: float) -> None:
        """Send 180."""
        found = self._calls.get(call)
        if found is not None and found.state is CallState.INCOMING:
            assert found.invite is not None
            self._respond(found.invite, self._dialog_response(found.invite.request, 180, found.tag), now)

    def answer(self, call: CallRef, sdp: bytes, now: float) -> None:
        """Send 200 with *sdp* (the answer, or our offer when the INVITE had none) until it is acknowledged."""
        found = self._calls.get(call)
        if found is None or found.state is not CallState.INCOMING:
            return
        assert found.invite is not None
        assert found.dialog is not None
        found.state = CallState.ANSWERED
        found.dialog.early = False
        self._send_answer(found, found.invite, sdp, now)

    def refuse(self, call: CallRef, status: int, now: float, *, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Send a final response of 300 or above and forget the call."""
        found = self._calls.get(call)
        if found is None or found.state is not CallState.INCOMING:
            return
        assert found.invite is not None
        response = found.invite.request.reply(status, to_tag=found.tag)
        for name, value in headers:
            response.headers.add(name, value)
        self._respond(found.invite, response, now)
        self._forget(found)

    # --- calls that go out -------------------------------------------------------------------------------------------

    def invite(
        self,
        target: str,
        sdp: bytes,
        now: float,
        *,
        sender: str | None = None,
        destination: Address | None = None,
        credentials: digest.Credentials | None = None,
    ) -> CallRef:
        """Call somebody.

        Args:
            target: `sip:` URI.
            sdp: Our offer.
            now: Seconds.
            sender: From URI or name-addr; None for our Contact.
            destination: Where to send it; None when the URI's host is a numeric address.
            credentials: For a server that asks who we are.

        Raises:
            BadMessageError: *target* cannot be read or its host is no numeric address and *destination* is None.
        """
        where = destination or numeric_address(target)
        if where is None:
            raise BadMessageError(f"no numeric address in {target!r}")
        self._last_ref += 1
        call = Call(self._last_ref, CallState.OUTGOING, self._token(), where)
        call.credentials = credentials
        call.pinned = destination is not None
        self._calls[call.ref] = call
        headers = Headers([("max-forwards", "70")])
        headers.add("from", str(NameAddr.parse(sender or f"<{self._contact_uri()}>").with_tag(call.tag)))
        headers.add("to", f"<{target}>")
        headers.add("call-id", f"{self._token(96)}@{self.config.host}")
        headers.add("cseq", "1 INVITE")
        request = Request("INVITE", target, headers, sdp)
        self._finish_invite(request)
        call.invite = self._send_request(request, where, now, call)
        return call.ref

    def cancel(self, call: CallRef, now: float) -> None:
        """Give up a call of ours that has not been answered; no event follows."""
        found = self._calls.get(call)
        if found is None or found.state is not CallState.OUTGOING or found.cancelled:
            return
        found.cancelled = True
        if found.progressed:  # section 9.1: not before a provisional response
            self._send_cancel(found, now)

    # --- any call ----------------------------------------------------------------------------------------------------

    def bye(self, call: CallRef, now: float) -> None:
        """End an answered call; no event follows. Before our 200 is acknowledged it waits for that (section 15)."""
        found = self._calls.get(call)
        if found is None or found.dialog is None:
            return
        if found.state is CallState.ANSWERED:
            found.bye_wanted = True
        elif found.state is CallState.UP:
            self._send_bye(found, now)

    def accept_offer(self, call: CallRef, sdp: bytes, now: float) -> None:
        """Answer a re-INVITE."""
        found = self._calls.get(call)
        if found is not None and found.reinvite is not None:
            exchange, found.reinvite = found.reinvite, None
            self._send_answer(found, exchange, sdp, now)

    def refuse_offer(self, call: CallRef, status: int, now: float) -> None:
        """Refuse a re-INVITE; everything stays as it was (section 14.2)."""
        found = self._calls.get(call)
        if found is not None and found.reinvite is not None:
            exchange, found.reinvite = found.reinvite, None
            self._respond(exchange, exchange.request.reply(status), now)

    def reinvite(self, call: CallRef, sdp: bytes, now: float) -> None:
        """Propose another description inside a call; the outcome is `OfferAnswered`."""
        found = self._calls.get(call)
        if found is None or found.state is not CallState.UP:
            return
        assert found.dialog is not None
        request = found.dialog.request("INVITE")
        request.body = sdp
        self._finish_invite(request)
        self._send_request(request, self._hop(found), now, found)

    def info(self, call: CallRef, content_type: str, body: bytes, now: float) -> None:
        """Send an INFO inside a call."""
        found = self._calls.get(call)
        if found is None or found.state is not CallState.UP:
            return
        assert found.dialog is not None
        request = found.dialog.request("INFO")
        request.headers.add("content-type", content_type)
        request.body = body
        self._send_request(request, self._hop(found), now, found)

    # --- registering -------------------------------------------------------------------------------------------------

    def register(
        self,
        user: str,
        server: Address,
        now: float,
        *,
        expires: int = 300,
        credentials: digest.Credentials | None = None,
    ) -> None:
        """Tell a registrar where we are (0 seconds: no longer); the outcome is `RegisterAnswered`."""
        self._register_id = self._register_id or f"{self._token(96)}@{self.config.host}"
        self._register_sequence += 1
        aor = f"sip:{user}@{server[0]}:{server[1]}"
        headers = Headers([("max-forwards", "70"), ("from", f"<{aor}>;tag={self._token()}"), ("to", f"<{aor}>")])
        headers.add("call-id", self._register_id)
        headers.add("cseq", f"{self._register_sequence} REGISTER")
        headers.add("contact", f"<{self._contact_uri()}>")
        headers.add("expires", str(expires))
        request = Request("REGISTER", f"sip:{server[0]}:{server[1]}", headers)
        self._registration = (request, server, credentials)
        self._send_request(request, server, now, None)

    def locate(self, user: str, now: float) -> Binding | None:
        """Where a registered user's phone is, or None."""
        return self.registrar.lookup(user, now + self.registrar_ahead)

    # --- requests in -------------------------------------------------------------------------------------------------

    def _known(self, request: Request, source: Address) -> bool:
        address = ip_address(source[0])
        if any(address in network for network in self.config.networks):
            return True
        # Whoever is in a call with us may go on talking, wherever the call took the signalling.
        return self._dialog_of(request) is not None

    def _dialog_of(self, request: Request) -> Call | None:
        return self._dialogs.get((request.call_id, request.recipient.tag or "", request.sender.tag or ""))

    def _receive_request(self, request: Request, source: Address, now: float) -> None:
        via = request.via
        reply_to = stamp(request, via, source)
        problem = request.problem()
        if problem is not None:
            if request.method != "ACK":
                self._out.append((bytes(request.reply(400, f"Bad Request - {problem}")), reply_to))
            return
        key = server_key(request, via, "INVITE" if request.method == "ACK" else request.method)
        exchange = self._exchanges.get(key)
        if exchange is not None:
            trigger = request.method if request.method in {"INVITE", "ACK"} else "request"
            self._obey(exchange, exchange.machine.feed(trigger, now=now), None, now)
            if request.method != "ACK" or exchange.machine.state is not State.ACCEPTED:
                return
        if request.method == "ACK":
            # Some phones (pyVoIP is one) invent a To tag for their ACK, but repeat the branch of the INVITE.
            self._receive_ack(request, exchange.call if exchange is not None else self._dialog_of(request), now)
            return
        if len(self._exchanges) >= self.config.max_exchanges and request.method != "CANCEL" and not self._dialog_of(request):
            # Section 8.2.7: without a transaction, so that a flood costs nothing that stays. Calls go on and can be ended.
            self._out.append((bytes(request.reply(503, to_tag=self._token())), reply_to))
            return
        kind = Kind.INVITE_SERVER if request.method == "INVITE" else Kind.NON_INVITE_SERVER
        exchange = Exchange(key, Transaction(kind, now=now, timers=self.config.timers), request, reply_to)
        self._exchanges[key] = exchange
        self._schedule(exchange)
        try:
            self._serve(exchange, via, source, now)
        except BadMessageError as error:
            self._respond(exchange, request.reply(400, f"Bad Request - {error}", to_tag=self._token()), now)
        except Exception:
            # A fault of ours. Nothing would ever end this transaction: until it is answered it has no timer.
            self._exchanges.pop(key, None)
            raise

    def _serve(self, exchange: Exchange, via: Via, source: Address, now: float) -> None:
        """Answer a new request. May raise BadMessageError for a part that was read only now."""
        refusal = self._refusal(exchange.request)
        if refusal is not None:
            self._respond(exchange, refusal, now)
        elif exchange.request.method == "CANCEL":
            self._receive_cancel(exchange, via, now)
        elif exchange.request.recipient.tag is not None:
            self._receive_in_dialog(exchange, now)
        else:
            self._receive_outside(exchange, source, now)

    def _refusal(self, request: Request) -> Response | None:
        """What section 8.2 asks to be looked at before anything else."""
        if request.version != "SIP/2.0":
            return request.reply(505, to_tag=self._token())
        if request.method not in self._methods:
            response = request.reply(405, to_tag=self._token())
            response.headers.add("allow", self._allow)
            return response
        if request.uri.partition(":")[0].lower() not in {"sip", "sips", "tel"}:
            return request.reply(416, to_tag=self._token())
        hops = request.headers.first("max-forwards")
        if hops is not None and int(hops) == 0 and request.method not in {"OPTIONS", "CANCEL"}:
            return request.reply(483, to_tag=self._token())
        required = [] if request.method == "CANCEL" else request.headers.all("require")
        if required:
            response = request.reply(420, to_tag=self._token())
            response.headers.add("unsupported", ", ".join(required))
            return response
        return None

    def _receive_outside(self, exchange: Exchange, source: Address, now: float) -> None:
        request = exchange.request
        if request.method == "INVITE":
            self._receive_invite(exchange, source, now)
        elif request.method == "OPTIONS":
            self._respond(exchange, self._capabilities(request), now)
        elif request.method == "REGISTER":
            self._receive_register(exchange, source, now)
        else:
            self._respond(exchange, request.reply(481, to_tag=self._token()), now)

    def _capabilities(self, request: Request) -> Response:
        later = self.busy_for() if self.retry_after is None else self.retry_after
        response = request.reply(200 if later is None else 503, to_tag=self._token())
        if later is not None:
            response.headers.add("retry-after", str(later))
        response.headers.add("allow", self._allow)
        response.headers.add("accept", "application/sdp")
        return response

    def _receive_invite(self, exchange: Exchange, source: Address, now: float) -> None:
        request = exchange.request
        if self.retry_after is not None:
            response = request.reply(503, to_tag=self._token())
            response.headers.add("retry-after", str(self.retry_after))
            self._respond(exchange, response, now)
            return
        merge_key = (request.call_id, request.sender.tag or "", request.cseq[0])
        if merge_key in self._invites:  # section 8.2.2.2: it came by another way already
            self._respond(exchange, request.reply(482, to_tag=self._token()), now)
            return
        offer = self._read_offer(exchange, now)
        if isinstance(offer, int):
            return
        self._last_ref += 1
        call = Call(self._last_ref, CallState.INCOMING, self._token(), source)
        call.dialog = Dialog.as_server(request, call.tag)
        call.invite, exchange.call = exchange, call
        call.merge_key = merge_key
        self._invites.add(merge_key)
        self._calls[call.ref] = call
        self._dialogs[call.dialog.key] = call
        self._respond(exchange, request.reply(100), now)
        self._events.append(InviteReceived(call.ref, request, offer, source))

    def _read_offer(self, exchange: Exchange, now: float) -> SessionDescription | int | None:
        """The description in an INVITE; a number when it was refused with that status."""
        request = exchange.request
        if not request.body.strip():
            return None
        kind = (request.headers.first("content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/sdp":
            response = request.reply(415, to_tag=self._token())
            response.headers.add("accept", "application/sdp")
            self._respond(exchange, response, now)
            return 415
        try:
            return parse_sdp(request.body)
        except BadSdpError:
            self._respond(exchange, request.reply(400, "Bad Session Description", to_tag=self._token()), now)
            return 400

    def _receive_cancel(self, exchange: Exchange, via: Via, now: float) -> None:
        target = self._exchanges.get(server_key(exchange.request, via, "INVITE"))
        if target is None:
            self._respond(exchange, exchange.request.reply(481, to_tag=self._token()), now)
            return
        call = target.call
        self._respond(exchange, exchange.request.reply(200, to_tag=call.tag if call else self._token()), now)
        if call is not None and target is call.invite and call.state is CallState.INCOMING:
            self._respond(target, target.request.reply(487, to_tag=call.tag), now)
            self._end(call, "cancel", 487, "Request Terminated")

    def _receive_ack(self, request: Request, call: Call | None, now: float) -> None:
        if call is None or call.answer is None:
            return
        call.answer = call.resend_at = call.give_up_at = None
        answer = read_answer(request)
        if call.state is CallState.UP and answer is not None:  # of a re-INVITE whose offer was ours
            self._events.append(OfferAnswered(call.ref, 200, answer))
        if call.state is not CallState.ANSWERED:
            return
        call.state = CallState.UP
        if call.bye_wanted:
            self._send_bye(call, now)
        else:
            self._events.append(CallConfirmed(call.ref, answer))

    def _receive_in_dialog(self, exchange: Exchange, now: float) -> None:
        request = exchange.request
        call = self._dialog_of(request)
        if call is None:
            self._respond(exchange, request.reply(481), now)
            return
        assert call.dialog is not None
        if request.method == "INVITE" and (call.reinvite is not None or call.answer is not None):
            response = request.reply(500)  # section 14.2: one at a time
            response.headers.add("retry-after", "2")
            self._respond(exchange, response, now)
            return
        if not call.dialog.take(request):
            self._respond(exchange, request.reply(500), now)
            return
        exchange.call = call
        if request.method == "BYE":
            self._receive_bye(call, exchange, now)
        elif request.method == "INVITE":
            self._receive_reinvite(call, exchange, now)
        elif request.method == "INFO":
            self._respond(exchange, request.reply(200), now)
            kind = (request.headers.first("content-type") or "").partition(";")[0].strip().lower()
            self._events.append(InfoReceived(call.ref, kind, request.body))
        elif request.method == "OPTIONS":
            self._respond(exchange, self._capabilities(request), now)
        else:
            self._respond(exchange, request.reply(403), now)

    def _receive_bye(self, call: Call, exchange: Exchange, now: float) -> None:
        self._respond(exchange, exchange.request.reply(200), now)
        if call.state is CallState.INCOMING:  # section 15.1.2: BYE of an early dialog
            assert call.invite is not None
            self._respond(call.invite, call.invite.request.reply(487, to_tag=call.tag), now)
        self._drop_reinvite(call, now)
        if call.state is CallState.ENDING:
            return
        self._end(call, "bye", 200, "BYE")

    def _receive_reinvite(self, call: Call, exchange: Exchange, now: float) -> None:
        if call.state is not CallState.UP:
            self._respond(exchange, exchange.request.reply(491), now)
            return
        offer = self._read_offer(exchange, now)
        if not isinstance(offer, int):
            call.reinvite = exchange
            self._respond(exchange, exchange.request.reply(100), now)
            self._events.append(OfferReceived(call.ref, offer))

    def _receive_register(self, exchange: Exchange, source: Address, now: float) -> None:
        request = exchange.request
        user = SipUri.parse(request.recipient.uri).user
        if user is None or user not in self.registrar.users:
            self._respond(exchange, request.reply(403, to_tag=self._token()), now)
            return
        password = self.registrar.users[user]
        if password is not None and not self._authenticated(exchange, user, password, source, now):
            return
        fronted = any(ip_address(source[0]) in network for network in self.config.fronts)
        try:
            bindings = self.registrar.register(user, request, source, now + self.registrar_ahead, fronted=fronted)
        except BadMessageError as error:
            self._respond(exchange, request.reply(400, f"Bad Request - {error}", to_tag=self._token()), now)
            return
        response = request.reply(200, to_tag=self._token())
        for binding in bindings:
            left = round(binding.expires_at - now - self.registrar_ahead)
            response.headers.add("contact", f"<{binding.contact}>;expires={left}")
        self._respond(exchange, response, now)
        if request.headers.all("contact"):  # without one it only asks
            self._events.append(PhoneRegistered(user))

    def _authenticated(self, exchange: Exchange, user: str, password: str, source: Address, now: float) -> bool:
        request = exchange.request
        given = request.headers.all("authorization")[:4]  # a phone answers a challenge once, or once for each realm
        verdicts = [
            self._guard.check(value, user=user, password=password, method=request.method, source=source[0], now=now)
            for value in given
        ]
        if "ok" in verdicts:
            return True
        response = request.reply(401, to_tag=self._token())
        for value in self._guard.challenges(now, stale="stale" in verdicts):
            response.headers.add("www-authenticate", value)
        self._respond(exchange, response, now)
        return False

    # --- responses in ------------------------------------------------------------------------------------------------

    def _receive_response(self, response: Response, now: float) -> None:
        via = response.via
        method = response.cseq[1]
        exchange = self._exchanges.get(("client", via.branch, method))
        if exchange is not None:
            actions = exchange.machine.feed(trigger_of(response.status), now=now)
            self._obey(exchange, actions, response, now)
            return
        # A 200 whose transaction is long over: its ACK was lost (section 13.2.2.4).
        call = self._dialogs.get((response.call_id, response.sender.tag or "", response.recipient.tag or ""))
        if call is not None and call.ack is not None and method == "INVITE" and 200 <= response.status < 300:
            self._out.append((call.ack, self._hop(call)))
        else:
            self.silent_drops += 1

    def _take_response(self, exchange: Exchange, response: Response, now: float) -> None:
        call, request = exchange.call, exchange.request
        if response.status in {401, 407} and self._retry(exchange, response, now):
            return
        if request.method == "REGISTER":
            if response.status >= 200:
                self._registered(response)
        elif call is None:
            return
        elif request.method == "INVITE" and exchange is call.invite:
            self._take_invite_response(call, response, now)
        elif request.method == "INVITE":
            self._take_reinvite_response(call, exchange, response, now)
        elif request.method == "BYE" and response.status >= 200:
            self._forget(call)

    def _registered(self, response: Response) -> None:
        contact = response.contact
        text = (contact.params.get("expires") if contact else None) or response.headers.first("expires") or "0"
        granted = whole_number(text) or 0
        self._events.append(RegisterAnswered(response.status, response.reason, granted if response.status < 300 else 0))

    def _take_invite_response(self, call: Call, response: Response, now: float) -> None:
        if response.status < 200:
            call.progressed = True
            if call.cancelled and call.state is CallState.OUTGOING:
                self._send_cancel(call, now)
            elif not call.cancelled:
                self._events.append(CallProgressed(call.ref, response.status, read_answer(response)))
        elif response.status < 300:
            self._take_invite_success(call, response, now)
        elif call.cancelled:
            self._forget(call)
        elif call.state is CallState.OUTGOING:
            self._end(call, str(response.status), response.status, response.reason)

    def _take_invite_success(self, call: Call, response: Response, now: float) -> None:
        assert call.invite is not None
        try:
            response.check_route()
        except BadMessageError as error:  # we could not even say goodbye to such a peer
            self._end(call, "500", 500, str(error))
            return
        dialog = Dialog.as_client(call.invite.request, response)
        if call.dialog is not None:
            if dialog.key == call.dialog.key:  # the same 200 again
                assert call.ack is not None
                self._out.append((call.ack, self._hop(call)))
            else:  # a second phone picked up (section 13.2.2.4): thank it and hang up
                self._send_ack(call, dialog, call.invite.request.cseq[0])
                self._send_request(dialog.request("BYE"), self._hop(call, dialog), now, None)
            return
        dialog.early = False
        call.dialog = dialog
        self._dialogs[dialog.key] = call
        call.state = CallState.UP
        call.give_up_at = None
        call.ack = self._send_ack(call, dialog, call.invite.request.cseq[0])
        if call.cancelled:  # section 9.1: it crossed our CANCEL
            self._send_bye(call, now)
            return
        answer = read_answer(response)
        if answer is None:
            self._send_bye(call, now)
            self._events.append(CallEnded(call.ref, "488", 488, "No session description in the answer"))
        else:
            self._events.append(CallAnswered(call.ref, answer))

    def _take_reinvite_response(self, call: Call, exchange: Exchange, response: Response, now: float) -> None:
        if response.status < 200:
            return
        assert call.dialog is not None
        if response.status < 300:
            call.dialog.refresh_target(response)
            call.ack = self._send_ack(call, call.dialog, exchange.request.cseq[0])
        self._events.append(OfferAnswered(call.ref, response.status, read_answer(response)))
        if response.status in {408, 481}:  # section 12.2.1.2: the dialog is gone
            self._send_bye(call, now)
            self._events.append(CallEnded(call.ref, str(response.status), response.status, response.reason))

    def _retry(self, exchange: Exchange, response: Response, now: float) -> bool:
        """Send a challenged request again with an answer; False when we cannot or did already."""
        request, call = exchange.request, exchange.call
        register = self._registration
        credentials = call.credentials if call else register[2] if register and request.method == "REGISTER" else None
        header = "www-authenticate" if response.status == 401 else "proxy-authenticate"
        carrier = "authorization" if response.status == 401 else "proxy-authorization"
        if credentials is None or carrier in request.headers:
            return False
        for value in response.headers.all(header):
            text = digest.answer(value, credentials, method=request.method, uri=request.uri, cnonce=self._token())
            if text is not None:
                break
        else:
            return False
        again = Request(request.method, request.uri, request.headers.copy(), request.body)
        number = request.cseq[0] + 1
        again.headers.replace("cseq", f"{number} {request.method}")
        again.headers.replace("via")
        again.headers.add(carrier, text)
        if request.method == "REGISTER":
            self._register_sequence = number
        elif call is not None and call.dialog is not None:
            call.dialog.local_sequence = number
        sent = self._send_request(again, exchange.destination, now, call)
        if call is not None and call.invite is exchange:
            call.invite = sent
        return True

    # --- machinery ---------------------------------------------------------------------------------------------------

    def _obey(self, exchange: Exchange, actions: Sequence[Action], message: Response | None, now: float) -> None:
        """Do what a machine asks for."""
        for action in actions:
            if action is Action.RESEND and exchange.datagram:
                self._out.append((exchange.datagram, exchange.destination))
            elif action is Action.SEND and message is not None:
                exchange.datagram = bytes(message)
                self._out.append((exchange.datagram, exchange.destination))
            elif action is Action.ACK and message is not None:
                self._out.append((bytes(ack_of(exchange.request, message)), exchange.destination))
            elif action is Action.PASS and message is not None:
                self._take_response(exchange, message, now)
            elif action is Action.TIMEOUT:
                self._timed_out(exchange, now)
        if exchange.machine.terminated:
            self._exchanges.pop(exchange.key, None)
        else:
            self._schedule(exchange)

    def _timed_out(self, exchange: Exchange, now: float) -> None:
        if exchange.machine.kind in {Kind.INVITE_CLIENT, Kind.NON_INVITE_CLIENT}:
            # Section 8.1.3.1: as if a 408 had come.
            self._take_response(exchange, exchange.request.reply(408), now)

    def _respond(self, exchange: Exchange, response: Response, now: float) -> None:
        response.headers.replace("server", self.config.user_agent)
        self._obey(exchange, exchange.machine.feed(f"send {trigger_of(response.status)}", now=now), response, now)

    def _send_request(self, request: Request, destination: Address, now: float, call: Call | None) -> Exchange:
        branch = MAGIC_COOKIE + self._token()
        via = f"SIP/2.0/UDP {self.config.host}:{self.config.port};branch={branch};rport"
        request.headers = Headers([("via", via), *request.headers])
        request.headers.replace("user-agent", self.config.user_agent)
        kind = Kind.INVITE_CLIENT if request.method == "INVITE" else Kind.NON_INVITE_CLIENT
        key = ("client", branch, request.method)
        exchange = Exchange(key, Transaction(kind, now=now, timers=self.config.timers), request, destination)
        exchange.call = call
        exchange.datagram = bytes(request)
        self._exchanges[key] = exchange
        self._schedule(exchange)
        self._out.append((exchange.datagram, destination))
        return exchange

    def _finish_invite(self, request: Request) -> None:
        request.headers.add("contact", f"<{self._contact_uri()}>")
        request.headers.add("allow", self._allow)
        request.headers.add("content-type", "application/sdp")

    def _dialog_response(self, request: Request, status: int, tag: str) -> Response:
        response = request.reply(status, to_tag=tag)
        for route in request.headers.all("record-route"):  # section 12.1.1: copied, in order
            response.headers.add("record-route", route)
        response.headers.add("contact", f"<{self._contact_uri()}>")
        return response

    def _send_answer(self, call: Call, exchange: Exchange, sdp: bytes, now: float) -> None:
        response = self._dialog_response(exchange.request, 200, call.tag)
        response.headers.add("allow", self._allow)
        response.headers.add("content-type", "application/sdp")
        response.body = sdp
        self._respond(exchange, response, now)
        call.answer, call.answer_to = exchange.datagram, exchange.destination
        call.interval = self.config.timers.t1
        call.resend_at = now + call.interval
        call.give_up_at = now + 64 * self.config.timers.t1
        self._schedule(call)

    def _wake_call(self, call: Call, now: float) -> None:
        if call.give_up_at is not None and call.give_up_at <= now:
            call.give_up_at = call.resend_at = call.answer = None
            if call.cancelled:  # section 9.1: the other end never answered our CANCEL
                assert call.invite is not None
                self._exchanges.pop(call.invite.key, None)
                self._forget(call)
                return
            # Section 13.3.1.4: nobody acknowledged our 200.
            self._send_bye(call, now)
            self._events.append(CallEnded(call.ref, "timeout", 408, "No ACK"))
            return
        if call.resend_at is not None and call.resend_at <= now and call.answer is not None:
            self._out.append((call.answer, call.answer_to))
            call.interval = min(2 * call.interval, self.config.timers.t2)
            call.resend_at = now + call.interval
        self._schedule(call)

    def _send_ack(self, call: Call, dialog: Dialog, sequence: int) -> bytes:
        """ACK a 200: a transaction of its own that is never answered (section 13.2.2.4)."""
        request = dialog.request("ACK", sequence=sequence)
        via = f"SIP/2.0/UDP {self.config.host}:{self.config.port};branch={MAGIC_COOKIE}{self._token()};rport"
        request.headers = Headers([("via", via), *request.headers])
        data = bytes(request)
        self._out.append((data, self._hop(call, dialog)))
        return data

    def _send_bye(self, call: Call, now: float) -> None:
        assert call.dialog is not None
        call.state = CallState.ENDING
        self._drop_reinvite(call, now)
        self._send_request(call.dialog.request("BYE"), self._hop(call), now, call)

    def _drop_reinvite(self, call: Call, now: float) -> None:
        if call.reinvite is not None:
            exchange, call.reinvite = call.reinvite, None
            self._respond(exchange, exchange.request.reply(487), now)

    def _send_cancel(self, call: Call, now: float) -> None:
        assert call.invite is not None
        call.state = CallState.ENDING
        invite = call.invite.request
        copied = {"from", "to", "call-id", "route"}
        headers = Headers([("via", invite.headers.first("via") or ""), ("max-forwards", "70")])
        for name, value in invite.headers:
            if name in copied:
                headers.add(name, value)
        headers.add("cseq", f"{invite.cseq[0]} CANCEL")
        request = Request("CANCEL", invite.uri, headers)
        key = ("client", invite.via.branch, "CANCEL")  # section 9.1: the branch of the INVITE
        machine = Transaction(Kind.NON_INVITE_CLIENT, now=now, timers=self.config.timers)
        exchange = Exchange(key, machine, request, call.invite.destination)
        exchange.datagram = bytes(request)
        self._exchanges[key] = exchange
        self._schedule(exchange)
        self._out.append((exchange.datagram, exchange.destination))
        call.give_up_at = now + 64 * self.config.timers.t1
        self._schedule(call)

    def _hop(self, call: Call, dialog: Dialog | None = None) -> Address:
        """Where the next request of a dialog goes: route or target when numeric, unless a NAT hides the peer's Contact."""
        dialog = dialog or call.dialog
        assert dialog is not None
        where = numeric_address(dialog.next_hop())
        if where is None or (not dialog.route_set and (call.pinned or self._translated(call, where))):
            return call.peer
        return where

    @staticmethod
    def _translated(call: Call, target: Address) -> bool:
        """Whether a caller's Contact and Via show the same address and its packets come from another one."""
        if call.invite is None or call.invite.machine.kind is Kind.INVITE_CLIENT:
            return False
        via = call.invite.request.via
        return via.params.get("received", via.host) != via.host == target[0]

    def _end(self, call: Call, cause: str, status: int, reason: str) -> None:
        self._forget(call)
        self._events.append(CallEnded(call.ref, cause, status, reason))

    def _forget(self, call: Call) -> None:
        self._calls.pop(call.ref, None)
        call.resend_at = call.give_up_at = None
        if call.merge_key is not None:
            self._invites.discard(call.merge_key)
        if call.dialog is not None:
            self._dialogs.pop(call.dialog.key, None)

    def _schedule(self, owner: Exchange | Call) -> None:
        at = owner.wake_at
        if at is not None and at != owner.scheduled_at:  # or every repeated request would leave an entry for half a minute
            owner.scheduled_at = at
            self._counter += 1
            heapq.heappush(self._heap, (at, self._counter, owner))

    def _contact_uri(self) -> str:
        user = f"{self.config.user}@" if self.config.user else ""
        return f"sip:{user}{self.config.host}:{self.config.port}"

    def _token(self, bits: int = 64) -> str:
        return f"{self._random(bits):0{bits // 4}x}"
