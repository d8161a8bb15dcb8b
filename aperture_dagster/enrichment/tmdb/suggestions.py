"""Parse what TMDb says about titles outside the library: entries of lists, and details."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from aperture_dagster.enrichment.listed import DiscoverFilters, NamedEntry, SuggestedTitle
from aperture_dagster.enrichment.tmdb.titles import (
    LEADING_CAST,
    day_of,
    number_of,
    parse_title,
    positive_of,
    text_of,
    texts_of,
)
from aperture_dagster.http.messages import as_object, objects, unique
from aperture_dagster.media_server.records import MediaType

POOL_APPENDED: dict[MediaType, str] = {
    "movie": "keywords,credits,external_ids,recommendations,release_dates,watch/providers,videos",
    "series": "keywords,aggregate_credits,external_ids,recommendations,content_ratings,watch/providers,videos",
}
# TMDb's types of releases. A premiere (1) is no release that people can go to.
RELEASES = {2: "theatrical", 3: "theatrical", 4: "digital", 5: "physical", 6: "tv"}
# A larger number is a mistake: long-running series have a year for it.
MOST_SEASONS = 3_000
WAYS_TO_STREAM = ("flatrate", "free", "ads", "rent", "buy")
# Columns of ``discovery_pool`` that are those of a title in the library.
_SAME = (
    "tmdb_id", "imdb_id", "tvdb_id", "title", "original_title", "overview", "tagline", "status", "release_date",
    "genres", "keywords", "directors", "creators", "countries", "original_language", "vote_average",
    "vote_count", "popularity", "poster_path", "runtime_minutes", "recommended_tmdb_ids",
    "trailers",
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


def parse_named(results: Sequence[Any], media_type: MediaType) -> list[NamedEntry]:
    """Parse the results of a search by name; unreadable ones are left out."""
    names = ("title", "original_title") if media_type == "movie" else ("name", "original_name")
    released = "release_date" if media_type == "movie" else "first_air_date"
    return [
        NamedEntry(
            tmdb_id,
            tuple(text for name in names if (text := text_of(result.get(name))) is not None),
            day_of(result.get(released)),
        )
        for result in objects(results)
        if (tmdb_id := positive_of(result.get("id"))) is not None
    ]


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
        "backdrop_path": text_of(answer.get("backdrop_path")),
        "is_adult": answer.get("adult") is True,
        "certifications": _certifications(answer, is_movie=is_movie),
        "releases": _releases(answer) if is_movie else None,
        "providers": _providers(answer),
        "seasons": None if is_movie else _seasons(answer),
    }


def _by_country(answer: dict[str, Any], name: str) -> list[tuple[str, dict[str, Any]]]:
    results = objects(as_object(answer.get(name)).get("results"))
    return [(country.upper(), result) for result in results if (country := text_of(result.get("iso_3166_1")))]


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


def _seasons(answer: dict[str, Any]) -> list[dict[str, int | None]]:
    """Return number, episodes and first year of each season that has episodes, in their order; specials are 0."""
    seasons: dict[int, dict[str, int | None]] = {}
    for season in objects(answer.get("seasons")):
        number, episodes = number_of(season.get("season_number")), positive_of(season.get("episode_count"))
        began = day_of(season.get("air_date"))
        if number is not None and 0 <= number < MOST_SEASONS and episodes is not None:
            entry = {"season": int(number), "episodes": episodes, "year": began.year if began is not None else None}
            seasons.setdefault(int(number), entry)
    return [seasons[number] for number in sorted(seasons)]


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
