"""Parse what TMDb says about a title.

- Keywords are under ``keywords`` for films and under ``results`` for series.
- Unknown values are ``""``, ``0``, ``null`` or absent.
- A series has its IMDb id only under ``external_ids``. Its ``credits`` are those of the latest season;
  ``aggregate_credits`` covers all seasons.
"""

from __future__ import annotations

import math
from datetime import date
from typing import Any

from aperture_dagster.enrichment.trailers import best_trailers
from aperture_dagster.http.errors import BadAnswer
from aperture_dagster.http.messages import as_object, expect, objects, unique
from aperture_dagster.media_server.records import MediaType

CAST_KEPT = 15
LEADING_CAST = 5
# For a series, where every episode may have its own director.
CREW_KEPT = 5
# A larger number is a mistake, and does not fit any column.
LARGEST = 1e15
# Columns for people, and the jobs that they had.
JOBS = {
    "directors": {"Director"},
    "writers": {"Writer", "Screenplay", "Story", "Novel", "Author"},
}


def parse_title(answer: Any, media_type: MediaType) -> dict[str, Any]:
    """Parse TMDb's answer for a title: the columns of ``tmdb_metadata``, None or empty if unknown.

    Raises:
        BadAnswer: it is not an object, or has no id or title.
    """
    answer = expect(answer, dict, "TMDb's answer")
    is_movie = media_type == "movie"
    tmdb_id, title = positive_of(answer.get("id")), text_of(answer.get("title" if is_movie else "name"))
    if tmdb_id is None:
        raise BadAnswer("TMDb's answer has no id, or an impossible one")
    if title is None:
        raise BadAnswer(f"TMDb's answer for {tmdb_id} has no title")
    names = ("external_ids", "keywords", "credits" if is_movie else "aggregate_credits")
    external, keywords, credits = (as_object(answer.get(name)) for name in names)
    listed = ("belongs_to_collection", "recommendations", "similar")
    collection, recommendations, similar = (as_object(answer.get(name)) for name in listed)
    crew, vote_count = objects(credits.get("crew")), positive_of(answer.get("vote_count"))
    texts = ("overview", "tagline", "status", "original_language", "poster_path")
    return {
        "tmdb_id": tmdb_id,
        "imdb_id": text_of(answer.get("imdb_id")) or text_of(external.get("imdb_id")),
        "tvdb_id": positive_of(external.get("tvdb_id")),
        "title": title,
        "original_title": text_of(answer.get("original_title" if is_movie else "original_name")),
        **{name: text_of(answer.get(name)) for name in texts},
        "release_date": day_of(answer.get("release_date" if is_movie else "first_air_date")),
        "runtime_minutes": positive_of(answer.get("runtime")) if is_movie else _episode_minutes(answer),
        "genres": names_of(answer.get("genres")),
        "keywords": names_of(keywords.get("keywords") or keywords.get("results")),
        "cast": _cast(credits.get("cast")),
        "creators": names_of(answer.get("created_by")),
        **{column: _crew(crew, jobs) for column, jobs in JOBS.items()},
        "companies": _studios(answer.get("production_companies")),
        "networks": _studios(answer.get("networks")),
        "countries": texts_of(answer.get("production_countries"), "iso_3166_1"),
        # Without votes, the average is 0 and means nothing.
        "vote_average": number_of(answer.get("vote_average")) if vote_count else None,
        "vote_count": vote_count,
        "popularity": number_of(answer.get("popularity")),
        "collection_id": positive_of(collection.get("id")),
        "collection_name": text_of(collection.get("name")),
        "next_episode": _episode(answer.get("next_episode_to_air")),
        "recommended_tmdb_ids": ids_of(recommendations.get("results")),
        "similar_tmdb_ids": ids_of(similar.get("results")),
        "trailers": best_trailers(objects(as_object(answer.get("videos")).get("results"))),
        "trait_ids": {
            "genres": _ids_by_name(answer.get("genres")),
            "keywords": _ids_by_name(keywords.get("keywords") or keywords.get("results")),
            "people": _people(answer, credits),
        },
    }


def text_of(value: Any) -> str | None:
    """Return a text without surrounding space; None for an empty one and for anything else."""
    return value.strip() or None if isinstance(value, str) else None


def number_of(value: Any) -> float | None:
    """Return a plausible number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < LARGEST:
        return None
    return float(value)


def positive_of(value: Any) -> int | None:
    """Return a whole number above 0 that fits an integer column; None for anything else."""
    number = number_of(value)
    return int(number) if number is not None and 0 < number < 2**31 else None


def day_of(value: Any) -> date | None:
    """Return the date of a text such as ``2026-05-17``; None for anything else."""
    try:
        return date.fromisoformat(value) if isinstance(value, str) and value else None
    except ValueError:
        return None


def ids_of(value: Any) -> list[int]:
    """Return the ids of the entries of a list."""
    return [number for entry in objects(value) if (number := positive_of(entry.get("id"))) is not None]


def texts_of(value: Any, name: str) -> list[str]:
    """Return the texts that the entries of a list have under ``name``."""
    return [text for entry in objects(value) if (text := text_of(entry.get(name)))]


def names_of(value: Any) -> list[str]:
    """Return the distinct names of the entries of a list."""
    return unique(texts_of(value, "name"))


def _ids_by_name(value: Any) -> dict[str, int]:
    entries = [(text_of(entry.get("name")), positive_of(entry.get("id"))) for entry in objects(value)]
    return {name: number for name, number in entries if name and number is not None}


def _people(answer: dict[str, Any], credits: dict[str, Any]) -> dict[str, int]:
    """Return the ids of those who make a title what it is: directors or creators, and the leading actors."""
    cast = sorted(objects(credits.get("cast")), key=lambda entry: number_of(entry.get("order")) or 0)
    directors = [entry for entry in objects(credits.get("crew")) if text_of(entry.get("job")) in JOBS["directors"]]
    return _ids_by_name([*objects(answer.get("created_by")), *directors, *cast[:LEADING_CAST]])


def _episode_minutes(series: dict[str, Any]) -> int | None:
    """Return the runtime of an episode; ``episode_run_time`` is empty for most series."""
    typical = series.get("episode_run_time")
    minutes = positive_of(typical[0]) if isinstance(typical, list) and typical else None
    return minutes or positive_of(as_object(series.get("last_episode_to_air")).get("runtime"))


def _crew(crew: list[dict[str, Any]], jobs: set[str]) -> list[str]:
    """Return the names of people with one of these jobs; for a series, the few with the most episodes."""
    episodes: dict[str, float] = {}
    for entry in crew:
        name = text_of(entry.get("name"))
        if name is None:
            continue
        if text_of(entry.get("job")) in jobs:
            episodes.setdefault(name, math.inf)
        for job in objects(entry.get("jobs")):
            if text_of(job.get("job")) in jobs:
                episodes[name] = episodes.get(name, 0) + (number_of(job.get("episode_count")) or 0)
    most = sorted(episodes, key=lambda name: -episodes[name])
    return [name for place, name in enumerate(most) if place < CREW_KEPT or episodes[name] == math.inf]


def _cast(value: Any) -> list[dict[str, str]]:
    members = sorted(objects(value), key=lambda entry: number_of(entry.get("order")) or 0)
    named = [
        {"name": name, "character": _character(entry)} for entry in members if (name := text_of(entry.get("name")))
    ]
    return named[:CAST_KEPT]


def _character(member: dict[str, Any]) -> str:
    """Return a cast member's character; over a whole series, the one with the most episodes."""
    roles = sorted(objects(member.get("roles")), key=lambda role: -(number_of(role.get("episode_count")) or 0))
    return next(iter(texts_of([member, *roles], "character")), "")


def _studios(value: Any) -> list[dict[str, Any]]:
    return [
        {"id": positive_of(entry.get("id")), "name": name, "logo_path": text_of(entry.get("logo_path"))}
        for entry in objects(value)
        if (name := text_of(entry.get("name")))
    ]


def _episode(value: Any) -> dict[str, Any] | None:
    episode = as_object(value)
    if not episode:
        return None
    return {
        "season": number_of(episode.get("season_number")),
        "number": number_of(episode.get("episode_number")),
        "title": text_of(episode.get("name")),
        "air_date": text_of(episode.get("air_date")),
    }
