"""Direct access to the tests' PostgreSQL server: statements, copies of a database, and a role with a password."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, make_url, text

from aperture_dagster.storage.connection import close_engine


def run_statements(url: str, *statements: str) -> list[tuple[object, ...]]:
    """Run statements, each in its own transaction; return the rows of the last one."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            results = [connection.execute(text(statement)) for statement in statements]
            return [tuple(row) for row in results[-1]] if results[-1].returns_rows else []
    finally:
        engine.dispose()


def data_directory(postgres: str) -> Path:
    """Return the data directory of the tests' server."""
    return Path(str(make_url(postgres).query["host"]))


@contextmanager
def database_copy(postgres: str, template: str = "template_aperture") -> Iterator[str]:
    """Create a copy of a database (default: a migrated, empty one); yield its URL, and drop it with Dagster's."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    # Half the cost of a copy through the log.
    run_statements(postgres, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    url = make_url(postgres).set(database=name).render_as_string(hide_password=False)
    url = url.replace("postgresql+psycopg://", "postgresql://")
    try:
        yield url
    finally:
        close_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        drop = "DROP DATABASE IF EXISTS {} WITH (FORCE)"
        run_statements(postgres, drop.format(name), drop.format(f"{name}_dagster"))


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
