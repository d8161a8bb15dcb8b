"""What the home screen of a user shows (Continue Watching, Next Up, Latest), and the sessions of clients.

Modelled on jellyfin/jellyfin v10.11.11 and v12.0-rc5; earlier versions are taken to do as 10.11.

- ``Jellyfin.Api/Controllers/ItemsController.cs`` ``GetResumeItems``: what is in progress, whatever its library, except
  for those in the user's ``LatestItemsExcludes``;
- ``Emby.Server.Implementations/TV/TVSeriesManager.cs`` with ``BaseItemRepository.GetNextUpSeriesKeys`` (12:
  ``NextUpService.cs``): a series is in Next Up as soon as an episode has a date of a play, even if it was neither
  finished nor is in progress, and goes on after the furthest one that is played. Series that are copies of each other
  have keys of their own, so each of them is listed;
- ``Emby.Server.Implementations/Library/UserViewManager.cs`` ``GetItemsForLatestItems`` and
  ``BaseItemRepository.GetLatestItemList``: by ``DateCreated``, and the episodes of a series as the series if there are
  several. Only without ``parentId`` do the user's excludes count; clients leave out the rows of such libraries.
- ``Jellyfin.Api/Controllers/SessionController.cs`` ``GetSessions``, and the recorded answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.jellyfin import binding, dto
from aperture_dagster.simulator.jellyfin.access import Access, visible_to
from aperture_dagster.simulator.jellyfin.dto import item_sort_name, premiere_date
from aperture_dagster.simulator.jellyfin.items import ItemEndpoints
from aperture_dagster.simulator.jellyfin.listing import ItemQuery, Listings, parse_kinds
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Operation, Request, Unmodelled
from aperture_dagster.simulator.user_data import ClientSession, ServerUser
from aperture_dagster.simulator.world import WorldLibrary

_PAGE = ("userId", "parentId", "startIndex", "limit", "fields", "enableImages", "enableUserData")
_RESUME = (*_PAGE, "mediaTypes", "includeItemTypes", "enableTotalRecordCount", "excludeActiveSessions")
_NEXT_UP = (*_PAGE, "seriesId", "nextUpDateCutoff", "enableTotalRecordCount", "enableResumable")
_LATEST = ("userId", "parentId", "limit", "includeItemTypes", "isPlayed", "groupItems", *_PAGE[4:])
_ROW = 20
_RECENT_SECONDS = 24 * 3600.0
_NEVER = "0001-01-01T00:00:00.0000000Z"


class HomeEndpoints:
    """Endpoints of the home screen."""

    def __init__(self, access: Access, items: ItemEndpoints, listings: Listings) -> None:
        self._access, self._state = access, access.state
        self._items, self._listings = items, listings
        self._release = access.state.settings.jellyfin_release

    def operations(self) -> list[Operation]:
        """Return the operations; place them before ``/Items/{item_id}``."""
        return [
            Operation("GET", "/UserItems/Resume", self.resume, _RESUME),
            Operation("GET", "/Shows/NextUp", self.next_up, _NEXT_UP),
            Operation("GET", "/Items/Latest", self.latest, _LATEST),
        ]

    def resume(self, request: Request) -> Response:
        """``GET /UserItems/Resume``: Continue Watching, what was played last first."""
        user, query = self._access.required_user(request), request.query
        if query.split("mediaTypes") not in ([], ["Video"]):
            raise Unmodelled(f"mediaTypes={','.join(query.split('mediaTypes'))}")
        wanted = ItemQuery(
            kinds=parse_kinds(query) or ("Movie", "Episode"),
            parent=binding.guid(query, "parentId"),
            recursive=True,
            sort=(("dateplayed", True),),
            user_filters=frozenset([("resumable", True)]),
            virtual=False,
            collapse=False,
        )
        found = [item for item in self._listings.items(wanted, user) if visible_to(user)(item)]
        if wanted.parent is None:
            excluded = self._excluded(user)
            found = [item for item in found if item.library.item_id not in excluded]
        if binding.boolean(query, "excludeActiveSessions"):
            playing = {session.item for session in self._state.sessions if session.user_id == user.id}
            found = [item for item in found if item not in playing]
        return binding.listing(query, found, lambda page: self._items.dtos(request, page, user))

    def next_up(self, request: Request) -> Response:
        """``GET /Shows/NextUp``: the next episode of each series that was watched, the latest first."""
        user, query = self._access.required_user(request), request.query
        series_id, parent = binding.guid(query, "seriesId"), binding.guid(query, "parentId")
        excluded = self._excluded(user) if parent is None else ()
        cutoff = binding.moment(query, "nextUpDateCutoff") or float("-inf")
        visible = visible_to(user)
        latest: dict[Item, float] = {}
        for episode in self._state.catalogue.items("Episode"):
            at, series = user.of(episode).last_played, episode.series
            if series is not None and at is not None and visible(episode):
                latest[series] = max(at, latest.get(series, at))
        with_resumable = binding.boolean(query, "enableResumable") is not False
        found: list[tuple[float, Item]] = []
        for series, at in latest.items():
            if series_id is not None and series.id != series_id:
                continue
            if parent is not None and series.library.item_id != parent:
                continue
            if series.library.item_id in excluded or at < cutoff:
                continue
            episode, watched_at = self._following(series, user)
            if episode is not None and (with_resumable or not user.of(episode).position):
                # 12 sorts by the play of the furthest episode that was finished.
                found.append((watched_at if self._release >= (12, 0) else at, episode))
        found.sort(key=lambda pair: pair[0], reverse=True)
        return binding.listing(
            query, [episode for _, episode in found], lambda page: self._items.dtos(request, page, user)
        )

    def _following(self, series: Item, user: ServerUser) -> tuple[Item | None, float]:
        """Return the first unplayed episode after the furthest played one, and when that was played."""
        episodes = [episode for season in series.seasons for episode in season.episodes]
        numbered = sorted(episodes, key=lambda one: (one.season or 0, one.episode or 0))
        played = [one for one in numbered if user.of(one).played]
        furthest = played[-1] if played else None
        last = (0, 0) if furthest is None else (furthest.season or 0, furthest.episode_end or furthest.episode or 0)
        at = user.of(furthest).last_played if furthest is not None else None
        return next(
            (
                one
                for one in numbered
                if not one.virtual and not user.of(one).played and (one.season or 0, one.episode or 0) > last
            ),
            None,
        ), at or 0.0

    def latest(self, request: Request) -> Response:
        """``GET /Items/Latest``: the row of a library, or of all those that the user does not exclude; a bare array."""
        user, query = self._access.required_user(request), request.query
        parent, excluded = binding.guid(query, "parentId"), self._excluded(user)
        libraries = [
            library
            for library in self._access.libraries(user)
            if (library.item_id == parent if parent is not None else library.item_id not in excluded)
        ]
        is_played = binding.boolean(query, "isPlayed")
        if is_played is None and user.configuration.get("HidePlayedInLatest", True):
            is_played = False
        limit = _ROW if (given := binding.integer(query, "limit")) is None else given
        grouped = binding.boolean(query, "groupItems") is not False
        kind = next((one.collection_type for one in libraries if one.collection_type), "") if grouped else ""
        items = self._newest(libraries, parse_kinds(query) or ("Movie", "Episode"), user, is_played)
        if kind == "tvshows":
            found = self._series_of(items, limit)
        else:
            found = _grouped(items, limit) if grouped else items[:limit]
        return JSONResponse(self._items.dtos(request, found, user))

    def _newest(
        self, libraries: Sequence[WorldLibrary], kinds: Iterable[str], user: ServerUser, is_played: bool | None
    ) -> list[Item]:
        visible, places = visible_to(user), {library.item_id for library in libraries}
        found = [
            item
            for kind in kinds
            for item in self._state.catalogue.items(kind)
            if item.library.item_id in places
            and not item.virtual
            and item.primary is None
            and visible(item)
            and (is_played is None or user.of(item).played is is_played)
        ]
        return sorted(found, key=lambda one: (one.created, *_tie(one, self._release)), reverse=True)

    def _series_of(self, items: Sequence[Item], limit: int) -> list[Item]:
        """Return the row of a library of series: the series with the newest episodes, or the episode if it is alone.

        10.11 counts the episodes that are as new as the last of these series; 12 those of a day before its own newest.
        """
        newest: dict[str | None, float] = {}
        for item in items:
            newest.setdefault(_series_name(item), item.created)
        top = dict(sorted(newest.items(), key=lambda pair: pair[1], reverse=True)[:limit])
        if self._release < (12, 0):
            least = min(top.values(), default=0.0)
            return _grouped([item for item in items if item.created >= least], limit)
        found: list[Item] = []
        for name, at in top.items():
            recent = [one for one in items if _series_name(one) == name and one.created >= at - _RECENT_SECONDS]
            if recent[0].series is not None:
                found.append(_container(recent))
        return found

    def _excluded(self, user: ServerUser) -> frozenset[str]:
        given = user.configuration.get("LatestItemsExcludes") or ()
        return frozenset(str(one).replace("-", "").lower() for one in given)


def _tie(item: Item, release: tuple[int, int]) -> tuple[Any, ...]:
    return (item.id,) if release >= (12, 0) else (item_sort_name(item), premiere_date(item) or "")


def _series_name(item: Item) -> str | None:
    return item.series.name if item.series is not None else None


def _grouped(items: Iterable[Item], limit: int) -> list[Item]:
    """Return items with the series in place of its episodes, if there are several; the first of each decides."""
    groups: dict[Item, list[Item]] = {}
    for item in items:
        groups.setdefault(item.series or item, []).append(item)
        if len(groups) >= limit:
            break
    return [container if len(members) > 1 else members[0] for container, members in groups.items()]


def _container(recent: Sequence[Item]) -> Item:
    """Return what stands for the new episodes of a series in 12: the series, the season, or the episode."""
    first = recent[0]
    assert first.series is not None
    seasons = {one.season for one in recent}
    if len(seasons) > 1:
        return first.series
    season = first.season_item
    is_several = len(recent) > 1 or len(recent) == len(first.series.numbered(first.season or 0).episodes)
    if not is_several:
        return first
    return season if len(first.series.every_season) > 1 else first.series


class SessionEndpoints:
    """The endpoint that lists the sessions of clients, and what they are playing.

    Args:
        access: the key check and look-ups.
        server_id: the server's id.
        item_dto: returns what a client sees of an item.
        release: the release of Jellyfin; None for Emby.
    """

    def __init__(
        self,
        access: Access,
        server_id: str,
        item_dto: Callable[[Item], dict[str, Any]],
        release: tuple[int, int] | None,
    ) -> None:
        self._state, self._server_id, self._item_dto, self._release = access.state, server_id, item_dto, release

    def listing(self, request: Request) -> Response:
        """``GET /Sessions``: a bare array, the one that was active last first."""
        within, now = binding.integer(request.query, "activeWithinSeconds"), self._state.clock.now()
        sessions = [session for session in self._state.sessions if within is None or session.active_at >= now - within]
        return JSONResponse([self._dto(one) for one in sorted(sessions, key=lambda one: one.active_at, reverse=True)])

    def _dto(self, one: ClientSession) -> dict[str, Any]:
        user = self._state.users.get(one.user_id)
        state: dict[str, Any] = {"CanSeek": one.item is not None, "IsPaused": False, "IsMuted": False}
        state |= {"RepeatMode": "RepeatNone", "PlaybackOrder": "Default"}
        if one.item is not None:
            state = {"PositionTicks": one.position, **state, "MediaSourceId": one.item.id, "PlayMethod": "DirectPlay"}
        found: dict[str, Any] = {
            "PlayState": state,
            "AdditionalUsers": [],
            "Capabilities": {
                "PlayableMediaTypes": [], "SupportedCommands": [], "SupportsMediaControl": False,
                "SupportsPersistentIdentifier": True,
            },
            "RemoteEndPoint": "127.0.0.1",
            "PlayableMediaTypes": [],
            "Id": dto.name_id("session", f"{one.client}|{one.device}"),
            "UserId": one.user_id,
            "UserName": user.name if user is not None else "",
            "Client": one.client,
            "LastActivityDate": binding.ticks_date(one.active_at),
            "LastPlaybackCheckIn": _NEVER if one.played_at is None else binding.ticks_date(one.played_at),
            "DeviceName": one.device,
            "DeviceId": self._server_id if one.client == "Aperture" else one.device,
            "ApplicationVersion": "1.0",
            "IsActive": True,
            "SupportsMediaControl": False,
            "SupportsRemoteControl": False,
            "NowPlayingQueue": [],
            "HasCustomDeviceName": False,
            "ServerId": self._server_id,
            "SupportedCommands": [],
        }  # fmt: skip
        if self._release is not None and self._release < (12, 0):
            found["NowPlayingQueueFullItems"] = []
        if one.item is not None:
            found["NowPlayingItem"] = self._item_dto(one.item)
        return found
