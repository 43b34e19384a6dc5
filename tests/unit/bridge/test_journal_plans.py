"""No question reads a table from end to end: each finds its rows by an index, however much has been kept."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from bridge.events import AgentId, MessageId, ProviderRef, QueueId, SessionId
from bridge.journal import Journal, tables

NUMBER, US, SESSION, TEXT = "+15550100200", "+15550100100", SessionId("s"), MessageId("m")
QUESTIONS: dict[str, Callable[[Journal], Awaitable[Any]]] = {
    "newest sessions": lambda journal: journal.sessions(50),
    "a page of sessions": lambda journal: journal.sessions(50, after=SESSION),
    "sessions of a queue": lambda journal: journal.sessions(50, queue=QueueId("q"), after=SESSION),
    "sessions of an agent": lambda journal: journal.sessions(50, agent=AgentId("a"), after=SESSION),
    "sessions of a customer": lambda journal: journal.sessions(50, customer=NUMBER),
    "sessions of a day": lambda journal: journal.sessions(50, since=1.0, until=2.0),
    "open sessions": lambda journal: journal.open_sessions(),
    "correlation": lambda journal: journal.find_open(NUMBER, US),
    "a timeline": lambda journal: journal.timeline(SESSION),
    "decisions": lambda journal: journal.decisions(SESSION),
    "texts of a session": lambda journal: journal.messages(SESSION),
    "a page of texts": lambda journal: journal.messages_page(50, after=TEXT),
    "texts of a customer": lambda journal: journal.messages_page(50, number=NUMBER),
    "a text by its ref": lambda journal: journal.message_by_ref("twilio", ProviderRef("SM1")),
    "steps of a text": lambda journal: journal.message_steps(TEXT),
    "last sent": lambda journal: journal.recent_outbound(NUMBER, US),
    "known refs": lambda journal: journal.known_refs("twilio", NUMBER, 1.0),
    "reports not heard": lambda journal: journal.undecided("twilio", 1.0, 500),
    "inbound to be handled": lambda journal: journal.unhandled_inbound(),
    "inbound before another": lambda journal: journal.has_earlier_inbound(TEXT, NUMBER, US, 1.0),
    "outbox": lambda journal: journal.outbox_now(1.0, 128),
    "may it be texted": lambda journal: journal.suppressed(NUMBER, US),
    "consents": lambda journal: journal.consents(NUMBER),
    "deliveries": lambda journal: journal.deliveries_due("https://example.org", 1.0, 50),
    "next delivery": lambda journal: journal.next_delivery("https://example.org", 1.0),
    "report of an hour": lambda journal: journal.report_texts(0.0, 3600.0),
    "everything of a customer": lambda journal: journal.export(NUMBER),
}
WHOLE_TABLE = re.compile(rf"SCAN ({'|'.join(tables.metadata.tables)})\b(?! USING)")


@pytest.mark.parametrize("name", QUESTIONS)
async def test_every_question_goes_by_an_index(name: str, tmp_path: Path) -> None:
    """SQLite's plan for each statement has no scan of a table."""
    asked: list[tuple[str, Any]] = []
    async with Journal.open(f"sqlite:///{tmp_path}/journal.db") as journal:
        engine = journal._readers._engine

        @event.listens_for(engine, "before_cursor_execute")
        def _remember(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if statement.startswith("SELECT"):
                asked.append((statement, parameters))

        await QUESTIONS[name](journal)
        event.remove(engine, "before_cursor_execute", _remember)
        plans = await journal._readers.run(
            lambda connection: [
                (statement, str(row.detail))
                for statement, parameters in asked
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            ]
        )

    assert plans
    assert [(detail, statement) for statement, detail in plans if WHOLE_TABLE.match(detail)] == []
