"""The first schema: sessions with their events and timelines, texts with outbox and spool, consents, contacts, agents."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make every table."""
    _sessions()
    _texts()
    _people()
    _decisions()
    _keys()


def _sessions() -> None:
    op.create_table(
        "session",
        sa.Column("id", sa.Text),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("lines", sa.Integer, nullable=False),
        sa.Column("snapshot", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("customer", sa.Text),
        sa.Column("our_number", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("queue", sa.Text),
        sa.Column("agent", sa.Text),
        sa.Column("opened_at", sa.Double, nullable=False),
        sa.Column("closed_at", sa.Double),
        sa.Column("text_state", sa.Text, nullable=False),
        sa.Column("call_state", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_session"),
    )
    op.create_index("ix_session_customer_our_number_opened_at", "session", ["customer", "our_number", "opened_at"])
    op.create_index("ix_session_closed_at_opened_at", "session", ["closed_at", "opened_at"])
    op.create_index("ix_session_opened_at", "session", ["opened_at"])
    op.create_table(
        "event",
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("session", "seq", name="pk_event"),
        sa.ForeignKeyConstraint(["session"], ["session.id"], name="fk_event_session"),
        sa.CheckConstraint("seq >= 1", name="ck_event_seq"),
    )
    op.create_table(
        "timeline",
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("session", "n", name="pk_timeline"),
        sa.ForeignKeyConstraint(["session"], ["session.id"], name="fk_timeline_session"),
    )


def _texts() -> None:
    op.create_table(
        "message",
        sa.Column("n", ROW_NUMBER),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("session", sa.Text),
        sa.Column("direction", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("provider_ref", sa.Text),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("media", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("segments", sa.Integer),
        sa.Column("error_code", sa.Text),
        sa.Column("purpose", sa.Text),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double),
        sa.PrimaryKeyConstraint("n", name="pk_message"),
        sa.UniqueConstraint("id", name="uq_message_id"),
        sa.UniqueConstraint("provider", "provider_ref", name="uq_message_provider_provider_ref"),
        sa.ForeignKeyConstraint(["session"], ["session.id"], name="fk_message_session"),
        sa.CheckConstraint("direction in ('in', 'out')", name="ck_message_direction"),
    )
    op.create_index("ix_message_session_n", "message", ["session", "n"])
    op.create_index("ix_message_recipient_created_at", "message", ["recipient", "created_at"])
    op.create_table(
        "message_event",
        sa.Column("n", ROW_NUMBER),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("provider_ref", sa.Text),
        sa.Column("segments", sa.Integer),
        sa.Column("error_code", sa.Text),
        sa.PrimaryKeyConstraint("n", name="pk_message_event"),
        sa.ForeignKeyConstraint(["message"], ["message.id"], name="fk_message_event_message"),
    )
    op.create_index("ix_message_event_message_n", "message_event", ["message", "n"])
    op.create_table(
        "outbox",
        sa.Column("n", ROW_NUMBER),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("attempted_at", sa.Double),
        sa.Column("outcome", sa.Text),
        sa.Column("done_at", sa.Double),
        sa.PrimaryKeyConstraint("n", name="pk_outbox"),
        sa.UniqueConstraint("message", name="uq_outbox_message"),
        sa.ForeignKeyConstraint(["message"], ["message.id"], name="fk_outbox_message"),
        sa.CheckConstraint("state in ('pending', 'attempting', 'done')", name="ck_outbox_state"),
    )
    op.create_index("ix_outbox_state_priority_created_at_n", "outbox", ["state", "priority", "created_at", "n"])
    op.create_table(
        "inbound",
        sa.Column("n", ROW_NUMBER),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("ref", sa.Text, nullable=False),
        sa.Column("raw", sa.Text, nullable=False),
        sa.Column("received_at", sa.Double, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("handled", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("n", name="pk_inbound"),
        sa.UniqueConstraint("message", name="uq_inbound_message"),
        sa.UniqueConstraint("provider", "ref", name="uq_inbound_provider_ref"),
    )
    op.create_index("ix_inbound_handled_n", "inbound", ["handled", "n"])


def _people() -> None:
    op.create_table(
        "consent",
        sa.Column("n", ROW_NUMBER),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("granted", sa.Boolean, nullable=False),
        sa.Column("words", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("session", sa.Text),
        sa.PrimaryKeyConstraint("n", name="pk_consent"),
        sa.ForeignKeyConstraint(["session"], ["session.id"], name="fk_consent_session"),
    )
    op.create_index("ix_consent_number_n", "consent", ["number", "n"])
    op.create_table(
        "suppression",
        sa.Column("n", ROW_NUMBER),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("suppressed", sa.Boolean, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("n", name="pk_suppression"),
    )
    op.create_index("ix_suppression_number_sender_n", "suppression", ["number", "sender", "n"])
    op.create_table(
        "contact",
        sa.Column("number", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("language", sa.Text),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_contact"),
    )
    op.create_table(
        "agent_state",
        sa.Column("agent", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("agent", name="pk_agent_state"),
    )


def _decisions() -> None:
    op.create_table(
        "decision",
        sa.Column("n", ROW_NUMBER),
        sa.Column("session", sa.Text),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("n", name="pk_decision"),
        sa.ForeignKeyConstraint(["session"], ["session.id"], name="fk_decision_session"),
    )
    op.create_index("ix_decision_session_n", "decision", ["session", "n"])


def _keys() -> None:
    op.create_table(
        "kv",
        sa.Column("key", sa.Text),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_kv"),
    )
    op.create_table(
        "replay",
        sa.Column("key", sa.Text),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("headers", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_replay"),
    )
    op.create_index("ix_replay_until", "replay", ["until"])
