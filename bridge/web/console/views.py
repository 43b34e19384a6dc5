"""Templates, their filters, and the fragments that a page takes over a websocket."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp_jinja2
import jinja2
from aiohttp import web

from bridge.web.console.forms import setting, words
from bridge.web.console.timeline import amount_of_bytes, duration, ended_words, pretty_number, purpose_words, tick
from bridge.web.console.words import gettext, language, marked, plural
from bridge.web.console.words import gettext as _

STATIC_FOLDER = Path(__file__).parent / "static"


def set_up_templates(app: web.Application) -> None:
    """Give *app* the console's templates. Everything is escaped unless a template says otherwise, and none does."""
    aiohttp_jinja2.setup(
        app,
        loader=jinja2.PackageLoader("bridge.web.console"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        filters=_FILTERS,
        extensions=["jinja2.ext.i18n"],
    )
    environment = aiohttp_jinja2.get_env(app)
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_callables(gettext, plural, newstyle=True)  # type: ignore[attr-defined]  # the extension's
    environment.globals["spoken"] = language


def render(name: str, request: web.Request, /, **context: Any) -> str:
    """A template as text, with the addresses of static files from the request's application."""
    return aiohttp_jinja2.render_string(name, request, context)


def page(name: str, request: web.Request, /, *, status: int = 200, **context: Any) -> web.Response:
    """A template as a response that no cache keeps."""
    return web.Response(
        text=render(name, request, **context),
        status=status,
        content_type="text/html",
        headers={"Cache-Control": "no-store"},
    )


def clock_time(at: float) -> str:
    """Hours and minutes in UTC; the page puts it into the reader's own time zone."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M")


def iso_time(at: float) -> str:
    """For the machine: ISO 8601 in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def iso_day(at: float) -> str:
    """The day in UTC; the page puts it into the reader's own words and time zone."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()


_CALL_WORDS = {
    "ringing": marked("Ringing"),
    "in_flow": marked("In the menu"),
    "queued": marked("Waiting on the line"),
    "connecting": marked("Connecting"),
    "connected": marked("On the call"),
    "held": marked("On hold"),
    "consulting": marked("A colleague is asked"),
    "calling_out": marked("Calling a number outside"),
    "outside": marked("With somebody outside"),
    "callback": marked("Waits to be called back"),
    "summoning": marked("Your phone rings"),
    "dialing": marked("Calling the customer"),
    "ending": marked("Hanging up"),
    "ended": marked("Call over"),
}
_TEXT_WORDS = {
    "open": marked("Can text"),
    "invited": marked("Invited to text"),
    "choosing": marked("In the text menu"),
    "queued": marked("Waiting by text"),
    "chatting": marked("Chat"),
    "dismissed": marked("Set aside"),
    "closed": marked("Chat over"),
    "opted_out": marked("Opted out"),
}


def _call_words(state: str) -> str:
    return _(_CALL_WORDS.get(state, state.replace("_", " ").capitalize()))


def _text_words(state: str) -> str:
    return _(_TEXT_WORDS.get(state, state.replace("_", " ").capitalize()))


_SERVICE_WORDS = {
    "call": marked("Call"),
    "deflected": marked("Call, then texts"),
    "inbound": marked("Texts"),
    "outbound": marked("Texts, begun by us"),
    "api": marked("Texts, begun by a program"),
    "direct": marked("Texts to an agent"),
}


def _service_words(service: str) -> str:
    return _(_SERVICE_WORDS.get(service, service))


def _title(identifier: str) -> str:
    words = identifier.replace("_", " ")
    return words[:1].upper() + words[1:]


_FILTERS: Mapping[str, Callable[..., Any]] = {
    "clock_time": clock_time,
    "iso_time": iso_time,
    "iso_day": iso_day,
    "bytes": amount_of_bytes,
    "service_words": _service_words,
    "duration": duration,
    "number": pretty_number,
    "purpose_words": purpose_words,
    "ended_words": ended_words,
    "tick": tick,
    "call_words": _call_words,
    "text_words": _text_words,
    "title_of": _title,
    "words": words,
    "setting": setting,
}
