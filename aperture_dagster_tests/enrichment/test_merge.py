"""The merged view of a title."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from aperture_dagster.catalogue.tables import titles
from aperture_dagster.enrichment.merge import SERVER_GIVES, Gives, MergePlan, gives, weave
from aperture_dagster.enrichment.sources import SOURCES, merge_plan
from aperture_dagster.enrichment.tables import enriched_metadata
from aperture_dagster.schema import metadata

SERVER: dict[str, Any] = {
    "title": "My Name For It", "original_title": "Server Original", "year": 1999, "tmdb_id": None, "imdb_id": "tt1",
    "tvdb_id": None, "overview": "The server's.", "tagline": None, "genres": ["Server Genre"], "tags": ["tag"],
    "studios": ["Server Studio"], "official_rating": "PG-13", "runtime_minutes": 136,
    "premiere_date": date(1999, 3, 31), "status": None, "community_rating": 8.2,
}  # fmt: skip
TMDB: dict[str, Any] = {
    "tmdb_id": 603, "imdb_id": "tt2", "tvdb_id": None, "title": "The Title", "original_title": "Original",
    "overview": "TMDb's.", "tagline": "", "status": "Released", "release_date": date(1999, 4, 1),
    "runtime_minutes": 100, "genres": ["Action"], "keywords": ["chase"], "directors": ["D"], "creators": [],
    "cast": [{"name": "One", "character": "x"}, {"name": "Two", "character": ""}],
    "companies": [{"id": 1, "name": "C", "logo_path": None}], "networks": [], "countries": ["US"],
    "original_language": "en", "vote_average": 7.5, "vote_count": 10, "popularity": 3.0, "collection_name": None,
    "poster_path": "/p.jpg",
}  # fmt: skip


def merge_sources(server: dict[str, Any], tmdb: Any = None, omdb: Any = None, mdblist: Any = None) -> dict[str, Any]:
    """Merge rows of the real sources."""
    return merge_plan().merge({"server": server, "tmdb": tmdb, "omdb": omdb, "mdblist": mdblist})


def test_the_first_source_with_a_value_wins_and_is_named():
    merged = merge_sources(SERVER, TMDB)
    assert merged["title"] == "My Name For It"
    assert merged["overview"] == "TMDb's."
    assert merged["imdb_id"] == "tt1"
    assert merged["tmdb_id"] == 603
    assert merged["runtime_minutes"] == 136
    assert merged["cast"] == ["One", "Two"]
    assert merged["companies"] == ["C"]
    said = merged["sources"]
    assert (said["title"], said["overview"], said["imdb_id"], said["tmdb_id"]) == ("server", "tmdb", "server", "tmdb")


def test_what_no_source_knows_is_unknown_and_has_no_source():
    merged = merge_sources(SERVER, TMDB)
    unknown = {"tagline", "networks", "collection_name", "tvdb_id"}
    assert not unknown & set(merged) and not unknown & set(merged["sources"])


def test_without_tmdb_the_servers_facts_stand():
    merged = merge_sources(SERVER, None)
    assert merged["overview"] == "The server's."
    assert merged["keywords"] == ["tag"]
    assert merged["vote_average"] == 8.2
    assert set(merged["sources"].values()) == {"server"}


def test_votes_of_two_sources_are_never_mixed():
    merged = merge_sources(SERVER, TMDB | {"vote_average": None, "vote_count": None})
    assert merged["vote_average"] == 8.2
    assert "vote_count" not in merged


@pytest.mark.parametrize("empty", [None, "", []])
def test_an_empty_value_never_hides_a_full_one(empty: Any):
    assert merge_sources(SERVER, TMDB | {"genres": empty})["genres"] == ["Server Genre"]


def test_the_year_comes_from_the_release_where_the_server_has_none():
    assert merge_sources(SERVER | {"year": None}, TMDB)["year"] == 1999
    assert merge_sources(SERVER | {"year": None}, TMDB | {"release_date": None}).get("year") is None


def test_every_column_of_the_view_is_given_by_a_source_from_a_column_that_exists():
    own = {"work_id", "media_type", "sources", "updated_at"}
    assert set(merge_plan().columns) == {column.name for column in enriched_metadata.columns} - own
    declared = [(titles, SERVER_GIVES), *((metadata.tables[source.table], source.gives) for source in SOURCES)]
    for table, given in declared:
        for one in given:
            assert (one.own or one.column) in table.columns, (table.name, one)


def test_two_sources_of_equal_rank_are_refused():
    with pytest.raises(ValueError, match="score: b and a both have rank 5"):
        MergePlan({"a": gives(5, "score"), "b": gives(5, score="other")})


def test_the_recipe_changes_only_with_the_outcome_of_a_merge():
    declared = {"a": gives(1, "score", "votes"), "b": gives(2, score="points")}
    recipe = MergePlan(declared).recipe()
    same = {"b": gives(9, score="points"), "a": gives(3, "votes", "score")}
    assert MergePlan(same).recipe() == recipe, "other numbers and another order of declarations"
    for other in (
        {"a": gives(2, "score", "votes"), "b": gives(1, score="points")},
        {"a": gives(1, "score", "votes"), "b": gives(2, score="marks")},
        {"a": gives(1, "score", "votes")},
        {"a": gives(1, "score", "votes"), "b": (Gives("score", "points", rank=2, joined=True),)},
        {"a": gives(1, "score", "votes"), "b": (Gives("score", "points", rank=2, read=round),)},
    ):
        assert MergePlan(other).recipe() != recipe


OMDB: dict[str, Any] = {"imdb_rating": 8.7, "imdb_votes": 2_000_000, "rotten_tomatoes": 83, "rated": "R"}
MDBLIST: dict[str, Any] = {"rotten_tomatoes": 80.0, "letterboxd": 4.2, "keywords": ["hacker", "CHASE"], "score": 82}


def test_of_a_score_that_two_pass_on_the_nearer_source_wins():
    merged = merge_sources(SERVER, TMDB, OMDB, MDBLIST)
    assert (merged["rotten_tomatoes"], merged["letterboxd"], merged["mdblist_score"]) == (83, 4.2, 82)
    assert merged["sources"]["rotten_tomatoes"] == "omdb"
    assert merge_sources(SERVER, TMDB, None, MDBLIST)["sources"]["rotten_tomatoes"] == "mdblist"


def test_a_score_of_nothing_is_a_score():
    assert merge_sources(SERVER, TMDB, {"rotten_tomatoes": 0})["rotten_tomatoes"] == 0


def test_keywords_of_both_sources_stand_together_those_of_both_first():
    merged = merge_sources(SERVER, TMDB | {"keywords": ["dream", "chase", "city"]}, OMDB, MDBLIST)
    assert merged["keywords"] == ["chase", "dream", "hacker", "city"]
    assert merged["sources"]["keywords"] == "tmdb+mdblist"


def test_the_first_twenty_of_many_keywords_hear_every_list():
    woven = weave([[f"a{n}" for n in range(100)], [f"b{n}" for n in range(5)]])
    assert woven[:4] == ["a0", "b0", "a1", "b1"]
    assert len(woven) == 105 and len(set(woven)) == 105
