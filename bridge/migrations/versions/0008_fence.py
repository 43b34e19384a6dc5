"""A session knows under which lease it was saved last, so that a node that has lost it can be told."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; no node has ever named a token so far."""
    op.add_column("session", sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"))
