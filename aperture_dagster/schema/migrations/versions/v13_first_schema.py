"""The first schema: what the tables of the rooms declare.

The first release freezes it (``make freeze``): from then on it is the SQL beside this file, which does not
change, and every change of a table is a new migration. Until then a change needs none, and homes are made anew.
"""

from pathlib import Path

from alembic import op

from aperture_dagster.schema import metadata

revision = "v13"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the schema."""
    frozen = Path(__file__).with_suffix(".sql")
    if frozen.exists():
        op.get_bind().exec_driver_sql(frozen.read_text(encoding="utf-8"))
    else:
        metadata.create_all(op.get_bind(), checkfirst=False)
