"""Logs: JSON lines (or coloured text), with session and leg bound; numbers masked, and outages told in a line, in one place."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal

import structlog

from bridge.cluster import ClusterUnavailableError
from bridge.journal import JournalUnavailableError
from bridge.live import SessionAwayError
from sms.numbers import mask

_NUMBER = re.compile(r"(?:\+|%2B)[1-9][0-9]{6,14}|(?<![0-9A-Za-z.])[0-9]{10,15}(?![0-9A-Za-z])", re.IGNORECASE)
"""E.164, also as it stands in an address; and what a trunk sends without the plus. No id of ours looks like that."""
_COMMANDS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
"""What a terminal obeys. JSON escapes it; text for people would not."""
DEEPEST = 6
OUTAGES = (JournalUnavailableError, ClusterUnavailableError, SessionAwayError)
"""What is no error of ours: PostgreSQL, Redis or another node cannot be reached just now. Why can be said in a line."""


def name_outages(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Say of an outage what it is, as a warning; where in the program somebody met it helps nobody."""
    found = event.get("exc_info")
    error = sys.exc_info()[1] if found is True else found[1] if isinstance(found, tuple) else found
    while isinstance(error, BaseExceptionGroup) and error.split(OUTAGES)[1] is None:
        error = error.exceptions[0]
    if isinstance(error, OUTAGES):
        del event["exc_info"]
        event["level"] = "warning"
        event.setdefault("reason", str(error))
    return event


def mask_numbers(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask everything that looks like a telephone number, wherever it stands in the line, and keep the line one line."""
    for key, value in event.items():
        if not key.startswith("_"):  # structlog's own, taken out before the line is written
            event[key] = _masked(value, DEEPEST)
    if isinstance(event.get("event"), str):
        event["event"] = event["event"].replace("\n", " ")
    return event


def _masked(value: Any, deep: int) -> Any:
    match value:
        case str():
            return _COMMANDS.sub(" ", _NUMBER.sub(lambda found: mask(found.group()), value))
        case Mapping() if deep:
            return {key: _masked(item, deep - 1) for key, item in value.items()}
        case list() | tuple() | set() | frozenset() if deep:
            return [_masked(item, deep - 1) for item in value]
        case None | bool() | int() | float():
            return value
        case _:
            # Whatever it is, it would be written as this.
            return _masked(repr(value), deep)


def set_up_logs(form: Literal["json", "console"], level: Literal["debug", "info", "warning", "error"]) -> None:
    """Send logs to standard error in *form*, from *level* upward; libraries' own logs come the same way."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_outages,
        structlog.processors.format_exc_info,
        mask_numbers,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("twilio.http_client", "aiohttp.access", "alembic", "sqlalchemy.engine", "mail.log"):  # the last: aiosmtpd
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # what it warns of is raised as well: a connection that is gone
