"""Signing in at the desk."""

from pathlib import Path

import pytest
from aiohttp import CookieJar
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from bridge.web.server import WebConfig, make_app
from tests.unit.web.conftest import Client, Clock, SignIn
from tests.unit.web.fakes import ANA, FakeDesk, FakeIntake, FakeRecords

GOOD = {"login": "ana", "password": "correct horse"}


async def form_token(client: Client) -> str:
    text = await (await client.get("/sign-in")).text()
    return text.partition('name="token" value="')[2].partition('"')[0]


def cookie(client: Client, name: str = "sidetone_desk") -> str | None:
    return next((morsel.value for morsel in client.session.cookie_jar if morsel.key == name), None)


async def test_the_desk_asks_who_you_are(client: Client) -> None:
    """Without a session every page of the desk leads to the form, and from there back."""
    answer = await client.get("/desk/s-1", allow_redirects=False)

    assert (answer.status, answer.headers["Location"]) == (303, "/sign-in?next=/desk/s-1")


async def test_a_right_password_opens_the_desk(client: Client) -> None:
    """The cookie cannot be read by scripts, and is not sent along by other sites' forms."""
    answer = await client.post("/sign-in", data={**GOOD, "token": await form_token(client)}, allow_redirects=False)

    assert (answer.status, answer.headers["Location"]) == (303, "/")
    set_cookie = next(value for value in answer.headers.getall("Set-Cookie") if value.startswith("sidetone_desk="))
    assert "HttpOnly" in set_cookie
    assert "SameSite=Lax" in set_cookie
    assert "Ana Torres" in await (await client.get("/")).text()


async def test_a_fragment_asks_the_page_to_go_to_the_form(client: Client) -> None:
    """A part of a page cannot show the form; it sends the whole page there."""
    answer = await client.get("/desk/s-1", headers={"HX-Request": "true"}, allow_redirects=False)

    assert (answer.status, answer.headers["HX-Redirect"]) == (200, "/sign-in?next=/desk/s-1")


@pytest.mark.parametrize("wrong", [{"login": "ana", "password": "wrong"}, {"login": "nobody", "password": "x"}, {}])
async def test_a_wrong_password_says_no_more_than_that(client: Client, wrong: dict[str, str]) -> None:
    """It does not tell whether the login exists."""
    answer = await client.post("/sign-in", data={**wrong, "token": await form_token(client)})

    assert answer.status == 403
    assert "Login or password is not right." in await answer.text()
    assert cookie(client) is None


async def test_the_form_has_to_be_ours(client: Client) -> None:
    """A form of another site has no token, or the wrong one, or a foreign Origin."""
    token = await form_token(client)
    for data, headers in (
        (GOOD, {}),
        ({**GOOD, "token": "x"}, {}),
        ({**GOOD, "token": token}, {"Origin": "https://evil.example"}),
    ):
        answer = await client.post("/sign-in", data=data, headers=headers)
        assert answer.status == 403
        token = await form_token(client)
    assert cookie(client) is None


async def test_guessing_is_slowed_down(client: Client, clock: Clock) -> None:
    """After eight wrong tries even the right password waits; five minutes later it opens again."""
    for _ in range(8):
        await client.post("/sign-in", data={"login": "ana", "password": "x", "token": await form_token(client)})

    answer = await client.post("/sign-in", data={**GOOD, "token": await form_token(client)})
    assert answer.status == 429

    clock.now += 301
    answer = await client.post("/sign-in", data={**GOOD, "token": await form_token(client)}, allow_redirects=False)
    assert answer.status == 303


async def test_guessing_logins_is_slowed_down_too(folder: Path) -> None:
    """Without a proxy in between one address has forty tries, whatever the login."""
    app = make_app(FakeDesk(0.0), FakeIntake(), FakeRecords(), None, WebConfig(prompts=folder), registry=CollectorRegistry())
    async with TestClient(TestServer(app), cookie_jar=CookieJar(unsafe=True)) as direct:
        for number in range(40):
            data = {"login": f"guess-{number}", "password": "x", "token": await form_token(direct)}
            assert (await direct.post("/sign-in", data=data)).status == 403

        answer = await direct.post("/sign-in", data={**GOOD, "token": await form_token(direct)})

    assert answer.status == 429


async def test_each_sign_in_has_a_cookie_of_its_own(client: Client, sign_in: SignIn) -> None:
    """A cookie that somebody planted or saw before the sign-in is worth nothing after it."""
    client.session.cookie_jar.update_cookies({"sidetone_desk": "planted"}, client.make_url("/"))
    await sign_in()
    first = cookie(client)
    client.session.cookie_jar.clear()
    await sign_in()

    assert len({"planted", first, cookie(client)}) == 3


@pytest.mark.parametrize("following", ["https://evil.example/", "//evil.example/desk/", "/desk/..\\evil", "", "/desk/s-1"])
async def test_the_way_back_stays_in_the_house(client: Client, following: str) -> None:
    """After signing in nobody is sent to another host."""
    token = await form_token(client)

    answer = await client.post("/sign-in", data={**GOOD, "token": token, "next": following}, allow_redirects=False)

    assert answer.headers["Location"] == (following if following == "/desk/s-1" else "/")


async def test_who_is_signed_in_sees_no_form(client: Client, sign_in: SignIn) -> None:
    """The form leads on to the desk."""
    await sign_in()

    assert (await client.get("/sign-in", allow_redirects=False)).status == 303


async def test_a_session_grows_old(client: Client, sign_in: SignIn, clock: Clock) -> None:
    """After its lifetime the form comes again."""
    await sign_in()

    clock.now += 12 * 3600 + 1

    assert (await client.get("/", allow_redirects=False)).status == 303


async def test_an_agent_who_is_no_more_is_out(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """Removing an agent ends the agent's sessions."""
    await sign_in()

    del desk.agents[ANA.id]

    assert (await client.get("/", allow_redirects=False)).status == 303


async def test_signing_out_ends_the_session_and_the_shift(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """The old cookie is worth nothing afterwards; the agent is off duty."""
    csrf = await sign_in()
    old = cookie(client)

    await client.post("/sign-out", data={"csrf": csrf})

    assert desk.asked == [("set_state", "ana", "offline", None)]
    answer = await client.get("/", headers={"Cookie": f"sidetone_desk={old}"}, allow_redirects=False)
    assert answer.status == 303


async def test_another_site_cannot_sign_an_agent_out(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """Without the token the shift goes on."""
    await sign_in()

    await client.post("/sign-out", data={"csrf": "x"}, allow_redirects=False)

    assert not desk.asked
