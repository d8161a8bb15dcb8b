"""A stand-in for TMDb's API (version 3) and its image host."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date
from typing import Any

from starlette.responses import Response

from aperture_dagster.simulator.opinions import jpeg, png, share, svg
from aperture_dagster.simulator.responses import JSONResponse, html_page
from aperture_dagster.simulator.service import Operation, Query, Request, StandIn, Unmodelled
from aperture_dagster.simulator.settings import TMDB_IMAGES_PATH
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.tmdb import payloads
from aperture_dagster.simulator.tmdb.titles import TitleIndex, genre_id, named_id, picture_names
from aperture_dagster.simulator.world import WorldTitle

__all__ = ["TmdbImageService", "TmdbService"]

# The TMDb stand-in: key, rate limit and endpoints.
#
# It follows version 3 as of June 2026 (``specs/tmdb-api.2026-06.json``). Beyond the specification:
#
# - Merged and deleted ids are 404, while ``/find`` finds the new id by IMDb or TVDb id.
# - In languages other than English, an overview without translation is "". Here, a translated one begins with the
#   language's code. Titles, and overviews in lists, are not translated.
# - ``/trending`` has pages, as its ``total_pages`` says, although the parameter is not specified.
# - ``top_rated`` leaves out titles with few votes (developer.themoviedb.org, movie-top-rated-list: it is
#   ``/discover`` by average, with at least 200 votes).
# - ``recommendations`` say that there are more pages than there are (sct/overseerr issue 2749). Pages of ``/discover``
#   repeat a title of the page before (seerr-team/seerr issue 708).
# - ``include_adult=false`` only drops what is marked as adult, and only from ``/discover`` (sct/overseerr issue 4177).


# ``/discover``: the filters that this project sends, and orders.
#
# An unknown id yields an empty page, not an error. Ids of ``with_*`` are joined with ``,``, and titles need all of
# them; lists joined with ``|`` are not modelled. ``with_people`` is for films only: of series, the real service
# ignores it, which the stand-in refuses, as it would widen a search unnoticed.


def _ids(kind: str, names: Iterable[str]) -> list[str]:
    return [str(named_id(kind, name)) for name in names]


def _people(title: WorldTitle) -> list[str]:
    crew = (*title.directors, *title.writers, *title.composers, *title.cinematographers)
    return _ids("person", (*(member.name for member in title.cast), *crew))


_TRAITS: dict[str, Callable[[WorldTitle], Iterable[str]]] = {
    "with_genres": lambda title: [str(genre_id(name)) for name in title.genres],
    "with_keywords": lambda title: _ids("keyword", title.keywords),
    "with_people": _people,
    "with_original_language": lambda title: [title.language or "en"],
}
_DAYS = {"movie": "primary_release_date", "series": "first_air_date"}
_ORDERS: dict[str, Callable[[WorldTitle], float]] = {
    "popularity.desc": lambda title: title.popularity or 0.0,
    "vote_count.desc": lambda title: title.vote_count or 0,
}


def parameters(media_type: str) -> tuple[str, ...]:
    """Return the names of the parameters that are modelled."""
    traits = [name for name in _TRAITS if media_type == "movie" or name != "with_people"]
    day = _DAYS[media_type]
    return (
        "language", "page", "sort_by", "include_adult", "vote_count.gte", f"{day}.gte", f"{day}.lte", *traits,
    )  # fmt: skip


class Discovery:
    """``/discover`` over an index of titles. A new index needs a new object."""

    def __init__(self, index: TitleIndex) -> None:
        self._index = index
        self._by_trait: dict[tuple[str, str], dict[str, set[str]]] = {}

    def find(self, media_type: str, query: Query) -> list[WorldTitle]:
        """Return the titles that pass all filters, in the requested order. Raises Unmodelled."""
        found = self._index.popular(media_type)
        if query.get("include_adult") != "true":
            found = [title for title in found if not title.adult]
        for name in _TRAITS:
            for value in query.split(name):
                if "|" in value:
                    raise Unmodelled(f"{name}={value}")
                holders = self._holders(media_type, name, value)
                found = [title for title in found if title.key in holders]
        if least := query.get("vote_count.gte"):
            found = [title for title in found if (title.vote_count or 0) >= int(least)]
        if first := query.get(f"{_DAYS[media_type]}.gte"):
            found = [title for title in found if (title.release_date or "") >= first]
        if last := query.get(f"{_DAYS[media_type]}.lte"):
            found = [title for title in found if title.release_date and title.release_date <= last]
        order = query.get("sort_by") or "popularity.desc"
        if order not in _ORDERS:
            raise Unmodelled(f"sort_by={order}")
        # Of equal titles, the more popular one comes first.
        return sorted(found, key=_ORDERS[order], reverse=True)

    def _holders(self, media_type: str, name: str, value: str) -> set[str]:
        """Return the keys of the titles with a trait."""
        holders = self._by_trait.get((media_type, name))
        if holders is None:
            holders = self._by_trait[media_type, name] = {}
            for title in self._index.popular(media_type):
                for each in _TRAITS[name](title):
                    holders.setdefault(each, set()).add(title.key)
        return holders.get(value, set())


_KEPT_ANSWERS = 2_048
_MESSAGES = {
    7: "Invalid API key: You must be granted a valid key.",
    9: "Service offline: This service is temporarily offline, try again later.",
    11: "Internal error: Something went wrong, contact TMDb.",
    22: "Invalid page: Pages start at 1 and max at 500. They are expected to be an integer.",
    24: "Your request to the backend server timed out. Try again.",
    25: "Your request count is over the allowed limit.",
    34: "The resource you requested could not be found.",
    43: "Couldn't connect to the backend server.",
    5: "Invalid parameters: Your request parameters are incorrect.",
}
_ABOUT_ONE = ("/movie/", "/tv/", "/find/")
_CODE_OF_STATUS = {401: 7, 404: 34, 429: 25, 500: 11, 502: 43, 503: 9, 504: 24}
_FIRST_SEGMENTS = {
    "account", "authentication", "certification", "collection", "company", "configuration", "credit", "discover",
    "find", "genre", "guest_session", "keyword", "list", "movie", "network", "person", "review", "search", "trending",
    "tv", "watch",
}  # fmt: skip
_SEARCHED = ("query", "language", "page", "include_adult")
_LEAST_VOTES = 200
# Share of titles whose overview and tagline exist only in English.
_UNTRANSLATED_SHARE = 0.3
_SIZES = {
    "backdrop_sizes": ["w300", "w780", "w1280", "original"],
    "logo_sizes": ["w45", "w92", "w154", "w185", "w300", "w500", "original"],
    "poster_sizes": ["w92", "w154", "w185", "w342", "w500", "w780", "original"],
    "profile_sizes": ["w45", "w185", "h632", "original"],
    "still_sizes": ["w92", "w185", "w300", "original"],
}


def error_response(status: int, code: int) -> Response:
    """Return an error in TMDb's form."""
    message = _MESSAGES.get(code, "Something went wrong.")
    return JSONResponse({"success": False, "status_code": code, "status_message": message}, status)


class TmdbService(StandIn):
    """TMDb over a state."""

    name = "tmdb"
    parameters = ("api_key",)

    def __init__(self, state: SimulatorState) -> None:
        self._bearer = f"Bearer {state.settings.tmdb_key}"
        self._index: TitleIndex | None = None
        self._discovery: Discovery | None = None
        self._index_version = -1
        self._answers: OrderedDict[tuple[str, str], Response] = OrderedDict()
        details, part = ("append_to_response", "include_video_language", "language"), ("language", "page")
        operations = (
            ("/configuration", self._configuration, ()),
            ("/search/movie", self._search, (*_SEARCHED, "primary_release_year")),
            ("/search/tv", self._search, (*_SEARCHED, "first_air_date_year")),
            ("/discover/movie", self._discover, parameters("movie")),
            ("/discover/tv", self._discover, parameters("series")),
            ("/movie/popular", self._popular, part),
            ("/tv/popular", self._popular, part),
            ("/movie/top_rated", self._top_rated, part),
            ("/tv/top_rated", self._top_rated, part),
            ("/trending/movie/{time_window}", self._trending, part),
            ("/trending/tv/{time_window}", self._trending, part),
            ("/movie/{tmdb_id}", self._details, details),
            ("/tv/{tmdb_id}", self._details, details),
            ("/find/{external_id}", self._find, ("external_source",)),
        )
        super().__init__(state, [Operation("GET", path, handler, names) for path, handler, names in operations])

    def refuse(self, request: Request, operation: Operation | None) -> Response | None:
        """Refuse requests beyond the limit, and those without the key."""
        if not self._state.tmdb_rate.admit():
            # As often from the real service, without a Retry-After.
            return error_response(429, 25)
        return None if self._authorized(request) else error_response(401, 7)

    def unknown(self, request: Request) -> Response:
        """Answer 404 only where the real service has nothing either."""
        if request.path.split("/")[1] in _FIRST_SEGMENTS:
            raise Unmodelled(f"{request.method} {request.path}")
        return error_response(404, 34)

    def subjects(self, request: Request) -> Sequence[str]:
        """Return the path of a single movie, series or the like."""
        is_list = request.path.endswith(("/popular", "/top_rated"))
        return (request.path[1:],) if request.path.startswith(_ABOUT_ONE) and not is_list else ()

    def error(self, status: int) -> Response:
        """Return an error of this status in TMDb's form."""
        return error_response(status, _CODE_OF_STATUS.get(status, 11))

    def _authorized(self, request: Request) -> bool:
        given = request.headers.get("authorization")
        if given is not None:
            return given == self._bearer
        return request.query.get("api_key") == self._state.settings.tmdb_key

    @property
    def _today(self) -> date:
        return self._state.today.astimezone(UTC).date()

    @property
    def _titles(self) -> TitleIndex:
        if self._index is None or self._index_version != self._state.titles_version:
            moved = self._state.settings.tmdb_moved
            titles = self._state.titles.values()
            self._index = TitleIndex((_moved(title, moved) for title in titles) if moved else titles, self._today)
            self._discovery = None
            self._index_version = self._state.titles_version
            self._answers.clear()
        return self._index

    def _details(self, request: Request, tmdb_id: str) -> Response:
        titles = self._titles
        key = (request.path, request.query_string)
        kept = self._answers.get(key)
        if kept is not None:
            return kept
        if not tmdb_id.isdecimal():
            raise Unmodelled(f"GET {request.path}")
        title = (self._titles.movies if request.path.startswith("/movie/") else self._titles.series).get(int(tmdb_id))
        if title is None:
            return error_response(404, 34)
        appended = request.query.split("append_to_response")
        is_movie = title.media_type == "movie"
        content = payloads.movie(title) if is_movie else payloads.series(title, self._today)
        self._translate(content, title, request.query.get("language"))
        parts = payloads.APPENDABLE[title.media_type]
        for name in appended:
            if name not in parts:
                # The real service ignores unknown names, so a misspelt one would go unnoticed.
                raise Unmodelled(f"append_to_response={name} of a {title.media_type}")
            content[name] = parts[name](title, titles)
        if "videos" in content:
            # Those in the language of the texts, unless others are named.
            spoken = request.query.split("include_video_language") or [(request.query.get("language") or "en")[:2]]
            found = content["videos"]["results"]
            content["videos"]["results"] = [video for video in found if video["iso_639_1"] in spoken]
        answer = JSONResponse(content, headers=_CACHED)
        self._answers[key] = answer
        if len(self._answers) > _KEPT_ANSWERS:
            self._answers.popitem(last=False)
        return answer

    def _translate(self, content: dict[str, Any], title: WorldTitle, language: str | None) -> None:
        code = (language or "en").partition("-")[0]
        if code != "en":
            is_missing = share(title.key, f"tmdb|{code}") < _UNTRANSLATED_SHARE
            for name in ("overview", "tagline"):
                content[name] = "" if is_missing or not content[name] else f"({code}) {content[name]}"

    def _find(self, request: Request, external_id: str) -> Response:
        source = request.query.get("external_source")
        if source is None:
            return error_response(422, 5)
        if source not in ("imdb_id", "tvdb_id"):
            raise Unmodelled(f"external_source={source}")
        found: WorldTitle | None = None
        episode = self._episodes_by_imdb().get(external_id) if source == "imdb_id" else None
        if source == "imdb_id":
            found = self._titles.by_imdb.get(external_id)
        elif external_id.isdecimal():
            found = self._titles.by_tvdb.get(int(external_id))
        results: dict[str, Sequence[object]] = {
            f"{kind}_results": [] for kind in ("movie", "person", "tv", "tv_episode", "tv_season")
        }
        if found is not None:
            results["movie_results" if found.media_type == "movie" else "tv_results"] = [payloads.list_item(found)]
        if episode is not None:
            results["tv_episode_results"] = [payloads.found_episode(*episode)]
        return JSONResponse(results)

    def _episodes_by_imdb(self) -> dict[str, tuple[WorldTitle, int, int]]:
        """Return the episodes of all series by their ids at IMDb, which begin with that of the series here."""
        return {
            f"{title.imdb_id}{season}{number:02}": (title, season, number)
            for title in self._titles.popular("series")
            if title.imdb_id is not None
            for season, count in enumerate(title.episodes_per_season, start=1)
            for number in range(1, count + 1)
        }

    def _search(self, request: Request) -> Response:
        """Answer with the titles whose name holds all words of the query, the most popular first."""
        words = (request.query.get("query") or "").casefold().split()
        if not words:
            return error_response(422, 5)
        year = request.query.get("primary_release_year") or request.query.get("first_air_date_year") or ""
        found = [
            title
            for title in self._titles.popular(_media_type(request))
            if all(word in title.title.casefold() for word in words)
            and (title.release_date or "").startswith(year)
            and (not title.adult or request.query.get("include_adult") == "true")
        ]
        return self._page_of(request, found, entry=payloads.found_by_name)

    def _configuration(self, request: Request) -> Response:
        # The stand-in has its own image host, at the address of this request.
        base = f"http://{request.headers.get('host', '127.0.0.1')}{TMDB_IMAGES_PATH}/t/p/"
        images = {"base_url": base, "secure_base_url": base, **_SIZES}
        return JSONResponse({"images": images, "change_keys": ["overview", "title"]})

    def _popular(self, request: Request) -> Response:
        return self._page_of(request, self._titles.popular(_media_type(request)))

    def _top_rated(self, request: Request) -> Response:
        known = [one for one in self._titles.popular(_media_type(request)) if (one.vote_count or 0) >= _LEAST_VOTES]
        return self._page_of(request, sorted(known, key=lambda title: -(title.vote_average or 0.0)))

    def _trending(self, request: Request, time_window: str) -> Response:
        if time_window != "week":
            raise Unmodelled(f"GET {request.path}")

        def interest(title: WorldTitle) -> float:
            return -(title.popularity or 0.0) * share(title.key, "trending|week")

        found = sorted(self._titles.popular(_media_type(request)), key=interest)
        return self._page_of(request, found, entry=payloads.list_item)

    def _page_of(
        self,
        request: Request,
        found: Sequence[WorldTitle],
        *,
        entry: Callable[[WorldTitle], dict[str, Any]] = payloads.discovered,
    ) -> Response:
        page = _page(request)
        if page is None:
            return error_response(400, 22)
        return JSONResponse(payloads.result_page(found, page, entry=entry), headers=_CACHED)

    def _discover(self, request: Request) -> Response:
        page = _page(request)
        if page is None:
            return error_response(400, 22)
        titles = self._titles
        if self._discovery is None:
            self._discovery = Discovery(titles)
        found = self._discovery.find(_media_type(request), request.query)
        return JSONResponse(payloads.result_page(found, page, entry=payloads.discovered, repeats=True))


def _media_type(request: Request) -> str:
    return "movie" if "/movie" in request.path else "series"


def _moved(title: WorldTitle, moved: Mapping[int, int]) -> WorldTitle:
    """Return a title with its current TMDb id."""
    return title if title.tmdb_id is None else replace(title, tmdb_id=moved.get(title.tmdb_id, title.tmdb_id))


_CACHED = {"Cache-Control": "public, max-age=21600"}


def _page(request: Request) -> int | None:
    page = request.query.get("page") or "1"
    return int(page) if page.isdecimal() and 1 <= int(page) <= 500 else None


_PICTURE_SIZE = re.compile(r"w\d+|h\d+|original")


class TmdbImageService(StandIn):
    """TMDb's image host, without key or limit. The ``/t/p`` before the size is optional."""

    name = "tmdb_images"

    def __init__(self, state: SimulatorState) -> None:
        self._names: set[str] = set()
        self._version = -1
        super().__init__(
            state, [Operation("GET", path, self._picture) for path in ("/t/p/{size}/{name}", "/{size}/{name}")]
        )

    def refuse(self, request: Request, operation: Operation | None) -> None:
        """Note the arrival; everything is admitted."""
        self._state.rates["tmdb_images"].arrive()

    def unknown(self, request: Request) -> Response:
        """Answer 404: the host has nothing but pictures."""
        return self.error(404)

    def subjects(self, request: Request) -> Sequence[str]:
        """Return the picture, with its size."""
        return (request.path.removeprefix("/t/p"),)

    def error(self, status: int) -> Response:
        """Return an error page."""
        return html_page(f"Error {status}", status)

    def _is_known(self, name: str) -> bool:
        if self._version != self._state.titles_version:
            self._names = set(picture_names(self._state.titles.values()))
            self._version = self._state.titles_version
        return name in self._names

    def _picture(self, request: Request, size: str, name: str) -> Response:
        stem, _, suffix = name.rpartition(".")
        # The real host also returns an SVG as a PNG: developer.themoviedb.org/docs/image-basics.
        is_known = self._is_known(name) or (suffix == "png" and self._is_known(f"{stem}.svg"))
        if not _PICTURE_SIZE.fullmatch(size) or not is_known:
            return self.error(404)
        if suffix == "svg":
            return Response(svg(stem), headers=_CACHED, media_type="image/svg+xml")
        if suffix == "png":
            return Response(png(stem, 120, 48), headers=_CACHED, media_type="image/png")
        return Response(jpeg(stem), headers=_CACHED, media_type="image/jpeg")
