"""The agent's desk over HTTP and websockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

from bridge.web.console.desk import LISTS
from bridge.web.ports import DeskChanged, SessionChanged, Ticks
from tests.unit.web.conftest import Client, Clock, SignIn
from tests.unit.web.fakes import OTHER, SESSION, STRANGE, FakeDesk

ACTIONS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/desk/state", {"state": "ready"}),
    ("/desk/accept", {"offer": "s-1/voice"}),
    ("/desk/decline", {"offer": "s-1/sms"}),
    ("/desk/s-1/say", {"body": "Hello"}),
    ("/desk/s-1/hang-up", {}),
    ("/desk/s-1/end-chat", {}),
    ("/desk/s-1/wrap-up", {"note": "All well", "disposition": "Solved"}),
)


# --- pages -------------------------------------------------------------------------------------------------------------


async def test_the_page_shows_work_and_conversation(client: Client, sign_in: SignIn) -> None:
    """One page: presence, the list with what is unread, the conversation with card, answers, ticks and photos."""
    await sign_in()
    listed = await (await client.get("/")).text()
    text = await (await client.get("/desk/s-1")).text()

    assert "No conversation open" in listed
    assert '<span class="unread">2<span class="hidden"> unread' in listed
    for words in (
        "On a call",
        "+1 555-010-0123",
        "Internet",
        "My router blinks red since this morning",
        "Ask for a photo",
        "not delivered: Unknown or inactive number (30005)",
        'src="/desk/s-1/media/d1/thumbnail"',
        "Hang up",
        "Weather changed",
    ):
        assert words in text


async def test_what_a_customer_writes_is_text(client: Client, sign_in: SignIn) -> None:
    """Markup in a text is shown as it was typed and never becomes part of the page."""
    await sign_in()

    text = await (await client.get("/desk/s-1")).text()

    assert STRANGE not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


async def test_no_page_has_script_or_style_inside(client: Client, sign_in: SignIn) -> None:
    """The content security policy would stop it, and the console would complain."""
    await sign_in()

    text = await (await client.get("/desk/s-1")).text()

    assert "<script>" not in text
    assert "style=" not in text
    assert "onclick" not in text


async def test_a_fragment_is_the_conversation_only(client: Client, sign_in: SignIn) -> None:
    """Going from one conversation to the next replaces that part of the page and its address."""
    await sign_in()

    answer = await client.get("/desk/s-2", headers={"HX-Request": "true"})
    text = await answer.text()

    assert answer.headers["HX-Push-Url"] == "/desk/s-2"
    assert text.lstrip().startswith('<main id="session"')
    assert "The customer sent STOP." in text
    assert 'data-open="no"' in text
    assert "Wrap-up" in text


async def test_the_back_button_gets_a_whole_page(client: Client, sign_in: SignIn) -> None:
    """A page restored from history is never a fragment."""
    await sign_in()

    answer = await client.get("/desk/s-1", headers={"HX-Request": "true", "HX-History-Restore-Request": "true"})

    assert (await answer.text()).startswith("<!doctype html>")


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
async def test_what_is_not_theirs_is_refused_in_words(client: Client, sign_in: SignIn, headers: dict[str, str]) -> None:
    """Somebody else's conversation is not shown."""
    await sign_in("ben", "battery staple")

    text = await (await client.get("/desk/s-1", headers=headers)).text()

    assert "This conversation is not yours." in text
    assert "router" not in text


# --- what an agent does ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "data", "asked"),
    [
        ("/desk/state", {"state": "ready"}, ("set_state", "ana", "ready", None)),
        ("/desk/state", {"state": "not_ready", "reason": "Lunch"}, ("set_state", "ana", "not_ready", "Lunch")),
        ("/desk/accept", {"offer": "s-1/sms"}, ("accept", "ana", "s-1", "sms")),
        ("/desk/decline", {"offer": "s-1/voice"}, ("decline", "ana", "s-1", "voice")),
        ("/desk/s-1/say", {"body": " Hello\r\nthere ", "preset": ""}, ("say", "ana", "s-1", "Hello\nthere", None)),
        ("/desk/s-1/say", {"body": "Hello", "preset": "p"}, ("say", "ana", "s-1", "Hello", "p")),
        ("/desk/s-1/say", {"body": "Hello", "once": "n1"}, ("say", "ana", "s-1", "Hello", None, "n1")),
        ("/desk/s-1/hang-up", {}, ("hang_up", "ana", "s-1")),
        ("/desk/s-1/end-chat", {}, ("end_chat", "ana", "s-1")),
        ("/desk/s-1/wrap-up", {"note": " ok ", "disposition": "Solved"}, ("wrap_up", "ana", "s-1", "ok", "Solved")),
        ("/desk/s-1/wrap-up", {"note": "", "disposition": ""}, ("wrap_up", "ana", "s-1", "", None)),
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
    """Another site's form carries the cookie at most, never the token; without a session there is only the form."""
    assert "HX-Redirect" in (await client.post(path, data=data, headers={"HX-Request": "true"})).headers
    await sign_in()

    assert (await client.post(path, data=data)).status == 403
    assert (await client.post(path, data=data, headers={"X-CSRF-Token": "guess"})).status == 403
    assert not desk.asked


@pytest.mark.parametrize(("path", "data"), ACTIONS)
async def test_a_refusal_is_shown_in_its_words(
    client: Client, sign_in: SignIn, desk: FakeDesk, path: str, data: dict[str, str]
) -> None:
    """What cannot be done now is said, and nothing else on the page changes."""
    headers = {"X-CSRF-Token": await sign_in()}
    desk.refusal = "The customer <hung up>."

    answer = await client.post(path, data=data, headers=headers)

    assert (answer.status, answer.headers["HX-Reswap"]) == (200, "none")
    assert "The customer &lt;hung up&gt;." in await answer.text()


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/desk/state", {"state": "offline"}),
        ("/desk/state", {"state": "not_ready", "reason": "Because"}),
        ("/desk/s-1/wrap-up", {"note": "", "disposition": "Because"}),
    ],
)
async def test_what_no_button_sends_is_refused(
    client: Client, sign_in: SignIn, desk: FakeDesk, path: str, data: dict[str, str]
) -> None:
    """A made-up state, reason or disposition does not reach the desk."""
    answer = await client.post(path, data=data, headers={"X-CSRF-Token": await sign_in()})

    assert answer.status == 400
    assert not desk.asked


@pytest.mark.parametrize(("body", "words"), [("  ", "nothing to send"), ("x" * 1601, "at most 1600")])
async def test_a_text_has_a_length(client: Client, sign_in: SignIn, desk: FakeDesk, body: str, words: str) -> None:
    """Neither nothing nor more than a provider takes."""
    answer = await client.post("/desk/s-1/say", data={"body": body}, headers={"X-CSRF-Token": await sign_in()})

    assert words in await answer.text()
    assert not desk.asked


async def test_a_kept_text_clears_the_composer(client: Client, sign_in: SignIn) -> None:
    """Only once the outbox has it: the page empties its field on this signal."""
    answer = await client.post("/desk/s-1/say", data={"body": "Hello"}, headers={"X-CSRF-Token": await sign_in()})

    assert answer.headers["HX-Trigger"] == "text-kept"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", '"segments"></span>'),
        ("Hello", "1 SMS · 155 left"),
        ("€" * 81, "2 SMS"),
        ("être", '1 SMS · 66 left · <span class="costs">Unicode because of ê</span>'),
        ("x" * 1601, "Too long"),
    ],
)
async def test_segments_are_counted_while_typing(client: Client, sign_in: SignIn, body: str, words: str) -> None:
    """The count is that of the sender, not a guess of the page's."""
    answer = await client.post("/desk/s-1/segments", data={"body": body}, headers={"X-CSRF-Token": await sign_in()})

    assert words in await answer.text()


# --- pictures ----------------------------------------------------------------------------------------------------------


async def test_pictures_are_for_agents_only(client: Client, sign_in: SignIn) -> None:
    """Stored media need a session, cannot act as a page, and unknown ones are not found."""
    assert (await client.get("/desk/s-1/media/d1")).status == 403
    await sign_in()

    picture = await client.get("/desk/s-1/media/d1")
    thumbnail = await client.get("/desk/s-1/media/d1/thumbnail")

    assert (picture.status, picture.content_type, thumbnail.status) == (200, "image/png", 200)
    assert "default-src 'none'" in picture.headers["Content-Security-Policy"]
    assert (await client.get("/desk/s-1/media/d2")).status == 404


# --- websockets --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def socket(client: Client, path: str) -> AsyncIterator[ClientWebSocketResponse]:
    async with client.ws_connect(path, headers={"Origin": str(client.make_url("/"))[:-1]}) as opened:
        yield opened


async def said(opened: ClientWebSocketResponse, words: str) -> str:
    """The next message that contains *words*."""
    async with asyncio.timeout(3):
        while True:
            message = await opened.receive()
            assert message.type is WSMsgType.TEXT, message
            if words in message.data:
                return str(message.data)


async def nothing_more(opened: ClientWebSocketResponse) -> bool:
    try:
        await opened.receive(timeout=0.15)
    except TimeoutError:
        return True
    return False


async def test_the_desk_is_told_of_offers(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """Ringing work appears by itself, with the way to accept it."""
    await sign_in()
    async with socket(client, "/desk/ws") as opened:
        await said(opened, 'id="work"')

        desk.offer()

        html = await said(opened, "Accept")
        assert 'id="offers"' in html
        assert 'hx-swap-oob="true"' in html
        assert "waited 2 min 54 s" in html


async def test_what_did_not_change_is_not_sent_again(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """A menu an agent has just opened is not replaced by the same menu."""
    await sign_in()
    async with socket(client, "/desk/ws") as opened:
        for _ in LISTS:
            await opened.receive()

        desk.publish(DeskChanged())

        assert await nothing_more(opened)


async def test_a_new_line_comes_to_the_open_conversation(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """Texts appear at the end of the timeline as they come, are read on arrival, and their ticks follow."""
    await sign_in()
    last = desk.views[SESSION].timeline[-1].n
    async with socket(client, f"/desk/s-1/ws?after={last}") as opened:
        await said(opened, 'id="ticks-m-8"')

        desk.unread[SESSION] = 1
        desk.add(SESSION, "text.received", message="m-9", body="It is <green>!", media=[])
        html = await said(opened, "It is")
        assert 'hx-swap-oob="beforeend:#lines"' in html
        assert "&lt;green&gt;" in html
        desk.add(SESSION, "text.sent", message="m-10", body="Good.", author="agent:ana")
        assert "pending" in await said(opened, "Good.")
        desk.mark(SESSION, "m-10", Ticks("delivered"))
        assert "delivered" in await said(opened, 'id="ticks-m-10"')
        assert desk.unread[SESSION] == 0


async def test_a_page_that_comes_back_gets_what_it_missed(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """With lines it has not seen, the timeline is sent as a whole: no line is missing and none stands twice."""
    await sign_in()
    async with socket(client, "/desk/s-1/ws?after=3") as opened:
        html = await said(opened, 'hx-swap-oob="innerHTML:#lines"')

        assert html.count("<li ") == len(desk.views[SESSION].timeline)


async def test_a_repeated_line_is_sent_once(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """A line the page already has is not added again."""
    await sign_in()
    last = desk.views[SESSION].timeline[-1].n
    async with socket(client, f"/desk/s-1/ws?after={last}") as opened:
        await said(opened, 'id="ticks-m-8"')
        known = desk.views[SESSION]
        desk.add(SESSION, "text.sent", message="m-11", body="Once.", author="system")
        desk.views[SESSION] = known
        desk.add(SESSION, "text.sent", message="m-11", body="Once.", author="system")

        await said(opened, "Once.")
        assert await nothing_more(opened)


async def test_ticks_without_a_line_are_not_sent(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """They would have no place on the page; traces are not sent either."""
    await sign_in()
    last = desk.views[SESSION].timeline[-1].n
    async with socket(client, f"/desk/s-1/ws?after={last}") as opened:
        await said(opened, 'id="ticks-m-8"')

        desk.mark(SESSION, "m-99", Ticks("sent"))
        desk.mark(OTHER, "m-1", Ticks("sent"))
        desk.add(SESSION, "flow.trace", state="x")

        assert await nothing_more(opened)


async def test_the_head_follows_the_conversation(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """When the call ends the button goes and the note's form comes; when STOP comes the composer closes and says why."""
    await sign_in()
    async with socket(client, "/desk/s-1/ws?after=0") as opened:
        await said(opened, "innerHTML:#lines")

        desk.change(SESSION, call_state="ended", wrapping_up=True, composer_open=False, composer_why="The customer sent STOP.")

        head = await said(opened, 'id="session-head"')
        assert "Call over" in head
        assert "Hang up" not in head
        assert "The customer sent STOP." in await said(opened, 'id="composer-state"')
        assert "Save and finish" in await said(opened, 'id="wrap-up"')


async def test_a_conversation_that_is_not_theirs_is_closed(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """Neither at first nor after it has gone to somebody else."""
    await sign_in()
    async with socket(client, "/desk/s-9/ws") as opened:
        assert (await opened.receive()).data == 4404

    last = desk.views[SESSION].timeline[-1].n
    async with socket(client, f"/desk/s-1/ws?after={last}") as opened:
        await said(opened, 'id="ticks-m-8"')
        del desk.views[SESSION]
        desk.publish(SessionChanged(session=SESSION))
        assert (await opened.receive(timeout=3)).data == 4404


@pytest.mark.parametrize("path", ["/desk/ws", "/desk/s-1/ws"])
async def test_a_stranger_is_told_to_sign_in(client: Client, path: str) -> None:
    """The page then goes to the form instead of trying for ever."""
    async with socket(client, path) as opened:
        assert (await opened.receive()).data == 4401


async def test_a_session_that_ended_closes_the_desk(client: Client, sign_in: SignIn, desk: FakeDesk, clock: Clock) -> None:
    """An open page does not outlive its session."""
    await sign_in()
    async with socket(client, "/desk/ws") as opened:
        for _ in LISTS:
            await opened.receive()
        clock.now += 13 * 3600

        desk.publish(DeskChanged())

        assert (await opened.receive()).data == 4401


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://evil.example"}, {"Origin": "null"}])
async def test_other_sites_cannot_listen(client: Client, sign_in: SignIn, headers: dict[str, str]) -> None:
    """A websocket carries the cookie from any page, so only our own origin is let in."""
    await sign_in()

    with pytest.raises(WSServerHandshakeError) as refused:
        await client.ws_connect("/desk/ws", headers=headers)

    assert refused.value.status == 403


async def test_the_public_address_may_listen(client: Client, sign_in: SignIn) -> None:
    """Behind a proxy the page's origin is the public one."""
    await sign_in()

    async with client.ws_connect("/desk/ws", headers={"Origin": "https://calls.example"}) as opened:
        assert (await opened.receive()).type is WSMsgType.TEXT


async def test_an_open_desk_counts_as_connected(client: Client, sign_in: SignIn, desk: FakeDesk) -> None:
    """The desk knows who is there by the subscriptions; closing the page ends them."""
    await sign_in()
    async with socket(client, "/desk/ws") as opened:
        await opened.receive()
        assert len(desk.listeners) == 1

    async with asyncio.timeout(3):
        await desk.left.wait()
    assert not desk.listeners


async def test_a_stopping_server_asks_pages_to_come_back(client: Client, sign_in: SignIn) -> None:
    """1012 is the code after which the page tries again."""
    await sign_in()
    async with socket(client, "/desk/ws") as opened:
        for _ in LISTS:
            await opened.receive()

        await client.app.shutdown()

        assert (await opened.receive()).data == 1012
