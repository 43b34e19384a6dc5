"""Callbacks that programs ask for."""

import pytest

from bridge.web.api.callbacks import CannotCallError
from tests.unit.web.programs import NOW, OURS, Programs

CUSTOMER = "+15550100150"


async def test_a_customer_is_to_be_called(api: Programs) -> None:
    """By whom, from which number, when and why; the answer names the conversation."""
    body = {"to": "(555) 010-0150", "from": OURS, "queue": "support", "due_at": NOW + 60, "reason": "the bill"}
    answer = await api.ask("POST", "/callbacks", body, key="caller")
    assert (answer.status, await answer.json()) == (202, {"session": "s-callback"})
    assert api.calling.asked == [("api:caller", CUSTOMER, OURS, "support", NOW + 60, "the bill")]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [({"to": "hello"}, "invalid_number"), ({"from": "+15550100299"}, "unknown_sender"), ({"why": "x"}, "fields")],
)
async def test_what_cannot_be_read_is_refused(api: Programs, changes: dict[str, str], kind: str) -> None:
    """With the kind of problem it is."""
    answer = await api.ask("POST", "/callbacks", {"to": CUSTOMER, "from": OURS} | changes, key="caller")
    assert (await api.problem(answer))["kind"] == kind
    assert api.calling.asked == []


@pytest.mark.parametrize("kind", ["cannot_call", "blocked", "in_hand", "unknown_queue"])
async def test_who_is_not_to_be_called_is_told_by_kind(api: Programs, kind: str) -> None:
    """And in words."""
    api.calling.refusal = CannotCallError(kind, "Because.")
    problem = await api.problem(await api.ask("POST", "/callbacks", {"to": CUSTOMER, "from": OURS}, key="caller"))
    assert (problem["kind"], problem["detail"]) == (kind, "Because.")


async def test_a_key_needs_the_scope_and_the_number(api: Programs) -> None:
    """Who may text may not therefore have people called."""
    asked = {"to": CUSTOMER, "from": OURS}
    assert (await api.problem(await api.ask("POST", "/callbacks", asked, key="shop")))["kind"] == "scope"
    answer = await api.ask("POST", "/callbacks", asked, key="elsewhere")
    assert (await api.problem(answer))["kind"] == "sender_not_allowed"
