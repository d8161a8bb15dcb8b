"""What each row of the merged view was made from, so that only what changed is merged again."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "merges",
        sa.Column("work_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "made_from", sa.Text(), nullable=False, comment="the recipe, and the versions of the rows of all sources"
        ),
        sa.ForeignKeyConstraint(["work_id"], ["works.work_id"], name=op.f("fk_merges_work_id")),
        sa.PrimaryKeyConstraint("work_id", name=op.f("pk_merges")),
        comment="What each row of enriched_metadata was made from last.",
    )
