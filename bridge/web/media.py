"""Media over HTTP, in whole or in part, never as a page that could do something; and the signed addresses of them."""

import re
from collections.abc import Callable
from http import HTTPStatus

import structlog
from aiohttp import web

from bridge.media_links import MediaLinks
from bridge.media_store import ENDINGS, SHOWN, BlobGoneError, BlobsUnavailableError, Kept, MediaStore, Missing
from bridge.web.upload_words import WORDS, Words

log = structlog.get_logger(__name__)

_HEADERS = {"X-Content-Type-Options": "nosniff", "Accept-Ranges": "bytes"}
# A browser shows a video in a small page of its own making, which has to be of the same origin as the video to play it.
_POLICY_SHOWN = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_POLICY_SAVED = "sandbox; default-src 'none'"
_SHARED = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow, noarchive"}
_STATUS: dict[Missing, int] = {
    "checking": HTTPStatus.SERVICE_UNAVAILABLE,
    "infected": HTTPStatus.GONE,
    "gone": HTTPStatus.GONE,
}
_LANGUAGE = re.compile(r"\s*([a-z]{2})\b", re.IGNORECASE)


async def send_media(request: web.Request, store: MediaStore, kept: Kept, *, headers: dict[str, str]) -> web.StreamResponse:
    """Answer with *kept*, or with the range of it that was asked for (RFC 9110 section 14). *headers*: for caches and the like.

    What a browser can show is shown, everything else is saved, under a name that tells nothing.
    """
    ending = "webp" if kept.content_type == "image/webp" else ENDINGS[kept.content_type]
    shown = kept.content_type in SHOWN
    headers = {
        **_HEADERS,
        **headers,
        "Content-Type": kept.content_type,
        "Content-Security-Policy": _POLICY_SHOWN if shown else _POLICY_SAVED,
        "Content-Disposition": f'{"inline" if shown else "attachment"}; filename="{kept.digest[:8]}.{ending}"',
    }
    try:
        start, end = _range(request, kept.size)
    except ValueError:
        headers["Content-Range"] = f"bytes */{kept.size}"
        return web.Response(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=headers)
    response = web.StreamResponse(headers=headers)
    response.content_length = end - start
    if (start, end) != (0, kept.size):
        response.set_status(HTTPStatus.PARTIAL_CONTENT)
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{kept.size}"
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    pieces = store.read(kept, start, end)
    try:
        async for piece in pieces:
            if not response.prepared:
                await response.prepare(request)
            await response.write(piece)
    except BlobGoneError:
        return web.Response(status=HTTPStatus.GONE)
    except ConnectionError:  # a player that has seen enough
        return response
    if not response.prepared:
        await response.prepare(request)
    return response


def _range(request: web.Request, size: int) -> tuple[int, int]:
    """From where up to where; the whole when no range was asked for, or in a way we do not know.

    Raises:
        ValueError: nothing of the file lies in the range.
    """
    try:
        asked = request.http_range
    except ValueError:
        return 0, size
    if asked.start is None and asked.stop is None:
        return 0, size
    start, end, _ = asked.indices(size)
    if start >= end:
        raise ValueError("beyond the end")
    return start, end


class SharedMediaPages:
    """Signed addresses of media, for whoever has them: a customer's telephone, a provider that sends an MMS.

    Args:
        links: Reads the addresses.
        store: Has the files.
        now: The clock that addresses go by.
    """

    def __init__(self, links: MediaLinks, store: MediaStore, *, now: Callable[[], float]) -> None:
        self._links = links
        self._store = store
        self._now = now

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application, before the desk's `/media/{digest}`: an address is never as long as a digest."""
        return [web.get(r"/media/{token:[A-Za-z0-9_-]{44}(?:\.[a-z0-9]{2,4})?}", self._show)]

    async def _show(self, request: web.Request) -> web.StreamResponse:
        shared = self._links.read(request.match_info["token"], now=self._now())
        words = _words(request)
        if shared is None:
            return _plain(HTTPStatus.NOT_FOUND, words.media_over)
        if shared.over:
            return _plain(HTTPStatus.GONE, words.media_over)
        try:
            kept = await self._store.find(shared.digest, shared.variant)
            if isinstance(kept, Kept):
                return await send_media(request, self._store, kept, headers=_SHARED)
        except BlobsUnavailableError as error:
            log.warning("media.not_read", reason=str(error))
            return _plain(HTTPStatus.SERVICE_UNAVAILABLE, words.failed)
        return _plain(_STATUS[kept], words.media_checking if kept == "checking" else words.media_over)


def _plain(status: int, message: str) -> web.Response:
    headers = dict(_SHARED)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "60"
    return web.Response(status=status, text=message, headers=headers)


def _words(request: web.Request) -> Words:
    """In the first language the browser names that we know; nothing else tells who follows a link in a text."""
    for named in request.headers.get("Accept-Language", "").split(","):
        match = _LANGUAGE.match(named)
        if match is not None and match[1].lower() in WORDS:
            return WORDS[match[1].lower()]
    return WORDS["en"]
