"""Discovery, requests, Trakt; ratings that override one another."""

from pathlib import Path

from alembic import op

revision = "v2"
down_revision = "v1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, and let a rating be null."""
    op.get_bind().exec_driver_sql(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
