"""The pages of contacts, and the customer's card on the desk."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from bridge.crm import CrmRef
from bridge.crm.book import Book
from bridge.crm.csv_import import CsvImports
from bridge.crm.imports import NodesImports
from bridge.events import AgentId, QueueId, SessionId
from bridge.journal import ConsentRow, Journal, SessionRow, Suppression, Unit
from bridge.journal.crm_rows import StoredContact
from bridge.web.ports import Agent
from bridge.web.ports_contacts import ContactParts
from bridge.web.server import WebConfig, make_app
from tests.unit.web.conftest import Client
from tests.unit.web.fake_cards import ANN, BOB, PHONE, SESSION, FakeCards
from tests.unit.web.fakes import FakeDesk, FakeIntake, FakeRecords
from tests.unit.web.test_sign_in import form_token

NOW = 1_800_000_000.0
OTHER, OURS = "+15550100124", "+15550100200"


class Roles(FakeDesk):
    """Ana has whatever roles a test gives her."""

    roles: tuple[str, ...] = ("agent", "supervisor")

    def agent(self, agent: AgentId) -> Agent | None:
        known = super().agent(agent)
        return None if known is None else msgspec.structs.replace(known, roles=self.roles)


class Pages:
    """Somebody signed in who looks at pages."""

    def __init__(self, client: Client, journal: Journal, book: Book, cards: FakeCards, csrf: str) -> None:
        self.client, self.journal, self.book, self.cards, self.csrf = client, journal, book, cards, csrf

    async def get(self, path: str, status: int = 200, *, target: str = "") -> str:
        answer = await self.client.get(path, headers={"HX-Target": target})
        assert answer.status == status, await answer.text()
        return await answer.text()

    async def post(self, path: str, status: int = 303, columns: Mapping[str, str] | None = None, **form: str) -> str:
        form |= columns or {}
        answer = await self.client.post(path, data={"csrf": self.csrf, **form}, allow_redirects=False)
        assert answer.status == status, await answer.text()
        return answer.headers.get("Location", "") if status == 303 else await answer.text()

    async def ann(self) -> StoredContact:
        return await self.book.create({"name": "Ann Weber", "phones": PHONE, "custom": {"seats": 3}}, "agent:ana")


@asynccontextmanager
async def pages_of(folder: Path, *roles: str) -> AsyncIterator[Pages]:
    desk, cards = Roles(NOW), FakeCards()
    desk.roles = roles
    async with Journal.open(f"sqlite:///{folder}/journal.db") as journal:
        book = Book(journal, clock=lambda: NOW, region="US")
        imports = NodesImports(CsvImports(journal, folder / "imports", clock=lambda: NOW, region="US"))
        app = make_app(
            desk,
            FakeIntake(),
            FakeRecords(),
            None,
            WebConfig(prompts=folder),
            registry=CollectorRegistry(),
            now=lambda: NOW,
            contacts=ContactParts(book, cards, imports),
        )
        async with TestClient(TestServer(app), cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
            data = {"login": "ana", "password": "correct horse", "token": await form_token(client)}
            await client.post("/sign-in", data=data, allow_redirects=False)
            words = await (await client.get("/")).text()
            csrf = re.search(r'X-CSRF-Token&#34;:&#34;([^&]+)|X-CSRF-Token":"([^"]+)"', words)
            assert csrf is not None
            yield Pages(client, journal, book, cards, csrf[1] or csrf[2])
        await imports.close()


@pytest.fixture
async def pages(tmp_path: Path) -> AsyncIterator[Pages]:
    async with pages_of(tmp_path, "agent", "supervisor") as opened:
        yield opened


# --- list and contact


async def test_contacts_are_found_by_any_part(pages: Pages) -> None:
    """Names without accents, numbers as people write them; what is typed is told back harmlessly."""
    await pages.ann()
    await pages.book.create({"name": "Zoë <i>", "phones": OTHER}, "agent:ana")
    assert "2 contacts" in await pages.get("/contacts")
    for words, name in (("zoe", "Zoë &lt;i&gt;"), ("(555)%20010-0123", "Ann Weber"), ("0124", "Zoë"), ("web%20ann", "Ann")):
        found = await pages.get(f"/contacts?q={words}")
        assert name in found
        assert "1 contact" in found
    assert "Nobody found" in await pages.get("/contacts?q=%3Cscript%3E")
    assert "<html" not in await pages.get("/contacts?q=ann", target="contacts-found")


async def test_the_list_has_pages(pages: Pages) -> None:
    """Each contact stands on one of them."""
    for n in range(60):
        await pages.book.create({"name": f"Person {n:02}"}, "agent:ana")
    first = await pages.get("/contacts")
    following = re.search(r'href="(/contacts\?q=&amp;after=[^"]+)"', first)
    assert following is not None
    second = await pages.get(following[1].replace("&amp;", "&"))
    names = re.findall(r"Person \d\d", first) + re.findall(r"Person \d\d", second)
    assert (len(names), len(set(names))) == (60, 60)
    assert "First page" in second


async def test_a_contact_is_made_and_changed(pages: Pages) -> None:
    """What was not touched keeps its type; the history says who changed what."""
    where = await pages.post("/contacts", name="Ann", phones="555 010 0123\n+15550100124", custom="Plan: gold", tags="a, b")
    page = await pages.get(where)
    assert "Ann" in page
    contact = await pages.book.contact(where.rpartition("/")[2])
    assert contact.fields.phones == (PHONE, OTHER)
    form = {"name": "Ann Weber", "phones": PHONE, "custom": "Plan: gold", "revision": str(contact.revision)}
    await pages.post(where, 303, form)
    page = await pages.get(where)
    assert "<del>Ann</del>" in page
    assert "Ana" in page
    # Somebody who has looked at it before does not overwrite that.
    assert "meanwhile" in await pages.post(where, 409, form)
    assert (await pages.client.post(where, data={"csrf": pages.csrf, "revision": "x"})).status == 400


async def test_values_keep_their_type_when_the_form_is_saved(pages: Pages) -> None:
    """A number that was a number stays one."""
    ann = await pages.ann()
    await pages.post(f"/contacts/{ann.id}", name="Ann W", phones=PHONE, custom="seats: 3", revision="1")
    assert (await pages.book.contact(ann.id)).fields.custom == {"seats": 3}


async def test_what_cannot_be_kept_is_said_at_the_field(pages: Pages) -> None:
    """And what was typed is still there."""
    page = await pages.post("/contacts", 422, name="x" * 81, phones="12", mails="nobody")
    for words in (
        "at most 80 characters",
        "12 is not a telephone number",
        "nobody is not a mail address",
        "Nothing has been saved",
    ):
        assert words in page
    ann = await pages.ann()
    assert "fr-CA" in await pages.post(f"/contacts/{ann.id}", 422, name="Ann", language="frog", revision="1")
    assert await pages.book.count() == 1


async def test_a_contact_shows_everything_of_its_person(pages: Pages) -> None:
    """Conversations of all phones in one list, what may be texted to each, and each conversation in words."""
    ann = await pages.book.create({"name": "Ann", "phones": [PHONE, OTHER]}, "agent:ana")
    for name, customer in (("s1", PHONE), ("s2", OTHER), ("s9", "+15550100199")):
        row = SessionRow(
            state="closed",
            customer=customer,
            our_number=OURS,
            language="en",
            queue=QueueId("support"),
            opened_at=NOW,
            closed_at=NOW + 60,
        )
        await pages.journal.commit(Unit(session=SessionId(name), events=[(NOW, b"{}")], snapshot=b"{}", row=row))
    consent = ConsentRow(
        number=PHONE, purpose="care", granted=True, words="Yes <please>", language="en", evidence="e", actor="flow", at=NOW
    )
    stop = Suppression(number=OTHER, sender="*", evidence="message m", at=NOW)
    await pages.journal.commit(Unit(consents=[consent], suppress=[stop]))
    page = await pages.get(f"/contacts/{ann.id}")
    assert page.count("/sessions/s") == 4  # each to look into here, and in the trail
    for words in ("Yes &lt;please&gt;", "Opted out", "Not opted out"):
        assert words in page
    assert "said in s2 &lt;script&gt;" in await pages.get(f"/contacts/{ann.id}/sessions/s2")
    assert "none of this contact" in await pages.get(f"/contacts/{ann.id}/sessions/s9", 404)
    assert "no such contact" in await pages.get("/contacts/k0", 404)


async def test_notes_stand_in_the_history(pages: Pages) -> None:
    """As they were written."""
    ann = await pages.ann()
    await pages.post(f"/contacts/{ann.id}/note", note="Call <b>after</b> noon\nor text")
    await pages.post(f"/contacts/{ann.id}/note", note="   ")
    page = await pages.get(f"/contacts/{ann.id}")
    assert "Call &lt;b&gt;after&lt;/b&gt; noon\nor text" in page
    assert page.count('class="noted"') == 1


async def test_two_contacts_become_one_and_two_again(pages: Pages) -> None:
    """With a look at what they are together, and with everything where it was."""
    ann = await pages.ann()
    other = await pages.book.create({"name": "A. Weber", "phones": [PHONE, OTHER], "company": "Example"}, "agent:ana")
    assert "A. Weber" in await pages.get(f"/contacts/{ann.id}/merge")
    together = await pages.get(f"/contacts/{ann.id}/merge?other={other.id}")
    assert "Together: Ann Weber" in together
    await pages.post(f"/contacts/{ann.id}/merge", other=other.id)
    page = await pages.get(f"/contacts/{ann.id}")
    assert "Example" in page
    assert "become a part" in await pages.get(f"/contacts/{other.id}")
    change = re.search(r'name="change" value="(\d+)"', page)
    assert change is not None
    await pages.post(f"/contacts/{ann.id}/unmerge", change=change[1])
    assert (await pages.book.contact(ann.id)).fields == ann.fields
    assert (await pages.book.contact(other.id)).fields == other.fields
    assert "cannot be undone" in await pages.post(f"/contacts/{ann.id}/unmerge", 404, change=change[1])
    assert "with itself" in await pages.post(f"/contacts/{ann.id}/merge", 404, other=ann.id)


async def test_a_deleted_contact_can_be_restored(pages: Pages) -> None:
    """Meanwhile nobody finds it."""
    ann = await pages.ann()
    await pages.post(f"/contacts/{ann.id}/delete")
    assert "Nobody found" in await pages.get("/contacts?q=ann")
    assert "Restore" in await pages.get(f"/contacts/{ann.id}")
    await pages.post(f"/contacts/{ann.id}/restore")
    assert "Ann Weber" in await pages.get("/contacts?q=ann")


# --- what the CRM has not taken


async def test_what_the_crm_refused_is_seen_and_sent_again(pages: Pages) -> None:
    """With what it said; whatever it says is text."""
    page = await pages.get("/contacts/crm")
    assert "HTTP 422: &lt;b&gt;no&lt;/b&gt;" in page
    assert "not ours" in page
    assert await pages.post("/contacts/crm/7/redeliver") == "/contacts/crm?state=pending"
    assert "Nothing" in await pages.get("/contacts/crm?state=pending")
    for n in ("8", "x"):
        await pages.post(f"/contacts/crm/{n}/redeliver", 404)


# --- importing


async def test_a_file_is_uploaded_tried_out_and_imported(pages: Pages) -> None:
    """The columns are shown first; the report of what was left out is a file."""
    form = aiohttp.FormData()
    form.add_field(
        "file", b"Name,Phone,Plan\nAnn,5550100123,gold\nBob,nonsense,\n", filename="people.csv", content_type="text/csv"
    )
    headers = {"X-CSRF-Token": pages.csrf, "HX-Request": "true"}
    answer = await pages.client.post("/contacts/import", data=form, headers=headers)
    where = answer.headers["HX-Redirect"]
    page = await pages.get(where)
    for words in ("people.csv", "2 rows", "nonsense", "Leave it out"):
        assert words in page
    columns = {"column-0": "name", "column-1": "phones", "column-2": "custom"}
    assert "recognise" in await pages.post(where, 422, {"column-0": "name"})
    await pages.post(where, 303, columns, dry_run="1")
    assert "Tried out" in await until(pages, f"{where}/progress", "Tried out")
    assert await pages.book.count() == 0
    await pages.post(where, 303, columns)
    assert "Imported." in await until(pages, f"{where}/progress", "Imported.")
    (ann,) = await pages.book.find("ann", 2)
    assert ann.fields.custom == {"Plan": "gold"}
    errors = await pages.client.get(f"{where}/errors.csv")
    assert errors.headers["Content-Disposition"].startswith("attachment")
    assert (await errors.text()).splitlines()[1] == "3,Phone,nonsense,nonsense is not a telephone number."


async def until(pages: Pages, path: str, words: str) -> str:
    async with asyncio.timeout(10.0):
        while words not in (page := await pages.get(path)):  # noqa: ASYNC110  # a page is what a person looks at again
            await asyncio.sleep(0.02)
    return page


async def test_what_is_no_table_is_refused_in_words(pages: Pages) -> None:
    """On the page where the file was chosen."""
    headers = {"X-CSRF-Token": pages.csrf, "HX-Request": "true"}
    for content, words in ((b"", "first line"), (b"Phone\n", "no rows")):
        form = aiohttp.FormData()
        form.add_field("file", content, filename="x.csv", content_type="text/csv")
        answer = await pages.client.post("/contacts/import", data=form, headers=headers)
        assert words in await answer.text()
    empty = aiohttp.FormData()
    empty.add_field("other", b"x", filename="x.csv")
    assert "choose a file" in await (await pages.client.post("/contacts/import", data=empty, headers=headers)).text()
    assert (await pages.client.post("/contacts/import", data={"file": "x"}, headers=headers)).status == 415
    assert "no such import" in await pages.get("/contacts/import/x", 404)
    assert "not known any more" in await pages.get("/contacts/import/x/progress")
    await pages.post("/contacts/import/x", 404)


# --- the card on the desk


async def test_the_card_lets_the_agent_choose(pages: Pages) -> None:
    """Of those who have the number, or somebody else."""
    card = await pages.get("/desk/s-3/contact-card")
    assert card.index("Ann Weber") < card.index("No name yet")
    chosen = await pages.post("/desk/s-3/contact-choose", 200, contact="k1")
    assert ("choose", AgentId("ana"), SESSION, "k1") in pages.cards.asked
    for words in ("Ann Weber", "gold", "Said by Ana", "yes"):
        assert words in chosen
    pages.cards.refusal = "Another agent has already said who it is."
    assert "Another agent" in await pages.post("/desk/s-3/contact-choose", 200, contact="k2")
    assert "Another agent" in await pages.get("/desk/s-3/contact-search?q=ann")


async def test_the_card_finds_and_makes_contacts(pages: Pages) -> None:
    """What is wrong is said on the card."""
    assert "Ann Weber" in await pages.get("/desk/s-3/contact-search?q=ann")
    assert "Nobody found" in await pages.get("/desk/s-3/contact-search?q=nobody")
    await pages.post("/desk/s-3/contact-new", 200, name="Cleo", company="Example")
    assert ("create", AgentId("ana"), SESSION, {"name": "Cleo", "company": "Example", "phones": ""}) in pages.cards.asked
    assert "at most 80" in await pages.post("/desk/s-3/contact-new", 200, name="x" * 81)
    await pages.post("/desk/s-3/contact-name", 200, name="Ann W")
    assert ("rename", AgentId("ana"), SESSION, "Ann W") in pages.cards.asked
    assert "at most 80" in await pages.post("/desk/s-3/contact-name", 200, name="x" * 81)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "waiting", "candidates": ()}, "Being looked up"),
        ({"state": "creating", "candidates": ()}, "is being made"),
        ({"state": "nobody", "candidates": ()}, "Nobody has this number"),
        ({"number": None, "candidates": ()}, "withheld"),
        ({"problem": "HTTP 503"}, "The CRM says: HTTP 503"),
        ({"state": "assigned", "contact": ANN, "pop": "https://crm.example/1?a=b&c"}, 'href="https://crm.example/1?a=b&amp;c"'),
        ({"state": "assigned", "contact": ANN, "pop": "https://crm.example/1", "pop_open": True}, "data-pop="),
        ({"state": "assigned", "contact": BOB, "recorded": CrmRef(id="n", failed=("media",))}, "without media"),
        ({"state": "assigned", "contact": ANN, "recorded": CrmRef(id="n", url="https://crm.example/n")}, "crm.example/n"),
    ],
)
async def test_the_card_says_how_it_stands(pages: Pages, changes: dict[str, Any], words: str) -> None:
    """In every state."""
    assert pages.cards.shown is not None
    pages.cards.shown = msgspec.structs.replace(pages.cards.shown, **changes)
    assert words in await pages.get("/desk/s-3/contact-card")


async def test_a_card_that_is_fixed_offers_nothing(pages: Pages) -> None:
    """To who may not say who it is."""
    assert pages.cards.shown is not None
    pages.cards.shown = msgspec.structs.replace(pages.cards.shown, fixed=True)
    card = await pages.get("/desk/s-3/contact-card")
    assert "<form" not in card
    pages.cards.shown = None
    assert "Being looked up" in await pages.get("/desk/s-3/contact-card")


async def test_the_card_of_somebody_elses_conversation_is_not_shown(pages: Pages) -> None:
    """Who may not see the conversation does not hear whose it is."""
    assert "Ann" not in await pages.get("/desk/nowhere/contact-card", 404)
    assert ("card", AgentId("ana"), SessionId("nowhere")) not in pages.cards.asked


# --- who may


async def test_agents_see_cards_and_no_lists(tmp_path: Path) -> None:
    """The whole list is for who has the right."""
    async with pages_of(tmp_path, "agent") as pages:
        await pages.get("/desk/s-3/contact-card")
        for path in ("/contacts", "/contacts/k1", "/contacts/crm", "/contacts/import"):
            await pages.get(path, 403)
        await pages.post("/contacts", 403, name="Ann")
        assert 'href="/contacts"' not in await pages.get("/")


async def test_nothing_is_changed_without_the_token(pages: Pages) -> None:
    """A page of somebody else cannot act in the name of who is signed in."""
    ann = await pages.ann()
    for path in (
        "/contacts",
        f"/contacts/{ann.id}",
        f"/contacts/{ann.id}/delete",
        "/contacts/import",
        "/desk/s-3/contact-choose",
    ):
        assert (await pages.client.post(path, data={"name": "x"})).status == 403
    assert (await pages.book.contact(ann.id)).revision == 1
