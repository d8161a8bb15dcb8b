"""``aperture migrate``: bring both databases to the schemas of this version, or wait while another process does."""

from __future__ import annotations

import logging
import sys

import click

from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.requirements import require_writable
from aperture_dagster.cli.terminal import echo
from aperture_dagster.instance.home import use_dagster_home
from aperture_dagster.instance.upgrade import upgrade_instance
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.migrate import HEAD_REVISION
from aperture_dagster.settings import Settings, load_settings


@click.command()
def migrate() -> None:
    """Bring the databases to the schemas of this version, as each start does, and write Dagster's configuration.

    For services that start one by one: a household is backed up first, and of several processes one migrates while the
    others wait. Nothing happens if nothing is to be done.
    """
    # It logs each step, and for Dagster's tables the program says what it did.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with operator_errors():
        settings = load_settings()
        require_writable(settings.home_path)
        use_dagster_home(settings)
        migrate_databases(settings)
    echo(f"The database has the schema {HEAD_REVISION}.")
    sys.stdout.flush()


def migrate_databases(settings: Settings) -> None:
    """Open both databases, creating and migrating what is missing, and mark the home as theirs.

    Raises:
        FileError: the home cannot be written.
        DatabaseError: one of them cannot be reached or migrated, or its schema is of a newer version.
    """
    import dagster as dg

    from aperture_dagster.instance.dead_runs import storage_with_locks
    from aperture_dagster.instance.home_marker import mark_home

    with Database(settings).transaction(), dg.DagsterInstance.get() as instance:
        if upgrade_instance(instance):
            echo("Dagster's own database was migrated.")
        if (storage := storage_with_locks(instance)) is not None:
            mark_home(storage, settings)
