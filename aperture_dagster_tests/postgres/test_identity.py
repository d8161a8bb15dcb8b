"""The identity that marks folders: made once, kept, and part of every dump."""

from __future__ import annotations

from pathlib import Path

from aperture_dagster.postgres.backup.dump import restore_dump, write_dump
from aperture_dagster.postgres.cluster import VERSION
from aperture_dagster.postgres.connection import open_engine
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.databases import scratch_database, server_connection
from aperture_dagster.postgres.identity import ensure_owner, read_owner
from aperture_dagster.settings import load_settings


def test_the_identity_is_made_once_and_a_restored_database_keeps_it(
    database: Database, database_url: str, tmp_path: Path
):
    with database.transaction() as connection:
        assert read_owner(connection) is None
        owner = ensure_owner(connection)
    with database.transaction() as connection:
        assert ensure_owner(connection) == read_owner(connection) == owner
    file = tmp_path / "dump.sql.gz"
    write_dump(database_url, file, server_major=VERSION)
    with server_connection(database_url) as server, scratch_database(server, database_url) as restored:
        restore_dump(restored, file)
        engine = open_engine(load_settings(database_url=restored.replace("+psycopg", "")))
        with engine.connect() as connection:
            assert read_owner(connection) == owner
        engine.dispose()
