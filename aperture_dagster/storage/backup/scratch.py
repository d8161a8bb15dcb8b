"""Databases that are made to restore a dump into: as empty as a new one, but with pgvector."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, create_engine, make_url
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from aperture_dagster.storage.backup.errors import BackupError
from aperture_dagster.storage.errors import describe_connection_error
from aperture_dagster.storage.queries import define, execute, read_rows, read_value

EXTENSION = "vector"
PREFIX = "aperture_proof_"


class CannotCreate(BackupError):
    """The user of the database may not create another one with pgvector; the message names the missing right."""


@contextmanager
def maintenance(url: str) -> Iterator[Connection]:
    """Open a connection outside transactions, as commands about whole databases need."""
    engine = create_engine(with_driver(url), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


def create_empty_database(url: str, name: str) -> str:
    """Create an empty database with pgvector on the server of a URL, with the encoding and locale of its database.

    Returns the URL of the new database.

    Raises:
        CannotCreate: the user may not create databases, or no database with pgvector.
    """
    other = database_url(url, name)
    with maintenance(url) as connection:
        role = _role(connection)
        if not role["may_create"]:
            raise CannotCreate(
                f"The user {role['name']} may not create databases: have an administrator run "
                f"ALTER ROLE {quoted(role['name'])} CREATEDB."
            )
        try:
            _create(connection, name, "template0")
            if _add_extension(other):
                return other
            # pgvector can only be installed by a superuser, but everybody may copy a template that has it.
            for template in _templates(connection):
                drop_database(url, name)
                _create(connection, name, template)
                if _add_extension(other):
                    return other
        except SQLAlchemyError as error:
            drop_database(url, name)
            raise CannotCreate(describe_connection_error(error)) from None
        drop_database(url, name)
    raise CannotCreate(
        f"The user {role['name']} may create databases, but not install pgvector in them: have a superuser create a "
        "template with it once (CREATE DATABASE aperture_template IS_TEMPLATE true TEMPLATE template0, then in it "
        "CREATE EXTENSION vector)."
    )


def drop_database(url: str, name: str) -> None:
    """Drop a database on the server of a URL, if it exists, together with its sessions."""
    with maintenance(url) as connection:
        define(connection, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


@contextmanager
def scratch_database(url: str) -> Iterator[str]:
    """Provide an empty database beside that of a URL, and drop it afterwards; yields its URL.

    First drops those that an interrupted process left. The caller holds the lock for backups. Raises CannotCreate.
    """
    prefix = scratch_prefix(url)
    with maintenance(url) as connection:
        leftovers = "SELECT datname FROM pg_database WHERE starts_with(datname, :prefix)"
        names = [row["datname"] for row in read_rows(connection, leftovers, prefix=prefix)]
    for name in names:
        # One that belongs to the user of an earlier APERTURE_DATABASE_URL does no harm.
        with suppress(ProgrammingError):
            drop_database(url, name)
    name = f"{prefix}{uuid4().hex[:12]}"
    created = create_empty_database(url, name)
    try:
        yield created
    finally:
        drop_database(url, name)


def scratch_prefix(url: str) -> str:
    """Return how the names of the scratch databases of a database begin; other installations may share its server."""
    return f"{PREFIX}{hashlib.sha256((make_url(url).database or '').encode()).hexdigest()[:8]}_"


def database_url(url: str, name: str) -> str:
    """Return the URL of another database on the same server, without a driver."""
    return make_url(url).set(drivername="postgresql", database=name).render_as_string(hide_password=False)


def with_driver(url: str) -> str:
    """Return a URL for SQLAlchemy."""
    return make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def quoted(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def _role(connection: Connection) -> dict[str, Any]:
    statement = (
        "SELECT rolname AS name, rolcreatedb OR rolsuper AS may_create FROM pg_roles WHERE rolname = current_user"
    )
    return read_rows(connection, statement)[0]


def _create(connection: Connection, name: str, template: str) -> None:
    (row,) = read_rows(connection, "SELECT to_jsonb(d) AS like FROM pg_database d WHERE datname = current_database()")
    like = row["like"]
    statement = "CREATE DATABASE {} TEMPLATE {} ENCODING {encoding} LC_COLLATE {collate} LC_CTYPE {ctype}"
    # The column has another name before PostgreSQL 17.
    locale = like.get("datlocale") or like.get("daticulocale")
    provider = like.get("datlocprovider")
    if provider == "i" and locale:
        statement += " LOCALE_PROVIDER icu ICU_LOCALE {locale}"
    elif provider == "b" and locale:
        statement += " LOCALE_PROVIDER builtin BUILTIN_LOCALE {locale}"
    encoding = read_value(connection, "SELECT pg_encoding_to_char(:code)", code=like["encoding"])
    texts = {"encoding": encoding, "collate": like["datcollate"], "ctype": like["datctype"], "locale": locale or ""}
    define(connection, statement, name, template, **texts)


def _templates(connection: Connection) -> list[str]:
    statement = """
        SELECT t.datname FROM pg_database t, pg_database own WHERE own.datname = current_database() AND t.datistemplate
        AND t.datallowconn AND (t.encoding, t.datcollate, t.datctype) = (own.encoding, own.datcollate, own.datctype)
        ORDER BY t.datname"""
    return [row["datname"] for row in read_rows(connection, statement)]


def _add_extension(url: str) -> bool:
    """Make sure that an otherwise empty database has pgvector; False if the user may not, or it has tables."""
    with maintenance(url) as connection:
        if read_value(connection, "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                      "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'v', 'S')"):  # fmt: skip
            return False
        try:
            execute(connection, f"CREATE EXTENSION IF NOT EXISTS {EXTENSION}")
        except ProgrammingError:
            return False
    return True
