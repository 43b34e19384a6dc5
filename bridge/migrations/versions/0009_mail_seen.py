"""Mails that came are not kept any more: nobody asked for them."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop the table with what is in it."""
    op.drop_table("mail_seen")
