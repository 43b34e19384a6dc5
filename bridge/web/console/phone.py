"""The engineer's phone: a handset in a page, on the loopback providers. One websocket carries its keys, ears and texts.

Closing the page is leaving the network: its call ends.
"""

import asyncio
import base64
import binascii
import contextlib
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, TypeAlias
from urllib.parse import urlsplit

import msgspec
import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from bridge.events import LegId
from bridge.telephony.loopback import Connected, Ended, Hears, LoopbackCallProvider, Music, Playing, Ringing, UnknownCallError
from bridge.web.console.views import page
from bridge.web.console.words import language_of, speak
from bridge.web.http import STORED_MEDIA_HEADERS, from_here, same_origin
from bridge.web.metrics import WebMetrics
from bridge.web.ports import LONGEST_TEXT
from sms.providers.loopback import HandsetText, LoopbackNetwork

log = structlog.get_logger(__name__)

LARGEST_PICTURE = 5 * 1024 * 1024
"""Bytes, before base64."""
_Number: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[+*#0-9]{0,20}$")]

_SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


_SHOWN = (".jpg", ".jpeg", ".png", ".gif", ".webp")
"""Endings of what a browser shows as a picture."""


class PhoneLine(msgspec.Struct, frozen=True, kw_only=True):
    """What the phone page is plugged into."""

    calls: LoopbackCallProvider
    texts: LoopbackNetwork | None
    """None: texts go through another provider, and the page says so."""
    sms_provider: str
    """Its name, for that sentence."""
    my_number: str
    """The handset's number at first, E.164."""
    our_numbers: tuple[str, ...]
    """Numbers that can be dialled; the first stands on the display."""


class Dial(msgspec.Struct, frozen=True, tag_field="do", tag="dial"):
    """Place a call."""

    caller: _Number | None
    called: _Number


class Press(msgspec.Struct, frozen=True, tag_field="do", tag="press"):
    """Press a key."""

    digit: str


class HangUpCall(msgspec.Struct, frozen=True, tag_field="do", tag="hang_up"):
    """End the call."""


class Attachment(msgspec.Struct, frozen=True):
    """A picture, in base64."""

    name: str
    type: str
    data: str


class WriteText(msgspec.Struct, frozen=True, tag_field="do", tag="text"):
    """Send a text."""

    sender: _Number
    to: _Number
    body: Annotated[str, msgspec.Meta(max_length=LONGEST_TEXT)]
    picture: Attachment | None = None


class ShowThread(msgspec.Struct, frozen=True, tag_field="do", tag="thread"):
    """Show the texts of this number from now on."""

    number: _Number


class PlugIn(msgspec.Struct, frozen=True, tag_field="do", tag="plug_in"):
    """This number can be called here from now on."""

    number: _Number


class AnswerCall(msgspec.Struct, frozen=True, tag_field="do", tag="answer"):
    """Pick up what rings."""


_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
FromPage: TypeAlias = Dial | Press | HangUpCall | PlugIn | AnswerCall | WriteText | ShowThread
BUSY_HERE = 486
"""RFC 3261 section 21.4.24."""


class PhonePages:
    """`/phone`, its websocket and the pictures in its thread.

    Nobody signs in here, and who gets in can call and text in anybody's name; so other machines find nothing, unless they
    are invited by *for_everybody*.
    """

    def __init__(self, line: PhoneLine, metrics: WebMetrics, *, public_url: str | None, for_everybody: bool) -> None:
        self._line = line
        self._metrics = metrics
        self._public_url = public_url
        self._for_everybody = for_everybody
        self._sockets: weakref.WeakSet[web.WebSocketResponse] = weakref.WeakSet()

    def routes(self) -> list[web.RouteDef]:
        """All routes of the phone."""
        return [
            web.get("/phone", self._guarded(self._page)),
            web.get("/phone/ws", self._guarded(self._socket)),
            web.get("/phone/media/{name:.+}", self._guarded(self._media)),
        ]

    async def close_sockets(self, _app: web.Application) -> None:
        """End every phone's connection; pages try again by themselves."""
        for socket in set(self._sockets):
            await socket.close(code=WSCloseCode.SERVICE_RESTART)

    def _guarded(self, handler: _Handler) -> _Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if not (self._for_everybody or from_here(request)):
                raise web.HTTPNotFound
            return await handler(request)

        return guarded

    async def _page(self, request: web.Request) -> web.StreamResponse:
        speak(language_of(request))
        return page("phone.html", request, line=self._line)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if not same_origin(request, self._public_url):
            raise web.HTTPForbidden
        socket = web.WebSocketResponse(heartbeat=20.0, compress=False, max_msg_size=2 * LARGEST_PICTURE)
        await socket.prepare(request)
        self._sockets.add(socket)
        gauge = self._metrics.websockets.labels("phone")
        gauge.inc()
        handset = _Handset(self._line, socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await handset.obey(message.data)
        finally:
            gauge.dec()
            self._sockets.discard(socket)
            await handset.leave()
        return socket

    async def _media(self, request: web.Request) -> web.StreamResponse:
        data = self._line.texts.media(f"loopback:{request.match_info['name']}") if self._line.texts is not None else None
        if data is None:
            return web.Response(status=404)
        kind = next((kind for start, kind in _SIGNATURES if data.startswith(start)), "application/octet-stream")
        return web.Response(body=data, content_type=kind, headers=STORED_MEDIA_HEADERS)


class _Handset:
    """The far end of one page's websocket."""

    def __init__(self, line: PhoneLine, socket: web.WebSocketResponse) -> None:
        self._line = line
        self._socket = socket
        self._leg: LegId | None = None
        self._ears: asyncio.Task[None] | None = None
        self._thread: asyncio.Task[None] | None = None
        self._bell: asyncio.Task[None] | None = None
        self._ringing: LegId | None = None

    async def obey(self, raw: str) -> None:  # noqa: C901  # flat
        """Do what the page asks; what cannot be done comes back as words."""
        try:
            asked: FromPage = msgspec.json.decode(raw, type=FromPage)
        except msgspec.MsgspecError as error:
            await self._say("problem", words=f"The page sent something unreadable: {error}")
            return
        try:
            match asked:
                case Dial():
                    await self._dial(asked)
                case Press() if self._leg is not None:
                    await self._line.calls.press(self._leg, asked.digit)
                case PlugIn():
                    await _stop(self._bell)
                    self._bell = _background(self._wait_for_rings(asked.number), "bell of the phone page")
                case AnswerCall() if self._ringing is not None:
                    self._leg, self._ringing = self._ringing, None
                    await self._line.calls.answer(self._leg)
                case HangUpCall() if self._ringing is not None:
                    await self._line.calls.refuse(self._ringing)
                case HangUpCall() if self._leg is not None:
                    await self._line.calls.hang_up(self._leg)
                case ShowThread():
                    await self._show_thread(asked.number)
                case WriteText():
                    await self._write(asked)
                case Press() | HangUpCall() | AnswerCall():
                    pass  # the call ended while the finger was on its way
        except UnknownCallError:
            pass  # as above
        except (ValueError, ConnectionError) as error:
            await self._say("problem", words=str(error))

    async def leave(self) -> None:
        """The page has gone: hang up and stop listening."""
        if self._leg is not None:
            await self._line.calls.hang_up(self._leg)
        if self._ringing is not None:
            await self._line.calls.refuse(self._ringing)
        await _stop(self._bell)
        await _stop(self._ears)
        await _stop(self._thread)

    async def _dial(self, asked: Dial) -> None:
        if self._leg is not None:
            await self._line.calls.hang_up(self._leg)
        await _stop(self._ears)
        self._leg = await self._line.calls.dial(asked.caller, asked.called)
        self._ears = _background(self._listen(self._leg), "ears of the phone page")

    async def _wait_for_rings(self, number: str) -> None:
        with self._line.calls.handset(number) as rings:
            while True:
                ring = await rings.get()
                if self._ringing is not None or self._leg is not None:
                    await self._line.calls.refuse(ring.leg, BUSY_HERE)
                    continue
                self._ringing = ring.leg
                await self._say("rings", sender=ring.sender)
                self._ears = _background(self._listen_to_ring(ring.leg), "ears of the phone page")

    async def _listen_to_ring(self, leg: LegId) -> None:
        async with self._line.calls.listen(leg, from_start=False) as hears:
            async for each in hears:
                if isinstance(each, Ended):
                    self._over(leg)
                if not isinstance(each, Ringing):
                    await self._say("hears", **_audible(each))

    def _over(self, leg: LegId) -> None:
        """The call is over: another one may come."""
        if self._ringing == leg:
            self._ringing = None
        if self._leg == leg:
            self._leg = None

    async def _listen(self, leg: LegId) -> None:
        async with self._line.calls.listen(leg) as hears:
            async for each in hears:
                if isinstance(each, Ended):
                    self._over(leg)
                await self._say("hears", **_audible(each))

    async def _show_thread(self, number: str) -> None:
        await _stop(self._thread)
        if self._line.texts is not None:
            self._thread = _background(self._follow(self._line.texts, number), "thread of the phone page")

    async def _follow(self, network: LoopbackNetwork, number: str) -> None:
        async for text in network.handset(number).watch():
            await self._say("text", **_bubble(text))

    async def _write(self, asked: WriteText) -> None:
        if self._line.texts is None:
            raise ConnectionError(f"Texts go through {self._line.sms_provider}, not through this page.")
        pictures = []
        if asked.picture is not None:
            try:
                data = base64.b64decode(asked.picture.data, validate=True)
            except binascii.Error as error:
                raise ValueError("The picture did not arrive whole.") from error
            if len(data) > LARGEST_PICTURE:
                raise ValueError(f"A picture has at most {LARGEST_PICTURE // 1024 // 1024} MB.")
            pictures = [(asked.picture.name.replace("/", "_"), data, asked.picture.type)]
        if not asked.to:
            raise ValueError("There is no number to write to.")
        if not asked.body.strip() and not pictures:
            raise ValueError("There is nothing to send yet.")
        await self._line.texts.handset(asked.sender).text(asked.to, asked.body, pictures)

    async def _say(self, kind: str, **fields: Any) -> None:
        with contextlib.suppress(ConnectionError):  # the page has just gone; `leave` follows
            await self._socket.send_json({"kind": kind, **fields})


def _audible(hears: Hears) -> dict[str, Any]:
    """What the page is told, with addresses it can play."""
    told: dict[str, Any] = {"what": type(hears).__name__.lower()}
    match hears:
        case Playing():
            told |= {"audio": [f"/prompts/{path}" for path in hears.audio], "words": hears.words}
        case Music():
            told |= {"audio": [f"/prompts/{hears.audio}"], "offset": hears.offset}
        case Connected():
            scheme, _, name = hears.agent.partition(":")
            told |= {
                "agent": name if scheme == "loopback" else "an agent",
                "audio": [f"/prompts/{hears.greeting}"] if hears.greeting else [],
            }
        case Ended():
            told |= {"by": hears.by, "cause": hears.cause}
        case _:
            pass
    return told


def _bubble(text: HandsetText) -> dict[str, Any]:
    """A text as the page shows it: pictures as pictures, every other file as an address to open."""
    addresses = [_reachable(each.url) for each in text.media]
    pictures = [
        each for each in addresses if each.startswith("/phone/") or (each.startswith("/media/") and each.endswith(_SHOWN))
    ]
    return {
        "direction": text.direction,
        "other": text.sender if text.direction == "received" else text.recipient,
        "body": text.body,
        "at": text.at,
        "pictures": pictures,
        "files": [each for each in addresses if each not in pictures],
    }


def _reachable(url: str) -> str:
    """The address of a file for this page: what this server keeps is here whatever name the server has for itself."""
    if url.startswith("loopback:"):
        return "/phone/media/" + url.removeprefix("loopback:")
    path = urlsplit(url).path
    return path if path.startswith("/media/") else url


def _background(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_log_failure)
    return task


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("phone.failed", task=task.get_name(), exc_info=error)


async def _stop(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.wait({task})
