"""The product's database for whatever only looks: it neither creates nor migrates anything."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from aperture_dagster.postgres.connection import product_database_url, refuse_bytes
from aperture_dagster.postgres.errors import DatabaseError, database_error
from aperture_dagster.postgres.migrate import refuse_unknown_schema
from aperture_dagster.postgres.migrations import HEAD_REVISION
from aperture_dagster.postgres.queries import read_value
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
    with _errors(settings), _open_engine(settings, poolclass=NullPool).connect() as connection:
        _require_schema(connection)
        yield connection


class ReadOnlyDatabase:
    """Connections that cannot write and are kept, for a process that answers many short requests."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection to one thread; raises as :func:`read_only`."""
        with _errors(self._settings):
            with self._lock:
                if self._engine is None:
                    # Home servers have few connections, and a request holds one for some milliseconds.
                    pool = {"pool_size": 3, "max_overflow": 2, "pool_pre_ping": True, "pool_recycle": 300}
                    self._engine = _open_engine(self._settings, **pool)
            with self._engine.connect() as connection:
                # Another process may migrate the schema at any time.
                _require_schema(connection)
                yield connection

    def close(self) -> None:
        """Close the connections that are not in use."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None


def _open_engine(settings: Settings, **pool: Any) -> Engine:
    if settings.database_url is None and not (settings.home_path / "postgres").exists():
        raise NothingYet(f"There is nothing in {settings.home_path} yet.")
    engine = create_engine(product_database_url(settings), **pool)
    refuse_bytes(engine)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.autocommit = True
        connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        connection.execute("SET TIME ZONE 'UTC'")
        connection.autocommit = False

    return engine


@contextmanager
def _errors(settings: Settings) -> Iterator[None]:
    """Turn failures of the database into errors that say what to do."""
    try:
        yield
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
