"""Requests are paced, so the moments of the last ones are no longer kept."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    for column in ("lent_at", "returned_at", "sent_at"):
        op.drop_column("services", column)
