"""What became of forecasts of waits is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "ewt_outcome",
        sa.Column("n", ROW_NUMBER),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("basis", sa.Text, nullable=False),
        sa.Column("ahead", sa.Double),
        sa.Column("capacity", sa.Integer),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("mean", "p10", "p25", "p50", "p75", "p90", "wait")),
        sa.Column("ghost", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("n", name="pk_ewt_outcome"),
    )
    op.create_index("ix_ewt_outcome_at", "ewt_outcome", ["at"])
    op.create_index("ix_ewt_outcome_queue_n", "ewt_outcome", ["queue", "n"])
