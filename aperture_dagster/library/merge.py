"""The one merged view of a title: for every column the sources in the order in which they are asked.

The first source that has a value wins, and the view keeps which one that was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The server's title is the operator's own naming; its runtime is that of the file. For what is said *about* a title
# TMDb is asked first.
PRECEDENCE: dict[str, tuple[tuple[str, str], ...]] = {
    "title": (("server", "title"), ("tmdb", "title")),
    "original_title": (("tmdb", "original_title"), ("server", "original_title")),
    "year": (("server", "year"), ("tmdb", "release_year")),
    "tmdb_id": (("server", "tmdb_id"), ("tmdb", "tmdb_id")),
    "imdb_id": (("server", "imdb_id"), ("tmdb", "imdb_id")),
    "tvdb_id": (("server", "tvdb_id"), ("tmdb", "tvdb_id")),
    "overview": (("tmdb", "overview"), ("server", "overview")),
    "tagline": (("tmdb", "tagline"), ("server", "tagline")),
    "genres": (("tmdb", "genres"), ("server", "genres")),
    "keywords": (("tmdb", "keywords"), ("server", "tags")),
    "cast": (("tmdb", "cast_names"),),
    "directors": (("tmdb", "directors"),),
    "creators": (("tmdb", "creators"),),
    "companies": (("tmdb", "company_names"), ("server", "studios")),
    "networks": (("tmdb", "network_names"),),
    "countries": (("tmdb", "countries"),),
    "language": (("tmdb", "original_language"),),
    "official_rating": (("server", "official_rating"),),
    "runtime_minutes": (("server", "runtime_minutes"), ("tmdb", "runtime_minutes")),
    "release_date": (("tmdb", "release_date"), ("server", "premiere_date")),
    "status": (("tmdb", "status"), ("server", "status")),
    "vote_average": (("tmdb", "vote_average"), ("server", "community_rating")),
    "vote_count": (("tmdb", "vote_count"),),
    "popularity": (("tmdb", "popularity"),),
    "collection_name": (("tmdb", "collection_name"),),
    "poster_path": (("tmdb", "poster_path"),),
}
LIST_COLUMNS = frozenset({"genres", "keywords", "cast", "directors", "creators", "companies", "networks", "countries"})


def merge_sources(server: Mapping[str, Any], tmdb: Mapping[str, Any] | None) -> dict[str, Any]:
    """The merged columns of one work, and under ``sources`` which source each value came from.

    Args:
        server: the columns of ``titles`` for the copy that stands for the work.
        tmdb: the columns of ``tmdb_metadata``, None if there is none.
    """
    sources: dict[str, Mapping[str, Any]] = {"server": server}
    if tmdb is not None:
        released = tmdb.get("release_date")
        sources["tmdb"] = {
            **tmdb,
            "release_year": released.year if released else None,
            "cast_names": [member["name"] for member in tmdb.get("cast") or []],
            "company_names": [company["name"] for company in tmdb.get("companies") or []],
            "network_names": [network["name"] for network in tmdb.get("networks") or []],
        }
    merged: dict[str, Any] = {}
    came_from: dict[str, str] = {}
    for column, candidates in PRECEDENCE.items():
        merged[column] = [] if column in LIST_COLUMNS else None
        for source, name in candidates:
            value = sources.get(source, {}).get(name)
            if value is not None and value != "" and value != []:
                merged[column] = value
                came_from[column] = source
                break
    merged["sources"] = came_from
    return merged
