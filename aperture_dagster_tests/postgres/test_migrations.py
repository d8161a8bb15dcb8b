"""The schema: equal to the table definitions, migrated automatically, with constraints on our own values."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Float,
    Integer,
    MetaData,
    SmallInteger,
    create_engine,
    insert,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError

from aperture_dagster.postgres import migrate
from aperture_dagster.postgres.cluster import embedded_tool
from aperture_dagster.postgres.connection import open_engine
from aperture_dagster.postgres.database import Database, read_only
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.postgres.migrate import HEAD_REVISION, alembic_config, ensure_schema, forget_schema
from aperture_dagster.schema import metadata
from aperture_dagster.settings import load_settings
from aperture_dagster_tests.cli.next_release import next_release
from aperture_dagster_tests.conftest import load_script
from aperture_dagster_tests.databases import database_copy
from aperture_dagster_tests.shelf import NOW
from aperture_dagster_tests.waiting import SECONDS

PLACEHOLDERS: dict[type, Any] = {
    ARRAY: [], JSONB: {}, Boolean: False, BigInteger: 1, Integer: 1, SmallInteger: 1, Float: 1.0, Date: NOW.date(),
    DateTime: NOW,
}  # fmt: skip


def with_driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


def dump_schema(url: str) -> list[str]:
    """Return the sorted lines of the schema from pg_dump; sorted, since columns added later come last."""
    run = subprocess.run(
        [embedded_tool("pg_dump"), "-s", "-O", "-T", "alembic_version", url],
        check=True,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    # Lines with a backslash hold a random key.
    return sorted(line.rstrip(",") for line in run.stdout.splitlines() if line and not line.startswith(("--", "\\")))


def test_an_empty_database_gets_the_schema_of_the_table_definitions_on_first_use(empty: str, postgres: str):
    engine = open_engine(load_settings(database_url=empty))
    assert open_engine(load_settings(database_url=empty)) is engine
    with database_copy(postgres, "template0") as other:
        defined = create_engine(with_driver(other))
        with defined.begin() as connection:
            metadata.create_all(connection)
        defined.dispose()
        assert dump_schema(empty) == dump_schema(other)


def test_a_release_freezes_the_first_schema_so_that_a_change_without_a_migration_is_noticed(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    scripts = tmp_path / "migrations"
    shutil.copytree(migrate.MIGRATIONS, scripts)
    tool = load_script("tools/freeze.py")
    frozen = scripts / "versions" / tool.FROZEN.name
    assert tool.freeze_schema(frozen)
    written = frozen.read_text()
    frozen.write_text(f"{written}\n")
    assert not tool.freeze_schema(frozen) and frozen.read_text() != written, "what is frozen stays"
    monkeypatch.setattr(migrate, "MIGRATIONS", scripts)
    changed = MetaData()
    for table in metadata.tables.values():
        table.to_metadata(changed)
    changed.tables["works"].append_column(Column("added_later", Integer))
    dumps = []
    for declared in (None, metadata, changed):
        with database_copy(postgres, "template0") as url:
            engine = create_engine(with_driver(url))
            if declared is None:
                ensure_schema(engine)
                forget_schema(with_driver(url))
            else:
                with engine.begin() as connection:
                    declared.create_all(connection)
            engine.dispose()
            dumps.append(dump_schema(url))
    migrated, unchanged, later = dumps
    assert migrated == unchanged and not set(later) <= set(migrated)


def test_the_head_revision_is_the_newest_migration(database: Database):
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [HEAD_REVISION]
    with database.transaction() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD_REVISION


@pytest.mark.parametrize(
    ("revision", "why"),
    [
        ("v999", "of a newer version of this program, which knows schemas up to v"),
        ("v6", "which no release of this program can upgrade: a version before the first one wrote it"),
        ("0001", "a version before the first one wrote it"),
        ("a6ee7ffd4b61", "or another program"),
    ],
)
def test_an_unknown_schema_is_kept_and_the_remedy_deletes_nothing(
    database_url: str, tmp_path: Path, revision: str, why: str
):
    url = with_driver(database_url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
        connection.execute(text("INSERT INTO facts (name, value) VALUES ('kept', '1')"))
    forget_schema(url)
    with pytest.raises(DatabaseError) as refused:
        ensure_schema(engine)
    said = str(refused.value)
    assert said.startswith(f"The database has the schema {revision}, ") and why in said
    assert "Nothing was changed, and the backups are kept. Install the version that wrote it again" in said
    assert "`aperture backup list`" in said and "`aperture restore FILE`" in said
    assert "A home from before the first release must be made anew: set APERTURE_HOME to a new folder" in said
    assert not re.search(r"\b(delete|drop|remove)", said, re.IGNORECASE)
    # Commands that only look say the same.
    looking = load_settings(home=tmp_path, database_url=database_url)
    with pytest.raises(DatabaseError) as looked, read_only(looking):
        pass
    assert str(looked.value) == said
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == revision
        assert connection.execute(text("SELECT count(*) FROM facts")).scalar() == 1
    engine.dispose()


def test_an_older_schema_is_upgraded_by_the_next_start(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    looking = load_settings(home=tmp_path, database_url=database_url)
    upgrades = "start `aperture up`, which makes a backup and upgrades it"
    with next_release(tmp_path, monkeypatch), pytest.raises(DatabaseError, match=upgrades), read_only(looking):
        pass


# Constraints


def placeholder(column: Column[Any]) -> Any:
    return next((value for kind, value in PLACEHOLDERS.items() if isinstance(column.type, kind)), column.name)


@pytest.fixture
def put(database: Database) -> Callable[..., None]:
    """Insert a row, with arbitrary values for other required columns."""

    def insert_row(table: str, **values: Any) -> None:
        columns = metadata.tables[table].columns
        needed = {
            column.name: placeholder(column)
            for column in columns
            if not column.nullable and column.server_default is None
        }
        needed |= {"media_type": "movie"} if "media_type" in columns else {}
        with database.transaction() as connection:
            connection.execute(insert(metadata.tables[table]).values(needed | values))

    insert_row("users", user_id="user_id")
    insert_row("works", work_id=1)
    return insert_row


@pytest.mark.parametrize(
    ("table", "good", "bad"),
    [
        ("works", {"media_type": "series"}, {"media_type": "episode"}),
        ("titles", {"server_item_id": None, "removed_at": NOW}, {"server_item_id": None}),
        ("fetches", {"kind": "network", "outcome": "waiting"}, {"kind": "movie", "outcome": "quota"}),
        ("plays", {"completion": 0}, {"completion": float("nan")}),
        ("recommendations", {"rank": 1}, {"rank": 0}),
    ],
)  # fmt: skip
def test_the_database_rejects_invalid_values(
    put: Callable[..., None], table: str, good: dict[str, Any], bad: dict[str, Any]
):
    with pytest.raises(IntegrityError, match="check constraint"):
        put(table, **bad)
    put(table, **({"work_id": 2} if table == "works" else {}) | good)
