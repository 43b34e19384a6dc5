"""Contacts are people with several phones and a history; what a CRM is asked and told waits in the journal."""

import json
import unicodedata
import uuid

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
PORTION = 1000
"""Contacts that are carried over at once."""


def upgrade() -> None:
    """Make the tables and carry over what was known of numbers."""
    op.rename_table("contact", "contact_before")
    if op.get_bind().dialect.name == "postgresql":  # else the new table could not have its name
        op.execute("alter table contact_before rename constraint pk_contact to pk_contact_before")
    _contacts()
    _carry_over()
    op.drop_table("contact_before")
    _crm()


def _contacts() -> None:
    op.create_table(
        "contact",
        sa.Column("id", sa.Text),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("company", sa.Text),
        sa.Column("language", sa.Text),
        sa.Column("mails", sa.Text, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("custom", sa.Text, nullable=False),
        sa.Column("searched", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("merged_into", sa.Text),
        sa.Column("deleted_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_contact"),
    )
    op.create_index("ix_contact_updated_at_id", "contact", ["updated_at", "id"])
    op.create_index("ix_contact_merged_into", "contact", ["merged_into"])
    op.create_table(
        "contact_phone",
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("contact", sa.Text, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("number", "contact", name="pk_contact_phone"),
        sa.ForeignKeyConstraint(["contact"], ["contact.id"], name="fk_contact_phone_contact"),
    )
    op.create_index("ix_contact_phone_contact_place", "contact_phone", ["contact", "place"])
    op.create_table(
        "contact_external",
        sa.Column("system", sa.Text, nullable=False),
        sa.Column("ref", sa.Text, nullable=False),
        sa.Column("contact", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("system", "ref", "contact", name="pk_contact_external"),
        sa.ForeignKeyConstraint(["contact"], ["contact.id"], name="fk_contact_external_contact"),
    )
    op.create_index("ix_contact_external_contact", "contact_external", ["contact"])
    op.create_table(
        "contact_change",
        sa.Column("n", ROW_NUMBER),
        sa.Column("contact", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("key", sa.Text),
        sa.PrimaryKeyConstraint("n", name="pk_contact_change"),
        sa.UniqueConstraint("key", name="uq_contact_change_key"),
        sa.ForeignKeyConstraint(["contact"], ["contact.id"], name="fk_contact_change_contact"),
    )
    op.create_index("ix_contact_change_contact_n", "contact_change", ["contact", "n"])
    op.create_table(
        "contact_session",
        sa.Column("session", sa.Text),
        sa.Column("contact", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("session", name="pk_contact_session"),
        sa.ForeignKeyConstraint(["session"], ["session.id"], name="fk_contact_session_session"),
        sa.ForeignKeyConstraint(["contact"], ["contact.id"], name="fk_contact_session_contact"),
    )
    op.create_index("ix_contact_session_contact", "contact_session", ["contact"])


def _carry_over() -> None:
    """Each number of which something was known becomes a contact with that one phone."""
    connection = op.get_bind()
    known = connection.execute(sa.text("select number, name, language, data, updated_at from contact_before")).all()
    known = [row for row in known if row.name is not None or row.language is not None or json.loads(row.data)]
    for start in range(0, len(known), PORTION):
        some = [(f"k{uuid.uuid4().hex[:15]}", row) for row in known[start : start + PORTION]]
        connection.execute(
            sa.text(
                "insert into contact (id, revision, name, language, mails, tags, custom, searched, created_at, updated_at)"
                " values (:id, 1, :name, :language, '[]', '[]', :custom, :searched, :at, :at)"
            ),
            [
                {
                    "id": contact,
                    "name": row.name,
                    "language": row.language,
                    "custom": row.data,
                    "searched": _folded(row.name, row.number),
                    "at": row.updated_at,
                }
                for contact, row in some
            ],
        )
        connection.execute(
            sa.text("insert into contact_phone (number, contact, place) values (:number, :contact, 0)"),
            [{"number": row.number, "contact": contact} for contact, row in some],
        )


def _folded(*words: str | None) -> str:
    """As `bridge.journal.crm_rows.folded` was when this was written."""
    plain = unicodedata.normalize("NFKD", " ".join(word for word in words if word))
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).casefold()


def _crm() -> None:
    op.create_table(
        "crm_match",
        sa.Column("session", sa.Text),
        sa.Column("number", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("contact", sa.Text),
        sa.Column("candidates", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("session", name="pk_crm_match"),
        sa.ForeignKeyConstraint(["session"], ["session.id"], name="fk_crm_match_session"),
    )
    op.create_table(
        "crm_entry",
        sa.Column("n", ROW_NUMBER),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("number", sa.Text),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.Column("faults", sa.Text, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("done_at", sa.Double),
        sa.PrimaryKeyConstraint("n", name="pk_crm_entry"),
        sa.UniqueConstraint("id", name="uq_crm_entry_id"),
        sa.ForeignKeyConstraint(["session"], ["session.id"], name="fk_crm_entry_session"),
        sa.CheckConstraint("state in ('pending', 'done', 'dead')", name="ck_crm_entry_state"),
    )
    op.create_index("ix_crm_entry_session_n", "crm_entry", ["session", "n"])
    op.create_index("ix_crm_entry_state_due_at", "crm_entry", ["state", "due_at"])
    op.create_index("ix_crm_entry_number", "crm_entry", ["number"])
