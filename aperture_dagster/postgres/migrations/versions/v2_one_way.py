"""What was watched moves from published copies to originals, so nothing is remembered of where they agreed.

The moment of a published library, from which the dates of its titles are counted, is written by the program.
"""

from alembic import op

revision = "v2"
down_revision = "v1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop the table of agreed states, and the default of the moment."""
    connection = op.get_bind()
    for statement in (
        "DROP TABLE shared_states",
        "ALTER TABLE published_libraries ALTER COLUMN created_at DROP DEFAULT",
        "COMMENT ON COLUMN published_libraries.created_at IS "
        "'the moment from which the dates of its titles are counted'",
        "COMMENT ON COLUMN published_entries.date_added IS 'as the server shows it; in the order of the ranks'",
    ):
        connection.exec_driver_sql(statement)
