"""The REST interface."""

from typing import Any

import jsonschema
import pytest

from tests.unit.web.conftest import Client
from tests.unit.web.fakes import FakeRecords

ALLOWED = {"Authorization": "Bearer api-token"}


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/queues/support/ewt", {"queue": "support", "p50": 120.0}),
        (
            "/wait_times",
            {"queues": {"support": {"queue": "support", "p50": 120.0}, "support_sms": {"queue": "support_sms", "p50": 120.0}}},
        ),
        ("/sessions", {"sessions": [{"id": "s-1", "customer": "+15550100123"}]}),
        ("/sessions/s-1", {"id": "s-1", "timeline": []}),
        ("/sessions/s-1/explain", {"id": "s-1", "decisions": []}),
    ],
)
async def test_a_token_reads(client: Client, path: str, document: dict[str, Any]) -> None:
    """Each resource is what the records say, as JSON no cache keeps."""
    answer = await client.get(f"/api/v1{path}", headers=ALLOWED)

    assert (answer.status, await answer.json()) == (200, document)
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic api-token"},
        {"Authorization": "api-token"},
        {"Authorization": "Bearer"},
    ],
)
async def test_without_a_token_nothing_is_read(client: Client, headers: dict[str, str]) -> None:
    """401 as a problem document that says what to send."""
    answer = await client.get("/api/v1/sessions", headers=headers)

    assert (answer.status, answer.content_type) == (401, "application/problem+json")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert (await answer.json())["title"] == "Unauthorized"


async def test_every_configured_token_reads(client: Client) -> None:
    """Tokens are a list, so that one can be changed after the other; the scheme's case does not matter."""
    answer = await client.get("/api/v1/sessions", headers={"Authorization": "bearer another"})

    assert answer.status == 200


@pytest.mark.parametrize("path", ["/queues/nowhere/ewt", "/sessions/s-9", "/sessions/s-9/explain"])
async def test_what_is_not_there_is_a_problem(client: Client, path: str) -> None:
    """404 as a problem document."""
    answer = await client.get(f"/api/v1{path}", headers=ALLOWED)

    assert (answer.status, answer.content_type) == (404, "application/problem+json")
    assert (await answer.json())["status"] == 404


@pytest.mark.parametrize("limit", ["0", "201", "-1", "many", "", "1e2", "²"])
async def test_a_wrong_limit_is_said_to_be_wrong(client: Client, limit: str) -> None:
    """400 names the range."""
    answer = await client.get("/api/v1/sessions", params={"limit": limit}, headers=ALLOWED)

    assert answer.status == 400
    assert "1 to 200" in (await answer.json())["detail"]


@pytest.mark.parametrize("customer", ["%2B15550100123", "+15550100123", "15550100123"])
async def test_a_customer_is_found_however_the_plus_came(client: Client, records: FakeRecords, customer: str) -> None:
    """An unescaped plus arrives as a space; it means the same number."""
    await client.get(f"/api/v1/sessions?customer={customer}", headers=ALLOWED)

    assert records.customers == ["+15550100123"]


async def test_a_failure_inside_is_a_problem_without_details(client: Client, records: FakeRecords) -> None:
    """500 as a problem document; the cause is in the log."""
    del records.customers

    answer = await client.get("/api/v1/sessions", headers=ALLOWED)

    assert (answer.status, answer.content_type) == (500, "application/problem+json")
    assert "customers" not in await answer.text()


async def test_the_description_is_of_the_routes_there_are(client: Client) -> None:
    """Every path of the description answers, and its answer fits its schema."""
    description = await (await client.get("/api/v1/openapi.json")).json()

    assert description["openapi"] == "3.1.0"
    assert len(description["paths"]) == 5
    for path, item in description["paths"].items():
        real = path.replace("{id}", "support" if "queues" in path else "s-1")
        answer = await client.get(description["servers"][0]["url"] + real, headers=ALLOWED)
        schema = item["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(await answer.json(), schema)
        assert [each["name"] for each in item["get"]["parameters"] if each["in"] == "path"] == (["id"] if "{id}" in path else [])
