"""What stands out in a conversation, line by line."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import events as e
from bridge.glance import Glance, at_a_glance, failed_transfer_of, has_media
from bridge.journal import TimelineLine
from bridge.web.ports import OptedOut, Suspicion, UploadLink

Told = tuple[str, dict[str, Any]]


def lines(*told: Told) -> list[TimelineLine]:
    """One line a second, from 1.0 on."""
    return [TimelineLine(float(n), kind, data, n) for n, (kind, data) in enumerate(told, start=1)]


TEXT: Told = ("text.received", {"message": "m", "body": "Hello?", "media": []})
ANSWER: Told = ("text.sent", {"message": "o", "body": "Yes?", "author": "agent:ben"})
MACHINE: Told = ("text.sent", {"message": "o", "body": "One moment.", "author": "system"})


@pytest.mark.parametrize(
    ("told", "since"),
    [
        ([], None),
        ([TEXT], 1.0),
        ([TEXT, TEXT, MACHINE], 1.0),
        ([TEXT, ANSWER], None),
        ([TEXT, ANSWER, TEXT], 3.0),
        ([("text.received", {"body": "HELP", "keyword": "help"})], None),
        ([TEXT, ("upload.asked", {"name": "Ben", "token": "t", "expires_at": 9.0})], None),
        ([ANSWER, ("media.uploaded", {"token": "t", "media": [{"digest": "d"}], "refused": 0})], 2.0),
        ([ANSWER, ("media.uploaded", {"token": "t", "media": [], "refused": 2})], None),
        ([TEXT, ("chat.ended", {"by": "agent"})], None),
        ([TEXT, ("opted_out", {"word": "STOP"})], None),
    ],
)
def test_who_waits_is_who_wrote_last(told: list[Told], since: float | None) -> None:
    """The first text since the agent's last one counts; what a machine says is no answer, and a command word asks for none."""
    assert at_a_glance(lines(*told)).unanswered_since == since


def test_a_colleagues_note_stands_until_the_next_agent_writes() -> None:
    """Whoever takes the chat over reads it; after their own words, or when nobody took it, it is gone."""
    handed: Told = ("transfer.started", {"by": "Ann", "to": "Ben", "queue": "q", "note": "knows the cable"})
    glance = at_a_glance(lines(TEXT, handed, ("transfer.completed", {"by": "Ann", "to": "Ben"}), MACHINE))
    assert (glance.note, glance.note_by) == ("knows the cable", "Ann")
    assert at_a_glance(lines(TEXT, handed, ANSWER)).note == ""
    assert at_a_glance(lines(TEXT, handed, ("transfer.failed", {"by": "Ann", "to": "Ben", "reason": "no answer"}))).note == ""


def test_an_opt_out_keeps_the_words_it_was_made_in() -> None:
    """The word itself; the free words that an agent judged to be one; none when it was said elsewhere."""
    suspected: Told = ("stop.suspected", {"message": "m", "body": "leave me alone"})
    assert at_a_glance(lines(("opted_out", {"word": "STOP"}))).opted_out == OptedOut(1.0, "STOP")
    judged = at_a_glance(lines(suspected, ("stop.judged", {"meant": True}), ("opted_out", {"word": None})))
    assert (judged.suspicion, judged.opted_out) == (Suspicion("leave me alone", 1.0), OptedOut(3.0, "leave me alone"))
    other = at_a_glance(lines(suspected, ("stop.judged", {"meant": False}), ("opted_out", {"word": None})))
    assert (other.suspicion, other.opted_out) == (None, OptedOut(3.0, ""))


def test_a_link_is_used_by_its_own_token() -> None:
    """Files by an older link do not use up the newest; only the newest is shown."""
    first: Told = ("upload.asked", {"name": "Ben", "token": "a", "expires_at": 50.0})
    second: Told = ("upload.asked", {"name": "Ben", "token": "b", "expires_at": 60.0})
    came: Told = ("media.uploaded", {"token": "a", "media": [{"digest": "d"}, {"digest": "f"}], "refused": 0})
    assert at_a_glance(lines(first, came)).link == UploadLink(1.0, 50.0, 2.0, 2)
    assert at_a_glance(lines(first, second, came)).link == UploadLink(2.0, 60.0)


def test_a_chat_is_aside_until_it_returns() -> None:
    """Since when, for the list."""
    assert at_a_glance(lines(TEXT, ("chat.dismissed", {"name": "Ben", "by": "agent"}))).set_aside_at == 2.0
    assert at_a_glance(lines(("chat.dismissed", {"by": "timer"}), TEXT, ("chat.returned", {}))).set_aside_at is None


def test_files_are_found_where_they_went_by() -> None:
    """In texts and uploads; lines without files have none."""
    told = lines(TEXT, ("text.sent", {"media": [{"digest": "d"}]}), ("answer.stored", {"question": "photo", "media": 1}))
    assert (has_media(told[:2], "d"), has_media(told, "x")) == (True, False)


def test_a_failed_transfer_belongs_to_who_made_it() -> None:
    """By name or id; other lines are nobody's."""
    names = {e.AgentId("ann"): "Ann"}
    [failed, other] = lines(("transfer.failed", {"by": "Ann", "to": "Ben", "reason": "declined"}), ("transfer.completed", {}))
    assert (failed_transfer_of(failed, names), failed_transfer_of(other, names)) == ("ann", None)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
KINDS = (
    "text.received", "text.sent", "media.uploaded", "transfer.started", "transfer.failed", "stop.suspected", "stop.judged",
    "opted_out", "upload.asked", "chat.dismissed", "chat.returned", "chat.ended", "weather.changed",
)  # fmt: skip
DATA = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("body", "word", "note", "by", "author", "token", "meant", "keyword", "confidence"), PLAIN)
    | {"media": st.lists(st.fixed_dictionaries({"digest": st.text(max_size=3)}), max_size=2), "expires_at": st.floats(0, 9)},
)


@given(st.lists(st.tuples(st.sampled_from(KINDS), DATA), max_size=8))
def test_nobody_waits_from_a_time_in_which_nothing_was_said(told: list[Told]) -> None:
    """Whatever lines come, in whatever order: who waits, waits since a line; reading on is the same as reading at once."""
    course = lines(*told)
    glance = at_a_glance(course)
    assert glance.unanswered_since is None or any(line.at == glance.unanswered_since for line in course)
    step_by_step = at_a_glance(course[:4])
    for line in course[4:]:
        step_by_step.take(line)
    assert step_by_step == glance


def test_trouble_stands_until_somebody_has_looked_after_it() -> None:
    """A text that failed, a transfer that came back: whoever joins or writes has seen it."""
    failed: Told = ("text.failed", {"message": "o"})
    assert at_a_glance(lines(TEXT, failed, ("transfer.failed", {}))).troubles == {"text_failed", "transfer_failed"}
    assert at_a_glance(lines(TEXT, failed, ANSWER)).troubles == frozenset()


def test_a_line_counts_once_and_in_its_turn() -> None:
    """Between nodes one may be heard twice or late: twice is once, and what comes after one that is missing is not taken."""
    first, answer, second = lines(TEXT, ANSWER, TEXT)
    glance = Glance()
    assert glance.take(first)
    assert not glance.take(second)
    assert glance == at_a_glance([first])
    assert glance.take(answer)
    assert glance.take(first)
    assert glance.unanswered_since is None
    assert glance.take(second)
    assert glance == at_a_glance([first, answer, second])
