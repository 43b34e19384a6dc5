"""A row says what a session, an agent or a queue is about; rows are found and sorted alike everywhere."""

from typing import Any

import pytest

from bridge.acd import AgentState
from bridge.board import AgentRow, Phase, QueueRow, Start, Tone, agents_of, in_order, matches, phase_of, session_row
from bridge.events import AgentId, QueueId, SessionId
from bridge.legs import CallState, TextLeg
from bridge.session import State, Suspicion

ANN, BEN = AgentId("ann"), AgentId("ben")


def state(**fields: Any) -> State:
    spec: dict[str, Any] = {
        "id": SessionId("s"),
        "opened_at": 10.0,
        "touched_at": 90.0,
        "customer": "+15550100123",
        "our_number": "+15550100200",
        "desk": None,
        "language": "en",
        "introduced": False,
    }
    return State(**(spec | fields))


@pytest.mark.parametrize(
    ("fields", "phase", "since"),
    [
        ({"call": CallState.IN_FLOW}, "upcoming", 10.0),
        ({"call": CallState.QUEUED, "since": 20.0}, "upcoming", 20.0),
        ({"text": TextLeg.INVITED}, "upcoming", 10.0),
        ({"text": TextLeg.DISMISSED}, "upcoming", 10.0),
        ({"call": CallState.CONNECTED, "agent": ANN, "first_agent_at": 30.0}, "now", 30.0),
        ({"text": TextLeg.CHATTING, "chat_agent": BEN, "chat_since": 40.0}, "now", 40.0),
        ({"call": CallState.ENDED, "text": TextLeg.CLOSED, "wrapping": [ANN], "first_agent_at": 30.0}, "now", 30.0),
        ({"call": CallState.ENDED, "text": TextLeg.CLOSED}, "previous", 90.0),
        ({"call": CallState.ENDED, "closed_at": 80.0}, "previous", 80.0),
    ],
)
def test_where_a_session_stands(fields: dict[str, Any], phase: Phase, since: float) -> None:
    """In progress while somebody has it or writes up, upcoming while it may reach somebody, then over; and since when."""
    row = session_row(state(**fields), name=None, auto=False, unanswered_since=None)
    assert (row.phase, row.since) == (phase, since)
    assert phase_of(state(**fields)) == phase


def test_who_has_it() -> None:
    """The call first; one agent who has both is named once; an agent of a call that is over does not have it."""
    both = {"call": CallState.CONNECTED, "agent": ANN, "text": TextLeg.CHATTING}
    assert agents_of(state(**both, chat_agent=BEN)) == (ANN, BEN)
    assert agents_of(state(**both, chat_agent=ANN)) == (ANN,)
    assert agents_of(state(call=CallState.ENDED, agent=ANN)) == ()


@pytest.mark.parametrize(
    ("fields", "auto", "start"),
    [
        ({}, False, ""),
        ({"first_agent_at": 5.0}, False, "manual"),
        ({"first_agent_at": 5.0}, True, "auto"),
        ({"service": "outbound"}, True, "outbound"),
        ({"service": "api"}, False, "api"),
    ],
)
def test_how_an_agent_came_by_it(fields: dict[str, Any], auto: bool, start: Start) -> None:
    """Accepted or given without ringing; begun by us or a program; nobody has had it yet."""
    assert session_row(state(**fields), name=None, auto=auto, unanswered_since=None).start == start


def test_what_a_supervisor_should_see() -> None:
    """Opt-outs, words that may be one, and whatever went wrong; how it ended and no answer due when it is over."""
    suspected = state(text=TextLeg.OPTED_OUT, suspected=Suspicion("+15550100123", "message m", "leave me", 1.0), reason="left")
    row = session_row(suspected, name="Maria", auto=False, unanswered_since=50.0, troubles=["text_failed"])
    assert row.troubles == ("opted_out", "suspected", "text_failed")
    assert (row.name, row.unanswered_since, row.ended) == ("Maria", 50.0, None)
    over = session_row(state(closed_at=80.0, reason="left"), name=None, auto=False, unanswered_since=50.0)
    assert (over.unanswered_since, over.ended) == (None, "left")


@pytest.mark.parametrize(
    ("level", "share", "tone"),
    [(None, 0.8, ""), (0.9, None, ""), (0.8, 0.8, "good"), (0.75, 0.8, "slow"), (0.6, 0.8, "late")],
)
def test_the_colour_of_a_service_level(level: float | None, share: float | None, tone: Tone) -> None:
    """As it should be, a little short of the target, far from it; none without a figure or a target."""
    row = QueueRow(
        queue=QueueId("q"), title="Q", channel="voice", waiting=0, oldest=None, p50=None, p90=None, status="ok", basis="prior",
        ahead=None, capacity=None, agents_ready=0, agents_busy=0, agents_staffed=0, open_slots=0, service_level=level,
        target_share=share, answer_within=20.0, offered=0, answered=0, abandoned=0, short=0, average_wait=None, offers_made=0,
        offers_accepted=0, offers_delivered=0, trend=(),
    )  # fmt: skip
    assert row.tone == tone


def agent(name: str, seconds: float | None, state: AgentState = "ready") -> AgentRow:
    return AgentRow(AgentId(name), name, (), (), state, None, 0.0, False, False, (), 0, 3, 0, 0, 0, seconds, True)


def test_what_is_not_known_comes_last() -> None:
    """Whichever way a column is sorted; equals stay as they were."""
    rows = [agent("a", None), agent("b", 2.0), agent("c", 1.0), agent("d", 2.0)]
    up = in_order(rows, lambda row: row.average_handling, down=False)
    down = in_order(rows, lambda row: row.average_handling, down=True)
    assert [row.agent for row in up] == ["c", "b", "d", "a"]
    assert [row.agent for row in down] == ["b", "d", "c", "a"]


def test_every_word_has_to_be_somewhere() -> None:
    """In any order and case, over all fields together."""
    assert matches("TORRES ana", "Ana Torres", None)
    assert matches("", None)
    assert not matches("ana silva", "Ana Torres", None)
