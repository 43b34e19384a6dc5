"""Who comes through to a page, and who does not."""

from pathlib import Path

import msgspec
from aiohttp import CookieJar
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from bridge.events import AgentId
from bridge.web.access import RIGHTS, Right, Role, rights_of
from bridge.web.ports import Agent
from bridge.web.server import WebConfig, make_app
from tests.unit.web.conftest import Client, SignIn
from tests.unit.web.fakes import FakeDesk, FakeIntake, FakeRecords
from tests.unit.web.test_sign_in import form_token


def test_every_right_belongs_to_some_role() -> None:
    """A right that nobody can have would guard a page that nobody can see."""
    assert {right for rights in RIGHTS.values() for right in rights} == set(Right)
    assert set(RIGHTS) == set(Role)


def test_a_role_that_does_not_exist_allows_nothing() -> None:
    """A spelling mistake is no way in."""
    assert rights_of(["supervisors", "root"]) == frozenset()


class Supervisors(FakeDesk):
    """Ana takes no work here: she looks after others."""

    def agent(self, agent: AgentId) -> Agent | None:
        known = super().agent(agent)
        return None if known is None else msgspec.structs.replace(known, roles=("supervisor",))


async def test_who_takes_no_work_begins_where_they_may(tmp_path: Path) -> None:
    """A supervisor has no desk: `/` leads to the boards, and nothing of the desk answers."""
    app = make_app(Supervisors(0.0), FakeIntake(), FakeRecords(), None, WebConfig(prompts=tmp_path), registry=CollectorRegistry())
    async with TestClient(TestServer(app), cookie_jar=CookieJar(unsafe=True)) as client:
        data = {"login": "ana", "password": "correct horse", "token": await form_token(client)}
        await client.post("/sign-in", data=data, allow_redirects=False)
        home = await client.get("/", allow_redirects=False)
        assert (home.status, home.headers["Location"]) == (303, "/supervisor")
        page = await client.get("/desk/s-1")
        assert (page.status, "not for you" in await page.text()) == (403, True)
        assert (await client.get("/desk/new")).status == 403


async def test_who_chooses_a_language_gets_it(client: Client, sign_in: SignIn) -> None:
    """It is kept in the browser, and they are back on the page they came from."""
    csrf = await sign_in()
    data = {"csrf": csrf, "language": "fr"}
    answer = await client.post(
        "/language", data=data, headers={"Referer": str(client.make_url("/desk/s-1"))}, allow_redirects=False
    )
    assert (answer.status, answer.headers["Location"]) == (303, "/desk/s-1")
    assert '<html lang="fr">' in await (await client.get("/")).text()
    for wrong in ({**data, "csrf": "x"}, {**data, "language": "xx"}):
        assert (await client.post("/language", data=wrong)).status == 403
