"""A client of The Movie Database (TMDb), version 3.

Facts about the API that shaped this module:

- Keywords are under ``keywords`` for films and under ``results`` for series.
- Unknown values are ``""``, ``0``, ``null`` or absent.
- A series has its IMDb id only under ``external_ids``. Its ``credits`` are those of the latest season;
  ``aggregate_credits`` covers all seasons.
- An overview without a translation is ``""``.
- The key is sent in a header where possible, because URLs are logged everywhere.
"""

from __future__ import annotations

import math
from datetime import date
from typing import Any, Literal

from aperture_dagster.library.listed import ListedTitle, ListPage
from aperture_dagster.resources.client import ServiceClient
from aperture_dagster.resources.errors import BadAnswer, NotFound, ServiceRefused
from aperture_dagster.resources.json_text import as_object, expect, objects, unique
from aperture_dagster.resources.media_server.records import MediaType
from aperture_dagster.resources.messages import Answer

CAST_KEPT = 15
LEADING_CAST = 5
# For a series, where every episode may have its own director.
CREW_KEPT = 5
# A larger number is a mistake, and does not fit any column.
LARGEST = 1e15
PATHS: dict[MediaType, str] = {"movie": "/movie", "series": "/tv"}
ListName = Literal["popular", "trending", "top_rated"]
# TMDb refuses pages beyond this one.
LAST_PAGE = 500
APPENDED: dict[MediaType, str] = {
    "movie": "keywords,credits,external_ids,recommendations",
    "series": "keywords,aggregate_credits,external_ids,recommendations",
}
# The language in which TMDb's texts are most complete.
MAIN_LANGUAGE = "en-US"
# Columns for people, and the jobs that they had.
JOBS = {
    "directors": {"Director"},
    "writers": {"Writer", "Screenplay", "Story", "Novel", "Author"},
    "composers": {"Original Music Composer", "Music"},
    "cinematographers": {"Director of Photography", "Cinematography"},
}


class Tmdb(ServiceClient):
    """TMDb, with texts in ``language``; ``options`` are passed to the transport."""

    def __init__(self, url: str, api_key: str, *, language: str = MAIN_LANGUAGE, **options: Any) -> None:
        # A read access token is sent in a header; a version 3 key only fits the query, and is redacted.
        is_token = len(api_key) > 40 or not api_key.isalnum()
        super().__init__(
            "TMDb",
            url,
            headers={"Authorization": f"Bearer {api_key}"} if is_token else None,
            params=None if is_token else {"api_key": api_key},
            inspect=inspect_address,
            secrets=[api_key],
            setting="TMDB_API_KEY",
            address_setting="APERTURE_TMDB_URL",
            **options,
        )
        self._language = language

    def check(self) -> None:
        """Request TMDb's configuration to verify the key.

        Raises:
            ServiceRefused: the key is not accepted, or the address is not TMDb's.
            ServiceUnavailable: see :class:`Transport`.
        """
        try:
            answer = expect(self.transport.get_json("/configuration"), dict, "/configuration")
            expect(answer.get("images"), dict, "images")
        except (NotFound, BadAnswer) as error:
            raise _another_server(str(error)) from None

    def title(self, media_type: MediaType, tmdb_id: int) -> dict[str, Any]:
        """Request the columns of ``tmdb_metadata`` of a title; once more if the overview is not translated.

        Raises:
            NotFound: TMDb has no such title.
            BadAnswer: the answer cannot be parsed, or is about another title.
            ServiceUnavailable, ServiceRefused: see :class:`Transport`.
        """
        path = PATHS[media_type]
        title = parse_title(self._get(path, tmdb_id, append_to_response=APPENDED[media_type]), media_type)
        if title["overview"] is None and not self._language.startswith("en"):
            title["overview"] = _text(self._get(path, tmdb_id, language=MAIN_LANGUAGE).get("overview"))
        return title

    def find(self, media_type: MediaType, *, imdb_id: str | None = None, tvdb_id: int | None = None) -> int | None:
        """Return the TMDb id of a title with another id, or None. TVDb ids are for series only."""
        for value, source in ((imdb_id, "imdb_id"), (tvdb_id if media_type == "series" else None, "tvdb_id")):
            if value is None:
                continue
            answer = expect(self.transport.get_json(f"/find/{value}", {"external_source": source}), dict, "TMDb's find")
            results = answer.get("movie_results" if media_type == "movie" else "tv_results")
            if found := _ids(expect(results, list, "TMDb's find: results")):
                return found[0]
        return None

    def collection(self, collection_id: int) -> dict[str, Any]:
        """Request the columns of ``tmdb_collections``, films in order of release; raises as :meth:`title`."""
        answer = self._get("/collection", collection_id)
        # Unreleased parts have "" for a date, which would sort first.
        parts = [part for part in objects(answer.get("parts")) if isinstance(part.get("id"), int)]
        parts.sort(key=lambda part: (str(part.get("release_date") or "9999"), part["id"]))
        return {
            "collection_id": collection_id,
            "name": _text(answer.get("name")) or "",
            **{name: _text(answer.get(name)) for name in ("overview", "poster_path", "backdrop_path")},
            "part_tmdb_ids": [part["id"] for part in parts],
        }

    def listed(self, media_type: MediaType, name: ListName, page: int = 1) -> ListPage:
        """Request a page (from 1 on, 20 titles each) of one of TMDb's own lists; trending is that of the week.

        Raises:
            BadAnswer: the answer is not a page of a list.
            ServiceUnavailable, ServiceRefused: see :class:`Transport`.
        """
        path = PATHS[media_type]
        path = f"/trending{path}/week" if name == "trending" else f"{path}/{name}"
        try:
            answer = expect(self.transport.get_json(path, {"page": page}), dict, f"TMDb's {path}")
        except NotFound as error:
            raise BadAnswer(f"TMDb has no list {path}: {error}") from None
        results = expect(answer.get("results"), list, f"TMDb's {path}: results")
        pages = expect(answer.get("total_pages"), int, f"TMDb's {path}: total_pages")
        titles = tuple(ListedTitle(tmdb_id=number) for number in _ids(results))
        return ListPage(titles, has_more=bool(results) and page < min(pages, LAST_PAGE))

    def _get(self, path: str, wanted: int, **params: str) -> dict[str, Any]:
        """Request something by its id. Raises BadAnswer for an answer about something else."""
        path = f"{path}/{wanted}"
        answer = expect(self.transport.get_json(path, {"language": self._language, **params}), dict, "TMDb's answer")
        if answer.get("id") != wanted:
            raise BadAnswer(f"TMDb was asked for {path} and answered with {answer.get('id')!r:.40}")
        return answer


def inspect_address(answer: Answer) -> None:
    """Raise ServiceRefused for a 404 that is not TMDb's own, so that no title is considered unknown."""
    if answer.status == 404 and "status_code" not in answer.fields():
        raise _another_server("404 without a status_code")


def _another_server(reason: str) -> ServiceRefused:
    return ServiceRefused(
        f"What answers at APERTURE_TMDB_URL is not TMDb's API ({reason}): "
        "unset it, or set it to an address such as https://api.themoviedb.org/3."
    )


def parse_title(answer: Any, media_type: MediaType) -> dict[str, Any]:
    """Parse TMDb's answer for a title: the columns of ``tmdb_metadata``, None or empty if unknown.

    Raises:
        BadAnswer: it is not an object, or has no id or title.
    """
    answer = expect(answer, dict, "TMDb's answer")
    is_movie = media_type == "movie"
    tmdb_id = expect(answer.get("id"), int, "TMDb's answer: id")
    title = _text(answer.get("title" if is_movie else "name"))
    if title is None:
        raise BadAnswer(f"TMDb's answer for {tmdb_id} has no title")
    names = ("external_ids", "keywords", "credits" if is_movie else "aggregate_credits")
    external, keywords, credits = (as_object(answer.get(name)) for name in names)
    collection, recommendations = (as_object(answer.get(name)) for name in ("belongs_to_collection", "recommendations"))
    crew, vote_count = objects(credits.get("crew")), _positive(answer.get("vote_count"))
    texts = ("overview", "tagline", "status", "original_language", "poster_path", "backdrop_path")
    return {
        "tmdb_id": tmdb_id,
        "imdb_id": _text(answer.get("imdb_id")) or _text(external.get("imdb_id")),
        "tvdb_id": _positive(external.get("tvdb_id")),
        "title": title,
        "original_title": _text(answer.get("original_title" if is_movie else "original_name")),
        **{name: _text(answer.get(name)) for name in texts},
        "release_date": _day(answer.get("release_date" if is_movie else "first_air_date")),
        "runtime_minutes": _positive(answer.get("runtime")) if is_movie else _episode_minutes(answer),
        "genres": _names(answer.get("genres")),
        "keywords": _names(keywords.get("keywords") or keywords.get("results")),
        "cast": _cast(credits.get("cast")),
        "creators": _names(answer.get("created_by")),
        **{column: _crew(crew, jobs) for column, jobs in JOBS.items()},
        "companies": _studios(answer.get("production_companies")),
        "networks": _studios(answer.get("networks")),
        "countries": _texts(answer.get("production_countries"), "iso_3166_1"),
        "languages": _texts(answer.get("spoken_languages"), "iso_639_1"),
        # Without votes, the average is 0 and means nothing.
        "vote_average": _number(answer.get("vote_average")) if vote_count else None,
        "vote_count": vote_count,
        "popularity": _number(answer.get("popularity")),
        "collection_id": _positive(collection.get("id")),
        "collection_name": _text(collection.get("name")),
        "last_episode": _episode(answer.get("last_episode_to_air")),
        "next_episode": _episode(answer.get("next_episode_to_air")),
        "recommended_tmdb_ids": _ids(recommendations.get("results")),
        "trait_ids": {
            "genres": _ids_by_name(answer.get("genres")),
            "keywords": _ids_by_name(keywords.get("keywords") or keywords.get("results")),
            "people": _people(answer, credits),
        },
    }


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < LARGEST:
        return None
    return float(value)


def _positive(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and 0 < number < 2**31 else None


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) and value else None
    except ValueError:
        return None


def _ids(value: Any) -> list[int]:
    return [entry["id"] for entry in objects(value) if isinstance(entry.get("id"), int)]


def _texts(value: Any, name: str) -> list[str]:
    return [text for entry in objects(value) if (text := _text(entry.get(name)))]


def _names(value: Any) -> list[str]:
    return unique(_texts(value, "name"))


def _ids_by_name(value: Any) -> dict[str, int]:
    entries = [entry for entry in objects(value) if isinstance(entry.get("id"), int)]
    return {name: entry["id"] for entry in entries if (name := _text(entry.get("name")))}


def _people(answer: dict[str, Any], credits: dict[str, Any]) -> dict[str, int]:
    """Return the ids of those who make a title what it is: directors or creators, and the leading actors."""
    cast = sorted(objects(credits.get("cast")), key=lambda entry: _number(entry.get("order")) or 0)
    directors = [entry for entry in objects(credits.get("crew")) if entry.get("job") in JOBS["directors"]]
    return _ids_by_name([*objects(answer.get("created_by")), *directors, *cast[:LEADING_CAST]])


def _episode_minutes(series: dict[str, Any]) -> int | None:
    """Return the runtime of an episode; ``episode_run_time`` is empty for most series."""
    typical = series.get("episode_run_time")
    minutes = _positive(typical[0]) if isinstance(typical, list) and typical else None
    return minutes or _positive(as_object(series.get("last_episode_to_air")).get("runtime"))


def _crew(crew: list[dict[str, Any]], jobs: set[str]) -> list[str]:
    """Return the names of people with one of these jobs; for a series, the few with the most episodes."""
    episodes: dict[str, float] = {}
    for entry in crew:
        name = _text(entry.get("name"))
        if name is None:
            continue
        if entry.get("job") in jobs:
            episodes.setdefault(name, math.inf)
        for job in objects(entry.get("jobs")):
            if job.get("job") in jobs:
                episodes[name] = episodes.get(name, 0) + (_number(job.get("episode_count")) or 0)
    most = sorted(episodes, key=lambda name: -episodes[name])
    return [name for place, name in enumerate(most) if place < CREW_KEPT or episodes[name] == math.inf]


def _cast(value: Any) -> list[dict[str, str]]:
    members = sorted(objects(value), key=lambda entry: _number(entry.get("order")) or 0)
    named = [{"name": name, "character": _character(entry)} for entry in members if (name := _text(entry.get("name")))]
    return named[:CAST_KEPT]


def _character(member: dict[str, Any]) -> str:
    """Return a cast member's character; over a whole series, the one with the most episodes."""
    roles = sorted(objects(member.get("roles")), key=lambda role: -(_number(role.get("episode_count")) or 0))
    return next(iter(_texts([member, *roles], "character")), "")


def _studios(value: Any) -> list[dict[str, Any]]:
    return [
        {"id": entry.get("id"), "name": name, "logo_path": _text(entry.get("logo_path"))}
        for entry in objects(value)
        if (name := _text(entry.get("name")))
    ]


def _episode(value: Any) -> dict[str, Any] | None:
    episode = as_object(value)
    if not episode:
        return None
    return {
        "season": _number(episode.get("season_number")),
        "number": _number(episode.get("episode_number")),
        "title": _text(episode.get("name")),
        "air_date": _text(episode.get("air_date")),
    }
