"""Calls of jellyfin-apiclient-python, aiojellyfin and embyclient."""

from __future__ import annotations

import asyncio
import base64
import importlib
import inspect
import io
import json
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import aiohttp
import aiojellyfin
import emby_client.api
from aiojellyfin.session import SessionConfiguration
from jellyfin_apiclient_python import JellyfinClient
from jellyfin_apiclient_python.api import API

from aperture_dagster.simulator.emby import EmbyService
from aperture_dagster.simulator.emby import ids as emby_ids
from aperture_dagster.simulator.images import png
from aperture_dagster.simulator.jellyfin.dto import name_id
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.world import World
from aperture_dagster_tests.contracts.clients.calls import Call, Client, filled, public_operations
from aperture_dagster_tests.habits import NOW

# What changes or removes what others need comes last.
_LAST = ("delete", "remove", "cancel", "update", "set_", "move")


def _in_order(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: (any(name.startswith(first) for first in _LAST), name))


# jellyfin-apiclient-python


def _jellyfin_names(simulator: RunningSimulator) -> dict[str, Any]:
    state = simulator.state
    film, second = state.item_ids("movie:1")[0], state.item_ids("movie:2")[0]
    show = next(iter(state.catalogue.items("Series")))
    box_set = state.create_box_set("Picks", keys=["movie:1"])
    playlist, doomed = (state.create_playlist(name, owner="ada", keys=["movie:1"]) for name in ("Mine", "Doomed"))
    return {
        "item_id": film, "item_ids": [film, second], "film": film, "second": second, "show_id": show.id,
        "series_id": show.id, "season_id": show.seasons[0].item.id, "episode": show.seasons[0].episodes[0].id,
        "parent_id": state.catalogue.libraries[0].item_id, "box_set": box_set, "collection_id": box_set,
        "playlist_id": playlist, "doomed": doomed, "user_id": state.user_named("ada").id,
        "person_id": name_id("person", "Ann Actor"), "genre_id": name_id("genre", "Drama"), "album_id": film,
        "artist_id": film, "id": "1", "session_id": "1", "device_id": "1", "media_source_id": film, "index": 0,
    }  # fmt: skip


def _jellyfin_apiclient(simulator: RunningSimulator) -> Iterator[Call]:
    names = _jellyfin_names(simulator)
    url = simulator.jellyfin_url
    arguments: dict[str, Any] = names | {
        "handler": "", "params": {}, "url": "Playing", "command": "Mute", "name": "New", "pw": "secret",
        "collectionType": "movies", "paths": "/media/movies", "data": {}, "userID": names["user_id"], "art": "Primary",
        "max_width": 100, "fmt": "srt", "width": 100, "date": "2026-05-01T00:00:00Z", "timer": {}, "timer_id": "1",
        "program_id": "1", "dest_file": io.BytesIO(), "play_id": "1", "container": "mp3", "token": "1",
        "profile": {}, "live_id": "1", "play_session_id": "1", "server_url": url, "server_address": url,
        "username": "ada", "password": "demo-password", "secret": "1", "path": "System/Info/Public", "group_id": "1",
        "position_ticks": 0, "when": NOW, "is_playing": True, "queue_item_ids": [names["film"]],
        "should_ignore": False, "ping": 1, "group_name": "ours", "image_data": png("a film"), "volume": 50,
        "ticks": 0, "entry_id": names["film"], "entry_ids": [names["film"]], "new_index": 0, "backup_name": "1",
        "watched": True, "queue_item_id": "1", "server": {"address": url, "AccessToken": "demo-jellyfin-key"},
    }  # fmt: skip
    special: dict[str, dict[str, Any]] = {
        "send_request": {"url": url, "path": "System/Info/Public"},
        "login": {"server_url": url, "username": "ada", "password": "demo-password"},
        "remove_collection_items": {"collection_id": names["box_set"], "item_ids": [names["film"]]},
        "shows": {"handler": f"/{names['show_id']}/Seasons", "params": {"userId": names["user_id"]}},
        "videos": {"handler": f"/{names['film']}/AdditionalParts"},
        "update_item": {"item_id": names["box_set"], "data": {"DisplayOrder": "Default"}},
        "update_userdata_for_item": {"item_id": names["film"], "data": {"Played": True}},
        "delete_item": {"item_id": names["doomed"]},
        "delete_collection": {"name": "Picks"},
        "update_playlist": {"playlist_id": names["playlist_id"], "name": "Renamed"},
        "get_item": {"item_id": names["episode"]},
        "search_media_items": {"term": "First", "media": "Movie"},
        "get_date_modified": {"date": "2026-05-01T00:00:00Z", "parent_id": names["parent_id"], "media": "Movie"},
        "get_items_by_letter": {"letter": "F", "media": "Movie"},
        "set_item_image": {"item_id": names["film"], "image_data": png("a film"), "mimetype": "image/png"},
        "set_user_image": {"user_id": names["user_id"], "image_data": png("ada"), "mimetype": "image/png"},
        "new_playlist": {"name": "New", "item_ids": [names["film"]]},
        "new_collection": {"name": "New", "item_ids": [names["film"]]},
        "media_segments": {"handler": f"/{names['film']}"},
    }
    client = JellyfinClient()
    client.config.app("tests", "1", "here", "one")
    client.config.data["auth.ssl"] = False
    server = {"AccessToken": simulator.state.settings.jellyfin_key, "address": url, "UserId": names["user_id"]}
    client.authenticate({"Servers": [server]}, discover=False)
    try:
        for name in _in_order(public_operations(API)):
            operation = getattr(client.jellyfin, name)
            yield Call(name, partial(operation, **special[name]) if name in special else filled(operation, arguments))
    finally:
        client.stop()


_NO_USER = "looks for the caller's own playlists, and an API key has no user: the real server fails, too"
JELLYFIN_APICLIENT = Client(
    "jellyfin-apiclient-python", "Jellyfin", "GPL-3.0", "all methods of its interface", _jellyfin_apiclient,
    {
        **dict.fromkeys(("get_playlist", "update_playlist", "move_playlist_item"), _NO_USER),
        "delete_collection": "a defect of the client: it refuses exactly one of id and name, which it asks for",
        "set_item_image": "a defect of the client: it decodes the picture as text",
        "set_user_image": "a defect of the client: it decodes the picture as text",
    },
)  # fmt: skip

# aiojellyfin


def _aiojellyfin(simulator: RunningSimulator) -> Iterator[Call]:
    names = _jellyfin_names(simulator)
    arguments = {
        "artist_id": names["film"], "album_id": names["film"], "track_id": names["film"], "item_id": names["film"],
        "playlist_id": names["playlist_id"], "image_type": aiojellyfin.ImageType.Primary,
    }  # fmt: skip
    with asyncio.Runner() as runner:

        async def connect() -> tuple[SessionConfiguration, aiojellyfin.Connection]:
            session = SessionConfiguration(
                aiohttp.ClientSession(), simulator.jellyfin_url, "tests", "1", "here", "one"
            )  # fmt: skip
            key = simulator.state.settings.jellyfin_key
            return session, aiojellyfin.Connection(session, names["user_id"], key)

        session, connection = runner.run(connect())
        sign_in = partial(aiojellyfin.authenticate_by_name, session, "ada", "demo-password")
        yield Call("authenticate_by_name", _wait(runner, sign_in))
        for name in public_operations(aiojellyfin.Connection):
            operation = getattr(connection, name)
            if inspect.iscoroutinefunction(operation):
                yield Call(name, _wait(runner, filled(operation, arguments)))
        for name in ("artists", "albums", "tracks", "playlists"):
            query = getattr(connection, name).user_id(names["user_id"])
            for form, asked in (
                ("request", query),
                ("request, with more", query.enable_userdata().search_term("mine").start_index(0).limit(5)),
                ("request, with fields", query.fields(aiojellyfin.ItemFields.Path, aiojellyfin.ItemFields.Overview)),
            ):
                yield Call(f"{name}.{form}", _wait(runner, asked.request))
            yield Call(f"{name}.stream", _wait(runner, partial(_spent, query)))
        within = connection.tracks.in_playlist(names["playlist_id"]).user_id(names["user_id"])
        yield Call("tracks.in_playlist.request", _wait(runner, within.request))
        runner.run(session.session.close())


def _wait(runner: asyncio.Runner, operation: Callable[[], Any]) -> Callable[[], object]:
    async def run() -> object:
        return await operation()

    return lambda: runner.run(run())


async def _spent(query: Any) -> list[object]:
    return [one async for one in query.stream(page_size=1)]


AIOJELLYFIN = Client(
    "aiojellyfin", "Jellyfin", "Apache-2.0", "all methods, and queries for artists, albums, tracks and playlists",
    _aiojellyfin,
    dict.fromkeys(("get_album", "get_artist", "get_track"), "the world has no music: they are asked for a film"),
)  # fmt: skip

# embyclient

_ROUTE = re.compile(r"call_api\(\s*'([^']+)', '([A-Z]+)'")


def _embyclient(simulator: RunningSimulator) -> Iterator[Call]:
    state = simulator.state
    catalogue = state.catalogue
    numbers = {key: emby_ids.item_number(catalogue.find(state.item_ids(key)[0])) for key in ("movie:1", "movie:2")}
    show = next(iter(catalogue.items("Series")))
    user = state.user_named("ada")
    box_set, playlist = (
        emby_ids.item_number(catalogue.find(number))
        for number in (
            state.create_box_set("Picks", keys=["movie:1"]),
            state.create_playlist("Mine", owner="ada", keys=["movie:1", "movie:2"]),
        )
    )
    doomed = [
        emby_ids.item_number(catalogue.find(state.create_box_set(name, keys=["movie:1"]))) for name in ("Old", "Older")
    ]
    configuration = emby_client.Configuration()
    configuration.host = simulator.emby_url
    configuration.api_key["api_key"] = state.settings.emby_key
    client = emby_client.ApiClient(configuration)
    usual = {
        "id": numbers["movie:1"], "item_id": numbers["movie:1"], "user_id": user.id, "type": "Primary",
        "ids": numbers["movie:2"], "index": 0, "include_external_content": False, "path": "/media/movies",
    }  # fmt: skip
    playlists = emby_client.PlaylistServiceApi(client)

    def entry() -> str:
        return playlists.get_playlists_by_id_items(playlist).items[-1].playlist_item_id

    for name, (kind, path) in sorted(_emby_operations().items(), key=lambda one: _order(one[0])):
        # A library has its ids once it was scanned.
        state.wait_for_scans()
        operation = getattr(kind(client), name)
        given: dict[str, Any] = dict(usual)
        if path.startswith("/Collections/"):
            given["id"] = box_set
        elif path.startswith("/Playlists/"):
            given |= {"id": playlist, "item_id": entry, "new_index": 0, "entry_ids": entry}
        elif path.startswith("/Items/{Id}/Make") or path == "/Items/Access":
            given["id"] = playlist
        elif path.startswith("/Shows/"):
            given["id"] = emby_ids.item_number(show)
        elif path.startswith("/Users/{Id}"):
            given["id"] = user.id
        elif path in ("/Items/{Id}", "/Items/{Id}/Delete", "/Items/{ItemId}") and not name.startswith("get"):
            given["id"] = given["item_id"] = doomed.pop() if "delete" in name else box_set
        if name in ("post_collections", "post_playlists"):
            given |= {"name": "New", "ids": numbers["movie:1"]}
        given["body"] = partial(_emby_body, client, name, user.id, given["id"])
        yield Call(f"{kind.__name__}.{name}", _emby_call(operation, given))


_OPTIONAL = {
    "post_collections": ["name", "ids"], "post_playlists": ["name", "ids"],
}  # fmt: skip


def _order(name: str) -> tuple[int, str]:
    first = ("post_library_virtualfolders", "post_library_virtualfolders_name")
    place = first.index(name) if name in first else len(first)
    return (9 if "delete" in name else place, name)


def _emby_call(operation: Any, given: Mapping[str, Any]) -> Callable[[], object]:
    names = [name for name in inspect.signature(operation).parameters if name != "kwargs"]
    # Of these, the parameters are optional one by one.
    names = _OPTIONAL.get(operation.__name__, names)

    def run() -> object:
        values = {name: given[name]() if callable(given[name]) else given[name] for name in names}
        return operation(**values)

    return run


def _emby_body(client: Any, name: str, user_id: str, item_id: str) -> Any:
    """Return the object that an operation sends: what it changes, as it was read."""
    user = emby_client.UserServiceApi(client).get_users_by_id(user_id)
    if name == "post_users_by_id_policy":
        return user.policy
    if name == "post_users_by_id_configuration":
        return user.configuration
    if name == "post_users_by_id_configuration_partial":
        return json.dumps({"HidePlayedInLatest": True})
    if "images" in name:
        return base64.b64encode(png("a film")).decode()
    if name == "post_items_by_itemid":
        return emby_client.UserLibraryServiceApi(client).get_users_by_userid_items_by_id(user_id, item_id)
    if name == "post_items_access":
        return emby_client.UserLibraryUpdateUserItemAccess(item_ids=[item_id], user_ids=[user_id], item_access="Read")
    folders = emby_client.LibraryStructureServiceApi(client).get_library_virtualfolders_query().items
    mine = next((folder for folder in folders if folder.name.startswith("New")), folders[0])
    if name == "post_library_virtualfolders":
        return emby_client.LibraryAddVirtualFolder(
            name="New", collection_type="movies", paths=["/media/movies"], library_options=folders[0].library_options
        )
    if name == "post_library_virtualfolders_name":
        return emby_client.LibraryRenameVirtualFolder(id=mine.id, new_name="Newer")
    if name == "post_library_virtualfolders_libraryoptions":
        return emby_client.LibraryUpdateLibraryOptions(id=mine.id, library_options=mine.library_options)
    if name == "post_library_virtualfolders_delete":
        return emby_client.LibraryRemoveVirtualFolder(id=mine.id)
    return {}


def _emby_operations() -> dict[str, tuple[type, str]]:
    """Return the client's operations that the stand-in has, with their class and path."""
    modelled = [one for one in EmbyService(SimulatorState(World("empty"))).operations if one.is_modelled]
    routes = {(one.name.partition(" ")[0], _shape(one.path)) for one in modelled}
    found: dict[str, tuple[type, str]] = {}
    for module in pkgutil.iter_modules(emby_client.api.__path__):
        content = importlib.import_module(f"emby_client.api.{module.name}")
        for _, kind in inspect.getmembers(content, inspect.isclass):
            if kind.__module__ != content.__name__:
                continue
            for name in public_operations(kind):
                route = _ROUTE.search(inspect.getsource(getattr(kind, name)))
                if route is not None and name.endswith("_with_http_info"):
                    path, method = route.groups()
                    if (method, _shape(path)) in routes:
                        found[name.removesuffix("_with_http_info")] = (kind, path)
    return found


def _shape(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path).lower()


EMBYCLIENT = Client(
    "embyclient", "Emby", "not stated", "the operations of the generated interface whose routes the stand-in has",
    _embyclient,
    {
        "ImageServiceApi.post_items_by_id_images_by_type": "the client names no format of the picture, and whether Emby"
        " recognises it is not known",
        "LibraryStructureServiceApi.delete_library_virtualfolders": "the client cannot name a library",
    },
    {"media_server": "emby"},
)  # fmt: skip
