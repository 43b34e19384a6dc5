"""`sidetone demo --headless --json` as a newcomer runs it: the four stories on real SIP, RTP and HTTP."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.e2e.server import ROOT

pytestmark = pytest.mark.e2e
PATIENCE = 180.0


@pytest.fixture(scope="module")
def played() -> tuple[int, str, str]:
    """Exit status, standard output and standard error of one performance."""
    command = [sys.executable, "-m", "bridge", "demo", "--headless", "--json"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return process.returncode, process.stdout, process.stderr


@pytest.fixture(scope="module")
def summary(played: tuple[int, str, str]) -> dict[str, Any]:
    """What it said at the end."""
    status, output, steps = played
    assert status == 0, steps
    document: dict[str, Any] = json.loads(output)
    return document


def story(summary: dict[str, Any], name: str) -> dict[str, Any]:
    """One of the stories."""
    (found,) = [each for each in summary["stories"] if each["story"] == name]
    return dict(found)


def kinds(texts: list[dict[str, Any]], direction: str) -> list[str]:
    """The states of the texts in one direction, in order."""
    return [text["state"] for text in texts if text["direction"] == direction]


def test_standard_output_is_json_and_nothing_else(played: tuple[int, str, str]) -> None:
    """Steps go to standard error as they happen, so that the summary can be piped."""
    status, output, steps = played

    assert status == 0, steps
    assert json.loads(output)["held"] is True
    assert output.startswith("{")
    assert output.endswith("}\n")
    for step in ("== deflection", "== hold-time", "== in-call", "== texting", "is answered", "All four stories held."):
        assert step in steps


def test_all_four_stories_hold(summary: dict[str, Any]) -> None:
    """Each with a session of its own, and the Twilio-shaped server has nothing to complain about."""
    assert [(each["story"], each["held"]) for each in summary["stories"]] == [
        ("deflection", True),
        ("hold_time", True),
        ("in_call", True),
        ("texting", True),
    ]
    assert len({each["session"] for each in summary["stories"]}) == 4
    assert summary["provider_complaints"] == []


def test_a_deflected_caller_goes_on_by_text(summary: dict[str, Any]) -> None:
    """The offer has its reason, the text is delivered before the call ends, the chat keeps what was waited."""
    told = story(summary, "deflection")

    assert told["legs"]["call"] == "ended"
    assert told["offers"] == [{"kind": "offer.deflect", "offered": True, "reason": "offer"}]
    first, *_ = kinds(told["texts"], "out")  # what the agent wrote last may still be on its way
    assert first == "delivered"
    assert kinds(told["texts"], "in") == ["received"]
    assert told["waited_before_chat"] > 0
    assert 0 < told["durations"]["key_to_provider"] < 5
    lines = told["desk"]
    happened = ["menu.chosen", "offer.made", "consent.given", "text.sent", "call.ended", "text.received", "agent.joined"]
    assert [kind for kind in dict.fromkeys(lines) if kind in happened] == happened


def test_a_waiting_caller_answers_by_text(summary: dict[str, Any]) -> None:
    """Words and a photo, both on the desk before the agent says hello."""
    told = story(summary, "hold_time")

    assert {"kind": "offer.hold", "offered": True, "reason": "offer"} in told["offers"]
    assert len(told["answers"]) == 2
    assert any(text["photos"] == 1 for text in told["texts"] if text["direction"] == "in")
    assert kinds(told["texts"], "out")[:2] == ["delivered", "delivered"]
    lines = told["desk"]
    assert lines.count("answer.stored") == 2
    assert lines.index("answer.stored") < lines.index("agent.joined")
    assert 0 < told["durations"]["accept_to_two_way_audio"] < 10
    assert 0 < told["durations"]["key_to_provider"] < 5


def test_texts_stand_beside_the_call(summary: dict[str, Any]) -> None:
    """A preset, the agent's own words, the caller's photo; STOP ends the texting and not the call."""
    told = story(summary, "in_call")

    assert told["legs"]["text"] == "opted_out"
    assert any(text["photos"] == 1 for text in told["texts"] if text["direction"] == "in")
    assert len(kinds(told["texts"], "out")) >= 3
    lines = told["desk"]
    assert lines.index("audio.connected") < lines.index("text.received") < lines.index("opted_out")
    assert "call.ended" not in lines
    assert 0 < told["durations"]["accept_to_two_way_audio"] < 10


def test_a_customer_texts_without_a_call(summary: dict[str, Any]) -> None:
    """Menu, keyword, agent, colleague, link for files, STOP: one session, and nothing is sent after STOP is confirmed."""
    told = story(summary, "texting")

    assert told["legs"] == {"call": "none", "text": "opted_out"}
    happened = ["menu.answered", "agent.joined", "transfer.started", "transfer.completed", "media.uploaded", "opted_out"]
    assert [kind for kind in dict.fromkeys(told["desk"]) if kind in happened] == happened
    *_, last = [text["body"] for text in told["texts"] if text["direction"] == "out"]
    assert "START" in last
    assert "FIX" in [text["body"] for text in told["texts"]]
