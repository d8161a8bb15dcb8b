"""Requests to each operation of the TMDb stand-in."""

from __future__ import annotations

from aperture_dagster.simulator.tmdb.payloads import APPENDABLE
from aperture_dagster_tests.contracts.traffic import Ask

_EVERY_PART = {kind: ",".join(parts) for kind, parts in APPENDABLE.items()}
_FILTERED = {
    "with_genres": "18,35", "with_keywords": "{keyword},1", "with_original_language": "en", "vote_count.gte": 100,
    "include_adult": "false", "language": "en-US", "sort_by": "vote_count.desc", "page": 1,
}  # fmt: skip
TMDB_ROUTES: dict[str, list[Ask]] = {
    "GET /configuration": [Ask()],
    "GET /discover/movie": [
        Ask(),
        Ask(_FILTERED | {"with_people": "{person}", "primary_release_date.lte": "2026-01-01"}),
        Ask({"primary_release_date.gte": "2000-01-01", "sort_by": "popularity.desc"}),
        Ask({"page": 2}),
    ],
    "GET /discover/tv": [
        Ask(),
        Ask(_FILTERED | {"first_air_date.gte": "2000-01-01", "first_air_date.lte": "2026-01-01"}),
    ],
    "GET /movie/popular": [Ask(), Ask({"language": "en-US", "page": 2})],
    "GET /tv/popular": [Ask()],
    "GET /movie/top_rated": [Ask()],
    "GET /tv/top_rated": [Ask()],
    "GET /trending/movie/{time_window}": [Ask(where={"time_window": "week"})],
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
}
"""Requests to each operation of TMDb."""
