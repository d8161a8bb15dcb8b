"""Deletion of unused works, vectors and quotas."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from aperture_dagster.enrichment.answers import write_answers
from aperture_dagster.enrichment.enriched import write_enriched
from aperture_dagster.enrichment.sources import merge_plan
from aperture_dagster.enrichment.tmdb.titles import parse_title
from aperture_dagster.maintenance import (
    DERIVED,
    KEEPERS,
    forget_old_models,
    forget_old_tmdb,
    forget_quota,
    forget_unused_works,
)
from aperture_dagster.schema import metadata
from aperture_dagster.taste.vectors import activate_model, register_model, write_vectors
from aperture_dagster.worklist.quota import spend
from aperture_dagster_tests.shelf import Shelf, film, played, tmdb_row

MONTH = timedelta(days=30)


def tidy(shelf: Shelf) -> int:
    with shelf.open() as connection:
        now = datetime.now(UTC)
        return forget_unused_works(connection, now=now, before=now - MONTH).rows


def a_month_passes(shelf: Shelf) -> None:
    shelf.do("UPDATE works SET unused_since = unused_since - interval '31 days'")


@pytest.fixture
def left_behind(shelf: Shelf) -> int:
    """Create a work with fetched data whose only film has been identified as another work."""
    shelf.films(film(1), film(2))
    work = shelf.item("film-1")["work_id"]
    with shelf.open() as connection:
        write_answers(connection, "tmdb", [tmdb_row(shelf, 1)])
        write_enriched(connection, merge_plan())
        register_model(connection, "m", 2)
        write_vectors(connection, "m", [work], ["hash"], np.ones((1, 2), dtype=np.float32))
    shelf.films(film(1, tmdb_id=77), film(2))
    return work


def test_an_unused_work_is_deleted_after_a_month_with_its_fetched_data(shelf: Shelf, left_behind: int):
    assert tidy(shelf) == 0, "it may be corrected back tomorrow"
    assert tidy(shelf) == 0
    a_month_passes(shelf)
    assert tidy(shelf) == 1
    assert shelf.value("SELECT count(*) FROM works") == 2
    for table in DERIVED:
        assert shelf.value(f"SELECT count(*) FROM {table} WHERE work_id = :work", work=left_behind) == 0


def test_a_work_in_use_again_is_kept(shelf: Shelf, left_behind: int):
    tidy(shelf)
    shelf.films(film(1), film(2))
    a_month_passes(shelf)
    # Only now it is looked at again: that it was used meanwhile is known before anything goes.
    assert tidy(shelf) == 0
    assert shelf.item("film-1")["work_id"] == left_behind


def test_a_work_with_history_or_tombstones_is_kept(shelf: Shelf):
    """History and ratings refer to their works."""
    shelf.users("ann")
    shelf.films(film(1), film(2), film(3))
    shelf.history("ann", played("film-1"))
    works = shelf.value("SELECT count(*) FROM works")
    shelf.films(film(2), film(3, tmdb_id=33))
    shelf.do("UPDATE titles SET removed_at = now() - interval '9 years' WHERE removed_at IS NOT NULL")
    tidy(shelf)
    a_month_passes(shelf)
    assert tidy(shelf) == 1
    assert shelf.value("SELECT count(*) FROM works") == works, "one came, and one went"
    assert shelf.value("SELECT count(*) FROM plays") == 1


def test_every_table_that_refers_to_works_keeps_them_or_is_deleted_with_them():
    referring = {table.name for table in metadata.tables.values() if "work_id" in table.columns} - {"works"}
    assert referring == {*KEEPERS, *DERIVED}
    assert {"titles", "episodes", "watch_state", "plays", "ratings", "rating_changes"} <= set(KEEPERS)


def models_left(shelf: Shelf) -> list[str]:
    with shelf.open() as connection:
        forget_old_models(connection, before=datetime.now(UTC) - MONTH)
    return [row["model_key"] for row in shelf.rows("SELECT model_key FROM embedding_models ORDER BY 1")]


def a_while_passes(shelf: Shelf, days: int) -> None:
    for table, columns in (("embedding_models", ("created_at", "activated_at")), ("embeddings", ("updated_at",))):
        for column in columns:
            shelf.do(f"UPDATE {table} SET {column} = {column} - interval '{days} days'")


def test_vectors_of_a_replaced_model_are_deleted_after_a_month(shelf: Shelf):
    shelf.films(film(1))
    work = shelf.item("film-1")["work_id"]

    def use(model: str) -> None:
        with shelf.open() as connection:
            register_model(connection, model, 2)
            write_vectors(connection, model, [work], ["hash"], np.ones((1, 2), dtype=np.float32))
            activate_model(connection, model)

    use("old")
    a_while_passes(shelf, 90)
    use("new")
    a_while_passes(shelf, 29)
    assert models_left(shelf) == ["new", "old"]
    a_while_passes(shelf, 2)
    assert models_left(shelf) == ["new"]
    assert shelf.rows("SELECT model_key FROM embeddings") == [{"model_key": "new"}]
    a_while_passes(shelf, 3000)
    assert models_left(shelf) == ["new"], "the one in use stays"


def test_a_model_that_is_being_filled_keeps_its_vectors(shelf: Shelf):
    shelf.films(film(1))
    work = shelf.item("film-1")["work_id"]
    with shelf.open() as connection:
        for model in ("used before", "in use", "slow"):
            register_model(connection, model, 2)
            connection.exec_driver_sql("UPDATE embedding_models SET created_at = created_at - interval '1 year'")
        write_vectors(connection, "used before", [work], ["hash"], np.ones((1, 2), dtype=np.float32))
        activate_model(connection, "used before")
        activate_model(connection, "in use")
        connection.exec_driver_sql("UPDATE embedding_models SET activated_at = activated_at - interval '1 year'")
    assert models_left(shelf) == ["in use", "slow", "used before"], "it has got a vector just now, again"
    a_while_passes(shelf, 31)
    assert models_left(shelf) == ["in use", "slow"], "the newest may wait for credit at its service"


def test_old_days_of_a_quota_are_deleted(shelf: Shelf):
    today = datetime(2026, 5, 17, 1, 30, tzinfo=UTC)
    with shelf.open() as connection:
        for service in ("omdb", "other"):
            for days in (0, 1, 90, 91, 400):
                day = (today - timedelta(days=days)).date()
                spend(connection, service, day=day, limit=5, reported=False)
        freed = forget_quota(connection, before=today - timedelta(days=90))
    assert (freed.rows, freed.bytes > 0) == (4, True)
    kept = shelf.rows("SELECT service, count(*) AS days FROM quota GROUP BY service ORDER BY service")
    assert kept == [{"service": "omdb", "days": 3}, {"service": "other", "days": 3}]


def test_what_tmdb_has_not_confirmed_for_half_a_year_is_deleted(shelf: Shelf):
    shelf.films(film(1), film(2), film(3))
    works = [shelf.item(f"film-{number}")["work_id"] for number in (1, 2, 3)]
    with shelf.open() as connection:
        answers = [{"work_id": work} | parse_title({"id": work, "title": "x"}, "movie") for work in works]
        write_answers(connection, "tmdb", answers)
    shelf.do(f"UPDATE tmdb_metadata SET updated_at = updated_at - interval '300 days' WHERE work_id <> {works[2]}")
    shelf.do(
        "INSERT INTO fetches (source, kind, item, outcome, attempts, fetched_at, due_at) "
        f"VALUES ('tmdb', 'movie', {works[0]}, 'ok', 0, now() - interval '5 days', now()) "
        "ON CONFLICT (source, kind, item) DO UPDATE SET fetched_at = EXCLUDED.fetched_at"
    )
    with shelf.open() as connection:
        freed = forget_old_tmdb(connection, before=datetime.now(UTC) - timedelta(days=180))
    assert (freed.part, freed.rows) == ("tmdb_metadata", 1)
    assert [row["work_id"] for row in shelf.rows("SELECT work_id FROM tmdb_metadata ORDER BY 1")] == [
        works[0],
        works[2],
    ]
