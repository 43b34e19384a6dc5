"""The list of work by people, and texts with gaps."""

import string

from hypothesis import given
from hypothesis import strategies as st

from bridge.events import SessionId
from bridge.web.console.filling import VARIABLES, fill, gaps
from bridge.web.console.inbox import by_person
from bridge.web.ports import Work


def row(session: str, customer: str | None = "+15550100123", **more: object) -> Work:
    fields = {"queue": None, "call_state": "none", "text_state": "chatting", "since": 0.0, "unread": 0, "last": ""} | more
    return Work(session=SessionId(session), customer=customer, **fields)  # type: ignore[arg-type]


def test_one_customer_is_one_row() -> None:
    """A call and a chat of the same person stand together; the call in progress leads, unread texts add up."""
    chat = row("chat", unread=2, unanswered_since=10.0)
    call = row("call", call_state="connected", text_state="open", unread=1)
    (person,) = by_person([chat, call])
    assert person.rows == (call, chat)
    assert (person.unread, person.unanswered_since, person.set_aside) == (3, 10.0, False)


def test_the_longest_unanswered_text_leads() -> None:
    """What waits longest for an answer is opened first; what was set aside last of all."""
    aside = row("aside", set_aside_at=5.0, text_state="dismissed")
    newer, older = row("newer", unanswered_since=50.0), row("older", unanswered_since=20.0)
    (person,) = by_person([aside, newer, older])
    assert person.lead is older
    (alone,) = by_person([aside])
    assert alone.set_aside


def test_withheld_numbers_are_not_one_person() -> None:
    """Nobody knows whether two callers without a number are the same."""
    assert len(by_person([row("a", None), row("b", None)])) == 2


@given(st.lists(st.tuples(st.sampled_from(["+1", "+2", None]), st.integers(0, 3), st.none() | st.floats(0, 9)), max_size=12))
def test_nobody_is_lost_in_the_list(people: list[tuple[str | None, int, float | None]]) -> None:
    """Every conversation stands in exactly one row, and the order of first appearance stays."""
    work = [row(str(n), customer, unread=unread, unanswered_since=since) for n, (customer, unread, since) in enumerate(people)]
    persons = by_person(work)
    assert sorted(each.session for person in persons for each in person.rows) == sorted(each.session for each in work)
    firsts = [min(work.index(each) for each in person.rows) for person in persons]
    assert firsts == sorted(firsts)


@given(st.text(max_size=60), st.dictionaries(st.sampled_from(VARIABLES), st.text(string.ascii_letters, max_size=8)))
def test_only_what_is_known_is_filled(text: str, known: dict[str, str]) -> None:
    """A gap is filled, or it is told as missing; nothing else of a text changes."""
    text += "".join(f" {{{name}}}" for name in VARIABLES)
    filled = fill(text, known)
    assert set(gaps(filled)) == {gap for gap in gaps(text) if not known.get(gap.strip("{}"))}
    assert fill(text, {}) == text


def test_braces_that_name_nothing_stay() -> None:
    """JSON and emoticons are no gaps; an unknown name is one, so that a slip of the pen is not sent."""
    assert gaps('{"a": 1} :-{} {Customer} {costumer}') == ("{costumer}",)
