"""The open sessions as a node knows them: what it has heard of each, and what it remembers of those that ended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import events as e
from bridge import live as module
from bridge.floor import Customer
from bridge.journal import TimelineLine
from bridge.live import Heard, LiveSession, OpenSessions
from bridge.session import Limits, Session, State
from sms.numbers import look_up
from tests.unit.bridge.story import CALLER, OURS, START


def live(name: str, *, closed_at: float | None = None) -> LiveSession:
    """A session with nothing in it."""
    state = State(
        id=e.SessionId(name),
        opened_at=START,
        touched_at=START,
        customer=CALLER,
        our_number=OURS,
        desk=None,
        language="en",
        introduced=False,
        code=name,
        closed_at=closed_at,
    )
    rules = Session(state, flow=None, words=lambda *_: "", menu=None, limits=Limits())
    return LiveSession(rules, Customer(look_up(CALLER)), 0, None)


def line(n: int, kind: str = "text.received") -> TimelineLine:
    """A line with its number as words."""
    return TimelineLine(START + n, kind, {"body": str(n)}, n)


@given(upto=st.integers(0, 5), numbers=st.lists(st.integers(1, 12)))
def test_each_line_is_new_once_in_whatever_order_they_come(upto: int, numbers: list[int]) -> None:
    """And it is known at any time up to which line nothing is missing, and which is the newest."""
    heard, known = Heard(upto), set(range(1, upto + 1))
    for n in numbers:
        assert heard.add(n) is (n not in known)
        known.add(n)
        assert set(range(1, heard.upto + 1)) <= known
        assert heard.upto + 1 not in known
        assert heard.latest == max(known)


def test_the_last_words_are_those_of_the_newest_line() -> None:
    """A line that comes late counts as not read, and does not take their place."""
    session = live("t1")
    assert session.hear([line(1), line(3), line(2, "text.sent")]) == [line(1), line(3), line(2, "text.sent")]
    assert (session.unread, session.last) == (2, "3")
    assert session.hear([line(3), line(4, "note.written")]) == [line(4, "note.written")]
    assert session.hear([TimelineLine(START, "media.uploaded", {}, 5)]) != []
    assert (session.unread, session.last) == (3, "photo")


def test_of_sessions_that_have_ended_a_while_is_known_what_was_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of those that are only another node's now, and not for ever."""
    monkeypatch.setattr(module, "REMEMBERED", 2)
    sessions = OpenSessions()
    for name in ("t1", "t2", "t3"):
        ended = live(name, closed_at=START)
        sessions.add(ended)
        ended.hear([line(1)])
        sessions.remove(ended)
    sessions.add(moved := live("t4"))
    sessions.remove(moved)
    assert sessions.ended(e.SessionId("t1")) is None
    assert sessions.ended(e.SessionId("t4")) is None
    heard = sessions.ended(e.SessionId("t3"))
    assert heard is not None
    assert (heard.add(1), heard.add(2)) == (False, True)
