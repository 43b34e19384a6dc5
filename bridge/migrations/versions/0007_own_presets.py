"""Agents keep ready-made texts of their own, and how often they use which is counted."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "own_preset",
        sa.Column("id", sa.Text, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("agent", "language", "title", "text")),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_own_preset"),
    )
    op.create_index("ix_own_preset_agent_language", "own_preset", ["agent", "language"])
    op.create_table(
        "preset_use",
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("preset", sa.Text, nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
        sa.Column("last_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("agent", "preset", name="pk_preset_use"),
    )
