"""A client of The Movie Database (TMDb), version 3.

Facts about the API that shaped this module:

- An overview without a translation is ``""``.
- The key is sent in a header where possible, because URLs are logged everywhere.
- ``/discover`` answers filters with ids that do not exist with an empty list.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from aperture_dagster.enrichment.listed import DiscoverFilters, ListedTitle, ListPage, NamedEntry, SuggestedPage
from aperture_dagster.enrichment.tmdb.suggestions import (
    POOL_APPENDED,
    discover_params,
    parse_entries,
    parse_named,
    parse_pool_title,
)
from aperture_dagster.enrichment.tmdb.titles import ids_of, parse_title, positive_of, text_of
from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.errors import BadAnswer, NotFound, ServiceRefused
from aperture_dagster.http.messages import Answer, expect, objects
from aperture_dagster.media_server.records import MediaType
from aperture_dagster.texts import LANGUAGES

PATHS: dict[MediaType, str] = {"movie": "/movie", "series": "/tv"}
ListName = Literal["popular", "trending", "top_rated"]
# TMDb refuses pages beyond this one.
LAST_PAGE = 500
# A name with more pages of results than this is too usual to tell a title by it.
SEARCHED_PAGES = 3
APPENDED: dict[MediaType, str] = {
    "movie": "keywords,credits,external_ids,recommendations,similar,videos",
    "series": "keywords,aggregate_credits,external_ids,recommendations,similar,videos",
}
# The language in which TMDb's texts are most complete.
MAIN_LANGUAGE = "en-US"


class Tmdb(ServiceClient):
    """TMDb, with texts in ``language``; ``options`` are passed to the transport."""

    def __init__(self, url: str, api_key: str, *, language: str = MAIN_LANGUAGE, **options: Any) -> None:
        # A read access token is sent in a header; a version 3 key only fits the query, and is redacted.
        is_token = len(api_key) > 40 or not api_key.isalnum()
        super().__init__(
            "TMDb",
            url,
            headers={"Authorization": f"Bearer {api_key}"} if is_token else {},
            params={} if is_token else {"api_key": api_key},
            inspect=inspect_address,
            secrets=[api_key],
            setting="TMDB_API_KEY",
            address_setting="APERTURE_TMDB_URL",
            **options,
        )
        self.language = language

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
        return self._complete(
            media_type, parse_title(self._details(media_type, tmdb_id, APPENDED[media_type]), media_type)
        )

    def pool_title(self, media_type: MediaType, tmdb_id: int) -> dict[str, Any]:
        """Request the columns of ``discovery_pool`` that describe a title, as :meth:`title` does.

        It is one request: keywords, people, ids, recommendations, certifications, releases, streaming services and
        trailers come with it.
        """
        return self._complete(
            media_type, parse_pool_title(self._details(media_type, tmdb_id, POOL_APPENDED[media_type]), media_type)
        )

    def find(self, media_type: MediaType, *, imdb_id: str | None = None, tvdb_id: int | None = None) -> int | None:
        """Return the TMDb id of a title with another id, or None. TVDb ids are for series only."""
        for value, source in ((imdb_id, "imdb_id"), (tvdb_id if media_type == "series" else None, "tvdb_id")):
            if value is None:
                continue
            answer = expect(self.transport.get_json(f"/find/{value}", {"external_source": source}), dict, "TMDb's find")
            results = answer.get("movie_results" if media_type == "movie" else "tv_results")
            if found := ids_of(expect(results, list, "TMDb's find: results")):
                return found[0]
        return None

    def series_of_episode(self, imdb_id: str) -> int | None:
        """Return the TMDb id of the series of an episode, by the episode's id at IMDb; None if it is unknown."""
        answer = self.transport.get_json(f"/find/{imdb_id}", {"external_source": "imdb_id"})
        episodes = objects(expect(answer, dict, "TMDb's find").get("tv_episode_results"))
        return next((show for episode in episodes if (show := positive_of(episode.get("show_id"))) is not None), None)

    def search(self, media_type: MediaType, name: str, year: int | None) -> list[NamedEntry] | None:
        """Return all titles that TMDb finds for a name and, if it is known, the year; None if they are too many.

        Names are in English, in the original and, if that is another one, in the client's language.

        Raises:
            BadAnswer: the answer is not a page of a list.
            ServiceUnavailable, ServiceRefused: see :class:`Transport`.
        """
        path = f"/search{PATHS[media_type]}"
        when = "primary_release_year" if media_type == "movie" else "first_air_date_year"
        found: list[NamedEntry] = []
        for language in dict.fromkeys((MAIN_LANGUAGE, self.language)):
            for page in range(1, SEARCHED_PAGES + 1):
                params = {"query": name, "include_adult": "false", "language": language, "page": page}
                given = {when: year} if year is not None else {}
                answer = expect(self.transport.get_json(path, params | given), dict, f"TMDb's {path}")
                found += parse_named(expect(answer.get("results"), list, f"TMDb's {path}: results"), media_type)
                if expect(answer.get("total_pages"), int, f"TMDb's {path}: total_pages") <= page:
                    break
            else:
                return None
        return found

    def listed(self, media_type: MediaType, name: ListName, page: int = 1) -> ListPage:
        """Request a page (from 1 on, 20 titles each) of one of TMDb's own lists; trending covers the week.

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
        titles = tuple(ListedTitle(tmdb_id=number) for number in ids_of(results))
        return ListPage(titles, has_more=bool(results) and page < min(pages, LAST_PAGE))

    def discover(self, media_type: MediaType, filters: DiscoverFilters, page: int = 1, *, today: date) -> SuggestedPage:
        """Request a page (from 1 on, 20 titles each) of the titles that pass ``filters`` and are out ``today``.

        Raises:
            BadAnswer: the answer is not a page of a list.
            ServiceUnavailable, ServiceRefused: see :class:`Transport`.
        """
        path = f"/discover{PATHS[media_type]}"
        params = {"page": page, "language": self.language, **discover_params(media_type, filters, today=today)}
        try:
            answer = expect(self.transport.get_json(path, params), dict, f"TMDb's {path}")
        except NotFound as error:
            raise BadAnswer(f"TMDb has no {path}: {error}") from None
        results = expect(answer.get("results", []), list, f"TMDb's {path}: results")
        pages = answer.get("total_pages")
        last = min(pages, LAST_PAGE) if isinstance(pages, int) else page
        return SuggestedPage(tuple(parse_entries(results, media_type)), has_more=bool(results) and page < last)

    def _details(self, media_type: MediaType, tmdb_id: int, appended: str) -> dict[str, Any]:
        # Otherwise, there would only be trailers in the language of the texts.
        spoken = ",".join(sorted({self.language[:2].lower(), *LANGUAGES}))
        return self._get(PATHS[media_type], tmdb_id, append_to_response=appended, include_video_language=spoken)

    def _complete(self, media_type: MediaType, title: dict[str, Any]) -> dict[str, Any]:
        """Add the overview in English if there is none in the operator's language, with one more request."""
        if title["overview"] is None and not self.language.startswith("en"):
            answer = self._get(PATHS[media_type], title["tmdb_id"], language=MAIN_LANGUAGE)
            title["overview"] = text_of(answer.get("overview"))
        return title

    def _get(self, path: str, wanted: int, **params: str) -> dict[str, Any]:
        """Request something by its id. Raises BadAnswer for an answer about something else."""
        path = f"{path}/{wanted}"
        answer = expect(self.transport.get_json(path, {"language": self.language, **params}), dict, "TMDb's answer")
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
