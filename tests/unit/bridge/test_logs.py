"""Logs hold no telephone numbers, and nobody outside writes lines of his own into them."""

import json
import logging

import msgspec
import pytest
import structlog

from bridge.cluster import ClusterUnavailableError
from bridge.journal import JournalUnavailableError
from bridge.logs import mask_numbers, set_up_logs

FULL = ("+15550100123", "15550100123", "5550100123", "%2B15550100123")


class Thing(msgspec.Struct):
    """Something with a number in it."""

    number: str


@pytest.mark.parametrize(
    "value",
    [
        *FULL,
        "sip:+15550100123@192.0.2.9",
        "sip:15550100123@192.0.2.9",
        {"a": [{"b": "+15550100123"}]},
        ("+15550100123",),
        Thing("+15550100123"),
        ValueError("no number: '15550100123'"),
        {"a": {"b": {"c": {"d": {"e": {"f": {"g": "+15550100123"}}}}}}},
    ],
)
def test_a_number_is_masked_wherever_it_stands(value: object) -> None:
    """With its plus or without, alone or in something, also in what only becomes text when it is written."""
    written = repr(mask_numbers(None, "info", {"event": "x", "value": value}))

    assert "5550100123" not in written
    assert "0123" in written


@pytest.mark.parametrize(
    "value",
    [1_800_000_000.5, 1_800_000_000, None, True, "in-00000000000000000000000000000012", "c0123456789ab", "2026-01-01T10:00:00Z"],
)
def test_what_is_no_number_stays(value: object) -> None:
    """Times, counts and our own ids."""
    assert mask_numbers(None, "info", {"value": value})["value"] == value


@pytest.mark.usefixtures("quiet")
def test_a_line_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A line end or a terminal command in what a stranger sent starts no line and clears no screen, in either form."""
    set_up_logs("console", "info")
    logging.getLogger("library").warning("bad request: %s", "x\n2026 [info] forged\x1b[2J")
    structlog.get_logger().warning("refused", reason="x\n2026 [info] forged\x1b[2J")
    shown = capsys.readouterr().err

    assert len(shown.splitlines()) == 2
    assert "\x1b[2J" not in shown


@pytest.mark.usefixtures("quiet")
def test_an_error_is_written_without_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """Also its traceback, and as one object a line."""
    set_up_logs("json", "info")
    try:
        int("a text to +15550100123")
    except ValueError:
        structlog.get_logger().exception("text.failed")
    (line,) = capsys.readouterr().err.splitlines()

    assert "0100123" not in line
    assert "Traceback" in json.loads(line)["exception"]


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    "outage",
    [
        JournalUnavailableError("no connection"),
        ClusterUnavailableError("no connection"),
        ExceptionGroup("some", [ExceptionGroup("more", [JournalUnavailableError("no connection")])]),
    ],
)
def test_an_outage_is_a_warning_in_one_line(capsys: pytest.CaptureFixture[str], outage: Exception) -> None:
    """Whoever meets it; what is our own fault comes with its traceback, also beside an outage."""
    set_up_logs("json", "info")
    for error in (outage, ExceptionGroup("two", [outage, LookupError("ours")])):
        structlog.get_logger().error("reports.behind", exc_info=error)
    told, ours = map(json.loads, capsys.readouterr().err.splitlines())

    assert (told["level"], told["reason"]) == ("warning", "no connection")
    assert "exception" not in told
    assert (ours["level"], "LookupError: ours" in ours["exception"]) == ("error", True)
