"""Sessions, queues, numbers, reports and dead letters by the API."""

import pytest

from bridge.events import QueueId
from bridge.journal import NoticeRow, TimelineLine, Unit
from tests.unit.web.programs import NOW, OURS, THEIRS, Programs, received, session, text


async def test_sessions_come_page_by_page(api: Programs) -> None:
    """The newest first, each row with what can be asked of it."""
    for n in range(3):
        await api.journal.commit(session(f"s-{n}", opened_at=NOW + n, service="api", handled=12.5))
    first = await (await api.ask("GET", "/sessions?limit=2", key="reader")).json()
    second = await (await api.ask("GET", f"/sessions?limit=2&after={first['next']}", key="reader")).json()

    assert [row["id"] for row in first["sessions"]] == ["s-2", "s-1"]
    assert [row["id"] for row in second["sessions"]] == ["s-0"]
    assert second["next"] is None
    assert first["sessions"][0] == {
        "id": "s-2",
        "state": "closed",
        "customer": THEIRS,
        "our_number": OURS,
        "language": "en",
        "queue": None,
        "agent": None,
        "opened_at": NOW + 2,
        "closed_at": NOW + 60,
        "text_state": "none",
        "call_state": "none",
        "service": "api",
        "ended_reason": "agent",
        "handled": 12.5,
        "first_agent_at": None,
    }


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("customer=%2B15550100123", ["s-a"]),
        ("customer=+15550100123", ["s-a"]),
        ("customer=15550100123", ["s-a"]),
        ("number=%2B15550100201", ["s-b"]),
        ("queue=support_sms", ["s-b"]),
        ("agent=ana", ["s-a"]),
        ("state=open", ["s-b"]),
        ("state=closed", ["s-a"]),
        ("service=outbound", ["s-b"]),
        (f"since={NOW + 1}", ["s-b"]),
        (f"until={NOW + 1}", ["s-a"]),
        ("state=open&agent=ana", []),
    ],
)
async def test_sessions_are_filtered(api: Programs, query: str, ids: list[str]) -> None:
    """By either number, queue, agent, state, service and time; several at once."""
    await api.journal.commit(session("s-a", agent="ana"))
    await api.journal.commit(
        session(
            "s-b",
            customer="+15550100124",
            our_number="+15550100201",
            queue="support_sms",
            state="open",
            closed_at=None,
            opened_at=NOW + 1,
            service="outbound",
        )
    )
    page = await (await api.ask("GET", f"/sessions?{query}", key="reader")).json()

    assert [row["id"] for row in page["sessions"]] == ids


@pytest.mark.parametrize(
    ("path", "document"), [("", {"id": "s-1", "timeline": []}), ("/explain", {"id": "s-1", "decisions": []})]
)
async def test_one_session_is_read_whole(api: Programs, path: str, document: dict[str, object]) -> None:
    """As the records have it."""
    answer = await api.ask("GET", f"/sessions/s-1{path}", key="reader")

    assert (answer.status, await answer.json()) == (200, document)


@pytest.mark.parametrize("path", ["/queues/nowhere/ewt", "/sessions/s-9", "/sessions/s-9/explain", "/sessions/s-9/transcript"])
async def test_what_is_not_there_is_a_problem(api: Programs, path: str) -> None:
    """404."""
    assert (await api.problem(await api.ask("GET", path, key="reader")))["kind"] == "not_found"


@pytest.mark.parametrize("accept", ["application/json, text/plain, */*", "*/*", "application/json"])
async def test_who_takes_json_gets_json(api: Programs, accept: str) -> None:
    """Also when plain text would do: many libraries say so without being asked."""
    await api.journal.commit(session("s-1"))
    answer = await api.ask("GET", "/sessions/s-1/transcript", key="reader", Accept=accept)

    assert answer.content_type == "application/json"


async def test_a_transcript_has_what_was_said(api: Programs) -> None:
    """As JSON without the machinery, or as text for who asks for that."""
    lines = [
        TimelineLine(NOW, "text.received", {"body": "Hi"}),
        TimelineLine(NOW + 1, "flow.trace", {"state": "x"}),
        TimelineLine(NOW + 2, "agent.joined", {"name": "Ana", "channel": "sms"}),
    ]
    await api.journal.commit(session("s-1", *lines))
    document = await (await api.ask("GET", "/sessions/s-1/transcript", key="reader")).json()
    plain = await api.ask("GET", "/sessions/s-1/transcript?zone=Europe/Paris", key="reader", Accept="text/plain")

    assert [(line["kind"], line["at"]) for line in document["lines"]] == [("text.received", NOW), ("agent.joined", NOW + 2)]
    assert document["session"]["id"] == "s-1"
    assert "Ana" in document["text"]
    assert plain.content_type == "text/plain"
    assert "09:00" in await plain.text(), "in Paris it is an hour later"
    assert "09:00" not in document["text"]


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "x" * 101])
async def test_a_zone_that_is_none_is_named(api: Programs, zone: str) -> None:
    """400."""
    problem = await api.problem(await api.ask("GET", f"/sessions/s-1/transcript?zone={zone}", key="reader"))

    assert [error["parameter"] for error in problem["errors"]] == ["zone"]


async def test_our_numbers_with_what_the_carriers_think(api: Programs) -> None:
    """Registration, limits, what is left, and who has its texts."""
    [first, second] = (await (await api.ask("GET", "/numbers")).json())["numbers"]

    assert first == {
        "number": OURS,
        "kind": "long_code",
        "brand": "BEXAMPLE",
        "campaign": None,
        "registered": True,
        "per_second": None,
        "per_day": 2000,
        "left_today": 1500,
        "queue": "support_sms",
        "agent": None,
        "menu": None,
        "calls": True,
    }
    assert (second["registered"], second["left_today"], second["calls"]) == (False, None, False)


async def test_texts_are_counted_over_time(api: Programs) -> None:
    """By span, direction, state and queue; the last day by the hour when nothing is said."""
    begins = NOW - NOW % 3600
    await api.journal.commit(session("s-1", queue=QueueId("support_sms")))
    await api.journal.commit(Unit(messages=[text("m-1", created_at=begins - 10), text("m-2", created_at=begins - 20)]))
    await api.journal.commit(Unit(messages=[received("in-1", "Hi", session="s-1", created_at=begins - 3700)]))
    await api.journal.commit(Unit(messages=[text("m-3", created_at=begins - 100_000)]))
    report = await (await api.ask("GET", "/reports/texts", key="reader")).json()

    assert (report["since"], report["until"], report["bucket"]) == (NOW - 86_400, NOW, 3600.0)
    assert [(row["at"], row["direction"], row["state"], row["queue"], row["texts"]) for row in report["counts"]] == [
        (begins - 7200, "in", "received", "support_sms", 1),
        (begins - 3600, "out", "pending", None, 2),
    ]


@pytest.mark.parametrize(
    "query", [f"since={NOW}&until={NOW - 1}", "since=0", "bucket=60&since=2026-01-01T00:00:00Z", "bucket=0", "since=2027-01-01"]
)
async def test_a_report_has_bounds(api: Programs, query: str) -> None:
    """400: backwards, or more spans than anybody reads."""
    assert (await api.problem(await api.ask("GET", f"/reports/texts?{query}", key="reader")))["kind"] == "parameters"


async def test_dead_letters_are_listed_and_tried_again(api: Programs) -> None:
    """With the notice itself, page by page; a number that is none, or is not dead, is not found."""
    for n in range(3):
        notice = NoticeRow(id=f"n-{n}", type="sms.delivered", at=NOW, body=b'{"id": "n"}', endpoints=("crm",))
        await api.journal.commit(Unit(notices=[notice]))
    for delivery in await api.journal.deliveries_due("crm", NOW, 10):
        await api.journal.delivery_failed(delivery.n, "500", None)
    first = await (await api.ask("GET", "/hooks/dead?limit=2", key="reader")).json()
    second = await (await api.ask("GET", f"/hooks/dead?limit=2&after={first['next']}", key="reader")).json()

    assert [row["id"] for row in first["deliveries"]] == ["n-0", "n-1"]
    assert [row["id"] for row in second["deliveries"]] == ["n-2"]
    assert second["next"] is None
    assert (first["deliveries"][0]["body"], first["deliveries"][0]["last_error"]) == ({"id": "n"}, "500")
    assert await (await api.ask("POST", "/hooks/deliveries/7/redeliver", key="reader")).json() == {"n": 7}
    for wrong in ("8", "x", "9" * 30, "-1", "²"):
        assert (await api.problem(await api.ask("POST", f"/hooks/deliveries/{wrong}/redeliver", key="reader")))[
            "kind"
        ] == "not_found"
    assert 7 in api.redelivered
