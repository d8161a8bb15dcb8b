"""Titles that are asked about again before their facts are old, and the language of texts."""

from alembic import op

revision = "v3"
down_revision = "v2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns. Of answers that are there, the language is not known, and they count as in the right one."""
    op.execute("""
        ALTER TABLE fetches ADD COLUMN language TEXT;
        COMMENT ON COLUMN fetches.language IS 'of the last answer, if the source has several; due in another one';
        ALTER TABLE fetches ADD COLUMN asked_again TEXT
            CONSTRAINT ck_fetches_asked_again CHECK (asked_again IN ('named', 'all'));
        COMMENT ON COLUMN fetches.asked_again IS 'named, all: the operator wants it now, though it is not due';
        ALTER TABLE services ADD COLUMN asked_again_by TEXT;
        COMMENT ON COLUMN services.asked_again_by IS 'the last run that wanted answers again although they are not due';
    """)
