"""Tables of what agents keep for their own use; they belong to `bridge.journal.tables`."""

from sqlalchemy import Column, Double, Index, Integer, Table, Text

from bridge.journal.tables import metadata

own_preset = Table(
    "own_preset",
    metadata,
    Column("id", Text, primary_key=True),
    Column("agent", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("updated_at", Double, nullable=False),
    Index(None, "agent", "language"),
)

preset_use = Table(
    "preset_use",
    metadata,
    Column("agent", Text, primary_key=True),
    Column("preset", Text, primary_key=True),
    Column("times", Integer, nullable=False),
    Column("last_at", Double, nullable=False),
)
