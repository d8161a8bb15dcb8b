"""Vectors of several models, and the activation of a model."""

from __future__ import annotations

import numpy as np
import pytest

from aperture_dagster.enrichment.enriched import write_enriched
from aperture_dagster.enrichment.sources import merge_plan
from aperture_dagster.taste.vectors import (
    activate_model,
    active_model,
    missing_vectors,
    model_table,
    read_vectors,
    register_model,
    stored_hashes,
    text_rows,
    write_vectors,
)
from aperture_dagster_tests.shelf import ACCEPTED, Shelf, film


@pytest.fixture
def works(shelf: Shelf) -> list[int]:
    shelf.films(*(film(number) for number in range(1, 7)))
    with shelf.open() as connection:
        write_enriched(connection, merge_plan())
    return [shelf.item(f"film-{number}")["work_id"] for number in range(1, 7)]


def vectors(count: int, dimensions: int = 8, seed: int = 1) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dimensions))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_vectors_are_read_in_the_requested_order_with_a_mask(shelf: Shelf, works: list[int]):
    rows = vectors(3)
    with shelf.open() as connection:
        register_model(connection, "m", 8)
        write_vectors(connection, "m", works[:3], ["a", "b", "c"], rows)
        found, mask = read_vectors(connection, "m", [works[2], 999_999, works[0], works[5]])
    assert found.dtype == np.float16, "as they are stored"
    assert mask.tolist() == [True, False, True, False]
    # Half precision keeps three digits.
    assert np.allclose(found[0], rows[2], atol=1e-3)
    assert np.allclose(found[2], rows[0], atol=1e-3)
    assert not found[1].any()


def test_reading_no_works_returns_no_vectors(shelf: Shelf):
    with shelf.open() as connection:
        register_model(connection, "m", 8)
        found, mask = read_vectors(connection, "m", [])
        assert (found.shape, mask.shape) == ((0, 8), (0,))
        assert write_vectors(connection, "m", [], [], np.zeros((0, 8), np.float32)).written == 0


def test_a_changed_text_replaces_only_its_vector(shelf: Shelf, works: list[int]):
    with shelf.open() as connection:
        register_model(connection, "m", 8)
        assert write_vectors(connection, "m", works[:2], ["a", "b"], vectors(2)).inserted == 2
        assert stored_hashes(connection, "m") == {works[0]: "a", works[1]: "b"}
        newer = vectors(1, seed=2)
        counts = write_vectors(connection, "m", works[:1], ["A"], newer)
        assert (counts.inserted, counts.updated) == (0, 1)
        assert stored_hashes(connection, "m") == {works[0]: "A", works[1]: "b"}
        assert np.allclose(read_vectors(connection, "m", works[:1])[0], newer, atol=1e-3)


def test_a_new_model_is_filled_beside_the_active_one_until_it_is_activated(shelf: Shelf, works: list[int]):
    with shelf.open() as connection:
        assert active_model(connection) is None
        register_model(connection, "old", 8)
        write_vectors(connection, "old", works, ["h"] * 6, vectors(6))
        assert active_model(connection) is None, "registered is not in use"
        assert activate_model(connection, "old")
        assert not activate_model(connection, "old"), "nothing changed"
    with shelf.open() as connection:
        register_model(connection, "new", 4)
        register_model(connection, "new", 4)
        write_vectors(connection, "new", works[:4], ["h"] * 4, vectors(4, 4))
        assert active_model(connection) == "old"
        assert (missing_vectors(connection, "old"), missing_vectors(connection, "new")) == (0, 2)
        write_vectors(connection, "new", works[4:], ["h"] * 2, vectors(2, 4))
        assert missing_vectors(connection, "new") == 0
        assert activate_model(connection, "new")
        assert active_model(connection) == "new"
        assert read_vectors(connection, "old", works)[1].all(), "the old vectors are still there"
        assert [row["model"] for row in model_table(connection)] == ["new", "old"]
        assert activate_model(connection, "old"), "and one can go back"
        assert active_model(connection) == "old"


def test_a_model_can_be_activated_after_the_clock_was_set_back(shelf: Shelf):
    with shelf.open() as connection:
        for model in ("old", "new"):
            register_model(connection, model, 8)
        assert activate_model(connection, "old")
    shelf.do("UPDATE embedding_models SET activated_at = '2099-01-01Z' WHERE model_key = 'old'")
    with shelf.open() as connection:
        assert activate_model(connection, "new")
        assert active_model(connection) == "new"
        assert not activate_model(connection, "new")


def test_vectors_of_removed_titles_are_neither_missing_nor_counted(shelf: Shelf, works: list[int]):
    with shelf.open() as connection:
        register_model(connection, "m", 8)
        write_vectors(connection, "m", works[:5], ["h"] * 5, vectors(5))
        assert missing_vectors(connection, "m") == 1
    shelf.films(*(film(number) for number in range(2, 6)), rules=ACCEPTED)
    with shelf.open() as connection:
        assert missing_vectors(connection, "m") == 0
        assert model_table(connection)[0]["works"] == 4
        assert sum(len(batch) for batch in text_rows(connection)) == 4


def test_texts_are_read_in_batches_each_once(shelf: Shelf, works: list[int]):
    with shelf.open() as connection:
        batches = list(text_rows(connection, batch=4))
        assert [len(batch) for batch in batches] == [4, 2]
        assert [row["work_id"] for batch in batches for row in batch] == sorted(works)
        assert sum(len(batch) for batch in text_rows(connection, after=works[3])) == 2


def test_names_of_a_text_are_those_that_are_stored(shelf: Shelf, works: list[int]):
    shelf.do("""UPDATE enriched_metadata SET genres = ARRAY['Drama, or "so" {not}', 'Köln\\x'], keywords = '{}'""")
    with shelf.open() as connection:
        row = next(text_rows(connection))[0]
    assert row["genres"] == ['Drama, or "so" {not}', "Köln\\x"] and row["keywords"] == []
