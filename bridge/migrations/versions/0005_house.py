"""The house: published settings, accounts, signed-in browsers, API tokens, the audit book."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    _settings()
    _people()
    op.create_table(
        "audit",
        sa.Column("n", ROW_NUMBER),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("origin", sa.Text),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("object", sa.Text, nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.PrimaryKeyConstraint("n", name="pk_audit"),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    for name in ("who", "action", "object"):
        op.create_index(f"ix_audit_{name}_n", "audit", [name, "n"])


def _settings() -> None:
    op.create_table(
        "house_revision",
        sa.Column("n", ROW_NUMBER),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("back_to", sa.Integer),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("n", name="pk_house_revision"),
    )
    op.create_table(
        "house_draft",
        sa.Column("id", sa.Integer, autoincrement=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("based_on", sa.Integer, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_house_draft"),
    )


def _people() -> None:
    op.create_table(
        "account",
        sa.Column("login", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text),
        sa.Column("must_change", sa.Boolean, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("locked_until", sa.Double),
        sa.Column("last_at", sa.Double),
        sa.Column("last_from", sa.Text),
        sa.Column("language", sa.Text),
        sa.Column("sounds", sa.Text, nullable=False),
        sa.Column("link_hash", sa.Text),
        sa.Column("link_until", sa.Double),
        sa.PrimaryKeyConstraint("login", name="pk_account"),
        sa.UniqueConstraint("link_hash", name="uq_account_link_hash"),
    )
    op.create_table(
        "browser",
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("login", sa.Text, nullable=False),
        sa.Column("csrf", sa.Text, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_browser"),
    )
    op.create_index("ix_browser_login", "browser", ["login"])
    op.create_index("ix_browser_until", "browser", ["until"])
    op.create_table(
        "api_token",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("per_second", sa.Double, nullable=False),
        sa.Column("numbers", sa.Text, nullable=False),
        sa.Column("made_at", sa.Double, nullable=False),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("used_at", sa.Double),
        sa.Column("revoked_at", sa.Double),
        sa.PrimaryKeyConstraint("name", name="pk_api_token"),
        sa.UniqueConstraint("hash", name="uq_api_token_hash"),
    )
