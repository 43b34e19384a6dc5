"""Alembic migrations of the journal. Run by `bridge.journal.upgrade`; they import nothing of ours."""
