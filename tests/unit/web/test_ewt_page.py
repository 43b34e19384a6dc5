"""The page of waiting times: who sees it, and what it says."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from bridge.events import AgentId
from bridge.web.ports import Agent
from bridge.web.ports_ewt import Announcement, DecisionNow, QueueWait, SmsSide
from bridge.web.server import WebConfig, make_app
from tests.unit.hindsight.told import outcome
from tests.unit.web.conftest import NOW, Client
from tests.unit.web.fake_waits import FakeWaits, wait
from tests.unit.web.fakes import FakeDesk, FakeIntake, FakeRecords

ROLES = {"egon": ("engineer",), "ana": ("agent",)}


class Desk(FakeDesk):
    """Whoever signs in is who they say, with the roles they have."""

    async def sign_in(self, login: str, password: str) -> Agent | None:
        del password
        return self.agent(AgentId(login))

    def agent(self, agent: AgentId) -> Agent | None:
        return Agent(agent, agent.title(), (), ROLES[agent]) if agent in ROLES else None


@pytest.fixture
def waits() -> FakeWaits:
    return FakeWaits()


@pytest.fixture
async def browser(waits: FakeWaits, tmp_path: Path) -> AsyncIterator[Client]:
    """Nobody is signed in yet."""
    app = make_app(
        Desk(NOW),
        FakeIntake(),
        FakeRecords(),
        None,
        WebConfig(prompts=tmp_path),
        registry=CollectorRegistry(),
        now=lambda: NOW,
        waits=waits,
    )
    async with TestClient(TestServer(app), cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        yield client


async def enter(client: Client, login: str = "egon") -> None:
    form = await (await client.get("/sign-in")).text()
    token = form.split('name="token" value="')[1].split('"')[0]
    data = {"login": login, "password": "secret", "token": token, "next": "/language"}
    assert (await client.post("/sign-in", data=data, allow_redirects=False)).status == 303


@pytest.mark.parametrize("path", ["/ewt", "/ewt/now"])
async def test_only_who_may_sees_it(browser: Client, path: str) -> None:
    """Strangers sign in first; an agent without the right is told so."""
    assert (await browser.get(path, allow_redirects=False)).status == 303
    await enter(browser, "ana")
    assert (await browser.get(path)).status == 403


async def test_it_says_what_is_forecast_and_why(browser: Client) -> None:
    """From half to nine of ten, the chances, what it is made of, and what would be offered."""
    await enter(browser)
    page = await (await browser.get("/ewt")).text()
    for words in (
        "2 min to 3.8 min", "learned from 412 waits", "7 ahead", "12 agents", "3.1 taken a minute", "0.4 give up a minute",
        "Texting is offered", "The wait is long enough", "a text waits 20 s to 1.8 min; 5 places for chats are open",
        "Told: 2 to 3 minutes", "<dd>86 %</dd>",
    ):  # fmt: skip
        assert words in page, words
    assert "not known" in page
    assert "Nobody works it" in page
    assert "No number is told: nobody works the queue." in page


async def test_it_says_how_good_the_forecasts_were(browser: Client) -> None:
    """Figures, alarms, tables, and the same as data for the charts."""
    await enter(browser)
    page = await (await browser.get("/ewt?days=28")).text()
    for words in ("Waits are longer than forecast", "100 %", "should be 80 %", "By half-hour", '<option value="28" selected>'):
        assert words in page, words
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert [each["name"] for each in data["reliability"]] == [f"{n} min and more" for n in (1, 2, 5)]
    assert sum(row[4] for row in data["half_hours"]) == 19


async def test_one_queue_may_be_looked_at(browser: Client, waits: FakeWaits) -> None:
    """One that is not there leads back to all; so does a time that nobody offers."""
    waits.outcomes.append(outcome(90.0, at=NOW - 60, queue="support_sms", ghost=True))
    await enter(browser)
    page = await (await browser.get("/ewt?queue=support_sms&days=x")).text()
    assert '<option value="support_sms" selected>' in page
    assert '<option value="7" selected>' in page
    away = await browser.get("/ewt?queue=nowhere", allow_redirects=False)
    assert (away.status, away.headers["Location"]) == (302, "/ewt")


async def test_without_a_past_there_is_nothing_to_judge(browser: Client, waits: FakeWaits) -> None:
    """It says so instead of showing zeros."""
    waits.outcomes.clear()
    await enter(browser)
    page = await (await browser.get("/ewt")).text()
    assert "Nobody has had to wait in this time." in page
    assert 'id="data"' not in page


_QUIET = Announcement(None, None, speak=False, silence="prior")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (wait(status="free_agent", announce=Announcement(0, 1, speak=True, silence=None)), ("no wait", "less than a minute")),
        (wait(basis="prior", announce=_QUIET), ("a first guess", "too little has been seen")),
        (wait(basis="plan", plan_until=NOW + 60.0), ("with the planned staff", "Staff is planned until")),
        (wait(announce=msgspec.structs.replace(_QUIET, silence="wide")), ("it could be anything",)),
        (wait(announce=msgspec.structs.replace(_QUIET, silence="degraded")), ("No number is told.",)),
        (wait(announce=Announcement(4, 4, speak=True, silence=None)), ("about 4 minutes",)),
        (wait(status="closed"), ("Closed",)),
        (wait(alarm="too_narrow"), ("surer than they should be",)),
        (wait(alarm="too_wide"), ("less sure than they could be",)),
        (wait(alarm="too_long"), ("shorter than forecast",)),
        (wait(p50=840.0, p90=1200.0), ("14 min to 20 min",)),
        (wait(p50=20.0, p90=59.0), ("20 s to 59 s",)),
        (
            wait(decision=DecisionNow(offer_sms=False, reason="sms_not_faster", p=0.5, threshold=120.0, pi=0.4, since=NOW)),
            ("Texting is not offered", "Texting would not have been faster."),
        ),
        (wait(sms=SmsSide("support_sms", None, None, None, 5, 0.0)), ("(5 places for chats are open)",)),
        (wait(sms=SmsSide("support_sms", 0.0, 0.0, 0.0, 5, 0.0)), ("a text is answered at once",)),
    ],
)
async def test_every_state_has_words(browser: Client, waits: FakeWaits, changed: QueueWait, words: tuple[str, ...]) -> None:
    """And the part that renews itself has the same as the page."""
    waits.waits = {"support": changed}
    await enter(browser)
    part = await (await browser.get("/ewt/now")).text()
    for each in words:
        assert each in part, each
    assert "<html" not in part
    assert part.strip().splitlines()[0] in await (await browser.get("/ewt")).text()
