"""Seerr's JSON for users, media, requests and titles. Fields without a value are left out, as they are there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aperture_dagster.simulator.catalogue import episode_air_date
from aperture_dagster.simulator.seerr.book import SeerrBook
from aperture_dagster.simulator.seerr.records import OWNER_ID, Media, MediaRequest, MediaStatus, SeerrUser
from aperture_dagster.simulator.tmdb.ids import genre_id, named_id, picture_path
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


def details(book: SeerrBook, title: WorldTitle) -> dict[str, Any]:
    """Return a title, with ``mediaInfo`` if Seerr has met it."""
    is_movie, found = title.media_type == "movie", book.media_of(title)
    content: dict[str, Any] = {
        "id": title.tmdb_id,
        "genres": [{"id": genre_id(name), "name": name} for name in title.genres],
        "originalLanguage": title.language,
        "overview": title.overview,
        "popularity": title.popularity,
        "posterPath": picture_path(title.key, "poster"),
        "backdropPath": picture_path(title.key, "backdrop"),
        "status": title.status or "Released",
        "tagline": title.tagline,
        "voteAverage": title.vote_average,
        "voteCount": title.vote_count,
        "keywords": [{"id": named_id("keyword", name), "name": name} for name in title.keywords],
        "externalIds": {"imdbId": title.imdb_id} | ({} if is_movie else {"tvdbId": title.tvdb_id}),
        "onUserWatchlist": False,
    }
    if is_movie:
        content |= {
            "title": title.title,
            "originalTitle": title.original_title or title.title,
            "imdbId": title.imdb_id,
            "adult": False,
            "video": False,
            "releaseDate": title.release_date or "",
            "runtime": title.runtime_minutes,
        }
    else:
        counts = ((0, title.specials), *enumerate(title.episodes_per_season, start=1))
        content |= {
            "name": title.title,
            "originalName": title.original_title or title.title,
            "firstAirDate": title.release_date or "",
            "numberOfSeasons": len(title.episodes_per_season),
            "numberOfEpisodes": sum(title.episodes_per_season),
            "seasons": [
                {
                    "airDate": episode_air_date(title, number, 1),
                    "episodeCount": count,
                    "id": named_id("season", f"{title.key}|{number}"),
                    "name": f"Season {number}" if number else "Specials",
                    "seasonNumber": number,
                }
                for number, count in counts
                if count
            ],
        }
    return content | ({} if found is None else {"mediaInfo": media(book, found, with_requests=True)})


def page(results: Sequence[dict[str, Any]], total: int, take: int, skip: int) -> dict[str, Any]:
    """Return a page of results."""
    info = {"pages": -(-total // take), "pageSize": take, "results": total, "page": -(-skip // take) + 1}
    return {"pageInfo": info, "results": list(results)}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
