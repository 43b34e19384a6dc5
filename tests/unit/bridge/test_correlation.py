"""Which session a text belongs to: by what is open between two numbers, and never merged on a guess."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.correlation import CODE_LENGTH, CODE_LETTERS, LIVE_CALL, RANK, OpenSession, code_in, correlate_text, kind
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
    code: str = "",
    aliases: tuple[str, ...] = (),
) -> OpenSession:
    """A session that is open."""
    return OpenSession(SessionId(name), customer, ours, call, text, asked, touched_at, code, aliases)


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


# --- reply codes and other phones


NAMED = session("named", customer=OTHER, text="chatting", code="BCDF")


@pytest.mark.parametrize(
    "body",
    ["BCDF", "bcdf", "BCDF it is me", "bc-df, hello", "B-C-D-F\nhello", "BC DF", "  b c d f.", "BCDF.", "bcdf: a photo", "BCDF!"],
)
def test_a_code_is_read_as_people_write_it(body: str) -> None:
    """Case, dashes and what stands around it do not matter; alone it may have blanks."""
    assert code_in(body) == "BCDF"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "BCD",
        "BCDFG",
        "BCDFx hello",
        "BC DF hello",
        "Thx. bye",
        "Pls, call me",
        "BCD. FGH",
        "http://x",
        "BCDF-2",
        "BCDF2",
        "hello BCDF",
        "B.C.D.F",
        "ßCDF",
        "BC\u017fF",
        "1234",
    ],
)
def test_other_words_are_no_codes(body: str) -> None:
    """Neither abbreviations with a full stop, nor longer words, nor letters of other alphabets, nor a code further on."""
    assert code_in(body) is None


@pytest.mark.parametrize(
    "word", ["STOP", "help", "Info", "QUIT", "back", "EXIT", "YES!", "fini", "ALTO", "baja", "hola", "oui", "pay", "fix"]
)
def test_no_word_is_a_code(word: str) -> None:
    """Whatever has a vowel is none: least of all a command."""
    assert code_in(word) is None


@given(st.text(alphabet=CODE_LETTERS, min_size=CODE_LENGTH, max_size=CODE_LENGTH), st.text(max_size=20))
def test_every_code_we_give_is_found(code: str, rest: str) -> None:
    """Alone, in small letters, and before any words."""
    assert code_in(code) == code_in(code.lower()) == code_in(f"{code} {rest}") == code


@given(st.text(max_size=30))
def test_whatever_is_found_is_a_code(body: str) -> None:
    """Its letters stand in the text in this order, before anything else."""
    code = code_in(body)
    if code is not None:
        assert len(code) == CODE_LENGTH
        assert set(code) <= set(CODE_LETTERS)
        assert "".join(body.upper().replace("-", "").split()).startswith(code)


def test_a_code_from_another_phone_leads_to_its_session_and_says_so() -> None:
    """Certain: nobody but this customer was told the code; also when that phone is in a conversation of its own."""
    match = correlate_text(CUSTOMER, OURS, [NAMED, session("mine", text="chatting")], "BCDF it is me")
    assert (match.session, match.confidence) == ("named", "certain")
    assert "code from another phone" in match.why


def test_a_code_counts_only_on_its_own_number() -> None:
    """The session's texts go through that number of ours."""
    assert correlate_text(CUSTOMER, ALSO_OURS, [NAMED], "BCDF").session is None


def test_a_phone_that_has_given_the_code_belongs_to_the_session_from_then_on() -> None:
    """Its next texts need no code."""
    added = session("named", customer=OTHER, text="chatting", code="BCDF", aliases=(CUSTOMER,))
    assert correlate_text(CUSTOMER, OURS, [added], "the blue one").session == "named"
    assert correlate_text(CUSTOMER, ALSO_OURS, [added], "the blue one").confidence == "probable"


CODES = st.sampled_from(["BCDF", "GHJK", "LMNP", ""])
MANY = st.lists(
    st.builds(
        OpenSession,
        id=st.uuids().map(lambda name: SessionId(str(name))),
        customer=st.sampled_from([CUSTOMER, OTHER, None]),
        our_number=st.sampled_from([OURS, ALSO_OURS]),
        call_state=st.sampled_from([str(state) for state in CallState]),
        text_state=st.sampled_from([str(leg) for leg in TextLeg]),
        asked=st.booleans(),
        touched_at=st.floats(0, 10).map(round).map(float),
        code=CODES,
        aliases=st.sampled_from([(), (CUSTOMER,), (OTHER,), (CUSTOMER, OTHER)]),
    ),
    max_size=6,
    unique_by=(lambda item: item.id, lambda item: item.code or item.id),
)
BODIES = st.sampled_from(["hello", "BCDF", "ghjk it is me", "BCD. F", "STOP", ""]) | st.text(max_size=10)


@given(MANY, BODIES, st.randoms(use_true_random=False))
def test_the_same_text_belongs_to_the_same_session_whatever_the_order(
    sessions: list[OpenSession], body: str, chance: random.Random
) -> None:
    """Total and deterministic: there is always an answer with a reason, and it does not hang on how the sessions are kept."""
    match = correlate_text(CUSTOMER, OURS, sessions, body)
    shuffled = list(sessions)
    chance.shuffle(shuffled)
    assert match == correlate_text(CUSTOMER, OURS, shuffled, body)
    assert match.why
    assert match.session is None or match.confidence == "certain"


@given(MANY, BODIES)
def test_nobody_gets_into_a_conversation_that_is_not_theirs(sessions: list[OpenSession], body: str) -> None:
    """Only the customer, a phone that gave the code before, or who gives it now; and only through the same number of ours."""
    match = correlate_text(CUSTOMER, OURS, sessions, body)
    if match.session is not None:
        [found] = [one for one in sessions if one.id == match.session]
        assert found.our_number == OURS
        assert CUSTOMER in {found.customer, *found.aliases} or (found.code and code_in(body) == found.code)


@given(MANY, BODIES)
def test_a_code_from_the_own_phone_changes_nothing(sessions: list[OpenSession], body: str) -> None:
    """Whoever has one conversation with us and gives its code is where they were."""
    mine = [msgspec.structs.replace(one, customer=CUSTOMER, code="BCDF" if one.code else "") for one in sessions]
    with_code = correlate_text(CUSTOMER, OURS, mine, f"BCDF {body}")
    assert with_code == correlate_text(CUSTOMER, OURS, mine, "hello")


@given(MANY, BODIES)
def test_a_conversation_elsewhere_is_a_hint_and_never_a_match(sessions: list[OpenSession], body: str) -> None:
    """Probable says which one it may be about, and merges nothing."""
    elsewhere = [msgspec.structs.replace(one, our_number=ALSO_OURS) for one in sessions]
    match = correlate_text(CUSTOMER, OURS, elsewhere, body)
    assert match.session is None
    known = [one for one in elsewhere if CUSTOMER in {one.customer, *one.aliases}]
    assert match.confidence == ("probable" if known else "certain")
    assert not known or any(one.id in match.why for one in known)
