"""Delivery states only ever move forward."""

from typing import get_args

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sms.message import (
    FINAL,
    RANK,
    DeliveryReport,
    InboundText,
    OutboundText,
    RemoteMedia,
    TextState,
    advance,
    as_state,
    readable,
)

STATES = st.sampled_from(get_args(TextState))


@given(st.lists(STATES))
def test_rank_never_falls(reports: list[TextState]) -> None:
    """Whatever order reports come in, the rank of the state never falls."""
    state: TextState = "pending"
    for report in reports:
        moved = advance(state, report)
        assert RANK[moved] >= RANK[state]
        assert moved in {state, report}
        state = moved


@given(st.lists(STATES.filter(lambda state: state != "canceled")))
def test_order_of_reports_does_not_matter_for_the_rank(reports: list[TextState]) -> None:
    """Without a cancellation the highest rank wins, however the reports were shuffled."""
    state: TextState = "pending"
    for report in reports:
        state = advance(state, report)
    assert RANK[state] == max([0, *(RANK[report] for report in reports)])


def test_late_receipt_wins_over_undelivered() -> None:
    """`delivered` after `undelivered` wins: a carrier's receipt is better evidence than its silence."""
    assert advance("undelivered", "delivered") == "delivered"
    assert advance("delivered", "undelivered") == "delivered"


def test_first_of_two_failures_stays() -> None:
    """Of two states of one rank the first stays, so the first reason is the one shown."""
    assert advance("failed", "undelivered") == "failed"


@given(STATES)
def test_nothing_follows_canceled(report: TextState) -> None:
    """A canceled text stays canceled."""
    assert advance("canceled", report) == "canceled"
    assert "canceled" in FINAL


def test_every_state_has_a_rank() -> None:
    """The table of ranks knows every state, and no other."""
    assert set(RANK) == set(get_args(TextState))
    assert all(as_state(state) == state for state in RANK)
    assert as_state("partially_delivered") is None


def test_an_unknown_word_has_no_rank() -> None:
    """A report in a word we do not know is kept and outranks nothing."""
    report = DeliveryReport(provider="x", ref="1", message=None, state=None, reported="teleported", at=0.0)
    assert report.rank == -1
    assert DeliveryReport(provider="x", ref="1", message=None, state="sent", reported="sent", at=0.0).rank == RANK["sent"]


def test_texts_survive_json() -> None:
    """Texts go through JSON unharmed: the journal keeps them so."""
    text = OutboundText(message="m1", recipient="+15550100123", sender="+15550100200", body="é€😀", created_at=1.5)
    assert msgspec.json.decode(msgspec.json.encode(text), type=OutboundText) == text
    inbound = InboundText(
        provider="loopback",
        ref="r1",
        sender="+15550100123",
        recipient="+15550100200",
        body="",
        received_at=2.0,
        media=(RemoteMedia(url="loopback:1", content_type="image/png"),),
        opt_out_handled="stop",
        raw=(("From", "+15550100123"),),
    )
    assert msgspec.json.decode(msgspec.json.encode(inbound), type=InboundText) == inbound


@given(st.text(st.characters(exclude_categories=())))
def test_readable_text_can_be_kept_and_sent(text: str) -> None:
    """No NUL, no terminal command, no half of a character; what people write stays as it is."""
    kept = readable(text)

    assert kept.encode().decode() == kept
    assert not {char for char in kept if char < " " or "\x7f" <= char <= "\x9f"} - {"\n", "\t"}
    assert readable(kept) == kept
    assert readable("Ça va?\n\t👍🏽 ok\u200d") == "Ça va?\n\t👍🏽 ok\u200d"
