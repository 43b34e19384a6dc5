"""Notices: what follows from one step for those who asked to be told, and how a POST proves that it is ours."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.events import AgentId, Media, MessageId, ProviderRef, QueueId, SessionId, TextState
from bridge.journal import MessageRow, MessageUpdate, NoticeRow, SessionRow, Suppression, TimelineLine
from bridge.notices import SIGNATURE, TIMESTAMP, TYPES, HookRule, notices_of, sign, verify

ID, NOW = SessionId("t1"), 1_000_000.0
ANA, OURS = "+15550100123", "+15550100200"
ALL = (HookRule("crm", ("*",)),)
PHOTO = Media("ab" * 32, "image/png", 120)
DOCS = Path(__file__).parents[3] / "docs" / "hooks.md"


def row(**changes: Any) -> SessionRow:
    fields: dict[str, Any] = {
        "state": "open",
        "customer": ANA,
        "our_number": OURS,
        "language": "en",
        "queue": QueueId("support_sms"),
        "agent": AgentId("ben"),
        "opened_at": NOW,
    }
    return SessionRow(**(fields | changes))


def text(name: str, direction: Any = "in", **changes: Any) -> MessageRow:
    inbound = direction == "in"
    fields: dict[str, Any] = {
        "id": MessageId(name),
        "session": ID,
        "direction": direction,
        "provider": "loopback",
        "sender": ANA if inbound else OURS,
        "recipient": OURS if inbound else ANA,
        "body": "Hello",
        "state": "received" if inbound else "pending",
        "author": "customer" if inbound else "agent:ben",
        "created_at": NOW,
    }
    return MessageRow(**(fields | changes))


def line(kind: str, /, **data: Any) -> TimelineLine:
    return TimelineLine(NOW + 1.0, kind, data)


def made(*lines: TimelineLine, **more: Any) -> list[NoticeRow]:
    options: dict[str, Any] = {"row": row(), "updates": (), "messages": (), "endpoints": ALL} | more
    return notices_of(ID, options.pop("row"), lines, options.pop("updates"), options.pop("messages"), **options)


def body(notice: NoticeRow) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(notice.body)
    return document


def types(notices: list[NoticeRow]) -> list[str]:
    return [notice.type for notice in notices]


def test_the_first_text_opens_a_session_and_is_received() -> None:
    """One step makes several notices, in the order in which things happened, each with the same envelope."""
    notices = made(
        line("text.received", message="in-1", body="Hello", keyword=None),
        line("text.sent", message="t1-1", body="Welcome"),
        line("queue.joined", queue="support_sms", channel="sms", waited=0.0),
        messages=[text("in-1"), text("t1-1", "out", body="Welcome", author="system", purpose="session")],
        opened=True,
    )

    assert types(notices) == ["session.opened", "sms.received", "sms.sent", "session.queued"]
    assert body(notices[1]) == {
        "id": "sms.received:in-1",
        "type": "sms.received",
        "version": 1,
        "at": NOW,
        "session": "t1",
        "customer": ANA,
        "our_number": OURS,
        "queue": "support_sms",
        "agent": "ben",
        "data": {
            "message": "in-1",
            "from": ANA,
            "to": OURS,
            "body": "Hello",
            "media": [],
            "author": "customer",
            "purpose": None,
            "keyword": None,
        },
    }
    assert body(notices[0])["data"] == {"service": "inbound", "language": "en"}
    assert body(notices[3])["data"] == {"queue": "support_sms", "channel": "sms", "waited": 0.0}
    assert {(notice.session, notice.number, notice.endpoints) for notice in notices} == {(ID, ANA, ("crm",))}


@pytest.mark.parametrize(
    ("written", "kind", "data"),
    [
        (line("agent.joined", name="Ben", channel="sms"), "session.assigned", {"name": "Ben", "channel": "sms"}),
        (line("transfer.completed", by="ann", to="ben"), "session.transferred", {"by": "ann", "to": "ben"}),
        (
            line("transfer.failed", by="ann", to="ben", reason="no answer"),
            "session.transfer_failed",
            {"by": "ann", "to": "ben", "reason": "no answer"},
        ),
        (line("chat.dismissed", name="Ben", by="timer"), "session.dismissed", {"name": "Ben", "by": "timer"}),
        (line("chat.returned"), "session.returned", {}),
        (line("chat.reopened"), "session.reopened", {}),
        (
            line("offer.made", kind="deflect", prompt="p", words="By text?"),
            "offer.made",
            {"kind": "deflect", "words": "By text?"},
        ),
        (line("offer.answered", kind="hold", answer="accepted", digit="1"), "offer.accepted", {"kind": "hold"}),
        (line("offer.answered", kind="hold", answer="declined", digit="2"), "offer.declined", {"kind": "hold"}),
        (line("offer.answered", kind="hold", answer="no_input", digit=None), "offer.expired", {"kind": "hold"}),
        (line("call.answered"), "call.answered", {}),
        (line("call.ended", by="caller", cause="bye"), "call.ended", {"by": "caller", "cause": "bye"}),
        (line("opted_out", word="STOP"), "opt_out.changed", {"opted_out": True, "provisional": False, "words": "STOP"}),
        (line("opted_in", word="START"), "opt_out.changed", {"opted_out": False, "provisional": False, "words": "START"}),
        (
            line("stop.suspected", body="leave me alone"),
            "opt_out.changed",
            {"opted_out": True, "provisional": True, "words": "leave me alone"},
        ),
        (
            line("stop.judged", name="Ben", meant=False),
            "opt_out.changed",
            {"opted_out": False, "provisional": False, "words": None},
        ),
        (
            line("stop.judged", name="Ben", meant=True),
            "opt_out.changed",
            {"opted_out": True, "provisional": False, "words": None},
        ),
        (
            line("consent.given", purpose="session", granted=True, words="Press 1"),
            "consent.recorded",
            {"purpose": "session", "granted": True, "words": "Press 1"},
        ),
        (line("media.uploaded", media=[], refused=1), "media.received", {"media": [], "refused": 1}),
    ],
)
def test_a_line_of_the_timeline_makes_a_notice(written: TimelineLine, kind: str, data: dict[str, Any]) -> None:
    """What a line says becomes a type and a few named fields."""
    (notice,) = made(written)
    assert (notice.type, body(notice)["data"], body(notice)["at"]) == (kind, data, NOW + 1.0)


def test_what_only_the_desk_needs_makes_no_notice() -> None:
    """Prompts, traces, rings at a desk, and an opt-out that another conversation has told of already."""
    lines = [line("flow.trace"), line("prompt.played"), line("agent.offered"), line("opted_out", word=None)]
    assert made(*lines) == []


def test_a_closed_session_says_how_it_ended() -> None:
    """Reason, service and the seconds agents worked on it come with the end."""
    over = row(state="closed", closed_at=NOW + 9.0, ended_reason="agent", handled=42.0, first_agent_at=NOW + 3.0)
    (notice,) = made(line("session.closed", reason="agent"), row=over)
    assert body(notice)["data"] == {
        "service": "inbound",
        "ended_reason": "agent",
        "handled": 42.0,
        "opened_at": NOW,
        "first_agent_at": NOW + 3.0,
        "closed_at": NOW + 9.0,
    }


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("delivered", "sms.delivered"),
        ("read", "sms.read"),
        ("undelivered", "sms.undelivered"),
        ("failed", "sms.failed"),
        ("canceled", "sms.canceled"),
        ("queued", None),
        ("sending", None),
        ("sent", None),
        ("pending", None),
    ],
)
def test_a_state_makes_a_notice_when_a_program_can_use_it(state: TextState, kind: str | None) -> None:
    """What happens between being taken and being delivered is told to nobody."""
    update = MessageUpdate(id=MessageId("t1-1"), state=state, at=NOW, error_code="30003")
    notices = made(line("text.failed", message="t1-1", code="30003", explanation="switched off"), updates=[update])
    assert types(notices) == ([] if kind is None else [kind])
    for notice in notices:
        assert (notice.id, body(notice)["data"]["code"]) == (f"{kind}:t1-1", "30003")
        assert body(notice)["data"]["explanation"] == "switched off"


def test_the_late_answer_of_a_provider_says_nothing_new() -> None:
    """A text that was delivered before the provider said that it took it is not delivered twice."""
    taken = MessageUpdate(id=MessageId("t1-1"), state="accepted", at=NOW, provider_ref=ProviderRef("SM1"), segments=2)
    late = MessageUpdate(id=MessageId("t1-2"), state="delivered", at=NOW, provider_ref=ProviderRef("SM2"), segments=1)
    (notice,) = made(updates=[taken, late])
    assert (notice.type, body(notice)["data"]["segments"]) == ("sms.accepted", 2)


def test_a_text_of_no_session_names_its_customer() -> None:
    """Whose text it is follows from the text where there is no session to say so."""
    sent = text("api-1", "out", session=None, author="api:crm")
    (notice,) = notices_of(None, None, (), (), [sent], endpoints=ALL)
    assert (body(notice)["customer"], body(notice)["our_number"], body(notice)["session"]) == (ANA, OURS, None)
    assert notice.number == ANA

    update = MessageUpdate(id=MessageId("api-1"), state="delivered", at=NOW)
    (notice,) = notices_of(None, None, (), [update], (), endpoints=ALL, known=[sent])
    assert (notice.number, body(notice)["our_number"]) == (ANA, OURS)
    (notice,) = notices_of(None, None, (), [update], (), endpoints=ALL)
    assert notice.number is None


def test_pictures_make_a_notice_of_their_own() -> None:
    """Who only wants media need not look at every text."""
    pictures = made(line("text.received", message="in-1"), messages=[text("in-1", media=(PHOTO,))])
    assert types(pictures) == ["sms.received", "media.received"]
    item = {"digest": PHOTO.digest, "content_type": "image/png", "size": 120}
    assert body(pictures[1])["data"] == {"message": "in-1", "media": [item], "refused": 0}


def test_files_that_came_by_a_link_are_no_text() -> None:
    """They stand among the texts for the desk, and are told of once."""
    uploaded = line("media.uploaded", media=[{"digest": PHOTO.digest}], refused=0)
    assert types(made(uploaded, messages=[text("up-1", provider="upload", media=(PHOTO,))])) == ["media.received"]


def test_an_opt_out_outside_a_session_is_told() -> None:
    """From one of our numbers, or from all of them, which is said once."""
    alone = Suppression(number=ANA, sender=OURS, evidence="letter", at=NOW)
    (out,) = notices_of(None, None, (), (), (), endpoints=ALL, suppress=[alone])
    assert (out.type, out.number, body(out)["our_number"]) == ("opt_out.changed", ANA, OURS)
    assert body(out)["data"] == {"opted_out": True, "provisional": False, "words": None}

    whole = Suppression(number=ANA, sender="*", evidence="START", at=NOW)
    (back,) = notices_of(None, None, (), (), (), endpoints=ALL, unsuppress=[whole, alone])
    assert (body(back)["our_number"], body(back)["data"]["opted_out"]) == (None, False)
    assert back.id != out.id


def test_endpoints_get_what_they_asked_for() -> None:
    """A family, single types, everything; a notice nobody wants is not made, and without endpoints there are none."""
    lines = [line("call.answered"), line("chat.reopened")]
    rules = [HookRule("calls", ("call.*",)), HookRule("one", ("session.reopened", "sms.failed")), HookRule("all", ("*",))]
    assert [(notice.type, notice.endpoints) for notice in made(*lines, endpoints=rules)] == [
        ("call.answered", ("calls", "all")),
        ("session.reopened", ("one", "all")),
    ]
    assert types(made(*lines, endpoints=rules[:1])) == ["call.answered"]
    assert made(*lines, endpoints=()) == []


@pytest.mark.parametrize("pattern", ["sms", "sms.recieved", "texts.*", "s*", "", ".*"])
def test_a_pattern_that_nothing_fits_is_refused(pattern: str) -> None:
    """An endpoint would wait for it in vain."""
    with pytest.raises(ValueError, match="there is no event"):
        HookRule("crm", ("session.*", pattern))


KINDS = st.sampled_from(["queue.joined", "agent.joined", "call.ended", "chat.returned", "flow.trace", "text.sent"])
STEPS = st.lists(
    st.tuples(
        st.lists(KINDS, max_size=4),
        st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["accepted", "sent", "delivered", "failed"])), max_size=3),
    ),
    max_size=6,
)


@given(STEPS)
def test_the_same_thing_is_never_told_twice(steps: list[tuple[list[str], list[tuple[int, TextState]]]]) -> None:
    """Within a step no id comes twice, computed again the ids are the same, and those of lines differ from step to step."""
    ids: list[str] = []
    for n, (kinds, changes) in enumerate(steps):
        lines = [TimelineLine(NOW + n, kind, {"message": "gone"}) for kind in kinds]
        updates = [MessageUpdate(id=MessageId(f"m{m}"), state=state, at=NOW + n) for m, state in changes]
        first, again = made(*lines, updates=updates), made(*lines, updates=updates)
        assert first == again
        assert len({notice.id for notice in first}) == len(first)
        assert {notice.type for notice in first} <= set(TYPES)
        ids += [notice.id for notice in first if not notice.type.startswith("sms.")]
    assert len(set(ids)) == len(ids)


def test_every_type_is_explained() -> None:
    """`docs/hooks.md` has a row for each type, and for no other."""
    explained = re.findall(r"^\| `([a-z_.]+)` \| (.+?) \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert dict(explained) == dict(TYPES)


# --- the signature -----------------------------------------------------------------------------------------------------

SECRET = "a secret of at least sixteen characters"


@given(st.binary(max_size=200), st.floats(0, 2e9), st.floats(-300, 299))
def test_what_was_signed_is_believed_for_five_minutes(content: bytes, now: float, passed: float) -> None:
    """Any body verifies with the right secret, also between clocks that differ a little."""
    headers = sign(content, SECRET, now)
    assert verify(content, headers, SECRET, int(now) + passed)
    assert verify(content, {name.lower(): value for name, value in headers.items()}, SECRET, int(now) + passed)
    assert not verify(content, headers, SECRET, now + 302.0)
    assert not verify(content, headers, SECRET, now - 301.0)
    assert not verify(content + b" ", headers, SECRET, int(now) + passed)
    assert not verify(content, headers, SECRET + "x", int(now) + passed)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {TIMESTAMP: "1000000"},
        {TIMESTAMP: "soon", SIGNATURE: "v1=00"},
        {TIMESTAMP: "٣", SIGNATURE: "v1=00"},
        {TIMESTAMP: "9" * 5000, SIGNATURE: "v1=00"},
        {TIMESTAMP: "1000000", SIGNATURE: "v1=\N{SNOWMAN}"},
        {TIMESTAMP: "1000000", SIGNATURE: sign(b"body", SECRET, NOW)[SIGNATURE].removeprefix("v1=")},
    ],
)
def test_what_is_no_signature_is_refused(headers: dict[str, str]) -> None:
    """Missing, malformed or of another version: refused, never an error."""
    assert not verify(b"body", headers, SECRET, NOW)


def test_the_receiver_of_the_page_believes_what_we_sign() -> None:
    """The few lines of Python in `docs/hooks.md` do what `verify` does."""
    code = re.search(r"```python\n(.+?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    headers = dict(sign(b"body", SECRET, NOW))
    assert names["ours"](b"body", headers, SECRET, NOW)
    assert not names["ours"](b"other", headers, SECRET, NOW)
    assert not names["ours"](b"body", headers, SECRET, NOW + 301.0)
