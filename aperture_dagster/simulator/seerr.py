"""A stand-in for Seerr (and Jellyseerr and Overseerr). `app` plays its API; the other modules hold what it stores."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.seerr_book import (
    MEDIA_KINDS,
    OWNER_ID,
    Media,
    MediaKind,
    MediaRequest,
    MediaStatus,
    Permission,
    Refused,
    SeerrBook,
    SeerrUser,
    Wish,
)
from aperture_dagster.simulator.service import Operation, Request, StandIn, Unmodelled, left_out, refuse_other_fields
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.world import WorldTitle

# The Seerr stand-in: its users, quotas and requests.
#
# It follows seerr-team/seerr 3.1.0 (``server/entity/MediaRequest.ts``, ``server/entity/User.ts``,
# ``server/routes``, ``server/middleware/auth.ts``, ``seerr-api.yml``), also where that hurts:
#
# - With the key alone, a call acts as the owner, whose requests are approved at once. With ``X-API-User``, it acts as
#   that user.
# - A request for a series without seasons is an internal error, and one without a season left is 202.
#
# Titles of the media server are available at once; the real one looks for them every few minutes.


_LOCAL_USER, _JELLYFIN_USER = 2, 3


def user_json(book: SeerrBook, one: SeerrUser, *, whole: bool) -> dict[str, Any]:
    """Return a user; without ``whole``, without what only the user and administrators see."""
    count = sum(request.requested_by is one for request in book.requests.values())
    private = {"email": f"{one.name.lower()}@example.org"} if whole else {}
    return private | {
        "permissions": int(one.permissions),
        "id": one.id,
        "jellyfinUsername": one.name if one.jellyfin_id else None,
        "username": None if one.jellyfin_id else one.name,
        "userType": _JELLYFIN_USER if one.jellyfin_id else _LOCAL_USER,
        "jellyfinUserId": one.jellyfin_id,
        "createdAt": _time(one.created_at),
        "updatedAt": _time(one.created_at),
        "requestCount": count,
        "displayName": one.name,
    }


def media(book: SeerrBook, one: Media, *, with_requests: bool = False) -> dict[str, Any]:
    """Return a film or series as Seerr stores it."""
    seasons = [
        {
            "id": 1000 * one.id + number,
            "seasonNumber": number,
            "status": int(status),
            "status4k": int(MediaStatus.UNKNOWN),
            "createdAt": _time(one.created_at),
            "updatedAt": _time(one.updated_at),
        }
        for number, status in sorted(one.seasons.items())
    ]
    content: dict[str, Any] = {
        "id": one.id,
        "mediaType": one.kind,
        "tmdbId": one.tmdb_id,
        "tvdbId": one.tvdb_id,
        "imdbId": None,
        "status": int(one.status),
        "status4k": int(MediaStatus.UNKNOWN),
        "createdAt": _time(one.created_at),
        "updatedAt": _time(one.updated_at),
    }
    more: dict[str, Any] = {"seasons": seasons}
    if with_requests:
        of_media = [request for request in book.requests.values() if request.media is one]
        more["requests"] = [_request(book, request) | {"media": content} for request in of_media]
    return content | more


def request_json(book: SeerrBook, one: MediaRequest) -> dict[str, Any]:
    """Return a request with its media."""
    return _request(book, one) | {"media": media(book, one.media)}


def _request(book: SeerrBook, one: MediaRequest) -> dict[str, Any]:
    return {
        "id": one.id,
        "status": int(one.status),
        "createdAt": _time(one.created_at),
        "updatedAt": _time(one.updated_at),
        "type": one.media.kind,
        "is4k": False,
        "seasonCount": len(one.seasons),
        "seasons": [
            {
                "id": 1000 * one.id + number,
                "seasonNumber": number,
                "status": int(status),
                "createdAt": _time(one.created_at),
                "updatedAt": _time(one.updated_at),
            }
            for number, status in sorted(one.seasons.items())
        ],
        "requestedBy": user_json(book, one.requested_by, whole=True),
        "modifiedBy": None if one.modified_by is None else user_json(book, one.modified_by, whole=True),
    }


def details(book: SeerrBook, title: WorldTitle) -> dict[str, Any]:
    """Return a title, with ``mediaInfo`` if Seerr has met it; of what TMDb says about it, what decides requests."""
    found = book.media_of(title)
    content: dict[str, Any] = {"id": title.tmdb_id, "externalIds": {"imdbId": title.imdb_id}}
    if title.media_type == "movie":
        content |= {"title": title.title, "releaseDate": title.release_date or ""}
    else:
        numbers = range(0 if title.specials else 1, len(title.episodes_per_season) + 1)
        content |= {
            "name": title.title,
            "firstAirDate": title.release_date or "",
            "numberOfSeasons": len(title.episodes_per_season),
            "seasons": [{"seasonNumber": number} for number in numbers],
        }
    return content | ({} if found is None else {"mediaInfo": media(book, found, with_requests=True)})


def page(results: Sequence[dict[str, Any]], total: int, take: int, skip: int) -> dict[str, Any]:
    """Return a page of results."""
    info = {"pages": -(-total // take), "pageSize": take, "results": total, "page": -(-skip // take) + 1}
    return {"pageInfo": info, "results": list(results)}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_ROOT = "/api/v1"
_PAGES = {"take": 10, "skip": 0}
_FIELDS = ("mediaType", "mediaId", "seasons", "is4k")
_NOT_ALLOWED = {"status": 403, "error": "You do not have permission to access this endpoint"}


class SeerrService(StandIn):
    """Seerr over a state."""

    name = "seerr"

    def __init__(self, state: SimulatorState) -> None:
        self._book = state.seerr
        operations: list[tuple[str, str, Callable[..., Response], tuple[str, ...]]] = [
            ("GET", "/auth/me", self._me, ()),
            ("GET", "/user", self._users, ("take", "skip")),
            ("GET", "/user/{number}/quota", self._quota, ()),
            ("GET", "/movie/{number}", self._movie, ()),
            ("GET", "/tv/{number}", self._series, ()),
            ("POST", "/request", self._create, ()),
            ("GET", "/request/{number}", self._request, ()),
        ]
        super().__init__(
            state,
            [
                Operation("GET", f"{_ROOT}/status", self._status, public=True),
                # It would be taken for the number of a request.
                *left_out("GET", f"{_ROOT}/request/count"),
                *(Operation(method, _ROOT + path, handler, names) for method, path, handler, names in operations),
            ],
        )

    def refuse(self, request: Request, operation: Operation | None) -> Response | None:
        """Refuse requests without a valid key."""
        if operation is not None and operation.public:
            return None
        key = request.headers.get("x-api-key")
        if key is None:
            text = "cookie 'connect.sid' required"
            return JSONResponse({"message": text, "errors": [{"path": request.path, "message": text}]}, 401)
        return None if self._caller(request) is not None else JSONResponse(_NOT_ALLOWED, 403)

    def error(self, status: int) -> Response:
        """Return an error as Seerr formats it."""
        return _message(status, "Something went wrong.")

    def client_error(self, error: Exception) -> Response | None:
        """Answer refusals."""
        if isinstance(error, Refused):
            return _message(error.status, str(error))
        return None

    def _caller(self, request: Request) -> SeerrUser | None:
        """Return the user as whom a request acts; None for a wrong key or an unknown user."""
        if request.headers.get("x-api-key") != self._state.settings.seerr_key:
            return None
        named = "" if self._book.loses_user else request.headers.get("x-api-user", "").strip()
        if not named:
            return self._book.users.get(OWNER_ID)
        return self._book.users.get(int(named)) if named.isdecimal() else None

    def _acting(self, request: Request) -> SeerrUser:
        caller = self._caller(request)
        assert caller is not None, "refused before"
        return caller

    def _status(self, request: Request) -> Response:
        return JSONResponse(
            {
                "version": "3.1.0",
                "commitTag": "local",
                "updateAvailable": False,
                "commitsBehind": 0,
                "restartRequired": False,
            }
        )

    # Users

    def _users(self, request: Request) -> Response:
        take, skip = _paging(request)
        users = list(self._book.users.values())
        whole = self._acting(request).may(Permission.MANAGE_USERS)
        shown = [user_json(self._book, user, whole=whole) for user in users[skip : skip + take]]
        return JSONResponse(page(shown, len(users), take, skip))

    def _me(self, request: Request) -> Response:
        return JSONResponse(user_json(self._book, self._acting(request), whole=True))

    def _quota(self, request: Request, number: str) -> Response:
        user, caller = self._book.users.get(_number(number, "userId")), self._acting(request)
        manages = caller.may(Permission.MANAGE_USERS) and caller.may(Permission.MANAGE_REQUESTS)
        if user is not caller and not manages:
            return _message(403, "You do not have permission to view this user's request limits.")
        if user is None:
            where = json.dumps({"where": {"id": int(number)}}, indent=4)
            return _message(404, f'Could not find any entity of type "User" matching: {where}')
        return JSONResponse({kind: self._book.quota(user, kind) for kind in MEDIA_KINDS})

    # Titles

    def _movie(self, request: Request, number: str) -> Response:
        return self._details("movie", _number(number, "movieId"), "Unable to retrieve movie.")

    def _series(self, request: Request, number: str) -> Response:
        return self._details("tv", _number(number, "tvId"), "Unable to retrieve series.")

    def _details(self, kind: MediaKind, number: int, failure: str) -> Response:
        title = self._book.title(kind, number)
        if title is None:
            return _message(500, failure)
        return JSONResponse(details(self._book, title))

    # Requests

    def _create(self, request: Request) -> Response:
        wish = _parse_wish(request)
        created = self._book.request(wish, self._acting(request))
        # The title follows after the answer was made. An answer to a creation has no null for who approved it.
        left_out = {"seasonCount"} | ({"modifiedBy"} if created.modified_by is None else set())
        left_out |= {"seasons"} if created.media.kind == "movie" else set()
        content = {name: value for name, value in request_json(self._book, created).items() if name not in left_out}
        self._book.settle(created)
        return JSONResponse(content, 201)

    def _request(self, request: Request, number: str) -> Response:
        self._look_into_the_library()
        found, caller = self._find(number), self._acting(request)
        if found is None:
            return _message(404, "Request not found.")
        may_view = caller.may(Permission.MANAGE_REQUESTS, Permission.REQUEST_VIEW)
        if found.requested_by is not caller and not may_view:
            return _message(403, "You do not have permission to view this request.")
        return JSONResponse(request_json(self._book, found))

    def _find(self, number: str) -> MediaRequest | None:
        return self._book.requests.get(int(number)) if number.isdecimal() else None

    def _look_into_the_library(self) -> None:
        for request in self._book.requests.values():
            self._book.media_of(self._state.titles[request.media.key])


def _message(status: int, text: str) -> Response:
    return JSONResponse({"message": text}, status)


def _number(text: str, name: str) -> int:
    if not text.isdecimal():
        raise Unmodelled(f"the {name} {text!r}")
    return int(text)


def _paging(request: Request) -> tuple[int, int]:
    """Return ``take`` and ``skip``."""
    take, skip = (_number(request.query.get(name) or str(usual), name) for name, usual in _PAGES.items())
    if take == 0:
        raise Unmodelled("take=0")
    return take, skip


def _parse_wish(request: Request) -> Wish:
    body = request.parse_json()
    if not isinstance(body, dict) or not request.headers.get("content-type", "").startswith("application/json"):
        raise Unmodelled("a request whose body is not JSON")
    refuse_other_fields(body, _FIELDS, "a request")
    kind: MediaKind | None = next((one for one in MEDIA_KINDS if one == body.get("mediaType")), None)
    seasons = body.get("seasons")
    is_list = isinstance(seasons, list) and all(_is_number(season) for season in seasons)
    # The real one checks all requests against its specification.
    if kind is None or not _is_number(body.get("mediaId")) or not (seasons in (None, "all") or is_list):
        raise Unmodelled(f"the request {body}")
    if body.get("is4k") is not False:
        raise Unmodelled(f"a request with is4k={body.get('is4k')}")
    return Wish(kind, body["mediaId"], seasons)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
