"""The people behind the numbers: contacts, consents, opt-outs, the blocklist, export and erasure."""

from http import HTTPStatus
from typing import Any

import msgspec
import structlog

from bridge.events import MessageId
from bridge.journal import EVERY_SENDER, BlockRow, ConsentRow, ContactRow, MessageRow, StillOpenError, Unit
from bridge.journal.house import Entry
from bridge.media_store import BlobsUnavailableError
from bridge.web.api import models as m
from bridge.web.api.operation import Behind, Call, Operation
from bridge.web.api.problems import Fault, ProblemError
from sms import keywords
from sms.numbers import normalise

log = structlog.get_logger(__name__)


class People:
    """The operations on people."""

    def __init__(self, behind: Behind) -> None:
        self._behind = behind

    def operations(self) -> tuple[Operation, ...]:
        """What can be asked."""
        return (*self._contacts(), *self._permissions(), *self._customers())

    def _contacts(self) -> tuple[Operation, ...]:
        return (
            Operation(
                method="GET",
                path="/contacts/{number}",
                name="contact",
                summary="What is known of a number",
                scope="contacts",
                handler=self._contact,
                answer=m.Contact,
                problems=("invalid_number", "not_found"),
            ),
            Operation(
                method="PUT",
                path="/contacts/{number}",
                name="putContact",
                summary="Replace what is known of a number",
                scope="contacts",
                handler=self._put_contact,
                body=m.ContactNow,
                answer=m.Contact,
                problems=("invalid_number",),
            ),
            Operation(
                method="DELETE",
                path="/contacts/{number}",
                name="deleteContact",
                summary="Clear what is known of a number; its history stays, and POST /customers/{number}/erase removes it",
                scope="contacts",
                handler=self._delete_contact,
                problems=("invalid_number", "not_found"),
            ),
        )

    def _permissions(self) -> tuple[Operation, ...]:
        return (
            Operation(
                method="GET",
                path="/consents/{number}",
                name="consents",
                summary="Everything a number agreed to and refused, oldest first",
                scope="consents",
                handler=self._consents,
                answer=m.Consents,
                problems=("invalid_number",),
            ),
            Operation(
                method="POST",
                path="/consents",
                name="recordConsent",
                summary="Record an agreement, or its end, that was given somewhere else",
                scope="consents",
                handler=self._record_consent,
                body=m.NewConsent,
                answer=m.Consent,
                status=HTTPStatus.CREATED,
                problems=("invalid_number", "unknown_sender"),
            ),
            Operation(
                method="POST",
                path="/opt-outs",
                name="optOut",
                summary="Text a number no more",
                scope="consents",
                handler=self._opt_out,
                body=m.NewOptOut,
                answer=m.OptOut,
                status=HTTPStatus.CREATED,
                problems=("invalid_number", "unknown_sender"),
            ),
            Operation(
                method="DELETE",
                path="/opt-outs/{number}",
                name="liftOptOut",
                summary="Text a number again, for the customer's own START or with written proof",
                scope="consents",
                handler=self._lift,
                body=m.Lifting,
                answer=m.OptOut,
                problems=("invalid_number", "unknown_sender", "proof"),
            ),
            Operation(
                method="GET",
                path="/blocklist",
                name="blocklist",
                summary="Numbers whose calls and texts are not taken",
                scope="consents",
                handler=self._blocklist,
                query=m.Page,
                answer=m.Blocklist,
            ),
            Operation(
                method="POST",
                path="/blocklist",
                name="block",
                summary="Take no calls and texts of a number",
                scope="consents",
                handler=self._block,
                body=m.Block,
                answer=m.Blocked,
                status=HTTPStatus.CREATED,
                problems=("invalid_number",),
            ),
            Operation(
                method="DELETE",
                path="/blocklist/{number}",
                name="unblock",
                summary="Take calls and texts of a number again",
                scope="consents",
                handler=self._unblock,
                problems=("invalid_number", "not_found", "fixed"),
            ),
        )

    def _customers(self) -> tuple[Operation, ...]:
        return (
            Operation(
                method="GET",
                path="/customers/{number}/export",
                name="exportCustomer",
                summary="Everything that is kept about a number",
                scope="erase",
                handler=self._export,
                answer=m.Document,
                problems=("invalid_number",),
            ),
            Operation(
                method="POST",
                path="/customers/{number}/erase",
                name="eraseCustomer",
                summary="Remove what is kept about a number, except that it opted out",
                scope="erase",
                handler=self._erase,
                answer=m.Erased,
                problems=("invalid_number", "still_open"),
            ),
        )

    # --- contacts

    async def _contact(self, call: Call) -> m.Contact:
        number = self._behind.number(call.path["number"])
        row = await self._behind.journal.contact(number)
        if row is None or (row.name is None and row.language is None and not row.data):
            raise ProblemError("not_found", "Nothing is known of this number.")
        return m.Contact(**msgspec.structs.asdict(row))

    async def _put_contact(self, call: Call) -> m.Contact:
        known: m.ContactNow = call.body
        row = ContactRow(
            number=self._behind.number(call.path["number"]),
            name=known.name,
            language=known.language,
            data=known.data,
            updated_at=self._behind.now(),
            actor=call.key.author,
        )
        await self._behind.journal.commit(Unit(contacts=[row]))
        return m.Contact(**msgspec.structs.asdict(row))

    async def _delete_contact(self, call: Call) -> None:
        number = (await self._contact(call)).number
        row = ContactRow(number=number, updated_at=self._behind.now(), actor=call.key.author)
        await self._behind.journal.commit(Unit(contacts=[row]))

    # --- what they agreed to, and what not

    async def _consents(self, call: Call) -> m.Consents:
        number = self._behind.number(call.path["number"])
        ledger = await self._behind.journal.suppressions(number)
        return m.Consents(
            number=number,
            consents=tuple(m.Consent(**msgspec.structs.asdict(row)) for row in await self._behind.journal.consents(number)),
            opt_outs=tuple(
                m.OptOutRow(
                    sender=entry.sender,
                    suppressed=suppressed,
                    provisional=entry.provisional,
                    evidence=entry.evidence,
                    reason=entry.reason,
                    at=entry.at,
                )
                for suppressed, entry in ledger
            ),
        )

    async def _record_consent(self, call: Call) -> m.Consent:
        given: m.NewConsent = call.body
        now = self._behind.now()
        if given.at is not None and given.at > now:
            raise ProblemError("fields", errors=(Fault("This time has not come yet.", pointer="/at"),))
        row = ConsentRow(
            number=self._behind.number(given.number),
            purpose=given.purpose,
            granted=given.granted,
            words=given.words,
            language=given.language,
            evidence=given.evidence,
            actor=call.key.author,
            at=now if given.at is None else given.at,
            sender=self._ours(given.sender),
        )
        await self._behind.journal.commit(Unit(consents=[row]))
        return m.Consent(**msgspec.structs.asdict(row))

    async def _opt_out(self, call: Call) -> m.OptOut:
        asked: m.NewOptOut = call.body
        number = self._behind.number(asked.number)
        sender = self._ours(asked.sender)
        await self._behind.channel.opt_out(number, sender, f"{call.key.author}: {asked.evidence}")
        return m.OptOut(number=number, sender=sender or EVERY_SENDER, opted_out=True, at=self._behind.now())

    async def _lift(self, call: Call) -> m.OptOut:
        asked: m.Lifting = call.body
        number = self._behind.number(call.path["number"])
        sender = self._ours(asked.sender)
        if asked.proof == "start":
            start = await self._start_of(number, asked.message)
            sender = await self._said_to(start, sender)
            evidence: str | None = f"message {start.id}"
        else:
            evidence = asked.evidence
        if evidence is None:
            raise ProblemError("proof", "With proof written, evidence has to describe it: what, from when, and where it is kept.")
        await self._behind.channel.opt_in(number, sender, f"{call.key.author}: {evidence}")
        return m.OptOut(number=number, sender=sender or EVERY_SENDER, opted_out=False, at=self._behind.now())

    def _ours(self, written: str | None) -> str | None:
        """A number of ours as the settings have it."""
        if written is None:
            return None
        sender = normalise(written, region=self._behind.settings.country) or written
        if sender not in {number.number for number in self._behind.settings.numbers}:
            raise ProblemError("unknown_sender", f"{written} is none of our numbers.")
        return sender

    async def _start_of(self, number: str, message: str | None) -> MessageRow:
        """The customer's own START."""
        row = None if message is None else await self._behind.journal.message(MessageId(message))
        if row is None or row.direction != "in" or row.sender != number:
            raise ProblemError("proof", "message has to be the id of a text that this number sent to us.")
        if keywords.classify(row.body).keyword != "start":
            raise ProblemError("proof", "That text does not say START or one of its like.")
        return row

    async def _said_to(self, start: MessageRow, sender: str | None) -> str:
        """The number of ours that a START opens: the one it was sent to, unless the customer has said STOP since."""
        if sender not in {None, start.recipient}:
            raise ProblemError("proof", f"That START was sent to {start.recipient} and opens no other number of ours.")
        ledger = await self._behind.journal.suppressions(start.sender)
        if any(
            holds and entry.sender in {start.recipient, EVERY_SENDER} and entry.at > start.created_at for holds, entry in ledger
        ):
            raise ProblemError("proof", "That START is older than the opt-out.")
        return start.recipient

    # --- the blocklist

    async def _blocklist(self, call: Call) -> m.Blocklist:
        page: m.Page = call.query
        rows = await self._behind.journal.blocklist(page.limit + 1, page.after)
        fixed = self._behind.settings.sms.blocked if page.after is None else ()
        shown = [m.Blocked(**msgspec.structs.asdict(row)) for row in rows[: page.limit]]
        return m.Blocklist(
            numbers=(*(m.Blocked(number=one, reason="sms.blocked", actor="settings", at=None) for one in fixed), *shown),
            next=shown[-1].number if len(rows) > page.limit else None,
        )

    async def _block(self, call: Call) -> m.Blocked:
        asked: m.Block = call.body
        row = BlockRow(
            number=self._behind.number(asked.number), reason=asked.reason, actor=call.key.author, at=self._behind.now()
        )
        await self._behind.journal.commit(Unit(block=[row]))
        await self._behind.journal.note(Entry(row.at, row.actor, "number.blocked", f"number {row.number}", after=row.reason))
        return m.Blocked(**msgspec.structs.asdict(row))

    async def _unblock(self, call: Call) -> None:
        number = self._behind.number(call.path["number"])
        if await self._behind.journal.blocked(number) is None:
            if number in self._behind.settings.sms.blocked:
                raise ProblemError("fixed")
            raise ProblemError("not_found", "This number is not on the blocklist.")
        await self._behind.journal.commit(Unit(unblock=[number]))
        await self._behind.journal.note(Entry(self._behind.now(), call.key.author, "number.unblocked", f"number {number}"))

    # --- all of it

    async def _export(self, call: Call) -> m.Document:
        everything: dict[str, Any] = dict(await self._behind.journal.export(self._behind.number(call.path["number"])))
        return m.Document(**everything)

    async def _erase(self, call: Call) -> m.Erased:
        number = self._behind.number(call.path["number"])
        try:
            erased = await self._behind.journal.erase(number, at=self._behind.now())
        except StillOpenError as error:
            raise ProblemError("still_open", f"Not yet: {error}.") from error
        left = []
        for digest in erased.digests:
            try:
                await self._behind.media.delete(digest)
            except (BlobsUnavailableError, OSError):
                log.exception("media.not_erased", digest=digest)
                left.append(digest)
        mails = await self._behind.forget_mails(erased.sessions)
        return m.Erased(number=number, rows=erased.counts, files=len(erased.digests) - len(left), left=tuple(left), mails=mails)
