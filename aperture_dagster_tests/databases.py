"""A PostgreSQL server in tests: statements beside the product's own, and a role whose password is asked for."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, make_url, text


def statements_on(url: str, *statements: str) -> list[tuple[object, ...]]:
    """Run statements, each by itself; returns what the last one answers."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            results = [connection.execute(text(statement)) for statement in statements]
            return [tuple(row) for row in results[-1]] if results[-1].returns_rows else []
    finally:
        engine.dispose()


def data_directory(postgres: str) -> Path:
    """Where the tests' server keeps its data; it does not say so itself when it runs for root."""
    return Path(str(make_url(postgres).query["host"]))


@contextmanager
def password_wanted(postgres: str) -> Iterator[str]:
    """A role that the server asks for its password, which is ``right``; everybody else is let in as before."""
    role = f"careful_{uuid.uuid4().hex[:8]}"
    statements_on(postgres, f"CREATE ROLE {role} LOGIN PASSWORD 'right'")
    rules = data_directory(postgres) / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all {role} scram-sha-256\n{before}")
    statements_on(postgres, "SELECT pg_reload_conf()")
    try:
        yield role
    finally:
        rules.write_text(before)
        statements_on(postgres, "SELECT pg_reload_conf()", f"DROP ROLE {role}")
