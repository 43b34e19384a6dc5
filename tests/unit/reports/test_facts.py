"""A timeline read as visits and handlings says what the session itself says."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.legs import TALKING, CallState, TextLeg
from bridge.reports.facts import Facts, Line, Told, facts_of
from tests.unit.bridge.story import START
from tests.unit.reports.busy import Told_, conversation


def agrees(story: Told_) -> None:
    """Who waits and who works, by the facts and by the session's own state."""
    state, facts = story.state, facts_of(story.session_told)
    in_line = {visit.channel: visit.queue for visit in facts.visits if visit.until is None}
    expected = {}
    if state.callback is not None and state.call in {CallState.SUMMONING, CallState.DIALING, CallState.ENDING}:
        in_line.pop("voice", None)  # taken out of the line, or out of its turn; which of the two is known when it is over
    if state.call in {CallState.QUEUED, CallState.CONNECTING, CallState.CALLBACK}:
        expected["voice"] = str(state.queue)
    if state.text is TextLeg.QUEUED:
        expected["sms"] = str(state.chat_queue)
    assert in_line == expected
    working = {handling.channel: handling.agent for handling in facts.handlings if handling.until is None}
    at_work = {}
    if state.call in TALKING and state.agent is not None:
        at_work["voice"] = str(state.agent)
    if state.chat_agent is not None:
        at_work["sms"] = str(state.chat_agent)
    assert working == at_work
    assert len([visit for visit in facts.visits if visit.until is None]) <= len(in_line) + 1
    assert sum(1 for handling in facts.handlings if handling.until is None) == len(at_work)
    for visit in facts.visits:
        assert (visit.until is None) == (visit.outcome is None)
        assert visit.place <= visit.at <= (visit.until or story.now)
        assert (visit.agent is None) or visit.outcome in {"answered", None}
    for handling in facts.handlings:
        assert handling.at <= (handling.until or story.now)


@settings(max_examples=150, deadline=None)
@given(st.integers(min_value=0, max_value=10_000_000))
def test_whoever_waits_or_works_by_the_facts_does_so_by_the_session(seed: int) -> None:
    """After every event of any conversation, open visits are the places in line, and open handlings the agents at work."""
    conversation("s", START, random.Random(seed), watch=agrees)


def told(*lines: tuple[float, str, dict[str, Any]], service: str = "call") -> Facts:
    """The facts of a timeline written by hand."""
    names = {"ann": "Ann", "ben": "Ben", "other": "Ann"}
    numbered = tuple(Line(n, at, kind, data) for n, (at, kind, data) in enumerate(lines, 1))
    return facts_of(Told("s", 0.0, None, service, numbered, names))


def test_hold_is_what_the_caller_waited_also_when_the_call_ends_in_it() -> None:
    """Two holds of 5 and 10 seconds, the second cut by the end; a second held line changes nothing."""
    [handling] = told(
        (0.0, "call.arrived", {}),
        (1.0, "queue.joined", {"queue": "support", "channel": "voice", "waited": 0.0}),
        (2.0, "agent.offered", {"agent": "ann", "channel": "voice"}),
        (2.0, "agent.accepted", {"name": "Ann", "channel": "voice"}),
        (3.0, "agent.joined", {"name": "Ann", "channel": "voice"}),
        (10.0, "call.held", {"name": "Ann"}),
        (12.0, "call.held", {"name": "Ann"}),
        (15.0, "call.resumed", {"name": "Ann", "seconds": 5.0}),
        (20.0, "call.held", {"name": "Ann"}),
        (30.0, "call.ended", {"by": "caller", "cause": "bye"}),
    ).handlings
    assert (handling.agent, handling.held, handling.until, handling.ended_by) == ("ann", 15.0, 30.0, "caller")


def test_who_is_moved_is_in_another_line_at_the_same_place() -> None:
    """Out of the one, into the other, with the wait there was; lines of no stay and no agent change nothing."""
    facts = told(
        (0.0, "call.arrived", {}),
        (0.5, "queue.left", {"outcome": "abandoned"}),
        (0.5, "agent.unreachable", {"name": "Ann"}),
        (0.5, "call.held", {"name": "Ann"}),
        (0.5, "call.resumed", {"name": "Ann"}),
        (5.0, "queue.joined", {"queue": "support", "channel": "voice", "waited": 2.0}),
        (9.0, "queue.moved", {"queue": "support", "to": "billing", "channel": "voice"}),
        (11.0, "agent.offered", {"agent": "ben", "channel": "voice"}),
        (12.0, "offer.lapsed", {"agent": "ben", "channel": "voice", "reason": "ring_timeout"}),
        (13.0, "offer.lapsed", {"agent": "ann", "channel": "voice", "reason": "withdrawn"}),
    )
    assert [(visit.queue, visit.entry, visit.place, visit.outcome) for visit in facts.visits] == [
        ("support", "new", 3.0, "moved"),
        ("billing", "moved", 3.0, None),
    ]
    assert facts.visits[1].lapses == 1
    assert [mark.agent for mark in facts.marks if mark.kind == "missed"] == ["ben"]


def test_who_is_moved_by_a_supervisor_is_moved_once() -> None:
    """Whether the session says it too or not; to an agent is no line, and who waits in none is in none."""
    facts = told(
        (0.0, "call.arrived", {}),
        (1.0, "queue.joined", {"queue": "support", "channel": "voice", "waited": 0.0}),
        (2.0, "supervisor.moved", {"by": "Sue", "to": None, "queue": "sales", "channel": "voice", "note": ""}),
        (3.0, "queue.moved", {"queue": "sales", "to": "billing", "channel": "voice"}),
        (3.0, "supervisor.moved", {"by": "Sue", "to": None, "queue": "billing", "channel": "voice", "note": ""}),
        (4.0, "supervisor.moved", {"by": "Sue", "to": "Ben", "queue": None, "channel": "voice", "note": ""}),
        (5.0, "supervisor.moved", {"by": "Sue", "to": None, "queue": "texts", "channel": "sms", "note": ""}),
    )
    assert [(visit.queue, visit.entry, visit.place, visit.outcome) for visit in facts.visits] == [
        ("support", "new", 1.0, "moved"),
        ("sales", "moved", 1.0, "moved"),
        ("billing", "moved", 1.0, None),
    ]


def test_a_callback_is_kept_when_it_is_tried_in_time() -> None:
    """Asked in the line, tried after the promised time; the customer did not pick up, and calls again."""
    facts = told(
        (0.0, "call.arrived", {}),
        (1.0, "queue.joined", {"queue": "support", "channel": "voice", "waited": 0.0}),
        (60.0, "callback.asked", {"queue": "support", "promised_by": 100.0}),
        (61.0, "call.ended", {"by": "platform", "cause": "bye"}),
        (61.0, "queue.joined", {"queue": "support", "channel": "voice", "waited": 60.0}),
        (110.0, "agent.accepted", {"name": "Ben", "channel": "voice"}),
        (115.0, "call.placed", {"name": "Ben"}),
        (130.0, "callback.tried", {"tries": 1}),
        (500.0, "callback.merged", {}),
    )
    assert [(visit.type, visit.outcome) for visit in facts.visits] == [("inbound_call", "callback"), ("callback", "not_reached")]
    tried = [(mark.at, mark.value, mark.other) for mark in facts.marks if mark.kind == "callback_tried"]
    assert tried == [(60.0, 100.0, 0.0)]


def test_a_call_of_an_agent_is_an_outbound_call() -> None:
    """Nobody waits in a line for it; it was begun by us."""
    facts = told(
        (0.0, "call.placed", {"name": "Ben", "queue": "support"}),
        (9.0, "agent.joined", {"name": "Ben", "channel": "voice"}),
        (10.0, "agent.joined", {"channel": "sms"}),
        service="outbound",
    )
    assert (facts.session.type, facts.session.channel, facts.session.by_customer) == ("outbound_call", "voice", False)
    assert [(each.agent, each.entry, each.queue) for each in facts.handlings[:1]] == [("ben", "opened", "support")]


def test_of_two_agents_of_one_name_the_one_who_was_asked_is_meant() -> None:
    """Timelines say names."""
    facts = told(
        (0.0, "text.received", {"message": "m", "keyword": None}),
        (0.0, "queue.joined", {"queue": "desk", "channel": "sms", "waited": 0.0}),
        (1.0, "agent.offered", {"agent": "other", "channel": "sms"}),
        (2.0, "agent.joined", {"name": "Ann", "channel": "sms"}),
        service="inbound",
    )
    assert [each.agent for each in facts.handlings] == ["other"]


def test_a_funnel_has_those_who_could_be_asked() -> None:
    """Held out, ineligible, and an answer to what nobody was asked."""
    facts = told(
        (0.0, "call.arrived", {}),
        (0.0, "offer.made", {"kind": "hold"}),
        (1.0, "offer.decided", {"kind": "hold", "offer": False, "reason": "opted_out", "inputs": {}}),
        (2.0, "offer.decided", {"kind": "deflect", "offer": False, "reason": "held_out", "inputs": {"queue": "support"}}),
        (3.0, "offer.answered", {"kind": "hold", "answer": "accepted"}),
        (3.5, "offer.answered", {"kind": "hold", "answer": "declined"}),
        (4.0, "ewt.told", {"low": None, "high": None}),
    )
    assert sorted(mark.kind for mark in facts.marks) == [
        "ewt_told", "offer_considered", "offer_considered", "offer_eligible", "offer_held_out",
    ]  # fmt: skip


def test_lines_that_say_less_than_usual_are_read_for_what_they_say() -> None:
    """Of erased people, of other versions: no queue, no name, twice the same."""
    facts = told(
        (0.0, "call.arrived", {}),
        (0.0, "agent.offered", {"agent": "ann", "channel": "voice"}),
        (0.0, "offer.lapsed", {"agent": "ann", "channel": "voice", "reason": "declined"}),
        (1.0, "queue.joined", {"queue": "support", "channel": "voice", "waited": 0.0}),
        (2.0, "queue.joined", {"queue": "support", "channel": "voice", "waited": 1.0}),
        (3.0, "agent.unreachable", {"name": "Ann", "status": 486}),
        (4.0, "text.withdrawn", {"why": "late"}),
        (5.0, "offer.decided", {"kind": "deflect", "offer": True, "reason": "offer", "inputs": {}}),
        (6.0, "offer.answered", {"kind": "deflect", "answer": "accepted"}),
        (7.0, "text.withdrawn", {"why": "late"}),
        (7.5, "offer.decided", {"kind": "callback", "offer": True, "reason": "always", "inputs": {"queue": "support"}}),
        (8.0, "offer.answered", {"kind": "callback", "answer": "accepted"}),
        (9.0, "conversation.opened", {}),
        (10.0, "transfer.started", {}),
        (11.0, "transfer.failed", {}),
        (12.0, "callback.asked", {}),
        (12.5, "chat.dismissed", {"name": "Ann", "by": "timer"}),
        (13.0, "media.uploaded", {"media": []}),
        (13.5, "media.uploaded", {"media": [{}]}),
        (13.6, "chat.expired", {}),
        (14.0, "anything.else", {}),
    )
    assert [(visit.at, visit.outcome, visit.lapses) for visit in facts.visits] == [(1.0, "callback", 1)]
    assert facts.handlings == ()
    assert facts.session.type == "inbound_call"


def test_a_customer_who_is_called_back_talks_to_an_agent() -> None:
    """The stay in line ends with the customer on the phone, and the promise is kept."""
    facts = told(
        (0.0, "callback.asked", {"queue": "support", "promised_by": None}),
        (0.0, "queue.joined", {"queue": "support", "channel": "voice", "waited": 0.0}),
        (5.0, "agent.accepted", {"name": "Ben", "channel": "voice"}),
        (8.0, "call.placed", {"name": "Ben"}),
        (15.0, "agent.joined", {"name": "Ben", "channel": "voice"}),
        (15.0, "callback.done", {}),
        (90.0, "call.ended", {"by": "caller", "cause": "bye"}),
        service="api",
    )
    assert [(visit.type, visit.outcome, visit.until) for visit in facts.visits] == [("callback", "answered", 15.0)]
    assert [(each.type, each.agent) for each in facts.handlings] == [("callback", "ben")]
    assert [mark.other for mark in facts.marks if mark.kind == "callback_tried"] == [1.0]
