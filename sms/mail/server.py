"""The socket side of mail: SMTP and LMTP by aiosmtpd, made strict.

Whatever is not for one of our own addresses is refused at RCPT, before a byte of it is taken. Who is neither signed in nor
the mail system in front cannot even begin.
"""

import asyncio
import hmac
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import msgspec
import structlog
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from sms.mail.addresses import Recipient, path_argument, recipient, same
from sms.mail.reading import MOST_BYTES, MailRefusedError

log = structlog.get_logger()

IN_FRONT = ("127.0.0.0/8", "::1/128")
PATIENCE = 120.0
"""Seconds for one command, or for one mail with all its data."""
MOST_COMMANDS = 100
"""Of one kind in one connection."""
MOST_SIGN_INS = 3
MOST_CONNECTIONS = 50
MOST_RECIPIENTS = 20
LONGEST_REPLY = 400
"""Characters. RFC 5321 section 4.5.3.1.5 allows 512 octets a line."""
_SIGN_IN_PAUSE = 1.0


class Delivery(msgspec.Struct, frozen=True):
    """A mail for one of our addresses."""

    to: Recipient
    mail_from: str
    """The envelope's sender; empty for the null sender."""
    signed_in: str | None
    """The user, when the connection was signed in; their word for who they are needs no other proof."""
    content: bytes


class Postbox(Protocol):
    """Where mails go."""

    async def deliver(self, delivery: Delivery) -> str:
        """Do what the mail is for, and return what to say to that, once it is committed.

        Raises:
            MailRefusedError: nothing was done; the words go back to the sender.
        """


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how to listen.

    Users need a certificate: passwords are only taken when nobody can listen in (RFC 4954 section 4).
    """

    host: str = "127.0.0.1"
    port: int = 0
    """0: any free one."""
    protocol: Literal["smtp", "lmtp"] = "lmtp"
    domain: str
    in_front: tuple[str, ...] = IN_FRONT
    """Networks of the mail system in front, which need not sign in."""
    users: Mapping[str, str] = {}
    """Address to password."""
    tls: ssl.SSLContext | None = None


class MailServer:
    """Listens while it is open."""

    def __init__(self, listen: Listen, postbox: Postbox) -> None:
        if bool(listen.users) != (listen.tls is not None):
            raise ValueError("users who sign in and a certificate go together")
        self._listen = listen
        self._postbox = postbox
        self._server: asyncio.Server | None = None
        self._connections: set[_Strict] = set()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, self._listen.host, self._listen.port)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop listening and end connections; a mail that was not answered is sent again by whoever sent it."""
        assert self._server is not None
        self._server.close()
        ending = [connection.end() for connection in list(self._connections)]
        await asyncio.gather(*ending, return_exceptions=True)
        await self._server.wait_closed()

    def _connection(self) -> SMTP:
        kind = _StrictLmtp if self._listen.protocol == "lmtp" else _StrictSmtp
        return kind(self._listen, self._postbox, self._connections)


class _Strict(SMTP):
    """What both protocols have in common."""

    def __init__(self, listen: Listen, postbox: Postbox, connections: set["_Strict"]) -> None:
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(network) for network in listen.in_front]
        self._users = listen.users
        self._connections = connections
        super().__init__(
            _Handler(listen, postbox),
            data_size_limit=MOST_BYTES,
            hostname=listen.domain,
            ident="ready",
            tls_context=listen.tls,
            timeout=PATIENCE,
            command_call_limit={"*": MOST_COMMANDS, "AUTH": MOST_SIGN_INS},
            loop=asyncio.get_running_loop(),
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if len(self._connections) >= MOST_CONNECTIONS and self not in self._connections:
            assert isinstance(transport, asyncio.WriteTransport)
            transport.write(b"421 4.3.2 Too many connections, try again later\r\n")
        self._connections.add(self)
        super().connection_made(transport)
        if len(self._connections) > MOST_CONNECTIONS:
            transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        super().connection_lost(error)

    async def end(self) -> None:
        """End the connection."""
        task = self._handler_coroutine
        if self.transport is not None:
            self.transport.close()
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def _peer(self) -> str:
        """The peer's address."""
        assert self.session is not None
        assert self.session.peer is not None
        return str(self.session.peer[0])

    def _welcome(self) -> bool:
        """Whether this peer may hand mail over: the system in front, and whoever has signed in."""
        assert self.session is not None
        if self.session.authenticated:
            return True
        address = ip_address(self._peer().partition("%")[0])  # without the zone of a link-local address
        return any(address in network for network in self._networks)

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802  aiosmtpd's name
        if not self._welcome():
            await self.push("530 5.7.0 Authentication required")
        elif path_argument(arg) is None or not (arg or "").upper().startswith("FROM:"):
            await self.push("553 5.1.7 MAIL FROM:<address>, and nothing more clever than that")
        else:
            await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        if not path_argument(arg) or not (arg or "").upper().startswith("TO:"):
            await self.push("553 5.1.3 RCPT TO:<address>, and nothing more clever than that")
        else:
            await super().smtp_RCPT(arg)

    async def smtp_VRFY(self, arg: str | None) -> None:  # noqa: ARG002, N802
        await self.push("252 2.1.5 Nobody is told who is here")

    async def smtp_HELP(self, arg: str | None) -> None:  # noqa: ARG002, N802
        await self.push("214 2.0.0 RFC 5321")

    async def auth_PLAIN(self, _: Any, args: Sequence[str]) -> AuthResult:  # noqa: N802
        return await self._slowly(await super().auth_PLAIN(_, list(args)))

    async def auth_LOGIN(self, _: Any, args: Sequence[str]) -> AuthResult:  # noqa: N802
        return await self._slowly(await super().auth_LOGIN(_, list(args)))

    async def _slowly(self, result: AuthResult) -> AuthResult:
        if not result.success:
            log.warning("mail.sign_in_failed", peer=self._peer())
            await asyncio.sleep(_SIGN_IN_PAUSE)
        return result

    def _authenticate(self, mechanism: str, auth_data: Any) -> AuthResult:  # noqa: ARG002
        assert isinstance(auth_data, LoginPassword)
        login, password = (bytes(part).decode("utf-8", "replace") for part in auth_data)
        wanted = next((kept for user, kept in self._users.items() if same(user, login)), None)
        right = hmac.compare_digest(password.encode(), (wanted or "").encode())
        # Not `handled`: whoever is refused has to be told.
        return AuthResult(success=right and wanted is not None, handled=False, auth_data=login.casefold())

    async def handle_exception(self, error: Exception) -> str:
        log.error("mail.failed", exc_info=error)
        return "451 4.3.0 An error of ours; try again later"


class _StrictSmtp(_Strict):
    """SMTP (RFC 5321)."""


class _StrictLmtp(_Strict, LMTP):
    """LMTP (RFC 2033)."""


class _Handler:
    def __init__(self, listen: Listen, postbox: Postbox) -> None:
        self._domain = listen.domain
        self._each = listen.protocol == "lmtp"
        self._postbox = postbox

    async def handle_MAIL(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Remember the sender; `<>` is the null sender."""
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take our own addresses and nothing else: this is no relay."""
        if recipient(address, domain=self._domain) is None:
            return "550 5.1.1 There is no such address here, and nothing is passed on"
        # An SMTP mail has one answer for all its recipients, so it may have only one whose answer that is. The others are
        # sent again by themselves (RFC 5321 section 4.5.3.1.10).
        if len(envelope.rcpt_tos) >= (MOST_RECIPIENTS if self._each else 1):
            return "452 4.5.3 Too many recipients, send the others by themselves"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Deliver, and answer for each recipient (LMTP: RFC 2033 section 4.2) or for the only one."""
        signed_in = str(session.auth_data) if session.authenticated else None
        answers = [await self._deliver(address, envelope, signed_in) for address in envelope.rcpt_tos]
        return "\r\n".join(answers)

    async def _deliver(self, address: str, envelope: Envelope, signed_in: str | None) -> str:
        to = recipient(address, domain=self._domain)
        content = envelope.original_content
        assert to is not None
        assert content is not None
        mail_from = (envelope.mail_from or "").strip("<>")
        try:
            words = await self._postbox.deliver(Delivery(to, mail_from, signed_in, content))
        except MailRefusedError as refusal:
            return _line(f"{refusal.code} {refusal.status} {refusal}")
        except Exception:  # whatever it is, the mail has to be kept by whoever has it
            log.exception("mail.failed")
            return "451 4.3.0 An error of ours; try again later"
        return _line(f"250 2.0.0 {words}")


def _line(text: str) -> str:
    """*text* as one line of a reply, which is ASCII."""
    return " ".join(text.encode("ascii", "replace").decode("ascii").split())[:LONGEST_REPLY]
