"""The one engine through which all parts of Dagster's storage reach their database."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import SQLAlchemyError

from aperture_dagster.postgres.embedded import full_disk_explained, restart_on_connect
from aperture_dagster.postgres.errors import (
    DatabaseError,
    describe_connection_error,
    describe_full_disk,
    is_full_disk,
)
from aperture_dagster.postgres.pool import NOTICE_LOSS, network_options, replace_dead_connections
from aperture_dagster.settings import Settings


def shared_engine(url: str, settings: Settings) -> Engine:
    """Return the engine of a database, the same one for all parts of an instance, which keeps one connection open.

    Dagster's own engines open a connection for every statement. That is most of what an idle daemon costs, and a
    process of PostgreSQL each time. The connection is closed with the instance.
    """
    engine = _engines.get(url)
    if engine is None:
        # Never fewer connections than threads want: a thread that waits for another one's may wait forever.
        engine = _engines[url] = create_engine(
            url, isolation_level="AUTOCOMMIT", pool_size=1, max_overflow=-1, connect_args=network_options(url)
        )
        replace_dead_connections(engine)
        event.listen(engine, "handle_error", _explain_full_disk)
        event.listen(engine, "connect", _prepare_session)
        if settings.database_url is None:
            restart_on_connect(engine, settings.home_path / "postgres")
    return engine


_engines: dict[str, Engine] = {}


def _prepare_session(connection: Any, _: object) -> None:
    with connection.cursor() as cursor:
        # Dagster's columns have no zone: in another one than UTC, the server would store the local time of its dates.
        cursor.execute("SET TIME ZONE 'UTC'")
        # Dagster commits two or three times for each event, and would wait for the disk each time. When the power
        # fails, its last half second is lost, but nothing that the product's database holds, and nothing that was
        # written before it: a commit there, which waits, takes all earlier ones to the disk.
        cursor.execute(f"SET synchronous_commit TO off; {NOTICE_LOSS}")
    connection.commit()


def require_connection(url: str, settings: Settings) -> None:
    """Fail at once if the database cannot be reached: Dagster would retry for 15 seconds and then not say why."""
    with opening(settings):
        shared_engine(url, settings).connect().close()


@contextmanager
def opening(settings: Settings) -> Iterator[None]:
    """Translate the errors of Dagster's database, including those of connections that Dagster opens itself.

    Raises:
        DatabaseError: the database cannot be used, and why.
    """
    embedded = settings.database_url is None
    with full_disk_explained(settings.home_path / "postgres") if embedded else nullcontext():
        try:
            yield
        except Exception as error:
            # The error of Dagster's last attempt, which it does not export, has that of the database as its cause.
            reason = error if isinstance(error, SQLAlchemyError) else error.__cause__
            if reason is None:
                raise
            raise DatabaseError(describe_connection_error(reason, embedded=embedded)) from None


def _explain_full_disk(context: ExceptionContext) -> None:
    if is_full_disk(context.original_exception):
        raise DatabaseError(describe_full_disk(context.original_exception)) from None
