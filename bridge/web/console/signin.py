"""Signing in and out, and who is asking."""

import asyncio
import math
import re
import secrets
from collections.abc import Callable
from urllib.parse import quote, urlsplit

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from bridge.events import AgentId
from bridge.journal import JournalError, JournalUnavailableError
from bridge.web.console.agents import Brake, SignedIn, SignIns, same
from bridge.web.console.views import page
from bridge.web.console.words import LANGUAGE_COOKIE, LANGUAGES, language_of, ngettext, speak
from bridge.web.console.words import gettext as _
from bridge.web.http import read_form, same_origin
from bridge.web.ports import Agent, Desk
from bridge.web.ports_admin import By, People, TurnedAway, Welcome

log = structlog.get_logger(__name__)

COOKIE = "sidetone_desk"
FORM_COOKIE = "sidetone_form"
"""Proves that the sign-in form was ours: its value is in the form too (a session that could hold a token comes later)."""
CSRF_HEADER = "X-CSRF-Token"
_PAGE = re.compile(r"/(?:[A-Za-z0-9_%.+~-]+(?:/[A-Za-z0-9_%.+~-]+)*/?)?")
"""A path of ours: nothing that a browser could take for another host."""
ONE_YEAR = 365 * 86_400
MOST_WAITING = 20
"""Passwords that may wait to be checked. One check takes a processor for a tenth of a second, and calls need it too."""


class SignInPages:
    """`/sign-in` and `/sign-out`, and the check every other page of the desk begins with.

    Args:
        desk: Knows agents and passwords.
        public_url: Where the desk is reached, when a proxy stands in front.
        secure_cookies: Cookies only travel over HTTPS.
        session_lifetime: Seconds until an agent has to sign in again.
        now: Seconds since the Unix epoch.
        people: Knows accounts, and who is locked or barred; None: the desk alone says who somebody is.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        public_url: str | None,
        secure_cookies: bool,
        session_lifetime: float,
        now: Callable[[], float],
        people: People | None = None,
    ) -> None:
        self._desk = desk
        self._people = people
        self._public_url = public_url
        self._secure = secure_cookies
        self._now = now
        self._sign_ins = people.sign_ins if people is not None else SignIns(session_lifetime, lambda: secrets.token_urlsafe(32))
        self._by_login = Brake(most=8, seconds=300.0)
        self._by_address = Brake(most=40, seconds=300.0)
        self._checking = asyncio.Lock()
        self._waiting = 0

    def routes(self) -> list[web.RouteDef]:
        """The form, its answer, and the way out."""
        return [
            web.get("/sign-in", self._form),
            web.post("/sign-in", self._sign_in),
            web.post("/sign-out", self._sign_out),
            web.post("/language", self._language),
        ]

    @web.middleware
    async def recall(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Know a browser that has signed in at another node, before anybody asks who it is."""
        cookie = request.cookies.get(COOKIE)
        if cookie is not None and self._people is not None:
            try:
                await self._people.recall(cookie)
            except JournalError:
                log.warning("desk.browser_unknown", retriable=True)
        return await handler(request)

    def who(self, request: web.Request) -> tuple[Agent, SignedIn] | None:
        """The agent behind *request*; None when nobody is signed in, the agent no longer exists, or has to choose a password."""
        known = self.anybody(request)
        return None if known is None or (self._people is not None and self._people.must_change(known[0].id)) else known

    def anybody(self, request: web.Request) -> tuple[Agent, SignedIn] | None:
        """The same, also for who has to choose a password first."""
        signed_in = self._sign_ins.find(request.cookies.get(COOKIE), now=self._now())
        if signed_in is None:
            return None
        agent = self._desk.agent(signed_in.agent)
        return None if agent is None else (agent, signed_in)

    async def _form(self, request: web.Request) -> web.Response:
        speak(language_of(request))
        if self.anybody(request) is not None and self.who(request) is None:
            raise web.HTTPSeeOther("/account")
        if self.who(request) is not None:
            raise web.HTTPSeeOther(_safe_next(request.query.get("next")))
        return self._show_form(request, "", "", request.query.get("next"))

    def _show_form(self, request: web.Request, login: str, error: str, following: str | None, status: int = 200) -> web.Response:
        token = secrets.token_urlsafe(24)
        response = page("sign_in.html", request, status=status, token=token, login=login, error=error, next=_safe_next(following))
        self.set_cookie(response, FORM_COOKIE, token, 3600)
        return response

    async def _sign_in(self, request: web.Request) -> web.Response:
        speak(language_of(request))
        form = await read_form(request)
        login, password = form.get("login", "").strip()[:100], form.get("password", "")
        following = form.get("next", "/")
        if not self._form_is_ours(request, form.get("token", "")):
            return self._show_form(request, login, _("That form had grown old. Please try once more."), following, 403)
        now = self._now()
        brakes = [(self._by_login, login)]
        if self._public_url is None:  # behind a proxy everybody comes from its address: one stranger would hold up all
            brakes.append((self._by_address, request.remote or ""))
        if any(brake.holds(key, now=now) for brake, key in brakes):
            log.warning("desk.sign_in_held")
            return self._show_form(request, login, _("Too many tries. Please wait five minutes."), following, 429)
        if self._waiting >= MOST_WAITING:
            log.warning("desk.sign_in_crowded")
            return self._show_form(
                request, login, _("Too many people are signing in. Please try again in a moment."), following, 503
            )
        agent = await self._counted(login, password, By(login, request.remote), brakes, now)
        if isinstance(agent, TurnedAway):
            minutes = max(1, math.ceil(((agent.until or now) - now) / 60.0))
            error = ngettext("Too many tries. Please wait %(n)s minute.", "Too many tries. Please wait %(n)s minutes.", minutes)
            return self._show_form(request, login, error, following, 429)
        if agent is None:
            log.warning("desk.sign_in_refused")
            return self._show_form(request, login, _("Login or password is not right."), following, 403)
        return await self._enter(request, agent, following)

    async def _enter(self, request: web.Request, agent: Agent, following: str) -> web.Response:
        """A session of their own from now on."""
        self._sign_ins.close(request.cookies.get(COOKIE))
        cookie, _session = self._sign_ins.open(agent.id, now=self._now())  # a fresh one at every sign-in: no fixation
        if self._people is not None:
            await self._people.settled()  # the next request may come to another node
        log.info("desk.signed_in", agent=agent.id)
        response = web.Response(status=303, headers={"Location": _safe_next(following)})
        self.set_cookie(response, COOKIE, cookie, int(self._sign_ins.lifetime))
        response.del_cookie(FORM_COOKIE, path="/sign-in")
        person = None if self._people is None else await self._people.person(agent.id)
        if person is not None and person.account.language is not None:
            self.set_cookie(response, LANGUAGE_COOKIE, person.account.language, ONE_YEAR)
        return response

    async def _counted(
        self, login: str, password: str, by: By, brakes: list[tuple[Brake, str]], now: float
    ) -> Agent | TurnedAway | None:
        """As `_check`, and what turns out to be wrong is counted; with the journal away nobody can know what is."""
        for brake, key in brakes:  # before it is known: a hundred tries at the same time are a hundred tries
            brake.failed(key, now=now)
        wrong = True
        try:
            agent = await self._check(login, password, by)
            wrong = not isinstance(agent, Agent)
        except JournalUnavailableError:
            wrong = False
            raise
        finally:
            if not wrong:
                for brake, key in brakes:
                    brake.succeeded(key, now=now)
        return agent

    async def _check(self, login: str, password: str, by: By) -> Agent | TurnedAway | None:
        """Whom the two belong to, one check after the other; None: to nobody."""
        self._waiting += 1
        try:
            async with self._checking:
                if self._people is None:
                    return await self._desk.sign_in(login, password)
                verdict = await self._people.authenticate(login, password, by)
                if isinstance(verdict, Welcome):
                    return self._desk.agent(AgentId(verdict.login))
                return verdict if verdict.why == "locked" else None
        finally:
            self._waiting -= 1

    def _form_is_ours(self, request: web.Request, token: str) -> bool:
        cookie = request.cookies.get(FORM_COOKIE, "")
        foreign = "Origin" in request.headers and not same_origin(request, self._public_url)
        return bool(cookie) and same(cookie, token) and not foreign

    async def _sign_out(self, request: web.Request) -> web.Response:
        who = self.anybody(request)
        form = await read_form(request)
        if who is not None and same(who[1].csrf, form.get("csrf", "")):
            self._sign_ins.close(request.cookies.get(COOKIE))
            if self._people is not None:
                await self._people.settled()
                await self._people.signed_out(who[0].id, By(who[0].id, request.remote))
            if "agent" in who[0].roles:
                await self._desk.set_state(who[0].id, "offline")
            log.info("desk.signed_out", agent=who[0].id)
        response = web.Response(status=303, headers={"Location": "/sign-in"})
        response.del_cookie(COOKIE)
        return response

    async def _language(self, request: web.Request) -> web.Response:
        """Remember the reader's language in the browser, and back to the page they were on."""
        form = await read_form(request)
        who, chosen = self.who(request), form.get("language", "")
        if who is None or not same(who[1].csrf, form.get("csrf", "")) or chosen not in LANGUAGES:
            return web.Response(status=403)
        back = _safe_next(urlsplit(request.headers.get("Referer", "")).path)
        response = web.Response(status=303, headers={"Location": back})
        self.set_cookie(response, LANGUAGE_COOKIE, chosen, ONE_YEAR)
        return response

    def set_cookie(self, response: web.Response, name: str, value: str, max_age: int) -> None:
        """Keep something in the browser; scripts cannot read it."""
        path = "/sign-in" if name == FORM_COOKIE else "/"
        response.set_cookie(name, value, max_age=max_age, path=path, httponly=True, samesite="Lax", secure=self._secure)


def to_sign_in(request: web.Request) -> web.Response:
    """To the form, and from there back to the page that asked."""
    fragment = "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers
    asking = request.path if request.method == "GET" else ""
    if fragment and "HX-Current-URL" in request.headers:
        asking = urlsplit(request.headers["HX-Current-URL"]).path
    where = "/sign-in" if _safe_next(asking) == "/" else f"/sign-in?next={quote(asking)}"
    if fragment:
        return web.Response(headers={"HX-Redirect": where})
    return web.Response(status=303, headers={"Location": where})


def _safe_next(following: str | None) -> str:
    """Where to go after signing in: a page of ours, and never another host."""
    if following is not None and _PAGE.fullmatch(following) and not following.startswith("/sign-"):
        return following
    return "/"
