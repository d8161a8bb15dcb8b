"""What users said about a title of the pool is kept when the library gets it, under whichever id."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert

from aperture_dagster.catalogue.identity import ProviderIds
from aperture_dagster.catalogue.works import works_for
from aperture_dagster.discovery.pool import DETAILS, write_details
from aperture_dagster.discovery.suggestions import read_pool_edges
from aperture_dagster.discovery.tables import discovery_pool
from aperture_dagster.enrichment.answers import write_answers
from aperture_dagster.enrichment.tmdb.titles import parse_title
from aperture_dagster_tests.shelf import NOW, Shelf, film


def learn(shelf: Shelf, media_type: Any, tmdb_id: int, **ids: Any) -> int:
    """Put a title into the pool, and learn its other ids; return its work."""
    with shelf.open() as connection:
        (work_id,) = works_for(connection, media_type, [ProviderIds(tmdb_id)])
        assert work_id is not None
        row = {"work_id": work_id, "media_type": media_type, "tmdb_id": tmdb_id, "wanted_at": NOW}
        connection.execute(insert(discovery_pool).values(row))
        answer = dict.fromkeys(DETAILS) | ids
        assert write_details(connection, {work_id: answer}, now=NOW) == 1
    return work_id


@pytest.mark.parametrize("ids", [{"imdb_id": "tt0000001"}, {"tvdb_id": 11}])
def test_a_rated_title_keeps_its_rating_when_the_server_knows_only_another_id(shelf: Shelf, ids: dict[str, Any]):
    shelf.users("ann")
    media_type = "movie" if "imdb_id" in ids else "series"
    work_id = learn(shelf, media_type, 1, **ids)
    shelf.do("INSERT INTO ratings VALUES ('ann', 'own', :work, 0, 8, now())", work=work_id)
    add = shelf.films if media_type == "movie" else shelf.series
    add(film(5, **{"tmdb_id": None} | ids))
    assert shelf.value("SELECT work_id FROM titles") == work_id
    assert shelf.value("SELECT rating FROM ratings JOIN titles USING (work_id)") == 8


def test_what_was_said_of_a_title_without_ids_is_kept_when_it_gets_those_of_a_title_of_the_pool(shelf: Shelf):
    shelf.users("ann")
    shelf.films(film(1, tmdb_id=None))
    shelf.do("INSERT INTO ratings SELECT 'ann', 'own', work_id, 0, 8, now() FROM works")
    shelf.do("INSERT INTO more_like_this SELECT 'ann', work_id, 'Film 1', now() FROM works")
    learn(shelf, "movie", 1)
    shelf.films(film(1))
    said = "SELECT 1 FROM titles JOIN ratings USING (work_id) JOIN more_like_this USING (work_id)"
    assert shelf.rows(said)
    shelf.films(film(1, tmdb_id=77))
    assert not shelf.rows(said), "it was another title before"


def test_an_id_of_another_work_is_not_given_and_the_library_says_its_own(shelf: Shelf):
    shelf.films(film(7, imdb_id="tt0000007"), film(8))
    taken = learn(shelf, "movie", 2, imdb_id="tt0000007", tvdb_id=22)
    first, second = (learn(shelf, "movie", number, imdb_id="tt0000003") for number in (3, 4))
    owned = learn(shelf, "movie", 8, imdb_id="tt0000008")
    other_type = learn(shelf, "series", 9, imdb_id="tt0000003")
    stored = {row["work_id"]: row for row in shelf.rows("SELECT * FROM works")}
    assert stored[taken]["imdb_id"] is None and stored[taken]["tvdb_id"] == 22
    assert stored[first]["imdb_id"] == stored[other_type]["imdb_id"] == "tt0000003"
    assert stored[second]["imdb_id"] is None and stored[owned]["imdb_id"] is None


def test_an_answer_under_the_number_of_another_title_of_the_pool_stops_nothing(shelf: Shelf):
    """Otherwise every run would fail with the whole batch."""
    learn(shelf, "movie", 1)
    moved = learn(shelf, "movie", 2)
    with shelf.open() as connection:
        answer = dict.fromkeys(DETAILS) | {"tmdb_id": 1, "title": "Merged"}
        assert write_details(connection, {moved: answer}, now=NOW) == 1
    assert shelf.value("SELECT tmdb_id FROM discovery_pool WHERE title = 'Merged'") == 2


def test_the_score_of_a_title_of_the_pool_comes_from_what_tmdb_recommends_and_not_from_similar_titles(shelf: Shelf):
    shelf.films(film(1))
    owned = shelf.item("film-1")["work_id"]
    recommended, _ = learn(shelf, "movie", 2), learn(shelf, "movie", 3)
    shelf.do("UPDATE discovery_pool SET fetched_at = now()")
    answer = {"id": 1, "title": "x", "recommendations": {"results": [{"id": 2}]}, "similar": {"results": [{"id": 3}]}}
    with shelf.open() as connection:
        write_answers(connection, "tmdb", [{"work_id": owned} | parse_title(answer, "movie")])
        edges = read_pool_edges(connection)
    assert edges[["work_id", "recommended_work_id"]].to_numpy().tolist() == [[owned, recommended]]
