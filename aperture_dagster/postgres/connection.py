"""Connections to the database, with an up-to-date schema.

One PostgreSQL server, embedded unless ``APERTURE_DATABASE_URL`` names another, holds the product's database and
Dagster's own.
"""

from __future__ import annotations

import functools
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from aperture_dagster.postgres.changes import count_commits
from aperture_dagster.postgres.cluster import DAGSTER_DATABASE, PRODUCT_DATABASE
from aperture_dagster.postgres.databases import server_connection
from aperture_dagster.postgres.embedded import full_disk_explained, start_embedded_server
from aperture_dagster.postgres.errors import DatabaseError, describe_connection_error
from aperture_dagster.postgres.migrate import ensure_schema, forget_schema, schema_lock
from aperture_dagster.postgres.pool import NOTICE_LOSS, network_options, replace_dead_connections
from aperture_dagster.postgres.queries import define, read_rows, read_value
from aperture_dagster.settings import Settings


def product_database_url(settings: Settings) -> str:
    """Return the URL of the product's database for SQLAlchemy (psycopg 3); created if missing."""
    if settings.database_url is not None:
        return _with_driver(settings.database_url.get_secret_value(), "psycopg")
    return _with_driver(_embedded_url(settings, PRODUCT_DATABASE), "psycopg")


def dagster_database_url(settings: Settings) -> str:
    """Return the URL of Dagster's database for SQLAlchemy (psycopg 2, for dagster-postgres); created if missing."""
    if settings.database_url is None:
        return _with_driver(_embedded_url(settings, DAGSTER_DATABASE), "psycopg2")
    product = product_database_url(settings)
    name = f"{make_url(product).database}_dagster"
    _ensure_database(product, name)
    return _with_driver(_with_database(product, name), "psycopg2")


def open_engine(settings: Settings, *, before_migration: Callable[[str], None] | None = None) -> Engine:
    """Return an engine on the product's database with an up-to-date schema; the same one for the same URL.

    ``before_migration``: see :func:`ensure_schema`.

    Raises:
        DatabaseError: the server cannot be reached, or refuses.
    """
    url = product_database_url(settings)
    engine = _engines.get(url)
    if engine is None:
        engine = _engines[url] = _new_engine(url, settings)
    embedded = settings.database_url is None
    with full_disk_explained(settings.home_path / "postgres") if embedded else nullcontext():
        ensure_schema(engine, before_migration=before_migration, embedded=embedded)
    return engine


_engines: dict[str, Engine] = {}


def close_engine(url: str) -> None:
    """Close all connections to the database of a URL (with its driver), and forget it."""
    engine = _engines.pop(url, None)
    if engine is not None:
        engine.dispose()
    forget_schema(url)


def _new_engine(url: str, settings: Settings) -> Engine:
    # A small pool: the in-process executor works one step at a time, and home servers have few connections. A step that
    # asks a service holds its lease, stores answers, and takes from the quota at the same time.
    engine = create_engine(url, pool_size=3, max_overflow=8, pool_recycle=300, connect_args=network_options(url))
    replace_dead_connections(engine)
    count_commits(engine)

    @event.listens_for(engine, "do_connect")
    def _open(dialect, _record, arguments, options):  # pyright: ignore[reportUnusedFunction]
        try:
            return _connect(dialect, arguments, options)
        except dialect.loaded_dbapi.OperationalError:
            if settings.database_url is not None:
                raise
            start_embedded_server(settings.home_path / "postgres", verify=True)
            return dialect.connect(*arguments, **options)

    @event.listens_for(engine, "connect")
    def _prepare(connection, _record) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.autocommit = True
        set_up_session(connection)
        connection.autocommit = False

    return engine


def set_up_session(connection: Any) -> None:
    """Set what every session of ours relies on, whatever the server's configuration says."""
    # Another time zone would appear in formatted dates, and move dates at the end of the year 9999 out of range.
    connection.execute("SET TIME ZONE 'UTC'")
    # Compiling a query takes longer than running any of ours: where statistics are missing, after a first sync, a query
    # of 20 ms took 130 ms.
    connection.execute(f"SET jit = off; {NOTICE_LOSS}")


def refuse_bytes(engine: Engine) -> None:
    """Make an engine refuse databases without an encoding, which store texts as bytes that nothing here can read."""
    event.listen(engine, "do_connect", lambda dialect, _, arguments, options: _connect(dialect, arguments, options))


def _connect(dialect: Any, arguments: Any, options: Any) -> Any:
    connection = dialect.connect(*arguments, **options)
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        name = connection.info.dbname
        connection.close()
        raise DatabaseError(
            f"The database {name!r} has the encoding SQL_ASCII, which is none, but titles need UTF8. Nothing was "
            f'changed. Create another one, and name it in APERTURE_DATABASE_URL: CREATE DATABASE "{name}_utf8" '
            "ENCODING 'UTF8' TEMPLATE template0."
        )
    return connection


def _embedded_url(settings: Settings, database: str) -> str:
    data = settings.home_path / "postgres"
    maintenance_url = start_embedded_server(data)
    with full_disk_explained(data):
        _ensure_embedded_database(_with_driver(maintenance_url, "psycopg"), database)
    return _with_database(maintenance_url, database)


@functools.cache
def _with_database(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)


def _ensure_database(server_url: str, name: str) -> None:
    """Create database ``name`` on the server of ``server_url`` if it is missing. Safe to call concurrently."""
    from psycopg import errors

    exists = "SELECT 1 FROM pg_database WHERE datname = :name"
    try:
        with server_connection(server_url) as connection:
            if read_value(connection, exists, name=name):
                return
            with schema_lock(connection):
                if not read_value(connection, exists, name=name):
                    define(connection, "CREATE DATABASE {}", name)
    except SQLAlchemyError as error:
        reason = getattr(error, "orig", None)
        if isinstance(reason, errors.DuplicateDatabase):
            return
        if isinstance(reason, errors.InsufficientPrivilege):
            raise DatabaseError(
                f"The user of APERTURE_DATABASE_URL may not create the database {name!r}, which Dagster needs: "
                f'create it (CREATE DATABASE "{name}"), or let that user create databases.'
            ) from None
        raise DatabaseError(describe_connection_error(error)) from None


_ensure_embedded_database = functools.cache(_ensure_database)


def describe_server(connection: Connection) -> dict[str, Any]:
    """Return the versions of the server and of the schema, the role, and whether it is a superuser."""
    statement = """
        SELECT split_part(current_setting('server_version'), ' ', 1) AS postgresql,
        (SELECT version_num FROM alembic_version) AS schema, current_user AS role,
        current_setting('is_superuser') = 'on' AS is_superuser"""
    return read_rows(connection, statement)[0]


@functools.cache
def _with_driver(url: str, driver: str) -> str:
    scheme, separator, rest = url.strip().partition("://")
    try:
        usable = separator and scheme.partition("+")[0] in ("postgresql", "postgres")
        # Reject malformed URLs here, because other parsers show the whole URL, including the password. Text after an @
        # in the password would be taken for a host name, which appears in errors.
        parts = make_url(f"postgresql+{driver}://{rest}") if usable else None
        if parts is not None and parts.database and "@" not in (parts.host or ""):
            return f"postgresql+{driver}://{rest}"
    except (ArgumentError, ValueError):
        pass
    raise DatabaseError(
        "APERTURE_DATABASE_URL: expected postgresql://user:password@host:port/database (with special characters "
        "encoded as %XX)."
    )


# Encryption of tokens in the database, with a key that is derived from APERTURE_SECRET_KEY.


# Part of the derivation, so that the same secret can serve other purposes, too.
_PURPOSE = b"aperture-dagster tokens"


class WrongKey(Exception):
    """A text was encrypted with another key, or is damaged."""


class Cipher:
    """Encrypts and authenticates short texts (Fernet, keyed by HKDF-SHA256)."""

    def __init__(self, secret_key: str) -> None:
        from cryptography.fernet import Fernet
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret_key.encode())
        self._fernet = Fernet(urlsafe_b64encode(derived))

    def encrypt(self, text: str) -> str:
        """Encrypt a text; the same text looks different each time."""
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, encrypted: str) -> str:
        """Decrypt a text. Raises WrongKey, which holds no part of it."""
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(encrypted.encode()).decode()
        except (InvalidToken, UnicodeError):
            raise WrongKey from None
