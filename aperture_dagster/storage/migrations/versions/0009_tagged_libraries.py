"""Users keep the libraries whose own tags let them see everything there."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "users", sa.Column("open_library_ids", sa.ARRAY(sa.Text()), nullable=False, server_default=sa.text("'{}'"))
    )
