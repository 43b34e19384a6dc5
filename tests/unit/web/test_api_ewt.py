"""Waiting times, staffing plans and calibration by the API."""

import msgspec
import pytest

from tests.unit.hindsight.told import outcome
from tests.unit.web.fake_waits import IN_LINE, wait
from tests.unit.web.programs import NOW, Programs

STEPS = [{"at": NOW + 3600, "capacity": 4}, {"at": NOW + 7200, "capacity": 9}]


async def test_a_queue_tells_everything_about_its_wait(api: Programs) -> None:
    """Every field that there is, and the priority that was asked for."""
    answer = await api.ask("GET", "/queues/support/ewt?priority=0", key="reader")

    assert (answer.status, await answer.json()) == (200, msgspec.to_builtins(wait(priority=0)) | {"languages": []})


async def test_what_is_not_known_is_null_and_never_zero(api: Programs) -> None:
    """A queue without agents and without a past has no numbers."""
    told = await (await api.ask("GET", "/queues/support_sms/ewt", key="reader")).json()

    assert [told[name] for name in ("mean", "p50", "p90", "ahead", "longest_wait", "drain_per_min", "sms", "decision")] == [
        None
    ] * 8


@pytest.mark.parametrize(
    ("query", "queues"),
    [
        ("", {"support", "support_sms"}),
        ("?channel=sms", {"support_sms"}),
        ("?channel=voice", {"support"}),
        ("?language=fr", {"support", "support_sms"}),
        ("?language=es", {"support"}),
        ("?channel=sms&language=es", set()),
    ],
)
async def test_all_queues_at_once_by_channel_and_language(api: Programs, query: str, queues: set[str]) -> None:
    """A queue whose agents need no language serves everybody."""
    told = await (await api.ask("GET", f"/wait_times{query}", key="reader")).json()

    assert set(told["queues"]) == queues


async def test_who_has_it_already_is_told_so(api: Programs) -> None:
    """304 without a body, as long as nothing has changed."""
    first = await api.ask("GET", "/wait_times", key="reader")
    again = await api.ask("GET", "/wait_times", key="reader", If_None_Match=first.headers["ETag"])
    assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert first.headers["Cache-Control"] == again.headers["Cache-Control"] == "private, max-age=1"
    assert "RateLimit-Remaining" in again.headers

    api.waits.waits["support"] = wait(p50=121.0)
    changed = await api.ask("GET", "/wait_times", key="reader", If_None_Match=first.headers["ETag"])
    assert (changed.status, changed.headers["ETag"] != first.headers["ETag"]) == (200, True)


async def test_who_stands_in_line_has_a_wait_that_is_left(api: Programs) -> None:
    """With the place and what has been waited; who is not in line is a 404."""
    told = await (await api.ask("GET", f"/contacts/{IN_LINE}/ewt", key="reader")).json()
    assert (told["queue"], told["position"], told["waited"], told["p50"]) == ("support", 3, 40.0, 120.0)

    assert (await api.problem(await api.ask("GET", "/contacts/s-1/ewt", key="reader")))["kind"] == "not_found"


async def test_a_plan_is_set_shown_and_forgotten(api: Programs) -> None:
    """It says who set it; times may be written either way."""
    none: dict[str, object] = {"queue": "support", "steps": [], "set_at": None, "by": None}
    path = "/queues/support/ewt/plan"
    assert await (await api.ask("GET", path, key="reader")).json() == none

    steps = [STEPS[0], {"at": "2027-01-15T10:00:00Z", "capacity": 9}]
    planned = await api.ask("POST", path, {"steps": steps}, key="planner")
    there = {"queue": "support", "steps": STEPS, "set_at": NOW, "by": "api:planner"}
    assert (planned.status, await planned.json()) == (200, there)
    assert await (await api.ask("GET", path, key="reader")).json() == there

    assert (await api.ask("DELETE", path, key="planner")).status == 204
    assert await (await api.ask("GET", path, key="reader")).json() == none


async def test_the_estimator_can_be_told_anew(api: Programs) -> None:
    """It says whether anything was wrong; again it changes nothing."""
    first = await (await api.ask("POST", "/ewt/resync", key="planner")).json()
    assert first == {"at": NOW, "agents": 3, "waiting": 7, "in_hand": 2, "corrected": True}
    assert not (await (await api.ask("POST", "/ewt/resync", key="planner")).json())["corrected"]
    assert (await api.problem(await api.ask("POST", "/ewt/resync", key="reader")))["kind"] == "scope"


async def test_who_may_only_read_plans_nothing(api: Programs) -> None:
    """The scope is `ewt.write`."""
    for method, body in (("POST", {"steps": STEPS}), ("DELETE", None)):
        problem = await api.problem(await api.ask(method, "/queues/support/ewt/plan", body, key="reader"))
        assert (problem["kind"], "ewt.write" in problem["detail"]) == ("scope", True)


@pytest.mark.parametrize(
    ("steps", "pointer"),
    [
        ([{"at": NOW, "capacity": -1}], "/steps/0/capacity"),
        ([{"at": "noon", "capacity": 1}], "/steps/0/at"),
        ([{"capacity": 1}], "/steps/0/at"),
        ([STEPS[0]] * 501, "/steps"),
    ],
)
async def test_a_plan_that_makes_no_sense_is_pointed_to(api: Programs, steps: list[object], pointer: str) -> None:
    """422, and nothing is planned."""
    problem = await api.problem(await api.ask("POST", "/queues/support/ewt/plan", {"steps": steps}, key="planner"))

    assert (problem["kind"], [error["pointer"] for error in problem["errors"]]) == ("fields", [pointer])
    assert api.waits.plans == {}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/queues/nowhere/ewt", None),
        ("GET", "/queues/nowhere/ewt/plan", None),
        ("POST", "/queues/nowhere/ewt/plan", {"steps": STEPS}),
        ("DELETE", "/queues/nowhere/ewt/plan", None),
        ("GET", "/ewt/calibration?queue=nowhere", None),
    ],
)
async def test_a_queue_that_is_not_there_is_named_with_those_that_are(
    api: Programs, method: str, path: str, body: object
) -> None:
    """404."""
    problem = await api.problem(await api.ask(method, path, body, key="planner"))

    assert (problem["kind"], "support_sms" in problem["detail"]) == ("not_found", True)


async def test_calibration_is_of_the_last_week_unless_asked_otherwise(api: Programs) -> None:
    """By queue, by half-hour and by probability; alarms beside it."""
    api.waits.outcomes += [outcome(100.0, at=NOW - 8 * 86_400.0), outcome(90.0, at=NOW - 3600, queue="support_sms", ghost=True)]
    told = await (await api.ask("GET", "/ewt/calibration", key="reader")).json()
    assert (told["since"], told["until"], told["alarms"]) == (NOW - 7 * 86_400.0, NOW, {"support": "too_short"})
    report = told["report"]
    assert [(each["queue"], each["ghosts"], each["scores"]["n"]) for each in report["queues"]] == [
        ("support", 0, 19),
        ("support_sms", 1, 1),
    ]
    assert set(report["reliability"]) == set(report["total"]["scores"]["brier"]) == {"60", "120", "300"}
    assert sum(each["n"] for each in report["half_hours"]) == report["total"]["scores"]["n"] == 20

    one = await (await api.ask("GET", f"/ewt/calibration?queue=support_sms&since={NOW - 4000}", key="reader")).json()
    assert one["report"]["total"]["scores"]["n"] == 1


@pytest.mark.parametrize("query", [f"since={NOW + 1}", f"since={NOW - 400 * 86_400}", "since=yesterday"])
async def test_a_time_that_cannot_be_reported_is_a_wrong_parameter(api: Programs, query: str) -> None:
    """Backwards, or more than a year."""
    problem = await api.problem(await api.ask("GET", f"/ewt/calibration?{query}", key="reader"))

    assert (problem["kind"], problem["errors"][0]["parameter"]) == ("parameters", "since")
