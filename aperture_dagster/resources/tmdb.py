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
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any

from aperture_dagster.resources.client import ServiceClient
from aperture_dagster.resources.errors import BadAnswer, NotFound, ServiceRefused
from aperture_dagster.resources.json_text import expect
from aperture_dagster.resources.media_server.records import MediaType
from aperture_dagster.resources.messages import Answer
from aperture_dagster.resources.transport import Transport

CAST_KEPT = 15
# For a series, where every episode may have its own director.
CREW_KEPT = 5
# A larger number is a mistake, and does not fit any column.
LARGEST = 1e15
PATHS: dict[MediaType, str] = {"movie": "/movie", "series": "/tv"}
APPENDED: dict[MediaType, str] = {
    "movie": "keywords,credits,external_ids,recommendations",
    "series": "keywords,aggregate_credits,external_ids,recommendations",
}
# The language in which TMDb's texts are most complete.
MAIN_LANGUAGE = "en-US"


@dataclass(frozen=True, slots=True)
class TmdbTitle:
    """TMDb's facts about a film or series; unknown values are None or empty."""

    tmdb_id: int
    imdb_id: str | None
    tvdb_id: int | None
    title: str | None
    original_title: str | None
    overview: str | None
    tagline: str | None
    status: str | None
    release_date: date | None
    runtime_minutes: int | None
    genres: list[str]
    keywords: list[str]
    cast: list[dict[str, str]]
    directors: list[str]
    creators: list[str]
    writers: list[str]
    composers: list[str]
    cinematographers: list[str]
    companies: list[dict[str, Any]]
    networks: list[dict[str, Any]]
    countries: list[str]
    languages: list[str]
    original_language: str | None
    vote_average: float | None
    vote_count: int | None
    popularity: float | None
    poster_path: str | None
    backdrop_path: str | None
    collection_id: int | None
    collection_name: str | None
    last_episode: dict[str, Any] | None
    next_episode: dict[str, Any] | None
    recommended_tmdb_ids: list[int]

    def as_row(self, work_id: int) -> dict[str, Any]:
        """Return the row of ``tmdb_metadata`` for a work."""
        return {"work_id": work_id} | {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class TmdbCollection:
    """A collection of films; ``part_tmdb_ids`` are in order of release, unreleased films last."""

    collection_id: int
    name: str
    overview: str | None
    poster_path: str | None
    backdrop_path: str | None
    part_tmdb_ids: list[int]


class Tmdb(ServiceClient):
    """TMDb.

    Args:
        transport: to the API's address, with the key and the limit.
        language: of titles and texts.
    """

    def __init__(self, transport: Transport, *, language: str = "en-US") -> None:
        super().__init__(transport)
        self._language = language

    @classmethod
    def connect(
        cls,
        url: str,
        api_key: str,
        *,
        language: str = MAIN_LANGUAGE,
        **options: Any,
    ) -> Tmdb:
        """Make a client; ``options`` are passed to the transport.

        A read access token is sent in a header; a version 3 key only fits the query, and is redacted.
        """
        is_token = len(api_key) > 40 or not api_key.isalnum()
        transport = Transport(
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
        return cls(transport, language=language)

    def check(self) -> None:
        """Request TMDb's configuration to verify the key.

        Raises:
            ServiceRefused: the key is not accepted, or the address is not TMDb's.
            ServiceUnavailable: see :class:`Transport`.
        """
        try:
            expect(
                expect(self.transport.get_json("/configuration"), dict, "/configuration").get("images"), dict, "images"
            )
        except (NotFound, BadAnswer) as error:
            raise ServiceRefused(
                f"What answers at APERTURE_TMDB_URL ({self.transport.base_url}) is not TMDb's API ({error}): "
                "unset it, or set it to an address such as https://api.themoviedb.org/3."
            ) from None

    def title(self, media_type: MediaType, tmdb_id: int) -> TmdbTitle:
        """Request everything about a title; needs a second request if the overview is not translated.

        Raises:
            NotFound: TMDb has no such title.
            BadAnswer: the answer cannot be parsed, or is about another title.
            ServiceUnavailable, ServiceRefused: see :class:`Transport`.
        """
        path = f"{PATHS[media_type]}/{tmdb_id}"
        answer = self.transport.get_json(path, {"append_to_response": APPENDED[media_type], "language": self._language})
        title = _verified(parse_title(answer, media_type), tmdb_id)
        if title.overview is None and not self._language.startswith("en"):
            answer = self.transport.get_json(path, {"language": MAIN_LANGUAGE})
            title = replace(title, overview=_verified(parse_title(answer, media_type), tmdb_id).overview)
        return title

    def find(self, media_type: MediaType, *, imdb_id: str | None = None, tvdb_id: int | None = None) -> int | None:
        """Return the TMDb id of a title with another id, or None. TVDb ids are for series only."""
        for value, source in ((imdb_id, "imdb_id"), (tvdb_id if media_type == "series" else None, "tvdb_id")):
            if value is None:
                continue
            answer = expect(self.transport.get_json(f"/find/{value}", {"external_source": source}), dict, "TMDb's find")
            results = answer.get("movie_results" if media_type == "movie" else "tv_results")
            for result in expect(results, list, "TMDb's find: results"):
                found = result.get("id") if isinstance(result, dict) else None
                if isinstance(found, int):
                    return found
        return None

    def collection(self, collection_id: int) -> TmdbCollection:
        """Request a collection and its films. Raises as :meth:`title`."""
        answer = self.transport.get_json(f"/collection/{collection_id}", {"language": self._language})
        answer = expect(answer, dict, "TMDb's collection")
        if answer.get("id") != collection_id:
            raise BadAnswer(f"TMDb was asked for collection {collection_id} and answered with {answer.get('id')!r:.40}")
        parts = [part for part in _list(answer.get("parts")) if isinstance(part.get("id"), int)]
        # Unreleased parts have "" for a date, which would sort first.
        parts.sort(key=lambda part: (str(part.get("release_date") or "9999"), part["id"]))
        return TmdbCollection(
            collection_id=collection_id,
            name=_text(answer.get("name")) or "",
            overview=_text(answer.get("overview")),
            poster_path=_text(answer.get("poster_path")),
            backdrop_path=_text(answer.get("backdrop_path")),
            part_tmdb_ids=[part["id"] for part in parts],
        )


def _verified(title: TmdbTitle, tmdb_id: int) -> TmdbTitle:
    """Return ``title`` if it is the requested one. Raises BadAnswer."""
    if title.tmdb_id != tmdb_id:
        raise BadAnswer(f"TMDb was asked for {tmdb_id} and answered with {title.tmdb_id}")
    return title


def inspect_address(answer: Answer) -> None:
    """Tell TMDb's own 404, which means an unknown id, from another server's; a hook for :class:`Transport`.

    Raises:
        ServiceRefused: the 404 is about the address, so no title may be considered unknown.
    """
    if answer.status != 404:
        return
    try:
        content = answer.json()
    except BadAnswer:
        content = None
    if not isinstance(content, dict) or "status_code" not in content:
        raise ServiceRefused(
            "What answers at APERTURE_TMDB_URL is not TMDb's API (404 without a status_code): "
            "unset it, or set it to an address such as https://api.themoviedb.org/3."
        )


def parse_title(answer: Any, media_type: MediaType) -> TmdbTitle:
    """Parse TMDb's answer for a title.

    Raises:
        BadAnswer: it is not an object, has no id or title, or a part that matters has the wrong type.
    """
    answer = expect(answer, dict, "TMDb's answer")
    is_movie = media_type == "movie"
    tmdb_id = expect(answer.get("id"), int, "TMDb's answer: id")
    title = _text(answer.get("title" if is_movie else "name"))
    if title is None:
        raise BadAnswer(f"TMDb's answer for {tmdb_id} has no title")
    external = _dict(answer.get("external_ids"))
    credits = _dict(answer.get("credits" if is_movie else "aggregate_credits"))
    crew = _list(credits.get("crew"))
    keywords = _dict(answer.get("keywords"))
    collection = _dict(answer.get("belongs_to_collection"))
    return TmdbTitle(
        tmdb_id=tmdb_id,
        imdb_id=_text(answer.get("imdb_id")) or _text(external.get("imdb_id")),
        tvdb_id=_positive(external.get("tvdb_id")),
        title=title,
        original_title=_text(answer.get("original_title" if is_movie else "original_name")),
        overview=_text(answer.get("overview")),
        tagline=_text(answer.get("tagline")),
        status=_text(answer.get("status")),
        release_date=_day(answer.get("release_date" if is_movie else "first_air_date")),
        runtime_minutes=_positive(answer.get("runtime")) if is_movie else _episode_minutes(answer),
        genres=_names(answer.get("genres")),
        keywords=_names(keywords.get("keywords") or keywords.get("results")),
        cast=_cast(credits.get("cast")),
        directors=_crew(crew, {"Director"}),
        creators=_names(answer.get("created_by")),
        writers=_crew(crew, {"Writer", "Screenplay", "Story", "Novel", "Author"}),
        composers=_crew(crew, {"Original Music Composer", "Music"}),
        cinematographers=_crew(crew, {"Director of Photography", "Cinematography"}),
        companies=_studios(answer.get("production_companies")),
        networks=_studios(answer.get("networks")),
        countries=[
            country
            for entry in _list(answer.get("production_countries"))
            if (country := _text(entry.get("iso_3166_1")))
        ],
        languages=[code for entry in _list(answer.get("spoken_languages")) if (code := _text(entry.get("iso_639_1")))],
        original_language=_text(answer.get("original_language")),
        # Without votes, the average is 0 and means nothing.
        vote_average=_number(answer.get("vote_average")) if _positive(answer.get("vote_count")) else None,
        vote_count=_positive(answer.get("vote_count")),
        popularity=_number(answer.get("popularity")),
        poster_path=_text(answer.get("poster_path")),
        backdrop_path=_text(answer.get("backdrop_path")),
        collection_id=_positive(collection.get("id")),
        collection_name=_text(collection.get("name")),
        last_episode=_episode(answer.get("last_episode_to_air")),
        next_episode=_episode(answer.get("next_episode_to_air")),
        recommended_tmdb_ids=[
            entry["id"]
            for entry in _list(_dict(answer.get("recommendations")).get("results"))
            if isinstance(entry.get("id"), int)
        ],
    )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


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


def _unique(names: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name))


def _names(value: Any) -> list[str]:
    return _unique(_text(entry.get("name")) for entry in _list(value))


def _episode_minutes(series: dict[str, Any]) -> int | None:
    """Return the runtime of an episode; ``episode_run_time`` is empty for most series."""
    typical = series.get("episode_run_time")
    minutes = _positive(typical[0]) if isinstance(typical, list) and typical else None
    return minutes or _positive(_dict(series.get("last_episode_to_air")).get("runtime"))


def _crew(crew: list[dict[str, Any]], jobs: set[str]) -> list[str]:
    """Return the names of people with one of these jobs; for a series, the few with the most episodes."""
    episodes: dict[str, float] = {}
    for entry in crew:
        name = _text(entry.get("name"))
        if name is None:
            continue
        if entry.get("job") in jobs:
            episodes.setdefault(name, math.inf)
        for job in _list(entry.get("jobs")):
            if job.get("job") in jobs:
                episodes[name] = episodes.get(name, 0) + (_number(job.get("episode_count")) or 0)
    most = sorted(episodes, key=lambda name: -episodes[name])
    return [name for place, name in enumerate(most) if place < CREW_KEPT or episodes[name] == math.inf]


def _cast(value: Any) -> list[dict[str, str]]:
    members = sorted(_list(value), key=lambda entry: _number(entry.get("order")) or 0)
    named = [(name, _character(entry)) for entry in members if (name := _text(entry.get("name")))]
    return [{"name": name, "character": character} for name, character in named[:CAST_KEPT]]


def _character(member: dict[str, Any]) -> str:
    """Return a cast member's character; over a whole series, the one with the most episodes."""
    roles = sorted(_list(member.get("roles")), key=lambda role: -(_number(role.get("episode_count")) or 0))
    return next((name for part in [member, *roles] if (name := _text(part.get("character")))), "")


def _studios(value: Any) -> list[dict[str, Any]]:
    return [
        {"id": entry.get("id"), "name": name, "logo_path": _text(entry.get("logo_path"))}
        for entry in _list(value)
        if (name := _text(entry.get("name")))
    ]


def _episode(value: Any) -> dict[str, Any] | None:
    episode = _dict(value)
    if not episode:
        return None
    return {
        "season": _number(episode.get("season_number")),
        "number": _number(episode.get("episode_number")),
        "title": _text(episode.get("name")),
        "air_date": _text(episode.get("air_date")),
    }
