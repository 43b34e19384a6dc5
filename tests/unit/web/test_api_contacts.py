"""Contacts, imports and the CRM's queue, for programs."""

import asyncio
from typing import Any

import jsonschema
import pytest

from bridge.crm.webhook import SCHEMAS
from tests.unit.web.programs import Programs

ANN = {"name": "Ann Weber", "phones": ["(555) 010-0123"], "mails": ["ann@example.com"], "custom": {"seats": 3, "vip": True}}


async def made(api: Programs, **changes: Any) -> dict[str, Any]:
    answer = await api.ask("POST", "/crm/contacts", ANN | changes)
    assert answer.status == 201, await answer.text()
    contact: dict[str, Any] = await answer.json()
    return contact


async def test_a_contact_is_made_found_changed_and_put_away(api: Programs) -> None:
    """With a history of who did what."""
    ann = await made(api)
    assert (ann["phones"], ann["custom"], ann["revision"]) == (["+15550100123"], {"seats": 3, "vip": True}, 1)
    path = f"/crm/contacts/{ann['id']}"
    found = await (await api.ask("GET", "/crm/contacts?q=weber")).json()
    assert [each["id"] for each in found["contacts"]] == [ann["id"]]
    changed = await api.ask("PUT", path, {"name": "Ann W", "phones": ["+15550100123"], "revision": 1})
    assert (await changed.json())["revision"] == 2
    stale = await api.problem(await api.ask("PUT", path, {"name": "Ann", "revision": 1}))
    assert (stale["status"], stale["kind"]) == (409, "stale")
    noted = await api.ask("POST", f"{path}/notes", {"text": "Call after noon"})
    assert noted.status == 201
    assert (await api.ask("DELETE", path)).status == 204
    assert (await (await api.ask("GET", path)).json())["deleted_at"] is not None
    assert (await (await api.ask("GET", "/crm/contacts?q=weber")).json())["contacts"] == []
    history = (await (await api.ask("GET", f"{path}/history")).json())["changes"]
    assert [(each["kind"], each["actor"]) for each in history] == [
        (kind, "api:shop") for kind in ("deleted", "noted", "changed", "created")
    ]


async def test_what_is_known_of_a_number_is_its_contact(api: Programs) -> None:
    """There is one truth: the short way by number and the long way by id show the same person."""
    ann = await made(api)
    assert (await (await api.ask("GET", "/contacts/+15550100123")).json())["name"] == "Ann Weber"
    await api.ask("PUT", "/contacts/+15550100123", {"name": "Ann", "language": "fr", "data": {"plan": "gold"}})
    now = await (await api.ask("GET", f"/crm/contacts/{ann['id']}")).json()
    assert (now["name"], now["language"], now["custom"]) == ("Ann", "fr", {"plan": "gold"})
    assert now["mails"] == ["ann@example.com"]


async def test_pages_of_contacts_follow_one_another(api: Programs) -> None:
    """Each contact stands on one of them."""
    for n in range(5):
        await made(api, name=f"Person {n}")
    seen, after = [], ""
    while True:
        page = await (await api.ask("GET", f"/crm/contacts?limit=2{after}")).json()
        seen += [each["name"] for each in page["contacts"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert sorted(seen) == [f"Person {n}" for n in range(5)]


async def test_two_contacts_become_one_and_two_again(api: Programs) -> None:
    """Undone by the number of the change."""
    ann, other = await made(api), await made(api, name="A. Weber", phones=["+15550100124"])
    path = f"/crm/contacts/{ann['id']}"
    whole = await (await api.ask("POST", f"{path}/merge", {"other": other["id"]})).json()
    assert (whole["name"], whole["phones"]) == ("Ann Weber", ["+15550100123", "+15550100124"])
    assert (await (await api.ask("GET", f"/crm/contacts/{other['id']}")).json())["merged_into"] == ann["id"]
    changes = (await (await api.ask("GET", f"{path}/history")).json())["changes"]
    merge = next(each["n"] for each in changes if each["kind"] == "merged")
    both = await (await api.ask("POST", f"{path}/unmerge", {"change": merge})).json()
    assert [each["phones"] for each in both["contacts"]] == [["+15550100123"], ["+15550100124"]]


@pytest.mark.parametrize(
    ("method", "path", "body", "kind"),
    [
        ("GET", "/crm/contacts/k0", None, "not_found"),
        ("POST", "/crm/contacts", {"phones": ["12"]}, "fields"),
        ("POST", "/crm/contacts", {"name": "x" * 81}, "fields"),
        ("POST", "/crm/contacts/k0/merge", {"other": "k000000000000001"}, "not_found"),
        ("POST", "/crm/contacts/k0/unmerge", {"change": 1}, "not_found"),
        ("GET", "/crm/imports/x", None, "not_found"),
        ("GET", "/crm/imports/x/errors", None, "not_found"),
        ("POST", "/crm/imports/x/start", {}, "import"),
        ("POST", "/crm/entries/8/redeliver", None, "not_found"),
        ("POST", "/crm/entries/x/redeliver", None, "not_found"),
    ],
)
async def test_what_cannot_be_done_is_a_problem(api: Programs, method: str, path: str, body: Any, kind: str) -> None:
    """With what to do about it."""
    assert (await api.problem(await api.ask(method, path, body)))["kind"] == kind


async def test_a_field_that_cannot_be_kept_is_named(api: Programs) -> None:
    """As a JSON Pointer."""
    problem = await api.problem(await api.ask("POST", "/crm/contacts", {"phones": ["nonsense"], "mails": ["nobody"]}))
    assert {each["pointer"] for each in problem["errors"]} == {"/phones", "/mails"}


async def test_a_file_is_imported(api: Programs) -> None:
    """Tried out, brought in, and the same again changes nothing."""
    csv = b"Name,Phone\nAnn,5550100123\nBob,nonsense\n"
    answer = await api.ask("POST", "/crm/imports?name=people.csv", csv)
    job = await answer.json()
    assert (answer.status, job["rows"], job["mapping"]) == (200, 2, {"Name": "name", "Phone": "phones"})
    path = f"/crm/imports/{job['id']}"
    for dry_run, created in ((True, 1), (False, 1), (False, 0)):
        await api.ask("POST", f"{path}/start", {"dry_run": dry_run})
        async with asyncio.timeout(10.0):
            while (now := await (await api.ask("GET", path)).json())["state"] == "running":  # noqa: ASYNC110  # a program asks again
                await asyncio.sleep(0.01)
        assert (now["state"], now["created"], now["wrong"]) == ("done", created, 1)
    errors = (await (await api.ask("GET", f"{path}/errors")).json())["text"]
    assert errors.splitlines() == ["line,column,value,why", "3,Phone,nonsense,nonsense is not a telephone number."]
    wrong = await api.problem(await api.ask("POST", f"{path}/start", {"mapping": {"Name": "name"}}))
    assert wrong["kind"] == "import"


async def test_what_the_crm_has_not_taken_is_listed_and_sent_again(api: Programs) -> None:
    """With what it said."""
    found = await (await api.ask("GET", "/crm/entries?state=dead")).json()
    assert (found["counts"], found["entries"][0]["faults"], found["next"]) == ({"dead": 1}, {"phones": "not ours"}, None)
    assert (await api.ask("POST", "/crm/entries/7/redeliver")).status == 204


@pytest.mark.parametrize("name", SCHEMAS)
async def test_schemas_are_published(api: Programs, name: str) -> None:
    """For whoever writes the other end, without a key."""
    answer = await api.ask("GET", f"/crm/schemas/{name}", key=None)
    assert (answer.status, answer.content_type) == (200, "application/schema+json")
    jsonschema.Draft202012Validator.check_schema(await answer.json(content_type=None))
    assert (await api.ask("GET", "/crm/schemas/nothing", key=None)).status == 404
