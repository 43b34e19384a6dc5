"""The supervisor's pages: who sees what, what is sent when, and what a button does."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from bridge.events import AgentId
from bridge.web.console.supervisor import LIVES, MOST_SOCKETS, SIGNED_OUT
from bridge.web.ports import Agent
from bridge.web.ports_supervisor import Posted
from bridge.web.server import WebConfig, make_app
from tests.unit.web.conftest import NOW, Client, Clock
from tests.unit.web.fakes import FakeDesk, FakeIntake, FakeRecords
from tests.unit.web.supervisor_fakes import CALL, CHAT, NUMBER, FakeSupervising

SUE = AgentId("sue")
PRETTY = "+1 555-010-0123"
PEOPLE = {
    "sue": Agent(SUE, "Sue Park", ("support",), ("supervisor", "agent")),
    "egon": Agent(AgentId("egon"), "Egon", (), ("engineer",)),
    "ana": Agent(AgentId("ana"), "Ana Torres", ("support",)),
}


class House:
    """The web side with a supervisor's desk, and a browser."""

    def __init__(self, client: Client, service: FakeSupervising, clock: Clock) -> None:
        self.client = client
        self.service = service
        self.clock = clock
        self.csrf = ""

    async def enter(self, login: str = "sue") -> None:
        form = await (await self.client.get("/sign-in")).text()
        token = form.split('name="token" value="')[1].split('"')[0]
        answer = await self.client.post(
            "/sign-in", data={"login": login, "password": "secret", "token": token, "next": "/language"}, allow_redirects=False
        )
        assert answer.status == 303
        page = await (await self.client.get("/supervisor")).text()
        self.csrf = page.split('"X-CSRF-Token":"')[1].split('"')[0]

    async def read(self, path: str, status: int = 200) -> str:
        async with self.client.get(path, allow_redirects=False) as answer:
            assert answer.status == status, await answer.text()
            return await answer.text()

    async def post(self, path: str, **data: str) -> tuple[int, str]:
        headers = {"X-CSRF-Token": self.csrf, "HX-Request": "true"}
        async with self.client.post(path, data=data, headers=headers) as answer:
            return answer.status, await answer.text()

    async def look(self, query: str = "") -> aiohttp.ClientWebSocketResponse:
        origin = str(self.client.make_url("")).rstrip("/")
        return await self.client.ws_connect(f"/supervisor/ws?{query}", headers={"Origin": origin})


async def news(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    return msgspec.json.decode(await socket.receive_str(timeout=5), type=dict[str, Any])


@pytest.fixture
async def house(tmp_path: Path, clock: Clock) -> AsyncIterator[House]:
    desk, service = FakeDesk(NOW), FakeSupervising(NOW)
    for login, agent in PEOPLE.items():
        desk.agents[agent.id] = agent
        desk.passwords[login] = "secret"
        desk.presences.setdefault(agent.id, desk.presences[AgentId("ben")])
    app = make_app(
        desk,
        FakeIntake(),
        FakeRecords(),
        None,
        WebConfig(prompts=tmp_path),
        registry=CollectorRegistry(),
        now=clock,
        supervising=service,
    )
    async with TestClient(TestServer(app), cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        yield House(client, service, clock)


async def test_who_may_look(house: House) -> None:
    """Strangers are led to the form, agents are told that the page is not for them, supervisors see it."""
    assert await house.read("/supervisor", 303) is not None
    await house.enter("ana")
    assert "not for you" in await house.read("/supervisor", 403)
    socket = await house.look()
    await socket.receive(timeout=5)
    assert socket.close_code == SIGNED_OUT
    async with house.client.get("/supervisor/ws", headers={"Origin": "https://elsewhere.example"}) as answer:
        assert answer.status == 403


async def test_a_page_is_sent_its_rows_and_then_only_what_changes(house: House) -> None:
    """First everything of the view, then the one row that is another; a wish for another view is answered with that."""
    await house.enter()
    socket = await house.look("board=agents")
    first = await news(socket)
    assert (first["fresh"], first["order"], first["total"]) == (True, ["ana", "ben"], 2)
    assert "&lt;b&gt;Maria&lt;/b&gt;" in first["rows"]["ana"]
    assert "Support: waiting 1" in first["top"]

    house.service.change(answered=6)
    second = await news(socket)
    assert set(second) == {"rows"}
    assert list(second["rows"]) == ["ana"]

    await socket.send_str('{"board": "queues", "sort": "title", "down": "1"}')
    third = await news(socket)
    assert (third["fresh"], third["order"]) == (True, ["texts", "support"])
    assert "75 %" in third["rows"]["support"]
    assert "1 min to 3 min" in third["rows"]["support"]
    await socket.send_str('{"board": "sessions", "phase": "now", "words": "maria"}')
    assert (await news(socket))["order"] == [CHAT]
    await socket.send_str('{"board": "sessions", "phase": "upcoming", "queue": "support", "words": "0123"}')
    assert (await news(socket))["order"] == [CALL]
    await socket.send_str('{"board": "agents", "team": "day", "state": "busy", "queue": "support"}')
    assert (await news(socket))["order"] == ["ana"]
    await socket.send_str('{"board": "agents", "team": "night"}')
    assert (await news(socket))["total"] == 0
    await socket.send_str('{"board": "wall"}')
    assert NUMBER not in (await news(socket))["top"]
    await socket.send_str('{"board": "top"}')
    assert "rows" not in await news(socket)
    await socket.send_str("no JSON")
    await socket.receive(timeout=5)
    assert socket.closed


async def test_who_may_not_know_customers_sees_no_number(house: House) -> None:
    """An engineer's rows have masked numbers and no names, cannot be searched by them, and offer no action."""
    await house.enter("egon")
    socket = await house.look("board=sessions&phase=now")
    row = (await news(socket))["rows"][CHAT]
    assert "Maria" not in row
    assert NUMBER not in row
    assert "0123" in row
    assert "actions" not in row
    await socket.send_str('{"board": "sessions", "phase": "now", "words": "maria"}')
    assert (await news(socket))["order"] == []
    await socket.close()
    page = await house.read(f"/supervisor/sessions/{CALL}")
    assert "My secret" not in page
    assert PRETTY not in page
    assert "a call is in progress" in page
    explained = await house.read(f"/supervisor/sessions/{CALL}/explain")
    assert NUMBER not in explained
    assert "My secret" not in explained
    await house.read("/supervisor/message", 403)
    assert (await house.post(f"/supervisor/sessions/{CALL}/end", channel="voice", reason="x", sure="yes"))[0] == 403
    await house.read("/supervisor/previous?words=0123")
    assert house.service.asked[-1] == ("previous", "0123", None, None, False)


async def test_who_has_signed_out_is_sent_nothing_more(house: House) -> None:
    """A board that is open when its owner signs out closes with the next news."""
    await house.enter()
    socket = await house.look()
    await news(socket)
    await house.client.post("/sign-out", data={"csrf": house.csrf}, allow_redirects=False)
    house.service.change(answered=7)
    await socket.receive(timeout=5)
    assert socket.close_code == SIGNED_OUT


async def test_nobody_opens_windows_without_end(house: House) -> None:
    """More boards than anybody can look at are refused."""
    await house.enter()
    sockets = [await house.look() for _ in range(MOST_SOCKETS)]
    for socket in sockets:
        await news(socket)
    late = await house.look()
    await late.receive(timeout=5)
    assert late.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION
    for socket in sockets:
        await socket.close()


async def test_the_trail_of_a_session(house: House) -> None:
    """Everything that happened and why, in words; a session that is not there is not found."""
    await house.enter()
    page = await house.read(f"/supervisor/sessions/{CALL}")
    for words in (
        PRETTY,
        "My secret",
        "Waits now in Support, place 1",
        "Has no room for it",
        "Texting would not have been faster.",
        "60.5",
        "One to three minutes.",
        "a call is in progress",
        "May we text you?",
        "main:12",
    ):
        assert words in page, words
    assert NUMBER in await house.read(f"/supervisor/sessions/{CALL}/explain")
    await house.read("/supervisor/sessions/none", 404)
    await house.read("/supervisor/sessions/none/explain", 404)


async def test_sessions_that_are_over_come_page_by_page(house: House) -> None:
    """The first page offers the next; the last says that there is nothing more."""
    await house.enter()
    first = await house.read("/supervisor/previous?words=&queue=support")
    assert "after=c-0" in first
    assert house.service.asked[-1] == ("previous", "", "support", None, True)
    assert "Nothing to show" in await house.read("/supervisor/previous?after=c-0")


async def test_panels(house: House) -> None:
    """What can be done now stands in the panel; what cannot is said there."""
    await house.enter()
    assert "Set to Not ready" in await house.read("/supervisor/agents/ana")
    assert "no such agent" in await house.read("/supervisor/agents/zed")
    panel = await house.read(f"/supervisor/sessions/{CALL}/actions?channel=sms")
    assert "queue:texts" in panel
    assert "queue:support" not in panel
    assert "Nothing can be done" in await house.read("/supervisor/sessions/none/actions")
    assert "Drill at ten" in await house.read("/supervisor/message?to=ana")
    assert "Service level" in await house.read("/supervisor/definitions")
    assert "Sue looked after it" in await house.read("/supervisor/alerts")
    assert NUMBER not in await house.read("/supervisor/wall")


async def test_actions_do_what_they_say(house: House) -> None:
    """Each button tells the service who wants what; what is not complete is asked for again."""
    await house.enter()
    asked, path = house.service.asked, f"/supervisor/sessions/{CHAT}"
    assert (await house.post(f"{path}/move", channel="sms", to="agent:ben", note=" Please "))[0] == 204
    assert (await house.post(f"{path}/move", channel="voice", to="queue:sales"))[0] == 204
    assert (await house.post(f"{path}/take-over", channel="sms"))[0] == 204
    assert (await house.post(f"{path}/end", channel="sms", reason="abuse", sure="yes"))[0] == 204
    assert asked[-4:] == [
        ("move", SUE, CHAT, "sms", "ben", None, "Please"),
        ("move", SUE, CHAT, "voice", None, "sales", ""),
        ("take_over", SUE, CHAT, "sms"),
        ("end", SUE, CHAT, "sms", "abuse"),
    ]
    assert "Choose an agent" in (await house.post(f"{path}/move", channel="sms", to=""))[1]
    assert "Say that you are sure" in (await house.post(f"{path}/end", channel="sms", reason="abuse"))[1]

    assert (await house.post("/supervisor/agents/ana/state", state="not_ready", reason="Training"))[0] == 204
    assert (await house.post("/supervisor/agents/ana/state", state="ready"))[0] == 204
    assert (await house.post("/supervisor/agents/ana/sign-out", reason="Went home"))[0] == 204
    assert asked[-3:] == [
        ("set_state", SUE, "ana", "not_ready", "Training"),
        ("set_state", SUE, "ana", "ready", ""),
        ("sign_out", SUE, "ana", "Went home"),
    ]
    assert "Say why" in (await house.post("/supervisor/agents/ana/state", state="not_ready"))[1]
    assert "Say why" in (await house.post("/supervisor/agents/ana/sign-out"))[1]
    assert (await house.post("/supervisor/agents/ana/state", state="asleep"))[0] == 400

    assert (await house.post("/supervisor/message", to="team:day", words="Hello", lives="day", pinned="yes"))[0] == 204
    assert asked[-1] == ("post", SUE, Posted("team", "day", "Hello", LIVES["day"], pinned=True))
    assert (await house.post("/supervisor/message", to="moon:", words="Hello", lives="day"))[0] == 400
    assert (await house.post("/supervisor/message/take-down", bulletin="b1"))[0] == 204
    assert (await house.post("/supervisor/alerts/acknowledge", alert="Line:support:1"))[0] == 204
    assert asked[-2:] == [("take_down", SUE, "b1"), ("acknowledge", SUE, "Line:support:1")]

    house.service.refusal = "Ben is on a call."
    status, words = await house.post(f"{path}/move", channel="sms", to="agent:ben")
    assert (status, "Ben is on a call." in words) == (200, True)
    assert "on a call" not in await house.read("/supervisor/message")


async def test_a_message_stands_at_the_desk_until_it_is_read(house: House) -> None:
    """The desk shows it and its websocket brings it; the tick says that it was read."""
    await house.enter()
    assert "Drill at ten" in await house.read("/")
    assert (await house.post("/desk/messages/b1/read"))[0] == 204
    assert house.service.asked[-1] == ("read", SUE, "b1")
    origin = str(house.client.make_url("")).rstrip("/")
    socket = await house.client.ws_connect("/desk/ws", headers={"Origin": origin})
    received = [await socket.receive_str(timeout=5) for _ in range(3)]
    assert any('id="messages"' in html and "Drill at ten" in html for html in received)
    await socket.close()
