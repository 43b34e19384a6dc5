"""Lines as agents read them."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.offers import Reason
from bridge.web.console.timeline import _REASONS, KNOWN_KINDS, Shown, duration, pretty_number, show, tick
from bridge.web.ports import Line, Ticks

PLAIN = (
    st.none() | st.booleans() | st.integers(-9, 9**9) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
)
PICTURE = st.fixed_dictionaries({"digest": st.text(max_size=8), "content_type": st.text(max_size=8)})
KEYS = """
    caller called language by prompt key target label words heard completed low high position what kind offer reason answer digit
    purpose granted queue channel waited outcome name agent status body confidence why message author preset code explanation
    question media word cause note disposition titles to to_name minutes meant refused expires_at number warm seconds sender tries
"""


def told(kind: str, /, **data: object) -> Shown:
    shown = show(Line(n=4, at=10.0, kind=kind, data=data), {"ana": "Ana Torres"}.get)
    assert shown is not None
    return shown


@given(kind=st.sampled_from(sorted(KNOWN_KINDS)), data=st.dictionaries(st.sampled_from(KEYS.split()), PLAIN, max_size=8))
def test_no_data_can_break_a_line(kind: str, data: dict[str, object]) -> None:
    """Whatever a line carries, an agent sees a line: a desk that fails on one would hide a conversation."""
    shown = told(kind, **data)

    assert (shown.n, shown.at) == (4, 10.0)
    assert all(isinstance(text, str) for text in (shown.title, shown.words, shown.small))


@given(pictures=st.lists(PICTURE, max_size=3))
def test_pictures_of_a_text_are_shown(pictures: list[dict[str, str]]) -> None:
    """As many as came, each under its digest."""
    shown = told("text.received", body="", media=pictures)

    assert [file.digest for file in shown.files] == [each["digest"] for each in pictures]


def test_an_unknown_kind_is_shown_plainly() -> None:
    """A newer server's line is not hidden; empty values are."""
    shown = told("weather.changed", sky="blue", wind=None)

    assert (shown.shape, shown.title, shown.small) == ("event", "Weather changed", "sky blue")


def test_every_reason_of_the_policy_has_words() -> None:
    """An agent reads no name of ours."""
    for reason in get_args(Reason):
        assert reason in _REASONS


def test_traces_are_for_explain_only() -> None:
    """The flow's own trace would bury the conversation."""
    assert show(Line(1, 0.0, "flow.trace", {}), lambda _: None) is None


def test_a_queue_is_called_what_agents_call_it() -> None:
    """Its id is for settings."""
    line = Line(1, 0.0, "queue.joined", {"queue": "support_sms", "channel": "sms"})
    shown = show(line, lambda _: None, {"support_sms": "Support by text"}.__getitem__)

    assert shown is not None
    assert shown.title == "Waits in “Support by text”"
    moved = Line(2, 0.0, "queue.moved", {"queue": "support_sms", "to": "night_sms", "channel": "sms"})
    shown = show(moved, lambda _: None, {"support_sms": "Support by text", "night_sms": "Night desk"}.__getitem__)
    assert shown is not None
    assert (shown.title, shown.small) == ("Waits in “Night desk” now, at the same place", "text")


@pytest.mark.parametrize(
    ("kind", "data", "title", "words", "small"),
    [
        (
            "menu.answered",
            {"body": "1", "titles": ["Internet", "Router"], "why": "number 1"},
            "Chose “Internet > Router”",
            "",
            "wrote “1”",
        ),
        (
            "menu.answered",
            {"body": "?", "titles": [], "why": "2 texts not understood"},
            "Answered the menu",
            "",
            "wrote “?” · 2 texts not understood",
        ),
        ("menu.answered", {"body": "Hi", "titles": [], "why": "the first text"}, "Asked by text what it is about", "", ""),
        ("menu.answered", {"body": "BACK", "titles": ["Internet"], "why": "back"}, "Went back in the menu", "", "wrote “BACK”"),
        ("transfer.started", {"by": "ana", "to": "Ben", "note": "knows it"}, "Ana Torres handed over to Ben", "knows it", ""),
        (
            "transfer.started",
            {"by": "Ana", "to": None, "queue": "night_desk"},
            "Ana handed over to the queue “Night desk”",
            "",
            "",
        ),
        ("transfer.completed", {"by": "Ana", "to": "Ben"}, "Ben took over from Ana", "", ""),
        (
            "offer.decided",
            {"kind": "callback", "offer": False, "reason": "almost_there"},
            "Do not offer to be called back",
            "",
            "it is almost their turn",
        ),
        (
            "offer.decided",
            {"kind": "deflect", "offer": False, "reason": "sms_closed"},
            "Do not offer a text chat instead of waiting",
            "",
            "the text desk is closed",
        ),
        (
            "queue.moved",
            {"queue": "support", "to": "night_desk", "channel": "voice"},
            "Waits in “Night desk” now, at the same place",
            "",
            "call",
        ),
        (
            "transfer.failed",
            {"by": "Ana", "to": "Ben", "reason": "no answer"},
            "Handing over to Ben failed",
            "",
            "nobody took it in time",
        ),
        ("chat.dismissed", {"name": "Ana", "by": "agent"}, "Set aside by Ana", "", "comes back when the customer writes"),
        ("chat.dismissed", {"name": "Ana", "by": "timer"}, "Set aside by the clock", "", "comes back when the customer writes"),
        ("chat.returned", {}, "The chat is back", "", ""),
        ("chat.reopened", {}, "Goes on in the same conversation", "", ""),
        ("chat.expired", {}, "Nobody took the chat in time", "", ""),
        ("chat.warned", {"minutes": 5}, "Told the customer that the chat will be closed", "", "5 min left"),
        ("stop.judged", {"name": "Ana", "meant": True}, "Ana read it as a wish not to be texted", "", ""),
        ("stop.judged", {"name": "Ana", "meant": False}, "Ana read it as no wish to stop texts", "", ""),
        ("upload.asked", {"name": "Ana", "token": "t"}, "Ana sent a link for photos", "", ""),
        ("media.uploaded", {"media": [], "refused": 1}, "Customer, by the link", "", "1 file refused"),
        ("conversation.opened", {"name": "Ana", "queue": "support_sms"}, "Ana began the conversation", "", "Support sms"),
        ("api.said", {"author": "api:orders"}, "A program texted: “orders”", "", ""),
        ("text.sent", {"message": "m", "body": "Hi", "author": "api:orders"}, "Program “orders”", "Hi", ""),
        (
            "sender.added",
            {"number": "+15550100145", "why": "gave this conversation's code from another phone"},
            "Texts come from +1 555-010-0145 as well",
            "",
            "gave this conversation's code from another phone",
        ),
        ("call.arrived", {"caller": None, "called": "+15550100200"}, "Withheld number called +1 555-010-0200", "", ""),
        (
            "menu.chosen",
            {"prompt": "main_menu", "key": "1", "target": "internet_help"},
            "Chose “Internet help”",
            "",
            "key 1 · main menu",
        ),
        ("prompt.played", {"words": "Hello.", "heard": 1.6, "completed": False}, "Heard", "Hello.", "cut after 2 s"),
        ("ewt.told", {"low": 4, "high": 6, "words": "four to six"}, "Told the expected wait", "four to six", "4 to 6 min"),
        ("queue.left", {"outcome": "timed_out", "waited": 125.0}, "Left the line: timed out", "", "after 2 min 05 s"),
        ("agent.offered", {"agent": "ana", "channel": "sms"}, "Rings at Ana Torres", "", "text"),
        ("text.sent", {"author": "agent:ana", "body": "Hi", "preset": "p", "message": "m"}, "Ana Torres", "Hi", "preset"),
        ("text.sent", {"author": "flow", "body": "Hi", "message": "m"}, "Flow", "Hi", ""),
        (
            "text.received",
            {"body": "Hi", "confidence": "probable", "why": "same number"},
            "Customer",
            "Hi",
            "the same customer has a conversation on another number of ours",
        ),
        ("consent.given", {"granted": False, "purpose": "session", "words": "No"}, "Consent refused (session)", "No", ""),
        ("call.ended", {"by": "caller", "cause": "bye"}, "Call ended by the caller", "", ""),
        ("call.ended", {"by": "network", "cause": "media_timeout"}, "Call ended by the network", "", "media timeout"),
    ],
)
def test_a_line_in_words(kind: str, data: dict[str, object], title: str, words: str, small: str) -> None:
    """The words an agent reads."""
    shown = told(kind, **data)

    assert (shown.title, shown.words, shown.small) == (title, words, small)


@pytest.mark.parametrize(
    ("ticks", "word", "tone", "why"),
    [
        (None, "pending", "waiting", ""),
        (Ticks("queued"), "queued", "waiting", ""),
        (Ticks("sent"), "sent", "waiting", ""),
        (Ticks("delivered"), "delivered", "done", ""),
        (Ticks("read"), "read", "done", ""),
        (Ticks("undelivered", "30005", "Unknown number"), "not delivered", "failed", "Unknown number (30005)"),
        (Ticks("failed", "30005", "Error 30005"), "failed", "failed", "Error 30005"),
        (Ticks("canceled"), "withdrawn", "failed", ""),
    ],
)
def test_ticks_in_words(ticks: Ticks | None, word: str, tone: str, why: str) -> None:
    """Every state has a word, and a failure its reason."""
    mark = tick(ticks)

    assert (mark.word, mark.tone, mark.why) == (word, tone, why)


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, ""), (-3.0, "0 s"), (59.4, "59 s"), (60.0, "1 min 00 s"), (3725.0, "1 h 02 min")]
)
def test_durations(seconds: float | None, words: str) -> None:
    """Short enough for a line."""
    assert duration(seconds) == words


def test_numbers_for_people() -> None:
    """Known ones in groups, odd ones as they are."""
    assert [pretty_number(each) for each in ("+15550100123", "12345", None)] == ["+1 555-010-0123", "12345", "Withheld number"]


def test_a_shown_line_is_a_value() -> None:
    """It goes through JSON unharmed, like every value here."""
    shown = told("call.answered")

    assert msgspec.json.decode(msgspec.json.encode(shown), type=Shown) == shown
