"""The API itself: lets a request in, reads it, has it done once, and writes the answer."""

import hashlib
import re
from collections.abc import Awaitable, Callable
from functools import cached_property
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from aiohttp import web
from pydantic import ValidationError

from bridge.channel import ChannelRefusedError
from bridge.journal import JournalUnavailableError, Reply
from bridge.live import SessionAwayError
from bridge.settings import Settings
from bridge.web.api.callbacks import Callbacks, Calling
from bridge.web.api.contacts import Contacts
from bridge.web.api.description import describe
from bridge.web.api.ewt import WaitingTimes
from bridge.web.api.house import House
from bridge.web.api.keys import Door, Key, keys_of
from bridge.web.api.models import Request
from bridge.web.api.operation import Behind, Call, Operation
from bridge.web.api.people import People
from bridge.web.api.problems import KINDS, PREFIX, Problem, ProblemError, faults
from bridge.web.api.reports import Reports
from bridge.web.api.texts import Texts
from bridge.web.http import read_capped
from sms.message import readable

log = structlog.get_logger(__name__)

LARGEST = 64 * 1024
"""Bytes of a JSON body."""
UPLOAD_TIME = 60.0
"""Seconds in which a file has to arrive."""
ONCE_FOR = 86_400.0
"""Seconds for which an Idempotency-Key is known."""
TIDY_EVERY = 3600.0
"""Seconds between two looks for answers that nobody will ask for any more."""
LONGEST_KEY = 200
"""Characters of one."""
_JSON = "application/json"
_PROBLEM = "application/problem+json"


class Api:
    """`/api/v1`.

    Args:
        behind: What the operations use. Keys come from its settings; with none, everybody is refused.
        calling: Has customers called; None: nobody is.
    """

    def __init__(self, behind: Behind, calling: Calling | None = None) -> None:
        self._behind = behind
        self.door = Door(keys_of(behind.settings), behind.now)
        self._tidy_at = 0.0
        self._contacts = None if behind.contacts is None else Contacts(behind.contacts)
        self.operations: tuple[Operation, ...] = (
            *Texts(behind).operations(),
            *House(behind).operations(),
            *People(behind).operations(),
            *WaitingTimes(behind).operations(),
            *(() if self._contacts is None else self._contacts.operations()),
            *(() if calling is None else Callbacks(behind, calling).operations()),
            *(() if behind.reporting is None else Reports(behind, behind.reporting).operations()),
        )

    def take(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self._behind.settings = settings

    def routes(self) -> list[web.RouteDef]:
        """The operations, the description of them, and what each problem means."""
        routes = [web.route(each.method, PREFIX + each.path, self._guarded(each)) for each in self._by_length()]
        return [
            *routes,
            *([] if self._contacts is None else self._contacts.routes()),
            web.get(f"{PREFIX}/openapi.json", self._openapi),
            web.get(f"{PREFIX}/problems/{{name}}", self._explain_problem),
            web.route("*", f"{PREFIX}/{{tail:.*}}", self._nothing_there),
        ]

    def _by_length(self) -> list[Operation]:
        """Paths without braces first: the first route that fits takes the request."""
        return sorted(self.operations, key=lambda each: each.path.count("{"))

    def _guarded(self, operation: Operation) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(request: web.Request) -> web.Response:
            headers: dict[str, str] = {}
            try:
                key = self.door.identify(request.headers.get("Authorization", ""))
                try:
                    self.door.count(key)
                finally:
                    allowed = self.door.allowance(key)
                    headers["RateLimit-Limit"] = str(allowed.limit)
                    headers["RateLimit-Remaining"] = str(allowed.remaining)
                    headers["RateLimit-Reset"] = str(allowed.reset)
                key.check(operation.scope)
                response = await self._answer(operation, request, key)
            except ProblemError as error:
                response = _problem(error)
            except ChannelRefusedError as error:
                retry_after = None if error.until is None else max(0.0, error.until - self._behind.now())
                response = _problem(ProblemError(error.rule, str(error), retry_after=retry_after))
            except JournalUnavailableError:
                log.exception("api.unavailable", operation=operation.name)
                response = _problem(ProblemError("unavailable", retry_after=1.0))
            except SessionAwayError as error:
                log.warning("api.unavailable", operation=operation.name, reason=str(error))
                response = _problem(ProblemError("unavailable", retry_after=1.0))
            except web.HTTPException:
                raise
            except Exception:
                log.exception("api.failed", operation=operation.name)
                response = _problem(ProblemError("failed"))
            response.headers.update(headers)
            return response

        return handler

    async def _answer(self, operation: Operation, request: web.Request, key: Key) -> web.Response:
        raw = await self._read(operation, request)
        body: Any = raw if operation.file else _checked(operation.body, raw)
        query = _parameters(operation, request)
        path = {part: readable(value) for part, value in request.match_info.items()}
        name = _idempotency_key(request) if operation.repeatable else None
        if name is None:
            return await self._do(operation, request, Call(key=key, path=path, body=body, query=query, once=None))
        asked = hashlib.sha256(b"\0".join((operation.method.encode(), request.path.encode(), raw))).hexdigest()
        call = Call(key=key, path=path, body=body, query=query, once=f"{name} {asked}")
        return await self._once(operation, request, call, f"api:{key.name}:{name}", asked)

    async def _once(self, operation: Operation, request: web.Request, call: Call, name: str, fingerprint: str) -> web.Response:
        """Do it, unless it was done before; then say again what was said then."""
        now, journal = self._behind.now(), self._behind.journal
        if now >= self._tidy_at:
            self._tidy_at = now + TIDY_EVERY
            await journal.forget_replies(now)
        known = await journal.reserve(name, fingerprint, now + ONCE_FOR, now)
        if known == "conflict":
            raise ProblemError("conflict")
        if known == "in_progress":
            raise ProblemError("in_progress", retry_after=1.0)
        if isinstance(known, Reply):
            return web.Response(body=known.body, status=known.status, headers={**known.headers, "Idempotency-Replayed": "true"})
        try:
            response = await self._do(operation, request, call)
        except Exception:
            await journal.release(name)  # it may be tried again, also in other words
            raise
        assert isinstance(response.body, bytes)
        kept = {"Content-Type": response.headers["Content-Type"], "Cache-Control": "no-store"}
        await journal.fill(name, Reply(response.status, kept, response.body))
        return response

    async def _do(self, operation: Operation, request: web.Request, call: Call) -> web.Response:
        answer = await operation.handler(call)
        accepted = request.headers.get("Accept", "")
        if answer is None:
            return web.Response(status=HTTPStatus.NO_CONTENT, headers={"Cache-Control": "no-store"})
        if operation.as_csv and _wants_csv(call.query, accepted):
            words = str(getattr(answer, "csv"))  # noqa: B009  # what as_csv promises, and no model says in general
            return web.Response(text=words, content_type="text/csv", headers={"Cache-Control": "no-store"})
        if operation.as_text and "text/plain" in accepted and _JSON not in accepted:
            words = str(getattr(answer, "text"))  # noqa: B009  # what as_text promises, and no model says in general
            return web.Response(text=words, headers={"Cache-Control": "no-store"})
        body = answer.model_dump_json(by_alias=True).encode()
        return _json(body, status=operation.status) if operation.fresh_for is None else _kept(body, operation.fresh_for, request)

    async def _read(self, operation: Operation, request: web.Request) -> bytes:
        if operation.body is None and not operation.file:
            return b""
        if operation.body is not None and request.content_type != _JSON:
            raise ProblemError("content_type")
        limit = self._behind.media.max_bytes if operation.file else LARGEST
        raw = await (read_capped(request, limit, patience=UPLOAD_TIME) if operation.file else read_capped(request, limit))
        if raw is None:
            raise ProblemError("too_large", f"At most {limit:,} bytes are taken.")
        return raw

    @cached_property
    def _description(self) -> bytes:
        return msgspec.json.encode(describe(self.operations))

    async def _openapi(self, _request: web.Request) -> web.Response:
        return _json(self._description)

    async def _explain_problem(self, request: web.Request) -> web.Response:
        known = KINDS.get(request.match_info["name"])
        if known is None:
            return _problem(ProblemError("not_found", "There is no such problem."))
        return _json(msgspec.json.encode(known))

    async def _nothing_there(self, request: web.Request) -> web.Response:
        methods: set[str] = set()
        for each in self.operations:
            pattern = re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(PREFIX + each.path))
            if re.fullmatch(pattern, request.path):
                methods.add(each.method)
        if not methods:
            return _problem(ProblemError("not_found", f"There is no such path; {PREFIX}/openapi.json has those there are."))
        response = _problem(ProblemError("method"))
        response.headers["Allow"] = ", ".join(sorted(methods))
        return response


def _wants_csv(query: Any, accepted: str) -> bool:
    asked = getattr(query, "format", None)
    return asked == "csv" or (asked is None and "text/csv" in accepted and _JSON not in accepted)


def _checked(model: type[Request] | None, raw: bytes) -> Request | None:
    if model is None:
        return None
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        if any(each["type"] == "json_invalid" for each in error.errors()):
            raise ProblemError("malformed") from error
        raise ProblemError("fields", errors=faults(error)) from error


def _parameters(operation: Operation, request: web.Request) -> Request | None:
    if operation.query is None:
        return None
    try:
        return operation.query.model_validate(dict(request.query))
    except ValidationError as error:
        raise ProblemError("parameters", errors=faults(error, parameters=True)) from error


def _idempotency_key(request: web.Request) -> str | None:
    name = request.headers.get("Idempotency-Key")
    if name is not None and not (1 <= len(name) <= LONGEST_KEY and name.isascii() and name.isprintable()):
        raise ProblemError("idempotency_key")
    return name


def _json(body: bytes, *, status: int = HTTPStatus.OK, content_type: str = _JSON) -> web.Response:
    return web.Response(body=body, status=status, content_type=content_type, headers={"Cache-Control": "no-store"})


def _kept(body: bytes, fresh_for: int, request: web.Request) -> web.Response:
    """An answer that may be kept for a while, or that it is the one the program has (RFC 9110 section 13.1.2)."""
    etag = hashlib.sha256(body).hexdigest()[:32]
    headers = {"ETag": f'"{etag}"', "Cache-Control": f"private, max-age={fresh_for}"}
    known = request.if_none_match or ()
    if any(each.value in {etag, "*"} for each in known):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return web.Response(body=body, content_type=_JSON, headers=headers)


def _problem(error: ProblemError) -> web.Response:
    problem: Problem = error.problem
    response = _json(msgspec.json.encode(problem), status=problem.status, content_type=_PROBLEM)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(error.retry_after + 0.5)))
    if problem.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
