"""What people change of their own account: password, language, sounds; and the page behind a one-time link."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from urllib.parse import quote

from aiohttp import web

from bridge.web.access import rights_of
from bridge.web.console.agents import Brake, cookie_hash, same
from bridge.web.console.guard import Who, shell_page
from bridge.web.console.signin import COOKIE, SignInPages, to_sign_in
from bridge.web.console.views import page
from bridge.web.console.words import LANGUAGE_COOKIE, LANGUAGES, language_of, speak
from bridge.web.console.words import gettext as _
from bridge.web.http import read_form, same_origin
from bridge.web.ports_admin import AdminRefusedError, By, People

ONE_YEAR = 365 * 86_400


def sounds() -> Mapping[str, str]:
    """What the desk makes a sound for, and what that is called."""
    return MappingProxyType({"call": _("A call rings"), "chat": _("A chat rings"), "message": _("A customer writes")})


class AccountPages:
    """`/account` for everybody who is signed in, and `/password/{secret}` for who has a one-time link.

    Args:
        sign_in: Knows who is signed in.
        people: Keeps accounts.
        public_url: Where the pages are reached, when a proxy stands in front.
        now: Seconds since the Unix epoch.
    """

    def __init__(self, sign_in: SignInPages, people: People, *, public_url: str | None, now: Callable[[], float]) -> None:
        self._sign_in = sign_in
        self._people = people
        self._public_url = public_url
        self._now = now
        self._brake = Brake(most=20, seconds=300.0)
        """On guesses of links and of one's own password."""

    def routes(self) -> list[web.RouteDef]:
        """Everything here."""
        return [
            web.get("/account", self._mine(self._account)),
            web.post("/account/password", self._mine(self._change_password)),
            web.post("/account/preferences", self._mine(self._preferences)),
            web.post("/account/sign-out-others", self._mine(self._sign_out_others)),
            web.get("/password/{secret}", self._link),
            web.post("/password/{secret}", self._use_link),
        ]

    def _mine(
        self, handler: Callable[[web.Request, Who], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """For everybody who is signed in, also for who has to choose a password first; actions with the token of the session."""

        async def guarded(request: web.Request) -> web.Response:
            speak(language_of(request))
            known = self._sign_in.anybody(request)
            if known is None:
                return to_sign_in(request)
            agent, signed_in = known
            if request.method == "POST" and not same(signed_in.csrf, (await read_form(request)).get("csrf", "")):
                return web.Response(status=403, text=_("This page has grown old. Please load it anew."))
            return await handler(request, Who(agent, signed_in.csrf, rights_of(agent.roles)))

        return guarded

    async def _account(self, request: web.Request, who: Who) -> web.Response:
        return await self._show(request, who)

    async def _show(self, request: web.Request, who: Who, *, problem: str = "", done: str = "") -> web.Response:
        person = await self._people.person(who.agent.id)
        return shell_page(
            "account.html",
            request,
            who,
            here="account",
            status=422 if problem else 200,
            person=person,
            must_change=self._people.must_change(who.agent.id),
            sounds=sounds(),
            problem=problem,
            done=done or request.query.get("done", ""),
        )

    async def _change_password(self, request: web.Request, who: Who) -> web.Response:
        form = await read_form(request)
        login, now = who.agent.id, self._now()
        if self._brake.holds(login, now=now):
            return await self._show(request, who, problem=_("Too many tries. Please wait five minutes."))
        if form.get("new", "") != form.get("again", ""):
            return await self._show(request, who, problem=_("The two new passwords are not the same."))
        browser = request.cookies.get(COOKIE)
        try:
            await self._people.change_password(
                login,
                form.get("old", ""),
                form.get("new", ""),
                None if browser is None else cookie_hash(browser),
                By(login, request.remote),
            )
        except AdminRefusedError as error:
            self._brake.failed(login, now=now)
            return await self._show(request, who, problem=str(error))
        return _to_account("password")

    async def _preferences(self, request: web.Request, who: Who) -> web.Response:
        form = await read_form(request)
        language = form.get("language") or None
        if language is not None and language not in LANGUAGES:
            return await self._show(request, who, problem=_("There is no such language."))
        await self._people.set_preferences(who.agent.id, language, {name: name in form for name in sounds()})
        response = _to_account("preferences")
        if language is None:
            response.del_cookie(LANGUAGE_COOKIE)
        else:
            self._sign_in.set_cookie(response, LANGUAGE_COOKIE, language, ONE_YEAR)
        return response

    async def _sign_out_others(self, request: web.Request, who: Who) -> web.Response:
        await self._people.sign_out_everywhere(who.agent.id, By(who.agent.id, request.remote))
        return web.Response(status=303, headers={"Location": "/sign-in"})

    # --- one-time links

    async def _link(self, request: web.Request) -> web.Response:
        return await self._show_link(request, "")

    async def _show_link(self, request: web.Request, problem: str) -> web.Response:
        speak(language_of(request))
        now, origin = self._now(), request.remote or ""
        if self._brake.holds(origin, now=now):
            return web.Response(status=429, text=_("Too many tries. Please wait five minutes."))
        person = await self._people.link_of(request.match_info["secret"])
        if person is None:
            self._brake.failed(origin, now=now)
        status = 404 if person is None else 422 if problem else 200
        return page("account_link.html", request, status=status, person=person, problem=problem)

    async def _use_link(self, request: web.Request) -> web.Response:
        speak(language_of(request))
        if "Origin" in request.headers and not same_origin(request, self._public_url):
            return web.Response(status=403)
        form = await read_form(request)
        if form.get("new", "") != form.get("again", ""):
            return await self._show_link(request, _("The two new passwords are not the same."))
        try:
            await self._people.use_link(request.match_info["secret"], form.get("new", ""), By("?", request.remote))
        except AdminRefusedError as error:
            return await self._show_link(request, str(error))
        return web.Response(status=303, headers={"Location": "/sign-in"})


def _to_account(done: str) -> web.Response:
    return web.Response(status=303, headers={"Location": f"/account?done={quote(done)}"})
