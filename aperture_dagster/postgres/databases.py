"""Whole databases of a server: made to restore a dump into, put in the place of another one, and dropped."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, create_engine, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from aperture_dagster.postgres.errors import DatabaseError, describe_connection_error, describe_reason
from aperture_dagster.postgres.queries import define, execute, read_rows, read_value

PREFIX = "aperture_scratch_"
# Beside that of the schema. The first key of the lock; the second is a hash of the database's name.
KEY = 0x0A9E29
PATIENCE_SECONDS = 600.0
POLL_SECONDS = 1.0
SWITCH_SECONDS = 60.0
# PostgreSQL's names have at most 63 bytes.
LONGEST_BASE = 40
# Marks a database that is ours to drop: a name alone proves nothing.
REPLACED = "aperture: replaced by a restore of {!r}"
IN_USE, MAY_NOT = "55006", "42501"


class CannotCreate(DatabaseError):
    """The user of the database may not create another one; the message names the missing right."""


@dataclass(frozen=True, slots=True)
class ReplacedDatabase:
    """A database that a restore has replaced, and that can be dropped."""

    name: str
    size_bytes: int


@contextmanager
def server_connection(url: str) -> Iterator[Connection]:
    """Connect to the server of a URL without transactions, to another database than the URL's if there is one.

    Raises:
        DatabaseError: there is none that the user of the URL can use.
    """
    own = make_url(url).set(drivername="postgresql+psycopg")
    refusals: list[SQLAlchemyError] = []
    for name in dict.fromkeys(("postgres", f"{own.database}_dagster", own.database)):
        engine = create_engine(own.set(database=name), isolation_level="AUTOCOMMIT", poolclass=NullPool)
        try:
            connection = engine.connect()
        except SQLAlchemyError as error:
            refusals.append(error)
            continue
        with connection:
            yield connection
        return
    raise DatabaseError(describe_connection_error(refusals[-1])) from None


@contextmanager
def exclusive_maintenance(url: str, report: Callable[[str], None]) -> Iterator[Connection]:
    """Back up or restore a database as the only process that does; yields a connection to its server.

    The lock ends with the connection, so also when the process is killed. What killed processes left is dropped.

    Raises:
        DatabaseError: the server cannot be used, or another process has been at it for ten minutes.
    """
    name, deadline = make_url(url).database or "", time.monotonic() + PATIENCE_SECONDS
    with server_connection(url) as server:
        is_waiting = False
        while not read_value(server, f"SELECT pg_try_advisory_lock({KEY}, hashtext(:name))", name=name):
            if time.monotonic() > deadline:
                raise DatabaseError("Another process is backing this database up or restoring it, and does not end.")
            if not is_waiting:
                report("Another process is backing this database up or restoring it: waiting for it to end.")
            is_waiting = True
            time.sleep(POLL_SECONDS)
        leftovers = "SELECT datname FROM pg_database WHERE starts_with(datname, :prefix)"
        for row in read_rows(server, leftovers, prefix=scratch_prefix(name)):
            # One that belongs to the user of an earlier APERTURE_DATABASE_URL does no harm.
            with suppress(DBAPIError):
                _drop(server, row["datname"])
        yield server


@contextmanager
def scratch_database(server: Connection, url: str) -> Iterator[str]:
    """Provide an empty database beside that of a URL; yields its URL.

    It is dropped afterwards, unless it has another name by then. Raises CannotCreate.
    """
    own = make_url(url).set(drivername="postgresql+psycopg")
    name = f"{scratch_prefix(own.database or '')}{uuid4().hex[:12]}"
    try:
        _create(server, name, like=own.database or "")
    except SQLAlchemyError as error:
        _drop(server, name)
        raise CannotCreate(_why_not_created(server, error)) from None
    try:
        yield own.set(database=name).render_as_string(hide_password=False)
    finally:
        # What cannot be dropped now is dropped next time.
        with suppress(SQLAlchemyError):
            _drop(server, name)


def scratch_prefix(name: str) -> str:
    """Return how the scratch databases of a database are named; other installations may share its server."""
    return f"{PREFIX}{hashlib.sha256(name.encode()).hexdigest()[:8]}_"


def switch(server: Connection, name: str, new: str, *, now: datetime) -> str | None:
    """Rename two databases in one transaction: ``new`` takes the place of the one of that name, which is kept.

    Sessions of the old one are ended, and new ones wait. Returns the name of the old one, if there was one.

    Raises:
        DatabaseError: the old database belongs to another user, its sessions do not end, or the connection was lost.
    """
    from psycopg import Error

    old = _name_aside(server, name, now) if _exists(server, name) else None
    driver: Any = server.connection.driver_connection
    deadline = time.monotonic() + SWITCH_SECONDS
    while True:
        try:
            if old is not None:
                # The server's own processes have no user, and give way by themselves.
                others = "FROM pg_stat_activity WHERE datname = :name AND usesysid IS NOT NULL"
                execute(server, f"SELECT pg_terminate_backend(pid) {others}", name=name)
            with driver.transaction():
                if old is not None:
                    define(server, "ALTER DATABASE {} RENAME TO {}", name, old)
                    define(server, "COMMENT ON DATABASE {} IS {comment}", old, comment=REPLACED.format(name))
                define(server, "ALTER DATABASE {} RENAME TO {}", new, name)
            return old
        except Error as error:
            raise DatabaseError(
                f"The server did not confirm that the restored database is in place ({describe_reason(error)}). It is "
                f"if `aperture restore --drop-old` shows {old}; if not, nothing was changed, and you can restore again."
            ) from None
        except DBAPIError as error:
            # Somebody connected just before.
            if getattr(error.orig, "sqlstate", None) == IN_USE and time.monotonic() < deadline:
                continue
            raise DatabaseError(
                f"The database {name!r} cannot be replaced: {describe_reason(error)}. It has to belong to the user of "
                "APERTURE_DATABASE_URL (ALTER DATABASE … OWNER TO …), and sessions of other users must be closed. "
                "Nothing was changed."
            ) from None


def replaced_databases(url: str) -> list[ReplacedDatabase]:
    """List the databases that restores have replaced, in the order of their names."""
    statement = """
        SELECT datname AS name, pg_database_size(oid) AS size_bytes FROM pg_database
        WHERE shobj_description(oid, 'pg_database') = :comment ORDER BY datname"""
    with server_connection(url) as server:
        rows = read_rows(server, statement, comment=REPLACED.format(make_url(url).database))
    return [ReplacedDatabase(**row) for row in rows]


def drop_replaced_database(url: str, name: str) -> None:
    """Drop one of :func:`replaced_databases`."""
    with server_connection(url) as server:
        _drop(server, name)


def _create(server: Connection, name: str, *, like: str) -> None:
    """Create a database with the encoding and collation of another one, which need not work."""
    statement = """
        SELECT pg_encoding_to_char(encoding) AS encoding, datcollate AS collate, datctype AS ctype FROM pg_database
        WHERE datname = :name"""
    texts = next(iter(read_rows(server, statement, name=like)), None)
    if texts is None:
        define(server, "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'", name)
    else:
        shape = "ENCODING {encoding} LC_COLLATE {collate} LC_CTYPE {ctype}"
        define(server, f"CREATE DATABASE {{}} TEMPLATE template0 {shape}", name, **texts)


def _why_not_created(server: Connection, error: SQLAlchemyError) -> str:
    user = read_value(server, "SELECT current_user")
    reason = describe_reason(error)
    if "permission denied" in reason:
        return f'The user {user} may not create databases: have an administrator run ALTER ROLE "{user}" CREATEDB.'
    return describe_connection_error(error)


def _drop(server: Connection, name: str) -> None:
    try:
        define(server, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != MAY_NOT:
            raise
        # The server itself is cleaning up in it, as a superuser. Without FORCE it gives way.
        own = "FROM pg_stat_activity WHERE datname = :name AND usename = current_user"
        execute(server, f"SELECT pg_terminate_backend(pid) {own}", name=name)
        define(server, "DROP DATABASE IF EXISTS {}", name)


def _exists(server: Connection, name: str) -> bool:
    return read_value(server, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = :name)", name=name)


def _name_aside(server: Connection, name: str, now: datetime) -> str:
    base = name.encode()[:LONGEST_BASE].decode(errors="ignore")
    aside = f"{base}_old_{now:%Y%m%d_%H%M%S}"
    # The clock may have gone back.
    names = itertools.chain([aside], (f"{aside}_{number}" for number in itertools.count(2)))
    return next(one for one in names if not _exists(server, one))
