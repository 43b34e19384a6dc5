"""Tables of what the reports count; they belong to `bridge.journal.tables`.

`agent_span` is a ledger like the others. The `fact_*` tables are made from the ledgers, may be thrown away, and are made again.
They name no customer.
"""

from sqlalchemy import Boolean, Column, Double, Index, Integer, Table, Text, text

from bridge.journal.tables import RowNumber, metadata

agent_span = Table(
    "agent_span",
    metadata,
    Column("n", RowNumber, primary_key=True),
    Column("agent", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("since", Double, nullable=False),
    Index(None, "agent", "since", "n"),
    Index(None, "since"),
)

fact_session = Table(
    "fact_session",
    metadata,
    Column("id", Text, primary_key=True),
    Column("lines", Integer, nullable=False),  # of the timeline that it was made from
    Column("at", Double, nullable=False),
    Column("until", Double),
    Column("type", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("queue", Text),
    Column("by_customer", Boolean, nullable=False),
    Column("previous_at", Double),  # when the same customer had begun a session before
    Index(None, "at"),
)

fact_visit = Table(
    "fact_visit",
    metadata,
    Column("session", Text, primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("queue", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("entry", Text, nullable=False),
    Column("place", Double, nullable=False),
    Column("until", Double),
    Column("outcome", Text),
    Column("agent", Text),
    Column("rings", Integer, nullable=False),
    Column("lapses", Integer, nullable=False),
    Index(None, "at"),
)

fact_handling = Table(
    "fact_handling",
    metadata,
    Column("session", Text, primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("queue", Text),
    Column("channel", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("entry", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("until", Double),
    Column("ended_by", Text),
    Column("held", Double, nullable=False),
    Column("held_since", Double),
    Column("first_response", Double),
    Column("responses", Integer, nullable=False),
    Column("response_time", Double, nullable=False),
    Index(None, "at"),
    Index(None, "agent", "until"),
)

fact_wrap_up = Table(
    "fact_wrap_up",
    metadata,
    Column("session", Text, primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),  # of the handling
    Column("at", Double, nullable=False),
    Column("queue", Text),
    Column("channel", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("seconds", Double, nullable=False),
    Index(None, "at"),
)

fact_text = Table(
    "fact_text",
    metadata,
    Column("message", Text, primary_key=True),
    Column("session", Text),
    Column("at", Double, nullable=False),
    Column("direction", Text, nullable=False),
    Column("channel", Text, nullable=False),  # sms; for the same words as the others
    Column("type", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("agent", Text),
    Column("queue", Text),
    Column("country", Text),
    Column("media", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("segments", Integer),
    Column("settled", Boolean, nullable=False),  # its state and segments are not looked at again
    Index(None, "at"),
    Index(None, "session"),
)
Index("ix_fact_text_open", fact_text.c.at, sqlite_where=text("NOT settled"), postgresql_where=text("NOT settled"))

fact_mark = Table(
    "fact_mark",
    metadata,
    Column("session", Text, primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    Column("at", Double, nullable=False),
    Column("queue", Text),
    Column("channel", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("agent", Text),
    Column("detail", Text, nullable=False),
    Column("value", Double),
    Column("other", Double),
    Column("message", Text),
    Index(None, "kind", "at"),
)

PER_SESSION = (fact_visit, fact_handling, fact_text, fact_mark)
"""What is replaced with a session that has gone on."""
