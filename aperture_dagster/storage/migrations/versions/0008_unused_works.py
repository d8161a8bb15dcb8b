"""Works know since when nothing refers to them."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COMMENT = (
    "Films and series as such. Those that anything refers to are never deleted: history and ratings stay with them."
)


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "works",
        sa.Column(
            "unused_since",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when nothing was first seen to refer to it; null while something does",
        ),
    )
    op.create_table_comment("works", COMMENT)
