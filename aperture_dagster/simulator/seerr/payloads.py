"""Seerr's JSON for users, media, requests and titles. Fields without a value are left out, as they are there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aperture_dagster.simulator.seerr.book import SeerrBook
from aperture_dagster.simulator.seerr.records import Media, MediaRequest, MediaStatus, SeerrUser
from aperture_dagster.simulator.world import WorldTitle

_LOCAL_USER, _JELLYFIN_USER = 2, 3


def user(book: SeerrBook, one: SeerrUser, *, whole: bool) -> dict[str, Any]:
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
        "seasons": seasons,
    }
    if with_requests:
        of_media = [request for request in book.requests.values() if request.media is one]
        content["requests"] = [_request(book, request) for request in of_media]
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
        "requestedBy": user(book, one.requested_by, whole=True),
        "modifiedBy": None if one.modified_by is None else user(book, one.modified_by, whole=True),
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
