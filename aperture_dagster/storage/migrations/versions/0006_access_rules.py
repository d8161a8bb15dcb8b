"""Users keep the tags and folders that their policies on the media server name."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Until the users are read again, nothing is blocked that was not before."""
    for name in ("blocked_tags", "allowed_tags", "excluded_folders"):
        op.add_column("users", sa.Column(name, sa.ARRAY(sa.Text()), nullable=False, server_default=sa.text("'{}'")))
