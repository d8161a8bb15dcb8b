"""The TMDb stand-in: keys, the limit, and what each endpoint answers.

It plays version 3 as of June 2026 (``specs/tmdb-api.2026-06.json``). Beyond the specification:

- ``credits`` of a series are those of its latest season, ``aggregate_credits`` those of all
  (developer.themoviedb.org, tv-series-aggregate-credits; jellyfin/jellyfin pull request 17716).
- Merged and deleted ids are 404, while ``/find`` leads from the IMDb or TVDb id to the new one.
- Where nobody translated it, the overview is "" in languages other than English; a translated one begins with the
  language's code here. Titles, and the overviews in lists, stay as they are.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any

from aperture_dagster.simulator.asgi import (
    UNMODELLED,
    Headers,
    Request,
    Response,
    Route,
    Router,
    Unmodelled,
    encode,
    html_response,
    json_response,
)
from aperture_dagster.simulator.images import jpeg, png, svg
from aperture_dagster.simulator.opinions import share
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.tmdb import payloads
from aperture_dagster.simulator.tmdb.ids import genre_id, logo_path, picture_names
from aperture_dagster.simulator.tmdb.library import TitleIndex
from aperture_dagster.simulator.world import WorldTitle

_MOST_APPENDED = 20
_KEPT_ANSWERS = 2_048
_MESSAGES = {
    6: "Invalid id: The pre-requisite id is invalid or not found.",
    7: "Invalid API key: You must be granted a valid key.",
    9: "Service offline: This service is temporarily offline, try again later.",
    11: "Internal error: Something went wrong, contact TMDb.",
    22: "Invalid page: Pages start at 1 and max at 500. They are expected to be an integer.",
    24: "Your request to the backend server timed out. Try again.",
    25: "Your request count is over the allowed limit.",
    27: "Too many append to response objects: The maximum number of remote calls is 20.",
    34: "The resource you requested could not be found.",
    43: "Couldn't connect to the backend server.",
    5: "Invalid parameters: Your request parameters are incorrect.",
}
_ABOUT_ONE = ("/movie/", "/tv/", "/collection/", "/find/", "/company/", "/network/")
_CODE_OF_STATUS = {401: 7, 404: 34, 429: 25, 500: 11, 502: 43, 503: 9, 504: 24}
_FIRST_SEGMENTS = {
    "account", "authentication", "certification", "collection", "company", "configuration", "credit", "discover",
    "find", "genre", "guest_session", "keyword", "list", "movie", "network", "person", "review", "search", "trending",
    "tv", "watch",
}  # fmt: skip
_LISTS_OF_FILMS = ("changes", "latest", "now_playing", "popular", "top_rated", "upcoming")
_LISTS_OF_SERIES = ("airing_today", "changes", "latest", "on_the_air", "popular", "top_rated")
_FILTERS = ("with_genres", "vote_count.gte", "vote_average.gte", "sort_by", "page", "language")
_SIZES = {
    "backdrop_sizes": ["w300", "w780", "w1280", "original"],
    "logo_sizes": ["w45", "w92", "w154", "w185", "w300", "w500", "original"],
    "poster_sizes": ["w92", "w154", "w185", "w342", "w500", "w780", "original"],
    "profile_sizes": ["w45", "w185", "h632", "original"],
    "still_sizes": ["w92", "w185", "w300", "original"],
}
IMAGES_MOUNT = "/tmdb-images"


def error_response(status: int, code: int, headers: Headers = ()) -> Response:
    """An error in TMDb's form."""
    message = _MESSAGES.get(code, "Something went wrong.")
    return json_response({"success": False, "status_code": code, "status_message": message}, status, headers)


class TmdbService:
    """TMDb over a state."""

    name = "tmdb"

    def __init__(self, state: SimulatorState) -> None:
        self._state = state
        self._bearer = f"Bearer {state.settings.tmdb_key}".encode()
        self._index: TitleIndex | None = None
        self._index_version = -1
        self._answers: OrderedDict[tuple[str, str], Response] = OrderedDict()
        self.router = Router(parameters=["api_key"])
        self.router.leave_out("GET", *(f"/movie/{name}" for name in _LISTS_OF_FILMS))
        self.router.leave_out("GET", *(f"/tv/{name}" for name in _LISTS_OF_SERIES))
        details, part = ("append_to_response", "language", "include_image_language"), ("language", "page")
        for path, handler, parameters in (
            ("/configuration", self._configuration, ()),
            ("/genre/movie/list", self._genres, ("language",)),
            ("/genre/tv/list", self._genres, ("language",)),
            ("/discover/movie", self._discover, (*_FILTERS, "primary_release_date.gte", "primary_release_date.lte")),
            ("/discover/tv", self._discover, (*_FILTERS, "first_air_date.gte", "first_air_date.lte")),
            ("/movie/{id}", self._details, details),
            ("/tv/{id}", self._details, details),
            ("/find/{external_id}", self._find, ("external_source",)),
            ("/collection/{id}", self._collection, ("language",)),
            ("/company/{id}", self._company, ()),
            ("/network/{id}", self._network, ()),
            ("/tv/{id}/season/{number}", self._season, ()),
            ("/movie/{id}/watch/providers", lambda asked, number: self._part(asked, number, "watch/providers"), ()),
            ("/tv/{id}/watch/providers", lambda asked, number: self._part(asked, number, "watch/providers"), ()),
            ("/movie/{id}/{part}", self._part, part),
            ("/tv/{id}/{part}", self._part, part),
        ):
            self.router.add("GET", path, handler, parameters)

    def find(self, request: Request) -> Route:
        """The route of a request; refused already without a key or beyond the limit."""
        route = self.router.find(request.method, request.path)
        endpoint = route.endpoint if route else "unknown"
        if not self._state.tmdb_rate.admit():
            return Route(endpoint, lambda *_: self._too_many())
        if not self._authorized(request):
            return Route(endpoint, lambda *_: error_response(401, 7))
        if route is None:
            is_real = request.path.split("/")[1] in _FIRST_SEGMENTS
            return UNMODELLED if is_real else Route(endpoint, lambda *_: error_response(404, 34))
        return route

    def subjects(self, request: Request) -> Sequence[str]:
        """What is asked about, as the path names it."""
        return (request.path[1:],) if request.path.startswith(_ABOUT_ONE) else ()

    def error(self, status: int) -> Response:
        """An error of this status in TMDb's words."""
        return error_response(status, _CODE_OF_STATUS.get(status, 11))

    def _too_many(self) -> Response:
        seconds = self._state.settings.tmdb_retry_after
        return error_response(429, 25, () if seconds is None else (("Retry-After", str(seconds)),))

    def _authorized(self, request: Request) -> bool:
        for name, value in request.raw_headers:
            if name == b"authorization":
                return value == self._bearer
        return request.query.get("api_key") == self._state.settings.tmdb_key

    @property
    def _titles(self) -> TitleIndex:
        if self._index is None or self._index_version != self._state.titles_version:
            moved = self._state.settings.tmdb_moved
            titles = self._state.titles.values()
            self._index = TitleIndex(_moved(title, moved) for title in titles) if moved else TitleIndex(titles)
            self._index_version = self._state.titles_version
            self._answers.clear()
        return self._index

    def _title(self, path: str, number: str) -> WorldTitle | None:
        known = self._titles.movies if path.startswith("/movie/") else self._titles.series
        return known.get(int(number)) if number.isascii() and number.isdecimal() else None

    def _details(self, request: Request, number: str) -> Response:
        titles = self._titles
        key = (request.path, request.query_string)
        kept = self._answers.get(key)
        if kept is not None:
            return kept
        if not re.match(r"\d+", number):
            return error_response(404, 6)
        # "603-the-matrix" is a valid way to name 603.
        title = self._title(request.path, re.split(r"\D", number, maxsplit=1)[0])
        if title is None:
            return error_response(404, 34)
        appended = request.query.split("append_to_response")
        if len(appended) > _MOST_APPENDED:
            return error_response(400, 27)
        is_movie = title.media_type == "movie"
        content = (
            payloads.movie(title) if is_movie else payloads.series(title, self._state.today.astimezone(UTC).date())
        )
        self._translate(content, title, request.query.get("language"))
        parts = payloads.APPENDABLE[title.media_type]
        for name in appended:
            if name not in parts:
                # The real one ignores what it does not know, so a misspelt name would never be noticed.
                raise Unmodelled(f"append_to_response={name} of a {title.media_type}")
            content[name] = parts[name](title, titles)
        language = (request.query.get("language") or "").partition("-")[0]
        shown = request.query.split("include_image_language") or ([language] if language else [])
        if shown and "images" in content:
            content["images"] = {
                kind: [image for image in images if (image["iso_639_1"] or "null") in shown]
                for kind, images in content["images"].items()
            }
        answer = Response(200, encode(content), headers=_CACHED)
        self._answers[key] = answer
        if len(self._answers) > _KEPT_ANSWERS:
            self._answers.popitem(last=False)
        return answer

    def _translate(self, content: dict[str, Any], title: WorldTitle, language: str | None) -> None:
        code = (language or "en").partition("-")[0]
        if code != "en":
            is_missing = share(title.key, f"tmdb|{code}") < self._state.settings.tmdb_untranslated_share
            for name in ("overview", "tagline"):
                content[name] = "" if is_missing or not content[name] else f"({code}) {content[name]}"

    def _part(self, request: Request, number: str, part: str) -> Response:
        title = self._title(request.path, number)
        parts = payloads.APPENDABLE["movie" if request.path.startswith("/movie/") else "series"]
        if part not in parts:
            raise Unmodelled(f"GET {request.path}")
        if title is None:
            return error_response(404, 34)
        if part in ("recommendations", "similar"):
            page = _page(request)
            if page is None:
                return error_response(400, 22)
            listed = payloads.recommendations if part == "recommendations" else payloads.similar
            return json_response(listed(title, self._titles, page))
        return json_response({"id": title.tmdb_id, **parts[part](title, self._titles)})

    def _season(self, request: Request, number: str, season: str) -> Response:
        title = self._title(request.path, number)
        content = payloads.season(title, int(season)) if title is not None and season.isdecimal() else None
        return error_response(404, 34) if content is None else json_response(content)

    def _find(self, request: Request, external_id: str) -> Response:
        source = request.query.get("external_source")
        if source is None:
            return error_response(422, 5)
        if source not in ("imdb_id", "tvdb_id"):
            raise Unmodelled(f"external_source={source}")
        found: WorldTitle | None = None
        if source == "imdb_id":
            found = self._titles.by_imdb.get(external_id)
        elif external_id.isdecimal():
            found = self._titles.by_tvdb.get(int(external_id))
        results: dict[str, Sequence[object]] = {
            f"{kind}_results": [] for kind in ("movie", "person", "tv", "tv_episode", "tv_season")
        }
        if found is not None:
            results["movie_results" if found.media_type == "movie" else "tv_results"] = [payloads.list_item(found)]
        return json_response(results)

    def _collection(self, request: Request, number: str) -> Response:
        parts = self._titles.collections.get(int(number), []) if number.isdecimal() else []
        if not parts:
            return error_response(404, 34)
        stub = payloads.collection_stub(parts[0]) or {}
        content = stub | {
            "original_name": stub.get("name"),
            "original_language": parts[0].language or "en",
            "overview": "",
            "parts": [payloads.collection_part(title) for title in parts],
        }
        return json_response(content, headers=_CACHED)

    def _company(self, request: Request, number: str) -> Response:
        return self._organisation(number, "company", self._titles.companies)

    def _network(self, request: Request, number: str) -> Response:
        return self._organisation(number, "network", self._titles.networks)

    def _organisation(self, number: str, kind: str, known: dict[int, str]) -> Response:
        name = known.get(int(number)) if number.isdecimal() else None
        if name is None:
            return error_response(404, 34)
        content = {
            "headquarters": "",
            "homepage": "",
            "id": int(number),
            "logo_path": logo_path(kind, name),
            "name": name,
        }
        content["origin_country"] = ""
        if kind == "company":
            content |= {"description": "", "parent_company": None}
        return json_response(content, headers=_CACHED)

    def _configuration(self, request: Request) -> Response:
        # The stand-in has its own image host, at the address that it was asked under.
        base = f"http://{request.headers.get('host', '127.0.0.1')}{IMAGES_MOUNT}/t/p/"
        images = {"base_url": base, "secure_base_url": base, **_SIZES}
        return json_response({"images": images, "change_keys": ["overview", "title"]})

    def _genres(self, request: Request) -> Response:
        titles = self._titles.popular("movie" if "/movie/" in request.path else "series")
        names = sorted({name for title in titles for name in title.genres})
        return json_response({"genres": [{"id": genre_id(name), "name": name} for name in names]})

    def _discover(self, request: Request) -> Response:
        page = _page(request)
        if page is None:
            return error_response(400, 22)
        query = request.query
        is_movie = request.path.endswith("/movie")
        found = self._titles.popular("movie" if is_movie else "series")
        genres = query.get("with_genres")
        if genres:
            together = "|" not in genres
            wanted = {int(part) for part in re.split(r"[,|]", genres) if part.isdecimal()}
            found = [title for title in found if _has_genres(set(self._titles.genre_ids(title)), wanted, together)]
        votes, average = query.get("vote_count.gte"), query.get("vote_average.gte")
        if votes:
            found = [title for title in found if (title.vote_count or 0) >= float(votes)]
        if average:
            found = [title for title in found if (title.vote_average or 0.0) >= float(average)]
        day = "primary_release_date" if is_movie else "first_air_date"
        if first := query.get(f"{day}.gte"):
            found = [title for title in found if (title.release_date or "") >= first]
        if last := query.get(f"{day}.lte"):
            found = [title for title in found if title.release_date and title.release_date <= last]
        order = query.get("sort_by") or "popularity.desc"
        if order not in ("popularity.desc", "vote_average.desc"):
            raise Unmodelled(f"sort_by={order}")
        if order == "vote_average.desc":
            found = sorted(found, key=lambda title: -(title.vote_average or 0.0))
        return json_response(payloads.result_page(found, page, entry=payloads.discovered))


def _moved(title: WorldTitle, moved: Mapping[int, int]) -> WorldTitle:
    """A title under the id that TMDb has it under now."""
    return title if title.tmdb_id is None else replace(title, tmdb_id=moved.get(title.tmdb_id, title.tmdb_id))


def _has_genres(ids: set[int], wanted: set[int], together: bool) -> bool:
    return wanted <= ids if together else bool(wanted & ids)


_CACHED = (("Cache-Control", "public, max-age=21600"),)


def _page(request: Request) -> int | None:
    page = request.query.get("page") or "1"
    return int(page) if page.isdecimal() and 1 <= int(page) <= 500 else None


_PICTURE = re.compile(r"(?:/t/p)?/(w\d+|h\d+|original)/([\w-]+)\.(png|jpg|svg)")


class TmdbImageService:
    """TMDb's image host: the pictures that its API names. No key, no limit. The ``/t/p`` before them may be missing."""

    name = "tmdb_images"

    def __init__(self, state: SimulatorState) -> None:
        self._state = state
        self._names: set[str] = set()
        self._version = -1

    def find(self, request: Request) -> Route:
        """The route of a request."""
        self._state.rates["tmdb_images"].arrive()
        match = _PICTURE.fullmatch(request.path)
        if match is None or request.method != "GET":
            return Route("unknown", lambda _: self.error(404))
        return Route(f"GET /t/p/{{size}}/{{name}}.{match[3]}", self._picture, (match[2], match[3]), frozenset())

    def subjects(self, request: Request) -> Sequence[str]:
        """The picture that is asked for, with its size."""
        return (request.path.removeprefix("/t/p"),)

    def error(self, status: int) -> Response:
        """An error page of the image host."""
        return html_response(f"Error {status}", status)

    def _is_known(self, name: str) -> bool:
        if self._version != self._state.titles_version:
            self._names = set(picture_names(self._state.titles.values()))
            self._version = self._state.titles_version
        return name in self._names

    def _picture(self, request: Request, name: str, kind: str) -> Response:
        # The real host also returns an SVG as a PNG: developer.themoviedb.org/docs/image-basics.
        if not (self._is_known(f"{name}.{kind}") or (kind == "png" and self._is_known(f"{name}.svg"))):
            return self.error(404)
        if kind == "svg":
            return Response(200, svg(name), "image/svg+xml", _CACHED)
        if kind == "png":
            return Response(200, png(name, 120, 48), "image/png", _CACHED)
        return Response(200, jpeg(name), "image/jpeg", _CACHED)
