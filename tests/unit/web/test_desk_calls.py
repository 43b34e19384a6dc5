"""The desk's page of calls: buttons, panels, the list of callbacks."""

import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from bridge.events import AgentId, SessionId
from bridge.web.ports import DeskRefusedError
from bridge.web.ports_calls import CallbackDue, CallColleague, Callee, CallQueue, CallTargets, CallView
from bridge.web.server import WebConfig, make_app
from tests.unit.web.conftest import NOW, Client
from tests.unit.web.fakes import SESSION, FakeDesk, FakeIntake, FakeRecords

BEN = AgentId("ben")
OURS, CUSTOMER = "+15550100200", "+15550100150"
TARGETS = CallTargets(
    (CallColleague(BEN, "Ben Ode", "ready"), CallColleague(AgentId("cat"), "Cat", "not_ready", "Lunch")),
    (CallQueue("billing", "Billing", 2, 0),),
)
DUE = CallbackDue(SESSION, CUSTOMER, "Rosa", "support", NOW - 600.0, NOW + 60.0, NOW + 300.0, 2, 1, "about the bill")


class FakeCallsOfDesk:
    """Keeps what it was asked to do, and refuses when told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.shown: CallView | None = CallView("connected", mine=True)
        self.due: tuple[CallbackDue, ...] = ()
        self.may_be_called: tuple[str, ...] = (OURS,)
        self.targets_are = TARGETS
        self.refusal = ""

    def _note(self, *asked: Any) -> None:
        if self.refusal:
            raise DeskRefusedError(self.refusal)
        self.asked.append(asked)

    def view(self, agent: AgentId, session: SessionId) -> CallView | None:
        del agent, session
        return self.shown

    async def hold(self, agent: AgentId, session: SessionId) -> None:
        self._note("hold", agent, session)

    async def resume(self, agent: AgentId, session: SessionId) -> None:
        self._note("resume", agent, session)

    def targets(self, agent: AgentId, session: SessionId) -> CallTargets:
        del agent, session
        if self.refusal:
            raise DeskRefusedError(self.refusal)
        return self.targets_are

    async def hand_on(
        self, agent: AgentId, session: SessionId, *, to: AgentId | None, queue: str | None, number: str | None, note: str
    ) -> None:
        self._note("hand_on", agent, session, to, queue, number, note)

    async def ask(self, agent: AgentId, session: SessionId, *, to: AgentId | None, number: str | None, note: str) -> None:
        self._note("ask", agent, session, to, number, note)

    async def swap(self, agent: AgentId, session: SessionId) -> None:
        self._note("swap", agent, session)

    async def take_back(self, agent: AgentId, session: SessionId) -> None:
        self._note("take_back", agent, session)

    async def complete(self, agent: AgentId, session: SessionId) -> None:
        self._note("complete", agent, session)

    def senders(self, agent: AgentId) -> tuple[str, ...]:
        del agent
        return self.may_be_called

    async def callee(self, agent: AgentId, typed: str, sender: str) -> Callee:
        del agent, sender
        return Callee(CUSTOMER, name="Rosa") if typed else Callee(None, "That is not a telephone number.")

    async def call(self, agent: AgentId, number: str, sender: str) -> SessionId:
        self._note("call", agent, number, sender)
        return SESSION

    def callbacks(self, agent: AgentId) -> tuple[CallbackDue, ...]:
        del agent
        return self.due

    async def start_callback(self, agent: AgentId, session: SessionId) -> None:
        self._note("start", agent, session)

    async def cancel_callback(self, agent: AgentId, session: SessionId) -> None:
        self._note("cancel", agent, session)


class Page:
    """A signed-in agent's browser."""

    def __init__(self, client: Client, calls: FakeCallsOfDesk, token: str) -> None:
        self.client = client
        self.calls = calls
        self._token = token

    async def get(self, path: str) -> str:
        return await (await self.client.get(path)).text()

    async def post(self, path: str, **data: str) -> aiohttp.ClientResponse:
        headers = {"X-CSRF-Token": self._token, "HX-Request": "true"}
        return await self.client.post(path, data=data, headers=headers)


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    calls, desk = FakeCallsOfDesk(), FakeDesk(NOW)
    app = make_app(
        desk, FakeIntake(), FakeRecords(), None, WebConfig(prompts=tmp_path),
        registry=CollectorRegistry(), now=lambda: NOW, calls=calls,
    )  # fmt: skip
    async with TestClient(TestServer(app), cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        form = await (await client.get("/sign-in")).text()
        token = re.search(r'name="token" value="([^"]+)"', form)
        assert token is not None
        data = {"login": "ana", "password": "correct horse", "token": token[1]}
        html = await (await client.post("/sign-in", data=data)).text()
        csrf = re.search(r'X-CSRF-Token":"([^"]+)"', html)
        assert csrf is not None
        yield Page(client, calls, csrf[1])


@pytest.mark.parametrize(
    ("view", "there", "not_there"),
    [
        (CallView("connected", mine=True), ["Hold", "Transfer"], ["Resume", "Connect them"]),
        (CallView("held", mine=True, held_since=NOW - 5.0), ["Resume", "Transfer"], ["/hold"]),
        (CallView("held", mine=True, held_at_phone=True), ["take it off hold there"], ["/resume"]),
        (CallView("consulting", mine=True, asked="Ben"), ["Calling Ben", "Stop asking"], ["Connect them", "/hold"]),
        (CallView("consulting", mine=True, asked="Ben", answered=True), ["Connect them", "Talk to the caller", "Take back"], []),
        (CallView("consulting", mine=True, asked="Ben", answered=True, waits=True), ["Talk to Ben", "Ben waits"], []),
        (CallView("consulting", asks_me="Ann"), ["Ann asks you"], ["Hold", "Connect them"]),
        (CallView("queued", handed_to="Ben", until=NOW + 20.0), ["Handed over to Ben"], ["Hold"]),
        (CallView("connected", mine=True, transfer_why="Please keep it."), ["Please keep it."], ["call-transfer"]),
        (None, [], ["Hold", "Transfer</button>"]),
    ],
)
async def test_the_head_has_the_buttons_that_work_now(
    page: Page, view: CallView | None, there: list[str], not_there: list[str]
) -> None:
    """And none that would be refused."""
    page.calls.shown = view
    whole = await page.get(f"/desk/{SESSION}")
    html = whole.partition('id="session-head"')[2].partition("</header>")[0] + whole.partition('id="banners"')[2]
    html = html.partition('id="composer')[0]
    assert [words for words in there if words not in html] == []
    assert [words for words in not_there if words in html] == []


@pytest.mark.parametrize(
    ("button", "asked"),
    [("hold", "hold"), ("resume", "resume"), ("swap", "swap"), ("take-back", "take_back"), ("complete", "complete"),
     ("callback/cancel", "cancel")],
)  # fmt: skip
async def test_a_button_does_it_or_says_why_not(page: Page, button: str, asked: str) -> None:
    """Nothing on the page is replaced; what changes comes over the websocket."""
    answer = await page.post(f"/desk/{SESSION}/{button}")
    assert answer.status == 204
    assert page.calls.asked == [(asked, "ana", SESSION)]
    page.calls.refusal = "Not now <b>"
    answer = await page.post(f"/desk/{SESSION}/{button}")
    assert "Not now &lt;b&gt;" in await answer.text()
    assert answer.headers["HX-Reswap"] == "none"


async def test_the_panel_lists_whom_a_call_may_be_handed_to(page: Page) -> None:
    """Who cannot take it says why, and numbers outside are there when there is a trunk."""
    html = await page.get(f"/desk/{SESSION}/call-transfer")
    assert "Ben Ode" in html
    assert "Lunch" in html
    assert "Nobody there" in html
    assert 'name="number"' in html
    page.calls.targets_are = msgspec.structs.replace(TARGETS, colleagues=(), outside_why="No trunk here.")
    html = await page.get(f"/desk/{SESSION}/call-transfer")
    assert "No trunk here." in html
    assert "No other agent" in html
    page.calls.targets_are = msgspec.structs.replace(TARGETS, why_not="Please keep it.")
    assert "Please keep it." in await page.get(f"/desk/{SESSION}/call-transfer")
    page.calls.refusal = "This call is not yours."
    assert "This call is not yours." in await page.get(f"/desk/{SESSION}/call-transfer")


@pytest.mark.parametrize(
    ("form", "asked"),
    [
        ({"to": "agent:ben", "how": "ask", "note": " an old friend "}, ("ask", "ana", SESSION, BEN, None, "an old friend")),
        ({"to": "number:", "number": "+15550100177", "how": "ask"}, ("ask", "ana", SESSION, None, "+15550100177", "")),
        ({"to": "agent:ben", "how": "hand_on"}, ("hand_on", "ana", SESSION, BEN, None, None, "")),
        ({"to": "queue:billing"}, ("hand_on", "ana", SESSION, None, "billing", None, "")),
        ({"to": "number:", "number": "+15550100177"}, ("hand_on", "ana", SESSION, None, None, "+15550100177", "")),
    ],
)
async def test_a_call_is_handed_on_or_somebody_is_asked(page: Page, form: dict[str, str], asked: tuple[Any, ...]) -> None:
    """As the button says; the panel closes."""
    answer = await page.post(f"/desk/{SESSION}/call-transfer", **form)
    assert (answer.status, answer.headers["HX-Trigger"]) == (204, "panel-done")
    assert page.calls.asked == [asked]


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({}, "Choose a colleague"),
        ({"to": "number:"}, "Choose a colleague"),
        ({"to": "queue:billing", "how": "ask"}, "A queue cannot be asked"),
        ({"to": "agent:ben", "note": "x" * 1001}, "at most 1000"),
    ],
)
async def test_a_form_that_says_nothing_is_refused_in_the_panel(page: Page, form: dict[str, str], why: str) -> None:
    """The words stand in the panel, and nothing has happened."""
    answer = await page.post(f"/desk/{SESSION}/call-transfer", **form)
    html = await answer.text()
    assert why in html
    assert 'id="panel-problem"' in html
    assert page.calls.asked == []


async def test_a_customer_is_called(page: Page) -> None:
    """From a number of ours; the conversation opens on the page."""
    html = await page.get("/desk/call")
    assert "Your phone rings first" in html
    assert "Rosa" in await (await page.post("/desk/call/check", number=CUSTOMER, sender=OURS)).text()
    assert "not a telephone" in await (await page.post("/desk/call/check", sender=OURS)).text()
    answer = await page.post("/desk/call", number=CUSTOMER, sender=OURS)
    assert json.loads(answer.headers["HX-Location"])["path"] == f"/desk/{SESSION}"
    assert page.calls.asked == [("call", "ana", CUSTOMER, OURS)]
    page.calls.may_be_called = (OURS, "+15550100201")
    assert 'value="+15550100201"' in await page.get("/desk/call")
    assert "/desk/call" in await page.get("/desk/new")
    page.calls.may_be_called = ()
    assert "no telephone" in await page.get("/desk/call")
    assert "/desk/call" not in await page.get("/desk/new")


async def test_callbacks_stand_in_the_list(page: Page) -> None:
    """With their place, what was promised and how often it was tried; an agent may call now."""
    assert 'data-count="0"' in (await page.get("/")).partition('id="callbacks"')[2].partition(">")[0]
    page.calls.due = (DUE, msgspec.structs.replace(DUE, name=None, position=None, promised_by=None, tries=0, summary=""))
    html = (await page.get("/")).partition('id="callbacks"')[2].partition("</section>")[0]
    for words in ("Rosa", "1 in line", "promised by", "tried 2 times", "about the bill", "from ", "Call now"):
        assert words in html
    answer = await page.post(f"/desk/{SESSION}/callback")
    assert json.loads(answer.headers["HX-Location"])["path"] == f"/desk/{SESSION}"
    assert page.calls.asked == [("start", "ana", SESSION)]


async def test_no_stranger_and_no_foreign_page_touches_a_call(page: Page, client: Client) -> None:
    """Nobody who is not signed in, and nobody without the page's token."""
    posts: Callable[..., Any] = page.client.post
    for path in ("hold", "resume", "call-transfer", "swap", "take-back", "complete", "callback", "callback/cancel"):
        assert (await posts(f"/desk/{SESSION}/{path}", headers={"X-CSRF-Token": "guessed"})).status == 403
    assert (await posts("/desk/call", headers={"X-CSRF-Token": "guessed"})).status == 403
    assert page.calls.asked == []
    assert "HX-Redirect" in (await client.get("/desk/call", headers={"HX-Request": "true"})).headers
