"""People with all that is known of them, CSV files of them, and what the CRM has not taken."""

import asyncio
import secrets
from http import HTTPStatus

import msgspec
from aiohttp import web
from pydantic import BaseModel

from bridge.crm.book import NoContactError
from bridge.crm.csv_import import ImportRefusedError, Progress
from bridge.crm.fields import FieldsError
from bridge.crm.webhook import SCHEMAS, schema
from bridge.journal.crm_rows import StaleContactError, StoredContact
from bridge.web.api import contact_models as m
from bridge.web.api.operation import Call, Handler, Operation
from bridge.web.api.problems import PREFIX, Fault, ProblemError
from bridge.web.ports_contacts import ContactParts

LARGEST_REPORT = 1024 * 1024
"""Bytes of an error report that are given; the page has all of it."""


class Contacts:
    """The operations on contacts."""

    def __init__(self, parts: ContactParts) -> None:
        self._book = parts.book
        self._cards = parts.cards
        self._imports = parts.imports

    def operations(self) -> tuple[Operation, ...]:
        """What can be asked."""
        return (*self._people(), *self._single(), *self._files(), *self._queue())

    def routes(self) -> list[web.RouteDef]:
        """The schemas of the webhook, for whoever writes the other end."""
        return [web.get(f"{PREFIX}/crm/schemas/{{name}}", self._schema)]

    def _people(self) -> tuple[Operation, ...]:
        return (
            Operation(
                method="GET",
                path="/crm/contacts",
                name="findContacts",
                summary="Contacts by any part of what is known of them",
                scope="contacts",
                handler=self._find,
                query=m.PeopleQuery,
                answer=m.PeopleFound,
            ),
            Operation(
                method="POST",
                path="/crm/contacts",
                name="createContact",
                summary="Make a contact",
                scope="contacts",
                handler=self._saying(self._create),
                body=m.PersonNow,
                answer=m.Person,
                status=HTTPStatus.CREATED,
            ),
            Operation(
                method="GET",
                path="/crm/contacts/{id}",
                name="readContact",
                summary="A contact, also one that was merged or deleted",
                scope="contacts",
                handler=self._saying(self._read),
                answer=m.Person,
                problems=("not_found",),
            ),
            Operation(
                method="PUT",
                path="/crm/contacts/{id}",
                name="replaceContact",
                summary="Replace what is known of a contact",
                scope="contacts",
                handler=self._saying(self._replace),
                body=m.PersonNow,
                answer=m.Person,
                problems=("not_found", "stale"),
            ),
            Operation(
                method="DELETE",
                path="/crm/contacts/{id}",
                name="removeContact",
                summary="Put a contact away; POST /customers/{number}/erase forgets it",
                scope="contacts",
                handler=self._saying(self._remove),
                problems=("not_found",),
            ),
        )

    def _single(self) -> tuple[Operation, ...]:
        return (
            Operation(
                method="GET",
                path="/crm/contacts/{id}/history",
                name="contactHistory",
                summary="What became of a contact, with that of its parts",
                scope="contacts",
                handler=self._saying(self._history),
                answer=m.History,
                problems=("not_found",),
            ),
            Operation(
                method="POST",
                path="/crm/contacts/{id}/notes",
                name="noteOnContact",
                summary="Leave a note for colleagues",
                scope="contacts",
                handler=self._saying(self._note),
                body=m.Note,
                answer=m.Person,
                status=HTTPStatus.CREATED,
                problems=("not_found",),
            ),
            Operation(
                method="POST",
                path="/crm/contacts/{id}/merge",
                name="mergeContacts",
                summary="Make another contact a part of this one",
                scope="contacts",
                handler=self._saying(self._merge),
                body=m.Merge,
                answer=m.Person,
                problems=("not_found", "stale"),
            ),
            Operation(
                method="POST",
                path="/crm/contacts/{id}/unmerge",
                name="unmergeContacts",
                summary="Undo a merge",
                scope="contacts",
                handler=self._saying(self._unmerge),
                body=m.Unmerge,
                answer=m.PeopleFound,
                problems=("not_found", "stale"),
            ),
        )

    def _files(self) -> tuple[Operation, ...]:
        return (
            Operation(
                method="POST",
                path="/crm/imports",
                name="uploadContacts",
                summary="Upload a CSV file; nothing is changed before it is started",
                scope="contacts",
                handler=self._saying(self._upload),
                file=True,
                query=m.ImportQuery,
                answer=m.Import,
                problems=("import",),
            ),
            Operation(
                method="POST",
                path="/crm/imports/{id}/start",
                name="startImport",
                summary="Try a file out, or bring it in",
                scope="contacts",
                handler=self._saying(self._start),
                body=m.ImportStart,
                answer=m.Import,
                problems=("import",),
            ),
            Operation(
                method="GET",
                path="/crm/imports/{id}",
                name="importState",
                summary="How far an import has come",
                scope="contacts",
                handler=self._state,
                answer=m.Import,
                problems=("not_found",),
            ),
            Operation(
                method="GET",
                path="/crm/imports/{id}/errors",
                name="importErrors",
                summary="What was left out of an import, and why",
                scope="contacts",
                handler=self._errors,
                answer=m.ImportErrors,
                as_text=True,
                problems=("not_found",),
            ),
        )

    def _queue(self) -> tuple[Operation, ...]:
        return (
            Operation(
                method="GET",
                path="/crm/entries",
                name="crmEntries",
                summary="What the CRM is asked and told, and what it has not taken",
                scope="contacts",
                handler=self._entries,
                query=m.EntriesQuery,
                answer=m.Entries,
            ),
            Operation(
                method="POST",
                path="/crm/entries/{n}/redeliver",
                name="redeliverToCrm",
                summary="Try again what was given up",
                scope="contacts",
                handler=self._redeliver,
                problems=("not_found",),
            ),
        )

    @staticmethod
    def _saying(handler: Handler) -> Handler:
        """What cannot be done, as problems."""

        async def said(call: Call) -> BaseModel | None:
            try:
                return await handler(call)
            except NoContactError as error:
                raise ProblemError("not_found", str(error)) from error
            except StaleContactError as error:
                raise ProblemError("stale") from error
            except ImportRefusedError as error:
                raise ProblemError("import", str(error)) from error
            except FieldsError as error:
                faults = tuple(Fault(why, pointer=f"/{field}") for field, why in error.faults.items())
                raise ProblemError("fields", errors=faults) from error

        return said

    # --- people

    async def _find(self, call: Call) -> m.PeopleFound:
        asked: m.PeopleQuery = call.query
        found = await self._book.find(asked.q, asked.limit + 1, after=asked.after)
        shown = found[: asked.limit]
        return m.PeopleFound(contacts=tuple(map(_person, shown)), next=shown[-1].id if len(found) > asked.limit else None)

    async def _create(self, call: Call) -> m.Person:
        return _person(await self._book.create(call.body.model_dump(exclude={"revision"}), call.key.author))

    async def _read(self, call: Call) -> m.Person:
        return _person(await self._book.contact(call.path["id"]))

    async def _replace(self, call: Call) -> m.Person:
        asked: m.PersonNow = call.body
        given = asked.model_dump(exclude={"revision"})
        return _person(await self._book.change(call.path["id"], given, call.key.author, revision=asked.revision))

    async def _remove(self, call: Call) -> None:
        await self._book.delete(call.path["id"], call.key.author)

    async def _history(self, call: Call) -> m.History:
        whole = await self._book.page(call.path["id"])
        return m.History(
            changes=tuple(
                m.Change(
                    n=entry.n,
                    contact=entry.contact,
                    at=entry.change.at,
                    actor=entry.change.actor,
                    kind=entry.change.kind,
                    data=entry.change.data,
                )
                for entry in whole.history
            )
        )

    async def _note(self, call: Call) -> m.Person:
        await self._book.note(call.path["id"], call.body.text, call.key.author)
        return await self._read(call)

    async def _merge(self, call: Call) -> m.Person:
        return _person(await self._book.merge(call.path["id"], call.body.other, call.key.author))

    async def _unmerge(self, call: Call) -> m.PeopleFound:
        both = await self._book.unmerge(call.path["id"], call.body.change, call.key.author)
        return m.PeopleFound(contacts=tuple(map(_person, both)), next=None)

    # --- files

    async def _upload(self, call: Call) -> m.Import:
        path = self._imports.folder / f"{secrets.token_hex(8)}.csv"
        await asyncio.to_thread(path.write_bytes, call.body)
        return _import(await self._imports.take(call.query.name, path))

    async def _start(self, call: Call) -> m.Import:
        asked: m.ImportStart = call.body
        known = await self._imports.state(call.path["id"])
        mapping = asked.mapping if asked.mapping is not None else {} if known is None else known.mapping
        return _import(await self._imports.start(call.path["id"], mapping, call.key.author, dry_run=asked.dry_run))

    async def _state(self, call: Call) -> m.Import:
        known = await self._imports.state(call.path["id"])
        if known is None:
            raise ProblemError("not_found", "There is no such import (any more).")
        return _import(known)

    async def _errors(self, call: Call) -> m.ImportErrors:
        await self._state(call)
        report = bytearray()
        async for chunk in self._imports.errors(call.path["id"]):
            report += chunk
            if len(report) > LARGEST_REPORT:
                del report[report.rindex(b"\n", 0, LARGEST_REPORT) + 1 :]
                break
        return m.ImportErrors(text=report.decode("utf-8", "replace"))

    # --- the queue

    async def _entries(self, call: Call) -> m.Entries:
        asked: m.EntriesQuery = call.query
        found = await self._cards.entries(state=asked.state, limit=asked.limit + 1, after=asked.after)
        shown = found[: asked.limit]
        return m.Entries(
            counts=await self._cards.counts(),
            entries=tuple(m.Entry(**msgspec.structs.asdict(entry)) for entry in shown),
            next=shown[-1].n if len(found) > asked.limit else None,
        )

    async def _redeliver(self, call: Call) -> None:
        n = call.path["n"]
        if not n.isdecimal() or not await self._cards.redeliver(int(n)):
            raise ProblemError("not_found", "This is no dead letter.")

    async def _schema(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in SCHEMAS:
            return web.json_response({"detail": f"There are {', '.join(SCHEMAS)}."}, status=404)
        return web.Response(body=msgspec.json.encode(schema(name)), content_type="application/schema+json")


def _person(contact: StoredContact) -> m.Person:
    return m.Person(**msgspec.to_builtins(contact.fields), **msgspec.to_builtins(contact))


def _import(progress: Progress) -> m.Import:
    return m.Import(**msgspec.to_builtins(progress))
