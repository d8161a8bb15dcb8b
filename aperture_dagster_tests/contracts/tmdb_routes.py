"""Requests to each operation of the TMDb stand-in."""

from __future__ import annotations

from aperture_dagster.simulator.tmdb.payloads import APPENDABLE
from aperture_dagster_tests.contracts.traffic import Ask

_EVERY_PART = {kind: ",".join(parts) for kind, parts in APPENDABLE.items()}
# Routes of their own.
_PARTS = {kind: [part for part in parts if "/" not in part] for kind, parts in APPENDABLE.items()}
_SORTED = {"sort_by": "vote_average.desc", "vote_count.gte": 100, "vote_average.gte": 6, "page": 1}
_FOR_SOMEBODY = {
    "with_keywords": "{keyword}|1", "with_companies": "{company}", "without_genres": 27, "without_keywords": "1,2",
    "vote_count.lte": 100_000, "vote_average.lte": 10, "with_original_language": "en|fr", "with_origin_country": "US",
    "watch_region": "US", "with_watch_monetization_types": "flatrate|rent|buy", "with_watch_providers": "2|8",
    "with_runtime.gte": 10, "with_runtime.lte": 300, "include_adult": "false", "language": "en-US",
}  # fmt: skip
_FILM_FOR_SOMEBODY = _FOR_SOMEBODY | {
    "with_people": "{person}|1", "with_cast": "{person}", "primary_release_date.lte": "2026-01-01",
    "region": "US", "release_date.lte": "2026-01-01", "with_release_type": "4|5|6", "sort_by": "vote_count.desc",
}  # fmt: skip
_BY_CERTIFICATION = {"certification_country": "US", "certification.lte": "PG-13", "sort_by": "vote_count.asc"}
TMDB_ROUTES: dict[str, list[Ask]] = {
    "GET /configuration": [Ask()],
    "GET /discover/movie": [
        Ask(),
        Ask({"with_genres": "18|35", "primary_release_date.gte": "2000-01-01", **_SORTED}),
        Ask(_FILM_FOR_SOMEBODY),
        Ask({"with_crew": "{person}", "sort_by": "primary_release_date.desc"}),
        Ask(_BY_CERTIFICATION),
        Ask({"page": 2}),
    ],
    "GET /discover/tv": [
        Ask(),
        Ask({"with_genres": "18,80", "first_air_date.gte": "2000-01-01", **_SORTED}),
        Ask(_FOR_SOMEBODY | {"with_networks": "{network}", "sort_by": "first_air_date.desc"}),
    ],
    "GET /movie/popular": [Ask(), Ask({"language": "en-US", "page": 2})],
    "GET /tv/popular": [Ask()],
    "GET /movie/top_rated": [Ask()],
    "GET /tv/top_rated": [Ask()],
    "GET /trending/movie/{time_window}": [Ask(where={"time_window": "week"}), Ask(where={"time_window": "day"})],
    "GET /trending/tv/{time_window}": [Ask(where={"time_window": "week"})],
    "GET /movie/{tmdb_id}": [
        Ask(where={"tmdb_id": "{film}"}),
        Ask({"append_to_response": _EVERY_PART["movie"]}, where={"tmdb_id": "{film}"}),
    ],
    "GET /tv/{tmdb_id}": [
        Ask(where={"tmdb_id": "{show}"}),
        Ask({"append_to_response": _EVERY_PART["series"]}, where={"tmdb_id": "{show}"}),
    ],
    "GET /find/{external_id}": [
        Ask({"external_source": "imdb_id"}),
        Ask({"external_source": "tvdb_id"}, where={"external_id": "{tvdb_id}"}),
    ],
    "GET /collection/{tmdb_id}": [Ask({"language": "en-US"}, where={"tmdb_id": "{collection}"})],
    "GET /movie/{tmdb_id}/watch/providers": [Ask(where={"tmdb_id": "{film}"})],
    "GET /tv/{tmdb_id}/watch/providers": [Ask(where={"tmdb_id": "{show}"})],
    "GET /movie/{tmdb_id}/{part}": [Ask(where={"tmdb_id": "{film}", "part": part}) for part in _PARTS["movie"]]
    + [Ask({"page": 2}, where={"tmdb_id": "{film}", "part": "similar"})],
    "GET /tv/{tmdb_id}/{part}": [Ask(where={"tmdb_id": "{show}", "part": part}) for part in _PARTS["series"]],
}
"""Requests to each operation of TMDb."""
