"""`/api/v1`: read-only REST with bearer tokens, problem+json errors and its own OpenAPI description.

One table, `Api._operations`, makes both the routes and the description, so that neither can say what the other does not.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import msgspec
import structlog
from aiohttp import web

from bridge.events import SessionId
from bridge.web.ports import Records

log = structlog.get_logger(__name__)

PREFIX = "/api/v1"
MOST_SESSIONS = 200

_ANYTHING: Mapping[str, Any] = {"type": "object", "additionalProperties": True}


class Problem(msgspec.Struct, frozen=True):
    """An error as RFC 9457 has it."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"


class _Parameter(msgspec.Struct, frozen=True):
    name: str
    place: str
    meaning: str
    schema: Mapping[str, Any]


class _Operation(msgspec.Struct, frozen=True):
    path: str
    """Below the prefix, in aiohttp's (and OpenAPI's) braces."""
    name: str
    summary: str
    answer: Callable[[web.Request], Awaitable[Any]]
    schema: Mapping[str, Any]
    parameters: tuple[_Parameter, ...] = ()
    may_be_missing: bool = False


class _ProblemError(Exception):
    """Ends a request with a problem document."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.problem = Problem(title=status.phrase, status=int(status), detail=detail)


_QUEUE = _Parameter("id", "path", "The queue's id.", {"type": "string"})
_SESSION = _Parameter("id", "path", "The session's id.", {"type": "string"})


class Api:
    """The REST interface.

    Args:
        records: What is read.
        tokens: Accepted bearer tokens; with none, everybody is refused.
    """

    def __init__(self, records: Records, tokens: Sequence[str]) -> None:
        self._records = records
        self._token_hashes = [hashlib.sha256(token.encode()).digest() for token in tokens]
        self._encoder = msgspec.json.Encoder(enc_hook=str)

    def routes(self) -> list[web.RouteDef]:
        """The operations and the description of them."""
        routes = [web.get(PREFIX + each.path, self._guarded(each)) for each in self._operations()]
        return [*routes, web.get(f"{PREFIX}/openapi.json", self._openapi)]

    def _operations(self) -> tuple[_Operation, ...]:
        forecast = {"type": "object", "description": "Times in seconds; a quantile is null when unknown.", **_ANYTHING}
        return (
            _Operation(
                path="/queues/{id}/ewt",
                name="queueEwt",
                summary="The expected wait of a customer who joined this queue now",
                answer=self._ewt,
                schema=forecast,
                parameters=(_QUEUE,),
                may_be_missing=True,
            ),
            _Operation(
                path="/wait_times",
                name="waitTimes",
                summary="The expected wait of every queue",
                answer=self._wait_times,
                schema={
                    "type": "object",
                    "required": ["queues"],
                    "properties": {"queues": {"type": "object", "additionalProperties": forecast}},
                },
            ),
            _Operation(
                path="/sessions",
                name="sessions",
                summary="Sessions, the newest first",
                answer=self._sessions,
                schema={
                    "type": "object",
                    "required": ["sessions"],
                    "properties": {"sessions": {"type": "array", "items": _ANYTHING}},
                },
                parameters=(
                    _Parameter("limit", "query", "How many.", {"type": "integer", "minimum": 1, "maximum": MOST_SESSIONS}),
                    _Parameter("customer", "query", "Only this customer's, E.164.", {"type": "string"}),
                ),
            ),
            _Operation(
                path="/sessions/{id}",
                name="session",
                summary="One session with its timeline",
                answer=self._session,
                schema=_ANYTHING,
                parameters=(_SESSION,),
                may_be_missing=True,
            ),
            _Operation(
                path="/sessions/{id}/explain",
                name="explainSession",
                summary="Every decision of a session with its inputs and reason, in order",
                answer=self._explain,
                schema=_ANYTHING,
                parameters=(_SESSION,),
                may_be_missing=True,
            ),
        )

    # --- the answers -------------------------------------------------------------------------------------------------

    async def _ewt(self, request: web.Request) -> Any:
        queue = request.match_info["id"]
        forecast = self._records.ewt(queue)
        if forecast is None:
            raise _ProblemError(
                HTTPStatus.NOT_FOUND, f"There is no queue {queue!r}; there are: {', '.join(self._records.queues())}."
            )
        return forecast

    async def _wait_times(self, _request: web.Request) -> Any:
        return {"queues": {queue: self._records.ewt(queue) for queue in self._records.queues()}}

    async def _sessions(self, request: web.Request) -> Any:
        raw = request.query.get("limit", "50")
        if not (raw.isascii() and raw.isdigit() and 1 <= int(raw) <= MOST_SESSIONS):
            raise _ProblemError(HTTPStatus.BAD_REQUEST, f"limit must be a whole number from 1 to {MOST_SESSIONS}.")
        customer = request.query.get("customer")
        if customer is not None:
            customer = "+" + customer.lstrip("+ ")  # an unescaped + arrives as a space
        return {"sessions": await self._records.sessions(limit=int(raw), customer=customer)}

    async def _session(self, request: web.Request) -> Any:
        return self._found(await self._records.session(SessionId(request.match_info["id"])))

    async def _explain(self, request: web.Request) -> Any:
        return self._found(await self._records.explain(SessionId(request.match_info["id"])))

    @staticmethod
    def _found(document: Mapping[str, Any] | None) -> Mapping[str, Any]:
        if document is None:
            raise _ProblemError(HTTPStatus.NOT_FOUND, "There is no such session.")
        return document

    # --- around them -------------------------------------------------------------------------------------------------

    def _guarded(self, operation: _Operation) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handler(request: web.Request) -> web.StreamResponse:
            try:
                self._check(request.headers.get("Authorization", ""))
                return self._json(await operation.answer(request))
            except _ProblemError as error:
                return self._problem(error.problem)
            except Exception:
                log.exception("api.failed", operation=operation.name)
                failed = HTTPStatus.INTERNAL_SERVER_ERROR
                return self._problem(Problem(title=failed.phrase, status=int(failed), detail="It has been written to the log."))

        return handler

    def _check(self, authorization: str) -> None:
        """Compare with every token, in time that tells nothing about any of them."""
        scheme, _, token = authorization.partition(" ")
        offered = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        matches = [hmac.compare_digest(offered, known) for known in self._token_hashes]
        if scheme.lower() != "bearer" or not any(matches):
            raise _ProblemError(HTTPStatus.UNAUTHORIZED, "Send one of the configured tokens as: Authorization: Bearer TOKEN")

    def _json(self, document: Any, *, status: int = 200, content_type: str = "application/json") -> web.Response:
        return web.Response(
            body=self._encoder.encode(document),
            status=status,
            content_type=content_type,
            headers={"Cache-Control": "no-store"},
        )

    def _problem(self, problem: Problem) -> web.Response:
        response = self._json(problem, status=problem.status, content_type="application/problem+json")
        if problem.status == HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response

    async def _openapi(self, _request: web.Request) -> web.Response:
        return self._json(self.description())

    def description(self) -> dict[str, Any]:
        """The OpenAPI 3.1 document of these operations."""
        (problem,), schemas = msgspec.json.schema_components([Problem], ref_template="#/components/schemas/{name}")
        return {
            "openapi": "3.1.0",
            "info": {"title": "Sidetone", "version": version("sidetone"), "description": "Reads sessions and waiting times."},
            "servers": [{"url": PREFIX}],
            "security": [{"token": []}],
            "paths": {each.path: {"get": _describe(each, problem)} for each in self._operations()},
            "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        }


def _describe(operation: _Operation, problem: Mapping[str, Any]) -> dict[str, Any]:
    def refusal(meaning: str) -> dict[str, Any]:
        return {"description": meaning, "content": {"application/problem+json": {"schema": problem}}}

    responses: dict[str, Any] = {
        "200": {"description": "OK", "content": {"application/json": {"schema": operation.schema}}},
        "401": refusal("No token, or one that is not accepted"),
    }
    if operation.may_be_missing:
        responses["404"] = refusal("There is no such thing")
    if any(parameter.place == "query" for parameter in operation.parameters):
        responses["400"] = refusal("A parameter is wrong")
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [
            {
                "name": each.name,
                "in": each.place,
                "description": each.meaning,
                "required": each.place == "path",
                "schema": each.schema,
            }
            for each in operation.parameters
        ],
        "responses": responses,
    }
