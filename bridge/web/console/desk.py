"""The agent's desk: one page, fragments for what an agent does, and two websockets for what happens meanwhile.

The page's own socket (`/desk/ws`) carries presence, offers and the list of work; the socket of the open session
(`/desk/{session}/ws`) carries its timeline. Both send HTML that replaces elements by id. Each sends a fragment only when
it differs from the one sent before, so that a menu an agent has just opened is not pulled away.
"""

import asyncio
import contextlib
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import structlog
from aiohttp import WSCloseCode, web

from bridge.events import AgentId, Channel, MessageId, SessionId
from bridge.media_store import BlobsUnavailableError, Kept, Missing
from bridge.web.access import Right, rights_of
from bridge.web.console.account import sounds
from bridge.web.console.day import figures
from bridge.web.console.filling import VARIABLES, gaps
from bridge.web.console.guard import Guard, Who, places, shell_page
from bridge.web.console.inbox import by_person
from bridge.web.console.signin import SignInPages
from bridge.web.console.timeline import Shown, show
from bridge.web.console.views import page, render
from bridge.web.console.words import LANGUAGES, language_of, marked, speak
from bridge.web.console.words import gettext as _
from bridge.web.http import read_capped, read_form, same_origin
from bridge.web.media import send_media
from bridge.web.metrics import WebMetrics
from bridge.web.ports import (
    LONGEST_NAME,
    LONGEST_TEXT,
    MOST_FILES,
    Agent,
    Desk,
    DeskChanged,
    DeskRefusedError,
    DeskUpdate,
    LineAdded,
    Recipient,
    SessionChanged,
    SessionView,
    Ticks,
    TicksChanged,
)
from bridge.web.ports_admin import People
from bridge.web.ports_calls import Calls
from bridge.web.ports_desk import OwnText
from bridge.web.ports_reports import Reporting
from bridge.web.ports_supervisor import Supervising
from sms.segments import segment

log = structlog.get_logger(__name__)

LONGEST_NOTE = 4000
"""Characters of a note, as the page has it."""
LONGEST_HANDOVER_NOTE = 1000
"""Characters of what one agent tells the next."""
UPLOAD_TIME = 120.0
"""Seconds in which a file that an agent attaches has to arrive: 20 MB over a slow line."""
NEW = "new"
"""In the place of a session's id: the conversation that is about to begin."""
SHORTEST_SEARCH = 2
"""Characters. With fewer an agent is still typing."""
MOST_SOCKETS = 40
"""Websockets of one agent at one time: two for each of twenty windows."""
SIGNED_OUT = 4401
"""Close code: nobody is signed in; the page goes to the sign-in form instead of trying again."""
NOT_YOURS = 4404
"""Close code: this session is not for this agent (any more)."""

_KEPT_BY_THE_BROWSER = {"Cache-Control": "private, max-age=86400, immutable"}
_NOT_SHOWN: Mapping[Missing, str] = {
    "checking": marked("Being checked for harm; please try again in a minute."),
    "infected": marked("This file was harmful and is not kept."),
    "gone": marked("This file is not kept any more."),
}
ON_CALL = frozenset({"connected", "held", "consulting", "summoning", "dialing"})
"""States of a call that its agent may do something about."""
LISTS = ("presence", "messages", "offers", "callbacks", "work", "waiting")
"""Parts of the page that are sent again when they are not what they were."""
_Action = Callable[[web.Request, Agent], Awaitable[web.Response]]


class DeskPages:
    """Everything under `/` and `/desk/`."""

    def __init__(
        self,
        desk: Desk,
        sign_in: SignInPages,
        metrics: WebMetrics,
        *,
        public_url: str | None,
        now: Callable[[], float],
        supervising: Supervising | None = None,
        contact_cards: bool = False,
        calls: Calls | None = None,
        reporting: Reporting | None = None,
        people: People | None = None,
    ) -> None:
        self._desk = desk
        self._people = people
        self._reporting = reporting
        self._calls = calls
        self._contact_cards = contact_cards
        self._supervising = supervising
        self._sign_in = sign_in
        self._guard = Guard(sign_in)
        self._metrics = metrics
        self._public_url = public_url
        self._now = now
        self._sockets: weakref.WeakSet[web.WebSocketResponse] = weakref.WeakSet()
        self._open: Counter[AgentId] = Counter()
        """Websockets of each agent."""

    def routes(self) -> list[web.RouteDef]:
        """All routes of the desk."""
        return [
            web.get("/", self._home),
            web.get("/desk/ws", self._desk_socket),
            web.post("/desk/state", self._action(self._set_state)),
            web.post("/desk/accept", self._action(self._accept)),
            web.post("/desk/decline", self._action(self._decline)),
            web.post("/desk/media", self._action(self._keep_media)),
            web.get("/desk/search", self._reading(self._search)),
            web.get("/desk/texts", self._reading(self._texts)),
            web.post("/desk/texts", self._action(self._keep_text, problem="texts")),
            web.post("/desk/texts/drop", self._action(self._drop_text, problem="texts")),
            *([web.get("/desk/day", self._reading(self._day))] if self._reporting is not None else []),
            web.get("/desk/new", self._reading(self._new)),
            web.post("/desk/new", self._action(self._begin, problem="new")),
            web.post("/desk/new/check", self._action(self._check)),
            web.get("/desk/{session}", self._guard.reads(Right.WORK, self._page)),
            web.get("/desk/{session}/ws", self._session_socket),
            web.post("/desk/{session}/say", self._action(self._say)),
            web.post("/desk/{session}/segments", self._action(self._segments)),
            web.post("/desk/{session}/hang-up", self._action(self._hang_up)),
            web.post("/desk/{session}/end-chat", self._action(self._end_chat)),
            web.post("/desk/{session}/wrap-up", self._action(self._wrap_up)),
            web.get("/desk/{session}/transfer", self._reading(self._targets)),
            web.post("/desk/{session}/transfer", self._action(self._transfer, problem="transfer")),
            web.post("/desk/{session}/set-aside", self._action(self._set_aside)),
            web.post("/desk/{session}/judge", self._action(self._judge)),
            web.post("/desk/{session}/ask-for-photos", self._action(self._ask_for_photos)),
            web.post("/desk/{session}/contact", self._action(self._rename)),
            web.get("/desk/{session}/peek", self._reading(self._peek)),
            web.get("/desk/{session}/unfold", self._reading(self._unfold)),
            web.get("/desk/{session}/before", self._reading(self._before)),
            web.get("/desk/{session}/presets", self._reading(self._presets)),
            web.get("/desk/{session}/media/{digest}", self._media),
            web.get("/desk/{session}/media/{digest}/thumbnail", self._media),
        ]

    async def close_sockets(self, _app: web.Application) -> None:
        """Tell every page to come back in a moment (RFC 6455 registry: 1012, service restart)."""
        for socket in set(self._sockets):
            await socket.close(code=WSCloseCode.SERVICE_RESTART)

    # --- pages -------------------------------------------------------------------------------------------------------

    async def _home(self, request: web.Request) -> web.StreamResponse:
        """The desk, or for who takes no work the first place they may go to."""
        who = self._guard.who(request)
        if who is not None and Right.WORK not in who.rights:
            allowed = [place.path for place in places() if place.right in who.rights]
            return web.Response(status=303, headers={"Location": allowed[0] if allowed else "/account"})
        return await self._guard.reads(Right.WORK, self._page)(request)

    async def _page(self, request: web.Request, who: Who) -> web.Response:
        fragment = "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers
        agent = who.agent
        view, problem = None, ""
        session = request.match_info.get("session")
        if session is not None:
            try:
                view = await self._desk.session(agent.id, SessionId(session))
            except DeskRefusedError as error:
                problem = str(error)
        if fragment:
            return await self._session_fragment(request, agent, view, problem)
        return shell_page(
            "desk.html",
            request,
            who,
            here="desk",
            problem=problem,
            now=self._now(),
            sounds=await self._sounds(agent.id),
            **(await self._lists(agent.id) | await self._whole_session(agent.id, view)),
        )

    async def _sounds(self, agent: AgentId) -> list[str]:
        """What the agent wants to hear; all of it where nobody has chosen."""
        person = None if self._people is None else await self._people.person(agent)
        return [name for name in sounds() if person is None or person.account.sounds.get(name, True)]

    async def _session_fragment(self, request: web.Request, agent: Agent, view: SessionView | None, problem: str) -> web.Response:
        response = page("session.html", request, problem=problem, **await self._whole_session(agent.id, view))
        if view is not None:
            response.headers["HX-Push-Url"] = f"/desk/{view.id}"
        return response

    async def _lists(self, agent: AgentId) -> dict[str, Any]:
        return {
            "presence": self._desk.presence(agent),
            "reasons": self._desk.reasons(),
            "queue_title": self._desk.queue_title,
            "offers": self._desk.offers(agent),
            "people": by_person(await self._desk.work(agent)),
            "waiting": self._desk.waiting(agent),
            "rules": self._desk.rules(),
            "callbacks": () if self._calls is None else self._calls.callbacks(agent),
            "contact_cards": self._contact_cards,
            "figures": self._reporting is not None,
            "messages": () if self._supervising is None else self._supervising.at_desk(agent),
        }

    async def _whole_session(self, agent: AgentId, view: SessionView | None) -> dict[str, Any]:
        """What the page of a session reads, with what is only drawn once."""
        context = self._session_context(agent, view)
        if view is None:
            return context
        earlier = [other for other in view.earlier if other.opened_at < view.opened_at]
        return {
            **context,
            "presets": await self._desk.ready_texts(agent, view.id, view.language),
            "before": f"/desk/{view.id}/before" if earlier else "",
            "contact_card": self._contact_cards,
        }

    def _session_context(self, agent: AgentId, view: SessionView | None) -> dict[str, Any]:
        if view is None:
            return {"view": None}
        return {
            "view": view,
            "lines": self._shown(view),
            "last": view.timeline[-1].n if view.timeline else 0,
            "on_call": view.agent == agent and view.call_state in ON_CALL,
            "call": None if self._calls is None else self._calls.view(agent, view.id),
            "chats": view.chat_agent == agent and view.text_state == "chatting",
            "agent_id": agent,
            "dispositions": self._desk.dispositions(),
            "queue_title": self._desk.queue_title,
            "session": view.id,
            **_counted("", "segments"),
        }

    def _shown(self, view: SessionView) -> list[Shown]:
        return [shown for line in view.timeline if (shown := show(line, self._name_of, self._desk.queue_title)) is not None]

    def _name_of(self, agent: str) -> str | None:
        known = self._desk.agent(AgentId(agent))
        return None if known is None else known.name

    # --- what an agent does ------------------------------------------------------------------------------------------

    def _action(self, act: _Action, *, problem: str | None = None) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Only for who is signed in and sent the token of that session; a refusal by the desk becomes a message.

        Args:
            act: What is done.
            problem: Which panel's form asks, and shows the refusal; None: it is said over the page.
        """

        async def handler(request: web.Request, who: Who) -> web.StreamResponse:
            try:
                return await act(request, who.agent)
            except DeskRefusedError as error:
                return _message(request, str(error), panel=problem)

        return self._guard.acts(Right.WORK, handler)

    def _reading(self, read: _Action) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Only for who is signed in; what is shown in the panel."""

        async def handler(request: web.Request, who: Who) -> web.StreamResponse:
            try:
                return await read(request, who.agent)
            except DeskRefusedError as error:
                return page("panel_refused.html", request, problem=str(error))

        return self._guard.reads(Right.WORK, handler)

    async def _set_state(self, request: web.Request, agent: Agent) -> web.Response:
        form = await read_form(request)
        reason = form.get("reason", "") or None
        match form.get("state"):
            case "ready":
                await self._desk.set_state(agent.id, "ready")
            case "not_ready" if reason is None or reason in self._desk.reasons():
                await self._desk.set_state(agent.id, "not_ready", reason)
            case _:
                return web.Response(status=400)
        return _fragment(render("presence.html", request, oob=False, **await self._lists(agent.id)))

    async def _accept(self, request: web.Request, agent: Agent) -> web.Response:
        session, channel = await _offer_of(request)
        await self._desk.accept(agent.id, session, channel)
        return await self._session_fragment(request, agent, await self._desk.session(agent.id, session), "")

    async def _decline(self, request: web.Request, agent: Agent) -> web.Response:
        session, channel = await _offer_of(request)
        await self._desk.decline(agent.id, session, channel)
        return _done()

    async def _say(self, request: web.Request, agent: Agent) -> web.Response:
        form = await read_form(request)
        body = form.get("body", "").strip()
        files = tuple(filter(None, form.get("media", "").split(",")))
        if not body and not files:
            return _message(request, _("There is nothing to send yet."))
        if len(body) > LONGEST_TEXT:
            return _message(request, _too_long_text(body))
        if len(files) > MOST_FILES:
            return _message(request, _("A text carries at most %(most)s files; these are %(n)s.", most=MOST_FILES, n=len(files)))
        preset, once = form.get("preset", "") or None, form.get("once", "")[:64] or None
        await self._desk.say(agent.id, _session_of(request), body, preset, once, files)
        return _done(trigger="text-kept")

    async def _segments(self, request: web.Request, _agent: Agent) -> web.Response:
        form = await read_form(request)
        place = "new-segments" if _session_of(request) == NEW else "segments"
        return _fragment(render("segments.html", request, **_counted(form.get("body", "").strip(), place)))

    async def _keep_media(self, request: web.Request, agent: Agent) -> web.Response:
        """A file on its own, as the body: JSON for the script that sends it."""
        largest = self._desk.media.max_bytes
        data = await read_capped(request, largest, patience=UPLOAD_TIME)
        if data is None:
            return _refused_file(_("It is larger than %(n)s MB.", n=largest // 1_000_000))
        try:
            media = await self._desk.keep_media(agent.id, data)
        except DeskRefusedError as error:
            return _refused_file(str(error))
        return web.json_response({"digest": media.digest, "content_type": media.content_type, "size": media.size})

    async def _ask_for_photos(self, request: web.Request, agent: Agent) -> web.Response:
        await self._desk.ask_for_photos(agent.id, _session_of(request))
        return _done()

    async def _judge(self, request: web.Request, agent: Agent) -> web.Response:
        meant = (await read_form(request)).get("meant")
        if meant not in {"yes", "no"}:
            return web.Response(status=400)
        await self._desk.judge(agent.id, _session_of(request), meant=meant == "yes")
        return _done()

    async def _rename(self, request: web.Request, agent: Agent) -> web.Response:
        name = " ".join((await read_form(request)).get("name", "").split())
        if len(name) > LONGEST_NAME:
            return _message(request, _("A name has at most %(n)s characters.", n=LONGEST_NAME))
        await self._desk.rename(agent.id, _session_of(request), name)
        return _done()

    async def _set_aside(self, request: web.Request, agent: Agent) -> web.Response:
        await self._desk.set_aside(agent.id, _session_of(request))
        return _done()

    async def _targets(self, request: web.Request, agent: Agent) -> web.Response:
        session = _session_of(request)
        return page("transfer.html", request, session=session, targets=await self._desk.targets(agent.id, session))

    async def _transfer(self, request: web.Request, agent: Agent) -> web.Response:
        form = await read_form(request)
        kind, _colon, to = form.get("to", "").partition(":")
        if kind not in {"agent", "queue"} or not to:
            raise DeskRefusedError(_("Choose a colleague or a queue."))
        note = form.get("note", "").strip()
        if len(note) > LONGEST_HANDOVER_NOTE:
            raise DeskRefusedError(_too_long_note(note, LONGEST_HANDOVER_NOTE))
        await self._desk.transfer(
            agent.id,
            _session_of(request),
            to=AgentId(to) if kind == "agent" else None,
            queue=to if kind == "queue" else None,
            note=note,
        )
        return _done(trigger="panel-done")

    async def _peek(self, request: web.Request, agent: Agent) -> web.Response:
        view = await self._desk.session(agent.id, _session_of(request))
        lines = self._shown(view)
        return page("peek.html", request, view=view, lines=lines, session=view.id, queue_title=self._desk.queue_title)

    async def _unfold(self, request: web.Request, agent: Agent) -> web.Response:
        view = await self._desk.session(agent.id, _session_of(request))
        return page("unfolded.html", request, view=view, lines=self._shown(view), session=view.id)

    async def _before(self, request: web.Request, agent: Agent) -> web.Response:
        session, after = _session_of(request), request.query.get("after", "")
        folded, more = await self._desk.before(agent.id, session, SessionId(after) if after else None)
        before = f"/desk/{session}/before?after={folded[-1].session}" if more else ""
        return page("before.html", request, folded=folded, before=before, queue_title=self._desk.queue_title)

    async def _search(self, request: web.Request, agent: Agent) -> web.Response:
        words = " ".join(request.query.get("q", "").split())[:80]
        found = await self._desk.search(agent.id, words) if len(words) >= SHORTEST_SEARCH else None
        return page("found.html", request, found=found, queue_title=self._desk.queue_title)

    async def _presets(self, request: web.Request, agent: Agent) -> web.Response:
        view = await self._desk.session(agent.id, _session_of(request))
        return page("presets.html", request, view=view, presets=await self._desk.ready_texts(agent.id, view.id, view.language))

    async def _day(self, request: web.Request, agent: Agent) -> web.Response:
        assert self._reporting is not None
        return page("day.html", request, rows=figures(await self._reporting.mine(agent.id)))

    async def _texts(self, request: web.Request, agent: Agent) -> web.Response:
        return page("texts.html", request, **await self._own_texts(agent, request.query.get("language", "")))

    async def _own_texts(self, agent: Agent, language: str) -> dict[str, Any]:
        texts = await self._desk.own_texts(agent.id)
        return {"texts": texts, "languages": LANGUAGES, "chosen": language, "variables": VARIABLES}

    async def _keep_text(self, request: web.Request, agent: Agent) -> web.Response:
        form = await read_form(request)
        text = OwnText(form.get("id", "")[:64], form.get("language", ""), form.get("title", ""), form.get("text", ""))
        await self._desk.keep_own_text(agent.id, text)
        return await self._texts_anew(request, agent, text.language)

    async def _drop_text(self, request: web.Request, agent: Agent) -> web.Response:
        await self._desk.drop_own_text(agent.id, (await read_form(request)).get("id", ""))
        return await self._texts_anew(request, agent, "")

    async def _texts_anew(self, request: web.Request, agent: Agent, language: str) -> web.Response:
        response = page("texts.html", request, **await self._own_texts(agent, language))
        response.headers.update({"HX-Retarget": "#panel-body", "HX-Reswap": "innerHTML", "HX-Trigger": "presets-changed"})
        return response

    async def _new(self, request: web.Request, agent: Agent) -> web.Response:
        senders = self._desk.senders(agent.id)
        can_call = self._calls is not None and bool(self._calls.senders(agent.id))
        if not senders and can_call:
            raise web.HTTPSeeOther("/desk/call")
        if not senders:
            raise DeskRefusedError(_("None of your queues has a number to write from."))
        return page(
            "new.html",
            request,
            senders=senders,
            can_call=can_call,
            presets=await self._desk.ready_texts(agent.id, None, senders[0].language),
            recipient=Recipient(None),
            **_counted("", "new-segments"),
        )

    async def _check(self, request: web.Request, agent: Agent) -> web.Response:
        form = await read_form(request)
        recipient = await self._desk.recipient(agent.id, form.get("number", "")[:40], form.get("sender", ""))
        return _fragment(render("recipient.html", request, recipient=recipient))

    async def _begin(self, request: web.Request, agent: Agent) -> web.Response:
        form = await read_form(request)
        body = form.get("body", "").strip()
        if not body:
            raise DeskRefusedError(_("Write what you want to say first."))
        if len(body) > LONGEST_TEXT:
            raise DeskRefusedError(_too_long_text(body))
        if gaps(body):
            raise DeskRefusedError(_("Fill this in first: %(gaps)s", gaps=" ".join(gaps(body))))
        sender = form.get("sender", "")
        recipient = await self._desk.recipient(agent.id, form.get("number", "")[:40], sender)
        if recipient.number is None or recipient.problem:
            raise DeskRefusedError(recipient.problem or _("That is not a telephone number."))
        session = await self._desk.open(agent.id, recipient.number, sender, body, form.get("preset", "") or None)
        response = await self._session_fragment(request, agent, await self._desk.session(agent.id, session), "")
        response.headers.update({"HX-Retarget": "#session", "HX-Reswap": "outerHTML", "HX-Trigger": "panel-done"})
        return response

    async def _hang_up(self, request: web.Request, agent: Agent) -> web.Response:
        await self._desk.hang_up(agent.id, _session_of(request))
        return _done()

    async def _end_chat(self, request: web.Request, agent: Agent) -> web.Response:
        await self._desk.end_chat(agent.id, _session_of(request))
        return _done()

    async def _wrap_up(self, request: web.Request, agent: Agent) -> web.Response:
        form = await read_form(request)
        disposition = form.get("disposition", "") or None
        if disposition is not None and disposition not in self._desk.dispositions():
            return web.Response(status=400)
        note = form.get("note", "").strip()
        if len(note) > LONGEST_NOTE:
            return _message(request, _too_long_note(note, LONGEST_NOTE))
        await self._desk.wrap_up(agent.id, _session_of(request), note, disposition)
        return _done()

    # --- what happens meanwhile --------------------------------------------------------------------------------------

    async def _desk_socket(self, request: web.Request) -> web.WebSocketResponse:
        async with self._socket(request, "desk") as (socket, agent):
            if agent is None:
                return socket
            sent: dict[str, str] = {}
            async with self._desk.subscribe(agent.id) as updates:
                await self._send_lists(request, socket, agent, sent)
                async for update in _while_open(socket, updates):
                    if isinstance(update, DeskChanged):
                        await self._send_lists(request, socket, agent, sent)
        return socket

    async def _send_lists(self, request: web.Request, socket: web.WebSocketResponse, agent: Agent, sent: dict[str, str]) -> None:
        if self._sign_in.who(request) is None:  # signed out elsewhere, or too long ago
            await socket.close(code=SIGNED_OUT)
            return
        context = await self._lists(agent.id)
        html = {name: render(f"{name}.html", request, oob=True, **context) for name in LISTS}
        await _send_changed(socket, html, sent)

    async def _session_socket(self, request: web.Request) -> web.WebSocketResponse:
        async with self._socket(request, "session") as (socket, agent):
            if agent is None:
                return socket
            session = _session_of(request)
            feed = _SessionFeed(self, request, socket, agent, session)
            async with self._desk.subscribe(agent.id) as updates:
                try:
                    await feed.catch_up(shown_until=request.query.get("after", ""))
                    async for update in _while_open(socket, updates):
                        if self._sign_in.who(request) is None:  # signed out elsewhere, or too long ago
                            await socket.close(code=SIGNED_OUT)
                            break
                        await feed.pass_on(update)
                except DeskRefusedError:
                    await socket.close(code=NOT_YOURS)
        return socket

    @contextlib.asynccontextmanager
    async def _socket(self, request: web.Request, name: str) -> AsyncIterator[tuple[web.WebSocketResponse, Agent | None]]:
        """An open websocket and whose it is; a stranger's or foreign page's is already closed again."""
        if not same_origin(request, self._public_url):
            raise web.HTTPForbidden
        socket = web.WebSocketResponse(heartbeat=20.0, compress=False, max_msg_size=4096)
        await socket.prepare(request)
        speak(language_of(request))
        who = self._sign_in.who(request)
        if who is None or Right.WORK not in rights_of(who[0].roles):
            await socket.close(code=SIGNED_OUT)
            yield socket, None
            return
        agent = who[0]
        if self._open[agent.id] >= MOST_SOCKETS:
            log.warning("desk.too_many_windows", agent=agent.id)
            await socket.close(code=WSCloseCode.POLICY_VIOLATION)
            yield socket, None
            return
        self._sockets.add(socket)
        self._open[agent.id] += 1
        gauge = self._metrics.websockets.labels(name)
        gauge.inc()
        try:
            yield socket, agent
        except ConnectionError:
            pass  # the page has gone; it comes back with a socket of its own
        finally:
            gauge.dec()
            self._open[agent.id] -= 1
            self._sockets.discard(socket)
            # Still open when the page could not follow: it is to come back and read everything.
            await socket.close(code=WSCloseCode.TRY_AGAIN_LATER)

    # --- pictures ----------------------------------------------------------------------------------------------------

    async def _media(self, request: web.Request) -> web.StreamResponse:
        who = self._sign_in.who(request)
        if who is None:
            return web.Response(status=403)
        digest = request.match_info["digest"]
        if not await self._desk.may_see_media(who[0].id, _session_of(request), digest):
            return web.Response(status=404)
        store = self._desk.media
        try:
            kept = await store.find(digest, "thumbnail" if request.path.endswith("/thumbnail") else "whole")
            if isinstance(kept, Kept):
                return await send_media(request, store, kept, headers=_KEPT_BY_THE_BROWSER)
        except BlobsUnavailableError as error:
            log.warning("media.not_read", reason=str(error))
            return web.Response(status=503)
        return web.Response(status=404, text=_(_NOT_SHOWN[kept]))

    # --- for the feed ------------------------------------------------------------------------------------------------

    async def session_html(self, request: web.Request, agent: Agent, view: SessionView) -> dict[str, str]:
        """The parts of a session that are replaced as a whole, by the id of their element."""
        context = self._session_context(agent.id, view)
        return {
            name: render(f"{name.replace('-', '_')}.html", request, oob=True, **context)
            for name in (
                "session-head",
                "session-card",
                "session-contact",
                "session-agreements",
                "session-earlier",
                "banners",
                "composer-state",
                "wrap-up",
            )
        }

    async def view(self, agent: Agent, session: SessionId) -> SessionView:
        """The session as *agent* may see it."""
        return await self._desk.session(agent.id, session)

    def lines_html(self, request: web.Request, view: SessionView) -> str:
        """The whole timeline, to replace the one on the page."""
        return render("lines.html", request, lines=self._shown(view), view=view, session=view.id, oob="innerHTML:#lines")

    def line_html(self, request: web.Request, update: LineAdded) -> str:
        """One line, to be put at the end; empty for a line that agents are not shown."""
        shown = show(update.line, self._name_of, self._desk.queue_title)
        if shown is None:
            return ""
        return render("lines.html", request, lines=[shown], view=None, session=update.session, oob="beforeend:#lines")


class _SessionFeed:
    """What one session's page is sent."""

    def __init__(
        self, pages: DeskPages, request: web.Request, socket: web.WebSocketResponse, agent: Agent, session: SessionId
    ) -> None:
        self._pages = pages
        self._request = request
        self._socket = socket
        self._agent = agent
        self._session = session
        self._sent: dict[str, str] = {}
        self._last = 0
        self._messages: set[str] = set()

    async def catch_up(self, shown_until: str) -> None:
        """Bring the page up to date. A page that came back may have seen more than it says, so it gets all lines anew."""
        view = await self._pages.view(self._agent, self._session)
        await _send_changed(self._socket, await self._pages.session_html(self._request, self._agent, view), self._sent)
        last = view.timeline[-1].n if view.timeline else 0
        self._last = last
        self._messages = {str(line.data.get("message")) for line in view.timeline if line.kind == "text.sent"}
        if shown_until != str(last):
            await self._socket.send_str(self._pages.lines_html(self._request, view))
            return
        for message, ticks in view.ticks.items():
            await self._send_ticks(message, ticks)

    async def pass_on(self, update: DeskUpdate) -> None:
        """Send what *update* changes on the page, if it is about this session."""
        match update:
            case LineAdded(session=self._session, line=line):
                if line.n > self._last:
                    self._last = line.n
                    if line.kind == "text.sent":
                        self._messages.add(str(line.data.get("message")))
                    html = self._pages.line_html(self._request, update)
                    if html:
                        await self._socket.send_str(html)
            case TicksChanged(session=self._session, message=message, ticks=ticks):
                await self._send_ticks(message, ticks)
            case SessionChanged(session=self._session):
                # What came is read on arrival: the agent looks at it. Asking for the session is what marks it so.
                await self._refresh()

    async def _send_ticks(self, message: MessageId, ticks: Ticks) -> None:
        if message in self._messages:  # a mark without its line would have nowhere to go
            await self._socket.send_str(render("ticks.html", self._request, message=message, ticks=ticks, oob=True))

    async def _refresh(self) -> None:
        view = await self._pages.view(self._agent, self._session)
        await _send_changed(self._socket, await self._pages.session_html(self._request, self._agent, view), self._sent)


async def _send_changed(socket: web.WebSocketResponse, html: dict[str, str], sent: dict[str, str]) -> None:
    for name, text in html.items():
        if sent.get(name) != text:
            sent[name] = text
            await socket.send_str(text)


async def _while_open(socket: web.WebSocketResponse, updates: AsyncIterator[DeskUpdate]) -> AsyncIterator[DeskUpdate]:
    """The updates until the page closes the socket. What a page might send is read and not looked at."""

    async def until_closed() -> None:
        async for _message_of_the_page in socket:
            pass

    closed = asyncio.create_task(until_closed(), name="desk socket reader")
    try:
        while True:
            update = asyncio.ensure_future(anext(updates))
            await asyncio.wait({closed, update}, return_when=asyncio.FIRST_COMPLETED)
            if not update.done():
                update.cancel()
                await asyncio.wait({update})
                return
            try:
                yield update.result()
            except StopAsyncIteration:
                return
    finally:
        closed.cancel()
        await asyncio.wait({closed})


def _counted(body: str, place: str) -> dict[str, Any]:
    """What the line below a text says: how many SMS, why so many, and what is still to be filled in."""
    count = segment(body[: 2 * LONGEST_TEXT])
    plain = "".join("e" if char in count.forced_by else char for char in body[: 2 * LONGEST_TEXT])
    return {
        "place": place,
        "count": count,
        "saved": count.segments - segment(plain).segments if count.forced_by else 0,
        "missing": gaps(body),
        "too_long": len(body) > LONGEST_TEXT,
    }


def _too_long_text(body: str) -> str:
    return _("A text has at most %(most)s characters; this one has %(n)s.", most=LONGEST_TEXT, n=len(body))


def _too_long_note(note: str, most: int) -> str:
    return _("A note has at most %(most)s characters; this one has %(n)s.", most=most, n=len(note))


def _session_of(request: web.Request) -> SessionId:
    return SessionId(request.match_info["session"])


async def _offer_of(request: web.Request) -> tuple[SessionId, Channel]:
    """The session and channel of the button that was pressed."""
    session, _slash, channel = (await read_form(request)).get("offer", "").rpartition("/")
    return SessionId(session), "sms" if channel == "sms" else "voice"


def _fragment(html: str) -> web.Response:
    return web.Response(text=html, content_type="text/html", headers={"Cache-Control": "no-store"})


def _done(trigger: str | None = None) -> web.Response:
    """Nothing to replace: what changed comes over the websocket."""
    return web.Response(status=204, headers={"HX-Trigger": trigger} if trigger else {})


def _refused_file(words: str) -> web.Response:
    return web.json_response({"problem": words})


def _message(request: web.Request, words: str, panel: str | None = None) -> web.Response:
    """Words for the agent, without touching anything else on the page."""
    response = _fragment(render("message.html", request, words=words, panel=panel))
    response.headers["HX-Reswap"] = "none"
    return response
