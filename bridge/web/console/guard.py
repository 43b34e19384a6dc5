"""Who may see a page or do something there, and the frame that all pages have."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
import structlog
from aiohttp import web

from bridge.web.access import Right, rights_of
from bridge.web.console.agents import same
from bridge.web.console.signin import CSRF_HEADER, SignInPages, to_sign_in
from bridge.web.console.views import page
from bridge.web.console.words import LANGUAGES, language, language_of, speak
from bridge.web.console.words import gettext as _
from bridge.web.http import read_form
from bridge.web.ports import Agent

log = structlog.get_logger(__name__)


class Who(msgspec.Struct, frozen=True):
    """The person behind a request."""

    agent: Agent
    csrf: str
    """Asked of every request that changes something."""
    rights: frozenset[Right]


Handler = Callable[[web.Request, Who], Awaitable[web.StreamResponse]]


class Place(NamedTuple):
    """A page that a bar leads to: of the house, or of a part of it."""

    name: str
    path: str
    title: str
    right: Right


def places() -> tuple[Place, ...]:
    """The pages that the bar leads to, in order."""
    return (
        Place("desk", "/", _("Desk"), Right.WORK),
        Place("supervisor", "/supervisor", _("Supervisor"), Right.BOARD),
        Place("contacts", "/contacts", _("Contacts"), Right.CONTACTS),
        Place("reports", "/reports", _("Reports"), Right.REPORTS),
        Place("ewt", "/ewt", _("Waiting times"), Right.CALIBRATION),
        Place("admin", "/admin", _("Administration"), Right.SETTINGS),
    )


class Guard:
    """Wraps handlers so that only who may comes through.

    Args:
        sign_in: Knows who is signed in.
    """

    def __init__(self, sign_in: SignInPages) -> None:
        self._sign_in = sign_in

    def who(self, request: web.Request) -> Who | None:
        """The person behind *request*; None when nobody is signed in."""
        known = self._sign_in.who(request)
        if known is None:
            return None
        agent, signed_in = known
        return Who(agent, signed_in.csrf, rights_of(agent.roles))

    def reads(self, right: Right, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Only for who has *right*; for GET, which changes nothing."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            speak(language_of(request))
            who = self.who(request)
            if who is None:
                return to_sign_in(request)
            if right not in who.rights:
                return refused(request, who)
            return await handler(request, who)

        guarded.right = right  # type: ignore[attr-defined]  # what the test of all routes looks at
        return guarded

    def acts(self, right: Right, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Only for who has *right* and sent the token of their session, in the header or as field `csrf` of a form."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            speak(language_of(request))
            who = self.who(request)
            if who is None:
                return to_sign_in(request)
            token = request.headers.get(CSRF_HEADER)
            if token is None and request.content_type == "application/x-www-form-urlencoded":
                token = (await read_form(request)).get("csrf", "")
            if not same(who.csrf, token or ""):
                log.warning("desk.csrf_refused", agent=who.agent.id)
                return web.Response(status=403, text=_("This page has grown old. Please load it anew."))
            if right not in who.rights:
                return refused(request, who)
            return await handler(request, who)

        guarded.right = right  # type: ignore[attr-defined]
        return guarded


def refused(request: web.Request, who: Who) -> web.Response:
    """Somebody is signed in who may not see this."""
    log.warning("desk.not_allowed", agent=who.agent.id, route=request.match_info.route.resource and request.rel_url.path)
    return shell_page("refused.html", request, who, here="", status=403)


def shell_page(template: str, request: web.Request, who: Who, /, *, here: str, status: int = 200, **context: Any) -> web.Response:
    """A page in the frame that all have.

    Args:
        template: It extends `shell.html`.
        request: Who asked.
        who: Whose rights the navigation goes by.
        here: Name of the place in the navigation.
        status: HTTP status.
        context: What the template reads.
    """
    return page(template, request, status=status, **shell_context(who, here), **context)


def shell_context(who: Who, here: str) -> dict[str, Any]:
    """What `shell.html` reads."""
    return {
        "who": who,
        "agent": who.agent,
        "csrf": who.csrf,
        "here": here,
        "places": [place for place in places() if place.right in who.rights],
        "languages": LANGUAGES,
        "language": language(),
    }
