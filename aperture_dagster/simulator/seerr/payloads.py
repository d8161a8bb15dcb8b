"""Seerr's JSON for users, media, requests and titles. Fields without a value are left out, as they are there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from aperture_dagster.simulator.seerr.book import SeerrBook
from aperture_dagster.simulator.seerr.records import OWNER_ID, Media, MediaRequest, MediaStatus, SeerrUser
from aperture_dagster.simulator.tmdb import payloads as tmdb
from aperture_dagster.simulator.tmdb.ids import named_id
from aperture_dagster.simulator.world import WorldTitle

_LOCAL_USER, _JELLYFIN_USER = 2, 3


def user(book: SeerrBook, one: SeerrUser, *, whole: bool) -> dict[str, Any]:
    """Return a user; without ``whole``, without what only the user and administrators see."""
    count = sum(request.requested_by is one for request in book.requests.values())
    private = {"email": f"{one.name.lower()}@example.org", "plexId": None, "settings": None} if whole else {}
    return private | {
        "permissions": int(one.permissions),
        "id": one.id,
        "plexUsername": None,
        "jellyfinUsername": one.name if one.jellyfin_id else None,
        "username": None if one.jellyfin_id else one.name,
        "recoveryLinkExpirationDate": None,
        "userType": _JELLYFIN_USER if one.jellyfin_id else _LOCAL_USER,
        "jellyfinUserId": one.jellyfin_id,
        "avatar": f"/avatarproxy/{one.jellyfin_id or OWNER_ID}",
        "avatarETag": None,
        "avatarVersion": None,
        "movieQuotaLimit": one.movie_quota[0] if one.movie_quota else None,
        "movieQuotaDays": one.movie_quota[1] if one.movie_quota else None,
        "tvQuotaLimit": one.tv_quota[0] if one.tv_quota else None,
        "tvQuotaDays": one.tv_quota[1] if one.tv_quota else None,
        "createdAt": _time(one.created_at),
        "updatedAt": _time(one.created_at),
        "requestCount": count,
        "displayName": one.name,
        "warnings": [],
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
        "downloadStatus": [],
        "downloadStatus4k": [],
        "id": one.id,
        "mediaType": one.kind,
        "tmdbId": one.tmdb_id,
        "tvdbId": one.tvdb_id,
        "imdbId": None,
        "status": int(one.status[False]),
        "status4k": int(one.status[True]),
        "createdAt": _time(one.created_at),
        "updatedAt": _time(one.updated_at),
        "lastSeasonChange": _time(one.updated_at),
        "mediaAddedAt": _time(one.updated_at) if one.status[False] == MediaStatus.AVAILABLE else None,
        "serviceId": None,
        "serviceId4k": None,
        "jellyfinMediaId": None,
        "jellyfinMediaId4k": None,
        "seasons": seasons,
    }
    if with_requests:
        of_media = [request for request in book.requests.values() if request.media is one]
        content["requests"] = [_request(book, request) for request in of_media]
        content["issues"] = []
    return content


def request(book: SeerrBook, one: MediaRequest) -> dict[str, Any]:
    """Return a request with its media."""
    return _request(book, one) | {"media": media(book, one.media)}


def _request(book: SeerrBook, one: MediaRequest) -> dict[str, Any]:
    return {
        "id": one.id,
        "status": int(one.status),
        "createdAt": _time(one.created_at),
        "updatedAt": _time(one.updated_at),
        "type": one.media.kind,
        "is4k": one.is_4k,
        "serverId": None,
        "profileId": None,
        "rootFolder": None,
        "languageProfileId": None,
        "tags": None,
        "isAutoRequest": False,
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
        "requestedBy": user(book, one.requested_by, whole=True),
        "modifiedBy": None if one.modified_by is None else user(book, one.modified_by, whole=True),
    }


def details(book: SeerrBook, title: WorldTitle, today: date) -> dict[str, Any]:
    """Return a title, with ``mediaInfo`` if Seerr has met it.

    Seerr passes on what it reads from TMDb, with other names (seerr-team/seerr, ``server/models/Movie.ts`` and
    ``Tv.ts``). Not modelled are credits, videos, releases, ratings by country, and offers.
    """
    is_movie, found = title.media_type == "movie", book.media_of(title)
    content = _camel_case(tmdb.movie(title) if is_movie else tmdb.series(title, today))
    dropped = ("originCountry", "belongsToCollection") if is_movie else ("adult",)
    content = {name: value for name, value in content.items() if name not in dropped}
    if is_movie and title.collection is not None:
        content["collection"] = _camel_case(tmdb.collection_stub(title))
    content |= {
        "keywords": [{"id": named_id("keyword", name), "name": name} for name in title.keywords],
        "externalIds": {"imdbId": title.imdb_id} | ({} if is_movie else {"tvdbId": title.tvdb_id}),
        "onUserWatchlist": False,
    }
    return content | ({} if found is None else {"mediaInfo": media(book, found, with_requests=True)})


def _camel_case(content: Any) -> Any:
    """Return JSON of TMDb's with the names that Seerr gives its fields, except for codes of countries and languages."""
    if isinstance(content, list):
        return [_camel_case(one) for one in content]
    if not isinstance(content, dict):
        return content
    return {
        name if name.startswith("iso_") else re.sub(r"_(\w)", lambda found: found[1].upper(), name): _camel_case(value)
        for name, value in content.items()
    }


def page(results: Sequence[dict[str, Any]], total: int, take: int, skip: int) -> dict[str, Any]:
    """Return a page of results."""
    info = {"pages": -(-total // take), "pageSize": take, "results": total, "page": -(-skip // take) + 1}
    return {"pageInfo": info, "results": list(results)}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
