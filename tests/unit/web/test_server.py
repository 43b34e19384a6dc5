"""Health, metrics, headers, files, and what is (not) logged."""

import hashlib
import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from bridge.web.console.views import STATIC_FOLDER
from bridge.web.server import TwilioConfig, WebConfig, make_app
from tests.unit.web.conftest import Client
from tests.unit.web.fakes import FakeDesk, FakeIntake, FakeRecords


async def test_the_process_is_alive(client: Client) -> None:
    """`/healthz` answers as long as the process does."""
    answer = await client.get("/healthz")

    assert (answer.status, await answer.json()) == (200, {"status": "ok"})


async def test_readiness_says_why_not(client: Client, records: FakeRecords) -> None:
    """`/readyz` is 503 with the reason while no traffic should come."""
    assert (await client.get("/readyz")).status == 200

    records.is_ready = (False, "draining")

    answer = await client.get("/readyz")
    assert (answer.status, await answer.json()) == (503, {"status": "not_ready", "reason": "draining"})


async def test_metrics_count_by_route_pattern(client: Client) -> None:
    """Labels are route patterns: a path with an id or a number in it does not become a label."""
    await client.get("/desk/s-15550100123")
    await client.get("/nowhere/15550100123")

    text = await (await client.get("/metrics")).text()

    assert 'sidetone_http_requests_total{method="GET",route="/desk/{session}",status="303"}' in text
    assert 'route="unmatched"' in text
    assert "15550100123" not in text


async def test_the_request_log_holds_no_path(client: Client) -> None:
    """A log line names the route pattern; ids and query strings stay out."""
    with capture_logs() as logs:
        await client.get("/desk/s-15550100123?number=%2B15550100123", allow_redirects=False)
        await client.get("/healthz")

    assert [line["route"] for line in logs if line["event"] == "http.request"] == ["/desk/{session}"]
    assert "15550100123" not in str(logs)


async def test_an_error_is_logged_and_not_shown(client: Client, records: FakeRecords) -> None:
    """What goes wrong inside is in the log; outside there is a plain 500."""
    del records.is_ready

    with capture_logs() as logs:
        answer = await client.get("/readyz")

    assert answer.status == 500
    assert "is_ready" not in await answer.text()
    assert [line["route"] for line in logs if line["event"] == "http.failed"] == ["/readyz"]


@pytest.mark.parametrize("path", ["/sign-in", "/phone", "/healthz", "/nowhere"])
async def test_every_answer_is_fenced(client: Client, path: str) -> None:
    """No inline script, no foreign host, no frame, no sniffing."""
    headers = (await client.get(path)).headers

    assert "script-src 'self';" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Server"] == "sidetone"


async def test_versioned_files_are_cached_and_others_asked_for(client: Client) -> None:
    """A page names its style sheet with a version, which may be kept for ever."""
    sheet = re.search(r'href="(/static/console.css\?v=[^"]+)"', await (await client.get("/sign-in")).text())
    assert sheet is not None

    assert "immutable" in (await client.get(sheet[1])).headers["Cache-Control"]
    assert (await client.get("/static/console.css")).headers["Cache-Control"] == "no-cache"


async def test_recordings_are_served(client: Client) -> None:
    """`/prompts/` gives what callers hear, and nothing beside that folder."""
    assert await (await client.get("/prompts/hello.wav")).read() == b"RIFF"
    assert (await client.get("/prompts/%2e%2e/%2e%2e/etc/passwd")).status in {403, 404}


def test_twilio_needs_a_public_url(tmp_path: Path) -> None:
    """Without it no signature could be checked, so the server does not even start."""
    config = WebConfig(prompts=tmp_path, twilio=TwilioConfig(auth_tokens=("t",), accounts=frozenset()))

    with pytest.raises(ValueError, match="public_url"):
        make_app(FakeDesk(0.0), FakeIntake(), FakeRecords(), None, config, registry=CollectorRegistry())


def test_vendored_files_are_what_they_are_said_to_be() -> None:
    """The list of vendored files names the hash of each."""
    table = (STATIC_FOLDER.parent / "VENDORED.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([^`]+)` .*\| `([0-9a-f]{64})` \|$", table, flags=re.MULTILINE))

    assert set(listed) == {path.name for path in STATIC_FOLDER.glob("*.min.js")}
    assert listed == {name: hashlib.sha256((STATIC_FOLDER / name).read_bytes()).hexdigest() for name in listed}
