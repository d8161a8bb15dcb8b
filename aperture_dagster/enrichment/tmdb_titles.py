"""Parse what TMDb says about titles, in the library and outside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from aperture_dagster.enrichment.queries import DiscoverFilters, SuggestedTitle
from aperture_dagster.http.errors import BadAnswer
from aperture_dagster.http.messages import as_object, expect, objects, unique
from aperture_dagster.media_server.records import MediaType

# Parse what TMDb says about a title.
#
# - Keywords are under ``keywords`` for films and under ``results`` for series.
# - Unknown values are ``""``, ``0``, ``null`` or absent.
# - A series has its IMDb id only under ``external_ids``. Its ``credits`` are those of the latest season;
#   ``aggregate_credits`` covers all seasons.


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
    "composers": {"Original Music Composer", "Music"},
    "cinematographers": {"Director of Photography", "Cinematography"},
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
    texts = ("overview", "tagline", "status", "original_language", "poster_path", "backdrop_path")
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
        "languages": texts_of(answer.get("spoken_languages"), "iso_639_1"),
        # Without votes, the average is 0 and means nothing.
        "vote_average": number_of(answer.get("vote_average")) if vote_count else None,
        "vote_count": vote_count,
        "popularity": number_of(answer.get("popularity")),
        "collection_id": positive_of(collection.get("id")),
        "collection_name": text_of(collection.get("name")),
        "last_episode": _episode(answer.get("last_episode_to_air")),
        "next_episode": _episode(answer.get("next_episode_to_air")),
        "recommended_tmdb_ids": ids_of(recommendations.get("results")),
        "similar_tmdb_ids": ids_of(similar.get("results")),
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


# Parse what TMDb says about titles outside the library: entries of lists, and details.


POOL_APPENDED: dict[MediaType, str] = {
    "movie": "keywords,credits,external_ids,recommendations,release_dates,watch/providers",
    "series": "keywords,aggregate_credits,external_ids,recommendations,content_ratings,watch/providers",
}
# TMDb's types of releases. A premiere (1) is no release that people can go to.
RELEASES = {2: "theatrical", 3: "theatrical", 4: "digital", 5: "physical", 6: "tv"}
WAYS_TO_STREAM = ("flatrate", "free", "ads", "rent", "buy")
# Columns of ``discovery_pool`` that are those of a title in the library.
_SAME = (
    "tmdb_id", "imdb_id", "tvdb_id", "title", "original_title", "overview", "tagline", "status", "release_date",
    "genres", "keywords", "directors", "creators", "countries", "original_language", "vote_average",
    "vote_count", "popularity", "poster_path", "recommended_tmdb_ids",
)  # fmt: skip


def discover_params(media_type: MediaType, filters: DiscoverFilters, *, today: date) -> dict[str, Any]:
    """Return the parameters of ``/discover``. The ids of a filter are joined by a comma, which means "and"."""
    is_movie = media_type == "movie"
    released = "primary_release_date" if is_movie else "first_air_date"
    params: dict[str, Any] = {
        "sort_by": "popularity.desc" if filters.within_days is not None else "vote_count.desc",
        "include_adult": "false",
        "vote_count.gte": filters.minimum_votes,
        f"{released}.lte": today.isoformat(),
    }
    if filters.within_days is not None:
        params[f"{released}.gte"] = (today - timedelta(days=filters.within_days)).isoformat()
    ids = {"with_genres": filters.genre_ids, "with_keywords": filters.keyword_ids}
    ids |= {"with_people": filters.person_ids} if is_movie else {}
    params |= {name: ",".join(map(str, values)) for name, values in ids.items() if values}
    return params | ({"with_original_language": filters.language} if filters.language else {})


def parse_entries(results: Sequence[Any], media_type: MediaType) -> list[SuggestedTitle]:
    """Parse the entries of a list; repeated ones, which pages have at their borders, and unreadable ones are left out.

    Entries of recommendations have a media type; those of another one are left out, too.
    """
    own_type, released = ("movie", "release_date") if media_type == "movie" else ("tv", "first_air_date")
    entries: dict[int, SuggestedTitle] = {}
    for one in objects(results):
        tmdb_id = positive_of(one.get("id"))
        if tmdb_id is None or one.get("media_type", own_type) != own_type:
            continue
        votes = number_of(one.get("vote_count"))
        entry = SuggestedTitle(
            tmdb_id=tmdb_id,
            votes=int(votes) if votes is not None else None,
            language=text_of(one.get("original_language")),
            released=day_of(one.get(released)),
            is_adult=one.get("adult") is True,
        )
        entries.setdefault(tmdb_id, entry)
    return list(entries.values())


def parse_pool_title(answer: Any, media_type: MediaType) -> dict[str, Any]:
    """Parse TMDb's answer for a title outside the library: the columns of ``discovery_pool`` that describe it.

    Raises:
        BadAnswer: as :func:`parse_title`.
    """
    title = parse_title(answer, media_type)
    is_movie = media_type == "movie"
    return {name: title[name] for name in _SAME} | {
        "cast": [member["name"] for member in title["cast"]][:LEADING_CAST],
        "companies": [one["name"] for one in title["companies"]],
        "networks": [one["name"] for one in title["networks"]],
        "is_adult": answer.get("adult") is True,
        "certifications": _certifications(answer, is_movie=is_movie),
        "releases": _releases(answer) if is_movie else None,
        "providers": _providers(answer),
    }


def _by_country(answer: dict[str, Any], name: str) -> list[tuple[str, dict[str, Any]]]:
    results = objects(as_object(answer.get(name)).get("results"))
    return [(country.upper(), one) for one in results if (country := text_of(one.get("iso_3166_1")))]


def _certifications(answer: dict[str, Any], *, is_movie: bool) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for country, one in _by_country(answer, "release_dates" if is_movie else "content_ratings"):
        given = texts_of(one.get("release_dates"), "certification") if is_movie else texts_of([one], "rating")
        if given:
            found[country] = unique([*found.get(country, ()), *given])
    return found


def _releases(answer: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return the first date of each way of release by country."""
    found: dict[str, dict[str, str]] = {}
    for country, one in _by_country(answer, "release_dates"):
        for release in objects(one.get("release_dates")):
            moment, way = text_of(release.get("release_date")), RELEASES.get(positive_of(release.get("type")) or 0)
            day = day_of(moment[:10]) if moment is not None else None
            if day is not None and way is not None:
                dates = found.setdefault(country, {})
                dates[way] = min(day.isoformat(), dates.get(way, day.isoformat()))
    return found


def _providers(answer: dict[str, Any]) -> dict[str, dict[str, list[str]]]:
    """Return the names of streaming services by country and way, in the order in which TMDb shows them."""
    found: dict[str, dict[str, list[str]]] = {}
    results = as_object(as_object(answer.get("watch/providers")).get("results"))
    for country, offers in results.items():
        ways: dict[str, list[str]] = {}
        for way in WAYS_TO_STREAM:
            services = objects(as_object(offers).get(way))
            services.sort(key=lambda one: number_of(one.get("display_priority")) or 0)
            if names := unique(texts_of(services, "provider_name")):
                ways[way] = names
        if ways:
            found[country.upper()] = ways
    return found
