"""What the SMS channel needs: blocked numbers, notices to others, upload links, line types, fuller consents and sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Widen tables, make new ones."""
    _sessions()
    _texts()
    _people()
    _requests()
    _notices()


def _sessions() -> None:
    op.add_column("session", sa.Column("service", sa.Text, nullable=False, server_default="inbound"))
    op.add_column("session", sa.Column("ended_reason", sa.Text))
    op.add_column("session", sa.Column("handled", sa.Double, nullable=False, server_default="0"))
    op.add_column("session", sa.Column("first_agent_at", sa.Double))
    op.execute("update session set service = 'call' where call_state <> 'none'")
    op.drop_index("ix_session_opened_at", "session")
    op.create_index("ix_session_opened_at_id", "session", ["opened_at", "id"])
    op.create_index("ix_session_queue_opened_at_id", "session", ["queue", "opened_at", "id"])
    op.create_index("ix_session_agent_opened_at_id", "session", ["agent", "opened_at", "id"])


def _texts() -> None:
    op.add_column("message", sa.Column("preset", sa.Text))
    op.create_index("ix_message_created_at", "message", ["created_at"])
    inbound, pictures = sa.text("direction = 'in'"), sa.text("media <> '[]'")
    op.create_index("ix_message_sender_n", "message", ["sender", "n"], sqlite_where=inbound, postgresql_where=inbound)
    undecided = sa.text("state IN ('accepted', 'queued', 'sending', 'sent')")
    op.create_index("ix_message_undecided", "message", ["provider", "n"], sqlite_where=undecided, postgresql_where=undecided)
    op.create_index("ix_message_media", "message", ["n"], sqlite_where=pictures, postgresql_where=pictures)

    op.create_table(
        "text_count",
        sa.Column("grain", sa.Double, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("direction", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("texts", sa.Integer, nullable=False),
        sa.Column("segments", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("grain", "at", "direction", "state", "queue", name="pk_text_count"),
    )


def _people() -> None:
    op.add_column("consent", sa.Column("sender", sa.Text))
    op.add_column("consent", sa.Column("prompt", sa.Text))
    op.add_column("consent", sa.Column("version", sa.Text))
    op.add_column("suppression", sa.Column("provisional", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("suppression", sa.Column("reason", sa.Text))
    op.create_table(
        "blocked",
        sa.Column("number", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_blocked"),
    )
    op.create_table(
        "line_type",
        sa.Column("number", sa.Text),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("carrier", sa.Text),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_line_type"),
    )


def _requests() -> None:
    op.drop_table("replay")  # nothing was ever kept in its first form
    op.create_table(
        "replay",
        sa.Column("key", sa.Text),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("reserved_at", sa.Double, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("headers", sa.Text),
        sa.Column("body", sa.LargeBinary),
        sa.PrimaryKeyConstraint("key", name="pk_replay"),
    )
    op.create_index("ix_replay_until", "replay", ["until"])
    op.create_table(
        "mail_seen",
        sa.Column("message_id", sa.Text),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("message_id", name="pk_mail_seen"),
    )
    op.create_index("ix_mail_seen_at", "mail_seen", ["at"])
    op.create_table(
        "upload",
        sa.Column("token_hash", sa.Text),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("message", sa.Text),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("used_at", sa.Double),
        sa.Column("files", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name="pk_upload"),
        sa.ForeignKeyConstraint(["session"], ["session.id"], name="fk_upload_session"),
        sa.ForeignKeyConstraint(["message"], ["message.id"], name="fk_upload_message"),
    )
    op.create_index("ix_upload_session", "upload", ["session"])


def _notices() -> None:
    op.create_table(
        "notice",
        sa.Column("n", ROW_NUMBER),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("session", sa.Text),
        sa.Column("number", sa.Text),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("n", name="pk_notice"),
        sa.UniqueConstraint("id", name="uq_notice_id"),
        sa.ForeignKeyConstraint(["session"], ["session.id"], name="fk_notice_session"),
    )
    op.create_index("ix_notice_session", "notice", ["session"])
    op.create_index("ix_notice_number", "notice", ["number"])
    op.create_table(
        "delivery",
        sa.Column("n", ROW_NUMBER),
        sa.Column("notice", sa.Text, nullable=False),
        sa.Column("session", sa.Text),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.Column("done_at", sa.Double),
        sa.PrimaryKeyConstraint("n", name="pk_delivery"),
        sa.UniqueConstraint("notice", "endpoint", name="uq_delivery_notice_endpoint"),
        sa.ForeignKeyConstraint(["notice"], ["notice.id"], name="fk_delivery_notice"),
        sa.CheckConstraint("state in ('pending', 'done', 'dead')", name="ck_delivery_state"),
    )
    op.create_index("ix_delivery_state_n", "delivery", ["state", "n"])
    op.create_index("ix_delivery_endpoint_state_n", "delivery", ["endpoint", "state", "n"])
    op.create_index("ix_delivery_endpoint_session_state_n", "delivery", ["endpoint", "session", "state", "n"])
    op.create_index("ix_delivery_endpoint_state_due_at", "delivery", ["endpoint", "state", "due_at"])
