"""What reports count, and the history of agents' states."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables. The history begins with what agents are doing now; the facts are made when somebody asks for them."""
    _agents()
    _sessions()
    _texts()


def _agents() -> None:
    op.create_table(
        "agent_span",
        sa.Column("n", ROW_NUMBER, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("since", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("n", name="pk_agent_span"),
    )
    op.create_index("ix_agent_span_agent_since_n", "agent_span", ["agent", "since", "n"])
    op.create_index("ix_agent_span_since", "agent_span", ["since"])
    op.execute("insert into agent_span (agent, state, reason, since) select agent, state, reason, since from agent_state")


def _sessions() -> None:
    op.create_table(
        "fact_session",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("lines", sa.Integer, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("until", sa.Double),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("queue", sa.Text),
        sa.Column("by_customer", sa.Boolean, nullable=False),
        sa.Column("previous_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_fact_session"),
    )
    op.create_index("ix_fact_session_at", "fact_session", ["at"])
    op.create_table(
        "fact_visit",
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("entry", sa.Text, nullable=False),
        sa.Column("place", sa.Double, nullable=False),
        sa.Column("until", sa.Double),
        sa.Column("outcome", sa.Text),
        sa.Column("agent", sa.Text),
        sa.Column("rings", sa.Integer, nullable=False),
        sa.Column("lapses", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("session", "n", name="pk_fact_visit"),
    )
    op.create_index("ix_fact_visit_at", "fact_visit", ["at"])
    op.create_table(
        "fact_handling",
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("queue", sa.Text),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("entry", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("until", sa.Double),
        sa.Column("ended_by", sa.Text),
        sa.Column("held", sa.Double, nullable=False),
        sa.Column("held_since", sa.Double),
        sa.Column("first_response", sa.Double),
        sa.Column("responses", sa.Integer, nullable=False),
        sa.Column("response_time", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("session", "n", name="pk_fact_handling"),
    )
    op.create_index("ix_fact_handling_at", "fact_handling", ["at"])
    op.create_index("ix_fact_handling_agent_until", "fact_handling", ["agent", "until"])
    op.create_table(
        "fact_wrap_up",
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("queue", sa.Text),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("session", "n", name="pk_fact_wrap_up"),
    )
    op.create_index("ix_fact_wrap_up_at", "fact_wrap_up", ["at"])
    op.create_table(
        "fact_mark",
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("queue", sa.Text),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("agent", sa.Text),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("other", sa.Double),
        sa.Column("message", sa.Text),
        sa.PrimaryKeyConstraint("session", "n", "kind", name="pk_fact_mark"),
    )
    op.create_index("ix_fact_mark_kind_at", "fact_mark", ["kind", "at"])


def _texts() -> None:
    op.create_table(
        "fact_text",
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("session", sa.Text),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("direction", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("agent", sa.Text),
        sa.Column("queue", sa.Text),
        sa.Column("country", sa.Text),
        sa.Column("media", sa.Boolean, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("segments", sa.Integer),
        sa.Column("settled", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("message", name="pk_fact_text"),
    )
    op.create_index("ix_fact_text_at", "fact_text", ["at"])
    op.create_index("ix_fact_text_session", "fact_text", ["session"])
    unsettled = sa.text("NOT settled")
    op.create_index("ix_fact_text_open", "fact_text", ["at"], sqlite_where=unsettled, postgresql_where=unsettled)
