"""The product's database as a resource."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import Connection, Engine

from aperture_dagster.postgres.backup.create import back_up_before_migration
from aperture_dagster.postgres.connection import open_engine
from aperture_dagster.postgres.errors import database_error
from aperture_dagster.postgres.lease import service_lease
from aperture_dagster.postgres.owner import ensure_owner
from aperture_dagster.settings import Settings


class Database:
    """The product's database; it is opened, and its schema migrated, at first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def _engine(self) -> Engine:
        back_up = functools.partial(back_up_before_migration, self._settings, ensure_owner)
        return open_engine(self._settings, before_migration=back_up)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open a connection whose work is committed at the end of the block, or not at all.

        Raises:
            DatabaseError: the database cannot be reached or used; the message names the setting.
        """
        with self._errors(), self._engine().begin() as connection:
            yield connection

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Open a connection for several transactions, with its own temporary tables; raises as :meth:`transaction`."""
        with self._errors(), self._engine().connect() as connection:
            # Closed at the end, and its temporary tables with it, instead of returning to the pool.
            connection.detach()
            yield connection

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """Open a connection of which each statement is a transaction of its own; raises as :meth:`transaction`."""
        engine = open_engine(self._settings)
        with self._errors(), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection

    def lease(
        self, service: str, *, waiting: Callable[[float], None], patience_seconds: float | None = None
    ) -> AbstractContextManager[None]:
        """Use an outside service exclusively among all processes; see :func:`service_lease`."""
        return service_lease(self._engine(), service, waiting=waiting, patience_seconds=patience_seconds)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn failures of the database into errors that say what to do."""
        try:
            yield
        except Exception as error:
            described = database_error(error, embedded=self._settings.database_url is None)
            if described is None:
                raise
            raise described from None
