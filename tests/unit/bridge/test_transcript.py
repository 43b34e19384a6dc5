"""Transcripts: a session as plain text for people."""

import re
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.events import AgentId, Media, MessageId, QueueId, SessionId
from bridge.journal import MessageRow, SessionRow, StoredSession, TimelineLine
from bridge.transcript import _TELLERS, Names, as_text

ID, ANA, OURS = SessionId("t1"), "+15550100123", "+15550100200"
OPENED = 1_762_462_800.0
"""2025-11-06 21:00:00 UTC."""
NAMES = Names(brand="Northwind", agents={"ben": "Ben", "ann": "Ann"}, queues={"support_sms": "Support by text"}, customer="Ana")
PHOTO = Media("ab" * 32, "image/jpeg", 12_345)


def session(**changes: Any) -> StoredSession:
    fields: dict[str, Any] = {
        "state": "closed",
        "customer": ANA,
        "our_number": OURS,
        "language": "en",
        "queue": QueueId("support_sms"),
        "agent": AgentId("ben"),
        "opened_at": OPENED,
        "closed_at": OPENED + 843.0,
        "ended_reason": "ended by agent",
        "handled": 600.0,
    }
    return StoredSession(id=ID, seq=9, lines=9, snapshot=b"{}", row=SessionRow(**(fields | changes)))


def line(after: float, kind: str, /, **data: Any) -> TimelineLine:
    return TimelineLine(OPENED + after, kind, data)


def text(name: str, after: float, body: str, author: str = "customer", **changes: Any) -> MessageRow:
    inbound = author == "customer"
    fields: dict[str, Any] = {
        "id": MessageId(name),
        "session": ID,
        "direction": "in" if inbound else "out",
        "provider": "loopback",
        "sender": ANA if inbound else OURS,
        "recipient": OURS if inbound else ANA,
        "body": body,
        "state": "received" if inbound else "delivered",
        "author": author,
        "created_at": OPENED + after,
    }
    return MessageRow(**(fields | changes))


def said(message: MessageRow, **data: Any) -> TimelineLine:
    kind = "text.received" if message.direction == "in" else "text.sent"
    return TimelineLine(message.created_at, kind, {"message": message.id, "body": message.body, **data})


def test_a_chat_reads_from_top_to_bottom() -> None:
    """Head, day, texts under who wrote them, and what happened between them."""
    texts = [
        text("in-1", 0.0, "Hello,\nmy phone is broken"),
        text("t1-1", 1.0, "Northwind: an agent will answer.", "system"),
        text("t1-2", 65.0, "Hi Ana", "agent:ben"),
        text("t1-3", 70.0, "Which phone is it?", "agent:ben"),
        text("in-2", 80.0, "", media=(PHOTO,)),
    ]
    lines = [
        said(texts[0]),
        said(texts[1]),
        line(1.0, "queue.joined", queue="support_sms", channel="sms", waited=0.0),
        line(60.0, "agent.joined", name="Ben", channel="sms"),
        said(texts[2]),
        said(texts[3]),
        said(texts[4], media_lost=1),
        line(840.0, "chat.ended", by="agent", name="Ben"),
        line(843.0, "note.written", name="Ben", note="New battery\nsent", disposition="Solved"),
        line(843.0, "session.closed", reason="ended by agent"),
    ]

    assert as_text(session(), lines, texts, zone=ZoneInfo("America/New_York"), names=NAMES) == (
        """\
Session:    t1
Customer:   +15550100123 (Ana)
Our number: +15550100200 (Northwind)
Began:      2025-11-06 16:00:00, with a text to us
Ended:      2025-11-06 16:14:03, after 14 min 03 s: ended by agent
Queue:      Support by text
Agents:     Ben
Handled:    10 min 00 s
Language:   en
Times:      America/New_York (UTC-0500)

2025-11-06

16:00:00  Ana
          Hello,
          my phone is broken
16:00:01  Northwind (automatic)
          Northwind: an agent will answer.
16:00:01  - Waiting for Support by text
16:01:00  - Ben joined the chat
16:01:05  Ben
          Hi Ana
          Which phone is it?
16:01:20  Ana
          [image/jpeg, 12 kB, abababababab]
          [1 more could not be fetched]
16:14:00  - The chat was ended by the agent
16:14:03  - Note by Ben (Solved): New battery
            sent
"""
    )


def body(*args: Any, **more: Any) -> list[str]:
    """The lines below the head."""
    options: dict[str, Any] = {"zone": UTC, "names": NAMES} | more
    _, _, rest = as_text(*args, **options).partition("\n\n")
    return rest.splitlines()


def test_a_call_reads_as_what_was_decided() -> None:
    """What the caller chose, was offered and agreed to; what machines did stays out."""
    lines = [
        line(0.0, "call.arrived", caller=ANA, called=OURS),
        line(0.0, "flow.trace", state="top"),
        line(5.0, "menu.chosen", prompt="menu", key="1", target="phone_repair"),
        line(6.0, "offer.made", kind="deflect", prompt="p", words="We can text you."),
        line(9.0, "offer.answered", kind="deflect", answer="accepted", digit="1"),
        line(9.0, "consent.given", purpose="session", granted=True, words="Press 1 to be texted"),
        line(10.0, "call.ended", by="platform", cause="bye"),
    ]
    assert body(session(service="call"), lines, [])[2:] == [
        "21:00:00  - +15550100123 called +15550100200",
        "21:00:05  - Chose phone repair",
        "21:00:06  - Offered to text instead of waiting: We can text you.",
        "21:00:09  - The offer was accepted",
        "21:00:09  - Agreed to be texted (session): Press 1 to be texted",
        "21:00:10  - The call was ended by us",
    ]


def test_a_new_day_has_a_new_heading_and_a_pause_a_new_name() -> None:
    """Who wrote is said again after a while, after an event, and on another day."""
    hours = 3 * 3600.0
    texts = [text(f"in-{n}", after, f"text {n}") for n, after in enumerate((0.0, 300.0, 601.0, hours))]
    assert body(session(), [said(item) for item in texts], texts) == [
        "2025-11-06",
        "",
        "21:00:00  Ana",
        "          text 0",
        "          text 1",
        "21:10:01  Ana",
        "          text 2",
        "",
        "2025-11-07",
        "",
        "00:00:00  Ana",
        "          text 3",
    ]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("undelivered", "(not delivered: switched off, 30003)"),
        ("failed", "(not sent: switched off, 30003)"),
        ("canceled", "(withdrawn: switched off, 30003)"),
    ],
)
def test_a_text_that_did_not_arrive_says_why(state: Any, words: str) -> None:
    """Beside the text, and not as an event of its own."""
    sent = text("t1-1", 0.0, "Hello", "agent:ben", state=state, error_code="30003")
    failed = line(9.0, "text.failed", message="t1-1", code="30003", explanation="switched off")
    assert body(session(), [said(sent), failed], [sent])[2:] == ["21:00:00  Ben", "          Hello", f"          {words}"]
    silent = text("t1-1", 0.0, "Hello", "agent:ben", state=state)
    assert body(session(), [said(silent)], [silent])[-1] == f"          {words.partition(':')[0]})"


def test_who_wrote_is_named() -> None:
    """Agents by name, programs by their key, everything else is the house; nobody's name is made up."""
    names = Names(brand="Northwind")
    authors = ["customer", "agent:gone", "api:crm", "flow", "owed"]
    texts = [text(f"m{n}", float(n), "x", author) for n, author in enumerate(authors)]
    page = body(session(), [said(item) for item in texts], texts, names=names)[2:]
    assert [item[10:] for item in page if not item.startswith(" ")] == [
        "Customer",
        "gone",
        "Northwind (program crm)",
        "Northwind (automatic)",
    ]


def test_texts_without_a_line_come_in_by_their_time() -> None:
    """Files that came by a link stand among the texts and have no line that names them."""
    late, early = text("up-1", 9.0, "", media=(PHOTO,), provider="upload"), text("up-0", 1.0, "")
    lines = [line(5.0, "chat.returned"), line(9.0, "media.uploaded", media=[{}], refused=2)]
    assert body(session(), lines, [early, late])[2:] == [
        "21:00:01  Ana",
        "          (empty)",
        "21:00:05  - The chat came back",
        "21:00:09  - Files came by the link: 1, 2 refused",
        "21:00:09  Ana",
        "          [image/jpeg, 12 kB, abababababab]",
    ]


def test_pictures_may_be_links() -> None:
    """Where there is an address it stands there; large ones are in megabytes."""
    video = Media("cd" * 32, "video/mp4", 3_400_000)
    texts = [text("in-1", 0.0, "See", media=(PHOTO, video))]
    links = {PHOTO.digest: "https://example.com/m/1"}
    assert body(session(), [], texts, link=lambda item: links.get(item.digest))[3:] == [
        "          See",
        "          [image/jpeg, 12 kB, abababababab: https://example.com/m/1]",
        "          [video/mp4, 3.4 MB, cdcdcdcdcdcd]",
    ]


def test_an_open_session_of_nobody_has_a_head() -> None:
    """What is not known is said to be so."""
    stored = session(customer=None, closed_at=None, queue=None, handled=0.0, service="api")
    head = as_text(stored, [], [], zone=UTC, names=Names(brand="Northwind", customer="A\nna")).splitlines()
    assert head == [
        "Session:    t1",
        "Customer:   number withheld (A na)",
        "Our number: +15550100200 (Northwind)",
        "Began:      2025-11-06 21:00:00, with a text of a program",
        "Ended:      not yet",
        "Agents:     none",
        "Language:   en",
        "Times:      UTC (UTC+0000)",
    ]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (line(0, "call.arrived", caller=None, called=OURS), f"A withheld number called {OURS}"),
        (line(0, "menu.answered", body="1", titles=["Support", "Repairs"], why=""), "Chose Support > Repairs"),
        (line(0, "queue.moved", queue="q", to="support_sms", channel="sms"), "Waiting for Support by text now"),
        (line(0, "queue.left", outcome="timed_out", waited=4000.0), "Left the line after 1 h 06 min: timed out"),
        (line(0, "agent.left", name="Ben", channel="voice", by="caller"), "Ben left the call: the customer ended it"),
        (line(0, "agent.left", name="Ben", channel="sms", by="platform"), "Ben left the chat"),
        (line(0, "agent.unreachable", name="Ben", status=408, reason="x"), "Ben's phone was not picked up"),
        (line(0, "conversation.opened", name="Ben", queue="support_sms"), "Ben began the conversation"),
        (line(0, "transfer.started", by="Ben", to="ann", queue="q", note="a note"), "Ben hands the chat to Ann: a note"),
        (line(0, "transfer.started", by="Ben", to=None, queue="support_sms", note=""), "Ben hands the chat to Support by text"),
        (line(0, "transfer.completed", by="Ben", to="Ann"), "Ann took the chat over from Ben"),
        (line(0, "transfer.failed", by="Ben", to="ann", reason="no answer"), "The chat was not taken over by Ann: no answer"),
        (line(0, "transfer.failed", by="Ben", to=None, reason="no answer"), "The chat was not taken over: no answer"),
        (line(0, "chat.dismissed", name="Ben", by="agent"), "Ben put the silent chat aside"),
        (line(0, "chat.dismissed", name="Ben", by="timer"), "The silent chat was put aside"),
        (line(0, "opted_out", word="STOP"), "Wants no more texts: STOP"),
        (line(0, "opted_in", word=None), "Wants texts again"),
        (line(0, "stop.judged", name="Ben", meant=True), "Ben: the customer did ask for no more texts"),
        (line(0, "stop.judged", name="Ben", meant=False), "Ben: the customer did not ask for no more texts"),
        (line(0, "consent.given", purpose="care", granted=False, words="No"), "Did not agree to be texted (care): No"),
        (line(0, "upload.asked", name="Ben"), "Ben asked for pictures, by a link"),
        (line(0, "sender.added", number="+15550100124", why="code"), "Writes from another phone: +15550100124"),
        (line(0, "note.written", name="Ben", note="", disposition=None), "Note by Ben"),
    ],
)
def test_an_event_reads_as_a_sentence(written: TimelineLine, words: str) -> None:
    """In words for people who have not seen a desk."""
    assert body(session(), [written], [])[2:] == [f"21:00:00  - {words}"]


def test_a_menu_text_that_chose_nothing_is_no_event() -> None:
    """What was not understood stands among the texts."""
    assert body(session(), [line(0, "menu.answered", body="?", titles=[], why="not understood")], []) == []


KINDS = st.sampled_from([*_TELLERS, "text.received", "text.sent", "text.failed", "flow.trace", "unheard.of"])
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
DATA = st.dictionaries(
    st.sampled_from(["message", "name", "by", "to", "note", "words", "word", "titles", "media", "outcome", "target"]), WORDS
)


@given(
    st.lists(st.tuples(KINDS, DATA, st.floats(0, 1e6)), max_size=8),
    st.lists(st.tuples(WORDS, st.sampled_from(["customer", "agent:ben", "flow"]), st.floats(0, 1e6)), max_size=6),
)
def test_nobody_can_write_a_line_of_ours(
    events: list[tuple[str, dict[str, str], float]], texts: list[tuple[str, str, float]]
) -> None:
    """Whatever people write, lines that begin at the margin are headings, names and events; all words are there."""
    lines = [line(after, kind, **data) for kind, data, after in events]
    messages = [text(f"m{n}", after, words, author) for n, (words, author, after) in enumerate(texts)]
    page = as_text(session(), lines, messages, zone=UTC, names=NAMES)
    _, _, rest = page.partition("\n\n")
    for item in rest.split("\n"):
        assert re.match(r"\d\d:\d\d:\d\d  (- |Ana$|Ben$|Northwind )|\d{4}-\d\d-\d\d$|          |$", item), item
        assert len(item.splitlines()) <= 1
    indented = [item.strip() for item in rest.split("\n") if item.startswith("          ")]
    for words, _, _ in texts:
        assert {part.strip() for part in words.splitlines()} - {""} <= set(indented)
