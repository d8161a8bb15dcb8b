"""The product's database for commands that only look: they neither create nor migrate anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from aperture_dagster.postgres.connection import product_database_url, refuse_bytes
from aperture_dagster.postgres.errors import DatabaseError, database_error
from aperture_dagster.postgres.migrate import refuse_unknown_schema
from aperture_dagster.postgres.migrations import HEAD_REVISION
from aperture_dagster.postgres.queries import execute, read_value
from aperture_dagster.settings import Settings


class NothingYet(DatabaseError):
    """There is no database yet."""


@contextmanager
def read_only(settings: Settings) -> Iterator[Connection]:
    """Open a connection that cannot write; it starts the embedded server if it does not run.

    Raises:
        NothingYet: nothing was ever stored.
        DatabaseError: the database cannot be reached, or has the schema of another version.
    """
    if settings.database_url is None and not (settings.home_path / "postgres").exists():
        raise NothingYet(f"There is nothing in {settings.home_path} yet.")
    try:
        engine = create_engine(product_database_url(settings), poolclass=NullPool)
        refuse_bytes(engine)
        with engine.connect() as connection:
            execute(connection, "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            execute(connection, "SET TIME ZONE 'UTC'")
            connection.commit()
            _require_schema(connection)
            yield connection
    except DatabaseError:
        raise
    except Exception as error:
        described = database_error(error, embedded=settings.database_url is None)
        if described is None:
            raise
        raise described from None


def _require_schema(connection: Connection) -> None:
    if read_value(connection, "SELECT to_regclass('alembic_version')") is None:
        raise NothingYet("The database is empty: nothing has been stored yet.")
    revision = read_value(connection, "SELECT version_num FROM alembic_version")
    if revision != HEAD_REVISION:
        refuse_unknown_schema(revision)
        raise DatabaseError(
            f"The database has the schema {revision}, and this version needs {HEAD_REVISION}: start `aperture up`, "
            "which makes a backup and upgrades it, or use the version that wrote it."
        )
