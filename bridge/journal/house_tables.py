"""Tables of the house: published settings, accounts, signed-in browsers, API tokens, the audit book."""

from sqlalchemy import Boolean, Column, Double, Index, Integer, Table, Text

from bridge.journal.tables import Json, RowNumber, metadata

house_revision = Table(
    "house_revision",
    metadata,
    Column("n", RowNumber, primary_key=True),
    Column("at", Double, nullable=False),
    Column("author", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("back_to", Integer),
    Column("text", Text, nullable=False),
)

house_draft = Table(
    "house_draft",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("based_on", Integer, nullable=False),
    Column("author", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("text", Text, nullable=False),
)

account = Table(
    "account",
    metadata,
    Column("login", Text, primary_key=True),
    Column("password_hash", Text),
    Column("must_change", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("locked_until", Double),
    Column("last_at", Double),
    Column("last_from", Text),
    Column("language", Text),
    Column("sounds", Json, nullable=False),
    Column("link_hash", Text, unique=True),
    Column("link_until", Double),
)

browser = Table(
    "browser",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("login", Text, nullable=False),
    Column("csrf", Text, nullable=False),
    Column("until", Double, nullable=False),
    Index(None, "login"),
    Index(None, "until"),
)

api_token = Table(
    "api_token",
    metadata,
    Column("name", Text, primary_key=True),
    Column("hash", Text, nullable=False, unique=True),
    Column("scopes", Json, nullable=False),
    Column("per_second", Double, nullable=False),
    Column("numbers", Json, nullable=False),
    Column("made_at", Double, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("used_at", Double),
    Column("revoked_at", Double),
)

audit = Table(
    "audit",
    metadata,
    Column("n", RowNumber, primary_key=True),
    Column("at", Double, nullable=False),
    Column("who", Text, nullable=False),
    Column("origin", Text),
    Column("action", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("before", Json),
    Column("after", Json),
    Index(None, "at"),
    Index(None, "who", "n"),
    Index(None, "action", "n"),
    Index(None, "object", "n"),
)
