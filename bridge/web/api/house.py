"""Sessions, numbers, reports and notices that did not arrive."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from bridge.events import AgentId, QueueId, SessionId
from bridge.journal import StoredSession
from bridge.transcript import Names, as_text
from bridge.web.api import models as m
from bridge.web.api.operation import Behind, Call, Operation
from bridge.web.api.problems import Fault, ProblemError

MOST_SPANS = 2_000
"""Of a report."""
DAY = 86_400.0
SPOKEN = frozenset(
    {
        "call.arrived", "call.ended", "queue.joined", "agent.joined", "agent.left", "text.sent", "text.received", "text.failed",
        "answer.stored", "opted_out", "opted_in", "note.written", "media.uploaded", "session.closed",
    }
)  # fmt: skip
"""Lines of a timeline that belong into a transcript."""


class House:
    """The operations on the house."""

    def __init__(self, behind: Behind) -> None:
        self._behind = behind

    def operations(self) -> tuple[Operation, ...]:
        """What can be asked."""
        return (*self._of_sessions(), *self._of_numbers(), *self._of_hooks())

    def _of_sessions(self) -> tuple[Operation, ...]:
        return (
            Operation(
                method="GET",
                path="/sessions",
                name="sessions",
                summary="Sessions, the newest first",
                scope="sessions.read",
                handler=self._sessions,
                query=m.SessionQuery,
                answer=m.SessionPage,
                problems=("invalid_number",),
            ),
            Operation(
                method="GET",
                path="/sessions/{id}",
                name="session",
                summary="One session with its timeline and texts",
                scope="sessions.read",
                handler=self._session,
                answer=m.Document,
                problems=("not_found",),
            ),
            Operation(
                method="GET",
                path="/sessions/{id}/explain",
                name="explainSession",
                summary="Every decision of a session with its inputs and reason, in order",
                scope="sessions.read",
                handler=self._explain,
                answer=m.Document,
                problems=("not_found",),
            ),
            Operation(
                method="GET",
                path="/sessions/{id}/transcript",
                name="transcript",
                summary="What was said in a session, as JSON or (Accept: text/plain) for people to read",
                scope="sessions.read",
                handler=self._transcript,
                query=m.TranscriptQuery,
                answer=m.Transcript,
                as_text=True,
                problems=("not_found",),
            ),
        )

    def _of_numbers(self) -> tuple[Operation, ...]:
        return (
            Operation(
                method="GET",
                path="/numbers",
                name="numbers",
                summary="Our numbers, what the carriers think of them, and what they may still send today",
                scope="sms.read",
                handler=self._numbers,
                answer=m.OurNumbers,
            ),
            Operation(
                method="GET",
                path="/reports/texts",
                name="reportTexts",
                summary="Counts of texts over time, by direction, state and queue",
                scope="reports.read",
                handler=self._report,
                query=m.ReportQuery,
                answer=m.TextReport,
            ),
        )

    def _of_hooks(self) -> tuple[Operation, ...]:
        return (
            Operation(
                method="GET",
                path="/hooks/dead",
                name="deadLetters",
                summary="Notices that an endpoint did not take and that were given up, oldest first",
                scope="hooks",
                handler=self._dead,
                query=m.DeadQuery,
                answer=m.DeadLetters,
            ),
            Operation(
                method="POST",
                path="/hooks/deliveries/{n}/redeliver",
                name="redeliver",
                summary="Try a dead letter again",
                scope="hooks",
                handler=self._redeliver,
                answer=m.Redelivered,
                status=HTTPStatus.ACCEPTED,
                problems=("not_found",),
            ),
        )

    # --- sessions

    async def _sessions(self, call: Call) -> m.SessionPage:
        asked: m.SessionQuery = call.query
        rows = await self._behind.journal.sessions(
            asked.limit + 1,
            customer=None if asked.customer is None else self._behind.number(asked.customer),
            our_number=None if asked.number is None else self._behind.number(asked.number),
            queue=None if asked.queue is None else QueueId(asked.queue),
            agent=None if asked.agent is None else AgentId(asked.agent),
            state=asked.state,
            service=asked.service,
            since=asked.since,
            until=asked.until,
            after=None if asked.after is None else SessionId(asked.after),
        )
        shown = rows[: asked.limit]
        return m.SessionPage(
            sessions=tuple(_session(stored) for stored in shown), next=shown[-1].id if len(rows) > asked.limit else None
        )

    async def _session(self, call: Call) -> m.Document:
        return _found(await self._behind.records.session(SessionId(call.path["id"])))

    async def _explain(self, call: Call) -> m.Document:
        return _found(await self._behind.records.explain(SessionId(call.path["id"])))

    async def _transcript(self, call: Call) -> m.Transcript:
        asked: m.TranscriptQuery = call.query
        try:
            zone = ZoneInfo(asked.zone)
        except (KeyError, ValueError, OSError) as error:
            fault = Fault("Give an IANA time zone, such as America/New_York.", parameter="zone")
            raise ProblemError("parameters", errors=(fault,)) from error
        session = SessionId(call.path["id"])
        stored = await self._behind.journal.session(session)
        if stored is None:
            raise ProblemError("not_found", "There is no such session.")
        lines = await self._behind.journal.timeline(session)
        words = as_text(
            stored, lines, await self._behind.journal.messages(session), zone=zone, names=await self._names(stored.row.customer)
        )
        return m.Transcript(
            session=_session(stored),
            lines=tuple(m.Line(at=line.at, kind=line.kind, data=line.data) for line in lines if line.kind in SPOKEN),
            text=words,
        )

    async def _names(self, customer: str | None) -> Names:
        settings = self._behind.settings
        contact = None if customer is None else await self._behind.journal.contact(customer)
        return Names(
            settings.brand,
            {agent.id: agent.name for agent in settings.agents},
            {queue.id: queue.title for queue in settings.queues},
            None if contact is None else contact.name,
        )

    # --- numbers and reports

    async def _numbers(self, _call: Call) -> m.OurNumbers:
        return m.OurNumbers(
            numbers=tuple(
                m.OurNumber(
                    number=number.number,
                    **number.sender.model_dump(),
                    left_today=self._behind.channel.left_today(number.number),
                    queue=number.desk,
                    agent=number.agent,
                    menu=number.menu,
                    calls=number.flow is not None,
                )
                for number in self._behind.settings.numbers
            )
        )

    async def _report(self, call: Call) -> m.TextReport:
        asked: m.ReportQuery = call.query
        until = self._behind.now() if asked.until is None else asked.until
        since = until - DAY if asked.since is None else asked.since
        if not 0 <= until - since <= MOST_SPANS * asked.bucket:
            fault = Fault(f"since has to lie before until, at most {MOST_SPANS:,} buckets.", parameter="since")
            raise ProblemError("parameters", errors=(fault,))
        counts = await self._behind.journal.report_texts(since, until, asked.bucket)
        return m.TextReport(
            since=since,
            until=until,
            bucket=asked.bucket,
            counts=tuple(m.Count(**msgspec.structs.asdict(count)) for count in counts),
        )

    # --- notices that did not arrive

    async def _dead(self, call: Call) -> m.DeadLetters:
        asked: m.DeadQuery = call.query
        rows = await self._behind.journal.dead_letters(asked.limit + 1, asked.after)
        shown = rows[: asked.limit]
        return m.DeadLetters(
            deliveries=tuple(
                m.DeadLetter(
                    n=row.n,
                    id=row.id,
                    type=row.type,
                    session=row.session,
                    endpoint=row.endpoint,
                    at=row.at,
                    attempts=row.attempts,
                    last_error=row.last_error,
                    body=msgspec.json.decode(row.body),
                )
                for row in shown
            ),
            next=shown[-1].n if len(rows) > asked.limit else None,
        )

    async def _redeliver(self, call: Call) -> m.Redelivered:
        written = call.path["n"]
        n = int(written) if written.isascii() and written.isdigit() and len(written) < 19 else 0
        if not await self._behind.redeliver(n, self._behind.now()):
            raise ProblemError("not_found", "There is no dead letter with this number.")
        return m.Redelivered(n=n)


def _session(stored: StoredSession) -> m.SessionRow:
    return m.SessionRow(id=stored.id, **msgspec.structs.asdict(stored.row))


def _found(document: Mapping[str, Any] | None) -> m.Document:
    if document is None:
        raise ProblemError("not_found", "There is no such session.")
    return m.Document(**document)
