"""Which session a text belongs to: by what is open between two numbers, and never merged on a guess."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.correlation import LIVE_CALL, RANK, OpenSession, correlate_text, kind
from bridge.events import SessionId
from bridge.legs import LIVE, CallState, TextLeg

CUSTOMER, OTHER = "+15550100123", "+15550100124"
OURS, ALSO_OURS = "+15550100200", "+15550100201"

SESSIONS = st.builds(
    OpenSession,
    id=st.uuids().map(lambda name: SessionId(str(name))),
    customer=st.sampled_from([CUSTOMER, OTHER, None]),
    our_number=st.sampled_from([OURS, ALSO_OURS]),
    call_state=st.sampled_from([str(state) for state in CallState]),
    text_state=st.sampled_from([str(leg) for leg in TextLeg]),
    asked=st.booleans(),
    touched_at=st.floats(0, 1e6),
)


def session(
    name: str,
    *,
    call: str = "none",
    text: str = "none",
    asked: bool = False,
    touched_at: float = 0.0,
    customer: str | None = CUSTOMER,
    ours: str = OURS,
) -> OpenSession:
    """A session that is open."""
    return OpenSession(SessionId(name), customer, ours, call, text, asked, touched_at)


KINDS = {
    "asked": session("asked", call="queued", text="open", asked=True),
    "in_call": session("in_call", call="connected", text="open"),
    "chatting": session("chatting", text="chatting"),
    "queued": session("queued", text="queued"),
    "choosing": session("choosing", text="choosing"),
    "invited": session("invited", call="ended", text="invited"),
    "calling": session("calling", call="in_flow"),
    "dismissed": session("dismissed", text="dismissed"),
    "open": session("open", call="ended", text="open"),
}


def test_a_text_of_a_stranger_opens_a_session() -> None:
    """Nothing is open, and that is certain."""
    match = correlate_text(CUSTOMER, OURS, [session("a", customer=OTHER), session("b", customer=None)])
    assert (match.session, match.confidence) == (None, "certain")


def test_one_number_of_ours_carries_call_and_texts() -> None:
    """The caller's text belongs to the call that is going on, with the reason in words."""
    match = correlate_text(CUSTOMER, OURS, [KINDS["in_call"]])
    assert (match.session, match.confidence, match.why) == ("in_call", "certain", "texts belong to the call in progress")


@pytest.mark.parametrize(("first", "second"), [(a, b) for n, (a, _) in enumerate(RANK) for b, _ in RANK[n + 1 :]])
def test_of_several_open_sessions_the_first_kind_takes_the_text(first: str, second: str) -> None:
    """Whatever the order they are looked at in, and although the other was touched later."""
    newer = session("newer", **_parts(KINDS[second]), touched_at=99.0)
    for sessions in ([KINDS[first], newer], [newer, KINDS[first]]):
        assert correlate_text(CUSTOMER, OURS, sessions).session == first


def _parts(of: OpenSession) -> dict[str, Any]:
    return {"call": of.call_state, "text": of.text_state, "asked": of.asked}


def test_within_a_kind_the_newest_takes_the_text() -> None:
    """The conversation that was touched last is the one that is meant."""
    old, new = session("old", text="chatting", touched_at=1.0), session("new", text="chatting", touched_at=2.0)
    assert correlate_text(CUSTOMER, OURS, [old, new]).session == "new"


def test_the_same_customer_on_another_number_of_ours_is_a_hint_and_no_match() -> None:
    """It may be about something else: a conversation of its own, and the agent is told of the other one."""
    sessions = [session("a", ours=ALSO_OURS, text="chatting", touched_at=1.0), session("b", ours=ALSO_OURS, touched_at=2.0)]
    match = correlate_text(CUSTOMER, OURS, sessions)
    assert (match.session, match.confidence) == (None, "probable")
    assert "session b" in match.why


def test_every_kind_is_what_its_name_says() -> None:
    """One example of each."""
    assert {name: kind(open_session) for name, open_session in KINDS.items()} == {name: name for name in KINDS}


def test_a_call_counts_as_live_until_it_has_ended() -> None:
    """The states are those of the call leg's table, the goodbye among them."""
    assert {str(state) for state in LIVE | {CallState.ENDING}} == LIVE_CALL


@given(st.lists(SESSIONS, max_size=6, unique_by=lambda item: item.id))
def test_a_match_is_always_the_same_customer_on_the_same_number(sessions: list[OpenSession]) -> None:
    """No order of the sessions changes it, and a match that is not certain merges nothing."""
    match = correlate_text(CUSTOMER, OURS, sessions)
    assert match == correlate_text(CUSTOMER, OURS, sessions[::-1])
    fitting = {item.id for item in sessions if (item.customer, item.our_number) == (CUSTOMER, OURS)}
    assert (match.session in fitting) if fitting else match.session is None
    assert match.session is None or match.confidence == "certain"
    assert match.why


def test_who_talks_to_an_agent_texts_that_agent() -> None:
    """A chat is open too, but what comes in the middle of a call is what was just asked for by word of mouth."""
    chat = session("chat", text="chatting", touched_at=9.0)
    assert correlate_text(CUSTOMER, OURS, [chat, session("call", call="connected")]).session == "call"
    assert correlate_text(CUSTOMER, OURS, [chat, session("call", call="queued")]).session == "chat"
