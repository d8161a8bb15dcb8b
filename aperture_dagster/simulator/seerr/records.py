"""What Seerr stores: users with their permissions, media, and requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Literal

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
