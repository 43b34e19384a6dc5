"""What agents do with calls, as parts of the desk: hold, handing on, asking a colleague, calling a customer, callbacks."""

import json
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from aiohttp import web

from bridge.events import AgentId, SessionId
from bridge.web.access import Right
from bridge.web.console.guard import Guard, Who
from bridge.web.console.views import page, render
from bridge.web.console.words import gettext as _
from bridge.web.http import read_form
from bridge.web.ports import DeskRefusedError
from bridge.web.ports_calls import Callee, Calls

LONGEST_NOTE = 1000
"""Characters of what one agent tells the next."""
_Action = Callable[[web.Request, AgentId], Awaitable[web.Response]]


class CallPages:
    """Calls at the desk, under `/desk/`."""

    def __init__(self, calls: Calls, guard: Guard) -> None:
        self._calls = calls
        self._guard = guard

    def routes(self) -> list[web.RouteDef]:
        """To be added before those of the desk: `/desk/call` is no session."""
        return [
            web.get("/desk/call", self._reading(self._new)),
            web.post("/desk/call", self._acting(self._call, problem="call")),
            web.post("/desk/call/check", self._acting(self._check)),
            web.post("/desk/{session}/hold", self._acting(self._hold)),
            web.post("/desk/{session}/resume", self._acting(self._resume)),
            web.get("/desk/{session}/call-transfer", self._reading(self._targets)),
            web.post("/desk/{session}/call-transfer", self._acting(self._transfer, problem="call-transfer")),
            web.post("/desk/{session}/swap", self._acting(self._swap)),
            web.post("/desk/{session}/take-back", self._acting(self._take_back)),
            web.post("/desk/{session}/complete", self._acting(self._complete)),
            web.post("/desk/{session}/callback", self._acting(self._start_callback)),
            web.post("/desk/{session}/callback/cancel", self._acting(self._cancel_callback)),
        ]

    def _acting(self, act: _Action, *, problem: str | None = None) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """*problem*: which panel's form asks, and shows a refusal; None: it is said over the page."""

        async def handler(request: web.Request, who: Who) -> web.StreamResponse:
            try:
                return await act(request, who.agent.id)
            except DeskRefusedError as error:
                response = _html(render("message.html", request, words=str(error), panel=problem))
                response.headers["HX-Reswap"] = "none"
                return response

        return self._guard.acts(Right.WORK, handler)

    def _reading(self, read: _Action) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handler(request: web.Request, who: Who) -> web.StreamResponse:
            try:
                return await read(request, who.agent.id)
            except DeskRefusedError as error:
                return page("panel_refused.html", request, problem=str(error))

        return self._guard.reads(Right.WORK, handler)

    # --- hold

    async def _hold(self, request: web.Request, agent: AgentId) -> web.Response:
        await self._calls.hold(agent, _session_of(request))
        return _done()

    async def _resume(self, request: web.Request, agent: AgentId) -> web.Response:
        await self._calls.resume(agent, _session_of(request))
        return _done()

    # --- handing on

    async def _targets(self, request: web.Request, agent: AgentId) -> web.Response:
        session = _session_of(request)
        return page("call_transfer.html", request, session=session, targets=self._calls.targets(agent, session))

    async def _transfer(self, request: web.Request, agent: AgentId) -> web.Response:
        form = await read_form(request)
        kind, _colon, to = form.get("to", "").partition(":")
        number = form.get("number", "").strip()[:40]
        note = form.get("note", "").strip()
        if kind not in {"agent", "queue", "number"} or not (to or number):
            raise DeskRefusedError(_("Choose a colleague or a queue, or give a number."))
        if len(note) > LONGEST_NOTE:
            raise DeskRefusedError(
                _("The note has at most %(most)s characters; this one has %(n)s.", most=LONGEST_NOTE, n=len(note))
            )
        session, colleague = _session_of(request), AgentId(to) if kind == "agent" else None
        outside = number if kind == "number" else None
        if form.get("how") == "ask":
            if kind == "queue":
                raise DeskRefusedError(_("A queue cannot be asked: hand the call on, or choose a colleague."))
            await self._calls.ask(agent, session, to=colleague, number=outside, note=note)
        else:
            queue = to if kind == "queue" else None
            await self._calls.hand_on(agent, session, to=colleague, queue=queue, number=outside, note=note)
        return _done(trigger="panel-done")

    async def _swap(self, request: web.Request, agent: AgentId) -> web.Response:
        await self._calls.swap(agent, _session_of(request))
        return _done()

    async def _take_back(self, request: web.Request, agent: AgentId) -> web.Response:
        await self._calls.take_back(agent, _session_of(request))
        return _done()

    async def _complete(self, request: web.Request, agent: AgentId) -> web.Response:
        await self._calls.complete(agent, _session_of(request))
        return _done()

    # --- calls of ours

    async def _new(self, request: web.Request, agent: AgentId) -> web.Response:
        senders = self._calls.senders(agent)
        if not senders:
            raise DeskRefusedError(_("You have no telephone here, or work on no queue for calls."))
        return page("call_new.html", request, senders=senders, callee=Callee(None))

    async def _check(self, request: web.Request, agent: AgentId) -> web.Response:
        form = await read_form(request)
        callee = await self._calls.callee(agent, form.get("number", "")[:40], form.get("sender", ""))
        return _html(render("callee.html", request, callee=callee))

    async def _call(self, request: web.Request, agent: AgentId) -> web.Response:
        form = await read_form(request)
        session = await self._calls.call(agent, form.get("number", "")[:40], form.get("sender", ""))
        return _show(session, trigger="panel-done")

    # --- callbacks

    async def _start_callback(self, request: web.Request, agent: AgentId) -> web.Response:
        await self._calls.start_callback(agent, _session_of(request))
        return _show(_session_of(request))

    async def _cancel_callback(self, request: web.Request, agent: AgentId) -> web.Response:
        await self._calls.cancel_callback(agent, _session_of(request))
        return _done()


def _session_of(request: web.Request) -> SessionId:
    return SessionId(request.match_info["session"])


def _html(html: str) -> web.Response:
    return web.Response(text=html, content_type="text/html", headers={"Cache-Control": "no-store"})


def _done(trigger: str | None = None) -> web.Response:
    """Nothing to replace: what changed comes over the websocket."""
    return web.Response(status=204, headers={"HX-Trigger": trigger} if trigger else {})


def _show(session: SessionId, trigger: str | None = None) -> web.Response:
    """Open the session on the page."""
    where = {"path": f"/desk/{quote(session)}", "target": "#session", "swap": "outerHTML"}
    headers = {"HX-Location": json.dumps(where)} | ({"HX-Trigger": trigger} if trigger else {})
    return web.Response(status=200, headers=headers)
