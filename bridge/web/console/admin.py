"""The administration: people, queues and all that the house decides for itself, as forms and as YAML; tokens; the audit book."""

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple, get_args
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import web
from pydantic import BaseModel, create_model

from bridge.published import NAMED_BY, PARTS, SECRET, put_entry, put_section, take_entry
from bridge.settings import (
    AgentSettings,
    DocumentError,
    HoursSettings,
    NumberSettings,
    PresetSettings,
    QueueSettings,
    Scope,
    Settings,
    SmsSettings,
    read_document,
)
from bridge.web.access import Right
from bridge.web.console.forms import NOTHING, Choices, form_of, read
from bridge.web.console.guard import Guard, Handler, Place, Who, refused, shell_page
from bridge.web.console.words import gettext as _
from bridge.web.http import read_form
from bridge.web.ports_admin import Administration, AdminRefusedError, By, Checked, InvalidError

LARGEST = 3_000_000
"""Bytes of a form: a document of a million characters, escaped."""
PAGE = 100
"""Entries of the audit book on a page, and numbers of the blocklist."""
AT_ONCE = 500
"""Entries of the audit book that are read in one go for a file."""


class Section(NamedTuple):
    """A list of entries that has forms."""

    name: str
    model: type[BaseModel]
    right: Right
    key: str
    """What tells one entry from another."""
    columns: tuple[str, ...]
    """What the list shows of each."""


SECTIONS: Mapping[str, Section] = MappingProxyType(
    {
        "people": Section("agents", AgentSettings, Right.PEOPLE, "id", ("name", "roles", "teams", "queues")),
        "queues": Section("queues", QueueSettings, Right.SETTINGS, "id", ("title", "channel", "teams", "strategy")),
        "numbers": Section("numbers", NumberSettings, Right.SETTINGS, "number", ("flow", "menu", "desk", "agent")),
        "hours": Section("hours", HoursSettings, Right.SETTINGS, "name", ("zone", "week")),
        "presets": Section("presets", PresetSettings, Right.SETTINGS, "id", ("title", "text")),
    }
)
"""By the last part of the address."""


_OF_THE_HOUSE = ("brand", "country", "not_ready_reasons", "dispositions", "desk", "target", "routing", "alerts", "reports", "sms")
HouseSettings: type[BaseModel] = create_model(
    "HouseSettings", **{name: (Settings.model_fields[name].annotation, Settings.model_fields[name]) for name in _OF_THE_HOUSE}
)  # type: ignore[call-overload]  # the names are those of fields
"""What is one for the whole house."""
_NOT_HERE = tuple(f"sms.{key}" for key in SmsSettings.model_fields if key not in PARTS["sms"])


def tabs(rights: frozenset[Right]) -> tuple[Place, ...]:
    """The pages that somebody with these rights may see, in order."""
    return tuple(
        tab
        for tab in (
            Place("people", "/admin/people", _("People"), Right.PEOPLE),
            Place("queues", "/admin/queues", _("Queues"), Right.SETTINGS),
            Place("numbers", "/admin/numbers", _("Numbers"), Right.SETTINGS),
            Place("hours", "/admin/hours", _("Hours"), Right.SETTINGS),
            Place("presets", "/admin/presets", _("Presets"), Right.SETTINGS),
            Place("house", "/admin/house", _("The house"), Right.SETTINGS),
            Place("blocklist", "/admin/blocklist", _("Blocklist"), Right.SETTINGS),
            Place("tokens", "/admin/tokens", _("API tokens"), Right.PEOPLE),
            Place("settings", "/admin/settings", _("Draft and YAML"), Right.SETTINGS),
            Place("revisions", "/admin/revisions", _("Revisions"), Right.SETTINGS),
            Place("audit", "/admin/audit", _("Audit book"), Right.AUDIT),
        )
        if tab.right in rights
    )


def kinds() -> Mapping[str, str]:
    """What became of an entry."""
    return {"added": _("new"), "removed": _("gone"), "changed": _("changed")}


def singular(name: str) -> str:
    """What one entry of a list is called."""
    return {
        "people": _("person"),
        "queues": _("queue"),
        "numbers": _("number"),
        "hours": _("opening hours"),
        "presets": _("preset"),
    }[name]


class AdminPages:
    """Everything below `/admin`.

    Args:
        guard: Knows who may what.
        administration: What they do it with.
        public_url: Where the pages are reached from outside; None: as the browser says.
        now: Seconds since the Unix epoch.
    """

    def __init__(self, guard: Guard, administration: Administration, *, public_url: str | None, now: Callable[[], float]) -> None:
        self._guard = guard
        self._publishing = administration.publishing
        self._people = administration.people
        self._tokens = administration.tokens
        self._book = administration.book
        self._blocklist = administration.blocklist
        self._public_url = public_url
        self._now = now

    def routes(self) -> list[web.RouteDef]:
        """All of them, each with the right it asks for."""
        reads, acts = self._guard.reads, self._acts
        routes = [web.get("/admin", reads(Right.SETTINGS, self._first))]
        for name, section in SECTIONS.items():
            path, right = f"/admin/{name}", section.right
            routes += [
                web.get(path, reads(right, self._of(name, self._list))),
                web.get(f"{path}/new", reads(right, self._of(name, self._entry))),
                web.post(f"{path}/new", acts(right, self._of(name, self._save))),
                web.get(f"{path}/of/{{entry}}", reads(right, self._of(name, self._entry))),
                web.post(f"{path}/of/{{entry}}", acts(right, self._of(name, self._save))),
                web.post(f"{path}/of/{{entry}}/remove", acts(right, self._of(name, self._remove))),
            ]
        return [
            *routes,
            web.post("/admin/people/of/{entry}/account", acts(Right.PEOPLE, self._account)),
            web.get("/admin/house", reads(Right.SETTINGS, self._house)),
            web.post("/admin/house", acts(Right.SETTINGS, self._save_house)),
            web.get("/admin/blocklist", reads(Right.SETTINGS, self._blocked)),
            web.post("/admin/blocklist", acts(Right.SETTINGS, self._block)),
            web.get("/admin/tokens", reads(Right.PEOPLE, self._list_tokens)),
            web.post("/admin/tokens", acts(Right.PEOPLE, self._change_tokens)),
            web.get("/admin/settings", reads(Right.SETTINGS, self._settings)),
            web.post("/admin/settings", acts(Right.SETTINGS, self._change_settings)),
            web.get("/admin/settings.yaml", reads(Right.SETTINGS, self._download)),
            web.get("/admin/revisions", reads(Right.SETTINGS, self._revisions)),
            web.get("/admin/revisions/{n}", reads(Right.SETTINGS, self._revision)),
            web.post("/admin/revisions/{n}", acts(Right.SETTINGS, self._roll_back)),
            web.get("/admin/audit", reads(Right.AUDIT, self._audit)),
            web.get("/admin/audit.csv", reads(Right.AUDIT, self._audit_file)),
        ]

    def _acts(self, right: Right, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """As `Guard.acts`; forms may be as long as a document of settings, of who is signed in."""
        guarded = self._guard.acts(right, handler)

        async def longer(request: web.Request) -> web.StreamResponse:
            if self._guard.who(request) is not None:
                await read_form(request, limit=LARGEST, fields_at_most=2000)
            return await guarded(request)

        longer.right = right  # type: ignore[attr-defined]  # as for every guarded handler
        return longer

    @staticmethod
    def _of(name: str, handler: Callable[[web.Request, Who, str], Awaitable[web.Response]]) -> Handler:
        async def of_section(request: web.Request, who: Who) -> web.StreamResponse:
            return await handler(request, who, name)

        return of_section

    async def _page(
        self, template: str, request: web.Request, who: Who, tab: str, *, status: int = 200, **context: Any
    ) -> web.Response:
        return shell_page(
            template,
            request,
            who,
            here="admin",
            status=status,
            tab=tab,
            tabs=tabs(who.rights),
            standing=self._publishing.standing,
            draft=await self._publishing.draft(),
            singular=singular,
            **{"problem": "", "done": request.query.get("done", ""), **context},
        )

    async def _first(self, _request: web.Request, who: Who) -> web.StreamResponse:
        return _to(tabs(who.rights)[0].path)

    async def _document(self) -> Any:
        """The draft, or what holds; an unsound draft gives way to what holds."""
        draft = await self._publishing.draft()
        try:
            return read_document(self._publishing.standing.text if draft is None else draft.text)
        except DocumentError:
            return read_document(self._publishing.standing.text)

    # --- lists and their entries

    async def _list(self, request: web.Request, who: Who, name: str) -> web.Response:
        section, document = SECTIONS[name], await self._document()
        accounts = {person.settings.id: person for person in await self._people.people()} if name == "people" else {}
        return await self._page(
            "admin_list.html",
            request,
            who,
            name,
            section=section,
            rows=[
                (key, entry, [_cell(entry.get(column)) for column in section.columns])
                for key, entry in _entries(section, document)
            ],
            accounts=accounts,
            now=self._now(),
        )

    async def _entry(self, request: web.Request, who: Who, name: str) -> web.Response:
        section, document = SECTIONS[name], await self._document()
        key = request.match_info.get("entry")
        entry = dict(_entries(section, document)).get(key or "")
        if key is not None and entry is None:
            raise web.HTTPNotFound
        return await self._show_entry(request, who, name, key, entry or {}, document)

    async def _show_entry(
        self,
        request: web.Request,
        who: Who,
        name: str,
        key: str | None,
        entry: Mapping[str, Any],
        document: Any,
        *,
        wrong: Mapping[str, str] = NOTHING,
        problem: str = "",
        link: str = "",
    ) -> web.Response:
        section = SECTIONS[name]
        groups = form_of(
            section.model,
            entry,
            without=(SECRET,),
            choices=_choices(name, document),
            wrong=wrong,
            fixed=None if key is None else section.key,
        )
        return await self._page(
            "admin_entry.html",
            request,
            who,
            name,
            status=422 if problem or wrong else 200,
            key=key,
            groups=groups,
            keyed=name == "hours",
            person=await self._people.person(key) if name == "people" and key is not None else None,
            problem=problem,
            link=link,
            now=self._now(),
        )

    async def _save(self, request: web.Request, who: Who, name: str) -> web.Response:
        section, document, form = SECTIONS[name], await self._document(), await read_form(request)
        key = request.match_info.get("entry")
        typed = form.get(section.key, "").strip()
        entry, unreadable = read(section.model, form, without=(SECRET,), choices=_choices(name, document))
        if unreadable:
            return await self._show_entry(request, who, name, key, _kept(entry), document, wrong=unreadable)
        if key is not None and section.key in section.model.model_fields:
            entry[section.key] = key
        elif key is None and typed in dict(_entries(section, document)):
            return await self._show_entry(
                request, who, name, key, _kept(entry), document, wrong={section.key: _("There is one of that name already.")}
            )

        def change(text: str) -> str:
            if name == "hours":
                return put_section(text, f"hours.{key or typed}", _kept(entry))
            return put_entry(text, section.name, key, entry)

        try:
            await self._publishing.edit(change, By(who.agent.id, request.remote))
        except InvalidError as error:
            wrong, others = _placed(section, key or typed, error)
            return await self._show_entry(request, who, name, key, _kept(entry), document, wrong=wrong, problem="\n".join(others))
        except AdminRefusedError as error:
            return await self._show_entry(request, who, name, key, _kept(entry), document, problem=str(error))
        return _to(f"/admin/{name}", done="saved")

    async def _remove(self, request: web.Request, who: Who, name: str) -> web.Response:
        section, document, key = SECTIONS[name], await self._document(), request.match_info["entry"]

        def change(text: str) -> str:
            return put_section(text, f"hours.{key}", None) if name == "hours" else take_entry(text, section.name, key)

        try:
            await self._publishing.edit(change, By(who.agent.id, request.remote))
        except AdminRefusedError as error:
            entry = dict(_entries(section, document)).get(key) or {}
            return await self._show_entry(request, who, name, key, entry, document, problem=str(error))
        return _to(f"/admin/{name}", done="saved")

    async def _account(self, request: web.Request, who: Who) -> web.StreamResponse:
        """What is done at once with somebody's account, without a draft."""
        form, login, by = await read_form(request), request.match_info["entry"], By(who.agent.id, request.remote)
        document, link, problem = await self._document(), "", ""
        try:
            match form.get("do"):
                case "link":
                    secret = await self._people.make_link(login, by)
                    link = f"{(self._public_url or f'{request.scheme}://{request.host}').rstrip('/')}/password/{secret}"
                case "bar" | "let_in" as do:
                    await self._people.set_disabled(login, do == "bar", by)
                case "unlock":
                    await self._people.unlock(login, by)
                case "sign_out":
                    await self._people.sign_out_everywhere(login, by)
        except AdminRefusedError as error:
            problem = str(error)
        entry = dict(_entries(SECTIONS["people"], document)).get(login)
        if entry is None:
            raise web.HTTPNotFound
        return await self._show_entry(request, who, "people", login, entry, document, link=link, problem=problem)

    # --- what is one for the whole house

    async def _house(self, request: web.Request, who: Who) -> web.StreamResponse:
        return await self._show_house(request, who, await self._document())

    async def _show_house(
        self, request: web.Request, who: Who, values: Mapping[str, Any], *, wrong: Mapping[str, str] = NOTHING, problem: str = ""
    ) -> web.Response:
        groups = form_of(HouseSettings, values, without=_NOT_HERE, wrong=wrong, choices=_choices("house", await self._document()))
        return await self._page(
            "admin_house.html",
            request,
            who,
            "house",
            status=422 if problem or wrong else 200,
            groups=groups,
            problem=problem,
        )

    async def _save_house(self, request: web.Request, who: Who) -> web.StreamResponse:
        form, choices = await read_form(request), _choices("house", await self._document())
        values, wrong = read(HouseSettings, form, without=_NOT_HERE, choices=choices)
        if wrong:
            return await self._show_house(request, who, _kept(values), wrong=wrong)
        try:
            await self._publishing.edit(lambda text: _put_house(text, values), By(who.agent.id, request.remote))
        except InvalidError as error:
            wrong = {problem.key: problem.what for problem in error.problems if problem.key}
            others = [problem.what for problem in error.problems if not problem.key]
            return await self._show_house(request, who, _kept(values), wrong=wrong, problem="\n".join(others))
        except AdminRefusedError as error:
            return await self._show_house(request, who, _kept(values), problem=str(error))
        return _to("/admin/house", done="saved")

    # --- the blocklist

    async def _blocked(self, request: web.Request, who: Who) -> web.StreamResponse:
        return await self._show_blocked(request, who)

    async def _show_blocked(self, request: web.Request, who: Who, problem: str = "") -> web.Response:
        rows = await self._blocklist.blocked(PAGE + 1, request.query.get("after"))
        return await self._page(
            "admin_blocklist.html",
            request,
            who,
            "blocklist",
            status=422 if problem else 200,
            rows=rows[:PAGE],
            more=rows[PAGE - 1].number if len(rows) > PAGE else None,
            fixed=self._publishing.settings.sms.blocked,
            problem=problem,
        )

    async def _block(self, request: web.Request, who: Who) -> web.StreamResponse:
        form, by = await read_form(request), By(who.agent.id, request.remote)
        try:
            if form.get("do") == "unblock":
                await self._blocklist.unblock(form.get("number", ""), by)
            else:
                await self._blocklist.block(form.get("number", ""), form.get("reason", ""), by)
        except AdminRefusedError as error:
            return await self._show_blocked(request, who, str(error))
        return _to("/admin/blocklist", done="now")

    # --- tokens

    async def _list_tokens(self, request: web.Request, who: Who) -> web.StreamResponse:
        return await self._show_tokens(request, who)

    async def _show_tokens(
        self, request: web.Request, who: Who, *, problem: str = "", secret: str = "", form: Mapping[str, str] = NOTHING
    ) -> web.Response:
        settings = self._publishing.settings
        return await self._page(
            "admin_tokens.html",
            request,
            who,
            "tokens",
            status=422 if problem else 200,
            tokens=await self._tokens.tokens(),
            of_file=settings.api.keys,
            admins=len(settings.web.api_tokens),
            scopes=get_args(Scope),
            numbers=[number.number for number in settings.numbers],
            secret=secret,
            form=form,
            problem=problem,
        )

    async def _change_tokens(self, request: web.Request, who: Who) -> web.StreamResponse:
        form, by = await read_form(request), By(who.agent.id, request.remote)
        name = form.get("name", "").strip()
        try:
            if form.get("do") == "revoke":
                await self._tokens.revoke_token(name, by)
                return _to("/admin/tokens", done="now")
            per_second = float(form.get("per_second", "") or 10.0)
            secret = await self._tokens.make_token(name, _chosen(form, "scope"), per_second, _chosen(form, "number"), by)
        except ValueError:
            return await self._show_tokens(request, who, problem=_("Requests a second is a number."), form=form)
        except AdminRefusedError as error:
            return await self._show_tokens(request, who, problem=str(error), form=form)
        return await self._show_tokens(request, who, secret=secret)

    # --- the draft as YAML

    async def _settings(self, request: web.Request, who: Who) -> web.StreamResponse:
        draft = await self._publishing.draft()
        text = self._publishing.standing.text if draft is None else draft.text
        return await self._show_settings(request, who, text, None if draft is None else await self._publishing.check(text))

    async def _show_settings(
        self, request: web.Request, who: Who, text: str, checked: Checked | None, problem: str = "", note: str = ""
    ) -> web.Response:
        return await self._page(
            "admin_settings.html",
            request,
            who,
            "settings",
            status=422 if problem else 200,
            text=text,
            checked=checked,
            kinds=kinds(),
            may_publish=checked is not None and not checked.problems and self._may(who, checked.changes),
            problem=problem,
            note=note,
        )

    @staticmethod
    def _may(who: Who, changes: Sequence[Any]) -> bool:
        """Whoever may change settings but not people cannot give themselves another role that way."""
        return Right.PEOPLE in who.rights or all(change.section != "agents" for change in changes)

    async def _change_settings(self, request: web.Request, who: Who) -> web.StreamResponse:
        form, by = await read_form(request), By(who.agent.id, request.remote)
        text, note = form.get("text", ""), form.get("note", "")
        over = int(form["version"]) if form.get("version", "").isdigit() else None
        try:
            match form.get("do"):
                case "drop":
                    await self._publishing.drop_draft(by)
                    return _to("/admin/settings", done="dropped")
                case "publish":
                    return await self._publish(request, who, text, over, note)
                case _:
                    await self._publishing.save_draft(text, over, by)
                    return _to("/admin/settings", done="saved")
        except InvalidError as error:
            return await self._show_settings(request, who, text, Checked(error.problems, ()), note=note)
        except AdminRefusedError as error:
            checked = await self._publishing.check(text)
            return await self._show_settings(request, who, text, checked, str(error), note)

    async def _publish(self, request: web.Request, who: Who, text: str, version: int | None, note: str) -> web.Response:
        draft = await self._publishing.draft()
        if draft is None or draft.version != version:
            raise AdminRefusedError(_("Somebody else has changed the draft meanwhile. Look at it again."))
        if text.strip() != draft.text.strip():
            raise AdminRefusedError(_("The text is not what was checked. Check it first."))
        if not self._may(who, (await self._publishing.check(draft.text)).changes):
            return refused(request, who)
        n = await self._publishing.publish(draft.version, note, By(who.agent.id, request.remote))
        return _to(f"/admin/revisions/{n}", done="published")

    async def _download(self, _request: web.Request, _who: Who) -> web.StreamResponse:
        headers = {"Content-Disposition": 'attachment; filename="house.yaml"', "Cache-Control": "no-store"}
        return web.Response(text=self._publishing.standing.text, content_type="application/yaml", headers=headers)

    # --- revisions

    async def _revisions(self, request: web.Request, who: Who) -> web.StreamResponse:
        before = request.query.get("before", "")
        rows = await self._publishing.revisions(PAGE + 1, int(before) if before.isdigit() else None)
        more = rows[PAGE - 1].n if len(rows) > PAGE else None
        return await self._page("admin_revisions.html", request, who, "revisions", rows=rows[:PAGE], more=more)

    async def _revision(self, request: web.Request, who: Who) -> web.StreamResponse:
        return await self._show_revision(request, who)

    async def _show_revision(self, request: web.Request, who: Who, problem: str = "") -> web.Response:
        number = request.match_info["n"]
        revision = await self._publishing.revision(int(number)) if number.isdigit() and len(number) < 10 else None
        if revision is None:
            raise web.HTTPNotFound
        back = await self._publishing.check(revision.text)
        return await self._page(
            "admin_revision.html",
            request,
            who,
            "revisions",
            status=422 if problem else 200,
            revision=revision,
            changes=await self._publishing.changes_of(revision.n),
            back=back,
            may_go_back=not back.problems and self._may(who, back.changes),
            kinds=kinds(),
            problem=problem,
        )

    async def _roll_back(self, request: web.Request, who: Who) -> web.StreamResponse:
        form, number = await read_form(request), request.match_info["n"]
        revision = await self._publishing.revision(int(number)) if number.isdigit() and len(number) < 10 else None
        if revision is None:
            raise web.HTTPNotFound
        if not self._may(who, (await self._publishing.check(revision.text)).changes):
            return refused(request, who)
        try:
            n = await self._publishing.roll_back(revision.n, form.get("note", ""), By(who.agent.id, request.remote))
        except AdminRefusedError as error:
            return await self._show_revision(request, who, str(error))
        return _to(f"/admin/revisions/{n}", done="published")

    # --- the audit book

    async def _audit(self, request: web.Request, who: Who) -> web.StreamResponse:
        asked = _asked(request.query)
        rows = await self._book.audit(PAGE + 1, **asked)
        more = (
            {**{name: value for name, value in request.query.items() if name != "before"}, "before": str(rows[PAGE - 1].n)}
            if len(rows) > PAGE
            else None
        )
        return await self._page(
            "admin_audit.html",
            request,
            who,
            "audit",
            rows=[(row, _told(row.before), _told(row.after)) for row in rows[:PAGE]],
            more=None if more is None else urlencode(more),
            query=request.query,
            file=urlencode(dict(request.query)),
        )

    async def _audit_file(self, request: web.Request, who: Who) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Disposition": 'attachment; filename="audit.csv"', "Cache-Control": "no-store"}
        )
        response.content_type, response.charset = "text/csv", "utf-8"
        await self._book.note(By(who.agent.id, request.remote), "audit.downloaded", "audit book", after=dict(request.query))
        await response.prepare(request)
        async for line in self._lines(_asked(request.query)):
            await response.write(line)
        return response

    async def _lines(self, asked: dict[str, Any]) -> AsyncIterator[bytes]:
        yield _csv(("time (UTC)", "who", "from", "action", "what", "before", "after"))
        while rows := await self._book.audit(AT_ONCE, **asked):
            for row in rows:
                at = datetime.fromtimestamp(row.at, UTC).isoformat(timespec="seconds")
                yield _csv((at, row.who, row.origin or "", row.action, row.object, _told(row.before), _told(row.after)))
            asked = {**asked, "before": rows[-1].n}


def _to(path: str, *, done: str = "") -> web.Response:
    return web.Response(status=303, headers={"Location": f"{path}?done={quote(done)}" if done else path})


def _entries(section: Section, document: Any) -> list[tuple[str, Mapping[str, Any]]]:
    found = document.get(section.name) or ()
    if isinstance(found, Mapping):
        return [(str(name), entry or {}) for name, entry in found.items()]
    key = NAMED_BY[section.name]
    return [(str(entry.get(key)), entry) for entry in found if isinstance(entry, Mapping)]


def _choices(name: str, document: Any) -> Choices:
    """What can be chosen, by the document as it is now."""
    queues = [(key, entry.get("channel", "voice")) for key, entry in _entries(SECTIONS["queues"], document)]
    every, chats = [key for key, _channel in queues], [key for key, channel in queues if channel == "sms"]
    people = [key for key, _entry in _entries(SECTIONS["people"], document)]
    hours = [key for key, _entry in _entries(SECTIONS["hours"], document)]
    match name:
        case "people":
            return {"queues": every}
        case "queues":
            numbers = [key for key, _entry in _entries(SECTIONS["numbers"], document)]
            return {"desk": chats, "hours": hours, "parent": every, "numbers": numbers}
        case "numbers":
            return {"desk": chats, "agent": people}
        case "house":
            return {"sms.unassigned.queue": chats}
        case _:
            return {}


def _kept(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is as it would be anyway."""
    return {key: value for key, value in entry.items() if value is not None}


def _put_house(text: str, values: Mapping[str, Any]) -> str:
    for name, value in values.items():
        for key in PARTS.get(name, ("",)):
            text = put_section(text, f"{name}.{key}", (value or {}).get(key)) if key else put_section(text, name, value)
    return text


def _placed(section: Section, name: str, error: InvalidError) -> tuple[dict[str, str], list[str]]:
    """Problems at their fields, and those that are about something else."""
    wrong, others = {}, []
    for problem in error.problems:
        list_name, _dot, rest = problem.key.partition(".")
        entry, _dot, key = rest.partition(".")
        if list_name == section.name and key and (entry.isdigit() or entry == name):
            wrong[_field(key, section.model)] = problem.what
        else:
            others.append(f"{problem.key}: {problem.what}" if problem.key else problem.what)
    return wrong, others


def _field(key: str, model: type[BaseModel]) -> str:
    """The field of a form that has *key* in it: `skills` for `skills.0`."""
    parts: list[str] = []
    for part in key.split("."):
        inner = model.model_fields.get(part)
        if inner is None:
            break
        parts.append(part)
        if not (isinstance(inner.annotation, type) and issubclass(inner.annotation, BaseModel)):
            break
        model = inner.annotation
    return ".".join(parts)


def _chosen(form: Mapping[str, str], name: str) -> list[str]:
    return [key.removeprefix(f"{name}=") for key in form if key.startswith(f"{name}=")]


def _cell(value: Any) -> str:
    """A value in a list, in short."""
    match value:
        case None:
            return ""
        case Mapping():
            return ", ".join(str(key) for key in value)
        case str():
            return value
        case Sequence():
            return ", ".join(str(each) for each in value)
        case _:
            return str(value)


def _told(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _asked(query: Mapping[str, str]) -> dict[str, Any]:
    """What of the audit book is asked for; days are those of UTC."""
    before = query.get("before", "")
    return {
        "who": query.get("who") or None,
        "action": query.get("action") or None,
        "of": query.get("of") or None,
        "since": _day(query.get("since", "")),
        "until": None if (last := _day(query.get("until", ""))) is None else last + timedelta(days=1).total_seconds(),
        "before": int(before) if before.isdigit() and len(before) < 18 else None,
    }


def _day(text: str) -> float | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _csv(row: Sequence[str]) -> bytes:
    out = io.StringIO()
    # A cell that begins like a formula would be one to a spreadsheet; a quote before it keeps it a text.
    csv.writer(out).writerow([f"'{cell}" if cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell for cell in row])
    return out.getvalue().encode()
