"""Dagster's own tables: migrated when a new version of Dagster needs others, by one process at a time."""

from typing import TYPE_CHECKING

from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.postgres.migrate import schema_lock

if TYPE_CHECKING:
    from dagster import DagsterInstance
    from dagster_postgres import PostgresEventLogStorage


def upgrade_instance(instance: "DagsterInstance") -> bool:
    """Do what ``dagster instance migrate`` does, if anything is to be done; return whether it was.

    Raises:
        DatabaseError: a newer version of Dagster has migrated them.
    """
    from alembic.util import CommandError

    events: PostgresEventLogStorage = instance.event_log_storage  # pyright: ignore[reportAssignmentType]
    if _is_up_to_date(events):
        return False
    with events.index_connection() as connection, schema_lock(connection):
        if _is_up_to_date(events):
            return False
        try:
            instance.upgrade()
        except CommandError as error:
            raise DatabaseError(
                f"This version of Dagster does not know the schema of its database ({error}): a newer one wrote it. "
                "Nothing was changed. Install the newer version of this program again."
            ) from None
    return True


def _is_up_to_date(events: "PostgresEventLogStorage") -> bool:
    """Return whether the newest migration was applied; all parts of the storage have one history."""
    applied, newest = events.alembic_version()
    return applied == newest
