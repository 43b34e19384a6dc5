"""A timeline read as visits and handlings says what the session itself says."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.legs import TALKING, CallState, TextLeg
from bridge.reports.facts import facts_of
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
