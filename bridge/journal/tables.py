"""The tables, as SQLAlchemy Core sees them. The migrations under `bridge/migrations` make them; a test compares the two."""

from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

RowNumber = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only in a column that is called INTEGER."""


class Json(TypeDecorator[Any]):
    """A value kept as JSON text, so that a person with a database shell can read it."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Encode."""
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002
        """Decode."""
        return None if value is None else msgspec.json.decode(value)


class JsonBytes(TypeDecorator[bytes]):
    """JSON that is bytes on our side of the door and text on the other."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """UTF-8, as RFC 8259 section 8.1 wants it."""
        return None if value is None else value.decode()

    def process_result_value(self, value: Any, dialect: Dialect) -> bytes | None:  # noqa: ARG002
        """UTF-8 again."""
        return None if value is None else str(value).encode()


session = Table(
    "session",
    metadata,
    Column("id", Text, primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("lines", Integer, nullable=False),
    Column("snapshot", JsonBytes, nullable=False),
    Column("state", Text, nullable=False),
    Column("customer", Text),
    Column("our_number", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("queue", Text),
    Column("agent", Text),
    Column("opened_at", Double, nullable=False),
    Column("closed_at", Double),
    Column("text_state", Text, nullable=False),
    Column("call_state", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("ended_reason", Text),
    Column("handled", Double, nullable=False),
    Column("first_agent_at", Double),
    Column("fence", BigInteger, nullable=False),
    Index(None, "customer", "our_number", "opened_at"),
    Index(None, "closed_at", "opened_at"),
    Index(None, "opened_at", "id"),
    Index(None, "queue", "opened_at", "id"),
    Index(None, "agent", "opened_at", "id"),
)

event = Table(
    "event",
    metadata,
    Column("session", ForeignKey("session.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("body", JsonBytes, nullable=False),
    CheckConstraint("seq >= 1", name="seq"),
)

timeline = Table(
    "timeline",
    metadata,
    Column("session", ForeignKey("session.id"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("data", Json, nullable=False),
)

message = Table(
    "message",
    metadata,
    Column("n", RowNumber, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("session", ForeignKey("session.id")),
    Column("direction", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("provider_ref", Text),
    Column("sender", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("media", Json, nullable=False),
    Column("state", Text, nullable=False),
    Column("segments", Integer),
    Column("error_code", Text),
    Column("purpose", Text),
    Column("author", Text, nullable=False),
    Column("preset", Text),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double),
    UniqueConstraint("provider", "provider_ref"),
    CheckConstraint("direction in ('in', 'out')", name="direction"),
    Index(None, "session", "n"),
    Index(None, "recipient", "created_at"),
    Index(None, "created_at"),
)
Index(  # who wrote to us; of outbound texts the sender is one of our few numbers, and no help
    None, message.c.sender, message.c.n, sqlite_where=text("direction = 'in'"), postgresql_where=text("direction = 'in'")
)
Index(  # the few texts with pictures, to tell which pictures are still wanted
    "ix_message_media", message.c.n, sqlite_where=text("media <> '[]'"), postgresql_where=text("media <> '[]'")
)

UNDECIDED = "state IN ('accepted', 'queued', 'sending', 'sent')"
"""The provider has the text, and we have not heard of its end."""
Index("ix_message_undecided", message.c.provider, message.c.n, sqlite_where=text(UNDECIDED), postgresql_where=text(UNDECIDED))

message_event = Table(
    "message_event",
    metadata,
    Column("n", RowNumber, primary_key=True),
    Column("message", ForeignKey("message.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("provider_ref", Text),
    Column("segments", Integer),
    Column("error_code", Text),
    Index(None, "message", "n"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("n", RowNumber, primary_key=True),
    Column("message", ForeignKey("message.id"), nullable=False, unique=True),
    Column("priority", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("attempted_at", Double),
    Column("outcome", Text),
    Column("done_at", Double),
    CheckConstraint("state in ('pending', 'attempting', 'done')", name="state"),
    Index(None, "state", "priority", "created_at", "n"),
)

inbound = Table(
    "inbound",
    metadata,
    Column("n", RowNumber, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("ref", Text, nullable=False),
    Column("raw", JsonBytes, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("message", Text, nullable=False, unique=True),
    Column("handled", Boolean, nullable=False),
    UniqueConstraint("provider", "ref"),
    Index(None, "handled", "n"),
)

consent = Table(
    "consent",
    metadata,
    Column("n", RowNumber, primary_key=True),
    Column("number", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("granted", Boolean, nullable=False),
    Column("words", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("session", ForeignKey("session.id")),
    Column("sender", Text),
    Column("prompt", Text),
    Column("version", Text),
    Index(None, "number", "n"),
)

suppression = Table(
    "suppression",
    metadata,
    Column("n", RowNumber, primary_key=True),
    Column("number", Text, nullable=False),
    Column("sender", Text, nullable=False),
    Column("suppressed", Boolean, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("provisional", Boolean, nullable=False),
    Column("reason", Text),
    Index(None, "number", "sender", "n"),
)

blocked = Table(
    "blocked",
    metadata,
    Column("number", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", Double, nullable=False),
)

line_type = Table(
    "line_type",
    metadata,
    Column("number", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("carrier", Text),
    Column("at", Double, nullable=False),
)

decision = Table(
    "decision",
    metadata,
    Column("n", RowNumber, primary_key=True),
    Column("session", ForeignKey("session.id")),
    Column("seq", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("inputs", Json, nullable=False),
    Column("at", Double, nullable=False),
    Index(None, "session", "n"),
)

agent_state = Table(
    "agent_state",
    metadata,
    Column("agent", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("since", Double, nullable=False),
    Column("data", Json, nullable=False),
)

kv = Table(
    "kv",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

replay = Table(
    "replay",
    metadata,
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("reserved_at", Double, nullable=False),
    Column("until", Double, nullable=False),
    Column("status", Integer),  # with the two after it null until the request is answered
    Column("headers", Json),
    Column("body", LargeBinary),
    Index(None, "until"),
)

upload = Table(
    "upload",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("session", ForeignKey("session.id"), nullable=False),
    Column("message", ForeignKey("message.id")),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("used_at", Double),
    Column("files", Json, nullable=False),
    Index(None, "session"),
)

notice = Table(
    "notice",
    metadata,
    Column("n", RowNumber, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("type", Text, nullable=False),
    Column("session", ForeignKey("session.id")),
    Column("number", Text),
    Column("at", Double, nullable=False),
    Column("body", JsonBytes, nullable=False),
    Index(None, "session"),
    Index(None, "number"),
)

delivery = Table(
    "delivery",
    metadata,
    Column("n", RowNumber, primary_key=True),
    Column("notice", ForeignKey("notice.id"), nullable=False),
    Column("session", Text),  # the notice's: what comes first in a session is asked for all the time
    Column("endpoint", Text, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("last_error", Text),
    Column("done_at", Double),
    CheckConstraint("state in ('pending', 'done', 'dead')", name="state"),
    UniqueConstraint("notice", "endpoint"),
    Index(None, "state", "n"),
    Index(None, "endpoint", "state", "n"),
    Index(None, "endpoint", "session", "state", "n"),
    Index(None, "endpoint", "state", "due_at"),
)

text_count = Table(
    "text_count",
    metadata,
    Column("grain", Double, primary_key=True),  # seconds: an hour or a day
    Column("at", Double, primary_key=True),
    Column("direction", Text, primary_key=True),
    Column("state", Text, primary_key=True),
    Column("queue", Text, primary_key=True),  # empty for none
    Column("texts", Integer, nullable=False),
    Column("segments", Integer, nullable=False),
)
