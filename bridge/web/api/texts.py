"""Texts: sent, planned, looked at, taken back."""

from http import HTTPStatus
from itertools import pairwise
from typing import Any

from bridge.channel import Sent
from bridge.events import Media, MessageId, SessionId
from bridge.journal import MessageRow
from bridge.media_store import Kept, MediaRefusedError
from bridge.web.api import models as m
from bridge.web.api.operation import Behind, Call, Operation
from bridge.web.api.problems import ProblemError
from sms import errors
from sms.consent import compliance_parts
from sms.numbers import normalise
from sms.segments import segment

TAKING = (
    "invalid_number", "cannot_text", "opted_out", "blocked", "no_consent", "quiet_hours", "unknown_sender", "unregistered_sender",
    "sender_not_allowed", "unknown_media", "empty", "too_long", "too_late", "too_early",
)  # fmt: skip
"""Why a text is not taken."""


class Texts:
    """The operations on texts."""

    def __init__(self, behind: Behind) -> None:
        self._behind = behind

    def operations(self) -> tuple[Operation, ...]:
        """What can be asked."""
        return (
            Operation(
                method="POST",
                path="/sms",
                name="sendText",
                summary="Text a customer; an answer reaches an agent",
                scope="sms.send",
                handler=self._send,
                body=m.Text,
                answer=m.Taken,
                status=HTTPStatus.ACCEPTED,
                problems=(*TAKING, "unknown_queue", "unknown_agent", "held"),
            ),
            Operation(
                method="POST",
                path="/sms/sessionless",
                name="sendSessionless",
                summary="Text a customer without a conversation; an answer gets a canned reply at most",
                scope="sms.send",
                handler=self._send_sessionless,
                body=m.Sessionless,
                answer=m.Taken,
                status=HTTPStatus.ACCEPTED,
                problems=TAKING,
            ),
            Operation(
                method="POST",
                path="/sms/preview",
                name="previewText",
                summary="What a text would cost and lack, without sending it",
                scope="sms.read",
                handler=self._preview,
                body=m.Draft,
                answer=m.Preview,
                problems=("invalid_number",),
            ),
            Operation(
                method="GET",
                path="/sms",
                name="texts",
                summary="Texts in and out, the newest first",
                scope="sms.read",
                handler=self._page,
                query=m.TextQuery,
                answer=m.TextPage,
                problems=("invalid_number",),
            ),
            Operation(
                method="GET",
                path="/sms/{id}",
                name="text",
                summary="One text with every step of its life",
                scope="sms.read",
                handler=self._text,
                answer=m.TextDetail,
                problems=("not_found",),
            ),
            Operation(
                method="DELETE",
                path="/sms/{id}",
                name="cancelText",
                summary="Never send a text that waits for its time",
                scope="sms.send",
                handler=self._cancel,
                problems=("not_found", "not_yours", "not_waiting"),
            ),
            Operation(
                method="POST",
                path="/media",
                name="uploadMedia",
                summary="Keep a file that is to go with a text",
                scope="sms.send",
                handler=self._upload,
                file=True,
                answer=m.File,
                status=HTTPStatus.CREATED,
                problems=("media",),
            ),
        )

    async def _send(self, call: Call) -> m.Taken:
        asked: m.Text = call.body
        due, until = self._times(asked)
        sent = await self._behind.channel.send(
            call.key.author,
            asked.to,
            self._sender(call, asked.sender),
            asked.text,
            purpose=asked.purpose,
            media=await self._media(asked.media),
            queue=asked.queue,
            agent=asked.agent,
            ticket=asked.ticket,
            due_at=due,
            expires_at=until,
            once=call.once,
        )
        return _taken(sent)

    async def _send_sessionless(self, call: Call) -> m.Taken:
        asked: m.Sessionless = call.body
        due, until = self._times(asked)
        sent = await self._behind.channel.send_sessionless(
            call.key.author,
            asked.to,
            self._sender(call, asked.sender),
            asked.text,
            purpose=asked.purpose,
            media=await self._media(asked.media),
            due_at=due,
            expires_at=until,
            once=call.once,
        )
        return _taken(sent)

    def _sender(self, call: Call, written: str) -> str:
        sender = normalise(written, region=self._behind.settings.country) or written
        if call.key.numbers and sender not in call.key.numbers:
            raise ProblemError("sender_not_allowed", f"{call.key.name} may send from {', '.join(sorted(call.key.numbers))}.")
        return sender

    def _times(self, asked: m.Sessionless) -> tuple[float | None, float | None]:
        """When it is due, and when it is too late."""
        begins = max(self._behind.now(), asked.send_at or 0.0)
        return asked.send_at, None if asked.valid_for is None else begins + asked.valid_for

    async def _media(self, digests: tuple[str, ...]) -> tuple[Media, ...]:
        media = []
        for digest in digests:
            kept = await self._behind.media.find(digest)
            if not isinstance(kept, Kept):
                why = {"checking": "is still being checked", "infected": "is infected", "gone": "is not here (any more)"}[kept]
                raise ProblemError("unknown_media", f"The file {digest} {why}.")
            media.append(Media(kept.digest, kept.content_type, kept.size))
        return tuple(media)

    async def _preview(self, call: Call) -> m.Preview:
        draft: m.Draft = call.body
        cost = segment(draft.text)
        verdict = None
        if draft.to is not None and draft.sender is not None:
            number = self._behind.number(draft.to)
            verdict = await self._behind.channel.may_text(number, self._sender(call, draft.sender), draft.purpose)
        return m.Preview(
            encoding=cost.encoding,
            units=cost.units,
            segments=cost.segments,
            remaining=cost.remaining,
            forced_by=cost.forced_by,
            missing=compliance_parts(draft.text, brand=self._behind.settings.brand),
            allowed=None if verdict is None else verdict.allowed,
            rule=None if verdict is None or verdict.allowed else verdict.reason,
        )

    async def _page(self, call: Call) -> m.TextPage:
        asked: m.TextQuery = call.query
        rows = await self._behind.journal.messages_page(
            asked.limit + 1,
            number=None if asked.number is None else self._behind.number(asked.number),
            session=None if asked.session is None else SessionId(asked.session),
            direction=asked.direction,
            state=asked.state,
            since=asked.since,
            until=asked.until,
            after=None if asked.after is None else MessageId(asked.after),
        )
        shown = rows[: asked.limit]
        return m.TextPage(
            texts=tuple(m.TextRow(**_fields(row)) for row in shown), next=shown[-1].id if len(rows) > asked.limit else None
        )

    async def _text(self, call: Call) -> m.TextDetail:
        row = await self._row(call)
        line = await self._behind.journal.outbox(row.id)
        steps = await self._behind.journal.message_steps(row.id)
        # A text that is taken back says so twice: to itself, and to its conversation.
        news = [step for before, step in pairwise((None, *steps)) if step and (before is None or before.state != step.state)]
        return m.TextDetail(
            **_fields(row),
            advice=None if row.error_code is None else errors.diagnose(row.provider, row.error_code).advice,
            send_at=None if line is None else line.due_at,
            valid_until=None if line is None else line.expires_at,
            attempts=0 if line is None else line.attempts,
            steps=tuple(m.Step(state=step.state, at=step.at, code=step.error_code) for step in news),
        )

    async def _cancel(self, call: Call) -> None:
        row = await self._row(call)
        if call.key.scopes is not None and row.author != call.key.author:
            raise ProblemError("not_yours", f"{call.key.name} did not ask for this text.")
        if not await self._behind.channel.cancel(row.id):
            raise ProblemError("not_waiting", f"The text is {row.state}; only one that waits for its time can be canceled.")

    async def _row(self, call: Call) -> MessageRow:
        row = await self._behind.journal.message(MessageId(call.path["id"]))
        if row is None:
            raise ProblemError("not_found", "There is no such text.")
        return row

    async def _upload(self, call: Call) -> m.File:
        try:
            media = await self._behind.media.put(call.body)
        except MediaRefusedError as error:
            raise ProblemError("media", f"The file was not taken: {error}.") from error
        return m.File(digest=media.digest, content_type=media.content_type, size=media.size)


def _taken(sent: Sent) -> m.Taken:
    return m.Taken(id=sent.message, session=sent.session, state=sent.state, send_at=sent.due_at, missing=sent.missing)


def _fields(row: MessageRow) -> dict[str, Any]:
    """What every view of a text shows."""
    return {
        "id": row.id,
        "session": row.session,
        "direction": row.direction,
        "sender": row.sender,
        "to": row.recipient,
        "text": row.body,
        "media": tuple(m.File(digest=one.digest, content_type=one.content_type, size=one.size) for one in row.media),
        "state": row.state,
        "code": row.error_code,
        "explanation": None if row.error_code is None else errors.diagnose(row.provider, row.error_code).explanation,
        "segments": row.segments,
        "purpose": row.purpose,
        "author": row.author,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }
