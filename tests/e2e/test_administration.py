"""The administration of a running server: what is changed on its pages holds at once, and who may not is refused."""

import csv
import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from argon2 import PasswordHasher

from bridge.app import Running, running
from bridge.settings import Settings
from tests.e2e.browser import chromium
from tests.e2e.server import free_port

PASSWORD = "a long one for everybody"
OURS = "+15550100200"
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


def settings(folder: Path) -> Settings:
    people: list[dict[str, Any]] = [
        {"id": "ada", "name": "Ada", "roles": ["admin"]},
        {"id": "eve", "name": "Eve", "roles": ["engineer"]},
        {"id": "ana", "name": "Ana", "queues": ["support", "support_sms"]},
    ]
    spec: dict[str, Any] = {
        "data": folder / "data",
        "log_level": "error",
        "web": {"port": free_port()},
        "sip": {"enabled": False},
        "hours": {"support_hours": {}},
        "numbers": [{"number": OURS, "flow": "support", "desk": "support_sms"}],
        "queues": [{"id": "support", "desk": "support_sms"}, {"id": "support_sms", "channel": "sms"}],
        "agents": [{**one, "password_hash": HASH} for one in people],
    }
    return Settings(**spec)


class Visitor:
    """Somebody at a browser without scripts."""

    def __init__(self, client: aiohttp.ClientSession, page: str) -> None:
        self.client = client
        self.page = page
        self.status = 200

    async def get(self, path: str) -> str:
        """The text of a page."""
        async with self.client.get(path) as answer:
            self.status, self.page = answer.status, unescape(await answer.text())
        return self.page

    async def post(self, path: str, **fields: str) -> str:
        """Send a form of the page one is on; the text of the page it leads to."""
        token = re.search(r'name="csrf" value="([^"]+)"', self.page)
        form = {"csrf": "" if token is None else token[1], **{name.replace("__", "."): value for name, value in fields.items()}}
        async with self.client.post(path, data=form) as answer:
            self.status, self.page = answer.status, unescape(await answer.text())
        return self.page

    async def fields(self, path: str) -> dict[str, str]:
        """What the form of a page says as it is."""
        page = await self.get(path)
        found = dict(re.findall(r'<input id="f-[^"]*" name="([^"]+)" value="([^"]*)"', page))
        found |= dict.fromkeys(re.findall(r'<input type="checkbox"[^>]*name="([^"]+)" checked', page), "on")
        for name, inside in re.findall(r'<select id="f-[^"]*" name="([^"]+)"[^>]*>(.*?)</select>', page, re.DOTALL):
            chosen = re.search(r"<option selected>([^<]*)", inside)
            found[name] = "" if chosen is None else chosen[1]
        found |= dict(re.findall(r'<textarea id="f-[^"]*" name="([^"]+)"[^>]*>([^<]*)</textarea>', page))
        return {name: unescape(value) for name, value in found.items()}

    async def publish(self) -> str:
        """Publish the draft as it is."""
        page = await self.get("/admin/settings")
        version, text = (
            re.search(r'name="version" value="(\d+)"', page),
            re.search(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL),
        )
        assert version is not None
        assert text is not None
        return await self.post("/admin/settings", do="publish", version=version[1], text=text[1], note="because")


@asynccontextmanager
async def visitor(server: Running, login: str, password: str = PASSWORD) -> AsyncIterator[Visitor]:
    """Somebody who has signed in."""
    async with aiohttp.ClientSession(server.web_url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        form = await (await client.get("/sign-in")).text()
        token = form.split('name="token" value="')[1].split('"')[0]
        answer = await client.post("/sign-in", data={"login": login, "password": password, "token": token})
        yield Visitor(client, await answer.text())


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(settings(tmp_path)) as server:
        yield server


async def test_a_queue_is_changed_by_a_form_and_holds_at_once(server: Running) -> None:
    """A wrong value is told at its field, everything else stays as it was typed; then draft, publication, book."""
    async with visitor(server, "ada") as ada:
        fields = await ada.fields("/admin/queues/of/support")
        assert fields["ring_timeout"] == "20"
        page = await ada.post("/admin/queues/of/support", **fields | {"ring_timeout": "0", "title": "Help", "cascade": "- ["})
        assert ada.status == 422
        assert "expected" in page
        page = await ada.post(
            "/admin/queues/of/support", **fields | {"ring_timeout": "0", "title": "Help", "offers.threshold": "x"}
        )
        assert ada.status == 422
        assert "greater than or equal to 1" in page
        assert "valid number" in page
        assert 'value="Help"' in page
        page = await ada.post(
            "/admin/queues/of/support", **fields | {"ring_timeout": "25", "title": "Help", "offers.threshold": "30"}
        )
        assert "There is a draft" in page
        assert server.runner.settings.queues[0].ring_timeout == 20.0
        page = await ada.publish()
        assert "Published." in page
        queue = server.runner.settings.queues[0]
        assert (queue.ring_timeout, queue.title, queue.offers.threshold, queue.desk) == (25.0, "Help", 30.0, "support_sms")
        assert server.runner.floor.queues["support"].title == "Help"
        page = await ada.get("/admin/audit?action=settings.")
        assert "settings.published" in page
        assert "queues support ring_timeout: 20.0 -> 25.0" in page


async def test_somebody_new_begins_with_a_one_time_link(server: Running) -> None:
    """Made by a form, let in by the link, barred at once."""
    async with visitor(server, "ada") as ada:
        fields = await ada.fields("/admin/people/new")
        await ada.post("/admin/people/new", **fields | {"id": "zoe", "name": "Zoe", "queues=support_sms": "on"})
        await ada.publish()
        page = await ada.get("/admin/people/of/zoe")
        assert "none: nobody can sign in" in page
        page = await ada.post("/admin/people/of/zoe/account", do="link")
        link = re.search(r"/password/[\w-]+", page)
        assert link is not None
        async with aiohttp.ClientSession(server.web_url) as stranger:
            page = await (await stranger.get(link[0])).text()
            assert "Choose a password for Zoe." in page
            new = "tea is better than coffee"
            answer = await stranger.post(link[0], data={"new": new, "again": "other"})
            assert (answer.status, "not the same" in await answer.text()) == (422, True)
            assert (await stranger.post(link[0], data={"new": new, "again": new}, allow_redirects=False)).status == 303
            assert (await stranger.get(link[0])).status == 404
        async with visitor(server, "zoe", new) as zoe:
            assert "Zoe" in zoe.page
            assert await zoe.get("/admin/people") != ""
            assert zoe.status == 403
            await ada.get("/admin/people/of/zoe")
            await ada.post("/admin/people/of/zoe/account", do="bar")
            assert "Sign in" in await zoe.get("/")
        async with visitor(server, "zoe", new) as zoe:
            assert "Login or password is not right." in unescape(zoe.page)
        await ada.post("/admin/people/of/zoe/account", do="let_in")
        async with visitor(server, "zoe", new) as zoe:
            assert "Zoe" in zoe.page
        await ada.get("/admin/people/of/zoe")
        await ada.post("/admin/people/of/zoe/remove")
        await ada.publish()
        async with visitor(server, "zoe", new) as zoe:
            assert "Login or password is not right." in unescape(zoe.page)


async def test_who_looks_after_settings_cannot_make_themselves_another(server: Running) -> None:
    """An engineer drafts what they like, and what changes people is published by somebody else."""
    async with visitor(server, "eve") as eve:
        await eve.get("/admin/people")
        assert eve.status == 403
        page = await eve.get("/admin/settings")
        text = re.search(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)
        assert text is not None
        more = text[1].replace("- engineer", "- engineer\n      - admin")
        await eve.post("/admin/settings", do="save", version="", text=more)
        page = await eve.get("/admin/settings")
        assert "Somebody who looks after people has to publish it." in page
        await eve.publish()
        assert (eve.status, server.runner.settings.agents[1].roles) == (403, ("engineer",))
    async with visitor(server, "ada") as ada:
        await ada.publish()
        assert server.runner.settings.agents[1].roles == ("engineer", "admin")
        await ada.get("/admin/revisions")
        assert "because" in ada.page
        await ada.post("/admin/settings", do="save", version="", text=text[1])
        await ada.publish()
    async with visitor(server, "eve") as eve:
        await eve.get("/admin/revisions/1")
        assert "That would change people." in eve.page
        await eve.post("/admin/revisions/1")
        assert eve.status == 403


async def test_a_revision_comes_back(server: Running) -> None:
    """With its problems and differences shown before; one that does not exist is not found."""
    async with visitor(server, "ada") as ada:
        for brand in ("One", "Two"):
            fields = await ada.fields("/admin/house")
            await ada.post("/admin/house", **fields | {"brand": brand})
            await ada.publish()
        page = await ada.get("/admin/revisions/1")
        assert "Go back to this revision" in page
        page = await ada.post("/admin/revisions/1", note="Two was wrong")
        assert "back to 1" in page
        assert server.runner.settings.brand == "One"
        for path in ("/admin/revisions/99", "/admin/revisions/x", "/admin/queues/of/gone"):
            await ada.get(path)
            assert ada.status == 404
        assert "brand: One" in await ada.get("/admin/settings.yaml")


async def test_a_document_with_problems_is_kept_and_not_published(server: Running) -> None:
    """Every problem with its line; the draft can be thrown away."""
    async with visitor(server, "ada") as ada:
        await ada.get("/admin/settings")
        page = await ada.post("/admin/settings", do="save", version="", text="brand: X\nqueues:\n  - id: 7\nweb: {}\n")
        assert "Line 4, column 1" in page
        page = await ada.post("/admin/settings", do="save", version="", text="brand: Y\n")
        assert (ada.status, "Somebody else has changed the draft" in page) == (422, True)
        page = await ada.post("/admin/settings", do="publish", version="1", text="brand: Y\n")
        assert (ada.status, "Check it first" in page) == (422, True)
        await ada.publish()
        assert "It cannot be published yet" in ada.page
        page = await ada.post("/admin/settings", do="drop")
        assert "The draft is gone." in page
        assert server.runner.settings.brand == "Sidetone"


async def test_hours_and_presets_have_forms_of_their_own(server: Running) -> None:
    """Spans by day, words by language; a name that is taken is said at the name."""
    async with visitor(server, "ada") as ada:
        fields = await ada.fields("/admin/hours/new")
        await ada.post(
            "/admin/hours/new", **fields | {"name": "office", "week.mon": "09:00-12:00, 13:00-17:30", "zone": "Europe/Paris"}
        )
        fields = await ada.fields("/admin/presets/new")
        words = {"id": "thanks", "title.en": "Thanks", "text.en": "Thank you!", "text.fr": "Merci !"}
        await ada.post("/admin/presets/new", **fields | words)
        page = await ada.post("/admin/presets/new", **fields | words)
        assert "There is one of that name already." in page
        await ada.publish()
        office = server.runner.settings.hours["office"]
        assert (office.zone, office.week) == ("Europe/Paris", {"mon": ("09:00-12:00", "13:00-17:30")})
        assert [preset.text for preset in server.desk.presets("fr") if preset.id == "thanks"] == ["Merci !"]
        assert [preset.text for preset in server.desk.presets("es") if preset.id == "thanks"] == ["Thank you!"]
        await ada.get("/admin/hours/of/office")
        await ada.post("/admin/hours/of/office/remove")
        await ada.publish()
        assert "office" not in server.runner.settings.hours


async def test_a_token_is_shown_once_and_opens_the_api_until_it_is_revoked(server: Running) -> None:
    """Within what it may do."""
    async with visitor(server, "ada") as ada, aiohttp.ClientSession(server.web_url) as program:
        await ada.get("/admin/tokens")
        page = await ada.post("/admin/tokens", name="shop", per_second="5")
        assert (ada.status, "Choose what the program may do." in page) == (422, True)
        page = await ada.post(
            "/admin/tokens", **{"name": "shop", "per_second": "5", "scope=ewt.read": "on", f"number={OURS}": "on"}
        )
        secret = re.search(r"st_[\w-]{43}", page)
        assert secret is not None
        assert secret[0] not in await ada.get("/admin/tokens")
        headers = {"Authorization": f"Bearer {secret[0]}"}
        assert (await program.get("/api/v1/queues/support/ewt", headers=headers)).status == 200
        assert (await program.get("/api/v1/sessions", headers=headers)).status == 403
        page = await ada.post("/admin/tokens", **{"name": "shop", "scope=ewt.read": "on"})
        assert "Names are not used twice." in page
        await ada.post("/admin/tokens", do="revoke", name="shop")
        assert (await program.get("/api/v1/queues/support/ewt", headers=headers)).status == 401
        await ada.post("/admin/tokens", do="revoke", name="shop")
        assert ada.status == 422


async def test_a_number_is_blocked_at_once(server: Running) -> None:
    """As people write it, and taken off again; the book tells both."""
    async with visitor(server, "eve") as eve:
        await eve.get("/admin/blocklist")
        await eve.post("/admin/blocklist", number="(213) 373-4253", reason="rude")
        assert "+12133734253" in eve.page
        assert await server.runner.journal.blocked("+12133734253") is not None
        await eve.post("/admin/blocklist", number="hello", reason="")
        assert eve.status == 422
        await eve.post("/admin/blocklist", do="unblock", number="+12133734253")
        assert "Nobody is blocked." in eve.page
        await eve.get("/admin/audit")
        assert eve.status == 403
    async with visitor(server, "ada") as ada, ada.client.get("/admin/audit.csv?action=number.") as answer:
        rows = list(csv.reader(io.StringIO(await answer.text())))
    assert [(row[1], row[3], row[4]) for row in rows[1:]] == [
        ("eve", "number.unblocked", "number +12133734253"),
        ("eve", "number.blocked", "number +12133734253"),
    ]


async def test_ones_own_account(server: Running) -> None:
    """Password, language and sounds; other browsers are signed out by a new password."""
    async with visitor(server, "ana") as ana, visitor(server, "ana") as elsewhere:
        await ana.get("/account")
        page = await ana.post(
            "/account/password", old="wrong", new="tea is better than coffee", again="tea is better than coffee"
        )
        assert (ana.status, "is not right" in page) == (422, True)
        page = await ana.post(
            "/account/password", old=PASSWORD, new="tea is better than coffee", again="tea is better than coffee"
        )
        assert "Your password is changed." in page
        assert "Sign in" in await elsewhere.get("/account")
        await ana.post("/account/preferences", language="fr", call="on")
        account = await server.runner.journal.account("ana")
        assert (account.language, account.sounds) == ("fr", {"call": True, "chat": False, "message": False})
        assert 'data-sounds="call"' in await ana.get("/")
        await ana.post("/account/preferences", language="xx")
        assert ana.status == 422
        await ana.get("/account")
        await ana.post("/account/sign-out-others")
        assert 'name="password"' in await ana.get("/account")


async def test_who_got_a_password_chooses_one_before_anything_else(tmp_path: Path) -> None:
    """Every page leads to the account until then."""
    async with running(settings(tmp_path)) as server:
        from bridge.administration.people import People  # noqa: PLC0415
        from bridge.web.ports_admin import By  # noqa: PLC0415

        people = People(
            server.runner.journal, lambda: server.runner.settings, clock=lambda: 0.0, spawn=lambda _: None, session_lifetime=1.0
        )
        await people.set_password("ana", PASSWORD, By("command line"), must_change=True)
    async with running(settings(tmp_path)) as server, visitor(server, "ana") as ana:
        assert "Please choose a password of your own" in await ana.get("/")
        new = "tea is better than coffee"
        await ana.post("/account/password", old=PASSWORD, new=new, again=new)
        assert 'id="work"' in await ana.get("/")


async def test_pages_at_every_size_and_by_keyboard(server: Running) -> None:
    """Nothing makes a page wider than its window; a problem of the document leads to its line."""
    async with chromium() as browser:
        for width in (1280, 400):
            page = await browser.new_page(viewport={"width": width, "height": 800})
            await page.goto(f"{server.web_url}/sign-in")
            await page.fill("#login", "ada")
            await page.fill("#password", PASSWORD)
            await page.click("button.primary")
            for path in ("people", "people/of/ana", "queues/of/support", "house", "tokens", "settings", "revisions", "audit"):
                await page.goto(f"{server.web_url}/admin/{path}")
                wide = await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
                assert not wide, (path, width)
        await page.goto(f"{server.web_url}/admin/settings")
        await page.fill("#text", "brand: X\nweb: {}\n")
        await page.click("text=Save and check")
        await page.click(".problems a")
        assert await page.evaluate("document.activeElement.id + document.activeElement.selectionStart") == "text9"
