"""The product's database as a resource."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from aperture_dagster.postgres.backup.create import back_up_before_migration
from aperture_dagster.postgres.connection import open_engine, product_database_url, refuse_bytes, set_up_session
from aperture_dagster.postgres.errors import DatabaseError, database_error
from aperture_dagster.postgres.migrate import HEAD_REVISION, refuse_unknown_schema
from aperture_dagster.postgres.queries import execute, read_value
from aperture_dagster.settings import Settings

# Leases: one process at a time uses what has a name, such as an outside service, whichever host it is on.


# The first key of the advisory lock; the second is a hash of the service's name.
SERVICE_LOCK = 0x0A9E28
POLL_SECONDS = 1.0


@contextmanager
def service_lease(
    engine: Engine,
    service: str,
    *,
    waiting: Callable[[float], None] = lambda seconds: None,
    patience_seconds: float | None = None,
) -> Iterator[None]:
    """Use ``service`` exclusively among all processes, so that its limits hold and no request is made twice.

    The lock belongs to a connection, so it is released at once if the process is killed.

    Args:
        waiting: called about every second with the seconds waited so far.
        patience_seconds: None waits without a limit.

    Raises:
        TimeoutError: another process still uses the service.
    """
    lock = f"({SERVICE_LOCK}, hashtext(:service))"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        started = time.monotonic()
        while not read_value(connection, f"SELECT pg_try_advisory_lock{lock}", service=service):
            waited = time.monotonic() - started
            if patience_seconds is not None and waited >= patience_seconds:
                raise TimeoutError(f"another run is using {service} now")
            waiting(waited)
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            # If the database was restarted meanwhile, the lock has been released with the connection.
            with suppress(SQLAlchemyError):
                execute(connection, f"SELECT pg_advisory_unlock{lock}", service=service)


class Database:
    """The product's database; it is opened, and its schema migrated, at first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def _engine(self) -> Engine:
        back_up = functools.partial(back_up_before_migration, self._settings)
        return open_engine(self._settings, before_migration=back_up)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open a connection whose work is committed at the end of the block, or not at all.

        Raises:
            DatabaseError: the database cannot be reached or used; the message names the setting.
        """
        with _errors(self._settings), self._engine().begin() as connection:
            yield connection

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Open a connection for several transactions, with its own temporary tables; raises as :meth:`transaction`."""
        with _errors(self._settings), self._engine().connect() as connection:
            # Closed at the end, and its temporary tables with it, instead of returning to the pool.
            connection.detach()
            yield connection

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """Open a connection of which each statement is a transaction of its own; raises as :meth:`transaction`."""
        engine = open_engine(self._settings)
        with _errors(self._settings), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection

    def lease(
        self, service: str, *, waiting: Callable[[float], None], patience_seconds: float | None = None
    ) -> AbstractContextManager[None]:
        """Use an outside service exclusively among all processes; see :func:`service_lease`."""
        return service_lease(self._engine(), service, waiting=waiting, patience_seconds=patience_seconds)


# The product's database for whatever only looks: it neither creates nor migrates anything.


class NothingYet(DatabaseError):
    """There is no database yet."""


@contextmanager
def read_only(settings: Settings) -> Iterator[Connection]:
    """Open a connection that cannot write; it starts the embedded server if it does not run.

    Raises:
        NothingYet: nothing was ever stored.
        DatabaseError: the database cannot be reached, or has the schema of another version.
    """
    database = ReadOnlyDatabase(settings)
    try:
        with database.connection() as connection:
            yield connection
    finally:
        database.close()


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
                    self._engine = _open_engine(self._settings)
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


def _open_engine(settings: Settings) -> Engine:
    if settings.database_url is None and not (settings.home_path / "postgres").exists():
        raise NothingYet(f"There is nothing in {settings.home_path} yet.")
    # Home servers have few connections, and a request holds one for some milliseconds.
    url = product_database_url(settings)
    engine = create_engine(url, pool_size=3, max_overflow=2, pool_pre_ping=True, pool_recycle=300)
    refuse_bytes(engine)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.autocommit = True
        connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        set_up_session(connection)
        # The database of a household is in memory. Otherwise the planner reads all episodes for a few hundred ratings.
        connection.execute("SET random_page_cost = 1.1")
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
