"""Replacing the product's database by another one, while nothing else may use it.

The server itself keeps everybody out: the database accepts no connections meanwhile. A new database is made beside it,
and one transaction renames both, so that a process killed at any point leaves either the old database in place or the
new one. Whoever finds the database closed, and no process at work on it, opens it again (:func:`reopen`).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex
from typing import Any

from sqlalchemy import Connection, create_engine, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from aperture_dagster.storage.errors import DatabaseError, describe_connection_error, describe_reason
from aperture_dagster.storage.queries import define, execute, read_rows, read_value

# The first key of the advisory lock; the second is a hash of the database's name.
KEY = 0x0A9E2A
LOCK = f"SELECT pg_try_advisory_lock({KEY}, hashtext(:name))"
UNLOCK = f"SELECT pg_advisory_unlock({KEY}, hashtext(:name))"
# A lock belongs to the database of the connection that took it, and not everybody can connect to the same one.
LOCKED_ELSEWHERE = f"""
    SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()
    AND (classid::bigint, objid::bigint, objsubid) = ({KEY}, hashtext(:name)::bigint & 4294967295, 2))"""
PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.2
# PostgreSQL's names have at most 63 bytes.
LONGEST_BASE = 40
# Comments on databases that are ours to drop: a name alone proves nothing.
UNFINISHED = "aperture: unfinished restore of {!r}"
REPLACED = "aperture: replaced by a restore of {!r}"


class RestoreInProgress(DatabaseError):
    """Another process is replacing the database, and nothing else may use it."""

    def __init__(self) -> None:
        super().__init__(
            "The database is being restored, and nothing else may use it meanwhile: try again when `aperture restore` "
            "has ended."
        )


class SwitchUncertain(DatabaseError):
    """The connection was lost while the server switched the databases; one of the two is in place, whole."""


@dataclass(frozen=True, slots=True)
class ReplacedDatabase:
    """A database that a restore has replaced, and that can be dropped."""

    name: str
    size_bytes: int


class Maintenance:
    """The product's database while only this process may use it; made by :func:`maintenance`.

    ``name`` is its name, ``connection`` one to another database of its server, without transactions.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection, self.name = connection, name

    @property
    def exists(self) -> bool:
        """Whether there is a database of that name."""
        return _accepts_connections(self.connection, self.name) is not None

    @property
    def new_name(self) -> str:
        """A name for the database that is to replace the other one."""
        return f"{_base(self.name)}_new_{token_hex(4)}"

    def own(self, new: str) -> None:
        """Mark a database as made for this replacement: it is dropped unless it is switched to."""
        define(self.connection, "COMMENT ON DATABASE {} IS {comment}", new, comment=UNFINISHED.format(self.name))

    def close(self) -> None:
        """Let the database accept no more connections, and end those that are open.

        Raises:
            DatabaseError: it belongs to another user, or is used by a session that this user may not end.
        """
        if not self.exists:
            return
        try:
            define(self.connection, "ALTER DATABASE {} ALLOW_CONNECTIONS false", self.name)
        except DBAPIError as error:
            raise DatabaseError(
                f"The database {self.name!r} cannot be closed for the restore: {describe_reason(error)}. It has to "
                "belong to the user of APERTURE_DATABASE_URL (ALTER DATABASE … OWNER TO …). Nothing was changed."
            ) from None
        _end_sessions(self.connection, self.name)

    def open(self) -> None:
        """Let the database accept connections again."""
        if _accepts_connections(self.connection, self.name) is False:
            define(self.connection, "ALTER DATABASE {} ALLOW_CONNECTIONS true", self.name)

    def switch(self, new: str, *, now: datetime) -> str | None:
        """Put the new database in the place of the old one, and keep that; return its name, if there was one.

        Raises:
            SQLAlchemyError: the server refuses, and nothing has changed.
            SwitchUncertain: the connection was lost at the last moment; one of the two is in place.
        """
        from psycopg import Error

        old = self._old_name(now) if self.exists else None
        driver = self.connection.connection.driver_connection
        assert driver is not None
        try:
            self._rename(driver, new, old)
        except Error as error:
            look = f"`aperture restore --drop-old` shows {old}" if old else "`aperture doctor` finds a database"
            raise SwitchUncertain(
                f"The server did not confirm that the restored database is in place ({describe_reason(error)}). It is "
                f"if {look}; if not, nothing was changed, and you can restore again."
            ) from None
        return old

    def _rename(self, driver: Any, new: str, old: str | None) -> None:
        with driver.transaction():
            if old is not None:
                define(self.connection, "ALTER DATABASE {} RENAME TO {}", self.name, old)
                define(self.connection, "ALTER DATABASE {} ALLOW_CONNECTIONS true", old)
                define(self.connection, "COMMENT ON DATABASE {} IS {comment}", old, comment=REPLACED.format(self.name))
            define(self.connection, "ALTER DATABASE {} RENAME TO {}", new, self.name)
            define(self.connection, "COMMENT ON DATABASE {} IS NULL", self.name)

    def _old_name(self, now: datetime) -> str:
        # The clock may have gone back.
        name = f"{_base(self.name)}_old_{now:%Y%m%d_%H%M%S}"
        names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
        return next(one for one in names if _accepts_connections(self.connection, one) is None)

    def undo(self) -> None:
        """Open the database, and drop what an unfinished replacement left behind; nothing after a switch."""
        unfinished = _with_comment(self.connection, UNFINISHED.format(self.name))
        # A database that somebody else closed stays closed.
        if unfinished:
            self.open()
        for name in unfinished:
            define(self.connection, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


@contextmanager
def maintenance(url: str) -> Iterator[Maintenance]:
    """Begin to replace the database of a URL. Unless it is switched, everything is undone at the end.

    Raises:
        RestoreInProgress: another process is doing so.
        DatabaseError: the server cannot be used.
    """
    name = make_url(url).database or ""
    with server_connection(url) as connection:
        if not _lock(connection, name):
            raise RestoreInProgress
        work = Maintenance(connection, name)
        work.undo()
        try:
            yield work
        finally:
            # The lock ends with the connection. What cannot be undone now is undone by the next process.
            with suppress(SQLAlchemyError):
                work.undo()


def reopen(url: str, *, patience_seconds: float = PATIENCE_SECONDS) -> bool:
    """Return whether a database that refused a connection is worth another attempt.

    Waits while another process is replacing it. If one was killed while it did, its work is undone.

    Raises:
        RestoreInProgress: the other process is still at work.
    """
    name = make_url(url).database or ""
    deadline = time.monotonic() + patience_seconds
    try:
        with server_connection(url) as connection:
            while _accepts_connections(connection, name) is False:
                if _lock(connection, name):
                    Maintenance(connection, name).undo()
                    break
                if time.monotonic() > deadline:
                    raise RestoreInProgress
                time.sleep(POLL_SECONDS)
            return _accepts_connections(connection, name) is True
    except RestoreInProgress:
        raise
    except (DatabaseError, SQLAlchemyError):
        # The caller knows why its own attempt failed.
        return False


def replaced_databases(url: str) -> list[ReplacedDatabase]:
    """List the databases that restores have replaced, in the order of their names."""
    with server_connection(url) as connection:
        size = "SELECT pg_database_size(CAST(:name AS name))"
        names = _with_comment(connection, REPLACED.format(make_url(url).database))
        return [ReplacedDatabase(name, read_value(connection, size, name=name)) for name in names]


def drop_replaced_database(url: str, name: str) -> None:
    """Drop a database that a restore has replaced.

    Raises:
        DatabaseError: there is none of that name.
    """
    with server_connection(url) as connection:
        if name not in _with_comment(connection, REPLACED.format(make_url(url).database)):
            raise DatabaseError(f"{name!r} is no database that a restore has replaced; nothing was dropped.")
        define(connection, "DROP DATABASE {} WITH (FORCE)", name)


@contextmanager
def server_connection(url: str) -> Iterator[Connection]:
    """Connect to another database of a URL's server, without transactions.

    Raises:
        DatabaseError: there is none that the user of the URL can use.
    """
    own = make_url(url)
    refusals: list[SQLAlchemyError] = []
    others = [name for name in ("postgres", f"{own.database}_dagster") if name != own.database]
    for name in others:
        engine = create_engine(own.set(database=name), isolation_level="AUTOCOMMIT", poolclass=NullPool)
        try:
            connection = engine.connect()
        except SQLAlchemyError as error:
            refusals.append(error)
            continue
        with connection:
            yield connection
        return
    raise DatabaseError(describe_connection_error(refusals[0])) from None


def _lock(connection: Connection, name: str) -> bool:
    """Take the lock for replacing a database until the connection ends; return False if another process holds it."""
    if not read_value(connection, LOCK, name=name):
        return False
    # Looked for while holding the own one, so that of two processes at least one sees the other.
    if not read_value(connection, LOCKED_ELSEWHERE, name=name):
        return True
    read_value(connection, UNLOCK, name=name)
    return False


def _accepts_connections(connection: Connection, name: str) -> bool | None:
    """Return whether a database accepts connections; None if there is none of that name."""
    return read_value(connection, "SELECT datallowconn FROM pg_database WHERE datname = :name", name=name)


def _with_comment(connection: Connection, comment: str) -> list[str]:
    """Return the names of the databases with a comment, in their order."""
    statement = """
        SELECT datname FROM pg_database WHERE shobj_description(oid, 'pg_database') = :comment ORDER BY datname"""
    return [row["datname"] for row in read_rows(connection, statement, comment=comment)]


def _end_sessions(connection: Connection, name: str) -> None:
    # The server's own processes have no user, and give way by themselves.
    others = "FROM pg_stat_activity WHERE datname = :name AND usesysid IS NOT NULL"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while read_value(connection, f"SELECT count(*) {others}", name=name):
        try:
            execute(connection, f"SELECT pg_terminate_backend(pid) {others}", name=name)
        except DBAPIError as error:
            users = read_value(connection, f"SELECT string_agg(DISTINCT usename, ', ') {others}", name=name)
            raise DatabaseError(
                f"The database {name!r} is in use by sessions of {users} that cannot be ended "
                f"({describe_reason(error)}): close them, and try again. Nothing was changed."
            ) from None
        if time.monotonic() > deadline:
            raise DatabaseError(f"The sessions in the database {name!r} do not end; nothing was changed.")
        time.sleep(POLL_SECONDS / 4)


def _base(name: str) -> str:
    return name.encode()[:LONGEST_BASE].decode(errors="ignore")
