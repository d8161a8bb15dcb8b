"""Operations on Seerr, as its administrators and the programs behind it perform them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aperture_dagster.simulator.locking import Operations, locked
from aperture_dagster.simulator.seerr.book import seasons_of
from aperture_dagster.simulator.seerr.records import OWNER_ID, Media, MediaStatus, Permission, RequestStatus


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

        Raises KeyError for an unknown request, and ValueError for another status.
        """
        statuses: Mapping[str, RequestStatus] = {
            one.name.lower(): one for one in RequestStatus if one is not RequestStatus.COMPLETED
        }
        if status not in statuses:
            raise ValueError(f"a request becomes {', '.join(statuses)}, not {status!r}")
        request = self.seerr.requests[request_id]
        request.move(statuses[status], self.seerr.clock())
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
        """Mark a title as ``blocklisted`` or ``deleted``. Raises KeyError for an unknown title, and ValueError."""
        marks = {"blocklisted": MediaStatus.BLOCKLISTED, "deleted": MediaStatus.DELETED}
        if status not in marks:
            raise ValueError(f"a title is marked as {' or '.join(marks)}, not {status!r}")
        self._media(key).status = marks[status]

    def _media(self, key: str) -> Media:
        return self.seerr.meet(self.titles[key])


def _pair(numbers: Iterable[int]) -> tuple[int, int]:
    limit, days = numbers
    return limit, days
