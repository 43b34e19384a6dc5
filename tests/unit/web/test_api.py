"""The API's door: keys, scopes, rates, repeated requests, problems, and the description of it all."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bridge.channel import Rule
from bridge.journal import JournalUnavailableError
from bridge.web.api import models
from bridge.web.api.description import describe, problems_of
from bridge.web.api.problems import KINDS, Fault, faults
from tests.unit.web.programs import NOW, OURS, THEIRS, TOKENS, Programs

REQUESTS = [kind for kind in vars(models).values() if isinstance(kind, type) and issubclass(kind, models.Request)]
HELLO = {"to": THEIRS, "from": OURS, "text": "Your parcel is here"}
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer wrong", f"Basic {TOKENS['reader']}", TOKENS["reader"], "Bearer", "Bearer \x80", f"Bearer {TOKENS['reader']}x"],
)
async def test_without_a_token_nothing_is_read(api: Programs, authorization: str | None) -> None:
    """401 as a problem document that says what to send."""
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = await api.ask("GET", "/sessions", key=None, **headers)

    assert (await api.problem(answer))["kind"] == "unauthorized"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("key", ["reader", "admin"])
async def test_a_key_reads(api: Programs, key: str) -> None:
    """Named keys and the tokens that may do everything both open the door; no cache keeps what is read."""
    answer = await api.ask("GET", "/queues/support/ewt", key=key)

    assert (answer.status, (await answer.json())["p50"]) == (200, 120.0)
    assert answer.headers["Cache-Control"] == "no-store"


async def test_a_key_does_only_what_its_scopes_say(api: Programs) -> None:
    """403 names the scope that is missing, and nothing is done."""
    problem = await api.problem(await api.ask("POST", "/sms", HELLO, key="reader"))

    assert (problem["kind"], problem["status"]) == ("scope", 403)
    assert "sms.send" in problem["detail"]
    assert api.channel.asked == []


async def test_every_answer_says_what_is_left_and_too_fast_is_refused(api: Programs) -> None:
    """A key has ten seconds' worth of requests in reserve; then it has to wait, and is told how long."""
    first = await api.ask("GET", "/wait_times", key="slow")
    second = await api.ask("GET", "/wait_times", key="slow")
    third = await api.ask("GET", "/wait_times", key="slow")

    told = [
        [answer.headers[f"RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")] for answer in (first, second, third)
    ]
    assert told == [["2", "1", "5"], ["2", "0", "10"], ["2", "0", "10"]]
    assert (await api.problem(third))["kind"] == "rate"
    assert int(third.headers["Retry-After"]) >= 5
    api.clock += 5
    assert (await api.ask("GET", "/wait_times", key="slow")).status == 200
    assert (await api.ask("GET", "/wait_times", key="reader")).status == 200, "each key has a rate of its own"


# --- what is wrong with a request


@pytest.mark.parametrize("body", [b"", b"{", b"[1,", b"\xff\xfe", b'{"to": NaN'])
async def test_what_is_no_json_is_malformed(api: Programs, body: bytes) -> None:
    """400."""
    answer = await api.ask("POST", "/sms", body, Content_Type="application/json")

    assert (await api.problem(answer))["kind"] == "malformed"


async def test_each_wrong_field_is_pointed_to(api: Programs) -> None:
    """422 with a JSON Pointer and words for every field, all at once; unknown ones by their name."""
    wrong = {"to": THEIRS, "txt": "x", "purpose": "spam", "media": ["a"], "valid_for": -1}
    problem = await api.problem(await api.ask("POST", "/sms", wrong))

    assert (problem["kind"], problem["status"]) == ("fields", 422)
    found = {error["pointer"]: error["detail"] for error in problem["errors"]}
    assert set(found) == {"/from", "/txt", "/purpose", "/media/0", "/valid_for"}
    assert found["/txt"] == "There is no such field."
    assert found["/from"] == "This field is required."


@pytest.mark.parametrize("body", ["[]", "null", '"text"', "7"])
async def test_json_that_is_no_object_is_wrong(api: Programs, body: str) -> None:
    """422, pointing to the whole body."""
    answer = await api.ask("POST", "/sms", body, Content_Type="application/json")

    assert [error.get("pointer", "") for error in (await api.problem(answer))["errors"]] == [""]


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=many", "limit=1e2", "limit=", "lmit=5", "state=gone"])
async def test_a_wrong_parameter_is_named(api: Programs, query: str) -> None:
    """400 with the parameter."""
    problem = await api.problem(await api.ask("GET", f"/sessions?{query}", key="reader"))

    assert (problem["kind"], problem["status"]) == ("parameters", 400)
    assert [error["parameter"] for error in problem["errors"]] == [query.partition("=")[0]]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([THEIRS, OURS, "care", "9999-12-31T23:59:59Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
def test_whatever_comes_is_read_or_is_a_problem(data: st.DataObject) -> None:
    """Any JSON in any field of any request, and any parameters: no third way."""
    model = data.draw(st.sampled_from(REQUESTS))
    body = {field.alias or name: data.draw(JSON) for name, field in model.model_fields.items() if data.draw(st.booleans())}
    read: models.Request | None = None
    found: tuple[Fault, ...] = ()
    try:
        read = model.model_validate_json(json.dumps(body))
    except ValidationError as error:
        found = faults(error)

    assert (read is None) == bool(found)
    assert read is None or "\\u0000" not in read.model_dump_json()


async def test_a_number_too_large_for_a_database_is_a_wrong_parameter(api: Programs) -> None:
    """Not our fault, and no failure of ours."""
    problem = await api.problem(await api.ask("GET", f"/hooks/dead?after={2**63}", key="reader"))

    assert problem["kind"] == "parameters"


async def test_a_form_is_not_json(api: Programs) -> None:
    """415."""
    answer = await api.ask("POST", "/sms", "to=x", Content_Type="application/x-www-form-urlencoded")

    assert (await api.problem(answer))["kind"] == "content_type"


async def test_a_body_has_a_sane_size(api: Programs) -> None:
    """413 says how much is taken."""
    problem = await api.problem(await api.ask("POST", "/sms", HELLO | {"text": "x" * 70_000}))

    assert (problem["kind"], problem["status"]) == ("too_large", 413)
    assert "65,536" in problem["detail"]


async def test_a_failure_inside_tells_nothing(api: Programs) -> None:
    """500 as a problem document; the cause is in the log."""
    api.channel.refusal = RuntimeError("secret detail")
    answer = await api.ask("POST", "/sms", HELLO)

    assert (await api.problem(answer))["kind"] == "failed"
    assert "secret" not in await answer.text()


async def test_a_database_that_does_not_work_is_said_to(api: Programs) -> None:
    """503 with Retry-After: nothing was done."""
    api.channel.refusal = JournalUnavailableError("the disk is full")
    answer = await api.ask("POST", "/sms", HELLO)

    assert (await api.problem(answer))["kind"] == "unavailable"
    assert answer.headers["Retry-After"] == "2"


async def test_the_type_of_a_problem_leads_to_what_it_means(api: Programs) -> None:
    """RFC 9457 section 3.1.1: whoever follows the type finds out more; no token is needed for that."""
    problem = await api.problem(await api.ask("GET", "/sms/nothing"))
    answer = await api.ask("GET", problem["type"].removeprefix("/api/v1"), key=None)

    assert await answer.json() == {"status": 404, "title": "No such thing", "remedy": "Check the id."}
    assert (await api.ask("GET", "/problems/nonsense", key=None)).status == 404


async def test_what_is_not_there_is_a_problem_too(api: Programs) -> None:
    """404 for a path, 405 with the methods there are for a method; also without a token."""
    nowhere = await api.ask("GET", "/nowhere/at/all", key=None)
    wrong = await api.ask("PATCH", "/contacts/+15550100123", key=None)

    assert (await api.problem(nowhere))["kind"] == "not_found"
    assert (await api.problem(wrong))["kind"] == "method"
    assert wrong.headers["Allow"] == "DELETE, GET, PUT"


# --- the same request twice


async def test_a_request_with_a_name_is_done_once(api: Programs) -> None:
    """The same Idempotency-Key is answered with the same answer."""
    first = await api.ask("POST", "/sms", HELLO, Idempotency_Key="order-1")
    again = await api.ask("POST", "/sms", HELLO, Idempotency_Key="order-1")

    assert (first.status, await first.json()) == (again.status, await again.json())
    assert first.status == 202
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.content_type == "application/json"
    assert len(api.channel.asked) == 1
    assert api.channel.asked[0][1]["once"].startswith("order-1 ")


async def test_a_name_belongs_to_one_key_and_one_request(api: Programs) -> None:
    """Another program may use the same name; the same program may not use it for something else."""
    await api.ask("POST", "/sms", HELLO, Idempotency_Key="order-1")
    other = await api.ask("POST", "/sms", HELLO, key="branch", Idempotency_Key="order-1")
    changed = await api.ask("POST", "/sms", HELLO | {"text": "Another"}, Idempotency_Key="order-1")
    elsewhere = await api.ask("POST", "/sms/sessionless", HELLO, Idempotency_Key="order-1")

    assert other.status == 202
    assert (await api.problem(changed))["kind"] == "conflict"
    assert (await api.problem(elsewhere))["kind"] == "conflict"
    assert len(api.channel.asked) == 2


async def test_after_a_day_a_name_is_free(api: Programs) -> None:
    """Answers are kept for 24 hours."""
    await api.ask("POST", "/sms", HELLO, Idempotency_Key="daily")
    api.clock += 86_401
    again = await api.ask("POST", "/sms", HELLO, Idempotency_Key="daily")

    assert "Idempotency-Replayed" not in again.headers


async def test_what_was_refused_may_be_tried_again_under_its_name(api: Programs) -> None:
    """Nothing was done, so the name is free, also for a corrected request."""
    api.channel.refusal = RuntimeError("a cable")
    assert (await api.ask("POST", "/sms", HELLO, Idempotency_Key="order-1")).status == 500
    api.channel.refusal = None

    assert (await api.ask("POST", "/sms", HELLO | {"text": "Better"}, Idempotency_Key="order-1")).status == 202


async def test_while_a_request_is_at_work_its_name_is_taken(api: Programs) -> None:
    """409 with Retry-After for the second of two that come at the same time; only one is done."""
    gate = asyncio.Event()
    take = api.channel.send

    async def slow(*args: Any, **wishes: Any) -> Any:
        await gate.wait()
        return await take(*args, **wishes)

    api.channel.send = slow  # type: ignore[method-assign]
    first = asyncio.create_task(api.ask("POST", "/sms", HELLO, Idempotency_Key="order-1"))
    await asyncio.sleep(0.05)
    second = await api.ask("POST", "/sms", HELLO, Idempotency_Key="order-1")
    gate.set()

    assert (await api.problem(second))["kind"] == "in_progress"
    assert second.headers["Retry-After"] == "2"
    assert (await first).status == 202
    assert len(api.channel.asked) == 1


@pytest.mark.parametrize("name", ["", "x" * 201, "né"])
async def test_a_name_is_short_and_plain(api: Programs, name: str) -> None:
    """400."""
    answer = await api.ask("POST", "/sms", HELLO, Idempotency_Key=name)

    assert (await api.problem(answer))["kind"] == "idempotency_key"


async def test_without_a_name_the_same_text_goes_twice(api: Programs) -> None:
    """Several texts a day to one number are fine."""
    answers = [await api.ask("POST", "/sms", HELLO) for _ in range(2)]

    assert [answer.status for answer in answers] == [202, 202]
    assert len(api.channel.asked) == 2


async def test_old_answers_are_forgotten(api: Programs) -> None:
    """Nobody can ask for them any more."""
    await api.ask("POST", "/sms", HELLO, Idempotency_Key="old")
    api.clock += 2 * 86_400
    await api.ask("POST", "/sms", HELLO, Idempotency_Key="new")
    fresh = [await api.journal.reserve(f"api:shop:{name}", "x", api.clock + 1, api.clock) for name in ("old", "new")]

    assert fresh == ["new", "conflict"]


# --- the description


async def test_the_description_is_an_openapi_document(api: Programs) -> None:
    """It has the shape that OpenAPI 3.1 asks for, every reference in it leads somewhere, every name stands once."""
    document = await (await api.ask("GET", "/openapi.json", key=None)).json()

    jsonschema.Draft202012Validator(SHAPE).validate(document)
    known = set(document["components"]["schemas"])
    used = set(re.findall(r'"#/components/schemas/([^"]+)"', str(document).replace("'", '"')))
    assert used <= known
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    names = [each.name for each in api.api.operations]
    assert len(names) == len(set(names))


async def test_the_description_has_exactly_the_routes(api: Programs) -> None:
    """Every path and method of the document is served, and everything served (but the document itself) is in it."""
    document = describe(api.api.operations)
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    served = {(route.method, route.path.removeprefix("/api/v1")) for route in api.api.routes()}

    public = {("GET", "/openapi.json"), ("GET", "/problems/{name}"), ("GET", "/crm/schemas/{name}")}
    assert served - described == {*public, ("*", "/{tail:.*}")}
    assert described <= served
    assert len(api.api.operations) == len(described)


async def test_every_problem_is_some_operations_and_in_the_docs(api: Programs) -> None:
    """A problem that nobody can get is no problem; and `docs/api.md` has a row for each."""
    got = {name for each in api.api.operations for name in problems_of(each)}

    assert got | {"method"} == set(KINDS)
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", page, re.MULTILINE))
    assert rows == {name: str(kind.status) for name, kind in KINDS.items()}


def test_every_refusal_of_the_channel_is_a_problem() -> None:
    """But for those that only agents get."""
    assert set(get_args(Rule)) - {"in_conversation", "not_your_number"} <= set(KINDS)


async def test_the_docs_name_every_operation_and_its_scope(api: Programs) -> None:
    """`docs/api.md` has a row for each."""
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([A-Z]+) ([^`?]+)` \| `([a-z.]+)` \|", page, re.MULTILINE))

    assert rows == {(each.method, each.path, each.scope) for each in api.api.operations}


async def test_times_of_the_house_are_seconds(api: Programs) -> None:
    """What is planned by a date comes back as seconds since 1970."""
    answer = await api.ask("POST", "/sms", HELLO | {"send_at": "2027-01-15T09:00:00+01:00"})

    assert (await answer.json())["send_at"] == NOW


SHAPE: dict[str, Any] = {
    "type": "object",
    "required": ["openapi", "info", "paths", "components"],
    "additionalProperties": False,
    "properties": {
        "openapi": {"pattern": r"^3\.1\.\d+$"},
        "info": {"type": "object", "required": ["title", "version"]},
        "servers": {"type": "array", "items": {"type": "object", "required": ["url"]}},
        "security": {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "array"}}},
        "components": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "schemas": {"type": "object", "propertyNames": {"pattern": r"^[a-zA-Z0-9._-]+$"}},
                "securitySchemes": {"type": "object", "additionalProperties": {"type": "object", "required": ["type"]}},
            },
        },
        "paths": {
            "type": "object",
            "propertyNames": {"pattern": "^/"},
            "additionalProperties": {
                "type": "object",
                "propertyNames": {"enum": ["get", "put", "post", "delete"]},
                "additionalProperties": {"$ref": "#/$defs/operation"},
            },
        },
    },
    "$defs": {
        "operation": {
            "type": "object",
            "required": ["operationId", "responses"],
            "additionalProperties": False,
            "properties": {
                "operationId": {"type": "string"},
                "summary": {"type": "string"},
                "description": {"type": "string"},
                "parameters": {"type": "array", "items": {"$ref": "#/$defs/parameter"}},
                "requestBody": {
                    "type": "object",
                    "required": ["content"],
                    "properties": {"content": {"$ref": "#/$defs/content"}},
                },
                "responses": {
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": {"pattern": "^[1-5][0-9]{2}$"},
                    "additionalProperties": {
                        "type": "object",
                        "required": ["description"],
                        "properties": {
                            "description": {"type": "string"},
                            "content": {"$ref": "#/$defs/content"},
                            "headers": {"type": "object"},
                        },
                        "additionalProperties": False,
                    },
                },
            },
        },
        "parameter": {
            "type": "object",
            "required": ["name", "in", "schema"],
            "properties": {"in": {"enum": ["query", "header", "path", "cookie"]}, "schema": {"type": "object"}},
            "if": {"properties": {"in": {"const": "path"}}},
            "then": {"properties": {"required": {"const": True}}, "required": ["required"]},
        },
        "content": {"type": "object", "additionalProperties": {"type": "object", "properties": {"schema": {"type": "object"}}}},
    },
}
"""What the OpenAPI 3.1 specification asks of the objects we use (sections 4.8.1 to 4.8.24)."""
