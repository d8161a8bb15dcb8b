"""Real traffic over HTTP: every method of the clients, and every operation of the stand-ins."""

from __future__ import annotations

import base64
import inspect
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from aperture_dagster.enrichment.queries import DiscoverFilters
from aperture_dagster.enrichment.tmdb.client import Tmdb
from aperture_dagster.http.errors import BadAnswer, NotFound
from aperture_dagster.media_server.jellyfin import JellyfinReader
from aperture_dagster.media_server.jellyfin_writer import JellyfinWriter
from aperture_dagster.media_server.records import Listing, PublishedItem, PublishedLibrary
from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster.simulator.images import png
from aperture_dagster.simulator.jellyfin.dto import name_id
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.tmdb.titles import named_id
from aperture_dagster.simulator.world import Play
from aperture_dagster_tests.contracts.recorder import Exchange

NOW = datetime(2026, 5, 17, 15, 30, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=10_000)


@dataclass
class Traffic:
    """Recorded exchanges, and the methods of the clients that were called."""

    clients: list[Exchange] = field(default_factory=list)
    routes: list[Exchange] = field(default_factory=list)
    errors: list[Exchange] = field(default_factory=list)
    called: set[str] = field(default_factory=set)

    @property
    def all(self) -> list[Exchange]:
        return [*self.clients, *self.routes, *self.errors]


class Watched:
    """A client that records which of its methods are used."""

    def __init__(self, client: Any, called: set[str]) -> None:
        self._client, self._called = client, called

    def __getattr__(self, name: str) -> Any:
        self._called.add(f"{type(self._client).__name__}.{name}")
        return getattr(self._client, name)


def public_methods(*clients: type) -> set[str]:
    """Return the public methods of clients."""
    return {
        f"{client.__name__}.{name}"
        for client in clients
        for name, member in inspect.getmembers_static(client, inspect.isfunction)
        # What ends requests sends none.
        if not name.startswith("_") and name not in ("cancel", "close")
    }


# The clients


@contextmanager
def jellyfin_client(served: RunningSimulator, called: set[str], *, page_size: int = 25) -> Iterator[Watched]:
    """The real client of the media server, to be called on ``Watched``."""
    client = JellyfinReader(served.jellyfin_url, served.state.settings.jellyfin_key, page_size=page_size)
    watched = Watched(client, called)
    try:
        yield watched
    finally:
        watched.close()


def read_all_of_jellyfin(served: RunningSimulator, called: set[str], *, users: int | None = None) -> None:
    """Everything that a synchronisation reads: libraries, titles, episodes, and the histories of some users; studios,
    of which the first is given a picture.
    """
    some_items = [item for key in list(served.state.titles)[:60] for item in served.state.item_ids(key)]
    with jellyfin_client(served, called) as server:
        server.identity()
        for library in server.libraries():
            if not library.library_id:
                continue
            for media_type in ("movie", "series"):
                _spent(server.titles(library, media_type, Listing()))
            _spent(server.episodes(library, Listing()))
        writer = Watched(JellyfinWriter(server), called)
        for studio in [studio for page in server.studios() for studio in page][:1]:
            writer.set_picture(studio.server_item_id, png("a studio"), "image/png")
        film = next(key for key in served.state.titles if key.startswith("movie:") and served.state.item_ids(key))
        someone = next(iter(served.state.users.values()))
        served.state.play(Play(someone.name, film, datetime.now(UTC)))
        assert server.plays_ended(datetime.now(UTC) - timedelta(hours=1))
        for user in server.users().records[:users]:
            _spent(server.states_of(user.user_id, some_items))
            _spent(server.all_states(user.user_id, Listing()))
            for since in (LONG_AGO, NOW - timedelta(days=30)):
                _spent(server.changed_states(user.user_id, since, Listing()))


def write_all_of_jellyfin(served: RunningSimulator, called: set[str], folder: str) -> None:
    """Every change that publishing makes: a library over ``folder``, a user's settings, a collection and a playlist."""
    with jellyfin_client(served, called) as server:
        writer = Watched(JellyfinWriter(server), called)
        writer.server()
        writer.grouping_enabled()
        writer.plugins()
        movies = next(library for library in writer.libraries() if library.collection_type == "movies")
        films = [film.server_item_id for film in writer.library_items(movies, "Movie")][:3]
        original = writer.original_files(films)[films[0]].sources[0]
        assert writer.path_exists(original.path) and not writer.path_exists(f"{original.path}.nothing")
        writer.picture(films[0])
        _write_library(served, writer, folder, writer.language_of(movies))
        user_id, user = next(iter(writer.user_objects().items()))
        writer.set_policy(user_id, user["Policy"])
        writer.set_configuration(user_id, user["Configuration"] | {"LatestItemsExcludes": [movies.item_id]})
        date = {"LastPlayedDate": "2026-05-17T15:30:00.000000Z"}
        for data in ({"Played": True, "PlayCount": 1, **date}, {"PlaybackPositionTicks": 6_000_000_000, **date}):
            writer.set_user_data(user_id, films[0], data)
        for rating in (7, None):
            writer.set_rating(user_id, films[0], rating)
        collection = writer.create_collection("Top Picks", films[:2])
        writer.add_to_collection(collection, films[2:])
        writer.remove_from_collection(collection, films[:1])
        writer.collection_items(collection)
        writer.known_items(films)
        writer.stamp(collection, "top-picks-movie")
        writer.set_display_order(collection, "Default")
        writer.collections()
        writer.delete_list(collection, expected_type="BoxSet", marker="top-picks-movie")
        playlist = writer.create_playlist("Picks", user_id, films[:2])
        writer.add_to_playlist(playlist, user_id, films[2:])
        entries = [entry for entry, _ in writer.playlist_entries(playlist, user_id)]
        if writer.can_remove_playlist_entries:
            writer.remove_from_playlist(playlist, user_id, entries[:1])
        writer.playlists(user_id)
        writer.stamp(playlist, "recommendations-movie", user_id=user_id)
        writer.delete_list(playlist, expected_type="Playlist", marker="recommendations-movie", user_id=user_id)


def _write_library(
    served: RunningSimulator, writer: Watched, folder: str, language: tuple[str | None, str | None]
) -> None:
    def find() -> PublishedLibrary:
        served.state.wait_for_scans()
        return next(library for library in writer.libraries() if folder in library.locations)

    writer.create_library("Picks", "movie", folder, language=language, enabled=False, scan=True)
    library = find()
    writer.set_library_options(library, library.options | writer.desired_options("movie", language) | {"Enabled": True})
    writer.correct_options(find(), "movie", language)
    writer.refresh_library(library)
    writer.read_again(PublishedItem(library.item_id, "CollectionFolder", library.name))
    writer.start_scan()
    writer.scan_progress()
    writer.count_items(library, "Movie")
    writer.delete_library(find(), scan=True)
    served.state.wait_for_scans()


def read_all_of_tmdb(served: RunningSimulator, called: set[str], *, every: int = 1) -> None:
    """Read every n-th title with everything about it, and unknown ids."""
    client = Tmdb(served.tmdb_url, served.state.settings.tmdb_key)
    tmdb = Watched(client, called)
    try:
        tmdb.check()
        titles = [title for title in served.state.titles.values() if title.tmdb_id is not None]
        for title in titles[::every]:
            # A blank title is refused by the client: its answer is recorded all the same.
            with nullcontext() if title.title.strip() else pytest.raises(BadAnswer):
                tmdb.title(title.media_type, title.tmdb_id)
                tmdb.pool_title(title.media_type, title.tmdb_id)
            tmdb.find(title.media_type, imdb_id=title.imdb_id, tvdb_id=title.tvdb_id)
        for number in sorted({title.collection[0] for title in titles if title.collection})[::every]:
            tmdb.collection(number)
        for media_type in ("movie", "series"):
            for name in ("popular", "top_rated", "trending"):
                tmdb.listed(media_type, name, 1)
                tmdb.listed(media_type, name, 2)
            for filters in (
                DiscoverFilters(genre_ids=(18, 35), keyword_ids=(1,), person_ids=(2,), language="en"),
                DiscoverFilters(within_days=90),
            ):
                tmdb.discover(media_type, filters, 2, today=served.state.today.date())
        assert tmdb.find("movie", imdb_id="tt0") is None
        with pytest.raises(NotFound):
            tmdb.title("movie", 1)
    finally:
        tmdb.close()


def _spent(pages: Iterable[object]) -> None:
    for _ in pages:
        pass


# The routes


@dataclass(frozen=True)
class Ask:
    """A request to a route: ``where`` fills its placeholders, beside what the world gives for them.

    ``body`` is sent as JSON, unless it is bytes, which need a ``content_type``.
    """

    query: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    content_type: str = "application/json"
    where: dict[str, str] = field(default_factory=dict)
    status: int = 200


def ask_jellyfin(served: RunningSimulator, asks: dict[str, list[Ask]], names: dict[str, str]) -> None:
    """Send requests to operations of the media server."""
    headers = {"Authorization": f'MediaBrowser Token="{served.state.settings.jellyfin_key}"'}
    with httpx.Client(base_url=served.jellyfin_url, headers=headers) as client:
        _ask(client, asks, names)


def ask_tmdb(served: RunningSimulator, asks: dict[str, list[Ask]], names: dict[str, str]) -> None:
    """Send requests to operations of TMDb."""
    headers = {"Authorization": f"Bearer {served.state.settings.tmdb_key}"}
    with httpx.Client(base_url=served.tmdb_url, headers=headers) as client:
        _ask(client, asks, names)


def _ask(client: httpx.Client, asks: dict[str, list[Ask]], names: dict[str, str]) -> None:
    for endpoint, wanted in asks.items():
        method, pattern = endpoint.split(" ", 1)
        for ask in wanted:
            path = pattern.format(**names | {name: value.format(**names) for name, value in ask.where.items()})
            params = {name: _filled(value, names) for name, value in ask.query.items()}
            is_raw = ask.body is None or isinstance(ask.body, bytes)
            body = ask.body if is_raw else json.dumps(_filled(ask.body, names)).encode()
            headers = {} if body is None else {"Content-Type": ask.content_type}
            answer = client.request(method, path, params=params or None, content=body, headers=headers)
            assert answer.status_code == ask.status, f"{method} {path} answered {answer.status_code}, not {ask.status}"


def _filled(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(one, names) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, names) for one in value]
    return value.format(**names) if isinstance(value, str) else value


_ONE_USER = {"userId": "{user_id}"}
_WITH_ALL = {
    "userId": "{user_id}", "recursive": "true",
    "fields": [
        "ProviderIds", "Overview", "Genres", "Tags", "Studios", "People", "DateCreated", "DateLastMediaAdded",
        "OriginalTitle", "ProductionLocations", "Taglines", "SortName", "Path", "ParentId", "MediaSources",
        "MediaSourceCount", "RecursiveItemCount", "ChildCount", "ExternalUrls", "Etag",
    ],
}  # fmt: skip
_POLICY = {
    "IsAdministrator": False, "IsHidden": False, "EnableAllFolders": True, "EnabledFolders": [],
    "MaxParentalRating": 12, "AuthenticationProviderId": "Default", "PasswordResetProviderId": "Default",
}  # fmt: skip
_BOX_SET = {
    "Name": "A Set", "LockData": False, "DisplayOrder": "Default", "ProviderIds": {"Aperture": "1"}, "Tags": [],
    "Genres": [],
}  # fmt: skip
_LIBRARY_OPTIONS = {
    "Enabled": False, "PathInfos": [{"Path": "/media/movies"}], "MetadataSavers": [], "EnableRealtimeMonitor": False,
    "TypeOptions": [{"Type": "Movie", "MetadataFetchers": [], "ImageFetchers": []}],
}  # fmt: skip
_PICTURE = base64.b64encode(png("logo"))
_NEWEST = {"sortBy": ["DateCreated", "SortName"], "sortOrder": ["Descending"], "limit": 5}

JELLYFIN_ROUTES: dict[str, list[Ask]] = {
    "GET /System/Info/Public": [Ask()],
    "GET /System/Info": [Ask()],
    "GET /System/ActivityLog/Entries": [Ask({"minDate": "2024-01-01T00:00:00Z", "hasUserId": True, "limit": 5})],
    "GET /Users": [Ask()],
    "GET /Users/Me": [Ask(status=400)],
    "POST /Users/AuthenticateByName": [Ask(body={"Username": "{administrator}", "Pw": "demo-password"})],
    "POST /QuickConnect/Initiate": [Ask()],
    "GET /QuickConnect/Connect": [Ask({"secret": "unknown"}, status=404)],
    "POST /Users/AuthenticateWithQuickConnect": [Ask(body={"Secret": "unknown"}, status=400)],
    "POST /Sessions/Logout": [Ask(status=204)],
    "GET /Users/{user_id}": [Ask()],
    "POST /Users/{user_id}/Policy": [Ask(body=_POLICY, where={"user_id": "{another}"}, status=204)],
    "GET /Library/VirtualFolders": [Ask()],
    "POST /Library/VirtualFolders": [
        Ask(
            {"name": "For you", "collectionType": "movies", "refreshLibrary": "false"},
            {"LibraryOptions": _LIBRARY_OPTIONS},
            status=204,
        )
    ],
    "POST /Library/VirtualFolders/LibraryOptions": [
        Ask(body={"Id": "{library}", "LibraryOptions": _LIBRARY_OPTIONS | {"Enabled": True}}, status=204)
    ],
    "DELETE /Library/VirtualFolders": [Ask({"name": "For you", "refreshLibrary": "true"}, status=204)],
    "POST /Library/Refresh": [Ask(status=204)],
    "POST /Users/Configuration": [Ask(_ONE_USER, {"HidePlayedInLatest": True, "OrderedViews": []}, status=204)],
    "GET /UserViews": [Ask(_ONE_USER | {"includeHidden": "true"})],
    "POST /Items/{item_id}/Refresh": [
        Ask(
            {"metadataRefreshMode": "Default", "imageRefreshMode": "Default"},
            where={"item_id": "{library}"},
            status=204,
        )
    ],
    "GET /ScheduledTasks": [Ask()],
    "POST /Environment/ValidatePath": [Ask(body={"Path": "/media/movies", "IsFile": False}, status=204)],
    "GET /Plugins": [Ask()],
    "GET /System/Configuration": [Ask()],
    "GET /Items": [
        Ask(_WITH_ALL | {"includeItemTypes": [kind], "limit": 40}) for kind in ("Movie", "Series", "Season", "Episode")
    ]
    + [
        Ask(_ONE_USER),
        Ask({"recursive": "true", "includeItemTypes": ["Movie"], "enableImages": "false", **_NEWEST}),
        Ask({"recursive": "true", "ids": ["{film}", "{show}"]}),
        Ask({"parentId": "{show}", "isFavorite": "false", **_ONE_USER}),
    ],
    "GET /Items/Latest": [Ask(_ONE_USER)],
    "GET /Items/{item_id}": [
        Ask(_ONE_USER),
        Ask(_ONE_USER, where={"item_id": "{show}"}),
        Ask(_ONE_USER, where={"item_id": "{episode}"}),
        Ask(_ONE_USER, where={"item_id": "{season}"}),
        Ask(_ONE_USER, where={"item_id": "{library}"}),
        Ask(_ONE_USER, where={"item_id": "{box_set}"}),
        Ask({"userId": "{another}"}, where={"item_id": "{playlist}"}),
    ],
    "POST /Items/{item_id}": [Ask(body=_BOX_SET, where={"item_id": "{box_set}"}, status=204)],
    "GET /Items/{item_id}/Images": [Ask()],
    "GET /Items/{item_id}/Images/{image_type}": [Ask({"maxWidth": 300})],
    "POST /Items/{item_id}/Images/{image_type}": [
        Ask(body=_PICTURE, content_type="image/png", where={"item_id": "{studio}", "image_type": "Thumb"}, status=204),
    ],
    "DELETE /Items/{item_id}/Images/{image_type}": [
        Ask(where={"item_id": "{studio}", "image_type": "Thumb"}, status=204)
    ],
    "GET /Videos/{item_id}/AdditionalParts": [Ask(_ONE_USER)],
    "POST /Collections": [Ask({"name": "New", "ids": ["{film}"], "isLocked": "true"})],
    "POST /Collections/{box_set_id}/Items": [Ask({"ids": ["{film}"]}, status=204)],
    "DELETE /Collections/{box_set_id}/Items": [Ask({"ids": ["{film}"]}, status=204)],
    "POST /Playlists": [
        Ask(body={"Name": "New", "Ids": ["{film}"], "UserId": "{another}", "MediaType": "Video", "IsPublic": False}),
    ],
    "GET /Playlists/{playlist_id}/Items": [Ask({"userId": "{another}", "fields": ["ProviderIds"]})],
    "POST /Playlists/{playlist_id}/Items": [Ask({"userId": "{another}", "ids": ["{film}"]}, status=204)],
    "DELETE /Playlists/{playlist_id}/Items": [Ask({"entryIds": ["{film}"]}, status=204)],
    "DELETE /Items/{item_id}": [Ask(where={"item_id": "{doomed}"}, status=204)],
    "GET /Studios": [Ask(), Ask({"startIndex": 0, "limit": 3})],
    "GET /Shows/NextUp": [Ask(_ONE_USER), Ask(_ONE_USER | {"seriesId": "{show}"})],
    "GET /Shows/{series_id}/Seasons": [Ask(_ONE_USER)],
    "GET /Shows/{series_id}/Episodes": [Ask(_ONE_USER), Ask({"season": 1, "fields": ["Path"]})],
    "GET /UserItems/Resume": [Ask(_ONE_USER)],
    "GET /UserItems/{item_id}/UserData": [Ask(_ONE_USER)],
    "POST /UserItems/{item_id}/UserData": [Ask(_ONE_USER, {"PlayCount": 2, "Played": True, "Rating": 7.5})],
    "DELETE /UserItems/{item_id}/Rating": [Ask(_ONE_USER)],
    "POST /UserPlayedItems/{item_id}": [Ask(_ONE_USER | {"datePlayed": "2026-05-01T20:15:00Z"})],
    "DELETE /UserPlayedItems/{item_id}": [Ask(_ONE_USER)],
    "POST /UserFavoriteItems/{item_id}": [Ask(_ONE_USER)],
    "DELETE /UserFavoriteItems/{item_id}": [Ask(_ONE_USER)],
}
"""Requests to each operation of the media server, in this order."""


def jellyfin_names(served: RunningSimulator) -> dict[str, str]:
    """Return ids for the placeholders of the media server's paths."""
    state = served.state
    film = next(title for title in state.titles.values() if title.media_type == "movie" and title.companies)
    show = next(item for item in state.catalogue.items("Series") if item.seasons)
    film_id = state.item_ids(film.key)[0]
    another = list(state.users.values())[-1]
    box_set = state.create_box_set("A Set", keys=[film.key])
    playlist, doomed = (state.create_playlist(name, owner=another.name, keys=[film.key]) for name in ("One", "Two"))
    return {
        "film": film_id, "item_id": film_id, "show": show.id, "series_id": show.id, "image_type": "Primary",
        "season": show.seasons[0].item.id, "episode": show.seasons[0].episodes[0].id,
        "library": state.catalogue.libraries[0].item_id, "studio": name_id("studio", film.companies[0]),
        "user_id": next(iter(state.users)), "another": another.id,
        "box_set": box_set, "box_set_id": box_set, "playlist": playlist, "playlist_id": playlist, "doomed": doomed,
        "administrator": next(user.name for user in state.users.values() if user.facts.is_administrator),
    }  # fmt: skip


def tmdb_names(served: RunningSimulator) -> dict[str, str]:
    """Return ids for the placeholders of TMDb's paths: titles with many facts, the film in a collection."""
    titles = [title for title in served.state.titles.values() if title.tmdb_id is not None]
    film = next(title for title in titles if title.collection and title.companies and title.recommended_tmdb_ids)
    assert film.keywords and film.cast and film.collection
    show = next(title for title in titles if title.networks and title.creators and title.episodes_per_season)
    return {
        "film": str(film.tmdb_id), "show": str(show.tmdb_id), "collection": str(film.collection[0]),
        "external_id": str(film.imdb_id), "tvdb_id": str(show.tvdb_id),
        "keyword": str(named_id("keyword", film.keywords[0])), "person": str(named_id("person", film.cast[0].name)),
    }  # fmt: skip


# Errors

_NO_ID = "0" * 32
JELLYFIN_ERRORS: dict[str, list[Ask]] = {
    "GET /Items/{item_id}": [
        Ask(_ONE_USER, where={"item_id": "no id"}, status=400),
        Ask(_ONE_USER, where={"item_id": _NO_ID}, status=404),
    ],
    "GET /Users/{user_id}": [Ask(where={"user_id": _NO_ID}, status=404)],
    "GET /Items/{item_id}/Images/{image_type}": [Ask(where={"image_type": "Logo"}, status=404)],
    "POST /Items/{item_id}/Images/{image_type}": [
        Ask(body=_PICTURE, content_type="image/jpg", status=400),
        Ask(body=_PICTURE, content_type="image/png", where={"item_id": _NO_ID}, status=404),
    ],
    "GET /Shows/{series_id}/Seasons": [Ask(where={"series_id": _NO_ID}, status=404)],
    "POST /Users/{user_id}/Policy": [Ask(body={"IsAdministrator": False}, status=400)],
    "GET /Items": [Ask({"recursive": "true", "limit": "many"}, status=400)],
}
"""Requests that the media server refuses."""
TMDB_ERRORS: dict[str, list[Ask]] = {
    "GET /movie/{tmdb_id}": [
        Ask(where={"tmdb_id": "1"}, status=404),
    ],
    "GET /discover/movie": [Ask({"page": 501}, status=400)],
    "GET /movie/popular": [Ask({"page": 501}, status=400)],
    "GET /find/{external_id}": [Ask(status=422)],
}
"""Requests that TMDb refuses."""


def meet_errors(served: RunningSimulator) -> None:
    """Provoke every kind of error: unknown ids, invalid values, missing keys, and a service that is down or busy."""
    ask_jellyfin(served, JELLYFIN_ERRORS, jellyfin_names(served))
    ask_tmdb(served, TMDB_ERRORS, tmdb_names(served))
    assert httpx.get(served.jellyfin_url + "/Users").status_code == 401
    wrong = {"Authorization": "Bearer wrong"}
    assert httpx.get(served.tmdb_url + "/configuration", headers=wrong).status_code == 401
    served.state.add_fault(FaultRule("jellyfin", status=503, retry_after=7))
    ask_jellyfin(served, {"GET /Users": [Ask(status=503)]}, {})
    for status in (429, 500, 502, 503, 504):
        served.state.clear_faults()
        served.state.add_fault(FaultRule("tmdb", status=status))
        ask_tmdb(served, {"GET /configuration": [Ask(status=status)]}, {})
    served.state.clear_faults()
