"""The table of what became of forecasts; it belongs to `bridge.journal.tables`."""

from sqlalchemy import Boolean, Column, Double, Index, Integer, Table, Text

from bridge.journal.tables import RowNumber, metadata

ewt_outcome = Table(
    "ewt_outcome",
    metadata,
    Column("n", RowNumber, primary_key=True),
    Column("at", Double, nullable=False),
    Column("session", Text, nullable=False),  # no key: what became of a forecast outlives the conversation it was made in
    Column("queue", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("basis", Text, nullable=False),
    Column("ahead", Double),
    Column("capacity", Integer),
    Column("mean", Double, nullable=False),
    Column("p10", Double, nullable=False),
    Column("p25", Double, nullable=False),
    Column("p50", Double, nullable=False),
    Column("p75", Double, nullable=False),
    Column("p90", Double, nullable=False),
    Column("wait", Double, nullable=False),
    Column("ghost", Boolean, nullable=False),
    Index(None, "at"),
    Index(None, "queue", "n"),
)
