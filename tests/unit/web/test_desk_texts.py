"""The desk's side of the text channel over HTTP: panels, files, banners, and what is said when something cannot be done."""

import io
import re

import msgspec
import pytest
from PIL import Image

from bridge.web.ports import Handover, OptedOut, Related, Suspicion, Targets, UploadLink
from tests.unit.web.conftest import NOW, Client, SignIn
from tests.unit.web.fakes import ANA, CHAT, OTHER, PAST, FakeDesk

ACTIONS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/desk/new", {"number": "5550100155", "sender": "+15550100200", "body": "Hello"}),
    ("/desk/new/check", {"number": "5550100155"}),
    ("/desk/s-3/transfer", {"to": "agent:ben"}),
    ("/desk/s-3/set-aside", {}),
    ("/desk/s-3/judge", {"meant": "yes"}),
    ("/desk/s-3/ask-for-photos", {}),
    ("/desk/s-3/contact", {"name": "Maria"}),
)


HTMX = {"HX-Request": "true"}


def photo() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize(
    ("path", "data", "asked"),
    [
        ("/desk/s-3/transfer", {"to": "agent:ben", "note": " knows it "}, ("transfer", "ana", CHAT, "ben", None, "knows it")),
        ("/desk/s-3/transfer", {"to": "queue:night", "note": ""}, ("transfer", "ana", CHAT, None, "night", "")),
        ("/desk/s-3/set-aside", {}, ("set_aside", "ana", CHAT)),
        ("/desk/s-3/judge", {"meant": "yes"}, ("judge", "ana", CHAT, True)),
        ("/desk/s-3/judge", {"meant": "no"}, ("judge", "ana", CHAT, False)),
        ("/desk/s-3/ask-for-photos", {}, ("ask_for_photos", "ana", CHAT)),
        ("/desk/s-3/contact", {"name": "  Maria \n Silva "}, ("rename", "ana", CHAT, "Maria Silva")),
        (
            "/desk/new",
            {"number": "555 010 0155", "sender": "+15550100201", "body": "Hello", "preset": "p"},
            ("open", "ana", "+15550100155", "+15550100201", "Hello", "p"),
        ),
    ],
)
async def test_an_action_reaches_the_desk(
    client: Client, sign_in: SignIn, desk: FakeDesk, path: str, data: dict[str, str], asked: tuple[object, ...]
) -> None:
    """Buttons and forms on the left, what the desk is asked on the right."""
    headers = {"X-CSRF-Token": await sign_in()}
    answer = await client.post(path, data=data, headers=headers)
    assert answer.status in {200, 204}
    assert desk.asked == [asked]


@pytest.mark.parametrize(("path", "data"), ACTIONS)
async def test_an_action_needs_the_token(
    client: Client, sign_in: SignIn, desk: FakeDesk, path: str, data: dict[str, str]
) -> None:
    """Nobody acts without having signed in, nor from another site."""
    assert (await client.post(path, data=data, headers=HTMX)).headers["HX-Redirect"].startswith("/sign-in")
    await sign_in()
    assert (await client.post(path, data=data)).status == 403
    assert desk.asked == []


@pytest.mark.parametrize("path", ["/desk/new", "/desk/s-3/transfer", "/desk/s-0/peek"])
async def test_a_panel_needs_somebody_who_signed_in(client: Client, path: str) -> None:
    """A page left open overnight goes to the form instead of showing anything."""
    assert (await client.get(path, headers=HTMX)).headers["HX-Redirect"].startswith("/sign-in")


@pytest.mark.parametrize(
    ("path", "data", "words"),
    [
        ("/desk/s-3/transfer", {"to": ""}, "Choose a colleague or a queue."),
        ("/desk/s-3/transfer", {"to": "moon:x"}, "Choose a colleague or a queue."),
        ("/desk/s-3/transfer", {"to": "agent:ben", "note": "x" * 1001}, "at most 1000 characters"),
        ("/desk/new", {"number": "5550100155", "sender": "+15550100200", "body": " "}, "Write what you want to say first."),
        ("/desk/new", {"number": "5550100155", "sender": "+15550100200", "body": "x" * 1601}, "at most 1600 characters"),
        ("/desk/new", {"number": "55", "sender": "+15550100200", "body": "Hello"}, "not a telephone number"),
        ("/desk/new", {"number": "+15550100166", "sender": "+15550100200", "body": "Hello"}, "They opted out"),
    ],
)
async def test_a_panel_says_itself_what_is_wrong(
    client: Client, sign_in: SignIn, desk: FakeDesk, path: str, data: dict[str, str], words: str
) -> None:
    """A dialog lies over the page's own messages, so the refusal stands in the dialog, and nothing is done."""
    headers = {"X-CSRF-Token": await sign_in()}
    answer = await client.post(path, data=data, headers=headers)
    text = await answer.text()
    assert (answer.headers["HX-Reswap"], desk.asked) == ("none", [])
    assert 'id="panel-problem"' in text
    assert words in text


async def test_what_the_desk_refuses_is_said_where_it_was_asked(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """In the panel for its forms, over the page for buttons."""
    headers = {"X-CSRF-Token": await sign_in()}
    desk.refusal = "Ben is not signed in any more."
    in_panel = await client.post("/desk/s-3/transfer", data={"to": "agent:ben"}, headers=headers)
    assert 'id="panel-problem"' in await in_panel.text()
    over_page = await client.post("/desk/s-3/set-aside", headers=headers)
    assert 'id="message"' in await over_page.text()
    refused = await (await client.get("/desk/nobody/transfer")).text()
    assert "This conversation is not yours." in refused


@pytest.mark.parametrize(
    ("path", "data"), [("/desk/s-3/judge", {}), ("/desk/s-3/judge", {"meant": "perhaps"}), ("/desk/s-3/judge", {"meant": ""})]
)
async def test_a_judgement_is_yes_or_no(client: Client, sign_in: SignIn, desk: FakeDesk, path: str, data: dict[str, str]) -> None:
    """Anything else is no form of ours."""
    headers = {"X-CSRF-Token": await sign_in()}
    assert (await client.post(path, data=data, headers=headers)).status == 400
    assert desk.asked == []


async def test_a_name_has_an_end(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """What no field of ours would send is refused in words."""
    headers = {"X-CSRF-Token": await sign_in()}
    answer = await client.post("/desk/s-3/contact", data={"name": "x" * 81}, headers=headers)
    assert "at most 80 characters" in await answer.text()
    assert desk.asked == []


# --- panels ------------------------------------------------------------------------------------------------------------


async def test_the_panel_shows_whom_a_chat_can_go_to(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """Colleagues and queues with what one wants to know before choosing; who cannot take it cannot be chosen."""
    await sign_in()
    text = await (await client.get("/desk/s-3/transfer")).text()
    for words in (
        "Ben Okafor",
        "2 free chats",
        "Not ready: Lunch",
        "Billing by text",
        "3 waiting",
        "1 agent there",
        "Nobody there",
    ):
        assert words in text
    assert re.search(r'value="agent:cyd" required disabled', text)
    desk.targeted = Targets((), (), "This chat has been handed on 5 times already.")
    text = await (await client.get("/desk/s-3/transfer")).text()
    assert "handed on 5 times" in text
    assert "<form" not in text
    desk.targeted = Targets((), ())
    assert "No other agent" in await (await client.get("/desk/s-3/transfer")).text()


async def test_the_panel_of_a_new_conversation(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """Our numbers with what binds them, ready-made texts; with one number there is nothing to choose, with none no form."""
    await sign_in()
    text = await (await client.get("/desk/new")).text()
    assert text.count('type="radio"') == 2
    for words in ("1840 SMS left today", "B1 · C1", "Not registered: none to the US", "Ask for a photo"):
        assert words in text
    desk.ours = desk.ours[:1]
    text = await (await client.get("/desk/new")).text()
    assert ('type="radio"' in text, 'type="hidden" name="sender" value="+15550100200"' in text) == (False, True)
    desk.ours = ()
    text = await (await client.get("/desk/new")).text()
    assert ("None of your queues has a number" in text, "<form" in text) == (True, False)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("555", "With + and country code"),
        ("5550100155", "Before your words the customer reads:"),
        ("+15550100144", "Maria Silva"),
        ("+15550100166", "They opted out of texts"),
    ],
)
async def test_a_number_is_read_while_it_is_typed(client: Client, sign_in: SignIn, typed: str, words: str) -> None:
    """What is missing, what they read first, who it is, why not."""
    headers = {"X-CSRF-Token": await sign_in()}
    answer = await client.post("/desk/new/check", data={"number": typed, "sender": "+15550100200"}, headers=headers)
    assert words in await answer.text()


async def test_the_conversation_that_was_begun_takes_the_place_of_the_open_one(
    client: Client, sign_in: SignIn, desk: FakeDesk
) -> None:
    """The answer to the panel's form is the conversation, and the panel closes."""
    headers = {"X-CSRF-Token": await sign_in()}
    data = {"number": "5550100155", "sender": "+15550100200", "body": "Hello"}
    answer = await client.post("/desk/new", data=data, headers=headers)
    assert {name: answer.headers[name] for name in ("HX-Retarget", "HX-Reswap", "HX-Trigger", "HX-Push-Url")} == {
        "HX-Retarget": "#session",
        "HX-Reswap": "outerHTML",
        "HX-Trigger": "panel-done",
        "HX-Push-Url": "/desk/s-9",
    }
    assert (await answer.text()).lstrip().startswith('<main id="session"')
    assert len(desk.views) == 4


async def test_the_segments_of_a_new_text_are_counted_in_its_own_place(client: Client, sign_in: SignIn) -> None:
    """Two counters may be on the page at once."""
    headers = {"X-CSRF-Token": await sign_in()}
    count = await (await client.post("/desk/new/segments", data={"body": "Hello"}, headers=headers)).text()
    assert 'id="new-segments"' in count
    assert "1 SMS" in count


async def test_a_peek_shows_another_conversation_without_leaving_this_one(client: Client, sign_in: SignIn) -> None:
    """Its lines without marks that the open conversation has too; somebody else's is refused."""
    await sign_in()
    text = await (await client.get(f"/desk/{PAST}/peek")).text()
    assert "Hello, Ana here." in text
    assert 'id="line-' not in text
    assert "not yours" in await (await client.get("/desk/nobody/peek")).text()


# --- files ---------------------------------------------------------------------------------------------------------------


async def test_a_file_is_kept_and_goes_with_the_text(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """First the file, then the text that names it; it is shown in the thread."""
    headers = {"X-CSRF-Token": await sign_in()}
    kept = await (await client.post("/desk/media", data=photo(), headers=headers)).json()
    answer = await client.post("/desk/s-3/say", data={"body": "", "media": kept["digest"]}, headers=headers)
    assert answer.status == 204
    assert desk.asked == [("say", "ana", CHAT, "", None, (kept["digest"],))]
    page = await (await client.get("/desk/s-3")).text()
    assert f'src="/desk/s-3/media/{kept["digest"]}/thumbnail" alt="Photo to the customer"' in page
    assert (await client.get(f"/desk/s-3/media/{kept['digest']}")).status == 200


async def test_a_file_that_cannot_go_is_refused_in_words(client: Client, sign_in: SignIn) -> None:
    """Too large, or of no kind we send; the script reads why."""
    headers = {"X-CSRF-Token": await sign_in()}
    large = await (await client.post("/desk/media", data=io.BytesIO(bytes(2_000_001)), headers=headers)).json()
    assert large == {"problem": "It is larger than 2 MB."}
    strange = await (await client.post("/desk/media", data=b"MZ", headers=headers)).json()
    assert strange == {"problem": "Files of this type cannot be sent."}
    assert (await client.post("/desk/media", data=photo())).status == 403
    many = await client.post("/desk/s-3/say", data={"media": ",".join("d" * 11)}, headers=headers)
    assert "at most 10 files" in await many.text()


async def test_media_are_for_whom_the_conversation_concerns(client: Client, sign_in: SignIn) -> None:
    """Another agent who knows the digest gets nothing."""
    await sign_in("ben", "battery staple")
    assert (await client.get("/desk/s-1/media/d1")).status == 404


async def test_part_of_a_file_can_be_asked_for(client: Client, sign_in: SignIn) -> None:
    """Videos are watched in pieces (RFC 9110 section 14)."""
    await sign_in()
    part = await client.get("/desk/s-1/media/d1", headers={"Range": "bytes=1-3"})
    assert (part.status, await part.read()) == (206, b"PNG")


# --- what stands over the composer -------------------------------------------------------------------------------------


async def test_banners_say_what_has_to_be_known_first(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """A pending transfer, a colleague's note, words to judge, an opt-out, a related conversation, a link."""
    await sign_in()

    async def shown(**fields: object) -> str:
        changed = msgspec.structs.asdict(desk.views[CHAT]) | fields
        desk.views[CHAT] = type(desk.views[CHAT])(**changed)
        return await (await client.get("/desk/s-3", headers={"HX-Request": "true"})).text()

    assert "Handing over to Ben Okafor…" in await shown(handover=Handover("Ben Okafor", ANA.id, "", NOW, NOW + 22))
    text = await shown(handover=None, note="knows it", note_by="Ben Okafor")
    assert "<strong>Ben Okafor says:</strong>" in text
    text = await shown(note="", suspicion=Suspicion("leave me alone", NOW), composer_open=False, composer_why="Judge first.")
    assert "Did they ask us to stop texting?" in text
    assert "Judge first." not in text, "the banner says it already"
    text = await shown(suspicion=None, text_state="opted_out", opted_out=OptedOut(NOW, "leave me alone"))
    assert "with the words “leave me alone”" in text
    text = await shown(opted_out=OptedOut(NOW, ""))
    assert "in another conversation with us" in text
    text = await shown(opted_out=None, text_state="chatting", related=Related(OTHER, "+15550100177", "+15550100201"))
    assert "Perhaps the same matter" in text
    text = await shown(related=None, link=UploadLink(NOW, NOW + 60))
    assert "not used yet" in text
    text = await shown(link=UploadLink(NOW, NOW + 60, NOW + 9, 2))
    assert "<strong>used, 2 files</strong>" in text


async def test_the_head_says_where_texts_go_and_how_to_come_back(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """The reply code, the other phone, why a button cannot be pressed, and how long the customer waits."""
    desk.change(CHAT, texts_to="+15550100145", set_aside_why="Write first.", transfer_why="Enough.")
    await sign_in()
    text = await (await client.get("/desk/s-3", headers={"HX-Request": "true"})).text()
    for words in ("<kbd>K7QM</kbd>", "Texts go to +1 555-010-0145", 'title="Write first."', 'title="Enough."', "data-due="):
        assert words in text


async def test_the_list_tells_what_comes_back(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """Set aside apart, returned ones marked, pending and failed transfers named."""
    desk.rows = {CHAT: {"set_aside_at": NOW - 60}, OTHER: {"returned": True, "alert": "Ben: declined", "handing_over": "Cyd"}}
    await sign_in()
    text = await (await client.get("/")).text()
    assert text.index("Back again") < text.index("Set aside <span") < text.index("Maria Silva")
    assert 'data-alert="Ben: declined"' in text
    assert "To Cyd…" in text
