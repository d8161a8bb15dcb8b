"""A stand-in for MDBList."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.responses import HTMLResponse, Response

from aperture_dagster.simulator.catalogue import stable_number
from aperture_dagster.simulator.opinions import SCALES, Opinion, opinions, share
from aperture_dagster.simulator.responses import JSONResponse, html_page
from aperture_dagster.simulator.service import Handler, Operation, Request, StandIn, Unmodelled, refuse_other_fields
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.tmdb.titles import named_id
from aperture_dagster.simulator.trakt.book import trakt_id
from aperture_dagster.simulator.world import WorldTitle

_STREAMS = {8: "Netflix", 9: "Amazon Prime Video", 337: "Disney Plus", 1899: "Max", 350: "Apple TV Plus", 11: "MUBI"}
_KEYWORDS = (
    "anti-hero", "based-on-novel", "based-on-true-story", "betrayal", "blockbuster", "coming-of-age", "cult-film",
    "dark-comedy", "dystopia", "ensemble-cast", "female-protagonist", "friendship", "heist", "nonlinear-timeline",
    "plot-twist", "revenge", "road-trip", "satire", "slow-burn", "small-town", "surprise-ending", "time-travel",
)  # fmt: skip


def ids_of(title: WorldTitle) -> dict[str, str | int | None]:
    """Return a title's ids by provider, or null."""
    return {
        "imdb": title.imdb_id or None,
        "trakt": trakt_id(title.key),
        "tmdb": title.tmdb_id,
        "tvdb": title.tvdb_id,
        "mal": None,
        "mdblist": f"{stable_number(f'{title.key}|mdblist'):016x}"[:10],
    }


def title_payload(title: WorldTitle, *, with_keywords: bool) -> dict[str, Any]:
    """Return a film or series as an entry of a batch."""
    ratings, scores = opinions(title), _scores(title)
    content: dict[str, Any] = {
        "title": title.title,
        "year": title.year,
        "released": title.release_date or None,
        "description": title.overview,
        "runtime": title.runtime_minutes,
        "score": _combined(scores),
        "ids": ids_of(title),
        "type": "movie" if title.media_type == "movie" else "show",
        "ratings": _ratings(title, ratings, scores),
        "streams": _streams(title),
        "language": title.language,
        "certification": title.official_rating,
    }
    if with_keywords:
        content["keywords"] = [{"id": named_id("mdblist keyword", name), "name": name} for name in keywords(title)]
    return content


_SORTS: dict[str, Callable[[int, WorldTitle], Any]] = {
    "rank": lambda rank, title: rank,
    "title": lambda rank, title: title.title,
    "released": lambda rank, title: title.release_date or "",
    "score": lambda rank, title: _combined(_scores(title)) or 0,
    "tmdbpopular": lambda rank, title: title.popularity or 0.0,
}


def list_id(name: str) -> str:
    """Return the number of a list that is called ``user/slug``."""
    return str(1 + stable_number(f"mdblist list|{name}") % 1_000_000)


def sorted_entries(
    ranked: Sequence[tuple[int, WorldTitle]], sort: str | None, order: str | None
) -> list[tuple[int, WorldTitle]] | None:
    """Return the entries of a list (rank and title) in a requested order; None for an order that is not modelled."""
    if sort is None:
        return list(ranked)
    if sort not in _SORTS or order not in (None, "asc", "desc"):
        return None
    return sorted(ranked, key=lambda entry: _SORTS[sort](*entry), reverse=order == "desc")


def list_entry(rank: int, title: WorldTitle) -> dict[str, Any]:
    """Return a title as an entry of a list, where ``id`` is TMDb's."""
    ids = ids_of(title)
    return {
        "id": title.tmdb_id,
        "rank": rank,
        "adult": 0,
        "title": title.title,
        "imdb_id": ids["imdb"],
        "tvdb_id": ids["tvdb"],
        "language": title.language,
        "mediatype": "movie" if title.media_type == "movie" else "show",
        "release_year": title.year,
        "spoken_language": title.language,
        "ids": ids,
    }


def keywords(title: WorldTitle) -> list[str]:
    """Return most of TMDb's keywords, some in another case, and a few of MDBList's own."""
    names: list[str] = []
    for name in title.keywords:
        form = stable_number(f"{title.key}|{name}") % 6
        if form > 0:
            names.append({1: name.title(), 2: name.upper()}.get(form, name))
    number = stable_number(f"{title.key}|own keywords")
    own = {_KEYWORDS[(number >> (8 * place)) % len(_KEYWORDS)] for place in range(number % 4)}
    return names + sorted(own)


def _scores(title: WorldTitle) -> dict[str, int]:
    """Return the ratings of all sites out of 100."""
    return {site: _score(site, opinion) for site, opinion in opinions(title).items()}


def _score(site: str, opinion: Opinion) -> int:
    """Return a rating out of 100."""
    return round(100 * opinion.value / SCALES[site])


def _combined(scores: dict[str, int]) -> int | None:
    """Return MDBList's own score: the mean of all sites, or 0 with fewer than two."""
    if not scores:
        return None
    return round(sum(scores.values()) / len(scores)) if len(scores) > 1 else 0


def _ratings(title: WorldTitle, opinions_by_site: dict[str, Opinion], scores: dict[str, int]) -> list[dict[str, Any]]:
    ratings: list[dict[str, Any]] = []
    for site in SCALES:
        opinion = opinions_by_site.get(site)
        form = stable_number(f"{title.key}|{site}|form")
        name = ("popcorn", "popcorn", "tomatoesaudience", "audience")[form % 4] if site == "popcorn" else site
        rating: dict[str, Any] = {"source": name, "value": None, "score": None, "votes": None}
        rating |= {"popular": None, "url": None}
        if opinion is None:
            # Left out, null, or 0.
            if form % 3 > 0:
                ratings.append(rating | ({"value": 0, "score": 0} if form % 3 == 1 else {}))
            continue
        value = round(2 * opinion.value, 1) if site == "letterboxd" else opinion.value
        value = value if value % 1 else int(value)
        rating["value"] = str(value) if form % 10 == 0 else value
        rating["score"] = scores[site]
        rating["votes"] = opinion.votes
        if site == "imdb":
            rating |= {"popular": 1 + form % 5_000, "url": title.imdb_id}
        ratings.append(rating)
    return ratings


def _streams(title: WorldTitle) -> list[dict[str, Any]]:
    """Return the streaming services; some titles have none."""
    names = [(number, name) for number, name in _STREAMS.items() if share(title.key, f"stream|{number}") < 0.25]
    return [{"id": number, "name": name} for number, name in names[:2]]


# The MDBList stand-in: key, daily quota, batches.
#
# It follows api.mdblist.com as of August 2026. Sources beyond its documentation (``linaspurinis/mdblist.doc``):
#
# - Letterboxd's value is out of 10 in a batch: Kometa-Team/Kometa issue 3533.
# - Batches are documented both with a slash at the end of the path (the service's own OpenAPI, operation
#   ``root_create``, quoted in NuvioMedia/NuvioTV issue 3520) and without (mdblist.doc). A Django service redirects
#   from one to the other, or knows one only: django/django ``django/middleware/common.py``, ``CommonMiddleware``.
# - Pages of lists, their sorts and the headers ``X-Has-More`` and ``X-Total-Items``: mdblist.doc ``docs/api``, and the
#   clients of other programs, such as MunifTanjim/stremthru's.


_PROVIDERS = ("imdb", "tmdb")
_TYPES = {"movie": "movie", "show": "series"}
_PAGING = ("limit", "offset", "sort", "order")
_LARGEST_PAGE = 1000
_LIBRARY_AGENT = re.compile(
    r"\s*$|(python-|httpx|aiohttp|urllib|requests|curl/|wget/|go-http-client|java/|okhttp|node|axios)", re.IGNORECASE
)
# The service has several responses to a wrong key.
_REFUSALS: tuple[tuple[int, dict[str, Any]], ...] = (
    (401, {"error": "Invalid API key!"}),
    (403, {"detail": "Invalid API key"}),
    (403, {"response": False, "error": "API key does not exist"}),
)


class MdblistService(StandIn):
    """MDBList over a state. Requests about titles and pages of lists cost quota, one unit each, whatever their size."""

    name = "mdblist"
    parameters = ("apikey",)

    def __init__(self, state: SimulatorState) -> None:
        self._indexes: dict[tuple[str, str], dict[str, WorldTitle]] = {}
        self._version = -1
        many, items = self._metered(self._many), self._metered(self._list_items)
        operations = [Operation("GET", "/user", self._user)]
        for end in ("", "/"):
            operations += [
                Operation("GET", "/lists/{number}/items" + end, items, _PAGING),
                Operation("GET", "/lists/{user}/{slug}/items" + end, items, _PAGING),
                Operation("POST", "/{provider}/{media_type}" + end, many),
            ]
        super().__init__(state, operations)

    def refuse(self, request: Request, operation: Operation | None) -> Response | None:
        """Refuse default user agents, wrong keys, and batches at a path that it lacks."""
        settings = self._state.settings
        self._state.rates["mdblist"].arrive()
        if _LIBRARY_AGENT.match(request.headers.get("user-agent", "")):
            return html_page("Error 1010: Access denied", 403)
        key = request.query.get("apikey")
        if key != settings.mdblist_key:
            status, content = _REFUSALS[stable_number(key) % len(_REFUSALS) if key else 0]
            return JSONResponse(content, status)
        if request.method == "POST" and operation is not None and not request.path.endswith("/"):
            match settings.mdblist_batch_path:
                case "slash_by_redirect":
                    location = f"{request.path.rpartition('/')[2]}/?{request.query_string}"
                    return HTMLResponse(status_code=301, headers={"Location": location})
                case "slash_only":
                    return html_page("Not Found", 404)
        return None

    def subjects(self, request: Request) -> Sequence[str]:
        """Return the ids of the titles of a batch: IMDb ids as they are, others as ``tmdb/movie/603``."""
        parts = request.path.strip("/").split("/")
        ids = (_batch_ids(request) or []) if request.method == "POST" and len(parts) == 2 else []
        return [str(one) if parts[0] == "imdb" else f"{parts[0]}/{parts[1]}/{one}" for one in ids]

    def error(self, status: int) -> Response:
        """Return MDBList's own error, or the page of a proxy for an internal one."""
        if status == 429:
            return self._too_many(None)
        texts = {401: "Invalid API key!", 403: "Forbidden", 404: "Item not found", 413: "Too many ids"}
        if status < 500:
            return JSONResponse({"error": texts.get(status, "Bad request")}, status)
        return html_page(f"Error {status}", status)

    def knows(self, title: WorldTitle) -> bool:
        """Return whether MDBList knows a title; some obscure ones it does not."""
        return share(title.key, "mdblist") >= self._state.settings.mdblist_unknown_share

    def _metered(self, handler: Handler) -> Handler:
        def metered(request: Request, **named: str) -> Response:
            quota = self._state.quotas["mdblist"]
            response = handler(request, **named) if quota.take() else self._too_many(quota.seconds_left)
            response.headers["X-RateLimit-Limit"] = str(quota.limit)
            response.headers["X-RateLimit-Remaining"] = str(quota.remaining)
            response.headers["X-RateLimit-Reset"] = str(quota.resets_at)
            return response

        return metered

    def _too_many(self, seconds: int | None) -> Response:
        headers = None if seconds is None else {"Retry-After": str(seconds)}
        return JSONResponse({"error": "API rate limit exceeded"}, 429, headers)

    def _user(self, request: Request) -> Response:
        quota = self._state.quotas["mdblist"]
        return JSONResponse(
            {
                "user_id": 4711,
                "username": "household",
                "rate_limit": quota.limit,
                "rate_limit_remaining": quota.remaining,
                "rate_limit_reset": quota.resets_at,
                "api_requests_count": quota.used,
            }
        )

    def _many(self, request: Request, provider: str, media_type: str) -> Response:
        """Return titles by id, in a different order, without unknown ones."""
        if provider not in _PROVIDERS or media_type not in _TYPES:
            raise Unmodelled(f"POST {request.path}")
        ids = _batch_ids(request)
        if ids is None:
            raise Unmodelled("a batch without ids")
        content = request.parse_json()
        refuse_other_fields(content, ("ids", "append_to_response"), "a batch")
        if content.get("append_to_response") not in (None, ["keyword"]):
            raise Unmodelled(f"append_to_response={content['append_to_response']}")
        settings = self._state.settings
        if len(ids) > settings.mdblist_largest_batch:
            text = f"Too many ids: at most {settings.mdblist_largest_batch} per request"
            return JSONResponse({"error": text}, settings.mdblist_batch_refusal)
        found: dict[str, WorldTitle] = {}
        for number in ids:
            title = self._index(provider, _TYPES[media_type]).get(str(number))
            if title is not None:
                found[title.key] = title
        ordered = sorted(found.values(), key=lambda title: stable_number(title.key))
        if ordered == list(found.values()):
            ordered.reverse()
        return JSONResponse([title_payload(title, with_keywords="append_to_response" in content) for title in ordered])

    def _list_items(self, request: Request, number: str = "", user: str = "", slug: str = "") -> Response:
        """Return a page of a list, films and series apart; both count for the page."""
        lists = self._lists
        name = next((name for name in lists if list_id(name) == number), f"{user}/{slug}")
        keys = lists.get(name)
        if keys is None:
            return JSONResponse({"error": "List not found"}, 404)
        limit, offset = (_whole(request.query.get(one), usual) for one, usual in (("limit", 100), ("offset", 0)))
        if limit is None or offset is None or not 1 <= limit <= _LARGEST_PAGE:
            return JSONResponse({"error": "Invalid limit or offset"}, 400)
        ranked = [(rank, title) for rank, key in enumerate(keys, start=1) if (title := self._state.titles.get(key))]
        shown = sorted_entries(ranked, request.query.get("sort"), request.query.get("order"))
        if shown is None:
            raise Unmodelled(f"sort={request.query.get('sort')}")
        page = shown[offset : offset + limit]
        has_more = offset + limit < len(shown)
        content: dict[str, Any] = {
            part: [list_entry(rank, title) for rank, title in page if title.media_type == media_type]
            for part, media_type in (("movies", "movie"), ("shows", "series"))
        }
        content["pagination"] = {"limit": limit, "offset": offset, "total": len(shown), "has_more": has_more}
        headers = {"X-Has-More": str(has_more).lower(), "X-Total-Items": str(len(shown))}
        return JSONResponse(content, headers=headers)

    @property
    def _lists(self) -> Mapping[str, Sequence[str]]:
        """The keys of the titles of each list: those of the settings, or else the best known films and series."""
        given = self._state.settings.mdblist_lists
        if given is not None:
            return given
        known = sorted(self._state.titles.values(), key=lambda title: (-(title.vote_count or 0), title.key))
        return {
            f"household/best-known-{name}": [title.key for title in known if title.media_type == media_type][:200]
            for name, media_type in (("films", "movie"), ("series", "series"))
        }

    def _index(self, provider: str, media_type: str) -> dict[str, WorldTitle]:
        if self._version != self._state.titles_version:
            self._indexes.clear()
            self._version = self._state.titles_version
        index = self._indexes.get((provider, media_type))
        if index is None:
            index = self._indexes[provider, media_type] = {}
            for title in self._state.titles.values():
                number = ids_of(title).get(provider)
                if title.media_type == media_type and number is not None and self.knows(title):
                    index.setdefault(str(number), title)
        return index


def _whole(text: str | None, usual: int) -> int | None:
    """Parse a whole number; None if it is something else."""
    if text is None:
        return usual
    return int(text) if text.isdecimal() else None


def _batch_ids(request: Request) -> list[str | int] | None:
    """Return the ids of a batch; None when the body has no list of ids."""
    content = request.parse_json()
    ids = content.get("ids") if isinstance(content, dict) else None
    if not isinstance(ids, list) or not all(isinstance(one, str | int) and not isinstance(one, bool) for one in ids):
        return None
    return ids
