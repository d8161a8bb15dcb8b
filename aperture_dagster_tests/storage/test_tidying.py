"""Deletion of unused works, vectors and quotas."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from sqlalchemy import create_engine

from aperture_dagster.sources import merge_plan
from aperture_dagster.storage.enrichment import write_answers, write_enriched
from aperture_dagster.storage.services import QUOTA_DAYS, service_lease, spend
from aperture_dagster.storage.tables import metadata
from aperture_dagster.storage.tidying import DERIVED, KEEPERS, forget_old_models, forget_unused_works
from aperture_dagster.storage.vectors import activate_model, active_model, register_model, write_vectors
from aperture_dagster_tests.storage.conftest import Shelf, film, played, tmdb_row


def tidy(shelf: Shelf) -> int:
    with shelf.open() as connection:
        return forget_unused_works(connection)


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
    """Such works were never deleted."""
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


def test_vectors_of_a_replaced_model_are_deleted_after_a_month(shelf: Shelf):
    """They were never deleted."""
    shelf.films(film(1))
    work = shelf.item("film-1")["work_id"]

    def use(model: str) -> list[str]:
        with shelf.open() as connection:
            register_model(connection, model, 2)
            write_vectors(connection, model, [work], ["hash"], np.ones((1, 2), dtype=np.float32))
            activate_model(connection, model)
            return forget_old_models(connection, in_use=active_model(connection), filling=model)

    assert use("old") == use("new") == []
    shelf.do("UPDATE embedding_models SET activated_at = activated_at - interval '29 days'")
    assert use("new") == []
    shelf.do("UPDATE embedding_models SET activated_at = activated_at - interval '2 days'")
    assert use("new") == ["old"]
    assert shelf.rows("SELECT model_key FROM embeddings") == [{"model_key": "new"}]
    shelf.do("UPDATE embedding_models SET activated_at = activated_at - interval '9 years'")
    assert use("new") == [], "the one in use stays"


def test_an_incomplete_new_model_keeps_its_vectors(shelf: Shelf):
    with shelf.open() as connection:
        register_model(connection, "slow", 2)
        connection.exec_driver_sql("UPDATE embedding_models SET created_at = now() - interval '1 year'")
        assert forget_old_models(connection, in_use=None, filling="slow") == []


def test_old_days_of_a_quota_are_deleted_when_the_service_is_used(shelf: Shelf, database_url: str):
    """They were never deleted."""
    with shelf.open() as connection:
        for service in ("omdb", "other"):
            for day in (date(2025, 1, 1), date(2026, 5, 16), date(2026, 5, 17)):
                spend(connection, service, day=day, limit=5, reported=False)
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    with service_lease(engine, "omdb"):
        pass
    engine.dispose()
    kept = shelf.rows("SELECT service, count(*) AS days FROM quota GROUP BY service ORDER BY service")
    assert kept == [{"service": "omdb", "days": 2}, {"service": "other", "days": 3}]
    assert QUOTA_DAYS >= 30
