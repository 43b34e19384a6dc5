"""Pages of contacts (list, contact, merging, importing, what the CRM has not taken) and the customer's card on the desk."""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
from aiohttp import BodyPartReader, web

from bridge.crm.book import NoContactError, Whole
from bridge.crm.csv_import import LARGEST, ImportRefusedError
from bridge.crm.csv_rows import FIELDS
from bridge.crm.fields import FieldsError
from bridge.crm.matching import merged
from bridge.events import AgentId, SessionId
from bridge.journal.crm_rows import StaleContactError, StoredChange, StoredContact
from bridge.web.access import Right
from bridge.web.console.guard import Guard, Handler, Who, shell_page
from bridge.web.console.views import page
from bridge.web.console.words import gettext as _
from bridge.web.console.words import marked
from bridge.web.http import read_form
from bridge.web.ports import Desk, DeskRefusedError
from bridge.web.ports_contacts import ContactParts

PAGE = 50
"""Contacts on a page of the list."""
UPLOAD_TIME = 120.0
"""Seconds in which a file has to arrive."""
_CHUNK = 64 * 1024
SAID = frozenset(
    {
        marked("There is no such contact."),
        marked("A contact cannot be merged with itself."),
        marked("This merge cannot be undone (any more)."),
        marked("Only a deleted contact can be restored."),
        marked("This contact has been deleted or merged into another one."),
        marked("There is no such import (any more). Please upload the file again."),
        marked("It is running already."),
        marked("A column with telephone numbers, mail addresses or ids is needed to recognise people by."),
        marked("This is no CSV file: its first line has to name the columns."),
        marked("The file has titles and no rows."),
        marked("This conversation is over."),
        marked("This can be said while you work on the conversation."),
        marked("Another agent has already said who it is."),
        marked("This conversation is still being looked up."),
        marked("There is no such contact (any more)."),
        marked("A contact is being made just now."),
        marked("Say first who it is."),
        marked("Write a name."),
        marked("Please use at most %(most)s characters."),
        marked("At most %(most)s are kept."),
        marked("%(value)s is no language; write it like en or fr-CA."),
        marked("%(value)s is not a telephone number."),
        marked("%(value)s is not a mail address."),
        marked("%(value)s is too long for a tag."),
        marked("A label has 1 to 100 characters."),
        marked("%(label)s: please use at most %(most)s characters."),
    }
)
"""What the rest of the server says about contacts in English, and is shown in the reader's language."""


class ContactPages:
    """Everything under `/contacts`, and the customer's card under `/desk/{session}`."""

    def __init__(self, parts: ContactParts, desk: Desk, guard: Guard) -> None:
        self._book = parts.book
        self._cards = parts.cards
        self._imports = parts.imports
        self._desk = desk
        self._guard = guard

    def routes(self) -> list[web.RouteDef]:
        """All routes; fixed paths before those with an id."""
        return [
            web.get("/desk/{session}/contact-card", self._guard.reads(Right.WORK, self._card)),
            web.get("/desk/{session}/contact-search", self._guard.reads(Right.WORK, self._search)),
            web.post("/desk/{session}/contact-choose", self._guard.acts(Right.WORK, self._choose)),
            web.post("/desk/{session}/contact-new", self._guard.acts(Right.WORK, self._new_for)),
            web.post("/desk/{session}/contact-name", self._guard.acts(Right.WORK, self._rename)),
            web.get("/contacts", self._reads(self._list)),
            web.post("/contacts", self._acts(self._create)),
            web.get("/contacts/new", self._reads(self._new)),
            web.get("/contacts/crm", self._reads(self._crm)),
            web.post("/contacts/crm/{n}/redeliver", self._acts(self._redeliver)),
            web.get("/contacts/import", self._reads(self._import_page)),
            web.post("/contacts/import", self._acts(self._upload)),
            web.get("/contacts/import/{job}", self._reads(self._job)),
            web.post("/contacts/import/{job}", self._acts(self._start)),
            web.get("/contacts/import/{job}/progress", self._reads(self._progress)),
            web.get("/contacts/import/{job}/errors.csv", self._reads(self._errors)),
            web.get("/contacts/{contact}", self._reads(self._contact)),
            web.post("/contacts/{contact}", self._acts(self._change)),
            web.get("/contacts/{contact}/sessions/{session}", self._reads(self._transcript)),
            web.post("/contacts/{contact}/note", self._acts(self._note)),
            web.get("/contacts/{contact}/merge", self._reads(self._merge_page)),
            web.post("/contacts/{contact}/merge", self._acts(self._merge)),
            web.post("/contacts/{contact}/unmerge", self._acts(self._unmerge)),
            web.post("/contacts/{contact}/delete", self._acts(self._delete)),
            web.post("/contacts/{contact}/restore", self._acts(self._restore)),
        ]

    def _reads(self, handler: Handler) -> Callable[[web.Request], Any]:
        return self._guard.reads(Right.CONTACTS, self._saying(handler))

    def _acts(self, handler: Handler) -> Callable[[web.Request], Any]:
        return self._guard.acts(Right.CONTACTS, self._saying(handler))

    def _saying(self, handler: Handler) -> Handler:
        """What cannot be done is said on a page of its own."""

        async def said(request: web.Request, who: Who) -> web.StreamResponse:
            try:
                return await handler(request, who)
            except (NoContactError, ImportRefusedError) as error:
                return self._problem(request, who, _(str(error)), 404)
            except StaleContactError:
                words = _("Somebody else has changed this contact meanwhile. Please look at it again.")
                return self._problem(request, who, words, 409)

        return said

    def _problem(self, request: web.Request, who: Who, words: str, status: int) -> web.Response:
        if "HX-Request" in request.headers:
            return page("contacts_problem.html", request, problem=words)
        return shell_page("contacts_refused.html", request, who, here="contacts", problem=words, status=status)

    # --- the card on the desk ----------------------------------------------------------------------------------------

    async def _card(self, request: web.Request, who: Who) -> web.Response:
        return await self._card_page(request, who)

    async def _card_page(
        self, request: web.Request, who: Who, *, problem: str = "", faults: Mapping[str, str] | None = None
    ) -> web.Response:
        session = SessionId(request.match_info["session"])
        try:
            await self._desk.session(who.agent.id, session)  # only who may see the conversation sees whose it is
            card = await self._cards.card(who.agent.id, session)
        except DeskRefusedError as error:
            return page("panel_refused.html", request, problem=str(error), status=404)
        return page("contact_card.html", request, card=card, session=session, problem=problem, faults=faults or {})

    async def _search(self, request: web.Request, who: Who) -> web.Response:
        session, typed = SessionId(request.match_info["session"]), request.query.get("q", "")[:80]
        try:
            found = await self._cards.search(who.agent.id, session, typed)
        except DeskRefusedError as error:
            return page("contacts_problem.html", request, problem=str(error))
        return page("contact_found.html", request, found=found, session=session, typed=typed.strip())

    async def _choose(self, request: web.Request, who: Who) -> web.Response:
        form, problem = await read_form(request), ""
        try:
            await self._cards.choose(who.agent.id, SessionId(request.match_info["session"]), form.get("contact", "")[:200])
        except DeskRefusedError as error:
            problem = _(str(error))
        return await self._card_page(request, who, problem=problem)

    async def _new_for(self, request: web.Request, who: Who) -> web.Response:
        form = await read_form(request)
        given = {"name": form.get("name", ""), "company": form.get("company", ""), "phones": form.get("phone", "")}
        session = SessionId(request.match_info["session"])
        return await self._written(request, who, self._cards.create(who.agent.id, session, given))

    async def _rename(self, request: web.Request, who: Who) -> web.Response:
        form, session = await read_form(request), SessionId(request.match_info["session"])
        return await self._written(request, who, self._cards.rename(who.agent.id, session, form.get("name", "")))

    async def _written(self, request: web.Request, who: Who, writing: Awaitable[None]) -> web.Response:
        """The card after something was written; with what is wrong with it."""
        problem = ""
        faults: Mapping[str, str] = {}
        try:
            await writing
        except DeskRefusedError as error:
            problem = str(error)
        except FieldsError as error:
            faults = _in_words(error)
        return await self._card_page(request, who, problem=problem, faults=faults)

    # --- list and contact --------------------------------------------------------------------------------------------

    async def _list(self, request: web.Request, who: Who) -> web.Response:
        words, after = request.query.get("q", "").strip()[:80], request.query.get("after")
        found = await self._book.find(words, PAGE + 1, after=after)
        shown, total = found[:PAGE], await self._book.count(words)
        following = urlencode({"q": words, "after": shown[-1].id}) if len(found) > PAGE else ""
        context: dict[str, Any] = {"found": shown, "words": words, "following": following, "first": after is None, "total": total}
        if request.headers.get("HX-Target") == "contacts-found":
            return page("contacts_found.html", request, **context)
        counts = await self._cards.counts()
        return shell_page("contacts.html", request, who, here="contacts", counts=counts, crm=self._cards.provider, **context)

    async def _new(self, request: web.Request, who: Who) -> web.Response:
        values = dict.fromkeys(_FORM, "") | {"phones": request.query.get("phone", "")[:40]}
        return shell_page("contact_new.html", request, who, here="contacts", values=values, faults={}, revision=0)

    async def _create(self, request: web.Request, who: Who) -> web.Response:
        form = await read_form(request)
        try:
            contact = await self._book.create(_given(form, None), _actor(who))
        except FieldsError as error:
            values = {name: form.get(name, "") for name in _FORM}
            context: dict[str, Any] = {"values": values, "faults": _in_words(error), "revision": 0}
            return shell_page("contact_new.html", request, who, here="contacts", status=422, **context)
        return _see(f"/contacts/{contact.id}")

    async def _contact(self, request: web.Request, who: Who) -> web.Response:
        whole = await self._book.page(request.match_info["contact"])
        return self._contact_page(request, who, whole, values=_values(whole.contact), faults={})

    def _contact_page(
        self, request: web.Request, who: Who, whole: Whole, *, values: Mapping[str, str], faults: Mapping[str, str]
    ) -> web.Response:
        return shell_page(
            "contact.html",
            request,
            who,
            here="contacts",
            status=422 if faults else 200,
            whole=whole,
            contact=whole.contact,
            history=[_Told.of(entry, self._name_of, whole) for entry in whole.history],
            values=values,
            faults=faults,
            revision=whole.contact.revision,
            queue_title=self._desk.queue_title,
            agent_name=lambda agent: self._name_of(f"agent:{agent}"),
            explains=Right.EXPLAIN in who.rights,
        )

    async def _change(self, request: web.Request, who: Who) -> web.Response:
        contact, form = request.match_info["contact"], await read_form(request)
        known = await self._book.contact(contact)
        try:
            revision = int(form.get("revision", ""))
        except ValueError:
            return web.Response(status=400)
        try:
            await self._book.change(contact, _given(form, known), _actor(who), revision=revision)
        except FieldsError as error:
            whole = await self._book.page(contact)
            values = {name: form.get(name, "") for name in _FORM}
            return self._contact_page(request, who, whole, values=values, faults=_in_words(error))
        return _see(f"/contacts/{contact}")

    async def _transcript(self, request: web.Request, _who: Who) -> web.Response:
        """A conversation of this contact, in words."""
        whole = await self._book.page(request.match_info["contact"])
        session = SessionId(request.match_info["session"])
        if session not in {stored.id for stored in whole.sessions}:
            raise NoContactError(_("This conversation is none of this contact's."))
        return page("contact_transcript.html", request, words=await self._cards.transcript(session))

    async def _note(self, request: web.Request, who: Who) -> web.Response:
        contact, form = request.match_info["contact"], await read_form(request)
        await self._book.note(contact, form.get("note", ""), _actor(who))
        return _see(f"/contacts/{contact}")

    async def _merge_page(self, request: web.Request, who: Who) -> web.Response:
        """Look for the other one; when it is chosen, what both become together."""
        contact = await self._book.contact(request.match_info["contact"])
        words, chosen = request.query.get("q", "").strip()[:80], request.query.get("other")
        other = None if chosen is None else await self._book.contact(chosen)
        suggested = words or next(iter(contact.fields.phones), contact.fields.name or "")
        found = [each for each in await self._book.find(suggested, 20) if each.id != contact.id]
        together = None if other is None else merged(contact.fields, other.fields)
        return shell_page(
            "contact_merge.html",
            request,
            who,
            here="contacts",
            contact=contact,
            other=other,
            together=together,
            found=found,
            words=words,
        )

    async def _merge(self, request: web.Request, who: Who) -> web.Response:
        contact, form = request.match_info["contact"], await read_form(request)
        await self._book.merge(contact, form.get("other", ""), _actor(who))
        return _see(f"/contacts/{contact}")

    async def _unmerge(self, request: web.Request, who: Who) -> web.Response:
        contact, form = request.match_info["contact"], await read_form(request)
        change = form.get("change", "")
        await self._book.unmerge(contact, int(change) if change.isdecimal() else 0, _actor(who))
        return _see(f"/contacts/{contact}")

    async def _delete(self, request: web.Request, who: Who) -> web.Response:
        await self._book.delete(request.match_info["contact"], _actor(who))
        return _see(f"/contacts/{request.match_info['contact']}")

    async def _restore(self, request: web.Request, who: Who) -> web.Response:
        await self._book.restore(request.match_info["contact"], _actor(who))
        return _see(f"/contacts/{request.match_info['contact']}")

    def _name_of(self, actor: str) -> str:
        """Who did something, as people read it."""
        kind, _colon, name = actor.partition(":")
        match kind:
            case "agent":
                agent = self._desk.agent(AgentId(name))
                return name if agent is None else agent.name
            case "api":
                return _("the program %(name)s", name=name)
            case "crm":
                return _("the CRM %(name)s", name=name)
            case "cli":
                return _("the command line")
            case _:
                return _("Sidetone")

    # --- what the CRM has not taken ----------------------------------------------------------------------------------

    async def _crm(self, request: web.Request, who: Who) -> web.Response:
        state = request.query.get("state", "dead")
        state = state if state in {"dead", "pending", "done"} else "dead"
        after = request.query.get("after", "")
        entries = await self._cards.entries(state=state, limit=PAGE + 1, after=int(after) if after.isdecimal() else None)
        return shell_page(
            "contacts_crm.html",
            request,
            who,
            here="contacts",
            crm=self._cards.provider,
            counts=await self._cards.counts(),
            state=state,
            entries=entries[:PAGE],
            after=entries[PAGE - 1].n if len(entries) > PAGE else None,
            actions=actions_of_the_crm(),
        )

    async def _redeliver(self, request: web.Request, _who: Who) -> web.Response:
        n = request.match_info["n"]
        if not n.isdecimal() or not await self._cards.redeliver(int(n)):
            raise NoContactError(_("This does not wait to be sent again."))
        return _see("/contacts/crm?state=pending")

    # --- importing ---------------------------------------------------------------------------------------------------

    async def _import_page(self, request: web.Request, who: Who) -> web.Response:
        return shell_page("contacts_import.html", request, who, here="contacts", largest=LARGEST)

    async def _upload(self, request: web.Request, _who: Who) -> web.Response:
        if request.content_type != "multipart/form-data":
            raise web.HTTPUnsupportedMediaType
        path = self._imports.folder / f"{secrets.token_hex(8)}.csv"
        try:
            async with asyncio.timeout(UPLOAD_TIME):
                name = await _receive(request, path)
        except (TimeoutError, ImportRefusedError):
            await asyncio.to_thread(path.unlink, missing_ok=True)
            raise
        taken = await self._imports.take(name, path)
        return web.Response(headers={"HX-Redirect": f"/contacts/import/{taken.id}"})

    async def _job(self, request: web.Request, who: Who) -> web.Response:
        return await self._job_page(request, who, "")

    async def _job_page(self, request: web.Request, who: Who, problem: str) -> web.Response:
        job = await self._imports.state(request.match_info["job"])
        if job is None:
            raise NoContactError(_("There is no such import (any more). Please upload the file again."))
        return shell_page(
            "contacts_import_job.html",
            request,
            who,
            here="contacts",
            job=job,
            problem=problem,
            kinds=kinds_of_columns(),
            status=422 if problem else 200,
        )

    async def _start(self, request: web.Request, who: Who) -> web.Response:
        job, form = request.match_info["job"], await read_form(request)
        known = await self._imports.state(job)
        columns = () if known is None else known.columns
        chosen = {column: form.get(f"column-{n}", "") for n, column in enumerate(columns)}
        mapping = {column: field for column, field in chosen.items() if field in FIELDS}
        try:
            await self._imports.start(job, mapping, _actor(who), dry_run="dry_run" in form)
        except ImportRefusedError as error:
            return await self._job_page(request, who, _(str(error)))
        return _see(f"/contacts/import/{job}")

    async def _progress(self, request: web.Request, _who: Who) -> web.Response:
        job = await self._imports.state(request.match_info["job"])
        if job is None:
            return page("contacts_problem.html", request, problem=_("This import is not known any more."))
        return page("contacts_progress.html", request, job=job)

    async def _errors(self, request: web.Request, _who: Who) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/csv; charset=utf-8",
                "Content-Disposition": 'attachment; filename="errors.csv"',
                "Cache-Control": "no-store",
            }
        )
        await response.prepare(request)
        async for chunk in self._imports.errors(request.match_info["job"]):
            await response.write(chunk)
        return response


async def _receive(request: web.Request, path: Path) -> str:
    """Write the file of a form to *path*; its name."""
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.name != "file" or not part.filename:
            continue
        size = 0
        with await asyncio.to_thread(path.open, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            while chunk := await part.read_chunk(_CHUNK):
                size += len(chunk)
                if size > LARGEST:
                    raise ImportRefusedError(_("The file is too large."))
                await asyncio.to_thread(file.write, chunk)
        return part.filename[-80:]
    raise ImportRefusedError(_("Please choose a file."))


def _see(where: str) -> web.Response:
    """Done; look there (RFC 9110 section 15.4.4)."""
    return web.Response(status=303, headers={"Location": where})


def _actor(who: Who) -> str:
    return f"agent:{who.agent.id}"


def _in_words(error: FieldsError) -> Mapping[str, str]:
    """What is wrong with which field, in the reader's language."""
    return {field: _(words, **values) for field, (words, values) in error.said.items()}


# --- forms -----------------------------------------------------------------------------------------------------------

_FORM = ("name", "company", "language", "phones", "mails", "tags", "external", "custom")


def _values(contact: StoredContact) -> Mapping[str, str]:
    """A contact as the values of its form."""
    fields = contact.fields
    return {
        "name": fields.name or "",
        "company": fields.company or "",
        "language": fields.language or "",
        "phones": "\n".join(fields.phones),
        "mails": "\n".join(fields.mails),
        "tags": ", ".join(fields.tags),
        "external": "\n".join(f"{system}: {ref}" for system, ref in fields.external.items()),
        "custom": "\n".join(f"{label}: {_plain(value)}" for label, value in fields.custom.items()),
    }


def _given(form: Mapping[str, str], known: StoredContact | None) -> Mapping[str, Any]:
    """What somebody wrote into the form; a value that was not touched keeps its type."""
    before = {} if known is None else known.fields.custom
    custom = {
        label: before[label] if label in before and _plain(before[label]) == value else value
        for label, value in _pairs(form.get("custom", "")).items()
    }
    return {**{name: form.get(name, "") for name in _FORM}, "external": _pairs(form.get("external", "")), "custom": custom}


def _plain(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _pairs(words: str) -> dict[str, str]:
    """Lines of `label: value`."""
    split = (line.partition(":") for line in words.splitlines() if line.strip())
    return {label.strip(): value.strip() for label, _colon, value in split if label.strip()}


# --- history ---------------------------------------------------------------------------------------------------------


class _Told(msgspec.Struct, frozen=True):
    """A change as people read it."""

    n: int
    at: float
    title: str
    who: str
    words: str = ""
    changes: tuple[tuple[str, str, str], ...] = ()
    """Field, before, after."""
    undo: str | None = None
    """Name of who comes out again when it is undone; None: it cannot be."""

    @classmethod
    def of(cls, entry: StoredChange, name_of: Callable[[str], str], whole: Whole) -> "_Told":
        """Put an entry of the history into words."""
        change = entry.change
        titles = {
            "created": _("Made"),
            "changed": _("Changed"),
            "noted": _("Note"),
            "merged": _("Merged with %(name)s", name=_other(change.data)),
            "unmerged": _("Taken apart again"),
            "deleted": _("Deleted"),
            "restored": _("Restored"),
        }
        shown = change.data if change.kind in {"created", "changed"} else {}
        return cls(
            entry.n,
            change.at,
            titles[change.kind],
            name_of(change.actor),
            str(change.data.get("text", "")),
            tuple((field_words(field), _shown(pair[0]), _shown(pair[1])) for field, pair in shown.items()),
            whole.undoable.get(entry.n),
        )


def _other(data: Mapping[str, Any]) -> str:
    fields = data.get("from") or {}
    return str(fields.get("name") or next(iter(fields.get("phones") or ()), "?"))


def _shown(value: Any) -> str:
    match value:
        case None | "":
            return ""
        case list() | tuple():
            return ", ".join(map(str, value))
        case dict():
            return ", ".join(f"{label}: {_plain(each)}" for label, each in value.items())
        case _:
            return str(value)


def field_words(field: str) -> str:
    """What people call a field."""
    return {
        "name": _("Name"),
        "company": _("Company"),
        "language": _("Language"),
        "phones": _("Phones"),
        "mails": _("Mail addresses"),
        "tags": _("Tags"),
        "external": _("Ids elsewhere"),
        "custom": _("More"),
    }.get(field, field)


def kinds_of_columns() -> Mapping[str, str]:
    """What a column may be."""
    return {
        "name": _("Name"),
        "first_name": _("First name"),
        "last_name": _("Last name"),
        "company": _("Company"),
        "language": _("Language"),
        "phones": _("Phone"),
        "mails": _("Mail address"),
        "tags": _("Tags"),
        "id": _("Id elsewhere"),
        "custom": _("Keep it under its title"),
    }


def actions_of_the_crm() -> Mapping[str, str]:
    """What the CRM is asked or told."""
    return {"look_up": _("Look up"), "create": _("Make a contact"), "record": _("Record a conversation")}
