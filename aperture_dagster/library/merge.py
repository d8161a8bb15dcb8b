"""The one merged view of a title: for every column the sources in the order in which they are asked.

The first source that has a value wins, and the view keeps which one that was. Keywords alone are of several sources
together: they are opinions, of which more is better.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

# The server's title is the operator's own naming; its runtime is that of the file. For what is said *about* a title
# TMDb is asked first. Votes of IMDb never stand in for TMDb's: there are ten times as many of them, and a title whose
# votes were counted elsewhere would look the more popular for it. Of a score that two sources pass on, OMDb's comes
# first: it is read from the site itself.
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
    "keywords": (("tmdb", "keywords"), ("mdblist", "keywords"), ("server", "tags")),
    "cast": (("tmdb", "cast_names"),),
    "directors": (("tmdb", "directors"),),
    "creators": (("tmdb", "creators"),),
    "companies": (("tmdb", "company_names"), ("server", "studios")),
    "networks": (("tmdb", "network_names"),),
    "countries": (("tmdb", "countries"),),
    "language": (("tmdb", "original_language"),),
    "official_rating": (("server", "official_rating"), ("omdb", "rated"), ("mdblist", "certification")),
    "runtime_minutes": (("server", "runtime_minutes"), ("tmdb", "runtime_minutes"), ("omdb", "runtime_minutes")),
    "release_date": (("tmdb", "release_date"), ("server", "premiere_date"), ("omdb", "released")),
    "status": (("tmdb", "status"), ("server", "status")),
    "vote_average": (("tmdb", "vote_average"), ("server", "community_rating")),
    "vote_count": (("tmdb", "vote_count"),),
    "popularity": (("tmdb", "popularity"),),
    "collection_name": (("tmdb", "collection_name"),),
    "poster_path": (("tmdb", "poster_path"),),
    "imdb_rating": (("omdb", "imdb_rating"), ("mdblist", "imdb_rating")),
    "imdb_votes": (("omdb", "imdb_votes"), ("mdblist", "imdb_votes")),
    "rotten_tomatoes": (("omdb", "rotten_tomatoes"), ("mdblist", "rotten_tomatoes")),
    "rotten_tomatoes_audience": (("mdblist", "rotten_tomatoes_audience"),),
    "metacritic": (("omdb", "metacritic"), ("mdblist", "metacritic")),
    "letterboxd": (("mdblist", "letterboxd"),),
    "trakt": (("mdblist", "trakt"),),
    "mdblist_score": (("mdblist", "score"),),
    "awards": (("omdb", "awards"),),
    "award_wins": (("omdb", "award_wins"),),
    "award_nominations": (("omdb", "award_nominations"),),
    "oscars_won": (("omdb", "oscars_won"),),
    "streams": (("mdblist", "streams"),),
}
LIST_COLUMNS = frozenset(
    {"genres", "keywords", "cast", "directors", "creators", "companies", "networks", "countries", "streams"}
)
# Values of these sources are put together, as long as any of them has one.
TOGETHER: dict[str, tuple[str, ...]] = {"keywords": ("tmdb", "mdblist")}


# Raise it when the code below makes something else of the same sources: all is merged again then.
VERSION = 1


def recipe() -> str:
    """A hash of how sources are merged."""
    plain = repr((VERSION, PRECEDENCE, sorted(LIST_COLUMNS), TOGETHER))
    return hashlib.blake2b(plain.encode(), digest_size=8).hexdigest()


def merge_sources(
    server: Mapping[str, Any],
    tmdb: Mapping[str, Any] | None = None,
    omdb: Mapping[str, Any] | None = None,
    mdblist: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The merged columns of one work, and under ``sources`` which source each value came from (``a+b``: of both).

    Args:
        server: the columns of ``titles`` for the copy that stands for the work.
        tmdb: the columns of ``tmdb_metadata``, None if there is none.
        omdb: the same of ``omdb_ratings``.
        mdblist: the same of ``mdblist_scores``.
    """
    sources: dict[str, Mapping[str, Any]] = {"server": server, "omdb": omdb or {}, "mdblist": mdblist or {}}
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
        together = [source for source in TOGETHER.get(column, ()) if sources.get(source, {}).get(column)]
        if len(together) > 1:
            merged[column] = weave([sources[source][column] for source in together])
            came_from[column] = "+".join(together)
            continue
        for source, name in candidates:
            value = sources.get(source, {}).get(name)
            if value is not None and value != "" and value != []:
                merged[column] = value
                came_from[column] = source
                break
    merged["sources"] = came_from
    return merged


def weave(lists: Sequence[Sequence[str]]) -> list[str]:
    """All names of several lists, each once whatever its case: first those that all lists hold, then in turns, so that
    whoever reads only the first twenty hears every list.
    """
    folded = [{name.casefold() for name in names} for names in lists]
    agreed = [name for name in lists[0] if all(name.casefold() in names for names in folded)]
    in_turns = (name for turn in zip_longest(*lists) for name in turn if name is not None)
    spelled: dict[str, str] = {}
    for name in chain(agreed, in_turns):
        spelled.setdefault(name.casefold(), name)
    return list(spelled.values())
