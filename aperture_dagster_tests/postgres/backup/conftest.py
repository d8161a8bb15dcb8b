"""A small filled database, settings with a folder for its backups, and a dump of it."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from aperture_dagster.postgres.backup.create import BackupReport, create_backup
from aperture_dagster.postgres.backup.dump import write_dump
from aperture_dagster.postgres.cluster import ROLE, VERSION
from aperture_dagster.settings import Settings
from aperture_dagster_tests.databases import database_copy, run_statements
from aperture_dagster_tests.household import SetClock

NIGHT = datetime(2026, 5, 17, 1, 0, tzinfo=UTC)
ROWS = 1000
# Texts with everything that a dump must escape, and with lines that look like parts of a dump.
FILL = [
    rf"""INSERT INTO facts (name, value) SELECT 'fact ' || i,
    to_jsonb(E'a\\b\n\\.\n\\unrestrict x\n-- PostgreSQL database dump complete\n\t' || i)
    FROM generate_series(1, {ROWS}) i""",
    f"INSERT INTO works (media_type, tmdb_id) SELECT 'movie', i FROM generate_series(1, {ROWS}) i",
    "INSERT INTO embedding_models (model_key, dimensions, activated_at) VALUES ('m', 3, now())",
    "INSERT INTO embeddings (model_key, work_id, text_hash, vector) "
    "SELECT 'm', work_id, 'h', decode('003c004100c2', 'hex') FROM works",
]


@pytest.fixture(scope="module")
def filled(postgres: str) -> Iterator[str]:
    """The name of a database with rows; copied for each test."""
    with database_copy(postgres) as url:
        run_statements(url, *(statement.replace(":", "\\:") for statement in FILL))
        yield str(make_url(url).database)


@pytest.fixture
def database_url(postgres: str, filled: str) -> Iterator[str]:
    with database_copy(postgres, filled) as url:
        yield url


@pytest.fixture(scope="module")
def dump(postgres: str, filled: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The text of a dump of that database."""
    url = (
        make_url(postgres)
        .set(drivername="postgresql", database=filled, username=ROLE)
        .render_as_string(hide_password=False)
    )
    file = tmp_path_factory.mktemp("dump") / "dump.sql.gz"
    write_dump(url, file, server_major=VERSION)
    return gzip.decompress(file.read_bytes())


@pytest.fixture
def dump_file(tmp_path: Path) -> Callable[[bytes], Path]:
    """Write a text as a compressed dump."""

    def write(text: bytes) -> Path:
        path = tmp_path / "dump.sql.gz"
        path.write_bytes(gzip.compress(text, 1))
        return path

    return write


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(backup_keep=2)


@pytest.fixture
def clock() -> SetClock:
    return SetClock(NIGHT)


@pytest.fixture
def back_up(settings: Settings, clock: SetClock) -> Callable[..., BackupReport]:
    """Make a backup at the time of the clock."""

    def run(**options: Any) -> BackupReport:
        return create_backup(options.pop("settings", settings), clock.now(), **options)

    return run
