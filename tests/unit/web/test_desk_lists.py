"""What the desk lists, finds and keeps for an agent."""

import msgspec

from bridge.events import SessionId
from bridge.web.ports_desk import OwnText, Waiter
from tests.unit.web.conftest import NOW, Client, SignIn
from tests.unit.web.fakes import CHAT, OTHER, SESSION, FakeDesk

HTMX = {"HX-Request": "true"}


async def get(client: Client, path: str) -> str:
    answer = await client.get(path, headers=HTMX)
    assert answer.status == 200
    return await answer.text()


async def test_one_customer_with_two_conversations_is_one_row(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """The row opens the call and names the chat; the head of either leads to the other."""
    desk.views[CHAT] = msgspec.structs.replace(desk.views[CHAT], customer=desk.views[SESSION].customer)
    await sign_in()
    page = await (await client.get("/")).text()
    assert f'<a href="/desk/{SESSION}" data-row="{SESSION}"' in page
    assert f'<a href="/desk/{CHAT}" data-row' not in page
    assert f'data-row="{CHAT}"' in page


async def test_who_waits_is_listed(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """Customers in line for the agent's queues stand in a list of their own, with how long and why."""
    desk.in_line = (Waiter(SessionId("s-8"), "+15550100155", None, "support", "voice", NOW - 95, "internet > router"),)
    await sign_in()
    page = await (await client.get("/")).text()
    assert 'id="waiting"' in page
    assert "internet &gt; router" in page
    assert 'data-count="1"' in page


async def test_own_conversations_are_found(client: Client, sign_in: SignIn) -> None:
    """By words of a text; one letter finds nothing yet, and markup that was looked for stays text."""
    await sign_in()
    found = await get(client, "/desk/search?q=blinks")
    assert "It blinks red again" in found
    assert f'href="/desk/{CHAT}"' in found
    assert "<li>" not in await get(client, "/desk/search?q=b")
    assert "0 conversations found" in await get(client, "/desk/search?q=<b>nothing</b>")


async def test_earlier_conversations_come_in_batches(client: Client, sign_in: SignIn) -> None:
    """Each batch is folded, oldest above, and asks for the one before it until there are no more."""
    await sign_in()
    assert f'hx-get="/desk/{CHAT}/before"' in await get(client, f"/desk/{CHAT}")
    first = await get(client, f"/desk/{CHAT}/before")
    assert 'hx-get="/desk/s-0/unfold"' in first
    assert "the call is over" in first
    assert f'hx-get="/desk/{CHAT}/before?after=s-0"' in first
    last = await get(client, f"/desk/{CHAT}/before?after=s-0")
    assert 'hx-get="/desk/s-00/unfold"' in last
    assert "/before" not in last
    assert "Hello, Ana here." in await get(client, "/desk/s-0/unfold")


async def test_agents_keep_texts_of_their_own(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """Kept, changed and forgotten in the panel; the composer has them with their gaps filled or marked."""
    token = {"X-CSRF-Token": await sign_in(), **HTMX}
    data = {"id": "", "language": "en", "title": "Hello", "text": "Hello {customer}, {agent} here. It takes {ewt}."}
    answer = await client.post("/desk/texts", data=data, headers=token)
    assert (answer.status, answer.headers["HX-Trigger"]) == (200, "presets-changed")
    assert "Hello {customer}, {agent} here." in await answer.text()
    assert desk.own["own-0"] == OwnText("own-0", "en", "Hello", data["text"])
    row = await get(client, f"/desk/{CHAT}/presets")
    assert 'data-text="Hello Maria Silva, Ana Torres here. It takes {ewt}."' in row
    assert 'class="gaps"' in row
    assert "{customer}" in await get(client, "/desk/texts?language=fr")
    await client.post("/desk/texts/drop", data={"id": "own-0"}, headers=token)
    assert desk.own == {}


async def test_a_refused_text_of_ones_own_says_why(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """In the panel, with what was typed left as it is."""
    token = {"X-CSRF-Token": await sign_in(), **HTMX}
    desk.refusal = "A ready-made text needs a title and words."
    answer = await client.post("/desk/texts", data={"title": "", "text": "", "language": "en"}, headers=token)
    assert answer.headers["HX-Reswap"] == "none"
    assert 'id="panel-problem"' in await answer.text()


async def test_what_was_told_and_promised_stands_beside_the_conversation(client: Client, sign_in: SignIn) -> None:
    """The announced wait, the real one, that it was longer, and what was promised."""
    await sign_in()
    page = await get(client, f"/desk/{SESSION}")
    for words in ("Wait that was announced", "2 min", "2 min 54 s", "longer than announced", "We keep your place in line."):
        assert words in page


async def test_required_fields_of_the_note_are_marked(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """The form says what this queue asks for, and the browser asks for it before it sends."""
    desk.change(OTHER, wrap_up_requires=("note", "disposition"))
    await sign_in()
    page = await get(client, f"/desk/{OTHER}")
    assert "required here: note, how it ended" in page
    assert page.count(" required") >= 2


async def test_segments_name_the_gaps_and_what_characters_cost(client: Client, sign_in: SignIn) -> None:
    """A gap is said before anything else; an expensive letter with the number of SMS it costs."""
    token = {"X-CSRF-Token": await sign_in()}
    answer = await client.post(f"/desk/{CHAT}/segments", data={"body": "Hello {customer}"}, headers=token)
    assert "Fill this in first: {customer}" in await answer.text()
    answer = await client.post(f"/desk/{CHAT}/segments", data={"body": "ê" + "a" * 100}, headers=token)
    assert "1 SMS fewer without" in await answer.text()


async def test_the_desk_speaks_the_agents_language(client: Client, sign_in: SignIn) -> None:
    """Head, list, composer, words for the script and refusals, in the language of the browser."""
    await sign_in()
    answer = await client.get(f"/desk/{CHAT}", headers={"Accept-Language": "fr-CA"})
    page = await answer.text()
    for words in ("Transférer", "Mettre de côté", "Chercher dans mes conversations", "Votre travail", 'lang="fr"'):
        assert words in page
    answer = await client.get("/desk/nobody", headers={"Accept-Language": "es", **HTMX})
    assert "This conversation is not yours." in await answer.text()  # the stand-in's words; the real desk has Spanish ones
