"""Seerr's rules for requests: permissions, quotas, duplicates, seasons, approval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Any, Literal

from aperture_dagster.simulator.catalogue import Catalogue
from aperture_dagster.simulator.operations import Operations, locked
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import WorldTitle

MediaKind = Literal["movie", "tv"]
MEDIA_KINDS: tuple[MediaKind, ...] = ("movie", "tv")
OWNER_ID = 1


class Permission(IntFlag):
    """Rights of a user, as far as requests depend on them. Administrators have them all."""

    ADMIN = 2
    MANAGE_USERS = 8
    MANAGE_REQUESTS = 16
    REQUEST = 32
    AUTO_APPROVE = 128
    AUTO_APPROVE_MOVIE = 256
    AUTO_APPROVE_TV = 512
    REQUEST_VIEW = 16384
    REQUEST_MOVIE = 262144
    REQUEST_TV = 524288


class MediaStatus(IntEnum):
    """State of a film, series or season."""

    UNKNOWN = 1
    PENDING = 2
    PROCESSING = 3
    PARTIALLY_AVAILABLE = 4
    AVAILABLE = 5
    BLOCKLISTED = 6
    DELETED = 7


class RequestStatus(IntEnum):
    """State of a request."""

    PENDING = 1
    APPROVED = 2
    DECLINED = 3
    FAILED = 4
    COMPLETED = 5


CLOSED = (RequestStatus.DECLINED, RequestStatus.COMPLETED)
"""Requests in these states do not prevent a new one."""


@dataclass(slots=True)
class SeerrUser:
    """A user. Quotas are a number of films or seasons and the days for which they count."""

    id: int
    name: str
    jellyfin_id: str | None
    permissions: Permission
    created_at: float
    movie_quota: tuple[int, int] | None = None
    tv_quota: tuple[int, int] | None = None

    def may(self, *permissions: Permission) -> bool:
        """Return whether the user has one of these permissions."""
        return any(self.permissions & one for one in (Permission.ADMIN, *permissions))


@dataclass(slots=True)
class Media:
    """A film or series that Seerr has met, by TMDb id; ``key`` in the world. In 4K, there is nothing."""

    id: int
    kind: MediaKind
    key: str
    tmdb_id: int
    tvdb_id: int | None
    created_at: float
    updated_at: float
    status: MediaStatus = MediaStatus.UNKNOWN
    seasons: dict[int, MediaStatus] = field(default_factory=dict)
    """Status of the seasons that the library holds."""


@dataclass(slots=True)
class MediaRequest:
    """A request of a user, and who approved or declined it."""

    id: int
    media: Media
    requested_by: SeerrUser
    modified_by: SeerrUser | None
    status: RequestStatus
    created_at: float
    updated_at: float
    seasons: dict[int, RequestStatus] = field(default_factory=dict)
    """Seasons of a series by number."""

    @property
    def is_open(self) -> bool:
        """Whether the request still stands."""
        return self.status not in CLOSED

    def move(self, status: RequestStatus, now: float) -> None:
        """Change the status, of the request and of its seasons."""
        self.status, self.updated_at = status, now
        self.seasons = dict.fromkeys(self.seasons, status)


_DAY = 86_400
_AVAILABLE = (MediaStatus.AVAILABLE, MediaStatus.PARTIALLY_AVAILABLE)


class Refused(Exception):
    """Seerr does not create the request, for which it has a status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Wish:
    """The body of a request. ``seasons`` are numbers, or ``all``."""

    kind: MediaKind
    tmdb_id: int
    seasons: str | list[int] | None = None


class SeerrBook:
    """Users, media and requests, by id."""

    def __init__(
        self,
        settings: SimulatorSettings,
        clock: Callable[[], float],
        titles: Mapping[str, WorldTitle],
        catalogue: Catalogue,
    ) -> None:
        self._settings = settings
        self.clock = clock
        self._titles = titles
        self._catalogue = catalogue
        self.loses_user = False
        """Whether a proxy in front of it removes ``X-API-User``, so that all calls act as the owner."""
        self.users: dict[int, SeerrUser] = {}
        self.media: dict[tuple[MediaKind, int], Media] = {}
        self.requests: dict[int, MediaRequest] = {}
        self._last_user = self._last_request = 0
        self.add_user("owner", None, Permission.ADMIN)

    # Users

    def add_user(self, name: str, jellyfin_id: str | None, permissions: Permission | None = None) -> SeerrUser:
        """Add a user; the first one is the owner. Users of the media server are known by their id there.

        Unless given other permissions, they may make requests, which wait for approval.
        """
        self._last_user += 1
        user = SeerrUser(self._last_user, name, jellyfin_id, permissions or Permission.REQUEST, self.clock())
        self.users[user.id] = user
        return user

    def user_named(self, name: str) -> SeerrUser:
        """Return a user by name. Raises KeyError."""
        return {user.name: user for user in self.users.values()}[name]

    def quota(self, user: SeerrUser, kind: MediaKind) -> dict[str, Any]:
        """Return what a user may still request of a kind. Without a limit, there are no days and no remainder."""
        limit, days = (user.movie_quota if kind == "movie" else user.tv_quota) or (None, None)
        if user.may(Permission.MANAGE_USERS):
            limit = 0
        used = self._used(user, kind, days or 0) if limit else 0
        quota: dict[str, Any] = {"used": used, "restricted": bool(limit) and used >= limit}
        quota |= {} if days is None else {"days": days}
        quota |= {} if limit is None else {"limit": limit}
        return quota | ({"remaining": max(0, limit - used)} if limit else {})

    def _used(self, user: SeerrUser, kind: MediaKind, days: int) -> int:
        counted = [
            request
            for request in self.requests.values()
            if request.requested_by is user
            and request.media.kind == kind
            and request.created_at > self.clock() - days * _DAY
            and request.status != RequestStatus.DECLINED
        ]
        return len(counted) if kind == "movie" else sum(len(one.seasons) for one in counted)

    # Media

    def title(self, kind: MediaKind, tmdb_id: int) -> WorldTitle | None:
        """Return the title with this TMDb id; None when TMDb does not know it."""
        media_type = "movie" if kind == "movie" else "series"
        found = (
            title for title in self._titles.values() if title.tmdb_id == tmdb_id and title.media_type == media_type
        )
        return next(found, None)

    def media_of(self, title: WorldTitle) -> Media | None:
        """Return what Seerr has of a title, after a look into the library; None when it never met it."""
        media = self.media.get(_place(title))
        is_owned = any(item.present for item in self._catalogue.top_items(title.key))
        if is_owned and (media is None or media.status not in (*_AVAILABLE, MediaStatus.BLOCKLISTED)):
            media = self.meet(title)
            self.make_available(media, seasons_of(title))
        return media

    def meet(self, title: WorldTitle) -> Media:
        """Return what Seerr has of a title, from now on if it has nothing yet."""
        kind, tmdb_id = _place(title)
        if (kind, tmdb_id) not in self.media:
            now = self.clock()
            number = len(self.media) + 1
            self.media[kind, tmdb_id] = Media(number, kind, title.key, tmdb_id, title.tvdb_id, now, now)
        return self.media[kind, tmdb_id]

    def make_available(self, media: Media, seasons: list[int]) -> None:
        """Note that the library has a film, or these seasons of a series; this completes requests for them."""
        now = media.updated_at = self.clock()
        was_pending = media.status == MediaStatus.PENDING
        media.seasons |= dict.fromkeys(seasons, MediaStatus.AVAILABLE)
        wanted = seasons_of(self._titles[media.key]) if media.kind == "tv" else []
        is_whole = all(media.seasons.get(season) == MediaStatus.AVAILABLE for season in wanted)
        media.status = MediaStatus.AVAILABLE if is_whole else MediaStatus.PARTIALLY_AVAILABLE
        for request in self.requests_for(media):
            if request.status == RequestStatus.PENDING and was_pending and is_whole:
                # It is not completed, ever.
                request.move(RequestStatus.APPROVED, now)
                continue
            if request.status != RequestStatus.APPROVED:
                continue
            ready = [one for one in request.seasons if media.seasons.get(one) == MediaStatus.AVAILABLE]
            if len(ready) == len(request.seasons):
                request.move(RequestStatus.COMPLETED, now)
            else:
                request.move(RequestStatus.APPROVED, now)
                request.seasons |= dict.fromkeys(ready, RequestStatus.COMPLETED)

    # Requests

    def requests_for(self, media: Media) -> list[MediaRequest]:
        """Return the requests for a title, the oldest first."""
        return [request for request in self.requests.values() if request.media is media]

    def request(self, wish: Wish, user: SeerrUser) -> MediaRequest:
        """Create a request as a user. Raises Refused."""
        own = Permission.REQUEST_MOVIE if wish.kind == "movie" else Permission.REQUEST_TV
        if not user.may(Permission.REQUEST, own):
            name = {"movie": "movie", "tv": "series"}[wish.kind]
            raise Refused(403, f"You do not have permission to make {name} requests.")
        quota = self.quota(user, wish.kind)
        exceeded = f"{'Movie' if wish.kind == 'movie' else 'Series'} Quota exceeded."
        if quota["restricted"]:
            raise Refused(403, exceeded)
        title = self.title(wish.kind, wish.tmdb_id)
        if title is None:
            what = "movie" if wish.kind == "movie" else "TV show"
            raise Refused(500, f"[TMDB] Failed to fetch {what} details: Request failed with status code 404")
        media = self.media_of(title)
        if media is not None and media.status == MediaStatus.BLOCKLISTED:
            raise Refused(403, "This media is blocklisted.")
        before = [] if media is None else self.requests_for(media)
        if wish.kind == "movie" and before and before[0].is_open:
            raise Refused(409, "Request for this media already exists.")
        seasons = [] if wish.kind == "movie" else self._seasons(wish, title, media, before)
        if quota.get("limit") and len(seasons) > quota["remaining"]:
            raise Refused(403, exceeded)
        return self._create(wish, title, user, seasons)

    def _seasons(self, wish: Wish, title: WorldTitle, media: Media | None, before: list[MediaRequest]) -> list[int]:
        if wish.seasons is None:
            raise Refused(500, "Cannot read properties of undefined (reading 'filter')")
        wanted = seasons_of(title) if isinstance(wish.seasons, str) else wish.seasons
        taken = {season for request in before if request.is_open for season in request.seasons}
        if media is not None:
            free = (MediaStatus.UNKNOWN, MediaStatus.DELETED)
            taken |= {season for season, status in media.seasons.items() if status not in free}
        # Specials are refused unless a setting allows them.
        left = [season for season in wanted if season > 0 and season not in taken]
        if not left:
            raise Refused(202, "No seasons available to request")
        return left

    def _create(self, wish: Wish, title: WorldTitle, user: SeerrUser, seasons: list[int]) -> MediaRequest:
        media, now = self.meet(title), self.clock()
        if media.status == MediaStatus.UNKNOWN:
            media.status = MediaStatus.PENDING
        own = Permission.AUTO_APPROVE_MOVIE if wish.kind == "movie" else Permission.AUTO_APPROVE_TV
        is_approved = user.may(Permission.AUTO_APPROVE, own, Permission.MANAGE_REQUESTS)
        status = RequestStatus.APPROVED if is_approved else RequestStatus.PENDING
        self._last_request += 1
        request = MediaRequest(
            self._last_request, media, user, user if is_approved else None, status, now, now,
            dict.fromkeys(seasons, status),
        )  # fmt: skip
        self.requests[request.id] = request
        return request

    def settle(self, request: MediaRequest) -> None:
        """Let the title follow its request's status, as Seerr does after it has stored the request."""
        media = request.media
        status = media.status
        # A request fails at Radarr or Sonarr, after it was approved.
        is_approved = request.status in (RequestStatus.APPROVED, RequestStatus.FAILED)
        if is_approved and status not in (*_AVAILABLE, MediaStatus.PROCESSING):
            media.status = MediaStatus.PROCESSING
        elif request.status == RequestStatus.DECLINED:
            others = self.requests_for(media)
            if media.kind == "movie":
                is_free = status != MediaStatus.DELETED
            else:
                is_waiting = any(other.status == RequestStatus.PENDING for other in others if other is not request)
                is_free = status == MediaStatus.PENDING and not is_waiting
            if is_free:
                media.status = MediaStatus.UNKNOWN


def seasons_of(title: WorldTitle) -> list[int]:
    """Return the numbers of a series' seasons, without the specials."""
    return list(range(1, len(title.episodes_per_season) + 1))


def _place(title: WorldTitle) -> tuple[MediaKind, int]:
    return ("movie" if title.media_type == "movie" else "tv"), title.tmdb_id or 0


class SeerrOperations(Operations):
    """The part of the state that concerns Seerr. Titles are named by their keys in the world."""

    @locked
    def seerr_import(self, name: str) -> int:
        """Import a user of the media server, and return the id on Seerr. Raises KeyError."""
        return self.seerr.add_user(name, self.user_named(name).id).id

    @locked
    def seerr_user(
        self,
        name: str,
        *,
        permissions: int | None = None,
        movie_quota: Iterable[int] | None = None,
        tv_quota: Iterable[int] | None = None,
    ) -> int:
        """Change a user's permissions or quotas (None: as they are), and return the id. Raises KeyError.

        A quota is a number of films or seasons, and days.
        """
        user = self.seerr.user_named(name)
        if permissions is not None:
            user.permissions = Permission(permissions)
        if movie_quota is not None:
            user.movie_quota = _pair(movie_quota)
        if tv_quota is not None:
            user.tv_quota = _pair(tv_quota)
        return user.id

    @locked
    def seerr_loses_user(self, on: bool) -> None:
        """Put a proxy in front of Seerr that removes ``X-API-User``, or take it away."""
        self.seerr.loses_user = on

    @locked
    def seerr_requests(self) -> list[dict[str, Any]]:
        """Return all requests, the oldest first: id, key, user, status in words, seasons."""
        return [
            {
                "id": request.id,
                "key": request.media.key,
                "user": request.requested_by.name,
                "status": request.status.name.lower(),
                "seasons": sorted(request.seasons),
            }
            for request in self.seerr.requests.values()
        ]

    @locked
    def seerr_decide(self, request_id: int, status: str) -> None:
        """Approve, decline or fail a request: ``approved``, ``declined``, ``failed`` or ``pending``.

        Raises KeyError for an unknown request or another status.
        """
        request = self.seerr.requests[request_id]
        request.move(RequestStatus[status.upper()], self.seerr.clock())
        request.modified_by = self.seerr.users[OWNER_ID]
        self.seerr.settle(request)

    @locked
    def seerr_make_available(self, key: str, seasons: Iterable[int] | None = None) -> None:
        """Let the library have a title, or some seasons of it (None: all), whatever the media server owns.

        Raises KeyError for an unknown title.
        """
        chosen = seasons_of(self.titles[key]) if seasons is None else list(seasons)
        self.seerr.make_available(self._media(key), chosen)

    @locked
    def seerr_mark(self, key: str, status: str) -> None:
        """Mark a title as ``blocklisted`` or ``deleted``. Raises KeyError for an unknown title or another mark."""
        self._media(key).status = MediaStatus[status.upper()]

    def _media(self, key: str) -> Media:
        return self.seerr.meet(self.titles[key])


def _pair(numbers: Iterable[int]) -> tuple[int, int]:
    limit, days = numbers
    return limit, days
