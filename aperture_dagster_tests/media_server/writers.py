"""Writers to the stand-ins of all versions, with a folder that both this machine and the media server see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from aperture_dagster.media_server.emby.reader import EmbyReader
from aperture_dagster.media_server.emby.writer import EmbyWriter
from aperture_dagster.media_server.jellyfin.reader import JellyfinReader
from aperture_dagster.media_server.jellyfin.writer import JellyfinWriter
from aperture_dagster.media_server.values import parse_id
from aperture_dagster.media_server.writer import MediaServerWriter
from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import World, WorldTitle, WorldUser
from aperture_dagster_tests.habits import VERSIONS, small_world

SERVERS = [*VERSIONS, "emby"]
ROOT = "/published"


def household() -> World:
    world = small_world()
    world.users += [WorldUser("bo"), WorldUser("cleo")]
    world.titles.append(
        WorldTitle("movie:6", "movie", "Two Parts", 2006, tmdb_id=16, parts=2, sidecars=(".de.forced.srt", ".en.mka"))
    )
    return world


def service(server: str) -> str:
    return "emby" if server == "emby" else "jellyfin"


@contextmanager
def writing(
    server: str, folder: Path | None = None, *, dry_run: bool = False, world: World | None = None, **settings: Any
) -> Iterator[tuple[RunningSimulator, MediaServerWriter]]:
    """Serve a world (default: a household) by a version of Jellyfin or by Emby, which sees ``folder`` as ``ROOT``."""
    if server == "emby":
        settings["media_server"] = "emby"
    else:
        settings["jellyfin_version"] = server
    if folder is not None:
        settings["volumes"] = {ROOT: folder}
    with (
        running_simulator(world or household(), SimulatorSettings(**settings)) as running,
        closing(connect(server, running, dry_run=dry_run)) as writer,
    ):
        yield running, writer


def connect(server: str, running: RunningSimulator, *, dry_run: bool = False) -> MediaServerWriter:
    quick: dict[str, Any] = {"attempts": 1}
    if server == "emby":
        key = running.state.settings.emby_key
        return EmbyWriter(EmbyReader(running.emby_url, key, **quick), dry_run=dry_run)
    key = running.state.settings.jellyfin_key
    return JellyfinWriter(JellyfinReader(running.jellyfin_url, key, **quick), dry_run=dry_run)


def user_id(writer: MediaServerWriter, name: str) -> str:
    return next(one for one, user in writer.user_objects().items() if user["Name"] == name)


def film_ids(writer: MediaServerWriter) -> dict[str, str]:
    """Return the ids of the films by name."""
    library = next(one for one in writer.libraries() if one.name == "Movies")
    return {film.name: film.server_item_id for film in writer.library_items(library, "Movie")}


def views_of(writer: MediaServerWriter, user_id: str, *, hidden: bool) -> list[tuple[str, str]]:
    """Id and name of the views that a user has, with or without those that the user hides."""
    path, query = "/UserViews", {"userId": user_id, "includeHidden": str(hidden).lower()}
    if writer.product == "emby":
        path, query = f"/Users/{user_id}/Views", {"IncludeHidden": "true"} if hidden else {}
    return [(parse_id(one["Id"]), one["Name"]) for one in writer.transport.get_json(path, query)["Items"]]
