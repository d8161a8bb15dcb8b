"""What the stand-in for the media server remembers between two runs, in a JSON file.

Clients made it: libraries with their options, what users may and want to see, users' data, and pictures. Libraries are
read from the disk again, as by a scan. Box sets, playlists and edited facts of titles are forgotten, and so is
everything of the other services, as before there was such a file.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aperture_dagster.files.private import write_file
from aperture_dagster.simulator.disk import Entry
from aperture_dagster.simulator.folder_reader import Found
from aperture_dagster.simulator.scanner import ScannedItem
from aperture_dagster.simulator.state import Picture
from aperture_dagster.simulator.user_data import Policy, ServerUser, UserDatum

if TYPE_CHECKING:
    from aperture_dagster.simulator.state import SimulatorState

FORMAT = 1
_FACTS = ("is_administrator", "is_hidden", "is_disabled", "max_parental_rating")
_TUPLES = ("enabled_folders", "blocked_tags", "allowed_tags", "excluded_locations")


class NotRestored(Exception):
    """A file was damaged, or written for another world, media server or version of this program."""


def save(state: SimulatorState, path: Path, of: Mapping[str, Any]) -> None:
    """Write what clients made. ``of`` names what the file is valid for. Raises FileError."""
    with state.lock:
        content = {
            "format": FORMAT,
            "of": dict(of),
            "libraries": state.libraries.saved(),
            "items": [
                [item.kind, item.path, item.library.name]
                for item in state.catalogue.every_item()
                if isinstance(item, ScannedItem)
            ],
            "users": {user.id: _user(state, user) for user in state.users.values()},
            "pictures": [
                [*key, picture.media_type, base64.b64encode(picture.content).decode()]
                for key, picture in state.pictures.items()
            ],
        }
    write_file(path, json.dumps(content, separators=(",", ":")).encode())


def restore(state: SimulatorState, path: Path, of: Mapping[str, Any]) -> None:
    """Bring a new state to what :func:`save` wrote. Without a file, nothing happens.

    Raises:
        NotRestored: the file cannot be used. The state may have changed, so use another one.
    """
    try:
        content = json.loads(path.read_bytes())
        if (content["format"], content["of"]) != (FORMAT, dict(of)):
            raise NotRestored(f"{path} is of another version, world or media server")
        with state.lock:
            _restore(state, content)
    except FileNotFoundError:
        return
    except NotRestored:
        raise
    # Whatever is wrong with the file, starting without it is right.
    except Exception as error:
        raise NotRestored(f"{path} cannot be used: {type(error).__name__}") from error


def _restore(state: SimulatorState, content: dict[str, Any]) -> None:
    made = state.libraries.restore(content["libraries"])
    # Ids on Emby, and the order of listings, follow from the order in which items were found.
    by_name = {library.name: library for library in made}
    for kind, server_path, library in content["items"]:
        if library in by_name:
            entry = Entry(server_path, server_path.rpartition("/")[2], kind not in ("Movie", "Episode"), 0.0, 0.0)
            found = Found(kind, server_path, entry.name, entry)
            item = ScannedItem(len(state.catalogue.every_item()), found, by_name[library], 0.0)
            item.present = False
            state.catalogue.include(item)
    state.libraries.read_again(made)
    for user_id, saved in content["users"].items():
        if user_id in state.users:
            _restore_user(state, state.users[user_id], saved)
    for owner, name, image_type, media_type, encoded in content["pictures"]:
        state.pictures[owner, name, image_type] = Picture(media_type, base64.b64decode(encoded))


def _user(state: SimulatorState, user: ServerUser) -> dict[str, Any]:
    items = state.catalogue.every_item()
    return {
        "facts": {name: getattr(user.facts, name) for name in _FACTS},
        "policy": asdict(user.policy),
        "configuration": user.configuration,
        "last_activity": user.last_activity,
        "data": {
            items[slot].id: [getattr(datum, name) for name in UserDatum.__slots__]
            for slot, datum in user.data.items()
            if datum.saved >= state.started or slot in user.restored
        },
    }


def _restore_user(state: SimulatorState, user: ServerUser, saved: Mapping[str, Any]) -> None:
    user.facts = replace(user.facts, **{name: saved["facts"][name] for name in _FACTS})
    policy = saved["policy"]
    user.policy = Policy(**(policy | {name: tuple(policy[name]) for name in _TUPLES}))
    user.configuration = dict(saved["configuration"])
    user.last_activity = saved["last_activity"]
    for item_id, values in saved["data"].items():
        item = state.catalogue.by_id.get(item_id)
        if item is None:
            continue
        given = dict(zip(UserDatum.__slots__, values, strict=True))
        user.set_played(item, bool(given["played"]))
        datum = user.edit(item)
        for name, value in given.items():
            setattr(datum, name, value)
        user.restored.add(item.slot)
    # Data that items share was saved with each of them.
    user.touched.clear()
