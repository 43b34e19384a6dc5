"""The supervisor's pages: live boards, actions, messages, alerts, the trail of a session, and the display for the wall.

A page opens one websocket (`/supervisor/ws`) and tells it what it looks at: the board, a filter, an order. It is sent that
view once, and then rows that are not what they were, new orders, and the strip of figures on top: JSON with HTML in it. A row is
rendered once for everybody who sees it in the same language.
"""

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog
from aiohttp import WSCloseCode, WSMsgType, web
from markupsafe import Markup

from bridge.board import AgentRow, QueueRow, SessionRow
from bridge.events import AgentId, Channel, SessionId
from bridge.web.access import Right, rights_of
from bridge.web.console.guard import Guard, Handler, Who, shell_page
from bridge.web.console.signin import SignInPages
from bridge.web.console.supervisor_view import (
    MOST_ROWS,
    Row,
    View,
    chosen,
    curve,
    discreet,
    key_of,
    view_of,
    without_customer,
)
from bridge.web.console.supervisor_words import (
    alert_words,
    definitions,
    figure_words,
    reason_words,
    standing_words,
    start_words,
    state_words,
    trouble_words,
    wait_words,
)
from bridge.web.console.timeline import show
from bridge.web.console.views import page, render
from bridge.web.console.words import gettext as _
from bridge.web.console.words import language, language_of, speak
from bridge.web.http import read_form, same_origin
from bridge.web.metrics import WebMetrics
from bridge.web.ports import DeskRefusedError, Line
from bridge.web.ports_supervisor import Posted, Snapshot, Supervising

log = structlog.get_logger(__name__)

SIGNED_OUT = 4401
"""Close code: nobody who may see this is signed in; the page goes to the sign-in form."""
MOST_SOCKETS = 12
"""Websockets of one person at one time."""
AT_ONCE = 10
"""Rows that are rendered before others have their turn."""
MOST_RENDERED = 6000
"""Rendered rows that are kept for the next reader."""
LONGEST_REASON = 300
LIVES = {"hour": 3600.0, "shift": 8 * 3600.0, "day": 24 * 3600.0, "week": 7 * 24 * 3600.0}
"""How long a message may stay up: seconds by choice."""
_STATES = ("ready", "not_ready")
_Act = Callable[[web.Request, Who], Awaitable[web.Response]]


class SupervisorPages:
    """Everything under `/supervisor`, and what agents have to read of supervisors.

    Args:
        service: What is seen and done.
        sign_in: Knows who is signed in.
        metrics: Counts the websockets.
        public_url: How the outside reaches this server; None: only as it was addressed.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        service: Supervising,
        sign_in: SignInPages,
        metrics: WebMetrics,
        *,
        public_url: str | None,
        now: Callable[[], float],
    ) -> None:
        self._service = service
        self._sign_in = sign_in
        self._guard = Guard(sign_in)
        self._metrics = metrics
        self._public_url = public_url
        self._now = now
        self._sockets: weakref.WeakSet[web.WebSocketResponse] = weakref.WeakSet()
        self._open: dict[AgentId, int] = {}
        self._rendered: dict[tuple[str, Any], str] = {}

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        reads, acts = self._guard.reads, self._acts
        return [
            web.get("/supervisor", reads(Right.BOARD, self._page)),
            web.get("/supervisor/ws", self._socket),
            web.get("/supervisor/wall", reads(Right.BOARD, self._wall)),
            web.get("/supervisor/previous", reads(Right.BOARD, self._previous)),
            web.get("/supervisor/definitions", reads(Right.BOARD, self._definitions)),
            web.get("/supervisor/alerts", reads(Right.BOARD, self._alert_history)),
            web.post("/supervisor/alerts/acknowledge", acts(self._acknowledge)),
            web.get("/supervisor/message", self._asks(self._message_panel)),
            web.post("/supervisor/message", acts(self._post_message)),
            web.post("/supervisor/message/take-down", acts(self._take_down)),
            web.get("/supervisor/agents/{agent}", self._asks(self._agent_panel)),
            web.post("/supervisor/agents/{agent}/state", acts(self._set_state)),
            web.post("/supervisor/agents/{agent}/sign-out", acts(self._sign_out)),
            web.get("/supervisor/sessions/{session}", reads(Right.EXPLAIN, self._trail)),
            web.get("/supervisor/sessions/{session}/explain", reads(Right.EXPLAIN, self._explain)),
            web.get("/supervisor/sessions/{session}/actions", self._asks(self._session_panel)),
            web.post("/supervisor/sessions/{session}/move", acts(self._move)),
            web.post("/supervisor/sessions/{session}/take-over", acts(self._take_over)),
            web.post("/supervisor/sessions/{session}/end", acts(self._end)),
            web.post("/desk/messages/{bulletin}/read", self._guard.acts(Right.WORK, self._read_message)),
        ]

    async def close_sockets(self, _app: web.Application) -> None:
        """Tell every page to come back in a moment (RFC 6455 registry: 1012, service restart)."""
        for socket in set(self._sockets):
            await socket.close(code=WSCloseCode.SERVICE_RESTART)

    # --- pages -------------------------------------------------------------------------------------------------------

    async def _page(self, request: web.Request, who: Who) -> web.Response:
        view, snapshot = view_of(request.query), self._service.snapshot()
        return shell_page(
            "supervisor.html",
            request,
            who,
            here="supervisor",
            view=view,
            previous=request.query.get("phase") == "previous",
            now=self._now(),
            manages=Right.MANAGE in who.rights,
            explains=Right.EXPLAIN in who.rights,
            teams=self._service.teams(),
            queues=[(row.queue, row.title) for row in snapshot.queues],
            columns=figure_words(),
            top=Markup(self._top(request, snapshot, manages=Right.MANAGE in who.rights)),  # noqa: S704  # a template made it
        )

    async def _wall(self, request: web.Request, _who: Who) -> web.Response:
        """For everybody who goes by: large, and nothing that says who a customer is."""
        snapshot = self._service.snapshot()
        return page("supervisor_wall.html", request, now=self._now(), wall=Markup(self._wall_html(request, snapshot)))  # noqa: S704  # a template made it

    async def _previous(self, request: web.Request, who: Who) -> web.Response:
        found = await self._service.previous(
            words=request.query.get("words", "")[:80],
            queue=request.query.get("queue") or None,
            after=SessionId(request.query["after"]) if request.query.get("after") else None,
            numbers=Right.CONTACTS in who.rights,
        )
        rows = [Markup(self._row_html(request, row, who.rights)) for row in found.rows]  # noqa: S704  # templates made them
        return page("supervisor_previous.html", request, rows=rows, more=found.more, query=request.query)

    async def _definitions(self, request: web.Request, _who: Who) -> web.Response:
        return page("supervisor_definitions.html", request, definitions=definitions())

    async def _alert_history(self, request: web.Request, _who: Who) -> web.Response:
        raised, over = self._service.alerts()
        alerts = [(alert, alert_words(alert, self._subject)) for alert in (*raised, *over)[:100]]
        return page("supervisor_alerts.html", request, alerts=alerts)

    async def _trail(self, request: web.Request, who: Who) -> web.Response:
        trail = await self._service.trail(SessionId(request.match_info["session"]))
        if trail is None:
            raise web.HTTPNotFound
        open_ = Right.CONTACTS in who.rights
        row = trail.row if open_ else discreet(trail.row)
        lines = [line if open_ else Line(line.n, line.at, line.kind, without_customer(line.data)) for line in trail.lines]
        shown = [show(line, self._service.name_of, self._service.queue_title) for line in lines]
        return shell_page(
            "supervisor_session.html",
            request,
            who,
            here="supervisor",
            now=self._now(),
            row=row,
            trail=trail,
            lines=[line for line in shown if line is not None],
            traces=[line for line in lines if line.kind == "flow.trace"],
            matched=[line for line in lines if line.kind == "text.received"],
            told=[line for line in lines if line.kind in {"ewt.told", "position.told", "promise.made"}],
            routed=[
                show(line, self._service.name_of, self._service.queue_title)
                for line in lines
                if line.kind.partition(".")[0] in {"queue", "agent", "transfer", "supervisor"} or line.kind == "offer.lapsed"
            ],
            decisions=trail.decisions if open_ else [_discreetly(each) for each in trail.decisions],
            agreements=trail.agreements,
            queue_title=self._service.queue_title,
            name_of=self._service.name_of,
            reason_words=reason_words,
            standing_words=standing_words,
            start_words=start_words,
            flat=_flat,
            manages=Right.MANAGE in who.rights,
        )

    async def _explain(self, request: web.Request, who: Who) -> web.Response:
        trail = await self._service.trail(SessionId(request.match_info["session"]))
        if trail is None:
            raise web.HTTPNotFound
        found = trail.explained if Right.CONTACTS in who.rights else without_customer(trail.explained)
        return web.Response(
            body=msgspec.json.encode(found), content_type="application/json", headers={"Cache-Control": "no-store"}
        )

    # --- panels ------------------------------------------------------------------------------------------------------

    def _asks(self, handler: _Act) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A panel with a form; what cannot be done now is said in it."""

        async def guarded(request: web.Request, who: Who) -> web.StreamResponse:
            try:
                return await handler(request, who)
            except DeskRefusedError as error:
                return page("panel_refused.html", request, problem=str(error))

        return self._guard.reads(Right.MANAGE, guarded)

    async def _message_panel(self, request: web.Request, _who: Who) -> web.Response:
        agents = sorted((row.agent, row.name) for row in self._service.snapshot().agents)
        return page(
            "supervisor_message.html",
            request,
            agents=agents,
            teams=self._service.teams(),
            posted=self._service.posted(),
            name_of=self._service.name_of,
            to=request.query.get("to", ""),
        )

    async def _agent_panel(self, request: web.Request, who: Who) -> web.Response:
        row = self._agent_row(request)
        shown = row if Right.CONTACTS in who.rights else discreet(row)
        return page(
            "supervisor_agent.html",
            request,
            row=shown,
            reasons=self._service.reasons(),
            state=state_words(row),
            queue_title=self._service.queue_title,
            explains=Right.EXPLAIN in who.rights,
        )

    def _agent_row(self, request: web.Request) -> AgentRow:
        name = request.match_info["agent"]
        row = next((row for row in self._service.snapshot().agents if row.agent == name), None)
        if row is None:
            raise DeskRefusedError(_("There is no such agent."))
        return row

    async def _session_panel(self, request: web.Request, who: Who) -> web.Response:
        session = SessionId(request.match_info["session"])
        snapshot = self._service.snapshot()
        row = next((row for row in snapshot.sessions if row.session == session), None)
        channels = self._service.channels(session)
        if row is None or not channels:
            raise DeskRefusedError(_("Nothing can be done to this conversation now."))
        channel = request.query.get("channel", "")
        chosen_channel = channel if channel in channels else next(iter(channels))
        agents = [each for each in snapshot.agents if each.state != "offline" and each.agent not in row.agents]
        return page(
            "supervisor_actions.html",
            request,
            row=row if Right.CONTACTS in who.rights else discreet(row),
            channels=channels,
            channel=chosen_channel,
            agents=sorted(agents, key=lambda each: (each.state != "ready", each.works, each.name)),
            queues=[each for each in snapshot.queues if each.channel == chosen_channel],
            state_words=state_words,
            takes="agent" in who.agent.roles,
            name_of=self._service.name_of,
            queue_title=self._service.queue_title,
        )

    # --- what a supervisor does --------------------------------------------------------------------------------------

    def _acts(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Only for who may act on others' work; a refusal becomes words in the panel."""

        async def guarded(request: web.Request, who: Who) -> web.StreamResponse:
            try:
                return await handler(request, who)
            except DeskRefusedError as error:
                response = page("message.html", request, words=str(error), panel="panel")
                response.headers["HX-Reswap"] = "none"
                return response

        return self._guard.acts(Right.MANAGE, guarded)

    async def _move(self, request: web.Request, who: Who) -> web.Response:
        form = await read_form(request)
        kind, _colon, to = form.get("to", "").partition(":")
        if kind not in {"agent", "queue"} or not to:
            raise DeskRefusedError(_("Choose an agent or a queue."))
        await self._service.move(
            who.agent.id,
            _session_of(request),
            _channel_of(form),
            to=AgentId(to) if kind == "agent" else None,
            queue=to if kind == "queue" else None,
            note=form.get("note", "").strip()[:LONGEST_REASON],
        )
        return _done()

    async def _take_over(self, request: web.Request, who: Who) -> web.Response:
        await self._service.take_over(who.agent.id, _session_of(request), _channel_of(await read_form(request)))
        return _done()

    async def _end(self, request: web.Request, who: Who) -> web.Response:
        form = await read_form(request)
        if form.get("sure") != "yes":
            raise DeskRefusedError(_("Say that you are sure."))
        reason = form.get("reason", "").strip()[:LONGEST_REASON]
        await self._service.end(who.agent.id, _session_of(request), _channel_of(form), reason)
        return _done()

    async def _set_state(self, request: web.Request, who: Who) -> web.Response:
        form = await read_form(request)
        state, reason = form.get("state", ""), form.get("reason", "").strip()[:LONGEST_REASON]
        if state not in _STATES:
            return web.Response(status=400)
        if state == "not_ready" and not reason:
            raise DeskRefusedError(_("Say why."))
        agent = AgentId(request.match_info["agent"])
        await self._service.set_state(who.agent.id, agent, "ready" if state == "ready" else "not_ready", reason)
        return _done()

    async def _sign_out(self, request: web.Request, who: Who) -> web.Response:
        reason = (await read_form(request)).get("reason", "").strip()[:LONGEST_REASON]
        if not reason:
            raise DeskRefusedError(_("Say why."))
        await self._service.sign_out(who.agent.id, AgentId(request.match_info["agent"]), reason)
        return _done()

    async def _post_message(self, request: web.Request, who: Who) -> web.Response:
        form = await read_form(request)
        scope, _colon, to = form.get("to", "").partition(":")
        lives = LIVES.get(form.get("lives", ""))
        if lives is None or scope not in {"agent", "team", "everybody"}:
            return web.Response(status=400)
        message = Posted(scope, to, form.get("words", ""), lives, pinned=form.get("pinned") == "yes")  # type: ignore[arg-type]
        await self._service.post(who.agent.id, message)
        return _done()

    async def _take_down(self, request: web.Request, who: Who) -> web.Response:
        await self._service.take_down(who.agent.id, (await read_form(request)).get("bulletin", ""))
        return _done()

    async def _acknowledge(self, request: web.Request, who: Who) -> web.Response:
        await self._service.acknowledge(who.agent.id, (await read_form(request)).get("alert", ""))
        return _done()

    async def _read_message(self, request: web.Request, who: Who) -> web.Response:
        """An agent has read a message at the desk."""
        await self._service.read(who.agent.id, request.match_info["bulletin"])
        return web.Response(status=204)

    # --- what happens meanwhile --------------------------------------------------------------------------------------

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        if not same_origin(request, self._public_url):
            raise web.HTTPForbidden
        socket = web.WebSocketResponse(heartbeat=20.0, max_msg_size=4096)
        await socket.prepare(request)
        speak(language_of(request))
        who = self._sign_in.who(request)
        if who is None or Right.BOARD not in rights_of(who[0].roles):
            await socket.close(code=SIGNED_OUT)
            return socket
        agent = who[0].id
        if self._open.get(agent, 0) >= MOST_SOCKETS:
            await socket.close(code=WSCloseCode.POLICY_VIOLATION)
            return socket
        self._sockets.add(socket)
        self._open[agent] = self._open.get(agent, 0) + 1
        gauge = self._metrics.websockets.labels("supervisor")
        gauge.inc()
        try:
            await _Feed(self, request, socket, rights_of(who[0].roles)).run()
        except ConnectionError:
            pass  # the page has gone; it comes back with a socket of its own
        finally:
            gauge.dec()
            self._open[agent] -= 1
            self._sockets.discard(socket)
            await socket.close(code=WSCloseCode.TRY_AGAIN_LATER)
        return socket

    def may_look(self, request: web.Request) -> bool:
        """Whether who asked is still signed in, and still may."""
        who = self._sign_in.who(request)
        return who is not None and Right.BOARD in rights_of(who[0].roles)

    def watch(self) -> contextlib.AbstractAsyncContextManager[AsyncIterator[Snapshot]]:
        """The boards."""
        return self._service.watch()

    # --- fragments ---------------------------------------------------------------------------------------------------

    async def picture(self, request: web.Request, view: View, snapshot: Snapshot, rights: frozenset[Right]) -> "Picture":
        """What a page that looks at *view* has to show. Many new rows are not made in one go: others work here too."""
        top = self._top(request, snapshot, manages=Right.MANAGE in rights)
        if view.board == "wall":
            return Picture({}, None, 0, self._wall_html(request, snapshot))
        if view.board == "top":
            return Picture({}, None, 0, top)
        boards: Mapping[str, tuple[Row, ...]] = {
            "agents": snapshot.agents,
            "queues": snapshot.queues,
            "sessions": snapshot.sessions,
        }
        found = chosen(view, boards[view.board], self._service.name_of, numbers=Right.CONTACTS in rights)
        rows: dict[str, str] = {}
        for row in found[:MOST_ROWS]:
            before = len(self._rendered)
            rows[key_of(row)] = self._row_html(request, row, rights)
            if len(self._rendered) != before and len(self._rendered) % AT_ONCE == 0:
                await asyncio.sleep(0)
        return Picture(rows, list(rows), len(found), top)

    def _row_html(self, request: web.Request, row: Row, rights: frozenset[Right]) -> str:
        """A row as HTML, rendered once for all who see it alike."""
        shown = row if Right.CONTACTS in rights else discreet(row)
        manages, explains = Right.MANAGE in rights, Right.EXPLAIN in rights
        key = (f"{language()}{manages}{explains}", shown)
        html = self._rendered.get(key)
        if html is None:
            html = self._render_row(request, shown, manages=manages, explains=explains)
            if len(self._rendered) >= MOST_RENDERED:
                self._rendered.clear()
            self._rendered[key] = html
        return html

    def _render_row(self, request: web.Request, row: Row, *, manages: bool, explains: bool) -> str:
        context: dict[str, Any] = {"row": row, "manages": manages, "explains": explains}
        match row:
            case AgentRow():
                return render("supervisor_row_agent.html", request, state=state_words(row), **context)
            case QueueRow():
                return render("supervisor_row_queue.html", request, wait=wait_words(row), points=curve(row.trend), **context)
            case SessionRow():
                names = ", ".join(self._service.name_of(agent) or agent for agent in row.agents)
                queue = self._service.queue_title(row.queue) if row.queue else ""
                troubles = [trouble_words(each) for each in row.troubles]
                return render(
                    "supervisor_row_session.html",
                    request,
                    names=names,
                    queue=queue,
                    troubles=troubles,
                    start=start_words(row.start),
                    **context,
                )

    def _top(self, request: web.Request, snapshot: Snapshot, *, manages: bool) -> str:
        """The strip of figures and what is alarming."""
        raised, _over = self._service.alerts()
        alerts = [(alert, alert_words(alert, self._subject)) for alert in raised]
        return self._once(
            "supervisor_top.html", request, ("top", manages, _sums(snapshot), tuple(alerts)), alerts=alerts, manages=manages,
            sums=_sums(snapshot),
        )  # fmt: skip

    def _wall_html(self, request: web.Request, snapshot: Snapshot) -> str:
        raised, _over = self._service.alerts()
        alerts = [alert_words(alert, self._subject) for alert in raised]
        queues = [(row, wait_words(row)) for row in snapshot.queues]
        key = ("wall", _sums(snapshot), snapshot.queues, tuple(alerts))
        return self._once("supervisor_wall_inside.html", request, key, queues=queues, alerts=alerts, sums=_sums(snapshot))

    def _once(self, name: str, request: web.Request, key: Any, **context: Any) -> str:
        """A fragment, rendered once for the same content and language."""
        full = (language(), key)
        html = self._rendered.get(full)
        if html is None:
            html = self._rendered[full] = render(name, request, **context)
        return html

    def _subject(self, kind: str, subject: str) -> str:
        if kind == "queue":
            return self._service.queue_title(subject)
        return (self._service.name_of(subject) or subject) if kind == "agent" else ""


class Picture(msgspec.Struct):
    """What a page shows: rows by key, their order, how many there would be, and the strip on top."""

    rows: dict[str, str]
    order: list[str] | None
    """None: there are no rows to be put in order."""
    total: int
    top: str


class _Sums(msgspec.Struct, frozen=True):
    """The strip's figures."""

    calls_waiting: int
    chats_waiting: int
    oldest: float | None
    service_level: float | None
    ready: int
    busy: int
    away: int
    talking: int
    chatting: int


def _sums(snapshot: Snapshot) -> _Sums:
    oldest = [row.oldest for row in snapshot.queues if row.oldest is not None]
    counted = [row for row in snapshot.queues if row.service_level is not None]
    weight = sum(row.answered + row.abandoned + row.short for row in counted)
    level = sum((row.service_level or 0.0) * (row.answered + row.abandoned + row.short) for row in counted)
    return _Sums(
        calls_waiting=sum(row.waiting for row in snapshot.queues if row.channel == "voice"),
        chats_waiting=sum(row.waiting for row in snapshot.queues if row.channel == "sms"),
        oldest=min(oldest, default=None),
        service_level=level / weight if weight else None,
        ready=sum(row.state == "ready" and not row.works for row in snapshot.agents),
        busy=sum(row.works or row.state == "wrap_up" for row in snapshot.agents),
        away=sum(row.state == "not_ready" and not row.works for row in snapshot.agents),
        talking=sum(row.calls for row in snapshot.agents),
        chatting=sum(row.chats for row in snapshot.agents),
    )


class _Feed:
    """What one page is sent."""

    def __init__(
        self, pages: SupervisorPages, request: web.Request, socket: web.WebSocketResponse, rights: frozenset[Right]
    ) -> None:
        self._pages = pages
        self._request = request
        self._socket = socket
        self._rights = rights
        self._view = view_of(request.query)
        self._shown = Picture({}, None, -1, "")
        self._wishes: asyncio.Queue[View | None] = asyncio.Queue()

    async def run(self) -> None:
        """Send until the page goes, or nobody is signed in any more."""
        reading = asyncio.create_task(self._read(), name="supervisor socket reader")
        try:
            async with self._pages.watch() as pictures:
                await self._pass_on(pictures)
        finally:
            reading.cancel()
            await asyncio.wait({reading})

    async def _read(self) -> None:
        """What the page wants to look at."""
        async for message in self._socket:
            if message.type is WSMsgType.TEXT:
                try:
                    self._wishes.put_nowait(view_of(msgspec.json.decode(message.data, type=dict[str, Any])))
                except msgspec.DecodeError:
                    break
        self._wishes.put_nowait(None)

    async def _pass_on(self, pictures: AsyncIterator[Snapshot]) -> None:
        news = asyncio.ensure_future(anext(pictures))
        wish = asyncio.ensure_future(self._wishes.get())
        snapshot: Snapshot | None = None
        try:
            while True:
                done, _pending = await asyncio.wait({news, wish}, return_when=asyncio.FIRST_COMPLETED)
                if wish in done:
                    view = wish.result()
                    if view is None:
                        return
                    self._view, self._shown = view, Picture({}, None, -1, "")
                    wish = asyncio.ensure_future(self._wishes.get())
                if news in done:
                    snapshot = news.result()
                    news = asyncio.ensure_future(anext(pictures))
                if not self._pages.may_look(self._request):
                    await self._socket.close(code=SIGNED_OUT)
                    return
                if snapshot is not None:
                    await self._send(snapshot)
        finally:
            for waiting in (news, wish):
                waiting.cancel()
            await asyncio.wait({news, wish})

    async def _send(self, snapshot: Snapshot) -> None:
        """What is not as the page has it."""
        was, now = self._shown, await self._pages.picture(self._request, self._view, snapshot, self._rights)
        news: dict[str, Any] = {}
        if was.total < 0:
            news["fresh"] = True
        changed = {key: html for key, html in now.rows.items() if was.rows.get(key) != html}
        if changed:
            news["rows"] = changed
        if now.order != was.order:
            news["order"] = now.order
        if now.total != was.total:
            news["total"] = now.total
        if now.top != was.top:
            news["top"] = now.top
        self._shown = now
        if news:
            await self._socket.send_str(msgspec.json.encode(news).decode())


def _session_of(request: web.Request) -> SessionId:
    return SessionId(request.match_info["session"])


def _channel_of(form: Mapping[str, str]) -> Channel:
    return "voice" if form.get("channel") == "voice" else "sms"


def _done() -> web.Response:
    """Nothing to replace: what changed comes over the websocket; the panel closes."""
    return web.Response(status=204, headers={"HX-Trigger": "panel-done"})


def _discreetly(decided: Any) -> Any:
    return msgspec.structs.replace(decided, inputs=without_customer(decided.inputs))


def _flat(inputs: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Everything a decision was made of, one figure a row."""
    rows: list[tuple[str, str]] = []
    for name, value in inputs.items():
        full = f"{before}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += _flat(value, f"{full} · ")
        elif isinstance(value, float):
            rows.append((full, f"{value:,.2f}".rstrip("0").rstrip(".")))
        elif value is not None:
            rows.append((full, str(value)))
    return rows
