"""The desk's side of the text channel in a real browser, on a desk of our own making."""

import time

import pytest
from playwright.async_api import Browser, FilePayload, expect

from bridge.web.ports import DeskChanged, Preset, Related, Suspicion, UploadLink
from tests.e2e.browser import clean_page, overflows, sign_in
from tests.e2e.desk import ANA, open_chat
from tests.unit.web.fakes import CHAT, OTHER, PAST, PRESETS, FakeDesk, picture

pytestmark = pytest.mark.e2e


def label(name: str = "label") -> FilePayload:
    return {"name": f"{name}.png", "mimeType": "image/png", "buffer": picture(60, 40)}


async def test_a_chat_is_handed_over_and_comes_back(browser: Browser, base: str, desk: FakeDesk) -> None:
    """The panel closes, the transfer counts down, a failure stands in list and timeline, and the note's draft is gone."""
    async with clean_page(browser) as page:
        await open_chat(page, base)
        await page.click("text=Hand over")
        await page.fill("#handover-note", "Knows the router")
        await expect(page.locator("input[value='agent:cyd']")).to_be_disabled()
        await page.check("input[value='agent:ben']")
        await page.click("#panel >> text=Hand over >> nth=-1")
        await expect(page.locator("#panel")).not_to_be_visible()
        await expect(page.locator(".banner.wait")).to_contain_text("Handing over to Ben Okafor…")
        await expect(page.locator(".banner.wait .countdown")).to_contain_text(" s")
        await expect(page.locator("#composer")).not_to_be_visible()
        assert desk.asked == [("transfer", "ana", CHAT, "ben", None, "Knows the router")]

        desk.rows[CHAT] = {"alert": "Ben Okafor: declined"}
        desk.change(CHAT, handover=None, text_state="chatting", composer_open=True, composer_why="")
        desk.add(CHAT, "transfer.failed", by="ana", to="ben", reason="declined")
        await expect(page.locator(f"[data-row='{CHAT}'] .chip.warn")).to_contain_text("Ben Okafor: declined")
        await expect(page.locator(".line.warning").last).to_contain_text("Handing over to Ben Okafor failed · declined")
        await page.click("text=Hand over")
        await expect(page.locator("#handover-note")).to_have_value("")


async def test_a_panel_that_refuses_stays_open(browser: Browser, base: str, desk: FakeDesk) -> None:
    """The reason stands in it, and what was typed stays; Escape leaves it, with nothing changed."""
    async with clean_page(browser) as page:
        await open_chat(page, base)
        await page.click("text=Hand over")
        await page.fill("#handover-note", "Knows the router")
        await page.check("input[value='queue:night']")
        desk.refusal = "Chats cannot be handed to that queue."
        await page.click("#panel .primary")
        await expect(page.locator("#panel-problem")).to_have_text("Chats cannot be handed to that queue.")
        await expect(page.locator("#handover-note")).to_have_value("Knows the router")
        await page.keyboard.press("Escape")
        await expect(page.locator("#panel")).not_to_be_visible()
        await expect(page.locator("#composer")).to_be_visible()


async def test_an_agent_begins_a_conversation_by_keyboard(browser: Browser, base: str, desk: FakeDesk) -> None:
    """Ctrl-K, a number as it is dialled here, a ready-made text, Enter on the button: the conversation is open."""
    async with clean_page(browser) as page:
        await sign_in(page, base, *ANA)
        await page.keyboard.press("Control+k")
        await expect(page.locator("#new-number")).to_be_focused()
        await page.keyboard.type("+15550100166")
        await expect(page.locator(".hint.bad")).to_contain_text("They opted out of texts")
        await page.fill("#new-number", "5550100155")
        await expect(page.locator(".first")).to_contain_text("from +15550100200")
        await page.check("input[value='+15550100201']")
        await expect(page.locator(".first")).to_contain_text("from +15550100201")
        await page.click("#panel [data-preset=bye]")
        await expect(page.locator("#new-body")).to_be_focused()
        await expect(page.locator("#new-segments")).to_contain_text("1 SMS")
        await page.press("#panel .primary", "Enter")
        await expect(page.locator("#panel")).not_to_be_visible()
        await expect(page).to_have_url(f"{base}/desk/s-9")
        await expect(page.locator("#session-head h1")).to_have_text("+1 555-010-0155")
        text = "Thank you for your patience. Anything else we can do?"
        assert desk.asked == [("open", "ana", "+15550100155", "+15550100201", text, "bye")]


async def test_what_is_typed_into_a_dialog_at_once_counts(browser: Browser, base: str) -> None:
    """On a slow machine too: a dialog has the keyboard only once it listens."""
    async with clean_page(browser) as page:
        await sign_in(page, base, *ANA)
        await page.evaluate("htmx.config.defaultSettleDelay = 1000")
        await page.keyboard.press("Control+k")
        await expect(page.locator("#new-number")).to_be_focused()
        await page.keyboard.type("+15550100166")
        await expect(page.locator(".hint.bad")).to_contain_text("They opted out of texts")


async def test_files_are_attached_in_three_ways(browser: Browser, base: str, desk: FakeDesk) -> None:
    """Chosen, pasted and dropped; one that cannot go says so and holds the text back until it is removed."""
    async with clean_page(browser) as page:
        await open_chat(page, base)
        await page.set_input_files("#files", [label()])
        await expect(page.locator("#attached li")).to_contain_text("label.png")
        await page.evaluate(
            """bytes => {
                const given = new DataTransfer();
                given.items.add(new File([new Uint8Array(bytes)], "shot.png", { type: "image/png" }));
                const paste = new ClipboardEvent("paste", { clipboardData: given, bubbles: true });
                document.querySelector("#body").dispatchEvent(paste);
                const other = new DataTransfer();
                other.items.add(new File(["hello"], "notes.txt", { type: "text/plain" }));
                document.querySelector("#timeline").dispatchEvent(new DragEvent("drop", { dataTransfer: other, bubbles: true }));
            }""",
            list(picture(30, 20)),
        )
        await expect(page.locator("#attached li")).to_have_count(3)
        await expect(page.locator("#attached .bad")).to_contain_text("Files of this type cannot be sent.")
        await expect(page.locator("#attached .busy")).to_have_count(0)
        await page.press("#body", "Enter")
        await expect(page.locator("#message")).to_contain_text("Remove the file that cannot be sent first.")
        await page.click("#attached .bad button")
        await page.press("#body", "Enter")
        await expect(page.locator("#attached")).not_to_be_visible()
        await expect(page.locator(".line.out").last.locator("img")).to_have_count(2)
        [said] = [asked for asked in desk.asked if asked[0] == "say"]
        assert (said[3], len(said[-1])) == ("", 2)


async def test_attached_files_stay_with_their_conversation(browser: Browser, base: str) -> None:
    """Who looks at another conversation finds them again, and does not send them to somebody else."""
    async with clean_page(browser) as page:
        await open_chat(page, base)
        await page.set_input_files("#files", [label()])
        await expect(page.locator("#attached li")).to_have_count(1)
        await page.keyboard.press("Alt+ArrowUp")
        await expect(page.locator("#session-head")).to_contain_text("0177")
        await expect(page.locator("#attached li")).to_have_count(0)
        await page.keyboard.press("Alt+ArrowDown")
        await expect(page.locator("#attached li")).to_have_count(1)


async def test_a_ready_made_text_is_found_by_its_words(browser: Browser, base: str, desk: FakeDesk) -> None:
    """Many of them are searched with the slash key, by title or words; Enter takes the first; a slash in a text is a slash."""
    desk.ready_made = (*PRESETS, Preset("hours", "Hours", "We are here from 9 to 5."), Preset("bill", "Bill", "It is on page 2."))
    async with clean_page(browser) as page:
        await open_chat(page, base)
        await page.focus("#body")
        await page.keyboard.press("/")
        await expect(page.locator("#preset-search")).to_be_focused()
        await page.keyboard.type("page bill")
        await expect(page.locator("#composer [data-preset]:visible")).to_have_text(["Bill"])
        await page.keyboard.press("Enter")
        await expect(page.locator("#body")).to_have_value("It is on page 2.")
        await expect(page.locator("#composer [data-preset]:visible")).to_have_count(5)
        await page.keyboard.type(" 9/5")
        await expect(page.locator("#body")).to_have_value("It is on page 2. 9/5")


@pytest.mark.parametrize(("button", "meant"), [("Yes, stop", True), ("No, go on", False)])
async def test_words_are_judged_before_anything_is_written(
    browser: Browser, base: str, desk: FakeDesk, button: str, *, meant: bool
) -> None:
    """The composer is away until the agent has said what the customer meant; a draft waits."""
    async with clean_page(browser) as page:
        await open_chat(page, base)
        await page.fill("#body", "Half a sent")
        words = Suspicion("leave me <b>alone</b>", time.time())
        desk.change(CHAT, suspicion=words, composer_open=False, composer_why="Judge first.")
        await expect(page.locator(".banner.stop")).to_contain_text("leave me <b>alone</b>")
        await expect(page.locator("#composer")).not_to_be_visible()
        await page.click(f"text={button}")
        await expect(page.locator(".banner.stop")).to_have_count(0)
        assert desk.asked == [("judge", "ana", CHAT, meant)]
        if not meant:
            await expect(page.locator("#body")).to_have_value("Half a sent")


async def test_a_chat_is_set_aside_and_returns_marked(browser: Browser, base: str, desk: FakeDesk) -> None:
    """It moves to a list of its own; when the customer writes it is back, in another colour."""
    async with clean_page(browser) as page:
        await open_chat(page, base)
        await page.click("#session-head >> text=Set aside")
        await expect(page.locator("#work h2", has_text="Set aside")).to_be_visible()
        await expect(page.locator("#composer-state")).to_have_text("Set aside until the customer writes.")
        desk.rows[CHAT] = {"returned": True}
        desk.change(CHAT, text_state="chatting", composer_open=True, composer_why="")
        desk.publish(DeskChanged())
        await expect(page.locator(f"[data-row='{CHAT}'].back-again")).to_contain_text("Back again")
        await expect(page.locator("#composer")).to_be_visible()


async def test_who_waits_is_seen_by_colour(browser: Browser, base: str, desk: FakeDesk) -> None:
    """Grey under a minute, yellow over one, red over three, in the head and in the list."""
    async with clean_page(browser) as page:
        await open_chat(page, base)
        await expect(page.locator("#session-head .due.slow")).to_be_visible()
        desk.change(CHAT, unanswered_since=time.time() - 200)
        await expect(page.locator("#session-head .due.late")).to_be_visible()
        await expect(page.locator(f"[data-row='{CHAT}'] .due.late")).to_be_visible()
        desk.change(CHAT, unanswered_since=time.time() - 5)
        await expect(page.locator("#session-head .due:not(.slow):not(.late)")).to_be_visible()
        desk.change(CHAT, unanswered_since=None)
        await expect(page.locator("#session-head .due")).to_have_count(0)


async def test_other_conversations_are_peeked_at(browser: Browser, base: str, desk: FakeDesk) -> None:
    """From the list at the side and from the hint of a related one; the open conversation stays."""
    async with clean_page(browser) as page:
        await open_chat(page, base)
        await page.click(".earlier button")
        await expect(page.locator("#panel .peek")).to_contain_text("Hello, Ana here.")
        await expect(page.locator(f"#panel a[href='/desk/{PAST}']")).to_be_visible()
        await page.click("#panel [aria-label=Close]")
        desk.change(CHAT, related=Related(OTHER, "+15550100177", "+15550100201"))
        await page.click("text=Look at it")
        await expect(page.locator("#panel .peek")).to_contain_text("STOP")
        await expect(page).to_have_url(f"{base}/desk/{CHAT}")


async def test_the_customers_name_is_kept(browser: Browser, base: str, desk: FakeDesk) -> None:
    """Typed at the side, it stands in the head and in the list."""
    async with clean_page(browser) as page:
        await open_chat(page, base)
        await page.fill("#contact-name", "Maria da Silva")
        await page.press("#contact-name", "Enter")
        await expect(page.locator("#session-head h1")).to_have_text("Maria da Silva")
        await expect(page.locator(f"[data-row='{CHAT}']")).to_contain_text("Maria da Silva")
        assert desk.asked == [("rename", "ana", CHAT, "Maria da Silva")]


async def test_a_link_for_photos_tells_what_became_of_it(browser: Browser, base: str, desk: FakeDesk) -> None:
    """Not used, expired while the agent looks at it, used."""
    async with clean_page(browser) as page:
        await open_chat(page, base)
        await page.click("text=Upload link")
        assert desk.asked == [("ask_for_photos", "ana", CHAT)]
        now = time.time()
        desk.change(CHAT, link=UploadLink(now, now + 2))
        await expect(page.locator(".banner .unused")).to_be_visible()
        await expect(page.locator(".banner .expired")).to_be_visible()
        await expect(page.locator(".banner .unused")).not_to_be_visible()
        desk.change(CHAT, link=UploadLink(now, now + 60, now + 3, 2))
        await expect(page.locator(".banner.slim")).to_contain_text("used, 2 files")


@pytest.mark.parametrize("width", [1280, 400])
async def test_nothing_sticks_out(browser: Browser, base: str, desk: FakeDesk, width: int) -> None:
    """Every banner at once, the panels, attached files: all of it fits, and the text field stays in reach."""
    async with clean_page(browser, width=width) as page:
        await open_chat(page, base)
        now = time.time()
        desk.change(CHAT, note="knows it " * 20, note_by="Ben", link=UploadLink(now, now + 60), texts_to="+15550100145")
        desk.change(CHAT, related=Related(OTHER, "+15550100177", "+15550100201"))
        await page.set_input_files("#files", [label("label" * 12)])
        await expect(page.locator("#attached li")).to_have_count(1)
        await expect(page.locator("#body")).to_be_in_viewport()
        assert not await overflows(page)
        for opens in ("text=Hand over", "#new" if width > 720 else "text=Look at it"):
            await page.click(opens)
            await expect(page.locator("#panel")).to_be_visible()
            assert not await overflows(page)
            assert not await page.evaluate("document.querySelector('#panel').scrollWidth > innerWidth")
            await page.keyboard.press("Escape")
