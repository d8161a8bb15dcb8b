"""TMDb's JSON for titles. Unknown values are ``""``, 0 or null, depending on the field."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Any

from aperture_dagster.simulator.catalogue import episode_air_date, stable_number
from aperture_dagster.simulator.tmdb.titles import (
    COUNTRIES,
    TitleIndex,
    content_ratings,
    country_code,
    credit_id,
    genre_id,
    logo_path,
    named_id,
    picture_path,
    release_dates,
    watch_providers,
)
from aperture_dagster.simulator.world import WorldTitle

_LANGUAGES = {"en": "English", "fr": "French", "de": "German", "ja": "Japanese", "es": "Spanish", "it": "Italian"}
_PER_PAGE = 20


def list_item(title: WorldTitle, *, with_media_type: bool = True) -> dict[str, Any]:
    """Return a title as an entry of a result list."""
    is_movie = title.media_type == "movie"
    name, original, day = (
        ("title", "original_title", "release_date") if is_movie else ("name", "original_name", "first_air_date")
    )
    item: dict[str, Any] = {
        "adult": title.adult,
        "backdrop_path": picture_path(title.key, "backdrop"),
        "id": title.tmdb_id,
        name: title.title,
        "original_language": title.language or "en",
        original: title.original_title or title.title,
        "overview": title.overview,
        "poster_path": picture_path(title.key, "poster"),
        "genre_ids": [genre_id(genre) for genre in title.genres],
        "popularity": title.popularity or 0.0,
        day: title.release_date or "",
        "vote_average": title.vote_average or 0.0,
        "vote_count": int(title.vote_count or 0),
    }
    if is_movie:
        item["video"] = False
    else:
        item["origin_country"] = _countries(title)
    if with_media_type:
        item["media_type"] = "movie" if is_movie else "tv"
    return item


def discovered(title: WorldTitle) -> dict[str, Any]:
    """Return a title as an entry of ``/discover``: only films have the field ``adult``."""
    item = list_item(title, with_media_type=False)
    if title.media_type == "series":
        del item["adult"]
    return item


def found_by_name(title: WorldTitle) -> dict[str, Any]:
    """Return a title as an entry of ``/search``."""
    return list_item(title, with_media_type=False)


def result_page(
    titles: Sequence[WorldTitle],
    page: int = 1,
    *,
    entry: Callable[[WorldTitle], dict[str, Any]] = list_item,
    repeats: bool = False,
) -> dict[str, Any]:
    """Return a page of 20 titles of a result list, each made by ``entry``.

    A list that ``repeats`` has moved on when an even page is read, as a title rose in it: the page begins with the last
    title of the page before, and the title that would have been its last one is not seen.
    """
    start = (page - 1) * _PER_PAGE - (1 if repeats and page % 2 == 0 else 0)
    return {
        "page": page,
        "results": [entry(title) for title in titles[start : start + _PER_PAGE]],
        "total_pages": min(500, (len(titles) + _PER_PAGE - 1) // _PER_PAGE),
        "total_results": len(titles),
    }


def _countries(title: WorldTitle) -> list[str]:
    return [country_code(country) for country in title.countries]


def _organisations(kind: str, names: Sequence[str], countries: Sequence[str]) -> list[dict[str, Any]]:
    country = countries[0] if countries else ""
    return [
        {"id": named_id(kind, name), "logo_path": logo_path(kind, name), "name": name, "origin_country": country}
        for name in names
    ]


def _common(title: WorldTitle) -> dict[str, Any]:
    countries = _countries(title)
    language = title.language or "en"
    language_name = _LANGUAGES.get(language, language)
    return {
        "adult": title.adult,
        "backdrop_path": picture_path(title.key, "backdrop"),
        "genres": [{"id": genre_id(name), "name": name} for name in title.genres],
        "homepage": "",
        "id": title.tmdb_id,
        "origin_country": countries,
        "original_language": language,
        "overview": title.overview,
        "popularity": title.popularity or 0.0,
        "poster_path": picture_path(title.key, "poster"),
        "production_companies": _organisations("company", title.companies, countries),
        "production_countries": [{"iso_3166_1": code, "name": COUNTRIES.get(code, code)} for code in countries],
        "spoken_languages": [{"english_name": language_name, "iso_639_1": language, "name": language_name}],
        "tagline": title.tagline,
        "vote_average": title.vote_average or 0.0,
        "vote_count": int(title.vote_count or 0),
    }


def _collection_stub(title: WorldTitle) -> dict[str, Any] | None:
    """Return the short form of a film's collection, if it has one."""
    if title.collection is None:
        return None
    number, name = title.collection
    poster, backdrop = (picture_path(f"collection:{number}", use) for use in ("poster", "backdrop"))
    return {"id": number, "name": name, "poster_path": poster, "backdrop_path": backdrop}


def movie(title: WorldTitle) -> dict[str, Any]:
    """Return details of a film. Unknown values: runtime 0, dates and texts ``""``, imdb_id null."""
    return _common(title) | {
        "belongs_to_collection": _collection_stub(title),
        "budget": 0,
        "imdb_id": title.imdb_id or None,
        "original_title": title.original_title or title.title,
        "release_date": title.release_date or "",
        "revenue": 0,
        "runtime": title.runtime_minutes or 0,
        "status": title.status or "Released",
        "title": title.title,
        "video": False,
    }


def tv_status(title: WorldTitle) -> str:
    """Return a series' status in TMDb's words."""
    status = (title.status or "Ended").lower()
    return {"continuing": "Returning Series", "unreleased": "Planned", "cancelled": "Canceled"}.get(
        status, status.title()
    )


def series(title: WorldTitle, today: date) -> dict[str, Any]:
    """Return details of a series. There is no top-level imdb_id, and running times are often missing."""
    counts = title.episodes_per_season
    status = tv_status(title)
    airing = status in ("Returning Series", "In Production")
    last = _episode(title, len(counts), counts[-1]) if counts and counts[-1] else None
    runtimes = [title.runtime_minutes] if title.runtime_minutes and stable_number(title.key) % 2 else []
    return _common(title) | {
        "created_by": [
            {
                "id": named_id("person", name),
                "credit_id": credit_id(title.key, "creator", name),
                "name": name,
                "gender": 0,
                "profile_path": None,
            }
            for name in title.creators
        ],
        "episode_run_time": runtimes,
        "first_air_date": title.release_date or "",
        "in_production": airing,
        "languages": [title.language] if title.language else [],
        "last_air_date": last["air_date"] if last else None,
        "last_episode_to_air": last,
        "name": title.title,
        "networks": _organisations("network", title.networks, _countries(title)),
        "next_episode_to_air": _next_episode(title, today) if airing and counts else None,
        "number_of_episodes": sum(counts),
        "number_of_seasons": len(counts),
        "original_name": title.original_title or title.title,
        "seasons": [_season_stub(title, number, count) for number, count in _seasons(title)],
        "status": status,
        "type": "Scripted",
    }


def _seasons(title: WorldTitle) -> list[tuple[int, int]]:
    """Return numbers of seasons and of their episodes. Specials are season 0, which is not counted anywhere."""
    specials = [(0, title.specials)] if title.specials else []
    return [*specials, *enumerate(title.episodes_per_season, start=1)]


def _season_stub(title: WorldTitle, number: int, count: int) -> dict[str, Any]:
    return {
        "air_date": episode_air_date(title, number, 1),
        "episode_count": count,
        "id": named_id("season", f"{title.key}|{number}"),
        "name": f"Season {number}" if number else "Specials",
        "overview": "",
        "poster_path": picture_path(f"{title.key}|{number}", "poster"),
        "season_number": number,
        "vote_average": title.vote_average or 0.0,
    }


def _episode(title: WorldTitle, season: int, number: int) -> dict[str, Any]:
    return {
        "id": named_id("episode", f"{title.key}|{season}|{number}"),
        "name": f"Episode {number}",
        "overview": "",
        "vote_average": 0.0,
        "vote_count": 0,
        "air_date": episode_air_date(title, season, number),
        "episode_number": number,
        "production_code": "",
        "runtime": title.runtime_minutes,
        "season_number": season,
        "show_id": title.tmdb_id,
        "still_path": None,
    }


def found_episode(title: WorldTitle, season: int, number: int) -> dict[str, Any]:
    """Return an episode as ``/find`` has it."""
    return _episode(title, season, number) | {"media_type": "tv_episode", "episode_type": "standard"}


def _next_episode(title: WorldTitle, today: date) -> dict[str, Any]:
    episode = _episode(title, len(title.episodes_per_season) + 1, 1)
    episode["air_date"] = (today + timedelta(days=1 + stable_number(title.key) % 28)).isoformat()
    return episode


def _person(name: str, department: str) -> dict[str, Any]:
    return {
        "adult": False,
        "gender": 0,
        "id": named_id("person", name),
        "known_for_department": department,
        "name": name,
        "original_name": name,
        "popularity": round(1 + stable_number(name) % 5_000 / 100, 3),
        "profile_path": None,
    }


def _crew(title: WorldTitle) -> list[dict[str, Any]]:
    jobs = (
        ("Directing", "Director", title.directors),
        ("Writing", "Screenplay" if title.media_type == "movie" else "Writer", title.writers),
        ("Sound", "Original Music Composer", title.composers),
        ("Camera", "Director of Photography", title.cinematographers),
    )
    return [
        _person(name, department) | {"credit_id": credit_id(title.key, job, name), "department": department, "job": job}
        for department, job, names in jobs
        for name in names
    ]


def _credits(title: WorldTitle) -> dict[str, Any]:
    cast = [
        _person(member.name, "Acting")
        | {
            "cast_id": place + 1,
            "character": member.character,
            "credit_id": credit_id(title.key, "cast", place),
            "order": place,
        }
        for place, member in enumerate(title.cast)
    ]
    return {"cast": cast, "crew": _crew(title)}


def _aggregate_credits(title: WorldTitle) -> dict[str, Any]:
    total = sum(title.episodes_per_season)
    cast = []
    # Not in billing order, which is in ``order``.
    for place, member in reversed(list(enumerate(title.cast))):
        role = {"credit_id": credit_id(title.key, "cast", place), "character": member.character, "episode_count": total}
        cast.append(_person(member.name, "Acting") | {"roles": [role], "total_episode_count": total, "order": place})
    crew = []
    for person in _crew(title):
        job = {"credit_id": person.pop("credit_id"), "job": person.pop("job"), "episode_count": total}
        crew.append(person | {"jobs": [job], "total_episode_count": total})
    return {"cast": cast, "crew": crew}


def _external_ids(title: WorldTitle) -> dict[str, Any]:
    ids: dict[str, Any] = {"imdb_id": title.imdb_id or None, "wikidata_id": None, "facebook_id": None}
    ids |= {"instagram_id": None, "twitter_id": None}
    if title.media_type == "series":
        ids |= {"tvdb_id": title.tvdb_id, "tvrage_id": None, "freebase_mid": None, "freebase_id": None}
    return ids


def _keywords(title: WorldTitle) -> dict[str, Any]:
    entries = [{"id": named_id("keyword", name), "name": name} for name in title.keywords]
    return {"keywords" if title.media_type == "movie" else "results": entries}


def _recommendations(title: WorldTitle, index: TitleIndex) -> dict[str, Any]:
    """Return the first page of recommendations, with their media types; ``total_pages`` may say too much."""
    found = index.recommended(title)
    answer = result_page(found)
    if len(found) > _PER_PAGE:
        answer["total_pages"] += 1
        answer["total_results"] += _PER_PAGE
    return answer


def _similar(title: WorldTitle, index: TitleIndex) -> dict[str, Any]:
    """Return the first page of similar titles: the form of recommendations, without media types."""
    return result_page(index.similar(title), entry=partial(list_item, with_media_type=False))


def _videos(title: WorldTitle) -> dict[str, Any]:
    """Return the videos of a title in all languages, in no particular order: not each is a trailer.

    The keys are those of open films of the Blender Foundation, so that links of a demo lead somewhere.
    """
    number = stable_number(f"{title.key}|videos")
    published = f"{title.release_date or '2008-05-20'}T15:00:00.000Z"

    def video(kind: str, language: str, site: str, key: str, *, official: bool) -> dict[str, Any]:
        return {
            "iso_639_1": language,
            "iso_3166_1": {"en": "US"}.get(language, language.upper()),
            "name": f"{kind} ({language})",
            "key": key,
            "site": site,
            "size": 1080 if official else 480,
            "type": kind,
            "official": official,
            "published_at": published,
            "id": f"{number:024x}"[-24:],
        }

    found = [video("Featurette", "en", "YouTube", "TLkA0RELQ1g", official=True)]
    if number % 10:
        found.append(video("Trailer", "en", "YouTube", "aqz-KE-bpKQ", official=True))
        found.append(video("Teaser", "en", "Vimeo", "1084537", official=False))
    if number % 2:
        found.append(video("Trailer", "de", "YouTube", "eRsGyueVLvQ", official=False))
    return {"results": found}


_Appendable = Callable[[WorldTitle, TitleIndex], dict[str, Any]]
_BOTH: dict[str, _Appendable] = {
    "keywords": lambda title, _: _keywords(title),
    "external_ids": lambda title, _: _external_ids(title),
    "recommendations": _recommendations,
    "similar": _similar,
    "watch/providers": lambda title, index: watch_providers(title, index.today),
    "videos": lambda title, _: _videos(title),
}
APPENDABLE: dict[str, dict[str, _Appendable]] = {
    "movie": _BOTH
    | {
        "credits": lambda title, _: _credits(title),
        "release_dates": lambda title, _: release_dates(title),
    },
    "series": _BOTH
    | {
        "content_ratings": lambda title, _: content_ratings(title),
        "aggregate_credits": lambda title, _: _aggregate_credits(title),
    },
}
"""Parts that can be appended to details, by media type."""
