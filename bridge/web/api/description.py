"""The OpenAPI 3.1 document, made of the operations and the models: what is not there cannot be described."""

from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Literal

import msgspec
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bridge.web.api.operation import Operation
from bridge.web.api.problems import KINDS, PREFIX, Problem

_REF = "#/components/schemas/{model}"
_ALWAYS = ("unauthorized", "scope", "rate", "failed", "unavailable")
_HEADERS = {
    "RateLimit-Limit": "Requests the key may have in reserve",
    "RateLimit-Remaining": "How many of them are left",
    "RateLimit-Reset": "Seconds until all of them are there again",
}


def describe(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document."""
    wanted: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = []
    for each in operations:
        wanted += [(model, "validation") for model in (each.body,) if model is not None]
        wanted += [(model, "serialization") for model in (each.answer,) if model is not None]
    refs, definitions = models_json_schema(list(dict.fromkeys(wanted)), ref_template=_REF)
    (problem,), problems = msgspec.json.schema_components([Problem], ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, refs, problem)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sidetone",
            "version": version("sidetone"),
            "description": "Texts, conversations, people and waiting times. Times are seconds since the Unix epoch.",
        },
        "servers": [{"url": PREFIX}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}) | problems,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(each: Operation, refs: Any, problem: Any) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": each.name,
        "summary": each.summary,
        "description": f"Needs the scope `{each.scope}`.",
        "parameters": _parameters(each),
        "responses": {str(int(each.status if each.answer else HTTPStatus.NO_CONTENT)): _success(each, refs)}
        | ({} if each.fresh_for is None else {"304": {"description": "It is still what it was (If-None-Match)"}})
        | _refusals(each, problem),
    }
    if each.body is not None:
        schema = refs[each.body, "validation"]
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if each.file:
        described["requestBody"] = {"required": True, "content": {"application/octet-stream": {"schema": {}}}}
    return described


def _success(each: Operation, refs: Any) -> dict[str, Any]:
    headers = {name: {"description": meaning, "schema": {"type": "integer", "minimum": 0}} for name, meaning in _HEADERS.items()}
    if each.answer is None:
        return {"description": "Done", "headers": headers}
    content: dict[str, Any] = {"application/json": {"schema": refs[each.answer, "serialization"]}}
    if each.as_text:
        content["text/plain"] = {"schema": {"type": "string"}}
    if each.as_csv:
        content["text/csv"] = {"schema": {"type": "string"}}
    return {"description": each.status.phrase, "headers": headers, "content": content}


def problems_of(each: Operation) -> tuple[str, ...]:
    """Every problem an operation may answer with."""
    kinds = [*_ALWAYS, *each.problems]
    if each.body is not None:
        kinds += ["malformed", "fields", "content_type", "too_large"]
    if each.file:
        kinds += ["too_large"]
    if each.query is not None:
        kinds += ["parameters"]
    if each.repeatable:
        kinds += ["idempotency_key", "in_progress", "conflict"]
    return tuple(dict.fromkeys(kinds))


def _refusals(each: Operation, problem: Any) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for name in problems_of(each):
        by_status.setdefault(KINDS[name].status, []).append(name)
    return {
        str(status): {
            "description": "; ".join(f"{name}: {KINDS[name].title}" for name in names),
            "content": {"application/problem+json": {"schema": problem}},
        }
        for status, names in sorted(by_status.items())
    }


def _parameters(each: Operation) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in each.path.split("/") if part.startswith("{")]
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
    ]
    if each.query is not None:
        # Parameters stand alone, so what their model refers to has to stand in them.
        for name, schema in each.query.model_json_schema().get("properties", {}).items():
            words = schema.pop("description", "")
            parameters.append({"name": name, "in": "query", "required": False, "description": words, "schema": schema})
    if each.repeatable:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "Names this request for 24 hours: sent again under the same name it is not done again",
                "schema": {"type": "string", "minLength": 1, "maxLength": 200},
            }
        )
    return parameters
