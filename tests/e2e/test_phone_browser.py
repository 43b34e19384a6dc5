"""The engineer's phone in a real browser, with a small voice menu at the far end."""

import asyncio
import re
import time
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import Browser, expect
from prometheus_client import CollectorRegistry

from bridge.events import (
    AnswerCall,
    CallArrived,
    CallEvent,
    ConnectAgent,
    DigitsReceived,
    LegId,
    PlayMusic,
    PlayPrompts,
    PromptFinished,
)
from bridge.telephony.loopback import AgentPhone, LoopbackCallProvider
from bridge.web.console.phone import PhoneLine
from bridge.web.server import WebConfig, make_app, serving
from sms.message import DeliveryReport, InboundText, OutboundText
from sms.providers.loopback import LoopbackNetwork, LoopbackSms
from tests.e2e.browser import clean_page, overflows
from tests.unit.web.fakes import FakeDesk, FakeIntake, FakeRecords

pytestmark = pytest.mark.e2e
ME, THEM, MENU = "+15550100123", "+15550100200", "+15550100201"


class FarEnd:
    """Says hello, plays music, texts on key 1, connects an agent on key 2."""

    calls: LoopbackCallProvider
    texts: LoopbackSms

    def __init__(self) -> None:
        self.events: list[CallEvent] = []
        self.received: list[InboundText] = []

    async def take(self, event: CallEvent) -> None:
        self.events.append(event)
        match event:
            case CallArrived(leg=leg):
                await self.calls.perform(AnswerCall(leg=leg))
                await self.calls.perform(PlayPrompts(leg=leg, play=1, audio=("support/en/hello.wav",)))
            case PromptFinished(leg=leg):
                await self.calls.perform(PlayMusic(leg=leg, name="calm"))
            case DigitsReceived(digits="1"):
                await self.text("What is this about?")
            case DigitsReceived(leg=leg, digits="2"):
                await self.calls.perform(ConnectAgent(leg=leg, agent_leg=LegId("a"), address="loopback:Ana"))
            case _:
                pass

    async def text(self, body: str) -> None:
        await self.texts.send(OutboundText(message=body, recipient=ME, sender=THEM, body=body, created_at=time.time()))

    async def keep(self, text: InboundText) -> None:
        self.received.append(text)

    async def note(self, report: DeliveryReport) -> None:
        """Delivery is not looked at here."""


@pytest.fixture
def far_end() -> FarEnd:
    return FarEnd()


@pytest.fixture
async def base(far_end: FarEnd, tmp_path: Path) -> AsyncIterator[str]:
    for name, seconds in (("support/en/hello.wav", 1.0), ("support/en/agent.wav", 0.3), ("music/calm.wav", 1.0)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(tmp_path / name), "wb") as recording:
            recording.setnchannels(1)
            recording.setsampwidth(2)
            recording.setframerate(8000)
            recording.writeframes(bytes(int(16000 * seconds)))
    network = LoopbackNetwork(delay=0.0)
    far_end.calls = LoopbackCallProvider(
        far_end.take,
        tmp_path,
        captions=lambda path: "Welcome to Sidetone." if path.endswith("hello.wav") else "",
        greetings={"en": "support/en/agent.wav"},
        agent_phones={"loopback:Ana": AgentPhone(answer_after=0.1)},
    )
    far_end.texts = LoopbackSms(network, on_text=far_end.keep, on_report=far_end.note)
    line = PhoneLine(calls=far_end.calls, texts=network, sms_provider="loopback", my_number=ME, our_numbers=(THEM, MENU))
    config = WebConfig(prompts=tmp_path)
    app = make_app(FakeDesk(0.0), FakeIntake(), FakeRecords(), line, config, registry=CollectorRegistry())
    async with far_end.calls, far_end.texts, serving(app, "127.0.0.1", 0, shutdown_timeout=1.0) as port:
        yield f"http://127.0.0.1:{port}"


async def test_an_engineer_calls_and_texts(browser: Browser, base: str, far_end: FarEnd, tmp_path: Path) -> None:
    """Dial, hear, press, read the text that comes, answer it with words and a photo, talk to an agent, hang up."""
    async with clean_page(browser) as page:
        await page.goto(f"{base}/phone")
        await page.click("#hook")
        await expect(page.locator("#heard")).to_contain_text("Welcome to Sidetone.")
        await expect(page.locator("#status")).to_have_text("Music")
        await expect(page.locator("#timer")).to_have_text(re.compile(r"0:0\d"))

        await page.keyboard.press("1")
        await expect(page.locator("#keys")).to_have_text("1")
        await expect(page.locator("#thread .in")).to_contain_text("What is this about?")

        Image.new("RGB", (40, 30), "#7a8f6b").save(tmp_path / "label.png")
        await page.set_input_files("#picture", tmp_path / "label.png")
        await page.fill("#words", "It blinks <red> 1234")
        await page.keyboard.press("Enter")
        await expect(page.locator("#thread .out")).to_contain_text("It blinks <red> 1234")
        await expect(page.locator("#thread .out img")).to_be_visible()
        assert [(text.body, len(text.media)) for text in far_end.received] == [("It blinks <red> 1234", 1)]

        await page.click("[data-digit='2']")
        await expect(page.locator("#status")).to_have_text("Talking to Ana")
        await page.click("#hook")
        await expect(page.locator("#heard")).to_contain_text("You hung up")
        assert [event.digits for event in far_end.events if isinstance(event, DigitsReceived)] == ["1", "2"]


async def test_the_recordings_are_really_played(browser: Browser, base: str) -> None:
    """The browser fetches prompt and music; words alone would not be a phone."""
    async with clean_page(browser) as page:
        fetched: list[str] = []
        page.on(
            "response", lambda response: fetched.append(response.url.removeprefix(base)) if "/prompts/" in response.url else None
        )
        await page.goto(f"{base}/phone")
        await page.click("#hook")
        await expect(page.locator("#status")).to_have_text("Music")
        await asyncio.sleep(0.3)

        assert fetched[:2] == ["/prompts/support/en/hello.wav", "/prompts/music/calm.wav"]


async def test_a_narrow_screen_shows_one_side_at_a_time(browser: Browser, base: str, far_end: FarEnd) -> None:
    """At 400 pixels a text that comes meanwhile is counted on the other side's tab."""
    async with clean_page(browser, width=400) as page:
        await page.goto(f"{base}/phone")
        await expect(page.locator("#handset")).to_be_visible()
        await expect(page.locator("#texts")).not_to_be_visible()
        assert not await overflows(page)

        await page.click("#hook")
        await expect(page.locator("#status")).to_have_text("Music")
        await far_end.text("Are you there?")
        await expect(page.locator("#unread")).to_have_text("1")
        await page.click("#tab-texts")
        await expect(page.locator("#thread")).to_contain_text("Are you there?")
        await expect(page.locator("#unread")).not_to_be_visible()
        assert not await overflows(page)


@pytest.mark.parametrize("width", [1280, 400])
async def test_a_long_call_and_a_long_thread_fit(browser: Browser, base: str, far_end: FarEnd, width: int) -> None:
    """What was heard and what was written scrolls inside; key pad and text field stay in sight."""
    async with clean_page(browser, width=width) as page:
        await page.goto(f"{base}/phone")
        for number in range(20):
            await far_end.text(f"Text number {number}")
        await page.click("#hook")
        await expect(page.locator("#status")).to_have_text("Music")
        leg = next(event.leg for event in far_end.events)
        for play in range(20):
            await far_end.calls.perform(PlayPrompts(leg=leg, play=play, audio=("support/en/hello.wav",)))

        await expect(page.locator("#heard li")).to_have_count(21)
        await expect(page.locator("#hook")).to_be_in_viewport()
        assert not await overflows(page)
        if width == 400:
            await page.click("#tab-texts")
        await expect(page.locator("#thread li")).to_have_count(20)
        await expect(page.locator("#thread li").last).to_be_in_viewport()
        await expect(page.locator("#words")).to_be_in_viewport()
        assert not await overflows(page)


async def test_a_withheld_number_and_another_handset(browser: Browser, base: str, far_end: FarEnd) -> None:
    """The number can be withheld or changed; the thread is that of the handset."""
    async with clean_page(browser) as page:
        await page.goto(f"{base}/phone")
        await far_end.text("For the first handset")
        await expect(page.locator("#thread li")).to_have_count(1)
        await page.fill("#mine", "+15550100177")
        await page.keyboard.press("Tab")
        await expect(page.locator("#thread li")).to_have_count(0)
        await page.check("#withhold")
        await page.click("#hook")
        await expect(page.locator("#heard")).to_contain_text("Welcome")

        assert [event.caller for event in far_end.events if isinstance(event, CallArrived)] == [None]


async def test_the_other_number_is_texted(browser: Browser, base: str, far_end: FarEnd) -> None:
    """A press on one of our numbers chooses it, for texts and for calls."""
    async with clean_page(browser) as page:
        await page.goto(f"{base}/phone")
        await expect(page.locator(f"[data-number='{THEM}']")).to_have_attribute("aria-pressed", "true")
        await page.click(f"[data-number='{MENU}']")
        await expect(page.locator("#texts-with")).to_have_text(MENU)
        await expect(page.locator(f"[data-number='{THEM}']")).to_have_attribute("aria-pressed", "false")
        await page.keyboard.type("Hello")
        await page.keyboard.press("Enter")
        await expect(page.locator("#thread .out")).to_contain_text(f"to {MENU}")

        assert [(text.recipient, text.body) for text in far_end.received] == [(MENU, "Hello")]


async def test_an_address_in_a_text_can_be_opened(browser: Browser, base: str, far_end: FarEnd) -> None:
    """It is a link to another page, without the full stop behind it; other words stay words, whatever is in them."""
    async with clean_page(browser) as page:
        await page.goto(f"{base}/phone")
        await far_end.text(f"Photos here, once: {base}/phone?a=1. <b>Thanks</b>")
        link = page.locator("#thread .in p a")
        await expect(link).to_have_text(f"{base}/phone?a=1")
        await expect(page.locator("#thread .in p")).to_contain_text(". <b>Thanks</b>")
        async with page.expect_popup() as opened:
            await link.click()
        await expect((await opened.value).locator("#thread")).to_be_attached()


async def test_an_ordinary_keyboard_dials(browser: Browser, base: str, far_end: FarEnd) -> None:
    """Digits, backspace, enter and escape work without a mouse; letters typed into the text field are no keys."""
    async with clean_page(browser) as page:
        await page.goto(f"{base}/phone")
        await page.fill("#words", "1 2 3")
        await page.fill("#called", "")
        await page.evaluate("document.activeElement.blur()")
        await page.keyboard.type("15550100211")
        await page.keyboard.press("Backspace")
        await expect(page.locator("#called")).to_have_value("1555010021")
        await page.keyboard.press("Enter")
        await expect(page.locator("#heard")).to_contain_text("Welcome")
        await page.keyboard.press("Escape")
        await expect(page.locator("#status")).to_have_text("Call ended")

        assert [event.called for event in far_end.events if isinstance(event, CallArrived)] == ["+1555010021"]
