"""Direct access to the tests' PostgreSQL server: statements, copies of a database, and a role with a password."""

from __future__ import annotations

import re
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from aperture_dagster.postgres import connection
from aperture_dagster.postgres.cluster import ROLE, SUPERUSER
from aperture_dagster.postgres.connection import _engines, close_engine
from aperture_dagster.postgres.database import Database
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.waiting import wait_for


def run_statements(url: str, *statements: str) -> list[tuple[object, ...]]:
    """Run statements, each in its own transaction; return the rows of the last one."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            results = [connection.execute(text(statement)) for statement in statements]
            return [tuple(row) for row in results[-1]] if results[-1].returns_rows else []
    finally:
        engine.dispose()


def as_superuser(url: str) -> str:
    """Return the URL of the same database for the superuser of an embedded server, without a driver."""
    return make_url(url).set(drivername="postgresql", username=SUPERUSER).render_as_string(hide_password=False)


def data_directory(postgres: str) -> Path:
    """Return the data directory of the tests' server."""
    return Path(str(make_url(postgres).query["host"]))


@contextmanager
def database_copy(postgres: str, template: str = "template_aperture") -> Iterator[str]:
    """Create a copy of a database (default: a migrated, empty one); yield its URL, and drop it with Dagster's."""
    url = _create(postgres, template)
    try:
        yield url
    finally:
        _drop(postgres, url)


def _create(postgres: str, template: str) -> str:
    name = f"test_{uuid.uuid4().hex[:12]}"
    # Half the cost of a copy through the log.
    run_statements(postgres, f"CREATE DATABASE {name} OWNER {ROLE} TEMPLATE {template} STRATEGY file_copy")
    url = make_url(postgres).set(database=name, username=ROLE).render_as_string(hide_password=False)
    return url.replace("postgresql+psycopg://", "postgresql://")


def _drop(postgres: str, url: str) -> None:
    close_engine(_with_driver(url))
    name = make_url(url).database
    drop = "DROP DATABASE IF EXISTS {} WITH (FORCE)"
    run_statements(postgres, drop.format(name), drop.format(f"{name}_dagster"))


def _with_driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


# What any statement that defines something changes; but not temporary tables, VACUUM or ANALYZE. PostgreSQL's own
# objects have smaller ids, and are most of what there is.
_SCHEMA = """
    WITH kept AS (
        SELECT oid, xmin::text::bigint AS changed FROM pg_class
        WHERE oid >= 16384
        AND relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_(toast_)?temp_')
    ), counted AS (
        SELECT 'relations', count(*), max(changed) FROM kept UNION ALL
        SELECT 'columns', count(*), max(xmin::text::bigint) FROM pg_attribute
        WHERE attrelid >= 16384 AND attrelid IN (SELECT oid FROM kept)
        UNION ALL SELECT 'constraints', count(*), max(xmin::text::bigint) FROM pg_constraint WHERE oid >= 16384
        UNION ALL SELECT 'triggers', count(*), max(xmin::text::bigint) FROM pg_trigger WHERE oid >= 16384
        UNION ALL SELECT 'functions', count(*), max(xmin::text::bigint) FROM pg_proc WHERE oid >= 16384
        UNION ALL SELECT 'extensions', count(*), max(xmin::text::bigint) FROM pg_extension
        UNION ALL SELECT 'event triggers', count(*), max(xmin::text::bigint) FROM pg_event_trigger
        UNION ALL SELECT 'schemas', count(*), NULL FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
        UNION ALL SELECT 'settings', count(*), NULL FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase
        WHERE datname = current_database()
        UNION ALL SELECT 'rights: ' || coalesce(datacl::text, ''), datconnlimit, datallowconn::int FROM pg_database
        WHERE datname = current_database()
        UNION ALL SELECT 'revision ' || version_num, NULL, NULL FROM alembic_version
    ) SELECT * FROM counted ORDER BY 1"""
_LEAVE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""
# Names of the tables with rows, and their sizes. It reads the size of each file once: that takes longest.
_FILLED = """
    SELECT format('DELETE FROM %I', relname), size + coalesce(pg_relation_size(nullif(reltoastrelid, 0)), 0)
    FROM pg_class, pg_relation_size(oid) AS size
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version' AND size > 0"""
_LARGE = 400_000
_START_COUNTING = """
    SELECT setval(seqrelid::regclass, seqstart, false) FROM pg_sequence
    WHERE pg_sequence_last_value(seqrelid) IS NOT NULL"""


class SpareDatabases:
    """Migrated, empty databases that tests use one after another.

    A new one costs more than most tests do. After a test its rows are deleted. A database whose schema, rights or
    settings the test changed, or that it filled with much, is dropped instead.
    """

    def __init__(self, postgres: str) -> None:
        self._postgres = postgres
        self._free: list[str] = []
        self._schema: list[tuple[object, ...]] | None = None

    @contextmanager
    def one(self) -> Iterator[str]:
        """Yield the URL of a database for one test."""
        if not self._free:
            self._free.append(_create(self._postgres, "template_aperture"))
        if self._schema is None:
            with psycopg.connect(self._free[-1], autocommit=True) as session:
                self._schema = session.execute(_SCHEMA).fetchall()
        url = self._free.pop()
        try:
            yield url
        finally:
            if self._can_be_emptied(url):
                self._free.append(url)
            else:
                _drop(self._postgres, url)

    def _can_be_emptied(self, url: str) -> bool:
        """Empty a database; return False if it cannot be made as good as new."""
        try:
            with self._session(url) as session:
                # PostgreSQL itself would look only every 100 ms whether they are gone.
                wait_for(lambda: not session.execute(_LEAVE).fetchall(), "others stay", seconds=5, pause=0.002)
                if session.execute(_SCHEMA).fetchall() != self._schema:
                    return False
                filled = session.execute(_FILLED).fetchall()
                if any(size > _LARGE for _, size in filled):
                    return False
                deletions = ["SET LOCAL session_replication_role = replica", *(delete for delete, _ in filled)]
                session.execute(f"BEGIN; {'; '.join(deletions)}; COMMIT".encode())
                session.execute(_START_COUNTING)
                session.execute(f'DROP DATABASE IF EXISTS "{make_url(url).database}_dagster" WITH (FORCE)'.encode())
        except (psycopg.Error, SQLAlchemyError, AssertionError):
            return False
        return True

    @contextmanager
    def _session(self, url: str) -> Iterator[psycopg.Connection[Any]]:
        """Use the connection that the test has left, if there is one: the next test then need not make one either."""
        if (engine := _engines.get(_with_driver(url))) is None:
            with psycopg.connect(url, autocommit=True) as session:
                yield session
            return
        with engine.connect() as connection:
            session = connection.connection.driver_connection
            assert isinstance(session, psycopg.Connection)
            # Those that are not in use.
            engine.pool.dispose()
            before = session.autocommit
            session.autocommit = True
            try:
                session.execute("SELECT pg_advisory_unlock_all()")
                yield session
            finally:
                session.autocommit = before


_COLUMNS = """
    SELECT relname, string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_class
    JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname NOT IN ('alembic_version', 'changes')
    AND pg_relation_size(pg_class.oid) > 0 GROUP BY relname"""
_COUNTED = """
    SELECT format('SELECT setval(%L, %s)', seqrelid::regclass, pg_sequence_last_value(seqrelid)) FROM pg_sequence
    WHERE pg_sequence_last_value(seqrelid) IS NOT NULL"""
_IS_EMPTY = "SELECT NOT (EXISTS (SELECT FROM users) OR EXISTS (SELECT FROM works) OR EXISTS (SELECT FROM facts))"


@dataclass(frozen=True)
class _Rows:
    """The rows of a database."""

    tables: dict[str, bytes]
    """Each ``COPY`` with what it reads."""
    sequences: list[str]


_made: dict[tuple[object, ...], _Rows] = {}


def fill(database: Database, key: tuple[object, ...], make: Callable[[], object]) -> None:
    """Do something that only fills tables in a database, or put there what it made when it was done last.

    A household of six titles takes a tenth of a second to sync, which hundreds of tests begin with. A database that is
    not empty is filled by doing it.

    Args:
        key: names what is made. Within an hour, what has the same key is the same but for times of a few minutes ago.
    """
    key = (*key, datetime.now(UTC).strftime("%j %H"))
    with database.transaction() as connection:
        session = connection.connection.driver_connection
        assert isinstance(session, psycopg.Connection)
        (is_empty,) = session.execute(_IS_EMPTY).fetchone() or (False,)
        if is_empty and (rows := _made.get(key)):
            # Without foreign keys, in whatever order.
            session.execute("SET LOCAL session_replication_role = replica")
            for copying, content in rows.tables.items():
                with session.cursor().copy(copying.encode()) as into:
                    into.write(content)
            session.execute("; ".join(rows.sequences).encode())
            return
    make()
    if is_empty:
        with database.transaction() as connection:
            session = connection.connection.driver_connection
            assert isinstance(session, psycopg.Connection)
            tables = {}
            for table, columns in session.execute(_COLUMNS).fetchall():
                with session.cursor().copy(f"COPY {table} ({columns}) TO STDOUT".encode()) as out:
                    tables[f"COPY {table} ({columns}) FROM STDIN"] = b"".join(out)
            _made[key] = _Rows(tables, [setval for (setval,) in session.execute(_COUNTED)])


@contextmanager
def dagsters_tables_copied(postgres: str) -> Iterator[None]:
    """Let the databases that this process creates for Dagster be copies of one with its tables.

    Dagster needs half a second to create them. The first instance of a process makes the database that is copied.
    """
    ensure_database, templates = connection._ensure_database, []

    def copy_or_create(server_url: str, name: str) -> None:
        if not re.fullmatch("test_[0-9a-f]+_dagster", name) or not _same_server(server_url, postgres):
            ensure_database(server_url, name)
            return
        if not templates:
            templates.append(_dagster_template(postgres))
        with suppress(psycopg.errors.DuplicateDatabase), psycopg.connect(
            postgres.replace("+psycopg", ""), autocommit=True
        ) as admin:  # fmt: skip
            admin.execute(f"CREATE DATABASE {name} OWNER {ROLE} TEMPLATE {templates[0]} STRATEGY file_copy".encode())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "_ensure_database", copy_or_create)
        yield


def _same_server(url: str, other: str) -> bool:
    one, two = make_url(url), make_url(other)
    return (one.host, one.port, one.query, one.username) == (two.host, two.port, two.query, ROLE)


def _dagster_template(postgres: str) -> str:
    """Create a database with Dagster's tables; return its name."""
    import dagster as dg

    product = make_url(postgres).set(drivername="postgresql", database="template_aperture", username=ROLE)
    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        patch.setenv("APERTURE_DATABASE_URL", product.render_as_string(hide_password=False))
        patch.setenv("APERTURE_HOME", home)
        patch.setenv("DAGSTER_HOME", str(PROJECT))
        with dg.DagsterInstance.get():
            pass
    # Nobody may be connected to what is copied.
    close_engine(_with_driver(product.render_as_string(hide_password=False)))
    return f"{product.database}_dagster"


@contextmanager
def role_with_password(postgres: str) -> Iterator[str]:
    """Create a role that must log in with the password ``right``; yield its name. Other roles need no password."""
    role = f"password_{uuid.uuid4().hex[:8]}"
    run_statements(postgres, f"CREATE ROLE {role} LOGIN PASSWORD 'right'")
    rules = data_directory(postgres) / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all {role} scram-sha-256\n{before}")
    run_statements(postgres, "SELECT pg_reload_conf()")
    try:
        yield role
    finally:
        rules.write_text(before)
        run_statements(postgres, "SELECT pg_reload_conf()", f"DROP ROLE {role}")


def no_room(url: str, table: str) -> None:
    """Make every insert into a table fail as on a full disk, with PostgreSQL's message and code."""
    run_statements(
        url,
        "CREATE OR REPLACE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION "
        "'could not extend file \"base/5/16384\": No space left on device' "
        "USING ERRCODE = 'disk_full', HINT = 'Check free disk space.'; END $$",
        f"CREATE TRIGGER no_room BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION no_room()",
    )
