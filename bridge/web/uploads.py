"""The page behind an upload link: made for a telephone in a hurry, works without JavaScript, says what went wrong."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from bridge.media_store import BlobsUnavailableError
from bridge.uploads import MOST_FILES, LinkRefusedError, OpenLink, Outcome, Problem, Submission, Uploads
from bridge.web.console.views import render
from bridge.web.upload_words import WORDS, Words

log = structlog.get_logger(__name__)

IDLE = 60.0
"""Seconds without a byte after which nobody is believed to be sending any more."""
PATIENCE = 900.0
"""Seconds for a whole submission."""
MOST_TOGETHER = 5
"""Times the size of the largest file that one submission may have in all."""
MOST_PARTS = 50
"""Of a form. Ten files are taken, more are read and named as too many; nobody's telephone sends hundreds."""
_CHUNK = 64 * 1024
_STATUS: dict[Problem, int] = {
    "unknown": HTTPStatus.NOT_FOUND,
    "used": HTTPStatus.GONE,
    "expired": HTTPStatus.GONE,
    "busy": HTTPStatus.SERVICE_UNAVAILABLE,
    "too_often": HTTPStatus.TOO_MANY_REQUESTS,
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address is the secret
    "X-Robots-Tag": "noindex, nofollow, noarchive",
}
_FOR_SCRIPTS = ("remove", "sending", "checking", "lost", "again", "cancel", "nothing", "leave", "failed", "slow")


class UploadPages:
    """Everything under `/u/`.

    Args:
        uploads: Knows the links and takes the files.
        brand: Who asks for files, in words the customer knows.
        now: The clock that links go by.
    """

    def __init__(self, uploads: Uploads, *, brand: str, now: Callable[[], float]) -> None:
        self._uploads = uploads
        self._brand = brand
        self._now = now

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [web.get("/u/{name}", self._show), web.post("/u/{name}", self._receive)]

    async def _show(self, request: web.Request) -> web.Response:
        try:
            link = await self._uploads.look(request.match_info["name"], now=self._now())
        except LinkRefusedError as error:
            return self._sorry(request, error.problem)
        return self._page(request, self._words(request), link)

    async def _receive(self, request: web.Request) -> web.Response:
        words = self._words(request)
        try:
            link = await self._uploads.look(request.match_info["name"], now=self._now())
            if request.content_type != "multipart/form-data":
                return self._answer(request, words, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, words.failed, link)
            if (request.content_length or 0) > self._uploads.max_bytes * MOST_TOGETHER:
                too_large = f"{words.refused} {words.reasons['too_large']}. {self._limits(words)}"
                return self._answer(request, words, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_large, link)
            async with self._uploads.submission(link) as submission, asyncio.timeout(PATIENCE) as hurry:
                await self._read(request, submission)
                hurry.reschedule(None)  # from here on it is our time
                outcome = await submission.finish()
        except LinkRefusedError as error:
            return self._sorry(request, error.problem)
        except TimeoutError:
            return self._answer(request, words, HTTPStatus.REQUEST_TIMEOUT, words.slow, link)
        except (ValueError, web.RequestPayloadError, HttpProcessingError):  # no form that a browser makes, or one that broke off
            return self._answer(request, words, HTTPStatus.BAD_REQUEST, words.failed, link)
        except BlobsUnavailableError as error:
            log.warning("upload.not_kept", reason=str(error))
            return self._answer(request, words, HTTPStatus.SERVICE_UNAVAILABLE, words.failed, link)
        return self._came(request, words, link, outcome)

    async def _read(self, request: web.Request, submission: Submission) -> None:
        """Every part of the form that is a file.

        Raises:
            ValueError: it is not such a form.
            TimeoutError: nothing came for too long.
        """
        left = self._uploads.max_bytes * MOST_TOGETHER
        parts = await request.multipart()
        for _ in range(MOST_PARTS):
            async with asyncio.timeout(IDLE):
                part = await parts.next()
            if part is None:
                return
            if not isinstance(part, BodyPartReader):
                raise ValueError("a form within a form")  # noqa: TRY004  # the form is wrong, not the program
            left = await self._read_part(part, submission, left)
        raise ValueError("too many parts")

    async def _read_part(self, part: BodyPartReader, submission: Submission, left: int) -> int:
        async def chunks() -> AsyncIterator[bytes]:
            nonlocal left
            while True:
                async with asyncio.timeout(IDLE):
                    chunk = await part.read_chunk(_CHUNK)
                if not chunk:
                    return
                left -= len(chunk)
                if left < 0:
                    raise ValueError("more than was said")
                yield chunk

        await submission.add(part.filename or "", chunks())
        return left

    def _came(self, request: web.Request, words: Words, link: OpenLink, outcome: Outcome) -> web.Response:
        """All files are in, or none of them was fit to be."""
        refused = [{"name": item.name, "reason": words.reasons[item.reason]} for item in outcome.refused]
        if outcome.taken:
            return self._answer(request, words, HTTPStatus.OK, words.done_some if refused else words.done, refused=refused)
        message = words.refused if refused else words.nothing
        return self._answer(request, words, HTTPStatus.UNPROCESSABLE_ENTITY, message, link, refused=refused)

    def _sorry(self, request: web.Request, problem: Problem) -> web.Response:
        words = self._words(request)
        return self._answer(request, words, _STATUS[problem], words.problems[problem], problem=problem)

    def _answer(
        self,
        request: web.Request,
        words: Words,
        status: int,
        message: str,
        link: OpenLink | None = None,
        *,
        problem: Problem | None = None,
        refused: list[dict[str, str]] | None = None,
    ) -> web.Response:
        """In JSON for the script of the page, as a page for everybody else. With *link* the customer can try again."""
        if request.headers.get("Accept", "").startswith("application/json"):
            told = {"done": status == HTTPStatus.OK, "problem": problem, "message": message, "refused": refused or []}
            return web.json_response(
                told, status=status, headers=_headers(status), dumps=lambda told: msgspec.json.encode(told).decode()
            )
        return self._page(request, words, link, status=status, message=message, refused=refused or [])

    def _page(
        self,
        request: web.Request,
        words: Words,
        link: OpenLink | None,
        *,
        status: int = HTTPStatus.OK,
        message: str = "",
        refused: list[dict[str, str]] | None = None,
    ) -> web.Response:
        context: dict[str, Any] = {
            "words": words,
            "language": next(code for code, known in WORDS.items() if known is words),
            "brand": self._brand,
            "open": link is not None,
            "done": status == HTTPStatus.OK and link is None,
            "message": message,
            "refused": refused or [],
            "limits": self._limits(words),
            "minutes": 0 if link is None else max(1, math.ceil((link.expires_at - link.looked_at) / 60)),
            "max_bytes": self._uploads.max_bytes,
            "max_together": self._uploads.max_bytes * MOST_TOGETHER,
            "max_files": MOST_FILES,
            "script_words": {name: getattr(words, name) for name in _FOR_SCRIPTS}
            | {"too_large": words.reasons["too_large"], "type": words.reasons["type"], "too_many": words.reasons["too_many"]},
        }
        text = render("upload.html", request, **context)
        return web.Response(text=text, status=status, content_type="text/html", headers=_headers(status))

    def _limits(self, words: Words) -> str:
        return words.limits.format(files=MOST_FILES, size=self._uploads.max_bytes // 1_000_000)

    def _words(self, request: web.Request) -> Words:
        """In the language of the link, which is that of the conversation."""
        return WORDS.get(request.match_info["name"][-2:], WORDS["en"])


def _headers(status: int) -> dict[str, str]:
    return _HEADERS | ({"Retry-After": "5"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {})
