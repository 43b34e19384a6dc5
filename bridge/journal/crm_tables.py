"""Tables of contacts and of what a CRM is asked and told; they belong to `bridge.journal.tables`."""

from sqlalchemy import CheckConstraint, Column, Double, ForeignKey, Index, Integer, Table, Text

from bridge.journal.tables import Json, RowNumber, metadata

contact = Table(
    "contact",
    metadata,
    Column("id", Text, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("name", Text),
    Column("company", Text),
    Column("language", Text),
    Column("mails", Json, nullable=False),
    Column("tags", Json, nullable=False),
    Column("custom", Json, nullable=False),
    Column("searched", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("merged_into", Text),
    Column("deleted_at", Double),
    Index(None, "updated_at", "id"),
    Index(None, "merged_into"),
)

contact_phone = Table(
    "contact_phone",
    metadata,
    Column("number", Text, primary_key=True),
    Column("contact", ForeignKey("contact.id"), primary_key=True),
    Column("place", Integer, nullable=False),
    Index(None, "contact", "place"),
)

contact_external = Table(
    "contact_external",
    metadata,
    Column("system", Text, primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("contact", ForeignKey("contact.id"), primary_key=True),
    Index(None, "contact"),
)

contact_change = Table(
    "contact_change",
    metadata,
    Column("n", RowNumber, primary_key=True),
    Column("contact", ForeignKey("contact.id"), nullable=False),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("data", Json, nullable=False),
    Column("key", Text, unique=True),
    Index(None, "contact", "n"),
)

contact_session = Table(
    "contact_session",
    metadata,
    Column("session", ForeignKey("session.id"), primary_key=True),
    Column("contact", ForeignKey("contact.id"), nullable=False),
    Column("at", Double, nullable=False),
    Index(None, "contact"),
)

crm_match = Table(
    "crm_match",
    metadata,
    Column("session", ForeignKey("session.id"), primary_key=True),
    Column("number", Text),
    Column("state", Text, nullable=False),
    Column("contact", Text),
    Column("candidates", Json, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", Double, nullable=False),
)

crm_entry = Table(
    "crm_entry",
    metadata,
    Column("n", RowNumber, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("session", ForeignKey("session.id"), nullable=False),
    Column("number", Text),
    Column("action", Text, nullable=False),
    Column("body", Json, nullable=False),
    Column("at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("last_error", Text),
    Column("faults", Json, nullable=False),
    Column("result", Json, nullable=False),
    Column("done_at", Double),
    CheckConstraint("state in ('pending', 'done', 'dead')", name="state"),
    Index(None, "session", "n"),
    Index(None, "state", "due_at"),
    Index(None, "number"),
)
