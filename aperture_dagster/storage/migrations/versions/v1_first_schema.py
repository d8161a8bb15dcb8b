"""The first schema, as SQL that stays as it is when the tables change: a test compares the newest schema with them."""

from pathlib import Path

from alembic import op

revision = "v1"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.get_bind().exec_driver_sql(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
