"""The list of studios and the number of their titles."""

from __future__ import annotations

from typing import Any

from aperture_dagster.enrichment.queries import gather_studios, write_answers
from aperture_dagster_tests.shelf import ACCEPTED, Shelf, film, tmdb_row

A24: dict[str, Any] = {"id": 41077, "name": "A24", "logo_path": "/a24.png"}
MOSFILM: dict[str, Any] = {"id": 5120, "name": "Mosfilm", "logo_path": None}


def write_studios(shelf: Shelf, number: int, *companies: dict[str, Any]) -> None:
    """Write the TMDb metadata of a film with its studios."""
    with shelf.open() as connection:
        write_answers(connection, "tmdb", [tmdb_row(shelf, number, production_companies=list(companies))])


def gather(shelf: Shelf) -> tuple[int, int]:
    with shelf.open() as connection:
        written = gather_studios(connection)
    return written.inserted, written.updated


def studios(shelf: Shelf) -> dict[str, int]:
    return {row["name"]: row["titles"] for row in shelf.rows("SELECT name, titles FROM studio_logos")}


def test_a_studio_without_titles_is_kept_and_unchanged_ones_are_not_written(shelf: Shelf):
    shelf.films(film(1), film(2))
    write_studios(shelf, 1, A24, MOSFILM)
    write_studios(shelf, 2, A24)
    assert [gather(shelf), gather(shelf)] == [(2, 0), (0, 0)]
    assert studios(shelf) == {"A24": 2, "Mosfilm": 1}
    write_studios(shelf, 1, A24)
    assert gather(shelf) == (0, 1)
    assert studios(shelf) == {"A24": 2, "Mosfilm": 0}
    shelf.films(film(2), rules=ACCEPTED)
    assert gather(shelf) == (0, 1)
    assert studios(shelf) == {"A24": 1, "Mosfilm": 0}
    shelf.films(film(3), rules=ACCEPTED)
    assert gather(shelf) == (0, 1)
    assert gather(shelf) == (0, 0)
    assert studios(shelf) == {"A24": 0, "Mosfilm": 0}


def test_a_studio_that_returns_is_counted_again(shelf: Shelf):
    shelf.films(film(1))
    write_studios(shelf, 1, MOSFILM)
    gather(shelf)
    write_studios(shelf, 1)
    gather(shelf)
    write_studios(shelf, 1, MOSFILM | {"name": "Mosfilm Cinema Concern"})
    assert gather(shelf) == (0, 1)
    assert studios(shelf) == {"Mosfilm Cinema Concern": 1}
